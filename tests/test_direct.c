/* SPDX-License-Identifier: MIT */
/* What is mapped where the program sees it: RAM, its aliases, and what devices let be read. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

#define BASE 0x551000000000ULL
#define MIRROR 0x552000000000ULL
#define SECOND 0x553000000000ULL
#define HIGH 0xffff900000000000ULL

/* --- helpers --- */

static struct regmap_config config(enum regmap_backing backing, uint64_t guest, uint64_t length)
{
	return (struct regmap_config){
		.size = sizeof(struct regmap_config),
		.guest = guest,
		.length = length,
		.access = RW,
		.backing = backing,
	};
}

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *w = NULL;

	assert_int_equal(regmap_map(&c, &w), 0);
	assert_non_null(w);
	return w;
}

static struct regmap_window *lay_ram(uint64_t guest, uint64_t length)
{
	return lay(config(REGMAP_RAM, guest, length));
}

static struct regmap_window *lay_alias(uint64_t guest, uint64_t target, uint64_t length)
{
	struct regmap_config c = config(REGMAP_ALIAS, guest, length);

	c.target = target;
	return lay(c);
}

static void unmap(struct regmap_window *w)
{
	assert_int_equal(regmap_unmap(w), 0);
}

static volatile uint32_t *pointer(uint64_t at)
{
	return (volatile uint32_t *)(uintptr_t)at;
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

#define assert_direct(at) assert_string_equal(t_mapped_mode(at), "rw-s")
#define assert_read_direct(at) assert_string_equal(t_mapped_mode(at), "r--s")
#define assert_trapped(at) assert_string_equal(t_mapped_mode(at), "---p")

/* An access that may fault: the signal and where, or 0. */
static sigjmp_buf after;
static volatile uint64_t fault_at;

static void on_fault(int signo, siginfo_t *info, void *uc)
{
	(void)uc;
	fault_at = (uintptr_t)info->si_addr;
	siglongjmp(after, signo);
}

static int fault_of(uint64_t at, bool write)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old[2];
	int signo;

	fault_at = 0;
	sigaction(SIGSEGV, &act, &old[0]);
	sigaction(SIGBUS, &act, &old[1]);
	signo = sigsetjmp(after, 1);
	if (!signo && write)
		*pointer(at) = 0;
	else if (!signo)
		(void)*pointer(at);
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGBUS, &old[1], NULL);
	return signo;
}

static void expect_segv(uint64_t at, bool write)
{
	assert_int_equal(fault_of(at, write), SIGSEGV);
	assert_int_equal(fault_at, at);
}

/* A device that notes what it sees, and keeps nothing but what it is told to. */
static struct note {
	uint64_t offset, value;
	unsigned width;
} stores[64];
static unsigned stored, loaded;
static uint8_t *model_memory; /* of a device that is read as memory; NULL: stores get nowhere */

static int note_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)width;
	loaded++;
	*value = 0xd0 + offset;
	return 0;
}

static int note_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	stores[stored++ % 64] = (struct note){offset, value, width};
	if (model_memory)
		memcpy(model_memory + offset, &value, width);
	return 0;
}

static const struct regmap_device_ops note_ops = {note_read, note_write};

static struct regmap_config device(uint64_t guest, uint64_t length)
{
	struct regmap_config c = config(REGMAP_DEVICE, guest, length);

	c.ops = &note_ops;
	stored = loaded = 0;
	model_memory = NULL;
	return c;
}

static struct regmap_window *lay_device(uint64_t guest, uint64_t length)
{
	return lay(device(guest, length));
}

static struct regmap_config readable(uint64_t guest, uint64_t length)
{
	struct regmap_config c = device(guest, length);

	c.flags = REGMAP_READ_DIRECT;
	return c;
}

static struct regmap_window *lay_readable(uint64_t guest, uint64_t length)
{
	struct regmap_window *w = lay(readable(guest, length));
	void *memory;

	assert_int_equal(regmap_translate(guest, &memory), 0);
	model_memory = memory;
	return w;
}

/* --- aliases of RAM --- */

static void test_direct_alias_of_ram_is_mapped(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, 3 * PAGE);
	struct regmap_window *alias = lay_alias(MIRROR, BASE + PAGE, 2 * PAGE);

	(void)state;
	assert_direct(MIRROR);
	assert_direct(MIRROR + PAGE);
	*pointer(BASE + PAGE + 8) = 5;
	assert_int_equal(*pointer(MIRROR + 8), 5);
	*pointer(MIRROR + PAGE + 12) = 6;
	assert_int_equal(*pointer(BASE + 2 * PAGE + 12), 6);
	put32(MIRROR + 16, 7);
	assert_int_equal(*pointer(MIRROR + 16), 7);
	assert_int_equal(get32(BASE + PAGE + 16), 7);
	unmap(alias);
	assert_string_equal(t_mapped_mode(MIRROR), "");
	assert_direct(BASE + PAGE);
	unmap(ram);
}

static void test_direct_mirrors_are_one_memory(void **state)
{
	enum { MIRRORS = 8 };
	struct regmap_window *ram = lay_ram(BASE, PAGE), *alias[MIRRORS];

	(void)state;
	for (unsigned i = 0; i < MIRRORS; i++)
		alias[i] = lay_alias(BASE + (i + 1) * PAGE, BASE, PAGE);
	for (unsigned i = 0; i < MIRRORS; i++) {
		assert_direct(BASE + (i + 1) * PAGE);
		*pointer(BASE + (i + 1) * PAGE) = i + 1;
		for (unsigned j = 0; j <= MIRRORS; j++)
			assert_int_equal(*pointer(BASE + j * PAGE), i + 1);
	}
	unmap(ram);
	for (unsigned i = 0; i < MIRRORS; i++) {
		assert_trapped(BASE + (i + 1) * PAGE);
		unmap(alias[i]);
	}
}

static void test_direct_alias_may_come_before_its_target(void **state)
{
	struct regmap_window *alias = lay_alias(MIRROR, BASE, 2 * PAGE), *ram;

	(void)state;
	assert_trapped(MIRROR);
	expect_segv(MIRROR + 4, false);
	ram = lay_ram(BASE + PAGE, PAGE);
	assert_trapped(MIRROR);
	assert_direct(MIRROR + PAGE);
	*pointer(MIRROR + PAGE) = 3;
	assert_int_equal(*pointer(BASE + PAGE), 3);
	unmap(ram);
	unmap(alias);
}

static void test_direct_alias_faults_when_its_target_has_gone(void **state)
{
	struct regmap_window *alias = lay_alias(MIRROR, BASE, PAGE), *ram = lay_ram(BASE, PAGE);

	(void)state;
	*pointer(MIRROR + 64) = 77;
	unmap(ram);
	assert_trapped(MIRROR);
	expect_segv(MIRROR + 64, false);
	expect_segv(MIRROR + 64, true);
	ram = lay_ram(BASE, PAGE);
	assert_direct(MIRROR);
	assert_int_equal(*pointer(MIRROR + 64), 0);
	unmap(ram);
	unmap(alias);
}

static void test_direct_window_inside_of_the_target_shows(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, 4 * PAGE),
			     *alias = lay_alias(MIRROR, BASE, 4 * PAGE);
	struct regmap_window *inner;

	(void)state;
	*pointer(MIRROR + PAGE + 0x40) = 5;
	inner = lay_device(BASE + PAGE + 0x40, 16);
	assert_direct(MIRROR);
	assert_trapped(MIRROR + PAGE);
	assert_direct(MIRROR + 2 * PAGE);
	assert_int_equal(*pointer(MIRROR + PAGE + 0x40), 0xd0);
	assert_int_equal(loaded, 1);
	unmap(inner);
	assert_direct(MIRROR + PAGE);
	assert_int_equal(*pointer(MIRROR + PAGE + 0x40), 5);
	inner = lay_ram(BASE + PAGE, 2 * PAGE);
	assert_direct(MIRROR + PAGE);
	assert_int_equal(*pointer(MIRROR + PAGE + 0x40), 0);
	*pointer(MIRROR + 2 * PAGE) = 9;
	assert_int_equal(*pointer(BASE + 2 * PAGE), 9);
	unmap(inner);
	assert_int_equal(*pointer(MIRROR + PAGE + 0x40), 5);
	assert_int_equal(*pointer(MIRROR + 2 * PAGE), 0);
	unmap(ram);
	unmap(alias);
}

static void test_direct_window_inside_of_the_alias_shows(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, 4 * PAGE),
			     *alias = lay_alias(MIRROR, BASE, 4 * PAGE);
	struct regmap_window *inner = lay_device(MIRROR + PAGE + 0x40, 16);

	(void)state;
	assert_trapped(MIRROR + PAGE);
	assert_direct(MIRROR);
	assert_direct(BASE + PAGE);
	assert_int_equal(*pointer(MIRROR + PAGE + 0x44), 0xd4);
	*pointer(BASE + PAGE + 0x20) = 8;
	assert_int_equal(*pointer(MIRROR + PAGE + 0x20), 8);
	unmap(inner);
	assert_direct(MIRROR + PAGE);
	inner = lay_ram(MIRROR + 2 * PAGE, PAGE);
	*pointer(MIRROR + 2 * PAGE) = 1;
	assert_int_equal(*pointer(BASE + 2 * PAGE), 0);
	unmap(inner);
	assert_direct(MIRROR + 2 * PAGE);
	assert_int_equal(*pointer(MIRROR + 2 * PAGE), 0);
	unmap(ram);
	unmap(alias);
}

static void test_direct_alias_spans_several_windows(void **state)
{
	struct regmap_window *alias = lay_alias(MIRROR, BASE, 4 * PAGE), *a, *b;

	(void)state;
	a = lay_ram(BASE, PAGE + 0x800);
	b = lay_ram(BASE + PAGE + 0x800, PAGE + 0x800);
	assert_direct(MIRROR);
	assert_trapped(MIRROR + PAGE);
	assert_direct(MIRROR + 2 * PAGE);
	assert_trapped(MIRROR + 3 * PAGE);
	for (unsigned i = 0; i < 3 * PAGE; i += 0x100)
		*pointer(MIRROR + i) = i + 1;
	for (unsigned i = 0; i < 3 * PAGE; i += 0x100)
		assert_int_equal(*pointer(BASE + i), i + 1);
	expect_segv(MIRROR + 3 * PAGE, false);
	unmap(a);
	assert_trapped(MIRROR);
	expect_segv(MIRROR + PAGE + 0x7fc, false);
	assert_int_equal(*pointer(MIRROR + PAGE + 0x800), PAGE + 0x801);
	unmap(b);
	unmap(alias);
}

static void test_direct_alias_remainders_of_pages_trap(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, 4 * PAGE);
	struct regmap_window *alias = lay_alias(MIRROR + 0x100, BASE + 0x100, 2 * PAGE);

	(void)state;
	assert_trapped(MIRROR);
	assert_direct(MIRROR + PAGE);
	assert_trapped(MIRROR + 2 * PAGE);
	*pointer(MIRROR + 0x100) = 1;
	*pointer(MIRROR + 2 * PAGE + 0xfc) = 2;
	assert_int_equal(*pointer(BASE + 0x100), 1);
	assert_int_equal(*pointer(BASE + 2 * PAGE + 0xfc), 2);
	expect_segv(MIRROR + 0xfc, false);
	unmap(alias);
	alias = lay_alias(MIRROR, BASE + 0x100, 2 * PAGE);
	assert_trapped(MIRROR);
	assert_trapped(MIRROR + PAGE);
	assert_int_equal(*pointer(MIRROR), 1);
	unmap(alias);
	unmap(ram);
}

static void test_direct_aliases_of_aliases_are_mapped(void **state)
{
	struct regmap_window *ram, *alias[9];

	(void)state;
	for (unsigned i = 9; i-- > 0;)
		alias[i] = lay_alias(MIRROR + i * PAGE, i ? MIRROR + (i - 1) * PAGE : BASE, PAGE);
	ram = lay_ram(BASE, PAGE);
	*pointer(BASE) = 7;
	for (unsigned i = 0; i < 8; i++) {
		assert_direct(MIRROR + i * PAGE);
		assert_int_equal(*pointer(MIRROR + i * PAGE), 7);
	}
	assert_trapped(MIRROR + 8 * PAGE);
	assert_int_equal(fault_of(MIRROR + 8 * PAGE, false), SIGBUS);
	unmap(alias[8]);
	alias[8] = lay_alias(MIRROR + 8 * PAGE, MIRROR + 7 * PAGE, PAGE);
	assert_trapped(MIRROR + 8 * PAGE);
	unmap(alias[3]);
	for (unsigned i = 4; i < 8; i++)
		expect_segv(MIRROR + i * PAGE, false);
	for (unsigned i = 0; i < 3; i++)
		assert_direct(MIRROR + i * PAGE);
	alias[3] = lay_alias(MIRROR + 3 * PAGE, BASE, PAGE);
	assert_direct(MIRROR + 8 * PAGE);
	unmap(ram);
	for (unsigned i = 0; i < 9; i++) {
		assert_trapped(MIRROR + i * PAGE);
		unmap(alias[i]);
	}
}

static void test_direct_alias_has_the_rights_that_both_give(void **state)
{
	struct regmap_config c = config(REGMAP_ALIAS, MIRROR, PAGE),
			     r = config(REGMAP_RAM, BASE, PAGE);
	struct regmap_window *ram = lay(r), *both, *read, *write;

	(void)state;
	c.target = BASE;
	both = lay(c);
	c.guest += PAGE;
	c.access = REGMAP_READ;
	read = lay(c);
	c.guest += PAGE;
	c.access = REGMAP_WRITE;
	write = lay(c);
	assert_direct(MIRROR);
	assert_read_direct(MIRROR + PAGE);
	assert_trapped(MIRROR + 2 * PAGE);
	*pointer(MIRROR) = 4;
	assert_int_equal(*pointer(MIRROR + PAGE), 4);
	expect_segv(MIRROR + PAGE, true);
	*pointer(MIRROR + 2 * PAGE) = 5;
	assert_int_equal(*pointer(BASE), 5);
	expect_segv(MIRROR + 2 * PAGE, false);
	unmap(ram);
	r.access = REGMAP_READ;
	ram = lay(r);
	assert_read_direct(MIRROR);
	assert_read_direct(MIRROR + PAGE);
	assert_int_equal(*pointer(MIRROR), 0);
	expect_segv(MIRROR, true);
	expect_segv(MIRROR + 2 * PAGE, true);
	unmap(ram);
	unmap(both);
	unmap(read);
	unmap(write);
}

static void test_direct_alias_traps_where_either_is_told_to(void **state)
{
	struct regmap_config c = config(REGMAP_ALIAS, MIRROR, PAGE),
			     r = config(REGMAP_RAM, BASE, PAGE);
	struct regmap_window *ram, *alias, *outer;

	(void)state;
	c.target = BASE;
	c.flags = REGMAP_TRAP;
	ram = lay(r);
	alias = lay(c);
	outer = lay_alias(SECOND, MIRROR, PAGE);
	assert_trapped(MIRROR);
	assert_trapped(SECOND);
	*pointer(SECOND) = 5;
	assert_int_equal(*pointer(BASE), 5);
	unmap(alias);
	unmap(ram);
	c.flags = 0;
	r.flags = REGMAP_TRAP;
	ram = lay(r);
	alias = lay(c);
	assert_trapped(BASE);
	assert_trapped(MIRROR);
	assert_trapped(SECOND);
	*pointer(SECOND) = 6;
	assert_int_equal(*pointer(BASE), 6);
	unmap(outer);
	unmap(alias);
	unmap(ram);
}

static void test_direct_alias_of_private_ram_traps(void **state)
{
	struct regmap_config r = config(REGMAP_RAM, BASE, 2 * PAGE);
	struct regmap_window *ram, *alias = lay_alias(MIRROR, BASE, 2 * PAGE), *inner;

	(void)state;
	r.flags = REGMAP_PRIVATE;
	ram = lay(r);
	assert_trapped(MIRROR);
	*pointer(MIRROR + PAGE) = 5;
	assert_int_equal(*pointer(BASE + PAGE), 5);
	inner = lay_ram(BASE, PAGE);
	assert_direct(MIRROR);
	assert_trapped(MIRROR + PAGE);
	assert_int_equal(*pointer(MIRROR + PAGE), 5);
	unmap(inner);
	assert_trapped(MIRROR);
	unmap(ram);
	unmap(alias);
}

static void test_direct_alias_of_ram_that_no_page_can_hold(void **state)
{
	struct regmap_window *ram = lay_ram(HIGH, 2 * PAGE),
			     *alias = lay_alias(MIRROR, HIGH, 2 * PAGE);
	struct regmap_window *top = lay_ram(-(uint64_t)2 * PAGE, 2 * PAGE);
	struct regmap_window *mirror = lay_alias(SECOND, -(uint64_t)2 * PAGE, 2 * PAGE);

	(void)state;
	assert_direct(MIRROR + PAGE);
	*pointer(MIRROR + PAGE) = 5;
	assert_int_equal(get32(HIGH + PAGE), 5);
	assert_direct(SECOND + PAGE);
	*pointer(SECOND + 2 * PAGE - 4) = 6;
	assert_int_equal(get32(UINT64_MAX - 3), 6);
	unmap(top);
	assert_trapped(SECOND + PAGE);
	unmap(mirror);
	unmap(ram);
	assert_trapped(MIRROR);
	unmap(alias);
}

/* A window laid around others leaves them, and their aliases. */
static void test_direct_window_around_the_target_shows_beside_it(void **state)
{
	struct regmap_window *ram = lay_ram(BASE + PAGE, PAGE),
			     *alias = lay_alias(MIRROR, BASE, 3 * PAGE);
	struct regmap_window *outer;

	(void)state;
	*pointer(MIRROR + PAGE) = 5;
	outer = lay_ram(BASE, 3 * PAGE);
	assert_direct(MIRROR);
	assert_direct(MIRROR + PAGE);
	assert_int_equal(*pointer(MIRROR + PAGE), 5);
	*pointer(MIRROR) = 6;
	assert_int_equal(*pointer(BASE), 6);
	unmap(ram);
	assert_int_equal(*pointer(MIRROR + PAGE), 0);
	unmap(outer);
	assert_trapped(MIRROR);
	unmap(alias);
}

static int change_in_child(void *arg)
{
	struct regmap_window **w = arg;

	*pointer(MIRROR) = 11;
	if (regmap_unmap(w[0]) || fault_of(MIRROR, false) != SIGSEGV || fault_at != MIRROR)
		return 1;
	w[0] = lay_ram(BASE, PAGE);
	*pointer(BASE) = 12;
	return *pointer(MIRROR) != 12;
}

static void test_direct_alias_is_shared_with_children_and_changed_alone(void **state)
{
	struct regmap_window *w[2] = {lay_ram(BASE, PAGE), lay_alias(MIRROR, BASE, PAGE)};

	(void)state;
	assert_int_equal(t_child_fate(change_in_child, w), 0);
	assert_direct(MIRROR);
	assert_int_equal(*pointer(MIRROR), 11);
	assert_int_equal(*pointer(BASE), 11);
	unmap(w[0]);
	assert_trapped(MIRROR);
	unmap(w[1]);
}

/* Direct pages are the kernel's, too; trapped ones are not. */
static void test_direct_alias_is_memory_to_system_calls(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, PAGE), *alias = lay_alias(MIRROR, BASE, PAGE);
	int fd = open("/dev/zero", O_RDONLY);

	(void)state;
	*pointer(MIRROR + 4) = 1;
	assert_int_equal(read(fd, (void *)(uintptr_t)MIRROR, 8), 8);
	assert_int_equal(*pointer(BASE + 4), 0);
	if (regmap_syscalls(1) == 0) {
		*pointer(MIRROR + 4) = 1;
		assert_int_equal(read(fd, (void *)(uintptr_t)MIRROR, 8), 8);
		assert_int_equal(regmap_syscalls(0), 0);
		assert_int_equal(*pointer(BASE + 4), 0);
	}
	close(fd);
	unmap(ram);
	unmap(alias);
}

/* More stretches than are ever mapped: the rest traps, and all is right. */
static void test_direct_alias_of_very_many_windows(void **state)
{
	enum { MANY = 9000 };
	static struct regmap_window *ram[MANY];
	struct regmap_window *alias = lay_alias(MIRROR, BASE, (uint64_t)2 * MANY * PAGE);

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		ram[i] = lay_ram(BASE + (uint64_t)2 * i * PAGE, PAGE);
	assert_direct(MIRROR);
	for (unsigned i = 0; i < MANY; i++)
		*pointer(BASE + (uint64_t)2 * i * PAGE) = i + 1;
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(*pointer(MIRROR + (uint64_t)2 * i * PAGE), i + 1);
	unmap(alias);
	assert_string_equal(t_mapped_mode(MIRROR), "");
	alias = lay_alias(MIRROR, BASE, (uint64_t)2 * MANY * PAGE);
	for (unsigned i = 0; i < MANY; i += 100)
		assert_int_equal(*pointer(MIRROR + (uint64_t)2 * i * PAGE), i + 1);
	for (unsigned i = 0; i < MANY; i++)
		unmap(ram[i]);
	expect_segv(MIRROR, false);
	expect_segv(MIRROR + (uint64_t)2 * (MANY - 1) * PAGE, false);
	unmap(alias);
}

/* --- devices that are read as memory --- */

static void test_direct_device_reads_are_those_of_memory(void **state)
{
	struct regmap_window *w = lay_readable(BASE, 2 * PAGE);

	(void)state;
	assert_read_direct(BASE);
	assert_read_direct(BASE + PAGE);
	assert_int_equal(*pointer(BASE + 8), 0);
	model_memory[8] = 0x5a;
	assert_int_equal(*pointer(BASE + 8), 0x5a);
	assert_int_equal(get32(BASE + 8), 0x5a);
	assert_int_equal(loaded, 0);
	unmap(w);
}

static void test_direct_device_writes_go_to_the_model(void **state)
{
	struct regmap_window *w = lay_readable(BASE, 2 * PAGE);
	uint8_t *memory = model_memory;

	(void)state;
	*pointer(BASE + PAGE + 4) = 0x1234;
	assert_int_equal(stored, 1);
	assert_int_equal(stores[0].offset, PAGE + 4);
	assert_int_equal(stores[0].width, 4);
	assert_int_equal(stores[0].value, 0x1234);
	assert_int_equal(*pointer(BASE + PAGE + 4), 0x1234);
	model_memory = NULL;
	*pointer(BASE + PAGE + 4) = 0x4321;
	assert_int_equal(stored, 2);
	assert_int_equal(*pointer(BASE + PAGE + 4), 0x1234);
	put32(BASE + PAGE + 8, 5);
	assert_int_equal(stored, 3);
	assert_int_equal(memory[PAGE + 8], 0);
	assert_int_equal(loaded, 0);
	unmap(w);
}

static void test_direct_device_read_modify_write_is_a_read_and_a_callback(void **state)
{
	struct regmap_window *w = lay_readable(BASE, PAGE);
	uint32_t *word;

	(void)state;
	word = (uint32_t *)(model_memory + 16);
	*word = 40;
	__asm__ volatile("addl $2, %0" : "+m"(*pointer(BASE + 16)));
	assert_int_equal(stored, 1);
	assert_int_equal(stores[0].value, 42);
	assert_int_equal(*word, 42);
	assert_int_equal(__atomic_fetch_add(pointer(BASE + 16), 8, __ATOMIC_SEQ_CST), 42);
	assert_int_equal(stored, 2);
	assert_int_equal(*pointer(BASE + 16), 50);
	/* One that keeps the value is a store all the same. */
	assert_int_equal(__sync_val_compare_and_swap(pointer(BASE + 16), 1, 2), 50);
	assert_int_equal(stores[2].value, 50);
	assert_int_equal(*pointer(BASE + 16), 50);
	assert_int_equal(loaded, 0);
	unmap(w);
}

static void test_direct_device_wide_and_string_accesses(void **state)
{
	struct regmap_window *w = lay_readable(BASE, PAGE);
	uint8_t from[64], to[64];
	char text[8];

	(void)state;
	for (unsigned i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i + 1);
	__asm__ volatile("movdqu (%0), %%xmm0\n\tmovdqu %%xmm0, (%1)"
	                 :
	                 : "r"(from), "r"(BASE + 32)
	                 : "xmm0", "memory");
	assert_int_equal(stored, 2);
	assert_int_equal(stores[1].width, 8);
	assert_memory_equal(model_memory + 32, from, 16);
	{
		void *rdi = (void *)(uintptr_t)(BASE + 128);
		const void *rsi = from;
		size_t rcx = sizeof(from);

		__asm__ volatile("rep movsb" : "+D"(rdi), "+S"(rsi), "+c"(rcx)::"memory");
	}
	assert_memory_equal(model_memory + 128, from, sizeof(from));
	assert_int_equal(stored, 2 + sizeof(from));
	memcpy(to, (void *)(uintptr_t)(BASE + 128), sizeof(to));
	assert_memory_equal(to, from, sizeof(to));
	memcpy(model_memory + 512, "flash", 6);
	assert_int_equal(regmap_read_string(BASE + 512, text, sizeof(text), NULL), 0);
	assert_string_equal(text, "flash");
	assert_int_equal(regmap_readv(&(struct iovec){to, 4}, 1,
	                              &(struct iovec){(void *)(uintptr_t)(BASE + 512), 4}, 1),
	                 0);
	assert_memory_equal(to, "flas", 4);
	assert_int_equal(regmap_writev(&(struct iovec){(void *)(uintptr_t)(BASE + 520), 4}, 1,
	                               &(struct iovec){from, 4}, 1),
	                 0);
	assert_memory_equal(model_memory + 520, from, 4);
	assert_int_equal(loaded, 0);
	unmap(w);
}

/*
 * Some registers of a page have effects when they are read: then all of it traps, but the others are
 * answered without their model.
 */
static void test_direct_device_of_some_registers_in_a_page(void **state)
{
	struct regmap_window *all = lay_device(BASE, PAGE), *status = lay_readable(BASE + 0x40, 8);

	(void)state;
	assert_trapped(BASE);
	model_memory[4] = 0x77;
	assert_int_equal(*pointer(BASE + 0x44), 0x77);
	assert_int_equal(loaded, 0);
	assert_int_equal(*pointer(BASE + 0x3c), 0xd0 + 0x3c);
	assert_int_equal(loaded, 1);
	*pointer(BASE + 0x44) = 0x88;
	assert_int_equal(stores[0].offset, 4);
	assert_int_equal(*pointer(BASE + 0x44), 0x88);
	assert_int_equal(loaded, 1);
	unmap(status);
	assert_int_equal(*pointer(BASE + 0x44), 0xd0 + 0x44);
	unmap(all);
}

/* The other way round: one register in many that must not be read without its model. */
static void test_direct_device_with_a_register_inside_that_has_effects(void **state)
{
	struct regmap_window *all = lay_readable(BASE, 2 * PAGE), *fifo;
	uint8_t *memory = model_memory;

	(void)state;
	memory[0x44] = 0x66;
	fifo = lay_device(BASE + 0x40, 4);
	assert_trapped(BASE);
	assert_read_direct(BASE + PAGE);
	assert_int_equal(*pointer(BASE + 0x40), 0xd0);
	assert_int_equal(*pointer(BASE + 0x44), 0x66);
	assert_int_equal(loaded, 1);
	unmap(fifo);
	assert_read_direct(BASE);
	assert_int_equal(*pointer(BASE + 0x40), 0);
	unmap(all);
}

static void test_direct_device_through_an_alias(void **state)
{
	struct regmap_window *w = lay_readable(BASE, PAGE), *alias = lay_alias(MIRROR, BASE, PAGE);

	(void)state;
	assert_read_direct(MIRROR);
	*pointer(MIRROR + 12) = 9;
	assert_int_equal(stored, 1);
	assert_int_equal(stores[0].offset, 12);
	assert_int_equal(*pointer(MIRROR + 12), 9);
	assert_int_equal(*pointer(BASE + 12), 9);
	assert_int_equal(loaded, 0);
	unmap(w);
	expect_segv(MIRROR + 12, false);
	unmap(alias);
}

static void test_direct_device_traps_on_request(void **state)
{
	struct regmap_config c = readable(BASE, PAGE);
	struct regmap_window *w;
	void *memory;

	(void)state;
	c.flags |= REGMAP_TRAP;
	w = lay(c);
	assert_trapped(BASE);
	assert_int_equal(regmap_translate(BASE, &memory), 0);
	*(uint32_t *)memory = 3;
	assert_int_equal(*pointer(BASE), 3);
	assert_int_equal(loaded, 0);
	unmap(w);
}

/* No callback: what is burnt in stays. */
static void test_direct_device_without_callbacks_is_a_rom(void **state)
{
	static const struct regmap_device_ops none = {NULL, NULL};
	struct regmap_config c = readable(BASE, PAGE);
	struct regmap_window *w;
	uint32_t value = 1;
	void *memory;

	(void)state;
	c.ops = NULL;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.ops = &none;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.access = REGMAP_READ;
	for (unsigned i = 0; i < 2; i++) {
		c.ops = i ? &none : NULL;
		w = lay(c);
		assert_int_equal(regmap_translate(BASE, &memory), 0);
		*(uint32_t *)memory = 3;
		assert_int_equal(*pointer(BASE), 3);
		expect_segv(BASE, true);
		assert_int_equal(regmap_write(BASE, &value, 4), -EACCES);
		assert_int_equal(*pointer(BASE), 3);
		unmap(w);
	}
}

static void test_direct_device_needs_a_callback_for_stores(void **state)
{
	static const struct regmap_device_ops reader = {note_read, NULL};
	struct regmap_config c = readable(BASE, PAGE);

	(void)state;
	c.ops = &reader; /* which is never called */
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
}

static void test_direct_device_flag_is_for_devices_that_can_be_read(void **state)
{
	static uint8_t host[PAGE];
	struct regmap_config c = readable(BASE, PAGE);

	(void)state;
	c.host = host;
	c.access = REGMAP_WRITE;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.access = RW;
	c.flags |= REGMAP_PRIVATE;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.flags = REGMAP_READ_DIRECT;
	for (enum regmap_backing b = REGMAP_RAM; b <= REGMAP_ALIAS; b++) {
		c.backing = b;
		if (b != REGMAP_DEVICE)
			assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	}
}

static void test_direct_device_takes_what_system_calls_write(void **state)
{
	struct regmap_window *w = lay_readable(BASE, PAGE);
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	memcpy(model_memory + 64, "out", 4);
	assert_int_equal(write(ends[1], (void *)(uintptr_t)(BASE + 64), 4), 4);
	if (regmap_syscalls(1) == 0) {
		assert_int_equal(read(ends[0], (void *)(uintptr_t)(BASE + 128), 4), 4);
		assert_int_equal(write(ends[1], (void *)(uintptr_t)(BASE + 128), 4), 4);
		assert_int_equal(regmap_syscalls(0), 0);
		assert_int_equal(stored, 1);
		assert_int_equal(stores[0].offset, 128);
		assert_memory_equal(model_memory + 128, "out", 4);
	}
	close(ends[0]);
	close(ends[1]);
	unmap(w);
}

static int write_in_child(void *arg)
{
	(void)arg;
	*pointer(BASE) = 31;
	return *pointer(BASE) != 31;
}

static void test_direct_device_memory_is_shared_with_children(void **state)
{
	struct regmap_window *w = lay_readable(BASE, PAGE);

	(void)state;
	assert_int_equal(t_child_fate(write_in_child, NULL), 0);
	assert_int_equal(*pointer(BASE), 31);
	assert_int_equal(stored, 0); /* its model was the child's own */
	unmap(w);
}

/* Content is put in by its host address, which is that of RAM. */
static void test_direct_rom_is_filled_through_its_host_address(void **state)
{
	struct regmap_config c = config(REGMAP_RAM, BASE, PAGE);
	struct regmap_window *w;
	uint32_t value = 5;
	void *host;

	(void)state;
	c.access = REGMAP_READ;
	w = lay(c);
	assert_int_equal(regmap_write(BASE, &value, 4), -EACCES);
	assert_int_equal(regmap_translate(BASE, &host), 0);
	*(uint32_t *)host = 0x08000101;
	assert_read_direct(BASE);
	assert_int_equal(*pointer(BASE), 0x08000101);
	expect_segv(BASE, true);
	assert_int_equal(*pointer(BASE), 0x08000101);
	unmap(w);
}

/* --- memory that isn't zero at first --- */

static void assert_filled(uint64_t at, uint64_t length, int byte)
{
	const volatile uint8_t *p = (const volatile uint8_t *)pointer(at);

	for (uint64_t i = 0; i < length; i++)
		assert_int_equal(p[i], byte);
}

static void test_direct_memory_can_be_filled(void **state)
{
	struct regmap_config ram = config(REGMAP_RAM, BASE + 8, PAGE + 8);
	struct regmap_config rom = config(REGMAP_DEVICE, MIRROR, 2 * PAGE);
	struct regmap_window *w[2];

	(void)state;
	ram.fill = 0xff;
	rom.fill = 0x5a;
	rom.access = REGMAP_READ;
	rom.flags = REGMAP_READ_DIRECT;
	w[0] = lay(ram);
	w[1] = lay(rom);
	assert_filled(BASE + 8, PAGE + 8, 0xff);
	assert_filled(MIRROR, 2 * PAGE, 0x5a);
	unmap(w[0]);
	unmap(w[1]);
}

static void test_direct_only_its_own_memory_can_be_filled(void **state)
{
	static uint8_t host[PAGE];
	struct regmap_config c = config(REGMAP_RAM, BASE, PAGE);

	(void)state;
	c.fill = 0x100;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c.fill = 1;
	c.flags = REGMAP_PRIVATE;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
	c = config(REGMAP_HOST, BASE, PAGE);
	c.host = host;
	c.fill = 1;
	assert_int_equal(regmap_map(&c, NULL), -EINVAL);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_direct_##name)
	static const struct CMUnitTest tests[] = {
		T(memory_can_be_filled),
		T(only_its_own_memory_can_be_filled),
		T(alias_of_ram_is_mapped),
		T(mirrors_are_one_memory),
		T(alias_may_come_before_its_target),
		T(alias_faults_when_its_target_has_gone),
		T(window_inside_of_the_target_shows),
		T(window_inside_of_the_alias_shows),
		T(alias_spans_several_windows),
		T(alias_remainders_of_pages_trap),
		T(aliases_of_aliases_are_mapped),
		T(alias_has_the_rights_that_both_give),
		T(alias_traps_where_either_is_told_to),
		T(alias_of_private_ram_traps),
		T(alias_of_ram_that_no_page_can_hold),
		T(window_around_the_target_shows_beside_it),
		T(alias_is_shared_with_children_and_changed_alone),
		T(alias_is_memory_to_system_calls),
		T(alias_of_very_many_windows),
		T(device_reads_are_those_of_memory),
		T(device_writes_go_to_the_model),
		T(device_read_modify_write_is_a_read_and_a_callback),
		T(device_wide_and_string_accesses),
		T(device_of_some_registers_in_a_page),
		T(device_with_a_register_inside_that_has_effects),
		T(device_through_an_alias),
		T(device_traps_on_request),
		T(device_without_callbacks_is_a_rom),
		T(device_needs_a_callback_for_stores),
		T(device_flag_is_for_devices_that_can_be_read),
		T(device_takes_what_system_calls_write),
		T(device_memory_is_shared_with_children),
		T(rom_is_filled_through_its_host_address),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("direct", tests, NULL, NULL);
}
