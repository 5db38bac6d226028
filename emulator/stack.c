/* SPDX-License-Identifier: MIT */
/*
 * Instructions that push, pop or branch: the stack, the explicit operand, or both lie in a window.
 */
#include <string.h>

#include "../arch/x86_64/native.h"
#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

/* What is pushed or popped, called or jumped to. */
enum variant { REGISTER, IMMEDIATE, MEMORY, FLAGS, SEGMENT };

enum { LEVELS = 32, FLAGS_NOT_PUSHED = CPU_RF | 1 << 17 };

static bool is_popf(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_POPF || m == ZYDIS_MNEMONIC_POPFQ;
}

static bool is_pushf(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_PUSHF || m == ZYDIS_MNEMONIC_PUSHFQ;
}

static int kind_of(const ZydisDecodedInstruction *insn)
{
	if (is_pushf(insn->mnemonic))
		return EM_PUSH;
	if (is_popf(insn->mnemonic))
		return EM_POP;
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH: return EM_PUSH;
	case ZYDIS_MNEMONIC_POP: return EM_POP;
	case ZYDIS_MNEMONIC_CALL: return EM_CALL;
	case ZYDIS_MNEMONIC_JMP: return EM_JUMP;
	case ZYDIS_MNEMONIC_RET: return EM_RETURN;
	case ZYDIS_MNEMONIC_ENTER: return EM_ENTER;
	case ZYDIS_MNEMONIC_LEAVE: return EM_LEAVE;
	default: return EM_NONE;
	}
}

/* The visible operand, if there is one. */
static bool plan_operand(struct plan *p, const struct em_decoded *d)
{
	const ZydisDecodedOperand *op = &d->op[0];

	p->variant = MEMORY;
	if (p->has_mem || !d->insn.operand_count_visible)
		return true;
	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		p->variant = IMMEDIATE;
		p->imm = op->imm.value.s;
		return true;
	}
	p->variant = REGISTER;
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	if (ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT) {
		p->variant = SEGMENT;
		p->reg.gpr = (uint8_t)ZydisRegisterGetId(op->reg.value);
		return true;
	}
	return regmap__em_gpr(op->reg.value, &p->reg);
}

bool regmap__em_plan_stack(struct plan *p, const struct em_decoded *d)
{
	int kind = kind_of(&d->insn);

	if (kind == EM_NONE || !plan_operand(p, d))
		return false;
	p->kind = (uint8_t)kind;
	if (is_pushf(d->insn.mnemonic) || is_popf(d->insn.mnemonic))
		p->variant = FLAGS;
	p->width = d->insn.operand_width / 8;
	p->stack_width = p->width == 2 ? 2 : 8;
	if (kind == EM_ENTER)
		p->size = (uint16_t)d->op[1].imm.value.u & (LEVELS - 1);
	if (kind == EM_JUMP && !p->has_mem)
		p->kind = EM_NONE;
	return true;
}

static enum em_status probe_push(struct em *em, uint64_t rsp, unsigned width)
{
	return regmap__em_probe(em, rsp - width, width, EM_WRITE);
}

static enum em_status probe_operand(struct em *em, uint64_t address, unsigned access)
{
	return regmap__em_probe(em, address, em->plan->size, access);
}

static uint64_t segment_value(const struct cpu *cpu, unsigned id)
{
	uint16_t value = 0;

	switch (id) {
	case 0: __asm__("mov %%es, %0" : "=r"(value)); return value;
	case 1: return cpu->cs;
	case 2: return cpu->ss;
	case 3: __asm__("mov %%ds, %0" : "=r"(value)); return value;
	case 4: return cpu->fs;
	default: return cpu->gs;
	}
}

static uint64_t extended_immediate(const struct plan *p)
{
	return (uint64_t)p->imm;
}

/* The value that PUSH, CALL and JMP take; memory is read once the destination has been checked. */
static enum em_status operand_value(struct em *em, uint64_t *value)
{
	const struct plan *p = em->plan;

	*value = 0;
	switch (p->variant) {
	case REGISTER: *value = em->gpr[p->reg.gpr]; return EM_OK;
	case IMMEDIATE: *value = extended_immediate(p); return EM_OK;
	case FLAGS: *value = em->rflags & ~(uint64_t)FLAGS_NOT_PUSHED; return EM_OK;
	case SEGMENT: *value = segment_value(em->cpu, p->reg.gpr); return EM_OK;
	default: return regmap__em_read(em, regmap__em_address(p, em->cpu), value, p->size);
	}
}

static enum em_status push(struct em *em, uint64_t value, unsigned width)
{
	em->gpr[CPU_RSP] -= width;
	return regmap__em_write(em, em->gpr[CPU_RSP], &value, width);
}

static enum em_status probe_source(struct em *em)
{
	if (!em->plan->has_mem)
		return EM_OK;
	return probe_operand(em, regmap__em_address(em->plan, em->cpu), EM_READ);
}

enum em_status regmap__em_footprint_push(const struct plan *p, const struct cpu *cpu,
                                         struct em_footprint *f)
{
	if (p->has_mem)
		regmap__em_range(f, regmap__em_address(p, cpu), p->size, EM_READ);
	regmap__em_range(f, cpu->gpr[CPU_RSP] - p->stack_width, p->stack_width, EM_WRITE);
	return EM_OK;
}

enum em_status regmap__em_execute_push(struct em *em)
{
	unsigned width = em->plan->stack_width;
	enum em_status st = probe_source(em);
	uint64_t value;

	if (!st)
		st = probe_push(em, em->gpr[CPU_RSP], width);
	if (!st)
		st = operand_value(em, &value);
	return st ? st : push(em, value, width);
}

static unsigned popped_bytes(const struct plan *p)
{
	return p->variant == SEGMENT ? regmap__em_selector_width(p->stack_width) : p->stack_width;
}

/* POP computes the address of its destination after it has incremented RSP. */
static uint64_t pop_address(const struct plan *p, const struct cpu *cpu)
{
	uint64_t gpr[16];

	memcpy(gpr, cpu->gpr, sizeof gpr);
	gpr[CPU_RSP] += p->stack_width;
	return regmap__em_segment_base(p, cpu) + regmap__em_offset(p, cpu, gpr);
}

enum em_status regmap__em_footprint_pop(const struct plan *p, const struct cpu *cpu,
                                        struct em_footprint *f)
{
	regmap__em_range(f, cpu->gpr[CPU_RSP], popped_bytes(p), EM_READ);
	if (p->has_mem)
		regmap__em_range(f, pop_address(p, cpu), p->size, EM_WRITE);
	return EM_OK;
}

/* SDM vol. 2, POPF at CPL 3 with IOPL 0: IF and IOPL stay. The 16-bit form stops at NT. */
static void pop_flags(struct em *em, uint64_t value)
{
	uint64_t mask = em->plan->stack_width == 2 ? CPU_USER_FLAGS & 0xffff : CPU_USER_FLAGS;

	em->rflags = (em->rflags & ~mask) | (value & mask);
}

/* Let the CPU itself load (and check) FS or GS: MOV Sreg, [base]. */
static enum em_status pop_segment(struct em *em, uint64_t value)
{
	struct native n = {.flags = 0x202};
	uint8_t code[2] = {0x8e, (uint8_t)(em->plan->reg.gpr << 3 | CPU_RDI)};
	uint16_t selector = (uint16_t)value;

	n.code = regmap__code_stub(code, sizeof code);
	if (!n.code)
		return regmap__em_unimplemented(em, "segment registers need native execution");
	n.gpr[CPU_RDI] = (uintptr_t)&selector;
	if (!regmap__native_run(&n))
		return EM_OK;
	em->fault->trap = n.trap;
	return EM_FAULT;
}

static enum em_status store_popped(struct em *em, uint64_t value)
{
	const struct plan *p = em->plan;

	switch (p->variant) {
	case REGISTER: regmap__em_set(em->gpr, p->reg, p->stack_width, value); return EM_OK;
	case FLAGS: pop_flags(em, value); return EM_OK;
	case SEGMENT: return pop_segment(em, value);
	default: return regmap__em_write(em, pop_address(p, em->cpu), &value, p->size);
	}
}

enum em_status regmap__em_execute_pop(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t rsp = em->gpr[CPU_RSP], value = 0;
	enum em_status st = regmap__em_probe(em, rsp, popped_bytes(p), EM_READ);

	if (!st && p->has_mem)
		st = probe_operand(em, pop_address(p, em->cpu), EM_WRITE);
	if (!st)
		st = regmap__em_read(em, rsp, &value, popped_bytes(p));
	if (st)
		return st;
	em->gpr[CPU_RSP] = rsp + p->stack_width;
	return store_popped(em, value);
}

enum em_status regmap__em_footprint_call(const struct plan *p, const struct cpu *cpu,
                                         struct em_footprint *f)
{
	return regmap__em_footprint_push(p, cpu, f);
}

static uint64_t branch_target(const struct em *em, uint64_t value)
{
	if (em->plan->variant == IMMEDIATE)
		value += em->bus->next;
	return em->plan->width == 2 ? (uint16_t)value : value;
}

enum em_status regmap__em_execute_call(struct em *em)
{
	uint64_t value, back = em->rip;
	enum em_status st = probe_source(em);

	if (!st)
		st = probe_push(em, em->gpr[CPU_RSP], em->plan->stack_width);
	if (!st)
		st = operand_value(em, &value);
	if (st)
		return st;
	em->rip = branch_target(em, value);
	return push(em, back, em->plan->stack_width);
}

enum em_status regmap__em_footprint_jump(const struct plan *p, const struct cpu *cpu,
                                         struct em_footprint *f)
{
	regmap__em_range(f, regmap__em_address(p, cpu), p->size, EM_READ);
	return EM_OK;
}

enum em_status regmap__em_execute_jump(struct em *em)
{
	enum em_status st = probe_source(em);
	uint64_t value;

	if (!st)
		st = operand_value(em, &value);
	if (!st)
		em->rip = branch_target(em, value);
	return st;
}

enum em_status regmap__em_footprint_return(const struct plan *p, const struct cpu *cpu,
                                           struct em_footprint *f)
{
	regmap__em_range(f, cpu->gpr[CPU_RSP], p->stack_width, EM_READ);
	return EM_OK;
}

enum em_status regmap__em_execute_return(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t rsp = em->gpr[CPU_RSP], value = 0;
	enum em_status st = regmap__em_probe(em, rsp, p->stack_width, EM_READ);

	if (!st)
		st = regmap__em_read(em, rsp, &value, p->stack_width);
	if (st)
		return st;
	em->rip = value;
	em->gpr[CPU_RSP] = rsp + p->stack_width;
	if (p->variant == IMMEDIATE)
		em->gpr[CPU_RSP] += (uint16_t)p->imm;
	return EM_OK;
}

/* ENTER copies level - 1 frame pointers from the caller's display: read at RBP, written at RSP. */
enum em_status regmap__em_footprint_enter(const struct plan *p, const struct cpu *cpu,
                                          struct em_footprint *f)
{
	unsigned w = p->stack_width, level = p->size;
	uint64_t rsp = cpu->gpr[CPU_RSP], rbp = cpu->gpr[CPU_RBP];

	if (level > 1)
		regmap__em_range(f, rbp - (level - 1) * w, (level - 1) * w, EM_READ);
	regmap__em_range(f, rsp - (level + 1) * w, (level + 1) * w, EM_WRITE);
	return EM_OK;
}

/* SDM vol. 2, ENTER: it faults where a write at the final RSP would. */
static enum em_status probe_final_rsp(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t rsp = em->cpu->gpr[CPU_RSP] - (p->size + 1u) * p->stack_width - (uint16_t)p->imm;

	return regmap__em_probe(em, rsp, p->stack_width, EM_WRITE);
}

static enum em_status probe_enter(struct em *em)
{
	struct em_footprint f = {0};
	enum em_status st = EM_OK;

	regmap__em_footprint_enter(em->plan, em->cpu, &f);
	st = probe_push(em, em->gpr[CPU_RSP], em->plan->stack_width);
	if (!st && em->plan->size > 1)
		st = regmap__em_probe(em, em->gpr[CPU_RBP] - em->plan->stack_width,
		                      em->plan->stack_width, EM_READ);
	for (unsigned i = 0; !st && i < f.count; i++)
		st = em->bus->ops->probe(em->bus, f.range[i].address, f.range[i].length,
		                         f.range[i].access, em->fault);
	return st ? st : probe_final_rsp(em);
}

static enum em_status copy_display(struct em *em, uint64_t frame)
{
	unsigned w = em->plan->stack_width, level = em->plan->size;
	uint64_t rbp = em->gpr[CPU_RBP];
	enum em_status st = EM_OK;

	for (unsigned i = 1; !st && i < level; i++) {
		uint64_t value = 0;

		rbp -= w;
		st = regmap__em_read(em, rbp, &value, w);
		if (!st)
			st = push(em, value, w);
	}
	return st || !level ? st : push(em, frame, w);
}

enum em_status regmap__em_execute_enter(struct em *em)
{
	static const struct em_reg rbp = {CPU_RBP, false};
	const struct plan *p = em->plan;
	enum em_status st = probe_enter(em);
	uint64_t frame;

	if (!st)
		st = push(em, em->gpr[CPU_RBP], p->stack_width);
	frame = em->gpr[CPU_RSP];
	if (!st)
		st = copy_display(em, frame);
	regmap__em_set(em->gpr, rbp, p->stack_width, frame);
	em->gpr[CPU_RSP] -= (uint16_t)p->imm;
	return st;
}

enum em_status regmap__em_footprint_leave(const struct plan *p, const struct cpu *cpu,
                                          struct em_footprint *f)
{
	regmap__em_range(f, cpu->gpr[CPU_RBP], p->stack_width, EM_READ);
	return EM_OK;
}

enum em_status regmap__em_execute_leave(struct em *em)
{
	static const struct em_reg rbp = {CPU_RBP, false};
	const struct plan *p = em->plan;
	uint64_t frame = em->gpr[CPU_RBP], value = 0;
	enum em_status st = regmap__em_probe(em, frame, p->stack_width, EM_READ);

	if (!st)
		st = regmap__em_read(em, frame, &value, p->stack_width);
	if (st)
		return st;
	em->gpr[CPU_RSP] = frame + p->stack_width;
	regmap__em_set(em->gpr, rbp, p->stack_width, value);
	return EM_OK;
}
