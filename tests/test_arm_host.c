/* SPDX-License-Identifier: MIT */
/* CFLAGS: -include regmap/arm_host.h -Itests */
/*
 * A vendor's inline assembly does on the host what it does on the chip, or arrives at the core window. Other
 * compilers, standards and levels of optimisation come by scripts/check-firmware.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <regmap/regmap.h>

#include "firmware/core.h"
#include "lay.h"

/* --- a core window that remembers --- */

static struct access {
	uint64_t offset;
	uint64_t value;
	unsigned width;
	int is_write;
} seen[16];
static unsigned seen_count;
static uint32_t core[1024];

static int core_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	*value = core[offset / 4];
	seen[seen_count++ % 16] = (struct access){offset, *value, width, 0};
	return 0;
}

static int core_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	core[offset / 4] = value;
	seen[seen_count++ % 16] = (struct access){offset, value, width, 1};
	return 0;
}

static int lay_core(void **state)
{
	static const struct regmap_device_ops ops = {core_read, core_write};

	(void)state;
	return t_lay_device("core", REGMAP_ARM_CORE, 4096, &ops, NULL);
}

static int forget(void **state)
{
	(void)state;
	seen_count = 0;
	return 0;
}

#define assert_seen(n, at, what, writes) \
	do { \
		assert_true(seen_count > (n)); \
		assert_int_equal(seen[n].offset, at); \
		assert_int_equal(seen[n].value, what); \
		assert_int_equal(seen[n].width, 4); \
		assert_int_equal(seen[n].is_write, writes); \
	} while (0)

static void test_arm_host_cps_writes_masks(void **state)
{
	(void)state;
	__disable_irq();
	__enable_irq();
	__disable_fault_irq();
	__enable_fault_irq();
	__asm volatile("cpsid if");
	assert_int_equal(seen_count, 6);
	assert_seen(0, REGMAP_ARM_PRIMASK, 1, 1);
	assert_seen(1, REGMAP_ARM_PRIMASK, 0, 1);
	assert_seen(2, REGMAP_ARM_FAULTMASK, 1, 1);
	assert_seen(3, REGMAP_ARM_FAULTMASK, 0, 1);
	assert_seen(4, REGMAP_ARM_PRIMASK, 1, 1);
	assert_seen(5, REGMAP_ARM_FAULTMASK, 1, 1);
}

#define SPECIAL(function, offset_of) \
	do { \
		seen_count = 0; \
		__set_##function(0x12345678u + (offset_of)); \
		assert_int_equal(__get_##function(), 0x12345678u + (offset_of)); \
		assert_int_equal(seen_count, 2); \
		assert_seen(0, offset_of, 0x12345678u + (offset_of), 1); \
		assert_seen(1, offset_of, 0x12345678u + (offset_of), 0); \
	} while (0)

static void test_arm_host_mrs_and_msr_access_special_registers(void **state)
{
	(void)state;
	SPECIAL(PRIMASK, REGMAP_ARM_PRIMASK);
	SPECIAL(BASEPRI, REGMAP_ARM_BASEPRI);
	SPECIAL(BASEPRI_MAX, REGMAP_ARM_BASEPRI_MAX);
	SPECIAL(FAULTMASK, REGMAP_ARM_FAULTMASK);
	SPECIAL(CONTROL, REGMAP_ARM_CONTROL);
	SPECIAL(MSP, REGMAP_ARM_MSP);
	SPECIAL(PSP, REGMAP_ARM_PSP);
	SPECIAL(IPSR, REGMAP_ARM_IPSR);
	SPECIAL(APSR, REGMAP_ARM_APSR);
	SPECIAL(xPSR, REGMAP_ARM_XPSR);
}

static void test_arm_host_every_register_is_an_operand(void **state)
{
	(void)state;
#define FROM(reg) \
	do { \
		register uint32_t in __asm__(reg) = 0x1234; \
		__asm volatile("mrs %0, psp\n\trev %0, %0" : "+r"(in)); \
		assert_int_equal(in, __builtin_bswap32(core[REGMAP_ARM_PSP / 4])); \
	} while (0)
	core[REGMAP_ARM_PSP / 4] = 0xA1B2C3D4;
	FROM("eax");
	FROM("ecx");
	FROM("edx");
	FROM("ebx");
	FROM("esi");
	FROM("edi");
	FROM("r8");
	FROM("r9");
	FROM("r10");
	FROM("r11");
	FROM("r12");
	FROM("r13");
	FROM("r14");
	FROM("r15");
}

static void test_arm_host_hints_are_events(void **state)
{
	(void)state;
	__WFI();
	__WFE();
	__SEV();
	__SVC(17);
	__asm volatile("svc 200");
	__asm volatile("SVC #3"); /* the number is in a comment, for x86 */
	__NOP();
	assert_int_equal(seen_count, 6);
	assert_seen(0, REGMAP_ARM_WFI, 1, 1);
	assert_seen(1, REGMAP_ARM_WFE, 1, 1);
	assert_seen(2, REGMAP_ARM_SEV, 1, 1);
	assert_seen(3, REGMAP_ARM_SVC, 17, 1);
	assert_seen(4, REGMAP_ARM_SVC, 200, 1);
	assert_seen(5, REGMAP_ARM_SVC, 0, 1);
}

static void test_arm_host_barriers_are_fences(void **state)
{
	(void)state;
	__DMB();
	__DSB();
	__ISB();
	__asm volatile("dmb sy" : : : "memory");
	__asm volatile("DSB" : : : "memory");
	__asm volatile("isb #15" : : : "memory");
	assert_int_equal(seen_count, 0);
}

/* --- arithmetic, against C --- */

static uint32_t random32(void)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 32) >> (state >> 27 & 31);
}

static uint32_t rbit(uint32_t value)
{
	uint32_t result = 0;

	for (int i = 0; i < 32; i++)
		result |= (value >> i & 1) << (31 - i);
	return result;
}

static uint32_t clz(uint32_t value)
{
	uint32_t n = 0;

	while (n < 32 && !(value >> (31 - n) & 1))
		n++;
	return n;
}

static void check_reversals(uint32_t v)
{
	assert_int_equal(__REV(v), v >> 24 | (v >> 8 & 0xFF00) | (v & 0xFF00) << 8 | v << 24);
	assert_int_equal(__REV16(v), (v >> 8 & 0x00FF00FF) | (v & 0x00FF00FF) << 8);
	assert_int_equal(__REVSH((int16_t)v), (int16_t)((v >> 8 & 0xFF) | (v & 0xFF) << 8));
	assert_int_equal(__RBIT(v), rbit(v));
	assert_int_equal(__CLZ(v), clz(v));
}

static void test_arm_host_reverses_and_counts(void **state)
{
	(void)state;
	check_reversals(0);
	check_reversals(~0u);
	for (int i = 0; i < 32; i++)
		check_reversals(1u << i);
	for (int i = 0; i < 10000; i++)
		check_reversals(random32());
}

static void test_arm_host_rrx_takes_carry_from_apsr(void **state)
{
	(void)state;
	core[REGMAP_ARM_APSR / 4] = 1u << 29;
	assert_int_equal(__RRX(6), 0x80000003);
	core[REGMAP_ARM_APSR / 4] = ~(1u << 29);
	assert_int_equal(__RRX(6), 3);
}

static void check_saturation(int32_t v)
{
	assert_int_equal(__SSAT(v, 8), v > 127 ? 127 : v < -128 ? -128 : v);
	assert_int_equal(__SSAT(v, 1), v > 0 ? 0 : v < -1 ? -1 : v);
	assert_int_equal(__SSAT(v, 31), v > 0x3FFFFFFF  ? 0x3FFFFFFF :
	                                v < -0x40000000 ? -0x40000000 :
	                                                  v);
	assert_int_equal(__USAT(v, 0), 0);
	assert_int_equal(__USAT(v, 12), v > 4095 ? 4095 : v < 0 ? 0 : v);
	assert_int_equal(__USAT(v, 31), v < 0 ? 0 : v);
}

static void test_arm_host_saturates(void **state)
{
	(void)state;
	check_saturation(INT32_MIN);
	check_saturation(INT32_MAX);
	for (int i = -5000; i < 5000; i++)
		check_saturation(i);
	for (int i = 0; i < 1000; i++)
		check_saturation((int32_t)random32());
}

/* --- exclusives --- */

static void test_arm_host_strex_stores_once(void **state)
{
	volatile uint32_t word = 5;
	volatile uint16_t half = 5;
	volatile uint8_t byte = 5;

	(void)state;
	assert_int_equal(__LDREXW(&word), 5);
	assert_int_equal(__STREXW(6, &word), 0);
	assert_int_equal(__STREXW(7, &word), 1);
	assert_int_equal(word, 6);
	assert_int_equal(__LDREXH(&half), 5);
	assert_int_equal(__STREXH(0xF006, &half), 0);
	assert_int_equal(__STREXH(7, &half), 1);
	assert_int_equal(half, 0xF006);
	assert_int_equal(__LDREXB(&byte), 5);
	assert_int_equal(__STREXB(0xF6, &byte), 0);
	assert_int_equal(__STREXB(7, &byte), 1);
	assert_int_equal(byte, 0xF6);
}

static void test_arm_host_clrex_makes_strex_fail(void **state)
{
	volatile uint32_t word = 5;

	(void)state;
	assert_int_equal(__LDREXW(&word), 5);
	__CLREX();
	assert_int_equal(__STREXW(6, &word), 1);
	assert_int_equal(word, 5);
	assert_int_equal(load_word_exclusive(&word), 5);
	__CLREX();
	assert_int_equal(store_word_exclusive(6, &word), 1);
	assert_int_equal(word, 5);
}

static void test_arm_host_strex_fails_if_the_location_was_written(void **state)
{
	volatile uint32_t word = 5;
	volatile uint8_t byte = 5;

	(void)state;
	__LDREXW(&word);
	word = 8;
	assert_int_equal(__STREXW(6, &word), 1);
	assert_int_equal(word, 8);
	load_word_exclusive(&word);
	word = 9;
	assert_int_equal(store_word_exclusive(6, &word), 1);
	assert_int_equal(word, 9);
	load_byte_exclusive(&byte);
	byte = 9;
	assert_int_equal(store_byte_exclusive(6, &byte), 1);
	assert_int_equal(byte, 9);
}

static void test_arm_host_strex_elsewhere_fails(void **state)
{
	volatile uint32_t a = 5, b = 5;
	volatile uint16_t *half = (volatile uint16_t *)&a;

	(void)state;
	__LDREXW(&a);
	assert_int_equal(__STREXW(6, &b), 1);
	assert_int_equal(b, 5);
	load_word_exclusive(&a);
	assert_int_equal(store_word_exclusive(6, &b), 1);
	assert_int_equal(b, 5);
	load_word_exclusive(&a);
	assert_int_equal(store_half_exclusive(6, half), 1);
	assert_int_equal(a, 5);
}

static void test_arm_host_exclusives_keep_other_registers(void **state)
{
	volatile uint16_t half = 0xABCD;

	(void)state;
	/* Each operand in each place, so that the saved ones are met, too. */
#define PAIR(value_in, at_in) \
	do { \
		register uint32_t value __asm__(value_in) = 0x1234; \
		register volatile uint16_t *at __asm__(at_in) = &half; \
		uint32_t loaded, failed; \
\
		half = 0xABCD; \
		__asm volatile("ldrexh %0, [%3]\n\tstrexh %1, %2, [%3]" \
		               : "=&r"(loaded), "=&r"(failed) \
		               : "r"(value), "r"(at) \
		               : "memory"); \
		assert_int_equal(loaded, 0xABCD); \
		assert_int_equal(failed, 0); \
		assert_int_equal(half, 0x1234); \
	} while (0)
	PAIR("eax", "rcx");
	PAIR("ecx", "rax");
	PAIR("edx", "rsi");
	PAIR("esi", "rdx");
	PAIR("edi", "r12");
	PAIR("r13", "r14");
	PAIR("r8", "rdi");
}

static void test_arm_host_exclusives_take_memory_operands(void **state)
{
	uint32_t words[3] = {1, 2, 3}, loaded, failed;
	volatile uint32_t *at = words;

	(void)state;
	/* Relative to the stack pointer, perhaps, and to another register. */
	__asm volatile("ldrex %0, %1" : "=r"(loaded) : "m"(words[1]));
	assert_int_equal(loaded, 2);
	__asm volatile("strex %0, %2, %1" : "=&r"(failed), "=m"(words[1]) : "r"(7));
	assert_int_equal(failed, 0);
	assert_int_equal(words[1], 7);
	__asm volatile("ldrex %0, %1" : "=r"(loaded) : "m"(at[2]));
	at[2] = 9;
	__asm volatile("strex %0, %2, %1" : "=&r"(failed), "+m"(at[2]) : "r"(8));
	assert_int_equal(failed, 1);
	assert_int_equal(words[2], 9);
}

/* A pointer that was squeezed into 32 bits: the register's upper half is nobody's. */
static void test_arm_host_exclusives_take_addresses_of_32_bits(void **state)
{
	volatile uint32_t *low = mmap((void *)0x20000000, 4096, PROT_READ | PROT_WRITE,
	                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	register uint64_t dirty __asm__("rdi") = 0xABCDEF0020000000;
	uint32_t loaded, failed;

	(void)state;
	assert_ptr_equal(low, (void *)0x20000000);
	low[0] = 6;
	__asm volatile("ldrex %0, [%%edi]\n\tstrex %1, %3, [%%edi]"
	               : "=&r"(loaded), "=&r"(failed)
	               : "r"(dirty), "r"(8)
	               : "memory");
	assert_int_equal(loaded, 6);
	assert_int_equal(failed, 0);
	assert_int_equal(low[0], 8);
	munmap((void *)low, 4096);
}

enum { THREADS = 4, TURNS = 100000 };
static volatile uint32_t count_by_name, count_by_address;
static volatile uint8_t count_bytes;

static void *add(void *arg)
{
	uint32_t failed;

	for (int i = 0; i < TURNS; i++) {
		do
			failed = __STREXW(__LDREXW(&count_by_name) + 1, &count_by_name);
		while (failed);
		do
			failed = store_word_exclusive(load_word_exclusive(&count_by_address) + 1,
			                              &count_by_address);
		while (failed);
		do
			failed = __STREXB(__LDREXB(&count_bytes) + 1, &count_bytes);
		while (failed);
	}
	return arg;
}

static void test_arm_host_threads_lose_no_increment(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count_by_name, THREADS * TURNS);
	assert_int_equal(count_by_address, THREADS * TURNS);
	assert_int_equal(count_bytes, (uint8_t)(THREADS * TURNS));
}

static void test_arm_host_register_operands_have_a_monitor(void **state)
{
	volatile uint32_t word = 5;
	uint32_t value, failed;

	(void)state;
#define LOAD() __asm volatile("ldrex %0, %1" : "=r"(value) : "Q"(word))
#define STORE(what) \
	__asm volatile("strex %0, %2, %1" : "=&r"(failed), "=Q"(word) : "r"((uint32_t)(what)))
	LOAD();
	assert_int_equal(value, 5);
	STORE(6);
	assert_int_equal(failed, 0);
	assert_int_equal(word, 6);
	LOAD();
	__CLREX();
	STORE(7);
	assert_int_equal(failed, 1);
	assert_int_equal(word, 6);
}

static void test_arm_host_says_what_core_it_is(void **state)
{
	(void)state;
	assert_int_equal(__ARM_ARCH_7M__, 1);
	assert_int_equal(__ARM_ARCH, 7);
	assert_int_equal(__ARM_ARCH_PROFILE, 'M');
	assert_int_equal(__ARM_ARCH_ISA_THUMB, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_arm_host_cps_writes_masks, forget),
		cmocka_unit_test_setup(test_arm_host_mrs_and_msr_access_special_registers, forget),
		cmocka_unit_test_setup(test_arm_host_every_register_is_an_operand, forget),
		cmocka_unit_test_setup(test_arm_host_hints_are_events, forget),
		cmocka_unit_test_setup(test_arm_host_barriers_are_fences, forget),
		cmocka_unit_test(test_arm_host_reverses_and_counts),
		cmocka_unit_test(test_arm_host_rrx_takes_carry_from_apsr),
		cmocka_unit_test(test_arm_host_saturates),
		cmocka_unit_test(test_arm_host_strex_stores_once),
		cmocka_unit_test(test_arm_host_clrex_makes_strex_fail),
		cmocka_unit_test(test_arm_host_strex_fails_if_the_location_was_written),
		cmocka_unit_test(test_arm_host_strex_elsewhere_fails),
		cmocka_unit_test(test_arm_host_exclusives_keep_other_registers),
		cmocka_unit_test(test_arm_host_exclusives_take_memory_operands),
		cmocka_unit_test(test_arm_host_exclusives_take_addresses_of_32_bits),
		cmocka_unit_test(test_arm_host_threads_lose_no_increment),
		cmocka_unit_test(test_arm_host_register_operands_have_a_monitor),
		cmocka_unit_test(test_arm_host_says_what_core_it_is),
	};

	return cmocka_run_group_tests_name("arm_host", tests, lay_core, NULL);
}
