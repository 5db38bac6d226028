/* SPDX-License-Identifier: MIT */
/*
 * A plan: what one instruction does, decoded and prepared once. It depends on the code bytes alone,
 * so it serves every execution of a site, in every thread.
 */
#ifndef EMULATOR_PLAN_H
#define EMULATOR_PLAN_H

#include "../arch/x86_64/alu.h"
#include "emulator.h"

/* Families, in the order of family.def. */
enum em_kind {
	EM_NONE,     /* no memory operand, or an instruction that we can't do */
	EM_COMPILED, /* tier 1: one operand, an operation of alu.S */
	EM_NATIVE,   /* tier 2: one operand, the instruction's own bytes */
	EM_MASKED,   /* tier 2, elements switched by a mask */
	EM_BIT,      /* tier 1, the operand lies at a signed bit offset from the address */
	EM_STRING,
	EM_PUSH, /* register, immediate, segment, flags or memory */
	EM_POP,
	EM_CALL,
	EM_JUMP,
	EM_RETURN,
	EM_ENTER,
	EM_LEAVE,
	EM_FAR, /* far CALL, JMP, RET, IRET */
	EM_GATHER,
	EM_SCATTER,
	EM_XSAVE, /* the XSAVE and FXSAVE families */
	EM_BLOCK, /* CLZERO, MOVDIR64B: 64 bytes at an address in a register */
	EM_TOUCH, /* cache control: faults like a read, moves no data */
	EM_KINDS,
};

enum { EM_NO_REG = 0xff, EM_RIP = 16 };

/* Of strings. */
enum em_string_variant { EM_MOVS, EM_STOS, EM_LODS, EM_CMPS, EM_SCAS };

enum em_segment { EM_SEG_NONE, EM_SEG_FS, EM_SEG_GS };

struct em_mem {
	uint8_t base, index; /* 0..15; base EM_RIP; EM_NO_REG */
	uint8_t shift;       /* log2 of the scale */
	uint8_t segment;     /* enum em_segment */
	bool address32;      /* 67h */
	bool index8;         /* XLAT: the index is AL */
	int64_t disp;
};

/* The source of one slot of struct alu, or of a pushed value. */
struct em_reg {
	uint8_t gpr; /* 0..15, EM_NO_REG */
	bool high;   /* AH..BH */
};

struct em_compiled {
	regmap__alu_op op;
	struct em_reg b, c; /* what stands in the RBX and RCX slots */
	uint8_t out;        /* enum em_out */
	bool b_imm, c_imm;  /* the slot holds imm instead */
	bool flags;         /* the status flags are written */
	bool divides;       /* the operand's value may make it fault */
	bool move;          /* slot B is all that it knows, no flags either: regmap__alu_move() */
	/* Of a move that does nothing but load or store, in a register's low bytes: which of the two. */
	uint8_t straight; /* enum em_access, or 0 */
};

enum em_out { EM_OUT_A = 1, EM_OUT_B = 2, EM_OUT_C = 4, EM_OUT_D = 8 };

/* The low bytes of a vector register and memory; a load of less than 16 bytes is extended with 0. */
enum em_move { EM_NO_MOVE, EM_MOVE_LOAD, EM_MOVE_STORE };

struct em_native {
	const void *stub; /* executable view; NULL: none yet */
	uint8_t code[EM_MAX_LENGTH];
	uint8_t code_length; /* respliced bytes */
	uint8_t base;        /* the register that holds the operand's address */
	uint8_t rsp;         /* the register that stands in for RSP, or EM_NO_REG */
	uint8_t fop_modrm;   /* for the x87 opcode register */
	bool shows;          /* an x87 instruction whose address every signal frame shows */
	uint8_t load, save;  /* XSTATE_* that go in and come out */
	bool plain;          /* no general register but @base, no flags */
	uint8_t move;        /* enum em_move */
	uint8_t vector;      /* of a move: the vector register */
	bool wipes;          /* of a load: what is above in the register becomes 0 */
};

/* How elements of an operand are switched. */
enum em_mask_shape {
	EM_MASK_LINEAR, /* memory element i by mask bit i */
	EM_MASK_REPEAT, /* memory element i by any mask bit j = i modulo the number of elements */
	EM_MASK_PACKED, /* compress, expand: as many elements as mask bits, from the address on */
};

struct em_mask {
	uint8_t reg; /* K1..K7; vector register for EM_MASK_VECTOR */
	bool vector; /* the mask is the sign bits of a vector register's elements */
	bool mmx;
	bool whole;       /* all of the operand is checked, whatever the mask says */
	uint8_t shape;    /* enum em_mask_shape */
	uint8_t bits;     /* mask bits in use */
	uint8_t elements; /* in memory */
	uint8_t element;  /* bytes of one in memory */
};

struct em_vsib {
	uint8_t index, index_size; /* vector register, bytes of one index */
	uint8_t data;              /* vector register read or written */
	uint8_t elements;
	uint8_t vector_bytes; /* of the data register's written part */
	uint8_t mask;         /* K register or vector register */
	bool mask_vector;
};

struct plan {
	uint8_t bytes[EM_MAX_LENGTH];
	uint8_t length;
	uint16_t mnemonic;   /* ZydisMnemonic */
	const char *refusal; /* EM_NONE: why it can't be done */
	uint8_t kind;        /* enum em_kind */
	uint8_t access;      /* enum em_access of the memory operand */
	uint8_t width;       /* operand size in bytes of integer, string and stack families */
	uint8_t stack_width; /* bytes of one push or pop */
	uint8_t rep;         /* 0, 0xf2, 0xf3 */
	bool has_mem;        /* an explicit memory operand */
	uint8_t variant;     /* of the family */
	uint8_t body;        /* of a string with REP: see regmap__rep_forwards() */
	struct em_reg reg;   /* the register operand of stack and segment families */
	uint16_t size;       /* bytes of the memory operand */
	uint8_t align; /* #GP comes before any page fault if the operand isn't; 0: no such rule */
	struct em_mem mem;
	int64_t imm;
	union {
		struct em_compiled compiled;
		struct em_vsib vsib;
	};
	struct em_native native;
	struct em_mask mask;
};

/* Where an operand isn't aligned, it faults, or may not be atomic: what stands behind must be as aligned. */
static inline bool plan_needs_alignment(const struct plan *p)
{
	return p->align > 1 || p->access & EM_LOCKED;
}

/* Executed elsewhere, as in a slot, it would leave another address to be seen. */
static inline bool plan_shows_address(const struct plan *p)
{
	return p->kind == EM_NATIVE && p->native.shows;
}

/* Kinds whose only access is that of their explicit operand, at one address that registers give. */
static inline bool em_has_one_operand(const struct plan *p)
{
	return p->kind == EM_COMPILED || p->kind == EM_NATIVE || p->kind == EM_MASKED ||
	       p->kind == EM_CALL || p->kind == EM_JUMP;
}

#endif
