/* SPDX-License-Identifier: MIT */
/* Rules are told where values are, and values which rules there are about them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "registers_rules.h"

static struct unit *device_unit(const struct regs *r)
{
	return &r->units[r->unit_count];
}

static struct unit *unit_of(const struct regs *r, const struct regmap_peripheral *p)
{
	return p ? regmap__regs_unit_of(r, p) : device_unit(r);
}

/* --- lists that grow --- */

static int grow(void *list, uint32_t count, uint32_t *room, size_t size)
{
	void *before, *more;

	if (count < *room)
		return 0;
	memcpy(&before, list, sizeof(before));
	more = realloc(before, (*room ? 2 * *room : 4) * size);
	if (!more)
		return -ENOMEM;
	*room = *room ? 2 * *room : 4;
	memcpy(list, &more, sizeof(more));
	return 0;
}

static int depend(struct dependents *d, uint32_t position, uint64_t mask)
{
	int err = grow(&d->at, d->count, &d->room, sizeof(*d->at));

	if (!err)
		d->at[d->count++] = (struct dependent){position, mask};
	return err;
}

static int depend_on_cell(struct cell *c, bool is_left, uint32_t position, uint64_t mask)
{
	if (!c->follows)
		c->follows = calloc(2, sizeof(*c->follows));
	if (!c->follows)
		return -ENOMEM;
	c->has_rules = true;
	return depend(&c->follows[is_left], position, mask);
}

static int add_event(struct cell *c, const struct event *e)
{
	int err = grow(&c->events, c->event_count, &c->event_room, sizeof(*e));

	if (err)
		return err;
	c->events[c->event_count++] = *e;
	c->has_rules = true;
	return 0;
}

/* --- places --- */

static int fail_place(const struct rule *rule, const struct rule_place *p,
                      struct regmap_error *error)
{
	return regmap__layout_wrong(
		error, -EINVAL, &rule->source,
		"rule \"%.80s\": %s.%s lies in a region that isn't of type mmio: rules are about registers",
		rule->text, p->peripheral->name, p->reg->name);
}

static int link_place(const struct regs *r, const struct rule *rule, uint32_t i, struct place *to,
                      struct regmap_error *error)
{
	const struct rule_place *p = &rule->places[i];
	const struct area *area = regmap__regs_area_at(r, p->peripheral->address + p->reg->offset);
	uint64_t address;

	for (unsigned part = 0; part < 2; part++) {
		struct place_part *pp = &to->part[part];

		if (!regmap__rule_part(p, part, &address, &pp->mask, &pp->shift))
			continue;
		pp->cell = area && area->bytes ? cell_at(r, area, address) : NULL;
		if (!pp->cell)
			return fail_place(rule, p, error);
	}
	return 0;
}

/* --- variables --- */

static int find_variable(struct regs *r, struct unit *unit, const char *name, const char ***names,
                         uint32_t *room, uint32_t *number)
{
	struct ruleset *s = r->rules;
	uint32_t unit_room = *room;
	int err;

	for (size_t i = 0; i < s->variable_count; i++)
		if (s->variable_units[i] == unit && !strcmp((*names)[i], name)) {
			*number = (uint32_t)i;
			return 0;
		}
	err = grow(&s->variable_units, (uint32_t)s->variable_count, &unit_room,
	           sizeof(*s->variable_units));
	if (!err)
		err = grow(names, (uint32_t)s->variable_count, room, sizeof(**names));
	if (err)
		return err;
	s->variable_units[s->variable_count] = unit;
	(*names)[s->variable_count] = name;
	*number = (uint32_t)s->variable_count++;
	return 0;
}

struct variable_names {
	const char **at;
	uint32_t room;
};

/* --- one rule --- */

static int link(struct regs *r, struct linked *l, const struct rule *rule,
                struct variable_names *names, struct regmap_error *error)
{
	int err = 0;

	l->rule = rule;
	l->unit = unit_of(r, rule->peripheral);
	l->places = calloc(rule->place_count + 1, sizeof(*l->places));
	l->variables = calloc(rule->variable_count + 1, sizeof(*l->variables));
	l->units = calloc(rule->peripheral_count + 1, sizeof(*l->units));
	if (!l->places || !l->variables || !l->units)
		return -ENOMEM;
	for (uint32_t i = 0; i < rule->peripheral_count; i++)
		l->units[i] = unit_of(r, rule->peripherals[i]);
	for (uint32_t i = 0; i < rule->place_count && !err; i++)
		err = link_place(r, rule, i, &l->places[i], error);
	for (uint32_t i = 0; i < rule->variable_count && !err; i++)
		err = find_variable(r, l->unit, rule->variables[i], &names->at, &names->room,
		                    &l->variables[i]);
	r->rules->erases |= rule->erases;
	return err;
}

void regmap__rules_unlink(struct linked *l)
{
	regmap__rule_free((struct rule *)l->rule);
	free(l->places);
	free(l->variables);
	free(l->units);
}

/* --- events --- */

static bool is_event(const struct rule *rule)
{
	return rule->has_place && rule->kind != RULE_FOLLOW;
}

static int link_event(struct regs *r, uint32_t i)
{
	const struct linked *l = &r->rules->rules[i];
	struct rule_place all;
	int err = 0;

	if (!is_event(l->rule))
		return 0;
	all = l->rule->places[0];
	all.lsb = 0;
	all.width = 8 * all.reg->width;
	for (unsigned part = 0; part < 2 && !err; part++) {
		const struct place_part *pp = &l->places[0].part[part];
		struct event e = {.rule = i, .mask = pp->mask, .part = part};
		uint64_t address;
		int shift;

		regmap__rule_part(&all, part, &address, &e.around, &shift);
		if (pp->cell)
			err = add_event(pp->cell, &e);
	}
	return err;
}

/* --- what follows --- */

static int depend_on_place(const struct place *p, bool is_left, uint32_t position)
{
	int err = 0;

	for (unsigned part = 0; part < 2 && !err; part++)
		if (p->part[part].cell)
			err = depend_on_cell(p->part[part].cell, is_left, position,
			                     p->part[part].mask);
	return err;
}

static int link_follow(struct regs *r, uint32_t position)
{
	struct ruleset *s = r->rules;
	const struct linked *l = &s->rules[s->order[position]];
	int err = depend_on_place(&l->places[0], true, position);

	for (uint32_t i = 0; i < l->rule->step_count && !err; i++) {
		const struct rule_step *step = &l->rule->steps[i];

		if (step->code == RULE_PLACE)
			err = depend_on_place(&l->places[step->which], false, position);
		else if (step->code == RULE_VARIABLE)
			err = depend(&s->of_variable[l->variables[step->which]], position, ~0ull);
	}
	return err;
}

/* --- all --- */

static int compile_all(struct regs *r, struct variable_names *names, struct regmap_error *error)
{
	const struct regmap_layout *layout = r->device->layout;
	struct ruleset *s = r->rules;
	struct rule *rule;
	int err = 0;

	for (size_t i = 0; i < layout->rule_count && !err; i++) {
		err = regmap__rule_compile(layout, layout->rules[i], &rule, error);
		if (err)
			break;
		s->rules[s->rule_count].first_wait = (uint32_t)s->wait_count;
		s->wait_count += rule->after_count;
		err = link(r, &s->rules[s->rule_count++], rule, names, error);
	}
	return err;
}

static int compile_programming(struct regs *r, struct variable_names *names,
                               struct regmap_error *error)
{
	struct rule *rule;
	int err = 0;

	for (size_t i = 0; i < r->area_count && !err; i++) {
		const struct regmap_region *region = r->areas[i].region;

		if (!region->program_if[0])
			continue;
		err = regmap__rule_compile_expression(r->device->layout, region->program_if,
		                                      &region->source, &rule, error);
		if (!err)
			err = link(r, &r->rules->program_if[i], rule, names, error);
	}
	return err;
}

static int order(struct ruleset *s, struct regmap_error *error)
{
	struct rule **rules = calloc(s->rule_count + 1, sizeof(*rules));
	int err;

	if (!rules)
		return -ENOMEM;
	for (size_t i = 0; i < s->rule_count; i++)
		rules[i] = (struct rule *)s->rules[i].rule;
	err = regmap__rules_order(rules, s->rule_count, s->order, &s->ordered, error);
	free(rules);
	return err;
}

/* In a rule of the device, it is the accesses to what that is about. */
static struct unit *counted_unit(const struct regs *r, const struct linked *l)
{
	if (l->rule->peripheral || !l->rule->has_place)
		return l->unit;
	return unit_of(r, l->rule->places[0].peripheral);
}

static int make_lists(struct regs *r)
{
	struct ruleset *s = r->rules;

	s->variables = calloc(s->variable_count + 1, sizeof(*s->variables));
	s->of_variable = calloc(s->variable_count + 1, sizeof(*s->of_variable));
	s->waits = calloc(s->wait_count + 1, sizeof(*s->waits));
	s->dirty = calloc(s->ordered / 64 + 1, sizeof(*s->dirty));
	if (!s->variables || !s->of_variable || !s->waits || !s->dirty)
		return -ENOMEM;
	for (size_t i = 0; i < s->rule_count; i++)
		for (uint32_t k = 0; k < s->rules[i].rule->after_count; k++) {
			struct wait *w = &s->waits[s->rules[i].first_wait + k];

			w->rule = (uint32_t)i;
			w->unit = counted_unit(r, &s->rules[i]);
		}
	return 0;
}

static int link_all(struct regs *r, struct regmap_error *error)
{
	struct ruleset *s = r->rules;
	int err = order(s, error);

	if (!err)
		err = make_lists(r);
	for (size_t i = 0; i < s->ordered && !err; i++)
		err = link_follow(r, (uint32_t)i);
	for (size_t i = 0; i < s->rule_count && !err; i++)
		err = link_event(r, (uint32_t)i);
	return err;
}

static bool has_some(const struct regs *r)
{
	bool some = r->device->layout->rule_count;

	for (size_t i = 0; i < r->area_count; i++)
		some |= r->areas[i].region->program_if[0] != '\0';
	return some;
}

int regmap__rules_new(struct regs *r, struct regmap_error *error)
{
	struct variable_names names = {0};
	struct ruleset *s;
	int err;

	if (!has_some(r))
		return 0;
	s = r->rules = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->rules = calloc(r->device->layout->rule_count + 1, sizeof(*s->rules));
	s->order = calloc(r->device->layout->rule_count + 1, sizeof(*s->order));
	s->program_if = calloc(r->area_count + 1, sizeof(*s->program_if));
	err = s->rules && s->order && s->program_if ? compile_all(r, &names, error) : -ENOMEM;
	if (!err)
		err = compile_programming(r, &names, error);
	if (!err)
		err = link_all(r, error);
	free(names.at);
	return err;
}

static void free_cells(struct regs *r)
{
	for (size_t i = 0; i < r->cell_count; i++) {
		struct cell *c = &r->cells[i];

		free(c->events);
		if (c->follows) {
			free(c->follows[0].at);
			free(c->follows[1].at);
		}
		free(c->follows);
	}
}

void regmap__rules_free(struct regs *r)
{
	struct ruleset *s = r->rules;

	if (!s)
		return;
	free_cells(r);
	for (size_t i = 0; s->rules && i < s->rule_count; i++)
		regmap__rules_unlink(&s->rules[i]);
	for (size_t i = 0; s->program_if && i < r->area_count; i++)
		regmap__rules_unlink(&s->program_if[i]);
	for (size_t i = 0; s->of_variable && i < s->variable_count; i++)
		free(s->of_variable[i].at);
	free(s->rules);
	free(s->order);
	free(s->program_if);
	free((void *)s->variables);
	free(s->of_variable);
	free(s->variable_units);
	free(s->waits);
	free((void *)s->dirty);
	free(s);
}
