/* SPDX-License-Identifier: MIT */
/* What was saved loads as an equal layout, whatever it came from and in whatever format. */
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

static const enum regmap_format formats[] = {REGMAP_FORMAT_TOML, REGMAP_FORMAT_YAML,
                                             REGMAP_FORMAT_JSON};

static char *saved(const struct regmap_layout *l, enum regmap_format format)
{
	struct regmap_error error = {0};
	char *text = NULL;
	size_t length = 0;
	int err = regmap_layout_save(l, format, &text, &length, &error);

	if (err)
		fail_msg("%d: %s", err, error.text);
	assert_int_equal(strlen(text), length);
	return text;
}

/* In each format, and told from the others by its content alone. */
static void goes_round(const struct regmap_layout *l)
{
	for (size_t i = 0; i < 3; i++) {
		char *text = saved(l, formats[i]);
		struct regmap_layout *again = t_describe(formats[i], text);

		t_layouts_equal(l, again);
		regmap_layout_free(again);
		again = t_describe(REGMAP_FORMAT_AUTO, text);
		t_layouts_equal(l, again);
		regmap_layout_free(again);
		free(text);
	}
}

static const char everything[] =
	"[device]\nname = \"All \\\"of\\\" it\"\ndescription = \"two\\nlines\\t\xC3\xA9\"\nmax_memory = \"3GB\"\n"
	"vendor = \"no\"\ncpu = \"0x12\"\nlicense = \" MIT: # \"\n"
	"[memory]\nallocate_at_once = false\npage_size = \"region\"\n"
	"[[address_spaces]]\nname = \"data\"\ndescription = \"d\"\noffset = 0x800000\n"
	"[[address_spaces]]\nname = \"program\"\n"
	"[[regions]]\nname = \"R A/M (1.0)-x\"\naddress_space = \"data\"\nguest_address = 0x100\nsize = 3\ntype = \"ram\"\n"
	"permissions = \"X\"\ndescription = \"d\"\ndevice = \"dev\"\ncontent = \"c.bin\"\nwidths = [8, 64]\nwidth_policy = \"allow\"\n"
	"[[regions]]\nname = \"None\"\naddress_space = \"data\"\nguest_address = 0x200\nsize = \"4KB\"\ntype = \"ram\"\npermissions = \"\"\nerased = 7\n"
	"[[regions]]\nname = \"Flash\"\naddress_space = \"program\"\nguest_address = 0\nsize = \"64KB\"\ntype = \"flash\"\nerased = 0\n"
	"flash = { program_if = \"T.CR.PG\", program_width = 16, sectors = [{ size = \"16KB\", count = 3 }, { size = 8192, count = 2 }] }\n"
	"[[regions]]\nname = \"Flash2\"\naddress_space = \"program\"\nguest_address = 0x10000\nsize = \"64KB\"\ntype = \"flash\"\nflash = { policy = \"ignore\" }\n"
	"[[regions]]\nname = \"ROM\"\naddress_space = \"program\"\nguest_address = 0x20000\nsize = \"64KB\"\ntype = \"rom\"\n"
	"[[regions]]\nname = \"OTP\"\naddress_space = \"program\"\nguest_address = 0x30000\nsize = 528\ntype = \"storage\"\nprogram_once = true\n"
	"[[regions]]\nname = \"Boot\"\naddress_space = \"data\"\nguest_address = 0x10000\nsize = 256\ntype = \"alias\"\ntarget = 0\ntarget_space = \"program\"\npermissions = \"RX\"\n"
	"[[regions]]\nname = \"Bits\"\naddress_space = \"data\"\nguest_address = 0x20000\nsize = 4096\ntype = \"bit-band\"\ntarget = 0x200\n"
	"[[regions]]\nname = \"Back\"\naddress_space = \"data\"\nguest_address = 0x30000\nsize = 4096\ntype = \"reversed-alias\"\ntarget = 0x200\n"
	"[[regions]]\nname = \"Ext\"\naddress_space = \"data\"\nguest_address = 0x40000\nsize = \"1TB\"\ntype = \"external\"\nattached = false\n"
	"[[regions]]\nname = \"IO\"\naddress_space = \"data\"\nguest_address = 0x20000000000\nsize = \"1MB\"\ntype = \"mmio\"\n"
	"[[peripherals]]\nname = \"T\"\naddress_space = \"data\"\naddress = 0x20000000000\nsize = 100\ndescription = \"t\"\ngroup = \"G\"\n"
	"widths = [32]\nwidth_policy = \"fault\"\nregister_width = 16\n"
	"interrupts = [{ name = \"A\", number = 3 }, { name = \"B\", number = -1, description = \"nmi\" }]\n"
	"rules = [\"on read CR: SR = 1\", \"on write SR if CR.PG: $x = value % 3; SR = $x\"]\n"
	"registers = [{ name = \"CR\", offset = 0, reset = 0x8000, reset_mask = 0xFF00, access = \"writeOnce\", read = \"modifyExternal\", write = \"set\", "
	"widths = [8, 16], width_policy = \"warn\", description = \"yes\", rules = [\"on write: SR = 2\"], "
	"fields = [{ name = \"PG\", bit = 15, access = \"read-write\", read = \"clear\", write = \"modify\", rules = [\"on set: SR = 3\"] },\n"
	"{ name = \"V\", bits = \"3:0\", values = { no = 0, \"a b\" = 1, \"0x2\" = 2 } },\n"
	"{ name = \"W\", bits = \"7:4\", description = \"w\", values = [{ name = \"P\", value = 1, description = \"p\", usage = \"read\" }, { name = \"Q\", default = true }] }] },\n"
	"{ name = \"SR\", offset = 2 }, { name = \"SR8\", offset = 2, width = 8, alternate = \"SR\" }]\n"
	"[[peripherals]]\nname = \"U\"\naddress = 0x30000000000\nsize = 8\nregister_width = 64\nregisters = [{ name = \"L\", offset = 0, reset = \"0xFFFFFFFFFFFFFFFF\" }]\n"
	"rules = [\"on reset: L = 1\"]\n";

static void test_describe_save_all_of_the_schema(void **state)
{
	struct regmap_layout *l = t_describe(REGMAP_FORMAT_TOML, everything);

	(void)state;
	/* What follows would be worth little if the text said less than it seems to. */
	assert_int_equal(t_region_of(l, "None")->permissions, 0);
	assert_int_equal(t_region_of(l, "Flash")->program_width, 2);
	assert_int_equal(t_region_of(l, "Ext")->detached, true);
	assert_int_equal(t_field_of(l, "T.CR.W")->value_count, 2);
	assert_true(t_register_of(l, "U.L")->reset_value == UINT64_MAX);
	assert_string_equal(l->vendor, "no");
	goes_round(l);
	regmap_layout_free(l);
}

static void test_describe_save_templates(void **state)
{
	const char *name;
	unsigned i;

	(void)state;
	for (i = 0; (name = regmap_template_name(i)); i++) {
		struct regmap_layout *l;
		struct regmap_error error;
		int err = regmap_layout_from_template(name, &l, &error);

		if (err)
			fail_msg("%s", error.text);
		goes_round(l);
		regmap_layout_free(l);
	}
	assert_true(i > 0);
}

static const char svd[] =
	"<?xml version=\"1.0\"?><device><name>X</name><description>A \"chip\" &amp; more</description>\n"
	"<size>32</size><resetValue>0</resetValue><resetMask>0xFFFFFFFF</resetMask><access>read-write</access>\n"
	"<peripherals><peripheral><name>T</name><description>line 1\n   line 2</description><groupName>Timers</groupName>\n"
	"<baseAddress>0x40000000</baseAddress>\n"
	"<addressBlock><offset>0</offset><size>0x400</size><usage>registers</usage></addressBlock>\n"
	"<interrupt><name>TI</name><description>i</description><value>7</value></interrupt>\n"
	"<registers><register><dim>3</dim><dimIncrement>4</dimIncrement><name>A%s</name><addressOffset>0</addressOffset>\n"
	"<resetValue>5</resetValue><fields><field><name>F</name><bitRange>[7:4]</bitRange><access>read-only</access>\n"
	"<readAction>clear</readAction><enumeratedValues><enumeratedValue><name>on</name><description>it</description><value>1</value>\n"
	"</enumeratedValue></enumeratedValues></field></fields></register>\n"
	"<cluster><dim>2</dim><dimIncrement>0x10</dimIncrement><name>C[%s]</name><addressOffset>0x100</addressOffset>\n"
	"<register><name>B</name><addressOffset>4</addressOffset><size>16</size><modifiedWriteValues>oneToClear</modifiedWriteValues></register>\n"
	"</cluster></registers></peripheral>\n"
	"<peripheral derivedFrom=\"T\"><name>U</name><baseAddress>0x40001000</baseAddress></peripheral></peripherals></device>\n";

static void test_describe_save_svd_files(void **state)
{
	struct regmap_layout *l = t_describe(REGMAP_FORMAT_SVD, svd);

	(void)state;
	assert_int_equal(l->peripheral_count, 2);
	assert_int_equal(t_peripheral_of(l, "U")->register_count, 5);
	goes_round(l);
	regmap_layout_free(l);
}

/* An order that no text has: rules of a register before those of its peripheral, the device's between. */
static void test_describe_save_layouts_built_in_code(void **state)
{
	const struct regmap_register a = {.name = "A", .width = 4, .reset_mask = 0xFFFFFFFF};
	const struct regmap_register b = {.name = "B",
	                                  .offset = 4,
	                                  .width = 4,
	                                  .reset_mask = 0xFFFFFFFF};
	const struct regmap_peripheral p = {.name = "P", .address = 0x1000, .length = 16};
	struct regmap_layout *l;

	(void)state;
	assert_int_equal(regmap_layout_new("Built", &l), 0);
	assert_int_equal(regmap_layout_add_peripheral(l, &p, NULL), 0);
	assert_int_equal(regmap_layout_add_register(l, "P", &a, NULL), 0);
	assert_int_equal(regmap_layout_add_register(l, "P", &b, NULL), 0);
	assert_int_equal(regmap_layout_add_rule(l, "P.B", "on write: A = 1", NULL), 0);
	assert_int_equal(regmap_layout_add_rule(l, "", "on write P.B: P.A = 2", NULL), 0);
	assert_int_equal(regmap_layout_add_rule(l, "P", "on write B: A = 3", NULL), 0);
	for (size_t i = 0; i < 3; i++) {
		char *text = saved(l, formats[i]);
		struct regmap_layout *again = t_describe(formats[i], text);

		assert_int_equal(again->rule_count, 3);
		for (size_t k = 0; k < 3; k++) {
			assert_string_equal(again->rules[k]->text, l->rules[k]->text);
			assert_string_equal(again->rules[k]->scope, l->rules[k]->scope);
		}
		assert_int_equal(t_register_of(again, "P.B")->offset, 4);
		regmap_layout_free(again);
		free(text);
	}
	regmap_layout_free(l);
}

static void test_describe_save_is_for_people(void **state)
{
	static const char text[] =
		"schema = 1\n\n[device]\nname = \"D\"\n\n[memory]\nallocate_at_once = true\npage_size = \"4KB\"\n\n"
		"[[regions]]\nname = \"Flash\"\nguest_address = 0x08000000\nsize = \"64KB\"\npermissions = \"RX\"\ntype = \"flash\"\n\n"
		"[[regions]]\nname = \"IO\"\nguest_address = 0x40000000\nsize = 1000\npermissions = \"RW\"\ntype = \"mmio\"\n\n"
		"[[peripherals]]\nname = \"P\"\naddress = 0x40000000\nsize = 16\nwidths = [32]\n\n"
		"  [[peripherals.registers]]\n  name = \"R\"\n  offset = 0xC\n  reset = 0x83\n  fields = [\n"
		"    { name = \"A\", bit = 0 },\n    { name = \"B\", bits = \"3:2\", values = { OFF = 0, ON = 1 } },\n  ]\n";
	struct regmap_layout *l = t_describe(REGMAP_FORMAT_TOML, text);
	char *again = saved(l, REGMAP_FORMAT_TOML), *json = saved(l, REGMAP_FORMAT_JSON);
	char *yaml = saved(l, REGMAP_FORMAT_YAML);

	(void)state;
	assert_string_equal(again, text);
	assert_non_null(
		strstr(json, "\"guest_address\": \"0x08000000\",\n      \"size\": \"64KB\""));
	assert_non_null(
		strstr(yaml, "\n- name: Flash\n  guest_address: 0x08000000\n  size: 64KB\n"));
	free(again);
	free(json);
	free(yaml);
	regmap_layout_free(l);
}

static void test_describe_save_after_an_overlay(void **state)
{
	static const char more[] =
		"[[peripherals]]\nname = \"T\"\nrules = [\"on read SR: CR = 4\"]\n";
	struct regmap_layout *l = t_describe(REGMAP_FORMAT_TOML, everything);

	(void)state;
	assert_int_equal(regmap_layout_overlay_string(l, more, sizeof(more) - 1, REGMAP_FORMAT_TOML,
	                                              "m", NULL),
	                 0);
	assert_string_equal(l->rules[2]->text, "on read SR: CR = 4");
	goes_round(l);
	regmap_layout_free(l);
}

static void test_describe_save_laid_over_nothing_changes_nothing(void **state)
{
	struct regmap_layout *l = t_describe(REGMAP_FORMAT_TOML, everything);
	struct regmap_layout *same = t_describe(REGMAP_FORMAT_TOML, everything);

	(void)state;
	assert_int_equal(regmap_layout_overlay_string(l, "", 0, REGMAP_FORMAT_TOML, "m", NULL), 0);
	t_layouts_equal(l, same);
	regmap_layout_free(l);
	regmap_layout_free(same);
}

static void test_describe_save_refuses_what_it_cannot_write(void **state)
{
	struct regmap_layout *l;
	struct regmap_error error = {0};
	char *text = (char *)1;
	size_t length;

	(void)state;
	assert_int_equal(regmap_layout_new("\xFF", &l), 0);
	assert_int_equal(regmap_layout_save(l, REGMAP_FORMAT_TOML, &text, &length, &error),
	                 -EINVAL);
	assert_string_equal(error.text, "a string of the layout is not UTF-8: correct it");
	assert_null(text);
	assert_int_equal(regmap_layout_save(l, REGMAP_FORMAT_SVD, &text, &length, &error), -EINVAL);
	assert_string_equal(error.text, "only TOML, YAML and JSON can be written");
	regmap_layout_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_describe_save_all_of_the_schema),
		cmocka_unit_test(test_describe_save_templates),
		cmocka_unit_test(test_describe_save_svd_files),
		cmocka_unit_test(test_describe_save_layouts_built_in_code),
		cmocka_unit_test(test_describe_save_is_for_people),
		cmocka_unit_test(test_describe_save_after_an_overlay),
		cmocka_unit_test(test_describe_save_laid_over_nothing_changes_nothing),
		cmocka_unit_test(test_describe_save_refuses_what_it_cannot_write),
	};

	return cmocka_run_group_tests_name("describe_save", tests, NULL, NULL);
}
