/* SPDX-License-Identifier: MIT */
/* A device that lives, as its parts see it. */
#ifndef DEVICE_INSIDE_H
#define DEVICE_INSIDE_H

#include <regmap/device.h>

struct regs;   /* registers.h */
struct memory; /* memory.h */

struct regmap_device {
	struct regmap_layout *layout; /* its own copy */
	uint64_t base;                /* guest addresses of its own address space start here */
	struct regs *regs;
	struct memory *memory;
};

#endif
