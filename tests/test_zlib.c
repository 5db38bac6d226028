/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lz */
/*
 * zlib with its state, its heap, its input and its output all in trapped windows: the compressed
 * bytes are those of the same run on plain memory.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include <regmap/regmap.h>

#include "arena.h"

enum { HEAP = 2 << 20, TEXT = 5003, ROOM = 64 << 10 };

/* Where one run works. */
struct desk {
	struct t_arena heap;
	struct t_place in, out, back;
};

static struct desk plain, high, low;

static int lay_desks(void **state)
{
	(void)state;
	plain.heap.place = t_place_plain(HEAP);
	plain.in = t_place_plain(ROOM);
	plain.out = t_place_plain(ROOM);
	plain.back = t_place_plain(ROOM);

	high.heap.place = t_place_host(0xffff880000000000, HEAP);
	high.in = t_place_ram(0xffff890000000000, ROOM);
	high.out = t_place_ram(0x5a5a000000000000, ROOM);
	high.back = t_place_alias(0xfffffffffff00000, &high.out);

	low.heap.place = t_place_host(0x40000000, HEAP);
	low.in = t_place_ram(0x50000000, ROOM);
	low.out = t_place_edge(0x51000000, ROOM);
	low.back = t_place_host(0x52000000, ROOM);
	return 0;
}

static void empty(struct t_arena *heap)
{
	assert_int_equal(heap->live, 0);
	heap->used = 0;
	memset(heap->free, 0, sizeof(heap->free));
}

static void *heap_alloc(void *heap, unsigned items, unsigned size)
{
	void *block = t_arena_alloc(heap, (size_t)items * size);

	/* zlib doesn't need it zeroed, but it is to be the same each time. */
	if (block)
		memset(t_arena_host(heap, block), 0x5c, (size_t)items * size);
	return block;
}

static void heap_free(void *heap, void *block)
{
	t_arena_free(heap, block);
}

/* Even the z_stream lies in a window. */
static z_stream *stream_new(struct desk *at)
{
	z_stream *z = t_arena_alloc(&at->heap, sizeof(*z));

	assert_non_null(z);
	memset(z, 0, sizeof(*z));
	z->zalloc = heap_alloc;
	z->zfree = heap_free;
	z->opaque = &at->heap;
	return z;
}

static void stream_end(struct desk *at, z_stream *z, int (*end)(z_stream *))
{
	assert_int_equal(end(z), Z_OK);
	t_arena_free(&at->heap, z);
	empty(&at->heap);
}

/* Something with words, runs and noise in it */
static void write_text(uint8_t *to, size_t length, uint64_t seed)
{
	static const char *const word[] = {"register ", "window ",   "the ", "0x40021018 ", "a ",
	                                   "\0\0\0\0",  "\xff\xfe ", "of ",  "=========",   "\n"};

	for (size_t at = 0; at < length;) {
		const char *w = word[t_random(&seed) % 10];
		size_t n = *w ? strlen(w) : 4;

		if (t_random(&seed) % 5 == 0)
			t_random_fill(&seed, to + at, 1);
		else
			memcpy(to + at, w, n = at + n < length ? n : length - at);
		at += *w ? n : 1;
	}
}

/* How to compress */
struct recipe {
	int level, strategy, bits, memory;
	size_t in, out; /* bytes that deflate() gets at a time */
	size_t skew;    /* where input and output start */
};

static int pump(z_stream *z, int (*step)(z_stream *, int), size_t total, size_t in, size_t out)
{
	size_t fed = 0;
	int got = Z_OK;

	while (got == Z_OK) {
		if (!z->avail_in && fed < total) {
			z->avail_in = (unsigned)(in < total - fed ? in : total - fed);
			fed += z->avail_in;
		}
		z->avail_out = (unsigned)out;
		got = step(z, fed < total ? Z_NO_FLUSH : Z_FINISH);
		if (got == Z_BUF_ERROR)
			got = Z_OK;
		assert_true(z->total_out < ROOM - out - 64);
	}
	return got;
}

/* Returns how many bytes came out. */
static size_t compress_at(struct desk *at, const struct recipe *r, size_t length)
{
	z_stream *z = stream_new(at);
	size_t size;

	assert_int_equal(deflateInit2(z, r->level, Z_DEFLATED, r->bits, r->memory, r->strategy),
	                 Z_OK);
	z->next_in = at->in.guest + r->skew;
	z->next_out = at->out.guest + r->skew;
	assert_int_equal(pump(z, deflate, length, r->in, r->out), Z_STREAM_END);
	size = z->total_out;
	stream_end(at, z, deflateEnd);
	return size;
}

/* @at->out may be the same bytes as @at->back: then the compressed ones are moved away. */
static void expand_at(struct desk *at, const struct recipe *r, size_t size, size_t length)
{
	z_stream *z = stream_new(at);

	memmove(at->in.host + 3, at->out.host + r->skew, size);
	assert_int_equal(inflateInit2(z, r->bits), Z_OK);
	z->next_in = at->in.guest + 3;
	z->next_out = at->back.guest + 5;
	assert_int_equal(pump(z, inflate, size, r->out | 1, r->in | 1), Z_STREAM_END);
	assert_int_equal(z->total_out, length);
	stream_end(at, z, inflateEnd);
}

static void round_trip(struct desk *at, const struct recipe *r, size_t length)
{
	uint8_t text[TEXT];
	size_t size, expected;

	write_text(text, length, (uint64_t)r->level + 77);
	memcpy(plain.in.host + r->skew, text, length);
	memcpy(at->in.host + r->skew, text, length);
	expected = compress_at(&plain, r, length);
	size = compress_at(at, r, length);
	assert_int_equal(size, expected);
	assert_memory_equal(at->out.host + r->skew, plain.out.host + r->skew, size);
	expand_at(at, r, size, length);
	assert_memory_equal(at->back.host + 5, text, length);
}

/* Raw, zlib's and gzip's formats */
static const struct recipe recipes[] = {
	{0, Z_DEFAULT_STRATEGY, 15, 8, ROOM / 4, ROOM / 2, 0},
	{1, Z_DEFAULT_STRATEGY, 15, 9, 1021, 509, 1},
	{3, Z_DEFAULT_STRATEGY, 31, 8, 63, ROOM / 4, 2},
	{6, Z_DEFAULT_STRATEGY, 15, 8, ROOM / 4, ROOM / 2, 0},
	{6, Z_FILTERED, 9, 1, 333, 4097, 7},
	{9, Z_DEFAULT_STRATEGY, -15, 9, 4096, 31, 13},
	{4, Z_HUFFMAN_ONLY, 15, 8, 777, 777, 31},
	{5, Z_RLE, 31, 5, 1, 1000, 33},
	{7, Z_FIXED, -12, 3, 129, 65, 63},
};

enum { RECIPES = sizeof(recipes) / sizeof(*recipes) };

static void test_zlib_in_kernel_half(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RECIPES; i++)
		round_trip(&high, &recipes[i], TEXT);
}

static void test_zlib_at_low_addresses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RECIPES; i++)
		round_trip(&low, &recipes[i], TEXT);
}

static void test_zlib_of_each_small_length(void **state)
{
	struct recipe r = {6, Z_DEFAULT_STRATEGY, -9, 1, 16, 16, 0};

	(void)state;
	for (size_t length = 0; length < 40; length += 3) {
		r.skew = 61 - length;
		round_trip(&high, &r, length);
	}
}

/* The output begins in a window and ends in the memory behind it. */
static void test_zlib_across_an_edge(void **state)
{
	struct recipe r = {6, Z_DEFAULT_STRATEGY, 15, 8, ROOM, 512, ROOM / 2 - 700};

	(void)state;
	round_trip(&low, &r, 4000);
	memcpy(high.in.host + ROOM - 4000, low.back.host + 5, 4000);
	assert_int_equal(crc32(0, high.in.guest + ROOM - 4000, 4000),
	                 crc32(0, low.back.host + 5, 4000));
}

/* deflateParams(), deflateSetDictionary() and deflateCopy(), the last in the middle of a stream */
static size_t fork_stream(struct desk *at, size_t length)
{
	z_stream *z = stream_new(at), *twin = t_arena_alloc(&at->heap, sizeof(*twin));
	size_t size;

	assert_int_equal(deflateInit(z, 2), Z_OK);
	assert_int_equal(deflateSetDictionary(z, at->in.guest + 100, 1000), Z_OK);
	z->next_in = at->in.guest;
	z->next_out = at->out.guest;
	z->avail_in = (unsigned)length / 2;
	z->avail_out = ROOM;
	assert_int_equal(deflate(z, Z_SYNC_FLUSH), Z_OK);
	assert_int_equal(deflateParams(z, 8, Z_FILTERED), Z_OK);
	assert_int_equal(deflateCopy(twin, z), Z_OK);
	twin->avail_in = (unsigned)(length - length / 2);
	assert_int_equal(deflate(twin, Z_FINISH), Z_STREAM_END);
	size = twin->total_out;
	assert_int_equal(deflateEnd(z), Z_DATA_ERROR);
	t_arena_free(&at->heap, z);
	stream_end(at, twin, deflateEnd);
	return size;
}

static void test_zlib_copies_a_stream(void **state)
{
	size_t size;

	(void)state;
	write_text(plain.in.host, TEXT, 5);
	memcpy(high.in.host, plain.in.host, TEXT);
	size = fork_stream(&plain, TEXT);
	assert_int_equal(fork_stream(&high, TEXT), size);
	assert_memory_equal(high.out.host, plain.out.host, size);
}

/* Damaged input is refused at the same byte. */
static long damage(struct desk *at, size_t size, size_t where)
{
	z_stream *z = stream_new(at);
	long result;
	int got;

	memcpy(at->in.host, plain.in.host, size);
	at->in.host[where] ^= 0x10;
	assert_int_equal(inflateInit(z), Z_OK);
	z->next_in = at->in.guest;
	z->next_out = at->back.guest;
	z->avail_in = (unsigned)size;
	z->avail_out = ROOM;
	got = inflate(z, Z_FINISH);
	result = (long)z->total_out * 16 + got;
	stream_end(at, z, inflateEnd);
	return result;
}

static void test_zlib_refuses_damage(void **state)
{
	const struct recipe r = {6, Z_DEFAULT_STRATEGY, 15, 8, ROOM, 512, 0};
	size_t size;

	(void)state;
	write_text(plain.in.host, 2000, 9);
	size = compress_at(&plain, &r, 2000);
	memcpy(plain.in.host, plain.out.host, size);
	for (size_t where = 0; where < size; where += 131) {
		long expected;

		expected = damage(&plain, size, where);
		plain.in.host[where] ^= 0x10;
		assert_int_equal(damage(&high, size, where), expected);
	}
}

static void test_zlib_checksums(void **state)
{
	uint64_t seed = 4;

	(void)state;
	t_random_fill(&seed, plain.in.host, ROOM);
	memcpy(high.in.host, plain.in.host, ROOM);
	memcpy(low.out.host, plain.in.host, ROOM);
	for (size_t i = 0; i < 128; i++) {
		size_t from = ROOM / 2 - i, n = t_random(&seed) % 400;
		unsigned long crc = crc32(i, plain.in.host + from, (unsigned)n);
		unsigned long adler = adler32(i, plain.in.host + from, (unsigned)n);

		assert_int_equal(crc32(i, high.in.guest + from, (unsigned)n), crc);
		assert_int_equal(crc32(i, low.out.guest + from, (unsigned)n), crc);
		assert_int_equal(adler32(i, high.in.guest + from, (unsigned)n), adler);
		assert_int_equal(adler32(i, low.out.guest + from, (unsigned)n), adler);
	}
	assert_int_equal(crc32_z(0, high.in.guest, ROOM), crc32_z(0, plain.in.host, ROOM));
	assert_int_equal(adler32_z(1, high.in.guest, ROOM), adler32_z(1, plain.in.host, ROOM));
}

/* RFC 1950's and the CRC catalogue's check values */
static void test_zlib_known_answers(void **state)
{
	(void)state;
	memcpy(high.in.host + ROOM - 9, "123456789", 9);
	assert_int_equal(crc32(0, high.in.guest + ROOM - 9, 9), 0xcbf43926);
	assert_int_equal(adler32(1, high.in.guest + ROOM - 9, 9), 0x091e01de);
}

/* The last of each group: that the ones before have run from patched sites. */
static unsigned threshold;

static void test_zlib_is_patched(void **state)
{
	struct regmap_patch_stats stats = {.size = sizeof(stats)};

	(void)state;
	assert_int_equal(regmap_patch_stats(&stats), 0);
	if (threshold)
		assert_true(stats.patched > 300);
	else
		assert_int_equal(stats.patched, 0);
}

/* Address sanitizer's functions are to leave the C library's alone: a window has no shadow. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "replace_intrin=0:replace_str=0:intercept_strlen=0:intercept_memcmp=0:"
	       "intercept_memchr=0:intercept_strcmp=0:intercept_strstr=0";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zlib_in_kernel_half),
		cmocka_unit_test(test_zlib_at_low_addresses),
		cmocka_unit_test(test_zlib_of_each_small_length),
		cmocka_unit_test(test_zlib_across_an_edge),
		cmocka_unit_test(test_zlib_copies_a_stream),
		cmocka_unit_test(test_zlib_refuses_damage),
		cmocka_unit_test(test_zlib_checksums),
		cmocka_unit_test(test_zlib_known_answers),
		cmocka_unit_test(test_zlib_is_patched),
	};
	static const char *const names[] = {"zlib", "zlib/patched-4", "zlib/patched-1"};
	static const unsigned thresholds[] = {0, 4, 1};
	int failed = 0;

	if (t_mode_is("tsan"))
		return 77;
	for (unsigned i = 0; i < 3; i++) {
		threshold = thresholds[i];
		if (threshold && regmap_patch(0) | regmap_patch(threshold)) {
			printf("%s: this kernel doesn't let code be patched\n", names[i]);
			break;
		}
		failed += _cmocka_run_group_tests(names[i], tests, sizeof(tests) / sizeof(*tests),
		                                  i ? NULL : lay_desks, NULL);
	}
	return failed;
}
