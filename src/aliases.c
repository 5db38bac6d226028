/* SPDX-License-Identifier: MIT */
/* A treap of the windows themselves: sorted by target, and each knows how far its subtree reaches. */
#include "aliases.h"

static struct regmap_window *root;

static uint64_t target_last(const struct regmap_window *w)
{
	return window_base(w) + (window_last(w) - window_start(w));
}

static uint64_t reach_of(const struct regmap_window *w)
{
	return w ? w->alias.reach : 0;
}

static void measure(struct regmap_window *w)
{
	uint64_t reach = target_last(w);

	if (reach_of(w->alias.left) > reach)
		reach = reach_of(w->alias.left);
	if (reach_of(w->alias.right) > reach)
		reach = reach_of(w->alias.right);
	w->alias.reach = reach;
}

/* Several may have one target: then the address of the window tells them apart. */
static bool comes_before(const struct regmap_window *a, const struct regmap_window *b)
{
	if (window_base(a) != window_base(b))
		return window_base(a) < window_base(b);
	return a < b;
}

/* The address tells nothing of the order, if it is mixed well. */
static uint64_t rank_of(const struct regmap_window *w)
{
	uint64_t x = (uintptr_t)w * 0x9e3779b97f4a7c15;

	return (x ^ x >> 29) * 0xbf58476d1ce4e5b9;
}

static void split(struct regmap_window *w, const struct regmap_window *at,
                  struct regmap_window **left, struct regmap_window **right)
{
	if (!w) {
		*left = *right = NULL;
		return;
	}
	if (comes_before(w, at)) {
		split(w->alias.right, at, &w->alias.right, right);
		*left = w;
	} else {
		split(w->alias.left, at, left, &w->alias.left);
		*right = w;
	}
	measure(w);
}

static struct regmap_window *join(struct regmap_window *a, struct regmap_window *b)
{
	if (!a || !b)
		return a ? a : b;
	if (rank_of(a) > rank_of(b)) {
		a->alias.right = join(a->alias.right, b);
		measure(a);
		return a;
	}
	b->alias.left = join(a, b->alias.left);
	measure(b);
	return b;
}

void regmap__aliases_add(struct regmap_window *alias)
{
	struct regmap_window *left, *right;

	alias->alias.left = alias->alias.right = NULL;
	alias->known = true;
	measure(alias);
	split(root, alias, &left, &right);
	root = join(join(left, alias), right);
}

static struct regmap_window *without(struct regmap_window *w, const struct regmap_window *gone)
{
	if (w == gone)
		return join(w->alias.left, w->alias.right);
	if (comes_before(w, gone))
		w->alias.right = without(w->alias.right, gone);
	else
		w->alias.left = without(w->alias.left, gone);
	measure(w);
	return w;
}

void regmap__aliases_remove(struct regmap_window *alias)
{
	if (alias->known)
		root = without(root, alias);
	alias->known = false;
}

static int visit(struct regmap_window *w, uint64_t first, uint64_t last, alias_fn *act, void *arg)
{
	int stop;

	if (!w || w->alias.reach < first)
		return 0;
	stop = visit(w->alias.left, first, last, act, arg);
	if (stop || window_base(w) > last)
		return stop;
	if (target_last(w) >= first)
		stop = act(w, arg);
	return stop ? stop : visit(w->alias.right, first, last, act, arg);
}

int regmap__aliases_of(uint64_t first, uint64_t last, alias_fn *act, void *arg)
{
	return visit(root, first, last, act, arg);
}

void regmap__aliases_forget(void)
{
	root = NULL;
}
