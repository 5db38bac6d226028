/* SPDX-License-Identifier: MIT */
/* Stacks that overflow or have no room. See stacks.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include "stacks.h"

/* ---- Overflow --------------------------------------------------------------------------------- */

static uint8_t own[1 << 16] __attribute__((aligned(64)));

static struct overflow {
	enum world world;
	bool handler, onstack, main;
	uint64_t address, sp;
} * overflow;

static void on_overflow(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo;
	overflow->address = (uintptr_t)info->si_addr;
	overflow->sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
	_exit(42);
}

static volatile unsigned endless = 1;

__attribute__((noinline)) static unsigned recurse(unsigned depth)
{
	volatile uint8_t room[512];

	room[0] = (uint8_t)depth;
	room[511] = 1;
	if (overflow->world != BARE && depth % 16 == 0 && !window_works())
		_exit(94);
	return endless ? recurse(depth + 1) + room[0] : 0;
}

static void *overflow_stack(void *arg)
{
	static uint8_t small[1 << 15];
	stack_t mine = {.ss_sp = small, .ss_size = sizeof(small)};
	struct sigaction act = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO};

	(void)arg;
	if (overflow->onstack) {
		sigaltstack(&mine, NULL);
		act.sa_flags |= SA_ONSTACK;
	}
	if (overflow->handler)
		sigaction(SIGSEGV, &act, NULL);
	recurse(1);
	return NULL;
}

static int overflow_in_child(void *arg)
{
	const struct rlimit limit = {1 << 20, 1 << 20};
	pthread_attr_t attr;
	pthread_t thread;

	overflow = arg;
	setrlimit(RLIMIT_STACK, &limit);
	have_world(overflow->world);
	if (overflow->main)
		overflow_stack(NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 18);
	T_CHECK(pthread_create(&thread, &attr, overflow_stack, NULL) == 0);
	return pthread_join(thread, NULL);
}

/*
 * A handler on the program's alternate stack hears of the overflow, as detectors want to; one on
 * the stack that has overflown can't be called, and the process dies.
 */
static void test_stacks_overflow_as_ever(void **state)
{
	struct overflow *o = t_shared(sizeof(*o));

	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	for (unsigned i = 0; i < 18; i++) {
		*o = (struct overflow){.world = i / 6,
		                       .handler = i % 3,
		                       .onstack = i % 3 == 2,
		                       .main = i / 3 % 2};
		assert_int_equal(t_child_fate(overflow_in_child, o),
		                 o->onstack ? -1 - 42 : SIGSEGV);
		if (o->onstack)
			assert_true(o->address - o->sp + 4096 < 8192);
	}
}

/* A signal that is no SIGSEGV, and whose handler can't run there: the kernel makes it one. */

static void on_other_overflow(int signo, siginfo_t *info, void *arg)
{
	(void)arg;
	_exit(signo == SIGSEGV && info->si_code == SI_KERNEL && !info->si_addr ? 42 : 43);
}

static uint64_t no_instruction(void)
{
	__asm__ volatile("mov %0, %%rsp; ud2" : : "r"((uint64_t)PAGE));
	return 0;
}

static int ill_without_stack(void *arg)
{
	stack_t mine = {.ss_sp = own, .ss_size = sizeof(own)};
	struct sigaction act = {.sa_sigaction = on_other_overflow, .sa_flags = SA_SIGINFO};

	have_world(*(enum world *)arg);
	sigaltstack(&mine, NULL);
	sigaction(SIGILL, &act, NULL);
	act.sa_flags |= SA_ONSTACK;
	sigaction(SIGSEGV, &act, NULL);
	return (int)no_instruction();
}

static void test_stacks_without_room_make_a_sigsegv(void **state)
{
	(void)state;
	for (enum world w = BARE; w <= OPTION; w++)
		assert_int_equal(t_child_fate(ill_without_stack, &w), -1 - 42);
}

/* The main thread's stack grows, with a window not far below it. */
static int grow(void *arg)
{
	struct regmap_config config = {.size = sizeof(config),
	                               .length = 1 << 16,
	                               .access = RW,
	                               .backing = REGMAP_RAM,
	                               .guest = ((uintptr_t)&arg & ~0xffffULL) - (24 << 20)};
	volatile uint8_t *room = __builtin_alloca(6 << 20);
	volatile uint8_t *window;

	have_world(OPTION);
	T_CHECK(regmap_map(&config, NULL) == 0);
	window = (volatile uint8_t *)(uintptr_t)config.guest;
	window[5] = 7;
	for (unsigned i = 6 << 20; i > PAGE; i -= PAGE)
		room[i - 1] = window_works();
	T_CHECK(room[(6 << 20) - 1] == 1 && window[5] == 7);
	return 0;
}

static void test_stacks_grow_next_to_windows(void **state)
{
	(void)state;
	must_succeed(grow, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(overflow_as_ever),
		T(without_room_make_a_sigsegv),
		T(grow_next_to_windows),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("stacks_overflow", tests, NULL, NULL);
}
