/* SPDX-License-Identifier: MIT */
/* From what the command line names to layouts, devices and places in them. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "describe/image.h"

/* ---- layouts --------------------------------------------------------------------------------------- */

const char *const *cli_template_names(void)
{
	static const char **names;
	unsigned n = 0;

	if (names)
		return names;
	while (regmap_template_name(n))
		n++;
	names = cli_alloc((n + 1) * sizeof(*names));
	for (unsigned i = 0; i < n; i++)
		names[i] = regmap_template_name(i);
	return names;
}

static struct regmap_layout *overlay(const struct cli *cli, struct regmap_layout *layout)
{
	struct regmap_error error = {0};

	for (size_t i = 0; i < cli->overlay_count; i++) {
		int err = regmap_layout_overlay_file(layout, cli->overlays[i], &error);

		if (err)
			cli_fail(cli, err, &error);
	}
	return layout;
}

struct regmap_layout *cli_layout_of_file(const struct cli *cli, const char *path,
                                         enum regmap_format format)
{
	struct regmap_error error = {0};
	struct regmap_layout *layout;
	int err = regmap_layout_from_file(path, format, &layout, &error);

	if (err)
		cli_fail(cli, err, &error);
	return overlay(cli, layout);
}

static _Noreturn void no_template(const struct cli *cli, const char *name, const char *nor)
{
	const char *perhaps = cli_suggest(name, cli_template_names());

	if (perhaps)
		cli_die(cli, CLI_WRONG,
		        "there is no template%s '%s': did you mean %s? `regmap list` shows all",
		        nor, name, perhaps);
	cli_die(cli, CLI_WRONG, "there is no template%s '%s': `regmap list` shows the templates",
	        nor, name);
}

struct regmap_layout *cli_layout_of_template(const struct cli *cli, const char *name)
{
	struct regmap_error error = {0};
	struct regmap_layout *layout;
	int err;

	if (!regmap_template_text(name))
		no_template(cli, name, "");
	err = regmap_layout_from_template(name, &layout, &error);
	if (err)
		cli_fail(cli, err, &error);
	return overlay(cli, layout);
}

/* A template comes first: a file of its name can be written as ./NAME. */
struct regmap_layout *cli_layout(const struct cli *cli, const char *name_or_file)
{
	if (regmap_template_text(name_or_file))
		return cli_layout_of_template(cli, name_or_file);
	if (!strpbrk(name_or_file, "./") && access(name_or_file, F_OK))
		no_template(cli, name_or_file, " and no file");
	return cli_layout_of_file(cli, name_or_file, REGMAP_FORMAT_AUTO);
}

const char *cli_layout_name(const struct regmap_layout *layout)
{
	return *layout->name ? layout->name : "(no name)";
}

/* ---- devices --------------------------------------------------------------------------------------- */

/* Where it isn't said, a raw image would go to 0, which nobody means. */
static void want_address(const struct cli *cli, const struct cli_image *image)
{
	struct regmap_error error = {0};
	struct image parsed;
	size_t length;
	char *file = cli_get_file(cli, image->path, &length);
	int err = regmap__image_parse(file, length, image->path, REGMAP_IMAGE_AUTO, &parsed,
	                              &error);

	if (err)
		cli_fail(cli, err, &error);
	if (parsed.format == REGMAP_IMAGE_RAW)
		cli_usage(cli, "%s is a raw image: say where it goes: --image=0x08000000=%s",
		          image->path, image->path);
	regmap__image_free(&parsed);
	free(file);
}

static void load_image(const struct cli *cli, const struct regmap_layout *layout,
                       struct regmap_device *device, const struct cli_image *image)
{
	struct regmap_error error = {0};
	struct regmap_place place = {0};
	uint64_t added;
	int err;

	if (!image->at)
		want_address(cli, image);
	/* Nothing need be there: to the addresses of the other formats it is added. */
	else if (cli_number(image->at, &added))
		place.address = added - cli->offset;
	else
		cli_place(cli, layout, image->at, &place);
	err = regmap_device_load_file(device, place.address, image->path, REGMAP_IMAGE_AUTO, NULL,
	                              &error);
	if (err)
		cli_fail(cli, err, &error);
}

struct regmap_device *cli_device(const struct cli *cli, const struct regmap_layout *layout)
{
	struct regmap_error error = {0};
	struct regmap_device *device;
	int err = regmap_device_from_layout(layout, &device, &error);

	if (err)
		cli_fail(cli, err, &error);
	for (size_t i = 0; i < cli->image_count; i++)
		load_image(cli, layout, device, &cli->images[i]);
	return device;
}

/* ---- places ---------------------------------------------------------------------------------------- */

bool cli_region_has(const struct regmap_region *r, uint64_t address)
{
	return address >= r->address && address - r->address < r->length;
}

/* Names that could stand behind what has been found so far. */
static const char **names_in(const struct regmap_layout *layout, const struct regmap_place *p)
{
	size_t n = 0, most = layout->region_count + layout->peripheral_count;
	const char **names;

	if (p && p->reg)
		most = p->reg->field_count;
	else if (p && p->peripheral)
		most = p->peripheral->register_count;
	names = cli_alloc((most + 1) * sizeof(*names));
	if (p && p->reg) {
		for (; n < most; n++)
			names[n] = p->reg->fields[n]->name;
	} else if (p && p->peripheral) {
		for (; n < most; n++)
			names[n] = p->peripheral->registers[n]->name;
	} else {
		for (size_t i = 0; i < layout->peripheral_count; i++)
			names[n++] = layout->peripherals[i]->name;
		for (size_t i = 0; i < layout->region_count; i++)
			names[n++] = layout->regions[i]->name;
	}
	return names;
}

/* "RCC.CRR": RCC is there, so CRR is at fault. */
static _Noreturn void no_place(const struct cli *cli, const struct regmap_layout *layout,
                               const char *text)
{
	struct regmap_place place = {0};
	const char *wrong = text, *perhaps;
	char *known = strdup(text), *dot = NULL;
	bool found = false;

	while (known && !found && (dot = strrchr(known, '.'))) {
		*dot = 0;
		found = !regmap_layout_find(layout, known, &place) && place.peripheral;
	}
	if (found)
		wrong = text + (dot - known) + 1;
	else if (known)
		known[strcspn(known, ".")] = 0;
	perhaps = cli_suggest(found || !known ? wrong : known,
	                      names_in(layout, found ? &place : NULL));
	free(known);
	if (perhaps)
		cli_die(cli, CLI_WRONG, "%s has no '%s': did you mean %.*s%s%s?",
		        cli_layout_name(layout), text, (int)(wrong - text), text, perhaps,
		        found ? "" : text + strcspn(text, "."));
	cli_die(cli, CLI_WRONG, "%s has no '%s': `regmap show --names` lists all that it has",
	        cli_layout_name(layout), text);
}

static void place_at(const struct regmap_layout *layout, uint64_t address,
                     struct regmap_place *place)
{
	*place = (struct regmap_place){0};
	if (regmap_layout_find_at(layout, address, place))
		*place = (struct regmap_place){0};
	place->address = address;
	place->length = 0;
}

/* "SRAM+0x10" */
static bool place_behind(const struct regmap_layout *layout, const char *text,
                         struct regmap_place *place)
{
	const char *plus = strrchr(text, '+');
	char *name = plus ? strndup(text, plus - text) : NULL;
	uint64_t more;
	bool found = name && cli_number(plus + 1, &more) &&
	             !regmap_layout_find(layout, name, place);

	if (found)
		place_at(layout, place->address + more, place);
	free(name);
	return found;
}

void cli_place(const struct cli *cli, const struct regmap_layout *layout, const char *text,
               struct regmap_place *place)
{
	uint64_t address;

	*place = (struct regmap_place){0};
	if (!regmap_layout_find(layout, text, place) || place_behind(layout, text, place))
		return;
	if (text[0] < '0' || text[0] > '9')
		no_place(cli, layout, text);
	address = cli_want_number(cli, "the address", text);
	place_at(layout, address - cli->offset, place);
}

/* ---- refusals -------------------------------------------------------------------------------------- */

/* The first byte of the range that no region has; @length bytes further: all have one. */
static uint64_t first_hole(const struct regmap_layout *layout, uint64_t guest, uint64_t length)
{
	uint64_t done = 0;

	while (done < length) {
		struct regmap_place place = {0};
		uint64_t rest;

		if (regmap_layout_find_at(layout, guest + done, &place) || !place.region)
			break;
		rest = place.region->length - (guest + done - place.region->address);
		done = rest < length - done ? done + rest : length;
	}
	return done;
}

static _Noreturn void nothing_there(const struct cli *cli, const struct regmap_layout *layout,
                                    uint64_t guest, uint64_t length)
{
	uint64_t hole = guest + first_hole(layout, guest, length);
	char where[160];

	cli_die(cli, CLI_WRONG,
	        "nothing is at 0x%08" PRIx64 " (%s): `regmap map` shows what is where",
	        hole + cli->offset, regmap_layout_describe(layout, hole, where, sizeof(where)));
}

void cli_refused(const struct cli *cli, const struct regmap_layout *layout, int err,
                 const char *what, uint64_t guest, uint64_t length)
{
	char where[160], permissions[4];
	struct regmap_place place = {0};

	if (err == -EFAULT)
		nothing_there(cli, layout, guest, length);
	regmap_layout_describe(layout, guest, where, sizeof(where));
	if (regmap_layout_find_at(layout, guest, &place) || !place.region)
		cli_die(cli, CLI_WRONG, "a %s at 0x%08" PRIx64 " (%s): %s", what,
		        guest + cli->offset, where, regmap_strerror(err));
	if (err == -EACCES)
		cli_die(cli, CLI_WRONG, "a %s at 0x%08" PRIx64 " (%s) isn't permitted: %s is %s",
		        what, guest + cli->offset, where, place.region->name,
		        cli_permissions(place.region->permissions, permissions));
	if (err == -EIO)
		cli_die(cli, CLI_WRONG,
		        "a %s at 0x%08" PRIx64 " (%s) is a bus error: %s (%s) refuses it", what,
		        guest + cli->offset, where, place.region->name,
		        cli_region_type(place.region->type));
	cli_die(cli, CLI_WRONG, "a %s at 0x%08" PRIx64 " (%s): %s", what, guest + cli->offset,
	        where, regmap_strerror(err));
}
