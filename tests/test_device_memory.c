/* SPDX-License-Identifier: MIT */
/* What regions do to accesses: by calls, by pointers, and where they are mapped. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "chip.h"

enum { KB = 1024, MB = 1024 * KB };

#define SRAM 0x20000000
#define FAR 0x400000000000ULL

/* ---- what becomes of an access ---- */

struct touch {
	uint64_t at;
	unsigned width;
	bool is_write;
};

static int make(void *arg)
{
	const struct touch *t = arg;
	volatile void *p = (volatile void *)t->at;
	uint64_t value = 0;

	signal(SIGSEGV, SIG_DFL); /* cmocka's */
	signal(SIGBUS, SIG_DFL);
	switch (t->width) {
	case 1: t->is_write ? *(volatile uint8_t *)p = 1 : (value = *(volatile uint8_t *)p); break;
	case 2:
		t->is_write ? *(volatile uint16_t *)p = 1 : (value = *(volatile uint16_t *)p);
		break;
	case 4:
		t->is_write ? *(volatile uint32_t *)p = 1 : (value = *(volatile uint32_t *)p);
		break;
	default: t->is_write ? *(volatile uint64_t *)p = 1 : (value = *(volatile uint64_t *)p);
	}
	(void)value;
	return 0;
}

/* In the device's own address space and where it is mapped, which must agree. */
static int fate(struct regmap_device *d, uint64_t guest, unsigned width, bool is_write)
{
	struct touch own = {regmap_device_base(d) + guest, width, is_write};
	struct touch mapped = {FAR + guest, width, is_write};
	int is = t_child_fate(make, &own);

	assert_int_equal(t_child_fate(make, &mapped), is);
	return is;
}

static int read_fate(struct regmap_device *d, uint64_t guest, unsigned width)
{
	return fate(d, guest, width, false);
}

static int write_fate(struct regmap_device *d, uint64_t guest, unsigned width)
{
	return fate(d, guest, width, true);
}

static int get(struct regmap_device *d, uint64_t guest)
{
	uint32_t value;

	return regmap_device_read(d, guest, &value, sizeof(value));
}

static struct regmap_device *mapped(struct regmap_device *d)
{
	struct regmap_error error;

	if (regmap_device_map(d, FAR, &error))
		fail_msg("%s", error.text);
	return d;
}

static volatile uint32_t *pointer(uint64_t guest)
{
	return (volatile uint32_t *)(FAR + guest);
}

/* ---- permissions ---- */

static void test_memory_read_only_ram(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(RAM, "R", SRAM, 4 * KB, T_R)));

	(void)state;
	assert_int_equal(get(d, SRAM), 0);
	assert_int_equal(t_chip_put(d, SRAM, 1), -EACCES);
	assert_int_equal(read_fate(d, SRAM, 4), 0);
	assert_int_equal(write_fate(d, SRAM, 4), SIGSEGV);
	regmap_device_free(d);
}

static void test_memory_write_only_ram(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(RAM, "W", SRAM, 4 * KB, T_W)));
	uint32_t *host;

	(void)state;
	assert_int_equal(get(d, SRAM), -EACCES);
	assert_int_equal(read_fate(d, SRAM, 4), SIGSEGV);
	*pointer(SRAM) = 5;
	assert_int_equal(regmap_device_translate(d, SRAM, (void **)&host), 0);
	assert_int_equal(*host, 5);
	assert_int_equal(t_chip_put(d, SRAM, 6), 0);
	assert_int_equal(*host, 6);
	regmap_device_free(d);
}

static void test_memory_that_can_only_be_executed(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(RAM, "X", SRAM, 4 * KB, REGMAP_PERMIT_EXECUTE)));

	(void)state;
	assert_int_equal(get(d, SRAM), -EACCES);
	assert_int_equal(t_chip_put(d, SRAM, 1), -EACCES);
	assert_int_equal(read_fate(d, SRAM, 4), SIGBUS);
	assert_int_equal(write_fate(d, SRAM, 4), SIGBUS);
	regmap_device_free(d);
}

static void test_memory_refusal_in_a_range_does_nothing(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("A", SRAM, 0x100),
	                                 T_REGION(RAM, "B", SRAM + 0x100, 0x100, T_R));
	uint8_t bytes[0x200];

	(void)state;
	memset(bytes, 1, sizeof(bytes));
	assert_int_equal(regmap_device_write(d, SRAM, bytes, sizeof(bytes)), -EACCES);
	assert_int_equal(t_get(d, SRAM), 0);
	regmap_device_free(d);
}

static void test_memory_rom_refuses_writes(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(ROM, "ROM", SRAM, 4 * KB, T_RW)));
	uint32_t *host;

	(void)state;
	assert_int_equal(t_chip_put(d, SRAM, 1), -EACCES);
	assert_int_equal(write_fate(d, SRAM, 4), SIGSEGV);
	assert_int_equal(regmap_device_translate(d, SRAM, (void **)&host), 0);
	*host = 0x1234;
	assert_int_equal(*pointer(SRAM), 0x1234);
	regmap_device_free(d);
}

/* ---- external ---- */

static void test_memory_external_is_memory(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(EXTERNAL, "PSRAM", SRAM, 4 * KB, T_RW)));

	(void)state;
	*pointer(SRAM) = 0x55;
	assert_int_equal(t_get(d, SRAM), 0x55);
	regmap_device_free(d);
}

static void test_memory_detached_external_is_a_bus_error(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(EXTERNAL, "PSRAM", SRAM, 4 * KB, T_RW, .detached = true)));
	void *host;

	(void)state;
	assert_int_equal(get(d, SRAM), -EIO);
	assert_int_equal(t_chip_put(d, SRAM, 1), -EIO);
	assert_int_equal(read_fate(d, SRAM, 4), SIGBUS);
	assert_int_equal(write_fate(d, SRAM, 4), SIGBUS);
	assert_int_equal(regmap_device_translate(d, SRAM, &host), -ENODEV);
	regmap_device_free(d);
}

/* ---- widths ---- */

#define ONLY_32 .widths = 4

static void test_memory_of_words_refuses_other_widths(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_RAM("IRAM", SRAM, 4 * KB, ONLY_32)));

	(void)state;
	assert_int_equal(write_fate(d, SRAM + 8, 4), 0);
	assert_int_equal(read_fate(d, SRAM + 8, 4), 0);
	for (unsigned width = 1; width <= 8; width *= 2) {
		if (width == 4)
			continue;
		assert_int_equal(read_fate(d, SRAM + 8, width), SIGBUS);
		assert_int_equal(write_fate(d, SRAM + 8, width), SIGBUS);
	}
	regmap_device_free(d);
}

static void test_memory_of_words_refuses_misaligned_words(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_RAM("IRAM", SRAM, 4 * KB, ONLY_32)));

	(void)state;
	assert_int_equal(read_fate(d, SRAM + 2, 4), SIGBUS);
	assert_int_equal(write_fate(d, SRAM + 1, 4), SIGBUS);
	regmap_device_free(d);
}

static void test_memory_of_words_is_copied_in_words_by_calls(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("IRAM", SRAM, 4 * KB, ONLY_32));
	uint8_t out[40], in[40];

	(void)state;
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i + 1);
	assert_int_equal(regmap_device_write(d, SRAM, out, sizeof(out)), 0);
	assert_int_equal(regmap_device_read(d, SRAM, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(out));
	assert_int_equal(regmap_device_read(d, SRAM, in, 3), -EIO);
	assert_int_equal(regmap_device_write(d, SRAM + 1, in, 4), -EIO);
	regmap_device_free(d);
}

static void test_memory_of_words_has_host_memory(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_RAM("IRAM", SRAM, 4 * KB, ONLY_32)));
	uint32_t *host;
	uint64_t guest;

	(void)state;
	*pointer(SRAM + 12) = 0x99;
	assert_int_equal(regmap_device_translate(d, SRAM + 12, (void **)&host), 0);
	assert_int_equal(*host, 0x99);
	assert_int_equal(regmap_device_translate_back(d, host, &guest), 0);
	assert_int_equal(guest, SRAM + 12);
	regmap_device_free(d);
}

static void test_memory_width_policy_allow(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("IRAM", SRAM, 4 * KB, ONLY_32, .width_policy = REGMAP_WIDTH_ALLOW)));

	(void)state;
	assert_int_equal(write_fate(d, SRAM, 1), 0);
	assert_int_equal(t_get(d, SRAM), 1);
	regmap_device_free(d);
}

static void test_memory_of_words_through_an_alias(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("IRAM", SRAM, 4 * KB, ONLY_32),
	               T_REGION(ALIAS, "alias", SRAM + MB, 4 * KB, T_RW, .target = SRAM),
	               T_RAM("any", SRAM + 2 * MB, 4 * KB),
	               T_REGION(ALIAS, "words of any", SRAM + 3 * MB, 4 * KB, T_RW,
	                        .target = SRAM + 2 * MB, ONLY_32)));

	(void)state;
	*pointer(SRAM + MB) = 0x31;
	assert_int_equal(t_get(d, SRAM), 0x31);
	assert_int_equal(write_fate(d, SRAM + MB, 2), SIGBUS);
	*pointer(SRAM + 3 * MB) = 0x32;
	assert_int_equal(t_get(d, SRAM + 2 * MB), 0x32);
	assert_int_equal(write_fate(d, SRAM + 3 * MB, 2), SIGBUS);
	assert_int_equal(write_fate(d, SRAM + 2 * MB, 2), 0);
	regmap_device_free(d);
}

/* ---- aliases ---- */

static void test_memory_alias_is_the_same_bytes(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(ALIAS, "boot", 0x10000, 64 * KB, T_RW, .target = SRAM),
	               T_RAM("SRAM", SRAM, 64 * KB)));
	uint8_t *a, *b;

	(void)state;
	*pointer(0x10004) = 0x41;
	assert_int_equal(*pointer(SRAM + 4), 0x41);
	*pointer(SRAM + 8) = 0x42;
	assert_int_equal(t_get(d, 0x10008), 0x42);
	assert_int_equal(regmap_device_translate(d, 0x10008, (void **)&a), 0);
	assert_int_equal(regmap_device_translate(d, SRAM + 8, (void **)&b), 0);
	assert_ptr_equal(a, b);
	regmap_device_free(d);
}

static void test_memory_alias_has_the_permissions_of_both(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("SRAM", SRAM, 4 * KB), T_REGION(RAM, "R", SRAM + MB, 4 * KB, T_R),
	               T_REGION(ALIAS, "reads", 0x10000, 4 * KB, T_R, .target = SRAM),
	               T_REGION(ALIAS, "both", 0x20000, 4 * KB, T_RW, .target = SRAM + MB)));

	(void)state;
	assert_int_equal(read_fate(d, 0x10000, 4), 0);
	assert_int_equal(write_fate(d, 0x10000, 4), SIGSEGV);
	assert_int_equal(t_chip_put(d, 0x10000, 1), -EACCES);
	assert_int_equal(write_fate(d, SRAM, 4), 0);
	assert_int_equal(write_fate(d, 0x20000, 4), SIGSEGV);
	assert_int_equal(t_chip_put(d, 0x20000, 1), -EACCES);
	regmap_device_free(d);
}

static void test_memory_alias_of_registers(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(MMIO, "APB", SRAM, 4 * KB, T_RW),
	               T_REGION(ALIAS, "alias", 0x10000, 4 * KB, T_RW, .target = SRAM)));

	(void)state;
	*pointer(0x10010) = 0x61;
	assert_int_equal(t_get(d, SRAM + 0x10), 0x61);
	regmap_device_free(d);
}

/* ---- sizes ---- */

static void test_memory_small_regions_share_a_page(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("R0-R31", 0x100000, 32), T_RAM("IO", 0x100020, 64),
	               T_RAM("extended", 0x100060, 160), T_RAM("SRAM", 0x100100, 0x801)));
	struct touch behind = {FAR + 0x100901, 1, true}, across = {FAR + 0x1008fe, 4, true};

	(void)state;
	*pointer(0x10001e) = 0x04030201; /* across the first two */
	assert_int_equal(*(volatile uint8_t *)(FAR + 0x10001f), 2);
	assert_int_equal(*(volatile uint8_t *)(FAR + 0x100020), 3);
	assert_int_equal(write_fate(d, 0x100900, 1), 0);
	assert_int_equal(t_child_fate(make, &behind), SIGSEGV);
	assert_int_equal(t_child_fate(make, &across), SIGSEGV);
	regmap_device_free(d);
}

/* ---- children ---- */

static int child_writes(void *arg)
{
	(void)arg;
	*pointer(SRAM) = 0xc1;
	return *pointer(SRAM + 4) != 0xa1;
}

static void test_memory_is_shared_with_children(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_RAM("SRAM", SRAM, 4 * KB)));

	(void)state;
	*pointer(SRAM + 4) = 0xa1;
	assert_int_equal(t_child_fate(child_writes, NULL), 0);
	assert_int_equal(*pointer(SRAM), 0xc1);
	regmap_device_free(d);
}

/* ---- reset and counts ---- */

static void test_memory_reset_keeps_memory_unless_it_is_meant(void **state)
{
	struct regmap_device *d = T_CHIP(T_RAM("SRAM", SRAM, 16 * KB + 3),
	                                 T_REGION(FLASH, "Flash", 0, 8 * KB, T_R),
	                                 T_REGION(MMIO, "APB", SRAM + MB, KB, T_RW));
	uint8_t *host;

	(void)state;
	assert_int_equal(regmap_device_translate(d, SRAM, (void **)&host), 0);
	memset(host, 1, 16 * KB + 3);
	assert_int_equal(regmap_device_translate(d, 0, (void **)&host), 0);
	memset(host, 1, 8 * KB);
	assert_int_equal(t_chip_put(d, SRAM + MB, 2), 0);
	assert_int_equal(regmap_device_reset(d, false), 0);
	assert_int_equal(t_get(d, SRAM), 0x01010101);
	assert_int_equal(t_get(d, 0), 0x01010101);
	assert_int_equal(t_get(d, SRAM + MB), 0);
	assert_int_equal(regmap_device_reset(d, true), 0);
	for (unsigned i = 0; i < 16 * KB; i += 4)
		assert_int_equal(t_get(d, SRAM + i), 0);
	assert_int_equal(t_get(d, SRAM + 16 * KB - 1), 0);
	assert_int_equal(t_get(d, 8 * KB - 4), 0xffffffff);
	regmap_device_free(d);
}

static void test_memory_calls_and_faults_are_counted(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("SRAM", SRAM, 4 * KB), T_REGION(MMIO, "APB", SRAM + MB, KB, T_RW),
	               T_REGION(EXTERNAL, "PSRAM", SRAM + 2 * MB, KB, T_RW, .detached = true)));
	struct regmap_device_stats s = {.size = sizeof(s)};

	(void)state;
	t_get(d, SRAM);
	t_chip_put(d, SRAM, 1);
	t_chip_put(d, SRAM, 1);
	*pointer(SRAM) = 1; /* direct */
	*pointer(SRAM + MB) = 1;
	assert_int_equal(get(d, SRAM + 2 * MB), -EIO);
	assert_int_equal(regmap_device_stats(d, &s), 0);
	assert_int_equal(s.reads, 2);
	assert_int_equal(s.writes, 3);
	assert_int_equal(s.refused, 1);
	assert_int_equal(s.regions, 3);
	assert_int_equal(s.length, 4 * KB);
	assert_int_equal(s.allocated, 4 * KB);
	assert_false(s.is_allocated);
	s.size = 1;
	assert_int_equal(regmap_device_stats(d, &s), -EINVAL);
	regmap_device_free(d);
}

static void test_memory_map_is_printed(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("SRAM", SRAM, 8 * KB), T_REGION(MMIO, "inner", SRAM + 16, 4, T_RW)));
	char text[2000] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	(void)state;
	*pointer(SRAM + 4 * KB) = 1;
	assert_int_equal(regmap_device_print_map(d, f), 0);
	fclose(f);
	assert_non_null(strstr(text, "SRAM"));
	assert_non_null(strstr(text, "4 KB taken"));
	assert_non_null(strstr(text, "at 0x400020000000"));
	assert_non_null(strstr(text, "at 0x400020000010"));
	regmap_device_free(d);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_memory_##name)
	static const struct CMUnitTest tests[] = {
		T(read_only_ram),
		T(write_only_ram),
		T(that_can_only_be_executed),
		T(refusal_in_a_range_does_nothing),
		T(rom_refuses_writes),
		T(external_is_memory),
		T(detached_external_is_a_bus_error),
		T(of_words_refuses_other_widths),
		T(of_words_refuses_misaligned_words),
		T(of_words_is_copied_in_words_by_calls),
		T(of_words_has_host_memory),
		T(width_policy_allow),
		T(of_words_through_an_alias),
		T(alias_is_the_same_bytes),
		T(alias_has_the_permissions_of_both),
		T(alias_of_registers),
		T(small_regions_share_a_page),
		T(is_shared_with_children),
		T(reset_keeps_memory_unless_it_is_meant),
		T(calls_and_faults_are_counted),
		T(map_is_printed),
	};

	return cmocka_run_group_tests_name("device_memory", tests, NULL, NULL);
}
