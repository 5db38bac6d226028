/* SPDX-License-Identifier: MIT */
/* In front of memory that only takes accesses of some widths: ESP32's instruction RAM, for one. */
#include <errno.h>

#include "../src/pin.h"
#include "memory.h"
#include "registers.h"

static bool takes(const struct part *part, unsigned width)
{
	const struct regmap_region *r = part->region;

	return !r->widths || r->widths & width || r->width_policy == REGMAP_WIDTH_WARN ||
	       r->width_policy == REGMAP_WIDTH_ALLOW;
}

/* Calls have no width of their own: what is too wide goes in pieces. 0: it can't be made. */
static unsigned piece_of(const struct part *part, unsigned width)
{
	if (takes(part, width))
		return width;
	if (regmap__current_site())
		return 0;
	while (width /= 2)
		if (takes(part, width))
			return width;
	return 0;
}

static void note(const struct part *part, uint64_t offset, unsigned width, uint64_t value,
                 bool is_write, int err)
{
	regmap__regs_note(part->device->regs, part->region, part->region->address + offset, width,
	                  value, is_write, err);
}

static int narrow_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct part *part = ctx;
	unsigned piece = piece_of(part, width);
	int err = piece ? 0 : -EIO;

	*value = 0;
	for (unsigned i = 0; i < width && !err; i += piece)
		err = regmap_read(part->at + offset + i, (char *)value + i, piece);
	note(part, offset, width, *value, false, err);
	return err;
}

/* Flash counts what it takes itself. */
static int narrow_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	const struct part *part = ctx;
	unsigned piece = piece_of(part, width);
	int err = piece ? 0 : -EIO;

	for (unsigned i = 0; i < width && !err; i += piece)
		err = regmap_write(part->at + offset + i, (char *)&value + i, piece);
	if (!piece || part->kind != PART_FLASH)
		note(part, offset, width, value, true, err);
	return err;
}

const struct regmap_device_ops regmap__narrow_ops = {narrow_read, narrow_write};
