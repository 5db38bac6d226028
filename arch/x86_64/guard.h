/* SPDX-License-Identifier: MIT */
/*
 * Guarded routines: machine code that may run into a processor exception and comes back with a
 * struct cpu_trap instead. The process's handler for SIGSEGV, SIGBUS, SIGFPE and SIGILL asks
 * regmap__guard_fixup() first. Nothing here uses thread-local storage, so it works whatever the FS
 * base is.
 */
#ifndef ARCH_X86_64_GUARD_H
#define ARCH_X86_64_GUARD_H

#include <signal.h>

#include "cpu.h"

/*
 * The signal was raised by a guarded routine: its trap is filled in and the context made to
 * resume where the routine returns. False: not ours, nothing changed.
 */
bool regmap__guard_fixup(int signo, const siginfo_t *info, void *ucontext);

/*
 * A handler is to find no stub of native.h's, of which unwinders know nothing: the context becomes that
 * of the call that led there, which will be made again, or of what follows it.
 */
void regmap__guard_leave_stub(void *ucontext);

/*
 * Copy between any two addresses of this process. 0, or -1 with @trap filled in (and some bytes
 * copied). Touches no vector register for less than 64 bytes.
 */
int regmap__guard_copy(void *to, const void *from, size_t length, struct cpu_trap *trap);
/* Load 1 to 3 aligned words, each at once. 0, or -1 with @trap filled in. */
int regmap__guard_load(uint64_t to[3], const void *from, size_t words, struct cpu_trap *trap);
/* Are these 1 to 16 bytes the same? 0 yes, 1 no, -1 they can't be read. */
int regmap__guard_compare(const void *a, const void *b, size_t length);
/* Would a write of these bytes succeed? Touches a byte of each page, changing nothing. 0, or -1. */
int regmap__guard_probe_write(void *at, size_t length, struct cpu_trap *trap);
int regmap__guard_probe_read(const void *at, size_t length, struct cpu_trap *trap);

#endif
