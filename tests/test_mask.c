/* SPDX-License-Identifier: MIT */
/*
 * Masks, and waiting with masks and for signals: what a program sees with windows mapped is what it
 * sees under the bare kernel.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "twice.h"

/* SIGRTMIN to SIGRTMAX are too many to tell apart; the rest of a mask must be exact. */
static void note_masks(const ucontext_t *uc)
{
	t_note((int64_t)t_mask());
	if (uc)
		t_note((int64_t)t_word(&uc->uc_sigmask));
}

static void on_signal(int signo, siginfo_t *info, void *uc)
{
	t_use_window();
	t_note(signo);
	t_note(info->si_code);
	t_note(info->si_pid == getpid());
	note_masks(uc);
}

static void install(int signo, const sigset_t *mask)
{
	struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

	if (mask)
		act.sa_mask = *mask;
	t_c.sigaction(signo, &act, NULL);
}

static void block(int signo)
{
	sigset_t set = t_set(signo, 0);

	t_c.sigprocmask(SIG_BLOCK, &set, NULL);
}

static void unblock(int signo)
{
	sigset_t set = t_set(signo, 0);

	t_c.sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void note_result(int result)
{
	t_note(result);
	t_note(result < 0 ? errno : 0);
	t_note((int64_t)t_mask());
	t_use_window();
}

/* Our handler comes in front with the first mask already, and must be as good without a window. */
static void in_front(int (*body)(void *))
{
	t_twice(T_MAPPED_BEFORE, body, NULL);
	t_twice(T_MAPPED_BY_BODY, body, NULL);
}

/* Waits with a mask */

static int wait_suspend(const sigset_t *set)
{
	return t_c.sigsuspend(set);
}

static const struct timespec minute = {60, 0};

static int wait_pselect(const sigset_t *set)
{
	return t_c.pselect(0, NULL, NULL, NULL, &minute, set);
}

static int wait_ppoll(const sigset_t *set)
{
	return t_c.ppoll(NULL, 0, &minute, set);
}

static int wait_epoll(const sigset_t *set)
{
	struct epoll_event event;

	return t_c.epoll_pwait(epoll_create1(0), &event, 1, 60000, set);
}

static int wait_epoll2(const sigset_t *set)
{
	struct epoll_event event;

	return t_c.epoll_pwait2(epoll_create1(0), &event, 1, &minute, set);
}

typedef int (*wait_fn)(const sigset_t *);
static const wait_fn waits[] = {wait_suspend, wait_pselect, wait_ppoll, wait_epoll, wait_epoll2};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

/* A handler runs in the wait, under the mask of the wait, and accesses a window. */
static int wait_for_other(void *arg)
{
	const wait_fn *wait = arg;
	sigset_t all, none = t_set(0), segv = t_set(SIGSEGV, 0);

	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	install(SIGUSR1, NULL);
	block(SIGUSR1);
	raise(SIGUSR1);
	note_result((*wait)(&all));
	raise(SIGUSR1);
	note_result((*wait)(&none));
	raise(SIGUSR1);
	note_result((*wait)(&segv));
	block(SIGSEGV);
	raise(SIGUSR1);
	note_result((*wait)(&all));
	raise(SIGUSR1);
	note_result((*wait)(&none));
	return 0;
}

/* What waits, blocked, is delivered on entry and ends the wait. */
static int wait_for_pending(void *arg)
{
	const wait_fn *wait = arg;
	const int signals[] = {SIGSEGV, SIGBUS};
	sigset_t none = t_set(0), full;

	sigfillset(&full);
	for (unsigned i = 0; i < 2; i++) {
		install(signals[i], i ? &full : NULL);
		block(signals[i]);
		kill(getpid(), signals[i]);
		t_note(0);
		note_result((*wait)(&none));
		raise(signals[i]);
		note_result((*wait)(&none));
		unblock(signals[i]);
	}
	return 0;
}

static pid_t send_later(int signo)
{
	pid_t parent = getpid(), child = fork();

	if (!child) {
		t_send_when_asleep(parent, signo);
		_exit(0);
	}
	return child;
}

/* One that comes while it waits */
static int wait_for_arrival(void *arg)
{
	const wait_fn *wait = arg;
	sigset_t none = t_set(0);
	int status;

	install(SIGSEGV, NULL);
	block(SIGSEGV);
	send_later(SIGSEGV);
	note_result((*wait)(&none));
	while (waitpid(-1, &status, 0) < 0)
		;
	t_note(status);
	return 0;
}

static void test_mask_of_a_wait_is_swapped(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WAITS; i++) {
		t_twice(T_MAPPED_BEFORE, wait_for_other, (void *)(uintptr_t)&waits[i]);
		t_twice(T_MAPPED_BEFORE, wait_for_pending, (void *)(uintptr_t)&waits[i]);
		t_twice(T_MAPPED_BEFORE, wait_for_arrival, (void *)(uintptr_t)&waits[i]);
	}
}

static int wait_in_vain(void *arg)
{
	const struct timespec now = {0, 1000};
	struct epoll_event event;
	sigset_t all;
	int fd = epoll_create1(0);

	(void)arg;
	sigfillset(&all);
	note_result(t_c.pselect(0, NULL, NULL, NULL, &now, &all));
	note_result(t_c.pselect(0, NULL, NULL, NULL, &now, NULL));
	note_result(t_c.ppoll(NULL, 0, &now, &all));
	note_result(t_c.ppoll(NULL, 0, &now, NULL));
	note_result(t_c.epoll_pwait(fd, &event, 1, 1, &all));
	note_result(t_c.epoll_pwait2(fd, &event, 1, &now, NULL));
	note_result(t_c.pselect(-1, NULL, NULL, NULL, &now, &all));
	note_result(t_c.epoll_pwait(-1, &event, 1, 1, &all));
	t_note(now.tv_nsec);
	return 0;
}

static void test_mask_waits_time_out_and_fail(void **state)
{
	(void)state;
	t_twice(T_MAPPED_BEFORE, wait_in_vain, NULL);
}

static int pause_as_of_old(void *arg)
{
	(void)arg;
	install(SIGUSR1, NULL);
	install(SIGSEGV, NULL);
	t_note(t_c.sigblock(1 << (SIGUSR1 - 1) | 1 << (SIGSEGV - 1)));
	t_note(t_c.siggetmask());
	raise(SIGUSR1);
	note_result(t_c.bsd_sigpause(1 << (SIGSEGV - 1)));
	raise(SIGSEGV);
	note_result(t_c.xpg_sigpause(SIGSEGV));
	note_result(t_c.xpg_sigpause(-1));
	t_note(t_c.sigsetmask(1 << (SIGBUS - 1)));
	t_note(t_c.siggetmask());
	note_masks(NULL);
	return 0;
}

static void test_mask_bsd_and_xpg_calls_agree(void **state)
{
	(void)state;
	in_front(pause_as_of_old);
}

/* Pending and waiting for signals */

static void note_pending(void)
{
	sigset_t pending;

	t_note(t_c.sigpending(&pending));
	t_note((int64_t)t_word(&pending));
}

static int keep_pending(void *arg)
{
	union sigval value = {.sival_int = 7};

	(void)arg;
	install(SIGSEGV, NULL);
	install(SIGBUS, NULL);
	block(SIGSEGV);
	block(SIGBUS);
	note_pending();
	raise(SIGSEGV);
	note_pending();
	kill(getpid(), SIGBUS);
	kill(getpid(), SIGBUS);
	note_pending();
	unblock(SIGSEGV);
	note_pending();
	unblock(SIGBUS);
	note_pending();
	block(SIGSEGV);
	sigqueue(getpid(), SIGSEGV, value);
	note_pending();
	unblock(SIGSEGV);
	return 0;
}

static void note_info(int result, const siginfo_t *info)
{
	note_result(result);
	t_note(info->si_signo);
	t_note(info->si_code);
	t_note(info->si_errno);
	t_note(info->si_pid == getpid());
	t_note(info->si_uid == getuid());
	t_note(info->si_value.sival_int);
}

static int take(void *arg)
{
	sigset_t set = t_set(SIGSEGV, SIGBUS, SIGUSR2, 0), bus = t_set(SIGBUS, 0);
	const struct timespec none = {0, 0};
	union sigval value = {.sival_int = 42};
	siginfo_t info;
	int signo = 0;

	(void)arg;
	install(SIGSEGV, NULL);
	t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	memset(&info, 0, sizeof(info));
	note_info(t_c.sigtimedwait(&set, &info, &none), &info);
	sigqueue(getpid(), SIGSEGV, value);
	note_info(t_c.sigtimedwait(&bus, &info, &none), &info);
	note_info(t_c.sigwaitinfo(&set, &info), &info);
	sigqueue(getpid(), SIGBUS, value);
	note_info(t_c.sigtimedwait(&set, &info, &minute), &info);
	raise(SIGUSR2);
	note_result(t_c.sigwaitinfo(&set, NULL));
	raise(SIGSEGV);
	t_note(t_c.sigwait(&set, &signo));
	t_note(signo);
	note_pending();
	return 0;
}

/* One that is sent while the thread waits for it */
static int take_arriving(void *arg)
{
	sigset_t set = t_set(SIGSEGV, 0);
	siginfo_t info;
	int status;

	(void)arg;
	t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	send_later(SIGSEGV);
	t_note(t_c.sigwaitinfo(&set, &info));
	t_note(info.si_code);
	while (waitpid(-1, &status, 0) < 0)
		;
	t_note(status);
	note_pending();
	return 0;
}

static void test_mask_keeps_sent_signals_pending(void **state)
{
	(void)state;
	in_front(keep_pending);
	in_front(take);
	t_twice(T_MAPPED_BEFORE, take_arriving, NULL);
}

/* The record shows a stand-in's number (docs/limits.md); all else is as it should be. */
static int read_signalfd(void *arg)
{
	sigset_t set = t_set(SIGSEGV, 0);
	struct signalfd_siginfo record;
	int fd;

	(void)arg;
	t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	fd = t_c.signalfd(-1, &set, SFD_NONBLOCK);
	t_note(read(fd, &record, sizeof(record)));
	kill(getpid(), SIGSEGV);
	t_note(read(fd, &record, sizeof(record)));
	t_note(record.ssi_pid == (uint32_t)getpid());
	note_pending();
	t_note(t_c.signalfd(-1, &set, -1) < 0 ? errno : 0);
	return 0;
}

static void test_mask_signalfd_is_readable(void **state)
{
	(void)state;
	t_twice(T_MAPPED_BEFORE, read_signalfd, NULL);
}

/* Threads */

static void *wait_in_thread(void *arg)
{
	sigset_t set = t_set(SIGSEGV, 0);
	siginfo_t info;

	(void)arg;
	t_note(t_c.sigwaitinfo(&set, &info));
	t_note(info.si_code);
	t_note((int64_t)t_mask());
	return NULL;
}

static int take_in_thread(void *arg)
{
	sigset_t set = t_set(SIGSEGV, SIGUSR1, 0);
	pthread_t thread;

	(void)arg;
	t_c.pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&thread, NULL, wait_in_thread, NULL);
	kill(getpid(), SIGSEGV);
	pthread_join(thread, NULL);
	note_pending();
	return 0;
}

static pthread_t receiver;
static int told[2];

static void on_sent(int signo, siginfo_t *info, void *uc)
{
	(void)uc;
	t_use_window();
	t_note(signo);
	t_note(info->si_code);
	t_note(pthread_equal(pthread_self(), receiver));
	if (write(told[1], "", 1) != 1)
		_exit(1);
}

static void await_told(void)
{
	char c;

	while (read(told[0], &c, 1) < 0)
		;
}

static void *open_and_wait(void *arg)
{
	unblock(SIGSEGV);
	if (write(((int *)arg)[1], "", 1) != 1)
		_exit(1);
	await_told();
	t_note((int64_t)t_mask());
	return NULL;
}

/* The kernel gives a signal of the process's to a thread that has not blocked it. */
static int choose_thread(void *arg)
{
	struct sigaction act = {.sa_sigaction = on_sent, .sa_flags = SA_SIGINFO};
	int ready[2];
	char c;

	(void)arg;
	t_c.sigaction(SIGSEGV, &act, NULL);
	block(SIGSEGV);
	if (pipe(told) || pipe(ready))
		return 1;
	pthread_create(&receiver, NULL, open_and_wait, ready);
	while (read(ready[0], &c, 1) < 0)
		;
	kill(getpid(), SIGSEGV);
	pthread_join(receiver, NULL);
	note_pending();
	return 0;
}

/* To a thread is to that thread. */
static int keep_for_thread(void *arg)
{
	struct sigaction act = {.sa_sigaction = on_sent, .sa_flags = SA_SIGINFO};
	int ready[2];
	char c;

	(void)arg;
	t_c.sigaction(SIGSEGV, &act, NULL);
	block(SIGSEGV);
	if (pipe(told) || pipe(ready))
		return 1;
	pthread_create(&receiver, NULL, open_and_wait, ready);
	while (read(ready[0], &c, 1) < 0)
		;
	pthread_kill(pthread_self(), SIGSEGV);
	note_pending();
	pthread_kill(receiver, SIGSEGV);
	pthread_join(receiver, NULL);
	receiver = pthread_self();
	unblock(SIGSEGV);
	note_pending();
	return 0;
}

static void *access_all_blocked(void *arg)
{
	pthread_barrier_t *go = arg;

	pthread_barrier_wait(go);
	pthread_barrier_wait(go);
	t_use_window();
	t_note((int64_t)t_mask());
	return NULL;
}

/* A pool of threads with everything blocked, born before the first window is mapped */
static int map_late(void *arg)
{
	pthread_barrier_t go;
	pthread_t thread;
	sigset_t all, old;

	(void)arg;
	pthread_barrier_init(&go, NULL, 2);
	sigfillset(&all);
	t_c.pthread_sigmask(SIG_BLOCK, &all, &old);
	pthread_create(&thread, NULL, access_all_blocked, &go);
	t_c.pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_barrier_wait(&go);
	t_map_now();
	pthread_barrier_wait(&go);
	pthread_join(thread, NULL);
	return 0;
}

static void test_mask_is_each_threads_own(void **state)
{
	(void)state;
	t_twice(T_MAPPED_BEFORE, take_in_thread, NULL);
	in_front(choose_thread);
	in_front(keep_for_thread);
	t_twice(T_MAPPED_BY_BODY, map_late, NULL);
}

/* Jumps and contexts carry masks along. */

static sigjmp_buf out;
static void jump(int signo)
{
	t_note(signo);
	t_use_window();
	siglongjmp(out, 1);
}

static int jump_with_mask(void *arg)
{
	(void)arg;
	if (!sigsetjmp(out, 1)) {
		block(SIGSEGV);
		t_note((int64_t)t_mask());
		siglongjmp(out, 1);
	}
	t_note((int64_t)t_mask());
	block(SIGSEGV);
	if (!sigsetjmp(out, 1)) {
		unblock(SIGSEGV);
		t_note((int64_t)t_mask());
		siglongjmp(out, 1);
	}
	t_note((int64_t)t_mask());
	t_use_window();
	t_c.signal(SIGSEGV, jump);
	raise(SIGSEGV);
	note_pending();
	if (!sigsetjmp(out, 0))
		unblock(SIGSEGV);
	t_note((int64_t)t_mask()); /* of the handler: not restored */
	if (!sigsetjmp(out, 1))
		t_touch_wild(); /* kills */
	return 0;
}

static int jump_and_fault(void *arg)
{
	(void)arg;
	t_c.signal(SIGSEGV, jump);
	for (volatile int i = 0; i < 3; i++) {
		if (!sigsetjmp(out, 1))
			t_touch_wild();
		t_note((int64_t)t_mask());
	}
	if (!sigsetjmp(out, 1)) {
		block(SIGBUS);
		t_touch_wild();
	}
	t_note((int64_t)t_mask());
	return 0;
}

static ucontext_t here, there;
static void in_context(void)
{
	t_note((int64_t)t_mask());
	t_use_window();
	block(SIGBUS);
	swapcontext(&there, &here);
	t_note((int64_t)t_mask());
	t_use_window();
}

static int swap(void *arg)
{
	static char stack[65536];

	(void)arg;
	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	there.uc_link = &here;
	makecontext(&there, in_context, 0);
	block(SIGSEGV);
	block(SIGUSR1);
	swapcontext(&here, &there);
	t_note((int64_t)t_mask());
	t_use_window();
	swapcontext(&here, &there);
	t_note((int64_t)t_mask());
	t_use_window();
	return 0;
}

static void test_mask_travels_with_jumps_and_contexts(void **state)
{
	(void)state;
	in_front(jump_with_mask);
	in_front(jump_and_fault);
	in_front(swap);
}

/* Handlers' masks */

static void raise_inside(int signo)
{
	t_note(signo);
	note_masks(NULL);
	raise(SIGSEGV);
	raise(SIGBUS);
	t_use_window();
	note_pending();
	t_note(-signo);
}

static int defer(void *arg)
{
	struct sigaction act = {.sa_handler = raise_inside};

	install(SIGSEGV, NULL);
	install(SIGBUS, NULL);
	if (arg)
		sigfillset(&act.sa_mask);
	else
		act.sa_mask = t_set(SIGSEGV, SIGHUP, 0);
	t_c.sigaction(SIGUSR1, &act, NULL);
	t_map_now();
	t_c.sigaction(SIGUSR1, NULL, &act);
	t_note((int64_t)t_word(&act.sa_mask));
	raise(SIGUSR1);
	note_masks(NULL);
	return 0;
}

static void change_saved_mask(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)info;
	t_note(signo);
	t_note((int64_t)t_word(&uc->uc_sigmask));
	sigaddset(&uc->uc_sigmask, SIGBUS);
	sigdelset(&uc->uc_sigmask, SIGUSR2);
}

static int edit(void *arg)
{
	struct sigaction act = {.sa_sigaction = change_saved_mask, .sa_flags = SA_SIGINFO}, back;
	const int signals[] = {SIGSEGV, SIGUSR1, SIGFPE};

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		t_c.sigaction(signals[i], &act, NULL);
		block(SIGUSR2);
		kill(getpid(), signals[i]);
		note_masks(NULL);
		t_use_window();
		unblock(SIGBUS);
		t_c.sigaction(signals[i], NULL, &back);
		t_note(back.sa_sigaction == change_saved_mask && back.sa_flags == act.sa_flags);
	}
	return 0;
}

static void add_sigsegv(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	t_note((int64_t)t_word(&uc->uc_sigmask));
	sigaddset(&uc->uc_sigmask, SIGSEGV);
}

/* Set before our handler comes in front, read back and run after it */
static int outlive(void *arg)
{
	struct sigaction act = {.sa_sigaction = add_sigsegv,
	                        .sa_flags = (int)SA_RESETHAND | SA_SIGINFO};
	struct sigaction back;

	(void)arg;
	sigfillset(&act.sa_mask);
	t_c.sigaction(SIGUSR1, &act, NULL);
	t_map_now();
	t_c.sigaction(SIGUSR1, NULL, &back);
	t_note(back.sa_sigaction == add_sigsegv);
	t_note((int64_t)t_word(&back.sa_mask));
	raise(SIGUSR1);
	t_use_window();
	note_masks(NULL);
	kill(getpid(), SIGSEGV);
	note_pending();
	act.sa_sigaction = change_saved_mask;
	t_c.sigaction(SIGUSR1, &act, &back);
	t_note(back.sa_handler == SIG_DFL);
	t_note(t_c.sigaction(SIGKILL, &act, NULL) < 0 ? errno : 0);
	t_c.sigaction(SIGUSR1, NULL, &back);
	t_note(back.sa_sigaction == change_saved_mask);
	return 0;
}

static void test_mask_of_handlers_is_honoured(void **state)
{
	(void)state;
	t_twice(T_MAPPED_BEFORE, defer, NULL);
	t_twice(T_MAPPED_BEFORE, defer, "all");
	t_twice(T_MAPPED_BY_BODY, defer, NULL);
	t_twice(T_MAPPED_BY_BODY, defer, "all");
	in_front(edit);
	in_front(outlive);
}

/* Whatever is set reads back, signal by signal. */
static int each(void *arg)
{
	sigset_t set, all, old;

	(void)arg;
	for (int signo = 1; signo <= SIGRTMAX; signo++) {
		if (signo == 32 || signo == 33)
			continue;
		set = t_set(signo, 0);
		t_c.sigprocmask(SIG_SETMASK, &set, &old);
		t_note((int64_t)t_mask());
		sigfillset(&all);
		sigdelset(&all, signo);
		t_c.sigprocmask(SIG_SETMASK, &all, &old);
		t_note((int64_t)t_mask());
		t_use_window();
		t_c.sigprocmask(SIG_SETMASK, &old, NULL);
	}
	return t_c.sigprocmask(77, &set, NULL) == -1 && errno == EINVAL ? 0 : 1;
}

static void test_mask_reads_back(void **state)
{
	(void)state;
	in_front(each);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mask_of_a_wait_is_swapped),
		cmocka_unit_test(test_mask_waits_time_out_and_fail),
		cmocka_unit_test(test_mask_bsd_and_xpg_calls_agree),
		cmocka_unit_test(test_mask_keeps_sent_signals_pending),
		cmocka_unit_test(test_mask_signalfd_is_readable),
		cmocka_unit_test(test_mask_is_each_threads_own),
		cmocka_unit_test(test_mask_travels_with_jumps_and_contexts),
		cmocka_unit_test(test_mask_of_handlers_is_honoured),
		cmocka_unit_test(test_mask_reads_back),
	};

	return cmocka_run_group_tests_name("mask", tests, NULL, NULL);
}
