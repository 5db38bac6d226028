/* SPDX-License-Identifier: MIT */
/*
 * Compiled operations: each is the host's own instruction on a memory operand, so that results and
 * flags are exact, the undefined ones too. alu.S holds the bodies; which slot is what is said
 * there.
 */
#ifndef ARCH_X86_64_ALU_H
#define ARCH_X86_64_ALU_H

#include "cpu.h"

struct alu {
	uint64_t rax, rcx, rdx, rbx;
	uint64_t flags; /* in: status flags to start with; out: as the operation left them */
	void *mem;
	struct cpu_trap trap;
};

/* Not callable from C. */
typedef void (*regmap__alu_op)(void);

/* 0; -1 the operation ran into an exception: a->trap says which, the slots are as they were. */
int regmap__alu_run(struct alu *a, regmap__alu_op op);
/* Moves: only the RBX slot goes in and out, no flags. */
int regmap__alu_move(struct alu *a, regmap__alu_op op);

/* By log2 of the operand size; a null pointer where the ISA has no such form. */
#define ALU_OP(name) extern const regmap__alu_op regmap__alu_##name[4];
#include "alu.def"
#undef ALU_OP

#endif
