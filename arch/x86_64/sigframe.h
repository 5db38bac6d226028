/* SPDX-License-Identifier: MIT */
/*
 * Where the kernel lays a signal's frame, and how to lay it elsewhere: our handler asks for the
 * alternate stack, the handler of the program that gets the signal in the end may not have.
 */
#ifndef ARCH_X86_64_SIGFRAME_H
#define ARCH_X86_64_SIGFRAME_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* What @stack is to code whose RSP is @sp: the kernel's sas_ss_flags(). */
bool regmap__stack_holds(const stack_t *stack, uint64_t sp);

/* The frame that sigreturn installs the alternate stack from. */
stack_t *regmap__sigframe_stack(void *ucontext);
/* The signal came while another stack than the alternate one, on which this is, was in use. */
bool regmap__sigframe_switched(const void *ucontext);

enum { SIGFRAME_EXTRA = 128 };

struct sigframe {
	void *start;
	siginfo_t *info;
	void *ucontext;
};

/*
 * Copy a frame to where it would be without an alternate stack: below the interrupted stack's red
 * zone. False: there is no room. The copy has SIGFRAME_EXTRA bytes for the mover's use.
 */
bool regmap__sigframe_move(struct sigframe *to, const siginfo_t *info, const void *ucontext);
void *regmap__sigframe_extra(void *ucontext);
/* On a moved frame's stack; what lies on the present one is dead from here on. */
__attribute__((noreturn)) void regmap__sigframe_run(int signo, siginfo_t *info, void *ucontext,
                                                    void *handler, void *start);
/* What a handler that was run like that returns to: defined by the chain. Then comes sigreturn. */
void regmap__sigframe_returned(void *ucontext);
/* entry.S: where the handler on a moved frame returns to. Only its address is of use. */
extern const char regmap__sigframe_return[];

#endif
