/* SPDX-License-Identifier: MIT */
/*
 * Slots, run without a runtime: every instruction form natively on plain memory, then its slot on a
 * view of other memory. Registers, flags, vector state and memory must be the same bit for bit; what
 * a signal handler would see at each single step of it, too.
 *
 * For a look at single instructions: T_ONLY=mnemonic build/.../test_slot
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86_64/slot.h"
#include "arch/x86_64/slot_dead.h"
#include "arena.h"
#include "cases.h"
#include "rolled.h"

enum {
	SLOT_AT = 0x1a000000, /* executable */
	CELL_AT = 0x1a100000,
	VIEW_AT = 0x1a101000,
	PLACE_AT = 0x1a100800,                  /* of the pointer to it */
	STUB_AT = T_CODE_AT + T_CODE_SIZE - 64, /* INT3s: where calls go */
	AREA = 0x10000,
	RED_ZONE = 128,
	LOWEST = 256, /* no slot touches more of the stack */
	STEPS = 64,
	SHOWN = 10,
	X87_MASKS = 0x3f,
};

#define MAGIC 0x5eed1234u

static __thread struct lane_tls tls = {.magic = MAGIC};
static struct lane lane;
static uint8_t *writable; /* the slot's code */
static struct slot_cell *const cell = (struct slot_cell *)CELL_AT;
static struct view *const view = (struct view *)VIEW_AT;
static uint8_t host[T_ARENA_SIZE] __attribute__((aligned(4096)));
static struct t_forms forms;
static const char *only;

/* --- laying a slot --- */

struct variant {
	struct slot_dead dead;
	bool pushed, count, chooses;
};

static struct {
	struct t_case c;
	struct em_decoded d;
	struct plan plan;
	struct slot_map map;
	const char *why;
	struct variant variant;
	struct t_outcome native, got;
	uint8_t native_image[T_IMAGE_MAX], got_image[T_IMAGE_MAX];
	uint8_t native_memory[T_ARENA_SIZE];
} s;

static int32_t tls_offset(void)
{
	return (int32_t)((uintptr_t)&tls - t_thread_pointer());
}

/* The program's code behind the site. */
enum { BEHIND_LENGTH = 8 };
static const uint8_t *behind;

static bool lay_at(uint64_t site, bool inline_access)
{
	uint8_t code[SLOT_CODE_MOST];
	const struct slot_request request = {
		.plan = &s.plan,
		.site = site,
		.code = SLOT_AT,
		.cell = CELL_AT,
		.view = PLACE_AT,
		.other = (uintptr_t)&cell->own_other,
		.dead = s.variant.dead,
		.tls = tls_offset(),
		.magic = MAGIC,
		.count = s.variant.count,
		.inline_access = inline_access,
		.pushed_flags = s.variant.pushed,
		.chooses = s.variant.chooses,
		.behind = behind,
		.behind_length = behind ? BEHIND_LENGTH : 0,
	};
	size_t length;

	memset(cell, 0, sizeof(*cell));
	length = regmap__slot_generate(&request, code, &s.map, cell, &s.why);
	cell->entry = (void *)(uintptr_t)STUB_AT;
	cell->plan = &s.plan;
	if (!length)
		return false;
	*cell->view = view;
	if (cell->way)
		cell->way = cell->start_inline;
	assert_int_equal(length, s.map.length);
	memset(writable, 0xcc, SLOT_CODE_MOST);
	memcpy(writable, code, length);
	return true;
}

static bool lay(void)
{
	return lay_at(s.c.in.rip, true);
}

static void set_view(uint64_t start, uint64_t limit)
{
	view->start = start;
	for (unsigned r = 0; r < VIEW_RIGHTS; r++)
		for (unsigned k = 0; k < VIEW_SIZES; k++)
			view->limit[r][k] = limit;
}

static void show_everything(bool visible)
{
	view->start = T_ARENA;
	view->delta = (uintptr_t)host - T_ARENA;
	for (unsigned r = 0; r < VIEW_RIGHTS; r++)
		for (unsigned k = 0; k < VIEW_SIZES; k++)
			view->limit[r][k] = visible ? T_ARENA + T_ARENA_SIZE - (1u << k) + 1 : 0;
}

/* --- running --- */

static void run_native(void)
{
	memcpy((void *)T_ARENA, s.c.memory, T_ARENA_SIZE);
	t_run(&s.c.in, s.c.image, &s.native, s.native_image);
	memcpy(s.native_memory, (void *)T_ARENA, T_ARENA_SIZE);
}

static void fill_memories(void)
{
	memcpy((void *)T_ARENA, s.c.memory, T_ARENA_SIZE);
	memcpy(host, s.c.memory, T_ARENA_SIZE);
}

static void run_slot(void)
{
	struct t_regs in = s.c.in;

	fill_memories();
	in.rip = SLOT_AT;
	t_run(&in, s.c.image, &s.got, s.got_image);
}

/* --- comparing --- */

enum moment { BEFORE, ABOUT, BEHIND };

static unsigned differences, shown;

static void explain(const char *what)
{
	char text[256];

	differences++;
	if (shown++ >= SHOWN)
		return;
	t_case_describe(&s.c, text, sizeof(text));
	fprintf(stderr, "%s (%#lx%s, dead %#lx %#x): %s; end %d signal %d rip %#lx, base %#x\n",
	        text, (unsigned long)s.c.address, s.variant.pushed ? ", pushed" : "",
	        (unsigned long)s.variant.dead.flags, s.variant.dead.gpr, what, s.got.end,
	        s.got.signo, (unsigned long)s.got.regs.rip, s.map.scratch[0]);
}

/* Dead registers may be anything, unless the instruction itself writes them. */
static bool same_registers(const struct t_regs *a, const struct t_regs *b, bool exact)
{
	unsigned dead = exact ? 0 : s.variant.dead.gpr & ~regmap__em_used_registers(&s.d);

	for (unsigned i = 0; i < T_GPRS; i++)
		if (!(dead >> i & 1) && a->gpr[i] != b->gpr[i])
			return false;
	return true;
}

/*
 * Before the instruction all are right, but for the moment when it is about to overwrite them; behind
 * it, what is dead may be anything.
 */
static bool same_flags(const struct t_regs *a, const struct t_regs *b, enum moment moment)
{
	uint64_t kept = regmap__slot_flags_kept(&s.d) & ~s.variant.dead.flags, ignored = 0;

	if (moment == BEHIND)
		ignored = regmap__slot_flags_kept(&s.d) & s.variant.dead.flags;
	else if (moment == ABOUT && !regmap__slot_flags_read(&s.d) && !kept)
		ignored = T_STATUS;
	return !((a->rflags ^ b->rflags) & ~ignored & ~(uint64_t)T_TF);
}

static bool same_state(const struct t_regs *a, const struct t_regs *b, enum moment moment)
{
	return a->rip == b->rip && same_registers(a, b, false) && same_flags(a, b, moment);
}

/* All of the plain memory is as it was, but for the frame below the red zone. */
static bool stack_is_clean(void)
{
	uint64_t high = s.c.in.gpr[T_RSP] - RED_ZONE - T_ARENA, low = high + RED_ZONE - LOWEST;
	const uint8_t *now = (const uint8_t *)T_ARENA;

	for (uint64_t i = 0; i < T_ARENA_SIZE; i++)
		if ((i < low || i >= high) && now[i] != s.c.memory[i])
			return false;
	return true;
}

static void roll(struct t_regs *r)
{
	const struct cpu_regs regs = t_cpu_regs(r);

	regmap__slot_roll(&s.map, cell, (unsigned)(r->rip - SLOT_AT), &regs, &r->rip);
}

static bool in_slot(uint64_t rip)
{
	return rip - SLOT_AT < s.map.length;
}

/* What it has handed over, and the program's own in its place. */
static void take_handed(void)
{
	const struct cpu_regs regs = t_cpu_regs(&s.c.in);
	uint64_t *rsi = &s.got.regs.gpr[T_RSI];

	if (*rsi != regmap__em_offset_by(&s.plan, &regs, s.c.in.rip))
		explain("another address is handed over");
	memcpy(rsi, (void *)(s.got.regs.gpr[T_RSP] + 8 + SLOT_HANDED_AT), sizeof(*rsi));
}

/* It ran into the call part: all is as before. */
static void judge_call(void)
{
	s.got.regs.rip = s.c.in.rip;
	if (s.map.hands_address)
		take_handed();
	s.got.regs.gpr[T_RSP] += RED_ZONE + 8;
	if (!same_state(&s.got.regs, &s.c.in, BEFORE))
		explain("the call part sees other registers");
	if (memcmp(host, s.c.memory, T_ARENA_SIZE))
		explain("a miss has changed memory");
	if (lane.busy)
		explain("busy at the call");
}

static void judge_fault(void)
{
	struct t_regs r = s.got.regs;

	if (!in_slot(r.rip) || r.rip - SLOT_AT != s.map.access)
		explain("a fault elsewhere");
	roll(&r);
	if (s.got.signo != s.native.signo || s.got.number != s.native.number)
		explain("another signal");
	if (!same_state(&r, &s.native.regs, ABOUT))
		explain("rolled back from a fault: other registers");
	if (memcmp(s.got_image, s.native_image, t_layout.size))
		explain("rolled back from a fault: other vectors");
}

/* The stack is no part of the view: what CALL pushes is where the program's own stack is. */
static void take_push(void)
{
	uint64_t at = s.got.regs.gpr[T_RSP] - T_ARENA;

	if (s.plan.kind != EM_CALL || at > T_ARENA_SIZE - 8)
		return;
	memcpy(host + at, (uint8_t *)T_ARENA + at, 8);
	memcpy((uint8_t *)T_ARENA + at, s.c.memory + at, 8);
}

static void judge_done(void)
{
	take_push();
	if (!same_state(&s.got.regs, &s.native.regs, BEHIND))
		explain("other registers");
	if (memcmp(s.got_image, s.native_image, t_layout.size))
		explain("other vectors");
	if (memcmp(host, s.native_memory, T_ARENA_SIZE))
		explain("other memory");
}

static bool x87_exceptions_are_masked(void)
{
	return (s.c.image[0] & X87_MASKS) == X87_MASKS;
}

static bool takes_call(void)
{
	return s.got.end == T_END_DONE && s.got.regs.rip == STUB_AT;
}

static void judge(void)
{
	bool page_fault = s.native.end == T_END_FAULT && s.native.number == 14;

	if (takes_call()) {
		if (!page_fault && x87_exceptions_are_masked())
			explain("no need to take the call part");
		judge_call();
		return;
	}
	if (s.native.end != s.got.end)
		explain("another end");
	else if (s.got.end == T_END_FAULT)
		judge_fault();
	else
		judge_done();
	if (lane.busy)
		explain("busy behind it");
	if (!stack_is_clean())
		explain("the stack was touched");
}

/* --- cases --- */

static unsigned form_index;

/* A stack that is there, unless the operand is addressed by it. */
static void draw(const struct t_form *form, unsigned n, enum t_style style)
{
	t_case_make(&s.c, form, n, style, form_index++ % 1024);
	s.c.in.rflags &= ~(uint64_t)T_TF;
	regmap__em_decode(&s.d, s.c.i.bytes, s.c.i.insn.length);
	if (s.plan.mem.base != T_RSP)
		s.c.in.gpr[T_RSP] = T_ARENA + 2048 + 8 * (n % 5) + n % 2;
	if (s.c.in.gpr[T_RSP] % 8) /* the frame itself would be misaligned */
		s.c.in.rflags &= ~(uint64_t)T_AC;
}

static bool has_plan(const struct t_form *form, unsigned n, enum t_style style)
{
	t_case_make(&s.c, form, n, style, 0);
	if (t_mode_is("tsan") && t_loads_fs(&s.c.i))
		return false;
	return regmap__em_plan(&s.plan, s.c.i.bytes, s.c.i.insn.length, EM_TIER_BOTH) == EM_OK;
}

static void plan_again(void)
{
	assert_int_equal(regmap__em_plan(&s.plan, s.c.i.bytes, s.c.i.insn.length, EM_TIER_BOTH),
	                 EM_OK);
}

static bool has_usable_stack(void)
{
	uint64_t at = s.c.in.gpr[T_RSP] - T_ARENA;

	return at >= LOWEST && at < T_ARENA_SIZE;
}

/* Does the instruction's own run tell anything? Not if this CPU lacks it. */
static bool runs(void)
{
	run_native();
	return s.native.end != T_END_FAULT || s.native.signo != SIGILL;
}

static struct variant variant_of(unsigned n, uint64_t chance)
{
	struct variant v = {.count = n & 1, .chooses = n % 3 == 2};

	if (n == 1)
		v.pushed = true;
	if (n >= 2)
		v.dead.flags = T_STATUS;
	if (n >= 3)
		v.dead.gpr = (uint16_t)(chance >> 20) & (uint16_t) ~(1u << T_RSP);
	return v;
}

enum { VARIANTS = 5 };

static uint64_t hash(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static bool is_chosen(const struct t_form *form)
{
	return !only || !strcasecmp(only, ZydisMnemonicGetString(form->mnemonic));
}

struct figures {
	unsigned long slots, inlines, cases, calls, none;
};

static struct figures figures;

static void try_variants(const struct t_form *form, unsigned n)
{
	for (unsigned v = 0; v < VARIANTS; v++) {
		bool calls;

		s.variant = variant_of(v, hash(form->key + n + v));
		if (!lay())
			continue;
		if (s.map.access == 0xffff)
			return;
		lane.count = 0;
		run_slot();
		calls = takes_call();
		figures.cases++;
		figures.calls += calls;
		if (s.got.end == T_END_DONE && lane.count != (s.variant.count && !calls))
			explain("it counts wrongly");
		judge();
	}
}

static void run_forms(unsigned first, unsigned count, enum t_style style)
{
	for (size_t f = 0; f < forms.count; f++)
		for (unsigned n = first; is_chosen(&forms.form[f]) && n < first + count; n++) {
			if (!has_plan(&forms.form[f], n, style))
				continue;
			draw(&forms.form[f], n, style);
			plan_again();
			if (has_usable_stack() && runs())
				try_variants(&forms.form[f], n);
		}
	assert_int_equal(differences, 0);
}

static void begin(void)
{
	t_machine_catch();
	differences = shown = 0;
	form_index = 0;
	tls.lane = &lane;
	lane.busy = 0;
	show_everything(true);
	memset(&figures, 0, sizeof(figures));
}

static void test_slot_simple(void **unused)
{
	(void)unused;
	begin();
	run_forms(0, 2, T_SIMPLE);
	printf("simple: %lu cases, %lu of them by the call part\n", figures.cases, figures.calls);
	assert_true(only || figures.cases > 10000);
	assert_int_equal(figures.calls, 0);
}

static void test_slot_varied(void **unused)
{
	(void)unused;
	begin();
	run_forms(10, t_mode_is("rel") ? 4 : 2, T_VARIED);
	printf("varied: %lu cases, %lu of them by the call part\n", figures.cases, figures.calls);
	assert_true(only || figures.cases > 30000);
}

/* --- all steps --- */

static bool is_about(const struct t_outcome *at)
{
	return at->regs.rip - SLOT_AT == s.map.access;
}

static void check_step(const struct t_outcome *at)
{
	struct t_regs r = at->regs, behind = s.native.regs;
	bool done;

	if (!in_slot(r.rip))
		return;
	behind.rip = cell->next; /* NOPs follow */
	roll(&r);
	done = r.rip == cell->next;
	if (lane.busy)
		explain("busy after rolling");
	if (!done && r.rip != cell->site)
		explain("rolled to nowhere");
	else if (!same_state(&r, done ? &behind : &s.c.in,
	                     done         ? BEHIND :
	                     is_about(at) ? ABOUT :
	                                    BEFORE))
		explain(done ? "rolled forward: other registers" : "rolled back: other registers");
	if (memcmp(host, done ? s.native_memory : s.c.memory, T_ARENA_SIZE))
		explain(done ? "rolled forward: other memory" : "rolled back: other memory");
}

static uint8_t step_image[2][T_IMAGE_MAX];

/* The effect on registers is compared at the end of run_slot(); here what a handler would see. */
static void step_through(uint64_t from, uint64_t rsp)
{
	struct t_regs in = s.c.in;
	struct t_outcome out;

	fill_memories();
	memcpy(step_image[0], s.c.image, t_layout.size);
	in.rip = from;
	in.gpr[T_RSP] = rsp;
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t busy;

		in.rflags |= T_TF;
		memcpy(step_image[i % 2] + T_FRAME_WORDS, s.c.image + T_FRAME_WORDS,
		       T_FRAME_WORDS_END - T_FRAME_WORDS); /* which outcomes don't have */
		t_run(&in, step_image[i % 2], &out, step_image[(i + 1) % 2]);
		if (out.end != T_END_STEP || !in_slot(out.regs.rip))
			return;
		busy = lane.busy;
		check_step(&out);
		lane.busy = busy;
		in = out.regs;
	}
	explain("it doesn't end");
}

/* Two of the variants, others with each form. */
static void step_form(const struct t_form *form, size_t number)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned v = (unsigned)(number + 2 * i) % VARIANTS;

		s.variant = variant_of(v, hash(form->key + v));
		if (!lay())
			break;
		show_everything(true);
		step_through(SLOT_AT, s.c.in.gpr[T_RSP]);
		show_everything(false);
		step_through(SLOT_AT, s.c.in.gpr[T_RSP]);
		if (cell->way) {
			cell->way = SLOT_AT + s.map.call;
			step_through(SLOT_AT, s.c.in.gpr[T_RSP]);
			run_slot();
			if (!takes_call())
				explain("the call part isn't taken");
			judge_call();
		}
		figures.cases++;
	}
	show_everything(true);
}

static void test_slot_steps(void **unused)
{
	(void)unused;
	begin();
	for (size_t f = 0; f < forms.count; f++) {
		if (!is_chosen(&forms.form[f]) || !has_plan(&forms.form[f], 1, T_SIMPLE) ||
		    !em_has_one_operand(&s.plan) || s.plan.kind == EM_CALL ||
		    s.plan.kind == EM_JUMP)
			continue;
		draw(&forms.form[f], 1, T_SIMPLE);
		plan_again();
		run_native();
		if (has_usable_stack() && s.native.end == T_END_DONE)
			step_form(&forms.form[f], f);
	}
	printf("steps: %lu slots\n", figures.cases);
	assert_int_equal(differences, 0);
	assert_true(only || figures.cases > 5000);
}

/* --- the original --- */

static void test_slot_original(void **unused)
{
	unsigned none = 0;

	(void)unused;
	begin();
	for (size_t f = 0; f < forms.count; f++)
		for (unsigned n = 0; is_chosen(&forms.form[f]) && n < 4; n++) {
			struct t_regs in;

			if (!has_plan(&forms.form[f], n, T_VARIED))
				continue;
			draw(&forms.form[f], n, T_VARIED);
			plan_again();
			s.variant = variant_of(0, 0);
			if (!lay()) {
				none++;
				assert_int_equal(cell->original, 0);
				assert_non_null(s.why);
				continue;
			}
			run_native();
			if (s.native.regs.rflags & T_TF ||
			    (s.native.end == T_END_FAULT && s.native.signo == SIGILL))
				continue; /* POPF with TF: the trap comes behind the slot's jump */
			in = s.c.in;
			in.rip = cell->original;
			memcpy((void *)T_ARENA, s.c.memory, T_ARENA_SIZE);
			t_run(&in, s.c.image, &s.got, s.got_image);
			if (s.got.end == T_END_FAULT && in_slot(s.got.regs.rip))
				roll(&s.got.regs);
			figures.cases++;
			if (s.got.end != s.native.end ||
			    !same_state(&s.got.regs, &s.native.regs, BEHIND))
				explain("the original does something else");
		}
	printf("originals: %lu cases, %u without\n", figures.cases, none);
	assert_int_equal(differences, 0);
}

/* --- one by one --- */

static void given(const char *bytes, unsigned length)
{
	memset(&s.variant, 0, sizeof(s.variant));
	t_decode((const uint8_t *)bytes, length, &s.c.i);
	memset(t_code, 0xcc, 64);
	memcpy(t_code, bytes, length);
	for (unsigned i = 0; i < T_GPRS; i++)
		s.c.in.gpr[i] = 0x1111111111111111u * (i + 1);
	for (unsigned i = 0; i < T_ARENA_SIZE; i++)
		s.c.memory[i] = (uint8_t)(i * 13);
	t_image_init(s.c.image);
	s.c.in.gpr[T_RBX] = s.c.address = T_WINDOW + 1024;
	s.c.in.gpr[T_RSP] = T_ARENA + 2048;
	s.c.in.rip = T_CODE_AT;
	s.c.in.rflags = 0x202 | T_STATUS;
	assert_int_equal(regmap__em_plan(&s.plan, s.c.i.bytes, length, EM_TIER_BOTH), EM_OK);
	assert_int_equal(regmap__em_decode(&s.d, s.c.i.bytes, length), EM_OK);
}

#define GIVEN(bytes) given(bytes, sizeof(bytes) - 1)

static void expect_inline(void)
{
	assert_true(lay());
	assert_int_not_equal(s.map.access, 0xffff);
	run_native();
	run_slot();
	assert_false(takes_call());
	judge();
	assert_int_equal(differences, 0);
}

static void expect_call(void)
{
	run_slot();
	assert_true(takes_call());
	judge_call();
	assert_true(stack_is_clean());
	assert_int_equal(differences, 0);
}

static void expect_none(const char *why)
{
	assert_true(lay());
	assert_int_equal(s.map.access, 0xffff);
	assert_int_equal(s.map.call, 0);
	assert_string_equal(s.why, why);
	expect_call();
}

static void test_slot_rsp(void **unused)
{
	(void)unused;
	begin();
	GIVEN("\x48\x89\x23"); /* mov [rbx], rsp */
	expect_inline();
	GIVEN("\x48\x3b\x23"); /* cmp rsp, [rbx] */
	expect_inline();
	GIVEN("\x40\x00\x23"); /* add [rbx], spl */
	expect_inline();
	GIVEN("\x44\x0f\xb1\x23"); /* cmpxchg [rbx], r12d */
	expect_inline();
	GIVEN("\x48\x0f\xb1\x23"); /* cmpxchg [rbx], rsp */
	expect_inline();
	GIVEN("\xc4\xe2\xd8\xf2\x03"); /* andn rax, rsp, [rbx] */
	expect_inline();
	GIVEN("\x48\x8b\x04\x24"); /* mov rax, [rsp] */
	expect_inline();
	GIVEN("\x48\x89\xa4\x24\x00\xfc\xff\xff"); /* mov [rsp-1024], rsp */
	expect_inline();
	GIVEN("\x67\x48\x8b\x44\xcc\x08"); /* mov rax, [esp+ecx*8+8] */
	s.c.in.gpr[T_RCX] = 7;
	s.c.in.gpr[T_RSP] = T_ARENA + 1024;
	expect_inline();
	GIVEN("\x48\x8b\x23"); /* mov rsp, [rbx] */
	expect_none("it writes RSP");
	GIVEN("\x48\x03\x23"); /* add rsp, [rbx] */
	expect_none("it writes RSP");
	GIVEN("\x48\x87\x23"); /* xchg [rbx], rsp */
	expect_none("it writes RSP");
}

static void test_slot_without_inline(void **unused)
{
	(void)unused;
	begin();
	GIVEN("\x8e\x23"); /* mov fs, [rbx] */
	assert_true(lay());
	assert_int_equal(s.map.access, 0xffff);
	GIVEN("\x48\x0f\xa3\x03"); /* bt [rbx], rax */
	expect_none("no ordinary operand");
	GIVEN("\xff\x33"); /* push [rbx] */
	expect_none("no ordinary operand");
	GIVEN("\xa4"); /* movsb */
	expect_none("no ordinary operand");
	GIVEN("\x48\x8b\x03");
	assert_true(lay_at(T_CODE_AT, false));
	assert_int_equal(s.map.access, 0xffff);
	expect_call();
	GIVEN("\xff\x1b"); /* call far [rbx] */
	assert_false(lay());
	assert_string_equal(s.why, "it can't be moved");
}

/* Where the target can't be read, nothing has been pushed: neither inline nor by the original. */
static void test_slot_call_of_no_target(void **unused)
{
	uint64_t end = T_ARENA + T_ARENA_SIZE;

	(void)unused;
	begin();
	GIVEN("\xff\x13"); /* call [rbx] */
	assert_true(lay());
	assert_int_not_equal(s.map.access, 0xffff);
	for (unsigned readable = 0; readable < 8; readable++) {
		struct t_regs in = s.c.in;

		in.rip = cell->original;
		in.gpr[T_RBX] = end - readable;
		memcpy((void *)T_ARENA, s.c.memory, T_ARENA_SIZE);
		t_run(&in, s.c.image, &s.got, s.got_image);
		assert_int_equal(s.got.end, T_END_FAULT);
		assert_int_equal(s.got.number, 14);
		assert_true(in_slot(s.got.regs.rip));
		roll(&s.got.regs);
		in.rip = s.c.in.rip;
		assert_true(same_state(&s.got.regs, &in, BEFORE));
		assert_memory_equal((void *)T_ARENA, s.c.memory, T_ARENA_SIZE);
	}
}

/* What isn't in the view, byte for byte. */
static void test_slot_limits(void **unused)
{
	static const struct {
		const char *code;
		unsigned length, bytes;
		bool read, write;
	} of[] = {
		{"\x8a\x03", 2, 1, true, false},     /* mov al, [rbx] */
		{"\x66\x89\x03", 3, 2, false, true}, /* mov [rbx], ax */
		{"\x01\x03", 2, 4, true, true},      /* add [rbx], eax */
		{"\x48\x8b\x03", 3, 8, true, false}, /* mov rax, [rbx] */
		{"\xdb\x2b", 2, 16, true, false},    /* fld tbyte [rbx]: 10, counted as 16; AMD's */
		{"\x0f\x11\x03", 3, 16, false, true},        /* movups [rbx], xmm0 */
		{"\xf0\x48\x0f\xc7\x0b", 5, 16, true, true}, /* lock cmpxchg16b [rbx] */
	};

	(void)unused;
	begin();
	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		unsigned size = of[i].bytes, k = 0;
		unsigned rights = of[i].read ? of[i].write ? VIEW_BOTH : VIEW_READ : VIEW_WRITE;

		while (1u << k < size)
			k++;
		given(of[i].code, of[i].length);
		assert_true(lay());
		if (of[i].code[0] == '\xdb' && !t_is_amd()) {
			assert_int_equal(s.map.access, 0xffff);
			continue;
		}
		assert_int_not_equal(s.map.access, 0xffff);
		set_view(view->start, 0);
		expect_call();
		view->start = T_WINDOW;
		view->limit[rights][k] = T_WINDOW + T_PAGE - size + 1;
		s.c.in.gpr[T_RBX] = T_WINDOW;
		expect_inline();
		s.c.in.gpr[T_RBX] = T_WINDOW_END - size;
		expect_inline();
		s.c.in.gpr[T_RBX]++;
		expect_call();
		s.c.in.gpr[T_RBX] = T_WINDOW - 1;
		expect_call();
		s.c.in.gpr[T_RBX] = ~0ull;
		expect_call();
		s.c.in.gpr[T_RBX] = T_WINDOW;
		*cell->view = &regmap__slot_no_view;
		expect_call();
		show_everything(true);
	}
}

/* A dead view becomes one of another place after @n steps. False: it was over before. */
static bool becomes_another(unsigned n)
{
	struct t_regs in = s.c.in;
	struct t_outcome out;

	fill_memories();
	memcpy(step_image[0], s.c.image, t_layout.size);
	set_view(s.c.address - 64, 0);
	in.rip = SLOT_AT;
	for (unsigned i = 0; i < STEPS; i++) {
		if (i == n)
			set_view(s.c.address + 64, s.c.address + 512);
		in.rflags |= T_TF;
		t_run(&in, step_image[i % 2], &out, step_image[(i + 1) % 2]);
		if (out.end != T_END_STEP || !in_slot(out.regs.rip))
			return i > n;
		in = out.regs;
	}
	explain("it doesn't end");
	return false;
}

static void test_slot_meets_a_view_that_becomes_another(void **unused)
{
	unsigned n = 0;

	(void)unused;
	begin();
	GIVEN("\x89\x03"); /* mov [rbx], eax */
	assert_true(lay());
	while (becomes_another(n)) {
		assert_memory_equal(host, s.c.memory, T_ARENA_SIZE);
		n++;
	}
	assert_true(n > 5);
	assert_int_equal(differences, 0);
	lane.busy = 0;
	show_everything(true);
}

/* CMPXCHG16B and SHA mind the host's alignment, which must be the guest's. */
static void test_slot_congruence(void **unused)
{
	(void)unused;
	begin();
	GIVEN("\x48\x0f\xc7\x0b"); /* cmpxchg16b [rbx] */
	expect_inline();
	view->delta += 8;
	expect_call();
	view->delta += 56;
	run_slot();
	assert_false(takes_call());
	show_everything(true);
	GIVEN("\x0f\x38\xcc\x03"); /* sha256msg1 xmm0, [rbx] */
	if (__builtin_cpu_supports("sse4.2")) {
		view->delta += 16;
		assert_true(lay());
		expect_call();
		view->delta += 48;
		run_slot();
		assert_false(takes_call());
	}
}

static void test_slot_magic(void **unused)
{
	(void)unused;
	begin();
	GIVEN("\x48\x01\x03"); /* add [rbx], rax */
	expect_inline();
	tls.magic++;
	tls.lane = (void *)1; /* isn't looked at */
	expect_call();
	tls.magic--;
	tls.lane = &lane;
	expect_inline();
}

/* wrfsbase %rcx, then the slot. */
static void run_with_fs_base(uint64_t base)
{
	static const uint8_t wrfsbase_rcx_jump[] = {0xf3, 0x48, 0x0f, 0xae, 0xd1, 0xe9};
	struct t_regs in = s.c.in;
	int32_t distance = SLOT_AT - (T_CODE_AT + 64 + 10);

	memcpy(t_code + 64, wrfsbase_rcx_jump, sizeof(wrfsbase_rcx_jump));
	memcpy(t_code + 64 + sizeof(wrfsbase_rcx_jump), &distance, sizeof(distance));
	s.c.in.gpr[T_RCX] = in.gpr[T_RCX] = base;
	in.rip = T_CODE_AT + 64;
	fill_memories();
	t_run(&in, s.c.image, &s.got, s.got_image);
}

static void test_slot_wild_fs(void **unused)
{
	static uint8_t zeros[8192];

	(void)unused;
	regmap__xstate_init();
	if (!regmap__xstate.fsgsbase || t_mode_is("tsan") || t_mode_is("asan"))
		skip();
	begin();
	GIVEN("\x48\x01\x03"); /* add [rbx], rax */
	assert_true(lay());
	run_with_fs_base((uintptr_t)zeros + 4096);
	assert_true(takes_call());
	judge_call();
	run_with_fs_base(0x123456789000); /* nothing there */
	assert_int_equal(s.got.end, T_END_FAULT);
	assert_int_equal(s.got.signo, SIGSEGV);
	assert_true(in_slot(s.got.regs.rip));
	roll(&s.got.regs);
	assert_true(same_state(&s.got.regs, &s.c.in, BEFORE));
	assert_int_equal(lane.busy, 0);
	run_with_fs_base(0x7000000000000000); /* not canonical: WRFSBASE itself faults */
	assert_int_equal(s.got.regs.rip, T_CODE_AT + 64);
	assert_int_equal(differences, 0);
}

/* A stack that can't take the frame. */
static void test_slot_bad_stack(void **unused)
{
	(void)unused;
	begin();
	GIVEN("\x48\x01\x03"); /* add [rbx], rax */
	s.c.in.gpr[T_RSP] = T_ARENA - 0x100000;
	assert_true(lay());
	run_slot();
	assert_int_equal(s.got.end, T_END_FAULT);
	assert_true(in_slot(s.got.regs.rip));
	roll(&s.got.regs);
	assert_true(same_state(&s.got.regs, &s.c.in, BEFORE));
	assert_memory_equal(host, s.c.memory, T_ARENA_SIZE);
}

/* At CALL's return: forward; before it: back. */
static void test_slot_rolls_call(void **unused)
{
	(void)unused;
	begin();
	GIVEN("\x48\x01\x03");
	assert_true(lay());
	for (unsigned i = 0; i < 2; i++) {
		struct t_regs r = s.c.in;

		r.rip = SLOT_AT + (i ? s.map.returned : s.map.returned - 6u);
		r.gpr[T_RSP] -= RED_ZONE;
		roll(&r);
		assert_int_equal(r.gpr[T_RSP], s.c.in.gpr[T_RSP]);
		assert_int_equal(r.rip, i ? cell->next : cell->site);
		assert_int_equal(r.rflags, s.c.in.rflags);
	}
}

/* Sanitizers have shadows at one or the other. */
static uint64_t far_address(void)
{
	return t_mode_is("tsan") ? 0x4000000000 : 0x400000000000;
}

/* The site is out of a jump's reach. */
static void test_slot_far(void **unused)
{
	const uint64_t far = far_address();
	uint8_t *at = mmap((void *)far, T_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)unused;
	begin();
	assert_ptr_equal(at, (void *)far);
	memset(at, 0xcc, T_PAGE);
	GIVEN("\x48\x01\x03"); /* add [rbx], rax */
	memcpy(at, s.c.i.bytes, 3);
	s.c.in.rip = far;
	expect_inline();
	assert_int_equal(s.got.regs.rip, far + 3);
	GIVEN("\x48\x01\x05\x00\x00\x00\x00"); /* add [rip], rax */
	assert_false(lay_at(far, true));
	assert_string_equal(s.why, "its operand is too far from its slot");
	assert_int_equal(munmap(at, T_PAGE), 0);
}

/* --- what is dead --- */

static uint64_t dead_flags(const char *code, unsigned length)
{
	const struct slot_dead dead = regmap__slot_dead((const uint8_t *)code, length);

	assert_int_equal(dead.gpr, 0);
	return dead.flags;
}

#define DEAD(code) dead_flags(code, sizeof(code) - 1)

static void test_slot_dead_flags(void **unused)
{
	const uint64_t all = T_STATUS;

	(void)unused;
	assert_int_equal(DEAD("\x85\xc0\x74\x00"), all);             /* test; jz */
	assert_int_equal(DEAD("\x90\x89\xc8\x39\xc8\x74\x00"), all); /* nop; mov; cmp; jz */
	assert_int_equal(DEAD("\x48\x8d\x04\x08\x31\xc0\xc3"), all); /* lea; xor; ret */
	assert_int_equal(DEAD("\x74\x00\x39\xc8"), 0);               /* jz; cmp */
	assert_int_equal(DEAD("\xc3"), 0);
	assert_int_equal(DEAD("\xe8\x00\x00\x00\x00\x39\xc8"), 0); /* call; cmp */
	assert_int_equal(DEAD("\x0f\x05\x39\xc8"), 0);             /* syscall; cmp */
	assert_int_equal(DEAD("\x9c\x39\xc8"), 0);                 /* pushfq; cmp */
	assert_int_equal(DEAD("\x0f\x0b\x39\xc8"), 0);             /* ud2; cmp */
	assert_int_equal(DEAD("\xcc\x39\xc8"), 0);                 /* int3; cmp */
	assert_int_equal(DEAD("\xff\xc0\xc3"), all & ~1);          /* inc; ret: CF stays */
	assert_int_equal(DEAD("\xff\xc0\x39\xc8"), all);           /* inc; cmp */
	assert_int_equal(DEAD("\x11\xc8\xc3"), all & ~1);          /* adc; ret: CF is read */
	assert_int_equal(DEAD("\x0f\x42\xc1\x39\xc8"), all & ~1);  /* cmovc; cmp */
	assert_int_equal(DEAD("\xd3\xe0\xc3"), 0);                 /* shl eax, cl; ret */
	assert_int_equal(DEAD("\xd3\xe0\x39\xc8"), all);           /* shl eax, cl; cmp */
	assert_int_equal(DEAD("\x0f\xba\xe0\x03\xc3"), 1);         /* bt eax, 3; ret: CF */
	/* cmp [rbx], al; and: it may read RFLAGS on the register page. cmp [rip+x], al doesn't. */
	assert_int_equal(DEAD("\x38\x03"), 0);
	assert_int_equal(DEAD("\x38\x05\x00\x00\x00\x00"), all);
	/* cut off */
	assert_int_equal(DEAD("\x85"), 0);
	assert_int_equal(dead_flags("", 0), 0);
}

/* A slot that chooses, by what its cell says. */
static void test_slot_chooses(void **unused)
{
	(void)unused;
	begin();
	given("\x8b\x03", 2); /* mov (%rbx), %eax */
	s.variant.chooses = true;
	assert_true(lay());
	assert_int_equal(cell->start, SLOT_AT);
	s.c.in.gpr[T_RBX] = T_WINDOW;
	expect_inline();
	cell->way = SLOT_AT + s.map.call;
	expect_call();
	s.variant.chooses = false;
	assert_true(lay());
	assert_int_equal(cell->way, 0);
}

/*
 * Where a tail ends by a branch or RET, the slot's code goes on with something else: who is there has not done the
 * access. No step is in the tail, as no view fits.
 */
static void test_slot_rolls_behind_a_tail(void **unused)
{
	static const char *const tails[] = {
		"\xc3\x90\x90\x90\x90\x90\x90\x90", /* ret */
		"\x90\xc3\x90\x90\x90\x90\x90\x90",
		"\xff\xc1\xeb\x02\x90\x90\x90\x90", /* inc %ecx; jmp */
		"\xff\xc1\x75\x02\x90\x90\x90\x90", /* inc %ecx; jnz */
		"\xff\xc1\xff\xc2\x90\x90\x90\x90", /* inc %ecx; inc %edx */
	};

	(void)unused;
	begin();
	given("\x48\x8b\x03", 3); /* mov (%rbx), %rax */
	s.c.in.gpr[T_RBX] = T_WINDOW;
	for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		for (unsigned chooses = 0; chooses < 2; chooses++) {
			behind = (const uint8_t *)tails[i];
			s.variant.chooses = chooses;
			assert_true(lay());
			assert_int_not_equal(s.map.tail_length, 0);
			run_native();
			show_everything(false);
			step_through(SLOT_AT, s.c.in.gpr[T_RSP]);
			show_everything(true);
		}
	behind = NULL;
	assert_int_equal(differences, 0);
}

/* --- how many have what --- */

static void test_slot_coverage(void **unused)
{
	static struct {
		const char *why;
		unsigned forms;
	} reason[32];
	unsigned inlines = 0, call = 0, none = 0;

	(void)unused;
	begin();
	for (size_t f = 0; f < forms.count; f++) {
		unsigned i = 0;

		if (!has_plan(&forms.form[f], 0, T_SIMPLE))
			continue;
		memset(&s.variant, 0, sizeof(s.variant));
		if (!lay())
			none++;
		else if (s.map.access != 0xffff)
			inlines++;
		else
			call++;
		while (s.why && reason[i].why && strcmp(reason[i].why, s.why))
			i++;
		if (s.why)
			reason[i].why = s.why, reason[i].forms++;
	}
	printf("%u encoding forms with an inline part, %u without, %u can't have a slot\n", inlines,
	       call, none);
	for (unsigned i = 0; reason[i].why; i++)
		printf("  %5u: %s\n", reason[i].forms, reason[i].why);
	assert_true(inlines > 8000);
	assert_true(none < 40);
}

static int setup(void **unused)
{
	int fd = memfd_create("slot", 0);
	void *at = mmap((void *)T_ARENA, T_ARENA_SIZE, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)unused;
	assert_ptr_equal(at, (void *)T_ARENA);
	assert_int_equal(ftruncate(fd, AREA), 0);
	at = mmap((void *)SLOT_AT, AREA, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE,
	          fd, 0);
	assert_ptr_equal(at, (void *)SLOT_AT);
	writable = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(writable, MAP_FAILED);
	at = mmap((void *)CELL_AT, AREA, PROT_READ | PROT_WRITE,
	          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	assert_ptr_equal(at, (void *)CELL_AT);
	close(fd);
	t_machine_init(T_CODE_AT, T_GS_BASE);
	t_cases_init();
	t_enumerate(&forms);
	assert_int_equal(regmap__em_init(EM_TIER_BOTH), 0);
	only = getenv("T_ONLY");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_simple),
		cmocka_unit_test(test_slot_varied),
		cmocka_unit_test(test_slot_steps),
		cmocka_unit_test(test_slot_original),
		cmocka_unit_test(test_slot_rsp),
		cmocka_unit_test(test_slot_without_inline),
		cmocka_unit_test(test_slot_call_of_no_target),
		cmocka_unit_test(test_slot_limits),
		cmocka_unit_test(test_slot_meets_a_view_that_becomes_another),
		cmocka_unit_test(test_slot_congruence),
		cmocka_unit_test(test_slot_magic),
		cmocka_unit_test(test_slot_wild_fs),
		cmocka_unit_test(test_slot_bad_stack),
		cmocka_unit_test(test_slot_rolls_call),
		cmocka_unit_test(test_slot_far),
		cmocka_unit_test(test_slot_dead_flags),
		cmocka_unit_test(test_slot_chooses),
		cmocka_unit_test(test_slot_rolls_behind_a_tail),
		cmocka_unit_test(test_slot_coverage),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests_name("slot", tests, setup, NULL);
}
