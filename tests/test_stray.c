/* SPDX-License-Identifier: MIT */
/* Faults that are no window's are reported where somebody asks for it, and go on as ever. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"
#include "src/stray.h"

enum { RW = REGMAP_READ | REGMAP_WRITE };

#define WINDOW 0x40021000ULL
#define NOTHING 0x40021400ULL
#define FAR 0x7f0000000000ULL
#define NON_CANONICAL 0x0100000000000010ULL

static uint32_t memory[256];
static struct t_child child;

static bool minds(uint64_t address, bool handled)
{
	return !handled || address >> 16 == WINDOW >> 16;
}

static bool describe(uint64_t address, char *to, size_t size)
{
	const char words[] = "behind the clocks";

	if (address >> 16 != WINDOW >> 16 || size < sizeof(words))
		return false;
	memcpy(to, words, sizeof(words));
	return true;
}

static void say_last_words(void)
{
	if (write(2, "last words\n", 11) < 0)
		_exit(91);
}

static const struct stray_expert expert = {
	.label = "device",
	.minds = minds,
	.describe = describe,
	.last_words = say_last_words,
};

static void prepare(void)
{
	if (t_lay_host("clocks", WINDOW, memory, sizeof(memory), REGMAP_READ))
		_exit(90);
	regmap__stray_ask(&expert);
	signal(SIGSEGV, SIG_DFL);
}

#ifndef __clang__
__attribute__((noclone))
#endif
__attribute__((noinline)) uint32_t
read_stray(uint64_t at)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=a"(value) : "r"(at) : "memory");
	return value;
}

static unsigned times_said(const char *words)
{
	unsigned n = 0;

	for (const char *at = child.text; (at = strstr(at, words)); at++)
		n++;
	return n;
}

static void must_say(const char *words)
{
	if (!times_said(words))
		fail_msg("no \"%s\" in:\n%s", words, child.text);
}

static int read_at(void *arg)
{
	prepare();
	return (int)read_stray(*(uint64_t *)arg);
}

static void run_read(uint64_t at)
{
	t_child_run(&child, read_at, &at);
	assert_int_equal(t_fate(child.status), SIGSEGV);
}

static void test_stray_fault_says_what_and_where(void **state)
{
	(void)state;
	run_read(NOTHING);
	must_say("regmap: read of 4 bytes at 0x40021400: nothing is there");
	must_say("read_stray+0x");
	must_say("  device       behind the clocks\n");
	must_say("\"clocks\" 0x40021000..0x400213ff");
	must_say("gets SIGSEGV here");
}

static void test_stray_fault_without_a_handler_is_reported_anywhere(void **state)
{
	(void)state;
	run_read(FAR);
	must_say("read of 4 bytes at 0x00007f0000000000: nothing is there");
	assert_int_equal(times_said("  device  "), 0);
}

static void test_stray_non_canonical_address_is_found_in_the_instruction(void **state)
{
	(void)state;
	run_read(NON_CANONICAL);
	must_say("read of 4 bytes at 0x0100000000000010: nothing is there");
}

static void test_stray_last_words_are_said_once(void **state)
{
	(void)state;
	run_read(FAR);
	assert_int_equal(times_said("last words"), 1);
}

static int refused(void *arg)
{
	(void)arg;
	prepare();
	*(volatile uint32_t *)WINDOW = 1;
	return 0;
}

static void test_stray_expert_is_asked_about_refused_accesses(void **state)
{
	(void)state;
	t_child_run(&child, refused, NULL);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	must_say("write of 4 bytes at 0x40021000");
	must_say("  device       behind the clocks\n");
	assert_int_equal(times_said("last words"), 1);
}

static int jump(void *arg)
{
	prepare();
	((void (*)(void)) * (uint64_t *)arg)();
	return 0;
}

static void test_stray_jump_is_no_access(void **state)
{
	uint64_t at = NOTHING;

	(void)state;
	t_child_run(&child, jump, &at);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	must_say("execution of 1 byte at 0x40021400: that is not code");
}

static sigjmp_buf back;

static void escape(int signo)
{
	siglongjmp(back, signo);
}

/* Where the program has a handler. */
static int survive(void *arg)
{
	const uint64_t *at = arg;

	prepare();
	signal(SIGSEGV, escape);
	for (volatile int i = 0; i < 5; i++)
		if (!sigsetjmp(back, 1)) {
			read_stray(*at);
			return 1;
		}
	return 0;
}

static void test_stray_site_is_reported_once(void **state)
{
	uint64_t at = NOTHING;

	(void)state;
	t_child_run(&child, survive, &at);
	assert_int_equal(t_fate(child.status), 0);
	assert_int_equal(times_said("read of 4 bytes at 0x40021400"), 1);
	assert_int_equal(times_said("last words"), 0);
}

static void test_stray_fault_that_the_program_handles_elsewhere_is_its_own(void **state)
{
	uint64_t at = FAR;

	(void)state;
	t_child_run(&child, survive, &at);
	assert_int_equal(t_fate(child.status), 0);
	assert_string_equal(child.text, "");
}

static int unasked(void *arg)
{
	if (t_lay_host("clocks", WINDOW, memory, sizeof(memory), RW))
		return 90;
	signal(SIGSEGV, SIG_DFL);
	return (int)read_stray(*(uint64_t *)arg);
}

static void test_stray_fault_is_silent_unless_asked_for(void **state)
{
	uint64_t at = NOTHING;

	(void)state;
	t_child_run(&child, unasked, &at);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	assert_string_equal(child.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stray_fault_says_what_and_where),
		cmocka_unit_test(test_stray_fault_without_a_handler_is_reported_anywhere),
		cmocka_unit_test(test_stray_non_canonical_address_is_found_in_the_instruction),
		cmocka_unit_test(test_stray_last_words_are_said_once),
		cmocka_unit_test(test_stray_expert_is_asked_about_refused_accesses),
		cmocka_unit_test(test_stray_jump_is_no_access),
		cmocka_unit_test(test_stray_site_is_reported_once),
		cmocka_unit_test(test_stray_fault_that_the_program_handles_elsewhere_is_its_own),
		cmocka_unit_test(test_stray_fault_is_silent_unless_asked_for),
	};

	return cmocka_run_group_tests_name("stray", tests, NULL, NULL);
}
