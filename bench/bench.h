/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's parts. A *row* is one figure. It is measured once per round, what it is held
 * against right beside it; medians and quartiles of the rounds are shown. A *part* is a file's rows
 * with what they need to be set up; an *area* is the parts that share a process: what one area maps
 * or patches, the next one doesn't see. docs/performance.md says how to read the figures.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <regmap/regmap.h>

/* What a row's samples are made into. */
enum bench_figure {
	BENCH_COST,    /* value / base: less is better */
	BENCH_SPEEDUP, /* base / value: more is better */
	BENCH_VALUE,   /* the value itself: less is better */
	BENCH_SHARE,   /* the value itself: more is better */
};

struct bench_sample {
	double value, base; /* base: unused where the row has none */
};

/* @n executions of one instruction on @at. */
typedef void (*bench_loop_fn)(uint64_t at, unsigned n);

struct bench_insn {
	bench_loop_fn loop;
	const uint8_t *length; /* of the instruction, bytes */
	const uint8_t *site;   /* its first byte */
};

struct bench_row {
	const char *name; /* area/subject/what: files are compared by it, so it doesn't change */
	const char *what; /* for people */
	const char *unit; /* of value and base */
	const char *base; /* what it is held against; NULL: nothing */
	enum bench_figure figure;
	double wanted;      /* the figure is to be at most (or at least) this; 0: no such aim */
	const char *series; /* a point of this curve, or NULL */
	double x;
	/* One round. False: it can't be measured; bench_skip() was told why. */
	bool (*measure)(const struct bench_row *row, struct bench_sample *to);
	/* What @measure wants to know; its own business. */
	const struct bench_insn *insn, *base_insn;
	uint64_t at, base_at, size;
	unsigned n;
	const void *arg;
};

struct bench_part {
	/* Fills in rows and count, where they depend on the machine. May be NULL. */
	void (*list)(struct bench_part *part);
	/* In the area's process, before the first round. NULL, or why its rows can't be measured. */
	const char *(*set_up)(void);
	bool in_turn; /* a row's rounds follow each other: what it sets up is costly */
	struct bench_row *rows;
	size_t count;
};

struct bench_area {
	const char *name, *title;
	struct bench_part *parts[6]; /* ends with NULL */
};

extern struct bench_part bench_patched, bench_patched_windows, bench_patched_threads,
	bench_patched_sites, bench_slot, bench_zlib, bench_sqlite, bench_crypto;
extern struct bench_part bench_access, bench_strings, bench_direct, bench_calls, bench_start,
	bench_windows, bench_threads, bench_sites, bench_syscalls;
/* Without DEVICES, they aren't there. */
extern struct bench_part bench_devices __attribute__((weak)),
	bench_devices_patched __attribute__((weak));
extern struct bench_part bench_peer_regmap, bench_peer_sigsegv, bench_peer_unicorn,
	bench_peer_ptrace, bench_peer_uffd;

/* --- harness --- */

/* The row is left out of this run, and why. */
bool bench_skip(const struct bench_row *row, const char *why, ...)
	__attribute__((format(printf, 2, 3)));
/* A line below the table. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The area's process ends, and all of its rows fail. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* --- what results are made of --- */

struct bench_quartiles {
	double low, median, high;
};

/* Sorts @values. */
struct bench_quartiles bench_quartiles(double *values, size_t count);

struct bench_result {
	const struct bench_row *row;
	const char *why; /* it was not measured; the rest is then undefined */
	bool failed;     /* though it should have been */
	struct bench_quartiles value, base, figure;
};

struct bench_report {
	const struct bench_result *results;
	size_t count;
	unsigned rounds;
	const char *notes; /* lines */
};

struct bench_machine {
	char cpu[96], kernel[160], libc[32], compiler[96], commit[64], date[32];
	long cores;
};

void bench_machine(struct bench_machine *m);
/* FILE * as void *, to keep <stdio.h> out. */
void bench_print_table(void *to, const struct bench_report *report);
void bench_print_json(void *to, const struct bench_report *report);

/* --- time --- */

/*
 * CPU time of the calling thread, ns: other processes on the machine count for less than they would
 * on the wall. The wall's clock is for what several threads or processes do in turn.
 */
double bench_now(void);
double bench_wall_now(void);
double bench_per_access(bench_loop_fn loop, uint64_t at, unsigned n);
double bench_wall_per_access(bench_loop_fn loop, uint64_t at, unsigned n);

/* --- the floor: a SIGSEGV handler that only steps over the instruction --- */

enum { BENCH_TRAPPED = 3000, BENCH_DIRECT = 200000 }; /* accesses per sample */

/* Where the floor's accesses fault: a page that is mapped without access. */
#define BENCH_FLOOR_AT 0x32000000ull

/* The kernel's own view of a disposition: libregmap answers sigaction() for the program. */
struct bench_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

void bench_swap_action(const struct bench_action *to, struct bench_action *from);
/* After the first window: remembers the disposition that libregmap has made. Idempotent. */
void bench_floor_set_up(void);
/* The floor's handler is there between the two; @length is what it steps over. */
void bench_floor_begin(unsigned length);
void bench_floor_end(void);
double bench_floor(const struct bench_insn *insn, unsigned n);
double bench_wall_floor(const struct bench_insn *insn, unsigned n); /* by the wall's clock */
/* A measure(): @insn on @at, against @base_insn (or @insn) stepped over. */
bool bench_against_floor(const struct bench_row *row, struct bench_sample *to);
/* A measure(): @insn on @at, against @base_insn (or @insn) on @base_at. */
bool bench_against_place(const struct bench_row *row, struct bench_sample *to);

/* --- windows and instructions that rows share --- */

/* Patching is on from here on. NULL, or why it can't be. */
const char *bench_patch_on(unsigned threshold);
void bench_patch_off(void);
/* Notes how many sites of @whom are patched, and why others aren't. */
void bench_note_patches(const char *whom);
/* After a few executions: false, and the row is skipped, if the site isn't patched. */
bool bench_is_patched(const struct bench_row *row, const void *site);
/* A loop is executed until its site is patched. How often it may be executed then: @most, or fewer
 * if it faults all the same; 0: it isn't patched, and the row is skipped. */
unsigned bench_warm_up(const struct bench_row *row, const struct bench_insn *insn, uint64_t at,
                       unsigned most);
/* A row: the access of a patched site against the floor. */
bool bench_patched_against_floor(const struct bench_row *row, struct bench_sample *to);

struct regmap_window *bench_map(struct regmap_config config); /* readable and writable, or fails */
uint64_t bench_scrambled(uint64_t *state, uint64_t below);

/* bench_load ..., and bench_hot_load ... for the same with patching on. */
#define BENCH_INSNS(X) \
	X(load) \
	X(store) \
	X(add) \
	X(xadd) \
	X(sse_load) \
	X(sse_store) \
	X(sse_multiply) \
	X(avx_load) \
	X(avx512_load) \
	X(x87_add) \
	X(long_load) \
	X(live_load) \
	X(general_load) \
	X(general_store) \
	X(device_load) \
	X(device_store) \
	X(register_load) \
	X(rule_load) \
	X(rule_store)
#define BENCH_DECLARE(name) extern const struct bench_insn bench_##name, bench_hot_##name;
BENCH_INSNS(BENCH_DECLARE)

#define BENCH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
