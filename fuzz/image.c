/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lelf */
/*
 * Images: the first byte says as what the rest is read. What comes out is in order and doesn't overlap,
 * and reads back as it was when it is written as text; what is refused leaves a message and nothing else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *why)
{
	fprintf(stderr, "image: %s\n", why);
	abort();
}

static void check_pieces(const struct image *image)
{
	for (size_t i = 0; i < image->piece_count; i++) {
		const struct image_piece *p = &image->pieces[i], *before = p - 1;

		if (!p->length || p->address + (p->length - 1) < p->address)
			die("a piece of no bytes, or beyond the address space");
		if (i && before->address + (before->length - 1) >= p->address)
			die("pieces that overlap");
		if (i && before->address + before->length == p->address &&
		    !before->bytes == !p->bytes)
			die("neighbours that are two");
		if (p->bytes && memchr(p->bytes, 0, p->length) == (void *)-1)
			die("memory that isn't there");
	}
}

static void check_error(const struct regmap_error *error, const struct image *image)
{
	if (!error->text[0] || strchr(error->text, '\n') || strcmp(error->file, "f"))
		die("a message that isn't one line about the file");
	if (image->pieces || image->memory || image->piece_count)
		die("something is left of what was refused");
}

static bool fits_32_bits(const struct image *image)
{
	for (size_t i = 0; i < image->piece_count; i++) {
		const struct image_piece *p = &image->pieces[i];

		if (p->bytes && p->address + (p->length - 1) > UINT32_MAX)
			return false;
	}
	return !image->has_entry || image->entry <= UINT32_MAX;
}

static void check_same(const struct image *a, const struct image *b)
{
	size_t k = 0;

	for (size_t i = 0; i < a->piece_count; i++) {
		const struct image_piece *p = &a->pieces[i], *q = &b->pieces[k];

		if (!p->bytes)
			continue;
		if (k++ == b->piece_count || p->address != q->address || p->length != q->length ||
		    memcmp(p->bytes, q->bytes, p->length))
			die("what was written reads back as something else");
	}
	if (k != b->piece_count)
		die("what was written reads back as more");
}

static void there_and_back(const struct image *image, enum regmap_image_format format)
{
	struct image again;
	char *text;
	size_t length;

	if (regmap__image_format_all(format, image, &text, &length, NULL)) {
		if (fits_32_bits(image))
			die("it can't be written");
		return;
	}
	if (regmap__image_parse(text, length, "f", REGMAP_IMAGE_AUTO, &again, NULL))
		die("what was written can't be read");
	check_same(image, &again);
	regmap__image_free(&again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct regmap_error error = {0};
	struct image image;
	int err;

	if (!size)
		return 0;
	err = regmap__image_parse(data + 1, size - 1, "f", data[0] % 5, &image, &error);
	if (err) {
		if (err != -EINVAL && err != -ENOMEM)
			die("an error that isn't in the header");
		check_error(&error, &image);
		return 0;
	}
	check_pieces(&image);
	there_and_back(&image, REGMAP_IMAGE_HEX);
	there_and_back(&image, REGMAP_IMAGE_SREC);
	regmap__image_free(&image);
	return 0;
}
