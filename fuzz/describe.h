/* SPDX-License-Identifier: MIT */
/*
 * A text as a description. What loads can be saved in every format, and what was saved loads as the same again;
 * what doesn't load says why. LDLIBS of each target keep it from files: includes find none.
 */
#ifndef FUZZ_DESCRIBE_H
#define FUZZ_DESCRIBE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <regmap/device.h>

int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	(void)path;
	(void)flags;
	errno = ENOENT;
	return -1;
}

static inline void die(const char *why, const char *more)
{
	fprintf(stderr, "%s: %s\n", why, more);
	abort();
}

static inline char *saved(const struct regmap_layout *l, enum regmap_format format, size_t *length)
{
	struct regmap_error error;
	char *text;

	if (regmap_layout_save(l, format, &text, length, &error))
		die("what loaded can't be saved", error.text);
	return text;
}

static inline void goes_round(const struct regmap_layout *l, enum regmap_format format)
{
	size_t length, again_length;
	char *text = saved(l, format, &length), *again;
	struct regmap_layout *second;
	struct regmap_error error;

	if (regmap_layout_from_string(text, length, format, "again", &second, &error))
		die("what was saved doesn't load", error.text);
	again = saved(second, format, &again_length);
	if (length != again_length || memcmp(text, again, length) != 0)
		die("what was saved loads as something else", text);
	regmap_layout_free(second);
	free(again);
	free(text);
}

/* Errors have a text of one line; nothing is left of what failed. */
static inline void check_error(int err, const struct regmap_layout *l,
                               const struct regmap_error *error)
{
	if (l)
		die("an error, and a layout", error->text);
	if (err >= 0 || !error->text[0] || strlen(error->text) >= sizeof(error->text))
		die("an error without a text", error->text);
}

static inline void describe(const uint8_t *data, size_t size, enum regmap_format format)
{
	struct regmap_layout *l = NULL;
	struct regmap_error error = {0};
	char *text = malloc(size + 1); /* so that a byte too many is seen */
	int err;

	memcpy(text, data, size);
	text = realloc(text, size ? size : 1);
	err = regmap_layout_from_string(text, size, format, "fuzz", &l, &error);
	free(text);
	if (err) {
		check_error(err, l, &error);
		return;
	}
	goes_round(l, REGMAP_FORMAT_TOML);
	goes_round(l, REGMAP_FORMAT_YAML);
	goes_round(l, REGMAP_FORMAT_JSON);
	regmap_layout_free(l);
}

#endif
