/* SPDX-License-Identifier: MIT */
/*
 * The emulator alone, on a flat piece of memory: what tier 1 (compiled operations) and tier 2 (the
 * instruction's own bytes) can both do, they must do alike: registers, flags, vector state, memory
 * and exceptions, bit for bit; with the operand in host memory and in a buffer.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "arch/x86_64/guard.h"
#include "cases.h"
#include "emulator/plan.h"

enum { CASES = 100, SHOWN = 10 };

/* Memory is the arena, and nothing else. */
struct flat_bus {
	struct bus bus;
	bool pins; /* has host memory to offer */
	uint8_t memory[T_ARENA_SIZE] __attribute__((aligned(64)));
};

static uint8_t *flat_at(struct bus *bus, uint64_t address, size_t length, struct em_fault *fault)
{
	uint64_t offset = address - T_ARENA;

	if (offset <= T_ARENA_SIZE && length <= T_ARENA_SIZE - offset)
		return ((struct flat_bus *)bus)->memory + offset;
	if (fault)
		fault->trap = (struct cpu_trap){SIGSEGV, SEGV_MAPERR, address, 14, 4};
	return NULL;
}

static enum em_status flat_probe(struct bus *bus, uint64_t address, size_t length, unsigned access,
                                 struct em_fault *fault)
{
	(void)access;
	return flat_at(bus, address, length, fault) ? EM_OK : EM_FAULT;
}

static void *flat_pin(struct bus *bus, uint64_t address, size_t length, unsigned access)
{
	(void)access;
	return ((struct flat_bus *)bus)->pins ? flat_at(bus, address, length, NULL) : NULL;
}

static void flat_release(struct bus *bus)
{
	(void)bus;
}

static enum em_status flat_read(struct bus *bus, uint64_t address, void *to, size_t length,
                                struct em_fault *fault)
{
	const uint8_t *at = flat_at(bus, address, length, fault);

	if (!at)
		return EM_FAULT;
	memcpy(to, at, length);
	return EM_OK;
}

static enum em_status flat_write(struct bus *bus, uint64_t address, const void *from, size_t length,
                                 struct em_fault *fault)
{
	uint8_t *at = flat_at(bus, address, length, fault);

	if (!at)
		return EM_FAULT;
	memcpy(at, from, length);
	return EM_OK;
}

static void flat_lock(struct bus *bus, uint64_t address)
{
	(void)bus, (void)address;
}

static const struct bus_ops flat_ops = {
	.probe = flat_probe,
	.pin = flat_pin,
	.release = flat_release,
	.read = flat_read,
	.write = flat_write,
	.lock = flat_lock,
	.unlock = flat_lock,
};

static void on_signal(int signo, siginfo_t *info, void *ucontext)
{
	if (!regmap__guard_fixup(signo, info, ucontext))
		signal(signo, SIG_DFL);
}

static void catch_faults(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		assert_int_equal(sigaction(signals[i], &act, NULL), 0);
}

/* One execution */

struct run {
	enum em_status status;
	struct cpu cpu;
	struct em_fault fault;
	uint8_t image[T_IMAGE_MAX] __attribute__((aligned(64)));
	struct flat_bus bus;
};

static void run(struct run *r, const struct t_case *c, const struct plan *plan, bool pins)
{
	uint64_t valid;

	memset(&r->cpu, 0, sizeof(r->cpu));
	memcpy(r->cpu.gpr, c->in.gpr, sizeof(r->cpu.gpr));
	memcpy(r->image, c->image, sizeof(r->image));
	memcpy(r->bus.memory, c->memory, T_ARENA_SIZE);
	memcpy(&valid, r->image + XSAVE_HEADER, sizeof(valid));
	r->cpu.rip = c->in.rip;
	r->cpu.rflags = c->in.rflags & ~(uint64_t)(T_TF | T_AC);
	r->cpu.gs_base = T_GS_BASE;
	__asm__("mov %%fs:0, %0" : "=r"(r->cpu.fs_base));
	r->cpu.xsave = r->image;
	r->cpu.xfeatures = valid;
	r->bus.bus.ops = &flat_ops;
	r->bus.pins = pins;
	r->status = regmap__em_execute(plan, &r->cpu, &r->bus.bus, 1000, &r->fault);
}

static bool same_trap(const struct cpu_trap *a, const struct cpu_trap *b)
{
	return a->signo == b->signo && a->code == b->code && a->address == b->address &&
	       a->number == b->number;
}

/* But for MXCSR_MASK, what is the kernel's, and the header. */
static bool same_image(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, 28) && !memcmp(a + XSAVE_ST, b + XSAVE_ST, 464 - XSAVE_ST) &&
	       !memcmp(a + XSAVE_LEGACY, b + XSAVE_LEGACY, t_layout.size - XSAVE_LEGACY);
}

static bool same(const struct run *a, const struct run *b)
{
	return a->status == b->status && !memcmp(a->cpu.gpr, b->cpu.gpr, sizeof(a->cpu.gpr)) &&
	       a->cpu.rip == b->cpu.rip && a->cpu.rflags == b->cpu.rflags &&
	       (a->status == EM_OK || same_trap(&a->fault.trap, &b->fault.trap)) &&
	       same_image(a->image, b->image) &&
	       !memcmp(a->bus.memory, b->bus.memory, T_ARENA_SIZE);
}

/* All forms */

static struct t_forms forms;
static uint8_t *compared, *differs;
static unsigned long executions, refusals;
static unsigned shown;

static void show(const struct t_case *c, const struct run *a, const struct run *b)
{
	char text[256];

	t_case_describe(c, text, sizeof(text));
	printf("%s: status %d, %d\n", text, a->status, b->status);
	for (unsigned i = 0; i < T_GPRS; i++)
		if (a->cpu.gpr[i] != b->cpu.gpr[i])
			printf("    r%u: %#lx > %#lx / %#lx\n", i, c->in.gpr[i], a->cpu.gpr[i],
			       b->cpu.gpr[i]);
	if (a->cpu.rflags != b->cpu.rflags)
		printf("    rflags: %#lx > %#lx / %#lx\n", c->in.rflags, a->cpu.rflags,
		       b->cpu.rflags);
	if (a->fault.trap.signo != b->fault.trap.signo)
		printf("    signal: %d / %d\n", a->fault.trap.signo, b->fault.trap.signo);
}

static void compare(size_t form, const struct t_case *c, const struct plan *first,
                    const struct plan *second, bool pins)
{
	static struct run a, b;

	run(&a, c, first, pins);
	run(&b, c, second, pins);
	executions += 2;
	if (a.status == EM_UNIMPLEMENTED || b.status == EM_UNIMPLEMENTED) {
		refusals++;
		return;
	}
	compared[form] = 1;
	if (same(&a, &b))
		return;
	if (differs[form] < 2 && shown++ < SHOWN)
		show(c, &a, &b);
	differs[form] += differs[form] < 255;
}

static void compare_form(size_t form, unsigned n)
{
	static struct t_case c;
	struct plan first, second;
	const uint8_t *code;

	t_case_make(&c, &forms.form[form], 9000 + n, n ? T_VARIED : T_SIMPLE, 0);
	code = c.i.bytes;
	if (regmap__em_plan(&first, code, c.i.insn.length, EM_TIER_COMPILED) ||
	    regmap__em_plan(&second, code, c.i.insn.length, EM_TIER_NATIVE) ||
	    first.kind == second.kind)
		return;
	compare(form, &c, &first, &second, true);
	compare(form, &c, &first, &second, false);
}

static void test_tiers_agree(void **unused)
{
	size_t wrong = 0;

	(void)unused;
	catch_faults();
	for (size_t i = 0; i < forms.count; i++) {
		for (unsigned n = 0; n < CASES; n++)
			compare_form(i, n);
		wrong += !!differs[i];
	}
	assert_int_equal(wrong, 0);
}

static void print_counts(const char *what, const uint8_t *chosen)
{
	struct t_counts n;

	t_count(&forms, chosen, &n);
	printf("%-20s %6zu mnemonics %6zu operand forms %6zu encoding forms\n", what, n.mnemonics,
	       n.operand_forms, n.encodings);
}

static void test_tiers_summary(void **unused)
{
	struct t_counts n;

	(void)unused;
	print_counts("known to both tiers", compared);
	print_counts("differ", differs);
	printf("%lu executions, %lu refused for want of the instruction or of code memory\n",
	       executions, refusals);
	t_count(&forms, compared, &n);
	assert_true(n.mnemonics >= 50);
	assert_true(n.encodings >= 350);
}

static int setup(void **unused)
{
	(void)unused;
	t_machine_init(T_CODE_AT, T_GS_BASE);
	t_cases_init();
	t_enumerate(&forms);
	compared = calloc(forms.count, 1);
	differs = calloc(forms.count, 1);
	assert_non_null(compared);
	assert_non_null(differs);
	return regmap__em_init(EM_TIER_BOTH) || regmap__em_tiers() != EM_TIER_BOTH;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiers_agree),
		cmocka_unit_test(test_tiers_summary),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests_name("tiers", tests, setup, NULL);
}
