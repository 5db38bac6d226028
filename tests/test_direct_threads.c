/* SPDX-License-Identifier: MIT */
/* Threads that access RAM, aliases of it and devices that are read as memory while windows come and go. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "child.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, THREADS = 4 };

#define BASE 0x551000000000ULL
#define MIRROR 0x552000000000ULL
#define SECOND 0x553000000000ULL
#define FLOOR 0xffffffff

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *w = NULL;

	c.size = sizeof(c);
	c.access = c.access ? c.access : RW;
	assert_int_equal(regmap_map(&c, &w), 0);
	return w;
}

static struct regmap_window *lay_ram(uint64_t guest, uint64_t length)
{
	return lay((struct regmap_config){.guest = guest, .length = length, .backing = REGMAP_RAM});
}

static struct regmap_window *lay_alias(uint64_t guest, uint64_t target, uint64_t length)
{
	return lay((struct regmap_config){.guest = guest,
	                                  .length = length,
	                                  .backing = REGMAP_ALIAS,
	                                  .target = target});
}

static void unmap(struct regmap_window *w)
{
	assert_int_equal(regmap_unmap(w), 0);
}

static _Atomic uint32_t *word(uint64_t at)
{
	return (_Atomic uint32_t *)(uintptr_t)at;
}

static unsigned rounds(unsigned n)
{
	return t_mode_is("tsan") || t_mode_is("asan") ? n / 4 : n;
}

/* --- no access sees what has gone --- */

static _Atomic uint32_t oldest; /* generation that may still be seen */
static atomic_bool stop;
static _Atomic unsigned long seen;

/* What is there: the floor, a window just laid, or one that wasn't unmapped when the access began. */
static void *look(void *arg)
{
	unsigned turn = (unsigned)(uintptr_t)arg;

	while (!stop) {
		uint32_t least = atomic_load(&oldest);
		uint32_t value = *word((turn++ % 2 ? MIRROR : SECOND) + PAGE + 64);

		if (value && value != FLOOR && value < least) {
			fprintf(stderr, "%u is there, older than %u\n", value, least);
			abort();
		}
		atomic_fetch_add(&seen, 1);
	}
	return NULL;
}

static void test_direct_threads_never_see_what_was_unmapped(void **state)
{
	struct regmap_window *floor = lay_ram(BASE, 4 * PAGE),
			     *alias = lay_alias(MIRROR, BASE, 4 * PAGE);
	struct regmap_window *second = lay_alias(SECOND, MIRROR, 4 * PAGE), *w, *inner;
	pthread_t thread[THREADS];

	(void)state;
	*word(BASE + PAGE + 64) = FLOOR;
	stop = false;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, look, (void *)i), 0);
	for (uint32_t g = 1; g <= rounds(2000); g++) {
		w = lay_ram(BASE + (g % 3 ? PAGE : PAGE + 64), g % 3 ? 2 * PAGE : 4);
		*word(BASE + PAGE + 64) = g;
		inner = g % 4 ? NULL : lay_ram(BASE + PAGE + 128, 8);
		assert_int_equal(*word(SECOND + PAGE + 64), g);
		unmap(inner);
		unmap(w);
		atomic_store(&oldest, g + 1);
		assert_int_equal(*word(MIRROR + PAGE + 64), FLOOR);
	}
	while (seen < 1000)
		sched_yield();
	stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	unmap(second);
	unmap(alias);
	unmap(floor);
}

/* --- no access is lost --- */

enum { ADDS = 20000 };

static void *add(void *arg)
{
	static const uint64_t places[] = {BASE, MIRROR, SECOND};
	uint64_t at = places[(uintptr_t)arg % 3] + PAGE + 256;
	unsigned n = rounds(ADDS);

	for (unsigned i = 0; i < n; i++)
		atomic_fetch_add(word(at), 1);
	atomic_fetch_sub(&seen, 1);
	return NULL;
}

/* The page turns from direct to trapped and back, at each of its addresses. */
static void test_direct_threads_lose_no_locked_add(void **state)
{
	struct regmap_window *ram = lay_ram(BASE, 4 * PAGE),
			     *alias = lay_alias(MIRROR, BASE, 4 * PAGE);
	struct regmap_window *second = lay_alias(SECOND, MIRROR, 4 * PAGE);
	pthread_t thread[THREADS];
	unsigned changes = 0;

	(void)state;
	seen = THREADS;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, add, (void *)i), 0);
	for (; seen || changes < 12; changes++) {
		static const uint64_t places[] = {BASE, MIRROR, SECOND};

		unmap(lay_ram(places[changes % 3] + PAGE + 512, 16));
		sched_yield();
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(*word(BASE + PAGE + 256), THREADS * rounds(ADDS));
	assert_int_equal(*word(SECOND + PAGE + 256), THREADS * rounds(ADDS));
	unmap(ram);
	unmap(second);
	unmap(alias);
}

/* --- flash --- */

static _Atomic unsigned written;
static _Atomic uint32_t *memory;

static int count_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)width;
	atomic_fetch_add(&written, 1);
	atomic_store(&memory[offset / 4], (uint32_t)value);
	return 0;
}

static void *program(void *arg)
{
	uint64_t at = ((uintptr_t)arg % 2 ? BASE : MIRROR) + 4 * (uintptr_t)arg;
	unsigned n = rounds(ADDS) / 8;

	for (uint32_t i = 1; i <= n; i++) {
		*word(at) = i;
		if (*word(at) != i)
			abort();
		atomic_fetch_add(word(BASE + 1024), 1); /* of all threads */
	}
	atomic_fetch_sub(&seen, 1);
	return NULL;
}

static void test_direct_threads_share_a_device_that_is_read_as_memory(void **state)
{
	static const struct regmap_device_ops ops = {NULL, count_write};
	struct regmap_window *w = lay((struct regmap_config){.guest = BASE,
	                                                     .length = PAGE,
	                                                     .backing = REGMAP_DEVICE,
	                                                     .flags = REGMAP_READ_DIRECT,
	                                                     .ops = &ops});
	struct regmap_window *alias = lay_alias(MIRROR, BASE, PAGE);
	pthread_t thread[THREADS];
	void *host;

	(void)state;
	assert_int_equal(regmap_translate(BASE, &host), 0);
	memory = host;
	written = 0;
	seen = THREADS;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, program, (void *)i), 0);
	for (unsigned i = 0; seen || i < 12; i++) {
		unmap(lay_ram((i % 2 ? BASE : MIRROR) + 512, 16));
		sched_yield();
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(written, THREADS * (rounds(ADDS) / 8) * 2);
	assert_int_equal(*word(BASE + 1024), THREADS * (rounds(ADDS) / 8));
	unmap(w);
	unmap(alias);
}

/* --- children of a process whose windows change --- */

static void *toggle(void *arg)
{
	(void)arg;
	while (!stop)
		unmap(lay_ram(BASE + PAGE, PAGE));
	return NULL;
}

/* The child finds the window there or not; both show the same, and it can change its own. */
static int look_in_child(void *arg)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = BASE + PAGE + 128,
	                          .length = 4,
	                          .access = RW,
	                          .backing = REGMAP_RAM};
	struct regmap_window *w;

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		uint32_t here = *word(BASE + PAGE), there = *word(MIRROR + PAGE);

		if (here != there || (here && here != FLOOR))
			return 1;
	}
	if (regmap_map(&c, &w))
		return 2;
	*word(MIRROR + PAGE + 128) = 5;
	if (*word(BASE + PAGE + 128) != 5)
		return 3;
	if (regmap_unmap(w))
		return 4;
	return *word(MIRROR + PAGE + 128) != 0 || *word(BASE + PAGE + 128) != 0 ? 5 : 0;
}

static void test_direct_threads_change_while_children_are_made(void **state)
{
	struct regmap_window *floor = lay_ram(BASE, 4 * PAGE),
			     *alias = lay_alias(MIRROR, BASE, 4 * PAGE);
	pthread_t thread;

	(void)state;
	if (t_mode_is("tsan"))
		skip(); /* it can't fork with threads */
	*word(BASE + PAGE) = FLOOR;
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, toggle, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(t_child_fate(look_in_child, NULL), 0);
	/* Which nobody tells libregmap of: most are made in the middle of a change. */
	for (unsigned i = 0; i < 200; i++) {
		pid_t pid = _Fork();
		int status;

		if (!pid)
			_exit(look_in_child(NULL));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(t_fate(status), 0);
	}
	stop = true;
	pthread_join(thread, NULL);
	unmap(floor);
	unmap(alias);
}

int main(void)
{
#define T(name) cmocka_unit_test(test_direct_threads_##name)
	static const struct CMUnitTest tests[] = {
		T(never_see_what_was_unmapped),
		T(lose_no_locked_add),
		T(share_a_device_that_is_read_as_memory),
		T(change_while_children_are_made),
	};

	return cmocka_run_group_tests_name("direct_threads", tests, NULL, NULL);
}
