/* SPDX-License-Identifier: MIT */
/*
 * Pins: while one is held, nobody takes the window away.
 *
 * A pin is a hazard pointer: one of an array of slots, claimed by a thread (named by its FS base,
 * which is never dereferenced; nothing here uses thread-local storage). A device callback may leave
 * by longjmp(), and then nobody lets its pin go. A jump by libc's functions is seen (jump.c), and
 * C++ exceptions and pthread_exit() unwind the frames that hold pins. For all other ways out, each
 * claim has a nonce, and the frame that holds the pin keeps a copy: a slot whose frame shows another
 * number (or is unmapped) has lost its owner. A live frame never changes its copy, so a live pin is
 * never mistaken; a dead one is noticed when its stack is used again or its thread has ended.
 */
#ifndef SRC_PIN_H
#define SRC_PIN_H

#include "table.h"
#include "../emulator/bus.h"

/* One cache line. What a thread claims lies near the place that belongs to its FS base. */
struct slot {
	_Alignas(64) _Atomic uint64_t key; /* thread; 0: free */
	_Atomic uint64_t window;           /* and PIN_STORES; 0: none */
	_Atomic uint64_t nonce;            /* of the claim; 0: free, or not complete yet */
	_Atomic uint64_t *_Atomic copy;    /* where the holder's frame keeps the nonce */
	_Atomic uint64_t claims;
	_Atomic uint64_t origin; /* the program's RSP at the access; 0: unknown */
	_Atomic uint64_t waits;  /* what its owner waits for, see gate.h; 0: nothing */
	_Atomic uint32_t turns;  /* counts changes of that */
	_Atomic uint32_t tid;    /* 0: not known */
};

enum { PIN_STORES = 1 }; /* added to the window: a store is under way */

struct pin {
	struct slot *slot; /* NULL: holds nothing */
	_Atomic uint64_t nonce;
	unsigned stores;  /* PIN_STORES or 0 */
	uint64_t blocked; /* signals that open again when it is dropped or left */
};

/* Pin the window at an address, aliases not followed. False: there is none, nothing pinned. */
bool regmap__pin_window(struct pin *pin, uint64_t address, struct table_hit *hit);
/* Claim a slot that pins nothing. */
void regmap__pin_take(struct pin *pin);
/* Let the window go, keep the slot. */
void regmap__pin_empty(struct pin *pin);
/* Block signals that nobody raised, until the pin (which must hold a slot) is dropped or left. */
void regmap__pin_block_signals(struct pin *pin);
/* Dropping twice, or what a jump has dropped, does nothing. */
void regmap__pin_drop(struct pin *pin);

/* A callback may run while the pin is held: note what tells later whether it is still there. */
void regmap__pin_note_thread(struct pin *pin);
/* The same before waiting for others, where threads that share an FS base must be told apart. */
void regmap__pin_note_waiter(struct pin *pin);
void regmap__pin_note_origin(struct pin *pin, uint64_t sp);

/* The calling thread is about to jump to a frame with that stack pointer: drop what it leaves. */
void regmap__pin_jump(uint64_t sp);
/* In a new child: the slots of threads that it doesn't have are free. */
void regmap__pin_forget_others(void);

/* All slots that were ever claimed are among the first regmap__slot_top(). */
unsigned regmap__slot_top(void);
struct slot *regmap__slot_at(unsigned i);
static inline unsigned slot_of_nonce(uint64_t nonce)
{
	return nonce & 0xffff;
}
/* Is the claim of that nonce (not 0) one whose frame is gone? */
bool regmap__slot_is_lost(const struct slot *slot, uint64_t nonce);
/* Has the thread that made the claim ended? System calls: for those who have waited long. */
bool regmap__slot_is_dead(const struct slot *slot);

/* A name for the calling thread, never 0. AS-Safe. */
uint64_t regmap__thread_key(void);
uint32_t regmap__thread_id(void);

/*
 * BUS_SCRATCH bytes for one execution that needs more than a signal stack has; recycled
 * even when it is lost like a pin. NULL: there is none. AS-Safe.
 */
struct scratch {
	struct pin pin;
	void *memory;
};
void *regmap__scratch_take(struct scratch *scratch);
void regmap__scratch_drop(struct scratch *scratch);

#endif
