/* SPDX-License-Identifier: MIT */
/*
 * Crash reporters of the kinds that languages and frameworks bring along, and stack walks out of
 * handlers and callbacks.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <execinfo.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

#define WINDOW 0xffff900000000000ULL
#define DEVICE 0xffff900000100000ULL
#define WILD 0x7ffffffff000ULL

extern void __tsan_init(void) __attribute__((weak));

static uint32_t memory[1024];
static int device_value;

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = (uint64_t)device_value;
	return 0;
}

static const struct regmap_device_ops device = {.read = device_read};

static void lay(void)
{
	if (t_lay_host("memory", WINDOW, memory, sizeof(memory), RW) ||
	    t_lay_device("device", DEVICE, PAGE, &device, NULL))
		_exit(90);
}

static bool windows_work(void)
{
	volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)WINDOW;

	at[1] = 1234;
	device_value++;
	return memory[1] == 1234 && at[1] == 1234 &&
	       *(volatile int *)(uintptr_t)DEVICE == device_value;
}

__attribute__((noinline)) static void touch(uint64_t at)
{
	*(volatile uint32_t *)(uintptr_t)at = 1;
}

static void say(const char *what)
{
	if (write(2, what, strlen(what)) < 0)
		_exit(91);
}

/* Rust's: tells hits of a stack's guard page; of others, it puts the default back and returns. */

static uintptr_t guard;

static void rusts(int signo, siginfo_t *info, void *uc)
{
	const struct sigaction defaults = {.sa_handler = SIG_DFL};

	(void)uc;
	if ((uintptr_t)info->si_addr - guard < PAGE) {
		say("has overflowed its stack\n");
		abort();
	}
	sigaction(signo, &defaults, NULL);
}

static void install_rusts(void)
{
	const int signals[] = {SIGSEGV, SIGBUS};
	struct sigaction act;
	stack_t stack = {.ss_size = 65536};

	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	                   -1, 0);
	sigaltstack(&stack, NULL);
	guard = (uintptr_t)mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < 2; i++) {
		sigaction(signals[i], NULL, &act);
		if (act.sa_handler != SIG_DFL)
			_exit(92);
		act.sa_sigaction = rusts;
		act.sa_flags = SA_SIGINFO | SA_ONSTACK;
		sigaction(signals[i], &act, NULL);
	}
}

struct rust {
	bool mapped_first;
	bool overflow;
};

static int be_rust(void *arg)
{
	const struct rust *rust = arg;

	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	if (rust->mapped_first)
		lay();
	install_rusts();
	if (!rust->mapped_first)
		lay();
	if (!windows_work())
		return 1;
	touch(rust->overflow ? guard + 8 : WILD);
	return 2;
}

static void test_reporters_like_rusts(void **state)
{
	struct t_child child;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct rust rust = {i & 1, i & 2};

		t_child_run(&child, be_rust, &rust);
		assert_int_equal(t_fate(child.status), rust.overflow ? SIGABRT : SIGSEGV);
		assert_int_equal(!strstr(child.text, "overflowed"), !rust.overflow);
	}
}

/* Go's: installed by direct system calls, with all blocked; hands on what is not its own. */

struct kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	const void *restorer;
	uint64_t mask;
};

extern const char gos_restorer[];
__asm__(".pushsection .text\n"
        "gos_restorer: mov $15, %eax\n"
        "	syscall\n"
        ".popsection");

static struct kernel_sigaction before[65];
static uintptr_t gos_own;
static int gos_count;

static long raw_sigaction(int signo, const struct kernel_sigaction *set,
                          struct kernel_sigaction *old)
{
	return syscall(SYS_rt_sigaction, signo, set, old, 8);
}

static void gos(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	if (++gos_count > 1000)
		_exit(93); /* round in circles */
	if ((uintptr_t)info->si_addr - gos_own < PAGE) {
		uc->uc_mcontext.gregs[REG_RIP] += 6; /* movl $1, (reg) */
		return;
	}
	if ((uintptr_t)before[signo].handler <= 1)
		_exit(94);
	before[signo].handler(signo, info, arg);
}

static void install_gos(void)
{
	const int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
	const struct kernel_sigaction act = {
		gos,
		SA_SIGINFO | SA_RESTART | 0x04000000,
		gos_restorer,
		~0UL,
	};

	gos_own = (uintptr_t)mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < 3; i++) {
		raw_sigaction(signals[i], NULL, &before[signals[i]]);
		raw_sigaction(signals[i], &act, NULL);
	}
}

static sigjmp_buf out;
static volatile int programs;
static void programs_own(int signo)
{
	programs = signo;
	siglongjmp(out, 1);
}

static bool programs_faults_arrive(void)
{
	programs = 0;
	if (!sigsetjmp(out, 1))
		touch(WILD);
	return programs == SIGSEGV;
}

/* A division by what a window holds, too: our own fault inside Go's handler */
static bool divisions_arrive(void)
{
	programs = 0;
	memory[0] = 0;
	if (!sigsetjmp(out, 1))
		__asm__ volatile("divl (%0)" : : "r"(WINDOW), "a"(1), "d"(0) : "cc");
	return programs == SIGFPE;
}

static bool gos_faults_arrive(void)
{
	int count = gos_count;

	__asm__ volatile("movl $1, (%0)" : : "r"(gos_own) : "memory");
	return gos_count == count + 1;
}

static bool all_work(void)
{
	return windows_work() && programs_faults_arrive() && windows_work() && divisions_arrive() &&
	       gos_faults_arrive() && windows_work();
}

/* Displaced, and back in front with the next window */
static int be_go_after(void *arg)
{
	static uint32_t more[2][1024];
	sigset_t now;

	(void)arg;
	signal(SIGSEGV, programs_own);
	signal(SIGFPE, programs_own);
	lay();
	install_gos();
	if (!all_work() || !gos_count)
		return 1;
	for (unsigned i = 0; i < 2; i++) {
		if (t_lay_host("more", WINDOW + 0x10000 * (i + 1), more[i], sizeof(more[i]), RW))
			return 2;
		gos_count = 0;
		if (!windows_work() || gos_count)
			return 3; /* not in front */
		if (!all_work())
			return 4;
		install_gos();
	}
	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigisemptyset(&now) && all_work() ? 0 : 5;
}

static int be_go_before(void *arg)
{
	(void)arg;
	signal(SIGSEGV, programs_own);
	signal(SIGFPE, programs_own);
	install_gos();
	lay();
	return all_work() ? 0 : 1;
}

static void test_reporters_like_gos(void **state)
{
	(void)state;
	if (__tsan_init)
		skip(); /* what its sigaction() has set is not what the system call shows */
	assert_int_equal(t_child_fate(be_go_after, NULL), 0);
	assert_int_equal(t_child_fate(be_go_before, NULL), 0);
}

/* backtrace() in the handler */

static bool is_in(const void *pc, const void *function, size_t size)
{
	return (uintptr_t)pc - (uintptr_t)function < size;
}

static void by_backtrace(int signo)
{
	void *frames[64];
	int count = backtrace(frames, 64);

	for (int i = 0; i < count; i++)
		if (is_in(frames[i], (const void *)touch, 32))
			_exit(signo == SIGSEGV ? 0 : 1);
	_exit(2);
}

static void by_unwinding(int signo)
{
	unw_context_t here;
	unw_cursor_t cursor;
	unw_word_t ip;

	unw_getcontext(&here);
	unw_init_local(&cursor, &here);
	while (unw_step(&cursor) > 0) {
		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		if (is_in((const void *)ip, (const void *)touch, 32))
			_exit(signo == SIGSEGV ? 0 : 1);
	}
	_exit(2);
}

struct walk {
	void (*handler)(int);
	uint64_t at;
	bool early;
};

static int walk(void *arg)
{
	const struct walk *how = arg;

	if (how->early)
		signal(SIGSEGV, how->handler);
	lay();
	if (!how->early)
		signal(SIGSEGV, how->handler);
	touch(how->at);
	return 3;
}

static void test_reporters_walk_to_the_fault(void **state)
{
	void (*const handlers[])(int) = {by_backtrace, by_unwinding};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct walk how = {handlers[i], WILD, false};

		assert_int_equal(t_child_fate(walk, &how), 0);
		how.early = true;
		assert_int_equal(t_child_fate(walk, &how), 0);
	}
}

/* From a device callback to the access */

static int found;
static int walking_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	unw_context_t here;
	unw_cursor_t cursor;
	unw_word_t ip;
	void *frames[64];
	int count = backtrace(frames, 64);

	(void)ctx, (void)offset, (void)width, (void)value;
	for (int i = 0; i < count; i++)
		found |= is_in(frames[i], (const void *)touch, 32);
	unw_getcontext(&here);
	unw_init_local(&cursor, &here);
	while (unw_step(&cursor) > 0) {
		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		if (is_in((const void *)ip, (const void *)touch, 32))
			found |= 2;
	}
	return 0;
}

static void test_reporters_walk_from_a_callback(void **state)
{
	static const struct regmap_device_ops ops = {.write = walking_write};

	(void)state;
	assert_int_equal(t_lay_device("walker", DEVICE + 0x100000, PAGE, &ops, NULL), 0);
	touch(DEVICE + 0x100000);
	assert_int_equal(found, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reporters_like_rusts),
		cmocka_unit_test(test_reporters_like_gos),
		cmocka_unit_test(test_reporters_walk_to_the_fault),
		cmocka_unit_test(test_reporters_walk_from_a_callback),
	};

	return cmocka_run_group_tests_name("reporters", tests, NULL, NULL);
}
