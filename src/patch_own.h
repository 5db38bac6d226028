/* SPDX-License-Identifier: MIT */
/*
 * Code that isn't patched: the kernel's page, and libregmap's own where it is a shared library. And
 * where code of ours would be in the way.
 */
#ifndef SRC_PATCH_OWN_H
#define SRC_PATCH_OWN_H

#include <stdbool.h>
#include <stdint.h>

/* Not in a handler. */
void regmap__patch_own_init(void);
/* AS-Safe. */
bool regmap__patch_is_foreign(uint64_t code);
/* Would memory there keep the heap or the main thread's stack from growing? AS-Safe. */
bool regmap__patch_is_in_the_way(uint64_t at, uint64_t size);

#endif
