/* SPDX-License-Identifier: MIT */
/* Refused instructions, and callbacks that do what they like. See expert.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "expert.h"

/* ---- Refused instructions ------------------------------------------------------------------ */

/* In a process of its own: without native execution. */
static void test_refused_without_native_execution(void **state)
{
	(void)state;
	t_start();
	IN(RDI) = T_HIGH + 0x40;
	t_run_code(load64);
	WANT(RAX) = OLD(T_HIGH + 0x40);
	t_done(load64);
	t_start();
	IN(RDI) = T_DEV + 0x40;
	t_run_code(load128);
	t_fault(load128, SIGSEGV, SEGV_ACCERR, PAGE_FAULT, T_DEV + 0x40);
	t_logged("");
	t_start();
	IN(RDI) = T_NOWHERE + 0x40;
	t_run_code(store128);
	t_fault(store128, SIGSEGV, SI_KERNEL, PROTECTION, 0);
	misaligned(T_DEV + 0x48, cmpxchg16b);
}

static int run_refused(void *arg)
{
	static char *const args[] = {"test_expert_callbacks", "refused", NULL};

	(void)arg;
	setenv("REGMAP_NATIVE", "0", 1);
	unsetenv("REGMAP_REPORT");
	if (!freopen("/dev/null", "w", stdout))
		return 99;
	execv("/proc/self/exe", args);
	return 98;
}

static void test_expert_refusals_are_clear(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, run_refused, NULL);
	if (child.status)
		print_error("%s\n", child.text);
	assert_int_equal(child.status, 0);
	assert_non_null(strstr(child.text, "movups xmm0"));
	assert_non_null(strstr(child.text, "REGMAP_NATIVE=0"));
	assert_non_null(strstr(child.text, "registers and memory are as before"));
	assert_non_null(strstr(child.text, "movups xmmword ptr [rdi], xmm0"));
	assert_non_null(strstr(child.text, "the instruction itself objects"));
}

/* ---- Callbacks ----------------------------------------------------------------------------- */

static jmp_buf escape;
static volatile unsigned hooked;
static volatile pid_t born;

/* Windows, vector registers, x87 and flags, in the middle of somebody's instruction. */
static int nest(bool write, uint64_t offset)
{
	volatile double *windowed = (volatile double *)(uintptr_t)(T_HIGH + 0x100);
	double before = *windowed;

	(void)write;
	hooked++;
	*windowed = (double)offset + 0.5;
	*windowed = *windowed * 3 + hooked;
	*(volatile uint64_t *)(uintptr_t)T_DEV2 = (uint64_t)*windowed;
	__asm__ volatile("fld1; faddl (%0); fstpl (%0)" : : "r"(T_HIGH + 0x108) : "memory");
	memset((void *)(uintptr_t)(T_NOWHERE + 0x200), 7, 100);
	*windowed = before;
	return 0;
}

EACH(callbacks_use_windows)
{
	uint8_t bytes[16];

	if (!t_is_device(at))
		return;
	IN(RDI) = at + 0x40;
	memcpy(bytes, t_bytes(at + 0x40), 16);
	t_device_hook = nest;
	hooked = 0;
	t_run_code(load128);
	t_want_vector(0, 0, bytes, 16);
	for (unsigned i = 0; i < T_PLACES; i++)
		memcpy(t_try.want_memory[i], t_bytes(T_PLAIN + i * T_PG), T_PG);
	t_done(load128);
	assert_int_equal(hooked, 2);
	t_logged("B.w8@0=c2 A.r8@40 B.w8@0=db A.r8@48 ");
}

static int leave_at_the_second(bool write, uint64_t offset)
{
	(void)write, (void)offset;
	if (++hooked == 2)
		longjmp(escape, 1);
	return 0;
}

static void test_expert_callbacks_jump_out(void **state)
{
	uint64_t to = T_DEV + 0x40, from = T_HIGH;

	(void)state;
	t_start();
	for (volatile unsigned i = 0; i < 100; i++) {
		hooked = 0;
		t_device_hook = leave_at_the_second;
		if (!setjmp(escape)) {
			__asm__ volatile("movups %%xmm0, (%0)" : : "r"(to) : "memory");
			fail();
		}
		assert_int_equal(hooked, 2);
		hooked = 0;
		if (!setjmp(escape)) {
			uint64_t rdi = to, rsi = from, rcx = 5;

			__asm__ volatile("rep movsb"
			                 : "+D"(rdi), "+S"(rsi), "+c"(rcx)
			                 :
			                 : "memory");
			fail();
		}
	}
	t_device_hook = NULL;
	assert_int_equal(*t_bytes(T_DEV + 0x40), *t_bytes(T_HOST));
	*(volatile uint32_t *)(uintptr_t)to = 0x1234;
	assert_int_equal(*(volatile uint32_t *)(uintptr_t)to, 0x1234);
}

static int fork_once(bool write, uint64_t offset)
{
	(void)write, (void)offset;
	if (!born)
		born = fork();
	return 0;
}

static void test_expert_callbacks_fork(void **state)
{
	int status;

	(void)state;
	t_start();
	born = 0;
	t_device_hook = fork_once;
	*(volatile uint64_t *)(uintptr_t)(T_DEV + 0x40) = 0x77;
	t_device_hook = NULL;
	if (!born) {
		*(volatile double *)(uintptr_t)(T_HIGH + 8) = 1.5;
		_exit(t_get64(T_DEV + 0x40) == 0x77 && t_get64(T_HOST + 8) == 0x3ff8000000000000 ?
		              3 :
		              4);
	}
	assert_int_equal(waitpid(born, &status, 0), born);
	assert_int_equal(status, 3 << 8);
	assert_int_equal(t_get64(T_DEV + 0x40), 0x77);
	assert_int_not_equal(t_get64(T_HOST + 8), 0x3ff8000000000000);
}

static int vfork_once(bool write, uint64_t offset)
{
	(void)write, (void)offset;
	born = vfork();
	if (!born)
		_exit(5);
	return 0;
}

static void test_expert_callbacks_vfork(void **state)
{
	int status;

	(void)state;
	if (t_has_asan())
		skip(); /* its vfork() wants to be on the thread's own stack */
	t_start();
	t_device_hook = vfork_once;
	*(volatile uint64_t *)(uintptr_t)(T_DEV + 0x40) = 0x78;
	t_device_hook = NULL;
	assert_int_equal(waitpid(born, &status, 0), born);
	assert_int_equal(status, 5 << 8);
	assert_int_equal(t_get64(T_DEV + 0x40), 0x78);
}

static int fail_at_48(bool write, uint64_t offset)
{
	(void)write;
	return offset == 0x48 ? -EIO : 0;
}

/* The second piece of a load: nothing has changed. */
static void test_expert_devices_fail_in_the_middle(void **state)
{
	(void)state;
	t_start();
	IN(RDI) = T_DEV + 0x40;
	t_device_hook = fail_at_48;
	t_run_code(load128);
	t_fault(load128, SIGBUS, BUS_ADRERR, PAGE_FAULT, T_DEV + 0x48);
	t_logged("A.r8@40 A.r8@48 ");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(refusals_are_clear), T(callbacks_use_windows), T(callbacks_jump_out),
		T(callbacks_fork),     T(callbacks_vfork),       T(devices_fail_in_the_middle),
	};
	const struct CMUnitTest refused[] = {
		cmocka_unit_test(test_refused_without_native_execution),
	};

	(void)argv;
	if (argc == 1)
		setenv("REGMAP_REPORT", "0", 0);
	if (argc > 1)
		return cmocka_run_group_tests_name("refused", refused, t_try_init, NULL);
	return cmocka_run_group_tests_name("expert_callbacks", tests, t_try_init, NULL);
}
