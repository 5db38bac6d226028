/* SPDX-License-Identifier: MIT */
/* regmap_patch() and kin; what the environment says. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "fragments.h"
#include "hot.h"
#include "patch_change.h"
#include "patch_list.h"
#include "patch_own.h"
#include "text.h"
#include "trap.h"

_Static_assert((int)WHY_MOST == (int)REGMAP_PATCH_REASONS, "one for each");

enum { DEFAULT_THRESHOLD = 4, TEXT = 4096 };
enum { SHADOW_STACK_STATUS = 0x5005, SHADOW_STACK_ON = 1 };

/* --- on and off --- */

/* A jump in the place of a call instruction, and `ret` to the program, would upset it. */
static bool has_shadow_stack(void)
{
	uint64_t features = 0;

	return !sys_call(SYS_arch_prctl, SHADOW_STACK_STATUS, (long)&features, 0, 0) &&
	       features & SHADOW_STACK_ON;
}

static bool find_slot(uint64_t rip, struct hot_place *place)
{
	struct patch_place found;

	if (!regmap__patch_find(rip, &found))
		return false;
	if (found.fragment)
		*place = (struct hot_place){.fragment = found.fragment, .offset = found.offset};
	else
		*place = (struct hot_place){.map = found.patch->map,
		                            .cell = found.patch->cell,
		                            .offset = found.offset};
	return true;
}

static const struct hot_slots slots = {find_slot, regmap__slot_roll};

static int switch_on(unsigned threshold)
{
	static atomic_bool ready;
	int err;

	if (has_shadow_stack() || (!atomic_load(&ready) && !regmap__text_works()))
		return -ENOSYS;
	err = regmap__hot_start(&slots);
	if (err)
		return err;
	if (!atomic_exchange(&ready, true)) {
		regmap__patch_own_init();
		regmap__fragments_start();
	}
	atomic_store(&regmap__patch_threshold, threshold);
	return 0;
}

static void switch_off(void)
{
	atomic_store(&regmap__patch_threshold, 0);
	regmap__patch_leave_all();
}

int regmap_patch(unsigned threshold)
{
	int saved = errno, err = 0;

	if (threshold) {
		err = regmap__start();
		err = err ? err : switch_on(threshold);
	} else {
		switch_off();
	}
	errno = saved;
	return err;
}

/* --- counting --- */

static void count_patches(struct regmap_patch_stats *stats)
{
	uint32_t used = atomic_load(&regmap__patches.used);

	for (uint32_t n = 1; n <= used; n++) {
		const struct patch *p = patch_number(n);
		enum patch_kind kind = p->passes ? PATCH_NONE : patch_kind(p);

		stats->patched += kind != PATCH_NONE;
		stats->in_place += kind == PATCH_IN_PLACE;
		stats->punned += kind == PATCH_PUNNED;
	}
}

/* Neighbours of sites may be known that never faulted. */
static uint64_t count_sites(void)
{
	uint32_t all = regmap__sites_seen();
	uint64_t count = 0;

	for (uint32_t n = 1; n <= all; n++)
		count += atomic_load_explicit(&regmap__site_number(n)->faults,
		                              memory_order_relaxed) != 0;
	return count;
}

int regmap_patch_stats(struct regmap_patch_stats *stats)
{
	struct regmap_patch_stats all = {.size = stats ? stats->size : 0};

	if (all.size < sizeof(all))
		return -EINVAL;
	all.sites = count_sites();
	all.taken_back = regmap__patch_taken_back();
	count_patches(&all);
	for (unsigned why = 0; why < WHY_MOST; why++)
		all.refused += all.reason[why] = regmap__why_counted(why);
	memcpy(stats, &all, sizeof(all));
	return 0;
}

const char *regmap_patch_reason(unsigned index)
{
	return regmap__why_text(index);
}

int regmap_patch_site(const void *code)
{
	const struct patch_site *site = regmap__site_at((uintptr_t)code, false);
	const struct patch *p = regmap__patch_of((uintptr_t)code);

	if (p && !p->passes && patch_kind(p) != PATCH_NONE)
		return 1;
	if (regmap__fragments_have((uintptr_t)code))
		return 1;
	return site && atomic_load(&site->verdict) ? -EPERM : 0;
}

static void put_count(struct text *t, const char *line, uint64_t count)
{
	put(t, line);
	put_decimal(t, count);
}

__attribute__((destructor)) static void print_stats(void)
{
	struct regmap_patch_stats stats = {.size = sizeof(stats)};
	const char *wish = getenv("REGMAP_PATCH_STATS");
	char buffer[TEXT];
	struct text t = {buffer, buffer + sizeof(buffer)};

	if (!wish || (strcmp(wish, "1") && strcmp(wish, "2")) || regmap_patch_stats(&stats))
		return;
	put_count(&t, "regmap: patching: sites ", stats.sites);
	put_count(&t, ", patched ", stats.patched);
	put_count(&t, " (in place ", stats.in_place);
	put_count(&t, ", punned ", stats.punned);
	put_count(&t, "), taken back ", stats.taken_back);
	put_count(&t, ", refused ", stats.refused);
	put(&t, "\n");
	for (unsigned why = 0; why < REGMAP_PATCH_REASONS; why++) {
		if (!stats.reason[why])
			continue;
		put_count(&t, "regmap: patching: refused ", stats.reason[why]);
		put(&t, ": ");
		put(&t, regmap_patch_reason(why));
		put(&t, "\n");
	}
	sys_call(SYS_write, STDERR_FILENO, (long)buffer, t.at - buffer, 0);
	if (*wish == '2')
		regmap__patch_list();
}

/* --- the environment --- */

static void say(const char *what, const char *wish)
{
	char buffer[256];
	struct text t = {buffer, buffer + sizeof(buffer) - 1};

	put(&t, "regmap: REGMAP_PATCH=");
	put(&t, wish);
	put(&t, what);
	*t.at++ = '\n';
	sys_call(SYS_write, STDERR_FILENO, (long)buffer, t.at - buffer, 0);
}

/* 0: it isn't one. */
static unsigned parse(const char *wish)
{
	unsigned n = 0;

	for (; *wish >= '0' && *wish <= '9' && n < 100000000; wish++)
		n = n * 10 + (unsigned)(*wish - '0');
	return *wish ? 0 : n == 1 ? DEFAULT_THRESHOLD : n;
}

void regmap__patch_init(void)
{
	const char *wish = getenv("REGMAP_PATCH");
	unsigned threshold = wish ? parse(wish) : 0;

	if (!wish || !strcmp(wish, "0"))
		return;
	if (!threshold)
		say(": not a number of faults; nothing is patched", wish);
	else if (switch_on(threshold))
		say(": this kernel doesn't let code be patched", wish);
}
