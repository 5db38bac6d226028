/* SPDX-License-Identifier: MIT */
/*
 * Windows where AddressSanitizer has its shadow gap, in a program that it watches: scripts/check-asan. With an
 * argument, it does what the sanitizer is there for: it writes behind a block of the heap.
 */
#include <errno.h>
#include <regmap/regmap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "gap: line %d: %s\n", __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

#define SYSTEM 0xe000e000ULL /* registers */
#define SDRAM 0xc0000000ULL  /* mapped directly */
#define BANK 0xa0000000ULL   /* memory that traps */
#define TAKEN 0x80000000ULL  /* the shadow of low addresses lies there */
#define SHADOW 0x98000000ULL /* SDRAM's shadow, of the sanitizer */

static uint64_t last_written;

static int read_register(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	*value = offset + width;
	return 0;
}

static int write_register(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)width;
	last_written = offset << 32 | value;
	return 0;
}

static const struct regmap_device_ops registers = {read_register, write_register};

static int map(uint64_t guest, uint64_t length, enum regmap_backing backing, unsigned flags,
               struct regmap_window **out)
{
	const struct regmap_config config = {
		.size = sizeof(config),
		.name = "gap",
		.guest = guest,
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = backing,
		.flags = flags,
		.ops = backing == REGMAP_DEVICE ? &registers : NULL,
	};

	return regmap_map(&config, out);
}

static void use_registers(void)
{
	volatile uint32_t *control = (void *)(SYSTEM + 0x10);

	*control = 5;
	CHECK(last_written == (0x10ULL << 32 | 5));
	CHECK(*control == 0x14);
	*(volatile uint8_t *)(SYSTEM + 0xfff) = 7;
	CHECK(last_written == (0xfffULL << 32 | 7));
}

static void use_memory(uint64_t guest)
{
	volatile uint32_t *word = (void *)(guest + 0xff8);
	char text[16];

	*word = 7;
	*word |= 0x10;
	CHECK(*word == 0x17);
	memset((void *)(guest + 0x100), 'x', sizeof(text));
	memcpy(text, (void *)(guest + 0x100), sizeof(text));
	CHECK(text[0] == 'x' && text[15] == 'x');
}

int main(int argc, char **argv)
{
	struct regmap_window *window;
	char *heap = malloc(10);

	(void)argv;
	CHECK(heap && !map(SYSTEM, 0x1000, REGMAP_DEVICE, 0, NULL));
	CHECK(!map(SDRAM, 0x10000000, REGMAP_RAM, 0, NULL));
	CHECK(!map(BANK, 0x1000, REGMAP_RAM, REGMAP_TRAP, &window));
	CHECK(map(TAKEN, 0x1000, REGMAP_RAM, 0, NULL) == -EADDRINUSE);
	CHECK(map(SHADOW, 0x1000, REGMAP_RAM, 0, NULL) == -EADDRINUSE);
	use_registers();
	use_memory(SDRAM);
	use_memory(SDRAM + 0xfff0000);
	use_memory(BANK);
	CHECK(!regmap_unmap(window));
	CHECK(!map(BANK, 0x2000, REGMAP_RAM, 0, NULL));
	use_memory(BANK);
	((volatile char *)heap)[argc > 1 ? 10 : 9] = 1;
	free(heap);
	puts("gap: all right");
	return 0;
}
