/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "layout.h"
#include "notes.h"

void regmap__note_error(struct notes *notes, int err, const struct regmap_error *error)
{
	notes->errors++;
	if (err == -ENOMEM)
		notes->is_fatal = true;
	if (!notes->err) {
		notes->err = err;
		if (notes->error)
			*notes->error = *error;
	}
	if (notes->found)
		notes->found(notes->ctx, true, error);
}

static void note(struct notes *notes, int err, const struct regmap_source *source,
                 const char *format, va_list arguments)
{
	struct regmap_error error;
	char text[sizeof(error.text)];

	if (notes->err && !notes->found)
		return;
	vsnprintf(text, sizeof(text), format, arguments);
	regmap__layout_wrong(&error, err, source, "%s", text);
	regmap__note_error(notes, err, &error);
}

void regmap__note(struct notes *notes, int err, const struct tree *at, const char *format, ...)
{
	struct regmap_source source = regmap__tree_source(at);
	va_list arguments;

	va_start(arguments, format);
	note(notes, err, &source, format, arguments);
	va_end(arguments);
}

void regmap__note_key(struct notes *notes, int err, const struct tree *at, const char *format, ...)
{
	struct regmap_source source = regmap__tree_key_source(at);
	va_list arguments;

	va_start(arguments, format);
	note(notes, err, &source, format, arguments);
	va_end(arguments);
}

void regmap__note_warning(struct notes *notes, const struct regmap_source *source,
                          const char *format, ...)
{
	struct regmap_error error;
	char text[sizeof(error.text)];
	va_list arguments;

	if (!notes->found)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	regmap__layout_wrong(&error, 0, source, "%s", text);
	notes->found(notes->ctx, false, &error);
}

void regmap__note_memory(struct notes *notes, const struct tree_memory *memory,
                         const struct tree *at)
{
	int err = regmap__tree_memory_error(memory);

	if (notes->is_fatal)
		return;
	if (err == -E2BIG)
		regmap__note(notes, err, at, "more than %d values: describe less", TREE_NODES_MOST);
	else
		regmap__note(notes, err, at, "out of memory");
	notes->is_fatal = true;
}
