/* SPDX-License-Identifier: MIT */
/* The contract of regmap.h, as far as it can be seen without a fault. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "child.h"
#include "lay.h"

extern void __tsan_init(void) __attribute__((weak));

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

/* Where sanitizers let a program have memory, too; a tebibyte they don't. */
#define BASE 0x551000000000ULL
#define LARGE 0x480000000000ULL
#define HIGH 0xffff900000000000ULL
#define NOWHERE 0x1234567800000000ULL

/* --- helpers --- */

static struct regmap_config config(enum regmap_backing backing, uint64_t guest, uint64_t length)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = guest,
		.length = length,
		.access = RW,
		.backing = backing,
	};

	return c;
}

static struct regmap_window *lay(const struct regmap_config *c)
{
	struct regmap_window *w = NULL;

	assert_int_equal(regmap_map(c, &w), 0);
	assert_non_null(w);
	return w;
}

static struct regmap_window *lay_ram(uint64_t guest, uint64_t length, unsigned flags)
{
	struct regmap_config c = config(REGMAP_RAM, guest, length);

	c.flags = flags;
	return lay(&c);
}

static struct regmap_window *lay_host(uint64_t guest, void *host, uint64_t length)
{
	struct regmap_config c = config(REGMAP_HOST, guest, length);

	c.host = host;
	return lay(&c);
}

static struct regmap_window *lay_alias(uint64_t guest, uint64_t target, uint64_t length)
{
	struct regmap_config c = config(REGMAP_ALIAS, guest, length);

	c.target = target;
	return lay(&c);
}

static void unmap(struct regmap_window *w)
{
	assert_int_equal(regmap_unmap(w), 0);
}

static int map_error(struct regmap_config c)
{
	struct regmap_window *w = (void *)1;
	int err;

	errno = 77;
	err = regmap_map(&c, &w);
	assert_int_equal(errno, 77);
	if (err)
		assert_ptr_equal(w, (void *)1);
	else
		unmap(w);
	return err;
}

static uint32_t get32(uint64_t at)
{
	uint32_t value = 0;

	assert_int_equal(regmap_read(at, &value, sizeof(value)), 0);
	return value;
}

static void put32(uint64_t at, uint32_t value)
{
	assert_int_equal(regmap_write(at, &value, sizeof(value)), 0);
}

static volatile uint32_t *pointer(uint64_t at)
{
	return (volatile uint32_t *)(uintptr_t)at;
}

/* Is the page at its address what plain loads see, without a trap? */
static bool is_direct(uint64_t at)
{
	return t_mapped_mode(at)[0] == 'r';
}

static bool is_reserved(uint64_t at)
{
	long got = syscall(SYS_mmap, at, PAGE, PROT_READ,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0L);

	if (got == (long)at)
		syscall(SYS_munmap, at, PAGE);
	return got == -1 && errno == EEXIST;
}

/* A device that notes what it sees. */
static struct note {
	uint64_t offset, value;
	unsigned width;
	bool write;
} notes[64];
static unsigned noted;
static uint64_t fail_at = UINT64_MAX;
static uint8_t cells[256];

static int note_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	errno = 55;
	if (offset == fail_at)
		return -EIO;
	*value = 0xeeeeeeeeeeeeeeee;
	memcpy(value, (uint8_t *)ctx + offset, width);
	notes[noted++ % 64] = (struct note){offset, *value, width, false};
	return 0;
}

static int note_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	errno = 55;
	if (offset == fail_at)
		return -EIO;
	memcpy((uint8_t *)ctx + offset, &value, width);
	notes[noted++ % 64] = (struct note){offset, value, width, true};
	return 0;
}

static const struct regmap_device_ops note_ops = {note_read, note_write};

static struct regmap_config device(uint64_t guest, uint64_t length)
{
	struct regmap_config c = config(REGMAP_DEVICE, guest, length);

	c.ops = &note_ops;
	c.ctx = cells;
	noted = 0;
	fail_at = UINT64_MAX;
	for (unsigned i = 0; i < sizeof(cells); i++)
		cells[i] = (uint8_t)i;
	return c;
}

static struct regmap_window *lay_device(uint64_t guest, uint64_t length)
{
	struct regmap_config c = device(guest, length);

	return lay(&c);
}

static void expect_note(unsigned i, bool write, uint64_t offset, unsigned width)
{
	assert_true(i < noted);
	assert_int_equal(notes[i].write, write);
	assert_int_equal(notes[i].offset, offset);
	assert_int_equal(notes[i].width, width);
}

/* --- the config --- */

static void test_api_rejects_wrong_configs(void **state)
{
	struct regmap_config good = config(REGMAP_RAM, BASE, PAGE), c;

	(void)state;
	assert_int_equal(map_error(good), 0);
	assert_int_equal(regmap_map(NULL, NULL), -EINVAL);
#define WRONG(change) (c = good, c.change, assert_int_equal(map_error(c), -EINVAL))
	WRONG(size = 0);
	WRONG(size = 79);
	WRONG(length = 0);
	WRONG(guest = UINT64_MAX);
	WRONG(length = UINT64_MAX - BASE + 2);
	WRONG(access = 0);
	WRONG(access = 4);
	WRONG(access = RW | 8);
	WRONG(flags = 8);
	WRONG(flags = REGMAP_GENERAL);
	WRONG(backing = (enum regmap_backing)4);
	WRONG(backing = (enum regmap_backing) - 1);
	WRONG(backing = REGMAP_HOST);
	WRONG(backing = REGMAP_DEVICE);
	good.backing = REGMAP_HOST;
	WRONG(host = (void *)-PAGE + 1);
	good.host = notes;
	WRONG(flags = REGMAP_GENERAL);
	good.backing = REGMAP_ALIAS;
	WRONG(target = UINT64_MAX - PAGE + 2);
#undef WRONG
}

static void test_api_rejects_a_device_without_callbacks(void **state)
{
	static const struct regmap_device_ops none = {NULL, NULL};
	struct regmap_config c = device(BASE, PAGE);

	(void)state;
	c.ops = &none;
	assert_int_equal(map_error(c), -EINVAL);
}

static void test_api_takes_general_callbacks_for_devices(void **state)
{
	struct regmap_config c = device(BASE, PAGE);

	(void)state;
	c.flags = REGMAP_GENERAL;
	assert_int_equal(map_error(c), 0);
	c.flags |= REGMAP_PRIVATE;
	assert_int_equal(map_error(c), -EINVAL);
}

static void test_api_takes_configs_of_later_versions(void **state)
{
	struct {
		struct regmap_config c;
		uint64_t later;
	} both = {.c = config(REGMAP_RAM, BASE, PAGE)};

	(void)state;
	both.c.size = sizeof(both);
	assert_int_equal(regmap_map(&both.c, NULL), 0);
	both.c.guest += PAGE;
	both.later = 1;
	assert_int_equal(regmap_map(&both.c, NULL), -EINVAL);
}

/* Those of the first version are 80 bytes, whatever has been added since. */
static void test_api_takes_configs_of_the_first_version(void **state)
{
	struct regmap_config c = config(REGMAP_RAM, BASE, PAGE);
	struct regmap_window *w;
	char *room = malloc(80);

	(void)state;
	c.size = 80;
	memcpy(room, &c, 80);
	assert_int_equal(regmap_map((const struct regmap_config *)room, &w), 0);
	unmap(w);
	free(room);
}

static void test_api_rejects_overlap(void **state)
{
	struct regmap_window *w = lay_ram(BASE + 0x10000, 0x100, 0);

	(void)state;
	assert_int_equal(map_error(config(REGMAP_RAM, BASE + 0x10000, 0x100)), -EEXIST);
	assert_int_equal(map_error(config(REGMAP_RAM, BASE + 0x100ff, 2)), -EEXIST);
	assert_int_equal(map_error(config(REGMAP_RAM, BASE + 0xffff, 2)), -EEXIST);
	assert_int_equal(map_error(config(REGMAP_RAM, BASE + 0x10100, 2)), 0);
	assert_int_equal(map_error(config(REGMAP_RAM, BASE + 0x10010, 2)), 0);
	assert_int_equal(map_error(config(REGMAP_RAM, BASE + 0xfff0, 0x200)), 0);
	unmap(w);
}

static int map_over_stack(void *arg)
{
	int here = 0;
	struct regmap_config c = config(REGMAP_RAM, (uintptr_t)&here, 4);

	(void)arg;
	c.name = "mine";
	return regmap_map(&c, NULL) == -EADDRINUSE ? 0 : 1;
}

static void test_api_names_what_is_in_the_way(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, map_over_stack, NULL);
	assert_int_equal(t_fate(child.status), 0);
	assert_non_null(strstr(child.text, "\"mine\""));
	assert_non_null(strstr(child.text, "[stack]"));
	assert_ptr_equal(strchr(child.text, '\n'), child.text + strlen(child.text) - 1);
}

/* --- anywhere --- */

static void try_ram(uint64_t guest, uint64_t length)
{
	struct regmap_window *w = lay_ram(guest, length, 0);

	assert_int_equal(get32(guest), 0);
	put32(guest, 0x12345678);
	put32(guest + length - 4, 0x9abcdef0);
	assert_int_equal(get32(guest), length == 4 ? 0x9abcdef0 : 0x12345678);
	assert_int_equal(get32(guest + length - 4), 0x9abcdef0);
	unmap(w);
}

static void test_api_maps_at_any_address(void **state)
{
	(void)state;
	try_ram(0, 4);
	try_ram(1, PAGE);
	try_ram(0x40021000, 0x400);
	try_ram(BASE + 123, 3 * PAGE + 7);
	try_ram(0x7ffffffff000 - PAGE, 16 * PAGE);
	try_ram(NOWHERE, 4);
	try_ram(HIGH + 1, PAGE);
	try_ram(UINT64_MAX - 3, 4);
	try_ram(UINT64_MAX - 0x1fff, 0x2000);
}

static void test_api_null_stays_unmapped(void **state)
{
	struct regmap_window *w = lay_ram(0, 0x3000, 0);
	unsigned char vector;

	(void)state;
	assert_int_equal(mincore(NULL, PAGE, &vector), -1);
	assert_true(is_direct(0x2000) || is_reserved(0x2000) || errno == EPERM);
	unmap(w);
}

static void test_api_maps_a_tebibyte(void **state)
{
	struct regmap_window *w;

	(void)state;
	if (__tsan_init) /* its shadow is in the way */
		skip();
	w = lay_ram(LARGE, 1ULL << 40, 0);
	put32(LARGE, 1);
	put32(LARGE + (1ULL << 40) - 4, 2);
	assert_int_equal(get32(LARGE), 1);
	assert_int_equal(get32(LARGE + (1ULL << 40) - 4), 2);
	assert_true(is_direct(LARGE));
	assert_true(is_direct(LARGE + (1ULL << 40) - 4));
	unmap(w);
	assert_false(is_reserved(LARGE));
}

/* --- RAM --- */

/* Does the kernel leave the mapping that begins there out of core files? */
static bool is_kept_out_of_cores(uint64_t guest)
{
	FILE *maps = fopen("/proc/self/smaps", "r");
	bool here = false, found = false;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (strspn(line, "0123456789abcdef") == strcspn(line, "-"))
			here = strtoull(line, NULL, 16) == guest;
		if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, " dd") != NULL;
	}
	fclose(maps);
	return found;
}

static void test_api_large_ram_stays_out_of_cores(void **state)
{
	(void)state;
	if (__tsan_init) /* its shadow is in the way */
		skip();
	for (unsigned flags = 0; flags <= REGMAP_PRIVATE; flags += REGMAP_PRIVATE) {
		struct regmap_window *w = lay_ram(BASE, PAGE, flags);

		assert_false(is_kept_out_of_cores(BASE));
		unmap(w);
		w = lay_ram(LARGE, 1ULL << 31, flags);
		assert_true(is_kept_out_of_cores(LARGE));
		unmap(w);
	}
}

static void test_api_ram_is_direct(void **state)
{
	struct regmap_window *w = lay_ram(BASE + 100, 3 * PAGE, 0);

	(void)state;
	assert_false(is_direct(BASE));
	assert_true(is_reserved(BASE));
	assert_true(is_direct(BASE + PAGE));
	assert_true(is_direct(BASE + 2 * PAGE));
	assert_false(is_direct(BASE + 3 * PAGE));
	*pointer(BASE + PAGE) = 42;
	assert_int_equal(get32(BASE + PAGE), 42);
	put32(BASE + 2 * PAGE, 43);
	assert_int_equal(*pointer(BASE + 2 * PAGE), 43);
	unmap(w);
	assert_false(is_reserved(BASE));
	assert_false(is_reserved(BASE + PAGE));
	assert_false(is_reserved(BASE + 3 * PAGE));
}

static void test_api_ram_starts_zeroed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct regmap_window *w = lay_ram(BASE, PAGE, 0);

		assert_int_equal(*pointer(BASE), 0);
		*pointer(BASE) = 1;
		unmap(w);
	}
}

static void test_api_ram_traps_on_request(void **state)
{
	struct regmap_config c = config(REGMAP_RAM, BASE, PAGE);
	struct regmap_window *w = lay_ram(BASE, PAGE, REGMAP_TRAP);

	(void)state;
	assert_false(is_direct(BASE));
	unmap(w);
	c.access = REGMAP_WRITE;
	w = lay(&c);
	assert_false(is_direct(BASE));
	unmap(w);
	c.access = REGMAP_READ;
	w = lay(&c);
	assert_true(is_direct(BASE));
	assert_int_equal(*pointer(BASE), 0);
	unmap(w);
}

static void test_api_inner_windows_punch_holes_and_heal(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, 4 * PAGE, 0), *a, *b;

	(void)state;
	*pointer(BASE + PAGE + 0x40) = 5;
	*pointer(BASE + PAGE + 0x20) = 6;
	a = lay_device(BASE + PAGE + 0x40, 16);
	assert_false(is_direct(BASE + PAGE));
	assert_true(is_direct(BASE));
	assert_true(is_direct(BASE + 2 * PAGE));
	assert_int_equal(get32(BASE + PAGE + 0x20), 6);
	assert_int_equal(get32(BASE + PAGE + 0x40), 0x03020100);
	b = lay_device(BASE + PAGE + 0x80, 16);
	unmap(a);
	assert_false(is_direct(BASE + PAGE));
	unmap(b);
	assert_true(is_direct(BASE + PAGE));
	assert_int_equal(*pointer(BASE + PAGE + 0x40), 5);
	unmap(ram);
}

static void test_api_outer_windows_leave_direct_pages(void **state)
{
	struct regmap_window *ram = lay_ram(BASE + PAGE, PAGE, 0), *outer;

	(void)state;
	*pointer(BASE + PAGE) = 5;
	outer = lay_ram(BASE, 4 * PAGE, 0);
	assert_true(is_direct(BASE));
	*pointer(BASE) = 6;
	assert_int_equal(*pointer(BASE + PAGE), 5);
	unmap(ram);
	assert_int_equal(*pointer(BASE + PAGE), 0);
	ram = lay_ram(BASE + PAGE, PAGE, 0);
	unmap(outer);
	assert_true(is_direct(BASE + PAGE));
	assert_false(is_reserved(BASE));
	unmap(ram);
	assert_false(is_reserved(BASE + PAGE));
}

static void test_api_ram_in_a_trapped_window_is_direct(void **state)
{
	struct regmap_window *outer = lay_device(BASE, 16 * PAGE);
	struct regmap_window *ram = lay_ram(BASE + PAGE, PAGE, 0);

	(void)state;
	assert_true(is_direct(BASE + PAGE));
	unmap(ram);
	assert_false(is_direct(BASE + PAGE));
	assert_true(is_reserved(BASE + PAGE));
	unmap(outer);
	assert_false(is_reserved(BASE + PAGE));
}

static int count_in_child(void *arg)
{
	(void)arg;
	*pointer(BASE) = 9;
	put32(BASE + PAGE + 4, 10);
	return 0;
}

static void test_api_ram_is_shared_with_children(void **state)
{
	struct regmap_window *w = lay_ram(BASE, PAGE + 8, 0);

	(void)state;
	assert_int_equal(t_child_fate(count_in_child, NULL), 0);
	assert_int_equal(*pointer(BASE), 9);
	assert_int_equal(get32(BASE + PAGE + 4), 10);
	unmap(w);
}

static int lay_in_child(void *arg)
{
	struct regmap_window *w = lay_ram(BASE + PAGE, PAGE, 0);

	(void)arg;
	*pointer(BASE + PAGE) = 9;
	unmap(w);
	return regmap_unmap(lay_ram(BASE + 2 * PAGE, PAGE, 0));
}

static void test_api_ram_of_children_is_their_own(void **state)
{
	struct regmap_window *old = lay_ram(BASE, PAGE, 0), *w;

	(void)state;
	assert_int_equal(t_child_fate(lay_in_child, NULL), 0);
	w = lay_ram(BASE + PAGE, PAGE, 0);
	assert_int_equal(*pointer(BASE + PAGE), 0);
	unmap(w);
	unmap(old);
}

/* --- devices --- */

static void test_api_device_sees_aligned_pieces(void **state)
{
	struct regmap_window *w = lay_device(BASE + 1, 64);
	uint8_t bytes[32];

	(void)state;
	assert_int_equal(regmap_read(BASE + 1, bytes, 16), 0);
	assert_int_equal(noted, 5);
	expect_note(0, false, 0, 1);
	expect_note(1, false, 1, 2);
	expect_note(2, false, 3, 4);
	expect_note(3, false, 7, 8);
	expect_note(4, false, 15, 1);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(bytes[i], i);
	noted = 0;
	assert_int_equal(regmap_write(BASE + 8, bytes, 16), 0);
	assert_int_equal(noted, 2);
	expect_note(0, true, 7, 8);
	expect_note(1, true, 15, 8);
	unmap(w);
}

static void test_api_device_values_are_zero_above_the_width(void **state)
{
	struct regmap_window *w = lay_device(BASE, 64);

	(void)state;
	put32(BASE + 4, 0xffffffff);
	assert_int_equal(notes[0].value, 0xffffffff);
	assert_int_equal(get32(BASE + 8), 0x0b0a0908);
	unmap(w);
}

static void test_api_device_errors_come_back(void **state)
{
	struct regmap_window *w = lay_device(BASE, 64);
	uint8_t bytes[24];

	(void)state;
	fail_at = 8;
	errno = 77;
	assert_int_equal(regmap_read(BASE, bytes, 24), -EIO);
	assert_int_equal(regmap_write(BASE, bytes, 24), -EIO);
	assert_int_equal(errno, 77);
	assert_int_equal(noted, 2);
	unmap(w);
}

static void test_api_device_refuses_missing_directions(void **state)
{
	static const struct regmap_device_ops reader = {note_read, NULL};
	struct regmap_config c = device(BASE, 64);
	struct regmap_window *w;
	uint32_t value = 0;

	(void)state;
	c.ops = &reader;
	w = lay(&c);
	assert_int_equal(regmap_write(BASE, &value, 4), -EACCES);
	assert_int_equal(regmap_read(BASE, &value, 4), 0);
	unmap(w);
}

static struct regmap_window *own;

static int unmap_own(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 7;
	return regmap_unmap(own);
}

static void test_api_device_may_unmap_itself(void **state)
{
	static const struct regmap_device_ops ops = {unmap_own, NULL};
	struct regmap_config c = config(REGMAP_DEVICE, BASE, 64);
	uint32_t value;

	(void)state;
	c.ops = &ops;
	own = lay(&c);
	assert_int_equal(regmap_read(BASE, &value, 4), 0);
	assert_int_equal(value, 7);
	assert_int_equal(regmap_read(BASE, &value, 4), -EFAULT);
}

/* --- reading and writing --- */

static void test_api_reads_across_windows_or_not_at_all(void **state)
{
	static uint8_t host[64];
	struct regmap_window *a = lay_host(BASE + 8, host, 8), *b = lay_device(BASE + 16, 8);
	uint8_t bytes[32];

	(void)state;
	memset(host, 0xaa, sizeof(host));
	memset(bytes, 0x55, sizeof(bytes));
	assert_int_equal(regmap_read(BASE + 8, bytes, 16), 0);
	assert_int_equal(bytes[7], 0xaa);
	assert_int_equal(bytes[8], 0);
	noted = 0;
	assert_int_equal(regmap_read(BASE + 8, bytes, 17), -EFAULT);
	assert_int_equal(regmap_write(BASE + 7, bytes, 17), -EFAULT);
	assert_int_equal(noted, 0);
	assert_int_equal(regmap_read(BASE, bytes, 0), 0);
	unmap(a);
	unmap(b);
}

static void test_api_keeps_access_rights(void **state)
{
	static uint8_t host[64];
	struct regmap_config c = config(REGMAP_HOST, BASE, 8);
	struct regmap_window *a, *b, *d = lay_device(BASE + 16, 8);
	uint8_t bytes[32];

	(void)state;
	c.host = host;
	c.access = REGMAP_READ;
	a = lay(&c);
	c.guest += 8;
	c.access = REGMAP_WRITE;
	b = lay(&c);
	assert_int_equal(regmap_read(BASE, bytes, 8), 0);
	assert_int_equal(regmap_write(BASE, bytes, 8), -EACCES);
	assert_int_equal(regmap_read(BASE + 8, bytes, 8), -EACCES);
	assert_int_equal(regmap_write(BASE + 8, bytes, 16), 0);
	noted = 0;
	assert_int_equal(regmap_read(BASE + 15, bytes, 9), -EACCES);
	assert_int_equal(noted, 0);
	unmap(a);
	unmap(b);
	unmap(d);
}

static void test_api_wraps_at_the_end(void **state)
{
	struct regmap_window *a = lay_ram(UINT64_MAX - 1, 2, 0), *b = lay_ram(0, 2, 0);

	(void)state;
	put32(UINT64_MAX - 1, 0x04030201);
	assert_int_equal(get32(UINT64_MAX - 1), 0x04030201);
	unmap(a);
	unmap(b);
}

static void test_api_inner_windows_win(void **state)
{
	static uint8_t host[64];
	struct regmap_window *inner = lay_host(BASE + 4, host, 4), *outer = lay_device(BASE, 12);
	uint8_t bytes[12];

	(void)state;
	memset(host, 0xaa, sizeof(host));
	assert_int_equal(regmap_read(BASE, bytes, 12), 0);
	assert_memory_equal(bytes, "\0\1\2\3\xaa\xaa\xaa\xaa\x8\x9\xa\xb", 12);
	unmap(inner);
	assert_int_equal(get32(BASE + 4), 0x07060504);
	unmap(outer);
}

/* --- aliases --- */

static void test_api_alias_is_the_same_bytes(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, PAGE, 0), *alias = lay_alias(HIGH, BASE + 16, 64);
	struct regmap_window *inner;
	void *host, *via;

	(void)state;
	*pointer(BASE + 16) = 5;
	assert_int_equal(get32(HIGH), 5);
	put32(HIGH + 4, 6);
	assert_int_equal(*pointer(BASE + 20), 6);
	assert_int_equal(regmap_translate(BASE + 16, &host), 0);
	assert_int_equal(regmap_translate(HIGH, &via), 0);
	assert_ptr_equal(host, via);
	inner = lay_device(BASE + 16, 8);
	assert_int_equal(get32(HIGH + 4), 0x07060504);
	unmap(inner);
	assert_int_equal(get32(HIGH + 4), 6);
	unmap(ram);
	assert_int_equal(regmap_translate(HIGH, &via), -EFAULT);
	unmap(alias);
}

static void test_api_alias_needs_both_rights(void **state)
{
	struct regmap_config c = config(REGMAP_ALIAS, HIGH, 64);
	struct regmap_window *ram = lay_ram(BASE, PAGE, 0), *alias;
	uint32_t value = 0;

	(void)state;
	c.target = BASE;
	c.access = REGMAP_READ;
	alias = lay(&c);
	assert_int_equal(regmap_write(HIGH, &value, 4), -EACCES);
	assert_int_equal(regmap_read(HIGH, &value, 4), 0);
	unmap(ram);
	unmap(alias);
}

static void test_api_alias_chains_end(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, PAGE, 0), *alias[9];
	uint32_t value;

	(void)state;
	*pointer(BASE) = 7;
	for (unsigned i = 0; i < 9; i++)
		alias[i] = lay_alias(HIGH + i * 64, i ? HIGH + (i - 1) * 64 : BASE, 64);
	assert_int_equal(get32(HIGH + 7 * 64), 7);
	assert_int_equal(regmap_read(HIGH + 8 * 64, &value, 4), -ELOOP);
	for (unsigned i = 0; i < 9; i++)
		unmap(alias[i]);
	unmap(ram);
}

/* What is mapped for a window is as large as that, and the kernel would like to have it at the same place. */
static void test_api_ram_makes_room_for_itself(void **state)
{
	const uint64_t length = 1ULL << 40;
	struct regmap_config c;
	void *next;

	(void)state;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip(); /* the place is theirs */
	for (unsigned i = 0; i < 4; i++) {
		next = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		            -1, 0);
		assert_ptr_not_equal(next, MAP_FAILED);
		assert_int_equal(munmap(next, length), 0);
		c = config(REGMAP_RAM, (uintptr_t)next, length);
		c.flags = (i & 1 ? REGMAP_PRIVATE : 0) | (i & 2 ? REGMAP_TRAP : 0);
		unmap(lay(&c));
	}
}

static void test_api_alias_of_itself_is_refused(void **state)
{
	struct regmap_config c = config(REGMAP_ALIAS, HIGH, 64);
	struct regmap_window *alias = lay_alias(HIGH + 64, HIGH, 64);

	(void)state;
	c.target = HIGH + 32;
	assert_int_equal(map_error(c), -ELOOP);
	c.target = HIGH + 64;
	assert_int_equal(map_error(c), -ELOOP);
	c.target = HIGH + 128;
	assert_int_equal(map_error(c), 0);
	unmap(alias);
}

/* --- the rest --- */

static void test_api_translates(void **state)
{
	static uint8_t bytes[64];
	struct regmap_window *a = lay_host(BASE + 5, bytes, 64), *b = lay_device(BASE + 100, 8);
	void *host = NULL;

	(void)state;
	assert_int_equal(regmap_translate(BASE + 7, &host), 0);
	assert_ptr_equal(host, bytes + 2);
	assert_int_equal(regmap_translate(BASE + 100, &host), -ENODEV);
	assert_int_equal(regmap_translate(BASE + 4, &host), -EFAULT);
	unmap(a);
	unmap(b);
}

static void test_api_unmaps_once(void **state)
{
	struct regmap_window *w = lay_ram(BASE, PAGE, 0);

	(void)state;
	assert_int_equal(regmap_unmap(NULL), 0);
	assert_int_equal(regmap_unmap((void *)state), -EINVAL);
	assert_int_equal(regmap_unmap((void *)((char *)w + 8)), -EINVAL);
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(regmap_unmap(w), -EINVAL);
}

static int use_registers(void *arg)
{
	struct regmap_config c = config(REGMAP_ALIAS, BASE, 64);
	struct regmap_config low = config(REGMAP_RAM, 0xf00, 16);
	struct regmap_config around = config(REGMAP_RAM, 0, 0x10000);
	struct regmap_window *w = lay_ram(0, 4, 0);
	uint64_t value;
	void *host;

	(void)arg;
	if (regmap_map_registers() != -EEXIST)
		return 1;
	unmap(w);
	if (regmap_map_registers() || map_registers())
		return 2;
	if (map_error(low) != -EEXIST || map_error(around) != -EEXIST)
		return 3;
	if (regmap_read(0x10, &value, 8) != -EOPNOTSUPP || regmap_translate(0, &host) != -ENODEV)
		return 4;
	return map_error(c) != -EINVAL;
}

static void test_api_registers_have_page_0_alone(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(use_registers, NULL), 0);
}

static int use_page_0(void *arg)
{
	long got = syscall(SYS_mmap, 0L, PAGE, PROT_READ | PROT_EXEC,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0L);

	(void)arg;
	if (got)
		return 0; /* not allowed to */
	return regmap_map_registers() == -EADDRINUSE ? 0 : 1;
}

static void test_api_registers_name_a_rewriter(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, use_page_0, NULL);
	assert_int_equal(t_fate(child.status), 0);
	if (child.text[0])
		assert_non_null(strstr(child.text, "zpoline"));
}

static void test_api_explains_errors(void **state)
{
	static const int errors[] = {EINVAL, EEXIST, EADDRINUSE, ENOMEM,     ELOOP,
	                             ENOSYS, EFAULT, EACCES,     EOPNOTSUPP, ENODEV};

	(void)state;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		assert_ptr_equal(regmap_strerror(errors[i]), regmap_strerror(-errors[i]));
		assert_string_not_equal(regmap_strerror(errors[i]), regmap_strerror(12345));
	}
	assert_string_equal(regmap_strerror(0), "success");
	assert_non_null(regmap_strerror(INT32_MIN));
}

/* --- threads --- */

static atomic_bool stop;
static atomic_uint seen;
static uint32_t pattern[16];

static void *keep_reading(void *arg)
{
	uint64_t at = (uintptr_t)arg;

	while (!stop) {
		uint32_t value = 1;
		void *host;
		int err = regmap_read(at, &value, 4);

		if ((err && err != -EFAULT) || (!err && value != 0xabcdef01))
			abort();
		err = regmap_translate(at + 8, &host);
		if ((err && err != -EFAULT) || (!err && host != &pattern[2]))
			abort();
		seen++;
	}
	return NULL;
}

static void *keep_mapping(void *arg)
{
	uint64_t at = (uintptr_t)arg;

	for (unsigned i = 0; i < 2000 || seen < 2000; i++)
		unmap(lay_host(at, pattern, sizeof(pattern)));
	return NULL;
}

static void test_api_threads_map_and_read(void **state)
{
	pthread_t reader[3], writer[2];

	(void)state;
	stop = false;
	for (unsigned i = 0; i < 16; i++)
		pattern[i] = 0xabcdef01;
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&reader[i], NULL, keep_reading, (void *)(BASE + (i & 1) * 128));
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&writer[i], NULL, keep_mapping, (void *)(BASE + i * 128));
	for (unsigned i = 0; i < 2; i++)
		pthread_join(writer[i], NULL);
	stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(reader[i], NULL);
}

/* unmap returns only when no callback of another thread runs any more */
static atomic_int inside;

static int slow_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)offset, (void)width;
	inside = 1;
	usleep(30000);
	*value = *(uint32_t *)ctx;
	inside = 2;
	return 0;
}

static void *read_once(void *arg)
{
	(void)arg;
	assert_int_equal(get32(BASE), 5);
	return NULL;
}

static void test_api_unmap_waits_for_callbacks(void **state)
{
	static const struct regmap_device_ops slow = {slow_read, NULL};
	struct regmap_config c = config(REGMAP_DEVICE, BASE, 64);
	struct regmap_window *w;
	uint32_t value = 5;
	pthread_t thread;

	(void)state;
	c.ops = &slow;
	c.ctx = &value;
	w = lay(&c);
	inside = 0;
	pthread_create(&thread, NULL, read_once, NULL);
	while (!inside)
		usleep(100);
	unmap(w);
	assert_int_equal(inside, 2);
	pthread_join(thread, NULL);
}

/* A callback that leaves by longjmp() holds nobody up. */
static jmp_buf away;

static int jump_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	longjmp(away, 1);
}

static __attribute__((noinline)) void use_stack(void)
{
	volatile uint8_t bytes[32768];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
}

static void *unmap_it(void *w)
{
	unmap(w);
	return NULL;
}

static void test_api_callbacks_may_jump_out(void **state)
{
	static const struct regmap_device_ops jump = {jump_read, NULL};
	struct regmap_config c = config(REGMAP_DEVICE, BASE, 64);
	struct regmap_window *w;
	pthread_t thread;
	volatile unsigned i;

	(void)state;
	c.ops = &jump;
	w = lay(&c);
	for (i = 0; i < 5000; i++)
		if (!setjmp(away))
			get32(BASE);
	use_stack();
	pthread_create(&thread, NULL, unmap_it, w);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_api_rejects_wrong_configs),
		cmocka_unit_test(test_api_rejects_a_device_without_callbacks),
		cmocka_unit_test(test_api_takes_configs_of_the_first_version),
		cmocka_unit_test(test_api_takes_general_callbacks_for_devices),
		cmocka_unit_test(test_api_rejects_overlap),
		cmocka_unit_test(test_api_names_what_is_in_the_way),
		cmocka_unit_test(test_api_maps_at_any_address),
		cmocka_unit_test(test_api_null_stays_unmapped),
		cmocka_unit_test(test_api_maps_a_tebibyte),
		cmocka_unit_test(test_api_large_ram_stays_out_of_cores),
		cmocka_unit_test(test_api_ram_is_direct),
		cmocka_unit_test(test_api_ram_starts_zeroed),
		cmocka_unit_test(test_api_ram_traps_on_request),
		cmocka_unit_test(test_api_inner_windows_punch_holes_and_heal),
		cmocka_unit_test(test_api_outer_windows_leave_direct_pages),
		cmocka_unit_test(test_api_ram_in_a_trapped_window_is_direct),
		cmocka_unit_test(test_api_ram_is_shared_with_children),
		cmocka_unit_test(test_api_ram_of_children_is_their_own),
		cmocka_unit_test(test_api_device_sees_aligned_pieces),
		cmocka_unit_test(test_api_device_values_are_zero_above_the_width),
		cmocka_unit_test(test_api_device_errors_come_back),
		cmocka_unit_test(test_api_device_refuses_missing_directions),
		cmocka_unit_test(test_api_device_may_unmap_itself),
		cmocka_unit_test(test_api_reads_across_windows_or_not_at_all),
		cmocka_unit_test(test_api_keeps_access_rights),
		cmocka_unit_test(test_api_wraps_at_the_end),
		cmocka_unit_test(test_api_inner_windows_win),
		cmocka_unit_test(test_api_alias_is_the_same_bytes),
		cmocka_unit_test(test_api_alias_needs_both_rights),
		cmocka_unit_test(test_api_alias_chains_end),
		cmocka_unit_test(test_api_ram_makes_room_for_itself),
		cmocka_unit_test(test_api_alias_of_itself_is_refused),
		cmocka_unit_test(test_api_translates),
		cmocka_unit_test(test_api_unmaps_once),
		cmocka_unit_test(test_api_registers_have_page_0_alone),
		cmocka_unit_test(test_api_registers_name_a_rewriter),
		cmocka_unit_test(test_api_explains_errors),
		cmocka_unit_test(test_api_threads_map_and_read),
		cmocka_unit_test(test_api_unmap_waits_for_callbacks),
		cmocka_unit_test(test_api_callbacks_may_jump_out),
		cmocka_unit_test(test_api_takes_configs_of_later_versions),
	};

	return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
