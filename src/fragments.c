/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "fragments.h"

#include <string.h>

#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "armed.h"
#include "lane.h"
#include "maps.h"
#include "patch_change.h"
#include "patch_share.h"
#include "view.h"

#include "sigsafe.h"

enum { BLOCK = 256 << 10, HERE_BITS = 12, PAGE_BITS = 12 };

/* Never freed: a thread may be in it. */
struct fragment {
	struct fragment_map map;
	const uint8_t *bytes; /* of all its instructions, in that order */
	atomic_bool useless;
};

/* There is code of the fragment's on a page. */
struct touch {
	uint64_t page;
	uint32_t fragment;
	_Atomic uint32_t next;
};

static struct pool fragments = {.size = sizeof(struct fragment)};
static struct pool touches = {.size = sizeof(struct touch)};
static _Atomic uint32_t here[1 << HERE_BITS];

static struct fragment *fragment_number(uint32_t n)
{
	return n ? regmap__pool_at(&fragments, n) : NULL;
}

const struct fragment_map *regmap__fragment_map(uint32_t number)
{
	return &fragment_number(number)->map;
}

uint32_t regmap__fragments_made(void)
{
	return atomic_load_explicit(&fragments.used, memory_order_relaxed);
}

static _Atomic uint64_t touched; /* how often a fragment has been found on its pages from then on */

uint64_t regmap__fragments_touched(void)
{
	return atomic_load(&touched);
}

/* --- where --- */

static _Atomic uint32_t *here_of(uint64_t page)
{
	return &here[page * 0x9e3779b97f4a7c15 >> (64 - HERE_BITS)];
}

/* Those that have code on a page: for (struct on o = all_on(page); next_on(&o);). Lock-free. */
struct on {
	uint64_t page;
	uint32_t touch, number;
};

static struct on all_on(uint64_t page)
{
	return (struct on){page, atomic_load_explicit(here_of(page), memory_order_acquire), 0};
}

static bool next_on(struct on *o)
{
	while (o->touch) {
		const struct touch *t = regmap__pool_at(&touches, o->touch);

		o->touch = atomic_load_explicit(&t->next, memory_order_acquire);
		o->number = t->fragment;
		if (t->page == o->page)
			return true;
	}
	return false;
}

static bool is_on(uint64_t page, uint32_t number)
{
	for (struct on o = all_on(page); next_on(&o);)
		if (o.number == number)
			return true;
	return false;
}

static bool touch(uint64_t page, uint32_t number)
{
	uint32_t n = regmap__pool_take(&touches);
	struct touch *t;

	if (!n)
		return false;
	t = regmap__pool_at(&touches, n);
	t->page = page;
	t->fragment = number;
	list_push(here_of(page), &t->next, n);
	return true;
}

/* False: not all, for want of memory. */
static bool touch_all(const struct fragment_map *map, uint32_t number)
{
	for (unsigned i = 0; i < map->insns; i++) {
		uint64_t at = map->first + map->insn[i].at, last = at + map->insn[i].length - 1;

		for (uint64_t page = at >> PAGE_BITS; page <= last >> PAGE_BITS; page++)
			if (!is_on(page, number) && !touch(page, number))
				return false;
	}
	return true;
}

/* --- memory --- */

static uint8_t *block;
static size_t left;

static void *keep(const void *from, size_t size)
{
	size_t whole = (size + 7) & ~(size_t)7;
	void *to;

	if (whole > left) {
		block = regmap__scratch_map(BLOCK);
		left = block ? BLOCK : 0;
	}
	if (whole > left)
		return NULL;
	to = block;
	memcpy(to, from, size);
	block += whole;
	left -= whole;
	return to;
}

/* What the generator has in memory of its own. */
static bool keep_map(struct fragment_map *map)
{
	map->insn = keep(map->insn, map->insns * sizeof(*map->insn));
	map->access = keep(map->access, map->accesses * sizeof(*map->access));
	map->step = keep(map->step, map->steps * sizeof(*map->step));
	map->setter = keep(map->setter, map->setters * sizeof(*map->setter));
	if (map->insn && map->access && map->step && map->setter)
		return true;
	map->insns = map->accesses = 0;
	return false;
}

/* --- the program's code --- */

enum { PAGE = 1 << PAGE_BITS, PAGES = 2 * FRAGMENT_REACH / PAGE + 1 };

/* As the program wrote it: what a fragment is made from. */
static struct {
	const struct patch_text *text;
	unsigned count;
	uint64_t page[PAGES];
	uint8_t bytes[PAGES][PAGE];
} own;

static void begin_reading(const struct patch_text *text)
{
	own.text = text;
	own.count = 0;
}

static const uint8_t *own_page(uint64_t page)
{
	uint8_t *bytes;

	for (unsigned i = 0; i < own.count; i++)
		if (own.page[i] == page)
			return own.bytes[i];
	if (own.count == PAGES)
		return NULL;
	bytes = own.bytes[own.count];
	if (!regmap__text_read(own.text, page << PAGE_BITS, bytes, PAGE))
		return NULL;
	regmap__patch_overlay_all(page << PAGE_BITS, bytes, PAGE);
	own.page[own.count++] = page;
	return bytes;
}

static size_t read_code(uint64_t at, uint8_t *to, size_t most)
{
	size_t done = 0, now;

	for (; done < most; done += now) {
		const uint8_t *page = own_page((at + done) >> PAGE_BITS);
		size_t from = (at + done) % PAGE;

		now = most - done < PAGE - from ? most - done : PAGE - from;
		if (!page)
			break;
		memcpy(to + done, page + from, now);
	}
	return done;
}

static bool is_hot(uint64_t at)
{
	const struct patch_site *site = regmap__site_at(at, false);

	return site && atomic_load_explicit(&site->faults, memory_order_relaxed);
}

static const uint8_t *keep_bytes(const struct fragment_map *map)
{
	static uint8_t bytes[FRAGMENT_INSNS * EM_MAX_LENGTH];
	size_t size = 0;

	for (unsigned i = 0; i < map->insns; i++) {
		const struct fragment_insn *insn = &map->insn[i];

		if (read_code(map->first + insn->at, bytes + size, insn->length) != insn->length)
			return NULL;
		size += insn->length;
	}
	return keep(bytes, size);
}

/* But for jumps of ours. */
static bool shows(const struct patch_text *text, uint64_t at, const uint8_t *bytes, unsigned length)
{
	uint8_t is[EM_MAX_LENGTH];

	if (!regmap__text_read(text, at, is, length))
		return false;
	if (!memcmp(is, bytes, length))
		return true;
	regmap__patch_overlay(at, is, length);
	return !memcmp(is, bytes, length);
}

static bool is_current(const struct patch_text *text, const struct fragment *f)
{
	const uint8_t *was = f->bytes;

	for (unsigned i = 0; i < f->map.insns; i++) {
		const struct fragment_insn *insn = &f->map.insn[i];

		if (!shows(text, f->map.first + insn->at, was, insn->length))
			return false;
		was += insn->length;
	}
	return true;
}

/* --- making --- */

/* They are likely to go where the head goes, or to the program's own memory: the latter, if none has faulted yet. */
static void guess_views(const struct fragment_map *map, const struct view *view)
{
	const struct view *found = regmap__view_for((uintptr_t)&view, true);
	const struct view *own = found ? found : &regmap__slot_no_view;

	for (unsigned i = 0; i < map->accesses; i++) {
		const struct plan *plan = map->access[i].plan;
		bool hot = is_hot(map->first + map->access[i].at);
		const struct view *window = plan_needs_alignment(plan) ? &regmap__slot_no_view :
		                                                         view;

		atomic_store(&map->view[i], hot ? window : own);
		atomic_store(&map->more[i].other, hot ? own : window);
		atomic_store(&map->more[i].miss, map->first + map->access[i].at);
	}
}

static bool fill(const struct patch_text *text, struct fragment *f, const uint8_t *code,
                 const struct view *view)
{
	if (!keep_map(&f->map))
		return false;
	f->bytes = keep_bytes(&f->map);
	if (!f->bytes || !regmap__text_write(text, f->map.code, code, f->map.length))
		return false;
	guess_views(&f->map, view);
	return true;
}

static void generate(const struct patch_text *text, struct fragment_request *request,
                     struct fragment_map *map, const struct view *view)
{
	struct patch_room room;
	struct fragment *f;
	const uint8_t *code;
	uint32_t number;

	if (!regmap__room_for_fragment(request->head, map->accesses, &room))
		return;
	request->code = room.code;
	request->data = room.data;
	code = regmap__fragment_generate(request, map);
	number = code ? regmap__pool_take(&fragments) : 0;
	if (!number)
		return;
	f = fragment_number(number);
	f->map = *map;
	f->useless = true;
	if (!fill(text, f, code, view) || !touch_all(&f->map, number))
		return;
	atomic_fetch_add(&touched, 1);
	if (!is_current(text, f))
		return;
	f->useless = false;
	regmap__room_keep_fragment(&room, map->length, map->accesses, number);
	regmap__armed_want();
}

static const struct fragment_access *find_access(const struct fragment *f, uint64_t site,
                                                 unsigned *i)
{
	for (*i = 0; *i < f->map.accesses; ++*i)
		if (f->map.first + f->map.access[*i].at == site)
			return &f->map.access[*i];
	return NULL;
}

/* The first of them where a slot for the site can go in. */
static uint32_t find_for(const struct patch_text *text, uint64_t site, unsigned *i)
{
	for (struct on o = all_on(site >> PAGE_BITS); next_on(&o);) {
		const struct fragment *f = fragment_number(o.number);
		const struct fragment_access *a = f->useless ? NULL : find_access(f, site, i);

		if (a && a->entry != FRAGMENT_NO_ENTRY && is_current(text, f))
			return o.number;
	}
	return 0;
}

/* One mapping, as much of it as may be. */
static void set_range(struct fragment_request *request, const struct mapping *m)
{
	request->first = request->head - FRAGMENT_REACH;
	if (request->head - m->start < FRAGMENT_REACH)
		request->first = m->start;
	request->last = request->head + FRAGMENT_REACH - 1;
	if (m->end - request->head < FRAGMENT_REACH)
		request->last = m->end - 1;
}

enum { MOST = 1 << 15 };

void regmap__fragment_make(const struct patch_text *text, uint64_t site, uint64_t address,
                           const struct mapping *mapping)
{
	struct fragment_request request = {
		.head = site,
		.tls = regmap__lane_offset(),
		.armed = regmap__armed_offset(),
		.value = regmap__armed_value(),
		.read = read_code,
		.is_hot = is_hot,
		.keep = regmap__share_plan,
	};
	struct fragment_map map;
	const struct view *view;
	unsigned i;

	if (!regmap__armed_offset() || regmap__fragments_made() == MOST || find_for(text, site, &i))
		return;
	begin_reading(text);
	set_range(&request, mapping);
	view = regmap__view_for(address, false);
	if (view && regmap__fragment_find(&request, &map))
		generate(text, &request, &map, view);
}

void regmap__fragment_join(const struct patch_text *text, const struct plan *plan,
                           struct slot_request *request, struct patch *patch)
{
	const struct fragment_access *a;
	struct fragment_map *map;
	unsigned i;

	patch->fragment = find_for(text, request->site, &i);
	if (!patch->fragment)
		return;
	map = &fragment_number(patch->fragment)->map;
	a = &map->access[i];
	if (a->plan->length != plan->length || memcmp(a->plan->bytes, plan->bytes, plan->length)) {
		patch->fragment = 0;
		return;
	}
	request->shares_views = true;
	request->view = (uintptr_t)&map->view[i];
	request->other = (uintptr_t)&map->more[i].other;
	request->way_in = (struct slot_way_in){
		.to = map->code + a->entry,
		.lent = {map->lent[0], map->lent[1]},
		.armed = regmap__armed_offset(),
		.value = regmap__armed_value(),
	};
}

/* The first access is the head's. */
void regmap__fragment_joined(struct patch *patch)
{
	const struct fragment *f = fragment_number(patch->fragment);
	unsigned i;

	if (!f || !find_access(f, patch->site, &i))
		return;
	atomic_store(&f->map.more[i].miss, patch->slot + patch->map->plain);
	if (i || f->map.way_in == FRAGMENT_NO_ENTRY || !patch->map->plain)
		return;
	atomic_store(f->map.stays_out, patch->slot);
	patch->entry = f->map.code + f->map.way_in;
}

bool regmap__fragment_is_current(const struct patch_text *text, const struct patch *patch)
{
	const struct fragment *f = fragment_number(patch->fragment);

	return !f || (!f->useless && is_current(text, f));
}

/* --- those that were wrong --- */

static bool has_plain_at(const struct fragment *f, uint64_t site)
{
	for (unsigned i = 0; i < f->map.insns; i++)
		if (f->map.first + f->map.insn[i].at == site)
			return !f->map.insn[i].accesses;
	return false;
}

static void take_back_all(const struct patch_text *text, uint32_t number)
{
	const struct fragment *f = fragment_number(number);

	for (unsigned i = 0; i < f->map.accesses; i++) {
		uint64_t site = f->map.first + f->map.access[i].at;
		const struct patch *p = regmap__patch_of(site);

		if (p && p->fragment == number)
			regmap__patch_take_back(text, site, site);
	}
}

void regmap__fragments_without(const struct patch_text *text, uint64_t site)
{
	for (struct on o = all_on(site >> PAGE_BITS); next_on(&o);) {
		struct fragment *f = fragment_number(o.number);

		if (f->useless || !has_plain_at(f, site))
			continue;
		f->useless = true;
		take_back_all(text, o.number);
	}
}

static bool is_entered(const struct fragment *f, uint32_t number)
{
	for (unsigned i = 0; i < f->map.accesses; i++) {
		const struct patch *p = regmap__patch_of(f->map.first + f->map.access[i].at);

		if (p && p->fragment == number && patch_kind(p) != PATCH_NONE)
			return true;
	}
	return false;
}

bool regmap__fragments_have(uint64_t site)
{
	unsigned i;

	for (struct on o = all_on(site >> PAGE_BITS); next_on(&o);) {
		const struct fragment *f = fragment_number(o.number);

		if (!f->useless && find_access(f, site, &i) && is_entered(f, o.number))
			return true;
	}
	return false;
}

/* --- ranges of code --- */

enum { MANY = 1024 }; /* pages: then each fragment is asked */

static bool meets(const struct fragment *f, uint64_t start, uint64_t last)
{
	for (unsigned i = 0; i < f->map.insns; i++) {
		uint64_t at = f->map.first + f->map.insn[i].at;

		if (at <= last && at + f->map.insn[i].length > start)
			return true;
	}
	return false;
}

static bool is_large(uint64_t start, uint64_t last)
{
	return (last >> PAGE_BITS) - (start >> PAGE_BITS) > MANY;
}

bool regmap__fragments_touch(uint64_t start, uint64_t last)
{
	if (is_large(start, last))
		return regmap__fragments_made();
	for (uint64_t page = start >> PAGE_BITS; page <= last >> PAGE_BITS; page++) {
		struct on o = all_on(page);

		if (next_on(&o))
			return true;
	}
	return false;
}

static void take_back_on(const struct patch_text *text, uint64_t page, uint64_t start,
                         uint64_t last)
{
	for (struct on o = all_on(page); next_on(&o);)
		if (meets(fragment_number(o.number), start, last))
			take_back_all(text, o.number);
}

void regmap__fragments_take_back(const struct patch_text *text, uint64_t start, uint64_t last)
{
	if (is_large(start, last)) {
		for (uint32_t n = 1; n <= regmap__fragments_made(); n++)
			if (meets(fragment_number(n), start, last))
				take_back_all(text, n);
		return;
	}
	for (uint64_t page = start >> PAGE_BITS; page <= last >> PAGE_BITS; page++)
		take_back_on(text, page, start, last);
}

/* --- threads --- */

enum { PATIENCE = 256 }; /* some milliseconds each */

void regmap__fragments_start(void)
{
	if (regmap__fragment_works())
		regmap__armed_start();
}

/* A thread may have been switched out there: of many, for a while. */
void regmap__fragments_leave(void)
{
	if (!regmap__fragments_made())
		return;
	regmap__armed_hold();
	for (unsigned i = 0; i < PATIENCE && !regmap__lanes_await(false); i++)
		;
	regmap__armed_release();
}
