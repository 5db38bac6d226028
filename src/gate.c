/* SPDX-License-Identifier: MIT */
#include "gate.h"

#include <time.h>

#include "../arch/x86_64/syscall.h"
#include "atomics.h"
#include "lane.h"
#include "sigsafe.h"

enum { SPINS = 64, YIELDS = 64, SLEEPS = SPINS + YIELDS };
enum { IMPATIENT = 1u << 31 /* in the turns of a slot: it has waited in vain */ };
/* Of rounds: how often to look for a circle; when to give up (the kernel adds to each sleep). */
enum { LOOK = 8, PATIENCE = SLEEPS + 10000 };

/* struct slot.waits: where what is waited for stands, and its kind. */
enum { KIND = 3, FOR_HOLDER = 1 /* of a lock word */, FOR_STORES = 2, FOR_ALL = 3 };

/* libc's own calls may be cancellation points, and set errno. */
void regmap__back_off(unsigned round)
{
	struct timespec t = {0, 50000};

	if (round < SPINS)
		__builtin_ia32_pause();
	else if (round < SLEEPS)
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
	else
		sys_call(SYS_nanosleep, (long)&t, 0, 0, 0);
}

/* --- who blocks whom --- */

static bool is_abandoned(uint64_t word)
{
	const struct slot *slot = regmap__slot_at(slot_of_nonce(word));

	return get(&slot->nonce) != word || regmap__slot_is_lost(slot, word);
}

/* FS bases may be shared, by threads of clone(); then both ids, if known, tell. */
static bool same_thread(const struct slot *a, const struct slot *b)
{
	uint32_t x = get(&a->tid), y = get(&b->tid);

	return get(&a->key) == get(&b->key) && (!x || !y || x == y);
}

static bool is_live(const struct slot *slot)
{
	uint64_t nonce = get(&slot->nonce);

	if (nonce && !regmap__slot_is_lost(slot, nonce))
		return true;
	/* Let go just now, perhaps: for ThreadSanitizer, which didn't see the copy's end. */
	get(&slot->window);
	return false;
}

static bool holds(const struct slot *slot, uint64_t waits)
{
	const _Atomic uint64_t *word = (const void *)(uintptr_t)(waits & ~(uint64_t)KIND);
	uint64_t window;

	if ((waits & KIND) == FOR_HOLDER)
		return get(word) && get(word) == get(&slot->nonce);
	window = atomic_load(&slot->window);
	if ((waits & KIND) == FOR_ALL)
		window |= PIN_STORES;
	return window == ((uintptr_t)word | PIN_STORES);
}

/* Does @slot keep @waiter from going on, which waits for @waits? */
static bool blocks(const struct slot *slot, const struct slot *waiter, uint64_t waits)
{
	return holds(slot, waits) && !same_thread(slot, waiter) && is_live(slot);
}

/* --- circles --- */

/*
 * A depth-first search from the slot of a waiting thread, along all that block it, for a slot of
 * the same thread. What others do meanwhile makes circles appear that never were; so the result
 * names the circle and the turns of all who wait in it, and counts if it comes out twice.
 */
enum { SEEN = 1024, DEPTH = 16 };

struct search {
	const struct slot *origin;
	unsigned kinds; /* of the waits to follow: a bit each */
	uint64_t seen[SEEN / 64];
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15;
	return (a ^ a >> 29) | 1;
}

static bool is_new(struct search *s, unsigned i)
{
	bool seen = i >= SEEN || s->seen[i / 64] >> i % 64 & 1;

	if (!seen)
		s->seen[i / 64] |= 1ull << i % 64;
	return !seen;
}

static uint64_t trace(struct search *s, const struct slot *waiter, uint64_t waits, unsigned depth);

/* On from a thread, by one of its slots: all of them may wait, one in the callback of the other. */
static uint64_t follow(struct search *s, const struct slot *thread, unsigned depth)
{
	if (depth >= DEPTH)
		return 0;
	FOR_EACH_SLOT (i) {
		const struct slot *slot = regmap__slot_at(i);
		uint32_t turns = get(&slot->turns);
		uint64_t waits = get(&slot->waits), found;

		if (!waits || !(s->kinds >> (waits & KIND) & 1) || !same_thread(slot, thread) ||
		    !is_new(s, i))
			continue;
		found = trace(s, slot, waits, depth + 1);
		if (found)
			return mix(mix(found, turns), get(&slot->nonce));
	}
	return 0;
}

static uint64_t trace(struct search *s, const struct slot *waiter, uint64_t waits, unsigned depth)
{
	FOR_EACH_SLOT (i) {
		const struct slot *slot = regmap__slot_at(i);
		uint64_t nonce = get(&slot->nonce), found;

		if (!blocks(slot, waiter, waits))
			continue;
		found = same_thread(slot, s->origin) ? nonce : follow(s, slot, depth);
		if (found)
			return mix(found, nonce);
	}
	return 0;
}

/*
 * Who waits for stores gives way first: a handler may LOCK what its thread was storing to. Its
 * turn to LOCK then comes, so who waits for that doesn't count on those who wait for stores; an unmap
 * counts on none but unmaps.
 */
static uint64_t circle(const struct slot *waiter, uint64_t waits)
{
	static const unsigned kinds[] = {
		[FOR_HOLDER] = 1 << FOR_HOLDER | 1 << FOR_ALL,
		[FOR_STORES] = 1 << FOR_HOLDER | 1 << FOR_STORES | 1 << FOR_ALL,
		[FOR_ALL] = 1 << FOR_ALL,
	};
	struct search s = {.origin = waiter, .kinds = kinds[waits & KIND]};

	return trace(&s, waiter, waits, 0);
}

/* --- waiting --- */

static uint64_t what(const void *where, unsigned kind)
{
	return (uintptr_t)where | kind;
}

static void announce(struct slot *waiter, uint64_t waits)
{
	set(&waiter->turns, (get(&waiter->turns) + 1) & ~IMPATIENT);
	set(&waiter->waits, waits);
}

/* Nothing better can be expected than to go on. */
static bool is_vain(struct slot *waiter, uint64_t waits, unsigned round, uint64_t *before)
{
	uint64_t now, was = *before;

	if (round >= PATIENCE) {
		set(&waiter->turns, get(&waiter->turns) | IMPATIENT);
		return true;
	}
	if (round < SLEEPS || round % LOOK)
		return false;
	now = *before = circle(waiter, waits);
	return now && now == was;
}

/* Until the slot's claim of this moment doesn't block any more. False: it does, but go on. */
static bool await(struct slot *waiter, const struct slot *slot, uint64_t waits)
{
	uint64_t nonce = get(&slot->nonce), before = 0;

	for (unsigned round = 0; blocks(slot, waiter, waits); regmap__back_off(round++)) {
		if (get(&slot->nonce) != nonce || (round >= SLEEPS && regmap__slot_is_dead(slot)))
			return true;
		if ((waits & KIND) != FOR_ALL && is_vain(waiter, waits, round, &before))
			return false;
	}
	return true;
}

static bool await_all(struct slot *waiter, uint64_t waits)
{
	FOR_EACH_SLOT (i)
		if (!await(waiter, regmap__slot_at(i), waits))
			return false;
	return true;
}

/* --- locks --- */

static void forget(_Atomic uint64_t *word, uint64_t nonce)
{
	atomic_compare_exchange_strong(word, &nonce, 0);
}

/* True: an outer frame of this thread holds the lock. */
static bool is_held_by(const struct slot *mine, uint64_t word)
{
	return same_thread(regmap__slot_at(slot_of_nonce(word)), mine) && !is_abandoned(word);
}

/* Until the word is free. False: it isn't, but go on. */
static bool await_holder(struct slot *mine, _Atomic uint64_t *word)
{
	uint64_t now, waits = what((void *)word, FOR_HOLDER);
	bool over = true, waited = false;

	while (over && (now = atomic_load(word))) {
		const struct slot *holder = regmap__slot_at(slot_of_nonce(now));

		if (is_abandoned(now) || (waited && regmap__slot_is_dead(holder))) {
			forget(word, now);
			continue;
		}
		if (is_held_by(mine, now))
			return false;
		announce(mine, waits);
		over = await(mine, holder, waits);
		announce(mine, 0);
		waited = true;
	}
	return over;
}

enum gate regmap__gate_wait(struct pin *pin, struct regmap_window *window)
{
	uint64_t now = atomic_load(&window->lock);

	regmap__pin_note_waiter(pin);
	if (!now || is_held_by(pin->slot, now))
		return GATE_OPEN;
	regmap__pin_empty(pin);
	return await_holder(pin->slot, &window->lock) ? GATE_WAITED : GATE_GAVE_UP;
}

static bool take(struct pin *pin, _Atomic uint64_t *word)
{
	uint64_t none, mine = get(&pin->nonce);

	do {
		if (!await_holder(pin->slot, word))
			return false;
		none = 0;
	} while (!atomic_compare_exchange_strong(word, &none, mine));
	return true;
}

static bool await_stores(struct pin *pin, const struct regmap_window *window)
{
	uint64_t waits = what(window, FOR_STORES);
	bool over;

	regmap__lane_slots_settle();
	announce(pin->slot, waits);
	over = await_all(pin->slot, waits) || get(&pin->slot->turns) & IMPATIENT;
	announce(pin->slot, 0);
	return over;
}

/* In a circle, the others go first, for a while. */
bool regmap__lock_take(struct pin *pin, _Atomic uint64_t *word, struct regmap_window *window)
{
	enum { TRIES = 64, PAUSES = 8 };

	regmap__pin_note_waiter(pin);
	for (unsigned tries = 0;; tries++) {
		if (!take(pin, word))
			return false;
		if (!window || await_stores(pin, window) || tries == TRIES)
			return true;
		forget(word, get(&pin->nonce));
		for (unsigned i = 0; i < PAUSES; i++)
			regmap__back_off(SLEEPS);
	}
}

void regmap__lock_drop(const struct pin *pin, _Atomic uint64_t *word)
{
	uint64_t mine = get(&pin->nonce);

	if (mine)
		forget(word, mine);
}

/* --- regmap_unmap() --- */

bool regmap__drain_announce(struct pin *pin, const struct regmap_window *window)
{
	uint64_t waits = what(window, FOR_ALL);

	regmap__pin_take(pin);
	announce(pin->slot, waits);
	if (!circle(pin->slot, waits))
		return true;
	regmap__pin_drop(pin);
	return false;
}

void regmap__drain(struct pin *pin, const struct regmap_window *window)
{
	regmap__lane_slots_settle();
	await_all(pin->slot, what(window, FOR_ALL));
	regmap__pin_drop(pin);
}
