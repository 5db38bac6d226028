/* SPDX-License-Identifier: MIT */
/* Plans of the sites seen lately, by address. Hints: the caller compares the bytes to the code. */
#ifndef SRC_SITE_H
#define SRC_SITE_H

#include <stdbool.h>

#include "../emulator/plan.h"

/* Both never wait: a slot that another thread is writing counts as a miss. AS-Safe. */
bool regmap__site_find(uint64_t rip, struct plan *plan);
void regmap__site_remember(uint64_t rip, const struct plan *plan);

#endif
