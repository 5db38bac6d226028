/* SPDX-License-Identifier: MIT */
/* What the readers and writers of image formats share. */
#ifndef DESCRIBE_IMAGE_BUILD_H
#define DESCRIBE_IMAGE_BUILD_H

#include "image.h"
#include "layout.h"

/* What one record or segment says. */
struct image_run {
	uint64_t address, length; /* at least 1 byte, and none beyond 2^64 */
	const uint8_t *bytes;     /* lives as long as the builder; NULL: zeroes */
	unsigned line, column;
};

struct image_builder {
	const uint8_t *file;
	size_t length;
	const char *path;
	struct regmap_error *error;
	struct image *out;
	struct image_run *runs;
	size_t run_count, run_room;
	uint8_t *
		decoded; /* what text says; never moves, as the text has two digits for each byte */
	size_t decoded_length;
};

/* "path:line:column: ..."; line 0: "path: ...". */
#define IMAGE_WRONG(b, line, column, ...) \
	regmap__layout_wrong((b)->error, -EINVAL, \
	                     &(struct regmap_source){(b)->path, (line), (column)}, __VA_ARGS__)

int regmap__image_add(struct image_builder *b, const struct image_run *run);

/* ---- formats that are text --------------------------------------------------------------------- */

enum { IMAGE_RECORD_MOST = 255 + 5 }; /* bytes of an Intel HEX record; S-records have one less */

struct image_line {
	const char *text;        /* not terminated */
	size_t length;           /* without what separates lines, and blanks at the end */
	unsigned number, column; /* of text */
};

struct image_lines {
	const char *at, *end;
	unsigned number;
};

struct image_lines regmap__image_lines(const struct image_builder *b);
/* The next line that isn't blank. */
bool regmap__image_next_line(struct image_lines *lines, struct image_line *line);
/* The pairs of hex digits from @skip on; -EINVAL what is none. Returns how many. */
int regmap__image_digits(const struct image_builder *b, const struct image_line *line, size_t skip,
                         uint8_t bytes[IMAGE_RECORD_MOST]);
/* Copies the bytes, and adds a run of them. */
int regmap__image_add_record(struct image_builder *b, uint64_t address, const uint8_t *bytes,
                             size_t length, const struct image_line *line);

int regmap__image_read_hex(struct image_builder *b);
int regmap__image_read_srec(struct image_builder *b);
int regmap__image_read_elf(struct image_builder *b);

/* ---- writing text ---------------------------------------------------------------------------------- */

enum { IMAGE_RECORD_BYTES = 16 }; /* that a record has which we write */

/* How many of @rest bytes at @address the next one has: it ends where addresses are round. */
static inline unsigned image_record_length(uint64_t address, uint64_t rest)
{
	uint64_t most = IMAGE_RECORD_BYTES - address % IMAGE_RECORD_BYTES;

	return (unsigned)(most < rest ? most : rest);
}

struct image_text {
	char *text; /* NULL once memory ran out, or at first */
	size_t length, room;
	bool failed;
};

/* @prefix, @bytes in hex, and the end of the line. */
void regmap__image_put(struct image_text *to, const char *prefix, const uint8_t *bytes,
                       size_t length);

int regmap__image_write_hex(struct image_text *to, const struct image *image,
                            struct regmap_error *error);
int regmap__image_write_srec(struct image_text *to, const struct image *image,
                             struct regmap_error *error);

#endif
