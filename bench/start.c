/* SPDX-License-Identifier: MIT */
/* What a process pays once: the first window installs the trap; the first access decodes. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "start.h"

#define HOST_AT 0x30000000ull

enum { FIRST_MAP, SECOND_MAP, FIRST_ACCESS, TIMES };

int bench_start_first(void)
{
	static uint8_t host[4096];
	struct regmap_config c = {.guest = HOST_AT,
	                          .length = 4096,
	                          .backing = REGMAP_HOST,
	                          .host = host};
	double t[TIMES + 1];

	t[FIRST_MAP] = bench_wall_now();
	bench_map(c);
	t[SECOND_MAP] = bench_wall_now();
	c.guest += 0x10000;
	bench_map(c);
	t[FIRST_ACCESS] = bench_wall_now();
	bench_load.loop(HOST_AT, 1);
	t[TIMES] = bench_wall_now();
	for (unsigned i = 0; i < TIMES; i++)
		printf("%.0f ", t[i + 1] - t[i]);
	printf("\n");
	return 0;
}

/* The three times, of one fresh process. */
static void run(double ns[TIMES])
{
	FILE *p = popen("exec /proc/$PPID/exe " BENCH_START_OPTION, "r");

	if (!p || fscanf(p, "%lf %lf %lf", &ns[0], &ns[1], &ns[2]) != TIMES || pclose(p))
		bench_fail("a fresh process didn't say how long its first window took");
}

static bool first(const struct bench_row *row, struct bench_sample *to)
{
	double ns[TIMES];

	run(ns);
	to->value = ns[row->size] / (double)row->n;
	return true;
}

static struct bench_row rows[] = {
	{.name = "start/first-window",
         .what = "the first regmap_map() of a fresh process",
         .unit = "ms",
         .figure = BENCH_VALUE,
         .wanted = 1,
         .measure = first,
         .size = FIRST_MAP,
         .n = 1000000},
	{.name = "start/next-window",
         .what = "the second one",
         .unit = "ms",
         .figure = BENCH_VALUE,
         .measure = first,
         .size = SECOND_MAP,
         .n = 1000000},
	{.name = "start/first-access",
         .what = "the first trapped access, all caches cold",
         .unit = "us",
         .figure = BENCH_VALUE,
         .measure = first,
         .size = FIRST_ACCESS,
         .n = 1000},
};

struct bench_part bench_start = {.rows = rows, .count = BENCH_COUNT(rows)};
