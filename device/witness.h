/* SPDX-License-Identifier: MIT */
/*
 * A device that watches a whole program: what it accesses is traced and counted, and what it misses is
 * reported with the names of what lies near.
 */
#ifndef DEVICE_WITNESS_H
#define DEVICE_WITNESS_H

#include "trace.h"

/* One for each process, for good. */
struct witness {
	struct regmap_device *device;
	const struct regmap_layout *layout; /* its */
	uint64_t offset;                    /* where it is mapped */
	struct trace trace;
	bool is_traced;
	struct tally *tally; /* NULL: nothing is counted */
	bool is_told;        /* at the end: the counts, */
	bool tell_json;      /* so, */
	bool tell_always;    /* even if there are none */
	int tell_fd;         /* and there */
	uint64_t tell_file;
	long process; /* its children keep silent */
	char program[64];
};

extern struct witness regmap__witness;

/* Watch and report from now on. Not from a handler. 0 or -errno. */
int regmap__witness_begin(void);
/* Say what was counted, unless that was said. AS-Safe. */
void regmap__witness_end(void);

/* What lies at an address of this process, or around it. AS-Safe. */
void regmap__witness_describe(const struct regmap_layout *layout, uint64_t offset, uint64_t address,
                              char *to, size_t size);

#endif
