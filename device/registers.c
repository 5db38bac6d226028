/* SPDX-License-Identifier: MIT */
/* Values of registers, and the short way of accesses that have nothing special about them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/syscall.h"
#include "registers_access.h"

static bool is_silent(void)
{
	const char *wish = getenv("REGMAP_REPORT");

	return wish && !strcmp(wish, "0");
}

int regmap__regs_new(struct regmap_device *device, struct regs **out, struct regmap_error *error)
{
	struct regs *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->device = device;
	r->is_silent = is_silent();
	err = regmap__regs_build(r, error);
	if (!err)
		err = regmap__rules_new(r, error);
	if (err) {
		regmap__regs_free(r);
		return err;
	}
	regmap__regs_reset(r);
	*out = r;
	return 0;
}

void regmap__regs_free(struct regs *r)
{
	if (!r)
		return;
	regmap__rules_free(r);
	regmap__regs_unbuild(r);
	free(r);
}

/* --- the lock --- */

void regmap__regs_lock(struct regs *r, struct hold *hold)
{
	uint64_t none = 0;

	hold->pin.slot = NULL;
	hold->pin.stores = 0;
	regmap__pin_take(&hold->pin);
	regmap__pin_note_thread(&hold->pin);
	regmap__pin_hold_signals(&hold->pin);
	hold->word = &r->lock;
	if (!atomic_compare_exchange_strong(&r->lock, &none, atomic_load(&hold->pin.nonce)) &&
	    !regmap__lock_take(&hold->pin, &r->lock, NULL)) {
		hold->word = NULL;
		regmap__rules_disturb(r);
	}
}

void regmap__regs_unlock(struct hold *hold)
{
	if (hold->word)
		regmap__lock_drop(&hold->pin, hold->word);
	hold->word = NULL;
	regmap__pin_drop(&hold->pin);
}

/* --- one exchange --- */

static uint64_t after_read(const struct cell *c, uint64_t now, uint64_t mask)
{
	return (now & ~(c->read_clears & mask)) | (c->read_sets & mask);
}

static uint64_t after_write(const struct cell *c, uint64_t now, uint64_t value, uint64_t mask)
{
	const struct write_masks *m = &c->masks;
	uint64_t ones = value & mask, zeros = ~value & mask;

	now = (now & ~(m->modify & mask)) | (ones & m->modify);
	now = (now | (ones & m->one_sets)) & ~(ones & m->one_clears);
	now = (now | (zeros & m->zero_sets)) & ~(zeros & m->zero_clears);
	now ^= (ones & m->one_toggles) | (zeros & m->zero_toggles);
	return (now | (mask & m->sets)) & ~(mask & m->clears);
}

/* Bits that can still be written. */
static uint64_t take_once(struct cell *c, uint64_t mask)
{
	return c->once ? mask & ~(c->once & atomic_fetch_or(&c->written, c->once & mask)) : mask;
}

uint64_t regmap__cell_write(struct cell *c, uint64_t value, uint64_t mask)
{
	uint64_t now = atomic_load_explicit(c->stored, memory_order_relaxed);

	mask = take_once(c, mask);
	while (!atomic_compare_exchange_weak(c->stored, &now, after_write(c, now, value, mask)))
		;
	return now;
}

uint64_t regmap__cell_read_effect(struct cell *c, uint64_t mask)
{
	uint64_t now = atomic_load_explicit(c->stored, memory_order_acquire);

	if ((c->read_clears | c->read_sets) & mask)
		while (!atomic_compare_exchange_weak(c->stored, &now, after_read(c, now, mask)))
			;
	return now & c->readable;
}

/* --- accesses --- */

void regmap__regs_count(const struct bus_access *a)
{
	uint64_t left = a->mask;
	struct unit *unit;
	struct reg *reg;

	count(a->is_write ? &a->area->counts.writes : &a->area->counts.reads);
	while (a->cell && left && (reg = reg_for(a->cell, left, a->is_write))) {
		count(a->is_write ? &reg->counts->writes : &reg->counts->reads);
		left &= ~reg->mask;
	}
	if (left != a->mask)
		return;
	unit = a->unit ? a->unit : regmap__regs_unit_at(a->regs, a->address);
	if (unit)
		count(a->is_write ? &unit->rest.writes : &unit->rest.reads);
}

static bool is_plain(const struct bus_access *a)
{
	const struct regs *r = a->regs;

	return a->cell && !a->cell->has_rules && (a->any_width || a->cell->widths & a->width) &&
	       !atomic_load_explicit(&r->attention, memory_order_relaxed) &&
	       !atomic_load_explicit(&r->pending, memory_order_relaxed);
}

static bool begin(struct bus_access *a, struct regs *r, const struct regmap_region *region,
                  uint64_t address, unsigned width)
{
	a->regs = r;
	a->area = regmap__regs_area(r, region);
	if (!a->area || !a->area->bytes)
		return false;
	a->cell = cell_at(r, a->area, address);
	a->unit = a->cell ? a->cell->unit : NULL;
	a->address = address;
	a->mask = mask_of(address, width);
	a->width = width;
	a->is_locked = a->any_width = false;
	return true;
}

int regmap__regs_read(struct regs *r, const struct regmap_region *region, uint64_t address,
                      unsigned width, uint64_t *value)
{
	struct bus_access a;

	if (!begin(&a, r, region, address, width))
		return -EFAULT;
	a.is_write = false;
	if (!is_plain(&a))
		return regmap__regs_read_slowly(&a, value);
	*value = (regmap__cell_read_effect(a.cell, a.mask) & a.mask) >> shift_of(address);
	regmap__regs_count(&a);
	return 0;
}

int regmap__regs_write(struct regs *r, const struct regmap_region *region, uint64_t address,
                       unsigned width, uint64_t value)
{
	struct bus_access a;

	if (!begin(&a, r, region, address, width))
		return -EFAULT;
	a.is_write = true;
	if (!is_plain(&a))
		return regmap__regs_write_slowly(&a, value);
	regmap__cell_write(a.cell, value << shift_of(address), a.mask);
	regmap__regs_count(&a);
	return 0;
}

/* A read and a write in one exchange. */
static void change_plainly(struct bus_access *a, uint64_t clear, uint64_t set)
{
	struct cell *c = a->cell;
	uint64_t mask = take_once(c, a->mask), now = atomic_load(c->stored), to;

	do {
		uint64_t value = ((now & c->readable) & ~clear) | set;

		to = after_write(c, after_read(c, now, a->mask), value, mask);
	} while (!atomic_compare_exchange_weak(c->stored, &now, to));
}

static int change_slowly(struct bus_access *a, uint64_t clear, uint64_t set)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;
	uint64_t value;
	int err;

	/* models are called under no lock */
	if (!atomic_load(&a->regs->attention)) {
		regmap__regs_lock(a->regs, &hold);
		a->is_locked = true;
	}
	a->is_write = false;
	err = regmap__regs_read_slowly(a, &value);
	a->is_write = true;
	return err ? err : regmap__regs_write_slowly(a, (value & ~clear) | set);
}

int regmap__regs_change(struct regs *r, const struct regmap_region *region, uint64_t address,
                        uint8_t clear, uint8_t set)
{
	unsigned shift = shift_of(address);
	struct bus_access a;

	if (!begin(&a, r, region, address, 1))
		return -EFAULT;
	a.any_width = true;
	if (!is_plain(&a))
		return change_slowly(&a, clear, set);
	change_plainly(&a, (uint64_t)clear << shift, (uint64_t)set << shift);
	a.is_write = false;
	regmap__regs_count(&a);
	a.is_write = true;
	regmap__regs_count(&a);
	return 0;
}

void regmap__regs_note(struct regs *r, const struct regmap_region *region, uint64_t address,
                       unsigned width, uint64_t value, bool is_write, int error)
{
	struct area *area = regmap__regs_area(r, region);

	if (!area)
		return;
	count(is_write ? &area->counts.writes : &area->counts.reads);
	if (error)
		count(&r->refused);
	if (atomic_load(&r->attention))
		regmap__regs_tell_watch(r, &(struct regmap_device_access){
						   .address = address,
						   .value = value,
						   .width = width,
						   .is_write = is_write,
						   .error = error,
						   .ip = regmap__current_site(),
						   .region = region,
					   });
}

uint64_t regmap__regs_refused(const struct regs *r)
{
	return atomic_load(&((struct regs *)r)->refused);
}

bool regmap__regs_are_general(const struct regs *r, const struct regmap_region *region)
{
	(void)region;
	return !atomic_load(&((struct regs *)r)->attention) && !regmap__rules_erase(r);
}

/* --- resets --- */

static void forget_once(struct cell *c, uint64_t mask)
{
	if (c->once)
		atomic_fetch_and(&c->written, ~mask);
}

/* Also what no register describes is 0 again, and its memory is given back. */
static void reset_values(struct regs *r)
{
	if (r->values_length)
		sys_call(SYS_madvise, (long)r->memory, (long)r->values_length, MADV_DONTNEED, 0);
	for (size_t i = 0; i < r->cell_count; i++) {
		struct cell *c = &r->cells[i];

		if (c->reset)
			stored_change(c->stored, c->reset, c->described);
		forget_once(c, ~0ull);
	}
}

static void reset_unit(struct unit *u)
{
	for (uint32_t i = 0; i < u->cell_count; i++) {
		struct cell *c = u->cells[i].cell;

		stored_change(c->stored, c->reset, u->cells[i].mask);
		forget_once(c, u->cells[i].mask);
	}
}

void regmap__regs_reset_values(struct regs *r, struct unit *u)
{
	if (u)
		reset_unit(u);
	else
		reset_values(r);
	if (r->rules)
		regmap__rules_reset(r, u);
}

void regmap__regs_reset(struct regs *r)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;

	regmap__regs_lock(r, &hold);
	regmap__regs_reset_values(r, NULL);
	regmap__regs_unlock(&hold);
	regmap__models_reset(r, NULL);
}
