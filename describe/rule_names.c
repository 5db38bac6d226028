/* SPDX-License-Identifier: MIT */
/* What names in rules mean, and what they may have been meant to be. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "near.h"
#include "rule_inside.h"

/* --- guesses --- */

void regmap__rule_guess(struct rule_guess *g, const char *written, size_t length, const char *name)
{
	unsigned d = regmap__edits(written, length, name, strlen(name), 0) / 2;

	if (d > (length + 2) / 3 || (g->best && d >= g->distance))
		return;
	g->best = name;
	g->distance = d;
}

/* --- paths --- */

enum { PARTS = 16 };

struct path {
	const char *begin;
	size_t length;
	struct {
		const char *at;
		size_t length;
	} part[PARTS];
	unsigned count;
};

static void read_path(struct rule_compiler *c, struct path *p)
{
	p->count = 0;
	p->begin = c->begin;
	p->length = 0;
	for (;;) {
		if (c->token != TOKEN_NAME) {
			regmap__rule_fail(c, "a name must stand behind the dot of \"%.*s\"",
			                  (int)p->length, p->begin);
			return;
		}
		if (p->count == PARTS) {
			regmap__rule_fail(c, "\"%.*s\" has too many parts", (int)p->length,
			                  p->begin);
			return;
		}
		p->part[p->count].at = c->begin;
		p->part[p->count++].length = c->length;
		p->length = (size_t)(c->begin + c->length - p->begin);
		regmap__rule_next(c);
		if (!regmap__rule_is(c, "."))
			return;
		p->length++;
		regmap__rule_next(c);
	}
}

static const void *find(const struct rule_compiler *c, enum name_kind kind, const void *parent,
                        const char *name, size_t length)
{
	return regmap__names_find(&layout_of(c->layout)->names, kind, parent, name, length, true);
}

/* Parts from @from to before @to, with the dots between them: a name may have some. */
static const void *find_parts(const struct rule_compiler *c, const struct path *p,
                              enum name_kind kind, const void *parent, unsigned from, unsigned to)
{
	const char *end = p->part[to - 1].at + p->part[to - 1].length;

	return find(c, kind, parent, p->part[from].at, (size_t)(end - p->part[from].at));
}

static void take_register(struct rule_place *place, const struct regmap_peripheral *peripheral,
                          const struct regmap_register *reg)
{
	*place = (struct rule_place){peripheral, reg, 0, 8 * reg->width};
}

static void take_field(struct rule_place *place, const struct regmap_peripheral *peripheral,
                       const struct regmap_register *reg, const struct regmap_field *field)
{
	*place = (struct rule_place){peripheral, reg, field->lsb, field->width};
}

static bool find_field(const struct rule_compiler *c, const struct path *p, unsigned from,
                       const struct regmap_peripheral *peripheral,
                       const struct regmap_register *reg, struct rule_place *place)
{
	const struct regmap_field *field;

	if (from == p->count) {
		take_register(place, peripheral, reg);
		return true;
	}
	field = find_parts(c, p, NAME_FIELD, reg, from, p->count);
	if (field)
		take_field(place, peripheral, reg, field);
	return field != NULL;
}

static bool find_register(const struct rule_compiler *c, const struct path *p, unsigned from,
                          const struct regmap_peripheral *peripheral, struct rule_place *place)
{
	for (unsigned to = p->count; to > from; to--) {
		const struct regmap_register *reg = find_parts(c, p, NAME_REGISTER, peripheral,
		                                               from, to);

		if (reg && find_field(c, p, to, peripheral, reg, place))
			return true;
	}
	return false;
}

static bool find_anywhere(const struct rule_compiler *c, const struct path *p,
                          struct rule_place *place)
{
	for (unsigned to = p->count - 1; to > 0; to--) {
		const struct regmap_peripheral *peripheral = find_parts(c, p, NAME_PERIPHERAL, NULL,
		                                                        0, to);

		if (peripheral && find_register(c, p, to, peripheral, place))
			return true;
	}
	return false;
}

/* From the inner scope outwards. */
static bool resolve(const struct rule_compiler *c, const struct path *p, struct rule_place *place)
{
	if (c->reg) {
		const struct regmap_field *field = find_parts(c, p, NAME_FIELD, c->reg, 0,
		                                              p->count);

		if (field) {
			take_field(place, c->peripheral, c->reg, field);
			return true;
		}
	}
	return (c->peripheral && find_register(c, p, 0, c->peripheral, place)) ||
	       find_anywhere(c, p, place);
}

/* --- what is wrong with one that isn't found --- */

static void guess_fields(struct rule_guess *g, const struct path *p, unsigned i,
                         const struct regmap_register *reg)
{
	for (size_t k = 0; k < reg->field_count; k++)
		regmap__rule_guess(g, p->part[i].at, p->part[i].length, reg->fields[k]->name);
}

static void guess_registers(struct rule_guess *g, const struct path *p, unsigned i,
                            const struct regmap_peripheral *peripheral)
{
	for (size_t k = 0; k < peripheral->register_count; k++)
		regmap__rule_guess(g, p->part[i].at, p->part[i].length,
		                   peripheral->registers[k]->name);
}

static void fail_with(struct rule_compiler *c, const struct path *p, unsigned i, const char *kind,
                      const char *of, const struct rule_guess *g)
{
	regmap__rule_fail(c, "\"%.*s\": no %s%s%s is called \"%.*s\"%s%s%s", (int)p->length,
	                  p->begin, kind, *of ? " of " : "", of, (int)p->part[i].length,
	                  p->part[i].at, g->best ? ": did you mean \"" : "", g->best ? g->best : "",
	                  g->best ? "\"?" : "");
}

static void fail_at_field(struct rule_compiler *c, const struct path *p, unsigned i,
                          const struct regmap_register *reg)
{
	struct rule_guess g = {0};

	guess_fields(&g, p, i, reg);
	fail_with(c, p, i, "field", reg->name, &g);
}

static void fail_at_register(struct rule_compiler *c, const struct path *p, unsigned i,
                             const struct regmap_peripheral *peripheral)
{
	const struct regmap_register *reg = find_parts(c, p, NAME_REGISTER, peripheral, i, i + 1);
	struct rule_guess g = {0};

	if (reg && i + 1 < p->count) {
		fail_at_field(c, p, i + 1, reg);
		return;
	}
	guess_registers(&g, p, i, peripheral);
	fail_with(c, p, i, "register", peripheral->name, &g);
}

/* A field of another register: that has to be said. */
static bool fail_as_elsewhere(struct rule_compiler *c, const struct path *p)
{
	for (size_t k = 0; c->peripheral && k < c->peripheral->register_count; k++) {
		const struct regmap_register *reg = c->peripheral->registers[k];

		if (p->count == 1 && find_parts(c, p, NAME_FIELD, reg, 0, 1)) {
			regmap__rule_fail(
				c, "\"%.*s\" is a field of another register: write \"%s.%.*s\"",
				(int)p->length, p->begin, reg->name, (int)p->length, p->begin);
			return true;
		}
	}
	return false;
}

static void fail_to_resolve(struct rule_compiler *c, const struct path *p)
{
	const struct regmap_peripheral *peripheral = find_parts(c, p, NAME_PERIPHERAL, NULL, 0, 1);
	struct rule_guess g = {0};

	if (c->peripheral && p->count > 1 && find_parts(c, p, NAME_REGISTER, c->peripheral, 0, 1)) {
		fail_at_register(c, p, 0, c->peripheral);
		return;
	}
	if (peripheral && p->count > 1) {
		fail_at_register(c, p, 1, peripheral);
		return;
	}
	if (peripheral) {
		regmap__rule_fail(c, "\"%.*s\" is a peripheral: name a register of it",
		                  (int)p->length, p->begin);
		return;
	}
	if (fail_as_elsewhere(c, p))
		return;
	if (c->reg && p->count == 1)
		guess_fields(&g, p, 0, c->reg);
	if (c->peripheral)
		guess_registers(&g, p, 0, c->peripheral);
	for (size_t i = 0; i < c->layout->peripheral_count && p->count > 1; i++)
		regmap__rule_guess(&g, p->part[0].at, p->part[0].length,
		                   c->layout->peripherals[i]->name);
	fail_with(c, p, 0,
	          c->reg        ? "field, register or peripheral" :
	          c->peripheral ? "register or peripheral" :
	                          "peripheral",
	          "", &g);
}

bool regmap__rule_find_place(struct rule_compiler *c, struct rule_place *place, bool quietly)
{
	const struct rule_compiler before = *c;
	struct path p;

	read_path(c, &p);
	if (c->err)
		return false;
	if (resolve(c, &p, place))
		return true;
	if (quietly)
		*c = before;
	else
		fail_to_resolve(c, &p);
	return false;
}

/* --- peripherals, regions, scopes --- */

static void fail_unknown(struct rule_compiler *c, const char *kind, const struct rule_guess *g)
{
	regmap__rule_fail(c, "no %s is called \"%.*s\"%s%s%s", kind, (int)c->length, c->begin,
	                  g->best ? ": did you mean \"" : "", g->best ? g->best : "",
	                  g->best ? "\"?" : "");
}

const struct regmap_region *regmap__rule_find_region(struct rule_compiler *c)
{
	const struct regmap_region *region = NULL;
	struct rule_guess g = {0};

	if (c->token == TOKEN_NAME || c->token == TOKEN_STRING)
		region = find(c, NAME_REGION, NULL, c->begin, c->length);
	else
		regmap__rule_fail(c, "a region's name is missing");
	if (c->err)
		return NULL;
	if (region) {
		regmap__rule_next(c);
		return region;
	}
	for (size_t i = 0; i < c->layout->region_count; i++)
		regmap__rule_guess(&g, c->begin, c->length, c->layout->regions[i]->name);
	fail_unknown(c, "region", &g);
	return NULL;
}

const struct regmap_peripheral *regmap__rule_find_peripheral(struct rule_compiler *c)
{
	const struct regmap_peripheral *peripheral = NULL;
	struct rule_guess g = {0};

	if (c->token == TOKEN_NAME)
		peripheral = find(c, NAME_PERIPHERAL, NULL, c->begin, c->length);
	if (peripheral) {
		regmap__rule_next(c);
		return peripheral;
	}
	for (size_t i = 0; i < c->layout->peripheral_count; i++)
		regmap__rule_guess(&g, c->begin, c->length, c->layout->peripherals[i]->name);
	fail_unknown(c, "peripheral", &g);
	return NULL;
}

bool regmap__rule_enter_scope(struct rule_compiler *c, const char *scope)
{
	const char *dot = strchrnul(scope, '.'), *end = scope + strlen(scope);

	if (!*scope)
		return true;
	c->peripheral = find(c, NAME_PERIPHERAL, NULL, scope, (size_t)(dot - scope));
	if (!c->peripheral)
		regmap__rule_fail(c, "no peripheral is called \"%.*s\"", (int)(dot - scope), scope);
	if (!c->peripheral || !*dot)
		return c->peripheral != NULL;
	scope = dot + 1;
	/* the longest register's name that it begins with: names may have dots */
	for (dot = end; !c->reg && dot > scope; dot = memrchr(scope, '.', (size_t)(dot - scope))) {
		c->reg = find(c, NAME_REGISTER, c->peripheral, scope, (size_t)(dot - scope));
		if (c->reg && *dot)
			c->field = find(c, NAME_FIELD, c->reg, dot + 1, (size_t)(end - dot - 1));
		if (c->reg && *dot && !c->field)
			c->reg = NULL;
		if (c->reg)
			return true;
	}
	regmap__rule_fail(c, "no register or field of %s is called \"%s\"", c->peripheral->name,
	                  scope);
	return false;
}
