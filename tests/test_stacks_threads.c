/* SPDX-License-Identifier: MIT */
/* Threads from their first instruction to their last, and what an access takes. See stacks.h. */
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <ucontext.h>
#include <unistd.h>

#include "stacks.h"

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

static sigjmp_buf out;

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
	T_CHECK(pthread_create(&thread, NULL, note_birth, &from_blocked) == 0);
	T_CHECK(pthread_join(thread, &failed) == 0 && !failed);
	T_CHECK(from_blocked.believed == (BIT(SIGSEGV) | BIT(SIGUSR2)));
	T_CHECK(others(from_blocked.real) == BIT(SIGUSR2));
	sigdelset(&set, SIGUSR2);
	sigaddset(&set, SIGBUS);
	pthread_attr_init(&attr);
	T_CHECK(pthread_attr_setsigmask_np(&attr, &set) == 0);
	T_CHECK(pthread_create(&thread, &attr, note_birth, &from_attr) == 0);
	T_CHECK(pthread_join(thread, &failed) == 0 && !failed);
	T_CHECK(from_attr.believed == (BIT(SIGSEGV) | BIT(SIGBUS)));
	T_CHECK(others(from_attr.real) == 0);
	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sigaddset(&act.sa_mask, SIGUSR1);
	sigaction(SIGSEGV, &act, NULL);
	if (!sigsetjmp(out, 1))
		poke(WILD, 1);
	T_CHECK(in_handler.believed == (BIT(SIGSEGV) | BIT(SIGUSR1)));
	T_CHECK(others(in_handler.real) == BIT(SIGUSR1));
	T_CHECK(in_handler_c11.believed == in_handler.believed);
	T_CHECK(in_handler_c11.real == in_handler.real);
	T_CHECK(believed_mask() == 0);
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
	T_CHECK(pthread_create(&thread, NULL, access_first, (void *)WINDOW) == 0);
	T_CHECK(pthread_join(thread, &seen_there) == 0 && seen_there == (void *)0x77);
	T_CHECK(memory[0] == 0x100000077 && memory[1] == 1);
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
	T_CHECK(pthread_create(&thread, NULL, live, arg) == 0);
	T_CHECK(pthread_join(thread, &failed) == 0 && !failed);
	T_CHECK(destroyed == sysconf(_SC_THREAD_DESTRUCTOR_ITERATIONS));
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
		T_CHECK(clone(raw_body, r->stack + sizeof(r->stack), flags | (i ? CLONE_SETTLS : 0),
		              r, &r->tid, NULL, &r->tid) > 0);
		while (__atomic_load_n(&r->tid, __ATOMIC_ACQUIRE))
			usleep(1000);
		T_CHECK(!r->before && r->after);
	}
	T_CHECK(memory[8] == 2000);
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
		T_CHECK(pthread_create(&parents[i], NULL, give_birth, NULL) == 0);
	for (unsigned i = 0; storming; i++) {
		pid_t pid = i % 8 ? -1 : fork();

		if (!pid)
			_exit(be_born());
		for (unsigned k = 0; k < STORM_THREADS; k++)
			pthread_kill(parents[k], SIGUSR1);
		kill(getpid(), SIGUSR1);
		if (pid > 0)
			T_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	for (unsigned i = 0; i < STORM_THREADS; i++)
		T_CHECK(pthread_join(parents[i], &failed) == 0 && !failed);
	T_CHECK(handled == STORM_THREADS * STORM_ROUNDS * 2);
	T_CHECK(others_handled > 0);
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
	T_CHECK(t_lay_host("neighbour", WINDOW - 4096, stack_memory, 4096, RW) == 0);
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
	T_CHECK(sizeof(painted) - clean > frame);
	T_CHECK(sizeof(painted) - clean - frame < FOOTPRINT);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(threads_inherit_the_mask_believed_in),
		T(serve_a_first_instruction),
		T(serve_the_last_destructor),
		T(serve_atexit),
		T(given_to_raw_threads_at_their_first_access),
		T(weather_a_storm),
		T(need_no_more_than_documented),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("stacks_threads", tests, NULL, NULL);
}
