/* SPDX-License-Identifier: MIT */
/*
 * The register page against the CPU: every instruction form with an explicit operand runs natively
 * on plain memory that holds what the page should show, then on the page itself. What it leaves in
 * registers must be the same, with the bytes that it stored laid over them.
 *
 * With PATCHED (test_page_patched.c) it then runs again, patched: by an absolute address perhaps as
 * another instruction in its place, by a base register from a slot.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "bytes.h"
#include "enumerate.h"
#include "machine.h"

#ifndef PATCHED
#define PATCHED false
#endif

enum {
	CODE_AT = 0x14000000,
	MEMORY_AT = 0x10000000,
	STACK_AT = 0xfff0000,
	STACK_SIZE = 0x8000,
	CODE_STEP = 32,
	PAGE = 4096,
	CASES = 10,
	SHOWN = 20,
	RM_SIB = 4,
	SIB_ABSOLUTE = 0x25,
	MOD_DISP32 = 0x80,
	INT3 = 0xcc,
	JMP = 0xe9,
	FX_FCW = 0,
	FX_FTW = 4,
	FX_FDP = 16,
	FX_MXCSR = 24,
	FX_ST = 32,
	FX_XMM = 160,
};

static uint64_t seed = 1;

static uint64_t chance(void)
{
	return t_next(&seed);
}

/* One state of the machine. */
struct machine {
	struct t_regs regs;
	uint8_t image[T_IMAGE_MAX] __attribute__((aligned(64)));
};

/* The page, as the documentation has it. */

static unsigned vector_slots(void)
{
	return t_layout.zmm16 ? 32 : 16;
}

static void show_vectors(const struct machine *m, uint8_t *page)
{
	for (unsigned i = 0; i < vector_slots(); i++)
		t_image_get_vector(m->image, i, 0, page + 0x800 + 64 * i, t_vector_bytes());
}

static uint16_t full_tags(const uint8_t *image)
{
	unsigned top = image[3] >> 3 & 7, word = 0;

	for (unsigned physical = 0; physical < 8; physical++) {
		const uint8_t *st = image + FX_ST + 16 * ((physical - top) & 7);
		unsigned exponent = (st[8] | st[9] << 8) & 0x7fff, tag = 0;
		uint64_t mantissa;

		memcpy(&mantissa, st, 8);
		if (!(image[FX_FTW] >> physical & 1))
			tag = 3;
		else if (exponent == 0 && mantissa == 0)
			tag = 1;
		else if (exponent == 0 || exponent == 0x7fff || !(mantissa >> 63))
			tag = 2;
		word |= tag << 2 * physical;
	}
	return (uint16_t)word;
}

static void show(const struct machine *m, uint64_t next, uint64_t fs, uint64_t gs, uint8_t *page)
{
	uint64_t flags = m->regs.rflags;
	uint16_t tags = full_tags(m->image);

	memset(page, 0, PAGE);
	memcpy(page, m->regs.gpr, 128);
	memcpy(page + 0x80, &next, 8);
	memcpy(page + 0x88, &flags, 8);
	memcpy(page + 0x90, &fs, 8);
	memcpy(page + 0x98, &gs, 8);
	memcpy(page + 0xa0, m->image + FX_MXCSR, 4);
	memcpy(page + 0xa4, m->image + FX_FCW, 4);
	memcpy(page + 0xa8, &tags, 2);
	if (t_layout.opmask)
		memcpy(page + 0xc0, m->image + t_layout.opmask, 64);
	for (unsigned i = 0; i < 8; i++)
		memcpy(page + 0x100 + 16 * i, m->image + FX_ST + 16 * i, 10);
	show_vectors(m, page);
}

static void lay_byte_over(struct machine *m, unsigned at, uint8_t byte)
{
	if (at < 0x80)
		((uint8_t *)m->regs.gpr)[at] = byte;
	else if (at >= 0xc0 && at < 0x100)
		m->image[t_layout.opmask + at - 0xc0] = byte;
	else if (at >= 0x100 && at < 0x180 && at % 16 < 10)
		m->image[FX_ST + at - 0x100] = byte;
	else if (at >= 0x800)
		t_image_set_vector(m->image, (at - 0x800) / 64, at % 64, &byte, 1);
}

/* Where an operand may lie: all of it in registers. */

static bool is_register_byte(unsigned at)
{
	if (at < 0xaa || (at >= 0x100 && at < 0x180))
		return true;
	if (at >= 0xc0 && at < 0x100)
		return t_layout.opmask;
	return at >= 0x800 && at < 0x800 + 64 * vector_slots() && at % 64 < t_vector_bytes();
}

/* Control registers and bases have rules of their own: test_registers. */
static bool is_storable_byte(unsigned at)
{
	return is_register_byte(at) && (at < 0x80 || at >= 0xc0);
}

static bool fits(unsigned at, unsigned size, bool store)
{
	for (unsigned i = 0; i < size; i++)
		if (!(store ? is_storable_byte(at + i) : is_register_byte(at + i)))
			return false;
	return true;
}

static unsigned choose_offset(unsigned size, bool store, bool aligned)
{
	for (;;) {
		unsigned at = (unsigned)chance() % PAGE;

		if (chance() % 2)
			at %= 0x180;
		if (aligned)
			at &= ~63u;
		if (at + size <= PAGE && fits(at, size, store))
			return at;
	}
}

/* Code */

static bool is_usable(const struct t_insn *i)
{
	const ZydisDecodedOperand *op;

	if (i->mem < 0)
		return false;
	op = &i->op[i->mem];
	return op->mem.type == ZYDIS_MEMOP_TYPE_MEM && op->size && op->size <= 512 &&
	       i->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM && i->insn.length <= T_CODE_MAX - 5 &&
	       i->insn.raw.modrm.rm == 3 && i->insn.raw.modrm.mod == 0 &&
	       i->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE &&
	       i->insn.meta.category != ZYDIS_CATEGORY_SYSTEM;
}

/* What a bit offset or a segment load reaches, this test doesn't know. */
static bool is_special(const struct t_insn *i)
{
	switch (i->insn.mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
	case ZYDIS_MNEMONIC_MOVDIR64B:
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS: return true;
	case ZYDIS_MNEMONIC_MOV:
		return ZydisRegisterGetClass(i->op[!i->mem].reg.value) == ZYDIS_REGCLASS_SEGMENT;
	default: return false;
	}
}

/* Each case has a place of its own, where code isn't writable while it runs. */
static uint64_t code_at = CODE_AT;

static void let_write(bool yes)
{
	int prot = PROT_READ | PROT_EXEC | (yes ? PROT_WRITE : 0);

	if (PATCHED)
		assert_int_equal(mprotect((void *)(code_at & -(uint64_t)PAGE), PAGE, prot), 0);
}

static void next_place(void)
{
	static unsigned n;

	if (PATCHED)
		code_at = CODE_AT + n % (T_CODE_SIZE / PAGE) * PAGE +
		          n / (T_CODE_SIZE / PAGE) % (PAGE / CODE_STEP) * CODE_STEP;
	n++;
}

/* [rbx] becomes [disp32], or [rbx+disp32]. */
static unsigned encode(const struct t_insn *i, uint32_t address, const uint64_t *base, uint8_t *to)
{
	unsigned modrm = i->insn.raw.modrm.offset, at = modrm + 1;
	uint32_t displacement = address - (base ? (uint32_t)*base : 0);

	memcpy(to, i->bytes, modrm + 1);
	if (base) {
		to[modrm] |= MOD_DISP32;
	} else {
		to[modrm] = (uint8_t)((to[modrm] & 0xf8) | RM_SIB);
		to[at++] = SIB_ABSOLUTE;
	}
	memcpy(to + at, &displacement, 4);
	memcpy(to + at + 4, i->bytes + modrm + 1, i->insn.length - modrm - 1);
	return i->insn.length + at + 4 - modrm - 1;
}

static void write_code(const struct t_insn *i, uint32_t address, const uint64_t *base)
{
	uint8_t *to = t_code + (code_at - CODE_AT);
	uint8_t code[CODE_STEP];
	unsigned length = encode(i, address, base, code);

	let_write(true);
	memcpy(to, code, length);
	memset(to + length, INT3, sizeof(code) - length);
	let_write(false);
}

/* A case */

struct one {
	struct t_insn i;
	unsigned at, size;
	bool store, load;
	const uint64_t *base; /* RBX, if that is part of the address */
	struct machine in, native, page;
	struct t_outcome native_outcome, page_outcome;
	uint8_t before[PAGE], after[PAGE];
};

static uint64_t host_fs, host_gs;

static void fill(struct machine *m)
{
	static const uint32_t singles[] = {0x3f800000, 0xc0000000, 0, 0x40490fdb};

	t_image_init(m->image);
	for (unsigned i = 0; i < T_GPRS; i++)
		m->regs.gpr[i] = chance() % 4 ? chance() : chance() % 64;
	m->regs.rip = code_at;
	if (PATCHED && chance() % 8)
		m->regs.gpr[T_RSP] = STACK_AT;
	m->regs.rflags = 0x202 | (chance() & T_STATUS);
	for (unsigned i = 0; i < vector_slots(); i++)
		for (unsigned k = 0; k < t_vector_bytes(); k += 4) {
			uint32_t v = chance() % 2 ? singles[chance() % 4] : (uint32_t)chance();

			t_image_set_vector(m->image, i, k, &v, 4);
		}
	for (unsigned i = 0; i < 64 && t_layout.opmask; i++)
		m->image[t_layout.opmask + i] = (uint8_t)chance();
	m->image[FX_FTW] = 0xff;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t mantissa = chance() | 1ull << 63;

		memcpy(m->image + FX_ST + 16 * i, &mantissa, 8);
		m->image[FX_ST + 16 * i + 8] = 0xff;
		m->image[FX_ST + 16 * i + 9] = 0x3f;
	}
}

static void run_native(struct one *o)
{
	unsigned length;
	uint8_t code[32];

	length = encode(&o->i, 0, o->base, code);
	show(&o->in, code_at + length, host_fs, host_gs, o->before);
	memcpy((void *)MEMORY_AT, o->before, PAGE);
	write_code(&o->i, MEMORY_AT + o->at, o->base);
	t_run(&o->in.regs, o->in.image, &o->native_outcome, o->native.image);
	o->native.regs = o->native_outcome.regs;
	memcpy(o->after, (void *)MEMORY_AT, PAGE);
}

/* The FPU's data pointer is the address, which differs by that of the plain memory. */
static void move_data_pointer(struct one *o)
{
	uint64_t fdp;

	memcpy(&fdp, o->native.image + FX_FDP, 8);
	if (fdp == MEMORY_AT + o->at)
		fdp = o->at;
	memcpy(o->native.image + FX_FDP, &fdp, 8);
}

static bool is_masked(const struct one *o)
{
	return o->i.insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && o->i.insn.raw.evex.aaa;
}

/*
 * A mask leaves bytes alone, which then are no stores; nor does such an instruction change
 * registers.
 */
static void lay_stores_over(struct one *o)
{
	for (unsigned i = o->at; o->store && i < o->at + o->size; i++)
		if (!is_masked(o) || o->before[i] != o->after[i])
			lay_byte_over(&o->native, i, o->after[i]);
}

static bool run_on_page(struct one *o)
{
	t_run(&o->in.regs, o->in.image, &o->page_outcome, o->page.image);
	o->page.regs = o->page_outcome.regs;
	return o->page_outcome.end == T_END_DONE &&
	       !memcmp(o->page.regs.gpr, o->native.regs.gpr, sizeof(o->page.regs.gpr)) &&
	       o->page.regs.rflags == o->native.regs.rflags &&
	       o->page.regs.rip == o->native.regs.rip &&
	       !memcmp(o->page.image, o->native.image, t_layout.size);
}

static unsigned patched, in_place, refused;

static void count_patch(void)
{
	int is = regmap_patch_site((const void *)code_at);

	patched += is == 1;
	in_place += is == 1 && *(const uint8_t *)code_at != JMP;
	refused += is < 0;
}

/* The others make no access: a mask is empty, say. */
static void check_patches(unsigned cases)
{
	print_message("%u patched, %u of them in place, %u refused\n", patched, in_place, refused);
	assert_int_equal(refused, 0);
	assert_true(patched >= cases / 100 * 95);
	assert_true(in_place >= cases / 100);
}

static void explain(const struct one *o)
{
	char text[128];
	uint8_t code[32];

	t_format(code, encode(&o->i, o->at, o->base, code), text, sizeof(text));
	fprintf(stderr, "%s (end %d, signal %d)\n", text, o->page_outcome.end,
	        o->page_outcome.signo);
	for (unsigned i = 0; i < T_GPRS; i++)
		if (o->page.regs.gpr[i] != o->native.regs.gpr[i])
			fprintf(stderr, "  gpr %u: %#lx, should be %#lx\n", i, o->page.regs.gpr[i],
			        o->native.regs.gpr[i]);
	if (o->page.regs.rflags != o->native.regs.rflags)
		fprintf(stderr, "  flags %#lx, should be %#lx\n", o->page.regs.rflags,
		        o->native.regs.rflags);
	for (unsigned i = 0; i < t_layout.size; i++)
		if (o->page.image[i] != o->native.image[i]) {
			fprintf(stderr, "  image byte %u: %#x, should be %#x\n", i,
			        o->page.image[i], o->native.image[i]);
			break;
		}
}

static bool draw(struct one *o, const struct t_form *form, bool aligned)
{
	const ZydisDecodedOperand *op;

	if (!t_decode(form->bytes, form->length, &o->i) || !is_usable(&o->i) || is_special(&o->i))
		return false;
	op = &o->i.op[o->i.mem];
	o->size = op->size / 8;
	o->store = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	o->load = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	if (is_masked(o) && o->store && o->size > 64)
		return false;
	o->at = choose_offset(o->size, o->store, aligned);
	next_place();
	fill(&o->in);
	o->base = PATCHED && chance() % 2 ? &o->in.regs.gpr[T_RBX] : NULL;
	if (o->base)
		o->in.regs.gpr[T_RBX] = chance() % (1 << 20);
	return true;
}

static uint64_t base_of(bool fs)
{
	uint64_t base;

	if (fs)
		__asm__ volatile("mov 0x90, %0" : "=r"(base));
	else
		__asm__ volatile("mov 0x98, %0" : "=r"(base));
	return base;
}

/* The first time, by the fault, patches it. */
static bool agrees(struct one *o)
{
	bool agree;

	write_code(&o->i, o->at, o->base);
	agree = run_on_page(o);
	if (!agree || !PATCHED)
		return agree;
	count_patch();
	return run_on_page(o);
}

static void test_page_every_form(void **state)
{
	static struct one o;
	unsigned cases = 0, differences = 0, forms_run = 0;
	struct t_forms forms;

	(void)state;
	t_machine_catch();
	if (PATCHED)
		assert_int_equal(regmap_patch(1), 0);
	t_enumerate(&forms);
	for (size_t f = 0; f < forms.count; f++) {
		unsigned ran = 0;

		for (unsigned n = 0; n < CASES && draw(&o, &forms.form[f], n % 2); n++) {
			run_native(&o);
			if (o.native_outcome.end != T_END_DONE)
				continue;
			ran++;
			move_data_pointer(&o);
			lay_stores_over(&o);
			if (!agrees(&o) && ++differences <= SHOWN)
				explain(&o);
		}
		cases += ran;
		forms_run += ran > 0;
	}
	t_forms_free(&forms);
	print_message("register page: %u encoding forms, %u cases, %u differences\n", forms_run,
	              cases, differences);
	assert_int_equal(differences, 0);
	assert_true(forms_run > 500);
	if (PATCHED)
		check_patches(cases);
}

static int set_up(void **state)
{
	void *at = mmap((void *)MEMORY_AT, PAGE, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)state;
	if (at == MAP_FAILED || regmap_map_registers())
		return -1;
	if (mmap((void *)(STACK_AT - STACK_SIZE), STACK_SIZE + PAGE, PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		return -1;
	t_machine_init(CODE_AT, 0x5000);
	host_fs = base_of(true);
	host_gs = base_of(false);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_every_form),
	};

	return cmocka_run_group_tests_name(PATCHED ? "page_patched" : "page", tests, set_up, NULL);
}
