/* SPDX-License-Identifier: MIT */
/* derived_from: an entry becomes a copy of another one, corrected by what it says itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "merge.h"
#include "values.h"

struct derivation {
	struct merge *m;
	const struct listing *listing;
	struct name_index *peripherals;
	/* The list that was looked through last, as most originals are where the last one was. */
	const struct tree *last_list;
	struct name_index *last_index;
};

static struct tree *in_list(struct derivation *d, const struct tree *list, const char *name)
{
	if (!list)
		return NULL;
	if (list != d->last_list) {
		d->last_index = regmap__name_index(d->m, list);
		d->last_list = d->last_index ? list : NULL;
	}
	return d->last_index ? regmap__name_find(d->last_index, name) : NULL;
}

/* "A.B.C" is taken apart in @text. */
static unsigned parts_of(char *text, const char *parts[3])
{
	unsigned count = 0;
	char *rest = text;

	for (char *part; (part = strsep(&rest, "."));) {
		if (count == 3)
			return 4;
		parts[count++] = part;
	}
	return count;
}

static struct tree *original_of(struct derivation *d, struct tree *entry, const char *name)
{
	char text[3 * 256];
	const char *parts[3];
	struct tree *list = entry->parent, *at = NULL;
	unsigned count;

	if (strlen(name) >= sizeof(text))
		return NULL;
	strcpy(text, name);
	count = parts_of(text, parts);
	if (count == 1)
		return in_list(d, list, parts[0]);
	if (d->listing == &regmap__fields_listing && count == 2)
		return in_list(d,
		               regmap__tree_get(in_list(d, list->parent->parent, parts[0]),
		                                "fields"),
		               parts[1]);
	if (count != (d->listing == &regmap__fields_listing    ? 3 :
	              d->listing == &regmap__registers_listing ? 2 :
	                                                         1))
		return NULL;
	at = regmap__name_find(d->peripherals, parts[0]);
	at = in_list(d, regmap__tree_get(at, "registers"), parts[1]);
	return count == 2 ? at : in_list(d, regmap__tree_get(at, "fields"), parts[2]);
}

/* The entry takes over what the original has; its own keys count. */
static void put_together(struct derivation *d, struct tree *entry, const struct tree *original)
{
	struct merge *m = d->m;
	struct tree *copy = regmap__tree_copy(m->memory, original), *name, *from;

	if (!copy) {
		regmap__note_memory(m->notes, m->memory, entry);
		return;
	}
	from = regmap__tree_get(entry, "derived_from");
	regmap__tree_remove(entry, from);
	name = regmap__tree_get(entry, "name");
	regmap__merge_entry(m, copy, entry, d->listing);
	regmap__tree_remove(entry, name);
	regmap__tree_replace(copy, "name", name);
	entry->first = copy->first;
	entry->last = copy->last;
	entry->count = copy->count;
	for (struct tree *node = entry->first; node; node = node->next)
		node->parent = entry;
}

static void tell_circle(struct derivation *d, struct tree *entry, struct tree **chain, size_t count)
{
	char text[300] = "";
	size_t i = 0, used = 0;

	while (chain[i] != entry)
		i++;
	for (; i < count && used < sizeof(text); i++)
		used += snprintf(text + used, sizeof(text) - used, "%s -> ",
		                 regmap__entry_name(chain[i]));
	regmap__note(d->m->notes, -EINVAL, regmap__tree_get(entry, "derived_from"),
	             "derived_from goes in a circle: %s%s", text, regmap__entry_name(entry));
}

static struct tree *next_in_chain(struct derivation *d, struct tree *entry)
{
	struct tree *from = regmap__tree_get(entry, "derived_from"), *original;
	const char *name = NULL, *near;

	if (!regmap__value_string(d->m->notes, from, &name))
		return NULL;
	original = original_of(d, entry, name);
	if (original)
		return original;
	near = regmap__name_near(entry->parent, name);
	regmap__note(d->m->notes, -EINVAL, from, "derived_from: there is no %s \"%.80s\"%s%s%s",
	             d->listing->what, name, near ? ": did you mean \"" : "", near ? near : "",
	             near ? "\"?" : "");
	return NULL;
}

/* What can't be derived stays as it is, so that it is told only once. */
static void give_up(struct tree **chain, size_t count)
{
	while (count) {
		struct tree *entry = chain[--count];

		entry->mark = 0;
		regmap__tree_remove(entry, regmap__tree_get(entry, "derived_from"));
	}
}

/* Originals first: down the chain, then up again. */
static void resolve(struct derivation *d, struct tree *entry)
{
	struct tree **chain = NULL;
	size_t count = 0, room = 0;

	while (entry && regmap__tree_get(entry, "derived_from")) {
		if (entry->mark == MARK_BUSY) {
			tell_circle(d, entry, chain, count);
			give_up(chain, count);
			return;
		}
		if (count == room) {
			struct tree **more = regmap__tree_alloc(d->m->memory,
			                                        (2 * room + 4) * sizeof(*more));

			if (!more) {
				regmap__note_memory(d->m->notes, d->m->memory, entry);
				return;
			}
			if (count)
				memcpy(more, chain, count * sizeof(*more));
			chain = more;
			room = 2 * room + 4;
		}
		entry->mark = MARK_BUSY;
		chain[count++] = entry;
		entry = next_in_chain(d, entry);
	}
	if (!entry)
		give_up(chain, count);
	while (entry && count && !regmap__notes_stop(d->m->notes)) {
		put_together(d, chain[count - 1], entry);
		entry = chain[--count];
		entry->mark = 0;
	}
}

static void derive_list(struct derivation *d, struct tree *list)
{
	for (struct tree *entry = list ? list->first : NULL;
	     entry && !regmap__notes_stop(d->m->notes); entry = entry->next)
		if (regmap__tree_get(entry, "derived_from"))
			resolve(d, entry);
}

static void derive_fields(struct derivation *d, struct tree *registers)
{
	for (struct tree *r = registers ? registers->first : NULL;
	     r && !regmap__notes_stop(d->m->notes); r = r->next)
		derive_list(d, regmap__tree_get(r, "fields"));
}

/* Nothing of this level is changed by going through another one: what was found once is found again. */
static void begin(struct derivation *d, const struct listing *listing)
{
	d->listing = listing;
	d->last_list = NULL;
}

void regmap__derive(struct merge *m)
{
	struct tree *list = regmap__tree_get(m->root, "peripherals");
	struct derivation d = {.m = m, .peripherals = regmap__name_index(m, list)};

	if (!list)
		return;
	if (!d.peripherals) {
		regmap__note_memory(m->notes, m->memory, list);
		return;
	}
	begin(&d, &regmap__peripherals_listing);
	derive_list(&d, list);
	begin(&d, &regmap__registers_listing);
	for (struct tree *p = list->first; p && !regmap__notes_stop(m->notes); p = p->next)
		derive_list(&d, regmap__tree_get(p, "registers"));
	begin(&d, &regmap__fields_listing);
	for (struct tree *p = list->first; p && !regmap__notes_stop(m->notes); p = p->next)
		derive_fields(&d, regmap__tree_get(p, "registers"));
}
