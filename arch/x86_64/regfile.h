/* SPDX-License-Identifier: MIT */
/*
 * The register page: the byte image of struct cpu that stands at guest address 0 (see registers.h).
 */
#ifndef ARCH_X86_64_REGFILE_H
#define ARCH_X86_64_REGFILE_H

#include "cpu.h"

enum { REGFILE_SIZE = 0x1000 };

/* How many bytes from @offset on are registers that this CPU has; 0: not claimed. */
size_t regmap__regfile_extent(size_t offset);
/* How many bytes from @offset on are not registers; 0: the byte at @offset is one. */
size_t regmap__regfile_gap(size_t offset);

/* The range must lie within one extent. RIP reads as @next. */
void regmap__regfile_read(const struct cpu *cpu, uint64_t next, size_t offset, void *to,
                          size_t length);
/* Applied to the state after the instruction: a store to RIP is a jump, flags take POPFQ's bits. */
void regmap__regfile_write(struct cpu *cpu, size_t offset, const void *from, size_t length);
/*
 * Would the CPU take these bytes? A non-canonical FS or GS base is refused as WRFSBASE refuses it.
 */
bool regmap__regfile_accepts(const struct cpu *cpu, size_t offset, const void *from, size_t length);

#endif
