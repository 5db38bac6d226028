/* SPDX-License-Identifier: MIT */
/*
 * From the layout to a tree: what docs/devices.md would say it with. What is as it would be anyway is left out.
 * The tree points into the layout.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "build.h"
#include "values.h"

struct unbuild {
	struct merge *m;
	const struct regmap_layout *layout;
	struct regmap_source at; /* of what is being said */
	size_t rule;             /* how many rules have found their place */
};

static struct tree *node(struct unbuild *u, enum tree_kind kind)
{
	struct tree *n = regmap__tree_node(u->m->memory, kind, u->at.file, u->at.line,
	                                   u->at.column);

	if (n)
		n->is_made = true;
	else
		regmap__note_memory(u->m->notes, u->m->memory, u->m->root);
	return n;
}

static bool put(struct tree *parent, const char *key, struct tree *child)
{
	if (!parent || !child)
		return false;
	if (key)
		regmap__tree_set(parent, key, child);
	else
		regmap__tree_append(parent, child);
	return true;
}

static struct tree *put_list(struct unbuild *u, struct tree *parent, const char *key,
                             enum tree_style style)
{
	struct tree *list = node(u, TREE_LIST);

	if (!put(parent, key, list))
		return NULL;
	list->style = style;
	return list;
}

static struct tree *put_table(struct unbuild *u, struct tree *parent, const char *key,
                              enum tree_style style)
{
	struct tree *table = node(u, TREE_TABLE);

	if (!put(parent, key, table))
		return NULL;
	table->style = style;
	return table;
}

static void put_string(struct unbuild *u, struct tree *parent, const char *key, const char *text)
{
	struct tree *n = *text ? node(u, TREE_STRING) : NULL;

	if (put(parent, key, n))
		n->string = text;
}

static void put_number(struct unbuild *u, struct tree *parent, const char *key, uint64_t number,
                       enum tree_style style)
{
	struct tree *n = node(u, TREE_INTEGER);

	if (!put(parent, key, n))
		return;
	n->number = number;
	n->style = style;
}

static void put_boolean(struct unbuild *u, struct tree *parent, const char *key, bool truth)
{
	struct tree *n = node(u, TREE_BOOLEAN);

	if (put(parent, key, n))
		n->number = truth;
}

static void put_text(struct unbuild *u, struct tree *parent, const char *key, const char *text)
{
	const char *copy = regmap__tree_text(u->m->memory, text, strlen(text));

	if (copy)
		put_string(u, parent, key, copy);
	else
		regmap__note_memory(u->m->notes, u->m->memory, u->m->root);
}

static void put_size(struct unbuild *u, struct tree *parent, const char *key, uint64_t size)
{
	static const char *const units[] = {"", "KB", "MB", "GB", "TB"};
	unsigned unit = 0;
	char text[32];

	while (unit < 4 && size && size % 1024 == 0) {
		size /= 1024;
		unit++;
	}
	if (!unit) {
		put_number(u, parent, key, size, size > 4096 ? TREE_HEX : TREE_PLAIN);
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64 "%s", size, units[unit]);
	put_text(u, parent, key, text);
}

static void put_widths(struct unbuild *u, struct tree *parent, unsigned mask)
{
	struct tree *list = mask ? put_list(u, parent, "widths", TREE_PLAIN) : NULL;

	for (unsigned bytes = 1; list && bytes <= 8; bytes *= 2)
		if (mask & bytes)
			put_number(u, list, NULL, 8 * bytes, TREE_PLAIN);
}

static void put_word(struct unbuild *u, struct tree *parent, const char *key,
                     const struct word *words, unsigned value, unsigned usual)
{
	if (value != usual)
		put_string(u, parent, key, regmap__word_of(words, value));
}

/* ---- rules ----------------------------------------------------------------------------------------------- */

/* Does the next rule belong to that peripheral, register (or NULL) and field (or NULL)? */
static bool is_of(const struct unbuild *u, const char *const names[3])
{
	const char *scope;

	if (u->rule == u->layout->rule_count)
		return false;
	scope = u->layout->rules[u->rule]->scope;
	for (size_t i = 0; i < 3 && names[i]; i++) {
		size_t length = strlen(names[i]);

		if (i && *scope++ != '.')
			return false;
		if (strncmp(scope, names[i], length) != 0)
			return false;
		scope += length;
	}
	return !*scope;
}

static void put_rules(struct unbuild *u, struct tree *parent, const char *peripheral,
                      const char *reg, const char *field)
{
	const char *const names[3] = {peripheral, reg, field};
	const struct regmap_source was = u->at;
	struct tree *list = NULL;

	for (; is_of(u, names); u->rule++) {
		u->at = u->layout->rules[u->rule]->source;
		if (!list)
			list = put_list(u, parent, "rules", TREE_LINES);
		if (!list)
			return;
		put_string(u, list, NULL, u->layout->rules[u->rule]->text);
	}
	u->at = was;
}

/* Those of the device, and those that aren't in the order of what they belong to. */
static void put_other_rules(struct unbuild *u)
{
	struct tree *list = NULL, *table;

	for (; u->rule < u->layout->rule_count; u->rule++) {
		const struct regmap_rule *rule = u->layout->rules[u->rule];

		u->at = rule->source;
		if (!list)
			list = put_list(u, u->m->root, "rules", TREE_LINES);
		if (!*rule->scope) {
			put_string(u, list, NULL, rule->text);
			continue;
		}
		table = list ? put_table(u, list, NULL, TREE_PLAIN) : NULL;
		if (!table)
			return;
		put_string(u, table, "scope", rule->scope);
		put_string(u, table, "rule", rule->text);
	}
}

/* ---- regions --------------------------------------------------------------------------------------------- */

static const struct regmap_space *space_of(const struct unbuild *u, const char *name)
{
	for (size_t i = 0; *name && i < u->layout->space_count; i++)
		if (strcmp(u->layout->spaces[i]->name, name) == 0)
			return u->layout->spaces[i];
	return NULL;
}

/* The space that ends nearest before @address. */
static const struct regmap_space *space_before(const struct unbuild *u, uint64_t address)
{
	const struct regmap_space *best = NULL;

	for (size_t i = 0; i < u->layout->space_count; i++) {
		const struct regmap_space *s = u->layout->spaces[i];

		if (s->offset <= address && (!best || s->offset > best->offset))
			best = s;
	}
	return best;
}

static void put_target(struct unbuild *u, struct tree *table, const struct regmap_region *r,
                       const struct regmap_space *space)
{
	if (r->type != REGMAP_REGION_ALIAS && r->type != REGMAP_REGION_BITBAND &&
	    r->type != REGMAP_REGION_REVERSED)
		return;
	if (space && r->target < space->offset) {
		space = space_before(u, r->target);
		put_string(u, table, "target_space", space ? space->name : "");
	}
	put_number(u, table, "target", r->target - (space ? space->offset : 0), TREE_ADDRESS);
}

static void put_flash(struct unbuild *u, struct tree *parent, const struct regmap_region *r)
{
	unsigned usual = *r->program_if ? REGMAP_FLASH_CONTROLLER : REGMAP_FLASH_FAULT;
	struct tree *table, *list;

	if (r->type != REGMAP_REGION_FLASH ||
	    (r->flash_policy == usual && !*r->program_if && !r->program_width && !r->sector_count))
		return;
	table = put_table(u, parent, "flash", TREE_BLOCK);
	if (!table)
		return;
	put_word(u, table, "policy", regmap__flash_policies, r->flash_policy, usual);
	put_string(u, table, "program_if", r->program_if);
	if (r->program_width)
		put_number(u, table, "program_width", 8 * r->program_width, TREE_PLAIN);
	list = r->sector_count ? put_list(u, table, "sectors", TREE_LINES) : NULL;
	for (size_t i = 0; list && i < r->sector_count; i++) {
		struct tree *sector = put_table(u, list, NULL, TREE_PLAIN);

		if (!sector)
			return;
		put_size(u, sector, "size", r->sectors[i].length);
		put_number(u, sector, "count", r->sectors[i].count, TREE_PLAIN);
	}
}

static void put_permissions(struct unbuild *u, struct tree *table, unsigned permissions)
{
	char text[4];

	snprintf(text, sizeof(text), "%s%s%s", permissions & REGMAP_PERMIT_READ ? "R" : "",
	         permissions & REGMAP_PERMIT_WRITE ? "W" : "",
	         permissions & REGMAP_PERMIT_EXECUTE ? "X" : "");
	put_text(u, table, "permissions", *text ? text : "-");
}

static void put_region(struct unbuild *u, struct tree *list, const struct regmap_region *r)
{
	const struct regmap_space *space = space_of(u, r->space);
	bool has_erased = r->type == REGMAP_REGION_FLASH || r->type == REGMAP_REGION_STORAGE;
	struct tree *table;

	u->at = r->source;
	table = put_table(u, list, NULL, TREE_BLOCK);
	if (!table)
		return;
	if (space && r->address < space->offset)
		space = NULL;
	put_string(u, table, "name", r->name);
	put_string(u, table, "description", r->description);
	put_string(u, table, "address_space", space ? space->name : "");
	put_number(u, table, "guest_address", r->address - (space ? space->offset : 0),
	           TREE_ADDRESS);
	put_size(u, table, "size", r->length);
	put_permissions(u, table, r->permissions);
	put_string(u, table, "type", regmap__word_of(regmap__region_types, r->type));
	put_string(u, table, "device", r->device);
	put_string(u, table, "content", r->content);
	put_target(u, table, r, space);
	put_widths(u, table, r->widths);
	put_word(u, table, "width_policy", regmap__width_policies, r->width_policy, 0);
	if (r->detached)
		put_boolean(u, table, "attached", false);
	if (r->erased != (has_erased ? 0xFF : 0))
		put_number(u, table, "erased", r->erased, TREE_HEX);
	if (r->program_once)
		put_boolean(u, table, "program_once", true);
	put_flash(u, table, r);
}

/* ---- registers ------------------------------------------------------------------------------------------- */

/* { OFF = 0, ON = 1 } says it all? */
static bool are_simple(const struct regmap_field *f)
{
	if (f->value_count > 64)
		return false;
	for (size_t i = 0; i < f->value_count; i++) {
		const struct regmap_enum_value *v = f->values[i];

		if (*v->description || v->is_default || v->usage != (REGMAP_READ | REGMAP_WRITE))
			return false;
		for (size_t j = 0; j < i; j++)
			if (strcmp(v->name, f->values[j]->name) == 0)
				return false;
	}
	return true;
}

static void put_values(struct unbuild *u, struct tree *parent, const struct regmap_field *f)
{
	bool is_simple = are_simple(f);
	struct tree *all, *table;

	if (!f->value_count)
		return;
	all = is_simple ? put_table(u, parent, "values", TREE_PLAIN) :
	                  put_list(u, parent, "values", TREE_PLAIN);
	for (size_t i = 0; all && i < f->value_count; i++) {
		const struct regmap_enum_value *v = f->values[i];

		if (is_simple) {
			put_number(u, all, v->name, v->value, TREE_PLAIN);
			continue;
		}
		table = put_table(u, all, NULL, TREE_PLAIN);
		if (!table)
			return;
		put_string(u, table, "name", v->name);
		if (!v->is_default || v->value)
			put_number(u, table, "value", v->value, TREE_PLAIN);
		put_string(u, table, "description", v->description);
		if (v->is_default)
			put_boolean(u, table, "default", true);
		put_word(u, table, "usage", regmap__usages, v->usage, REGMAP_READ | REGMAP_WRITE);
	}
}

static void put_bits(struct unbuild *u, struct tree *table, const struct regmap_field *f)
{
	char text[24];

	if (f->width == 1) {
		put_number(u, table, "bit", f->lsb, TREE_PLAIN);
		return;
	}
	snprintf(text, sizeof(text), "%u:%u", f->lsb + f->width - 1, f->lsb);
	put_text(u, table, "bits", text);
}

static void put_field(struct unbuild *u, struct tree *list, const struct regmap_peripheral *p,
                      const struct regmap_register *r, const struct regmap_field *f)
{
	struct tree *table;

	u->at = f->source;
	table = put_table(u, list, NULL, TREE_PLAIN);
	if (!table)
		return;
	put_string(u, table, "name", f->name);
	put_bits(u, table, f);
	put_string(u, table, "description", f->description);
	put_word(u, table, "access", regmap__accesses, f->access, r->access);
	put_word(u, table, "read", regmap__read_actions, f->read_action, r->read_action);
	put_word(u, table, "write", regmap__write_actions, f->write_action, r->write_action);
	put_values(u, table, f);
	put_rules(u, table, p->name, r->name, f->name);
}

static void put_register(struct unbuild *u, struct tree *list, const struct regmap_peripheral *p,
                         const struct regmap_register *r, unsigned usual_width)
{
	uint64_t ones = r->width >= 8 ? UINT64_MAX : ((uint64_t)1 << 8 * r->width) - 1;
	struct tree *table, *fields;

	u->at = r->source;
	table = put_table(u, list, NULL, TREE_BLOCK);
	if (!table)
		return;
	put_string(u, table, "name", r->name);
	put_string(u, table, "description", r->description);
	put_number(u, table, "offset", r->offset, TREE_HEX);
	if (r->width != usual_width)
		put_number(u, table, "width", 8 * r->width, TREE_PLAIN);
	put_word(u, table, "access", regmap__accesses, r->access, REGMAP_READ_WRITE);
	put_word(u, table, "read", regmap__read_actions, r->read_action, REGMAP_READ_PLAIN);
	put_word(u, table, "write", regmap__write_actions, r->write_action, REGMAP_WRITE_MODIFY);
	if (r->reset_value)
		put_number(u, table, "reset", r->reset_value, TREE_HEX);
	if (r->reset_mask != ones)
		put_number(u, table, "reset_mask", r->reset_mask, TREE_HEX);
	put_widths(u, table, r->widths);
	put_word(u, table, "width_policy", regmap__width_policies, r->width_policy, 0);
	put_string(u, table, "alternate", r->alternate);
	put_rules(u, table, p->name, r->name, NULL);
	fields = r->field_count ? put_list(u, table, "fields", TREE_LINES) : NULL;
	for (size_t i = 0; fields && i < r->field_count; i++)
		put_field(u, fields, p, r, r->fields[i]);
}

static void put_interrupts(struct unbuild *u, struct tree *parent,
                           const struct regmap_peripheral *p)
{
	struct tree *list = p->interrupt_count ? put_list(u, parent, "interrupts", TREE_LINES) :
	                                         NULL;

	for (size_t i = 0; list && i < p->interrupt_count; i++) {
		const struct regmap_interrupt *n = p->interrupts[i];
		struct tree *table = put_table(u, list, NULL, TREE_PLAIN);

		if (!table)
			return;
		put_string(u, table, "name", n->name);
		put_number(u, table, "number", n->number < 0 ? -(int64_t)n->number : n->number,
		           TREE_PLAIN);
		if (table->last)
			table->last->is_negative = n->number < 0;
		put_string(u, table, "description", n->description);
	}
}

/* In bytes: that of all of its registers, or what it is when nothing is said. */
static unsigned usual_width_of(const struct regmap_peripheral *p)
{
	for (size_t i = 0; i < p->register_count; i++)
		if (p->registers[i]->width != p->registers[0]->width)
			return 4;
	return p->register_count ? p->registers[0]->width : 4;
}

static void put_peripheral(struct unbuild *u, struct tree *list, const struct regmap_peripheral *p)
{
	unsigned usual_width = usual_width_of(p);
	struct tree *table, *registers;

	u->at = p->source;
	table = put_table(u, list, NULL, TREE_BLOCK);
	if (!table)
		return;
	put_string(u, table, "name", p->name);
	put_string(u, table, "description", p->description);
	put_string(u, table, "group", p->group);
	put_number(u, table, "address", p->address, TREE_ADDRESS);
	put_size(u, table, "size", p->length);
	put_widths(u, table, p->widths);
	put_word(u, table, "width_policy", regmap__width_policies, p->width_policy, 0);
	put_interrupts(u, table, p);
	if (usual_width != 4)
		put_number(u, table, "register_width", 8 * usual_width, TREE_PLAIN);
	put_rules(u, table, p->name, NULL, NULL);
	registers = p->register_count ? put_list(u, table, "registers", TREE_BLOCK) : NULL;
	for (size_t i = 0; registers && i < p->register_count; i++)
		put_register(u, registers, p, p->registers[i], usual_width);
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static void put_device(struct unbuild *u)
{
	const struct regmap_layout *l = u->layout;
	struct tree *device = put_table(u, u->m->root, "device", TREE_BLOCK);
	struct tree *memory = put_table(u, u->m->root, "memory", TREE_BLOCK);

	if (!device || !memory)
		return;
	put_string(u, device, "name", l->name);
	put_string(u, device, "description", l->description);
	if (l->max_memory)
		put_size(u, device, "max_memory", l->max_memory);
	put_string(u, device, "vendor", l->vendor);
	put_string(u, device, "cpu", l->cpu);
	put_string(u, device, "license", l->license);
	if (!l->allocate_at_once || layout_of(l)->insists)
		put_boolean(u, memory, "allocate_at_once", l->allocate_at_once);
	if (l->page_size)
		put_size(u, memory, "page_size", l->page_size);
	else
		put_string(u, memory, "page_size", "region");
}

static void put_spaces(struct unbuild *u)
{
	struct tree *list = u->layout->space_count ?
	                            put_list(u, u->m->root, "address_spaces", TREE_BLOCK) :
	                            NULL;

	for (size_t i = 0; list && i < u->layout->space_count; i++) {
		const struct regmap_space *s = u->layout->spaces[i];
		struct tree *table = put_table(u, list, NULL, TREE_BLOCK);

		if (!table)
			return;
		put_string(u, table, "name", s->name);
		put_string(u, table, "description", s->description);
		put_number(u, table, "offset", s->offset, TREE_ADDRESS);
	}
}

/* The order is that of a text for people; rules come where they belong. */
void regmap__unbuild(struct merge *m, const struct regmap_layout *layout)
{
	struct unbuild u = {.m = m, .layout = layout};
	struct tree *list;

	put_number(&u, m->root, "schema", 1, TREE_PLAIN);
	put_device(&u);
	put_spaces(&u);
	list = layout->region_count ? put_list(&u, m->root, "regions", TREE_BLOCK) : NULL;
	for (size_t i = 0; list && i < layout->region_count; i++)
		if (!region_of(layout->regions[i])->is_made)
			put_region(&u, list, layout->regions[i]);
	u.at = (struct regmap_source){0};
	list = layout->peripheral_count ? put_list(&u, m->root, "peripherals", TREE_BLOCK) : NULL;
	for (size_t i = 0; list && i < layout->peripheral_count; i++)
		put_peripheral(&u, list, layout->peripherals[i]);
	put_other_rules(&u);
}
