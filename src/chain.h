/* SPDX-License-Identifier: MIT */
/*
 * libregmap in front of the program's own handlers, as Android's libsigchain is: the kernel calls
 * ours; what the program asks for by sigaction() and kin is kept here and read back from here.
 */
#ifndef SRC_CHAIN_H
#define SRC_CHAIN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Put our handler in front for SIGSEGV, SIGBUS, SIGSYS, SIGFPE and SIGILL. What stood there becomes the
 * program's. Called again, it takes back what was set behind our back. 0 or -errno.
 */
int regmap__chain_install(void);
/* The same for one of these signals, once installed. 0 or -errno. */
int regmap__chain_take_back(int signo);

struct sys_sigaction;

/* rt_sigaction() for a signal of ours: true. Nothing is done about others: false. AS-Safe. */
bool regmap__chain_wish(int signo, const struct sys_sigaction *set, struct sys_sigaction *old);

/*
 * What the program wishes for a signal that comes now: SA_RESETHAND takes effect. @forwarded: see
 * below. AS-Safe.
 */
struct sys_sigaction regmap__chain_take_wish(int signo, bool forwarded);

/*
 * How a signal came. REFAULTS: by the kernel, which would raise it again after the handler.
 * FORWARDED: not from the kernel, but from a handler that was set behind our back and hands on to
 * ours.
 */
enum { CHAIN_REFAULTS = 1, CHAIN_FORWARDED = 2 };

/*
 * Hand a signal to the program as the kernel would have. May not return (the program's handler
 * jumps), or return with the context changed.
 */
void regmap__chain_deliver(int signo, siginfo_t *info, void *ucontext, unsigned how);

/*
 * Around the handling of a forwarded signal: what the handler in front has blocked is open, as our
 * own faults are signals, too.
 */
void regmap__chain_forwarded_begin(void *ucontext, uint64_t *kept);
void regmap__chain_forwarded_end(void *ucontext, const uint64_t *kept);

/*
 * A stand-in that was taken from the kernel otherwise, by sigwaitinfo(), becomes the signal that was
 * sent. Returns its number, or that of @info if it is none.
 */
int regmap__chain_unwrap(siginfo_t *info);

/*
 * Our handler becomes the default action in a new program, even where this one ignores the signal,
 * which a new program inherits. Those are found, ignored really, and had back.
 */
uint64_t regmap__chain_ignored(void);
void regmap__chain_step_aside(uint64_t signals);
void regmap__chain_step_back(uint64_t signals);

/* In a new child: the table is nobody's. AS-Safe. */
void regmap__chain_forget_others(void);

/* From now on, handlers without SA_SIGINFO are called by way of others.c, too. Not in a handler. */
void regmap__chain_cover_all(void);

/* SIGTRAP when the handler returns: the single step over an emulated instruction. */
void regmap__chain_single_step(void *ucontext);

#endif
