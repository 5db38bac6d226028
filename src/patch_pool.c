/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>

#include "../arch/x86_64/scratch.h"
#include "patch.h"

#include "sigsafe.h"

void *regmap__pool_at(struct pool *pool, uint32_t number)
{
	char *block = atomic_load_explicit(&pool->block[(number - 1) / POOL_ENTRIES],
	                                   memory_order_acquire);

	return block + (number - 1) % POOL_ENTRIES * pool->size;
}

/* Two threads may find it missing at once. */
static bool bring(struct pool *pool, uint32_t index)
{
	void *none = NULL, *block;

	if (atomic_load_explicit(&pool->block[index], memory_order_acquire))
		return true;
	block = regmap__scratch_map(pool->size * POOL_ENTRIES);
	if (!block)
		return false;
	if (!atomic_compare_exchange_strong(&pool->block[index], &none, block))
		regmap__scratch_unmap(block, pool->size * POOL_ENTRIES);
	return true;
}

uint32_t regmap__pool_take(struct pool *pool)
{
	uint32_t used = atomic_load_explicit(&pool->used, memory_order_relaxed);

	do {
		if (used == POOL_BLOCKS * POOL_ENTRIES || !bring(pool, used / POOL_ENTRIES))
			return 0;
	} while (!atomic_compare_exchange_weak(&pool->used, &used, used + 1));
	return used + 1;
}
