/* SPDX-License-Identifier: MIT */
/*
 * The jump of a short instruction takes in bytes of those behind it. Processors remember where such a jump
 * ends; who comes back to the middle of it is taken for one who executes it, and has to begin anew: on
 * Intel's that takes as long as a callback. So a slot that calls C does those instructions, too, as its *tail*, if the
 * program's memory still shows them: see slotcall.S.
 */
#ifndef ARCH_X86_64_SLOT_TAIL_H
#define ARCH_X86_64_SLOT_TAIL_H

#include "slot_emit.h"

/* Instructions and the jump behind them. False: it has none, and nothing is emitted. */
bool regmap__slot_emit_tail(struct slot_emit *e, const struct slot_request *request);
void regmap__slot_fill_tail(const struct slot_request *request, const struct slot_map *map,
                            struct slot_cell *cell);

#endif
