/* SPDX-License-Identifier: MIT */
/*
 * RAM: zeroed shared memory with one view somewhere in the process, through which trapped accesses
 * go, and copies of that view at guest addresses. mremap() with an old size of 0 makes those, so no
 * file descriptor is kept, which the program might close.
 *
 * Windows are cut from arenas and never reuse a byte. The views of an arena are one mapping for the
 * kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reserve.h"
#include "table.h"

enum { PAGE = RESERVE_PAGE, ARENA = 64 << 20 };

struct arena {
	uint8_t *base;
	uint64_t size, used; /* bytes */
	unsigned windows;
	unsigned forks; /* at its birth */
};

static struct arena *current;
static unsigned forks;

/* With the other side of a fork: neither to be cleared nor cut any more. */
static bool is_shared(const struct arena *arena)
{
	return arena->forks != forks;
}

static void *map_memfd(uint64_t size)
{
	int fd = memfd_create("regmap", MFD_CLOEXEC);
	void *p = MAP_FAILED;

	if (fd < 0)
		return p;
	if (ftruncate(fd, (off_t)size) == 0)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	return p;
}

static void *map_shared(uint64_t size)
{
	void *p = map_memfd(size);

	if (p == MAP_FAILED)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static struct arena *arena_new(uint64_t bytes)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	if (!arena)
		return NULL;
	arena->forks = forks;
	arena->size = bytes > ARENA ? bytes : ARENA;
	arena->base = map_shared(arena->size);
	if (!arena->base) {
		free(arena);
		return NULL;
	}
	return arena;
}

static void arena_free(struct arena *arena)
{
	munmap(arena->base, arena->size);
	free(arena);
}

/* The arena to cut from; the one before stays for as long as it has windows. */
static struct arena *arena_for(uint64_t bytes)
{
	struct arena *arena;

	if (current && !is_shared(current) && current->size - current->used >= bytes)
		return current;
	arena = arena_new(bytes);
	if (!arena)
		return NULL;
	if (current && current->windows == 0)
		arena_free(current);
	current = arena;
	return arena;
}

static uint64_t page_of(uint64_t address)
{
	return address & -(uint64_t)PAGE;
}

static uint64_t view_bytes(const struct regmap_window *w)
{
	return page_of(window_last(w)) - page_of(window_start(w)) + PAGE;
}

static int ram_create(struct regmap_window *w, const struct regmap_config *config)
{
	uint64_t bytes = view_bytes(w);
	struct arena *arena;

	(void)config;
	if (bytes - 1 >= 1ULL << 56)
		return -ENOMEM;
	arena = arena_for(bytes);
	if (!arena)
		return -ENOMEM;
	w->ram.arena = arena;
	w->ram.view = arena->base + arena->used;
	arena->used += bytes;
	arena->windows++;
	return 0;
}

static void ram_destroy(struct regmap_window *w)
{
	struct arena *arena = w->ram.arena;

	if (--arena->windows > 0) {
		if (!is_shared(arena))
			madvise(w->ram.view, view_bytes(w), MADV_REMOVE);
		return;
	}
	if (arena == current)
		current = NULL;
	arena_free(arena);
}

static void *ram_host(const struct regmap_window *w, uint64_t offset)
{
	return w->ram.view + window_start(w) % PAGE + offset;
}

/* The system call itself, as in reserve.c. */
static bool move_to(void *from, uint64_t old_bytes, uint64_t bytes, uint64_t guest)
{
	return syscall(SYS_mremap, from, old_bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, guest) ==
	       (long)guest;
}

/* A read-only copy is made so elsewhere: it is never writable at the guest address. */
static int attach_read_only(void *view, uint64_t bytes, uint64_t guest)
{
	void *copy = mremap(view, 0, bytes, MREMAP_MAYMOVE);

	if (copy == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(copy, bytes, PROT_READ) == 0 && move_to(copy, bytes, bytes, guest))
		return 0;
	munmap(copy, bytes);
	return -ENOMEM;
}

static int ram_attach(const struct regmap_window *w, uint64_t first, uint64_t last)
{
	void *view = w->ram.view + (first - page_of(window_start(w)));
	uint64_t bytes = last - first + 1;

	if (!(w->access & REGMAP_WRITE))
		return attach_read_only(view, bytes, first);
	return move_to(view, 0, bytes, first) ? 0 : -ENOMEM;
}

void regmap__ram_freeze(void)
{
	forks++;
}

const struct backing_ops regmap__backing_ram = {
	.name = "RAM",
	.create = ram_create,
	.destroy = ram_destroy,
	.host = ram_host,
	.attach = ram_attach,
};
