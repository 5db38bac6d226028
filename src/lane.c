/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lane.h"

#include <errno.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "armed.h"
#include "atomics.h"
#include "gate.h"
#include "pin.h"

#include "sigsafe.h"

enum { LANES = 256, BLOCKS = 256, FEW = 64 };
enum { PROMPT = 8, SLEEPS = 128, IMPATIENCE = SLEEPS + 40 }; /* rounds of regmap__back_off() */
enum { EXPEDITED = 1 << 3, REGISTER_EXPEDITED = 1 << 4 };

__thread struct lane_tls regmap__lane_tls __attribute__((tls_model("initial-exec")));
#define tls regmap__lane_tls
static struct lane first_block[LANES];
static struct lane *_Atomic block[BLOCKS] = {first_block};
static _Atomic unsigned top; /* no lane from here on was ever claimed */

static long membarrier(int command)
{
	return sys_call(SYS_membarrier, command, 0, 0, 0);
}

int regmap__lane_init(void)
{
	return membarrier(REGISTER_EXPEDITED) ? -ENOSYS : 0;
}

int32_t regmap__lane_offset(void)
{
	intptr_t self;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	return (int32_t)((intptr_t)&tls - self);
}

static struct lane *lane_at(unsigned i)
{
	return &get(&block[i / LANES])[i % LANES];
}

static bool is_dead(const struct lane *lane)
{
	uint64_t tid = get(&lane->tid);
	long process = sys_call(SYS_getpid, 0, 0, 0, 0);

	return tid && sys_call(SYS_tgkill, process, (long)tid, 0, 0) == -ESRCH;
}

/* A thread that has ended leaves its lane to the one that gets its thread area. */
static struct lane *claim_known(uint64_t me)
{
	for (unsigned i = 0; i < get(&top); i++)
		if (get(&lane_at(i)->key) == me)
			return lane_at(i);
	for (unsigned i = 0; i < get(&top); i++) {
		uint64_t nobody = 0;

		if (atomic_compare_exchange_strong(&lane_at(i)->key, &nobody, me))
			return lane_at(i);
	}
	return NULL;
}

static struct lane *claim_dead(uint64_t me)
{
	for (unsigned i = 0; i < get(&top); i++) {
		struct lane *lane = lane_at(i);
		uint64_t owner = get(&lane->key);

		if (is_dead(lane) && atomic_compare_exchange_strong(&lane->key, &owner, me))
			return lane;
	}
	return NULL;
}

static bool provide_block(unsigned b)
{
	size_t bytes = LANES * sizeof(struct lane);
	struct lane *none = NULL, *p;

	if (get(&block[b]))
		return true;
	p = regmap__scratch_map(bytes);
	if (p && !atomic_compare_exchange_strong(&block[b], &none, p))
		regmap__scratch_unmap(p, bytes);
	return get(&block[b]);
}

unsigned regmap__lane_slots_used(void)
{
	unsigned n = atomic_load(&top);

	return n < PIN_LANES ? n : PIN_LANES;
}

/* For good: to whoever has claimed the lane first. */
static struct lane *with_slot(unsigned i)
{
	struct lane *lane = lane_at(i);

	if (i < PIN_LANES) {
		set(&regmap__lane_slots[i].latest, PIN_OF_LANES + i);
		lane->pin = &regmap__lane_slots[i];
	}
	return lane;
}

/* The key is there before the bound covers it: who waits looks at the bound after a membarrier. */
static struct lane *claim_new(uint64_t me)
{
	for (;;) {
		unsigned i = get(&top);
		uint64_t nobody = 0;

		if (i == LANES * BLOCKS || !provide_block(i / LANES))
			return NULL;
		if (!atomic_compare_exchange_strong(&lane_at(i)->key, &nobody, me))
			nobody = 1;
		atomic_compare_exchange_strong(&top, &i, i + 1);
		if (!nobody)
			return with_slot(i);
	}
}

/* What the slot of a thread that has ended was at, is over. */
static void take_slot_over(struct lane *lane, uint64_t me)
{
	struct slot *slot = lane->pin;

	if (!slot)
		return;
	set(&slot->window, 0);
	set(&slot->nonce, 0);
	set(&slot->tid, (uint32_t)get(&lane->tid));
	set(&slot->key, me);
}

__attribute__((noinline)) static struct lane *take(void)
{
	uint64_t me = regmap__thread_key();
	struct lane *lane;

	if (tls.magic == LANE_MAGIC)
		return tls.lane;
	lane = claim_known(me);
	if (!lane && get(&top) >= FEW)
		lane = claim_dead(me);
	if (!lane)
		lane = claim_new(me);
	if (!lane)
		return NULL;
	set(&lane->tid, regmap__thread_id());
	set(&lane->busy, 0);
	take_slot_over(lane, me);
	lane->error = &errno;
	lane->failed = 0;
	tls.error = lane->error;
	tls.quick = lane->pin;
	tls.lane = lane;
	tls.magic = LANE_MAGIC;
	return lane;
}

struct lane *regmap__lane_take(void)
{
	return regmap__tls_works() ? take() : NULL;
}

/* Not inlined: whether there is TLS has been asked before. */
__attribute__((noinline)) static void fail(struct lane *lane, bool failed)
{
	lane->failed = failed;
	tls.quick = failed ? NULL : lane->pin;
}

void regmap__lane_fail(bool failed)
{
	struct lane *lane = lane_own();

	if (lane)
		fail(lane, failed);
}

void regmap__lane_leave(void)
{
	struct lane *lane = regmap__tls_works() ? lane_own() : NULL;

	if (lane)
		set(&lane->busy, 0);
}

/* A thread may be in a loop, or leave it only to come back: fragments.h. */
static void hold(bool *held)
{
	if (!*held)
		regmap__armed_hold();
	*held = true;
}

static bool await(struct lane *lane, bool patient, bool *held)
{
	for (unsigned round = 0; get(&lane->busy); regmap__back_off(round++)) {
		if (round == PROMPT)
			hold(held);
		if (round >= SLEEPS && is_dead(lane))
			set(&lane->busy, 0);
		else if (round >= IMPATIENCE && !patient)
			return false;
	}
	return true;
}

/* The kernel forgets who has registered where a process was made in strange ways. */
static void synchronize(void)
{
	if (membarrier(EXPEDITED) && !membarrier(REGISTER_EXPEDITED))
		membarrier(EXPEDITED);
}

void regmap__lane_slots_settle(void)
{
	if (regmap__lane_slots_used())
		synchronize();
}

bool regmap__lanes_await(bool patient)
{
	uint64_t me = regmap__thread_key();
	bool held = false, over = true;

	synchronize();
	for (unsigned i = 0; i < get(&top) && over; i++)
		if (get(&lane_at(i)->key) != me)
			over = await(lane_at(i), patient, &held);
	if (held)
		regmap__armed_release();
	return over;
}

void regmap__lanes_forget_others(void)
{
	uint64_t me = regmap__thread_key();

	regmap__armed_forget_others();
	for (unsigned i = 0; i < get(&top); i++) {
		struct lane *lane = lane_at(i);

		if (get(&lane->key) == me) {
			set(&lane->tid, regmap__thread_id());
		} else {
			set(&lane->busy, 0);
			set(&lane->key, 0);
		}
	}
}
