/* SPDX-License-Identifier: MIT */
/* Alternate stacks that libregmap gives to threads, when it is asked. See stacks.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include "stacks.h"

/* ---- The option ------------------------------------------------------------------------------ */

static int bad_sizes(void *arg)
{
	size_t least = getauxval(AT_MINSIGSTKSZ) + 8192;

	(void)arg;
	T_CHECK(regmap_signal_stacks(1) == -EINVAL);
	T_CHECK(regmap_signal_stacks(least - 1) == -EINVAL);
	T_CHECK(regmap_signal_stacks(SIZE_MAX) == -EINVAL);
	T_CHECK(regmap_signal_stacks(((size_t)1 << 30) + 1) == -EINVAL);
	T_CHECK(real_stack().ss_flags & SS_DISABLE || __asan_init || __tsan_init);
	T_CHECK(regmap_signal_stacks(least) == 0);
	T_CHECK(has_ours(least));
	return 0;
}

static void test_stacks_refuse_nonsense(void **state)
{
	(void)state;
	must_succeed(bad_sizes, NULL);
}

static int calling_thread(void *arg)
{
	stack_t first, second;

	(void)arg;
	T_CHECK(regmap_signal_stacks(0) == 0);
	T_CHECK(has_ours(64 << 10));
	first = real_stack();
	T_CHECK(can_read(first.ss_sp));
	T_CHECK(can_read((char *)first.ss_sp + first.ss_size - 1));
	T_CHECK(!can_read((char *)first.ss_sp - 1));
	T_CHECK(regmap_signal_stacks(0) == 0);
	T_CHECK(regmap_signal_stacks(32 << 10) == 0);
	second = real_stack();
	T_CHECK(second.ss_sp == first.ss_sp && second.ss_size == first.ss_size);
	T_CHECK(regmap_signal_stacks(1 << 20) == 0);
	T_CHECK(has_ours(1 << 20));
	return 0;
}

/* At once, guarded, once only, larger if that is asked for, never smaller. */
static void test_stacks_given_to_the_calling_thread(void **state)
{
	(void)state;
	must_succeed(calling_thread, NULL);
}

static void *check_new(void *arg)
{
	return has_ours((size_t)arg) ? NULL : (void *)1;
}

static int check_new_c11(void *arg)
{
	return has_ours((size_t)arg) ? 3 : 4;
}

static int new_threads(void *arg)
{
	static uint8_t small[16384] __attribute__((aligned(64)));
	pthread_attr_t attr;
	pthread_t thread;
	void *failed = (void *)1;
	thrd_t c11;
	int result = 0;

	(void)arg;
	T_CHECK(regmap_signal_stacks(200000) == 0);
	T_CHECK(pthread_create(&thread, NULL, check_new, (void *)200000) == 0);
	T_CHECK(pthread_join(thread, &failed) == 0 && !failed);
	if (!__tsan_init) { /* it knows nothing of thrd_create() */
		T_CHECK(thrd_create(&c11, check_new_c11, (void *)200000) == thrd_success);
		T_CHECK(thrd_join(c11, &result) == thrd_success && result == 3);
	}
	/* the smallest stack there is, the program's own */
	pthread_attr_init(&attr);
	if (!__asan_init && !__tsan_init)
		T_CHECK(pthread_attr_setstack(&attr, small, sizeof(small)) == 0);
	failed = (void *)1;
	T_CHECK(pthread_create(&thread, &attr, check_new, (void *)200000) == 0);
	T_CHECK(pthread_join(thread, &failed) == 0 && !failed);
	return 0;
}

static void test_stacks_given_to_new_threads(void **state)
{
	(void)state;
	must_succeed(new_threads, NULL);
}

/* Threads that exist already: one waits, one computes, one has all signals blocked. */

static atomic_bool asked;
static atomic_int ready;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *waiting(void *arg)
{
	ready++;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return check_new(arg);
}

static void *computing(void *arg)
{
	ready++;
	while (!asked)
		;
	return check_new(arg);
}

static void *blocking(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	return waiting(arg);
}

static uint8_t their_own[1 << 17];

static void *with_its_own(void *arg)
{
	stack_t own = {.ss_sp = their_own, .ss_size = sizeof(their_own)};

	sigaltstack(&own, NULL);
	waiting(arg);
	return real_stack().ss_sp == their_own ? NULL : (void *)1;
}

static int existing_threads(void *arg)
{
	void *(*const kinds[])(void *) = {waiting, computing, blocking, with_its_own};
	pthread_t threads[4];
	void *failed;

	(void)arg;
	lay(); /* or the blocked one's SIGSEGV would be blocked for good */
	pthread_mutex_lock(&gate);
	for (unsigned i = 0; i < 4; i++)
		T_CHECK(pthread_create(&threads[i], NULL, kinds[i], (void *)(1 << 16)) == 0);
	while (ready < 4)
		sched_yield();
	T_CHECK(regmap_signal_stacks(1 << 16) == 0);
	asked = true;
	pthread_mutex_unlock(&gate);
	for (unsigned i = 0; i < 4; i++) {
		T_CHECK(pthread_join(threads[i], &failed) == 0);
		T_CHECK(!failed);
	}
	return 0;
}

static void test_stacks_given_to_threads_that_exist(void **state)
{
	(void)state;
	must_succeed(existing_threads, NULL);
}

/* Dead threads' stacks are used again, however the thread ended. */

static _Atomic uintptr_t seen[256];

static void *be_seen(void *arg)
{
	uintptr_t sp = (uintptr_t)real_stack().ss_sp;

	for (unsigned i = 0; i < 256; i++) {
		uintptr_t none = 0;

		if (seen[i] == sp || atomic_compare_exchange_strong(&seen[i], &none, sp))
			break;
	}
	if (arg)
		pthread_exit(NULL);
	return NULL;
}

static int many_threads(void *arg)
{
	unsigned distinct = 0;

	(void)arg;
	T_CHECK(regmap_signal_stacks(0) == 0);
	for (unsigned i = 0; i < 5000; i++) {
		pthread_t threads[4];

		for (unsigned k = 0; k < 4; k++)
			T_CHECK(pthread_create(&threads[k], NULL, be_seen,
			                       (void *)(uintptr_t)(k & 1)) == 0);
		for (unsigned k = 0; k < 4; k++)
			pthread_join(threads[k], NULL);
	}
	while (distinct < 256 && seen[distinct])
		distinct++;
	T_CHECK(seen[0] && distinct <= 32);
	return 0;
}

static void test_stacks_of_the_dead_are_used_again(void **state)
{
	(void)state;
	must_succeed(many_threads, NULL);
}

/* Children */

static _Atomic uintptr_t theirs[8];

static void *use_and_wait(void *arg)
{
	volatile char *at = real_stack().ss_sp;

	at[0] = 77;
	theirs[(uintptr_t)arg] = (uintptr_t)at;
	ready++;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return NULL;
}

static void *take_over(void *arg)
{
	volatile char *at = real_stack().ss_sp;

	(void)arg;
	for (unsigned i = 0; i < 8; i++)
		if (theirs[i] == (uintptr_t)at)
			return (void *)(uintptr_t)(at[0] ? 2 : 0);
	return (void *)1;
}

static int check_child(uintptr_t mine)
{
	pthread_t threads[8];
	void *failed;

	T_CHECK(has_ours(1) && (uintptr_t)real_stack().ss_sp == mine);
	T_CHECK(window_works());
	for (unsigned i = 0; i < 8; i++) {
		T_CHECK(pthread_create(&threads[i], NULL, take_over, NULL) == 0);
		T_CHECK(pthread_join(threads[i], &failed) == 0);
		T_CHECK(!failed);
	}
	T_CHECK((uintptr_t)real_stack().ss_sp == mine);
	return 0;
}

static int fork_with_threads(void *arg)
{
	pthread_t thread;
	uintptr_t mine;
	int status;
	pid_t pid;

	lay();
	T_CHECK(regmap_signal_stacks(0) == 0);
	mine = (uintptr_t)real_stack().ss_sp;
	pthread_mutex_lock(&gate);
	for (uintptr_t i = 0; i < 8; i++)
		T_CHECK(pthread_create(&thread, NULL, use_and_wait, (void *)i) == 0);
	while (ready < 8)
		sched_yield();
	pid = arg ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	if (!pid)
		_exit(check_child(mine));
	T_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	pid = vfork();
	if (!pid)
		_exit(!window_works());
	T_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	T_CHECK(has_ours(1) && (uintptr_t)real_stack().ss_sp == mine);
	return 0;
}

/* The child keeps its own, and finds the others' free and empty. */
static void test_stacks_after_fork(void **state)
{
	(void)state;
	NOT_UNDER(__tsan_init); /* which doesn't support it */
	must_succeed(fork_with_threads, NULL);
}

static void test_stacks_after_a_fork_that_libc_does_not_see(void **state)
{
	(void)state;
	NOT_UNDER(__tsan_init);
	must_succeed(fork_with_threads, "");
}

/* Asked for by several threads at once, with sizes that grow, while others are made. */
static void *ask(void *arg)
{
	pthread_t thread;
	void *failed;

	for (size_t i = 1; i <= 30; i++) {
		size_t bytes = i * 32768;

		if (regmap_signal_stacks(bytes) || !has_ours(bytes) ||
		    pthread_create(&thread, NULL, check_new, (void *)bytes) ||
		    pthread_join(thread, &failed) || failed)
			return (void *)1;
	}
	return arg;
}

static int ask_at_once(void *arg)
{
	pthread_t threads[4];
	void *failed;

	(void)arg;
	for (unsigned i = 0; i < 4; i++)
		T_CHECK(pthread_create(&threads[i], NULL, ask, NULL) == 0);
	for (unsigned i = 0; i < 4; i++)
		T_CHECK(pthread_join(threads[i], &failed) == 0 && !failed);
	return 0;
}

static void test_stacks_asked_for_at_once(void **state)
{
	(void)state;
	NOT_UNDER(__tsan_init); /* an instrumented handler, in threads that it doesn't know yet */
	must_succeed(ask_at_once, NULL);
}

/* No room for a stack is no room for a thread. */
static int no_room(void *arg)
{
	const struct rlimit tight = {(size_t)1 << 32, (size_t)1 << 32};
	pthread_t thread;
	thrd_t c11;

	(void)arg;
	T_CHECK(regmap_signal_stacks(0) == 0);
	T_CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
	T_CHECK(regmap_signal_stacks((size_t)1 << 30) == -ENOMEM);
	T_CHECK(pthread_create(&thread, NULL, check_new, NULL) == EAGAIN);
	T_CHECK(thrd_create(&c11, check_new_c11, NULL) == thrd_nomem);
	return 0;
}

static void test_stacks_without_room_are_an_error(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	must_succeed(no_room, NULL);
}

/* ---- The environment ------------------------------------------------------------------------- */

static int run_self(void *arg)
{
	setenv("REGMAP_SIGNAL_STACKS", arg, 1);
	execl("/proc/self/exe", "test_stacks_option", "--environment", NULL);
	return 1;
}

/* In the new program, which calls nothing of ours. */
static int in_environment(void)
{
	pthread_t thread;
	void *failed;
	size_t bytes = strtoull(getenv("REGMAP_SIGNAL_STACKS"), NULL, 0);

	T_CHECK(has_ours(bytes));
	T_CHECK(pthread_create(&thread, NULL, check_new, (void *)bytes) == 0);
	T_CHECK(pthread_join(thread, &failed) == 0 && !failed);
	return 0;
}

static void test_stacks_asked_for_by_the_environment(void **state)
{
	static const char *const nonsense[] = {"", "1", "64k", "-1", "99999999999999999999"};
	struct t_child child;

	(void)state;
	must_succeed(run_self, "0");
	must_succeed(run_self, "300000");
	must_succeed(run_self, "0x20000");
	for (unsigned i = 0; i < 5; i++) {
		t_child_run(&child, run_self, (void *)nonsense[i]);
		assert_non_null(strstr(child.text, "REGMAP_SIGNAL_STACKS"));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(refuse_nonsense),
		T(given_to_the_calling_thread),
		T(given_to_new_threads),
		T(given_to_threads_that_exist),
		T(of_the_dead_are_used_again),
		T(after_fork),
		T(after_a_fork_that_libc_does_not_see),
		T(asked_for_at_once),
		T(without_room_are_an_error),
		T(asked_for_by_the_environment),
	};

	if (argc > 1 && !strcmp(argv[1], "--environment"))
		return in_environment();
	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("stacks_option", tests, NULL, NULL);
}
