/* SPDX-License-Identifier: MIT */
/* A string instruction with REP on host memory: the CPU's own, at its own speed, guarded. */
#ifndef ARCH_X86_64_REP_H
#define ARCH_X86_64_REP_H

#include "cpu.h"

struct rep {
	uint64_t rsi, rdi, rcx, rax; /* in and out, progress at a fault included */
	uint64_t flags;              /* in and out: status flags and DF */
	struct cpu_trap trap;
};

/* Four widths each, in this order. */
enum rep_op { REP_MOVS, REP_STOS, REP_LODS, REPE_CMPS, REPNE_CMPS, REPE_SCAS, REPNE_SCAS };

/* 0; -1 it ran into an exception: r->trap says which, the rest how far it came. */
int regmap__rep_run(struct rep *r, enum rep_op op, unsigned log2_width);
/*
 * The same with the flags that there are, DF clear as everywhere in C: r->flags only comes out. @body:
 * 4 * op + log2_width.
 */
int regmap__rep_forwards(struct rep *r, unsigned body);

#endif
