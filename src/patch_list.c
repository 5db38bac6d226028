/* SPDX-License-Identifier: MIT */
/* REGMAP_PATCH_STATS=2: the sites that faulted most, and why they aren't patched, if they aren't. */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "patch_list.h"
#include "patch_sites.h"
#include "patch_why.h"
#include "symbols.h"
#include "text.h"

enum { MOST = 64, NAME = 64, BYTES = 15, LINE = 512 };

/* The ones with the most faults, in descending order. */
struct top {
	struct patch_site *site[MOST];
	uint32_t faults[MOST];
	unsigned count;
};

static void insert(struct top *top, struct patch_site *site)
{
	uint32_t faults = atomic_load_explicit(&site->faults, memory_order_relaxed);
	unsigned i = top->count;

	if (i == MOST && faults <= top->faults[MOST - 1])
		return;
	if (i == MOST)
		i--;
	else
		top->count++;
	for (; i > 0 && top->faults[i - 1] < faults; i--) {
		top->site[i] = top->site[i - 1];
		top->faults[i] = top->faults[i - 1];
	}
	top->site[i] = site;
	top->faults[i] = faults;
}

/* What was executed there; the code may have gone by now. */
static void put_code(struct text *t, const struct patch_site *site, const struct patch *patch)
{
	struct cpu_trap trap;
	uint8_t bytes[BYTES];
	unsigned length = sizeof(bytes);

	if (patch) {
		length = patch->plan->length;
		memcpy(bytes, patch->plan->bytes, length);
	} else {
		while (length &&
		       regmap__guard_copy(bytes, (const void *)(uintptr_t)site->rip, length, &trap))
			length--;
		regmap__patch_overlay(site->rip, bytes, length);
	}
	for (unsigned i = 0; i < length; i++) {
		put_char(t, ' ');
		put_number(t, bytes[i], 16, 2);
	}
}

static void put_verdict(struct text *t, const struct patch_site *site, const struct patch *patch)
{
	uint32_t why = atomic_load(&site->verdict) >> 24;

	if (why)
		put(t, regmap__why_text(why - 1));
	else if (patch && patch_kind(patch) != PATCH_NONE)
		put(t, patch->cell && patch->map->access == SLOT_NO_ACCESS ? "patched, by calls" :
		                                                             "patched");
	else
		put(t, "not yet");
}

static void print(const struct patch_site *site, uint32_t faults)
{
	const struct patch *patch = regmap__patch_of(site->rip);
	char name[NAME], buffer[LINE];
	struct text t = {buffer, buffer + sizeof(buffer) - 1};
	uint64_t offset;

	put(&t, "regmap: patching: ");
	put_decimal(&t, faults);
	put(&t, " faults at ");
	put_address(&t, site->rip);
	if (regmap__symbol_find(site->rip, name, sizeof(name), &offset)) {
		put(&t, " ");
		put(&t, name);
		put(&t, "+");
		put_hex(&t, offset);
	}
	put(&t, ":");
	put_code(&t, site, patch);
	put(&t, ": ");
	put_verdict(&t, site, patch);
	*t.at++ = '\n';
	sys_call(SYS_write, STDERR_FILENO, (long)buffer, t.at - buffer, 0);
}

void regmap__patch_list(void)
{
	uint32_t all = regmap__sites_seen();
	struct top top = {.count = 0};

	for (uint32_t n = 1; n <= all; n++)
		insert(&top, regmap__site_number(n));
	for (unsigned i = 0; i < top.count; i++)
		print(top.site[i], top.faults[i]);
}
