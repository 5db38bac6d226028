/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "quick.h"

#include <string.h>
#include <sys/mman.h>

#include "../emulator/quick.h"
#include "bus.h"
#include "device.h"
#include "fork.h"
#include "gate.h"
#include "sigsafe.h"

enum { RIGHTS = EM_READ | EM_WRITE, GENERAL = 4 /* REGMAP_GENERAL */ };
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
	uint64_t version = atomic_load_explicit(&regmap__table_version, memory_order_acquire);
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

/* What the access finds, pinned, is a device, if anything. */
static enum quick on_device(const struct quick_access *q, struct access *at, unsigned how)
{
	const struct plan *p = q->plan;

	/* what the device gives may make a division fault */
	if (p->compiled.divides || !window_ops(at->window)->piece ||
	    !is_one_piece(at->address, p->size))
		return QUICK_NO;
	if (how & QUICK_GENERAL && !(at->window->flags & GENERAL))
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
 * home slot of the same number, and holds for one version of the table. The kernel wipes it in a
 * child: so what is valid was written by this process, and fork.h need not be asked.
 */
struct hint {
	_Alignas(64) uint64_t valid; /* version + 1; 0 while it is being written */
	uint64_t first, last;
	struct regmap_window *window;
};
static struct hint *hints; /* NULL: the kernel can't do that */

void regmap__quick_init(void)
{
	const size_t bytes = PIN_HOMES * sizeof(struct hint);
	void *p;

	if (hints)
		return;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return;
	if (madvise(p, bytes, MADV_WIPEONFORK))
		munmap(p, bytes);
	else
		hints = p;
}

/* A handler may end it in the middle, by a jump. */
static void take_hint(struct hint *hint, uint64_t first, const struct table_hit *hit)
{
	hint->valid = 0;
	atomic_signal_fence(memory_order_seq_cst);
	hint->first = first;
	hint->last = hit->last;
	hint->window = hit->window;
	atomic_signal_fence(memory_order_seq_cst);
	hint->valid = hit->version + 1;
}

/* Does it tell all about so many bytes? */
static inline bool is_good(const struct hint *hint, uint64_t address, size_t size)
{
	uint64_t version = atomic_load_explicit(&regmap__table_version, memory_order_relaxed);

	return hint->valid == version + 1 && address >= hint->first && address <= hint->last &&
	       hint->last - address >= size - 1;
}

/* A window that all of the bytes lie in. NULL: another case. */
static inline struct regmap_window *find_window(struct hint *hint, uint64_t address, size_t size)
{
	const struct backing_ops *ops;
	struct table_hit hit;

	if (is_good(hint, address, size))
		return hint->window;
	regmap__fork_notice();
	regmap__table_find(address, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	if (!ops || ops->claims || ops->forward)
		return NULL;
	take_hint(hint, address, &hit);
	return hit.last - address >= size - 1 ? hit.window : NULL;
}

/* The hint's window is pinned: is it still there, and does it allow the access at once? */
static inline bool is_open(const struct hint *hint, unsigned access)
{
	struct regmap_window *w = hint->window;

	return regmap__table_unchanged(hint->valid - 1) && !(access & RIGHTS & ~w->access) &&
	       (!(access & EM_WRITE) || gate_is_open(w));
}

/* regmap__access_begin() for the commonest case. False: nothing is pinned. */
static inline bool begin(const struct plan *p, uint64_t address, struct access *at,
                         uint64_t *version)
{
	struct regmap_window *w;
	struct hint *hint;

	if (!hints || !pin_take_home(&at->pin, pin_thread_key()))
		return false;
	hint = &hints[at->pin.slot - regmap__home_slots];
	w = at->window = find_window(hint, address, p->size);
	if (w) {
		at->pin.stores = p->access & EM_WRITE ? PIN_STORES : 0;
		atomic_exchange(&at->pin.slot->window, (uintptr_t)w | at->pin.stores);
		*version = hint->valid - 1;
		if (is_open(hint, p->access))
			return true;
	}
	pin_release_home(&at->pin);
	return false;
}

static inline void *host_of(const struct access *at, const struct plan *p, uint64_t address)
{
	return window_host(at->window, address - window_start(at->window), p->access & RIGHTS);
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
	regmap__pin_note_origin(&at->pin, stack_pointer(q));
	return on_device(q, at, how);
}

/* What takes more: a second access on the way, an alias, a store that has to wait. */
static enum quick anywhere(const struct quick_access *q, struct access *at, unsigned how)
{
	const struct plan *p = q->plan;

	regmap__fork_notice();
	regmap__access_begin(at, q->address, p->size, p->access & RIGHTS);
	regmap__pin_note_origin(&at->pin, stack_pointer(q));
	if (!at->window || at->refusal || at->length != p->size)
		return QUICK_NO;
	if (!at->host)
		return on_device(q, at, how);
	return em_quick(p, q->regs, at->host) ? QUICK_DONE : QUICK_NO;
}

/* --- all together --- */

enum quick regmap__quick_at(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                            uint64_t address, unsigned how, struct quick_failure *failure)
{
	struct quick_access q = {plan, regs, rip, address, failure, NO_VERSION};
	struct access at __attribute__((cleanup(end)));
	void *host;
	bool done;

	at.pin.slot = NULL;
	if (address < FIELDS_END)
		return on_registers(&q);
	if (!begin(plan, address, &at, &q.version)) {
		q.version = NO_VERSION;
		return anywhere(&q, &at, how);
	}
	host = host_of(&at, plan, address);
	if (!host)
		return on_window(&q, &at, how);
	done = em_quick(plan, regs, host);
	pin_release_home(&at.pin);
	return done ? QUICK_DONE : QUICK_NO;
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
	regmap__pin_note_origin(&at->pin, stack_pointer(q));
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
	if (!begin(plan, address, &at, &q.version))
		return QUICK_NO;
	host = host_of(&at, plan, address);
	if (!host)
		return vector_on_device(&q, &at, &v);
	done = run(&q, &v, host);
	pin_release_home(&at.pin);
	return done ? QUICK_DONE : QUICK_NO;
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
