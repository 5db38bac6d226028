/* SPDX-License-Identifier: MIT */
/*
 * Many threads on the same windows: LOCKed operations lose nothing, windows come and go meanwhile.
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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lay.h"

enum { THREADS = 4, ROUNDS = 20000, PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

#define HOST 0xffff900000000000ULL
#define DEVICE 0xffff900000100000ULL
#define NOWHERE_DEVICE 0x1234567800100000ULL
#define OTHERS 0xffff900000200000ULL
#define LOW_OTHERS 0x50000000ULL

/* What is behind HOST; and behind both devices, which do nothing to protect it. */
static uint8_t host[PAGE] __attribute__((aligned(64))), device[PAGE] __attribute__((aligned(64)));

/* Some threads have no canary. */
#define NO_CANARY __attribute__((no_stack_protector))

NO_CANARY static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	*value = 0;
	memcpy(value, device + offset, width);
	return 0;
}

NO_CANARY static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	memcpy(device + offset, &value, width);
	return 0;
}

static const struct regmap_device_ops ops = {device_read, device_write};

static int lay_all(void **state)
{
	(void)state;
	return t_lay_host("host", HOST, host, PAGE, RW) ||
	       t_lay_device("device", DEVICE, PAGE, &ops, NULL) ||
	       t_lay_device("nowhere", NOWHERE_DEVICE, PAGE, &ops, NULL);
}

static uint8_t *behind(uint64_t at)
{
	return at == HOST ? host : device;
}

static uint64_t result(uint64_t at, unsigned offset)
{
	uint64_t value;

	memcpy(&value, behind(at) + offset, 8);
	return value;
}

/* ---- LOCKed operations --------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	void (*body)(struct worker *);
	uint64_t at;
	unsigned number;
	uint64_t sum; /* of what it saw */
	bool failed;
};

static pthread_barrier_t start_line;

static void *work(void *arg)
{
	struct worker *w = arg;

	pthread_barrier_wait(&start_line);
	w->body(w);
	return NULL;
}

/* All threads at once; the sum of what they saw. */
static uint64_t run(void (*body)(struct worker *), uint64_t at)
{
	struct worker workers[THREADS];
	uint64_t sum = 0;

	memset(behind(at), 0, PAGE);
	pthread_barrier_init(&start_line, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.body = body, .at = at, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_false(workers[i].failed);
		sum += workers[i].sum;
	}
	pthread_barrier_destroy(&start_line);
	return sum;
}

#define EVERYWHERE(name) \
	static void check_##name(uint64_t at); \
	static void test_threads_##name(void **state) \
	{ \
		(void)state; \
		check_##name(HOST); \
		check_##name(DEVICE); \
	} \
	static void check_##name(uint64_t at)

enum { TOTAL = THREADS * ROUNDS };

static void add(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		__asm__ volatile("lock addq $1, (%0)" : : "r"(w->at) : "memory", "cc");
}

EVERYWHERE(lock_add_loses_nothing)
{
	run(add, at);
	assert_int_equal(result(at, 0), TOTAL);
}

static void subtract_bytes(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		__asm__ volatile("lock decw 6(%0)" : : "r"(w->at) : "memory", "cc");
}

EVERYWHERE(lock_dec_keeps_its_neighbours)
{
	run(subtract_bytes, at);
	assert_int_equal(result(at, 0), (uint64_t)(uint16_t)-TOTAL << 48);
	assert_int_equal(result(at, 8), 0);
}

static void exchange_add(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t value = 1;

		__asm__ volatile("lock xaddl %0, 8(%1)"
		                 : "+r"(value)
		                 : "r"(w->at)
		                 : "memory", "cc");
		w->sum += value;
	}
}

/* Each number is seen by one thread. */
EVERYWHERE(lock_xadd_gives_each_number_once)
{
	uint64_t sum = run(exchange_add, at);

	assert_int_equal(result(at, 8), TOTAL);
	assert_int_equal(sum, (uint64_t)TOTAL * (TOTAL - 1) / 2);
}

static void exchange(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t value = w->number * ROUNDS + i;

		__asm__ volatile("xchgq %0, 16(%1)" : "+r"(value) : "r"(w->at) : "memory");
		w->sum += value;
	}
}

/* XCHG needs no LOCK: each value comes back once, or stays. */
EVERYWHERE(xchg_loses_nothing)
{
	uint64_t sum = run(exchange, at);

	assert_int_equal(sum + result(at, 16), (uint64_t)TOTAL * (TOTAL - 1) / 2);
}

static void compare_and_exchange(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t seen = i;
		bool done = false;

		while (!done)
			__asm__ volatile("lock cmpxchgq %3, 24(%2)"
			                 : "+a"(seen), "=@ccz"(done)
			                 : "r"(w->at), "r"(seen + 1)
			                 : "memory");
	}
}

EVERYWHERE(cmpxchg_loses_nothing)
{
	run(compare_and_exchange, at);
	assert_int_equal(result(at, 24), TOTAL);
}

static void compare_and_exchange_16(struct worker *w)
{
	uint64_t low = 0, high = 0;

	for (unsigned i = 0; i < ROUNDS / 2; i++) {
		bool done = false;

		while (!done) {
			w->failed |= high != 3 * low;
			__asm__ volatile("lock cmpxchg16b 32(%3)"
			                 : "+a"(low), "+d"(high), "=@ccz"(done)
			                 : "r"(w->at), "b"(low + 1), "c"(high + 3)
			                 : "memory");
		}
		low++;
		high += 3;
	}
}

/* Both halves change together. */
EVERYWHERE(cmpxchg16b_loses_nothing)
{
	run(compare_and_exchange_16, at);
	assert_int_equal(result(at, 32), TOTAL / 2);
	assert_int_equal(result(at, 40), 3 * TOTAL / 2);
}

static void set_bits(struct worker *w)
{
	for (uint64_t i = w->number; i < 8 * 2048; i += THREADS) {
		bool was;

		__asm__ volatile("lock btsq %2, 64(%1)"
		                 : "=@ccc"(was)
		                 : "r"(w->at), "r"(i)
		                 : "memory");
		w->failed |= was;
	}
}

EVERYWHERE(lock_bts_sets_each_bit)
{
	run(set_bits, at);
	for (unsigned i = 0; i < 2048; i++)
		assert_int_equal(behind(at)[64 + i], 0xff);
	assert_int_equal(behind(at)[64 + 2048], 0);
}

static void mixed(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t one = 1;

		if ((i + w->number) % 3 == 0)
			__asm__ volatile("lock incq 48(%0)" : : "r"(w->at) : "memory", "cc");
		else if ((i + w->number) % 3 == 1)
			__asm__ volatile("lock xaddq %0, 48(%1)"
			                 : "+r"(one)
			                 : "r"(w->at)
			                 : "memory", "cc");
		else
			__asm__ volatile("lock subq $-1, 48(%0)" : : "r"(w->at) : "memory", "cc");
	}
}

EVERYWHERE(mixed_operations_lose_nothing)
{
	run(mixed, at);
	assert_int_equal(result(at, 48), TOTAL);
}

static void test_threads_lock_at_nowhere(void **state)
{
	(void)state;
	run(add, NOWHERE_DEVICE);
	assert_int_equal(result(NOWHERE_DEVICE, 0), TOTAL);
}

/* ---- Each thread has its own state ---------------------------------------------------------- */

/* Vector, x87 and string work in the same windows, each thread in its own part. */
static void compute(struct worker *w)
{
	uint64_t at = w->at + 256 * w->number;
	double expected = 0;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		uint64_t to = at + 64, count = 4;
		double term = w->number + 0.5;

		__asm__ volatile("movsd (%0), %%xmm7; addsd %1, %%xmm7; movsd %%xmm7, (%0)"
		                 :
		                 : "r"(at), "x"(term)
		                 : "xmm7", "memory");
		__asm__ volatile("fldl (%0); fstpl 8(%0)" : : "r"(at) : "memory");
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(i) : "memory");
		expected += term;
		w->failed |= *(volatile double *)(uintptr_t)(at + 8) != expected;
		w->failed |= *(volatile uint64_t *)(uintptr_t)(at + 88) != i || count;
	}
}

EVERYWHERE(do_not_mix_up)
{
	run(compute, at);
}

static void on_own_stack(struct worker *w)
{
	static uint8_t stacks[THREADS][1 << 16];
	stack_t stack = {.ss_sp = stacks[w->number], .ss_size = sizeof(stacks[0])};
	stack_t none = {.ss_flags = SS_DISABLE};

	sigaltstack(&stack, NULL);
	compute(w);
	sigaltstack(&none, NULL);
}

EVERYWHERE(have_alternate_stacks)
{
	run(on_own_stack, at);
}

/* ---- Threads that libc knows nothing of ------------------------------------------------------ */

/* Code that ThreadSanitizer instruments uses TLS all the time. */
extern void __tsan_init(void) __attribute__((weak));

struct raw {
	pid_t tid; /* the kernel clears it at the end */
	uint64_t at;
	uint8_t stack[1 << 16] __attribute__((aligned(64)));
	uint8_t signal_stack[1 << 16];
};

static struct raw raws[3];

NO_CANARY static long raw_call(long number, long a, long b)
{
	long value;

	__asm__ volatile("syscall"
	                 : "=a"(value)
	                 : "0"(number), "D"(a), "S"(b)
	                 : "rcx", "r11", "memory");
	return value;
}

/* Its FS base is 0. */
NO_CANARY static int raw_body(void *arg)
{
	struct raw *r = arg;
	stack_t stack = {.ss_sp = r->signal_stack, .ss_size = sizeof(r->signal_stack)};

	raw_call(SYS_sigaltstack, (long)&stack, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		__asm__ volatile("lock incq (%0)" : : "r"(r->at) : "memory", "cc");
		__asm__ volatile("movups %%xmm0, 64(%0)" : : "r"(r->at) : "memory");
	}
	return 0;
}

static void start_raw(struct raw *r, uint64_t at)
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
	            CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;

	r->at = at;
	r->tid = 1;
	assert_true(clone(raw_body, r->stack + sizeof(r->stack), flags, r, &r->tid, NULL, &r->tid) >
	            0);
}

EVERYWHERE(need_no_libc)
{
	if (__tsan_init)
		skip();
	memset(behind(at), 0, PAGE);
	for (unsigned i = 0; i < 3; i++)
		start_raw(&raws[i], at);
	for (unsigned i = 0; i < 3; i++)
		while (__atomic_load_n(&raws[i].tid, __ATOMIC_ACQUIRE))
			usleep(1000);
	assert_int_equal(result(at, 0), 3 * ROUNDS);
}

/* ---- Windows come and go --------------------------------------------------------------------- */

static atomic_bool enough;

static void *come_and_go(void *arg)
{
	static uint8_t memory[PAGE];
	unsigned *count = arg;

	for (; !enough; ++*count) {
		uint64_t at = (*count & 1 ? OTHERS : LOW_OTHERS) + PAGE * (*count % 7);
		struct regmap_config config = {
			.size = sizeof(config),
			.guest = *count % 5 ? at : HOST + 0x800, /* inside the one in use */
			.length = 256 + *count % 64,
			.access = RW,
			.backing = *count % 3 ? REGMAP_HOST : REGMAP_RAM,
			.flags = REGMAP_TRAP,
			.host = *count % 3 ? memory : NULL,
		};
		struct regmap_window *window;

		if (regmap_map(&config, &window) || regmap_unmap(window))
			return arg;
	}
	return NULL;
}

EVERYWHERE(fault_while_windows_come_and_go)
{
	unsigned count = 0;
	pthread_t mapper;
	void *failed;

	enough = false;
	assert_int_equal(pthread_create(&mapper, NULL, come_and_go, &count), 0);
	run(add, at);
	assert_int_equal(result(at, 0), TOTAL);
	enough = true;
	pthread_join(mapper, &failed);
	assert_null(failed);
	assert_true(count > 100);
}

/* A window that goes while it is used: its context isn't touched any more once it is gone. */

struct mortal {
	atomic_bool dead;
	atomic_uint touched_dead, uses;
};

static int mortal_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct mortal *m = ctx;

	(void)offset, (void)width;
	for (unsigned i = 0; i < 3; i++) {
		m->touched_dead += m->dead;
		sched_yield();
	}
	m->uses++;
	*value = 0x600d;
	return 0;
}

static const struct regmap_device_ops mortal_ops = {mortal_read, NULL};

static _Thread_local sigjmp_buf back;

static void on_fault(int signo)
{
	(void)signo;
	siglongjmp(back, 1);
}

static void *use_mortal(void *arg)
{
	volatile uint64_t *at = arg;
	volatile uintptr_t good = 0;

	while (!enough)
		if (!sigsetjmp(back, 1))
			good += *at == 0x600d;
		else
			sched_yield();
	return (void *)good;
}

static void one_life(struct mortal *m)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = OTHERS + 0x10000,
		.length = PAGE,
		.access = REGMAP_READ,
		.backing = REGMAP_DEVICE,
		.ops = &mortal_ops,
		.ctx = m,
	};
	struct regmap_window *window;

	assert_int_equal(regmap_map(&config, &window), 0);
	for (unsigned i = 0; m->uses < 3 && i < 100000; i++)
		sched_yield();
	assert_int_equal(regmap_unmap(window), 0);
	m->dead = true;
}

static void test_threads_unmap_waits(void **state)
{
	static struct mortal lives[300];
	pthread_t users[2];
	void *good;

	(void)state;
	signal(SIGSEGV, on_fault);
	enough = false;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&users[i], NULL, use_mortal,
		                                (void *)(uintptr_t)(OTHERS + 0x10000)),
		                 0);
	for (unsigned i = 0; i < 300; i++)
		one_life(&lives[i]);
	enough = true;
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(users[i], &good);
		assert_non_null(good);
	}
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(lives[i].touched_dead, 0);
}

/* ---- Births and deaths ----------------------------------------------------------------------- */

static void *short_life(void *arg)
{
	uint64_t at = (uintptr_t)arg;

	__asm__ volatile("lock incq (%0)" : : "r"(at) : "memory", "cc");
	if (at == HOST)
		pthread_exit(NULL);
	return NULL;
}

EVERYWHERE(are_born_and_die)
{
	memset(behind(at), 0, PAGE);
	for (unsigned i = 0; i < 50; i++) {
		pthread_t threads[20];

		for (unsigned k = 0; k < 20; k++)
			assert_int_equal(pthread_create(&threads[k], NULL, short_life,
			                                (void *)(uintptr_t)at),
			                 0);
		for (unsigned k = 0; k < 20; k++)
			pthread_join(threads[k], NULL);
	}
	assert_int_equal(result(at, 0), 1000);
}

#define T(name) cmocka_unit_test(test_threads_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lock_add_loses_nothing),
		T(lock_dec_keeps_its_neighbours),
		T(lock_xadd_gives_each_number_once),
		T(xchg_loses_nothing),
		T(cmpxchg_loses_nothing),
		T(cmpxchg16b_loses_nothing),
		T(lock_bts_sets_each_bit),
		T(mixed_operations_lose_nothing),
		T(lock_at_nowhere),
		T(do_not_mix_up),
		T(have_alternate_stacks),
		T(need_no_libc),
		T(fault_while_windows_come_and_go),
		T(unmap_waits),
		T(are_born_and_die),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("threads", tests, lay_all, NULL);
}
