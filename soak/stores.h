/* SPDX-License-Identifier: MIT */
/*
 * What lies behind the windows: memory in regions, one for each owner, of which a twin in ordinary
 * memory goes through the same; and for devices, books of what they were asked.
 */
#ifndef SOAK_STORES_H
#define SOAK_STORES_H

#include <stdatomic.h>
#include <stddef.h>

#include "ops.h"

enum { REGION = 4096, REGIONS = 64, STORE = REGIONS * REGION };
/* The last regions are for all. */
enum { COUNTERS = REGIONS - 1, NESTING = REGIONS - 2, OWNED = REGIONS - 2 };

/* Every access of a device counts; what was read and written counts in the sum, whatever the order. */
struct books {
	_Atomic uint64_t reads, writes, bytes, sum;
};

enum store_name { HOST, DEVICE, LOW_DEVICE, RAM, DIRECT_RAM, BUS, PERIPHERAL, STORES };

struct store {
	uint8_t *memory; /* STORE bytes */
	uint8_t twin[STORE] __attribute__((aligned(4096)));
	bool is_device;
	struct books books[REGIONS]; /* of a device */
	struct books expected[REGIONS];
};

extern struct store soak__store[STORES];

/* A way to a store. */
struct path {
	const char *name;
	uint64_t guest;
	enum store_name store;
};

enum { PATHS = 12 };
extern const struct path soak__path[PATHS];

/* All the windows that stay. */
void soak__stores_init(uint64_t seed);
/* Free addresses for windows that don't. */
#define SOAK_LOW_SPACE 0x68000000ULL
#define SOAK_HIGH_SPACE 0xffffc00000000000ULL
#define SOAK_HOLE_SPACE 0x7654300000000000ULL
/* The mapper's own windows; their aliases lie SOAK_MAPPER_SPACE bytes further on. */
#define SOAK_MAPPER_LOW 0x6a000000ULL
#define SOAK_MAPPER_HIGH 0xffffe00000000000ULL
#define SOAK_MAPPER_HOLE 0x0badc0de00000000ULL
#define SOAK_MAPPER_SPACE 0x4000000ULL
/* A child has all windows of the moment of its birth: its own may meet none that comes and goes. */
#define SOAK_CHILD_SPACE 0x74000000ULL

/* What a device at @store_offset is asked for @touch goes into the books. */
void soak__books_expect(struct store *store, size_t at, bool write, const uint8_t *value,
                        unsigned length);
/* NULL if they agree. */
const char *soak__books_differ(const struct store *store, unsigned region);
/* The twin takes over what is there now: for a child process. */
void soak__store_adopt(unsigned region);

#endif
