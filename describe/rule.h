/* SPDX-License-Identifier: MIT */
/*
 * The rule language (docs/devices.md), from text to something that can be run. Names are resolved
 * against a finished layout here, once; who runs it says where values are.
 */
#ifndef DESCRIBE_RULE_H
#define DESCRIBE_RULE_H

#include "layout.h"

struct rule; /* compiled */

/* -EINVAL with the place and what was expected; -ENOMEM. */
int regmap__rule_compile(const struct regmap_layout *layout, const struct regmap_rule *text,
                         struct rule **out, struct regmap_error *error);
/* An expression alone: program_if. */
int regmap__rule_compile_expression(const struct regmap_layout *layout, const char *text,
                                    const struct regmap_source *source, struct rule **out,
                                    struct regmap_error *error);
void regmap__rule_free(struct rule *rule);

/* All rules of a layout, and what only shows of all together: circles, two that follow with one left side. */
int regmap__rules_check(const struct regmap_layout *layout, struct regmap_error *error);

#endif
