/* SPDX-License-Identifier: MIT */
/*
 * REP MOVS, STOS and SCAS on a host window. What is to be reached is one fault for the whole
 * instruction and then what the C library's function takes for the same bytes on plain memory: the
 * base is the sum of the two, each measured in the same round.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define HOST_AT 0x30000000ull

enum { ROOM = 4 << 20, REPEAT = 200 };

static uint8_t *host, *plain, *other;

struct string {
	void (*trapped)(uint64_t at, size_t size);
	void (*native)(uint64_t at, size_t size);
};

static void rep_read(uint64_t at, size_t size)
{
	void *to = plain;

	__asm__ volatile("rep movsb" : "+S"(at), "+D"(to), "+c"(size) : : "memory");
}

static void rep_write(uint64_t at, size_t size)
{
	const void *from = plain;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
}

static void rep_within(uint64_t at, size_t size)
{
	uint64_t to = at + ROOM / 2;

	__asm__ volatile("rep movsb" : "+S"(at), "+D"(to), "+c"(size) : : "memory");
}

static void rep_fill(uint64_t at, size_t size)
{
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(0) : "memory");
}

static void rep_scan(uint64_t at, size_t size)
{
	__asm__ volatile("repne scasb" : "+D"(at), "+c"(size) : "a"(1) : "memory", "cc");
}

/* Through pointers that the compiler knows nothing about: calls stay calls. */
static void *(*volatile call_memcpy)(void *, const void *, size_t) = memcpy;
static void *(*volatile call_memset)(void *, int, size_t) = memset;

static void native_copy(uint64_t at, size_t size)
{
	(void)at;
	call_memcpy(plain, other, size);
}

static void native_fill(uint64_t at, size_t size)
{
	(void)at;
	call_memset(other, 0, size);
}

/* The instruction itself, which is slow anywhere. */
static void native_scan(uint64_t at, size_t size)
{
	(void)at;
	rep_scan((uintptr_t)other, size);
}

static const struct string reads = {rep_read, native_copy}, writes = {rep_write, native_copy},
			   within = {rep_within, native_copy}, fills = {rep_fill, native_fill},
			   scans = {rep_scan, native_scan};

static double time_of(void (*run)(uint64_t, size_t), uint64_t at, size_t size)
{
	unsigned n = size > 65536 ? REPEAT / 20 : REPEAT;
	double begin = bench_now();

	for (unsigned i = 0; i < n; i++)
		run(at, size);
	return (bench_now() - begin) / n;
}

/* Of the instruction itself: a processor takes longer to stop one that repeats. */
static double floor_of(const struct string *s, size_t size)
{
	enum { LENGTH = 2 };
	double ns;

	bench_floor_begin(LENGTH);
	ns = time_of(s->trapped, BENCH_FLOOR_AT, size);
	bench_floor_end();
	return ns;
}

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	const struct string *s = row->arg;

	to->base = floor_of(s, row->size) + time_of(s->native, HOST_AT, row->size);
	to->value = time_of(s->trapped, HOST_AT, row->size);
	return true;
}

#define ROW(id, text, bytes, how, function) \
	{ \
		.name = "strings/" id, .what = text, .unit = "ns", .base = "floor+" function, \
		.figure = BENCH_COST, .wanted = 1.1, .measure = measure, .size = bytes, \
		.arg = &how, .series = &how == &reads ? "strings/read" : NULL, .x = bytes \
	}

static struct bench_row rows[] = {
	ROW("read/64", "REP MOVSB of 64 bytes from a host window", 64, reads, "memcpy()"),
	ROW("read/1K", "... of 1 KB", 1024, reads, "memcpy()"),
	ROW("read/16K", "... of 16 KB", 16384, reads, "memcpy()"),
	ROW("read/256K", "... of 256 KB", 262144, reads, "memcpy()"),
	ROW("read/2M", "... of 2 MB", 2097152, reads, "memcpy()"),
	ROW("write/16K", "REP MOVSB of 16 KB to a host window", 16384, writes, "memcpy()"),
	ROW("within/16K", "REP MOVSB of 16 KB within a host window", 16384, within, "memcpy()"),
	ROW("fill/16K", "REP STOSB of 16 KB in a host window", 16384, fills, "memset()"),
	ROW("scan/16K", "REPNE SCASB of 16 KB in a host window", 16384, scans, "SCASB"),
};

static const char *set_up(void)
{
	host = calloc(1, ROOM);
	plain = calloc(1, ROOM);
	other = calloc(1, ROOM);
	if (!host || !plain || !other)
		bench_fail("no memory");
	memset(other, 0, ROOM);
	memset(plain, 0, ROOM);
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = ROOM,
	                                 .backing = REGMAP_HOST,
	                                 .host = host});
	bench_floor_set_up();
	return NULL;
}

struct bench_part bench_strings = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
