/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>
#include <string.h>

#include "site.h"

#include "sigsafe.h"

enum { SITES = 4096, WORDS = (sizeof(struct plan) + 7) / 8 };

_Static_assert((SITES & (SITES - 1)) == 0, "a power of two");

/*
 * One slot is a seqlock: @turn is odd while somebody writes. The words are read with acquire and
 * written with release order instead of fences, which ThreadSanitizer doesn't understand; on x86
 * both are plain moves.
 */
struct site {
	_Atomic uint32_t turn;
	_Atomic uint64_t rip;
	_Atomic uint64_t word[WORDS];
};

static struct site table[SITES];

union image {
	struct plan plan;
	uint64_t word[WORDS];
};

_Static_assert(sizeof(union image) == sizeof(struct plan), "no tail beyond the plan");

static struct site *slot_of(uint64_t rip)
{
	return &table[(rip ^ rip >> 12) & (SITES - 1)];
}

bool regmap__site_find(uint64_t rip, struct plan *plan)
{
	struct site *site = slot_of(rip);
	uint32_t turn = atomic_load_explicit(&site->turn, memory_order_acquire);
	union image *to = (union image *)plan;

	if (turn & 1 || atomic_load_explicit(&site->rip, memory_order_acquire) != rip)
		return false;
	for (unsigned i = 0; i < WORDS; i++)
		to->word[i] = atomic_load_explicit(&site->word[i], memory_order_acquire);
	if (atomic_load_explicit(&site->turn, memory_order_relaxed) != turn)
		return false;
	return plan->length != 0; /* RIP 0 finds an empty slot */
}

void regmap__site_remember(uint64_t rip, const struct plan *plan)
{
	struct site *site = slot_of(rip);
	uint32_t turn = atomic_load_explicit(&site->turn, memory_order_relaxed);
	uint64_t word[WORDS] = {0};

	if (turn & 1 ||
	    !atomic_compare_exchange_strong_explicit(&site->turn, &turn, turn + 1,
	                                             memory_order_acquire, memory_order_relaxed))
		return;
	memcpy(word, plan, sizeof(*plan));
	atomic_store_explicit(&site->rip, rip, memory_order_release);
	for (unsigned i = 0; i < WORDS; i++)
		atomic_store_explicit(&site->word[i], word[i], memory_order_release);
	atomic_store_explicit(&site->turn, turn + 2, memory_order_release);
}
