/* SPDX-License-Identifier: MIT */
/*
 * Gather and scatter: element by element, low to high, each element's mask cleared as it is done,
 * so that a fault in the middle leaves the progress that the CPU leaves (SDM vol. 2, VGATHERDPS).
 */
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum { VECTOR = 64 };

static bool is_gather(ZydisInstructionCategory c)
{
	return c == ZYDIS_CATEGORY_GATHER || c == ZYDIS_CATEGORY_AVX2GATHER;
}

static unsigned index_bytes(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
	case ZYDIS_MNEMONIC_VSCATTERDPS:
	case ZYDIS_MNEMONIC_VSCATTERDPD:
	case ZYDIS_MNEMONIC_VPSCATTERDD:
	case ZYDIS_MNEMONIC_VPSCATTERDQ: return 4;
	default: return 8;
	}
}

static unsigned data_bytes(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
	case ZYDIS_MNEMONIC_VPGATHERQD:
	case ZYDIS_MNEMONIC_VSCATTERDPS:
	case ZYDIS_MNEMONIC_VSCATTERQPS:
	case ZYDIS_MNEMONIC_VPSCATTERDD:
	case ZYDIS_MNEMONIC_VPSCATTERQD: return 4;
	default: return 8;
	}
}

static void plan_mask_register(struct em_vsib *v, const struct em_decoded *d, int data)
{
	if (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) {
		v->mask = (uint8_t)ZydisRegisterGetId(d->insn.avx.mask.reg);
		return;
	}
	v->mask_vector = true;
	for (int i = 0; i < d->insn.operand_count_visible; i++)
		if (i != data && i != d->mem)
			v->mask = (uint8_t)ZydisRegisterGetId(d->op[i].reg.value);
}

static int data_operand(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count_visible; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    d->op[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			return i;
	return -1;
}

bool regmap__em_plan_vsib(struct plan *p, const struct em_decoded *d)
{
	struct em_vsib *v = &p->vsib;
	unsigned length = d->insn.avx.vector_length / 8, index, data;
	int op;

	if (d->mem < 0 || d->op[d->mem].mem.type != ZYDIS_MEMOP_TYPE_VSIB)
		return false;
	op = data_operand(d);
	if (op < 0 ||
	    (!is_gather(d->insn.meta.category) && d->insn.meta.category != ZYDIS_CATEGORY_SCATTER))
		return false;
	index = index_bytes(d->insn.mnemonic);
	data = data_bytes(d->insn.mnemonic);
	plan_mask_register(v, d, op);
	v->index = (uint8_t)ZydisRegisterGetId(d->op[d->mem].mem.index);
	v->index_size = (uint8_t)index;
	v->data = (uint8_t)ZydisRegisterGetId(d->op[op].reg.value);
	v->elements = (uint8_t)(length / (index > data ? index : data));
	v->vector_bytes = (uint8_t)(v->elements * data);
	p->mem.index = EM_NO_REG;
	p->width = (uint8_t)data;
	p->size = (uint16_t)data;
	p->kind = is_gather(d->insn.meta.category) ? EM_GATHER : EM_SCATTER;
	p->access = p->kind == EM_GATHER ? EM_READ : EM_WRITE;
	return true;
}

static uint64_t element_address(const struct plan *p, const struct cpu *cpu, unsigned i)
{
	const struct em_vsib *v = &p->vsib;
	uint64_t index, offset = (uint64_t)p->mem.disp;

	if (v->index_size == 4) {
		int32_t narrow;

		regmap__vector_get(cpu, v->index, i * 4, &narrow, 4);
		index = (uint64_t)(int64_t)narrow;
	} else {
		regmap__vector_get(cpu, v->index, i * 8, &index, 8);
	}
	if (p->mem.base != EM_NO_REG)
		offset += cpu->gpr[p->mem.base];
	offset += index << p->mem.shift;
	return regmap__em_segment_base(p, cpu) + (p->mem.address32 ? (uint32_t)offset : offset);
}

static bool element_active(const struct plan *p, const struct cpu *cpu, unsigned i)
{
	const struct em_vsib *v = &p->vsib;
	uint8_t sign;

	if (!v->mask_vector)
		return regmap__opmask_get(cpu, v->mask) >> i & 1;
	regmap__vector_get(cpu, v->mask, (i + 1) * p->width - 1, &sign, 1);
	return sign >> 7;
}

/* A mask register of a VEX gather is a vector: done elements read as zero. */
static void element_done(const struct plan *p, struct cpu *cpu, unsigned i)
{
	const struct em_vsib *v = &p->vsib;
	uint64_t zero = 0;

	if (v->mask_vector)
		regmap__vector_set(cpu, v->mask, i * p->width, &zero, p->width);
	else
		regmap__opmask_set(cpu, v->mask, regmap__opmask_get(cpu, v->mask) & ~(1ull << i));
}

static void clear_above(struct cpu *cpu, unsigned reg, unsigned from)
{
	static const uint8_t zero[VECTOR];
	unsigned all = regmap__vector_bytes();

	if (from < all)
		regmap__vector_set(cpu, reg, from, zero, all - from);
}

static enum em_status footprint(const struct plan *p, const struct cpu *cpu, struct em_footprint *f)
{
	for (unsigned i = 0; i < p->vsib.elements; i++)
		if (element_active(p, cpu, i))
			regmap__em_range(f, element_address(p, cpu, i), p->width, p->access);
	return EM_OK;
}

enum em_status regmap__em_footprint_gather(const struct plan *p, const struct cpu *cpu,
                                           struct em_footprint *f)
{
	return footprint(p, cpu, f);
}

enum em_status regmap__em_footprint_scatter(const struct plan *p, const struct cpu *cpu,
                                            struct em_footprint *f)
{
	return footprint(p, cpu, f);
}

/* AC doesn't matter, whatever SDM vol. 2 says (type E12): neither AMD's CPUs nor Intel's look (measured). */
static enum em_status probe_element(struct em *em, uint64_t address)
{
	const struct plan *p = em->plan;

	return em->bus->ops->probe(em->bus, address, p->width, p->access, em->fault);
}

static enum em_status access_element(struct em *em, unsigned i)
{
	const struct plan *p = em->plan;
	uint64_t address = element_address(p, em->cpu, i);
	uint8_t value[8];
	enum em_status st = probe_element(em, address);

	if (st)
		return st;
	if (p->kind == EM_SCATTER) {
		regmap__vector_get(em->cpu, p->vsib.data, i * p->width, value, p->width);
		return regmap__em_write(em, address, value, p->width);
	}
	st = regmap__em_read(em, address, value, p->width);
	if (!st)
		regmap__vector_set(em->cpu, p->vsib.data, i * p->width, value, p->width);
	return st;
}

/* Progress goes straight into cpu: it stands whatever happens to later elements. */
static enum em_status access_elements(struct em *em)
{
	enum em_status st = EM_OK;

	for (unsigned i = 0; !st && i < em->plan->vsib.elements; i++) {
		if (!element_active(em->plan, em->cpu, i))
			continue;
		st = access_element(em, i);
		if (!st)
			element_done(em->plan, em->cpu, i);
	}
	return st;
}

enum em_status regmap__em_execute_gather(struct em *em)
{
	const struct em_vsib *v = &em->plan->vsib;
	enum em_status st = access_elements(em);

	if (st)
		return st;
	clear_above(em->cpu, v->data, v->vector_bytes);
	if (v->mask_vector)
		clear_above(em->cpu, v->mask, 0);
	else
		regmap__opmask_set(em->cpu, v->mask, 0);
	return EM_OK;
}

enum em_status regmap__em_execute_scatter(struct em *em)
{
	enum em_status st = access_elements(em);

	if (!st)
		regmap__opmask_set(em->cpu, em->plan->vsib.mask, 0);
	return st;
}
