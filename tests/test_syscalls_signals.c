/* SPDX-License-Identifier: MIT */
/* regmap_syscalls(): signals come between, are masked, and jumped out of. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "child.h"
#include "reach.h"

/* --- signals --- */

static sigjmp_buf escape;
static atomic_bool stop; /* what other threads do */

static void on_signal_jump(int signo)
{
	on_signal(signo);
	siglongjmp(escape, 1);
}

/* Another thread, which sends signals to the first one whenever that sleeps. */
static struct poker {
	pthread_t id;
	pid_t target;
	int signo, times;
	const char *text; /* written to the pipe at last, unless NULL */
} poker;

static void *poke(void *arg)
{
	struct poker *p = arg;

	for (int i = 0; i < p->times; i++) {
		int before = caught;

		while (!sleeps(p->target))
			sched_yield();
		sys(tgkill, getpid(), p->target, p->signo);
		while (caught == before)
			sched_yield();
	}
	while (p->text && !sleeps(p->target))
		sched_yield();
	if (p->text && write(to_pipe, p->text, strlen(p->text)) < 0)
		abort();
	return NULL;
}

static void start_poker(int signo, int times, const char *text)
{
	poker.target = (pid_t)sys(gettid, 0);
	poker.signo = signo;
	poker.times = times;
	poker.text = text;
	assert_int_equal(pthread_create(&poker.id, NULL, poke, &poker), 0);
}

static void end_poker(void)
{
	assert_int_equal(pthread_join(poker.id, NULL), 0);
}

static void test_syscalls_interrupted_reads_say_so(void **state)
{
	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, 0);
	for (unsigned p = 0; p < PLACES; p++) {
		char mine[8];

		start_poker(SIGUSR1, 1, NULL);
		assert_failed(sys(read, from_pipe, places[p], 8), EINTR);
		end_poker();
		start_poker(SIGUSR1, 1, NULL);
		assert_failed(sys(read, from_pipe, mine, 8), EINTR);
		end_poker();
	}
	assert_int_equal(caught, 2 * PLACES);
}

static void test_syscalls_interrupted_reads_restart(void **state)
{
	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_RESTART);
	for (unsigned p = 0; p < PLACES; p++) {
		char mine[8] = "";

		start_poker(SIGUSR1, 5, "data");
		assert_int_equal(sys(read, from_pipe, places[p], 8), 4);
		holds(places[p], "data", 4);
		end_poker();
		start_poker(SIGUSR1, 5, "more");
		assert_int_equal(sys(read, from_pipe, mine, 8), 4);
		assert_string_equal(mine, "more");
		end_poker();
	}
	assert_int_equal(caught, 10 * PLACES);
}

static void test_syscalls_interrupted_sleep_tells_the_rest(void **state)
{
	struct timespec hour = {3600, 0}, rest = {0, 0};

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_RESTART);
	put(HOST, &hour, sizeof(hour));
	put(HOST + 64, &rest, sizeof(rest));
	start_poker(SIGUSR1, 1, NULL);
	assert_failed(sys(nanosleep, HOST, HOST + 64), EINTR);
	end_poker();
	get(HOST + 64, &rest, sizeof(rest));
	assert_in_range(rest.tv_sec, 3000, 3600);
	start_poker(SIGUSR1, 1, NULL);
	assert_failed(sys(clock_nanosleep, CLOCK_MONOTONIC, 0, &hour, &rest), EINTR);
	end_poker();
}

static void test_syscalls_jumps_out_of_reads_leave_nothing(void **state)
{
	unsigned before = mappings();

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal_jump, 0);
	for (volatile int i = 0; i < 200; i++) {
		start_poker(SIGUSR1, 1, NULL);
		if (!sigsetjmp(escape, 1)) {
			sys(read, from_pipe, i % 2 ? LARGE : HOST, 1 << (i % 12));
			fail();
		}
		end_poker();
	}
	assert_int_equal(caught, 200);
	assert_in_range(mappings(), 0, before + 20);
}

static void test_syscalls_handlers_return_from_anywhere(void **state)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)}, seen;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_NODEFER);
	catch_signal(SIGUSR2, on_signal, SA_ONSTACK | SA_RESETHAND);
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
	assert_int_equal(sigaltstack(NULL, &seen), 0);
	assert_ptr_equal(seen.ss_sp, stack);
	for (int i = 0; i < 100; i++)
		assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(raise(SIGUSR2), 0);
	assert_int_equal(sigaltstack(NULL, &seen), 0);
	assert_ptr_equal(seen.ss_sp, stack);
	assert_int_equal(caught, 101);
	put(DEVICE, "alt", 3);
	assert_int_equal(sys(write, to_pipe, DEVICE, 3), 3);
	alternate.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
}

static void test_syscalls_masks_are_what_the_program_set(void **state)
{
	uint64_t all = ~0ULL, none = 0, seen,
		 want = ~(1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1));
	sigset_t set, old;

	(void)state;
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, &all, NULL, 8), 0);
	assert_int_equal(sys(rt_sigprocmask, SIG_BLOCK, NULL, &seen, 8), 0);
	assert_true(seen == want);
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3); /* SIGSYS and SIGSEGV, for all that */
	put(DEVICE, "mask", 4);
	assert_int_equal(*(volatile uint8_t *)at(HOST), host[0]);
	sigfillset(&set);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &set, &old), 0);
	assert_true(sigismember(&old, SIGSYS) && sigismember(&old, SIGSEGV));
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, &none, &seen, 8), 0);
	assert_true(seen == (want & ~(3ULL << 31)) || seen == want);
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, NULL, &seen, 8), 0);
	assert_true(seen == 0);
	assert_failed(sys(rt_sigprocmask, 99, &all, NULL, 8), EINVAL);
	assert_failed(sys(rt_sigprocmask, SIG_SETMASK, &all, NULL, 9), EINVAL);
	assert_failed(sys(rt_sigprocmask, SIG_SETMASK, 8L, NULL, 8), EFAULT);
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, NULL, HOST, 8), 0);
	holds(HOST, &none, 8);
}

static void test_syscalls_waits_with_another_mask(void **state)
{
	uint64_t others = ~(1ULL << (SIGUSR1 - 1));
	struct {
		const uint64_t *mask;
		size_t size;
	} pair = {&others, 8};
	sigset_t usr1;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, 0);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	assert_int_equal(sigprocmask(SIG_BLOCK, &usr1, NULL), 0);
	for (int i = 0; i < 10; i++) {
		raise(SIGUSR1);
		assert_failed(sys(rt_sigsuspend, &others, 8), EINTR);
		raise(SIGUSR1);
		assert_failed(sys(ppoll, NULL, 0, NULL, &others, 8), EINTR);
		raise(SIGUSR1);
		assert_failed(sys(pselect6, 0, NULL, NULL, NULL, NULL, &pair), EINTR);
		put(HOST, &others, 8);
		raise(SIGUSR1);
		assert_failed(sys(rt_sigsuspend, HOST, 8), EINTR);
	}
	assert_int_equal(caught, 40);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &usr1, NULL), 0);
}

static volatile int sys_code;

static void on_sigsys(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)uc;
	sys_code = info->si_code;
	caught++;
}

static void test_syscalls_the_program_has_its_own_sigsys(void **state)
{
	struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO}, seen;
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} raw = {on_sigsys, SA_SIGINFO, NULL, 0}, old;
	sigset_t set, was;

	(void)state;
	not_with_tsan();
	caught = 0;
	assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
	assert_int_equal(sigaction(SIGSYS, NULL, &seen), 0);
	assert_ptr_equal(seen.sa_sigaction, on_sigsys);
	assert_int_equal(raise(SIGSYS), 0);
	assert_int_equal(caught, 1);
	assert_int_equal(sys_code, SI_TKILL);
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, &was), 0);
	assert_int_equal(raise(SIGSYS), 0);
	assert_int_equal(caught, 1);
	assert_int_equal(sigprocmask(SIG_SETMASK, &was, NULL), 0);
	assert_int_equal(caught, 2);
	assert_int_equal(sys(rt_sigaction, SIGSYS, NULL, &old, 8), 0);
	assert_ptr_equal(old.handler, on_sigsys);
	raw.handler = SIG_IGN;
	assert_int_equal(sys(rt_sigaction, SIGSYS, &raw, NULL, 8), 0);
	assert_int_equal(raise(SIGSYS), 0);
	assert_int_equal(caught, 2);
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
	assert_ptr_equal(signal(SIGSYS, SIG_DFL), SIG_IGN);
}

/* Whoever sets an action must not wait for itself when a SIGSYS comes in between. */
static void *send_sigsys(void *arg)
{
	while (!atomic_load(&stop))
		pthread_kill(*(pthread_t *)arg, SIGSYS);
	return NULL;
}

static void test_syscalls_sent_sigsys_while_actions_change(void **state)
{
	struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
	pthread_t me = pthread_self(), sender;

	(void)state;
	not_with_tsan();
	caught = 0;
	assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&sender, NULL, send_sigsys, &me), 0);
	for (unsigned i = 0; i < 3000 || caught < 10; i++) {
		catch_quietly(SIGUSR1, on_signal, 0);
		assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
		assert_int_equal(sys(write, -1, HOST, 1), -1);
	}
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(sender, NULL), 0);
	assert_ptr_equal(signal(SIGSYS, SIG_DFL), on_sigsys);
}

/* The program's own filter: it sees the call, and answers it. */
static void on_filtered(int signo, siginfo_t *info, void *uc)
{
	(void)signo;
	sys_code = info->si_code;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RAX] = 4242;
}

static int answer_by_filter(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
	struct sigaction act = {.sa_sigaction = on_filtered, .sa_flags = SA_SIGINFO};

	(void)arg;
	if (sigaction(SIGSYS, &act, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		return 1;
	return sys(getpgid, 0) == 4242 && sys_code == 1 /* SYS_SECCOMP */ &&
	                       sys(write, to_pipe, HOST, 3) == 3 ?
	               0 :
	               2;
}

static void test_syscalls_the_program_has_its_own_filter(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(answer_by_filter, NULL), 0);
}

/* An action that a direct call sets must not block SIGSYS for real. */
static void test_syscalls_direct_actions_leave_sigsys_open(void **state)
{
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} raw, old;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, 0);
	assert_int_equal(sys(rt_sigaction, SIGUSR1, NULL, &raw, 8), 0);
	raw.mask = ~0ULL;
	assert_int_equal(sys(rt_sigaction, SIGUSR1, &raw, &old, 8), 0);
	assert_ptr_equal(old.handler, on_signal);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(caught, 1);
}

/* All was blocked before the thread had its calls dispatched. */
static void *block_and_turn_on(void *arg)
{
	sigset_t all, seen;

	(void)arg;
	sigfillset(&all);
	if (regmap_syscalls(0) || pthread_sigmask(SIG_SETMASK, &all, NULL) || regmap_syscalls(1) ||
	    sys(write, to_pipe, HOST, 3) != 3 || pthread_sigmask(SIG_BLOCK, NULL, &seen) ||
	    !sigismember(&seen, SIGSYS) || sys(write, to_pipe, HOST, 3) != 3)
		return "lost";
	return NULL;
}

static void test_syscalls_masks_from_before(void **state)
{
	pthread_t id;
	void *wrong;

	(void)state;
	not_with_tsan();
	assert_int_equal(pthread_create(&id, NULL, block_and_turn_on, NULL), 0);
	assert_int_equal(pthread_join(id, &wrong), 0);
	assert_null(wrong);
}

/* libc restores what it saved, in whichever form. */
static void test_syscalls_jumps_restore_masks(void **state)
{
	sigset_t all, none, seen;
	volatile int turn = 0;

	(void)state;
	sigfillset(&all);
	sigemptyset(&none);
	assert_int_equal(regmap_syscalls(0), 0);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
	if (!sigsetjmp(escape, 1)) {
		assert_int_equal(regmap_syscalls(1), 0);
		assert_int_equal(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
		siglongjmp(escape, 1);
	}
	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &seen), 0);
	assert_true(sigismember(&seen, SIGSYS) && sigismember(&seen, SIGSEGV));
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
	if (!sigsetjmp(escape, 1)) {
		assert_int_equal(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
		turn++;
		siglongjmp(escape, 1);
	}
	assert_int_equal(turn, 1);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &none, &seen), 0);
	assert_true(sigismember(&seen, SIGSYS) && sigismember(&seen, SIGSEGV));
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
}

/* The new program's mask, as its kernel tells it, and what it exits with. */
static int execute_blocked(void *arg)
{
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, NULL) || sys(write, to_pipe, HOST, 3) != 3)
		return 1;
	execl("/bin/nothing such", "nothing", (char *)NULL);
	execlp("nothing such", "nothing", (char *)NULL);
	if (sys(write, to_pipe, HOST, 3) != 3)
		return 2;
	execlp("sh", "sh", "-c",
	       "mask=$(sed -n 's/^SigBlk:[[:space:]]*//p' /proc/self/status)\n"
	       "test $(( 0x$mask >> 30 & 1 )) = 1 && test $(( 0x$mask >> 10 & 1 )) = 1 && exit 42",
	       (char *)NULL);
	return 3;
}

static void test_syscalls_programs_inherit_a_blocked_sigsys(void **state)
{
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (!child)
		_exit(execute_blocked(NULL));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 42 << 8);
}

/* A handler that runs beside the alternate stack, while each call may lose its dispatch. */
static void test_syscalls_sent_sigsys_off_the_alternate_stack(void **state)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
	pthread_t me = pthread_self(), sender;

	(void)state;
	not_with_tsan();
	caught = 0;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
	assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&sender, NULL, send_sigsys, &me), 0);
	for (unsigned i = 0; i < 20000 || caught < 100; i++) {
		assert_int_equal(sys(getppid, 0), getppid());
		assert_failed(sys(write, -1, HOST, 1), EBADF);
	}
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(sender, NULL), 0);
	assert_ptr_equal(signal(SIGSYS, SIG_DFL), on_sigsys);
	alternate.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
}

static int die_by_sigsys(void *arg)
{
	(void)arg;
	signal(SIGSYS, SIG_DFL); /* cmocka has one */
	raise(SIGSYS);
	return 0;
}

static void test_syscalls_sent_sigsys_kills_by_default(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(die_by_sigsys, NULL), SIGSYS);
}

static void test_syscalls_dispatch_is_not_the_programs(void **state)
{
	(void)state;
	assert_failed(sys(prctl, 59L, 0L, 0L, 0L, 0L), EINVAL);
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(interrupted_reads_say_so),
		TEST(interrupted_reads_restart),
		TEST(interrupted_sleep_tells_the_rest),
		TEST(jumps_out_of_reads_leave_nothing),
		TEST(handlers_return_from_anywhere),
		TEST(masks_are_what_the_program_set),
		TEST(waits_with_another_mask),
		TEST(the_program_has_its_own_sigsys),
		TEST(sent_sigsys_while_actions_change),
		TEST(the_program_has_its_own_filter),
		TEST(direct_actions_leave_sigsys_open),
		TEST(masks_from_before),
		TEST(jumps_restore_masks),
		TEST(programs_inherit_a_blocked_sigsys),
		TEST(sent_sigsys_off_the_alternate_stack),
		TEST(sent_sigsys_kills_by_default),
		TEST(dispatch_is_not_the_programs),
	};

	return cmocka_run_group_tests_name("syscalls_signals", tests, lay_all, NULL);
}
