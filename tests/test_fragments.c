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
#include "try.h"

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
	__asm__(".text\n.p2align 6\n.globl " #name "\n.type " #name ", @function\n" #name \
	        ":\n" code "\n.globl " #name "_end\n" #name "_end:\n.size " #name ", . - " #name \
	        "\n")
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

static uint32_t faults_of(const void *site)
{
	const struct patch_site *s = regmap__site_at((uintptr_t)site, false);

	return s ? atomic_load(&s->faults) : 0;
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
/* clang-format off */
FUNCTION(spin, "xor %eax, %eax\n"
               LABEL("spin_site") "{disp32} mov (%rdi), %rcx\n"
               "add $1, %rax\n"
               "{disp32} mov %rcx, 8(%rdi)\n"
               "{disp32} cmpq $0, (%rsi)\n"
               "je spin_site\n"
               "ret\n");
/* clang-format on */
typedef uint64_t spin_fn(uint64_t at, const _Atomic uint64_t *stop);
spin_fn spin, idle;
extern const uint8_t spin_site[];

/* Round and round without an access by way of a view: back by JMP, or by a condition. */
extern _Atomic uint64_t idle_stop;
_Atomic uint64_t idle_stop;
/* clang-format off */
FUNCTION(idle, "xor %eax, %eax\n"
               LABEL("idle_site") "{disp32} mov (%rdi), %rcx\n"
               "{disp32} mov %rcx, 8(%rdi)\n"
               "1: add $1, %rax\n"
               "test $1, %al\n"
               "jz 1b\n"
               "cmpq $0, idle_stop(%rip)\n"
               "jne 2f\n"
               "jmp 1b\n"
               "2: ret\n");
/* clang-format on */
extern const uint8_t idle_site[];

struct spinner {
	spin_fn *spin;
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
		atomic_store(&idle_stop, 1);
		for (unsigned i = 0; i < WARM_UP; i++)
			s->spin(s->at, &at_once);
		atomic_store(&idle_stop, 0);
		atomic_store(&s->runs, true);
		s->spin(s->at, &s->stop);
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
	atomic_store(&idle_stop, 1);
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

static void check_unmaps(spin_fn *function, const uint8_t *site, bool one_cpu)
{
	int cpu = one_cpu ? this_cpu() : -1;
	struct spinner s = {.spin = function, .at = WINDOW, .cpu = cpu};
	uint64_t most = 0;
	cpu_set_t before;

	share_one(&before, cpu);
	begin_spinner(&s);
	need_fragment(site);
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
	check_unmaps(spin, spin_site, false);
}

static void test_fragments_let_others_unmap_on_one_processor(void **state)
{
	(void)state;
	check_unmaps(spin, spin_site, true);
}

static void test_fragments_let_others_unmap_in_idle_loops(void **state)
{
	(void)state;
	check_unmaps(idle, idle_site, false);
	check_unmaps(idle, idle_site, true);
}

static void test_fragments_lose_their_window(void **state)
{
	struct sigaction act = {.sa_sigaction = on_gone, .sa_flags = SA_SIGINFO}, old;

	(void)state;
	sigaction(SIGSEGV, &act, &old);
	for (unsigned i = 0; i < 10; i++) {
		struct regmap_window *w = lay_other();
		struct spinner s = {.spin = spin, .at = OTHER, .cpu = -1};
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
/* clang-format off */
FUNCTION(follow, LABEL("follow_site") "{disp32} mov (%rdi), %rax\n"
                 ".rept 100\nimul %r10, %r10\n.endr\n"
                 "{disp32} mov 8(%rdi), %rcx\n"
                 ".p2align 3\n.nops 3\n"
                 LABEL("follow_constant") "mov $0, %eax\n"
                 "cmp %rcx, %rax\n"
                 "jb 1f\n"
                 "{disp32} cmpq $0, 16(%rdi)\n"
                 "je follow_site\n"
                 "xor %eax, %eax\nret\n"
                 "1: ret\n");
/* clang-format on */
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

/* --- signals --- */

/* R8 is three times RCX; flags are needed from count_6 on. */
/* clang-format off */
FUNCTION(count, "xor %ecx, %ecx\nxor %r8d, %r8d\n"
                LABEL("count_1") "{disp32} mov (%rdi), %rax\n"
                LABEL("count_2") "add $1, %rcx\n"
                LABEL("count_3") "add $3, %r8\n"
                LABEL("count_4") "{disp32} mov %rcx, 8(%rdi)\n"
                LABEL("count_5") "cmp %rsi, %rcx\n"
                LABEL("count_6") "{disp32} mov 16(%rdi), %rdx\n"
                LABEL("count_7") "{disp32} mov %rdx, 24(%rdi)\n"
                LABEL("count_8") "lea 1(%rdx), %rdx\n"
                LABEL("count_9") "jne count_1\n"
                LABEL("count_10") "mov %r8, %rax\nret\n");
/* clang-format on */
uint64_t count(uint64_t at, uint64_t rounds);
extern const uint8_t count_1[], count_2[], count_3[], count_4[], count_5[], count_6[], count_7[],
	count_8[], count_9[], count_10[], count_end[];

#define MARK 0x1234567890abcdefULL
enum { IN_16 = 0x777 };
static volatile unsigned signals_in, signals_wrong;
static volatile uint64_t wrong_at;

static void check_that(bool holds, uint64_t rip)
{
	if (holds)
		return;
	signals_wrong++;
	wrong_at = rip;
}

static uint64_t flags_of_compare(uint64_t a, uint64_t b)
{
	uint64_t flags;

	__asm__("cmp %2, %1\n\tpushfq\n\tpop %0" : "=r"(flags) : "r"(a), "r"(b) : "cc");
	return flags & STATUS;
}

static bool is_at(uint64_t rip, const uint8_t *label)
{
	return rip == (uintptr_t)label;
}

static bool is_boundary(uint64_t rip)
{
	static const uint8_t *const at[] = {count_1, count_2, count_3, count_4, count_5,
	                                    count_6, count_7, count_8, count_9};

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		if (is_at(rip, at[i]))
			return true;
	return false;
}

static void check_registers(const greg_t *r, uint64_t rip)
{
	uint64_t rcx = (uint64_t)r[REG_RCX], r8 = (uint64_t)r[REG_R8],
		 flags = (uint64_t)r[REG_EFL] & STATUS;

	check_that(is_boundary(rip), rip);
	check_that(r8 == 3 * (is_at(rip, count_3) ? rcx - 1 : rcx), rip);
	check_that(r[REG_RDI] == (greg_t)WINDOW, rip);
	if (rip > (uintptr_t)count_1)
		check_that((uint64_t)r[REG_RAX] == MARK, rip);
	if (is_at(rip, count_8) || is_at(rip, count_7))
		check_that(r[REG_RDX] == IN_16, rip);
	if (is_at(rip, count_9))
		check_that(r[REG_RDX] == IN_16 + 1, rip);
	if (rip >= (uintptr_t)count_6)
		check_that(flags == flags_of_compare(rcx, (uint64_t)r[REG_RSI]), rip);
}

static atomic_bool nested, jumps;
static sigjmp_buf out;

static void on_tick(int signo, siginfo_t *info, void *uc)
{
	const greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)r[REG_RIP];

	(void)signo, (void)info;
	if (rip < (uintptr_t)count_1 || rip >= (uintptr_t)count_10)
		return;
	signals_in++;
	check_registers(r, rip);
	if (nested && count(WINDOW, 50) != 150)
		check_that(false, rip);
	if (jumps)
		siglongjmp(out, 1);
}

struct ticker {
	pthread_t thread, whom;
	atomic_bool stop;
};

/* So far apart that it is armed again between two. */
static void *tick(void *arg)
{
	struct ticker *t = arg;

	for (unsigned i = 0; !atomic_load(&t->stop); i++) {
		pthread_kill(t->whom, SIGUSR1);
		sleep_us(i % 8 ? 300 + i % 7 * 100 : 20);
	}
	return NULL;
}

static void prepare_count(void)
{
	*word(memory, 0) = MARK;
	*word(memory, 16) = IN_16;
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(count(WINDOW, 10), 30);
	need_fragment(count_1);
}

static void count_under_signals(void)
{
	struct sigaction act = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO}, old;
	struct ticker t = {.whom = pthread_self()};
	const uint64_t until = now_ms() + wanted("T_SIGNALS_MS", 800);
	const uint64_t rounds = 2000000;

	signals_in = signals_wrong = 0;
	sigaction(SIGUSR1, &act, &old);
	assert_int_equal(pthread_create(&t.thread, NULL, tick, &t), 0);
	while (now_ms() < until)
		if (!sigsetjmp(out, 1) && count(WINDOW, rounds) != 3 * rounds)
			signals_wrong++;
	t.stop = true;
	pthread_join(t.thread, NULL);
	jumps = nested = false;
	sigaction(SIGUSR1, &old, NULL);
	assert_true(signals_in > 100);
	if (signals_wrong)
		fail_msg("%u of %u wrong, at count+%u", signals_wrong, signals_in,
		         (unsigned)(wrong_at - (uintptr_t)count));
}

static void test_fragments_show_signals_boundaries(void **state)
{
	(void)state;
	prepare_count();
	count_under_signals();
}

static void test_fragments_are_for_handlers_too(void **state)
{
	(void)state;
	prepare_count();
	nested = true;
	count_under_signals();
}

static void test_fragments_are_left_by_jumps(void **state)
{
	(void)state;
	prepare_count();
	jumps = true;
	count_under_signals();
}

/* --- the program steps --- */

static uint64_t steps[4096];
static volatile unsigned step_count;
static uintptr_t stepped, stepped_end;

static void on_step(int signo, siginfo_t *info, void *uc)
{
	uint64_t rip = (uint64_t)((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];

	(void)signo, (void)info;
	if (rip >= stepped && rip < stepped_end && step_count < 4096)
		steps[step_count++] = rip;
}

__attribute__((noinline)) static uint64_t in_steps(const void *function, const void *end,
                                                   uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t result = (uintptr_t)function;

	stepped = (uintptr_t)function;
	stepped_end = (uintptr_t)end;
	step_count = 0;
	__asm__ volatile("sub $128, %%rsp\n\t"
	                 "pushfq\n\torq %4, (%%rsp)\n\tpopfq\n\t"
	                 "call *%0\n\t"
	                 "pushfq\n\tandq %5, (%%rsp)\n\tpopfq\n\t"
	                 "add $128, %%rsp"
	                 : "+a"(result), "+D"(a), "+S"(b), "+d"(c)
	                 : "i"(TRAP_FLAG), "i"(~TRAP_FLAG)
	                 : "rcx", "r8", "cc", "memory");
	return result;
}

static uint64_t count_in_steps(uint64_t rounds)
{
	return in_steps((void *)count, count_end, WINDOW, rounds, 0);
}

static unsigned native_steps(uint64_t to[4096], uint64_t rounds)
{
	assert_int_equal(regmap_patch(0), 0);
	assert_int_equal(count_in_steps(rounds), 3 * rounds);
	memcpy(to, steps, sizeof(steps));
	return step_count;
}

static void test_fragments_are_stepped_through(void **state)
{
	struct sigaction act = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, old;
	static uint64_t native[4096];
	enum { ROUNDS = 20 };
	unsigned n;

	(void)state;
	sigaction(SIGTRAP, &act, &old);
	n = native_steps(native, ROUNDS);
	assert_int_equal(n, 2 + 9 * ROUNDS + 2);
	assert_int_equal(regmap_patch(2), 0);
	prepare_count();
	for (unsigned i = 0; i < 20; i++) {
		sleep_us(1000);
		assert_int_equal(count(WINDOW, 1000), 3000);
		assert_int_equal(count_in_steps(ROUNDS), 3 * ROUNDS);
		assert_int_equal(step_count, n);
		assert_memory_equal(steps, native, n * sizeof(steps[0]));
	}
	sigaction(SIGTRAP, &old, NULL);
	need_fragment(count_1);
}

/* --- a debugger --- */

static _Atomic uint64_t *turns;

static int count_for_ever(void)
{
	alarm(20);
	prepare_count();
	while (!atomic_load(turns + 1)) {
		if (count(WINDOW, 100000) != 300000)
			return 1;
		atomic_fetch_add(turns, 1);
	}
	return is_in_fragment(count_1) ? 0 : 2;
}

static void wait_for_turns(uint64_t more)
{
	uint64_t from = atomic_load(turns), since = now_ms();

	while (atomic_load(turns) < from + more)
		if (now_ms() - since > 10000)
			fail_msg("the child stands still");
		else
			sleep_us(500);
}

static void stop_child(pid_t child)
{
	int status;

	assert_int_equal(ptrace(PTRACE_INTERRUPT, child, 0, 0), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSTOPPED(status));
}

static long poke_byte(pid_t child, const uint8_t *at, uint8_t byte)
{
	long was = ptrace(PTRACE_PEEKTEXT, child, at, 0);

	assert_int_equal(ptrace(PTRACE_POKETEXT, child, at, (was & ~0xffL) | byte), 0);
	return was & 0xff;
}

static void meet_breakpoint(pid_t child, const uint8_t *at)
{
	uint64_t from = now_ms();
	struct user_regs_struct r;
	int status;
	long was;

	stop_child(child);
	was = poke_byte(child, at, 0xcc);
	assert_int_equal(ptrace(PTRACE_CONT, child, 0, 0), 0);
	while (!waitpid(child, &status, WNOHANG)) {
		if (now_ms() - from > 3000) {
			kill(child, SIGKILL);
			fail_msg("the breakpoint is passed by");
		}
		sleep_us(200);
	}
	assert_true(WIFSTOPPED(status));
	assert_int_equal(WSTOPSIG(status), SIGTRAP);
	assert_int_equal(ptrace(PTRACE_GETREGS, child, 0, &r), 0);
	assert_int_equal(r.rip, (uintptr_t)at + 1);
	assert_int_equal(r.r8, 3 * (is_at(r.rip - 1, count_3) ? r.rcx - 1 : r.rcx));
	r.rip--;
	assert_int_equal(ptrace(PTRACE_SETREGS, child, 0, &r), 0);
	poke_byte(child, at, (uint8_t)was);
	assert_int_equal(ptrace(PTRACE_CONT, child, 0, 0), 0);
}

static void test_fragments_meet_breakpoints(void **state)
{
	/* the last of them long after it went on */
	static const uint8_t *const at[] = {count_2, count_3, count_5, count_8, count_10};
	int status;
	pid_t child;

	(void)state;
	turns = t_shared(PAGE);
	child = fork();
	if (!child)
		_exit(count_for_ever());
	for (unsigned i = 0; i < 15; i++) {
		wait_for_turns(5);
		assert_int_equal(ptrace(PTRACE_SEIZE, child, 0, 0), 0);
		meet_breakpoint(child, at[i % 5]);
		wait_for_turns(2);
		stop_child(child);
		assert_int_equal(ptrace(PTRACE_DETACH, child, 0, 0), 0);
	}
	wait_for_turns(5);
	atomic_store(turns + 1, 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* --- faults between accesses --- */

/* Each: RDI a window, RSI an operand, RDX a divisor. */
/* clang-format off */
FUNCTION(divide, LABEL("divide_site") "{disp32} mov (%rdi), %r8\n"
                 "{disp32} mov 8(%rdi), %r9\n"
                 "mov %rdx, %rcx\n"
                 "xor %edx, %edx\n"
                 "mov %r8, %rax\n"
                 "stc\n"
                 LABEL("divide_at") "div %rcx\n"
                 "add %r9, %rax\n"
                 "ret\n");
FUNCTION(divide_all, LABEL("divide_all_site") "{disp32} mov (%rdi), %r8\n"
                     "{disp32} mov 8(%rdi), %r9\n"
                     "mov %rdx, %rcx\n"
                     "mov %r8, %rax\n"
                     "mov $0, %edx\n"
                     "cmp %r8, %rdi\n"
                     "{disp32} mov %r9, 16(%rdi)\n"
                     LABEL("divide_all_at") "div %rcx\n"
                     "add %r9, %rax\n"
                     "ret\n");
FUNCTION(global, LABEL("global_site") "{disp32} mov (%rdi), %r8\n"
                 "{disp32} mov 8(%rdi), %r9\n"
                 "cmp %r9, %r8\n"
                 "{disp32} mov %r9, 16(%rdi)\n"
                 LABEL("global_at") "mov guarded+64(%rip), %rax\n"
                 "adc %r9, %rax\n"
                 "ret\n");
FUNCTION(on_stack, LABEL("on_stack_site") "{disp32} mov (%rdi), %r8\n"
                   "{disp32} mov 8(%rdi), %r9\n"
                   "mov %rsp, %r10\n"
                   "mov %rsi, %rsp\n"
                   LABEL("on_stack_at") "push %r8\n"
                   "{disp32} add 8(%rdi), %r9\n"
                   "{disp32} mov -8(%rsp), %rax\n"
                   "pop %rax\n"
                   "mov %r10, %rsp\n"
                   "add %r9, %rax\n"
                   "ret\n");
/* clang-format on */
typedef uint64_t (*three_fn)(uint64_t, uint64_t, uint64_t);
uint64_t divide(uint64_t, uint64_t, uint64_t), divide_all(uint64_t, uint64_t, uint64_t),
	global(uint64_t, uint64_t, uint64_t), on_stack(uint64_t, uint64_t, uint64_t);
extern const uint8_t divide_site[], divide_at[], divide_all_site[], divide_all_at[], global_site[],
	global_at[], on_stack_site[], on_stack_at[];

uint8_t guarded[PAGE] __attribute__((aligned(PAGE)));
static uint8_t stack[2 * PAGE] __attribute__((aligned(PAGE)));

static struct {
	volatile unsigned count;
	int signo;
	siginfo_t info;
	greg_t gregs[NGREG];
	uint8_t *page;
} seen;

static void on_fault(int signo, siginfo_t *info, void *uc)
{
	greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;

	if (seen.count++ > 3)
		_exit(9);
	seen.signo = signo;
	seen.info = *info;
	memcpy(seen.gregs, r, sizeof(seen.gregs));
	if (signo == SIGFPE)
		r[REG_RCX] = 2;
	else if (seen.page)
		mprotect(seen.page, PAGE, PROT_READ | PROT_WRITE);
}

static stack_t stack_before;

static void catch_faults(struct sigaction old[2])
{
	static uint8_t room[65536];
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t alt = {.ss_sp = room, .ss_size = sizeof(room)};

	sigaltstack(&alt, &stack_before);
	sigaction(SIGSEGV, &act, &old[0]);
	sigaction(SIGFPE, &act, &old[1]);
}

static void release(const struct sigaction old[2])
{
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGFPE, &old[1], NULL);
	sigaltstack(&stack_before, NULL);
}

/* RCX: a function that is called with registers that are known. */
FUNCTION(call_marked, "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
                      "mov $0xb, %ebx\nmov $0xbb, %ebp\nmov $10, %r10d\nmov $11, %r11d\n"
                      "mov $12, %r12d\nmov $13, %r13d\nmov $14, %r14d\nmov $15, %r15d\n"
                      "xor %r8d, %r8d\nxor %r9d, %r9d\nmov %rcx, %rax\nxor %ecx, %ecx\n"
                      "call *%rax\n"
                      "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");
uint64_t call_marked(uint64_t, uint64_t, uint64_t, three_fn);

struct fault {
	three_fn function;
	const uint8_t *site, *at;
	uint64_t rsi;
	uint8_t *page; /* that is protected, and where */
	uint64_t address;
	int signo;
	bool live; /* somebody behind it reads the flags: else they need not be kept */
};

__attribute__((noinline)) static uint64_t raise_fault(const struct fault *f, greg_t gregs[NGREG],
                                                      siginfo_t *info)
{
	uint64_t result;

	memset(&seen, 0, sizeof(seen));
	seen.page = f->page;
	if (f->page)
		mprotect(f->page, PAGE, PROT_NONE);
	result = call_marked(WINDOW, f->rsi, f->signo == SIGFPE ? 0 : 3, f->function);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.signo, f->signo);
	memcpy(gregs, seen.gregs, sizeof(seen.gregs));
	*info = seen.info;
	return result;
}

static void same_registers(const greg_t *a, const greg_t *b, bool flags)
{
	static const int which[] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI,
	                            REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
	                            REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};

	for (unsigned i = 0; i < sizeof(which) / sizeof(which[0]); i++)
		if (a[which[i]] != b[which[i]])
			fail_msg("register %d: 0x%llx, not 0x%llx", which[i], b[which[i]],
			         a[which[i]]);
	if (flags && (a[REG_EFL] ^ b[REG_EFL]) & STATUS)
		fail_msg("flags: 0x%llx, not 0x%llx", b[REG_EFL], a[REG_EFL]);
}

/* As it is without patches, so it is in a fragment. */
static void check_fault(const struct fault *f)
{
	greg_t native[NGREG], is[NGREG];
	siginfo_t info, native_info;
	uint64_t result;

	assert_int_equal(regmap_patch(0), 0);
	result = raise_fault(f, native, &native_info);
	assert_int_equal(native[REG_RIP], (uintptr_t)f->at);
	assert_int_equal(regmap_patch(2), 0);
	for (unsigned i = 0; i < WARM_UP; i++)
		f->function(WINDOW, f->rsi, 3);
	need_fragment(f->site);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(raise_fault(f, is, &info), result);
		same_registers(native, is, f->live);
		assert_int_equal(info.si_code, native_info.si_code);
		assert_ptr_equal(info.si_addr, native_info.si_addr);
		for (unsigned k = 0; k < 5; k++)
			f->function(WINDOW, f->rsi, 3);
	}
	need_fragment(f->site);
}

static void test_fragments_raise_signals_as_the_program(void **state)
{
	const struct fault faults[] = {
		{divide, divide_site, divide_at, 0, NULL, (uintptr_t)divide_at, SIGFPE, false},
		{divide_all, divide_all_site, divide_all_at, 0, NULL, (uintptr_t)divide_all_at,
	         SIGFPE, false},
		{global, global_site, global_at, 0, guarded, (uintptr_t)guarded + 64, SIGSEGV,
	         true},
		{on_stack, on_stack_site, on_stack_at, (uintptr_t)stack + PAGE, stack,
	         (uintptr_t)stack + PAGE - 8, SIGSEGV, false},
	};
	struct sigaction old[2];

	(void)state;
	*word(memory, 0) = 1000;
	*word(memory, 8) = 77;
	*word(guarded, 64) = 5;
	catch_faults(old);
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		check_fault(&faults[i]);
	release(old);
}

/* The stack lies in a window: what was taken for harmless isn't. */
static void test_fragments_find_the_stack_in_a_window(void **state)
{
	struct sigaction old[2];
	uint32_t before;

	(void)state;
	catch_faults(old);
	*word(memory, 0) = 1000;
	*word(memory, 8) = 77;
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(on_stack(WINDOW, (uintptr_t)stack + 2 * PAGE, 0), 1154);
	need_fragment(on_stack_site);
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(on_stack(WINDOW, WINDOW + 2048, 0), 1154);
	before = faults_of(on_stack_at) + faults_of(on_stack_site);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(on_stack(WINDOW, WINDOW + 2048, 0), 1154);
	assert_true(faults_of(on_stack_at) + faults_of(on_stack_site) - before < 10);
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(on_stack(WINDOW, (uintptr_t)stack + 2 * PAGE, 0), 1154);
	release(old);
}

/* --- other places --- */

/* RDI, RSI, RDX: three places. */
/* clang-format off */
FUNCTION(three, LABEL("three_site") "{disp32} mov (%rdi), %rax\n"
                "cmp %rdi, %rax\n"
                LABEL("three_middle") "{disp32} mov (%rsi), %rcx\n"
                "setc %r8b\n"
                "movzx %r8b, %r8d\n"
                LABEL("three_last") "{disp32} mov %rcx, (%rdx)\n"
                "adc %r8, %rax\n"
                "add %rcx, %rax\n"
                "ret\n");
/* clang-format on */
uint64_t three(uint64_t, uint64_t, uint64_t);
extern const uint8_t three_site[], three_middle[], three_last[], three_end[];

static void prepare_three(void)
{
	*word(memory, 0) = 100;
	*word(memory, 8) = 20;
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(three(WINDOW, WINDOW + 8, WINDOW + 16), 122);
	need_fragment(three_site);
	need_fragment(three_middle);
}

/* Its head has a way in of its own. */
static void test_fragments_are_stepped_through_from_their_head(void **state)
{
	struct sigaction act = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, old;
	uint64_t native[64];
	unsigned n;

	(void)state;
	sigaction(SIGTRAP, &act, &old);
	assert_int_equal(regmap_patch(0), 0);
	*word(memory, 0) = 100;
	*word(memory, 8) = 20;
	assert_int_equal(in_steps((void *)three, three_end, WINDOW, WINDOW + 8, WINDOW + 16), 122);
	n = step_count;
	assert_in_range(n, 3, 64);
	memcpy(native, steps, sizeof(native));
	assert_int_equal(regmap_patch(2), 0);
	prepare_three();
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(three(WINDOW, WINDOW + 8, WINDOW + 16), 122);
		assert_int_equal(in_steps((void *)three, three_end, WINDOW, WINDOW + 8,
		                          WINDOW + 16),
		                 122);
		assert_int_equal(step_count, n);
		assert_memory_equal(steps, native, n * sizeof(steps[0]));
	}
	sigaction(SIGTRAP, &old, NULL);
}

/* Each time below the place that is compared with: SETC gives 1, and so does the carry. */
static void test_fragments_go_to_all_kinds_of_places(void **state)
{
	uint64_t plain = 30, sum;

	(void)state;
	prepare_three();
	memset(behind, 0, sizeof(behind));
	*word(memory, 0) = 100;
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t reads = device_reads;

		*word(memory, SIZE - 4) = 0; /* and 4 behind */
		*(uint32_t *)(void *)(memory + SIZE - 4) = 7 + i;
		*(uint32_t *)(void *)behind = 1;
		sum = three(WINDOW, BEHIND - 4, (uintptr_t)&plain);
		assert_int_equal(sum, 100 + 2 + (1ULL << 32) + 7 + i);
		assert_int_equal(plain, (1ULL << 32) + 7 + i);
		assert_int_equal(three(WINDOW, DEVICE + 8, BEHIND - 3), 100 + 2 + 0x1008);
		assert_int_equal(device_reads, reads + 1);
		assert_int_equal(three(WINDOW, BEHIND - 3, WINDOW + 32), 100 + 2 + 0x1008);
		assert_int_equal(*word(memory, 32), 0x1008);
	}
}

/* The flags, behind a comparison that only some of them hold. */
static void test_fragments_show_flags_in_the_register_page(void **state)
{
	(void)state;
	prepare_three();
	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t a = i % 3 ? i % 7 - 3 : WINDOW, flags;

		*word(memory, 0) = a;
		three(WINDOW, REGMAP_RFLAGS, WINDOW + 24);
		flags = *word(memory, 24) & STATUS;
		assert_int_equal(flags, flags_of_compare(a, WINDOW));
	}
}

static int use_null(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	prepare_three();
	three(WINDOW, 0xb0, WINDOW + 24);
	return 3;
}

static void test_fragments_fault_at_null(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(use_null, NULL), SIGSEGV);
}

static void on_fixed(int signo, siginfo_t *info, void *uc)
{
	greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;

	on_fault(signo, info, uc);
	r[REG_RDX] = (greg_t)(WINDOW + 24);
}

/* A store to what is read-only: flags are live there. */
static void test_fragments_do_not_write_what_is_read_only(void **state)
{
	struct sigaction act = {.sa_sigaction = on_fixed, .sa_flags = SA_SIGINFO}, old;

	(void)state;
	setenv("REGMAP_REPORT", "0", 1);
	prepare_three();
	sigaction(SIGSEGV, &act, &old);
	for (unsigned i = 0; i < 200; i++) {
		memset(&seen, 0, sizeof(seen));
		assert_int_equal(three(WINDOW, WINDOW + 8, FIXED + 8 * (i % 9)), 122);
		assert_int_equal(seen.count, 1);
		assert_ptr_equal(seen.info.si_addr, FIXED + 8 * (i % 9));
		assert_int_equal(seen.gregs[REG_RIP], (uintptr_t)three_last);
		assert_int_equal(seen.gregs[REG_RCX], 20);
		assert_int_equal(seen.gregs[REG_R8], 1);
		assert_int_equal(seen.gregs[REG_RAX], 100);
		assert_int_equal(seen.gregs[REG_EFL] & STATUS, flags_of_compare(100, WINDOW));
		assert_int_equal(*word(memory, 24), 20);
		three(WINDOW, WINDOW + 8, WINDOW + 16);
	}
	sigaction(SIGSEGV, &old, NULL);
	assert_int_equal(*word(fixed, 8), 0);
}

/* Host memory that can't be written: the fault is the window's. */
static void test_fragments_fault_at_guest_addresses(void **state)
{
	struct sigaction act = {.sa_sigaction = on_fixed, .sa_flags = SA_SIGINFO}, old;

	(void)state;
	prepare_three();
	sigaction(SIGSEGV, &act, &old);
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 0; k < 20; k++)
			three(WINDOW, WINDOW + 8, BEHIND + 16);
		memset(&seen, 0, sizeof(seen));
		mprotect(behind, SIZE, PROT_READ);
		assert_int_equal(three(WINDOW, WINDOW + 8, BEHIND + 8), 122);
		mprotect(behind, SIZE, PROT_READ | PROT_WRITE);
		assert_int_equal(seen.count, 1);
		assert_ptr_equal(seen.info.si_addr, BEHIND + 8);
		assert_int_equal(seen.gregs[REG_RIP], (uintptr_t)three_last);
		assert_int_equal(seen.gregs[REG_EFL] & STATUS, flags_of_compare(100, WINDOW));
	}
	sigaction(SIGSEGV, &old, NULL);
}

/* --- odd code --- */

/* All registers that an address can be in are in use where MULX stands, and somebody comes there from elsewhere. */
/* clang-format off */
FUNCTION(crowded, "push %rbx\n"
                  LABEL("crowded_site") "{disp32} mov (%rdi), %r8\n"
                  "cmp %rsi, %rdi\n"
                  LABEL("crowded_middle") "{disp32} mulx 8(%rdi), %rcx, %rbx\n"
                  "setc %r9b\n"
                  "{disp32} mov 16(%rdi), %r10\n"
                  "setc %al\n"
                  "add %r9b, %al\n"
                  "movzx %al, %eax\n"
                  "pop %rbx\n"
                  "ret\n");
/* clang-format on */
FUNCTION(come_in, "push %rbx\nstc\njmp crowded_middle\n");
uint64_t crowded(uint64_t, uint64_t), come_in(uint64_t, uint64_t);
extern const uint8_t crowded_site[], crowded_middle[];

static void test_fragments_do_not_guess_flags_of_strangers(void **state)
{
	(void)state;
	if (!__builtin_cpu_supports("bmi2"))
		skip();
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(crowded(WINDOW, 1), 0);
	need_fragment(crowded_site);
	for (unsigned i = 0; i < WARM_UP; i++)
		assert_int_equal(come_in(WINDOW, 1), 2);
	need_fragment(crowded_middle);
}

/* A branch nearly 2 GB away, from 64 bytes behind where the code begins. */
/* clang-format off */
FUNCTION(far_away, LABEL("far_site") "{disp32} mov (%rdi), %rax\n"
                   "{disp32} mov 8(%rdi), %rcx\n"
                   ".p2align 6\n"
                   "cmp %rcx, %rax\n"
                   ".byte 0x0f, 0x85\n.long 0x7ffffff8\n" /* jne */
                   LABEL("far_next") "ret\n");
/* clang-format on */
void far_away(void);
extern const uint8_t far_site[], far_next[], far_away_end[];
typedef uint64_t (*one_fn)(uint64_t);

static uint8_t *code_at(uint64_t at)
{
	uint8_t *code = mmap((void *)(uintptr_t)at, PAGE, PROT_READ | PROT_WRITE,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return code == MAP_FAILED ? NULL : code;
}

static void test_fragments_leave_by_far_branches(void **state)
{
	static const uint8_t mov_7_eax_ret[] = {0xb8, 7, 0, 0, 0, 0xc3};
	const uint64_t base = 0x330000000000, next = (uint64_t)(far_next - far_site);
	uint64_t target = base + next + 0x7ffffff8;
	uint8_t *code = code_at(base), *to = code_at(target & -(uint64_t)PAGE);

	(void)state;
	if (!code || !to)
		skip();
	memcpy(code, (const void *)far_site, (size_t)(far_away_end - far_site));
	memcpy(to + target % PAGE, mov_7_eax_ret, sizeof(mov_7_eax_ret));
	mprotect(code, PAGE, PROT_READ | PROT_EXEC);
	mprotect(to, PAGE, PROT_READ | PROT_EXEC);
	for (unsigned i = 0; i < 2 * WARM_UP; i++) {
		*word(memory, 0) = 5;
		*word(memory, 8) = i < WARM_UP ? 5 : 6;
		assert_int_equal(((one_fn)(uintptr_t)code)(WINDOW), i < WARM_UP ? 5 : 7);
	}
	need_fragment(code);
	munmap(code, PAGE);
	munmap(to, PAGE);
}

/* --- threads and processes --- */

struct walker {
	pthread_t thread;
	unsigned number;
	atomic_uint *wrong;
	atomic_bool *stop;
	atomic_bool walks;
};

/* Half of them end early; not where a child may find the sanitizer's allocator locked by one that ends. */
static void *walk(void *arg)
{
	struct walker *w = arg;
	uint64_t mine = WINDOW + 512 + 64 * w->number, own[2] = {w->number, 5};
	bool stays = w->number < 2 || t_has_asan();

	atomic_store(&w->walks, true);
	*word(memory, 512 + 64 * w->number) = 1000 + w->number;
	*word(memory, 520 + 64 * w->number) = 3;
	for (unsigned i = 0; !atomic_load(w->stop) && (i < 200000 || stays); i++) {
		if (three(mine, mine + 8, mine + 16) != 1003 + w->number + 2 &&
		    atomic_fetch_add(w->wrong, 1) < 3)
			break;
		if (three((uintptr_t)own, (uintptr_t)&own[1], mine + 16) !=
		    w->number + 5 + (w->number < (uintptr_t)own ? 2 : 0))
			atomic_fetch_add(w->wrong, 1);
	}
	return NULL;
}

enum { WALKERS = 4 };

static void begin_walk(struct walker w[WALKERS], atomic_uint *wrong, atomic_bool *stop)
{
	for (unsigned i = 0; i < WALKERS; i++) {
		w[i] = (struct walker){.number = i, .wrong = wrong, .stop = stop};
		assert_int_equal(pthread_create(&w[i].thread, NULL, walk, &w[i]), 0);
	}
	for (unsigned i = 0; i < WALKERS; i++)
		while (!atomic_load(&w[i].walks))
			sched_yield();
}

static void end_walk(struct walker w[WALKERS], atomic_bool *stop)
{
	atomic_store(stop, true);
	for (unsigned i = 0; i < WALKERS; i++)
		pthread_join(w[i].thread, NULL);
}

static int walk_in_child(void)
{
	struct walker w[WALKERS];
	atomic_uint wrong = 0;
	atomic_bool stop = false;
	struct regmap_window *window = lay_other();

	alarm(20);
	begin_walk(w, &wrong, &stop);
	sleep_us(5000);
	regmap_unmap(window);
	end_walk(w, &stop);
	return wrong ? 1 : is_in_fragment(three_site) ? 0 : 2;
}

static void test_fragments_are_shared_by_threads_and_forks(void **state)
{
	struct walker w[WALKERS];
	atomic_uint wrong = 0;
	atomic_bool stop = false;
	int status;

	(void)state;
	prepare_three();
	begin_walk(w, &wrong, &stop);
	for (unsigned i = 0; i < 20; i++) {
		pid_t child = i % 2 ? fork() : (pid_t)syscall(SYS_fork);

		if (!child)
			_exit(walk_in_child());
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	end_walk(w, &stop);
	assert_int_equal(wrong, 0);
}

/* The window's memory is now here, now there: whoever sees the number of that, sees what lies there. */
static uint8_t places[2][SIZE] __attribute__((aligned(PAGE)));

static void *read_along(void *arg)
{
	struct walker *w = arg;

	while (!atomic_load(w->stop)) {
		spinning = NULL;
		if (sigsetjmp(away, 1))
			continue;
		if (three(WINDOW, OTHER, WINDOW + 600) > 200)
			atomic_fetch_add(w->wrong, 1);
	}
	return NULL;
}

static void on_away(int signo)
{
	(void)signo;
	siglongjmp(away, 1);
}

static void test_fragments_follow_windows_that_move(void **state)
{
	struct sigaction act = {.sa_handler = on_away}, old;
	atomic_uint wrong = 0;
	atomic_bool stop = false;
	struct walker w = {.wrong = &wrong, .stop = &stop};

	(void)state;
	prepare_three();
	sigaction(SIGSEGV, &act, &old);
	assert_int_equal(pthread_create(&w.thread, NULL, read_along, &w), 0);
	for (unsigned i = 0; i < 300; i++) {
		struct regmap_config config = {
			.size = sizeof(config),
			.guest = OTHER,
			.length = SIZE,
			.access = REGMAP_READ | REGMAP_WRITE,
			.backing = REGMAP_HOST,
			.host = places[i % 2],
		};
		struct regmap_window *window;

		*word(places[i % 2], 0) = 20;
		assert_int_equal(regmap_map(&config, &window), 0);
		sleep_us(i % 5 * 500);
		regmap_unmap(window);
		*word(places[i % 2], 0) = 100000;
	}
	atomic_store(&stop, true);
	pthread_join(w.thread, NULL);
	sigaction(SIGSEGV, &old, NULL);
	assert_int_equal(wrong, 0);
}

/* --- another FS base --- */

__attribute__((noinline)) static uint64_t three_elsewhere(uint64_t base, uint64_t a, uint64_t b,
                                                          uint64_t c)
{
	uint64_t result;

	__asm__ volatile("sub $128, %%rsp\n\t"
	                 "rdfsbase %%rbx\n\t"
	                 "wrfsbase %1\n\t"
	                 "call three\n\t"
	                 "wrfsbase %%rbx\n\t"
	                 "add $128, %%rsp"
	                 : "=a"(result), "+r"(base), "+S"(b), "+d"(c)
	                 : "D"(a)
	                 : "rbx", "rcx", "r8", "cc", "memory");
	return result;
}

static void test_fragments_are_not_for_another_fs_base(void **state)
{
	static uint64_t zeros[2 * PAGE];

	(void)state;
	prepare_three();
	for (unsigned i = 0; i < 2000; i++) {
		const uint64_t base = i % 3 == 0 ? (uintptr_t)&zeros[PAGE] : i % 3 == 1 ? 0 : PAGE;

		assert_int_equal(three_elsewhere(base, WINDOW, WINDOW + 8, WINDOW + 16), 122);
		assert_int_equal(three(WINDOW, WINDOW + 8, WINDOW + 16), 122);
	}
	need_fragment(three_site);
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
		TEST(let_others_unmap_in_idle_loops),
		TEST(lose_their_window),
		TEST(see_code_that_changes),
		TEST(see_code_that_changes_on_one_processor),
		TEST(show_signals_boundaries),
		TEST(are_for_handlers_too),
		TEST(are_left_by_jumps),
		TEST(are_stepped_through),
		TEST(are_stepped_through_from_their_head),
		TEST(meet_breakpoints),
		TEST(raise_signals_as_the_program),
		TEST(find_the_stack_in_a_window),
		TEST(go_to_all_kinds_of_places),
		TEST(show_flags_in_the_register_page),
		TEST(fault_at_null),
		TEST(do_not_write_what_is_read_only),
		TEST(fault_at_guest_addresses),
		TEST(do_not_guess_flags_of_strangers),
		TEST(leave_by_far_branches),
		TEST(are_shared_by_threads_and_forks),
		TEST(follow_windows_that_move),
		TEST(are_not_for_another_fs_base),
	};

	return cmocka_run_group_tests_name("fragments", tests, start, NULL);
}
