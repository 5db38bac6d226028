/* SPDX-License-Identifier: MIT */
/* Devices from where layouts come from. */
#include <regmap/device.h>

static int make(int err, struct regmap_layout *layout, struct regmap_device **out,
                struct regmap_error *error)
{
	if (err)
		return err;
	err = regmap_device_from_layout(layout, out, error);
	regmap_layout_free(layout);
	return err;
}

int regmap_device_from_template(const char *name, struct regmap_device **out,
                                struct regmap_error *error)
{
	struct regmap_layout *layout = NULL;
	int err = regmap_layout_from_template(name, &layout, error);

	return make(err, layout, out, error);
}

int regmap_device_from_config(const char *path, struct regmap_device **out,
                              struct regmap_error *error)
{
	struct regmap_layout *layout = NULL;
	int err = regmap_layout_from_file(path, REGMAP_FORMAT_AUTO, &layout, error);

	return make(err, layout, out, error);
}
