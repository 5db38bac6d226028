/* SPDX-License-Identifier: MIT */
/*
 * System calls that arrive as SIGSYS (prctl(2), PR_SET_SYSCALL_USER_DISPATCH), and two ways on.
 *
 * Most of them the program is to make itself: sigreturn goes to a SYSCALL instruction of ours, with
 * the program's registers. So the kernel's restarts, signals, threads, forks, cancellation and
 * everything else that is about the caller's context are what they always are. What it needs to get
 * back from there, a struct call_block, lies below the red zone, RSP at that, so that any number
 * of signal handlers may run in between, and leave by longjmp(). Where the signal's own frame is
 * already below the red zone, the block lies in the part of it that sigreturn doesn't read: the
 * siginfo, and what alignment leaves behind that.
 *
 * The others the handler makes, and puts the result into the frame.
 */
#ifndef ARCH_X86_64_CALLS_H
#define ARCH_X86_64_CALLS_H

/* The red zone and struct call_block. */
#define CALL_FRAME 336
/*
 * Added to what a SYSCALL leaves in R11 (flags; this is RF) when a dispatched call is over: so a
 * SYSCALL that was made, but neither carried out nor dispatched, can be told from one that is over.
 */
#define CALL_RETURNED 0x10000

#ifndef __ASSEMBLER__
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Addresses of all SYSCALL instructions of ours. */
extern const char regmap__calls_begin[], regmap__calls_end[];

enum { CALL_SCRATCH = 18 };

/* The layout is that of calls.S. */
struct call_block {
	uint64_t rip;
	uint64_t arg[6]; /* as the program will see them afterwards */
	uint64_t rsp;
	uint64_t scratch[CALL_SCRATCH];
};

/* What each block has of the scratch, wherever it lies. */
enum { CALL_SCRATCH_SURE = 10 };

struct call {
	uint64_t number;
	uint64_t arg[6]; /* as the kernel is to see them */
	bool compat;     /* INT 0x80: the arguments are none of the above */
	uint64_t at;     /* where the block will lie; 0: nowhere */
	unsigned room;   /* for so much of it */
	struct call_block block;
};

/* The call that the context is about to make. */
void regmap__call_load(struct call *call, const siginfo_t *info, const void *ucontext);
/*
 * A SIGSYS that somebody sent to the thread takes the place of the one that dispatches: SIGSYS
 * doesn't queue. Then the context looks as if the call had returned its own number.
 */
bool regmap__call_load_lost(struct call *call, const void *ucontext);
/* Does the calling thread have its calls dispatched? */
bool regmap__calls_dispatched(void);
bool regmap__call_is_probe(const struct call *call);
/* It has been made. */
void regmap__call_finish(void *ucontext, long result);
/*
 * Make it when the handler returns. @arms: a child begins with its calls dispatched. False: there
 * is no stack for the block, nothing changed.
 */
bool regmap__call_pass(const struct call *call, void *ucontext, bool arms);
/* The same block for a child that begins at that stack top; its new top, 0: it can't be written. */
uint64_t regmap__call_plant(const struct call *call, uint64_t top);
/* rt_sigreturn: the frame is where RSP points; its signal mask, in place. */
uint64_t *regmap__call_sigreturn(void *ucontext);

#endif
#endif
