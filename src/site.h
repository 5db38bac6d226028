/* SPDX-License-Identifier: MIT */
/*
 * Plans of the sites seen so far. A plan depends on the code bytes alone; so those that are
 * remembered never change, are never freed, and serve every site with the same bytes. What stands
 * under an address is a mere hint: the caller compares the bytes to the code.
 */
#ifndef SRC_SITE_H
#define SRC_SITE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "../emulator/plan.h"

enum { SITE_SET_BITS = 18, SITE_WAYS = 8, SITE_TAG_BITS = 9 };
enum { SITE_UNIT = 16, SITE_TAG_MASK = (1 << SITE_TAG_BITS) - 1 };

/* Each word: a plan's place in the pool, in units (0: free), above a tag made of the address. */
struct site_set {
	_Atomic uint32_t way[SITE_WAYS];
};

struct site_memory {
	uint8_t *pool;
	struct site_set *set;
};
extern struct site_memory regmap__sites;

/* Before the first window, map lock held. Without memory, nothing is remembered. */
void regmap__site_init(void);
/* The plan to use from now on: one that stays, or, where there is no room, @plan. AS-Safe. */
const struct plan *regmap__site_remember(uint64_t rip, const struct plan *plan);

static inline uint64_t site_hash(uint64_t rip)
{
	return (rip >> 8) * 0x9e3779b97f4a7c15;
}

/* Neighbours in the code are neighbours here, 16 sets for 256 bytes. */
static inline struct site_set *site_set_of(uint64_t rip)
{
	uint64_t set = site_hash(rip) >> (64 - SITE_SET_BITS) & ~15ull;

	return &regmap__sites.set[set | ((rip ^ rip >> 4) & 15)];
}

static inline uint32_t site_tag(uint64_t rip)
{
	return (uint32_t)(site_hash(rip) >> 20 ^ rip) & SITE_TAG_MASK;
}

/* The next candidate; *way: from where on to look. NULL: there is none. AS-Safe. */
static inline const struct plan *site_next(uint64_t rip, unsigned *way)
{
	struct site_set *set = site_set_of(rip);
	uint32_t tag = site_tag(rip);

	if (!regmap__sites.set)
		return NULL;
	while (*way < SITE_WAYS) {
		uint32_t word = atomic_load_explicit(&set->way[(*way)++], memory_order_acquire);
		uint64_t at = word >> SITE_TAG_BITS;

		if (at && (word & SITE_TAG_MASK) == tag)
			return (const struct plan *)(regmap__sites.pool + at * SITE_UNIT);
	}
	return NULL;
}

#endif
