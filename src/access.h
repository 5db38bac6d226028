/* SPDX-License-Identifier: MIT */
/*
 * Accesses and pins. An access looks a window up, follows aliases and pins what it ends at, so that
 * nobody takes it away; regmap_unmap() waits for the pins of other threads.
 *
 * A pin is a hazard pointer: one of an array of slots, claimed by a thread (named by its FS base,
 * which is never dereferenced; nothing here uses thread-local storage). A device callback may leave
 * by longjmp(), and then nobody lets its pin go. So each claim has a nonce, and the frame that
 * holds the pin keeps a copy: a slot whose frame shows another number (or is unmapped) has lost its
 * owner. A live frame never changes its copy, so a live pin is never mistaken; a dead one is
 * noticed as soon as its stack is used again. A thread that left a callback on an alternate stack
 * and then neither faults nor exits can hold an unmap by another thread back until it does.
 */
#ifndef SRC_ACCESS_H
#define SRC_ACCESS_H

#include "table.h"
#include "../arch/x86_64/cpu.h"

struct slot;

struct pin {
	struct slot *slot; /* NULL: holds nothing */
	_Atomic uint64_t nonce;
};

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
};

/* Look up, check (@access: enum regmap_access, 0: anything goes), pin. AS-Safe; nestable. */
void regmap__access_begin(struct access *at, uint64_t address, size_t length, unsigned access);
void regmap__access_end(struct access *at);

/*
 * Move at->length bytes, which the backing may cut down to one of its pieces first. 0 or -errno;
 * a fault of host memory is -EFAULT with @trap filled in, its address in the terms of at->address.
 * Never for ordinary memory.
 */
int regmap__access_read(struct access *at, struct window_bus *bus, void *to, struct cpu_trap *trap);
int regmap__access_write(struct access *at, struct window_bus *bus, const void *from,
                         struct cpu_trap *trap);

/*
 * The lock of LOCKed operations of the window at an address (of one for all, where there is none).
 * Held by a thread; taking it again does nothing. The holder may be lost like that of a pin.
 */
struct access_lock {
	struct access at;
	_Atomic uint64_t *word; /* NULL: an outer frame holds it */
};
void regmap__access_lock(struct access_lock *lock, uint64_t address);
void regmap__access_unlock(struct access_lock *lock);

/* Pin the window at an address, aliases not followed. False: there is none, nothing pinned. */
bool regmap__pin_window(struct pin *pin, uint64_t address, struct table_hit *hit);
void regmap__pin_drop(struct pin *pin);

/* Wait until no other thread has the window pinned. It must be out of the table. */
void regmap__pin_drain(const struct regmap_window *window);
/* In a new child: the slots of threads that it doesn't have are free. */
void regmap__pin_forget_others(void);

/* A name for the calling thread, never 0. AS-Safe. */
uint64_t regmap__thread_key(void);

#endif
