/* SPDX-License-Identifier: MIT */
/*
 * RAM, shared with children: zeroed shared memory with one view somewhere in the process, through
 * which trapped accesses go, and copies of that view at guest addresses. mremap() with an old size
 * of 0 makes those, so no file descriptor is kept, which the program might close.
 *
 * Small windows are cut from arenas and never reuse a byte. The views of an arena are one mapping
 * for the kernel. An arena goes with its last window and is never cleared before that: a child of a
 * bare fork, which nobody tells us of, may be using the same memory.
 *
 * Private RAM: see below.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../arch/x86_64/syscall.h"
#include "reserve.h"
#include "table.h"
#include "view.h"

enum { PAGE = RESERVE_PAGE, ARENA = 2 << 20, SMALL = ARENA / 8 };

/* What is larger stays out of core files: the kernel would look at (or make) each of its pages. */
#define DUMPED_MOST (1ULL << 30)

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct arena {
	uint8_t *base;
	uint64_t size, used; /* bytes */
	unsigned windows;
	unsigned forks; /* at its birth */
	struct arena *next_free;
};

static struct arena *current, *free_arenas;
static unsigned forks;

/* With the other side of a fork: not to be cut any more. */
static bool is_shared(const struct arena *arena)
{
	return arena->forks != forks;
}

/* Records, from the kernel and never back: malloc() may be out of order in a child. */
static struct arena *record_take(void)
{
	struct arena *arena = free_arenas;

	if (!arena) {
		arena = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		             0);
		if (arena == MAP_FAILED)
			return NULL;
		for (unsigned i = 1; i < PAGE / sizeof(*arena); i++) {
			arena[i].next_free = free_arenas;
			free_arenas = &arena[i];
		}
		return arena;
	}
	free_arenas = arena->next_free;
	return arena;
}

static void record_give(struct arena *arena)
{
	arena->next_free = free_arenas;
	free_arenas = arena;
}

static void keep_out_of_cores(void *at, uint64_t bytes)
{
	if (bytes > DUMPED_MOST)
		madvise(at, bytes, MADV_DONTDUMP);
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
	struct arena *arena = record_take();

	if (!arena)
		return NULL;
	*arena = (struct arena){.forks = forks, .size = bytes, .base = map_shared(bytes)};
	if (!arena->base) {
		record_give(arena);
		return NULL;
	}
	keep_out_of_cores(arena->base, bytes);
	return arena;
}

static void arena_free(struct arena *arena)
{
	munmap(arena->base, arena->size);
	record_give(arena);
}

/* The arena to cut from; the one before stays for as long as it has windows. */
static struct arena *arena_for(uint64_t bytes)
{
	struct arena *arena, *before = current;

	if (bytes > SMALL)
		return arena_new(bytes);
	if (before && !is_shared(before) && before->size - before->used >= bytes)
		return before;
	arena = arena_new(ARENA);
	if (!arena)
		return NULL;
	/* In this order: a bare clone that comes in between must not free it again, and what lies there by then. */
	current = arena;
	if (before && before->windows == 0)
		arena_free(before);
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

/* Of the page that holds the first byte: where its bytes are. */
static void set_home(struct regmap_window *w, uint8_t *home)
{
	uint64_t base = (uintptr_t)home + window_start(w) % PAGE;

	atomic_store_explicit(&w->base, base, memory_order_release);
}

static int create_shared(struct regmap_window *w, uint64_t bytes)
{
	struct arena *arena = arena_for(bytes);

	if (!arena)
		return -ENOMEM;
	w->ram.arena = arena;
	w->ram.view = arena->base + arena->used;
	arena->used += bytes;
	arena->windows++;
	return 0;
}

static int create_private(struct regmap_window *w, uint64_t bytes)
{
	void *view = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (view == MAP_FAILED)
		return -ENOMEM;
	keep_out_of_cores(view, bytes);
	w->ram.arena = NULL;
	w->ram.view = view;
	return 0;
}

int regmap__ram_create(struct regmap_window *w, const struct regmap_config *config)
{
	uint64_t bytes = view_bytes(w);
	int err;

	if (bytes - 1 >= 1ULL << 56)
		return -ENOMEM;
	err = w->flags & REGMAP_PRIVATE ? create_private(w, bytes) : create_shared(w, bytes);
	if (err)
		return err;
	if (config->fill)
		memset(w->ram.view, (int)config->fill, bytes);
	set_home(w, w->ram.view);
	return 0;
}

void regmap__ram_destroy(struct regmap_window *w)
{
	struct arena *arena = w->ram.arena;

	if (!arena && w->ram.view)
		munmap(w->ram.view, view_bytes(w));
	if (!arena)
		return;
	if (--arena->windows > 0)
		return;
	if (arena == current)
		current = NULL;
	arena_free(arena);
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

int regmap__ram_attach(const struct regmap_window *w, uint64_t from, uint64_t bytes, uint64_t guest,
                       unsigned access)
{
	void *view = w->ram.view + (from - page_of(window_start(w)));

	if (!(access & REGMAP_WRITE))
		return attach_read_only(view, bytes, guest);
	return move_to(view, 0, bytes, guest) ? 0 : -ENOMEM;
}

/*
 * Private RAM is ordinary private memory, so that the kernel gives each child its own, however that
 * was made. The price is that it can't be seen at two places: its home is either the guest address,
 * where accesses are direct, or the view, and then all of it traps. It begins at the guest address
 * if the window is whole pages that nothing else lies in, and moves out, for good, when a window is
 * laid inside: so what regmap_translate() has found stays good (the guest address by trapping).
 *
 * Another thread may be in the middle of a trapped access at the old home (through an alias, say),
 * which then faults. So the moves are counted, and whoever has met one tries again.
 *
 * While the home is the guest address, the view is room kept free: nobody touches it, but it can be
 * read, which the pages that are moved there can't be at first. That tells a child of a bare fork
 * whether a move by a thread that it doesn't have took place.
 */
_Atomic unsigned regmap__ram_moves; /* odd: one is under way */

static struct {
	_Atomic(struct regmap_window *) window; /* NULL: none */
	_Atomic bool moved;
} move;

static long protect(void *at, uint64_t bytes, int rights)
{
	return sys_call(SYS_mprotect, (long)at, (long)bytes, rights, 0);
}

static void *guest_home(const struct regmap_window *w)
{
	return (void *)(uintptr_t)window_start(w);
}

/* Leaves an empty mapping with the rights of before: Linux 5.7. */
static bool move_pages(void *from, void *to, uint64_t bytes)
{
	return syscall(SYS_mremap, from, bytes, bytes,
	               MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == (long)to;
}

static bool can_move(void)
{
	static int can = -1;
	uint8_t *two;

	if (can < 0) {
		two = mmap(NULL, (size_t)2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (two == MAP_FAILED)
			return false;
		can = move_pages(two, two + PAGE, PAGE);
		munmap(two, (size_t)2 * PAGE);
	}
	return can;
}

static int ram_move_in(struct regmap_window *w)
{
	uint64_t start = window_start(w), bytes = window_last(w) - start + 1;

	if (!(w->flags & REGMAP_PRIVATE) || !(w->access & REGMAP_WRITE) || !can_move() ||
	    start % PAGE || bytes % PAGE)
		return -ENOTSUP;
	if (protect(w->ram.view, bytes, PROT_READ))
		return -ENOMEM;
	if (syscall(SYS_mmap, start, bytes, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
	            0L) != (long)start) {
		protect(w->ram.view, bytes, PROT_READ | PROT_WRITE);
		return -ENOMEM;
	}
	keep_out_of_cores(guest_home(w), bytes);
	set_home(w, guest_home(w));
	return 0;
}

/* While a window is named the count is odd: regmap__ram_settle() relies on that. */
static void begin_move(struct regmap_window *w)
{
	atomic_store(&move.moved, false);
	atomic_fetch_add(&regmap__ram_moves, 1);
	atomic_store(&move.window, w);
}

static void end_move(void)
{
	atomic_store(&move.window, NULL);
	atomic_fetch_add(&regmap__ram_moves, 1);
}

/* AS-Safe. */
static void finish_move(struct regmap_window *w)
{
	protect(w->ram.view, view_bytes(w), PROT_READ | PROT_WRITE);
	set_home(w, w->ram.view);
	end_move();
}

/* AS-Safe. */
static void cancel_move(struct regmap_window *w)
{
	protect(guest_home(w), view_bytes(w), PROT_READ | PROT_WRITE);
	end_move();
}

/* The kernel may have unmapped it before it found that it can't move the pages, or may not. */
static void replace_view(struct regmap_window *w, uint64_t bytes)
{
	void *view = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	                  0);

	w->ram.view = view == MAP_FAILED ? NULL : view;
}

static int ram_move_out(struct regmap_window *w)
{
	void *guest = guest_home(w);
	uint64_t bytes = view_bytes(w);

	if (window_base(w) != (uintptr_t)guest)
		return 0;
	if (!w->ram.view)
		return -ENOMEM;
	begin_move(w);
	if (protect(guest, bytes, PROT_NONE) || !move_pages(guest, w->ram.view, bytes)) {
		cancel_move(w);
		replace_view(w, bytes);
		return -ENOMEM;
	}
	atomic_store(&move.moved, true);
	finish_move(w);
	regmap__views_forget(window_start(w), window_last(w));
	return 0;
}

/* The kernel reads an empty set of signals there, or can't. */
static bool is_readable(const void *at)
{
	return !sys_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)at, 0, 8);
}

void regmap__ram_settle(void)
{
	struct regmap_window *w = atomic_load(&move.window);

	forks++;
	if (w && (atomic_load(&move.moved) || !is_readable(w->ram.view)))
		finish_move(w);
	else if (w)
		cancel_move(w);
	else if (atomic_load(&regmap__ram_moves) % 2)
		atomic_fetch_add(&regmap__ram_moves, 1);
}

void regmap__ram_freeze(void)
{
	forks++;
}

const struct backing_ops regmap__backing_ram = {
	.name = "RAM",
	.maps_memory = true,
	.create = regmap__ram_create,
	.destroy = regmap__ram_destroy,
	.host = true,
	.attach = regmap__ram_attach,
	.move_in = ram_move_in,
	.move_out = ram_move_out,
};
