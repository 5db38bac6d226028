/* SPDX-License-Identifier: MIT */
/* What the families of the emulator share. */
#ifndef EMULATOR_INTERNAL_H
#define EMULATOR_INTERNAL_H

#include <Zydis/Zydis.h>

#include "plan.h"

/* One instruction, as Zydis sees it: input of the planners. */
struct em_decoded {
	const uint8_t *bytes;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	int mem; /* the visible memory operand, or -1 */
};

/* One execution. Results gather here; cpu changes at commit only. */
struct em {
	const struct plan *plan;
	struct cpu *cpu;
	struct bus *bus;
	struct em_fault *fault;
	uint64_t gpr[16], rflags, rip;
	uint64_t budget;
	uint8_t legacy[XSAVE_ST +
	               8 * 16]; /* x87 and MXCSR, before a store that may yet be refused */
	uint64_t legacy_bv;
	bool legacy_kept;
	bool named; /* #GP is what it is, wherever its addresses lie */
};

static inline bool em_is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

struct em_family {
	enum em_status (*footprint)(const struct plan *, const struct cpu *, struct em_footprint *);
	enum em_status (*execute)(struct em *);
};

/* zydis.c */
bool regmap__em_gpr(ZydisRegister reg, struct em_reg *out);
unsigned regmap__em_log2(unsigned bytes);
bool regmap__em_is_amd(void);
/*
 * An x87 instruction remembers its own address and its operand's. They show where an exception is
 * pending, and on Intel's processors always.
 */
bool regmap__em_is_x87(const struct em_decoded *d);
/* Bytes that are read of a selector on the stack, in a word of so many: Intel's CPUs leave the rest alone. */
unsigned regmap__em_selector_width(unsigned word);

/* Planners: false leaves the plan for the next one to try. */
bool regmap__em_plan_integer(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_stack(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_string(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_far(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_vsib(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_xsave(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_block(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_mask(struct plan *p, const struct em_decoded *d);
bool regmap__em_plan_native(struct plan *p, const struct em_decoded *d);

/* decode.c: EM_OK, EM_RETRY (more bytes are needed), EM_UNIMPLEMENTED. @bytes must outlive @d. */
enum em_status regmap__em_decode(struct em_decoded *d, const uint8_t *bytes, size_t length);
/* As regmap__em_plan(), of one that has been decoded: EM_OK, EM_UNIMPLEMENTED. */
enum em_status regmap__em_plan_decoded(struct plan *p, const struct em_decoded *d, unsigned tiers);

/* splice.c: false when the operand can't be moved. @avoid: registers that may not be the base. */
bool regmap__em_splice(struct em_native *n, const struct em_decoded *d, unsigned avoid);
/* A bit for each general register that is an operand, hidden or not; addresses don't count. */
unsigned regmap__em_used_registers(const struct em_decoded *d);

/* operand.c */
/* Registers in encoding order, as a view. */
struct cpu_regs regmap__em_regs(uint64_t gpr[16], uint64_t *flags);
/* Without the segment. @gpr: POP computes its destination with the RSP that it has incremented. */
uint64_t regmap__em_offset_by(const struct plan *p, const struct cpu_regs *regs, uint64_t rip);
uint64_t regmap__em_offset(const struct plan *p, const struct cpu *cpu, const uint64_t gpr[16]);
uint64_t regmap__em_segment_base(const struct plan *p, const struct cpu *cpu);
uint64_t regmap__em_address(const struct plan *p, const struct cpu *cpu);
void regmap__em_range(struct em_footprint *f, uint64_t address, uint64_t length, unsigned access);
typedef enum em_status (*em_action_fn)(struct em *em, void *operand, uint64_t address);
enum em_status regmap__em_on_operand(struct em *em, uint64_t address, size_t size, unsigned access,
                                     em_action_fn action);
/* Ordinary accesses of the hand-written families, alignment check included. */
enum em_status regmap__em_probe(struct em *em, uint64_t address, size_t length, unsigned access);
enum em_status regmap__em_read(struct em *em, uint64_t address, void *to, size_t length);
enum em_status regmap__em_write(struct em *em, uint64_t address, const void *from, size_t length);
enum em_status regmap__em_fault(struct em *em, int signo, int code, unsigned number,
                                uint64_t address);
enum em_status regmap__em_protection_fault(struct em *em); /* #GP(0) */
bool regmap__em_misaligned(const struct em *em,
                           uint64_t address); /* where plan->align forbids it */
enum em_status regmap__em_unimplemented(struct em *em, const char *reason);
void regmap__em_commit(struct em *em);

/* A value in a register, by width; and back, with the ISA's merge and zero-extension rules. */
static inline uint64_t em_extract(uint64_t whole, struct em_reg reg)
{
	return reg.high ? whole >> 8 & 0xff : whole;
}

static inline uint64_t em_merge(uint64_t whole, struct em_reg reg, unsigned width, uint64_t value)
{
	if (reg.high)
		return (whole & ~0xff00ull) | (value & 0xff) << 8;
	if (width == 1)
		return (whole & ~0xffull) | (value & 0xff);
	if (width == 2)
		return (whole & ~0xffffull) | (value & 0xffff);
	return width == 4 ? (uint32_t)value : value;
}

uint64_t regmap__em_get(const uint64_t gpr[16], struct em_reg reg);
void regmap__em_set(uint64_t gpr[16], struct em_reg reg, unsigned width, uint64_t value);

/* native.c: run p->native on an operand; also from the masked and XSAVE families. */
enum em_status regmap__em_run_native(struct em *em, void *operand, uint64_t address);
void regmap__em_keep_legacy(struct em *em);
void regmap__em_restore_legacy(struct em *em);

/* mask.c: the active bytes, one bit each, low to high; at most 64. */
uint64_t regmap__em_active_bytes(const struct plan *p, const struct cpu *cpu);

#define EM_FAMILY(name) \
	enum em_status regmap__em_footprint_##name(const struct plan *, const struct cpu *, \
	                                           struct em_footprint *); \
	enum em_status regmap__em_execute_##name(struct em *);
#include "family.def"
#undef EM_FAMILY

#endif
