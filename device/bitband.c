/* SPDX-License-Identifier: MIT */
/* Two ways to see memory otherwise than as it lies there: a word for each bit, and the last word first. */
#include <errno.h>

#include "../src/pin.h"
#include "bytes.h"
#include "memory.h"
#include "registers.h"

static void note(const struct part *part, uint64_t offset, unsigned width, uint64_t value,
                 bool is_write, int err)
{
	regmap__regs_note(part->device->regs, part->region, part->region->address + offset, width,
	                  value, is_write, err);
}

static int check_width(const struct part *part, unsigned width)
{
	const struct regmap_region *r = part->region;
	bool any = !r->widths || r->width_policy == REGMAP_WIDTH_WARN ||
	           r->width_policy == REGMAP_WIDTH_ALLOW;

	/* calls have no width of their own: what is too wide goes in pieces */
	if (any || r->widths & width)
		return 0;
	return !regmap__current_site() && width > (r->widths & -r->widths) ? 0 : -EIO;
}

/* ---- bit-band ---- */

struct bit {
	struct part *part; /* where it is; NULL: nothing is there */
	uint64_t address;  /* of its byte */
	unsigned number;
};

static struct bit find_bit(const struct part *part, uint64_t offset)
{
	struct bit bit = {
		.address = part->region->target + offset / 32,
		.number = offset / 4 % 8,
	};

	bit.part = regmap__part_resolve(part->device->memory, &bit.address);
	return bit;
}

/* Registers are read as a word, as the bus does it, where they have one there. */
static int read_register(const struct bit *bit, unsigned *value)
{
	const struct regmap_region *r = bit->part->region;
	uint64_t word = bit->address & -4ULL, got = 0;
	bool whole = word >= r->address && part_last(bit->part) - word >= 3;
	uint64_t from = whole ? word : bit->address;
	int err = regmap__regs_read(bit->part->device->regs, r, from, whole ? 4 : 1, &got);

	*value = got >> ((bit->address - from) * 8 + bit->number) & 1;
	return err;
}

static int read_bit(const struct bit *bit, unsigned *value)
{
	uint8_t byte = 0;
	int err;

	if (!bit->part)
		return -EFAULT;
	if (!(bit->part->region->permissions & REGMAP_PERMIT_READ))
		return -EACCES;
	if (bit->part->kind == PART_MMIO)
		return read_register(bit, value);
	err = regmap_read(regmap__part_place(bit->part, bit->address), &byte, 1);
	*value = byte >> bit->number & 1;
	return err;
}

/* Other threads' accesses to the byte, direct ones too, lose nothing by this one. */
static int write_memory(const struct bit *bit, uint8_t clear, uint8_t set)
{
	struct memory *m = bit->part->device->memory;
	uint64_t run;
	uint8_t *host;
	int err = regmap__memory_host(m, bit->address, &host, &run, NULL);

	if (err)
		return err;
	if (clear)
		__atomic_fetch_and(host, (uint8_t)~clear, __ATOMIC_SEQ_CST);
	if (set)
		__atomic_fetch_or(host, set, __ATOMIC_SEQ_CST);
	return 0;
}

/* Its rules say what becomes of that. */
static int write_flash(const struct bit *bit, uint8_t clear, uint8_t set)
{
	uint64_t place = regmap__part_place(bit->part, bit->address);
	uint8_t byte;
	int err = regmap_read(place, &byte, 1);

	byte = (uint8_t)((byte & ~clear) | set);
	return err ? err : regmap_write(place, &byte, 1);
}

static int write_bit(const struct bit *bit, unsigned value)
{
	uint8_t mask = (uint8_t)(1u << bit->number), clear = value ? 0 : mask;
	uint8_t set = value ? mask : 0;
	const struct regmap_region *r;

	if (!bit->part)
		return -EFAULT;
	r = bit->part->region;
	if (bit->part->kind == PART_FLASH)
		return write_flash(bit, clear, set);
	if (!(r->permissions & REGMAP_PERMIT_WRITE) || r->type == REGMAP_REGION_ROM)
		return -EACCES;
	if (bit->part->kind == PART_MMIO)
		return regmap__regs_change(bit->part->device->regs, r, bit->address, clear, set);
	return bit->part->kind == PART_RAM ? write_memory(bit, clear, set) : -EIO;
}

/* A word's upper bytes read as 0, and keep nothing. Eight bytes are two words. */
static int bitband_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct part *part = ctx;
	int err = check_width(part, width);

	*value = 0;
	for (unsigned i = 0; i < width && !err; i += 4) {
		struct bit bit = find_bit(part, offset + i);
		unsigned one = 0;

		if ((offset + i) % 4)
			continue;
		err = read_bit(&bit, &one);
		*value |= (uint64_t)one << (8 * i);
	}
	note(part, offset, width, *value, false, err);
	return err;
}

static int bitband_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	const struct part *part = ctx;
	int err = check_width(part, width);

	for (unsigned i = 0; i < width && !err; i += 4) {
		struct bit bit = find_bit(part, offset + i);

		if ((offset + i) % 4 == 0)
			err = write_bit(&bit, value >> (8 * i) & 1);
	}
	note(part, offset, width, value, true, err);
	return err;
}

const struct regmap_device_ops regmap__bitband_ops = {bitband_read, bitband_write};

/* ---- words the other way round ---- */

static uint64_t reverse(const struct part *part, uint64_t offset)
{
	return part->device->base + regmap__reverse(part, offset);
}

static int reversed_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct part *part = ctx;
	unsigned step = width < 4 ? width : 4;
	int err = check_width(part, width);

	*value = 0;
	for (unsigned i = 0; i < width && !err; i += step) {
		uint64_t word = 0;

		err = regmap_read(reverse(part, offset + i), &word, step);
		*value |= word << (8 * i);
	}
	note(part, offset, width, *value, false, err);
	return err;
}

static int reversed_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	const struct part *part = ctx;
	unsigned step = width < 4 ? width : 4;
	int err = check_width(part, width);

	for (unsigned i = 0; i < width && !err; i += step) {
		uint64_t word = value >> (8 * i);

		err = regmap_write(reverse(part, offset + i), &word, step);
	}
	note(part, offset, width, value, true, err);
	return err;
}

const struct regmap_device_ops regmap__reversed_ops = {reversed_read, reversed_write};
