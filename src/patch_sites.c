/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "patch_sites.h"

#include "sigsafe.h"

enum { SITE_BITS = 18, HERE_BITS = 12, PAGE_BITS = 12, FIRST_BITS = 21, WORD_BITS = 6 };

static struct pool sites = {.size = sizeof(struct patch_site)};
struct pool regmap__patches = {.size = sizeof(struct patch)};

static _Atomic uint32_t site_buckets[1 << SITE_BITS];
/*
 * Bit per address, modulo so many: a patch may begin there. Most looks are for the bytes around another
 * one's, and end here, in one word for many of them.
 */
static _Atomic uint64_t firsts[1 << (FIRST_BITS - WORD_BITS)];
/* Patches by the page that they begin on. */
static _Atomic uint32_t here[1 << HERE_BITS];

static uint64_t spread(uint64_t key, unsigned bits)
{
	return key * 0x9e3779b97f4a7c15 >> (64 - bits);
}

static struct patch_site *search(uint32_t n, uint64_t rip)
{
	while (n) {
		struct patch_site *site = regmap__pool_at(&sites, n);

		if (site->rip == rip)
			return site;
		n = atomic_load_explicit(&site->next, memory_order_acquire);
	}
	return NULL;
}

/* Two threads may add the same one: the second looks again. */
static struct patch_site *add_site(_Atomic uint32_t *bucket, uint32_t head, uint64_t rip)
{
	uint32_t n = regmap__pool_take(&sites);
	struct patch_site *mine, *found = NULL;

	if (!n)
		return NULL;
	mine = regmap__pool_at(&sites, n);
	mine->rip = rip;
	do {
		found = search(head, rip);
		atomic_store_explicit(&mine->next, head, memory_order_relaxed);
	} while (!found && !atomic_compare_exchange_weak(bucket, &head, n));
	return found ? found : mine;
}

struct patch_site *regmap__site_at(uint64_t rip, bool add)
{
	_Atomic uint32_t *bucket = &site_buckets[spread(rip, SITE_BITS)];
	uint32_t head = atomic_load_explicit(bucket, memory_order_acquire);
	struct patch_site *site = search(head, rip);

	return site || !add ? site : add_site(bucket, head, rip);
}

uint32_t regmap__sites_seen(void)
{
	return atomic_load_explicit(&sites.used, memory_order_relaxed);
}

struct patch_site *regmap__site_number(uint32_t n)
{
	return regmap__pool_at(&sites, n);
}

static _Atomic uint64_t *first_of(uint64_t rip, uint64_t *bit)
{
	*bit = 1ULL << rip % (1 << WORD_BITS);
	return &firsts[rip % (1 << FIRST_BITS) >> WORD_BITS];
}

static bool may_begin(uint64_t rip)
{
	uint64_t bit, word = atomic_load_explicit(first_of(rip, &bit), memory_order_relaxed);

	return word & bit;
}

struct patch *regmap__patch_of(uint64_t rip)
{
	struct patch_site *site = may_begin(rip) ? regmap__site_at(rip, false) : NULL;

	return site ? patch_number(atomic_load_explicit(&site->patch, memory_order_acquire)) : NULL;
}

static _Atomic uint32_t *here_of(uint64_t page)
{
	return &here[spread(page, HERE_BITS)];
}

void regmap__patch_publish(struct patch_site *site, struct patch *patch)
{
	uint64_t bit;
	_Atomic uint64_t *first = first_of(patch->site, &bit);

	atomic_fetch_or(first, bit);
	patch->older = atomic_load_explicit(&site->patch, memory_order_relaxed);
	list_push(here_of(patch->site >> PAGE_BITS), &patch->next_here, patch->number);
	atomic_store_explicit(&site->patch, patch->number, memory_order_release);
}

void regmap__patch_renew(struct patch_site *site, struct patch *patch)
{
	struct patch *p = patch_number(atomic_load_explicit(&site->patch, memory_order_relaxed));
	uint32_t latest = p->number;

	if (p == patch)
		return;
	while (p->older != patch->number)
		p = patch_number(p->older);
	p->older = patch->older;
	patch->older = latest;
	atomic_store_explicit(&site->patch, patch->number, memory_order_release);
}

static void try_one(struct patch *p, uint64_t start, uint64_t last,
                    void (*each)(struct patch *, void *), void *arg)
{
	/* one that never was made whole has no plan */
	unsigned length = !p->plan ? 0 : p->plan->length < 5 ? 5 : p->plan->length;

	if (length && p->site <= last && p->site + length > start)
		each(p, arg);
}

void regmap__patches_in(uint64_t start, uint64_t last, void (*each)(struct patch *, void *),
                        void *arg)
{
	uint32_t used = atomic_load(&regmap__patches.used);
	uint64_t first = start < EM_MAX_LENGTH ? 0 : start - EM_MAX_LENGTH;
	uint64_t page = first >> PAGE_BITS, end = last >> PAGE_BITS;

	if (end - page > used) {
		for (uint32_t n = 1; n <= used; n++)
			try_one(patch_number(n), start, last, each, arg);
		return;
	}
	for (; page <= end; page++)
		for (uint32_t n = atomic_load_explicit(here_of(page), memory_order_acquire); n;
		     n = atomic_load_explicit(&patch_number(n)->next_here, memory_order_acquire))
			if (patch_number(n)->site >> PAGE_BITS == page)
				try_one(patch_number(n), start, last, each, arg);
}
