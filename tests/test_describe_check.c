/* SPDX-License-Identifier: MIT */
/* regmap_layout_check_file(): all that is wrong, and what is odd. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layouts.h"

/* What was found, a line each, without the folder. */
static char all[8192];

static void add(void *ctx, bool is_error, const struct regmap_error *found)
{
	const char *at = found->text, *folder;

	assert_ptr_equal(ctx, all);
	strcat(all, is_error ? "E " : "W ");
	while ((folder = strstr(at, t_folder()))) {
		strncat(all, at, folder - at);
		at = folder + strlen(t_folder()) + 1;
	}
	strcat(all, at);
	strcat(all, "\n");
}

static int check(const char *name, const char *text)
{
	all[0] = '\0';
	return regmap_layout_check_file(t_text_file(name, text), REGMAP_FORMAT_AUTO, add, all);
}

static void test_describe_check_a_right_file_has_nothing(void **state)
{
	(void)state;
	assert_int_equal(
		check("a.toml",
	              "[device]\nname = \"D\"\n[[regions]]\nname = \"R\"\nguest_address = 0\nsize = 1\ntype = \"ram\"\n"),
		0);
	assert_string_equal(all, "");
}

static void test_describe_check_tells_all_errors(void **state)
{
	(void)state;
	assert_int_equal(
		check("b.toml",
	              "[device]\nnmae = \"D\"\n"
	              "[[regions]]\nname = \"A\"\nguest_address = 0\nsize = \"4QB\"\ntype = \"ram\"\n"
	              "[[regions]]\nname = \"B\"\nguest_address = 0x100\nsize = 16\ntype = \"rma\"\n"
	              "[[regions]]\nname = \"C\"\nguest_address = 0x200\nsize = 16\ntype = \"ram\"\n"
	              "[[regions]]\nname = \"D\"\nguest_address = 0x208\nsize = 16\ntype = \"ram\"\n"
	              "[[peripherals]]\nname = \"P\"\nsize = 4\n"
	              "[[peripherals]]\nname = \"Q\"\naddress = 0x1000\nsize = 4\nderived_from = \"X\"\n"),
		6);
	assert_string_equal(
		all,
		"E b.toml:2:1: unknown key \"nmae\" in [device]: did you mean \"name\"?\n"
		"E b.toml:6:8: size: \"4QB\" is not a whole number of bytes: write \"64KB\", \"1 MB\" or 65536\n"
		"E b.toml:12:8: type: \"rma\" is unknown: did you mean \"ram\"?\n"
		"E b.toml:19:8: region \"D\" (0x208-0x217) overlaps region \"C\" of b.toml:14 (0x200-0x20f): keep them apart, or put one wholly inside the other\n"
		"E b.toml:24:8: peripheral \"P\" has no address: add address = 0x...\n"
		"E b.toml:30:16: derived_from: there is no peripheral \"X\"\n");
}

static void test_describe_check_tells_all_wrong_rules(void **state)
{
	(void)state;
	assert_int_equal(
		check("c.toml",
	              "[device]\nname = \"D\"\n[[peripherals]]\nname = \"P\"\naddress = 0\nsize = 8\n"
	              "registers = [{ name = \"R\", offset = 0 }]\n"
	              "rules = [\n\"on read R: X = 1\",\n\"on read R: R = 1\",\n\"on wrote R: R = 1\"]\n"),
		2);
	assert_non_null(strstr(all, "E c.toml:9:1: "));
	assert_non_null(strstr(all, "E c.toml:11:1: "));
	assert_null(strstr(all, "c.toml:10:"));
}

static void test_describe_check_warns_of_gaps(void **state)
{
	static const char text[] =
		"[device]\nname = \"D\"\n"
		"[[regions]]\nname = \"A\"\nguest_address = 0\nsize = \"4KB\"\ntype = \"ram\"\n"
		"[[regions]]\nname = \"B\"\nguest_address = 0x1400\nsize = \"4KB\"\ntype = \"ram\"\n"
		"[[regions]]\nname = \"C\"\nguest_address = 0x2400\nsize = \"4KB\"\ntype = \"ram\"\n"
		"[[regions]]\nname = \"D\"\nguest_address = 0x20000\nsize = \"4KB\"\ntype = \"ram\"\n";

	(void)state;
	assert_int_equal(check("d.toml", text), 0);
	assert_string_equal(
		all, "W d.toml:9:8: a gap of 0x400 bytes between region \"A\" and region \"B\"\n");
}

/* An address block is called like its peripheral, which nobody can have written another way. */
static void test_describe_check_svd_blocks_are_nothing_odd(void **state)
{
	static const char text[] =
		"<device><name>X</name><addressUnitBits>8</addressUnitBits><width>32</width>\n"
		"<peripherals><peripheral><name>ADC1</name><baseAddress>0x40012400</baseAddress>\n"
		"<addressBlock><offset>0</offset><size>0x400</size><usage>registers</usage></addressBlock>\n"
		"<registers><register><name>SR</name><addressOffset>0</addressOffset></register></registers>\n"
		"</peripheral><peripheral derivedFrom=\"ADC1\"><name>ADC2</name>\n"
		"<baseAddress>0x40012800</baseAddress></peripheral></peripherals></device>\n";

	(void)state;
	assert_int_equal(check("a.svd", text), 0);
	assert_string_equal(all, "");
}

static void test_describe_check_warns_of_what_is_odd(void **state)
{
	(void)state;
	assert_int_equal(
		check("e.toml",
	              "[[regions]]\nname = \"IO\"\nguest_address = 0x1000\nsize = \"4KB\"\ntype = \"mmio\"\n"
	              "[[regions]]\nname = \"RAM\"\nguest_address = 0x20000\nsize = \"4KB\"\ntype = \"ram\"\ncontent = \"nothing.bin\"\n"
	              "[[peripherals]]\nname = \"IO\"\naddress = 0x1000\nsize = 16\n"
	              "registers = [{ name = \"A\", offset = 0 },\n{ name = \"B\", offset = 2, width = 16 },\n"
	              "{ name = \"C\", offset = 0, alternate = \"A\" },\n"
	              "{ name = \"D\", offset = 8, access = \"read-only\", rules = [\"on write: A = 1\"] },\n"
	              "{ name = \"E\", offset = 12, fields = [{ name = \"F\", bits = \"3:0\" },\n{ name = \"G\", bits = \"4:3\" }] }]\n"
	              "rules = [\"on write A if 0: B = 1\"]\n"
	              "[[peripherals]]\nname = \"OUT\"\naddress = 0x9000\nsize = 16\n"),
		0);
	assert_non_null(strstr(all, "the device has no name: add name to [device]\n"));
	assert_non_null(strstr(
		all,
		"W e.toml:2:8: region \"IO\" has the name of a peripheral: looked up, the name means only one of them\n"));
	assert_non_null(
		strstr(all,
	               "W e.toml:7:8: content of region \"RAM\": \"nothing.bin\" can't be read\n"));
	assert_non_null(strstr(
		all,
		"W e.toml:17:10: register \"IO.B\" overlaps \"A\": say alternate = \"A\" if it is another view of it\n"));
	assert_null(strstr(all, "register \"IO.C\""));
	assert_non_null(
		strstr(all, "W e.toml:19:58: the rule never applies: \"D\" can't be written\n"));
	assert_non_null(strstr(all, "W e.toml:21:10: field \"IO.E.G\" overlaps another one\n"));
	assert_non_null(
		strstr(all, "W e.toml:22:10: the rule never applies: its condition is 0\n"));
	assert_non_null(strstr(
		all,
		"W e.toml:24:8: peripheral \"OUT\" lies in no mmio region: one is made for it\n"));
}

static void test_describe_check_takes_overlays(void **state)
{
	(void)state;
	assert_int_equal(check("f.toml", "overlay = true\n[[peripherals]]\nname = \"USART*\"\n"),
	                 0);
	assert_string_equal(all, "");
	assert_int_equal(check("f.toml", "overlay = true\n[[peripherals]]\nnam = \"USART*\"\n"), 1);
	assert_string_equal(
		all, "E f.toml:3:1: unknown key \"nam\" in a peripheral: did you mean \"name\"?\n");
}

static void test_describe_check_tells_of_syntax_and_files(void **state)
{
	(void)state;
	assert_int_equal(check("g.json", "{\"device\": {]}"), 1);
	assert_string_equal(all, "E g.json:1:13: JSON: Missing a name for object member.\n");
	assert_int_equal(check("h.toml", "include = [\"nowhere.toml\"]\n[devic]\n"), 2);
	all[0] = '\0';
	assert_int_equal(regmap_layout_check_file("/nowhere/a.toml", REGMAP_FORMAT_AUTO, add, all),
	                 -ENOENT);
	assert_string_equal(all, "E /nowhere/a.toml: No such file or directory: check the path\n");
	assert_int_equal(regmap_layout_check_file("/nowhere/a.toml", REGMAP_FORMAT_AUTO, NULL,
	                                          NULL),
	                 -ENOENT);
}

static void test_describe_check_finds_nothing_wrong_with_templates(void **state)
{
	const char *name;

	(void)state;
	for (unsigned i = 0; (name = regmap_template_name(i)); i++) {
		const char *text = regmap_template_text(name);

		if (check("template.toml", text))
			fail_msg("%s: %s", name, all);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_describe_check_a_right_file_has_nothing),
		cmocka_unit_test(test_describe_check_tells_all_errors),
		cmocka_unit_test(test_describe_check_tells_all_wrong_rules),
		cmocka_unit_test(test_describe_check_warns_of_gaps),
		cmocka_unit_test(test_describe_check_svd_blocks_are_nothing_odd),
		cmocka_unit_test(test_describe_check_warns_of_what_is_odd),
		cmocka_unit_test(test_describe_check_takes_overlays),
		cmocka_unit_test(test_describe_check_tells_of_syntax_and_files),
		cmocka_unit_test(test_describe_check_finds_nothing_wrong_with_templates),
	};

	return cmocka_run_group_tests_name("describe_check", tests, NULL, NULL);
}
