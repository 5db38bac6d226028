/* SPDX-License-Identifier: MIT */
/* What becomes of writes to memory that is read as memory: flash, and storage that is programmed once. */
#include <errno.h>
#include <string.h>

#include "../src/pin.h"
#include "bytes.h"
#include "memory.h"
#include "registers.h"

static enum regmap_flash_policy policy_of(const struct regmap_region *r)
{
	return r->type == REGMAP_REGION_FLASH ? r->flash_policy : REGMAP_FLASH_PROGRAM;
}

/* Bits leave the erased state and never come back. */
static void program(const struct part *part, uint8_t *host, unsigned width, uint64_t value)
{
	uint64_t erased = regmap__part_fill(part) * 0x0101010101010101ULL;

	if (erased)
		bytes_and(host, width, value | ~erased);
	if (~erased)
		bytes_or(host, width, value & ~erased);
}

static int program_one(const struct part *part, uint8_t *host, const struct programming *write)
{
	const struct regmap_region *r = part->region;

	if (r->type == REGMAP_REGION_FLASH && r->program_width && r->program_width != write->width)
		return -EIO;
	if (!regmap__regs_ignore_program(part->device->regs, r, write))
		program(part, host, write->width, write->value);
	return 0;
}

static int take(const struct part *part, uint8_t *host, const struct programming *write)
{
	switch (policy_of(part->region)) {
	case REGMAP_FLASH_CONTROLLER:
		if (!regmap__regs_may_program(part->device->regs, part->region))
			return -EIO;
		return program_one(part, host, write);
	case REGMAP_FLASH_PROGRAM: return program_one(part, host, write);
	case REGMAP_FLASH_WRITE: bytes_store(host, write->width, write->value); return 0;
	case REGMAP_FLASH_IGNORE: return 0;
	case REGMAP_FLASH_FAULT: break;
	}
	return -EIO;
}

static bool tells(const struct regmap_region *r)
{
	return r->type == REGMAP_REGION_FLASH && r->flash_policy != REGMAP_FLASH_IGNORE;
}

static int take_piece(struct part *part, uint64_t address, uint8_t *host, unsigned width,
                      uint64_t value)
{
	const struct programming write = {address, value, bytes_load(host, width), width};
	struct regs *regs = part->device->regs;
	int err = take(part, host, &write);

	if (!err && tells(part->region))
		regmap__regs_programmed(regs, part->region, &write);
	regmap__regs_note(regs, part->region, address, width, value, true, err);
	return err;
}

/* Calls have no width of their own: what is too wide goes in pieces. */
static unsigned piece_of(const struct regmap_region *r, unsigned width)
{
	bool is_wide = r->type == REGMAP_REGION_FLASH && r->program_width &&
	               width > r->program_width;

	return is_wide && !regmap__current_site() ? r->program_width : width;
}

int regmap__flash_take(struct part *part, uint64_t address, uint8_t *host, unsigned width,
                       uint64_t value)
{
	unsigned piece = piece_of(part->region, width);
	int err = 0;

	for (unsigned i = 0; i < width && !err; i += piece)
		err = take_piece(part, address + i, host + i, piece,
		                 value >> 8 * i & ~0ull >> (64 - 8 * piece));
	return err;
}

static int flash_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct part *part = ctx;

	return regmap__flash_take(part, part->region->address + offset, part->host + offset, width,
	                          value);
}

const struct regmap_device_ops regmap__flash_ops = {NULL, flash_write};

/* ---- erasing ---- */

static bool can_erase(const struct part *part)
{
	enum regmap_region_type type = part ? part->region->type : REGMAP_REGION_RAM;

	return part && part_has_memory(part) &&
	       (type == REGMAP_REGION_FLASH || type == REGMAP_REGION_STORAGE);
}

/* A region without sectors is one. */
static void find_sector(const struct regmap_region *r, uint64_t *address, uint64_t *length)
{
	uint64_t offset = *address - r->address, first = 0;

	for (size_t i = 0; i < r->sector_count; i++) {
		uint64_t size = r->sectors[i].length, left = offset - first;

		if (size && left / size < r->sectors[i].count) {
			first += left / size * size;
			*address = r->address + first;
			*length = size < r->length - first ? size : r->length - first;
			return;
		}
		first += size * r->sectors[i].count;
	}
	/* Behind the last one that was described: what is left. */
	*address = r->address + (r->sector_count ? first : 0);
	*length = r->length - (r->sector_count ? first : 0);
}

/* Untouched blocks are erased already. */
static int erase_range(struct memory *m, uint64_t address, uint64_t length, bool really)
{
	struct part *part;
	uint64_t run;
	uint8_t *host;
	int err;

	for (; length; address += run, length -= run) {
		err = regmap__memory_look(m, address, &host, &run, &part);
		if (err || !can_erase(part))
			return -EFAULT;
		run = run < length ? run : length;
		if (really && host)
			memset(host, regmap__part_fill(part), run);
	}
	return 0;
}

int regmap__memory_erase(struct memory *m, uint64_t address, uint64_t length)
{
	struct part *part;
	uint64_t run;
	uint8_t *host;
	int err = regmap__memory_look(m, address, &host, &run, &part);

	if (err || !can_erase(part))
		return -EFAULT;
	if (!length) {
		regmap__part_resolve(m, &address);
		find_sector(part->region, &address, &length);
	}
	if (length - 1 > UINT64_MAX - address)
		return -EFAULT;
	err = erase_range(m, address, length, false);
	return err ? err : erase_range(m, address, length, true);
}
