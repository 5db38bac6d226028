/* SPDX-License-Identifier: MIT */
/*
 * FXSAVE, FXRSTOR and the XSAVE family. How much they touch depends on EDX:EAX, XCR0 and the area's
 * header (SDM vol. 1, 13.4-13.10), so the instruction is run on an image of the area and just what
 * it reads is loaded and what it wrote stored.
 */
#include <string.h>

#include "../arch/x86_64/native.h"
#include "../arch/x86_64/scratch.h"
#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum variant { FXSAVE, FXRSTOR, XSAVE, XSAVEC, XSAVEOPT, XRSTOR };

enum {
	FX_SIZE = 512,
	FX_USED = 416, /* behind it: reserved, and bytes for software */
	HEADER_SIZE = 64,
	XCOMP_BV = XSAVE_HEADER + 8,
	AREA_MAX = 12288,
	PKRU = 9,
	PKRU_SIZE = 4,
	KNOWN = XSTATE_X87 | XSTATE_VECTOR | 1 << PKRU,
	FILLS = 2,
	ALIGN = 64,
	SCRATCH = FILLS * AREA_MAX + ALIGN,
};

_Static_assert((int)SCRATCH <= (int)BUS_SCRATCH, "what a bus lends is enough");

static const uint64_t compacted = 1ull << 63;

static int variant_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64: return FXSAVE;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: return FXRSTOR;
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64: return XSAVE;
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64: return XSAVEC;
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64: return XSAVEOPT;
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64: return XRSTOR;
	default: return -1;
	}
}

static bool restores(const struct plan *p)
{
	return p->variant == FXRSTOR || p->variant == XRSTOR;
}

static bool is_fx(const struct plan *p)
{
	return p->variant == FXSAVE || p->variant == FXRSTOR;
}

bool regmap__em_plan_xsave(struct plan *p, const struct em_decoded *d)
{
	int variant = variant_of(d->insn.mnemonic);

	if (variant < 0 || d->mem < 0 || !regmap__em_splice(&p->native, d, 0))
		return false;
	p->variant = (uint8_t)variant;
	p->native.load = XSTATE_X87 | XSTATE_VECTOR;
	p->native.save = restores(p) ? p->native.load : 0;
	p->native.stub = regmap__code_stub(p->native.code, p->native.code_length);
	p->access = restores(p) ? EM_READ : EM_WRITE;
	if (p->variant == XSAVE || p->variant == XSAVEOPT)
		p->access = EM_READ | EM_WRITE; /* XSTATE_BV */
	p->align = is_fx(p) ? 16 : 64;
	p->kind = EM_XSAVE;
	return true;
}

/* The requested-feature bitmap. */
static uint64_t requested(const struct cpu *cpu)
{
	uint64_t edx_eax = (cpu->gpr[CPU_RDX] & 0xffffffff) << 32 |
	                   (cpu->gpr[CPU_RAX] & 0xffffffff);

	return edx_eax & regmap__xstate.xcr0;
}

/* Where component i lies: at its standard offset, or in a compacted area behind the ones before it. */
static unsigned offset_of(uint64_t xcomp_bv, unsigned i)
{
	unsigned at = XSAVE_LEGACY;

	if (!(xcomp_bv & compacted))
		return regmap__xstate.offset[i];
	for (unsigned k = 2; k <= i; k++) {
		if (!(xcomp_bv >> k & 1))
			continue;
		if (regmap__xstate.aligned >> k & 1)
			at = (at + 63) & ~63u;
		if (k == i)
			break;
		at += regmap__xstate.length[k];
	}
	return at;
}

/* Behind the last component of those asked for that the area has room for. */
static unsigned end_of(uint64_t rfbm, uint64_t xcomp_bv)
{
	uint64_t there = xcomp_bv & compacted ? rfbm & xcomp_bv : rfbm;
	unsigned end = XSAVE_LEGACY;

	for (unsigned i = 2; i < 63; i++) {
		unsigned last;

		if (!(there >> i & 1))
			continue;
		last = offset_of(xcomp_bv, i) + regmap__xstate.length[i];
		if (last > end)
			end = last;
	}
	return end;
}

static unsigned area_size(const struct plan *p, const struct cpu *cpu)
{
	uint64_t rfbm = requested(cpu);

	if (is_fx(p))
		return FX_SIZE;
	if (p->variant == XRSTOR)
		return regmap__xstate.size; /* at most: its header tells */
	return end_of(rfbm, p->variant == XSAVEC ? rfbm | compacted : 0);
}

/* For the claim: from the first to the last byte that it may touch. */
enum em_status regmap__em_footprint_xsave(const struct plan *p, const struct cpu *cpu,
                                          struct em_footprint *f)
{
	regmap__em_range(f, regmap__em_address(p, cpu), area_size(p, cpu), p->access);
	return EM_OK;
}

static enum em_status load(struct em *em, uint64_t address, uint8_t *area, unsigned at, unsigned n)
{
	enum em_status st = em->bus->ops->probe(em->bus, address + at, n, EM_READ, em->fault);

	return st ? st : regmap__em_read(em, address + at, area + at, n);
}

static enum em_status load_legacy(struct em *em, uint64_t address, uint8_t *area, uint64_t rfbm,
                                  uint64_t present)
{
	enum em_status st = EM_OK;

	if (rfbm & present & XSTATE_X87)
		st = load(em, address, area, 0, XSAVE_MXCSR);
	if (!st && rfbm & (XSTATE_SSE | XSTATE_AVX))
		st = load(em, address, area, XSAVE_MXCSR, 8);
	if (!st && rfbm & present & XSTATE_X87)
		st = load(em, address, area, XSAVE_ST, XSAVE_XMM - XSAVE_ST);
	if (!st && rfbm & present & XSTATE_SSE)
		st = load(em, address, area, XSAVE_XMM, FX_USED - XSAVE_XMM);
	return st;
}

static enum em_status load_area(struct em *em, uint64_t address, uint8_t *area)
{
	uint64_t bv, comp, rfbm = requested(em->cpu);
	enum em_status st;

	if (em->plan->variant == FXRSTOR) { /* reserved bytes are checked, too (measured) */
		st = em->bus->ops->probe(em->bus, address, FX_SIZE, EM_READ, em->fault);
		return st ? st : load(em, address, area, 0, FX_USED);
	}
	st = load(em, address, area, XSAVE_HEADER, HEADER_SIZE);
	if (st)
		return st;
	memcpy(&bv, area + XSAVE_HEADER, sizeof bv);
	memcpy(&comp, area + XCOMP_BV, sizeof comp);
	if (comp & compacted && bv & ~comp)
		return EM_OK; /* no such area: the CPU says #GP and reads no more of it */
	/* Intel's look at all that is asked for (measured) */
	if (!regmap__em_is_amd())
		st = em->bus->ops->probe(em->bus, address, end_of(rfbm, comp), EM_READ, em->fault);
	if (!st)
		st = load_legacy(em, address, area, rfbm, bv);
	for (unsigned i = 2; !st && i < 63; i++) {
		unsigned at, n = regmap__xstate.length[i];

		if (!((rfbm & bv) >> i & 1))
			continue;
		at = offset_of(comp, i);
		if (at + n <= AREA_MAX)
			st = load(em, address, area, at, n);
	}
	return st;
}

/*
 * The handler has a PKRU of its own, which must stay: the program's is in the interrupted image,
 * and moves between there and the area.
 */
static bool wants_pkru(const struct em *em)
{
	return !is_fx(em->plan) && requested(em->cpu) >> PKRU & 1;
}

static uint8_t *pkru_in(const struct em *em, uint8_t *area)
{
	uint64_t comp = 0;

	if (em->plan->variant == XSAVEC || em->plan->variant == XRSTOR)
		memcpy(&comp, area + XCOMP_BV, sizeof comp);
	return area + offset_of(comp, PKRU);
}

static void save_pkru(struct em *em, uint8_t *area)
{
	uint64_t bv, bit = 1ull << PKRU, in_use = *xsave_bv(em->cpu->xsave) & bit;
	static const uint8_t initial[PKRU_SIZE];

	memcpy(&bv, area + XSAVE_HEADER, sizeof bv);
	bv = (bv & ~bit) | in_use;
	memcpy(area + XSAVE_HEADER, &bv, sizeof bv);
	if (in_use)
		memcpy(pkru_in(em, area), em->cpu->xsave + regmap__xstate.offset[PKRU], PKRU_SIZE);
	else if (em->plan->variant == XSAVE)
		memcpy(pkru_in(em, area), initial, PKRU_SIZE);
}

static void restore_pkru(struct em *em, uint8_t *area)
{
	uint64_t bv, bit = 1ull << PKRU;

	memcpy(&bv, area + XSAVE_HEADER, sizeof bv);
	regmap__xsave_materialize(em->cpu->xsave, bit);
	if (bv & bit)
		memcpy(em->cpu->xsave + regmap__xstate.offset[PKRU], pkru_in(em, area), PKRU_SIZE);
	else
		memset(em->cpu->xsave + regmap__xstate.offset[PKRU], 0, PKRU_SIZE);
}

static enum em_status run(struct em *em, uint8_t *area, uint64_t address)
{
	bool pkru = wants_pkru(em), in = restores(em->plan);
	uint64_t rax = em->gpr[CPU_RAX];
	enum em_status st;

	if (pkru && in)
		em->gpr[CPU_RAX] &= ~(1ull << PKRU);
	st = regmap__em_run_native(em, area, address);
	em->gpr[CPU_RAX] = rax;
	if (!st && pkru)
		(in ? restore_pkru : save_pkru)(em, area);
	return st;
}

static enum em_status restore(struct em *em, uint64_t address, uint8_t *area)
{
	enum em_status st;

	memset(area, 0, AREA_MAX);
	st = load_area(em, address, area);
	return st ? st : run(em, area, address);
}

/* Run on two different fillings: what comes out equal was written. */
static enum em_status run_twice(struct em *em, uint64_t address, uint8_t *area[FILLS],
                                unsigned size)
{
	bool header = em->plan->access & EM_READ;
	enum em_status st = EM_OK;

	for (unsigned k = 0; !st && k < FILLS; k++) {
		memset(area[k], k ? 0xff : 0, size);
		if (header && k == 0)
			st = load(em, address, area[k], XSAVE_HEADER, 8);
		else if (header)
			memcpy(area[k] + XSAVE_HEADER, area[FILLS], 8);
		if (header && k == 0 && !st)
			memcpy(area[FILLS], area[k] + XSAVE_HEADER, 8);
		if (!st)
			st = run(em, area[k], address);
	}
	return st;
}

static enum em_status save(struct em *em, uint64_t address, uint8_t *area[FILLS + 1], unsigned size)
{
	enum em_status st = em->bus->ops->probe(em->bus, address, size, EM_WRITE, em->fault);
	unsigned n;

	if (!st)
		st = run_twice(em, address, area, size);
	for (unsigned at = 0; !st && at < size; at += n) {
		for (n = 0; at + n < size && area[0][at + n] == area[1][at + n]; n++)
			;
		if (n)
			st = regmap__em_write(em, address + at, area[0] + at, n);
		else
			n = 1;
	}
	return st;
}

static enum em_status on_area(struct em *em, uint64_t address, unsigned size, uint8_t *raw)
{
	uint8_t header[8];
	uint8_t *area[FILLS + 1];

	/* Both fillings are aligned as the guest address is: the instruction checks. */
	area[0] = raw + (address & (ALIGN - 1));
	area[1] = area[0] + AREA_MAX;
	area[FILLS] = header;
	return restores(em->plan) ? restore(em, address, area[0]) : save(em, address, area, size);
}

static uint8_t *borrow(struct em *em)
{
	const struct bus_ops *bus = em->bus->ops;

	return bus->borrow ? bus->borrow(em->bus) : regmap__scratch_map(BUS_SCRATCH);
}

static void give_back(struct em *em, uint8_t *raw)
{
	const struct bus_ops *bus = em->bus->ops;

	if (bus->give_back)
		bus->give_back(em->bus);
	else
		regmap__scratch_unmap(raw, BUS_SCRATCH);
}

/* Too much for an alternate signal stack. */
static enum em_status on_buffer(struct em *em, uint64_t address, unsigned size)
{
	uint8_t *raw = borrow(em);
	enum em_status st;

	if (!raw)
		return regmap__em_unimplemented(em, "no memory for an XSAVE area");
	st = on_area(em, address, size, raw);
	give_back(em, raw);
	return st;
}

enum em_status regmap__em_execute_xsave(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t address = regmap__em_address(p, em->cpu);
	unsigned size = area_size(p, em->cpu);
	void *host;
	enum em_status st;

	if (regmap__em_misaligned(em, address))
		return regmap__em_protection_fault(em);
	if (size > AREA_MAX)
		return regmap__em_unimplemented(em, "the XSAVE area is larger than any we know");
	if (!is_fx(p) && requested(em->cpu) & *xsave_bv(em->cpu->xsave) & ~(uint64_t)KNOWN)
		return regmap__em_unimplemented(em, "XSAVE and XRSTOR of AMX state");
	host = em->bus->ops->pin(em->bus, address, size, p->access);
	if (!host)
		return on_buffer(em, address, size);
	if (((uintptr_t)host ^ address) & 63) {
		em->bus->ops->release(em->bus);
		return on_buffer(em, address, size);
	}
	st = run(em, host, address);
	em->bus->ops->release(em->bus);
	return st;
}
