/* SPDX-License-Identifier: MIT */
/*
 * soak [seconds]: threads, timers, children, windows that come and go, all at once; and at the end
 * every access must be accounted for. SEED=n repeats the choices, as far as threads let it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crew.h"

enum { STALL = 20, TICK = 100000 };

/* Windows that stay have their memory until the end; what leads there lies outside of the heap. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:arena_new\n";
}

/* --- a watch over all threads --- */

static void print_file(const char *tid, const char *name)
{
	char path[300], text[2000];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%s/%s", tid, name);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0)
		dprintf(2, "soak:   %s: %.*s\n", name, (int)n, text);
}

static const char *role_of(pid_t tid)
{
	static const char *const names[] = {
		"-",
		"a thread",
		"one with an alternate stack",
		"one without libc",
		"the breeder",
		"a short-lived one",
		"the mapper",
		"the forker",
		"a child",
	};

	for (unsigned i = 0; i < CREW; i++)
		if (soak__crew[i].tid == tid)
			return names[soak__crew[i].role];
	return "the watch, or one of nobody's";
}

static void print_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *e;

	while (tasks && (e = readdir(tasks))) {
		if (e->d_name[0] == '.')
			continue;
		dprintf(2, "soak: thread %s, %s\n", e->d_name, role_of(atoi(e->d_name)));
		print_file(e->d_name, "stat");
		print_file(e->d_name, "wchan");
		print_file(e->d_name, "syscall");
		print_file(e->d_name, "stack");
	}
}

__attribute__((noreturn)) static void give_up(const char *why)
{
	soak__print_failures(2);
	dprintf(2, "soak: FAILED: %s\n", why);
	_exit(1);
}

static unsigned stalled(const struct member *m, unsigned i, unsigned limit)
{
	static uint64_t last[CREW];
	static unsigned since[CREW];
	bool works = m->tid && m->role != SHORT_LIVED && m->role != CHILD;

	since[i] = works && m->progress == last[i] ? since[i] + 1 : 0;
	last[i] = m->progress;
	return since[i] > limit;
}

static void watch(unsigned stall)
{
	if (soak__failures())
		give_up("stopped at the first failure");
	for (unsigned i = 0; i < CREW; i++) {
		if (!stalled(&soak__crew[i], i, stall * (1000000 / TICK)))
			continue;
		dprintf(2, "soak: no progress of %s (thread %d) in %u s\n",
		        role_of(soak__crew[i].tid), soak__crew[i].tid, stall);
		print_threads();
		give_up("a thread hangs");
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Joining hangs, too, if a thread does. */
static void *join(void *done)
{
	soak__crew_join();
	atomic_store((atomic_bool *)done, true);
	return NULL;
}

static void end_all(unsigned stall)
{
	static atomic_bool done;
	double until = now() + stall;
	pthread_t joiner;

	atomic_store(&soak__over, true);
	if (pthread_create(&joiner, NULL, join, &done))
		give_up("pthread_create");
	while (!done) {
		usleep(TICK);
		if (now() > until) {
			print_threads();
			give_up("a thread doesn't end");
		}
	}
	pthread_join(joiner, NULL);
}

/* --- the account --- */

static void row(const char *name, uint64_t count, double seconds)
{
	printf("  %-22s %12llu %12.0f/s\n", name, (unsigned long long)count,
	       (double)count / seconds);
}

static uint64_t print_accesses(double seconds)
{
	uint64_t total = 0;

	for (unsigned k = 0; k < KINDS; k++) {
		uint64_t sum = 0;

		for (unsigned g = 0; g < 2 * CREW; g++)
			sum += soak__gun[g].done[k];
		row(soak__kind_name[k], sum, seconds);
		total += sum;
	}
	return total;
}

static void print_account(double seconds)
{
	const struct tally *t = &soak__tally;
	uint64_t signals = t->strays, total;

	printf("\n");
	total = print_accesses(seconds);
	for (unsigned i = 0; i < CREW; i++)
		signals += soak__crew[i].signals;
	row("accesses, all in all", total, seconds);
	row("timers' signals", signals, seconds);
	row("  of ITIMER_PROF", t->prof, seconds);
	row("faults of the program", t->segv, seconds);
	row("  for a window gone", t->gone, seconds);
	row("windows mapped", t->maps, seconds);
	row("windows unmapped", t->unmaps, seconds);
	row("fork()", t->forks, seconds);
	row("vfork()", t->vforks, seconds);
	row("clone() as fork", t->clones, seconds);
	row("exec", t->execs, seconds);
	row("threads born", t->threads, seconds);
	row("failures", soak__failures(), seconds);
}

static void check_all(void)
{
	/* RAM is shared with children, whose doings aren't known here. */
	for (unsigned i = 0; i < CREW; i++)
		if (soak__crew[i].role == CHILD)
			soak__store_adopt(2 * i);
	soak__counters_agree(soak__gun, 2 * CREW);
	soak__wild_agrees();
	for (unsigned s = 0; s < STORES; s++) {
		for (unsigned r = 0; r < OWNED; r++) {
			const char *differs = soak__books_differ(&soak__store[s], r);

			if (soak__store[s].is_device && differs)
				soak__failed(differs, "in the end", "a device", s, r);
			if (memcmp(soak__store[s].memory + (size_t)r * REGION,
			           soak__store[s].twin + (size_t)r * REGION, REGION))
				soak__failed("memory", "in the end", "a store", s, r);
		}
	}
}

static uint64_t choose_seed(void)
{
	const char *given = getenv("SEED");
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return given && *given ? strtoull(given, NULL, 0) :
	                         (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Sanitizers and a loaded machine make all slower. */
static unsigned choose_stall(void)
{
	const char *mode = getenv("TEST_MODE");

	return mode && (!strcmp(mode, "asan") || !strcmp(mode, "tsan")) ? 4 * STALL : STALL;
}

static void soak(double seconds, uint64_t seed)
{
	double start = now(), end = start + seconds;
	unsigned stall = choose_stall();

	soak__wild_init(seed);
	soak__crew_start(seed);
	while (now() < end) {
		usleep(TICK);
		watch(stall);
	}
	end_all(stall);
	check_all();
	print_account(now() - start);
}

int main(int argc, char **argv)
{
	bool helper = argc > 2 && !strcmp(argv[1], "--helper");
	double seconds = argc > 1 && !helper ? atof(argv[1]) : 60;
	uint64_t seed = helper ? strtoull(argv[2], NULL, 0) : choose_seed();

	if (!helper)
		setenv("REGMAP_REPORT", "0", 1);
	else
		unsetenv("REGMAP_REPORT");
	soak__shot_init();
	soak__ops_init();
	soak__signals_init();
	soak__stores_init(seed);
	if (helper)
		return soak__helper(seed);
	printf("soak: %g s, SEED=%llu\n", seconds, (unsigned long long)seed);
	fflush(stdout);
	soak(seconds, seed);
	fflush(stdout);
	soak__print_failures(2);
	return soak__failures() ? 1 : 0;
}
