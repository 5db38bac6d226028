/* SPDX-License-Identifier: MIT */
/* Threads whose own stack lies in a window. See stacks.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "stacks.h"

/* ---- A stack in a window ---------------------------------------------------------------------- */

/* Call @body with RSP at @top. */
static uint64_t call_on(uint64_t top, uint64_t (*body)(void))
{
	uint64_t result;

	__asm__ volatile("mov %%rsp, %%rbx; mov %1, %%rsp; call *%2; mov %%rbx, %%rsp"
	                 : "=a"(result)
	                 : "r"(top), "r"(body)
	                 : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory",
	                   "cc");
	return result;
}

__attribute__((noinline)) static uint64_t ackermann(uint64_t m, uint64_t n)
{
	if (!m)
		return n + 1;
	return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

static uint64_t work_on_stack(void)
{
	char text[300];
	uint64_t values[16], sum = 0;

	for (unsigned i = 0; i < 16; i++)
		values[i] = i * i;
	for (unsigned i = 0; i < 16; i++)
		sum += values[i];
	snprintf(text, sizeof(text), "%.3f %s %d %Lf", 3.14159, "text", 42, 1.5L);
	if (strcmp(text, "3.142 text 42 1.500000"))
		return 0;
	return sum + ackermann(2, 3) + window_works();
}

static volatile sig_atomic_t caught;

static void on_other(int signo)
{
	caught = signo == SIGUSR1 && window_works();
}

static uint64_t raise_other(void)
{
	raise(SIGUSR1);
	return work_on_stack();
}

enum { WORK = 1240 + 9 + 1 };

static int trapped_stack(void *arg)
{
	struct sigaction act = {.sa_handler = on_other, .sa_flags = SA_ONSTACK};

	(void)arg;
	have_world(OPTION);
	T_CHECK(call_on(STACK_WINDOW + STACK - 64, work_on_stack) == WORK);
	T_CHECK(stack_memory[STACK - 72] || stack_memory[STACK - 71]);
	/* other signals, too, as long as they keep off the window */
	sigaction(SIGUSR1, &act, NULL);
	T_CHECK(call_on(STACK_WINDOW + STACK - 64, raise_other) == WORK);
	T_CHECK(caught == 1);
	return 0;
}

static void test_stacks_in_a_trapped_window_work(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	must_succeed(trapped_stack, NULL);
}

static int other_signal_without_onstack(void *arg)
{
	(void)arg;
	have_world(OPTION);
	signal(SIGUSR1, on_other);
	return (int)call_on(STACK_WINDOW + STACK - 64, raise_other) == WORK ? 42 : 43;
}

/* The kernel itself would have to write there: docs/limits.md. */
static void test_stacks_in_a_trapped_window_want_sa_onstack(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(other_signal_without_onstack, NULL), SIGSEGV);
}

static ucontext_t home, away;
static int coroutine_result;

static void coroutine(void)
{
	coroutine_result = work_on_stack() == WORK;
	swapcontext(&away, &home);
	coroutine_result += work_on_stack() == WORK;
}

static void *run_coroutine(void *arg)
{
	getcontext(&away);
	away.uc_stack.ss_sp = arg;
	away.uc_stack.ss_size = STACK;
	away.uc_link = &home;
	makecontext(&away, coroutine, 0);
	swapcontext(&home, &away);
	swapcontext(&home, &away);
	return NULL;
}

/* A coroutine in a window, on a thread that libregmap has given a stack. */
static int coroutine_in_window(void *arg)
{
	struct regmap_config config = {.size = sizeof(config),
	                               .length = STACK,
	                               .access = RW,
	                               .backing = REGMAP_RAM,
	                               .guest = DIRECT_STACK,
	                               .flags = arg ? REGMAP_TRAP : 0};
	pthread_t thread;

	have_world(OPTION);
	T_CHECK(regmap_map(&config, NULL) == 0);
	T_CHECK(pthread_create(&thread, NULL, run_coroutine, (void *)DIRECT_STACK) == 0);
	T_CHECK(pthread_join(thread, NULL) == 0);
	T_CHECK(coroutine_result == 2);
	return 0;
}

static void test_stacks_of_coroutines_may_lie_in_windows(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	must_succeed(coroutine_in_window, NULL);
	must_succeed(coroutine_in_window, "trapped");
}

static void *on_direct_stack(void *arg)
{
	uint64_t here = (uintptr_t)__builtin_frame_address(0);

	on_other(SIGUSR1);
	raise(SIGUSR1);
	(void)arg;
	return (void *)(uintptr_t)(here - DIRECT_STACK < STACK && work_on_stack() == WORK);
}

/* No alternate stack is needed there. */
static int direct_stack(void *arg)
{
	struct regmap_config config = {.size = sizeof(config),
	                               .length = STACK,
	                               .access = RW,
	                               .backing = REGMAP_RAM,
	                               .guest = DIRECT_STACK};
	pthread_attr_t attr;
	pthread_t thread;
	void *good;

	(void)arg;
	have_world(WINDOWS);
	signal(SIGUSR1, on_other);
	T_CHECK(regmap_map(&config, NULL) == 0);
	pthread_attr_init(&attr);
	T_CHECK(pthread_attr_setstack(&attr, (void *)DIRECT_STACK, STACK) == 0);
	T_CHECK(pthread_create(&thread, &attr, on_direct_stack, NULL) == 0);
	T_CHECK(pthread_join(thread, &good) == 0);
	T_CHECK(good && caught == 1);
	return 0;
}

static void test_stacks_in_a_direct_window_work(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	must_succeed(direct_stack, NULL);
}

static atomic_int cleaned;

static void clean_up(void *arg)
{
	cleaned += *(int *)arg;
}

static void *on_trapped_stack(void *arg)
{
	volatile bool leave = arg;
	uint64_t here = (uintptr_t)__builtin_frame_address(0);
	int one = here - STACK_WINDOW < STACK && work_on_stack() == WORK;

	pthread_cleanup_push(clean_up, &one);
	errno = 5;
	if (leave)
		pthread_exit(one && errno == 5 ? (void *)2 : NULL);
	pthread_cleanup_pop(1);
	return (void *)(uintptr_t)(one && errno == 5);
}

static int thread_on_trapped_stack(void *arg)
{
	struct timespec moment = {0, 1000000};
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t none;
	void *good;

	(void)arg;
	have_world(OPTION);
	sigemptyset(&none);
	pthread_attr_init(&attr);
	pthread_attr_setsigmask_np(&attr, &none);
	T_CHECK(pthread_attr_setstack(&attr, (void *)STACK_WINDOW, STACK) == 0);
	for (uintptr_t how = 0; how < 2; how++) {
		T_CHECK(pthread_create(&thread, &attr, on_trapped_stack, (void *)how) == 0);
		T_CHECK(pthread_join(thread, &good) == 0);
		T_CHECK(good == (void *)(how + 1));
		T_CHECK(cleaned == (int)how + 1);
	}
	T_CHECK(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
	T_CHECK(pthread_create(&thread, &attr, on_trapped_stack, (void *)1) == 0);
	while (cleaned < 3)
		nanosleep(&moment, NULL);
	return 0;
}

/* By pthread_attr_setstack(): calls, libc, thread-local storage, pthread_exit(), detached. */
static void test_stacks_of_threads_may_lie_in_trapped_windows(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	must_succeed(thread_on_trapped_stack, NULL);
}

static uint64_t fault_there(void)
{
	poke(WILD, 1);
	return 0;
}

static void never_called(int signo)
{
	(void)signo;
	_exit(42);
}

/* A fault of the program's with nowhere to put the frame: as the kernel would. */
static int fault_on_trapped_stack(void *arg)
{
	struct sigaction act = {.sa_handler = never_called};

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	return (int)call_on(STACK_WINDOW + STACK - 64, fault_there);
}

static void test_stacks_in_a_trapped_window_take_no_handler(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(fault_on_trapped_stack, NULL), SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(in_a_trapped_window_work),         T(in_a_trapped_window_want_sa_onstack),
		T(of_coroutines_may_lie_in_windows), T(of_threads_may_lie_in_trapped_windows),
		T(in_a_direct_window_work),          T(in_a_trapped_window_take_no_handler),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("stacks_window", tests, NULL, NULL);
}
