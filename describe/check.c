/* SPDX-License-Identifier: MIT */
/* All that is wrong with a description, and what is only odd. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "rule.h"
#include "svd.h"

enum { FINDINGS_MOST = 10000 };

struct finding {
	struct regmap_error error;
	bool is_error;
	size_t order;
};

/* They are told in the order of the text, each once: a wrong value is met by whoever reads it. */
struct findings {
	struct finding *all;
	size_t count, room;
	bool failed; /* out of memory */
};

static void collect(void *ctx, bool is_error, const struct regmap_error *error)
{
	struct findings *f = ctx;

	if (f->failed || f->count == FINDINGS_MOST)
		return;
	if (f->count == f->room) {
		struct finding *more = realloc(f->all, (2 * f->room + 16) * sizeof(*more));

		if (!more) {
			f->failed = true;
			return;
		}
		f->all = more;
		f->room = 2 * f->room + 16;
	}
	f->all[f->count] = (struct finding){*error, is_error, f->count};
	f->count++;
}

static int by_place(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;
	int order = strcmp(x->error.file, y->error.file);

	if (order)
		return order;
	if (x->error.line != y->error.line)
		return x->error.line < y->error.line ? -1 : 1;
	if (x->error.column != y->error.column)
		return x->error.column < y->error.column ? -1 : 1;
	order = strcmp(x->error.text, y->error.text);
	return order ? order : x->order < y->order ? -1 : 1;
}

/* Returns how many errors there are. */
static int tell(struct findings *f, regmap_check_fn found, void *ctx)
{
	int errors = 0;

	if (f->count)
		qsort(f->all, f->count, sizeof(*f->all), by_place);
	for (size_t i = 0; i < f->count; i++) {
		if (i && strcmp(f->all[i].error.text, f->all[i - 1].error.text) == 0)
			continue;
		errors += f->all[i].is_error;
		if (found)
			found(ctx, f->all[i].is_error, &f->all[i].error);
	}
	return errors;
}

/* ---- what is odd ------------------------------------------------------------------------------------ */

static const struct layout_region *next_beside(const struct regmap_layout *l, size_t i)
{
	const struct layout_region *r = region_of(l->regions[i]);
	uint64_t last = region_last(&r->pub);

	for (i++; i < l->region_count; i++)
		if (l->regions[i]->address > last)
			return region_of(l->regions[i])->parent == r->parent ?
			               region_of(l->regions[i]) :
			               NULL;
	return NULL;
}

/* A hole between two that is smaller than either is likely a mistake; memory maps are full of larger ones. */
static void check_gaps(const struct regmap_layout *l, struct notes *n)
{
	for (size_t i = 0; i < l->region_count; i++) {
		const struct layout_region *a = region_of(l->regions[i]), *b = next_beside(l, i);
		uint64_t gap;

		if (!b || a->is_made || b->is_made)
			continue;
		gap = b->pub.address - region_last(&a->pub) - 1;
		if (gap && gap < a->pub.length && gap < b->pub.length)
			regmap__note_warning(n, &b->pub.source,
			                     "a gap of 0x%" PRIx64
			                     " bytes between region \"%s\" and region \"%s\"",
			                     gap, a->pub.name, b->pub.name);
	}
}

/* Whoever lists no mmio region wants them made; whoever does has forgotten one. */
static void check_outside(const struct regmap_layout *l, struct notes *n)
{
	const struct regmap_peripheral *first = NULL;
	bool lists_any = false;
	size_t count = 0;

	for (size_t i = 0; i < l->region_count; i++)
		lists_any |= l->regions[i]->type == REGMAP_REGION_MMIO &&
		             !region_of(l->regions[i])->is_made;
	for (size_t i = 0; lists_any && i < l->peripheral_count; i++) {
		struct regmap_place place;

		if (regmap_layout_find_at(l, l->peripherals[i]->address, &place) || !place.region ||
		    !region_of(place.region)->is_made)
			continue;
		first = count++ ? first : l->peripherals[i];
	}
	if (count == 1)
		regmap__note_warning(n, &first->source,
		                     "peripheral \"%s\" lies in no mmio region: one is made for it",
		                     first->name);
	else if (count)
		regmap__note_warning(
			n, &first->source,
			"peripheral \"%s\" and %zu others lie in no mmio region: one is made for each",
			first->name, count - 1);
}

/* A region that came with its peripheral, as one of an SVD file's address blocks does */
static bool came_with(const struct regmap_region *r, const struct regmap_peripheral *p)
{
	return r->source.line == p->source.line && r->source.column == p->source.column;
}

static void check_names(const struct regmap_layout *l, struct notes *n)
{
	for (size_t i = 0; i < l->region_count; i++) {
		const struct regmap_region *r = l->regions[i];
		const struct regmap_peripheral *p = regmap__names_find(&layout_of(l)->names,
		                                                       NAME_PERIPHERAL, NULL,
		                                                       r->name, strlen(r->name),
		                                                       true);

		if (p && !region_of(r)->is_made && !came_with(r, p))
			regmap__note_warning(
				n, &r->source,
				"region \"%s\" has the name of a peripheral: looked up, the name means only one of them",
				r->name);
	}
}

static bool are_views(const struct regmap_register *a, const struct regmap_register *b)
{
	return *a->alternate || *b->alternate;
}

static void check_registers(const struct regmap_peripheral *p, struct notes *n)
{
	const struct regmap_register *longest = NULL;

	for (size_t i = 0; i < p->register_count; i++) {
		const struct regmap_register *r = p->registers[i];

		if (longest && r->offset < longest->offset + longest->width &&
		    !are_views(r, longest))
			regmap__note_warning(
				n, &r->source,
				"register \"%s.%s\" overlaps \"%s\": say alternate = \"%s\" if it is another view of it",
				p->name, r->name, longest->name, longest->name);
		if (!longest || r->offset + r->width > longest->offset + longest->width)
			longest = r;
	}
}

static uint64_t bits_of(const struct regmap_field *f)
{
	return (f->width >= 64 ? UINT64_MAX : ((uint64_t)1 << f->width) - 1) << f->lsb;
}

/* Two fields for the same bits are usual where one is read and the other is written. */
static void check_fields(const struct regmap_peripheral *p, const struct regmap_register *r,
                         struct notes *n)
{
	uint64_t read = 0, written = 0;

	for (size_t i = 0; i < r->field_count; i++) {
		const struct regmap_field *f = r->fields[i];
		bool can_read = f->access != REGMAP_WRITE_ONLY && f->access != REGMAP_WRITE_ONCE;
		bool can_write = f->access != REGMAP_READ_ONLY;
		uint64_t bits = bits_of(f);

		if ((can_read && read & bits) || (can_write && written & bits))
			regmap__note_warning(n, &f->source,
			                     "field \"%s.%s.%s\" overlaps another one", p->name,
			                     r->name, f->name);
		read |= can_read ? bits : 0;
		written |= can_write ? bits : 0;
	}
}

/* A condition or event that can't come. */
static void check_rule(const struct rule *rule, struct notes *n)
{
	const struct regmap_register *reg = rule->has_place ? rule->places[0].reg : NULL;
	const struct rule_step *condition = rule->steps + rule->condition;

	if (rule->has_condition && condition[0].code == RULE_NUMBER && !condition[0].number &&
	    condition[1].code == RULE_END)
		regmap__note_warning(n, &rule->source,
		                     "the rule never applies: its condition is 0");
	if (!reg)
		return;
	if ((rule->kind == RULE_ON_READ || rule->kind == RULE_BEFORE_READ ||
	     rule->kind == RULE_REFUSE_READ) &&
	    (reg->access == REGMAP_WRITE_ONLY || reg->access == REGMAP_WRITE_ONCE) &&
	    !reg->field_count)
		regmap__note_warning(n, &rule->source,
		                     "the rule never applies: \"%s\" can't be read", reg->name);
	if ((rule->kind == RULE_ON_WRITE || rule->kind == RULE_IGNORE_WRITE ||
	     rule->kind == RULE_REFUSE_WRITE) &&
	    reg->access == REGMAP_READ_ONLY && !reg->field_count)
		regmap__note_warning(n, &rule->source,
		                     "the rule never applies: \"%s\" can't be written", reg->name);
}

static void check_content(const struct regmap_region *r, struct notes *n)
{
	const char *slash = strrchr(r->source.file, '/');
	char path[4096];

	if (!*r->content)
		return;
	if (*r->content == '/' || !slash)
		snprintf(path, sizeof(path), "%s", r->content);
	else
		snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - r->source.file),
		         r->source.file, r->content);
	if (access(path, R_OK) != 0)
		regmap__note_warning(n, &r->source,
		                     "content of region \"%s\": \"%s\" can't be read", r->name,
		                     r->content);
}

static void check_odd(const struct regmap_layout *l, struct notes *n)
{
	struct regmap_source whole = {.file = layout_of(l)->file ? layout_of(l)->file : ""};

	if (!*l->name)
		regmap__note_warning(n, &whole, "the device has no name: add name to [device]");
	check_gaps(l, n);
	check_outside(l, n);
	check_names(l, n);
	for (size_t i = 0; i < l->region_count; i++)
		check_content(l->regions[i], n);
	for (size_t i = 0; i < l->peripheral_count; i++) {
		const struct regmap_peripheral *p = l->peripherals[i];

		check_registers(p, n);
		for (size_t k = 0; k < p->register_count; k++)
			check_fields(p, p->registers[k], n);
	}
}

/* ---- all of it -------------------------------------------------------------------------------------- */

/* Each alone, so that all that are wrong are told; then what only all together show. */
static void check_rules(const struct regmap_layout *l, struct notes *n)
{
	struct regmap_error error;
	size_t errors = n->errors;
	int err;

	for (size_t i = 0; i < l->rule_count; i++) {
		struct rule *rule;

		err = regmap__rule_compile(l, l->rules[i], &rule, &error);
		if (err) {
			regmap__note_error(n, err, &error);
			continue;
		}
		check_rule(rule, n);
		regmap__rule_free(rule);
	}
	if (errors != n->errors)
		return;
	err = regmap__rules_check(l, &error);
	if (err)
		regmap__note_error(n, err, &error);
}

static void check_layout(struct regmap_layout *l, struct notes *n)
{
	struct regmap_error error;
	int err = regmap__layout_finish(layout_of(l), &error);

	if (err) {
		regmap__note_error(n, err, &error);
		return;
	}
	check_rules(l, n);
	check_odd(l, n);
}

static void check_svd(const char *text, size_t length, const char *path, struct notes *n)
{
	struct regmap_error error;
	struct layout *layout;
	int err = regmap__svd_load(text, length, path, &layout, &error);

	if (err) {
		regmap__note_error(n, err, &error);
		return;
	}
	check_layout(&layout->pub, n);
	regmap_layout_free(&layout->pub);
}

static void check_text(const char *text, size_t length, enum regmap_format format, const char *path,
                       struct notes *n)
{
	struct regmap_layout *layout = NULL;
	struct load load;

	if (regmap__load_begin(&load, n)) {
		n->is_fatal = true;
		return;
	}
	regmap__load_text(&load, text, length, format, path);
	if (!n->is_fatal && !load.is_overlay)
		layout = regmap__build(&load.merge);
	if (layout)
		check_layout(layout, n);
	regmap_layout_free(layout);
	regmap__load_end(&load);
}

static int check_file(const char *path, enum regmap_format format, regmap_check_fn found, void *ctx)
{
	struct findings findings = {0};
	struct regmap_error first;
	struct notes notes = {.error = &first, .found = collect, .ctx = &findings};
	size_t length;
	char *text;
	int err = regmap__read_file(path, &text, &length);

	if (err) {
		regmap__load_unreadable(&notes, err, path);
	} else {
		if (format == REGMAP_FORMAT_AUTO)
			format = regmap__format_of(text, length, path);
		if (format == REGMAP_FORMAT_SVD)
			check_svd(text, length, path, &notes);
		else
			check_text(text, length, format, path, &notes);
		free(text);
		if (notes.is_fatal && notes.err == -ENOMEM)
			err = -ENOMEM;
	}
	if (findings.failed)
		err = -ENOMEM;
	if (err)
		tell(&findings, found, ctx);
	else
		err = tell(&findings, found, ctx);
	free(findings.all);
	return err;
}

int regmap_layout_check_file(const char *path, enum regmap_format format, regmap_check_fn found,
                             void *ctx)
{
	int saved = errno, result;

	if (!path)
		return -EINVAL;
	result = check_file(path, format, found, ctx);
	errno = saved;
	return result;
}
