/* SPDX-License-Identifier: MIT */
/*
 * Signals that come in the middle of a read-modify-write of a device: they wait, as they would for
 * the instruction, whatever kind of handler they have.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lay.h"

enum { RW = REGMAP_READ | REGMAP_WRITE, MOST = 8 };

extern void __tsan_init(void) __attribute__((weak));

#define DEVICE 0xffff910000000000ULL

static unsigned handled, at_store;
static siginfo_t seen[MOST];
static void (*in_load)(void);
static bool interrupted;

static int on_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 41;
	in_load();
	return 0;
}

static int on_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width;
	assert_int_equal(value, 42);
	at_store = handled;
	return 0;
}

static const struct regmap_device_ops ops = {on_read, on_write};

static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

static void on_signal_with_info(int signo, siginfo_t *info, void *ucontext)
{
	(void)ucontext;
	assert_int_equal(info->si_signo, signo);
	seen[handled++ % MOST] = *info;
}

static void set_handler(int signo, int flags)
{
	struct sigaction act = {.sa_flags = flags}, now;

	if (flags & SA_SIGINFO)
		act.sa_sigaction = on_signal_with_info;
	else
		act.sa_handler = on_signal;
	assert_int_equal(sigaction(signo, &act, NULL), 0);
	assert_int_equal(sigaction(signo, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, act.sa_sigaction);
	assert_int_equal(now.sa_flags & ~0x04000000 /* SA_RESTORER */, flags);
}

static void modify(void (*meanwhile)(void))
{
	handled = 0;
	at_store = MOST;
	in_load = meanwhile;
	__asm__ volatile("incq (%0)" : : "r"(DEVICE) : "memory", "cc");
}

static void modify_locked(void (*meanwhile)(void))
{
	handled = 0;
	at_store = MOST;
	in_load = meanwhile;
	__asm__ volatile("lock incq (%0)" : : "r"(DEVICE) : "memory", "cc");
}

static bool is_blocked(int signo)
{
	sigset_t now;

	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
	return sigismember(&now, signo);
}

static void raise_usr1(void)
{
	raise(SIGUSR1);
}

static void test_held_until_the_store_is_done(void **state)
{
	static const int flags[] = {0,
	                            SA_SIGINFO,
	                            SA_RESTART,
	                            SA_NODEFER,
	                            SA_NODEFER | SA_SIGINFO,
	                            SA_RESETHAND,
	                            SA_RESETHAND | SA_SIGINFO};

	(void)state;
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		set_handler(SIGUSR1, flags[i]);
		modify(raise_usr1);
		assert_int_equal(at_store, 0);
		assert_int_equal(handled, 1);
		assert_false(is_blocked(SIGUSR1));
		set_handler(SIGUSR1, flags[i]);
		modify_locked(raise_usr1);
		assert_int_equal(at_store, 0);
		assert_int_equal(handled, 1);
		assert_false(is_blocked(SIGUSR1));
	}
}

static void raise_usr1_often(void)
{
	for (unsigned i = 0; i < 3; i++)
		raise(SIGUSR1);
}

/* As the kernel has it: one of a standard signal is pending, and no more. */
static void test_held_once(void **state)
{
	(void)state;
	set_handler(SIGUSR1, 0);
	modify(raise_usr1_often);
	assert_int_equal(at_store, 0);
	assert_int_equal(handled, 1);
}

static void queue_three(void)
{
	for (int i = 0; i < 3; i++)
		assert_int_equal(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i}),
		                 0);
}

static void test_held_with_what_they_say(void **state)
{
	(void)state;
	set_handler(SIGRTMIN + 1, SA_SIGINFO);
	modify(queue_three);
	assert_int_equal(at_store, 0);
	assert_int_equal(handled, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(seen[i].si_code, SI_QUEUE);
		assert_int_equal(seen[i].si_pid, getpid());
		assert_int_equal(seen[i].si_value.sival_int, i);
	}
}

static pid_t child;

static void have_a_child(void)
{
	int status;

	child = fork();
	if (!child)
		_exit(7);
	while (waitpid(child, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
}

/* Codes that nobody but the kernel may send. */
static void test_held_with_what_the_kernel_says(void **state)
{
	(void)state;
	set_handler(SIGCHLD, SA_SIGINFO);
	modify(have_a_child);
	assert_int_equal(at_store, 0);
	assert_int_equal(handled, 1);
	assert_int_equal(seen[0].si_code, CLD_EXITED);
	assert_int_equal(seen[0].si_pid, child);
	assert_int_equal(seen[0].si_status, 7);
	signal(SIGCHLD, SIG_DFL);
}

static void raise_int(void)
{
	raise(SIGINT);
}

static void test_held_but_for_those_that_end_programs(void **state)
{
	(void)state;
	set_handler(SIGINT, 0);
	modify(raise_int);
	assert_int_equal(at_store, 1);
	assert_int_equal(handled, 1);
	signal(SIGINT, SIG_DFL);
}

static void interrupt(int signo)
{
	(void)signo;
	raise(SIGUSR1);
	interrupted = true;
}

/* Nor does the return from the handler of another one let them in. */
static void test_held_behind_other_handlers(void **state)
{
	(void)state;
	interrupted = false;
	set_handler(SIGUSR1, 0);
	signal(SIGINT, interrupt);
	modify(raise_int);
	assert_true(interrupted);
	assert_int_equal(at_store, 0);
	assert_int_equal(handled, 1);
	assert_false(is_blocked(SIGUSR1));
	signal(SIGINT, SIG_DFL);
}

static void wait_for_it(void)
{
	sigset_t block, before;

	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &block, &before);
	raise(SIGUSR1);
	assert_int_equal(handled, 0);
	while (!handled)
		sigsuspend(&before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A callback that waits for one gets it. */
static void test_held_unless_waited_for(void **state)
{
	(void)state;
	set_handler(SIGUSR1, 0);
	modify(wait_for_it);
	assert_int_equal(handled, 1);
	assert_int_equal(at_store, 1);
	assert_false(is_blocked(SIGUSR1));
}

static void wait_openly(void)
{
	sigset_t none;

	sigemptyset(&none);
	raise(SIGUSR1);
	while (!handled)
		sigsuspend(&none);
}

static void test_held_until_opened_for(void **state)
{
	(void)state;
	set_handler(SIGUSR1, 0);
	modify(wait_openly);
	assert_int_equal(handled, 1);
	assert_int_equal(at_store, 1);
	assert_false(is_blocked(SIGUSR1));
}

static jmp_buf away;

static void raise_and_leave(void)
{
	raise(SIGUSR1);
	assert_int_equal(handled, 0);
	longjmp(away, 1);
}

/* longjmp() knows nothing of masks: nothing stays blocked, and what waited comes. */
static void test_held_no_longer_than_the_callback(void **state)
{
	(void)state;
	set_handler(SIGUSR1, 0);
	if (!setjmp(away)) {
		modify(raise_and_leave);
		fail();
	}
	assert_int_equal(handled, 1);
	assert_int_equal(at_store, MOST);
	assert_false(is_blocked(SIGUSR1));
	if (!setjmp(away)) {
		modify_locked(raise_and_leave);
		fail();
	}
	assert_int_equal(handled, 1);
	assert_false(is_blocked(SIGUSR1));
}

static void test_held_not_by_loads(void **state)
{
	uint64_t value;

	(void)state;
	set_handler(SIGUSR1, 0);
	handled = 0;
	in_load = raise_usr1;
	__asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(DEVICE) : "memory");
	assert_int_equal(value, 41);
	assert_int_equal(handled, 1);
	assert_false(is_blocked(SIGUSR1));
}

static int lay_all(void **state)
{
	(void)state;
	return t_lay_device("device", DEVICE, 64, &ops, NULL);
}

#define T(name) cmocka_unit_test(test_held_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(until_the_store_is_done),
		T(once),
		T(with_what_they_say),
		T(with_what_the_kernel_says),
		T(but_for_those_that_end_programs),
		T(behind_other_handlers),
		T(unless_waited_for),
		T(until_opened_for),
		T(no_longer_than_the_callback),
		T(not_by_loads),
	};

	if (__tsan_init)
		return 77; /* it keeps signals for as long as it likes */
	return cmocka_run_group_tests_name("held", tests, lay_all, NULL);
}
