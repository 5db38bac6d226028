/* SPDX-License-Identifier: MIT */
/* What one instruction does to the status flags, exactly: what the manuals call undefined counts. */
#ifndef ARCH_X86_64_SLOT_DEAD_H
#define ARCH_X86_64_SLOT_DEAD_H

#include "../../emulator/internal.h"

/* CPU_* of those that it looks at. */
uint64_t regmap__slot_flags_read(const struct em_decoded *d);
/* Of those that are afterwards, always or under some operands, what they were before. */
uint64_t regmap__slot_flags_kept(const struct em_decoded *d);

#endif
