/* SPDX-License-Identifier: MIT */
/* Views of windows, lanes of threads, and who waits for whom. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <regmap/regmap.h>

#include "../emulator/bus.h"
#include "../src/atomics.h"
#include "../src/lane.h"
#include "../src/view.h"
#include "arena.h"
#include "steps.h"

#define AT 0x40000000u
#define ALIAS 0x40100000u
#define TWICE 0x40200000u
#define DEVICE 0x40300000u
enum { PAGE = 4096, LOOKS = 20000 };

static uint8_t memory[2 * PAGE] __attribute__((aligned(PAGE)));

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *window;

	c.size = sizeof(c);
	c.length = c.length ? c.length : PAGE;
	c.access = c.access ? c.access : REGMAP_READ | REGMAP_WRITE;
	assert_int_equal(regmap_map(&c, &window), 0);
	return window;
}

static struct regmap_window *lay_host(uint64_t guest, void *host)
{
	return lay((struct regmap_config){.guest = guest, .backing = REGMAP_HOST, .host = host});
}

static bool fits(uint64_t address, size_t size, unsigned access)
{
	const struct view *v = regmap__view_for(address, false);

	return v && regmap__view_fits(v, address, size, access);
}

static int no_device(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

static const struct regmap_device_ops ops = {no_device, NULL};

/* --- what a view is --- */

static void test_views_lead_to_host_memory(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory);
	const struct view *v = regmap__view_for(AT + 100, false);

	(void)unused;
	assert_non_null(v);
	assert_int_equal(v->start, AT);
	assert_int_equal(v->start + v->delta, (uintptr_t)memory);
	assert_ptr_equal(regmap__view_for(AT + PAGE - 1, false), v);
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(v->limit[VIEW_READ][0], 0);
}

/* The last byte is the window's; none of an access lies behind it. */
static void test_views_have_limits_for_each_size(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory);

	(void)unused;
	for (size_t size = 1; size <= 64; size *= 2) {
		assert_true(fits(AT + PAGE - size, size, EM_READ | EM_WRITE));
		if (size > 1)
			assert_false(fits(AT + PAGE - size + 1, size, EM_READ));
		assert_true(fits(AT, size, EM_WRITE));
	}
	assert_false(fits(AT, 65, EM_READ));
	assert_false(fits(AT + PAGE - 12, 13, EM_READ));
	assert_int_equal(regmap__view_for(AT, false)->limit[VIEW_BOTH][VIEW_SIZES - 1],
	                 AT + PAGE - VIEW_SPAN + 1);
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_views_keep_rights(void **unused)
{
	struct regmap_window *w = lay((struct regmap_config){.guest = AT,
	                                                     .backing = REGMAP_HOST,
	                                                     .host = memory,
	                                                     .access = REGMAP_READ});

	(void)unused;
	assert_true(fits(AT, 4, EM_READ));
	assert_false(fits(AT, 4, EM_WRITE));
	assert_false(fits(AT, 4, EM_READ | EM_WRITE));
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_views_end_at_windows_inside(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory);
	struct regmap_window *in = lay((struct regmap_config){.guest = AT + 64,
	                                                      .length = 64,
	                                                      .backing = REGMAP_DEVICE,
	                                                      .ops = &ops});

	(void)unused;
	assert_true(fits(AT + 60, 4, EM_READ));
	assert_false(fits(AT + 61, 4, EM_READ));
	assert_null(regmap__view_for(AT + 64, false));
	assert_null(regmap__view_for(AT + 127, false));
	assert_true(fits(AT + 128, 4, EM_READ));
	assert_int_equal(regmap__view_for(AT + 200, false)->start, AT + 128);
	assert_int_equal(regmap_unmap(in), 0);
	assert_true(fits(AT + 64, 4, EM_READ));
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_views_of_gaps_are_the_memory_itself(void **unused)
{
	uint64_t local, at = (uintptr_t)&local;
	const struct view *v = regmap__view_for(at, true);

	(void)unused;
	assert_non_null(v);
	assert_int_equal(v->delta, 0);
	assert_true(regmap__view_fits(v, at, 8, EM_READ | EM_WRITE));
	assert_null(regmap__view_for(8, false));
	assert_null(regmap__view_for(0xffff, false));
}

/* An access that checks alignment is no good where the memory is aligned otherwise. */
static void test_views_congruent(void **unused)
{
	struct regmap_window *w = lay((struct regmap_config){.guest = AT,
	                                                     .length = 256,
	                                                     .backing = REGMAP_HOST,
	                                                     .host = memory + 8});

	(void)unused;
	assert_null(regmap__view_for(AT, true));
	assert_true(fits(AT, 4, EM_READ));
	assert_null(regmap__view_for(AT, true));
	assert_int_equal(regmap_unmap(w), 0);
}

static void test_views_through_aliases(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory), *in;
	struct regmap_window *a = lay(
		(struct regmap_config){.guest = ALIAS, .backing = REGMAP_ALIAS, .target = AT});
	struct regmap_window *b = lay(
		(struct regmap_config){.guest = TWICE, .backing = REGMAP_ALIAS, .target = ALIAS});
	const struct view *v = regmap__view_for(TWICE + 8, false),
			  *u = regmap__view_for(ALIAS, false);

	(void)unused;
	assert_int_equal(v->start + v->delta, (uintptr_t)memory);
	assert_int_equal(u->start + u->delta, (uintptr_t)memory);
	in = lay((struct regmap_config){.guest = AT + 128,
	                                .length = 64,
	                                .backing = REGMAP_DEVICE,
	                                .ops = &ops});
	assert_int_equal(v->limit[VIEW_READ][0], 0);
	assert_int_equal(u->limit[VIEW_READ][0], 0);
	assert_null(regmap__view_for(TWICE + 128, false));
	assert_null(regmap__view_for(ALIAS + 191, false));
	assert_int_equal(regmap__view_for(TWICE + 192, false)->start, TWICE + 192);
	assert_int_equal(regmap_unmap(in), 0);
	assert_int_equal(regmap_unmap(b), 0);
	assert_int_equal(regmap_unmap(a), 0);
	assert_int_equal(regmap_unmap(w), 0);
}

/* Private RAM moves out when a window is laid inside. */
static void test_views_follow_private_memory(void **unused)
{
	struct regmap_window *w = lay((
		struct regmap_config){.guest = AT, .backing = REGMAP_RAM, .flags = REGMAP_PRIVATE});
	const struct view *v = regmap__view_for(AT + 2048, false);
	struct regmap_window *in;

	(void)unused;
	assert_int_equal(v->delta, 0);
	in = lay((struct regmap_config){.guest = AT + 64,
	                                .length = 64,
	                                .backing = REGMAP_DEVICE,
	                                .ops = &ops});
	assert_int_equal(v->limit[VIEW_READ][0], 0);
	v = regmap__view_for(AT + 2048, false);
	assert_int_not_equal(v->delta, 0);
	assert_int_equal(regmap_unmap(in), 0);
	assert_int_equal(regmap_unmap(w), 0);
}

/* More windows than views: the last of them has one, too. */
static void test_views_are_recycled(void **unused)
{
	enum { MANY = 70000, STEP = 64 };
	static struct regmap_window *w[MANY];
	unsigned found = 0;

	(void)unused;
	for (unsigned i = 0; i < MANY; i++)
		w[i] = lay((struct regmap_config){.guest = 0x50000000 + (uint64_t)i * STEP,
		                                  .length = 32,
		                                  .backing = REGMAP_HOST,
		                                  .host = memory + i % 64 * 64});
	for (unsigned i = 0; i < MANY; i++)
		found += fits(0x50000000 + (uint64_t)i * STEP, 4, EM_WRITE);
	/* who finds the pool full goes without, and makes room */
	assert_true(found > MANY - 100);
	assert_int_equal(regmap__view_for(0x50000000, false)->delta + 0x50000000,
	                 (uintptr_t)memory);
	while (found-- > MANY - 200)
		;
	for (unsigned i = MANY; i-- > 0;)
		if (i % 1000 == 0)
			assert_int_equal(regmap_unmap(w[i]), 0);
}

/* --- who looks while it goes --- */

static struct regmap_window *going;

static void *unmaps(void *unused)
{
	(void)unused;
	return regmap_unmap(going) ? "it can't be unmapped" : NULL;
}

static void let_it_go(void)
{
	pthread_t other;
	void *complaint = "no thread";

	if (pthread_create(&other, NULL, unmaps, NULL) || pthread_join(other, &complaint) ||
	    complaint)
		abort();
}

static const struct view *seen;

static void look(void *unused)
{
	(void)unused;
	seen = regmap__view_for(AT, false);
}

/* The index is walked without a lock: the view that a thread stands on may go at each instruction. */
static void test_views_go_while_they_are_looked_for(void **unused)
{
	bool gone;
	int n = 0;

	(void)unused;
	if (t_mode_is("asan") || t_mode_is("tsan"))
		skip();
	do {
		struct regmap_window *beside = lay((struct regmap_config){.guest = AT + 128,
		                                                          .length = 64,
		                                                          .backing = REGMAP_HOST,
		                                                          .host = memory});

		going = lay((struct regmap_config){.guest = AT,
		                                   .length = 64,
		                                   .backing = REGMAP_HOST,
		                                   .host = memory + 64});
		assert_non_null(regmap__view_for(AT, false));
		assert_non_null(regmap__view_for(AT + 128, false)); /* the page's hint */
		gone = t_at_step(++n, let_it_go, look, NULL);
		assert_true(!seen || !get(&seen->limit[VIEW_READ][0]) || get(&seen->start) <= AT);
		if (!gone)
			assert_int_equal(regmap_unmap(going), 0);
		assert_int_equal(regmap_unmap(beside), 0);
	} while (gone);
	assert_true(n > 50);
}

/* --- who waits --- */

static _Atomic int step;
static _Atomic bool over;

static void reach(int number)
{
	atomic_store(&step, number);
}

static void await(int number)
{
	while (atomic_load(&step) < number)
		sched_yield();
}

/* In the middle of the inline part of a slot, as far as others can see. */
static void *stays_inside(void *unused)
{
	struct lane *lane = regmap__lane_take();

	(void)unused;
	atomic_store(&lane->busy, 1);
	reach(1);
	await(2);
	for (unsigned i = 0; i < LOOKS; i++) {
		if (atomic_load(&over))
			return "it was not waited for";
		sched_yield();
	}
	atomic_store(&lane->busy, 0);
	return NULL;
}

struct going {
	struct regmap_window *window;
	const struct view *view;
};

static void *says_when_limits_are_gone(void *arg)
{
	const struct going *g = arg;

	while (atomic_load(&g->view->limit[VIEW_WRITE][2]))
		sched_yield();
	reach(2);
	return NULL;
}

static void assert_waits(void (*act)(struct going *), struct going *g)
{
	pthread_t inside, watching;
	void *complaint;

	reach(0);
	atomic_store(&over, false);
	assert_int_equal(pthread_create(&inside, NULL, stays_inside, NULL), 0);
	await(1);
	assert_int_equal(pthread_create(&watching, NULL, says_when_limits_are_gone, g), 0);
	act(g);
	atomic_store(&over, true);
	pthread_join(watching, NULL);
	pthread_join(inside, &complaint);
	if (complaint)
		fail_msg("%s", (char *)complaint);
}

static void unmap(struct going *g)
{
	assert_int_equal(regmap_unmap(g->window), 0);
}

static void test_views_unmap_waits_for_lanes(void **unused)
{
	struct going g = {lay_host(AT, memory), regmap__view_for(AT, false)};

	(void)unused;
	assert_waits(unmap, &g);
}

/* A LOCKed instruction whose operand isn't in one piece. */
static void lock_across(struct going *g)
{
	(void)g;
	__asm__ volatile("lock incl (%0)" : : "r"((uintptr_t)AT + PAGE - 2) : "memory", "cc");
}

static void test_views_locked_buffer_waits_for_lanes(void **unused)
{
	struct regmap_window *next = lay_host(AT + PAGE, memory + PAGE);
	struct going g = {lay_host(AT, memory), regmap__view_for(AT, false)};

	(void)unused;
	assert_waits(lock_across, &g);
	assert_true(fits(AT, 4, EM_WRITE));
	assert_int_equal(regmap_unmap(g.window), 0);
	assert_int_equal(regmap_unmap(next), 0);
}

/* The thread that unmaps is no obstacle to itself. */
static void test_views_own_lane_is_not_waited_for(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory);
	struct lane *lane = regmap__lane_take();

	(void)unused;
	assert_non_null(regmap__view_for(AT, false));
	atomic_store(&lane->busy, 1);
	assert_int_equal(regmap_unmap(w), 0);
	atomic_store(&lane->busy, 0);
}

static void *dies_inside(void *unused)
{
	(void)unused;
	atomic_store(&regmap__lane_take()->busy, 1);
	return NULL;
}

static void test_views_dead_threads_are_not_waited_for(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory);
	pthread_t thread;

	(void)unused;
	assert_non_null(regmap__view_for(AT, false));
	assert_int_equal(pthread_create(&thread, NULL, dies_inside, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(regmap_unmap(w), 0);
}

static void *waits_inside(void *unused)
{
	struct lane *lane = regmap__lane_take();

	(void)unused;
	atomic_store(&lane->busy, 1);
	reach(1);
	await(2);
	atomic_store(&lane->busy, 0);
	return NULL;
}

static void test_views_child_waits_for_nobody(void **unused)
{
	struct regmap_window *w = lay_host(AT, memory);
	pthread_t thread;
	pid_t child;
	int status;

	(void)unused;
	assert_non_null(regmap__view_for(AT, false));
	reach(0);
	assert_int_equal(pthread_create(&thread, NULL, waits_inside, NULL), 0);
	await(1);
	child = fork();
	if (!child) {
		alarm(20);
		_exit(regmap_unmap(w) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	reach(2);
	pthread_join(thread, NULL);
	assert_int_equal(status, 0);
	assert_int_equal(regmap_unmap(w), 0);
}

/* --- lanes --- */

static void *takes_lane(void *unused)
{
	struct lane *lane = regmap__lane_take();

	(void)unused;
	return lane == regmap__lane_take() && lane == lane_own() ? lane : NULL;
}

static void test_views_a_lane_for_each_thread(void **unused)
{
	struct lane *mine = regmap__lane_take();
	void *theirs;
	pthread_t thread;

	(void)unused;
	assert_int_equal(pthread_create(&thread, NULL, takes_lane, NULL), 0);
	pthread_join(thread, &theirs);
	assert_non_null(theirs);
	assert_ptr_not_equal(theirs, mine);
}

/* Generated code finds it by a constant. */
static void test_views_lanes_by_offset(void **unused)
{
	const struct lane_tls *tls;
	struct lane *lane = regmap__lane_take();

	(void)unused;
	__asm__("mov %%fs:0, %0" : "=r"(tls));
	tls = (const void *)((const char *)tls + regmap__lane_offset());
	assert_int_equal(tls->magic, LANE_MAGIC);
	assert_ptr_equal(tls->lane, lane);
}

static void test_views_lanes_are_used_again(void **unused)
{
	struct lane *lowest = NULL, *highest = NULL;

	(void)unused;
	for (unsigned i = 0; i < 500; i++) {
		pthread_t thread;
		void *lane;

		assert_int_equal(pthread_create(&thread, NULL, takes_lane, NULL), 0);
		pthread_join(thread, &lane);
		assert_non_null(lane);
		if (!lowest || (struct lane *)lane < lowest)
			lowest = lane;
		if (!highest || (struct lane *)lane > highest)
			highest = lane;
	}
	assert_true(highest - lowest < 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_views_lead_to_host_memory),
		cmocka_unit_test(test_views_have_limits_for_each_size),
		cmocka_unit_test(test_views_keep_rights),
		cmocka_unit_test(test_views_end_at_windows_inside),
		cmocka_unit_test(test_views_of_gaps_are_the_memory_itself),
		cmocka_unit_test(test_views_congruent),
		cmocka_unit_test(test_views_through_aliases),
		cmocka_unit_test(test_views_follow_private_memory),
		cmocka_unit_test(test_views_unmap_waits_for_lanes),
		cmocka_unit_test(test_views_locked_buffer_waits_for_lanes),
		cmocka_unit_test(test_views_own_lane_is_not_waited_for),
		cmocka_unit_test(test_views_dead_threads_are_not_waited_for),
		cmocka_unit_test(test_views_child_waits_for_nobody),
		cmocka_unit_test(test_views_a_lane_for_each_thread),
		cmocka_unit_test(test_views_lanes_by_offset),
		cmocka_unit_test(test_views_lanes_are_used_again),
		cmocka_unit_test(test_views_go_while_they_are_looked_for),
		cmocka_unit_test(test_views_are_recycled),
	};

	if (regmap_patch(1000000000))
		return 77;
	return cmocka_run_group_tests_name("views", tests, NULL, NULL);
}
