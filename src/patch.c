/* SPDX-License-Identifier: MIT */
/* Which sites are hot, and when they are patched. */
#define _GNU_SOURCE
#include "patch.h"

#include "../arch/x86_64/context.h"
#include "fragments.h"
#include "lane.h"
#include "patch_change.h"

#include "sigsafe.h"

enum {
	LATER = 64, /* faults until a site is tried again */
	STRANGERS = 1 << 24,
};

_Atomic unsigned regmap__patch_threshold;
_Atomic bool regmap__patch_ever;

/* --- heat --- */

static uint32_t digest(const struct plan *plan)
{
	uint32_t h = 2166136261u;

	for (unsigned i = 0; i < plan->length; i++)
		h = (h ^ plan->bytes[i]) * 16777619u;
	return h & 0xffffff;
}

/* What may be otherwise the next time. */
static bool passes(enum patch_why why)
{
	return why == WHY_BUSY || why == WHY_CHANGED || why == WHY_ROOM || why == WHY_CROWD ||
	       why == WHY_BREAKPOINT || why == WHY_WRITABLE || why == WHY_MEMORY ||
	       why == WHY_KERNEL;
}

/* The longer it has been in vain, the more seldom it is tried. */
static int32_t later(const struct patch_site *site)
{
	uint32_t faults = atomic_load_explicit(&site->faults, memory_order_relaxed);

	return faults < LATER ? LATER : faults < INT32_MAX ? (int32_t)faults : INT32_MAX;
}

/* Of the site that the lock is held for: each site counts once, by its latest reason. */
void regmap__patch_judge(struct patch_site *site, const struct plan *plan, enum patch_why why)
{
	uint32_t was = atomic_load_explicit(&site->verdict, memory_order_relaxed);
	uint32_t is = why == WHY_NONE ? 0 : (uint32_t)(why + 1) << 24 | digest(plan);

	if (was >> 24)
		regmap__why_count((enum patch_why)((was >> 24) - 1), -1);
	if (is)
		regmap__why_count(why, 1);
	atomic_store_explicit(&site->verdict, is, memory_order_relaxed);
	atomic_store_explicit(&site->heat, is ? -later(site) : 0, memory_order_relaxed);
}

/* For good: about other bytes it says nothing. */
static bool is_refused(struct patch_site *site, const struct plan *plan)
{
	uint32_t verdict = atomic_load_explicit(&site->verdict, memory_order_relaxed);

	return verdict >> 24 && !passes((enum patch_why)((verdict >> 24) - 1)) &&
	       (verdict & 0xffffff) == digest(plan);
}

static enum patch_why patch_now(struct patch_site *site, const struct plan *plan, uint64_t address)
{
	struct patch_text text;
	struct kept_fs kept;
	enum patch_why why;

	if (!regmap__text_open(&text))
		return WHY_KERNEL;
	atomic_store_explicit(&regmap__patch_ever, true, memory_order_relaxed);
	/* the decoder is asked again, of the code around it */
	regmap__canary_lend(&kept);
	why = regmap__patch_make(&text, site, plan, address);
	regmap__canary_take_back(&kept);
	regmap__text_close(&text);
	return why;
}

/* What a fragment has already needn't wait. */
static bool is_hot(struct patch_site *site)
{
	unsigned threshold = atomic_load_explicit(&regmap__patch_threshold, memory_order_relaxed);
	int32_t heat = atomic_fetch_add_explicit(&site->heat, 1, memory_order_relaxed) + 1;

	if (!threshold || heat <= 0)
		return false;
	return (unsigned)heat >= threshold || regmap__fragments_have(site->rip);
}

/* Sites that there is no record for, each once: but for some that look alike. */
static void count_stranger(uint64_t rip)
{
	static _Atomic uint64_t seen[STRANGERS / 64];
	uint64_t hash = rip * 0x9e3779b97f4a7c15 >> 40, bit = 1ULL << hash % 64;

	_Static_assert(STRANGERS == 1 << 24, "as many as the hash tells apart");
	if (!(atomic_fetch_or_explicit(&seen[hash / 64], bit, memory_order_relaxed) & bit))
		regmap__why_count(WHY_MANY, 1);
}

/* Whom another thread keeps from it comes back with its next fault. */
void regmap__patch_count(uint64_t rip, const struct plan *plan, uint64_t address)
{
	struct patch_site *site = regmap__site_at(rip, true);
	uint64_t mask;

	if (!site) {
		count_stranger(rip);
		return;
	}
	atomic_fetch_add_explicit(&site->faults, 1, memory_order_relaxed);
	if (is_refused(site, plan) || !is_hot(site) || !regmap__patch_try_lock(&mask))
		return;
	/* switched off meanwhile: nothing may be patched after that has taken all back */
	if (atomic_load(&regmap__patch_threshold))
		regmap__patch_judge(site, plan, patch_now(site, plan, address));
	regmap__patch_unlock(&mask);
}

/* --- whose code is it --- */

bool regmap__patch_find(uint64_t rip, struct patch_place *place)
{
	uint32_t number = patch_ever() ? regmap__room_owner(rip, &place->offset) : 0;

	place->fragment = number & ROOM_FRAGMENT ? regmap__fragment_map(number & ~ROOM_FRAGMENT) :
	                                           NULL;
	place->patch = place->fragment ? NULL : patch_number(number);
	return number;
}

void regmap__patch_request(struct slot_request *request)
{
	request->tls = regmap__lane_offset();
	request->magic = LANE_MAGIC;
	request->inline_access = true;
}

/* --- taking back --- */

static void take_back_range(uint64_t start, uint64_t last)
{
	struct patch_text text;

	if (!regmap__text_open(&text))
		return;
	regmap__patch_take_back(&text, start, last);
	regmap__fragments_take_back(&text, start, last);
	regmap__text_close(&text);
	regmap__fragments_leave();
}

static void found_one(struct patch *p, void *any)
{
	(void)p;
	*(bool *)any = true;
}

static uint64_t made(void)
{
	return regmap__patch_puts() + regmap__fragments_touched();
}

/*
 * Most of what a program unmaps has no code of ours in it, and then must not wait: a fork may hold
 * the lock and wait in turn for whoever unmaps.
 */
void regmap__patch_leave_begin(struct patch_leave *leave, uint64_t start, uint64_t length)
{
	leave->held = false;
	leave->before = made();
	leave->ranges = 0;
	regmap__patch_leave_also(leave, start, length);
}

static bool has_some(uint64_t start, uint64_t last)
{
	bool any = false;

	regmap__patches_in(start, last, found_one, &any);
	return any || regmap__fragments_touch(start, last);
}

void regmap__patch_leave_also(struct patch_leave *leave, uint64_t start, uint64_t length)
{
	uint64_t last = start + (length - 1);

	if (!patch_ever() || !length)
		return;
	leave->range[leave->ranges].start = start;
	leave->range[leave->ranges++].last = last;
	if (!has_some(start, last))
		return;
	if (!leave->held)
		regmap__patch_lock(&leave->mask);
	leave->held = true;
	take_back_range(start, last);
}

/* What was patched between the look and the change, and saw nothing of either. */
static void leave_late(const struct patch_leave *leave)
{
	for (unsigned i = 0; i < leave->ranges; i++) {
		uint64_t start = leave->range[i].start, last = leave->range[i].last;
		uint64_t mask;

		if (!has_some(start, last))
			continue;
		regmap__patch_lock(&mask);
		take_back_range(start, last);
		regmap__patch_unlock(&mask);
	}
}

void regmap__patch_leave_end(struct patch_leave *leave)
{
	if (leave->held)
		regmap__patch_unlock(&leave->mask);
	else if (leave->before != made())
		leave_late(leave);
}

void regmap__patch_leave_all(void)
{
	struct patch_leave leave = {.held = patch_ever()};

	if (!leave.held)
		return;
	regmap__patch_lock(&leave.mask);
	take_back_range(0, UINT64_MAX);
	regmap__patch_leave_end(&leave);
}
