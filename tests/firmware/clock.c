/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 0x5000

/* Written the way of the reference manual's example: two switches are thrown by bit-band. */
#define CR_PLLON_BB BITBAND(RCC_BASE + 0x00, 24)
#define CSR_LSION_BB BITBAND(RCC_BASE + 0x24, 0)

static int wait_for(volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
	for (unsigned n = 0; n < TIMEOUT; n++)
		if ((*reg & mask) == value)
			return 0;
	return -1;
}

int clock_init(void)
{
	RCC->CR |= RCC_CR_HSEON;
	if (wait_for(&RCC->CR, RCC_CR_HSERDY, RCC_CR_HSERDY))
		return -1;

	FLASH->ACR |= FLASH_ACR_PRFTBE;
	FLASH->ACR = (FLASH->ACR & ~FLASH_ACR_LATENCY) | FLASH_ACR_LATENCY_2;

	RCC->CFGR |= RCC_CFGR_PPRE1_DIV2 | RCC_CFGR_ADCPRE_DIV6;
	RCC->CFGR = (RCC->CFGR & ~RCC_CFGR_PLLMULL) | RCC_CFGR_PLLSRC_HSE | RCC_CFGR_PLLMULL9;
	CR_PLLON_BB = 1;
	if (wait_for(&RCC->CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY))
		return -2;

	RCC->CFGR = (RCC->CFGR & ~RCC_CFGR_SW) | RCC_CFGR_SW_PLL;
	return wait_for(&RCC->CFGR, RCC_CFGR_SWS, RCC_CFGR_SWS_PLL) ? -3 : 0;
}

int clock_start_lsi(void)
{
	CSR_LSION_BB = 1;
	return wait_for(&RCC->CSR, RCC_CSR_LSIRDY, RCC_CSR_LSIRDY);
}

uint32_t clock_frequency(void)
{
	uint32_t cfgr = RCC->CFGR;
	uint32_t input = cfgr & RCC_CFGR_PLLSRC_HSE ? 8000000 : 4000000;

	switch (cfgr & RCC_CFGR_SWS) {
	case RCC_CFGR_SWS_PLL: return input * (((cfgr & RCC_CFGR_PLLMULL) >> 18) + 2);
	default: return 8000000;
	}
}
