/* SPDX-License-Identifier: MIT */
/* Rules of a device that lives. */
#ifndef DEVICE_REGISTERS_RULES_H
#define DEVICE_REGISTERS_RULES_H

#include "registers_access.h"

/* Bits of one cell. */
struct place_part {
	struct cell *cell; /* NULL: there is no such part */
	uint64_t mask;
	int shift; /* of the place's bit 0; negative: to the right */
};

struct place {
	struct place_part part[2];
};

/* A rule that follows, and the bits of a cell or the variable that it depends on. */
struct dependent {
	uint32_t position; /* in the order */
	uint64_t mask;
};

struct dependents {
	struct dependent *at;
	uint32_t count, room;
};

/* Steps behind an "after N". */
struct wait {
	_Atomic bool is_on;
	uint32_t left; /* accesses */
	uint32_t rule, step;
	uint64_t value, old, address;
	unsigned width;
	struct unit *unit; /* whose accesses count */
};

struct linked {
	const struct rule *rule;
	struct place *places;
	uint32_t *variables; /* numbers of the device's */
	struct unit **units; /* of rule->peripherals */
	struct unit *unit;   /* that it belongs to; the device's if none */
	uint32_t first_wait;
};

struct ruleset {
	struct linked *rules;
	size_t rule_count;
	uint32_t *order; /* of those that follow */
	size_t ordered;
	_Atomic uint64_t *dirty; /* those to be computed: a bit each, in the order */
	_Atomic uint64_t *variables;
	struct dependents *of_variable;
	struct unit **variable_units;
	size_t variable_count;
	struct wait *waits;
	size_t wait_count;
	struct linked *program_if;  /* by area; rule NULL: none */
	_Atomic unsigned disturbed; /* times that somebody went in beside the holder of the lock */
	bool erases;
};

/* registers_link.c */
void regmap__rules_unlink(struct linked *l);

#endif
