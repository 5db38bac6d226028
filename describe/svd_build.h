/* SPDX-License-Identifier: MIT */
/* From the tree of an SVD file to a layout: what its parts share. */
#ifndef DESCRIBE_SVD_BUILD_H
#define DESCRIBE_SVD_BUILD_H

#include "svd_tree.h"
#include "svd_value.h"

/* What registers inherit from outside. */
struct svd_defaults {
	unsigned bits;
	enum regmap_register_access access;
	uint64_t reset_value, reset_mask;
};

/* Guest addresses that a peripheral says it has. */
struct svd_block {
	uint64_t start, last;
	const char *name; /* of the peripheral */
	struct regmap_source source;
};

struct svd_blocks {
	struct svd_block *at;
	size_t count, capacity;
};

/* A register on its way into the layout. */
struct svd_register {
	struct regmap_register pub;
	const struct svd_node *node;
	const char *path; /* of the clusters that it lies in, as a prefix of its name */
	size_t order;
};

struct svd_build {
	struct svd_tree tree;
	struct layout *out;
	struct regmap_error *error;
	struct names used;            /* by registers of the peripheral, and by their fields */
	struct layout_list registers; /* of the peripheral; struct svd_register */
	const char *prepend, *append; /* to their names */
	struct svd_blocks blocks;     /* <addressBlock> */
	struct svd_blocks strays;     /* registers outside of their peripheral's */
	size_t things;                /* registers, fields and values so far */
	unsigned serial, depth;
};

struct svd_dim {
	uint64_t count, increment;
	const char **indices;
};

#define SVD_WRONG(b, node, ...) \
	regmap__layout_wrong((b)->error, -EINVAL, &(node)->source, __VA_ARGS__)

int regmap__svd_no_memory(struct svd_build *b);
/* So many more of them: -E2BIG. */
int regmap__svd_count(struct svd_build *b, const struct svd_node *node, size_t more);
/* In the layout's memory. */
char *regmap__svd_text(struct svd_build *b, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A child's text in the layout's memory: "" if there is no such child, NULL without memory. */
const char *regmap__svd_child_text(struct svd_build *b, const struct svd_node *node,
                                   enum svd_tag tag);

/* A child of it or of what it is derived from, or NULL. */
struct svd_node *regmap__svd_child(const struct svd_node *node, enum svd_tag tag);
/* The same as a number; @value stays if there is none. */
int regmap__svd_child_number(struct svd_build *b, const struct svd_node *node, enum svd_tag tag,
                             uint64_t *value);
int regmap__svd_defaults(struct svd_build *b, const struct svd_node *node,
                         const struct svd_defaults *outer, struct svd_defaults *inner);
/*
 * Things in a peripheral, cluster or register: those that it is derived from, but those of a name that it
 * has itself; then its own.
 */
int regmap__svd_collect(struct svd_build *b, const struct svd_node *node, struct layout_list *list);
int regmap__svd_dim(struct svd_build *b, const struct svd_node *node, struct svd_dim *dim);
/* Its name, with the index in place of "%s", and what names can't have as "_". */
char *regmap__svd_name(struct svd_build *b, const struct svd_node *node, const struct svd_dim *dim,
                       uint64_t index);
/* @name, or @name_2 and so on, so that the thing at @parent has it alone. */
int regmap__svd_unique(struct svd_build *b, const void *parent, const char *name, const void *thing,
                       const char **unique);

/* Fields of one register: into @r. @bits: how many it says it has, @from: the first that @r has of these. */
int regmap__svd_fields(struct svd_build *b, const struct svd_node *node, unsigned from,
                       struct regmap_register *r);
/* Registers and clusters of a peripheral: into b->registers. */
int regmap__svd_registers(struct svd_build *b, const struct svd_node *peripheral,
                          const struct svd_defaults *outer);

int regmap__svd_block_add(struct svd_build *b, struct svd_blocks *blocks, struct svd_block block);
/* Regions where peripherals say they are, and where their registers are. */
int regmap__svd_regions(struct svd_build *b);

#endif
