/* SPDX-License-Identifier: MIT */
/*
 * The window table: who owns a guest address. Readers take no lock, write no shared cache line and
 * allocate nothing, so that they run inside the handler; writers hold the map lock.
 */
#ifndef SRC_WINDOW_H
#define SRC_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/regmap/regmap.h"

/*
 * Does any byte of the range lie in a window (for page 0: in a register)? Wraps at 2^64. AS-Safe.
 */
bool regmap__window_meets(uint64_t address, uint64_t length);

/*
 * REGMAP_GENERAL, changed afterwards. To take it away waits until no access of another thread relies on it. 0;
 * -EINVAL not a device's window; -EDEADLK as regmap_unmap(), and it stays as it was. AS-Unsafe.
 */
int regmap__window_set_general(struct regmap_window *window, bool general);

/* For reports: the window that holds the address, or the nearest below and above. AS-Safe. */
struct window_info {
	char name[40];
	uint64_t guest, last; /* inclusive */
	unsigned access;
	const char *backing; /* "RAM", "host memory", "device", "alias", "registers" */
	bool inside;         /* the address lies in it */
};
unsigned regmap__window_near(uint64_t address, struct window_info out[2]);

#endif
