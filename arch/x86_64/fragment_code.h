/* SPDX-License-Identifier: MIT */
/* What fragment_find.c finds, for fragment.c to make code of, and what fragment_roll.c reads. */
#ifndef ARCH_X86_64_FRAGMENT_CODE_H
#define ARCH_X86_64_FRAGMENT_CODE_H

#include "../../emulator/internal.h"
#include "fragment.h"

/* Registers that can be borrowed: RAX has other duties, and RSP is the program's. */
enum { FRAGMENT_SPARE = 0xffff & ~(1u << CPU_RAX | 1u << CPU_RSP) };

enum {
	FRAGMENT_KEPT = 1 << 0,  /* the flags are in struct lane_tls */
	FRAGMENT_KNOWN = 1 << 1, /* the flags are the setter's */
	FRAGMENT_AX = 1 << 2,    /* the program's RAX is in the first lent register */
	FRAGMENT_LENT = 1 << 3,  /* that of a third one is in the second */
	FRAGMENT_IDLE = 1 << 4,  /* so is the lane */
	/* On the way in, until it has been come in: all registers are the program's, but for these. */
	FRAGMENT_AHEAD = 1 << 5,
	FRAGMENT_MOVED = 1 << 6, /* RSP is SLOT_RED_ZONE lower; */
	FRAGMENT_SAVED = 1 << 7, /* and RAX has been pushed; */
	FRAGMENT_IN_AX = 1 << 8, /* flags: as SLOT_IN_AX has them; */
	FRAGMENT_IN_AH = 1 << 9, /* as SLOT_IN_AH */
};

/* FRAGMENT_EXIT: RET, or a jump to where a register says. */
enum fragment_kind { FRAGMENT_ACCESS, FRAGMENT_PLAIN, FRAGMENT_BRANCH, FRAGMENT_EXIT };

struct found_insn {
	uint16_t at; /* from the first address */
	uint8_t length, kind;
	uint8_t access;    /* number */
	bool conditional;  /* of a branch */
	bool label, polls; /* somebody comes from elsewhere; a loop goes by here */
	bool loops; /* of a label: the first access from there on polls, else who jumps back */
	bool emitted;
	uint16_t code; /* its offset */
	/* Of a label: how many ways lead there, and so far; whether one setter made the flags on all. */
	uint8_t ways, taken;
	bool agreed;
	uint16_t setter;
	int32_t target;  /* of a branch, likewise */
	uint16_t writes; /* registers */
};

static inline bool found_goes_on(const struct found_insn *insn)
{
	return insn->kind != FRAGMENT_EXIT && (insn->kind != FRAGMENT_BRANCH || insn->conditional);
}

struct found {
	const struct fragment_request *request;
	uint64_t first; /* address, for all that is counted from there */
	unsigned count, accesses;
	struct found_insn insn[FRAGMENT_INSNS];
	struct fragment_access access[FRAGMENT_ACCESSES];
	unsigned used; /* registers */
};
extern struct found regmap__found; /* by the last regmap__fragment_find() */

/* NULL: it doesn't belong to the fragment. */
struct found_insn *regmap__found_at(struct found *f, int32_t at);
const struct em_decoded *regmap__found_decoded(const struct found *f,
                                               const struct found_insn *insn);

/* fragment_splice.c: its memory operand becomes [@base + @disp]; false: that has no encoding. @disp: up to 127. */
bool regmap__fragment_splice(struct em_native *n, const struct em_decoded *d, unsigned base,
                             uint8_t disp);

#endif
