/* SPDX-License-Identifier: MIT */
/*
 * What drivers do all day: load or store one register of a device. Out of a slot, slotmove.S does so in as
 * few instructions as can be, where the device is the one that the site has met before. What it relies
 * on, src/move.c provides, and asserts that both agree.
 */
#ifndef ARCH_X86_64_SLOTMOVE_H
#define ARCH_X86_64_SLOTMOVE_H

/* In struct move. */
#define MOVE_BASE 0
#define MOVE_INDEX 1
#define MOVE_SHIFT 2
#define MOVE_REG 3
#define MOVE_DISP 4
#define MOVE_SIZE 8
#define MOVE_ALIGN 9
#define MOVE_HOW 10
#define MOVE_TURN 12
#define MOVE_VERSION 16
#define MOVE_FIRST 24
#define MOVE_SPAN 32
#define MOVE_WINDOW 40
#define MOVE_CALL 48
#define MOVE_CTX 56
/* Of struct move.how. */
#define MOVE_WRITES 1
#define MOVE_CONSTANT 2
#define MOVE_MERGES 4
#define MOVE_WIDE 8 /* 64 bits */
/* To or from a register that callbacks preserve: slotdevice.S doesn't keep those. */
#define MOVE_AWAY 16
#define MOVE_ZEROES 32  /* MOVZX */
#define MOVE_SIGNED 64  /* MOVSX */
#define MOVE_NARROW 128 /* likewise, to 32 bits */
#define MOVE_SPECIAL (MOVE_WRITES | MOVE_MERGES | MOVE_WIDE | MOVE_AWAY | MOVE_ZEROES | MOVE_SIGNED)
/* On the stack, around the callback: struct pin, and what is needed behind it. */
#define MOVE_PINNED 0
#define MOVE_VALUE 48
#define MOVE_MOVE 56
#define MOVE_ERROR_AT 64
#define MOVE_ERROR 72
#define MOVE_MET 80
/* In struct lane_tls (slot.h). */
#define MOVE_LANE_QUICK 48
#define MOVE_LANE_ERROR 56
#define MOVE_LANE_MAGIC 0x6c616e65
/* In struct slot and struct pin (src/pin.h). */
#define MOVE_SLOT_WINDOW 8
#define MOVE_SLOT_NONCE 16
#define MOVE_SLOT_COPY 24
#define MOVE_SLOT_LATEST 32
#define MOVE_SLOT_ORIGIN 40
#define MOVE_CLAIM 0x20000
#define MOVE_PIN_NONCE 8
#define MOVE_PIN_SITE 24
#define MOVE_PIN_HOLDS 32
#define MOVE_PIN_BLOCKED 40
/* In struct regmap_window and struct table_head. */
#define MOVE_WINDOW_START 0
#define MOVE_WINDOW_LOCK 40
#define MOVE_WINDOW_FLAGS 49
#define MOVE_TABLE_VERSION 8
#define MOVE_GENERAL 4
#define MOVE_FORK_SETTLED 2

#ifndef __ASSEMBLER__

#include <stdatomic.h>
#include <stdint.h>

/* Of one site; never freed. One cache line. */
struct move {
	/* The operand: words of struct slot_frame, one of which is always 0 on the way in. */
	_Alignas(64) uint8_t base;
	uint8_t index, shift, reg;
	int32_t disp;
	uint8_t size, align, how; /* align: bits that an address of one piece doesn't have */
	/*
	 * The device. Who writes makes the turn odd before, and even behind; in between the version is none, and
	 * until after that: so who finds one, and the same turn before and behind, has seen one device.
	 */
	_Atomic uint32_t turn;
	_Atomic uint64_t version, first, span; /* the last address that will do is so far away */
	_Atomic uint64_t window, call, ctx;    /* call: where the callback's address is */
};

/* Of a site that has met none. Never written to. */
extern struct move regmap__slot_no_move;

/* Called by regmap__slot_call(). Never from C. */
void regmap__slot_move(void);
extern const uint8_t regmap__slot_move_end[];

#endif
#endif
