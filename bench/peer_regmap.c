/* SPDX-License-Identifier: MIT */
/* libregmap itself, for the peers' table. */
#include "peers.h"

#define HOST_AT 0x30000000ull
#define RAM_AT 0x31000000ull
#define DEVICE_AT 0x40021000ull

static bool direct(const struct bench_row *row, struct bench_sample *to)
{
	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	to->value = bench_per_access(bench_load.loop, row->at, BENCH_DIRECT);
	return true;
}

static bool by_call(const struct bench_row *row, struct bench_sample *to)
{
	uint64_t value;
	double begin;

	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	begin = bench_now();
	for (unsigned i = 0; i < BENCH_DIRECT; i++)
		if (regmap_read(row->at, &value, sizeof(value)))
			bench_fail("regmap_read() of a device");
	to->value = (bench_now() - begin) / BENCH_DIRECT;
	return true;
}

/* Patched for as long as the sample takes: the rows beside it are to fault. */
static bool patched(const struct bench_row *row, struct bench_sample *to)
{
	const char *why = bench_patch_on(4);
	unsigned n;

	if (why)
		return bench_skip(row, "%s", why);
	n = bench_warm_up(row, row->insn, row->at, BENCH_DIRECT);
	if (n)
		to->value = bench_per_access(row->insn->loop, row->at, n);
	bench_patch_off();
	to->base = bench_floor(&bench_load, BENCH_TRAPPED);
	return n;
}

static struct bench_row rows[] = {
	PEER("regmap/host", "libregmap: host window, trapped", bench_against_floor,
             .insn = &bench_load, .at = HOST_AT),
	PEER("regmap/device", "libregmap: device window, trapped", bench_against_floor,
             .insn = &bench_load, .at = DEVICE_AT),
	PEER("regmap/patched-host", "libregmap: host window, patched", patched,
             .insn = &bench_hot_load, .at = HOST_AT),
	PEER("regmap/patched-device", "libregmap: device window, patched", patched,
             .insn = &bench_hot_device_load, .at = DEVICE_AT),
	PEER("regmap/ram", "libregmap: RAM window, direct", direct, .at = RAM_AT),
	PEER("regmap/read", "libregmap: regmap_read() of a device", by_call, .at = DEVICE_AT),
};

static int read_zero(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 0;
	return 0;
}

void bench_peers_set_up(void)
{
	static const struct regmap_device_ops ops = {.read = read_zero};
	static uint8_t host[4096];
	static bool done;

	if (done)
		return;
	done = true;
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_HOST,
	                                 .host = host});
	bench_map((struct regmap_config){.guest = DEVICE_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_DEVICE,
	                                 .ops = &ops});
	bench_map((struct regmap_config){.guest = RAM_AT, .length = 4096, .backing = REGMAP_RAM});
	bench_floor_set_up();
}

static const char *set_up(void)
{
	bench_peers_set_up();
	return NULL;
}

struct bench_part bench_peer_regmap = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
