/* SPDX-License-Identifier: MIT */
/*
 * XRSTOR from a device whose area has an impossible header: the CPU says #GP and reads no more than
 * that, where parts of the area used to be read, some of them twice. Found by fuzz/emulator.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cpuid.h>
#include <signal.h>
#include <string.h>

#include "lay.h"

enum { HEADER = 512, HEADER_END = 576, XCOMP_BV = 8, OSXSAVE = 1 << 27, XSAVEC = 1 << 1 };

#define AT 0x551900000000ull

static uint8_t area[4096], reads[4096];
static sigjmp_buf escape;
static siginfo_t seen;

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	*value = 0;
	memcpy(value, area + offset, width);
	for (unsigned i = 0; i < width; i++)
		reads[offset + i]++;
	return 0;
}

static const struct regmap_device_ops ops = {.read = device_read};

static void on_fault(int signo, siginfo_t *info, void *uc)
{
	(void)uc;
	seen = *info;
	siglongjmp(escape, signo);
}

static void test_xrstor_reads_no_more_than_an_impossible_header(void **state)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	uint64_t bv = 7, compacted = 1ull << 63 | 3; /* AVX is there, and is not */
	unsigned a, b, c, d;

	(void)state;
	__cpuid(1, a, b, c, d);
	if (!(c & OSXSAVE) || !__get_cpuid_count(0xd, 1, &a, &b, &c, &d) || !(a & XSAVEC))
		skip();
	sigaction(SIGSEGV, &sa, NULL);
	assert_int_equal(t_lay_device("area", AT, sizeof(area), &ops, NULL), 0);
	memcpy(area + HEADER, &bv, sizeof(bv));
	memcpy(area + HEADER + XCOMP_BV, &compacted, sizeof(compacted));
	if (!sigsetjmp(escape, 1)) {
		__asm__ volatile("xrstor64 (%0)" : : "r"(AT), "a"(7), "d"(0) : "memory");
		fail_msg("carried out");
	}
	assert_int_equal(seen.si_signo, SIGSEGV);
	for (unsigned i = 0; i < sizeof(reads); i++)
		assert_int_equal(reads[i], i >= HEADER && i < HEADER_END);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xrstor_reads_no_more_than_an_impossible_header),
	};

	return cmocka_run_group_tests_name("regress_xrstor_header", tests, NULL, NULL);
}
