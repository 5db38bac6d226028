/* SPDX-License-Identifier: MIT */
/* Devices: made and freed, read and written, mapped, looked at. */
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
#include <sys/mman.h>
#include <unistd.h>

#include "child.h"
#include "chip.h"
#include "lay.h"

enum { KB = 1024, MB = 1024 * KB };

#define SRAM 0x20000000
#define FLASH 0x08000000
#define APB 0x40000000
#define FAR 0x400000000000ULL       /* an offset where nothing is */
#define ELSEWHERE 0x300000000123ULL /* no whole pages fall together: all of it traps */

static volatile uint32_t *pointer(uint64_t at)
{
	return (volatile uint32_t *)(uintptr_t)at;
}

static struct regmap_device *small_chip(void)
{
	return T_CHIP(T_REGION(FLASH, "Flash", FLASH, 64 * KB, T_R), T_RAM("SRAM", SRAM, 20 * KB),
	              T_REGION(ROM, "ROM", 0x1fff0000, 2 * KB, T_R),
	              T_REGION(MMIO, "APB", APB, 4 * KB, T_RW));
}

/* ---- made ---- */

static void test_device_keeps_a_copy_of_its_layout(void **state)
{
	struct regmap_layout *layout = t_chip_layout();
	struct regmap_device *d;

	(void)state;
	t_region(layout, &(struct regmap_region)T_RAM("SRAM", SRAM, KB));
	assert_int_equal(regmap_device_from_layout(layout, &d, NULL), 0);
	regmap_layout_free(layout);
	assert_string_equal(regmap_device_layout(d)->name, "chip");
	assert_string_equal(regmap_device_region(d, 0)->name, "SRAM");
	assert_int_equal(t_chip_put(d, SRAM, 5), 0);
	assert_int_equal(t_get(d, SRAM), 5);
	regmap_device_free(d);
}

static void test_device_ram_is_zero_at_first(void **state)
{
	struct regmap_device *d = small_chip();
	char bytes[20 * KB];

	(void)state;
	memset(bytes, 1, sizeof(bytes));
	assert_int_equal(regmap_device_read(d, SRAM, bytes, sizeof(bytes)), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
	regmap_device_free(d);
}

static void test_device_base_is_dereferenceable(void **state)
{
	struct regmap_device *d = small_chip();
	uint64_t base = regmap_device_base(d);

	(void)state;
	*pointer(base + SRAM + 8) = 0x11223344;
	assert_int_equal(t_get(d, SRAM + 8), 0x11223344);
	*pointer(base + APB + 16) = 0x55667788;
	assert_int_equal(*pointer(base + APB + 16), 0x55667788);
	assert_int_equal(*pointer(base + FLASH), 0xffffffff);
	regmap_device_free(d);
}

static void test_device_freeing_null_does_nothing(void **state)
{
	(void)state;
	regmap_device_free(NULL);
}

static void test_device_64_live_at_once(void **state)
{
	struct regmap_device *d[REGMAP_DEVICES], *more;
	struct regmap_layout *layout = t_chip_layout();
	struct regmap_error error;

	(void)state;
	t_region(layout, &(struct regmap_region)T_RAM("SRAM", SRAM, 64 * KB));
	for (unsigned i = 0; i < REGMAP_DEVICES; i++) {
		assert_int_equal(regmap_device_from_layout(layout, &d[i], NULL), 0);
		assert_int_equal(regmap_device_map(d[i], FAR + i * 0x100000000ULL, NULL), 0);
		assert_int_equal(t_chip_put(d[i], SRAM, i + 1), 0);
	}
	for (unsigned i = 0; i < REGMAP_DEVICES; i++) {
		assert_int_equal(*pointer(regmap_device_base(d[i]) + SRAM), i + 1);
		assert_int_equal(*pointer(FAR + i * 0x100000000ULL + SRAM), i + 1);
	}
	assert_int_equal(regmap_device_from_layout(layout, &more, &error), -EMFILE);
	assert_non_null(strstr(error.text, "64 devices"));
	regmap_device_free(d[17]);
	assert_int_equal(regmap_device_from_layout(layout, &d[17], NULL), 0);
	assert_int_equal(t_get(d[17], SRAM), 0);
	for (unsigned i = 0; i < REGMAP_DEVICES; i++)
		regmap_device_free(d[i]);
	regmap_layout_free(layout);
}

static void test_device_says_which_address_is_too_high(void **state)
{
	struct regmap_region high = T_RAM("high", 0xffffffff80000000, 4 * KB);
	struct regmap_layout *layout = t_chip_layout();
	struct regmap_error error;
	struct regmap_device *d;

	(void)state;
	t_region(layout, &high);
	assert_int_equal(regmap_device_from_layout(layout, &d, &error), -EINVAL);
	assert_non_null(strstr(error.text, "\"high\""));
	regmap_layout_free(layout);
}

static void test_device_that_fails_leaves_nothing(void **state)
{
	struct regmap_layout *layout = t_chip_layout();
	struct regmap_region r = T_RAM("with content", SRAM + MB, KB, .content = "/nowhere/x");
	struct regmap_error error;
	struct regmap_device *d;

	(void)state;
	t_region(layout, &(struct regmap_region)T_RAM("SRAM", SRAM, 64 * KB));
	t_region(layout, &r);
	for (unsigned i = 0; i < 2 * REGMAP_DEVICES; i++) {
		assert_int_equal(regmap_device_from_layout(layout, &d, &error), -ENOENT);
		assert_non_null(strstr(error.text, "/nowhere/x"));
	}
	regmap_layout_free(layout);
}

/* ---- read and written ---- */

static void test_device_range_crosses_adjoining_regions(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("A", SRAM, 0x101), T_RAM("B", SRAM + 0x101, 0xff),
	                                 T_REGION(MMIO, "C", SRAM + 0x200, 0x100, T_RW));
	uint8_t out[0x300], in[0x300];

	(void)state;
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	assert_int_equal(regmap_device_write(d, SRAM, out, sizeof(out)), 0);
	assert_int_equal(regmap_device_read(d, SRAM, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(out));
	regmap_device_free(d);
}

static void test_device_range_into_nothing_does_nothing(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("A", SRAM, 0x100));
	uint8_t bytes[0x101];

	(void)state;
	memset(bytes, 1, sizeof(bytes));
	assert_int_equal(regmap_device_write(d, SRAM, bytes, sizeof(bytes)), -EFAULT);
	assert_int_equal(t_get(d, SRAM), 0);
	memset(bytes, 1, sizeof(bytes));
	assert_int_equal(regmap_device_read(d, SRAM, bytes, sizeof(bytes)), -EFAULT);
	assert_int_equal(bytes[0], 1);
	assert_int_equal(regmap_device_read(d, SRAM, NULL, 1), -EFAULT);
	assert_int_equal(regmap_device_read(d, SRAM, bytes, 0), 0);
	regmap_device_free(d);
}

static void test_device_ranges_end_at_its_own_addresses(void **state)
{
	struct regmap_device *a = T_CHIP(T_RAM("A", 0, 0x100));
	struct regmap_device *b = T_CHIP(T_RAM("B", 0, 0x100));
	uint64_t to_b = regmap_device_base(b) - regmap_device_base(a);
	void *host;

	(void)state;
	assert_int_equal(t_chip_put(a, to_b, 1), -EFAULT);
	assert_int_equal(regmap_device_translate(a, to_b, &host), -EFAULT);
	assert_int_equal(t_get(b, 0), 0);
	regmap_device_free(a);
	regmap_device_free(b);
}

/* ---- mapped ---- */

static void test_device_map_makes_pointers_work(void **state)
{
	struct regmap_device *d = small_chip();

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	*pointer(FAR + SRAM + 4) = 42;
	assert_int_equal(t_get(d, SRAM + 4), 42);
	assert_int_equal(*pointer(FAR + FLASH), 0xffffffff);
	*pointer(FAR + APB) = 43;
	assert_int_equal(*pointer(FAR + APB), 43);
	assert_int_equal(t_get(d, APB), 43);
	regmap_device_free(d);
}

static void test_device_map_is_direct_where_it_can_be(void **state)
{
	struct regmap_device *d = small_chip();

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_string_equal(t_mapped_mode(FAR + SRAM), "rw-s");
	assert_string_equal(t_mapped_mode(FAR + SRAM + 20 * KB - 1), "rw-s");
	assert_string_equal(t_mapped_mode(FAR + FLASH), "r--s");
	assert_string_equal(t_mapped_mode(FAR + APB), "---p");
	regmap_device_free(d);
}

static void test_device_maps_at_several_offsets(void **state)
{
	struct regmap_device *d = small_chip();

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_int_equal(regmap_device_map(d, ELSEWHERE, NULL), 0);
	*pointer(FAR + SRAM) = 7;
	assert_int_equal(*pointer(ELSEWHERE + SRAM), 7);
	*pointer(ELSEWHERE + APB) = 8;
	assert_int_equal(*pointer(FAR + APB), 8);
	regmap_device_free(d);
}

static void test_device_unmap_takes_all_windows_away(void **state)
{
	struct regmap_device *d = small_chip();

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_int_equal(t_chip_put(d, SRAM, 9), 0);
	assert_int_equal(regmap_device_unmap(d), 0);
	assert_string_equal(t_mapped_mode(FAR + SRAM), "");
	assert_string_equal(t_mapped_mode(FAR + APB), "");
	assert_int_equal(t_get(d, SRAM), 9);
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_int_equal(*pointer(FAR + SRAM), 9);
	regmap_device_free(d);
	assert_string_equal(t_mapped_mode(FAR + SRAM), "");
}

static void test_device_map_says_who_is_in_the_way(void **state)
{
	struct regmap_device *d = small_chip();
	void *at = (void *)(FAR + SRAM + 4 * KB);
	struct regmap_error error;
	FILE *me = fopen("/proc/self/exe", "r");

	(void)state;
	assert_ptr_equal(mmap(at, 4 * KB, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fileno(me),
	                      0),
	                 at);
	assert_int_equal(regmap_device_map(d, FAR, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, "\"SRAM\""));
	assert_non_null(strstr(error.text, "test_device"));
	assert_string_equal(t_mapped_mode(FAR + FLASH), "");
	munmap(at, 4 * KB);
	fclose(me);
	assert_int_equal(regmap_device_map(d, FAR, &error), 0);
	regmap_device_free(d);
}

static void test_device_map_says_which_window_is_there(void **state)
{
	struct regmap_device *a = small_chip(), *b = small_chip();
	struct regmap_error error;

	(void)state;
	assert_int_equal(regmap_device_map(a, FAR, NULL), 0);
	assert_int_equal(regmap_device_map(b, FAR + 4 * KB, &error), -EEXIST);
	assert_non_null(strstr(error.text, "\"Flash\""));
	assert_non_null(strstr(error.text, "window"));
	assert_int_equal(*pointer(FAR + APB), 0);
	assert_string_equal(t_mapped_mode(FAR + APB + 4 * KB), "");
	regmap_device_free(b);
	regmap_device_free(a);
}

static void test_device_map_one_region(void **state)
{
	struct regmap_device *d = small_chip();

	(void)state;
	assert_int_equal(regmap_device_map_one(d, "SRAM", FAR, NULL), 0);
	*pointer(FAR + SRAM) = 3;
	assert_int_equal(t_get(d, SRAM), 3);
	assert_string_equal(t_mapped_mode(FAR + FLASH), "");
	assert_int_equal(regmap_device_map_one(d, "SROM", FAR, NULL), -ENOENT);
	regmap_device_free(d);
}

static struct regmap_device *avr(void)
{
	struct regmap_layout *layout = t_chip_layout();

	assert_int_equal(regmap_layout_add_space(layout, &(struct regmap_space){.name = "program"},
	                                         NULL),
	                 0);
	assert_int_equal(regmap_layout_add_space(layout,
	                                         &(struct regmap_space){.name = "data",
	                                                                .offset = 0x800000},
	                                         NULL),
	                 0);
	t_region(layout, &(struct regmap_region)T_REGION(FLASH, "Flash", 0, 32 * KB, T_R,
	                                                 .space = "program"));
	t_region(layout, &(struct regmap_region)T_RAM("Registers", 0x800000, 32, .space = "data"));
	t_region(layout, &(struct regmap_region)T_RAM("SRAM", 0x800100, 2 * KB, .space = "data"));
	return t_device(layout);
}

static void test_device_map_one_space(void **state)
{
	struct regmap_device *d = avr();

	(void)state;
	assert_int_equal(regmap_device_map_one(d, "data", FAR - 0x800000, NULL), 0);
	*pointer(FAR + 0x100) = 0x1234;
	*pointer(FAR + 4) = 0x5678;
	assert_int_equal(t_get(d, 0x800100), 0x1234);
	assert_int_equal(t_get(d, 0x800004), 0x5678);
	assert_int_equal(t_get(d, 0), 0xffffffff);
	regmap_device_free(d);
}

static int access_between(void *arg)
{
	signal(SIGSEGV, SIG_DFL); /* cmocka's */
	return (int)*pointer((uintptr_t)arg);
}

static void test_device_gaps_are_nobodys(void **state)
{
	struct regmap_device *d = avr();

	(void)state;
	assert_int_equal(regmap_device_map_one(d, "data", FAR - 0x800000, NULL), 0);
	assert_int_equal(t_child_fate(access_between, (void *)(FAR + 0x20)), SIGSEGV);
	assert_int_equal(t_child_fate(access_between, (void *)(FAR + 0x900)), SIGSEGV);
	regmap_device_free(d);
}

static void test_device_page_0_is_dereferenceable(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("low", 0, 256));
	volatile uint64_t zero = 0;

	(void)state;
	assert_int_equal(regmap_device_map(d, 0, NULL), 0);
	*pointer(zero) = 0x77;
	*pointer(zero + 0xfc) = 0x78;
	assert_int_equal(t_get(d, 0), 0x77);
	assert_int_equal(t_get(d, 0xfc), 0x78);
	regmap_device_free(d);
}

static void test_device_nested_regions_are_mapped_with_the_outer(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("outer", SRAM, 64 * KB),
	                                 T_REGION(MMIO, "inner", SRAM + 0x1010, 16, T_RW),
	                                 T_REGION(ROM, "inmost", SRAM + 0x1018, 4, T_R));

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	*pointer(FAR + SRAM + 0x100c) = 1;
	*pointer(FAR + SRAM + 0x1010) = 2;
	*pointer(FAR + SRAM + 0x101c) = 3;
	*pointer(FAR + SRAM + 0x1020) = 4;
	assert_int_equal(t_get(d, SRAM + 0x100c), 1);
	assert_int_equal(t_get(d, SRAM + 0x1010), 2);
	assert_int_equal(*pointer(FAR + SRAM + 0x1018), 0);
	assert_int_equal(t_chip_put(d, SRAM + 0x1018, 1), -EACCES);
	assert_int_equal(t_get(d, SRAM + 0x101c), 3);
	assert_int_equal(t_get(d, SRAM + 0x1020), 4);
	assert_string_equal(t_mapped_mode(FAR + SRAM), "rw-s");
	assert_string_equal(t_mapped_mode(FAR + SRAM + 0x1000), "---p");
	assert_string_equal(t_mapped_mode(FAR + SRAM + 0x2000), "rw-s");
	regmap_device_free(d);
}

/* ---- looked at ---- */

static void test_device_translates_both_ways(void **state)
{
	struct regmap_device *d = small_chip();
	uint64_t guest = 0;
	uint32_t *host;

	(void)state;
	assert_int_equal(regmap_device_translate(d, SRAM + 0x10, (void **)&host), 0);
	*host = 99;
	assert_int_equal(t_get(d, SRAM + 0x10), 99);
	assert_int_equal(regmap_device_translate_back(d, host, &guest), 0);
	assert_int_equal(guest, SRAM + 0x10);
	assert_int_equal(regmap_device_translate_back(d, &guest, &guest), -EFAULT);
	assert_int_equal(regmap_device_translate(d, APB, (void **)&host), -ENODEV);
	assert_int_equal(regmap_device_translate(d, SRAM - 1, (void **)&host), -EFAULT);
	regmap_device_free(d);
}

static void test_device_translates_back_from_where_it_is_mapped(void **state)
{
	struct regmap_device *d = small_chip();
	uint64_t guest = 0;

	(void)state;
	assert_int_equal(regmap_device_map(d, FAR, NULL), 0);
	assert_int_equal(regmap_device_translate_back(d, (void *)(FAR + SRAM + 5), &guest), 0);
	assert_int_equal(guest, SRAM + 5);
	assert_int_equal(regmap_device_translate_back(d,
	                                              (void *)(regmap_device_base(d) + FLASH + 6),
	                                              &guest),
	                 0);
	assert_int_equal(guest, FLASH + 6);
	assert_int_equal(regmap_device_translate_back(d, (void *)(FAR + APB), &guest), -EFAULT);
	regmap_device_free(d);
}

static void test_device_lists_its_regions(void **state)
{
	struct regmap_device *d = small_chip();

	(void)state;
	assert_int_equal(regmap_device_region_count(d), 4);
	assert_string_equal(regmap_device_region(d, 0)->name, "Flash");
	assert_string_equal(regmap_device_region(d, 3)->name, "APB");
	assert_null(regmap_device_region(d, 4));
	assert_int_equal(regmap_device_region_named(d, "SRAM")->address, SRAM);
	assert_ptr_equal(regmap_device_region_named(d, "sram"), regmap_device_region(d, 2));
	assert_null(regmap_device_region_named(d, "none"));
	assert_string_equal(regmap_device_region_at(d, SRAM + 20 * KB - 1)->name, "SRAM");
	assert_null(regmap_device_region_at(d, SRAM + 20 * KB));
	regmap_device_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_keeps_a_copy_of_its_layout),
		cmocka_unit_test(test_device_ram_is_zero_at_first),
		cmocka_unit_test(test_device_base_is_dereferenceable),
		cmocka_unit_test(test_device_freeing_null_does_nothing),
		cmocka_unit_test(test_device_64_live_at_once),
		cmocka_unit_test(test_device_says_which_address_is_too_high),
		cmocka_unit_test(test_device_that_fails_leaves_nothing),
		cmocka_unit_test(test_device_range_crosses_adjoining_regions),
		cmocka_unit_test(test_device_range_into_nothing_does_nothing),
		cmocka_unit_test(test_device_ranges_end_at_its_own_addresses),
		cmocka_unit_test(test_device_map_makes_pointers_work),
		cmocka_unit_test(test_device_map_is_direct_where_it_can_be),
		cmocka_unit_test(test_device_maps_at_several_offsets),
		cmocka_unit_test(test_device_unmap_takes_all_windows_away),
		cmocka_unit_test(test_device_map_says_who_is_in_the_way),
		cmocka_unit_test(test_device_map_says_which_window_is_there),
		cmocka_unit_test(test_device_map_one_region),
		cmocka_unit_test(test_device_map_one_space),
		cmocka_unit_test(test_device_gaps_are_nobodys),
		cmocka_unit_test(test_device_page_0_is_dereferenceable),
		cmocka_unit_test(test_device_nested_regions_are_mapped_with_the_outer),
		cmocka_unit_test(test_device_translates_both_ways),
		cmocka_unit_test(test_device_translates_back_from_where_it_is_mapped),
		cmocka_unit_test(test_device_lists_its_regions),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
