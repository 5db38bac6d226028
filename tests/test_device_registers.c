/* SPDX-License-Identifier: MIT */
/* What registers keep and what accesses to them do, without rules. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/regs.h"

#define FIELDS(...) \
	(const struct regmap_field *const[]) \
	{ \
		__VA_ARGS__ \
	}
#define FIELD(...) \
	&(struct regmap_field) \
	{ \
		__VA_ARGS__ \
	}

/* --- bytes --- */

static void test_device_registers_keep_undescribed_bytes(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE + 0x800);
	t_start(&t);
	t_write(&t, 0x10, 4, 0x12345678);
	t_write(&t, 0x805, 1, 0xab);
	assert_int_equal(t_read(&t, 0x10, 4), 0x12345678);
	assert_int_equal(t_read(&t, 0x12, 2), 0x1234);
	assert_int_equal(t_read(&t, 0x13, 1), 0x12);
	assert_int_equal(t_read(&t, 0x10, 8), 0x12345678);
	assert_int_equal(t_read(&t, 0x800, 8), 0xab0000000000);
	assert_int_equal(t_read(&t, 0xfff8, 8), 0);
	t_end(&t);
}

static void test_device_registers_have_reset_values_under_their_mask(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "A",
	                                    .offset = 4,
	                                    .reset_value = 0x12345678,
	                                    .reset_mask = 0xffff00ff});
	t_register(&t, "P",
	           (struct regmap_register){.name = "B",
	                                    .offset = 8,
	                                    .width = 8,
	                                    .reset_value = 0x8877665544332211});
	t_start(&t);
	assert_int_equal(t_read(&t, 0, 4), 0);
	assert_int_equal(t_read(&t, 4, 4), 0x12340078);
	assert_int_equal(t_read(&t, 8, 8), 0x8877665544332211);
	t_write(&t, 4, 4, 1);
	t_write(&t, 8, 8, 2);
	t_write(&t, 0x100, 4, 3);
	regmap__regs_reset(t.device.regs);
	assert_int_equal(t_read(&t, 4, 4), 0x12340078);
	assert_int_equal(t_read(&t, 8, 8), 0x8877665544332211);
	assert_int_equal(t_read(&t, 0x100, 4), 0);
	t_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_registers_keep_undescribed_bytes),
		cmocka_unit_test(test_device_registers_have_reset_values_under_their_mask),
	};

	return cmocka_run_group_tests_name("device_registers", tests, NULL, NULL);
}
