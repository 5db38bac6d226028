/* SPDX-License-Identifier: MIT */
/*
 * Lanes: how a thread says that it is in the inline part of a patched site (slot.h), without a lock,
 * a fence, or a cache line that another thread writes to. Whoever takes a view away (view.h) makes its
 * limits 0 and then waits here. Inline parts call nobody and wait for nothing, so that wait is short.
 */
#ifndef SRC_LANE_H
#define SRC_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "../arch/x86_64/slot.h"

enum { LANE_MAGIC = 0x6c616e65 }; /* struct lane_tls.magic */

/* When patching is switched on; not in a handler. 0, or -ENOSYS: the kernel has no membarrier(). */
int regmap__lane_init(void);
/* Where each thread's struct lane_tls lies, from its FS base. */
int32_t regmap__lane_offset(void);
/* The calling thread's lane, now if it has none yet. NULL: its FS base isn't libc's. AS-Safe. */
struct lane *regmap__lane_take(void);
/*
 * The calling thread's, if it has one already. It doesn't look whether there is TLS, and the compiler
 * isn't to look before it is asked.
 */
static inline struct lane *lane_own(void)
{
	struct lane *lane;

	__asm__ volatile("mov regmap__lane_tls@gottpoff(%%rip), %0\n\t"
	                 "cmpl %1, %%fs:(%0)\n\t"
	                 "mov %%fs:8(%0), %0\n\t"
	                 "je 1f\n\t"
	                 "xor %k0, %k0\n"
	                 "1:"
	                 : "=&r"(lane)
	                 : "i"(LANE_MAGIC)
	                 : "cc", "memory");
	return lane;
}
/* An access of the calling thread has failed, and the fault path has not said so yet; or it has. AS-Safe. */
void regmap__lane_fail(bool failed);
/* The calling thread has left the inline part it was in, by a jump or a roll. AS-Safe. */
void regmap__lane_leave(void);

/*
 * All other threads see what the caller has stored, and none is any longer in an inline part that it
 * was in at the call. False: one stays there for so long that it must have been stopped; only
 * where @patient is false. AS-Safe.
 */
bool regmap__lanes_await(bool patient);
/* So many of regmap__lane_slots (pin.h) have been given to lanes. AS-Safe. */
unsigned regmap__lane_slots_used(void);
/*
 * Who claims one of those stores what it pins without a fence. So who looks for what is pinned calls this
 * first, behind the store that those who pin look for. AS-Safe.
 */
void regmap__lane_slots_settle(void);
/* In a new child: the lanes of threads that it doesn't have are free. AS-Safe. */
void regmap__lanes_forget_others(void);

#endif
