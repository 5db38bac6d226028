/* SPDX-License-Identifier: MIT */
/*
 * Register-page sites in place: `add [0x18], rax` becomes `add rbx, rax`, of the same length by
 * segment prefixes, which mean nothing there.
 *
 * What is made is decoded again: it must be the same mnemonic, with the register that the address
 * named where the memory operand was. So an opcode that means something else with a register (MOVLPS
 * is MOVHLPS, CMPXCHG8B is RDRAND) drops out by itself.
 */
#include <string.h>

#include "../../emulator/internal.h"
#include "slot.h"

#include "sigsafe.h"

enum { LOAD = 1, STORE = 2, EXCEPT = 4 };

static const uint8_t rows[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define SLOT_ROW(mnemonic, directions) [ZYDIS_MNEMONIC_##mnemonic] = (directions),
#define SLOT_EXCEPT(mnemonic)
#include "slot_inplace.def"
#undef SLOT_ROW
#undef SLOT_EXCEPT
};

static const uint8_t exceptions[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define SLOT_ROW(mnemonic, directions)
#define SLOT_EXCEPT(mnemonic) [ZYDIS_MNEMONIC_##mnemonic] = 1,
#include "slot_inplace.def"
#undef SLOT_ROW
#undef SLOT_EXCEPT
};

/* The page: <regmap/registers.h>. */
enum {
	AT_RIP = 0x80,
	AT_RFLAGS = 0x88,
	AT_FS_BASE = 0x90,
	AT_GS_BASE = 0x98,
	AT_OPMASK = 0xc0,
	AT_OPMASK_END = 0x100,
	AT_VECTOR = 0x800,
	PAGE_END = 0x1000,
	VECTOR_SLOT = 64,
};

enum place_class { PLACE_GPR, PLACE_OPMASK, PLACE_VECTOR };

/* The register at an address. */
struct place {
	enum place_class class;
	uint8_t number;
	bool high; /* AH..BH */
};

enum { REX = 0x40, REX_W = 8, REX_X = 2, REX_B = 1, LOCK = 0xf0, PAD = 0x2e };
enum { VEX_X = 0x40, VEX_B = 0x20, EVEX_BROADCAST = 0x10, EVEX_MASK = 7 };

/* The bytes behind the padding. */
struct code {
	uint8_t bytes[EM_MAX_LENGTH];
	unsigned length;
};

static void put(struct code *c, unsigned byte)
{
	if (c->length < EM_MAX_LENGTH)
		c->bytes[c->length++] = (uint8_t)byte;
}

static bool find_gpr(unsigned at, struct place *to)
{
	to->class = PLACE_GPR;
	to->number = (uint8_t)(at / 8);
	to->high = at % 8 == 1;
	return at % 8 == 0 || (to->high && to->number < 4);
}

/* Those with all of the operand in one register, in its low bytes. */
static bool find(const struct plan *p, struct place *to)
{
	uint64_t at = (uint64_t)p->mem.disp;

	memset(to, 0, sizeof *to);
	if (p->mem.base != EM_NO_REG || p->mem.index != EM_NO_REG || p->mem.index8 ||
	    p->mem.segment != EM_SEG_NONE || at >= PAGE_END)
		return false;
	if (at < AT_RIP)
		return find_gpr((unsigned)at, to) && p->size <= (to->high ? 1 : 8);
	if (at >= AT_VECTOR) {
		to->class = PLACE_VECTOR;
		to->number = (uint8_t)((at - AT_VECTOR) / VECTOR_SLOT);
		return at % VECTOR_SLOT == 0 && p->size <= regmap__vector_bytes() &&
		       to->number < regmap__vector_count();
	}
	to->class = PLACE_OPMASK;
	to->number = (uint8_t)((at - AT_OPMASK) / 8);
	return at >= AT_OPMASK && at < AT_OPMASK_END && at % 8 == 0 && p->size <= 8 &&
	       regmap__xstate.xcr0 & XSTATE_OPMASK;
}

/* --- which may --- */

/* Masked forms switch elements off; a broadcast bit would say how to round. */
static bool is_whole_vector(const struct em_decoded *d)
{
	return d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	       !(d->insn.raw.evex.b || d->insn.raw.evex.aaa);
}

static bool names_segment(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count_visible; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(d->op[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return true;
	return false;
}

/*
 * Legacy encodings leave the rest of a vector register alone, but for MOVQ; others clear it, so it
 * must be all.
 */
static bool leaves_the_rest(const struct plan *p, const struct em_decoded *d,
                            const struct place *place)
{
	switch (place->class) {
	case PLACE_GPR: return p->size != 4;
	case PLACE_OPMASK: return p->size == 8;
	default:
		return p->size == regmap__vector_bytes() ||
		       (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		        p->mnemonic != ZYDIS_MNEMONIC_MOVQ);
	}
}

static bool is_branch_of_64_bits(const struct plan *p)
{
	return (p->kind != EM_CALL && p->kind != EM_JUMP) || p->size == 8;
}

/* On Intel's CPUs OF, which is undefined, is left alone where a register is rotated, and memory's is not. */
static bool rotates_by_constant(const struct em_decoded *d)
{
	return (d->insn.mnemonic == ZYDIS_MNEMONIC_ROL || d->insn.mnemonic == ZYDIS_MNEMONIC_ROR) &&
	       (d->insn.opcode == 0xc0 || d->insn.opcode == 0xc1);
}

static bool is_allowed(const struct plan *p, const struct em_decoded *d, const struct place *place)
{
	unsigned row = rows[p->mnemonic];

	switch (p->kind) {
	case EM_COMPILED:
	case EM_NATIVE:
	case EM_PUSH:
	case EM_POP:
	case EM_CALL:
	case EM_JUMP: break;
	default: return false;
	}
	if (!is_whole_vector(d) || names_segment(d) || !is_branch_of_64_bits(p) ||
	    (rotates_by_constant(d) && !regmap__em_is_amd()))
		return false;
	if (p->access & EM_WRITE)
		return row & STORE && leaves_the_rest(p, d, place);
	if (place->class == PLACE_VECTOR)
		return !exceptions[p->mnemonic];
	return row & LOAD;
}

/* --- encoding --- */

static bool names_high_byte(const struct em_decoded *d)
{
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count_visible; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    regmap__em_gpr(d->op[i].reg.value, &r) && r.high)
			return true;
	return false;
}

/* SPL to DIL and registers from R8 on need a REX prefix, AH to BH can't have one. */
static bool put_rex(struct code *c, const struct em_decoded *d, const struct place *place,
                    unsigned size, unsigned rex)
{
	bool low_byte = place->class == PLACE_GPR && size == 1 && !place->high &&
	                place->number >= CPU_RSP;

	if (rex)
		rex &= ~(unsigned)(REX_X | REX_B);
	if (place->number >= 8)
		rex |= REX | REX_B;
	else if (low_byte)
		rex |= REX;
	if (rex && (place->high || names_high_byte(d)))
		return false;
	if (rex)
		put(c, rex);
	return place->number < 16;
}

/* Up to the REX prefix, or the vector prefix. */
static bool put_prefixes(struct code *c, const struct em_decoded *d, const struct place *place,
                         unsigned size, unsigned *in)
{
	unsigned rex = 0;

	for (;; ++*in) {
		uint8_t b = d->bytes[*in];

		if (b == 0x66 || b == 0xf2 || b == 0xf3)
			put(c, b), rex = 0;
		else if (b == LOCK || b == 0x67 || b == 0x26 || b == 0x2e || b == 0x36 ||
		         b == 0x3e || b == 0x64 || b == 0x65)
			rex = 0;
		else if ((b & 0xf0) == REX)
			rex = b;
		else
			break;
	}
	return d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	       put_rex(c, d, place, size, rex);
}

/* VEX.B and EVEX.XB are inverted. */
static unsigned with_number(unsigned byte, unsigned number)
{
	return (byte & ~(unsigned)(VEX_X | VEX_B)) | (number & 16 ? 0 : VEX_X) |
	       (number & 8 ? 0 : VEX_B);
}

static bool put_vector_prefix(struct code *c, const struct em_decoded *d, unsigned number,
                              unsigned *in)
{
	const uint8_t *b = d->bytes + *in;
	unsigned length = b[0] == 0x62 ? 4 : b[0] == 0xc5 ? 2 : 3;

	if (number >= 16 && b[0] != 0x62)
		return false;
	if (b[0] == 0xc5) {
		put(c, 0xc4);
		put(c, with_number((b[1] & 0x80) | 1, number));
		put(c, b[1] & 0x7f);
	} else {
		put(c, b[0]);
		put(c, with_number(b[1], number));
		for (unsigned i = 2; i < length; i++)
			put(c, b[i]);
	}
	*in += length;
	return true;
}

/* KMOVQ's store has no register form; its load from that register is the same. */
static bool is_opmask_store(const struct plan *p, const struct place *place)
{
	return place->class == PLACE_OPMASK && p->access & EM_WRITE;
}

static void put_rest(struct code *c, const struct plan *p, const struct em_decoded *d,
                     const struct place *place, unsigned in)
{
	unsigned reg = d->insn.raw.modrm.reg, rm = (place->number & 7) | (place->high ? 4 : 0);

	while (in < d->insn.raw.modrm.offset)
		put(c, d->bytes[in++]);
	if (is_opmask_store(p, place)) {
		c->bytes[c->length - 1] = 0x90;
		put(c, 0xc0 | rm << 3 | reg);
		return;
	}
	put(c, 0xc0 | reg << 3 | rm);
	in += 1u + (d->insn.raw.modrm.rm == 4) + d->insn.raw.disp.size / 8u;
	while (in < d->insn.length)
		put(c, d->bytes[in++]);
}

/* MOV with an absolute address of 64 bits is one of RAX. */
static bool put_accumulator(struct code *c, const struct plan *p, const struct em_decoded *d,
                            const struct place *place, unsigned in)
{
	unsigned rm = (place->number & 7) | (place->high ? 4 : 0);

	if (d->insn.mnemonic != ZYDIS_MNEMONIC_MOV)
		return false;
	put(c, 0x88u | (p->access & EM_WRITE ? 0 : 2) | (d->bytes[in] & 1));
	put(c, 0xc0 | rm);
	return true;
}

static bool encode(struct code *c, const struct plan *p, const struct em_decoded *d,
                   const struct place *place)
{
	unsigned in = 0;

	if (!put_prefixes(c, d, place, p->size, &in))
		return false;
	if (!(d->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return put_accumulator(c, p, d, place, in);
	if (d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    !put_vector_prefix(c, d, is_opmask_store(p, place) ? 0 : place->number, &in))
		return false;
	put_rest(c, p, d, place, in);
	return true;
}

static bool pad(const struct code *c, const struct plan *p, uint8_t to[15])
{
	unsigned padding = p->length - c->length;

	if (c->length > p->length)
		return false;
	memset(to, PAD, padding);
	memcpy(to + padding, c->bytes, c->length);
	return true;
}

/* --- looking at what was made --- */

static bool is_place(ZydisRegister reg, const struct place *place)
{
	struct em_reg r;

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		return place->class == PLACE_VECTOR && ZydisRegisterGetId(reg) == place->number;
	case ZYDIS_REGCLASS_MASK:
		return place->class == PLACE_OPMASK && ZydisRegisterGetId(reg) == place->number;
	default:
		return place->class == PLACE_GPR && regmap__em_gpr(reg, &r) &&
		       r.gpr == place->number && r.high == place->high;
	}
}

static bool is_as_meant(struct em_decoded *d, const uint8_t *bytes, const struct plan *p,
                        int operand, const struct place *place)
{
	return regmap__em_decode(d, bytes, p->length) == EM_OK && d->insn.length == p->length &&
	       d->insn.mnemonic == p->mnemonic &&
	       d->op[operand].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       is_place(d->op[operand].reg.value, place) && d->op[operand].size / 8u >= p->size;
}

/* --- registers that other instructions know --- */

static unsigned register_number(const struct em_decoded *d, int operand)
{
	struct em_reg r;

	if (d->op[operand].type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    !regmap__em_gpr(d->op[operand].reg.value, &r))
		return EM_NO_REG;
	return r.gpr;
}

/* lea 0(%rip), %reg */
static bool encode_next(struct code *c, unsigned reg)
{
	put(c, REX | REX_W | (reg >= 8 ? 4 : 0));
	put(c, 0x8d);
	put(c, (reg & 7) << 3 | 5);
	for (unsigned i = 0; i < 4; i++)
		put(c, 0);
	return true;
}

/* rdfsbase and kin */
static bool encode_base(struct code *c, unsigned reg, bool gs, bool write)
{
	if (!regmap__xstate.fsgsbase)
		return false;
	put(c, 0xf3);
	put(c, REX | REX_W | (reg >= 8 ? REX_B : 0));
	put(c, 0x0f);
	put(c, 0xae);
	put(c, 0xc0u | (write ? 2u : 0) << 3 | (gs ? 1u : 0) << 3 | (reg & 7));
	return true;
}

static bool encode_move(struct code *c, const struct plan *p, const struct em_decoded *d)
{
	bool write = p->access & EM_WRITE;
	unsigned reg = register_number(d, !d->mem);

	if (p->size != 8 || reg == EM_NO_REG)
		return false;
	switch (p->mem.disp) {
	case AT_RIP: return !write && encode_next(c, reg);
	case AT_FS_BASE:
	case AT_GS_BASE: return encode_base(c, reg, p->mem.disp == AT_GS_BASE, write);
	default: return false;
	}
}

/* Which bits of RFLAGS an immediate of AND, OR or XOR changes. */
static uint64_t changed_flags(const struct plan *p, const struct em_decoded *d)
{
	uint64_t imm = d->op[1].imm.value.u,
		 width = p->size == 8 ? ~0ull : (1ull << 8 * p->size) - 1;

	if (d->op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return 0;
	if (p->mnemonic == ZYDIS_MNEMONIC_AND)
		imm = ~imm;
	return (imm & width) << 8 * (p->mem.disp - AT_RFLAGS);
}

/* STC, CLC, CMC, STD, CLD: one flag, none of the others. */
static bool encode_flag(struct code *c, const struct plan *p, uint64_t changed)
{
	if (changed == CPU_CF && p->mnemonic == ZYDIS_MNEMONIC_XOR)
		put(c, 0xf5);
	else if (changed == CPU_CF && p->mnemonic == ZYDIS_MNEMONIC_OR)
		put(c, 0xf9);
	else if (changed == CPU_CF && p->mnemonic == ZYDIS_MNEMONIC_AND)
		put(c, 0xf8);
	else if (changed == CPU_DF && p->mnemonic == ZYDIS_MNEMONIC_OR)
		put(c, 0xfd);
	else if (changed == CPU_DF && p->mnemonic == ZYDIS_MNEMONIC_AND)
		put(c, 0xfc);
	else
		return false;
	return true;
}

static bool encode_flags(struct code *c, const struct plan *p, const struct em_decoded *d)
{
	switch (p->mnemonic) {
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR: return d->mem == 0 && encode_flag(c, p, changed_flags(p, d));
	case ZYDIS_MNEMONIC_PUSH: put(c, 0x9c); break;
	case ZYDIS_MNEMONIC_POP: put(c, 0x9d); break;
	default: return false;
	}
	return p->mem.disp == AT_RFLAGS && p->size == 8;
}

static bool encode_other(struct code *c, const struct plan *p, const struct em_decoded *d)
{
	if (p->mem.base != EM_NO_REG || p->mem.index != EM_NO_REG || p->mem.index8 ||
	    p->mem.segment != EM_SEG_NONE)
		return false;
	if (p->mem.disp >= AT_RFLAGS && p->mem.disp + p->size <= AT_FS_BASE)
		return encode_flags(c, p, d);
	return p->mnemonic == ZYDIS_MNEMONIC_MOV && encode_move(c, p, d);
}

bool regmap__slot_in_place(const struct plan *plan, uint8_t to[15])
{
	struct code c = {.length = 0};
	struct em_decoded d;
	struct place place;

	if (!plan->has_mem || !plan->size || regmap__em_decode(&d, plan->bytes, plan->length) ||
	    d.mem < 0)
		return false;
	if (encode_other(&c, plan, &d))
		return pad(&c, plan, to);
	c.length = 0;
	if (!find(plan, &place) || !is_allowed(plan, &d, &place) || !encode(&c, plan, &d, &place) ||
	    !pad(&c, plan, to))
		return false;
	return is_as_meant(&d, to, plan, is_opmask_store(plan, &place) ? 0 : d.mem, &place);
}
