/* SPDX-License-Identifier: MIT */
/* From an effective address to a pointer that an action can run on, and back. */
#include <signal.h>
#include <string.h>

#include "internal.h"
#include "quick.h"

#include "../arch/x86_64/sigsafe.h"

enum { ALIGN = 64, OPERAND_MAX = 128 };

uint64_t regmap__em_segment_base(const struct plan *p, const struct cpu *cpu)
{
	if (p->mem.segment == EM_SEG_FS)
		return cpu->fs_base;
	return p->mem.segment == EM_SEG_GS ? cpu->gs_base : 0;
}

uint64_t regmap__em_offset_by(const struct plan *p, const struct cpu_regs *r, uint64_t rip)
{
	return em_quick_offset(p, r, rip);
}

struct cpu_regs regmap__em_regs(uint64_t gpr[16], uint64_t *flags)
{
	static const uint8_t in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

	return (struct cpu_regs){gpr, in_order, flags};
}

uint64_t regmap__em_offset(const struct plan *p, const struct cpu *cpu, const uint64_t gpr[16])
{
	const struct cpu_regs r = regmap__em_regs((uint64_t *)(uintptr_t)gpr, NULL);

	return regmap__em_offset_by(p, &r, cpu->rip);
}

uint64_t regmap__em_address(const struct plan *p, const struct cpu *cpu)
{
	return regmap__em_segment_base(p, cpu) + regmap__em_offset(p, cpu, cpu->gpr);
}

void regmap__em_range(struct em_footprint *f, uint64_t address, uint64_t length, unsigned access)
{
	if (length && f->count < EM_MAX_RANGES)
		f->range[f->count++] = (struct em_range){address, (uint32_t)length, access};
}

uint64_t regmap__em_get(const uint64_t gpr[16], struct em_reg reg)
{
	return em_extract(gpr[reg.gpr], reg);
}

void regmap__em_set(uint64_t gpr[16], struct em_reg reg, unsigned width, uint64_t value)
{
	gpr[reg.gpr] = em_merge(gpr[reg.gpr], reg, width, value);
}

enum em_status regmap__em_fault(struct em *em, int signo, int code, unsigned number,
                                uint64_t address)
{
	em->fault->trap = (struct cpu_trap){signo, code, address, number, 0};
	return EM_FAULT;
}

enum em_status regmap__em_protection_fault(struct em *em)
{
	return regmap__em_fault(em, SIGSEGV, 0x80 /* SI_KERNEL */, 13, 0);
}

enum em_status regmap__em_unimplemented(struct em *em, const char *reason)
{
	em->fault->reason = reason;
	return EM_UNIMPLEMENTED;
}

/* SDM vol. 3, 6.15, vector 17: behind the protection of addresses that aren't canonical, before a page fault. */
static enum em_status check_alignment(struct em *em, uint64_t address, size_t length)
{
	if (!(em->cpu->rflags & CPU_AC) || !(address & (length - 1)))
		return EM_OK;
	return regmap__em_fault(em, SIGBUS, BUS_ADRALN, 17, 0);
}

enum em_status regmap__em_probe(struct em *em, uint64_t address, size_t length, unsigned access)
{
	bool canonical = em_is_canonical(address);
	enum em_status st = canonical ? check_alignment(em, address, length) : EM_OK;

	if (!st)
		st = em->bus->ops->probe(em->bus, address, length, access, em->fault);
	return st || canonical ? st : check_alignment(em, address, length);
}

enum em_status regmap__em_read(struct em *em, uint64_t address, void *to, size_t length)
{
	return em->bus->ops->read(em->bus, address, to, length, em->fault);
}

enum em_status regmap__em_write(struct em *em, uint64_t address, const void *from, size_t length)
{
	return em->bus->ops->write(em->bus, address, from, length, em->fault);
}

bool regmap__em_misaligned(const struct em *em, uint64_t address)
{
	return em->plan->align && address & (em->plan->align - 1u);
}

/* A fault of the action on host memory is one at the guest address; on our own buffer it isn't. */
static void rebase(struct em *em, const void *operand, uint64_t address)
{
	struct cpu_trap *t = &em->fault->trap;

	if ((t->signo == SIGSEGV || t->signo == SIGBUS) && t->number == 14)
		t->address += address - (uintptr_t)operand;
}

/* AMD's MXCSR.MM lets SSE operands lie anywhere; the instruction itself knows which. */
static bool misalignment_allowed(const struct em *em)
{
	return em->cpu->xsave[XSAVE_MXCSR + 2] & 2;
}

static enum em_status on_buffer(struct em *em, uint64_t address, size_t size, unsigned access,
                                em_action_fn action)
{
	uint8_t raw[OPERAND_MAX + ALIGN];
	uint8_t *buffer = raw + ((address - (uintptr_t)raw) & (ALIGN - 1));
	enum em_status st = EM_OK;

	memset(buffer, 0, size);
	if (access & EM_READ)
		st = regmap__em_read(em, address, buffer, size);
	if (!st)
		st = action(em, buffer, address);
	if (!st && access & EM_WRITE)
		st = regmap__em_write(em, address, buffer, size);
	return st;
}

/*
 * An operand in host memory is used where it is, so that what is atomic stays so. What an
 * instruction says about alignment, it says about the guest address: where the host memory is
 * aligned differently, tier 2 works on a buffer that is aligned like the guest; so does CMPXCHG16B,
 * which insists on alignment.
 */
static bool usable(const struct em *em, const void *host, uint64_t address, unsigned access)
{
	if (em->plan->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		return !(((uintptr_t)host ^ address) & 15);
	return access & EM_LOCKED || em->plan->kind == EM_COMPILED || em->plan->kind == EM_BIT ||
	       !(((uintptr_t)host ^ address) & (ALIGN - 1));
}

static enum em_status modify_buffer(struct em *em, uint64_t address, size_t size, unsigned access,
                                    em_action_fn action)
{
	struct bus *bus = em->bus;
	enum em_status st;

	if (bus->ops->hold)
		bus->ops->hold(bus, address);
	if (access & EM_LOCKED)
		bus->ops->lock(bus, address);
	st = on_buffer(em, address, size, access, action);
	if (access & EM_LOCKED)
		bus->ops->unlock(bus, address);
	if (bus->ops->let_go)
		bus->ops->let_go(bus);
	return st;
}

enum em_status regmap__em_on_operand(struct em *em, uint64_t address, size_t size, unsigned access,
                                     em_action_fn action)
{
	struct bus *bus = em->bus;
	void *host = bus->ops->pin(bus, address, size, access);
	enum em_status st;

	if (host && usable(em, host, address, access)) {
		st = action(em, host, address);
		bus->ops->release(bus);
		if (st == EM_FAULT)
			rebase(em, host, address);
		return st;
	}
	if (host)
		bus->ops->release(bus);
	st = bus->ops->probe(bus, address, size, access, em->fault);
	if (regmap__em_misaligned(em, address) && (st || !misalignment_allowed(em)))
		return regmap__em_protection_fault(em);
	if (!st && em->plan->kind != EM_NATIVE)
		st = check_alignment(em, address, size);
	if (st)
		return st;
	if ((access & (EM_READ | EM_WRITE)) == (EM_READ | EM_WRITE))
		return modify_buffer(em, address, size, access, action);
	return on_buffer(em, address, size, access, action);
}

void regmap__em_commit(struct em *em)
{
	memcpy(em->cpu->gpr, em->gpr, sizeof em->gpr);
	em->cpu->rflags = em->rflags;
	em->cpu->rip = em->rip;
	if (em->bus->ops->commit)
		em->bus->ops->commit(em->bus, em->cpu);
}
