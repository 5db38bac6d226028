/* SPDX-License-Identifier: MIT */
/* From names and addresses to what is there. Allocates nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "layout.h"

#include "../src/sigsafe.h"

/* So many peripherals that begin before an address are asked for a register there: it is a lookup, no search. */
enum { OVERLAPPING = 32 };

/* ---- by address ---- */

size_t regmap__layout_region_from(const struct regmap_layout *layout, uint64_t address)
{
	size_t low = 0, high = layout->region_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (layout->regions[middle]->address >= address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* How many regions begin at or before it. */
static size_t regions_up_to(const struct regmap_layout *layout, uint64_t address)
{
	return address == UINT64_MAX ? layout->region_count :
	                               regmap__layout_region_from(layout, address + 1);
}

/* What is innermost at @address; @last: up to where. */
static const void *span_at(const struct layout_spans *spans, uint64_t address, uint64_t *last)
{
	size_t low = 0, high = spans->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans->at[middle].start > address)
			high = middle;
		else
			low = middle + 1;
	}
	*last = low < spans->count ? spans->at[low].start - 1 : UINT64_MAX;
	return low ? spans->at[low - 1].thing : NULL;
}

/* While it isn't finished: outwards from the last that begins before it. */
static const struct regmap_region *region_slowly(const struct regmap_layout *layout,
                                                 uint64_t address, uint64_t *last)
{
	size_t next = regions_up_to(layout, address);
	const struct layout_region *r = next ? region_of(layout->regions[next - 1]) : NULL;

	*last = next < layout->region_count ? layout->regions[next]->address - 1 : UINT64_MAX;
	while (r && region_last(&r->pub) < address)
		r = r->parent;
	if (r && region_last(&r->pub) < *last)
		*last = region_last(&r->pub);
	return r ? &r->pub : NULL;
}

const struct regmap_region *regmap__layout_region_at(const struct regmap_layout *layout,
                                                     uint64_t address, uint64_t *last)
{
	if (layout_of(layout)->has_spans)
		return span_at(&layout_of(layout)->region_spans, address, last);
	return region_slowly(layout, address, last);
}

static bool is_inside(const struct regmap_peripheral *p, uint64_t address)
{
	return address >= p->address && address - p->address < p->length;
}

/* Of registers that have the byte the one that begins last, of these the first in order. */
static const struct regmap_register *register_at(const struct regmap_peripheral *p, uint64_t offset)
{
	const struct regmap_register *found = NULL;
	size_t low = 0, high = p->register_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (p->registers[middle]->offset > offset)
			high = middle;
		else
			low = middle + 1;
	}
	while (low-- && offset - p->registers[low]->offset < 8) {
		const struct regmap_register *r = p->registers[low];

		if (found && r->offset != found->offset)
			break;
		if (offset - r->offset < r->width)
			found = r;
	}
	return found;
}

/* The layout isn't finished: look at all. */
static const struct regmap_peripheral *peripheral_slowly(const struct layout *l, uint64_t address)
{
	const struct regmap_peripheral *found = NULL;

	for (size_t i = 0; i < l->pub.peripheral_count; i++)
		if (is_inside(l->pub.peripherals[i], address) &&
		    (!found || !same_range(found, l->pub.peripherals[i])))
			found = l->pub.peripherals[i];
	return found;
}

static const struct regmap_peripheral *peripheral_at(const struct layout *l, uint64_t address)
{
	uint64_t last;

	return l->is_finished ? span_at(&l->peripheral_spans, address, &last) :
	                        peripheral_slowly(l, address);
}

/* Where peripherals overlap, and the innermost has no register there, another one that has. */
static void look_further(const struct layout *l, uint64_t address, struct regmap_place *place)
{
	size_t low = 0, high = l->pub.peripheral_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (l->pub.peripherals[middle]->address > address)
			high = middle;
		else
			low = middle + 1;
	}
	for (unsigned i = 0; low && i < OVERLAPPING; i++) {
		const struct regmap_peripheral *p = l->pub.peripherals[--low];
		const struct regmap_register *r = is_inside(p, address) ?
		                                          register_at(p, address - p->address) :
		                                          NULL;

		if (r) {
			place->peripheral = p;
			place->reg = r;
			return;
		}
	}
}

int regmap_layout_find_at(const struct regmap_layout *layout, uint64_t address,
                          struct regmap_place *place)
{
	uint64_t last;

	memset(place, 0, sizeof(*place));
	place->region = regmap__layout_region_at(layout, address, &last);
	place->peripheral = peripheral_at(layout_of(layout), address);
	if (place->peripheral)
		place->reg = register_at(place->peripheral, address - place->peripheral->address);
	if (place->peripheral && !place->reg)
		look_further(layout_of(layout), address, place);
	if (place->reg) {
		place->address = place->peripheral->address + place->reg->offset;
		place->length = place->reg->width;
	} else if (place->peripheral) {
		place->address = place->peripheral->address;
		place->length = place->peripheral->length;
	} else if (place->region) {
		place->address = place->region->address;
		place->length = place->region->length;
	}
	return place->region || place->peripheral ? 0 : -ENOENT;
}

/* ---- by name ---- */

static const void *named(const struct regmap_layout *layout, enum name_kind kind,
                         const void *parent, const char *name, size_t length, bool exactly)
{
	return regmap__names_find(&layout_of(layout)->names, kind, parent, name, length, exactly);
}

/* "REG" or "REG.FIELD". Registers of clusters may be spelt with dots, so the last one is tried first. */
static bool find_register(const struct regmap_layout *layout, const char *name, bool exactly,
                          struct regmap_place *place)
{
	size_t length = strlen(name);
	const char *dot;

	place->reg = named(layout, NAME_REGISTER, place->peripheral, name, length, exactly);
	if (place->reg)
		return true;
	dot = memrchr(name, '.', length);
	if (!dot)
		return false;
	place->reg = named(layout, NAME_REGISTER, place->peripheral, name, (size_t)(dot - name),
	                   exactly);
	if (place->reg)
		place->field = named(layout, NAME_FIELD, place->reg, dot + 1, strlen(dot + 1),
		                     exactly);
	return place->field;
}

/*
 * Registers of some vendors begin with their peripheral's name ("ADC.ADC_CR"), and people leave that out or
 * add it.
 */
static bool find_prefixed(const struct regmap_layout *layout, const char *name,
                          struct regmap_place *place)
{
	const char *has = place->peripheral->name;
	size_t length = strlen(has), rest = strlen(name);
	char longer[256];

	if (strncasecmp(name, has, length) == 0 && name[length] == '_' &&
	    find_register(layout, name + length + 1, false, place))
		return true;
	if (length + 1 + rest >= sizeof(longer))
		return false;
	memcpy(longer, has, length);
	longer[length] = '_';
	memcpy(longer + length + 1, name, rest + 1);
	return find_register(layout, longer, false, place);
}

static bool find_name(const struct regmap_layout *layout, const char *name, bool exactly,
                      struct regmap_place *place)
{
	const char *dot = strchr(name, '.');

	memset(place, 0, sizeof(*place));
	place->peripheral = named(layout, NAME_PERIPHERAL, NULL, name, strlen(name), exactly);
	if (place->peripheral)
		return true;
	place->region = named(layout, NAME_REGION, NULL, name, strlen(name), exactly);
	if (place->region)
		return true;
	if (!dot)
		return false;
	place->peripheral = named(layout, NAME_PERIPHERAL, NULL, name, (size_t)(dot - name),
	                          exactly);
	if (!place->peripheral)
		return false;
	return find_register(layout, dot + 1, exactly, place) ||
	       (!exactly && find_prefixed(layout, dot + 1, place));
}

int regmap_layout_find(const struct regmap_layout *layout, const char *name,
                       struct regmap_place *place)
{
	uint64_t last;

	if (!find_name(layout, name, true, place) && !find_name(layout, name, false, place)) {
		memset(place, 0, sizeof(*place));
		return -ENOENT;
	}
	if (!place->peripheral) {
		place->address = place->region->address;
		place->length = place->region->length;
		return 0;
	}
	place->address = place->peripheral->address + (place->reg ? place->reg->offset : 0);
	place->length = place->reg ? place->reg->width : place->peripheral->length;
	place->region = regmap__layout_region_at(layout, place->address, &last);
	return 0;
}

/* ---- names of addresses ---- */

/* Text that is cut where it doesn't fit. Not snprintf(): reports from the handler come here. */
struct text {
	char *to;
	size_t size, used;
};

static void put(struct text *t, const char *s)
{
	for (; *s && t->used + 1 < t->size; s++)
		t->to[t->used++] = *s;
	if (t->size)
		t->to[t->used] = 0;
}

static void put_hex(struct text *t, uint64_t value)
{
	char digits[19] = "0x", *at = digits + 2;
	int shift = 60;

	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*at++ = "0123456789abcdef"[value >> shift & 15];
	*at = 0;
	put(t, digits);
}

static void put_offset(struct text *t, uint64_t offset)
{
	const char digit[2] = {(char)('0' + offset % 10), 0};

	if (!offset)
		return;
	put(t, "+");
	if (offset < 10)
		put(t, digit);
	else
		put_hex(t, offset);
}

/* The outermost region that ends nearest before it. */
static const struct regmap_region *region_before(const struct regmap_layout *layout,
                                                 uint64_t address)
{
	size_t next = regions_up_to(layout, address);
	const struct layout_region *r = next ? region_of(layout->regions[next - 1]) : NULL;

	while (r && r->parent)
		r = r->parent;
	return r ? &r->pub : NULL;
}

static void put_distance(struct text *t, uint64_t distance, const char *where,
                         const struct regmap_region *r)
{
	if (distance)
		put_hex(t, distance);
	else
		put(t, "just");
	put(t, where);
	put(t, r->name);
}

/* Counted from the first byte behind a region, or to the first byte of the one above. */
static void put_nothing(const struct regmap_layout *layout, uint64_t address, struct text *t)
{
	const struct regmap_region *below = region_before(layout, address), *above = NULL;
	size_t next = regions_up_to(layout, address);
	uint64_t behind = below ? address - region_last(below) - 1 : 0;

	if (next < layout->region_count)
		above = layout->regions[next];
	if (above && (!below || above->address - address < behind))
		put_distance(t, above->address - address, " before ", above);
	else if (below)
		put_distance(t, behind, " behind ", below);
	else
		put(t, "nothing");
}

const char *regmap_layout_describe(const struct regmap_layout *layout, uint64_t address, char *to,
                                   size_t size)
{
	struct text t = {to, size, 0};
	struct regmap_place at;

	put(&t, "");
	if (regmap_layout_find_at(layout, address, &at)) {
		put_nothing(layout, address, &t);
		return to;
	}
	put(&t, at.peripheral ? at.peripheral->name : at.region->name);
	if (at.reg) {
		put(&t, ".");
		put(&t, at.reg->name);
	}
	put_offset(&t, address - at.address);
	return to;
}
