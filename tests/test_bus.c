/* SPDX-License-Identifier: MIT */
/* The runtime's bus, as the emulator calls it. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <regmap/regmap.h>

#include "../src/bus.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

#define BASE 0x551000000000ULL
#define HIGH 0xffff900000000000ULL

static struct window_bus wb;
static struct bus *const bus = &wb.bus;
static struct em_fault fault;
static uint8_t memory[64], cells[64];
static unsigned calls;
static int answer;

static int cell_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	calls++;
	memcpy(value, (uint8_t *)ctx + offset, width);
	return offset >= 8 ? answer : 0;
}

static int cell_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	calls++;
	memcpy((uint8_t *)ctx + offset, &value, width);
	return offset >= 8 ? answer : 0;
}

static const struct regmap_device_ops cell_ops = {cell_read, cell_write};
static const struct regmap_device_ops read_ops = {cell_read, NULL};

static struct regmap_window *lay(uint64_t guest, uint64_t length, enum regmap_backing backing,
                                 unsigned access)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = guest,
		.length = length,
		.access = access,
		.backing = backing,
		.host = memory,
		.ops = &cell_ops,
		.ctx = cells,
		.target = HIGH,
	};
	struct regmap_window *w = NULL;

	assert_int_equal(regmap_map(&c, &w), 0);
	return w;
}

static int begin(void **state)
{
	(void)state;
	regmap__window_bus_init(&wb);
	memset(&fault, 0, sizeof(fault));
	for (unsigned i = 0; i < sizeof(memory); i++)
		memory[i] = cells[i] = (uint8_t)i;
	calls = 0;
	answer = 0;
	return 0;
}

static void expect_trap(int signo, int code, uint64_t address, uint64_t error)
{
	assert_int_equal(fault.trap.signo, signo);
	assert_int_equal(fault.trap.code, code);
	assert_int_equal(fault.trap.address, address);
	assert_int_equal(fault.trap.number, 14);
	assert_int_equal(fault.trap.error, error);
}

static void test_bus_pins_host_memory(void **state)
{
	struct regmap_window *host = lay(HIGH, 64, REGMAP_HOST, RW);
	struct regmap_window *alias = lay(BASE, 64, REGMAP_ALIAS, REGMAP_READ);

	(void)state;
	assert_ptr_equal(bus->ops->pin(bus, HIGH + 8, 56, EM_READ | EM_WRITE | EM_LOCKED),
	                 memory + 8);
	bus->ops->release(bus);
	assert_null(bus->ops->pin(bus, HIGH + 8, 57, EM_READ));
	assert_ptr_equal(bus->ops->pin(bus, BASE + 8, 8, EM_READ), memory + 8);
	bus->ops->release(bus);
	assert_null(bus->ops->pin(bus, BASE + 8, 8, EM_WRITE));
	assert_ptr_equal(bus->ops->pin(bus, (uintptr_t)memory, 8, EM_READ), memory);
	bus->ops->release(bus);
	assert_int_equal(regmap_unmap(host), 0);
	assert_int_equal(regmap_unmap(alias), 0);
}

static void test_bus_denies_by_rights(void **state)
{
	struct regmap_window *a = lay(HIGH, 8, REGMAP_HOST, RW);
	struct regmap_window *b = lay(HIGH + 8, 8, REGMAP_HOST, REGMAP_READ);
	struct regmap_window *c = lay(HIGH + 16, 8, REGMAP_HOST, REGMAP_WRITE);
	uint64_t value[3] = {0, 0, 0};

	(void)state;
	assert_int_equal(bus->ops->write(bus, HIGH + 4, value, 8, &fault), EM_DENIED);
	expect_trap(SIGSEGV, SEGV_ACCERR, HIGH + 8, 7);
	assert_int_equal(fault.error, -EACCES);
	assert_string_equal(fault.reason, "the window is read-only");
	assert_int_equal(memory[4], 4);
	assert_int_equal(bus->ops->read(bus, HIGH, value, 24, &fault), EM_DENIED);
	expect_trap(SIGSEGV, SEGV_ACCERR, HIGH + 16, 5);
	assert_string_equal(fault.reason, "the window is write-only");
	assert_int_equal(bus->ops->probe(bus, HIGH, 16, EM_READ, &fault), EM_OK);
	assert_int_equal(bus->ops->probe(bus, HIGH, 16, EM_READ | EM_WRITE, &fault), EM_DENIED);
	expect_trap(SIGSEGV, SEGV_ACCERR, HIGH + 8, 7);
	assert_int_equal(regmap_unmap(a) | regmap_unmap(b) | regmap_unmap(c), 0);
}

static void test_bus_makes_device_errors_bus_errors(void **state)
{
	struct regmap_window *w = lay(HIGH, 64, REGMAP_DEVICE, RW);
	uint64_t value[2] = {0, 0};

	(void)state;
	answer = -EIO;
	assert_int_equal(bus->ops->read(bus, HIGH, value, 16, &fault), EM_DENIED);
	expect_trap(SIGBUS, BUS_ADRERR, HIGH + 8, 4);
	assert_int_equal(fault.error, -EIO);
	assert_string_equal(fault.reason, "the device returned an error");
	assert_int_equal(bus->ops->write(bus, HIGH + 10, value, 2, &fault), EM_DENIED);
	expect_trap(SIGBUS, BUS_ADRERR, HIGH + 10, 6);
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_bus_refuses_a_null_callback(void **state)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = HIGH,
	                          .length = 8,
	                          .access = RW,
	                          .backing = REGMAP_DEVICE,
	                          .ops = &read_ops,
	                          .ctx = cells};
	struct regmap_window *w;
	uint32_t value = 0;

	(void)state;
	assert_int_equal(regmap_map(&c, &w), 0);
	assert_int_equal(bus->ops->probe(bus, HIGH, 4, EM_WRITE, &fault), EM_DENIED);
	assert_int_equal(bus->ops->write(bus, HIGH, &value, 4, &fault), EM_DENIED);
	expect_trap(SIGBUS, BUS_ADRERR, HIGH, 6);
	assert_int_equal(fault.error, -EACCES);
	assert_int_equal(regmap_unmap(w), 0);
}

static uint8_t *two_pages(void)
{
	return mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* A device window behind a page of ordinary memory, or before it. */
static void test_bus_straddles_into_memory(void **state)
{
	uint8_t *page = two_pages();
	uint64_t edge = (uintptr_t)page + PAGE, value = 0;
	struct regmap_window *w;

	(void)state;
	munmap(page + PAGE, PAGE);
	w = lay(edge, 64, REGMAP_DEVICE, RW);
	memset(page, 0xaa, PAGE);
	assert_int_equal(bus->ops->read(bus, edge - 4, &value, 8, &fault), EM_OK);
	assert_int_equal(value, 0x03020100aaaaaaaa);
	value = 0x8877665544332211;
	assert_int_equal(bus->ops->write(bus, edge - 4, &value, 8, &fault), EM_OK);
	assert_memory_equal(page + PAGE - 4, &value, 4);
	assert_memory_equal(cells, (uint8_t *)&value + 4, 4);
	mprotect(page, PAGE, PROT_READ);
	calls = 0;
	assert_int_equal(bus->ops->write(bus, edge - 4, &value, 8, &fault), EM_FAULT);
	expect_trap(SIGSEGV, SEGV_ACCERR, edge - 4, 7);
	assert_int_equal(calls, 0);
	assert_int_equal(regmap_unmap(w), 0);
	munmap(page, PAGE);
}

/* The device says no before the memory below it has changed. */
static void test_bus_writes_devices_first(void **state)
{
	uint8_t *page = two_pages();
	uint64_t edge = (uintptr_t)page + PAGE, value[3] = {1, 2, 3};
	struct regmap_window *w;

	(void)state;
	munmap(page + PAGE, PAGE);
	w = lay(edge, 64, REGMAP_DEVICE, RW);
	answer = -EIO;
	assert_int_equal(bus->ops->write(bus, edge - 8, value, 24, &fault), EM_DENIED);
	expect_trap(SIGBUS, BUS_ADRERR, edge + 8, 6);
	assert_int_equal(page[PAGE - 8], 0);
	assert_int_equal(regmap_unmap(w), 0);
	munmap(page, PAGE);
}

static void test_bus_faults_where_nothing_is(void **state)
{
	struct regmap_window *w = lay(HIGH, 8, REGMAP_DEVICE, RW);
	uint64_t value = 0;

	(void)state;
	assert_int_equal(bus->ops->read(bus, HIGH + 4, &value, 8, &fault), EM_FAULT);
	assert_int_equal(fault.trap.signo, SIGSEGV);
	assert_int_equal(fault.trap.address, HIGH + 8);
	assert_int_equal(calls, 0);
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_bus_names_the_guest_address_of_host_faults(void **state)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = HIGH,
	                          .length = 64,
	                          .access = RW,
	                          .backing = REGMAP_HOST,
	                          .host = page};
	struct regmap_window *w;
	uint32_t value;

	(void)state;
	assert_int_equal(regmap_map(&c, &w), 0);
	assert_int_equal(bus->ops->read(bus, HIGH + 4, &value, 4, &fault), EM_FAULT);
	expect_trap(SIGSEGV, SEGV_ACCERR, HIGH + 4, 4);
	assert_int_equal(regmap_read(HIGH, &value, 4), -EFAULT);
	assert_int_equal(regmap_unmap(w), 0);
	munmap(page, PAGE);
}

static void test_bus_alias_faults_name_the_alias(void **state)
{
	struct regmap_window *alias = lay(BASE, 64, REGMAP_ALIAS, RW), *w;
	uint32_t value;

	(void)state;
	assert_int_equal(bus->ops->read(bus, BASE, &value, 4, &fault), EM_DENIED);
	expect_trap(SIGSEGV, SEGV_MAPERR, BASE, 4);
	w = lay(HIGH, 64, REGMAP_DEVICE, RW);
	answer = -EIO;
	assert_int_equal(bus->ops->read(bus, BASE + 8, &value, 4, &fault), EM_DENIED);
	expect_trap(SIGBUS, BUS_ADRERR, BASE + 8, 4);
	assert_int_equal(regmap_unmap(w) | regmap_unmap(alias), 0);
}

static void test_bus_lock_nests(void **state)
{
	struct regmap_window *w = lay(HIGH, 64, REGMAP_DEVICE, RW);
	struct window_bus inner;

	(void)state;
	regmap__window_bus_init(&inner);
	for (unsigned i = 0; i < 3; i++) {
		bus->ops->lock(bus, HIGH);
		inner.bus.ops->lock(&inner.bus, HIGH + 4);
		inner.bus.ops->unlock(&inner.bus, HIGH + 4);
		bus->ops->unlock(bus, HIGH);
	}
	assert_int_equal(regmap_unmap(w), 0);
}

/* Last: the register page stays. */
static void test_bus_keeps_register_stores_until_commit(void **state)
{
	_Alignas(64) static uint8_t image[16384];
	struct cpu cpu = {.gpr = {0x1111, 0x2222}, .rip = 0x4000, .xsave = image};
	uint64_t value = 5;

	(void)state;
	assert_int_equal(regmap_map_registers(), 0);
	cpu.xfeatures = regmap__xstate.xcr0;
	bus->cpu = &cpu;
	bus->next = 0x4003;
	assert_int_equal(bus->ops->read(bus, 8, &value, 8, &fault), EM_OK);
	assert_int_equal(value, 0x2222);
	assert_int_equal(bus->ops->read(bus, 0x80, &value, 8, &fault), EM_OK);
	assert_int_equal(value, 0x4003);
	value = 0x77;
	assert_int_equal(bus->ops->write(bus, 4, &value, 8, &fault), EM_OK);
	assert_int_equal(cpu.gpr[0], 0x1111);
	bus->ops->commit(bus, &cpu);
	assert_int_equal(cpu.gpr[0], 0x7700001111);
	assert_int_equal(cpu.gpr[1], 0);
	assert_int_equal(bus->ops->write(bus, 0, &value, 8, &fault), EM_OK);
	bus->ops->abandon(bus);
	bus->ops->commit(bus, &cpu);
	assert_int_equal(cpu.gpr[0], 0x7700001111);
	assert_null(bus->ops->pin(bus, 0, 8, EM_READ));
	assert_int_not_equal(bus->ops->read(bus, 0x600, &value, 8, &fault), EM_OK);
	assert_int_equal(fault.trap.signo, SIGSEGV);
	assert_int_equal(fault.trap.code, SEGV_MAPERR);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bus_pins_host_memory),
		TEST(test_bus_denies_by_rights),
		TEST(test_bus_makes_device_errors_bus_errors),
		TEST(test_bus_refuses_a_null_callback),
		TEST(test_bus_straddles_into_memory),
		TEST(test_bus_writes_devices_first),
		TEST(test_bus_faults_where_nothing_is),
		TEST(test_bus_names_the_guest_address_of_host_faults),
		TEST(test_bus_alias_faults_name_the_alias),
		TEST(test_bus_lock_nests),
		TEST(test_bus_keeps_register_stores_until_commit),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
