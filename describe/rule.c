/* SPDX-License-Identifier: MIT */
/* The rule language, from text to steps. */
#include "rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rule_inside.h"

/* Parentheses, conditions and signs inside each other. */
enum { NEST = 48 };
/* Of one rule's text: more makes no sense, and steps are counted by 32 bits. */
enum { LONGEST = 65536 };

/* --- what is made --- */

static void fail_memory(struct rule_compiler *c)
{
	if (!c->err)
		c->err = -ENOMEM;
	c->token = TOKEN_END;
	c->length = 0;
}

/* Room for one more of @size bytes in what the pointer at @list points to; false: no memory. */
static bool make_room(struct rule_compiler *c, void *list, uint32_t count, uint32_t *room,
                      size_t size)
{
	void *before, *more;
	uint32_t wanted = *room ? 2 * *room : 8;

	if (count < *room)
		return true;
	memcpy(&before, list, sizeof(before));
	more = realloc(before, wanted * size);
	if (!more) {
		fail_memory(c);
		return false;
	}
	memcpy(list, &more, sizeof(more));
	*room = wanted;
	return true;
}

static void add_step(struct rule_compiler *c, enum rule_code code, uint32_t which, uint64_t number)
{
	struct rule *r = c->rule;

	if (c->err || !make_room(c, &r->steps, r->step_count, &c->step_room, sizeof(*r->steps)))
		return;
	r->steps[r->step_count++] = (struct rule_step){code, which, number};
}

/* One number more on the stack. */
static void push(struct rule_compiler *c, enum rule_code code, uint32_t which, uint64_t number)
{
	if (++c->depth > RULE_STACK)
		regmap__rule_fail(c, "the expression is nested too deep: use a variable");
	add_step(c, code, which, number);
}

static void pop(struct rule_compiler *c, enum rule_code code, uint32_t which, unsigned numbers)
{
	c->depth -= numbers;
	add_step(c, code, which, 0);
}

static bool same_place(const struct rule_place *a, const struct rule_place *b)
{
	return a->peripheral == b->peripheral && a->reg == b->reg && a->lsb == b->lsb &&
	       a->width == b->width;
}

static uint32_t add_place(struct rule_compiler *c, const struct rule_place *place)
{
	struct rule *r = c->rule;

	for (uint32_t i = 0; i < r->place_count; i++)
		if (same_place(&r->places[i], place))
			return i;
	if (!make_room(c, &r->places, r->place_count, &c->place_room, sizeof(*r->places)))
		return 0;
	r->places[r->place_count] = *place;
	return r->place_count++;
}

/* The token at hand. */
static uint32_t add_variable(struct rule_compiler *c)
{
	struct rule *r = c->rule;
	char *name;

	for (uint32_t i = 0; i < r->variable_count; i++)
		if (strlen(r->variables[i]) == c->length &&
		    !memcmp(r->variables[i], c->begin, c->length))
			return i;
	if (!make_room(c, &r->variables, r->variable_count, &c->variable_room,
	               sizeof(*r->variables)))
		return 0;
	name = strndup(c->begin, c->length);
	if (!name) {
		fail_memory(c);
		return 0;
	}
	r->variables[r->variable_count] = name;
	return r->variable_count++;
}

static uint32_t add_peripheral(struct rule_compiler *c, const struct regmap_peripheral *p)
{
	struct rule *r = c->rule;

	for (uint32_t i = 0; i < r->peripheral_count; i++)
		if (r->peripherals[i] == p)
			return i;
	if (!make_room(c, &r->peripherals, r->peripheral_count, &c->peripheral_room,
	               sizeof(*r->peripherals)))
		return 0;
	r->peripherals[r->peripheral_count] = p;
	return r->peripheral_count++;
}

/* --- what is at hand --- */

static bool accept(struct rule_compiler *c, const char *spelling)
{
	if (!regmap__rule_is(c, spelling))
		return false;
	regmap__rule_next(c);
	return true;
}

/* Ends with what stands there instead. */
static void fail_expecting(struct rule_compiler *c, const char *what)
{
	if (c->token == TOKEN_END)
		regmap__rule_fail(c, "it ends where %s is expected", what);
	else
		regmap__rule_fail(c, "\"%.*s\" stands where %s is expected", (int)c->length,
		                  c->begin, what);
}

static void expect(struct rule_compiler *c, const char *spelling, const char *what)
{
	if (!accept(c, spelling))
		fail_expecting(c, what);
}

/* The token is @spelling, and this is no name of a place that is spelt so, too. */
static bool is_keyword(struct rule_compiler *c, const char *spelling)
{
	struct rule_compiler ahead = *c;

	if (!regmap__rule_is(c, spelling))
		return false;
	ahead.error = NULL;
	regmap__rule_next(&ahead);
	return !regmap__rule_is(&ahead, "=") && !regmap__rule_is(&ahead, ".");
}

static bool is_call(struct rule_compiler *c, const char *spelling)
{
	struct rule_compiler ahead = *c;

	if (!regmap__rule_is(c, spelling))
		return false;
	ahead.error = NULL;
	regmap__rule_next(&ahead);
	return regmap__rule_is(&ahead, "(");
}

static bool is_about_writes(enum rule_kind kind)
{
	return kind == RULE_ON_WRITE || kind == RULE_ON_SET || kind == RULE_ON_CLEAR ||
	       kind == RULE_ON_CHANGE || kind == RULE_IGNORE_WRITE || kind == RULE_REFUSE_WRITE;
}

static bool is_about_reads(enum rule_kind kind)
{
	return kind == RULE_ON_READ || kind == RULE_BEFORE_READ || kind == RULE_REFUSE_READ;
}

static bool is_about_programs(enum rule_kind kind)
{
	return kind == RULE_ON_PROGRAM || kind == RULE_IGNORE_PROGRAM;
}

/* --- expressions --- */

static void compile_expression(struct rule_compiler *c);

/* `value` and its kin; false: it is none. */
static bool compile_argument(struct rule_compiler *c)
{
	enum rule_kind kind = c->rule->kind;
	bool is_program = is_about_programs(kind);

	if (is_keyword(c, "value")) {
		if (!is_about_writes(kind) && kind != RULE_ON_READ && !is_program)
			regmap__rule_fail(
				c,
				"there is no \"value\" here: it is what a write wrote, or a read gave");
		push(c, RULE_VALUE, 0, 0);
	} else if (is_keyword(c, "old")) {
		if (!is_about_writes(kind) && !is_program)
			regmap__rule_fail(
				c, "there is no \"old\" here: it is what was there before a write");
		push(c, RULE_OLD, 0, 0);
	} else if (is_keyword(c, "address")) {
		if (!is_about_writes(kind) && !is_about_reads(kind) && !is_program)
			regmap__rule_fail(
				c, "there is no \"address\" here: it is that of a read or write");
		push(c, RULE_ADDRESS, 0, 0);
	} else if (is_program && is_keyword(c, "width")) {
		push(c, RULE_WIDTH, 0, 0);
	} else {
		return false;
	}
	regmap__rule_next(c);
	return true;
}

/* `byte(ADDRESS)`, its address alone. */
static void compile_byte_address(struct rule_compiler *c)
{
	c->rule->erases = true;
	regmap__rule_next(c);
	expect(c, "(", "\"(\"");
	compile_expression(c);
	expect(c, ")", "\")\"");
}

static void compile_name(struct rule_compiler *c)
{
	struct rule_place place;

	if (is_call(c, "byte")) {
		compile_byte_address(c);
		pop(c, RULE_BYTE, 0, 0);
		return;
	}
	if (!compile_argument(c) && regmap__rule_find_place(c, &place, false))
		push(c, RULE_PLACE, add_place(c, &place), 0);
}

static void compile_primary(struct rule_compiler *c)
{
	switch (c->token) {
	case TOKEN_NUMBER:
		push(c, RULE_NUMBER, 0, c->number);
		regmap__rule_next(c);
		return;
	case TOKEN_VARIABLE:
		push(c, RULE_VARIABLE, add_variable(c), 0);
		regmap__rule_next(c);
		return;
	case TOKEN_NAME: compile_name(c); return;
	default: break;
	}
	if (!accept(c, "(")) {
		fail_expecting(c, "a number, a name, a $variable or \"(\"");
		return;
	}
	compile_expression(c);
	expect(c, ")", "\")\"");
}

static bool enter(struct rule_compiler *c)
{
	if (++c->nest > NEST)
		regmap__rule_fail(c, "it is nested deeper than %d: use a variable", NEST);
	return !c->err;
}

static void compile_unary(struct rule_compiler *c)
{
	static const struct {
		char sign[2];
		enum rule_code code;
	} signs[] = {{"!", RULE_NOT}, {"~", RULE_INVERT}, {"-", RULE_NEGATE}};

	for (unsigned i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		if (!accept(c, signs[i].sign))
			continue;
		if (enter(c))
			compile_unary(c);
		c->nest--;
		add_step(c, signs[i].code, 0, 0);
		return;
	}
	compile_primary(c);
}

struct operator
{
	char sign[3];
	unsigned char level; /* how strongly it binds */
	enum rule_code code;
};

static const struct operator* operator_at(const struct rule_compiler *c)
{
	static const struct operator operators[] = {
		{"||", 1, RULE_EITHER},
		{"&&", 2, RULE_BOTH},
		{"|", 3, RULE_OR},
		{"^", 4, RULE_XOR},
		{"&", 5, RULE_AND},
		{"==", 6, RULE_EQUAL},
		{"!=", 6, RULE_UNEQUAL},
		{"<", 7, RULE_LESS},
		{"<=", 7, RULE_LESS_EQUAL},
		{">", 7, RULE_GREATER},
		{">=", 7, RULE_GREATER_EQUAL},
		{"<<", 8, RULE_LEFT},
		{">>", 8, RULE_RIGHT},
		{"+", 9, RULE_ADD},
		{"-", 9, RULE_SUBTRACT},
		{"*", 10, RULE_MULTIPLY},
		{"/", 10, RULE_DIVIDE},
		{"%", 10, RULE_REMAINDER},
	};

	for (unsigned i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (regmap__rule_is(c, operators[i].sign))
			return &operators[i];
	return NULL;
}

/* All operators that bind at least as strongly as @level. */
static void compile_binary(struct rule_compiler *c, unsigned level)
{
	const struct operator* o;

	compile_unary(c);
	while (!c->err && (o = operator_at(c)) && o->level >= level) {
		regmap__rule_next(c);
		compile_binary(c, o->level + 1u);
		pop(c, o->code, 0, 1);
	}
}

static void compile_expression(struct rule_compiler *c)
{
	if (enter(c))
		compile_binary(c, 1);
	if (!c->err && accept(c, "?")) {
		compile_expression(c);
		expect(c, ":", "the \":\" of \"?\"");
		compile_expression(c);
		pop(c, RULE_SELECT, 0, 2);
	}
	c->nest--;
}

/* --- steps --- */

static void compile_assignment(struct rule_compiler *c)
{
	bool is_variable = c->token == TOKEN_VARIABLE;
	struct rule_place place;
	uint32_t which = 0;

	if (is_variable) {
		which = add_variable(c);
		regmap__rule_next(c);
	} else if (c->token != TOKEN_NAME) {
		fail_expecting(c, "a step (PLACE = ..., $name = ..., after N:, erase(...), reset)");
	} else if (regmap__rule_find_place(c, &place, false)) {
		which = add_place(c, &place);
	}
	expect(c, "=", "\"=\"");
	compile_expression(c);
	pop(c, is_variable ? RULE_SET_VARIABLE : RULE_SET_PLACE, which, 1);
}

static bool is_flash(const struct regmap_region *region)
{
	return region->type == REGMAP_REGION_FLASH || region->type == REGMAP_REGION_STORAGE;
}

/* A region's name is no place's, or it means that. */
static bool names_region(const struct rule_compiler *c)
{
	struct rule_compiler ahead = *c;
	struct rule_place place;

	ahead.error = NULL;
	if (c->token == TOKEN_STRING)
		return true;
	if (c->token != TOKEN_NAME || regmap__rule_is(c, "value") || regmap__rule_is(c, "old") ||
	    regmap__rule_is(c, "address") || regmap__rule_find_place(&ahead, &place, true))
		return false;
	ahead = *c;
	ahead.error = NULL;
	return regmap__rule_find_region(&ahead) != NULL;
}

static void compile_erase(struct rule_compiler *c)
{
	const struct regmap_region *region;

	c->rule->erases = true;
	regmap__rule_next(c);
	expect(c, "(", "\"(\"");
	if (names_region(c)) {
		region = regmap__rule_find_region(c);
		if (region && !is_flash(region))
			regmap__rule_fail(c, "\"%s\" can't be erased: it is no flash or storage",
			                  region->name);
		push(c, RULE_NUMBER, 0, region ? region->address : 0);
		push(c, RULE_NUMBER, 0, region ? region->length : 0);
		pop(c, RULE_ERASE, 0, 2);
	} else {
		compile_expression(c);
		if (accept(c, ",")) {
			compile_expression(c);
			pop(c, RULE_ERASE, 0, 2);
		} else {
			pop(c, RULE_ERASE_SECTOR, 0, 1);
		}
	}
	expect(c, ")", "\")\"");
}

static void compile_set_byte(struct rule_compiler *c)
{
	compile_byte_address(c);
	expect(c, "=", "\"=\"");
	compile_expression(c);
	pop(c, RULE_SET_BYTE, 0, 2);
}

static void compile_copy(struct rule_compiler *c)
{
	c->rule->erases = true;
	regmap__rule_next(c);
	expect(c, "(", "\"(\"");
	compile_expression(c);
	expect(c, ",", "\",\"");
	compile_expression(c);
	expect(c, ",", "\",\"");
	compile_expression(c);
	expect(c, ")", "\")\"");
	pop(c, RULE_COPY, 0, 3);
}

static void compile_reset(struct rule_compiler *c)
{
	const struct regmap_peripheral *p = c->peripheral;
	bool is_device = !p;

	c->rule->resets = true;
	if (c->rule->kind == RULE_ON_RESET)
		regmap__rule_fail(c, "a reset can't be a step of one: leave \"reset\" out");
	regmap__rule_next(c);
	if (accept(c, "(")) {
		is_device = accept(c, "device");
		if (!is_device)
			p = regmap__rule_find_peripheral(c);
		expect(c, ")", "\")\"");
	}
	if (is_device)
		add_step(c, RULE_RESET_DEVICE, 0, 0);
	else if (p)
		add_step(c, RULE_RESET, add_peripheral(c, p), 0);
}

static void compile_after(struct rule_compiler *c)
{
	regmap__rule_next(c);
	if (c->token != TOKEN_NUMBER) {
		fail_expecting(c, "a number of accesses");
		return;
	}
	if (c->number == 0 || c->number > 1000000000)
		regmap__rule_fail(c, "%.*s accesses can't be waited for: 1 to 1000000000 can",
		                  (int)c->length, c->begin);
	add_step(c, RULE_AFTER, c->rule->after_count++, c->number);
	regmap__rule_next(c);
	expect(c, ":", "\":\"");
}

static void compile_steps(struct rule_compiler *c)
{
	bool is_first = true;

	while (!c->err && (is_first || c->token != TOKEN_END)) {
		is_first = false;
		if (is_keyword(c, "after")) {
			compile_after(c);
			is_first = true;
			continue;
		}
		if (is_keyword(c, "erase"))
			compile_erase(c);
		else if (is_call(c, "byte"))
			compile_set_byte(c);
		else if (is_call(c, "copy"))
			compile_copy(c);
		else if (is_keyword(c, "reset"))
			compile_reset(c);
		else
			compile_assignment(c);
		if (c->token != TOKEN_END)
			expect(c, ";", "\";\" or the end");
	}
}

/* --- rules --- */

static const struct event {
	const char *first, *second;
	enum rule_kind kind;
} events[] = {
	{"before", "read", RULE_BEFORE_READ},
	{"on", "read", RULE_ON_READ},
	{"on", "write", RULE_ON_WRITE},
	{"on", "set", RULE_ON_SET},
	{"on", "clear", RULE_ON_CLEAR},
	{"on", "change", RULE_ON_CHANGE},
	{"on", "reset", RULE_ON_RESET},
	{"on", "program", RULE_ON_PROGRAM},
	{"ignore", "program", RULE_IGNORE_PROGRAM},
	{"ignore", "write", RULE_IGNORE_WRITE},
	{"refuse", "write", RULE_REFUSE_WRITE},
	{"refuse", "read", RULE_REFUSE_READ},
};
enum { EVENTS = sizeof(events) / sizeof(events[0]) };

static void fail_event(struct rule_compiler *c, const char *first)
{
	struct rule_guess g = {0};

	for (unsigned i = 0; i < EVENTS; i++)
		if (!strcmp(events[i].first, first))
			regmap__rule_guess(&g, c->begin, c->length, events[i].second);
	if (c->token == TOKEN_END)
		regmap__rule_fail(c, "it ends behind \"%s\"", first);
	else
		regmap__rule_fail(c, "there is no \"%s %.*s\"%s%s%s", first, (int)c->length,
		                  c->begin, g.best ? ": did you mean \"" : "", g.best ? g.best : "",
		                  g.best ? "\"?" : "");
}

/* The two words of an event; NULL: it is none. */
static const struct event *take_event(struct rule_compiler *c)
{
	const char *first = NULL;

	for (unsigned i = 0; i < EVENTS && !first; i++)
		if (is_keyword(c, events[i].first))
			first = events[i].first;
	if (!first)
		return NULL;
	regmap__rule_next(c);
	for (unsigned i = 0; i < EVENTS; i++)
		if (!strcmp(events[i].first, first) && accept(c, events[i].second))
			return &events[i];
	fail_event(c, first);
	return NULL;
}

/* What a place says alone: the field or register that the rule belongs to. */
static void take_own_place(struct rule_compiler *c, struct rule_place *place)
{
	if (!c->reg)
		regmap__rule_fail(c, "which register? A place must follow here");
	else if (c->field)
		*place = (struct rule_place){c->peripheral, c->reg, c->field->lsb, c->field->width};
	else
		*place = (struct rule_place){c->peripheral, c->reg, 0, 8 * c->reg->width};
}

static void compile_subject(struct rule_compiler *c)
{
	struct rule_place place = {0};

	if (regmap__rule_is(c, ":") || is_keyword(c, "if") || c->token == TOKEN_END)
		take_own_place(c, &place);
	else if (c->token == TOKEN_NAME)
		regmap__rule_find_place(c, &place, false);
	else
		fail_expecting(c, "a register or field");
	add_place(c, &place);
	c->rule->has_place = true;
}

static void compile_program_subject(struct rule_compiler *c)
{
	if (regmap__rule_is(c, ":") || is_keyword(c, "if") || c->token == TOKEN_END)
		return;
	c->rule->region = regmap__rule_find_region(c);
	if (c->rule->region && !is_flash(c->rule->region))
		regmap__rule_fail(c, "\"%s\" is never programmed: it is no flash or storage",
		                  c->rule->region->name);
}

static void compile_event(struct rule_compiler *c, const struct event *event)
{
	struct rule *r = c->rule;
	bool has_steps = event->kind < RULE_IGNORE_PROGRAM;

	r->kind = event->kind;
	if (is_about_programs(r->kind))
		compile_program_subject(c);
	else if (r->kind != RULE_ON_RESET)
		compile_subject(c);
	r->condition = r->step_count;
	if (accept(c, "if")) {
		r->has_condition = true;
		compile_expression(c);
		add_step(c, RULE_END, 0, 0);
		c->depth = 0;
	}
	r->body = r->step_count;
	if (has_steps) {
		expect(c, ":", r->has_condition ? "\":\"" : "\"if\" or \":\"");
		compile_steps(c);
	} else if (c->token != TOKEN_END) {
		fail_expecting(c, r->has_condition ? "the end" : "\"if\" or the end");
	}
	add_step(c, RULE_END, 0, 0);
}

static void compile_follow(struct rule_compiler *c)
{
	struct rule_place place = {0};

	c->rule->kind = RULE_FOLLOW;
	if (c->token == TOKEN_VARIABLE)
		regmap__rule_fail(
			c, "a variable can't follow: set it in \"on write ...\" or the like");
	else if (c->token != TOKEN_NAME)
		fail_expecting(c, "PLACE = ..., or before, on, ignore or refuse");
	else
		regmap__rule_find_place(c, &place, false);
	add_place(c, &place);
	c->rule->has_place = true;
	expect(c, "=", "\"=\" (or did you mean \"on write ...\"?)");
	compile_expression(c);
	pop(c, RULE_SET_PLACE, 0, 1);
	add_step(c, RULE_END, 0, 0);
	if (c->token != TOKEN_END)
		fail_expecting(c, "the end (what follows is one expression)");
}

static int begin(struct rule_compiler *c, const struct regmap_layout *layout, const char *text,
                 const struct regmap_source *source, struct regmap_error *error)
{
	memset(c, 0, sizeof(*c));
	c->layout = layout;
	c->text = c->at = text;
	c->source = source ? *source : (struct regmap_source){.file = ""};
	c->error = error;
	c->rule = calloc(1, sizeof(*c->rule));
	if (!c->rule)
		return -ENOMEM;
	c->rule->text = text;
	c->rule->source = c->source;
	if (strnlen(text, LONGEST) == LONGEST)
		regmap__rule_fail(c, "it is longer than %d bytes: make more of it", LONGEST - 1);
	regmap__rule_next(c);
	return c->err;
}

static int end(struct rule_compiler *c, int err, struct rule **out)
{
	if (err || c->err) {
		regmap__rule_free(c->rule);
		return c->err ? c->err : err;
	}
	*out = c->rule;
	return 0;
}

int regmap__rule_compile(const struct regmap_layout *layout, const struct regmap_rule *text,
                         struct rule **out, struct regmap_error *error)
{
	const struct event *event;
	struct rule_compiler c;
	int err = begin(&c, layout, text->text, &text->source, error);

	if (!err && regmap__rule_enter_scope(&c, text->scope)) {
		c.rule->peripheral = c.peripheral;
		event = take_event(&c);
		if (event)
			compile_event(&c, event);
		else if (!c.err)
			compile_follow(&c);
	}
	return end(&c, err, out);
}

int regmap__rule_compile_expression(const struct regmap_layout *layout, const char *text,
                                    const struct regmap_source *source, struct rule **out,
                                    struct regmap_error *error)
{
	struct rule_compiler c;
	int err = begin(&c, layout, text, source, error);

	if (!err) {
		c.rule->kind = RULE_EXPRESSION;
		compile_expression(&c);
		add_step(&c, RULE_END, 0, 0);
		if (c.token != TOKEN_END)
			fail_expecting(&c, "an operator or the end");
	}
	return end(&c, err, out);
}

void regmap__rule_free(struct rule *rule)
{
	if (!rule)
		return;
	for (uint32_t i = 0; i < rule->variable_count; i++)
		free(rule->variables[i]);
	free(rule->variables);
	free(rule->steps);
	free(rule->places);
	free(rule->peripherals);
	free(rule);
}
