/* SPDX-License-Identifier: MIT */
/*
 * A process that is the child of another. fork() calls the handlers of pthread_atfork(); _Fork(),
 * clone() and the bare system calls don't. So a word that the kernel wipes in every child with a
 * memory of its own says so, and each way into the library looks at it first. A child that shares
 * its parent's memory (vfork) shares all else, too, and is one more thread.
 */
#ifndef SRC_FORK_H
#define SRC_FORK_H

#include <stdatomic.h>
#include <stdbool.h>

enum { FORK_WIPED, FORK_SETTLING, FORK_SETTLED };

extern _Atomic unsigned *regmap__fork_word;

/* Before the first window, map lock held. 0, or -ENOMEM. */
int regmap__fork_init(void);
/*
 * The child makes itself at home: it forgets the locks and pins of threads that it doesn't have.
 * AS-Safe.
 */
void regmap__fork_settle(void);

static inline bool fork_is_settled(void)
{
	return atomic_load_explicit(regmap__fork_word, memory_order_acquire) == FORK_SETTLED;
}

/* AS-Safe. */
static inline void regmap__fork_notice(void)
{
	if (__builtin_expect(!fork_is_settled(), 0))
		regmap__fork_settle();
}

#endif
