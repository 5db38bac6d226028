/* SPDX-License-Identifier: MIT */
/*
 * Accesses. An access looks a window up, follows aliases and pins what it ends at (pin.h), so that
 * nobody takes it away; a store waits for a LOCKed operation of another thread on the same window
 * (gate.h).
 */
#ifndef SRC_ACCESS_H
#define SRC_ACCESS_H

#include "pin.h"
#include "../arch/x86_64/cpu.h"

struct window_bus;

/* Why an access is refused, and the signal that says so. */
struct refusal {
	int error; /* -errno */
	int signo, code;
	const char *reason;
};

/*
 * One stretch of guest memory in one window, or in none. Lives on the stack, and must not move
 * between begin and end.
 */
struct access {
	struct pin pin;
	struct regmap_window *window;  /* where it ends up; NULL: ordinary memory */
	uint64_t address;              /* in that window: another one, behind an alias */
	size_t length;                 /* <= what was asked for */
	void *host;                    /* NULL: a device, registers or ordinary memory */
	const struct refusal *refusal; /* NULL: allowed. Otherwise nothing is pinned */
	int *error_number;             /* the thread's errno; NULL: it has none */
};

/* Look up, check (@access: enum regmap_access, 0: anything goes), pin. AS-Safe; nestable. */
void regmap__access_begin(struct access *at, uint64_t address, size_t length, unsigned access);
void regmap__access_end(struct access *at) __attribute__((nothrow));
/* For the cleanup attribute: a callback may leave by an exception. Ending twice does no harm. */
#define ENDING_ACCESS struct access __attribute__((cleanup(regmap__access_end)))

/* Before a callback: who makes the access, and where it has its errno. */
static inline void access_note_thread(struct access *at)
{
	at->error_number = regmap__pin_note_thread(&at->pin);
}

/*
 * Move at->length bytes, which the backing may cut down to one of its pieces first. 0 or -errno;
 * a fault of host memory is -EFAULT with @trap filled in, its address in the terms of at->address.
 * Never for ordinary memory.
 */
int regmap__access_read(struct access *at, struct window_bus *bus, void *to, struct cpu_trap *trap);
int regmap__access_write(struct access *at, struct window_bus *bus, const void *from,
                         struct cpu_trap *trap);

/* Every byte in a window that allows it, without a CPU at hand? What regmap_read() returns. */
int regmap__check_range(uint64_t guest, size_t length, unsigned access);

/*
 * The lock of LOCKed operations of the window at an address (of one for all, where there is none).
 * Held by a thread; taking it again does nothing. The holder may be lost like that of a pin. See
 * gate.h for when it isn't taken. Unlocking twice does no harm.
 */
struct access_lock {
	struct access at;
	_Atomic uint64_t *word; /* NULL: not taken */
};
void regmap__access_lock(struct access_lock *lock, uint64_t address);
void regmap__access_unlock(struct access_lock *lock);

#endif
