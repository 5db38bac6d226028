/* SPDX-License-Identifier: MIT */
#ifndef DESCRIBE_BUILD_H
#define DESCRIBE_BUILD_H

#include "layout.h"
#include "merge.h"

/* What was merged, as a layout that isn't finished. NULL: notes say why, or it has errors. */
struct regmap_layout *regmap__build(struct merge *m);
/* The way back, without what is made by finishing. Into @m->root. */
void regmap__unbuild(struct merge *m, const struct regmap_layout *layout);

/* Locks of a peripheral as rules. locks.c */
struct lock_rule {
	const char *text;
	const struct tree *lock;
};
struct locks {
	struct lock_rule *rules;
	size_t count, room;
};
void regmap__locks_translate(struct merge *m, struct tree *peripheral, struct locks *out);

#endif
