/* SPDX-License-Identifier: MIT */
/* Layouts as text. TOML is laid out here, as its parser's own writer would put keys in alphabetical order. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"

struct out {
	FILE *file;
	char path[128];   /* of the table that is being written */
	unsigned inlined; /* how many tables of one line it is in */
};

static bool is_bare(const char *key)
{
	return *key && !key[strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	                                "0123456789_-")];
}

static void put_string(struct out *o, const char *text)
{
	putc('"', o->file);
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			fprintf(o->file, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", o->file);
		else if (c == '\t')
			fputs("\\t", o->file);
		else if (c < ' ' || c == 0x7F)
			fprintf(o->file, "\\u%04X", c);
		else
			putc(c, o->file);
	}
	putc('"', o->file);
}

static void put_key(struct out *o, const char *key)
{
	if (is_bare(key))
		fputs(key, o->file);
	else
		put_string(o, key);
	fputs(" = ", o->file);
}

/* TOML has 63 bits; what needs more is a string. */
static void put_integer(struct out *o, const struct tree *node)
{
	const char *quote = node->number > INT64_MAX ? "\"" : "";
	char text[32];

	fprintf(o->file, "%s%s%s", quote, regmap__tree_integer_text(node, text), quote);
}

static void put_inline(struct out *o, const struct tree *node, unsigned indent);

static void put_items(struct out *o, const struct tree *list, unsigned indent)
{
	bool is_long = list->style == TREE_LINES && list->count > 1 && !o->inlined;

	putc('[', o->file);
	for (const struct tree *n = list->first; n; n = n->next) {
		if (is_long)
			fprintf(o->file, "\n%*s", 2 * indent + 2, "");
		put_inline(o, n, indent + 1);
		if (is_long || n->next)
			fputs(is_long ? "," : ", ", o->file);
	}
	if (is_long)
		fprintf(o->file, "\n%*s", 2 * indent, "");
	putc(']', o->file);
}

static void put_inline(struct out *o, const struct tree *node, unsigned indent)
{
	switch (node->kind) {
	case TREE_STRING: put_string(o, node->string); break;
	case TREE_INTEGER: put_integer(o, node); break;
	case TREE_BOOLEAN: fputs(node->number ? "true" : "false", o->file); break;
	case TREE_LIST: put_items(o, node, indent); break;
	default:
		fputs("{ ", o->file);
		o->inlined++;
		for (const struct tree *n = node->first; n; n = n->next) {
			put_key(o, n->key);
			put_inline(o, n, indent);
			fputs(n->next ? ", " : " ", o->file);
		}
		o->inlined--;
		putc('}', o->file);
	}
}

static void put_table(struct out *o, const struct tree *table, unsigned indent);

static void put_section(struct out *o, const struct tree *table, const char *key, bool is_listed,
                        unsigned indent)
{
	size_t length = strlen(o->path);

	snprintf(o->path + length, sizeof(o->path) - length, "%s%s", length ? "." : "", key);
	fprintf(o->file, "\n%*s%s%s%s\n", 2 * indent, "", is_listed ? "[[" : "[", o->path,
	        is_listed ? "]]" : "]");
	put_table(o, table, indent);
	o->path[length] = '\0';
}

/* What has sections of its own comes behind what hasn't. */
static void put_table(struct out *o, const struct tree *table, unsigned indent)
{
	unsigned inner = *o->path ? indent + 1 : 0;

	for (const struct tree *n = table->first; n; n = n->next) {
		if (n->style == TREE_BLOCK)
			continue;
		fprintf(o->file, "%*s", 2 * indent, "");
		put_key(o, n->key);
		put_inline(o, n, indent);
		putc('\n', o->file);
	}
	for (const struct tree *n = table->first; n; n = n->next) {
		if (n->style != TREE_BLOCK)
			continue;
		if (n->kind == TREE_TABLE)
			put_section(o, n, n->key, false, inner);
		for (const struct tree *item = n->kind == TREE_LIST ? n->first : NULL; item;
		     item = item->next)
			put_section(o, item, n->key, true, inner);
	}
}

int regmap__tree_to_toml(const struct tree *root, char **text, size_t *length)
{
	struct out o = {.file = open_memstream(text, length)};
	int failed;

	if (!o.file)
		return -ENOMEM;
	put_table(&o, root, 0);
	failed = ferror(o.file);
	if (!fclose(o.file) && !failed)
		return 0;
	free(*text);
	*text = NULL;
	return -ENOMEM;
}

/* ---- what can be written ---------------------------------------------------------------------------- */

static unsigned more_bytes(unsigned char first)
{
	return first < 0x80 ? 0 :
	       first < 0xC2 ? 9 :
	       first < 0xE0 ? 1 :
	       first < 0xF0 ? 2 :
	       first < 0xF5 ? 3 :
	                      9;
}

static bool is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		unsigned char first = *at++;
		unsigned more = more_bytes(first);

		if (more == 9 || (first == 0xE0 && *at < 0xA0) || (first == 0xED && *at > 0x9F) ||
		    (first == 0xF0 && *at < 0x90) || (first == 0xF4 && *at > 0x8F))
			return false;
		for (; more; more--)
			if ((*at++ & 0xC0) != 0x80)
				return false;
	}
	return true;
}

/* A layout that was built in code may hold any bytes. */
static const char *not_text(const struct tree *node)
{
	if (node->kind == TREE_STRING && !is_utf8(node->string))
		return node->string;
	if (node->key && !is_utf8(node->key))
		return node->key;
	for (const struct tree *n = node->first; n; n = n->next) {
		const char *wrong = not_text(n);

		if (wrong)
			return wrong;
	}
	return NULL;
}

static int write_tree(const struct tree *root, enum regmap_format format, char **text,
                      size_t *length, struct regmap_error *error)
{
	int err;

	if (not_text(root))
		return regmap__layout_wrong(error, -EINVAL, NULL,
		                            "a string of the layout is not UTF-8: correct it");
	err = format == REGMAP_FORMAT_YAML ? regmap__tree_to_yaml(root, text, length) :
	      format == REGMAP_FORMAT_JSON ? regmap__tree_to_json(root, text, length) :
	                                     regmap__tree_to_toml(root, text, length);
	return err ? regmap__layout_wrong(error, err, NULL, "out of memory") : 0;
}

static int save(const struct regmap_layout *layout, enum regmap_format format, char **text,
                size_t *length, struct regmap_error *error)
{
	struct notes notes = {.error = error};
	struct merge m = {.notes = &notes, .memory = regmap__tree_memory_new()};
	int err;

	if (m.memory)
		m.root = regmap__tree_node(m.memory, TREE_TABLE, NULL, 0, 0);
	if (!m.root) {
		regmap__tree_memory_free(m.memory);
		return regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
	}
	regmap__unbuild(&m, layout);
	err = notes.err;
	if (!err)
		err = write_tree(m.root, format, text, length, error);
	regmap__tree_memory_free(m.memory);
	return err;
}

int regmap_layout_save(const struct regmap_layout *layout, enum regmap_format format, char **text,
                       size_t *length, struct regmap_error *error)
{
	int saved = errno, err;
	size_t ignored;

	if (!layout || !text)
		return regmap__layout_wrong(error, -EINVAL, NULL, "a layout and a text are needed");
	*text = NULL;
	if (format == REGMAP_FORMAT_AUTO)
		format = REGMAP_FORMAT_TOML;
	if ((unsigned)format > REGMAP_FORMAT_JSON)
		return regmap__layout_wrong(error, -EINVAL, NULL,
		                            "only TOML, YAML and JSON can be written");
	err = save(layout, format, text, length ? length : &ignored, error);
	errno = saved;
	return err;
}
