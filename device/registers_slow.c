/* SPDX-License-Identifier: MIT */
/* Accesses that somebody has a word in: rules, models, widths, who watches. */
#include <errno.h>

#include "registers_access.h"

static uint64_t cut(uint64_t value, unsigned width)
{
	return value & (~0ull >> (64 - 8 * width));
}

static bool is_locked_way(const struct bus_access *a)
{
	return (a->cell && a->cell->has_rules) || atomic_load(&a->regs->pending);
}

static void lock(const struct bus_access *a, struct hold *hold)
{
	if (is_locked_way(a) && !a->is_locked)
		regmap__regs_lock(a->regs, hold);
}

static bool has_rules(const struct bus_access *a)
{
	return a->cell && a->cell->has_rules;
}

/* --- models --- */

/* Called only from a copy, as it may be taken away at any time. */
static bool fetch(struct regs *r, const struct attached *from, struct attached *to)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;

	if (!atomic_load(&from->is_on))
		return false;
	regmap__regs_lock(r, &hold);
	to->model = from->model;
	to->ctx = from->ctx;
	return atomic_load(&from->is_on);
}

/* A part of an access that one model is asked about: all in one register, or in none. */
struct part {
	const struct reg *reg; /* NULL: none */
	uint64_t address;
	unsigned width;
	struct attached model;
};

/* The register that a byte belongs to; at one place, one with a model of its own comes first. */
static const struct reg *owner(const struct bus_access *a, unsigned byte)
{
	uint64_t mask = 0xffull << byte * 8;

	for (unsigned i = 0; a->cell && i < a->cell->reg_count; i++) {
		const struct reg *reg = &a->cell->regs[i];

		if (reg->mask & mask && atomic_load(&reg->model->is_on) &&
		    (a->is_write ? reg->writable : reg->readable))
			return reg;
	}
	return a->cell ? reg_for(a->cell, mask, a->is_write) : NULL;
}

static bool is_run(const struct bus_access *a, const struct reg *reg, unsigned first,
                   unsigned width, uint64_t left)
{
	uint64_t run = mask_of(first, width);

	if (first % width || (left & run) != run)
		return false;
	for (unsigned i = 1; i < width; i++)
		if (owner(a, first + i) != reg)
			return false;
	return true;
}

/* The next part of what is left of an access; false: nothing is. */
static bool next_part(const struct bus_access *a, uint64_t *left, struct part *p)
{
	unsigned first, width = CELL;

	if (!*left)
		return false;
	first = (unsigned)__builtin_ctzll(*left) / 8;
	p->reg = owner(a, first);
	while (first % width || !is_run(a, p->reg, first, width, *left))
		width /= 2;
	p->address = (a->address & -(uint64_t)CELL) + first;
	p->width = width;
	*left &= ~mask_of(first, width);
	return true;
}

static bool find_model(const struct bus_access *a, struct part *p)
{
	const struct unit *u = p->reg ? p->reg->unit : a->unit;

	return (p->reg && fetch(a->regs, p->reg->model, &p->model)) ||
	       (u && fetch(a->regs, &((struct unit *)u)->model, &p->model));
}

static uint64_t offset_of(const struct bus_access *a, const struct part *p)
{
	return p->address - (p->reg ? p->reg->unit : a->unit)->first;
}

static const struct regmap_register *register_of(const struct part *p)
{
	return p->reg ? p->reg->reg : NULL;
}

static uint64_t get_part(const struct part *p, uint64_t bits)
{
	return cut(bits >> shift_of(p->address), p->width);
}

static uint64_t with_part(const struct part *p, uint64_t bits, uint64_t value)
{
	uint64_t mask = mask_of(p->address, p->width);

	return (bits & ~mask) | (value << shift_of(p->address) & mask);
}

static int error_of(int err)
{
	return err > 0 ? -err : err;
}

static int ask_to_read(const struct bus_access *a, uint64_t *bits)
{
	uint64_t left = a->mask;
	struct part p;
	int err = 0;

	while (!err && next_part(a, &left, &p)) {
		uint64_t value = get_part(&p, *bits);

		if (!find_model(a, &p) || !p.model.model.read)
			continue;
		err = error_of(p.model.model.read(p.model.ctx, a->regs->device, register_of(&p),
		                                  offset_of(a, &p), p.width, &value));
		*bits = with_part(&p, *bits, value);
	}
	return err;
}

static int ask_to_write(const struct bus_access *a, uint64_t *bits, uint64_t mask)
{
	uint64_t left = mask;
	struct part p;
	int err = 0;

	while (!err && next_part(a, &left, &p)) {
		uint64_t value = get_part(&p, *bits);

		if (!find_model(a, &p) || !p.model.model.write)
			continue;
		err = error_of(p.model.model.write(p.model.ctx, a->regs->device, register_of(&p),
		                                   offset_of(a, &p), p.width, &value));
		*bits = with_part(&p, *bits, value);
	}
	return err;
}

static void tell_written(const struct bus_access *a, uint64_t bits, uint64_t mask)
{
	uint64_t left = mask;
	struct part p;

	while (next_part(a, &left, &p))
		if (find_model(a, &p) && p.model.model.written)
			p.model.model.written(p.model.ctx, a->regs->device, register_of(&p),
			                      offset_of(a, &p), p.width, get_part(&p, bits));
}

void regmap__models_reset(struct regs *r, struct unit *only)
{
	struct attached model;

	if (!atomic_load(&r->attention))
		return;
	for (size_t i = 0; i < r->unit_count; i++)
		if ((!only || only == &r->units[i]) && fetch(r, &r->units[i].model, &model) &&
		    model.model.reset)
			model.model.reset(model.ctx, r->device);
	for (size_t i = 0; i < r->count_count; i++)
		if ((!only || r->models[i].unit == only) && fetch(r, &r->models[i], &model) &&
		    model.model.reset)
			model.model.reset(model.ctx, r->device);
}

void regmap__models_told(struct regs *r)
{
	if (!atomic_load(&r->resets))
		return;
	for (size_t i = 0; i <= r->unit_count; i++)
		if (atomic_exchange(&r->units[i].is_reset, false)) {
			atomic_fetch_sub(&r->resets, 1);
			regmap__models_reset(r, i < r->unit_count ? &r->units[i] : NULL);
		}
}

/* --- who watches --- */

static void tell_watch(const struct bus_access *a, uint64_t value, int err)
{
	const struct reg *reg = a->cell ? reg_for(a->cell, a->mask, a->is_write) : NULL;
	const struct unit *unit = reg ? reg->unit : a->unit;
	struct regmap_device_access seen = {
		.address = a->address,
		.value = value,
		.width = a->width,
		.is_write = a->is_write,
		.error = err,
		.ip = regmap__current_site(),
		.region = a->area->region,
		.peripheral = unit ? unit->peripheral : NULL,
		.reg = reg ? reg->reg : NULL,
	};

	regmap__regs_tell_watch(a->regs, &seen);
}

void regmap__regs_tell_watch(struct regs *r, const struct regmap_device_access *seen)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;
	regmap_watch_fn watch;
	void *ctx;

	regmap__regs_lock(r, &hold);
	watch = r->watch;
	ctx = r->watch_ctx;
	regmap__regs_unlock(&hold);
	if (watch)
		watch(ctx, r->device, seen);
}

/* --- together --- */

static int finish(const struct bus_access *a, uint64_t value, int err)
{
	if (err)
		count(&a->regs->refused);
	regmap__regs_count(a);
	if (!a->is_locked)
		regmap__models_told(a->regs);
	if (atomic_load(&a->regs->attention))
		tell_watch(a, value, err);
	return err;
}

static int read_split(struct bus_access *a, unsigned width, uint64_t *value)
{
	int err = 0;

	*value = 0;
	for (unsigned at = 0; at < a->width && !err; at += width) {
		uint64_t part = 0;

		err = regmap__regs_read(a->regs, a->area->region, a->address + at, width, &part);
		*value |= part << at * 8;
	}
	return err;
}

static int write_split(struct bus_access *a, unsigned width, uint64_t value)
{
	int err = 0;

	for (unsigned at = 0; at < a->width && !err; at += width)
		err = regmap__regs_write(a->regs, a->area->region, a->address + at, width,
		                         cut(value >> at * 8, width));
	return err;
}

/* What is there to be read, of all bits of the cell. */
static uint64_t stored_bits(const struct bus_access *a)
{
	if (a->cell)
		return atomic_load(a->cell->stored) & a->cell->readable;
	return atomic_load(stored_at(a->area, a->address));
}

static void read_effects(const struct bus_access *a, uint64_t bits)
{
	uint64_t old = a->cell ? atomic_load(a->cell->stored) : 0;

	if (a->regs->rules)
		regmap__rules_tick(a->regs, a->unit);
	if (a->cell)
		regmap__cell_read_effect(a->cell, a->mask);
	if (has_rules(a))
		regmap__rules_after_read(a, old, bits);
	if (a->regs->rules)
		regmap__rules_run_due(a->regs);
}

static int read_now(struct bus_access *a, uint64_t *bits)
{
	bool is_modelled = atomic_load(&a->regs->attention);
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;
	int err = 0;

	lock(a, &hold);
	if (has_rules(a))
		err = regmap__rules_before_read(a);
	*bits = stored_bits(a);
	if (!err && is_modelled) {
		regmap__regs_unlock(&hold);
		err = ask_to_read(a, bits);
		lock(a, &hold);
	}
	if (!err)
		read_effects(a, *bits);
	return err;
}

int regmap__regs_read_slowly(struct bus_access *a, uint64_t *value)
{
	unsigned split = 0;
	uint64_t bits = 0;
	int err;

	if (!a->unit)
		a->unit = regmap__regs_unit_at(a->regs, a->address);
	err = a->any_width ? 0 : regmap__regs_check_width(a, &split);
	if (split)
		return read_split(a, split, value);
	if (!err)
		err = read_now(a, &bits);
	*value = cut(bits >> shift_of(a->address), a->width);
	return finish(a, *value, err);
}

static void store(const struct bus_access *a, uint64_t bits, uint64_t mask)
{
	uint64_t old;

	if (a->regs->rules)
		regmap__rules_tick(a->regs, a->unit);
	if (!a->cell) {
		stored_change(stored_at(a->area, a->address), bits, mask);
	} else {
		old = regmap__cell_write(a->cell, bits, mask);
		if (has_rules(a))
			regmap__rules_after_write(a, old, bits, mask);
	}
	if (a->regs->rules)
		regmap__rules_run_due(a->regs);
}

static int write_now(struct bus_access *a, uint64_t bits)
{
	bool is_modelled = atomic_load(&a->regs->attention);
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;
	uint64_t mask = a->mask;
	int err = 0;

	lock(a, &hold);
	if (has_rules(a))
		err = regmap__rules_before_write(a, bits, &mask);
	if (!err && is_modelled) {
		regmap__regs_unlock(&hold);
		err = ask_to_write(a, &bits, mask);
		lock(a, &hold);
	}
	if (err)
		return err;
	store(a, bits, mask);
	regmap__regs_unlock(&hold);
	if (is_modelled)
		tell_written(a, bits, mask);
	return 0;
}

int regmap__regs_write_slowly(struct bus_access *a, uint64_t value)
{
	unsigned split = 0;
	int err;

	if (!a->unit)
		a->unit = regmap__regs_unit_at(a->regs, a->address);
	err = a->any_width ? 0 : regmap__regs_check_width(a, &split);
	if (split)
		return write_split(a, split, value);
	if (!err)
		err = write_now(a, value << shift_of(a->address));
	return finish(a, value, err);
}
