/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "site.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "sigsafe.h"

/*
 * Touched as it is needed. Once the pool is full, new instructions are decoded each time, which
 * costs a tenth of an access.
 */
enum { POOL = 96 << 20, SMALL_POOL = 4 << 20, SETS = 1 << SITE_SET_BITS };
enum { PLAN_SIZE = (sizeof(struct plan) + SITE_UNIT - 1) / SITE_UNIT * SITE_UNIT };
/* Plans by their bytes. */
enum { CONTENT_BITS = 20, CONTENT_WAYS = 8 };

_Static_assert(POOL / SITE_UNIT <= 1 << (32 - SITE_TAG_BITS), "a place fits beside the tag");

struct site_memory regmap__sites;
static size_t pool_size;
static _Atomic uint64_t used = SITE_UNIT; /* place 0 says that there is none */
static _Atomic uint32_t *content;

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* All three in one mapping. */
static bool lay_out(size_t pool)
{
	size_t sets = sizeof(struct site_set) * SETS, contents = sizeof(uint32_t) << CONTENT_BITS;
	uint8_t *p = reserve(sets + contents + pool);

	if (!p)
		return false;
	regmap__sites.set = (struct site_set *)p;
	content = (_Atomic uint32_t *)(p + sets);
	regmap__sites.pool = p + sets + contents;
	pool_size = pool;
	return true;
}

/* Where address space is short, it is the program's. */
static bool is_roomy(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY;
}

void regmap__site_init(void)
{
	if (!regmap__sites.set && (!is_roomy() || !lay_out(POOL)))
		lay_out(SMALL_POOL);
}

static const struct plan *plan_at(uint32_t place)
{
	return (const struct plan *)(regmap__sites.pool + (uint64_t)place * SITE_UNIT);
}

static uint64_t hash_of(const struct plan *plan)
{
	uint64_t low = 0, high = 0;

	memcpy(&low, plan->bytes, 8);
	memcpy(&high, plan->bytes + 8, 8); /* the length, too */
	low *= 0x9e3779b97f4a7c15;
	high = (high ^ low >> 29) * 0xbf58476d1ce4e5b9;
	return high ^ high >> 32;
}

static bool same_bytes(const struct plan *a, const struct plan *b)
{
	return !memcmp(a->bytes, b->bytes, sizeof(a->bytes)) && a->length == b->length;
}

/* 0: the pool is full. */
static uint32_t store(const struct plan *plan)
{
	uint64_t at = atomic_load_explicit(&used, memory_order_relaxed);

	if (at + PLAN_SIZE > pool_size)
		return 0;
	at = atomic_fetch_add_explicit(&used, PLAN_SIZE, memory_order_relaxed);
	if (at + PLAN_SIZE > pool_size)
		return 0;
	memcpy(regmap__sites.pool + at, plan, sizeof(*plan));
	return (uint32_t)(at / SITE_UNIT);
}

/* The place of the plan; two threads at once may store it twice. */
static uint32_t place_of(const struct plan *plan)
{
	uint64_t first = hash_of(plan) & ((1u << CONTENT_BITS) - CONTENT_WAYS);
	uint32_t place, victim = hash_of(plan) >> 40 & (CONTENT_WAYS - 1);

	for (uint32_t i = 0; i < CONTENT_WAYS; i++) {
		place = atomic_load_explicit(&content[first + i], memory_order_acquire);
		if (place && same_bytes(plan_at(place), plan))
			return place;
		if (!place) {
			victim = i;
			break;
		}
	}
	place = store(plan);
	if (place)
		atomic_store_explicit(&content[first + victim], place, memory_order_release);
	return place;
}

/* One that was for this address, as it seems, then a free one, then any. */
static unsigned victim_of(struct site_set *set, uint64_t rip)
{
	unsigned way = (unsigned)(site_hash(rip) >> 33 ^ rip >> 4) % SITE_WAYS;

	for (unsigned i = 0; i < SITE_WAYS; i++) {
		uint32_t word = atomic_load_explicit(&set->way[i], memory_order_relaxed);

		if (!word || (word & SITE_TAG_MASK) == site_tag(rip))
			return i;
	}
	return way;
}

const struct plan *regmap__site_remember(uint64_t rip, const struct plan *plan)
{
	struct site_set *set = site_set_of(rip);
	uint32_t place = regmap__sites.set ? place_of(plan) : 0;

	if (!place)
		return plan;
	atomic_store_explicit(&set->way[victim_of(set, rip)],
	                      place << SITE_TAG_BITS | site_tag(rip), memory_order_release);
	return plan_at(place);
}
