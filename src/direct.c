/* SPDX-License-Identifier: MIT */
#include "direct.h"

#include <errno.h>

#include "reserve.h"

/* Direct stretches cost the kernel a mapping or two each; see reserve.h. */
enum { PAGE = RESERVE_PAGE, MOST_RUNS = 8192 };

static unsigned runs;

bool regmap__direct_wanted(const struct regmap_window *window)
{
	return window && window_ops(window)->attach && !(window->flags & REGMAP_TRAP) &&
	       (window->access & REGMAP_READ);
}

/* Step through the whole pages in [*at, last] that lie in this window and no other. */
static bool next_run(const struct regmap_window *w, uint64_t *at, uint64_t last, uint64_t *first,
                     uint64_t *to)
{
	while (*at <= last) {
		struct table_hit hit;
		uint64_t end;

		regmap__table_find(*at, &hit);
		end = ((hit.last < last ? hit.last : last) + 1) & -(uint64_t)PAGE;
		*first = *at;
		*to = end - 1;
		if (end > *at) {
			*at = end;
			if (hit.window == w)
				return true;
		} else {
			*at += PAGE;
		}
	}
	return false;
}

typedef int run_fn(const struct regmap_window *w, uint64_t first, uint64_t last);

static int cover(const struct regmap_window *w, uint64_t first, uint64_t last)
{
	(void)w;
	return regmap__reserve_cover(first, last);
}

static int attach(const struct regmap_window *w, uint64_t first, uint64_t last)
{
	return window_ops(w)->attach(w, first, last);
}

/* Do it to each run; how many went well. Ends at the first that doesn't, and says so. */
static unsigned each_run(struct regmap_window *w, uint64_t start, uint64_t last, run_fn *act,
                         int *err)
{
	uint64_t from = start & -(uint64_t)PAGE, to = last | (PAGE - 1), end = to, first, run_last;
	unsigned n = 0;

	for (*err = 0; regmap__reserve_clip(&from, &to); from = to + 1, to = end) {
		uint64_t at = from;

		while (next_run(w, &at, to, &first, &run_last)) {
			*err = act(w, first, run_last);
			if (*err)
				return n;
			n++;
		}
		if (to >= end)
			break;
	}
	return n;
}

void regmap__direct_attach(struct regmap_window *window, uint64_t start, uint64_t last)
{
	int err;

	if (regmap__direct_wanted(window) && !(window->flags & REGMAP_PRIVATE))
		each_run(window, start, last, attach, &err);
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

int regmap__direct_detach(struct regmap_window *window, uint64_t start, uint64_t last)
{
	int err = 0;

	if (!regmap__direct_wanted(window))
		return 0;
	if (window->flags & REGMAP_PRIVATE)
		return window_ops(window)->move_out(window);
	each_run(window, start, last, cover, &err);
	if (err)
		regmap__direct_attach(window, start, last);
	return err;
}

void regmap__direct_attach_new(struct regmap_window *window)
{
	int err;

	if (!regmap__direct_wanted(window) || window->flags & REGMAP_PRIVATE || runs >= MOST_RUNS)
		return;
	window->runs = each_run(window, window_start(window), window_last(window), attach, &err);
	runs += window->runs;
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
	if (window->flags & REGMAP_PRIVATE)
		drop_private(window);
	else
		regmap__direct_detach(window, window_start(window), window_last(window));
	runs -= window->runs;
	window->runs = 0;
}
