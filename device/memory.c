/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../describe/layout.h"
#include "../src/window.h"
#include "registers_inside.h"

enum { PAGE = 4096 };

/* Where the memory of regions is whose windows look at accesses first: guest addresses again. */
#define STORE ((uint64_t)REGMAP_DEVICES << SPACE_BITS)
#define SPACE_LAST ((1ULL << SPACE_BITS) - 1)

/* ---- which region ---- */

/* How many begin at or before an address. */
static size_t count_before(const struct memory *m, uint64_t address)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (m->parts[middle].region->address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct part *regmap__part_at(const struct memory *m, uint64_t address, uint64_t *last)
{
	size_t n = count_before(m, address);
	const struct part *part = n ? &m->parts[n - 1] : NULL;

	*last = n < m->count ? m->parts[n].region->address - 1 : UINT64_MAX;
	while (part && part_last(part) < address)
		part = part->parent;
	if (part && part_last(part) < *last)
		*last = part_last(part);
	return (struct part *)part;
}

static void find_parents(struct memory *m)
{
	const struct part *before = NULL;

	for (size_t i = 0; i < m->count; i++) {
		struct part *part = &m->parts[i];

		while (before && part_last(before) < part->region->address)
			before = before->parent;
		part->parent = before;
		before = part;
	}
}

/* ---- what it is ---- */

static bool is_closed(const struct regmap_region *r)
{
	unsigned rights = REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE;

	return r->detached || (!(r->permissions & rights) && r->type != REGMAP_REGION_FLASH);
}

static enum part_kind kind_of(const struct regmap_region *r)
{
	if (is_closed(r))
		return PART_CLOSED;
	switch (r->type) {
	case REGMAP_REGION_FLASH: return PART_FLASH;
	case REGMAP_REGION_STORAGE:
		return r->program_once && r->permissions & REGMAP_PERMIT_WRITE ? PART_FLASH :
		                                                                 PART_RAM;
	case REGMAP_REGION_MMIO: return PART_MMIO;
	case REGMAP_REGION_ALIAS: return PART_ALIAS;
	case REGMAP_REGION_BITBAND: return PART_BITBAND;
	case REGMAP_REGION_REVERSED: return PART_REVERSED;
	case REGMAP_REGION_RAM:
	case REGMAP_REGION_ROM:
	case REGMAP_REGION_EXTERNAL: break;
	}
	return PART_RAM;
}

/* Flash takes writes as its rules say: its permissions are those of code. */
static unsigned access_of(const struct part *part)
{
	const struct regmap_region *r = part->region;
	unsigned access = 0;

	if (r->permissions & REGMAP_PERMIT_READ)
		access |= REGMAP_READ;
	if (r->permissions & REGMAP_PERMIT_WRITE && r->type != REGMAP_REGION_ROM)
		access |= REGMAP_WRITE;
	if (r->type == REGMAP_REGION_FLASH)
		access |= REGMAP_WRITE;
	return access;
}

static bool looks_at_widths(const struct regmap_region *r)
{
	return r->widths && (r->widths & 15) != 15 && r->width_policy != REGMAP_WIDTH_ALLOW;
}

bool regmap__memory_is_watched;

/* Reads can't be free where widths count, where there are none, or where somebody wants to see them. */
static bool needs_face(const struct part *part)
{
	if (regmap__memory_is_watched && part_has_memory(part))
		return true;
	if (part->kind == PART_FLASH && !(access_of(part) & REGMAP_READ))
		return true;
	return (part_has_memory(part) || part->kind == PART_ALIAS) && looks_at_widths(part->region);
}

uint8_t regmap__part_fill(const struct part *part)
{
	enum regmap_region_type type = part->region->type;

	return type == REGMAP_REGION_FLASH || type == REGMAP_REGION_STORAGE ? part->region->erased :
	                                                                      0;
}

/* ---- windows ---- */

static int refuse(const struct part *part, uint64_t offset, unsigned width, uint64_t value,
                  bool is_write)
{
	int err = part->region->detached ? -EIO : -EACCES;

	regmap__regs_note(part->device->regs, part->region, part->region->address + offset, width,
	                  value, is_write, err);
	return err;
}

static int closed_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	*value = 0;
	return refuse(ctx, offset, width, 0, false);
}

static int closed_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	return refuse(ctx, offset, width, value, true);
}

static const struct regmap_device_ops closed_ops = {closed_read, closed_write};

static const struct regmap_device_ops *ops_of(const struct part *part)
{
	switch (part->kind) {
	case PART_MMIO: return &regmap__mmio_ops;
	case PART_BITBAND: return &regmap__bitband_ops;
	case PART_REVERSED: return &regmap__reversed_ops;
	case PART_FLASH: return &regmap__flash_ops;
	case PART_RAM:
	case PART_ALIAS: return NULL;
	case PART_CLOSED: break;
	}
	return &closed_ops;
}

static enum regmap_backing backing_of(const struct part *part)
{
	if (part->kind == PART_RAM)
		return REGMAP_RAM;
	return part->kind == PART_ALIAS ? REGMAP_ALIAS : REGMAP_DEVICE;
}

static int map_window(struct part *part)
{
	const struct regmap_region *r = part->region;
	struct regmap_config c = {
		.size = sizeof(c),
		.name = r->name,
		.guest = part->at,
		.length = r->length,
		.access = part->kind == PART_CLOSED ? REGMAP_READ | REGMAP_WRITE : access_of(part),
		.backing = backing_of(part),
		.ops = ops_of(part),
		.ctx = part,
	};

	if (part->kind == PART_ALIAS)
		c.target = part->device->base + r->target;
	if (part->kind == PART_FLASH) {
		c.access |= REGMAP_READ;
		c.flags = REGMAP_READ_DIRECT;
	}
	if (part_has_memory(part))
		c.fill = regmap__part_fill(part);
	return regmap_map(&c, &part->window);
}

static int map_face(struct part *part)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.name = part->region->name,
		.guest = part->device->base + part->region->address,
		.length = part->region->length,
		.access = access_of(part),
		.backing = REGMAP_DEVICE,
		.ops = &regmap__narrow_ops,
		.ctx = part,
	};

	return regmap_map(&c, &part->face);
}

/* Windows inside come later, so that the first byte is the part's own still. */
static int map_memory(struct part *part)
{
	void *host;
	int err;

	if (part_has_memory(part) && regmap__blocks_needed(part))
		return regmap__blocks_map(part);
	err = map_window(part);
	if (err || !part_has_memory(part))
		return err;
	err = regmap_translate(part->at, &host);
	part->host = host;
	return err;
}

static int map_part(struct part *part)
{
	uint64_t base = part->device->base;
	bool has_face = needs_face(part);
	int err = 0;

	if (has_face && part->kind == PART_ALIAS) {
		part->at = base + part->region->target;
	} else {
		part->at = base + part->region->address + (has_face ? STORE : 0);
		err = map_memory(part);
	}
	return err || !has_face ? err : map_face(part);
}

static void unmap(struct regmap_window **window)
{
	int err;

	do
		err = regmap_unmap(*window);
	while (err == -EDEADLK);
	*window = NULL;
}

static void unmap_part(struct part *part)
{
	unmap(&part->face);
	unmap(&part->window);
	if (part->blocks)
		regmap__blocks_unmap(part);
	part->blocks = NULL;
}

/* ---- all of them ---- */

static int wrong(const struct part *part, struct regmap_error *error, int err)
{
	const struct regmap_region *r = part->region;

	return regmap__layout_wrong(error, err, &r->source,
	                            "region \"%s\" of 0x%llx bytes at 0x%llx can't be made: %s",
	                            r->name, (unsigned long long)r->length,
	                            (unsigned long long)r->address, regmap_strerror(err));
}

static int check(const struct part *part, struct regmap_error *error)
{
	const struct regmap_region *r = part->region;

	if (r->address > SPACE_LAST || r->length - 1 > SPACE_LAST - r->address)
		return regmap__layout_wrong(
			error, -EINVAL, &r->source,
			"region \"%s\" ends behind 0x%llx, the last address that a device can have: "
			"put it into an address space of its own with a lower offset",
			r->name, (unsigned long long)SPACE_LAST);
	if (part->kind == PART_REVERSED && (r->length % 4 || r->address % 4 || r->target % 4))
		return regmap__layout_wrong(
			error, -EINVAL, &r->source,
			"region \"%s\" reverses 32-bit words: make its address, size and target "
			"multiples of 4",
			r->name);
	return 0;
}

static void set_part(struct part *part, struct regmap_device *device,
                     const struct regmap_region *region)
{
	part->region = region;
	part->device = device;
	part->kind = kind_of(region);
}

static int map_all(struct memory *m, struct regmap_error *error)
{
	int err = 0;

	for (size_t i = 0; i < m->count && !err; i++) {
		struct part *part = &m->parts[i];

		set_part(part, m->device, m->device->layout->regions[i]);
		err = check(part, error);
	}
	if (err)
		return err;
	find_parents(m);
	for (size_t i = 0; i < m->count && !err; i++) {
		err = map_part(&m->parts[i]);
		if (err)
			wrong(&m->parts[i], error, err);
	}
	return err;
}

static void drop(struct memory *m)
{
	regmap__memory_unmap(m);
	regmap__memory_free(m);
}

int regmap__memory_new(struct regmap_device *device, struct memory **out,
                       struct regmap_error *error)
{
	struct memory *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	if (m) {
		m->device = device;
		m->count = device->layout->region_count;
		m->parts = calloc(m->count + 1, sizeof(*m->parts));
	}
	if (m && m->parts)
		err = map_all(m, error);
	else
		regmap__layout_wrong(error, err, NULL, "out of memory");
	if (!err)
		*out = m;
	else if (m)
		drop(m);
	return err;
}

void regmap__memory_unmap(struct memory *m)
{
	for (size_t i = m->mapped_count; i-- > 0;)
		unmap(&m->mapped[i].window);
	m->mapped_count = 0;
	for (size_t i = m->parts ? m->count : 0; i-- > 0;)
		unmap_part(&m->parts[i]);
}

void regmap__memory_free(struct memory *m)
{
	free(m->mapped);
	free(m->parts);
	free(m);
}

void regmap__memory_link(struct memory *m)
{
	for (size_t i = 0; i < m->count; i++) {
		struct area *area = regmap__regs_area(m->device->regs, m->parts[i].region);

		m->parts[i].reads = &area->counts.reads;
		m->parts[i].writes = &area->counts.writes;
	}
	regmap__memory_enter_general(m);
}

void regmap__memory_enter_general(struct memory *m)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct part *part = &m->parts[i];

		if (part->kind == PART_MMIO &&
		    regmap__regs_are_general(m->device->regs, part->region))
			regmap__window_set_general(part->window, true);
	}
}

int regmap__memory_leave_general(struct memory *m)
{
	int err = 0;

	for (size_t i = 0; i < m->count && !err; i++)
		if (m->parts[i].kind == PART_MMIO)
			err = regmap__window_set_general(m->parts[i].window, false);
	return err;
}

/* ---- its memory ---- */

static bool leads_on(const struct part *part)
{
	return part && (part->kind == PART_ALIAS || part->kind == PART_REVERSED);
}

/* What a byte of an alias stands for; @run: for how many that goes on. */
static uint64_t follow(const struct part *part, uint64_t address, uint64_t *run)
{
	const struct regmap_region *r = part->region;
	uint64_t offset = address - r->address;

	if (part->kind == PART_ALIAS)
		return r->target + offset;
	if (*run > 4 - offset % 4)
		*run = 4 - offset % 4;
	return regmap__reverse(part, offset);
}

/* Along aliases to what isn't one; @address and @run follow. */
static struct part *find_original(const struct memory *m, uint64_t *address, uint64_t *run)
{
	uint64_t last;
	struct part *part = regmap__part_at(m, *address, &last);

	*run = last - *address + 1;
	for (unsigned depth = 0; leads_on(part) && depth < MAX_ALIASES; depth++) {
		*address = follow(part, *address, run);
		part = regmap__part_at(m, *address, &last);
		if (last - *address < *run - 1)
			*run = last - *address + 1;
	}
	return part;
}

struct part *regmap__part_resolve(const struct memory *m, uint64_t *address)
{
	uint64_t run;

	return find_original(m, address, &run);
}

static int find_memory(const struct memory *m, uint64_t address, bool lay, uint8_t **host,
                       uint64_t *run, struct part **found)
{
	struct part *part = find_original(m, &address, run);
	uint64_t left;
	int err;

	if (found)
		*found = part;
	if (!part || !part_has_memory(part))
		return part ? -ENODEV : -EFAULT;
	if (part->host) {
		*host = part->host + (address - part->region->address);
		return 0;
	}
	err = regmap__block_at(part, address, lay, host, &left);
	*run = left < *run ? left : *run;
	return err;
}

int regmap__memory_host(const struct memory *m, uint64_t address, uint8_t **host, uint64_t *run,
                        struct part **part)
{
	return find_memory(m, address, true, host, run, part);
}

int regmap__memory_look(const struct memory *m, uint64_t address, uint8_t **host, uint64_t *run,
                        struct part **part)
{
	return find_memory(m, address, false, host, run, part);
}

/* Whole pages of zeroes are given back, unless they are to stay. */
static void clear_zero(uint8_t *host, uint64_t length, bool keep)
{
	uint64_t head = -(uintptr_t)host % PAGE, pages;

	if (keep || length < head + PAGE) {
		memset(host, 0, length);
		return;
	}
	pages = (length - head) & -(uint64_t)PAGE;
	if (madvise(host + head, pages, MADV_REMOVE)) {
		memset(host, 0, length);
		return;
	}
	memset(host, 0, head);
	memset(host + head + pages, 0, length - head - pages);
}

void regmap__part_clear(struct part *part, bool keep)
{
	uint8_t fill = regmap__part_fill(part);

	if (part->host && fill)
		memset(part->host, fill, part->region->length);
	else if (part->host)
		clear_zero(part->host, part->region->length, keep);
	for (struct block *b = atomic_load(&part->touched); b; b = b->before)
		memset(atomic_load(&b->host), fill, b->length);
}
