/* SPDX-License-Identifier: MIT */
/* Memory operands at any register. emulator/splice.c knows low ones alone, where prefixes need no change. */
#include <string.h>

#include "fragment_code.h"

#include "sigsafe.h"

enum {
	REX = 0x40,
	REX_B = 1,
	VEX2 = 0xc5,
	NOT_B = 0x20, /* in the second byte of a longer prefix */
	NOT_X = 0x40,
	MAP_0F = 1,
	RM = 7,
	RM_SIB = 4,
	RM_DISP = 5,
	SIB_BASE_ONLY = 0x24,
	MOD_DISP8 = 0x40,
	MOD_DISP32 = 0x80,
};

static bool names_high_byte(const struct em_decoded *d)
{
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    regmap__em_gpr(d->op[i].reg.value, &r) && r.high)
			return true;
	return false;
}

static bool insert(struct em_native *n, unsigned at, uint8_t byte)
{
	if (n->code_length == sizeof n->code)
		return false;
	memmove(n->code + at + 1, n->code + at, n->code_length - at);
	n->code[at] = byte;
	n->code_length++;
	return true;
}

static unsigned prefixes(const struct em_native *n)
{
	unsigned i = 0;

	while (n->code[i] == 0x66 || n->code[i] == 0xf2 || n->code[i] == 0xf3 || n->code[i] == 0xf0)
		i++;
	return i;
}

/* The register's fourth bit. */
static bool extend(struct em_native *n, const struct em_decoded *d)
{
	unsigned at = prefixes(n);
	uint8_t *code = n->code;

	if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
		if ((code[at] & 0xf0) != REX)
			return !names_high_byte(d) && insert(n, at, REX | REX_B);
		code[at] |= REX_B;
		return true;
	}
	if (code[0] != VEX2) {
		code[1] &= (uint8_t)~NOT_B;
		return true;
	}
	code[0] = 0xc4;
	if (!insert(n, 1, (uint8_t)((code[1] & 0x80) | NOT_X | MAP_0F)))
		return false;
	code[2] &= 0x7f;
	return true;
}

/* Constants, and whatever else there may be. */
static unsigned bytes_behind_operand(const struct em_decoded *d)
{
	return d->insn.length - d->insn.raw.modrm.offset - 1u - (d->insn.raw.modrm.rm == 4) -
	       d->insn.raw.disp.size / 8u;
}

/* What one byte says is multiplied in the longest encodings. */
static bool displace(struct em_native *n, const struct em_decoded *d, unsigned modrm, unsigned at,
                     uint8_t disp)
{
	if (d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX) {
		n->code[modrm] |= MOD_DISP8;
		return insert(n, at, disp);
	}
	n->code[modrm] |= MOD_DISP32;
	for (unsigned i = 0; i < 3; i++)
		if (!insert(n, at, 0))
			return false;
	return insert(n, at, disp);
}

bool regmap__fragment_splice(struct em_native *n, const struct em_decoded *d, unsigned base,
                             uint8_t disp)
{
	unsigned modrm, at;

	if (!regmap__em_splice(n, d, 0) || n->rsp != EM_NO_REG || (base >= 8 && !extend(n, d)))
		return false;
	modrm = n->code_length - 1u - bytes_behind_operand(d);
	at = modrm + 1;
	n->code[modrm] = (uint8_t)((n->code[modrm] & ~RM) | (base & RM));
	n->base = (uint8_t)base;
	if ((base & RM) == RM_SIB && !insert(n, at++, SIB_BASE_ONLY))
		return false;
	return (!disp && (base & RM) != RM_DISP) || displace(n, d, modrm, at, disp);
}
