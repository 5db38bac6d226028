/* SPDX-License-Identifier: MIT */
/* LDLIBS: -ldl */
/*
 * What device callbacks may do: go ten levels deep, leave by a jump, end their thread, fork, load
 * libraries, take windows away. Afterwards nothing is held, which another thread's regmap_unmap()
 * finds out: it waits for what is.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, LEVELS = 10, STACK = 1 << 18, RW = REGMAP_READ | REGMAP_WRITE };

#define NESTED 0xffff900000000000ULL /* level n at n * PAGE; level 0 is the program */
#define SPARE 0xffff900000100000ULL

/* As the compiler sees it, a function of the program's own doesn't run here: hence the clobber. */
static uint64_t load(uint64_t at)
{
	uint64_t value;

	__asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

static uint64_t address_of(unsigned level)
{
	return NESTED + level * PAGE;
}

/* ---- ten levels ------------------------------------------------------------------------------ */

static struct regmap_window *windows[LEVELS + 1];
static unsigned reads[LEVELS + 1];
static unsigned bottom;              /* the last level */
static void (*at_bottom)(void);      /* what it does */
static jmp_buf landing[LEVELS + 1];  /* one in each level */
static void (*arrived)(unsigned lv); /* what a level does that was jumped to */

static uint64_t descend(unsigned level)
{
	if (level == bottom) {
		if (at_bottom)
			at_bottom();
		return 100;
	}
	return load(address_of(level + 1)) + 1;
}

static int level_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	unsigned level = (unsigned)(uintptr_t)ctx;

	(void)offset, (void)width;
	reads[level]++;
	if (setjmp(landing[level])) {
		arrived(level);
		*value = 1000;
		return 0;
	}
	*value = descend(level);
	return 0;
}

static int ignore_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

static const struct regmap_device_ops ops = {level_read, ignore_write};

static struct regmap_window *lay(uint64_t at, const struct regmap_device_ops *with, void *ctx)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = at,
		.length = PAGE,
		.access = RW,
		.backing = REGMAP_DEVICE,
		.ops = with,
		.ctx = ctx,
	};
	struct regmap_window *window;

	return regmap_map(&config, &window) ? NULL : window;
}

static void lay_level(unsigned level)
{
	windows[level] = lay(address_of(level), &ops, (void *)(uintptr_t)level);
	assert_non_null(windows[level]);
}

static int set_up(void **state)
{
	(void)state;
	memset(reads, 0, sizeof(reads));
	bottom = LEVELS;
	at_bottom = NULL;
	for (unsigned i = 1; i <= LEVELS; i++)
		lay_level(i);
	return 0;
}

/* Another thread takes a window away and would wait for what is held. */
static void *unmap(void *window)
{
	return (void *)(intptr_t)regmap_unmap(window);
}

static void assert_not_held(struct regmap_window *window)
{
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, unmap, window), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= LEVELS; i++)
		assert_not_held(windows[i]);
	return 0;
}

/* All of it once more on an alternate stack. */
static void on_both_stacks(void (*body)(void))
{
	static uint8_t memory[STACK];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)},
		none = {.ss_flags = SS_DISABLE};

	body();
	assert_int_equal(sigaltstack(&stack, NULL), 0);
	body();
	assert_int_equal(sigaltstack(&none, NULL), 0);
}

static void go_down(void)
{
	memset(reads, 0, sizeof(reads));
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
	for (unsigned i = 1; i <= LEVELS; i++)
		assert_int_equal(reads[i], 1);
}

static void test_reentry_ten_levels(void **state)
{
	(void)state;
	on_both_stacks(go_down);
}

/* Registers are those of each level's own code: an instruction that reads and writes, at each. */
static void add_down(void)
{
	uint64_t sum = 5;

	__asm__ volatile("add (%1), %0" : "+r"(sum) : "r"(address_of(1)) : "memory", "cc");
	assert_int_equal(sum, 5 + 100 + LEVELS - 1);
}

static void test_reentry_ten_levels_of_arithmetic(void **state)
{
	(void)state;
	on_both_stacks(add_down);
}

/* ---- jumps ----------------------------------------------------------------------------------- */

static unsigned target;
static void (*jump)(struct __jmp_buf_tag *, int) __attribute__((noreturn));

static void jump_to_target(void)
{
	jump(landing[target], 1);
}

/* Is a thread still waiting for this one to leave a window's callback? */
struct waiter {
	pthread_t thread;
	struct regmap_window *window;
	atomic_bool inside, returned, too_early;
};

static void *wait_for_unmap(void *arg)
{
	struct waiter *w = arg;
	int err = regmap_unmap(w->window);

	w->too_early = w->inside;
	w->returned = true;
	return (void *)(intptr_t)err;
}

static bool is_mapped(uint64_t at)
{
	void *host;

	return regmap_translate(at, &host) == -ENODEV;
}

/* In a callback of the window at @at. */
static void start_waiter(struct waiter *w, struct regmap_window *window, uint64_t at)
{
	w->window = window;
	w->inside = true;
	w->returned = w->too_early = false;
	assert_int_equal(pthread_create(&w->thread, NULL, wait_for_unmap, w), 0);
	while (is_mapped(at))
		sched_yield();
	for (unsigned i = 0; i < 300; i++)
		sched_yield();
	assert_false(w->returned);
}

static void end_waiter(struct waiter *w)
{
	void *result;

	assert_int_equal(pthread_join(w->thread, &result), 0);
	assert_null(result);
	assert_false(w->too_early);
}

static struct waiter own_waiter;

/* Below this level, nothing is held any more; the level itself is. */
static void look_around(unsigned level)
{
	for (unsigned i = level + 1; i <= LEVELS; i++) {
		assert_not_held(windows[i]);
		lay_level(i);
	}
	if (level)
		start_waiter(&own_waiter, windows[level], address_of(level));
	own_waiter.inside = false;
}

static void jump_from(unsigned from, unsigned to)
{
	volatile uint64_t value = 0;

	bottom = from;
	target = to;
	at_bottom = jump_to_target;
	arrived = look_around;
	if (!setjmp(landing[0]))
		value = load(address_of(1));
	else
		look_around(0);
	assert_int_equal(value, to ? 1000 + to - 1 : 0);
	if (!to)
		return;
	end_waiter(&own_waiter);
	lay_level(to);
}

static void jump_everywhere(void)
{
	for (unsigned from = 1; from <= LEVELS; from += from < 3 ? 1 : 3)
		for (unsigned to = 0; to < from; to++)
			jump_from(from, to);
}

static void test_reentry_longjmp_from_each_level_to_each(void **state)
{
	(void)state;
	jump = longjmp;
	on_both_stacks(jump_everywhere);
}

static void jump_out_of_all(void)
{
	for (unsigned from = 1; from <= LEVELS; from++)
		jump_from(from, 0);
}

static void test_reentry_siglongjmp_from_each_level(void **state)
{
	(void)state;
	jump = siglongjmp;
	on_both_stacks(jump_out_of_all);
}

static void test_reentry__longjmp_from_each_level(void **state)
{
	(void)state;
	jump = _longjmp;
	on_both_stacks(jump_out_of_all);
}

/* What longjmp() is in programs compiled with _FORTIFY_SOURCE. */
extern void __longjmp_chk(struct __jmp_buf_tag *env, int value) __attribute__((noreturn));

static void test_reentry_fortified_longjmp_from_each_level(void **state)
{
	(void)state;
	jump = __longjmp_chk;
	on_both_stacks(jump_out_of_all);
}

/* A jump within one callback drops nothing. */
static void jump_about(void)
{
	static struct waiter w;
	jmp_buf here;
	volatile unsigned rounds = 0;

	if (setjmp(here) < 3)
		longjmp(here, (int)++rounds);
	assert_int_equal(rounds, 3);
	start_waiter(&w, windows[LEVELS], address_of(LEVELS));
	own_waiter.thread = w.thread;
	w.inside = false;
}

static void jump_inside(void)
{
	void *result;

	at_bottom = jump_about;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
	assert_int_equal(pthread_join(own_waiter.thread, &result), 0);
	assert_null(result);
	lay_level(LEVELS);
}

static void test_reentry_longjmp_inside_a_callback(void **state)
{
	(void)state;
	on_both_stacks(jump_inside);
}

/* A callback goes to another stack and comes back, by jumps: it has not been left. */

static ucontext_t coroutine, beginning;
static jmp_buf in_callback, in_coroutine;

static void run_coroutine(void)
{
	if (!_setjmp(in_coroutine))
		swapcontext(&coroutine, &beginning);
	_longjmp(in_callback, 1);
}

static uint8_t *make_coroutine(void)
{
	uint8_t *stack = mmap(NULL, STACK + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	                      0);

	assert_ptr_not_equal(stack, MAP_FAILED);
	assert_int_equal(mprotect(stack + PAGE, STACK, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(getcontext(&coroutine), 0);
	coroutine.uc_stack.ss_sp = stack + PAGE;
	coroutine.uc_stack.ss_size = STACK;
	makecontext(&coroutine, run_coroutine, 0);
	swapcontext(&beginning, &coroutine);
	return stack;
}

static void visit_coroutine(void)
{
	if (!_setjmp(in_callback))
		_longjmp(in_coroutine, 1);
	jump_about();
}

static void jump_across(void)
{
	uint8_t *stack = make_coroutine();
	void *result;

	at_bottom = visit_coroutine;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
	assert_int_equal(pthread_join(own_waiter.thread, &result), 0);
	assert_null(result);
	lay_level(LEVELS);
	munmap(stack, STACK + 2 * PAGE);
}

static void test_reentry_longjmp_to_another_stack_and_back(void **state)
{
	(void)state;
	on_both_stacks(jump_across);
}

static ucontext_t way_out;

static void leave_by_context(void)
{
	setcontext(&way_out);
}

static void leave_all_by_context(void)
{
	volatile bool left = false;

	at_bottom = leave_by_context;
	getcontext(&way_out);
	if (!left) {
		left = true;
		load(address_of(1));
		fail();
	}
	look_around(0);
}

static void test_reentry_setcontext_out_of_a_callback(void **state)
{
	(void)state;
	on_both_stacks(leave_all_by_context);
}

/* Jumps leave no memory behind, those from XSAVE's areas included. */
static unsigned count_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned lines = 0;

	for (int c; (c = getc(f)) != EOF;)
		lines += c == '\n';
	fclose(f);
	return lines;
}

static uint64_t mapped_bytes(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * PAGE;
}

static int jump_in_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	longjmp(landing[0], 1);
}

static int read_nothing(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 0;
	return 0;
}

static void save_and_jump(void)
{
	if (!setjmp(landing[0]))
		__asm__ volatile("xsave (%0)" : : "r"(SPARE), "a"(7), "d"(0) : "memory");
}

static void test_reentry_jumps_leave_no_memory_behind(void **state)
{
	static const struct regmap_device_ops jumping = {read_nothing, jump_in_write};
	struct regmap_window *window = lay(SPARE, &jumping, NULL);
	uint64_t bytes;
	unsigned lines;

	(void)state;
	assert_non_null(window);
	save_and_jump();
	bytes = mapped_bytes();
	lines = count_mappings();
	for (unsigned i = 0; i < 200; i++)
		save_and_jump();
	/* the C library and sanitizers may grow a little */
	assert_true(mapped_bytes() < bytes + 200 * PAGE);
	assert_true(count_mappings() < lines + 20);
	assert_not_held(window);
}

/* ---- threads that end in a callback ---------------------------------------------------------- */

static atomic_bool in_bottom;

static void end_thread(void)
{
	pthread_exit((void *)0xdead);
}

static void wait_to_be_cancelled(void)
{
	in_bottom = true;
	for (;;)
		pause();
}

static void end_thread_by_system_call(void)
{
	in_bottom = true;
	syscall(SYS_exit, 0);
}

static void *access_level_1(void *unused)
{
	(void)unused;
	load(address_of(1));
	return NULL;
}

static void test_reentry_pthread_exit(void **state)
{
	pthread_t thread;
	void *result;

	(void)state;
	at_bottom = end_thread;
	assert_int_equal(pthread_create(&thread, NULL, access_level_1, NULL), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, (void *)0xdead);
}

static void test_reentry_pthread_cancel(void **state)
{
	pthread_t thread;
	void *result;

	(void)state;
	at_bottom = wait_to_be_cancelled;
	in_bottom = false;
	assert_int_equal(pthread_create(&thread, NULL, access_level_1, NULL), 0);
	while (!in_bottom)
		sched_yield();
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, PTHREAD_CANCELED);
}

extern void __tsan_init(void) __attribute__((weak));

/* Nothing unwinds there, and the stack stays as it is. */
static void test_reentry_thread_dies(void **state)
{
	static uint8_t stack[16 * STACK] __attribute__((aligned(PAGE)));
	pthread_attr_t attr;
	pthread_t thread;

	(void)state;
	if (__tsan_init) /* its pthread_join() would wait for ever */
		skip();
	at_bottom = end_thread_by_system_call;
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, stack, sizeof(stack)), 0);
	assert_int_equal(pthread_create(&thread, &attr, access_level_1, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(in_bottom);
}

/* ---- what the C library does ----------------------------------------------------------------- */

static unsigned parts_done;

static void in_callback_of_all_levels(void (*part)(void))
{
	at_bottom = part;
	parts_done = 0;
	on_both_stacks(go_down);
	assert_int_equal(parts_done, 2);
}

static void use_heap(void)
{
	char *p[64];

	for (unsigned i = 0; i < 64; i++)
		p[i] = memset(malloc(i * 100 + 1), (int)i, i * 100 + 1);
	for (unsigned i = 0; i < 64; i++)
		p[i] = realloc(p[i], i * 300 + 1);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(p[i][i * 100], i);
		free(p[i]);
	}
	parts_done++;
}

static void test_reentry_malloc(void **state)
{
	(void)state;
	in_callback_of_all_levels(use_heap);
}

static void use_files(void)
{
	char text[64] = "";
	FILE *f = tmpfile();

	assert_non_null(f);
	assert_int_equal(fprintf(f, "%s %.3f %llx", "window", 1.5, (long long)NESTED), 29);
	rewind(f);
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, "window 1.500 ffff900000000000");
	fclose(f);
	printf("from a callback\n");
	fflush(stdout);
	parts_done++;
}

static void test_reentry_printf(void **state)
{
	(void)state;
	in_callback_of_all_levels(use_files);
}

static void use_library(void)
{
	void *library = dlopen("libz.so.1", RTLD_NOW);
	unsigned long (*crc)(unsigned long, const char *, unsigned);

	assert_non_null(library);
	*(void **)&crc = dlsym(library, "crc32");
	assert_non_null(crc);
	assert_int_equal(crc(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(dlclose(library), 0);
	parts_done++;
}

static void test_reentry_dlopen(void **state)
{
	(void)state;
	in_callback_of_all_levels(use_library);
}

/* The child comes back from the callback like the parent, and goes its way. */
static void fork_there(void)
{
	pid_t child = fork();
	int status;

	parts_done++;
	if (child == 0)
		return;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 33);
}

static void fork_and_go_on(void)
{
	pid_t parent = getpid();
	uint64_t value;

	at_bottom = fork_there;
	value = load(address_of(1));
	if (getpid() == parent) {
		assert_int_equal(value, 100 + LEVELS - 1);
		return;
	}
	at_bottom = NULL;
	if (value != 100 + LEVELS - 1 || load(address_of(1)) != value)
		_exit(1);
	for (unsigned i = 1; i <= LEVELS; i++)
		if (regmap_unmap(windows[i]))
			_exit(2);
	_exit(33);
}

static void test_reentry_fork(void **state)
{
	(void)state;
	on_both_stacks(fork_and_go_on);
}

static int exit_code;

static void exit_there(void)
{
	exit(exit_code);
}

static void underscore_exit_there(void)
{
	_exit(exit_code);
}

/* At exit, windows work. */
static void at_exit(void)
{
	at_bottom = NULL;
	if (load(address_of(1)) == 100 + LEVELS - 1)
		_exit(77);
}

static int exit_in_callback(void *how)
{
	at_bottom = how;
	exit_code = 55;
	if (how == (void *)exit_there)
		atexit(at_exit);
	load(address_of(1));
	return 1;
}

static void test_reentry_exit(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(exit_in_callback, (void *)exit_there), -1 - 77);
	assert_int_equal(t_child_fate(exit_in_callback, (void *)underscore_exit_there), -1 - 55);
}

static void *access_level_9(void *unused)
{
	(void)unused;
	at_bottom = NULL;
	return (void *)load(address_of(9));
}

static void start_thread(void)
{
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, access_level_9, NULL), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((uintptr_t)result, 101);
	parts_done++;
}

static void make_thread(void)
{
	at_bottom = start_thread;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
}

static void test_reentry_pthread_create(void **state)
{
	(void)state;
	parts_done = 0;
	on_both_stacks(make_thread);
	assert_int_equal(parts_done, 2);
}

/* A signal in a callback: its handler runs there, with windows of its own. */
static atomic_uint handled;
static uint64_t seen_by_handler;

static void on_signal(int signo)
{
	handled += signo == SIGUSR1;
	at_bottom = NULL;
	seen_by_handler = load(address_of(9));
}

static void raise_there(void)
{
	struct sigaction act = {.sa_handler = on_signal}, old;

	assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
	raise(SIGUSR1);
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
	parts_done++;
}

static void raise_in_callback(void)
{
	at_bottom = raise_there;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
	assert_int_equal(seen_by_handler, 101);
}

static void test_reentry_signals_in_callbacks(void **state)
{
	(void)state;
	handled = 0;
	on_both_stacks(raise_in_callback);
	assert_int_equal(handled, 2);
}

/* A handler for faults that a callback installs is the program's from then on. */
static sigjmp_buf after_fault;
static volatile uintptr_t fault_at;

static void on_fault(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)uc;
	fault_at = (uintptr_t)info->si_addr;
	siglongjmp(after_fault, 1);
}

static void install_and_fault(void)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;

	assert_int_equal(sigaction(SIGSEGV, &act, &old), 0);
	if (!sigsetjmp(after_fault, 1)) {
		load(SPARE);
		fail();
	}
	assert_int_equal(fault_at, SPARE);
	assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
	parts_done++;
}

static void test_reentry_sigaction_and_a_fault(void **state)
{
	(void)state;
	in_callback_of_all_levels(install_and_fault);
}

/* ---- windows that come and go ---------------------------------------------------------------- */

static void map_and_unmap(void)
{
	struct regmap_window *window = lay(SPARE, &ops, (void *)(uintptr_t)LEVELS);

	assert_non_null(window);
	at_bottom = NULL;
	assert_int_equal(load(SPARE), 100);
	assert_int_equal(regmap_unmap(window), 0);
	assert_false(is_mapped(SPARE));
}

static void map_in_callback(void)
{
	at_bottom = map_and_unmap;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
}

static void test_reentry_map_and_unmap_another(void **state)
{
	(void)state;
	on_both_stacks(map_in_callback);
}

static void unmap_all(void)
{
	for (unsigned i = LEVELS; i > 0; i--)
		assert_int_equal(regmap_unmap(windows[i]), 0);
	for (unsigned i = 1; i <= LEVELS; i++)
		assert_int_equal(regmap_unmap(windows[i]), -EINVAL);
}

/* All the windows whose callbacks the thread is in, the innermost first: each access ends well. */
static void unmap_own(void)
{
	at_bottom = unmap_all;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
	for (unsigned i = 1; i <= LEVELS; i++) {
		assert_false(is_mapped(address_of(i)));
		lay_level(i);
	}
}

static void test_reentry_unmap_own_windows(void **state)
{
	(void)state;
	on_both_stacks(unmap_own);
}

/* The new window in the old one's place gets accesses to come, not the one under way. */
static void replace_own(void)
{
	assert_int_equal(regmap_unmap(windows[LEVELS]), 0);
	lay_level(LEVELS);
	at_bottom = NULL;
	assert_int_equal(load(address_of(LEVELS)), 100);
}

static void replace_in_callback(void)
{
	at_bottom = replace_own;
	reads[LEVELS] = 0;
	assert_int_equal(load(address_of(1)), 100 + LEVELS - 1);
	assert_int_equal(reads[LEVELS], 2);
}

static void test_reentry_replace_own_window(void **state)
{
	(void)state;
	on_both_stacks(replace_in_callback);
}

/* regmap_read() and regmap_write() from callbacks, and callbacks of theirs. */
static void read_all(void)
{
	uint64_t value = 0;

	at_bottom = NULL;
	assert_int_equal(regmap_read(address_of(5), &value, 8), 0);
	assert_int_equal(value, 100 + LEVELS - 5);
	assert_int_equal(regmap_write(address_of(5), &value, 8), 0);
}

static void read_in_callback(void)
{
	uint64_t value = 0;

	at_bottom = read_all;
	assert_int_equal(regmap_read(address_of(1), &value, 8), 0);
	assert_int_equal(value, 100 + LEVELS - 1);
}

static void test_reentry_regmap_read(void **state)
{
	(void)state;
	on_both_stacks(read_in_callback);
}

/* A jump out of a callback that regmap_read() called. */
static void jump_out_of_read(void)
{
	uint64_t value;

	at_bottom = jump_to_target;
	jump = longjmp;
	target = 0;
	if (!setjmp(landing[0])) {
		assert_int_equal(regmap_read(address_of(1), &value, 8), 0);
		fail();
	}
	look_around(0);
}

static void test_reentry_longjmp_out_of_regmap_read(void **state)
{
	(void)state;
	on_both_stacks(jump_out_of_read);
}

#define T(name) cmocka_unit_test_setup_teardown(test_reentry_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ten_levels),
		T(ten_levels_of_arithmetic),
		T(longjmp_from_each_level_to_each),
		T(siglongjmp_from_each_level),
		T(_longjmp_from_each_level),
		T(fortified_longjmp_from_each_level),
		T(longjmp_inside_a_callback),
		T(longjmp_to_another_stack_and_back),
		T(setcontext_out_of_a_callback),
		T(jumps_leave_no_memory_behind),
		T(pthread_exit),
		T(pthread_cancel),
		T(thread_dies),
		T(malloc),
		T(printf),
		T(dlopen),
		T(fork),
		T(exit),
		T(pthread_create),
		T(signals_in_callbacks),
		T(sigaction_and_a_fault),
		T(map_and_unmap_another),
		T(unmap_own_windows),
		T(replace_own_window),
		T(regmap_read),
		T(longjmp_out_of_regmap_read),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("reentry", tests, NULL, NULL);
}
