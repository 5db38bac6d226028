/* SPDX-License-Identifier: MIT */
/* Names of a layout: a hash table that keeps the order in which they came. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

static const char *name_of(const void *thing)
{
	return *(const char *const *)thing;
}

/* 0: this character doesn't count. */
static unsigned char folded(unsigned char c)
{
	if (c == '[' || c == ']')
		return 0;
	if (c == '.')
		return '_';
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* FNV-1a, of what is left when case and such don't count. */
static uint32_t hash_of(enum name_kind kind, const void *parent, const char *name, size_t length)
{
	uint64_t h = (0xcbf29ce484222325 ^ (uintptr_t)parent ^ kind) * 0x9e3779b97f4a7c15;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = folded((unsigned char)name[i]);

		if (c)
			h = (h ^ c) * 0x100000001b3;
	}
	return (uint32_t)(h ^ h >> 32);
}

static bool folds_to(const char *has, const char *name, size_t length)
{
	size_t i = 0;

	for (; *has; has++) {
		unsigned char c = folded((unsigned char)*has);

		if (!c)
			continue;
		while (i < length && !folded((unsigned char)name[i]))
			i++;
		if (i == length || folded((unsigned char)name[i]) != c)
			return false;
		i++;
	}
	while (i < length && !folded((unsigned char)name[i]))
		i++;
	return i == length;
}

static bool is_named(const void *thing, const char *name, size_t length, bool exactly)
{
	const char *has = name_of(thing);

	if (exactly)
		return strncmp(has, name, length) == 0 && !has[length];
	return folds_to(has, name, length);
}

static void slot_in(struct names *names, size_t index)
{
	size_t mask = names->slot_count - 1, i = names->entries[index].hash & mask;

	while (names->slots[i])
		i = (i + 1) & mask;
	names->slots[i] = (uint32_t)index + 1;
}

static int grow_slots(struct names *names, size_t count)
{
	uint32_t *slots = calloc(count, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	free(names->slots);
	names->slots = slots;
	names->slot_count = count;
	for (size_t i = 0; i < names->count; i++)
		slot_in(names, i);
	return 0;
}

int regmap__names_reserve(struct names *names, size_t more)
{
	size_t need = names->count + more, capacity = names->capacity ? names->capacity : 32;
	struct name_entry *entries;

	if (need < more || need >= UINT32_MAX / 4)
		return -ENOMEM;
	while (capacity < need)
		capacity *= 2;
	if (capacity == names->capacity)
		return 0;
	entries = realloc(names->entries, capacity * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	names->entries = entries;
	if (grow_slots(names, 2 * capacity))
		return -ENOMEM;
	names->capacity = capacity;
	return 0;
}

static const void *find(const struct names *names, const struct name_entry *like, const char *name,
                        size_t length, bool exactly)
{
	size_t mask = names->slot_count - 1;

	if (!names->slot_count)
		return NULL;
	for (size_t i = like->hash & mask; names->slots[i]; i = (i + 1) & mask) {
		const struct name_entry *e = &names->entries[names->slots[i] - 1];

		if (e->hash == like->hash && e->kind == like->kind && e->parent == like->parent &&
		    is_named(e->thing, name, length, exactly))
			return e->thing;
	}
	return NULL;
}

const void *regmap__names_find(const struct names *names, enum name_kind kind, const void *parent,
                               const char *name, size_t length, bool exactly)
{
	struct name_entry like = {.parent = parent,
	                          .kind = kind,
	                          .hash = hash_of(kind, parent, name, length)};

	return find(names, &like, name, length, exactly);
}

int regmap__names_add(struct names *names, enum name_kind kind, const void *parent,
                      const void *thing)
{
	const char *name = name_of(thing);
	size_t length = strlen(name);
	struct name_entry e = {.parent = parent,
	                       .thing = thing,
	                       .kind = kind,
	                       .hash = hash_of(kind, parent, name, length)};

	if (find(names, &e, name, length, true))
		return -EEXIST;
	names->entries[names->count] = e;
	slot_in(names, names->count++);
	return 0;
}

/* The last to come has displaced nothing: its slot becomes free as it was before. */
void regmap__names_cut(struct names *names, size_t count)
{
	size_t mask = names->slot_count - 1;

	while (names->count > count) {
		size_t index = --names->count, i = names->entries[index].hash & mask;

		while (names->slots[i] != index + 1)
			i = (i + 1) & mask;
		names->slots[i] = 0;
	}
}
