/* SPDX-License-Identifier: MIT */
/*
 * What peripherals hold and do: values, access rights, widths, effects, rules, models, counts. Every access
 * to an mmio region ends here, by a fault, by a patched site, or by a call.
 *
 * Any thread may come at any time, and a signal's handler in the middle of another access of its thread:
 * nothing is ever waited for that this thread holds.
 */
#ifndef DEVICE_REGISTERS_H
#define DEVICE_REGISTERS_H

#include "inside.h"

/* Rules are compiled here: -EINVAL with @error. */
int regmap__regs_new(struct regmap_device *device, struct regs **out, struct regmap_error *error);
void regmap__regs_free(struct regs *regs);

/*
 * One access as the bus has it: @address is the guest address, @width 1, 2, 4 or 8 bytes, naturally
 * aligned. @region is the mmio region that it lies in. 0 or -errno: a bus error.
 */
int regmap__regs_read(struct regs *regs, const struct regmap_region *region, uint64_t address,
                      unsigned width, uint64_t *value);
int regmap__regs_write(struct regs *regs, const struct regmap_region *region, uint64_t address,
                       unsigned width, uint64_t value);
/* Bit-band: one read-modify-write of a byte, which no other access comes between. */
int regmap__regs_change(struct regs *regs, const struct regmap_region *region, uint64_t address,
                        uint8_t clear, uint8_t set);
/* Which range of @region may be answered without anybody's model, so that no vector state is used. */
bool regmap__regs_are_general(const struct regs *regs, const struct regmap_region *region);

/* Registers as after a reset, rules and models told. */
void regmap__regs_reset(struct regs *regs);

/* A flash's program_if; regions without one: true. */
bool regmap__regs_may_program(struct regs *regs, const struct regmap_region *region);
/* A write to a flash, and what was there. */
struct programming {
	uint64_t address, value, old;
	unsigned width;
};
/* Rules "ignore program": it stays as it is. */
bool regmap__regs_ignore_program(struct regs *regs, const struct regmap_region *region,
                                 const struct programming *write);
/* It took that: rules "on program". */
void regmap__regs_programmed(struct regs *regs, const struct regmap_region *region,
                             const struct programming *write);

/* Accesses that ended as bus errors. */
uint64_t regmap__regs_refused(const struct regs *regs);

/* Memory that isn't registers counts and is watched like these; @error as the access ended. */
void regmap__regs_note(struct regs *regs, const struct regmap_region *region, uint64_t address,
                       unsigned width, uint64_t value, bool is_write, int error);

#endif
