/* SPDX-License-Identifier: MIT */
/*
 * Places for real software to work in: trapped windows of each kind, plain memory to compare
 * with, and a heap on top of one. All of them live as long as the process.
 */
#ifndef TESTS_ARENA_H
#define TESTS_ARENA_H

#include <stddef.h>
#include <stdint.h>

/*
 * Whole pages, seen twice. Nothing is mapped right before and behind @host, and no window lies
 * right before and behind @guest, so that a byte too far is noticed on either side.
 */
struct t_place {
	uint8_t *guest; /* for the code under test: each access traps */
	uint8_t *host;  /* the same bytes, for the test itself */
	size_t length;
};

/* Each aborts with a line on stderr where it fails. @length is rounded up to pages. */
struct t_place t_place_plain(size_t length); /* guest and host are the same */
struct t_place t_place_host(uint64_t guest, size_t length);
struct t_place t_place_ram(uint64_t guest, size_t length);
struct t_place t_place_alias(uint64_t guest, const struct t_place *of);
/* The first half is a window, the second half ordinary memory that follows it. */
struct t_place t_place_edge(uint64_t guest, size_t length);

/* A heap. What it keeps beside the blocks it reads and writes through place.host. */
struct t_arena {
	struct t_place place;
	size_t used;       /* bytes */
	size_t live, peak; /* blocks */
	uint8_t *free[48]; /* host addresses, by size class */
};

/* Blocks are aligned to 64 bytes; they are guest addresses. NULL where the place is full. */
void *t_arena_alloc(struct t_arena *arena, size_t size);
void t_arena_free(struct t_arena *arena, void *block);
/* Of a block of the arena's; what it holds is copied by its host address. */
void *t_arena_realloc(struct t_arena *arena, void *block, size_t size);
size_t t_arena_size(const struct t_arena *arena, const void *block);
int t_arena_owns(const struct t_arena *arena, const void *block);
/* The same bytes, untrapped. */
void *t_arena_host(const struct t_arena *arena, const void *block);

/*
 * Is this make's MODE? Sanitizers put functions of their own before the C library's, for shared
 * libraries, too, and those look up the shadow of every pointer; a window has none.
 */
int t_mode_is(const char *mode);

/* Numbers that look random and are the same each time. */
uint32_t t_random(uint64_t *state);
void t_random_fill(uint64_t *state, void *to, size_t length);

#endif
