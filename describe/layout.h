/* SPDX-License-Identifier: MIT */
/*
 * A layout under construction. What is public of it, struct regmap_layout, comes first, so that the
 * two are one pointer; all that it points to lives in the layout's arena and is freed with it.
 */
#ifndef DESCRIBE_LAYOUT_H
#define DESCRIBE_LAYOUT_H

#include <regmap/device.h>

struct layout_arena; /* chunks of memory; freed together */

struct layout {
	struct regmap_layout pub;
	struct layout_arena *arena;
	bool is_overlay; /* said `overlay = true` */
};

static inline struct layout *layout_of(const struct regmap_layout *l)
{
	return (struct layout *)l;
}

/* NULL: no memory. Zeroed. */
void *regmap__layout_alloc(struct layout *l, size_t size);
/* A copy in the arena; NULL becomes "". */
const char *regmap__layout_string(struct layout *l, const char *s);
const char *regmap__layout_string_n(struct layout *l, const char *s, size_t length);

/*
 * What every loader ends with: order regions, peripherals and registers, make regions for peripherals
 * that lie in none, check everything that one alone doesn't show (overlap, circles, max_memory).
 */
int regmap__layout_finish(struct layout *l, struct regmap_error *error);

/* "file:line:column: " and the text, into @error (may be NULL). Returns @err. */
int regmap__layout_wrong(struct regmap_error *error, int err, const struct regmap_source *where,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
