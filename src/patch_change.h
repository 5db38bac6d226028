/* SPDX-License-Identifier: MIT */
/* Changing sites, one thread at a time. All of this with the patch lock held, but for the lock. */
#ifndef SRC_PATCH_CHANGE_H
#define SRC_PATCH_CHANGE_H

#include "patch_sites.h"
#include "patch_why.h"

enum {
	PATCH_JUMP_SIZE = 5, /* jmp rel32 */
	PATCH_INT3 = 0xcc,
	PATCH_HLT = 0xf4,
	PATCH_CHAIN = 32, /* dependents of dependents */
};

/* @mask: of signals, for unlocking. */
bool regmap__patch_try_lock(uint64_t *mask);
void regmap__patch_lock(uint64_t *mask); /* never in the handler of an access */
void regmap__patch_unlock(const uint64_t *mask);

/* The patch at @rip that memory shows. */
struct patch *regmap__patch_standing(const struct patch_text *text, uint64_t rip);
/* The next one before @at whose jump takes in bytes from there on; NULL: none. */
struct patch *regmap__patch_dependent(const struct patch_text *text, uint64_t at);

/* What depends on the bytes at a site, in ascending order. */
struct patch_chain {
	unsigned count;
	uint64_t site[PATCH_CHAIN];
};
/* Take those back; false: they are too many, nothing is done. */
bool regmap__patch_loosen(const struct patch_text *text, uint64_t at, struct patch_chain *chain);

/* Memory shows the program's bytes: now it shows @to. */
bool regmap__patch_put(const struct patch_text *text, struct patch *p, const uint8_t *to,
                       enum patch_kind kind);
/* All that reach into a range get the program's bytes back, and whatever depends on them. */
void regmap__patch_take_back(const struct patch_text *text, uint64_t start, uint64_t last);
uint64_t regmap__patch_taken_back(void);
uint64_t regmap__patch_puts(void);

/* patch.c: what has become of it. Each site counts once, by its latest reason. */
void regmap__patch_judge(struct patch_site *site, const struct plan *plan, enum patch_why why);

/* patch_make.c: patch the site. WHY_NONE: it is. */
enum patch_why regmap__patch_make(const struct patch_text *text, struct patch_site *site,
                                  const struct plan *plan, uint64_t address);

#endif
