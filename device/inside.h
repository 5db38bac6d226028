/* SPDX-License-Identifier: MIT */
/* A device that lives, as its parts see it. */
#ifndef DEVICE_INSIDE_H
#define DEVICE_INSIDE_H

#include <regmap/device.h>

struct layout; /* ../describe/layout.h */
struct regs;   /* registers.h */
struct memory; /* memory.h */

struct regmap_device {
	struct regmap_layout *layout; /* its own copy */
	uint64_t base;                /* guest addresses of its own address space start here */
	unsigned slot;                /* which of REGMAP_DEVICES it is */
	struct regs *regs;
	struct memory *memory;
};

/* A finished layout becomes the device's, or is freed. */
int regmap__device_make(struct layout *layout, struct regmap_device **out,
                        struct regmap_error *error);

#endif
