/* SPDX-License-Identifier: MIT */
/* Code addresses and their names: the backtrace of a report. */
#ifndef SRC_FRAMES_H
#define SRC_FRAMES_H

#include <stddef.h>
#include <stdint.h>

enum { FRAMES = 32, FRAME_SYMBOL = 96, FRAME_MODULE = 48 };

struct frame {
	uint64_t ip;
	char symbol[FRAME_SYMBOL]; /* empty: unknown */
	uint64_t offset;           /* of ip in it */
	char module[FRAME_MODULE]; /* base name; empty: unknown */
	uint64_t base;             /* where that begins */
};

/* Let libunwind set itself up. Not from a handler. */
void regmap__frames_init(void);
/* From the interrupted instruction outwards; returns how many. Uses TLS and 8 KB of stack. */
unsigned regmap__frames_walk(void *ucontext, struct frame *frames, unsigned max);
/* Fill in the modules, from /proc/self/maps. Not reentrant. */
void regmap__frames_name_modules(struct frame *frames, unsigned count);

#endif
