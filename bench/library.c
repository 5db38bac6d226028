/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "library.h"

enum { HEAP = 32 << 20 };

struct t_arena bench_plain_heap, bench_window_heap;

void bench_library_set_up(void)
{
	if (bench_plain_heap.place.length)
		return;
	bench_plain_heap.place = t_place_plain(HEAP);
	bench_window_heap.place = t_place_host(0xffff880000000000, HEAP);
}

void bench_library_clear(struct t_arena *heap)
{
	if (heap->live)
		bench_fail("the library kept %zu blocks", heap->live);
	heap->used = 0;
	memset(heap->free, 0, sizeof(heap->free));
}

/* --- counting faults: in front of libregmap's handler, which is none the wiser --- */

uint64_t bench_faults;
void (*bench_counted)(int, siginfo_t *, void *);
void bench_count(int signo, siginfo_t *info, void *uc);
__asm__(".pushsection .text\n"
        ".globl bench_count\n"
        ".type bench_count, @function\n"
        "bench_count:\n"
        "	lock incq bench_faults(%rip)\n"
        "	jmp *bench_counted(%rip)\n"
        ".size bench_count, . - bench_count\n"
        ".popsection\n");

static void count_faults(void)
{
	struct bench_action action;

	bench_swap_action(NULL, &action);
	bench_counted = action.handler;
	action.handler = bench_count;
	bench_swap_action(&action, NULL);
}

/* --- one run, in a process of its own --- */

struct run {
	double ns;
	double quick, warm_up; /* of each time, ns: see note_times() */
	uint64_t faults, sum;
	unsigned repeated;
	char why[120];
};

enum { MOST_SECONDS = 4 };

/*
 * A machine that others use, too, is quiet now and then: so long does one take that nobody disturbs.
 * And what those at the beginning took longer than the middle one of all.
 */
static void note_times(struct run *run, double *times)
{
	unsigned first = run->repeated / 10;
	double sum = 0;

	for (unsigned i = 0; i < first; i++)
		sum += times[i];
	run->warm_up = sum - first * bench_quartiles(times, run->repeated).median;
	run->quick = times[run->repeated / 20];
}

enum { MOST_TIMES = 1 << 15 };

/* @repeat times, or fewer if that takes too long. */
static void work(const struct bench_library *library, bool in_windows, unsigned repeat,
                 struct run *run)
{
	static double times[MOST_TIMES];
	double begin = bench_now();

	while (run->repeated < repeat && run->ns < MOST_SECONDS * 1e9) {
		double so_far = run->ns;

		run->sum = run->sum * 31 + library->work(in_windows);
		run->ns = bench_now() - begin;
		times[run->repeated++] = run->ns - so_far;
	}
	note_times(run, times);
}

static void run_here(const struct bench_library *library, unsigned threshold, unsigned repeat,
                     bool notes, struct run *run)
{
	const char *why = threshold ? bench_patch_on(threshold) : NULL;

	if (why) {
		strncpy(run->why, why, sizeof(run->why) - 1);
		return;
	}
	count_faults();
	work(library, true, repeat, run);
	run->faults = bench_faults;
	if (notes)
		bench_note_patches(library->name);
}

static struct run run_apart(const struct bench_library *library, unsigned threshold,
                            unsigned repeat)
{
	static struct run *shared;
	static bool noted;
	pid_t child;
	int status;

	if (!shared)
		shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		              0);
	if (shared == MAP_FAILED)
		bench_fail("no memory");
	*shared = (struct run){0};
	child = fork();
	if (!child) {
		run_here(library, threshold, repeat, threshold && !noted, shared);
		_exit(0);
	}
	noted |= threshold > 0;
	if (child < 0 || waitpid(child, &status, 0) != child)
		bench_fail("no process for a run: %s", strerror(errno));
	if (WIFSIGNALED(status))
		snprintf(shared->why, sizeof(shared->why), "FAILED: it died of SIG%s",
		         sigabbrev_np(WTERMSIG(status)));
	else if (status)
		strcpy(shared->why, "FAILED: it gave up");
	return *shared;
}

/* False: the row is left out. */
static bool compare(const struct bench_row *row, const struct run *plain, const struct run *run)
{
	if (run->why[0])
		return bench_skip(row, "%s", run->why);
	if (plain->sum != run->sum)
		return bench_skip(row, "FAILED: the results are not those on plain memory");
	return true;
}

/* --- rows --- */

bool bench_library_trapped(const struct bench_row *row, struct bench_sample *to)
{
	const struct bench_library *library = row->arg;
	struct run plain = {0}, trapped;

	work(library, false, 1, &plain);
	trapped = run_apart(library, 0, 1);
	if (!compare(row, &plain, &trapped))
		return false;
	to->base = plain.ns / 1e6;
	to->value = trapped.ns / 1e6;
	return true;
}

enum { THRESHOLD = 4 };

/* Rows may be of one run; none twice. */
enum { WHOLE = 1, STEADY = 2, WARM_UP = 4, SHARE = 8 };

static struct {
	const struct bench_library *of;
	unsigned used;
	struct run plain, patched;
} last;

static bool run_patched(const struct bench_row *row, unsigned use)
{
	const struct bench_library *library = row->arg;

	if (last.of != library || last.used & use) {
		last.of = library;
		last.used = 0;
		last.plain = (struct run){0};
		last.patched = run_apart(library, THRESHOLD, library->repeat);
		work(library, false, last.patched.repeated, &last.plain);
	}
	last.used |= use;
	return compare(row, &last.plain, &last.patched);
}

bool bench_library_patched(const struct bench_row *row, struct bench_sample *to)
{
	if (!run_patched(row, WHOLE))
		return false;
	to->base = last.plain.ns / 1e6;
	to->value = last.patched.ns / 1e6;
	return true;
}

bool bench_library_steady(const struct bench_row *row, struct bench_sample *to)
{
	if (!run_patched(row, STEADY))
		return false;
	to->base = last.plain.quick / 1e3;
	to->value = last.patched.quick / 1e3;
	return true;
}

bool bench_library_warm_up(const struct bench_row *row, struct bench_sample *to)
{
	if (!run_patched(row, WARM_UP))
		return false;
	to->value = last.patched.warm_up / 1e6;
	return true;
}

/* How often it faults without patching is how many accesses there are. */
static uint64_t accesses(const struct bench_library *library)
{
	static uint64_t count;

	if (!count)
		count = run_apart(library, 0, 1).faults;
	return count;
}

bool bench_library_share(const struct bench_row *row, struct bench_sample *to)
{
	double all;

	if (!run_patched(row, SHARE))
		return false;
	all = (double)accesses(row->arg) * last.patched.repeated;
	to->value = 100 * (1 - (double)last.patched.faults / all);
	return true;
}
