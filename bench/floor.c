/* SPDX-License-Identifier: MIT */
/*
 * The floor of the fault path: what the kernel's way to a handler and back costs, whoever handles
 * it. And the clock, and windows in one line.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "bench.h"

static struct bench_action ours, floor_action;
static unsigned step;

void bench_swap_action(const struct bench_action *to, struct bench_action *from)
{
	syscall(SYS_rt_sigaction, SIGSEGV, to, from, 8);
}

static void step_over(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)info;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP] += step;
}

void bench_floor_set_up(void)
{
	void *at = (void *)BENCH_FLOOR_AT;

	if (floor_action.handler)
		return;
	if (mmap(at, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    at)
		bench_fail("the floor's page %#llx is taken", BENCH_FLOOR_AT);
	bench_swap_action(NULL, &ours);
	floor_action = ours;
	floor_action.handler = step_over;
}

void bench_floor_begin(unsigned length)
{
	step = length;
	bench_swap_action(&floor_action, NULL);
}

void bench_floor_end(void)
{
	bench_swap_action(&ours, NULL);
}

double bench_floor(const struct bench_insn *insn, unsigned n)
{
	double ns;

	bench_floor_begin(*insn->length);
	ns = bench_per_access(insn->loop, BENCH_FLOOR_AT, n);
	bench_floor_end();
	return ns;
}

double bench_wall_floor(const struct bench_insn *insn, unsigned n)
{
	double ns;

	bench_floor_begin(*insn->length);
	ns = bench_wall_per_access(insn->loop, BENCH_FLOOR_AT, n);
	bench_floor_end();
	return ns;
}

bool bench_against_floor(const struct bench_row *row, struct bench_sample *to)
{
	const struct bench_insn *base = row->base_insn ? row->base_insn : row->insn;

	to->base = bench_floor(base, BENCH_TRAPPED);
	to->value = bench_per_access(row->insn->loop, row->at, row->n ? row->n : BENCH_TRAPPED);
	return true;
}

bool bench_against_place(const struct bench_row *row, struct bench_sample *to)
{
	const struct bench_insn *base = row->base_insn ? row->base_insn : row->insn;
	unsigned n = row->n ? row->n : BENCH_DIRECT;

	to->base = bench_per_access(base->loop, row->base_at, n);
	to->value = bench_per_access(row->insn->loop, row->at, n);
	return true;
}

static double read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double bench_now(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

double bench_wall_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

double bench_per_access(bench_loop_fn loop, uint64_t at, unsigned n)
{
	double begin = bench_now();

	loop(at, n);
	return (bench_now() - begin) / n;
}

double bench_wall_per_access(bench_loop_fn loop, uint64_t at, unsigned n)
{
	double begin = bench_wall_now();

	loop(at, n);
	return (bench_wall_now() - begin) / n;
}

struct regmap_window *bench_map(struct regmap_config c)
{
	struct regmap_window *window;
	int err;

	c.size = sizeof(c);
	if (!c.access)
		c.access = REGMAP_READ | REGMAP_WRITE;
	err = regmap_map(&c, &window);
	if (err)
		bench_fail("regmap_map() of %#llx: %s", (unsigned long long)c.guest,
		           regmap_strerror(err));
	return window;
}

/* One window after the other would do the predictors a favour: a scrambled order. */
uint64_t bench_scrambled(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (*state >> 33) % below;
}
