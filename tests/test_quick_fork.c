/* SPDX-License-Identifier: MIT */
/*
 * The short way, with a signal at each of its steps whose handler forks: child and parent both go on
 * from there, and what the thread remembers of its last accesses is wiped in the child. Not with the
 * register page, which would make good what a null pointer reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "lay.h"
#include "src/quick.h"
#include "steps.h"

#define HOST 0xffffa10000000000ull
#define DEVICE 0xffffa10000010000ull
#define VALUE 0x1122334455667788ull

enum { BYTES = 4096, RIP = 0x1000 };
enum { RAX = 0, RDI = 7 };

static uint8_t host[BYTES] __attribute__((aligned(BYTES)));
static uint64_t held, wrong_offset;
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

static void fork_here(void)
{
	forked = fork();
}

struct hand {
	uint64_t gpr[16], flags;
	struct plan plan;
	struct quick_failure failure;
	enum quick result;
};

static void run(void *arg)
{
	static const uint8_t in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct hand *h = arg;
	const struct cpu_regs regs = {h->gpr, in_order, &h->flags};

	h->result = regmap__quick(&h->plan, &regs, RIP, false, &h->failure);
}

static void prepare(struct hand *h, const char *bytes, uint64_t address)
{
	*h = (struct hand){.flags = 0x202, .gpr = {[RAX] = VALUE, [RDI] = address}};
	assert_int_equal(regmap__em_plan(&h->plan, (const uint8_t *)bytes, 3, EM_TIER_BOTH), EM_OK);
	memset(host, 0, sizeof(host));
	held = 0;
	if (h->plan.access & EM_WRITE)
		return;
	h->gpr[RAX] = 1;
	held = VALUE;
	memcpy(host + 8, &held, 8);
}

/* What can't be done in the middle, may be left to the long way. */
static bool is_fine(const struct hand *h)
{
	uint64_t there;

	memcpy(&there, host + 8, 8);
	if (h->result == QUICK_NO)
		return h->gpr[RAX] == (h->plan.access & EM_WRITE ? VALUE : 1);
	return h->result == QUICK_DONE && h->gpr[RAX] == VALUE && !wrong_offset &&
	       (h->gpr[RDI] < DEVICE ? there : held) == VALUE;
}

static void fork_at_each_step(const char *bytes, uint64_t address)
{
	int n = 0, status;
	struct hand h;
	bool came;

	do {
		prepare(&h, bytes, address);
		run(&h); /* now it is known where that is */
		assert_true(is_fine(&h));
		prepare(&h, bytes, address);
		forked = -1;
		came = t_at_step(++n, fork_here, run, &h);
		if (forked == 0)
			_exit(!is_fine(&h));
		assert_true(is_fine(&h));
		if (forked > 0) {
			assert_int_equal(waitpid(forked, &status, 0), forked);
			assert_int_equal(status, 0);
		}
	} while (came);
	assert_true(n > 50);
}

#define LOAD "\x48\x8b\x07"  /* mov (%rdi), %rax */
#define STORE "\x48\x89\x07" /* mov %rax, (%rdi) */

static void test_quick_goes_on_in_a_child_at_each_step(void **state)
{
	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* the steps would be theirs */
	fork_at_each_step(LOAD, HOST + 8);
	fork_at_each_step(STORE, HOST + 8);
	fork_at_each_step(LOAD, DEVICE + 8);
	fork_at_each_step(STORE, DEVICE + 8);
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
