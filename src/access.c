/* SPDX-License-Identifier: MIT */
#include "access.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "gate.h"
#include "view.h"
#include "sigsafe.h"

static _Atomic uint64_t the_lock; /* of LOCKed operations outside of any window */

static const struct refusal read_only = {-EACCES, SIGSEGV, SEGV_ACCERR, "the window is read-only"};
static const struct refusal write_only = {-EACCES, SIGSEGV, SEGV_ACCERR,
                                          "the window is write-only"};
static const struct refusal no_callback = {-EACCES, SIGBUS, BUS_ADRERR,
                                           "the device has no callback for this direction"};
static const struct refusal leads_nowhere = {-EFAULT, SIGSEGV, SEGV_MAPERR,
                                             "the alias leads to no window"};
static const struct refusal leads_too_far = {-ELOOP, SIGBUS, BUS_ADRERR,
                                             "the chain of aliases is longer than 8"};
static const struct refusal no_alias = {-EOPNOTSUPP, SIGSEGV, SEGV_ACCERR,
                                        "registers can't be reached through an alias"};

static const struct refusal *refusal_of(const struct regmap_window *w, unsigned access)
{
	unsigned missing = access & (REGMAP_READ | REGMAP_WRITE) & ~w->access;

	if (missing & REGMAP_WRITE)
		return &read_only;
	if (missing)
		return &write_only;
	if (window_ops(w)->refuses && window_ops(w)->refuses(w, access))
		return &no_callback;
	return NULL;
}

static void refuse(struct access *at, const struct refusal *why)
{
	at->refusal = why;
	regmap__pin_drop(&at->pin);
}

/* Step to the next window of a chain. False: at its end, or refused. */
static bool follow(struct access *at, const struct table_hit *hit, unsigned access, unsigned depth)
{
	const struct regmap_window *w = at->window = hit->window;
	const struct backing_ops *ops = window_ops(w);

	if (hit->last - at->address < at->length - 1)
		at->length = hit->last - at->address + 1;
	if (refusal_of(w, access))
		refuse(at, refusal_of(w, access));
	else if (depth > 0 && ops->claims)
		refuse(at, &no_alias);
	else if (ops->forward && depth == MAX_ALIASES)
		refuse(at, &leads_too_far);
	if (at->refusal)
		return false;
	if (ops->forward)
		at->address = window_place(w, at->address);
	else
		at->host = window_host(w, at->address, access);
	return ops->forward;
}

static void look_up(struct access *at, uint64_t address, size_t length, unsigned access)
{
	struct table_hit hit;
	unsigned depth = 0;

	at->window = NULL;
	at->address = address;
	at->length = length;
	at->host = NULL;
	at->refusal = NULL;
	while (regmap__pin_window(&at->pin, at->address, &hit))
		if (!follow(at, &hit, access, depth++))
			return;
	if (depth > 0)
		refuse(at, &leads_nowhere);
	if (hit.last - at->address < at->length - 1)
		at->length = hit.last - at->address + 1;
}

void regmap__access_begin(struct access *at, uint64_t address, size_t length, unsigned access)
{
	enum gate gate;

	at->pin.slot = NULL;
	at->pin.stores = access & REGMAP_WRITE ? PIN_STORES : 0;
	do {
		look_up(at, address, length, access);
		if (!at->pin.slot || !at->pin.stores || gate_is_open(at->window))
			return;
		gate = regmap__gate_wait(&at->pin, at->window);
	} while (gate == GATE_WAITED);
	if (gate == GATE_GAVE_UP)
		look_up(at, address, length, access);
}

void regmap__access_end(struct access *at)
{
	regmap__pin_drop(&at->pin);
}

static void clip_to_piece(struct access *at)
{
	const struct backing_ops *ops = window_ops(at->window);

	if (!at->host && ops->piece)
		at->length = ops->piece(at->address, at->length);
}

/* The memory has been moved since it was looked up, or is being moved; see backing_ram.c. */
static bool has_moved(struct access *at)
{
	const struct regmap_window *w = at->window;
	void *before = at->host;

	at->host = (void *)window_place(w, at->address);
	if (at->host != before)
		return true;
	if (atomic_load(&regmap__ram_moves) % 2 == 0)
		return false;
	sys_call(SYS_sched_yield, 0, 0, 0, 0);
	return true;
}

/* Host memory that faults (a truncated file, say) faults at the guest address. */
static int copy(struct access *at, void *buffer, bool write, struct cpu_trap *trap)
{
	uint64_t offset;

	do {
		if (!regmap__guard_copy(write ? at->host : buffer, write ? buffer : at->host,
		                        at->length, trap))
			return 0;
	} while (has_moved(at));
	offset = trap->address - (uintptr_t)at->host;
	trap->address = at->address + (offset < at->length ? offset : 0);
	return -EFAULT;
}

int regmap__access_read(struct access *at, struct window_bus *bus, void *to, struct cpu_trap *trap)
{
	clip_to_piece(at);
	if (at->host)
		return copy(at, to, false, trap);
	regmap__pin_note_thread(&at->pin);
	return window_ops(at->window)->read(at, bus, to);
}

int regmap__access_write(struct access *at, struct window_bus *bus, const void *from,
                         struct cpu_trap *trap)
{
	clip_to_piece(at);
	if (at->host)
		return copy(at, (void *)(uintptr_t)from, true, trap);
	regmap__pin_note_thread(&at->pin);
	return window_ops(at->window)->write(at, bus, from);
}

/* --- LOCKed operations --- */

/*
 * One that goes through a buffer. Stores by patched sites look at no lock: there is no view of a window
 * while its lock is held.
 */
static void stop_views(const struct regmap_window *window)
{
	regmap__views_forget(window_start(window), window_last(window));
	regmap__views_settle();
}

void regmap__access_lock(struct access_lock *lock, uint64_t address)
{
	struct access *at = &lock->at;
	struct regmap_window *window;

	lock->word = NULL;
	regmap__access_begin(at, address, 1, 0);
	if (!at->pin.slot)
		regmap__pin_take(&at->pin);
	window = at->refusal ? NULL : at->window;
	if (window && window_ops(window)->claims)
		return; /* registers: each thread has its own */
	lock->word = window ? &window->lock : &the_lock;
	if (!regmap__lock_take(&at->pin, lock->word, window))
		lock->word = NULL;
	else if (window && window_ops(window)->host)
		stop_views(window);
}

void regmap__access_unlock(struct access_lock *lock)
{
	if (lock->word)
		regmap__lock_drop(&lock->at.pin, lock->word);
	regmap__access_end(&lock->at);
}
