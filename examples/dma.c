/* SPDX-License-Identifier: MIT */
/* CFLAGS: -include regmap/arm_host.h -Wno-int-to-pointer-cast -Wno-pointer-to-int-cast */
/* LDLIBS: -no-pie -Wl,--section-start=.sram=0x20000000 -Wl,--section-start=.regmap_far=0x7e9000000000 */
/*
 * A driver that gives a DMA controller addresses of 32 bits. The buffers lie at SRAM addresses, where the linker
 * puts them; the chip adopts these, and a model moves the bytes. regmap-firmware.mk has the flags.
 */
#include <stdint.h>
#include <stdio.h>

#include <regmap/firmware.h>

static char from[32] __attribute__((section(".sram"))) = "moved by 32-bit addresses";
static char to[32] __attribute__((section(".sram")));

static volatile uint32_t *const dma = (uint32_t *)0x40020000; /* ISR, IFCR, CCR1, CNDTR1, ... */

static void copy(const void *source, void *target, uint32_t bytes)
{
	dma[3] = bytes;
	dma[4] = (uint32_t)target;
	dma[5] = (uint32_t)source;
	dma[2] = 1; /* EN */
	while (!(dma[0] & 2))
		;
}

/* The hardware: EN starts it. */
static void move(void *ctx, struct regmap_device *chip, const struct regmap_register *reg,
                 uint64_t offset, unsigned width, uint64_t value)
{
	uint64_t source, target, bytes;
	uint8_t byte;

	(void)ctx, (void)reg, (void)offset, (void)width, (void)value;
	if (regmap_device_peek(chip, "DMA1.CMAR1", &source) ||
	    regmap_device_peek(chip, "DMA1.CPAR1", &target) ||
	    regmap_device_peek(chip, "DMA1.CNDTR1", &bytes))
		return;
	while (bytes--)
		if (regmap_device_read(chip, source++, &byte, 1) ||
		    regmap_device_write(chip, target++, &byte, 1))
			return;
}

int main(void)
{
	struct regmap_model model = {.size = sizeof(model), .written = move};
	struct regmap_device *chip;
	struct regmap_error error;

	if (regmap_device_from_template("STM32F103", &chip, &error) ||
	    regmap_device_adopt(chip, &error))
		return fprintf(stderr, "%s\n", error.text), 1;
	if (regmap_device_attach(chip, "DMA1.CCR1", &model, NULL))
		return 1;
	copy(from, to, sizeof(from));
	printf("%s, from page 0x%x\n", to, (uint32_t)from >> 12);
	return 0;
}
