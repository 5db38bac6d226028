/* SPDX-License-Identifier: MIT */
#include "direct.h"

#include <errno.h>
#include <limits.h>

#include "aliases.h"
#include "reserve.h"

/* Direct stretches cost the kernel a mapping or two each; see reserve.h. */
enum { PAGE = RESERVE_PAGE, MOST_RUNS = 8192 };

static unsigned runs;

static bool is_readable(const struct regmap_window *window)
{
	return !(window->flags & REGMAP_TRAP) && window->access & REGMAP_READ;
}

bool regmap__direct_wanted(const struct regmap_window *window)
{
	return window && window_ops(window)->attach && is_readable(window);
}

/* Memory that can be at several places. */
static bool is_source(const struct regmap_window *window)
{
	return regmap__direct_wanted(window) && !(window->flags & REGMAP_PRIVATE);
}

/* An alias whose pages are pages of its target. */
static bool is_mirror(const struct regmap_window *window)
{
	return window && window_ops(window)->forward && is_readable(window) &&
	       (window_start(window) - window_base(window)) % PAGE == 0;
}

/* --- what a page shows --- */

struct origin {
	const struct regmap_window *source; /* NULL: accesses trap */
	uint64_t from;                      /* in it */
	uint64_t bytes;                     /* whole pages, for which all this holds */
	unsigned access;
};

/* As regmap__access_begin() would find it. At most @bytes. */
static void find_origin(uint64_t page, uint64_t bytes, struct origin *o)
{
	const struct regmap_window *w;
	uint64_t most = bytes - 1;
	struct table_hit hit;

	*o = (struct origin){.from = page, .access = REGMAP_READ | REGMAP_WRITE};
	for (unsigned depth = 0;; depth++) {
		regmap__table_find(o->from, &hit);
		w = hit.window;
		if (hit.last - o->from < most)
			most = hit.last - o->from;
		if (!is_mirror(w) || depth == MAX_ALIASES)
			break;
		o->access &= w->access;
		o->from = window_place(w, o->from);
	}
	o->bytes = most + 1 < PAGE ? PAGE : (most + 1) & -(uint64_t)PAGE;
	if (most + 1 < PAGE || !is_source(w))
		return;
	o->access &= w->access;
	o->source = w;
}

/* --- runs of pages --- */

struct change {
	int (*act)(struct change *c, uint64_t page, uint64_t bytes);
	unsigned shown, most; /* stretches */
	bool must;            /* nothing may fail */
};

static int show(struct change *c, uint64_t page, uint64_t bytes)
{
	struct origin o;
	int err = 0;

	for (; bytes && !err; page += o.bytes, bytes -= o.bytes) {
		find_origin(page, bytes, &o);
		if (!o.source)
			continue;
		if (c->shown == c->most)
			return -ENOMEM;
		err = window_ops(o.source)->attach(o.source, o.from, o.bytes, page, o.access);
		if (err)
			regmap__reserve_cover(page, page + (o.bytes - 1)); /* it may be gone */
		c->shown += !err;
	}
	return err;
}

/* Is the page one of ours that memory may be mapped at? */
static bool shows(uint64_t page)
{
	uint64_t first = page, last = page + (PAGE - 1);
	struct origin o;

	find_origin(page, PAGE, &o);
	return o.source && regmap__reserve_clip(&first, &last);
}

/*
 * At the limit of mappings the kernel can't cut one in two or three. But it can do without all of it:
 * what it has made one with these pages shows memory, too.
 */
static void hide_around(uint64_t first, uint64_t last)
{
	while (shows(first - PAGE))
		first -= PAGE;
	while (shows(last + 1))
		last += PAGE;
	regmap__reserve_cover(first, last);
}

/* What traps anyway may lie in between. */
static int hide(struct change *c, uint64_t page, uint64_t bytes)
{
	uint64_t last = page + (bytes - 1);
	struct origin o;
	int err;

	for (; bytes; page += o.bytes, bytes -= o.bytes) {
		find_origin(page, bytes, &o);
		if (o.source)
			break;
	}
	err = bytes ? regmap__reserve_cover(page, last) : 0;
	if (err && c->must) {
		hide_around(page, last);
		err = 0;
	}
	return err;
}

struct pages {
	uint64_t at, count;
};

static struct pages pages_of(uint64_t start, uint64_t last)
{
	return (struct pages){start & -(uint64_t)PAGE, last / PAGE - start / PAGE + 1};
}

/* Take from the pages up to the next that lie in this window and no other: those. False: none. */
static bool next_run(const struct regmap_window *w, struct pages *left, struct pages *run)
{
	bool own = false;

	while (left->count && !own) {
		struct table_hit hit;
		uint64_t n;

		regmap__table_find(left->at, &hit);
		n = (hit.last - left->at) / PAGE + (hit.last % PAGE == PAGE - 1);
		own = n && hit.window == w;
		n = n ? n : 1;
		*run = (struct pages){left->at, n < left->count ? n : left->count};
		left->at += run->count * PAGE;
		left->count -= run->count;
	}
	return own;
}

/* Do it to what is reserved of the run. */
static int act_on_run(struct change *c, const struct pages *run)
{
	uint64_t from = run->at, last = run->at + (run->count * PAGE - 1), to = last;
	int err = 0;

	while (!err && regmap__reserve_clip(&from, &to)) {
		err = c->act(c, from, to - from + 1);
		if (to >= last)
			break;
		from = to + 1;
		to = last;
	}
	return err;
}

static int each_run(struct change *c, const struct regmap_window *w, struct pages pages,
                    unsigned depth);

struct mirrored {
	struct change *change;
	uint64_t first, last;
	unsigned depth;
};

static int mirror_run(struct regmap_window *alias, void *arg)
{
	const struct mirrored *m = arg;
	uint64_t to_alias = window_start(alias) - window_base(alias);
	uint64_t first = m->first + to_alias, last = m->last + to_alias;

	/* The alias may begin or end within; and its target at either end of all addresses. */
	if (m->first < window_base(alias))
		first = window_start(alias);
	if (m->last - window_base(alias) > window_last(alias) - window_start(alias))
		last = window_last(alias);
	return each_run(m->change, alias, pages_of(first, last), m->depth - 1);
}

/*
 * Do it to the window's own whole pages among these, and to those of aliases which show them. Ends at
 * the first that doesn't go well.
 */
static int each_run(struct change *c, const struct regmap_window *w, struct pages pages,
                    unsigned depth)
{
	struct pages run;
	int err = 0;

	while (!err && next_run(w, &pages, &run)) {
		struct mirrored m = {c, run.at, run.at + (run.count * PAGE - 1), depth};

		err = act_on_run(c, &run);
		if (!err && depth)
			err = regmap__aliases_of(m.first, m.last, mirror_run, &m);
	}
	return err;
}

static int change_pages(struct change *c, const struct regmap_window *w, uint64_t start,
                        uint64_t last)
{
	if (!is_source(w) && !is_mirror(w))
		return 0;
	return each_run(c, w, pages_of(start, last), MAX_ALIASES);
}

/* --- changes of the table --- */

void regmap__direct_attach(struct regmap_window *window, uint64_t start, uint64_t last)
{
	struct change c = {.act = show, .most = UINT_MAX};

	change_pages(&c, window, start, last);
}

static void forget_runs(struct regmap_window *window)
{
	runs -= window->runs;
	window->runs = 0;
}

/* The pages are a reservation then, or of the windows inside: nothing of the window's own is left there. */
static int move_out(struct regmap_window *window)
{
	int err = window_ops(window)->move_out(window);

	if (!err)
		forget_runs(window);
	return err;
}

int regmap__direct_detach(struct regmap_window *window, uint64_t start, uint64_t last)
{
	struct change c = {.act = hide};
	int err;

	if (regmap__direct_wanted(window) && window->flags & REGMAP_PRIVATE)
		return move_out(window);
	err = change_pages(&c, window, start, last);
	if (err)
		regmap__direct_attach(window, start, last);
	return err;
}

/* All of it owned, and nothing in it? */
static bool is_clear(uint64_t start, uint64_t last)
{
	uint64_t first = start, to = last;
	struct table_hit hit;

	regmap__table_find(start, &hit);
	return hit.last >= last && regmap__reserve_clip(&first, &to) && first == start &&
	       to == last;
}

void regmap__direct_move_in(struct regmap_window *window)
{
	uint64_t start = window_start(window), last = window_last(window);

	if (!regmap__direct_wanted(window) || !window_ops(window)->move_in || runs >= MOST_RUNS ||
	    !is_clear(start, last) || window_ops(window)->move_in(window))
		return;
	window->runs = 1;
	runs++;
}

void regmap__direct_attach_new(struct regmap_window *window)
{
	struct change c = {.act = show, .most = runs < MOST_RUNS ? MOST_RUNS - runs : 0};

	if (is_mirror(window))
		regmap__aliases_add(window);
	change_pages(&c, window, window_start(window), window_last(window));
	window->runs += c.shown;
	runs += c.shown;
}

/* Private memory goes with its pages: an access that is met by that tries again, and finds nothing. */
static void drop_private(struct regmap_window *window)
{
	atomic_fetch_add(&regmap__ram_moves, 2);
	if (window->runs)
		regmap__reserve_cover(window_start(window), window_last(window));
}

void regmap__direct_detach_old(struct regmap_window *window)
{
	struct change c = {.act = hide, .must = true};

	if (window->flags & REGMAP_PRIVATE)
		drop_private(window);
	else
		change_pages(&c, window, window_start(window), window_last(window));
	if (is_mirror(window))
		regmap__aliases_remove(window);
	forget_runs(window);
}

static void know_again(struct regmap_window *window)
{
	if (is_mirror(window))
		regmap__aliases_add(window);
}

void regmap__direct_repair(void)
{
	regmap__aliases_forget();
	regmap__table_each(know_again);
}
