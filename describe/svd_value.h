/* SPDX-License-Identifier: MIT */
/* Numbers and words of SVD files. */
#ifndef DESCRIBE_SVD_VALUE_H
#define DESCRIBE_SVD_VALUE_H

#include "svd_tree.h"

/*
 * "12", "0x1F", "0X1f", "#101", "0b101", "+5", each perhaps with k, m, g or t for 1024 and its powers.
 * -EINVAL with a message: it is none, or (unless it @wraps, then the low 64 bits count) has more bits.
 */
int regmap__svd_number(const struct svd_node *node, bool wraps, uint64_t *value,
                       struct regmap_error *error);
/* The same with x for bits that don't count ("#1x0"), which are 0 in @value and 1 in @any. */
int regmap__svd_pattern(const struct svd_node *node, uint64_t *value, uint64_t *any,
                        struct regmap_error *error);
/* "[7:4]", "7:4", "[5]". */
int regmap__svd_bits(const struct svd_node *node, unsigned *lsb, unsigned *width,
                     struct regmap_error *error);
int regmap__svd_access(const struct svd_node *node, enum regmap_register_access *access,
                       struct regmap_error *error);
int regmap__svd_read_action(const struct svd_node *node, enum regmap_read_action *action,
                            struct regmap_error *error);
int regmap__svd_write_action(const struct svd_node *node, enum regmap_write_action *action,
                             struct regmap_error *error);
/* enum regmap_access */
int regmap__svd_usage(const struct svd_node *node, unsigned *usage, struct regmap_error *error);
bool regmap__svd_is_true(const struct svd_node *node);

#endif
