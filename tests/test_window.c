/* SPDX-License-Identifier: MIT */
/* The window table and the reservations, against naive models. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../src/access.h"
#include "../src/reserve.h"
#include "../src/table.h"
#include "../src/window.h"

enum { MANY = 100000, PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE };

extern void __tsan_init(void) __attribute__((weak));

/* Free under sanitizers, too. */
#define BASE 0x551000000000ULL /* below any position-independent executable */
#define FAR 0x480000000000ULL  /* terabytes below it */

static uint64_t seed = 88172645463325252;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the bare table --- */

static struct regmap_window *make(uint64_t start, uint64_t last)
{
	struct regmap_window *w = regmap__window_alloc();

	assert_non_null(w);
	w->start = start;
	w->last = last;
	w->ops = &regmap__backing_host;
	return w;
}

static struct regmap_window *put(uint64_t start, uint64_t last)
{
	struct regmap_window *w = make(start, last), *parent;

	assert_int_equal(regmap__table_fits(start, last, &parent), 0);
	assert_int_equal(regmap__table_insert(w), 0);
	return w;
}

static void take(struct regmap_window *w)
{
	regmap__table_remove(w);
	regmap__window_free(w);
}

static int fits(uint64_t start, uint64_t last)
{
	struct regmap_window *parent;

	return regmap__table_fits(start, last, &parent);
}

static struct regmap_window *owner(uint64_t address)
{
	struct table_hit hit;

	regmap__table_find(address, &hit);
	return hit.window;
}

static uint64_t reach(uint64_t address)
{
	struct table_hit hit;

	regmap__table_find(address, &hit);
	return hit.last;
}

static void test_window_finds_nothing_in_an_empty_table(void **state)
{
	(void)state;
	assert_null(owner(0));
	assert_null(owner(UINT64_MAX));
	assert_int_equal(reach(0), UINT64_MAX);
	assert_int_equal(regmap__table_gap_first(1000), 0);
}

static void test_window_rejects_equal_and_crossing(void **state)
{
	struct regmap_window *w = put(100, 199);

	(void)state;
	assert_int_equal(fits(100, 199), -EEXIST);
	assert_int_equal(fits(99, 100), -EEXIST);
	assert_int_equal(fits(199, 200), -EEXIST);
	assert_int_equal(fits(50, 198), -EEXIST);
	assert_int_equal(fits(101, 200), -EEXIST);
	assert_int_equal(fits(100, 198), 0);
	assert_int_equal(fits(101, 199), 0);
	assert_int_equal(fits(99, 199), 0);
	assert_int_equal(fits(100, 200), 0);
	assert_int_equal(fits(200, 300), 0);
	assert_int_equal(fits(0, 99), 0);
	take(w);
}

static void test_window_nests_in_both_orders(void **state)
{
	struct regmap_window *outer = put(0, 999), *inner = put(100, 199), *middle = put(100, 299);

	(void)state;
	assert_ptr_equal(owner(99), outer);
	assert_int_equal(reach(0), 99);
	assert_ptr_equal(owner(100), inner);
	assert_int_equal(reach(100), 199);
	assert_ptr_equal(owner(200), middle);
	assert_ptr_equal(owner(300), outer);
	assert_int_equal(reach(300), 999);
	take(middle);
	assert_ptr_equal(owner(200), outer);
	assert_ptr_equal(owner(150), inner);
	take(outer);
	assert_null(owner(200));
	assert_ptr_equal(owner(150), inner);
	take(inner);
	assert_null(owner(150));
}

static void test_window_reaches_the_end_of_the_address_space(void **state)
{
	struct regmap_window *w = put(UINT64_MAX - 9, UINT64_MAX), *all = put(0, UINT64_MAX);

	(void)state;
	assert_ptr_equal(owner(UINT64_MAX), w);
	assert_int_equal(reach(UINT64_MAX), UINT64_MAX);
	assert_ptr_equal(owner(UINT64_MAX - 10), all);
	assert_int_equal(reach(5), UINT64_MAX - 10);
	take(w);
	assert_int_equal(reach(5), UINT64_MAX);
	take(all);
}

static void test_window_meets_wraps(void **state)
{
	struct regmap_window *w = put(3, 5);

	(void)state;
	assert_true(regmap__window_meets(UINT64_MAX - 3, 8));
	assert_false(regmap__window_meets(UINT64_MAX - 3, 7));
	assert_false(regmap__window_meets(6, UINT64_MAX - 2 - 3));
	assert_true(regmap__window_meets(6, UINT64_MAX));
	assert_false(regmap__window_meets(4, 0));
	assert_true(regmap__window_meets(0, 4));
	take(w);
}

static void test_window_near_names_neighbours(void **state)
{
	struct regmap_window *a = put(100, 199), *in = put(150, 160), *b = put(300, 399);
	struct window_info info[2];

	(void)state;
	strcpy(a->name, "a");
	strcpy(b->name, "b");
	strcpy(in->name, "in");
	assert_int_equal(regmap__window_near(250, info), 2);
	assert_string_equal(info[0].name, "a");
	assert_false(info[0].inside);
	assert_string_equal(info[1].name, "b");
	assert_int_equal(info[1].guest, 300);
	assert_int_equal(regmap__window_near(155, info), 1);
	assert_string_equal(info[0].name, "in");
	assert_true(info[0].inside);
	assert_int_equal(regmap__window_near(5, info), 1);
	assert_string_equal(info[0].name, "a");
	assert_int_equal(regmap__window_near(UINT64_MAX, info), 1);
	assert_string_equal(info[0].name, "b");
	take(a);
	take(b);
	take(in);
	assert_int_equal(regmap__window_near(155, info), 0);
}

/* --- random laminar layouts against a list --- */

enum { MODEL = 1500 };

static struct regmap_window *model[MODEL];
static unsigned modelled;

static int model_fits(uint64_t start, uint64_t last)
{
	for (unsigned i = 0; i < modelled; i++) {
		uint64_t s = model[i]->start, l = model[i]->last;
		bool apart = last < s || start > l, in = start >= s && last <= l;
		bool around = start <= s && last >= l;

		if ((start == s && last == l) || !(apart || in || around))
			return -EEXIST;
	}
	return 0;
}

static struct regmap_window *model_find(uint64_t at, uint64_t *last)
{
	struct regmap_window *best = NULL;

	for (unsigned i = 0; i < modelled; i++)
		if (model[i]->start <= at && model[i]->last >= at &&
		    (!best || model[i]->last - model[i]->start < best->last - best->start))
			best = model[i];
	*last = best ? best->last : UINT64_MAX;
	for (unsigned i = 0; i < modelled; i++)
		if (model[i]->start > at && model[i]->start - 1 < *last)
			*last = model[i]->start - 1;
	return best;
}

static uint64_t model_gap_first(uint64_t at)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < modelled; i++)
		if (model[i]->last < at && model[i]->last + 1 > first)
			first = model[i]->last + 1;
	return first;
}

static void compare(uint64_t at)
{
	struct table_hit hit;
	uint64_t last;

	regmap__table_find(at, &hit);
	assert_ptr_equal(hit.window, model_find(at, &last));
	assert_int_equal(hit.last, last);
	if (!hit.window)
		assert_int_equal(regmap__table_gap_first(at), model_gap_first(at));
}

static void change(uint64_t space)
{
	uint64_t start = rnd() % space, last = start + rnd() % (1 + (rnd() % 8 ? 200 : space / 4));
	unsigned victim = modelled ? rnd() % modelled : 0;

	if (modelled == MODEL || (modelled && rnd() % 3 == 0)) {
		take(model[victim]);
		model[victim] = model[--modelled];
		return;
	}
	assert_int_equal(fits(start, last), model_fits(start, last));
	if (fits(start, last) == 0)
		model[modelled++] = put(start, last);
}

static void test_window_agrees_with_a_list(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 12000; i++) {
		change(i < 6000 ? 3000 : 300000);
		compare(rnd() % 3100);
		compare(rnd() % 310000);
		if (modelled)
			compare(model[rnd() % modelled]->last + 1);
	}
	while (modelled)
		take(model[--modelled]);
	assert_null(owner(50));
}

/* --- a hundred thousand --- */

static struct regmap_window *many[MANY];

/* ThreadSanitizer is a hundred times slower. */
static unsigned how_many(void)
{
	return __tsan_init ? MANY / 20 : MANY;
}

static struct regmap_config window_at(uint64_t guest, uint64_t length)
{
	static uint8_t host[64];
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = guest,
		.length = length,
		.access = RW,
		.backing = REGMAP_HOST,
		.host = host,
	};

	return c;
}

static void map_many(uint64_t base, uint64_t stride)
{
	double begin = now();

	for (unsigned i = 0; i < how_many(); i++) {
		struct regmap_config c = window_at(base + i * stride, 16);

		assert_int_equal(regmap_map(&c, &many[i]), 0);
	}
	print_message("%u windows, one each 0x%llx: %.3f s, %u reservations\n", how_many(),
	              (unsigned long long)stride, now() - begin, regmap__reserve_count());
}

static void look_up_many(uint64_t base, uint64_t stride)
{
	enum { LOOKS = 1000000 };
	double begin = now();
	struct table_hit hit;

	for (unsigned i = 0; i < LOOKS; i++) {
		uint64_t n = (i * 2654435761u) % how_many();

		regmap__table_find(base + n * stride + 5, &hit);
		if (hit.window != many[n] || hit.last != base + n * stride + 15)
			fail();
	}
	print_message("%.1f ns a lookup\n", (now() - begin) * 1e9 / LOOKS);
}

static void unmap_many(void)
{
	double begin = now();

	for (unsigned i = 0; i < how_many(); i++)
		assert_int_equal(regmap_unmap(many[(i * 7919u) % how_many()]), 0);
	print_message("unmapped in %.3f s\n", now() - begin);
	assert_int_equal(regmap__reserve_count(), 0);
}

static void hold_many(uint64_t base, uint64_t stride)
{
	map_many(base, stride);
	look_up_many(base, stride);
	unmap_many();
}

static void test_window_holds_100000_adjacent(void **state)
{
	(void)state;
	hold_many(BASE, 16);
}

static void test_window_holds_100000_scattered(void **state)
{
	(void)state;
	hold_many(BASE, 0x10000);
}

static void test_window_holds_100000_far_apart(void **state)
{
	(void)state;
	if (__tsan_init) /* it leaves a program 0.5, 1 and 1.5 TB in a row, and these take 3 */
		skip();
	hold_many(FAR, 0x2000000);
}

static void test_window_holds_100000_in_the_kernel_half(void **state)
{
	(void)state;
	hold_many(0xffff900000000000, 0x10000);
}

/* --- reservations --- */

/* Not through libc, where sanitizers stand. */
static bool mappable(uint64_t at)
{
	long got = syscall(SYS_mmap, at, PAGE, PROT_READ,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0L);

	if (got == (long)at)
		syscall(SYS_munmap, at, PAGE);
	return got == (long)at;
}

static void test_window_shares_pages(void **state)
{
	struct regmap_config a = window_at(BASE + 10, 4), b = window_at(BASE + 20, PAGE);
	struct regmap_window *wa, *wb;

	(void)state;
	assert_int_equal(regmap_map(&a, &wa), 0);
	assert_int_equal(regmap_map(&b, &wb), 0);
	assert_false(mappable(BASE));
	assert_false(mappable(BASE + PAGE));
	assert_true(mappable(BASE + 2 * PAGE));
	assert_int_equal(regmap_unmap(wb), 0);
	assert_false(mappable(BASE));
	assert_true(mappable(BASE + PAGE));
	assert_int_equal(regmap_unmap(wa), 0);
	assert_true(mappable(BASE));
}

static void test_window_reservation_leaves_no_half(void **state)
{
	struct regmap_config c = window_at(BASE + PAGE + 5, 10 * PAGE);
	struct regmap_config a = window_at(BASE, 2 * PAGE);
	long mine = syscall(SYS_mmap, BASE + 8 * PAGE, PAGE, PROT_READ,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0L);
	struct regmap_window *w, *wa;

	(void)state;
	assert_int_equal(mine, BASE + 8 * PAGE);
	assert_int_equal(regmap_map(&c, &w), -EADDRINUSE);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(mappable(BASE + i * PAGE), i != 8);
	assert_int_equal(regmap__reserve_count(), 0);
	syscall(SYS_munmap, mine, PAGE);
	assert_int_equal(regmap_map(&c, &w), 0);
	assert_int_equal(regmap_map(&a, &wa), -EEXIST);
	assert_true(mappable(BASE));
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_window_reservation_heals_between_others(void **state)
{
	struct regmap_config c = window_at(BASE, 3 * PAGE);
	struct regmap_window *w[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		c.guest = BASE + i * PAGE;
		c.length = PAGE;
		assert_int_equal(regmap_map(&c, &w[i]), 0);
	}
	assert_int_equal(regmap__reserve_count(), 1);
	assert_int_equal(regmap_unmap(w[1]), 0);
	assert_int_equal(regmap__reserve_count(), 2);
	assert_true(mappable(BASE + PAGE));
	assert_int_equal(regmap_unmap(w[0]), 0);
	assert_int_equal(regmap_unmap(w[2]), 0);
	assert_int_equal(regmap__reserve_count(), 0);
}

/* --- pins --- */

static struct regmap_window *pinned_window;
static _Atomic int phase;

static void *unmapper(void *arg)
{
	(void)arg;
	assert_int_equal(regmap_unmap(pinned_window), 0);
	phase = 2;
	return NULL;
}

static void nap(void)
{
	struct timespec t = {0, 20000000};

	nanosleep(&t, NULL);
}

static void test_window_unmap_waits_for_pins(void **state)
{
	struct regmap_config c = window_at(BASE, 64);
	struct access at;
	pthread_t thread;

	(void)state;
	phase = 1;
	assert_int_equal(regmap_map(&c, &pinned_window), 0);
	regmap__access_begin(&at, BASE, 4, RW);
	assert_ptr_equal(at.window, pinned_window);
	pthread_create(&thread, NULL, unmapper, NULL);
	nap();
	assert_int_equal(phase, 1);
	assert_null(owner(BASE));
	regmap__access_end(&at);
	pthread_join(thread, NULL);
	assert_int_equal(phase, 2);
}

static void test_window_unmap_skips_lost_pins(void **state)
{
	struct regmap_config c = window_at(BASE, 64);
	struct access at;
	pthread_t thread;

	(void)state;
	assert_int_equal(regmap_map(&c, &pinned_window), 0);
	regmap__access_begin(&at, BASE, 4, RW);
	memset(&at, 0, sizeof(at)); /* as a frame that was left by longjmp() and used again */
	pthread_create(&thread, NULL, unmapper, NULL);
	pthread_join(thread, NULL);
	assert_int_equal(phase, 2);
}

static void test_window_unmap_skips_pins_of_its_own(void **state)
{
	struct regmap_config c = window_at(BASE, 64);
	struct access at;

	(void)state;
	assert_int_equal(regmap_map(&c, &pinned_window), 0);
	regmap__access_begin(&at, BASE, 4, RW);
	assert_int_equal(regmap_unmap(pinned_window), 0);
	regmap__access_end(&at);
}

static void test_window_pins_do_not_run_out(void **state)
{
	enum { PINS = 3000 };
	struct regmap_config c = window_at(BASE, 64);
	struct access *at = calloc(PINS, sizeof(*at));

	(void)state;
	assert_int_equal(regmap_map(&c, &pinned_window), 0);
	for (unsigned i = 0; i < PINS; i++)
		regmap__access_begin(&at[i], BASE, 4, RW);
	for (unsigned i = 0; i < PINS; i++)
		regmap__access_end(&at[i]);
	free(at);
	assert_int_equal(regmap_unmap(pinned_window), 0);
}

static void *locker(void *arg)
{
	struct access_lock lock;

	regmap__access_lock(&lock, *(uint64_t *)arg);
	phase = 2;
	regmap__access_unlock(&lock);
	return NULL;
}

static void lock_against(uint64_t at, bool lose)
{
	struct access_lock outer, inner;
	pthread_t thread;

	phase = 1;
	regmap__access_lock(&outer, at);
	regmap__access_lock(&inner, at); /* by the same thread: does nothing */
	regmap__access_unlock(&inner);
	pthread_create(&thread, NULL, locker, &at);
	nap();
	assert_int_equal(phase, 1);
	if (lose)
		memset(&outer, 0, sizeof(outer));
	else
		regmap__access_unlock(&outer);
	pthread_join(thread, NULL);
	assert_int_equal(phase, 2);
}

static void test_window_lock_excludes_other_threads(void **state)
{
	struct regmap_config c = window_at(BASE, 64);

	(void)state;
	assert_int_equal(regmap_map(&c, &pinned_window), 0);
	lock_against(BASE, false);
	lock_against(BASE, true);
	lock_against(BASE + PAGE, false);
	lock_against(BASE + PAGE, true);
	assert_int_equal(regmap_unmap(pinned_window), 0);
}

/* --- readers against a writer --- */

static _Atomic bool stop;
static _Atomic unsigned long looks;

static void *look(void *arg)
{
	const struct regmap_window *fixed = arg;
	struct table_hit hit;

	while (!stop) {
		regmap__table_find(0x5000005, &hit);
		if (hit.window != fixed)
			abort();
		regmap__table_find(0x4000000 + rnd() % 0x100000, &hit);
		looks++;
	}
	return NULL;
}

static void test_window_readers_never_miss(void **state)
{
	static struct regmap_window *w[1000];
	struct regmap_window *fixed = put(0x5000000, 0x500000f), *around = NULL;
	pthread_t thread;

	(void)state;
	stop = false;
	pthread_create(&thread, NULL, look, fixed);
	for (unsigned round = 0; round < 60 || looks < 10000; round++) {
		for (unsigned i = 0; i < 1000; i++)
			w[i] = put(0x4000000 + i * 64, 0x4000000 + i * 64 + 31);
		for (unsigned i = 0; i < 100; i++) {
			around = put(0x4800000, 0x5800000);
			take(around);
		}
		for (unsigned i = 0; i < 1000; i++)
			take(w[(i * 7) % 1000]);
	}
	stop = true;
	pthread_join(thread, NULL);
	take(fixed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_finds_nothing_in_an_empty_table),
		cmocka_unit_test(test_window_rejects_equal_and_crossing),
		cmocka_unit_test(test_window_nests_in_both_orders),
		cmocka_unit_test(test_window_reaches_the_end_of_the_address_space),
		cmocka_unit_test(test_window_meets_wraps),
		cmocka_unit_test(test_window_near_names_neighbours),
		cmocka_unit_test(test_window_agrees_with_a_list),
		cmocka_unit_test(test_window_holds_100000_adjacent),
		cmocka_unit_test(test_window_holds_100000_scattered),
		cmocka_unit_test(test_window_holds_100000_far_apart),
		cmocka_unit_test(test_window_holds_100000_in_the_kernel_half),
		cmocka_unit_test(test_window_shares_pages),
		cmocka_unit_test(test_window_reservation_leaves_no_half),
		cmocka_unit_test(test_window_reservation_heals_between_others),
		cmocka_unit_test(test_window_unmap_waits_for_pins),
		cmocka_unit_test(test_window_unmap_skips_lost_pins),
		cmocka_unit_test(test_window_unmap_skips_pins_of_its_own),
		cmocka_unit_test(test_window_pins_do_not_run_out),
		cmocka_unit_test(test_window_lock_excludes_other_threads),
		cmocka_unit_test(test_window_readers_never_miss),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
