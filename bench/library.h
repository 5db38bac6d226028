/* SPDX-License-Identifier: MIT */
/*
 * A library at work on trapped windows: with patching, from the first fault on, against the same
 * work on plain memory. Each sample is a process of its own, so that it begins with no site patched.
 */
#ifndef BENCH_LIBRARY_H
#define BENCH_LIBRARY_H

#include "arena.h"
#include "bench.h"

struct bench_library {
	const char *name;
	/* Does its work once, all memory that it can be told of being the windows' or plain. Returns a
	 * checksum of what came out: to be the same each time. */
	uint64_t (*work)(bool in_windows);
	unsigned
		repeat; /* a run is so often, a quarter of a second on plain memory, or 3 seconds */
};

/* measure() of these kinds of rows, whose @arg is the library. */
bool bench_library_trapped(const struct bench_row *row, struct bench_sample *to);
bool bench_library_patched(const struct bench_row *row, struct bench_sample *to);
bool bench_library_steady(const struct bench_row *row, struct bench_sample *to);
bool bench_library_warm_up(const struct bench_row *row, struct bench_sample *to);
bool bench_library_share(const struct bench_row *row, struct bench_sample *to);

#define BENCH_LIBRARY_ROWS(id, name_, library) \
	{.name = id "/trapped", \
	 .what = name_ " on windows, each access trapped", \
	 .unit = "ms", \
	 .base = "memory", \
	 .figure = BENCH_COST, \
	 .measure = bench_library_trapped, \
	 .arg = &library}, \
		{.name = id "/patched", \
	         .what = name_ " on windows, patched: the whole run", \
	         .unit = "ms", \
	         .base = "memory", \
	         .figure = BENCH_COST, \
	         .wanted = 5, \
	         .measure = bench_library_patched, \
	         .arg = &library}, \
		{.name = id "/steady", \
	         .what = name_ \
	         " on windows, patched: once, when all is patched (the quickest 20th)", \
	         .unit = "us", \
	         .base = "memory", \
	         .figure = BENCH_COST, \
	         .measure = bench_library_steady, \
	         .arg = &library}, \
		{.name = id "/warm-up", \
	         .what = name_ " on windows, patched: what the first tenth takes longer", \
	         .unit = "ms", \
	         .figure = BENCH_VALUE, \
	         .measure = bench_library_warm_up, \
	         .arg = &library}, \
	{ \
		.name = id "/share", .what = name_ " on windows: accesses by patched sites", \
		.unit = "%", .figure = BENCH_SHARE, .wanted = 95, .measure = bench_library_share, \
		.arg = &library \
	}

/* Where a library works: memory of its own for each of the two. */
extern struct t_arena bench_plain_heap, bench_window_heap;
/* Lays both. Idempotent. */
void bench_library_set_up(void);
/* The blocks that one run left are forgotten; begins and ends with none. */
void bench_library_clear(struct t_arena *heap);

#endif
