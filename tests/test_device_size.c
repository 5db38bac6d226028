/* SPDX-License-Identifier: MIT */
/* Memory is taken when it is touched, or all at once. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chip.h"

enum { KB = 1024, MB = 1024 * KB };

#define GB (1ULL << 30)
#define TB (1ULL << 40)
#define RAM 0x80000000
#define FAR 0x400000000000ULL

static volatile uint32_t *word(uint64_t guest)
{
	return (volatile uint32_t *)(FAR + guest);
}

static struct regmap_device *mapped(struct regmap_device *d)
{
	struct regmap_error error;

	if (regmap_device_map(d, FAR, &error))
		fail_msg("%s", error.text);
	return d;
}

/* Bytes of memory that the process has, shared memory too. */
static uint64_t resident(void)
{
	unsigned long size, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &pages), 2);
	fclose(f);
	return (uint64_t)pages * 4096;
}

static uint64_t taken(struct regmap_device *d)
{
	struct regmap_device_stats s = {.size = sizeof(s)};

	assert_int_equal(regmap_device_stats(d, &s), 0);
	return s.allocated;
}

static bool is_allocated(struct regmap_device *d)
{
	struct regmap_device_stats s = {.size = sizeof(s)};

	assert_int_equal(regmap_device_stats(d, &s), 0);
	return s.is_allocated;
}

/* A few words all over a large region, by pointers and by calls. */
static void touch_all_over(struct regmap_device *d, uint64_t first, uint64_t length, uint32_t is)
{
	for (unsigned i = 0; i < 64; i++) {
		uint64_t at = first + length / 64 * i + 4096 * (uint64_t)i;

		assert_int_equal(*word(at), is);
		*word(at) = i;
		assert_int_equal(t_get(d, at), i);
		assert_int_equal(t_chip_put(d, at + 4, i), 0);
	}
	assert_int_equal(*word(first + length - 4), is);
}

static void test_size_1_tib_costs_what_is_touched(void **state)
{
	uint64_t before = resident();
	struct regmap_device *d = mapped(T_CHIP(T_RAM("RAM", RAM, TB)));

	(void)state;
	touch_all_over(d, RAM, TB, 0);
	assert_in_range(resident() - before, 0, 4 * MB);
	assert_int_equal(taken(d), 65 * 4 * KB);
	regmap_device_free(d);
}

static void test_size_2_gib_costs_what_is_touched(void **state)
{
	uint64_t before = resident();
	struct regmap_device *d = mapped(T_CHIP(T_RAM("RAM", RAM, 2 * GB)));

	(void)state;
	touch_all_over(d, RAM, 2 * GB, 0);
	assert_in_range(resident() - before, 0, 4 * MB);
	assert_in_range(taken(d), 65 * 4 * KB, 130 * 4 * KB);
	regmap_device_free(d);
}

/* In blocks of 256 KB. */
static void test_size_1_tib_of_flash_costs_blocks(void **state)
{
	uint64_t before = resident();
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(FLASH, "Flash", RAM, TB, T_R, .flash_policy = REGMAP_FLASH_WRITE)));

	(void)state;
	touch_all_over(d, RAM, TB, 0xffffffff);
	assert_in_range(resident() - before, 0, 66 * 256 * KB + 4 * MB);
	assert_int_equal(taken(d), 65 * 256 * KB);
	regmap_device_free(d);
}

static void test_size_of_what_is_not_touched_is_nothing(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("RAM", RAM, GB), T_REGION(FLASH, "Flash", 0, 512 * MB, T_R),
	               T_REGION(STORAGE, "disk", RAM + 4 * GB, 256 * GB, T_RW),
	               T_REGION(MMIO, "registers", RAM + 2 * GB, 512 * MB, T_RW)));

	(void)state;
	assert_int_equal(taken(d), 0);
	assert_false(is_allocated(d));
	regmap_device_free(d);
}

/* ---- all at once ---- */

static struct regmap_device *at_once(bool yes, const struct regmap_region *r, size_t count)
{
	struct regmap_layout *layout = t_chip_layout();

	layout->allocate_at_once = yes;
	for (size_t i = 0; i < count; i++)
		t_region(layout, &r[i]);
	return t_device(layout);
}

static void test_size_is_allocated_at_once(void **state)
{
	static const struct regmap_region regions[] = {
		T_RAM("RAM", RAM, 8 * MB),
		T_REGION(FLASH, "Flash", 0, 6 * MB, T_R),
		T_REGION(ROM, "ROM", RAM + 4 * MB, 64 * KB, T_R),
		T_RAM("words", RAM + 16 * MB, 64 * KB, .widths = 4),
	};
	struct regmap_device *d = at_once(true, regions, 4);

	(void)state;
	assert_int_equal(t_chip_put(d, RAM, 5), 0);
	assert_int_equal(regmap_device_allocate(d, NULL), 0);
	assert_int_equal(taken(d), 14 * MB + 64 * KB);
	assert_true(is_allocated(d));
	assert_int_equal(t_get(d, RAM), 5);
	assert_int_equal(t_get(d, 5 * MB), 0xffffffff);
	assert_int_equal(regmap_device_allocate(d, NULL), 0);
	regmap_device_free(d);
}

static void test_size_stays_allocated_over_a_reset(void **state)
{
	static const struct regmap_region ram = T_RAM("RAM", RAM, 8 * MB);
	struct regmap_device *d = at_once(true, &ram, 1);

	(void)state;
	assert_int_equal(regmap_device_allocate(d, NULL), 0);
	assert_int_equal(t_chip_put(d, RAM + MB, 5), 0);
	assert_int_equal(regmap_device_reset(d, true), 0);
	assert_int_equal(t_get(d, RAM + MB), 0);
	assert_int_equal(taken(d), 8 * MB);
	regmap_device_free(d);
}

static void test_size_is_given_back_by_a_reset(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("RAM", RAM + 1, 8 * MB));
	uint8_t *host;

	(void)state;
	assert_int_equal(regmap_device_translate(d, RAM + 1, (void **)&host), 0);
	memset(host, 1, 8 * MB);
	assert_int_equal(taken(d), 8 * MB);
	assert_int_equal(regmap_device_reset(d, true), 0);
	assert_in_range(taken(d), 0, 8 * KB);
	for (uint64_t i = 0; i < 8 * MB; i++)
		assert_int_equal(host[i], 0);
	regmap_device_free(d);
}

static void test_size_stays_lazy_if_it_is_to(void **state)
{
	static const struct regmap_region ram = T_RAM("RAM", RAM, 8 * MB);
	struct regmap_device *d = at_once(false, &ram, 1);

	(void)state;
	assert_int_equal(regmap_device_allocate(d, NULL), 0);
	assert_int_equal(taken(d), 0);
	regmap_device_free(d);
}

/* Nobody has asked for it but the default. */
static void test_size_that_there_isnt_comes_when_touched(void **state)
{
	static const struct regmap_region ram = T_RAM("RAM", RAM, 16 * TB);
	struct regmap_device *d = at_once(true, &ram, 1);

	(void)state;
	assert_int_equal(regmap_device_allocate(d, NULL), 0);
	assert_true(is_allocated(d));
	assert_int_equal(t_chip_put(d, RAM + TB, 5), 0);
	assert_int_equal(t_get(d, RAM + TB), 5);
	assert_true(taken(d) < 4 << 20);
	assert_int_equal(regmap_device_reset(d, true), 0);
	assert_int_equal(t_get(d, RAM + TB), 0);
	assert_true(taken(d) < 4 << 20);
	regmap_device_free(d);
}

static struct regmap_device *insisting(void)
{
	static const char text[] =
		"[memory]\nallocate_at_once = true\n"
		"[[regions]]\nname = \"RAM\"\nguest_address = 0x20000000\nsize = \"16384GB\"\ntype = \"ram\"\n";
	struct regmap_layout *layout;
	struct regmap_device *d;

	assert_int_equal(regmap_layout_from_string(text, sizeof(text) - 1, REGMAP_FORMAT_TOML, "t",
	                                           &layout, NULL),
	                 0);
	assert_int_equal(regmap_device_from_layout(layout, &d, NULL), 0);
	regmap_layout_free(layout);
	return d;
}

static void test_size_that_there_isnt_is_said(void **state)
{
	struct regmap_device *d = insisting();
	struct regmap_error error;

	(void)state;
	assert_int_equal(regmap_device_allocate(d, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "allocate_at_once"));
	assert_false(is_allocated(d));
	assert_int_equal(t_chip_put(d, RAM + TB, 5), 0);
	assert_int_equal(t_get(d, RAM + TB), 5);
	regmap_device_free(d);
}

static void test_size_without_address_space_is_said(void **state)
{
	static const struct regmap_region ram = T_RAM("giant", 0, 1ULL << 50);
	struct regmap_layout *layout = t_chip_layout();
	struct regmap_error error;
	struct regmap_device *d;

	(void)state;
	t_region(layout, &ram);
	assert_int_equal(regmap_device_from_layout(layout, &d, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "giant"));
	regmap_layout_free(layout);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_size_##name)
	static const struct CMUnitTest tests[] = {
		T(1_tib_costs_what_is_touched),
		T(2_gib_costs_what_is_touched),
		T(1_tib_of_flash_costs_blocks),
		T(of_what_is_not_touched_is_nothing),
		T(that_there_isnt_comes_when_touched),
		T(is_allocated_at_once),
		T(stays_allocated_over_a_reset),
		T(is_given_back_by_a_reset),
		T(stays_lazy_if_it_is_to),
		T(that_there_isnt_is_said),
		T(without_address_space_is_said),
	};

	return cmocka_run_group_tests_name("device_size", tests, NULL, NULL);
}
