/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 10000

static int wait_for(USART_TypeDef *uart, uint16_t flag)
{
	for (unsigned n = 0; n < TIMEOUT; n++)
		if (uart->SR & flag)
			return 0;
	return -1;
}

int uart_init(USART_TypeDef *uart, uint32_t clock, uint32_t baud)
{
	if (baud == 0 || clock / baud > 0xFFFF)
		return -1;
	RCC->APB2ENR |= RCC_APB2ENR_USART1EN | RCC_APB2ENR_IOPAEN;
	gpio_configure(GPIOA, 9, GPIO_ALTERNATE);
	gpio_configure(GPIOA, 10, GPIO_FLOATING);
	uart->BRR = (uint16_t)((clock + baud / 2) / baud);
	uart->CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE;
	return 0;
}

int uart_send(USART_TypeDef *uart, const char *text)
{
	int count = 0;

	for (; *text; text++, count++) {
		if (wait_for(uart, USART_SR_TXE))
			return -1;
		uart->DR = (uint8_t)*text;
	}
	return wait_for(uart, USART_SR_TC) ? -2 : count;
}

int uart_receive(USART_TypeDef *uart)
{
	return wait_for(uart, USART_SR_RXNE) ? -1 : uart->DR & 0xFF;
}
