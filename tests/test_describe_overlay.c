/* SPDX-License-Identifier: MIT */
/* Files that include others, overlays, and what a description says in short: derived_from, dim, locks. */
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

#include <cmocka.h>

#include "layouts.h"

#define TOML REGMAP_FORMAT_TOML
#define AUTO REGMAP_FORMAT_AUTO

static const char chip[] =
	"[device]\nname = \"Chip\"\nvendor = \"V\"\n"
	"[memory]\npage_size = \"1KB\"\n"
	"[[regions]]\nname = \"RAM\"\nguest_address = 0x20000000\nsize = \"8KB\"\ntype = \"ram\"\n"
	"[[regions]]\nname = \"Flash\"\nguest_address = 0x08000000\nsize = \"8KB\"\ntype = \"flash\"\n"
	"flash = { policy = \"program\", program_width = 16 }\n"
	"[[peripherals]]\nname = \"USART1\"\naddress = 0x40000000\nsize = 16\nrules = [\"on read DR: SR.RXNE = 0\"]\n"
	"  [[peripherals.registers]]\n  name = \"SR\"\n  offset = 0\n  reset = 1\n"
	"  fields = [{ name = \"RXNE\", bit = 5 }, { name = \"TXE\", bit = 7, write = \"zeroToClear\" }]\n"
	"  [[peripherals.registers]]\n  name = \"DR\"\n  offset = 4\n"
	"[[peripherals]]\nname = \"USART2\"\naddress = 0x40000100\nderived_from = \"USART1\"\n"
	"[[peripherals]]\nname = \"GPIO%s\"\naddress = 0x40001000\nsize = 16\ndim = 3\ndim_increment = 0x400\ndim_index = \"A,B,C\"\n"
	"registers = [{ name = \"CRL\", offset = 0, reset = 0x44444444 }, { name = \"CRH\", offset = 4 }]\n";

static struct regmap_layout *laid_over(const char *overlay)
{
	struct regmap_layout *l = t_describe(TOML, chip);
	struct regmap_error error = {0};
	int err = regmap_layout_overlay_string(l, overlay, strlen(overlay), AUTO, "o", &error);

	if (err)
		fail_msg("%d: %s", err, error.text);
	return l;
}

/* The layout stays as it was. @message: how what is told begins. */
static void not_laid_over(const char *overlay, int err, const char *message)
{
	struct regmap_layout *l = t_describe(TOML, chip), *same = t_describe(TOML, chip);
	struct regmap_error error = {0};

	assert_int_equal(regmap_layout_overlay_string(l, overlay, strlen(overlay), AUTO, "o",
	                                              &error),
	                 err);
	if (strncmp(error.text, message, strlen(message)) != 0)
		assert_string_equal(error.text, message);
	t_layouts_equal(l, same);
	regmap_layout_free(l);
	regmap_layout_free(same);
}

/* ---- overlays ----------------------------------------------------------------------------------------- */

static void test_describe_overlay_keys_that_it_has_count(void **state)
{
	struct regmap_layout *l = laid_over(
		"overlay = true\n[device]\nname = \"Board\"\n"
		"[[regions]]\nname = \"RAM\"\nsize = \"16KB\"\n"
		"[[regions]]\nname = \"Flash\"\nflash = { program_width = 32 }\n"
		"[[peripherals]]\nname = \"USART1\"\n"
		"[[peripherals.registers]]\nname = \"SR\"\nreset = 0xC0\n"
		"fields = [{ name = \"TXE\", access = \"read-only\" }]\n");

	(void)state;
	assert_string_equal(l->name, "Board");
	assert_string_equal(l->vendor, "V");
	assert_int_equal(l->page_size, 1024);
	assert_int_equal(t_region_of(l, "RAM")->length, 16384);
	assert_int_equal(t_region_of(l, "RAM")->address, 0x20000000);
	assert_int_equal(t_region_of(l, "Flash")->program_width, 4);
	assert_int_equal(t_region_of(l, "Flash")->flash_policy, REGMAP_FLASH_PROGRAM);
	assert_int_equal(t_register_of(l, "USART1.SR")->reset_value, 0xC0);
	assert_int_equal(t_register_of(l, "USART2.SR")->reset_value, 1);
	assert_int_equal(t_field_of(l, "USART1.SR.TXE")->access, REGMAP_READ_ONLY);
	assert_int_equal(t_field_of(l, "USART1.SR.TXE")->write_action, REGMAP_WRITE_ZERO_TO_CLEAR);
	assert_int_equal(t_field_of(l, "USART1.SR.TXE")->lsb, 7);
	assert_int_equal(t_register_of(l, "USART1.SR")->field_count, 2);
	regmap_layout_free(l);
}

static void test_describe_overlay_other_entries_are_added(void **state)
{
	struct regmap_layout *l = laid_over(
		"[[regions]]\nname = \"More\"\nguest_address = 0x60000000\nsize = 1\ntype = \"ram\"\n"
		"[[peripherals]]\nname = \"NEW\"\naddress = 0x50000000\nsize = 4\n"
		"[[peripherals]]\nname = \"USART1\"\n"
		"[[peripherals.registers]]\nname = \"BRR\"\noffset = 8\nwidth = 16\n"
		"[[peripherals.registers]]\nname = \"DR\"\nfields = [{ name = \"D\", bits = \"8:0\" }]\n");

	(void)state;
	assert_int_equal(t_region_of(l, "More")->length, 1);
	assert_int_equal(t_peripheral_of(l, "NEW")->length, 4);
	assert_int_equal(t_register_of(l, "USART1.BRR")->width, 2);
	assert_int_equal(t_peripheral_of(l, "USART1")->register_count, 3);
	assert_int_equal(t_field_of(l, "USART1.DR.D")->width, 9);
	regmap_layout_free(l);
}

static void test_describe_overlay_takes_away(void **state)
{
	struct regmap_layout *l = laid_over(
		"[[regions]]\nname = \"RAM\"\nremove = true\n"
		"[[peripherals]]\nname = \"GPIO?\"\nremove = true\n"
		"[[peripherals]]\nname = \"USART1\"\n"
		"[[peripherals.registers]]\nname = \"SR\"\nfields = [{ name = \"TXE\", remove = true }]\n");

	(void)state;
	assert_int_equal(l->peripheral_count, 2);
	assert_int_equal(t_register_of(l, "USART1.SR")->field_count, 1);
	assert_int_equal(t_register_of(l, "USART2.SR")->field_count, 2);
	for (size_t i = 0; i < l->region_count; i++)
		assert_string_not_equal(l->regions[i]->name, "RAM");
	regmap_layout_free(l);
}

static void test_describe_overlay_patterns_match_as_in_a_shell(void **state)
{
	struct regmap_layout *l = laid_over(
		"[[peripherals]]\nname = \"USART*\"\n"
		"[[peripherals.registers]]\nname = \"?R\"\nreset = 0xC0\n"
		"[[peripherals]]\nname = \"G*O?\"\n"
		"[[peripherals.registers]]\nname = \"CR*\"\nwidths = [32]\n");

	(void)state;
	assert_int_equal(t_register_of(l, "USART1.SR")->reset_value, 0xC0);
	assert_int_equal(t_register_of(l, "USART1.DR")->reset_value, 0xC0);
	assert_int_equal(t_register_of(l, "USART2.SR")->reset_value, 0xC0);
	assert_int_equal(t_register_of(l, "GPIOA.CRL")->widths, 4);
	assert_int_equal(t_register_of(l, "GPIOC.CRH")->widths, 4);
	assert_int_equal(t_register_of(l, "GPIOA.CRL")->reset_value, 0x44444444);
	regmap_layout_free(l);
}

static void test_describe_overlay_registers_may_be_named_with_their_peripheral(void **state)
{
	struct regmap_layout *l = laid_over(
		"[[peripherals]]\nname = \"GPIO?.CRL\"\nreset = 0x33333333\n"
		"[[registers]]\nname = \"USART1.DR\"\nread = \"modify\"\n"
		"[[registers]]\nname = \"USART1.SR\"\nreset = 2\n"
		"[[peripherals]]\nname = \"USART?.SR.TXE\"\naccess = \"read-only\"\n");

	(void)state;
	assert_int_equal(t_register_of(l, "GPIOB.CRL")->reset_value, 0x33333333);
	assert_int_equal(t_register_of(l, "USART1.DR")->read_action, REGMAP_READ_MODIFY);
	assert_int_equal(t_register_of(l, "USART1.SR")->reset_value, 2);
	assert_int_equal(t_field_of(l, "USART2.SR.TXE")->access, REGMAP_READ_ONLY);
	regmap_layout_free(l);
}

static void test_describe_overlay_rules_are_added(void **state)
{
	struct regmap_layout *l = laid_over(
		"rules = [\"on read USART1.SR: USART2.DR = 1\"]\n"
		"[[peripherals]]\nname = \"USART1\"\nrules = [\"on write DR: SR.TXE = 1\"]\n"
		"[[peripherals.registers]]\nname = \"SR\"\nrules = [\"on read: DR = 0\"]\n");

	(void)state;
	assert_int_equal(l->rule_count, 5);
	assert_string_equal(l->rules[0]->text, "on read DR: SR.RXNE = 0");
	assert_string_equal(l->rules[0]->scope, "USART1");
	assert_string_equal(l->rules[1]->text, "on write DR: SR.TXE = 1");
	assert_string_equal(l->rules[2]->text, "on read: DR = 0");
	assert_string_equal(l->rules[2]->scope, "USART1.SR");
	assert_string_equal(l->rules[3]->scope, "USART2");
	assert_string_equal(l->rules[4]->scope, "");
	regmap_layout_free(l);
}

static void test_describe_overlay_what_is_named_must_be_there(void **state)
{
	(void)state;
	not_laid_over(
		"[[peripherals]]\nname = \"USRAT1\"\n[[peripherals.registers]]\nname = \"SR\"\nreset = 1\n",
		-ENOENT,
		"o:2:8: there is no peripheral \"USRAT1\" to correct, and a new one needs address: did you mean \"USART1\"?");
	not_laid_over(
		"[[peripherals]]\nname = \"USART1\"\n[[peripherals.registers]]\nname = \"SQ\"\nreset = 1\n",
		-ENOENT,
		"o:4:8: there is no register \"SQ\" to correct, and a new one needs offset: did you mean \"SR\"?");
	not_laid_over("[[peripherals]]\nname = \"SPI*\"\n", -ENOENT,
	              "o:2:8: there is no peripheral \"SPI*\": the pattern matches nothing");
	not_laid_over(
		"[[peripherals]]\nname = \"GPIO?.CRX*\"\n", -ENOENT,
		"o:2:8: there is no register \"CRX*\": the pattern matches nothing: did you mean \"CRL\"?");
	not_laid_over("[[regions]]\nname = \"RAN\"\nremove = true\n", -ENOENT,
	              "o:2:8: there is no region \"RAN\" to remove: did you mean \"RAM\"?");
	not_laid_over("[[registers]]\nname = \"CR\"\n", -EINVAL,
	              "o:2:8: register \"CR\" is in no peripheral: write \"PERIPHERAL.CR\"");
}

static void test_describe_overlay_changes_nothing_if_it_is_wrong(void **state)
{
	(void)state;
	not_laid_over("[[regions]]\nname = \"RAM\"\nsize = \"1GB\"\n[device]\nnam = 1\n", -EINVAL,
	              "o:5:1: unknown key \"nam\" in [device]: did you mean \"name\"?");
	not_laid_over("[[peripherals]]\nname = \"USART1\"\nrules = [\"nonsense\"]\n", -EINVAL,
	              "o:3:10: ");
}

static void test_describe_overlay_file_is_laid_over(void **state)
{
	struct regmap_layout *l = t_describe(TOML, chip);
	struct regmap_error error;

	(void)state;
	assert_int_equal(regmap_layout_overlay_file(
				 l, t_text_file("o.yaml", "overlay: true\ndevice:\n  cpu: M3\n"),
				 &error),
	                 0);
	assert_string_equal(l->cpu, "M3");
	assert_int_equal(regmap_layout_overlay_file(l, "/nowhere/o.toml", &error), -ENOENT);
	assert_string_equal(error.text,
	                    "/nowhere/o.toml: No such file or directory: check the path");
	regmap_layout_free(l);
}

static void test_describe_overlay_makes_no_device_alone(void **state)
{
	(void)state;
	t_describe_wrong(
		TOML, "overlay = true\n[[peripherals]]\nname = \"A*\"\n", -EINVAL,
		"t: it is an overlay and makes no device alone: lay it over one, or include one");
}

/* ---- includes ------------------------------------------------------------------------------------------ */

static void test_describe_overlay_a_board_includes_its_chip(void **state)
{
	struct regmap_layout *l;

	(void)state;
	mkdir(t_folder(), 0700);
	t_text_file("chip.toml", chip);
	l = t_describe_file(
		t_text_file("board.yaml",
	                    "include: [chip.toml]\ndevice: {name: Board}\nregions:\n"
	                    "- {name: RAM, size: 4KB}\n"
	                    "- {name: SDRAM, guest_address: 0xC0000000, size: 1MB, type: ram}\n"));
	assert_string_equal(l->name, "Board");
	assert_int_equal(t_region_of(l, "RAM")->length, 4096);
	assert_int_equal(t_region_of(l, "SDRAM")->length, 1 << 20);
	assert_int_equal(t_peripheral_of(l, "GPIOC")->address, 0x40001800);
	regmap_layout_free(l);
}

static void test_describe_overlay_includes_are_relative_to_the_including_file(void **state)
{
	char path[128];
	struct regmap_layout *l;

	(void)state;
	snprintf(path, sizeof(path), "%s/inner", t_folder());
	mkdir(path, 0700);
	t_text_file("inner/a.json", "{\"include\": \"b.toml\"}");
	t_text_file("inner/b.toml", chip);
	l = t_describe_file(t_text_file("outer.toml", "include = [\"inner/a.json\"]\n"));
	assert_int_equal(t_region_of(l, "RAM")->length, 8192);
	regmap_layout_free(l);
}

static void test_describe_overlay_includes_templates(void **state)
{
	struct regmap_layout
		*l = t_describe(TOML, "include = [\"template:rv64\"]\n[device]\nname = \"Mine\"\n"),
		*rv64;

	(void)state;
	assert_int_equal(regmap_layout_from_template("RV64", &rv64, NULL), 0);
	assert_string_equal(l->name, "Mine");
	assert_int_equal(l->region_count, rv64->region_count);
	assert_int_equal(l->peripheral_count, rv64->peripheral_count);
	regmap_layout_free(l);
	regmap_layout_free(rv64);
	t_describe_wrong(TOML, "include = [\"template:Z80\"]\n", -EINVAL,
	                 "t:1:12: include: there is no template \"Z80\": `regmap list` names all");
}

static void test_describe_overlay_includes_svd_files(void **state)
{
	struct regmap_layout *l;

	(void)state;
	t_text_file(
		"x.svd",
		"<?xml version=\"1.0\"?><device><name>X</name><description>d</description>"
		"<peripherals><peripheral><name>T</name><baseAddress>0x40000000</baseAddress>"
		"<addressBlock><offset>0</offset><size>16</size><usage>registers</usage></addressBlock>"
		"<registers><register><name>A</name><addressOffset>0</addressOffset><size>32</size>"
		"<resetValue>5</resetValue></register></registers></peripheral></peripherals></device>");
	l = t_describe_file(
		t_text_file("y.toml",
	                    "include = [\"x.svd\"]\n[[peripherals]]\nname = \"T\"\n"
	                    "[[peripherals.registers]]\nname = \"A\"\nread = \"clear\"\n"));
	assert_string_equal(l->name, "X");
	assert_int_equal(t_register_of(l, "T.A")->reset_value, 5);
	assert_int_equal(t_register_of(l, "T.A")->read_action, REGMAP_READ_CLEAR);
	regmap_layout_free(l);
}

static void test_describe_overlay_two_may_include_the_same(void **state)
{
	struct regmap_layout *l;

	(void)state;
	t_text_file("d.toml", chip);
	t_text_file("e.toml", "include = [\"d.toml\"]\n[device]\ncpu = \"c\"\n");
	l = t_describe_file(t_text_file("f.toml", "include = [\"d.toml\", \"e.toml\"]\n"));
	assert_string_equal(l->cpu, "c");
	assert_int_equal(l->rule_count, 2);
	regmap_layout_free(l);
}

static void wrong_file(const char *path, int err, const char *format)
{
	struct regmap_layout *l;
	struct regmap_error error = {0};
	char want[1024];
	const char *f = t_folder();

	snprintf(want, sizeof(want), format, f, f, f, f);
	assert_int_equal(regmap_layout_from_file(path, AUTO, &l, &error), err);
	assert_string_equal(error.text, want);
	assert_null(l);
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void test_describe_overlay_circles_are_told_with_their_chain(void **state)
{
	(void)state;
	t_text_file("b.toml", "schema = 1\ninclude = [\"c.toml\"]\n");
	t_text_file("c.toml", "include = [\n  \"a.toml\"]\n");
	wrong_file(
		t_text_file("a.toml", "include = [\"b.toml\"]\n"), -ELOOP,
		"%s/c.toml:2:3: include goes in a circle: %s/a.toml -> %s/b.toml -> %s/c.toml -> "
		"%1$s/a.toml: take one of these includes away");
	wrong_file(t_text_file("self.toml", "include = [\"self.toml\"]\n"), -ELOOP,
	           "%s/self.toml:1:12: include goes in a circle: %s/self.toml -> %s/self.toml: "
	           "take one of these includes away");
}

static void test_describe_overlay_errors_are_in_the_included_file(void **state)
{
	(void)state;
	t_text_file("g.toml", "# a chip\n[device]\nnaem = \"x\"\n");
	wrong_file(t_text_file("h.toml", "include = [\"g.toml\"]\n"), -EINVAL,
	           "%s/g.toml:3:1: unknown key \"naem\" in [device]: did you mean \"name\"?");
	wrong_file(
		t_text_file("i.toml", "include = [\"missing.toml\"]\n"), -ENOENT,
		"%s/i.toml:1:12: include: \"%s/missing.toml\": No such file or directory: check the path");
	t_text_file("j.toml",
	            "[[regions]]\nname = \"A\"\nguest_address = 0\nsize = 8\ntype = \"ram\"\n");
	wrong_file(
		t_text_file("k.toml",
	                    "include = [\"j.toml\"]\n[[regions]]\nname = \"B\"\nguest_address = 4\n"
	                    "size = 8\ntype = \"ram\"\n"),
		-EINVAL,
		"%s/k.toml:3:8: region \"B\" (0x4-0xb) overlaps region \"A\" of %s/j.toml:2 "
		"(0x0-0x7): keep them apart, or put one wholly inside the other");
}

static void test_describe_overlay_includes_have_a_depth(void **state)
{
	char name[32], text[64];

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "deep%d.toml", i);
		snprintf(text, sizeof(text), "include = [\"deep%d.toml\"]\n", i + 1);
		t_text_file(name, text);
	}
	snprintf(name, sizeof(name), "deep0.toml");
	wrong_file(t_text_file("deep.toml", "include = [\"deep0.toml\"]\n"), -E2BIG,
	           "%s/deep15.toml:1:12: includes are nested deeper than 16");
}

/* ---- derived_from -------------------------------------------------------------------------------------- */

static void test_describe_overlay_derived_peripherals_are_as_their_original(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[peripherals]]\nname = \"C\"\naddress = 0x300\nderived_from = \"B\"\n"
		"[[peripherals]]\nname = \"B\"\naddress = 0x200\nderived_from = \"A\"\ndescription = \"b\"\n"
		"registers = [{ name = \"X\", reset = 7 }, { name = \"Z\", offset = 8 }]\n"
		"[[peripherals]]\nname = \"A\"\naddress = 0x100\nsize = 0x20\ngroup = \"g\"\nwidths = [32]\n"
		"interrupts = [{ name = \"I\", number = 3 }]\nrules = [\"on read X: Y = 1\"]\n"
		"registers = [{ name = \"X\", offset = 0, fields = [{ name = \"F\", bit = 1 }] }, { name = \"Y\", offset = 4 }]\n");
	const struct regmap_peripheral *b = t_peripheral_of(l, "B"), *c = t_peripheral_of(l, "C");

	(void)state;
	assert_int_equal(b->address, 0x200);
	assert_int_equal(b->length, 0x20);
	assert_string_equal(b->group, "g");
	assert_string_equal(b->description, "b");
	assert_int_equal(b->widths, 4);
	assert_int_equal(b->interrupt_count, 1);
	assert_int_equal(b->register_count, 3);
	assert_int_equal(t_register_of(l, "B.X")->reset_value, 7);
	assert_int_equal(t_register_of(l, "A.X")->reset_value, 0);
	assert_int_equal(t_field_of(l, "B.X.F")->lsb, 1);
	assert_int_equal(t_register_of(l, "B.Z")->offset, 8);
	assert_int_equal(c->register_count, 3);
	assert_int_equal(t_register_of(l, "C.X")->reset_value, 7);
	assert_string_equal(c->description, "b");
	assert_int_equal(l->rule_count, 3);
	assert_string_equal(l->rules[2]->scope, "C");
	regmap_layout_free(l);
}

static void test_describe_overlay_derived_registers_and_fields(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[peripherals]]\nname = \"P\"\naddress = 0\nsize = 0x20\nregisters = [\n"
		"{ name = \"R1\", offset = 4, derived_from = \"R0\" },\n"
		"{ name = \"R0\", offset = 0, width = 16, access = \"read-only\", fields = [{ name = \"F\", bits = \"3:0\" }] },\n"
		"{ name = \"R2\", offset = 8, derived_from = \"Q.S\", fields = [{ name = \"G\", bit = 9, derived_from = \"R0.F\" }] }]\n"
		"[[peripherals]]\nname = \"Q\"\naddress = 0x100\nsize = 0x20\nregisters = [\n"
		"{ name = \"S\", offset = 0, reset = 0x10, fields = [{ name = \"H\", lsb = 12, derived_from = \"P.R0.F\", access = \"write-only\" }] }]\n");

	(void)state;
	assert_int_equal(t_register_of(l, "P.R1")->width, 2);
	assert_int_equal(t_register_of(l, "P.R1")->access, REGMAP_READ_ONLY);
	assert_int_equal(t_field_of(l, "P.R1.F")->width, 4);
	assert_int_equal(t_register_of(l, "P.R2")->reset_value, 0x10);
	assert_int_equal(t_field_of(l, "P.R2.G")->lsb, 9);
	assert_int_equal(t_field_of(l, "P.R2.G")->width, 1);
	assert_int_equal(t_field_of(l, "Q.S.H")->lsb, 12);
	assert_int_equal(t_field_of(l, "Q.S.H")->access, REGMAP_WRITE_ONLY);
	regmap_layout_free(l);
}

static void test_describe_overlay_derived_circles_are_refused(void **state)
{
	(void)state;
	t_describe_wrong(
		TOML,
		"[[peripherals]]\nname = \"A\"\naddress = 0\nsize = 1\nderived_from = \"B\"\n"
		"[[peripherals]]\nname = \"B\"\naddress = 1\nderived_from = \"C\"\n"
		"[[peripherals]]\nname = \"C\"\naddress = 2\nderived_from = \"B\"\n",
		-EINVAL, "t:9:16: derived_from goes in a circle: B -> C -> B");
	t_describe_wrong(
		TOML,
		"[[peripherals]]\nname = \"UART1\"\naddress = 0\nsize = 1\n"
		"[[peripherals]]\nname = \"UART2\"\naddress = 1\nderived_from = \"UATR1\"\n",
		-EINVAL,
		"t:8:16: derived_from: there is no peripheral \"UATR1\": did you mean \"UART1\"?");
}

/* ---- arrays -------------------------------------------------------------------------------------------- */

static void test_describe_overlay_arrays_become_their_items(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[peripherals]]\nname = \"P%s\"\ndescription = \"port %s\"\naddress = 0x1000\nsize = 0x100\n"
		"dim = 2\ndim_increment = 0x100\nregisters = [\n"
		"{ name = \"R%s\", offset = 0x10, dim = 3, dim_increment = 4, dim_index = \"2-4\" },\n"
		"{ name = \"S[%s]\", offset = 0x20, dim = 2, dim_increment = 4, dim_index = \"X-Y\" },\n"
		"{ name = \"M\", offset = 0x30, fields = [\n"
		"  { name = \"F%s\", bits = \"1:0\", dim = 4, dim_increment = 2 },\n"
		"  { name = \"G%s_E\", bit = 8, dim = 2, dim_increment = 3, dim_index = \"lo, hi\" }] }]\n");

	(void)state;
	assert_int_equal(l->peripheral_count, 2);
	assert_int_equal(t_peripheral_of(l, "P1")->address, 0x1100);
	assert_string_equal(t_peripheral_of(l, "P1")->description, "port 1");
	assert_int_equal(t_register_of(l, "P1.R2")->offset, 0x10);
	assert_int_equal(t_register_of(l, "P1.R4")->offset, 0x18);
	assert_int_equal(t_register_of(l, "P0.SX")->offset, 0x20);
	assert_int_equal(t_register_of(l, "P0.SY")->offset, 0x24);
	assert_int_equal(t_field_of(l, "P0.M.F3")->lsb, 6);
	assert_int_equal(t_field_of(l, "P0.M.F3")->width, 2);
	assert_int_equal(t_field_of(l, "P0.M.Ghi_E")->lsb, 11);
	assert_int_equal(t_field_of(l, "P0.M.Ghi_E")->width, 1);
	regmap_layout_free(l);
}

static void wrong_array(const char *keys, const char *message)
{
	char text[256], want[256];

	snprintf(text, sizeof(text),
	         "[[peripherals]]\nname = \"P%%s\"\naddress = 0x10\nsize = 1\n%s", keys);
	snprintf(want, sizeof(want), "t:5:%s", message);
	t_describe_wrong(TOML, text, -EINVAL, want);
}

static void test_describe_overlay_wrong_arrays_are_told(void **state)
{
	(void)state;
	wrong_array("dim = 0\n", "7: dim: an array of 0: leave it out");
	wrong_array("dim = 2\n", "7: dim: an array needs dim_increment");
	wrong_array("dim = 65537\n", "7: dim: 65537 is more than 65536");
	wrong_array("dim_index = \"A,B\"\ndim = 3\ndim_increment = 4\n",
	            "13: dim_index: \"A,B\" doesn't name 3 items: write \"A,B,C\" or \"0-3\"");
	wrong_array("dim_index = \"0-3\"\ndim = 3\ndim_increment = 4\n",
	            "13: dim_index: \"0-3\" doesn't name 3 items: write \"A,B,C\" or \"0-3\"");
	wrong_array("dim = 3\ndim_increment = \"0x8000000000000000\"\n",
	            "7: dim: the array ends behind the last address");
	t_describe_wrong(
		TOML,
		"[[peripherals]]\nname = \"P\"\naddress = 0\nsize = 1\ndim = 2\ndim_increment = 4\n",
		-EINVAL, "t:5:7: dim: the name of an array needs %s, where 0, 1, ... goes");
}

static void test_describe_overlay_arrays_of_arrays_have_a_limit(void **state)
{
	struct regmap_layout *l;
	struct regmap_error error = {0};
	static const char text[] =
		"[[peripherals]]\nname = \"P%s\"\naddress = 0\nsize = 0x100000\ndim = 65536\n"
		"dim_increment = 0x100000\n"
		"registers = [{ name = \"R%s\", offset = 0, dim = 65536, dim_increment = 4 }]\n";

	assert_int_equal(regmap_layout_from_string(text, sizeof(text) - 1, TOML, "t", &l, &error),
	                 -E2BIG);
	assert_non_null(strstr(error.text, ": more than 2000000 values: describe less"));
	assert_int_equal(error.line, 7);
	assert_null(l);
	(void)state;
}

/* ---- regions ------------------------------------------------------------------------------------------- */

static void test_describe_overlay_peripherals_inside_of_regions(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[regions]]\nname = \"APB\"\nguest_address = 0x40000000\nsize = \"1MB\"\ntype = \"mmio\"\n"
		"[[regions.peripherals]]\nname = \"T\"\noffset = 0x400\nsize = 16\n"
		"[[regions.peripherals]]\nname = \"U\"\naddress = 0x40000800\nsize = 16\n");

	(void)state;
	assert_int_equal(t_peripheral_of(l, "T")->address, 0x40000400);
	assert_int_equal(t_peripheral_of(l, "U")->address, 0x40000800);
	assert_int_equal(l->region_count, 1);
	regmap_layout_free(l);
	t_describe_wrong(
		TOML,
		"[[regions]]\nname = \"APB\"\nguest_address = 0x40000000\nsize = 0x400\ntype = \"mmio\"\n"
		"[[regions.peripherals]]\nname = \"T\"\noffset = 0x3F8\nsize = 16\n",
		-EINVAL,
		"t:8:10: offset: the peripheral ends behind its region, which has a size of 0x400");
	t_describe_wrong(
		TOML, "[[peripherals]]\nname = \"T\"\noffset = 0\nsize = 16\n", -EINVAL,
		"t:3:1: offset counts from a region, and this peripheral is in none's list: write address");
}

static void test_describe_overlay_address_spaces_have_offsets(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[address_spaces]]\nname = \"data\"\noffset = 0x800000\n"
		"[[address_spaces]]\nname = \"program\"\noffset = 0\n"
		"[[regions]]\nname = \"RAM\"\naddress_space = \"data\"\nguest_address = 0x100\nsize = 16\ntype = \"ram\"\n"
		"[[regions]]\nname = \"Alias\"\naddress_space = \"data\"\nguest_address = 0x200\nsize = 16\ntype = \"alias\"\ntarget = 0x100\n"
		"[[regions]]\nname = \"Flash\"\naddress_space = \"program\"\nguest_address = 0\nsize = 16\ntype = \"flash\"\n"
		"[[regions]]\nname = \"View\"\naddress_space = \"data\"\nguest_address = 0x300\nsize = 16\ntype = \"alias\"\ntarget = 0\ntarget_space = \"program\"\n"
		"[[peripherals]]\nname = \"IO\"\naddress_space = \"data\"\naddress = 0x20\nsize = 64\n");

	(void)state;
	assert_int_equal(l->space_count, 2);
	assert_int_equal(t_region_of(l, "RAM")->address, 0x800100);
	assert_string_equal(t_region_of(l, "RAM")->space, "data");
	assert_int_equal(t_region_of(l, "Alias")->target, 0x800100);
	assert_int_equal(t_region_of(l, "View")->target, 0);
	assert_int_equal(t_peripheral_of(l, "IO")->address, 0x800020);
	regmap_layout_free(l);
	l = t_describe(TOML, "[memory]\naddress_spaces = 3\n");
	assert_int_equal(l->space_count, 3);
	assert_string_equal(l->spaces[2]->name, "2");
	assert_true(l->spaces[2]->offset == 2ull << 40);
	regmap_layout_free(l);
	t_describe_wrong(
		TOML,
		"[[regions]]\nname = \"R\"\naddress_space = \"x\"\nguest_address = 0\nsize = 1\ntype = \"ram\"\n",
		-EINVAL,
		"t:3:17: address_space: there is no address space \"x\": list it in address_spaces");
}

/* ---- locks, defaults ------------------------------------------------------------------------------------ */

static void test_describe_overlay_locks_become_rules(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[peripherals]]\nname = \"F\"\naddress = 0\nsize = 16\n"
		"locks = [{ bit = \"CR.LOCK\", key = \"KEYR\", keys = [0x45670123, 0xCDEF89AB], protects = [\"CR\", \"AR\"] }]\n"
		"registers = [{ name = \"KEYR\", offset = 4 }, { name = \"AR\", offset = 8 },\n"
		"{ name = \"CR\", offset = 0, fields = [{ name = \"LOCK\", bit = 7 }] }]\n");

	(void)state;
	assert_int_equal(t_register_of(l, "F.CR")->reset_value, 0x80);
	assert_int_equal(t_field_of(l, "F.CR.LOCK")->write_action, REGMAP_WRITE_ONE_TO_SET);
	assert_int_equal(l->rule_count, 3);
	assert_string_equal(l->rules[1]->text, "ignore write CR if CR.LOCK");
	assert_string_equal(l->rules[2]->text, "ignore write AR if CR.LOCK");
	regmap_layout_free(l);
}

static void test_describe_overlay_wrong_locks_are_told(void **state)
{
	static const char form[] =
		"[[peripherals]]\nname = \"F\"\naddress = 0\nsize = 16\n"
		"locks = [{ %s }]\nregisters = [{ name = \"KEYR\", offset = 4 },\n"
		"{ name = \"CR\", offset = 0, fields = [{ name = \"LOCK\", bit = 7 }] }]\n";
	static const char *const cases[][2] = {
		{"key = \"KEYR\", keys = [1], protects = [\"CR\"]",
	         "t:5:10: a lock has no bit: it needs bit, key, keys and protects"},
		{"bit = \"CR.LOCK\", key = \"KEYS\", keys = [1], protects = [\"CR\"]",
	         "t:5:35: a lock: there is no register \"KEYS\": did you mean \"KEYR\"?"},
		{"bit = \"CR.LOKC\", key = \"KEYR\", keys = [1], protects = [\"CR\"]",
	         "t:5:18: a lock: there is no field \"CR.LOKC\""},
		{"bit = \"LOCK\", key = \"KEYR\", keys = [1], protects = [\"CR\"]",
	         "t:5:18: a lock's bit is a field: write \"REGISTER.FIELD\", not \"LOCK\""},
		{"bit = \"CR.LOCK\", key = \"KEYR\", keys = [], protects = [\"CR\"]",
	         "t:5:50: keys: a lock has 1 to 16 keys"},
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), form, cases[i][0]);
		t_describe_wrong(TOML, text, -EINVAL, cases[i][1]);
	}
}

static void test_describe_overlay_registers_have_defaults(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[peripherals]]\nname = \"A\"\naddress = 0\nsize = 16\nregister_width = 16\n"
		"register_access = \"read-only\"\nregister_reset = 0x12345\nregister_reset_mask = 0xFF\n"
		"registers = [{ name = \"R\", offset = 0 }, { name = \"S\", offset = 4, width = 32, access = \"read-write\", reset = 3, reset_mask = 0xF }]\n"
		"[[peripherals]]\nname = \"B\"\naddress = 16\nsize = 16\nregisters = [{ name = \"R\", offset = 0, fields = [{ name = \"F\", bit = 0 }] }]\n");
	const struct regmap_register *r = t_register_of(l, "A.R"), *s = t_register_of(l, "A.S");

	(void)state;
	assert_int_equal(r->width, 2);
	assert_int_equal(r->access, REGMAP_READ_ONLY);
	assert_int_equal(r->reset_value, 0x2345);
	assert_int_equal(r->reset_mask, 0xFF);
	assert_int_equal(s->width, 4);
	assert_int_equal(s->access, REGMAP_READ_WRITE);
	assert_int_equal(s->reset_value, 3);
	assert_int_equal(s->reset_mask, 0xF);
	r = t_register_of(l, "B.R");
	assert_int_equal(r->width, 4);
	assert_int_equal(r->access, REGMAP_READ_WRITE);
	assert_int_equal(r->reset_value, 0);
	assert_true(r->reset_mask == 0xFFFFFFFF);
	regmap_layout_free(l);
	t_describe_wrong(TOML,
	                 "[[peripherals]]\nname = \"A\"\naddress = 0\nsize = 16\n"
	                 "registers = [{ name = \"R\", offset = 0, width = 8, reset = 0x100 }]\n",
	                 -EINVAL, "t:5:59: reset: 0x100 doesn't fit into the 8 bits of \"R\"");
}

static void test_describe_overlay_fields_are_as_their_register(void **state)
{
	struct regmap_layout *l = t_describe(
		TOML,
		"[[peripherals]]\nname = \"A\"\naddress = 0\nsize = 16\n"
		"registers = [{ name = \"R\", offset = 0, access = \"read-only\", read = \"clear\", write = \"oneToClear\", fields = [\n"
		"{ name = \"F\", bits = \"[7:4]\" }, { name = \"G\", bits = \"3-2\", access = \"read-write\", read = \"plain\", write = \"modify\" },\n"
		"{ name = \"H\", lsb = 10, width = 3 }, { name = \"I\", bits = \"1\" }] }]\n");

	(void)state;
	assert_int_equal(t_field_of(l, "A.R.F")->access, REGMAP_READ_ONLY);
	assert_int_equal(t_field_of(l, "A.R.F")->read_action, REGMAP_READ_CLEAR);
	assert_int_equal(t_field_of(l, "A.R.F")->write_action, REGMAP_WRITE_ONE_TO_CLEAR);
	assert_int_equal(t_field_of(l, "A.R.F")->lsb, 4);
	assert_int_equal(t_field_of(l, "A.R.F")->width, 4);
	assert_int_equal(t_field_of(l, "A.R.G")->read_action, REGMAP_READ_PLAIN);
	assert_int_equal(t_field_of(l, "A.R.G")->write_action, REGMAP_WRITE_MODIFY);
	assert_int_equal(t_field_of(l, "A.R.G")->lsb, 2);
	assert_int_equal(t_field_of(l, "A.R.H")->lsb, 10);
	assert_int_equal(t_field_of(l, "A.R.H")->width, 3);
	assert_int_equal(t_field_of(l, "A.R.I")->width, 1);
	regmap_layout_free(l);
	t_describe_wrong(
		TOML,
		"[[peripherals]]\nname = \"A\"\naddress = 0\nsize = 16\n"
		"registers = [{ name = \"R\", offset = 0, fields = [{ name = \"F\", bits = \"4:7\" }] }]\n",
		-EINVAL,
		"t:5:71: bits: \"4:7\" is not a range of bits: write \"7:4\", the higher one first, both below 64");
	t_describe_wrong(
		TOML,
		"[[peripherals]]\nname = \"A\"\naddress = 0\nsize = 16\n"
		"registers = [{ name = \"R\", offset = 0, fields = [{ name = \"F\", bits = \"4:2\", bit = 1 }] }]\n",
		-EINVAL,
		"t:5:59: field \"F\": say either bit = 5, bits = \"7:4\", or lsb and width");
}

#define TEST(name) cmocka_unit_test(test_describe_overlay_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_that_it_has_count),
		TEST(other_entries_are_added),
		TEST(takes_away),
		TEST(patterns_match_as_in_a_shell),
		TEST(registers_may_be_named_with_their_peripheral),
		TEST(rules_are_added),
		TEST(what_is_named_must_be_there),
		TEST(changes_nothing_if_it_is_wrong),
		TEST(file_is_laid_over),
		TEST(makes_no_device_alone),
		TEST(a_board_includes_its_chip),
		TEST(includes_are_relative_to_the_including_file),
		TEST(includes_templates),
		TEST(includes_svd_files),
		TEST(two_may_include_the_same),
		TEST(circles_are_told_with_their_chain),
		TEST(errors_are_in_the_included_file),
		TEST(includes_have_a_depth),
		TEST(derived_peripherals_are_as_their_original),
		TEST(derived_registers_and_fields),
		TEST(derived_circles_are_refused),
		TEST(arrays_become_their_items),
		TEST(wrong_arrays_are_told),
		TEST(arrays_of_arrays_have_a_limit),
		TEST(peripherals_inside_of_regions),
		TEST(address_spaces_have_offsets),
		TEST(locks_become_rules),
		TEST(wrong_locks_are_told),
		TEST(registers_have_defaults),
		TEST(fields_are_as_their_register),
	};

	return cmocka_run_group_tests_name("describe_overlay", tests, NULL, NULL);
}
