/* SPDX-License-Identifier: MIT */
/*
 * Direct mapping: a page belongs at its guest address if one window alone lies in it, holds it
 * whole and has a backing that can attach it. So what is to be direct follows from the table alone,
 * and whatever fails to be mapped stays trapped, which is slower but right. Map lock held.
 */
#ifndef SRC_DIRECT_H
#define SRC_DIRECT_H

#include "table.h"

/* A window is to be (or is) mapped directly as far as pages allow. */
bool regmap__direct_wanted(const struct regmap_window *window);
/* Before the window enters the table: go where it can be as a whole. */
void regmap__direct_move_in(struct regmap_window *window);
/* Map the window's own pages within these bytes. The window is in the table. */
void regmap__direct_attach(struct regmap_window *window, uint64_t start, uint64_t last);
/* Back to the bare reservation. Accesses then trap. 0, or -ENOMEM and all is as before. */
int regmap__direct_detach(struct regmap_window *window, uint64_t start, uint64_t last);
/* The window just mapped, whole; and one about to go. */
void regmap__direct_attach_new(struct regmap_window *window);
void regmap__direct_detach_old(struct regmap_window *window);

#endif
