/* SPDX-License-Identifier: MIT */
/*
 * Direct mapping: a page belongs at its guest address if one window alone lies in it, holds it
 * whole and has a backing that can be shown there; or is an alias of such a page, at the same offset
 * in pages. So what is to be direct follows from the table alone, and whatever fails to be mapped
 * stays trapped, which is slower but right. Map lock held.
 *
 * Whatever changes in the table: what is to show something else goes first, wherever it shows, then
 * comes the change, then the new. So at any moment, for whatever thread and for a child that a bare
 * fork makes just then, a page that is mapped shows what the table says.
 */
#ifndef SRC_DIRECT_H
#define SRC_DIRECT_H

#include "table.h"

/* The window's own memory is to be mapped directly as far as pages allow. */
bool regmap__direct_wanted(const struct regmap_window *window);
/* Before the window enters the table: go where it can be as a whole. */
void regmap__direct_move_in(struct regmap_window *window);
/* Map the window's own pages within these bytes, and aliases of them. The window is in the table. */
void regmap__direct_attach(struct regmap_window *window, uint64_t start, uint64_t last);
/* Back to the bare reservation. Accesses then trap. 0, or -ENOMEM and all is as before. */
int regmap__direct_detach(struct regmap_window *window, uint64_t start, uint64_t last);
/* The window just mapped, whole; and one about to go. */
void regmap__direct_attach_new(struct regmap_window *window);
void regmap__direct_detach_old(struct regmap_window *window);
/* After regmap__table_repair(). */
void regmap__direct_repair(void);

#endif
