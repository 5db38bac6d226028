/* SPDX-License-Identifier: MIT */
/* MOVS, STOS, LODS, CMPS, SCAS with their REP forms: each iteration commits (SDM vol. 1, 7.3.9). */
#include <string.h>

#include "../arch/x86_64/rep.h"
#include "internal.h"
#include "quick.h"

#include "../arch/x86_64/sigsafe.h"

enum { PAGE = 4096, WIDE = 8 };

static int variant_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ: return EM_MOVS;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ: return EM_STOS;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ: return EM_LODS;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ: return EM_CMPS;
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ: return EM_SCAS;
	default: return -1;
	}
}

/* MOVSD and CMPSD are SSE instructions, too: the string forms have one-byte opcodes. */
static bool is_string(const struct em_decoded *d)
{
	return d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       d->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && variant_of(d->insn.mnemonic) >= 0;
}

static unsigned width_of(const struct em_decoded *d)
{
	return d->insn.opcode & 1 ? d->insn.operand_width / 8u : 1;
}

static enum rep_op rep_op(const struct plan *p)
{
	switch (p->variant) {
	case EM_MOVS: return REP_MOVS;
	case EM_STOS: return REP_STOS;
	case EM_LODS: return REP_LODS;
	case EM_CMPS: return p->rep == 0xf3 ? REPE_CMPS : REPNE_CMPS;
	default: return p->rep == 0xf3 ? REPE_SCAS : REPNE_SCAS;
	}
}

bool regmap__em_plan_string(struct plan *p, const struct em_decoded *d)
{
	if (!is_string(d))
		return false;
	p->variant = (uint8_t)variant_of(d->insn.mnemonic);
	p->width = (uint8_t)width_of(d);
	p->mem = (struct em_mem){.base = EM_NO_REG, .index = EM_NO_REG};
	p->mem.address32 = d->insn.address_width == 32;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		p->mem.segment = EM_SEG_FS;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		p->mem.segment = EM_SEG_GS;
	if (d->insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		p->rep = 0xf3;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_REPNE)
		p->rep = 0xf2;
	p->body = (uint8_t)(rep_op(p) * 4 + regmap__em_log2(p->width));
	p->kind = EM_STRING;
	return true;
}

static bool reads_source(const struct plan *p)
{
	return em_source_access(p);
}

static bool has_destination(const struct plan *p)
{
	return em_destination_access(p);
}

static uint64_t truncated(const struct plan *p, uint64_t value)
{
	return p->mem.address32 ? (uint32_t)value : value;
}

static uint64_t source(const struct plan *p, const struct cpu *cpu)
{
	return regmap__em_segment_base(p, cpu) + truncated(p, cpu->gpr[CPU_RSI]);
}

static uint64_t destination(const struct plan *p, const struct cpu *cpu)
{
	return truncated(p, cpu->gpr[CPU_RDI]);
}

enum em_status regmap__em_footprint_string(const struct plan *p, const struct cpu *cpu,
                                           struct em_footprint *f)
{
	if (p->rep && !truncated(p, cpu->gpr[CPU_RCX]))
		return EM_OK;
	if (reads_source(p))
		regmap__em_range(f, source(p, cpu), p->width, EM_READ);
	if (has_destination(p))
		regmap__em_range(f, destination(p, cpu), p->width, em_destination_access(p));
	return EM_OK;
}

static void advance(struct em *em, unsigned reg)
{
	uint64_t step = em->cpu->rflags & CPU_DF ? -(uint64_t)em->plan->width : em->plan->width;

	em->gpr[reg] = truncated(em->plan, em->gpr[reg] + step);
}

static void compare(struct em *em, const void *left, const void *right)
{
	struct alu a = {.mem = (void *)left,
	                .flags = (em->rflags & (CPU_STATUS | CPU_STICKY)) | 0x202};

	memcpy(&a.rbx, right, em->plan->width);
	regmap__alu_run(&a, regmap__alu_cmp_m[regmap__em_log2(em->plan->width)]);
	em->rflags = (em->rflags & ~(uint64_t)CPU_STATUS) | (a.flags & CPU_STATUS);
}

static enum em_status probe_both(struct em *em)
{
	const struct plan *p = em->plan;
	enum em_status st = EM_OK;

	if (reads_source(p))
		st = regmap__em_probe(em, source(p, em->cpu), p->width, EM_READ);
	if (!st && has_destination(p))
		st = regmap__em_probe(em, destination(p, em->cpu), p->width,
		                      em_destination_access(p));
	return st;
}

static void compute(struct em *em, const uint64_t *from, const uint64_t *to)
{
	static const struct em_reg rax = {CPU_RAX, false};

	switch (em->plan->variant) {
	case EM_LODS: regmap__em_set(em->gpr, rax, em->plan->width, *from); break;
	case EM_CMPS: compare(em, from, to); break;
	case EM_SCAS: compare(em, &em->gpr[CPU_RAX], to); break;
	}
}

static enum em_status move_data(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t from = em->cpu->gpr[CPU_RAX], to = 0;
	enum em_status st = EM_OK;

	if (reads_source(p))
		st = regmap__em_read(em, source(p, em->cpu), &from, p->width);
	if (!st && has_destination(p))
		st = em_destination_access(p) == EM_WRITE ?
		             regmap__em_write(em, destination(p, em->cpu), &from, p->width) :
		             regmap__em_read(em, destination(p, em->cpu), &to, p->width);
	if (!st)
		compute(em, &from, &to);
	return st;
}

/* One iteration, up to its results in em. */
static enum em_status iterate(struct em *em)
{
	enum em_status st = probe_both(em);

	if (!st)
		st = move_data(em);
	if (st)
		return st;
	if (reads_source(em->plan))
		advance(em, CPU_RSI);
	if (has_destination(em->plan))
		advance(em, CPU_RDI);
	return EM_OK;
}

/* After an iteration: is it the last one? */
static bool finished(const struct em *em)
{
	bool zero = em->rflags & CPU_ZF;

	if (!truncated(em->plan, em->gpr[CPU_RCX]))
		return true;
	if (em->plan->variant != EM_CMPS && em->plan->variant != EM_SCAS)
		return false;
	return em->plan->rep == 0xf3 ? !zero : zero;
}

/*
 * What is seen between two iterations. Intel's CPUs give the flags of comparisons at the end only (SDM
 * vol. 2, REP), AMD's those of the iteration before.
 */
static void commit_iteration(struct em *em)
{
	em->rip = em->cpu->rip;
	if (!regmap__em_is_amd())
		em->rflags = em->cpu->rflags;
	regmap__em_commit(em);
}

/* Bulk: as many iterations as lie in host memory at both ends, by the CPU's own instruction. */

static bool backwards(const struct em *em)
{
	return em->cpu->rflags & CPU_DF;
}

/* The lowest byte of n elements that start at @address. */
static uint64_t lowest(const struct em *em, uint64_t address, uint64_t n)
{
	return backwards(em) ? address - (n - 1) * em->plan->width : address;
}

/* Elements from @address on that don't leave its page. */
static uint64_t within_page(const struct em *em, uint64_t address)
{
	unsigned in_page = (unsigned)address % PAGE, width = em->plan->width;

	return backwards(em) ? in_page / width + 1 : (PAGE - in_page) / width;
}

/* The host's address of element 0, or 0. */
static uint64_t pin_elements(struct em *em, uint64_t address, uint64_t n, unsigned access)
{
	uint64_t low = lowest(em, address, n);
	void *host = em->bus->ops->pin(em->bus, low, n * em->plan->width, access);

	return host ? (uintptr_t)host + (address - low) : 0;
}

static bool pin_both(struct em *em, struct rep *r, uint64_t n)
{
	const struct plan *p = em->plan;

	r->rsi = r->rdi = 1;
	if (reads_source(p))
		r->rsi = pin_elements(em, source(p, em->cpu), n, EM_READ);
	if (r->rsi && has_destination(p))
		r->rdi = pin_elements(em, destination(p, em->cpu), n, em_destination_access(p));
	if (r->rsi && r->rdi)
		return true;
	em->bus->ops->release(em->bus);
	return false;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t bulk_within_pages(const struct em *em, uint64_t n)
{
	const struct plan *p = em->plan;

	if (reads_source(p))
		n = min(n, within_page(em, source(p, em->cpu)));
	return has_destination(p) ? min(n, within_page(em, destination(p, em->cpu))) : n;
}

static void advance_by(struct em *em, unsigned reg, uint64_t n)
{
	uint64_t step = n * em->plan->width;

	em->gpr[reg] = truncated(em->plan, em->gpr[reg] + (backwards(em) ? -step : step));
}

static void take_progress(struct em *em, const struct rep *r, uint64_t n)
{
	if (!n)
		return;
	if (em->plan->variant == EM_LODS)
		em->gpr[CPU_RAX] = r->rax;
	em->rflags = (em->rflags & ~(uint64_t)CPU_STATUS) | (r->flags & CPU_STATUS);
	em->gpr[CPU_RCX] = truncated(em->plan, em->gpr[CPU_RCX] - n);
	if (reads_source(em->plan))
		advance_by(em, CPU_RSI, n);
	if (has_destination(em->plan))
		advance_by(em, CPU_RDI, n);
}

/*
 * Backwards, CPUs move element by element. Eight bytes at a time are the same, unless what was stored
 * less than eight bytes above is what is loaded next; memory may show at several addresses, which
 * differ by whole pages.
 */
static bool may_widen(const struct em *em, const struct rep *r)
{
	uint64_t above = (r->rsi - r->rdi) % PAGE;

	if (!backwards(em) || em->plan->width == WIDE)
		return false;
	return em->plan->variant == EM_STOS ||
	       (em->plan->variant == EM_MOVS && (above == 0 || above >= WIDE));
}

/* Elements that go in one move. The addresses become those of the first move. */
static unsigned widen(const struct em *em, struct rep *r, uint64_t n)
{
	unsigned width = em->plan->width, per_move = WIDE / width;

	if (n < per_move || !may_widen(em, r))
		return 1;
	r->rsi -= WIDE - width;
	r->rdi -= WIDE - width;
	if (width == 1)
		r->rax = (r->rax & 0xff) * 0x0101010101010101;
	else
		r->rax = width == 2 ? (r->rax & 0xffff) * 0x0001000100010001 :
		                      (r->rax & 0xffffffff) * 0x0000000100000001;
	return per_move;
}

/*
 * How many iterations were done; 0 leaves the next one to iterate(), which also finds out what is
 * wrong where memory faults. A wrap of 67h or 2^64 and the alignment check are left to it, too.
 */
static uint64_t bulk(struct em *em)
{
	uint64_t n = min(truncated(em->plan, em->gpr[CPU_RCX]), em->budget);
	unsigned per_move;
	struct rep r;

	if (n < 2 || em->plan->mem.address32 || em->cpu->rflags & CPU_AC)
		return 0;
	if (n > UINT32_MAX || !pin_both(em, &r, n)) {
		n = bulk_within_pages(em, n);
		if (n < 2 || !pin_both(em, &r, n))
			return 0;
	}
	r.rax = em->gpr[CPU_RAX];
	per_move = widen(em, &r, n);
	r.rcx = n / per_move;
	n = r.rcx * per_move;
	r.flags = (em->rflags & (CPU_STATUS | CPU_STICKY | CPU_DF)) | 0x202;
	regmap__rep_run(&r, rep_op(em->plan), regmap__em_log2(em->plan->width * per_move));
	em->bus->ops->release(em->bus);
	n -= r.rcx * per_move;
	take_progress(em, &r, n);
	return n;
}

static enum em_status repeat(struct em *em)
{
	uint64_t next = em->rip;

	while (truncated(em->plan, em->gpr[CPU_RCX])) {
		uint64_t done = bulk(em);
		enum em_status st = EM_OK;

		if (!done) {
			st = iterate(em);
			em->gpr[CPU_RCX] -= !st;
			em->gpr[CPU_RCX] = truncated(em->plan, em->gpr[CPU_RCX]);
			done = 1;
		}
		if (st)
			return st;
		if (finished(em))
			break;
		commit_iteration(em);
		/* A store to the register page may have changed anything, RCX and RIP too. */
		if (em->cpu->rip != em->rip)
			return EM_RETRY;
		memcpy(em->gpr, em->cpu->gpr, sizeof em->gpr);
		em->rflags = em->cpu->rflags;
		if (em->budget <= done)
			return EM_OK;
		em->budget -= done;
	}
	em->rip = next;
	return EM_OK;
}

enum em_status regmap__em_execute_string(struct em *em)
{
	return em->plan->rep ? repeat(em) : iterate(em);
}
