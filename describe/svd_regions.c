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

static bool is_near(const struct svd_block *block, uint64_t at)
{
	return block && at - block->last - 1 <= NEAR;
}

/*
 * @from: those that begin no later than @stray. What these and the next have of it is taken away; the
 * rest makes one longer, or @extra.
 */
static int place_stray(struct svd_build *b, struct svd_blocks *blocks, size_t from,
                       struct svd_block stray, struct svd_blocks *extra)
{
	for (size_t i = from;; i++) {
		struct svd_block *before = i ? &blocks->at[i - 1] : NULL,
				 *own = extra->count ? &extra->at[extra->count - 1] : NULL;
		uint64_t end = stray.last;
		int err = 0;

		if (before && before->last >= stray.last)
			return 0;
		if (before && before->last >= stray.start)
			stray.start = before->last + 1;
		if (own && own->last >= stray.last)
			return 0;
		if (own && own->last >= stray.start)
			stray.start = own->last + 1;
		if (i < blocks->count && blocks->at[i].start <= end)
			end = blocks->at[i].start - 1;
		if (own && before && own->start < before->start)
			own = NULL;
		if (stray.start > end)
			continue;
		if (own && is_near(own, stray.start))
			own->last = end;
		else if (!own && is_near(before, stray.start))
			before->last = end;
		else
			err = regmap__svd_block_add(b, extra,
			                            (struct svd_block){stray.start, end, stray.name,
			                                               stray.source});
		if (err || end == stray.last)
			return err;
	}
}

static int place_strays(struct svd_build *b, struct svd_blocks *extra)
{
	size_t from = 0;
	int err = 0;

	sort(&b->strays);
	for (size_t i = 0; i < b->strays.count && !err; i++) {
		while (from < b->blocks.count && b->blocks.at[from].start <= b->strays.at[i].start)
			from++;
		err = place_stray(b, &b->blocks, from, b->strays.at[i], extra);
	}
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
