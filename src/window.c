/* SPDX-License-Identifier: MIT */
#include "window.h"

#include <string.h>

#include "access.h"
#include "sigsafe.h"

bool regmap__window_meets(uint64_t address, uint64_t length)
{
	struct table_hit hit;
	uint64_t step;

	for (; length > 0; address += step, length -= step) {
		regmap__table_find(address, &hit);
		if (hit.window)
			return true;
		if (hit.last - address >= length - 1)
			return false;
		step = hit.last - address + 1;
	}
	return false;
}

/* The window around an address, if it has one. */
static bool describe(uint64_t address, bool inside, struct window_info *out)
{
	struct pin pin = {.slot = NULL, .stores = 0};
	const struct regmap_window *w;
	struct table_hit hit;

	if (!regmap__pin_window(&pin, address, &hit))
		return false;
	w = hit.window;
	memcpy(out->name, w->name, sizeof(out->name));
	out->guest = window_start(w);
	out->last = window_last(w);
	out->access = w->access;
	out->backing = window_ops(w)->name;
	out->inside = inside;
	regmap__pin_drop(&pin);
	return true;
}

static bool describe_below(uint64_t address, struct window_info *out)
{
	uint64_t first = regmap__table_gap_first(address);

	/*
	 * A hole of the register page lies inside of its window; offset 0 is a register on any CPU.
	 */
	if (first > address || (first > 0 && !describe(first - 1, false, out)))
		return describe(0, false, out);
	return first > 0;
}

unsigned regmap__window_near(uint64_t address, struct window_info out[2])
{
	struct table_hit hit;
	unsigned n;

	if (describe(address, true, &out[0]))
		return 1;
	n = describe_below(address, &out[0]);
	regmap__table_find(address, &hit);
	return n + (hit.last < UINT64_MAX && describe(hit.last + 1, false, &out[n]));
}
