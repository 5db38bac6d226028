/* SPDX-License-Identifier: MIT */
/* One access to registers, on its way. */
#ifndef DEVICE_REGISTERS_ACCESS_H
#define DEVICE_REGISTERS_ACCESS_H

#include <sys/types.h>

#include "registers_inside.h"

struct bus_access {
	struct regs *regs;
	struct area *area;
	struct cell *cell; /* NULL: no register lies there */
	struct unit *unit; /* NULL: no peripheral */
	uint64_t address;
	uint64_t mask; /* of the cell's bits, those that it covers */
	uint64_t site; /* the instruction; 0: a call */
	unsigned width;
	bool is_write;
	bool is_locked; /* by the caller */
	bool any_width; /* not one that the program chose */
};

static inline unsigned shift_of(uint64_t address)
{
	return address % CELL * 8;
}

/* --- the lock --- */

/*
 * Of the device; only cells with rules need it. Holders call nobody's callbacks. Signals that are sent wait meanwhile
 * (pin.h); the handlers that come nevertheless, and have an access there, go in without it. So does
 * who is part of a circle of waiting threads.
 */
struct hold {
	struct pin pin;
	_Atomic uint64_t *word; /* NULL: not taken */
};

#define NOT_HELD \
	{ \
		.pin.slot = NULL, .word = NULL \
	}

void regmap__regs_lock(struct regs *regs, struct hold *hold);
void regmap__regs_unlock(struct hold *hold) __attribute__((nothrow));

/* --- one exchange of a cell --- */

/* Returns what was there. Bits that are written once, and were, stay as they are. */
uint64_t regmap__cell_write(struct cell *cell, uint64_t value, uint64_t mask);
/* What is read; and what that does. */
uint64_t regmap__cell_read_effect(struct cell *cell, uint64_t mask);
/* From inside: @mask becomes @value. */
static inline uint64_t stored_change(_Atomic uint64_t *stored, uint64_t value, uint64_t mask)
{
	uint64_t now = atomic_load_explicit(stored, memory_order_relaxed);

	while (!atomic_compare_exchange_weak(stored, &now, (now & ~mask) | (value & mask)))
		;
	return now;
}

/*
 * The register that an access to these bits of the cell is one to: the first that can be read, or
 * written, or else the first. NULL: no register.
 */
static inline struct reg *reg_for(const struct cell *c, uint64_t mask, bool is_write)
{
	struct reg *any = NULL;

	for (unsigned i = 0; i < c->reg_count; i++) {
		struct reg *reg = &c->regs[i];

		if (!(reg->mask & mask))
			continue;
		if (is_write ? reg->writable : reg->readable)
			return reg;
		if (!any)
			any = reg;
	}
	return any;
}

/* --- the long way: registers_slow.c --- */

int regmap__regs_read_slowly(struct bus_access *access, uint64_t *value);
int regmap__regs_write_slowly(struct bus_access *access, uint64_t value);
void regmap__regs_count(const struct bus_access *access);
void regmap__regs_tell_watch(struct regs *regs, const struct regmap_device_access *seen);
/* Of one unit, or (NULL) all. No lock is held. */
void regmap__models_reset(struct regs *regs, struct unit *only);
/* Of resets that were steps of rules, likewise. */
void regmap__models_told(struct regs *regs);

/* --- widths: registers_width.c --- */

/*
 * 0; -EIO the policy refuses it. *split: it is one by a call, to be made as accesses of that many
 * bytes. Reports, if that is due.
 */
int regmap__regs_check_width(const struct bus_access *access, unsigned *split);

/* --- rules: registers_rules.c; under the lock, of cells that have some --- */

int regmap__rules_new(struct regs *regs, struct regmap_error *error);
void regmap__rules_free(struct regs *regs);
/* Some rule erases memory. */
bool regmap__rules_erase(const struct regs *regs);
/* Refused: -EIO. Else what "before read" says has been done. */
int regmap__rules_before_read(const struct bus_access *access);
/* @old: the cell before the read. @value: what was read. */
void regmap__rules_after_read(const struct bus_access *access, uint64_t old, uint64_t value);
/* Refused: -EIO. *mask loses what is ignored. */
int regmap__rules_before_write(const struct bus_access *access, uint64_t value, uint64_t *mask);
void regmap__rules_after_write(const struct bus_access *access, uint64_t old, uint64_t value,
                               uint64_t mask);
/* One access more to a unit, or (NULL) to none: some steps that wait become due, and then are done. */
void regmap__rules_tick(struct regs *regs, struct unit *unit);
void regmap__rules_run_due(struct regs *regs);
/* Values as after a reset, of one unit, or (NULL) all, and what rules say of that. Under the lock. */
void regmap__regs_reset_values(struct regs *regs, struct unit *unit);
/* These bits of the cell have been changed from inside: what follows them, follows. */
void regmap__rules_changed(struct regs *regs, struct cell *cell, uint64_t mask);
/* All that follows is computed anew. */
void regmap__rules_settle_all(struct regs *regs);
/* The lock was not to be had: somebody is in the middle of what this thread goes into. */
void regmap__rules_disturb(struct regs *regs);
/* Values are as after a reset; of one unit, or (NULL) all. */
void regmap__rules_reset(struct regs *regs, struct unit *unit);

#endif
