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
	const struct bench_insn *insn;
	uint64_t at;
	unsigned n;
	double ns;
} __attribute__((aligned(128)));

static pthread_barrier_t gate;

static void *work(void *arg)
{
	struct worker *w = arg;

	pthread_barrier_wait(&gate);
	w->ns = bench_per_access(w->insn->loop, w->at, w->n);
	return NULL;
}

/* The mean of what the threads saw */
static double together(unsigned count, const struct worker *like, uint64_t apart)
{
	struct worker *workers = aligned_alloc(128, count * sizeof(*workers));
	double sum = 0;

	if (!workers || pthread_barrier_init(&gate, NULL, count))
		bench_fail("no memory");
	for (unsigned i = 0; i < count; i++) {
		workers[i] = *like;
		workers[i].at += i * apart;
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
	unsigned count = (uint32_t)row->size, n = row->n;

	if (row->insn == &bench_hot_load)
		n = bench_warm_up(row, row->insn, HOST_AT, n);
	if (!n)
		return false;
	bench_floor_begin(*bench_load.length);
	to->base = together(count,
	                    &(struct worker){.insn = &bench_load,
	                                     .at = BENCH_FLOOR_AT,
	                                     .n = BENCH_TRAPPED},
	                    0);
	bench_floor_end();
	to->value = together(count, &(struct worker){.insn = row->insn, .at = HOST_AT, .n = n},
	                     row->size >> 32);
	return true;
}

enum kind { APART_TRAPPED, SHARED_TRAPPED, APART_PATCHED };

/* size: how many threads, and above 32 bits how far apart their windows are. */
static const struct bench_row templates[] = {
	[APART_TRAPPED] = {.name = "threads/apart",
                           .what = "integer load, a window for each thread",
                           .figure = BENCH_COST,
                           .wanted = 1.02,
                           .insn = &bench_load,
                           .n = BENCH_TRAPPED,
                           .size = (uint64_t)APART << 32},
	[SHARED_TRAPPED] = {.name = "threads/shared",
                            .what = "integer load, one window for all threads",
                            .figure = BENCH_COST,
                            .insn = &bench_load,
                            .n = BENCH_TRAPPED},
	[APART_PATCHED] = {.name = "threads/patched",
                           .what = "patched load, a window for each thread",
                           .figure = BENCH_SPEEDUP,
                           .wanted = 400,
                           .insn = &bench_hot_load,
                           .n = 10 * BENCH_DIRECT,
                           .size = (uint64_t)APART << 32},
};

static struct bench_row make(enum kind kind, long threads)
{
	struct bench_row row = templates[kind];
	char *name, *text;

	if (asprintf(&name, "%s/%ld", row.name, threads) < 0 ||
	    asprintf(&text, "%s, threads: %ld", row.what, threads) < 0)
		bench_fail("no memory");
	row.series = row.name;
	row.name = name;
	row.what = text;
	row.unit = "ns";
	row.base = "floor";
	row.measure = measure;
	row.size += (uint64_t)threads;
	row.x = (double)threads;
	return row;
}

/* 1, 2, 4 ... and all */
static void list_kinds(struct bench_part *part, enum kind first, enum kind last)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	part->rows = calloc(2 * 64, sizeof(*part->rows));
	if (!part->rows)
		bench_fail("no memory");
	for (long n = 1; n <= cores; n = n == cores || 2 * n <= cores ? 2 * n : cores)
		for (enum kind kind = first; kind <= last; kind++)
			part->rows[part->count++] = make(kind, n);
}

static void list(struct bench_part *part)
{
	list_kinds(part, APART_TRAPPED, SHARED_TRAPPED);
}

static void list_patched(struct bench_part *part)
{
	list_kinds(part, APART_PATCHED, APART_PATCHED);
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

static const char *set_up_patched(void)
{
	set_up();
	return bench_patch_on(4);
}

struct bench_part bench_patched_threads = {.list = list_patched, .set_up = set_up_patched};
