/* SPDX-License-Identifier: MIT */
/* Bit-band and reversed aliases. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "child.h"
#include "chip.h"

enum { KB = 1024, MB = 1024 * KB };

#define SRAM 0x20000000
#define SRAM_BITS 0x22000000
#define APB 0x40000000
#define APB_BITS 0x42000000
#define FLASH 0x08000000
#define FAR 0x400000000000ULL

static volatile uint32_t *word(uint64_t guest)
{
	return (volatile uint32_t *)(FAR + guest);
}

static volatile uint8_t *byte(uint64_t guest)
{
	return (volatile uint8_t *)(FAR + guest);
}

static struct regmap_device *mapped(struct regmap_device *d)
{
	struct regmap_error error;

	if (regmap_device_map(d, FAR, &error))
		fail_msg("%s", error.text);
	return d;
}

static struct regmap_device *bit_chip(void)
{
	return mapped(
		T_CHIP(T_RAM("SRAM", SRAM, MB),
	               T_REGION(BITBAND, "SRAM bits", SRAM_BITS, 32 * MB, T_RW, .target = SRAM),
	               T_REGION(MMIO, "APB", APB, 64 * KB, T_RW),
	               T_REGION(BITBAND, "APB bits", APB_BITS, 2 * MB, T_RW, .target = APB)));
}

/* The example of RM0090: bit 2 of byte 0x20000300. */
static void test_bits_are_where_the_manual_says(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	*word(0x22006008) = 1;
	assert_int_equal(*word(SRAM + 0x300), 4);
	*word(0x23fffffc) = 1;
	assert_int_equal(*byte(SRAM + 0xfffff), 0x80);
	regmap_device_free(d);
}

static void test_bits_read_as_0_or_1(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	*word(SRAM + 0x100) = 0x80000005;
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(*word(SRAM_BITS + 0x100 * 32 + 4 * i),
		                 i == 0 || i == 2 || i == 31);
	assert_int_equal(t_get(d, SRAM_BITS + 0x100 * 32 + 8), 1);
	regmap_device_free(d);
}

static void test_bits_take_bit_0_of_what_is_written(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	*word(SRAM) = 0xffffffff;
	*word(SRAM_BITS + 4 * 9) = 0xfffffffe;
	assert_int_equal(*word(SRAM), 0xfffffdff);
	*word(SRAM_BITS + 4 * 9) = 0xff;
	assert_int_equal(*word(SRAM), 0xffffffff);
	*byte(SRAM_BITS + 4 * 3) = 0;
	assert_int_equal(*word(SRAM), 0xfffffff7);
	assert_int_equal(t_chip_put(d, SRAM_BITS, 0), 0);
	assert_int_equal(*word(SRAM), 0xfffffff6);
	regmap_device_free(d);
}

static void test_bits_of_registers(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	*word(APB + 0x18) = 0x00010000;
	*word(APB_BITS + 0x18 * 32 + 4 * 3) = 1;
	assert_int_equal(*word(APB + 0x18), 0x00010008);
	assert_int_equal(*word(APB_BITS + 0x18 * 32 + 4 * 16), 1);
	*word(APB_BITS + 0x18 * 32 + 4 * 16) = 0;
	assert_int_equal(*word(APB + 0x18), 8);
	regmap_device_free(d);
}

static void test_bits_two_at_once(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	*(volatile uint64_t *)(FAR + SRAM_BITS + 8) = 0x0000000100000001;
	assert_int_equal(*word(SRAM), 0xc);
	assert_true(*(volatile uint64_t *)(FAR + SRAM_BITS + 8) == 0x0000000100000001);
	regmap_device_free(d);
}

/* ---- nothing is lost ---- */

enum { ROUNDS = 20000 };

struct flipper {
	uint64_t at;
	unsigned rounds, wrong;
};

/* Each has a bit of its own, and must find it as it left it. */
static void *flip(void *arg)
{
	struct flipper *f = arg;

	for (unsigned i = 0; i < f->rounds; i++) {
		*(volatile uint32_t *)f->at = i & 1;
		f->wrong += *(volatile uint32_t *)f->at != (i & 1);
	}
	return NULL;
}

/* Directly, by the processor's own instruction. */
static void *flip_directly(void *arg)
{
	struct flipper *f = arg;

	for (unsigned i = 0; i < f->rounds; i++) {
		__atomic_fetch_xor((uint32_t *)f->at, 0x80, __ATOMIC_SEQ_CST);
		f->wrong += (*(volatile uint32_t *)f->at >> 7 & 1) != (~i & 1);
	}
	return NULL;
}

/* Without @direct, the third disturbs the first: the one between them must not notice. */
static void flip_together(uint64_t bits, uint64_t direct)
{
	struct flipper f[3] = {{FAR + bits, ROUNDS},
	                       {FAR + bits + 4, ROUNDS},
	                       {FAR + (direct ? direct : bits), ROUNDS}};
	pthread_t thread[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL,
		                                i == 2 && direct ? flip_directly : flip, &f[i]),
		                 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(f[1].wrong, 0);
	if (direct) {
		assert_int_equal(f[0].wrong, 0);
		assert_int_equal(f[2].wrong, 0);
	}
}

static void test_bits_of_memory_lose_no_write(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	flip_together(SRAM_BITS + 0x40 * 32, SRAM + 0x40);
	regmap_device_free(d);
}

static void test_bits_of_registers_lose_no_write(void **state)
{
	struct regmap_device *d = bit_chip();

	(void)state;
	flip_together(APB_BITS + 0x40 * 32, 0);
	regmap_device_free(d);
}

/* ---- what they may ---- */

static int write_there(void *arg)
{
	signal(SIGSEGV, SIG_DFL); /* cmocka's */
	signal(SIGBUS, SIG_DFL);
	*(volatile uint32_t *)arg = 0;
	return 0;
}

static void test_bits_keep_the_rights_of_their_target(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(RAM, "R", SRAM, KB, T_R),
	               T_REGION(BITBAND, "bits", SRAM_BITS, 32 * KB, T_RW, .target = SRAM)));

	(void)state;
	assert_int_equal(*word(SRAM_BITS), 0);
	assert_int_equal(t_chip_put(d, SRAM_BITS, 1), -EACCES);
	assert_int_equal(t_child_fate(write_there, (void *)(FAR + SRAM_BITS)), SIGBUS);
	regmap_device_free(d);
}

static void test_bits_of_flash_are_programmed(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_REGION(FLASH, "Flash", FLASH, KB, T_R,
	                        .flash_policy = REGMAP_FLASH_PROGRAM),
	               T_REGION(BITBAND, "bits", SRAM_BITS, 32 * KB, T_RW, .target = FLASH)));

	(void)state;
	*word(SRAM_BITS + 4) = 0;
	assert_int_equal(*word(FLASH), 0xfffffffd);
	*word(SRAM_BITS + 4) = 1;
	assert_int_equal(*word(FLASH), 0xfffffffd);
	regmap_device_free(d);
}

static void test_bits_behind_an_alias(void **state)
{
	struct regmap_device *d = mapped(
		T_CHIP(T_RAM("SRAM", SRAM, KB),
	               T_REGION(ALIAS, "alias", 0x100000, KB, T_RW, .target = SRAM),
	               T_REGION(BITBAND, "bits", SRAM_BITS, 32 * KB, T_RW, .target = 0x100000)));

	(void)state;
	*word(SRAM_BITS + 4 * 5) = 1;
	assert_int_equal(*word(SRAM), 0x20);
	regmap_device_free(d);
}

/* ---- reversed words: iram = end - (dram - base) - 4 ---- */

#define DRAM 0x3ffe0000
#define IRAM 0x400a0000

static struct regmap_device *esp32(unsigned widths)
{
	return mapped(T_CHIP(T_RAM("SRAM1", DRAM, 128 * KB),
	                     T_REGION(REVERSED, "SRAM1 I", IRAM, 128 * KB, T_RW, .target = DRAM,
	                              .widths = widths)));
}

static void test_reversed_words_have_their_bytes_in_order(void **state)
{
	struct regmap_device *d = esp32(0);

	(void)state;
	*word(DRAM) = 0x44332211;
	assert_int_equal(*word(IRAM + 128 * KB - 4), 0x44332211);
	assert_int_equal(*byte(IRAM + 128 * KB - 4), 0x11);
	assert_int_equal(*byte(IRAM + 128 * KB - 1), 0x44);
	*word(IRAM) = 0x88776655;
	assert_int_equal(*word(DRAM + 128 * KB - 4), 0x88776655);
	*(volatile uint16_t *)(FAR + IRAM + 6) = 0xbbaa;
	assert_int_equal(*word(DRAM + 128 * KB - 8), 0xbbaa0000);
	assert_int_equal(t_get(d, IRAM), 0x88776655);
	regmap_device_free(d);
}

static void test_reversed_eight_bytes_are_two_words(void **state)
{
	struct regmap_device *d = esp32(0);

	(void)state;
	*word(DRAM) = 1;
	*word(DRAM + 4) = 2;
	assert_true(*(volatile uint64_t *)(FAR + IRAM + 128 * KB - 8) == 0x0000000100000002);
	*(volatile uint64_t *)(FAR + IRAM) = 0x0000000400000003;
	assert_int_equal(*word(DRAM + 128 * KB - 4), 3);
	assert_int_equal(*word(DRAM + 128 * KB - 8), 4);
	regmap_device_free(d);
}

static void test_reversed_words_alone(void **state)
{
	struct regmap_device *d = esp32(4);
	uint32_t three[3] = {1, 2, 3}, back[3];

	(void)state;
	*word(IRAM) = 7;
	assert_int_equal(*word(DRAM + 128 * KB - 4), 7);
	assert_int_equal(regmap_device_write(d, IRAM + 8, three, sizeof(three)), 0);
	assert_int_equal(regmap_device_read(d, IRAM + 8, back, sizeof(back)), 0);
	assert_memory_equal(three, back, sizeof(three));
	assert_int_equal(t_get(d, DRAM + 128 * KB - 12), 1);
	regmap_device_free(d);
}

static int write_a_byte(void *arg)
{
	signal(SIGBUS, SIG_DFL);
	*(volatile uint8_t *)arg = 0;
	return 0;
}

static void test_reversed_words_refuse_bytes(void **state)
{
	struct regmap_device *d = esp32(4);

	(void)state;
	assert_int_equal(t_child_fate(write_a_byte, (void *)(FAR + IRAM)), SIGBUS);
	regmap_device_free(d);
}

static void test_reversed_has_no_host_memory_in_a_row(void **state)
{
	struct regmap_device *d = esp32(0);
	void *host;

	(void)state;
	assert_int_equal(regmap_device_translate(d, IRAM, &host), -ENODEV);
	regmap_device_free(d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits_are_where_the_manual_says),
		cmocka_unit_test(test_bits_read_as_0_or_1),
		cmocka_unit_test(test_bits_take_bit_0_of_what_is_written),
		cmocka_unit_test(test_bits_of_registers),
		cmocka_unit_test(test_bits_two_at_once),
		cmocka_unit_test(test_bits_of_memory_lose_no_write),
		cmocka_unit_test(test_bits_of_registers_lose_no_write),
		cmocka_unit_test(test_bits_keep_the_rights_of_their_target),
		cmocka_unit_test(test_bits_of_flash_are_programmed),
		cmocka_unit_test(test_bits_behind_an_alias),
		cmocka_unit_test(test_reversed_words_have_their_bytes_in_order),
		cmocka_unit_test(test_reversed_eight_bytes_are_two_words),
		cmocka_unit_test(test_reversed_words_alone),
		cmocka_unit_test(test_reversed_words_refuse_bytes),
		cmocka_unit_test(test_reversed_has_no_host_memory_in_a_row),
	};

	return cmocka_run_group_tests_name("device_bits", tests, NULL, NULL);
}
