/* SPDX-License-Identifier: MIT */
/* A microcontroller's clock gate, port and UART under a driver of plain volatile pointers. */
#include <errno.h>
#include <regmap/regmap.h>
#include <stdio.h>

/* The driver, as it runs on the target. */
#define RCC_APB2ENR (*(volatile uint32_t *)0x40021018)
#define GPIOA_CRH (*(volatile uint32_t *)0x40010804)
#define USART1_SR (*(volatile uint32_t *)0x40013800)
#define USART1_DR (*(volatile uint8_t *)0x40013804)

static void uart_puts(const char *text)
{
	RCC_APB2ENR |= 1 << 14 | 1 << 2;         /* clocks of USART1 and port A */
	GPIOA_CRH = (GPIOA_CRH & ~0xf0u) | 0xb0; /* PA9: alternate function */
	for (; *text; USART1_DR = (uint8_t)*text++)
		while (!(USART1_SR & 1 << 7)) /* TXE */
			;
}

/* The model. */
enum { CRH = 0x10804, SR = 0x13800, DR = 0x13804, ENR = 0x21018, CLOCKS = 1 << 14 | 1 << 2 };

static uint32_t soc[0x24000 / 4];
static unsigned busy, waits;

static int soc_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	soc[SR / 4] = busy ? 0 : 1 << 7;
	if (offset == SR && busy)
		busy--, waits++;
	*value = soc[offset / 4];
	return 0;
}

static int soc_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)width;
	if (offset != ENR && (soc[ENR / 4] & CLOCKS) != CLOCKS)
		return -EIO; /* no clock: a bus error */
	soc[offset / 4] = (uint32_t)value;
	if (offset == DR && (soc[CRH / 4] >> 4 & 0xf) == 0xb)
		busy = 3, putchar((int)value);
	return 0;
}

int main(void)
{
	const struct regmap_device_ops ops = {soc_read, soc_write};
	struct regmap_config c = {.size = sizeof(c), .backing = REGMAP_DEVICE, .ops = &ops};

	c.guest = 0x40000000, c.length = sizeof(soc), c.access = REGMAP_READ | REGMAP_WRITE;
	if (regmap_map(&c, NULL))
		return 1;
	uart_puts("hello from USART1\n");
	printf("the driver found the transmitter busy %u times\n", waits);
	return 0;
}
