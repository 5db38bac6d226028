/* SPDX-License-Identifier: MIT */
/* Intel HEX, after Intel's Hexadecimal Object File Format Specification, revision A (1988). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "image_build.h"

enum { DATA, END, SEGMENT, START_SEGMENT, LINEAR, START_LINEAR };

struct hex {
	struct image_builder *b;
	struct image_line line;
	uint8_t bytes[IMAGE_RECORD_MOST]; /* length, address (2), type, data, checksum */
	uint64_t base;
	bool is_segment; /* base is a segment's: offsets wrap in its 64 KB, else in 4 GB */
	bool ended;
};

#define HEX_WRONG(h, byte, ...) \
	IMAGE_WRONG((h)->b, (h)->line.number, (h)->line.column + 1 + 2 * (byte), __VA_ARGS__)

static uint32_t number(const uint8_t *bytes, unsigned n)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < n; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* What wraps is two runs: one up to the end, one from the start. */
static int add_data(struct hex *h)
{
	uint64_t offset = number(h->bytes + 1, 2), length = h->bytes[0], first;
	uint64_t start = h->is_segment ? h->base : 0;
	uint64_t span = h->is_segment ? 0x10000 : 0x100000000;
	uint64_t at = h->is_segment ? offset : (h->base + offset) % span;
	const uint8_t *data = h->bytes + 4;
	int err;

	first = length < span - at ? length : span - at;
	err = regmap__image_add_record(h->b, start + at, data, first, &h->line);
	if (!err)
		err = regmap__image_add_record(h->b, start, data + first, length - first, &h->line);
	return err;
}

static void set_entry(struct hex *h, uint64_t entry)
{
	h->b->out->entry = entry;
	h->b->out->has_entry = true;
}

static int obey(struct hex *h)
{
	const uint8_t *data = h->bytes + 4;

	switch (h->bytes[3]) {
	case DATA: return add_data(h);
	case END: h->ended = true; break;
	case SEGMENT:
	case LINEAR:
		h->is_segment = h->bytes[3] == SEGMENT;
		h->base = (uint64_t)number(data, 2) << (h->is_segment ? 4 : 16);
		break;
	case START_SEGMENT: set_entry(h, number(data, 2) * 16 + number(data + 2, 2)); break;
	case START_LINEAR: set_entry(h, number(data, 4)); break;
	}
	return 0;
}

static int check_type(const struct hex *h)
{
	static const struct {
		const char *name;
		int length; /* of its data */
	} types[] = {
		[DATA] = {"data", -1},
		[END] = {"end-of-file", 0},
		[SEGMENT] = {"segment address", 2},
		[START_SEGMENT] = {"start segment address", 4},
		[LINEAR] = {"linear address", 2},
		[START_LINEAR] = {"start linear address", 4},
	};
	unsigned type = h->bytes[3];

	if (type >= sizeof(types) / sizeof(types[0]))
		return HEX_WRONG(h, 3,
		                 "record type %02X: Intel HEX has 00 to 05; is it another format?",
		                 type);
	if (types[type].length >= 0 && h->bytes[0] != types[type].length)
		return HEX_WRONG(h, 0, "a record of type %02X (%s) has %d bytes, not %u", type,
		                 types[type].name, types[type].length, h->bytes[0]);
	return 0;
}

static int check_record(const struct hex *h, int n)
{
	uint8_t sum = 0;

	if (n < 5 || n != h->bytes[0] + 5)
		return HEX_WRONG(h, 0,
		                 "the record says %d bytes of data and has %d: the file is cut or "
		                 "damaged",
		                 n ? h->bytes[0] : 0, n < 5 ? 0 : n - 5);
	for (int i = 0; i < n - 1; i++)
		sum -= h->bytes[i];
	if (sum != h->bytes[n - 1])
		return HEX_WRONG(h, n - 1,
		                 "the checksum is %02X, and %02X by the bytes before it: the file "
		                 "is damaged",
		                 h->bytes[n - 1], sum);
	return check_type(h);
}

static int read_record(struct hex *h)
{
	int n, err;

	if (h->ended)
		return IMAGE_WRONG(h->b, h->line.number, h->line.column,
		                   "text behind the end-of-file record: remove it, or that record");
	if (h->line.text[0] != ':')
		return IMAGE_WRONG(h->b, h->line.number, h->line.column,
		                   "a record starts with ':': is this Intel HEX?");
	n = regmap__image_digits(h->b, &h->line, 1, h->bytes);
	err = n < 0 ? n : check_record(h, n);
	return err ? err : obey(h);
}

int regmap__image_read_hex(struct image_builder *b)
{
	struct hex h = {.b = b};
	struct image_lines lines = regmap__image_lines(b);
	int err = 0;

	while (!err && regmap__image_next_line(&lines, &h.line))
		err = read_record(&h);
	if (!err && !h.ended)
		err = IMAGE_WRONG(b, lines.number, 1,
		                  "no end-of-file record (:00000001FF): the file is cut");
	return err;
}

/* ---- writing --------------------------------------------------------------------------------------- */

static void put(struct image_text *to, unsigned type, unsigned offset, const uint8_t *data,
                unsigned length)
{
	uint8_t bytes[IMAGE_RECORD_BYTES + 5] = {length, offset >> 8, offset, type};
	uint8_t sum = 0;

	memcpy(bytes + 4, data, length);
	for (unsigned i = 0; i < length + 4; i++)
		sum -= bytes[i];
	bytes[length + 4] = sum;
	regmap__image_put(to, ":", bytes, length + 5);
}

static void put_number(struct image_text *to, unsigned type, uint32_t value, unsigned length)
{
	uint8_t data[4];

	for (unsigned i = 0; i < length; i++)
		data[i] = value >> 8 * (length - 1 - i);
	put(to, type, 0, data, length);
}

static void put_piece(struct image_text *to, const struct image_piece *piece, uint32_t *upper)
{
	unsigned length;

	for (uint64_t i = 0; i < piece->length; i += length) {
		uint64_t at = piece->address + i;

		length = image_record_length(at, piece->length - i);
		if (at >> 16 != *upper) {
			*upper = at >> 16;
			put_number(to, LINEAR, *upper, 2);
		}
		put(to, DATA, at & 0xffff, piece->bytes + i, length);
	}
}

int regmap__image_write_hex(struct image_text *to, const struct image *image,
                            struct regmap_error *error)
{
	uint32_t upper = 0;

	for (size_t i = 0; i < image->piece_count; i++) {
		const struct image_piece *p = &image->pieces[i];

		if (!p->bytes)
			continue;
		if (p->address + (p->length - 1) > UINT32_MAX)
			return regmap__layout_wrong(error, -EINVAL, NULL,
			                            "Intel HEX has addresses of 32 bits, and there "
			                            "are bytes up to 0x%" PRIx64,
			                            p->address + (p->length - 1));
		put_piece(to, p, &upper);
	}
	if (image->has_entry && image->entry <= UINT32_MAX)
		put_number(to, START_LINEAR, image->entry, 4);
	put(to, END, 0, (const uint8_t *)"", 0);
	return 0;
}
