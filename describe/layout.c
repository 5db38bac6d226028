/* SPDX-License-Identifier: MIT */
/* Layouts: their memory, their lists, copies, and messages about them. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

enum { ARENA_FIRST = 4096, ARENA_MOST = 1 << 20 };

struct layout_arena {
	struct layout_arena *before;
	size_t used, size;
	_Alignas(16) unsigned char bytes[];
};

static struct layout_arena *arena_more(struct layout_arena *before, size_t need)
{
	size_t size = before ? 2 * before->size : ARENA_FIRST;
	struct layout_arena *a;

	if (size > ARENA_MOST)
		size = ARENA_MOST;
	if (size < need)
		size = need;
	if (size > SIZE_MAX - sizeof(*a))
		return NULL;
	a = calloc(1, sizeof(*a) + size);
	if (a) {
		a->before = before;
		a->size = size;
	}
	return a;
}

void *regmap__layout_alloc(struct layout *l, size_t size)
{
	struct layout_arena *a = l->arena;
	void *at;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + 15) & ~(size_t)15;
	if (!a || a->size - a->used < size) {
		a = arena_more(a, size);
		if (!a)
			return NULL;
		l->arena = a;
	}
	at = a->bytes + a->used;
	a->used += size;
	return at;
}

const char *regmap__layout_string_n(struct layout *l, const char *s, size_t length)
{
	char *copy;

	if (!s || !length)
		return "";
	copy = regmap__layout_alloc(l, length + 1);
	if (copy)
		memcpy(copy, s, length);
	return copy;
}

const char *regmap__layout_string(struct layout *l, const char *s)
{
	return regmap__layout_string_n(l, s, s ? strlen(s) : 0);
}

int regmap__list_reserve(struct layout *l, struct layout_list *list, size_t more)
{
	size_t need = list->count + more, capacity = list->capacity ? list->capacity : 4;
	const void **at;

	if (need < more || need > SIZE_MAX / (4 * sizeof(*at)))
		return -ENOMEM;
	if (need <= list->capacity)
		return 0;
	while (capacity < need)
		capacity *= 2;
	at = regmap__layout_alloc(l, capacity * sizeof(*at));
	if (!at)
		return -ENOMEM;
	if (list->count)
		memcpy(at, list->at, list->count * sizeof(*at));
	list->at = at;
	list->capacity = capacity;
	return 0;
}

void regmap__list_insert(struct layout_list *list, size_t index, const void *thing)
{
	memmove(list->at + index + 1, list->at + index, (list->count - index) * sizeof(*list->at));
	list->at[index] = thing;
	list->count++;
}

int regmap_layout_new(const char *name, struct regmap_layout **out)
{
	struct layout *l;

	if (!out)
		return -EINVAL;
	*out = NULL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->pub.name = regmap__layout_string(l, name);
	if (!l->pub.name) {
		regmap_layout_free(&l->pub);
		return -ENOMEM;
	}
	l->pub.description = l->pub.vendor = l->pub.cpu = l->pub.license = "";
	l->pub.allocate_at_once = true;
	l->pub.page_size = 4096;
	*out = &l->pub;
	return 0;
}

void regmap_layout_free(struct regmap_layout *layout)
{
	struct layout *l = layout_of(layout);

	if (!l)
		return;
	for (struct layout_arena *a = l->arena, *before; a; a = before) {
		before = a->before;
		free(a);
	}
	free(l->names.entries);
	free(l->names.slots);
	free(l->region_spans.at);
	free(l->peripheral_spans.at);
	free(l);
}

void regmap__layout_swap(struct layout *a, struct layout *b)
{
	struct layout was = *a;

	*a = *b;
	*b = was;
}

/* ---- copies ---- */

static int copy_head(const struct regmap_layout *from, struct layout *to)
{
	struct regmap_layout *pub = &to->pub;

	pub->description = regmap__layout_string(to, from->description);
	pub->vendor = regmap__layout_string(to, from->vendor);
	pub->cpu = regmap__layout_string(to, from->cpu);
	pub->license = regmap__layout_string(to, from->license);
	pub->max_memory = from->max_memory;
	pub->allocate_at_once = from->allocate_at_once;
	pub->page_size = from->page_size;
	to->is_overlay = layout_of(from)->is_overlay;
	to->insists = layout_of(from)->insists;
	return pub->description && pub->vendor && pub->cpu && pub->license ? 0 : -ENOMEM;
}

/* In the order in which they came, which decides between those that are equal. */
static int copy_peripherals(const struct regmap_layout *from, struct regmap_layout *to)
{
	const struct regmap_peripheral **by_order = NULL;
	size_t n = from->peripheral_count;
	int err = 0;

	if (!n)
		return 0;
	by_order = calloc(n, sizeof(*by_order));
	if (!by_order)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const void *p = from->peripherals[i];

		by_order[((const struct layout_peripheral *)p)->order] = p;
	}
	for (size_t i = 0; i < n && !err; i++)
		err = regmap_layout_add_peripheral(to, by_order[i], NULL);
	free(by_order);
	return err;
}

static int copy_all(const struct regmap_layout *from, struct regmap_layout *to)
{
	int err = copy_head(from, layout_of(to));

	for (size_t i = 0; i < from->space_count && !err; i++)
		err = regmap_layout_add_space(to, from->spaces[i], NULL);
	for (size_t i = 0; i < from->region_count && !err; i++)
		if (!region_of(from->regions[i])->is_made)
			err = regmap_layout_add_region(to, from->regions[i], NULL);
	if (!err)
		err = copy_peripherals(from, to);
	for (size_t i = 0; i < from->rule_count && !err; i++)
		err = regmap__layout_add_rule(layout_of(to), from->rules[i]->scope,
		                              from->rules[i]->text, &from->rules[i]->source, NULL);
	if (!err && layout_of(from)->is_finished)
		err = regmap__layout_finish(layout_of(to), NULL);
	return err;
}

int regmap__layout_copy(const struct regmap_layout *from, struct layout **out)
{
	struct regmap_layout *to;
	int err = regmap_layout_new(from->name, &to);

	*out = NULL;
	if (err)
		return err;
	err = copy_all(from, to);
	if (err)
		regmap_layout_free(to);
	else
		*out = layout_of(to);
	return err;
}

/* ---- messages ---- */

static void say_where(struct regmap_error *error, const struct regmap_source *where)
{
	size_t size = sizeof(error->text);

	if (!where || !where->file || !where->file[0])
		return;
	snprintf(error->file, sizeof(error->file), "%s", where->file);
	error->line = where->line;
	error->column = where->column;
	if (!where->line)
		snprintf(error->text, size, "%s: ", where->file);
	else if (!where->column)
		snprintf(error->text, size, "%s:%u: ", where->file, where->line);
	else
		snprintf(error->text, size, "%s:%u:%u: ", where->file, where->line, where->column);
}

/* It is one line, whatever names from a file have in them. */
static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

int regmap__layout_wrong(struct regmap_error *error, int err, const struct regmap_source *where,
                         const char *format, ...)
{
	size_t used;
	va_list ap;

	if (!error)
		return err;
	memset(error, 0, sizeof(*error));
	say_where(error, where);
	used = strlen(error->text);
	va_start(ap, format);
	vsnprintf(error->text + used, sizeof(error->text) - used, format, ap);
	va_end(ap);
	one_line(error->text);
	return err;
}
