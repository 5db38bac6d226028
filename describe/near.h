/* SPDX-License-Identifier: MIT */
/* What somebody may have meant: "did you mean". */
#ifndef DESCRIBE_NEAR_H
#define DESCRIBE_NEAR_H

#include <stddef.h>

/*
 * What lies between two texts: letters put in, left out, changed or swapped count 2 each, those that
 * differ in case alone @of_case (0 or 1). NEAR_FAR: one is too long to ask.
 */
enum { NEAR_FAR = 1 << 20 };
unsigned regmap__edits(const char *a, size_t n, const char *b, size_t m, unsigned of_case);

/* What is nearest to @name of what @next gives until NULL; NULL: nothing is near. */
typedef const char *(*regmap__next_name_fn)(void *ctx);
const char *regmap__nearest(const char *name, regmap__next_name_fn next, void *ctx);

#endif
