/* SPDX-License-Identifier: MIT */
/*
 * A lock is a bit, a register that takes keys, and registers that don't take writes while the bit is 1.
 * The rule language has all that it needs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "build.h"
#include "values.h"

enum { KEYS_MOST = 16 };

struct lock {
	struct merge *m;
	struct tree *peripheral, *table;
	struct tree *reg, *field; /* of the bit */
	const char *bit, *key;
	const char *variable; /* how many keys were right */
	struct locks *out;
};

static struct tree *named(const struct tree *list, const char *name, size_t length)
{
	for (struct tree *entry = list ? list->first : NULL; entry; entry = entry->next) {
		const char *has = regmap__entry_name(entry);

		if (has && strlen(has) == length && memcmp(has, name, length) == 0)
			return entry;
	}
	return NULL;
}

static struct tree *register_of(const struct lock *l, const struct tree *at, const char *name,
                                size_t length)
{
	const struct tree *registers = regmap__tree_get(l->peripheral, "registers");
	struct tree *reg = named(registers, name, length);
	const char *near;

	if (reg)
		return reg;
	near = regmap__name_near(registers, name);
	regmap__note(l->m->notes, -EINVAL, at, "a lock: there is no register \"%.*s\"%s%s%s",
	             (int)(length > 80 ? 80 : length), name, near ? ": did you mean \"" : "",
	             near ? near : "", near ? "\"?" : "");
	return NULL;
}

static const struct tree *needed(const struct lock *l, const char *key)
{
	const struct tree *node = regmap__tree_get(l->table, key);

	if (!node)
		regmap__note(l->m->notes, -EINVAL, l->table,
		             "a lock has no %s: it needs bit, key, keys and protects", key);
	return node;
}

static void __attribute__((format(printf, 2, 3))) add_rule(struct lock *l, const char *format, ...)
{
	struct locks *out = l->out;
	char text[2048];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (out->count == out->room) {
		struct lock_rule *more = regmap__tree_alloc(l->m->memory,
		                                            (2 * out->room + 8) * sizeof(*more));

		if (!more) {
			regmap__note_memory(l->m->notes, l->m->memory, l->table);
			return;
		}
		if (out->count)
			memcpy(more, out->rules, out->count * sizeof(*more));
		out->rules = more;
		out->room = 2 * out->room + 8;
	}
	out->rules[out->count].text = regmap__tree_text(l->m->memory, text, length);
	out->rules[out->count].lock = l->table;
	if (out->rules[out->count].text)
		out->count++;
	else
		regmap__note_memory(l->m->notes, l->m->memory, l->table);
}

static bool find_bit(struct lock *l)
{
	const struct tree *at = needed(l, "bit");
	const char *dot;

	if (!at || !regmap__value_string(l->m->notes, at, &l->bit))
		return false;
	dot = strchr(l->bit, '.');
	if (!dot) {
		regmap__note(l->m->notes, -EINVAL, at,
		             "a lock's bit is a field: write \"REGISTER.FIELD\", not \"%.80s\"",
		             l->bit);
		return false;
	}
	l->reg = register_of(l, at, l->bit, dot - l->bit);
	if (!l->reg)
		return false;
	l->field = named(regmap__tree_get(l->reg, "fields"), dot + 1, strlen(dot + 1));
	if (!l->field)
		regmap__note(l->m->notes, -EINVAL, at, "a lock: there is no field \"%.80s\"",
		             l->bit);
	return l->field;
}

static bool find_key(struct lock *l)
{
	const struct tree *at = needed(l, "key");

	return at && regmap__value_string(l->m->notes, at, &l->key) &&
	       register_of(l, at, l->key, strlen(l->key));
}

/* Written 1, the bit is 1; written 0, it stays: no write opens a lock. */
static bool set_by_one(struct lock *l)
{
	struct tree *write, *at = l->table;

	l->field->mark = MARK_LOCK;
	if (regmap__tree_get(l->field, "write"))
		return true;
	write = regmap__tree_node(l->m->memory, TREE_STRING, at->file, at->line, at->column);
	if (!write) {
		regmap__note_memory(l->m->notes, l->m->memory, at);
		return false;
	}
	write->string = "oneToSet";
	regmap__tree_set(l->field, "write", write);
	return true;
}

/* A wrong key leads to a number that no key goes on from. */
static void key_rule(struct lock *l, const struct tree *keys)
{
	char text[1500] = "";
	size_t used = 0;
	unsigned count = 0;

	for (const struct tree *item = keys->first; item; item = item->next, count++) {
		uint64_t key = 0;

		if (!regmap__value_number(l->m->notes, item, &key))
			return;
		used += snprintf(text + used, sizeof(text) - used,
		                 "%s == %u && value == 0x%" PRIX64 " ? %u : ", l->variable, count,
		                 key, count + 1);
	}
	add_rule(l, "on write %s if %s: %s = %s%u; %s = %s != %u; %s = %s == %u ? 0 : %s", l->key,
	         l->bit, l->variable, text, count + 1, l->bit, l->variable, count, l->variable,
	         l->variable, count, l->variable);
}

static void protect(struct lock *l, const struct tree *item)
{
	const char *name = NULL;

	if (regmap__value_string(l->m->notes, item, &name) &&
	    register_of(l, item, name, strlen(name)))
		add_rule(l, "ignore write %s if %s", name, l->bit);
}

static void translate(struct lock *l)
{
	const struct tree *keys, *protects;
	char variable[600];

	if (!find_bit(l) || !find_key(l))
		return;
	keys = needed(l, "keys");
	protects = needed(l, "protects");
	if (!keys || !protects)
		return;
	if (keys->kind != TREE_LIST || !keys->count || keys->count > KEYS_MOST) {
		regmap__note(l->m->notes, -EINVAL, keys, "keys: a lock has 1 to %d keys",
		             KEYS_MOST);
		return;
	}
	snprintf(variable, sizeof(variable), "$%s", l->bit);
	for (char *c = variable; *c; c++)
		*c = *c == '.' ? '_' : *c;
	l->variable = variable;
	if (!set_by_one(l))
		return;
	key_rule(l, keys);
	if (protects->kind != TREE_LIST)
		protect(l, protects);
	for (const struct tree *item = protects->first; item; item = item->next)
		protect(l, item);
}

void regmap__locks_translate(struct merge *m, struct tree *peripheral, struct locks *out)
{
	struct tree *list = regmap__tree_get(peripheral, "locks");

	*out = (struct locks){0};
	for (struct tree *table = list && list->kind == TREE_LIST ? list->first : NULL;
	     table && !regmap__notes_stop(m->notes); table = table->next) {
		struct lock l = {.m = m, .peripheral = peripheral, .table = table, .out = out};

		if (table->kind == TREE_TABLE)
			translate(&l);
	}
}
