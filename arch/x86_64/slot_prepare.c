/* SPDX-License-Identifier: MIT */
/* What an instruction is like, and which registers its slot's inline part borrows. */
#include "slot_making.h"

#include <string.h>

#include "slot_dead.h"
#include "slot_pass.h"

#include "sigsafe.h"

/* --- what the instruction is like --- */

bool regmap__slot_no(struct slot_making *m, const char *why)
{
	m->why = why;
	return false;
}

static bool is_plain(const struct plan *p)
{
	return p->kind == EM_COMPILED || p->kind == EM_NATIVE || p->kind == EM_MASKED;
}

/* CALL or JMP, near, to where 8 bytes of memory say. */
bool regmap__slot_is_indirect(const struct plan *p)
{
	return (p->kind == EM_CALL || p->kind == EM_JUMP) && p->has_mem && p->width == 8 &&
	       p->mem.base != CPU_RSP && p->mem.segment == EM_SEG_NONE;
}

/* RSP as an operand that is read has a stand-in; one that is written moves the frame. */
static bool writes_rsp(const struct em_decoded *d)
{
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    regmap__em_gpr(d->op[i].reg.value, &r) && r.gpr == CPU_RSP && !r.high &&
		    d->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			return true;
	return false;
}

static bool has_inline(struct slot_making *m)
{
	const struct plan *p = m->plan;

	if (!m->request->inline_access)
		return regmap__slot_no(m, "no inline part is wanted");
	if ((!is_plain(p) && !regmap__slot_is_indirect(p)) || !p->has_mem || m->d.mem < 0)
		return regmap__slot_no(m, "no ordinary operand");
	if (!p->size || p->size > VIEW_MOST || !(p->access & (EM_READ | EM_WRITE)))
		return regmap__slot_no(m, "an operand of unusual size");
	if (regmap__slot_names_segment(&m->d))
		return regmap__slot_no(m, "it has to do with a segment register");
	if (!regmap__slot_is_indirect(p) && writes_rsp(&m->d))
		return regmap__slot_no(m, "it writes RSP");
	if (regmap__em_is_x87(&m->d) && !regmap__em_is_amd())
		return regmap__slot_no(m, "the x87 remembers the address of its last instruction");
	if (p->mem.segment != EM_SEG_NONE && !regmap__xstate.fsgsbase)
		return regmap__slot_no(m, "the segment's base can't be read");
	return true;
}

/* --- registers --- */

static bool take(struct slot_making *m, unsigned which, unsigned from, unsigned *avoid)
{
	unsigned dead = from & m->request->dead.gpr & ~*avoid, any = from & ~*avoid;
	unsigned choice = dead ? dead : any;

	if (!choice)
		return regmap__slot_no(m, "no register is free");
	m->reg[which] = (uint8_t)__builtin_ctz(choice);
	*avoid |= 1u << m->reg[which];
	if (!(m->request->dead.gpr >> m->reg[which] & 1))
		m->saved |= 1u << which;
	return true;
}

/* XLAT's index goes through the second register while the base is still needed. */
static unsigned address_registers(const struct slot_making *m)
{
	return m->plan->mem.index8 ? 1u << m->plan->mem.base | 1u << CPU_RAX : 0;
}

/* CALL uses RSP only when all the rest is over. */
static unsigned used_registers(const struct slot_making *m)
{
	unsigned used = regmap__em_used_registers(&m->d);

	return regmap__slot_is_indirect(m->plan) ? used & ~(1u << CPU_RSP) : used;
}

/*
 * The instruction's registers must hold the program's values while it runs, so the two of ours are
 * others. RAX, where it keeps flags, is given back before.
 */
static bool choose_registers(struct slot_making *m)
{
	const unsigned all = 0xffff & ~(1u << CPU_RSP), low = 0xcf; /* but RSP, RBP */
	unsigned used = used_registers(m);
	unsigned avoid = used | address_registers(m);
	bool in_ax = !m->pushes_flags;

	memset(m->reg, EM_NO_REG, sizeof m->reg);
	if (in_ax) {
		m->reg[SLOT_AX] = CPU_RAX;
		avoid |= 1u << CPU_RAX;
		if (used & 1u << CPU_RAX || !(m->request->dead.gpr & 1u << CPU_RAX))
			m->saved |= 1u << SLOT_AX;
	}
	if (!take(m, SLOT_BASE, low, &avoid))
		return false;
	if (used & 1u << CPU_RSP && !take(m, SLOT_STACK, low, &avoid))
		return false;
	return take(m, SLOT_TEMP, low, &avoid) || take(m, SLOT_TEMP, all, &avoid);
}

/* MOV with an absolute address of 64 bits, and XLAT, have no ModRM: they become MOVs that do. */
static bool rewrite_accumulator(struct slot_making *m)
{
	struct em_native *n = &m->insn;
	bool store = m->plan->access & EM_WRITE;
	unsigned width = m->plan->size;

	if (m->d.insn.mnemonic != ZYDIS_MNEMONIC_MOV && m->d.insn.mnemonic != ZYDIS_MNEMONIC_XLAT)
		return regmap__slot_no(m, "no ModRM");
	n->code_length = 0;
	if (width == 2)
		n->code[n->code_length++] = 0x66;
	if (width == 8)
		n->code[n->code_length++] = 0x48;
	n->code[n->code_length++] = (uint8_t)(0x88 | (store ? 0 : 2) | (width > 1));
	n->code[n->code_length++] = m->reg[SLOT_BASE];
	return true;
}

/* mov (base), base: where to go, for the end. It is one of the first eight, with a plain ModRM. */
static bool rewrite_indirect(struct slot_making *m)
{
	const uint8_t load[] = {0x48, 0x8b, (uint8_t)(m->reg[SLOT_BASE] << 3 | m->reg[SLOT_BASE])};

	memcpy(m->insn.code, load, sizeof load);
	m->insn.code_length = sizeof load;
	m->insn.base = m->reg[SLOT_BASE];
	m->insn.rsp = EM_NO_REG;
	return true;
}

/* splice.c chooses between base and stand-in by itself, if both are needed. */
static bool rewrite(struct slot_making *m)
{
	unsigned allowed = 1u << m->reg[SLOT_BASE];

	if (regmap__slot_is_indirect(m->plan))
		return rewrite_indirect(m);
	if (!(m->d.insn.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return rewrite_accumulator(m);
	if (m->reg[SLOT_STACK] != EM_NO_REG)
		allowed |= 1u << m->reg[SLOT_STACK];
	if (!regmap__em_splice(&m->insn, &m->d, ~allowed))
		return regmap__slot_no(m, "its operand can't be rewritten");
	if (m->reg[SLOT_STACK] == EM_NO_REG)
		return m->insn.rsp == EM_NO_REG || regmap__slot_no(m, "it names RSP twice");
	if (m->insn.rsp == EM_NO_REG)
		return regmap__slot_no(m, "it uses RSP without naming it");
	m->reg[SLOT_BASE] = m->insn.base;
	m->reg[SLOT_STACK] = m->insn.rsp;
	return true;
}

static void swap_saved(struct slot_making *m, uint8_t base_before)
{
	unsigned base = m->saved >> SLOT_BASE & 1, stack = m->saved >> SLOT_STACK & 1;

	if (m->reg[SLOT_BASE] == base_before)
		return;
	m->saved &= ~(1u << SLOT_BASE | 1u << SLOT_STACK);
	m->saved |= base << SLOT_STACK | stack << SLOT_BASE;
}

/* Everything that can be known before the first byte is laid. */
bool regmap__slot_prepare(struct slot_making *m)
{
	uint64_t kept = regmap__slot_flags_kept(&m->d) & ~m->request->dead.flags;
	uint8_t base;

	if (!has_inline(m))
		return false;
	m->needs_flags = kept || regmap__slot_flags_read(&m->d);
	m->pushes_flags = m->request->pushed_flags || !regmap__xstate.lahf;
	m->is_x87 = regmap__em_is_x87(&m->d);
	if (!choose_registers(m))
		return false;
	base = m->reg[SLOT_BASE];
	if (!rewrite(m))
		return false;
	swap_saved(m, base);
	m->moves = m->saved || m->pushes_flags || m->is_x87;
	return true;
}
