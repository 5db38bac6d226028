/* SPDX-License-Identifier: MIT */
/*
 * How often a program read and wrote what, in memory that its children share. Any thread and any
 * handler may count at any time; nothing is allocated, nothing waits.
 */
#ifndef DEVICE_TALLY_H
#define DEVICE_TALLY_H

#include <stdatomic.h>

#include <regmap/device.h>

enum tally_kind { TALLY_REGISTER = 1, TALLY_UNKNOWN, TALLY_REGION };

/* A register (at its own address), a word of registers that no description has, or a region. */
struct tally_row {
	_Atomic uint64_t key; /* address and kind; 0: free */
	_Atomic uint64_t reads, writes, refused;
	_Atomic uint64_t last; /* the value that was last seen */
	_Atomic uint64_t ip;   /* of the first access */
	_Atomic uint64_t seen; /* there is a last value */
	uint64_t unused;
};

enum { TALLY_ROWS = 1 << 14 };

struct tally {
	_Atomic uint64_t accesses; /* numbers them */
	_Atomic uint64_t lost;     /* not counted: the table is full */
	struct tally_row row[TALLY_ROWS];
};

/* Zeroed, for good; NULL: no memory. Not from a handler. */
struct tally *regmap__tally_new(void);

/* Count one access. The row of its register or word; NULL: of memory, or there is no row left. AS-Safe. */
struct tally_row *regmap__tally_count(struct tally *tally,
                                      const struct regmap_device_access *access);

/* What it comes to, for people or as one line of JSON, to a file. @who: the program. AS-Safe. */
void regmap__tally_print(struct tally *tally, const struct regmap_layout *layout, const char *who,
                         int fd, bool json);

#endif
