/* SPDX-License-Identifier: MIT */
/* Descriptions in TOML, YAML and JSON: one schema, and what is wrong with its place. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "layouts.h"

#define TOML REGMAP_FORMAT_TOML
#define YAML REGMAP_FORMAT_YAML
#define JSON REGMAP_FORMAT_JSON
#define AUTO REGMAP_FORMAT_AUTO

/* ---- the same in all formats ----------------------------------------------------------------------- */

static const char old_json[] =
	"{\"device\":{\"name\":\"Old\",\"description\":\"a file of the predecessor\",\"max_memory\":\"128MB\"},\n"
	"\"memory\":{\"allocate_at_once\":true,\"page_size\":\"4KB\",\"address_spaces\":1},\n"
	"\"regions\":[{\"name\":\"RAM\",\"guest_address\":\"0x00000000\",\"size\":\"64KB\",\"permissions\":\"RW\",\"type\":\"ram\"},\n"
	"{\"name\":\"FLASH\",\"guest_address\":\"0x08000000\",\"size\":\"1MB\",\"permissions\":\"RX\",\"type\":\"flash\"},\n"
	"{\"name\":\"UART\",\"guest_address\":\"0x40000000\",\"size\":\"1KB\",\"permissions\":\"RW\",\"type\":\"mmio\",\"device\":\"uart\"},\n"
	"{\"name\":\"EEPROM\",\"guest_address\":\"0x50000000\",\"size\":4096,\"permissions\":\"rw\",\"type\":\"Storage\",\"content\":\"e.bin\"}]}\n";

static const char old_toml[] =
	"[device]\nname = \"Old\"\ndescription = \"a file of the predecessor\"\nmax_memory = \"128MB\"\n"
	"[memory]\nallocate_at_once = true\npage_size = \"4KB\"\naddress_spaces = 1\n"
	"[[regions]]\nname = \"RAM\"\nguest_address = 0x00000000\nsize = \"64KB\"\npermissions = \"RW\"\ntype = \"ram\"\n"
	"[[regions]]\nname = \"FLASH\"\nguest_address = \"0x08000000\"\nsize = \"1 MB\"\npermissions = \"r-x\"\ntype = \"FLASH\"\n"
	"[[regions]]\nname = \"UART\"\nguest_address = 0x4000_0000\nsize = \"1KB\"\npermissions = \"RW\"\ntype = \"mmio\"\ndevice = \"uart\"\n"
	"[[regions]]\nname = \"EEPROM\"\nguest_address = \"1342177280\"\nsize = 0x1000\npermissions = \"RW\"\ntype = \"storage\"\ncontent = \"e.bin\"\n";

static const char old_yaml[] =
	"device:\n  name: Old\n  description: a file of the predecessor\n  max_memory: 128MB\n"
	"memory:\n  allocate_at_once: yes\n  page_size: 4KB\n  address_spaces: 1\n"
	"regions:\n"
	"  - name: RAM\n    guest_address: 0x00000000\n    size: 64KB\n    permissions: RW\n    type: ram\n"
	"  - {name: FLASH, guest_address: \"0x08000000\", size: 1MiB, permissions: \"rx\", type: flash}\n"
	"  - name: UART\n    guest_address: 0x40000000\n    size: 1kb\n    permissions: RW\n    type: mmio\n    device: uart\n"
	"  - name: EEPROM\n    guest_address: 0x50000000\n    size: 4096\n    permissions: RW\n    type: storage\n    content: e.bin\n";

static void test_describe_formats_predecessors_files_load_as_they_are(void **state)
{
	struct regmap_layout *l = t_describe(JSON, old_json);
	const struct regmap_region *r;

	(void)state;
	assert_string_equal(l->name, "Old");
	assert_string_equal(l->description, "a file of the predecessor");
	assert_int_equal(l->max_memory, 128 << 20);
	assert_true(l->allocate_at_once);
	assert_int_equal(l->page_size, 4096);
	assert_int_equal(l->region_count, 4);
	r = t_region_of(l, "FLASH");
	assert_int_equal(r->address, 0x08000000);
	assert_int_equal(r->length, 1 << 20);
	assert_int_equal(r->permissions, REGMAP_PERMIT_READ | REGMAP_PERMIT_EXECUTE);
	assert_int_equal(r->type, REGMAP_REGION_FLASH);
	assert_string_equal(t_region_of(l, "UART")->device, "uart");
	assert_string_equal(t_region_of(l, "EEPROM")->content, "e.bin");
	assert_int_equal(t_region_of(l, "EEPROM")->length, 4096);
	regmap_layout_free(l);
}

static void test_describe_formats_say_the_same(void **state)
{
	struct regmap_layout *a = t_describe(JSON, old_json), *b = t_describe(TOML, old_toml);
	struct regmap_layout *c = t_describe(YAML, old_yaml);

	(void)state;
	t_layouts_equal(a, b);
	t_layouts_equal(a, c);
	regmap_layout_free(a);
	regmap_layout_free(b);
	regmap_layout_free(c);
}

static void test_describe_formats_are_told_by_the_name(void **state)
{
	static const char *const names[][2] = {
		{"a.toml", old_toml}, {"a.yaml", old_yaml}, {"a.yml", old_yaml},
		{"a.json", old_json}, {"a.JSON", old_json}, {"a", old_toml},
	};
	struct regmap_layout *want = t_describe(JSON, old_json);

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct regmap_layout *l = t_describe_file(t_text_file(names[i][0], names[i][1]));

		t_layouts_equal(l, want);
		regmap_layout_free(l);
	}
	regmap_layout_free(want);
}

static void test_describe_formats_content_counts_more_than_the_name(void **state)
{
	static const char *const names[][2] = {
		{"b.yaml", old_toml}, {"b.json", old_toml}, {"b.toml", old_yaml},
		{"b.json", old_yaml}, {"b.toml", old_json}, {"b.yaml", old_json},
		{"b.svd", old_toml},  {"b", old_yaml},      {"b.txt", old_json},
	};
	struct regmap_layout *want = t_describe(JSON, old_json);

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct regmap_layout *l = t_describe_file(t_text_file(names[i][0], names[i][1]));

		t_layouts_equal(l, want);
		regmap_layout_free(l);
	}
	regmap_layout_free(want);
}

/* The predecessor ships one: comments, then TOML, in a file called .yaml. */
static void test_describe_formats_toml_in_a_yaml_file_loads(void **state)
{
	char text[sizeof(old_toml) + 100];
	struct regmap_layout *want = t_describe(TOML, old_toml), *l;

	(void)state;
	snprintf(text, sizeof(text), "# A device: what it is\n\n   # more\n%s", old_toml);
	l = t_describe_file(t_text_file("c.yaml", text));
	t_layouts_equal(l, want);
	regmap_layout_free(l);
	regmap_layout_free(want);
}

static void test_describe_formats_byte_order_marks_do_no_harm(void **state)
{
	static const char *const texts[] = {old_toml, old_yaml, old_json};
	static const enum regmap_format formats[] = {TOML, YAML, JSON};
	struct regmap_layout *want = t_describe(JSON, old_json);
	char text[2000];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct regmap_layout *l;

		snprintf(text, sizeof(text), "\xEF\xBB\xBF%s", texts[i]);
		l = t_describe(formats[i], text);
		t_layouts_equal(l, want);
		regmap_layout_free(l);
		l = t_describe(AUTO, text);
		t_layouts_equal(l, want);
		regmap_layout_free(l);
	}
	regmap_layout_free(want);
}

/* ---- values ------------------------------------------------------------------------------------------- */

static uint64_t size_of(const char *size)
{
	char text[256];
	struct regmap_layout *l;
	uint64_t length;

	snprintf(text, sizeof(text),
	         "[[regions]]\nname = \"R\"\nguest_address = 0\nsize = %s\ntype = \"ram\"\n", size);
	l = t_describe(TOML, text);
	length = t_region_of(l, "R")->length;
	regmap_layout_free(l);
	return length;
}

static void test_describe_formats_sizes_have_units(void **state)
{
	(void)state;
	assert_int_equal(size_of("17"), 17);
	assert_int_equal(size_of("0x17"), 0x17);
	assert_int_equal(size_of("\"17\""), 17);
	assert_int_equal(size_of("\"0x1_0\""), 16);
	assert_int_equal(size_of("\"0b101\""), 5);
	assert_int_equal(size_of("\"512B\""), 512);
	assert_int_equal(size_of("\"4KB\""), 4096);
	assert_int_equal(size_of("\"4kb\""), 4096);
	assert_int_equal(size_of("\"4KiB\""), 4096);
	assert_int_equal(size_of("\"4 KB\""), 4096);
	assert_int_equal(size_of("\"4K\""), 4096);
	assert_int_equal(size_of("\"1MB\""), 1 << 20);
	assert_true(size_of("\"2GB\"") == 2ull << 30);
	assert_true(size_of("\"1TB\"") == 1ull << 40);
	assert_int_equal(size_of("\"0x10KB\""), 16 << 10);
}

static void wrong_size(const char *size, const char *message)
{
	char text[256], whole[400];

	snprintf(text, sizeof(text),
	         "[[regions]]\nname = \"R\"\nguest_address = 0\nsize = %s\ntype = \"ram\"\n", size);
	snprintf(whole, sizeof(whole), "t:4:8: size: %s", message);
	t_describe_wrong(TOML, text, -EINVAL, whole);
}

#define NO_BYTES " is not a whole number of bytes: write \"64KB\", \"1 MB\" or 65536"

static void test_describe_formats_wrong_sizes_are_refused(void **state)
{
	(void)state;
	wrong_size("\"99999999TB\"", "\"99999999TB\" is more than 64 bits hold");
	wrong_size("\"18446744073709551616\"",
	           "\"18446744073709551616\" is more than 64 bits hold");
	wrong_size("\"0\"", "region \"R\" has no bytes: make it 1 or more");
	wrong_size("0", "region \"R\" has no bytes: make it 1 or more");
	wrong_size("\"0KB\"", "region \"R\" has no bytes: make it 1 or more");
	wrong_size("-4096", "-4096 is negative");
	wrong_size("\"-4KB\"", "\"-4KB\" is negative");
	wrong_size("4.5", "expected a whole number, not a fraction");
	wrong_size("\"1.5KB\"", "\"1.5KB\"" NO_BYTES);
	wrong_size("\"4XB\"", "\"4XB\"" NO_BYTES);
	wrong_size("\"KB\"", "\"KB\"" NO_BYTES);
	wrong_size("\"\"", "\"\"" NO_BYTES);
	wrong_size("\"4KB5\"", "\"4KB5\"" NO_BYTES);
	wrong_size("\"0x\"", "\"0x\"" NO_BYTES);
	wrong_size("\"1__0\"", "\"1__0\"" NO_BYTES);
	wrong_size("\"010\"", "\"010\"" NO_BYTES);
	wrong_size("true", "expected a whole number, not true or false");
	wrong_size("[4096]", "expected a whole number, not a list");
	wrong_size("1979-05-27", "expected a whole number, not a date or time");
}

static void test_describe_formats_addresses_have_64_bits(void **state)
{
	struct regmap_layout *l = t_describe(
		JSON,
		"{\"regions\":[{\"name\":\"A\",\"guest_address\":72057594037927920,\"size\":1,\"type\":\"ram\"},"
		"{\"name\":\"B\",\"guest_address\":\"0x00FFFFFFFFFFFFFF\",\"size\":1,\"type\":\"ram\"}]}");

	(void)state;
	assert_true(t_region_of(l, "A")->address == 0x00FFFFFFFFFFFFF0);
	assert_true(t_region_of(l, "B")->address == 0x00FFFFFFFFFFFFFF);
	regmap_layout_free(l);
	t_describe_wrong(
		TOML,
		"[[regions]]\nname = \"R\"\nguest_address = \"0x1FFFFFFFFFFFFFFFF\"\n"
		"size = 1\ntype = \"ram\"\n",
		-EINVAL,
		"t:3:17: guest_address: \"0x1FFFFFFFFFFFFFFFF\" is more than 64 bits hold");
	t_describe_wrong(JSON,
	                 "{\"regions\":[{\"name\":\"A\",\n\"guest_address\":18446744073709551616,\n"
	                 "\"size\":1,\"type\":\"ram\"}]}",
	                 -EINVAL,
	                 "t:2:17: guest_address: 18446744073709551616 is more than 64 bits hold");
	t_describe_wrong(TOML,
	                 "[[regions]]\nname = \"R\"\nguest_address = \"0xFFFFFFFFFFFFFFFF\"\n"
	                 "size = 2\ntype = \"ram\"\n",
	                 -EINVAL,
	                 "t:4:8: size: region \"R\" ends behind the last address: make it smaller");
}

static unsigned permissions_of(const char *what)
{
	char text[256];
	struct regmap_layout *l;
	unsigned permissions;

	snprintf(text, sizeof(text), "[[regions]]\nname = \"R\"\nguest_address = 0\nsize = 1\n%s\n",
	         what);
	l = t_describe(TOML, text);
	permissions = t_region_of(l, "R")->permissions;
	regmap_layout_free(l);
	return permissions;
}

static void test_describe_formats_permissions_are_letters(void **state)
{
	(void)state;
	assert_int_equal(permissions_of("type = \"ram\"\npermissions = \"RWX\""), 7);
	assert_int_equal(permissions_of("type = \"ram\"\npermissions = \"xwr\""), 7);
	assert_int_equal(permissions_of("type = \"ram\"\npermissions = \"r-x\""), 5);
	assert_int_equal(permissions_of("type = \"ram\"\npermissions = \"-w-\""), 2);
	assert_int_equal(permissions_of("type = \"ram\"\npermissions = \"R W\""), 3);
	assert_int_equal(permissions_of("type = \"ram\"\npermissions = \"\""), 0);
	assert_int_equal(permissions_of("type = \"ram\""), 3);
	assert_int_equal(permissions_of("type = \"rom\""), 1);
	assert_int_equal(permissions_of("type = \"flash\""), 5);
	assert_int_equal(permissions_of("type = \"mmio\""), 3);
	t_describe_wrong(TOML,
	                 "[[regions]]\nname = \"R\"\nguest_address = 0\nsize = 1\ntype = \"ram\"\n"
	                 "permissions = \"RQ\"\n",
	                 -EINVAL,
	                 "t:6:15: permissions: \"RQ\": permissions are letters of R, W and X");
}

static void test_describe_formats_page_size_may_be_region(void **state)
{
	struct regmap_layout *l =
		t_describe(JSON,
	                   "{\"memory\":{\"allocate_at_once\":false,\"page_size\":\"region\"}}");

	(void)state;
	assert_int_equal(l->page_size, 0);
	assert_false(l->allocate_at_once);
	regmap_layout_free(l);
	t_describe_wrong(TOML, "[memory]\npage_size = \"5KB\"\n", -EINVAL,
	                 "t:2:13: page_size: expected a power of two, or \"region\", not 5120");
}

/* ---- YAML ---------------------------------------------------------------------------------------------- */

static void test_describe_formats_yaml_has_the_booleans_of_1_1(void **state)
{
	static const char *const words[][2] = {
		{"yes", "no"}, {"on", "off"}, {"True", "False"}, {"y", "n"}, {"ON", "OFF"},
	};
	char text[64];

	(void)state;
	for (size_t i = 0; i < 5; i++)
		for (size_t k = 0; k < 2; k++) {
			struct regmap_layout *l;

			snprintf(text, sizeof(text), "memory:\n  allocate_at_once: %s\n",
			         words[i][k]);
			l = t_describe(YAML, text);
			assert_int_equal(l->allocate_at_once, k == 0);
			regmap_layout_free(l);
		}
}

static void test_describe_formats_yaml_takes_on_for_a_name(void **state)
{
	struct regmap_layout *l = t_describe(
		YAML,
		"peripherals:\n- {name: P, address: 0, size: 4, registers: [{name: N, offset: 0, "
		"fields: [{name: ON, bits: 7:4, values: {OFF: 0, ON: 1}}]}]}\n");

	(void)state;
	assert_string_equal(t_field_of(l, "P.N.ON")->values[1]->name, "ON");
	assert_int_equal(t_field_of(l, "P.N.ON")->lsb, 4);
	assert_int_equal(t_field_of(l, "P.N.ON")->width, 4);
	regmap_layout_free(l);
}

static void test_describe_formats_yaml_aliases_stand_for_what_they_name(void **state)
{
	struct regmap_layout *l = t_describe(
		YAML,
		"regions:\n- &ram {name: A, guest_address: 0, size: &s 4KB, type: ram, permissions: RWX}\n"
		"- <<: *ram\n  name: B\n  guest_address: 0x1000\n"
		"- {name: C, guest_address: 0x2000, size: *s, type: ram}\n");

	(void)state;
	assert_int_equal(t_region_of(l, "B")->length, 4096);
	assert_int_equal(t_region_of(l, "B")->permissions, 7);
	assert_int_equal(t_region_of(l, "B")->address, 0x1000);
	assert_int_equal(t_region_of(l, "C")->length, 4096);
	regmap_layout_free(l);
	t_describe_wrong(YAML, "device:\n  name: *n\n", -EINVAL,
	                 "t:2:9: there is no anchor &n before this alias");
	t_describe_wrong(YAML, "device: &d\n  name: *d\n", -EINVAL,
	                 "t:2:9: alias *d stands inside of itself");
}

static void test_describe_formats_yaml_bombs_are_refused(void **state)
{
	t_describe_wrong(
		YAML,
		"a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
		"c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
		"e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n"
		"g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\nh: &h [*g, *g, *g, *g, *g, *g, *g, *g, *g, *g]\n",
		-E2BIG, "t:5:36: aliases stand for more than 100000 values: write less");
	(void)state;
}

static void test_describe_formats_yaml_refuses_what_is_not_one_plain_document(void **state)
{
	(void)state;
	t_describe_wrong(YAML, "device: {name: A}\n---\ndevice: {name: B}\n", -EINVAL,
	                 "t:2:1: a second document: a file has one");
	t_describe_wrong(YAML, "device:\n  name: A\n  name: B\n", -EINVAL,
	                 "t:3:3: the key \"name\" is there already, in line 2");
	t_describe_wrong(
		YAML, "device:\n  name: !!python/object x\n", -EINVAL,
		"t:2:9: the tag tag:yaml.org,2002:python/object is not known: leave it out");
	t_describe_wrong(
		YAML, "device:\n  name: [a\n", -EINVAL,
		"t:3:1: YAML: did not find expected ',' or ']', while parsing a flow sequence");
	t_describe_wrong(YAML, "device:\n  ? [a]\n  : b\n", -EINVAL,
	                 "t:2:5: a key must be a string");
	t_describe_wrong(YAML, "device:\n  name: ~\n", -EINVAL,
	                 "t:2:9: name: expected a string, not nothing");
	t_describe_wrong(YAML, "device:\n  name: \"a\\0b\"\n", -EINVAL,
	                 "t:2:9: the string holds a NUL: leave it out");
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void test_describe_formats_json_has_all_of_unicode(void **state)
{
	struct regmap_layout *l = t_describe(
		JSON,
		"{\"device\":{\"name\":\"\\u00e9\\ud83d\\ude00 \\\"q\\\"\\\\\\n\",\"vendor\":\"\xC3\xA9\"}}");

	(void)state;
	assert_string_equal(l->name, "\xC3\xA9\xF0\x9F\x98\x80 \"q\"\\\n");
	assert_string_equal(l->vendor, "\xC3\xA9");
	regmap_layout_free(l);
	t_describe_wrong(JSON, "{\"device\":{\"name\":\"\\ud83d\"}}", -EINVAL,
	                 "t:1:20: JSON: The surrogate pair in string is invalid.");
	t_describe_wrong(JSON, "{\"device\":{\"name\":\"a\\udeeeb\"}}", -EINVAL,
	                 "t:1:19: the string has half of a surrogate pair: write both, or neither");
	t_describe_wrong(JSON, "{\"device\":{\"name\":\"a\\u0000b\"}}", -EINVAL,
	                 "t:1:19: the string holds a NUL: leave it out");
}

static void test_describe_formats_json_is_strict(void **state)
{
	(void)state;
	t_describe_wrong(JSON, "{\n  \"device\": {\"name\": \"A\", \"name\": \"B\"}\n}", -EINVAL,
	                 "t:2:27: the key \"name\" is there already, in line 2");
	t_describe_wrong(JSON, "{\n  \"device\": {},\n}", -EINVAL,
	                 "t:3:1: JSON: Missing a name for object member.");
	t_describe_wrong(JSON, "{\"device\": {}} x", -EINVAL,
	                 "t:1:16: JSON: The document root must not be followed by other values.");
	t_describe_wrong(JSON, "", -EINVAL, "t:1:1: JSON: The document is empty.");
	t_describe_wrong(JSON, "[]", -EINVAL, "t:1:1: a description: expected a table, not a list");
	t_describe_wrong(JSON, "{\"device\": null}", -EINVAL,
	                 "t:1:12: device: expected a table, not null");
	t_describe_wrong(JSON, "{\"memory\":\n{\"page_size\": 1e3}}", -EINVAL,
	                 "t:2:15: page_size: expected a whole number, not a fraction");
	t_describe_wrong(JSON, "{\"device\":{\"name\":\"\\\\\\\"x\", \"nane\":1}}", -EINVAL,
	                 "t:1:28: unknown key \"nane\" in [device]: did you mean \"name\"?");
}

static void test_describe_formats_json_ends_at_a_nul(void **state)
{
	static const char text[] = "{\"device\":{}}\0{}";
	struct regmap_layout *l;
	struct regmap_error error;

	(void)state;
	assert_int_equal(regmap_layout_from_string(text, sizeof(text) - 1, JSON, "t", &l, &error),
	                 -EINVAL);
	assert_string_equal(error.text, "t:1:14: JSON: the text goes on behind its end");
}

/* ---- what is wrong ----------------------------------------------------------------------------------- */

static void test_describe_formats_toml_errors_have_their_place(void **state)
{
	(void)state;
	t_describe_wrong(
		TOML, "[device]\nname = \"A\"\nname = \"B\"\n", -EINVAL,
		"t:3:8: TOML: Error while parsing key-value pair: cannot redefine existing string 'name'");
	t_describe_wrong(
		TOML, "[[regions]]\nguest_address = 0x8000000000000000\n", -EINVAL,
		"t:2:35: TOML: Error while parsing hexadecimal integer: '0x8000000000000000' is not "
		"representable in 64 bits: write numbers of 2^63 and more as strings");
}

/* Its parser takes it for granted that these don't come. */
static void test_describe_formats_toml_has_its_surprises(void **state)
{
	(void)state;
	t_describe_wrong(
		TOML, "[[[[region", -EINVAL,
		"t:1:3: TOML: Error while parsing key: expected bare key starting character or string delimiter, saw '['");
}

/* Columns count bytes: two of them for each of these letters. */
static void test_describe_formats_columns_count_bytes(void **state)
{
	static const char message[] = "unknown key \"nane\" in [device]: did you mean \"name\"?";
	char want[100];

	(void)state;
	snprintf(want, sizeof(want), "t:2:29: %s", message);
	t_describe_wrong(TOML, "# \xC3\xA9\ndevice = { vendor = \"\xC3\xA9\xC3\xA9\", nane = 1 }",
	                 -EINVAL, want);
	snprintf(want, sizeof(want), "t:2:26: %s", message);
	t_describe_wrong(YAML, "# \xC3\xA9\ndevice: {vendor: \"\xC3\xA9\xC3\xA9\", nane: 1}",
	                 -EINVAL, want);
	snprintf(want, sizeof(want), "t:2:29: %s", message);
	t_describe_wrong(JSON, "{\n\"device\": {\"vendor\":\"\xC3\xA9\xC3\xA9\", \"nane\": 1}}",
	                 -EINVAL, want);
}

static void test_describe_formats_unknown_keys_are_told_with_what_is_near(void **state)
{
	(void)state;
	t_describe_wrong(TOML, "[device]\nnmae = \"A\"\n", -EINVAL,
	                 "t:2:1: unknown key \"nmae\" in [device]: did you mean \"name\"?");
	t_describe_wrong(YAML, "regions:\n- nam: A\n", -EINVAL,
	                 "t:2:3: unknown key \"nam\" in a region: did you mean \"name\"?");
	t_describe_wrong(
		TOML, "[[regions]]\nname = \"A\"\nbase = 0\n", -EINVAL,
		"t:3:1: unknown key \"base\" in a region: did you mean \"guest_address\"?");
	t_describe_wrong(TOML, "[[regions]]\nlength = 0\n", -EINVAL,
	                 "t:2:1: unknown key \"length\" in a region: did you mean \"size\"?");
	t_describe_wrong(
		TOML, "[[region]]\nname = \"A\"\n", -EINVAL,
		"t:1:3: unknown key \"region\" in a description: did you mean \"regions\"?");
	t_describe_wrong(
		TOML, "[memory]\nzzzzzz = 1\n", -EINVAL,
		"t:2:1: unknown key \"zzzzzz\" in [memory]: known are allocate_at_once, page_size, address_spaces");
	t_describe_wrong(TOML,
	                 "[[peripherals]]\nname = \"P\"\n[[peripherals.registers]]\nname = \"R\"\n"
	                 "readAction = \"clear\"\n",
	                 -EINVAL,
	                 "t:5:1: unknown key \"readAction\" in a register: did you mean \"read\"?");
}

static void test_describe_formats_wrong_types_are_told(void **state)
{
	(void)state;
	t_describe_wrong(TOML, "device = 5\n", -EINVAL,
	                 "t:1:10: device: expected a table, not a whole number");
	t_describe_wrong(TOML, "regions = 5\n", -EINVAL,
	                 "t:1:11: regions: expected a list of tables, not a whole number");
	t_describe_wrong(TOML, "regions = [5]\n", -EINVAL,
	                 "t:1:12: a region: expected a table, not a whole number");
	t_describe_wrong(TOML, "[device]\nname = 5\n", -EINVAL,
	                 "t:2:8: name: expected a string, not a whole number");
	t_describe_wrong(TOML, "[memory]\nallocate_at_once = 1\n", -EINVAL,
	                 "t:2:20: allocate_at_once: expected true or false, not 1");
	t_describe_wrong(TOML, "[[regions]]\ntype = \"rma\"\n", -EINVAL,
	                 "t:2:8: type: \"rma\" is unknown: did you mean \"ram\"?");
	t_describe_wrong(
		TOML, "[[regions]]\ntype = \"qqqqqqqq\"\n", -EINVAL,
		"t:2:8: type: \"qqqqqqqq\" is unknown: write one of ram, flash, rom, mmio, storage, "
		"alias, bit-band, reversed-alias, external");
	t_describe_wrong(TOML, "[[regions]]\nwidths = [12]\n", -EINVAL,
	                 "t:2:11: widths: a width is 8, 16, 32 or 64 bits, not 12");
	t_describe_wrong(TOML, "[[regions]]\nerased = 256\n", -EINVAL,
	                 "t:2:10: erased: 256 is more than 255");
}

static void test_describe_formats_missing_keys_are_told(void **state)
{
	(void)state;
	t_describe_wrong(TOML, "[[regions]]\nguest_address = 0\n", -EINVAL,
	                 "t:1:1: a region has no name: add name = \"...\"");
	t_describe_wrong(TOML, "[[regions]]\nname = \"R\"\nsize = 1\ntype = \"ram\"\n", -EINVAL,
	                 "t:2:8: region \"R\" has no guest_address: add guest_address = 0x...");
	t_describe_wrong(TOML, "[[regions]]\nname = \"R\"\nguest_address = 1\ntype = \"ram\"\n",
	                 -EINVAL, "t:2:8: region \"R\" has no size: add size = \"4KB\"");
	t_describe_wrong(
		TOML, "[[regions]]\nname = \"R\"\nguest_address = 1\nsize = 1\n", -EINVAL,
		"t:2:8: region \"R\" has no type: add type = \"ram\", \"flash\", \"mmio\" ...");
	t_describe_wrong(
		TOML, "[[regions]]\nname = \"R\"\nguest_address = 1\nsize = 1\ntype = \"alias\"\n",
		-EINVAL, "t:2:8: region \"R\" has no target: add target = 0x...");
	t_describe_wrong(TOML, "[[peripherals]]\nname = \"P\"\nsize = 4\n", -EINVAL,
	                 "t:2:8: peripheral \"P\" has no address: add address = 0x...");
	t_describe_wrong(TOML,
	                 "[[peripherals]]\nname = \"P\"\naddress = 0\nsize = 4\n"
	                 "registers = [{ name = \"R\" }]\n",
	                 -EINVAL, "t:5:23: register \"R\" has no offset: add offset = 0x0");
	t_describe_wrong(
		TOML,
		"[[peripherals]]\nname = \"P\"\naddress = 0\nsize = 4\n"
		"registers = [{ name = \"R\", offset = 0, fields = [{ name = \"F\" }] }]\n",
		-EINVAL, "t:5:59: field \"F\" has no bits: add bits = \"7:4\" (or bit = 5)");
}

static void test_describe_formats_a_name_is_given_once(void **state)
{
	(void)state;
	t_describe_wrong(
		TOML,
		"[[regions]]\nname = \"R\"\nguest_address = 0\nsize = 1\ntype = \"ram\"\n"
		"[[regions]]\nname = \"R\"\nguest_address = 1\nsize = 1\ntype = \"ram\"\n",
		-EINVAL,
		"t:7:8: region \"R\" is described twice, in line 2, too: give it another name, or make it one");
}

static void test_describe_formats_another_version_is_refused(void **state)
{
	struct regmap_layout *l = t_describe(TOML, "schema = 1\n[device]\nname = \"A\"\n");

	(void)state;
	regmap_layout_free(l);
	t_describe_wrong(
		TOML, "schema = 2\nnonsense = 1\n", -EINVAL,
		"t:1:10: schema: version 2 is not known here: this library reads version 1");
}

static void test_describe_formats_deep_nesting_is_refused(void **state)
{
	char text[4096] = "x = ";

	(void)state;
	memset(text + 4, '[', 40);
	memset(text + 44, ']', 40);
	t_describe_wrong(TOML, text, -E2BIG, "t:1:37: tables and lists are nested too deeply");
	t_describe_wrong(JSON, text + 4, -E2BIG,
	                 "t:1:33: objects and arrays are nested too deeply");
	t_describe_wrong(YAML, text + 4, -E2BIG, "t:1:33: tables and lists are nested too deeply");
	text[0] = 0;
	for (int i = 0; i < 500; i++)
		strcat(text, "a.");
	strcat(text, "a = 1");
	t_describe_wrong(TOML, text, -E2BIG, "t:1:1: a key has more than 32 parts");
}

static void test_describe_formats_a_file_that_is_not_there_is_told(void **state)
{
	struct regmap_layout *l;
	struct regmap_error error = {0};

	(void)state;
	errno = 77;
	assert_int_equal(regmap_layout_from_file("/nowhere/x.toml", AUTO, &l, &error), -ENOENT);
	assert_int_equal(errno, 77);
	assert_string_equal(error.text,
	                    "/nowhere/x.toml: No such file or directory: check the path");
	assert_string_equal(error.file, "/nowhere/x.toml");
	assert_int_equal(error.line, 0);
	assert_null(l);
	assert_int_equal(regmap_layout_from_file("/", AUTO, &l, &error), -EISDIR);
	assert_int_equal(regmap_layout_from_file("/nowhere", AUTO, &l, NULL), -ENOENT);
}

static void test_describe_formats_empty_texts_are_empty_devices(void **state)
{
	struct regmap_layout *l = t_describe(TOML, ""), *m = t_describe(YAML, "# nothing\n");

	(void)state;
	assert_int_equal(l->region_count + l->peripheral_count, 0);
	t_layouts_equal(l, m);
	regmap_layout_free(l);
	regmap_layout_free(m);
}

/* ---- size ----------------------------------------------------------------------------------------------- */

static char *many_regions(enum regmap_format format, unsigned count, size_t *length)
{
	char *text;
	FILE *to = open_memstream(&text, length);

	if (format == YAML)
		fputs("regions:\n", to);
	if (format == JSON)
		fputs("{\"regions\":[", to);
	for (unsigned i = 0; i < count; i++) {
		const char *form =
			format == TOML ?
				"[[regions]]\nname = \"R%u\"\nguest_address = 0x%x\nsize = \"2KB\"\ntype = \"ram\"\n" :
			format == YAML ?
				"- {name: R%u, guest_address: 0x%x, size: 2KB, type: ram}\n" :
				"{\"name\":\"R%u\",\"guest_address\":\"0x%x\",\"size\":\"2KB\",\"type\":\"ram\"},";

		fprintf(to, form, i, (count - i) << 12);
	}
	if (format == JSON)
		fputs("{\"name\":\"Z\",\"guest_address\":0,\"size\":1,\"type\":\"ram\"}]}", to);
	fclose(to);
	return text;
}

static void test_describe_formats_load_10000_regions(void **state)
{
	static const enum regmap_format formats[] = {TOML, YAML, JSON};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		size_t length;
		char *text = many_regions(formats[i], 10000, &length);
		struct regmap_layout *l = t_describe(formats[i], text);

		assert_int_equal(l->region_count, 10000 + (formats[i] == JSON));
		assert_int_equal(t_region_of(l, "R0")->address, 10000 << 12);
		regmap_layout_free(l);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_describe_formats_predecessors_files_load_as_they_are),
		cmocka_unit_test(test_describe_formats_say_the_same),
		cmocka_unit_test(test_describe_formats_are_told_by_the_name),
		cmocka_unit_test(test_describe_formats_content_counts_more_than_the_name),
		cmocka_unit_test(test_describe_formats_toml_in_a_yaml_file_loads),
		cmocka_unit_test(test_describe_formats_byte_order_marks_do_no_harm),
		cmocka_unit_test(test_describe_formats_sizes_have_units),
		cmocka_unit_test(test_describe_formats_wrong_sizes_are_refused),
		cmocka_unit_test(test_describe_formats_addresses_have_64_bits),
		cmocka_unit_test(test_describe_formats_permissions_are_letters),
		cmocka_unit_test(test_describe_formats_page_size_may_be_region),
		cmocka_unit_test(test_describe_formats_yaml_has_the_booleans_of_1_1),
		cmocka_unit_test(test_describe_formats_yaml_takes_on_for_a_name),
		cmocka_unit_test(test_describe_formats_yaml_aliases_stand_for_what_they_name),
		cmocka_unit_test(test_describe_formats_yaml_bombs_are_refused),
		cmocka_unit_test(test_describe_formats_yaml_refuses_what_is_not_one_plain_document),
		cmocka_unit_test(test_describe_formats_json_has_all_of_unicode),
		cmocka_unit_test(test_describe_formats_json_is_strict),
		cmocka_unit_test(test_describe_formats_json_ends_at_a_nul),
		cmocka_unit_test(test_describe_formats_toml_errors_have_their_place),
		cmocka_unit_test(test_describe_formats_toml_has_its_surprises),
		cmocka_unit_test(test_describe_formats_columns_count_bytes),
		cmocka_unit_test(test_describe_formats_unknown_keys_are_told_with_what_is_near),
		cmocka_unit_test(test_describe_formats_wrong_types_are_told),
		cmocka_unit_test(test_describe_formats_missing_keys_are_told),
		cmocka_unit_test(test_describe_formats_a_name_is_given_once),
		cmocka_unit_test(test_describe_formats_another_version_is_refused),
		cmocka_unit_test(test_describe_formats_deep_nesting_is_refused),
		cmocka_unit_test(test_describe_formats_a_file_that_is_not_there_is_told),
		cmocka_unit_test(test_describe_formats_empty_texts_are_empty_devices),
		cmocka_unit_test(test_describe_formats_load_10000_regions),
	};

	return cmocka_run_group_tests_name("describe_formats", tests, NULL, NULL);
}
