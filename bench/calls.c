/* SPDX-License-Identifier: MIT */
/* regmap_read(), regmap_write() and regmap_translate(): no fault is taken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define HOST_AT 0x30000000ull
#define DEVICE_AT 0x40021000ull

enum { ROOM = 16 << 20, SMALL = 200000 };

static uint8_t *host, *buffer, *other;
static void *(*volatile call_memcpy)(void *, const void *, size_t) = memcpy;

typedef void (*copy_fn)(uint64_t at, size_t size);

static void copy_read(uint64_t at, size_t size)
{
	if (regmap_read(at, buffer, size))
		abort();
}

static void copy_write(uint64_t at, size_t size)
{
	if (regmap_write(at, buffer, size))
		abort();
}

static void copy_native(uint64_t at, size_t size)
{
	(void)at;
	call_memcpy(buffer, other, size);
}

static void look_up(uint64_t at, size_t size)
{
	void *to;

	(void)size;
	if (regmap_translate(at, &to))
		abort();
}

static const copy_fn reads = copy_read, writes = copy_write, translates = look_up;

static double time_of(copy_fn copy, uint64_t at, size_t size)
{
	unsigned n = size <= 64 ? SMALL : (unsigned)(((size_t)64 << 20) / (size + 2048)) + 2;
	double begin;

	if (n > SMALL / 8 && size > 64)
		n = SMALL / 8;
	copy(at, size);
	begin = bench_now();
	for (unsigned i = 0; i < n; i++)
		copy(at, size);
	return (bench_now() - begin) / n;
}

static bool alone(const struct bench_row *row, struct bench_sample *to)
{
	to->value = time_of(*(const copy_fn *)row->arg, row->at, row->size);
	return true;
}

static bool against_memcpy(const struct bench_row *row, struct bench_sample *to)
{
	to->base = time_of(copy_native, 0, row->size);
	return alone(row, to);
}

#define ALONE(id, text, how, place, bytes, most) \
	{ \
		.name = "calls/" id, .what = text, .unit = "ns", .figure = BENCH_VALUE, \
		.wanted = most, .measure = alone, .arg = &how, .at = place, .size = bytes \
	}
#define CURVE(id, text, how, line, bytes, most) \
	{ \
		.name = "calls/" id, .what = text, .unit = "ns", .base = "memcpy()", \
		.figure = BENCH_COST, .wanted = most, .measure = against_memcpy, .arg = &how, \
		.at = HOST_AT, .size = bytes, .series = "calls/" line, .x = bytes \
	}

static struct bench_row rows[] = {
	ALONE("read/4", "regmap_read() of 4 bytes, host window", reads, HOST_AT, 4, 30),
	ALONE("write/4", "regmap_write() of 4 bytes, host window", writes, HOST_AT, 4, 30),
	ALONE("read-device/4", "regmap_read() of 4 bytes, device", reads, DEVICE_AT, 4, 0),
	ALONE("write-device/4", "regmap_write() of 4 bytes, device", writes, DEVICE_AT, 4, 0),
	ALONE("translate", "regmap_translate() of a host window", translates, HOST_AT, 0, 10),
	CURVE("read/64", "regmap_read() of 64 bytes", reads, "read", 64, 0),
	CURVE("read/1K", "... of 1 KB", reads, "read", 1024, 0),
	CURVE("read/16K", "... of 16 KB", reads, "read", 16384, 0),
	CURVE("read/256K", "... of 256 KB", reads, "read", 262144, 1.1),
	CURVE("read/4M", "... of 4 MB", reads, "read", 4194304, 1.1),
	CURVE("write/64", "regmap_write() of 64 bytes", writes, "write", 64, 0),
	CURVE("write/1K", "... of 1 KB", writes, "write", 1024, 0),
	CURVE("write/16K", "... of 16 KB", writes, "write", 16384, 0),
	CURVE("write/256K", "... of 256 KB", writes, "write", 262144, 1.1),
	CURVE("write/4M", "... of 4 MB", writes, "write", 4194304, 1.1),
};

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

static uint8_t *memory(void)
{
	uint8_t *p = aligned_alloc(4096, ROOM);

	if (!p)
		bench_fail("no memory");
	return memset(p, 1, ROOM);
}

static const char *set_up(void)
{
	static const struct regmap_device_ops ops = {read_zero, write_nothing};

	host = memory();
	buffer = memory();
	other = memory();
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = ROOM,
	                                 .backing = REGMAP_HOST,
	                                 .host = host});
	bench_map((struct regmap_config){.guest = DEVICE_AT,
	                                 .length = 4096,
	                                 .backing = REGMAP_DEVICE,
	                                 .ops = &ops});
	return NULL;
}

struct bench_part bench_calls = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
