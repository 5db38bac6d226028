/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tree.h"
#include "layout.h"

enum { CHUNK = 64 << 10 };

struct chunk {
	struct chunk *next;
	_Alignas(16) unsigned char bytes[];
};

struct tree_memory {
	struct chunk *chunks;
	unsigned char *at;
	size_t left;
	size_t nodes;
	int error;
};

struct tree_memory *regmap__tree_memory_new(void)
{
	return calloc(1, sizeof(struct tree_memory));
}

void regmap__tree_memory_free(struct tree_memory *memory)
{
	if (!memory)
		return;
	while (memory->chunks) {
		struct chunk *next = memory->chunks->next;

		free(memory->chunks);
		memory->chunks = next;
	}
	free(memory);
}

int regmap__tree_memory_error(const struct tree_memory *memory)
{
	return memory->error ? memory->error : -ENOMEM;
}

static bool add_chunk(struct tree_memory *memory, size_t size)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + size);

	if (!chunk) {
		memory->error = -ENOMEM;
		return false;
	}
	chunk->next = memory->chunks;
	memory->chunks = chunk;
	memory->at = chunk->bytes;
	memory->left = size;
	return true;
}

void *regmap__tree_alloc(struct tree_memory *memory, size_t size)
{
	void *got;

	size = (size + 15) & ~(size_t)15;
	if (size > memory->left && !add_chunk(memory, size > CHUNK ? size : CHUNK))
		return NULL;
	got = memory->at;
	memory->at += size;
	memory->left -= size;
	return memset(got, 0, size);
}

char *regmap__tree_text(struct tree_memory *memory, const char *text, size_t length)
{
	char *copy = text ? regmap__tree_alloc(memory, length + 1) : NULL;

	return copy ? memcpy(copy, text, length) : NULL;
}

struct tree *regmap__tree_node(struct tree_memory *memory, enum tree_kind kind, const char *file,
                               unsigned line, unsigned column)
{
	struct tree *node;

	if (memory->nodes >= TREE_NODES_MOST) {
		memory->error = -E2BIG;
		return NULL;
	}
	node = regmap__tree_alloc(memory, sizeof(*node));
	if (!node)
		return NULL;
	memory->nodes++;
	node->kind = kind;
	node->file = file;
	node->line = line;
	node->column = column;
	return node;
}

static unsigned hash_of(const char *key)
{
	unsigned hash = 2166136261u;

	while (*key)
		hash = (hash ^ (unsigned char)*key++) * 16777619u;
	return hash;
}

void regmap__tree_append(struct tree *list, struct tree *child)
{
	child->next = NULL;
	child->parent = list;
	if (list->last)
		list->last->next = child;
	else
		list->first = child;
	list->last = child;
	list->count++;
}

void regmap__tree_set(struct tree *table, const char *key, struct tree *child)
{
	child->key = key;
	child->hash = hash_of(key);
	regmap__tree_append(table, child);
}

void regmap__tree_remove(struct tree *parent, struct tree *child)
{
	struct tree *before = NULL, *at = parent->first;

	while (at != child) {
		before = at;
		at = at->next;
	}
	if (before)
		before->next = child->next;
	else
		parent->first = child->next;
	if (parent->last == child)
		parent->last = before;
	parent->count--;
	child->next = child->parent = NULL;
}

void regmap__tree_replace(struct tree *table, const char *key, struct tree *child)
{
	struct tree *old = regmap__tree_get(table, key);

	if (old)
		regmap__tree_remove(table, old);
	regmap__tree_set(table, key, child);
}

struct tree *regmap__tree_get(const struct tree *table, const char *key)
{
	unsigned hash = hash_of(key);

	for (struct tree *n = table ? table->first : NULL; n; n = n->next)
		if (n->hash == hash && n->key && strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

/* Trees are never deeper than TREE_DEPTH_MOST, and a little more by includes. */
struct tree *regmap__tree_copy(struct tree_memory *memory, const struct tree *from)
{
	struct tree *to;

	if (!from)
		return NULL;
	to = regmap__tree_node(memory, from->kind, from->file, from->line, from->column);
	if (!to)
		return NULL;
	*to = *from;
	to->next = to->first = to->last = to->parent = NULL;
	to->count = 0;
	for (const struct tree *n = from->first; n; n = n->next) {
		struct tree *copy = regmap__tree_copy(memory, n);

		if (!copy)
			return NULL;
		regmap__tree_append(to, copy);
	}
	return to;
}

/* ---- places and messages --------------------------------------------------------------------- */

struct regmap_source regmap__tree_source(const struct tree *at)
{
	return (struct regmap_source){.file = at->file ? at->file : "",
	                              .line = at->line,
	                              .column = at->column};
}

struct regmap_source regmap__tree_key_source(const struct tree *at)
{
	struct regmap_source source = regmap__tree_source(at);

	if (at->key_line) {
		source.line = at->key_line;
		source.column = at->key_column;
	}
	return source;
}

static int wrong(struct regmap_error *error, int err, const struct regmap_source *source,
                 const char *format, va_list arguments)
{
	char text[sizeof(error->text)];

	vsnprintf(text, sizeof(text), format, arguments);
	return regmap__layout_wrong(error, err, source, "%s", text);
}

int regmap__tree_wrong(struct regmap_error *error, int err, const struct tree *at,
                       const char *format, ...)
{
	struct regmap_source source = regmap__tree_source(at);
	va_list arguments;

	va_start(arguments, format);
	wrong(error, err, &source, format, arguments);
	va_end(arguments);
	return err;
}

int regmap__tree_text_wrong(const struct tree_input *in, int err, unsigned line, unsigned column,
                            const char *format, ...)
{
	struct regmap_source source = {.file = in->name, .line = line, .column = column};
	va_list arguments;

	va_start(arguments, format);
	wrong(in->error, err, &source, format, arguments);
	va_end(arguments);
	return err;
}

int regmap__tree_no_node(const struct tree_input *in, unsigned line, unsigned column)
{
	int err = regmap__tree_memory_error(in->memory);

	return regmap__tree_text_wrong(in, err, line, column,
	                               err == -E2BIG ?
	                                       "more than %d values: describe less, or use dim" :
	                                       "out of memory%.0d",
	                               TREE_NODES_MOST);
}

const char *regmap__tree_kind_name(const struct tree *node)
{
	static const char *const names[] = {
		[TREE_TABLE] = "a table",    [TREE_LIST] = "a list",
		[TREE_STRING] = "a string",  [TREE_INTEGER] = "a whole number",
		[TREE_FLOAT] = "a fraction", [TREE_BOOLEAN] = "true or false",
	};

	return node->kind == TREE_OTHER ? node->string : names[node->kind];
}

static bool is_ascii(const struct tree_input *in)
{
	for (size_t i = 0; i < in->length; i++)
		if (in->text[i] & 0x80)
			return false;
	return true;
}

bool regmap__tree_lines(const struct tree_input *in, struct tree_lines *lines)
{
	const char *at = in->text, *end = in->text + in->length;
	size_t newlines = 0;

	*lines = (struct tree_lines){.text = at, .end = end};
	if (is_ascii(in))
		return true;
	for (size_t i = 0; i < in->length; i++)
		newlines += at[i] == '\n';
	lines->starts = regmap__tree_alloc(in->memory, (newlines + 1) * sizeof(*lines->starts));
	if (!lines->starts)
		return false;
	while (at) {
		lines->starts[lines->count++] = at;
		at = memchr(at, '\n', end - at);
		at = at ? at + 1 : NULL;
	}
	return true;
}

/* A character begins with every byte that doesn't go on with one. */
unsigned regmap__tree_bytes_column(const struct tree_lines *lines, unsigned line, unsigned column)
{
	const char *start, *at;
	unsigned left = column;

	if (!line || line > lines->count)
		return column;
	at = start = lines->starts[line - 1];
	for (; left > 1 && at < lines->end && *at != '\n'; left--)
		for (at++; at < lines->end && (*at & 0xC0) == 0x80;)
			at++;
	return at - start + left;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static unsigned base_of(const char **text)
{
	const char *t = *text;
	unsigned base = 10;

	if (t[0] == '0' && t[1])
		base = (t[1] | 0x20) == 'x' ? 16 : (t[1] | 0x20) == 'b' ? 2 : t[1] == 'o' ? 8 : 0;
	if (base != 10)
		*text = t + 2;
	return base;
}

bool regmap__tree_number(struct tree *node, const char *text)
{
	bool is_negative = *text == '-', is_huge = false, digit_before = false;
	uint64_t number = 0;
	unsigned base;

	text += *text == '-' || *text == '+';
	base = base_of(&text); /* 0: a leading zero, which some languages take for octal */
	if (!base)
		return false;
	for (; *text; text++) {
		unsigned digit = digit_of(*text);

		if (*text == '_' && digit_before && text[1] != '_') {
			digit_before = false;
			continue;
		}
		if (digit >= base)
			return false;
		is_huge |= __builtin_mul_overflow(number, base, &number) ||
		           __builtin_add_overflow(number, digit, &number);
		digit_before = true;
	}
	if (!digit_before)
		return false;
	node->number = number;
	node->is_negative = is_negative && number;
	node->is_huge = is_huge;
	return true;
}

const char *regmap__tree_integer_text(const struct tree *node, char to[32])
{
	const char *sign = node->is_negative ? "-" : "";

	if (node->style == TREE_ADDRESS)
		snprintf(to, 32, "%s0x%08" PRIX64, sign, node->number);
	else if (node->style == TREE_HEX)
		snprintf(to, 32, "%s0x%" PRIX64, sign, node->number);
	else
		snprintf(to, 32, "%s%" PRIu64, sign, node->number);
	return to;
}
