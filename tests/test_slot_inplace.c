/* SPDX-License-Identifier: MIT */
/*
 * Instructions that take the place of those on the register page: each form that has one runs on the
 * page, by the fault path, and in its new shape. The whole machine must be the same afterwards.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/slot.h"
#include "arena.h"
#include "emulator/plan.h"
#include "bytes.h"
#include "enumerate.h"
#include "machine.h"

enum {
	CODE_AT = 0x14000000,
	TARGET_AT = CODE_AT + 0x1000, /* INT3 */
	MEMORY_AT = 0x10000000,
	PAGE = 4096,
	CASES = 24,
	SHOWN = 12,
	RM_SIB = 4,
	SIB_ABSOLUTE = 0x25,
	INT3 = 0xcc,
	FX_FTW = 4,
	FX_ST = 32,
};

static uint64_t seed = 1;

static uint64_t chance(void)
{
	return t_next(&seed);
}

static struct {
	struct t_insn i;
	uint8_t code[32], other[T_CODE_MAX];
	unsigned length, at;
	struct t_regs in;
	uint8_t image[T_IMAGE_MAX] __attribute__((aligned(64)));
	struct t_outcome page, place;
	uint8_t page_image[T_IMAGE_MAX], place_image[T_IMAGE_MAX];
	uint8_t page_memory[PAGE];
} o;

static unsigned differences;

/* --- code --- */

static bool is_usable(const struct t_insn *i)
{
	const ZydisDecodedOperand *op;

	if (i->mem < 0)
		return false;
	op = &i->op[i->mem];
	return op->mem.type == ZYDIS_MEMOP_TYPE_MEM && op->size && op->size <= 512 &&
	       i->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM && i->insn.length <= T_CODE_MAX - 5 &&
	       i->insn.raw.modrm.rm == 3 && i->insn.raw.modrm.mod == 0;
}

/* [rbx] becomes [disp32]. */
static void encode(void)
{
	unsigned modrm = o.i.insn.raw.modrm.offset;
	uint32_t at = o.at;

	memset(o.code, INT3, sizeof(o.code));
	memcpy(o.code, o.i.bytes, modrm + 1);
	o.code[modrm] = (uint8_t)((o.code[modrm] & 0xf8) | RM_SIB);
	o.code[modrm + 1] = SIB_ABSOLUTE;
	memcpy(o.code + modrm + 2, &at, 4);
	memcpy(o.code + modrm + 6, o.i.bytes + modrm + 1, o.i.insn.length - modrm - 1);
	o.length = o.i.insn.length + 5;
}

static bool has_register_operand(void)
{
	for (unsigned k = 0; k < o.i.insn.operand_count_visible; k++)
		if (o.i.op[k].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			return true;
	return false;
}

/* Other registers and immediates than the form's. */
static void vary(const struct t_form *form)
{
	static const uint32_t values[] = {1, ~1u, 0x400, ~0x400u, 4, 0x80};
	uint8_t bytes[T_CODE_MAX];
	uint32_t value = chance() % 3 ? values[chance() % 6] : (uint32_t)chance();
	unsigned size = o.i.insn.raw.imm[0].size / 8;

	memcpy(bytes, form->bytes, sizeof(bytes));
	if (has_register_operand())
		bytes[o.i.insn.raw.modrm.offset] =
			(uint8_t)((bytes[o.i.insn.raw.modrm.offset] & 0xc7) | (chance() & 7) << 3);
	if (size && size <= 4)
		memcpy(bytes + o.i.insn.raw.imm[0].offset, &value, size);
	t_decode(bytes, form->length, &o.i);
}

static bool is_about_masks(void)
{
	for (unsigned k = 0; k < o.i.insn.operand_count_visible; k++)
		if (o.i.op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(o.i.op[k].reg.value) == ZYDIS_REGCLASS_MASK)
			return true;
	return false;
}

static unsigned choose_at(void)
{
	static const uint16_t special[] = {0x80, 0x88, 0x89, 0x90, 0x98, 0x8c, 0x100};

	if (is_about_masks() && chance() % 2)
		return 0xc0 + (unsigned)(chance() % 8) * 8;
	switch (chance() % 8) {
	case 0:
	case 1:
	case 2: return (unsigned)(chance() % 16) * 8;
	case 3: return (unsigned)(chance() % 4) * 8 + 1;
	case 4:
	case 5: return 0x800 + (unsigned)(chance() % 32) * 64;
	case 6: return chance() % 2 ? 0xc0 + (unsigned)(chance() % 8) * 8 : special[chance() % 7];
	default: return (unsigned)(chance() % PAGE);
	}
}

/* --- the machine --- */

static void fill_vectors(void)
{
	static const uint32_t singles[] = {0x3f800000, 0xc0000000, 0, 0x40490fdb};

	t_image_init(o.image);
	for (unsigned i = 0; i < 32; i++)
		for (unsigned k = 0; k < t_vector_bytes(); k += 4) {
			uint32_t v = chance() % 2 ? singles[chance() % 4] : (uint32_t)chance();

			t_image_set_vector(o.image, i, k, &v, 4);
		}
	for (unsigned i = 0; i < 64 && t_layout.opmask; i++)
		o.image[t_layout.opmask + i] = (uint8_t)chance();
}

static void fill(void)
{
	bool branches = o.i.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;

	fill_vectors();
	for (unsigned i = 0; i < T_GPRS; i++)
		o.in.gpr[i] = branches     ? TARGET_AT + chance() % 64 :
		              chance() % 4 ? chance() :
		                             chance() % 64;
	o.in.gpr[T_RSP] = MEMORY_AT + 2048 + 8 * (chance() % 16);
	o.in.rip = CODE_AT;
	o.in.rflags = 0x202 | (chance() & T_STATUS);
	for (unsigned i = 0; i < PAGE; i++)
		((uint8_t *)MEMORY_AT)[i] = (uint8_t)(i * 7);
}

static void run(const uint8_t *code, struct t_outcome *out, uint8_t *image)
{
	memset(t_code, INT3, 64);
	memcpy(t_code, code, o.length);
	t_run(&o.in, o.image, out, image);
}

static bool same(void)
{
	return o.page.end == o.place.end && o.page.signo == o.place.signo &&
	       !memcmp(&o.page.regs, &o.place.regs, sizeof(o.page.regs)) &&
	       !memcmp(o.page_image, o.place_image, t_layout.size) &&
	       !memcmp(o.page_memory, (void *)MEMORY_AT, PAGE);
}

static void explain(void)
{
	char text[128], other[128];

	if (differences++ >= SHOWN)
		return;
	t_format(o.code, o.length, text, sizeof(text));
	t_format(o.other, o.length, other, sizeof(other));
	fprintf(stderr, "%s: %s (ends %d %d, signals %d %d, rip %#lx %#lx)\n", text, other,
	        o.page.end, o.place.end, o.page.signo, o.place.signo,
	        (unsigned long)o.page.regs.rip, (unsigned long)o.place.regs.rip);
	for (unsigned i = 0; i < T_GPRS; i++)
		if (o.page.regs.gpr[i] != o.place.regs.gpr[i])
			fprintf(stderr, "  gpr %u: page %#lx, place %#lx\n", i, o.page.regs.gpr[i],
			        o.place.regs.gpr[i]);
	if (o.page.regs.rflags != o.place.regs.rflags)
		fprintf(stderr, "  flags: page %#lx, place %#lx\n", o.page.regs.rflags,
		        o.place.regs.rflags);
}

static void run_both(void)
{
	uint8_t before[PAGE];

	memcpy(before, (void *)MEMORY_AT, PAGE);
	run(o.code, &o.page, o.page_image);
	memcpy(o.page_memory, (void *)MEMORY_AT, PAGE);
	memcpy((void *)MEMORY_AT, before, PAGE);
	run(o.other, &o.place, o.place_image);
	if (!same())
		explain();
}

/* A foreign FS base kills under ThreadSanitizer: see t_loads_fs(). */
static bool has_place(void)
{
	struct plan plan;

	encode();
	if (o.at >= 0x90 && o.at < 0x98 && t_mode_is("tsan"))
		return false;
	return regmap__em_plan(&plan, o.code, o.length, EM_TIER_BOTH) == EM_OK &&
	       regmap__slot_in_place(&plan, o.other);
}

static uint8_t tried[ZYDIS_MNEMONIC_MAX_VALUE + 1];

static void test_slot_inplace_every_form(void **unused)
{
	const char *only = getenv("T_ONLY");
	unsigned long cases = 0, places = 0, with = 0, mnemonics = 0;
	struct t_forms forms;

	(void)unused;
	t_machine_catch();
	t_enumerate(&forms);
	for (size_t f = 0; f < forms.count; f++) {
		const struct t_form *form = &forms.form[f];
		unsigned yes = 0;

		if (only && strcasecmp(only, ZydisMnemonicGetString(form->mnemonic)))
			continue;
		for (unsigned n = 0; n < CASES; n++) {
			if (!t_decode(form->bytes, form->length, &o.i) || !is_usable(&o.i))
				break;
			vary(form);
			o.at = choose_at();
			cases++;
			if (!has_place())
				continue;
			yes++;
			fill();
			run_both();
			if (o.place.end != T_END_FAULT)
				tried[form->mnemonic] = 1;
		}
		places += yes;
		with += yes > 0;
	}
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		mnemonics += tried[m];
	t_forms_free(&forms);
	printf("%lu cases, %lu of them with an equivalent: %lu encoding forms, %lu mnemonics; %u "
	       "differences\n",
	       cases, places, with, mnemonics, differences);
	assert_int_equal(differences, 0);
	assert_true(only || with > 500);
}

#define SLOT_ROW(mnemonic, directions) ZYDIS_MNEMONIC_##mnemonic,
#define SLOT_EXCEPT(mnemonic)
static const uint16_t rows[] = {
#include "arch/x86_64/slot_inplace.def"
};
#undef SLOT_ROW
#undef SLOT_EXCEPT

/* No row is there for nothing, but for what this processor lacks. */
static void test_slot_inplace_every_row(void **unused)
{
	unsigned untried = 0;

	(void)unused;
	if (getenv("T_ONLY"))
		skip();
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!tried[rows[i]]) {
			untried++;
			print_message("not tried: %s\n", ZydisMnemonicGetString(rows[i]));
		}
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2"))
		assert_true(untried <= 2); /* ADX and kin have no name there */
}

/* --- one by one --- */

struct example {
	const char *code, *place; /* place NULL: none */
	unsigned length;
};

#define E(code, place) \
	{ \
		code, place, sizeof(code) - 1 \
	}

static const struct example examples[] = {
	/* add [0x18], rax: add rbx, rax */
	E("\x48\x01\x04\x25\x18\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x48\x01\xc3"),
	/* mov [8], rax: mov rcx, rax */
	E("\x48\x89\x04\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x48\x89\xc1"),
	/* mov eax, [8]: mov eax, ecx */
	E("\x8b\x04\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x8b\xc1"),
	/* mov dword [8], eax: the upper half stays */
	E("\x89\x04\x25\x08\x00\x00\x00", NULL),
	/* mov [8], ax; mov [8], al; mov [9], al (CH) */
	E("\x66\x89\x04\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x66\x89\xc1"),
	E("\x88\x04\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x88\xc1"),
	E("\x88\x04\x25\x09\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x88\xc5"),
	/* mov [9], sil: CH can't be named together with SIL */
	E("\x40\x88\x34\x25\x09\x00\x00\x00", NULL),
	/* mov [0x40], ah: R8B neither */
	E("\x88\x24\x25\x40\x00\x00\x00", NULL),
	/* mov [0x30], al: SIL */
	E("\x88\x04\x25\x30\x00\x00\x00", "\x2e\x2e\x2e\x2e\x40\x88\xc6"),
	/* mov rax, [4]: two registers */
	E("\x48\x8b\x04\x25\x04\x00\x00\x00", NULL),
	/* lock xadd [0x40], rcx: xadd r8, rcx */
	E("\xf0\x48\x0f\xc1\x0c\x25\x40\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x2e\x49\x0f\xc1\xc8"),
	/* mov rax, fs:[8]; mov rax, cs:[8] */
	E("\x64\x48\x8b\x04\x25\x08\x00\x00\x00", NULL),
	E("\x2e\x48\x8b\x04\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x2e\x48\x8b\xc1"),
	/* bts [8], rax; bts qword [8], 3 */
	E("\x48\x0f\xab\x04\x25\x08\x00\x00\x00", NULL),
	E("\x48\x0f\xba\x2c\x25\x08\x00\x00\x00\x03", "\x2e\x2e\x2e\x2e\x2e\x48\x0f\xba\xe9\x03"),
	/* push [8]; pop [8]; call [8]; jmp [8] */
	E("\xff\x34\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\xff\xf1"),
	E("\x8f\x04\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x8f\xc1"),
	E("\xff\x14\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\xff\xd1"),
	E("\xff\x24\x25\x08\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\xff\xe1"),
	/* movabs rax, [8]; movabs [0x48], al */
	E("\x48\xa1\x08\x00\x00\x00\x00\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x48\x8b\xc1"),
	E("\xa2\x48\x00\x00\x00\x00\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x2e\x41\x88\xc1"),
	/* mov rax, [0x80]: lea rax, [rip] */
	E("\x48\x8b\x04\x25\x80\x00\x00\x00", "\x2e\x48\x8d\x05\x00\x00\x00\x00"),
	/* or qword [0x88], 1; xor byte [0x88], 1; and qword [0x88], ~0x400; or qword [0x88], 3 */
	E("\x48\x83\x0c\x25\x88\x00\x00\x00\x01", "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\xf9"),
	E("\x80\x34\x25\x88\x00\x00\x00\x01", "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\xf5"),
	E("\x48\x81\x24\x25\x88\x00\x00\x00\xff\xfb\xff\xff",
          "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\xfc"),
	E("\x48\x83\x0c\x25\x88\x00\x00\x00\x03", NULL),
	/* push [0x88]: pushfq */
	E("\xff\x34\x25\x88\x00\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x2e\x9c"),
	/* movups [0x800], xmm1; movups xmm1, [0x840]; vmovups [0x800], xmm1: clears the rest */
	E("\x0f\x11\x0c\x25\x00\x08\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x0f\x11\xc8"),
	E("\x0f\x10\x0c\x25\x40\x08\x00\x00", "\x2e\x2e\x2e\x2e\x2e\x0f\x10\xc9"),
	E("\xc5\xf8\x11\x0c\x25\x00\x08\x00\x00", NULL),
	/* vpaddd xmm0, xmm0, [0xa00]: xmm8 */
	E("\xc5\xf9\xfe\x04\x25\x00\x0a\x00\x00", "\x2e\x2e\x2e\x2e\xc4\xc1\x79\xfe\xc0"),
	/* movss [0x800], xmm1; movss xmm1, [0x800] */
	E("\xf3\x0f\x11\x0c\x25\x00\x08\x00\x00", "\x2e\x2e\x2e\x2e\x2e\xf3\x0f\x11\xc8"),
	E("\xf3\x0f\x10\x0c\x25\x00\x08\x00\x00", NULL),
	/* fld tbyte [0x100]; paddd mm0, [0x100]: depends on the top of the x87's stack */
	E("\xdb\x2c\x25\x00\x01\x00\x00", NULL),
	E("\x0f\xfe\x04\x25\x00\x01\x00\x00", NULL),
	/* mov rax, [0x1000]; mov rax, [0x180]: not registers */
	E("\x48\x8b\x04\x25\x00\x10\x00\x00", NULL),
	E("\x48\x8b\x04\x25\x80\x01\x00\x00", NULL),
	/* mov rax, [rcx+8] */
	E("\x48\x8b\x41\x08", NULL),
};

static void test_slot_inplace_examples(void **unused)
{
	(void)unused;
	t_machine_catch();
	for (unsigned i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		const struct example *e = &examples[i];
		struct plan plan;
		char text[128];

		o.length = e->length;
		memset(o.code, INT3, sizeof(o.code));
		memcpy(o.code, e->code, e->length);
		t_decode(o.code, e->length, &o.i);
		t_format(o.code, e->length, text, sizeof(text));
		assert_int_equal(regmap__em_plan(&plan, o.code, e->length, EM_TIER_BOTH), EM_OK);
		if (regmap__slot_in_place(&plan, o.other) != !!e->place)
			fail_msg("%s: %s", text, e->place ? "no equivalent" : "an equivalent");
		if (!e->place)
			continue;
		if (memcmp(o.other, e->place, e->length))
			fail_msg("%s: another equivalent", text);
		fill();
		run_both();
	}
	assert_int_equal(differences, 0);
}

static int set_up(void **state)
{
	void *at = mmap((void *)MEMORY_AT, PAGE, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)state;
	setenv("REGMAP_REPORT", "0", 1); /* a base that isn't canonical is refused */
	if (at == MAP_FAILED || regmap_map_registers())
		return -1;
	t_machine_init(CODE_AT, 0x5000);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_inplace_examples),
		cmocka_unit_test(test_slot_inplace_every_form),
		cmocka_unit_test(test_slot_inplace_every_row),
	};

	return cmocka_run_group_tests_name("slot_inplace", tests, set_up, NULL);
}
