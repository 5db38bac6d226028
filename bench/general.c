/* SPDX-License-Identifier: MIT */
/* CFLAGS: -mgeneral-regs-only */
/* A device whose callbacks use general registers only, as the compiler sees to. */
#include "general.h"

static uint64_t reg[8];

static int read_register(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	*value = reg[offset / 8 % 8];
	return 0;
}

static int write_register(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)width;
	reg[offset / 8 % 8] = value;
	return 0;
}

const struct regmap_device_ops bench_general_ops = {read_register, write_register};
