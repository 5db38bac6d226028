/* SPDX-License-Identifier: MIT */
/*
 * Hostile device callbacks: what they do to the windows, the code, the thread and the process while
 * an instruction is under way. The library must neither crash in its own code nor lose its way.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <asm/prctl.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena.h"
#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, DEEP = 100 };

#define AT 0x551800000000ull
#define OUTER 0x551800100000ull
#define ALIAS 0x551800200000ull
#define ELSEWHERE 0x551800300000ull

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "not so: %s\n", what);
	_exit(1);
}

/* --- a device that does as it is told --- */

static void (*on_read)(void), (*on_write)(void);
static int answer;
static uint64_t read_value, written;
static unsigned calls;

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	calls++;
	if (on_read)
		on_read();
	*value = read_value;
	return answer;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width;
	calls++;
	written = value;
	if (on_write)
		on_write();
	return answer;
}

static const struct regmap_device_ops ops = {device_read, device_write};
static struct regmap_window *window, *outer, *alias;
static uint8_t host[PAGE];

static struct regmap_window *lay(enum regmap_backing backing, uint64_t guest, uint64_t length)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = guest,
		.length = length,
		.access = RW,
		.backing = backing,
		.host = host,
		.ops = &ops,
		.target = AT,
	};
	struct regmap_window *w;

	must(!regmap_map(&c, &w), "a window");
	return w;
}

static void lay_device(void)
{
	signal(SIGSEGV, SIG_DFL); /* cmocka has handlers */
	signal(SIGBUS, SIG_DFL);
	window = lay(REGMAP_DEVICE, AT, 64);
	read_value = 0x1122334455667788;
}

static uint32_t load(uint64_t at)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

static void store(uint64_t at, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

static bool is_there(uint64_t at)
{
	void *where;

	return regmap_translate(at, &where) != -EFAULT;
}

static void run_child(int (*body)(void *), int expected)
{
	static struct t_child child;

	t_child_run(&child, body, NULL);
	if (t_fate(child.status) != expected)
		print_error("%s\n", child.text);
	assert_int_equal(t_fate(child.status), expected);
}

#define IN_CHILD(name, expected) \
	static int child_##name(void *arg); \
	static void test_hostile_device_##name(void **state) \
	{ \
		(void)state; \
		run_child(child_##name, expected); \
	} \
	static int child_##name(void *arg)

/* What it puts into the library looks behind the FS base, and has little room for nested signals. */
#define IN_CHILD_WITHOUT_TSAN(name, expected) \
	static int child_##name(void *arg); \
	static void test_hostile_device_##name(void **state) \
	{ \
		(void)state; \
		if (t_mode_is("tsan")) \
			skip(); \
		run_child(child_##name, expected); \
	} \
	static int child_##name(void *arg)

/* --- what it does to the windows --- */

static void unmap_own(void)
{
	must(regmap_unmap(window) == 0, "it unmaps itself");
	must(regmap_unmap(window) == -EINVAL, "once");
	must(!is_there(AT), "and has gone");
}

IN_CHILD(unmaps_itself, 0)
{
	(void)arg;
	lay_device();
	on_read = unmap_own;
	must(load(AT) == 0x55667788, "the read is finished");
	lay_device();
	on_read = NULL;
	on_write = unmap_own;
	store(AT, 5);
	must(written == 5, "the write is finished");
	return 0;
}

/* A locked operation reads and writes: the window is no more when it comes to the second. */
IN_CHILD(unmaps_itself_between_two_accesses, SIGSEGV)
{
	uint32_t one = 1;

	(void)arg;
	lay_device();
	on_read = unmap_own;
	__asm__ volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(AT) : "memory");
	return 0;
}

static void unmap_all(void)
{
	must(!regmap_unmap(window) && !regmap_unmap(outer) && !regmap_unmap(alias), "all");
}

IN_CHILD(unmaps_what_is_around_it_and_leads_to_it, 0)
{
	(void)arg;
	lay_device();
	outer = lay(REGMAP_RAM, AT - PAGE, 3 * PAGE);
	alias = lay(REGMAP_ALIAS, ALIAS, 64);
	on_read = unmap_all;
	must(load(ALIAS + 4) == 0x55667788, "the read is finished");
	must(!is_there(AT) && !is_there(ALIAS) && !is_there(AT - 1), "all have gone");
	return 0;
}

static void unmap_inner_map_over(void)
{
	must(!regmap_unmap(window), "itself");
	memset(host, 0x77, sizeof(host));
	window = lay(REGMAP_HOST, AT, 64);
}

IN_CHILD(puts_another_in_its_place, 0)
{
	(void)arg;
	lay_device();
	on_read = unmap_inner_map_over;
	must(load(AT) == 0x55667788, "the access began with the device");
	must(load(AT) == 0x77777777, "the next one meets host memory");
	return 0;
}

static void map_many(void)
{
	for (unsigned i = 0; i < 1000; i++)
		must(!regmap_unmap(lay(REGMAP_HOST, ELSEWHERE + i * 64, 64)), "another");
	for (unsigned i = 0; i < 1000; i++)
		lay(REGMAP_HOST, ELSEWHERE + i * 64, 64);
}

IN_CHILD(maps_and_unmaps_a_thousand, 0)
{
	uint64_t sum = 0;

	(void)arg;
	lay_device();
	outer = lay(REGMAP_DEVICE, AT + 64, 64);
	on_read = map_many;
	/* In the middle of an instruction with more accesses to come. */
	__asm__ volatile("movq (%1), %0" : "=r"(sum) : "r"(AT) : "memory");
	must(sum == read_value && is_there(ELSEWHERE + 63999), "all of it");
	return 0;
}

/* --- what it does to the code --- */

static uint8_t *code;

static void change_code(void)
{
	memset(code, 0xcc, 16); /* INT3, where the instruction was */
}

/* mov (%rdi), %eax; ret: it was decoded before, so it is finished, and the next one is the new. */
IN_CHILD(changes_the_instruction_under_way, SIGTRAP)
{
	static const uint8_t bytes[] = {0x8b, 0x07, 0xc3};

	(void)arg;
	lay_device();
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	            0);
	memcpy(code, bytes, sizeof(bytes));
	on_read = change_code;
	((uint32_t(*)(uint64_t))(uintptr_t)code)(AT);
	return 0;
}

static void unmap_code(void)
{
	munmap(code, PAGE);
}

IN_CHILD(unmaps_the_instruction_under_way, SIGSEGV)
{
	static const uint8_t bytes[] = {0x8b, 0x07, 0xc3};

	(void)arg;
	lay_device();
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	            0);
	memcpy(code, bytes, sizeof(bytes));
	on_read = unmap_code;
	((uint32_t(*)(uint64_t))(uintptr_t)code)(AT);
	return 0;
}

/* --- what it answers --- */

static const int answers[] = {-EIO, EIO, 1, -1, INT_MAX, -INT_MAX, INT_MIN, 4096, -4096, 123456};

static int answer_with(void *arg)
{
	lay_device();
	answer = *(const int *)arg;
	must(regmap_read(AT, &(uint32_t){0}, 4) < 0, "a negative number");
	must(regmap_write(AT, &(uint32_t){0}, 4) < 0, "a negative number");
	return (int)load(AT) | 1;
}

static void test_hostile_device_answers_with_any_number(void **state)
{
	static struct t_child child;

	(void)state;
	for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		t_child_run(&child, answer_with, (void *)(uintptr_t)&answers[i]);
		assert_int_equal(t_fate(child.status), SIGBUS);
		assert_non_null(strstr(child.text, "the device returned an error"));
	}
}

/* Nothing above the width gets anywhere, in either direction. */
IN_CHILD(answers_with_more_than_the_width, 0)
{
	uint64_t whole = 0;
	uint8_t bytes[16];

	(void)arg;
	lay_device();
	read_value = ~0ull;
	__asm__ volatile("movb (%1), %b0" : "+r"(whole) : "r"(AT) : "memory");
	must(whole == 0xff, "one byte");
	__asm__ volatile("xor %k0, %k0; movzwl (%1), %k0" : "+r"(whole) : "r"(AT) : "memory");
	must(whole == 0xffff, "two bytes");
	must(load(AT) == UINT32_MAX, "four");
	memset(bytes, 0, sizeof(bytes));
	must(!regmap_read(AT + 3, bytes, 1) && bytes[0] == 0xff && !bytes[1], "by call");
	__asm__ volatile("movb %b0, (%1)" : : "r"(0x123456789abcdefull), "r"(AT) : "memory");
	must(written == 0xef, "written");
	return 0;
}

/* --- what it does to the thread --- */

static void change_errno(void)
{
	errno = 4711;
}

static void change_mask(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Like a handler's, its mask ends with it; errno is the program's. */
IN_CHILD(changes_errno_and_the_signal_mask, 0)
{
	sigset_t now;

	(void)arg;
	lay_device();
	errno = 5;
	on_read = change_errno;
	load(AT);
	must(errno == 5, "errno");
	on_read = change_mask;
	load(AT);
	sigprocmask(SIG_BLOCK, NULL, &now);
	must(!sigismember(&now, SIGSEGV), "SIGSEGV is not blocked");
	load(AT);
	load(AT);
	must(calls == 4, "all accesses");
	return 0;
}

static void block_all(void)
{
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	load(ELSEWHERE); /* SIGSEGV still reaches the library */
}

IN_CHILD(blocks_all_signals, 0)
{
	(void)arg;
	lay_device();
	lay(REGMAP_HOST, ELSEWHERE, 64);
	on_read = block_all;
	load(AT);
	on_read = NULL;
	load(AT);
	return 0;
}

static uint64_t gs_block[8];

static void change_gs(void)
{
	gs_block[1] = 42;
	syscall(SYS_arch_prctl, ARCH_SET_GS, gs_block);
}

IN_CHILD(changes_the_gs_base, 0)
{
	uint64_t got;

	(void)arg;
	lay_device();
	on_read = change_gs;
	load(AT);
	__asm__ volatile("movq %%gs:8, %0" : "=r"(got));
	must(got == 42, "as a call would have left it");
	must(load(AT) == 0x55667788, "and all goes on");
	return 0;
}

/* By the instruction, or the system call: nothing of libc's may run in between. */
static long set_fs(uint64_t base)
{
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "0"((long)SYS_arch_prctl), "D"((long)ARCH_SET_FS), "S"(base)
	                 : "rcx", "r11", "memory");
	return result;
}

__attribute__((no_stack_protector)) static void change_fs_and_back(void)
{
	uint64_t base;

	syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
	set_fs((uintptr_t)gs_block);
	load(ELSEWHERE); /* an access with a foreign FS base, inside of another */
	set_fs(base);
}

IN_CHILD_WITHOUT_TSAN(changes_the_fs_base_and_back, 0)
{
	(void)arg;
	lay_device();
	lay(REGMAP_HOST, ELSEWHERE, 64);
	on_read = change_fs_and_back;
	must(load(AT) == 0x55667788 && load(AT + 4) == 0x55667788, "both");
	return 0;
}

/* --- what it does to the process --- */

static void close_all(void)
{
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
}

IN_CHILD(closes_all_descriptors, 0)
{
	volatile uint32_t *ram = (void *)(uintptr_t)OUTER;

	(void)arg;
	lay_device();
	outer = lay(REGMAP_RAM, OUTER, 2 * PAGE);
	*ram = 7;
	on_read = close_all;
	load(AT);
	must(*ram == 7, "RAM stays");
	must(!regmap_unmap(lay(REGMAP_RAM, ELSEWHERE, PAGE)), "more RAM");
	__asm__ volatile("movdqu (%0), %%xmm1" : : "r"(AT) : "xmm1");
	return 0;
}

static void take_handlers(void)
{
	signal(SIGSEGV, SIG_IGN);
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
}

IN_CHILD(takes_the_signal_handlers, 0)
{
	(void)arg;
	lay_device();
	on_read = take_handlers;
	load(AT);
	load(AT);
	must(calls == 2, "both");
	return 0;
}

/* Each level is one more signal frame: a hundred go on any stack of the usual size. */
static unsigned depth, deepest;

static void recurse(void)
{
	if (depth == deepest)
		return;
	depth++;
	load(AT + 4 * (depth & 7));
}

IN_CHILD_WITHOUT_TSAN(recurses_a_hundred_times, 0)
{
	(void)arg;
	lay_device();
	on_read = recurse;
	deepest = DEEP;
	must(load(AT) == 0x55667788 && depth == DEEP && calls == DEEP + 1, "all the way");
	return 0;
}

/* An ordinary stack overflow: not a hang, nor a fault that seems to be somewhere else. */
IN_CHILD_WITHOUT_TSAN(recurses_until_the_stack_ends, SIGSEGV)
{
	const struct rlimit limit = {1 << 20, 1 << 20};

	(void)arg;
	setrlimit(RLIMIT_STACK, &limit);
	lay_device();
	on_read = recurse;
	deepest = UINT_MAX;
	load(AT);
	return 0;
}

/* On a small alternate stack the kernel finds no room for the next frame. */
IN_CHILD_WITHOUT_TSAN(recurses_until_the_alternate_stack_ends, SIGSEGV)
{
	stack_t stack = {.ss_size = 1 << 17};

	(void)arg;
	lay_device();
	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	                   -1, 0);
	sigaltstack(&stack, NULL);
	on_read = recurse;
	deepest = UINT_MAX;
	load(AT);
	return 0;
}

static sigjmp_buf escape;

static void jump_out(void)
{
	siglongjmp(escape, 1);
}

/* Out of a locked operation, a thousand times: no lock, pin or scratch memory runs out. */
IN_CHILD(jumps_out_again_and_again, 0)
{
	volatile unsigned n = 0;
	static uint32_t one = 1;

	(void)arg;
	lay_device();
	on_read = jump_out;
	sigsetjmp(escape, 1);
	if (n++ < 3000)
		__asm__ volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(AT) : "memory");
	must(one == 1, "nothing has been exchanged");
	on_read = NULL;
	__asm__ volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(AT) : "memory");
	must(one == 0x55667788, "then it is");
	return regmap_unmap(window);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_device_unmaps_itself),
		cmocka_unit_test(test_hostile_device_unmaps_itself_between_two_accesses),
		cmocka_unit_test(test_hostile_device_unmaps_what_is_around_it_and_leads_to_it),
		cmocka_unit_test(test_hostile_device_puts_another_in_its_place),
		cmocka_unit_test(test_hostile_device_maps_and_unmaps_a_thousand),
		cmocka_unit_test(test_hostile_device_changes_the_instruction_under_way),
		cmocka_unit_test(test_hostile_device_unmaps_the_instruction_under_way),
		cmocka_unit_test(test_hostile_device_answers_with_any_number),
		cmocka_unit_test(test_hostile_device_answers_with_more_than_the_width),
		cmocka_unit_test(test_hostile_device_changes_errno_and_the_signal_mask),
		cmocka_unit_test(test_hostile_device_blocks_all_signals),
		cmocka_unit_test(test_hostile_device_changes_the_gs_base),
		cmocka_unit_test(test_hostile_device_changes_the_fs_base_and_back),
		cmocka_unit_test(test_hostile_device_closes_all_descriptors),
		cmocka_unit_test(test_hostile_device_takes_the_signal_handlers),
		cmocka_unit_test(test_hostile_device_recurses_a_hundred_times),
		cmocka_unit_test(test_hostile_device_recurses_until_the_stack_ends),
		cmocka_unit_test(test_hostile_device_recurses_until_the_alternate_stack_ends),
		cmocka_unit_test(test_hostile_device_jumps_out_again_and_again),
	};

	return cmocka_run_group_tests_name("hostile_device", tests, NULL, NULL);
}
