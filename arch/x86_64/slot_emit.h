/* SPDX-License-Identifier: MIT */
/*
 * A small assembler for slots. Nothing that it makes changes the flags, unless it says so.
 * Registers are numbers in encoding order. AS-Safe.
 */
#ifndef ARCH_X86_64_SLOT_EMIT_H
#define ARCH_X86_64_SLOT_EMIT_H

#include "slot.h"

/* The status of a slot at one of its instructions' boundaries: see regmap__slot_roll(). */
enum {
	SLOT_SAVED = 0xf,       /* bit per scratch register: its value is in the frame */
	SLOT_MOVED = 1 << 4,    /* RSP is SLOT_FRAME lower */
	SLOT_PUSHED = 1 << 5,   /* and 8 more, where the flags are */
	SLOT_IN_AX = 1 << 6,    /* flags: AH as LAHF has it, AL the overflow flag */
	SLOT_IN_AH = 1 << 7,    /* flags: AH as LAHF has it, the overflow flag where it belongs */
	SLOT_IN_FRAME = 1 << 8, /* flags: at SLOT_FLAGS */
	SLOT_BUSY = 1 << 9,     /* the lane may say so */
	SLOT_DONE = 1 << 10,    /* the instruction's effect has happened */
	SLOT_CALLING = 1 << 11, /* RSP is SLOT_RED_ZONE lower */
};

/* What lies at RSP while it is moved: below the program's red zone. */
enum {
	SLOT_RED_ZONE = 128,
	SLOT_FLAGS = 32, /* after four scratch registers */
	SLOT_WORK = 40,
	SLOT_FRAME = SLOT_RED_ZONE + 48,
};

/* Which scratch register is for what: its number in slot_map.scratch and its place in the frame. */
enum slot_scratch {
	SLOT_BASE,  /* holds the address */
	SLOT_TEMP,  /* view, lane */
	SLOT_AX,    /* RAX, where flags are kept in it */
	SLOT_STACK, /* stands in for RSP */
	SLOT_SCRATCHES,
};

struct slot_emit {
	uint8_t *to;
	struct slot_map *map;
	uint64_t code; /* where it will run */
	unsigned at;
	unsigned state;
	bool full; /* something didn't fit: no code */
};

/* A forward jump that waits for its target. */
struct slot_jump {
	unsigned at[6];
	unsigned count;
};

void regmap__emit_bytes(struct slot_emit *e, const void *bytes, unsigned count);
/* The state changes: from here on it has these bits, and lacks those. */
void regmap__emit_state(struct slot_emit *e, unsigned set, unsigned clear);

void regmap__emit_load(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp);
void regmap__emit_store(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp);
void regmap__emit_store_imm(struct slot_emit *e, unsigned base, int32_t disp, uint32_t value);
/* lea disp(base), reg; 32-bit: the upper half becomes zero, and the address is cut off. */
void regmap__emit_lea(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp, bool narrow);
/* Either register may be 0xff: none. */
void regmap__emit_lea_index(struct slot_emit *e, unsigned reg, unsigned base, unsigned index,
                            unsigned shift, int32_t disp, bool narrow);
void regmap__emit_constant(struct slot_emit *e, unsigned reg, uint64_t value);
/* opcode reg, disp32(%rip) so that it names @target; @opcode: 8b for loads, ff for calls and jumps */
void regmap__emit_rip(struct slot_emit *e, bool wide, uint8_t opcode, unsigned reg,
                      uint64_t target);
void regmap__emit_tls_load(struct slot_emit *e, unsigned reg, int32_t offset);
void regmap__emit_tls_store(struct slot_emit *e, unsigned reg, int32_t offset);
void regmap__emit_tls_jump(struct slot_emit *e, int32_t offset);
void regmap__emit_segment_base(struct slot_emit *e, unsigned reg, bool gs);

/* These change the flags. */
void regmap__emit_arithmetic(struct slot_emit *e, uint8_t opcode, unsigned reg, unsigned base,
                             int32_t disp);
void regmap__emit_tls_compare(struct slot_emit *e, int32_t offset, uint32_t value);
void regmap__emit_test(struct slot_emit *e, unsigned reg);

enum {
	SLOT_IF_BELOW = 0x82,
	SLOT_IF_ABOVE_OR_EQUAL,
	SLOT_IF_EQUAL,
	SLOT_IF_NOT_EQUAL,
};
void regmap__emit_jump_if(struct slot_emit *e, uint8_t condition, struct slot_jump *jump);
void regmap__emit_land(struct slot_emit *e, const struct slot_jump *jump);
/* To what has been laid already. */
void regmap__emit_jump_back(struct slot_emit *e, unsigned to);
/* To a guest address: near if it is, else by way of a pointer to it. */
void regmap__emit_jump(struct slot_emit *e, uint64_t target, uint64_t pointer);

#endif
