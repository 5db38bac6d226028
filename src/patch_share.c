/* SPDX-License-Identifier: MIT */
/* What many patches have in common is stored once: most sites are one of a few instructions. */
#include "patch_share.h"

#include <string.h>

#include "sigsafe.h"

enum { BUCKET_BITS = 16 };

/* In front of each, in its pool. */
struct head {
	uint32_t next, hash;
};

struct shared_plan {
	struct head head;
	struct plan plan;
};

struct shared_map {
	struct head head;
	struct slot_map map;
};

static struct pool plans = {.size = sizeof(struct shared_plan)};
static struct pool maps = {.size = sizeof(struct shared_map)};
static uint32_t plan_buckets[1 << BUCKET_BITS], map_buckets[1 << BUCKET_BITS];

static uint32_t hash_of(const uint8_t *at, size_t size)
{
	uint64_t hash = size;

	for (uint32_t word; size >= sizeof(word); at += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return (uint32_t)(hash >> 32);
}

/* Padding may differ where all else is the same: then there are two of it, no more. */
static const void *share(struct pool *pool, uint32_t *buckets, const void *from, size_t size)
{
	uint32_t hash = hash_of(from, size), *bucket = &buckets[hash >> (32 - BUCKET_BITS)], n;
	struct head *head;

	for (n = *bucket; n; n = head->next) {
		head = regmap__pool_at(pool, n);
		if (head->hash == hash && !memcmp(head + 1, from, size))
			return head + 1;
	}
	n = regmap__pool_take(pool);
	if (!n)
		return NULL;
	head = regmap__pool_at(pool, n);
	*head = (struct head){*bucket, hash};
	memcpy(head + 1, from, size);
	*bucket = n;
	return head + 1;
}

const struct plan *regmap__share_plan(const struct plan *plan)
{
	_Static_assert(offsetof(struct shared_plan, plan) == sizeof(struct head), "right behind");
	return share(&plans, plan_buckets, plan, sizeof(*plan));
}

const struct slot_map *regmap__share_map(const struct slot_map *map)
{
	_Static_assert(offsetof(struct shared_map, map) == sizeof(struct head), "right behind");
	return share(&maps, map_buckets, map, sizeof(*map));
}
