/* SPDX-License-Identifier: MIT */
/*
 * Handlers of the signals that are not ours. The kernel calls those with SA_SIGINFO by way of here,
 * so that the uc_sigmask that they see and may change is the program's, without stand-ins.
 */
#ifndef SRC_OTHERS_H
#define SRC_OTHERS_H

#include <signal.h>
#include <stdint.h>

#include "../arch/x86_64/syscall.h"

typedef void (*handler_fn)(int, siginfo_t *, void *);

/*
 * Whether the program's sigaction() is ours, rather than libc's: else it would read back what it
 * didn't set. Looks where the two functions are. Not in the handler.
 */
void regmap__others_reach(void *ours, void *libcs);

/* The program's handler for @signo that is called by way of here; for regmap__others_show(). */
handler_fn regmap__others_handler(int signo);
/* In place: before the kernel or libc is told of @act. */
void regmap__others_cover(int signo, struct sigaction *act);
void regmap__others_adopt(int signo, struct sys_sigaction *act);
/* What was covered failed: @handler, from before, is still the one. */
void regmap__others_restore(int signo, handler_fn handler);
/* In place: what the kernel or libc has told becomes what the program set, @handler. */
void regmap__others_show(struct sigaction *act, handler_fn handler);

#endif
