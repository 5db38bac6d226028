/* SPDX-License-Identifier: MIT */
/* The library's own memory functions, against libc's: every length, offset and overlap near their seams. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* A build with a sanitizer has them, too, but doesn't use them. */
void *regmap__memcpy(void *to, const void *from, size_t n);
void *regmap__memmove(void *to, const void *from, size_t n);
void *regmap__memset(void *to, int byte, size_t n);
int regmap__memcmp(const void *a, const void *b, size_t n);
int regmap__bcmp(const void *a, const void *b, size_t n);

enum { MOST = 420, ROOM = 1024 };

static uint8_t pattern[ROOM], expected[ROOM], got[ROOM];

static void fill(void)
{
	for (unsigned i = 0; i < ROOM; i++)
		pattern[i] = (uint8_t)(i * 167 + (i >> 8));
	memcpy(expected, pattern, ROOM);
	memcpy(got, pattern, ROOM);
}

static void test_mem_copies_every_length_and_nothing_beside(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= MOST; n++)
		for (unsigned at = 0; at < 9; at++) {
			fill();
			memcpy(expected + at, pattern + 500 + at / 2, n);
			assert_ptr_equal(regmap__memcpy(got + at, pattern + 500 + at / 2, n),
			                 got + at);
			assert_memory_equal(got, expected, ROOM);
		}
}

static void test_mem_moves_over_every_overlap(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= MOST; n += n < 70 ? 1 : 13)
		for (int by = -40; by <= 40; by++) {
			fill();
			memmove(expected + 200 + by, expected + 200, n);
			assert_ptr_equal(regmap__memmove(got + 200 + by, got + 200, n),
			                 got + 200 + by);
			assert_memory_equal(got, expected, ROOM);
		}
}

static void test_mem_sets_every_length_and_nothing_beside(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= MOST; n++)
		for (unsigned at = 0; at < 9; at++) {
			fill();
			memset(expected + at, 0x1a5, n);
			assert_ptr_equal(regmap__memset(got + at, 0x1a5, n), got + at);
			assert_memory_equal(got, expected, ROOM);
		}
}

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void test_mem_compares_by_the_first_byte_that_differs(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= 64; n++) {
		fill();
		assert_int_equal(regmap__memcmp(got + 1, expected + 1, n), 0);
		for (unsigned i = 0; i < n; i++)
			for (unsigned j = i; j < n; j++) {
				fill();
				got[1 + i] ^= 0x80;
				expected[1 + j] ^= 0x41;
				assert_int_equal(sign(regmap__memcmp(got + 1, expected + 1, n)),
				                 sign(memcmp(got + 1, expected + 1, n)));
				assert_int_equal(!regmap__bcmp(got + 1, expected + 1, n),
				                 !memcmp(got + 1, expected + 1, n));
			}
	}
}

/* The state that a patched site's program has in them. */
static void test_mem_leaves_vector_registers_alone(void **state)
{
	uint64_t before = 0x123456789abcdef, after;

	(void)state;
	fill();
	for (unsigned n = 0; n <= MOST; n += 7) {
		__asm__ volatile("movq %0, %%xmm0\n\tmovq %0, %%xmm7\n\tmovq %0, %%xmm15"
		                 :
		                 : "r"(before)
		                 : "xmm0", "xmm7", "xmm15");
		regmap__memcpy(got, pattern, n);
		regmap__memmove(got + 3, got, n);
		regmap__memset(got, 1, n);
		regmap__memcmp(got, pattern, n);
		__asm__ volatile("movq %%xmm0, %0\n\tmovq %%xmm7, %%rcx\n\tand %%rcx, %0\n\t"
		                 "movq %%xmm15, %%rcx\n\tand %%rcx, %0"
		                 : "=&r"(after)
		                 :
		                 : "rcx", "cc");
		assert_int_equal(after, before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mem_copies_every_length_and_nothing_beside),
		cmocka_unit_test(test_mem_moves_over_every_overlap),
		cmocka_unit_test(test_mem_sets_every_length_and_nothing_beside),
		cmocka_unit_test(test_mem_compares_by_the_first_byte_that_differs),
		cmocka_unit_test(test_mem_leaves_vector_registers_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
