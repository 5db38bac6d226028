/* SPDX-License-Identifier: MIT */
/* Whose memory is it? Children of all kinds, born at each step of the question. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arena.h"
#include "src/process.h"
#include "steps.h"

static pid_t forked;
static bool answer;

static void fork_by_libc(void)
{
	forked = fork();
}

static void fork_behind_its_back(void)
{
	forked = (pid_t)syscall(SYS_fork);
}

static void ask(void *unused)
{
	(void)unused;
	answer = regmap__in_vfork_child();
}

static void fork_at_each_step(void (*way)(void))
{
	int n = 0, status;
	bool came;

	do {
		forked = -1;
		came = t_at_step(++n, way, ask, NULL);
		if (forked == 0)
			_exit(answer || regmap__in_vfork_child());
		assert_false(answer || regmap__in_vfork_child());
		if (forked > 0) {
			assert_int_equal(waitpid(forked, &status, 0), forked);
			assert_int_equal(status, 0);
		}
	} while (came);
	assert_true(n > 10);
}

static void test_process_children_have_their_own_memory(void **state)
{
	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* the steps would be theirs */
	fork_at_each_step(fork_by_libc);
	fork_at_each_step(fork_behind_its_back);
}

static void test_process_vfork_children_do_not(void **state)
{
	volatile bool in_child = false;
	int status;
	pid_t pid;

	(void)state;
	if (t_mode_is("tsan"))
		skip(); /* it makes a fork of it */
	pid = vfork();
	if (pid == 0) {
		in_child = regmap__in_vfork_child();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(in_child);
	assert_false(regmap__in_vfork_child());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_children_have_their_own_memory),
		cmocka_unit_test(test_process_vfork_children_do_not),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
