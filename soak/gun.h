/* SPDX-License-Identifier: MIT */
/*
 * One stream of accesses, with a region of its own in each store. It belongs to a thread, or to the
 * handler that interrupts that thread.
 */
#ifndef SOAK_GUN_H
#define SOAK_GUN_H

#include "stores.h"

enum { SHARED_COUNTERS = 4 * 4 }; /* stores that have them x widths */

struct gun {
	uint8_t in[IMAGE], twin_out[IMAGE], out[IMAGE];
	uint8_t before[REGION];
	struct shot shot, twin;
	struct random random;
	unsigned region;
	uint64_t done[KINDS];
	uint64_t counted[SHARED_COUNTERS];
} __attribute__((aligned(64)));

void soak__gun_init(struct gun *gun, uint64_t seed, unsigned region);
/* One access of any kind that all can do. False: it went wrong, and that was noted. */
bool soak__fire(struct gun *gun);
/* The same, leaving alone what is shared. */
bool soak__fire_private(struct gun *gun);
/* Are the shared counters what all guns' sums say? */
bool soak__counters_agree(const struct gun *guns, unsigned count);

/* Note that something is wrong; from anywhere. Always false. */
bool soak__failed(const char *what, const char *operation, const char *where, uint64_t got,
                  uint64_t want);
/* How often; prints the first ones. */
unsigned soak__failures(void);
void soak__print_failures(int fd);
/* In a child process: the parent's are the parent's. */
void soak__forget_failures(void);

#endif
