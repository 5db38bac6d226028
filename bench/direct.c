/* SPDX-License-Identifier: MIT */
/* What is mapped at the guest address costs what memory costs: 1.00 of the same loop on memory. */
#include "bench.h"
#include "general.h"

#define RAM_AT 0x31000000ull
#define ALIAS_AT 0x31100000ull
#define FLASH_AT 0x31200000ull
#define DEVICE_AT 0x40020000ull

enum { LENGTH = 65536 };

static uint64_t plain[LENGTH / 8] __attribute__((aligned(4096)));

static bool against_memory(const struct bench_row *row, struct bench_sample *to)
{
	struct bench_row at = *row;

	at.base_at = (uintptr_t)plain;
	return bench_against_place(&at, to);
}

#define ROW(id, text, insn_, at_) \
	{ \
		.name = "direct/" id, .what = text, .unit = "ns", .base = "memory", \
		.figure = BENCH_COST, .wanted = 1.02, .measure = against_memory, \
		.insn = &bench_##insn_, .at = at_ \
	}

static struct bench_row rows[] = {
	ROW("ram/load", "integer load, RAM window", load, RAM_AT),
	ROW("ram/store", "integer store, RAM window", store, RAM_AT),
	ROW("ram/add", "integer add to memory, RAM window", add, RAM_AT),
	ROW("ram/sse-load", "SSE load, RAM window", sse_load, RAM_AT),
	ROW("alias/load", "integer load, alias of a RAM window", load, ALIAS_AT),
	ROW("alias/store", "integer store, alias of a RAM window", store, ALIAS_AT),
	ROW("flash/load", "integer load, RAM window that is read-only", load, FLASH_AT),
	ROW("device/load", "integer load, device whose registers are read as memory", load,
            DEVICE_AT),
};

/* A row of what is trapped would take an hour with as many accesses. */
static void fewer(void)
{
	for (unsigned i = 0; i < BENCH_COUNT(rows); i++)
		if (bench_per_access(rows[i].insn->loop, rows[i].at, 100) > 500)
			rows[i].n = BENCH_TRAPPED;
}

static const char *set_up(void)
{
	bench_map((struct regmap_config){.guest = RAM_AT, .length = LENGTH, .backing = REGMAP_RAM});
	bench_map((struct regmap_config){.guest = ALIAS_AT,
	                                 .length = LENGTH,
	                                 .backing = REGMAP_ALIAS,
	                                 .target = RAM_AT});
	bench_map((struct regmap_config){.guest = FLASH_AT,
	                                 .length = LENGTH,
	                                 .access = REGMAP_READ,
	                                 .backing = REGMAP_RAM});
	bench_map((struct regmap_config){.guest = DEVICE_AT,
	                                 .length = LENGTH,
	                                 .backing = REGMAP_DEVICE,
	                                 .flags = REGMAP_READ_DIRECT,
	                                 .ops = &bench_general_ops});
	fewer();
	return NULL;
}

struct bench_part bench_direct = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
