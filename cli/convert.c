/* SPDX-License-Identifier: MIT */
/* regmap convert: descriptions to descriptions, images to images. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "describe/image.h"

/* What a name's ending, or --to, says. */
struct format {
	const char *ending;
	enum regmap_format description; /* AUTO: it is an image */
	enum regmap_image_format image;
};

static const struct format formats[] = {
	{"toml", REGMAP_FORMAT_TOML, REGMAP_IMAGE_AUTO},
	{"yaml", REGMAP_FORMAT_YAML, REGMAP_IMAGE_AUTO},
	{"yml", REGMAP_FORMAT_YAML, REGMAP_IMAGE_AUTO},
	{"json", REGMAP_FORMAT_JSON, REGMAP_IMAGE_AUTO},
	{"svd", REGMAP_FORMAT_SVD, REGMAP_IMAGE_AUTO},
	{"xml", REGMAP_FORMAT_SVD, REGMAP_IMAGE_AUTO},
	{"hex", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_HEX},
	{"ihex", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_HEX},
	{"ihx", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_HEX},
	{"srec", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_SREC},
	{"s19", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_SREC},
	{"s28", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_SREC},
	{"s37", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_SREC},
	{"mot", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_SREC},
	{"elf", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_ELF},
	{"axf", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_ELF},
	{"out", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_ELF},
	{"bin", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_RAW},
	{"img", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_RAW},
	{"raw", REGMAP_FORMAT_AUTO, REGMAP_IMAGE_RAW},
};

const char *cli_ending(const char *path)
{
	const char *name = strrchr(path, '/'), *dot;

	dot = strrchr(name ? name + 1 : path, '.');
	return dot ? dot + 1 : "";
}

static const struct format *format_of(const char *ending)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (!strcasecmp(formats[i].ending, ending))
			return &formats[i];
	}
	return NULL;
}

enum regmap_image_format cli_image_format(const char *path)
{
	const struct format *f = format_of(cli_ending(path));

	return f ? f->image : REGMAP_IMAGE_AUTO;
}

static const struct format *want_target(const struct cli *cli, const char *out)
{
	const struct format *f = cli->to ? format_of(cli->to) : NULL;

	if (f)
		return f;
	if (!out && cli->json)
		return format_of("json");
	if (!out)
		cli_usage(cli, "to what? name a file, or say --to=FORMAT");
	f = format_of(cli_ending(out));
	if (!f)
		cli_usage(cli, "%s: its ending says no format: add --to=FORMAT", out);
	if (f->description == REGMAP_FORMAT_SVD || f->image == REGMAP_IMAGE_ELF)
		cli_usage(cli, "%s can't be written: choose toml, yaml, json, hex, srec or raw",
		          f->ending);
	return f;
}

/* ---- descriptions ---------------------------------------------------------------------------------- */

static void say_done(const struct cli *cli, const char *in, const char *out,
                     const struct format *target, uint64_t bytes)
{
	struct cli_json j = cli_json_open(stdout);

	if (!cli->json || !strcmp(out, "-"))
		return;
	cli_json_begin(&j, NULL, '{');
	cli_json_string(&j, "input", in);
	cli_json_string(&j, "output", out);
	cli_json_string(&j, "format", target->ending);
	cli_json_number(&j, "bytes", bytes);
	cli_json_end(&j, '}');
}

static void convert_description(const struct cli *cli, const char *in, const char *out,
                                const struct format *target)
{
	struct regmap_layout *layout = cli_layout(cli, in);
	struct regmap_error error = {0};
	char *text;
	size_t length;
	int err = regmap_layout_save(layout, target->description, &text, &length, &error);

	if (err)
		cli_fail(cli, err, &error);
	cli_put_file(cli, out, text, length);
	say_done(cli, in, out, target, length);
	free(text);
	regmap_layout_free(layout);
}

/* ---- images ---------------------------------------------------------------------------------------- */

/* From the first byte to the last; what lies between pieces is as in erased flash. */
static char *raw(const struct cli *cli, const struct image *image, size_t *length)
{
	enum { MOST = 1 << 30 };
	uint64_t first = UINT64_MAX, last = 0;
	char *bytes;

	for (size_t i = 0; i < image->piece_count; i++) {
		const struct image_piece *p = &image->pieces[i];

		if (!p->bytes)
			continue;
		first = p->address < first ? p->address : first;
		last = p->address + (p->length - 1);
	}
	*length = first <= last ? last - first + 1 : 0;
	if (first <= last && last - first >= MOST)
		cli_die(cli, CLI_WRONG,
		        "from 0x%" PRIx64 " to 0x%" PRIx64 " are more than 1 GB with the gaps: "
		        "convert to hex or srec, which leave gaps out",
		        first, last);
	bytes = cli_alloc(*length);
	memset(bytes, 0xff, *length);
	for (size_t i = 0; i < image->piece_count; i++) {
		const struct image_piece *p = &image->pieces[i];

		if (p->bytes)
			memcpy(bytes + (p->address - first), p->bytes, p->length);
	}
	return bytes;
}

static void move_to(const struct cli *cli, struct image *image, const char *in)
{
	if (image->format == REGMAP_IMAGE_RAW && !cli->has_at)
		cli_usage(cli, "%s is a raw image: say where it goes: --at=0x08000000", in);
	if (image->format != REGMAP_IMAGE_RAW && cli->has_at)
		cli_usage(cli, "%s says itself where it goes: --at is for raw images", in);
	if (image->format == REGMAP_IMAGE_RAW && image->piece_count)
		image->pieces[0].address = cli->at;
}

static void convert_image(const struct cli *cli, const char *in, const char *out,
                          const struct format *target, enum regmap_image_format from)
{
	struct regmap_error error = {0};
	struct image image;
	size_t length;
	char *text, *file = cli_get_file(cli, in, &length);
	int err = regmap__image_parse(file, length, in, from, &image, &error);

	if (err)
		cli_fail(cli, err, &error);
	if (target->image == REGMAP_IMAGE_RAW) {
		text = raw(cli, &image, &length);
	} else {
		move_to(cli, &image, in);
		err = regmap__image_format_all(target->image, &image, &text, &length, &error);
		if (err)
			cli_fail(cli, err, &error);
	}
	if (target->image == REGMAP_IMAGE_RAW && !strcmp(out, "-") && isatty(STDOUT_FILENO))
		cli_usage(cli, "raw bytes would garble the terminal: name a file");
	cli_put_file(cli, out, text, length);
	say_done(cli, in, out, target, length);
	free(text);
	free(file);
	regmap__image_free(&image);
}

/* ---- the command ----------------------------------------------------------------------------------- */

/* A name that says nothing is what the target is of; a raw image is told by its name alone. */
int cli_convert(int argc, char **argv)
{
	const struct format *target, *source;
	const char *in, *out;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, 2);
	in = cli.arguments[0];
	out = cli.argument_count > 1 ? cli.arguments[1] : cli.output;
	if (cli.argument_count > 1 && cli.output)
		cli_usage(&cli, "both %s and --output=%s: choose one", out, cli.output);
	target = want_target(&cli, out);
	source = regmap_template_text(in) ? format_of("toml") : format_of(cli_ending(in));
	if (source && !source->image != !target->image)
		cli_usage(&cli, "%s is %s, and %s is %s: one doesn't become the other", in,
		          source->image ? "an image" : "a description", target->ending,
		          target->image ? "an image" : "a description");
	if (target->image)
		convert_image(&cli, in, out ? out : "-", target,
		              source && source->image == REGMAP_IMAGE_RAW ? REGMAP_IMAGE_RAW :
		                                                            REGMAP_IMAGE_AUTO);
	else
		convert_description(&cli, in, out ? out : "-", target);
	return CLI_FINE;
}
