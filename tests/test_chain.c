/* SPDX-License-Identifier: MIT */
/*
 * The program's own handlers: everything they can see must be as if libregmap weren't there. Most
 * cases run in three children, that differ in when the first window is mapped: never, before the
 * program installs its handler, after it.
 */
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
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { RW = REGMAP_READ | REGMAP_WRITE };
enum when { NEVER, BEFORE, AFTER };

/* signal.h calls half of what is tested here deprecated. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define WINDOW 0xffff900000000000ULL
#define WILD 0x7ffffffff000ULL

static uint32_t memory[1024];

static void lay(void)
{
	if (t_lay_host("memory", WINDOW, memory, sizeof(memory), RW))
		_exit(90);
}

static bool window_works(void)
{
	volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)WINDOW;

	at[1] = 1234;
	return memory[1] == 1234 && at[1] == 1234;
}

static void touch(uint64_t at)
{
	*(volatile uint32_t *)(uintptr_t)at = 1;
}

static uint64_t word(const sigset_t *set)
{
	uint64_t w;

	memcpy(&w, set, sizeof(w));
	return w;
}

static uint64_t current_mask(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	return word(&now);
}

/* ThreadSanitizer's own sigaction() shows other masks than the kernel: nothing to compare with. */
extern void __tsan_init(void) __attribute__((weak));

#define NOT_UNDER_TSAN() \
	do { \
		if (__tsan_init) \
			skip(); \
	} while (0)

/* What a handler can observe */

struct facts {
	int count, signo, code;
	uint64_t address;
	int64_t rip_offset; /* from the faulting instruction */
	uint64_t trapno, error, cr2, rax, flags;
	uint64_t mask_inside, mask_saved, mask_after;
	int handler_after; /* SA_RESETHAND */
};

static struct facts *facts;
extern const char fault_here[];

static void record(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;
	greg_t *regs = uc->uc_mcontext.gregs;

	facts->count++;
	facts->signo = signo;
	facts->code = info->si_code;
	facts->address = (uintptr_t)info->si_addr;
	facts->rip_offset = regs[REG_RIP] - (greg_t)(uintptr_t)fault_here;
	facts->trapno = (uint64_t)regs[REG_TRAPNO];
	facts->error = (uint64_t)regs[REG_ERR];
	facts->cr2 = facts->trapno == 14 ? (uint64_t)regs[REG_CR2] : 0; /* else stale */
	facts->rax = (uint64_t)regs[REG_RAX];
	facts->flags = (uint64_t)regs[REG_EFL];
	facts->mask_inside = current_mask();
	facts->mask_saved = word(&uc->uc_sigmask);
	regs[REG_RIP] += 2; /* the length of mov [rdi], eax */
	regs[REG_RAX] = 77;
}

static uint64_t fault_at(uint64_t address)
{
	uint64_t rax = 0x5151;

	/* with flags that don't depend on what was compared before */
	__asm__ volatile("xorl %%ecx, %%ecx\nfault_here: movl %%eax, (%%rdi)"
	                 : "+a"(rax)
	                 : "D"(address)
	                 : "rcx", "cc", "memory");
	return rax;
}

struct scene {
	enum when when;
	int flags;
	bool fill;  /* sa_mask */
	bool block; /* SIGUSR2, before */
	uint64_t address;
};

static int play(void *arg)
{
	const struct scene *scene = arg;
	struct sigaction act = {.sa_sigaction = record, .sa_flags = scene->flags}, after;
	sigset_t some;

	if (scene->when == BEFORE)
		lay();
	sigemptyset(&act.sa_mask);
	if (scene->fill)
		sigfillset(&act.sa_mask);
	else
		sigaddset(&act.sa_mask, SIGUSR1);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	if (scene->block)
		sigprocmask(SIG_BLOCK, &some, NULL);
	if (sigaction(SIGSEGV, &act, NULL) || sigaction(SIGBUS, &act, NULL))
		return 1;
	if (scene->when == AFTER)
		lay();
	if (scene->when != NEVER && !window_works())
		return 2;
	if (fault_at(scene->address) != 77)
		return 3;
	facts->mask_after = current_mask();
	sigaction(SIGSEGV, NULL, &after);
	facts->handler_after = after.sa_handler == SIG_DFL  ? 1 :
	                       after.sa_sigaction == record ? 2 :
	                                                      3;
	if (scene->when != NEVER && !window_works())
		return 4;
	return 0;
}

static void compare(struct scene scene)
{
	struct facts seen[3];

	for (scene.when = NEVER; scene.when <= AFTER; scene.when++) {
		memset(facts, 0, sizeof(*facts));
		assert_int_equal(t_child_fate(play, &scene), 0);
		assert_int_equal(facts->count, 1);
		seen[scene.when] = *facts;
	}
	assert_memory_equal(&seen[NEVER], &seen[BEFORE], sizeof(seen[0]));
	assert_memory_equal(&seen[NEVER], &seen[AFTER], sizeof(seen[0]));
}

static void test_chain_shows_handlers_what_the_kernel_would(void **state)
{
	static const int flags[] = {
		SA_SIGINFO,
		SA_SIGINFO | SA_NODEFER,
		SA_SIGINFO | SA_RESETHAND,
		SA_SIGINFO | SA_ONSTACK | SA_RESTART,
	};

	(void)state;
	NOT_UNDER_TSAN();
	for (unsigned i = 0; i < 4; i++) {
		compare((struct scene){.flags = flags[i], .address = WILD});
		compare((struct scene){.flags = flags[i], .address = WILD, .fill = true});
		compare((struct scene){.flags = flags[i], .address = WILD, .block = true});
		compare((struct scene){.flags = flags[i], .address = 1ULL << 60});
	}
}

/* Ways to die, with and without us: the fate is the same */

static int die_by_default(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	touch(WILD);
	return 0;
}

static int die_ignoring(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_IGN);
	touch(WILD);
	return 0;
}

static void return_only(int signo)
{
	(void)signo;
}

static int die_blocked(void *arg)
{
	sigset_t set;

	(void)arg;
	signal(SIGSEGV, return_only);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, NULL);
	touch(WILD);
	return 0;
}

static void fault_again(int signo)
{
	(void)signo;
	touch(WILD + 4096);
}

static int die_in_handler(void *arg)
{
	(void)arg;
	signal(SIGSEGV, fault_again);
	touch(WILD);
	return 0;
}

static jmp_buf plain;
static void jump_plainly(int signo)
{
	(void)signo;
	_longjmp(plain, 1);
}

/* longjmp() without the mask leaves the signal blocked: the second fault kills. */
static int die_after_plain_jump(void *arg)
{
	(void)arg;
	signal(SIGSEGV, jump_plainly);
	if (!_setjmp(plain))
		touch(WILD);
	if (!_setjmp(plain))
		touch(WILD);
	return 0;
}

static int die_once_reset(void *arg)
{
	struct sigaction act = {.sa_handler = return_only, .sa_flags = (int)SA_RESETHAND};

	(void)arg;
	sigaction(SIGSEGV, &act, NULL);
	touch(WILD);
	return 0;
}

static int die_of_kill(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	kill(getpid(), (int)(uintptr_t)arg);
	return 0;
}

static int die_of_abort(void *arg)
{
	(void)arg;
	abort();
}

static int die_of_division(void *arg)
{
	volatile int zero = 0;

	(void)arg;
	signal(SIGFPE, SIG_DFL);
	return 1000 / zero;
}

static int die_of_ud2(void *arg)
{
	(void)arg;
	signal(SIGILL, SIG_DFL);
	__asm__ volatile("ud2");
	return 0;
}

static int die_of_null_call(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	((void (*volatile)(void))NULL)();
	return 0;
}

struct death {
	int (*body)(void *);
	void *arg;
	bool lay;
};

static int die(void *arg)
{
	const struct death *death = arg;

	if (death->lay)
		lay();
	return death->body(death->arg);
}

static void test_chain_lets_the_program_die_as_it_would(void **state)
{
	static const struct {
		int (*body)(void *);
		uintptr_t arg;
		int fate;
	} deaths[] = {
		{die_by_default, 0, SIGSEGV},
		{die_ignoring, 0, SIGSEGV},
		{die_blocked, 0, SIGSEGV},
		{die_in_handler, 0, SIGSEGV},
		{die_after_plain_jump, 0, SIGSEGV},
		{die_once_reset, 0, SIGSEGV},
		{die_of_kill, SIGSEGV, SIGSEGV},
		{die_of_kill, SIGBUS, SIGBUS},
		{die_of_abort, 0, SIGABRT},
		{die_of_division, 0, SIGFPE},
		{die_of_ud2, 0, SIGILL},
		{die_of_null_call, 0, SIGSEGV},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
		struct death death = {deaths[i].body, (void *)deaths[i].arg, false};

		assert_int_equal(t_child_fate(die, &death), deaths[i].fate);
		death.lay = true;
		assert_int_equal(t_child_fate(die, &death), deaths[i].fate);
	}
}

/* Reading back */

static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
	return a->sa_sigaction == b->sa_sigaction && a->sa_flags == b->sa_flags &&
	       word(&a->sa_mask) == word(&b->sa_mask);
}

/* SIGUSR1 goes to the kernel, SIGSEGV to us: they must read back alike. */
static int read_back(void *arg)
{
	static const int flags[] = {0, SA_SIGINFO, SA_RESTART | SA_ONSTACK, SA_NODEFER,
	                            (int)(SA_SIGINFO | SA_RESETHAND)};
	struct sigaction act, mine, kernels;

	(void)arg;
	lay();
	for (unsigned i = 0; i < 5; i++) {
		memset(&act, 0, sizeof(act));
		act.sa_sigaction = record;
		act.sa_flags = flags[i];
		sigfillset(&act.sa_mask);
		sigdelset(&act.sa_mask, SIGHUP);
		if (sigaction(SIGSEGV, &act, NULL) || sigaction(SIGUSR1, &act, NULL))
			return 1;
		if (sigaction(SIGSEGV, NULL, &mine) || sigaction(SIGUSR1, &act, &kernels))
			return 2;
		if (!same_action(&mine, &kernels) || !sigismember(&mine.sa_mask, SIGSEGV))
			return 3;
	}
	return window_works() ? 0 : 4;
}

static void test_chain_reads_back(void **state)
{
	(void)state;
	NOT_UNDER_TSAN();
	assert_int_equal(t_child_fate(read_back, NULL), 0);
}

static void other_handler(int signo)
{
	(void)signo;
}

static int adopt(void *arg)
{
	struct sigaction act = {.sa_handler = other_handler, .sa_flags = SA_NODEFER}, before, after;

	(void)arg;
	sigaddset(&act.sa_mask, SIGWINCH);
	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGBUS, NULL, &before);
	lay();
	sigaction(SIGBUS, NULL, &after);
	return same_action(&before, &after) ? 0 : 1;
}

static void test_chain_adopts_what_was_there(void **state)
{
	(void)state;
	NOT_UNDER_TSAN();
	assert_int_equal(t_child_fate(adopt, NULL), 0);
}

static int use_signal(void *arg)
{
	struct sigaction now;

	(void)arg;
	lay();
	if (signal(SIGSEGV, return_only) == SIG_ERR ||
	    signal(SIGSEGV, other_handler) != return_only)
		return 1;
	sigaction(SIGSEGV, NULL, &now);
	if (!(now.sa_flags & SA_RESTART) || word(&now.sa_mask) != 1ULL << (SIGSEGV - 1))
		return 2;
	if (sigset(SIGSEGV, SIG_HOLD) != other_handler || sigset(SIGSEGV, return_only) != SIG_HOLD)
		return 3;
	if (siginterrupt(SIGSEGV, 1) || signal(SIGSEGV, return_only) != return_only)
		return 4;
	sigaction(SIGSEGV, NULL, &now);
	if (now.sa_flags & SA_RESTART)
		return 5;
	errno = 0;
	if (signal(99, return_only) != SIG_ERR || errno != EINVAL)
		return 6;
	if (sigaction(SIGKILL, &now, NULL) != -1 || sigaction(0, NULL, &now) != -1)
		return 7;
	return window_works() ? 0 : 8;
}

static void test_chain_knows_signal_and_kin(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(use_signal, NULL), 0);
}

/* Masks */

static int block_and_access(void *arg)
{
	sigset_t all, old, now;
	uint64_t blocked;

	(void)arg;
	lay();
	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &old) || !window_works())
		return 1;
	blocked = current_mask();
	if (!(blocked & 1ULL << (SIGSEGV - 1)) || !(blocked & 1ULL << (SIGBUS - 1)))
		return 2;
	pthread_sigmask(SIG_SETMASK, &old, &now);
	if (word(&now) != blocked || current_mask() != word(&old) || !window_works())
		return 3;
	return sigprocmask(77, &all, NULL) == -1 && errno == EINVAL ? 0 : 4;
}

static void test_chain_never_really_blocks(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(block_and_access, NULL), 0);
}

static volatile sig_atomic_t worked;
static void access_window(int signo)
{
	(void)signo;
	worked = window_works();
}

/* A handler of another signal that blocks everything */
static int access_in_handler(void *arg)
{
	struct sigaction act = {.sa_handler = access_window};
	bool early = arg;

	sigfillset(&act.sa_mask);
	if (!early)
		lay();
	sigaction(SIGUSR1, &act, NULL);
	if (early)
		lay();
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &act);
	return worked && sigismember(&act.sa_mask, SIGSEGV) ? 0 : 1;
}

static void test_chain_works_in_handlers_that_block_all(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(access_in_handler, NULL), 0);
	assert_int_equal(t_child_fate(access_in_handler, "early"), 0);
}

static int access_in_segv_handler(void *arg)
{
	struct sigaction act = {.sa_handler = access_window, .sa_flags = (int)SA_RESETHAND};

	(void)arg;
	lay();
	sigfillset(&act.sa_mask);
	sigaction(SIGSEGV, &act, NULL);
	kill(getpid(), SIGSEGV);
	return worked ? 0 : 1;
}

static void test_chain_windows_work_in_a_segv_handler(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(access_in_segv_handler, NULL), 0);
}

/* Jumps */

static sigjmp_buf out;
static void jump(int signo)
{
	(void)signo;
	siglongjmp(out, 1);
}

static int jump_often(void *arg)
{
	struct sigaction act = {.sa_handler = jump};

	if (arg)
		sigfillset(&act.sa_mask);
	lay();
	sigaction(SIGSEGV, &act, NULL);
	for (volatile int i = 0; i < 100; i++) {
		if (!sigsetjmp(out, 1)) {
			touch(WILD);
			return 1;
		}
		if (current_mask() || !window_works())
			return 2;
	}
	return 0;
}

static void test_chain_survives_jumps_out_of_handlers(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(jump_often, NULL), 0);
	assert_int_equal(t_child_fate(jump_often, "full mask"), 0);
}

static void jump_on_bus(int signo)
{
	(void)signo;
	kill(getpid(), SIGBUS);
	_exit(5);
}

static int jump_two_levels(void *arg)
{
	(void)arg;
	lay();
	signal(SIGSEGV, jump_on_bus);
	signal(SIGBUS, jump);
	for (volatile int i = 0; i < 20; i++) {
		if (!sigsetjmp(out, 1)) {
			touch(WILD);
			return 1;
		}
		if (current_mask() || !window_works())
			return 2;
	}
	return 0;
}

static void test_chain_survives_jumps_over_two_handlers(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(jump_two_levels, NULL), 0);
}

/* Sent signals */

static volatile sig_atomic_t sent_code, sent_count, sent_value;
static void on_sent(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)uc;
	sent_code = info->si_code;
	sent_value = info->si_value.sival_int;
	sent_count++;
}

static int send(void *arg)
{
	struct sigaction act = {.sa_sigaction = on_sent, .sa_flags = SA_SIGINFO};
	union sigval value = {.sival_int = 42};
	sigset_t set;

	(void)arg;
	lay();
	sigaction(SIGSEGV, &act, NULL);
	kill(getpid(), SIGSEGV);
	if (sent_count != 1 || sent_code != SI_USER)
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigqueue(getpid(), SIGSEGV, value);
	if (sent_count != 1 || !window_works())
		return 2;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (sent_count != 2 || sent_code != SI_QUEUE || sent_value != 42)
		return 3;
	signal(SIGSEGV, SIG_IGN);
	kill(getpid(), SIGSEGV);
	return window_works() ? 0 : 4;
}

static void test_chain_hands_on_sent_signals(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(send, NULL), 0);
}

/* Each test of cmocka's runs under its own SIGSEGV handler. */
static void test_chain_works_under_cmocka(void **state)
{
	struct sigaction act;

	(void)state;
	assert_true(window_works());
	sigaction(SIGSEGV, NULL, &act);
	assert_true(act.sa_handler != SIG_DFL && act.sa_handler != SIG_IGN);
}

static void *in_thread(void *arg)
{
	(void)arg;
	return window_works() ? "" : NULL;
}

static int inherit(void *arg)
{
	pthread_t thread;
	sigset_t all;
	void *good;

	(void)arg;
	lay();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, &good);
	return good ? 0 : 1;
}

static void test_chain_serves_threads_born_with_all_blocked(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(inherit, NULL), 0);
}

/* sigsetjmp() first, map after: the process that runs the tests has no window until here. */
static int map_here(void **state)
{
	(void)state;
	lay();
	return 0;
}

int main(void)
{
	const struct CMUnitTest bare[] = {
		cmocka_unit_test(test_chain_shows_handlers_what_the_kernel_would),
		cmocka_unit_test(test_chain_lets_the_program_die_as_it_would),
		cmocka_unit_test(test_chain_reads_back),
		cmocka_unit_test(test_chain_adopts_what_was_there),
		cmocka_unit_test(test_chain_knows_signal_and_kin),
		cmocka_unit_test(test_chain_never_really_blocks),
		cmocka_unit_test(test_chain_works_in_handlers_that_block_all),
		cmocka_unit_test(test_chain_windows_work_in_a_segv_handler),
		cmocka_unit_test(test_chain_survives_jumps_out_of_handlers),
		cmocka_unit_test(test_chain_survives_jumps_over_two_handlers),
		cmocka_unit_test(test_chain_hands_on_sent_signals),
		cmocka_unit_test(test_chain_serves_threads_born_with_all_blocked),
	};
	const struct CMUnitTest mapped[] = {
		cmocka_unit_test(test_chain_works_under_cmocka),
		cmocka_unit_test(test_chain_works_under_cmocka),
	};
	int failed;

	facts = t_shared(sizeof(*facts));
	failed = cmocka_run_group_tests_name("chain", bare, NULL, NULL);
	return failed + cmocka_run_group_tests_name("chain under cmocka", mapped, map_here, NULL);
}
