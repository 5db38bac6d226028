/* SPDX-License-Identifier: MIT */
/* Threads, signals, steps, breakpoints and faults in the middle of fragments. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
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
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>
#include <regmap/registers.h>
#include <regmap/regmap.h>

#include "../src/armed.h"
#include "../src/patch_sites.h"
#include "child.h"
#include "lay.h"

#define WINDOW 0xffff900000000000ULL
#define BEHIND (WINDOW + SIZE) /* another one, of other memory */
#define DEVICE 0xffff910000000000ULL
#define FIXED 0xffff920000000000ULL /* read-only */
#define OTHER 0xffff930000000000ULL /* comes and goes */
enum { PAGE = 4096, SIZE = 4096, WARM_UP = 200, CF = 1, ZF = 0x40, STATUS = 0x8d5 };
enum { TRAP_FLAG = 0x100 };

static uint8_t memory[SIZE] __attribute__((aligned(PAGE)));
static uint8_t behind[SIZE] __attribute__((aligned(PAGE)));
static uint8_t fixed[SIZE] __attribute__((aligned(PAGE)));
static uint8_t other[SIZE] __attribute__((aligned(PAGE)));
static _Atomic uint64_t device_reads;

#define FUNCTION(name, code) \
	__asm__(".text\n.p2align 6\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" code \
	        "\n.globl " #name "_end\n" #name "_end:\n.size " #name ", . - " #name "\n")
#define LABEL(name) ".globl " name "\n" name ":\n"

static uint64_t *word(void *at, unsigned offset)
{
	return (uint64_t *)((uint8_t *)at + offset);
}

/* --- is it in one --- */

static bool is_in_fragment(const void *site)
{
	const struct patch *p = regmap__patch_of((uintptr_t)site);

	return p && p->fragment && patch_kind(p) != PATCH_NONE;
}

static void need_fragment(const void *site)
{
	if (!is_in_fragment(site))
		fail_msg("%p is in no fragment", site);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void sleep_us(unsigned us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};

	nanosleep(&t, NULL);
}

static unsigned long wanted(const char *name, unsigned long otherwise)
{
	const char *wish = getenv(name);

	return wish ? strtoul(wish, NULL, 0) : otherwise;
}

/* --- a loop that only ends when it is told so --- */

/* RDI: a window; RSI: in RDX until *RSI isn't 0. */
FUNCTION(spin, "xor %eax, %eax\n"
               LABEL("spin_site") "mov (%rdi), %rcx\n.nops 4\n"
               "add $1, %rax\n"
               "mov %rcx, 8(%rdi)\n.nops 4\n"
               "cmpq $0, (%rsi)\n.nops 4\n"
               "je spin_site\n"
               "ret\n");
uint64_t spin(uint64_t at, const _Atomic uint64_t *stop);
extern const uint8_t spin_site[];

struct spinner {
	pthread_t thread;
	uint64_t at;
	int cpu; /* -1: any */
	_Atomic uint64_t stop;
	atomic_bool runs, faulted;
	siginfo_t info;
	uint64_t rip;
};
static __thread struct spinner *spinning;
static __thread sigjmp_buf away;

static void on_gone(int signo, siginfo_t *info, void *uc)
{
	(void)signo;
	spinning->info = *info;
	spinning->rip = (uint64_t)((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
	siglongjmp(away, 1);
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (cpu >= 0)
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void *run_spinner(void *arg)
{
	static const _Atomic uint64_t at_once = 1;
	struct spinner *s = arg;

	spinning = s;
	stay_on(s->cpu);
	if (!sigsetjmp(away, 1)) {
		for (unsigned i = 0; i < WARM_UP; i++)
			spin(s->at, &at_once);
		atomic_store(&s->runs, true);
		spin(s->at, &s->stop);
	} else {
		atomic_store(&s->faulted, true);
	}
	return NULL;
}

static void begin_spinner(struct spinner *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, run_spinner, s), 0);
	while (!atomic_load(&s->runs))
		sched_yield();
	sleep_us(3000);
}

static void end_spinner(struct spinner *s)
{
	atomic_store(&s->stop, 1);
	pthread_join(s->thread, NULL);
}

static struct regmap_window *lay_other(void)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = OTHER,
		.length = SIZE,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_HOST,
		.host = other,
	};
	struct regmap_window *w;

	assert_int_equal(regmap_map(&config, &w), 0);
	return w;
}

static int this_cpu(void)
{
	return sched_getcpu();
}

/* For as long as a test: both on one processor, where nothing happens at the same time. */
static void share_one(cpu_set_t *before, int cpu)
{
	sched_getaffinity(0, sizeof(*before), before);
	stay_on(cpu);
}

static void check_unmaps(bool one_cpu)
{
	int cpu = one_cpu ? this_cpu() : -1;
	struct spinner s = {.at = WINDOW, .cpu = cpu};
	uint64_t most = 0;
	cpu_set_t before;

	share_one(&before, cpu);
	begin_spinner(&s);
	need_fragment(spin_site);
	for (unsigned i = 0; i < 30; i++) {
		struct regmap_window *w = lay_other();
		uint64_t from;

		sleep_us(2000);
		(void)*(volatile uint64_t *)OTHER;
		from = now_ms();
		regmap_unmap(w);
		if (now_ms() - from > most)
			most = now_ms() - from;
	}
	sched_setaffinity(0, sizeof(before), &before);
	end_spinner(&s);
	assert_false(s.faulted);
	if (most > 400)
		fail_msg("regmap_unmap() took %u ms", (unsigned)most);
}

static void test_fragments_let_others_unmap(void **state)
{
	(void)state;
	check_unmaps(false);
}

static void test_fragments_let_others_unmap_on_one_processor(void **state)
{
	(void)state;
	check_unmaps(true);
}

static void test_fragments_lose_their_window(void **state)
{
	struct sigaction act = {.sa_sigaction = on_gone, .sa_flags = SA_SIGINFO}, old;

	(void)state;
	sigaction(SIGSEGV, &act, &old);
	for (unsigned i = 0; i < 10; i++) {
		struct regmap_window *w = lay_other();
		struct spinner s = {.at = OTHER, .cpu = -1};
		uint64_t from;

		begin_spinner(&s);
		from = now_ms();
		regmap_unmap(w);
		memset(other, 0x5a, SIZE);
		pthread_join(s.thread, NULL);
		assert_true(now_ms() - from < 2000);
		assert_true(s.faulted);
		assert_int_equal(*word(other, 8), 0x5a5a5a5a5a5a5a5a);
		assert_in_range(s.rip, (uintptr_t)spin_site, (uintptr_t)spin_site + 20);
	}
	sigaction(SIGSEGV, &old, NULL);
}

/* --- code that changes --- */

/*
 * RDI: 0: any, 8: what the constant is at least, 16: end. The constant changes first, then what is at 8: whoever
 * sees that must see the constant.
 */
FUNCTION(follow, LABEL("follow_site") "mov (%rdi), %rax\n.nops 4\n"
                 ".rept 100\nimul %r10, %r10\n.endr\n"
                 "mov 8(%rdi), %rcx\n.nops 4\n"
                 ".p2align 3\n.nops 3\n"
                 LABEL("follow_constant") "mov $0, %eax\n"
                 "cmp %rcx, %rax\n"
                 "jb 1f\n"
                 "cmpq $0, 16(%rdi)\n.nops 4\n"
                 "je follow_site\n"
                 "xor %eax, %eax\nret\n"
                 "1: ret\n");
void follow(void);
extern const uint8_t follow_site[], follow_constant[], follow_end[];

struct follower {
	uint8_t *code;
	int cpu;
	atomic_bool runs;
	atomic_uint wrong;
};

static void *run_follower(void *arg)
{
	struct follower *f = arg;
	uint64_t (*code)(uint64_t) = (uint64_t(*)(uint64_t))(uintptr_t)f->code;

	stay_on(f->cpu);
	while (!atomic_load((_Atomic uint64_t *)word(memory, 16))) {
		atomic_store(&f->runs, true);
		if (code(WINDOW))
			atomic_fetch_add(&f->wrong, 1);
	}
	return NULL;
}

static bool await_fragment(const void *site)
{
	for (unsigned i = 0; i < 400 && !is_in_fragment(site); i++)
		sleep_us(500);
	return is_in_fragment(site);
}

/* Natively it need not be executable for a moment: others run it. */
static void change_constant(uint8_t *code, uint32_t to)
{
	uint8_t *at = code + (follow_constant - (const uint8_t *)follow) + 1;

	assert_int_equal((uintptr_t)at % 4, 0);
	assert_int_equal(mprotect(code, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	atomic_store((_Atomic uint32_t *)(void *)at, to);
	assert_int_equal(mprotect(code, PAGE, PROT_READ | PROT_EXEC), 0);
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	atomic_store((_Atomic uint64_t *)word(memory, 8), to);
}

static void check_changes(bool one_cpu)
{
	struct follower f = {.cpu = one_cpu ? this_cpu() : -1};
	unsigned rounds = 0, turns = (unsigned)wanted("T_CHANGES", 300);
	cpu_set_t before;
	pthread_t thread;

	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	memset(memory, 0, sizeof(memory));
	f.code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(f.code, (const void *)follow, (size_t)(follow_end - (const uint8_t *)follow));
	mprotect(f.code, PAGE, PROT_READ | PROT_EXEC);
	share_one(&before, f.cpu);
	assert_int_equal(pthread_create(&thread, NULL, run_follower, &f), 0);
	for (uint32_t i = 1; i <= turns; i++) {
		rounds += await_fragment(f.code);
		sleep_us(rand() % 3000);
		change_constant(f.code, i);
	}
	atomic_store((_Atomic uint64_t *)word(memory, 16), 1);
	pthread_join(thread, NULL);
	sched_setaffinity(0, sizeof(before), &before);
	assert_true(rounds > turns / 2);
	assert_int_equal(f.wrong, 0);
	munmap(f.code, PAGE);
}

static void test_fragments_see_code_that_changes(void **state)
{
	(void)state;
	check_changes(false);
}

static void test_fragments_see_code_that_changes_on_one_processor(void **state)
{
	(void)state;
	check_changes(true);
}

/* --- */

static int read_device(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	atomic_fetch_add(&device_reads, 1);
	*value = 0x1000 + offset;
	return 0;
}

static int write_device(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

static const struct regmap_device_ops device = {.read = read_device, .write = write_device};

static int start(void **state)
{
	unsigned both = REGMAP_READ | REGMAP_WRITE;

	(void)state;
	return t_lay_host("memory", WINDOW, memory, SIZE, both) ||
	       t_lay_host("behind", BEHIND, behind, SIZE, both) ||
	       t_lay_host("fixed", FIXED, fixed, SIZE, REGMAP_READ) ||
	       t_lay_device("device", DEVICE, SIZE, &device, NULL) || regmap_map_registers();
}

static int switch_on(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	return regmap_patch(2);
}

static int switch_off(void **state)
{
	(void)state;
	return regmap_patch(0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_fragments_##name, switch_on, switch_off)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(let_others_unmap),
		TEST(let_others_unmap_on_one_processor),
		TEST(lose_their_window),
		TEST(see_code_that_changes),
		TEST(see_code_that_changes_on_one_processor),
	};

	return cmocka_run_group_tests_name("fragments", tests, start, NULL);
}
