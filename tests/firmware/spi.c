/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 10000

static int wait_for(SPI_TypeDef *spi, uint16_t flag, uint16_t value)
{
	for (unsigned n = 0; n < TIMEOUT; n++)
		if ((spi->SR & flag) == value)
			return 0;
	return -1;
}

void spi_init(SPI_TypeDef *spi)
{
	RCC->APB2ENR |= RCC_APB2ENR_SPI1EN | RCC_APB2ENR_IOPAEN;
	gpio_configure(GPIOA, 5, GPIO_ALTERNATE);
	gpio_configure(GPIOA, 6, GPIO_FLOATING);
	gpio_configure(GPIOA, 7, GPIO_ALTERNATE);
	spi->CR1 = SPI_CR1_MSTR | SPI_CR1_BR_DIV8 | SPI_CR1_SSM | SPI_CR1_SSI;
	spi->CR1 |= SPI_CR1_SPE;
}

int spi_transfer(SPI_TypeDef *spi, const uint8_t *out, uint8_t *in, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (wait_for(spi, SPI_SR_TXE, SPI_SR_TXE))
			return -1;
		spi->DR = out[i];
		if (wait_for(spi, SPI_SR_RXNE, SPI_SR_RXNE))
			return -2;
		in[i] = (uint8_t)spi->DR;
	}
	return wait_for(spi, SPI_SR_BSY, 0) ? -3 : 0;
}
