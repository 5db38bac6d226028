/* SPDX-License-Identifier: MIT */
/*
 * Aliases by what they are aliases of, so that a change of some pages finds the aliases that show
 * these, however many others there are. Map lock held.
 */
#ifndef SRC_ALIASES_H
#define SRC_ALIASES_H

#include "table.h"

/* An alias enters when it is in the table, and leaves before it leaves that. */
void regmap__aliases_add(struct regmap_window *alias);
/* One that never entered does no harm. */
void regmap__aliases_remove(struct regmap_window *alias);

typedef int alias_fn(struct regmap_window *alias, void *arg);
/* Each alias whose target has a byte of these. Ends at the first that returns something, with that. */
int regmap__aliases_of(uint64_t first, uint64_t last, alias_fn *act, void *arg);

/* A change stopped anywhere in the middle, for good: none is in here any more. */
void regmap__aliases_forget(void);

#endif
