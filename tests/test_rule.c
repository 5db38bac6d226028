/* SPDX-License-Identifier: MIT */
/* CFLAGS: -Wno-parentheses -Wno-int-in-bool-context -Wno-unknown-warning-option -Wno-bool-compare */
/* The rule language: what it says, and what it says to those who get it wrong. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../describe/rule.h"
#include "lib/regs.h"

#define FIELDS(...) \
	.fields = (const struct regmap_field *const[]) \
	{ \
		__VA_ARGS__ \
	}
#define FIELD(...) \
	&(struct regmap_field) \
	{ \
		__VA_ARGS__ \
	}

/* P has GO (0), OUT (8, 64 bits), A (16) with fields LOW, HIGH and ALL; Q has GO (0x400) with field ON. */
static void lay(struct t_regs *t)
{
	struct regmap_region flash = {.name = "Main flash",
	                              .address = 0x08000000,
	                              .length = 0x1000,
	                              .permissions = 5,
	                              .type = REGMAP_REGION_FLASH,
	                              .erased = 0xff};
	struct regmap_region ram = {.name = "SRAM",
	                            .address = 0x20000000,
	                            .length = 0x1000,
	                            .permissions = 3,
	                            .type = REGMAP_REGION_RAM};
	struct regmap_error error;

	t_layout(t);
	assert_int_equal(regmap_layout_add_region(t->layout, &flash, &error), 0);
	assert_int_equal(regmap_layout_add_region(t->layout, &ram, &error), 0);
	t_peripheral(t, "P", T_BASE);
	t_peripheral(t, "Q", T_BASE + 0x400);
	t_register(t, "P", (struct regmap_register){.name = "GO", .offset = 0});
	t_register(t, "P", (struct regmap_register){.name = "OUT", .offset = 8, .width = 8});
	t_register(t, "P",
	           (struct regmap_register){.name = "A",
	                                    .offset = 16,
	                                    .reset_value = 0x12345678,
	                                    FIELDS(FIELD(.name = "LOW", .lsb = 0, .width = 8),
	                                           FIELD(.name = "HIGH", .lsb = 24, .width = 8),
	                                           FIELD(.name = "ALL", .lsb = 0, .width = 32)),
	                                    .field_count = 3});
	t_register(t, "P",
	           (struct regmap_register){.name = "value", .offset = 20, .reset_value = 77});
	t_register(t, "Q",
	           (struct regmap_register){.name = "GO",
	                                    .offset = 0,
	                                    .reset_value = 1,
	                                    FIELDS(FIELD(.name = "ON", .lsb = 0, .width = 1)),
	                                    .field_count = 1});
}

static void start(struct t_regs *t)
{
	t_start(t);
	for (size_t i = 0; i < t->layout->region_count; i++)
		if (t->layout->regions[i]->type == REGMAP_REGION_MMIO)
			t->region = t->layout->regions[i];
}

/* --- expressions --- */

static uint64_t value_of(const char *expression)
{
	struct t_regs t;
	char rule[256];
	uint64_t out;

	lay(&t);
	snprintf(rule, sizeof(rule), "on write GO: $five = 5; OUT = %s", expression);
	t_rule(&t, "P", rule);
	start(&t);
	t_write(&t, 0, 4, 0xabcd);
	assert_int_equal(t.err, 0);
	out = t_read(&t, 8, 8);
	t_end(&t);
	return out;
}

static void test_rule_computes_as_c_does(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
#define C(expression) {#expression, (uint64_t)(expression)}
		C(1 + 2 * 3),
		C((1 + 2) * 3),
		C(7 - 2 - 1),
		C(100 / 7 / 2),
		C(100 % 7 * 3),
		C(1 << 4 << 2),
		C(1 << 2 + 3),
		C(256 >> 2 >> 1),
		C(6 & 3 | 8),
		C(1 | 2 ^ 3 & 5),
		C(5 & 3 == 3),
		C(1 < 2 == 1),
		C(3 > 2 > 1),
		C(2 <= 2),
		C(3 <= 2),
		C(2 >= 3),
		C(3 >= 3),
		C(4 != 4),
		C(4 != 5),
		C(1 || 0 && 0),
		C(0 || 2),
		C(0 && 2),
		C(3 && 2),
		C(!5),
		C(!0),
		C(!!7),
		C(~0 ? 1 : 2),
		C(0 ? 1 :
	          0 ? 2 :
	              3),
		C(1 ? 0 ? 1 : 2 : 3),
		C(1 + 1 ? 4 : 5),
#undef C
		{"~0", ~0ull},
		{"~0 >> 60", 15},
		{"-1", ~0ull},
		{"0 - 1 > 5", 1},
		{"5 / 0", 0},
		{"5 % 0", 0},
		{"1 << 63", 1ull << 63},
		{"1 << 64", 0},
		{"1 >> 64", 0},
		{"~0 << 200", 0},
		{"0x1F", 31},
		{"0XfF", 255},
		{"0b101", 5},
		{"1_000", 1000},
		{"0x2000_0000", 0x20000000},
		{"18446744073709551615", ~0ull},
		{"0xffffffffffffffff", ~0ull},
		{"0", 0},
		{"value", 0xabcd},
		{"old", 0},
		{"address", T_BASE},
		{"$five + $never", 5},
		{"A", 0x12345678},
		{"A.LOW", 0x78},
		{"A.HIGH", 0x12},
		{"P.A.ALL", 0x12345678},
		{"Q.GO.ON + P.A.LOW", 0x79},
		{"P.value", 77},
		{" ( ( 1 ) )\n+\t2 ", 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t got = value_of(cases[i].text);

		if (got != cases[i].value)
			fail_msg("%s: 0x%lx, not 0x%lx", cases[i].text, (unsigned long)got,
			         (unsigned long)cases[i].value);
	}
}

/* --- what is wrong --- */

struct wrong {
	const char *scope, *text, *message;
};

static int compile(const struct t_regs *t, const char *scope, const char *text,
                   struct regmap_error *error)
{
	const struct regmap_rule rule = {text, scope, {"chip.toml", 12, 8}};
	struct rule *out;
	int err = regmap__rule_compile(t->layout, &rule, &out, error);

	if (!err)
		regmap__rule_free(out);
	return err;
}

static void test_rule_says_what_is_wrong_with_it(void **state)
{
	static const struct wrong cases[] = {
		{"P", "", "it ends where PLACE = ..., or before, on, ignore or refuse is expected"},
		{"P", "OUT", "it ends where \"=\""},
		{"P", "OUT =", "it ends where a number, a name, a $variable or \"(\" is expected"},
		{"P", "OUT = 1 +", "it ends where a number"},
		{"P", "OUT = (1", "it ends where \")\" is expected"},
		{"P", "OUT = 1)", "\")\" stands where the end"},
		{"P", "OUT = 1 2", "\"2\" stands where the end"},
		{"P", "OUT = 1 ? 2", "the \":\" of \"?\""},
		{"P", "OUT == 1", "\"==\" stands where \"=\""},
		{"P", "OUT = 12x", "\"12x\" is no number"},
		{"P", "OUT = 0x", "is no number"},
		{"P", "OUT = 0b2", "is no number"},
		{"P", "OUT = 010", "octal"},
		{"P", "OUT = 18446744073709551616", "more than 64 bits"},
		{"P", "OUT = #1", "\"#\" has no meaning"},
		{"P", "OUT = \xc3\xa4", "the byte 0xc3 has no meaning"},
		{"P", "OUT = $", "a name must follow \"$\""},
		{"P", "OUT = \"x", "has no end"},
		{"P", "$a = 1", "a variable can't follow"},
		{"P", "7 = 1", "\"7\" stands where PLACE"},
		{"P", "OUT = value", "there is no \"value\" here"},
		{"P", "OUT = old", "there is no \"old\" here"},
		{"P", "OUT = address", "there is no \"address\" here"},
		{"P", "on read OUT: A = old", "there is no \"old\" here"},
		{"P", "before read OUT: A = value", "there is no \"value\" here"},
		{"P", "on reset: A = address", "there is no \"address\" here"},
		{"P", "OUT = B", "no register or peripheral is called \"B\""},
		{"P", "OUT = a", "did you mean \"A\"?"},
		{"P", "OUTT = 1", "did you mean \"OUT\"?"},
		{"P", "OUT = LOW", "\"LOW\" is a field of another register: write \"A.LOW\""},
		{"P", "OUT = A.LWO", "no field of A is called \"LWO\": did you mean \"LOW\"?"},
		{"P", "OUT = Q", "\"Q\" is a peripheral: name a register of it"},
		{"P", "OUT = Q.GONE", "no register of Q is called \"GONE\""},
		{"P", "OUT = Q.GO.ONN", "no field of GO is called \"ONN\": did you mean \"ON\"?"},
		{"P", "OUT = A.", "a name must stand behind the dot of \"A.\""},
		{"P", "OUT = A.1", "a name must stand behind the dot"},
		{"", "OUT = 1", "no peripheral is called \"OUT\""},
		{"P.A", "LOE = 1",
	         "no field, register or peripheral is called \"LOE\": did you mean \"LOW\"?"},
		{"P", "on wirte GO: A = 1", "there is no \"on wirte\": did you mean \"write\"?"},
		{"P", "ignore read GO", "there is no \"ignore read\""},
		{"P", "before write GO: A = 1", "there is no \"before write\""},
		{"P", "on", "it ends behind \"on\""},
		{"P", "on write: A = 1", "which register?"},
		{"P", "ignore write", "which register?"},
		{"P", "on write GO", "it ends where \"if\" or \":\" is expected"},
		{"P", "on write GO:", "it ends where a step"},
		{"P", "on write GO A = 1", "\"A\" stands where \"if\" or \":\""},
		{"P", "on write GO if: A = 1", "\":\" stands where a number"},
		{"P", "on write 5: A = 1", "\"5\" stands where a register or field"},
		{"P", "on write GO: A = 1 B", "\"B\" stands where \";\" or the end"},
		{"P", "on write GO: after: A = 1", "\":\" stands where a number of accesses"},
		{"P", "on write GO: after 0: A = 1", "0 accesses can't be waited for"},
		{"P", "on write GO: after 2 A = 1", "\"A\" stands where \":\""},
		{"P", "on write GO: after 2:", "it ends where a step"},
		{"P", "on write GO: erase", "\"(\" is expected"},
		{"P", "on write GO: erase(SRAM)", "\"SRAM\" can't be erased"},
		{"P", "on write GO: erase(\"Main flush\")", "did you mean \"Main flash\"?"},
		{"P", "on write GO: erase(1, 2", "\")\" is expected"},
		{"P", "on write GO: erase(1, 2, 3)", "\",\" stands where \")\""},
		{"P", "on write GO: reset(R)", "no peripheral is called \"R\""},
		{"P", "on reset: reset", "a reset can't be a step of one"},
		{"P", "on reset: A = 1; reset(device)", "a reset can't be a step of one"},
		{"P", "on write A: byte(1)", "\"=\""},
		{"P", "on write A: byte(1 = 2", "\")\""},
		{"P", "on write A: copy(1, 2)", "\",\""},
		{"P", "on write A: A = copy(1, 2, 3)", "copy"},
		{"P", "ignore program SRAM", "\"SRAM\" is never programmed"},
		{"P", "ignore program: A = 1", "the end"},
		{"P", "on write A: A = width", "\"width\""},
		{"P", "on program SRAM: A = 1", "\"SRAM\" is never programmed"},
		{"P", "on program Nowhere: A = 1", "no region is called \"Nowhere\""},
		{"P", "ignore write A: OUT = 1", "\":\" stands where \"if\" or the end"},
		{"P", "ignore write A if 1; OUT = 1", "\";\" stands where the end"},
		{"P", "follow write A", "no register or peripheral is called \"follow\""},
		{"X", "A = 1", "no peripheral is called \"X\""},
		{"P.X", "A = 1", "no register or field of P is called \"X\""},
		{"P.A.X", "A = 1", "no register or field of P is called \"A.X\""},
	};
	struct t_regs t;

	(void)state;
	lay(&t);
	assert_int_equal(regmap__layout_finish((struct layout *)t.layout, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct regmap_error error = {.text = ""};
		int err = compile(&t, cases[i].scope, cases[i].text, &error);

		if (err != -EINVAL || !strstr(error.text, cases[i].message) || error.line != 12 ||
		    error.column != 8 || strcmp(error.file, "chip.toml") ||
		    strncmp(error.text, "chip.toml:12:8: rule \"", 22))
			fail_msg("%s: %d %s, not: %s", cases[i].text, err, error.text,
			         cases[i].message);
		assert_int_equal(compile(&t, cases[i].scope, cases[i].text, NULL), -EINVAL);
	}
	t_end(&t);
}

static void test_rule_takes_all_that_is_right(void **state)
{
	static const struct {
		const char *scope, *text;
	} cases[] = {
		{"P", "OUT = A"},
		{"P.A", "LOW = HIGH"},
		{"P.A.LOW", "on set: HIGH = 1"},
		{"P.A", "on write if value: OUT = value;"},
		{"P.A", "ignore write"},
		{"P.A", "refuse read if LOW"},
		{"P", "refuse write A.LOW if !$a"},
		{"", "P.OUT = Q.GO"},
		{"", "on reset: P.OUT = 1; $x = 2"},
		{"P", "on read A: after 1: OUT = 1; after 20: OUT = 2; $a = 1"},
		{"P", "on program \"Main flash\" if value == 3: OUT = address"},
		{"P", "on program: OUT = value"},
		{"P", "on program if old != 0xFF && width == 1: OUT = old"},
		{"P", "ignore program \"Main flash\" if !(A >> (address & 7) & 1)"},
		{"P", "ignore program"},
		{"P", "on write A: byte(A + 1) = byte(byte(A)) + 1; OUT = byte(0)"},
		{"P", "on write A: copy(A, OUT, 4); copy(byte(1), 2, 3)"},
		{"P", "on change A: erase(A); erase(A, 1 + 1); erase(\"Main flash\")"},
		{"P", "on clear A: reset; reset(Q); reset(device)"},
		{"P", "before read OUT: OUT = OUT > 9 ? OUT - 9 : A"},
		{"P", "on write GO: P.value = 1"},
	};
	struct regmap_error error = {.text = ""};
	struct t_regs t;

	(void)state;
	lay(&t);
	assert_int_equal(regmap__layout_finish((struct layout *)t.layout, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (compile(&t, cases[i].scope, cases[i].text, &error))
			fail_msg("%s", error.text);
	t_end(&t);
}

static void fill(char *to, size_t size, const char *begin, const char *what, unsigned times,
                 const char *end)
{
	char *at = to + snprintf(to, size, "%s", begin);

	for (unsigned i = 0; i < times; i++)
		at += snprintf(at, size - (size_t)(at - to), "%s", what);
	snprintf(at, size - (size_t)(at - to), "%s", end);
}

static void test_rule_bounds_its_depth(void **state)
{
	static char text[100000];
	struct regmap_error error;
	struct t_regs t;

	(void)state;
	lay(&t);
	assert_int_equal(regmap__layout_finish((struct layout *)t.layout, NULL), 0);
	fill(text, sizeof(text), "OUT = ", "(", 20000, "1");
	assert_int_equal(compile(&t, "P", text, &error), -EINVAL);
	assert_non_null(strstr(error.text, "nested deeper than"));
	fill(text, sizeof(text), "OUT = ", "!", 20000, "1");
	assert_int_equal(compile(&t, "P", text, &error), -EINVAL);
	fill(text, sizeof(text), "OUT = ", "1 ? 1 : ", 8000, "1");
	assert_int_equal(compile(&t, "P", text, &error), -EINVAL);
	fill(text, sizeof(text), "OUT = ", "1 + (", 40, "1");
	assert_int_equal(compile(&t, "P", text, &error), -EINVAL);
	assert_non_null(strstr(error.text, "nested too deep"));
	fill(text, sizeof(text), "OUT = 1", " + 1", 10000, "");
	assert_int_equal(compile(&t, "P", text, &error), 0);
	fill(text, sizeof(text), "OUT = 1", " + 1", 20000, "");
	assert_int_equal(compile(&t, "P", text, &error), -EINVAL);
	assert_non_null(strstr(error.text, "longer than 65535 bytes"));
	fill(text, sizeof(text), "OUT = ", "A.", 20, "B");
	assert_int_equal(compile(&t, "P", text, &error), -EINVAL);
	t_end(&t);
}

/* --- all together --- */

static int check(const char *const *rules, char *message)
{
	struct regmap_error error = {.text = ""};
	struct t_regs t;
	int err;

	lay(&t);
	for (; *rules; rules++)
		t_rule(&t, "P", *rules);
	assert_int_equal(regmap__layout_finish((struct layout *)t.layout, NULL), 0);
	err = regmap__rules_check(t.layout, &error);
	strcpy(message, error.text);
	if (err)
		assert_int_equal(t_try_start(&t, &error), err);
	t_end(&t);
	return err;
}

#define RULES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_rule_check_finds_circles_and_doubles(void **state)
{
	char message[512];

	(void)state;
	assert_int_equal(check(RULES("A.LOW = A.HIGH", "A.HIGH = OUT", "OUT = Q.GO"), message), 0);
	assert_int_equal(check(RULES("A.LOW = A.LOW + 1"), message), -EINVAL);
	assert_non_null(strstr(message, "it follows itself: leave that out"));
	assert_int_equal(check(RULES("A.LOW = A.HIGH", "A.HIGH = OUT", "OUT = A.LOW"), message),
	                 -EINVAL);
	assert_non_null(strstr(message, "in a circle, by way of"));
	/* by the bits, whatever they are called */
	assert_int_equal(check(RULES("A.LOW = OUT", "OUT = A.ALL"), message), -EINVAL);
	assert_int_equal(check(RULES("A.LOW = OUT", "OUT = A.HIGH"), message), 0);
	assert_int_equal(check(RULES("OUT = 1", "OUT = 2"), message), -EINVAL);
	assert_non_null(strstr(message, "follows \"OUT = 1\" already"));
	assert_int_equal(check(RULES("A.LOW = 1", "A.ALL = 2"), message), -EINVAL);
	assert_int_equal(check(RULES("OUT = 1", "OUT = X"), message), -EINVAL);
	assert_non_null(strstr(message, "called \"X\""));
	/* events are no circles */
	assert_int_equal(check(RULES("OUT = A", "on change OUT: A = OUT"), message), 0);
}

static void test_rule_checks_what_flash_is_programmed_by(void **state)
{
	struct regmap_region region = {.name = "F",
	                               .address = 0x9000000,
	                               .length = 0x1000,
	                               .permissions = 5,
	                               .type = REGMAP_REGION_FLASH,
	                               .program_if = "P.GO && P.GON"};
	struct regmap_error error;
	struct t_regs t;

	(void)state;
	lay(&t);
	assert_int_equal(regmap_layout_add_region(t.layout, &region, &error), 0);
	assert_int_equal(regmap__layout_finish((struct layout *)t.layout, NULL), 0);
	assert_int_equal(regmap__rules_check(t.layout, &error), -EINVAL);
	assert_non_null(strstr(error.text, "no register of P is called \"GON\""));
	assert_int_equal(t_try_start(&t, &error), -EINVAL);
	t_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule_computes_as_c_does),
		cmocka_unit_test(test_rule_says_what_is_wrong_with_it),
		cmocka_unit_test(test_rule_takes_all_that_is_right),
		cmocka_unit_test(test_rule_bounds_its_depth),
		cmocka_unit_test(test_rule_check_finds_circles_and_doubles),
		cmocka_unit_test(test_rule_checks_what_flash_is_programmed_by),
	};

	return cmocka_run_group_tests_name("rule", tests, NULL, NULL);
}
