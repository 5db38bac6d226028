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
#include <semaphore.h>
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

/* Offsets of the device that LOCKed operations and plain stores meet at. */
enum { SLOW = 3072, LOCK_AT = SLOW, STORE_AT = SLOW + 8, WRITE_AT = SLOW + 16 };

/* Some threads have no canary. */
#define NO_CANARY __attribute__((no_stack_protector))

NO_CANARY static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	*value = 0;
	memcpy(value, device + offset, width);
	if (offset >= SLOW)
		sched_yield(); /* a chance for somebody to come between the read and the write */
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

static atomic_uint users_served;

static void *use_mortal(void *arg)
{
	volatile uint64_t *at = arg;
	volatile bool served = false;

	while (!enough)
		if (sigsetjmp(back, 1)) {
			sched_yield();
		} else if (*at == 0x600d && !served) {
			served = true;
			users_served++;
		}
	return NULL;
}

static void one_life(struct mortal *m, unsigned users)
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
	for (unsigned i = 0; (m->uses < 3 && i < 100000) || users_served < users; i++)
		sched_yield();
	assert_int_equal(regmap_unmap(window), 0);
	m->dead = true;
}

static void test_threads_unmap_waits(void **state)
{
	static struct mortal lives[300];
	pthread_t users[2];

	(void)state;
	signal(SIGSEGV, on_fault);
	enough = false;
	users_served = 0;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&users[i], NULL, use_mortal,
		                                (void *)(uintptr_t)(OTHERS + 0x10000)),
		                 0);
	/* the first life is over when both have met it: one may begin late */
	for (unsigned i = 0; i < 300; i++)
		one_life(&lives[i], 2);
	enough = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(users[i], NULL);
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

/* ---- LOCKed operations and plain stores ------------------------------------------------------ */

/* A lock in a device: XCHG to take it, MOV to release it, as on any memory. */
static void spin_lock(uint64_t at)
{
	uint32_t taken;

	do {
		taken = 1;
		__asm__ volatile("xchgl %0, (%1)" : "+r"(taken) : "r"(at) : "memory");
		if (taken)
			sched_yield();
	} while (taken);
}

static void spin_unlock(uint64_t at)
{
	__asm__ volatile("movl $0, (%0)" : : "r"(at) : "memory");
}

static uint64_t guarded;

static void count_under_lock(struct worker *w)
{
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		spin_lock(w->at + LOCK_AT);
		guarded++;
		sched_yield();
		spin_unlock(w->at + LOCK_AT);
	}
}

EVERYWHERE(spinlock_is_released_by_a_plain_store)
{
	guarded = 0;
	run(count_under_lock, at);
	assert_int_equal(guarded, TOTAL / 4);
	assert_int_equal(result(at, LOCK_AT), 0);
}

/* A plain load may come in the middle of a LOCKed operation, where the device is not for two. */
static uint64_t load_locked(uint64_t at)
{
	uint64_t value = 0;

	__asm__ volatile("lock xaddq %0, (%1)" : "+r"(value) : "r"(at) : "memory", "cc");
	return value;
}

/*
 * One thread stores, the others add nothing: a store that fell between the read and the write of a
 * LOCKed operation would be lost, and never seen by anybody.
 */
static void store_or_add(struct worker *w)
{
	volatile uint64_t *value = (volatile uint64_t *)(w->at + STORE_AT);

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		if (w->number) {
			__asm__ volatile("lock addq $0, (%0)"
			                 :
			                 : "r"(w->at + STORE_AT)
			                 : "memory", "cc");
			continue;
		}
		*value = i + 1;
		w->failed |= load_locked(w->at + STORE_AT) != i + 1;
	}
}

EVERYWHERE(lock_keeps_plain_stores)
{
	run(store_or_add, at);
	assert_int_equal(result(at, STORE_AT), ROUNDS / 4);
}

/* The same by regmap_write(). */
static void write_or_add(struct worker *w)
{
	for (uint64_t i = 1; i <= ROUNDS / 4; i++) {
		if (w->number) {
			__asm__ volatile("lock orq $0, (%0)"
			                 :
			                 : "r"(w->at + WRITE_AT)
			                 : "memory", "cc");
			continue;
		}
		w->failed |= regmap_write(w->at + WRITE_AT, &i, 8) ||
		             load_locked(w->at + WRITE_AT) != i;
	}
}

static void test_threads_lock_keeps_regmap_write(void **state)
{
	(void)state;
	run(write_or_add, DEVICE);
	assert_int_equal(result(DEVICE, WRITE_AT), ROUNDS / 4);
}

/* Host memory that is aligned differently from the guest: CMPXCHG16B goes through a buffer. */
static void exchange_misaligned(struct worker *w)
{
	uint64_t at = w->at, low = 0, high = 0;

	for (unsigned i = 0; i < ROUNDS / 8; i++) {
		bool done = false;

		if (w->number == 0) {
			volatile uint64_t *mine = (volatile uint64_t *)(at + 8);

			*mine = i + 1; /* and only this thread changes it */
			w->failed |= *mine != i + 1;
			continue;
		}
		while (!done)
			__asm__ volatile("lock cmpxchg16b (%3)"
			                 : "+a"(low), "+d"(high), "=@ccz"(done)
			                 : "r"(at), "b"(low + 1), "c"(high)
			                 : "memory");
	}
}

static void test_threads_lock_through_a_buffer_keeps_stores(void **state)
{
	static uint8_t memory[64] __attribute__((aligned(16)));
	uint64_t low, high;

	(void)state;
	assert_int_equal(t_lay_host("misaligned", OTHERS + 0x20000, memory + 8, 32, RW), 0);
	run(exchange_misaligned, OTHERS + 0x20000);
	memcpy(&low, memory + 8, 8);
	memcpy(&high, memory + 16, 8);
	assert_int_equal(low, (THREADS - 1) * (ROUNDS / 8));
	assert_int_equal(high, ROUNDS / 8);
}

/* ---- Nobody waits for ever ------------------------------------------------------------------- */

/*
 * Two threads, each in a callback of its own window, where it accesses the other's. Both get there
 * before either goes on, so that each would wait for the other.
 */
static pthread_barrier_t both_inside;
static struct crossing {
	uint64_t at, other;
	void (*inner)(uint64_t at);
	struct regmap_window *window;
	uint64_t value;
	int result;
	unsigned depth;
} crossings[2];

static _Thread_local bool has_crossed;

/* Once: at the second barrier, one thread would wait for what the other one waits for. */
static void cross(struct crossing *c)
{
	if (has_crossed)
		return;
	has_crossed = true;
	pthread_barrier_wait(&both_inside);
	c->inner(c->other);
}

static int crossing_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	struct crossing *c = ctx;

	(void)offset, (void)width;
	cross(c);
	*value = __atomic_load_n(&c->value, __ATOMIC_RELAXED);
	return 0;
}

static int crossing_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct crossing *c = ctx;

	(void)offset, (void)width;
	cross(c);
	__atomic_store_n(&c->value, value, __ATOMIC_RELAXED);
	return 0;
}

static const struct regmap_device_ops crossing_ops = {crossing_read, crossing_write};

static void lock_or(uint64_t at)
{
	__asm__ volatile("lock orq $1, (%0)" : : "r"(at) : "memory", "cc");
}

static void plain_store(uint64_t at)
{
	__asm__ volatile("movq $1, (%0)" : : "r"(at) : "memory");
}

static void plain_load(uint64_t at)
{
	uint64_t value;

	__asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(at) : "memory");
}

static void (*outer)(uint64_t at);

static void *access_own(void *crossing)
{
	outer(((struct crossing *)crossing)->at);
	return NULL;
}

static void lay_crossings(void (*inner)(uint64_t))
{
	pthread_barrier_init(&both_inside, NULL, 2);
	for (unsigned i = 0; i < 2; i++) {
		struct crossing *c = &crossings[i];
		struct regmap_config config = {
			.size = sizeof(config),
			.guest = OTHERS + 0x30000 + i * PAGE,
			.length = PAGE,
			.access = RW,
			.backing = REGMAP_DEVICE,
			.ops = &crossing_ops,
			.ctx = c,
		};

		*c = (struct crossing){.at = config.guest, .inner = inner};
		c->other = OTHERS + 0x30000 + !i * PAGE;
		assert_int_equal(regmap_map(&config, &c->window), 0);
	}
}

static void run_crossings(void)
{
	pthread_t threads[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, access_own, &crossings[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&both_inside);
}

static void test_threads_crossing_accesses_do_not_hang(void **state)
{
	static void (*const kinds[])(uint64_t) = {lock_or, plain_store, plain_load};

	(void)state;
	for (unsigned o = 0; o < 3; o++) {
		for (unsigned i = 0; i < 3; i++) {
			outer = kinds[o];
			lay_crossings(kinds[i]);
			run_crossings();
			for (unsigned k = 0; k < 2; k++) {
				assert_int_equal(crossings[k].value, o < 2 || i < 2);
				assert_int_equal(regmap_unmap(crossings[k].window), 0);
			}
		}
	}
}

/* One of them gets its way, the other one is told, and may try again. */
static void unmap_other(uint64_t at)
{
	struct crossing *mine = &crossings[at == crossings[0].at],
			*other = &crossings[at != crossings[0].at];

	mine->result = regmap_unmap(other->window);
}

static void test_threads_crossing_unmaps_do_not_hang(void **state)
{
	uint64_t value;

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		int results;

		outer = plain_load;
		lay_crossings(unmap_other);
		run_crossings();
		results = crossings[0].result + crossings[1].result;
		assert_true(results == -EDEADLK || results == 0);
		for (unsigned i = 0; i < 2; i++) {
			if (!crossings[!i].result) { /* the other thread's */
				assert_int_equal(regmap_read(crossings[i].at, &value, 8), -EFAULT);
				continue;
			}
			has_crossed = true;
			assert_int_equal(regmap_read(crossings[i].at, &value, 8), 0);
			assert_int_equal(regmap_unmap(crossings[i].window), 0);
		}
	}
}

/* One waits in regmap_unmap(), the other one for a turn at the window that the first one is in. */
static void unmap_or_lock(uint64_t at)
{
	if (at == crossings[0].at)
		unmap_other(at);
	else
		lock_or(at);
}

static void test_threads_unmap_crossing_lock_does_not_hang(void **state)
{
	(void)state;
	outer = plain_load;
	lay_crossings(unmap_or_lock);
	run_crossings();
	assert_int_equal(crossings[1].result, 0);
	assert_int_equal(regmap_unmap(crossings[0].window), -EINVAL);
	assert_int_equal(regmap_unmap(crossings[1].window), 0);
}

/*
 * A callback that waits for another thread's access to its own window, which waits for its turn: the
 * library can't see that circle, and gives up after a while.
 */
static sem_t knock;
static atomic_bool knocking;
static uint64_t knocking_value;

static int knocking_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)width;
	knocking = true;
	if (offset == 0)
		sem_wait(&knock);
	else
		sem_post(&knock);
	__atomic_store_n(&knocking_value, value, __ATOMIC_RELAXED);
	return 0;
}

static int knocking_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = __atomic_load_n(&knocking_value, __ATOMIC_RELAXED);
	return 0;
}

static void *wait_in_callback(void *arg)
{
	plain_store((uintptr_t)arg);
	return NULL;
}

static void test_threads_lock_gives_up_on_a_callback_that_waits_for_it(void **state)
{
	static const struct regmap_device_ops with = {knocking_read, knocking_write};
	uint64_t at = OTHERS + 0x40000;
	pthread_t thread;

	(void)state;
	sem_init(&knock, 0, 0);
	assert_int_equal(t_lay_device("knock", at, PAGE, &with, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_in_callback, (void *)(uintptr_t)at), 0);
	while (!knocking)
		sched_yield();
	lock_or(at + 8);
	pthread_join(thread, NULL);
	sem_destroy(&knock);
}

/* A blocking read holds nobody back: an atomic store ends it. */
static int blocking_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	if (offset == 0)
		sem_wait(&knock);
	*value = offset == 0;
	return 0;
}

static int posting_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width;
	return value == 7 && sem_post(&knock);
}

static void *read_blocking(void *arg)
{
	return (void *)*(volatile uint64_t *)arg;
}

static void test_threads_blocking_read_is_ended_by_an_atomic_store(void **state)
{
	static const struct regmap_device_ops with = {blocking_read, posting_write};
	uint64_t at = OTHERS + 0x50000;
	pthread_t thread;
	void *value;

	(void)state;
	sem_init(&knock, 0, 0);
	assert_int_equal(t_lay_device("block", at, PAGE, &with, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_blocking, (void *)(uintptr_t)at), 0);
	atomic_store((_Atomic uint64_t *)(at + 8), 7);
	pthread_join(thread, &value);
	assert_ptr_equal(value, (void *)1);
	sem_destroy(&knock);
}

static int ignore_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

/* A child of vfork() shares all memory, and its parent stands still in the callback. */
static atomic_uint by_child;

static int forking_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	uint64_t at = (uintptr_t)ctx;
	pid_t child;

	(void)width;
	*value = 0;
	if (offset)
		return 0;
	child = vfork();
	if (child == 0) {
		lock_or(at + 8);
		plain_store(at + 8);
		by_child++;
		_exit(0);
	}
	return child < 0;
}

static void test_threads_vfork_in_a_locked_callback(void **state)
{
	static const struct regmap_device_ops with = {forking_read, ignore_write};
	uint64_t at = OTHERS + 0x60000;

	(void)state;
	if (__tsan_init) /* makes it a fork() */
		skip();
	assert_int_equal(t_lay_device("vfork", at, PAGE, &with, (void *)(uintptr_t)at), 0);
	lock_or(at);
	plain_load(at);
	assert_int_equal(by_child, 2);
}

/* ---- All at once ----------------------------------------------------------------------------- */

/*
 * Windows of three kinds and an alias come and go in a few places while other threads access those
 * places in every way there is. Each access hits some window or none; nothing else may happen.
 */
enum { PLACES = 6, MOST_RACES = 200 };
#define PLACE(i) (OTHERS + 0x100000 + (i)*0x800)

static uint8_t race_memory[PLACES][PAGE];
static atomic_uint race_hits;

static int race_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)offset, (void)width;
	*value = __atomic_load_n((uint64_t *)ctx, __ATOMIC_RELAXED);
	return 0;
}

static int race_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)offset, (void)width;
	__atomic_store_n((uint64_t *)ctx, value, __ATOMIC_RELAXED);
	return 0;
}

static const struct regmap_device_ops race_ops = {race_read, race_write};

static struct regmap_window *lay_race(unsigned place, unsigned kind, void *ctx)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = PLACE(place),
		.length = 0x800,
		.access = RW,
		.backing = (enum regmap_backing[]){REGMAP_HOST, REGMAP_DEVICE, REGMAP_RAM,
	                                           REGMAP_ALIAS}[kind % 4],
		.flags = REGMAP_TRAP,
		.host = kind % 4 == 0 ? race_memory[place] : NULL,
		.ops = kind % 4 == 1 ? &race_ops : NULL,
		.ctx = kind % 4 == 1 ? ctx : NULL,
		.target = kind % 4 == 3 ? PLACE((place + 1) % PLACES) : 0,
	};
	struct regmap_window *window;

	return regmap_map(&config, &window) ? NULL : window;
}

/* The context dies with its window. */
static void *lay_and_take(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg, mine = seed % 2;

	for (unsigned i = 0; i < MOST_RACES; i++) {
		unsigned place = 2 * (rand_r(&seed) % (PLACES / 2)) + mine;
		uint64_t *ctx = calloc(1, sizeof(*ctx));
		struct regmap_window *window = lay_race(place, (unsigned)rand_r(&seed), ctx);

		for (unsigned k = 0; k < 3; k++)
			sched_yield();
		if (!window || regmap_unmap(window))
			return arg;
		free(ctx);
	}
	return NULL;
}

static void race_once(uint64_t at, unsigned what)
{
	uint64_t value = what;
	void *memory;

	switch (what % 8) {
	case 0: plain_load(at); break;
	case 1: plain_store(at); break;
	case 2: lock_or(at); break;
	case 3: __asm__ volatile("movdqu (%0), %%xmm0" : : "r"(at) : "xmm0", "memory"); break;
	case 4: __asm__ volatile("movdqu %%xmm0, (%0)" : : "r"(at) : "memory"); break;
	case 5: race_hits += !regmap_read(at, &value, 8); return;
	case 6: race_hits += !regmap_write(at, &value, 8); return;
	case 7: race_hits += !regmap_translate(at, &memory); return;
	}
	race_hits++;
}

static void *race(void *arg)
{
	volatile unsigned seed = (unsigned)(uintptr_t)arg;

	while (!enough) {
		unsigned next = seed;
		uint64_t at = PLACE(rand_r(&next) % PLACES) + 8 * (unsigned)(rand_r(&next) % 200);
		unsigned what = (unsigned)rand_r(&next);

		seed = next;
		if (!sigsetjmp(back, 1))
			race_once(at, what);
	}
	return NULL;
}

static void test_threads_everything_races(void **state)
{
	pthread_t users[3], mappers[2];
	void *failed;

	(void)state;
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	enough = false;
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&users[i], NULL, race, (void *)(i + 10)), 0);
	for (uintptr_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&mappers[i], NULL, lay_and_take, (void *)(i + 100)),
		                 0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(mappers[i], &failed);
		assert_null(failed);
	}
	enough = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(users[i], NULL);
	assert_true(race_hits > 0);
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
		T(spinlock_is_released_by_a_plain_store),
		T(lock_keeps_plain_stores),
		T(lock_keeps_regmap_write),
		T(lock_through_a_buffer_keeps_stores),
		T(crossing_accesses_do_not_hang),
		T(crossing_unmaps_do_not_hang),
		T(unmap_crossing_lock_does_not_hang),
		T(lock_gives_up_on_a_callback_that_waits_for_it),
		T(blocking_read_is_ended_by_an_atomic_store),
		T(vfork_in_a_locked_callback),
		T(everything_races),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("threads", tests, lay_all, NULL);
}
