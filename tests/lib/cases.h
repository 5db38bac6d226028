/* SPDX-License-Identifier: MIT */
/*
 * From an encoding form to runs of it: register numbers, addressing modes, immediates, where the
 * operand lies, and what registers, flags, vectors and memory hold. The n-th case of a form is
 * always the same.
 */
#ifndef TESTS_CASES_H
#define TESTS_CASES_H

#include "enumerate.h"
#include "machine.h"

/* Ordinary memory, one page that may be a window, ordinary memory. A page each, then nothing. */
enum {
	T_PAGE = 4096,
	T_ARENA = 0x10000000,
	T_WINDOW = T_ARENA + T_PAGE,
	T_WINDOW_END = T_WINDOW + T_PAGE,
	T_ARENA_SIZE = 3 * T_PAGE,
	T_CODE_AT = 0x14000000,
	T_LANDING = T_CODE_AT + T_CODE_SIZE - 256, /* branches go there */
	T_GS_BASE = 0x5000,
	T_STACK = T_ARENA -
	          (1 << 20), /* see t_stack_aside_make(); no stack reaches from the arena to it */
	T_STACK_SIZE = 0x10000,
	T_SLOT = 32,                         /* bytes of code for a case */
	T_PLACES = T_CODE_SIZE / T_SLOT - 8, /* for so many cases; then comes T_LANDING */
};

/* How cases are drawn. */
enum t_style {
	T_SIMPLE,  /* operand in the window, aligned, no surprises */
	T_VARIED,  /* anything */
	T_EDGES,   /* operand across an edge of the window */
	T_SHIFTED, /* simple, but the n-th case n % 64 bytes off */
};

struct t_case {
	struct t_insn i;
	struct t_regs in;
	uint64_t address; /* of the explicit operand, or of the first implicit one */
	uint8_t image[T_IMAGE_MAX] __attribute__((aligned(64)));
	uint8_t memory[T_ARENA_SIZE] __attribute__((aligned(64)));
};

/* Once, after t_machine_init(). */
void t_cases_init(void);
/*
 * @slot: which piece of code memory it gets, below T_PLACES. Writes the code: the instruction, a NOP
 * of three bytes, such as a patch's jump needs behind a short one, INT3.
 */
void t_case_make(struct t_case *c, const struct t_form *form, unsigned n, enum t_style style,
                 unsigned slot);
bool t_is_vsib(const struct t_insn *i);
/* SGDT and kin, where the CPU has UMIP. */
bool t_is_emulated_by_kernel(const struct t_insn *i);
/*
 * Does it load FS? ThreadSanitizer's own signal handlers, which come before ours and the library's,
 * need thread-local storage: a fault with a foreign FS base kills the program.
 */
bool t_loads_fs(const struct t_insn *i);
/* The hex bytes and text of a case. */
void t_case_describe(const struct t_case *c, char *to, size_t size);

/* --- for sites that are to be patched --- */

/*
 * From now on, most instructions that don't use the stack find RSP at T_STACK: memory that is like
 * any program's stack. Else it lies in the window, or next to it. Once.
 */
void t_stack_aside_make(void);
/*
 * The slot of a batch's entry: no two batches are in the same place while there is room, as code is
 * patched for good. Sites are patched where code isn't writable: so t_place_close() before they run.
 */
unsigned t_place(unsigned entry, unsigned batch_size);
void t_place_close(void);

#endif
