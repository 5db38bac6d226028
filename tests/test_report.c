/* SPDX-License-Identifier: MIT */
/* What a refused access says on stderr. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { RW = REGMAP_READ | REGMAP_WRITE };

#define FLASH 0x08000000ULL
#define UART 0xffff900000002000ULL

static uint32_t memory[1024];
static struct t_child child;

static int uart_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return -EIO;
}

static const struct regmap_device_ops uart = {NULL, uart_write};

static void lay(void)
{
	if (t_lay_host("flash", FLASH, memory, sizeof(memory), REGMAP_READ) ||
	    t_lay_host("ram", FLASH + 0x8000, memory, 0x102, RW) ||
	    t_lay_device("uart 1", UART, 0x400, &uart, NULL))
		_exit(90);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

/* Not inlined, cloned, or called as a tail: its name must be in the backtrace. */
#ifndef __clang__
__attribute__((noclone))
#endif
__attribute__((noinline)) int
flash_erase(uint64_t at)
{
	__asm__ volatile("movl %%ecx, 0x10(%%rax)" : : "a"(at), "c"(0x1234) : "memory");
	return (int)memory[0];
}

__attribute__((noinline)) static int write_in_flash(void *arg)
{
	(void)arg;
	lay();
	return flash_erase(FLASH) + 1;
}

static void must_say(const char *words)
{
	if (!strstr(child.text, words))
		fail_msg("no \"%s\" in:\n%s", words, child.text);
}

static void test_report_tells_all_about_a_refused_write(void **state)
{
	(void)state;
	t_child_run(&child, write_in_flash, NULL);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	must_say("regmap: write of 4 bytes at 0x08000010: ");
	must_say("\"flash\" 0x08000000..0x08000fff, read-only host memory; offset 0x10");
	must_say("mov dword ptr [rax+0x10], ecx");
	must_say("| 89 48 10\n");
	must_say("rax 0000000008000000");
	must_say("rcx 0000000000001234");
	must_say("  rip 0000");
	must_say("  flg 0000000000");
	must_say("gets SIGSEGV");
	must_say("map the window with REGMAP_WRITE");
	must_say("#0  0x");
	must_say("flash_erase+0x");
	must_say(program_invocation_short_name);
	must_say("  in           flash_erase+0x");
	must_say("write_in_flash+0x");
	must_say("main+0x");
	must_say("REGMAP_REPORT=0");
}

static int anger_device(void *arg)
{
	(void)arg;
	lay();
	*(volatile uint16_t *)(uintptr_t)(UART + 6) = 1;
	return 0;
}

static void test_report_names_the_device_error(void **state)
{
	(void)state;
	t_child_run(&child, anger_device, NULL);
	assert_int_equal(t_fate(child.status), SIGBUS);
	must_say("regmap: write of 2 bytes at 0xffff900000002006: ");
	must_say("-EIO (Input/output error)");
	must_say(
		"\"uart 1\" 0xffff900000002000..0xffff9000000023ff, read-write device; offset 0x6");
	must_say("gets SIGBUS");
}

static int leave_window(void *arg)
{
	(void)arg;
	lay();
	*(volatile uint32_t *)(uintptr_t)(FLASH + 0x8100) = 1;
	return 0;
}

static void test_report_tells_of_accesses_that_leave_a_window(void **state)
{
	(void)state;
	t_child_run(&child, leave_window, NULL);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	must_say("regmap: write of 4 bytes at 0x08008100: ");
	must_say("\"ram\" 0x08008000..0x08008101");
}

static int only_wild(void *arg)
{
	lay();
	*(volatile uint32_t *)(uintptr_t)arg = 1;
	return 0;
}

static void test_report_is_silent_about_other_faults(void **state)
{
	(void)state;
	t_child_run(&child, only_wild, (void *)0x7ffffffff000);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	assert_string_equal(child.text, "");
}

static int silenced(void *arg)
{
	setenv("REGMAP_REPORT", "0", 1);
	return write_in_flash(arg);
}

static void test_report_can_be_silenced(void **state)
{
	(void)state;
	t_child_run(&child, silenced, NULL);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	assert_string_equal(child.text, "");
}

static sigjmp_buf out;
static void jump(int signo)
{
	(void)signo;
	siglongjmp(out, 1);
}

static uint64_t mask_now(void)
{
	sigset_t now;
	uint64_t word;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	memcpy(&word, &now, sizeof(word));
	return word;
}

static void keep_errno(int signo)
{
	if (errno != 4711)
		_exit(6);
	jump(signo);
}

static int report_twice(void *arg)
{
	struct sigaction act = {.sa_handler = keep_errno};

	(void)arg;
	lay();
	sigaction(SIGSEGV, &act, NULL);
	for (volatile int i = 0; i < 2; i++) {
		errno = 4711;
		if (!sigsetjmp(out, 1))
			flash_erase(FLASH);
		if (mask_now())
			return 7;
	}
	return 0;
}

static void test_report_keeps_errno_and_mask(void **state)
{
	(void)state;
	t_child_run(&child, report_twice, NULL);
	assert_int_equal(t_fate(child.status), 0);
	must_say("flash_erase");
}

/* The registers that an unwinder trusts may hold anything. */
static int garbage_stack(void *arg)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};

	lay();
	sigaltstack(&alternate, NULL);
	__asm__ volatile("movq %0, %%rsp; movq %0, %%rbp; movq %0, %%rbx\n\t"
	                 "movl %%ecx, 0x10(%%rax)"
	                 :
	                 : "r"(arg), "a"(FLASH), "c"(0)
	                 : "memory");
	return 0;
}

static void test_report_survives_a_garbage_stack(void **state)
{
	static const uintptr_t stacks[] = {8, 0xffff800000000000, 0x1234567890123456,
	                                   0x7ffffffff000, UART};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		t_child_run(&child, garbage_stack, (void *)stacks[i]);
		assert_int_equal(t_fate(child.status), SIGSEGV);
		must_say("regmap: write of 4 bytes at 0x08000010: ");
		must_say("#0  0x");
		must_say("garbage_stack+0x");
	}
}

static void *refused_in_thread(void *arg)
{
	(void)arg;
	flash_erase(FLASH);
	return NULL;
}

static int stepped_over;
static void step_over(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)info;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP] += 3;
	__atomic_add_fetch(&stepped_over, 1, __ATOMIC_RELAXED);
}

static int many_threads(void *arg)
{
	struct sigaction act = {.sa_sigaction = step_over, .sa_flags = SA_SIGINFO};
	pthread_t threads[4];

	(void)arg;
	lay();
	sigaction(SIGSEGV, &act, NULL);
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, refused_in_thread, NULL);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return stepped_over == 4 ? 0 : 1;
}

static void test_report_takes_turns(void **state)
{
	static const char end[] = "turns these reports off.\n\n";
	const char *at;
	unsigned ends = 0;

	(void)state;
	t_child_run(&child, many_threads, NULL);
	assert_int_equal(t_fate(child.status), 0);
	for (at = child.text; (at = strstr(at, end)); ends++) {
		at += sizeof(end) - 1;
		assert_true(!*at || !strncmp(at, "\nregmap: ", 9));
	}
	assert_int_equal(ends, 4);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_tells_all_about_a_refused_write),
		cmocka_unit_test(test_report_names_the_device_error),
		cmocka_unit_test(test_report_tells_of_accesses_that_leave_a_window),
		cmocka_unit_test(test_report_is_silent_about_other_faults),
		cmocka_unit_test(test_report_can_be_silenced),
		cmocka_unit_test(test_report_keeps_errno_and_mask),
		cmocka_unit_test(test_report_survives_a_garbage_stack),
		cmocka_unit_test(test_report_takes_turns),
	};

	(void)argv;
	if (argc > 1)
		return write_in_flash(NULL);
	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
