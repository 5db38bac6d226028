/* SPDX-License-Identifier: MIT */
/* The inline half of the short way: see emulator.h. */
#ifndef EMULATOR_QUICK_H
#define EMULATOR_QUICK_H

#include "plan.h"

static inline uint64_t em_quick_offset(const struct plan *p, const struct cpu_regs *r, uint64_t rip)
{
	uint64_t offset = (uint64_t)p->mem.disp;

	if (p->mem.base == EM_RIP)
		offset += rip + p->length;
	else if (p->mem.base != EM_NO_REG)
		offset += r->value[r->at[p->mem.base]];
	if (p->mem.index8)
		offset += r->value[r->at[CPU_RAX]] & 0xff;
	else if (p->mem.index != EM_NO_REG)
		offset += r->value[r->at[p->mem.index]] << p->mem.shift;
	return p->mem.address32 ? (uint32_t)offset : offset;
}

/* Segments, the alignment check and the single step take the long way. */
static inline bool em_quick_is_flat(const struct plan *p, const struct cpu_regs *r)
{
	return !p->mem.segment && !(*r->flags & (CPU_AC | CPU_TF));
}

/* regmap__em_quick_address() */
static inline bool em_quick_address(const struct plan *p, const struct cpu_regs *r, uint64_t rip,
                                    uint64_t *address)
{
	if (p->kind != EM_COMPILED || p->size > 8 || !em_quick_is_flat(p, r))
		return false;
	*address = em_quick_offset(p, r, rip);
	return true;
}

/* regmap__em_quick() for plain loads and stores of a register. */
static inline bool em_quick_move(const struct plan *p, const struct cpu_regs *r, void *operand)
{
	uint64_t *reg = &r->value[r->at[p->compiled.b.gpr]];
	struct alu a;

	a.rbx = p->compiled.b_imm ? (uint64_t)p->imm : *reg;
	a.mem = operand;
	if (regmap__alu_move(&a, p->compiled.op))
		return false;
	if (p->compiled.out & EM_OUT_B)
		*reg = a.rbx;
	return true;
}

static inline bool em_quick(const struct plan *p, const struct cpu_regs *r, void *operand)
{
	if (p->compiled.move && !p->compiled.b.high)
		return em_quick_move(p, r, operand);
	return regmap__em_quick(p, r, operand);
}

#endif
