/* SPDX-License-Identifier: MIT */
/*
 * What regions hold, and the windows over them. Each device has an address space of its own at
 * non-canonical addresses, where every region is a window from the start; what regmap_device_map() lays
 * elsewhere are aliases of these.
 */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

#include "inside.h"

int regmap__memory_new(struct regmap_device *device, struct memory **out,
                       struct regmap_error *error);
void regmap__memory_free(struct memory *memory);

/* Rule steps. @length 0: the sector that holds @address. -EFAULT: no flash or storage there. */
int regmap__memory_erase(struct memory *memory, uint64_t address, uint64_t length);

#endif
