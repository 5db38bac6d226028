/* SPDX-License-Identifier: MIT */
/*
 * Short instructions that access a device, and those behind them, whose bytes their jumps take in: executed in the
 * slot, they do what they would do in their own place; and there, as soon as other bytes stand in it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>
#include <regmap/regmap.h>

#include "../arch/x86_64/slot.h"
#include "../src/patch_sites.h"
#include "lay.h"

enum { GENERAL = 0x40020000, ANY = 0x40030000, SIZE = 0x1000, TIMES = 8, FLAGS = 0x8d5 };

struct file {
	uint64_t rax, rcx, rdx, rsi, r8, flags;
};

/* void name(struct file *, uint64_t at): RDI is where. */
#define FORM(name, text) \
	__asm__(".text\n.p2align 6\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" \
	        "push %rbx\npush %rdi\nmov %rdi, %rbx\nmov %rsi, %rdi\n" \
	        "mov 8(%rbx), %rcx\nmov 16(%rbx), %rdx\nmov 24(%rbx), %rsi\nmov 32(%rbx), %r8\n" \
	        "pushq 40(%rbx)\npopfq\nmov (%rbx), %rax\njmp 1f\n.p2align 5\n1:" #name \
	        "_site: " text "\n9: nop\nnop\nnop\nnop\nnop\n" \
	        "pop %rbx\nmov %rax, (%rbx)\nmov %rcx, 8(%rbx)\nmov %rdx, 16(%rbx)\n" \
	        "mov %rsi, 24(%rbx)\nmov %r8, 32(%rbx)\npushfq\npopq 40(%rbx)\npop %rbx\nret\n" \
	        ".cfi_endproc\n.size " #name ", . - " #name "\n"); \
	void name(struct file *, uint64_t at); \
	extern const uint8_t name##_site[]

/* With a tail */
FORM(one, "mov (%rdi), %eax\nadd $3, %ecx");
FORM(two, "mov (%rdi), %eax\nnot %ecx\nlea 1(%rax), %edx");
FORM(three, "mov (%rdi), %eax\nnop\nnop\nnot %ecx");
FORM(reads_flags, "mov 4(%rdi), %eax\nsbb %ecx, %ecx");
FORM(sets_flags, "mov %eax, 8(%rdi)\nsub $5, %eax");
FORM(copies, "mov (%rdi), %eax\nmov %rax, %r8");
FORM(hands_on, "mov (%rdi), %rax\nbswap %rax");
FORM(taken, "mov (%rdi), %eax\ntest $1, %al\njnz 8f\nmov $1, %ecx\njmp 9f\n8: mov $2, %ecx");
FORM(not_taken, "mov (%rdi), %eax\ntest $1, %al\njz 8f\nmov $1, %ecx\njmp 9f\n8: mov $2, %ecx");
FORM(jumps, "mov (%rdi), %eax\nnop\njmp 8f\nmov $1, %ecx\n8: inc %edx");
FORM(polls, "1: mov (%rdi), %eax\ndec %ecx\njnz 1b");
FORM(far_away, "mov (%rdi), %eax\nxor %edx, %edx\n.byte 0x0f, 0x85\n.long 8f - . - 4\n8: inc %edx");
FORM(of_four, "mov 16(%rdi,%rcx), %eax\ncltq");
/* Without: it would be too long, or isn't to be moved. */
FORM(long_one, "mov (%rdi), %eax\nmovabs $0x1122334455667788, %rdx");
FORM(pushes, "mov (%rdi), %eax\npush %rax\npop %rdx\nnop");
FORM(calls, "mov (%rdi), %eax\ncall 7f\njmp 9f\n7: mov $7, %ecx\nret");
FORM(loads, "mov (%rdi), %eax\nmov 8(%rsp), %rdx");
FORM(relative, "mov (%rdi), %eax\nlea 5(%rip), %rdx");
FORM(system, "mov (%rdi), %eax\ncpuid");
FORM(of_five, "mov 0x100(%rdi), %eax\ninc %edx");

static const struct form {
	const char *name;
	void (*run)(struct file *, uint64_t);
	const uint8_t *site;
	bool has_tail;
} forms[] = {
#define F(name, has) \
	{ \
#name, name, name##_site, has \
	}
	F(one, true),        F(two, true),       F(three, true),    F(reads_flags, true),
	F(sets_flags, true), F(copies, true),    F(hands_on, true), F(taken, true),
	F(not_taken, true),  F(jumps, true),     F(polls, true),    F(far_away, true),
	F(of_four, true),    F(long_one, false), F(pushes, true),   F(calls, false),
	F(loads, false),     F(relative, false), F(system, false),  F(of_five, false),
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static const struct form an_addition = F(one, true), a_branch = F(taken, true);

static uint8_t bytes[SIZE] __attribute__((aligned(64)));
static void (*hook)(void);

static int model_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	memcpy(value, bytes + offset, width);
	if (hook)
		hook();
	return 0;
}

static int model_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	memcpy(bytes + offset, &value, width);
	if (hook)
		hook();
	return 0;
}

static const struct regmap_device_ops ops = {model_read, model_write};

static struct file file(unsigned seed)
{
	struct file f = {.rcx = seed % 7 + 1, .flags = 0x202 | (seed * 0x6d & FLAGS)};

	f.rax = 0x8877665544332211 * (seed + 3);
	f.rdx = f.rax ^ 0x123456789;
	f.rsi = ~f.rax;
	f.r8 = f.rdx * 3;
	return f;
}

static void fill(unsigned seed)
{
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 37 + seed * 11);
}

/* What stays on memory that nobody traps */
static void run_both(const struct form *form, uint64_t at, unsigned seed)
{
	static uint8_t plain[SIZE] __attribute__((aligned(SIZE)));
	struct file is = file(seed), wanted = file(seed);

	fill(seed);
	memcpy(plain, bytes, SIZE);
	form->run(&is, at + 0x40);
	form->run(&wanted, (uintptr_t)plain + 0x40);
	is.flags &= FLAGS;
	wanted.flags &= FLAGS;
	if (form->run == loads)
		is.rdx = wanted.rdx = 0; /* its own stack */
	if (form->run == system)
		is.rcx = is.rdx = wanted.rcx = wanted.rdx = is.rax = wanted.rax = 0;
	if (memcmp(&is, &wanted, sizeof(is)))
		fail_msg(
			"%s, seed %u: rax %#lx, not %#lx; rcx %#lx, %#lx; rdx %#lx, %#lx; flags %#lx, %#lx",
			form->name, seed, is.rax, wanted.rax, is.rcx, wanted.rcx, is.rdx,
			wanted.rdx, is.flags, wanted.flags);
	assert_memory_equal(bytes, plain, SIZE);
}

static const struct patch *patch_of(const struct form *form)
{
	const struct patch *patch = regmap__patch_of((uintptr_t)form->site);

	assert_non_null(patch);
	assert_non_null(patch->cell);
	return patch;
}

static void test_tail_does_what_the_instructions_do(void **state)
{
	unsigned patched = 0;

	(void)state;
	for (unsigned i = 0; i < FORMS; i++) {
		for (unsigned n = 0; n < 16 * TIMES; n++)
			run_both(&forms[i], n / 2 % 2 ? ANY : GENERAL, n);
		if (regmap_patch_site(forms[i].site) !=
		    1) /* its jump would lead to where there is no room */
			continue;
		patched++;
		if (!!patch_of(&forms[i])->map->tail_length != forms[i].has_tail)
			fail_msg("%s: a tail of %u bytes", forms[i].name,
			         patch_of(&forms[i])->map->tail_length);
	}
	assert_true(patched > FORMS / 2);
}

/* --- other bytes --- */

static const uint8_t *place;
static uint8_t byte_there;
static unsigned traps, wrong_traps;

static void put_byte(const uint8_t *at, uint8_t value)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, 1, (off_t)(uintptr_t)at), 1);
	close(fd);
}

static void set_breakpoint(void)
{
	put_byte(place, 0xcc);
}

static void on_trap(int signo, siginfo_t *info, void *ucontext)
{
	greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	(void)signo, (void)info;
	traps++;
	wrong_traps += (uint64_t)regs[REG_RIP] != (uintptr_t)place + 1;
	put_byte(place, byte_there);
	regs[REG_RIP]--;
}

static void try_breakpoint(const struct form *form, uint64_t at, unsigned away)
{
	place = form->site + away;
	byte_there = *place;
	traps = wrong_traps = 0;
	for (unsigned n = 1; n <= TIMES; n++) {
		hook = set_breakpoint;
		run_both(form, at, n);
		hook = NULL;
		assert_int_equal(traps, n);
		run_both(form, at, n);
		assert_int_equal(traps, n);
	}
	assert_int_equal(wrong_traps, 0);
}

/* By a callback, as a debugger does while the program stands in one. */
static void test_tail_meets_breakpoints(void **state)
{
	struct sigaction act = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, old;

	(void)state;
	sigaction(SIGTRAP, &act, &old);
	try_breakpoint(&an_addition, GENERAL, 2);
	try_breakpoint(&an_addition, ANY, 2);
	try_breakpoint(&a_branch, GENERAL, 2);
	try_breakpoint(&a_branch, GENERAL, 4);
	try_breakpoint(&a_branch, ANY, 4);
	sigaction(SIGTRAP, &old, NULL);
}

/* mov (%rdi), %eax; add $3, %eax; ret */
static const uint8_t code[] = {0x8b, 0x07, 0x83, 0xc0, 0x03, 0xc3};
enum { CONSTANT = 4, PAGES = 8192 };

static uint8_t *page;

static void write_code(uint8_t *at, const void *what, size_t size)
{
	assert_int_equal(mprotect(page, PAGES, PROT_READ | PROT_WRITE), 0);
	memcpy(at, what, size);
	assert_int_equal(mprotect(page, PAGES, PROT_READ | PROT_EXEC), 0);
}

static void set_other_constant(void)
{
	write_code(page + CONSTANT, "\x09", 1);
}

static uint32_t call_code(uint8_t *at)
{
	uint32_t (*f)(uint64_t);

	memcpy(&f, &at, sizeof(f));
	return f(GENERAL);
}

static void make_page(void)
{
	page = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(page != MAP_FAILED);
	fill(5);
}

/* A callback writes it, as the program does that makes code. */
static void test_tail_sees_other_code(void **state)
{
	(void)state;
	make_page();
	write_code(page, code, sizeof(code));
	for (unsigned n = 0; n < TIMES; n++) {
		for (unsigned i = 0; i < TIMES; i++)
			assert_int_equal(call_code(page), *(uint32_t *)bytes + 3);
		hook = set_other_constant;
		assert_int_equal(call_code(page), *(uint32_t *)bytes + 9);
		hook = NULL;
		for (unsigned i = 0; i < TIMES; i++)
			assert_int_equal(call_code(page), *(uint32_t *)bytes + 9);
		write_code(page, code, sizeof(code));
	}
	munmap(page, PAGES);
}

/* What is compared is 8 bytes. */
static void test_tail_ends_with_the_page(void **state)
{
	(void)state;
	make_page();
	for (unsigned back = sizeof(code); back < 16; back++) {
		uint8_t *at = page + PAGES / 2 - back;
		const struct patch *patch;

		write_code(at, code, sizeof(code));
		for (unsigned n = 0; n < 3 * TIMES; n++)
			assert_int_equal(call_code(at), *(uint32_t *)bytes + 3);
		patch = regmap__patch_of((uintptr_t)at);
		assert_non_null(patch);
		assert_int_equal(!!patch->map->tail_length, back >= 10);
	}
	munmap(page, PAGES);
}

static int start(void **state)
{
	const struct regmap_config c = {.size = sizeof(c),
	                                .name = "general",
	                                .guest = GENERAL,
	                                .length = SIZE,
	                                .access = REGMAP_READ | REGMAP_WRITE,
	                                .flags = REGMAP_GENERAL,
	                                .backing = REGMAP_DEVICE,
	                                .ops = &ops};

	(void)state;
	return regmap_map(&c, NULL) || t_lay_device("any", ANY, SIZE, &ops, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tail_does_what_the_instructions_do),
		cmocka_unit_test(test_tail_meets_breakpoints),
		cmocka_unit_test(test_tail_sees_other_code),
		cmocka_unit_test(test_tail_ends_with_the_page),
	};

	if (regmap_patch(1))
		return 77;
	return cmocka_run_group_tests_name("tail", tests, start, NULL);
}
