/* SPDX-License-Identifier: MIT */
/*
 * Slots made by hand, with nothing but a call part and an original: what regmap__slot_call() and
 * signals make of them is tried without the generator and the patcher.
 */
#ifndef TESTS_HANDSLOT_H
#define TESTS_HANDSLOT_H

#include "../../src/hot.h"
#include "../../emulator/plan.h"

struct t_handslot {
	struct slot_map map;
	struct slot_cell *cell;
	struct plan plan;
	uint8_t *code; /* @map.length bytes */
};

/*
 * The instruction at @site, at least 5 bytes that could run anywhere, becomes a jump to a slot.
 * regmap__hot_start() is called first. Aborts where anything fails. Lives as long as the process.
 */
struct t_handslot *t_handslot_make(const void *site);
/* The instruction is back. */
void t_handslot_undo(const struct t_handslot *slot);

#endif
