/* SPDX-License-Identifier: MIT */
/* What sites remember of the device that they met last, as all threads read it: for regmap__slot_move(). */
#ifndef SRC_MOVE_H
#define SRC_MOVE_H

#include "../arch/x86_64/slot.h"
#include "../arch/x86_64/slotmove.h"
#include "table.h"

/*
 * The cell's site, a straight move (emulator/plan.h), meets this device, which is pinned, and all that lies
 * from @first to @last: as the table of that version says. AS-Safe.
 */
void regmap__move_note(struct slot_cell *cell, struct lane *lane, struct regmap_window *window,
                       uint64_t first, uint64_t last, uint64_t version);

/* For regmap__slot_move(): the callback has returned @err. The registers are as they were. */
struct pin;
void regmap__move_failed(struct slot_frame *frame, struct pin *pin, const struct move *m,
                         struct regmap_window *window, int err);

#endif
