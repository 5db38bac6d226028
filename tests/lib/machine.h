/* SPDX-License-Identifier: MIT */
/*
 * The CPU as an oracle: load a complete user-mode state, run one instruction, take the complete
 * state that it leaves or the signal that it raises. Made of sigreturn and signal handlers, so it
 * shares nothing with the library under test. One thread at a time.
 *
 * The code to run lies in t_code; whatever follows it there is INT3.
 */
#ifndef TESTS_MACHINE_H
#define TESTS_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	T_RAX,
	T_RCX,
	T_RDX,
	T_RBX,
	T_RSP,
	T_RBP,
	T_RSI,
	T_RDI,
	T_GPRS = 16,
	T_IMAGE_MAX = 2816,  /* up to and with ZMM16-31; x87, SSE, AVX, opmasks, ZMM lie in it */
	T_FRAME_WORDS = 464, /* the kernel's, in an image of the CPU's: up to T_FRAME_WORDS_END */
	T_FRAME_WORDS_END = 576,
	T_CODE_SIZE = 1 << 20,
};

/* What FS-relative operands are counted from. */
static inline uintptr_t t_thread_pointer(void)
{
	uintptr_t value;

	__asm__("mov %%fs:0, %0" : "=r"(value));
	return value;
}

enum { T_TF = 1 << 8, T_DF = 1 << 10, T_AC = 1 << 18, T_RF = 1 << 16, T_STATUS = 0x8d5 };

struct t_regs {
	uint64_t gpr[T_GPRS];
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base; /* out only */
	uint16_t fs, gs, ds, es;   /* out only */
};

enum t_end {
	T_END_DONE,  /* reached an INT3: rip is its address */
	T_END_STEP,  /* a single-step trap */
	T_END_FAULT, /* another signal: see below */
};

struct t_outcome {
	struct t_regs regs;
	enum t_end end;
	int signo, code;
	uint64_t address; /* si_addr */
	uint64_t number;  /* of the exception */
	uint64_t error;   /* its error code */
};

/* Where the components lie in an image, SDM vol. 1, 13.4; 0: this CPU has none. */
struct t_layout {
	unsigned ymm, opmask, zmm_high, zmm16;
	unsigned size; /* bytes that count; at most T_IMAGE_MAX */
};

extern struct t_layout t_layout;
extern uint8_t *t_code; /* executable; below 2 GB; filled with INT3 */

/* Once: makes code memory at @code_address, an alternate stack, looks at the CPU. */
void t_machine_init(uint64_t code_address, uint64_t gs_base);
/* The signal handlers; again wherever somebody (cmocka, before each test) has replaced them. */
void t_machine_catch(void);

/*
 * An image with all components valid, in their initial state. It may then be changed at will, but
 * for T_FRAME_WORDS.
 */
void t_image_init(uint8_t *image);
/* Vector register @i: bytes [at, at + length), at most up to what the CPU has. */
void t_image_set_vector(uint8_t *image, unsigned i, unsigned at, const void *from, unsigned length);
void t_image_get_vector(const uint8_t *image, unsigned i, unsigned at, void *to, unsigned length);
unsigned t_vector_bytes(void);

/*
 * Run from @in and @image until the next INT3 or signal. @out_image is in canonical form:
 * components in initial state are written out, reserved bytes are zero.
 */
void t_run(const struct t_regs *in, const uint8_t *image, struct t_outcome *out,
           uint8_t *out_image);

#endif
