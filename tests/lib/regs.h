/* SPDX-License-Identifier: MIT */
/* Registers alone: a layout built in code, and a device that has nothing but them. */
#ifndef TESTS_LIB_REGS_H
#define TESTS_LIB_REGS_H

#include <stdio.h>
#include <string.h>

#include "../../describe/layout.h"
#include "../../device/registers.h"

/* Includes <cmocka.h> before. */
struct t_regs {
	struct regmap_layout *layout;
	struct regmap_device device;
	const struct regmap_region *region;
	int err; /* of the last access */
};

enum { T_BASE = 0x40000000 };

static inline void t_layout(struct t_regs *t)
{
	struct regmap_region region = {.name = "APB",
	                               .address = T_BASE,
	                               .length = 0x10000,
	                               .permissions = 3,
	                               .type = REGMAP_REGION_MMIO};
	struct regmap_error error;

	memset(t, 0, sizeof(*t));
	assert_int_equal(regmap_layout_new("test", &t->layout), 0);
	assert_int_equal(regmap_layout_add_region(t->layout, &region, &error), 0);
}

static inline void t_peripheral(struct t_regs *t, const char *name, uint64_t address)
{
	struct regmap_peripheral p = {.name = name, .address = address, .length = 0x400};
	struct regmap_error error = {.text = ""};

	if (regmap_layout_add_peripheral(t->layout, &p, &error))
		fail_msg("%s", error.text);
}

static inline void t_register(struct t_regs *t, const char *peripheral, struct regmap_register reg)
{
	struct regmap_error error = {.text = ""};

	if (!reg.width)
		reg.width = 4;
	if (!reg.reset_mask)
		reg.reset_mask = ~0ull >> (64 - 8 * reg.width);
	if (regmap_layout_add_register(t->layout, peripheral, &reg, &error))
		fail_msg("%s", error.text);
}

static inline void t_rule(struct t_regs *t, const char *scope, const char *text)
{
	struct regmap_error error = {.text = ""};

	if (regmap_layout_add_rule(t->layout, scope, text, &error))
		fail_msg("%s", error.text);
}

static inline int t_try_start(struct t_regs *t, struct regmap_error *error)
{
	int err = regmap__layout_finish((struct layout *)t->layout, error);

	t->device.layout = t->layout;
	t->region = t->layout->regions[0];
	return err ? err : regmap__regs_new(&t->device, &t->device.regs, error);
}

static inline void t_start(struct t_regs *t)
{
	struct regmap_error error = {.text = ""};

	if (t_try_start(t, &error))
		fail_msg("%s", error.text);
}

static inline void t_end(struct t_regs *t)
{
	regmap__regs_free(t->device.regs);
	regmap_layout_free(t->layout);
}

static inline uint64_t t_read(struct t_regs *t, uint64_t offset, unsigned width)
{
	uint64_t value = 0xdeadbeefdeadbeef;

	t->err = regmap__regs_read(t->device.regs, t->region, T_BASE + offset, width, &value);
	return value;
}

static inline void t_write(struct t_regs *t, uint64_t offset, unsigned width, uint64_t value)
{
	t->err = regmap__regs_write(t->device.regs, t->region, T_BASE + offset, width, value);
}

static inline uint64_t t_stored(struct t_regs *t, const char *name)
{
	uint64_t value;

	assert_int_equal(regmap_device_peek(&t->device, name, &value), 0);
	return value;
}

static inline void t_poke(struct t_regs *t, const char *name, uint64_t value)
{
	assert_int_equal(regmap_device_poke(&t->device, name, value), 0);
}

#endif
