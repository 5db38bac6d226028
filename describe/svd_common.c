/* SPDX-License-Identifier: MIT */
/* What is the same for peripherals, clusters, registers and fields: names, arrays, what is inherited. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "svd_build.h"

/* A file of a hundred bytes can ask for arrays in arrays of arrays. */
enum { THINGS_MOST = 1000000, DIM_MOST = 1 << 20 };

int regmap__svd_no_memory(struct svd_build *b)
{
	return regmap__layout_wrong(b->error, -ENOMEM, NULL, "out of memory");
}

int regmap__svd_count(struct svd_build *b, const struct svd_node *node, size_t more)
{
	b->things += more;
	if (b->things <= THINGS_MOST)
		return 0;
	return regmap__layout_wrong(b->error, -E2BIG, &node->source,
	                            "the file makes more than %d registers, fields and values: "
	                            "its arrays are too large",
	                            THINGS_MOST);
}

char *regmap__svd_text(struct svd_build *b, const char *format, ...)
{
	va_list ap, again;
	char *text = NULL;
	int length;

	va_start(ap, format);
	va_copy(again, ap);
	length = vsnprintf(NULL, 0, format, ap);
	if (length >= 0)
		text = regmap__layout_alloc(b->out, (size_t)length + 1);
	if (text)
		vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	va_end(ap);
	return text;
}

/* ---- what is inherited ---- */

struct svd_node *regmap__svd_child(const struct svd_node *node, enum svd_tag tag)
{
	for (; node; node = node->base) {
		struct svd_node *child = regmap__svd_own(node, tag);

		if (child)
			return child;
	}
	return NULL;
}

const char *regmap__svd_child_text(struct svd_build *b, const struct svd_node *node,
                                   enum svd_tag tag)
{
	struct svd_node *child = regmap__svd_child(node, tag);

	if (!child)
		return "";
	if (!child->kept)
		child->kept = regmap__layout_string(b->out, child->text);
	return child->kept;
}

int regmap__svd_child_number(struct svd_build *b, const struct svd_node *node, enum svd_tag tag,
                             uint64_t *value)
{
	const struct svd_node *child = regmap__svd_child(node, tag);

	return child ? regmap__svd_number(child, false, value, b->error) : 0;
}

/*
 * What the thing that @node is derived from has there where it stands. Things can lie in what is derived
 * from others that contain what ...: there is an end to that.
 */
static const struct svd_node *property(const struct svd_node *node, enum svd_tag tag)
{
	const struct svd_node *own = regmap__svd_own(node, tag);
	bool is_derived = node->base;

	for (unsigned steps = 0; is_derived && node && !own && steps < 4096; steps++) {
		node = node->base ? node->base : node->parent;
		own = node ? regmap__svd_own(node, tag) : NULL;
	}
	return own;
}

int regmap__svd_defaults(struct svd_build *b, const struct svd_node *node,
                         const struct svd_defaults *outer, struct svd_defaults *inner)
{
	const struct svd_node *size = property(node, SVD_SIZE),
			      *access = property(node, SVD_ACCESS),
			      *value = property(node, SVD_RESET_VALUE),
			      *mask = property(node, SVD_RESET_MASK);
	uint64_t bits = outer->bits;
	int err = 0;

	*inner = *outer;
	if (size)
		err = regmap__svd_number(size, false, &bits, b->error);
	if (!err && (bits < 1 || bits > 4096))
		err = SVD_WRONG(b, size, "<size> is %" PRIu64 " bits: it can be 1 to 4096", bits);
	inner->bits = (unsigned)bits;
	if (!err && access)
		err = regmap__svd_access(access, &inner->access, b->error);
	if (!err && value)
		err = regmap__svd_number(value, true, &inner->reset_value, b->error);
	if (!err && mask)
		err = regmap__svd_number(mask, true, &inner->reset_mask, b->error);
	return err;
}

static bool is_member(const struct svd_node *of, const struct svd_node *n)
{
	if (of->tag == SVD_REGISTER)
		return n->tag == SVD_FIELD;
	return n->tag == SVD_REGISTER || n->tag == SVD_CLUSTER;
}

static int collect_own(struct svd_build *b, const struct svd_node *of, struct layout_list *list)
{
	for (const struct svd_node *n = of->member; n; n = n->next) {
		if (!is_member(of, n))
			continue;
		if (regmap__list_reserve(b->tree.memory, list, 1))
			return regmap__svd_no_memory(b);
		regmap__list_insert(list, list->count, n);
	}
	return 0;
}

int regmap__svd_collect(struct svd_build *b, const struct svd_node *node, struct layout_list *list)
{
	size_t kept = 0;
	int err = node->base ? regmap__svd_collect(b, node->base, list) : 0;

	for (size_t i = 0; i < list->count && !err; i++) {
		const struct svd_node *n = list->at[i];

		if (!regmap__names_find(&b->tree.names, NAME_FIELD, node, n->name, strlen(n->name),
		                        true))
			list->at[kept++] = n;
	}
	list->count = kept;
	return err ? err : collect_own(b, node, list);
}

/* ---- arrays ---- */

static int add_index(struct svd_build *b, struct svd_dim *dim, uint64_t i, const char *text,
                     size_t length)
{
	dim->indices[i] = regmap__layout_string_n(b->tree.memory, text, length);
	return dim->indices[i] ? 0 : regmap__svd_no_memory(b);
}

static uint64_t count_items(const char *list)
{
	uint64_t count = 1;

	for (; *list; list++)
		count += *list == ',';
	return count;
}

/* "A,B,C" */
static int read_list(struct svd_build *b, const struct svd_node *node, struct svd_dim *dim)
{
	const char *s = node->text;
	int err = 0;

	if (count_items(s) < dim->count)
		return SVD_WRONG(b, node, "<dimIndex> has %" PRIu64 " items, <dim> is %" PRIu64,
		                 count_items(s), dim->count);
	for (uint64_t i = 0; i < dim->count && !err; i++) {
		size_t length = strcspn(s, ","), used = length;

		while (used && s[used - 1] == ' ')
			used--;
		err = add_index(b, dim, i, s, used);
		s += length + 1;
		s += strspn(s, " ");
	}
	return err;
}

/* "0-3", "A-D"; false: it isn't one. */
static bool read_ends(const char *s, uint64_t *first, uint64_t *last, bool *letters)
{
	char *end;

	*letters = ((s[0] | 0x20) >= 'a' && (s[0] | 0x20) <= 'z');
	if (*letters) {
		const char *dash = s + 1 + strspn(s + 1, " ");

		*first = (unsigned char)s[0];
		if (*dash != '-')
			return false;
		dash += 1 + strspn(dash + 1, " ");
		*last = (unsigned char)*dash;
		return *dash && !dash[1] && *last >= *first && *last <= 'z';
	}
	if (s[0] < '0' || s[0] > '9')
		return false;
	*first = strtoull(s, &end, 10);
	end += strspn(end, " ");
	if (*end != '-')
		return false;
	s = end + 1 + strspn(end + 1, " ");
	*last = strtoull(s, &end, 10);
	return end != s && !*end && *last >= *first;
}

static int read_range(struct svd_build *b, const struct svd_node *node, struct svd_dim *dim,
                      uint64_t first, uint64_t last, bool letters)
{
	char text[32];
	int err = 0;

	if (last - first < dim->count - 1)
		return SVD_WRONG(b, node, "<dimIndex> has %" PRIu64 " items, <dim> is %" PRIu64,
		                 last - first + 1, dim->count);
	for (uint64_t i = 0; i < dim->count && !err; i++) {
		if (letters)
			snprintf(text, sizeof(text), "%c", (char)(first + i));
		else
			snprintf(text, sizeof(text), "%" PRIu64, first + i);
		err = add_index(b, dim, i, text, strlen(text));
	}
	return err;
}

static int read_indices(struct svd_build *b, const struct svd_node *node, struct svd_dim *dim)
{
	uint64_t first = 0, last = dim->count - 1;
	bool letters = false;

	dim->indices = regmap__layout_alloc(b->tree.memory, dim->count * sizeof(*dim->indices));
	if (!dim->indices)
		return regmap__svd_no_memory(b);
	if (!node || !node->text[0])
		return read_range(b, node, dim, first, last, false);
	if (read_ends(node->text, &first, &last, &letters))
		return read_range(b, node, dim, first, last, letters);
	return read_list(b, node, dim);
}

/* One that is derived from an array is one, too, if its name says so. */
static const struct svd_node *dim_child(const struct svd_node *node, enum svd_tag tag)
{
	return strstr(node->name, "%s") ? regmap__svd_child(node, tag) : regmap__svd_own(node, tag);
}

int regmap__svd_dim(struct svd_build *b, const struct svd_node *node, struct svd_dim *dim)
{
	const struct svd_node *count = dim_child(node, SVD_DIM),
			      *increment = dim_child(node, SVD_DIM_INCREMENT);
	int err = 0;

	*dim = (struct svd_dim){.count = 1};
	if (!count)
		return 0;
	err = regmap__svd_number(count, false, &dim->count, b->error);
	if (!err && (dim->count < 1 || dim->count > DIM_MOST))
		err = regmap__layout_wrong(b->error, dim->count ? -E2BIG : -EINVAL, &count->source,
		                           "<dim> is %" PRIu64 ": it can be 1 to %d", dim->count,
		                           DIM_MOST);
	if (!err && !increment && dim->count > 1)
		err = SVD_WRONG(b, count, "there is a <dim>, but no <dimIncrement>");
	if (!err && increment)
		err = regmap__svd_number(increment, false, &dim->increment, b->error);
	if (!err)
		err = regmap__svd_count(b, node, dim->count);
	return err ? err : read_indices(b, dim_child(node, SVD_DIM_INDEX), dim);
}

/* ---- names ---- */

static void make_word(char *s)
{
	for (; *s; s++)
		if (!((*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') ||
		      (*s >= 'a' && *s <= 'z')))
			*s = '_';
}

/* "CH[%s]" and "CH%s" are both CH0, CH1 and so on. */
char *regmap__svd_name(struct svd_build *b, const struct svd_node *node, const struct svd_dim *dim,
                       uint64_t index)
{
	const char *name = node->name, *place = strstr(name, "%s"), *after;
	const char *text = dim->indices ? dim->indices[index] : "";
	size_t before;
	char *made;

	if (place) {
		before = (size_t)(place - name);
		after = place + 2;
		if (before && name[before - 1] == '[' && *after == ']') {
			before--;
			after++;
		}
		made = regmap__svd_text(b, "%.*s%s%s", (int)before, name, text, after);
	} else {
		made = regmap__svd_text(b, "%s%s", name, dim->count > 1 ? text : "");
	}
	if (made)
		make_word(made);
	return made;
}

/* After a few tries numbers aren't tried from the start any more: files can have any number of equal names. */
int regmap__svd_unique(struct svd_build *b, const void *parent, const char *name, const void *thing,
                       const char **unique)
{
	*unique = name;
	for (unsigned n = 2;; n++) {
		int err = regmap__names_reserve(&b->used, 1);

		if (!err && *unique)
			err = regmap__names_add(&b->used, NAME_FIELD, parent, thing);
		if (err == -ENOMEM || !*unique)
			return regmap__svd_no_memory(b);
		if (!err)
			return 0;
		*unique = regmap__svd_text(b, "%s_%u", name, n < 10 ? n : 10 + b->serial++);
	}
}
