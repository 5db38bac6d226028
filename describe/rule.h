/* SPDX-License-Identifier: MIT */
/*
 * The rule language (docs/devices.md), from text to something that can be run. Names are resolved
 * against a finished layout here, once; who runs it says where values are.
 */
#ifndef DESCRIBE_RULE_H
#define DESCRIBE_RULE_H

#include "layout.h"

enum rule_kind {
	RULE_FOLLOW, /* places[0] becomes what the body computes */
	RULE_BEFORE_READ,
	RULE_ON_READ,
	RULE_ON_WRITE,
	RULE_ON_SET,
	RULE_ON_CLEAR,
	RULE_ON_CHANGE,
	RULE_ON_RESET,
	RULE_ON_PROGRAM,
	RULE_IGNORE_PROGRAM,
	RULE_IGNORE_WRITE,
	RULE_REFUSE_WRITE,
	RULE_REFUSE_READ,
	RULE_EXPRESSION, /* the body computes a number */
};

/*
 * What a rule is made of: a machine with a stack of RULE_STACK numbers. An expression leaves its
 * value on it; a step leaves nothing. No code jumps, so each is run from a beginning to its RULE_END.
 */
enum { RULE_STACK = 32 };

enum rule_code {
	RULE_END,
	RULE_NUMBER,   /* push number */
	RULE_PLACE,    /* push places[which] */
	RULE_VARIABLE, /* push variables[which] */
	RULE_VALUE,
	RULE_OLD,
	RULE_ADDRESS,
	RULE_WIDTH,
	RULE_BYTE, /* pop an address, push the byte there */
	RULE_NOT,
	RULE_INVERT,
	RULE_NEGATE,
	RULE_MULTIPLY, /* pop two, push one; so on */
	RULE_DIVIDE,
	RULE_REMAINDER,
	RULE_ADD,
	RULE_SUBTRACT,
	RULE_LEFT,
	RULE_RIGHT,
	RULE_LESS,
	RULE_LESS_EQUAL,
	RULE_GREATER,
	RULE_GREATER_EQUAL,
	RULE_EQUAL,
	RULE_UNEQUAL,
	RULE_AND,
	RULE_XOR,
	RULE_OR,
	RULE_BOTH,
	RULE_EITHER,
	RULE_SELECT,       /* pop three: the condition lies lowest */
	RULE_SET_PLACE,    /* pop into places[which] */
	RULE_SET_VARIABLE, /* pop into variables[which] */
	RULE_AFTER, /* what comes behind it comes number accesses later; which: counts the rule's */
	RULE_ERASE_SECTOR, /* pop the address */
	RULE_ERASE,        /* pop the length, then the address */
	RULE_SET_BYTE,     /* pop the byte, then the address */
	RULE_COPY,         /* pop the length, where from, where to */
	RULE_RESET,        /* peripherals[which] */
	RULE_RESET_DEVICE,
};

struct rule_step {
	enum rule_code code;
	uint32_t which;
	uint64_t number;
};

/* A register, or a field of one. */
struct rule_place {
	const struct regmap_peripheral *peripheral;
	const struct regmap_register *reg;
	unsigned lsb, width; /* bits, in the register */
};

/* Compiled. The layout must stay. */
struct rule {
	enum rule_kind kind;
	const struct regmap_peripheral *peripheral; /* that it belongs to; NULL: the device */
	const struct regmap_region *region;         /* of a program event; NULL: any */
	bool has_place; /* places[0]: what the event is about, or what follows */
	bool has_condition;
	bool erases, resets;
	struct rule_step *steps;
	uint32_t step_count, condition, body; /* where these begin */
	struct rule_place *places;
	uint32_t place_count;
	char **variables; /* names, without $ */
	uint32_t variable_count;
	const struct regmap_peripheral **peripherals;
	uint32_t peripheral_count;
	uint32_t after_count;
	const char *text;
	struct regmap_source source;
};

/* -EINVAL with the place and what was expected; -ENOMEM. */
int regmap__rule_compile(const struct regmap_layout *layout, const struct regmap_rule *text,
                         struct rule **out, struct regmap_error *error);
/* An expression alone: program_if. */
int regmap__rule_compile_expression(const struct regmap_layout *layout, const char *text,
                                    const struct regmap_source *source, struct rule **out,
                                    struct regmap_error *error);
void regmap__rule_free(struct rule *rule);

/*
 * The order in which those that follow are to be computed, each after what it depends on: indices of @rules
 * into @order, which has room for @count; *ordered: how many. -EINVAL: a circle, or two with one left side.
 */
int regmap__rules_order(struct rule *const *rules, size_t count, uint32_t *order, size_t *ordered,
                        struct regmap_error *error);

/* All rules of a layout, and what only shows of all together: circles, two that follow with one left side. */
int regmap__rules_check(const struct regmap_layout *layout, struct regmap_error *error);

/*
 * A place's bits in the aligned eight bytes around them: @part 0 or 1, as a register may lie across two.
 * False: it has no such part. @shift: of the place's bit 0 to the left; negative: to the right.
 */
bool regmap__rule_part(const struct rule_place *place, unsigned part, uint64_t *address,
                       uint64_t *mask, int *shift);

#endif
