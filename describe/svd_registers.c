/* SPDX-License-Identifier: MIT */
/* Registers and clusters of SVD files, one peripheral at a time. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "svd_build.h"

/* Clusters in clusters; one that is derived from what it lies in would never end. */
enum { DEPTH_MOST = 32, WIDEST = 8 };

static int read_all(struct svd_build *b, const struct svd_node *of, const char *path,
                    uint64_t offset, const struct svd_defaults *outer);

static int element_offset(struct svd_build *b, const struct svd_node *node, uint64_t base,
                          uint64_t index, uint64_t increment, uint64_t *offset)
{
	uint64_t step;

	if (__builtin_mul_overflow(index, increment, &step) ||
	    __builtin_add_overflow(base, step, &step) ||
	    __builtin_add_overflow(*offset, step, offset))
		return SVD_WRONG(b, node, "%s \"%s\" lies behind the last address",
		                 regmap__svd_tag_name(node->tag), node->name);
	return 0;
}

static int own_offset(struct svd_build *b, const struct svd_node *node, uint64_t *offset)
{
	if (!node->name[0])
		return SVD_WRONG(b, node, "a %s has no <name>", regmap__svd_tag_name(node->tag));
	if (!regmap__svd_child(node, SVD_ADDRESS_OFFSET))
		return SVD_WRONG(b, node, "%s \"%s\" has no <addressOffset>",
		                 regmap__svd_tag_name(node->tag), node->name);
	return regmap__svd_child_number(b, node, SVD_ADDRESS_OFFSET, offset);
}

/* ---- registers ---- */

/* The least that can be accessed at once: 24 bits are read as 32. */
static unsigned bytes_for(unsigned bits)
{
	unsigned bytes = 1;

	while (8 * bytes < bits && bytes < WIDEST)
		bytes *= 2;
	return bytes;
}

static int read_effects(struct svd_build *b, const struct svd_node *node, struct regmap_register *r)
{
	const struct svd_node *read = regmap__svd_child(node, SVD_READ_ACTION),
			      *write = regmap__svd_child(node, SVD_MODIFIED_WRITE_VALUES);
	int err = 0;

	if (read)
		err = regmap__svd_read_action(read, &r->read_action, b->error);
	if (!err && write)
		err = regmap__svd_write_action(write, &r->write_action, b->error);
	return err;
}

/* @piece: which 64 bits of a register that has more. These are called NAME, NAME_1, NAME_2 ... */
static int add_register(struct svd_build *b, const struct svd_node *node,
                        const struct regmap_register *like, const char *path, const char *name,
                        unsigned piece)
{
	struct svd_register *r = regmap__layout_alloc(b->out, sizeof(*r));
	char *full, part[16] = "";
	int err = regmap__svd_count(b, node, 1);

	if (err)
		return err;
	if (piece)
		snprintf(part, sizeof(part), "_%u", piece);
	full = regmap__svd_text(b, "%s%s%s%s%s", b->prepend, path, name, b->append, part);
	if (!r || !full || regmap__list_reserve(b->tree.memory, &b->registers, 1))
		return regmap__svd_no_memory(b);
	r->pub = *like;
	r->pub.offset += (uint64_t)WIDEST * piece;
	r->node = node;
	r->path = path;
	r->order = b->registers.count;
	err = regmap__svd_unique(b, NULL, full, r, &r->pub.name);
	if (!err)
		err = regmap__svd_fields(b, node, 8 * WIDEST * piece, &r->pub);
	if (!err)
		regmap__list_insert(&b->registers, b->registers.count, r);
	return err;
}

static int add_pieces(struct svd_build *b, const struct svd_node *node,
                      const struct regmap_register *like, unsigned bits, const char *path,
                      const char *name)
{
	unsigned pieces = (bits + 8 * WIDEST - 1) / (8 * WIDEST);
	struct regmap_register r = *like;
	int err = name ? 0 : regmap__svd_no_memory(b);

	for (unsigned i = 0; i < pieces && !err; i++) {
		unsigned left = bits - 8 * WIDEST * i;

		r.width = bytes_for(left);
		r.reset_mask = i ? 0 : like->reset_mask & layout_ones(left);
		r.reset_value = i ? 0 : like->reset_value & r.reset_mask;
		err = add_register(b, node, &r, path, name, i);
	}
	return err;
}

static int read_register(struct svd_build *b, const struct svd_node *node, const char *path,
                         uint64_t offset, const struct svd_defaults *outer)
{
	struct regmap_register like = {
		.description = regmap__svd_child_text(b, node, SVD_DESCRIPTION),
		.alternate = "",
		.source = node->source,
	};
	struct svd_defaults own;
	struct svd_dim dim;
	uint64_t base = 0;
	int err = own_offset(b, node, &base);

	if (!err)
		err = regmap__svd_defaults(b, node, outer, &own);
	if (!err)
		err = read_effects(b, node, &like);
	if (!err)
		err = regmap__svd_dim(b, node, &dim);
	if (err)
		return err;
	if (!like.description)
		return regmap__svd_no_memory(b);
	like.access = own.access;
	like.reset_value = own.reset_value;
	like.reset_mask = own.reset_mask;
	for (uint64_t i = 0; i < dim.count && !err; i++) {
		like.offset = offset;
		err = element_offset(b, node, base, i, dim.increment, &like.offset);
		if (!err)
			err = add_pieces(b, node, &like, own.bits, path,
			                 regmap__svd_name(b, node, &dim, i));
	}
	return err;
}

/* ---- clusters ---- */

static int read_cluster_element(struct svd_build *b, const struct svd_node *node, const char *path,
                                const char *name, uint64_t offset, const struct svd_defaults *outer)
{
	const char *inner = name ? regmap__svd_text(b, "%s%s_", path, name) : NULL;
	int err;

	if (!inner)
		return regmap__svd_no_memory(b);
	if (b->depth == DEPTH_MOST)
		return regmap__layout_wrong(b->error, -E2BIG, &node->source,
		                            "cluster \"%s\" lies in more than %d others",
		                            node->name, DEPTH_MOST);
	b->depth++;
	err = regmap__svd_count(b, node, 1);
	if (!err)
		err = read_all(b, node, inner, offset, outer);
	b->depth--;
	return err;
}

static int read_cluster(struct svd_build *b, const struct svd_node *node, const char *path,
                        uint64_t offset, const struct svd_defaults *outer)
{
	struct svd_defaults own;
	struct svd_dim dim;
	uint64_t base = 0;
	int err = own_offset(b, node, &base);

	if (!err)
		err = regmap__svd_defaults(b, node, outer, &own);
	if (!err)
		err = regmap__svd_dim(b, node, &dim);
	if (err)
		return err;
	for (uint64_t i = 0; i < dim.count && !err; i++) {
		uint64_t at = offset;

		err = element_offset(b, node, base, i, dim.increment, &at);
		if (!err)
			err = read_cluster_element(b, node, path,
			                           regmap__svd_name(b, node, &dim, i), at, &own);
	}
	return err;
}

static int read_all(struct svd_build *b, const struct svd_node *of, const char *path,
                    uint64_t offset, const struct svd_defaults *outer)
{
	struct layout_list nodes = {0};
	int err = regmap__svd_collect(b, of, &nodes);

	for (size_t i = 0; i < nodes.count && !err; i++) {
		const struct svd_node *n = nodes.at[i];

		err = n->tag == SVD_CLUSTER ? read_cluster(b, n, path, offset, outer) :
		                              read_register(b, n, path, offset, outer);
	}
	return err;
}

/* ---- other views ---- */

static int by_offset(const void *a, const void *b)
{
	const struct svd_register *const *x = a, *const *y = b;

	if ((*x)->pub.offset != (*y)->pub.offset)
		return (*x)->pub.offset < (*y)->pub.offset ? -1 : 1;
	return (*x)->order < (*y)->order ? -1 : (*x)->order > (*y)->order;
}

static bool says(const struct svd_register *r, const struct svd_register *other)
{
	const struct svd_node *n = regmap__svd_own(r->node, SVD_ALTERNATE_REGISTER);

	return n && strcmp(n->text, other->node->name) == 0;
}

/*
 * Of registers at one offset, @r is another view of the one that it names; and one in a group, of the first
 * that is in none. Of two that name each other the first is the original.
 */
static void find_original(struct svd_register *r, struct svd_register *const *same, size_t count)
{
	bool in_group = regmap__svd_own(r->node, SVD_ALTERNATE_GROUP);

	if (!in_group && !regmap__svd_own(r->node, SVD_ALTERNATE_REGISTER))
		return;
	for (size_t i = 0; i < count && i < 64; i++) {
		const struct svd_register *other = same[i];
		bool means = says(r, other) && !(says(other, r) && r->order < other->order);

		if (in_group && !means)
			means = !regmap__svd_own(other->node, SVD_ALTERNATE_GROUP) &&
			        !regmap__svd_own(other->node, SVD_ALTERNATE_REGISTER);
		if (other != r && means) {
			r->pub.alternate = other->pub.name;
			return;
		}
	}
}

static void find_originals(struct svd_build *b)
{
	struct svd_register **all = (struct svd_register **)b->registers.at;
	size_t count = b->registers.count, end;

	if (count)
		qsort(all, count, sizeof(*all), by_offset);
	for (size_t i = 0; i < count; i = end) {
		for (end = i + 1; end < count && all[end]->pub.offset == all[i]->pub.offset;)
			end++;
		for (size_t j = i; j < end; j++)
			find_original(all[j], all + i, end - i);
	}
}

int regmap__svd_registers(struct svd_build *b, const struct svd_node *peripheral,
                          const struct svd_defaults *outer)
{
	int err;

	b->registers.count = 0;
	b->depth = 0;
	regmap__names_cut(&b->used, 0);
	b->prepend = regmap__svd_child_text(b, peripheral, SVD_PREPEND_TO_NAME);
	b->append = regmap__svd_child_text(b, peripheral, SVD_APPEND_TO_NAME);
	if (!b->prepend || !b->append)
		return regmap__svd_no_memory(b);
	err = read_all(b, peripheral, "", 0, outer);
	if (!err)
		find_originals(b);
	return err;
}
