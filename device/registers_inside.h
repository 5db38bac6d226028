/* SPDX-License-Identifier: MIT */
/*
 * How register values are kept. A byte of an mmio region has its byte in the region's *area*; where a
 * register lies, the eight aligned bytes around it have a *cell*, which says for each bit what reads and
 * writes do with it. No access crosses a cell, so that one exchange of eight bytes is all of a write, and
 * registers without rules need no lock.
 */
#ifndef DEVICE_REGISTERS_INSIDE_H
#define DEVICE_REGISTERS_INSIDE_H

#include <stdatomic.h>

#include "../describe/rule.h"
#include "../src/gate.h"
#include "registers.h"

enum { CELL = 8 /* bytes */ };

struct reg;
struct unit;
struct ruleset;
struct dependents;

/* The bits of a cell that a write changes, by how. */
struct write_masks {
	uint64_t modify;
	uint64_t one_clears, one_sets, one_toggles;
	uint64_t zero_clears, zero_sets, zero_toggles;
	uint64_t clears, sets;
};

struct cell {
	_Atomic uint64_t *stored;
	uint64_t readable; /* bits; a cleared one is read as 0 */
	uint64_t read_clears, read_sets;
	struct reg *regs; /* those that it meets, alternates too */
	unsigned reg_count;
	uint8_t widths;    /* that all of them allow */
	bool has_rules;    /* rules read or write it, or wait for it: under the lock */
	bool is_plain;     /* writes are modify, all of them */
	struct unit *unit; /* that has all of it; NULL: it depends on the address */
	struct write_masks masks;
	uint64_t once;              /* bits that are written once */
	_Atomic uint64_t written;   /* of these, those that were */
	uint64_t address;           /* guest address of its first byte */
	uint64_t reset, described;  /* bits */
	struct dependents *follows; /* rules that read it, [0], or that are values in it, [1] */
	struct event {
		uint32_t rule;
		uint64_t mask;   /* bits that it is about */
		uint64_t around; /* and of their register */
		unsigned part;   /* of the place */
	} * events;              /* in the order of the rules */
	uint32_t event_count, event_room;
};

/* A register as a cell meets it: one that lies across two cells has one in each. */
struct reg {
	const struct regmap_register *reg;
	struct unit *unit;
	uint64_t address;
	uint64_t mask;         /* bits of the cell */
	struct counts *counts; /* of the register, however many cells it has */
	struct attached *model;
	uint8_t widths;
	uint8_t policy; /* enum regmap_width_policy, never DEFAULT */
	bool readable, writable;
};

struct counts {
	_Atomic uint64_t reads, writes;
};

/* A model; under the lock. */
struct attached {
	_Atomic bool is_on;
	struct regmap_model model;
	void *ctx;
	struct unit *unit; /* whose register it is about */
};

/* A peripheral that lives; the last one is the device itself, for what belongs to none. */
struct unit {
	const struct regmap_peripheral *peripheral; /* NULL: the device */
	uint64_t first, last;
	uint64_t reach; /* the highest last of this one and those before it */
	uint8_t widths, policy;
	struct attached model;
	struct counts rest; /* accesses to bytes that no register describes */
	struct unit_cell {
		struct cell *cell;
		uint64_t mask; /* of the bits that are registers of this unit */
	} * cells;
	uint32_t cell_count;
	_Atomic bool is_reset; /* models are still to be told */
};

/* What one region holds, if it is mmio; of the others only the counts are here. */
struct area {
	const struct regmap_region *region;
	uint8_t *bytes;      /* of the region's first address, as aligned as that; NULL: not mmio */
	uint32_t *index;     /* for each cell of the region, its number + 1; 0: none */
	uint64_t first_cell; /* address / CELL */
	uint64_t reach;      /* the highest last address of this one and those before it */
	struct counts counts;
};

struct regs {
	struct regmap_device *device;
	struct area *areas;
	size_t area_count;
	uint32_t *area_of; /* by the region's pointer: open addressing; number + 1 */
	uint64_t area_mask;
	struct cell *cells;
	size_t cell_count;
	struct reg *regs; /* by cell */
	size_t reg_count;
	struct counts *counts;
	size_t count_count;
	struct attached *models; /* of registers, by their counts' number */
	struct unit *units;      /* by address, then the device */
	size_t unit_count;
	_Atomic uint64_t refused;
	_Atomic uint32_t attention; /* models attached, and a watch: nothing goes the short way */
	_Atomic uint32_t pending;   /* steps that wait for accesses */
	_Atomic uint32_t resets;    /* that models are still to be told of */
	_Atomic uint64_t lock;      /* gate.h */
	regmap_watch_fn watch;      /* under the lock */
	void *watch_ctx;
	bool is_silent;        /* REGMAP_REPORT=0 */
	struct ruleset *rules; /* NULL: there are none */
	void *memory;          /* all values, then the indices */
	size_t memory_length, values_length;
};

/* registers_build.c */
int regmap__regs_build(struct regs *regs, struct regmap_error *error);
void regmap__regs_unbuild(struct regs *regs);
struct area *regmap__regs_area(const struct regs *regs, const struct regmap_region *region);
/* The innermost region at an address; NULL: none. */
struct area *regmap__regs_area_at(const struct regs *regs, uint64_t address);

static inline struct cell *cell_at(const struct regs *regs, const struct area *area,
                                   uint64_t address)
{
	uint32_t i = area->index[address / CELL - area->first_cell];

	return i ? &regs->cells[i - 1] : NULL;
}

struct unit *regmap__regs_unit_of(const struct regs *regs,
                                  const struct regmap_peripheral *peripheral);
/* The innermost peripheral at an address; NULL: none. */
struct unit *regmap__regs_unit_at(const struct regs *regs, uint64_t address);

static inline void count(_Atomic uint64_t *n)
{
	atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

/* The aligned eight bytes around an address. */
static inline _Atomic uint64_t *stored_at(const struct area *area, uint64_t address)
{
	return (_Atomic uint64_t *)(area->bytes +
	                            ((address & -(uint64_t)CELL) - area->region->address));
}

static inline uint64_t mask_of(uint64_t address, unsigned width)
{
	return (~0ull >> (64 - 8 * width)) << address % CELL * 8;
}

#endif
