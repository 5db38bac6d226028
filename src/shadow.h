/* SPDX-License-Identifier: MIT */
/*
 * Windows in a program that AddressSanitizer watches. It keeps a shadow of all memory, a byte for 8, and
 * makes what lies between the shadows of low and high addresses inaccessible: the gap, from 0x8fff7000
 * to 0x2008fff6fff as a rule. No window can be reserved there, and an instrumented access would first
 * read its shadow byte, which lies in the gap as well.
 */
#ifndef SRC_SHADOW_H
#define SRC_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Make room for a window in pages of the gap, and zeroes (all is well) of their shadow. False: there is
 * no such sanitizer, or these pages, or their shadow's, are in use otherwise. Map lock held.
 */
bool regmap__shadow_yield(uint64_t first, uint64_t last);

/* Is this one of its shadows? */
bool regmap__shadow_is_at(uint64_t address);
/* Does the shadow of low addresses begin in a range, behind its first byte? */
bool regmap__shadow_begins(uint64_t first, uint64_t last, uint64_t *at);
/* Is there such a sanitizer at all? */
bool regmap__shadow_exists(void);

#endif
