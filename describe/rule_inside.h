/* SPDX-License-Identifier: MIT */
/* A rule being compiled. */
#ifndef DESCRIBE_RULE_INSIDE_H
#define DESCRIBE_RULE_INSIDE_H

#include "rule.h"

enum rule_token {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_NUMBER,
	TOKEN_STRING,   /* without its quotes */
	TOKEN_VARIABLE, /* without its $ */
	TOKEN_SIGN,     /* one or two characters */
};

struct rule_compiler {
	const struct regmap_layout *layout;
	struct regmap_source source;
	const char *text, *at;
	/* where it belongs; names are looked up from there outwards */
	const struct regmap_peripheral *peripheral;
	const struct regmap_register *reg;
	const struct regmap_field *field;
	/* the token at hand */
	enum rule_token token;
	const char *begin;
	size_t length;
	uint64_t number;
	/* what is made */
	struct rule *rule;
	uint32_t step_room, place_room, variable_room, peripheral_room;
	unsigned depth; /* numbers on the stack */
	unsigned nest;  /* of the parser's calls */
	struct regmap_error *error;
	int err; /* the first; then every token is TOKEN_END */
};

/* "rule "...": " and what is wrong. After it nothing is compiled any more. */
void regmap__rule_fail(struct rule_compiler *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The first token is at hand after the first call. */
void regmap__rule_next(struct rule_compiler *c);
/* The token is spelt just so. */
bool regmap__rule_is(const struct rule_compiler *c, const char *spelling);

/* rule_names.c: the scope of a rule's text. False: it has failed. */
bool regmap__rule_enter_scope(struct rule_compiler *c, const char *scope);
/* NAME(.NAME)* from the token at hand on. False: no such place; fails, if not @quietly, else the token is as it was. */
bool regmap__rule_find_place(struct rule_compiler *c, struct rule_place *place, bool quietly);
/* A name or string; NULL: it has failed. */
const struct regmap_region *regmap__rule_find_region(struct rule_compiler *c);
const struct regmap_peripheral *regmap__rule_find_peripheral(struct rule_compiler *c);

/* The one of @count names that is nearest to what was written; NULL: none is near. */
struct rule_guess {
	const char *best;
	unsigned distance;
};
void regmap__rule_guess(struct rule_guess *guess, const char *written, size_t length,
                        const char *name);

#endif
