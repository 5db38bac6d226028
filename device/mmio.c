/* SPDX-License-Identifier: MIT */
/* Windows over registers. Patched sites call these with the program's vector registers in place. */
#include "memory.h"
#include "registers.h"

static int mmio_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct part *part = ctx;

	return regmap__regs_read(part->device->regs, part->region, part->region->address + offset,
	                         width, value);
}

static int mmio_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	const struct part *part = ctx;

	return regmap__regs_write(part->device->regs, part->region, part->region->address + offset,
	                          width, value);
}

const struct regmap_device_ops regmap__mmio_ops = {mmio_read, mmio_write};
