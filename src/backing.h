/* SPDX-License-Identifier: MIT */
/*
 * A backing is what stands behind a window. Each lives in a file of its own and ends in one
 * operations struct; nothing else tells one kind of window from another.
 */
#ifndef SRC_BACKING_H
#define SRC_BACKING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/regmap/regmap.h"

struct access;
struct refusal;
struct window_bus;

enum { MAX_ALIASES = 8 }; /* in a chain */

/* What is not named in a backing's struct is NULL: it has no such thing. */
struct backing_ops {
	const char *name; /* for reports, and the default name of a window */
	bool needs_cpu;   /* its transfers need a bus: not for regmap_read() */
	bool maps_memory; /* create() does, as much as the window is long */

	/*
	 * Map lock held; the window's range, access and flags are set. 0 or -errno, nothing left
	 * behind.
	 */
	int (*create)(struct regmap_window *window, const struct regmap_config *config);
	/* Map lock held; nobody uses the window any more. */
	void (*destroy)(struct regmap_window *window);

	/*
	 * A backing with holes: is the byte at @offset part of the window? Either way @length is
	 * how many bytes share that answer. A window that has this can't be reached through an
	 * alias.
	 */
	bool (*claims)(uint64_t offset, uint64_t *length);
	/*
	 * Where accesses really go begins at the window's base: guest addresses, or host memory. Of
	 * a backing that has write(), too, the memory is for reading: see window_host().
	 */
	bool forward, host;
	/* -errno if the backing has no such direction, though the window allows it. */
	int (*refuses)(const struct regmap_window *window, unsigned access);

	/*
	 * Without host memory: how many of the bytes go in one transfer; and that transfer, 0 or
	 * -errno.
	 */
	size_t (*piece)(uint64_t address, size_t length);
	int (*read)(const struct access *at, struct window_bus *bus, void *to);
	int (*write)(const struct access *at, struct window_bus *bus, const void *from);
	/* What the program sees when a transfer fails. NULL: a bus error, the device's. */
	const struct refusal *failure;

	/*
	 * Show these whole pages of the window, from its guest address @from on, at @guest (its own
	 * address or that of an alias), over a reservation. 0 or -errno.
	 */
	int (*attach)(const struct regmap_window *window, uint64_t from, uint64_t bytes,
	              uint64_t guest, unsigned access);
	/*
	 * For memory that is in one place only, and so goes to its guest addresses as a whole or
	 * not at all. In: the window is about to enter the table, alone in pages that are ours. Out,
	 * for good: they are a reservation again. 0 or -errno, nothing changed.
	 */
	int (*move_in)(struct regmap_window *window);
	int (*move_out)(struct regmap_window *window);
};

extern const struct backing_ops regmap__backing_ram;
extern const struct backing_ops regmap__backing_host;
extern const struct backing_ops regmap__backing_device;
extern const struct backing_ops regmap__backing_readable;
extern const struct backing_ops regmap__backing_alias;
extern const struct backing_ops regmap__backing_registers;

/* What a device that is read as RAM shares with these two. */
int regmap__ram_create(struct regmap_window *window, const struct regmap_config *config);
void regmap__ram_destroy(struct regmap_window *window);
int regmap__ram_attach(const struct regmap_window *window, uint64_t from, uint64_t bytes,
                       uint64_t guest, unsigned access);
size_t regmap__device_piece(uint64_t address, size_t length);
int regmap__device_write(const struct access *at, struct window_bus *bus, const void *from);

/* Before a fork: parent and child share the RAM there is, and part ways for the RAM to come. */
void regmap__ram_freeze(void);
/* The same in a child; also, what a thread that it doesn't have was moving is moved. AS-Safe. */
void regmap__ram_settle(void);
/*
 * How often host memory has been moved, or taken away; odd while that is under way. An instruction
 * that failed while this was odd or changed deserves another try.
 */
extern _Atomic unsigned regmap__ram_moves;
static inline bool ram_has_moved(unsigned since)
{
	return since % 2 || atomic_load_explicit(&regmap__ram_moves, memory_order_acquire) != since;
}

#endif
