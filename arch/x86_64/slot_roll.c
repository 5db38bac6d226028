/* SPDX-License-Identifier: MIT */
/* A thread that was interrupted in a slot never was there. */
#include "roll.h"
#include "slot_emit.h"

#include "sigsafe.h"

static unsigned state_at(const struct slot_map *map, unsigned offset)
{
	unsigned state = 0;

	for (unsigned i = 0; i < map->steps && map->step[i].offset <= offset; i++)
		state = map->step[i].state;
	return state;
}

/* Before RAX is given back: it may hold them. */
static void roll_status(const struct slot_map *map, unsigned state, const struct cpu_regs *regs,
                        uint64_t rsp)
{
	if (state & SLOT_ON_STACK)
		roll_flags(regs, CPU_STATUS, roll_word(rsp));
	if (state & SLOT_IN_AH)
		roll_flags_of_ah(regs, *roll_reg(regs, CPU_RAX));
	if (state & SLOT_IN_AX)
		roll_flags_of_ax(regs, *roll_reg(regs, CPU_RAX));
	if (state & SLOT_IN_TLS)
		roll_flags_of_ax(regs, roll_tls(map->tls, offsetof(struct lane_tls, flags)));
}

/* Where a branch or RET ends it, what lies behind is something else. */
static bool is_in_tail(const struct slot_map *map, unsigned offset)
{
	return map->tail_length && offset >= map->tail &&
	       (offset < map->tail_end || offset == map->tail_jump);
}

void regmap__slot_roll(const struct slot_map *map, const struct slot_cell *cell, unsigned offset,
                       const struct cpu_regs *regs, uint64_t *rip)
{
	unsigned state = state_at(map, offset);
	uint64_t *rsp = roll_reg(regs, CPU_RSP);

	if (is_in_tail(map, offset)) {
		*rip = cell->next +
		       (offset == map->tail_jump ? map->tail_length : offset - map->tail);
		return;
	}
	if (state & SLOT_HANDED)
		*roll_reg(regs, CPU_RSI) = roll_word(*rsp + (uint64_t)(int64_t)SLOT_HANDED_AT);
	if (state & SLOT_WORKED)
		*rsp += 8;
	roll_status(map, state, regs, *rsp);
	if (state & SLOT_PUSHED)
		*rsp += 8;
	for (unsigned i = map->scratches; i-- > 0;)
		if (state >> i & 1)
			*roll_reg(regs, map->scratch[i]) = roll_pop(rsp);
	if (state & SLOT_MOVED)
		*rsp += SLOT_RED_ZONE;
	if (state & SLOT_BUSY)
		roll_lane(map->tls);
	*rip = state & SLOT_DONE ? cell->next : cell->site;
}
