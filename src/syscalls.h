/* SPDX-License-Identifier: MIT */
/* System calls on windows: regmap_syscalls(). */
#ifndef SRC_SYSCALLS_H
#define SRC_SYSCALLS_H

#include <signal.h>
#include <stdbool.h>

/* A SIGSYS. False: not a system call that was dispatched to us. */
bool regmap__syscalls_signal(const siginfo_t *info, void *ucontext);
/* After the delivery of a SIGSYS that somebody sent: was it in a dispatched call's place? */
void regmap__syscalls_sent(void *ucontext);
/*
 * Where SIGSYS has to be blocked really, dispatch must be off: suspend() tells whether it was on in
 * the calling thread, and so has to be resumed.
 */
bool regmap__syscalls_suspend(void);
void regmap__syscalls_resume(void);

#endif
