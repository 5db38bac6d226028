/* SPDX-License-Identifier: MIT */
/*
 * From 10 to 1,000,000 sites: code made on the spot, a load and a return each, executed in a
 * scrambled order after each has been executed once. Plans that are remembered no longer, or whose
 * memory the CPU's caches don't hold, show as a figure that rises; the floor runs the same code.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define HOST_AT 0x30000000ull

enum { MOST = 1000000, STEP = 8, SITE_LENGTH = 7 };

/* Two times the same: what is patched is no floor any more. */
static uint8_t *code, *floor_code;

/* mov 0(%rdi), %rax with 32 bits of displacement; ret */
static const uint8_t site[STEP] = {0x48, 0x8b, 0x87, 0, 0, 0, 0, 0xc3};

static void call(const uint8_t *from, uint64_t which, uint64_t at)
{
	void (*run)(uint64_t) = (void (*)(uint64_t))(uintptr_t)(from + which * STEP);

	run(at);
}

static double scrambled(const uint8_t *from, uint64_t among, uint64_t at, uint64_t *state,
                        unsigned n)
{
	double begin = bench_now();

	for (unsigned i = 0; i < n; i++)
		call(from, bench_scrambled(state, among), at);
	return (bench_now() - begin) / n;
}

static uint64_t visited;

static void visit(uint64_t count)
{
	for (; visited < count; visited++)
		call(code, visited, HOST_AT);
}

static bool measure_n(const struct bench_row *row, struct bench_sample *to, unsigned n)
{
	static uint64_t state = 1;
	uint64_t same = state;

	visit(row->size);
	bench_floor_begin(SITE_LENGTH);
	to->base = scrambled(floor_code, row->size, BENCH_FLOOR_AT, &same, BENCH_TRAPPED);
	bench_floor_end();
	to->value = scrambled(code, row->size, HOST_AT, &state, n);
	return true;
}

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	return measure_n(row, to, BENCH_TRAPPED);
}

/* What the same code takes on memory: calls that can't be predicted, and the CPU's caches. */
static bool native(const struct bench_row *row, struct bench_sample *to)
{
	static uint8_t memory[4096];
	static uint64_t state = 1;

	to->value = scrambled(floor_code, row->size, (uintptr_t)memory, &state, BENCH_DIRECT);
	return true;
}

static double resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages;

	if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2)
		bench_fail("/proc/self/statm can't be read");
	fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double before;

static bool memory(const struct bench_row *row, struct bench_sample *to)
{
	visit(row->size);
	to->value = (resident() - before) / (1 << 20);
	return true;
}

#define ROW(n) \
	{ \
		.name = "sites/load/" #n, .what = "integer load, one of so many sites: " #n, \
		.unit = "ns", .base = "floor", .figure = BENCH_COST, .wanted = 1.02, \
		.measure = measure, .size = n, .series = "sites/load", .x = n \
	}

#define NATIVE(n) \
	{ \
		.name = "sites/native/" #n, .what = "native load, one of so many sites: " #n, \
		.unit = "ns", .figure = BENCH_VALUE, .measure = native, .size = n, \
		.series = "sites/native", .x = n \
	}

static struct bench_row rows[] = {
	ROW(10),
	ROW(100),
	ROW(1000),
	ROW(10000),
	ROW(100000),
	ROW(1000000),
	NATIVE(10),
	NATIVE(100),
	NATIVE(1000),
	NATIVE(10000),
	NATIVE(100000),
	NATIVE(1000000),
	{.name = "sites/memory/1000000",
         .what = "what 1,000,000 sites leave in memory",
         .unit = "MB",
         .figure = BENCH_VALUE,
         .measure = memory,
         .size = MOST},
};

#define PATCHED(n) \
	{ \
		.name = "sites/patched/" #n, .what = "patched load, one of so many sites: " #n, \
		.unit = "ns", .base = "floor", .figure = BENCH_SPEEDUP, \
		.measure = measure_patched, .size = n, .series = "sites/patched", .x = n \
	}

static bool measure_patched(const struct bench_row *row, struct bench_sample *to)
{
	visit(row->size);
	return bench_is_patched(row, code + (row->size - 1) * STEP) &&
	       measure_n(row, to, BENCH_DIRECT);
}

static struct bench_row patched_rows[] = {
	PATCHED(10),
	PATCHED(100),
	PATCHED(1000),
	PATCHED(10000),
	PATCHED(100000),
	PATCHED(1000000),
	{.name = "sites/patched-memory/1000000",
         .what = "what 1,000,000 patched sites leave in memory",
         .unit = "MB",
         .figure = BENCH_VALUE,
         .measure = memory,
         .size = MOST},
};

static uint8_t *make_code(void)
{
	size_t size = (size_t)MOST * STEP;
	uint8_t *to = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (to == MAP_FAILED)
		bench_fail("no memory for the sites");
	for (unsigned i = 0; i < MOST; i++)
		memcpy(to + i * STEP, site, STEP);
	return mprotect(to, size, PROT_READ | PROT_EXEC) ? NULL : to;
}

static const char *set_up(void)
{
	static uint8_t host[4096];

	code = make_code();
	floor_code = make_code();
	if (!code || !floor_code)
		return "made code may not be executed here";
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_HOST,
	                                 .host = host});
	bench_floor_set_up();
	before = resident();
	return NULL;
}

struct bench_part bench_sites = {.set_up = set_up,
                                 .in_turn = true,
                                 .rows = rows,
                                 .count = BENCH_COUNT(rows)};

/* Each site at its first fault: to wait for more would take longer than all the rest. */
static const char *set_up_patched(void)
{
	const char *why = set_up();

	return why ? why : bench_patch_on(1);
}

struct bench_part bench_patched_sites = {.set_up = set_up_patched,
                                         .in_turn = true,
                                         .rows = patched_rows,
                                         .count = BENCH_COUNT(patched_rows)};
