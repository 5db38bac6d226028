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
/* The owner is changing patches: those whose turn is odd. */
static atomic_bool in_flight;
static _Atomic uint64_t taken_back, puts_begun;

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

static void turn(struct patch *p)
{
	atomic_fetch_add(&p->turn, 1);
}

static bool is_turning(const struct patch *p)
{
	return atomic_load_explicit(&p->turn, memory_order_acquire) & 1;
}

bool regmap__patch_put(const struct patch_text *text, struct patch *p, const uint8_t *to,
                       enum patch_kind kind)
{
	bool done;

	atomic_fetch_add(&puts_begun, 1);
	set_now(p, to);
	atomic_store(&in_flight, true);
	turn(p);
	done = regmap__text_halt(text, p->site, p->plan->bytes, patch_span(p));
	if (done) {
		regmap__text_sync();
		regmap__text_tail(text, p->site, to, patch_span(p));
		regmap__text_sync();
		regmap__text_head(text, p->site, to);
		regmap__text_sync();
		atomic_store_explicit(&p->kind, kind, memory_order_release);
	}
	turn(p);
	atomic_store(&in_flight, false);
	return done;
}

/* Ours stands there, but for breakpoints. */
static bool looks_patched(const struct patch *p, uint8_t is[16])
{
	struct cpu_trap trap;
	uint8_t now[16];

	get_now(p, now);
	if (patch_kind(p) == PATCH_NONE ||
	    regmap__guard_copy(is, (const void *)(uintptr_t)p->site, patch_span(p), &trap))
		return false;
	for (unsigned i = 0; i < patch_span(p); i++)
		if (is[i] != now[i] && is[i] != PATCH_INT3)
			return false;
	return true;
}

/* Other code may have come in its place. Where a debugger has a breakpoint, it is left alone. */
static bool stands(const struct patch_text *text, struct patch *p)
{
	uint8_t now[16], is[16];

	if (patch_kind(p) == PATCH_NONE || is_turning(p))
		return false;
	get_now(p, now);
	if (regmap__text_read(text, p->site, is, patch_span(p)) && !memcmp(is, now, patch_span(p)))
		return true;
	if (!looks_patched(p, is))
		atomic_store(&p->kind, PATCH_NONE);
	return false;
}

struct patch *regmap__patch_standing(const struct patch_text *text, uint64_t rip)
{
	struct patch *p = regmap__patch_of(rip);

	return p && stands(text, p) ? p : NULL;
}

/* --- dependents --- */

struct patch *regmap__patch_dependent(const struct patch_text *text, uint64_t at)
{
	for (unsigned back = 1; back < PATCH_JUMP_SIZE; back++) {
		struct patch *p = regmap__patch_standing(text, at - back);

		if (p && patch_kind(p) == PATCH_PUNNED && p->plan->length <= back)
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

/* --- taking back --- */

/* All that go back together: however many, the cores are made to look a few times in all. */
struct back {
	const struct patch_text *text;
	uint32_t first;
};

static void add_one(struct back *back, struct patch *p)
{
	if (p->listed)
		return;
	p->listed = true;
	p->next_back = back->first;
	back->first = p->number;
}

static void add_with_dependents(struct back *back, struct patch *p)
{
	unsigned count;
	uint64_t from = chain_start(back->text, p->site, &count);

	for (uint64_t at = from; at < p->site; at++) {
		struct patch *d = regmap__patch_standing(back->text, at);

		if (d && patch_kind(d) == PATCH_PUNNED)
			add_one(back, d);
	}
	if (stands(back->text, p))
		add_one(back, p);
}

/* On whom somebody depends waits until that one is halted, and all cores know. */
static void halt_some(struct back *back, uint32_t *waiting, uint32_t *halted)
{
	uint32_t n = *waiting, next, ready = 0;

	*waiting = 0;
	for (struct patch *p; n; n = next) {
		uint32_t *list;

		p = patch_number(n);
		next = p->next_back;
		list = regmap__patch_dependent(back->text, p->site) ? waiting : &ready;
		p->next_back = *list;
		*list = n;
	}
	if (!ready) { /* none waits for another of these */
		ready = *waiting;
		*waiting = 0;
	}
	for (struct patch *p; ready; ready = next) {
		uint8_t now[16];

		p = patch_number(ready);
		next = p->next_back;
		p->listed = false;
		get_now(p, now);
		turn(p);
		if (regmap__text_halt(back->text, p->site, now, patch_span(p))) {
			p->next_back = *halted;
			*halted = ready;
		} else {
			atomic_store(&p->kind, PATCH_NONE);
			turn(p);
		}
	}
	regmap__text_sync();
}

static void restore(struct back *back, uint32_t halted)
{
	struct patch *p;

	for (uint32_t n = halted; n; n = p->next_back) {
		p = patch_number(n);
		regmap__text_tail(back->text, p->site, p->plan->bytes, patch_span(p));
	}
	regmap__text_sync();
	for (uint32_t n = halted; n; n = p->next_back) {
		p = patch_number(n);
		regmap__text_head(back->text, p->site, p->plan->bytes);
	}
	regmap__text_sync();
	for (uint32_t n = halted; n; n = p->next_back) {
		p = patch_number(n);
		atomic_store_explicit(&p->kind, PATCH_NONE, memory_order_release);
		atomic_fetch_add(&taken_back, 1);
		turn(p);
	}
}

static void put_back(struct back *back)
{
	uint32_t waiting = back->first, halted = 0;

	if (!waiting)
		return;
	atomic_store(&in_flight, true);
	while (waiting)
		halt_some(back, &waiting, &halted);
	restore(back, halted);
	atomic_store(&in_flight, false);
}

bool regmap__patch_loosen(const struct patch_text *text, uint64_t at, struct patch_chain *chain)
{
	struct back back = {text, 0};
	unsigned count;
	uint64_t from = chain_start(text, at, &count);

	chain->count = 0;
	if (count > PATCH_CHAIN)
		return false;
	for (; from < at; from++) {
		struct patch *p = regmap__patch_standing(text, from);

		if (!p || patch_kind(p) != PATCH_PUNNED)
			continue;
		add_one(&back, p);
		if (chain->count < PATCH_CHAIN)
			chain->site[chain->count++] = from;
	}
	put_back(&back);
	return true;
}

static void add_found(struct patch *p, void *back)
{
	add_with_dependents(back, p);
}

void regmap__patch_take_back(const struct patch_text *text, uint64_t start, uint64_t last)
{
	struct back back = {text, 0};

	regmap__patches_in(start, last, add_found, &back);
	put_back(&back);
}

uint64_t regmap__patch_taken_back(void)
{
	return atomic_load_explicit(&taken_back, memory_order_relaxed);
}

uint64_t regmap__patch_puts(void)
{
	return atomic_load(&puts_begun);
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

/* Where there is no other code by now. */
static bool shows_ours(const struct patch_text *text, const struct patch *p)
{
	uint8_t now[16], is[16];

	get_now(p, now);
	return regmap__text_read(text, p->site, is, patch_span(p)) &&
	       (is[0] == PATCH_HLT || !memcmp(is, now, patch_span(p)));
}

/* Whichever way it was going, the program's own bytes are right. */
static void abandon(struct patch *p, const struct patch_text *text)
{
	if (text && shows_ours(text, p))
		regmap__text_write(text, p->site, p->plan->bytes, patch_span(p));
	if (text)
		atomic_store(&p->kind, PATCH_NONE);
	turn(p);
}

/* If code can't be written any more, see halt_stays(). */
static void abandon_all(void)
{
	uint32_t used = atomic_load(&regmap__patches.used);
	struct patch_text text;
	bool open = regmap__text_open(&text);

	for (uint32_t n = 1; n <= used; n++) {
		struct patch *p = regmap__pool_at(&regmap__patches, n);

		p->listed = false;
		if (is_turning(p))
			abandon(p, open ? &text : NULL);
	}
	if (open)
		regmap__text_close(&text);
}

void regmap__patch_forget_others(void)
{
	if (atomic_load(&owner) == regmap__thread_key())
		return;
	if (atomic_load(&in_flight))
		abandon_all();
	atomic_store(&in_flight, false);
	atomic_store(&owner, 0);
}

/* --- what the handler asks --- */

enum memory { UNREADABLE, SAME, OTHER };

static enum memory compare(uint64_t rip, const uint8_t *bytes, size_t length)
{
	struct cpu_trap trap;
	uint8_t is[16];

	if (regmap__guard_copy(is, (const void *)(uintptr_t)rip, length, &trap))
		return UNREADABLE;
	return memcmp(is, bytes, length) ? OTHER : SAME;
}

static bool memory_shows(uint64_t rip, const uint8_t *bytes, size_t length)
{
	return compare(rip, bytes, length) == SAME;
}

static bool shows_patch(const struct patch *p)
{
	uint8_t now[16];

	get_now(p, now);
	return patch_kind(p) != PATCH_NONE && memory_shows(p->site, now, patch_span(p));
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
	if (turn & 1 || compare(rip, code, length) == OTHER)
		return true;
	get_now(p, now);
	return patch_kind(p) != PATCH_NONE && !memcmp(code, now, length);
}

/* Ours: behind it are the program's bytes or ours. */
static bool shows_halt(const struct patch *p)
{
	uint8_t now[16], own[16];

	get_now(p, now);
	memcpy(own, p->plan->bytes, patch_span(p));
	now[0] = own[0] = PATCH_HLT;
	return memory_shows(p->site, own, patch_span(p)) ||
	       memory_shows(p->site, now, patch_span(p));
}

/* Nobody is about to change it: one that isn't there any more was, and this process couldn't. */
static enum patch_halt halt_stays(struct patch *p)
{
	struct patch_text text;
	uint64_t mask;
	bool repaired = false;

	if (!regmap__patch_try_lock(&mask))
		return HALT_STAYS;
	if (shows_halt(p) && regmap__text_open(&text)) {
		turn(p);
		regmap__text_tail(&text, p->site, p->plan->bytes, patch_span(p));
		regmap__text_sync();
		regmap__text_head(&text, p->site, p->plan->bytes);
		regmap__text_sync();
		atomic_store(&p->kind, PATCH_NONE);
		turn(p);
		regmap__text_close(&text);
		repaired = true;
	}
	regmap__patch_unlock(&mask);
	return repaired || !shows_halt(p) ? HALT_AGAIN : HALT_STAYS;
}

/*
 * A jump raises none, so there was a HLT a moment ago. Where the program's own bytes stand, they may
 * have: what becomes of an access is the same, whichever it was.
 */
enum patch_halt regmap__patch_halted(uint64_t rip, const struct patch **patch)
{
	struct patch *p = patch_ever() ? regmap__patch_of(rip) : NULL;
	bool again, stays;
	uint32_t was;

	*patch = p;
	if (!p)
		return HALT_NOT;
	was = atomic_load_explicit(&p->turn, memory_order_acquire);
	again = shows_patch(p);
	stays = !again && shows_halt(p);
	if (!(was & 1) && atomic_load_explicit(&p->turn, memory_order_acquire) == was) {
		if (stays)
			return halt_stays(p);
		if (!again)
			return HALT_NOT;
	}
	sys_call(SYS_sched_yield, 0, 0, 0, 0);
	return HALT_AGAIN;
}

struct overlay {
	uint64_t start;
	uint8_t *code;
	size_t length;
};

static void lay_own(const struct patch *p, const struct overlay *over)
{
	uint8_t is[16], now[16];

	if (!looks_patched(p, is))
		return;
	get_now(p, now);
	for (unsigned i = 0; i < patch_span(p); i++)
		if (p->site + i - over->start < over->length && is[i] == now[i])
			over->code[p->site + i - over->start] = p->plan->bytes[i];
}

void regmap__patch_overlay(uint64_t rip, uint8_t *code, size_t length)
{
	const struct overlay over = {rip, code, length};

	if (!patch_ever())
		return;
	for (uint64_t at = rip - EM_MAX_LENGTH + 1; at != rip + length; at++) {
		const struct patch *p = regmap__patch_of(at);

		if (p)
			lay_own(p, &over);
	}
}

/* Of several for one site, one stands at most. */
static void lay_one(struct patch *p, void *over)
{
	if (p == regmap__patch_of(p->site))
		lay_own(p, over);
}

void regmap__patch_overlay_all(uint64_t start, uint8_t *code, size_t length)
{
	struct overlay over = {start, code, length};

	regmap__patches_in(start, start + length - 1, lay_one, &over);
}
