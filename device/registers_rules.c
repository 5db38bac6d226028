/* SPDX-License-Identifier: MIT */
/* Rules at work. All but a look at an expression is under the device's lock. */
#include <errno.h>

#include "memory.h"
#include "registers_rules.h"

/* What a rule is run for. */
struct occasion {
	uint64_t value, old, address;
	unsigned width; /* of a write to a flash */
};

/* --- places --- */

static uint64_t from_part(const struct place_part *p, uint64_t bits)
{
	bits &= p->mask;
	return p->shift >= 0 ? bits >> p->shift : bits << -p->shift;
}

static uint64_t to_part(const struct place_part *p, uint64_t value)
{
	return p->shift >= 0 ? value << p->shift : value >> -p->shift;
}

static uint64_t get_place(const struct place *p)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 2; i++)
		if (p->part[i].cell)
			value |= from_part(&p->part[i], atomic_load(p->part[i].cell->stored));
	return value;
}

/* A place's value where one of its cells has, or had, these bits. */
static uint64_t get_with(const struct place *p, unsigned part, uint64_t bits)
{
	const struct place_part *other = &p->part[!part];
	uint64_t value = from_part(&p->part[part], bits);

	return other->cell ? value | from_part(other, atomic_load(other->cell->stored)) : value;
}

/* --- following --- */

static void mark(struct ruleset *s, const struct dependents *d, uint64_t changed)
{
	for (uint32_t i = 0; i < d->count; i++)
		if (d->at[i].mask & changed)
			atomic_fetch_or(&s->dirty[d->at[i].position / 64],
			                1ull << d->at[i].position % 64);
}

/* By a follower: its own left side is right. */
static void mark_readers(struct ruleset *s, const struct cell *c, uint64_t changed)
{
	if (changed && c->follows)
		mark(s, &c->follows[0], changed);
}

static void mark_all_of(struct ruleset *s, const struct cell *c, uint64_t changed)
{
	mark_readers(s, c, changed);
	if (changed && c->follows)
		mark(s, &c->follows[1], changed);
}

static void set_place(struct ruleset *s, const struct place *p, uint64_t value,
                      void (*note)(struct ruleset *, const struct cell *, uint64_t))
{
	for (unsigned i = 0; i < 2; i++) {
		const struct place_part *part = &p->part[i];
		uint64_t bits, was;

		if (!part->cell)
			continue;
		bits = to_part(part, value);
		was = stored_change(part->cell->stored, bits, part->mask);
		note(s, part->cell, (was ^ bits) & part->mask);
	}
}

/* --- the machine --- */

static uint64_t compute(enum rule_code code, uint64_t a, uint64_t b)
{
	switch (code) {
	case RULE_MULTIPLY: return a * b;
	case RULE_DIVIDE: return b ? a / b : 0;
	case RULE_REMAINDER: return b ? a % b : 0;
	case RULE_ADD: return a + b;
	case RULE_SUBTRACT: return a - b;
	case RULE_LEFT: return b < 64 ? a << b : 0;
	case RULE_RIGHT: return b < 64 ? a >> b : 0;
	case RULE_LESS: return a < b;
	case RULE_LESS_EQUAL: return a <= b;
	case RULE_GREATER: return a > b;
	case RULE_GREATER_EQUAL: return a >= b;
	case RULE_EQUAL: return a == b;
	case RULE_UNEQUAL: return a != b;
	case RULE_AND: return a & b;
	case RULE_XOR: return a ^ b;
	case RULE_OR: return a | b;
	case RULE_BOTH: return a && b;
	default: return a || b;
	}
}

struct machine {
	struct regs *regs;
	const struct linked *linked;
	const struct occasion *occasion;
	uint64_t *top; /* the highest number */
	uint64_t stack[RULE_STACK + 1];
};

static void push(struct machine *m, uint64_t value)
{
	*++m->top = value;
}

static uint64_t pop(struct machine *m)
{
	return *m->top--;
}

/* Registers alone, as in tests of them, have no memory. */
static uint64_t get_byte(const struct machine *m, uint64_t address)
{
	const struct memory *memory = m->regs->device->memory;

	return memory ? regmap__memory_get_byte(memory, address) : 0;
}

/* What only looks; false: it is a step, or the end. */
static bool look(struct machine *m, const struct rule_step *step)
{
	const struct linked *l = m->linked;
	uint64_t b, c;

	switch (step->code) {
	case RULE_NUMBER: push(m, step->number); return true;
	case RULE_PLACE: push(m, get_place(&l->places[step->which])); return true;
	case RULE_VARIABLE:
		push(m, atomic_load(&m->regs->rules->variables[l->variables[step->which]]));
		return true;
	case RULE_VALUE: push(m, m->occasion->value); return true;
	case RULE_OLD: push(m, m->occasion->old); return true;
	case RULE_ADDRESS: push(m, m->occasion->address); return true;
	case RULE_WIDTH: push(m, m->occasion->width); return true;
	case RULE_BYTE: *m->top = get_byte(m, *m->top); return true;
	case RULE_NOT: *m->top = !*m->top; return true;
	case RULE_INVERT: *m->top = ~*m->top; return true;
	case RULE_NEGATE: *m->top = -*m->top; return true;
	case RULE_SELECT:
		c = pop(m);
		b = pop(m);
		*m->top = *m->top ? b : c;
		return true;
	default: break;
	}
	if (step->code < RULE_MULTIPLY || step->code > RULE_EITHER)
		return false;
	b = pop(m);
	*m->top = compute(step->code, *m->top, b);
	return true;
}

static void begin(struct machine *m, struct regs *r, const struct linked *l,
                  const struct occasion *occasion)
{
	m->regs = r;
	m->linked = l;
	m->occasion = occasion;
	m->top = m->stack;
	m->stack[0] = 0;
}

static uint64_t evaluate(struct regs *r, const struct linked *l, uint32_t from,
                         const struct occasion *occasion)
{
	const struct rule_step *step = &l->rule->steps[from];
	struct machine m;

	begin(&m, r, l, occasion);
	while (look(&m, step))
		step++;
	return *m.top;
}

static bool holds(struct regs *r, const struct linked *l, const struct occasion *occasion)
{
	return !l->rule->has_condition || evaluate(r, l, l->rule->condition, occasion);
}

/* --- following, in its order --- */

static void follow(struct regs *r, uint32_t position)
{
	static const struct occasion none;
	struct ruleset *s = r->rules;
	const struct linked *l = &s->rules[s->order[position]];

	set_place(s, &l->places[0], evaluate(r, l, l->rule->body, &none), mark_readers);
}

static void follow_dirty(struct regs *r)
{
	struct ruleset *s = r->rules;
	uint64_t bits;

	for (size_t i = 0; i < (s->ordered + 63) / 64; i++)
		while ((bits = atomic_load(&s->dirty[i]))) {
			unsigned bit = (unsigned)__builtin_ctzll(bits);

			atomic_fetch_and(&s->dirty[i], ~(1ull << bit));
			follow(r, (uint32_t)(64 * i + bit));
		}
}

static void mark_everything(struct ruleset *s)
{
	for (size_t i = 0; i < s->ordered; i++)
		atomic_fetch_or(&s->dirty[i / 64], 1ull << i % 64);
}

/* Who came in between may have changed what a value was made from that is stored only now. */
static void settle(struct regs *r)
{
	struct ruleset *s = r->rules;
	unsigned before = atomic_load(&s->disturbed), now;

	for (;;) {
		follow_dirty(r);
		now = atomic_load(&s->disturbed);
		if (now == before)
			return;
		before = now;
		mark_everything(s);
	}
}

void regmap__rules_settle_all(struct regs *r)
{
	mark_everything(r->rules);
	settle(r);
}

bool regmap__rules_erase(const struct regs *r)
{
	return r->rules && r->rules->erases;
}

void regmap__rules_disturb(struct regs *r)
{
	if (r->rules)
		atomic_fetch_add(&r->rules->disturbed, 1);
}

void regmap__rules_changed(struct regs *r, struct cell *c, uint64_t mask)
{
	mark_all_of(r->rules, c, mask);
	settle(r);
}

/* --- steps --- */

static void wait_for(const struct machine *m, const struct rule_step *step)
{
	const struct linked *l = m->linked;
	struct wait *w = &m->regs->rules->waits[l->first_wait + step->which];

	w->left = (uint32_t)step->number;
	w->rule = (uint32_t)(l - m->regs->rules->rules);
	w->step = (uint32_t)(step + 1 - l->rule->steps);
	w->value = m->occasion->value;
	w->old = m->occasion->old;
	w->address = m->occasion->address;
	w->width = m->occasion->width;
	if (!atomic_exchange(&w->is_on, true))
		atomic_fetch_add(&m->regs->pending, 1);
}

static void erase(const struct machine *m, uint64_t address, uint64_t length)
{
	if (m->regs->device->memory)
		(void)!regmap__memory_erase(m->regs->device->memory, address, length);
}

static void set_variable(struct machine *m, uint32_t number, uint64_t value)
{
	struct ruleset *s = m->regs->rules;
	uint64_t was = atomic_exchange(&s->variables[number], value);

	if (was != value)
		mark(s, &s->of_variable[number], ~0ull);
}

static void reset(struct machine *m, struct unit *unit)
{
	regmap__regs_reset_values(m->regs, unit);
	if (!unit)
		unit = &m->regs->units[m->regs->unit_count];
	if (!atomic_exchange(&unit->is_reset, true))
		atomic_fetch_add(&m->regs->resets, 1);
}

static void copy(struct machine *m)
{
	uint64_t length = pop(m), from = pop(m), to = pop(m);

	if (m->regs->device->memory)
		regmap__memory_copy(m->regs->device->memory, to, from, length);
}

/* False: the rest comes later, or never. */
static bool step(struct machine *m, const struct rule_step *at)
{
	const struct linked *l = m->linked;
	uint64_t value;

	switch (at->code) {
	case RULE_SET_PLACE:
		set_place(m->regs->rules, &l->places[at->which], pop(m), mark_all_of);
		break;
	case RULE_SET_VARIABLE: set_variable(m, l->variables[at->which], pop(m)); break;
	case RULE_AFTER: wait_for(m, at); return false;
	case RULE_ERASE_SECTOR: erase(m, pop(m), 0); return true;
	case RULE_ERASE:
		value = pop(m);
		if (value)
			erase(m, *m->top, value);
		pop(m);
		return true;
	case RULE_SET_BYTE:
		value = pop(m);
		if (m->regs->device->memory)
			regmap__memory_set_byte(m->regs->device->memory, *m->top, (uint8_t)value);
		pop(m);
		return true;
	case RULE_COPY: copy(m); return true;
	case RULE_RESET: reset(m, l->units[at->which]); return true;
	case RULE_RESET_DEVICE: reset(m, NULL); return true;
	default: return false;
	}
	settle(m->regs);
	return true;
}

static void run(struct regs *r, const struct linked *l, uint32_t from,
                const struct occasion *occasion)
{
	const struct rule_step *at = &l->rule->steps[from];
	struct machine m;

	begin(&m, r, l, occasion);
	while (look(&m, at) || step(&m, at))
		at++;
}

/* --- steps that wait --- */

void regmap__rules_tick(struct regs *r, struct unit *unit)
{
	struct ruleset *s = r->rules;
	const struct unit *device = &r->units[r->unit_count];

	if (!atomic_load(&r->pending))
		return;
	for (size_t i = 0; i < s->wait_count; i++) {
		struct wait *w = &s->waits[i];

		if (atomic_load(&w->is_on) && w->left && (w->unit == unit || w->unit == device))
			w->left--;
	}
}

/* Steps that wait anew from here on don't become due before the next access. */
void regmap__rules_run_due(struct regs *r)
{
	struct ruleset *s = r->rules;

	if (!atomic_load(&r->pending))
		return;
	for (size_t i = 0; i < s->wait_count; i++) {
		struct wait *w = &s->waits[i];
		const struct occasion then = {w->value, w->old, w->address, w->width};

		if (w->left || !atomic_exchange(&w->is_on, false))
			continue;
		atomic_fetch_sub(&r->pending, 1);
		run(r, &s->rules[w->rule], w->step, &then);
	}
}

/* --- events --- */

static bool is_of(const struct event *e, const struct bus_access *a, enum rule_kind kind,
                  uint64_t mask)
{
	return a->regs->rules->rules[e->rule].rule->kind == kind && e->mask & mask;
}

static struct occasion occasion_of(const struct bus_access *a, const struct event *e,
                                   uint64_t value, uint64_t old)
{
	const struct place *p = &a->regs->rules->rules[e->rule].places[0];

	return (struct occasion){
		.value = get_with(p, e->part, value),
		.old = get_with(p, e->part, old),
		.address = a->address,
	};
}

int regmap__rules_before_read(const struct bus_access *a)
{
	const struct cell *c = a->cell;
	struct regs *r = a->regs;

	for (uint32_t i = 0; i < c->event_count; i++) {
		const struct occasion o = {.address = a->address};
		const struct linked *l = &r->rules->rules[c->events[i].rule];

		if (is_of(&c->events[i], a, RULE_REFUSE_READ, a->mask) && holds(r, l, &o))
			return -EIO;
	}
	for (uint32_t i = 0; i < c->event_count; i++) {
		const struct occasion o = {.address = a->address};
		const struct linked *l = &r->rules->rules[c->events[i].rule];

		if (is_of(&c->events[i], a, RULE_BEFORE_READ, a->mask) && holds(r, l, &o))
			run(r, l, l->rule->body, &o);
	}
	return 0;
}

void regmap__rules_after_read(const struct bus_access *a, uint64_t old, uint64_t value)
{
	const struct cell *c = a->cell;
	struct regs *r = a->regs;

	regmap__rules_changed(r, a->cell, old ^ atomic_load(c->stored));
	for (uint32_t i = 0; i < c->event_count; i++) {
		const struct event *e = &c->events[i];
		const struct linked *l = &r->rules->rules[e->rule];
		struct occasion o;

		if (!is_of(e, a, RULE_ON_READ, a->mask))
			continue;
		o = occasion_of(a, e, value, value);
		if (holds(r, l, &o))
			run(r, l, l->rule->body, &o);
	}
}

/*
 * What a write of some bits is as one of the whole: the others are written so that nothing comes of it.
 * Without that, one byte written to a register of 1-to-clear bits would clear those beside it.
 */
static uint64_t whole(const struct cell *c, uint64_t old, uint64_t value, uint64_t mask)
{
	const struct write_masks *m = &c->masks;
	uint64_t ones = m->one_clears | m->one_sets | m->one_toggles;
	uint64_t zeros = m->zero_clears | m->zero_sets | m->zero_toggles;
	uint64_t quiet = (old & c->readable & ~ones) | zeros;

	return (quiet & ~mask) | (value & mask);
}

int regmap__rules_before_write(const struct bus_access *a, uint64_t value, uint64_t *mask)
{
	const struct cell *c = a->cell;
	struct regs *r = a->regs;
	uint64_t old = atomic_load(c->stored), ignored = 0;

	value = whole(c, old, value, a->mask);
	for (uint32_t i = 0; i < c->event_count; i++) {
		const struct event *e = &c->events[i];
		const struct linked *l = &r->rules->rules[e->rule];
		bool refuses = is_of(e, a, RULE_REFUSE_WRITE, a->mask);
		struct occasion o;

		if (!refuses && !is_of(e, a, RULE_IGNORE_WRITE, a->mask))
			continue;
		o = occasion_of(a, e, value, old);
		if (!holds(r, l, &o))
			continue;
		if (refuses)
			return -EIO;
		ignored |= e->mask;
	}
	*mask &= ~ignored;
	return 0;
}

/* From zero, to zero, at all. */
static bool has_come(const struct event *e, enum rule_kind kind, uint64_t was, uint64_t is)
{
	was &= e->mask;
	is &= e->mask;
	switch (kind) {
	case RULE_ON_SET: return !was && is;
	case RULE_ON_CLEAR: return was && !is;
	case RULE_ON_CHANGE: return was != is;
	default: return false;
	}
}

static bool concerns(const struct event *e, enum rule_kind kind, uint64_t mask, uint64_t was,
                     uint64_t is)
{
	if (kind == RULE_ON_WRITE)
		return e->mask & mask;
	return e->around & mask && has_come(e, kind, was, is);
}

void regmap__rules_after_write(const struct bus_access *a, uint64_t old, uint64_t value,
                               uint64_t mask)
{
	const struct cell *c = a->cell;
	struct regs *r = a->regs;
	uint64_t is;

	regmap__rules_changed(r, a->cell, old ^ atomic_load(c->stored));
	is = atomic_load(c->stored);
	value = whole(c, old, value, mask);
	for (uint32_t i = 0; i < c->event_count; i++) {
		const struct event *e = &c->events[i];
		const struct linked *l = &r->rules->rules[e->rule];
		struct occasion o;

		if (!concerns(e, l->rule->kind, mask, old, is))
			continue;
		o = occasion_of(a, e, value, old);
		if (holds(r, l, &o))
			run(r, l, l->rule->body, &o);
	}
}

/* --- resets, and programming --- */

static bool is_of_unit(const struct unit *of, const struct unit *only)
{
	return !only || of == only;
}

static void forget(struct regs *r, struct unit *unit)
{
	struct ruleset *s = r->rules;

	for (size_t i = 0; i < s->variable_count; i++)
		if (is_of_unit(s->variable_units[i], unit))
			atomic_store(&s->variables[i], 0);
	for (size_t i = 0; i < s->wait_count; i++)
		if (is_of_unit(s->rules[s->waits[i].rule].unit, unit) &&
		    atomic_exchange(&s->waits[i].is_on, false))
			atomic_fetch_sub(&r->pending, 1);
}

void regmap__rules_reset(struct regs *r, struct unit *unit)
{
	static const struct occasion none;
	struct ruleset *s = r->rules;

	forget(r, unit);
	regmap__rules_settle_all(r);
	for (size_t i = 0; i < s->rule_count; i++) {
		const struct linked *l = &s->rules[i];

		if (l->rule->kind == RULE_ON_RESET && is_of_unit(l->unit, unit) &&
		    holds(r, l, &none))
			run(r, l, l->rule->body, &none);
	}
}

bool regmap__regs_may_program(struct regs *r, const struct regmap_region *region)
{
	static const struct occasion none;
	const struct area *area = regmap__regs_area(r, region);
	const struct linked *l;

	if (!r->rules || !area)
		return true;
	l = &r->rules->program_if[area - r->areas];
	return !l->rule || evaluate(r, l, l->rule->body, &none);
}

/* Rules of one kind about a region that hold: are there any, and their steps if they have some. */
static bool run_program_rules(struct regs *r, enum rule_kind kind,
                              const struct regmap_region *region, const struct programming *write)
{
	const struct occasion o = {write->value, write->old, write->address, write->width};
	bool is_any = false;

	for (size_t i = 0; i < r->rules->rule_count; i++) {
		const struct linked *l = &r->rules->rules[i];

		if (l->rule->kind != kind || (l->rule->region && l->rule->region != region) ||
		    !holds(r, l, &o))
			continue;
		is_any = true;
		run(r, l, l->rule->body, &o);
	}
	return is_any;
}

bool regmap__regs_ignore_program(struct regs *r, const struct regmap_region *region,
                                 const struct programming *write)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;

	if (!r->rules)
		return false;
	regmap__regs_lock(r, &hold);
	return run_program_rules(r, RULE_IGNORE_PROGRAM, region, write);
}

void regmap__regs_programmed(struct regs *r, const struct regmap_region *region,
                             const struct programming *write)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;

	if (!r->rules)
		return;
	regmap__regs_lock(r, &hold);
	run_program_rules(r, RULE_ON_PROGRAM, region, write);
	regmap__regs_unlock(&hold);
	regmap__models_told(r);
}
