/* SPDX-License-Identifier: MIT */
/*
 * Patched sites among other threads and signals: no access by a view outlives its window, and no
 * handler sees a slot.
 */
#define _GNU_SOURCE
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <regmap/regmap.h>

#include "child.h"

#define AT 0x40000000u
#define OUTER 0x40100000u
#define DEVICE 0x40200000u
#define FORKED 0x40300000u
enum { PAGE = 4096, ROUNDS = 200, LATER = 0x5a5a5a5a };

/* Each is one site. The bytes behind it say where its jump leads: far below, where nothing is. */
#define SITE(name, instructions) \
	__asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
	        ".cfi_startproc\n" #name "_site: " instructions \
	        "\nret\nnop\nnop\nnop\n.cfi_endproc\n.size " #name ", . - " #name "\n"); \
	extern const char name##_site[]; \
	uint32_t name(const volatile void *at, uint32_t value)

SITE(load, "movl (%rdi), %eax");
SITE(store, "movl %esi, (%rdi)");
SITE(add_to, "addl %esi, (%rdi)");
SITE(lock_add, "lock addl %esi, (%rdi)");
SITE(load_device, "movl 4(%rdi), %eax");

static uint32_t *more(void)
{
	uint32_t *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *window;

	c.size = sizeof(c);
	c.length = c.length ? c.length : PAGE;
	c.access = c.access ? c.access : REGMAP_READ | REGMAP_WRITE;
	assert_int_equal(regmap_map(&c, &window), 0);
	return window;
}

static struct regmap_window *lay_host(uint64_t guest, void *host)
{
	return lay((struct regmap_config){.guest = guest, .backing = REGMAP_HOST, .host = host});
}

static bool has_patching(void)
{
	return regmap_patch(1) == 0;
}

static bool is_patched(const char *site)
{
	return regmap_patch_site(site) == 1;
}

/* --- views --- */

static void test_hot_sites_are_patched(void **unused)
{
	uint32_t *memory = more();
	struct regmap_window *w = lay_host(AT, memory);

	(void)unused;
	for (unsigned i = 0; i < 10; i++) {
		store((void *)(uintptr_t)AT, i);
		assert_int_equal(load((void *)(uintptr_t)AT, 0), i);
		assert_int_equal(memory[0], i);
	}
	assert_true(is_patched(load_site));
	assert_true(is_patched(store_site));
	assert_int_equal(regmap_unmap(w), 0);
}

/* Another window at the same address: the next access is one to that. */
static void test_hot_follows_the_table(void **unused)
{
	uint32_t *one = more(), *other = more();

	(void)unused;
	for (unsigned i = 0; i < 200; i++) {
		uint32_t *memory = i % 2 ? one : other;
		struct regmap_window *w = lay_host(AT, memory);

		store((void *)(uintptr_t)AT, i);
		add_to((void *)(uintptr_t)AT, 1000);
		assert_int_equal(memory[0], i + 1000);
		assert_int_equal(load((void *)(uintptr_t)AT, 0), i + 1000);
		assert_int_equal(regmap_unmap(w), 0);
	}
}

static void test_hot_window_inside(void **unused)
{
	uint32_t *outer = more(), *inner = more();
	struct regmap_window *w = lay_host(OUTER, outer), *in;

	(void)unused;
	outer[4] = 1;
	inner[0] = 2;
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(load((void *)(uintptr_t)(OUTER + 16), 0), 1);
		in = lay((struct regmap_config){.guest = OUTER + 16,
		                                .length = 4,
		                                .backing = REGMAP_HOST,
		                                .host = inner});
		assert_int_equal(load((void *)(uintptr_t)(OUTER + 16), 0), 2);
		assert_int_equal(regmap_unmap(in), 0);
	}
	assert_int_equal(regmap_unmap(w), 0);
}

/* What an alias leads to changes. */
static void test_hot_alias(void **unused)
{
	uint32_t *one = more(), *other = more();
	struct regmap_window *alias = lay(
		(struct regmap_config){.guest = OUTER, .backing = REGMAP_ALIAS, .target = AT});

	(void)unused;
	for (unsigned i = 0; i < 50; i++) {
		uint32_t *memory = i % 2 ? one : other;
		struct regmap_window *w = lay_host(AT, memory);

		memory[0] = i;
		assert_int_equal(load((void *)(uintptr_t)OUTER, 0), i);
		assert_int_equal(regmap_unmap(w), 0);
	}
	assert_int_equal(regmap_unmap(alias), 0);
}

static void test_hot_many_windows_at_one_site(void **unused)
{
	enum { MANY = 300 };
	struct regmap_window *w[MANY];
	uint32_t *memory = more();

	(void)unused;
	for (unsigned i = 0; i < MANY; i++)
		w[i] = lay((struct regmap_config){.guest = AT + 64 * i,
		                                  .length = 4,
		                                  .backing = REGMAP_HOST,
		                                  .host = &memory[i]});
	for (unsigned round = 1; round < 20; round++) {
		for (unsigned i = 0; i < MANY; i++)
			store((void *)(uintptr_t)(AT + 64 * i), i * round);
		for (unsigned i = 0; i < MANY; i++)
			assert_int_equal(memory[i], i * round);
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(regmap_unmap(w[i]), 0);
}

static sigjmp_buf refused;
static volatile uint64_t refused_rip, refused_address;

static void refuse(int signo, siginfo_t *info, void *ucontext)
{
	(void)signo;
	refused_rip = (uint64_t)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
	refused_address = (uintptr_t)info->si_addr;
	siglongjmp(refused, 1);
}

/* What a view doesn't allow, the program hears of as ever. */
static void test_hot_read_only(void **unused)
{
	struct sigaction act = {.sa_sigaction = refuse, .sa_flags = SA_SIGINFO}, before;
	struct regmap_window *w;
	uint32_t *memory = more();

	(void)unused;
	w = lay((struct regmap_config){.guest = AT,
	                               .backing = REGMAP_HOST,
	                               .host = memory,
	                               .access = REGMAP_READ});
	sigaction(SIGSEGV, &act, &before);
	assert_int_equal(load((void *)(uintptr_t)(AT + 8), 0), 0);
	if (!sigsetjmp(refused, 1)) {
		store((void *)(uintptr_t)(AT + 8), 1);
		fail();
	}
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(refused_rip, (uintptr_t)store_site);
	assert_int_equal(refused_address, AT + 8);
	assert_int_equal(memory[2], 0);
	assert_int_equal(regmap_unmap(w), 0);
}

/* The host memory behind the window is gone: the fault is one at the guest address. */
static void test_hot_host_memory_faults(void **unused)
{
	struct sigaction act = {.sa_sigaction = refuse, .sa_flags = SA_SIGINFO}, before;
	uint32_t *memory = more();
	struct regmap_window *w = lay_host(AT, memory);

	(void)unused;
	for (unsigned i = 0; i < 5; i++)
		load((void *)(uintptr_t)(AT + 8), 0);
	assert_true(is_patched(load_site));
	mprotect(memory, PAGE, PROT_NONE);
	sigaction(SIGSEGV, &act, &before);
	if (!sigsetjmp(refused, 1)) {
		load((void *)(uintptr_t)(AT + 8), 0);
		fail();
	}
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(refused_rip, (uintptr_t)load_site);
	assert_int_equal(refused_address, AT + 8);
	assert_int_equal(regmap_unmap(w), 0);
	mprotect(memory, PAGE, PROT_READ | PROT_WRITE);
}

/* --- threads --- */

static _Atomic bool stop;
static _Atomic uint64_t accesses;

static void *reads_what_may_be_there(void *unused)
{
	uint64_t n = 0;

	(void)unused;
	while (!atomic_load(&stop)) {
		uint32_t seen = load((void *)(uintptr_t)(OUTER + 16), 0);

		if (seen != LATER && seen != ~(uint32_t)LATER)
			abort();
		store((void *)(uintptr_t)(OUTER + 16), seen);
		if (!n++)
			atomic_fetch_add(&accesses, 1);
	}
	return NULL;
}

/*
 * Threads go on while a window comes and goes inside of another one; its memory is unmapped as soon as it
 * has gone, so that an access too late would be the end.
 */
static void test_hot_unmap_waits_for_views(void **unused)
{
	uint32_t *outer = more();
	struct regmap_window *w = lay_host(OUTER, outer);
	pthread_t thread[3];

	(void)unused;
	outer[4] = LATER;
	atomic_store(&stop, false);
	atomic_store(&accesses, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reads_what_may_be_there, NULL),
		                 0);
	while (atomic_load(&accesses) < 3)
		sched_yield();
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t *inner = more();
		struct regmap_window *in;

		inner[0] = ~(uint32_t)LATER;
		in = lay((struct regmap_config){.guest = OUTER + 16,
		                                .length = 16,
		                                .backing = REGMAP_HOST,
		                                .host = inner});
		if (round % 8 == 0)
			sched_yield();
		assert_int_equal(regmap_unmap(in), 0);
		munmap(inner, PAGE);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(regmap_unmap(w), 0);
}

/* In place, and in two halves: the one that crosses into the next window goes through a buffer. */
static void *adds_across(void *at)
{
	for (unsigned i = 0; i < 10 * ROUNDS; i++)
		lock_add(at, 1);
	return NULL;
}

static void *stores_beside(void *at)
{
	for (unsigned i = 1; i <= ROUNDS * 200; i++) {
		store(at, i);
		if (load(at, 0) != i)
			abort();
	}
	return NULL;
}

static void test_hot_locked_keeps_stores_waiting(void **unused)
{
	uint8_t *memory = (uint8_t *)more();
	struct regmap_window *one = lay_host(AT, memory), *next;
	pthread_t thread[2];
	uint32_t sum;

	(void)unused;
	next = lay_host(AT + PAGE, more());
	/* 2 bytes of the LOCKed operand lie in the window, 2 bytes before it what the store changes */
	assert_int_equal(pthread_create(&thread[0], NULL, adds_across,
	                                (void *)(uintptr_t)(AT + PAGE - 2)),
	                 0);
	assert_int_equal(pthread_create(&thread[1], NULL, stores_beside,
	                                (void *)(uintptr_t)(AT + PAGE - 6)),
	                 0);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	sum = load((void *)(uintptr_t)(AT + PAGE - 2), 0);
	assert_int_equal(sum, 10 * ROUNDS);
	assert_int_equal(regmap_unmap(one), 0);
	assert_int_equal(regmap_unmap(next), 0);
}

/* --- signals --- */

static const char *const sites[] = {load_site, store_site, add_to_site, load_device_site};
static volatile unsigned ticks, seen_wrong, shown;
static void *loop_start, *loop_end;

/* RIP is one of the program's; where it is one of a site's, backtrace() has the caller. */
static void tick(int signo, siginfo_t *info, void *ucontext)
{
	uint64_t rip = (uint64_t)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
	void *frames[32];
	int depth;

	(void)signo, (void)info;
	ticks++;
	for (unsigned i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
		if (rip - (uintptr_t)sites[i] > 8)
			continue;
		depth = backtrace(frames, 32);
		for (int d = 0; d < depth; d++)
			if (frames[d] >= loop_start && frames[d] < loop_end) {
				shown++;
				return;
			}
		seen_wrong++;
	}
}

static int read_device(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	*value = offset;
	return 0;
}

static int write_device(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

static const struct regmap_device_ops ops = {read_device, write_device};

__attribute__((noinline)) static void loop(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		store((void *)(uintptr_t)AT, i);
		add_to((void *)(uintptr_t)AT, 1);
		if (load((void *)(uintptr_t)AT, 0) != i + 1)
			abort();
		if (load_device((void *)(uintptr_t)DEVICE, 0) != 4)
			abort();
	}
}
__attribute__((noinline)) static void end_of_loop(void)
{
	__asm__ volatile("");
}

static void test_hot_profiler(void **unused)
{
	const struct itimerval fast = {{0, 100}, {0, 100}}, off = {{0, 0}, {0, 0}};
	struct sigaction act = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART}, before;
	struct regmap_window *w = lay_host(AT, more());
	struct regmap_window *d = lay((struct regmap_config){.guest = DEVICE,
	                                                     .backing = REGMAP_DEVICE,
	                                                     .flags = REGMAP_GENERAL,
	                                                     .ops = &ops});
	void *warm[4];

	(void)unused;
	(void)backtrace(warm, 4); /* it allocates once */
	loop_start = (void *)loop;
	loop_end = (char *)loop + 4096;
	(void)end_of_loop;
	ticks = shown = seen_wrong = 0;
	sigaction(SIGPROF, &act, &before);
	setitimer(ITIMER_PROF, &fast, NULL);
	while (ticks < 300)
		loop(1000);
	setitimer(ITIMER_PROF, &off, NULL);
	sigaction(SIGPROF, &before, NULL);
	assert_int_equal(seen_wrong, 0);
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(regmap_unmap(d), 0);
}

/* A handler of any kind may leave by siglongjmp(), out of the middle of an access. */
static sigjmp_buf out;
static volatile bool may_leave;

static void leave(int signo)
{
	(void)signo;
	if (may_leave)
		siglongjmp(out, 1);
}

static void test_hot_handler_leaves(void **unused)
{
	const struct itimerval fast = {{0, 500}, {0, 500}}, off = {{0, 0}, {0, 0}};
	struct sigaction act = {.sa_handler = leave}, before;
	volatile unsigned times = 0;
	struct regmap_window *w = lay_host(AT, more());
	struct regmap_window *d = lay(
		(struct regmap_config){.guest = DEVICE, .backing = REGMAP_DEVICE, .ops = &ops});

	(void)unused;
	sigaction(SIGPROF, &act, &before);
	setitimer(ITIMER_PROF, &fast, NULL);
	if (sigsetjmp(out, 1))
		times++;
	may_leave = true;
	while (times < 100)
		loop(1000);
	may_leave = false;
	setitimer(ITIMER_PROF, &off, NULL);
	sigaction(SIGPROF, &before, NULL);
	/* nothing is left behind that an unmap would wait for */
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(regmap_unmap(d), 0);
}

/* Handlers may use the same sites, and map and unmap. */
static void uses_sites(int signo)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = FORKED,
	                          .length = PAGE,
	                          .access = REGMAP_READ | REGMAP_WRITE,
	                          .backing = REGMAP_HOST,
	                          .host = (void *)(uintptr_t)loop_start};

	(void)signo, (void)c;
	ticks++;
	if (load((void *)(uintptr_t)(AT + 64), 0) != 7)
		abort();
	store((void *)(uintptr_t)(AT + 128), 9);
	load_device((void *)(uintptr_t)DEVICE, 0);
}

static void test_hot_handlers_use_sites(void **unused)
{
	const struct itimerval fast = {{0, 200}, {0, 200}}, off = {{0, 0}, {0, 0}};
	struct sigaction act = {.sa_handler = uses_sites}, before;
	uint32_t *memory = more();
	struct regmap_window *w = lay_host(AT, memory);
	struct regmap_window *d = lay(
		(struct regmap_config){.guest = DEVICE, .backing = REGMAP_DEVICE, .ops = &ops});

	(void)unused;
	memory[16] = 7;
	ticks = 0;
	sigaction(SIGPROF, &act, &before);
	setitimer(ITIMER_PROF, &fast, NULL);
	while (ticks < 300)
		loop(1000);
	setitimer(ITIMER_PROF, &off, NULL);
	sigaction(SIGPROF, &before, NULL);
	assert_int_equal(memory[32], 9);
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(regmap_unmap(d), 0);
}

/* --- processes --- */

/* The child has only one of the threads, wherever the others were. */
static void test_hot_fork(void **unused)
{
	uint32_t *outer = more();
	struct regmap_window *w = lay_host(OUTER, outer);
	pthread_t thread[2];
	int status;

	(void)unused;
	outer[4] = LATER;
	atomic_store(&stop, false);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reads_what_may_be_there, NULL),
		                 0);
	for (unsigned round = 0; round < 50; round++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (!child) {
			uint32_t seen = load((void *)(uintptr_t)(OUTER + 16), 0);

			alarm(20);
			store((void *)(uintptr_t)(OUTER + 16), 1);
			_exit(seen != LATER || outer[4] != 1 || regmap_unmap(w));
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(regmap_unmap(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hot_sites_are_patched),
		cmocka_unit_test(test_hot_follows_the_table),
		cmocka_unit_test(test_hot_window_inside),
		cmocka_unit_test(test_hot_alias),
		cmocka_unit_test(test_hot_many_windows_at_one_site),
		cmocka_unit_test(test_hot_read_only),
		cmocka_unit_test(test_hot_host_memory_faults),
		cmocka_unit_test(test_hot_unmap_waits_for_views),
		cmocka_unit_test(test_hot_locked_keeps_stores_waiting),
		cmocka_unit_test(test_hot_profiler),
		cmocka_unit_test(test_hot_handler_leaves),
		cmocka_unit_test(test_hot_handlers_use_sites),
		cmocka_unit_test(test_hot_fork),
	};

	if (!has_patching())
		return 77;
	return cmocka_run_group_tests_name("hot", tests, NULL, NULL);
}
