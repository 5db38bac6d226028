/* SPDX-License-Identifier: MIT */
/*
 * Views: what the inline parts of patched sites (slot.h) know of the window table. Each is one piece
 * of it whose bytes lie in one stretch of host memory, through aliases, or one gap between windows.
 *
 * There is a bounded number of them, in memory that is never unmapped. One that must go loses its
 * limits at once; it becomes another one only when no thread can be looking at it any more (lane.h).
 * All of them are made, and lose their limits, under one lock, which is held for a moment with all
 * signals blocked: so it can be taken anywhere.
 */
#ifndef SRC_VIEW_H
#define SRC_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../arch/x86_64/slot.h"

/* When patching is switched on; not in a handler. 0, or -ENOMEM. */
int regmap__view_init(void);

/*
 * The view that an address lies in; NULL: there is no memory behind it, or no view to be had at the
 * moment. @congruent: only one whose host addresses are those of the guest modulo 64. What is returned
 * may lose its limits at any time. AS-Safe.
 */
const struct view *regmap__view_for(uint64_t address, bool congruent);

/* May @size bytes at @address be accessed by way of the view, right now? @access: enum em_access. */
bool regmap__view_fits(const struct view *view, uint64_t address, size_t size, unsigned access);

/*
 * What lies in the range has changed, the table says so already: all views that lead there lose their
 * limits. Accesses that looked at them before may still be under way. AS-Safe.
 */
void regmap__views_forget(uint64_t first, uint64_t last);
/* Wait until all accesses by views that have been forgotten so far are over. AS-Safe. */
void regmap__views_settle(void);

/* In a new child: free the lock, if its holder isn't there. AS-Safe. */
void regmap__views_forget_others(void);

#endif
