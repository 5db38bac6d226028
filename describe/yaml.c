/* SPDX-License-Identifier: MIT */
/* YAML by libyaml: its events as a tree, and a tree as events. Plain scalars are those of YAML 1.1. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

#include "tree.h"

struct anchor {
	struct anchor *next;
	const char *name;
	struct tree *node;
};

/* A table or list that isn't at its end yet. */
struct level {
	struct tree *node;
	struct tree *key;   /* of the value that comes next; its string is the key */
	struct tree *merge; /* what "<<" brought along */
	const char *anchor;
	bool is_merge; /* the key was "<<" */
};

struct reader {
	const struct tree_input *in;
	struct tree_lines lines;
	yaml_parser_t parser;
	struct level levels[TREE_DEPTH_MOST + 1];
	unsigned depth;
	struct tree *root;
	struct anchor *anchors;
	size_t aliased; /* nodes that aliases stand for */
	unsigned documents;
	int err;
};

static unsigned column_of(const struct reader *r, const yaml_mark_t *at)
{
	return regmap__tree_bytes_column(&r->lines, at->line + 1, at->column + 1);
}

/* Always false. */
static bool __attribute__((format(printf, 4, 5)))
wrong(struct reader *r, int err, const yaml_mark_t *at, const char *format, ...)
{
	char text[300];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	r->err = regmap__tree_text_wrong(r->in, err, at->line + 1, column_of(r, at), "%s", text);
	return false;
}

static bool wrong_node(struct reader *r, const struct tree *node, const char *what)
{
	r->err = regmap__tree_text_wrong(r->in, -EINVAL, node->line, node->column, "%s", what);
	return false;
}

static bool no_node(struct reader *r, const yaml_mark_t *at)
{
	r->err = regmap__tree_no_node(r->in, at->line + 1, column_of(r, at));
	return false;
}

static struct tree *new_node(struct reader *r, enum tree_kind kind, const yaml_mark_t *at)
{
	struct tree *node = regmap__tree_node(r->in->memory, kind, r->in->name, at->line + 1,
	                                      column_of(r, at));

	if (!node)
		no_node(r, at);
	return node;
}

/* ---- scalars --------------------------------------------------------------------------------------- */

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcasecmp(text, *words) == 0)
			return true;
	return false;
}

static bool is_fraction(const char *text)
{
	static const char *const words[] = {".inf", "-.inf", "+.inf", ".nan", NULL};
	char *end;

	if (is_one_of(text, words))
		return true;
	if (strspn(text, "0123456789+-.eE") != strlen(text) || !strpbrk(text, "0123456789") ||
	    !strpbrk(text, ".eE"))
		return false;
	strtod(text, &end);
	return !*end;
}

/* What a scalar without quotes is. */
static enum tree_kind kind_of(struct tree *node)
{
	static const char *const yes[] = {"true", "yes", "on", "y", NULL};
	static const char *const no[] = {"false", "no", "off", "n", NULL};
	static const char *const null[] = {"", "~", "null", NULL};

	if (is_one_of(node->string, yes) || is_one_of(node->string, no)) {
		node->number = is_one_of(node->string, yes);
		return TREE_BOOLEAN;
	}
	if (is_one_of(node->string, null)) {
		node->string = "nothing";
		return TREE_OTHER;
	}
	if (regmap__tree_number(node, node->string))
		return TREE_INTEGER;
	return is_fraction(node->string) ? TREE_FLOAT : TREE_STRING;
}

static struct tree *scalar(struct reader *r, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	const char *tag = (const char *)event->data.scalar.tag;
	size_t length = event->data.scalar.length;
	struct tree *node = new_node(r, TREE_STRING, &event->start_mark);

	if (!node)
		return NULL;
	if (memchr(text, '\0', length)) {
		wrong(r, -EINVAL, &event->start_mark, "the string holds a NUL: leave it out");
		return NULL;
	}
	node->string = regmap__tree_text(r->in->memory, text, length);
	if (!node->string) {
		no_node(r, &event->start_mark);
		return NULL;
	}
	if (tag && strcmp(tag, YAML_STR_TAG) != 0 && strcmp(tag, "!") != 0) {
		wrong(r, -EINVAL, &event->start_mark, "the tag %.80s is not known: leave it out",
		      tag);
		return NULL;
	}
	node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !tag;
	if (node->is_plain)
		node->kind = kind_of(node);
	return node;
}

/* ---- anchors --------------------------------------------------------------------------------------- */

static bool remember(struct reader *r, const char *name, struct tree *node, const yaml_mark_t *at)
{
	struct anchor *a;

	if (!name)
		return true;
	a = regmap__tree_alloc(r->in->memory, sizeof(*a));
	if (a)
		a->name = regmap__tree_text(r->in->memory, name, strlen(name));
	if (!a || !a->name)
		return no_node(r, at);
	a->node = node;
	a->next = r->anchors;
	r->anchors = a;
	return true;
}

static size_t size_of(const struct tree *node)
{
	size_t size = 1;

	for (const struct tree *n = node->first; n; n = n->next)
		size += size_of(n);
	return size;
}

/* A copy, so that a tree is a tree; many copies of many copies are a bomb. */
static struct tree *aliased(struct reader *r, const yaml_event_t *event)
{
	const char *name = (const char *)event->data.alias.anchor;
	const yaml_mark_t *at = &event->start_mark;
	struct tree *node;

	for (struct anchor *a = r->anchors; a; a = a->next) {
		if (strcmp(a->name, name) != 0)
			continue;
		for (unsigned i = 0; i < r->depth; i++)
			if (r->levels[i].node == a->node) {
				wrong(r, -EINVAL, at, "alias *%.80s stands inside of itself", name);
				return NULL;
			}
		r->aliased += size_of(a->node);
		if (r->aliased > TREE_ALIASED_MOST) {
			wrong(r, -E2BIG, at, "aliases stand for more than %d values: write less",
			      TREE_ALIASED_MOST);
			return NULL;
		}
		node = regmap__tree_copy(r->in->memory, a->node);
		if (!node)
			no_node(r, at);
		return node;
	}
	wrong(r, -EINVAL, at, "there is no anchor &%.80s before this alias", name);
	return NULL;
}

/* ---- tables and lists ------------------------------------------------------------------------------ */

static bool put_key(struct reader *r, struct level *l, struct tree *node, const yaml_mark_t *at)
{
	struct tree *other;

	if (!node->string || node->kind == TREE_TABLE || node->kind == TREE_LIST)
		return wrong_node(r, node, "a key must be a string");
	l->is_merge = node->is_plain && strcmp(node->string, "<<") == 0;
	other = l->is_merge ? NULL : regmap__tree_get(l->node, node->string);
	if (other)
		return wrong(r, -EINVAL, at, "the key \"%.80s\" is there already, in line %u",
		             node->string, other->key_line);
	if (l->node->count >= TREE_KEYS_MOST)
		return wrong(r, -E2BIG, at, "the table has more than %d keys", TREE_KEYS_MOST);
	l->key = node;
	return true;
}

static bool put_merge(struct reader *r, struct level *l, struct tree *node)
{
	if (node->kind == TREE_LIST) {
		for (struct tree *item = node->first, *next; item; item = next) {
			next = item->next;
			if (!put_merge(r, l, item))
				return false;
		}
		return true;
	}
	if (node->kind != TREE_TABLE)
		return wrong_node(r, node, "<< takes a table, or a list of them");
	node->next = l->merge;
	l->merge = node;
	return true;
}

/* What was merged counts where the table says nothing itself; of two, the first. */
static void finish_merges(struct level *l)
{
	struct tree *first = NULL, *next;

	for (struct tree *table = l->merge; table; table = next) {
		next = table->next;
		table->next = first;
		first = table;
	}
	for (struct tree *table = first; table; table = table->next)
		for (struct tree *n = table->first, *after; n; n = after) {
			after = n->next;
			if (!regmap__tree_get(l->node, n->key))
				regmap__tree_set(l->node, n->key, n);
		}
}

static bool put_node(struct reader *r, struct tree *node, const yaml_mark_t *at)
{
	struct level *l;

	if (!r->depth) {
		r->root = node;
		return true;
	}
	l = &r->levels[r->depth - 1];
	if (l->node->kind == TREE_LIST) {
		regmap__tree_append(l->node, node);
		return true;
	}
	if (!l->key)
		return put_key(r, l, node, at);
	if (l->is_merge) {
		l->key = NULL;
		return put_merge(r, l, node);
	}
	node->key_line = l->key->line;
	node->key_column = l->key->column;
	regmap__tree_set(l->node, l->key->string, node);
	l->key = NULL;
	return true;
}

static bool begin(struct reader *r, enum tree_kind kind, const yaml_char_t *anchor,
                  const yaml_mark_t *at)
{
	struct tree *node;

	if (r->depth == TREE_DEPTH_MOST)
		return wrong(r, -E2BIG, at, "tables and lists are nested too deeply");
	node = new_node(r, kind, at);
	if (!node || !remember(r, (const char *)anchor, node, at))
		return false;
	r->levels[r->depth++] = (struct level){.node = node};
	return true;
}

static bool end(struct reader *r, const yaml_mark_t *at)
{
	struct level *l = &r->levels[--r->depth];

	if (l->node->kind == TREE_TABLE)
		finish_merges(l);
	return put_node(r, l->node, at);
}

/* ---- events ---------------------------------------------------------------------------------------- */

static bool take_scalar(struct reader *r, const yaml_event_t *event)
{
	struct tree *node = scalar(r, event);

	return node &&
	       remember(r, (const char *)event->data.scalar.anchor, node, &event->start_mark) &&
	       put_node(r, node, &event->start_mark);
}

static bool take_alias(struct reader *r, const yaml_event_t *event)
{
	struct tree *node = aliased(r, event);

	return node && put_node(r, node, &event->start_mark);
}

static bool take(struct reader *r, const yaml_event_t *event)
{
	const yaml_mark_t *at = &event->start_mark;

	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (r->documents++)
			return wrong(r, -EINVAL, at, "a second document: a file has one");
		return true;
	case YAML_SCALAR_EVENT: return take_scalar(r, event);
	case YAML_ALIAS_EVENT: return take_alias(r, event);
	case YAML_SEQUENCE_START_EVENT:
		return begin(r, TREE_LIST, event->data.sequence_start.anchor, at);
	case YAML_MAPPING_START_EVENT:
		return begin(r, TREE_TABLE, event->data.mapping_start.anchor, at);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: return end(r, at);
	default: return true;
	}
}

static void syntax_error(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const yaml_mark_t *at = p->error == YAML_READER_ERROR ? &p->mark : &p->problem_mark;

	if (p->error == YAML_MEMORY_ERROR)
		r->err = regmap__tree_text_wrong(r->in, -ENOMEM, 0, 0, "out of memory");
	else
		wrong(r, -EINVAL, at, "YAML: %s%s%s", p->problem ? p->problem : "not readable",
		      p->context ? ", " : "", p->context ? p->context : "");
}

static void read_events(struct reader *r)
{
	yaml_event_type_t type = YAML_NO_EVENT;

	while (!r->err && type != YAML_STREAM_END_EVENT) {
		yaml_event_t event;

		if (!yaml_parser_parse(&r->parser, &event)) {
			syntax_error(r);
			return;
		}
		type = event.type;
		take(r, &event);
		yaml_event_delete(&event);
	}
}

int regmap__tree_from_yaml(const struct tree_input *in, struct tree **out)
{
	struct reader *r = regmap__tree_alloc(in->memory, sizeof(*r));

	*out = NULL;
	if (!r)
		return regmap__tree_no_node(in, 0, 0);
	r->in = in;
	if (!regmap__tree_lines(in, &r->lines) || !yaml_parser_initialize(&r->parser))
		return regmap__tree_text_wrong(in, -ENOMEM, 0, 0, "out of memory");
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)in->text, in->length);
	read_events(r);
	yaml_parser_delete(&r->parser);
	if (!r->err && !r->root)
		r->root = regmap__tree_node(in->memory, TREE_TABLE, in->name, 1, 1);
	if (!r->err && !r->root)
		return regmap__tree_no_node(in, 1, 1);
	*out = r->err ? NULL : r->root;
	return r->err;
}

/* ---- writing ---------------------------------------------------------------------------------------- */

struct writer {
	yaml_emitter_t emitter;
	char *text;
	size_t length, room;
	bool failed;
};

static int more_text(void *ctx, unsigned char *bytes, size_t size)
{
	struct writer *w = ctx;

	if (w->length + size + 1 > w->room) {
		size_t room = 2 * (w->length + size) + 4096;
		char *text = realloc(w->text, room);

		if (!text)
			return 0;
		w->text = text;
		w->room = room;
	}
	memcpy(w->text + w->length, bytes, size);
	w->length += size;
	w->text[w->length] = '\0';
	return 1;
}

static void emit(struct writer *w, int made, yaml_event_t *event)
{
	if (!made || w->failed || !yaml_emitter_emit(&w->emitter, event))
		w->failed = true;
}

/* Quoted where it would be taken for something else. */
static void emit_string(struct writer *w, const char *text)
{
	struct tree as_plain = {.string = text};
	bool is_string = kind_of(&as_plain) == TREE_STRING && strcmp(text, "<<") != 0 &&
	                 strspn(text, "0123456789.:+-_") != strlen(text);
	yaml_event_t event;

	emit(w,
	     yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
	                                  strlen(text), 1, 1,
	                                  is_string ? YAML_ANY_SCALAR_STYLE :
	                                              YAML_DOUBLE_QUOTED_SCALAR_STYLE),
	     &event);
}

static void emit_value(struct writer *w, const struct tree *node)
{
	char text[32];
	yaml_event_t event;

	if (node->kind == TREE_BOOLEAN)
		strcpy(text, node->number ? "true" : "false");
	else
		regmap__tree_integer_text(node, text);
	emit(w,
	     yaml_scalar_event_initialize(&event, NULL, NULL, (yaml_char_t *)text, strlen(text), 1,
	                                  1, YAML_PLAIN_SCALAR_STYLE),
	     &event);
}

static void emit_node(struct writer *w, const struct tree *node)
{
	bool is_flow = node->style == TREE_PLAIN;
	yaml_event_t event;

	if (node->kind == TREE_STRING) {
		emit_string(w, node->string);
	} else if (node->kind == TREE_TABLE) {
		emit(w,
		     yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
		                                         is_flow ? YAML_FLOW_MAPPING_STYLE :
		                                                   YAML_BLOCK_MAPPING_STYLE),
		     &event);
		for (const struct tree *n = node->first; n && !w->failed; n = n->next) {
			emit_string(w, n->key);
			emit_node(w, n);
		}
		emit(w, yaml_mapping_end_event_initialize(&event), &event);
	} else if (node->kind == TREE_LIST) {
		emit(w,
		     yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
		                                          is_flow ? YAML_FLOW_SEQUENCE_STYLE :
		                                                    YAML_BLOCK_SEQUENCE_STYLE),
		     &event);
		for (const struct tree *n = node->first; n && !w->failed; n = n->next)
			emit_node(w, n);
		emit(w, yaml_sequence_end_event_initialize(&event), &event);
	} else {
		emit_value(w, node);
	}
}

int regmap__tree_to_yaml(const struct tree *root, char **text, size_t *length)
{
	struct writer w = {0};
	struct tree block = *root;
	yaml_event_t event;

	block.style = TREE_BLOCK;
	if (!yaml_emitter_initialize(&w.emitter))
		return -ENOMEM;
	yaml_emitter_set_output(&w.emitter, more_text, &w);
	yaml_emitter_set_unicode(&w.emitter, 1);
	yaml_emitter_set_width(&w.emitter, -1);
	emit(&w, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event);
	emit(&w, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event);
	emit_node(&w, &block);
	emit(&w, yaml_document_end_event_initialize(&event, 1), &event);
	emit(&w, yaml_stream_end_event_initialize(&event), &event);
	yaml_emitter_delete(&w.emitter);
	if (w.failed || !w.text) {
		free(w.text);
		return -ENOMEM;
	}
	*text = w.text;
	*length = w.length;
	return 0;
}
