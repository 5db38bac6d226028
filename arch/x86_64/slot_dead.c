/* SPDX-License-Identifier: MIT */
/*
 * What nobody will miss: flags and registers that the code behind a site overwrites before it reads
 * them.
 *
 * A program can see that they have changed in two ways only. A signal may come in a slot or behind it,
 * and its handler looks at the interrupted registers: of flags and registers that are dead there, to no
 * purpose. Or an instruction faults on purpose, and the handler goes on elsewhere, where other
 * registers are live than on the straight line: so the search for registers ends at whatever can
 * fault. For flags it goes on: no compiler keeps flags alive across a fault.
 *
 * The site's own access may fault as well, so a register that is dead behind the site may be a
 * stranger's in the handler of that fault: who minds has none used, by clearing slot_dead.gpr.
 */
#include "slot_dead.h"

#include <string.h>

#include "slot.h"

#include "sigsafe.h"

enum { FAR_ENOUGH = 16 };

/* Nothing changes with a count of 0, be it in CL or an immediate. */
static bool may_do_nothing(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD: return true;
	default: return false;
	}
}

/* The adjust flag is undefined by the manuals, and cleared by all processors. */
static bool is_logic(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_AND || m == ZYDIS_MNEMONIC_OR || m == ZYDIS_MNEMONIC_XOR ||
	       m == ZYDIS_MNEMONIC_TEST;
}

uint64_t regmap__slot_flags_read(const struct em_decoded *d)
{
	const ZydisAccessedFlags *f = d->insn.cpu_flags;

	return f ? f->tested & CPU_STATUS : 0;
}

uint64_t regmap__slot_flags_kept(const struct em_decoded *d)
{
	const ZydisAccessedFlags *f = d->insn.cpu_flags;
	uint64_t written;

	if (!f || may_do_nothing(d->insn.mnemonic))
		return CPU_STATUS;
	written = (f->modified | f->set_0 | f->set_1) & ~f->undefined;
	if (is_logic(d->insn.mnemonic))
		written |= CPU_AF;
	return CPU_STATUS & ~written;
}

/* --- the scan --- */

struct scan {
	struct em_decoded d;
	uint64_t dead_flags, live_flags;
	uint16_t dead, live;
	bool registers; /* the search for them goes on */
};

/* Where the straight line ends, or where somebody else looks at all registers. */
static bool is_end(const struct em_decoded *d)
{
	if (d->insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
	    d->insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return true;
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_MISC: return d->insn.mnemonic != ZYDIS_MNEMONIC_LEA;
	default: return false;
	}
}

/* UD2 and kin, PUSHF: they have categories of their own, or none that tells. */
static bool is_odd(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFQ: return true;
	default: return false;
	}
}

/* An address that is merely computed, or a register, or a number. */
static bool is_harmless(const ZydisDecodedOperand *op)
{
	struct em_reg r;

	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_IMMEDIATE: return true;
	case ZYDIS_OPERAND_TYPE_MEMORY: return op->mem.type == ZYDIS_MEMOP_TYPE_AGEN;
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return regmap__em_gpr(op->reg.value, &r) ||
		       ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_FLAGS;
	default: return false;
	}
}

static bool may_fault(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count; i++)
		if (!is_harmless(&d->op[i]))
			return true;
	return d->insn.mnemonic == ZYDIS_MNEMONIC_DIV || d->insn.mnemonic == ZYDIS_MNEMONIC_IDIV;
}

static uint16_t bit_of(ZydisRegister reg)
{
	struct em_reg r;

	return regmap__em_gpr(reg, &r) ? (uint16_t)(1u << r.gpr) : 0;
}

/* All 64 bits of it, whatever they were. BSF and BSR leave it alone if they find nothing. */
static bool is_overwritten(const struct em_decoded *d, const ZydisDecodedOperand *op)
{
	return op->actions == ZYDIS_OPERAND_ACTION_WRITE && op->size >= 32 &&
	       d->insn.mnemonic != ZYDIS_MNEMONIC_BSF && d->insn.mnemonic != ZYDIS_MNEMONIC_BSR;
}

/* xor %reg, %reg */
static bool is_zeroing(const struct em_decoded *d)
{
	return (d->insn.mnemonic == ZYDIS_MNEMONIC_XOR || d->insn.mnemonic == ZYDIS_MNEMONIC_SUB) &&
	       d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER && d->op[0].size >= 32 &&
	       d->op[0].reg.value == d->op[1].reg.value;
}

static uint16_t registers_read(const struct em_decoded *d)
{
	uint16_t read = 0;

	for (int i = 0; i < d->insn.operand_count && !is_zeroing(d); i++) {
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
			read |= bit_of(op->mem.base) | bit_of(op->mem.index);
		else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && !is_overwritten(d, op))
			read |= bit_of(op->reg.value);
	}
	return read;
}

static uint16_t registers_written(const struct em_decoded *d)
{
	uint16_t written = is_zeroing(d) ? bit_of(d->op[0].reg.value) : 0;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_overwritten(d, &d->op[i]))
			written |= bit_of(d->op[i].reg.value);
	return written;
}

static void look_at_flags(struct scan *s)
{
	s->live_flags |= regmap__slot_flags_read(&s->d) & ~s->dead_flags;
	s->dead_flags |= CPU_STATUS & ~regmap__slot_flags_kept(&s->d) & ~s->live_flags;
}

static void look_at_registers(struct scan *s)
{
	s->registers = s->registers && !may_fault(&s->d);
	if (!s->registers)
		return;
	s->live |= registers_read(&s->d) & (uint16_t)~s->dead;
	s->dead |= registers_written(&s->d) & (uint16_t)~s->live;
}

static bool is_decided(const struct scan *s)
{
	return (s->live_flags | s->dead_flags) == CPU_STATUS && !s->registers;
}

struct slot_dead regmap__slot_dead(const uint8_t *code, size_t length)
{
	struct scan s = {.registers = true, .live = 1u << CPU_RSP};

	for (unsigned i = 0; i < FAR_ENOUGH && !is_decided(&s); i++) {
		if (regmap__em_decode(&s.d, code, length) || is_end(&s.d) ||
		    is_odd(s.d.insn.mnemonic))
			break;
		look_at_flags(&s);
		look_at_registers(&s);
		code += s.d.insn.length;
		length -= s.d.insn.length;
	}
	return (struct slot_dead){s.dead_flags, s.dead};
}
