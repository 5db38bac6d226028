/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../describe/layout.h"
#include "inside.h"
#include "launch.h"

static const struct regmap_source nowhere = {.file = ""};

static bool digit_of(char c, unsigned *digit)
{
	if (c >= '0' && c <= '9')
		*digit = (unsigned)(c - '0');
	else if ((c | 32) >= 'a' && (c | 32) <= 'f')
		*digit = (unsigned)((c | 32) - 'a') + 10;
	else
		return false;
	return true;
}

static unsigned take_base(const char **text, size_t *length)
{
	unsigned base = 10;

	if (*length > 2 && (*text)[0] == '0' && ((*text)[1] | 32) == 'x')
		base = 16;
	else if (*length > 2 && (*text)[0] == '0' && ((*text)[1] | 32) == 'b')
		base = 2;
	if (base != 10) {
		*text += 2;
		*length -= 2;
	}
	return base;
}

bool regmap__launch_number(const char *text, size_t length, uint64_t *value)
{
	unsigned base = take_base(&text, &length), digit;
	uint64_t v = 0;

	if (!length)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '_' && i > 0)
			continue;
		if (!digit_of(text[i], &digit) || digit >= base || v > (UINT64_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	*value = v;
	return true;
}

/* A template's name comes first; "./NAME" is a file in any case. */
static int load_layout(const char *name, struct regmap_layout **out, struct regmap_error *error)
{
	if (regmap_template_text(name))
		return regmap_layout_from_template(name, out, error);
	if (!strpbrk(name, "./") && access(name, F_OK))
		return regmap__layout_wrong(error, -ENOENT, &nowhere,
		                            "%s: neither a template nor a file is called so: "
		                            "\"regmap list\" shows the templates",
		                            name);
	return regmap_layout_from_file(name, REGMAP_FORMAT_AUTO, out, error);
}

typedef int entry_fn(void *ctx, char *entry, struct regmap_error *error);

/* Each line that isn't empty. */
static int each_line(const char *list, entry_fn *act, void *ctx, struct regmap_error *error)
{
	char *copy = strdup(list ? list : ""), *rest, *entry;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	for (entry = strtok_r(copy, "\n", &rest); entry && !err;
	     entry = strtok_r(NULL, "\n", &rest))
		err = act(ctx, entry, error);
	free(copy);
	return err;
}

static int lay_over(void *ctx, char *entry, struct regmap_error *error)
{
	return regmap_layout_overlay_file(ctx, entry, error);
}

/* What is before "=" is an address, or the name of what begins there; else it is part of the file's name. */
static int load_image(void *ctx, char *entry, struct regmap_error *error)
{
	const struct regmap_layout *layout = regmap_device_layout(ctx);
	char *equals = strchr(entry, '=');
	struct regmap_place place;
	uint64_t at = 0;

	if (equals && !regmap__launch_number(entry, (size_t)(equals - entry), &at)) {
		*equals = 0;
		if (!regmap_layout_find(layout, entry, &place))
			at = place.address;
		else if (*entry && access(entry, F_OK) && !strchr(entry, '/'))
			return regmap__layout_wrong(
				error, -EINVAL, &nowhere,
				"image %s=%s: \"%s\" is neither an address nor a name "
				"in the device: write 0x08000000=FILE",
				entry, equals + 1, entry);
		else
			*equals = '=', equals = NULL;
	}
	return regmap_device_load_file(ctx, at, equals ? equals + 1 : entry, REGMAP_IMAGE_AUTO,
	                               NULL, error);
}

static int make_device(const struct launch *launch, struct regmap_device **out,
                       struct regmap_error *error)
{
	struct regmap_layout *layout = NULL;
	int err = load_layout(launch->device, &layout, error);

	if (err)
		return err;
	err = each_line(launch->overlays, lay_over, layout, error);
	if (!err)
		return regmap__device_make(layout_of(layout), out, error);
	regmap_layout_free(layout);
	return err;
}

int regmap__launch(const struct launch *launch, struct regmap_device **out,
                   struct regmap_error *error)
{
	struct regmap_device *device;
	int err = make_device(launch, &device, error);

	if (err)
		return err;
	err = each_line(launch->images, load_image, device, error);
	if (err)
		regmap_device_free(device);
	else
		*out = device;
	return err;
}
