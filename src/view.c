/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <errno.h>

#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "../emulator/plan.h"
#include "atomics.h"
#include "gate.h"
#include "lane.h"
#include "table.h"

#include "sigsafe.h"

/*
 * A view in a site's cell may become another one under the site's feet. So those that are congruent
 * modulo 64 never become one that isn't: each kind has its own part of the pool.
 */
enum { CONGRUENT = 1 << 16, ODD = 1 << 13, VIEWS = CONGRUENT + ODD, BUCKETS = 1 << 15 };
enum { HINTS = 1 << 14, HINT_SHIFT = 12, CHAIN_MOST = 64, EVICTED = 1024 };
enum { MODULO = 64, LOW = 1 << 16 };

enum state { FREE, LIVE, DYING };

/*
 * What only C looks at; under the lock, but for the chains of the index. Links are numbers of views, from 1:
 * memory begins as zeros, and each chain ends with one.
 */
struct record {
	uint64_t first, last;  /* guest addresses */
	uint64_t target;       /* of the first byte, behind one alias */
	uint32_t depth;        /* of aliases; with more than one, any change may concern it */
	uint32_t epoch;        /* in which it lost its limits */
	_Atomic uint32_t next; /* a link, in the chain of the index or of free ones */
	uint8_t state;
};

struct part {
	uint32_t first, end, used; /* of the pool; no view from @used on was ever taken */
	uint32_t spare, hand;      /* a chain; where the last eviction ended */
};

static struct pool {
	struct view view[VIEWS];
	struct record record[VIEWS];
	_Atomic uint32_t bucket[BUCKETS]; /* of the index, by first address */
	_Atomic uint32_t hint[HINTS];     /* the last one found on a page */
} *_Atomic pool;

static struct part parts[2] = {
	{CONGRUENT, VIEWS, CONGRUENT, 0, CONGRUENT},
	{0, CONGRUENT, 0, 0, 0},
};
static _Atomic unsigned lock;
static uint32_t epoch;
static _Atomic uint32_t dying; /* views that have no limits and aren't free */

int regmap__view_init(void)
{
	if (!pool)
		pool = regmap__scratch_map(sizeof(*pool));
	return pool ? 0 : -ENOMEM;
}

/* --- the lock --- */

static bool try_lock(uint64_t *mask)
{
	const uint64_t all = ~0ULL;

	sys_sigmask(SIG_SETMASK, &all, mask);
	if (!atomic_exchange(&lock, 1))
		return true;
	sys_sigmask(SIG_SETMASK, mask, NULL);
	return false;
}

static void take_lock(uint64_t *mask)
{
	for (unsigned round = 0; !try_lock(mask); regmap__back_off(round++))
		;
}

static void release_lock(const uint64_t *mask)
{
	atomic_store(&lock, 0);
	sys_sigmask(SIG_SETMASK, mask, NULL);
}

void regmap__views_forget_others(void)
{
	atomic_store(&lock, 0);
}

/* --- the index --- */

static _Atomic uint32_t *bucket_of(uint64_t first)
{
	return &pool->bucket[first * 0x9e3779b97f4a7c15 >> 49];
}

static void index_add(uint32_t i)
{
	_Atomic uint32_t *head = bucket_of(pool->record[i].first);

	set(&pool->record[i].next, get(head));
	set(head, i + 1);
}

static void index_remove(uint32_t i)
{
	_Atomic uint32_t *link = bucket_of(pool->record[i].first);

	while (get(link) && get(link) != i + 1)
		link = &pool->record[get(link) - 1].next;
	if (get(link))
		set(link, get(&pool->record[i].next));
}

/* The limit comes first: see struct view. */
static bool is_below(const struct view *v, uint64_t address, unsigned rights, unsigned k)
{
	return address < get(&v->limit[rights][k]) && address >= get(&v->start);
}

static bool contains(const struct view *v, uint64_t address)
{
	return is_below(v, address, VIEW_READ, 0) || is_below(v, address, VIEW_WRITE, 0);
}

static bool is_odd(uint32_t i)
{
	return i >= CONGRUENT;
}

/* A chain may change meanwhile, and lead into another one or to free ones: then nothing is found. */
static const struct view *index_find(uint64_t first, uint64_t address, bool congruent)
{
	uint32_t link = get(bucket_of(first));

	for (unsigned n = 0; link && n < CHAIN_MOST; n++) {
		const struct view *v = &pool->view[link - 1];

		if (get(&v->start) == first && contains(v, address) &&
		    !(congruent && is_odd(link - 1)))
			return v;
		link = get(&pool->record[link - 1].next);
	}
	return NULL;
}

static _Atomic uint32_t *hint_of(uint64_t address)
{
	return &pool->hint[(address >> HINT_SHIFT) * 0x9e3779b97f4a7c15 >> 50];
}

/* --- pieces of the table --- */

struct piece {
	uint64_t first, last; /* guest addresses */
	uint64_t delta, target;
	unsigned depth, access;
};

/* The stretch around an address that has one answer, in the terms of that address. */
static struct regmap_window *stretch(uint64_t address, uint64_t *first, uint64_t *last)
{
	struct table_hit hit;

	regmap__table_find(address, &hit);
	*last = hit.last;
	*first = hit.window ? regmap__table_piece_first(address, hit.window) :
	                      regmap__table_gap_first(address);
	if (!hit.window && *first < LOW)
		*first = address < LOW ? address : LOW;
	return hit.window;
}

static void narrow(struct piece *p, uint64_t address, uint64_t at, uint64_t first, uint64_t last)
{
	if (at - first < address - p->first)
		p->first = address - (at - first);
	if (last - at < p->last - address)
		p->last = address + (last - at);
}

/* At the end of a chain of aliases. */
static bool settle_on(struct piece *p, const struct regmap_window *w, uint64_t address, uint64_t at)
{
	const struct backing_ops *ops = window_ops(w);

	if (!ops->host || atomic_load(&w->lock))
		return false;
	if (ops->write) /* that is how it is written to */
		p->access &= ~(unsigned)EM_WRITE;
	p->delta = window_place(w, at) - address;
	p->target = at - (address - p->first);
	return true;
}

/* Which piece of host memory is it, as of now? Under the lock. */
static bool find_piece(uint64_t address, struct piece *p)
{
	uint64_t at = address, first, last;
	struct regmap_window *w;

	*p = (struct piece){.last = UINT64_MAX, .access = EM_READ | EM_WRITE};
	for (p->depth = 0; p->depth <= MAX_ALIASES; p->depth++) {
		w = stretch(at, &first, &last);
		narrow(p, address, at, first, last);
		if (!w) /* null pointers, and holes in the register page, are no views' business */
			return p->depth == 0 && p->first >= LOW;
		p->access &= w->access;
		if (!window_ops(w)->forward)
			return settle_on(p, w, address, at);
		at = window_place(w, at);
	}
	return false;
}

/* --- making --- */

static uint64_t limit_of(const struct piece *p, unsigned rights, unsigned k)
{
	static const unsigned needs[VIEW_RIGHTS] = {EM_READ, EM_WRITE, EM_READ | EM_WRITE};
	uint64_t less = (1ULL << k) - 1;

	if ((p->access & needs[rights]) != needs[rights] || p->last - p->first < less)
		return 0;
	return p->last == UINT64_MAX ? p->last - less : p->last - less + 1;
}

static void limit_all(struct view *v, const struct piece *p)
{
	for (unsigned r = 0; r < VIEW_RIGHTS; r++)
		for (unsigned k = 0; k < VIEW_SIZES; k++)
			set(&v->limit[r][k], p ? limit_of(p, r, k) : 0);
}

/* A link; 0: none is free. */
static uint32_t take_free(struct part *part)
{
	uint32_t link = part->spare;

	if (link)
		part->spare = get(&pool->record[link - 1].next);
	else if (part->used < part->end)
		link = ++part->used;
	return link;
}

static void cut_off(uint32_t i)
{
	limit_all(&pool->view[i], NULL);
	pool->record[i].state = DYING;
	pool->record[i].epoch = epoch;
	atomic_fetch_add(&dying, 1);
}

/* Those that lost their limits before the wait began are nobody's any more. */
static void bury(struct part *part, uint32_t before)
{
	for (uint32_t i = part->first; i < part->used; i++) {
		struct record *r = &pool->record[i];

		if (r->state != DYING || (int32_t)(r->epoch - before) > 0)
			continue;
		index_remove(i);
		r->state = FREE;
		set(&r->next, part->spare);
		part->spare = i + 1;
		atomic_fetch_sub(&dying, 1);
	}
}

static void settle(bool patient)
{
	uint32_t before;
	uint64_t mask;

	if (!atomic_load(&dying))
		return;
	take_lock(&mask);
	before = epoch++;
	release_lock(&mask);
	if (!regmap__lanes_await(patient))
		return;
	take_lock(&mask);
	bury(&parts[0], before);
	bury(&parts[1], before);
	release_lock(&mask);
}

void regmap__views_settle(void)
{
	if (pool)
		settle(true);
}

/* A batch goes, whichever is next; what is in use comes back soon. */
static void evict(struct part *part)
{
	uint64_t mask;

	if (!try_lock(&mask))
		return;
	for (unsigned n = 0; n < EVICTED; n++) {
		if (part->hand == part->used)
			part->hand = part->first;
		if (pool->record[part->hand].state == LIVE)
			cut_off(part->hand);
		part->hand++;
	}
	release_lock(&mask);
	settle(false);
}

static const struct view *make(const struct piece *p, struct part *part)
{
	uint32_t link = take_free(part);
	struct record *r;
	struct view *v;

	if (!link)
		return NULL;
	r = &pool->record[link - 1];
	v = &pool->view[link - 1];
	r->first = p->first;
	r->last = p->last;
	r->target = p->target;
	r->depth = p->depth;
	r->state = LIVE;
	set(&v->start, p->first);
	set(&v->last, p->last);
	set(&v->delta, p->delta);
	limit_all(v, p);
	index_add(link - 1);
	return v;
}

static const struct view *find_or_make(uint64_t address, bool congruent, struct part **full)
{
	const struct view *v = NULL;
	struct piece p;
	uint64_t mask;
	bool even;

	if (!try_lock(&mask))
		return NULL;
	if (find_piece(address, &p)) {
		even = p.delta % MODULO == 0;
		v = index_find(p.first, address, congruent);
		if (!v && (even || !congruent)) {
			v = make(&p, &parts[even]);
			*full = v ? NULL : &parts[even];
		}
	}
	release_lock(&mask);
	return v;
}

/* Is it, most likely, memory? Without the lock. */
static const struct view *look_up(uint64_t address, bool congruent, bool *memory)
{
	uint64_t first, last;
	struct regmap_window *w = stretch(address, &first, &last);
	const struct backing_ops *ops = w ? window_ops(w) : NULL;

	*memory = !w || (ops && (ops->host || ops->forward));
	return *memory ? index_find(first, address, congruent) : NULL;
}

const struct view *regmap__view_for(uint64_t address, bool congruent)
{
	struct part *full = NULL;
	const struct view *v;
	uint32_t hint;
	bool memory;

	if (!pool)
		return NULL;
	hint = get(hint_of(address));
	if (hint && contains(&pool->view[hint - 1], address) && !(congruent && is_odd(hint - 1)))
		return &pool->view[hint - 1];
	v = look_up(address, congruent, &memory);
	if (!v && memory)
		v = find_or_make(address, congruent, &full);
	if (full)
		evict(full);
	if (v)
		set(hint_of(address), (uint32_t)(v - pool->view) + 1);
	return v;
}

bool regmap__view_fits(const struct view *view, uint64_t address, size_t size, unsigned access)
{
	unsigned rights = view_rights(access & EM_READ, access & EM_WRITE);

	return size <= VIEW_MOST && is_below(view, address, rights, view_class(size));
}

/* --- forgetting --- */

static bool meets(uint64_t first, uint64_t last, const struct record *r, uint64_t start)
{
	return start <= last && first <= start + (r->last - r->first);
}

static bool concerns(const struct record *r, uint64_t first, uint64_t last)
{
	if (r->state != LIVE)
		return false;
	return meets(first, last, r, r->first) || r->depth > 1 ||
	       (r->depth == 1 && meets(first, last, r, r->target));
}

static void forget_in(const struct part *part, uint64_t first, uint64_t last)
{
	for (uint32_t i = part->first; i < part->used; i++)
		if (concerns(&pool->record[i], first, last))
			cut_off(i);
}

void regmap__views_forget(uint64_t first, uint64_t last)
{
	uint64_t mask;

	if (!pool)
		return;
	take_lock(&mask);
	forget_in(&parts[0], first, last);
	forget_in(&parts[1], first, last);
	release_lock(&mask);
}
