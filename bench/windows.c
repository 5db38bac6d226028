/* SPDX-License-Identifier: MIT */
/*
 * Does the number of windows matter? One window in the middle of n, and accesses scattered over all
 * of them, where the caches of the CPU have a say, too.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define MANY_AT 0x100000000000ull

enum { MOST = 100000, STEP = 32, LOOKUPS = 200000 };

static struct regmap_window *windows[MOST];
static uint64_t laid;

static void lay(uint64_t n)
{
	static uint8_t host[STEP];

	for (; laid < n; laid++)
		windows[laid] = bench_map((struct regmap_config){.guest = MANY_AT + laid * STEP,
		                                                 .length = STEP,
		                                                 .backing = REGMAP_HOST,
		                                                 .host = host});
	while (laid > n)
		if (regmap_unmap(windows[--laid]))
			bench_fail("regmap_unmap() of window %llu", (unsigned long long)laid);
}

static double scattered_loads(uint64_t windows_there)
{
	uint64_t state = 1;
	double begin = bench_now();

	for (unsigned i = 0; i < BENCH_TRAPPED; i++)
		bench_load.loop(MANY_AT + bench_scrambled(&state, windows_there) * STEP, 1);
	return (bench_now() - begin) / BENCH_TRAPPED;
}

static double scattered_floor(uint64_t windows_there)
{
	uint64_t state = 1;
	double ns, begin;

	bench_floor_begin(*bench_load.length);
	begin = bench_now();
	for (unsigned i = 0; i < BENCH_TRAPPED; i++)
		bench_load.loop(BENCH_FLOOR_AT + bench_scrambled(&state, windows_there) * 0, 1);
	ns = (bench_now() - begin) / BENCH_TRAPPED;
	bench_floor_end();
	return ns;
}

static bool one(const struct bench_row *row, struct bench_sample *to)
{
	lay(row->size);
	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	to->value = bench_per_access(bench_load.loop, MANY_AT + row->size / 2 * STEP,
	                             BENCH_TRAPPED);
	return true;
}

static bool scattered(const struct bench_row *row, struct bench_sample *to)
{
	lay(row->size);
	to->base = scattered_floor(row->size);
	to->value = scattered_loads(row->size);
	return true;
}

static double lookups(uint64_t from, uint64_t among)
{
	uint64_t state = 1;
	double begin = bench_now();
	void *host;

	for (unsigned i = 0; i < LOOKUPS; i++)
		if (regmap_translate(from + bench_scrambled(&state, among) * STEP, &host))
			abort();
	return (bench_now() - begin) / LOOKUPS;
}

static bool patched(const struct bench_row *row, struct bench_sample *to)
{
	uint64_t at = MANY_AT + row->size / 2 * STEP;

	lay(row->size);
	unsigned n = bench_warm_up(row, &bench_hot_load, at, BENCH_DIRECT);

	if (!n)
		return false;
	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	to->value = bench_per_access(bench_hot_load.loop, at, n);
	return true;
}

static bool patched_scattered(const struct bench_row *row, struct bench_sample *to)
{
	uint64_t state = 1;
	double begin;

	lay(row->size);
	if (!bench_warm_up(row, &bench_hot_load, MANY_AT, 1))
		return false;
	to->base = scattered_floor(row->size);
	begin = bench_now();
	for (unsigned i = 0; i < BENCH_DIRECT / 10; i++)
		bench_hot_load.loop(MANY_AT + bench_scrambled(&state, row->size) * STEP, 1);
	to->value = (bench_now() - begin) / (BENCH_DIRECT / 10);
	return true;
}

static bool translate_one(const struct bench_row *row, struct bench_sample *to)
{
	lay(row->size);
	to->value = lookups(MANY_AT + row->size / 2 * STEP, 1);
	return true;
}

static bool translate_scattered(const struct bench_row *row, struct bench_sample *to)
{
	lay(row->size);
	to->value = lookups(MANY_AT, row->size);
	return true;
}

static bool lay_and_clear(const struct bench_row *row, struct bench_sample *to)
{
	double begin;

	lay(0);
	begin = bench_now();
	lay(row->size);
	to->value = (bench_now() - begin) / (double)row->size / 1000;
	return true;
}

#define ACCESS(kind, text, n) \
	{ \
		.name = "windows/" #kind "/" #n, .what = text " among " #n, .unit = "ns", \
		.base = "floor", .figure = BENCH_COST, .wanted = 1.02, .measure = kind, .size = n, \
		.series = "windows/" #kind, .x = n \
	}
#define LOOKUP(id, kind, text, n, most) \
	{ \
		.name = "windows/" id "/" #n, .what = text " among " #n, .unit = "ns", \
		.figure = BENCH_VALUE, .wanted = most, .measure = kind, .size = n, \
		.series = "windows/" id, .x = n \
	}
#define ROWS(n) \
	ACCESS(one, "integer load, one window", n), \
		ACCESS(scattered, "integer load, all windows in turn", n), \
		LOOKUP("translate", translate_one, "regmap_translate(), one window", n, 10), \
		LOOKUP("translate-scattered", translate_scattered, \
	               "regmap_translate(), all windows in turn", n, 0)

static struct bench_row rows[] = {
	ROWS(1),
	ROWS(10),
	ROWS(100),
	ROWS(1000),
	ROWS(10000),
	ROWS(100000),
	{.name = "windows/map/100000",
         .what = "regmap_map(), each of 100,000",
         .unit = "us",
         .figure = BENCH_VALUE,
         .measure = lay_and_clear,
         .size = 100000},
};

#define PATCHED(id, kind, text, n) \
	{ \
		.name = "windows/" id "/" #n, .what = text " among " #n, .unit = "ns", \
		.base = "floor", .figure = BENCH_SPEEDUP, .measure = kind, .size = n, \
		.series = "windows/" id, .x = n \
	}
#define PATCHED_ROWS(n) \
	PATCHED("patched", patched, "patched load, one window", n), \
		PATCHED("patched-scattered", patched_scattered, \
	                "patched load, all windows in turn", n)

static struct bench_row patched_rows[] = {
	PATCHED_ROWS(1),    PATCHED_ROWS(10),    PATCHED_ROWS(100),
	PATCHED_ROWS(1000), PATCHED_ROWS(10000), PATCHED_ROWS(100000),
};

static const char *set_up(void)
{
	lay(1);
	bench_floor_set_up();
	return NULL;
}

struct bench_part bench_windows = {.set_up = set_up,
                                   .in_turn = true,
                                   .rows = rows,
                                   .count = BENCH_COUNT(rows)};

static const char *set_up_patched(void)
{
	set_up();
	return bench_patch_on(4);
}

struct bench_part bench_patched_windows = {.set_up = set_up_patched,
                                           .in_turn = true,
                                           .rows = patched_rows,
                                           .count = BENCH_COUNT(patched_rows)};
