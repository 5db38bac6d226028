/* SPDX-License-Identifier: MIT */
#include "registers_access.h"

int regmap__rules_new(struct regs *regs, struct regmap_error *error)
{
	(void)regs;
	(void)error;
	return 0;
}
void regmap__rules_free(struct regs *regs)
{
	(void)regs;
}
int regmap__rules_before_read(const struct bus_access *access)
{
	(void)access;
	return 0;
}
void regmap__rules_after_read(const struct bus_access *access, uint64_t value)
{
	(void)access;
	(void)value;
}
int regmap__rules_before_write(const struct bus_access *access, uint64_t value, uint64_t *mask)
{
	(void)access;
	(void)value;
	(void)mask;
	return 0;
}
void regmap__rules_after_write(const struct bus_access *access, uint64_t old, uint64_t value,
                               uint64_t mask)
{
	(void)access;
	(void)value;
	(void)mask;
	(void)old;
}
void regmap__rules_accessed(struct regs *regs, struct unit *unit)
{
	(void)regs;
	(void)unit;
}
void regmap__rules_changed(struct regs *regs, struct cell *cell)
{
	(void)regs;
	(void)cell;
}
void regmap__rules_reset(struct regs *regs, struct unit *unit)
{
	(void)regs;
	(void)unit;
}
bool regmap__regs_may_program(struct regs *regs, const struct regmap_region *region)
{
	(void)regs;
	(void)region;
	return true;
}
void regmap__regs_programmed(struct regs *regs, const struct regmap_region *region,
                             uint64_t address, unsigned width, uint64_t value)
{
	(void)regs;
	(void)region;
	(void)address;
	(void)width;
	(void)value;
}
