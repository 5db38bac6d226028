/* SPDX-License-Identifier: MIT */
/* A slot's code in the making: see slot.c. */
#ifndef ARCH_X86_64_SLOT_MAKING_H
#define ARCH_X86_64_SLOT_MAKING_H

#include "../../emulator/internal.h"
#include "slot_emit.h"

enum { SLOT_NO_OFFSET = 0xffff };

/* One generation. */
struct slot_making {
	const struct slot_request *request;
	const struct plan *plan;
	struct em_decoded d;
	struct em_native insn; /* the instruction on [base] */
	struct slot_emit e;
	struct slot_map *map;
	uint8_t reg[SLOT_SCRATCHES]; /* EM_NO_REG: not needed */
	unsigned saved;              /* bit per one that must be */
	bool pushes_flags, needs_flags, moves, is_x87;
	struct slot_jump into_call;          /* from the way in */
	unsigned calls, plain, start_inline; /* offsets; 0: there is none */
	const char *why;
};

static inline int32_t tls_at(const struct slot_making *m, size_t member)
{
	return m->request->tls + (int32_t)member;
}

/* --- slot_prepare.c: what the instruction is like --- */

/* False, and why. */
bool regmap__slot_no(struct slot_making *m, const char *why);
/* CALL or JMP, near, to where 8 bytes of memory say. */
bool regmap__slot_is_indirect(const struct plan *p);
/* Everything that can be known of an inline part before the first byte is laid. False: there is none. */
bool regmap__slot_prepare(struct slot_making *m);

/* --- slot_inline.c: the access itself --- */

void regmap__slot_emit_inline(struct slot_making *m);
/* If that register has been saved. */
void regmap__slot_give_back(struct slot_making *m, unsigned which);
void regmap__slot_keep_flags(struct slot_making *m);
void regmap__slot_give_flags_back(struct slot_making *m);
/* Is what lies in thread-local storage this library's? */
void regmap__slot_compare_magic(struct slot_making *m, struct slot_jump *miss);
/* Of an operand that no register is part of. */
uint64_t regmap__slot_constant_address(const struct slot_making *m);
/* PUSH of where the program goes on. */
void regmap__slot_push_next(struct slot_making *m);
void regmap__slot_jump_to_next(struct slot_making *m);
/* The same by way of the tail, if there is one. Each slot has at most one, where it is left most often. */
void regmap__slot_go_on(struct slot_making *m);

#endif
