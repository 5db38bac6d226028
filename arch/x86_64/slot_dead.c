/* SPDX-License-Identifier: MIT */
/*
 * What nobody will miss: status flags that the code behind a site overwrites before it reads them.
 * They may be seen all the same, by the handler of a signal that comes in the slot or right behind: no
 * compiler keeps flags alive across either. And on the register page, by any access to memory whose
 * address isn't known: there the search ends.
 *
 * Registers are another matter. A handler may go on elsewhere after a fault (safe reads, implicit
 * null checks), where others are live than on the straight line, and the site's own access may fault
 * like any other. Saving the two or three that a slot borrows costs 0.1 to 0.3 ns (bench/slot.c), so none
 * is ever called dead.
 */
#include "slot_dead.h"

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

/* Where the straight line ends, or where somebody else looks at all flags. */
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

/* May it see RFLAGS on the register page? */
static bool looks_at_memory(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    d->op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
		    d->op[i].mem.base != ZYDIS_REGISTER_RIP)
			return true;
	return false;
}

struct slot_dead regmap__slot_dead(const uint8_t *code, size_t length)
{
	struct em_decoded d;
	uint64_t dead = 0, live = 0;

	for (unsigned i = 0; i < FAR_ENOUGH && (live | dead) != CPU_STATUS; i++) {
		if (regmap__em_decode(&d, code, length) || is_end(&d) || is_odd(d.insn.mnemonic) ||
		    looks_at_memory(&d))
			break;
		live |= regmap__slot_flags_read(&d) & ~dead;
		dead |= CPU_STATUS & ~regmap__slot_flags_kept(&d) & ~live;
		code += d.insn.length;
		length -= d.insn.length;
	}
	return (struct slot_dead){.flags = dead, .gpr = 0};
}
