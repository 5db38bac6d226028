/* SPDX-License-Identifier: MIT */
/* What only shows of all rules together: which depends on which. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rule.h"

enum { PART = 8 /* bytes */ };

bool regmap__rule_part(const struct rule_place *place, unsigned part, uint64_t *address,
                       uint64_t *mask, int *shift)
{
	uint64_t first = place->peripheral->address + place->reg->offset;
	uint64_t bits = ~0ull >> (64 - place->width);

	*address = (first & -(uint64_t)PART) + part * PART;
	*shift = (int)(first % PART * 8 + place->lsb) - (int)(part * 64);
	if (*shift <= -64 || *shift >= 64)
		return false;
	*mask = *shift >= 0 ? bits << *shift : bits >> -*shift;
	return *mask != 0;
}

/* What a rule makes follow, in one part. */
struct left {
	uint64_t address, mask;
	uint32_t rule;
};

struct edges {
	struct edge {
		uint32_t from, to; /* @to is computed after @from */
	} * at;
	size_t count, room;
};

static int compare_lefts(const void *a, const void *b)
{
	const struct left *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return (x->rule > y->rule) - (x->rule < y->rule);
}

static bool is_follow(const struct rule *r)
{
	return r->kind == RULE_FOLLOW;
}

static size_t list_lefts(struct rule *const *rules, size_t count, struct left *lefts)
{
	size_t n = 0;
	int shift;

	for (size_t i = 0; i < count; i++)
		for (unsigned part = 0; part < 2 && is_follow(rules[i]); part++)
			if (regmap__rule_part(&rules[i]->places[0], part, &lefts[n].address,
			                      &lefts[n].mask, &shift))
				lefts[n++].rule = (uint32_t)i;
	qsort(lefts, n, sizeof(*lefts), compare_lefts);
	return n;
}

static int check_lefts(struct rule *const *rules, const struct left *lefts, size_t count,
                       struct regmap_error *error)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = i; k-- > 0 && lefts[k].address == lefts[i].address;)
			if (lefts[k].mask & lefts[i].mask)
				return regmap__layout_wrong(
					error, -EINVAL, &rules[lefts[i].rule]->source,
					"rule \"%.80s\": its left side follows \"%.80s\" already (line %u): leave one out",
					rules[lefts[i].rule]->text, rules[lefts[k].rule]->text,
					rules[lefts[k].rule]->source.line);
	return 0;
}

static int add_edge(struct edges *e, uint32_t from, uint32_t to)
{
	if (e->count == e->room) {
		size_t room = e->room ? 2 * e->room : 64;
		struct edge *more = realloc(e->at, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		e->at = more;
		e->room = room;
	}
	e->at[e->count++] = (struct edge){from, to};
	return 0;
}

static const struct left *first_left(const struct left *lefts, size_t count, uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (lefts[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return lefts + low;
}

/* places[0] is the left side, unless it stands on the right, too. */
static bool is_read(const struct rule *r, uint32_t place)
{
	for (uint32_t i = 0; i < r->step_count; i++)
		if (r->steps[i].code == RULE_PLACE && r->steps[i].which == place)
			return true;
	return false;
}

static int add_edges_to(struct edges *e, const struct rule *r, uint32_t rule,
                        const struct left *lefts, size_t count)
{
	uint64_t address, mask;
	int shift, err = 0;

	for (uint32_t p = 0; p < r->place_count; p++)
		for (unsigned part = 0; part < 2 && is_read(r, p); part++) {
			const struct left *l = lefts + count;

			if (regmap__rule_part(&r->places[p], part, &address, &mask, &shift))
				l = first_left(lefts, count, address);
			for (; l < lefts + count && l->address == address && !err; l++)
				if (l->mask & mask)
					err = add_edge(e, l->rule, rule);
		}
	return err;
}

static int compare_edges(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return (x->to > y->to) - (x->to < y->to);
}

/* Takes away, one after the other, those that depend on nothing that is left. */
static size_t sort(struct rule *const *rules, size_t count, const struct edges *e, uint32_t *order,
                   uint32_t *waits, uint32_t *first)
{
	size_t done = 0, n = 0;

	for (size_t i = 0; i < e->count; i++) {
		waits[e->at[i].to]++;
		first[e->at[i].from + 1] = (uint32_t)i + 1;
	}
	for (size_t i = 0; i < count; i++) {
		if (first[i + 1] < first[i])
			first[i + 1] = first[i];
		if (is_follow(rules[i]) && !waits[i])
			order[n++] = (uint32_t)i;
	}
	for (; done < n; done++)
		for (uint32_t i = first[order[done]]; i < first[order[done] + 1]; i++)
			if (!--waits[e->at[i].to])
				order[n++] = e->at[i].to;
	return n;
}

/* From one that waits, back along what it waits for: that comes round. */
static int fail_circle(struct rule *const *rules, size_t count, const struct edges *e,
                       const uint32_t *waits, struct regmap_error *error)
{
	uint32_t at = 0, before = 0;

	while (!waits[at])
		at++;
	for (size_t steps = 0; steps <= count; steps++)
		for (size_t i = 0; i < e->count; i++)
			if (e->at[i].to == at && waits[e->at[i].from]) {
				before = at;
				at = e->at[i].from;
				break;
			}
	if (before == at)
		return regmap__layout_wrong(error, -EINVAL, &rules[at]->source,
		                            "rule \"%.80s\": it follows itself: leave that out",
		                            rules[at]->text);
	return regmap__layout_wrong(
		error, -EINVAL, &rules[at]->source,
		"rule \"%.80s\": it follows itself in a circle, by way of \"%.80s\" (line %u): break it with an event",
		rules[at]->text, rules[before]->text, rules[before]->source.line);
}

static int order_by(struct rule *const *rules, size_t count, const struct edges *e, uint32_t *order,
                    size_t *ordered, struct regmap_error *error)
{
	uint32_t *waits = calloc(count + 1, sizeof(*waits));
	uint32_t *first = calloc(count + 2, sizeof(*first));
	size_t follows = 0;
	int err = waits && first ? 0 : -ENOMEM;

	for (size_t i = 0; i < count; i++)
		follows += is_follow(rules[i]);
	if (!err) {
		*ordered = sort(rules, count, e, order, waits, first);
		if (*ordered < follows)
			err = fail_circle(rules, count, e, waits, error);
	}
	free(waits);
	free(first);
	return err;
}

int regmap__rules_order(struct rule *const *rules, size_t count, uint32_t *order, size_t *ordered,
                        struct regmap_error *error)
{
	struct left *lefts = calloc(2 * count + 1, sizeof(*lefts));
	struct edges e = {0};
	size_t n;
	int err;

	if (!lefts)
		return -ENOMEM;
	n = list_lefts(rules, count, lefts);
	err = check_lefts(rules, lefts, n, error);
	for (size_t i = 0; i < count && !err; i++)
		if (is_follow(rules[i]))
			err = add_edges_to(&e, rules[i], (uint32_t)i, lefts, n);
	if (!err && e.count)
		qsort(e.at, e.count, sizeof(*e.at), compare_edges);
	if (!err)
		err = order_by(rules, count, &e, order, ordered, error);
	free(e.at);
	free(lefts);
	return err;
}

/* --- all of a layout --- */

static int check_programming(const struct regmap_layout *layout, struct regmap_error *error)
{
	for (size_t i = 0; i < layout->region_count; i++) {
		const struct regmap_region *region = layout->regions[i];
		struct rule *rule;
		int err;

		if (!region->program_if[0])
			continue;
		err = regmap__rule_compile_expression(layout, region->program_if, &region->source,
		                                      &rule, error);
		if (err)
			return err;
		regmap__rule_free(rule);
	}
	return 0;
}

int regmap__rules_check(const struct regmap_layout *layout, struct regmap_error *error)
{
	struct rule **rules = calloc(layout->rule_count + 1, sizeof(*rules));
	uint32_t *order = calloc(layout->rule_count + 1, sizeof(*order));
	size_t n = 0, ordered;
	int err = rules && order ? check_programming(layout, error) : -ENOMEM;

	for (; n < layout->rule_count && !err; n++)
		err = regmap__rule_compile(layout, layout->rules[n], &rules[n], error);
	if (!err)
		err = regmap__rules_order(rules, n, order, &ordered, error);
	for (size_t i = 0; rules && i < n; i++)
		regmap__rule_free(rules[i]);
	free(rules);
	free(order);
	return err;
}
