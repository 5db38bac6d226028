/* SPDX-License-Identifier: MIT */
/*
 * Far CALL, JMP, RET and IRET: between the code segments that Linux has for user mode (64-bit and
 * compatibility mode). Any other selector is the general protection fault that it is on silicon.
 */
#include <signal.h>
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum variant { FAR_CALL, FAR_JUMP, FAR_RETURN, INTERRUPT_RETURN };

enum {
	USER_CS = 0x33,
	USER32_CS = 0x23,
	USER_SS = 0x2b,
};

static int variant_of(const ZydisDecodedInstruction *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ: return INTERRUPT_RETURN;
	case ZYDIS_MNEMONIC_CALL:
		return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? FAR_CALL : -1;
	case ZYDIS_MNEMONIC_JMP:
		return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? FAR_JUMP : -1;
	case ZYDIS_MNEMONIC_RET:
		return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? FAR_RETURN : -1;
	default: return -1;
	}
}

bool regmap__em_plan_far(struct plan *p, const struct em_decoded *d)
{
	int variant = variant_of(&d->insn);

	if (variant < 0)
		return false;
	p->variant = (uint8_t)variant;
	p->width = d->insn.operand_width / 8;
	p->stack_width = p->width;
	if (p->has_mem && p->width == 8 && regmap__em_is_amd())
		p->width =
			4; /* REX.W does nothing to a far pointer there, only to what is pushed */
	p->size = p->has_mem ? p->width + 2 : 0;
	if (d->insn.operand_count_visible && d->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		p->imm = (uint16_t)d->op[0].imm.value.u;
	p->kind = EM_FAR;
	return true;
}

enum em_status regmap__em_footprint_far(const struct plan *p, const struct cpu *cpu,
                                        struct em_footprint *f)
{
	unsigned w = p->stack_width;

	if (p->has_mem)
		regmap__em_range(f, regmap__em_address(p, cpu), p->size, EM_READ);
	if (p->variant == FAR_CALL)
		regmap__em_range(f, cpu->gpr[CPU_RSP] - 2 * w, 2 * w, EM_WRITE);
	if (p->variant == FAR_RETURN)
		regmap__em_range(f, cpu->gpr[CPU_RSP], w + regmap__em_selector_width(w), EM_READ);
	if (p->variant == INTERRUPT_RETURN)
		regmap__em_range(f, cpu->gpr[CPU_RSP], 4 * w + regmap__em_selector_width(w),
		                 EM_READ);
	return EM_OK;
}

static enum em_status probe(struct em *em, const struct em_footprint *f, unsigned i)
{
	bool pointer = em->plan->has_mem && i == 0;
	enum em_status st = regmap__em_probe(em, f->range[i].address,
	                                     pointer ? em->plan->width : em->plan->stack_width,
	                                     f->range[i].access);

	if (st)
		return st;
	return em->bus->ops->probe(em->bus, f->range[i].address, f->range[i].length,
	                           f->range[i].access, em->fault);
}

static enum em_status bad_selector(struct em *em, uint64_t selector)
{
	enum em_status st = regmap__em_protection_fault(em);

	em->fault->trap.error = selector & 0xfffc;
	em->named = true;
	return st;
}

static enum em_status enter_segment(struct em *em, uint64_t selector, uint64_t rip)
{
	if ((selector | 3) == USER32_CS)
		return regmap__em_unimplemented(em, "a far branch into 32-bit code");
	if ((selector | 3) != USER_CS)
		return bad_selector(em, selector);
	em->rip = rip;
	return EM_OK;
}

static enum em_status read_pointer(struct em *em, uint64_t *selector, uint64_t *rip)
{
	uint8_t bytes[10] = {0};
	enum em_status st = regmap__em_read(em, regmap__em_address(em->plan, em->cpu), bytes,
	                                    em->plan->size);

	*rip = *selector = 0;
	memcpy(rip, bytes, em->plan->width);
	memcpy(selector, bytes + em->plan->width, 2);
	return st;
}

/* The selector is looked at before the stack, where there may be no place for the way back. */
static enum em_status branch(struct em *em, const struct em_footprint *f)
{
	uint64_t selector, rip, back = em->rip, cs = em->cpu->cs;
	bool calls = em->plan->variant == FAR_CALL;
	enum em_status st = probe(em, f, 0), can_push = EM_OK;
	unsigned w = em->plan->stack_width;
	struct em_fault fault;

	if (!st && calls)
		can_push = probe(em, f, 1);
	fault = *em->fault;
	if (!st)
		st = read_pointer(em, &selector, &rip);
	if (!st)
		st = enter_segment(em, selector, rip);
	if (st || !calls)
		return st;
	if (can_push) {
		*em->fault = fault;
		return can_push;
	}
	em->gpr[CPU_RSP] -= 2 * w;
	st = regmap__em_write(em, em->gpr[CPU_RSP] + w, &cs, w);
	return st ? st : regmap__em_write(em, em->gpr[CPU_RSP], &back, w);
}

enum word { POP_RIP, POP_CS, POP_FLAGS, POP_RSP, POP_SS, POP_WORDS };

static enum em_status pop_word(struct em *em, uint64_t *word, enum word i)
{
	unsigned w = em->plan->stack_width;
	bool selector = i == POP_CS || i == POP_SS;

	word[i] = 0;
	return regmap__em_read(em, em->gpr[CPU_RSP] + i * w, &word[i],
	                       selector ? regmap__em_selector_width(w) : w);
}

static enum em_status far_return(struct em *em)
{
	enum word first = regmap__em_is_amd() ? POP_RIP : POP_CS;
	uint64_t word[POP_CS + 1];
	enum em_status st = pop_word(em, word, first);

	if (!st)
		st = pop_word(em, word, first == POP_RIP ? POP_CS : POP_RIP);
	if (!st)
		st = enter_segment(em, word[POP_CS] & 0xffff, word[POP_RIP]);
	em->gpr[CPU_RSP] += 2 * em->plan->stack_width + (uint64_t)em->plan->imm;
	return st;
}

/* In 64-bit mode IRET always takes RSP and SS as well. */
static enum em_status interrupt_return(struct em *em)
{
	uint64_t word[POP_WORDS], mask = CPU_USER_FLAGS;
	enum em_status st = EM_OK;

	for (enum word i = POP_RIP; !st && i < POP_WORDS; i++)
		st = pop_word(em, word, i);
	if (!st)
		st = enter_segment(em, word[POP_CS] & 0xffff, word[POP_RIP]);
	if (!st && (word[POP_SS] & 0xffff) != USER_SS)
		st = bad_selector(em, word[POP_SS]);
	if (em->plan->width == 2)
		mask &= 0xffff;
	em->rflags = (em->rflags & ~mask) | (word[POP_FLAGS] & mask);
	em->gpr[CPU_RSP] = word[POP_RSP];
	return st;
}

enum em_status regmap__em_execute_far(struct em *em)
{
	struct em_footprint f = {0};
	enum em_status st = EM_OK;

	regmap__em_footprint_far(em->plan, em->cpu, &f);
	if (em->plan->variant == FAR_CALL || em->plan->variant == FAR_JUMP)
		return branch(em, &f);
	if (em->plan->variant == FAR_RETURN && !regmap__em_is_amd())
		st = em->bus->ops->probe(em->bus, em->gpr[CPU_RSP] + em->plan->stack_width, 2,
		                         EM_READ, em->fault);
	if (!st)
		st = probe(em, &f, 0);
	if (st)
		return st;
	return em->plan->variant == FAR_RETURN ? far_return(em) : interrupt_return(em);
}
