/* SPDX-License-Identifier: MIT */
#include "quick.h"

#include "bus.h"
#include "sigsafe.h"

enum { RIGHTS = EM_READ | EM_WRITE, GENERAL = 4 /* REGMAP_GENERAL */, PAGE_0_END = 0x1000 };

struct quick_access {
	const struct plan *plan;
	const struct cpu_regs *regs;
	uint64_t rip, address;
	struct quick_failure *failure;
};

static uint64_t stack_pointer(const struct quick_access *q)
{
	return q->regs->value[q->regs->at[CPU_RSP]];
}

/* --- the register page --- */

enum { FIELD_RIP = 16, FIELD_RFLAGS = 17 };

static bool is_registers(uint64_t address, size_t size)
{
	const struct backing_ops *ops;
	struct table_hit hit;

	regmap__table_find(address, &hit);
	ops = hit.window ? window_ops(hit.window) : NULL;
	return ops && ops->claims && hit.last - address >= size - 1;
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
	    !is_registers(q->address, p->size))
		return QUICK_NO;
	value = get_field(q, field);
	if (!regmap__em_quick(p, q->regs, (uint8_t *)&value + skip))
		return QUICK_NO;
	if (p->access & EM_WRITE)
		put_bytes(&q->regs->value[q->regs->at[field]], skip, p->size, value);
	return QUICK_DONE;
}

/* --- devices --- */

static enum quick failed(const struct quick_access *q, const struct access *at, int err)
{
	q->failure->status = regmap__window_bus_error(&q->failure->fault, at, q->address,
	                                              q->plan->access, err);
	return QUICK_FAILED;
}

static enum quick read_device(const struct quick_access *q, struct access *at)
{
	uint64_t value = 0;
	int err;

	regmap__pin_note_thread(&at->pin);
	err = window_ops(at->window)->read(at, NULL, &value);
	if (err)
		return failed(q, at, err);
	regmap__access_end(at);
	return regmap__em_quick(q->plan, q->regs, &value) ? QUICK_DONE : QUICK_NO;
}

/* What only writes has no result in a register. */
static enum quick write_device(const struct quick_access *q, struct access *at)
{
	uint64_t value = 0;
	int err;

	if (!regmap__em_quick(q->plan, q->regs, &value))
		return QUICK_NO;
	regmap__pin_note_thread(&at->pin);
	err = window_ops(at->window)->write(at, NULL, &value);
	return err ? failed(q, at, err) : QUICK_DONE;
}

/* The registers change last: the device may refuse the second half. */
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

static enum quick modify_device(const struct quick_access *q)
{
	struct window_bus bus __attribute__((cleanup(regmap__window_bus_end)));
	bool locked = q->plan->access & EM_LOCKED;

	regmap__window_bus_init(&bus);
	bus.origin = stack_pointer(q);
	bus.bus.ops->hold(&bus.bus, q->address);
	if (locked)
		bus.bus.ops->lock(&bus.bus, q->address);
	q->failure->status = modify(q, &bus.bus);
	return q->failure->status ? QUICK_FAILED : QUICK_DONE;
}

static bool is_one_piece(const struct access *at, size_t size)
{
	const struct backing_ops *ops = window_ops(at->window);

	return ops->piece && ops->piece(at->address, size) == size;
}

static enum quick on_device(const struct quick_access *q, struct access *at, bool general_only)
{
	const struct plan *p = q->plan;

	/* what the device gives may make a division fault */
	if (p->compiled.divides || !is_one_piece(at, p->size))
		return QUICK_NO;
	if (general_only && !(at->window->flags & GENERAL))
		return QUICK_VECTOR;
	if (!(p->access & EM_WRITE))
		return read_device(q, at);
	if (!(p->access & EM_READ))
		return write_device(q, at);
	if (q->address < PAGE_0_END) /* somebody may map the register page meanwhile */
		return QUICK_NO;
	regmap__access_end(at);
	return modify_device(q);
}

/* --- all together --- */

enum quick regmap__quick_at(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                            uint64_t address, bool general_only, struct quick_failure *failure)
{
	const struct quick_access q = {plan, regs, rip, address, failure};
	ENDING_ACCESS at;

	at.pin.slot = NULL;
	if (address / 8 <= FIELD_RFLAGS)
		return on_registers(&q);
	regmap__access_begin(&at, address, plan->size, plan->access & RIGHTS);
	regmap__pin_note_origin(&at.pin, stack_pointer(&q));
	if (!at.window || at.refusal || at.length != plan->size)
		return QUICK_NO;
	if (!at.host)
		return on_device(&q, &at, general_only);
	return regmap__em_quick(plan, regs, at.host) ? QUICK_DONE : QUICK_NO;
}

enum quick regmap__quick(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                         bool general_only, struct quick_failure *failure)
{
	uint64_t address;

	if (!regmap__em_quick_address(plan, regs, rip, &address))
		return QUICK_NO;
	return regmap__quick_at(plan, regs, rip, address, general_only, failure);
}
