/* SPDX-License-Identifier: MIT */
/*
 * Alternate signal stacks for threads that have none of their own, if the program asks for them,
 * and sigaltstack() as the program believes it to be: these don't show in it.
 *
 * A stack is known as ours by its address alone, and belongs to a thread as long as that lives: the
 * next one who needs a stack looks. So a thread has it from its first instruction to its last, and
 * nothing must be told when it ends.
 */
#ifndef SRC_STACKS_H
#define SRC_STACKS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STACKS_DEFAULT = 128 << 10, STACKS_FOOTPRINT = 8192 };

/*
 * From now on; the calling thread gets one at once. @bytes: 0 for STACKS_DEFAULT. 0, -EINVAL,
 * -ENOMEM. Not in the handler.
 */
int regmap__stacks_enable(size_t bytes);
extern atomic_size_t regmap__stacks_wanted; /* bytes of a stack; 0: nobody asked */
static inline bool regmap__stacks_enabled(void)
{
	return atomic_load_explicit(&regmap__stacks_wanted, memory_order_acquire);
}

/* Around fork(): the child keeps the stack of the thread that forked. */
void regmap__stacks_before_fork(void);
void regmap__stacks_after_fork(void);

/* For a thread that is about to be created. False: no memory. */
bool regmap__stacks_promise(stack_t *stack);
void regmap__stacks_break_promise(const stack_t *stack);
/* The new thread takes what it was promised. */
void regmap__stacks_move_in(const stack_t *stack);

/*
 * Threads that exist already: each is sent a SIGSEGV with the cookie, and the handler calls
 * regmap__stacks_give(). The handler must be installed. 0 or -errno.
 */
int regmap__stacks_summon(void);
void *regmap__stacks_cookie(void);
/* @owner: process << 32 | thread */
bool regmap__stacks_has(uint64_t owner);

/* The handler's side; no thread-local storage. */

/* When the handler returns, the interrupted thread has a stack, if it has none. */
void regmap__stacks_give(void *ucontext);
/* The same, if the signal was sent by regmap__stacks_summon(). False: it was not. */
bool regmap__stacks_answer(const siginfo_t *info, void *ucontext);
bool regmap__stacks_is_ours(const stack_t *stack);
/* Alternate stacks set by this process until now; a callback may have set one. */
extern atomic_uint regmap__stacks_change_count;
static inline unsigned regmap__stacks_changes(void)
{
	return atomic_load_explicit(&regmap__stacks_change_count, memory_order_relaxed);
}

/* Let the one that a callback has set outlive the handler. */
void regmap__stacks_keep_change(void *ucontext);

#endif
