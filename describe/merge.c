/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "merge.h"
#include "values.h"

const struct listing regmap__fields_listing = {"fields", "field", NULL, "bits", true};
const struct listing regmap__registers_listing = {"registers", "register", &regmap__fields_listing,
                                                  "offset", true};
const struct listing regmap__peripherals_listing = {"peripherals", "peripheral",
                                                    &regmap__registers_listing, "address", true};
const struct listing regmap__regions_listing = {"regions", "region", NULL, "guest_address", false};
const struct listing regmap__spaces_listing = {"address_spaces", "address space", NULL, NULL,
                                               false};

static void merge_list(struct merge *m, struct tree *base, struct tree *list,
                       const struct listing *listing, bool is_correcting);

/* ---- names and patterns -------------------------------------------------------------------------- */

struct entries {
	const struct tree *at;
};

static const char *next_name(void *ctx)
{
	struct entries *e = ctx;

	while (e->at) {
		const char *name = regmap__entry_name(e->at);

		e->at = e->at->next;
		if (name)
			return name;
	}
	return NULL;
}

const char *regmap__name_near(const struct tree *list, const char *name)
{
	struct entries e = {list ? list->first : NULL};

	return regmap__nearest(name, next_name, &e);
}

static bool is_pattern(const char *name)
{
	return strpbrk(name, "*?");
}

static bool matches(const char *pattern, const char *name)
{
	const char *star = NULL, *from = NULL;

	while (*name) {
		if (*pattern == '*') {
			star = ++pattern;
			from = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star;
			name = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

/* ---- tables ---------------------------------------------------------------------------------------- */

static struct tree *child_of(struct merge *m, struct tree *table, const char *key,
                             const struct tree *like)
{
	struct tree *child = regmap__tree_get(table, key);

	if (child)
		return child;
	child = regmap__tree_node(m->memory, like->kind, like->file, like->line, like->column);
	if (!child) {
		regmap__note_memory(m->notes, m->memory, like);
		return NULL;
	}
	child->key_line = like->key_line;
	child->key_column = like->key_column;
	regmap__tree_set(table, key, child);
	return child;
}

static struct tree *copy_of(struct merge *m, const struct tree *node)
{
	struct tree *copy = regmap__tree_copy(m->memory, node);

	if (!copy)
		regmap__note_memory(m->notes, m->memory, node);
	return copy;
}

static void put(struct merge *m, struct tree *table, const struct tree *node)
{
	struct tree *copy = copy_of(m, node);

	if (copy)
		regmap__tree_replace(table, node->key, copy);
}

static void merge_table(struct merge *m, struct tree *base, const struct tree *table)
{
	for (const struct tree *node = table->first; node; node = node->next)
		put(m, base, node);
}

/* Strings alone are lists of one. */
static void append_all(struct merge *m, struct tree *entry, const struct tree *node)
{
	struct tree *list = regmap__tree_get(entry, node->key);
	struct tree *old = list && list->kind != TREE_LIST ? list : NULL;

	if (!list || old) {
		list = regmap__tree_node(m->memory, TREE_LIST, node->file, node->line,
		                         node->column);
		if (!list) {
			regmap__note_memory(m->notes, m->memory, node);
			return;
		}
		regmap__tree_replace(entry, node->key, list);
		if (old)
			regmap__tree_append(list, old);
	}
	for (const struct tree *item = node->kind == TREE_LIST ? node->first : node; item;
	     item = node->kind == TREE_LIST ? item->next : NULL) {
		struct tree *copy = copy_of(m, item);

		if (!copy)
			return;
		regmap__tree_append(list, copy);
	}
}

/* ---- entries ---------------------------------------------------------------------------------------- */

static void drop(struct tree *table, const char *key)
{
	struct tree *node = regmap__tree_get(table, key);

	if (node)
		regmap__tree_remove(table, node);
}

static bool is(const struct tree *node, const char *key)
{
	return strcmp(node->key, key) == 0;
}

/* The same thing can be said in several ways: the last counts, whatever it was before. */
static void forget_other_ways(struct tree *base, const struct tree *node,
                              const struct listing *listing)
{
	if (listing == &regmap__peripherals_listing && is(node, "address"))
		drop(base, "offset");
	if (listing != &regmap__fields_listing)
		return;
	if (is(node, "bit") || is(node, "bits") || is(node, "lsb")) {
		drop(base, "bit");
		drop(base, "bits");
	}
	if (is(node, "bit") || is(node, "bits")) {
		drop(base, "lsb");
		drop(base, "width");
	}
}

void regmap__merge_entry(struct merge *m, struct tree *base, struct tree *entry,
                         const struct listing *listing)
{
	for (struct tree *node = entry->first; node && !regmap__notes_stop(m->notes);
	     node = node->next) {
		if (is(node, "name") || is(node, "remove"))
			continue;
		if (listing->inner && is(node, listing->inner->key)) {
			struct tree *list = child_of(m, base, node->key, node);
			struct tree *copy = copy_of(m, node); /* others may match it, too */

			if (list && copy)
				merge_list(m, list, copy, listing->inner, true);
		} else if (is(node, "rules") || is(node, "locks")) {
			append_all(m, base, node);
		} else if (is(node, "flash")) {
			struct tree *table = child_of(m, base, node->key, node);

			if (table)
				merge_table(m, table, node);
		} else {
			forget_other_ways(base, node, listing);
			put(m, base, node);
		}
	}
}

/* ---- lists ------------------------------------------------------------------------------------------ */

struct listed {
	struct merge *m;
	const struct listing *listing;
	struct tree *base;
	struct name_index *there, *said; /* in base; by this list */
	bool is_correcting;
};

static void nothing_such(struct listed *l, const struct tree *entry, const char *name,
                         const char *more)
{
	const struct tree *at = regmap__tree_get(entry, "name");
	const char *near = regmap__name_near(l->base, name);

	regmap__note(l->m->notes, l->m->missing, at, "there is no %s \"%s\"%s%s%s%s",
	             l->listing->what, name, more, near ? ": did you mean \"" : "",
	             near ? near : "", near ? "\"?" : "");
}

static bool says_place(const struct tree *entry, const struct listing *listing)
{
	return !listing->place || regmap__tree_get(entry, listing->place) ||
	       regmap__tree_get(entry, "derived_from") ||
	       (listing == &regmap__fields_listing &&
	        (regmap__tree_get(entry, "bit") || regmap__tree_get(entry, "lsb"))) ||
	       (listing == &regmap__peripherals_listing && regmap__tree_get(entry, "offset"));
}

/* What is derived is put together with its original later, and is as the text has it until then. */
static void add_entry(struct listed *l, struct tree *entry, const char *name)
{
	const struct listing *inner = l->listing->inner;
	struct tree *list = inner ? regmap__tree_get(entry, inner->key) : NULL, *merged;

	if (l->is_correcting && !says_place(entry, l->listing)) {
		char more[80];

		snprintf(more, sizeof(more), " to correct, and a new one needs %s",
		         l->listing->place);
		nothing_such(l, entry, name, more);
		return;
	}
	if (list && !regmap__tree_get(entry, "derived_from")) {
		regmap__tree_remove(entry, list);
		merged = child_of(l->m, entry, inner->key, list);
		if (merged)
			merge_list(l->m, merged, list, inner, false);
	}
	regmap__tree_append(l->base, entry);
	if (!regmap__name_add(l->m, l->there, entry))
		regmap__note_memory(l->m->notes, l->m->memory, entry);
}

static bool is_removal(struct listed *l, const struct tree *entry)
{
	bool remove = false;

	regmap__value_boolean(l->m->notes, regmap__tree_get(entry, "remove"), &remove);
	return remove;
}

static size_t merge_matching(struct listed *l, struct tree *entry, const char *name, bool remove)
{
	size_t count = 0;

	for (struct tree *old = l->base->first, *next; old; old = next) {
		const char *has = regmap__entry_name(old);

		next = old->next;
		if (!has || !matches(name, has))
			continue;
		count++;
		if (remove)
			regmap__tree_remove(l->base, old);
		else
			regmap__merge_entry(l->m, old, entry, l->listing);
		if (regmap__notes_stop(l->m->notes))
			break;
	}
	return count;
}

static void said_twice(struct listed *l, const struct tree *entry, const struct tree *other)
{
	const struct tree *at = regmap__tree_get(entry, "name");

	regmap__note(
		l->m->notes, -EINVAL, at,
		"%s \"%s\" is described twice, in line %u, too: give it another name, or make it one",
		l->listing->what, regmap__entry_name(entry), regmap__tree_get(other, "name")->line);
}

/* Parts ("GPIOA.CRL") name their peripheral as often as there are parts. */
static bool is_said_once(struct listed *l, struct tree *entry, const char *name)
{
	struct tree *other = regmap__name_find(l->said, name);

	if (other && !(entry->mark == MARK_PART || other->mark == MARK_PART)) {
		said_twice(l, entry, other);
		return false;
	}
	if (!regmap__name_add(l->m, l->said, entry))
		regmap__note_memory(l->m->notes, l->m->memory, entry);
	return true;
}

static void merge_named(struct listed *l, struct tree *entry)
{
	const char *name = regmap__entry_name(entry);
	bool remove = is_removal(l, entry);
	struct tree *old;

	if (!name || !*name) {
		regmap__note(l->m->notes, -EINVAL, entry, "a %s has no name: add name = \"...\"",
		             l->listing->what);
		return;
	}
	if (is_pattern(name)) {
		if (!merge_matching(l, entry, name, remove))
			nothing_such(l, entry, name, ": the pattern matches nothing");
		l->there = remove ? regmap__name_index(l->m, l->base) : l->there;
		return;
	}
	if (!is_said_once(l, entry, name))
		return;
	old = regmap__name_find(l->there, name);
	if (remove && !old) {
		nothing_such(l, entry, name, " to remove");
	} else if (remove) {
		regmap__tree_remove(l->base, old);
		l->there = regmap__name_index(l->m, l->base);
	} else if (old) {
		regmap__merge_entry(l->m, old, entry, l->listing);
	} else {
		add_entry(l, entry, name);
	}
}

static void merge_list(struct merge *m, struct tree *base, struct tree *list,
                       const struct listing *listing, bool is_correcting)
{
	struct listed l = {.m = m, .listing = listing, .base = base};

	if (listing->is_derivable)
		regmap__expand_arrays(m, list, listing);
	l.there = regmap__name_index(m, base);
	l.said = regmap__name_index(m, NULL);
	l.is_correcting = is_correcting;
	for (struct tree *entry = list->first, *next; entry && !regmap__notes_stop(m->notes);
	     entry = next) {
		next = entry->next;
		if (!l.there || !l.said) {
			regmap__note_memory(m->notes, m->memory, entry);
			return;
		}
		if (entry->kind == TREE_TABLE)
			merge_named(&l, entry);
	}
}

/* ---- files ------------------------------------------------------------------------------------------ */

static const struct listing *listing_of(const char *key)
{
	static const struct listing *const all[] = {&regmap__spaces_listing,
	                                            &regmap__regions_listing,
	                                            &regmap__peripherals_listing};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->key, key) == 0)
			return all[i];
	return NULL;
}

static void merge_key(struct merge *m, struct tree *node, bool is_correcting)
{
	const struct listing *listing = listing_of(node->key);
	struct tree *base;

	if (is(node, "rules")) {
		append_all(m, m->root, node);
		return;
	}
	if (!listing && !is(node, "device") && !is(node, "memory"))
		return;
	base = child_of(m, m->root, node->key, node);
	if (!base || base->kind != node->kind)
		return;
	if (!listing)
		merge_table(m, base, node);
	else
		merge_list(m, base, node, listing, is_correcting);
}

void regmap__merge(struct merge *m, struct tree *file)
{
	bool is_correcting = m->root->count;

	regmap__expand_names(m, file);
	regmap__expand_regions(m, file);
	for (struct tree *node = file->first, *next; node && !regmap__notes_stop(m->notes);
	     node = next) {
		next = node->next;
		merge_key(m, node, is_correcting);
	}
	if (!regmap__notes_stop(m->notes))
		regmap__derive(m);
}
