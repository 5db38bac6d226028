/* SPDX-License-Identifier: MIT */
/* Motorola S-records. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "image_build.h"

struct srec {
	struct image_builder *b;
	struct image_line line;
	uint8_t bytes[IMAGE_RECORD_MOST]; /* count, address (2 to 4), data, checksum */
	unsigned type;
	uint32_t records; /* S1, S2 and S3 so far */
	bool ended;
};

/* Bytes of the address; S4 is reserved. */
static const uint8_t address_lengths[10] = {2, 2, 3, 4, 0, 2, 3, 4, 3, 2};

#define SREC_WRONG(s, byte, ...) \
	IMAGE_WRONG((s)->b, (s)->line.number, (s)->line.column + 2 + 2 * (byte), __VA_ARGS__)

static uint32_t address_of(const struct srec *s)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < address_lengths[s->type]; i++)
		value = value << 8 | s->bytes[1 + i];
	return value;
}

static int add_data(struct srec *s)
{
	unsigned width = address_lengths[s->type];
	uint64_t address = address_of(s), length = s->bytes[0] - width - 1;

	if (address + length > 1ull << 8 * width)
		return SREC_WRONG(s, 1,
		                  "%" PRIu64 " bytes at 0x%" PRIx64 " run beyond the %u bits of an "
		                  "S%u record's address",
		                  length, address, 8 * width, s->type);
	s->records++;
	return regmap__image_add_record(s->b, address, s->bytes + 1 + width, length, &s->line);
}

static int check_records(const struct srec *s)
{
	uint32_t count = address_of(s);

	if (count == s->records)
		return 0;
	return SREC_WRONG(s, 1, "S%u counts %u data records, and there are %u: the file is damaged",
	                  s->type, count, s->records);
}

/* An address of 0 is what is written where there is no entry point. */
static int end(struct srec *s)
{
	s->ended = true;
	s->b->out->entry = address_of(s);
	s->b->out->has_entry = s->b->out->entry;
	return 0;
}

static int obey(struct srec *s)
{
	switch (s->type) {
	case 0: return 0;
	case 1:
	case 2:
	case 3: return add_data(s);
	case 5:
	case 6: return check_records(s);
	default: return end(s);
	}
}

static int check_record(const struct srec *s, int n)
{
	unsigned least = address_lengths[s->type] + 1;
	uint8_t sum = 0xff;

	if (!n || n != s->bytes[0] + 1)
		return SREC_WRONG(s, 0,
		                  "the record says %d bytes and has %d: the file is cut or damaged",
		                  n ? s->bytes[0] : 0, n ? n - 1 : 0);
	if (s->bytes[0] < least || (s->type >= 5 && s->bytes[0] > least))
		return SREC_WRONG(s, 0, "an S%u record has %s %u bytes, not %u", s->type,
		                  s->type >= 5 ? "just" : "at least", least, s->bytes[0]);
	for (int i = 0; i < n - 1; i++)
		sum -= s->bytes[i];
	if (sum != s->bytes[n - 1])
		return SREC_WRONG(s, n - 1,
		                  "the checksum is %02X, and %02X by the bytes before it: the file "
		                  "is damaged",
		                  s->bytes[n - 1], sum);
	return 0;
}

static int read_record(struct srec *s)
{
	const struct image_line *line = &s->line;
	int n, err;

	if (s->ended)
		return IMAGE_WRONG(s->b, line->number, line->column,
		                   "text behind the record that ends the file: remove it, or that "
		                   "record");
	if (line->length < 2 || line->text[0] != 'S' || line->text[1] < '0' || line->text[1] > '9')
		return IMAGE_WRONG(s->b, line->number, line->column,
		                   "a record starts with S0 to S9: are these S-records?");
	s->type = line->text[1] - '0';
	if (!address_lengths[s->type])
		return IMAGE_WRONG(s->b, line->number, line->column + 1,
		                   "S%u is reserved: no tool writes it", s->type);
	n = regmap__image_digits(s->b, line, 2, s->bytes);
	err = n < 0 ? n : check_record(s, n);
	return err ? err : obey(s);
}

int regmap__image_read_srec(struct image_builder *b)
{
	struct srec s = {.b = b};
	struct image_lines lines = regmap__image_lines(b);
	int err = 0;

	while (!err && regmap__image_next_line(&lines, &s.line))
		err = read_record(&s);
	if (!err && !s.ended)
		err = IMAGE_WRONG(b, lines.number, 1,
		                  "no record that ends the file (S7, S8 or S9): the file is cut");
	return err;
}

/* ---- writing --------------------------------------------------------------------------------------- */

static void put(struct image_text *to, unsigned type, uint32_t address, const uint8_t *data,
                unsigned length)
{
	unsigned width = address_lengths[type];
	uint8_t bytes[IMAGE_RECORD_BYTES + 6] = {width + length + 1};
	uint8_t sum = 0xff;

	for (unsigned i = 0; i < width; i++)
		bytes[1 + i] = address >> 8 * (width - 1 - i);
	memcpy(bytes + 1 + width, data, length);
	for (unsigned i = 0; i < 1 + width + length; i++)
		sum -= bytes[i];
	bytes[1 + width + length] = sum;
	regmap__image_put(to, (char[]){'S', '0' + type, 0}, bytes, 2 + width + length);
}

static uint32_t put_piece(struct image_text *to, unsigned type, const struct image_piece *piece)
{
	uint32_t records = 0;
	unsigned length;

	for (uint64_t i = 0; i < piece->length; i += length, records++) {
		uint64_t at = piece->address + i;

		length = image_record_length(at, piece->length - i);
		put(to, type, at, piece->bytes + i, length);
	}
	return records;
}

static uint64_t highest(const struct image *image)
{
	uint64_t most = image->has_entry ? image->entry : 0;

	for (size_t i = 0; i < image->piece_count; i++) {
		const struct image_piece *p = &image->pieces[i];

		if (p->bytes && p->address + (p->length - 1) > most)
			most = p->address + (p->length - 1);
	}
	return most;
}

/* All data records of a file are of one type, the shortest that does. */
int regmap__image_write_srec(struct image_text *to, const struct image *image,
                             struct regmap_error *error)
{
	uint64_t most = highest(image), entry = image->has_entry ? image->entry : 0;
	unsigned type = most <= 0xffff ? 1 : most <= 0xffffff ? 2 : 3;
	uint32_t records = 0;

	if (most > UINT32_MAX)
		return regmap__layout_wrong(error, -EINVAL, NULL,
		                            "S-records have addresses of 32 bits, and there are "
		                            "bytes up to 0x%" PRIx64,
		                            most);
	put(to, 0, 0, (const uint8_t *)"regmap", 6);
	for (size_t i = 0; i < image->piece_count; i++) {
		if (image->pieces[i].bytes)
			records += put_piece(to, type, &image->pieces[i]);
	}
	if (records <= 0xffffff)
		put(to, records <= 0xffff ? 5 : 6, records, (const uint8_t *)"", 0);
	put(to, 10 - type, entry, (const uint8_t *)"", 0);
	return 0;
}
