/* SPDX-License-Identifier: MIT */
/* Images: what format a file has, and its records as pieces of memory that don't overlap. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image_build.h"

static uint64_t last_of_run(const struct image_run *r)
{
	return r->address + (r->length - 1);
}

static uint64_t last_of_piece(const struct image_piece *p)
{
	return p->address + (p->length - 1);
}

int regmap__image_add(struct image_builder *b, const struct image_run *run)
{
	size_t room = b->run_room ? 2 * b->run_room : 64;
	struct image_run *more;

	if (b->run_count == b->run_room) {
		more = realloc(b->runs, room * sizeof(*more));
		if (!more)
			return regmap__layout_wrong(b->error, -ENOMEM,
			                            &(struct regmap_source){b->path, 0, 0},
			                            "no memory for its records");
		b->runs = more;
		b->run_room = room;
	}
	b->runs[b->run_count++] = *run;
	return 0;
}

/* ---- runs to pieces ------------------------------------------------------------------------------ */

/* Of equal addresses the one that the file has first: the later one is to blame. */
static int by_address(const void *a, const void *b)
{
	const struct image_run *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return (x->line > y->line) - (x->line < y->line);
}

static int disagree(const struct image_builder *b, const struct image_run *run, uint64_t address)
{
	const struct image_run *other = b->runs;

	while (other->address > address || last_of_run(other) < address)
		other++;
	if (!run->line)
		return IMAGE_WRONG(b, 0, 0,
		                   "two segments disagree about the byte at 0x%" PRIx64
		                   ": link them to different addresses",
		                   address);
	if (other->line > run->line) {
		const struct image_run *swap = other;

		other = run;
		run = swap;
	}
	return IMAGE_WRONG(b, run->line, run->column,
	                   "the byte at 0x%" PRIx64 " is 0x%02x here and 0x%02x in line %u: "
	                   "remove one of the two records",
	                   address, run->bytes[address - run->address],
	                   other->bytes[address - other->address], other->line);
}

/* Takes what of the run lies in the piece away from it. */
static int check_common(const struct image_builder *b, const struct image_piece *piece,
                        struct image_run *rest)
{
	const struct image_run run = *rest;
	uint64_t last = last_of_piece(piece), most = last - run.address;
	uint64_t common = (run.length - 1 < most ? run.length - 1 : most) + 1;
	const uint8_t *there;

	if (run.address > last)
		return 0;
	if (!piece->bytes != !run.bytes)
		return disagree(b, &run, run.address);
	if (run.bytes) {
		there = piece->bytes + (run.address - piece->address);
		for (uint64_t i = 0; i < common; i++) {
			if (there[i] != run.bytes[i])
				return disagree(b, &run, run.address + i);
		}
		rest->bytes += common;
	}
	rest->address += common;
	rest->length -= common;
	return 0;
}

static void append(const struct image_builder *b, struct image_run *run, uint8_t **memory)
{
	struct image *out = b->out;
	struct image_piece *next = out->pieces + out->piece_count,
			   *piece = next - !!out->piece_count;
	bool joins = out->piece_count && !piece->bytes == !run->bytes &&
	             last_of_piece(piece) == run->address - 1;

	if (joins) {
		piece->length += run->length;
	} else {
		out->piece_count++;
		*next = (struct image_piece){run->address,
		                             run->length,
		                             run->bytes ? *memory : NULL,
		                             {b->path, run->line, run->column}};
	}
	if (run->bytes) {
		memcpy(*memory, run->bytes, run->length);
		*memory += run->length;
	}
}

static int merge(struct image_builder *b)
{
	uint8_t *memory = b->out->memory;

	if (b->run_count)
		qsort(b->runs, b->run_count, sizeof(*b->runs), by_address);
	for (size_t i = 0; i < b->run_count; i++) {
		struct image_run rest = b->runs[i];
		size_t n = b->out->piece_count;
		int err = n ? check_common(b, &b->out->pieces[n - 1], &rest) : 0;

		if (err)
			return err;
		if (rest.length)
			append(b, &rest, &memory);
	}
	return 0;
}

static int make_pieces(struct image_builder *b)
{
	struct image *out = b->out;
	uint64_t total = 0;

	for (size_t i = 0; i < b->run_count; i++)
		total += b->runs[i].bytes ? b->runs[i].length : 0;
	/* Segments may share bytes of the file, but a file of a few kilobytes is no terabyte. */
	if (total / 16 > b->length)
		return IMAGE_WRONG(b, 0, 0,
		                   "its segments claim %" PRIu64 " bytes, and the file has %zu: "
		                   "it is damaged",
		                   total, b->length);
	out->pieces = malloc((b->run_count + 1) * sizeof(*out->pieces));
	out->memory = malloc(total + 1);
	if (!out->pieces || !out->memory)
		return regmap__layout_wrong(b->error, -ENOMEM,
		                            &(struct regmap_source){b->path, 0, 0},
		                            "no memory for %" PRIu64 " bytes", total);
	return merge(b);
}

/* ---- formats -------------------------------------------------------------------------------------- */

/* Text up to where a record's head can be seen; a byte that no text has says that it is none. */
static enum regmap_image_format detect(const uint8_t *file, size_t length)
{
	const char *text;
	size_t i = 0, n = length < 256 ? length : 256;

	if (length >= 4 && !memcmp(file, "\177ELF", 4))
		return REGMAP_IMAGE_ELF;
	for (size_t k = 0; k < n; k++) {
		if (file[k] > '~' || (file[k] < ' ' && !strchr("\t\r\n", file[k])))
			return REGMAP_IMAGE_RAW;
	}
	text = (const char *)file;
	while (i < n && strchr(" \t\r\n", text[i]))
		i++;
	if (i < n && text[i] == ':')
		return REGMAP_IMAGE_HEX;
	if (i + 1 < n && text[i] == 'S' && text[i + 1] >= '0' && text[i + 1] <= '9')
		return REGMAP_IMAGE_SREC;
	return REGMAP_IMAGE_RAW;
}

static int read_raw(struct image_builder *b)
{
	return regmap__image_add(b, &(struct image_run){.length = b->length, .bytes = b->file});
}

static int read_text(struct image_builder *b, int (*reader)(struct image_builder *))
{
	b->decoded = malloc(b->length / 2 + 1);
	if (!b->decoded)
		return regmap__layout_wrong(b->error, -ENOMEM,
		                            &(struct regmap_source){b->path, 0, 0},
		                            "no memory to read it");
	return reader(b);
}

static int read_as(struct image_builder *b)
{
	if (!b->length)
		return IMAGE_WRONG(b, 0, 0, "the file is empty: there is nothing to load");
	switch (b->out->format) {
	case REGMAP_IMAGE_RAW: return read_raw(b);
	case REGMAP_IMAGE_HEX: return read_text(b, regmap__image_read_hex);
	case REGMAP_IMAGE_SREC: return read_text(b, regmap__image_read_srec);
	case REGMAP_IMAGE_ELF: return regmap__image_read_elf(b);
	default: return IMAGE_WRONG(b, 0, 0, "there is no image format %d", b->out->format);
	}
}

int regmap__image_parse(const void *file, size_t length, const char *path,
                        enum regmap_image_format format, struct image *out,
                        struct regmap_error *error)
{
	struct image_builder b = {.file = file, .length = length, .error = error, .out = out};
	int err;

	b.path = path ? path : "<image>";
	*out = (struct image){.format = format};
	if (format == REGMAP_IMAGE_AUTO)
		out->format = detect(file, length);
	err = read_as(&b);
	if (!err)
		err = make_pieces(&b);
	free(b.runs);
	free(b.decoded);
	if (err)
		regmap__image_free(out);
	return err;
}

void regmap__image_free(struct image *image)
{
	free(image->pieces);
	free(image->memory);
	*image = (struct image){0};
}

/* ---- writing --------------------------------------------------------------------------------------- */

static int out_of_memory(struct regmap_error *error)
{
	return regmap__layout_wrong(error, -ENOMEM, NULL, "no memory for the image's text");
}

int regmap__image_format_all(enum regmap_image_format format, const struct image *image,
                             char **text, size_t *text_length, struct regmap_error *error)
{
	struct image_text to = {0};
	int err;

	if (format == REGMAP_IMAGE_HEX)
		err = regmap__image_write_hex(&to, image, error);
	else if (format == REGMAP_IMAGE_SREC)
		err = regmap__image_write_srec(&to, image, error);
	else
		err = regmap__layout_wrong(error, -EINVAL, NULL,
		                           "only Intel HEX and S-records can be written as text");
	if (!err && to.failed)
		err = out_of_memory(error);
	if (err) {
		free(to.text);
		return err;
	}
	*text = to.text;
	*text_length = to.length;
	return 0;
}

int regmap__image_format(enum regmap_image_format format, uint64_t address, const uint8_t *bytes,
                         uint64_t length, char **text, size_t *text_length,
                         struct regmap_error *error)
{
	struct image_piece piece = {.address = address, .length = length, .bytes = bytes};
	struct image image = {.format = format, .pieces = &piece, .piece_count = length ? 1 : 0};

	return regmap__image_format_all(format, &image, text, text_length, error);
}
