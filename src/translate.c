/* SPDX-License-Identifier: MIT */
/* regmap_translate(): first where the thread's last one was, then by the table. */
#define _GNU_SOURCE
#include <errno.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/thread.h"
#include "atomics.h"
#include "table.h"

#include "sigsafe.h"

enum { KNOWN_BITS = 8 };

/*
 * A window with memory, from one address on. Handlers of the thread's use this, too, in between any
 * two accesses to it; one that jumps out of the middle of a change ends the use of it.
 */
struct hint {
	_Atomic uint64_t turns; /* odd while it is being changed; else how often it was, twice */
	_Atomic uint64_t valid; /* version of the table + 1 */
	_Atomic uint64_t first, last;
	struct regmap_window *_Atomic window;
};

static __thread struct hint hint __attribute__((tls_model("initial-exec")));

/* Threads that have thread-local storage: to ask each time would cost more than it saves. */
static _Atomic uint64_t known[1 << KNOWN_BITS];

__attribute__((noinline)) static bool learn(_Atomic uint64_t *place, uint64_t key)
{
	if (!regmap__tls_works())
		return false;
	if (!get(place))
		set(place, key);
	return true;
}

static inline bool has_hint(void)
{
	_Atomic uint64_t *place;
	uint64_t key;

	if (!regmap__xstate.fsgsbase) /* to name the thread takes a system call */
		return false;
	key = regmap__thread_key();
	place = &known[(key * 0x9e3779b97f4a7c15) >> (64 - KNOWN_BITS)];
	return __builtin_expect(get(place) == key, 1) || learn(place, key);
}

/* Not inlined, nor is the other: the compiler might read FS before it was asked about. */
__attribute__((noinline)) static bool recall(uint64_t address, void **host)
{
	uint64_t version = get(&regmap__table.version), turns = get(&hint.turns), place;

	if (turns % 2 || get(&hint.valid) != version + 1 || address < get(&hint.first) ||
	    address > get(&hint.last))
		return false;
	place = window_place(get(&hint.window), address);
	if (get(&hint.turns) != turns || get(&regmap__table.version) != version)
		return false;
	*host = (void *)place;
	return true;
}

__attribute__((noinline)) static void remember(uint64_t address, const struct table_hit *hit)
{
	uint64_t turns = get(&hint.turns);

	if (turns % 2)
		return;
	set(&hint.turns, turns + 1);
	set(&hint.first, address);
	set(&hint.last, hit->last);
	set(&hint.window, hit->window);
	set(&hint.valid, hit->version + 1);
	set(&hint.turns, turns + 2);
}

/* The commonest case, for next time as well. */
static bool look_up(uint64_t address, void **host)
{
	const struct backing_ops *ops;
	struct table_hit hit;
	uint64_t place;

	regmap__table_find(address, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	if (!ops || !ops->host)
		return false;
	place = window_place(hit.window, address);
	if (get(&regmap__table.version) != hit.version)
		return false;
	remember(address, &hit);
	*host = (void *)place;
	return true;
}

int regmap_translate(uint64_t guest, void **host)
{
	if (!host)
		return -EFAULT;
	if (has_hint() && (recall(guest, host) || look_up(guest, host)))
		return 0;
	return regmap__table_translate(guest, host);
}
