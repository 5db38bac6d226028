/* SPDX-License-Identifier: MIT */
/*
 * From one thread to one per core, each on a window of its own: what an access costs a thread, held
 * against the floor with as many threads. What they share shows as a figure that rises.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

#define HOST_AT 0x30000000ull

enum { APART = 0x10000 };

/* One run: all threads begin together; what the slowest takes counts for none but itself. */
struct worker {
	pthread_t thread;
	uint64_t at;
	double ns;
} __attribute__((aligned(128)));

static pthread_barrier_t gate;

static void *work(void *arg)
{
	struct worker *w = arg;

	pthread_barrier_wait(&gate);
	w->ns = bench_per_access(bench_load.loop, w->at, BENCH_TRAPPED);
	return NULL;
}

/* The mean of what the threads saw */
static double together(unsigned count, uint64_t at, uint64_t apart)
{
	struct worker *workers = aligned_alloc(128, count * sizeof(*workers));
	double sum = 0;

	if (!workers || pthread_barrier_init(&gate, NULL, count))
		bench_fail("no memory");
	for (unsigned i = 0; i < count; i++) {
		workers[i].at = at + i * apart;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			bench_fail("no thread %u of %u", i + 1, count);
	}
	for (unsigned i = 0; i < count; i++) {
		pthread_join(workers[i].thread, NULL);
		sum += workers[i].ns;
	}
	pthread_barrier_destroy(&gate);
	free(workers);
	return sum / count;
}

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	unsigned count = (unsigned)row->size;

	bench_floor_begin(*bench_load.length);
	to->base = together(count, BENCH_FLOOR_AT, 0);
	bench_floor_end();
	to->value = together(count, HOST_AT, row->n);
	return true;
}

static struct bench_row make(const char *kind, const char *what, long threads, unsigned apart)
{
	struct bench_row row = {.unit = "ns",
	                        .base = "floor",
	                        .figure = BENCH_COST,
	                        .wanted = apart ? 1.02 : 0,
	                        .measure = measure,
	                        .size = (uint64_t)threads,
	                        .n = apart,
	                        .x = (double)threads};
	char *name, *text, *series;

	if (asprintf(&name, "threads/%s/%ld", kind, threads) < 0 ||
	    asprintf(&text, "integer load, %s, threads: %ld", what, threads) < 0 ||
	    asprintf(&series, "threads/%s", kind) < 0)
		bench_fail("no memory");
	row.name = name;
	row.what = text;
	row.series = series;
	return row;
}

/* 1, 2, 4 ... and all */
static void list(struct bench_part *part)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	part->rows = calloc(2 * 64, sizeof(*part->rows));
	if (!part->rows)
		bench_fail("no memory");
	for (long n = 1; n <= cores; n = n == cores || 2 * n <= cores ? 2 * n : cores) {
		part->rows[part->count++] = make("apart", "a window for each thread", n, APART);
		part->rows[part->count++] = make("shared", "one window for all threads", n, 0);
	}
}

static const char *set_up(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint8_t *host = aligned_alloc(4096, (size_t)cores * 4096);

	if (!host)
		bench_fail("no memory");
	for (long i = 0; i < cores; i++)
		bench_map((struct regmap_config){.guest = HOST_AT + (uint64_t)i * APART,
		                                 .length = 4096,
		                                 .backing = REGMAP_HOST,
		                                 .host = host + i * 4096});
	bench_floor_set_up();
	return NULL;
}

struct bench_part bench_threads = {.list = list, .set_up = set_up};
