/* SPDX-License-Identifier: MIT */
/*
 * Handlers of the signals that are not ours. The kernel calls them by way of here: the uc_sigmask
 * that they see and may change is the program's, without stand-ins; none sees a slot (hot.h); and
 * none comes in the middle of a read-modify-write of a device (pin.h).
 */
#ifndef SRC_OTHERS_H
#define SRC_OTHERS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "../arch/x86_64/syscall.h"

typedef void (*handler_fn)(int, siginfo_t *, void *);

/*
 * Whether the program's sigaction() is ours, rather than libc's: else it would read back what it
 * didn't set. Looks where the two functions are. Not in the handler.
 */
void regmap__others_reach(void *ours, void *libcs);

/* Do signals come by way of here, as they should? Else others.c puts none off. */
bool regmap__others_are_covered(void);
/*
 * In a handler, with the kernel's context: the signal has to wait, and is pending again. Then there
 * is nothing to do but to return.
 */
bool regmap__others_put_off(int signo, siginfo_t *info, void *ucontext);

/* What is known of the program's handler for @signo that is called by way of here; for regmap__others_show(). */
uint64_t regmap__others_handler(int signo);
/* In place: before the kernel or libc is told of @act. */
void regmap__others_cover(int signo, struct sigaction *act);
void regmap__others_adopt(int signo, struct sys_sigaction *act);
/* What was covered failed: @handler, from before, is still the one. */
void regmap__others_restore(int signo, uint64_t handler);
/* In place: what the kernel or libc has told becomes what the program set, @handler. */
void regmap__others_show(struct sigaction *act, uint64_t handler);
void regmap__others_show_kernels(struct sys_sigaction *act, uint64_t handler);

#endif
