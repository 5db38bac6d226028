/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lsigsegv */
/* GNU libsigsegv's detector of stack overflows, in a process with windows and signal stacks. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sigsegv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

#define WINDOW 0xffff900000000000ULL

extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

enum when { NEVER, BEFORE, AFTER };

static uint64_t memory[512];
static uint8_t extra[1 << 16];
static jmp_buf back;
static sigset_t outside;
static volatile int emergencies = -1;
static volatile unsigned endless = 1;

static void lay(void)
{
	if (t_lay_host("memory", WINDOW, memory, sizeof(memory), REGMAP_READ | REGMAP_WRITE) ||
	    regmap_signal_stacks(0))
		_exit(90);
}

static bool window_works(void)
{
	volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)WINDOW;

	at[1]++;
	return at[1] == memory[1];
}

static void come_back(void *unused1, void *unused2, void *unused3)
{
	(void)unused1, (void)unused2, (void)unused3;
	longjmp(back, 1);
}

static void on_overflow(int emergency, stackoverflow_context_t context)
{
	(void)context;
	emergencies = emergency;
	sigprocmask(SIG_SETMASK, &outside, NULL);
	sigsegv_leave_handler(come_back, NULL, NULL, NULL);
}

static int on_other(void *address, int serious)
{
	(void)address;
	if (serious)
		_exit(91);
	return 0;
}

__attribute__((noinline)) static unsigned recurse(unsigned depth)
{
	volatile uint8_t room[512];

	room[0] = (uint8_t)depth;
	return endless ? recurse(depth + 1) + room[0] : 0;
}

static int overflow(void *arg)
{
	const struct rlimit limit = {1 << 20, 1 << 20};
	enum when when = *(enum when *)arg;
	volatile unsigned count = 0;

	setrlimit(RLIMIT_STACK, &limit);
	sigprocmask(SIG_BLOCK, NULL, &outside);
	if (when == BEFORE)
		lay();
	if (stackoverflow_install_handler(on_overflow, extra, sizeof(extra)) ||
	    sigsegv_install_handler(on_other))
		return 92;
	if (when == AFTER)
		lay();
	for (count = 0; count < 5; count++) {
		emergencies = -1;
		if (!setjmp(back))
			recurse(1);
		if (emergencies != 0 || (when != NEVER && !window_works()))
			return 93;
	}
	return 42;
}

static void test_stacks_sigsegv_detects_overflows(void **state)
{
	(void)state;
	if (__asan_init || __tsan_init)
		skip();
	for (enum when when = NEVER; when <= AFTER; when++)
		assert_int_equal(t_child_fate(overflow, &when), -1 - 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stacks_sigsegv_detects_overflows),
	};

	return cmocka_run_group_tests_name("stacks_sigsegv", tests, NULL, NULL);
}
