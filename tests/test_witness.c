/* SPDX-License-Identifier: MIT */
/* The parts of `regmap run` by themselves: numbers, what is near, counts. All of it together: tests/run/check. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/launch.h"
#include "device/witness.h"

static const char board[] =
	"[device]\nname = \"Board\"\n"
	"[[regions]]\nname = \"SRAM\"\nguest_address = 0x20000000\n"
	"size = \"8KB\"\ntype = \"ram\"\n"
	"[[regions]]\nname = \"Bus\"\nguest_address = 0x40000000\n"
	"size = \"64KB\"\ntype = \"mmio\"\n"
	"[[peripherals]]\nname = \"UART\"\naddress = 0x4000F000\nsize = \"4KB\"\n"
	"[[peripherals.registers]]\nname = \"SR\"\noffset = 4\n"
	"[[regions]]\nname = \"Odd\"\nguest_address = 0x50000000\n"
	"size = 100\ntype = \"ram\"\n";

static struct regmap_layout *layout;

static int load(void **state)
{
	struct regmap_error error;

	(void)state;
	return regmap_layout_from_string(board, sizeof(board) - 1, REGMAP_FORMAT_TOML, "board",
	                                 &layout, &error);
}

static int forget(void **state)
{
	(void)state;
	regmap_layout_free(layout);
	return 0;
}

static void reads_as(const char *text, uint64_t expected)
{
	uint64_t value = ~expected;

	assert_true(regmap__launch_number(text, strlen(text), &value));
	assert_true(value == expected);
}

static void test_witness_numbers_are_those_of_descriptions(void **state)
{
	(void)state;
	reads_as("0", 0);
	reads_as("536870912", 0x20000000);
	reads_as("0x2000_0000", 0x20000000);
	reads_as("0XFFFFFFFFFFFFFFFF", UINT64_MAX);
	reads_as("18446744073709551615", UINT64_MAX);
	reads_as("0b101", 5);
}

static void test_witness_what_is_no_number_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"0x",
		"x",
		"0b2",
		"12a",
		"-1",
		"1 ",
		" 1",
		"_1",
		"18446744073709551616",
		"+1",
		"1.5",
		"0x10000000000000000",
	};
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (regmap__launch_number(wrong[i], strlen(wrong[i]), &value))
			fail_msg("\"%s\" is taken for a number", wrong[i]);
}

static void describes(uint64_t offset, uint64_t address, const char *expected)
{
	char text[256];

	regmap__witness_describe(layout, offset, address, text, sizeof(text));
	assert_string_equal(text, expected);
}

static void test_witness_names_what_is_there(void **state)
{
	(void)state;
	describes(0, 0x4000f004, "Board: 0x4000f004 is UART.SR");
	describes(0, 0x20000010, "Board: 0x20000010 is SRAM+0x10");
	describes(0x100000000, 0x14000f004, "Board: 0x000000014000f004 is UART.SR");
}

/* Of a region and a peripheral that end, or begin, at the same place, the one that says more. */
static void test_witness_says_what_is_near_nothing(void **state)
{
	(void)state;
	describes(
		0, 0x40010000,
		"Board: 0x40010000 is nothing: 0x0 behind UART's 4 KB; the next is Odd at 0x50000000");
	describes(
		0, 0x20002004,
		"Board: 0x20002004 is nothing: 0x4 behind SRAM's 8 KB; the next is Bus at 0x40000000");
	describes(0, 0x50000064, "Board: 0x50000064 is nothing: 0x0 behind Odd's 100 bytes");
	describes(0, 0x10, "Board: 0x00000010 is nothing: the first is SRAM at 0x20000000");
	describes(0x100000000, 0x20000000,
	          "Board: 0x20000000 is nothing: the first is SRAM at 0x0000000120000000");
}

static void test_witness_description_is_cut_to_its_room(void **state)
{
	char text[24];

	(void)state;
	memset(text, 'x', sizeof(text));
	regmap__witness_describe(layout, 0, 0x40010000, text, 20);
	assert_string_equal(text, "Board: 0x40010000 i");
	assert_int_equal(text[20], 'x');
}

/* --- counts --- */

enum { THREADS = 4, ROUNDS = 5000 };

static struct tally *tally;

static struct regmap_device_access access_at(uint64_t address, bool is_write)
{
	struct regmap_place place;
	struct regmap_device_access a = {.address = address, .width = 4, .is_write = is_write};

	assert_int_equal(regmap_layout_find_at(layout, address, &place), 0);
	a.region = place.region;
	a.peripheral = place.peripheral;
	a.reg = place.reg;
	return a;
}

static void *count(void *arg)
{
	const struct regmap_device_access *a = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		regmap__tally_count(tally, a);
	return NULL;
}

static void test_witness_counts_of_threads_and_children_add_up(void **state)
{
	struct regmap_device_access read = access_at(0x4000f004, false);
	const struct tally_row *row;
	pthread_t thread[THREADS];
	int status;
	pid_t child;

	(void)state;
	tally = regmap__tally_new();
	assert_non_null(tally);
	child = fork();
	if (!child) {
		count(&read);
		_exit(0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, count, &read), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	row = regmap__tally_count(tally, &read);
	assert_true(row->reads == (THREADS + 1) * ROUNDS + 1);
	assert_true(row->writes == 0);
	munmap(tally, sizeof(*tally));
}

/* Registers that nobody described, more than there is room for. */
static void test_witness_table_that_is_full_says_so(void **state)
{
	struct regmap_device_access a = access_at(0x40000000, true);
	unsigned counted = 0;

	(void)state;
	tally = regmap__tally_new();
	assert_non_null(tally);
	for (unsigned i = 0; i < 2 * TALLY_ROWS; i++) {
		a.address = 0x40000000 + 4ULL * i;
		counted += regmap__tally_count(tally, &a) != NULL;
	}
	assert_int_equal(counted, TALLY_ROWS - 1); /* and the region's */
	assert_int_equal(tally->lost, 2 * TALLY_ROWS - counted);
	munmap(tally, sizeof(*tally));
}

static void print(int fd, bool json, char *to, size_t size)
{
	ssize_t got;

	regmap__tally_print(tally, layout, "prog", fd, json);
	got = pread(fd, to, size - 1, 0);
	assert_true(got > 0);
	to[got] = 0;
}

static void test_witness_most_used_comes_first(void **state)
{
	struct regmap_device_access unknown = access_at(0x40000104, true);
	struct regmap_device_access refused = access_at(0x4000f004, true);
	struct regmap_device_access ram = access_at(0x20000008, false);
	int fd = memfd_create("counts", 0);
	char text[2048];

	(void)state;
	tally = regmap__tally_new();
	assert_non_null(tally);
	refused.error = -EIO;
	regmap__tally_count(tally, &refused);
	regmap__tally_count(tally, &unknown);
	regmap__tally_count(tally, &unknown);
	assert_null(regmap__tally_count(tally, &ram));
	print(fd, true, text, sizeof(text));
	assert_string_equal(
		text,
		"{\"stats\":\"Board\",\"program\":\"prog\",\"reads\":1,\"writes\":3,\"refused\":1,"
		"\"not_counted\":0,\"regions\":["
		"{\"name\":\"Bus\",\"address\":\"0x40000000\",\"reads\":0,\"writes\":3,\"refused\":1},"
		"{\"name\":\"SRAM\",\"address\":\"0x20000000\",\"reads\":1,\"writes\":0,\"refused\":0}],"
		"\"registers\":["
		"{\"name\":\"UART.SR\",\"address\":\"0x4000f004\",\"reads\":0,\"writes\":1,\"refused\":1}],"
		"\"undescribed\":["
		"{\"name\":\"Bus+0x104\",\"address\":\"0x40000104\",\"reads\":0,\"writes\":2,\"refused\":0}"
		"]}\n");
	close(fd);
	munmap(tally, sizeof(*tally));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_witness_numbers_are_those_of_descriptions),
		cmocka_unit_test(test_witness_what_is_no_number_is_refused),
		cmocka_unit_test(test_witness_names_what_is_there),
		cmocka_unit_test(test_witness_says_what_is_near_nothing),
		cmocka_unit_test(test_witness_description_is_cut_to_its_room),
		cmocka_unit_test(test_witness_counts_of_threads_and_children_add_up),
		cmocka_unit_test(test_witness_table_that_is_full_says_so),
		cmocka_unit_test(test_witness_most_used_comes_first),
	};

	return cmocka_run_group_tests_name("witness", tests, load, forget);
}
