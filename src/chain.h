/* SPDX-License-Identifier: MIT */
/*
 * libregmap in front of the program's own handlers, as Android's libsigchain is: the kernel calls
 * ours; what the program asks for by sigaction() and kin is kept here and read back from here.
 */
#ifndef SRC_CHAIN_H
#define SRC_CHAIN_H

#include <signal.h>
#include <stdbool.h>

/*
 * Put our handler in front for SIGSEGV, SIGBUS, SIGFPE and SIGILL. What stood there becomes the
 * program's. Called again, it takes back what was set behind our back. 0 or -errno.
 */
int regmap__chain_install(void);

/*
 * Hand a signal to the program as the kernel would have. @refaults: returning from the handler
 * would raise it again. May not return (the program's handler jumps), or return with the context
 * changed.
 */
void regmap__chain_deliver(int signo, siginfo_t *info, void *ucontext, bool refaults);

/* In a new child: the table is nobody's. AS-Safe. */
void regmap__chain_forget_others(void);

/* SIGTRAP when the handler returns: the single step over an emulated instruction. */
void regmap__chain_single_step(void *ucontext);

#endif
