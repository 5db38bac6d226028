/* SPDX-License-Identifier: MIT */
/*
 * What is found wrong with a description. Loading wants the first error and stops there; checking wants
 * all of them, so that nothing below returns early by itself: it asks regmap__notes_stop().
 */
#ifndef DESCRIBE_NOTES_H
#define DESCRIBE_NOTES_H

#include "tree.h"

struct notes {
	struct regmap_error *error; /* the first error; may be NULL */
	regmap_check_fn found;      /* NULL: only the first counts */
	void *ctx;
	size_t errors;
	int err; /* of the first error */
	bool is_fatal;
};

/* An error at a value, or (_key) at the key or entry that it has. */
void regmap__note(struct notes *notes, int err, const struct tree *at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void regmap__note_key(struct notes *notes, int err, const struct tree *at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* For checks only. */
void regmap__note_warning(struct notes *notes, const struct regmap_source *source,
                          const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What another part has found. */
void regmap__note_error(struct notes *notes, int err, const struct regmap_error *error);
/* Out of memory, or TREE_NODES_MOST: nothing goes on after that. */
void regmap__note_memory(struct notes *notes, const struct tree_memory *memory,
                         const struct tree *at);

static inline bool regmap__notes_stop(const struct notes *notes)
{
	return notes->is_fatal || (notes->err && !notes->found);
}

#endif
