/* SPDX-License-Identifier: MIT */
/* Lists and strings through windows, without a fault. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "lay.h"

enum { RW = REGMAP_READ | REGMAP_WRITE };

#define MEMORY 0x551000000000ULL /* 64 bytes, and 16 more behind a hole of 16 */
#define DEVICE (MEMORY + 0x1000) /* 64 bytes */
#define TEXT (MEMORY + 0x2000)   /* memory, 8 bytes, then a device */
#define LOCKED (MEMORY + 0x3000) /* write-only */
#define SHORT (MEMORY + 0x4000)  /* host memory that ends in the middle of the window */
#define PAGE_OF_TEXT (MEMORY + 0x8000)
#define TOP 0xfffffffffffffff0ULL

static uint8_t memory[96], cells[64], text[8], tail[64], top[16];
static char noted[4096], page[4096];
static uint64_t fail_at = UINT64_MAX;

static void note(char what, uint64_t offset, unsigned width)
{
	char line[32];

	snprintf(line, sizeof(line), "%c%u@%llu ", what, width, (unsigned long long)offset);
	strcat(noted, line);
}

static int cell_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	note('r', offset, width);
	memcpy(value, (uint8_t *)ctx + offset, width);
	return offset == fail_at ? -EIO : 0;
}

static int cell_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	note('w', offset, width);
	memcpy((uint8_t *)ctx + offset, &value, width);
	return offset == fail_at ? -EIO : 0;
}

static const struct regmap_device_ops cell_ops = {cell_read, cell_write};

static int lay_all(void **state)
{
	static uint8_t secret[16];
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	munmap(pages + 4096, 4096);
	memset(pages, 'x', 4096);
	pages[4095] = 0;
	return t_lay_host("memory", MEMORY, memory, 64, RW) ||
	       t_lay_host("behind the hole", MEMORY + 80, memory + 80, 16, RW) ||
	       t_lay_device("cells", DEVICE, 64, &cell_ops, cells) ||
	       t_lay_host("text", TEXT, text, 8, RW) ||
	       t_lay_device("tail", TEXT + 8, 64, &cell_ops, tail) ||
	       t_lay_host("locked", LOCKED, secret, 16, REGMAP_WRITE) ||
	       t_lay_host("short", SHORT, pages + 4080, 64, RW) ||
	       t_lay_host("page", PAGE_OF_TEXT, page, sizeof(page), RW) ||
	       t_lay_host("top", TOP, top, 16, RW);
}

static int fresh(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)i;
	for (unsigned i = 0; i < 64; i++)
		cells[i] = (uint8_t)(0x80 + i);
	memset(text, 0, sizeof(text));
	memset(tail, 0, sizeof(tail));
	noted[0] = 0;
	fail_at = UINT64_MAX;
	errno = 77;
	return 0;
}

static int errno_is_kept(void **state)
{
	(void)state;
	return errno != 77;
}

static struct iovec piece(uint64_t at, size_t length)
{
	return (struct iovec){(void *)(uintptr_t)at, length};
}

static struct iovec mine(void *at, size_t length)
{
	return (struct iovec){at, length};
}

/* --- lists --- */

static void test_gather_readv_joins_ranges_in_order(void **state)
{
	uint8_t a[5], b[11], c[4];
	const struct iovec from[] = {piece(MEMORY + 60, 4), piece(DEVICE, 8), piece(MEMORY, 8)};
	const struct iovec to[] = {mine(a, 5), mine(b, 11), mine(c, 4)};

	(void)state;
	assert_int_equal(regmap_readv(to, 3, from, 3), 0);
	assert_memory_equal(a, ((uint8_t[]){60, 61, 62, 63, 0x80}), 5);
	assert_memory_equal(b, ((uint8_t[]){0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0, 1, 2, 3}),
	                    11);
	assert_memory_equal(c, ((uint8_t[]){4, 5, 6, 7}), 4);
}

static void test_gather_writev_is_the_mirror(void **state)
{
	uint8_t a[3] = {1, 2, 3}, b[9] = {4, 5, 6, 7, 8, 9, 10, 11, 12};
	const struct iovec to[] = {piece(MEMORY + 62, 2), piece(DEVICE + 8, 8), piece(MEMORY, 2)};
	const struct iovec from[] = {mine(a, 3), mine(b, 9)};

	(void)state;
	assert_int_equal(regmap_writev(to, 3, from, 2), 0);
	assert_memory_equal(memory + 62, ((uint8_t[]){1, 2}), 2);
	assert_memory_equal(cells + 8, ((uint8_t[]){3, 4, 5, 6, 7, 8, 9, 10}), 8);
	assert_memory_equal(memory, ((uint8_t[]){11, 12, 2}), 3);
	assert_string_equal(noted, "w8@8 ");
}

static void test_gather_devices_see_guest_ranges_only(void **state)
{
	uint8_t to_bytes[16];
	struct iovec to[16];
	const struct iovec from[] = {piece(DEVICE + 2, 6), piece(DEVICE + 16, 10)};

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		to[i] = mine(to_bytes + i, 1);
	assert_int_equal(regmap_readv(to, 16, from, 2), 0);
	assert_string_equal(noted, "r2@2 r4@4 r8@16 r2@24 ");
	assert_memory_equal(to_bytes, cells + 2, 6);
	assert_memory_equal(to_bytes + 6, cells + 16, 10);
}

static void test_gather_ranges_may_cross_windows(void **state)
{
	uint8_t bytes[16];
	const struct iovec to = mine(bytes, 16), from = piece(TEXT, 16);

	(void)state;
	memcpy(text, "abcdefgh", 8);
	memcpy(tail, "ijklmnop", 8);
	assert_int_equal(regmap_readv(&to, 1, &from, 1), 0);
	assert_memory_equal(bytes, "abcdefghijklmnop", 16);
}

static void test_gather_empty_entries_are_skipped(void **state)
{
	uint8_t bytes[4];
	const struct iovec from[] = {piece(0, 0), piece(MEMORY, 4), piece(~0ULL, 0)};
	const struct iovec to[] = {mine(NULL, 0), mine(bytes, 2), mine(NULL, 0),
	                           mine(bytes + 2, 2)};

	(void)state;
	assert_int_equal(regmap_readv(to, 4, from, 3), 0);
	assert_memory_equal(bytes, memory, 4);
	assert_int_equal(regmap_readv(NULL, 0, NULL, 0), 0);
	assert_int_equal(regmap_readv(to, 1, from, 1), 0);
}

static void test_gather_lists_must_be_of_one_length(void **state)
{
	uint8_t bytes[8] = {9, 9, 9, 9, 9, 9, 9, 9};
	const struct iovec to = mine(bytes, 7), from = piece(DEVICE, 8);
	const struct iovec huge[] = {mine(bytes, SIZE_MAX), mine(bytes, 9)};

	(void)state;
	assert_int_equal(regmap_readv(&to, 1, &from, 1), -EINVAL);
	assert_int_equal(regmap_writev(&from, 1, &to, 1), -EINVAL);
	assert_int_equal(regmap_readv(huge, 2, &from, 1), -EINVAL);
	assert_int_equal(regmap_readv(&to, 1, huge, 2), -EINVAL);
	assert_int_equal(regmap_readv(&to, 0, &from, 1), -EINVAL);
	assert_string_equal(noted, "");
	assert_int_equal(bytes[0], 9);
}

static void test_gather_moves_all_or_nothing(void **state)
{
	uint8_t bytes[24];
	const struct iovec mem = mine(bytes, 24);
	const struct iovec hole[] = {piece(DEVICE, 8), piece(MEMORY + 56, 16)};
	const struct iovec locked[] = {piece(DEVICE, 8), piece(LOCKED, 16)};

	(void)state;
	memset(bytes, 0x55, sizeof(bytes));
	assert_int_equal(regmap_readv(&mem, 1, hole, 2), -EFAULT);
	assert_int_equal(regmap_writev(hole, 2, &mem, 1), -EFAULT);
	assert_int_equal(regmap_readv(&mem, 1, locked, 2), -EACCES);
	assert_string_equal(noted, "");
	assert_int_equal(bytes[0], 0x55);
	assert_int_equal(memory[56], 56);
	assert_int_equal(regmap_writev(locked, 2, &mem, 1), 0);
	assert_string_equal(noted, "w8@0 ");
}

static void test_gather_device_errors_come_back(void **state)
{
	uint8_t bytes[24];
	const struct iovec mem = mine(bytes, 24), dev = piece(DEVICE, 24);

	(void)state;
	fail_at = 8;
	assert_int_equal(regmap_readv(&mem, 1, &dev, 1), -EIO);
	assert_string_equal(noted, "r8@0 r8@8 ");
	assert_memory_equal(bytes, cells, 8);
}

static void test_gather_bad_memory_is_efault(void **state)
{
	const struct iovec nowhere = mine((void *)8, 8), from = piece(MEMORY, 8);

	(void)state;
	assert_int_equal(regmap_readv(&nowhere, 1, &from, 1), -EFAULT);
	assert_int_equal(regmap_writev(&from, 1, &nowhere, 1), -EFAULT);
}

/* --- strings --- */

static void test_gather_string_ends_at_the_nul(void **state)
{
	char to[32];
	size_t length = 99;

	(void)state;
	memset(to, '#', sizeof(to));
	memcpy(memory, "hello\0world", 12);
	assert_int_equal(regmap_read_string(MEMORY, to, sizeof(to), &length), 0);
	assert_string_equal(to, "hello");
	assert_int_equal(length, 5);
	assert_int_equal(to[6], '#');
	assert_int_equal(regmap_read_string(MEMORY, to, 6, NULL), 0);
	memory[0] = 0;
	assert_int_equal(regmap_read_string(MEMORY, to, 1, &length), 0);
	assert_int_equal(length, 0);
}

static void test_gather_string_of_a_device_stops_behind_its_nul(void **state)
{
	char to[32];
	size_t length;

	(void)state;
	memcpy(cells + 3, "tty\0#", 5);
	assert_int_equal(regmap_read_string(DEVICE + 3, to, sizeof(to), &length), 0);
	assert_string_equal(to, "tty");
	assert_string_equal(noted, "r1@3 r1@4 r1@5 r1@6 ");
}

static void test_gather_string_crosses_windows(void **state)
{
	char to[32];

	(void)state;
	memcpy(text, "abcdefgh", 8);
	memcpy(tail, "ij", 3);
	assert_int_equal(regmap_read_string(TEXT, to, sizeof(to), NULL), 0);
	assert_string_equal(to, "abcdefghij");
	assert_string_equal(noted, "r1@0 r1@1 r1@2 ");
}

static void test_gather_string_too_long_is_cut(void **state)
{
	char to[8];
	size_t length;

	(void)state;
	memset(to, '#', sizeof(to));
	memcpy(cells, "abcdefgh", 9);
	assert_int_equal(regmap_read_string(DEVICE, to, 4, &length), -E2BIG);
	assert_string_equal(to, "abc");
	assert_int_equal(length, 3);
	assert_int_equal(to[4], '#');
	assert_string_equal(noted, "r1@0 r1@1 r1@2 r1@3 ");
	assert_int_equal(regmap_read_string(DEVICE, to, 1, &length), -E2BIG);
	assert_int_equal(length, 0);
	memcpy(memory, "abcdefgh", 9);
	assert_int_equal(regmap_read_string(MEMORY, to, 8, &length), -E2BIG);
	assert_string_equal(to, "abcdefg");
	assert_int_equal(length, 7);
}

static void test_gather_string_of_many_stretches(void **state)
{
	static char to[4096];
	size_t length;

	(void)state;
	memset(page, 'y', sizeof(page));
	for (unsigned n = 254; n < 1100; n += n % 256 == 1 ? 253 : 1) {
		page[n] = 0;
		assert_int_equal(regmap_read_string(PAGE_OF_TEXT, to, 4096, &length), 0);
		assert_int_equal(length, n);
		assert_int_equal(strlen(to), n);
		page[n] = 'y';
	}
}

static void test_gather_string_says_what_came_before_an_error(void **state)
{
	char to[128];
	size_t length;

	(void)state;
	memset(memory, 'a', sizeof(memory));
	assert_int_equal(regmap_read_string(MEMORY + 60, to, sizeof(to), &length), -EFAULT);
	assert_string_equal(to, "aaaa");
	assert_int_equal(length, 4);
	assert_int_equal(regmap_read_string(LOCKED, to, sizeof(to), &length), -EACCES);
	assert_int_equal(length, 0);
	assert_int_equal(to[0], 0);
	memcpy(cells, "abc", 3);
	fail_at = 2;
	assert_int_equal(regmap_read_string(DEVICE, to, sizeof(to), &length), -EIO);
	assert_string_equal(to, "ab");
	memset(tail, 'b', sizeof(tail));
	assert_int_equal(regmap_read_string(TEXT + 70, to, sizeof(to), &length), -EFAULT);
	assert_string_equal(to, "bb");
}

static void test_gather_string_ends_before_memory_does(void **state)
{
	char to[128];
	size_t length;

	(void)state;
	assert_int_equal(regmap_read_string(SHORT, to, sizeof(to), &length), 0);
	assert_int_equal(length, 15);
	memset(top, 't', sizeof(top));
	top[15] = 0;
	assert_int_equal(regmap_read_string(TOP, to, sizeof(to), &length), 0);
	assert_int_equal(length, 15);
}

static void test_gather_string_needs_room(void **state)
{
	char to[1];
	size_t length = 5;

	(void)state;
	assert_int_equal(regmap_read_string(DEVICE, to, 0, &length), -EINVAL);
	assert_int_equal(regmap_read_string(DEVICE, NULL, 5, &length), -EINVAL);
	assert_int_equal(length, 5);
	assert_string_equal(noted, "");
}

static void test_gather_refuses_the_register_page(void **state)
{
	char to[8];
	const struct iovec list = mine(to, 8), page = piece(0x18, 8);

	(void)state;
	assert_int_equal(regmap_map_registers(), 0);
	assert_int_equal(regmap_readv(&list, 1, &page, 1), -EOPNOTSUPP);
	assert_int_equal(regmap_writev(&page, 1, &list, 1), -EOPNOTSUPP);
	assert_int_equal(regmap_read_string(0x18, to, sizeof(to), NULL), -EOPNOTSUPP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_gather_##name, fresh, errno_is_kept)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(readv_joins_ranges_in_order),
		TEST(writev_is_the_mirror),
		TEST(devices_see_guest_ranges_only),
		TEST(ranges_may_cross_windows),
		TEST(empty_entries_are_skipped),
		TEST(lists_must_be_of_one_length),
		TEST(moves_all_or_nothing),
		TEST(device_errors_come_back),
		TEST(bad_memory_is_efault),
		TEST(string_ends_at_the_nul),
		TEST(string_of_a_device_stops_behind_its_nul),
		TEST(string_crosses_windows),
		TEST(string_too_long_is_cut),
		TEST(string_of_many_stretches),
		TEST(string_says_what_came_before_an_error),
		TEST(string_ends_before_memory_does),
		TEST(string_needs_room),
		TEST(refuses_the_register_page),
	};

	return cmocka_run_group_tests_name("gather", tests, lay_all, NULL);
}
