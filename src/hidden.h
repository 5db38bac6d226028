/* SPDX-License-Identifier: MIT */
/*
 * An instruction behind a breakpoint. A debugger writes INT3 over its first byte, lifts that for the
 * one step over it, and has put it back by the time our handler reads the code: a data access that
 * faults at an INT3 is one that this hides.
 */
#ifndef SRC_HIDDEN_H
#define SRC_HIDDEN_H

#include <stdbool.h>
#include <stdint.h>

enum { HIDDEN_INT3 = 0xcc };

/* plan.refusal of an instruction that is hidden for good. */
extern const char regmap__hidden_refusal[];

/*
 * The first byte of the instruction at @rip, from the file that is mapped there; false if there is
 * none, or if its bytes around there aren't those in memory (breakpoints aside).
 */
bool regmap__hidden_find(uint64_t rip, uint8_t *first);

#endif
