/* SPDX-License-Identifier: MIT */
/* Lines of hex digits: what Intel HEX and S-records have in common. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image_build.h"

struct image_lines regmap__image_lines(const struct image_builder *b)
{
	const char *text = (const char *)b->file;

	return (struct image_lines){text, text + b->length, 0};
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* A line ends with LF, CR LF, or CR alone, as old Macintosh tools write it. */
static const char *end_of_line(const char *at, const char *end)
{
	while (at < end && *at != '\n' && !(*at == '\r' && (at + 1 == end || at[1] != '\n')))
		at++;
	return at;
}

bool regmap__image_next_line(struct image_lines *lines, struct image_line *line)
{
	while (lines->at < lines->end) {
		const char *start = lines->at, *stop = end_of_line(start, lines->end);
		const char *text = start;

		lines->at = stop < lines->end ? stop + 1 : stop;
		lines->number++;
		while (text < stop && is_blank(*text))
			text++;
		while (stop > text && is_blank(stop[-1]))
			stop--;
		if (text < stop) {
			*line = (struct image_line){text, stop - text, lines->number,
			                            text - start + 1};
			return true;
		}
	}
	return false;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static int no_digit(const struct image_builder *b, const struct image_line *line, size_t at)
{
	unsigned column = line->column + at;
	unsigned char c = at < line->length ? line->text[at] : 0;

	if (at >= line->length)
		return IMAGE_WRONG(b, line->number, column,
		                   "the record ends in the middle of a byte: the file is damaged");
	if (c < ' ' || c > '~')
		return IMAGE_WRONG(b, line->number, column,
		                   "byte 0x%02x where a hex digit should be: the file is damaged",
		                   c);
	return IMAGE_WRONG(b, line->number, column,
	                   "'%c' where a hex digit should be: the file is damaged", c);
}

int regmap__image_digits(const struct image_builder *b, const struct image_line *line, size_t skip,
                         uint8_t bytes[IMAGE_RECORD_MOST])
{
	size_t at = skip;
	int n = 0;

	for (; at < line->length; at += 2, n++) {
		int high = digit(line->text[at]);
		int low = at + 1 < line->length ? digit(line->text[at + 1]) : -1;

		if (high < 0 || low < 0)
			return no_digit(b, line, high < 0 ? at : at + 1);
		if (n == IMAGE_RECORD_MOST)
			return IMAGE_WRONG(b, line->number, line->column + at,
			                   "the record is longer than any may be: is a line "
			                   "end missing?");
		bytes[n] = high << 4 | low;
	}
	return n;
}

int regmap__image_add_record(struct image_builder *b, uint64_t address, const uint8_t *bytes,
                             size_t length, const struct image_line *line)
{
	struct image_run run = {address, length, b->decoded + b->decoded_length, line->number,
	                        line->column};

	if (!length)
		return 0;
	memcpy(b->decoded + b->decoded_length, bytes, length);
	b->decoded_length += length;
	return regmap__image_add(b, &run);
}

static bool make_room(struct image_text *to, size_t more)
{
	size_t room = to->room ? to->room : 4096;
	char *text;

	if (to->failed || to->length + more <= to->room)
		return !to->failed;
	while (room < to->length + more)
		room *= 2;
	text = realloc(to->text, room);
	to->failed = !text;
	if (text) {
		to->text = text;
		to->room = room;
	}
	return text;
}

void regmap__image_put(struct image_text *to, const char *prefix, const uint8_t *bytes,
                       size_t length)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = strlen(prefix);
	char *at;

	if (!make_room(to, n + 2 * length + 2))
		return;
	at = to->text + to->length;
	memcpy(at, prefix, n);
	at += n;
	for (size_t i = 0; i < length; i++) {
		*at++ = digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 15];
	}
	*at++ = '\n';
	*at = 0;
	to->length = at - to->text;
}
