/* SPDX-License-Identifier: MIT */
/* Fields of SVD files and their enumerated values. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "svd_build.h"

/* Values with bits that don't count stand for so many at most; of more, for the first only. */
enum { PATTERN_MOST = 64 };

/* The values of one field, which all its copies share. */
struct svd_values {
	const struct regmap_enum_value **at;
	size_t count;
	unsigned width; /* that they have been cut to */
};

/* ---- enumerated values ---- */

static int add_value(struct svd_build *b, const struct svd_node *node, struct layout_list *list,
                     const struct regmap_enum_value *value)
{
	struct regmap_enum_value *v = regmap__layout_alloc(b->out, sizeof(*v));
	int err = regmap__svd_count(b, node, 1);

	if (err)
		return err;
	if (!v || regmap__list_reserve(b->out, list, 1))
		return regmap__svd_no_memory(b);
	*v = *value;
	regmap__list_insert(list, list->count, v);
	return 0;
}

/* All numbers that have the bits of @value where @any has none. */
static int add_pattern(struct svd_build *b, const struct svd_node *node, struct layout_list *list,
                       struct regmap_enum_value *value, uint64_t any, unsigned width)
{
	uint64_t fixed = value->value, part = 0;
	int err = 0;

	if (fixed > layout_ones(width))
		return 0;
	any &= layout_ones(width);
	if (__builtin_popcountll(any) > 6)
		any = 0;
	do {
		value->value = fixed | part;
		err = add_value(b, node, list, value);
		part = (part - any) & any;
	} while (part && !err);
	return err;
}

static int read_value(struct svd_build *b, const struct svd_node *node, unsigned usage,
                      unsigned width, struct layout_list *list)
{
	const struct svd_node *value = regmap__svd_own(node, SVD_VALUE);
	struct regmap_enum_value v = {
		.name = regmap__svd_child_text(b, node, SVD_NAME),
		.description = regmap__svd_child_text(b, node, SVD_DESCRIPTION),
		.usage = usage,
		.is_default = regmap__svd_is_true(regmap__svd_own(node, SVD_IS_DEFAULT)),
	};
	uint64_t any = 0;
	int err;

	if (!v.name || !v.description)
		return regmap__svd_no_memory(b);
	if (!v.name[0] && value)
		v.name = regmap__svd_child_text(b, node, SVD_VALUE);
	if (!v.name || !v.name[0])
		return 0;
	if (v.is_default)
		return add_value(b, node, list, &v);
	if (!value)
		return SVD_WRONG(b, node, "enumeratedValue \"%s\" has no <value>", v.name);
	err = regmap__svd_pattern(value, &v.value, &any, b->error);
	return err ? err : add_pattern(b, node, list, &v, any, width);
}

static int read_enumeration(struct svd_build *b, const struct svd_node *node, unsigned width,
                            struct layout_list *list)
{
	const struct svd_node *usage = regmap__svd_child(node, SVD_USAGE);
	unsigned use = REGMAP_READ | REGMAP_WRITE;
	int err = usage ? regmap__svd_usage(usage, &use, b->error) : 0;

	while (node->base && !regmap__svd_own(node, SVD_ENUMERATED_VALUE))
		node = node->base;
	for (const struct svd_node *n = node->member; n && !err; n = n->next)
		if (n->tag == SVD_ENUMERATED_VALUE)
			err = read_value(b, n, use, width, list);
	return err;
}

/* There may be one list for reads and one for writes. */
static const struct svd_values *make_values(struct svd_build *b, const struct svd_node *node,
                                            unsigned width, int *err)
{
	struct svd_values *values = regmap__layout_alloc(b->tree.memory, sizeof(*values));
	struct layout_list list = {0};

	*err = values ? 0 : regmap__svd_no_memory(b);
	while (node->base && !regmap__svd_own(node, SVD_ENUMERATED_VALUES))
		node = node->base;
	for (const struct svd_node *n = node->member; n && !*err; n = n->next)
		if (n->tag == SVD_ENUMERATED_VALUES)
			*err = read_enumeration(b, n, width, &list);
	if (*err)
		return NULL;
	values->at = (const struct regmap_enum_value **)list.at;
	values->count = list.count;
	values->width = width;
	return values;
}

static int read_values(struct svd_build *b, struct svd_node *node, struct regmap_field *f)
{
	const struct svd_values *values = node->values;
	int err = 0;

	if (!values || values->width != f->width)
		values = node->values = make_values(b, node, f->width, &err);
	if (err)
		return err;
	f->values = values->at;
	f->value_count = values->count;
	return 0;
}

/* ---- fields ---- */

/* <lsb> and <msb>, in either order; some have an <lsb> and a <bitWidth>. */
static int read_ends(struct svd_build *b, const struct svd_node *node, const struct svd_node *low,
                     uint64_t *lsb, uint64_t *width)
{
	const struct svd_node *high = regmap__svd_child(node, SVD_MSB);
	uint64_t msb = 0;
	int err = regmap__svd_number(low, false, lsb, b->error);

	*width = 1;
	if (err || !high)
		return err ? err : regmap__svd_child_number(b, node, SVD_BIT_WIDTH, width);
	err = regmap__svd_number(high, false, &msb, b->error);
	*width = (msb > *lsb ? msb - *lsb : *lsb - msb) + 1;
	*lsb = msb < *lsb ? msb : *lsb;
	return err;
}

static int read_range(struct svd_build *b, const struct svd_node *range, uint64_t *lsb,
                      uint64_t *width)
{
	unsigned first = 0, count = 0;
	int err = regmap__svd_bits(range, &first, &count, b->error);

	*lsb = first;
	*width = count;
	return err;
}

static int read_offset(struct svd_build *b, const struct svd_node *node,
                       const struct svd_node *offset, uint64_t *lsb, uint64_t *width)
{
	int err = regmap__svd_number(offset, false, lsb, b->error);

	*width = 1;
	return err ? err : regmap__svd_child_number(b, node, SVD_BIT_WIDTH, width);
}

/* What it says itself counts before what it is derived from. */
static int read_bits(struct svd_build *b, const struct svd_node *node, uint64_t *lsb,
                     uint64_t *width)
{
	for (const struct svd_node *n = node; n; n = n->base) {
		const struct svd_node *range = regmap__svd_own(n, SVD_BIT_RANGE),
				      *low = regmap__svd_own(n, SVD_LSB),
				      *offset = regmap__svd_own(n, SVD_BIT_OFFSET);

		if (range)
			return read_range(b, range, lsb, width);
		if (low)
			return read_ends(b, node, low, lsb, width);
		if (offset)
			return read_offset(b, node, offset, lsb, width);
	}
	return SVD_WRONG(b, node,
	                 "field \"%s\" has no bits: give it a <bitRange>, an <lsb> and <msb>, or "
	                 "a <bitOffset> and <bitWidth>",
	                 node->name);
}

/* What a field doesn't say itself is as its register's. */
static int read_actions(struct svd_build *b, const struct svd_node *node,
                        const struct regmap_register *r, struct regmap_field *f)
{
	const struct svd_node *access = regmap__svd_child(node, SVD_ACCESS),
			      *read = regmap__svd_child(node, SVD_READ_ACTION),
			      *write = regmap__svd_child(node, SVD_MODIFIED_WRITE_VALUES);
	int err = 0;

	f->access = r->access;
	f->read_action = r->read_action;
	f->write_action = r->write_action;
	if (access)
		err = regmap__svd_access(access, &f->access, b->error);
	if (!err && read)
		err = regmap__svd_read_action(read, &f->read_action, b->error);
	if (!err && write)
		err = regmap__svd_write_action(write, &f->write_action, b->error);
	return err;
}

static int add_field(struct svd_build *b, struct svd_node *node, const struct regmap_field *like,
                     const char *name, struct layout_list *list, const struct regmap_register *r)
{
	struct regmap_field *f = regmap__layout_alloc(b->out, sizeof(*f));
	int err = regmap__svd_count(b, node, 1);

	if (err)
		return err;
	if (!f || !name || regmap__list_reserve(b->out, list, 1))
		return regmap__svd_no_memory(b);
	*f = *like;
	f->name = name;
	err = regmap__svd_unique(b, r, name, f, &f->name);
	if (!err)
		err = read_values(b, node, f);
	if (!err)
		regmap__list_insert(list, list->count, f);
	return err;
}

/* What lies outside of the register is cut off, or left out. */
static int place_field(struct svd_build *b, struct svd_node *node, struct regmap_field *like,
                       uint64_t lsb, uint64_t width, unsigned from, const char *name,
                       struct layout_list *list, const struct regmap_register *r)
{
	unsigned bits = 8 * r->width;

	if (lsb < from || lsb - from >= bits)
		return 0;
	like->lsb = (unsigned)(lsb - from);
	like->width = width > bits - like->lsb ? bits - like->lsb : (unsigned)width;
	return add_field(b, node, like, name, list, r);
}

static int read_field(struct svd_build *b, struct svd_node *node, unsigned from,
                      struct layout_list *list, const struct regmap_register *r)
{
	struct regmap_field like = {
		.description = regmap__svd_child_text(b, node, SVD_DESCRIPTION),
		.source = node->source,
	};
	uint64_t lsb = 0, width = 0;
	struct svd_dim dim;
	int err = regmap__svd_dim(b, node, &dim);

	if (!node->name[0])
		return SVD_WRONG(b, node, "a field of register \"%s\" has no <name>", r->name);
	if (!err)
		err = read_bits(b, node, &lsb, &width);
	if (!err && !width)
		err = SVD_WRONG(b, node, "field \"%s\" has a width of 0 bits", node->name);
	if (!err)
		err = read_actions(b, node, r, &like);
	if (!err && !like.description)
		err = regmap__svd_no_memory(b);
	for (uint64_t i = 0; i < dim.count && !err; i++)
		err = place_field(b, node, &like, lsb + i * dim.increment, width, from,
		                  regmap__svd_name(b, node, &dim, i), list, r);
	return err;
}

int regmap__svd_fields(struct svd_build *b, const struct svd_node *node, unsigned from,
                       struct regmap_register *r)
{
	struct layout_list nodes = {0}, list = {0};
	int err = regmap__svd_collect(b, node, &nodes);

	for (size_t i = 0; i < nodes.count && !err; i++)
		err = read_field(b, (struct svd_node *)nodes.at[i], from, &list, r);
	r->fields = (const struct regmap_field *const *)list.at;
	r->field_count = list.count;
	return err;
}
