/* SPDX-License-Identifier: MIT */
/*
 * Stacks: alternate ones that libregmap gives to threads, what the program sees of them (nothing),
 * where its handlers run, and threads whose own stack lies in a window or overflows. What can be
 * compared with a process without libregmap at work is: such scenes run in children.
 */
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, STACK = 1 << 20 };

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

#define WINDOW 0xffff900000000000ULL
#define DEVICE 0xffff900000100000ULL
#define STACK_WINDOW 0xffff900000200000ULL
#define DIRECT_STACK 0x200000000000ULL
#define WILD 0x7ffffffff000ULL

/* A sanitizer's run-time library has handlers, stacks and masks of its own. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

#define NOT_UNDER(init) \
	do { \
		if (init) \
			skip(); \
	} while (0)

static uint64_t memory[512];
static uint8_t stack_memory[STACK] __attribute__((aligned(64)));

static int (*in_device)(void); /* what a callback is to do */

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = in_device ? (uint64_t)in_device() : 0;
	return 0;
}

static const struct regmap_device_ops device = {device_read, NULL};

static void lay(void)
{
	if (t_lay_host("memory", WINDOW, memory, sizeof(memory), RW) ||
	    t_lay_device("device", DEVICE, PAGE, &device, NULL) ||
	    t_lay_host("stack", STACK_WINDOW, stack_memory, STACK, RW))
		_exit(90);
}

static uint64_t peek(uint64_t at)
{
	return *(volatile uint64_t *)(uintptr_t)at;
}

static void poke(uint64_t at, uint64_t value)
{
	*(volatile uint64_t *)(uintptr_t)at = value;
}

static bool window_works(void)
{
	static _Atomic uint64_t next = 1;
	uint64_t value = next++, at = WINDOW + 8 * (256 + value % 256),
		 found; /* threads keep apart */

	poke(at, value);
	found = peek(at);
	/* A thread that had to wait in between finds what one of the next rounds has left there. */
	return found >= value && (found - value) % 256 == 0;
}

/* What the kernel knows. */
static stack_t real_stack(void)
{
	stack_t now;

	memset(&now, 0, sizeof(now));
	if (syscall(SYS_sigaltstack, NULL, &now))
		_exit(91);
	return now;
}

static uint64_t real_mask(void)
{
	uint64_t mask;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, 8);
	return mask;
}

static uint64_t word(const sigset_t *set)
{
	uint64_t w;

	memcpy(&w, set, sizeof(w));
	return w;
}

static uint64_t believed_mask(void)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return word(&now);
}

static bool has_ours(size_t least)
{
	stack_t real = real_stack(), believed;

	return !(real.ss_flags & SS_DISABLE) && real.ss_size >= least &&
	       !sigaltstack(NULL, &believed) && believed.ss_flags == SS_DISABLE;
}

static bool can_read(const void *at)
{
	int ends[2];
	bool can;

	if (pipe(ends))
		_exit(92);
	can = write(ends[1], at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return can;
}

#define EXPECT(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1; \
		} \
	} while (0)

/* A child must succeed; it says on stderr what was wrong. */
static void must_succeed(int (*body)(void *), void *arg)
{
	struct t_child child;

	t_child_run(&child, body, arg);
	if (child.status)
		print_error("status 0x%x\n%s", child.status, child.text);
	assert_int_equal(child.status, 0);
}

/* ---- The option ------------------------------------------------------------------------------ */

static int bad_sizes(void *arg)
{
	size_t least = getauxval(AT_MINSIGSTKSZ) + 8192;

	(void)arg;
	EXPECT(regmap_signal_stacks(1) == -EINVAL);
	EXPECT(regmap_signal_stacks(least - 1) == -EINVAL);
	EXPECT(regmap_signal_stacks(SIZE_MAX) == -EINVAL);
	EXPECT(regmap_signal_stacks(((size_t)1 << 30) + 1) == -EINVAL);
	EXPECT(real_stack().ss_flags & SS_DISABLE || __asan_init || __tsan_init);
	EXPECT(regmap_signal_stacks(least) == 0);
	EXPECT(has_ours(least));
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
	EXPECT(regmap_signal_stacks(0) == 0);
	EXPECT(has_ours(64 << 10));
	first = real_stack();
	EXPECT(can_read(first.ss_sp));
	EXPECT(can_read((char *)first.ss_sp + first.ss_size - 1));
	EXPECT(!can_read((char *)first.ss_sp - 1));
	EXPECT(regmap_signal_stacks(0) == 0);
	EXPECT(regmap_signal_stacks(32 << 10) == 0);
	second = real_stack();
	EXPECT(second.ss_sp == first.ss_sp && second.ss_size == first.ss_size);
	EXPECT(regmap_signal_stacks(1 << 20) == 0);
	EXPECT(has_ours(1 << 20));
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
	EXPECT(regmap_signal_stacks(200000) == 0);
	EXPECT(pthread_create(&thread, NULL, check_new, (void *)200000) == 0);
	EXPECT(pthread_join(thread, &failed) == 0 && !failed);
	if (!__tsan_init) { /* it knows nothing of thrd_create() */
		EXPECT(thrd_create(&c11, check_new_c11, (void *)200000) == thrd_success);
		EXPECT(thrd_join(c11, &result) == thrd_success && result == 3);
	}
	/* the smallest stack there is, the program's own */
	pthread_attr_init(&attr);
	if (!__asan_init && !__tsan_init)
		EXPECT(pthread_attr_setstack(&attr, small, sizeof(small)) == 0);
	failed = (void *)1;
	EXPECT(pthread_create(&thread, &attr, check_new, (void *)200000) == 0);
	EXPECT(pthread_join(thread, &failed) == 0 && !failed);
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
		EXPECT(pthread_create(&threads[i], NULL, kinds[i], (void *)(1 << 16)) == 0);
	while (ready < 4)
		sched_yield();
	EXPECT(regmap_signal_stacks(1 << 16) == 0);
	asked = true;
	pthread_mutex_unlock(&gate);
	for (unsigned i = 0; i < 4; i++) {
		EXPECT(pthread_join(threads[i], &failed) == 0);
		EXPECT(!failed);
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
	EXPECT(regmap_signal_stacks(0) == 0);
	for (unsigned i = 0; i < 5000; i++) {
		pthread_t threads[4];

		for (unsigned k = 0; k < 4; k++)
			EXPECT(pthread_create(&threads[k], NULL, be_seen,
			                      (void *)(uintptr_t)(k & 1)) == 0);
		for (unsigned k = 0; k < 4; k++)
			pthread_join(threads[k], NULL);
	}
	while (distinct < 256 && seen[distinct])
		distinct++;
	EXPECT(seen[0] && distinct <= 32);
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

	EXPECT(has_ours(1) && (uintptr_t)real_stack().ss_sp == mine);
	EXPECT(window_works());
	for (unsigned i = 0; i < 8; i++) {
		EXPECT(pthread_create(&threads[i], NULL, take_over, NULL) == 0);
		EXPECT(pthread_join(threads[i], &failed) == 0);
		EXPECT(!failed);
	}
	EXPECT((uintptr_t)real_stack().ss_sp == mine);
	return 0;
}

static int fork_with_threads(void *arg)
{
	pthread_t thread;
	uintptr_t mine;
	int status;
	pid_t pid;

	lay();
	EXPECT(regmap_signal_stacks(0) == 0);
	mine = (uintptr_t)real_stack().ss_sp;
	pthread_mutex_lock(&gate);
	for (uintptr_t i = 0; i < 8; i++)
		EXPECT(pthread_create(&thread, NULL, use_and_wait, (void *)i) == 0);
	while (ready < 8)
		sched_yield();
	pid = arg ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	if (!pid)
		_exit(check_child(mine));
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	pid = vfork();
	if (!pid)
		_exit(!window_works());
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	EXPECT(has_ours(1) && (uintptr_t)real_stack().ss_sp == mine);
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
		EXPECT(pthread_create(&threads[i], NULL, ask, NULL) == 0);
	for (unsigned i = 0; i < 4; i++)
		EXPECT(pthread_join(threads[i], &failed) == 0 && !failed);
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
	EXPECT(regmap_signal_stacks(0) == 0);
	EXPECT(setrlimit(RLIMIT_AS, &tight) == 0);
	EXPECT(regmap_signal_stacks((size_t)1 << 30) == -ENOMEM);
	EXPECT(pthread_create(&thread, NULL, check_new, NULL) == EAGAIN);
	EXPECT(thrd_create(&c11, check_new_c11, NULL) == thrd_nomem);
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
	execl("/proc/self/exe", "test_stacks", "--environment", NULL);
	return 1;
}

/* In the new program, which calls nothing of ours. */
static int in_environment(void)
{
	pthread_t thread;
	void *failed;
	size_t bytes = strtoull(getenv("REGMAP_SIGNAL_STACKS"), NULL, 0);

	EXPECT(has_ours(bytes));
	EXPECT(pthread_create(&thread, NULL, check_new, (void *)bytes) == 0);
	EXPECT(pthread_join(thread, &failed) == 0 && !failed);
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

/* ---- What sigaltstack() says ------------------------------------------------------------------ */

enum world { BARE, WINDOWS, OPTION };

struct answer {
	int result, error, flags;
	void *sp;
	size_t size;
};

struct dialogue {
	enum world world;
	unsigned count;
	struct answer answer[40];
};

static uint8_t own[2][1 << 16] __attribute__((aligned(64)));
static struct dialogue *dialogue;

/* @set NULL: only ask. */
static void say(const stack_t *set)
{
	struct answer *a = &dialogue->answer[dialogue->count++];
	stack_t old;

	memset(&old, 0x55, sizeof(old));
	errno = 0;
	a->result = sigaltstack(set, &old);
	a->error = errno;
	a->flags = old.ss_flags;
	a->sp = old.ss_sp;
	a->size = old.ss_size;
}

static void say_stack(void *sp, size_t size, int flags)
{
	const stack_t set = {.ss_sp = sp, .ss_size = size, .ss_flags = flags};

	say(&set);
}

static void talk_in_handler(int signo)
{
	(void)signo;
	say(NULL);
	say_stack(own[1], sizeof(own[1]), 0);
	say_stack(NULL, 0, SS_DISABLE);
	say(NULL);
}

static void have_world(enum world world)
{
	if (world != BARE)
		lay();
	if (world == OPTION && regmap_signal_stacks(0))
		_exit(93);
}

static void *talk(void *arg)
{
	struct sigaction act = {.sa_handler = talk_in_handler, .sa_flags = SA_ONSTACK};

	dialogue = arg;
	sigaction(SIGUSR2, &act, NULL);
	say(NULL);
	say_stack(own[0], sizeof(own[0]), 77);
	say_stack(own[0], 100, 0);
	say_stack(NULL, 0, SS_DISABLE);
	say_stack(own[0], sizeof(own[0]), SS_ONSTACK);
	say(NULL);
	raise(SIGUSR2);
	say(NULL);
	say_stack(own[1], 100, 0);
	say_stack(own[1], sizeof(own[1]), 0);
	say_stack(own[0], sizeof(own[0]), (int)SS_AUTODISARM);
	raise(SIGUSR2);
	say(NULL);
	say_stack(own[0], 100, SS_DISABLE);
	say(NULL);
	return NULL;
}

static int hold_dialogue(void *arg)
{
	struct dialogue *d = arg;
	pthread_t thread;

	have_world(d->world);
	EXPECT(pthread_create(&thread, NULL, talk, d) == 0);
	return pthread_join(thread, NULL);
}

static void test_stacks_do_not_show_in_sigaltstack(void **state)
{
	struct dialogue *d = t_shared(3 * sizeof(*d));

	(void)state;
	for (enum world w = BARE; w <= OPTION; w++) {
		d[w].world = w;
		must_succeed(hold_dialogue, &d[w]);
	}
	assert_int_equal(d[BARE].count, 21);
	assert_int_equal(d[WINDOWS].count, 21);
	assert_int_equal(d[OPTION].count, 21);
	for (enum world w = WINDOWS; w <= OPTION; w++)
		for (unsigned i = 0; i < d[BARE].count; i++)
			assert_memory_equal(&d[w].answer[i], &d[BARE].answer[i],
			                    sizeof(struct answer));
}

static int back_and_forth(void *arg)
{
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])},
		none = {.ss_flags = SS_DISABLE};
	void *ours;

	(void)arg;
	lay();
	EXPECT(regmap_signal_stacks(0) == 0);
	EXPECT(has_ours(1));
	ours = real_stack().ss_sp;
	EXPECT(sigaltstack(&mine, NULL) == 0);
	EXPECT(real_stack().ss_sp == own[0]);
	EXPECT(regmap_signal_stacks(1 << 20) == 0);
	EXPECT(real_stack().ss_sp == own[0]);
	EXPECT(sigaltstack(&none, NULL) == 0);
	EXPECT(has_ours(1 << 20) && real_stack().ss_sp != ours);
	EXPECT(sigaltstack((void *)8, NULL) == -1 && errno == EFAULT);
	EXPECT(sigaltstack(NULL, (void *)8) == -1 && errno == EFAULT);
	return 0;
}

static void test_stacks_give_way_and_come_back(void **state)
{
	(void)state;
	must_succeed(back_and_forth, NULL);
}

/* A callback sets the thread's stack as if the accessing instruction had called it. */

static int set_own(void)
{
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])};

	return sigaltstack(&mine, NULL) ? errno : 1000;
}

static int set_in_callback(void *arg)
{
	lay();
	if (arg)
		EXPECT(regmap_signal_stacks(0) == 0);
	in_device = set_own;
	EXPECT(peek(DEVICE) == 1000);
	EXPECT(real_stack().ss_sp == own[0] && real_stack().ss_flags == 0);
	EXPECT(window_works());
	return 0;
}

static void test_stacks_set_by_a_callback_stay(void **state)
{
	(void)state;
	must_succeed(set_in_callback, NULL);
	must_succeed(set_in_callback, "");
}

/* ---- Where the program's handlers run --------------------------------------------------------- */

enum place { INTERRUPTED, OWN, ELSEWHERE };

struct facts {
	int count, code;
	uint64_t address, rip_offset, rbp_offset;
	enum place place, frame, image;
	bool aligned, image_aligned;
	int saved_flags, inside_flags, after_flags, stays;
	size_t saved_size, inside_size;
	void *saved_sp, *inside_sp, *after_sp;
	uint64_t mask_inside, mask_saved, mask_after;
	uint64_t vector_seen, vector_after, rax_after;
	bool windows_work;
	unsigned levels; /* handlers within handlers */
	enum place deepest;
};

struct scene {
	enum world world;
	int signo, flags, own; /* own: -1 none, else ss_flags */
	bool nest;
	struct facts facts;
};

static struct scene *scene;
extern const char fault_here[];
static uintptr_t interrupted_sp;

static enum place place_of(uintptr_t at)
{
	if (at - (uintptr_t)own[0] < sizeof(own[0]))
		return OWN;
	return at < interrupted_sp && interrupted_sp - at < 1 << 17 ? INTERRUPTED : ELSEWHERE;
}

static void fault_again(uint64_t at)
{
	__asm__ volatile("movl %%eax, (%%rdi)" : : "D"(at) : "memory");
}

static void record(int signo, siginfo_t *info, void *arg)
{
	struct facts *f = &scene->facts;
	ucontext_t *uc = arg;
	greg_t *regs = uc->uc_mcontext.gregs;
	struct _libc_fpstate *image = uc->uc_mcontext.fpregs;
	stack_t inside;

	regs[REG_RIP] += 2; /* mov [rdi], eax; ud2 */
	if (f->count++) {
		f->levels++;
		f->deepest = place_of((uintptr_t)&inside);
		if (f->levels < 5)
			fault_again(WILD);
		return;
	}
	interrupted_sp = (uintptr_t)regs[REG_RSP];
	f->code = info->si_code;
	f->address = scene->signo == SIGILL ? 0 : (uintptr_t)info->si_addr;
	f->rip_offset = (uint64_t)regs[REG_RIP] - (uintptr_t)fault_here;
	f->place = place_of((uintptr_t)&inside);
	f->frame = place_of((uintptr_t)uc);
	f->image = place_of((uintptr_t)image);
	f->aligned = (uintptr_t)__builtin_frame_address(0) % 16 == 0;
	f->image_aligned = (uintptr_t)image % 64 == 0;
	f->saved_flags = uc->uc_stack.ss_flags;
	f->saved_size = uc->uc_stack.ss_size;
	f->saved_sp = uc->uc_stack.ss_sp;
	sigaltstack(NULL, &inside);
	f->inside_flags = inside.ss_flags;
	f->inside_size = inside.ss_size;
	f->inside_sp = inside.ss_sp;
	f->mask_inside = believed_mask();
	f->mask_saved = word(&uc->uc_sigmask);
	memcpy(&f->vector_seen, image->_xmm[7].element, 8);
	f->windows_work = scene->world == BARE || (window_works() && peek(DEVICE) == 0);
	if (scene->nest)
		fault_again(WILD);
	regs[REG_RAX] = 77;
	memset(image->_xmm[7].element, 0x66, 16);
	(void)signo;
}

static void fault(uint64_t at)
{
	struct facts *f = &scene->facts;
	uint64_t in = 0x1122334455667788, rax = 5;

	if (scene->signo == SIGILL)
		__asm__ volatile("movq %2, %%xmm7; ud2; movq %%xmm7, %1"
		                 : "+a"(rax), "=r"(f->vector_after)
		                 : "r"(in), "D"(at)
		                 : "memory", "xmm7");
	else
		__asm__ volatile("movq %2, %%xmm7; fault_here: movl %%eax, (%%rdi); movq %%xmm7, %1"
		                 : "+a"(rax), "=r"(f->vector_after)
		                 : "r"(in), "D"(at)
		                 : "memory", "xmm7");
	f->rax_after = rax;
}

static void *play(void *arg)
{
	struct sigaction act = {.sa_sigaction = record};
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])}, after;
	struct facts *f = &scene->facts;
	void *real;

	(void)arg;
	act.sa_flags = scene->flags;
	sigaddset(&act.sa_mask, SIGUSR1);
	sigaction(scene->signo, &act, NULL);
	mine.ss_flags = scene->own;
	if (scene->own >= 0 || scene->own == (int)SS_AUTODISARM)
		sigaltstack(&mine, NULL);
	real = real_stack().ss_sp;
	fault(WILD);
	sigaltstack(NULL, &after);
	f->after_flags = after.ss_flags;
	f->after_sp = after.ss_sp;
	f->stays = real_stack().ss_sp == real;
	f->mask_after = believed_mask();
	if (scene->signo == SIGILL)
		f->rip_offset = 0;
	return NULL;
}

static int play_scene(void *arg)
{
	pthread_t thread;

	scene = arg;
	have_world(scene->world);
	EXPECT(pthread_create(&thread, NULL, play, NULL) == 0);
	return pthread_join(thread, NULL);
}

static void compare_worlds(struct scene like)
{
	struct scene *s = t_shared(3 * sizeof(*s));

	for (enum world w = BARE; w <= OPTION; w++) {
		s[w] = like;
		s[w].world = w;
		must_succeed(play_scene, &s[w]);
	}
	assert_int_equal(s[BARE].facts.count, like.nest ? 6 : 1);
	assert_int_equal(s[BARE].facts.vector_seen, 0x1122334455667788);
	assert_int_equal(s[BARE].facts.vector_after, 0x6666666666666666);
	assert_true(s[BARE].facts.aligned && s[BARE].facts.image_aligned);
	for (enum world w = WINDOWS; w <= OPTION; w++)
		if (memcmp(&s[w].facts, &s[BARE].facts, sizeof(s[w].facts)))
			fail_msg(
				"world %d, signal %d, flags %#x, own %#x: place %d %d, frame %d %d, "
				"saved %#x %#x, inside %#x %#x, after %#x %#x, deepest %d %d, masks "
				"%lx %lx, %lx %lx, %lx %lx, works %d, levels %u %u, stays %d, rbp %lx",
				w, like.signo, like.flags, like.own, s[w].facts.place,
				s[BARE].facts.place, s[w].facts.frame, s[BARE].facts.frame,
				s[w].facts.saved_flags, s[BARE].facts.saved_flags,
				s[w].facts.inside_flags, s[BARE].facts.inside_flags,
				s[w].facts.after_flags, s[BARE].facts.after_flags,
				s[w].facts.deepest, s[BARE].facts.deepest, s[w].facts.mask_inside,
				s[BARE].facts.mask_inside, s[w].facts.mask_saved,
				s[BARE].facts.mask_saved, s[w].facts.mask_after,
				s[BARE].facts.mask_after, s[w].facts.windows_work,
				s[w].facts.levels, s[BARE].facts.levels, s[w].facts.stays,
				s[w].facts.rbp_offset);
}

/* With and without SA_ONSTACK, with a stack of the program's and without. */
static void test_stacks_honour_sa_onstack(void **state)
{
	static const int flags[] = {SA_SIGINFO, SA_SIGINFO | SA_ONSTACK};
	static const int signals[] = {SIGSEGV, SIGILL};
	static const int stacks[] = {-1, 0, (int)SS_AUTODISARM};

	(void)state;
	NOT_UNDER(__tsan_init);
	for (unsigned f = 0; f < 2; f++)
		for (unsigned s = 0; s < 2; s++)
			for (unsigned k = 0; k < 3; k++)
				compare_worlds((struct scene){.signo = signals[s],
				                              .flags = flags[f],
				                              .own = stacks[k]});
}

/* A fault in a handler goes on where that one is. */
static void test_stacks_nest_as_the_kernel_nests(void **state)
{
	static const int flags[] = {0, SA_ONSTACK};
	static const int stacks[] = {-1, 0, (int)SS_AUTODISARM};

	(void)state;
	NOT_UNDER(__tsan_init);
	for (unsigned f = 0; f < 2; f++)
		for (unsigned k = 0; k < 3; k++)
			compare_worlds((struct scene){.signo = SIGSEGV,
			                              .flags = SA_SIGINFO | SA_NODEFER | flags[f],
			                              .own = stacks[k],
			                              .nest = true});
}

static sigjmp_buf out;
static volatile int jumps;

static void jump(int signo)
{
	(void)signo;
	siglongjmp(out, 1);
}

static int jump_often(void *arg)
{
	struct sigaction act = {.sa_handler = jump};
	uint64_t mask, real;

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	mask = believed_mask();
	real = real_mask();
	for (jumps = 0; jumps < 1000; jumps++) {
		if (!sigsetjmp(out, 1))
			poke(WILD, 1);
		EXPECT(window_works());
	}
	EXPECT(has_ours(1));
	EXPECT(believed_mask() == mask && real_mask() == real);
	return 0;
}

static void test_stacks_survive_jumps_out_of_handlers(void **state)
{
	(void)state;
	must_succeed(jump_often, NULL);
}

/* A handler changes the stack that the interrupted code is to have, as ucontexts allow. */
static void put_own(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	uc->uc_stack = (stack_t){.ss_sp = own[0], .ss_size = sizeof(own[0])};
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static int change_in_frame(void *arg)
{
	struct sigaction act = {.sa_sigaction = put_own, .sa_flags = SA_SIGINFO};

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	fault_again(WILD);
	EXPECT(real_stack().ss_sp == own[0]);
	return 0;
}

static void test_stacks_obey_what_a_handler_puts_into_its_frame(void **state)
{
	(void)state;
	must_succeed(change_in_frame, NULL);
}

/* Unwinding */

static uintptr_t trace[64];
static unsigned trace_count;

static _Unwind_Reason_Code add_to_trace(struct _Unwind_Context *context, void *arg)
{
	(void)arg;
	if (trace_count < 64)
		trace[trace_count++] = _Unwind_GetIP(context);
	return _URC_NO_REASON;
}

static void unwind(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	_Unwind_Backtrace(add_to_trace, NULL);
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

extern const char unwind_here[], unwind_next[];

__attribute__((noinline)) static int walk_from_here(void)
{
	__asm__ volatile("unwind_here: movl %%eax, (%%rdi); unwind_next:" : : "D"(WILD) : "memory");
	return 5;
}

__attribute__((noinline)) static int call_walk(void)
{
	return walk_from_here() + 1;
}

/* From the handler through the moved frame to the faulting instruction and its callers. */
static int walk(void *arg)
{
	struct sigaction act = {.sa_sigaction = unwind, .sa_flags = SA_SIGINFO};
	unsigned at = 0;

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	EXPECT(call_walk() == 6);
	while (at < trace_count && trace[at] != (uintptr_t)unwind_here)
		at++;
	EXPECT(at >= 1 && at + 2 < trace_count);
	EXPECT(trace[at + 1] - (uintptr_t)call_walk < 64);
	EXPECT(trace[at + 2] - (uintptr_t)walk < 4096);
	return 0;
}

static void test_stacks_let_unwinders_through(void **state)
{
	(void)state;
	must_succeed(walk, NULL);
}

/* ---- Overflow --------------------------------------------------------------------------------- */

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
	if (scene == (void *)1 && depth % 16 == 0 && !window_works())
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
	scene = overflow->world == BARE ? NULL : (void *)1;
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
	EXPECT(pthread_create(&thread, &attr, overflow_stack, NULL) == 0);
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
	stack_t mine = {.ss_sp = own[0], .ss_size = sizeof(own[0])};
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
	EXPECT(regmap_map(&config, NULL) == 0);
	window = (volatile uint8_t *)(uintptr_t)config.guest;
	window[5] = 7;
	for (unsigned i = 6 << 20; i > PAGE; i -= PAGE)
		room[i - 1] = window_works();
	EXPECT(room[(6 << 20) - 1] == 1 && window[5] == 7);
	return 0;
}

static void test_stacks_grow_next_to_windows(void **state)
{
	(void)state;
	must_succeed(grow, NULL);
}

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
	EXPECT(call_on(STACK_WINDOW + STACK - 64, work_on_stack) == WORK);
	EXPECT(stack_memory[STACK - 72] || stack_memory[STACK - 71]);
	/* other signals, too, as long as they keep off the window */
	sigaction(SIGUSR1, &act, NULL);
	EXPECT(call_on(STACK_WINDOW + STACK - 64, raise_other) == WORK);
	EXPECT(caught == 1);
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
	EXPECT(regmap_map(&config, NULL) == 0);
	EXPECT(pthread_create(&thread, NULL, run_coroutine, (void *)DIRECT_STACK) == 0);
	EXPECT(pthread_join(thread, NULL) == 0);
	EXPECT(coroutine_result == 2);
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
	EXPECT(regmap_map(&config, NULL) == 0);
	pthread_attr_init(&attr);
	EXPECT(pthread_attr_setstack(&attr, (void *)DIRECT_STACK, STACK) == 0);
	EXPECT(pthread_create(&thread, &attr, on_direct_stack, NULL) == 0);
	EXPECT(pthread_join(thread, &good) == 0);
	EXPECT(good && caught == 1);
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
	EXPECT(pthread_attr_setstack(&attr, (void *)STACK_WINDOW, STACK) == 0);
	for (uintptr_t how = 0; how < 2; how++) {
		EXPECT(pthread_create(&thread, &attr, on_trapped_stack, (void *)how) == 0);
		EXPECT(pthread_join(thread, &good) == 0);
		EXPECT(good == (void *)(how + 1));
		EXPECT(cleaned == (int)how + 1);
	}
	EXPECT(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
	EXPECT(pthread_create(&thread, &attr, on_trapped_stack, (void *)1) == 0);
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

/* A fault of the program's with nowhere to put the frame: as the kernel would. */
static int fault_on_trapped_stack(void *arg)
{
	struct sigaction act = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO};

	overflow = arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &act, NULL);
	return (int)call_on(STACK_WINDOW + STACK - 64, fault_there);
}

static void test_stacks_in_a_trapped_window_take_no_handler(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(fault_on_trapped_stack, t_shared(sizeof(*overflow))),
	                 SIGSEGV);
}

/* ---- New threads believe what their creator does ---------------------------------------------- */

struct birth {
	uint64_t believed, real;
};

static void *note_birth(void *arg)
{
	struct birth *b = arg;

	b->real = real_mask();
	b->believed = believed_mask();
	return window_works() ? NULL : (void *)1;
}

static int note_birth_c11(void *arg)
{
	return note_birth(arg) ? 1 : 0;
}

static struct birth in_handler, in_handler_c11;

static void create_in_handler(int signo)
{
	pthread_t thread;
	thrd_t c11;

	(void)signo;
	pthread_create(&thread, NULL, note_birth, &in_handler);
	pthread_join(thread, NULL);
	thrd_create(&c11, note_birth_c11, &in_handler_c11);
	thrd_join(c11, NULL);
	siglongjmp(out, 1);
}

#define BIT(signo) (1ULL << ((signo)-1))

/* What may stand in for SIGSEGV and SIGBUS is libregmap's affair. */
static uint64_t others(uint64_t mask)
{
	return mask & ~(BIT(51) | BIT(52) | BIT(53));
}

static int births(void *arg)
{
	struct sigaction act = {.sa_handler = create_in_handler};
	struct birth from_blocked, from_attr;
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t set;
	void *failed;

	have_world(arg ? OPTION : WINDOWS);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	EXPECT(pthread_create(&thread, NULL, note_birth, &from_blocked) == 0);
	EXPECT(pthread_join(thread, &failed) == 0 && !failed);
	EXPECT(from_blocked.believed == (BIT(SIGSEGV) | BIT(SIGUSR2)));
	EXPECT(others(from_blocked.real) == BIT(SIGUSR2));
	sigdelset(&set, SIGUSR2);
	sigaddset(&set, SIGBUS);
	pthread_attr_init(&attr);
	EXPECT(pthread_attr_setsigmask_np(&attr, &set) == 0);
	EXPECT(pthread_create(&thread, &attr, note_birth, &from_attr) == 0);
	EXPECT(pthread_join(thread, &failed) == 0 && !failed);
	EXPECT(from_attr.believed == (BIT(SIGSEGV) | BIT(SIGBUS)));
	EXPECT(others(from_attr.real) == 0);
	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sigaddset(&act.sa_mask, SIGUSR1);
	sigaction(SIGSEGV, &act, NULL);
	if (!sigsetjmp(out, 1))
		poke(WILD, 1);
	EXPECT(in_handler.believed == (BIT(SIGSEGV) | BIT(SIGUSR1)));
	EXPECT(others(in_handler.real) == BIT(SIGUSR1));
	EXPECT(in_handler_c11.believed == in_handler.believed);
	EXPECT(in_handler_c11.real == in_handler.real);
	EXPECT(believed_mask() == 0);
	return 0;
}

static void test_stacks_threads_inherit_the_mask_believed_in(void **state)
{
	(void)state;
	NOT_UNDER(__tsan_init);
	must_succeed(births, NULL);
	must_succeed(births, "");
}

/* ---- At any time ------------------------------------------------------------------------------ */

/* A start routine whose first instruction is an access, and its last but one. */
extern void *access_first(void *);
__asm__(".text\n"
        ".globl access_first\n"
        ".type access_first, @function\n"
        "access_first: movl (%rdi), %eax\n"
        "lock incl 4(%rdi)\n"
        "incl 8(%rdi)\n"
        "ret\n"
        ".size access_first, . - access_first\n");

static int first_instruction(void *arg)
{
	pthread_t thread;
	void *seen_there;

	have_world(arg ? OPTION : WINDOWS);
	memory[0] = 0x77;
	memory[1] = 0;
	EXPECT(pthread_create(&thread, NULL, access_first, (void *)WINDOW) == 0);
	EXPECT(pthread_join(thread, &seen_there) == 0 && seen_there == (void *)0x77);
	EXPECT(memory[0] == 0x100000077 && memory[1] == 1);
	return 0;
}

static void test_stacks_serve_a_first_instruction(void **state)
{
	(void)state;
	must_succeed(first_instruction, NULL);
	must_succeed(first_instruction, "");
}

static pthread_key_t key;
static atomic_int destroyed;

static void destroy(void *value)
{
	stack_t real = real_stack();

	destroyed += window_works() && !(real.ss_flags & SS_DISABLE);
	pthread_setspecific(key, (char *)value + 1);
}

static void *live(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_setspecific(key, (void *)1);
	if (arg)
		pthread_exit(NULL);
	return window_works() ? NULL : (void *)1;
}

static int die_slowly(void *arg)
{
	pthread_t thread;
	void *failed;

	have_world(OPTION);
	pthread_key_create(&key, destroy);
	EXPECT(pthread_create(&thread, NULL, live, arg) == 0);
	EXPECT(pthread_join(thread, &failed) == 0 && !failed);
	EXPECT(destroyed == sysconf(_SC_THREAD_DESTRUCTOR_ITERATIONS));
	return 0;
}

/* Destructors of thread-specific data, all signals blocked. */
static void test_stacks_serve_the_last_destructor(void **state)
{
	(void)state;
	must_succeed(die_slowly, NULL);
	must_succeed(die_slowly, "by pthread_exit()");
}

static void access_at_exit(void)
{
	_exit(window_works() ? 42 : 43);
}

static int exit_with_access(void *arg)
{
	have_world(OPTION);
	atexit(access_at_exit);
	(void)arg;
	exit(0);
}

static void test_stacks_serve_atexit(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(exit_with_access, NULL), -1 - 42);
}

/* Threads that libc knows nothing of */

struct raw {
	pid_t tid; /* the kernel clears it at the end */
	void *before, *after;
	uint8_t stack[1 << 16] __attribute__((aligned(64)));
};

static long raw_call(long number, long a, long b)
{
	long value;

	__asm__ volatile("syscall"
	                 : "=a"(value)
	                 : "0"(number), "D"(a), "S"(b)
	                 : "rcx", "r11", "memory");
	return value;
}

__attribute__((no_stack_protector, no_sanitize("address", "thread"))) static int raw_body(void *arg)
{
	struct raw *r = arg;
	stack_t now;

	raw_call(SYS_sigaltstack, 0, (long)&now);
	r->before = now.ss_sp;
	for (unsigned i = 0; i < 1000; i++)
		__asm__ volatile("lock incq 64(%0)" : : "r"(WINDOW) : "memory", "cc");
	raw_call(SYS_sigaltstack, 0, (long)&now);
	r->after = now.ss_sp;
	raw_call(SYS_exit, 0, 0);
	return 0;
}

static int raw_threads(void *arg)
{
	static struct raw raws[2];
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
	            CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;

	(void)arg;
	have_world(OPTION);
	memory[8] = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct raw *r = &raws[i];

		r->tid = 1;
		EXPECT(clone(raw_body, r->stack + sizeof(r->stack), flags | (i ? CLONE_SETTLS : 0),
		             r, &r->tid, NULL, &r->tid) > 0);
		while (__atomic_load_n(&r->tid, __ATOMIC_ACQUIRE))
			usleep(1000);
		EXPECT(!r->before && r->after);
	}
	EXPECT(memory[8] == 2000);
	return 0;
}

/* With an FS base of 0, and with that of their creator. */
static void test_stacks_given_to_raw_threads_at_their_first_access(void **state)
{
	(void)state;
	NOT_UNDER(__tsan_init);
	must_succeed(raw_threads, NULL);
}

/* ---- All at once ----------------------------------------------------------------------------- */

enum { STORM_THREADS = 3, STORM_ROUNDS = 150 };

static atomic_int storming;
static atomic_ulong handled, others_handled;

static void step_over(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	handled += window_works();
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static void count_other(int signo)
{
	others_handled += signo == SIGUSR1 && window_works();
}

static void *short_life(void *arg)
{
	uint8_t *mine = malloc(1 << 16);
	stack_t stack = {.ss_sp = mine, .ss_size = 1 << 16}, none = {.ss_flags = SS_DISABLE};
	bool good = window_works();

	(void)arg;
	fault_again(WILD);
	good &= !sigaltstack(&stack, NULL);
	good &= window_works();
	fault_again(WILD);
	good &= !sigaltstack(&none, NULL);
	free(mine);
	good &= window_works() && has_ours(1);
	return good ? NULL : (void *)1;
}

static void *give_birth(void *arg)
{
	pthread_t thread;
	void *failed = NULL;

	(void)arg;
	for (unsigned i = 0; i < STORM_ROUNDS && !failed; i++)
		if (pthread_create(&thread, NULL, short_life, NULL) ||
		    pthread_join(thread, &failed))
			failed = (void *)1;
	storming--;
	return failed;
}

static int be_born(void)
{
	pthread_t thread;
	void *failed;

	return !window_works() || pthread_create(&thread, NULL, short_life, NULL) ||
	       pthread_join(thread, &failed) || failed;
}

static int storm(void *arg)
{
	struct sigaction segv = {.sa_sigaction = step_over, .sa_flags = SA_SIGINFO};
	struct sigaction usr1 = {.sa_handler = count_other, .sa_flags = SA_ONSTACK | SA_RESTART};
	pthread_t parents[STORM_THREADS];
	void *failed;
	int status;

	(void)arg;
	have_world(OPTION);
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGUSR1, &usr1, NULL);
	storming = STORM_THREADS;
	for (unsigned i = 0; i < STORM_THREADS; i++)
		EXPECT(pthread_create(&parents[i], NULL, give_birth, NULL) == 0);
	for (unsigned i = 0; storming; i++) {
		pid_t pid = i % 8 ? -1 : fork();

		if (!pid)
			_exit(be_born());
		for (unsigned k = 0; k < STORM_THREADS; k++)
			pthread_kill(parents[k], SIGUSR1);
		kill(getpid(), SIGUSR1);
		if (pid > 0)
			EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	}
	for (unsigned i = 0; i < STORM_THREADS; i++)
		EXPECT(pthread_join(parents[i], &failed) == 0 && !failed);
	EXPECT(handled == STORM_THREADS * STORM_ROUNDS * 2);
	EXPECT(others_handled > 0);
	return 0;
}

/* Births, deaths, stacks that change, faults of both kinds, other signals, forks. */
static void test_stacks_weather_a_storm(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init); /* its allocator's locks don't survive fork() */
	NOT_UNDER(__tsan_init);
	must_succeed(storm, NULL);
}

/* ---- What an access takes -------------------------------------------------------------------- */

enum { PAINT = 0xa5, FOOTPRINT = 8192 };

static uint8_t painted[1 << 16] __attribute__((aligned(64)));

static void all_kinds(void)
{
	uint64_t to = WINDOW + 1024, from = WINDOW + 2048, count = 16, sum = 1;
	uint8_t image[512] __attribute__((aligned(64)));

	__asm__ volatile("lock xaddq %0, 8(%1)" : "+r"(sum) : "r"(WINDOW) : "memory");
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	__asm__ volatile("pushq (%0); popq 8(%0)" : : "r"(WINDOW) : "memory");
	__asm__ volatile("movups 3(%0), %%xmm0; addps 16(%0), %%xmm0; movups %%xmm0, 5(%0)"
	                 :
	                 : "r"(WINDOW)
	                 : "xmm0", "memory");
	__asm__ volatile("fldt (%0); fstpt 16(%0)" : : "r"(WINDOW) : "memory");
	__asm__ volatile("fxsave (%0); fxrstor (%0)" : : "r"(WINDOW + 512) : "memory");
	__asm__ volatile("fxsave (%0)" : : "r"(image) : "memory");
	__asm__ volatile("movq %%rax, 4093(%0)" : : "r"(WINDOW - 4096) : "memory");
	if (__builtin_cpu_supports("avx2"))
		__asm__ volatile("vpxor %%ymm1, %%ymm1, %%ymm1; vpcmpeqd %%ymm2, %%ymm2, %%ymm2;"
		                 "vpgatherdd %%ymm2, (%0, %%ymm1, 4), %%ymm0; vzeroupper"
		                 :
		                 : "r"(WINDOW)
		                 : "xmm0", "xmm1", "xmm2", "memory");
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("kxnorw %%k1, %%k1, %%k1; vpxord %%zmm1, %%zmm1, %%zmm1;"
		                 "vpscatterdd %%zmm1, (%0, %%zmm1, 4)%{%%k1%}; vzeroupper"
		                 :
		                 : "r"(WINDOW)
		                 : "memory");
	sum = peek(DEVICE);
}

static void skip_fault(int signo, siginfo_t *info, void *arg)
{
	ucontext_t *uc = arg;

	(void)signo, (void)info;
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

static int paint(void *arg)
{
	struct sigaction act = {.sa_sigaction = skip_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t mine = {.ss_sp = painted, .ss_size = sizeof(painted)};
	size_t frame = getauxval(AT_MINSIGSTKSZ), clean = 0;

	(void)arg;
	EXPECT(t_lay_host("neighbour", WINDOW - 4096, stack_memory, 4096, RW) == 0);
	have_world(WINDOWS);
	memset(painted, PAINT, sizeof(painted));
	sigaltstack(&mine, NULL);
	sigaction(SIGSEGV, &act, NULL);
	all_kinds();
	fault_again(WILD);
	while (clean < sizeof(painted) && painted[clean] == PAINT)
		clean++;
	if (getenv("T_SHOW"))
		dprintf(1, "%zu bytes beyond the kernel's %zu\n", sizeof(painted) - clean - frame,
		        frame);
	EXPECT(sizeof(painted) - clean > frame);
	EXPECT(sizeof(painted) - clean - frame < FOOTPRINT);
	return 0;
}

/* What docs/limits.md says that a stack must have room for. */
static void test_stacks_need_no_more_than_documented(void **state)
{
	(void)state;
	NOT_UNDER(__asan_init);
	NOT_UNDER(__tsan_init);
	if (getenv("TEST_MODE") && strcmp(getenv("TEST_MODE"), "rel"))
		skip(); /* without the compiler's optimisation, frames are larger */
	must_succeed(paint, NULL);
}

#define T(name) cmocka_unit_test(test_stacks_##name)

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
		T(do_not_show_in_sigaltstack),
		T(give_way_and_come_back),
		T(set_by_a_callback_stay),
		T(honour_sa_onstack),
		T(nest_as_the_kernel_nests),
		T(survive_jumps_out_of_handlers),
		T(obey_what_a_handler_puts_into_its_frame),
		T(let_unwinders_through),
		T(overflow_as_ever),
		T(without_room_make_a_sigsegv),
		T(grow_next_to_windows),
		T(in_a_trapped_window_work),
		T(in_a_trapped_window_want_sa_onstack),
		T(of_coroutines_may_lie_in_windows),
		T(of_threads_may_lie_in_trapped_windows),
		T(in_a_direct_window_work),
		T(in_a_trapped_window_take_no_handler),
		T(threads_inherit_the_mask_believed_in),
		T(serve_a_first_instruction),
		T(serve_the_last_destructor),
		T(serve_atexit),
		T(given_to_raw_threads_at_their_first_access),
		T(weather_a_storm),
		T(need_no_more_than_documented),
	};

	if (argc > 1 && !strcmp(argv[1], "--environment"))
		return in_environment();
	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("stacks", tests, NULL, NULL);
}
