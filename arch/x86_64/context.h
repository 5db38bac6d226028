/* SPDX-License-Identifier: MIT */
/* The frame that the kernel lays on the stack for a signal <=> struct cpu. */
#ifndef ARCH_X86_64_CONTEXT_H
#define ARCH_X86_64_CONTEXT_H

#include <stdint.h>
#include <ucontext.h>

#include "cpu.h"

/* entry.S: the handler's first instruction; and the restorer. */
extern const char regmap__signal_entry[], regmap__restore_rt[];
/* What it calls: defined by the trap. */
void regmap__trap_signal(int signo, void *info, void *ucontext);

/*
 * Vector state stays in the frame. Where that has a bare FXSAVE area without an XSAVE header, it is
 * copied to and from @legacy (XSAVE_LEGACY bytes), which may be NULL where there is a header.
 */
bool regmap__context_has_header(const void *ucontext);
void regmap__context_load(struct cpu *cpu, const void *ucontext, uint8_t *legacy);
/* Registers, flags and vector state. @done: the instruction is over, so RF goes. */
void regmap__context_store(const struct cpu *cpu, void *ucontext, bool done);
/* FS and GS as cpu->dirty says. The last act of a handler: libc doesn't work any more after it. */
void regmap__context_store_segments(const struct cpu *cpu);

/* The image of the vector state, where it has an XSAVE header: as in struct cpu. NULL: it has none. */
uint8_t *regmap__context_vector(const void *ucontext, uint64_t *xfeatures);
/* Bytes of vector state that the frame points to, its end mark included. */
size_t regmap__context_image(const void *ucontext);
/* The signal mask that sigreturn will set; the kernel's 64 bits. */
static inline uint64_t *regmap__context_mask(void *ucontext)
{
	return (uint64_t *)&((ucontext_t *)ucontext)->uc_sigmask;
}
static inline uint64_t regmap__context_rip(const void *ucontext)
{
	return (uint64_t)((const ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
}

/* gregs index of each register in encoding order */
extern const uint8_t regmap__context_order[16];

/* Those of the frame. */
static inline struct cpu_regs regmap__context_regs(void *ucontext)
{
	uint64_t *gregs = (uint64_t *)((ucontext_t *)ucontext)->uc_mcontext.gregs;

	return (struct cpu_regs){gregs, regmap__context_order, gregs + REG_EFL};
}

void regmap__context_set_rip(void *ucontext, uint64_t rip);
/* The segments of the calling thread, as they are. */
void regmap__context_segments(struct cpu *cpu);
/* The instruction is done, and the registers show it. */
static inline void regmap__context_advance(void *ucontext, uint64_t rip)
{
	greg_t *gregs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	gregs[REG_RIP] = (greg_t)rip;
	gregs[REG_EFL] &= ~(greg_t)CPU_RF;
}

/* The exception behind a signal (trapno, error code), and how to show another one. */
static inline void regmap__context_get_trap(const void *ucontext, struct cpu_trap *trap)
{
	const greg_t *regs = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;

	trap->number = (uint64_t)regs[REG_TRAPNO];
	trap->error = (uint64_t)regs[REG_ERR];
}

void regmap__context_set_trap(void *ucontext, const struct cpu_trap *trap);
/* Bytes left below @here on the alternate stack; SIZE_MAX if it isn't on that. */
size_t regmap__context_stack_left(const void *ucontext, const void *here);

/* Page faults: #PF error code, SDM vol. 3, 4.7. */
enum { TRAP_STACK = 12, TRAP_GP = 13, TRAP_PAGE = 14, TRAP_ALIGNMENT = 17 };
enum { PF_WRITE = 1 << 1, PF_FETCH = 1 << 4 };

/* flags.S */
uint64_t regmap__flags_get(void);
void regmap__flags_set(uint64_t flags);

/* A handler begins with the program's AC: our own misaligned accesses would fault. */
static inline void regmap__clear_ac(void)
{
	uint64_t flags = regmap__flags_get();

	if (flags & CPU_AC)
		regmap__flags_set(flags & ~(uint64_t)CPU_AC);
}

/* FS base points to a thread control block (its first word is its address): TLS and libc work. */
bool regmap__tls_works(void);
/*
 * Around code of others that may have been built with a stack protector (Debian's Zydis is): gives
 * it a canary to read if the program's FS base has none. @kept: for the second call.
 */
struct kept_fs {
	uint64_t base;
	bool lent;
};
void regmap__canary_lend(struct kept_fs *kept);
void regmap__canary_take_back(const struct kept_fs *kept);

#endif
