/* SPDX-License-Identifier: MIT */
/* From code bytes to a plan. */
#include <cpuid.h>
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum { CPUID_ABM = 1 << 5, CPUID_BMI1 = 1 << 3 };

/* What the CPU at hand makes of bytes whose meaning depends on its features. */
static void set_modes(ZydisDecoder *decoder)
{
	static int features =
		-1; /* bit 0 LZCNT, bit 1 TZCNT, bit 2 AMD; a race writes the same value */
	int f = __atomic_load_n(&features, __ATOMIC_RELAXED);

	if (f < 0) {
		unsigned a, b = 0, c = 0, d;

		f = 0;
		if (__get_cpuid(0x80000001, &a, &b, &c, &d) && c & CPUID_ABM)
			f |= 1;
		if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && b & CPUID_BMI1)
			f |= 2;
		if (regmap__em_is_amd())
			f |= 4;
		__atomic_store_n(&features, f, __ATOMIC_RELAXED);
	}
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_LZCNT, f & 1);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_TZCNT, f >> 1 & 1);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, f >> 2 & 1);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
}

/* XLAT never shows its operand, but is a plain load all the same. */
static int memory_operand(const struct em_decoded *d)
{
	int count = d->insn.mnemonic == ZYDIS_MNEMONIC_XLAT ? d->insn.operand_count :
	                                                      d->insn.operand_count_visible;

	for (int i = 0; i < count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    d->op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN)
			return i;
	return -1;
}

static uint8_t segment_of(ZydisRegister segment)
{
	if (segment == ZYDIS_REGISTER_FS)
		return EM_SEG_FS;
	return segment == ZYDIS_REGISTER_GS ? EM_SEG_GS : EM_SEG_NONE;
}

static uint8_t address_register(ZydisRegister reg)
{
	struct em_reg r;

	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return EM_RIP;
	return regmap__em_gpr(reg, &r) ? r.gpr : EM_NO_REG;
}

static bool is_far_load(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_LSS || m == ZYDIS_MNEMONIC_LFS || m == ZYDIS_MNEMONIC_LGS;
}

static void fill_memory(struct plan *p, const struct em_decoded *d, const ZydisDecodedOperand *op)
{
	struct em_mem *m = &p->mem;

	m->base = address_register(op->mem.base);
	m->index = address_register(op->mem.index);
	m->shift = (uint8_t)regmap__em_log2(op->mem.scale);
	m->segment = segment_of(op->mem.segment);
	m->address32 = d->insn.address_width == 32;
	m->index8 = d->insn.mnemonic == ZYDIS_MNEMONIC_XLAT;
	m->disp = op->mem.disp.value;
	p->size = (uint16_t)(op->size / 8);
	if (is_far_load(d->insn.mnemonic) && p->size == 10 && regmap__em_is_amd())
		p->size = 6; /* REX.W does nothing to a far pointer there */
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_MOVSXD && d->insn.operand_width == 16 &&
	    !regmap__em_is_amd())
		p->size = 2; /* Intel's CPUs read what they need */
	if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		p->access |= EM_READ;
	if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		p->access |= EM_WRITE;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK || (d->insn.mnemonic == ZYDIS_MNEMONIC_XCHG))
		p->access |= EM_LOCKED;
	p->has_mem = true;
}

/*
 * What a handler can't do for the program: the kernel takes AMX's tile configuration away on signal
 * delivery, and the destination of ENQCMD is no memory.
 */
static bool is_out_of_reach(ZydisISAExt ext)
{
	switch (ext) {
	case ZYDIS_ISA_EXT_AMX_TILE:
	case ZYDIS_ISA_EXT_AMX_BF16:
	case ZYDIS_ISA_EXT_AMX_INT8:
	case ZYDIS_ISA_EXT_ENQCMD: return true;
	default: return false;
	}
}

/* The first that says yes has it. Privileged instructions fault without us. */
static void choose(struct plan *p, const struct em_decoded *d, unsigned tiers)
{
	p->kind = EM_NONE;
	p->refusal = "libregmap can't do this instruction";
	if (d->insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED ||
	    is_out_of_reach(d->insn.meta.isa_ext))
		return;
	if (regmap__em_plan_string(p, d) || regmap__em_plan_far(p, d) ||
	    regmap__em_plan_stack(p, d) || regmap__em_plan_block(p, d))
		return;
	if (regmap__em_plan_vsib(p, d))
		return;
	if (tiers & EM_TIER_COMPILED && regmap__em_plan_integer(p, d))
		return;
	if (!(tiers & EM_TIER_NATIVE))
		p->refusal = "not an integer instruction, and native execution is off";
	else if (!regmap__em_plan_xsave(p, d) && !regmap__em_plan_mask(p, d))
		regmap__em_plan_native(p, d);
}

enum em_status regmap__em_plan_decoded(struct plan *p, const struct em_decoded *d, unsigned tiers)
{
	memset(p, 0, sizeof *p);
	p->length = d->insn.length;
	p->mnemonic = (uint16_t)d->insn.mnemonic;
	memcpy(p->bytes, d->bytes, p->length);
	p->mem.base = p->mem.index = p->reg.gpr = EM_NO_REG;
	if (d->mem >= 0)
		fill_memory(p, d, &d->op[d->mem]);
	choose(p, d, tiers);
	return p->kind == EM_NONE ? EM_UNIMPLEMENTED : EM_OK;
}

enum em_status regmap__em_decode(struct em_decoded *d, const uint8_t *bytes, size_t length)
{
	ZydisDecoder decoder;
	ZyanStatus st;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	set_modes(&decoder);
	d->bytes = bytes;
	st = ZydisDecoderDecodeFull(&decoder, bytes, length, &d->insn, d->op);
	if (st == ZYDIS_STATUS_NO_MORE_DATA)
		return EM_RETRY;
	if (!ZYAN_SUCCESS(st))
		return EM_UNIMPLEMENTED;
	d->mem = memory_operand(d);
	return EM_OK;
}

enum em_status regmap__em_plan(struct plan *plan, const uint8_t *bytes, size_t length,
                               unsigned tiers)
{
	struct em_decoded d;
	enum em_status st;

	memset(plan, 0, sizeof *plan);
	st = regmap__em_decode(&d, bytes, length);
	if (st)
		return st;
	return regmap__em_plan_decoded(plan, &d, tiers);
}
