/* SPDX-License-Identifier: MIT */
/*
 * Reservations: PROT_NONE mappings that keep the program's own memory out of the pages of windows.
 * The owned ranges are remembered exactly, so that nothing of the program's is ever mapped over or
 * unmapped. Which of them are still needed follows from the window table. Map lock held throughout.
 *
 * Each separate range costs the kernel a mapping, and vm.max_map_count (65530) allows few. Past
 * some thousands the gap to a neighbour is reserved along with a new range, so that both are one
 * mapping; and where that can't be, the window goes without: it traps just the same, only nobody is
 * kept out.
 */
#ifndef SRC_RESERVE_H
#define SRC_RESERVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { RESERVE_PAGE = 4096 };

/*
 * Own the pages that hold these bytes, as far as the program could have them mapped. 0; -EADDRINUSE
 * the program has something there (said on stderr). On failure nothing more is owned than before.
 */
int regmap__reserve_take(uint64_t start, uint64_t last, const char *name);
/* The same, with nothing said. False: not owned. */
bool regmap__reserve_try(uint64_t start, uint64_t last);
/* Not 0: somebody calls who says it himself. */
extern atomic_uint regmap__reserve_silence;
/*
 * Give back those of these bytes' pages that no window in the table touches, and bridges beside
 * them.
 */
void regmap__reserve_drop(uint64_t start, uint64_t last);
/* The first owned stretch within [*first, *last], page-aligned; false: none. */
bool regmap__reserve_clip(uint64_t *first, uint64_t *last);
/* Nothing but the reservation in these owned pages again. 0 or -ENOMEM. */
int regmap__reserve_cover(uint64_t first, uint64_t last);

/*
 * A change stopped anywhere in the middle, for good: count the owned ranges anew. At worst some
 * pages stay reserved that nobody owns.
 */
void regmap__reserve_repair(void);

/* How many separate ranges are owned; tests look at it. */
unsigned regmap__reserve_count(void);

#endif
