/* SPDX-License-Identifier: MIT */
/* The map of a layout as a table for people. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

struct printer {
	const struct regmap_layout *layout;
	FILE *to;
	regmap_print_fn more;
	void *ctx;
	int digits; /* of an address */
	int width;  /* of the longest name, with what it is moved in by */
	bool failed;
	const char *space;
};

const char *regmap__region_type_name(enum regmap_region_type type)
{
	static const char *const names[] = {
		[REGMAP_REGION_RAM] = "ram",           [REGMAP_REGION_FLASH] = "flash",
		[REGMAP_REGION_ROM] = "rom",           [REGMAP_REGION_MMIO] = "mmio",
		[REGMAP_REGION_STORAGE] = "storage",   [REGMAP_REGION_ALIAS] = "alias",
		[REGMAP_REGION_BITBAND] = "bit-band",  [REGMAP_REGION_REVERSED] = "reversed-alias",
		[REGMAP_REGION_EXTERNAL] = "external",
	};

	return names[type];
}

/* Exact, in the largest unit that is: "20 KB", "528 B". */
static void size_text(uint64_t size, char to[static 32])
{
	static const char units[][3] = {"B", "KB", "MB", "GB", "TB", "PB"};
	unsigned unit = 0;

	for (; size && size % 1024 == 0 && unit < 5; size /= 1024)
		unit++;
	snprintf(to, 32, "%" PRIu64 " %s", size, units[unit]);
}

static void put_range(const struct printer *p, uint64_t address, uint64_t length)
{
	char size[32];

	size_text(length, size);
	fprintf(p->to, "0x%0*" PRIx64 "-0x%0*" PRIx64 "  %9s", p->digits, address, p->digits,
	        address + (length - 1), size);
}

static int depth_of(const struct printer *p, const struct layout_region *r)
{
	int depth = 0;

	if (r && layout_of(p->layout)->is_finished)
		return (int)r->depth;
	for (; r; r = r->parent)
		depth++;
	return depth;
}

/* What files say in free text may have newlines, and worse: terminals obey U+0080 to U+009F, too. */
static void put_clean(FILE *to, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == 0xc2 && (c[1] & 0xe0) == 0x80)
			c++, fputc(' ', to);
		else
			fputc(*c < ' ' || *c == 0x7f ? ' ' : *c, to);
	}
}

/* At the right end: nothing is padded that nothing comes behind. */
static void put_name(const struct printer *p, int depth, const char *name, bool is_last)
{
	fprintf(p->to, "%*s%-*s", 2 * depth, "", is_last ? 0 : p->width - 2 * depth, name);
}

static void put_registers(FILE *to, size_t count)
{
	if (count)
		fprintf(to, "  %zu register%s", count, count == 1 ? "" : "s");
}

/* The peripheral that the region was made for, and is just as large as: the two are one line. */
static const struct regmap_peripheral *same_peripheral(const struct printer *p,
                                                       const struct regmap_region *r)
{
	struct regmap_place at;

	if (!regmap__names_find(&layout_of(p->layout)->names, NAME_PERIPHERAL, NULL, r->name,
	                        strlen(r->name), true) ||
	    regmap_layout_find(p->layout, r->name, &at) || !at.peripheral)
		return NULL;
	return at.address == r->address && at.length == r->length ? at.peripheral : NULL;
}

static void put_space(struct printer *p, const struct regmap_region *r)
{
	uint64_t offset = 0;

	if (p->layout->space_count < 2 || (p->space && strcmp(p->space, r->space) == 0))
		return;
	p->space = r->space;
	for (size_t i = 0; i < p->layout->space_count; i++)
		if (strcmp(p->layout->spaces[i]->name, r->space) == 0)
			offset = p->layout->spaces[i]->offset;
	fprintf(p->to, "address space ");
	put_clean(p->to, r->space);
	fprintf(p->to, " at 0x%" PRIx64 "\n", offset);
}

static void put_notes(const struct printer *p, const struct regmap_region *r, size_t registers,
                      FILE *to)
{
	if (regmap__region_has_target(r))
		fprintf(to, "  of 0x%0*" PRIx64, p->digits, r->target);
	if (r->detached)
		fprintf(to, "  not connected");
	put_registers(to, registers);
	if (p->more)
		p->more(p->ctx, r, to);
}

static void put_region(struct printer *p, const struct regmap_region *r)
{
	const struct regmap_peripheral *same = same_peripheral(p, r);
	char *notes = NULL;
	size_t length = 0;
	FILE *kept = open_memstream(&notes, &length);

	p->failed |= !kept;
	if (kept) {
		put_notes(p, r, same ? same->register_count : 0, kept);
		fclose(kept);
	}
	put_space(p, r);
	put_range(p, r->address, r->length);
	fprintf(p->to, "  %c%c%c  %-14s  ", r->permissions & REGMAP_PERMIT_READ ? 'r' : '-',
	        r->permissions & REGMAP_PERMIT_WRITE ? 'w' : '-',
	        r->permissions & REGMAP_PERMIT_EXECUTE ? 'x' : '-',
	        regmap__region_type_name(r->type));
	put_name(p, depth_of(p, region_of(r)) - 1, r->name, !length);
	fprintf(p->to, "%s\n", notes ? notes : "");
	free(notes);
}

static int peripheral_depth(const struct printer *p, const struct regmap_peripheral *peripheral)
{
	uint64_t last;
	const struct regmap_region *r = regmap__layout_region_at(p->layout, peripheral->address,
	                                                         &last);

	return depth_of(p, r ? region_of(r) : NULL);
}

static void put_peripheral(const struct printer *p, const struct regmap_peripheral *peripheral)
{
	uint64_t last;
	const struct regmap_region *r = regmap__layout_region_at(p->layout, peripheral->address,
	                                                         &last);

	if (r && strcmp(r->name, peripheral->name) == 0 && same_peripheral(p, r))
		return;
	put_range(p, peripheral->address, peripheral->length);
	fprintf(p->to, "       %-14s  ", "");
	put_name(p, peripheral_depth(p, peripheral), peripheral->name, !peripheral->register_count);
	put_registers(p->to, peripheral->register_count);
	fputc('\n', p->to);
}

/* One name that is longer than all others shall not move what stands behind these. */
static int width_for(const struct printer *p)
{
	int most = 0, width;

	for (size_t i = 0; i < p->layout->region_count; i++) {
		const struct regmap_region *r = p->layout->regions[i];

		width = (int)strnlen(r->name, 64) + 2 * (depth_of(p, region_of(r)) - 1);
		most = width > most && width <= 40 ? width : most;
	}
	for (size_t i = 0; i < p->layout->peripheral_count; i++) {
		const struct regmap_peripheral *peripheral = p->layout->peripherals[i];

		width = (int)strnlen(peripheral->name, 64) + 2 * peripheral_depth(p, peripheral);
		most = width > most && width <= 40 ? width : most;
	}
	return most;
}

static void put_head(const struct regmap_layout *layout, FILE *to)
{
	put_clean(to, layout->name);
	if (layout->description[0]) {
		fprintf(to, ": ");
		put_clean(to, layout->description);
	}
	fputc('\n', to);
}

/* Hex digits that hold all addresses: 8, 12 or 16. */
static int digits_for(const struct regmap_layout *layout)
{
	uint64_t most = 0;

	for (size_t i = 0; i < layout->region_count; i++)
		if (region_last(layout->regions[i]) > most)
			most = region_last(layout->regions[i]);
	for (size_t i = 0; i < layout->peripheral_count; i++)
		if (peripheral_last(layout->peripherals[i]) > most)
			most = peripheral_last(layout->peripherals[i]);
	return most >> 32 == 0 ? 8 : most >> 48 == 0 ? 12 : 16;
}

int regmap__layout_print(const struct regmap_layout *layout, FILE *to, regmap_print_fn more,
                         void *ctx)
{
	struct printer p = {.layout = layout, .to = to, .more = more, .ctx = ctx};
	size_t peripheral = 0;

	p.digits = digits_for(layout);
	p.width = width_for(&p);
	put_head(layout, to);
	for (size_t i = 0; i < layout->region_count; i++) {
		while (peripheral < layout->peripheral_count &&
		       layout->peripherals[peripheral]->address < layout->regions[i]->address)
			put_peripheral(&p, layout->peripherals[peripheral++]);
		put_region(&p, layout->regions[i]);
	}
	while (peripheral < layout->peripheral_count)
		put_peripheral(&p, layout->peripherals[peripheral++]);
	if (p.failed)
		return -ENOMEM;
	return ferror(to) ? -EIO : 0;
}

int regmap_layout_print_map(const struct regmap_layout *layout, FILE *to)
{
	if (!layout || !to)
		return -EINVAL;
	return regmap__layout_print(layout, to, NULL, NULL);
}
