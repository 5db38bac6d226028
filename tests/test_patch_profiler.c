/* SPDX-License-Identifier: MIT */
/*
 * A sampling profiler at work on patched sites: wherever its signal arrives, the context and what
 * unwinders make of it are the program's. T_SAMPLES=n: so many of each thread for each kind.
 */
/* LDLIBS: -lunwind */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include <execinfo.h>
#include <libunwind.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "lay.h"

enum { HOST = 0x40000000, ANY = 0x40010000, GENERAL = 0x40020000, PAGE = 4096 };
enum { THREADS = 3, DEPTH = 64, ALTERNATE = 1 << 17, EACH = 100 };

/* Each is a site in a function of its own. */
#define SITE(name, instructions) \
	__asm__(".text\n.p2align 4\n.globl " #name ", " #name "_site, " #name "_end\n.type " #name \
	        ", @function\n" #name ":\n.cfi_startproc\n" #name "_site: " instructions \
	        "\nnop\nnop\nnop\nret\n.cfi_endproc\n" #name "_end:\n.size " #name ", . - " #name \
	        "\n"); \
	extern const char name##_site[], name##_end[]; \
	uint64_t name(uint64_t address, uint64_t value)

SITE(load, "mov (%rdi), %rax");
SITE(store, "mov %rsi, (%rdi)");
SITE(count, "lock addq %rsi, (%rdi)");
SITE(add_flags, "add (%rdi), %esi\nmov %rsi, %rax");
SITE(load_any, "mov 8(%rdi), %rax");
SITE(load_general, "mov 16(%rdi), %rax");
SITE(vector_any, "paddq (%rdi), %xmm1\nmovq %xmm1, %rax");
SITE(push_any, "pushq (%rdi)\n.cfi_adjust_cfa_offset 8\npop %rax\n.cfi_adjust_cfa_offset -8");
SITE(string_any, "mov %rdi, %rsi\nlodsq");

struct site {
	const char *start, *at, *end;
	uint64_t (*run)(uint64_t address, uint64_t value);
	uint64_t address;
};

#define S(name, address) \
	{ \
		name##_site, name##_site, name##_end, name, address \
	}
static const struct site sites[] = {
	S(load, HOST),           S(store, HOST + 8), S(count, HOST + 16),
	S(add_flags, HOST + 24), S(load_any, ANY),   S(load_general, GENERAL),
	S(vector_any, ANY),      S(push_any, ANY),   S(string_any, ANY),
};
enum { SITES = sizeof(sites) / sizeof(sites[0]) };

static uint64_t memory[PAGE / 8];

/* --- devices --- */

__attribute__((target("general-regs-only"))) static int general_read(void *ctx, uint64_t offset,
                                                                     unsigned width,
                                                                     uint64_t *value)
{
	(void)ctx, (void)width;
	*value = offset;
	return 0;
}

static int any_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	__asm__ volatile("pcmpeqd %%xmm1, %%xmm1" : : : "xmm1");
	*value = offset;
	return 0;
}

static const struct regmap_device_ops general_ops = {general_read, NULL};
static const struct regmap_device_ops any_ops = {any_read, NULL};

/* --- the program --- */

static _Atomic uint64_t rounds;      /* of count */
static __thread volatile bool armed; /* in the middle of work() */

/* A section of its own: the linker says where it begins and ends. */
extern const char __start_t_work[], __stop_t_work[];

__attribute__((noinline, section("t_work"))) static void work(unsigned times)
{
	armed = true;
	for (unsigned n = 0; n < times; n++)
		for (unsigned i = 0; i < SITES; i++)
			sites[i].run(sites[i].address, 1);
	armed = false;
	atomic_fetch_add(&rounds, times);
	__asm__ volatile("");
}

/* Where code may be: of files, and the kernel's. Slots are nowhere there. */
static struct {
	uintptr_t start, end;
} code[64];
static unsigned codes;

static int note_code(struct dl_phdr_info *object, size_t size, void *arg)
{
	(void)size, (void)arg;
	for (unsigned i = 0; i < object->dlpi_phnum && codes < 64; i++) {
		const ElfW(Phdr) *p = &object->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		code[codes].start = object->dlpi_addr + p->p_vaddr;
		code[codes++].end = object->dlpi_addr + p->p_vaddr + p->p_memsz;
	}
	return 0;
}

static bool is_program(uintptr_t rip)
{
	for (unsigned i = 0; i < codes; i++)
		if (rip >= code[i].start && rip < code[i].end)
			return true;
	return false;
}

static bool in_work(uintptr_t rip)
{
	return rip >= (uintptr_t)__start_t_work && rip < (uintptr_t)__stop_t_work;
}

static bool in_site(uintptr_t rip)
{
	for (unsigned i = 0; i < SITES; i++)
		if (rip >= (uintptr_t)sites[i].start && rip < (uintptr_t)sites[i].end)
			return true;
	return false;
}

/* --- the profiler --- */

struct trace {
	uintptr_t at[DEPTH];
	int depth;
};

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *arg)
{
	struct trace *t = arg;

	if (t->depth < DEPTH)
		t->at[t->depth++] = _Unwind_GetIP(context);
	return _URC_NO_REASON;
}

static void by_gcc(struct trace *t)
{
	t->depth = 0;
	_Unwind_Backtrace(note_frame, t);
}

static void by_libc(struct trace *t)
{
	void *frame[DEPTH];

	t->depth = backtrace(frame, DEPTH);
	for (int i = 0; i < t->depth; i++)
		t->at[i] = (uintptr_t)frame[i];
}

static void by_libunwind(struct trace *t)
{
	unw_context_t context;
	unw_cursor_t cursor;
	unw_word_t ip;

	t->depth = 0;
	unw_getcontext(&context);
	unw_init_local(&cursor, &context);
	do {
		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		t->at[t->depth++] = ip;
	} while (t->depth < DEPTH && unw_step(&cursor) > 0);
}

static void (*const unwinders[])(struct trace *) = {by_gcc, by_libc, by_libunwind};
static const char *const unwinder_name[] = {"_Unwind_Backtrace", "backtrace", "libunwind"};

static __thread unsigned samples, in_sites, in_c;
static atomic_uint wrong;
static char what[2000];

static void complain(const char *how, uintptr_t rip, const struct trace *t)
{
	size_t used;

	if (atomic_fetch_add(&wrong, 1))
		return;
	used = (size_t)snprintf(what, sizeof(what), "%s, RIP %#lx:", how, (unsigned long)rip);
	for (int i = 0; t && i < t->depth && used < sizeof(what) - 24; i++)
		used += (size_t)snprintf(what + used, sizeof(what) - used, " %#lx",
		                         (unsigned long)t->at[i]);
}

static void look(uintptr_t rip, const char *how, const struct trace *t)
{
	bool work_seen = false, site_seen = false, slot_seen = false;

	for (int i = 0; i < t->depth; i++) {
		work_seen |= in_work(t->at[i]);
		site_seen |= in_site(t->at[i]);
		slot_seen |= t->at[i] && !is_program(t->at[i]);
	}
	if (!work_seen || slot_seen || (rip && !in_work(rip) && !site_seen))
		complain(how, rip, t);
}

static void sample(uintptr_t rip)
{
	struct trace t;

	if (!armed)
		return;
	in_sites += in_site(rip);
	in_c += rip && !in_site(rip) && !in_work(rip);
	if (rip && !is_program(rip))
		complain("RIP is none of the program's", rip, NULL);
	unwinders[samples % 3](&t);
	look(rip, unwinder_name[samples % 3], &t);
	samples++;
}

static void on_tick(int signo)
{
	(void)signo;
	sample(0);
}

static void on_tick_info(int signo, siginfo_t *info, void *ucontext)
{
	(void)signo, (void)info;
	sample((uintptr_t)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP]);
}

/* --- clocks --- */

static timer_t start_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	struct itimerspec often = {{0, 100000}, {0, 100000}};
	timer_t timer;

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
	return timer;
}

static void process_timer(bool on)
{
	const struct itimerval often = {{0, on ? 100 : 0}, {0, on ? 100 : 0}};

	assert_int_equal(setitimer(ITIMER_PROF, &often, NULL), 0);
}

static void listen_by(void (*plain)(int), void (*info)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act = {.sa_flags = flags | SA_RESTART};

	if (flags & SA_SIGINFO)
		act.sa_sigaction = info;
	else
		act.sa_handler = plain;
	assert_int_equal(sigaction(SIGPROF, &act, NULL), 0);
}

/* --- threads --- */

struct job {
	bool own_timer;
	unsigned samples;
	void (*run)(const struct job *job);
};

static unsigned wanted(void)
{
	const char *wish = getenv("T_SAMPLES");

	return wish ? (unsigned)strtoul(wish, NULL, 0) : EACH;
}

static unsigned total_sites, total_c;

static void until_sampled(const struct job *job)
{
	while (samples < job->samples)
		work(20);
}

static void *thread(void *arg)
{
	const struct job *job = arg;
	uint8_t *alternate = malloc(ALTERNATE);
	stack_t stack = {.ss_sp = alternate, .ss_size = ALTERNATE}, off = {.ss_flags = SS_DISABLE};
	timer_t timer = 0;

	sigaltstack(&stack, NULL);
	if (job->own_timer)
		timer = start_timer();
	job->run(job);
	if (job->own_timer)
		timer_delete(timer);
	__atomic_fetch_add(&total_sites, in_sites, __ATOMIC_RELAXED);
	__atomic_fetch_add(&total_c, in_c, __ATOMIC_RELAXED);
	sigaltstack(&off, NULL);
	free(alternate);
	return NULL;
}

static void run_threads(const struct job *job)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
	pthread_t t[THREADS];

	/* cmocka's own handlers would go on in the wrong thread */
	for (unsigned i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		signal(fatal[i], SIG_DFL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, thread, (void *)(uintptr_t)job), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (wrong)
		fail_msg("%s", what);
}

static const int kinds[] = {0, SA_SIGINFO, SA_ONSTACK, SA_SIGINFO | SA_ONSTACK};

/* At 10 kHz in each thread. */
static void test_patch_profiler_of_each_thread(void **state)
{
	const struct job job = {true, wanted(), until_sampled};

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		listen_by(on_tick, on_tick_info, kinds[k]);
		run_threads(&job);
	}
	signal(SIGPROF, SIG_IGN);
	print_message("%u samples at sites, %u behind them in C\n", total_sites, total_c);
}

/* Whatever thread it hits: together they have as many. */
static _Atomic unsigned left;

static void until_all_are_sampled(const struct job *job)
{
	unsigned before = samples;

	(void)job;
	while (atomic_load(&left) < UINT32_MAX / 2 && atomic_load(&left)) {
		work(20);
		atomic_fetch_sub(&left, samples - before);
		before = samples;
	}
}

static void test_patch_profiler_of_the_process(void **state)
{
	const struct job job = {false, 0, until_all_are_sampled};

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		left = wanted();
		listen_by(on_tick, on_tick_info, kinds[k]);
		process_timer(true);
		run_threads(&job);
		process_timer(false);
	}
	signal(SIGPROF, SIG_IGN);
}

/* --- handlers that leave --- */

static __thread sigjmp_buf out;

static void leave(int signo)
{
	(void)signo;
	if (armed)
		siglongjmp(out, 1);
}

static void leave_info(int signo, siginfo_t *info, void *ucontext)
{
	(void)info, (void)ucontext;
	leave(signo);
}

static void until_left(const struct job *job)
{
	volatile unsigned times = 0;

	if (sigsetjmp(out, 1))
		times++;
	armed = false;
	while (times < job->samples)
		work(20);
}

/* Nothing is left behind that another thread would wait for, or that makes the next access wrong. */
static void test_patch_profiler_leaves_by_siglongjmp(void **state)
{
	const struct job job = {true, wanted(), until_left};
	static uint64_t other[PAGE / 8];
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = HOST + 256,
		.length = 64,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_HOST,
		.host = other,
	};
	struct regmap_window *window;

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		listen_by(leave, leave_info, kinds[k]);
		run_threads(&job);
		assert_int_equal(regmap_map(&config, &window), 0);
		other[0] = k + 1;
		assert_int_equal(load(HOST + 256, 0), k + 1);
		assert_int_equal(regmap_unmap(window), 0);
		memory[0] = 77 + k;
		assert_int_equal(load(HOST, 0), 77 + k);
		assert_int_equal(load_any(ANY, 0), 8);
	}
	signal(SIGPROF, SIG_IGN);
}

/* --- handlers that access --- */

static _Atomic uint64_t from_handlers;

static void access_all(int signo)
{
	(void)signo;
	if (!armed)
		return;
	samples++;
	atomic_fetch_add(&from_handlers, 1);
	count(HOST + 16, 1);
	load(HOST, 0);
	if (load_any(ANY, 0) != 8 || load_general(GENERAL, 0) != 16 || string_any(ANY, 0) != 0)
		complain("a handler's access", 0, NULL);
}

static void access_all_info(int signo, siginfo_t *info, void *ucontext)
{
	(void)info, (void)ucontext;
	access_all(signo);
}

static void test_patch_profiler_accesses_the_same_sites(void **state)
{
	const struct job job = {true, wanted(), until_sampled};

	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		memory[2] = 0;
		rounds = 0;
		from_handlers = 0;
		listen_by(access_all, access_all_info, kinds[k]);
		run_threads(&job);
		assert_int_equal(memory[2], rounds + from_handlers);
	}
	signal(SIGPROF, SIG_IGN);
}

static int set_up(void **state)
{
	struct regmap_config general = {
		.size = sizeof(general),
		.guest = GENERAL,
		.length = PAGE,
		.access = REGMAP_READ,
		.backing = REGMAP_DEVICE,
		.flags = REGMAP_GENERAL,
		.ops = &general_ops,
	};
	struct trace warm;

	(void)state;
	if (regmap_patch(1))
		exit(77);
	if (t_lay_host("host", HOST, memory, PAGE, REGMAP_READ | REGMAP_WRITE) ||
	    t_lay_device("any", ANY, PAGE, &any_ops, NULL) || regmap_map(&general, NULL))
		return 1;
	dl_iterate_phdr(note_code, NULL);
	for (unsigned i = 0; i < 3; i++)
		unwinders[i](&warm);
	work(3);
	/* of the string's the second instruction is what is patched */
	for (unsigned i = 0; i < SITES; i++)
		if (sites[i].run != string_any && regmap_patch_site(sites[i].at) != 1) {
			print_message("site %u is not patched\n", i);
			return 1;
		}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patch_profiler_of_each_thread),
		cmocka_unit_test(test_patch_profiler_of_the_process),
		cmocka_unit_test(test_patch_profiler_leaves_by_siglongjmp),
		cmocka_unit_test(test_patch_profiler_accesses_the_same_sites),
	};

	return cmocka_run_group_tests_name("patch_profiler", tests, set_up, NULL);
}
