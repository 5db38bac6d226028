/* SPDX-License-Identifier: MIT */
#include "bus.h"

#include <signal.h>
#include <string.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/regfile.h"
#include "sigsafe.h"

enum { RIGHTS = EM_READ | EM_WRITE };
enum { GENERAL_PROTECTION = 13, PAGE_FAULT = 14, PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4 };

_Static_assert((int)EM_READ == (int)REGMAP_READ && (int)EM_WRITE == (int)REGMAP_WRITE,
               "the two name the same bits");

/*
 * Which pieces of a write: devices before memory, which can't refuse any more once it was probed.
 */
enum which { DEVICES = 1, MEMORY = 2, ALL = 3 };

static struct cpu_trap trap_of(const struct refusal *why, uint64_t address, unsigned access)
{
	bool present = why->signo == SIGSEGV && why->code == SEGV_ACCERR;

	if (why->code == SI_KERNEL)
		return (struct cpu_trap){.signo = why->signo,
		                         .code = SI_KERNEL,
		                         .number = GENERAL_PROTECTION};
	return (struct cpu_trap){
		.signo = why->signo,
		.code = why->code,
		.address = address,
		.number = PAGE_FAULT,
		.error = PF_USER | (access & EM_WRITE ? PF_WRITE : 0) | (present ? PF_PRESENT : 0),
	};
}

static enum em_status deny(struct em_fault *fault, uint64_t address, unsigned access,
                           const struct refusal *why)
{
	fault->trap = trap_of(why, address, access);
	fault->error = why->error;
	fault->reason = why->reason;
	return EM_DENIED;
}

/* The backing's own words, or else the number that a device's callback returned. */
enum em_status regmap__window_bus_error(struct em_fault *fault, const struct access *at,
                                        uint64_t address, unsigned access, int error)
{
	const struct refusal *failure = window_ops(at->window)->failure;
	const struct refusal of_device = {error, SIGBUS, BUS_ADRERR,
	                                  "the device returned an error"};

	return deny(fault, address, access, failure ? failure : &of_device);
}

static enum em_status real_fault(struct em_fault *fault, const struct cpu_trap *trap)
{
	fault->trap = *trap;
	fault->error = 0;
	fault->reason = NULL;
	return EM_FAULT;
}

/* For jumps out of a callback. */
static uint64_t origin_of(const struct window_bus *bus)
{
	return bus->bus.cpu ? bus->bus.cpu->gpr[CPU_RSP] : bus->origin;
}

static uint64_t site_of(const struct window_bus *bus)
{
	return bus->bus.cpu ? bus->bus.cpu->rip : bus->site;
}

static void note_origin(const struct window_bus *bus, struct access *at)
{
	regmap__pin_note_origin(&at->pin, origin_of(bus), site_of(bus));
}

/* Would this piece go through? */
static enum em_status check(const struct access *at, uint64_t address, unsigned access,
                            struct em_fault *fault)
{
	void *memory = (void *)address;
	struct cpu_trap trap;
	int err;

	if (at->refusal)
		return deny(fault, address, access, at->refusal);
	if (at->window)
		return EM_OK;
	if (access & EM_WRITE)
		err = regmap__guard_probe_write(memory, at->length, &trap);
	else
		err = regmap__guard_probe_read(memory, at->length, &trap);
	return err ? real_fault(fault, &trap) : EM_OK;
}

static enum em_status bus_probe(struct bus *bus, uint64_t address, size_t length, unsigned access,
                                struct em_fault *fault)
{
	enum em_status status = EM_OK;
	struct access at;

	(void)bus;
	for (; length > 0 && status == EM_OK; address += at.length, length -= at.length) {
		regmap__access_begin(&at, address, length, access & RIGHTS);
		status = check(&at, address, access, fault);
		regmap__access_end(&at);
	}
	return status;
}

/* Up to two at a time. What lies in no window is its own host memory. */
static void *bus_pin(struct bus *base, uint64_t address, size_t length, unsigned access)
{
	struct window_bus *bus = (struct window_bus *)base;
	struct access *at = &bus->pinned[bus->pins];

	if (length == 0 || bus->pins == BUS_PINS)
		return NULL;
	regmap__access_begin(at, address, length, access & RIGHTS);
	note_origin(bus, at);
	if (at->length == length && !at->refusal && (at->host || !at->window)) {
		bus->pins++;
		return at->window ? at->host : (void *)address;
	}
	regmap__access_end(at);
	return NULL;
}

static void bus_release(struct bus *base)
{
	struct window_bus *bus = (struct window_bus *)base;

	while (bus->pins)
		regmap__access_end(&bus->pinned[--bus->pins]);
}

/* Ordinary memory. */
static enum em_status copy(uint64_t address, uint8_t *buffer, size_t length, bool write,
                           struct em_fault *fault)
{
	void *memory = (void *)address;
	struct cpu_trap trap;

	if (regmap__guard_copy(write ? memory : buffer, write ? buffer : memory, length, &trap))
		return real_fault(fault, &trap);
	return EM_OK;
}

/* Move what has been looked up; at->length may shrink to what was moved. */
static enum em_status move(struct window_bus *bus, struct access *at, uint64_t address,
                           uint8_t *buffer, bool write, struct em_fault *fault)
{
	struct cpu_trap trap = {0};
	int err;

	if (at->refusal)
		return deny(fault, address, write ? EM_WRITE : EM_READ, at->refusal);
	if (!at->window)
		return copy(address, buffer, at->length, write, fault);
	if (write)
		err = regmap__access_write(at, bus, buffer, &trap);
	else
		err = regmap__access_read(at, bus, buffer, &trap);
	if (!err)
		return EM_OK;
	if (!trap.signo)
		return regmap__window_bus_error(fault, at, address, write ? EM_WRITE : EM_READ,
		                                err);
	trap.address += address - at->address;
	return real_fault(fault, &trap);
}

static bool is_due(const struct access *at, enum which which)
{
	return which & (at->window && !at->host && !at->refusal ? DEVICES : MEMORY);
}

static enum em_status move_all(struct window_bus *bus, uint64_t address, uint8_t *buffer,
                               size_t length, bool write, enum which which, struct em_fault *fault)
{
	enum em_status status = EM_OK;
	ENDING_ACCESS at = {.pin.slot = NULL};

	while (length > 0 && status == EM_OK) {
		regmap__access_begin(&at, address, length, write ? EM_WRITE : EM_READ);
		note_origin(bus, &at);
		if (is_due(&at, which))
			status = move(bus, &at, address, buffer, write, fault);
		regmap__access_end(&at);
		address += at.length;
		buffer += at.length;
		length -= at.length;
	}
	return status;
}

/* All in one window, or all in none: then the first refusal comes before anything has happened. */
static bool is_single(uint64_t address, size_t length)
{
	const struct backing_ops *ops;
	struct table_hit hit;

	regmap__table_find(address, &hit);
	if (length && hit.last - address < length - 1)
		return false;
	if (!hit.window)
		return length <= 8 && address % 8 + length <= 8;
	ops = window_ops(hit.window);
	return ops && !ops->forward;
}

static enum em_status bus_read(struct bus *bus, uint64_t address, void *to, size_t length,
                               struct em_fault *fault)
{
	enum em_status status = EM_OK;

	if (!is_single(address, length))
		status = bus_probe(bus, address, length, EM_READ, fault);
	if (status != EM_OK)
		return status;
	return move_all((struct window_bus *)bus, address, to, length, false, ALL, fault);
}

static enum em_status bus_write(struct bus *base, uint64_t address, const void *from, size_t length,
                                struct em_fault *fault)
{
	struct window_bus *bus = (struct window_bus *)base;
	uint8_t *buffer = (uint8_t *)(uintptr_t)from;
	enum em_status status;

	if (is_single(address, length))
		return move_all(bus, address, buffer, length, true, ALL, fault);
	status = bus_probe(base, address, length, EM_WRITE, fault);
	if (status == EM_OK)
		status = move_all(bus, address, buffer, length, true, DEVICES, fault);
	if (status == EM_OK)
		status = move_all(bus, address, buffer, length, true, MEMORY, fault);
	return status;
}

static void bus_lock(struct bus *base, uint64_t address)
{
	struct window_bus *bus = (struct window_bus *)base;

	regmap__access_lock(&bus->lock, address);
	note_origin(bus, &bus->lock.at);
}

static void bus_unlock(struct bus *bus, uint64_t address)
{
	(void)address;
	regmap__access_unlock(&((struct window_bus *)bus)->lock);
}

/*
 * On silicon no signal comes in the middle of a read-modify-write. Registers are copies until the
 * commit; ordinary memory is reached in one piece, where it can be.
 */
static void bus_hold(struct bus *base, uint64_t address)
{
	struct window_bus *bus = (struct window_bus *)base;
	const struct backing_ops *ops;
	struct table_hit hit;

	regmap__table_find(address, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	if (!ops || ops->claims)
		return;
	regmap__pin_take(&bus->held);
	regmap__pin_note_thread(&bus->held);
	regmap__pin_note_origin(&bus->held, origin_of(bus), site_of(bus));
	regmap__pin_hold_signals(&bus->held);
}

static void bus_let_go(struct bus *bus)
{
	regmap__pin_drop(&((struct window_bus *)bus)->held);
}

void regmap__window_bus_keep(struct window_bus *bus, uint64_t offset, const void *from,
                             size_t length)
{
	if (bus->stores == BUS_STORES || bus->pending + length > BUS_PENDING) {
		regmap__regfile_write((struct cpu *)bus->bus.cpu, offset, from, length);
		return;
	}
	bus->store[bus->stores].offset = (uint16_t)offset;
	bus->store[bus->stores++].length = (uint16_t)length;
	memcpy(bus->bytes + bus->pending, from, length);
	bus->pending += (unsigned)length;
}

static void *bus_borrow(struct bus *base)
{
	struct window_bus *bus = (struct window_bus *)base;
	void *memory = regmap__scratch_take(&bus->scratch);

	regmap__pin_note_thread(&bus->scratch.pin);
	regmap__pin_note_origin(&bus->scratch.pin, base->cpu->gpr[CPU_RSP], base->cpu->rip);
	return memory;
}

static void bus_give_back(struct bus *base)
{
	regmap__scratch_drop(&((struct window_bus *)base)->scratch);
}

static void bus_abandon(struct bus *base)
{
	struct window_bus *bus = (struct window_bus *)base;

	bus->stores = 0;
	bus->pending = 0;
}

static void bus_commit(struct bus *base, struct cpu *cpu)
{
	struct window_bus *bus = (struct window_bus *)base;
	const uint8_t *bytes = bus->bytes;

	for (unsigned i = 0; i < bus->stores; bytes += bus->store[i++].length)
		regmap__regfile_write(cpu, bus->store[i].offset, bytes, bus->store[i].length);
	bus_abandon(base);
}

static const struct bus_ops window_bus_ops = {
	.probe = bus_probe,
	.pin = bus_pin,
	.release = bus_release,
	.read = bus_read,
	.write = bus_write,
	.lock = bus_lock,
	.unlock = bus_unlock,
	.hold = bus_hold,
	.let_go = bus_let_go,
	.commit = bus_commit,
	.borrow = bus_borrow,
	.give_back = bus_give_back,
	.abandon = bus_abandon,
};

void regmap__window_bus_end(struct window_bus *bus)
{
	regmap__access_unlock(&bus->lock);
	regmap__scratch_drop(&bus->scratch);
	regmap__pin_drop(&bus->held);
	bus_release(&bus->bus);
}

void regmap__window_bus_init(struct window_bus *bus)
{
	bus->bus.ops = &window_bus_ops;
	bus->bus.cpu = NULL;
	bus->origin = 0;
	bus->site = 0;
	bus->bus.next = 0;
	bus->pins = 0;
	bus->lock.at.pin.slot = NULL;
	bus->lock.word = NULL;
	bus->scratch.pin.slot = NULL;
	bus->held.slot = NULL;
	bus->held.stores = 0;
	bus_abandon(&bus->bus);
}
