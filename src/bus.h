/* SPDX-License-Identifier: MIT */
/* The runtime's bus: windows where there are some, ordinary memory (guarded) everywhere else. */
#ifndef SRC_BUS_H
#define SRC_BUS_H

#include "../emulator/bus.h"
#include "access.h"

enum { BUS_PENDING = 256, BUS_STORES = 32, BUS_PINS = 2 };

/* Lives on the stack of the handler, and must not be moved or copied: it holds pins (access.h). */
struct window_bus {
	struct bus bus;
	uint64_t origin;                /* the program's RSP, where bus.cpu is NULL; 0: unknown */
	uint64_t site;                  /* the instruction, likewise */
	struct access pinned[BUS_PINS]; /* between pin() and release() */
	unsigned pins;
	struct access_lock lock; /* between lock() and unlock() */
	struct pin held;         /* between hold() and let_go() */
	struct scratch scratch;  /* between borrow() and give_back() */
	unsigned pending;        /* bytes kept for the register page */
	unsigned stores;
	struct {
		uint16_t offset, length;
	} store[BUS_STORES];
	uint8_t bytes[BUS_PENDING];
};

/* The status of an access whose device callback, or other backing, returned @error; fills in @fault. */
enum em_status regmap__window_bus_error(struct em_fault *fault, const struct access *at,
                                        uint64_t address, unsigned access, int error);

void regmap__window_bus_init(struct window_bus *bus);
/* Let go what an execution still holds that is left in the middle by an exception. */
void regmap__window_bus_end(struct window_bus *bus) __attribute__((nothrow));

/*
 * A store to the register page, for commit(). One that is too large to keep (an FXSAVE area, say)
 * is applied at once: it can only be one to vector registers, and no instruction that stores so
 * much has results that it could meet.
 */
void regmap__window_bus_keep(struct window_bus *bus, uint64_t offset, const void *from,
                             size_t length);

#endif
