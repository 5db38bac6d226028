/* SPDX-License-Identifier: MIT */
/* What slots and fragments have in common when a thread that was interrupted in one is taken out. AS-Safe. */
#ifndef ARCH_X86_64_ROLL_H
#define ARCH_X86_64_ROLL_H

#include "cpu.h"
#include "slot.h"

static inline uint64_t *roll_reg(const struct cpu_regs *regs, unsigned i)
{
	return &regs->value[regs->at[i]];
}

static inline void roll_flags(const struct cpu_regs *regs, uint64_t which, uint64_t value)
{
	*regs->flags = (*regs->flags & ~which) | (value & which);
}

/* AH as LAHF has it. */
static inline void roll_flags_of_ah(const struct cpu_regs *regs, uint64_t ax)
{
	roll_flags(regs, CPU_SF | CPU_ZF | CPU_AF | CPU_PF | CPU_CF, ax >> 8);
}

/* And the overflow flag in AL. */
static inline void roll_flags_of_ax(const struct cpu_regs *regs, uint64_t ax)
{
	roll_flags_of_ah(regs, ax);
	roll_flags(regs, CPU_OF, ax & 1 ? CPU_OF : 0);
}

/* The program's RSP may be anything, and a sanitizer knows nothing of what lies below it. */
static inline uint64_t roll_word(uint64_t rsp)
{
	uint64_t value;

	__asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(rsp) : "memory");
	return value;
}

static inline uint64_t roll_pop(uint64_t *rsp)
{
	*rsp += 8;
	return roll_word(*rsp - 8);
}

/*
 * A member of struct lane_tls, which lies at @tls. Only where the magic has been compared, or that
 * the thread is armed, in this very thread: its FS base was that of libc then, and still is.
 */
static inline uint64_t roll_tls(int32_t tls, size_t member)
{
	const char *at = (const char *)(intptr_t)tls + member;
	uint64_t value;

	__asm__ volatile("mov %%fs:(%1), %0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

static inline void roll_lane(int32_t tls)
{
	struct lane *lane = (struct lane *)roll_tls(tls, offsetof(struct lane_tls, lane));

	atomic_store_explicit(&lane->busy, 0, memory_order_release);
}

#endif
