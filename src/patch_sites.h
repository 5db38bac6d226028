/* SPDX-License-Identifier: MIT */
/* The sites that were seen to fault, and their patches. Lock-free to read. */
#ifndef SRC_PATCH_SITES_H
#define SRC_PATCH_SITES_H

#include "patch.h"

/* 32 bytes for each, up to 2^20 of them. */
struct patch_site {
	uint64_t rip;
	_Atomic uint32_t next;
	_Atomic uint32_t patch; /* the latest; 0: none yet */
	_Atomic int32_t heat;   /* faults, until it is patched or tried again */
	/* Why it isn't patched + 1, in the high byte; which bytes that is about in the others. */
	_Atomic uint32_t verdict;
	_Atomic uint32_t faults; /* in all */
};

extern struct pool regmap__patches;

/* NULL: not seen yet; or (@add) there are too many. */
struct patch_site *regmap__site_at(uint64_t rip, bool add);
uint32_t regmap__sites_seen(void);
/* Of those, from 1 on. */
struct patch_site *regmap__site_number(uint32_t n);

static inline struct patch *patch_number(uint32_t n)
{
	return n ? regmap__pool_at(&regmap__patches, n) : NULL;
}
/* The latest of a site; NULL: none. */
struct patch *regmap__patch_of(uint64_t rip);
/* For regmap__patches_on(): a new one, complete. Patch lock held. */
void regmap__patch_publish(struct patch_site *site, struct patch *patch);
/* One of the site's becomes its latest again. Patch lock held. */
void regmap__patch_renew(struct patch_site *site, struct patch *patch);
/* Call @each for those that may reach into @start..@last; false from it ends that. */
void regmap__patches_in(uint64_t start, uint64_t last, void (*each)(struct patch *, void *),
                        void *arg);

/* Bytes that change: all of an instruction in place, or those of a jump. */
static inline unsigned patch_span(const struct patch *p)
{
	return p->slot && p->plan->length > 5 ? 5 : p->plan->length;
}
static inline enum patch_kind patch_kind(const struct patch *p)
{
	return (enum patch_kind)atomic_load_explicit(&p->kind, memory_order_acquire);
}

#endif
