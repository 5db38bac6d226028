/* SPDX-License-Identifier: MIT */
/*
 * A description as one tree: what a file says is laid over what the files that it includes say. What
 * comes out has no arrays, no patterns and no derived_from any more, so that a further file
 * sees every thing by its name.
 */
#ifndef DESCRIBE_MERGE_H
#define DESCRIBE_MERGE_H

#include "notes.h"

/* A list whose entries have names. */
struct listing {
	const char *key;  /* "registers" */
	const char *what; /* "register" */
	const struct listing *inner;
	const char *place; /* the key without which an entry can only correct another */
	bool is_derivable;
};
extern const struct listing regmap__spaces_listing, regmap__regions_listing,
	regmap__peripherals_listing, regmap__registers_listing, regmap__fields_listing;

struct merge {
	struct notes *notes;
	struct tree_memory *memory;
	struct tree *root; /* all that was merged */
	int missing;       /* the error where what is to be corrected isn't there */
};

/* @file's schema is checked. It becomes part of @m->root and is not used any more. */
void regmap__merge(struct merge *m, struct tree *file);

/* ---- between its parts ---- */

const char *regmap__entry_name(const struct tree *entry); /* NULL: it has none */
/* Keys and inner lists of @entry count for @base from now on. */
void regmap__merge_entry(struct merge *m, struct tree *base, struct tree *entry,
                         const struct listing *listing);

/* expand.c */
void regmap__expand_names(struct merge *m, struct tree *file);   /* "GPIOA.CRL" */
void regmap__expand_regions(struct merge *m, struct tree *file); /* peripherals inside of regions */
/* Entries with dim become as many. */
void regmap__expand_arrays(struct merge *m, struct tree *list, const struct listing *listing);

/* derive.c: all of @m->root. */
void regmap__derive(struct merge *m);

/* Names of a list's entries; in @m->memory. */
struct name_index;
struct name_index *regmap__name_index(struct merge *m, const struct tree *list); /* NULL: memory */
struct tree *regmap__name_find(const struct name_index *index, const char *name);
bool regmap__name_add(struct merge *m, struct name_index *index, struct tree *entry);
/* The entry's name that is nearest to @name, or NULL. */
const char *regmap__name_near(const struct tree *list, const char *name);

enum { MARK_PART = 1, MARK_BUSY, MARK_LOCK }; /* of entries; of a field that is 1 after a reset */

#endif
