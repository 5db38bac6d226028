/* SPDX-License-Identifier: MIT */
/* The bytes of other windows. Looked up anew at each access: see regmap__access_begin(). */
#include <errno.h>

#include "table.h"

#include "sigsafe.h"

enum { MAX_PIECES = 4096 };

static bool meets(uint64_t start, uint64_t last, const struct regmap_window *w)
{
	return start <= window_last(w) && last >= window_start(w);
}

/*
 * Does the range lead back to the window? Pieces are counted: a target of very many aliases is left
 * to the limit that each access has anyway.
 */
static bool leads_back(uint64_t at, uint64_t last, const struct regmap_window *w, unsigned depth,
                       unsigned *pieces)
{
	if (meets(at, last, w))
		return true;
	while (depth > 0 && (*pieces)++ < MAX_PIECES) {
		struct table_hit hit;
		uint64_t length, to;

		regmap__table_find(at, &hit);
		length = (hit.last < last ? hit.last : last) - at;
		if (hit.window && window_ops(hit.window)->forward) {
			to = window_place(hit.window, at);
			if (leads_back(to, to + length, w, depth - 1, pieces))
				return true;
		}
		if (last - at <= length)
			break;
		at += length + 1;
	}
	return false;
}

static bool is_registers(uint64_t address)
{
	struct table_hit hit;

	regmap__table_find(address, &hit);
	return hit.window && window_ops(hit.window)->claims;
}

static int alias_create(struct regmap_window *w, const struct regmap_config *config)
{
	uint64_t target = config->target, last = target + (config->length - 1);
	unsigned pieces = 0;

	if (last < target || (target < 0x1000 && is_registers(0)))
		return -EINVAL;
	if (leads_back(target, last, w, MAX_ALIASES, &pieces))
		return -ELOOP;
	atomic_store_explicit(&w->base, target, memory_order_release);
	return 0;
}

const struct backing_ops regmap__backing_alias = {
	.name = "alias",
	.create = alias_create,
	.forward = true,
};
