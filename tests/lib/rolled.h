/* SPDX-License-Identifier: MIT */
/* A state of the oracle's as what is interrupted in code of the library's. */
#ifndef TESTS_ROLLED_H
#define TESTS_ROLLED_H

#include "arch/x86_64/cpu.h"
#include "machine.h"

static inline struct cpu_regs t_cpu_regs(struct t_regs *r)
{
	static const uint8_t in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

	return (struct cpu_regs){r->gpr, in_order, &r->rflags};
}

#endif
