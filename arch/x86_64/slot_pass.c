/* SPDX-License-Identifier: MIT */
/* Instructions that can be moved to code of ours, as they are or nearly so. */
#include "slot_pass.h"

#include <string.h>

#include "slot.h"

#include "sigsafe.h"

/* What loads a segment register may take thread-local storage away in the middle of the slot. */
bool regmap__slot_names_segment(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(d->op[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return true;
	return false;
}

static bool is_jump(const struct em_decoded *d)
{
	return d->insn.meta.category == ZYDIS_CATEGORY_COND_BR ||
	       d->insn.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
	       d->insn.meta.category == ZYDIS_CATEGORY_CALL;
}

/* To where it says, by 32 bits. LOOP, JRCXZ and XBEGIN have no such form. */
bool regmap__slot_is_simple_jump(const struct em_decoded *d)
{
	return is_jump(d) && d->insn.raw.imm[0].is_relative &&
	       ((d->insn.opcode & 0xf0) == 0x70 || (d->insn.opcode & 0xf0) == 0x80 ||
	        d->insn.opcode == 0xeb || d->insn.opcode == 0xe9 || d->insn.opcode == 0xe8) &&
	       !(d->insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE);
}

/* What is known by its own address, or makes the next instruction special, stays. */
bool regmap__slot_is_ordinary(const struct em_decoded *d)
{
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_SSE:
	case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_AVX:
	case ZYDIS_CATEGORY_AVX2:
	case ZYDIS_CATEGORY_BROADCAST:
	case ZYDIS_CATEGORY_AES:
	case ZYDIS_CATEGORY_PCLMULQDQ: return !regmap__slot_names_segment(d);
	default: return d->insn.mnemonic == ZYDIS_MNEMONIC_LEA;
	}
}

static bool is_gpr(const struct em_decoded *d, unsigned i)
{
	struct em_reg r;

	return d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       regmap__em_gpr(d->op[i].reg.value, &r) && r.gpr != CPU_RSP;
}

/* CALL or JMP to where a register says. */
bool regmap__slot_is_register_jump(const struct em_decoded *d)
{
	return is_jump(d) && d->insn.opcode == 0xff && is_gpr(d, 0) &&
	       !(d->insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE);
}

bool regmap__slot_is_push(const struct em_decoded *d)
{
	return (d->insn.mnemonic == ZYDIS_MNEMONIC_PUSH ||
	        d->insn.mnemonic == ZYDIS_MNEMONIC_POP) &&
	       (is_gpr(d, 0) || d->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
}

bool regmap__slot_checks_alignment(const struct em_decoded *d)
{
	return d->insn.meta.isa_ext == ZYDIS_ISA_EXT_SHA ||
	       d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B;
}

static bool touches_memory(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (d->op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN ||
		     d->op[i].mem.base == ZYDIS_REGISTER_RIP ||
		     d->op[i].mem.base == ZYDIS_REGISTER_EIP))
			return d->insn.meta.category != ZYDIS_CATEGORY_NOP &&
			       d->insn.meta.category != ZYDIS_CATEGORY_WIDENOP;
	return false;
}

bool regmap__slot_moves_freely(const struct em_decoded *d)
{
	return !(d->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK) && regmap__slot_is_ordinary(d) &&
	       !touches_memory(d);
}

bool regmap__slot_can_pass(struct plan *plan, const uint8_t *code, size_t length)
{
	struct em_decoded d;

	if (regmap__em_decode(&d, code, length) || d.insn.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		return false;
	if (!regmap__slot_is_simple_jump(&d) && !regmap__slot_is_register_jump(&d) &&
	    !regmap__slot_is_push(&d) && !regmap__slot_moves_freely(&d))
		return false;
	memset(plan, 0, sizeof *plan);
	plan->mem.base = plan->mem.index = EM_NO_REG;
	plan->length = d.insn.length;
	memcpy(plan->bytes, code, plan->length);
	return true;
}
