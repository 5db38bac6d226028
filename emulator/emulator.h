/* SPDX-License-Identifier: MIT */
/*
 * One instruction against (cpu, bus). Knows neither signals nor windows nor the operating system.
 *
 * Anything but EM_OK leaves cpu unchanged and memory as it was (see bus.h for devices), but for
 * strings with REP, which commit each iteration: registers then show the progress and RIP stays.
 */
#ifndef EMULATOR_EMULATOR_H
#define EMULATOR_EMULATOR_H

#include "bus.h"

enum { EM_MAX_LENGTH = 15, EM_MAX_RANGES = 33 };

struct em_range {
	uint64_t address;
	uint32_t length; /* bytes; 0 doesn't occur */
	uint32_t access; /* enum em_access */
};

/* The exact bytes that one execution touches: the iteration at hand, for strings with REP. */
struct em_footprint {
	unsigned count;
	struct em_range range[EM_MAX_RANGES];
	struct em_range reported; /* CPUs may report a fault anywhere in here, too; length 0: no */
};

struct plan;

/* Tiers that may be used: for tests, and for hosts that forbid executable memory. */
enum em_tier { EM_TIER_COMPILED = 1, EM_TIER_NATIVE = 2, EM_TIER_BOTH = 3 };

/*
 * Once, before all else; not from a handler. Checks Zydis' version, sets up code memory. 0 or
 * -errno.
 */
int regmap__em_init(unsigned tiers);
/* The tiers that init got. */
unsigned regmap__em_tiers(void);

/*
 * Decode the instruction at cpu->rip and prepare it into @plan (struct plan is in plan.h; on the
 * caller's stack). @bytes holds @length valid bytes of code, at most 15. Returns EM_OK;
 * EM_RETRY more bytes are needed; EM_UNIMPLEMENTED not an instruction, or none we know.
 */
enum em_status regmap__em_plan(struct plan *plan, const uint8_t *bytes, size_t length,
                               unsigned tiers);

/* What the plan would touch. EM_OK, or EM_UNIMPLEMENTED. */
enum em_status regmap__em_footprint(const struct plan *plan, const struct cpu *cpu,
                                    struct em_footprint *footprint);

/*
 * Carry it out. On EM_OK cpu shows the state after the instruction. A string with REP runs until it
 * ends or @budget iterations are done; then RIP stays on the instruction.
 */
enum em_status regmap__em_execute(const struct plan *plan, struct cpu *cpu, struct bus *bus,
                                  uint64_t budget, struct em_fault *fault);
/* A single step over it ends behind the instruction that follows: MOV to SS (SDM vol. 2). */
bool regmap__em_delays_step(const struct plan *plan);

/*
 * The short way for the commonest case, straight on the interrupted registers: a compiled operation
 * on host memory.
 */

/* Where the operand lies, if the plan and the flags allow the short way. */
bool regmap__em_quick_address(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                              uint64_t *address);
/* True: all is done but for RIP. False: nothing is, take the long way. */
bool regmap__em_quick(const struct plan *plan, const struct cpu_regs *regs, void *operand);
/* The same in two steps: the registers don't change before the second. False: it faults. */
struct alu;
bool regmap__em_quick_compute(const struct plan *plan, const struct cpu_regs *regs, void *operand,
                              struct alu *results);
void regmap__em_quick_store(const struct plan *plan, const struct cpu_regs *regs,
                            const struct alu *results);

/* The same for vector instructions, which run on the image of the vector state. */
bool regmap__em_quick_native_address(const struct plan *plan, const struct cpu_regs *regs,
                                     uint64_t rip, uint64_t *address);
bool regmap__em_quick_native(const struct plan *plan, const struct cpu_regs *regs, uint64_t rip,
                             uint64_t address, void *operand, uint8_t *xsave, uint64_t xfeatures);
/*
 * May the operand be a buffer, which is loaded before, or stored after? So if nothing can fail in
 * between, and if a store that is refused leaves nothing behind.
 */
bool regmap__em_quick_native_buffers(const struct plan *plan, const uint8_t *xsave);
/*
 * Moves don't run: the image is changed, or read, at once. @operand: a buffer of 16 bytes or more. False:
 * the plan isn't one.
 */
bool regmap__em_quick_native_move(const struct plan *plan, void *operand, uint8_t *xsave);

/* The instruction as text (Intel syntax). Returns its length. */
size_t regmap__em_format(const uint8_t *bytes, size_t length, uint64_t rip, char *to, size_t size);

#endif
