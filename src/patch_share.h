/* SPDX-License-Identifier: MIT */
/*
 * Plans and slots' maps that patches refer to: equal ones are one, and stay. Patch lock held. NULL:
 * there is no memory.
 */
#ifndef SRC_PATCH_SHARE_H
#define SRC_PATCH_SHARE_H

#include "patch.h"

const struct plan *regmap__share_plan(const struct plan *plan);
const struct slot_map *regmap__share_map(const struct slot_map *map);

#endif
