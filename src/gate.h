/* SPDX-License-Identifier: MIT */
/*
 * Who waits for whom. LOCKed operations of a window exclude each other and the plain stores to it
 * (those to host memory need this only where a LOCKed operation goes through a buffer, and find the
 * lock free otherwise):
 *
 *   a store pins the window, marked as a store, and then looks at the window's lock word;
 *   a LOCKed operation takes the lock word and then waits for the stores that are under way.
 *
 * Waiting could go round in a circle, since an access may be made in the callback of another one. So
 * whoever waits says so in a slot (pin.h), and follows from there who waits for it. In a circle, a
 * LOCKed operation that waits for stores lets go of the lock for a moment, some times; else it or a
 * store goes on without its turn, and regmap_unmap() isn't begun. So it does after some seconds of
 * waiting for one and the same access: then a callback waits for something that only the waiting
 * thread can do. AS-Safe.
 */
#ifndef SRC_GATE_H
#define SRC_GATE_H

#include "pin.h"

/* Nobody else holds the window's lock? For a pin marked as a store. */
static inline bool gate_is_open(const struct regmap_window *window)
{
	return atomic_load_explicit(&window->lock, memory_order_seq_cst) == 0;
}

/* The gate isn't open. Unless it is this thread's own, the pin is left empty: look up anew. */
enum gate { GATE_OPEN, GATE_WAITED, GATE_GAVE_UP /* don't ask again */ };
enum gate regmap__gate_wait(struct pin *pin, struct regmap_window *window);

/*
 * Take a lock word for the pin's thread; and drain the stores of the window, if any. False: it isn't
 * taken, an outer frame of the thread holds it or there is a circle.
 */
bool regmap__lock_take(struct pin *pin, _Atomic uint64_t *word, struct regmap_window *window);
void regmap__lock_drop(const struct pin *pin, _Atomic uint64_t *word);

/*
 * regmap_unmap(): under the map lock and while the window is still in the table, announce the wait.
 * False: others wait for this thread to leave a callback that the wait is for; nothing was done.
 */
bool regmap__drain_announce(struct pin *pin, const struct regmap_window *window);
/* Wait until no other thread has the window pinned. It must be out of the table. */
void regmap__drain(struct pin *pin, const struct regmap_window *window);

/* Spin, yield, sleep. */
void regmap__back_off(unsigned round);

#endif
