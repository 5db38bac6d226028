/* SPDX-License-Identifier: MIT */
/*
 * A signal at each single instruction of a trapped access, from the fault to the way back, as far as
 * the kernel delivers one there: its handler forks, and parent and child both go on with the access;
 * or it accesses windows itself; and in the end the access was made once. At every so many
 * instructions; at all of them, with EVERY_STEP=1 in the environment.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <regmap/regmap.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arena.h"
#include "child.h"
#include "lay.h"

#define HOST 0x40000000ul
#define ALIAS 0x40010000ul
#define DEVICE 0x40020000ul
#define OTHER 0x40030000ul

enum { SIZE = 0x1000, AT = 0x40, WARM_UP = 3 };
enum mode { NOTHING, FORK, ACCESS };
enum { STRIDE = 8 };

static const uint64_t CELL = 0x1122334455667788;

/* Of tracer and tracee */
struct shared {
	bool armed;      /* the next INT3 begins the access */
	bool in_handler; /* the next one is at the end of the handler */
	unsigned first;  /* step of an access with a signal */
	unsigned stride; /* from one to the next */
	unsigned signals, forks, failures;
};
static struct shared *shared;

static uint8_t memory[SIZE] __attribute__((aligned(64))), other_memory[SIZE];
static volatile uint64_t cell;
static volatile unsigned reads, writes;
static enum mode mode;
static bool is_child;
static const char *now;

static void wrong(const char *what, uint64_t is, uint64_t wanted)
{
	if (is_child)
		dprintf(1, "in a child: ");
	if (__atomic_fetch_add(&shared->failures, 1, __ATOMIC_RELAXED) < 20)
		dprintf(1, "%s: %s: 0x%llx, not 0x%llx\n", now, what, (unsigned long long)is,
		        (unsigned long long)wanted);
}

static void expect(const char *what, uint64_t is, uint64_t wanted)
{
	if (is != wanted)
		wrong(what, is, wanted);
}

/* --- what is accessed --- */

static int model_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset;
	reads++;
	*value = width == 8 ? cell : (uint32_t)cell;
	return 0;
}

static int model_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset;
	writes++;
	cell = width == 8 ? value : (cell & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
	return 0;
}

static int other_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	*value = ~offset;
	return 0;
}

static const struct regmap_device_ops model = {model_read, model_write},
				      other_model = {other_read, NULL};

static bool lay(void)
{
	const struct regmap_config alias = {.size = sizeof(alias),
	                                    .guest = ALIAS,
	                                    .length = SIZE,
	                                    .access = REGMAP_READ | REGMAP_WRITE,
	                                    .backing = REGMAP_ALIAS,
	                                    .target = DEVICE};

	return !t_lay_host("host", HOST, memory, SIZE, REGMAP_READ | REGMAP_WRITE) &&
	       !t_lay_host("other", OTHER, other_memory, SIZE, REGMAP_READ | REGMAP_WRITE) &&
	       !t_lay_device("device", DEVICE, SIZE, &model, NULL) &&
	       !t_lay_device("other device", OTHER + SIZE, SIZE, &other_model, NULL) &&
	       !regmap_map(&alias, NULL);
}

/* --- the accesses --- */

static uint64_t in_memory(void)
{
	uint64_t there;

	memcpy(&there, memory + AT, sizeof(there));
	return there;
}

static void set_cell(void)
{
	cell = CELL;
	memcpy(memory + AT, &CELL, sizeof(CELL));
	reads = writes = 0;
}

static void expect_device(unsigned wanted_reads, unsigned wanted_writes)
{
	expect("reads of the device", reads, wanted_reads);
	expect("writes of the device", writes, wanted_writes);
}

/* RDI: where; RSI, RAX: in and out. */
#define RUN(instruction, at, rsi, rax) \
	do { \
		uint64_t rdi_ = (at); \
		__asm__ volatile("int3\n\t" instruction "\n\tint3" \
		                 : "+D"(rdi_), "+S"(rsi), "+a"(rax) \
		                 : \
		                 : "rcx", "xmm3", "cc", "memory"); \
	} while (0)

static void load_at(uint64_t at, unsigned wanted_reads)
{
	uint64_t rax = 1, rsi = 2;

	RUN("movl (%%rdi), %%eax", at, rsi, rax);
	expect("EAX", rax, (uint32_t)CELL);
	expect_device(wanted_reads, 0);
}

static void store_at(uint64_t at, unsigned wanted_writes)
{
	uint64_t rax = 1, rsi = 0xfedcba9876543210;

	RUN("movq %%rsi, (%%rdi)", at, rsi, rax);
	expect("what was stored", wanted_writes ? cell : in_memory(), rsi);
	expect_device(0, wanted_writes);
}

static void exchange_at(uint64_t at, unsigned wanted)
{
	uint64_t rax = 1, rsi = 3;

	RUN("lock xaddq %%rsi, (%%rdi)", at, rsi, rax);
	expect("RSI", rsi, CELL);
	expect("the sum", wanted ? cell : in_memory(), CELL + 3);
	expect_device(wanted, wanted);
}

static void load(void)
{
	load_at(HOST + AT, 0);
}

static void store(void)
{
	store_at(HOST + AT, 0);
}

static void exchange(void)
{
	exchange_at(HOST + AT, 0);
}

static void load_device(void)
{
	load_at(DEVICE + AT, 1);
}

static void load_alias(void)
{
	load_at(ALIAS + AT, 1);
}

static void store_device(void)
{
	store_at(DEVICE + AT, 1);
}

static void exchange_device(void)
{
	exchange_at(DEVICE + AT, 1);
}

static void add_device(void)
{
	uint64_t rax = 1, rsi = 5;

	RUN("addl %%esi, (%%rdi)", DEVICE + AT, rsi, rax);
	expect("the sum", cell, CELL + 5);
	expect_device(1, 1);
}

static void add_vectors(void)
{
	uint64_t rax = 0x0101010101010101, rsi = 0;

	RUN("movq %%rax, %%xmm3\n\tpaddb (%%rdi), %%xmm3\n\tmovq %%xmm3, %%rsi", HOST + AT, rsi,
	    rax);
	expect("XMM3", rsi, CELL + rax);
}

static void store_vector(void)
{
	uint64_t rax = ~CELL, rsi = 0;

	RUN("movq %%rax, %%xmm3\n\tmovups %%xmm3, (%%rdi)", HOST + AT, rsi, rax);
	expect("what was stored", in_memory(), ~CELL);
}

static void copy_string(void)
{
	static uint8_t from[100];
	uint64_t rax = 1, rsi = (uintptr_t)from;

	for (unsigned i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + 1);
	RUN("movl $100, %%ecx\n\trep movsb", HOST + 2 * AT, rsi, rax);
	expect("RSI", rsi, (uintptr_t)from + sizeof(from));
	expect("the string", (uint64_t)memcmp(memory + 2 * AT, from, sizeof(from)), 0);
}

static const struct kind {
	const char *name;
	void (*run)(void);
} kinds[] = {
	{"a load", load},
	{"a store", store},
	{"a LOCKed addition", exchange},
	{"a vector operand", add_vectors},
	{"a vector store", store_vector},
	{"a string", copy_string},
	{"a load from a device", load_device},
	{"a load from a device behind an alias", load_alias},
	{"a store to a device", store_device},
	{"an addition in a device", add_device},
	{"a LOCKed addition in a device", exchange_device},
};

/* --- what comes in between --- */

static void fork_here(void)
{
	int status;

	if (t_go_on_in_both(&status)) {
		is_child = true;
		return;
	}
	shared->forks++;
	expect("a child's end", (uint64_t)status, 0);
}

static void access_here(void)
{
	static uint64_t sum;
	uint64_t three = 3, vector = 0;
	volatile uint64_t *device = (uint64_t *)(OTHER + SIZE + 16);

	__asm__ volatile("lock xaddq %0, (%1)" : "+r"(three) : "r"(OTHER) : "memory");
	expect("the handler's sum", three, sum);
	sum += 3;
	*(volatile uint64_t *)(HOST + 8) = sum;
	expect("what the handler stored", *(volatile uint64_t *)(HOST + 8), sum);
	expect("what the handler read", *device, ~16ull);
	__asm__ volatile("movups (%1), %%xmm5\n\tpaddq %%xmm5, %%xmm5\n\tmovq %%xmm5, %0"
	                 : "=r"(vector)
	                 : "r"(OTHER)
	                 : "xmm5");
	expect("the handler's vector", vector, 2 * sum);
}

static void on_signal(int signo)
{
	int saved = errno;

	(void)signo;
	if (mode == FORK)
		fork_here();
	else
		access_here();
	errno = saved;
	if (is_child)
		return;
	shared->in_handler = true;
	__asm__ volatile("int3");
}

static void ignore(int signo)
{
	(void)signo;
}

static void run_as_ever(const struct kind *kind)
{
	mode = NOTHING;
	for (unsigned i = 0; i < WARM_UP; i++) {
		set_cell();
		kind->run();
	}
}

static void run_with_signals(const struct kind *kind, enum mode what, unsigned first,
                             unsigned stride)
{
	mode = what;
	set_cell();
	shared->first = first;
	shared->stride = stride;
	shared->armed = true;
	kind->run();
	if (is_child)
		_exit(shared->failures != 0);
	shared->armed = false;
}

static void run_kind(const struct kind *kind, unsigned phase)
{
	unsigned stride = getenv("EVERY_STEP") ? 1 : STRIDE;

	now = kind->name;
	run_as_ever(kind);
	run_with_signals(kind, FORK, phase % stride, stride);
	run_with_signals(kind, ACCESS, phase % stride, stride);
}

static int be_traced(void)
{
	if (!lay())
		return 2;
	signal(SIGUSR1, on_signal);
	signal(SIGTRAP, ignore);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return 3;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		run_kind(&kinds[i], (unsigned)getpid());
	return 0;
}

/* --- the tracer --- */

static uint64_t rip_of(pid_t pid)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), NULL);
}

static bool is_breakpoint(pid_t pid)
{
	siginfo_t info = {0};

	ptrace(PTRACE_GETSIGINFO, pid, NULL, &info);
	return info.si_code == SI_KERNEL;
}

struct trace {
	pid_t pid;
	bool steps;    /* the access is under way */
	bool free;     /* the handler is, or whoever puts the signal off */
	bool pending;  /* a signal was sent, and its handler hasn't ended */
	bool returns;  /* from the handler */
	uint64_t back; /* to there */
	unsigned step; /* of the access */
	int opcode;    /* of the instruction that is next */
};

static void at_breakpoint(struct trace *t)
{
	if (shared->in_handler) {
		shared->in_handler = t->free = t->pending = false;
		t->returns = t->steps;
	} else if (shared->armed) {
		t->steps = !t->steps;
		t->returns = false;
		t->step = 0;
	}
}

static void send(struct trace *t)
{
	t->pending = true;
	shared->signals++;
	syscall(SYS_tgkill, t->pid, t->pid, SIGUSR1);
}

/* The trap flag is not to get into what the tracee does: by PUSHF it would; by POPF it stays. */
enum { PUSHF = 0x9c, POPF = 0x9d, TRAP_FLAG = 1 << 8 };

static int opcode_at(pid_t pid)
{
	return ptrace(PTRACE_PEEKTEXT, pid, rip_of(pid), NULL) & 0xff;
}

static void clean_up(pid_t pid, int opcode)
{
	const size_t where = offsetof(struct user, regs.eflags);
	long rsp = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rsp), NULL);

	if (opcode == PUSHF)
		ptrace(PTRACE_POKEDATA, pid, rsp,
		       ptrace(PTRACE_PEEKDATA, pid, rsp, NULL) & ~(long)TRAP_FLAG);
	if (opcode == POPF)
		ptrace(PTRACE_POKEUSER, pid, where,
		       ptrace(PTRACE_PEEKUSER, pid, where, NULL) & ~(long)TRAP_FLAG);
}

static bool is_due(unsigned step)
{
	return step >= shared->first && (step - shared->first) % shared->stride == 0;
}

static void at_step(struct trace *t)
{
	clean_up(t->pid, t->opcode);
	t->opcode = opcode_at(t->pid);
	if (t->returns) /* one step on from there is the next one */
		t->returns = rip_of(t->pid) != t->back;
	else if (is_due(t->step++) && !t->pending && t->opcode != POPF)
		send(t);
}

/* What the signal that it stopped for becomes. */
static int at_stop(struct trace *t, int signo)
{
	if (signo == SIGUSR1) {
		t->back = rip_of(t->pid);
		t->free = true;
		return signo;
	}
	if (signo != SIGTRAP)
		return signo;
	if (is_breakpoint(t->pid))
		at_breakpoint(t);
	else if (t->steps) /* not the one of the breakpoint itself */
		at_step(t);
	return 0;
}

static int trace(pid_t pid)
{
	struct trace t = {.pid = pid};
	int signo = 0, status;

	for (;;) {
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return status;
		signo = at_stop(&t, WSTOPSIG(status));
		ptrace(t.steps && !t.free ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, NULL,
		       (long)signo);
	}
}

/* Tracer and tracee take turns: on one processor, that takes a quarter of the time. */
static void stay_here(void)
{
	int cpu = sched_getcpu();
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu < 0 ? 0 : (unsigned)cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void test_fault_signals_at_each_step(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* the steps would be a sanitizer's */
	stay_here();
	shared = t_shared(sizeof(*shared));
	pid = fork();
	if (pid == 0)
		_exit(be_traced());
	status = trace(pid);
	printf("%u signals, %u children\n", shared->signals, shared->forks);
	assert_int_equal(status, 0);
	assert_int_equal(shared->failures, 0);
	assert_true(shared->forks > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault_signals_at_each_step),
	};

	return cmocka_run_group_tests_name("fault_steps", tests, NULL, NULL);
}
