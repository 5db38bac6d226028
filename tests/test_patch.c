/* SPDX-License-Identifier: MIT */
/* Hot sites: which are patched, what becomes of their bytes, and that they get them back. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
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

#include "child.h"
#include "lay.h"

#define WINDOW 0xffff900000000000ULL

enum { PAGE = 4096, WORDS = 512, CODE = 64 };

static uint64_t memory[WORDS];

/* --- code of all lengths: RDI has the address; each reads once, adds to RAX and returns --- */

struct snippet {
	const char *name;
	const char *bytes;
	unsigned length; /* of the instruction that reads */
	unsigned before; /* bytes before it */
	unsigned all;
};

/* xor eax,eax first, where the read doesn't set it; ret last, with something before it */
#define SNIPPET(name, before, read, after) \
	{ \
		name, before read after, sizeof(read) - 1, sizeof(before) - 1, \
			sizeof(before read after) - 1 \
	}

static const struct snippet snippets[] = {
	SNIPPET("2: mov eax,[rdi]", "\x31\xd2", "\x8b\x07", "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("3: mov rax,[rdi]", "\x31\xd2", "\x48\x8b\x07", "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("4: mov rax,[rdi+0]", "\x31\xd2", "\x48\x8b\x47\x00", "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("6: mov eax,[rdi+0]", "\x31\xd2", "\x8b\x87\x00\x00\x00\x00",
                "\x48\x01\xd0\x90\x90\xc3"),
	SNIPPET("7: mov rax,[rdi+0]", "\x31\xd2", "\x48\x8b\x87\x00\x00\x00\x00",
                "\x48\x01\xd0\x90\x90\xc3"),
};
enum { SNIPPETS = sizeof(snippets) / sizeof(snippets[0]) };

typedef uint64_t (*read_fn)(uint64_t address);

static read_fn as_function(const void *code)
{
	return (read_fn)(uintptr_t)code;
}

static uint8_t *map_code(int protection)
{
	uint8_t *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	                     0);

	assert_ptr_not_equal(code, MAP_FAILED);
	memset(code, 0x90, PAGE);
	for (unsigned i = 0; i < SNIPPETS; i++)
		memcpy(code + i * CODE, snippets[i].bytes, snippets[i].all);
	assert_int_equal(mprotect(code, PAGE, protection), 0);
	return code;
}

static uint8_t *code_of(uint8_t *page, unsigned i)
{
	return page + i * CODE;
}

static uint8_t *site_of(uint8_t *page, unsigned i)
{
	return code_of(page, i) + snippets[i].before;
}

static void check_reads(const void *code, unsigned times)
{
	for (unsigned n = 0; n < times; n++) {
		uint64_t want = 0x1000 + n;

		memory[1] = want;
		assert_int_equal(as_function(code)(WINDOW + 8), want);
	}
}

static struct regmap_patch_stats stats_now(void)
{
	struct regmap_patch_stats s = {.size = sizeof(s)};

	assert_int_equal(regmap_patch_stats(&s), 0);
	return s;
}

static int start(void **state)
{
	(void)state;
	return t_lay_host("memory", WINDOW, memory, sizeof(memory), REGMAP_READ | REGMAP_WRITE);
}

static int switch_off(void **state)
{
	(void)state;
	return regmap_patch(0);
}

/* --- */

static void test_patch_is_off_by_default(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC);

	(void)state;
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 20);
		assert_int_equal(regmap_patch_site(site_of(page, i)), 0);
		assert_memory_equal(code_of(page, i), snippets[i].bytes, snippets[i].all);
	}
	assert_int_equal(stats_now().sites, 0);
	munmap(page, PAGE);
}

static void test_patch_patches_after_so_many_faults(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC);

	(void)state;
	assert_int_equal(regmap_patch(3), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 2);
		assert_int_equal(regmap_patch_site(site_of(page, i)), 0);
		check_reads(code_of(page, i), 1);
		if (regmap_patch_site(site_of(page, i)) != 1)
			fail_msg("%s is not patched", snippets[i].name);
		check_reads(code_of(page, i), 100);
	}
	munmap(page, PAGE);
}

static void test_patch_off_gives_all_bytes_back(void **state)
{
	uint8_t *page = map_code(PROT_READ | PROT_EXEC), before[PAGE];

	(void)state;
	memcpy(before, page, PAGE);
	assert_int_equal(regmap_patch(1), 0);
	for (unsigned i = 0; i < SNIPPETS; i++) {
		check_reads(code_of(page, i), 3);
		assert_int_equal(site_of(page, i)[0], 0xe9);
	}
	assert_int_equal(regmap_patch(0), 0);
	assert_memory_equal(page, before, PAGE);
	assert_int_equal(stats_now().patched, 0);
	munmap(page, PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_patch_is_off_by_default, switch_off),
		cmocka_unit_test_teardown(test_patch_patches_after_so_many_faults, switch_off),
		cmocka_unit_test_teardown(test_patch_off_gives_all_bytes_back, switch_off),
	};

	return cmocka_run_group_tests_name("patch", tests, start, NULL);
}
