/* SPDX-License-Identifier: MIT */
/*
 * Code memory of ours near the program's: slots within 2 GB of their sites, hops exactly where a
 * punned jump leads. The kernel is asked for places one by one (MAP_FIXED_NOREPLACE); what it gives
 * is readable and executable from the start, and is written by /proc/self/mem.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/fragment.h"
#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "patch.h"
#include "patch_own.h"

#include "sigsafe.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MIB (1ULL << 20)
#define REACH (2048 * MIB - MIB)
#define LOWEST MIB
#define HIGHEST (1ULL << 47)

enum {
	PAGE = 4096,
	GRAIN = 64,            /* slots begin at such multiples */
	UNIT_CODE = 128 << 10, /* an area has one unit, or LARGE */
	UNIT_CELLS = 512,
	UNIT_DATA = UNIT_CELLS * (sizeof(uint64_t) + sizeof(struct slot_cell)),
	LARGE = 16,
	SMALL_AREAS = 4, /* the first ones: most programs need no more */
	BUCKETS = 1 << 14,
	TRIES = 120, /* each way */
	STEP = 16 << 20,
	MOST_PAGES = 16384, /* of hops: each may be a mapping, of which there are 65530 */
	HLT = 0xf4,
	PARTS = 16, /* of a page of hops */
	PART = PAGE / PARTS,
	LONGEST = 14, /* hop */
};

_Static_assert(UNIT_DATA % PAGE == 0, "whole pages");
_Static_assert(TRIES *(uint64_t)STEP + LARGE * (UNIT_CODE + UNIT_DATA) < REACH,
               "all tries are in reach");
_Static_assert(LARGE *UNIT_CODE == 2 * MIB, "as large as a large page of the processor's");

/* Code, then what it looks at (one pointer for each cell), then cells. */
struct patch_area {
	uint64_t code;
	unsigned units;
	uint32_t used, cells;
	_Atomic uint32_t *owner; /* of each GRAIN bytes of code */
};

static uint64_t code_size(const struct patch_area *area)
{
	return (uint64_t)area->units * UNIT_CODE;
}

static uint64_t views_of(const struct patch_area *area)
{
	return area->code + code_size(area);
}

static uint64_t cells_of(const struct patch_area *area)
{
	return views_of(area) + area->units * UNIT_CELLS * sizeof(uint64_t);
}

static uint64_t end_of(const struct patch_area *area)
{
	return views_of(area) + (uint64_t)area->units * UNIT_DATA;
}

/* A page of ours: of an area, or with hops. */
struct code_page {
	uint64_t page; /* its number */
	_Atomic uint32_t next;
	uint32_t area;                 /* 0: hops */
	bool mapped;                   /* else there are only strays */
	uint16_t used;                 /* where hops that may lie anywhere in the page go on */
	_Atomic uint32_t first[PARTS]; /* hop that begins in a part of the page */
};

struct hop {
	uint64_t at;
	uint32_t owner, size;
	uint32_t next;
};

static struct pool areas = {.size = sizeof(struct patch_area)};
static struct pool pages = {.size = sizeof(struct code_page)};
static struct pool hops = {.size = sizeof(struct hop)};
static _Atomic uint32_t buckets[BUCKETS];

static unsigned mapped; /* pages of hops */

static bool keeps_clear(uint64_t at, uint64_t size)
{
	return at >= LOWEST && at + size <= HIGHEST && !regmap__patch_is_in_the_way(at, size);
}

static bool failed(long result)
{
	return result < 0 && result > -PAGE;
}

/* An old kernel takes the address for a hint. */
static bool map_at(uint64_t at, size_t size, int protection)
{
	long got = sys_call6(SYS_mmap, (long)at, (long)size, protection,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
	                     0);

	if (failed(got))
		return false;
	if ((uint64_t)got == at)
		return true;
	sys_call(SYS_munmap, got, (long)size, 0, 0);
	return false;
}

/* --- pages --- */

static _Atomic uint32_t *bucket_of(uint64_t page)
{
	return &buckets[page * 0x9e3779b97f4a7c15 >> 50];
}

static struct code_page *find_page(uint64_t page)
{
	uint32_t n = atomic_load_explicit(bucket_of(page), memory_order_acquire);

	for (struct code_page *p; n; n = atomic_load_explicit(&p->next, memory_order_acquire)) {
		p = regmap__pool_at(&pages, n);
		if (p->page == page)
			return p;
	}
	return NULL;
}

static struct code_page *add_page(uint64_t page, uint32_t area)
{
	uint32_t n = regmap__pool_take(&pages);
	struct code_page *p;

	if (!n)
		return NULL;
	p = regmap__pool_at(&pages, n);
	p->page = page;
	p->area = area;
	list_push(bucket_of(page), &p->next, n);
	return p;
}

/* --- slots --- */

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static bool in_reach(const struct patch_area *area, uint64_t near)
{
	return distance(area->code, near) < REACH && distance(end_of(area), near) < REACH;
}

static bool has_room(const struct patch_area *area, size_t code, unsigned cells)
{
	return area->used + code <= code_size(area) &&
	       area->cells + cells <= area->units * UNIT_CELLS;
}

/* A processor remembers few small pages at once, and a program with thousands of sites goes through hundreds. */
static bool map_area(uint64_t at, unsigned units)
{
	size_t code = units * UNIT_CODE, data = units * UNIT_DATA;

	if (!keeps_clear(at, code + data) || !map_at(at, code + data, PROT_READ | PROT_EXEC))
		return false;
	if (units == LARGE)
		sys_call(SYS_madvise, (long)at, (long)code, MADV_HUGEPAGE, 0);
	if (!sys_call(SYS_mprotect, (long)(at + code), (long)data, PROT_READ | PROT_WRITE, 0))
		return true;
	sys_call(SYS_munmap, (long)at, (long)(code + data), 0, 0);
	return false;
}

/* Below the code at first: there is less that could want to grow there. */
static uint64_t place_area(uint64_t near, unsigned units)
{
	uint64_t base = near & -((uint64_t)units * UNIT_CODE);

	for (unsigned i = 1; i <= 2 * TRIES; i++) {
		uint64_t away = (uint64_t)(i + 1) / 2 * STEP;
		uint64_t at = i & 1 ? base - away : base + away;

		if (map_area(at, units))
			return at;
	}
	return 0;
}

static bool lay_area(struct patch_area *area, uint64_t near, unsigned units)
{
	uint64_t code = place_area(near, units);

	if (!code)
		return false;
	area->code = code;
	area->units = units;
	return true;
}

static struct patch_area *new_area(uint64_t near)
{
	uint32_t n = regmap__pool_take(&areas);
	struct patch_area *area;

	if (!n)
		return NULL;
	area = regmap__pool_at(&areas, n); /* without units: nothing has room */
	if ((n <= SMALL_AREAS || !lay_area(area, near, LARGE)) && !lay_area(area, near, 1))
		return NULL;
	area->used = (uint32_t)code_size(area); /* none, unless all goes well */
	area->owner = regmap__scratch_map(code_size(area) / GRAIN * sizeof(*area->owner));
	if (!area->owner)
		return NULL;
	for (uint64_t at = area->code; at < end_of(area); at += PAGE)
		if (!add_page(at / PAGE, n))
			return NULL;
	area->used = 0;
	return area;
}

static struct patch_area *area_near(uint64_t near, size_t code, unsigned cells)
{
	for (uint32_t n = atomic_load(&areas.used); n; n--) {
		struct patch_area *area = regmap__pool_at(&areas, n);

		if (has_room(area, code, cells) && in_reach(area, near))
			return area;
	}
	return new_area(near);
}

bool regmap__room_for_slot(uint64_t near, struct patch_room *room)
{
	struct patch_area *area = area_near(near, SLOT_CODE_MOST, 1);

	if (!area)
		return false;
	room->area = area;
	room->code = area->code + area->used;
	room->view = views_of(area) + area->cells * sizeof(uint64_t);
	room->cell = (struct slot_cell *)(uintptr_t)cells_of(area) + area->cells;
	room->other = (uintptr_t)&room->cell->own_other;
	return true;
}

static void take_code(struct patch_area *area, size_t length, uint32_t owner)
{
	uint32_t end = area->used + (uint32_t)(length + GRAIN - 1) / GRAIN * GRAIN;

	for (; area->used < end; area->used += GRAIN)
		atomic_store_explicit(&area->owner[area->used / GRAIN], owner,
		                      memory_order_release);
}

void regmap__room_keep(struct patch_room *room, size_t length, uint32_t owner)
{
	take_code(room->area, length, owner);
	room->area->cells++;
}

/* Their data lie where cells would. */
static unsigned cells_for(unsigned accesses)
{
	return (unsigned)((accesses * FRAGMENT_DATA + FRAGMENT_DATA_ONCE +
	                   sizeof(struct slot_cell) - 1) /
	                  sizeof(struct slot_cell));
}

bool regmap__room_for_fragment(uint64_t near, unsigned accesses, struct patch_room *room)
{
	struct patch_area *area = area_near(near, FRAGMENT_CODE_MOST, cells_for(accesses));

	if (!area)
		return false;
	room->area = area;
	room->code = area->code + area->used;
	room->data = cells_of(area) + area->cells * sizeof(struct slot_cell);
	return true;
}

void regmap__room_keep_fragment(struct patch_room *room, size_t length, unsigned accesses,
                                uint32_t owner)
{
	take_code(room->area, length, owner | ROOM_FRAGMENT);
	room->area->cells += cells_for(accesses);
}

/* --- hops --- */

static bool overlaps(const struct hop *hop, uint64_t at, unsigned size)
{
	return hop->at < at + size && at < hop->at + hop->size;
}

static _Atomic uint32_t *part_of(struct code_page *page, uint64_t at)
{
	return &page->first[at % PAGE / PART];
}

static const struct hop *search_part(struct code_page *page, uint64_t part, uint64_t at,
                                     unsigned size)
{
	uint32_t n = atomic_load_explicit(part_of(page, part), memory_order_acquire);

	while (n) {
		const struct hop *hop = regmap__pool_at(&hops, n);

		if (overlaps(hop, at, size))
			return hop;
		n = hop->next;
	}
	return NULL;
}

/* What lies in the way of @size bytes; hops don't reach into another page. */
static const struct hop *in_the_way(struct code_page *page, uint64_t at, unsigned size)
{
	uint64_t before = at % PAGE < LONGEST ? at : at - LONGEST;
	const struct hop *hop = search_part(page, at, at, size);

	if (!hop && before / PART != at / PART)
		hop = search_part(page, before, at, size);
	if (!hop && (at + size - 1) / PART != at / PART)
		hop = search_part(page, at + size - 1, at, size);
	return hop;
}

/* The first place from @at to @last, by steps, of the page where @size bytes are free; 0: none. */
static uint64_t free_place(struct code_page *page, uint64_t at, uint64_t last, unsigned size,
                           uint64_t stride)
{
	uint64_t end = (page->page + 1) * PAGE;

	while (at <= last && at + size <= end) {
		const struct hop *hop = in_the_way(page, at, size);

		if (!hop)
			return at;
		at += (hop->at + hop->size - at + stride - 1) / stride * stride;
	}
	return 0;
}

static bool note(struct code_page *page, uint64_t at, unsigned size, uint32_t owner)
{
	_Atomic uint32_t *part = part_of(page, at);
	uint32_t n = regmap__pool_take(&hops);
	struct hop *hop;

	if (!n)
		return false;
	hop = regmap__pool_at(&hops, n);
	*hop = (struct hop){at, owner, size, atomic_load(part)};
	atomic_store_explicit(part, n, memory_order_release);
	return true;
}

/* What isn't a hop traps: a stray may lie anywhere. */
static bool map_hops(const struct patch_text *text, uint64_t at)
{
	static uint8_t traps[PAGE];

	if (mapped == MOST_PAGES || !keeps_clear(at, PAGE) ||
	    !map_at(at, PAGE, PROT_READ | PROT_EXEC))
		return false;
	memset(traps, HLT, sizeof(traps));
	if (!regmap__text_write(text, at, traps, sizeof(traps))) {
		sys_call(SYS_munmap, (long)at, PAGE, 0, 0);
		return false;
	}
	mapped++;
	return true;
}

static struct code_page *page_for_hops(const struct patch_text *text, uint64_t number, bool fresh)
{
	struct code_page *page = find_page(number);

	if (page && (page->area || page->mapped))
		return page->area ? NULL : page;
	if (!fresh)
		return NULL;
	if (!page)
		page = add_page(number, 0);
	if (!page || !map_hops(text, number * PAGE))
		return NULL;
	page->mapped = true;
	return page;
}

/* Where one of the same owner's is already, there is no need for another. */
static bool stray_fits(uint64_t at, uint32_t owner)
{
	struct code_page *page = find_page(at / PAGE);
	const struct hop *hop = page && !page->area ? in_the_way(page, at, 1) : NULL;

	return !page || (!page->area && (!hop || (hop->at == at && hop->owner == owner)));
}

static bool note_stray(uint64_t at, uint32_t owner)
{
	struct code_page *page = find_page(at / PAGE);

	if (!page)
		page = add_page(at / PAGE, 0);
	return page && note(page, at, 1, owner);
}

static bool strays_fit(uint64_t at, const struct hop_strays *strays, uint32_t owner)
{
	for (unsigned i = 0; i < strays->count; i++)
		if (!stray_fits(at + strays->away[i], owner))
			return false;
	return true;
}

bool regmap__room_note_strays(uint64_t at, const struct hop_strays *strays, uint32_t owner)
{
	int nowhere;

	for (unsigned i = 0; i < strays->count; i++)
		if (regmap__room_owner(at + strays->away[i], &nowhere) != owner &&
		    !(stray_fits(at + strays->away[i], owner) &&
		      note_stray(at + strays->away[i], owner)))
			return false;
	return true;
}

/* What may lie anywhere goes on behind what is there, rather than look for gaps in all of it. */
static bool goes_on(const struct code_page *page, const struct hop_wish *wish)
{
	uint64_t start = page->page * PAGE;

	return wish->stride == 1 && wish->first <= start + page->used &&
	       wish->last >= start + PAGE - 1;
}

static uint64_t hop_in_page(struct code_page *page, const struct hop_wish *wish, uint32_t owner)
{
	uint64_t start = page->page * PAGE, at = wish->first;
	bool on = goes_on(page, wish);

	if (at < start)
		at += (start - at + wish->stride - 1) / wish->stride * wish->stride;
	if (on)
		at = start + page->used;
	while ((at = free_place(page, at, wish->last, wish->size, wish->stride)) &&
	       !strays_fit(at, &wish->strays, owner))
		at += wish->stride;
	if (on)
		page->used = at ? (uint16_t)(at + wish->size - start) : PAGE;
	return at && note(page, at, wish->size, owner) ? at : 0;
}

enum { PLACES = 64 }; /* that are tried */

/*
 * Page number @i of those that are tried: the same ones for all sites that share a range, if that
 * can be. 0: there are no more.
 */
static uint64_t page_to_try(const struct hop_wish *wish, unsigned i)
{
	uint64_t from = wish->first / PAGE, to = wish->last / PAGE, step, n;

	if (wish->stride <= PAGE) {
		step = (to - from) / PLACES + 1;
		n = ((from + step - 1) / step + i) * step;
	} else {
		step = (wish->last - wish->first) / wish->stride / PLACES + 1;
		n = (wish->first + i * step * wish->stride) / PAGE;
	}
	return n <= to && i <= PLACES ? n : 0;
}

/* Pages that are there come first. */
uint64_t regmap__room_for_hop(const struct patch_text *text, const struct hop_wish *wish,
                              uint32_t owner)
{
	uint64_t at = 0, n;

	if (wish->last < wish->first || wish->last >= HIGHEST)
		return 0;
	for (unsigned fresh = 0; fresh < 2; fresh++)
		for (unsigned i = 0; (n = page_to_try(wish, i)); i++) {
			struct code_page *page = page_for_hops(text, n, fresh);

			at = page ? hop_in_page(page, wish, owner) : 0;
			if (at)
				return at;
		}
	return 0;
}

/* --- whose --- */

bool regmap__room_is_ours(uint64_t at)
{
	const struct code_page *page = find_page(at / PAGE);

	return page && (page->area || page->mapped);
}

static uint32_t owner_in_area(const struct code_page *page, uint64_t rip, int *offset)
{
	const struct patch_area *area = regmap__pool_at(&areas, page->area);
	uint32_t grain = (uint32_t)(rip - area->code) / GRAIN, first, owner;

	if (rip >= views_of(area))
		return 0;
	owner = atomic_load_explicit(&area->owner[grain], memory_order_acquire);
	for (first = grain; owner && first > 0; first--)
		if (atomic_load_explicit(&area->owner[first - 1], memory_order_acquire) != owner)
			break;
	*offset = (int)(rip - area->code - (uint64_t)first * GRAIN);
	return owner;
}

uint32_t regmap__room_owner(uint64_t rip, int *offset)
{
	struct code_page *page = find_page(rip / PAGE);
	const struct hop *hop;

	if (!page)
		return 0;
	if (page->area)
		return owner_in_area(page, rip, offset);
	hop = search_part(page, rip, rip, 1);
	*offset = -1;
	return hop && hop->at == rip ? hop->owner : 0;
}
