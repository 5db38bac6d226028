/* SPDX-License-Identifier: MIT */
/*
 * The program's own faults in all four signals that libregmap handles: what sigaction() says of its
 * handlers is honoured as by the bare kernel, to the death.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "twice.h"

static void *beyond_the_end; /* of a file: SIGBUS */

static void map_nothing(void)
{
	beyond_the_end = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
	                      memfd_create("empty", 0), 0);
}

static void fault(int signo)
{
	volatile int zero = 0;

	switch (signo) {
	case SIGSEGV: t_touch_wild(); break;
	case SIGBUS: *(volatile char *)beyond_the_end = 1; break;
	case SIGFPE: t_note(1 / zero); break;
	case SIGILL: __asm__ volatile("ud2");
	}
}

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { SIGNALS = 4 };

struct scene {
	int signo, flags;
	bool send; /* see the cases */
};

static sigjmp_buf out;
static int depth;
static struct scene now;

/* Faults once more, or sends, and leaves from the second level. */
static void nest(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;
	struct sigaction act;

	t_note(signo);
	t_note(info->si_code);
	t_note((int64_t)t_mask());
	t_note((int64_t)t_word(&uc->uc_sigmask));
	t_c.sigaction(signo, NULL, &act);
	t_note(act.sa_handler == SIG_DFL);
	t_note(act.sa_flags);
	t_use_window();
	if (depth++)
		siglongjmp(out, 1);
	if (now.send)
		raise(signo);
	else
		fault(signo);
	t_note(-1);
	siglongjmp(out, 1);
}

static int play_nested(void *arg)
{
	struct sigaction act = {.sa_sigaction = nest};

	now = *(const struct scene *)arg;
	act.sa_flags = SA_SIGINFO | now.flags;
	act.sa_mask = t_set(SIGUSR1, 0);
	map_nothing();
	t_c.sigaction(now.signo, &act, NULL);
	t_map_now();
	for (volatile int i = 0; i < 2; i++) {
		depth = 0;
		if (!sigsetjmp(out, 1))
			fault(now.signo);
		t_note((int64_t)t_mask());
		t_use_window();
	}
	return 0;
}

static void test_handlers_nest_as_their_flags_say(void **state)
{
	static const int flags[] = {0, SA_NODEFER, (int)SA_RESETHAND,
	                            (int)(SA_RESETHAND | SA_NODEFER)};

	(void)state;
	for (unsigned i = 0; i < SIGNALS; i++) {
		for (unsigned j = 0; j < 4; j++) {
			struct scene scene = {signals[i], flags[j], false};

			t_twice(T_MAPPED_BEFORE, play_nested, &scene);
			t_twice(T_MAPPED_BY_BODY, play_nested, &scene);
			scene.send = true;
			t_twice(T_MAPPED_BEFORE, play_nested, &scene);
		}
	}
}

/*
 * In which order those come that were put off is not tested for all together: the kernel prefers
 * SIGSEGV to SIGUSR1, but not its stand-in.
 */
static void raise_some(int signo)
{
	t_note(signo);
	if (depth++)
		return;
	if (now.send)
		raise(SIGUSR1);
	for (unsigned i = now.send ? 2 : 0; i < SIGNALS; i++)
		raise(signals[i]);
	t_use_window();
	t_note(-signo);
}

static int play_masked(void *arg)
{
	struct sigaction act = {.sa_handler = raise_some};

	now = *(const struct scene *)arg;
	act.sa_mask = t_set(SIGUSR1, SIGSEGV, SIGFPE, 0);
	t_c.sigaction(SIGUSR1, &act, NULL);
	for (unsigned i = 0; i < SIGNALS; i++)
		t_c.sigaction(signals[i], &act, NULL);
	t_map_now();
	raise(now.signo);
	t_note((int64_t)t_mask());
	return 0;
}

static void test_handlers_are_put_off_by_masks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SIGNALS; i++) {
		struct scene scene = {signals[i], 0, false};

		t_twice(T_MAPPED_BEFORE, play_masked, &scene);
		t_twice(T_MAPPED_BY_BODY, play_masked, &scene);
		scene.send = true;
		t_twice(T_MAPPED_BEFORE, play_masked, &scene);
	}
}

/* Faults that are ignored or blocked kill. */

static int play_ignored(void *arg)
{
	const struct scene *scene = arg;

	map_nothing();
	t_c.signal(scene->signo, SIG_IGN);
	t_map_now();
	t_note(raise(scene->signo));
	t_note(t_c.signal(scene->signo, SIG_IGN) == SIG_IGN);
	fault(scene->signo);
	return 0;
}

static void never(int signo)
{
	t_note(signo);
}

static int play_blocked(void *arg)
{
	const struct scene *scene = arg;
	sigset_t set = t_set(scene->signo, 0);

	map_nothing();
	t_c.signal(scene->signo, never);
	t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	t_map_now();
	t_note(raise(scene->signo));
	t_use_window();
	fault(scene->signo);
	return 0;
}

static void test_handlers_cannot_hide_from_faults(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SIGNALS; i++) {
		struct scene scene = {signals[i], 0, false};

		t_twice(T_MAPPED_BEFORE, play_ignored, &scene);
		t_twice(T_MAPPED_BY_BODY, play_ignored, &scene);
		t_twice(T_MAPPED_BEFORE, play_blocked, &scene);
		t_twice(T_MAPPED_BY_BODY, play_blocked, &scene);
	}
}

/* A handler that takes itself away and returns: the fault repeats and kills. */
static void resign(int signo)
{
	t_note(signo);
	t_note(t_c.signal(signo, SIG_DFL) == resign);
}

static int play_resigning(void *arg)
{
	const struct scene *scene = arg;

	map_nothing();
	t_c.signal(scene->signo, resign);
	fault(scene->signo);
	return 0;
}

static void test_handlers_resign_and_let_die(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SIGNALS; i++) {
		struct scene scene = {signals[i], 0, false};

		t_twice(T_MAPPED_BEFORE, play_resigning, &scene);
	}
}

/* System calls */

static int ends[2];
static void answer(int signo)
{
	t_note(signo);
	t_use_window();
	if (write(ends[1], "x", 1) != 1)
		_exit(1);
}

/* read() starts over or fails, as SA_RESTART says, last of all by siginterrupt(). */
static int play_interrupted(void *arg)
{
	const struct scene *scene = arg;
	struct sigaction act = {.sa_handler = answer, .sa_flags = scene->flags};
	pid_t parent = getpid(), child;
	ssize_t got;
	char c;

	if (pipe(ends))
		return 1;
	t_c.sigaction(scene->signo, &act, NULL);
	if (scene->send)
		t_c.siginterrupt(scene->signo, !!(scene->flags & SA_RESTART));
	child = fork();
	if (!child) {
		t_send_when_asleep(parent, scene->signo);
		_exit(0);
	}
	got = read(ends[0], &c, 1);
	t_note(got);
	t_note(got < 0 ? errno : c);
	while (waitpid(child, NULL, 0) < 0)
		;
	t_c.sigaction(scene->signo, NULL, &act);
	t_note(act.sa_flags);
	return 0;
}

static void test_handlers_restart_system_calls(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SIGNALS; i++) {
		for (unsigned j = 0; j < 4; j++) {
			struct scene scene = {signals[i], j & 1 ? SA_RESTART : 0, j & 2};

			t_twice(T_MAPPED_BEFORE, play_interrupted, &scene);
		}
	}
}

/*
 * Instructions that access a window and raise something else besides: as if the operand were
 * ordinary memory. The window reads as zero here.
 */

static void on_exception(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	t_note(signo);
	t_note(info->si_code);
	t_note((uintptr_t)info->si_addr == (uintptr_t)uc->uc_mcontext.gregs[REG_RIP]);
	t_note(uc->uc_mcontext.gregs[REG_TRAPNO]);
	t_note(uc->uc_mcontext.gregs[REG_RAX]);
	t_note((int64_t)t_mask());
	siglongjmp(out, 1);
}

static void divide(const volatile void *by)
{
	__asm__ volatile("divl (%0)" : : "r"(by), "a"(0x1234), "d"(0) : "cc");
}

static void divide_floats(const volatile void *by)
{
	const uint32_t unmasked = 0x1f80 & ~(1u << 9);

	__asm__ volatile("ldmxcsr %1\n\t"
	                 "mov $1, %%eax\n\t"
	                 "cvtsi2ss %%eax, %%xmm0\n\t"
	                 "divss (%0), %%xmm0"
	                 :
	                 : "r"(by), "m"(unmasked)
	                 : "eax", "xmm0");
}

enum disposition { HANDLED, IGNORED, BLOCKED, DEFAULT };

struct exception {
	void (*divide)(const volatile void *);
	enum disposition disposition;
};

static int play_exception(void *arg)
{
	static const uint64_t zeros[2];
	const struct exception *exception = arg;
	struct sigaction act = {.sa_sigaction = on_exception, .sa_flags = SA_SIGINFO};
	sigset_t set = t_set(SIGFPE, 0);

	if (exception->disposition == IGNORED)
		act.sa_handler = SIG_IGN;
	if (exception->disposition == DEFAULT)
		act.sa_handler = SIG_DFL;
	t_c.sigaction(SIGFPE, &act, NULL);
	if (exception->disposition == BLOCKED)
		t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	t_note(0);
	for (volatile int i = 0; i < 2; i++)
		if (!sigsetjmp(out, 1))
			exception->divide(t_mapped ? T_WINDOW : (const void *)zeros);
	t_use_window();
	return 0;
}

static void test_handlers_get_exceptions_of_accesses(void **state)
{
	static void (*const ways[])(const volatile void *) = {divide, divide_floats};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		for (enum disposition d = HANDLED; d <= DEFAULT; d++) {
			struct exception exception = {ways[i], d};

			t_twice(T_MAPPED_BEFORE, play_exception, &exception);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handlers_nest_as_their_flags_say),
		cmocka_unit_test(test_handlers_are_put_off_by_masks),
		cmocka_unit_test(test_handlers_cannot_hide_from_faults),
		cmocka_unit_test(test_handlers_resign_and_let_die),
		cmocka_unit_test(test_handlers_restart_system_calls),
		cmocka_unit_test(test_handlers_get_exceptions_of_accesses),
	};

	return cmocka_run_group_tests_name("handlers", tests, NULL, NULL);
}
