/* SPDX-License-Identifier: MIT */
/* The inline half of the short way: see emulator.h. */
#ifndef EMULATOR_QUICK_H
#define EMULATOR_QUICK_H

#include "../arch/x86_64/rep.h"
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

/* --- strings --- */

static inline unsigned em_source_access(const struct plan *p)
{
	return p->variant == EM_STOS || p->variant == EM_SCAS ? 0 : EM_READ;
}

static inline unsigned em_destination_access(const struct plan *p)
{
	if (p->variant == EM_LODS)
		return 0;
	return p->variant == EM_MOVS || p->variant == EM_STOS ? EM_WRITE : EM_READ;
}

/*
 * What is left of a string with REP that goes upwards: one end or both (an access of 0: no such end),
 * and no more elements than a signal can wait for.
 */
struct em_string {
	uint64_t from, to, count;
	unsigned from_access, to_access;
	uint64_t bytes; /* at each end */
};

/* False: another case. */
static inline bool em_quick_string(const struct plan *p, const struct cpu_regs *r,
                                   struct em_string *s)
{
	enum { MOST = 1 << 20 };

	if (!p->rep || p->mem.address32 || !em_quick_is_flat(p, r) || *r->flags & CPU_DF)
		return false;
	s->from = r->value[r->at[CPU_RSI]];
	s->to = r->value[r->at[CPU_RDI]];
	s->count = r->value[r->at[CPU_RCX]];
	s->from_access = em_source_access(p);
	s->to_access = em_destination_access(p);
	s->bytes = s->count * p->width;
	return s->count - 1 < MOST;
}

/*
 * On memory that may fault. What is done is committed, and shows in RCX. True: nothing is left to do.
 * False: the next iteration faults.
 */
static inline bool em_quick_string_run(const struct plan *p, const struct cpu_regs *r,
                                       const struct em_string *s, uint64_t host_from,
                                       uint64_t host_to)
{
	uint64_t *rax = &r->value[r->at[CPU_RAX]];
	struct rep rep;
	int failed;

	rep.rsi = host_from;
	rep.rdi = host_to;
	rep.rcx = s->count;
	rep.rax = *rax;
	failed = regmap__rep_forwards(&rep, p->body);
	if (rep.rcx == s->count)
		return false;
	r->value[r->at[CPU_RCX]] = rep.rcx;
	if (s->from_access)
		r->value[r->at[CPU_RSI]] += rep.rsi - host_from;
	if (s->to_access)
		r->value[r->at[CPU_RDI]] += rep.rdi - host_to;
	if (p->variant == EM_LODS)
		*rax = rep.rax;
	if (s->to_access == EM_READ)
		*r->flags = (*r->flags & ~(uint64_t)CPU_STATUS) | (rep.flags & CPU_STATUS);
	return !failed;
}

#endif
