/* SPDX-License-Identifier: MIT */
/*
 * The window table. Windows are nested or disjoint, so an array sorted by (start ascending, length
 * descending) and a parent pointer find the owner of an address exactly: take the last window that
 * starts at or before it, and climb until one reaches it.
 *
 * The array is cut into chunks below one root. A writer (map lock held) copies the chunk and the
 * root that it changes, publishes the root with one store and then bumps the version. Roots, chunks
 * and windows are type-stable: they are recycled, never unmapped, so a reader may follow a pointer
 * of any age and needs only compare the version afterwards. A reader that interrupted the writer on
 * its own thread sees the old root and an unchanged version: it never waits.
 */
#ifndef SRC_TABLE_H
#define SRC_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backing.h"

struct arena;

/*
 * Two cache lines, and nobody else's: what readers follow, and LOCKed operations write to, is in the
 * first one.
 */
struct regmap_window {
	/*
	 * Readers follow these without a pin. The base is the host address of the first byte, an
	 * alias's target, or 0.
	 */
	_Alignas(64) _Atomic uint64_t start;
	_Atomic uint64_t last; /* inclusive: a window may end at 2^64 - 1 */
	struct regmap_window *_Atomic parent;
	const struct backing_ops *_Atomic ops;
	_Atomic uint64_t base;
	_Atomic uint64_t lock; /* of LOCKed operations: see regmap__access_lock() */

	/* Constant from publication until nobody holds a pin any more, but for the map lock's. */
	uint8_t access, flags;
	bool live, known; /* map lock; known to aliases.c */
	unsigned runs;    /* map lock: stretches that are mapped directly, see direct.h */
	union {
		struct {
			struct {
				const struct regmap_device_ops *ops; /* or NULL if there is RAM */
				void *ctx;
			} device;
			struct {
				uint8_t *view; /* host address of the page of the first byte */
				struct arena *arena; /* NULL: private */
			} ram;
		};
		struct {
			uint64_t reach;
			struct regmap_window *left, *right;
		} alias;                         /* map lock: aliases.c */
		struct regmap_window *next_free; /* of those that are not in use; map lock */
	};
	char name[40];
};

_Static_assert(sizeof(struct regmap_window) == 128, "two cache lines");

static inline uint64_t window_start(const struct regmap_window *w)
{
	return atomic_load_explicit(&w->start, memory_order_relaxed);
}

static inline uint64_t window_last(const struct regmap_window *w)
{
	return atomic_load_explicit(&w->last, memory_order_relaxed);
}

static inline uint64_t window_base(const struct regmap_window *w)
{
	return atomic_load_explicit(&w->base, memory_order_acquire);
}

/* Where an address leads to: another one, through an alias, or a host address. */
static inline uint64_t window_place(const struct regmap_window *w, uint64_t address)
{
	return window_base(w) + (address - window_start(w));
}

static inline const struct backing_ops *window_ops(const struct regmap_window *w)
{
	return atomic_load_explicit(&w->ops, memory_order_relaxed);
}

/* The host memory that an access of these rights (0: none in particular) may use; NULL: transfers. */
static inline void *window_host(const struct regmap_window *w, uint64_t address, unsigned access)
{
	const struct backing_ops *ops = window_ops(w);

	if (!ops->host || (ops->write && access & REGMAP_WRITE))
		return NULL;
	return (void *)window_place(w, address);
}

/* One cache line, which only changes write to. */
extern struct table_head {
	_Alignas(64) struct root *_Atomic root;
	_Atomic uint64_t version;
} regmap__table;

struct table_hit {
	struct regmap_window *window; /* NULL: the address lies in none */
	uint64_t last;                /* the answer holds from the address to here */
	uint64_t version;
};

/* Who owns the address. AS-Safe. The window may go away at any time unless pinned (access.h). */
void regmap__table_find(uint64_t address, struct table_hit *hit);
/*
 * What regmap_translate() returns: along aliases to host memory, as it all was at one moment. Takes no
 * pin and writes to nothing that others see. AS-Safe.
 */
int regmap__table_translate(uint64_t address, void **host);
/* The first byte of the gap around an address that lies in no window. AS-Safe. */
uint64_t regmap__table_gap_first(uint64_t address);
/* The first byte around an address that has the same answer, @window. AS-Safe. */
uint64_t regmap__table_piece_first(uint64_t address, const struct regmap_window *window);
/* Still that version? Ordered (seq_cst) after a pin. */
static inline bool regmap__table_unchanged(uint64_t version)
{
	return atomic_load(&regmap__table.version) == version;
}

/* The rest under the map lock. */

/* A window struct, its members zero, not in the table; NULL without memory. */
struct regmap_window *regmap__window_alloc(void);
void regmap__window_free(struct regmap_window *window);
/* Is it one that alloc gave out and that is still live? Any pointer may be asked for. */
bool regmap__window_is_live(const struct regmap_window *window);

/* 0; -EEXIST equals or crosses a window. *parent: the smallest that holds the range, or NULL. */
int regmap__table_fits(uint64_t start, uint64_t last, struct regmap_window **parent);
/* The range must fit. 0 or -ENOMEM, nothing changed. */
int regmap__table_insert(struct regmap_window *window);
/* Needs no memory: insert leaves what it takes. */
void regmap__table_remove(struct regmap_window *window);
/* Every window in the table, in its order. */
void regmap__table_each(void (*act)(struct regmap_window *window));
/*
 * A writer stopped anywhere in the middle, for good. What readers see is whole all the same; what
 * writers keep is made anew from that. 0, or -ENOMEM: then again, before any change.
 */
int regmap__table_repair(void);

#endif
