/* SPDX-License-Identifier: MIT */
/* What may be moved to code of ours. AS-Safe. */
#ifndef ARCH_X86_64_SLOT_PASS_H
#define ARCH_X86_64_SLOT_PASS_H

#include "../../emulator/internal.h"

/* What loads a segment register may take thread-local storage away in the middle of the slot. */
bool regmap__slot_names_segment(const struct em_decoded *d);
/* Jcc, JMP or CALL to where it says, which has a form with 32 bits. */
bool regmap__slot_is_simple_jump(const struct em_decoded *d);
/* CALL or JMP to where a register says. */
bool regmap__slot_is_register_jump(const struct em_decoded *d);
/* PUSH or POP of a register, PUSH of a constant. */
bool regmap__slot_is_push(const struct em_decoded *d);
/* It does the same wherever it lies, but for operands relative to RIP, and goes on behind itself. */
bool regmap__slot_is_ordinary(const struct em_decoded *d);
/* Likewise without exception: it accesses no memory, nor the stack. */
bool regmap__slot_moves_freely(const struct em_decoded *d);
/* Some processors check its operand's alignment where plan->align doesn't tell. */
bool regmap__slot_checks_alignment(const struct em_decoded *d);

#endif
