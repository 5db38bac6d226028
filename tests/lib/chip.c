/* SPDX-License-Identifier: MIT */
#include "chip.h"

#include <stdio.h>
#include <stdlib.h>

static void must(int err, const char *what, const struct regmap_error *error)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %d: %s\n", what, err, error ? error->text : "");
	abort();
}

struct regmap_layout *t_chip_layout(void)
{
	struct regmap_layout *layout;

	must(regmap_layout_new("chip", &layout), "regmap_layout_new", NULL);
	return layout;
}

void t_region(struct regmap_layout *layout, const struct regmap_region *region)
{
	struct regmap_error error = {.line = 0};

	must(regmap_layout_add_region(layout, region, &error), "regmap_layout_add_region", &error);
}

struct regmap_device *t_device(struct regmap_layout *layout)
{
	struct regmap_device *device;
	struct regmap_error error = {.line = 0};

	must(regmap_device_from_layout(layout, &device, &error), "regmap_device_from_layout",
	     &error);
	regmap_layout_free(layout);
	return device;
}

struct regmap_device *t_chip(const struct regmap_region *regions, size_t count)
{
	struct regmap_layout *layout = t_chip_layout();

	for (size_t i = 0; i < count; i++)
		t_region(layout, &regions[i]);
	return t_device(layout);
}

uint32_t t_get(struct regmap_device *device, uint64_t guest)
{
	uint32_t value;

	must(regmap_device_read(device, guest, &value, sizeof(value)), "regmap_device_read", NULL);
	return value;
}

int t_chip_put(struct regmap_device *device, uint64_t guest, uint32_t value)
{
	return regmap_device_write(device, guest, &value, sizeof(value));
}
