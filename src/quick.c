/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "quick.h"

#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/slotcall.h"
#include "../emulator/internal.h"
#include "../emulator/quick.h"
#include "bus.h"
#include "device.h"
#include "fork.h"
#include "gate.h"
#include "lane.h"
#include "move.h"
#include "sigsafe.h"

enum { RIGHTS = EM_READ | EM_WRITE };
enum { AT_VECTOR = 0x800, VECTOR = 64, PAGE_0_END = 0x1000 }; /* see regmap.h */

/* What is big lives no longer than it must: stacks for signals are small. */
#define OWN_FRAME __attribute__((noinline))

struct quick_access {
	const struct plan *plan;
	const struct cpu_regs *regs;
	uint64_t rip, address;
	struct quick_failure *failure;
	uint64_t version; /* of the table that told what is pinned; NO_VERSION: it is not known */
};
#define NO_VERSION UINT64_MAX

static uint64_t stack_pointer(const struct quick_access *q)
{
	return q->regs->value[q->regs->at[CPU_RSP]];
}

/* --- the register page --- */

enum { FIELD_RIP = 16, FIELD_RFLAGS = 17 };

enum { FIELDS_END = (FIELD_RFLAGS + 1) * 8 };

/* Are all of these fields the register page's, and whole? Found out once per version of the table. */
static inline bool are_registers(void)
{
	static _Atomic uint64_t valid; /* version + 1 */
	uint64_t version = atomic_load_explicit(&regmap__table.version, memory_order_acquire);
	const struct backing_ops *ops;
	struct table_hit hit;

	if (atomic_load_explicit(&valid, memory_order_relaxed) == version + 1)
		return true;
	regmap__table_find(0, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	if (!ops || !ops->claims || hit.last < FIELDS_END - 1 || hit.version != version)
		return false;
	atomic_store_explicit(&valid, version + 1, memory_order_relaxed);
	return true;
}

static uint64_t get_field(const struct quick_access *q, unsigned field)
{
	if (field == FIELD_RIP)
		return q->rip + q->plan->length;
	if (field == FIELD_RFLAGS)
		return *q->regs->flags & ~(uint64_t)CPU_RF;
	return q->regs->value[q->regs->at[field]];
}

/* Of a register that the instruction itself may have changed by now. */
static void put_bytes(uint64_t *reg, unsigned skip, unsigned size, uint64_t value)
{
	uint64_t mask = (size == 8 ? ~0ull : (1ull << size * 8) - 1) << skip * 8;

	*reg = (*reg & ~mask) | (value & mask);
}

/* See regfile.c, which knows all registers. */
static enum quick on_registers(const struct quick_access *q)
{
	const struct plan *p = q->plan;
	unsigned field = (unsigned)(q->address / 8), skip = q->address % 8;
	uint64_t value;

	if (skip + p->size > 8 || field > (p->access & EM_WRITE ? FIELD_RIP - 1 : FIELD_RFLAGS) ||
	    !are_registers())
		return QUICK_NO;
	value = get_field(q, field);
	if (!em_quick(p, q->regs, (uint8_t *)&value + skip))
		return QUICK_NO;
	if (p->access & EM_WRITE)
		put_bytes(&q->regs->value[q->regs->at[field]], skip, p->size, value);
	return QUICK_DONE;
}

/* --- devices --- */

static enum quick failed(const struct quick_access *q, const struct access *at, unsigned access,
                         int err)
{
	q->failure->status = regmap__window_bus_error(&q->failure->fault, at, q->address, access,
	                                              err);
	return QUICK_FAILED;
}

static enum quick read_device(const struct quick_access *q, struct access *at)
{
	uint64_t value = 0;
	int err;

	access_note_thread(at);
	err = device_call_read(at, &value);
	if (err)
		return failed(q, at, EM_READ, err);
	regmap__access_end(at);
	return em_quick(q->plan, q->regs, &value) ? QUICK_DONE : QUICK_NO;
}

/* What only writes has no result in a register. */
static enum quick write_device(const struct quick_access *q, struct access *at)
{
	uint64_t value = 0;
	int err;

	if (!em_quick(q->plan, q->regs, &value))
		return QUICK_NO;
	access_note_thread(at);
	err = device_call_write(at, value);
	return err ? failed(q, at, EM_WRITE, err) : QUICK_DONE;
}

/*
 * A read-modify-write. Its first half is no store, which LOCKed operations would wait for: the
 * callback may itself wait for one. Between the halves the callback may have changed the windows.
 */

static void begin_half(struct access *at)
{
	at->pin.stores = 0;
	atomic_store_explicit(&at->pin.slot->window, (uintptr_t)at->window, memory_order_release);
}

static bool go_on_to_store(const struct quick_access *q, struct access *at)
{
	at->pin.stores = PIN_STORES;
	atomic_exchange(&at->pin.slot->window, (uintptr_t)at->window | PIN_STORES);
	return regmap__table_unchanged(q->version) && gate_is_open(at->window);
}

/* From the beginning, but for what holds the signals. */
OWN_FRAME static enum quick write_anew(const struct quick_access *q, struct access *at,
                                       uint64_t value)
{
	struct window_bus bus __attribute__((cleanup(regmap__window_bus_end)));

	regmap__pin_empty(&at->pin);
	regmap__window_bus_init(&bus);
	bus.origin = stack_pointer(q);
	bus.site = q->rip;
	q->failure->status = bus.bus.ops->write(&bus.bus, q->address, &value, q->plan->size,
	                                        &q->failure->fault);
	return q->failure->status ? QUICK_FAILED : QUICK_DONE;
}

/* The registers change last: the device may refuse the second half. */
static enum quick modify_device(const struct quick_access *q, struct access *at, unsigned how)
{
	const struct backing_ops *ops = window_ops(at->window);
	enum quick done = QUICK_DONE;
	struct alu results;
	uint64_t value = 0;
	int err;

	begin_half(at);
	regmap__pin_hold_signals(&at->pin);
	access_note_thread(at);
	err = ops->read(at, NULL, &value);
	if (err)
		return failed(q, at, EM_READ, err);
	regmap__em_quick_compute(q->plan, q->regs, &value, &results);
	if (!go_on_to_store(q, at))
		done = write_anew(q, at, value);
	else if ((err = device_call_write(at, value)))
		done = failed(q, at, EM_WRITE, err);
	if (done != QUICK_DONE)
		return done;
	regmap__em_quick_store(q->plan, q->regs, &results);
	if (how & QUICK_RETURNS)
		regmap__pin_leave_blocked(&at->pin);
	return QUICK_DONE;
}

static enum em_status modify(const struct quick_access *q, struct bus *bus)
{
	struct em_fault *fault = &q->failure->fault;
	const struct plan *p = q->plan;
	struct alu results;
	enum em_status status;
	uint64_t value = 0;

	status = bus->ops->read(bus, q->address, &value, p->size, fault);
	if (status)
		return status;
	regmap__em_quick_compute(p, q->regs, &value, &results);
	status = bus->ops->write(bus, q->address, &value, p->size, fault);
	if (!status)
		regmap__em_quick_store(p, q->regs, &results);
	return status;
}

OWN_FRAME static enum quick modify_locked(const struct quick_access *q, unsigned how)
{
	struct window_bus bus __attribute__((cleanup(regmap__window_bus_end)));

	regmap__window_bus_init(&bus);
	bus.origin = stack_pointer(q);
	bus.site = q->rip;
	bus.bus.ops->hold(&bus.bus, q->address);
	bus.bus.ops->lock(&bus.bus, q->address);
	q->failure->status = modify(q, &bus.bus);
	if (q->failure->status)
		return QUICK_FAILED;
	if (how & QUICK_RETURNS)
		regmap__pin_leave_blocked(&bus.held);
	return QUICK_DONE;
}

static bool is_one_piece(uint64_t address, size_t size)
{
	return !(size & (size - 1)) && !(address & (size - 1));
}

/* It may be changed: so by a window that is pinned. */
static bool is_general(const struct regmap_window *w)
{
	return __atomic_load_n(&w->flags, __ATOMIC_RELAXED) & REGMAP_GENERAL;
}

/* What the access finds, pinned, is a device, if anything. */
static enum quick on_device(const struct quick_access *q, struct access *at, unsigned how)
{
	const struct plan *p = q->plan;

	/* what the device gives may make a division fault */
	if (p->compiled.divides || !window_ops(at->window)->piece ||
	    !is_one_piece(at->address, p->size))
		return QUICK_NO;
	if (how & QUICK_GENERAL && !is_general(at->window))
		return QUICK_VECTOR;
	if (!(p->access & EM_WRITE))
		return read_device(q, at);
	if (!(p->access & EM_READ))
		return write_device(q, at);
	if (q->address < PAGE_0_END) /* somebody may map the register page meanwhile */
		return QUICK_NO;
	if (!(p->access & EM_LOCKED))
		return modify_device(q, at, how);
	regmap__access_end(at);
	return modify_locked(q, how);
}

/* --- finding the window --- */

/*
 * Where a thread's last access was, as a rule the next one is. This belongs to who has claimed the
 * home slot of the same number, or that of a lane, and holds for one version of the table. The kernel wipes
 * it in a child: so what is valid was written by this process, and fork.h need not be asked. A child may be
 * born at any instruction here, in a signal handler: so the word that says what is valid is looked at when
 * all the rest has been read, or written.
 */
struct found {
	uint64_t first, last; /* it holds for these addresses */
	struct regmap_window *window;
	/*
	 * What those are away from host memory that stays where it is; without rights, from the
	 * window's own addresses: a device behind aliases.
	 */
	uint64_t delta;
	uint64_t rights; /* what may be done there so; 0: ask the window */
};
struct hint {
	_Alignas(64) uint64_t valid; /* version + 1; BEING_WRITTEN; 0: nothing yet, or wiped */
	struct found found;
	/*
	 * Elsewhere: no window lies there. The other end of a string instruction was found in it.
	 * first > last: nothing yet. To be wrong would cost time only, as windows that don't show at
	 * their addresses fault.
	 */
	uint64_t gap_first, gap_last;
};
_Static_assert(sizeof(struct hint) == 64, "a cache line");
#define BEING_WRITTEN UINT64_MAX
static struct hint *hints; /* NULL: the kernel can't do that */
enum { HINT_BITS = 3, HINT_PAGE_SHIFT = 12, HINT_OWNERS = PIN_HOMES + PIN_LANES };

/* One of a few, by the page, so that a thread that goes to and fro keeps them. */
static inline struct hint *hint_by(uint64_t owner, uint64_t address)
{
	uint64_t page = address >> HINT_PAGE_SHIFT;
	uint64_t which = (page ^ page >> HINT_BITS) & ((1u << HINT_BITS) - 1);

	return &hints[(owner << HINT_BITS) + which];
}

static inline struct hint *hint_of(const struct slot *home, uint64_t address)
{
	return hint_by((uint64_t)(home - regmap__home_slots), address);
}

static inline struct hint *hint_of_lane(const struct slot *slot, uint64_t address)
{
	return hint_by(PIN_HOMES + (uint64_t)(slot - regmap__lane_slots), address);
}

/*
 * What all threads have found, of one version of the table. Anybody writes there at any time: the seal
 * is made of all the rest, and what is torn doesn't match it. Small windows share pages, so they are
 * found by the grain, larger ones by the page.
 */
struct memo {
	_Alignas(64) _Atomic uint64_t seal;
	_Atomic uint64_t first, last, window, delta; /* rights in the low bits of the window */
};
enum { GRAIN_SHIFT = 5, GRAIN_BITS = 17, PAGE_BITS = 14, LARGE = 4096 };
static struct {
	struct memo by_grain[1 << GRAIN_BITS], by_page[1 << PAGE_BITS];
} * memos; /* NULL if hints is */

#define get(p) atomic_load_explicit(p, memory_order_relaxed)
#define set(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

/* Never 0, which is what wiped memory holds. */
static inline uint64_t seal_of(const struct found *f, uint64_t version)
{
	uint64_t window = (uintptr_t)f->window | f->rights;

	return (((f->first * 0x9e3779b97f4a7c15 + f->last * 0xd1342543de82ef95) ^
	         (window * 0xda942042e4dd58b5 + version * 0xaef17502108ef2d9)) +
	        f->delta * 0x2545f4914f6cdd1d) |
	       1;
}

static inline struct memo *memo_by_page(uint64_t address)
{
	return &memos->by_page[(address >> HINT_PAGE_SHIFT) * 0x9e3779b97f4a7c15 >>
	                       (64 - PAGE_BITS)];
}

/* Neighbours lie side by side. */
static inline struct memo *memo_by_grain(uint64_t address)
{
	uint64_t grain = address >> GRAIN_SHIFT;

	return &memos->by_grain[(grain ^ grain >> GRAIN_BITS) & ((1u << GRAIN_BITS) - 1)];
}

static inline bool recall_from(const struct memo *m, uint64_t address, uint64_t version,
                               struct found *f)
{
	uint64_t window = get(&m->window);

	f->first = get(&m->first);
	f->last = get(&m->last);
	f->window = (struct regmap_window *)(window & ~(uint64_t)RIGHTS);
	f->rights = window & RIGHTS;
	f->delta = get(&m->delta);
	return address >= f->first && address <= f->last &&
	       atomic_load_explicit(&m->seal, memory_order_acquire) == seal_of(f, version);
}

static inline bool recall(uint64_t address, uint64_t version, struct found *f)
{
	return recall_from(memo_by_page(address), address, version, f) ||
	       recall_from(memo_by_grain(address), address, version, f);
}

static void remember(uint64_t address, uint64_t version, const struct found *f)
{
	bool large = f->last - f->first >= LARGE;
	struct memo *m = large ? memo_by_page(address) : memo_by_grain(address);

	set(&m->first, f->first);
	set(&m->last, f->last);
	set(&m->window, (uintptr_t)f->window | f->rights);
	set(&m->delta, f->delta);
	atomic_store_explicit(&m->seal, seal_of(f, version), memory_order_release);
}

#undef get
#undef set

void regmap__quick_init(void)
{
	const size_t bytes = ((size_t)HINT_OWNERS << HINT_BITS) * sizeof(struct hint) +
	                     sizeof(*memos);
	uint8_t *p;

	if (hints)
		return;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	         -1, 0);
	if (p == MAP_FAILED)
		return;
	if (madvise(p, bytes, MADV_WIPEONFORK)) {
		munmap(p, bytes);
		return;
	}
	memos = (void *)p;
	hints = (void *)(p + sizeof(*memos));
}

/* A handler may end it in the middle, by a jump. What is wiped at the last moment names no window. */
static void take_hint(struct hint *hint, uint64_t version, const struct found *f)
{
	volatile uint64_t *valid = &hint->valid;

	*valid = BEING_WRITTEN;
	atomic_signal_fence(memory_order_seq_cst);
	hint->found = *f;
	hint->gap_first = 1;
	hint->gap_last = 0;
	atomic_signal_fence(memory_order_seq_cst);
	if (*valid == BEING_WRITTEN)
		*valid = version + 1;
}

/* To one that is valid. */
static void take_gap(struct hint *hint, uint64_t version, uint64_t first, uint64_t last)
{
	volatile uint64_t *valid = &hint->valid;

	*valid = BEING_WRITTEN;
	atomic_signal_fence(memory_order_seq_cst);
	hint->gap_first = first;
	hint->gap_last = last;
	atomic_signal_fence(memory_order_seq_cst);
	if (*valid == BEING_WRITTEN)
		*valid = version + 1;
}

static inline bool is_in_gap(const struct hint *hint, uint64_t address, size_t size,
                             uint64_t version)
{
	uint64_t first = hint->gap_first, last = hint->gap_last;

	atomic_signal_fence(memory_order_seq_cst);
	return hint->valid == version + 1 && address >= first && address <= last &&
	       last - address >= size - 1;
}

/* Does it tell all about so many bytes? */
static inline bool give_hint(const struct hint *hint, uint64_t address, size_t size,
                             uint64_t version, struct found *f)
{
	*f = hint->found;
	atomic_signal_fence(memory_order_seq_cst);
	return hint->valid == version + 1 && address >= f->first && address <= f->last &&
	       f->last - address >= size - 1 && f->window;
}

static void note_host(struct found *f, const struct regmap_window *w, const struct backing_ops *ops)
{
	f->rights = f->delta = 0;
	if (ops != &regmap__backing_host)
		return;
	f->rights = w->access & RIGHTS;
	f->delta = window_place(w, 0);
}

static bool is_plain_alias(const struct regmap_window *w)
{
	return window_ops(w)->forward && (w->access & RIGHTS) == RIGHTS;
}

/* One alias on: the answer holds for what is the same there. False: nothing is there, or it has changed. */
static bool follow(uint64_t address, struct table_hit *hit, struct found *f)
{
	uint64_t from = address + f->delta, to = window_place(hit->window, from), reach;
	uint64_t version = hit->version;

	regmap__table_find(to, hit);
	if (!hit->window || hit->version != version)
		return false;
	reach = hit->last - to;
	if (f->last - address > reach)
		f->last = address + reach;
	reach = to - regmap__table_piece_first(to, hit->window);
	if (address - f->first > reach)
		f->first = address - reach;
	f->delta = to - address;
	return true;
}

/* Through aliases that allow everything, to a device. */
static bool follow_all(uint64_t address, struct table_hit *hit, struct found *f)
{
	unsigned depth = 0;

	f->delta = 0;
	while (is_plain_alias(hit->window))
		if (depth++ == MAX_ALIASES || !follow(address, hit, f))
			return false;
	return window_ops(hit->window) == &regmap__backing_device;
}

/* What is read of the window before it is pinned, holds if the version does afterwards. */
static bool look_up(uint64_t address, uint64_t *version, struct found *f)
{
	const struct backing_ops *ops;
	struct table_hit hit;

	regmap__fork_notice();
	regmap__table_find(address, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	if (!ops || ops->claims)
		return false;
	f->last = hit.last;
	f->first = regmap__table_piece_first(address, hit.window);
	if (!ops->forward)
		note_host(f, hit.window, ops);
	else if (!follow_all(address, &hit, f))
		return false;
	else
		f->rights = 0;
	*version = hit.version;
	f->window = hit.window;
	if (regmap__table_unchanged(hit.version))
		remember(address, hit.version, f);
	else
		f->first = address;
	return true;
}

__attribute__((noinline)) static bool find_anew(struct hint *hint, uint64_t address, size_t size,
                                                uint64_t *version, struct found *f)
{
	*version = atomic_load_explicit(&regmap__table.version, memory_order_acquire);
	if (!recall(address, *version, f) && !look_up(address, version, f))
		return false;
	take_hint(hint, *version, f);
	return f->last - address >= size - 1;
}

/*
 * A window that all of the bytes lie in. False: another case. What is found anew goes through memory, so that
 * a hint needn't: compilers keep it in registers.
 */
static inline bool find(struct hint *hint, uint64_t address, size_t size, uint64_t *version,
                        struct found *f)
{
	struct found anew;
	uint64_t now;

	*version = atomic_load_explicit(&regmap__table.version, memory_order_relaxed);
	if (give_hint(hint, address, size, *version, f))
		return true;
	if (!find_anew(hint, address, size, &now, &anew))
		return false;
	*version = now;
	*f = anew;
	return true;
}

/* What was found is pinned: is it still there, and does it allow the access at once? */
static inline bool is_open(const struct found *f, uint64_t version, unsigned access)
{
	return regmap__table_unchanged(version) &&
	       !(access & RIGHTS & ~(f->rights ? f->rights : f->window->access)) &&
	       (!(access & EM_WRITE) || gate_is_open(f->window));
}

/*
 * Out of a patched site, a thread that has a lane claims that one's slot (pin.h), without a fence; in the
 * callback of an access that has it, and everywhere else, its home slot.
 */
enum claimed { BY_LANE, BY_HOME };

__attribute__((always_inline)) static inline void release(struct access *at, enum claimed claimed)
{
	if (claimed == BY_LANE)
		pin_release_lane(&at->pin);
	else
		pin_release_home(&at->pin);
}

/* It comes before the look whether all is as it was. Of a lane's slot, the fence is made by who looks for pins. */
__attribute__((always_inline)) static inline void publish(struct access *at, enum claimed claimed)
{
	_Atomic uint64_t *window = &at->pin.slot->window;
	uint64_t word = (uintptr_t)at->window | at->pin.stores;

	if (claimed == BY_HOME) {
		atomic_exchange(window, word);
	} else {
		atomic_store_explicit(window, word, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	}
}

/* With a slot claimed. False: it isn't any more. */
__attribute__((always_inline)) static inline bool pin_found(struct access *at, struct hint *hint,
                                                            uint64_t address, size_t size,
                                                            unsigned access, uint64_t *version,
                                                            struct found *f, enum claimed claimed)
{
	if (find(hint, address, size, version, f)) {
		at->window = f->window;
		at->pin.stores = access & EM_WRITE ? PIN_STORES : 0;
		publish(at, claimed);
		if (is_open(f, *version, access))
			return true;
	}
	release(at, claimed);
	return false;
}

/* regmap__access_begin() for the commonest case. False: nothing is pinned. */
__attribute__((always_inline)) static inline bool begin_by(uint64_t key, uint64_t address,
                                                           size_t size, unsigned access,
                                                           struct access *at, uint64_t *version,
                                                           struct found *f)
{
	return hints && pin_take_home(&at->pin, key) &&
	       pin_found(at, hint_of(at->pin.slot, address), address, size, access, version, f,
	                 BY_HOME);
}

/* Not through an alias. */
static inline bool begin(uint64_t address, size_t size, unsigned access, struct access *at,
                         uint64_t *version)
{
	struct found f;

	if (!begin_by(regmap__thread_key(), address, size, access, at, version, &f))
		return false;
	if (f.rights || !f.delta)
		return true;
	pin_release_home(&at->pin);
	return false;
}

static inline void *host_of(const struct access *at, const struct plan *p, uint64_t address)
{
	return window_host(at->window, address, p->access & RIGHTS);
}

bool regmap__quick_begin(struct access *at, uint64_t address, size_t length, unsigned access)
{
	uint64_t version;

	if (!begin(address, length, access, at, &version))
		return false;
	at->host = window_host(at->window, address, access);
	if (!at->host) {
		pin_release_home(&at->pin);
		return false;
	}
	at->address = address;
	at->length = length;
	at->refusal = NULL;
	return true;
}

static inline void end(struct access *at)
{
	if (at->pin.slot)
		regmap__access_end(at);
}

/* Of those with callbacks; the long way knows exactly. */
static bool refuses(const struct regmap_window *w, unsigned access)
{
	const struct regmap_device_ops *ops = w->device.ops;

	return !ops || (access & EM_READ && !ops->read) || (access & EM_WRITE && !ops->write);
}

/* What begin() has begun, on a window without host memory. */
static enum quick on_window(const struct quick_access *q, struct access *at, unsigned how)
{
	if (refuses(at->window, q->plan->access))
		return QUICK_NO;
	at->address = q->address;
	at->length = q->plan->size;
	at->host = NULL;
	regmap__pin_note_origin(&at->pin, stack_pointer(q), q->rip);
	return on_device(q, at, how);
}

/* What takes more: a second access on the way, an alias, a store that has to wait. */
OWN_FRAME static enum quick anywhere(const struct quick_access *q, struct access *at, unsigned how)
{
	const struct plan *p = q->plan;

	regmap__fork_notice();
	regmap__access_begin(at, q->address, p->size, p->access & RIGHTS);
	regmap__pin_note_origin(&at->pin, stack_pointer(q), q->rip);
	if (!at->window || at->refusal || at->length != p->size)
		return QUICK_NO;
	if (!at->host)
		return on_device(q, at, how);
	return em_quick(p, q->regs, at->host) ? QUICK_DONE : QUICK_NO;
}

/* --- out of a slot --- */

static inline uint64_t address_in(const struct plan *p, const uint64_t gpr[16], uint64_t rip)
{
	uint64_t address = (uint64_t)p->mem.disp;

	if (p->mem.base < EM_RIP)
		address += gpr[p->mem.base];
	else if (p->mem.base == EM_RIP)
		address += rip + p->length;
	if (p->mem.index != EM_NO_REG)
		address += gpr[p->mem.index] << p->mem.shift;
	return p->mem.address32 ? (uint32_t)address : address;
}

/* An address of the ordinary kind. */
static inline bool is_simple(const struct plan *p, uint64_t flags)
{
	return p->kind == EM_COMPILED && p->size <= 8 && !p->mem.segment && !p->mem.index8 &&
	       !(flags & CPU_AC);
}

/* One piece. */
static inline bool is_device_move(const struct plan *p, const struct access *at)
{
	return p->compiled.straight && !(at->address & (p->size - 1u));
}

/* Unless a jump out of the callback, of another frame's, has dropped it. */
__attribute__((always_inline)) static inline void end_device(struct access *at,
                                                             enum claimed claimed)
{
	struct slot *slot = at->pin.slot;
	uint64_t nonce = atomic_load_explicit(&at->pin.nonce, memory_order_relaxed);

	if (nonce && atomic_load_explicit(&slot->nonce, memory_order_relaxed) == nonce)
		release(at, claimed);
	else
		regmap__access_end(at);
}

static inline void put_back(int *error, int saved)
{
	if (*error != saved)
		*error = saved;
}

/* With an extension, or the bytes turned round. */
__attribute__((noinline)) static void move_otherwise(const struct plan *p, uint64_t gpr[16],
                                                     uint64_t *flags, uint64_t *value)
{
	const struct cpu_regs regs = regmap__em_regs(gpr, flags);

	em_quick_move(p, &regs, value);
}

static inline void put_loaded(const struct plan *p, uint64_t gpr[16], uint64_t *flags,
                              uint64_t value)
{
	unsigned k = (unsigned)__builtin_ctz(p->size);
	uint64_t *reg = &gpr[p->compiled.b.gpr];

	if (p->compiled.op != regmap__alu_mov_r[k]) {
		move_otherwise(p, gpr, flags, &value);
	} else if (k >= 2) {
		*reg = k == 2 ? (uint32_t)value : value;
	} else {
		put_bytes(reg, 0, 1u << k, value);
	}
}

static inline uint64_t to_be_stored(const struct plan *p, uint64_t gpr[16], uint64_t *flags)
{
	unsigned k = (unsigned)__builtin_ctz(p->size);
	uint64_t value = 0;

	if (p->compiled.op != regmap__alu_mov_m[k]) {
		move_otherwise(p, gpr, flags, &value);
		return value;
	}
	value = p->compiled.b_imm ? (uint64_t)p->imm : gpr[p->compiled.b.gpr];
	return value & (~0ull >> (64 - 8 * p->size));
}

__attribute__((noinline, cold)) static enum quick move_failed(const struct plan *p,
                                                              struct access *at, uint64_t guest,
                                                              int err,
                                                              struct quick_failure *failure)
{
	at->length = p->size;
	failure->status = regmap__window_bus_error(&failure->fault, at, guest, p->access,
	                                           device_error(err));
	return QUICK_FAILED;
}

/* @guest: where the program accesses it. */
__attribute__((always_inline)) static inline enum quick call_device(
	struct slot_frame *frame, const struct lane *lane, struct access *at, uint64_t guest,
	enum claimed claimed, struct quick_failure *failure)
{
	const struct plan *p = frame->cell->plan;
	uint64_t *gpr = frame->gpr, *flags = &frame->flags;
	const struct regmap_device_ops *ops = at->window->device.ops;
	uint64_t offset = at->address - window_start(at->window), value = 0;
	void *ctx = at->window->device.ctx;
	int *error = lane->error, saved = *error, err;

	if (p->access & EM_WRITE) {
		if (!ops->write)
			return QUICK_NO;
		err = ops->write(ctx, offset, p->size, to_be_stored(p, gpr, flags));
	} else {
		if (!ops->read)
			return QUICK_NO;
		err = ops->read(ctx, offset, p->size, &value);
	}
	put_back(error, saved);
	if (__builtin_expect(err != 0, 0))
		return move_failed(p, at, guest, err, failure);
	end_device(at, claimed);
	if (!(p->access & EM_WRITE))
		put_loaded(p, gpr, flags, value);
	return QUICK_DONE;
}

__attribute__((noinline)) static bool on_memory(struct slot_frame *frame, const struct access *at,
                                                const struct found *f)
{
	const struct cpu_regs regs = regmap__em_regs(frame->gpr, &frame->flags);
	const struct plan *p = frame->cell->plan;
	void *host = f->rights ? (void *)(uintptr_t)(at->address + f->delta) :
	                         host_of(at, p, at->address + f->delta);

	return host && em_quick(p, &regs, host);
}

static inline bool begin_by_lane(const struct slot_frame *frame, struct slot *slot,
                                 struct access *at, uint64_t *version, struct found *f)
{
	const struct plan *p = frame->cell->plan;

	return pin_take_lane(&at->pin, slot, frame->gpr[CPU_RSP], frame->rip) &&
	       pin_found(at, hint_of_lane(slot, at->address), at->address, p->size, p->access,
	                 version, f, BY_LANE);
}

static inline bool begin_by_home(const struct slot_frame *frame, const struct lane *lane,
                                 struct access *at, struct found *f)
{
	const struct plan *p = frame->cell->plan;
	uint64_t version;

	if (!begin_by(atomic_load(&lane->key), at->address, p->size, p->access, at, &version, f))
		return false;
	regmap__pin_note_origin_of(&at->pin, frame->gpr[CPU_RSP], frame->rip, (uint32_t)lane->tid);
	return true;
}

/* What has begun. */
__attribute__((always_inline)) static inline enum quick access_from_slot(
	struct slot_frame *frame, const struct lane *lane, struct access *at, const struct found *f,
	bool general_only, enum claimed claimed, struct quick_failure *failure)
{
	uint64_t guest = at->address;
	bool done;

	if (f->rights || window_ops(at->window) != &regmap__backing_device) {
		done = on_memory(frame, at, f);
		release(at, claimed);
		return done ? QUICK_DONE : QUICK_NO;
	}
	at->address += f->delta;
	if (!is_device_move(frame->cell->plan, at))
		return QUICK_NO;
	if (general_only != is_general(at->window))
		return general_only ? QUICK_VECTOR : QUICK_NO;
	return call_device(frame, lane, at, guest, claimed, failure);
}

/* In a callback, as a rule. */
OWN_FRAME static enum quick nested(struct slot_frame *frame, const struct lane *lane,
                                   uint64_t guest, bool general_only, struct quick_failure *failure)
{
	struct access at __attribute__((cleanup(end)));
	struct found f;

	at.pin.slot = NULL;
	at.address = guest;
	if (lane->pin)
		regmap__pin_recover_lane(lane->pin, frame->gpr[CPU_RSP]);
	if (!begin_by_home(frame, lane, &at, &f))
		return QUICK_NO;
	return access_from_slot(frame, lane, &at, &f, general_only, BY_HOME, failure);
}

enum quick regmap__quick_slot(struct slot_frame *frame, struct lane *lane, bool general_only,
                              struct quick_failure *failure)
{
	struct access at __attribute__((cleanup(end)));
	const struct plan *p = frame->cell->plan;
	struct slot *slot = lane->pin;
	uint64_t version, guest;
	struct found f;

	at.pin.slot = NULL;
	if (!is_simple(p, frame->flags))
		return QUICK_NO;
	guest = at.address = address_in(p, frame->gpr, frame->rip);
	if (guest < PAGE_0_END)
		return QUICK_NO;
	if (!slot || !hints || atomic_load_explicit(&slot->nonce, memory_order_relaxed))
		return nested(frame, lane, guest, general_only, failure);
	if (!begin_by_lane(frame, slot, &at, &version, &f))
		return QUICK_NO;
	if (window_ops(at.window) != &regmap__backing_device) {
		if (frame->cell->way && frame->cell->way != frame->cell->start_inline)
			return QUICK_NO; /* it may have a view, and the slot begin with a look at that */
	} else if (p->compiled.straight && !f.delta) {
		regmap__move_note(frame->cell, lane, f.window, f.first, f.last, version);
	}
	return access_from_slot(frame, lane, &at, &f, general_only, BY_LANE, failure);
}

/* --- all together --- */

/* A handler may come in the middle, and jump away. */
static inline void note_origin(struct access *at, uint64_t sp, uint64_t rip)
{
	atomic_store_explicit(&at->pin.site, rip, memory_order_relaxed);
	atomic_store_explicit(&at->pin.slot->origin, sp, memory_order_release);
}

/* What begin_by() has begun, on a device: the commonest cases of on_window(). */
static inline enum quick move_on_device(const struct quick_access *q, struct access *at)
{
	const struct regmap_device_ops *ops = at->window->device.ops;
	uint64_t offset = q->address - window_start(at->window), value = 0;
	const struct plan *p = q->plan;
	bool write = p->access & EM_WRITE;
	void *ctx = at->window->device.ctx;
	int err, saved = 0;

	if (write && (!ops->write || !em_quick_move(p, q->regs, &value)))
		return QUICK_NO;
	if (!write && !ops->read)
		return QUICK_NO;
	note_origin(at, stack_pointer(q), q->rip);
	access_note_thread(at);
	if (at->error_number)
		saved = *at->error_number;
	if (write)
		err = ops->write(ctx, offset, p->size, value);
	else
		err = ops->read(ctx, offset, p->size, &value);
	if (at->error_number)
		put_back(at->error_number, saved);
	if (__builtin_expect(err != 0, 0))
		return move_failed(p, at, q->address, err, q->failure);
	end_device(at, BY_HOME);
	return write || em_quick_move(p, q->regs, &value) ? QUICK_DONE : QUICK_NO;
}

/* What begin_by() has begun, and is neither host memory nor a move of a device's. */
OWN_FRAME static enum quick otherwise(const struct quick_access *q, struct access *at, unsigned how)
{
	void *host = host_of(at, q->plan, q->address);
	bool done;

	if (!host)
		return on_window(q, at, how);
	done = em_quick(q->plan, q->regs, host);
	pin_release_home(&at->pin);
	return done ? QUICK_DONE : QUICK_NO;
}

enum quick regmap__quick_at(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                            uint64_t address, unsigned how, struct quick_failure *failure)
{
	struct quick_access q = {plan, regs, rip, address, failure, NO_VERSION};
	struct access at __attribute__((cleanup(end)));
	uint64_t version;
	struct found f;
	bool done;

	at.pin.slot = NULL;
	if (address < FIELDS_END)
		return on_registers(&q);
	if (!begin_by(regmap__thread_key(), address, plan->size, plan->access, &at, &version, &f))
		return anywhere(&q, &at, how);
	if (f.rights) {
		done = em_quick(plan, regs, (void *)(uintptr_t)(address + f.delta));
		pin_release_home(&at.pin);
		return done ? QUICK_DONE : QUICK_NO;
	}
	if (f.delta) {
		pin_release_home(&at.pin);
		return anywhere(&q, &at, how);
	}
	at.address = address;
	if (window_ops(at.window) == &regmap__backing_device && is_device_move(plan, &at) &&
	    !(how & QUICK_GENERAL))
		return move_on_device(&q, &at);
	q.version = version;
	return otherwise(&q, &at, how);
}

/* --- vector instructions --- */

struct vector_image {
	uint8_t *xsave;
	uint64_t xfeatures;
};

/* It lies in a line as the operand does at its address. Pieces are moved as eight bytes. */
struct vector_buffer {
	_Alignas(VECTOR) uint8_t bytes[2 * VECTOR + 16];
};

static uint8_t *operand_in(struct vector_buffer *buffer, const struct quick_access *q)
{
	return buffer->bytes + (q->address & (q->plan->size - 1u));
}

static bool run(const struct quick_access *q, const struct vector_image *v, void *operand)
{
	return regmap__em_quick_native(q->plan, q->regs, q->rip, q->address, operand, v->xsave,
	                               v->xfeatures);
}

static bool run_on_buffer(const struct quick_access *q, const struct vector_image *v, void *operand)
{
	return regmap__em_quick_native_move(q->plan, operand, v->xsave) || run(q, v, operand);
}

/* The callback has changed the windows. */
OWN_FRAME static enum em_status move_rest(const struct quick_access *q, struct access *at,
                                          uint8_t *operand, size_t done)
{
	struct window_bus bus __attribute__((cleanup(regmap__window_bus_end)));
	uint64_t address = q->address + done;
	size_t rest = q->plan->size - done;

	regmap__pin_empty(&at->pin);
	regmap__window_bus_init(&bus);
	bus.origin = stack_pointer(q);
	bus.site = q->rip;
	if (q->plan->access & EM_WRITE)
		return bus.bus.ops->write(&bus.bus, address, operand + done, rest,
		                          &q->failure->fault);
	return bus.bus.ops->read(&bus.bus, address, operand + done, rest, &q->failure->fault);
}

static int move_piece(const struct access *at, uint8_t *bytes, bool write)
{
	uint64_t value = 0;
	int err;

	if (write) {
		memcpy(&value, bytes, sizeof(value));
		return device_call_write(at, value & ~0ull >> (64 - 8 * at->length));
	}
	err = device_call_read(at, &value);
	memcpy(bytes, &value, sizeof(value));
	return err;
}

static enum em_status move_pieces(const struct quick_access *q, struct access *at, uint8_t *operand)
{
	bool write = q->plan->access & EM_WRITE;
	size_t done, size = q->plan->size;
	int err;

	for (done = 0; done < size; done += at->length) {
		if (done && !regmap__table_unchanged(q->version))
			return move_rest(q, at, operand, done);
		at->address = q->address + done;
		at->length = regmap__device_piece(at->address, size - done);
		err = move_piece(at, operand + done, write);
		if (err)
			return regmap__window_bus_error(&q->failure->fault, at, at->address,
			                                q->plan->access, err);
	}
	return EM_OK;
}

OWN_FRAME static enum quick vector_on_device(const struct quick_access *q, struct access *at,
                                             const struct vector_image *v)
{
	bool write = q->plan->access & EM_WRITE;
	struct vector_buffer buffer;
	uint8_t *operand = operand_in(&buffer, q);

	if (refuses(at->window, q->plan->access) || !window_ops(at->window)->piece ||
	    !regmap__em_quick_native_buffers(q->plan, v->xsave))
		return QUICK_NO;
	regmap__pin_note_origin(&at->pin, stack_pointer(q), q->rip);
	access_note_thread(at);
	if (write && !run_on_buffer(q, v, operand))
		return QUICK_NO;
	q->failure->status = move_pieces(q, at, operand);
	if (q->failure->status)
		return QUICK_FAILED;
	return write || run_on_buffer(q, v, operand) ? QUICK_DONE : QUICK_NO;
}

/* Of one vector register. */
static bool is_of_vector(uint64_t address, size_t size)
{
	const struct backing_ops *ops;
	struct table_hit hit;

	if (address < AT_VECTOR || address % VECTOR + size > regmap__vector_bytes())
		return false;
	regmap__table_find(address, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	return ops && ops->claims && hit.last - address >= size - 1;
}

/* See regfile.c. */
OWN_FRAME static enum quick vector_on_registers(const struct quick_access *q,
                                                const struct vector_image *v)
{
	unsigned which = (unsigned)(q->address - AT_VECTOR) / VECTOR, byte = q->address % VECTOR;
	unsigned size = q->plan->size;
	struct vector_buffer buffer;
	uint8_t *operand = operand_in(&buffer, q);
	struct cpu cpu;

	if (!is_of_vector(q->address, size) || !regmap__em_quick_native_buffers(q->plan, v->xsave))
		return QUICK_NO;
	cpu.xsave = v->xsave;
	if (!(q->plan->access & EM_WRITE))
		regmap__vector_get(&cpu, which, byte, operand, size);
	if (!run_on_buffer(q, v, operand))
		return QUICK_NO;
	if (q->plan->access & EM_WRITE)
		regmap__vector_set(&cpu, which, byte, operand, size);
	return QUICK_DONE;
}

enum quick regmap__quick_vector(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                                uint64_t address, uint8_t *xsave, uint64_t xfeatures,
                                struct quick_failure *failure)
{
	struct quick_access q = {plan, regs, rip, address, failure, NO_VERSION};
	const struct vector_image v = {xsave, xfeatures};
	struct access at __attribute__((cleanup(end)));
	void *host;
	bool done;

	at.pin.slot = NULL;
	if (address < PAGE_0_END)
		return vector_on_registers(&q, &v);
	if (!begin(address, plan->size, plan->access, &at, &q.version))
		return QUICK_NO;
	host = host_of(&at, plan, address);
	if (!host)
		return vector_on_device(&q, &at, &v);
	done = run(&q, &v, host);
	pin_release_home(&at.pin);
	return done ? QUICK_DONE : QUICK_NO;
}

/* --- strings with REP --- */

/* One end, and where the host has it. */
struct string_end {
	uint64_t address, host;
	unsigned access; /* 0: there is no such end */
};

/* Where an address that was found is in host memory; 0: nowhere. */
static inline uint64_t place_of(const struct access *at, const struct found *f, uint64_t address,
                                unsigned access)
{
	if (f->rights)
		return address + f->delta;
	return f->delta ? 0 : (uintptr_t)window_host(at->window, address, access);
}

/* What is pinned is stored to, too: as if it had been pinned so. */
static inline void also_store(struct access *at, const struct found *f)
{
	if (at->pin.stores)
		return;
	at->pin.stores = PIN_STORES;
	atomic_exchange(&at->pin.slot->window, (uintptr_t)f->window | PIN_STORES);
}

/* Ordinary memory. Registers, which are a page with holes, are no hint's business. */
static void note_gap(struct hint *hint, uint64_t address, uint64_t version)
{
	struct table_hit hit;
	uint64_t first;

	regmap__table_find(address, &hit);
	if (hit.window || address < PAGE_0_END)
		return;
	first = regmap__table_gap_first(address);
	if (hit.version == version && regmap__table_unchanged(version))
		take_gap(hint, version, first < PAGE_0_END ? PAGE_0_END : first, hit.last);
}

/* In another window, or in none, where the host has it at the same address. */
__attribute__((noinline)) static bool begin_other(struct access *at, struct string_end *end,
                                                  size_t bytes)
{
	regmap__fork_notice();
	regmap__access_begin(at, end->address, bytes, end->access);
	end->host = at->window ? (uintptr_t)at->host : end->address;
	return at->length == bytes && !at->refusal && end->host;
}

static inline bool begin_ends(struct string_end *hit, struct string_end *other, size_t bytes,
                              struct access *at, struct access *second)
{
	struct hint *hint;
	uint64_t version;
	struct found f;

	if (!begin_by(regmap__thread_key(), hit->address, bytes, hit->access, at, &version, &f))
		return false;
	hit->host = place_of(at, &f, hit->address, hit->access);
	if (!hit->host || !other->access)
		return hit->host;
	hint = hint_of(at->pin.slot, hit->address);
	if (is_in_gap(hint, other->address, bytes, version)) {
		other->host = other->address;
		return true;
	}
	if (other->address < f.first || other->address > f.last ||
	    f.last - other->address < bytes - 1) {
		note_gap(hint, other->address, version);
		return begin_other(second, other, bytes);
	}
	if (other->access & EM_WRITE)
		also_store(at, &f);
	other->host = place_of(at, &f, other->address, other->access);
	return other->host && is_open(&f, version, other->access);
}

enum quick regmap__quick_string(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                                uint64_t at)
{
	struct access first __attribute__((cleanup(end))), second __attribute__((cleanup(end)));
	struct string_end from, to;
	struct em_string s;
	uint64_t sp = regs->value[regs->at[CPU_RSP]];
	bool hits_source, done;

	first.pin.slot = second.pin.slot = NULL;
	if (!em_quick_string(plan, regs, &s))
		return QUICK_NO;
	from = (struct string_end){s.from, 1, s.from_access};
	to = (struct string_end){s.to, 1, s.to_access};
	hits_source = from.access && at - from.address < plan->width;
	if (!hits_source && !(to.access && at - to.address < plan->width))
		return QUICK_NO;
	if (!begin_ends(hits_source ? &from : &to, hits_source ? &to : &from, s.bytes, &first,
	                &second))
		return QUICK_NO;
	note_origin(&first, sp, rip);
	if (second.pin.slot)
		note_origin(&second, sp, rip);
	done = em_quick_string_run(plan, regs, &s, from.host, to.host);
	end_device(&first, BY_HOME);
	if (done)
		return QUICK_DONE;
	return regs->value[regs->at[CPU_RCX]] == s.count ? QUICK_NO : QUICK_PART;
}

enum quick regmap__quick(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                         bool general_only, struct quick_failure *failure)
{
	uint64_t address;

	if (!em_quick_address(plan, regs, rip, &address))
		return QUICK_NO;
	return regmap__quick_at(plan, regs, rip, address, general_only ? QUICK_GENERAL : 0,
	                        failure);
}
