/* SPDX-License-Identifier: MIT */
/* Code memory: stubs that are remembered, and what happens when they are used up. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arena.h"
#include "arch/x86_64/native.h"
#include "child.h"
#include "lay.h"
#include "steps.h"

enum { MANY = 40000, AT = 0x30000000, AT2 = 0x30010000 };

/* mov $imm32, %eax */
static const void *stub_for(uint32_t value)
{
	uint8_t code[5] = {0xb8};

	memcpy(code + 1, &value, sizeof(value));
	return regmap__code_stub(code, sizeof(code));
}

static uint64_t run(const void *code)
{
	struct native n = {.flags = 0x202, .code = code};

	assert_int_equal(regmap__native_run(&n), 0);
	return n.gpr[0];
}

static void test_code_remembers_by_content(void **state)
{
	const void *one = stub_for(1), *two = stub_for(2);

	(void)state;
	assert_non_null(one);
	assert_ptr_equal(one, stub_for(1));
	assert_ptr_not_equal(one, two);
	assert_int_equal(run(one), 1);
	assert_int_equal(run(two), 2);
}

static void test_code_is_never_writable_where_it_runs(void **state)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned seen = 0;

	(void)state;
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		assert_null(strstr(line, "rwx"));
		seen += strstr(line, "regmap-code") != NULL;
	}
	fclose(maps);
	assert_int_equal(seen, 2);
}

/* A child has code memory of its own: what it appends is not seen by its parent. */
static void test_code_parts_from_the_parent(void **state)
{
	const void *here;
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0)
		_exit(run(stub_for(101)) == 101 && run(stub_for(1)) == 1 ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	here = stub_for(202);
	assert_int_equal(run(here), 202);
}

/* Stubs stay where they are, however many generations later, and aren't made twice. */
static int generations(unsigned left, const void *one)
{
	int status;
	pid_t child;

	if (stub_for(1) != one || run(one) != 1 || run(stub_for(500 + left)) != 500 + left)
		return 1;
	if (!left)
		return 0;
	child = fork();
	if (child == 0)
		_exit(generations(left - 1, one));
	return waitpid(child, &status, 0) == child && status == 0 ? 0 : 2;
}

static int try_generations(void *arg)
{
	(void)arg;
	return generations(30, stub_for(1));
}

static void test_code_stays_where_it_is(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(try_generations, NULL), 0);
}

/* --- signals that fork --- */

static pid_t forked; /* by its handler; 0: this is the child */
static int to_child[2], from_child[2];
static uint32_t mine, others;
static bool is_fine;
static const void *made;

/* The child makes its stub first, the parent another one meanwhile; only then the child runs its own. */
static void fork_here(int signo)
{
	char c = 0;

	(void)signo;
	forked = fork();
	if (forked <= 0)
		return;
	is_fine = read(from_child[0], &c, 1) == 1 && run(stub_for(others)) == others &&
	          write(to_child[1], &c, 1) == 1;
}

static void send_signal(void)
{
	raise(SIGUSR1);
}

static void make_mine(void *unused)
{
	(void)unused;
	made = stub_for(mine);
}

static int run_when_told(const void *stub, uint32_t value)
{
	char c = 0;

	return write(from_child[1], &c, 1) == 1 && read(to_child[0], &c, 1) == 1 &&
	                       run(stub) == value && run(stub_for(value)) == value ?
	               0 :
	               1;
}

/* The child has its parent's code memory until it needs its own, which may be right now. */
static void test_code_parts_at_any_step(void **state)
{
	int n = 0, status;
	bool came;

	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* they put signals off */
	signal(SIGUSR1, fork_here);
	assert_int_equal(pipe(to_child) | pipe(from_child), 0);
	do {
		mine = 0x1000000 + (uint32_t)n;
		others = mine + 0x1000000;
		forked = -1;
		came = t_at_step(++n, send_signal, make_mine, NULL);
		if (forked == 0)
			_exit(run_when_told(made, mine));
		assert_int_equal(run(made), mine);
		if (forked > 0) {
			assert_int_equal(waitpid(forked, &status, 0), forked);
			assert_int_equal(status, 0);
			assert_true(is_fine);
			assert_int_equal(run(stub_for(others)), others);
		}
	} while (came);
	assert_true(n > 100);
}

static int limit(int what, rlim_t most)
{
	const struct rlimit to = {most, most};

	return setrlimit(what, &to);
}

static int without_descriptors(void *arg)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	(void)arg;
	if (limit(RLIMIT_NOFILE, 0) || open("/dev/null", O_RDONLY) >= 0)
		return 1;
	if (!stub_for(303) || run(stub_for(303)) != 303 || run(stub_for(2)) != 2)
		return 2;
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "wx"))
			return 3;
	return 0;
}

static void test_code_needs_no_descriptor(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(without_descriptors, NULL), 0);
}

/* What there is goes on working, what is new is refused. */
static int without_memory(void *arg)
{
	const void *one = arg;

	if (limit(RLIMIT_AS, 1) || stub_for(404) || stub_for(1) || run(one) != 1)
		return 1;
	return regmap__code_borrow((const uint8_t *)"\x90", 1) ? 2 : 0;
}

static int access_without_memory(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	if (limit(RLIMIT_AS, 1))
		return 1;
	__asm__ volatile("psubb (%0), %%xmm7" : : "r"((uintptr_t)AT2) : "xmm7", "memory");
	return 2;
}

static void test_code_without_memory_is_refused(void **state)
{
	static uint8_t host[64];
	struct t_child child;

	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* they allocate all the time */
	assert_int_equal(t_child_fate(without_memory, (void *)stub_for(1)), 0);
	assert_int_equal(t_lay_host("poor", AT2, host, sizeof(host), REGMAP_READ), 0);
	t_child_run(&child, access_without_memory, NULL);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	assert_non_null(strstr(child.text, "no room for its code"));
}

static void borrow_many(void)
{
	uint8_t code[5] = {0xb8};

	for (uint32_t i = 0; i < 1000; i++) {
		const void *stub;

		memcpy(code + 1, &i, sizeof(i));
		stub = regmap__code_borrow(code, sizeof(code));
		assert_non_null(stub);
		assert_int_equal(run(stub), i);
		regmap__code_give_back(stub);
	}
}

static void test_code_lends_when_full(void **state)
{
	static uint8_t host[64];
	uint32_t n = 0;

	(void)state;
	assert_int_equal(t_lay_host("full", AT, host, sizeof(host), REGMAP_READ | REGMAP_WRITE), 0);
	while (n < MANY && stub_for(1000 + n))
		n++;
	assert_true(n < MANY);
	borrow_many();
	memset(host, 3, sizeof(host));
	for (unsigned i = 0; i < 100; i++)
		__asm__ volatile("paddb %%xmm7, %%xmm7\n\t movdqu (%0), %%xmm7\n\t"
		                 "paddb (%0), %%xmm7\n\t movdqu %%xmm7, 16(%0)"
		                 :
		                 : "r"((uintptr_t)AT)
		                 : "xmm7", "memory");
	assert_int_equal(host[16], 6);
}

static int set_up(void **state)
{
	(void)state;
	regmap__xstate_init();
	return regmap__code_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_code_remembers_by_content),
		cmocka_unit_test(test_code_is_never_writable_where_it_runs),
		cmocka_unit_test(test_code_parts_from_the_parent),
		cmocka_unit_test(test_code_stays_where_it_is),
		cmocka_unit_test(test_code_parts_at_any_step),
		cmocka_unit_test(test_code_needs_no_descriptor),
		cmocka_unit_test(test_code_without_memory_is_refused),
		cmocka_unit_test(test_code_lends_when_full),
	};

	return cmocka_run_group_tests_name("code", tests, set_up, NULL);
}
