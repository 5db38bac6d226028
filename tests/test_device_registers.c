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

/* --- rights --- */

static void test_device_registers_obey_access(void **state)
{
	static const struct {
		enum regmap_register_access access;
		uint64_t first, written,
			again; /* reads: at first, after a write of 0x11, and of 0x22 */
		uint64_t kept; /* by then, as read with the right to */
	} cases[] = {
		{REGMAP_READ_WRITE, 0xee, 0x11, 0x22, 0x22},
		{REGMAP_READ_ONLY, 0xee, 0xee, 0xee, 0xee},
		{REGMAP_WRITE_ONLY, 0, 0, 0, 0x22},
		{REGMAP_WRITE_ONCE, 0, 0, 0, 0x11},
		{REGMAP_READ_WRITE_ONCE, 0xee, 0x11, 0x11, 0x11},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int of_field = 0; of_field < 2; of_field++) {
			enum regmap_register_access other = of_field ? REGMAP_READ_WRITE :
			                                               cases[i].access;
			struct regmap_register reg = {
				.name = "A",
				.access = other,
				.reset_value = 0xeeee,
				.fields = FIELDS(FIELD(.name = "F", .lsb = 8, .width = 8,
			                               .access = cases[i].access)),
				.field_count = (size_t)of_field,
			};
			unsigned shift = of_field ? 8 : 0;
			struct t_regs t;

			t_layout(&t);
			t_peripheral(&t, "P", T_BASE);
			t_register(&t, "P", reg);
			t_start(&t);
			assert_int_equal(t_read(&t, 0, 4) >> shift & 0xff, cases[i].first);
			t_write(&t, 0, 4, 0x1111);
			assert_int_equal(t.err, 0);
			assert_int_equal(t_read(&t, 0, 4) >> shift & 0xff, cases[i].written);
			t_write(&t, 0, 4, 0x2222);
			assert_int_equal(t_read(&t, 0, 4) >> shift & 0xff, cases[i].again);
			if (of_field)
				assert_int_equal(t_read(&t, 0, 4) & 0xff, 0x22);
			assert_int_equal(t_stored(&t, "P.A") >> shift & 0xff, cases[i].kept);
			t_end(&t);
		}
	}
}

static void test_device_registers_are_written_once_after_each_reset(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "A", .access = REGMAP_READ_WRITE_ONCE});
	t_start(&t);
	/* byte for byte, as a partial access is one of what it covers */
	t_write(&t, 1, 1, 0x55);
	t_write(&t, 0, 4, 0x11111111);
	assert_int_equal(t_read(&t, 0, 4), 0x11115511);
	t_write(&t, 0, 4, 0);
	assert_int_equal(t_read(&t, 0, 4), 0x11115511);
	regmap__regs_reset(t.device.regs);
	assert_int_equal(t_read(&t, 0, 4), 0);
	t_write(&t, 0, 4, 7);
	assert_int_equal(t_read(&t, 0, 4), 7);
	t_end(&t);
}

/* --- effects --- */

static uint64_t written(enum regmap_write_action action, uint8_t old, uint8_t value)
{
	switch (action) {
	case REGMAP_WRITE_MODIFY: return value;
	case REGMAP_WRITE_ONE_TO_CLEAR: return old & ~value;
	case REGMAP_WRITE_ONE_TO_SET: return old | value;
	case REGMAP_WRITE_ONE_TO_TOGGLE: return old ^ value;
	case REGMAP_WRITE_ZERO_TO_CLEAR: return old & value;
	case REGMAP_WRITE_ZERO_TO_SET: return old | (uint8_t)~value;
	case REGMAP_WRITE_ZERO_TO_TOGGLE: return old ^ (uint8_t)~value;
	case REGMAP_WRITE_CLEAR: return 0;
	case REGMAP_WRITE_SET: return 0xff;
	}
	return 0;
}

static void test_device_registers_have_write_actions(void **state)
{
	(void)state;
	for (unsigned action = REGMAP_WRITE_MODIFY; action <= REGMAP_WRITE_SET; action++) {
		struct t_regs t;

		t_layout(&t);
		t_peripheral(&t, "P", T_BASE);
		t_register(&t, "P",
		           (struct regmap_register){.name = "A",
		                                    .offset = 0,
		                                    .write_action = action,
		                                    .reset_value = 0xf0f0f0f0});
		t_register(&t, "P",
		           (struct regmap_register){.name = "B",
		                                    .offset = 4,
		                                    .reset_value = 0xf0f0f0f0,
		                                    .fields = FIELDS(FIELD(.name = "F", .lsb = 4,
		                                                           .width = 8,
		                                                           .write_action = action)),
		                                    .field_count = 1});
		t_start(&t);
		t_write(&t, 0, 4, 0x5a5a5a5a);
		assert_int_equal(t_read(&t, 0, 4), 0x01010101 * written(action, 0xf0, 0x5a));
		/* one byte alone */
		regmap__regs_reset(t.device.regs);
		t_write(&t, 2, 1, 0x5a);
		assert_int_equal(t_read(&t, 0, 4),
		                 (0xf000f0f0 | written(action, 0xf0, 0x5a) << 16));
		/* a field, within bits that are plain */
		t_write(&t, 4, 4, 0x12345678);
		assert_int_equal(t_read(&t, 4, 4), 0x12345008 | written(action, 0x0f, 0x67) << 4);
		/* half of it */
		regmap__regs_reset(t.device.regs);
		t_write(&t, 4, 1, 0x78);
		assert_int_equal(t_read(&t, 4, 4), 0xf0f0f008 | (written(action, 0x0f, 0xf7) & 0xf)
		                                                        << 4);
		t_end(&t);
	}
}

static void test_device_registers_have_read_actions(void **state)
{
	static const struct {
		enum regmap_read_action action;
		uint64_t after; /* of 0xa5 */
	} cases[] = {
		{REGMAP_READ_PLAIN, 0xa5},
		{REGMAP_READ_CLEAR, 0},
		{REGMAP_READ_SET, 0xff},
		{REGMAP_READ_MODIFY, 0xa5},
		{REGMAP_READ_MODIFY_EXTERNAL, 0xa5},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct t_regs t;

		t_layout(&t);
		t_peripheral(&t, "P", T_BASE);
		t_register(&t, "P",
		           (struct regmap_register){.name = "A",
		                                    .read_action = cases[i].action,
		                                    .reset_value = 0xa5a5a5a5});
		t_register(&t, "P",
		           (struct regmap_register){.name = "B",
		                                    .offset = 4,
		                                    .reset_value = 0xa5a5a5a5,
		                                    .fields = FIELDS(
							    FIELD(.name = "F", .lsb = 8, .width = 8,
		                                                  .read_action = cases[i].action)),
		                                    .field_count = 1});
		t_start(&t);
		assert_int_equal(t_read(&t, 0, 2), 0xa5a5);
		assert_int_equal(t_read(&t, 0, 4), 0xa5a50000 | cases[i].after * 0x101);
		assert_int_equal(t_read(&t, 4, 1), 0xa5);
		assert_int_equal(t_stored(&t, "P.B"), 0xa5a5a5a5);
		assert_int_equal(t_read(&t, 4, 4), 0xa5a5a5a5);
		assert_int_equal(t_stored(&t, "P.B"), 0xa5a500a5 | cases[i].after << 8);
		t_end(&t);
	}
}

static void test_device_registers_effects_of_the_register_hold_for_its_fields(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "A",
	                                    .access = REGMAP_READ_ONLY,
	                                    .read_action = REGMAP_READ_CLEAR,
	                                    .reset_value = 0xff,
	                                    .fields = FIELDS(FIELD(.name = "PLAIN", .lsb = 0,
	                                                           .width = 1),
	                                                     FIELD(.name = "FREE", .lsb = 1,
	                                                           .width = 1,
	                                                           .access = REGMAP_WRITE_ONLY)),
	                                    .field_count = 2});
	t_start(&t);
	assert_int_equal(t_read(&t, 0, 4), 0xfd);
	assert_int_equal(t_read(&t, 0, 4), 0);
	t_write(&t, 0, 4, 0);
	assert_int_equal(t_stored(&t, "P.A"), 0);
	t_write(&t, 0, 4, 0xff);
	assert_int_equal(t_stored(&t, "P.A"), 2);
	t_end(&t);
}

/* --- several registers, and alternates --- */

static void test_device_registers_are_met_by_wide_accesses(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "A",
	                                    .offset = 0,
	                                    .width = 2,
	                                    .write_action = REGMAP_WRITE_ONE_TO_CLEAR,
	                                    .reset_value = 0xffff});
	t_register(&t, "P", (struct regmap_register){.name = "B", .offset = 2, .width = 2});
	t_register(&t, "P",
	           (struct regmap_register){.name = "C",
	                                    .offset = 4,
	                                    .access = REGMAP_READ_ONLY,
	                                    .reset_value = 9});
	t_register(&t, "P",
	           (struct regmap_register){.name = "Odd",
	                                    .offset = 0x1e,
	                                    .width = 4,
	                                    .reset_value = 0x44332211});
	t_start(&t);
	t_write(&t, 0, 4, 0x12340f0f);
	assert_int_equal(t_read(&t, 0, 4), 0x1234f0f0);
	t_write(&t, 0, 8, 0xffffffff56780000);
	assert_int_equal(t_read(&t, 0, 8), 0x000000095678f0f0);
	assert_int_equal(t_read(&t, 0x1e, 2), 0x2211);
	assert_int_equal(t_read(&t, 0x20, 2), 0x4433);
	assert_int_equal(t_stored(&t, "P.Odd"), 0x44332211);
	t_poke(&t, "P.Odd", 0x88776655);
	assert_int_equal(t_read(&t, 0x18, 8), 0x6655000000000000);
	assert_int_equal(t_read(&t, 0x20, 8), 0x8877);
	t_end(&t);
}

static void test_device_registers_alternates_share_a_place(void **state)
{
	uint64_t reads, writes;
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "RBR",
	                                    .access = REGMAP_READ_ONLY,
	                                    .read_action = REGMAP_READ_CLEAR});
	t_register(&t, "P",
	           (struct regmap_register){.name = "THR",
	                                    .access = REGMAP_WRITE_ONLY,
	                                    .alternate = "RBR"});
	t_start(&t);
	t_write(&t, 0, 4, 0x41);
	assert_int_equal(t_read(&t, 0, 4), 0x41);
	assert_int_equal(t_read(&t, 0, 4), 0);
	assert_int_equal(regmap_device_stats_of(&t.device, "P.RBR", &reads, &writes), 0);
	assert_int_equal(reads, 2);
	assert_int_equal(writes, 0);
	assert_int_equal(regmap_device_stats_of(&t.device, "P.THR", &reads, &writes), 0);
	assert_int_equal(reads, 0);
	assert_int_equal(writes, 1);
	t_end(&t);
}

/* --- bit-band --- */

static int change(struct t_regs *t, uint64_t offset, uint8_t clear, uint8_t set)
{
	return regmap__regs_change(t->device.regs, t->region, T_BASE + offset, clear, set);
}

static void test_device_registers_change_is_a_read_and_a_write(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P", (struct regmap_register){.name = "A", .reset_value = 0xf0});
	t_register(&t, "P",
	           (struct regmap_register){.name = "W1C",
	                                    .offset = 4,
	                                    .reset_value = 0xff,
	                                    .write_action = REGMAP_WRITE_ONE_TO_CLEAR});
	t_register(&t, "P",
	           (struct regmap_register){.name = "W0C",
	                                    .offset = 8,
	                                    .reset_value = 0xff,
	                                    .write_action = REGMAP_WRITE_ZERO_TO_CLEAR});
	t_register(&t, "P",
	           (struct regmap_register){.name = "R",
	                                    .offset = 12,
	                                    .reset_value = 0xffff,
	                                    .read_action = REGMAP_READ_CLEAR,
	                                    .access = REGMAP_READ_ONLY});
	t_start(&t);
	assert_int_equal(change(&t, 0, 0x10, 0x01), 0);
	assert_int_equal(t_read(&t, 0, 4), 0xe1);
	/* all flags that were read as 1 are written 1 */
	assert_int_equal(change(&t, 4, 0x01, 0), 0);
	assert_int_equal(t_read(&t, 4, 4), 0x01);
	assert_int_equal(change(&t, 8, 0x01, 0), 0);
	assert_int_equal(t_read(&t, 8, 4), 0xfe);
	assert_int_equal(change(&t, 13, 0, 1), 0);
	assert_int_equal(t_stored(&t, "P.R"), 0xff);
	assert_int_equal(change(&t, 0x123, 0, 0x80), 0);
	assert_int_equal(t_read(&t, 0x120, 4), 0x80000000);
	t_end(&t);
}

enum { ROUNDS = 20000 };

static void *toggle(void *arg)
{
	struct t_regs *t = arg;

	for (int i = 0; i < ROUNDS; i++)
		if (change(t, 0, i % 2 ? 1 : 0, i % 2 ? 0 : 1))
			return t;
	return NULL;
}

static void *toggle_another(void *arg)
{
	struct t_regs *t = arg;

	for (int i = 0; i <= ROUNDS; i++)
		if (change(t, 0, i % 2 ? 2 : 0, i % 2 ? 0 : 2))
			return t;
	return NULL;
}

/* With rules and without: two ways. */
static void test_device_registers_change_loses_nothing(void **state)
{
	(void)state;
	for (int with_rules = 0; with_rules < 2; with_rules++) {
		pthread_t one, two;
		struct t_regs t;
		void *a, *b;

		t_layout(&t);
		t_peripheral(&t, "P", T_BASE);
		t_register(&t, "P", (struct regmap_register){.name = "A"});
		t_register(&t, "P", (struct regmap_register){.name = "B", .offset = 8});
		if (with_rules)
			t_rule(&t, "P", "B = A");
		t_start(&t);
		assert_int_equal(pthread_create(&one, NULL, toggle, &t), 0);
		assert_int_equal(pthread_create(&two, NULL, toggle_another, &t), 0);
		pthread_join(one, &a);
		pthread_join(two, &b);
		assert_null(a);
		assert_null(b);
		assert_int_equal(t_read(&t, 0, 4), 2);
		if (with_rules)
			assert_int_equal(t_read(&t, 8, 4), 2);
		t_end(&t);
	}
}

/* --- counts --- */

static void expect_counts(struct t_regs *t, const char *name, uint64_t r, uint64_t w)
{
	uint64_t reads, writes;

	assert_int_equal(regmap_device_stats_of(&t->device, name, &reads, &writes), 0);
	if (reads != r || writes != w)
		fail_msg("%s: %lu reads and %lu writes", name, (unsigned long)reads,
		         (unsigned long)writes);
}

static void test_device_registers_count(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P", (struct regmap_register){.name = "A"});
	t_register(&t, "P", (struct regmap_register){.name = "B", .offset = 4});
	t_start(&t);
	t_read(&t, 0, 4);
	t_read(&t, 1, 1);
	t_write(&t, 4, 4, 1);
	t_read(&t, 0, 8); /* by a call: as two */
	t_read(&t, 0x3fc, 4);
	t_write(&t, 0x8000, 4, 1);
	expect_counts(&t, "P.A", 3, 0);
	expect_counts(&t, "P.B", 1, 1);
	expect_counts(&t, "P", 5, 1);
	expect_counts(&t, "APB", 5, 2);
	regmap__regs_note(t.device.regs, t.region, T_BASE, 4, 0, true, -EIO);
	expect_counts(&t, "APB", 5, 3);
	assert_int_equal(regmap_device_stats_of(&t.device, "P.C", NULL, NULL), -ENOENT);
	assert_int_equal(regmap_device_stats_of(&t.device, "P.A", NULL, NULL), 0);
	t_end(&t);
}

/* --- widths, by calls: accesses by instructions are in test_device_registers_site --- */

static void test_device_registers_calls_are_cut_to_allowed_widths(void **state)
{
	struct t_regs t;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "A",
	                                    .widths = 4,
	                                    .reset_value = 0x11,
	                                    .width_policy = REGMAP_WIDTH_FAULT});
	t_register(&t, "P",
	           (struct regmap_register){.name = "B",
	                                    .offset = 4,
	                                    .widths = 4,
	                                    .reset_value = 0x22,
	                                    .width_policy = REGMAP_WIDTH_FAULT});
	t_register(&t, "P",
	           (struct regmap_register){.name = "C",
	                                    .offset = 8,
	                                    .widths = 4,
	                                    .reset_value = 0x33});
	t_start(&t);
	assert_int_equal(t_read(&t, 0, 8), 0x2200000011);
	assert_int_equal(t.err, 0);
	t_write(&t, 0, 8, 0x4400000033);
	assert_int_equal(t.err, 0);
	assert_int_equal(t_read(&t, 4, 4), 0x44);
	t_read(&t, 0, 1);
	assert_int_equal(t.err, -EIO);
	t_write(&t, 0, 2, 5);
	assert_int_equal(t.err, -EIO);
	assert_int_equal(t_read(&t, 0, 4), 0x33);
	assert_int_equal(t_read(&t, 8, 1), 0x33);
	assert_int_equal(t.err, 0);
	t_end(&t);
}

/* --- far and wide --- */

static void test_device_registers_cost_only_what_is_touched(void **state)
{
	struct regmap_region region = {.name = "Huge",
	                               .address = 1ull << 44,
	                               .length = 1ull << 40,
	                               .permissions = 3,
	                               .type = REGMAP_REGION_MMIO};
	struct regmap_error error;
	const struct regmap_region *huge;
	uint64_t value;
	struct t_regs t;

	(void)state;
	/* ThreadSanitizer leaves less address space */
	if (getenv("TEST_MODE") && !strcmp(getenv("TEST_MODE"), "tsan"))
		region.length = 1ull << 36;
	t_layout(&t);
	assert_int_equal(regmap_layout_add_region(t.layout, &region, &error), 0);
	t_start(&t);
	huge = t.layout->regions[1];
	for (uint64_t at = 0; at < region.length; at += region.length / 64)
		assert_int_equal(regmap__regs_write(t.device.regs, huge, huge->address + at, 8,
		                                    at + 1),
		                 0);
	assert_int_equal(regmap__regs_read(t.device.regs, huge, huge->address + region.length / 2,
	                                   8, &value),
	                 0);
	assert_int_equal(value, region.length / 2 + 1);
	t_end(&t);
}

static void test_device_registers_say_when_there_is_no_room(void **state)
{
	struct regmap_region region = {.name = "Huge",
	                               .address = 1ull << 54,
	                               .length = 1ull << 50,
	                               .permissions = 3,
	                               .type = REGMAP_REGION_MMIO};
	struct regmap_error error = {.text = ""};
	struct t_regs t;

	(void)state;
	t_layout(&t);
	assert_int_equal(regmap_layout_add_region(t.layout, &region, &error), 0);
	assert_int_equal(t_try_start(&t, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "region \"Huge\""));
	t_end(&t);
}

static void test_device_registers_live_on_in_a_child(void **state)
{
	struct t_regs t;
	int status;
	pid_t pid;

	(void)state;
	t_layout(&t);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P", (struct regmap_register){.name = "A"});
	t_register(&t, "P", (struct regmap_register){.name = "B", .offset = 8});
	t_rule(&t, "P", "B = A");
	t_start(&t);
	t_write(&t, 0, 4, 5);
	pid = fork();
	if (!pid) {
		uint64_t before = t_read(&t, 8, 4);

		t_write(&t, 0, 4, 6);
		_exit(before == 5 && t_read(&t, 8, 4) == 6 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(t_read(&t, 8, 4), 5);
	t_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_registers_keep_undescribed_bytes),
		cmocka_unit_test(test_device_registers_have_reset_values_under_their_mask),
		cmocka_unit_test(test_device_registers_obey_access),
		cmocka_unit_test(test_device_registers_are_written_once_after_each_reset),
		cmocka_unit_test(test_device_registers_have_write_actions),
		cmocka_unit_test(test_device_registers_have_read_actions),
		cmocka_unit_test(test_device_registers_effects_of_the_register_hold_for_its_fields),
		cmocka_unit_test(test_device_registers_are_met_by_wide_accesses),
		cmocka_unit_test(test_device_registers_alternates_share_a_place),
		cmocka_unit_test(test_device_registers_change_is_a_read_and_a_write),
		cmocka_unit_test(test_device_registers_change_loses_nothing),
		cmocka_unit_test(test_device_registers_count),
		cmocka_unit_test(test_device_registers_calls_are_cut_to_allowed_widths),
		cmocka_unit_test(test_device_registers_cost_only_what_is_touched),
		cmocka_unit_test(test_device_registers_say_when_there_is_no_room),
		cmocka_unit_test(test_device_registers_live_on_in_a_child),
	};

	return cmocka_run_group_tests_name("device_registers", tests, NULL, NULL);
}
