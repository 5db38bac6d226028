/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "reserve.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../arch/x86_64/syscall.h"
#include "maps.h"
#include "shadow.h"
#include "table.h"
#include "patch.h"

enum {
	PAGE = RESERVE_PAGE,
	BRIDGE_FROM = 8192, /* ranges from which on gaps are bridged */
	MOST = 24576,       /* ranges: the program needs mappings, too */
	FEW_PAGES = 64,     /* looked at one by one */
};

#define BRIDGE_MOST (1ULL << 30) /* bytes: a longer gap is not worth the address space */
#define VSYSCALL 0xffffffffff600000
#define USER_END_47 0x7ffffffff000
#define USER_END_56 0xfffffffffff000

/*
 * An owned range [first, last] in a treap: sorted by first, a heap by rank. They never touch. The
 * changes come in such an order that the ranges in use, merged where they meet, are right at any
 * moment, whatever has become of the treap: see regmap__reserve_repair().
 */
struct range {
	uint64_t first, last;
	uint32_t rank;
	atomic_bool used;
	struct range *left, *right; /* right: the next free one, too */
};

atomic_uint regmap__reserve_silence;
static struct range *ranges, *free_ranges;
static unsigned count;
static unsigned fresh; /* how many of the newest slab's ranges were never used */
static struct slab {
	struct slab *next;
	struct range range[(65536 - sizeof(void *)) / sizeof(struct range)];
} * slabs;
enum { SLAB_RANGES = sizeof(slabs->range) / sizeof(slabs->range[0]) };
static uint64_t lowest, end; /* what can be reserved: [lowest, end); 0: not asked yet */

/* --- the set of owned ranges --- */

static void split(struct range *r, uint64_t at, struct range **left, struct range **right)
{
	if (!r) {
		*left = *right = NULL;
	} else if (r->first < at) {
		split(r->right, at, &r->right, right);
		*left = r;
	} else {
		split(r->left, at, left, &r->left);
		*right = r;
	}
}

static struct range *join(struct range *a, struct range *b)
{
	if (!a || !b)
		return a ? a : b;
	if (a->rank > b->rank) {
		a->right = join(a->right, b);
		return a;
	}
	b->left = join(a, b->left);
	return b;
}

/* The last range that starts at or before an address. */
static struct range *at_or_before(uint64_t address)
{
	struct range *r = ranges, *found = NULL;

	while (r) {
		if (r->first <= address)
			found = r;
		r = r->first <= address ? r->right : r->left;
	}
	return found;
}

static struct range *after(uint64_t address)
{
	struct range *r = ranges, *found = NULL;

	while (r) {
		if (r->first > address)
			found = r;
		r = r->first > address ? r->left : r->right;
	}
	return found;
}

static struct range *owner_of(uint64_t address)
{
	struct range *r = at_or_before(address);

	return r && r->last >= address ? r : NULL;
}

static uint32_t next_rank(void)
{
	static uint32_t x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static void give(struct range *r)
{
	r->right = free_ranges;
	free_ranges = r;
}

/* Not from malloc(): in a child of a bare fork its locks may be held for ever. */
static bool provide(void)
{
	struct slab *slab;

	if (free_ranges || fresh)
		return true;
	slab = mmap(NULL, sizeof(*slab), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	            0);
	if (slab == MAP_FAILED)
		return false;
	slab->next = slabs;
	slabs = slab;
	fresh = SLAB_RANGES;
	return true;
}

static struct range *take(void)
{
	struct range *r = free_ranges;

	if (r)
		free_ranges = r->right;
	else
		r = &slabs->range[SLAB_RANGES - fresh--];
	return r;
}

static void link_range(struct range *r)
{
	struct range *left, *right;

	r->left = r->right = NULL;
	split(ranges, r->first, &left, &right);
	ranges = join(join(left, r), right);
	count++;
}

static bool insert(uint64_t first, uint64_t last)
{
	struct range *r;

	if (!provide())
		return false;
	r = take();
	r->first = first;
	r->last = last;
	r->rank = next_rank();
	atomic_store(&r->used, true);
	link_range(r);
	return true;
}

static void erase(struct range *r)
{
	struct range *left, *middle, *right;

	atomic_store(&r->used, false);
	split(ranges, r->first, &left, &right);
	split(right, r->first + 1, &middle, &right);
	ranges = join(left, right);
	give(middle);
	count--;
}

/* A range that nobody owns yet becomes ours, one with its neighbours. */
static bool own(uint64_t first, uint64_t last)
{
	struct range *below = first ? owner_of(first - 1) : NULL, *above = owner_of(last + 1);

	if (below && above) {
		below->last = above->last;
		erase(above);
	} else if (below) {
		below->last = last;
	} else if (above) {
		above->first = first;
	} else {
		return insert(first, last);
	}
	return true;
}

/* Part of one owned range is ours no more. False: no memory for the second half. */
static bool disown(struct range *r, uint64_t first, uint64_t last)
{
	uint64_t from = r->first, to = r->last;

	if (from < first && to > last) {
		if (!insert(last + 1, to))
			return false;
		r->last = first - 1;
		return true;
	}
	if (from < first)
		r->last = first - 1;
	else if (to > last)
		r->first = last + 1;
	else
		erase(r);
	return true;
}

/* --- what the kernel has --- */

/*
 * The system calls themselves: sanitizers stand in front of libc's functions and believe that they
 * know which addresses a program may map. -errno.
 */
static long map_none(uint64_t first, uint64_t last, int how)
{
	long got = syscall(SYS_mmap, first, last - first + 1, PROT_NONE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | how, -1, 0L);

	return got == -1 ? -errno : got;
}

static int unmap(uint64_t first, uint64_t last)
{
	return syscall(SYS_munmap, first, last - first + 1) ? -errno : 0;
}

/* 0, -EEXIST something is there, -ENOMEM or another reason why not. */
static int place(uint64_t first, uint64_t last)
{
	long got = map_none(first, last, MAP_FIXED_NOREPLACE);

	if (got == (long)first)
		return 0;
	if (got < 0 && got > -PAGE)
		return (int)got;
	unmap(got, got + (last - first)); /* a kernel before 4.17 takes the address for a hint */
	return -EEXIST;
}

int regmap__reserve_cover(uint64_t first, uint64_t last)
{
	return map_none(first, last, MAP_FIXED) == (long)first ? 0 : -ENOMEM;
}

/* Not by fopen(): that would be the first malloc() of many a program. */
static uint64_t min_address(void)
{
	char digits[24] = "";
	long fd = sys_open_read("/proc/sys/vm/mmap_min_addr");
	uint64_t value = 65536;

	if (fd >= 0) {
		if (sys_call(SYS_read, fd, (long)digits, sizeof(digits) - 1, 0) > 0)
			value = strtoull(digits, NULL, 10);
		sys_call(SYS_close, fd, 0, 0, 0);
	}
	return (value + PAGE - 1) / PAGE * PAGE;
}

/*
 * Page 0 stays unmapped even where the kernel would allow it: a null pointer is to fault as always.
 */
static void find_limits(void)
{
	if (end)
		return;
	lowest = min_address();
	if (lowest < PAGE)
		lowest = PAGE;
	end = USER_END_47;
	if (place(1ULL << 55, (1ULL << 55) + PAGE - 1) == 0) {
		unmap(1ULL << 55, (1ULL << 55) + PAGE - 1);
		end = USER_END_56;
	}
}

/* A mapping, for the report. */
struct occupant {
	uint64_t first, last;
	char mode[5];
	char what[200];
};

static void describe(struct occupant *o, const struct mapping *m)
{
	*o = (struct occupant){
		.first = m->start,
		.last = m->end - 1,
		.mode = {m->rights & PROT_READ ? 'r' : '-', m->rights & PROT_WRITE ? 'w' : '-',
	                 m->rights & PROT_EXEC ? 'x' : '-', m->shared ? 's' : 'p'},
	};
	snprintf(o->what, sizeof(o->what), "%s", m->name);
}

/* The first mapping in a range that isn't a reservation of ours. */
static bool find_occupant(uint64_t first, uint64_t last, struct occupant *o)
{
	static char text[MAPS_TEXT];
	struct mapping m;
	struct maps maps;
	bool found = false;

	if (!regmap__maps_open(&maps, text))
		return false;
	while (!found && regmap__maps_next(&maps, &m))
		found = m.start <= last && m.end - 1 >= first &&
		        !owner_of(m.start < first ? first : m.start);
	regmap__maps_close(&maps);
	if (found)
		describe(o, &m);
	return found;
}

static bool page_is_mapped(uint64_t page)
{
	unsigned char state;

	return mincore((void *)page, PAGE, &state) == 0;
}

/* Is something of the program's there? For where it can't be found out by mapping. */
static bool in_use(uint64_t first, uint64_t last)
{
	struct occupant o;

	if ((last - first) / PAGE >= FEW_PAGES)
		return find_occupant(first, last, &o);
	for (;; first += PAGE) {
		if (!owner_of(first) && page_is_mapped(first))
			return true;
		if (last - first < PAGE)
			return false;
	}
}

static const char *advice_for(const struct occupant *o)
{
	if (patch_ever() && regmap__room_is_ours(o->first))
		return "map windows before sites are patched, or choose another address";
	if (regmap__shadow_is_at(o->last))
		return "choose another address (a device: another offset), or build without the sanitizer";
	if (o->first == 0)
		return "a system-call rewriter (zpoline, lazypoline) does that: run without it";
	return "choose another address, or unmap that first";
}

static const char *name_of(const struct occupant *o)
{
	if (patch_ever() && regmap__room_is_ours(o->first))
		return "the code of patched sites";
	if (!o->what[0] && regmap__shadow_is_at(o->last))
		return "AddressSanitizer's shadow memory";
	return o->what[0] ? o->what : "anonymous memory";
}

static void report(uint64_t start, uint64_t last, const char *name)
{
	struct occupant o = {start, last, "?", ""};
	char line[512];
	int n;

	find_occupant(start & -(uint64_t)PAGE, last | (PAGE - 1), &o);
	n = snprintf(line, sizeof(line),
	             "regmap: can't map \"%s\" at 0x%" PRIx64 "-0x%" PRIx64 ": 0x%" PRIx64
	             "-0x%" PRIx64 " (%s) is in use by %s; %s\n",
	             name, start, last, o.first, o.last, o.mode, name_of(&o), advice_for(&o));
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody listens */
}

/* --- taking --- */

static bool keep(uint64_t first, uint64_t last)
{
	if (own(first, last))
		return true;
	unmap(first, last);
	return false;
}

/*
 * Reserve a range along with the gap to a neighbour, so that the kernel has one mapping for both.
 */
static bool bridge(uint64_t first, uint64_t last)
{
	const struct range *below = at_or_before(first), *above = after(last);

	if (below && first - below->last <= BRIDGE_MOST && place(below->last + 1, last) == 0)
		return keep(below->last + 1, last);
	if (above && above->first - last <= BRIDGE_MOST && place(first, above->first - 1) == 0)
		return keep(first, above->first - 1);
	return false;
}

/* Own a range that isn't owned yet, or leave it be. 0 or -EADDRINUSE. */
static int take_run(uint64_t first, uint64_t last)
{
	int err;

	if (count >= BRIDGE_FROM && bridge(first, last))
		return 0;
	err = place(first, last);
	if (err == -EEXIST && regmap__shadow_yield(first, last))
		err = place(first, last);
	if (err == -EEXIST)
		return -EADDRINUSE;
	if (err == 0 && count >= MOST)
		unmap(first, last);
	else if (err == 0)
		keep(first, last);
	if (err == 0 || bridge(first, last))
		return 0;
	return in_use(first, last) ? -EADDRINUSE : 0;
}

static int take_pages(uint64_t first, uint64_t last)
{
	uint64_t at = first, to;

	while (at <= last) {
		const struct range *r = owner_of(at), *next = after(at);

		if (r) {
			to = r->last;
		} else {
			to = next && next->first <= last ? next->first - 1 : last;
			if (take_run(at, to)) {
				if (at > first)
					regmap__reserve_drop(first, at - 1);
				return -EADDRINUSE;
			}
		}
		at = to + 1;
	}
	return 0;
}

/* The pages of a byte range that can be reserved; false: none. */
static bool clip_to_user(uint64_t *first, uint64_t *last)
{
	*first &= -(uint64_t)PAGE;
	*last |= PAGE - 1;
	if (*first < lowest)
		*first = lowest;
	if (*last >= end)
		*last = end - 1;
	return *first <= *last;
}

/* Parts that need no room must be free of the few things that can be there all the same. */
static bool unreservable_in_use(uint64_t start, uint64_t last)
{
	uint64_t to = last < lowest ? last | (PAGE - 1) : lowest - 1;
	struct occupant o;

	if (start < lowest && in_use(start & -(uint64_t)PAGE, to))
		return true;
	return start < VSYSCALL + PAGE && last >= VSYSCALL &&
	       find_occupant(VSYSCALL, VSYSCALL + PAGE - 1, &o);
}

bool regmap__reserve_try(uint64_t start, uint64_t last)
{
	uint64_t first = start, to = last;

	find_limits();
	if (unreservable_in_use(start, last))
		return false;
	return !clip_to_user(&first, &to) || !take_pages(first, to);
}

int regmap__reserve_take(uint64_t start, uint64_t last, const char *name)
{
	int err = regmap__reserve_try(start, last) ? 0 : -EADDRINUSE;

	if (err && !atomic_load(&regmap__reserve_silence))
		report(start, last, name);
	return err;
}

/* --- giving back --- */

/*
 * Of a stretch that no window touches, give back what one owned range has in it. In the middle of a
 * range that makes one mapping more, so past BRIDGE_FROM it stays, as a bridge.
 */
static void drop_from(struct range *r, uint64_t first, uint64_t last)
{
	bool middle;

	if (first < r->first)
		first = r->first;
	if (last > r->last)
		last = r->last;
	middle = r->first < first && r->last > last;
	if (middle && count >= BRIDGE_FROM)
		return;
	if (disown(r, first, last) && unmap(first, last))
		own(first, last); /* still there: the kernel has no memory for the second half */
}

static void drop_stretch(uint64_t first, uint64_t last)
{
	struct range *r;

	for (uint64_t at = first; at <= last;) {
		r = owner_of(at);
		if (!r)
			r = after(at);
		if (!r || r->first > last)
			return;
		at = r->last + 1;
		drop_from(r, first, last);
	}
}

void regmap__reserve_drop(uint64_t start, uint64_t last)
{
	uint64_t at = start, to = last, first;
	struct table_hit hit;

	if (!clip_to_user(&at, &to))
		return;
	while (at <= to) {
		regmap__table_find(at, &hit);
		if (hit.last >= end)
			hit.last = end - 1;
		if (!hit.window) {
			first = (regmap__table_gap_first(at) + PAGE - 1) & -(uint64_t)PAGE;
			if (hit.last + 1 >= first + PAGE)
				drop_stretch(first, ((hit.last + 1) & -(uint64_t)PAGE) - 1);
		}
		at = (hit.last + 1) & -(uint64_t)PAGE;
		if (hit.window || (hit.last + 1) % PAGE)
			at = (hit.last & -(uint64_t)PAGE) + PAGE;
	}
}

bool regmap__reserve_clip(uint64_t *first, uint64_t *last)
{
	const struct range *r = owner_of(*first);

	if (!r)
		r = after(*first);
	if (!r || r->first > *last)
		return false;
	if (r->first > *first)
		*first = r->first;
	if (r->last < *last)
		*last = r->last;
	return true;
}

/* Those in use may overlap: see struct range. */
static void link_again(struct range *r)
{
	struct range *below = owner_of(r->first), *above;

	if (below) {
		if (below->last < r->last)
			below->last = r->last;
		atomic_store(&r->used, false);
		r = below;
	} else {
		link_range(r);
	}
	while ((above = after(r->first)) && above->first <= r->last) {
		if (above->last > r->last)
			r->last = above->last;
		erase(above);
	}
}

typedef void range_fn(struct range *r);

static void each_range(bool used, range_fn *act)
{
	for (struct slab *slab = slabs; slab; slab = slab->next)
		for (unsigned i = 0; i < SLAB_RANGES; i++)
			if (atomic_load(&slab->range[i].used) == used)
				act(&slab->range[i]);
}

void regmap__reserve_repair(void)
{
	ranges = NULL;
	count = 0;
	each_range(true, link_again);
	free_ranges = NULL;
	fresh = 0;
	each_range(false, give);
}

unsigned regmap__reserve_count(void)
{
	return count;
}
