/* SPDX-License-Identifier: MIT */
/* The mappings of the process: the same as stdio reads, whatever lines the buffer is cut at. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../src/maps.h"

enum { PAGE = 4096, FILES = 40, LONG = 180, MOST = 4096 };

int main(void);

static char text[MAPS_TEXT];

static struct line {
	uint64_t start, end, offset;
	char rights[5], name[PATH_MAX];
} expected[MOST];

static unsigned read_by_stdio(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	static char line[2 * PATH_MAX];
	unsigned n = 0;

	assert_non_null(f);
	while (n < MOST && fgets(line, sizeof(line), f)) {
		struct line *l = &expected[n];
		int at = 0;

		l->name[0] = 0;
		assert_int_equal(sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n",
		                        &l->start, &l->end, l->rights, &l->offset, &at),
		                 4);
		line[strcspn(line, "\n")] = 0;
		snprintf(l->name, sizeof(l->name), "%s", line + at);
		n++;
	}
	fclose(f);
	return n;
}

/* Names of many lengths, so that lines end anywhere in the buffer. */
static void map_files(void)
{
	char name[LONG + 1];

	for (unsigned i = 0; i < FILES; i++) {
		size_t length = 1 + i * 37 % LONG;
		int fd;

		memset(name, 'a' + (int)(i % 26), length);
		name[length] = 0;
		fd = memfd_create(name, MFD_CLOEXEC);
		assert_true(fd >= 0 && ftruncate(fd, 8 * PAGE) == 0);
		assert_ptr_not_equal(mmap(NULL, PAGE, i % 2 ? PROT_READ : PROT_NONE, MAP_SHARED, fd,
		                          i % 8 * PAGE),
		                     MAP_FAILED);
		close(fd);
	}
}

static unsigned rights_of(const char *mode)
{
	return (mode[0] == 'r' ? PROT_READ : 0) | (mode[1] == 'w' ? PROT_WRITE : 0) |
	       (mode[2] == 'x' ? PROT_EXEC : 0);
}

static void test_maps_are_those_of_proc(void **state)
{
	struct mapping m;
	struct maps maps;
	unsigned n, i = 0;

	(void)state;
	map_files();
	read_by_stdio(); /* what stdio allocates is there from now on */
	n = read_by_stdio();
	assert_true(n > FILES);
	assert_true(regmap__maps_open(&maps, text));
	for (; regmap__maps_next(&maps, &m); i++) {
		assert_true(i < n);
		assert_int_equal(m.start, expected[i].start);
		assert_int_equal(m.end, expected[i].end);
		assert_int_equal(m.offset, expected[i].offset);
		assert_int_equal(m.rights, rights_of(expected[i].rights));
		assert_int_equal(m.shared, expected[i].rights[3] == 's');
		assert_string_equal(m.name, expected[i].name);
	}
	regmap__maps_close(&maps);
	assert_int_equal(i, n);
}

static void test_maps_find_the_file_around_an_address(void **state)
{
	uint64_t here = (uintptr_t)test_maps_find_the_file_around_an_address;
	char path[PATH_MAX] = "";
	struct mapping m;
	int local;

	(void)state;
	assert_true(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	assert_true(regmap__maps_find(here, text, &m));
	assert_true(m.start <= here && here < m.end);
	assert_string_equal(m.name, path);
	assert_true(m.rights & PROT_EXEC);
	assert_false(regmap__maps_find((uintptr_t)&local, text, &m));
	assert_false(regmap__maps_find(0, text, &m));
	assert_false(regmap__maps_find(~0ULL, text, &m));
}

static void test_maps_give_the_rights_around_an_address(void **state)
{
	struct mapping m;
	int local;

	(void)state;
	assert_true(regmap__maps_rights((uintptr_t)main, &m));
	assert_int_equal(m.rights, PROT_READ | PROT_EXEC);
	assert_true(m.start <= (uintptr_t)main && (uintptr_t)main < m.end);
	assert_true(regmap__maps_rights((uintptr_t)&local, &m));
	assert_true((m.rights & (PROT_READ | PROT_WRITE)) == (PROT_READ | PROT_WRITE));
	assert_false(m.shared);
	assert_false(regmap__maps_rights(0, &m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maps_are_those_of_proc),
		cmocka_unit_test(test_maps_find_the_file_around_an_address),
		cmocka_unit_test(test_maps_give_the_rights_around_an_address),
	};

	return cmocka_run_group_tests_name("maps", tests, NULL, NULL);
}
