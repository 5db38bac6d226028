/* SPDX-License-Identifier: MIT */
/*
 * devices/regmap.schema.json says what the library says: the same keys, the templates are right by it, and
 * what is wrong by it doesn't load. A validator of others is asked; without one, this is skipped.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "layouts.h"

#define SCHEMA "devices/regmap.schema.json"

/* A program of Python's with the schema as `s` and the folder as `d`. */
static int python(const char *program)
{
	char command[4096];
	int status;

	snprintf(command, sizeof(command),
	         "python3 -c 'import sys, json, glob, os, tomllib, jsonschema\n"
	         "s = json.load(open(\"" SCHEMA "\")); d = \"%s\"\n"
	         "v = jsonschema.Draft7Validator(s)\n%s'",
	         t_folder(), program);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void run(const char *program)
{
	int status = python(program);

	if (status)
		fail_msg("python3 says %d", status);
}

static void test_describe_schema_is_one(void **state)
{
	(void)state;
	run("jsonschema.Draft7Validator.check_schema(s)");
}

/* What the message of an unknown key lists. */
static void write_keys(FILE *to, const char *definition, const char *form)
{
	static const char mark[] = ": known are ";
	struct regmap_layout *l;
	struct regmap_error error = {0};
	const char *list;

	assert_int_equal(regmap_layout_from_string(form, strlen(form), REGMAP_FORMAT_TOML, "t", &l,
	                                           &error),
	                 -22);
	list = strstr(error.text, mark);
	assert_non_null(list);
	fprintf(to, "%s: %s\n", definition, list + strlen(mark));
}

#define NONSENSE "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq = 1"

static void test_describe_schema_has_the_same_keys(void **state)
{
	static const char *const forms[][2] = {
		{"", NONSENSE},
		{"device", "[device]\n" NONSENSE},
		{"memory", "[memory]\n" NONSENSE},
		{"address_space", "[[address_spaces]]\n" NONSENSE},
		{"region", "[[regions]]\n" NONSENSE},
		{"peripheral", "[[peripherals]]\n" NONSENSE},
		{"register", "[[peripherals]]\n[[peripherals.registers]]\n" NONSENSE},
		{"field",
	         "[[peripherals]]\n[[peripherals.registers]]\n[[peripherals.registers.fields]]\n" NONSENSE},
		{"lock", "[[peripherals]]\n[[peripherals.locks]]\n" NONSENSE},
	};
	const char *path = t_text_file("keys", "");
	FILE *to = fopen(path, "w");

	(void)state;
	assert_non_null(to);
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		write_keys(to, forms[i][0], forms[i][1]);
	fclose(to);
	run("for line in open(d + \"/keys\"):\n"
	    "    name, keys = line.strip().split(\": \") if line[0] != \":\" else (\"\", line.strip()[2:])\n"
	    "    have = set((s[\"definitions\"][name] if name else s)[\"properties\"])\n"
	    "    want = set(keys.split(\", \"))\n"
	    "    if have != want: sys.exit(f\"{name}: {have ^ want}\")\n");
}

static void test_describe_schema_takes_the_templates(void **state)
{
	(void)state;
	run("files = glob.glob(\"devices/*.toml\")\n"
	    "if len(files) < 10: sys.exit(\"where are the templates?\")\n"
	    "for f in files:\n"
	    "    for e in v.iter_errors(tomllib.load(open(f, \"rb\"))): sys.exit(f\"{f}: {e.message} {list(e.path)}\")\n");
}

static void test_describe_schema_takes_what_is_saved(void **state)
{
	const char *name;

	(void)state;
	for (unsigned i = 0; (name = regmap_template_name(i)); i++) {
		struct regmap_layout *l;
		char *text, file[64];
		size_t length;

		assert_int_equal(regmap_layout_from_template(name, &l, NULL), 0);
		assert_int_equal(regmap_layout_save(l, REGMAP_FORMAT_JSON, &text, &length, NULL),
		                 0);
		snprintf(file, sizeof(file), "saved-%s.json", name);
		t_text_file(file, text);
		free(text);
		regmap_layout_free(l);
	}
	run("files = glob.glob(d + \"/saved-*.json\")\n"
	    "if len(files) != 10: sys.exit(\"not ten\")\n"
	    "for f in files:\n"
	    "    for e in v.iter_errors(json.load(open(f))): sys.exit(f\"{f}: {e.message} {list(e.path)}\")\n");
}

/* Texts that either both take or both refuse. */
static void test_describe_schema_refuses_what_the_library_refuses(void **state)
{
	static const char *const wrong[] = {
		"{\"schema\": 2}",
		"{\"nonsense\": 1}",
		"{\"device\": {\"nmae\": \"x\"}}",
		"{\"device\": {\"name\": 5}}",
		"{\"device\": {\"max_memory\": \"5XB\"}}",
		"{\"device\": {\"max_memory\": -1}}",
		"{\"device\": {\"max_memory\": \"1.5KB\"}}",
		"{\"memory\": {\"allocate_at_once\": 1}}",
		"{\"regions\": {}}",
		"{\"regions\": [5]}",
		"{\"regions\": [{\"name\": \"R\", \"guest_address\": \"0xQ\", \"size\": 1, \"type\": \"ram\"}]}",
		"{\"regions\": [{\"name\": \"R\", \"guest_address\": 0, \"size\": 1, \"type\": \"rma\"}]}",
		"{\"regions\": [{\"name\": \"R\", \"guest_address\": 0, \"size\": 1, \"type\": \"ram\", \"permissions\": \"Q\"}]}",
		"{\"regions\": [{\"guest_address\": 0, \"size\": 1, \"type\": \"ram\"}]}",
		"{\"peripherals\": [{\"name\": \"P\", \"address\": 0, \"size\": 4, \"registers\": [{\"name\": \"R\", \"offset\": 0, \"width\": 12}]}]}",
		"{\"peripherals\": [{\"name\": \"P\", \"address\": 0, \"size\": 4, \"dim\": 0}]}",
		"{\"rules\": [5]}",
	};
	static const char *const right[] = {
		"{\"$schema\": \"x\", \"schema\": 1}",
		"{\"include\": \"template:RV32\", \"peripherals\": [{\"name\": \"GPIO0.*\", \"width_policy\": \"allow\"}]}",
		"{\"regions\": [{\"name\": \"R\", \"guest_address\": \"0b1\", \"size\": \"1 MiB\", \"type\": \"RAM\", \"permissions\": \"r-x\"}]}",
		"{\"regions\": [{\"name\": \"R\", \"guest_address\": \"4_096\", \"size\": \"0x10KB\", \"type\": \"rom\"}]}",
	};
	char name[32];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct regmap_layout *l;

		if (!regmap_layout_from_string(wrong[i], strlen(wrong[i]), REGMAP_FORMAT_JSON, "t",
		                               &l, NULL))
			fail_msg("loads: %s", wrong[i]);
		snprintf(name, sizeof(name), "wrong-%zu.json", i);
		t_text_file(name, wrong[i]);
	}
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		regmap_layout_free(t_describe(REGMAP_FORMAT_JSON, right[i]));
		snprintf(name, sizeof(name), "right-%zu.json", i);
		t_text_file(name, right[i]);
	}
	run("files = glob.glob(d + \"/wrong-*.json\")\n"
	    "if len(files) != 17: sys.exit(\"not all\")\n"
	    "for f in files:\n"
	    "    if v.is_valid(json.load(open(f))): sys.exit(\"valid: \" + open(f).read())\n"
	    "for f in glob.glob(d + \"/right-*.json\"):\n"
	    "    for e in v.iter_errors(json.load(open(f))): sys.exit(f\"{open(f).read()}: {e.message}\")\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_describe_schema_is_one),
		cmocka_unit_test(test_describe_schema_has_the_same_keys),
		cmocka_unit_test(test_describe_schema_takes_the_templates),
		cmocka_unit_test(test_describe_schema_takes_what_is_saved),
		cmocka_unit_test(test_describe_schema_refuses_what_the_library_refuses),
	};

	if (python("") != 0)
		return 77;
	return cmocka_run_group_tests_name("describe_schema", tests, NULL, NULL);
}
