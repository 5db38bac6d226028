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
	SLOT_SAVED = 0xf,       /* bit per scratch register: it has been pushed, in this order */
	SLOT_MOVED = 1 << 4,    /* RSP is SLOT_RED_ZONE lower, before any of them */
	SLOT_PUSHED = 1 << 5,   /* and 8 more, behind them */
	SLOT_IN_AX = 1 << 6,    /* flags: AH as LAHF has it, AL the overflow flag */
	SLOT_IN_AH = 1 << 7,    /* flags: AH as LAHF has it, the overflow flag where it belongs */
	SLOT_ON_STACK = 1 << 8, /* flags: they are what has been pushed last */
	SLOT_BUSY = 1 << 9,     /* the lane may say so */
	SLOT_DONE = 1 << 10,    /* the instruction's effect has happened */
	SLOT_WORKED = 1 << 11,  /* 8 more have been pushed, last of all, that mean nothing */
	SLOT_IN_TLS = 1 << 12,  /* flags: as AX had them, in struct lane_tls */
	SLOT_HANDED = 1 << 13,  /* RSI is SLOT_HANDED_AT from RSP */
};

enum { SLOT_RED_ZONE = 128 };

/* Which scratch register is for what: its number in slot_map.scratch. */
enum slot_scratch {
	SLOT_BASE,  /* holds the address */
	SLOT_TEMP,  /* view, lane */
	SLOT_STACK, /* stands in for RSP */
	SLOT_AX,    /* RAX, where flags are kept in it: the first to be given back */
	SLOT_SCRATCHES,
};

struct slot_emit {
	uint8_t *to;
	struct slot_map *map;
	uint64_t code;     /* where it will run */
	unsigned at, most; /* bytes */
	unsigned state;
	bool far;  /* jumps within the slot may be longer than 127 bytes */
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

void regmap__emit_push(struct slot_emit *e, unsigned reg);
void regmap__emit_pop(struct slot_emit *e, unsigned reg);
void regmap__emit_load(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp);
void regmap__emit_store(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp);
/* One byte. */
void regmap__emit_store_imm(struct slot_emit *e, unsigned base, int32_t disp, uint8_t value);
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
void regmap__emit_tls_decrement(struct slot_emit *e, int32_t offset); /* one byte */
void regmap__emit_arithmetic(struct slot_emit *e, uint8_t opcode, unsigned reg, unsigned base,
                             int32_t disp);
void regmap__emit_tls_compare(struct slot_emit *e, int32_t offset, uint32_t value);

/* Flags to RAX, and back: AH as LAHF has it, AL the overflow flag. */
void regmap__emit_lahf_seto(struct slot_emit *e);
void regmap__emit_overflow(struct slot_emit *e); /* changes the others */
void regmap__emit_sahf(struct slot_emit *e);

enum {
	SLOT_IF_BELOW = 0x72,
	SLOT_IF_ABOVE_OR_EQUAL,
	SLOT_IF_EQUAL,
	SLOT_IF_NOT_EQUAL,
};
void regmap__emit_jump_if(struct slot_emit *e, uint8_t condition, struct slot_jump *jump);
void regmap__emit_land(struct slot_emit *e, const struct slot_jump *jump);
/* Over any distance; one jump. */
void regmap__emit_jump_on(struct slot_emit *e, struct slot_jump *jump);
void regmap__emit_land_far(struct slot_emit *e, const struct slot_jump *jump);
/* To what has been laid already. */
void regmap__emit_jump_back(struct slot_emit *e, unsigned to);
/* To code of ours; it must be near. */
void regmap__emit_jump_near(struct slot_emit *e, uint64_t target);
/* To a guest address: near if it is, else by way of a pointer to it. */
void regmap__emit_jump(struct slot_emit *e, uint64_t target, uint64_t pointer);

/*
 * What each way into a fragment does. RAX has the flags, as lahf_seto leaves them: they are kept, and the
 * registers that are lent; RAX becomes the lane. Then that is busy; who isn't armed by now, jumps.
 */
void regmap__emit_lend(struct slot_emit *e, const struct slot_way_in *in, int32_t tls);
void regmap__emit_come_in(struct slot_emit *e, const struct slot_way_in *in,
                          struct slot_jump *late);

/* Offset in struct view of the limit for an access (enum em_access) of so many bytes. */
int32_t regmap__emit_limit(unsigned access, unsigned size);
/*
 * The register @view becomes what the pointer at @place is. Who has an address in @base that isn't within
 * it, jumps. The limit is compared first: see struct view.
 */
void regmap__emit_try_view(struct slot_emit *e, unsigned view, unsigned base, uint64_t place,
                           int32_t limit, struct slot_jump *outside);

#endif
