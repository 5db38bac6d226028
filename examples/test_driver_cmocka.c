/* SPDX-License-Identifier: MIT */
/* A unit test of a driver: expectations and assertions live in the device model. */
/* LDLIBS: -lcmocka */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <regmap/regmap.h>

/* The driver under test: a watchdog that must be fed with two keys in the right order. */
static uint32_t watchdog_feed(void)
{
	volatile uint16_t *key = (uint16_t *)0x40003000;
	volatile uint32_t *count = (uint32_t *)0x40003004;

	*key = 0x5555;
	*key = 0xaaaa;
	return *count;
}

static int model_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx;
	assert_int_equal(offset,
	                 4); /* a failure here fails the test: longjmp() out of the driver */
	assert_int_equal(width, 4);
	*value = mock_type(uint32_t);
	return 0;
}

static int model_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width;
	check_expected(value);
	return 0;
}

static void test_watchdog_is_fed_in_order(void **state)
{
	const struct regmap_device_ops model = {model_read, model_write};
	struct regmap_config c = {.size = sizeof(c), .guest = 0x40003000, .length = 8};
	struct regmap_window *window;

	(void)state;
	c.access = REGMAP_READ | REGMAP_WRITE, c.backing = REGMAP_DEVICE, c.ops = &model;
	assert_int_equal(regmap_map(&c, &window), 0);
	expect_value(model_write, value, 0x5555);
	expect_value(model_write, value, 0xaaaa);
	will_return(model_read, 1234);
	assert_int_equal(watchdog_feed(), 1234);
	assert_int_equal(regmap_unmap(window), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_watchdog_is_fed_in_order)};

	return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
