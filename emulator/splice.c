/* SPDX-License-Identifier: MIT */
/*
 * Tier 2's code: the instruction's own bytes, its memory operand replaced by [base], base a low
 * register that the instruction does not use. Segment and 67h prefixes, SIB and displacement go;
 * ModRM.reg, REX/VEX/EVEX and the immediate stay. RSP as a register operand would be the host's: a
 * second unused register stands in for it.
 */
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum { RSP = 4, VVVV_SHIFT = 3, EVEX_XB = 0x60, REX_XB = 3 };

static bool is_dropped(uint8_t b)
{
	return b == 0x67 || b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x64 ||
	       b == 0x65;
}

static bool is_kept(uint8_t b)
{
	return b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0xf0;
}

unsigned regmap__em_used_registers(const struct em_decoded *d)
{
	unsigned used = 0;
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    regmap__em_gpr(d->op[i].reg.value, &r))
			used |= 1u << r.gpr;
	return used;
}

static uint8_t take_register(unsigned *used)
{
	for (unsigned i = 8; i-- > 0;)
		if (!(*used >> i & 1)) {
			*used |= 1u << i;
			return (uint8_t)i;
		}
	return EM_NO_REG;
}

static bool names_rsp(const struct em_decoded *d, ZydisOperandEncoding encoding)
{
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && d->op[i].encoding == encoding &&
		    regmap__em_gpr(d->op[i].reg.value, &r) && r.gpr == RSP && !r.high)
			return true;
	return false;
}

struct splice {
	struct em_native *n;
	const struct em_decoded *d;
	unsigned in; /* bytes consumed */
};

static void put(struct splice *s, uint8_t byte)
{
	s->n->code[s->n->code_length++] = byte;
}

static void legacy_prefixes(struct splice *s)
{
	const uint8_t *b = s->d->bytes;
	uint8_t rex = 0;

	for (;; s->in++) {
		if (is_kept(b[s->in]))
			put(s, b[s->in]), rex = 0;
		else if (is_dropped(b[s->in]))
			rex = 0;
		else if ((b[s->in] & 0xf0) == 0x40)
			rex = b[s->in];
		else
			break;
	}
	if (rex)
		put(s, rex & (uint8_t)~REX_XB);
}

/* The byte that holds vvvv, inverted, with RSP's number replaced. */
static uint8_t with_vvvv(const struct splice *s, uint8_t byte)
{
	if (!names_rsp(s->d, ZYDIS_OPERAND_ENCODING_NDSNDD))
		return byte;
	return (uint8_t)((byte & ~(0xf << VVVV_SHIFT)) | (~s->n->rsp & 0xf) << VVVV_SHIFT);
}

static void vector_prefix(struct splice *s)
{
	const uint8_t *b = s->d->bytes + s->in;

	if (b[0] == 0xc5) {
		put(s, b[0]);
		put(s, with_vvvv(s, b[1]));
		s->in += 2;
		return;
	}
	put(s, b[0]);
	put(s, b[1] | EVEX_XB);
	put(s, with_vvvv(s, b[2]));
	s->in += 3;
	if (b[0] == 0x62) {
		put(s, b[3]);
		s->in++;
	}
}

static void opcode_and_operand(struct splice *s)
{
	const ZydisDecodedInstruction *insn = &s->d->insn;
	unsigned reg = insn->raw.modrm.reg;

	while (s->in < insn->raw.modrm.offset)
		put(s, s->d->bytes[s->in++]);
	if (names_rsp(s->d, ZYDIS_OPERAND_ENCODING_MODRM_REG))
		reg = s->n->rsp;
	s->n->fop_modrm = s->d->bytes[s->in];
	put(s, (uint8_t)(reg << 3 | s->n->base));
	s->in += 1u + (insn->raw.modrm.rm == 4) + insn->raw.disp.size / 8u;
	while (s->in < insn->length)
		put(s, s->d->bytes[s->in++]);
}

bool regmap__em_splice(struct em_native *n, const struct em_decoded *d, unsigned avoid)
{
	struct splice s = {n, d, 0};
	/* As a base, RSP and RBP mean something else. */
	unsigned used = regmap__em_used_registers(d) | avoid | 1u << RSP | 1u << CPU_RBP;

	if (!(d->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM) || d->insn.raw.modrm.mod == 3)
		return false;
	n->code_length = 0;
	n->base = take_register(&used);
	n->rsp = EM_NO_REG;
	if (names_rsp(d, ZYDIS_OPERAND_ENCODING_MODRM_REG) ||
	    names_rsp(d, ZYDIS_OPERAND_ENCODING_NDSNDD))
		n->rsp = take_register(&used);
	if (n->base == EM_NO_REG)
		return false;
	legacy_prefixes(&s);
	if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ||
	    d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	    d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP)
		vector_prefix(&s);
	opcode_and_operand(&s);
	return true;
}
