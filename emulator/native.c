/* SPDX-License-Identifier: MIT */
/* Tier 2: the instruction itself, run on its operand. */
#include "../arch/x86_64/native.h"

#include <signal.h>
#include <string.h>

#include "internal.h"

#include "../arch/x86_64/sigsafe.h"

enum {
	FX_FSW = 2,
	FX_FOP = 6,
	FX_FIP = 8,
	FX_FDP = 16,
	FSW_ES = 0x80,
	STORE_MAX = 128,
};

static bool is_x87(ZydisRegisterClass class)
{
	return class == ZYDIS_REGCLASS_X87 || class == ZYDIS_REGCLASS_MMX;
}

static bool is_vector(ZydisRegisterClass class)
{
	return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM ||
	       class == ZYDIS_REGCLASS_ZMM || class == ZYDIS_REGCLASS_MASK;
}

/*
 * Conversions between memory and general registers name no vector register, but MXCSR rules them.
 */
static bool uses_mxcsr(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.isa_ext) {
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX: return true;
	default: return false;
	}
}

/* The components that the instruction reads or writes, the zeroing of upper halves included. */
static unsigned components(const struct em_decoded *d)
{
	unsigned c = 0;

	if (regmap__em_is_x87(d))
		c |= XSTATE_X87;
	if (uses_mxcsr(&d->insn))
		c |= XSTATE_SSE;
	for (int i = 0; i < d->insn.operand_count; i++) {
		ZydisRegisterClass class;

		if (d->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		class = ZydisRegisterGetClass(d->op[i].reg.value);
		if (is_x87(class))
			c |= XSTATE_X87;
		else if (is_vector(class))
			c |= d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? XSTATE_SSE :
			                                                             XSTATE_VECTOR;
	}
	if (c & XSTATE_X87 && d->insn.meta.isa_ext != ZYDIS_ISA_EXT_X87)
		c |= XSTATE_SSE; /* MMX forms that convert look at MXCSR */
	return c;
}

/*
 * Does anything of it have to come out again? A plain vector store changes no register, nor MXCSR.
 */
static bool changes_state(const struct em_decoded *d)
{
	if (d->op[d->mem].actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		return true;
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_COMPRESS: return false;
	default:
		return d->insn.mnemonic != ZYDIS_MNEMONIC_STMXCSR &&
		       d->insn.mnemonic != ZYDIS_MNEMONIC_VSTMXCSR;
	}
}

/* SDM vol. 2, 2.4: class 4 has these exceptions. */
static bool is_unaligned(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM: return true;
	default: return false;
	}
}

/*
 * What is said here matters only where the operand can't be accessed. Then AMD's CPUs don't look at that
 * of SHA's first.
 */
static uint8_t alignment(const struct plan *p, const struct em_decoded *d)
{
	switch (d->insn.meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE1:
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE4:
		return p->size == 16 && !is_unaligned(d->insn.mnemonic) &&
		                       (d->insn.meta.isa_ext != ZYDIS_ISA_EXT_SHA ||
		                        !regmap__em_is_amd()) ?
		               16 :
		               0;
	case ZYDIS_EXCEPTION_CLASS_AVX1:
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E1NF: return (uint8_t)p->size;
	default:
		return d->insn.mnemonic == ZYDIS_MNEMONIC_CVTPD2PI ||
		                       d->insn.mnemonic == ZYDIS_MNEMONIC_CVTTPD2PI ?
		               16 :
		               0;
	}
}

static bool is_of_fpu(ZydisRegister reg)
{
	return is_x87(ZydisRegisterGetClass(reg)) || reg == ZYDIS_REGISTER_X87CONTROL ||
	       reg == ZYDIS_REGISTER_X87STATUS || reg == ZYDIS_REGISTER_X87TAG;
}

/* No general registers, and no flags. */
static bool is_plain(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && i != d->mem)
			return false;
		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    !is_vector(ZydisRegisterGetClass(op->reg.value)) &&
		    op->reg.value != ZYDIS_REGISTER_MXCSR && !is_of_fpu(op->reg.value))
			return false;
	}
	return true;
}

/* clang-format off */
#define MOVES(x) \
	x(MOVUPS) x(MOVUPD) x(MOVAPS) x(MOVAPD) x(MOVDQU) x(MOVDQA) x(MOVNTPS) x(MOVNTPD) x(MOVNTDQ) \
	x(MOVNTDQA) x(LDDQU) x(MOVSS) x(MOVD) x(MOVQ) \
	x(VMOVUPS) x(VMOVUPD) x(VMOVAPS) x(VMOVAPD) x(VMOVDQU) x(VMOVDQA) x(VMOVNTPS) x(VMOVNTPD) \
	x(VMOVNTDQ) x(VMOVNTDQA) x(VLDDQU) x(VMOVSS) x(VMOVSD) x(VMOVD) x(VMOVQ) \
	x(VMOVDQU8) x(VMOVDQU16) x(VMOVDQU32) x(VMOVDQU64) x(VMOVDQA32) x(VMOVDQA64)
/* clang-format on */

/* MOVSD is a string operation, too. */
static bool is_move(const struct em_decoded *d)
{
	switch (d->insn.mnemonic) {
#define CASE(name) case ZYDIS_MNEMONIC_##name:
		MOVES(CASE)
		return true;
#undef CASE
	case ZYDIS_MNEMONIC_MOVSD: return d->insn.meta.isa_ext == ZYDIS_ISA_EXT_SSE2;
	default: return false;
	}
}

/* The one vector register beside the memory operand; EM_NO_REG: there is something else as well. */
static uint8_t moved_register(const struct em_decoded *d)
{
	uint8_t found = EM_NO_REG;

	for (int i = 0; i < d->insn.operand_count; i++) {
		ZydisRegister reg = d->op[i].reg.value;
		ZydisRegisterClass class = ZydisRegisterGetClass(reg);

		if (i == d->mem ||
		    (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && reg == ZYDIS_REGISTER_K0))
			continue;
		if (d->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER || found != EM_NO_REG ||
		    (class != ZYDIS_REGCLASS_XMM && class != ZYDIS_REGCLASS_YMM &&
		     class != ZYDIS_REGCLASS_ZMM))
			return EM_NO_REG;
		found = (uint8_t)ZydisRegisterGetId(reg);
	}
	return found;
}

static void plan_move(struct plan *p, const struct em_decoded *d)
{
	struct em_native *n = &p->native;

	n->move = EM_NO_MOVE;
	if (!is_move(d))
		return;
	n->vector = moved_register(d);
	n->wipes = d->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	if (n->vector != EM_NO_REG)
		n->move = p->access == EM_READ ? EM_MOVE_LOAD : EM_MOVE_STORE;
}

static bool fill(struct plan *p, const struct em_decoded *d)
{
	struct em_native *n = &p->native;
	unsigned c = components(d);

	if (!regmap__em_splice(n, d, 0))
		return false;
	p->align = alignment(p, d);
	n->load = (uint8_t)c;
	n->save = (uint8_t)(c & XSTATE_X87 || changes_state(d) ? c : 0);
	n->plain = is_plain(d);
	plan_move(p, d);
	n->stub = regmap__code_stub(n->code, n->code_length);
	return true;
}

/*
 * BT and kin with a bit offset in a register, which reaches beyond the operand: tier 1 alone can do
 * it.
 */
static bool reaches_out(const struct em_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: return d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
	default: return false;
	}
}

bool regmap__em_plan_native(struct plan *p, const struct em_decoded *d)
{
	if (reaches_out(d) || d->mem < 0 || p->size == 0 || p->size > STORE_MAX || !fill(p, d))
		return false;
	p->native.shows = regmap__em_is_x87(d) && !regmap__em_is_amd();
	p->kind = EM_NATIVE;
	return true;
}

void regmap__em_keep_legacy(struct em *em)
{
	memcpy(em->legacy, em->cpu->xsave, sizeof em->legacy);
	em->legacy_bv = *xsave_bv(em->cpu->xsave);
	em->legacy_kept = true;
}

/* The exception of #XM has changed MXCSR, as it should: then nothing is put back. */
void regmap__em_restore_legacy(struct em *em)
{
	if (!em->legacy_kept || em->fault->trap.signo == SIGFPE)
		return;
	memcpy(em->cpu->xsave, em->legacy, sizeof em->legacy);
	*xsave_bv(em->cpu->xsave) = em->legacy_bv;
}

static bool prepare(struct em *em, struct native *n, void *operand)
{
	const struct em_native *e = &em->plan->native;

	n->code = e->stub;
	if (!n->code)
		n->code = regmap__code_stub(e->code, e->code_length);
	if (!n->code)
		n->code = regmap__code_borrow(e->code, e->code_length);
	if (!n->code)
		return false;
	memcpy(n->gpr, em->gpr, sizeof n->gpr);
	n->gpr[e->base] = (uintptr_t)operand;
	if (e->rsp != EM_NO_REG)
		n->gpr[e->rsp] = em->gpr[CPU_RSP];
	n->flags = (em->rflags & (CPU_STATUS | CPU_STICKY | CPU_AC)) | 0x202;
	n->xsave = em->cpu->xsave;
	n->load = e->load & em->cpu->xfeatures;
	n->save = e->save & em->cpu->xfeatures;
	n->plain = NULL;
	return true;
}

static void take_results(struct em *em, const struct native *n)
{
	const struct em_native *e = &em->plan->native;
	uint64_t old_base = em->gpr[e->base], old_rsp = em->gpr[CPU_RSP];
	uint64_t old_stand_in = e->rsp != EM_NO_REG ? em->gpr[e->rsp] : 0;

	memcpy(em->gpr, n->gpr, sizeof n->gpr);
	em->gpr[e->base] = old_base;
	em->gpr[CPU_RSP] = old_rsp;
	if (e->rsp != EM_NO_REG) {
		em->gpr[CPU_RSP] = n->gpr[e->rsp];
		em->gpr[e->rsp] = old_stand_in;
	}
	em->rflags = (em->rflags & ~(uint64_t)CPU_STATUS) | (n->flags & CPU_STATUS);
}

bool regmap__em_quick_native_address(const struct plan *p, const struct cpu_regs *r, uint64_t rip,
                                     uint64_t *address)
{
	const struct em_mem *m = &p->mem;

	if (p->kind != EM_NATIVE || m->segment || m->address32 || !p->native.stub || p->size > 64 ||
	    p->size & (p->size - 1) || *r->flags & (CPU_AC | CPU_TF))
		return false;
	*address = regmap__em_offset_by(p, r, rip);
	return true;
}

bool regmap__em_quick_native_buffers(const struct plan *p, const uint8_t *xsave)
{
	const uint32_t masks = 0x1f80;
	uint32_t mxcsr;

	if (p->native.move)
		return true;
	memcpy(&mxcsr, xsave + XSAVE_MXCSR, sizeof(mxcsr));
	if (p->native.load & XSTATE_X87 || (mxcsr & masks) != masks)
		return false;
	return p->access == EM_READ || (p->access == EM_WRITE && !p->native.save);
}

/* What is in its initial state is 0 already. */
static void wipe_above(struct cpu *cpu, unsigned vector, unsigned from)
{
	static const uint8_t zero[64];
	uint64_t valid = *xsave_bv(cpu->xsave);

	if (vector >= 16 || (from < 32 && valid & XSTATE_AVX))
		regmap__vector_set(cpu, vector, from, zero, (vector >= 16 ? 64 : 32) - from);
	if (vector < 16 && from < 64 && valid & XSTATE_ZMM_HI256)
		regmap__vector_set(cpu, vector, 32, zero, 32);
}

bool regmap__em_quick_native_move(const struct plan *p, void *operand, uint8_t *xsave)
{
	const struct em_native *n = &p->native;
	struct cpu cpu;
	unsigned size = p->size < 16 ? 16 : p->size;

	cpu.xsave = xsave;
	if (n->move == EM_MOVE_STORE)
		regmap__vector_get(&cpu, n->vector, 0, operand, p->size);
	if (n->move != EM_MOVE_LOAD)
		return n->move != EM_NO_MOVE;
	memset((uint8_t *)operand + p->size, 0, size - p->size);
	regmap__vector_set(&cpu, n->vector, 0, operand, size);
	if (n->wipes)
		wipe_above(&cpu, n->vector, size);
	return true;
}

static void load_gprs(struct native *n, const struct em_native *e, const struct cpu_regs *r,
                      void *operand)
{
	for (unsigned i = 0; i < 16; i++)
		n->gpr[i] = r->value[r->at[i]];
	if (e->rsp != EM_NO_REG)
		n->gpr[e->rsp] = n->gpr[CPU_RSP];
	n->gpr[e->base] = (uintptr_t)operand;
	n->flags = (*r->flags & (CPU_STATUS | CPU_STICKY)) | 0x202;
}

static void store_gprs(const struct native *n, const struct em_native *e, const struct cpu_regs *r)
{
	for (unsigned i = 0; i < 16; i++)
		if (i != e->base && i != e->rsp && i != CPU_RSP)
			r->value[r->at[i]] = n->gpr[i];
	if (e->rsp != EM_NO_REG)
		r->value[r->at[CPU_RSP]] = n->gpr[e->rsp];
	*r->flags = (*r->flags & ~(uint64_t)CPU_STATUS) | (n->flags & CPU_STATUS);
}

/*
 * SDM vol. 1, 8.1.8: the FPU remembers where its last instruction and operand were, and its ModRM. Intel's
 * CPUs remember the latter, and newer ones the operand, only of one that runs into an unmasked exception.
 */
static void fix_x87_pointers(const struct plan *p, const struct native *n, uint64_t rip,
                             uint64_t offset, const void *operand)
{
	uint64_t fip, fdp, entry = (uintptr_t)n->code + NATIVE_STUB_ENTRY;
	uint8_t *image = n->xsave;

	if (!(n->save & XSTATE_X87) || !(*xsave_bv(image) & XSTATE_X87))
		return;
	memcpy(&fip, image + FX_FIP, sizeof fip);
	memcpy(&fdp, image + FX_FDP, sizeof fdp);
	if (fip - entry >= EM_MAX_LENGTH)
		return;
	memcpy(image + FX_FIP, &rip, sizeof rip);
	if (image[FX_FSW] & FSW_ES || regmap__em_is_amd())
		image[FX_FOP] = p->native.fop_modrm;
	if (fdp == (uintptr_t)operand)
		memcpy(image + FX_FDP, &offset, sizeof offset);
}

/*
 * What alignment the instruction wants, it must find at the host's address, too. An exception leaves
 * state behind that leads to the same exception again.
 */
bool regmap__em_quick_native(const struct plan *p, const struct cpu_regs *r, uint64_t rip,
                             uint64_t address, void *operand, uint8_t *xsave, uint64_t xfeatures)
{
	const struct em_native *e = &p->native;
	struct native n;

	if (((uintptr_t)operand ^ address) & (p->size - 1u))
		return false;
	n.code = e->stub;
	n.xsave = xsave;
	n.load = e->load & xfeatures;
	n.save = e->save & xfeatures;
	n.plain = e->plain ? operand : NULL;
	if (!n.plain)
		load_gprs(&n, e, r, operand);
	if (regmap__native_run(&n))
		return false;
	if (!n.plain)
		store_gprs(&n, e, r);
	fix_x87_pointers(p, &n, rip, address, operand);
	return true;
}
enum em_status regmap__em_run_native(struct em *em, void *operand, uint64_t address)
{
	struct native n;
	int failed;

	(void)address;
	if (!prepare(em, &n, operand))
		return regmap__em_unimplemented(
			em, "no room for its code: out of memory, or too many threads need some");
	failed = regmap__native_run(&n);
	regmap__code_give_back(n.code);
	if (failed) {
		em->fault->trap = n.trap;
		if (n.trap.signo == SIGILL)
			return regmap__em_unimplemented(em,
			                                "this CPU does not have the instruction");
		if (n.trap.signo == SIGFPE)
			em->fault->trap.address = em->cpu->rip;
		return EM_FAULT;
	}
	take_results(em, &n);
	fix_x87_pointers(em->plan, &n, em->cpu->rip,
	                 regmap__em_offset(em->plan, em->cpu, em->cpu->gpr), operand);
	return EM_OK;
}

static bool exception_pending(const struct em *em)
{
	return em->cpu->xsave[FX_FSW] & FSW_ES;
}

/*
 * An x87 store that runs into an unmasked exception stores nothing (SDM vol. 1, 8.5.1.1): on host
 * memory that comes by itself, on a buffer it must be found out. A second run on other bytes tells.
 */
static bool stored(struct em *em, const uint8_t *buffer, uint64_t address)
{
	uint8_t other[STORE_MAX];
	uint64_t gpr[16];

	if (exception_pending(em) && em->legacy_kept && !(em->legacy[FX_FSW] & FSW_ES)) {
		memset(other, 0xff, sizeof other);
		memcpy(gpr, em->gpr, sizeof gpr);
		regmap__em_restore_legacy(em);
		regmap__em_run_native(em, other, address);
		memcpy(em->gpr, gpr, sizeof gpr);
		return !memcmp(other, buffer, em->plan->size);
	}
	return true;
}

enum em_status regmap__em_footprint_native(const struct plan *p, const struct cpu *cpu,
                                           struct em_footprint *f)
{
	regmap__em_range(f, regmap__em_address(p, cpu), p->size, p->access);
	return EM_OK;
}

/* A store on a buffer: the state that it has changed is put back if the window then refuses it. */
static enum em_status store_action(struct em *em, void *operand, uint64_t address)
{
	enum em_status st;

	regmap__em_keep_legacy(em);
	st = regmap__em_run_native(em, operand, address);
	if (!st && em->plan->native.load & XSTATE_X87 && !stored(em, operand, address))
		return EM_RETRY;
	return st;
}

enum em_status regmap__em_execute_native(struct em *em)
{
	const struct plan *p = em->plan;
	uint64_t address = regmap__em_address(p, em->cpu);
	bool store = p->access == EM_WRITE && p->native.save;
	enum em_status st = regmap__em_on_operand(em, address, p->size, p->access,
	                                          store ? store_action : regmap__em_run_native);

	if (st == EM_RETRY) { /* the store didn't happen, the instruction did */
		em->legacy_kept = false;
		return EM_OK;
	}
	return st;
}
