/* SPDX-License-Identifier: MIT */
/*
 * How the STM32 templates behave: what blocking drivers do, with registers by address, as reference
 * manuals have them (RM0008, RM0090, PM0075). Each wait is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include <regmap/device.h>

static struct regmap_device *chip;

enum { POLLS = 1000 };

static uint32_t in(uint64_t at)
{
	uint32_t value;

	assert_int_equal(regmap_device_read(chip, at, &value, 4), 0);
	return value;
}

static void out(uint64_t at, uint32_t value)
{
	assert_int_equal(regmap_device_write(chip, at, &value, 4), 0);
}

static int out16(uint64_t at, uint16_t value)
{
	return regmap_device_write(chip, at, &value, 2);
}

static void set(uint64_t at, uint32_t bits)
{
	out(at, in(at) | bits);
}

static void clear(uint64_t at, uint32_t bits)
{
	out(at, in(at) & ~bits);
}

/* What every driver does; returns how many reads it took. */
static unsigned wait_for(uint64_t at, uint32_t mask, uint32_t value)
{
	for (unsigned i = 1; i <= POLLS; i++)
		if ((in(at)&mask) == value)
			return i;
	fail_msg("0x%llx never becomes 0x%x in 0x%x: it is 0x%x", (unsigned long long)at, value,
	         mask, in(at));
	return 0;
}

static uint64_t get(const char *name)
{
	uint64_t value;

	assert_int_equal(regmap_device_get(chip, name, &value), 0);
	return value;
}

static void poke(const char *name, uint64_t value)
{
	assert_int_equal(regmap_device_poke(chip, name, value), 0);
}

static void open_chip(const char *name)
{
	struct regmap_error error = {.text = ""};

	if (regmap_device_from_template(name, &chip, &error))
		fail_msg("%s: %s", name, error.text);
}

static int open_f1(void **state)
{
	(void)state;
	open_chip("STM32F103");
	return 0;
}

static int open_f407(void **state)
{
	(void)state;
	open_chip("STM32F407");
	return 0;
}

static int open_f429(void **state)
{
	(void)state;
	open_chip("STM32F429");
	return 0;
}

static int close_chip(void **state)
{
	(void)state;
	regmap_device_free(chip);
	chip = NULL;
	return 0;
}

/* ---- clocks -------------------------------------------------------------------------------------- */

#define F1_RCC 0x40021000u
#define F4_RCC 0x40023800u

/* SystemInit() of an F103 at 72 MHz, in the order in which vendors do it. */
static void test_f1_clock_tree_starts(void **state)
{
	(void)state;
	assert_int_equal(in(F1_RCC), 0x83);
	set(F1_RCC, 1 << 16); /* HSEON */
	wait_for(F1_RCC, 1 << 17, 1 << 17);
	set(0x40022000, 0x12); /* FLASH.ACR: prefetch, two wait states */
	assert_int_equal(in(0x40022000), 0x32);
	out(F1_RCC + 4, 7 << 18 | 1 << 16 | 4 << 8); /* PLL: HSE times 9; APB1 by 2 */
	set(F1_RCC, 1 << 24);                        /* PLLON */
	wait_for(F1_RCC, 1 << 25, 1 << 25);
	set(F1_RCC + 4, 2);
	wait_for(F1_RCC + 4, 0xc, 0x8); /* SWS is the PLL */
	assert_int_equal(get("RCC.CFGR.SWS"), 2);
}

static void test_f1_ready_bits_follow_their_enables_both_ways(void **state)
{
	static const struct {
		uint32_t at;
		int on, ready;
	} clocks[] = {{F1_RCC, 0, 1},
	              {F1_RCC, 16, 17},
	              {F1_RCC, 24, 25},
	              {F1_RCC + 0x20, 0, 1},
	              {F1_RCC + 0x24, 0, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		set(clocks[i].at, 1u << clocks[i].on);
		wait_for(clocks[i].at, 1u << clocks[i].ready, 1u << clocks[i].ready);
		clear(clocks[i].at, 1u << clocks[i].on);
		wait_for(clocks[i].at, 1u << clocks[i].ready, 0);
	}
}

static void test_f1_ready_bits_are_not_written(void **state)
{
	(void)state;
	out(F1_RCC, 0x83 | 1 << 17 | 1 << 25);
	assert_int_equal(in(F1_RCC), 0x83);
}

/* CubeF1 switches the PLL and the LSI by bit-band. */
static void test_f1_pll_and_lsi_by_bit_band(void **state)
{
	(void)state;
	out(0x42420060, 1);
	assert_int_equal(in(F1_RCC) >> 24, 3);
	assert_int_equal(in(0x42420064), 1); /* PLLRDY */
	out(0x42420060, 0);
	assert_int_equal(in(0x42420064), 0);
	out(0x42420480, 1);
	assert_int_equal(in(F1_RCC + 0x24) & 3, 3);
}

static void test_f1_ready_flags_and_their_clear_bits(void **state)
{
	(void)state;
	out(F1_RCC + 8, 1 << 11 | 1 << 12); /* HSERDYIE, PLLRDYIE */
	set(F1_RCC, 1 << 16);
	assert_int_equal(in(F1_RCC + 8), 1 << 11 | 1 << 12 | 1 << 3);
	set(F1_RCC, 1 << 24);
	set(F1_RCC + 8, 1 << 19); /* HSERDYC */
	assert_int_equal(in(F1_RCC + 8), 1 << 11 | 1 << 12 | 1 << 4);
}

static void test_f1_reset_flags_are_removed(void **state)
{
	(void)state;
	assert_int_equal(in(F1_RCC + 0x24), 0x0c000000);
	set(F1_RCC + 0x24, 1 << 24);
	assert_int_equal(in(F1_RCC + 0x24) >> 25, 0);
}

static void test_f1_reset_bits_reset_their_peripheral_alone(void **state)
{
	(void)state;
	out(0x4001380c, 0x200c); /* USART1.CR1 */
	out(0x4000440c, 0x200c); /* USART2.CR1 */
	set(F1_RCC + 0xc, 1 << 14);
	clear(F1_RCC + 0xc, 1 << 14);
	assert_int_equal(in(0x4001380c), 0);
	assert_int_equal(in(0x4000440c), 0x200c);
}

static void test_f4_clock_tree_starts(void **state)
{
	(void)state;
	assert_int_equal(in(F4_RCC + 4), 0x24003010);
	set(F4_RCC, 1 << 16);
	wait_for(F4_RCC, 1 << 17, 1 << 17);
	set(F4_RCC + 0x40, 1 << 28); /* PWREN */
	set(0x40007000, 1 << 14);    /* VOS */
	out(F4_RCC + 4, 8 | 336 << 6 | 1 << 22 | 7 << 24);
	set(F4_RCC, 1 << 24);
	wait_for(F4_RCC, 1 << 25, 1 << 25);
	wait_for(0x40007004, 1 << 14, 1 << 14); /* VOSRDY */
	out(0x40023c00, 0x705);
	wait_for(0x40023c00, 0xf, 5);
	out(F4_RCC + 8, 5 << 10 | 4 << 13 | 2);
	wait_for(F4_RCC + 8, 0xc, 0x8);
	set(F4_RCC, 1 << 26); /* PLLI2S */
	wait_for(F4_RCC, 1 << 27, 1 << 27);
	set(F4_RCC + 0x74, 1);
	wait_for(F4_RCC + 0x74, 2, 2);
	set(F4_RCC + 0x70, 1);
	wait_for(F4_RCC + 0x70, 2, 2);
}

static void test_f429_overdrive_and_sai_pll(void **state)
{
	(void)state;
	assert_int_equal(in(0x40007000), 0xc000);
	set(0x40007000, 1 << 16);
	wait_for(0x40007004, 1 << 16, 1 << 16);
	set(0x40007000, 1 << 17);
	wait_for(0x40007004, 1 << 17, 1 << 17);
	set(F4_RCC, 1 << 28);
	wait_for(F4_RCC, 1 << 29, 1 << 29);
}

/* ---- flash --------------------------------------------------------------------------------------- */

#define F1_FLASH 0x40022000u
#define F4_FLASH 0x40023c00u

static void f1_unlock(void)
{
	out(F1_FLASH + 4, 0x45670123);
	out(F1_FLASH + 4, 0xcdef89ab);
}

static void f1_erase(uint32_t page)
{
	set(F1_FLASH + 0x10, 1 << 1); /* PER */
	out(F1_FLASH + 0x14, page);
	set(F1_FLASH + 0x10, 1 << 6); /* STRT */
	wait_for(F1_FLASH + 0xc, 1, 0);
	clear(F1_FLASH + 0x10, 1 << 1);
}

static void f1_program(uint32_t at, uint16_t value)
{
	set(F1_FLASH + 0x10, 1); /* PG */
	assert_int_equal(out16(at, value), 0);
	wait_for(F1_FLASH + 0xc, 1, 0);
	clear(F1_FLASH + 0x10, 1);
}

static uint16_t half(uint64_t at)
{
	uint16_t value;

	assert_int_equal(regmap_device_read(chip, at, &value, 2), 0);
	return value;
}

static void test_f1_flash_is_locked_until_both_keys_came(void **state)
{
	(void)state;
	assert_int_equal(in(F1_FLASH + 0x10), 0x80);
	out(F1_FLASH + 0x10, 1);
	assert_int_equal(in(F1_FLASH + 0x10), 0x80);
	assert_true(out16(0x08000000, 0x1234) < 0);
	assert_int_equal(half(0x08000000), 0xffff);
	f1_unlock();
	assert_int_equal(in(F1_FLASH + 0x10), 0);
	set(F1_FLASH + 0x10, 0x80);
	assert_int_equal(in(F1_FLASH + 0x10), 0x80);
}

static void test_f1_flash_wrong_key_locks_until_reset(void **state)
{
	(void)state;
	out(F1_FLASH + 4, 0x45670123);
	out(F1_FLASH + 4, 0x12345678);
	f1_unlock();
	assert_int_equal(in(F1_FLASH + 0x10), 0x80);
	assert_int_equal(regmap_device_reset(chip, false), 0);
	f1_unlock();
	assert_int_equal(in(F1_FLASH + 0x10), 0);
}

static void test_f1_flash_programs_half_words_and_erases_pages(void **state)
{
	(void)state;
	f1_unlock();
	for (uint32_t i = 0; i < 16; i += 2)
		f1_program(0x0800fc00 + i, 0x1100 + i);
	f1_program(0x08010000, 0xbeef); /* the next page */
	assert_int_equal(in(0x0800fc00), 0x11021100);
	assert_int_equal(half(0x0800fc0e), 0x110e);
	assert_int_equal(half(0xfc02), 0x1102); /* by the boot alias */
	f1_erase(0x0800fc00);
	assert_int_equal(in(0x0800fc00), 0xffffffff);
	assert_int_equal(half(0x08010000), 0xbeef);
	set(F1_FLASH + 0x10, 1 << 2); /* MER */
	set(F1_FLASH + 0x10, 1 << 6);
	wait_for(F1_FLASH + 0xc, 1, 0);
	assert_int_equal(half(0x08010000), 0xffff);
}

static void test_f1_flash_takes_half_words_alone(void **state)
{
	uint32_t word = 0;
	uint8_t byte = 0;

	(void)state;
	f1_unlock();
	set(F1_FLASH + 0x10, 1);
	assert_true(regmap_device_write(chip, 0x08000001, &byte, 1) < 0);
	assert_int_equal(in(0x08000000), 0xffffffff);
	(void)word;
}

static void test_f1_flash_is_busy_and_tells_the_end(void **state)
{
	(void)state;
	f1_unlock();
	set(F1_FLASH + 0x10, 1 << 1);
	out(F1_FLASH + 0x14, 0x08000000);
	set(F1_FLASH + 0x10, 1 << 6);
	assert_int_equal(in(F1_FLASH + 0xc) & 1, 1);
	wait_for(F1_FLASH + 0xc, 1, 0);
	assert_int_equal(in(F1_FLASH + 0xc), 1 << 5); /* EOP */
	assert_int_equal(in(F1_FLASH + 0x10) & 1 << 6, 0);
	out(F1_FLASH + 0xc, 1 << 5);
	assert_int_equal(in(F1_FLASH + 0xc), 0);
	out(F1_FLASH + 0x10, 1);
	assert_int_equal(out16(0x08000000, 0x5aa5), 0);
	assert_int_equal(in(F1_FLASH + 0xc) & 1, 1);
	wait_for(F1_FLASH + 0xc, 1 << 5 | 1, 1 << 5);
}

static void test_f1_flash_programs_what_is_erased(void **state)
{
	(void)state;
	f1_unlock();
	f1_program(0x08000400, 0xff0f);
	assert_int_equal(in(F1_FLASH + 0xc), 1 << 5);
	out(F1_FLASH + 0xc, 1 << 5);
	f1_program(0x08000400, 0xf0f0);
	assert_int_equal(half(0x08000400), 0xf000);   /* no bit is set again */
	assert_int_equal(in(F1_FLASH + 0xc), 1 << 2); /* PGERR, and no EOP */
	out(F1_FLASH + 0xc, 1 << 2);
	assert_int_equal(in(F1_FLASH + 0xc), 0);
	f1_program(0x08000400, 0); /* zero always goes */
	assert_int_equal(half(0x08000400), 0);
	assert_int_equal(in(F1_FLASH + 0xc), 1 << 5);
}

static void test_f1_flash_protected_pages_stay(void **state)
{
	(void)state;
	f1_unlock();
	f1_program(0x08001000, 0x1234);
	poke("FLASH.WRPR", 0xfffffffd); /* pages 4 to 7 */
	f1_erase(0x08001000);
	assert_int_equal(half(0x08001000), 0x1234);
	assert_int_equal(in(F1_FLASH + 0xc) & 1 << 4, 1 << 4); /* WRPRTERR */
	out(F1_FLASH + 0xc, 1 << 5 | 1 << 4);
	f1_program(0x08001002, 0x5678);
	assert_int_equal(half(0x08001002), 0xffff);
	assert_int_equal(in(F1_FLASH + 0xc), 1 << 4);
	out(F1_FLASH + 0xc, 1 << 4);
	f1_erase(0x08000000);
	assert_int_equal(in(F1_FLASH + 0xc) & 1 << 4, 0);
}

static void test_f1_option_bytes_have_their_keys(void **state)
{
	(void)state;
	f1_unlock();
	set(F1_FLASH + 0x10, 1 << 9); /* OPTWRE isn't written */
	assert_int_equal(in(F1_FLASH + 0x10), 0);
	out(F1_FLASH + 8, 0x45670123);
	out(F1_FLASH + 8, 0xcdef89ab);
	assert_int_equal(in(F1_FLASH + 0x10), 1 << 9);
	assert_int_equal(out16(0x1ffff804, 0x00ff), 0);
	set(F1_FLASH + 0x10, 1 << 5); /* OPTER */
	set(F1_FLASH + 0x10, 1 << 6);
	wait_for(F1_FLASH + 0xc, 1, 0);
	assert_int_equal(half(0x1ffff804), 0xffff);
}

static void f4_unlock(void)
{
	out(F4_FLASH + 4, 0x45670123);
	out(F4_FLASH + 4, 0xcdef89ab);
}

static void f4_erase(uint32_t snb)
{
	out(F4_FLASH + 0x10, (in(F4_FLASH + 0x10) & ~0x3fau) | 1 << 1 | snb << 3 | 2 << 8);
	set(F4_FLASH + 0x10, 1 << 16);
	assert_int_equal(in(F4_FLASH + 0xc) & 1 << 16, 1 << 16); /* BSY */
	wait_for(F4_FLASH + 0xc, 1 << 16, 0);
	assert_int_equal(in(F4_FLASH + 0x10) & 1 << 16, 0);
	out(F4_FLASH + 0x10, in(F4_FLASH + 0x10) & ~0xfau);
}

static void f4_program(uint32_t at, uint32_t value)
{
	out(F4_FLASH + 0x10, 2 << 8 | 1);
	out(at, value);
	wait_for(F4_FLASH + 0xc, 1 << 16, 0);
	out(F4_FLASH + 0x10, 0);
}

static void test_f4_flash_programs_words_and_erases_sectors(void **state)
{
	static const uint32_t starts[] = {0x00000, 0x04000, 0x08000, 0x0c000, 0x10000,
	                                  0x20000, 0x40000, 0x60000, 0x80000, 0xa0000,
	                                  0xc0000, 0xe0000, 0x100000};

	(void)state;
	assert_int_equal(in(F4_FLASH + 0x10), 0x80000000);
	f4_unlock();
	assert_int_equal(in(F4_FLASH + 0x10), 0);
	for (uint32_t s = 0; s < 12; s++) {
		f4_program(0x08000000 + starts[s], s);
		f4_program(0x08000000 + starts[s + 1] - 4, s);
	}
	for (uint32_t s = 0; s < 12; s++) {
		f4_erase(s);
		assert_int_equal(in(0x08000000 + starts[s]), 0xffffffff);
		assert_int_equal(in(0x08000000 + starts[s + 1] - 4), 0xffffffff);
		if (s < 11)
			assert_int_equal(in(0x08000000 + starts[s + 1]), s + 1);
	}
}

static void test_f4_flash_end_is_told_if_asked_for(void **state)
{
	(void)state;
	f4_unlock();
	f4_program(0x08000000, 1);
	assert_int_equal(in(F4_FLASH + 0xc) & 1, 0);
	out(F4_FLASH + 0x10, 1 << 24 | 2 << 8 | 1); /* EOPIE */
	out(0x08000004, 2);
	wait_for(F4_FLASH + 0xc, 1 | 1 << 16, 1);
	out(F4_FLASH + 0xc, 1);
	assert_int_equal(in(F4_FLASH + 0xc), 0);
}

static void test_f4_flash_width_is_what_psize_says(void **state)
{
	(void)state;
	f4_unlock();
	for (unsigned psize = 0; psize < 4; psize++) {
		out(F4_FLASH + 0x10, psize << 8 | 1);
		out(0x08000000 + 4 * psize, psize);
		wait_for(F4_FLASH + 0xc, 1 << 16, 0);
		assert_int_equal(in(F4_FLASH + 0xc), psize < 2 ? 1 << 6 : 0); /* PGPERR */
		out(F4_FLASH + 0xc, 1 << 6);
	}
}

static void test_f4_flash_protected_sectors_stay(void **state)
{
	(void)state;
	f4_unlock();
	f4_program(0x08004000, 0x12345678);
	out(F4_FLASH + 8, 0x08192a3b);
	out(F4_FLASH + 8, 0x4c5d6e7f);
	assert_int_equal(in(F4_FLASH + 0x14) & 1, 0);
	clear(F4_FLASH + 0x14, 1 << 17); /* sector 1 */
	out(F4_FLASH + 0x10, 1 << 16 | 1 << 3 | 1 << 1);
	assert_int_equal(in(0x08004000), 0x12345678);
	assert_int_equal(in(F4_FLASH + 0xc), 1 << 4);
	out(F4_FLASH + 0xc, 1 << 4);
	f4_program(0x08007ffc, 0);
	assert_int_equal(in(0x08007ffc), 0xffffffff);
	assert_int_equal(in(F4_FLASH + 0xc), 1 << 4);
	out(F4_FLASH + 0xc, 1 << 4);
	f4_program(0x08008000, 0);
	assert_int_equal(in(0x08008000), 0);
	assert_int_equal(in(F4_FLASH + 0xc), 0);
}

static void test_f429_flash_has_two_banks(void **state)
{
	(void)state;
	f4_unlock();
	f4_program(0x08000000, 1);
	f4_program(0x08104000, 2); /* sector 13 */
	f4_program(0x081ffffc, 3); /* sector 23 */
	f4_erase(17);              /* sector 13 as SNB has it */
	assert_int_equal(in(0x08104000), 0xffffffff);
	assert_int_equal(in(0x081ffffc), 3);
	f4_erase(27);
	assert_int_equal(in(0x081ffffc), 0xffffffff);
	f4_program(0x08104000, 2);
	set(F4_FLASH + 0x10, 1 << 2); /* MER: the first bank */
	set(F4_FLASH + 0x10, 1 << 16);
	wait_for(F4_FLASH + 0xc, 1 << 16, 0);
	assert_int_equal(in(0x08000000), 0xffffffff);
	assert_int_equal(in(0x08104000), 2);
}

/* ---- pins ---------------------------------------------------------------------------------------- */

#define F1_GPIOC 0x40011000u

static void test_f1_pins_set_clear_and_read_back(void **state)
{
	(void)state;
	assert_int_equal(in(F1_GPIOC + 4), 0x44444444);
	out(F1_GPIOC + 4, (in(F1_GPIOC + 4) & ~(0xfu << 20)) | 2u << 20); /* PC13 drives */
	out(F1_GPIOC + 0x10, 1 << 13);
	assert_int_equal(in(F1_GPIOC + 0xc), 1 << 13);
	assert_int_equal(in(F1_GPIOC + 8), 1 << 13);
	out(F1_GPIOC + 0x14, 1 << 13);
	assert_int_equal(in(F1_GPIOC + 8), 0);
	out(F1_GPIOC + 0x10, 1u << 29 | 1 << 13); /* set wins */
	assert_int_equal(in(F1_GPIOC + 0xc), 1 << 13);
	out(F1_GPIOC + 0xc, 0xffff0000);
	assert_int_equal(in(F1_GPIOC + 0xc), 0);
	assert_int_equal(in(F1_GPIOC + 0x10), 0);
}

static void test_f1_inputs_keep_what_the_test_gives(void **state)
{
	(void)state;
	out(F1_GPIOC + 0x10, 1 << 3 | 1 << 5);
	assert_int_equal(in(F1_GPIOC + 8), 0); /* floating */
	poke("GPIOC.IDR.IDR3", 1);
	out(F1_GPIOC + 4, 0x44344444);
	out(F1_GPIOC + 0x10, 1 << 13);
	assert_int_equal(in(F1_GPIOC + 8), 1 << 13 | 1 << 3);
	out(F1_GPIOC + 8, 0);
	assert_int_equal(in(F1_GPIOC + 8), 1 << 13 | 1 << 3);
}

static void test_f1_pull_ups_show_until_the_test_presses(void **state)
{
	(void)state;
	out(F1_GPIOC + 0x10, 1 << 2);
	out(F1_GPIOC + 0, 0x44444844); /* PC2: pulled, up as ODR says */
	assert_int_equal(in(F1_GPIOC + 8), 1 << 2);
	poke("GPIOC.IDR.IDR2", 0);
	out(F1_GPIOC + 0x10, 1 << 9);
	assert_int_equal(in(F1_GPIOC + 8) & 1 << 2, 0);
	out(F1_GPIOC + 0x14, 1 << 2);
	out(F1_GPIOC + 0x10, 1 << 2); /* pulled anew */
	assert_int_equal(in(F1_GPIOC + 8) & 1 << 2, 1 << 2);
}

static void test_f1_pin_lock(void **state)
{
	(void)state;
	out(F1_GPIOC + 0x18, 1 << 16 | 1);
	out(F1_GPIOC + 0x18, 1);
	out(F1_GPIOC + 0x18, 1 << 16 | 1);
	assert_int_equal(in(F1_GPIOC + 0x18), 1 << 16 | 1);
	out(F1_GPIOC, 0x33333333);
	assert_int_equal(in(F1_GPIOC), 0x33333334);
	out(0x40010c18, 1 << 16 | 1); /* GPIOB, out of order */
	out(0x40010c18, 1 << 16 | 1);
	out(0x40010c18, 1);
	assert_int_equal(in(0x40010c18) >> 16, 0);
}

#define F4_GPIOD 0x40020c00u

static void test_f4_pins_set_clear_and_read_back(void **state)
{
	(void)state;
	assert_int_equal(in(0x40020000), 0xa8000000);
	assert_int_equal(in(0x40020400), 0x280);
	assert_int_equal(in(F4_GPIOD), 0);
	out(F4_GPIOD, 1u << 24 | 1u << 30); /* PD12, PD15 drive */
	out(F4_GPIOD + 0x18, 1u << 12 | 1u << 15 | 1);
	assert_int_equal(in(F4_GPIOD + 0x14), 1u << 12 | 1u << 15 | 1);
	assert_int_equal(in(F4_GPIOD + 0x10), 1u << 12 | 1u << 15);
	assert_int_equal(out16(F4_GPIOD + 0x1a, 1 << 12), 0); /* BSRRH */
	assert_int_equal(in(F4_GPIOD + 0x10), 1u << 15);
	out(F4_GPIOD + 0xc, 1 << 4 | 2 << 6); /* PD2 pulled up, PD3 down */
	assert_int_equal(in(F4_GPIOD + 0x10), 1u << 15 | 1 << 2);
}

static void test_f1_external_interrupts(void **state)
{
	(void)state;
	out(0x40010400, 1 << 3); /* IMR */
	out(0x40010410, 1 << 3 | 1 << 4);
	assert_int_equal(in(0x40010414), 1 << 3); /* PR */
	out(0x40010414, 1 << 3);
	assert_int_equal(in(0x40010414), 0);
	assert_int_equal(in(0x40010410), 1 << 4);
}

/* ---- serial lines -------------------------------------------------------------------------------- */

static void uart_speaks(uint32_t uart, const char *name)
{
	char sr[32];

	assert_int_equal(in(uart), 0xc0);
	out(uart + 8, 72000000 / 115200);
	out(uart + 0xc, 1 << 13 | 3 << 2); /* UE, TE, RE */
	for (const char *c = "Hello"; *c; c++) {
		wait_for(uart, 1 << 7, 1 << 7);
		out(uart + 4, *c);
		assert_int_equal(in(uart)&0xc0, 0);
		assert_int_equal(in(uart + 4), *c);
	}
	wait_for(uart, 1 << 6, 1 << 6);
	snprintf(sr, sizeof(sr), "%s.SR.RXNE", name);
	poke(sr, 1);
	snprintf(sr, sizeof(sr), "%s.DR", name);
	poke(sr, 'x');
	wait_for(uart, 1 << 5, 1 << 5);
	assert_int_equal(in(uart + 4), 'x');
	assert_int_equal(in(uart)&1 << 5, 0);
	clear(uart, 1 << 6);
	assert_int_equal(in(uart)&1 << 6, 0);
	set(uart, 1 << 6); /* is not set by writing */
	assert_int_equal(in(uart)&1 << 6, 0);
}

static void test_f1_uarts_speak(void **state)
{
	(void)state;
	uart_speaks(0x40013800, "USART1");
	uart_speaks(0x40004400, "USART2");
	uart_speaks(0x40004800, "USART3");
}

static void test_f4_uarts_speak(void **state)
{
	(void)state;
	uart_speaks(0x40011000, "USART1");
	uart_speaks(0x40011400, "USART6");
	uart_speaks(0x40004c00, "UART4");
	assert_int_equal(get("USART3.CR1.OVER8"), 0);
	assert_int_equal(get("UART5.CR3.ONEBIT"), 0);
}

static void spi_exchanges(uint32_t spi)
{
	assert_int_equal(in(spi + 8), 2);
	out(spi, 1 << 2 | 3 << 8 | 1 << 6);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t byte = 0xa0 + i;

		wait_for(spi + 8, 2, 2);
		assert_int_equal(regmap_device_write(chip, spi + 0xc, &byte, 1), 0);
		assert_int_equal(in(spi + 8) & 0x82, 0x80); /* BSY, and no TXE */
		wait_for(spi + 8, 1, 1);
		assert_int_equal(in(spi + 0xc), 0xa0 + i);
		assert_int_equal(in(spi + 8) & 1, 0);
		wait_for(spi + 8, 1 << 7, 0);
	}
	out(spi + 0xc, 1);
	wait_for(spi + 8, 1 << 7, 0);
	out(spi + 0xc, 2); /* the first one is still there */
	wait_for(spi + 8, 1 << 7, 0);
	assert_int_equal(in(spi + 8) & 1 << 6, 1 << 6);
	in(spi + 0xc);
	in(spi + 8);
	assert_int_equal(in(spi + 8) & 1 << 6, 0);
}

static void test_f1_spi_exchanges(void **state)
{
	(void)state;
	spi_exchanges(0x40013000);
	spi_exchanges(0x40003800);
}

static void test_f4_spi_exchanges(void **state)
{
	(void)state;
	spi_exchanges(0x40013000);
	spi_exchanges(0x40003c00);
}

#define I2C 0x40005400u

static void i2c_start(uint8_t address)
{
	set(I2C, 1 << 8);
	wait_for(I2C + 0x14, 1, 1); /* SB */
	out(I2C + 0x10, address);
	wait_for(I2C + 0x14, 2, 2); /* ADDR */
	assert_int_equal(in(I2C + 0x14) & 1, 0);
}

static void i2c_stop(void)
{
	set(I2C, 1 << 9);
	wait_for(I2C, 1 << 9, 0);
	wait_for(I2C + 0x18, 2, 0); /* BUSY */
}

static void test_i2c_writes(void **state)
{
	(void)state;
	out(I2C, 1);
	for (unsigned message = 0; message < 3; message++) {
		wait_for(I2C + 0x18, 2, 0);
		i2c_start(0xa0);
		assert_int_equal(in(I2C + 0x18) & 7, 7); /* master, busy, transmits */
		assert_int_equal(in(I2C + 0x14) & 2, 0);
		for (unsigned i = 0; i < 3; i++) {
			wait_for(I2C + 0x14, 1 << 7, 1 << 7);
			out(I2C + 0x10, i);
			assert_int_equal(in(I2C + 0x14) & 0x84, 0);
		}
		wait_for(I2C + 0x14, 1 << 2, 1 << 2); /* BTF */
		i2c_stop();
		assert_int_equal(in(I2C + 0x14), 0);
	}
}

/* The ways of the vendor's driver for one byte, two, three and more. */
static void test_i2c_reads(void **state)
{
	(void)state;
	for (unsigned count = 1; count <= 6; count++) {
		unsigned left = count;

		out(I2C, 1 | 1 << 10); /* PE, ACK */
		i2c_start(0xa1);
		if (count == 1) {
			clear(I2C, 1 << 10);
			in(I2C + 0x18);
			set(I2C, 1 << 9);
		} else if (count == 2) {
			clear(I2C, 1 << 10);
			set(I2C, 1 << 11); /* POS */
			in(I2C + 0x18);
		} else {
			in(I2C + 0x18);
		}
		while (left) {
			if (left > 3 || left == 1) {
				wait_for(I2C + 0x14, 1 << 6, 1 << 6);
				in(I2C + 0x10);
				left--;
				continue;
			}
			wait_for(I2C + 0x14, 1 << 2, 1 << 2);
			if (left == 3) {
				clear(I2C, 1 << 10);
				in(I2C + 0x10);
				left--;
				wait_for(I2C + 0x14, 1 << 2, 1 << 2);
			}
			set(I2C, 1 << 9);
			in(I2C + 0x10);
			in(I2C + 0x10);
			left -= 2;
		}
		wait_for(I2C + 0x18, 2, 0);
		assert_int_equal(in(I2C + 0x14) & 1 << 6, 0);
	}
}

static void test_f4_i2c_reset_and_noise_filter(void **state)
{
	(void)state;
	out(I2C + 0x24, 0x10);
	out(I2C, 1);
	set(I2C, 1 << 15);
	assert_int_equal(in(I2C), 1 << 15);
	assert_int_equal(in(I2C + 0x24), 0);
	clear(I2C, 1 << 15);
	assert_int_equal(in(I2C), 0);
}

static void test_can_leaves_initialisation(void **state)
{
	(void)state;
	assert_int_equal(in(0x40006404), 0xc02);
	clear(0x40006400, 2); /* SLEEP */
	set(0x40006400, 1);   /* INRQ */
	wait_for(0x40006404, 3, 1);
	clear(0x40006400, 1);
	wait_for(0x40006404, 1, 0);
	out(0x40006580, 0x123u << 21 | 1); /* TI0R: TXRQ */
	wait_for(0x40006408, 1 << 26 | 3, 1 << 26 | 3);
	assert_int_equal(in(0x40006580) & 1, 0);
	out(0x40006408, 1);
	assert_int_equal(in(0x40006408), 0x1c000000);
}

/* ---- converters, timers --------------------------------------------------------------------------- */

static void test_f1_adc_calibrates_and_converts(void **state)
{
	const uint32_t adc = 0x40012400;

	(void)state;
	set(adc + 8, 1); /* ADON */
	set(adc + 8, 1 << 3);
	assert_int_equal(in(adc + 8) & 1 << 3, 1 << 3);
	wait_for(adc + 8, 1 << 3, 0);
	set(adc + 8, 1 << 2);
	wait_for(adc + 8, 1 << 2, 0);
	assert_int_equal(in(adc), 0);
	poke("ADC1.DR", 0x5a5);
	set(adc + 8, 7 << 17 | 1 << 20 | 1 << 22); /* SWSTART */
	wait_for(adc, 2, 2);
	assert_int_equal(in(adc + 0x4c), 0x5a5);
	assert_int_equal(in(adc)&2, 0);
	out(adc + 8, 1);
	out(adc, 0);
	assert_int_equal(in(adc), 0);
	set(adc + 8, 1); /* ADON once more converts */
	wait_for(adc, 2, 2);
	out(adc + 8, 3); /* CONT */
	out(adc + 8, 3);
	for (unsigned i = 0; i < 3; i++) {
		wait_for(adc, 2, 2);
		in(adc + 0x4c);
	}
}

static void test_f4_adc_converts(void **state)
{
	const uint32_t adc = 0x40012100; /* ADC2 */

	(void)state;
	out(adc + 8, 1 << 30); /* switched off: nothing */
	in(adc);
	assert_int_equal(in(adc), 0);
	out(adc + 8, 1);
	poke("ADC2.DR", 0x321);
	set(adc + 8, 1 << 30);
	wait_for(adc, 2, 2);
	assert_int_equal(in(0x40012300) >> 8 & 2, 2); /* CSR: EOC2 */
	assert_int_equal(in(adc + 0x4c), 0x321);
	assert_int_equal(in(0x40012300) & 0x202, 0);
}

static void timer_counts(uint32_t timer, uint32_t arr)
{
	uint32_t last, now;

	out(timer + 0x28, 71);
	out(timer + 0x2c, arr);
	out(timer + 0x14, 1); /* UG */
	assert_int_equal(in(timer + 0x10) & 1, 1);
	out(timer + 0x10, ~1u);
	assert_int_equal(in(timer + 0x10), 0);
	last = in(timer + 0x24);
	assert_int_equal(in(timer + 0x24), last); /* CEN is 0 */
	out(timer, 1);
	assert_true(wait_for(timer + 0x10, 1, 1) > 2);
	out(timer + 0x10, 0);
	out(timer + 0x24, 0);
	last = 0;
	while ((now = in(timer + 0x24)) < arr) {
		assert_true(now > last);
		last = now;
	}
	assert_int_equal(now, arr);
	out(timer, 1 | 1 << 3); /* one pulse */
	out(timer + 0x10, 0);
	wait_for(timer + 0x10, 1, 1);
	assert_int_equal(in(timer)&1, 0);
}

static void test_f1_timers_count(void **state)
{
	(void)state;
	timer_counts(0x40000000, 999);
	timer_counts(0x40000800, 0xffff);
	timer_counts(0x40012c00, 7);
	out(0x40000000, 0x10 | 1); /* TIM2 counts down */
	out(0x40000024, 999);
	assert_true(in(0x40000024) < 999);
	out(0x40000010, 0);
	wait_for(0x40000010, 3, 3); /* UIF, and CC1IF on the way */
}

static void test_f4_timers_count(void **state)
{
	(void)state;
	assert_int_equal(in(0x4000002c), 0xffffffff);
	assert_int_equal(in(0x4000042c), 0xffff);
	timer_counts(0x40000000, 0xfffffffe);
	timer_counts(0x40010000, 999);
	timer_counts(0x40001000, 999);   /* TIM6 */
	timer_counts(0x40014400, 0xfff); /* TIM10 */
}

#define SYSTICK 0xe000e010u

static void test_systick_counts_and_its_flag_clears_on_read(void **state)
{
	uint32_t last, now;

	(void)state;
	out(SYSTICK + 4, 71999);
	out(SYSTICK + 8, 5); /* any write: 0 */
	assert_int_equal(in(SYSTICK + 8), 0);
	out(SYSTICK, 5);
	last = in(SYSTICK + 8);
	assert_int_equal(last, 71999);
	now = in(SYSTICK + 8);
	assert_true(now < last && now > 0);
	for (unsigned ms = 0; ms < 10; ms++) {
		wait_for(SYSTICK, 1 << 16, 1 << 16);
		assert_int_equal(in(SYSTICK)&1 << 16, 0);
	}
	while (in(SYSTICK + 8))
		;
	out(SYSTICK + 8, 0); /* clears the flag, too */
	assert_int_equal(in(SYSTICK), 5);
	out(SYSTICK, 4);
	last = in(SYSTICK + 8);
	assert_int_equal(in(SYSTICK + 8), last);
	out(SYSTICK + 4, 1); /* the shortest period */
	out(SYSTICK, 5);
	wait_for(SYSTICK, 1 << 16, 1 << 16);
}

static void test_cycle_counter_counts_when_enabled(void **state)
{
	uint32_t last;

	(void)state;
	assert_int_equal(in(0xe0001004), 0);
	assert_int_equal(in(0xe0001004), 0);
	set(0xe000edfc, 1 << 24); /* DEMCR.TRCENA */
	set(0xe0001000, 1);
	last = in(0xe0001004);
	assert_true(in(0xe0001004) > last);
	out(0xe0001004, 0xffffffc0);
	assert_true(in(0xe0001004) < 0xffff);
}

static void test_f1_watchdog(void **state)
{
	(void)state;
	out(0x40003004, 3);
	assert_int_equal(in(0x40003004), 0);
	out(0x40003000, 0x5555);
	out(0x40003004, 3);
	assert_int_equal(in(0x40003004), 3);
	out(0x40003008, 0x123);
	wait_for(0x4000300c, 3, 0);
	out(0x40003000, 0xaaaa);
	out(0x40003008, 0x456);
	assert_int_equal(in(0x40003008), 0x123);
}

/* ---- DMA, CRC ------------------------------------------------------------------------------------ */

static void test_f1_dma_completes(void **state)
{
	const uint32_t dma = 0x40020000;

	(void)state;
	for (unsigned c = 0; c < 7; c++) {
		out(dma + 0xc + 20 * c, 16);
		out(dma + 8 + 20 * c, 1 << 4 | 1);
		wait_for(dma, 2u << 4 * c, 2u << 4 * c); /* TCIF */
		assert_int_equal(in(dma) >> 4 * c & 0xf, 7);
		assert_int_equal(in(dma + 0xc + 20 * c), 0);
		out(dma + 4, 2u << 4 * c);
		assert_int_equal(in(dma) >> 4 * c & 0xf, 5);
		out(dma + 4, 1u << 4 * c);
		assert_int_equal(in(dma), 0);
	}
}

static void test_f4_dma_completes(void **state)
{
	static const unsigned char tcif[] = {5, 11, 21, 27};
	const uint32_t dma = 0x40026400;

	(void)state;
	for (unsigned s = 0; s < 8; s++) {
		uint32_t status = dma + (s / 4) * 4, bit = 1u << tcif[s % 4];

		assert_int_equal(in(dma + 0x24 + 24 * s), 0x21);
		out(dma + 0x14 + 24 * s, 16);
		out(dma + 0x10 + 24 * s, 1);
		wait_for(status, bit, bit);
		wait_for(dma + 0x10 + 24 * s, 1, 0); /* EN */
		out(status + 8, bit | bit >> 1);
		assert_int_equal(in(status), 0);
	}
}

static void fill(uint32_t at, unsigned words)
{
	for (unsigned i = 0; i < words; i++)
		out(at + 4 * i, 0x01010101 * (i + 1));
}

static void test_f1_dma_copies_memory(void **state)
{
	const uint32_t dma = 0x40020000;

	(void)state;
	fill(0x20000100, 16);
	out(dma + 0xc, 16);
	out(dma + 0x10, 0x20000100);
	out(dma + 0x14, 0x20000800);
	out(dma + 8, 1 << 14 | 2 << 10 | 2 << 8 | 3 << 6 | 1);
	wait_for(dma, 2, 2);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(0x20000800 + 4 * i), 0x01010101 * (i + 1));
	assert_int_equal(in(0x20000840), 0);
}

static void test_f4_dma_copies_memory(void **state)
{
	const uint32_t dma = 0x40026400;

	(void)state;
	fill(0x2001bfe0, 16); /* from SRAM1 on into SRAM2 */
	out(dma + 0x14, 64);
	out(dma + 0x18, 0x2001bfe0);
	out(dma + 0x1c, 0x20000800);
	out(dma + 0x10, 2 << 6 | 3 << 9 | 1);
	wait_for(dma, 1 << 5, 1 << 5);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(0x20000800 + 4 * i), 0x01010101 * (i + 1));
	assert_int_equal(in(0x20000840), 0);
}

static uint32_t crc_of(uint32_t crc, uint32_t word)
{
	crc ^= word;
	for (unsigned i = 0; i < 32; i++)
		crc = crc & 0x80000000 ? crc << 1 ^ 0x04c11db7 : crc << 1;
	return crc;
}

static void test_crc_calculates(void **state)
{
	uint32_t expected = 0xffffffff, word = 0x12345678;

	(void)state;
	assert_int_equal(in(0x40023000), 0xffffffff);
	for (unsigned i = 0; i < 50; i++) {
		out(0x40023000, word);
		expected = crc_of(expected, word);
		assert_int_equal(in(0x40023000), expected);
		word = word * 1664525 + 1013904223;
	}
	out(0x40023008, 1);
	assert_int_equal(in(0x40023000), 0xffffffff);
	out(0x40023000, 0);
	assert_int_equal(in(0x40023000), 0xc704dd7b); /* as known for four bytes of zero */
}

/* ---- backup domain ------------------------------------------------------------------------------- */

static void test_f1_backup_registers_are_protected(void **state)
{
	(void)state;
	out(0x40006c04, 0x1234);
	assert_int_equal(in(0x40006c04), 0);
	set(0x40007000, 1 << 8); /* DBP */
	wait_for(0x40007000, 1 << 8, 1 << 8);
	out(0x40006c04, 0x1234);
	assert_int_equal(in(0x40006c04), 0x1234);
	out(F1_RCC + 0x20, 1 << 16); /* BDRST */
	assert_int_equal(in(0x40006c04), 0);
}

static void test_f1_rtc_starts(void **state)
{
	const uint32_t rtc = 0x40002800;
	uint32_t before;

	(void)state;
	assert_int_equal(in(rtc + 4), 0x20);
	set(0x40007000, 1 << 8);
	set(F1_RCC + 0x20, 1);
	wait_for(F1_RCC + 0x20, 2, 2);
	set(F1_RCC + 0x20, 1 << 8 | 1 << 15);
	clear(rtc + 4, 1 << 3); /* RSF */
	wait_for(rtc + 4, 1 << 3, 1 << 3);
	wait_for(rtc + 4, 1 << 5, 1 << 5); /* RTOFF */
	set(rtc + 4, 1 << 4);              /* CNF */
	out(rtc + 0xc, 32767);
	out(rtc + 0x1c, 0xffff);
	clear(rtc + 4, 1 << 4);
	wait_for(rtc + 4, 1 << 5, 1 << 5);
	before = in(rtc + 0x18) << 16 | in(rtc + 0x1c);
	clear(rtc + 4, 1);
	wait_for(rtc + 4, 1, 1); /* SECF */
	assert_true((in(rtc + 0x18) << 16 | in(rtc + 0x1c)) > before);
}

static void test_f4_rtc_starts(void **state)
{
	const uint32_t rtc = 0x40002800;

	(void)state;
	assert_int_equal(in(rtc + 4), 0x2101);
	assert_int_equal(in(rtc + 0xc), 7);
	out(rtc + 0xc, 1 << 7);
	assert_int_equal(in(rtc + 0xc) & 0xc0, 0);
	set(0x40007000, 1 << 8);
	set(F4_RCC + 0x74, 1);
	set(F4_RCC + 0x70, 2 << 8 | 1 << 15);
	out(rtc + 0xc, 1 << 7);
	assert_int_equal(in(rtc + 0xc) & 0xc0, 0); /* locked by its keys */
	out(rtc + 0x24, 0xca);
	out(rtc + 0x24, 0x53);
	out(rtc, 0x235958);
	assert_int_equal(in(rtc), 0); /* not in initialisation mode */
	out(rtc + 0xc, 1 << 7);
	wait_for(rtc + 0xc, 1 << 6, 1 << 6);
	out(rtc + 0x10, 127 << 16 | 255);
	out(rtc, 0x235958);
	out(rtc + 4, 0x00218515);
	clear(rtc + 0xc, 1 << 7);
	wait_for(rtc + 0xc, 1 << 5, 1 << 5); /* RSF */
	assert_int_equal(in(rtc + 0xc) & 1 << 4, 1 << 4);
	out(rtc + 0x24, 0xff);
	assert_int_equal(in(rtc + 4), 0x00218515);
	wait_for(rtc, 0x3fffff, 0x235959);
	wait_for(rtc, 0x3fffff, 0); /* midnight */
	out(rtc + 0x50, 0x1234);
	assert_int_equal(in(rtc + 0x50), 0x1234);
}

/* ---- the core ------------------------------------------------------------------------------------ */

static void test_nvic_set_and_clear_are_one(void **state)
{
	(void)state;
	out(0xe000e104, 1 << 5 | 1 << 6);
	out(0xe000e104, 1 << 7);
	assert_int_equal(in(0xe000e104), 7 << 5);
	assert_int_equal(in(0xe000e184), 7 << 5);
	out(0xe000e184, 1 << 6);
	assert_int_equal(in(0xe000e104), 5 << 5);
	assert_int_equal(in(0xe000e184), 5 << 5);
	out(0xe000ef00, 37); /* STIR */
	assert_int_equal(in(0xe000e204), 1 << 5);
	out(0xe000e284, 1 << 5);
	assert_int_equal(in(0xe000e204), 0);
}

/* How FreeRTOS finds out how many bits of priority there are. */
static void test_priorities_have_four_bits(void **state)
{
	uint8_t byte = 0xff;

	(void)state;
	assert_int_equal(regmap_device_write(chip, 0xe000e402, &byte, 1), 0);
	assert_int_equal(in(0xe000e400), 0x00f00000);
	assert_int_equal(regmap_device_write(chip, 0xe000ed22, &byte, 1), 0);
	assert_int_equal(in(0xe000ed20), 0x00f00000); /* PendSV */
}

static void test_system_control(void **state)
{
	(void)state;
	assert_int_equal(in(0xe000ed0c), 0xfa050000);
	out(0xe000ed0c, 5 << 8); /* no key */
	assert_int_equal(in(0xe000ed0c), 0xfa050000);
	out(0xe000ed0c, 0x05fa0000 | 5 << 8);
	assert_int_equal(in(0xe000ed0c), 0xfa050500);
	out(0xe000ed04, 1 << 28); /* PENDSVSET */
	assert_int_equal(in(0xe000ed04), 1 << 28);
	out(0xe000ed04, 1 << 27);
	assert_int_equal(in(0xe000ed04), 0);
	poke("SCB.CFSR", 0x82);
	out(0xe000ed28, 0x80);
	assert_int_equal(in(0xe000ed28), 2);
	out(0x4001380c, 0x2000);
	out(0xe000ed0c, 0x05fa0004); /* SYSRESETREQ */
	assert_int_equal(in(0x4001380c), 0);
	assert_int_equal(in(0xe000ed0c), 0xfa050000);
}

static void test_printing_by_itm_does_not_wait(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		wait_for(0xe0000000, 1, 1);
		out(0xe0000000, 'a' + i);
	}
}

static void test_f4_rest_of_the_house(void **state)
{
	uint32_t first;

	(void)state;
	out(0x50060800, 4); /* RNG */
	wait_for(0x50060804, 1, 1);
	first = in(0x50060808);
	assert_int_not_equal(in(0x50060808), first);
	out(0x40029000, 0x00020101); /* ETH.DMABMR.SR is 1 after a reset */
	wait_for(0x40029000, 1, 0);
	out(0x40028010, 1 << 6 | 1); /* PHY status */
	wait_for(0x40028010, 1, 0);
	assert_int_equal(in(0x40028014) & 1 << 2, 1 << 2); /* link is up */
	wait_for(0x50000010, 1u << 31, 1u << 31);          /* OTG_FS is idle */
	set(0x50000010, 1);
	wait_for(0x50000010, 1, 0);
	out(0x40012c0c, 8 | 1 << 6 | 1 << 10); /* SDIO command */
	wait_for(0x40012c34, 1 << 6, 1 << 6);
	out(0x40007408, 0x123); /* DAC */
	assert_int_equal(in(0x4000742c), 0x123);
}

static void test_f429_display(void **state)
{
	(void)state;
	out(0x40016824, 1); /* LTDC.SRCR.IMR */
	wait_for(0x40016824, 1, 0);
	set(0x4002b000, 1); /* DMA2D */
	wait_for(0x4002b000, 1, 0);
	assert_int_equal(in(0x4002b004) & 2, 2);
	wait_for(0xa0000158, 1 << 5, 0); /* FMC.SDSR.BUSY */
	out(0xd0000000, 0xcafe);
	assert_int_equal(in(0xd0000000), 0xcafe);
}

#define F1(name) cmocka_unit_test_setup_teardown(test_##name, open_f1, close_chip)
#define F407(name) cmocka_unit_test_setup_teardown(test_##name, open_f407, close_chip)
#define F429(name) cmocka_unit_test_setup_teardown(test_##name, open_f429, close_chip)

int main(void)
{
	const struct CMUnitTest tests[] = {
		F1(f1_clock_tree_starts),
		F1(f1_ready_bits_follow_their_enables_both_ways),
		F1(f1_ready_bits_are_not_written),
		F1(f1_pll_and_lsi_by_bit_band),
		F1(f1_ready_flags_and_their_clear_bits),
		F1(f1_reset_flags_are_removed),
		F1(f1_reset_bits_reset_their_peripheral_alone),
		F407(f4_clock_tree_starts),
		F429(f4_clock_tree_starts),
		F429(f429_overdrive_and_sai_pll),
		F1(f1_flash_is_locked_until_both_keys_came),
		F1(f1_flash_wrong_key_locks_until_reset),
		F1(f1_flash_programs_half_words_and_erases_pages),
		F1(f1_flash_takes_half_words_alone),
		F1(f1_flash_is_busy_and_tells_the_end),
		F1(f1_flash_programs_what_is_erased),
		F1(f1_flash_protected_pages_stay),
		F1(f1_option_bytes_have_their_keys),
		F407(f4_flash_programs_words_and_erases_sectors),
		F429(f4_flash_programs_words_and_erases_sectors),
		F407(f4_flash_end_is_told_if_asked_for),
		F407(f4_flash_width_is_what_psize_says),
		F407(f4_flash_protected_sectors_stay),
		F429(f429_flash_has_two_banks),
		F1(f1_pins_set_clear_and_read_back),
		F1(f1_inputs_keep_what_the_test_gives),
		F1(f1_pull_ups_show_until_the_test_presses),
		F1(f1_pin_lock),
		F407(f4_pins_set_clear_and_read_back),
		F1(f1_external_interrupts),
		F1(f1_uarts_speak),
		F407(f4_uarts_speak),
		F1(f1_spi_exchanges),
		F407(f4_spi_exchanges),
		F1(i2c_writes),
		F1(i2c_reads),
		F407(i2c_writes),
		F407(i2c_reads),
		F407(f4_i2c_reset_and_noise_filter),
		F1(can_leaves_initialisation),
		F407(can_leaves_initialisation),
		F1(f1_adc_calibrates_and_converts),
		F407(f4_adc_converts),
		F1(f1_timers_count),
		F407(f4_timers_count),
		F1(systick_counts_and_its_flag_clears_on_read),
		F407(systick_counts_and_its_flag_clears_on_read),
		F1(cycle_counter_counts_when_enabled),
		F1(f1_watchdog),
		F1(f1_dma_completes),
		F407(f4_dma_completes),
		F1(f1_dma_copies_memory),
		F407(f4_dma_copies_memory),
		F1(crc_calculates),
		F407(crc_calculates),
		F1(f1_backup_registers_are_protected),
		F1(f1_rtc_starts),
		F407(f4_rtc_starts),
		F1(nvic_set_and_clear_are_one),
		F429(nvic_set_and_clear_are_one),
		F1(priorities_have_four_bits),
		F1(system_control),
		F1(printing_by_itm_does_not_wait),
		F407(f4_rest_of_the_house),
		F429(f429_display),
	};

	return cmocka_run_group_tests_name("templates_stm32", tests, NULL, NULL);
}
