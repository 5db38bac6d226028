/* SPDX-License-Identifier: MIT */
/*
 * The short way for the commonest accesses: an integer instruction with one operand of at most eight
 * bytes in host memory of a window, in a device (one naturally aligned piece), or in one general
 * register of the register page. It works straight on the registers where they are, needs neither a
 * copy of them nor the emulator, and runs in a signal handler as well as outside of any.
 */
#ifndef SRC_QUICK_H
#define SRC_QUICK_H

#include "../emulator/plan.h"
#include "access.h"

enum quick {
	QUICK_DONE,   /* all but RIP is done */
	QUICK_NO,     /* nothing has happened: it takes the long way */
	QUICK_VECTOR, /* nothing has happened: a device's callback may use vector registers */
	QUICK_PART,   /* of a string with REP: the registers show how far it came */
	QUICK_FAILED, /* it mustn't be tried again; the registers are as they were */
};

/* Of QUICK_FAILED: what the program and the user are to be told. */
struct quick_failure {
	enum em_status status; /* EM_DENIED or EM_FAULT */
	struct em_fault fault;
};

/* Before the first window, map lock held. */
void regmap__quick_init(void);

/*
 * A child by fork() is noticed in here, where that matters. @rip: of the instruction. @general_only:
 * don't call devices whose callbacks may use vector registers, those without REGMAP_GENERAL. A
 * device's callback is called as regmap.h says, on the stack and with the signal mask that this runs
 * with, and may leave by a jump or an exception. A store to the register page may change any of the
 * registers, RSP too. AS-Safe.
 */
enum quick regmap__quick(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                         bool general_only, struct quick_failure *failure);
/*
 * The same, where it is known already what regmap__em_quick_address() says. QUICK_RETURNS: after
 * QUICK_DONE the caller does nothing but return from the signal handler, which puts the signal mask
 * back; so that may be left as it is.
 */
enum { QUICK_GENERAL = 1 /* general_only */, QUICK_RETURNS = 2 };
enum quick regmap__quick_at(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                            uint64_t address, unsigned how, struct quick_failure *failure);
/*
 * Out of a slot, the commonest cases of all: host memory; and a move of one aligned piece between a
 * register and a device, one that uses general registers only, or (not @general_only) one that
 * doesn't say so. @lane: the thread's. QUICK_NO: any other case.
 */
struct lane;
struct slot_frame;
enum quick regmap__quick_slot(struct slot_frame *frame, struct lane *lane, bool general_only,
                              struct quick_failure *failure);
/*
 * Of vector instructions those with an operand in host memory, in a device, or in one vector register
 * of the register page, and x87 ones in host memory; on an image of the vector state: struct cpu says
 * what @xsave and @xfeatures are. @address: what regmap__em_quick_native_address() says.
 */
enum quick regmap__quick_vector(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                                uint64_t address, uint8_t *xsave, uint64_t xfeatures,
                                struct quick_failure *failure);
/*
 * Of strings with REP those that go upwards on host memory, both ends. @at: the byte that faulted.
 * QUICK_PART may need the long way next.
 */
enum quick regmap__quick_string(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                                uint64_t at);

/*
 * regmap__access_begin() for the commonest case: memory of one window, on a home slot (pin.h), and as
 * a rule where the thread's last access was. False: nothing is pinned. AS-Safe.
 */
bool regmap__quick_begin(struct access *at, uint64_t address, size_t length, unsigned access);

#endif
