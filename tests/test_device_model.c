/* SPDX-License-Identifier: MIT */
/* Registers by name, and C in place of rules. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

/* P: CR 0x00 (EN 0, MODE 4-7), SR 0x04 (read clears), TX 0x08 and TY 0x0a of 16 bits, WO 0x0c. */
static struct regmap_device *begin(const char *const *rules)
{
	struct regmap_region ram = {.name = "SRAM",
	                            .address = 0x20000000,
	                            .length = 0x1000,
	                            .permissions = 3,
	                            .type = REGMAP_REGION_RAM};
	struct regmap_error error = {.text = ""};
	struct regmap_device *device;
	struct t_regs t;

	t_layout(&t);
	assert_int_equal(regmap_layout_add_region(t.layout, &ram, &error), 0);
	t_peripheral(&t, "P", T_BASE);
	t_register(&t, "P",
	           (struct regmap_register){.name = "CR",
	                                    .reset_value = 0x30,
	                                    .fields = FIELDS(FIELD(.name = "EN", .lsb = 0,
	                                                           .width = 1),
	                                                     FIELD(.name = "MODE", .lsb = 4,
	                                                           .width = 4)),
	                                    .field_count = 2});
	t_register(&t, "P",
	           (struct regmap_register){.name = "SR",
	                                    .offset = 4,
	                                    .reset_value = 0xff,
	                                    .read_action = REGMAP_READ_CLEAR});
	t_register(&t, "P", (struct regmap_register){.name = "TX", .offset = 8, .width = 2});
	t_register(&t, "P", (struct regmap_register){.name = "TY", .offset = 10, .width = 2});
	t_register(&t, "P",
	           (struct regmap_register){.name = "WO",
	                                    .offset = 12,
	                                    .access = REGMAP_WRITE_ONLY});
	for (; rules && *rules; rules++)
		t_rule(&t, "P", *rules);
	if (regmap_device_from_layout(t.layout, &device, &error))
		fail_msg("%s", error.text);
	regmap_layout_free(t.layout);
	return device;
}

static uint64_t get(struct regmap_device *d, const char *name)
{
	uint64_t value = 0xdead;

	assert_int_equal(regmap_device_get(d, name, &value), 0);
	return value;
}

static uint64_t peek(struct regmap_device *d, const char *name)
{
	uint64_t value = 0xdead;

	assert_int_equal(regmap_device_peek(d, name, &value), 0);
	return value;
}

/* --- by name --- */

static void test_device_model_gets_and_sets_by_name(void **state)
{
	struct regmap_device *d = begin(NULL);
	uint64_t value;

	(void)state;
	assert_int_equal(get(d, "P.CR"), 0x30);
	assert_int_equal(get(d, "P.CR.MODE"), 3);
	assert_int_equal(regmap_device_set(d, "P.CR.MODE", 15), 0);
	assert_int_equal(regmap_device_set(d, "P.CR.EN", 1), 0);
	assert_int_equal(get(d, "P.CR"), 0xf1);
	assert_int_equal(regmap_device_set(d, "P.TY", 0xffff), 0);
	assert_int_equal(get(d, "P.TX"), 0);
	assert_int_equal(get(d, "P.TY"), 0xffff);
	assert_int_equal(regmap_device_set(d, "P.CR.MODE", 16), -ERANGE);
	assert_int_equal(regmap_device_set(d, "P.TX", 0x10000), -ERANGE);
	assert_int_equal(regmap_device_set(d, "P.WO", 7), 0);
	assert_int_equal(get(d, "P.WO"), 0);
	assert_int_equal(get(d, "P.SR"), 0xff);
	assert_int_equal(get(d, "P.SR"), 0);
	assert_int_equal(regmap_device_get(d, "P.XX", &value), -ENOENT);
	assert_int_equal(regmap_device_get(d, "P", &value), -ENOENT);
	assert_int_equal(regmap_device_get(d, "SRAM", &value), -ENOENT);
	assert_int_equal(regmap_device_set(d, "P.CR.XX", 0), -ENOENT);
	assert_int_equal(regmap_device_get(d, NULL, &value), -EINVAL);
	regmap_device_free(d);
}

static void test_device_model_peeks_and_pokes_from_inside(void **state)
{
	struct regmap_device *d = begin((const char *const[]){"TX = SR", "on read SR: TY = 1",
	                                                      "on write CR: TY = 2",
	                                                      "ignore write CR", NULL});
	uint64_t value;

	(void)state;
	assert_int_equal(peek(d, "P.SR"), 0xff);
	assert_int_equal(peek(d, "P.SR"), 0xff);
	assert_int_equal(regmap_device_poke(d, "P.SR", 0x1234), 0);
	assert_int_equal(peek(d, "P.TX"), 0x1234);
	assert_int_equal(regmap_device_poke(d, "P.CR.MODE", 9), 0);
	assert_int_equal(peek(d, "P.CR"), 0x90);
	assert_int_equal(regmap_device_poke(d, "P.WO", 5), 0);
	assert_int_equal(peek(d, "P.WO"), 5);
	assert_int_equal(peek(d, "P.TY"), 0);
	assert_int_equal(regmap_device_poke(d, "P.CR.MODE", 16), -ERANGE);
	assert_int_equal(regmap_device_poke(d, "P.XX", 0), -ENOENT);
	assert_int_equal(regmap_device_peek(d, "SRAM", &value), -ENOENT);
	regmap_device_free(d);
}

/* --- models --- */

struct seen {
	struct regmap_device *device;
	char log[512];
	uint64_t give; /* added to what is read and written */
	int fail;
};

static void note(struct seen *s, const char *what, const struct regmap_register *reg,
                 uint64_t offset, unsigned width, uint64_t value)
{
	size_t used = strlen(s->log);

	snprintf(s->log + used, sizeof(s->log) - used, "%s %s+%lx/%u=%lx;", what,
	         reg ? reg->name : "-", (unsigned long)offset, width, (unsigned long)value);
}

static int on_read(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                   uint64_t offset, unsigned width, uint64_t *value)
{
	struct seen *s = ctx;

	assert_ptr_equal(device, s->device);
	note(s, "r", reg, offset, width, *value);
	*value += s->give;
	return s->fail;
}

static int on_write(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                    uint64_t offset, unsigned width, uint64_t *value)
{
	struct seen *s = ctx;

	assert_ptr_equal(device, s->device);
	note(s, "w", reg, offset, width, *value);
	*value += s->give;
	return s->fail;
}

static void on_written(void *ctx, struct regmap_device *device, const struct regmap_register *reg,
                       uint64_t offset, unsigned width, uint64_t value)
{
	assert_ptr_equal(device, ((struct seen *)ctx)->device);
	note(ctx, "W", reg, offset, width, value);
}

static void on_reset(void *ctx, struct regmap_device *device)
{
	assert_ptr_equal(device, ((struct seen *)ctx)->device);
	strcat(((struct seen *)ctx)->log, "reset;");
}

static const struct regmap_model all = {.size = sizeof(all),
                                        .read = on_read,
                                        .write = on_write,
                                        .written = on_written,
                                        .reset = on_reset};

static void expect(struct seen *s, const char *log)
{
	assert_string_equal(s->log, log);
	s->log[0] = '\0';
}

static void test_device_model_of_a_peripheral_sees_all_of_it(void **state)
{
	struct regmap_device *d = begin((const char *const[]){"on write CR: TX = value", NULL});
	struct seen s = {.device = d};
	uint64_t value = 0x1122334455667788, got;

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P", &all, &s), 0);
	assert_int_equal(regmap_device_write(d, T_BASE, &value, 4), 0);
	expect(&s, "w CR+0/4=55667788;W CR+0/4=55667788;");
	assert_int_equal(get(d, "P.CR"), 0x55667788);
	expect(&s, "r CR+0/4=55667788;");
	assert_int_equal(regmap_device_read(d, T_BASE + 1, &got, 1), 0);
	expect(&s, "r CR+1/1=77;");
	/* two registers by one access, and one beside bytes that none describes */
	assert_int_equal(regmap_device_write(d, T_BASE + 8, &value, 4), 0);
	expect(&s, "w TX+8/2=7788;w TY+a/2=5566;W TX+8/2=7788;W TY+a/2=5566;");
	assert_int_equal(regmap_device_write(d, T_BASE + 0x20, &value, 8), 0);
	assert_int_equal(strncmp(s.log, "w -+20/", 7), 0);
	s.log[0] = '\0';
	assert_int_equal(regmap_device_reset(d, false), 0);
	expect(&s, "reset;");
	assert_int_equal(regmap_device_attach(d, "P", NULL, NULL), 0);
	assert_int_equal(get(d, "P.CR"), 0x30);
	expect(&s, "");
	regmap_device_free(d);
}

static void test_device_model_changes_values(void **state)
{
	struct regmap_device *d = begin((const char *const[]){"on write TX: TY = value",
	                                                      "before read TX: TX = TX + 0x100",
	                                                      "on read TX: CR = value", NULL});
	struct seen s = {.device = d, .give = 3};

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P.TX", &all, &s), 0);
	assert_int_equal(regmap_device_set(d, "P.TX", 5), 0);
	assert_int_equal(peek(d, "P.TX"), 8);
	assert_int_equal(peek(d, "P.TY"), 8);
	s.log[0] = '\0';
	assert_int_equal(get(d, "P.TX"), 0x10b);
	expect(&s, "r TX+8/2=108;");
	assert_int_equal(peek(d, "P.TX"), 0x108);
	assert_int_equal(peek(d, "P.CR"), 0x10b);
	regmap_device_free(d);
}

static void test_device_model_refuses(void **state)
{
	struct regmap_device *d = begin(
		(const char *const[]){"on write SR: TY = 1", "on read SR: TY = 2", NULL});
	struct seen s = {.device = d, .fail = -ENXIO};
	uint64_t value;

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P.SR", &all, &s), 0);
	assert_int_equal(regmap_device_set(d, "P.SR", 5), -ENXIO);
	assert_int_equal(peek(d, "P.SR"), 0xff);
	assert_int_equal(regmap_device_get(d, "P.SR", &value), -ENXIO);
	assert_int_equal(peek(d, "P.SR"), 0xff);
	assert_int_equal(peek(d, "P.TY"), 0);
	expect(&s, "w SR+4/4=5;r SR+4/4=ff;");
	regmap_device_free(d);
}

static void test_device_model_of_the_register_comes_first(void **state)
{
	struct regmap_device *d = begin(NULL);
	struct seen mine = {.device = d}, others = {.device = d};
	const struct regmap_model reads = {.size = sizeof(reads), .read = on_read};

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P", &all, &others), 0);
	assert_int_equal(regmap_device_attach(d, "P.SR", &reads, &mine), 0);
	get(d, "P.SR");
	expect(&mine, "r SR+4/4=ff;");
	expect(&others, "");
	assert_int_equal(regmap_device_attach(d, "P.SR", NULL, NULL), 0);
	get(d, "P.SR");
	expect(&mine, "");
	expect(&others, "r SR+4/4=0;");
	regmap_device_free(d);
}

static void test_device_model_is_not_asked_what_is_ignored_or_refused(void **state)
{
	struct regmap_device *d = begin((const char *const[]){"ignore write CR if value == 1",
	                                                      "refuse write CR if value == 2",
	                                                      "refuse read CR if CR.EN", NULL});
	struct seen s = {.device = d};
	uint64_t value;

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P", &all, &s), 0);
	assert_int_equal(regmap_device_set(d, "P.CR", 1), 0);
	assert_int_equal(regmap_device_set(d, "P.CR", 2), -EIO);
	expect(&s, "");
	assert_int_equal(regmap_device_poke(d, "P.CR", 1), 0);
	assert_int_equal(regmap_device_get(d, "P.CR", &value), -EIO);
	expect(&s, "");
	regmap_device_free(d);
}

static void test_device_model_is_told_of_resets_by_rules(void **state)
{
	struct regmap_device *d = begin(
		(const char *const[]){"on write TX if value == 1: reset",
	                              "on write TX if value == 2: reset(device)", NULL});
	struct seen s = {.device = d};
	const struct regmap_model resets = {.size = sizeof(resets), .reset = on_reset};

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P.CR", &resets, &s), 0);
	assert_int_equal(regmap_device_set(d, "P.TX", 1), 0);
	expect(&s, "reset;");
	assert_int_equal(regmap_device_set(d, "P.TX", 2), 0);
	expect(&s, "reset;");
	regmap_device_free(d);
}

/* A model that plays the hardware by all that it may call. */
static int echo(void *ctx, struct regmap_device *d, const struct regmap_register *reg,
                uint64_t offset, unsigned width, uint64_t *value)
{
	uint64_t got;

	(void)ctx, (void)reg, (void)offset, (void)width;
	assert_int_equal(regmap_device_poke(d, "P.TY", *value), 0);
	assert_int_equal(regmap_device_peek(d, "P.TY", &got), 0);
	assert_int_equal(got, *value);
	assert_int_equal(regmap_device_set(d, "P.WO", got), 0);
	assert_int_equal(regmap_device_attach(d, "P.TX", NULL, NULL), 0);
	return 0;
}

static void test_device_model_may_call_back(void **state)
{
	struct regmap_device *d = begin(
		(const char *const[]){"CR.EN = TY == 7", "on write WO: CR.MODE = value", NULL});
	const struct regmap_model model = {.size = sizeof(model), .write = echo};

	(void)state;
	assert_int_equal(regmap_device_attach(d, "P.TX", &model, NULL), 0);
	assert_int_equal(regmap_device_set(d, "P.TX", 7), 0);
	assert_int_equal(peek(d, "P.CR"), 0x71);
	assert_int_equal(regmap_device_set(d, "P.TX", 8), 0);
	assert_int_equal(peek(d, "P.TY"), 7);
	regmap_device_free(d);
}

static void test_device_model_attach_says_what_is_wrong(void **state)
{
	const struct regmap_model small = {.size = sizeof(small) - 1};
	struct regmap_device *d = begin(NULL);

	(void)state;
	assert_int_equal(regmap_device_attach(d, "Q", &all, NULL), -ENOENT);
	assert_int_equal(regmap_device_attach(d, "P.CR.EN", &all, NULL), -EINVAL);
	assert_int_equal(regmap_device_attach(d, "SRAM", &all, NULL), -EINVAL);
	assert_int_equal(regmap_device_attach(d, NULL, &all, NULL), -EINVAL);
	assert_int_equal(regmap_device_attach(d, "P", &small, NULL), -EINVAL);
	assert_int_equal(regmap_device_attach(d, "P", NULL, NULL), 0);
	regmap_device_free(d);
}

/* --- watch --- */

static struct regmap_device_access last;
static unsigned times;

static void watch(void *ctx, struct regmap_device *d, const struct regmap_device_access *access)
{
	(void)d;
	assert_ptr_equal(ctx, &last);
	last = *access;
	times++;
}

static void test_device_model_watch_sees_how_it_ended(void **state)
{
	struct regmap_device *d = begin((const char *const[]){"refuse read CR", NULL});
	uint64_t value = 0x77;

	(void)state;
	assert_int_equal(regmap_device_watch(d, watch, &last), 0);
	assert_int_equal(regmap_device_get(d, "P.CR", &value), -EIO);
	assert_int_equal(last.error, -EIO);
	assert_int_equal(last.address, T_BASE);
	assert_string_equal(last.reg->name, "CR");
	assert_int_equal(regmap_device_write(d, T_BASE + 0x101, &value, 1), 0);
	assert_int_equal(last.error, 0);
	assert_true(last.is_write);
	assert_int_equal(last.width, 1);
	assert_int_equal(last.value, 0x77);
	assert_null(last.reg);
	assert_string_equal(last.peripheral->name, "P");
	assert_int_equal(regmap_device_write(d, T_BASE + 0x8000, &value, 4), 0);
	assert_null(last.peripheral);
	assert_string_equal(last.region->name, "APB");
	assert_int_equal(times, 3);
	assert_int_equal(regmap_device_watch(d, NULL, NULL), 0);
	get(d, "P.SR");
	assert_int_equal(times, 3);
	regmap_device_free(d);
}

static void test_device_model_stats_of(void **state)
{
	struct regmap_device *d = begin(NULL);
	struct regmap_device_stats stats = {.size = sizeof(stats)};
	uint64_t r, w;

	(void)state;
	get(d, "P.CR");
	get(d, "P.CR");
	assert_int_equal(regmap_device_set(d, "P.CR.EN", 1), 0);
	assert_int_equal(regmap_device_stats_of(d, "P.CR", &r, &w), 0);
	assert_int_equal(r, 3);
	assert_int_equal(w, 1);
	assert_int_equal(regmap_device_stats_of(d, "P", &r, &w), 0);
	assert_int_equal(r, 3);
	assert_int_equal(w, 1);
	assert_int_equal(regmap_device_stats_of(d, "APB", &r, &w), 0);
	assert_int_equal(r, 3);
	assert_int_equal(w, 1);
	assert_int_equal(regmap_device_stats_of(d, "nothing", &r, &w), -ENOENT);
	assert_int_equal(regmap_device_stats(d, &stats), 0);
	assert_int_equal(stats.reads, 3);
	assert_int_equal(stats.writes, 1);
	regmap_device_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_model_gets_and_sets_by_name),
		cmocka_unit_test(test_device_model_peeks_and_pokes_from_inside),
		cmocka_unit_test(test_device_model_of_a_peripheral_sees_all_of_it),
		cmocka_unit_test(test_device_model_changes_values),
		cmocka_unit_test(test_device_model_refuses),
		cmocka_unit_test(test_device_model_of_the_register_comes_first),
		cmocka_unit_test(test_device_model_is_not_asked_what_is_ignored_or_refused),
		cmocka_unit_test(test_device_model_is_told_of_resets_by_rules),
		cmocka_unit_test(test_device_model_may_call_back),
		cmocka_unit_test(test_device_model_attach_says_what_is_wrong),
		cmocka_unit_test(test_device_model_watch_sees_how_it_ended),
		cmocka_unit_test(test_device_model_stats_of),
	};

	return cmocka_run_group_tests_name("device_model", tests, NULL, NULL);
}
