/* SPDX-License-Identifier: MIT */
/* What start-up code and blocking drivers of the templates other than STM32 wait for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static uint8_t in8(uint64_t at)
{
	uint8_t value;

	assert_int_equal(regmap_device_read(chip, at, &value, 1), 0);
	return value;
}

static void out8(uint64_t at, uint8_t value)
{
	assert_int_equal(regmap_device_write(chip, at, &value, 1), 0);
}

static uint64_t in64(uint64_t at)
{
	uint64_t value;

	assert_int_equal(regmap_device_read(chip, at, &value, 8), 0);
	return value;
}

static void wait_for(uint64_t at, uint32_t mask, uint32_t value)
{
	for (unsigned i = 0; i < POLLS; i++)
		if ((in(at)&mask) == value)
			return;
	fail_msg("0x%llx never becomes 0x%x in 0x%x: it is 0x%x", (unsigned long long)at, value,
	         mask, in(at));
}

static void wait_for8(uint64_t at, uint8_t mask, uint8_t value)
{
	for (unsigned i = 0; i < POLLS; i++)
		if ((in8(at) & mask) == value)
			return;
	fail_msg("0x%llx never becomes 0x%x in 0x%x: it is 0x%x", (unsigned long long)at, value,
	         mask, in8(at));
}

static void poke(const char *name, uint64_t value)
{
	assert_int_equal(regmap_device_poke(chip, name, value), 0);
}

static int open_chip(const char *name)
{
	struct regmap_error error = {.text = ""};

	if (regmap_device_from_template(name, &chip, &error))
		fail_msg("%s: %s", name, error.text);
	return 0;
}

#define OPEN(name, template) \
	static int open_##name(void **state) \
	{ \
		(void)state; \
		return open_chip(template); \
	}
OPEN(m328, "ATmega328")
OPEN(m2560, "ATmega2560")
OPEN(esp32, "ESP32")
OPEN(esp8266, "ESP8266")
OPEN(rv32, "RV32")
OPEN(rv64, "RV64")
OPEN(a53, "CortexA53")

static int close_chip(void **state)
{
	(void)state;
	regmap_device_free(chip);
	return 0;
}

/* ---- AVR ----------------------------------------------------------------------------------------- */

#define DATA 0x800000

static void usart_speaks(uint64_t usart)
{
	assert_int_equal(in8(usart), 0x20);
	assert_int_equal(in8(usart + 2), 6);
	out8(usart + 1, 0x18);
	for (const char *c = "Hi"; *c; c++) {
		wait_for8(usart, 0x20, 0x20); /* UDRE */
		out8(usart + 6, (uint8_t)*c);
		assert_int_equal(in8(usart) & 0x60, 0);
		assert_int_equal(in8(usart + 6), *c);
	}
	wait_for8(usart, 0x40, 0x40); /* TXC */
	out8(usart, 0x40);
	assert_int_equal(in8(usart) & 0x40, 0);
}

static void test_avr_usart_speaks(void **state)
{
	(void)state;
	usart_speaks(DATA + 0xc0);
	poke("USART0.UCSR0A.RXC0", 1);
	poke("USART0.UDR0", 'x');
	wait_for8(DATA + 0xc0, 0x80, 0x80);
	assert_int_equal(in8(DATA + 0xc6), 'x');
	assert_int_equal(in8(DATA + 0xc0) & 0x80, 0);
}

static void test_avr_all_four_usarts_speak(void **state)
{
	(void)state;
	usart_speaks(DATA + 0xc0);
	usart_speaks(DATA + 0xc8);
	usart_speaks(DATA + 0xd0);
	usart_speaks(DATA + 0x130);
}

static void test_avr_pins(void **state)
{
	(void)state;
	out8(DATA + 0x24, 0x20); /* DDRB */
	out8(DATA + 0x25, 0x20);
	assert_int_equal(in8(DATA + 0x23), 0x20);
	out8(DATA + 0x23, 0x20); /* PINB toggles */
	assert_int_equal(in8(DATA + 0x25), 0);
	assert_int_equal(in8(DATA + 0x23), 0);
	out8(DATA + 0x25, 0x01); /* a pull-up */
	assert_int_equal(in8(DATA + 0x23), 0x01);
	poke("PORTB.PINB.PINB0", 0);
	out8(DATA + 0x25, 0x21);
	assert_int_equal(in8(DATA + 0x23), 0x20);
}

static void test_avr_adc_converts(void **state)
{
	(void)state;
	poke("ADC.ADC", 0x2a5);
	out8(DATA + 0x7a, 0xc7); /* ADEN, ADSC */
	assert_int_equal(in8(DATA + 0x7a) & 0x40, 0x40);
	wait_for8(DATA + 0x7a, 0x40, 0);
	assert_int_equal(in8(DATA + 0x7a) & 0x10, 0x10);
	assert_int_equal(in8(DATA + 0x78), 0xa5);
	assert_int_equal(in8(DATA + 0x79), 0x02);
	out8(DATA + 0x7a, 0x97);
	assert_int_equal(in8(DATA + 0x7a) & 0x10, 0);
}

static void test_avr_spi_transfers(void **state)
{
	(void)state;
	out8(DATA + 0x4c, 0x50);
	out8(DATA + 0x4e, 0x9f);
	wait_for8(DATA + 0x4d, 0x80, 0x80);
	assert_int_equal(in8(DATA + 0x4e), 0x9f);
	assert_int_equal(in8(DATA + 0x4d) & 0x80, 0);
}

static void eeprom_write(uint16_t at, uint8_t value)
{
	wait_for8(DATA + 0x3f, 0x02, 0);
	assert_int_equal(regmap_device_write(chip, DATA + 0x41, &at, 2), 0);
	out8(DATA + 0x40, value);
	out8(DATA + 0x3f, in8(DATA + 0x3f) | 0x04); /* EEMPE */
	out8(DATA + 0x3f, in8(DATA + 0x3f) | 0x02); /* EEPE */
	assert_int_equal(in8(DATA + 0x3f) & 0x02, 0x02);
	wait_for8(DATA + 0x3f, 0x06, 0);
}

static uint8_t eeprom_read(uint16_t at)
{
	assert_int_equal(regmap_device_write(chip, DATA + 0x41, &at, 2), 0);
	out8(DATA + 0x3f, in8(DATA + 0x3f) | 0x01); /* EERE */
	return in8(DATA + 0x40);
}

static void test_avr_eeprom_is_written_and_read(void **state)
{
	(void)state;
	assert_int_equal(eeprom_read(0x3ff), 0xff);
	eeprom_write(0x3ff, 0x5a);
	eeprom_write(0x3fe, 0xa5);
	assert_int_equal(eeprom_read(0x3ff), 0x5a);
	assert_int_equal(eeprom_read(0x3fe), 0xa5);
	assert_int_equal(in8(0x8103ff), 0x5a); /* in its own address space */
	out8(DATA + 0x3f, 0x20);               /* EEPM: write alone */
	eeprom_write(0x3fe, 0x0f);
	assert_int_equal(in8(0x8103fe), 0x05);
	out8(DATA + 0x40, 0);
	out8(DATA + 0x3f, 0x02); /* without EEMPE */
	assert_int_equal(in8(DATA + 0x3f) & 0x02, 0);
	assert_int_equal(in8(0x8103fe), 0x05);
}

static void test_avr_self_programming_ends(void **state)
{
	(void)state;
	out8(DATA + 0x57, 0x03); /* SPMCSR */
	wait_for8(DATA + 0x57, 0x01, 0);
}

static void test_avr_timers_count(void **state)
{
	uint8_t first;

	(void)state;
	first = in8(DATA + 0x46);
	assert_int_equal(in8(DATA + 0x46), first);
	out8(DATA + 0x45, 1);
	first = in8(DATA + 0x46);
	assert_int_not_equal(in8(DATA + 0x46), first);
	wait_for8(DATA + 0x35, 0x01, 0x01); /* TOV0 */
	out8(DATA + 0x35, 0x01);
	assert_int_equal(in8(DATA + 0x35) & 0x01, 0);
	out8(DATA + 0x81, 1);
	wait_for8(DATA + 0x36, 0x01, 0x01); /* TOV1 */
	wait_for8(DATA + 0x36, 0x02, 0x02); /* OCF1A */
}

static uint8_t twi(uint8_t control)
{
	out8(DATA + 0xbc, 0x84 | control);
	wait_for8(DATA + 0xbc, 0x80, 0x80);
	return in8(DATA + 0xb9) & 0xf8;
}

static void test_avr_twi_talks_to_a_device(void **state)
{
	(void)state;
	assert_int_equal(in8(DATA + 0xb9), 0xf8);
	assert_int_equal(twi(0x20), 0x08); /* start */
	out8(DATA + 0xbb, 0xa0);
	assert_int_equal(twi(0), 0x18);
	out8(DATA + 0xbb, 0x12);
	assert_int_equal(twi(0), 0x28);
	assert_int_equal(twi(0x20), 0x10); /* once more */
	out8(DATA + 0xbb, 0xa1);
	assert_int_equal(twi(0), 0x40);
	assert_int_equal(twi(0x40), 0x50);
	assert_int_equal(twi(0), 0x58);
	out8(DATA + 0xbc, 0x94); /* stop */
	wait_for8(DATA + 0xbc, 0x10, 0);
	assert_int_equal(twi(0x20), 0x08);
}

/* ---- ESP ----------------------------------------------------------------------------------------- */

static void test_esp32_waits_end(void **state)
{
	(void)state;
	out(0x3ff40000, 'x'); /* UART0 */
	wait_for(0x3ff4001c, 0xff << 16, 0);
	assert_int_equal(in(0x3ff40004) & 1 << 14, 1 << 14);
	out(0x3ff40010, 1 << 14);
	assert_int_equal(in(0x3ff40004) & 1 << 14, 0);
	out(0x3ff4800c, 1u << 31); /* RTC time */
	wait_for(0x3ff4800c, 1 << 30, 1 << 30);
	assert_int_not_equal(in(0x3ff48010), 0);
	out(0x3ff5f068, 1u << 31 | 1024 << 16); /* calibration of the slow clock */
	wait_for(0x3ff5f068, 1 << 15, 1 << 15);
	assert_int_equal(in(0x3ff5f06c) >> 7, 1024 * 40000 / 150);
	out(0x3ff64000, 1 << 18); /* SPI2 */
	wait_for(0x3ff64000, 1 << 18, 0);
	out(0x3ff53004, 1 << 4 | 1 << 5); /* I2C0 */
	wait_for(0x3ff53020, 1 << 7, 1 << 7);
	out(0x3ff00040, 0x10); /* cache flush */
	wait_for(0x3ff00040, 0x20, 0x20);
	wait_for(0x3ff003f0, 0x7ff80, 0x80);
	out(0x3ff44024, 1 << 2); /* GPIO2 */
	out(0x3ff44008, 1 << 2);
	assert_int_equal(in(0x3ff4403c), 1 << 2);
	out(0x3ff4400c, 1 << 2);
	assert_int_equal(in(0x3ff4403c), 0);
	assert_int_not_equal(in(0x3ff75144), in(0x3ff75144));
}

static void test_esp8266_waits_end(void **state)
{
	uint32_t last;

	(void)state;
	out(0x60000f00, 'x'); /* UART1 */
	wait_for(0x60000f1c, 0xff << 16, 0);
	out(0x60000100, 1 << 18);
	wait_for(0x60000100, 1 << 18, 0);
	out(0x60000310, 1 << 2);
	out(0x60000304, 1 << 2);
	assert_int_equal(in(0x60000318), 1 << 2);
	last = in(0x60000624);
	assert_true(in(0x60000624) > last);
	out(0x60001000, 0x1234); /* RTC memory */
	assert_int_equal(in(0x60001000), 0x1234);
}

/* ---- RISC-V, Cortex-A ---------------------------------------------------------------------------------- */

static void test_rv32_clocks_and_uart(void **state)
{
	uint64_t last;

	(void)state;
	wait_for(0x10008000, 1u << 31, 1u << 31); /* hfroscrdy */
	out(0x10008004, 1 << 30);
	wait_for(0x10008004, 1u << 31, 1u << 31); /* hfxoscrdy */
	assert_int_equal(in(0x10008008) >> 31, 0);
	out(0x10008008, 1 << 17 | 0x1f1); /* not bypassed */
	wait_for(0x10008008, 1u << 31, 1u << 31);
	out(0x10008000, in(0x10008000) & ~(1u << 30));
	wait_for(0x10008000, 1u << 31, 0);
	wait_for(0x10013000, 1u << 31, 0); /* txdata isn't full */
	out(0x10013000, 'x');
	wait_for(0x10013000, 1u << 31, 0);
	assert_int_equal(in(0x10013004) >> 31, 1); /* rxdata is empty */
	poke("UART0.rxdata", 'y');
	assert_int_equal(in(0x10013004), 'y');
	assert_int_equal(in(0x10013004) >> 31, 1);
	out(0x10024048, 0x5a); /* SPI1 */
	assert_int_equal(in(0x1002404c), 0x5a);
	assert_int_equal(in(0x1002404c) >> 31, 1);
	last = in64(0x0200bff8);
	assert_true(in64(0x0200bff8) > last);
	out(0x10012008, 1 << 19);
	out(0x10012004, 1 << 19);
	out(0x1001200c, 1 << 19);
	assert_int_equal(in(0x10012000), 1 << 19);
}

static void test_rv64_uart_and_time(void **state)
{
	uint64_t last = in64(0x0200bff8);

	(void)state;
	assert_true(in64(0x0200bff8) > last);
	for (const char *c = "Hi"; *c; c++) {
		wait_for8(0x10000005, 0x20, 0x20); /* LSR.THRE */
		out8(0x10000000, (uint8_t)*c);
	}
	wait_for8(0x10000005, 0x60, 0x60);
	assert_int_equal(in(0x10001000), 0x74726976);
	assert_int_equal(in(0x10008008), 0); /* no device */
}

static void test_a53_uart_and_interrupts(void **state)
{
	(void)state;
	for (const char *c = "Hi"; *c; c++) {
		wait_for(0x09000018, 1 << 5, 0); /* FR.TXFF */
		out(0x09000000, (uint8_t)*c);
	}
	wait_for(0x09000018, 1 << 3, 0); /* FR.BUSY */
	wait_for(0x09000018, 1 << 4, 1 << 4);
	poke("UART0.FR.RXFE", 0);
	poke("UART0.DR", 'x');
	assert_int_equal(in(0x09000000), 'x');
	assert_int_equal(in(0x09000018) & 1 << 4, 1 << 4);
	out(0x08000104, 1 << 3);
	assert_int_equal(in(0x08000184), 1 << 3);
	out(0x08000184, 1 << 3);
	assert_int_equal(in(0x08000104), 0);
	assert_int_equal(in(0x0801000c), 0x3ff); /* nothing is pending */
	out(0x080a0014, 0);
	wait_for(0x080a0014, 1 << 2, 0);
	assert_int_equal(in(0x0a003e00), 0x74726976);
}

#define T(name, device) cmocka_unit_test_setup_teardown(test_##name, open_##device, close_chip)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(avr_usart_speaks, m328),
		T(avr_usart_speaks, m2560),
		T(avr_all_four_usarts_speak, m2560),
		T(avr_pins, m328),
		T(avr_pins, m2560),
		T(avr_adc_converts, m328),
		T(avr_adc_converts, m2560),
		T(avr_spi_transfers, m328),
		T(avr_spi_transfers, m2560),
		T(avr_eeprom_is_written_and_read, m328),
		T(avr_eeprom_is_written_and_read, m2560),
		T(avr_self_programming_ends, m328),
		T(avr_self_programming_ends, m2560),
		T(avr_timers_count, m328),
		T(avr_timers_count, m2560),
		T(avr_twi_talks_to_a_device, m328),
		T(avr_twi_talks_to_a_device, m2560),
		T(esp32_waits_end, esp32),
		T(esp8266_waits_end, esp8266),
		T(rv32_clocks_and_uart, rv32),
		T(rv64_uart_and_time, rv64),
		T(a53_uart_and_interrupts, a53),
	};

	return cmocka_run_group_tests_name("templates_others", tests, NULL, NULL);
}
