/* SPDX-License-Identifier: MIT */
/* Values as docs/devices.md has them: how each may be written, in both directions. */
#ifndef DESCRIBE_VALUES_H
#define DESCRIBE_VALUES_H

#include "near.h"
#include "notes.h"

/* Lists end with a NULL word. Words are read without regard to case. */
struct word {
	const char *word;
	unsigned value;
};
extern const struct word regmap__region_types[], regmap__accesses[], regmap__read_actions[],
	regmap__write_actions[], regmap__width_policies[], regmap__flash_policies[],
	regmap__usages[];
const char *regmap__word_of(const struct word *words, unsigned value);

/*
 * Each reads one value. False: it is wrong, which is noted; *@out is as before then. @node NULL: true, and
 * *@out is as before.
 */
bool regmap__value_number(struct notes *n, const struct tree *node, uint64_t *out);
bool regmap__value_most(struct notes *n, const struct tree *node, uint64_t most, uint64_t *out);
bool regmap__value_signed(struct notes *n, const struct tree *node, int *out);
bool regmap__value_size(struct notes *n, const struct tree *node, uint64_t *out);
bool regmap__value_boolean(struct notes *n, const struct tree *node, bool *out);
bool regmap__value_string(struct notes *n, const struct tree *node, const char **out);
bool regmap__value_word(struct notes *n, const struct tree *node, const struct word *words,
                        unsigned *out);
bool regmap__value_permissions(struct notes *n, const struct tree *node, unsigned *out);
/* 8, 16, 32 or 64 bits as bytes; a list of them as a mask of bytes. */
bool regmap__value_width(struct notes *n, const struct tree *node, unsigned *bytes);
bool regmap__value_widths(struct notes *n, const struct tree *node, unsigned *mask);
/* "7:4", "7-4", "[7:4]", "5" or 5 */
bool regmap__value_bits(struct notes *n, const struct tree *node, unsigned *lsb, unsigned *width);

#endif
