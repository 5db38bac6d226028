/* SPDX-License-Identifier: MIT */
#include "drivers.h"

#define TIMEOUT 1000000

int systick_init(uint32_t ticks)
{
	if (ticks == 0 || ticks > 0x1000000)
		return -1;
	SysTick->LOAD = ticks - 1;
	SysTick->VAL = 0;
	SysTick->CTRL = SysTick_CTRL_CLKSOURCE | SysTick_CTRL_ENABLE;
	return 0;
}

int systick_delay(unsigned periods)
{
	for (unsigned n = 0; periods > 0; n++) {
		if (n == TIMEOUT)
			return -1;
		if (SysTick->CTRL & SysTick_CTRL_COUNTFLAG)
			periods--;
	}
	return 0;
}
