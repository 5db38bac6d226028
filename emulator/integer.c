/* SPDX-License-Identifier: MIT */
/* Tier 1: one memory operand, one operation of alu.S. */
#include <signal.h>
#include <string.h>

#include "internal.h"
#include "quick.h"

#include "../arch/x86_64/sigsafe.h"

enum { BY_M, BY_R };

struct row {
	const regmap__alu_op *first, *other, *lock;
	uint8_t out, by;
	bool flags, present;
};

#define EM_ROW(mnemonic, first, other, lock, out, by, flags) \
	[ZYDIS_MNEMONIC_##mnemonic] = {ROW_OP(first), ROW_OP(other), ROW_OP(lock), out, \
	                               BY_##by,       flags,         true},
#define ROW_OP(name) (const regmap__alu_op *)regmap__alu_##name
#define regmap__alu_0 0
static const struct row rows[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#include "integer.def"
};
#undef EM_ROW
#undef regmap__alu_0

static bool is_shift(const struct em_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
	case ZYDIS_MNEMONIC_RORX: return true;
	default: return false;
	}
}

static bool is_bit(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

/* Into which slot an operand goes; false: this row can't take it. */
static bool place(struct plan *p, const struct em_decoded *d, const ZydisDecodedOperand *op)
{
	struct em_compiled *c = &p->compiled;
	struct em_reg reg;

	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		p->imm = op->imm.value.s;
		*(is_shift(d) ? &c->c_imm : &c->b_imm) = true;
		return true;
	}
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !regmap__em_gpr(op->reg.value, &reg))
		return false;
	if (is_shift(d) && op->reg.value == ZYDIS_REGISTER_CL && op->id > 0 &&
	    op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_REG)
		c->c = reg;
	else if (c->b.gpr == EM_NO_REG)
		c->b = reg;
	else
		c->c = reg;
	return true;
}

static bool place_all(struct plan *p, const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count_visible; i++)
		if (i != d->mem && !place(p, d, &d->op[i]))
			return false;
	return true;
}

static unsigned register_width(const struct em_decoded *d)
{
	return d->op[d->mem ? 0 : 1].size / 8u;
}

/* The table and the column. */
static regmap__alu_op pick(const struct row *row, const struct plan *p, const struct em_decoded *d)
{
	const regmap__alu_op *table = d->mem ? row->other : row->first;
	unsigned width = row->by == BY_R ? register_width(d) : p->size;

	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		table = row->lock;
	else if (d->mem == 0 && row->lock == regmap__alu_xchg)
		table = row->first;
	if (table == regmap__alu_movzx8 && p->size == 2)
		table = regmap__alu_movzx16;
	if (table == regmap__alu_movsx8 && p->size == 2)
		table = regmap__alu_movsx16;
	if (table == regmap__alu_movsxd && p->size != 4)
		return NULL;
	if (!table || width == 0 || (width & (width - 1)) || width > 16)
		return NULL;
	return table[width == 16 ? 3 : regmap__em_log2(width)];
}

/* D0 and D1 shift by one, and leave other undefined flags than a count of one does on some CPUs. */
static regmap__alu_op pick_shift_by_one(const struct em_decoded *d, unsigned size)
{
	const regmap__alu_op *table;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ROL: table = regmap__alu_rol1; break;
	case ZYDIS_MNEMONIC_ROR: table = regmap__alu_ror1; break;
	case ZYDIS_MNEMONIC_RCL: table = regmap__alu_rcl1; break;
	case ZYDIS_MNEMONIC_RCR: table = regmap__alu_rcr1; break;
	case ZYDIS_MNEMONIC_SHL: table = regmap__alu_shl1; break;
	case ZYDIS_MNEMONIC_SHR: table = regmap__alu_shr1; break;
	default: table = regmap__alu_sar1; break;
	}
	return table[regmap__em_log2(size)];
}

static bool shifts_by_one(const struct em_decoded *d)
{
	return is_shift(d) && d->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       (d->insn.opcode == 0xd0 || d->insn.opcode == 0xd1);
}

/* Which slots go back into registers: a register that is a mere source must not. */
static uint8_t outputs(const struct row *row, const struct em_decoded *d)
{
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_XCHG || d->insn.mnemonic == ZYDIS_MNEMONIC_XADD)
		return EM_OUT_B;
	if (d->mem == 0)
		return row->out & (uint8_t)~EM_OUT_B;
	return row->out & (EM_OUT_B | EM_OUT_C);
}

static void implicit_slots(struct plan *p, const struct em_decoded *d)
{
	struct em_compiled *c = &p->compiled;

	if (d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B ||
	    d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		c->b.gpr = CPU_RBX;
	if (c->b.gpr == EM_NO_REG)
		c->b.gpr = CPU_RBX;
	if (c->c.gpr == EM_NO_REG)
		c->c.gpr = CPU_RCX;
}

static bool is_move(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_MOVBE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_XCHG: return true;
	default: return false;
	}
}

/* XCHG does both, and XLAT's index is no register. */
static uint8_t straight(const struct plan *p)
{
	unsigned both = p->access & (EM_READ | EM_WRITE);
	bool ordinary = p->size <= 8 && p->mem.segment == EM_SEG_NONE && !p->mem.index8;

	if (!p->compiled.move || p->compiled.b.high || !ordinary || both == (EM_READ | EM_WRITE))
		return 0;
	return (uint8_t)both;
}

bool regmap__em_plan_integer(struct plan *p, const struct em_decoded *d)
{
	const struct row *row = &rows[d->insn.mnemonic];
	struct em_compiled *c = &p->compiled;

	if (d->insn.mnemonic == ZYDIS_MNEMONIC_XLAT) {
		c->op = regmap__alu_mov_r[0];
		c->out = EM_OUT_B;
		c->b.gpr = CPU_RAX;
		c->c.gpr = CPU_RCX;
		p->kind = EM_COMPILED;
		return true;
	}
	if (d->mem < 0 || !row->present)
		return false;
	c->b.gpr = c->c.gpr = EM_NO_REG;
	c->op = shifts_by_one(d) ? pick_shift_by_one(d, p->size) : pick(row, p, d);
	if (!c->op || !place_all(p, d)) {
		memset(c, 0, sizeof *c);
		return false;
	}
	implicit_slots(p, d);
	c->out = outputs(row, d);
	c->flags = row->flags;
	c->move = is_move(d->insn.mnemonic);
	c->divides = d->insn.mnemonic == ZYDIS_MNEMONIC_DIV ||
	             d->insn.mnemonic == ZYDIS_MNEMONIC_IDIV;
	c->straight = straight(p);
	p->width = (uint8_t)p->size;
	p->kind = is_bit(d->insn.mnemonic) && !c->b_imm ? EM_BIT : EM_COMPILED;
	if (is_bit(d->insn.mnemonic) && c->b_imm)
		p->imm &= p->size * 8 - 1;
	return true;
}

static uint64_t slot(const struct cpu_regs *r, struct em_reg reg)
{
	return em_extract(r->value[r->at[reg.gpr]], reg);
}

/* An immediate stands in for a register's value; 16-bit IMUL keeps what lies above it. */
static uint64_t slot_b(const struct plan *p, const struct cpu_regs *r)
{
	uint64_t value = slot(r, p->compiled.b);

	if (!p->compiled.b_imm)
		return value;
	if (p->compiled.out & EM_OUT_B && p->width == 2)
		return (value & ~0xffffull) | (p->imm & 0xffff);
	return (uint64_t)p->imm;
}

static void load_slots(const struct plan *p, const struct cpu_regs *r, struct alu *a)
{
	a->rax = r->value[r->at[CPU_RAX]];
	a->rcx = p->compiled.c_imm ? (uint64_t)p->imm : slot(r, p->compiled.c);
	a->rdx = r->value[r->at[CPU_RDX]];
	a->rbx = slot_b(p, r);
	a->flags = (*r->flags & (CPU_STATUS | CPU_STICKY)) | 0x202;
}

static void store_b(const struct plan *p, const struct cpu_regs *r, uint64_t value)
{
	uint64_t *b = &r->value[r->at[p->compiled.b.gpr]];

	*b = em_merge(*b, p->compiled.b, 8, value);
}

static void store_slots(const struct plan *p, const struct cpu_regs *r, const struct alu *a)
{
	const struct em_compiled *c = &p->compiled;

	if (c->out & EM_OUT_A)
		r->value[r->at[CPU_RAX]] = a->rax;
	if (c->out & EM_OUT_D)
		r->value[r->at[CPU_RDX]] = a->rdx;
	if (c->out & EM_OUT_C)
		r->value[r->at[c->c.gpr]] = a->rcx;
	if (c->out & EM_OUT_B)
		store_b(p, r, a->rbx);
	if (c->flags)
		*r->flags = (*r->flags & ~(uint64_t)CPU_STATUS) | (a->flags & CPU_STATUS);
}

static enum em_status run(struct em *em, struct alu *a, void *operand)
{
	struct cpu_regs r = regmap__em_regs(em->gpr, &em->rflags);

	a->mem = operand;
	if (regmap__alu_run(a, em->plan->compiled.op)) {
		em->fault->trap = a->trap;
		if (a->trap.signo == SIGFPE)
			em->fault->trap.address = em->cpu->rip;
		return EM_FAULT;
	}
	store_slots(em->plan, &r, a);
	return EM_OK;
}

bool regmap__em_quick_address(const struct plan *p, const struct cpu_regs *r, uint64_t rip,
                              uint64_t *address)
{
	return em_quick_address(p, r, rip, address);
}

static bool quick_move(const struct plan *p, const struct cpu_regs *r, void *operand)
{
	struct alu a;

	a.rbx = slot_b(p, r);
	a.mem = operand;
	if (regmap__alu_move(&a, p->compiled.op))
		return false;
	if (p->compiled.out & EM_OUT_B)
		store_b(p, r, a.rbx);
	return true;
}

bool regmap__em_quick_compute(const struct plan *p, const struct cpu_regs *r, void *operand,
                              struct alu *results)
{
	load_slots(p, r, results);
	results->mem = operand;
	return !regmap__alu_run(results, p->compiled.op);
}

void regmap__em_quick_store(const struct plan *p, const struct cpu_regs *r,
                            const struct alu *results)
{
	store_slots(p, r, results);
}

bool regmap__em_quick(const struct plan *p, const struct cpu_regs *r, void *operand)
{
	struct alu a;

	if (p->compiled.move)
		return quick_move(p, r, operand);
	if (!regmap__em_quick_compute(p, r, operand, &a))
		return false;
	store_slots(p, r, &a);
	return true;
}

static enum em_status action(struct em *em, void *operand, uint64_t address)
{
	struct cpu_regs r = regmap__em_regs(em->gpr, &em->rflags);
	struct alu a;

	(void)address;
	load_slots(em->plan, &r, &a);
	return run(em, &a, operand);
}

/* CMPXCHG16B wants its operand aligned, flag or no flag. */
static enum em_status check_alignment(struct em *em, uint64_t address)
{
	unsigned low = (unsigned)address & (em->plan->size - 1u);

	if (!low)
		return EM_OK;
	if (em->plan->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		return regmap__em_protection_fault(em);
	if (em->cpu->rflags & CPU_AC)
		return regmap__em_fault(em, SIGBUS, BUS_ADRALN, 17, 0);
	return EM_OK;
}

enum em_status regmap__em_footprint_compiled(const struct plan *p, const struct cpu *cpu,
                                             struct em_footprint *f)
{
	regmap__em_range(f, regmap__em_address(p, cpu), p->size, p->access);
	return EM_OK;
}

enum em_status regmap__em_execute_compiled(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t address = regmap__em_address(p, em->cpu);
	enum em_status st = check_alignment(em, address);

	return st ? st : regmap__em_on_operand(em, address, p->size, p->access, action);
}

/* SDM vol. 1, 3.6, BT: the bit offset is signed and reaches any word around the operand. */
static int64_t bit_offset(const struct plan *p, const struct cpu *cpu)
{
	uint64_t value = regmap__em_get(cpu->gpr, p->compiled.b);

	if (p->size == 2)
		return (int16_t)value;
	return p->size == 4 ? (int32_t)value : (int64_t)value;
}

static uint64_t bit_address(const struct plan *p, const struct cpu *cpu)
{
	int64_t word = bit_offset(p, cpu) >> (3 + regmap__em_log2(p->size));
	uint64_t offset = regmap__em_offset(p, cpu, cpu->gpr) + (uint64_t)word * p->size;

	return regmap__em_segment_base(p, cpu) + (p->mem.address32 ? (uint32_t)offset : offset);
}

static enum em_status bit_action(struct em *em, void *operand, uint64_t address)
{
	struct cpu_regs r = regmap__em_regs(em->gpr, &em->rflags);
	struct alu a;

	(void)address;
	load_slots(em->plan, &r, &a);
	a.rbx = (uint64_t)bit_offset(em->plan, em->cpu) & (em->plan->size * 8u - 1);
	return run(em, &a, operand);
}

enum em_status regmap__em_footprint_bit(const struct plan *p, const struct cpu *cpu,
                                        struct em_footprint *f)
{
	regmap__em_range(f, bit_address(p, cpu), p->size, p->access);
	return EM_OK;
}

enum em_status regmap__em_execute_bit(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t address = bit_address(p, em->cpu);
	enum em_status st = check_alignment(em, address);

	return st ? st : regmap__em_on_operand(em, address, p->size, p->access, bit_action);
}
