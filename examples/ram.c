/* SPDX-License-Identifier: MIT */
/* A microcontroller's SRAM where it belongs, at full speed, and once more at 0 for booting. */
#include <regmap/regmap.h>
#include <stdio.h>
#include <string.h>

enum { SRAM = 0x20000000, SIZE = 20 << 10 };

static int lay(struct regmap_config c)
{
	int err;

	c.size = sizeof(c);
	c.length = SIZE;
	c.access = REGMAP_READ | REGMAP_WRITE;
	err = regmap_map(&c, NULL);
	if (err)
		fprintf(stderr, "regmap_map %s: %s\n", c.name, regmap_strerror(err));
	return err;
}

int main(void)
{
	volatile uint32_t *sram = (uint32_t *)(uintptr_t)SRAM;
	volatile uintptr_t zero = 0; /* a compiler that knew would call it undefined */
	volatile uint32_t *boot;
	uint32_t word;
	void *host;

	if (lay((struct regmap_config){.name = "SRAM", .guest = SRAM, .backing = REGMAP_RAM}) ||
	    lay((struct regmap_config){.name = "boot",
	                               .guest = 0,
	                               .backing = REGMAP_ALIAS,
	                               .target = SRAM}))
		return 1;

	/* Direct: memory is mapped at 0x20000000, these are ordinary accesses. */
	for (unsigned i = 0; i < SIZE / 4; i++)
		sram[i] = i;

	/* Trapped: no process has memory at 0, so the alias is carried out on the original. */
	boot = (uint32_t *)zero;
	printf("word 1 at 0: %u, word 5119: %u\n", boot[1], boot[SIZE / 4 - 1]);
	boot[0] = 0x20005000;
	boot[1] = 0x08000101;
	printf("initial SP %#x, reset vector %#x\n", sram[0], sram[1]);

	/* For system calls and for speed: the host memory behind any of the two. */
	if (regmap_translate(4, &host) || regmap_read(4, &word, sizeof(word)))
		return 1;
	printf("translated: %#x, copied: %#x\n", *(uint32_t *)host, word);
	memset(host, 0, 4);
	printf("the same bytes everywhere: %u %u\n", boot[1], sram[1]);
	return 0;
}
