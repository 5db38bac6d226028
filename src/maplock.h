/* SPDX-License-Identifier: MIT */
/*
 * The map lock: one writer at a time. Its holder takes no signals but those that its own
 * instructions raise, so that no handler ever waits for the thread that it interrupted, nor forks
 * in the middle of a change.
 */
#ifndef SRC_MAPLOCK_H
#define SRC_MAPLOCK_H

#include <stdbool.h>

/* AS-Unsafe. The handlers of a fork may take it again while fork.c holds it. */
void regmap__maplock_take(void);
void regmap__maplock_release(void);
/* Held, before any change: make good what a vanished holder left half-done. 0 or -ENOMEM. */
int regmap__maplock_repair(void);

/* fork() is under way on the thread that holds the lock: nothing is half-changed. */
void regmap__maplock_keep_over_fork(bool under_way);

/*
 * In a child, by its one thread: if the lock was held by a thread that the child doesn't have, it
 * is free again, and what that thread left waits for the repair. AS-Safe.
 */
void regmap__maplock_forget_others(void);

#endif
