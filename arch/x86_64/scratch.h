/* SPDX-License-Identifier: MIT */
/* A few pages of zeroed memory inside the handler, by system calls alone. */
#ifndef ARCH_X86_64_SCRATCH_H
#define ARCH_X86_64_SCRATCH_H

#include <stddef.h>

/* NULL: there is none. Page-aligned. AS-Safe. */
void *regmap__scratch_map(size_t length);
void regmap__scratch_unmap(void *at, size_t length);

#endif
