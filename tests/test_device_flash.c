/* SPDX-License-Identifier: MIT */
/* Flash and storage: reads that are free, writes by rules, erasing. */
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

#include "../device/memory.h"
#include "child.h"
#include "chip.h"

enum { KB = 1024, MB = 1024 * KB };

#define FLASH 0x08000000
#define FAR 0x400000000000ULL

static volatile uint32_t *word(uint64_t guest)
{
	return (volatile uint32_t *)(FAR + guest);
}

static volatile uint16_t *half(uint64_t guest)
{
	return (volatile uint16_t *)(FAR + guest);
}

static struct regmap_device *mapped(struct regmap_device *d)
{
	struct regmap_error error;

	if (regmap_device_map(d, FAR, &error))
		fail_msg("%s", error.text);
	return d;
}

#define FLASH_OF(policy, ...) \
	mapped(T_CHIP(T_REGION(FLASH, "Flash", FLASH, 64 * KB, T_R, .flash_policy = (policy), \
	                       ##__VA_ARGS__)))

#define ERASED_TO(byte, policy) \
	mapped(T_CHIP(T_REGION_OF(FLASH, "Flash", FLASH, 64 * KB, T_R, .erased = (byte), \
	                          .flash_policy = (policy))))

static int store_word(void *arg)
{
	signal(SIGSEGV, SIG_DFL); /* cmocka's */
	signal(SIGBUS, SIG_DFL);
	*(volatile uint32_t *)arg = 0;
	return 0;
}

static int fate_of_store(uint64_t guest)
{
	return t_child_fate(store_word, (void *)(FAR + guest));
}

/* The image that loaders put there: whatever the rules. */
static void fill(struct regmap_device *d, uint64_t guest, int byte, size_t length)
{
	void *host;

	assert_int_equal(regmap_device_translate(d, guest, &host), 0);
	memset(host, byte, length);
}

static int erase(struct regmap_device *d, uint64_t address, uint64_t length)
{
	return regmap__memory_erase(d->memory, address, length);
}

/* ---- policies ---- */

static void test_flash_is_erased_at_first(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_FAULT);

	(void)state;
	for (uint64_t i = 0; i < 64 * KB; i += 4)
		assert_int_equal(*word(FLASH + i), 0xffffffff);
	regmap_device_free(d);
}

static void test_flash_has_the_erased_byte_that_it_says(void **state)
{
	struct regmap_device *d = ERASED_TO(0, REGMAP_FLASH_FAULT);

	(void)state;
	assert_int_equal(*word(FLASH), 0);
	assert_int_equal(t_get(d, FLASH + 64 * KB - 4), 0);
	regmap_device_free(d);
}

static void test_flash_policy_fault(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_FAULT);

	(void)state;
	assert_int_equal(t_chip_put(d, FLASH, 0), -EIO);
	assert_int_equal(fate_of_store(FLASH), SIGBUS);
	assert_int_equal(*word(FLASH), 0xffffffff);
	regmap_device_free(d);
}

static void test_flash_policy_ignore(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_IGNORE);

	(void)state;
	assert_int_equal(t_chip_put(d, FLASH, 0), 0);
	*word(FLASH) = 0;
	assert_int_equal(*word(FLASH), 0xffffffff);
	regmap_device_free(d);
}

static void test_flash_policy_program_only_clears_bits(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_PROGRAM);

	(void)state;
	*word(FLASH) = 0xf0f0f0f0;
	assert_int_equal(*word(FLASH), 0xf0f0f0f0);
	*word(FLASH) = 0x00ffff00;
	assert_int_equal(*word(FLASH), 0x00f0f000);
	assert_int_equal(t_chip_put(d, FLASH, 0xffffffff), 0);
	assert_int_equal(*word(FLASH), 0x00f0f000);
	regmap_device_free(d);
}

static void test_flash_programming_leaves_the_erased_state_only(void **state)
{
	struct regmap_device *d = ERASED_TO(0, REGMAP_FLASH_PROGRAM);

	(void)state;
	*word(FLASH) = 0x0f;
	*word(FLASH) = 0xf0;
	assert_int_equal(*word(FLASH), 0xff);
	regmap_device_free(d);
	d = ERASED_TO(0xf0, REGMAP_FLASH_PROGRAM);
	*word(FLASH) = 0x55555555;
	assert_int_equal(*word(FLASH), 0x55555555);
	*word(FLASH) = 0xaaaaaaaa;
	assert_int_equal(*word(FLASH), 0x0f0f0f0f);
	regmap_device_free(d);
}

static void test_flash_policy_write(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_WRITE);

	(void)state;
	*word(FLASH) = 0;
	*word(FLASH) = 0x12345678;
	assert_int_equal(t_get(d, FLASH), 0x12345678);
	regmap_device_free(d);
}

static void test_flash_takes_its_program_width_only(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_PROGRAM, .program_width = 2);

	(void)state;
	*half(FLASH) = 0x1234;
	assert_int_equal(*word(FLASH), 0xffff1234);
	assert_int_equal(fate_of_store(FLASH + 4), SIGBUS);
	assert_int_equal(*word(FLASH + 4), 0xffffffff);
	assert_int_equal(regmap_device_write(d, FLASH + 4, "x", 1), -EIO);
	regmap_device_free(d);
}

static void test_flash_reads_are_free(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_PROGRAM);
	struct regmap_device_stats s = {.size = sizeof(s)};

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		(void)*word(FLASH + 4 * i);
	*word(FLASH) = 1;
	assert_int_equal(regmap_device_stats(d, &s), 0);
	assert_int_equal(s.reads, 0);
	assert_int_equal(s.writes, 1);
	regmap_device_free(d);
}

static void test_flash_through_an_alias_is_programmed_alike(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(ALIAS, "boot", 0x100000, 64 * KB, T_RW, .target = FLASH),
	               T_REGION(FLASH, "Flash", FLASH, 64 * KB, T_R,
	                        .flash_policy = REGMAP_FLASH_PROGRAM)));

	(void)state;
	*word(0x100004) = 0x0000ffff;
	assert_int_equal(*word(FLASH + 4), 0x0000ffff);
	regmap_device_free(d);
}

static void test_flash_that_is_read_in_words(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_PROGRAM, .widths = 4);

	(void)state;
	assert_int_equal(*word(FLASH + 4), 0xffffffff);
	*word(FLASH + 4) = 0x10;
	assert_int_equal(*word(FLASH + 4), 0x10);
	assert_int_equal(regmap_device_read(d, FLASH, &(char){0}, 1), -EIO);
	regmap_device_free(d);
}

/* ---- a controller ---- */

#define CR 0x40022010
#define SR 0x4002200c
#define AR 0x40022014

enum { PG = 1, PER = 2, STRT = 0x40, EOP = 0x20 };

/* What an STM32F1 does, as its description says it. */
static struct regmap_device *controlled(void)
{
	static const struct regmap_flash_sector pages[] = {{KB, 64}};
	static const struct regmap_field pg = {.name = "PG", .lsb = 0, .width = 1};
	static const struct regmap_field per = {.name = "PER", .lsb = 1, .width = 1};
	static const struct regmap_field strt = {.name = "STRT", .lsb = 6, .width = 1};
	static const struct regmap_field eop = {.name = "EOP", .lsb = 5, .width = 1};
	static const struct regmap_field *const cr_fields[] = {&pg, &per, &strt};
	static const struct regmap_field *const sr_fields[] = {&eop};
	static const struct regmap_register sr = {.name = "SR",
	                                          .offset = 0xc,
	                                          .width = 4,
	                                          .fields = sr_fields,
	                                          .field_count = 1};
	static const struct regmap_register cr = {.name = "CR",
	                                          .offset = 0x10,
	                                          .width = 4,
	                                          .fields = cr_fields,
	                                          .field_count = 3};
	static const struct regmap_register ar = {.name = "AR", .offset = 0x14, .width = 4};
	static const struct regmap_register *const registers[] = {&sr, &cr, &ar};
	static const struct regmap_peripheral flash = {.name = "FLASH",
	                                               .address = 0x40022000,
	                                               .length = KB,
	                                               .registers = registers,
	                                               .register_count = 3};
	struct regmap_layout *layout = t_chip_layout();

	t_region(layout,
	         &(struct regmap_region)T_REGION(FLASH, "Flash", FLASH, 64 * KB, T_R,
	                                         .sectors = pages, .sector_count = 1,
	                                         .flash_policy = REGMAP_FLASH_CONTROLLER,
	                                         .program_if = "FLASH.CR.PG", .program_width = 2));
	assert_int_equal(regmap_layout_add_peripheral(layout, &flash, NULL), 0);
	assert_int_equal(regmap_layout_add_rule(
				 layout, "FLASH",
				 "on set CR.STRT: erase(CR.PER ? AR : 0x08000000); SR.EOP = 1; "
				 "CR.STRT = 0",
				 NULL),
	                 0);
	assert_int_equal(regmap_layout_add_rule(layout, "FLASH",
	                                        "on program Flash: SR.EOP = 1; AR = address", NULL),
	                 0);
	return mapped(t_device(layout));
}

static void test_flash_is_programmed_while_its_controller_says_so(void **state)
{
	struct regmap_device *d = controlled();

	(void)state;
	assert_int_equal(fate_of_store(FLASH), SIGBUS);
	assert_int_equal(regmap_device_write(d, FLASH, "ab", 2), -EIO);
	*word(CR) = PG;
	*half(FLASH + 6) = 0x1234;
	assert_int_equal(*word(FLASH + 4), 0x1234ffff);
	assert_int_equal(fate_of_store(FLASH), SIGBUS); /* not of 32 bits */
	*word(CR) = 0;
	assert_int_equal(fate_of_store(FLASH), SIGBUS);
	regmap_device_free(d);
}

static void test_flash_tells_its_controller_what_it_took(void **state)
{
	struct regmap_device *d = controlled();

	(void)state;
	*word(CR) = PG;
	assert_int_equal(*word(SR), 0);
	*half(FLASH + 10) = 0;
	assert_int_equal(*word(SR), EOP);
	assert_int_equal(*word(AR), FLASH + 10);
	regmap_device_free(d);
}

static void test_flash_is_erased_by_pages_through_its_controller(void **state)
{
	struct regmap_device *d = controlled();

	(void)state;
	fill(d, FLASH, 0, 64 * KB);
	*word(CR) = PER;
	*word(AR) = FLASH + 5 * KB + 4;
	*word(CR) = PER | STRT;
	assert_int_equal(*word(SR), EOP);
	assert_int_equal(*word(CR), PER);
	assert_int_equal(*word(FLASH + 5 * KB - 4), 0);
	assert_int_equal(*word(FLASH + 5 * KB), 0xffffffff);
	assert_int_equal(*word(FLASH + 6 * KB - 4), 0xffffffff);
	assert_int_equal(*word(FLASH + 6 * KB), 0);
	regmap_device_free(d);
}

/* ---- erasing ---- */

static void test_flash_erases_ranges(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_FAULT);

	(void)state;
	fill(d, FLASH, 0, 64 * KB);
	assert_int_equal(erase(d, FLASH + 100, 200), 0);
	assert_int_equal(t_get(d, FLASH + 96), 0);
	assert_int_equal(t_get(d, FLASH + 100), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 296), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 300), 0);
	regmap_device_free(d);
}

static void test_flash_erases_the_sector_of_an_address(void **state)
{
	static const struct regmap_flash_sector sectors[] = {{4 * KB, 2},
	                                                     {8 * KB, 3},
	                                                     {32 * KB, 1}};
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_FAULT, .sectors = sectors,
	                                   .sector_count = 3);

	(void)state;
	fill(d, FLASH, 0, 64 * KB);
	assert_int_equal(erase(d, FLASH + 4 * KB + 5, 0), 0);
	assert_int_equal(t_get(d, FLASH + 4 * KB - 4), 0);
	assert_int_equal(t_get(d, FLASH + 4 * KB), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 8 * KB - 4), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 8 * KB), 0);
	assert_int_equal(erase(d, FLASH + 23 * KB, 0), 0);
	assert_int_equal(t_get(d, FLASH + 16 * KB - 4), 0);
	assert_int_equal(t_get(d, FLASH + 16 * KB), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 24 * KB - 4), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 24 * KB), 0);
	assert_int_equal(erase(d, FLASH + 63 * KB, 0), 0);
	assert_int_equal(t_get(d, FLASH + 32 * KB - 4), 0);
	assert_int_equal(t_get(d, FLASH + 32 * KB), 0xffffffff);
	regmap_device_free(d);
}

static void test_flash_without_sectors_is_one(void **state)
{
	struct regmap_device *d = FLASH_OF(REGMAP_FLASH_FAULT);

	(void)state;
	fill(d, FLASH, 0, 64 * KB);
	assert_int_equal(erase(d, FLASH + KB, 0), 0);
	assert_int_equal(t_get(d, FLASH), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 64 * KB - 4), 0xffffffff);
	regmap_device_free(d);
}

static void test_flash_erases_by_the_address_of_an_alias(void **state)
{
	static const struct regmap_flash_sector sectors[] = {{4 * KB, 16}};
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(ALIAS, "boot", 0x100000, 64 * KB, T_RW, .target = FLASH),
	               T_REGION(FLASH, "Flash", FLASH, 64 * KB, T_R, .sectors = sectors,
	                        .sector_count = 1)));

	(void)state;
	fill(d, FLASH, 0, 64 * KB);
	assert_int_equal(erase(d, 0x100000 + 4 * KB, 0), 0);
	assert_int_equal(t_get(d, FLASH + 4 * KB), 0xffffffff);
	assert_int_equal(t_get(d, FLASH), 0);
	regmap_device_free(d);
}

static void test_flash_erases_nothing_else(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(FLASH, "Flash", FLASH, KB, T_R), T_RAM("SRAM", FLASH + KB, KB)));

	(void)state;
	fill(d, FLASH, 0, KB);
	assert_int_equal(erase(d, FLASH + KB, 4), -EFAULT);
	assert_int_equal(erase(d, FLASH + KB, 0), -EFAULT);
	assert_int_equal(erase(d, FLASH - 1, 4), -EFAULT);
	assert_int_equal(erase(d, FLASH, 2 * KB), -EFAULT);
	assert_int_equal(erase(d, FLASH, UINT64_MAX), -EFAULT);
	assert_int_equal(t_get(d, FLASH), 0);
	regmap_device_free(d);
}

/* ---- storage ---- */

static void test_flash_storage_is_ram_to_the_bus(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(STORAGE, "EEPROM", FLASH, 4 * KB, T_RW)));

	(void)state;
	assert_int_equal(*word(FLASH), 0xffffffff);
	*word(FLASH) = 0;
	*word(FLASH) = 0x12345678;
	assert_int_equal(t_get(d, FLASH), 0x12345678);
	assert_int_equal(erase(d, FLASH, 2), 0);
	assert_int_equal(*word(FLASH), 0x1234ffff);
	regmap_device_free(d);
}

static void test_flash_storage_that_is_programmed_once(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(STORAGE, "OTP", FLASH, 528, T_RW, .program_once = true)));

	(void)state;
	*word(FLASH) = 0xffff00ff;
	*word(FLASH) = 0xff00ffff;
	assert_int_equal(*word(FLASH), 0xff0000ff);
	assert_int_equal(t_chip_put(d, FLASH, 0xffffffff), 0);
	assert_int_equal(t_get(d, FLASH), 0xff0000ff);
	assert_int_equal(*word(FLASH + 524), 0xffffffff);
	regmap_device_free(d);
}

/* ---- large ones ---- */

static void test_flash_large_is_erased_wherever_it_is_touched(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(FLASH, "Flash", FLASH, 512 * MB, T_R,
	                                                 .flash_policy = REGMAP_FLASH_PROGRAM)));
	uint64_t guest;
	uint32_t *host;

	(void)state;
	assert_int_equal(*word(FLASH), 0xffffffff);
	assert_int_equal(*word(FLASH + 512 * MB - 4), 0xffffffff);
	assert_int_equal(t_get(d, FLASH + 100 * MB), 0xffffffff);
	*word(FLASH + 200 * MB) = 0x1234;
	assert_int_equal(*word(FLASH + 200 * MB), 0x1234);
	assert_int_equal(t_chip_put(d, FLASH + 300 * MB, 0x5678), 0);
	assert_int_equal(*word(FLASH + 300 * MB), 0x5678);
	assert_int_equal(regmap_device_translate(d, FLASH + 400 * MB, (void **)&host), 0);
	assert_int_equal(*host, 0xffffffff);
	*host = 0x99;
	assert_int_equal(*word(FLASH + 400 * MB), 0x99);
	assert_int_equal(regmap_device_translate_back(d, host, &guest), 0);
	assert_int_equal(guest, FLASH + 400 * MB);
	regmap_device_free(d);
}

static void test_flash_large_reads_across_blocks(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(FLASH, "Flash", FLASH + 3, 8 * MB, T_R)));
	static uint8_t bytes[2 * MB];
	uint64_t pair;

	(void)state;
	assert_int_equal(regmap_device_read(d, FLASH + MB + 1, bytes, sizeof(bytes)), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0xff);
	memcpy(&pair, (void *)(FAR + FLASH + 4 * MB - 3), sizeof(pair));
	assert_int_equal(pair, UINT64_MAX);
	regmap_device_free(d);
}

static void test_flash_large_is_erased_and_reset(void **state)
{
	static const struct regmap_flash_sector sectors[] = {{MB, 16}};
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(FLASH, "Flash", FLASH, 16 * MB, T_R, .sectors = sectors,
	                        .sector_count = 1, .flash_policy = REGMAP_FLASH_PROGRAM)));

	(void)state;
	*word(FLASH + MB) = 1;
	*word(FLASH + 2 * MB - 4) = 2;
	*word(FLASH + 2 * MB) = 3;
	assert_int_equal(erase(d, FLASH + MB + 77, 0), 0);
	assert_int_equal(*word(FLASH + MB), 0xffffffff);
	assert_int_equal(*word(FLASH + 2 * MB - 4), 0xffffffff);
	assert_int_equal(*word(FLASH + 2 * MB), 3);
	assert_int_equal(regmap_device_reset(d, true), 0);
	assert_int_equal(*word(FLASH + 2 * MB), 0xffffffff);
	regmap_device_free(d);
}

/* One that begins in one block and ends in another, one in the middle, one at the very start. */
static void test_flash_large_with_regions_inside(void **state)
{
	struct regmap_device *d = mapped(T_CHIP(T_REGION(FLASH, "Flash", FLASH, 8 * MB, T_R),
	                                        T_RAM("first", FLASH, 16),
	                                        T_RAM("across", FLASH + 255 * KB, 700 * KB),
	                                        T_RAM("whole", FLASH + MB, 256 * KB),
	                                        T_RAM("within", FLASH + 2 * MB + 5, 6)));
	static const struct {
		uint64_t offset;
		uint8_t is;
	} looks[] = {
		{0, 0},
		{15, 0},
		{16, 0xff},
		{255 * KB - 1, 0xff},
		{255 * KB, 0},
		{955 * KB - 1, 0},
		{955 * KB, 0xff},
		{MB - 1, 0xff},
		{MB, 0},
		{MB + 256 * KB - 1, 0},
		{MB + 256 * KB, 0xff},
		{2 * MB + 4, 0xff},
		{2 * MB + 5, 0},
		{2 * MB + 10, 0},
		{2 * MB + 11, 0xff},
		{8 * MB - 1, 0xff},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
		assert_int_equal(*(volatile uint8_t *)(FAR + FLASH + looks[i].offset), looks[i].is);
	regmap_device_free(d);
}

static void test_flash_large_storage_is_ram_to_the_bus(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(STORAGE, "FSMC", 0xa0000000, 256 * MB, T_RW)));

	(void)state;
	*word(0xa0000000) = 0x10203040;
	assert_int_equal(*word(0xa0000000), 0x10203040);
	assert_int_equal(*word(0xa0000004), 0xffffffff);
	*word(0xaffffffc) = 1;
	assert_int_equal(t_get(d, 0xaffffffc), 1);
	regmap_device_free(d);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_flash_##name)
	static const struct CMUnitTest tests[] = {
		T(is_erased_at_first),
		T(has_the_erased_byte_that_it_says),
		T(policy_fault),
		T(policy_ignore),
		T(policy_program_only_clears_bits),
		T(programming_leaves_the_erased_state_only),
		T(policy_write),
		T(takes_its_program_width_only),
		T(reads_are_free),
		T(through_an_alias_is_programmed_alike),
		T(that_is_read_in_words),
		T(is_programmed_while_its_controller_says_so),
		T(tells_its_controller_what_it_took),
		T(is_erased_by_pages_through_its_controller),
		T(erases_ranges),
		T(erases_the_sector_of_an_address),
		T(without_sectors_is_one),
		T(erases_by_the_address_of_an_alias),
		T(erases_nothing_else),
		T(storage_is_ram_to_the_bus),
		T(storage_that_is_programmed_once),
		T(large_is_erased_wherever_it_is_touched),
		T(large_reads_across_blocks),
		T(large_is_erased_and_reset),
		T(large_with_regions_inside),
		T(large_storage_is_ram_to_the_bus),
	};

	return cmocka_run_group_tests_name("device_flash", tests, NULL, NULL);
}
