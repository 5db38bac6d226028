/* SPDX-License-Identifier: MIT */
/* What slotcall.S and C agree on. */
#ifndef ARCH_X86_64_SLOTCALL_H
#define ARCH_X86_64_SLOTCALL_H

/* Offsets in struct slot_frame. */
#define SLOT_RAX 0
#define SLOT_RCX 8
#define SLOT_RDX 16
#define SLOT_RBX 24
#define SLOT_RSP 32
#define SLOT_RBP 40
#define SLOT_RSI 48
#define SLOT_RDI 56
#define SLOT_R8 64
#define SLOT_FLAGS 128
#define SLOT_RIP 136
#define SLOT_TARGET 144
#define SLOT_CELL 152
#define SLOT_FRAME_SIZE 160
/* How far the frame moves where it is in the way of the address that the way out needs. */
#define SLOT_ASIDE 512
/* In struct slot_cell. */
#define SLOT_CELL_SITE 24
#define SLOT_CELL_NEXT 32
#define SLOT_CELL_ORIGINAL 48
#define SLOT_CELL_PLAN 56
#define SLOT_CELL_NOTE 64
#define SLOT_CELL_MOVE 80
#define SLOT_CELL_TAIL_MASK 104
#define SLOT_CELL_TAIL 112
#define SLOT_CELL_PLAIN 120
#define SLOT_NOTE_VECTOR 2 /* the callback may use vector registers */
#define SLOT_PLAN_IMM 64   /* in struct plan */
/* In struct slot_state. */
#define SLOT_STATE_SIZE 0
#define SLOT_STATE_LOW 8
#define SLOT_STATE_HIGH 12
#define SLOT_STATE_COMPACT 16
#define SLOT_STATE_WAY 20
#define SLOT_STATE_OTHERS 24
/* Of struct slot_state.way. */
#define SLOT_WAY_IMAGE 0
#define SLOT_WAY_256 1
#define SLOT_WAY_512 2
/* Vector registers that are saved one by one: ZMM0-31, K0-7, MXCSR; FXSAVE images before and after. */
#define SLOT_VECTORS_MXCSR 2112
#define SLOT_VECTORS_X87 2176
#define SLOT_VECTORS_X87_AFTER 2688
#define SLOT_VECTORS 3200
/* Room for an XSAVE image of nothing but legacy state. */
#define SLOT_LEGACY 640
/* How far down the stack is touched before C is called that can't be rolled back. */
#define SLOT_PROBE 8192
#define SLOT_PROBE_FULL 16384

#ifdef __ASSEMBLER__
#define XSTATE_X87 1
#define XSTATE_AVX 4
#define XSTATE_OPMASK 0x20
#define XSTATE_ZMM_HI256 0x40
#define XSTATE_HI16_ZMM 0x80
#else

#include "slot.h"

/* What is saved of the vector state. Constant once patching is on. */
struct slot_state {
	uint64_t size;    /* bytes of an image */
	uint32_t mask[2]; /* XCR0 without PKRU */
	uint32_t compact; /* XSAVEC is there */
	uint32_t way;     /* SLOT_WAY_*: around a callback */
	uint32_t others;  /* flags without the status flags, as they are as a rule; 0: no SAHF */
};
extern struct slot_state regmap__slot_state;
void regmap__slot_state_init(void);

/* What C says. */
enum slot_answer {
	SLOT_DONE,    /* go on behind the CALL, or at frame->target; the frame has the registers */
	SLOT_VECTOR,  /* nothing has happened: the callback may use vector registers */
	SLOT_EMULATE, /* nothing has happened: the emulator needs them in an image */
};

/* General registers only, those of C that it calls included. */
int regmap__slot_enter(struct slot_frame *frame);
/* With the vector state saved: in standard format at @image for SLOT_EMULATE (@answer). */
int regmap__slot_enter_saved(struct slot_frame *frame, uint8_t *image, int answer);

/*
 * A thread was interrupted in regmap__slot_call(). False: nowhere near; or in the middle, where C has
 * been or is being called with the vector state saved. Else registers, flags and *rip become the program's.
 */
enum slot_rolled {
	SLOT_UNROLLED,
	SLOT_BACK,    /* *rip is the site's, nothing has happened */
	SLOT_FORWARD, /* it has: *rip is where to go on, which may be in a slot */
};
struct cpu_regs;
enum slot_rolled regmap__slot_roll_call(const struct cpu_regs *regs, uint64_t *rip,
                                        const struct slot_cell **cell);

#endif
#endif
