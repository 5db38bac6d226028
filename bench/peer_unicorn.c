/* SPDX-License-Identifier: MIT */
/* OPTIONAL: unicorn/unicorn.h -lunicorn */
/*
 * Unicorn, an emulator made of QEMU: the same loop as guest code, on a page with callbacks and on
 * plain guest memory. What it costs the code that accesses nothing is in docs/performance.md: all
 * of the code is emulated, not only the accesses.
 */
#include <string.h>

#include "peers.h"

#define CODE_AT 0x100000ull
#define PLAIN_AT 0x200000ull
#define MMIO_AT 0x40021000ull

#if __has_include(<unicorn/unicorn.h>) && !defined(BENCH_BARE)
#include <unicorn/unicorn.h>

/* 1: mov (%rdi), %eax; sub $1, %esi; jnz 1b. Of 8 bytes, the callback would see two times 4. */
static const uint8_t code[] = {0x8b, 0x07, 0x83, 0xee, 0x01, 0x75, 0xf9};

static uc_engine *engine;
static uint64_t calls;

static uint64_t on_read(uc_engine *uc, uint64_t offset, unsigned size, void *data)
{
	(void)uc, (void)offset, (void)size, (void)data;
	calls++;
	return 0;
}

static void on_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *data)
{
	(void)uc, (void)offset, (void)size, (void)value, (void)data;
}

static void run(uint64_t at, unsigned n)
{
	uint64_t count = n;

	uc_reg_write(engine, UC_X86_REG_RDI, &at);
	uc_reg_write(engine, UC_X86_REG_RSI, &count);
	if (uc_emu_start(engine, CODE_AT, CODE_AT + sizeof(code), 0, 0))
		bench_fail("Unicorn can't run the loop");
}

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	uint64_t before = calls;

	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	to->value = bench_per_access(run, row->at, BENCH_DIRECT);
	if (row->at == MMIO_AT && calls != before + BENCH_DIRECT)
		return bench_skip(row, "%llu calls for %d accesses",
		                  (unsigned long long)(calls - before), BENCH_DIRECT);
	return true;
}

static const char *set_up(void)
{
	bench_peers_set_up();
	if (uc_open(UC_ARCH_X86, UC_MODE_64, &engine) ||
	    uc_mem_map(engine, CODE_AT, 4096, UC_PROT_READ | UC_PROT_EXEC) ||
	    uc_mem_map(engine, PLAIN_AT, 4096, UC_PROT_READ | UC_PROT_WRITE) ||
	    uc_mmio_map(engine, MMIO_AT, 4096, on_read, NULL, on_write, NULL) ||
	    uc_mem_write(engine, CODE_AT, code, sizeof(code)))
		return "Unicorn can't be set up";
	return NULL;
}
#else
static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	(void)to;
	return bench_skip(row, "not there: apt-get install libunicorn-dev");
}

static const char *set_up(void)
{
	return "not there: apt-get install libunicorn-dev";
}
#endif

static struct bench_row rows[] = {
	PEER("unicorn/mmio", "Unicorn: the loop emulated, a callback for each load", measure,
             .at = MMIO_AT),
	PEER("unicorn/memory", "Unicorn: the loop emulated, plain guest memory", measure,
             .at = PLAIN_AT),
};

struct bench_part bench_peer_unicorn = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
