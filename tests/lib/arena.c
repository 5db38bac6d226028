/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "bytes.h"

enum { PAGE = 4096, LINE = 64, RW = PROT_READ | PROT_WRITE };

static void fail(const char *what, uint64_t guest)
{
	fprintf(stderr, "arena: %s at %#llx\n", what, (unsigned long long)guest);
	abort();
}

static size_t pages(size_t length)
{
	return (length + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* Room with an inaccessible page on either side; @fd -1: anonymous memory. */
static uint8_t *fenced(size_t length, int fd)
{
	int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	uint8_t *room = mmap(NULL, length + 2 * (size_t)PAGE, PROT_NONE,
	                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED || mmap(room + PAGE, length, RW, flags, fd, 0) == MAP_FAILED)
		fail("no memory", 0);
	return room + PAGE;
}

static void lay(const struct t_place *place, size_t length, enum regmap_backing backing,
                uint64_t target)
{
	struct regmap_config config = {
		.size = sizeof(config),
		.guest = (uintptr_t)place->guest,
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = backing,
		.flags = REGMAP_TRAP,
		.host = place->host,
		.target = target,
	};
	int err = regmap_map(&config, NULL);

	if (err)
		fail(regmap_strerror(err), config.guest);
}

struct t_place t_place_plain(size_t length)
{
	uint8_t *at = fenced(pages(length), -1);

	return (struct t_place){at, at, pages(length)};
}

struct t_place t_place_host(uint64_t guest, size_t length)
{
	struct t_place place = t_place_plain(length);

	place.guest = (uint8_t *)(uintptr_t)guest;
	lay(&place, place.length, REGMAP_HOST, 0);
	return place;
}

struct t_place t_place_ram(uint64_t guest, size_t length)
{
	struct t_place place = {(uint8_t *)(uintptr_t)guest, NULL, pages(length)};
	void *host;

	lay(&place, place.length, REGMAP_RAM, 0);
	if (regmap_translate(guest, &host))
		fail("no host memory", guest);
	place.host = host;
	return place;
}

struct t_place t_place_alias(uint64_t guest, const struct t_place *of)
{
	struct t_place place = {(uint8_t *)(uintptr_t)guest, NULL, of->length};

	lay(&place, place.length, REGMAP_ALIAS, (uintptr_t)of->guest);
	place.host = of->host;
	return place;
}

struct t_place t_place_edge(uint64_t guest, size_t length)
{
	size_t half = pages((length + 1) / 2);
	struct t_place place = {(uint8_t *)(uintptr_t)guest, NULL, 2 * half};
	int fd = memfd_create("edge", 0);
	int flags = MAP_SHARED | MAP_FIXED_NOREPLACE;

	if (fd < 0 || ftruncate(fd, (off_t)place.length))
		fail("no memory", guest);
	place.host = fenced(place.length, fd);
	if (mmap(place.guest + half, half, RW, flags, fd, (off_t)half) != place.guest + half)
		fail("something is mapped", guest + half);
	close(fd);
	lay(&place, half, REGMAP_HOST, 0);
	return place;
}

/* A block is preceded by a line with its size kind and, while it is free, the next one. */
struct head {
	size_t kind;
	uint8_t *next;
};

static size_t kind_of(size_t size)
{
	size_t kind = 6;

	while (((size_t)1 << kind) < size)
		kind++;
	return kind;
}

void *t_arena_host(const struct t_arena *arena, const void *block)
{
	return arena->place.host + ((const uint8_t *)block - arena->place.guest);
}

static struct head *head_of(const struct t_arena *arena, const void *block)
{
	return (struct head *)((uint8_t *)t_arena_host(arena, block) - LINE);
}

static uint8_t *fresh(struct t_arena *arena, size_t kind)
{
	size_t need = LINE + ((size_t)1 << kind);
	uint8_t *host = arena->place.host + arena->used + LINE;

	if (arena->place.length - arena->used < need)
		return NULL;
	arena->used += need;
	return host;
}

void *t_arena_alloc(struct t_arena *arena, size_t size)
{
	size_t kind = kind_of(size);
	uint8_t *host;

	if (size > arena->place.length)
		return NULL;
	host = arena->free[kind];
	if (host)
		arena->free[kind] = ((struct head *)(host - LINE))->next;
	else
		host = fresh(arena, kind);
	if (!host)
		return NULL;
	((struct head *)(host - LINE))->kind = kind;
	arena->peak = ++arena->live > arena->peak ? arena->live : arena->peak;
	return arena->place.guest + (host - arena->place.host);
}

void t_arena_free(struct t_arena *arena, void *block)
{
	struct head *head;

	if (!block)
		return;
	head = head_of(arena, block);
	head->next = arena->free[head->kind];
	arena->free[head->kind] = t_arena_host(arena, block);
	arena->live--;
}

void *t_arena_realloc(struct t_arena *arena, void *block, size_t size)
{
	void *larger;

	if (block && size <= t_arena_size(arena, block))
		return block;
	larger = t_arena_alloc(arena, size);
	if (!larger || !block)
		return larger;
	memcpy(t_arena_host(arena, larger), t_arena_host(arena, block), t_arena_size(arena, block));
	t_arena_free(arena, block);
	return larger;
}

size_t t_arena_size(const struct t_arena *arena, const void *block)
{
	return (size_t)1 << head_of(arena, block)->kind;
}

int t_arena_owns(const struct t_arena *arena, const void *block)
{
	return (uintptr_t)block - (uintptr_t)arena->place.guest < arena->place.length;
}

int t_mode_is(const char *mode)
{
	const char *is = getenv("TEST_MODE");

	return is && !strcmp(is, mode);
}

uint32_t t_random(uint64_t *state)
{
	return (uint32_t)(t_next(state) >> 32);
}

void t_random_fill(uint64_t *state, void *to, size_t length)
{
	uint8_t *at = to;

	while (length--)
		*at++ = (uint8_t)t_random(state);
}
