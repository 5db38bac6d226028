/* SPDX-License-Identifier: MIT */
/* The limits of docs/devices.md: what is within loads, what is beyond is refused. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "layouts.h"

static int load(enum regmap_format format, const char *text, struct regmap_error *error)
{
	struct regmap_layout *l;
	int err = regmap_layout_from_string(text, strlen(text), format, "t", &l, error);

	if (!err)
		assert_string_equal(error->text, "");
	else
		assert_null(l);
	regmap_layout_free(l);
	return err;
}

static void ends(const struct regmap_error *error, const char *end)
{
	size_t length = strlen(error->text), want = strlen(end);

	if (length < want || strcmp(error->text + length - want, end) != 0)
		assert_string_equal(error->text, end);
}

/* @form with @item for each of 0 to @count - 1 in its middle. */
static char *repeated(const char *before, const char *item, const char *after, unsigned count)
{
	char *text;
	size_t length;
	FILE *to = open_memstream(&text, &length);

	fputs(before, to);
	for (unsigned i = 0; i < count; i++) {
		const char *gap = strchr(item, '#');

		fprintf(to, "%.*s%u%s", (int)(gap - item), item, i, gap + 1);
	}
	fputs(after, to);
	fclose(to);
	return text;
}

static void test_describe_limits_of_a_file(void **state)
{
	const char *path = t_text_file("big.toml", "");
	struct regmap_layout *l;
	struct regmap_error error = {0};

	(void)state;
	assert_int_equal(truncate(path, (64 << 20) + 1), 0);
	assert_int_equal(regmap_layout_from_file(path, REGMAP_FORMAT_AUTO, &l, &error), -E2BIG);
	ends(&error, "/big.toml: more than 64 MB: describe less");
	assert_null(l);
}

static void test_describe_limits_of_keys(void **state)
{
	static const char head[] =
		"{\"peripherals\":[{\"name\":\"P\",\"address\":0,\"size\":4,\"registers\":"
		"[{\"name\":\"R\",\"offset\":0,\"fields\":[{\"name\":\"F\",\"bits\":\"31:0\",\"values\":{";
	static const char head_toml[] =
		"[[peripherals]]\nname = \"P\"\naddress = 0\nsize = 4\n[[peripherals.registers]]\nname = \"R\"\noffset = 0\n"
		"[[peripherals.registers.fields]]\nname = \"F\"\nbits = \"31:0\"\n[peripherals.registers.fields.values]\n";
	struct {
		enum regmap_format format;
		const char *before, *item, *after, *message;
	} cases[] = {
		{REGMAP_FORMAT_JSON, head, "\"v#\":1,", "\"last\":1}}]}]}]}",
	         "the object has too many keys"},
		{REGMAP_FORMAT_YAML, head, "v#: 1,", "last: 1}}]}]}]}",
	         "the table has more than 1024 keys"},
		{REGMAP_FORMAT_TOML, head_toml, "v# = 1\n", "last = 1\n",
	         "the table has more than 1024 keys"},
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct regmap_error error = {0};
		char *text = repeated(cases[i].before, cases[i].item, cases[i].after, 1023);

		assert_int_equal(load(cases[i].format, text, &error), 0);
		free(text);
		text = repeated(cases[i].before, cases[i].item, cases[i].after, 1024);
		assert_int_equal(load(cases[i].format, text, &error), -E2BIG);
		ends(&error, cases[i].message);
		free(text);
	}
}

static void test_describe_limits_of_names(void **state)
{
	char text[600], name[260];
	struct regmap_error error = {0};

	(void)state;
	memset(name, 'N', sizeof(name));
	for (int length = 255; length <= 256; length++) {
		snprintf(
			text, sizeof(text),
			"[[regions]]\nname = \"%.*s\"\nguest_address = 0\nsize = 1\ntype = \"ram\"\n",
			length, name);
		assert_int_equal(load(REGMAP_FORMAT_TOML, text, &error),
		                 length == 255 ? 0 : -E2BIG);
	}
	assert_string_equal(error.text, "t:2:8: the name of a region has more than 255 bytes");
}

static void test_describe_limits_of_address_spaces(void **state)
{
	struct regmap_error error = {0};
	char *text = repeated("", "[[address_spaces]]\nname = \"s#\"\n", "", 64);

	(void)state;
	assert_int_equal(load(REGMAP_FORMAT_TOML, text, &error), 0);
	free(text);
	text = repeated("", "[[address_spaces]]\nname = \"s#\"\n", "", 65);
	assert_int_equal(load(REGMAP_FORMAT_TOML, text, &error), -E2BIG);
	assert_string_equal(error.text, "t:130:8: more than 64 address spaces");
	free(text);
	assert_int_equal(load(REGMAP_FORMAT_TOML, "[memory]\naddress_spaces = 65\n", &error),
	                 -EINVAL);
	assert_string_equal(error.text, "t:2:18: address_spaces: 65 is more than 64");
}

static void test_describe_limits_of_values(void **state)
{
	struct regmap_error error = {0};
	size_t length = 2000001 * 2 + 20;
	char *text = malloc(length), *at;

	(void)state;
	at = text + sprintf(text, "{\"rules\":[1");
	for (int i = 0; i < 2000000; i++)
		at += sprintf(at, ",1");
	strcpy(at, "]}");
	assert_int_equal(load(REGMAP_FORMAT_JSON, text, &error), -E2BIG);
	ends(&error, "more than 2000000 values: describe less, or use dim");
	free(text);
}

/* As deep as may be, and nothing runs out of stack on the way. */
static void test_describe_limits_of_chains(void **state)
{
	struct regmap_error error = {0};
	char *text, *at;

	(void)state;
	text = malloc(20000 * 100);
	at = text;
	for (int i = 0; i < 20000; i++)
		at += sprintf(
			at,
			"[[peripherals]]\nname = \"P%d\"\naddress = %d\nderived_from = \"P%d\"\n",
			i, 16 * i, i + 1);
	sprintf(at, "[[peripherals]]\nname = \"P20000\"\naddress = 320000\nsize = 16\n");
	assert_int_equal(load(REGMAP_FORMAT_TOML, text, &error), 0);
	sprintf(at,
	        "[[peripherals]]\nname = \"P20000\"\naddress = 320000\nderived_from = \"P0\"\n");
	assert_int_equal(load(REGMAP_FORMAT_TOML, text, &error), -EINVAL);
	assert_non_null(strstr(error.text, "derived_from goes in a circle: P0 -> P1 -> "));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_describe_limits_of_a_file),
		cmocka_unit_test(test_describe_limits_of_keys),
		cmocka_unit_test(test_describe_limits_of_names),
		cmocka_unit_test(test_describe_limits_of_address_spaces),
		cmocka_unit_test(test_describe_limits_of_values),
		cmocka_unit_test(test_describe_limits_of_chains),
	};

	return cmocka_run_group_tests_name("describe_limits", tests, NULL, NULL);
}
