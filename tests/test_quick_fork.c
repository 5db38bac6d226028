/* SPDX-License-Identifier: MIT */
/*
 * The short way, with a signal at each of its steps whose handler forks: child and parent both go on
 * from there, and what the thread remembers of its last accesses is wiped in the child. Not with the
 * register page, which would make good what a null pointer reads.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "lay.h"
#include "src/quick.h"

#define HOST 0xffffa10000000000ull
#define DEVICE 0xffffa10000010000ull
#define VALUE 0x1122334455667788ull

enum { BYTES = 4096, TRAP_FLAG = 1 << 8, RIP = 0x1000 };
enum { RAX = 0, RDI = 7 };

static uint8_t host[BYTES] __attribute__((aligned(BYTES)));
static uint64_t held, wrong_offset;
static int steps; /* until the fork; 0: it has been */
static pid_t forked;

static int on_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	wrong_offset |= offset != 8;
	*value = held;
	return 0;
}

static int on_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)width;
	wrong_offset |= offset != 8;
	held = value;
	return 0;
}

static const struct regmap_device_ops ops = {on_read, on_write};

static void fork_at_last(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (--steps)
		return;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	forked = fork();
}

struct hand {
	uint64_t gpr[16], flags;
	struct quick_failure failure;
};

__attribute__((noinline)) static enum quick run(struct hand *h, const struct plan *plan, bool trap)
{
	static const uint8_t in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	const struct cpu_regs regs = {h->gpr, in_order, &h->flags};
	const uint64_t flag = trap ? TRAP_FLAG : 0;
	enum quick result;

	__asm__ volatile("pushf\n\torq %0, (%%rsp)\n\tpopf" : : "r"(flag) : "cc", "memory");
	result = regmap__quick(plan, &regs, RIP, false, &h->failure);
	__asm__ volatile("pushf\n\tandl %0, (%%rsp)\n\tpopf" : : "i"(~TRAP_FLAG) : "cc", "memory");
	return result;
}

/* What can't be done in the middle, may be left to the long way. */
static bool does(const char *bytes, uint64_t address, bool trap)
{
	struct hand h = {.flags = 0x202, .gpr = {[RAX] = VALUE, [RDI] = address}};
	struct plan plan;
	enum quick result;
	uint64_t there;

	memset(host, 0, sizeof(host));
	held = 0;
	if (regmap__em_plan(&plan, (const uint8_t *)bytes, 3, EM_TIER_BOTH) != EM_OK)
		return false;
	if (!(plan.access & EM_WRITE)) {
		h.gpr[RAX] = 1;
		held = VALUE;
		memcpy(host + 8, &held, 8);
	}
	result = run(&h, &plan, trap);
	memcpy(&there, host + 8, 8);
	if (result == QUICK_NO)
		return h.gpr[RAX] == (plan.access & EM_WRITE ? VALUE : 1);
	return result == QUICK_DONE && h.gpr[RAX] == VALUE && !wrong_offset &&
	       (address < DEVICE ? there : held) == VALUE;
}

static void fork_at_each_step(const char *bytes, uint64_t address)
{
	int n = 0, status;

	do {
		bool fine = does(bytes, address, false); /* now it is known where that is */

		assert_true(fine);
		steps = ++n;
		forked = -1;
		fine = does(bytes, address, true);
		if (forked == 0)
			_exit(!fine);
		assert_true(fine);
		if (forked > 0) {
			assert_int_equal(waitpid(forked, &status, 0), forked);
			assert_int_equal(status, 0);
		}
	} while (!steps);
	assert_true(n > 50);
}

#define LOAD "\x48\x8b\x07"  /* mov (%rdi), %rax */
#define STORE "\x48\x89\x07" /* mov %rax, (%rdi) */

static void test_quick_goes_on_in_a_child_at_each_step(void **state)
{
	struct sigaction act = {.sa_sigaction = fork_at_last, .sa_flags = SA_SIGINFO}, old;

	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* the steps would be theirs */
	assert_int_equal(sigaction(SIGTRAP, &act, &old), 0);
	fork_at_each_step(LOAD, HOST + 8);
	fork_at_each_step(STORE, HOST + 8);
	fork_at_each_step(LOAD, DEVICE + 8);
	fork_at_each_step(STORE, DEVICE + 8);
	assert_int_equal(sigaction(SIGTRAP, &old, NULL), 0);
}

static int lay_all(void **state)
{
	(void)state;
	return t_lay_host("host", HOST, host, BYTES, REGMAP_READ | REGMAP_WRITE) ||
	       t_lay_device("device", DEVICE, BYTES, &ops, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quick_goes_on_in_a_child_at_each_step),
	};

	return cmocka_run_group_tests_name("quick_fork", tests, lay_all, NULL);
}
