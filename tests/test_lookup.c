/* SPDX-License-Identifier: MIT */
/* Lookups without a fault: each finds the owner, whatever the number of windows and whatever changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <regmap/regmap.h>

enum { PAGE = 4096, MOST = 1500, RW = REGMAP_READ | REGMAP_WRITE };

#define AT 0xffff900000000000ULL
#define TOP (~0ULL)

static uint8_t memory[1 << 16];

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *window;

	c.size = sizeof(c);
	c.access = c.access ? c.access : RW;
	assert_int_equal(regmap_map(&c, &window), 0);
	return window;
}

static struct regmap_window *lay_host(uint64_t guest, uint64_t length, void *host)
{
	return lay((struct regmap_config){.guest = guest,
	                                  .length = length,
	                                  .backing = REGMAP_HOST,
	                                  .host = host});
}

static struct regmap_window *lay_alias(uint64_t guest, uint64_t length, uint64_t target)
{
	return lay((struct regmap_config){.guest = guest,
	                                  .length = length,
	                                  .backing = REGMAP_ALIAS,
	                                  .target = target});
}

/* --- as many windows as there may be --- */

static struct {
	uint64_t guest, length;
	uint8_t *host;
	struct regmap_window *window;
} laid[MOST];

static unsigned count;

/* By looking at each: the smallest window that holds the address. */
static int expected(uint64_t address, void **host)
{
	uint64_t best = 0;
	int err = -EFAULT;

	for (unsigned i = 0; i < count; i++) {
		if (address - laid[i].guest >= laid[i].length || (best && laid[i].length >= best))
			continue;
		best = laid[i].length;
		*host = laid[i].host + (address - laid[i].guest);
		err = 0;
	}
	return err;
}

static void expect_at(uint64_t address)
{
	void *want = NULL, *got = NULL;
	int err = expected(address, &want);

	assert_int_equal(regmap_translate(address, &got), err);
	assert_ptr_equal(got, want);
}

/* The bytes around all borders. */
static void expect_all(void)
{
	for (unsigned i = 0; i < count; i++) {
		expect_at(laid[i].guest);
		expect_at(laid[i].guest - 1);
		expect_at(laid[i].guest + laid[i].length - 1);
		expect_at(laid[i].guest + laid[i].length);
	}
}

static void add(uint64_t guest, uint64_t length)
{
	laid[count].guest = guest;
	laid[count].length = length;
	laid[count].host = memory + count * 16;
	laid[count].window = lay_host(guest, length, laid[count].host);
	count++;
}

static void take(unsigned i)
{
	assert_int_equal(regmap_unmap(laid[i].window), 0);
	laid[i] = laid[--count];
}

static void take_all(void)
{
	while (count) {
		count--;
		assert_int_equal(regmap_unmap(laid[count].window), 0);
	}
}

/* Counts at which the table's parts are empty, full, and cut in two. */
static void test_lookup_finds_each_of_many(void **state)
{
	static const unsigned stops[] = {1, 2, 7, 8, 9, 63, 64, 65, 255, 256, 257, 300, 513, 1400};

	(void)state;
	for (unsigned s = 0; s < sizeof(stops) / sizeof(stops[0]); s++) {
		while (count < stops[s])
			add(AT + count * 32ull, count % 3 ? 32 : 16);
		expect_all();
	}
	take_all();
	expect_at(AT);
}

/* From the middle outwards, in an order that has nothing to do with addresses. */
static void test_lookup_finds_what_came_in_any_order(void **state)
{
	enum { N = 1031 };

	(void)state;
	for (unsigned i = 0; i < N; i++)
		add(AT + i * 389ull % N * 64, 1 + i % 64);
	expect_all();
	for (unsigned i = 0; i < 400; i++)
		take(i * 7 % count);
	expect_all();
	take_all();
}

static void test_lookup_finds_the_innermost(void **state)
{
	enum { DEPTH = 300 };

	(void)state;
	for (unsigned i = 0; i < DEPTH; i++)
		add(AT + i, 2 * (DEPTH - i));
	expect_all();
	take_all();
}

static void test_lookup_finds_the_last_byte_of_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++)
		add(TOP - 2 * i, 1);
	expect_all();
	expect_at(TOP);
	take_all();
	add(TOP - 7, 8);
	expect_at(TOP);
	expect_at(TOP - 7);
	expect_at(TOP - 8);
	take_all();
	expect_at(TOP);
}

/* --- chains --- */

static void test_lookup_follows_eight_aliases(void **state)
{
	struct regmap_window *w[10];
	void *host = NULL;

	(void)state;
	w[0] = lay_host(AT, PAGE, memory);
	for (unsigned i = 1; i < 10; i++)
		w[i] = lay_alias(AT + i * 2ull * PAGE, PAGE - 8, AT + (i - 1) * 2ull * PAGE + 1);
	assert_int_equal(regmap_translate(AT + 16ull * PAGE + 5, &host), 0);
	assert_ptr_equal(host, memory + 8 + 5);
	assert_int_equal(regmap_translate(AT + 18ull * PAGE, &host), -ELOOP);
	assert_int_equal(regmap_unmap(w[0]), 0);
	assert_int_equal(regmap_translate(AT + 4ull * PAGE, &host), -EFAULT);
	for (unsigned i = 1; i < 10; i++)
		assert_int_equal(regmap_unmap(w[i]), 0);
}

/*
 * A window that is replaced by another one, at another start and with other memory: an answer made of
 * both would be a third. A reader can be in the middle of either when it goes.
 */
enum { CHANGES = 20000, PROBE = 100 };

static atomic_bool enough;
static uint8_t one[PAGE], two[PAGE];

static void *change(void *arg)
{
	for (unsigned i = 0; i < CHANGES; i++) {
		struct regmap_window *w, *through = NULL;

		if (i % 3 == 0)
			w = lay_host(AT, PAGE, one);
		else if (i % 3 == 1)
			w = lay_host(AT + 64, 512, two);
		else
			w = lay_host(AT + 8ull * PAGE + 16, PAGE, two);
		if (i % 3 == 2)
			through = lay_alias(AT + 32, 256, AT + 8ull * PAGE + 32);
		if (regmap_unmap(w) || regmap_unmap(through))
			return arg;
	}
	return NULL;
}

static bool is_possible(const uint8_t *host)
{
	return host == one + PROBE || host == two + PROBE - 64 ||
	       host == two + (PROBE - 32) + (32 - 16);
}

static void *ask(void *arg)
{
	while (!enough) {
		void *host = NULL;
		int err = regmap_translate(AT + PROBE, &host);

		if (err ? err != -EFAULT : !is_possible(host))
			return arg;
	}
	return NULL;
}

static void test_lookup_answer_is_of_one_moment(void **state)
{
	pthread_t asking[2], changing;
	void *failed;

	enough = false;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&asking[i], NULL, ask, state), 0);
	assert_int_equal(pthread_create(&changing, NULL, change, state), 0);
	pthread_join(changing, &failed);
	assert_null(failed);
	enough = true;
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(asking[i], &failed);
		assert_null(failed);
	}
}

/* --- copies --- */

static void fill(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + seed + i / 251);
}

static void copy_both_ways(size_t at, size_t size)
{
	static uint8_t before[1024], buffer[1024];

	fill(one, PAGE, (unsigned)size);
	memset(buffer, 0xee, sizeof(buffer));
	assert_int_equal(regmap_read(AT + at, buffer + 8, size), 0);
	assert_memory_equal(buffer + 8, one + at, size);
	assert_true(buffer[7] == 0xee && buffer[8 + size] == 0xee);
	fill(buffer, sizeof(buffer), 99);
	memcpy(before, one, sizeof(before));
	memcpy(before + at, buffer + 3, size);
	assert_int_equal(regmap_write(AT + at, buffer + 3, size), 0);
	assert_memory_equal(one, before, sizeof(before));
}

static void test_lookup_copies_every_size(void **state)
{
	struct regmap_window *w = lay_host(AT, PAGE, one);

	(void)state;
	for (size_t size = 1; size < 600; size++)
		for (size_t at = 0; at < 17; at++)
			copy_both_ways(at, size);
	assert_int_equal(regmap_unmap(w), 0);
}

/* Distances within a page for which there is a way of its own: see copy.S. */
static void test_lookup_copies_at_every_distance(void **state)
{
	static const size_t sizes[] = {63, 64, 65, 79, 80, 81, 127, 128, 200, 1000, 5000};
	static uint8_t from[3 * PAGE] __attribute__((aligned(PAGE)));
	static uint8_t to[3 * PAGE] __attribute__((aligned(PAGE)));
	struct regmap_window *w = lay_host(AT, sizeof(from), from);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t distance = 0; distance < 80; distance++) {
			size_t size = sizes[i], start = 5;
			uint8_t *begin = to + start + distance;

			fill(from, sizeof(from), (unsigned)(size + distance));
			memset(to, 0xee, sizeof(to));
			assert_int_equal(regmap_read(AT + start, begin, size), 0);
			assert_memory_equal(begin, from + start, size);
			assert_true(begin[-1] == 0xee && begin[size] == 0xee);
		}
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_lookup_copies_end_at_a_fault(void **state)
{
	uint8_t *pages = mmap(NULL, (size_t)2 * PAGE, PROT_READ | PROT_WRITE,
	                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static uint8_t to[2 * PAGE] __attribute__((aligned(PAGE)));
	struct regmap_window *w;

	(void)state;
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
	w = lay_host(AT, (uint64_t)2 * PAGE, pages);
	for (size_t distance = 0; distance < 40; distance++) {
		size_t start = PAGE - 100;
		uint8_t *begin = to + start + distance;

		assert_int_equal(regmap_read(AT + start, begin, 300), -EFAULT);
		assert_int_equal(regmap_write(AT + start, begin, 300), -EFAULT);
		assert_int_equal(regmap_read(AT + start, begin, 100), 0);
	}
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(munmap(pages, (size_t)2 * PAGE), 0);
}

static void test_lookup_copies_large_ranges(void **state)
{
	enum { SIZE = 40 << 20 };
	uint8_t *from = malloc(SIZE), *to = malloc(SIZE);
	struct regmap_window *w;

	(void)state;
	assert_true(from && to);
	fill(from, SIZE, 5);
	memset(to, 0, SIZE);
	w = lay_host(AT, SIZE, from);
	assert_int_equal(regmap_read(AT + 3, to, SIZE - 3), 0);
	assert_memory_equal(to, from + 3, SIZE - 3);
	memset(from, 0, SIZE);
	assert_int_equal(regmap_write(AT + 3, to, SIZE - 3), 0);
	assert_memory_equal(from + 3, to, SIZE - 3);
	assert_int_equal(regmap_unmap(w), 0);
	free(from);
	free(to);
}

/* Where one byte is missing or closed, at either end, none is moved. */
static void test_lookup_copies_all_or_nothing(void **state)
{
	struct regmap_window *a = lay_host(AT, 64, one), *b, *c;
	uint8_t buffer[256], same[256];

	(void)state;
	b = lay((struct regmap_config){.guest = AT + 64,
	                               .length = 64,
	                               .access = REGMAP_READ,
	                               .backing = REGMAP_HOST,
	                               .host = two});
	c = lay((struct regmap_config){.guest = AT + 128,
	                               .length = 64,
	                               .access = REGMAP_WRITE,
	                               .backing = REGMAP_HOST,
	                               .host = two + 64});
	fill(one, PAGE, 1);
	memset(buffer, 0x55, sizeof(buffer));
	memset(same, 0x55, sizeof(same));
	assert_int_equal(regmap_write(AT, buffer, 65), -EACCES);
	assert_int_equal(regmap_write(AT - 1, buffer, 8), -EFAULT);
	assert_int_equal(regmap_read(AT, buffer, 129), -EACCES);
	assert_int_equal(regmap_read(AT + 64 + 128, buffer, 1), -EFAULT);
	assert_memory_equal(buffer, same, sizeof(same));
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(one[i], (uint8_t)(i * 7 + 1));
	assert_int_equal(regmap_read(AT, buffer, 128), 0);
	assert_memory_equal(buffer, one, 64);
	assert_memory_equal(buffer + 64, two, 64);
	assert_int_equal(regmap_unmap(a) || regmap_unmap(b) || regmap_unmap(c), 0);
}

#define T(name) cmocka_unit_test(test_lookup_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(finds_each_of_many),    T(finds_what_came_in_any_order),
		T(finds_the_innermost),   T(finds_the_last_byte_of_all),
		T(follows_eight_aliases), T(answer_is_of_one_moment),
		T(copies_every_size),     T(copies_at_every_distance),
		T(copies_end_at_a_fault), T(copies_large_ranges),
		T(copies_all_or_nothing),
	};

	return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
