/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 10000

static int wait_while(ADC_TypeDef *adc, uint32_t bit)
{
	for (unsigned n = 0; n < TIMEOUT; n++)
		if (!(adc->CR2 & bit))
			return 0;
	return -1;
}

int adc_init(ADC_TypeDef *adc)
{
	RCC->APB2ENR |= RCC_APB2ENR_ADC1EN;
	adc->CR2 |= ADC_CR2_ADON;
	adc->CR2 |= ADC_CR2_RSTCAL;
	if (wait_while(adc, ADC_CR2_RSTCAL))
		return -1;
	adc->CR2 |= ADC_CR2_CAL;
	if (wait_while(adc, ADC_CR2_CAL))
		return -2;
	adc->CR2 |= ADC_CR2_EXTSEL_SW | ADC_CR2_EXTTRIG;
	return 0;
}

int adc_read(ADC_TypeDef *adc, unsigned channel)
{
	adc->SQR1 = 0;
	adc->SQR3 = channel;
	adc->CR2 |= ADC_CR2_SWSTART;
	for (unsigned n = 0; n < TIMEOUT; n++)
		if (adc->SR & ADC_SR_EOC)
			return adc->DR & 0xFFF;
	return -1;
}
