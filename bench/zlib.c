/* SPDX-License-Identifier: MIT */
/* OPTIONAL: zlib.h -lz */
/* zlib with its streams, heap, input and output in trapped windows. */
#include <stdio.h>
#include <string.h>

#include "library.h"

#if __has_include(<zlib.h>) && !defined(BENCH_BARE)
#include <zlib.h>

enum { TEXT = 8 << 10, ROOM = 16 << 10 };

static uint8_t text[TEXT];

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

static z_stream *stream_new(struct t_arena *heap, uint8_t *in, unsigned size, uint8_t *out)
{
	z_stream *z = t_arena_alloc(heap, sizeof(*z));

	if (!z)
		bench_fail("no memory for zlib");
	*(z_stream *)t_arena_host(heap, z) = (z_stream){.zalloc = heap_alloc,
	                                                .zfree = heap_free,
	                                                .opaque = heap,
	                                                .next_in = in,
	                                                .avail_in = size,
	                                                .next_out = out,
	                                                .avail_out = ROOM};
	return z;
}

static void must(int got, int want, const char *what)
{
	if (got != want)
		bench_fail("%s returned %d", what, got);
}

static unsigned compress_into(struct t_arena *heap, uint8_t *in, uint8_t *out)
{
	z_stream *z = stream_new(heap, in, TEXT, out);
	unsigned size;

	must(deflateInit2(z, 6, Z_DEFLATED, 12, 5, Z_DEFAULT_STRATEGY), Z_OK, "deflateInit2()");
	must(deflate(z, Z_FINISH), Z_STREAM_END, "deflate()");
	size = (unsigned)((z_stream *)t_arena_host(heap, z))->total_out;
	must(deflateEnd(z), Z_OK, "deflateEnd()");
	t_arena_free(heap, z);
	return size;
}

static void expand_into(struct t_arena *heap, uint8_t *in, unsigned size, uint8_t *out)
{
	z_stream *z = stream_new(heap, in, size, out);

	must(inflateInit2(z, 12), Z_OK, "inflateInit2()");
	must(inflate(z, Z_FINISH), Z_STREAM_END, "inflate()");
	must(inflateEnd(z), Z_OK, "inflateEnd()");
	t_arena_free(heap, z);
}

static uint64_t work(bool in_windows)
{
	struct t_arena *heap = in_windows ? &bench_window_heap : &bench_plain_heap;
	uint8_t *in = t_arena_alloc(heap, TEXT), *packed = t_arena_alloc(heap, ROOM),
		*out = t_arena_alloc(heap, ROOM);
	uint64_t sum;
	unsigned size;

	memcpy(t_arena_host(heap, in), text, TEXT);
	size = compress_into(heap, in, packed);
	expand_into(heap, packed, size, out);
	if (memcmp(t_arena_host(heap, out), text, TEXT))
		bench_fail("zlib: what came out is not what went in");
	sum = crc32(size, packed, size);
	t_arena_free(heap, in);
	t_arena_free(heap, packed);
	t_arena_free(heap, out);
	bench_library_clear(heap);
	return sum;
}

/* Something with words, numbers and repetition in it */
static void write_text(void)
{
	char *to = (char *)text;
	uint64_t seed = 5;
	size_t at = 0;

	while (at < TEXT - 64)
		at += (size_t)sprintf(to + at, "register 0x%08x is %s, bits %u\n",
		                      0x40021000 + t_random(&seed) % 64 * 4,
		                      t_random(&seed) % 3 ? "reserved" : "a status",
		                      t_random(&seed) % 32);
}

static const char *set_up(void)
{
	bench_library_set_up();
	write_text();
	return NULL;
}
#else
static uint64_t work(bool in_windows)
{
	return in_windows;
}

static const char *set_up(void)
{
	return "not there: apt-get install zlib1g-dev";
}
#endif

static const struct bench_library library = {"zlib", work, 5000};

static struct bench_row rows[] = {BENCH_LIBRARY_ROWS("zlib", "zlib", library)};

struct bench_part bench_zlib = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
