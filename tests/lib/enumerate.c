/* SPDX-License-Identifier: MIT */
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enumerate.h"

enum {
	SET_SIZE = 1 << 16, /* several times the number of forms */
	OPCODES = 256,
	REGS = 8,
	NO_VVVV = 0xf,
	SOME_VVVV = 5,
};

static void out_of_memory(void)
{
	fputs("out of memory\n", stderr);
	abort();
}

/* Decoding */

static unsigned extended_ecx(void)
{
	unsigned a, b, c = 0, d;

	return __get_cpuid(0x80000001, &a, &b, &c, &d) ? c : 0;
}

static bool has_bmi1(void)
{
	unsigned a, b = 0, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_BMI;
}

bool t_is_amd(void)
{
	unsigned a, b = 0, c, d;

	__get_cpuid(0, &a, &b, &c, &d);
	return b == signature_AMD_ebx || b == 0x6f677948; /* "Hygo" */
}

static const ZydisDecoder *decoder(void)
{
	static ZydisDecoder d;
	static bool ready;

	if (ready)
		return &d;
	ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_LZCNT, !!(extended_ecx() & bit_LZCNT));
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_TZCNT, has_bmi1());
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_AMD_BRANCHES, t_is_amd());
	ready = true;
	return &d;
}

static int explicit_memory(const struct t_insn *i)
{
	for (int k = 0; k < i->insn.operand_count; k++) {
		const ZydisDecodedOperand *op = &i->op[k];

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
		     op->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64))
			return k;
	}
	return -1;
}

bool t_decode(const uint8_t *bytes, size_t length, struct t_insn *to)
{
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder(), bytes, length, &to->insn, to->op)))
		return false;
	memmove(to->bytes, bytes, to->insn.length);
	memset(to->bytes + to->insn.length, 0, sizeof(to->bytes) - to->insn.length);
	to->mem = explicit_memory(to);
	return true;
}

void t_format(const uint8_t *bytes, size_t length, char *to, size_t size)
{
	ZydisFormatter formatter;
	struct t_insn i;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
	if (!t_decode(bytes, length, &i) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &i.insn, i.op,
	                                                  i.insn.operand_count_visible, to, size, 0,
	                                                  NULL)))
		snprintf(to, size, "?");
}

/* Keys: FNV-1a over what distinguishes two forms. */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		hash = (hash ^ (value >> 8 * i & 0xff)) * 0x100000001b3;
	return hash;
}

static uint64_t operand_form(const struct t_insn *i)
{
	uint64_t h = mix(0xcbf29ce484222325, i->insn.mnemonic);

	for (int k = 0; k < i->insn.operand_count_visible; k++) {
		const ZydisDecodedOperand *op = &i->op[k];

		h = mix(h, op->type);
		h = mix(h, op->size);
		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
			h = mix(h, ZydisRegisterGetClass(op->reg.value));
		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
			h = mix(h, op->mem.type);
	}
	return h;
}

static bool has_register_in_modrm(const struct t_insn *i)
{
	for (int k = 0; k < i->insn.operand_count; k++)
		if (i->op[k].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			return true;
	return false;
}

static uint64_t mandatory_prefix(const ZydisDecodedInstruction *insn)
{
	uint64_t prefixes = 0;

	for (unsigned i = 0; i < insn->raw.prefix_count; i++)
		if (insn->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			prefixes = prefixes << 8 | insn->raw.prefixes[i].value;
	return prefixes;
}

/* The vector length is that of the operands, so that a length that is ignored doesn't count. */
static uint64_t vector_prefix(const ZydisDecodedInstruction *insn)
{
	switch (insn->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX: return insn->raw.vex.pp | insn->raw.vex.W << 4;
	case ZYDIS_INSTRUCTION_ENCODING_XOP: return insn->raw.xop.pp | insn->raw.xop.W << 4;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		return insn->raw.evex.pp | insn->raw.evex.W << 4 | insn->raw.evex.b << 7 |
		       insn->raw.evex.z << 8 | !!insn->raw.evex.aaa << 9;
	default: return 0;
	}
}

static uint64_t encoding_form(const struct t_insn *i)
{
	const ZydisDecodedInstruction *insn = &i->insn;
	uint64_t h = operand_form(i);

	h = mix(h, insn->encoding);
	h = mix(h, insn->opcode_map);
	h = mix(h, insn->opcode);
	h = mix(h, mandatory_prefix(insn));
	h = mix(h, vector_prefix(insn));
	h = mix(h, insn->avx.vector_length);
	h = mix(h, insn->attributes & (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP |
	                               ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
	if (insn->attributes & ZYDIS_ATTRIB_HAS_MODRM && !has_register_in_modrm(i))
		h = mix(h, insn->raw.modrm.reg);
	return h;
}

static bool has_memory(const struct t_insn *i)
{
	for (int k = 0; k < i->insn.operand_count; k++)
		if (i->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return true;
	return false;
}

bool t_form_of(const struct t_insn *i, struct t_form *to)
{
	if (i->insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED || !has_memory(i))
		return false;
	memcpy(to->bytes, i->bytes, sizeof(to->bytes));
	to->length = i->insn.length;
	to->mnemonic = (uint16_t)i->insn.mnemonic;
	to->operand_key = operand_form(i);
	to->key = encoding_form(i);
	return true;
}

/* Enumeration */

struct search {
	struct t_forms *forms;
	uint64_t *seen;
	uint8_t bytes[T_CODE_MAX]; /* up to the opcode */
	unsigned length;
	ZydisInstructionEncoding encoding;
};

static bool is_new(struct search *s, uint64_t key)
{
	uint64_t at = key;

	while (s->seen[at % SET_SIZE] && s->seen[at % SET_SIZE] != key)
		at++;
	if (s->seen[at % SET_SIZE] == key)
		return false;
	s->seen[at % SET_SIZE] = key;
	return true;
}

static void keep(struct search *s, const struct t_form *form)
{
	if (!is_new(s, form->key))
		return;
	if (s->forms->count == SET_SIZE / 2)
		out_of_memory();
	s->forms->form[s->forms->count++] = *form;
}

static bool try(struct search *s, const uint8_t *bytes, uint8_t opcode)
{
	struct t_insn i;
	struct t_form form;

	if (!t_decode(bytes, T_CODE_MAX, &i) || i.insn.encoding != s->encoding ||
	    i.insn.opcode != opcode)
		return false;
	if (t_form_of(&i, &form))
		keep(s, &form);
	return true;
}

/* One opcode under the prefixes at hand: each ModRM.reg with [rbx], or [rbx+rsi] and [rbx+xmm6]. */
static void try_opcode(struct search *s, unsigned opcode)
{
	uint8_t bytes[T_CODE_MAX];

	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, s->bytes, s->length);
	bytes[s->length] = (uint8_t)opcode;
	for (unsigned reg = 0; reg < REGS; reg++) {
		bytes[s->length + 1] = (uint8_t)(reg << 3 | 3);
		bytes[s->length + 2] = 0;
		if (try(s, bytes, (uint8_t)opcode))
			continue;
		bytes[s->length + 1] = (uint8_t)(reg << 3 | 4);
		bytes[s->length + 2] = 0x33;
		try(s, bytes, (uint8_t)opcode);
	}
}

static void try_opcodes(struct search *s)
{
	for (unsigned opcode = 0; opcode < OPCODES; opcode++)
		try_opcode(s, opcode);
}

static void put(struct search *s, unsigned byte)
{
	s->bytes[s->length++] = (uint8_t)byte;
}

static void put_string(struct search *s, const char *bytes)
{
	while (*bytes)
		put(s, (uint8_t)*bytes++);
}

static void legacy(struct search *s)
{
	static const char *const prefix[] = {"",         "\x66",     "\xf2", "\xf3",
	                                     "\x66\xf2", "\x66\xf3", "\xf0", "\x66\xf0",
	                                     "\xf0\xf2", "\xf0\xf3"};
	static const char *const rex[] = {"", "\x48"};
	static const char *const map[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};

	s->encoding = ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	for (unsigned p = 0; p < sizeof(prefix) / sizeof(prefix[0]); p++)
		for (unsigned i = 0; i < 8; i++) {
			s->length = 0;
			put_string(s, prefix[p]);
			put_string(s, rex[i & 1]);
			put_string(s, map[i >> 1]);
			try_opcodes(s);
		}
}

/* W, vvvv, L and pp are the third byte of VEX and XOP; the first of them is C4 or 8F. */
static void vex_like(struct search *s, unsigned first, unsigned map, unsigned third)
{
	s->length = 0;
	put(s, first);
	put(s, 0xe0 | map);
	put(s, third);
	try_opcodes(s);
}

static void vex(struct search *s)
{
	for (unsigned i = 0; i < 32; i++) {
		unsigned third = (i & 7) | (i & 8) << 4 | (~(i & 16 ? SOME_VVVV : 0) & 0xf) << 3;

		s->encoding = ZYDIS_INSTRUCTION_ENCODING_VEX;
		for (unsigned map = 1; map <= 3; map++)
			vex_like(s, 0xc4, map, third);
		s->encoding = ZYDIS_INSTRUCTION_ENCODING_XOP;
		for (unsigned map = 8; map <= 10; map++)
			vex_like(s, 0x8f, map, third);
	}
}

/* @bits: W, pp, LL, b. @switches: none, masked, masked and zeroing. */
static void evex_map(struct search *s, unsigned map, unsigned bits, unsigned switches)
{
	for (unsigned vvvv = 0; vvvv <= SOME_VVVV; vvvv += SOME_VVVV) {
		s->length = 0;
		put(s, 0x62);
		put(s, 0xf0 | map);
		put(s, (bits & 1) << 7 | (~vvvv & 0xf) << 3 | 4 | (bits >> 1 & 3));
		put(s, (switches == 2) << 7 | (bits >> 3 & 3) << 5 | (bits >> 5 & 1) << 4 | 8 |
		               !!switches);
		try_opcodes(s);
	}
}

static void evex(struct search *s)
{
	static const unsigned map[] = {1, 2, 3, 5, 6};

	s->encoding = ZYDIS_INSTRUCTION_ENCODING_EVEX;
	for (unsigned m = 0; m < sizeof(map) / sizeof(map[0]); m++)
		for (unsigned bits = 0; bits < 64; bits++)
			for (unsigned switches = 0; switches < 3; switches++)
				evex_map(s, map[m], bits, switches);
}

void t_enumerate(struct t_forms *to)
{
	struct search s = {.forms = to};

	to->count = 0;
	to->form = calloc(SET_SIZE / 2, sizeof(*to->form));
	s.seen = calloc(SET_SIZE, sizeof(*s.seen));
	if (!to->form || !s.seen)
		out_of_memory();
	legacy(&s);
	vex(&s);
	evex(&s);
	free(s.seen);
}

void t_forms_free(struct t_forms *forms)
{
	free(forms->form);
	forms->form = NULL;
	forms->count = 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static size_t distinct(uint64_t *value, size_t count)
{
	size_t n = 0;

	qsort(value, count, sizeof(*value), compare);
	for (size_t i = 0; i < count; i++)
		n += i == 0 || value[i] != value[i - 1];
	return n;
}

void t_count(const struct t_forms *forms, const uint8_t *chosen, struct t_counts *to)
{
	uint64_t *mnemonic = calloc(2 * forms->count + 1, sizeof(*mnemonic));
	uint64_t *operands = mnemonic + forms->count;
	size_t n = 0;

	if (!mnemonic)
		out_of_memory();
	for (size_t i = 0; i < forms->count; i++) {
		if (chosen && !chosen[i])
			continue;
		mnemonic[n] = forms->form[i].mnemonic;
		operands[n++] = forms->form[i].operand_key;
	}
	to->mnemonics = distinct(mnemonic, n);
	to->operand_forms = distinct(operands, n);
	to->encodings = n;
	free(mnemonic);
}
