/* SPDX-License-Identifier: MIT */
/*
 * Native execution: a piece of guest code, run between loading the interrupted context and saving
 * it back. Code memory is mapped twice, writable here and executable there, never both in one view.
 */
#ifndef ARCH_X86_64_NATIVE_H
#define ARCH_X86_64_NATIVE_H

#include "cpu.h"

struct native {
	uint64_t gpr[16]; /* in and out; RSP is neither loaded nor saved */
	uint64_t flags;
	const void *code; /* executable view */
	uint8_t *xsave;
	uint64_t load, save; /* XSTATE_* */
	struct cpu_trap trap;
	/*
	 * The code names one general register, which holds the operand's address, and neither reads
	 * nor writes flags: only that is in and out, and gpr and flags aren't looked at.
	 */
	void *plain; /* the operand; NULL: not such code */
};

_Static_assert(offsetof(struct native, plain) == 200, "as native.S has it");

/*
 * 0; -1 the code ran into an exception: n->trap says which; the general registers are as they
 * were, the vector state named by n->save is what the exception left.
 */
int regmap__native_run(struct native *n);

/* In native.S: what was written as code is what the following instructions fetch. */
void regmap__serialize(void);

/* 0 or -errno: the host forbids executable memory. Not from a handler. */
int regmap__code_init(void);
/*
 * The executable address of these bytes followed by a return. Remembered for good, in children, too.
 * NULL when code memory is full. AS-Safe.
 */
const void *regmap__code_stub(const uint8_t *bytes, size_t length);
/*
 * The same for one execution, when stub() has no room: give it back right after; until then signals
 * wait. NULL: all are lent. Giving back a stub that was not borrowed does nothing.
 */
const void *regmap__code_borrow(const uint8_t *bytes, size_t length);
void regmap__code_give_back(const void *stub);
bool regmap__code_contains(uint64_t rip);
/* The address of the instruction proper inside a stub. */
enum { NATIVE_STUB_ENTRY = 4 };

#endif
