/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells a thread that it has switched out, or interrupted by a signal: the pointer
 * to a critical section in its struct rseq (rseq(2), which libc has registered) is NULL then. One that it isn't
 * in would be cleared at the next such occasion, which is all that ours are for. fragments.h has the reason.
 */
#ifndef SRC_ARMED_H
#define SRC_ARMED_H

#include <stdbool.h>
#include <stdint.h>

/* Not in a handler. */
void regmap__armed_start(void);
/* From the FS base; 0: there is no such thing here. AS-Safe, as are all that follow. */
int32_t regmap__armed_offset(void);
/* From now on threads are armed: it must be known where. */
void regmap__armed_want(void);
/* The lower half of the pointer while a thread is armed. */
uint32_t regmap__armed_value(void);
/* The calling thread, if it has been disarmed, unless somebody traces the process, or it was done just before. */
void regmap__armed_renew(void);
/*
 * All other threads are no longer, once this returns, nor are they again until as many have called
 * the other.
 */
void regmap__armed_hold(void);
void regmap__armed_release(void);
/* In a new child: those who held are not in it. */
void regmap__armed_forget_others(void);

#endif
