/* SPDX-License-Identifier: MIT */
/*
 * What a text says, whatever its format: tables, lists and values, each with its place in the text.
 * Tables keep the order of their keys. Text is UTF-8 and holds no NUL.
 */
#ifndef DESCRIBE_TREE_H
#define DESCRIBE_TREE_H

#include <regmap/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum tree_kind {
	TREE_TABLE,
	TREE_LIST,
	TREE_STRING,
	TREE_INTEGER,
	TREE_FLOAT,
	TREE_BOOLEAN,
	TREE_OTHER, /* null, a date: nothing that a description may hold */
};

struct tree {
	struct tree *next;         /* in its table or list */
	struct tree *first, *last; /* of a table or list */
	struct tree *parent;       /* the table or list that it is in */
	const char *key;           /* in a table; else NULL */
	const char *file;
	const char *string;    /* a string; of others, what they look like in the text */
	uint64_t number;       /* an integer without its sign; a boolean */
	unsigned line, column; /* of the value, from 1; columns count bytes. 0: from no text */
	unsigned key_line, key_column;
	unsigned count; /* of a table or list */
	unsigned hash;  /* of the key */
	unsigned char kind;
	unsigned char style; /* enum tree_style */
	unsigned char mark;  /* the mark is anybody's */
	bool is_negative;
	bool is_huge;  /* an integer of more than 64 bits */
	bool is_plain; /* YAML: without quotes, so that it may have been meant as a string */
	bool is_made;  /* from a layout: its names were checked by who made that */
};

/* How writers show it; what they don't know they leave. */
enum tree_style {
	TREE_PLAIN,
	TREE_HEX,
	TREE_ADDRESS, /* hexadecimal, at least 8 digits */
	TREE_LINES,   /* a list: a line for each item */
	TREE_BLOCK,   /* a table, or a list of tables: sections of the text */
};

/* Limits of one text, and of all that a description consists of (docs/devices.md). */
enum {
	TREE_TEXT_MOST = 64 << 20, /* bytes */
	TREE_DEPTH_MOST = 32,
	TREE_KEYS_MOST = 1024,      /* of one table */
	TREE_NODES_MOST = 2000000,  /* tables, lists and values, after includes, arrays and all */
	TREE_ALIASED_MOST = 100000, /* of these, what YAML aliases stand for */
};

/* Where trees live; all are freed together. */
struct tree_memory;
struct tree_memory *regmap__tree_memory_new(void);
void regmap__tree_memory_free(struct tree_memory *memory);
/* Why the last of the functions below returned NULL: -ENOMEM, or -E2BIG beyond TREE_NODES_MOST. */
int regmap__tree_memory_error(const struct tree_memory *memory);

/* All of these return NULL without memory, and where they are given NULL. */
void *regmap__tree_alloc(struct tree_memory *memory, size_t size); /* zeroed */
char *regmap__tree_text(struct tree_memory *memory, const char *text, size_t length);
struct tree *regmap__tree_node(struct tree_memory *memory, enum tree_kind kind, const char *file,
                               unsigned line, unsigned column);
struct tree *regmap__tree_copy(struct tree_memory *memory, const struct tree *from);

/* @child is in no table or list yet. */
void regmap__tree_append(struct tree *list, struct tree *child);
/* @key lives as long as @table. It isn't there yet. */
void regmap__tree_set(struct tree *table, const char *key, struct tree *child);
void regmap__tree_remove(struct tree *parent, struct tree *child);
/* In place of what has that key, if anything does. */
void regmap__tree_replace(struct tree *table, const char *key, struct tree *child);
/* NULL: there is none. @table may be NULL. */
struct tree *regmap__tree_get(const struct tree *table, const char *key);

/* "file:line:column: " and the text into @error, at the value or at its key. Returns @err. */
int regmap__tree_wrong(struct regmap_error *error, int err, const struct tree *at,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));
struct regmap_source regmap__tree_source(const struct tree *at);
struct regmap_source regmap__tree_key_source(const struct tree *at);
const char *regmap__tree_kind_name(const struct tree *node); /* "a string" */

/*
 * The parsers. @name is for places and messages, and lives as long as the tree.
 * 0; -EINVAL, -E2BIG, -ENOMEM with @error.
 */
struct tree_input {
	const char *text, *name;
	size_t length;
	struct tree_memory *memory;
	struct regmap_error *error; /* may be NULL */
};
int regmap__tree_from_toml(const struct tree_input *in, struct tree **out);
int regmap__tree_from_yaml(const struct tree_input *in, struct tree **out);
int regmap__tree_from_json(const struct tree_input *in, struct tree **out);

/* Why there is no node, as a message at line and column. */
int regmap__tree_no_node(const struct tree_input *in, unsigned line, unsigned column);
/* A parser's finding. */
int regmap__tree_text_wrong(const struct tree_input *in, int err, unsigned line, unsigned column,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Decimal, 0x, 0o and 0b, with underscores between digits, as an integer. False: it isn't one. */
bool regmap__tree_number(struct tree *node, const char *text);

/* Parsers count columns in characters. Where lines start is kept only if some are of several bytes. */
struct tree_lines {
	const char *text, *end;
	const char **starts; /* NULL: a character is a byte */
	size_t count;
};
/* Its memory is that of @in. False: out of memory. */
bool regmap__tree_lines(const struct tree_input *in, struct tree_lines *lines);
unsigned regmap__tree_bytes_column(const struct tree_lines *lines, unsigned line, unsigned column);

/* An integer as its style has it; at most 31 bytes. */
const char *regmap__tree_integer_text(const struct tree *node, char to[32]);

/* The writers; malloc()ed. -EINVAL, -ENOMEM. */
int regmap__tree_to_toml(const struct tree *root, char **text, size_t *length);
int regmap__tree_to_yaml(const struct tree *root, char **text, size_t *length);
int regmap__tree_to_json(const struct tree *root, char **text, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
