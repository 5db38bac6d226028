/* SPDX-License-Identifier: MIT */
/* Code memory: stubs that are remembered, and what happens when they are used up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86_64/native.h"
#include "lay.h"

enum { MANY = 40000, AT = 0x30000000 };

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
		cmocka_unit_test(test_code_lends_when_full),
	};

	return cmocka_run_group_tests_name("code", tests, set_up, NULL);
}
