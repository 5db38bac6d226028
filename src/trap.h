/* SPDX-License-Identifier: MIT */
/* SIGSEGV and SIGBUS: is the fault ours, carry it out, or hand it on. */
#ifndef SRC_TRAP_H
#define SRC_TRAP_H

/* Called by the first mapping, under the map lock; idempotent. 0 or -errno. */
int regmap__trap_install(void);
/* All that the first mapping makes, under the map lock. 0 or -errno. */
int regmap__start(void);

#endif
