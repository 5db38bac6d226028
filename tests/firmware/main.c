/* SPDX-License-Identifier: MIT */
/*
 * Firmware that brings up the board, tries each driver and says what it found. It was written for the
 * chip; what is left of the host in it is the printf() at the end.
 */
#include <stdio.h>
#include <string.h>

#include "drivers.h"

static unsigned failures;

/* What DMA is to reach. */
static struct {
	uint8_t from[16], to[16];
} buffers __attribute__((section(".sram"))) = {.from = "in SRAM"};

static void expect(const char *what, int ok)
{
	if (!ok) {
		failures++;
		printf("firmware: %s failed\n", what);
	}
}

static void try_flash(void)
{
	static const char text[] = "settings of the board";
	uint32_t page = FLASH_BASE + 0x1FC00;

	expect("flash unlock", flash_unlock() == 0);
	expect("flash erase", flash_erase_page(page) == 0);
	expect("flash is erased", *(volatile uint32_t *)(uintptr_t)page == 0xFFFFFFFF);
	expect("flash program", flash_program(page, text, sizeof(text)) == 0);
	expect("flash content", memcmp((const void *)(uintptr_t)page, text, sizeof(text)) == 0);
	expect("flash lock", flash_lock() == 0);
}

static void try_spi(void)
{
	static const uint8_t out[] = {0x9F, 0x00, 0x55, 0xAA};
	uint8_t in[sizeof(out)];

	spi_init(SPI1);
	expect("spi transfer", spi_transfer(SPI1, out, in, sizeof(out)) == 0);
}

static void try_pins(void)
{
	RCC->APB2ENR |= RCC_APB2ENR_IOPCEN;
	gpio_configure(GPIOC, 13, GPIO_OUTPUT);
	gpio_write(GPIOC, 13, 1);
	expect("gpio high", gpio_read(GPIOC, 13) == 1);
	gpio_toggle(GPIOC, 13);
	expect("gpio low", gpio_read(GPIOC, 13) == 0);
	expect("gpio lock", gpio_lock(GPIOC, 1u << 13) == 0);
}

static void try_dma(void)
{
	uint32_t from = (uint32_t)(uintptr_t)buffers.from, to = (uint32_t)(uintptr_t)buffers.to;

	expect("buffers in SRAM", from == SRAM_BASE && memcmp(buffers.from, "in SRAM", 8) == 0);
	expect("dma", dma_copy(to, from, sizeof(buffers.to)) == 0);
	expect("dma addresses", DMA1_Channel1->CMAR == from && DMA1_Channel1->CPAR == to);
	*(volatile uint8_t *)(uintptr_t)from = 'I';
	expect("SRAM by address", buffers.from[0] == 'I');
}

static void try_core(void)
{
	static volatile uint32_t counter;
	uint32_t before = critical_enter();

	expect("primask", __get_PRIMASK() == 1);
	critical_leave(before);
	expect("primask restored", __get_PRIMASK() == before);
	counter_add(&counter, 40);
	expect("exclusive add", counter_add(&counter, 2) == 42);
	sleep_until_interrupt();
}

int main(void)
{
	expect("clock", clock_init() == 0);
	expect("72 MHz", clock_frequency() == 72000000);
	expect("lsi", clock_start_lsi() == 0);
	try_pins();
	expect("uart", uart_init(USART1, clock_frequency(), 115200) == 0);
	expect("uart send", uart_send(USART1, "hello\r\n") == 7);
	try_spi();
	expect("adc", adc_init(ADC1) == 0);
	expect("adc read", adc_read(ADC1, 3) >= 0);
	expect("systick", systick_init(72000) == 0);
	expect("delay", systick_delay(3) == 0);
	try_flash();
	try_dma();
	try_core();
	printf("firmware: %u failures at %lu Hz\n", failures, (unsigned long)clock_frequency());
	return failures != 0;
}
