/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cases.h"
#include "bytes.h"

enum {
	THEMES = 16,
	IMAGES = 32,
	TRIES = 8,
	MAX_OPERAND = 64,
	NONE = 0xff,
	INT3 = 0xcc,
	USER_CS = 0x33,
	USER_SS = 0x2b,
	REGMASK = 7,
};

enum { RM_SIB = 4, RM_DISP = 5 };
enum { MOD_NONE, MOD_DISP8, MOD_DISP32 };
enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_MXCSR = 24, FX_ST = 32, XSTATE_BV = 512 };

/* Chance */

struct draw {
	uint64_t state;
	enum t_style style;
	unsigned n;
};

static uint64_t next(struct draw *d)
{
	return t_next(&d->state);
}

static unsigned below(struct draw *d, unsigned n)
{
	return (unsigned)(next(d) >> 33) % n;
}

static bool chance(struct draw *d, unsigned percent)
{
	return below(d, 100) < percent;
}

/* Never in a simple case. */
static bool surprise(struct draw *d, unsigned percent)
{
	return chance(d, percent) && d->style != T_SIMPLE && d->style != T_SHIFTED;
}

/* Themes: what memory, vectors and registers are filled with. */

static const uint32_t singles[] = {0,          0x80000000, 0x3f800000, 0xbf800000,
                                   0x00000001, 0x807fffff, 0x7f800000, 0xff800000,
                                   0x7fc00000, 0x7fa00001, 0xffc12345, 0x7f7fffff,
                                   0x00800000, 0x4b000001, 0xcf000000, 0x3effffff};
static const uint64_t doubles[] = {0,
                                   0x8000000000000000,
                                   0x3ff0000000000000,
                                   0xbff0000000000000,
                                   1,
                                   0x800fffffffffffff,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff8000000000000,
                                   0x7ff4000000000001,
                                   0xfff8123456789abc,
                                   0x7fefffffffffffff,
                                   0x0010000000000000,
                                   0x43e0000000000000,
                                   0xc1e0000000000000,
                                   0x3fdfffffffffffff};
static const uint64_t borders[] = {0,          1,          2,          0x7f,
                                   0x80,       0xff,       0x7fff,     0x8000,
                                   0xffff,     0x7fffffff, 0x80000000, 0xffffffff,
                                   1ull << 63, ~0ull,      ~0ull >> 1, 0x100000000};

static uint64_t two_singles(struct draw *d)
{
	return singles[below(d, 16)] | (uint64_t)singles[below(d, 16)] << 32;
}

static uint64_t signs(struct draw *d, uint64_t of)
{
	return (next(d) & of) | (next(d) & ~of & 0x3f3f3f3f3f3f3f3f);
}

static uint64_t themed(struct draw *d, unsigned theme)
{
	switch (theme) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return two_singles(d);
	case 3: return doubles[below(d, 16)];
	case 4: return borders[below(d, 16)];
	case 5: return below(d, 100);
	case 6: return below(d, 16) * 0x0101010101010101;
	case 7: return signs(d, 0x8000000080000000);
	case 8: return signs(d, 0x8080808080808080);
	case 9: return (next(d) & 0x007fffff007fffff) | 0x3f8000003f000000; /* ordinary singles */
	case 10: return (next(d) & 0x000fffffffffffff) | (uint64_t)(0x3f8 + below(d, 16)) << 52;
	case 11: return (next(d) & 0x83ff83ff83ff83ff) | 0x3000380000003c00; /* halves */
	default: return next(d);
	}
}

static void fill(struct draw *d, unsigned theme, void *to, size_t length)
{
	uint8_t *bytes = to;

	for (size_t i = 0; i + 8 <= length; i += 8) {
		uint64_t value = themed(d, theme);

		memcpy(bytes + i, &value, 8);
	}
}

static uint8_t theme_memory[THEMES][T_ARENA_SIZE];
static uint8_t theme_image[IMAGES][T_IMAGE_MAX];
static uint64_t host_fs_base;

static const uint16_t exponents[] = {0, 0x3fff, 0xbfff, 0x7fff, 0xffff, 1, 0x4010, 0x3fe0};

static void fill_x87(struct draw *d, uint8_t *image)
{
	for (unsigned i = 0; i < 8; i++) {
		uint8_t *st = image + FX_ST + 16 * i;
		uint64_t mantissa = next(d) | (uint64_t)!chance(d, 10) << 63;

		if (chance(d, 30))
			mantissa = 1ull << 63;
		memcpy(st, &mantissa, 8);
		memcpy(st + 8, &exponents[below(d, 8)], 2);
	}
	image[FX_FTW] = (uint8_t)(chance(d, 60) ? 0x3f : next(d));
	image[FX_FSW + 1] = (uint8_t)(next(d) & 0x7f);
}

static void fill_image(struct draw *d, unsigned n, uint8_t *image)
{
	uint8_t vector[64];

	t_image_init(image);
	for (unsigned i = 0; i < 32; i++) {
		fill(d, n % THEMES, vector, sizeof(vector));
		t_image_set_vector(image, i, 0, vector, sizeof(vector));
	}
	if (n % 4)
		fill_x87(d, image);
}

void t_cases_init(void)
{
	struct draw d = {.state = 1};

	for (unsigned i = 0; i < THEMES; i++)
		fill(&d, i, theme_memory[i], T_ARENA_SIZE);
	for (unsigned i = 0; i < IMAGES; i++)
		fill_image(&d, i, theme_image[i]);
	__asm__("mov %%fs:0, %0" : "=r"(host_fs_base));
}

/* Encoding */

struct encoding {
	uint8_t base, index, scale; /* NONE: not there */
	bool rip, address32;
	uint8_t segment; /* prefix or 0 */
	uint8_t mod;
	int32_t disp;
	uint8_t reg, vvvv, mask; /* NONE: as in the form */
	bool rex;                /* an empty one */
	bool vex2;
	bool immediate; /* change it */
};

struct writer {
	const struct t_insn *from;
	uint8_t to[2 * T_CODE_MAX];
	unsigned length;
};

static void put(struct writer *w, unsigned byte)
{
	if (w->length < sizeof(w->to))
		w->to[w->length++] = (uint8_t)byte;
}

static void put_prefixes(struct writer *w, const struct encoding *e)
{
	const ZydisDecodedInstruction *insn = &w->from->insn;

	if (e->address32)
		put(w, 0x67);
	if (e->segment)
		put(w, e->segment);
	for (unsigned i = 0; i < insn->raw.prefix_count; i++)
		if ((insn->raw.prefixes[i].value & 0xf0) != 0x40)
			put(w, insn->raw.prefixes[i].value);
}

static unsigned bit(unsigned value, unsigned at, unsigned to)
{
	return value == NONE ? 0 : (value >> at & 1) << to;
}

static void put_rex(struct writer *w, const struct encoding *e)
{
	unsigned rex = w->from->insn.raw.rex.W << 3;

	rex |= bit(e->reg, 3, 2) | bit(e->index, 3, 1) | bit(e->base, 3, 0);
	if (rex || e->rex)
		put(w, 0x40 | rex);
}

static unsigned with_vvvv(unsigned byte, unsigned vvvv)
{
	return vvvv == NONE ? byte : (byte & ~0x78u) | (~vvvv & 0xf) << 3;
}

/* R, X and B are stored inverted. */
static unsigned inverted_bits(const struct encoding *e)
{
	return ~(bit(e->reg, 3, 7) | bit(e->index, 3, 6) | bit(e->base, 3, 5)) & 0xe0;
}

static void put_vex(struct writer *w, const struct encoding *e, const uint8_t *vex)
{
	unsigned rxb = inverted_bits(e), third = with_vvvv(vex[2], e->vvvv);

	if (e->vex2 && vex[0] == 0xc4 && (rxb & 0x60) == 0x60 && (vex[1] & 0x1f) == 1 &&
	    !(vex[2] & 0x80)) {
		put(w, 0xc5);
		put(w, (rxb & 0x80) | third);
		return;
	}
	put(w, vex[0]);
	put(w, rxb | (vex[1] & 0x1f));
	put(w, third);
}

static void put_evex(struct writer *w, const struct encoding *e, const uint8_t *evex)
{
	unsigned last = evex[3];

	if (e->mask != NONE)
		last = (last & ~7u) | e->mask;
	if (e->vvvv != NONE)
		last = (last & ~8u) | (~e->vvvv >> 4 & 1) << 3;
	put(w, evex[0]);
	put(w, inverted_bits(e) | (~bit(e->reg, 4, 4) & 0x10) | (evex[1] & 0xf));
	put(w, with_vvvv(evex[2], e->vvvv));
	put(w, last);
}

static void put_opcode(struct writer *w, const struct encoding *e)
{
	const ZydisDecodedInstruction *insn = &w->from->insn;
	unsigned at = insn->raw.prefix_count;
	unsigned end = insn->attributes & ZYDIS_ATTRIB_HAS_MODRM ? insn->raw.modrm.offset : at + 1;

	switch (insn->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
	case ZYDIS_INSTRUCTION_ENCODING_XOP:
		put_vex(w, e, w->from->bytes + at);
		at += 3;
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		put_evex(w, e, w->from->bytes + at);
		at += 4;
		break;
	default:
		put_rex(w, e);
		if (!(insn->attributes & ZYDIS_ATTRIB_HAS_MODRM) && w->from->bytes[at] == 0x0f)
			end++;
	}
	while (at < end)
		put(w, w->from->bytes[at++]);
}

static void put_le(struct writer *w, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		put(w, value >> 8 * i & 0xff);
}

static void put_modrm(struct writer *w, const struct encoding *e)
{
	unsigned reg = e->reg == NONE ? w->from->insn.raw.modrm.reg : e->reg & REGMASK;
	bool sib = e->index != NONE || (e->base != NONE && (e->base & REGMASK) == RM_SIB) ||
	           (e->base == NONE && !e->rip);
	unsigned base = e->base == NONE ? RM_DISP : e->base & REGMASK;
	unsigned mod = e->base == NONE ? MOD_NONE : e->mod;

	if (mod == MOD_NONE && e->base != NONE && base == RM_DISP)
		mod = MOD_DISP8;
	put(w, mod << 6 | reg << 3 | (sib ? RM_SIB : base));
	if (sib)
		put(w,
		    e->scale << 6 | (e->index == NONE ? RM_SIB : e->index & REGMASK) << 3 | base);
	if (e->base == NONE || mod == MOD_DISP32)
		put_le(w, (uint32_t)e->disp, 4);
	else if (mod == MOD_DISP8)
		put_le(w, (uint32_t)e->disp, 1);
}

/* Whatever comes behind the operand: immediates, the address of MOFFS. */
static void put_rest(struct writer *w, const struct encoding *e, struct draw *d)
{
	const ZydisDecodedInstruction *insn = &w->from->insn;
	unsigned rest = 0;

	for (unsigned i = 0; i < 2; i++)
		rest += insn->raw.imm[i].size / 8u;
	if (!(insn->attributes & ZYDIS_ATTRIB_HAS_MODRM))
		rest += insn->raw.disp.size / 8u;
	while (rest--)
		put(w, e->immediate ? (unsigned)next(d) & 0xff : 0);
}

/* False: that isn't the same form, or no instruction at all. */
static bool encode(struct t_insn *to, const struct t_insn *from, const struct t_form *form,
                   const struct encoding *e, struct draw *d)
{
	struct writer w = {.from = from};
	struct t_form made;

	put_prefixes(&w, e);
	put_opcode(&w, e);
	if (from->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM)
		put_modrm(&w, e);
	put_rest(&w, e, d);
	return w.length <= T_CODE_MAX && t_decode(w.to, w.length, to) &&
	       to->insn.length == w.length && t_form_of(to, &made) && made.key == form->key;
}

/* Drawing an encoding */

static const ZydisDecodedOperand *operand_by(const struct t_insn *i, ZydisOperandEncoding encoding)
{
	for (int k = 0; k < i->insn.operand_count; k++)
		if (i->op[k].encoding == encoding)
			return &i->op[k];
	return NULL;
}

bool t_is_vsib(const struct t_insn *i)
{
	return i->mem >= 0 && i->op[i->mem].mem.type == ZYDIS_MEMOP_TYPE_VSIB;
}

static bool is_branch(const struct t_insn *i)
{
	return i->insn.meta.category == ZYDIS_CATEGORY_CALL ||
	       i->insn.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
	       i->insn.meta.category == ZYDIS_CATEGORY_COND_BR;
}

static uint8_t draw_register(struct draw *d, const struct t_insn *i, ZydisOperandEncoding encoding)
{
	const ZydisDecodedOperand *op = operand_by(i, encoding);

	if (!op || op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return NONE;
	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		return (uint8_t)below(d, i->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ? 32 :
		                                                                               16);
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return (uint8_t)below(d, 16);
	default: return (uint8_t)below(d, 8);
	}
}

static bool stack_aside;

/*
 * Patched, it would be the stack of C functions: one that lies above the window is to be far away
 * from it. So the operand lies above RSP.
 */
static void keep_stack_below(struct encoding *e, const struct t_insn *i)
{
	if (!stack_aside || e->base != T_RSP)
		return;
	if (!t_is_vsib(i))
		e->index = NONE;
	if (e->disp < 0)
		e->disp = ~e->disp;
}

static void draw_address(struct draw *d, struct encoding *e, const struct t_insn *i)
{
	e->base = (uint8_t)below(d, 16);
	if (t_is_vsib(i) || chance(d, 40)) {
		e->index = (uint8_t)below(d, 16);
		e->scale = (uint8_t)below(d, 4);
		if (!t_is_vsib(i) && (e->index == T_RSP || e->index == e->base))
			e->index = NONE;
	}
	e->mod = (uint8_t)below(d, 3);
	e->disp = (int32_t)next(d) >> (e->mod == MOD_DISP32 ? 4 : 24);
	e->address32 = chance(d, 10);
	if (chance(d, 12))
		e->segment = chance(d, 50) && !e->address32 ? 0x64 : 0x65;
	if (chance(d, 15) && e->segment != 0x64)
		e->base = NONE; /* [index*n+disp32], [disp32], [rip+disp32] */
	e->rip = e->base == NONE && e->index == NONE && chance(d, 50);
	keep_stack_below(e, i);
}

static void simple_encoding(struct encoding *e, const struct t_insn *i)
{
	memset(e, 0, sizeof(*e));
	e->base = T_RBX;
	e->index = e->reg = e->vvvv = e->mask = NONE;
	if (t_is_vsib(i))
		e->index = T_RSI;
	if (i->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && i->insn.raw.evex.aaa)
		e->mask = 1;
	if (t_is_vsib(i))
		e->reg = 0;
	if (t_is_vsib(i) && operand_by(i, ZYDIS_OPERAND_ENCODING_NDSNDD))
		e->vvvv = 5;
}

static void draw_encoding(struct draw *d, struct encoding *e, const struct t_insn *i)
{
	simple_encoding(e, i);
	if (d->style == T_SIMPLE || d->style == T_SHIFTED)
		return;
	if (chance(d, 70))
		draw_address(d, e, i);
	e->reg = draw_register(d, i, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	e->vvvv = draw_register(d, i, ZYDIS_OPERAND_ENCODING_NDSNDD);
	if (e->mask != NONE)
		e->mask = (uint8_t)(1 + below(d, 7));
	e->rex = chance(d, 20);
	e->vex2 = chance(d, 50);
	e->immediate = !is_branch(i) && chance(d, 80);
}

static bool uses(const struct t_insn *i, unsigned gpr)
{
	for (int k = 0; k < i->insn.operand_count; k++) {
		ZydisRegister r = i->op[k].reg.value;

		if (i->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r) ==
		            (ZydisRegister)(ZYDIS_REGISTER_RAX + gpr))
			return true;
	}
	return false;
}

static bool is_bit_test(const struct t_insn *i)
{
	switch (i->insn.mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: return operand_by(i, ZYDIS_OPERAND_ENCODING_MODRM_REG) != NULL;
	default: return false;
	}
}

/* Registers whose value we choose for other reasons must not make the address. */
static bool clashes(const struct t_insn *i, const struct encoding *e)
{
	if (is_bit_test(i))
		return (e->base != NONE && uses(i, e->base)) ||
		       (e->index != NONE && uses(i, e->index));
	if (i->insn.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B)
		return e->base != NONE && uses(i, e->base);
	return e->index == T_RSP;
}

static void choose_encoding(struct draw *d, struct t_insn *to, const struct t_insn *from,
                            const struct t_form *form)
{
	struct encoding e;

	for (unsigned i = 0; i < TRIES; i++) {
		draw_encoding(d, &e, from);
		if (encode(to, from, form, &e, d) && !(e.base != NONE && clashes(to, &e)))
			return;
	}
	*to = *from;
}

/* Registers and memory */

struct making {
	struct t_case *c;
	struct draw *d;
	uint64_t second, stack; /* places for implicit operands */
	uint64_t code;
};

static void poke(struct making *m, uint64_t address, const void *from, size_t length)
{
	const uint8_t *bytes = from;

	for (size_t i = 0; i < length; i++)
		if (address + i - T_ARENA < T_ARENA_SIZE)
			m->c->memory[address + i - T_ARENA] = bytes[i];
}

static void poke64(struct making *m, uint64_t address, uint64_t value, unsigned width)
{
	poke(m, address, &value, width);
}

static unsigned operand_bytes(const struct t_insn *i)
{
	unsigned size = i->mem >= 0 ? i->op[i->mem].size / 8u : 8;

	return size ? size : 1;
}

static uint64_t inside(struct draw *d)
{
	uint64_t at = T_WINDOW + 1024 + 64 * below(d, 4);

	if (d->style == T_SHIFTED)
		at += d->n % 64;
	if (surprise(d, 50))
		at += below(d, 64);
	return at;
}

static uint64_t across(struct draw *d, unsigned size)
{
	unsigned part = size > 1 ? 1 + below(d, size - 1) : below(d, 2);

	return chance(d, 50) ? T_WINDOW - part : T_WINDOW_END - part;
}

static uint64_t place(struct making *m, unsigned size)
{
	if (m->d->style == T_EDGES && chance(m->d, 80))
		return across(m->d, size);
	return inside(m->d);
}

static bool uses_stack(const struct t_insn *i)
{
	for (int k = 0; k < i->insn.operand_count; k++)
		if (i->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER ?
		            i->op[k].reg.value == ZYDIS_REGISTER_RSP :
		            i->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && k != i->mem &&
		                    i->op[k].mem.base == ZYDIS_REGISTER_RSP)
			return true;
	return i->insn.mnemonic == ZYDIS_MNEMONIC_LEAVE;
}

static void choose_places(struct making *m)
{
	struct draw *d = m->d;
	unsigned size = operand_bytes(&m->c->i);

	m->c->address = place(m, size < MAX_OPERAND ? size : 512);
	m->second = surprise(d, 40) ? T_ARENA + 512 + below(d, 64) :
	                              T_WINDOW + 2048 + below(d, 64) * 8;
	m->stack = surprise(d, 40) ? T_ARENA + 2048 : T_WINDOW + 3072;
	if (surprise(d, 20))
		m->stack += below(d, 16);
	if (d->style == T_EDGES && m->c->i.mem < 0)
		m->stack = (chance(d, 50) ? T_WINDOW : T_WINDOW_END) + below(d, 24) - 8;
	if (stack_aside && d->n % 8 != 7 && !uses_stack(&m->c->i))
		m->stack = T_STACK + (surprise(d, 20) ? below(d, 16) : 0);
}

static void fill_registers(struct making *m)
{
	struct t_regs *r = &m->c->in;
	unsigned theme = below(m->d, THEMES);

	for (unsigned i = 0; i < T_GPRS; i++)
		r->gpr[i] = themed(m->d, theme);
	r->gpr[T_RSP] = m->stack;
	r->rip = m->code;
	r->rflags = 0x202;
	if (chance(m->d, 60))
		r->rflags |= chance(m->d, 60) ? T_STATUS : next(m->d) & T_STATUS;
	if (surprise(m->d, 30))
		r->rflags |= T_DF;
	if (surprise(m->d, 4))
		r->rflags |= T_AC;
	if (surprise(m->d, 8))
		r->rflags |= T_TF;
}

static void draw_opmasks(struct making *m)
{
	static const uint64_t masks[] = {0, ~0ull,  0x5555555555555555, 0xaaaaaaaaaaaaaaaa,
	                                 1, 0x8000, 0x0f0f0f0f0f0f0f0f, 6};

	if (!t_layout.opmask)
		return;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t k = chance(m->d, 50) ? masks[below(m->d, 8)] : next(m->d);

		memcpy(m->c->image + t_layout.opmask + 8 * i, &k, 8);
	}
}

/* Unmasked exceptions, flush to zero, rounding. */
static void draw_controls(struct making *m)
{
	static const uint32_t mxcsrs[] = {0x1f80, 0x9fc0, 0x5f80, 0x3f80,
	                                  0x7fbf, 0x0000, 0x1d80, 0x8000};
	static const uint16_t fcws[] = {0x37f, 0x27f, 0x0f7f, 0x77f, 0x340, 0x35f, 0x37e, 0x37f};
	uint32_t mxcsr = mxcsrs[surprise(m->d, 60) ? below(m->d, 8) : 0];
	uint16_t fcw = fcws[surprise(m->d, 60) ? below(m->d, 8) : 0];

	memcpy(m->c->image + FX_MXCSR, &mxcsr, 4);
	memcpy(m->c->image + FX_FCW, &fcw, 2);
	if (surprise(m->d, 3))
		m->c->image[FX_FSW] = (uint8_t)(next(m->d) & 0x3f);
}

static void fill_vectors(struct making *m)
{
	memcpy(m->c->image, theme_image[below(m->d, IMAGES)], t_layout.size);
	draw_opmasks(m);
	draw_controls(m);
}

static void fill_memory(struct making *m)
{
	memcpy(m->c->memory, theme_memory[below(m->d, THEMES)], T_ARENA_SIZE);
}

/* The address */

static int gpr_number(ZydisRegister reg)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	if (reg == ZYDIS_REGISTER_NONE || ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64)
		return -1;
	return ZydisRegisterGetId(whole);
}

static uint64_t segment_base(const ZydisDecodedOperandMem *mem)
{
	if (mem->segment == ZYDIS_REGISTER_FS)
		return host_fs_base;
	return mem->segment == ZYDIS_REGISTER_GS ? T_GS_BASE : 0;
}

static void write_displacement(struct making *m, uint64_t offset)
{
	struct t_insn *i = &m->c->i;
	unsigned bytes = i->insn.raw.disp.size / 8u;

	memcpy(i->bytes + i->insn.raw.disp.offset, &offset, bytes < 8 ? bytes : 8);
	t_decode(i->bytes, i->insn.length, i);
}

/* Make base, index or displacement such that the operand lies at the address. */
static void solve_address(struct making *m)
{
	const struct t_insn *i = &m->c->i;
	const ZydisDecodedOperandMem *mem = &i->op[i->mem].mem;
	int base = gpr_number(mem->base), index = gpr_number(mem->index);
	uint64_t offset = m->c->address - segment_base(mem), *gpr = m->c->in.gpr;
	uint64_t high = i->insn.address_width == 32 ? next(m->d) << 32 : 0;

	if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP) {
		write_displacement(m, offset - m->code - i->insn.length);
	} else if (base < 0 && index < 0) {
		if (!t_is_vsib(i))
			write_displacement(m, offset);
	} else if (base < 0) {
		gpr[index] = (offset - (uint64_t)mem->disp.value) / mem->scale;
		m->c->address = segment_base(mem) + gpr[index] * mem->scale +
		                (uint64_t)mem->disp.value;
	} else {
		offset -= (uint64_t)mem->disp.value;
		if (index >= 0)
			offset -= gpr[index] * mem->scale;
		gpr[base] = offset + high;
	}
}

/* Implicit operands */

static void place_implicit(struct making *m, const ZydisDecodedOperand *op, uint64_t at)
{
	int base = gpr_number(op->mem.base);
	uint64_t *gpr = m->c->in.gpr;

	if (base < 0 || base == T_RSP)
		return;
	at -= segment_base(&op->mem);
	if (gpr_number(op->mem.index) == T_RAX)
		at -= gpr[T_RAX] & 0xff;
	gpr[base] = at;
}

static void place_all_implicit(struct making *m)
{
	const struct t_insn *i = &m->c->i;
	unsigned seen = i->mem >= 0;

	for (int k = 0; k < i->insn.operand_count; k++)
		if (i->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && k != i->mem &&
		    gpr_number(i->op[k].mem.base) != T_RSP)
			place_implicit(m, &i->op[k], seen++ ? m->second : m->c->address);
}

static bool repeats(const struct t_insn *i)
{
	return i->insn.attributes &
	       (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

static void prepare_count(struct making *m)
{
	static const uint8_t counts[] = {0, 1, 2, 5, 17, 40};
	uint64_t count = counts[below(m->d, 6)];

	if (m->c->i.insn.address_width == 32)
		count |= next(m->d) << 32;
	m->c->in.gpr[T_RCX] = count;
}

static void prepare_bit_test(struct making *m)
{
	const ZydisDecodedOperand *op = operand_by(&m->c->i, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	int reg = gpr_number(op->reg.value);

	m->c->in.gpr[reg] = (uint64_t)((int64_t)below(m->d, 2048) - 1024);
	if (m->c->i.insn.operand_width == 16)
		m->c->in.gpr[reg] ^= next(m->d) << 16;
}

/* Elements of all sorts, most of them near the address, some of them the same. */
static void prepare_vsib(struct making *m)
{
	const struct t_insn *i = &m->c->i;
	unsigned index = (unsigned)ZydisRegisterGetId(i->op[i->mem].mem.index);
	unsigned scale = i->op[i->mem].mem.scale, wide = chance(m->d, 50);
	int32_t values[16];

	for (unsigned k = 0; k < 16; k++) {
		values[k] = (int32_t)(below(m->d, 256) / scale) - (surprise(m->d, 30) ? 20 : 0);
		if (wide && k % 2)
			values[k] = values[k - 1] >> 31;
	}
	t_image_set_vector(m->c->image, index, 0, values, sizeof(values));
}

static void prepare_branch(struct making *m)
{
	const struct t_insn *i = &m->c->i;
	bool far = i->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
	unsigned width = i->insn.operand_width / 8u, bytes = operand_bytes(i);

	if (i->mem >= 0) {
		poke64(m, m->c->address, T_LANDING, bytes < 8 ? bytes : 8);
		if (far) {
			/* USER_CS, or one that is no code segment */
			unsigned at = bytes > 8 && !t_is_amd() ? 8 : 4;

			poke64(m, m->c->address + at,
			       chance(m->d, 75) ? USER_CS : next(m->d) | 0x40, 2);
		}
	}
	if (i->insn.meta.category != ZYDIS_CATEGORY_RET)
		return;
	poke64(m, m->stack, T_LANDING, 8);
	if (!far)
		return;
	poke64(m, m->stack, T_LANDING, width);
	poke64(m, m->stack + width, chance(m->d, 90) ? USER_CS : next(m->d) | 3, width);
	poke64(m, m->stack + 2 * width, 0x202 | (next(m->d) & T_STATUS), width);
	poke64(m, m->stack + 3 * width, m->stack + 64, width);
	poke64(m, m->stack + 4 * width, USER_SS, width);
}

static void prepare_selector(struct making *m, unsigned at)
{
	static const uint16_t selectors[] = {0x2b, 0, 0x33, 0x23, 3, 0x2b, 0x10, 0x7b};

	if (chance(m->d, 80))
		poke(m, m->c->address + at, &selectors[below(m->d, 8)], 2);
}

/* An area that XRSTOR and FXRSTOR take. */
static void prepare_area(struct making *m)
{
	uint8_t area[T_IMAGE_MAX];
	uint64_t parts = next(m->d) & 0xe7;

	memcpy(area, theme_image[below(m->d, IMAGES)], t_layout.size);
	memset(area + 464, 0, 576 - 464);
	if (chance(m->d, 30))
		parts = 0xe7;
	if (!t_layout.zmm16)
		parts &= 7;
	memcpy(area + XSTATE_BV, &parts, 8);
	if (chance(m->d, 30)) {
		uint64_t compacted = parts | 1ull << 63;

		memcpy(area + XSTATE_BV + 8, &compacted, 8);
	}
	poke(m, m->c->address, area, t_layout.size);
}

static void prepare_accumulator(struct making *m)
{
	const uint64_t *gpr = m->c->in.gpr;
	unsigned half = operand_bytes(&m->c->i);

	if (m->c->i.insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B ||
	    m->c->i.insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B) {
		half /= 2;
		poke(m, m->c->address + half, &gpr[T_RDX], half);
	}
	poke(m, m->c->address, &gpr[T_RAX], half < 8 ? half : 8);
}

static void prepare_division(struct making *m)
{
	uint64_t *gpr = m->c->in.gpr;

	gpr[T_RDX] = chance(m->d, 70) ? 0 : ~0ull;
	if (operand_bytes(&m->c->i) == 1)
		gpr[T_RAX] = below(m->d, 1000);
}

static void prepare_by_mnemonic(struct making *m)
{
	uint32_t mxcsr = (uint32_t)next(m->d) & 0xffff;

	switch (m->c->i.insn.mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		if (chance(m->d, 80))
			prepare_division(m);
		break;
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		if (chance(m->d, 50))
			prepare_accumulator(m);
		break;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		if (chance(m->d, 80))
			poke(m, m->c->address, &mxcsr, 4);
		break;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64: prepare_area(m); break;
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL: prepare_selector(m, 0); break;
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS: prepare_selector(m, m->c->i.insn.operand_width / 8u); break;
	case ZYDIS_MNEMONIC_POP:
		if (operand_by(&m->c->i, ZYDIS_OPERAND_ENCODING_NONE))
			poke64(m, m->stack, chance(m->d, 80) ? 0x2b : next(m->d), 8);
		break;
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE:
		m->c->in.gpr[T_RBP] = m->stack + (chance(m->d, 50) ? 256 : 0);
		break;
	default: break;
	}
}

/* Only the components that frames hold, so that no protection key changes. */
static void prepare_features(struct making *m)
{
	if (m->c->i.insn.meta.category != ZYDIS_CATEGORY_XSAVE &&
	    m->c->i.insn.meta.category != ZYDIS_CATEGORY_XSAVEOPT)
		return;
	m->c->in.gpr[T_RAX] &= 0xe7;
	if (chance(m->d, 50))
		m->c->in.gpr[T_RAX] |= 0xe7;
}

/* UMIP: the kernel carries these out and forgets to single-step. */
bool t_loads_fs(const struct t_insn *i)
{
	for (unsigned k = 0; k < i->insn.operand_count; k++)
		if (i->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    i->op[k].reg.value == ZYDIS_REGISTER_FS &&
		    i->op[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			return true;
	return false;
}

bool t_is_emulated_by_kernel(const struct t_insn *i)
{
	switch (i->insn.mnemonic) {
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_STR: return true;
	default: return false;
	}
}

static void prepare(struct making *m)
{
	const struct t_insn *i = &m->c->i;

	prepare_features(m);
	if (t_is_emulated_by_kernel(i))
		m->c->in.rflags &= ~(uint64_t)T_TF;
	if (repeats(i))
		prepare_count(m);
	if (is_bit_test(i))
		prepare_bit_test(m);
	if (i->insn.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B)
		m->c->in.gpr[gpr_number(i->op[0].reg.value)] = m->second & ~63ull;
	if (t_is_vsib(i))
		prepare_vsib(m);
	place_all_implicit(m);
	if (i->mem >= 0)
		solve_address(m);
	if (is_branch(i) || i->insn.meta.category == ZYDIS_CATEGORY_RET)
		prepare_branch(m);
	prepare_by_mnemonic(m);
}

static void write_code(const struct making *m)
{
	static const uint8_t nop[] = {0x0f, 0x1f, 0x40, 0x00};
	uint8_t *to = t_code + (m->code - T_CODE_AT);

	memset(to, INT3, T_SLOT);
	memcpy(to, m->c->i.bytes, m->c->i.insn.length);
	memcpy(to + m->c->i.insn.length, nop, sizeof(nop));
}

void t_case_make(struct t_case *c, const struct t_form *form, unsigned n, enum t_style style,
                 unsigned slot)
{
	struct draw d = {.state = form->key + n * 0x100000001b3ull, .style = style, .n = n};
	struct making m = {.c = c, .d = &d, .code = T_CODE_AT + (uint64_t)slot * T_SLOT};
	struct t_insn from;

	t_decode(form->bytes, form->length, &from);
	choose_encoding(&d, &c->i, &from, form);
	choose_places(&m);
	fill_registers(&m);
	fill_vectors(&m);
	fill_memory(&m);
	prepare(&m);
	write_code(&m);
}

void t_case_describe(const struct t_case *c, char *to, size_t size)
{
	char text[128], hex[2 * T_CODE_MAX + 1] = "";

	for (unsigned i = 0; i < c->i.insn.length; i++)
		snprintf(hex + 2 * i, 3, "%02x", c->i.bytes[i]);
	t_format(c->i.bytes, c->i.insn.length, text, sizeof(text));
	snprintf(to, size, "%s (%s)", text, hex);
}

/* For patching */

static void give_up(const char *what)
{
	perror(what);
	abort();
}

void t_stack_aside_make(void)
{
	void *start = (void *)(uintptr_t)(T_STACK - T_STACK_SIZE);

	if (mmap(start, T_STACK_SIZE + T_PAGE, PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != start)
		give_up("no stack");
	stack_aside = true;
}

static struct {
	unsigned number, size;
} batch;

static void let_write(bool yes)
{
	int prot = PROT_READ | PROT_EXEC | (yes ? PROT_WRITE : 0);

	if (mprotect(t_code + batch.number * batch.size * T_SLOT, batch.size * T_SLOT, prot))
		give_up("mprotect");
}

unsigned t_place(unsigned entry, unsigned batch_size)
{
	batch.size = batch_size;
	if (entry == 0) {
		batch.number = (batch.number + 1) % (T_PLACES / batch_size);
		let_write(true);
	}
	return batch.number * batch_size + entry;
}

void t_place_close(void)
{
	let_write(false);
}
