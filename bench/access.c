/* SPDX-License-Identifier: MIT */
/*
 * What an access costs, as a ratio to the floor: the same access with a handler that does nothing
 * but step over the instruction. Each round measures every row and the floor right beside it; the
 * table shows the median of the rounds' ratios and their quartiles. Nothing here is asserted.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <regmap/regmap.h>

enum { ROUNDS = 21, TRAPPED = 3000, DIRECT = 200000, MANY = 100000, LOOKUPS = 200000 };

#define HOST_AT 0x30000000ull
#define RAM_AT 0x31000000ull
#define DEVICE_AT 0x40021000ull
#define FLOOR_AT 0x32000000ull
#define MANY_AT 0x100000000000ull

/* The kernel's own view of a disposition: libregmap answers sigaction() for the program. */
struct kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static struct kernel_sigaction ours, floor_action;

static void swap(const struct kernel_sigaction *to, struct kernel_sigaction *from)
{
	syscall(SYS_rt_sigaction, SIGSEGV, to, from, 8);
}

/* Both instructions below are written with fixed lengths. */
enum { INTEGER_LENGTH = 3, VECTOR_LENGTH = 4 };

static int floor_length;

static void step_over(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)info;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP] += floor_length;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void load_integer(uint64_t at, unsigned n)
{
	uint64_t value;

	while (n--)
		__asm__ volatile("mov (%1), %0" : "=a"(value) : "D"(at) : "memory");
}

static void add_integer(uint64_t at, unsigned n)
{
	while (n--)
		__asm__ volatile("add %0, (%1)" : : "a"(1ull), "D"(at) : "memory", "cc");
}

static void load_vector(uint64_t at, unsigned n)
{
	while (n--)
		__asm__ volatile("movdqu (%0), %%xmm0" : : "D"(at) : "memory", "xmm0");
}

static void load_wide(uint64_t at, unsigned n)
{
	while (n--)
		__asm__ volatile("vmovdqu (%0), %%ymm0" : : "D"(at) : "memory", "xmm0");
}

static void multiply_vector(uint64_t at, unsigned n)
{
	while (n--)
		__asm__ volatile("mulps (%0), %%xmm0" : : "D"(at) : "memory", "xmm0");
}

/* One window after the other would do the predictors a favour: a scrambled order. */
static uint64_t scrambled(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (*state >> 33) % MANY;
}

static void translate(uint64_t at, unsigned n)
{
	static uint64_t state;
	void *host;

	while (n--)
		if (regmap_translate(at + scrambled(&state) * 32, &host))
			abort();
}

static void translate_one(uint64_t at, unsigned n)
{
	void *host;

	while (n--)
		if (regmap_translate(at, &host))
			abort();
}

static void load_scattered(uint64_t at, unsigned n)
{
	static uint64_t state;
	uint64_t value;

	while (n--)
		__asm__ volatile("mov (%1), %0"
		                 : "=a"(value)
		                 : "D"(at + scrambled(&state) * 32)
		                 : "memory");
}

typedef void (*loop_fn)(uint64_t at, unsigned n);

static double per_access(loop_fn loop, uint64_t at, unsigned n)
{
	double begin = now();

	loop(at, n);
	return (now() - begin) / n;
}

static double floor_of(loop_fn loop, int length)
{
	double ns;

	floor_length = length;
	swap(&floor_action, &ours);
	ns = per_access(loop, FLOOR_AT, TRAPPED);
	swap(&ours, NULL);
	return ns;
}

enum base { BASE_FLOOR, BASE_PLAIN, BASE_FEW }; /* what a row is held against */

struct row {
	const char *name;
	loop_fn loop;
	uint64_t at;
	unsigned n;
	enum base base;
	loop_fn base_loop;
	int length; /* of the instruction that the floor steps over */
	bool among_many;
	double ratio[ROUNDS], ns[ROUNDS], base_ns[ROUNDS];
};

static uint64_t plain[8192];

static struct row rows[] = {
	{"integer load, host window", load_integer, HOST_AT, TRAPPED, BASE_FLOOR, load_integer,
         INTEGER_LENGTH},
	{"integer add to memory, host window", add_integer, HOST_AT, TRAPPED, BASE_FLOOR,
         add_integer, INTEGER_LENGTH},
	{"integer load, device window", load_integer, DEVICE_AT, TRAPPED, BASE_FLOOR, load_integer,
         INTEGER_LENGTH},
	{"integer load, register page", load_integer, 8, TRAPPED, BASE_FLOOR, load_integer,
         INTEGER_LENGTH},
	{"SSE load, host window", load_vector, HOST_AT, TRAPPED, BASE_FLOOR, load_vector,
         VECTOR_LENGTH},
	{"SSE multiply, host window", multiply_vector, HOST_AT, TRAPPED, BASE_FLOOR, load_integer,
         INTEGER_LENGTH},
	{"AVX load, host window", load_wide, HOST_AT, TRAPPED, BASE_FLOOR, load_wide,
         VECTOR_LENGTH},
	{"integer load, RAM window (direct) / plain memory", load_integer, RAM_AT, DIRECT,
         BASE_PLAIN, load_integer, 0},
	{"integer load, a window among 100,000 / among four", load_integer, MANY_AT + MANY / 2 * 32,
         TRAPPED, BASE_FEW, load_integer, 0, true},
	{"the same, scattered over all 100,000", load_scattered, MANY_AT, TRAPPED, BASE_FEW,
         load_integer, 0, true},
	{"regmap_translate() among 100,000 / among four", translate_one, MANY_AT + MANY / 2 * 32,
         LOOKUPS, BASE_FEW, translate_one, 0, true},
	{"the same, scattered over all 100,000", translate, MANY_AT, LOOKUPS, BASE_FEW,
         translate_one, 0, true},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure_base(struct row *r, unsigned round)
{
	double *ns = &r->base_ns[round];

	if (r->base == BASE_FLOOR)
		*ns = floor_of(r->base_loop, r->length);
	else
		*ns = per_access(r->base_loop,
		                 r->base == BASE_PLAIN ? (uint64_t)(uintptr_t)plain : HOST_AT,
		                 r->n);
}

static void measure(struct row *r, unsigned round)
{
	r->ns[round] = per_access(r->loop, r->at, r->n);
	r->ratio[round] = r->ns[round] / r->base_ns[round];
}

static void print(struct row *r)
{
	qsort(r->ratio, ROUNDS, sizeof(double), by_value);
	qsort(r->ns, ROUNDS, sizeof(double), by_value);
	qsort(r->base_ns, ROUNDS, sizeof(double), by_value);
	printf("%-50s %9.1f %9.1f   %6.3f  (%.3f .. %.3f)\n", r->name, r->ns[ROUNDS / 2],
	       r->base_ns[ROUNDS / 2], r->ratio[ROUNDS / 2], r->ratio[ROUNDS / 4],
	       r->ratio[ROUNDS - ROUNDS / 4 - 1]);
}

static int read_zero(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 0;
	return 0;
}

static struct regmap_window *map(struct regmap_config c)
{
	struct regmap_window *window;
	int err;

	c.size = sizeof c;
	c.access = REGMAP_READ | REGMAP_WRITE;
	err = regmap_map(&c, &window);
	if (err) {
		fprintf(stderr, "map %#llx: %s\n", (unsigned long long)c.guest,
		        regmap_strerror(err));
		exit(1);
	}
	return window;
}

static struct regmap_window *many[MANY];

static void lay_many(bool lay)
{
	static uint8_t shared[32];

	for (uint64_t i = 0; i < MANY; i++)
		if (lay)
			many[i] = map((struct regmap_config){.guest = MANY_AT + i * 32,
			                                     .length = 32,
			                                     .backing = REGMAP_HOST,
			                                     .host = shared});
		else
			regmap_unmap(many[i]);
}

static void set_up(void)
{
	static const struct regmap_device_ops ops = {read_zero, NULL};
	static uint8_t host[4096];

	if (regmap_map_registers())
		exit(1);
	map((struct regmap_config){.guest = HOST_AT,
	                           .length = 4096,
	                           .backing = REGMAP_HOST,
	                           .host = host});
	map((struct regmap_config){.guest = RAM_AT, .length = 65536, .backing = REGMAP_RAM});
	map((struct regmap_config){.guest = DEVICE_AT,
	                           .length = 4096,
	                           .backing = REGMAP_DEVICE,
	                           .ops = &ops});
	mmap((void *)FLOOR_AT, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
	     -1, 0);
	swap(NULL, &ours);
	floor_action = ours;
	floor_action.handler = step_over;
}

static void measure_all(unsigned round)
{
	for (unsigned i = 0; i < ROWS; i++) {
		measure_base(&rows[i], round);
		if (!rows[i].among_many)
			measure(&rows[i], round);
	}
	lay_many(true);
	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].among_many)
			measure(&rows[i], round);
	lay_many(false);
}

int main(void)
{
	set_up();
	for (unsigned round = 0; round < ROUNDS; round++)
		measure_all(round);
	printf("%-50s %9s %9s   %6s\n", "", "ns", "base ns", "ratio  (quartiles)");
	for (unsigned i = 0; i < ROWS; i++)
		print(&rows[i]);
	printf("\nBase: the floor (a handler that only steps over the instruction), unless the row says.\n");
	return 0;
}
