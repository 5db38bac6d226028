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
 *
 * Who pins, and then looks whether the window is still there, makes a fence in between; so does who looks for
 * pins. Accesses out of patched sites leave it to the others: their threads have a slot each (lane.h), which they
 * claim and fill by plain stores, and who looks for pins has the kernel make the fence on all processors.
 */
#ifndef SRC_PIN_H
#define SRC_PIN_H

#include <limits.h>

#include "../arch/x86_64/thread.h"
#include "table.h"
#include "../emulator/bus.h"

/* One cache line. What a thread claims lies near the place that belongs to its FS base. */
struct slot {
	_Alignas(64) _Atomic uint64_t key; /* thread; 0: free */
	_Atomic uint64_t window;           /* and PIN_STORES; 0: none */
	_Atomic uint64_t nonce;            /* of the claim; 0: free, or not complete yet */
	_Atomic uint64_t *_Atomic copy;    /* where the holder's frame keeps the nonce */
	_Atomic uint64_t latest; /* nonce of the latest claim; before any: which slot it is, or 0 */
	_Atomic uint64_t origin; /* the program's RSP at the access; 0: unknown */
	_Atomic uint64_t waits;  /* what its owner waits for, see gate.h; 0: nothing */
	_Atomic uint32_t turns;  /* counts changes of that */
	_Atomic uint32_t tid;    /* 0: not known */
};

enum { PIN_STORES = 1 }; /* added to the window: a store is under way */

struct pin {
	struct slot *slot; /* NULL: holds nothing */
	_Atomic uint64_t nonce;
	unsigned stores;          /* PIN_STORES or 0 */
	_Atomic uint64_t site;    /* the instruction that makes the access; 0: none, or not known */
	_Atomic bool holds;       /* signals that are sent have to wait */
	_Atomic uint64_t blocked; /* of those, what opens again when it is dropped or left */
};

/*
 * A nonce counts the claims of a slot, and says which one that is. Behind all others there are those of
 * lanes (lane.h): the first so many lanes have one each, which nobody else ever claims.
 */
enum { PIN_INDEX_BITS = 17, PIN_OF_LANES = 1 << 16, PIN_LANES = 1024 };
#define PIN_CLAIM (1ull << PIN_INDEX_BITS)
extern struct slot regmap__lane_slots[PIN_LANES];

static inline unsigned slot_of_nonce(uint64_t nonce)
{
	return nonce & (PIN_CLAIM - 1);
}

/*
 * Threads start looking at one of the first so many slots, so that a drain has few to look at; the
 * first that a thread looks at is its home, which it finds free as a rule.
 */
enum { PIN_HOME_BITS = 7, PIN_HOMES = 1 << PIN_HOME_BITS };
extern struct slot regmap__home_slots[];

static inline unsigned pin_home_of(uint64_t key)
{
	return (unsigned)((key * 0x9e3779b97f4a7c15) >> (64 - PIN_HOME_BITS));
}

/* Of the slots before PIN_HOMES, those that were ever claimed: a bit each. */
extern _Atomic uint64_t regmap__slots_used[PIN_HOMES / 64];
static inline void pin_note_use(unsigned i)
{
	if (i < PIN_HOMES)
		atomic_fetch_or(&regmap__slots_used[i / 64], 1ull << i % 64);
}

/* The slot is claimed by now, by a thread whose handlers see nonce 0 and leave it alone. */
static inline void pin_fill(struct pin *pin, struct slot *slot, unsigned i)
{
	uint64_t latest = atomic_load_explicit(&slot->latest, memory_order_acquire);
	uint64_t nonce = (latest & ~(PIN_CLAIM - 1)) + PIN_CLAIM + i;

	if (__builtin_expect(!latest, 0))
		pin_note_use(i);
	atomic_store_explicit(&slot->window, 0, memory_order_release);
	atomic_store_explicit(&slot->waits, 0, memory_order_release);
	atomic_store_explicit(&slot->origin, 0, memory_order_release);
	atomic_store_explicit(&slot->tid, 0, memory_order_release);
	atomic_store_explicit(&slot->latest, nonce, memory_order_release);
	atomic_store_explicit(&pin->site, 0, memory_order_relaxed);
	atomic_store_explicit(&pin->holds, false, memory_order_relaxed);
	atomic_store_explicit(&pin->blocked, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->copy, &pin->nonce, memory_order_release);
	atomic_store_explicit(&pin->nonce, nonce, memory_order_release);
	atomic_store_explicit(&slot->nonce, nonce, memory_order_release);
	pin->slot = slot;
}

/* Claim the home slot; false: it isn't free. */
static inline bool pin_take_home(struct pin *pin, uint64_t key)
{
	unsigned home = pin_home_of(key);
	struct slot *slot = &regmap__home_slots[home];
	uint64_t owner = 0;

	if (atomic_load_explicit(&slot->key, memory_order_relaxed) ||
	    !atomic_compare_exchange_strong(&slot->key, &owner, key))
		return false;
	pin_fill(pin, slot, home);
	return true;
}

/* Nobody but its frame has dropped it, and it has blocked no signals. */
static inline void pin_release_home(struct pin *pin)
{
	struct slot *slot = pin->slot;

	pin->slot = NULL;
	atomic_store_explicit(&slot->window, 0, memory_order_release);
	atomic_store_explicit(&slot->waits, 0, memory_order_release);
	atomic_store_explicit(&slot->nonce, 0, memory_order_release);
	atomic_store_explicit(&slot->key, 0, memory_order_release);
	atomic_store_explicit(&pin->nonce, 0, memory_order_release);
}

/*
 * Claim the slot of the thread's own lane, by plain stores; false: an access that is under way has it.
 * A handler that comes before it is claimed may claim it and let it go: that shows, and it begins anew.
 */
static inline bool pin_take_lane(struct pin *pin, struct slot *slot, uint64_t sp, uint64_t site)
{
	uint64_t nonce;

	atomic_store_explicit(&pin->site, site, memory_order_relaxed);
	atomic_store_explicit(&pin->holds, false, memory_order_relaxed);
	atomic_store_explicit(&pin->blocked, 0, memory_order_relaxed);
	do {
		if (atomic_load_explicit(&slot->nonce, memory_order_acquire))
			return false;
		nonce = atomic_load_explicit(&slot->latest, memory_order_acquire) + PIN_CLAIM;
		atomic_store_explicit(&slot->latest, nonce, memory_order_release);
		atomic_store_explicit(&slot->origin, sp, memory_order_release);
		atomic_store_explicit(&slot->copy, &pin->nonce, memory_order_release);
		atomic_store_explicit(&pin->nonce, nonce, memory_order_release);
		atomic_store_explicit(&slot->nonce, nonce, memory_order_release);
		if (__builtin_expect(atomic_load_explicit(&slot->latest, memory_order_acquire) ==
		                             nonce,
		                     1)) {
			pin->slot = slot;
			return true;
		}
		atomic_store_explicit(&slot->nonce, 0, memory_order_release);
	} while (true);
}

/* As pin_release_home(). */
static inline void pin_release_lane(struct pin *pin)
{
	struct slot *slot = pin->slot;

	pin->slot = NULL;
	atomic_store_explicit(&slot->window, 0, memory_order_release);
	atomic_store_explicit(&slot->nonce, 0, memory_order_release);
}

/*
 * A claim of it has failed, for an access at the program's stack pointer @sp: if the frame that has it is
 * gone, by a jump that nobody saw, the next claim won't. AS-Safe.
 */
void regmap__pin_recover_lane(struct slot *slot, uint64_t sp);

uint32_t regmap__thread_id(void);

/* Pin the window at an address, aliases not followed. False: there is none, nothing pinned. */
bool regmap__pin_window(struct pin *pin, uint64_t address, struct table_hit *hit);
/* Claim a slot that pins nothing. */
void regmap__pin_take(struct pin *pin);
/* Let the window go, keep the slot. */
void regmap__pin_empty(struct pin *pin);
/*
 * Signals that are sent, other than those that end programs by custom, have to wait until the pin
 * (which must hold a slot) is dropped or left. Nothing is done about that before one comes, where
 * others.c stands in front of their handlers; else they are blocked.
 */
void regmap__pin_hold_signals(struct pin *pin);
/*
 * For the handler of @signo, which has interrupted the thread at stack pointer @sp: if a pin of the
 * thread holds signals, those are blocked now, and are so in @mask, the interrupted code's. True: this
 * one has to wait, too. False for one that has done so already, or that was blocked, if somebody has
 * opened for it: sigsuspend(), say.
 */
bool regmap__pin_puts_off(int signo, uint64_t sp, uint64_t *mask);
/* What it has blocked. A handler that returns to where others were put off is to leave it so. */
uint64_t regmap__pin_blocked(uint64_t sp);
/* The signals stay blocked after the drop: the caller's return from a handler opens them. */
static inline void regmap__pin_leave_blocked(struct pin *pin)
{
	atomic_store_explicit(&pin->blocked, 0, memory_order_relaxed);
}
/* Dropping twice, or what a jump has dropped, does nothing. */
void regmap__pin_drop(struct pin *pin);

/*
 * A callback may run while the pin is held: note what tells later whether it is still there. Returns
 * where the thread has its errno; NULL: it has none.
 */
int *regmap__pin_note_thread(struct pin *pin);
/* The same before waiting for others, where threads that share an FS base must be told apart. */
void regmap__pin_note_waiter(struct pin *pin);
/* @site: for regmap__current_site(). */
void regmap__pin_note_origin(struct pin *pin, uint64_t sp, uint64_t site);

/*
 * The instruction whose access the calling thread is in the callback of, the innermost one. 0: in none, or in
 * that of a call (regmap_read() and so on). For code that runs on the stack that it was called on. AS-Safe.
 */
uint64_t regmap__current_site(void);

/* Both notes where they are known, of a pin that holds a slot. */
static inline void regmap__pin_note_origin_of(struct pin *pin, uint64_t sp, uint64_t site,
                                              uint32_t tid)
{
	atomic_store_explicit(&pin->site, site, memory_order_relaxed);
	atomic_store_explicit(&pin->slot->origin, sp, memory_order_release);
	atomic_store_explicit(&pin->slot->tid, tid, memory_order_release);
}

/* The calling thread is about to jump to a frame with that stack pointer: drop what it leaves. */
void regmap__pin_jump(uint64_t sp);
/* In a new child: the slots of threads that it doesn't have are free. */
void regmap__pin_forget_others(void);

/* All slots that were ever claimed, perhaps others: the first one at @i or behind it, or NO_SLOT. */
#define NO_SLOT UINT_MAX
unsigned regmap__slot_next(unsigned i);
#define FOR_EACH_SLOT(i) \
	for (unsigned i = regmap__slot_next(0); i != NO_SLOT; i = regmap__slot_next(i + 1))
struct slot *regmap__slot_at(unsigned i);
/* Is the claim of that nonce (not 0) one whose frame is gone? */
bool regmap__slot_is_lost(const struct slot *slot, uint64_t nonce);
/* Has the thread that made the claim ended? System calls: for those who have waited long. */
bool regmap__slot_is_dead(const struct slot *slot);

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
