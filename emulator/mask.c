/* SPDX-License-Identifier: MIT */
/*
 * Operands whose elements a mask switches: EVEX opmasks where the instruction's exception class
 * suppresses faults (SDM vol. 2, 2.7 and 2.8), VMASKMOV and VPMASKMOV, MASKMOVQ and MASKMOVDQU.
 * What is off is neither read nor written nor checked.
 */
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum { VECTOR = 64 };

static bool suppresses_faults(ZydisExceptionClass class)
{
	switch (class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11: return true;
	default: return false;
	}
}

static bool is_packed(ZydisInstructionCategory category)
{
	return category == ZYDIS_CATEGORY_COMPRESS || category == ZYDIS_CATEGORY_EXPAND;
}

/* How many mask bits count: one per element that the memory is repeated to. */
static unsigned mask_bits(const struct em_decoded *d)
{
	switch (d->insn.avx.broadcast.mode) {
	case ZYDIS_BROADCAST_MODE_1_TO_2: return 2;
	case ZYDIS_BROADCAST_MODE_1_TO_4:
	case ZYDIS_BROADCAST_MODE_2_TO_4: return 4;
	case ZYDIS_BROADCAST_MODE_1_TO_8:
	case ZYDIS_BROADCAST_MODE_2_TO_8:
	case ZYDIS_BROADCAST_MODE_4_TO_8: return 8;
	case ZYDIS_BROADCAST_MODE_1_TO_16:
	case ZYDIS_BROADCAST_MODE_2_TO_16:
	case ZYDIS_BROADCAST_MODE_4_TO_16:
	case ZYDIS_BROADCAST_MODE_8_TO_16: return 16;
	case ZYDIS_BROADCAST_MODE_1_TO_32: return 32;
	default: return 64;
	}
}

/*
 * Zydis gives E4 to these, too, but the mask's elements aren't the memory's: all of it is read (SDM
 * vol. 2: E4NF; measured).
 */
static bool is_element_by_element(const struct em_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_VCVTNE2PS2BF16:
	case ZYDIS_MNEMONIC_VDBPSADBW:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEQB:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB: return false;
	default: return true;
	}
}

static bool plan_opmask(struct plan *p, const struct em_decoded *d)
{
	const ZydisDecodedOperand *m = &d->op[d->mem];
	ZydisExceptionClass class = d->insn.meta.exception_class;
	struct em_mask *k = &p->mask;

	if (d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	    d->insn.avx.mask.reg == ZYDIS_REGISTER_NONE ||
	    d->insn.avx.mask.reg == ZYDIS_REGISTER_K0 ||
	    (d->mem != 0 && !suppresses_faults(class)) || m->element_size < 8 ||
	    !is_element_by_element(d))
		return false;
	k->reg = (uint8_t)ZydisRegisterGetId(d->insn.avx.mask.reg);
	k->element = (uint8_t)(m->element_size / 8);
	k->elements = (uint8_t)(p->size / k->element);
	k->bits = k->elements;
	k->whole = !suppresses_faults(class);
	if (is_packed(d->insn.meta.category)) {
		k->shape = EM_MASK_PACKED;
	} else if (d->insn.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID) {
		k->shape = EM_MASK_REPEAT;
		k->bits = (uint8_t)mask_bits(d);
	}
	return true;
}

static bool plan_vector_mask(struct plan *p, const struct em_decoded *d)
{
	struct em_mask *k = &p->mask;

	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD: k->element = 4; break;
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ: k->element = 8; break;
	default: return false;
	}
	k->reg = (uint8_t)ZydisRegisterGetId(d->op[1].reg.value);
	k->vector = true;
	k->bits = k->elements = (uint8_t)(p->size / k->element);
	return true;
}

static bool is_maskmov(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_MASKMOVQ || m == ZYDIS_MNEMONIC_MASKMOVDQU ||
	       m == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

static void implicit_rdi(struct plan *p, const struct em_decoded *d)
{
	p->mem.base = CPU_RDI;
	p->mem.address32 = d->insn.address_width == 32;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		p->mem.segment = EM_SEG_FS;
	else if (d->insn.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		p->mem.segment = EM_SEG_GS;
	p->access = EM_WRITE;
	p->has_mem = true;
}

/* The operand is at RDI, whatever the bytes say: nothing to splice but prefixes to drop. */
static void copy_code(struct em_native *n, const struct em_decoded *d)
{
	for (unsigned i = 0; i < d->insn.length; i++) {
		uint8_t b = d->bytes[i];
		bool prefix = i < d->insn.raw.prefix_count;

		if (prefix && (b == 0x67 || b == 0x64 || b == 0x65 || b == 0x2e || b == 0x36 ||
		               b == 0x3e || b == 0x26))
			continue;
		n->code[n->code_length++] = b;
	}
	n->base = CPU_RDI;
	n->rsp = EM_NO_REG;
}

static bool plan_maskmov(struct plan *p, const struct em_decoded *d)
{
	struct em_mask *k = &p->mask;

	if (!is_maskmov(d->insn.mnemonic))
		return false;
	implicit_rdi(p, d);
	copy_code(&p->native, d);
	k->mmx = d->insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
	k->reg = (uint8_t)ZydisRegisterGetId(d->op[1].reg.value);
	k->vector = true;
	k->element = 1;
	p->size = k->mmx ? 8 : 16;
	k->bits = k->elements = (uint8_t)p->size;
	p->native.load = d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? XSTATE_VECTOR :
	                                                                      XSTATE_SSE;
	if (k->mmx)
		p->native.load = p->native.save = XSTATE_X87;
	p->kind = EM_MASKED;
	return true;
}

bool regmap__em_plan_mask(struct plan *p, const struct em_decoded *d)
{
	if (plan_maskmov(p, d))
		return true;
	if (d->mem < 0 || !(plan_opmask(p, d) || plan_vector_mask(p, d)))
		return false;
	if (!regmap__em_plan_native(p, d))
		return false;
	p->kind = EM_MASKED;
	return true;
}

static uint64_t low_bits(unsigned n)
{
	return n >= 64 ? ~0ull : (1ull << n) - 1;
}

static uint64_t sign_bits(const struct plan *p, const struct cpu *cpu)
{
	const struct em_mask *k = &p->mask;
	uint8_t bytes[VECTOR] = {0};
	uint64_t bits = 0;

	if (k->mmx && *xsave_bv(cpu->xsave) & XSTATE_X87) {
		unsigned top = cpu->xsave[3] >> 3 & 7;

		memcpy(bytes, cpu->xsave + XSAVE_ST + ((k->reg - top) & 7) * 16, 8);
	} else if (!k->mmx) {
		regmap__vector_get(cpu, k->reg, 0, bytes, p->size);
	}
	for (unsigned i = 0; i < k->bits; i++)
		bits |= (uint64_t)(bytes[(i + 1) * k->element - 1] >> 7) << i;
	return bits;
}

/* One bit per element in memory. */
static uint64_t active_elements(const struct plan *p, const struct cpu *cpu)
{
	const struct em_mask *k = &p->mask;
	uint64_t bits, active = 0;

	bits = (k->vector ? sign_bits(p, cpu) : regmap__opmask_get(cpu, k->reg)) &
	       low_bits(k->bits);
	if (k->shape == EM_MASK_PACKED)
		return low_bits((unsigned)__builtin_popcountll(bits));
	if (k->shape == EM_MASK_LINEAR)
		return bits;
	for (unsigned i = 0; i < k->bits; i++)
		active |= (bits >> i & 1) << i % k->elements;
	return active;
}

uint64_t regmap__em_active_bytes(const struct plan *p, const struct cpu *cpu)
{
	uint64_t elements = active_elements(p, cpu), bytes = 0;
	unsigned element = p->mask.element;

	for (; elements; elements &= elements - 1)
		bytes |= low_bits(element) << (unsigned)__builtin_ctzll(elements) * element;
	return bytes;
}

/* The next run of ones at or above *at; its length, or 0. */
static unsigned next_run(uint64_t bits, unsigned *at)
{
	uint64_t rest;

	if (*at >= 64 || !(bits >> *at))
		return 0;
	*at += (unsigned)__builtin_ctzll(bits >> *at);
	rest = ~(bits >> *at);
	return rest ? (unsigned)__builtin_ctzll(rest) : 64;
}

enum em_status regmap__em_footprint_masked(const struct plan *p, const struct cpu *cpu,
                                           struct em_footprint *f)
{
	uint64_t address = regmap__em_address(p, cpu), active = regmap__em_active_bytes(p, cpu);
	unsigned at = 0, n;

	if (p->mask.whole)
		active = low_bits(p->size);
	/* MASKMOV reports its first byte, switched on or not (AMD, measured) */
	f->reported = (struct em_range){address, p->size, p->access};
	for (; (n = next_run(active, &at)); at += n)
		regmap__em_range(f, address + at, n, p->access);
	return EM_OK;
}

typedef enum em_status (*run_fn)(struct em *em, uint64_t address, uint8_t *at, unsigned length);

static enum em_status probe_run(struct em *em, uint64_t address, uint8_t *at, unsigned length)
{
	(void)at;
	return em->bus->ops->probe(em->bus, address, length, em->plan->access, em->fault);
}

static enum em_status read_run(struct em *em, uint64_t address, uint8_t *at, unsigned length)
{
	return regmap__em_read(em, address, at, length);
}

static enum em_status write_run(struct em *em, uint64_t address, uint8_t *at, unsigned length)
{
	return regmap__em_write(em, address, at, length);
}

static enum em_status each_run(struct em *em, uint64_t active, uint64_t address, uint8_t *buffer,
                               run_fn fn)
{
	enum em_status st = EM_OK;
	unsigned at = 0, n;

	for (; !st && (n = next_run(active, &at)); at += n)
		st = fn(em, address + at, buffer + at, n);
	return st;
}

static enum em_status on_elements(struct em *em, uint64_t active, uint64_t address)
{
	uint8_t raw[2 * VECTOR];
	uint8_t *buffer = raw + ((address - (uintptr_t)raw) & (VECTOR - 1));
	enum em_status st;

	memset(raw, 0, sizeof raw);
	st = each_run(em, em->plan->mask.whole ? low_bits(em->plan->size) : active, address, buffer,
	              probe_run);
	if (st && regmap__em_misaligned(em, address))
		return regmap__em_protection_fault(em);
	if (!st && em->plan->access & EM_READ)
		st = each_run(em, active, address, buffer, read_run);
	if (st)
		return st;
	if (em->plan->access & EM_WRITE && em->plan->native.save)
		regmap__em_keep_legacy(em);
	st = regmap__em_run_native(em, buffer, address);
	if (!st && em->plan->access & EM_WRITE)
		st = each_run(em, active, address, buffer, write_run);
	return st;
}

/* Where the whole operand lies in host memory, the CPU itself skips what is off. */
enum em_status regmap__em_execute_masked(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t address = regmap__em_address(p, em->cpu);
	void *host = em->bus->ops->pin(em->bus, address, p->size, p->access);
	enum em_status st;

	if (!host)
		return on_elements(em, regmap__em_active_bytes(p, em->cpu), address);
	if (((uintptr_t)host ^ address) & (VECTOR - 1)) {
		em->bus->ops->release(em->bus);
		return on_elements(em, regmap__em_active_bytes(p, em->cpu), address);
	}
	st = regmap__em_run_native(em, host, address);
	em->bus->ops->release(em->bus);
	return st;
}
