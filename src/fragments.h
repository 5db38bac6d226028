/* SPDX-License-Identifier: MIT */
/*
 * The fragments that there are (arch/x86_64/fragment.h), and who may be in one. Unless it says so,
 * the patch lock is held. Everything is AS-Safe but for regmap__fragments_start().
 *
 * A fragment executes instructions of the program's that lie between its sites, where a debugger may set a
 * breakpoint at any time. So a thread goes into one only while it is *armed*: while the pointer that
 * rseq(2) gives it has a value of ours. The kernel clears that whenever it switches threads, or a signal comes, and
 * no debugger gets at a thread otherwise. Who is found without is armed again unless the process is being traced;
 * that is looked at once in a while, and till then slots do without fragments.
 */
#ifndef SRC_FRAGMENTS_H
#define SRC_FRAGMENTS_H

#include "../arch/x86_64/fragment.h"
#include "patch.h"

/* When patching is switched on. Where it can't be, there will be none. */
void regmap__fragments_start(void);

/* For a site that has faulted for host memory at @address, with slots to come for it and others. */
struct mapping;
void regmap__fragment_make(const struct patch_text *text, uint64_t site, uint64_t address,
                           const struct mapping *mapping);
/* Where a slot for the site belongs to one: what the request and the patch say of that. */
void regmap__fragment_join(const struct patch_text *text, const struct plan *plan,
                           struct slot_request *request, struct patch *patch);
/* The patch has a slot: misses lead there, and its jump may have a better place to lead to. */
void regmap__fragment_joined(struct patch *patch);
/* Does the code that the patch's slot leads into still do what the program's does? */
bool regmap__fragment_is_current(const struct patch_text *text, const struct patch *patch);
/* An instruction that has been taken for one that meets no window, does: out with all that have it. */
void regmap__fragments_without(const struct patch_text *text, uint64_t site);

/* Code in a range is about to change: no slot leads into those any more that have some of it. */
void regmap__fragments_take_back(const struct patch_text *text, uint64_t start, uint64_t last);
/* Does an access take place in one that slots lead into? Lock-free. */
bool regmap__fragments_have(uint64_t site);
/* Is there any? Lock-free. */
bool regmap__fragments_touch(uint64_t start, uint64_t last);
/* Counts whenever that may have changed. Lock-free. */
uint64_t regmap__fragments_touched(void);
/* Lock-free. */
const struct fragment_map *regmap__fragment_map(uint32_t number);
uint32_t regmap__fragments_made(void);
/* All other threads have left whichever they were in, but for one that is stopped there. No lock needed. */
void regmap__fragments_leave(void);

#endif
