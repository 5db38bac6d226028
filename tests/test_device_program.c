/* SPDX-License-Identifier: MIT */
/* Rules about programming a flash, and what a write that is narrower than its register is to rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <regmap/device.h>

static const char text[] =
	"[device]\n"
	"name = 'T'\n"
	"[[regions]]\n"
	"name = 'Flash'\n"
	"guest_address = 0x1000\n"
	"size = 4096\n"
	"type = 'flash'\n"
	"permissions = 'RW'\n"
	"flash = { program_if = 'C.CR', sectors = [{ size = 1024, count = 4 }] }\n"
	"[[regions]]\n"
	"name = 'RAM'\n"
	"guest_address = 0x8000\n"
	"size = 256\n"
	"type = 'ram'\n"
	"[[peripherals]]\n"
	"name = 'C'\n"
	"address = 0x4000\n"
	"size = 64\n"
	"rules = [\n"
	"  'on program Flash: OLD = old; VALUE = value; ADDRESS = address; WIDTH = width',\n"
	"  'ignore program Flash if address == 0x1004 && value == 7',\n"
	"  'on write SEEN: GOT = value',\n"
	"  'on write MIXED: GOT = value',\n"
	"  'on write ONLY: GOT = value',\n"
	"  'on write TO: copy(TO, FROM, LENGTH)',\n"
	"  'on write AT: GOT = byte(AT); byte(AT + 1) = GOT + 1',\n"
	"]\n"
	"registers = [\n"
	"  { name = 'CR', offset = 0 },\n"
	"  { name = 'OLD', offset = 8, width = 64 },\n"
	"  { name = 'VALUE', offset = 16, width = 64 },\n"
	"  { name = 'ADDRESS', offset = 24 },\n"
	"  { name = 'WIDTH', offset = 28 },\n"
	"  { name = 'SEEN', offset = 32, reset = 0x11223344 },\n"
	"  { name = 'MIXED', offset = 36, reset = 0xFFFFFFFF, fields = [\n"
	"    { name = 'A', bits = '7:0', write = 'oneToClear' },\n"
	"    { name = 'B', bits = '15:8', write = 'zeroToClear' },\n"
	"    { name = 'D', bits = '23:16', write = 'oneToToggle' },\n"
	"    { name = 'E', bits = '31:24' },\n"
	"  ] },\n"
	"  { name = 'ONLY', offset = 40, access = 'write-only' },\n"
	"  { name = 'GOT', offset = 44 },\n"
	"  { name = 'TO', offset = 48 },\n"
	"  { name = 'FROM', offset = 52 },\n"
	"  { name = 'LENGTH', offset = 56 },\n"
	"  { name = 'AT', offset = 60 },\n"
	"]\n";

static struct regmap_device *chip;

static int open_chip(void **state)
{
	struct regmap_error error = {.text = ""};
	struct regmap_layout *layout;

	(void)state;
	if (regmap_layout_from_string(text, strlen(text), REGMAP_FORMAT_TOML, NULL, &layout,
	                              &error) ||
	    regmap_device_from_layout(layout, &chip, &error))
		fail_msg("%s", error.text);
	regmap_layout_free(layout);
	return 0;
}

static int close_chip(void **state)
{
	(void)state;
	regmap_device_free(chip);
	return 0;
}

static uint64_t get(const char *name)
{
	uint64_t value;

	assert_int_equal(regmap_device_peek(chip, name, &value), 0);
	return value;
}

static int put(uint64_t at, unsigned width, uint64_t value)
{
	return regmap_device_write(chip, at, &value, width);
}

static uint64_t memory(uint64_t at, unsigned width)
{
	uint64_t value = 0;

	assert_int_equal(regmap_device_read(chip, at, &value, width), 0);
	return value;
}

static void test_device_program_rules_see_the_write(void **state)
{
	(void)state;
	assert_int_equal(put(0x1004, 4, 1), -EIO); /* program_if */
	assert_int_equal(get("C.WIDTH"), 0);
	assert_int_equal(regmap_device_poke(chip, "C.CR", 1), 0);
	for (unsigned width = 1; width <= 8; width *= 2) {
		uint64_t all = ~0ull >> (64 - 8 * width);

		assert_int_equal(put(0x1100 + width, width, 0x5a), 0);
		assert_int_equal(get("C.OLD"), all);
		assert_int_equal(get("C.VALUE"), 0x5a);
		assert_int_equal(get("C.ADDRESS"), 0x1100 + width);
		assert_int_equal(get("C.WIDTH"), width);
		assert_int_equal(put(0x1100 + width, width, 0xf0), 0);
		assert_int_equal(get("C.OLD"), 0x5a);
		assert_int_equal(memory(0x1100 + width, width), 0x50);
	}
}

static void test_device_program_is_ignored(void **state)
{
	(void)state;
	assert_int_equal(regmap_device_poke(chip, "C.CR", 1), 0);
	assert_int_equal(put(0x1004, 4, 7), 0);
	assert_int_equal(memory(0x1004, 4), 0xffffffff);
	assert_int_equal(get("C.VALUE"), 7); /* rules on program run */
	assert_int_equal(put(0x1008, 4, 7), 0);
	assert_int_equal(memory(0x1008, 4), 7);
	assert_int_equal(put(0x1004, 4, 6), 0);
	assert_int_equal(memory(0x1004, 4), 6);
}

static void test_device_program_narrow_writes_are_quiet_beside(void **state)
{
	(void)state;
	assert_int_equal(put(0x4021, 1, 0xaa), 0);
	assert_int_equal(get("C.GOT"), 0x1122aa44);
	assert_int_equal(put(0x4022, 2, 0xbbcc), 0);
	assert_int_equal(get("C.GOT"), 0xbbccaa44);
	assert_int_equal(put(0x4024, 1, 0x01), 0);
	assert_int_equal(get("C.GOT"), 0xff00ff01);
	assert_int_equal(get("C.MIXED"), 0xfffffffe);
	assert_int_equal(put(0x4027, 1, 0x12), 0);
	assert_int_equal(get("C.GOT"), 0x1200ff00);
	assert_int_equal(put(0x4028, 4, 0x12345678), 0);
	assert_int_equal(put(0x402a, 2, 0xbeef), 0);
	assert_int_equal(get("C.GOT"), 0xbeef0000);
}

static void copy(uint32_t to, uint32_t from, uint32_t length)
{
	assert_int_equal(put(0x4034, 4, from), 0);
	assert_int_equal(put(0x4038, 4, length), 0);
	assert_int_equal(put(0x4030, 4, to), 0);
}

static void test_device_program_rules_copy_memory(void **state)
{
	(void)state;
	assert_int_equal(put(0x8000, 8, 0x1122334455667788), 0);
	copy(0x8011, 0x8001, 5);
	assert_int_equal(memory(0x8010, 8), 0x0000334455667700);
	copy(0x1000, 0x8000, 4); /* whatever a flash's rules */
	assert_int_equal(memory(0x1000, 8), 0xffffffff55667788);
	copy(0x8001, 0x8000, 7); /* upwards */
	assert_int_equal(memory(0x8000, 8), 0x8888888888888888);
	copy(0x8000, 0x1ffc, 8); /* nothing is behind the flash */
	assert_int_equal(memory(0x8000, 8), 0x00000000ffffffff);
	copy(0x4020, 0x8000, 4); /* registers are no memory */
	assert_int_equal(get("C.SEEN"), 0x11223344);
	copy(0x80f8, 0x8000, 0xffffffff); /* ends, and does nothing beyond */
	assert_int_equal(memory(0x80f8, 8), 0x00000000ffffffff);
}

static void test_device_program_rules_see_and_set_bytes(void **state)
{
	(void)state;
	assert_int_equal(put(0x8000, 4, 0x11223344), 0);
	assert_int_equal(put(0x403c, 4, 0x8001), 0);
	assert_int_equal(get("C.GOT"), 0x33);
	assert_int_equal(memory(0x8000, 4), 0x11343344);
	assert_int_equal(put(0x403c, 4, 0x1fff), 0); /* erased; nothing behind */
	assert_int_equal(get("C.GOT"), 0xff);
	assert_int_equal(put(0x403c, 4, 0x4020), 0);
	assert_int_equal(get("C.GOT"), 0);
	assert_int_equal(get("C.SEEN"), 0x11223344);
}

#define T(name) cmocka_unit_test_setup_teardown(test_device_program_##name, open_chip, close_chip)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rules_see_the_write),
		T(is_ignored),
		T(narrow_writes_are_quiet_beside),
		T(rules_copy_memory),
		T(rules_see_and_set_bytes),
	};

	return cmocka_run_group_tests_name("device_program", tests, NULL, NULL);
}
