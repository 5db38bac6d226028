/* SPDX-License-Identifier: MIT */
/*
 * A CMSIS-SVD file as a tree of those of its elements that mean something to us, each with its place
 * in the file, and with what it is derived from.
 */
#ifndef DESCRIBE_SVD_TREE_H
#define DESCRIBE_SVD_TREE_H

#include "layout.h"

/* Sorted by name: they are looked up by bisection. */
#define SVD_TAGS(X) \
	X(ACCESS, "access") \
	X(ADDRESS_BLOCK, "addressBlock") \
	X(ADDRESS_OFFSET, "addressOffset") \
	X(ADDRESS_UNIT_BITS, "addressUnitBits") \
	X(ALTERNATE_GROUP, "alternateGroup") \
	X(ALTERNATE_REGISTER, "alternateRegister") \
	X(APPEND_TO_NAME, "appendToName") \
	X(BASE_ADDRESS, "baseAddress") \
	X(BIT_OFFSET, "bitOffset") \
	X(BIT_RANGE, "bitRange") \
	X(BIT_WIDTH, "bitWidth") \
	X(CLUSTER, "cluster") \
	X(CPU, "cpu") \
	X(DESCRIPTION, "description") \
	X(DEVICE, "device") \
	X(DIM, "dim") \
	X(DIM_INCREMENT, "dimIncrement") \
	X(DIM_INDEX, "dimIndex") \
	X(ENUMERATED_VALUE, "enumeratedValue") \
	X(ENUMERATED_VALUES, "enumeratedValues") \
	X(FIELD, "field") \
	X(FIELDS, "fields") \
	X(GROUP_NAME, "groupName") \
	X(INTERRUPT, "interrupt") \
	X(IS_DEFAULT, "isDefault") \
	X(LICENSE_TEXT, "licenseText") \
	X(LSB, "lsb") \
	X(MODIFIED_WRITE_VALUES, "modifiedWriteValues") \
	X(MSB, "msb") \
	X(NAME, "name") \
	X(OFFSET, "offset") \
	X(PERIPHERAL, "peripheral") \
	X(PERIPHERALS, "peripherals") \
	X(PREPEND_TO_NAME, "prependToName") \
	X(READ_ACTION, "readAction") \
	X(REGISTER, "register") \
	X(REGISTERS, "registers") \
	X(RESET_MASK, "resetMask") \
	X(RESET_VALUE, "resetValue") \
	X(SIZE, "size") \
	X(USAGE, "usage") \
	X(VALUE, "value") \
	X(VENDOR, "vendor") \
	X(VENDOR_ID, "vendorID")

enum svd_tag {
#define X(tag, name) SVD_##tag,
	SVD_TAGS(X)
#undef X
		SVD_TAG_COUNT
};

struct svd_node {
	const char *name; /* its <name>, or "": as written, "%s" and all */
	const char
		*text; /* what stands in it, with blanks made one, none at its ends; never NULL */
	const char *derived_from; /* NULL: nothing */
	struct svd_node *parent, *next;
	struct svd_node *property, *last_property; /* of each tag the first */
	struct svd_node *member,
		*last_member;  /* of which there may be many; <registers> and so on are left out */
	const char *kept;      /* its text, in the layout's memory, once that was asked for */
	const void *values;    /* of a field: its struct svd_values, likewise */
	struct svd_node *base; /* what derived_from names, once it was asked for */
	struct regmap_source source;
	uint16_t tag;        /* enum svd_tag */
	uint16_t generation; /* how many it is derived from, one from the other */
	bool is_resolving;
	bool has_list; /* there is a <peripherals>, <registers> or <fields> in it */
};

struct svd_tree {
	struct layout *memory; /* an arena for nodes */
	struct svd_node *root; /* <device> */
	struct names names;    /* things by name, in peripherals, registers and so on */
	struct names lists;    /* enumeratedValues by name alone */
	unsigned nesting;      /* of searches for what things are derived from */
	struct regmap_error *error;
};

/* Nodes borrow @file. 0; -EINVAL, -E2BIG, -ENOMEM with @error. */
int regmap__svd_tree_parse(struct svd_tree *tree, const char *text, size_t length, const char *file,
                           struct regmap_error *error);
void regmap__svd_tree_free(struct svd_tree *tree);

const char *regmap__svd_tag_name(unsigned tag);
/* Its own first of these, or NULL. */
struct svd_node *regmap__svd_own(const struct svd_node *node, enum svd_tag tag);
/* Finds what it is derived from; *base NULL: nothing. -EINVAL: there is no such thing, or that is derived from it. */
int regmap__svd_base(struct svd_tree *tree, struct svd_node *node, struct svd_node **base);

#endif
