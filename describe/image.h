/* SPDX-License-Identifier: MIT */
/* Images: raw, Intel HEX, S-record and ELF files as pieces of memory. Knows nothing of devices. */
#ifndef DESCRIBE_IMAGE_H
#define DESCRIBE_IMAGE_H

#include <regmap/device.h>

struct image_piece {
	uint64_t address, length;
	const uint8_t *bytes;        /* NULL: zeroes (an ELF segment's .bss) */
	struct regmap_source source; /* where in the file; line 0 for binary formats */
};

struct image {
	enum regmap_image_format format; /* what it turned out to be */
	struct image_piece *pieces;      /* by address, none overlap, neighbours are one */
	size_t piece_count;
	uint64_t entry;
	bool has_entry;
	void *memory; /* behind pieces */
};

/* @path is for messages. -EINVAL, -ENOMEM; on an error nothing is left. */
int regmap__image_parse(const void *file, size_t length, const char *path,
                        enum regmap_image_format format, struct image *out,
                        struct regmap_error *error);
void regmap__image_free(struct image *image);

/* One piece as a file's text; malloc()ed. Raw is the caller's own business. -EINVAL: not of this format. */
int regmap__image_format(enum regmap_image_format format, uint64_t address, const uint8_t *bytes,
                         uint64_t length, char **text, size_t *text_length,
                         struct regmap_error *error);
/* All that an image has, its entry point too. Pieces without bytes are left out. */
int regmap__image_format_all(enum regmap_image_format format, const struct image *image,
                             char **text, size_t *text_length, struct regmap_error *error);

#endif
