/* SPDX-License-Identifier: MIT */
#include "drivers.h"

uint32_t critical_enter(void)
{
	uint32_t before = __get_PRIMASK();

	__disable_irq();
	return before;
}

void critical_leave(uint32_t before)
{
	__DSB();
	__set_PRIMASK(before);
}

uint32_t counter_add(volatile uint32_t *counter, uint32_t n)
{
	uint32_t value;

	do {
		value = __LDREXW(counter) + n;
	} while (__STREXW(value, counter));
	return value;
}

void sleep_until_interrupt(void)
{
	__DSB();
	__WFI();
	__ISB();
}
