/* SPDX-License-Identifier: MIT */
/* One trapped access, by kind of window and of instruction. */
#include "bench.h"

#define HOST_AT 0x30000000ull
#define DEVICE_AT 0x40021000ull
#define RCX_AT 0x08ull
#define XMM0_AT 0x800ull

static int read_zero(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 0;
	return 0;
}

static int write_nothing(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return 0;
}

/* Where the kernel finds no mapping it takes longer than where one forbids the access. */
static bool against_own_floor(const struct bench_row *row, struct bench_sample *to)
{
	bench_floor_begin(*row->insn->length);
	to->base = bench_per_access(row->insn->loop, row->at, BENCH_TRAPPED);
	bench_floor_end();
	to->value = bench_per_access(row->insn->loop, row->at, BENCH_TRAPPED);
	return true;
}

static bool with_avx(const struct bench_row *row, struct bench_sample *to)
{
	if (!__builtin_cpu_supports("avx"))
		return bench_skip(row, "the CPU has no AVX");
	return against_own_floor(row, to);
}

static bool with_avx512(const struct bench_row *row, struct bench_sample *to)
{
	if (!__builtin_cpu_supports("avx512f"))
		return bench_skip(row, "the CPU has no AVX-512");
	return against_own_floor(row, to);
}

#define ROW(id, text, insn_, at_, most, how) \
	{ \
		.name = "access/" id, .what = text, .unit = "ns", .base = "floor", \
		.figure = BENCH_COST, .wanted = most, .measure = how, .insn = &bench_##insn_, \
		.at = at_ \
	}
#define INTEGER(id, text, insn, at) ROW(id, text, insn, at, 1.02, against_own_floor)
#define VECTOR(id, text, insn, at) ROW(id, text, insn, at, 1.10, against_own_floor)

static struct bench_row rows[] = {
	INTEGER("host/load", "integer load, host window", load, HOST_AT),
	INTEGER("host/store", "integer store, host window", store, HOST_AT),
	INTEGER("host/add", "integer add to memory, host window", add, HOST_AT),
	INTEGER("host/lock-xadd", "locked exchange and add, host window", xadd, HOST_AT),
	INTEGER("device/load", "integer load, device window", load, DEVICE_AT),
	INTEGER("device/store", "integer store, device window", store, DEVICE_AT),
	INTEGER("device/add", "integer add to memory, device window", add, DEVICE_AT),
	INTEGER("registers/load", "integer load, register page", load, RCX_AT),
	INTEGER("registers/store", "integer store, register page", store, RCX_AT),
	INTEGER("registers/add", "integer add to memory, register page", add, RCX_AT),
	VECTOR("host/sse-load", "SSE load, host window", sse_load, HOST_AT),
	VECTOR("host/sse-store", "SSE store, host window", sse_store, HOST_AT),
	VECTOR("host/sse-multiply", "SSE multiply, host window", sse_multiply, HOST_AT),
	ROW("host/avx-load", "AVX load, host window", avx_load, HOST_AT, 1.10, with_avx),
	ROW("host/avx512-load", "AVX-512 load, host window", avx512_load, HOST_AT, 1.10,
            with_avx512),
	VECTOR("host/x87-add", "x87 add, host window", x87_add, HOST_AT),
	VECTOR("device/sse-load", "SSE load, device window", sse_load, DEVICE_AT),
	VECTOR("registers/sse-load", "SSE load, register page", sse_load, XMM0_AT),
};

static const char *set_up(void)
{
	static const struct regmap_device_ops ops = {read_zero, write_nothing};
	static uint8_t host[4096] __attribute__((aligned(64)));
	int err = regmap_map_registers();

	if (err)
		bench_fail("the register page: %s", regmap_strerror(err));
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_HOST,
	                                 .host = host});
	bench_map((struct regmap_config){.guest = DEVICE_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_DEVICE,
	                                 .ops = &ops});
	bench_floor_set_up();
	return NULL;
}

struct bench_part bench_access = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
