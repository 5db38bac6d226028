/* SPDX-License-Identifier: MIT */
/* From a layout to areas, cells and units. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "registers_inside.h"

enum { ALL_WIDTHS = 1 | 2 | 4 | 8, PAGE = 4096 };

/* Beyond this, the kernel has no address space for the values. */
#define MOST_MEMORY (1ull << 46)

/* --- areas --- */

static bool is_mmio(const struct regmap_region *region)
{
	return region->type == REGMAP_REGION_MMIO;
}

static uint64_t area_bytes(const struct regmap_region *region)
{
	return (region->address % CELL + region->length + 127) & ~63ull;
}

static uint64_t index_bytes(const struct regmap_region *region)
{
	return (area_bytes(region) / CELL * sizeof(uint32_t) + 63) & ~63ull;
}

static int count_areas(struct regs *r, const struct regmap_layout *layout,
                       struct regmap_error *error)
{
	uint64_t values = 0, index = 0;

	r->area_count = layout->region_count;
	for (size_t i = 0; i < layout->region_count; i++) {
		const struct regmap_region *region = layout->regions[i];

		if (!is_mmio(region))
			continue;
		if (region->length < MOST_MEMORY) {
			values += area_bytes(region);
			index += index_bytes(region);
		}
		if (region->length >= MOST_MEMORY || values + index >= MOST_MEMORY)
			return regmap__layout_wrong(
				error, -ENOMEM, &region->source,
				"region \"%s\" makes more registers than there is address space for: make it smaller",
				region->name);
	}
	r->values_length = (values + PAGE - 1) & -(uint64_t)PAGE;
	r->memory_length = r->values_length + index;
	return 0;
}

static uint64_t hash_of(const void *p)
{
	return ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15 >> 20;
}

static void enter_area(struct regs *r, uint32_t i)
{
	uint64_t at = hash_of(r->areas[i].region);

	while (r->area_of[at & r->area_mask])
		at++;
	r->area_of[at & r->area_mask] = i + 1;
}

struct area *regmap__regs_area(const struct regs *r, const struct regmap_region *region)
{
	uint64_t at = hash_of(region);
	uint32_t i;

	while ((i = r->area_of[at++ & r->area_mask]))
		if (r->areas[i - 1].region == region)
			return &r->areas[i - 1];
	return NULL;
}

/* By address; of two with the same one, the longer first. */
static int compare_areas(const void *a, const void *b)
{
	const struct regmap_region *x = ((const struct area *)a)->region;
	const struct regmap_region *y = ((const struct area *)b)->region;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return (x->length < y->length) - (x->length > y->length);
}

static void list_areas(struct regs *r, const struct regmap_layout *layout)
{
	for (size_t i = 0; i < r->area_count; i++)
		r->areas[i].region = layout->regions[i];
	qsort(r->areas, r->area_count, sizeof(*r->areas), compare_areas);
}

/* All values come first: a reset forgets them at once. */
static void lay_areas(struct regs *r, uint8_t *memory)
{
	uint8_t *index = memory + r->values_length;
	uint64_t reach = 0;

	for (size_t i = 0; i < r->area_count; i++) {
		struct area *a = &r->areas[i];
		uint64_t last = a->region->address + a->region->length - 1;

		reach = last > reach ? last : reach;
		a->reach = reach;
		enter_area(r, (uint32_t)i);
		if (!is_mmio(a->region))
			continue;
		a->bytes = memory + a->region->address % CELL;
		a->first_cell = a->region->address / CELL;
		memory += area_bytes(a->region);
		a->index = (uint32_t *)index;
		index += index_bytes(a->region);
	}
}

static int make_areas(struct regs *r, const struct regmap_layout *layout)
{
	uint8_t *memory = NULL;

	for (r->area_mask = 7; r->area_mask < 2 * r->area_count;)
		r->area_mask = 2 * r->area_mask + 1;
	r->area_of = calloc(r->area_mask + 1, sizeof(*r->area_of));
	r->areas = calloc(r->area_count + 1, sizeof(*r->areas));
	if (!r->area_of || !r->areas)
		return -ENOMEM;
	if (r->memory_length)
		memory = mmap(NULL, r->memory_length, PROT_READ | PROT_WRITE,
		              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	r->memory = memory;
	list_areas(r, layout);
	lay_areas(r, memory);
	return 0;
}

/* The innermost: they lie inside each other or apart. */
struct area *regmap__regs_area_at(const struct regs *r, uint64_t address)
{
	size_t low = 0, high = r->area_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (r->areas[middle].region->address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low > 0 && r->areas[low - 1].reach >= address; low--)
		if (address - r->areas[low - 1].region->address < r->areas[low - 1].region->length)
			return &r->areas[low - 1];
	return NULL;
}

/* --- units --- */

static unsigned widest(const struct regmap_peripheral *p)
{
	unsigned width = 0;

	for (size_t i = 0; i < p->register_count; i++)
		if (p->registers[i]->width > width)
			width = p->registers[i]->width;
	return width;
}

static uint8_t up_to(unsigned width)
{
	return (uint8_t)(width ? 2 * width - 1 : ALL_WIDTHS);
}

static uint8_t policy_of(enum regmap_width_policy inner, uint8_t outer)
{
	return inner == REGMAP_WIDTH_DEFAULT ? outer : (uint8_t)inner;
}

static uint8_t region_policy(const struct regmap_region *region)
{
	return policy_of(region ? region->width_policy : REGMAP_WIDTH_DEFAULT, REGMAP_WIDTH_WARN);
}

static void make_unit(const struct regs *r, struct unit *u, const struct regmap_peripheral *p)
{
	const struct area *area = regmap__regs_area_at(r, p->address);
	const struct regmap_region *region = area ? area->region : NULL;

	u->peripheral = p;
	u->first = p->address;
	u->last = p->address + (p->length ? p->length - 1 : 0);
	u->widths = (uint8_t)p->widths;
	if (!u->widths)
		u->widths = region && region->widths ? (uint8_t)region->widths : up_to(widest(p));
	u->policy = policy_of(p->width_policy, region_policy(region));
}

/* By address; of two with the same one, the longer first. */
static int compare_units(const void *a, const void *b)
{
	const struct unit *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (x->last < y->last) - (x->last > y->last);
}

static int make_units(struct regs *r, const struct regmap_layout *layout)
{
	uint64_t reach = 0;

	r->unit_count = layout->peripheral_count;
	r->units = calloc(r->unit_count + 1, sizeof(*r->units));
	if (!r->units)
		return -ENOMEM;
	for (size_t i = 0; i < r->unit_count; i++)
		make_unit(r, &r->units[i], layout->peripherals[i]);
	qsort(r->units, r->unit_count, sizeof(*r->units), compare_units);
	for (size_t i = 0; i < r->unit_count; i++) {
		if (r->units[i].last > reach)
			reach = r->units[i].last;
		r->units[i].reach = reach;
	}
	return 0;
}

struct unit *regmap__regs_unit_at(const struct regs *r, uint64_t address)
{
	size_t low = 0, high = r->unit_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (r->units[middle].first <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low > 0 && r->units[low - 1].reach >= address; low--)
		if (r->units[low - 1].last >= address)
			return &r->units[low - 1];
	return NULL;
}

struct unit *regmap__regs_unit_of(const struct regs *r, const struct regmap_peripheral *p)
{
	struct unit key = {.first = p->address,
	                   .last = p->address + (p->length ? p->length - 1 : 0)};
	struct unit *u = bsearch(&key, r->units, r->unit_count, sizeof(key), compare_units);

	while (u > r->units && !compare_units(&key, u - 1))
		u--;
	while (u->peripheral != p)
		u++;
	return u;
}

/* --- what a register's bits do --- */

struct bits {
	uint64_t readable, writable, read_clears, read_sets, once;
	struct write_masks masks;
};

static uint64_t *masked(struct write_masks *m, enum regmap_write_action action)
{
	switch (action) {
	case REGMAP_WRITE_ONE_TO_CLEAR: return &m->one_clears;
	case REGMAP_WRITE_ONE_TO_SET: return &m->one_sets;
	case REGMAP_WRITE_ONE_TO_TOGGLE: return &m->one_toggles;
	case REGMAP_WRITE_ZERO_TO_CLEAR: return &m->zero_clears;
	case REGMAP_WRITE_ZERO_TO_SET: return &m->zero_sets;
	case REGMAP_WRITE_ZERO_TO_TOGGLE: return &m->zero_toggles;
	case REGMAP_WRITE_CLEAR: return &m->clears;
	case REGMAP_WRITE_SET: return &m->sets;
	default: return &m->modify;
	}
}

static bool can_read(enum regmap_register_access access)
{
	return access != REGMAP_WRITE_ONLY && access != REGMAP_WRITE_ONCE;
}

static bool is_once(enum regmap_register_access access)
{
	return access == REGMAP_WRITE_ONCE || access == REGMAP_READ_WRITE_ONCE;
}

/* The kinds in @b, each of which is a mask. */
enum { KINDS = sizeof(struct bits) / sizeof(uint64_t) };

static void say(struct bits *b, uint64_t mask, enum regmap_register_access access,
                enum regmap_read_action read, enum regmap_write_action write)
{
	uint64_t *all = (uint64_t *)b;

	for (unsigned i = 0; i < KINDS; i++)
		all[i] &= ~mask;
	if (can_read(access)) {
		b->readable |= mask;
		b->read_clears |= read == REGMAP_READ_CLEAR ? mask : 0;
		b->read_sets |= read == REGMAP_READ_SET ? mask : 0;
	}
	if (access == REGMAP_READ_ONLY)
		return;
	b->writable |= mask;
	*masked(&b->masks, write) |= mask;
	b->once |= is_once(access) ? mask : 0;
}

static uint64_t field_mask(const struct regmap_field *f)
{
	return f->width >= 64 ? ~0ull : ((1ull << f->width) - 1) << f->lsb;
}

/* What a field doesn't say, or says as any would, is its register's. */
static void bits_of(const struct regmap_register *reg, struct bits *b)
{
	memset(b, 0, sizeof(*b));
	say(b, ~0ull >> (64 - 8 * reg->width), reg->access, reg->read_action, reg->write_action);
	for (size_t i = 0; i < reg->field_count; i++) {
		const struct regmap_field *f = reg->fields[i];

		say(b, field_mask(f), f->access ? f->access : reg->access,
		    f->read_action ? f->read_action : reg->read_action,
		    f->write_action ? f->write_action : reg->write_action);
	}
}

/* --- cells --- */

/* A register in a cell. */
struct piece {
	uint32_t area, number; /* of its counts */
	uint64_t cell;
	const struct regmap_register *reg;
	uint64_t address;
	struct unit *unit;
};

/* As they were described, where they are at one place. */
static int compare_pieces(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->area != y->area)
		return x->area < y->area ? -1 : 1;
	if (x->cell != y->cell)
		return x->cell < y->cell ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

static int add_piece(struct regs *r, struct piece *p, uint64_t last, struct regmap_error *error)
{
	struct area *area = regmap__regs_area_at(r, p->address);

	if (!area || last - area->region->address >= area->region->length)
		return regmap__layout_wrong(
			error, -EINVAL, &p->reg->source,
			"register \"%s.%s\" at 0x%llx lies in no region: add one of type mmio",
			p->unit->peripheral->name, p->reg->name, (unsigned long long)p->address);
	p->area = (uint32_t)(area - r->areas);
	p->cell = p->address / CELL;
	if (area->bytes)
		r->reg_count++;
	return 0;
}

static int list_pieces(struct regs *r, const struct regmap_layout *layout, struct piece *list,
                       struct regmap_error *error)
{
	uint32_t number = 0;
	int err;

	for (size_t i = 0; i < layout->peripheral_count; i++) {
		const struct regmap_peripheral *p = layout->peripherals[i];
		struct unit *unit = regmap__regs_unit_of(r, p);

		for (size_t k = 0; k < p->register_count; k++) {
			const struct regmap_register *reg = p->registers[k];
			uint64_t address = p->address + reg->offset;
			uint64_t last = address + reg->width - 1;
			struct piece *piece = &list[r->reg_count];

			*piece = (struct piece){.number = number++,
			                        .reg = reg,
			                        .address = address,
			                        .unit = unit};
			err = add_piece(r, piece, last, error);
			if (err)
				return err;
			if (&list[r->reg_count] == piece || last / CELL == address / CELL)
				continue;
			list[r->reg_count] = *piece;
			list[r->reg_count++].cell = last / CELL;
		}
	}
	return 0;
}

static uint64_t shifted(uint64_t bits, const struct piece *p)
{
	uint64_t from = p->cell * CELL;

	return p->address >= from ? bits << (p->address - from) * 8 :
	                            bits >> (from - p->address) * 8;
}

static void merge_masks(struct cell *c, const struct bits *b, const struct piece *p, uint64_t mask)
{
	const uint64_t *from = (const uint64_t *)&b->masks;
	uint64_t *to = (uint64_t *)&c->masks;

	for (unsigned i = 0; i < sizeof(c->masks) / sizeof(*to); i++)
		to[i] = (to[i] & ~mask) | (shifted(from[i], p) & mask);
	c->once = (c->once & ~mask) | (shifted(b->once, p) & mask);
}

/* What was there before keeps its bits: of two registers at one place, the first that can be read is. */
struct taken {
	uint64_t read, write;
};

static void merge(struct cell *c, struct taken *taken, const struct piece *p)
{
	struct bits b;
	uint64_t all = shifted(~0ull >> (64 - 8 * p->reg->width), p), mask;

	bits_of(p->reg, &b);
	mask = all & ~(taken->read & c->readable);
	c->readable = (c->readable & ~mask) | (shifted(b.readable, p) & mask);
	c->read_clears = (c->read_clears & ~mask) | (shifted(b.read_clears, p) & mask);
	c->read_sets = (c->read_sets & ~mask) | (shifted(b.read_sets, p) & mask);
	taken->read |= all;
	mask = all & ~taken->write;
	merge_masks(c, &b, p, mask);
	taken->write |= shifted(b.writable, p);
	mask = all & ~c->described;
	c->reset |= shifted(p->reg->reset_value & p->reg->reset_mask, p) & mask;
	c->described |= all;
}

static void make_reg(struct regs *r, struct reg *to, const struct piece *p)
{
	struct bits b;

	bits_of(p->reg, &b);
	*to = (struct reg){
		.reg = p->reg,
		.unit = p->unit,
		.address = p->address,
		.mask = shifted(~0ull >> (64 - 8 * p->reg->width), p),
		.counts = &r->counts[p->number],
		.model = &r->models[p->number],
		.widths = (uint8_t)(p->reg->widths ? p->reg->widths : p->unit->widths),
		.policy = policy_of(p->reg->width_policy, p->unit->policy),
		.readable = b.readable != 0,
		.writable = b.writable != 0,
	};
}

/* NULL: not all of a cell is one unit's. */
static struct unit *unit_around(const struct regs *r, uint64_t address)
{
	struct unit *unit = regmap__regs_unit_at(r, address);

	for (unsigned i = 1; i < CELL; i++)
		if (regmap__regs_unit_at(r, address + i) != unit)
			return NULL;
	return unit;
}

static void make_cell(struct regs *r, const struct piece *first, size_t count, struct reg *regs)
{
	uint32_t i = (uint32_t)r->cell_count++;
	struct area *area = &r->areas[first->area];
	struct taken taken = {0};
	struct cell *c = &r->cells[i];

	c->address = first->cell * CELL;
	c->stored = stored_at(area, c->address);
	c->unit = unit_around(r, c->address);
	c->regs = regs;
	c->reg_count = (unsigned)count;
	c->readable = c->masks.modify = ~0ull;
	c->widths = ALL_WIDTHS;
	for (size_t k = 0; k < count; k++) {
		merge(c, &taken, &first[k]);
		make_reg(r, &regs[k], &first[k]);
		c->widths &= regs[k].widths;
	}
	c->is_plain = c->masks.modify == ~0ull && !c->once;
	area->index[first->cell - area->first_cell] = i + 1;
}

static void make_cells(struct regs *r, const struct piece *list)
{
	size_t end;

	for (size_t i = 0; i < r->reg_count; i = end) {
		for (end = i + 1; end < r->reg_count && list[end].area == list[i].area &&
		                  list[end].cell == list[i].cell;)
			end++;
		make_cell(r, &list[i], end - i, &r->regs[i]);
	}
}

/* Which cells are a unit's: for its reset. */
static int list_cells(struct regs *r)
{
	for (size_t i = 0; i < r->reg_count; i++)
		r->regs[i].unit->cell_count++;
	for (size_t i = 0; i < r->unit_count; i++) {
		struct unit *u = &r->units[i];

		u->cells = calloc(u->cell_count + 1u, sizeof(*u->cells));
		if (!u->cells)
			return -ENOMEM;
		u->cell_count = 0;
	}
	for (size_t i = 0; i < r->cell_count; i++)
		for (unsigned k = 0; k < r->cells[i].reg_count; k++) {
			const struct reg *reg = &r->cells[i].regs[k];

			reg->unit->cells[reg->unit->cell_count++] = (struct unit_cell){&r->cells[i],
			                                                               reg->mask};
			reg->model->unit = reg->unit;
		}
	return 0;
}

static int make_registers(struct regs *r, const struct regmap_layout *layout,
                          struct regmap_error *error)
{
	struct piece *list;
	int err;

	for (size_t i = 0; i < layout->peripheral_count; i++)
		r->count_count += layout->peripherals[i]->register_count;
	r->counts = calloc(r->count_count + 1, sizeof(*r->counts));
	r->models = calloc(r->count_count + 1, sizeof(*r->models));
	list = calloc(2 * r->count_count + 1, sizeof(*list));
	if (!r->counts || !r->models || !list) {
		free(list);
		return -ENOMEM;
	}
	err = list_pieces(r, layout, list, error);
	if (!err) {
		qsort(list, r->reg_count, sizeof(*list), compare_pieces);
		r->regs = calloc(r->reg_count + 1, sizeof(*r->regs));
		r->cells = calloc(r->reg_count + 1, sizeof(*r->cells));
		err = r->regs && r->cells ? 0 : -ENOMEM;
	}
	if (!err)
		make_cells(r, list);
	free(list);
	return err ? err : list_cells(r);
}

int regmap__regs_build(struct regs *r, struct regmap_error *error)
{
	const struct regmap_layout *layout = r->device->layout;
	int err = count_areas(r, layout, error);

	if (!err)
		err = make_areas(r, layout);
	if (!err)
		err = make_units(r, layout);
	if (!err)
		err = make_registers(r, layout, error);
	return err;
}

void regmap__regs_unbuild(struct regs *r)
{
	if (r->memory)
		munmap(r->memory, r->memory_length);
	free(r->areas);
	free(r->area_of);
	free(r->cells);
	free(r->regs);
	free(r->counts);
	free(r->models);
	for (size_t i = 0; r->units && i < r->unit_count; i++)
		free(r->units[i].cells);
	free(r->units);
}
