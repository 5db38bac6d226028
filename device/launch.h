/* SPDX-License-Identifier: MIT */
/* A device as `regmap run` and REGMAP_DEVICE ask for it. */
#ifndef DEVICE_LAUNCH_H
#define DEVICE_LAUNCH_H

#include <regmap/device.h>

/* Lists have an entry in each line. NULL and "": none. */
struct launch {
	const char *device;   /* a template's name, or a file */
	const char *overlays; /* files */
	const char *images;   /* "at=FILE", or a FILE that says itself where it goes */
};

/* Not mapped yet. On an error nothing is left, and @error is complete. */
int regmap__launch(const struct launch *launch, struct regmap_device **out,
                   struct regmap_error *error);

/* A number as descriptions have them, and nothing behind it. */
bool regmap__launch_number(const char *text, size_t length, uint64_t *value);

#endif
