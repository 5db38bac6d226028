/* SPDX-License-Identifier: MIT */
/* OPTIONAL: sigsegv.h -lsigsegv */
/*
 * GNU libsigsegv finds the range that a fault lies in and calls its handler. That learns the
 * address and neither the instruction nor its registers: it can open the page, and the access is
 * made by the CPU, unseen; or leave for somewhere else, and the access is never made.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "peers.h"

#if __has_include(<sigsegv.h>) && !defined(BENCH_BARE)
#include <sigsegv.h>

enum { RANGES = 1000, PAGE = 4096 };

static sigsegv_dispatcher dispatcher;
static struct bench_action theirs, ours;
static uint8_t *pages;
static volatile bool leaves;
static sigjmp_buf after;

static void leave(void *a, void *b, void *c)
{
	uint64_t segv = 1ull << (SIGSEGV - 1);

	/* Still in the handler, and libregmap's sigprocmask() is none of libsigsegv's business. */
	(void)a, (void)b, (void)c;
	syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &segv, NULL, sizeof(segv));
	siglongjmp(after, 1);
}

static int on_range(void *address, void *page)
{
	(void)address;
	if (leaves)
		return sigsegv_leave_handler(leave, NULL, NULL, NULL);
	return !mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static int on_fault(void *address, int serious)
{
	return serious && sigsegv_dispatch(&dispatcher, address);
}

/* Open the page for one access, then shut it again: else the next one would not be noticed. */
static void open_and_shut(uint64_t at, unsigned n)
{
	while (n--) {
		bench_load.loop(at, 1);
		mprotect((void *)(uintptr_t)at, PAGE, PROT_NONE);
	}
}

static void leave_each(uint64_t at, unsigned n)
{
	volatile unsigned left = n;

	while (left) {
		left--;
		if (!sigsetjmp(after, 0))
			bench_load.loop(at, 1);
	}
}

static const bench_loop_fn opens = open_and_shut, skips = leave_each;

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	bench_loop_fn loop = *(const bench_loop_fn *)row->arg;

	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	leaves = row->arg == &skips;
	bench_swap_action(&theirs, &ours);
	to->value = bench_per_access(loop, (uintptr_t)pages + RANGES / 2 * PAGE, BENCH_TRAPPED);
	bench_swap_action(&ours, NULL);
	return true;
}

/* Its handler first, while it is the kernel's business alone, not libregmap's. */
static const char *set_up(void)
{
	pages = mmap(NULL, RANGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || sigsegv_install_handler(on_fault))
		return "libsigsegv can't install its handler";
	bench_swap_action(NULL, &theirs);
	sigsegv_init(&dispatcher);
	for (unsigned i = 0; i < RANGES; i++)
		sigsegv_register(&dispatcher, pages + i * PAGE, PAGE, on_range, pages + i * PAGE);
	bench_peers_set_up();
	return NULL;
}
#else
static const bench_loop_fn opens, skips;

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	(void)to;
	return bench_skip(row, "not there: apt-get install libsigsegv-dev");
}

static const char *set_up(void)
{
	return "not there: apt-get install libsigsegv-dev";
}
#endif

static struct bench_row rows[] = {
	PEER("libsigsegv/open", "libsigsegv: the page is opened, and shut again", measure,
             .arg = &opens),
	PEER("libsigsegv/leave", "libsigsegv: left by longjmp(), no access is made", measure,
             .arg = &skips),
};

struct bench_part bench_peer_sigsegv = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
