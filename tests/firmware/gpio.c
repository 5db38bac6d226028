/* SPDX-License-Identifier: MIT */
#include "drivers.h"

void gpio_configure(GPIO_TypeDef *port, unsigned pin, enum gpio_mode mode)
{
	__IO uint32_t *config = pin < 8 ? &port->CRL : &port->CRH;
	unsigned shift = pin % 8 * 4;

	*config = (*config & ~(15u << shift)) | (uint32_t)mode << shift;
}

void gpio_write(GPIO_TypeDef *port, unsigned pin, int level)
{
	if (level)
		port->BSRR = 1u << pin;
	else
		port->BRR = 1u << pin;
}

void gpio_toggle(GPIO_TypeDef *port, unsigned pin)
{
	port->ODR ^= 1u << pin;
}

int gpio_read(GPIO_TypeDef *port, unsigned pin)
{
	return (port->IDR & 1u << pin) != 0;
}

int gpio_lock(GPIO_TypeDef *port, uint16_t pins)
{
	port->LCKR = 0x10000u | pins;
	port->LCKR = pins;
	port->LCKR = 0x10000u | pins;
	(void)port->LCKR;
	return port->LCKR & 0x10000u ? 0 : -1;
}
