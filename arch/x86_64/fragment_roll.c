/* SPDX-License-Identifier: MIT */
/* A thread that was interrupted in a fragment was between two of the program's instructions. */
#include "fragment_code.h"
#include "roll.h"
#include "slot_emit.h"

#include "sigsafe.h"

static const struct fragment_step *step_at(const struct fragment_map *map, unsigned offset)
{
	unsigned low = 0, high = map->steps;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (map->step[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return &map->step[low];
}

static uint64_t parity(uint64_t value)
{
	return __builtin_parity((unsigned)value & 0xff) ? 0 : CPU_PF;
}

/* As TEST and CMP make them; what TEST leaves undefined in the manuals, all processors clear. */
static uint64_t flags_of(const struct fragment_setter *s, uint64_t a, uint64_t b)
{
	unsigned top = 8 * s->width - 1;
	uint64_t mask = top == 63 ? ~0ULL : (1ULL << (top + 1)) - 1, flags = 0, result;

	a &= mask;
	b &= mask;
	result = (s->tests ? a & b : a - b) & mask;
	flags |= parity(result) | (result ? 0 : CPU_ZF) | (result >> top & 1 ? CPU_SF : 0);
	if (s->tests)
		return flags;
	flags |= a < b ? CPU_CF : 0;
	flags |= (a ^ b ^ result) & 0x10 ? CPU_AF : 0;
	flags |= ((a ^ b) & (a ^ result)) >> top & 1 ? CPU_OF : 0;
	return flags;
}

static void roll_status(const struct fragment_map *map, const struct fragment_step *step,
                        const struct cpu_regs *regs)
{
	if (step->state & FRAGMENT_KEPT) {
		roll_flags_of_ax(regs, roll_tls(map->tls, offsetof(struct lane_tls, flags)));
	} else if (step->state & FRAGMENT_KNOWN) {
		const struct fragment_setter *s = &map->setter[step->setter];
		uint64_t b = s->has_constant ? (uint64_t)(int64_t)s->constant :
		                               *roll_reg(regs, s->b);

		roll_flags(regs, CPU_STATUS, flags_of(s, *roll_reg(regs, s->a), b));
	}
}

/* RAX comes last: it may hold them. */
static void roll_ahead(const struct fragment_map *map, const struct fragment_step *step,
                       const struct cpu_regs *regs)
{
	uint64_t *rax = roll_reg(regs, CPU_RAX), *rsp = roll_reg(regs, CPU_RSP);

	if (step->state & FRAGMENT_IN_AH)
		roll_flags_of_ah(regs, *rax);
	if (step->state & FRAGMENT_IN_AX)
		roll_flags_of_ax(regs, *rax);
	if (step->state & FRAGMENT_KEPT) {
		roll_flags_of_ax(regs, roll_tls(map->tls, offsetof(struct lane_tls, flags)));
		roll_lane(map->tls);
	}
	if (step->state & FRAGMENT_SAVED)
		*rax = roll_pop(rsp);
	if (step->state & FRAGMENT_MOVED)
		*rsp += SLOT_RED_ZONE;
}

bool regmap__fragment_is_ahead(const struct fragment_map *map, unsigned offset)
{
	return step_at(map, offset)->state & FRAGMENT_AHEAD;
}

void regmap__fragment_roll(const struct fragment_map *map, unsigned offset,
                           const struct cpu_regs *regs, uint64_t *rip)
{
	const struct fragment_step *step = step_at(map, offset);

	*rip = map->first + (uint64_t)(int64_t)step->guest;
	if (step->state & FRAGMENT_AHEAD) {
		roll_ahead(map, step, regs);
		return;
	}
	if (step->state & FRAGMENT_AX)
		*roll_reg(regs, CPU_RAX) = *roll_reg(regs, map->lent[0]);
	if (step->state & FRAGMENT_LENT)
		*roll_reg(regs, step->lent) = *roll_reg(regs, map->lent[1]);
	roll_status(map, step, regs);
	for (unsigned i = 0; i < FRAGMENT_REGISTERS; i++)
		*roll_reg(regs, map->lent[i]) = roll_tls(map->tls, offsetof(struct lane_tls, kept) +
		                                                           i * sizeof(uint64_t));
	roll_lane(map->tls);
}

const struct fragment_access *regmap__fragment_access_at(const struct fragment_map *map,
                                                         unsigned offset)
{
	for (unsigned i = 0; i < map->accesses; i++)
		if (map->access[i].access == offset)
			return &map->access[i];
	return NULL;
}
