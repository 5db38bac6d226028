/* SPDX-License-Identifier: MIT */
#include "access.h"

#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "sigsafe.h"

/*
 * Threads start looking at one of the first HOMES slots, so that a drain has few to look at; a
 * further block is added, for good, when all slots are taken.
 */
enum { SLOTS = 1024, HOME_BITS = 7, BLOCKS = 64, MAX_ALIASES = 8 };

struct slot {
	_Alignas(64) _Atomic uint64_t key; /* thread; 0: free */
	struct regmap_window *_Atomic window;
	_Atomic uint64_t nonce;               /* of the claim; 0: free, or not complete yet */
	const _Atomic uint64_t *_Atomic copy; /* where the holder's frame keeps the nonce */
	_Atomic uint64_t claims;
	_Atomic uint64_t tid; /* of a holder of a lock: threads may share an FS base */
};

static struct slot first_block[SLOTS];
static struct slot *_Atomic block[BLOCKS] = {first_block};
static _Atomic unsigned top;      /* no slot from here on was ever claimed */
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

#define get(p) atomic_load_explicit(p, memory_order_acquire)
#define set(p, v) atomic_store_explicit(p, v, memory_order_release)

uint64_t regmap__thread_key(void)
{
	uint64_t base = 0;

	if (regmap__xstate.fsgsbase)
		__asm__ volatile("rdfsbase %0" : "=r"(base));
	else
		sys_call(SYS_arch_prctl, ARCH_GET_FS, (long)&base, 0, 0);
	return base | 1;
}

static uint64_t thread_id(void)
{
	return (uint64_t)sys_call(SYS_gettid, 0, 0, 0, 0);
}

/* libc's own calls may be cancellation points, and set errno. */
static void back_off(unsigned round)
{
	struct timespec t = {0, 50000};

	if (round < 64)
		__builtin_ia32_pause();
	else if (round < 128)
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
	else
		sys_call(SYS_nanosleep, (long)&t, 0, 0, 0);
}

/* --- slots --- */

static struct slot *add_block(unsigned b)
{
	size_t bytes = SLOTS * sizeof(struct slot);
	struct slot *none = NULL, *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return get(&block[b]);
	if (atomic_compare_exchange_strong(&block[b], &none, p))
		return p;
	munmap(p, bytes);
	return none;
}

static struct slot *slot_at(unsigned i)
{
	return &get(&block[i / SLOTS])[i % SLOTS];
}

/* Is the claim of that nonce one whose frame is gone? */
static bool is_lost(const struct slot *slot, uint64_t nonce)
{
	const void *copy = (const void *)get(&slot->copy);
	struct cpu_trap trap;
	uint64_t seen;

	return regmap__guard_copy(&seen, copy, sizeof(seen), &trap) || seen != nonce;
}

/* A handler that interrupts a claim sees nonce 0 and leaves the slot alone. */
static bool claim(struct slot *slot, uint64_t key)
{
	uint64_t owner = get(&slot->key), nonce;

	if (owner == 0)
		return atomic_compare_exchange_strong(&slot->key, &owner, key);
	nonce = get(&slot->nonce);
	return owner == key && nonce && is_lost(slot, nonce) &&
	       atomic_compare_exchange_strong(&slot->nonce, &nonce, 0);
}

static void raise_top(unsigned to)
{
	unsigned now = get(&top);

	while (now < to && !atomic_compare_exchange_weak(&top, &now, to))
		;
}

static unsigned claim_any(uint64_t key)
{
	unsigned home = (unsigned)((key * 0x9e3779b97f4a7c15) >> (64 - HOME_BITS));

	for (unsigned round = 0;; back_off(round++)) {
		for (unsigned b = 0; b < BLOCKS; b++) {
			struct slot *slots = get(&block[b]);

			if (!slots && !(slots = add_block(b)))
				break;
			for (unsigned i = 0; i < SLOTS; i++)
				if (claim(&slots[(home + i) % SLOTS], key))
					return b * SLOTS + (home + i) % SLOTS;
		}
	}
}

static void pin_take(struct pin *pin)
{
	unsigned i = claim_any(regmap__thread_key());
	struct slot *slot = slot_at(i);
	uint64_t claims = get(&slot->claims) + 1, nonce = claims << 16 | i;

	raise_top(i + 1);
	set(&slot->window, NULL);
	set(&slot->claims, claims);
	set(&slot->copy, &pin->nonce);
	set(&pin->nonce, nonce);
	set(&slot->nonce, nonce);
	pin->slot = slot;
}

void regmap__pin_drop(struct pin *pin)
{
	struct slot *slot = pin->slot;

	if (!slot)
		return;
	pin->slot = NULL;
	set(&slot->window, NULL);
	set(&slot->nonce, 0);
	set(&pin->nonce, 0);
	set(&slot->key, 0);
}

/*
 * The exchange orders the pin before the look at the version; drain has them the other way round.
 */
bool regmap__pin_window(struct pin *pin, uint64_t address, struct table_hit *hit)
{
	for (;;) {
		regmap__table_find(address, hit);
		if (!hit->window)
			break;
		if (!pin->slot)
			pin_take(pin);
		atomic_exchange(&pin->slot->window, hit->window);
		if (regmap__table_unchanged(hit->version))
			return true;
	}
	regmap__pin_drop(pin);
	return false;
}

static bool holds(const struct slot *slot, const struct regmap_window *window, uint64_t me)
{
	uint64_t key, nonce;

	if (atomic_load(&slot->window) != window)
		return false;
	key = get(&slot->key);
	nonce = get(&slot->nonce);
	if (key == 0 || key == me)
		return false;
	if (nonce == 0 || !is_lost(slot, nonce))
		return true;
	/*
	 * It may have been let go just now: for ThreadSanitizer, which didn't see the copy's end.
	 */
	atomic_load(&slot->window);
	return false;
}

void regmap__pin_drain(const struct regmap_window *window)
{
	unsigned n = atomic_load(&top);
	uint64_t me = regmap__thread_key();

	for (unsigned i = 0; i < n; i++) {
		const struct slot *slot = slot_at(i);

		for (unsigned round = 0; holds(slot, window, me); round++)
			back_off(round);
	}
}

void regmap__pin_forget_others(void)
{
	uint64_t me = regmap__thread_key();

	for (unsigned i = 0; i < get(&top); i++) {
		struct slot *slot = slot_at(i);

		if (get(&slot->key) == me) {
			set(&slot->tid, thread_id());
			continue;
		}
		set(&slot->window, NULL);
		set(&slot->nonce, 0);
		set(&slot->key, 0);
	}
}

/* --- accesses --- */

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
	uint64_t offset = at->address - window_start(w);

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
		at->address = ops->forward(w, offset);
	else if (ops->host)
		at->host = ops->host(w, offset);
	return ops->forward;
}

void regmap__access_begin(struct access *at, uint64_t address, size_t length, unsigned access)
{
	struct table_hit hit;
	unsigned depth = 0;

	at->pin.slot = NULL;
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

/* Host memory that faults (a truncated file, say) faults at the guest address. */
static int copy(struct access *at, void *to, const void *from, struct cpu_trap *trap)
{
	uint64_t offset;

	if (!regmap__guard_copy(to, from, at->length, trap))
		return 0;
	offset = trap->address - (uintptr_t)at->host;
	trap->address = at->address + (offset < at->length ? offset : 0);
	return -EFAULT;
}

int regmap__access_read(struct access *at, struct window_bus *bus, void *to, struct cpu_trap *trap)
{
	clip_to_piece(at);
	if (at->host)
		return copy(at, to, at->host, trap);
	return window_ops(at->window)->read(at, bus, to);
}

int regmap__access_write(struct access *at, struct window_bus *bus, const void *from,
                         struct cpu_trap *trap)
{
	clip_to_piece(at);
	if (at->host)
		return copy(at, at->host, from, trap);
	return window_ops(at->window)->write(at, bus, from);
}

/* --- LOCKed operations --- */

/* Did the holder of a lock word go away without letting go? */
static bool is_abandoned(uint64_t word)
{
	const struct slot *slot = slot_at(word & 0xffff);

	return get(&slot->nonce) != word || is_lost(slot, word);
}

void regmap__access_lock(struct access_lock *lock, uint64_t address)
{
	struct access *at = &lock->at;
	uint64_t now, mine, tid = thread_id();

	regmap__access_begin(at, address, 1, 0);
	if (!at->pin.slot)
		pin_take(&at->pin);
	set(&at->pin.slot->tid, tid);
	lock->word = at->window && !at->refusal ? &at->window->lock : &the_lock;
	mine = get(&at->pin.nonce);
	for (unsigned round = 0;; back_off(round++)) {
		now = get(lock->word);
		if (now && !is_abandoned(now)) {
			if (get(&slot_at(now & 0xffff)->tid) != tid)
				continue;
			lock->word = NULL;
			return;
		}
		if (atomic_compare_exchange_strong(lock->word, &now, mine))
			return;
	}
}

void regmap__access_unlock(struct access_lock *lock)
{
	uint64_t mine = get(&lock->at.pin.nonce);

	if (lock->word)
		atomic_compare_exchange_strong(lock->word, &mine, 0);
	regmap__access_end(&lock->at);
}
