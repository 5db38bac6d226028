/* SPDX-License-Identifier: MIT */
/*
 * Regions of SVD files: what peripherals say they take, and what their registers take beyond that.
 *
 * Blocks that overlap are one region, called like the peripheral of the first. A register outside of the
 * blocks of its peripheral makes the region before it longer, if that is near, up to where the next begins;
 * else it gets a region of its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "svd_build.h"

/* Bytes between a block and a register behind it that may become registers, too. */
enum { NEAR = 4096 };

int regmap__svd_block_add(struct svd_build *b, struct svd_blocks *blocks, struct svd_block block)
{
	size_t capacity = blocks->capacity ? 2 * blocks->capacity : 64;
	struct svd_block *at;

	if (blocks->count == blocks->capacity) {
		at = realloc(blocks->at, capacity * sizeof(*at));
		if (!at)
			return regmap__svd_no_memory(b);
		blocks->at = at;
		blocks->capacity = capacity;
	}
	blocks->at[blocks->count++] = block;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct svd_block *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->last > y->last ? -1 : x->last < y->last;
}

static void sort(struct svd_blocks *blocks)
{
	if (blocks->count)
		qsort(blocks->at, blocks->count, sizeof(*blocks->at), by_start);
}

static void merge(struct svd_blocks *blocks)
{
	size_t kept = 0;

	sort(blocks);
	for (size_t i = 0; i < blocks->count; i++) {
		struct svd_block *last = kept ? &blocks->at[kept - 1] : NULL;

		if (!last || blocks->at[i].start > last->last)
			blocks->at[kept++] = blocks->at[i];
		else if (blocks->at[i].last > last->last)
			last->last = blocks->at[i].last;
	}
	blocks->count = kept;
}

/* How many begin at or before @at. */
static size_t up_to(const struct svd_blocks *blocks, uint64_t at)
{
	size_t low = 0, high = blocks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (blocks->at[middle].start > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Of both the one that begins last, but not behind @at; they don't overlap. */
static struct svd_block *last_before(struct svd_blocks *blocks, struct svd_blocks *extra,
                                     uint64_t at)
{
	size_t i = up_to(blocks, at), k = up_to(extra, at);
	struct svd_block *block = i ? &blocks->at[i - 1] : NULL;
	struct svd_block *own = k ? &extra->at[k - 1] : NULL;

	return !block || (own && own->start > block->start) ? own : block;
}

/* What no block has of it makes the one before longer, or one of @extra. */
static int place_stray(struct svd_build *b, const struct svd_block *stray, struct svd_blocks *extra)
{
	struct svd_block piece = *stray, *before;

	for (;; piece.start = piece.last + 1) {
		size_t next = up_to(&b->blocks, piece.start);
		int err = 0;

		piece.last = stray->last;
		if (next < b->blocks.count && b->blocks.at[next].start <= piece.last)
			piece.last = b->blocks.at[next].start - 1;
		before = last_before(&b->blocks, extra, piece.start);
		if (before && before->last >= piece.start)
			piece.last = before->last;
		else if (before && piece.start - before->last - 1 <= NEAR)
			before->last = piece.last;
		else
			err = regmap__svd_block_add(b, extra, piece);
		if (err || piece.last >= stray->last)
			return err;
	}
}

static int place_strays(struct svd_build *b, struct svd_blocks *extra)
{
	int err = 0;

	sort(&b->strays);
	for (size_t i = 0; i < b->strays.count && !err; i++)
		err = place_stray(b, &b->strays.at[i], extra);
	return err;
}

static const char *free_name(struct svd_build *b, const char *name)
{
	const char *to = name;

	for (unsigned n = 2;
	     to && regmap__names_find(&b->out->names, NAME_REGION, NULL, to, strlen(to), true); n++)
		to = regmap__svd_text(b, "%s (%u)", name, n < 10 ? n : 10 + b->serial++);
	return to;
}

static int add_regions(struct svd_build *b, const struct svd_blocks *blocks)
{
	int err = 0;

	for (size_t i = 0; i < blocks->count && !err; i++) {
		const struct svd_block *block = &blocks->at[i];
		struct regmap_region r = {
			.name = free_name(b, block->name),
			.address = block->start,
			.length = block->last - block->start + 1,
			.permissions = REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE,
			.type = REGMAP_REGION_MMIO,
			.source = block->source,
		};

		err = r.name ? regmap_layout_add_region(&b->out->pub, &r, b->error) :
		               regmap__svd_no_memory(b);
	}
	return err;
}

int regmap__svd_regions(struct svd_build *b)
{
	struct svd_blocks extra = {0};
	int err;

	merge(&b->blocks);
	err = place_strays(b, &extra);
	if (!err)
		err = add_regions(b, &b->blocks);
	if (!err)
		err = add_regions(b, &extra);
	free(extra.at);
	return err;
}
