/* SPDX-License-Identifier: MIT */
/*
 * Patched sites at work: what slots call (hot.c), and what signals find in slots (hot_signal.c). See
 * arch/x86_64/slot.h, and patch.h for which sites are patched.
 */
#ifndef SRC_HOT_H
#define SRC_HOT_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../arch/x86_64/slotcall.h"
#include "../emulator/bus.h"

struct plan;

/* Where in a slot or a fragment an address lies. */
struct hot_place {
	const struct slot_map *map;
	const struct slot_cell *cell;
	int offset; /* -1: in a jump that leads there: nothing has happened */
	const struct fragment_map *fragment; /* NULL: it is a slot */
};

/* Both AS-Safe. Tests have slots that they made by hand. */
struct hot_slots {
	bool (*find)(uint64_t rip, struct hot_place *place);
	void (*roll)(const struct slot_map *map, const struct slot_cell *cell, unsigned offset,
	             const struct cpu_regs *regs, uint64_t *rip); /* regmap__slot_roll() */
};

/*
 * Before the first slot is made; not in a handler. Repeating it does nothing. 0; -ENOSYS the kernel
 * has no membarrier(), or there is no XSAVE or libc; -ENOMEM.
 */
int regmap__hot_start(const struct hot_slots *slots);

extern const struct hot_slots *_Atomic regmap__hot_slots; /* NULL: not started */
static inline bool hot_is_on(void)
{
	return atomic_load_explicit(&regmap__hot_slots, memory_order_acquire) != NULL;
}

enum hot {
	HOT_NOT,  /* nothing of ours was interrupted, or it shows as the site's own call */
	HOT_SITE, /* the context is that of a site now */
	HOT_PAST, /* or that of what follows one: what raised the signal is over */
};

/*
 * First thing in a handler, with the kernel's context: whatever slot, or way into C and out of it, was
 * interrupted, there is none any more. What the signal says of the fault of an access in a slot
 * becomes what it would say at the site; HOT_PAST of a raised signal: it is to be ignored. *plan is
 * that of the site if an access of ours faulted, else NULL. AS-Safe.
 */
enum hot regmap__hot_roll(int signo, siginfo_t *info, void *ucontext, const struct plan **plan);

/*
 * An access that C was called for has failed: the thread goes on at the original, and the fault path,
 * which that leads to, is to say so without doing it again. One per thread.
 */
void regmap__hot_fail(struct slot_frame *frame, enum em_status status,
                      const struct em_fault *fault);
/*
 * Is that known of an access of @rip, with these registers? A signal on the way to the original leads
 * back to the site: what has been done is not to be done again.
 */
bool regmap__hot_has_failed(uint64_t rip, const struct cpu_regs *regs);
/* At an access of @rip, with these registers. EM_OK: none is known. It is forgotten in any case. */
enum em_status regmap__hot_failure(uint64_t rip, const struct cpu_regs *regs,
                                   struct em_fault *fault);

/*
 * Around the program's handler of a signal, which may have come between the two. What one thread has
 * to say of its last failed access.
 */
struct hot_failure {
	uint64_t key; /* of the site and all registers; 0: none */
	enum em_status status;
	struct em_fault fault;
};
void regmap__hot_keep_failure(struct hot_failure *kept);
void regmap__hot_restore_failure(const struct hot_failure *kept);

/* hot_emulate.c: the answer is SLOT_DONE. */
void regmap__hot_emulate(struct slot_frame *frame, uint8_t *image);

#endif
