/* SPDX-License-Identifier: MIT */
/* regmap_syscalls(): callbacks, threads and processes. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reach.h"

static sigjmp_buf escape;
static atomic_bool stop; /* what other threads do */

/* --- callbacks --- */

static int call_from_callback(void)
{
	char seen[4];

	hook = NULL;
	put(HOST, "deep", 4);
	assert_int_equal(sys(write, to_pipe, HOST, 4), 4);
	assert_int_equal(sys(read, from_pipe, DEVICE + 64, 4), 4);
	get(DEVICE + 64, seen, 4);
	assert_memory_equal(seen, "deep", 4);
	return 0;
}

static void test_syscalls_callbacks_may_make_them(void **state)
{
	char seen[8];

	(void)state;
	put(DEVICE, "outer", 5);
	hook = call_from_callback;
	assert_int_equal(sys(write, to_pipe, DEVICE, 5), 5);
	assert_int_equal(sys(read, from_pipe, seen, 8), 5);
	assert_memory_equal(seen, "outer", 5);
	hook = call_from_callback;
	assert_int_equal(*(volatile uint8_t *)at(DEVICE), 'o');
}

static int jump_from_callback(void)
{
	hook = NULL;
	siglongjmp(escape, 1);
}

static void test_syscalls_callbacks_may_jump_out(void **state)
{
	unsigned before = mappings();

	(void)state;
	for (volatile int i = 0; i < 100; i++) {
		hook = jump_from_callback;
		if (!sigsetjmp(escape, 1)) {
			sys(write, to_pipe, DEVICE, 4000);
			fail();
		}
	}
	assert_in_range(mappings(), 0, before + 20);
}

/* --- threads and processes --- */

static void *in_thread(void *arg)
{
	put((uintptr_t)arg, "thread", 6);
	return (void *)sys(write, to_pipe, arg, 6);
}

static void test_syscalls_threads_inherit(void **state)
{
	pthread_t id[8];
	char seen[64];
	void *result;

	(void)state;
	not_with_tsan();
	for (int round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&id[i], NULL, in_thread, at(HOST + i * 64)),
			                 0);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(pthread_join(id[i], &result), 0);
			assert_int_equal((long)result, 6);
		}
		assert_int_equal(sys(read, from_pipe, seen, sizeof(seen)), 48);
	}
	assert_int_equal(regmap_syscalls(0), 0);
	assert_int_equal(pthread_create(&id[0], NULL, in_thread, at(HOST)), 0);
	assert_int_equal(pthread_join(id[0], &result), 0);
	assert_int_equal((long)result, -1);
}

static int clone_body(void *arg)
{
	return sys(write, to_pipe, arg, 5) == 5 ? 0 : 1;
}

static void test_syscalls_children_inherit(void **state)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status;
	pid_t child;

	(void)state;
	put(HOST, "child", 5);
	child = fork();
	if (!child)
		_exit(clone_body(at(HOST)));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	child = (pid_t)sys(clone, SIGCHLD, 0L, 0L, 0L, 0L);
	if (!child)
		_exit(clone_body(at(HOST)));
	assert_int_equal(sys(wait4, child, HOST + 100, 0, 0L), child);
	get(HOST + 100, &status, sizeof(status));
	assert_int_equal(status, 0);
	child = clone(clone_body, stack + sizeof(stack), SIGCHLD, at(HOST));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_syscalls_children_that_execute(void **state)
{
	char *const argv[] = {"true", NULL};
	char seen[8] = "";
	int status;
	pid_t child;
	FILE *f;

	(void)state;
	child = vfork();
	if (!child) {
		execv("/bin/true", argv);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(posix_spawn(&child, "/bin/true", NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(posix_spawn(&child, "/bin/nothing such", NULL, NULL, argv, NULL), ENOENT);
	assert_int_equal(system("exit 7"), 7 << 8);
	f = popen("echo out", "r");
	assert_non_null(fgets(seen, sizeof(seen), f));
	assert_string_equal(seen, "out\n");
	assert_int_equal(pclose(f), 0);
	put_text(HOST, "/bin/true");
	child = fork();
	if (!child)
		_exit((int)sys(execve, HOST, argv, NULL));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(sys(write, to_pipe, HOST, 5), 5);
}

static atomic_int blocked_thread;

static void *blocked(void *arg)
{
	atomic_store(&blocked_thread, (int)sys(gettid, 0));
	for (;;)
		if (read(from_pipe, arg, 8) < 0)
			abort();
	return NULL;
}

static void test_syscalls_blocked_threads_can_be_cancelled(void **state)
{
	static char mine[8];
	void *const where[] = {mine, at(HOST), at(DEVICE), at(LARGE)};

	(void)state;
	not_with_tsan();
	for (unsigned i = 0; i < 40; i++) {
		pthread_t id;
		void *result;

		atomic_store(&blocked_thread, 0);
		assert_int_equal(pthread_create(&id, NULL, blocked, where[i % 4]), 0);
		while (!atomic_load(&blocked_thread) || !sleeps(atomic_load(&blocked_thread)))
			sched_yield();
		assert_int_equal(pthread_cancel(id), 0);
		assert_int_equal(pthread_join(id, &result), 0);
		assert_ptr_equal(result, PTHREAD_CANCELED);
	}
}

/* Signals to threads that make all kinds of calls all the time. */
static void *busy(void *arg)
{
	uint64_t mine = DEVICE + 64 * (uintptr_t)arg;
	unsigned n = 0;
	int ends[2];
	char seen[32];

	if (pipe(ends))
		abort();
	for (; !atomic_load(&stop) || n < 100; n++) {
		long sent, got;

		while ((sent = sys(write, ends[1], mine, 32)) < 0 && errno == EINTR)
			;
		while ((got = sys(read, ends[0], n % 2 ? mine : (uintptr_t)seen, 32)) < 0 &&
		       errno == EINTR)
			;
		if (sent != 32 || got != 32 || sys(getpid, 0) != getpid())
			abort();
	}
	close(ends[0]);
	close(ends[1]);
	return (void *)(uintptr_t)n;
}

static void test_syscalls_in_a_hail_of_signals(void **state)
{
	pthread_t id[4];
	void *n;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_RESTART | SA_NODEFER);
	catch_signal(SIGUSR2, on_signal, 0);
	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&id[i], NULL, busy, (void *)i), 0);
	for (unsigned i = 0; i < 4000; i++)
		pthread_kill(id[i % 4], i % 3 ? SIGUSR1 : SIGUSR2);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(id[i], &n), 0);
		assert_true((uintptr_t)n >= 100);
	}
	assert_true(caught > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(callbacks_may_make_them), TEST(callbacks_may_jump_out),
		TEST(threads_inherit),         TEST(children_inherit),
		TEST(children_that_execute),   TEST(blocked_threads_can_be_cancelled),
		TEST(in_a_hail_of_signals),
	};

	return cmocka_run_group_tests_name("syscalls_threads", tests, lay_all, NULL);
}
