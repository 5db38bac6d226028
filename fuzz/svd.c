/* SPDX-License-Identifier: MIT */
/*
 * SVD files from any bytes: as they are, or (if they don't begin like one) as a row of elements, attributes
 * and texts that are put together to a file whose tags match. What must hold:
 *
 * - it is taken, or there is one message of one line;
 * - what was taken can be finished, or again there is a message, searched, copied and printed;
 * - each register is found by its name, and at its address there is a register.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe/layout.h"
#include "describe/svd.h"

enum { OPEN_MOST = 80, TEXT_MOST = 1 << 16 };

static void die(const char *why)
{
	fprintf(stderr, "svd: %s\n", why);
	abort();
}

/* --- making a file --- */

static const char *const tags[] = {
	"peripheral",
	"register",
	"cluster",
	"field",
	"registers",
	"fields",
	"peripherals",
	"name",
	"addressOffset",
	"baseAddress",
	"addressBlock",
	"offset",
	"size",
	"usage",
	"dim",
	"dimIncrement",
	"dimIndex",
	"bitRange",
	"bitOffset",
	"bitWidth",
	"lsb",
	"msb",
	"access",
	"resetValue",
	"resetMask",
	"readAction",
	"modifiedWriteValues",
	"enumeratedValues",
	"enumeratedValue",
	"value",
	"isDefault",
	"alternateRegister",
	"alternateGroup",
	"description",
	"interrupt",
	"prependToName",
	"appendToName",
	"cpu",
	"vendor",
	"unknown",
};

static const char *const texts[] = {
	"A",          "B",         "A%s",   "B[%s]",       "A0",
	"A.B",        "A.B.A",     "%s",    "0",           "1",
	"2",          "3",         "4",     "8",           "16",
	"32",         "64",        "24",    "0x10",        "0x1000",
	"0x40000000", "#1x0",      "0b11",  "[7:4]",       "[0:0]",
	"[63:0]",     "0-3",       "A,B,C", "read-only",   "write-only",
	"read-write", "writeOnce", "clear", "oneToSet",    "registers",
	"reserved",   "true",      "read",  "0x100000000", "-1",
	" ",          "a b",       "&lt;",  "1k",          "0xFFFFFFFFFFFFFFF0",
	"300",        "B0",        "B.A0",
};

enum { TAGS = sizeof(tags) / sizeof(tags[0]), TEXTS = sizeof(texts) / sizeof(texts[0]) };

struct text {
	char at[TEXT_MOST + 256];
	size_t length;
};

static void put(struct text *t, const char *s)
{
	size_t length = strlen(s);

	if (t->length + length < TEXT_MOST) {
		memcpy(t->at + t->length, s, length);
		t->length += length;
	}
}

static void close_tag(struct text *t, const char *tag)
{
	put(t, "</");
	put(t, tag);
	put(t, ">");
}

/* One byte says what comes, the next which. */
static void make(struct text *t, const uint8_t *data, size_t size)
{
	const char *open[OPEN_MOST];
	unsigned depth = 0;

	t->length = 0;
	put(t, "<device><peripherals>");
	for (size_t i = 0; i + 1 < size; i += 2) {
		const char *tag = tags[data[i + 1] % TAGS], *text = texts[data[i + 1] % TEXTS];

		switch (data[i] & 7) {
		case 0:
		case 1:
			if (depth)
				close_tag(t, open[--depth]);
			break;
		case 2: put(t, text); break;
		case 3: /* a value: in a tag that closes at once */
		case 4:
			tag = tags[7 + (data[i] >> 3) % (TAGS - 7)];
			put(t, "<"), put(t, tag), put(t, ">"), put(t, text);
			close_tag(t, tag);
			break;
		case 5:
			if (depth == OPEN_MOST)
				break;
			tag = tags[(data[i] >> 3) % 4];
			put(t, "<"), put(t, tag), put(t, " derivedFrom=\""), put(t, text),
				put(t, "\">");
			open[depth++] = tag;
			break;
		default:
			if (depth == OPEN_MOST)
				break;
			put(t, "<"), put(t, tag), put(t, ">");
			open[depth++] = tag;
		}
	}
	while (depth)
		close_tag(t, open[--depth]);
	put(t, "</peripherals></device>");
}

/* --- looking at it --- */

static void check_message(int err, const struct regmap_error *error)
{
	if (err >= 0 || !error->text[0] || strchr(error->text, '\n'))
		die("no message, or not one line");
}

static void check_register(const struct regmap_layout *l, const struct regmap_peripheral *p,
                           const struct regmap_register *r)
{
	struct regmap_place place;
	char name[1024], to[64];

	if (snprintf(name, sizeof(name), "%s.%s", p->name, r->name) < (int)sizeof(name) &&
	    (regmap_layout_find(l, name, &place) || place.reg != r || place.peripheral != p))
		die("a register isn't found by its name");
	if (regmap_layout_find_at(l, p->address + r->offset, &place) || !place.region)
		die("a register lies in nothing");
	regmap_layout_describe(l, p->address + r->offset, to, sizeof(to));
	if (r->width < 8 && (r->reset_value >> (8 * r->width)))
		die("a reset value is too wide");
	for (size_t i = 0; i < r->field_count; i++)
		if (r->fields[i]->lsb + r->fields[i]->width > 8 * r->width)
			die("a field is too wide");
}

static void check(const struct regmap_layout *l)
{
	struct layout *copy;
	FILE *null = fopen("/dev/null", "w");

	for (size_t i = 0; i < l->peripheral_count; i++)
		for (size_t k = 0; k < l->peripherals[i]->register_count && k < 1000; k++)
			check_register(l, l->peripherals[i], l->peripherals[i]->registers[k]);
	if (null && l->peripheral_count < 1000)
		regmap_layout_print_map(l, null);
	if (null)
		fclose(null);
	if (regmap__layout_copy(l, &copy))
		die("it can't be copied");
	if (copy->pub.region_count != l->region_count ||
	    copy->pub.peripheral_count != l->peripheral_count)
		die("a copy isn't equal");
	regmap_layout_free(&copy->pub);
}

static void try_file(const char *text, size_t length)
{
	struct regmap_error error = {0};
	struct layout *l = NULL;
	int err = regmap__svd_load(text, length, "fuzz.svd", &l, &error);

	if (err) {
		check_message(err, &error);
		if (l)
			die("a layout in spite of an error");
		return;
	}
	err = regmap__layout_finish(l, &error);
	if (err)
		check_message(err, &error);
	else
		check(&l->pub);
	regmap_layout_free(&l->pub);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct text text;
	char *copy;

	if (size && data[0] == '<') {
		copy = malloc(size); /* so that reads behind its end are seen */
		if (!copy)
			return 0;
		memcpy(copy, data, size);
		try_file(copy, size);
		free(copy);
		return 0;
	}
	make(&text, data, size);
	try_file(text.at, text.length);
	return 0;
}
