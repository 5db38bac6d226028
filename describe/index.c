/* SPDX-License-Identifier: MIT */
/* Names of a list's entries, for lists of thousands. */
#include <string.h>

#include "merge.h"

struct name_index {
	struct tree **slots;
	size_t size, count; /* size: a power of two, at least twice count */
};

const char *regmap__entry_name(const struct tree *entry)
{
	const struct tree *name = regmap__tree_get(entry, "name");

	return name && (name->kind == TREE_STRING || name->kind == TREE_BOOLEAN) ? name->string :
	                                                                           NULL;
}

static size_t hash_of(const char *name)
{
	size_t hash = 14695981039346656037u;

	while (*name)
		hash = (hash ^ (unsigned char)*name++) * 1099511628211u;
	return hash ^ hash >> 29;
}

static struct tree **slot_of(const struct name_index *index, const char *name)
{
	size_t i = hash_of(name) & (index->size - 1);

	while (index->slots[i] && strcmp(regmap__entry_name(index->slots[i]), name) != 0)
		i = (i + 1) & (index->size - 1);
	return &index->slots[i];
}

static bool grow(struct merge *m, struct name_index *index, size_t size)
{
	struct name_index old = *index;

	index->slots = regmap__tree_alloc(m->memory, size * sizeof(*index->slots));
	if (!index->slots)
		return false;
	index->size = size;
	for (size_t i = 0; i < old.size; i++)
		if (old.slots[i])
			*slot_of(index, regmap__entry_name(old.slots[i])) = old.slots[i];
	return true;
}

struct tree *regmap__name_find(const struct name_index *index, const char *name)
{
	return *slot_of(index, name);
}

bool regmap__name_add(struct merge *m, struct name_index *index, struct tree *entry)
{
	const char *name = regmap__entry_name(entry);
	struct tree **slot;

	if (!name)
		return true;
	if (2 * (index->count + 1) > index->size && !grow(m, index, 2 * index->size))
		return false;
	slot = slot_of(index, name);
	index->count += !*slot;
	if (!*slot)
		*slot = entry;
	return true;
}

struct name_index *regmap__name_index(struct merge *m, const struct tree *list)
{
	struct name_index *index = regmap__tree_alloc(m->memory, sizeof(*index));

	if (!index || !grow(m, index, 16))
		return NULL;
	for (struct tree *entry = list ? list->first : NULL; entry; entry = entry->next)
		if (!regmap__name_add(m, index, entry))
			return NULL;
	return index;
}
