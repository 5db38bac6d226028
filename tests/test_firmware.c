/* SPDX-License-Identifier: MIT */
/* CFLAGS: -include regmap/arm_host.h -Itests -Wno-int-to-pointer-cast */
/* LDLIBS: -no-pie -Wl,--section-start=.sram=0x20000000 -Wl,--section-start=.regmap_far=0x7e9000000000 */
/*
 * Drivers for an STM32F103, unmodified, each in a test of its own on the described chip. What the rules of the
 * template don't do is played by a model, or by poking what the hardware would say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <regmap/firmware.h>

#include "firmware/drivers.h"

/* Each has a wait_for() of its own. */
#define wait_for clock_wait_for
#include "firmware/clock.c"
#undef TIMEOUT
#undef wait_for
#include "firmware/gpio.c"
#define wait_for uart_wait_for
#include "firmware/uart.c"
#undef TIMEOUT
#undef wait_for
#define wait_for spi_wait_for
#include "firmware/spi.c"
#undef TIMEOUT
#undef wait_for
#include "firmware/adc.c"
#undef TIMEOUT
#include "firmware/systick.c"
#undef TIMEOUT
#define wait flash_wait
#include "firmware/flash.c"
#undef TIMEOUT
#undef wait
#include "firmware/dma.c"
#include "firmware/critical.c"

static struct regmap_device *chip;

/* Buffers that DMA is to reach, and a stack. */
static uint8_t dma_from[32] __attribute__((section(".sram"))) = "by address of 32 bits";
static uint8_t dma_to[32] __attribute__((section(".sram")));
static uint8_t stack[8192] __attribute__((section(".sram"), aligned(16)));

static int take_chip(void **state)
{
	struct regmap_error error;

	(void)state;
	if (regmap_device_from_template("stm32f103", &chip, &error) ||
	    regmap_device_adopt(chip, &error)) {
		print_error("%s\n", error.text);
		return -1;
	}
	return 0;
}

static int reset_chip(void **state)
{
	(void)state;
	return regmap_device_reset(chip, false);
}

#define assert_register(name, expected) \
	do { \
		uint64_t regmap_value = 0; \
		assert_int_equal(regmap_device_peek(chip, name, &regmap_value), 0); \
		assert_int_equal(regmap_value, expected); \
	} while (0)
#define poke(name, value) assert_int_equal(regmap_device_poke(chip, name, value), 0)

static struct regmap_model model_of(struct regmap_model model)
{
	model.size = sizeof(model);
	return model;
}

static void attach(const char *name, struct regmap_model model, void *ctx)
{
	struct regmap_model sized = model_of(model);

	assert_int_equal(regmap_device_attach(chip, name, &sized, ctx), 0);
}

static void detach(const char *name)
{
	assert_int_equal(regmap_device_attach(chip, name, NULL, NULL), 0);
}

/* --- clock --- */

static void test_firmware_clock_runs_at_72_mhz(void **state)
{
	(void)state;
	assert_int_equal(clock_frequency(), 8000000);
	assert_int_equal(clock_init(), 0);
	assert_int_equal(clock_frequency(), 72000000);
	assert_register("RCC.CR.HSEON", 1);
	assert_register("RCC.CR.PLLON", 1);
	assert_register("RCC.CFGR.SWS", 2);
	assert_register("FLASH.ACR.LATENCY", 2);
}

static void test_firmware_clock_lsi_is_started_by_bit_band(void **state)
{
	(void)state;
	assert_register("RCC.CSR.LSION", 0);
	assert_int_equal(clock_start_lsi(), 0);
	assert_register("RCC.CSR.LSION", 1);
}

static int no_crystal(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                      uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	*value &= ~(uint64_t)RCC_CR_HSERDY;
	return 0;
}

static void test_firmware_clock_gives_up_without_a_crystal(void **state)
{
	(void)state;
	attach("RCC.CR", (struct regmap_model){.read = no_crystal}, NULL);
	assert_int_equal(clock_init(), -1);
	detach("RCC.CR");
}

/* --- pins --- */

static void test_firmware_gpio_drives_a_pin(void **state)
{
	(void)state;
	gpio_configure(GPIOC, 13, GPIO_OUTPUT);
	assert_register("GPIOC.CRH", 0x44344444);
	gpio_write(GPIOC, 13, 1);
	assert_register("GPIOC.ODR", 1u << 13);
	assert_int_equal(gpio_read(GPIOC, 13), 1);
	gpio_toggle(GPIOC, 13);
	assert_int_equal(gpio_read(GPIOC, 13), 0);
	gpio_write(GPIOC, 13, 1);
	gpio_write(GPIOC, 13, 0);
	assert_register("GPIOC.ODR", 0);
}

static void test_firmware_gpio_reads_what_a_test_says(void **state)
{
	(void)state;
	gpio_configure(GPIOA, 3, GPIO_FLOATING);
	assert_int_equal(gpio_read(GPIOA, 3), 0);
	poke("GPIOA.IDR.IDR3", 1);
	assert_int_equal(gpio_read(GPIOA, 3), 1);
}

static void test_firmware_gpio_lock_takes_the_sequence(void **state)
{
	(void)state;
	assert_int_equal(gpio_lock(GPIOA, 0x0005), 0);
	assert_register("GPIOA.LCKR", 0x10005);
}

/* --- UART --- */

struct line {
	char text[64];
	unsigned length;
};

static void hear(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                 uint64_t offset, unsigned width, uint64_t value)
{
	struct line *line = ctx;

	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	if (line->length < sizeof(line->text) - 1)
		line->text[line->length++] = (char)value;
}

static void test_firmware_uart_sends(void **state)
{
	struct line line = {.length = 0};

	(void)state;
	attach("USART1.DR", (struct regmap_model){.written = hear}, &line);
	assert_int_equal(uart_init(USART1, 72000000, 115200), 0);
	assert_register("USART1.BRR", 625);
	assert_register("RCC.APB2ENR.USART1EN", 1);
	assert_int_equal(uart_send(USART1, "hello, world\r\n"), 14);
	assert_string_equal(line.text, "hello, world\r\n");
	detach("USART1.DR");
}

static void test_firmware_uart_receives(void **state)
{
	(void)state;
	uart_init(USART1, 72000000, 9600);
	poke("USART1.DR", 'x');
	poke("USART1.SR.RXNE", 1);
	assert_int_equal(uart_receive(USART1), 'x');
	assert_register("USART1.SR.RXNE", 0);
	assert_int_equal(uart_receive(USART1), -1);
}

/* --- SPI, ADC, SysTick --- */

static int flash_chip(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                      uint64_t offset, unsigned width, uint64_t *value)
{
	static const uint8_t id[] = {0xFF, 0xEF, 0x40, 0x18};
	unsigned *count = ctx;

	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	*value = id[(*count)++ % 4];
	return 0;
}

static void test_firmware_spi_reads_the_id_of_a_flash(void **state)
{
	uint8_t command[4] = {0x9F}, id[4];
	unsigned count = 0;

	(void)state;
	attach("SPI1.DR", (struct regmap_model){.read = flash_chip}, &count);
	spi_init(SPI1);
	assert_int_equal(spi_transfer(SPI1, command, id, sizeof(id)), 0);
	assert_memory_equal(id, "\xFF\xEF\x40\x18", 4);
	assert_int_equal(count, 4);
	detach("SPI1.DR");
}

static int sensor(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                  uint64_t offset, unsigned width, uint64_t *value)
{
	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	*value = *(uint16_t *)ctx;
	return 0;
}

static void test_firmware_adc_calibrates_and_converts(void **state)
{
	uint16_t value = 0xABC;

	(void)state;
	attach("ADC1.DR", (struct regmap_model){.read = sensor}, &value);
	assert_int_equal(adc_init(ADC1), 0);
	assert_register("ADC1.CR2.CAL", 0);
	assert_int_equal(adc_read(ADC1, 3), 0xABC);
	assert_register("ADC1.SQR3", 3);
	value = 0x123;
	assert_int_equal(adc_read(ADC1, 4), 0x123);
	detach("ADC1.DR");
}

static void test_firmware_systick_delays(void **state)
{
	(void)state;
	assert_int_equal(systick_init(72000), 0);
	assert_register("SysTick.LOAD", 71999);
	assert_int_equal(systick_delay(3), 0);
	assert_register("SysTick.CTRL.COUNTFLAG", 0);
	assert_int_equal(systick_init(0x2000000), -1);
}

/* --- flash --- */

static void test_firmware_flash_erases_and_programs(void **state)
{
	static const char text[] = "a page of settings";
	uint32_t page = FLASH_BASE + 0x1F800;

	(void)state;
	assert_int_equal(flash_unlock(), 0);
	assert_int_equal(flash_program(page, text, sizeof(text)), 0);
	assert_memory_equal((void *)(uintptr_t)page, text, sizeof(text));
	/* Bits that are 0 stay so until the page is erased. */
	assert_true(flash_program(page, "XXXXXXXXXXXX", 12) < 0);
	reset_chip(NULL);
	assert_int_equal(flash_unlock(), 0);
	assert_int_equal(flash_erase_page(page), 0);
	assert_int_equal(*(volatile uint32_t *)(uintptr_t)page, 0xFFFFFFFF);
	assert_int_equal(flash_program(page, "other", 6), 0);
	assert_string_equal((const char *)(uintptr_t)page, "other");
	assert_int_equal(flash_lock(), 0);
	assert_register("FLASH.CR.LOCK", 1);
}

/* --- DMA: a model that reads the addresses that the driver wrote --- */

static void play_dma(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                     uint64_t offset, unsigned width, uint64_t value)
{
	uint64_t from, to, count;
	uint8_t byte;

	(void)ctx;
	(void)reg;
	(void)offset;
	(void)width;
	if (!(value & DMA_CCR_EN) || regmap_device_peek(device, "DMA1.CMAR1", &from) ||
	    regmap_device_peek(device, "DMA1.CPAR1", &to) ||
	    regmap_device_peek(device, "DMA1.CNDTR1", &count))
		return;
	for (; count; count--)
		if (regmap_device_read(device, from++, &byte, 1) ||
		    regmap_device_write(device, to++, &byte, 1))
			return;
	poke("DMA1.ISR.TCIF1", 1);
}

static void test_firmware_dma_copies_by_addresses_of_32_bits(void **state)
{
	(void)state;
	attach("DMA1.CCR1", (struct regmap_model){.written = play_dma}, NULL);
	memset(dma_to, 0, sizeof(dma_to));
	assert_int_equal(dma_copy((uint32_t)(uintptr_t)dma_to, (uint32_t)(uintptr_t)dma_from,
	                          sizeof(dma_to)),
	                 0);
	assert_string_equal((const char *)dma_to, "by address of 32 bits");
	assert_register("DMA1.CMAR1", (uintptr_t)dma_from);
	detach("DMA1.CCR1");
}

static int copy_locals(void *arg)
{
	char from[16] = "on the stack", to[16] = "";

	*(int *)arg = dma_copy((uint32_t)(uintptr_t)to, (uint32_t)(uintptr_t)from, 16);
	return strcmp(from, to);
}

static void test_firmware_dma_reaches_local_variables(void **state)
{
	int copied = 1, different = 1;

	(void)state;
	attach("DMA1.CCR1", (struct regmap_model){.written = play_dma}, NULL);
	assert_int_equal(regmap_run_on_stack(copy_locals, &copied, stack, sizeof(stack),
	                                     &different),
	                 0);
	assert_int_equal(copied, 0);
	assert_int_equal(different, 0);
	detach("DMA1.CCR1");
}

/* --- core --- */

static void test_firmware_critical_sections_mask_interrupts(void **state)
{
	uint32_t outer, inner;

	(void)state;
	outer = critical_enter();
	assert_int_equal(outer, 0);
	assert_register("CORE.PRIMASK", 1);
	inner = critical_enter();
	assert_int_equal(inner, 1);
	critical_leave(inner);
	assert_register("CORE.PRIMASK", 1);
	critical_leave(outer);
	assert_register("CORE.PRIMASK", 0);
}

static void test_firmware_core_registers_behave(void **state)
{
	(void)state;
	__set_BASEPRI(0x57);
	assert_int_equal(__get_BASEPRI(), 0x50);
	__set_BASEPRI_MAX(0x80); /* doesn't lower it */
	assert_int_equal(__get_BASEPRI(), 0x50);
	__set_BASEPRI_MAX(0x20);
	assert_int_equal(__get_BASEPRI(), 0x20);
	__set_BASEPRI_MAX(0);
	assert_int_equal(__get_BASEPRI_MAX(), 0x20);
	__set_BASEPRI(0);
	__set_BASEPRI_MAX(0xC0);
	assert_int_equal(__get_BASEPRI(), 0xC0);
	__set_PRIMASK(0xFF);
	assert_int_equal(__get_PRIMASK(), 1);
	__set_CONTROL(0xFF);
	assert_int_equal(__get_CONTROL() & 3, 3);
	__set_MSP(0x20005003);
	assert_int_equal(__get_MSP(), 0x20005000);
	__set_IPSR(5);
	assert_int_equal(__get_IPSR(), 0);
	poke("CORE.IPSR", 15);
	assert_int_equal(__get_IPSR(), 15);
	__set_APSR(0xFFFFFFFF);
	assert_int_equal(__get_APSR(), 0xF80F0000);
	assert_int_equal(__get_xPSR(), 0xF80F000F);
	__SEV();
	assert_register("CORE.EVENT", 1);
	__WFE();
	assert_register("CORE.EVENT", 0);
}

static void test_firmware_core_window_is_in_each_cortex_m(void **state)
{
	static const char *const names[] = {"STM32F103", "STM32F407", "STM32F429"};
	struct regmap_layout *layout;
	struct regmap_place place;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(regmap_layout_from_template(names[i], &layout, NULL), 0);
		assert_int_equal(regmap_layout_find(layout, "CORE.PRIMASK", &place), 0);
		assert_int_equal(place.address, REGMAP_ARM_CORE + REGMAP_ARM_PRIMASK);
		assert_int_equal(regmap_layout_find(layout, "CORE.EVENT", &place), 0);
		assert_int_equal(place.address, REGMAP_ARM_CORE + REGMAP_ARM_EVENT);
		regmap_layout_free(layout);
	}
}

static void test_firmware_counter_is_added_exclusively(void **state)
{
	volatile uint32_t counter = 40;

	(void)state;
	assert_int_equal(counter_add(&counter, 2), 42);
	assert_int_equal(counter, 42);
}

static volatile unsigned ticks;

static void SysTick_Handler(void)
{
	ticks++;
}

static void play_interrupt(void *ctx, struct regmap_device *device,
                           const struct regmap_register *reg, uint64_t offset, unsigned width,
                           uint64_t value)
{
	(void)ctx;
	(void)device;
	(void)reg;
	(void)offset;
	(void)width;
	(void)value;
	poke("CORE.IPSR", 15);
	SysTick_Handler();
	poke("CORE.IPSR", 0);
}

static void test_firmware_sleeps_until_a_model_interrupts(void **state)
{
	(void)state;
	attach("CORE.WFI", (struct regmap_model){.written = play_interrupt}, NULL);
	ticks = 0;
	sleep_until_interrupt();
	sleep_until_interrupt();
	assert_int_equal(ticks, 2);
	detach("CORE.WFI");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_firmware_clock_runs_at_72_mhz, reset_chip),
		cmocka_unit_test_setup(test_firmware_clock_lsi_is_started_by_bit_band, reset_chip),
		cmocka_unit_test_setup(test_firmware_clock_gives_up_without_a_crystal, reset_chip),
		cmocka_unit_test_setup(test_firmware_gpio_drives_a_pin, reset_chip),
		cmocka_unit_test_setup(test_firmware_gpio_reads_what_a_test_says, reset_chip),
		cmocka_unit_test_setup(test_firmware_gpio_lock_takes_the_sequence, reset_chip),
		cmocka_unit_test_setup(test_firmware_uart_sends, reset_chip),
		cmocka_unit_test_setup(test_firmware_uart_receives, reset_chip),
		cmocka_unit_test_setup(test_firmware_spi_reads_the_id_of_a_flash, reset_chip),
		cmocka_unit_test_setup(test_firmware_adc_calibrates_and_converts, reset_chip),
		cmocka_unit_test_setup(test_firmware_systick_delays, reset_chip),
		cmocka_unit_test_setup(test_firmware_flash_erases_and_programs, reset_chip),
		cmocka_unit_test_setup(test_firmware_dma_copies_by_addresses_of_32_bits,
	                               reset_chip),
		cmocka_unit_test_setup(test_firmware_dma_reaches_local_variables, reset_chip),
		cmocka_unit_test_setup(test_firmware_critical_sections_mask_interrupts, reset_chip),
		cmocka_unit_test_setup(test_firmware_core_registers_behave, reset_chip),
		cmocka_unit_test(test_firmware_core_window_is_in_each_cortex_m),
		cmocka_unit_test_setup(test_firmware_counter_is_added_exclusively, reset_chip),
		cmocka_unit_test_setup(test_firmware_sleeps_until_a_model_interrupts, reset_chip),
	};

	return cmocka_run_group_tests_name("firmware", tests, take_chip, NULL);
}
