/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lsigsegv */
/* GNU libsigsegv in the same process: its page faults and stack overflows, our windows. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sigsegv.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

#define WINDOW 0xffff900000000000ULL
#define WILD 0x7ffffffff000ULL

static uint32_t memory[1024];
static char *page;
static volatile int repaired, overflows;
static sigjmp_buf out;
static char extra_stack[64 * 1024] __attribute__((aligned(16)));

static void lay(void)
{
	if (t_lay_host("memory", WINDOW, memory, sizeof(memory), RW))
		_exit(90);
}

static bool window_works(void)
{
	volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)WINDOW;

	at[1]++;
	return memory[1] == at[1];
}

static void touch(uint64_t at)
{
	*(volatile uint32_t *)(uintptr_t)at = 1;
}

static int repair(void *address, int serious)
{
	(void)serious;
	if (!window_works() || (char *)address < page || (char *)address >= page + PAGE)
		return 0;
	repaired++;
	return !mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static void back(void *a, void *b, void *c)
{
	(void)a, (void)b, (void)c;
	siglongjmp(out, 1);
}

static void overflowed(int emergency, stackoverflow_context_t context)
{
	(void)context;
	overflows += emergency ? 100 : 1;
	if (!window_works())
		_exit(91);
	sigsegv_leave_handler(back, NULL, NULL, NULL);
}

__attribute__((noinline)) static int recurse(volatile int *depth)
{
	volatile char room[1024];

	room[0] = (char)++*depth;
	return *depth < 1 << 20 ? recurse(depth) + room[0] : 0;
}

static bool install(void)
{
	page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return !sigsegv_install_handler(repair) &&
	       !stackoverflow_install_handler(overflowed, extra_stack, sizeof(extra_stack));
}

static bool faults_are_repaired(void)
{
	repaired = 0;
	mprotect(page, PAGE, PROT_NONE);
	touch((uintptr_t)page + 16);
	return repaired == 1 && *(int *)(page + 16) == 1;
}

static bool overflows_are_caught(void)
{
	volatile int depth = 0;

	overflows = 0;
	if (!sigsetjmp(out, 1))
		recurse(&depth);
	return overflows == 1;
}

static int live_together(void *arg)
{
	bool first = arg;
	const struct rlimit small = {1 << 20, 1 << 20};
	sigset_t now;

	setrlimit(RLIMIT_STACK, &small);
	signal(SIGSEGV, SIG_DFL);
	if (first)
		lay();
	if (!install())
		return 1;
	if (!first)
		lay();
	for (int i = 0; i < 3; i++) {
		if (!window_works() || !faults_are_repaired())
			return 2;
		if (!window_works() || !overflows_are_caught())
			return 3;
	}
	sigprocmask(SIG_BLOCK, NULL, &now);
	if (!sigisemptyset(&now))
		return 4;
	stackoverflow_deinstall_handler();
	if (!window_works() || !faults_are_repaired())
		return 5;
	sigsegv_deinstall_handler();
	if (!window_works())
		return 6;
	touch(WILD);
	return 7;
}

static int die_unrepaired(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	lay();
	if (!install() || !faults_are_repaired())
		return 1;
	touch(WILD);
	return 2;
}

static void test_sigsegv_lives_together(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(live_together, NULL), SIGSEGV);
	assert_int_equal(t_child_fate(live_together, "first"), SIGSEGV);
}

static void test_sigsegv_lets_die(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(die_unrepaired, NULL), SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sigsegv_lives_together),
		cmocka_unit_test(test_sigsegv_lets_die),
	};

	return cmocka_run_group_tests_name("sigsegv", tests, NULL, NULL);
}
