/* SPDX-License-Identifier: MIT */
/* The signal mask that the program believes in, where it differs from the kernel's. */
#ifndef SRC_SIGMASK_H
#define SRC_SIGMASK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../arch/x86_64/syscall.h"

enum { SIGNALS = 64 };

#define HELD_SIGNALS (SYS_SIGBIT(SIGSEGV) | SYS_SIGBIT(SIGBUS))
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

/* From now on HELD_SIGNALS are held instead of blocked; @mask is the caller's, about to be set. */
void regmap__sigmask_adopt(uint64_t *mask);

/*
 * For the handler, and only where regmap__tls_works(): noinline, or the compiler might read FS
 * earlier.
 * @kernel, @mask: of the interrupted context.
 */
__attribute__((noinline)) bool regmap__sigmask_is_held(int signo, uint64_t kernel);
/* A signal was sent while held: send it again when it no longer is. */
__attribute__((noinline)) void regmap__sigmask_keep_pending(int signo, const siginfo_t *info);
/*
 * Around a handler of the program's that blocks @add. @mask becomes what the program believes, and
 * is made the kernel's again. enter returns what must be blocked beside @add; leave takes the depth
 * from before.
 */
__attribute__((noinline)) unsigned regmap__sigmask_depth(void);
__attribute__((noinline)) uint64_t regmap__sigmask_enter(uint64_t *mask, uint64_t add);
__attribute__((noinline)) void regmap__sigmask_leave(uint64_t *mask, unsigned depth);

#endif
