/* SPDX-License-Identifier: MIT */
/*
 * The signal mask that the program believes in, where it differs from the kernel's.
 *
 * SIGSEGV and SIGBUS are never really blocked: a window access under a blocked SIGSEGV would kill
 * the process. Nor is SIGSYS, by which system calls arrive (syscalls.c). In their place three other
 * signals are blocked, their stand-ins. So the kernel itself keeps the program's belief, and everything that saves, restores, swaps or inherits a mask carries
 * it along: siglongjmp(), swapcontext(), sigsuspend(), handlers' masks, new threads, fork().
 *
 * A SIGSEGV sent to a thread that believes it blocked is sent on as the stand-in. There the kernel
 * keeps it pending, hands it to a thread that has it unblocked, delivers it on entry to
 * sigsuspend(), and lets sigwaitinfo() take it.
 */
#ifndef SRC_SIGMASK_H
#define SRC_SIGMASK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../arch/x86_64/syscall.h"

enum { SIGNALS = 64 };
/*
 * In the middle of the real-time signals, since programs count from either end. SIGBUS has the
 * lowest number and SIGSYS the highest, so that those that wait are delivered in the right order.
 */
enum { STAND_IN_BUS = 51, STAND_IN_SEGV = 52, STAND_IN_SYS = 53 };

#define HELD_SIGNALS (SYS_SIGBIT(SIGSEGV) | SYS_SIGBIT(SIGBUS) | SYS_SIGBIT(SIGSYS))
#define STAND_INS (SYS_SIGBIT(STAND_IN_SEGV) | SYS_SIGBIT(STAND_IN_BUS) | SYS_SIGBIT(STAND_IN_SYS))
/*
 * To keep handlers away from a lock. A SIGSYS may still dispatch a system call; one that was sent
 * finds its stand-in blocked, and is kept.
 */
#define ALL_BUT_DISPATCH (~SYS_SIGBIT(SIGSYS))
#define UNBLOCKABLE (SYS_SIGBIT(SIGKILL) | SYS_SIGBIT(SIGSTOP))
/* Those that libc's own functions keep out of every mask: SIGCANCEL, SIGSETXID; musl has a third. */
#ifdef __GLIBC__
#define LIBC_SIGNALS (SYS_SIGBIT(32) | SYS_SIGBIT(33))
#else
#define LIBC_SIGNALS (SYS_SIGBIT(32) | SYS_SIGBIT(33) | SYS_SIGBIT(34))
#endif

/* The kernel's part of glibc's longer set */
static inline uint64_t mask_of(const sigset_t *set)
{
	uint64_t word;

	memcpy(&word, set, sizeof(word));
	return word;
}

static inline void mask_put(sigset_t *set, uint64_t word)
{
	memcpy(set, &word, sizeof(word));
}

/* 0: it has none */
static inline int stand_in_of(int signo)
{
	switch (signo) {
	case SIGSEGV: return STAND_IN_SEGV;
	case SIGBUS: return STAND_IN_BUS;
	case SIGSYS: return STAND_IN_SYS;
	default: return 0;
	}
}

static inline int stands_for(int signo)
{
	switch (signo) {
	case STAND_IN_SEGV: return SIGSEGV;
	case STAND_IN_BUS: return SIGBUS;
	case STAND_IN_SYS: return SIGSYS;
	default: return 0;
	}
}

/* The stand-ins of the signals in @mask */
static inline uint64_t stand_ins_for(uint64_t mask)
{
	return (mask & SYS_SIGBIT(SIGSEGV) ? SYS_SIGBIT(STAND_IN_SEGV) : 0) |
	       (mask & SYS_SIGBIT(SIGBUS) ? SYS_SIGBIT(STAND_IN_BUS) : 0) |
	       (mask & SYS_SIGBIT(SIGSYS) ? SYS_SIGBIT(STAND_IN_SYS) : 0);
}

/* The signals whose stand-ins are in @mask */
static inline uint64_t held_by(uint64_t mask)
{
	return (mask & SYS_SIGBIT(STAND_IN_SEGV) ? SYS_SIGBIT(SIGSEGV) : 0) |
	       (mask & SYS_SIGBIT(STAND_IN_BUS) ? SYS_SIGBIT(SIGBUS) : 0) |
	       (mask & SYS_SIGBIT(STAND_IN_SYS) ? SYS_SIGBIT(SIGSYS) : 0);
}

/* What the kernel is to block where the program wants @program blocked */
static inline uint64_t mask_to_kernel(uint64_t program)
{
	return (program & ~(HELD_SIGNALS | STAND_INS)) | stand_ins_for(program);
}

/*
 * The same for a mask that may be the kernel's already: from a system call that one of our own
 * functions had libc make, or one that libc saved.
 */
static inline uint64_t mask_opened(uint64_t any)
{
	return (any & ~HELD_SIGNALS) | stand_ins_for(any);
}

/* Is @signo of HELD_SIGNALS believed blocked under this mask of the kernel's? */
static inline bool mask_holds(uint64_t kernel, int signo)
{
	int stand_in = stand_in_of(signo);

	return stand_in && kernel & SYS_SIGBIT(stand_in);
}

/*
 * What the program believes blocked. The mask does not tell what it thinks of the stand-ins
 * themselves: that it has blocked them, if it has their neighbours, too (sigfillset()).
 */
static inline uint64_t mask_to_program(uint64_t kernel)
{
	const uint64_t neighbours = SYS_SIGBIT(STAND_IN_BUS - 1) | SYS_SIGBIT(STAND_IN_SYS + 1);
	uint64_t program = (kernel & ~STAND_INS) | held_by(kernel);

	return program | ((kernel & neighbours) == neighbours ? STAND_INS : 0);
}

/* The mask of the calling thread, as the program believes it to be. Not in the handler (TLS). */
uint64_t regmap__sigmask_believed(void);
/* A new thread begins with what its attributes say. */
void regmap__sigmask_begin(uint64_t believed);

/* Our handler is in front: from now on the stand-ins are blocked in place of HELD_SIGNALS. */
void regmap__sigmask_hold(void);
bool regmap__sigmask_holding(void);

#endif
