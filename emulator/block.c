/* SPDX-License-Identifier: MIT */
/* 64 bytes at an address that stands in a register, and instructions that touch a cache line. */
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum variant { CLZERO, MOVDIR64B };

enum { LINE = 64 };

static bool plan_touch(struct plan *p, const struct em_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB: p->size = 1; break;
	case ZYDIS_MNEMONIC_CLDEMOTE:
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1:
	case ZYDIS_MNEMONIC_NOP:
		p->size = 0; /* hints: never fault, touch nothing */
		break;
	case ZYDIS_MNEMONIC_MONITORX:
		p->size = 1;
		p->mem.base = CPU_RAX;
		p->mem.address32 = d->insn.address_width == 32;
		break;
	default: return false;
	}
	p->access = EM_READ;
	p->kind = EM_TOUCH;
	return true;
}

bool regmap__em_plan_block(struct plan *p, const struct em_decoded *d)
{
	if (plan_touch(p, d))
		return true;
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_CLZERO) {
		p->variant = CLZERO;
		p->reg.gpr = CPU_RAX;
	} else if (d->insn.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B) {
		p->variant = MOVDIR64B;
		for (int i = 0; i < d->insn.operand_count_visible; i++)
			if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
				regmap__em_gpr(d->op[i].reg.value, &p->reg);
	} else {
		return false;
	}
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_CLZERO)
		p->mem.address32 = d->insn.address_width == 32;
	p->size = LINE;
	p->kind = EM_BLOCK;
	return true;
}

static uint64_t destination(const struct plan *p, const struct cpu *cpu)
{
	uint64_t address = cpu->gpr[p->reg.gpr];

	if (p->mem.address32)
		address = (uint32_t)address;
	return p->variant == CLZERO ? address & ~(uint64_t)(LINE - 1) : address;
}

enum em_status regmap__em_footprint_block(const struct plan *p, const struct cpu *cpu,
                                          struct em_footprint *f)
{
	if (p->variant == MOVDIR64B)
		regmap__em_range(f, regmap__em_address(p, cpu), LINE, EM_READ);
	regmap__em_range(f, destination(p, cpu), LINE, EM_WRITE);
	return EM_OK;
}

enum em_status regmap__em_execute_block(struct em *em)
{
	const struct plan *p = em->plan;
	const struct bus_ops *bus = em->bus->ops;
	uint64_t to = destination(p, em->cpu), from = regmap__em_address(p, em->cpu);
	uint8_t line[LINE] = {0};
	enum em_status st = EM_OK;

	if (to & (LINE - 1))
		return regmap__em_protection_fault(em);
	if (p->variant == MOVDIR64B)
		st = bus->probe(em->bus, from, LINE, EM_READ, em->fault);
	if (!st)
		st = bus->probe(em->bus, to, LINE, EM_WRITE, em->fault);
	if (!st && p->variant == MOVDIR64B)
		st = regmap__em_read(em, from, line, LINE);
	return st ? st : regmap__em_write(em, to, line, LINE);
}
