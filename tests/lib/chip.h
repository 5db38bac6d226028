/* SPDX-License-Identifier: MIT */
/* Devices built in code, in few words. What can't be made fails the test. */
#ifndef TESTS_CHIP_H
#define TESTS_CHIP_H

#include <regmap/device.h>

enum { T_R = REGMAP_PERMIT_READ, T_W = REGMAP_PERMIT_WRITE, T_RW = T_R | T_W };

struct regmap_layout *t_chip_layout(void);
void t_region(struct regmap_layout *layout, const struct regmap_region *region);
/* Frees the layout. */
struct regmap_device *t_device(struct regmap_layout *layout);
/* A device of these regions. */
struct regmap_device *t_chip(const struct regmap_region *regions, size_t count);
#define T_CHIP(...) \
	t_chip((const struct regmap_region[]){__VA_ARGS__}, \
	       sizeof((const struct regmap_region[]){__VA_ARGS__}) / sizeof(struct regmap_region))

#define T_RAM(n, at, size, ...) \
	{ \
		.name = (n), .address = (at), .length = (size), .permissions = T_RW, \
		.type = REGMAP_REGION_RAM, ##__VA_ARGS__ \
	}
#define T_REGION_OF(kind, n, at, size, rights, ...) \
	{ \
		.name = (n), .address = (at), .length = (size), .permissions = (rights), \
		.type = REGMAP_REGION_##kind, ##__VA_ARGS__ \
	}
#define T_REGION(kind, n, at, size, rights, ...) \
	{ \
		.name = (n), .address = (at), .length = (size), .permissions = (rights), \
		.type = REGMAP_REGION_##kind, .erased = 0xff, ##__VA_ARGS__ \
	}

/* The device's word at a guest address, by a call, and the result of a write. */
uint32_t t_get(struct regmap_device *device, uint64_t guest);
int t_chip_put(struct regmap_device *device, uint64_t guest, uint32_t value);

#endif
