/* SPDX-License-Identifier: MIT */
/*
 * Hostile code: random bytes run as instructions by the CPU, with random registers that point into,
 * across and beside windows of every kind. In a child, which must live: whatever faults comes back
 * as the program's own fault, with its registers as they were, and nothing but windows has been
 * written to.
 *
 * T_SEED=n starts elsewhere, T_RUNS=n runs that many.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "bytes.h"
#include "child.h"
#include "enumerate.h"
#include "lay.h"
#include "machine.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, FENCE = 512, MOST = 2 * PAGE, STUCK = 60 };

#define CODE_AT 0x10000000ull
#define GS_BASE 0x5000ull

/* --- the windows --- */

struct place {
	const char *name;
	uint64_t guest, length;
	unsigned access;
	enum regmap_backing backing;
	unsigned flags;
	uint64_t target;
};

/* Nested, across pages, at both ends of what there is, next to each other, read-only, write-only. */
static const struct place places[] = {
	{"host", 0x551100000005, 3000, RW, REGMAP_HOST, 0, 0},
	{"read-only host", 0x551100001ffd, 40, REGMAP_READ, REGMAP_HOST, 0, 0},
	{"write-only host", 0x551100002100, 64, REGMAP_WRITE, REGMAP_HOST, 0, 0},
	{"device", 0x551200000000, 2 * PAGE, RW, REGMAP_DEVICE, 0, 0},
	{"host in the device", 0x551200000ff0, 32, RW, REGMAP_HOST, 0, 0},
	{"read-only in the device", 0x551200000800, 16, REGMAP_READ, REGMAP_DEVICE, 0, 0},
	{"direct RAM", 0x551300000000, 2 * PAGE, RW, REGMAP_RAM, 0, 0},
	{"read-only RAM", 0x551300002000, PAGE, REGMAP_READ, REGMAP_RAM, 0, 0},
	{"trapped RAM", 0x551300003000, 2 * PAGE, RW, REGMAP_RAM, REGMAP_TRAP, 0},
	{"device in the RAM", 0x551300003ff8, 16, RW, REGMAP_DEVICE, 0, 0},
	{"alias of the host", 0x551400000000, 3000, RW, REGMAP_ALIAS, 0, 0x551100000005},
	{"alias across windows", 0x551400001000, PAGE, RW, REGMAP_ALIAS, 0, 0x551200000800},
	{"alias to nowhere", 0x551400002000, 64, RW, REGMAP_ALIAS, 0, 0x551500000000},
	{"alias of page 0", 0x551400003000, 64, RW, REGMAP_ALIAS, 0, 0xffc0},
	{"kernel half", 0xffff900000000000, PAGE, RW, REGMAP_HOST, 0, 0},
	{"not canonical", 0x900000000000, PAGE, RW, REGMAP_DEVICE, 0, 0},
	{"the end", 0ull - 64, 64, RW, REGMAP_HOST, 0, 0},
	{"low", CODE_AT + 0x200000, PAGE, RW, REGMAP_HOST, 0, 0},
	{"lower", CODE_AT - 0x10000, PAGE, RW, REGMAP_DEVICE, 0, 0},
};

enum { PLACES = sizeof(places) / sizeof(places[0]) };

static struct behind {
	uint8_t low[FENCE], bytes[MOST], high[FENCE];
} behind[PLACES];

/* What the parent is told. */
static struct {
	uint64_t seed, runs, carried_out, faults;
	uint8_t code[T_BYTES];
	char complaint[200];
} * shared;

_Noreturn static void complain(const char *what)
{
	snprintf(shared->complaint, sizeof(shared->complaint), "%s", what);
	_exit(1);
}

static void check_device(const struct behind *b, uint64_t offset, unsigned width)
{
	if (width > 8 || width & (width - 1) || offset > MOST - width ||
	    offset + width > places[b - behind].length)
		complain("a device is accessed outside of its window");
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct behind *b = ctx;

	check_device(b, offset, width);
	memcpy(value, b->bytes + offset, width);
	return offset % 256 == 77 ? -5 : 0;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct behind *b = ctx;

	check_device(b, offset, width);
	memcpy(b->bytes + offset, &value, width);
	return offset % 256 == 78 ? -5 : 0;
}

static const struct regmap_device_ops ops = {device_read, device_write};

static void lay(unsigned i)
{
	const struct place *p = &places[i];
	const struct regmap_config config = {
		.size = sizeof(config),
		.name = p->name,
		.guest = p->guest,
		.length = p->length,
		.access = p->access,
		.backing = p->backing,
		.flags = p->flags,
		.host = behind[i].bytes,
		.ops = &ops,
		.ctx = &behind[i],
		.target = p->target,
	};

	if (regmap_map(&config, NULL))
		complain(p->name);
}

static void fill(void *to, size_t length, uint64_t *state)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)to)[i] = (uint8_t)(t_next(state) >> 13);
}

/* All but what may be written to: fences, read-only windows, what no window shows. */
static bool is_untouched(const struct behind *b, const struct behind *as)
{
	const struct place *p = &places[b - behind];
	uint64_t from = p->access & REGMAP_WRITE ? p->length : 0;

	return !memcmp(b->low, as->low, FENCE) && !memcmp(b->high, as->high, FENCE) &&
	       !memcmp(b->bytes + from, as->bytes + from, MOST - from);
}

static void check_memory(const struct behind *as)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (!is_untouched(&behind[i], &as[i]))
			complain("memory that no window shows has changed");
}

/* --- one instruction --- */

/* What would end the child, wait, or get at the memory of the C library. */
static bool is_excluded(const struct t_insn *i)
{
	if (i->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return true;
	switch (i->insn.mnemonic) {
	case ZYDIS_MNEMONIC_WRPKRU:
	case ZYDIS_MNEMONIC_MWAIT:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_TPAUSE:
	case ZYDIS_MNEMONIC_UMWAIT: return true;
	default: break;
	}
	if (i->insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE) /* to itself, perhaps */
		return true;
	return i->insn.meta.category == ZYDIS_CATEGORY_SYSCALL ||
	       i->insn.meta.category == ZYDIS_CATEGORY_SYSRET ||
	       i->insn.meta.category == ZYDIS_CATEGORY_INTERRUPT;
}

/* Strings, gathers and scatters get somewhere before they fault. */
static bool keeps_progress(const struct t_insn *i)
{
	return i->insn.attributes &
	       (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

static uint64_t pointer(uint64_t *state)
{
	uint64_t r = t_next(state), length;
	const struct place *p = &places[r % PLACES];

	length = p->length;
	switch (r >> 8 & 7) {
	case 0: return p->guest + length - 40 + (r >> 16) % 80;
	case 1: return p->guest - 40 + (r >> 16) % 80;
	case 2: return (r >> 16) % 0x1200; /* the register page */
	default: return p->guest + (r >> 16) % length;
	}
}

static void make_registers(struct t_regs *regs, uint64_t *state)
{
	memset(regs, 0, sizeof(*regs));
	for (unsigned i = 0; i < T_GPRS; i++) {
		uint64_t r = t_next(state);

		regs->gpr[i] = pointer(state);
		if (r % 4 == 0 && i != T_RSP)
			regs->gpr[i] = r & 64 ? r >> 7 & 0x7f : t_next(state);
	}
	regs->gpr[T_RCX] &= 0xffff;    /* strings end in time */
	regs->gpr[T_RAX] &= ~0x200ull; /* XRSTOR leaves protection keys alone */
	regs->rflags = 0x202 | (t_next(state) & (T_STATUS | T_DF));
	if (t_next(state) % 16 == 0)
		regs->rflags |= T_AC;
}

static void make_image(uint8_t *image, uint64_t *state)
{
	uint8_t bytes[64];

	t_image_init(image);
	for (unsigned i = 0; i < 32; i++) {
		fill(bytes, sizeof(bytes), state);
		if (t_next(state) % 2) /* gathers' indices */
			for (unsigned k = 0; k < 64; k += 4)
				bytes[k + 1] = bytes[k + 2] = bytes[k + 3] = 0;
		t_image_set_vector(image, i, 0, bytes, sizeof(bytes));
	}
	if (t_layout.opmask)
		fill(image + t_layout.opmask, 64, state);
}

/* Now and then right before a page that isn't there. */
static uint8_t *put_code(const uint8_t *code, size_t length, uint64_t *state)
{
	uint64_t r = t_next(state);
	uint8_t *at = t_code + PAGE + r % 64;

	if (r >> 8 & 1)
		at = t_code + T_CODE_SIZE - length;
	memcpy(at, code, length);
	return at;
}

extern const char __executable_start[], __etext[];

static void check_outcome(const struct t_regs *in, const struct t_outcome *out, bool progress)
{
	if (out->regs.rip - (uintptr_t)__executable_start <
	    (uintptr_t)(__etext - __executable_start))
		complain("a fault in the library's own code");
	if (out->end != T_END_FAULT) {
		shared->carried_out++;
		return;
	}
	shared->faults++;
	if (out->regs.rip != in->rip)
		return; /* a branch to where nothing is */
	if (!progress && memcmp(out->regs.gpr, in->gpr, sizeof(in->gpr)))
		complain("registers have changed, though the instruction has not been done");
}

static void run_one(uint64_t *state)
{
	static uint8_t image[T_IMAGE_MAX], left[T_IMAGE_MAX];
	uint8_t code[T_BYTES], *at;
	struct t_outcome out;
	struct t_insn insn;
	struct t_regs regs;
	size_t length = T_BYTES;
	bool known;

	if (t_next(state) % 4)
		t_make_bytes(code, state);
	else
		fill(code, sizeof(code), state);
	known = t_decode(code, sizeof(code), &insn);
	if (known && is_excluded(&insn))
		return;
	if (known)
		length = insn.insn.length;
	make_registers(&regs, state);
	make_image(image, state);
	at = put_code(code, length, state);
	regs.rip = (uintptr_t)at;
	if (!known) /* to Zydis: the CPU may go on, and round in circles */
		regs.rflags |= T_TF;
	memcpy(shared->code, code, sizeof(code));
	shared->runs++;
	t_run(&regs, image, &out, left);
	memset(at, 0xcc, length);
	check_outcome(&regs, &out, known && keeps_progress(&insn));
}

/* --- many --- */

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *wish = getenv(name);

	return wish ? strtoull(wish, NULL, 0) : otherwise;
}

struct wish {
	unsigned runs;
	const char *report;
};

static int run_many(void *arg)
{
	static struct behind before[PLACES];
	const struct wish *wish = arg;
	uint64_t state = shared->seed;

	alarm(STUCK + wish->runs / 2000);
	setenv("REGMAP_REPORT", wish->report, 1);
	t_machine_init(CODE_AT, GS_BASE);
	fill(behind, sizeof(behind), &state);
	for (unsigned i = 0; i < PLACES; i++)
		lay(i);
	if (regmap_map_registers())
		complain("no register page");
	memcpy(before, behind, sizeof(before));
	t_machine_catch();
	for (unsigned i = 0; i < wish->runs; i++) {
		shared->seed = state;
		run_one(&state);
		if (i % 16 == 0)
			check_memory(before);
	}
	check_memory(before);
	return 0;
}

static void check_child(const struct t_child *child)
{
	char text[128];

	if (!child->status)
		return;
	t_format(shared->code, sizeof(shared->code), text, sizeof(text));
	print_error("T_SEED=%#llx: %s: %s (", (unsigned long long)shared->seed, text,
	            shared->complaint[0] ? shared->complaint : "the child died");
	for (unsigned i = 0; i < T_BYTES; i++)
		print_error("%02x ", shared->code[i]);
	print_error("), fate %d\n%s\n", t_fate(child->status), child->text);
	fail();
}

static void many(unsigned runs, const char *report)
{
	static struct t_child child;
	struct wish wish = {(unsigned)number("T_RUNS", runs), report};

	if (t_mode_is("tsan"))
		skip(); /* what it puts into the library looks behind the FS base, which any code loads */
	memset(shared, 0, sizeof(*shared));
	shared->seed = number("T_SEED", 1);
	t_child_run(&child, run_many, &wish);
	check_child(&child);
	/* Or it would have tested nothing. */
	assert_true(shared->carried_out > shared->runs / 20);
	assert_true(shared->faults > shared->runs / 20);
}

static void test_hostile_code_breaks_nothing(void **state)
{
	(void)state;
	many(getenv("TEST_MODE") && strcmp(getenv("TEST_MODE"), "rel") ? 20000 : 100000, "0");
}

/* The report looks at the stack, the code and the windows around. */
static void test_hostile_code_is_reported(void **state)
{
	(void)state;
	many(2000, "1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_code_breaks_nothing),
		cmocka_unit_test(test_hostile_code_is_reported),
	};

	shared = t_shared(sizeof(*shared));
	return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
