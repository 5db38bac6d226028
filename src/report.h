/* SPDX-License-Identifier: MIT */
/*
 * What went wrong, for a human: one block on stderr for each access to a window that was refused.
 * REGMAP_REPORT=0 in the environment, read when the first window is mapped, silences it.
 */
#ifndef SRC_REPORT_H
#define SRC_REPORT_H

#include <stdatomic.h>

#include "../emulator/emulator.h"

struct report {
	enum em_status status;
	const struct em_fault *fault;
	struct em_range range; /* the part of the footprint that it is about */
	const struct cpu *cpu; /* as before the instruction */
	const uint8_t *bytes;  /* of the instruction */
	unsigned length;
	int signo;  /* what the program gets */
	bool stray; /* no window's: see stray.h */
	void *ucontext;
};

/* Not from a handler: reads the environment and lets the unwinder allocate what it needs. */
void regmap__report_init(void);
/* AS-Safe as far as libunwind is. Keeps errno and the signal mask. */
void regmap__report(const struct report *report);
/*
 * The handler calls this for each synchronous signal that no guarded routine raised. If it was the
 * report itself, in this thread, it continues behind the place that faulted and doesn't return.
 */
void regmap__report_escape(void);
/* Is nobody writing a report? Then there is nothing to escape from. */
extern atomic_int regmap__report_owner; /* the thread's id */
static inline bool report_is_idle(void)
{
	return !atomic_load_explicit(&regmap__report_owner, memory_order_relaxed);
}
/* In a new child: nobody is in the middle of a report. AS-Safe. */
void regmap__report_forget_others(void);

#endif
