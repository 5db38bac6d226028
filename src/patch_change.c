/* SPDX-License-Identifier: MIT */
/*
 * How a site becomes a jump and itself again.
 *
 * The one thread that changes code takes no signals meanwhile, and is known, so that a child by
 * fork() that doesn't have it puts back what it had begun.
 *
 * A *punned* jump is that of an instruction of fewer than 5 bytes: the rest of its displacement are
 * the bytes that follow, as they are. So before those change it is taken back; such sites are the
 * *dependents* of the one behind them, and have dependents themselves.
 */
#define _GNU_SOURCE
#include "patch_change.h"

#include <signal.h>
#include <string.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "fork.h"
#include "pin.h"
#include "sigmask.h"

#include "sigsafe.h"

#define STAYS_OPEN (SYNCHRONOUS | SYS_SIGBIT(SIGSYS))

static _Atomic uint64_t owner; /* thread key */
/* What the owner is changing; NULL: nothing. */
static struct patch *_Atomic in_flight;
static _Atomic uint64_t taken_back;

bool regmap__patch_try_lock(uint64_t *mask)
{
	const uint64_t most = ~STAYS_OPEN;
	uint64_t none = 0;

	regmap__fork_notice();
	sys_sigmask(SIG_BLOCK, &most, mask);
	if (atomic_compare_exchange_strong(&owner, &none, regmap__thread_key()))
		return true;
	sys_sigmask(SIG_SETMASK, mask, NULL);
	return false;
}

void regmap__patch_lock(uint64_t *mask)
{
	while (!regmap__patch_try_lock(mask))
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
}

void regmap__patch_unlock(const uint64_t *mask)
{
	atomic_store_explicit(&owner, 0, memory_order_release);
	sys_sigmask(SIG_SETMASK, mask, NULL);
}

/* --- one change --- */

static void get_now(const struct patch *p, uint8_t now[16])
{
	uint64_t word[2] = {atomic_load_explicit(&p->now[0], memory_order_relaxed),
	                    atomic_load_explicit(&p->now[1], memory_order_relaxed)};

	memcpy(now, word, sizeof(word));
}

static void set_now(struct patch *p, const uint8_t *bytes)
{
	uint64_t word[2] = {0};

	memcpy(word, bytes, patch_span(p));
	atomic_store_explicit(&p->now[0], word[0], memory_order_relaxed);
	atomic_store_explicit(&p->now[1], word[1], memory_order_relaxed);
}

static bool change(const struct patch_text *text, struct patch *p, const uint8_t *from,
                   const uint8_t *to, enum patch_kind kind)
{
	bool done;

	atomic_store(&in_flight, p);
	atomic_fetch_add(&p->turn, 1);
	done = regmap__text_change(text, p->site, from, to, patch_span(p));
	if (done)
		atomic_store_explicit(&p->kind, kind, memory_order_release);
	atomic_fetch_add(&p->turn, 1);
	atomic_store(&in_flight, NULL);
	return done;
}

bool regmap__patch_put(const struct patch_text *text, struct patch *p, const uint8_t *to,
                       enum patch_kind kind)
{
	set_now(p, to);
	return change(text, p, p->plan.bytes, to, kind);
}

/* Other code may have come in its place, or a debugger's breakpoint: then it is left alone. */
static bool stands(const struct patch_text *text, struct patch *p)
{
	uint8_t now[16], is[16];

	if (patch_kind(p) == PATCH_NONE)
		return false;
	get_now(p, now);
	if (regmap__text_read(text, p->site, is, patch_span(p)) && !memcmp(is, now, patch_span(p)))
		return true;
	atomic_store(&p->kind, PATCH_NONE);
	return false;
}

struct patch *regmap__patch_standing(const struct patch_text *text, uint64_t rip)
{
	struct patch *p = regmap__patch_of(rip);

	return p && stands(text, p) ? p : NULL;
}

static void put_back(const struct patch_text *text, struct patch *p)
{
	uint8_t now[16];

	get_now(p, now);
	if (change(text, p, now, p->plan.bytes, PATCH_NONE))
		atomic_fetch_add(&taken_back, 1);
}

/* --- dependents --- */

struct patch *regmap__patch_dependent(const struct patch_text *text, uint64_t at)
{
	for (unsigned back = 1; back < PATCH_JUMP_SIZE; back++) {
		struct patch *p = regmap__patch_standing(text, at - back);

		if (p && patch_kind(p) == PATCH_PUNNED && p->plan.length <= back)
			return p;
	}
	return NULL;
}

static uint64_t chain_start(const struct patch_text *text, uint64_t at, unsigned *count)
{
	struct patch *p;

	for (*count = 0; (p = regmap__patch_dependent(text, at)); at = p->site)
		++*count;
	return at;
}

/* On whom nobody depends goes first. */
static void loosen(const struct patch_text *text, uint64_t from, uint64_t to,
                   struct patch_chain *chain)
{
	for (uint64_t at = from; at < to; at++) {
		struct patch *p = regmap__patch_standing(text, at);

		if (!p || patch_kind(p) != PATCH_PUNNED)
			continue;
		put_back(text, p);
		if (chain && chain->count < PATCH_CHAIN)
			chain->site[chain->count++] = at;
	}
}

bool regmap__patch_loosen(const struct patch_text *text, uint64_t at, struct patch_chain *chain)
{
	unsigned count;
	uint64_t from = chain_start(text, at, &count);

	chain->count = 0;
	if (count > PATCH_CHAIN)
		return false;
	loosen(text, from, at, chain);
	return true;
}

void regmap__patch_take_back(const struct patch_text *text, struct patch *p)
{
	unsigned count;

	loosen(text, chain_start(text, p->site, &count), p->site, NULL);
	if (stands(text, p))
		put_back(text, p);
}

uint64_t regmap__patch_taken_back(void)
{
	return atomic_load_explicit(&taken_back, memory_order_relaxed);
}

/* --- fork --- */

static uint64_t mask_over_fork;

void regmap__patch_before_fork(void)
{
	regmap__patch_lock(&mask_over_fork);
}

void regmap__patch_after_fork(void)
{
	regmap__patch_unlock(&mask_over_fork);
}

/* Whichever way it was going, the program's own bytes are right. Other code is left alone. */
static void abandon(struct patch *p)
{
	struct patch_text text;
	uint8_t now[16], is[16];

	if (regmap__text_open(&text)) {
		get_now(p, now);
		if (regmap__text_read(&text, p->site, is, patch_span(p)) &&
		    (is[0] == PATCH_HLT || !memcmp(is, now, patch_span(p))))
			regmap__text_write(&text, p->site, p->plan.bytes, patch_span(p));
		regmap__text_close(&text);
	}
	atomic_store(&p->kind, PATCH_NONE);
	if (atomic_load(&p->turn) & 1)
		atomic_fetch_add(&p->turn, 1);
}

void regmap__patch_forget_others(void)
{
	struct patch *p = atomic_load(&in_flight);

	if (atomic_load(&owner) == regmap__thread_key())
		return;
	if (p)
		abandon(p);
	atomic_store(&in_flight, NULL);
	atomic_store(&owner, 0);
}

/* --- what the handler asks --- */

static bool memory_shows(uint64_t rip, const uint8_t *bytes, size_t length)
{
	struct cpu_trap trap;
	uint8_t is[16];

	return !regmap__guard_copy(is, (const void *)(uintptr_t)rip, length, &trap) &&
	       !memcmp(is, bytes, length);
}

/* What is fetched and what is changed here are out of step for a moment: look until they agree. */
bool regmap__patch_shows(uint64_t rip, const uint8_t *code, size_t have)
{
	const struct patch *p = patch_ever() ? regmap__patch_of(rip) : NULL;
	uint32_t turn = p ? atomic_load_explicit(&p->turn, memory_order_acquire) : 0;
	size_t length = p && patch_span(p) < have ? patch_span(p) : have;
	uint8_t now[16];

	if (!p)
		return false;
	if (turn & 1 || !memory_shows(rip, code, length))
		return true;
	get_now(p, now);
	return patch_kind(p) != PATCH_NONE && !memcmp(code, now, length);
}

/*
 * Has this thread come here before, in vain? What raises the fault each time is the instruction, which
 * may be the program's own by now. Threads that share a place cost each other one more try.
 */
static bool has_tried(uint64_t rip, uint32_t turn)
{
	static _Atomic uint64_t last[64];
	uint64_t thread = regmap__thread_key();
	_Atomic uint64_t *place = &last[thread * 0x9e3779b97f4a7c15 >> 58];
	uint64_t is = ((rip ^ (uint64_t)turn << 48) * 0x9e3779b97f4a7c15 ^ thread) | 1;

	if (atomic_exchange_explicit(place, is, memory_order_relaxed) != is)
		return false;
	atomic_store_explicit(place, 0, memory_order_relaxed);
	return true;
}

bool regmap__patch_in_transition(uint64_t rip)
{
	static const uint8_t trap = PATCH_HLT;
	const struct patch *p = patch_ever() ? regmap__patch_of(rip) : NULL;
	uint32_t turn;

	if (!p)
		return false;
	turn = atomic_load_explicit(&p->turn, memory_order_acquire);
	if (!(turn & 1) && (memory_shows(rip, &trap, 1) || has_tried(rip, turn)) &&
	    atomic_load_explicit(&p->turn, memory_order_acquire) == turn)
		return false; /* the program's own */
	sys_call(SYS_sched_yield, 0, 0, 0, 0);
	return true;
}

void regmap__patch_overlay(uint64_t rip, uint8_t *code, size_t length)
{
	if (!patch_ever())
		return;
	for (uint64_t at = rip - EM_MAX_LENGTH + 1; at != rip + length; at++) {
		const struct patch *p = regmap__patch_of(at);
		uint8_t now[16];

		if (!p || patch_kind(p) == PATCH_NONE)
			continue;
		get_now(p, now);
		if (!memory_shows(at, now, patch_span(p)))
			continue;
		for (unsigned i = 0; i < patch_span(p); i++)
			if (at + i - rip < length)
				code[at + i - rip] = p->plan.bytes[i];
	}
}
