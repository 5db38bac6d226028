/* SPDX-License-Identifier: MIT */
/*
 * A line for each access: who, where, what, with the names of registers, fields and values. It is written at
 * once and as a whole, so that threads, handlers and children of the program don't mix theirs.
 */
#ifndef DEVICE_TRACE_H
#define DEVICE_TRACE_H

#include "tally.h"

struct trace {
	const struct regmap_layout *layout;
	struct tally *tally; /* whose numbers and last values are used */
	int fd;
	bool json;
	uint64_t
		file; /* its inode: the program may close our descriptor, and use the number; 0: stderr */
	uint64_t start; /* CLOCK_MONOTONIC, ns */
};

/* To @path, which gets longer; NULL: stderr. 0 or -errno. Not from a handler. */
int regmap__trace_open(struct trace *trace, const char *path);

/* @row: of the tally; may be NULL. AS-Safe. */
void regmap__trace_access(const struct trace *trace, const struct regmap_device_access *access,
                          struct tally_row *row);

/*
 * One to what is nothing, as @words say; @bytes 0: a jump. AS-Safe.
 */
void regmap__trace_stray(const struct trace *trace, uint64_t ip, uint64_t address, unsigned bytes,
                         bool is_write, const char *words);

/* A file of ours, out of the way of the program's descriptors. -errno. Not from a handler. */
int regmap__trace_open_file(const char *path, uint64_t *inode);
/* Does the number still mean that file? AS-Safe. */
bool regmap__trace_is_ours(int fd, uint64_t inode);

#endif
