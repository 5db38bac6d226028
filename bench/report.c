/* SPDX-License-Identifier: MIT */
/* Results as a table for people and as JSON for programs; docs/performance.md has the schema. */
#define _GNU_SOURCE
#include <gnu/libc-version.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Between two samples, in proportion: as spreadsheets and most of statistics do. */
static double quantile(const double *sorted, size_t count, double q)
{
	double at = q * (double)(count - 1);
	size_t below = (size_t)at, above = below + 1 < count ? below + 1 : below;

	return sorted[below] + (sorted[above] - sorted[below]) * (at - (double)below);
}

struct bench_quartiles bench_quartiles(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	return (struct bench_quartiles){quantile(values, count, 0.25), quantile(values, count, 0.5),
	                                quantile(values, count, 0.75)};
}

/* --- the machine --- */

static void cpu_name(char *to, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(to, size, "unknown");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
			snprintf(to, size, "%s", strchr(line, ':') + 2);
			to[strcspn(to, "\n")] = 0;
			break;
		}
	if (f)
		fclose(f);
}

void bench_machine(struct bench_machine *m)
{
	const char *commit = getenv("BENCH_COMMIT");
	time_t now = time(NULL);
	struct utsname u;

	memset(m, 0, sizeof(*m));
	cpu_name(m->cpu, sizeof(m->cpu));
	uname(&u);
	snprintf(m->kernel, sizeof(m->kernel), "%.20s %.64s %.20s", u.sysname, u.release,
	         u.machine);
	snprintf(m->libc, sizeof(m->libc), "glibc %s", gnu_get_libc_version());
#ifdef __clang__
	snprintf(m->compiler, sizeof(m->compiler), "%s", __VERSION__);
#else
	snprintf(m->compiler, sizeof(m->compiler), "gcc %s", __VERSION__);
#endif
	snprintf(m->commit, sizeof(m->commit), "%s", commit && *commit ? commit : "unknown");
	strftime(m->date, sizeof(m->date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	m->cores = sysconf(_SC_NPROCESSORS_ONLN);
}

/* --- the table --- */

/* At most four significant digits, and no exponent. */
static const char *number(char *to, double v)
{
	int digits = v == 0 ? 0 : 3 - (int)floor(log10(fabs(v)));

	sprintf(to, "%.*f", digits < 0 ? 0 : digits > 4 ? 4 : digits, v);
	return to;
}

static bool more_is_better(const struct bench_row *row)
{
	return row->figure == BENCH_SPEEDUP || row->figure == BENCH_SHARE;
}

static bool as_wanted(const struct bench_result *r)
{
	return more_is_better(r->row) ? r->figure.median >= r->row->wanted :
	                                r->figure.median <= r->row->wanted;
}

static void print_result(FILE *to, const struct bench_result *r)
{
	const struct bench_row *row = r->row;
	char a[32], b[32], c[32], d[32], e[32], spread[80], wanted[64] = "";

	fprintf(to, "%-32s ", row->name);
	if (r->why) {
		fprintf(to, "%s\n", r->why);
		return;
	}
	if (row->wanted > 0)
		sprintf(wanted, "%s %s %s",
		        more_is_better(row) ? ">=" : "<=", number(a, row->wanted),
		        as_wanted(r) ? "yes" : "no");
	sprintf(spread, "(%s .. %s)", number(d, r->figure.low), number(e, r->figure.high));
	fprintf(to, "%9s %-3s %9s  %-16s %8s  %-22s %s\n", number(a, r->value.median), row->unit,
	        row->base ? number(b, r->base.median) : "", row->base ? row->base : "",
	        number(c, r->figure.median), spread, wanted);
}

void bench_print_table(void *stream, const struct bench_report *report)
{
	struct bench_machine m;
	FILE *to = stream;

	bench_machine(&m);
	fprintf(to, "%s, %ld cores; %s; %s; %s; commit %s; %s; rounds: %u\n\n", m.cpu, m.cores,
	        m.kernel, m.libc, m.compiler, m.commit, m.date, report->rounds);
	fprintf(to, "%-32s %9s %-3s %9s  %-16s %8s  %-22s %s\n", "row", "costs", "", "against",
	        "which is", "figure", "(its quartiles)", "wanted");
	for (size_t i = 0; i < report->count; i++)
		print_result(to, &report->results[i]);
	if (report->notes && *report->notes)
		fprintf(to, "\n%s", report->notes);
}

/* --- JSON --- */

static void print_string(FILE *to, const char *s)
{
	putc('"', to);
	for (; *s; s++)
		if ((unsigned char)*s < 0x20)
			fprintf(to, "\\u%04x", (unsigned char)*s);
		else
			fprintf(to, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	putc('"', to);
}

static void print_member(FILE *to, const char *name, const char *value)
{
	fprintf(to, ", \"%s\": ", name);
	if (value)
		print_string(to, value);
	else
		fprintf(to, "null");
}

static void print_quartiles(FILE *to, const char *name, const struct bench_quartiles *q)
{
	fprintf(to, ", \"%s\": [%.9g, %.9g, %.9g]", name, q->low, q->median, q->high);
}

static void print_row(FILE *to, const struct bench_result *r)
{
	static const char *const figures[] = {[BENCH_COST] = "cost",
	                                      [BENCH_SPEEDUP] = "speedup",
	                                      [BENCH_VALUE] = "value",
	                                      [BENCH_SHARE] = "share"};
	const struct bench_row *row = r->row;

	fprintf(to, "  {\"name\": ");
	print_string(to, row->name);
	print_member(to, "what", row->what);
	print_member(to, "unit", row->unit);
	print_member(to, "base", row->base);
	print_member(to, "kind", figures[row->figure]);
	print_member(to, "better", more_is_better(row) ? "more" : "less");
	print_member(to, "series", row->series);
	if (row->series)
		fprintf(to, ", \"x\": %.9g", row->x);
	if (row->wanted > 0)
		fprintf(to, ", \"wanted\": %.9g", row->wanted);
	if (r->why) {
		print_member(to, r->failed ? "failed" : "skipped", r->why);
	} else {
		print_quartiles(to, "value", &r->value);
		if (row->base)
			print_quartiles(to, "base_value", &r->base);
		print_quartiles(to, "figure", &r->figure);
	}
	fprintf(to, "}");
}

static void print_notes(FILE *to, const char *notes)
{
	const char *before = "";

	fprintf(to, "\"notes\": [");
	while (notes && *notes) {
		char line[512];
		int n = (int)strcspn(notes, "\n");

		snprintf(line, sizeof(line), "%.*s", n, notes);
		fprintf(to, "%s\n  ", before);
		print_string(to, line);
		before = ",";
		notes += notes[n] ? n + 1 : n;
	}
	fprintf(to, "]");
}

void bench_print_json(void *stream, const struct bench_report *report)
{
	struct bench_machine m;
	FILE *to = stream;

	bench_machine(&m);
	fprintf(to, "{\"schema\": \"regmap-bench/1\"");
	print_member(to, "date", m.date);
	print_member(to, "commit", m.commit);
	print_member(to, "compiler", m.compiler);
	print_member(to, "libc", m.libc);
	print_member(to, "kernel", m.kernel);
	print_member(to, "cpu", m.cpu);
	fprintf(to, ", \"cores\": %ld, \"rounds\": %u,\n\"rows\": [\n", m.cores, report->rounds);
	for (size_t i = 0; i < report->count; i++) {
		print_row(to, &report->results[i]);
		fprintf(to, i + 1 < report->count ? ",\n" : "\n");
	}
	fprintf(to, "],\n");
	print_notes(to, report->notes);
	fprintf(to, "}\n");
}
