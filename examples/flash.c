/* SPDX-License-Identifier: MIT */
/* A NOR flash: reads are free, writes are commands. And its mirror at the boot address. */
#include <regmap/regmap.h>
#include <stdio.h>
#include <string.h>

enum { FLASH = 0x08000000, BOOT = 0x10000000, SIZE = 64 << 10, SECTOR = 4 << 10 };

static struct flash {
	uint8_t *cells;
	unsigned commands, unlocked, programs; /* programs: the next write is data */
} flash;

/* 0xaa, 0x55, then: 0xa0 and data, which clears bits, or 0x30, which erases the sector. */
static int flash_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct flash *f = ctx;

	f->commands++;
	if (f->programs) {
		for (unsigned i = 0; i < width; i++)
			f->cells[offset + i] &= (uint8_t)(value >> 8 * i);
		f->programs = 0;
	} else if (f->unlocked == 2) {
		f->unlocked = 0;
		f->programs = value == 0xa0;
		if (value == 0x30)
			memset(f->cells + offset / SECTOR * SECTOR, 0xff, SECTOR);
	} else {
		f->unlocked = value == (f->unlocked ? 0x55 : 0xaa) ? f->unlocked + 1 : 0;
	}
	return 0;
}

int main(void)
{
	static const struct regmap_device_ops ops = {.write = flash_write};
	struct regmap_config c = {sizeof(c), "flash", FLASH, SIZE, REGMAP_READ | REGMAP_WRITE};
	volatile uint32_t *rom = (uint32_t *)(uintptr_t)FLASH, *boot = (uint32_t *)(uintptr_t)BOOT;
	volatile uint8_t *command = (uint8_t *)(uintptr_t)FLASH;
	uint32_t sum = 0;
	void *cells;

	c.backing = REGMAP_DEVICE, c.flags = REGMAP_READ_DIRECT, c.ops = &ops, c.ctx = &flash;
	if (regmap_map(&c, NULL) || regmap_translate(FLASH, &cells))
		return 1;
	flash.cells = memset(cells, 0xff, SIZE);
	c.name = "boot", c.guest = BOOT, c.backing = REGMAP_ALIAS, c.flags = 0, c.target = FLASH;
	if (regmap_map(&c, NULL))
		return 1;
	command[0] = 0xaa, command[0] = 0x55, command[0] = 0xa0, rom[2] = 0x12345678;
	printf("programmed: %#x, through the mirror: %#x\n", rom[2], boot[2]);
	rom[3] = 0; /* no command, so nothing happens */
	command[0] = 0xaa, command[0] = 0x55, command[SECTOR] = 0x30;
	printf("erased the next sector: %#x %#x\n", rom[2], rom[SECTOR / 4]);
	for (unsigned i = 0; i < 1000000; i++) /* ordinary loads: no fault, no callback */
		sum += boot[i % (SIZE / 4)];
	printf("%u writes reached the model, sum %#x\n", flash.commands, sum);
	return 0;
}
