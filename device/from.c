/* SPDX-License-Identifier: MIT */
/* Devices of templates and files. */
#include <errno.h>

#include "../describe/layout.h"
#include "inside.h"

int regmap_device_from_template(const char *name, struct regmap_device **out,
                                struct regmap_error *error)
{
	struct regmap_layout *layout;
	int saved = errno, err = regmap_layout_from_template(name, &layout, error);

	if (!err)
		err = regmap__device_make(layout_of(layout), out, error);
	errno = saved;
	return err;
}

int regmap_device_from_config(const char *path, struct regmap_device **out,
                              struct regmap_error *error)
{
	struct regmap_layout *layout;
	int saved = errno;
	int err = regmap_layout_from_file(path, REGMAP_FORMAT_AUTO, &layout, error);

	if (!err)
		err = regmap__device_make(layout_of(layout), out, error);
	errno = saved;
	return err;
}
