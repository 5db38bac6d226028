/* SPDX-License-Identifier: MIT */
/* What a file says in short, said at length. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"
#include "schema.h"
#include "values.h"

/* A node of this file's making, with the place of what it comes from. */
static struct tree *made(struct merge *m, enum tree_kind kind, const struct tree *from)
{
	struct tree *node = regmap__tree_node(m->memory, kind, from->file, from->line,
	                                      from->column);

	if (!node) {
		regmap__note_memory(m->notes, m->memory, from);
		return NULL;
	}
	node->key_line = from->key_line;
	node->key_column = from->key_column;
	return node;
}

static bool put_number(struct merge *m, struct tree *table, const char *key, uint64_t number,
                       const struct tree *from)
{
	struct tree *node = made(m, TREE_INTEGER, from);

	if (!node)
		return false;
	node->number = number;
	regmap__tree_replace(table, key, node);
	return true;
}

static bool put_string(struct merge *m, struct tree *table, const char *key, const char *text,
                       size_t length, const struct tree *from)
{
	struct tree *node = made(m, TREE_STRING, from);
	const char *copy = node ? regmap__tree_text(m->memory, text, length) : NULL;

	if (!copy) {
		regmap__note_memory(m->notes, m->memory, from);
		return false;
	}
	node->string = copy;
	regmap__tree_replace(table, key, node);
	return true;
}

/* ---- "GPIOA.CRL" ----------------------------------------------------------------------------------- */

/* { name = "A.B", ... } becomes { name = "A", registers = [{ name = "B", ... }] }. */
static struct tree *split(struct merge *m, struct tree *entry, const struct listing *listing)
{
	struct tree *name = regmap__tree_get(entry, "name"), *outer, *list;
	const char *dot = name && name->kind == TREE_STRING && listing->inner ?
	                          strchr(name->string, '.') :
	                          NULL;

	if (!dot)
		return entry;
	outer = made(m, TREE_TABLE, entry);
	list = outer ? made(m, TREE_LIST, entry) : NULL;
	if (!list || !put_string(m, outer, "name", name->string, dot - name->string, name) ||
	    !put_string(m, entry, "name", dot + 1, strlen(dot + 1), name))
		return NULL;
	entry = split(m, entry, listing->inner);
	if (!entry)
		return NULL;
	regmap__tree_append(list, entry);
	regmap__tree_set(outer, listing->inner->key, list);
	outer->mark = MARK_PART;
	return outer;
}

static void split_all(struct merge *m, struct tree *file, const char *key)
{
	struct tree *list = regmap__tree_get(file, key), *all, *next;

	if (!list || list->kind != TREE_LIST)
		return;
	all = regmap__tree_get(file, "peripherals");
	if (all != list) {
		regmap__tree_remove(file, list);
		if (!all || all->kind != TREE_LIST) {
			all = made(m, TREE_LIST, list);
			if (!all)
				return;
			regmap__tree_replace(file, "peripherals", all);
		}
	}
	next = list->first;
	if (all == list) {
		list->first = list->last = NULL;
		list->count = 0;
	}
	for (struct tree *entry = next; entry; entry = next) {
		next = entry->next;
		if (entry->kind == TREE_TABLE)
			entry = split(m, entry, &regmap__peripherals_listing);
		if (!entry)
			return;
		regmap__tree_append(all, entry);
	}
}

static void want_dots(struct merge *m, const struct tree *list)
{
	for (const struct tree *entry = list && list->kind == TREE_LIST ? list->first : NULL; entry;
	     entry = entry->next) {
		const char *name = regmap__entry_name(entry);

		if (name && !strchr(name, '.'))
			regmap__note(m->notes, -EINVAL, regmap__tree_get(entry, "name"),
			             "register \"%s\" is in no peripheral: write \"PERIPHERAL.%s\"",
			             name, name);
	}
}

void regmap__expand_names(struct merge *m, struct tree *file)
{
	want_dots(m, regmap__tree_get(file, "registers"));
	split_all(m, file, "peripherals");
	split_all(m, file, "registers");
}

/* ---- peripherals inside of regions ------------------------------------------------------------------- */

/* What @region says, or what the region that it corrects does. */
static const struct tree *said(struct merge *m, const struct tree *region, const char *key)
{
	const struct tree *node = regmap__tree_get(region, key), *list;
	const char *name = regmap__entry_name(region), *has;

	list = regmap__tree_get(m->root, "regions");
	for (const struct tree *r = list && name ? list->first : NULL; r && !node; r = r->next)
		if ((has = regmap__entry_name(r)) && strcmp(has, name) == 0)
			return regmap__tree_get(r, key);
	return node;
}

static bool place_inside(struct merge *m, const struct tree *region, struct tree *peripheral)
{
	const struct tree *offset = regmap__tree_get(peripheral, "offset");
	const struct tree *start = said(m, region, "guest_address");
	const struct tree *space = said(m, region, "address_space");
	uint64_t from = 0, more = 0, size = 0, length = 0;

	if (!offset)
		return true;
	if (!start) {
		regmap__note(m->notes, -EINVAL, offset,
		             "offset: the region has no guest_address to count from");
		return false;
	}
	if (!regmap__value_number(m->notes, start, &from) ||
	    !regmap__value_number(m->notes, offset, &more) ||
	    !regmap__value_size(m->notes, said(m, region, "size"), &size) ||
	    !regmap__value_size(m->notes, regmap__tree_get(peripheral, "size"), &length))
		return false;
	if (from + more < from || (size && (more >= size || length > size - more))) {
		regmap__note(
			m->notes, -EINVAL, offset,
			"offset: the peripheral ends behind its region, which has a size of 0x%" PRIx64,
			size);
		return false;
	}
	if (!put_number(m, peripheral, "address", from + more, offset))
		return false;
	regmap__tree_remove(peripheral, regmap__tree_get(peripheral, "offset"));
	return !space || space->kind != TREE_STRING ||
	       put_string(m, peripheral, "address_space", space->string, strlen(space->string),
	                  space);
}

static void move_out(struct merge *m, struct tree *file, struct tree *region)
{
	struct tree *list = regmap__tree_get(region, "peripherals"), *next;
	struct tree *all = regmap__tree_get(file, "peripherals");

	if (!list || list->kind != TREE_LIST)
		return;
	regmap__tree_remove(region, list);
	if (!all) {
		all = made(m, TREE_LIST, list);
		if (!all)
			return;
		regmap__tree_set(file, "peripherals", all);
	}
	for (struct tree *p = list->first; p && !regmap__notes_stop(m->notes); p = next) {
		next = p->next;
		if (p->kind == TREE_TABLE && place_inside(m, region, p))
			regmap__tree_append(all, p);
	}
}

static void want_address(struct merge *m, const struct tree *list)
{
	for (const struct tree *p = list && list->kind == TREE_LIST ? list->first : NULL; p;
	     p = p->next) {
		const struct tree *offset = regmap__tree_get(p, "offset");

		if (offset)
			regmap__note_key(
				m->notes, -EINVAL, offset,
				"offset counts from a region, and this peripheral is in none's list: write address");
	}
}

void regmap__expand_regions(struct merge *m, struct tree *file)
{
	struct tree *list = regmap__tree_get(file, "regions");

	want_address(m, regmap__tree_get(file, "peripherals"));
	for (struct tree *region = list && list->kind == TREE_LIST ? list->first : NULL;
	     region && !regmap__notes_stop(m->notes); region = region->next)
		if (region->kind == TREE_TABLE)
			move_out(m, file, region);
}

/* ---- arrays --------------------------------------------------------------------------------------------- */

struct array {
	struct merge *m;
	const struct listing *listing;
	const struct tree *entry, *dim, *increment;
	const char *index; /* dim_index, or NULL */
	uint64_t count, step;
	unsigned first; /* of a range of numbers or letters */
	bool is_range;
};

static bool range_of(struct array *a)
{
	unsigned first, last;
	char from, to, end;

	if (sscanf(a->index, "%5u-%5u%c", &first, &last, &end) != 2) {
		if (sscanf(a->index, "%c-%c%c", &from, &to, &end) != 2 ||
		    !isalpha((unsigned char)from) || !isalpha((unsigned char)to))
			return true; /* a list */
		first = (unsigned char)from;
		last = (unsigned char)to;
	}
	a->is_range = true;
	a->first = first;
	return last >= first && last - first + 1 == a->count;
}

static size_t items_of(const char *list)
{
	size_t count = 1;

	for (; *list; list++)
		count += *list == ',';
	return count;
}

static bool read_array(struct array *a)
{
	struct notes *n = a->m->notes;
	const struct tree *index = regmap__tree_get(a->entry, "dim_index");

	if (!regmap__value_most(n, a->dim, DIM_MOST, &a->count) ||
	    !regmap__value_number(n, a->increment, &a->step) ||
	    !regmap__value_string(n, index, &a->index))
		return false;
	if (!a->count) {
		regmap__note(n, -EINVAL, a->dim, "dim: an array of 0: leave it out");
		return false;
	}
	if (!regmap__entry_name(a->entry) || !strstr(regmap__entry_name(a->entry), "%s")) {
		regmap__note(n, -EINVAL, a->dim,
		             "dim: the name of an array needs %%s, where 0, 1, ... goes");
		return false;
	}
	if (a->index && (!range_of(a) || (!a->is_range && items_of(a->index) != a->count))) {
		regmap__note(n, -EINVAL, index,
		             "dim_index: \"%.80s\" doesn't name %" PRIu64
		             " items: write \"A,B,C\" or \"0-3\"",
		             a->index, a->count);
		return false;
	}
	return true;
}

/* What item @i is called; at most 63 bytes. */
static void item_name(const struct array *a, uint64_t i, char to[64])
{
	const char *at = a->index;
	size_t length;

	if (a->is_range && isdigit((unsigned char)*at)) {
		snprintf(to, 64, "%u", a->first + (unsigned)i);
	} else if (a->is_range) {
		snprintf(to, 64, "%c", (char)(a->first + i));
	} else if (!a->index) {
		snprintf(to, 64, "%" PRIu64, i);
	} else {
		while (i--)
			at = strchr(at, ',') + 1;
		at += strspn(at, " ");
		length = strcspn(at, ", ");
		snprintf(to, 64, "%.*s", length > 63 ? 63 : (int)length, at);
	}
}

/* %s, or [%s] as SVD files have it, becomes the item's name. */
static bool fill_in(const struct array *a, struct tree *entry, const char *key, const char *item)
{
	struct tree *node = regmap__tree_get(entry, key);
	const char *text = node ? node->string : NULL, *at = text ? strstr(text, "%s") : NULL;
	size_t before, length;
	char *filled;

	if (!at)
		return true;
	before = at - text;
	at += 2;
	if (before && text[before - 1] == '[' && *at == ']') {
		before--;
		at++;
	}
	length = before + strlen(item) + strlen(at) + 1;
	filled = regmap__tree_alloc(a->m->memory, length);
	if (!filled) {
		regmap__note_memory(a->m->notes, a->m->memory, entry);
		return false;
	}
	snprintf(filled, length, "%.*s%s%s", (int)before, text, item, at);
	node->string = filled;
	return true;
}

static bool move_bits(const struct array *a, struct tree *entry, uint64_t by)
{
	const struct tree *bits = regmap__tree_get(entry, "bits");
	const struct tree *bit = regmap__tree_get(entry, "bit"), *from = bits ? bits : bit;
	unsigned lsb = 0, width = 1;

	if (!regmap__value_bits(a->m->notes, from, &lsb, &width))
		return false;
	if (by > 63 || lsb + by > 63) {
		regmap__note(a->m->notes, -EINVAL, a->dim, "dim: the array ends behind bit 63");
		return false;
	}
	regmap__tree_remove(entry, regmap__tree_get(entry, from->key));
	return put_number(a->m, entry, "lsb", lsb + by, from) &&
	       put_number(a->m, entry, "width", width, from);
}

static bool move(const struct array *a, struct tree *entry, uint64_t i)
{
	const struct tree *place;
	uint64_t at = 0, by;

	if (regmap__tree_get(entry, "bits") || regmap__tree_get(entry, "bit"))
		return move_bits(a, entry, i * a->step);
	place = regmap__tree_get(entry,
	                         a->listing == &regmap__fields_listing ? "lsb" : a->listing->place);
	if (!place)
		return true;
	if (!a->increment && a->count > 1) {
		regmap__note(a->m->notes, -EINVAL, a->dim, "dim: an array needs dim_increment");
		return false;
	}
	if (!regmap__value_number(a->m->notes, place, &at))
		return false;
	if (__builtin_mul_overflow(i, a->step, &by) || __builtin_add_overflow(at, by, &at)) {
		regmap__note(a->m->notes, -EINVAL, a->dim,
		             "dim: the array ends behind the last address");
		return false;
	}
	return put_number(a->m, entry, place->key, at, place);
}

static struct tree *item_of(const struct array *a, uint64_t i)
{
	struct tree *copy = regmap__tree_copy(a->m->memory, a->entry), *node;
	char item[64];

	if (!copy) {
		regmap__note_memory(a->m->notes, a->m->memory, a->entry);
		return NULL;
	}
	for (size_t k = 0; k < 3; k++) {
		node = regmap__tree_get(copy, ((const char *const[]){"dim", "dim_increment",
		                                                     "dim_index"})[k]);
		if (node)
			regmap__tree_remove(copy, node);
	}
	item_name(a, i, item);
	if (!fill_in(a, copy, "name", item) || !fill_in(a, copy, "description", item) ||
	    !move(a, copy, i))
		return NULL;
	return copy;
}

static void expand(struct merge *m, struct tree *list, struct tree *entry,
                   const struct listing *listing)
{
	struct array a = {.m = m, .listing = listing, .entry = entry};

	a.dim = regmap__tree_get(entry, "dim");
	a.increment = regmap__tree_get(entry, "dim_increment");
	if (!read_array(&a))
		return;
	for (uint64_t i = 0; i < a.count && !regmap__notes_stop(m->notes); i++) {
		struct tree *item = item_of(&a, i);

		if (!item)
			return;
		regmap__tree_append(list, item);
	}
}

void regmap__expand_arrays(struct merge *m, struct tree *list, const struct listing *listing)
{
	struct tree *entry, *next = NULL;
	bool any = false;

	for (entry = list->first; entry; entry = entry->next)
		any |= regmap__tree_get(entry, "dim") != NULL;
	if (!any)
		return;
	entry = list->first;
	list->first = list->last = NULL;
	list->count = 0;
	for (; entry && !regmap__notes_stop(m->notes); entry = next) {
		next = entry->next;
		if (regmap__tree_get(entry, "dim"))
			expand(m, list, entry, listing);
		else
			regmap__tree_append(list, entry);
	}
}
