/* SPDX-License-Identifier: MIT */
/* A thread that was interrupted in a slot never was there. */
#include "slot.h"

#include "cpu.h"
#include "slot_emit.h"

#include "sigsafe.h"

enum { AH_FLAGS = CPU_SF | CPU_ZF | CPU_AF | CPU_PF | CPU_CF };

static unsigned state_at(const struct slot_map *map, unsigned offset)
{
	unsigned state = 0;

	for (unsigned i = 0; i < map->steps && map->step[i].offset <= offset; i++)
		state = map->step[i].state;
	return state;
}

static uint64_t *reg(const struct cpu_regs *regs, unsigned i)
{
	return &regs->value[regs->at[i]];
}

static void set_flags(const struct cpu_regs *regs, uint64_t which, uint64_t value)
{
	*regs->flags = (*regs->flags & ~which) | (value & which);
}

/* The program's RSP may be anything, and a sanitizer knows nothing of what lies below it. */
static uint64_t word(uint64_t rsp)
{
	uint64_t value;

	__asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(rsp) : "memory");
	return value;
}

static uint64_t pop(uint64_t *rsp)
{
	*rsp += 8;
	return word(*rsp - 8);
}

/* Only where the magic has been compared, in this very thread: its FS base was that of libc then, and still is. */
static uint64_t tls_word(const struct slot_map *map, size_t member)
{
	const char *at = (const char *)(intptr_t)map->tls + member;
	uint64_t value;

	__asm__ volatile("mov %%fs:(%1), %0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

/* Before RAX is given back: it may hold them. */
static void roll_flags(const struct slot_map *map, unsigned state, const struct cpu_regs *regs,
                       uint64_t rsp)
{
	uint64_t ax = state & SLOT_IN_TLS ? tls_word(map, offsetof(struct lane_tls, flags)) :
	                                    *reg(regs, CPU_RAX);

	if (state & SLOT_ON_STACK)
		set_flags(regs, CPU_STATUS, word(rsp));
	if (state & (SLOT_IN_AX | SLOT_IN_AH | SLOT_IN_TLS))
		set_flags(regs, AH_FLAGS, ax >> 8);
	if (state & (SLOT_IN_AX | SLOT_IN_TLS))
		set_flags(regs, CPU_OF, ax & 1 ? CPU_OF : 0);
}

static void leave_lane(const struct slot_map *map)
{
	struct lane *lane = (struct lane *)tls_word(map, offsetof(struct lane_tls, lane));

	atomic_store_explicit(&lane->busy, 0, memory_order_release);
}

void regmap__slot_roll(const struct slot_map *map, const struct slot_cell *cell, unsigned offset,
                       const struct cpu_regs *regs, uint64_t *rip)
{
	unsigned state = state_at(map, offset);
	uint64_t *rsp = reg(regs, CPU_RSP);

	if (state & SLOT_WORKED)
		*rsp += 8;
	roll_flags(map, state, regs, *rsp);
	if (state & SLOT_PUSHED)
		*rsp += 8;
	for (unsigned i = map->scratches; i-- > 0;)
		if (state >> i & 1)
			*reg(regs, map->scratch[i]) = pop(rsp);
	if (state & SLOT_MOVED)
		*rsp += SLOT_RED_ZONE;
	if (state & SLOT_BUSY)
		leave_lane(map);
	*rip = state & SLOT_DONE ? cell->next : cell->site;
}
