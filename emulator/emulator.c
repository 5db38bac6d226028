/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "../arch/x86_64/native.h"
#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

#define EM_FAMILY(name) {regmap__em_footprint_##name, regmap__em_execute_##name},
static const struct em_family families[] = {
#include "family.def"
};
#undef EM_FAMILY

_Static_assert(sizeof families / sizeof families[0] == EM_KINDS, "a row for each kind");

enum em_status regmap__em_footprint_none(const struct plan *p, const struct cpu *cpu,
                                         struct em_footprint *f)
{
	/* For the report: what it would have touched. */
	if (p->has_mem)
		regmap__em_range(f, regmap__em_address(p, cpu), p->size ? p->size : 1, p->access);
	return EM_UNIMPLEMENTED;
}

enum em_status regmap__em_execute_none(struct em *em)
{
	return regmap__em_unimplemented(em, em->plan->refusal);
}

/* Cache control: checked like a read of one byte, moves nothing. */
enum em_status regmap__em_footprint_touch(const struct plan *p, const struct cpu *cpu,
                                          struct em_footprint *f)
{
	if (p->size)
		regmap__em_range(f, regmap__em_address(p, cpu), 1, EM_READ);
	return EM_OK;
}

enum em_status regmap__em_execute_touch(struct em *em)
{
	if (!em->plan->size)
		return EM_OK;
	return em->bus->ops->probe(em->bus, regmap__em_address(em->plan, em->cpu), 1, EM_READ,
	                           em->fault);
}

enum em_status regmap__em_footprint(const struct plan *plan, const struct cpu *cpu,
                                    struct em_footprint *footprint)
{
	footprint->count = 0;
	footprint->reported.length = 0;
	return families[plan->kind].footprint(plan, cpu, footprint);
}

static void begin(struct em *em)
{
	memcpy(em->gpr, em->cpu->gpr, sizeof em->gpr);
	em->rflags = em->cpu->rflags;
	em->rip = em->cpu->rip + em->plan->length;
	em->bus->cpu = em->cpu;
	em->bus->next = em->rip;
	em->legacy_kept = em->named = false;
}

static bool is_in_stack_segment(const struct plan *p, const struct cpu *cpu, uint64_t address)
{
	if (p->has_mem && address == regmap__em_address(p, cpu))
		return p->mem.segment == EM_SEG_NONE &&
		       (p->mem.base == CPU_RSP || p->mem.base == CPU_RBP);
	return p->kind >= EM_PUSH && p->kind <= EM_FAR;
}

/*
 * SDM vol. 3, 6.15: a non-canonical address is #SS, not #GP, where the stack segment is in use.
 * Not inlined: the footprint need not lie on the stack while an instruction is carried out.
 */
__attribute__((noinline)) static void name_exception(const struct plan *p, const struct cpu *cpu,
                                                     struct cpu_trap *trap)
{
	struct em_footprint f;

	if (trap->number != 13 || trap->signo != SIGSEGV || regmap__em_footprint(p, cpu, &f))
		return;
	for (unsigned i = 0; i < f.count; i++) {
		if (em_is_canonical(f.range[i].address))
			continue;
		if (is_in_stack_segment(p, cpu, f.range[i].address)) {
			trap->signo = SIGBUS;
			trap->number = 12;
		}
		return;
	}
}

enum em_status regmap__em_execute(const struct plan *plan, struct cpu *cpu, struct bus *bus,
                                  uint64_t budget, struct em_fault *fault)
{
	struct em em;
	enum em_status st;

	em.plan = plan;
	em.cpu = cpu;
	em.bus = bus;
	em.fault = fault;
	em.budget = budget;
	memset(fault, 0, sizeof *fault);
	begin(&em);
	st = families[plan->kind].execute(&em);
	if (st == EM_OK) {
		regmap__em_commit(&em);
		return st;
	}
	if (st == EM_FAULT && !em.named)
		name_exception(plan, cpu, &fault->trap);
	regmap__em_restore_legacy(&em);
	if (bus->ops->abandon)
		bus->ops->abandon(bus);
	return st;
}

bool regmap__em_delays_step(const struct plan *plan)
{
	struct em_decoded d;

	return plan->mnemonic == ZYDIS_MNEMONIC_MOV &&
	       !regmap__em_decode(&d, plan->bytes, plan->length) &&
	       d.op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       d.op[0].reg.value == ZYDIS_REGISTER_SS;
}

static unsigned tiers_in_use;

unsigned regmap__em_tiers(void)
{
	return tiers_in_use;
}

/* Where executable memory is forbidden, tier 1 does without; where it is just short, so is all else. */
int regmap__em_init(unsigned tiers)
{
	int err;

	if (ZYDIS_VERSION_MAJOR(ZydisGetVersion()) != ZYDIS_VERSION_MAJOR(ZYDIS_VERSION))
		return -ENOSYS;
	regmap__xstate_init();
	if (!regmap__xstate.xcr0)
		return -ENOSYS;
	err = tiers & EM_TIER_NATIVE ? regmap__code_init() : 0;
	if (err == -ENOMEM)
		return err;
	if (err)
		tiers &= ~(unsigned)EM_TIER_NATIVE;
	tiers_in_use = tiers;
	return 0;
}

size_t regmap__em_format(const uint8_t *bytes, size_t length, uint64_t rip, char *to, size_t size)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;

	to[0] = 0;
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, length, &insn, op)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &insn, op,
	                                                  insn.operand_count_visible, to, size, rip,
	                                                  NULL)))
		to[0] = 0;
	return strlen(to);
}
