/* SPDX-License-Identifier: MIT */
/*
 * What libregmap costs, and what others would. Each area is measured in a child process of its own,
 * whose samples come back in shared memory: an area that dies costs its own rows only. Nothing here
 * is asserted; the status is 1 where something failed that should have been measured.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "start.h"

static struct bench_area areas[] = {
	{"access", "trapped accesses", {&bench_access}},
	{"strings", "repeated string instructions", {&bench_strings}},
	{"direct", "what is mapped directly", {&bench_direct}},
	{"calls", "calls that copy and look up", {&bench_calls}},
	{"start", "the first window of a process", {&bench_start}},
	{"windows", "many windows", {&bench_windows}},
	{"threads", "many threads", {&bench_threads}},
	{"sites", "many sites", {&bench_sites}},
	{"patched", "patched sites", {&bench_patched}},
	{"slot", "the code of patched sites alone", {&bench_slot}},
	{"windows-patched", "many windows, patched", {&bench_patched_windows}},
	{"threads-patched", "many threads, patched", {&bench_patched_threads}},
	{"sites-patched", "many sites, patched", {&bench_patched_sites}},
	{"zlib", "zlib on windows", {&bench_zlib}},
	{"sqlite", "SQLite on windows", {&bench_sqlite}},
	{"crypto", "libcrypto on windows", {&bench_crypto}},
	{"syscalls", "system calls on windows", {&bench_syscalls}},
	{"devices", "described devices", {&bench_devices}},
	{"devices-patched", "described devices, patched", {&bench_devices_patched}},
	/* What libsigsegv installs is to be there before libregmap's first window. */
	{"peers",
         "what else there is",
         {&bench_peer_sigsegv, &bench_peer_regmap, &bench_peer_unicorn, &bench_peer_ptrace,
          &bench_peer_uffd}},
};

enum { ROUNDS = 21, MOST_ROUNDS = 1001, MOST_PATTERNS = 32, WHY = 200, NOTES = 8192, MINUTES = 15 };

static unsigned rounds = ROUNDS;
static const char *patterns[MOST_PATTERNS], *json;
static size_t pattern_count;

/* What an area's process leaves for us, a row's first sample at samples[index * rounds]. */
struct outcome {
	unsigned measured; /* rounds */
	char why[WHY];
};

static struct {
	struct outcome *outcomes;
	struct bench_sample *samples;
	char *notes;
} shared;

static const struct bench_row **all;
static size_t all_count;

/* --- rows --- */

static bool chosen(const struct bench_row *row)
{
	for (size_t i = 0; i < pattern_count; i++)
		if (strpbrk(patterns[i], "*?[") ? !fnmatch(patterns[i], row->name, 0) :
		                                  !!strstr(row->name, patterns[i]))
			return true;
	return !pattern_count;
}

static void list_part(struct bench_part *part)
{
	if (part->list)
		part->list(part);
	all = realloc(all, (all_count + part->count + 1) * sizeof(*all));
	if (!all)
		bench_fail("no memory");
	for (size_t i = 0; i < part->count; i++)
		if (chosen(&part->rows[i]))
			all[all_count++] = &part->rows[i];
}

static size_t index_of(const struct bench_row *row)
{
	size_t i = 0;

	while (i < all_count && all[i] != row)
		i++;
	return i;
}

static void *share(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_fail("no memory for %zu bytes of samples", size);
	return p;
}

/* --- in an area's process --- */

bool bench_skip(const struct bench_row *row, const char *why, ...)
{
	size_t i = index_of(row);
	va_list args;

	if (i == all_count)
		return false;
	va_start(args, why);
	vsnprintf(shared.outcomes[i].why, WHY, why, args);
	va_end(args);
	return false;
}

void bench_note(const char *format, ...)
{
	size_t used = strlen(shared.notes);
	va_list args;

	va_start(args, format);
	vsnprintf(shared.notes + used, NOTES - used - 1, format, args);
	va_end(args);
	strcat(shared.notes, "\n");
}

void bench_fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "bench: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	_exit(1);
}

static void measure(const struct bench_row *row)
{
	size_t i = index_of(row);
	struct outcome *outcome = &shared.outcomes[i];

	if (i == all_count || outcome->why[0])
		return;
	if (row->measure(row, &shared.samples[i * rounds + outcome->measured]))
		outcome->measured++;
	else if (!outcome->why[0])
		bench_skip(row, "it can't be measured here");
}

static void measure_round(const struct bench_part *part)
{
	for (size_t i = 0; i < part->count; i++)
		for (unsigned round = 0; round < (part->in_turn ? rounds : 1); round++)
			measure(&part->rows[i]);
}

static bool wants(const struct bench_part *part)
{
	for (size_t i = 0; i < part->count; i++)
		if (index_of(&part->rows[i]) < all_count)
			return true;
	return false;
}

static void set_up(const struct bench_part *part)
{
	const char *why = part->set_up ? part->set_up() : NULL;

	for (size_t i = 0; why && i < part->count; i++)
		bench_skip(&part->rows[i], "%s", why);
}

static void run_area(const struct bench_area *area)
{
	alarm(MINUTES * 60);
	for (unsigned p = 0; area->parts[p]; p++)
		if (wants(area->parts[p]))
			set_up(area->parts[p]);
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned p = 0; area->parts[p]; p++)
			if (!area->parts[p]->in_turn || !round)
				measure_round(area->parts[p]);
	fflush(NULL);
	_exit(0);
}

/* --- in the first process --- */

static void fail_row(const struct bench_row *row, int status)
{
	size_t i = index_of(row);
	struct outcome *o = &shared.outcomes[i];

	if (i == all_count || o->why[0] || o->measured == rounds)
		return;
	if (WIFSIGNALED(status))
		snprintf(o->why, WHY, "FAILED: its process died of SIG%s",
		         sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(o->why, WHY, "FAILED: its process gave up");
}

static void fail_area(const struct bench_area *area, int status)
{
	for (unsigned p = 0; area->parts[p]; p++)
		for (size_t i = 0; i < area->parts[p]->count; i++)
			fail_row(&area->parts[p]->rows[i], status);
}

static void try_area(const struct bench_area *area)
{
	bool wanted = false;
	int status;
	pid_t child;

	for (unsigned p = 0; area->parts[p]; p++)
		wanted |= wants(area->parts[p]);
	if (!wanted)
		return;
	fprintf(stderr, "bench: %s ...\n", area->title);
	fflush(NULL);
	child = fork();
	if (!child)
		run_area(area);
	if (child < 0 || waitpid(child, &status, 0) != child)
		bench_fail("%s: %s", area->name, strerror(errno));
	fail_area(area, status);
}

static double figure_of(const struct bench_row *row, const struct bench_sample *s)
{
	switch (row->figure) {
	case BENCH_COST: return s->value / s->base;
	case BENCH_SPEEDUP: return s->base / s->value;
	default: return s->value;
	}
}

static struct bench_result result_of(size_t i)
{
	const struct bench_sample *s = &shared.samples[i * rounds];
	struct bench_result r = {.row = all[i]};
	double value[MOST_ROUNDS], base[MOST_ROUNDS], figure[MOST_ROUNDS];

	if (shared.outcomes[i].why[0])
		r.why = shared.outcomes[i].why;
	r.failed = r.why && !strncmp(r.why, "FAILED", 6);
	if (r.why)
		return r;
	for (unsigned k = 0; k < rounds; k++) {
		value[k] = s[k].value;
		base[k] = s[k].base;
		figure[k] = figure_of(all[i], &s[k]);
	}
	r.value = bench_quartiles(value, rounds);
	r.base = bench_quartiles(base, rounds);
	r.figure = bench_quartiles(figure, rounds);
	return r;
}

static void print_list(void)
{
	for (size_t i = 0; i < all_count; i++)
		printf("%-36s %s\n", all[i]->name, all[i]->what);
}

static void print_help(void)
{
	puts("usage: bench [option]...\n"
	     "  --only PATTERN  rows whose name contains it, or, with * ? [ in it, matches it whole;\n"
	     "                  may be given several times\n"
	     "  --rounds N      samples per row, 1 to 1001 (21)\n"
	     "  --json FILE     the results as JSON, too; - is standard output, and the table then\n"
	     "                  goes to standard error\n"
	     "  --list          the rows' names, and nothing is measured\n"
	     "  --help          this");
}

static void complain(const char *what, const char *value)
{
	fprintf(stderr, "bench: %s%s%s; bench --help lists the options\n", what, value ? ": " : "",
	        value ? value : "");
	exit(2);
}

static unsigned parse_rounds(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < 1 || n > MOST_ROUNDS)
		complain("--rounds wants a number from 1 to 1001, not", text);
	return (unsigned)n;
}

static void add_pattern(const char *text)
{
	if (pattern_count == MOST_PATTERNS)
		complain("at most 32 times --only", NULL);
	patterns[pattern_count++] = text;
}

/* Returns whether only the list is wanted. */
static bool parse(int argc, char **argv)
{
	static const struct option options[] = {{"only", required_argument, NULL, 'o'},
	                                        {"rounds", required_argument, NULL, 'r'},
	                                        {"json", required_argument, NULL, 'j'},
	                                        {"list", no_argument, NULL, 'l'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {NULL, 0, NULL, 0}};
	bool list = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'o': add_pattern(optarg); break;
		case 'r': rounds = parse_rounds(optarg); break;
		case 'j': json = optarg; break;
		case 'l': list = true; break;
		case 'h': print_help(); exit(0);
		default: complain("no such option, or one without its value", argv[optind - 1]);
		}
	if (optind < argc)
		complain("it takes no such argument", argv[optind]);
	return list;
}

/* Before anything is measured: what can't be written should not cost minutes. */
static FILE *open_json(void)
{
	FILE *to = !json ? NULL : strcmp(json, "-") ? fopen(json, "w") : stdout;

	if (json && !to) {
		fprintf(stderr, "bench: %s: %s\n", json, strerror(errno));
		exit(2);
	}
	return to;
}

static int report(FILE *to)
{
	struct bench_result *results = calloc(all_count, sizeof(*results));
	struct bench_report report = {results, all_count, rounds, shared.notes};
	bool failed = false;

	if (!results)
		bench_fail("no memory");
	for (size_t i = 0; i < all_count; i++) {
		results[i] = result_of(i);
		failed |= results[i].failed;
	}
	bench_print_table(to == stdout ? stderr : stdout, &report);
	if (to) {
		bench_print_json(to, &report);
		if (fflush(to) || ferror(to) || (to != stdout && fclose(to)))
			bench_fail("%s: %s", json, strerror(errno));
	}
	free(results);
	return failed;
}

int main(int argc, char **argv)
{
	FILE *to;

	if (argc == 2 && !strcmp(argv[1], BENCH_START_OPTION))
		return bench_start_first();
	bool list = parse(argc, argv);

	for (unsigned a = 0; a < BENCH_COUNT(areas); a++)
		for (unsigned p = 0; areas[a].parts[p]; p++)
			list_part(areas[a].parts[p]);
	if (!all_count)
		complain("no row has such a name; bench --list shows them", patterns[0]);
	if (list) {
		print_list();
		return 0;
	}
	to = open_json();
	shared.outcomes = share(all_count * sizeof(struct outcome));
	shared.samples = share(all_count * rounds * sizeof(struct bench_sample));
	shared.notes = share(NOTES);
	for (unsigned a = 0; a < BENCH_COUNT(areas); a++)
		try_area(&areas[a]);
	return report(to);
}
