/* SPDX-License-Identifier: MIT */
/* The jump that stands in the place of an instruction. All of this with the patch lock held. */
#ifndef SRC_PATCH_PUN_H
#define SRC_PATCH_PUN_H

#include "patch_change.h"

/* To the slot of a patch that doesn't stand. WHY_NONE: now it does. */
enum patch_why regmap__patch_jump(const struct patch_text *text, struct patch *p);

/* patch_make.c: may this instruction be changed now? */
enum patch_why regmap__patch_look(const struct patch_text *text, uint64_t site,
                                  const struct plan *plan);
/* What a site gets: a slot, for host memory, for a device, or that only passes; or another instruction, in place. */
/*
 * What a site becomes: with a slot for memory, or for a device, whose callbacks use general registers only, or
 * perhaps others; one that only passes; or another instruction.
 */
enum patch_form { FORM_MEMORY, FORM_GENERAL, FORM_DEVICE, FORM_PASSES, FORM_IN_PLACE };
/* A patch of these bytes that isn't applied: one that there was, or a new one. */
enum patch_why regmap__patch_version(const struct patch_text *text, struct patch_site *site,
                                     const struct plan *plan, enum patch_form form,
                                     struct patch **made);

#endif
