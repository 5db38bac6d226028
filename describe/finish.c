/* SPDX-License-Identifier: MIT */
/* What only the whole of a layout shows: peripherals without a region, aliases of nothing, circles. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

#define WRONG(error, where, ...) regmap__layout_wrong(error, -EINVAL, where, __VA_ARGS__)

/* Guest addresses have so many bits: what is above is the number of the device. */
enum { ADDRESS_BITS = 56 };

/* ---- regions for peripherals ---- */

static bool is_in_mmio(const struct layout *l, const struct regmap_peripheral *p)
{
	uint64_t at = p->address, last = peripheral_last(p), end;

	for (;;) {
		const struct regmap_region *r = regmap__layout_region_at(&l->pub, at, &end);

		if (r && r->type == REGMAP_REGION_MMIO)
			return true;
		if (end >= last)
			return false;
		at = end + 1;
	}
}

/* The address space that begins nearest below. */
static const char *space_at(const struct layout *l, uint64_t address)
{
	const struct regmap_space *best = NULL;

	for (size_t i = 0; i < l->pub.space_count; i++) {
		const struct regmap_space *s = l->pub.spaces[i];

		if (s->offset <= address && (!best || s->offset > best->offset))
			best = s;
	}
	return best ? best->name : "";
}

/* A region may be called like the peripheral; if another one is, "NAME (registers)", "NAME (registers 2)". */
static const char *free_name(struct layout *l, const char *name)
{
	char to[300];

	if (!regmap__names_find(&l->names, NAME_REGION, NULL, name, strlen(name), true))
		return name;
	for (unsigned n = 1;; n++) {
		if (n == 1)
			snprintf(to, sizeof(to), "%.256s (registers)", name);
		else
			snprintf(to, sizeof(to), "%.256s (registers %u)", name, n);
		if (!regmap__names_find(&l->names, NAME_REGION, NULL, to, strlen(to), true))
			return regmap__layout_string(l, to);
	}
}

static int make_region(struct layout *l, const struct regmap_peripheral *p, uint64_t last,
                       struct regmap_error *error)
{
	struct layout_region *r = regmap__layout_alloc(l, sizeof(*r));
	const char *name = free_name(l, p->name);
	size_t names = l->names.count;
	int err;

	if (!r || !name || regmap__names_reserve(&l->names, 1))
		return regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
	r->pub = (struct regmap_region){
		.name = name,
		.description = p->description,
		.space = space_at(l, p->address),
		.device = "",
		.content = "",
		.program_if = "",
		.address = p->address,
		.length = last - p->address + 1,
		.permissions = REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE,
		.type = REGMAP_REGION_MMIO,
		.source = p->source,
	};
	r->is_made = true;
	err = regmap__names_add(&l->names, NAME_REGION, NULL, r);
	if (!err)
		err = regmap__layout_place_region(l, r, error);
	if (err)
		regmap__names_cut(&l->names, names);
	else
		l->made++;
	return err == -EEXIST ? -EINVAL : err;
}

/* Peripherals that overlap share a region. */
static int make_regions(struct layout *l, struct regmap_error *error)
{
	const struct regmap_peripheral *first = NULL, *p;
	uint64_t last = 0;
	int err = 0;

	for (size_t i = 0; i < l->pub.peripheral_count && !err; i++) {
		p = l->pub.peripherals[i];
		if (is_in_mmio(l, p))
			continue;
		if (first && p->address <= last) {
			if (peripheral_last(p) > last)
				last = peripheral_last(p);
			continue;
		}
		if (first)
			err = make_region(l, first, last, error);
		first = p;
		last = peripheral_last(p);
	}
	if (first && !err)
		err = make_region(l, first, last, error);
	return err;
}

void regmap__layout_unfinish(struct layout *l)
{
	size_t kept = 0;

	l->is_finished = l->has_spans = false;
	if (!l->made)
		return;
	regmap__names_cut(&l->names, l->names.count - l->made);
	l->made = 0;
	for (size_t i = 0; i < l->regions.count; i++) {
		struct layout_region *r = (struct layout_region *)l->regions.at[i];

		while (r->parent && r->parent->is_made)
			r->parent = r->parent->parent;
		if (!r->is_made)
			l->regions.at[kept++] = r;
	}
	l->regions.count = l->pub.region_count = kept;
}

/* ---- registers ---- */

static int check_in_region(const struct layout *l, const struct regmap_peripheral *p,
                           const struct regmap_register *r, struct regmap_error *error)
{
	uint64_t at = p->address + r->offset, last = at + (r->width - 1), end;

	for (;; at = end + 1) {
		if (!regmap__layout_region_at(&l->pub, at, &end))
			return WRONG(error, &r->source,
			             "register \"%s.%s\" at 0x%" PRIx64 " lies in no region, "
			             "though others of its peripheral do: make that region larger",
			             p->name, r->name, p->address + r->offset);
		if (end >= last)
			return 0;
	}
}

static bool has_register_at(const struct regmap_peripheral *p, const struct regmap_register *r)
{
	const char *name = r->alternate;

	for (size_t i = 0; i < p->register_count && p->registers[i]->offset <= r->offset; i++)
		if (p->registers[i]->offset == r->offset && !strcmp(p->registers[i]->name, name))
			return true;
	return false;
}

static int check_registers(const struct layout *l, const struct regmap_peripheral *p,
                           struct regmap_error *error)
{
	uint64_t end;
	bool is_whole = regmap__layout_region_at(&l->pub, p->address, &end) &&
	                end >= peripheral_last(p);
	int err = 0;

	for (size_t i = 0; i < p->register_count && !err; i++) {
		const struct regmap_register *r = p->registers[i];

		if (!is_whole)
			err = check_in_region(l, p, r, error);
		if (!err && r->alternate[0] && !has_register_at(p, r))
			err = WRONG(
				error, &r->source,
				"register \"%s.%s\" is another view of \"%s\": there is no such register at "
				"its offset",
				p->name, r->name, r->alternate);
	}
	return err;
}

/* ---- aliases ---- */

static uint64_t target_last(const struct regmap_region *r)
{
	uint64_t length = r->type == REGMAP_REGION_BITBAND ? r->length / 32 : r->length;

	return r->target + (length - 1);
}

/*
 * All of an alias must have something behind it. A bit-band is as large as the architecture says,
 * whatever a chip has of it.
 */
static int check_target(const struct layout *l, const struct regmap_region *r,
                        struct regmap_error *error)
{
	uint64_t at = r->target, last = target_last(r), end;
	bool any = false;

	for (;; at = end + 1) {
		if (regmap__layout_region_at(&l->pub, at, &end))
			any = true;
		else if (r->type != REGMAP_REGION_BITBAND)
			return WRONG(error, &r->source,
			             "region \"%s\" is an alias of 0x%" PRIx64 "-0x%" PRIx64
			             ", and 0x%" PRIx64
			             " lies in no region: correct its target or size",
			             r->name, r->target, last, at);
		if (end >= last)
			break;
	}
	if (!any)
		return WRONG(error, &r->source,
		             "bit-band \"%s\" is one of 0x%" PRIx64 "-0x%" PRIx64
		             ", where no region is: correct its target",
		             r->name, r->target, last);
	return 0;
}

enum { UNSEEN, ON_THE_WAY, SEEN };

/* One on the way from an alias to what it is one of, and how far its target was looked through. */
struct step {
	struct layout_region *region;
	uint64_t at;
	bool is_done;
};

/* The next alias among what @s leads to, or NULL. */
static struct layout_region *next_alias(const struct layout *l, struct step *s)
{
	uint64_t last = target_last(&s->region->pub), end;

	while (!s->is_done) {
		const struct regmap_region *r = regmap__layout_region_at(&l->pub, s->at, &end);

		s->is_done = end >= last;
		s->at = end + 1;
		if (r && regmap__region_has_target(r))
			return (struct layout_region *)region_of(r);
	}
	return NULL;
}

static int follow(const struct layout *l, struct step *way, struct layout_region *from,
                  struct regmap_error *error)
{
	size_t depth = 1;

	way[0] = (struct step){from, from->pub.target, false};
	from->mark = ON_THE_WAY;
	while (depth) {
		struct step *s = &way[depth - 1];
		struct layout_region *next = next_alias(l, s);

		if (!next) {
			s->region->mark = SEEN;
			depth--;
		} else if (next->mark == ON_THE_WAY) {
			return WRONG(
				error, &s->region->pub.source,
				"region \"%s\" is an alias of \"%s\", and that leads back to it: "
				"break the circle",
				s->region->pub.name, next->pub.name);
		} else if (next->mark == UNSEEN) {
			next->mark = ON_THE_WAY;
			way[depth++] = (struct step){next, next->pub.target, false};
		}
	}
	return 0;
}

static int check_circles(const struct layout *l, struct regmap_error *error)
{
	size_t count = 0;
	struct step *way;
	int err = 0;

	for (size_t i = 0; i < l->regions.count; i++) {
		struct layout_region *r = (struct layout_region *)l->regions.at[i];

		r->mark = UNSEEN;
		count += regmap__region_has_target(&r->pub);
	}
	if (!count)
		return 0;
	way = calloc(count, sizeof(*way));
	if (!way)
		return regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
	for (size_t i = 0; i < l->regions.count && !err; i++) {
		struct layout_region *r = (struct layout_region *)l->regions.at[i];

		if (regmap__region_has_target(&r->pub) && r->mark == UNSEEN)
			err = follow(l, way, r, error);
	}
	free(way);
	return err;
}

/* ---- memory ---- */

/* Bytes of its own, which aliases haven't, nor what nothing is connected to. */
static bool holds(const struct regmap_region *r)
{
	return !regmap__region_has_target(r) && !(r->type == REGMAP_REGION_EXTERNAL && r->detached);
}

static bool lies_in_holding(const struct layout_region *r)
{
	for (const struct layout_region *p = r->parent; p; p = p->parent)
		if (holds(&p->pub))
			return true;
	return false;
}

static int check_memory(const struct layout *l, struct regmap_error *error)
{
	uint64_t sum = 0;

	if (!l->pub.max_memory)
		return 0;
	for (size_t i = 0; i < l->pub.region_count; i++) {
		const struct regmap_region *r = l->pub.regions[i];

		if (!holds(r) || lies_in_holding(region_of(r)))
			continue;
		sum += r->length;
		if (sum > l->pub.max_memory)
			return WRONG(
				error, &r->source,
				"with region \"%s\" the regions have more than max_memory, 0x%" PRIx64
				" bytes: raise it, or make them smaller",
				r->name, l->pub.max_memory);
	}
	return 0;
}

static int check_regions(const struct layout *l, struct regmap_error *error)
{
	int err = 0;

	for (size_t i = 0; i < l->pub.region_count && !err; i++) {
		const struct regmap_region *r = l->pub.regions[i];

		if (region_last(r) >> ADDRESS_BITS)
			err = WRONG(error, &r->source,
			            "region \"%s\" ends at 0x%" PRIx64 ": addresses have %d bits",
			            r->name, region_last(r), ADDRESS_BITS);
		else if (regmap__region_has_target(r))
			err = check_target(l, r, error);
	}
	return err;
}

/* ---- what an address is of ---- */

static int new_spans(struct layout_spans *spans, size_t things)
{
	free(spans->at);
	spans->count = 0;
	spans->at = calloc(2 * things + 1, sizeof(*spans->at));
	return spans->at ? 0 : -ENOMEM;
}

static void span_from(struct layout_spans *spans, uint64_t start, const void *thing)
{
	struct layout_span *last = spans->count ? &spans->at[spans->count - 1] : NULL;

	if (last && last->start == start)
		last->thing = thing;
	else
		spans->at[spans->count++] = (struct layout_span){start, thing};
}

/* @open and those that it lies in end where they end before @start. */
static void end_regions(struct layout_spans *spans, const struct layout_region *open,
                        uint64_t start)
{
	for (; open && region_last(&open->pub) < start; open = open->parent)
		span_from(spans, region_last(&open->pub) + 1, open->parent);
}

static int index_regions(struct layout *l)
{
	const struct layout_region *open = NULL;

	if (new_spans(&l->region_spans, l->regions.count))
		return -ENOMEM;
	for (size_t i = 0; i < l->regions.count; i++) {
		struct layout_region *r = (struct layout_region *)l->regions.at[i];

		end_regions(&l->region_spans, open, r->pub.address);
		span_from(&l->region_spans, r->pub.address, r);
		r->depth = r->parent ? r->parent->depth + 1 : 1;
		open = r;
	}
	end_regions(&l->region_spans, open, UINT64_MAX);
	l->has_spans = true;
	return 0;
}

/* Drop from the stack what ended before @start; those below it go on. */
static size_t end_before(struct layout_spans *spans, const struct regmap_peripheral **open,
                         size_t depth, uint64_t start)
{
	while (depth && peripheral_last(open[depth - 1]) < start) {
		uint64_t last = peripheral_last(open[--depth]);

		while (depth && peripheral_last(open[depth - 1]) <= last)
			depth--;
		span_from(spans, last + 1, depth ? open[depth - 1] : NULL);
	}
	return depth;
}

/*
 * Where peripherals overlap, it is the one that began last, of those the shortest, of those the first.
 */
static int index_peripherals(struct layout *l)
{
	size_t count = l->pub.peripheral_count, depth = 0;
	const struct regmap_peripheral **open = calloc(count + 1, sizeof(*open));
	struct layout_spans *spans = &l->peripheral_spans;

	if (!open || new_spans(spans, count)) {
		free(open);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		const struct regmap_peripheral *p = l->pub.peripherals[i];

		depth = end_before(spans, open, depth, p->address);
		if (depth && same_range(p, open[depth - 1]))
			continue;
		span_from(spans, p->address, p);
		open[depth++] = p;
	}
	end_before(spans, open, depth, UINT64_MAX);
	free(open);
	return 0;
}

/* ---- all of it ---- */

static int check_all(struct layout *l, struct regmap_error *error)
{
	int err = make_regions(l, error);

	if (!err && (index_regions(l) || index_peripherals(l)))
		err = regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
	if (!err)
		err = check_regions(l, error);
	for (size_t i = 0; i < l->pub.peripheral_count && !err; i++)
		err = check_registers(l, l->pub.peripherals[i], error);
	if (!err)
		err = check_circles(l, error);
	return err ? err : check_memory(l, error);
}

int regmap__layout_finish(struct layout *l, struct regmap_error *error)
{
	int err;

	regmap__layout_unfinish(l);
	err = check_all(l, error);
	if (err)
		regmap__layout_unfinish(l);
	else
		l->is_finished = true;
	return err;
}
