/* SPDX-License-Identifier: MIT */
/* From the tree to the layout. What a value may be was checked with its file: regmap__schema_check(). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "schema.h"
#include "values.h"

struct space {
	const char *name, *description;
	uint64_t offset;
};

/* A rule, and where in the order of addresses it belongs. */
struct pending_rule {
	const char *text, *scope;
	struct regmap_source source;
};

struct build {
	struct merge *m;
	struct notes *n;
	struct layout *layout;
	struct space *spaces;
	size_t space_count;
};

/* What registers have that don't say it. */
struct defaults {
	unsigned width, access;
	uint64_t reset, mask;
};

static uint64_t ones(unsigned bytes)
{
	return bytes >= 8 ? UINT64_MAX : ((uint64_t)1 << 8 * bytes) - 1;
}

static const struct tree *get(const struct tree *table, const char *key)
{
	return regmap__tree_get(table, key);
}

static const char *string_of(struct build *b, const struct tree *table, const char *key)
{
	const char *text = "";

	regmap__value_string(b->n, get(table, key), &text);
	return text;
}

static void *room_for(struct build *b, size_t count, size_t size, const struct tree *at)
{
	void *got = regmap__tree_alloc(b->m->memory, (count + 1) * size);

	if (!got)
		regmap__note_memory(b->n, b->m->memory, at);
	return got;
}

/* An entry with a name at all; the layout says which names are good. */
static const char *name_of(struct build *b, const struct tree *entry, const char *what)
{
	const char *name = regmap__entry_name(entry);

	if (!name || !*name) {
		regmap__note(b->n, -EINVAL, entry, "a %s has no name: add name = \"...\"", what);
		return NULL;
	}
	if (strlen(name) > NAME_MOST) {
		regmap__note(b->n, -E2BIG, get(entry, "name"),
		             "the name of a %s has more than %d bytes", what, NAME_MOST);
		return NULL;
	}
	return name;
}

static const struct tree *needed(struct build *b, const struct tree *entry, const char *what,
                                 const char *key, const char *like)
{
	const struct tree *node = get(entry, key);

	if (!node)
		regmap__note(b->n, -EINVAL, get(entry, "name"), "%s \"%s\" has no %s: add %s = %s",
		             what, regmap__entry_name(entry), key, key, like);
	return node;
}

static struct regmap_source source_of(const struct tree *entry)
{
	return regmap__tree_source(get(entry, "name"));
}

/* ---- the device ------------------------------------------------------------------------------------ */

static bool own(struct build *b, const char **to, const struct tree *table, const char *key)
{
	*to = regmap__layout_string(b->layout, string_of(b, table, key));
	if (*to)
		return true;
	regmap__note(b->n, -ENOMEM, table, "out of memory");
	return false;
}

static void build_device(struct build *b)
{
	const struct tree *device = get(b->m->root, "device");
	struct regmap_layout *l = &b->layout->pub;

	if (!own(b, &l->name, device, "name") || !own(b, &l->description, device, "description") ||
	    !own(b, &l->vendor, device, "vendor") || !own(b, &l->cpu, device, "cpu") ||
	    !own(b, &l->license, device, "license"))
		b->n->is_fatal = true;
	regmap__value_size(b->n, get(device, "max_memory"), &l->max_memory);
}

static void build_memory(struct build *b)
{
	const struct tree *memory = get(b->m->root, "memory"), *page = get(memory, "page_size");
	const struct tree *at_once = get(memory, "allocate_at_once");
	struct regmap_layout *l = &b->layout->pub;

	l->allocate_at_once = true;
	l->page_size = 4096;
	regmap__value_boolean(b->n, at_once, &l->allocate_at_once);
	b->layout->insists = at_once && l->allocate_at_once;
	if (page && page->kind == TREE_STRING && strcmp(page->string, "region") == 0)
		l->page_size = 0;
	else
		regmap__value_size(b->n, page, &l->page_size);
}

/* ---- address spaces ---------------------------------------------------------------------------------- */

/* Whoever builds in code is told what is there or isn't; a file that says such things is wrong. */
static void note_error(struct build *b, int err, const struct regmap_error *error)
{
	regmap__note_error(b->n, err == -EEXIST || err == -ENOENT ? -EINVAL : err, error);
}

static void add_space(struct build *b, const char *name, const char *description, uint64_t offset,
                      const struct tree *at)
{
	struct regmap_space space = {name, description, offset};
	struct regmap_source source = regmap__tree_source(at);
	struct regmap_error error;
	int err;

	if (b->space_count == SPACES_MOST) {
		regmap__note(b->n, -E2BIG, at, "more than %d address spaces", SPACES_MOST);
		return;
	}
	err = regmap_layout_add_space(&b->layout->pub, &space, &error);
	if (err) {
		/* The layout knows no places of spaces. */
		char text[sizeof(error.text)];

		memcpy(text, error.text, sizeof(text));
		regmap__layout_wrong(&error, err, &source, "%s", text);
		note_error(b, err, &error);
		return;
	}
	b->spaces[b->space_count++] = (struct space){name, description, offset};
}

static void build_spaces(struct build *b)
{
	const struct tree *list = get(b->m->root, "address_spaces");
	const struct tree *count = get(get(b->m->root, "memory"), "address_spaces");
	uint64_t number = 1, offset;

	b->spaces = room_for(b, SPACES_MOST, sizeof(*b->spaces), b->m->root);
	if (!b->spaces || !regmap__value_number(b->n, count, &number))
		return;
	if (count && (!number || (list && number > 1 && number != list->count))) {
		regmap__note(b->n, -EINVAL, count,
		             "address_spaces: %" PRIu64 " of them, and %u are listed: say the same",
		             number, list ? list->count : 0);
		return;
	}
	for (const struct tree *entry = list ? list->first : NULL; entry; entry = entry->next) {
		const char *name = name_of(b, entry, "address space");

		offset = 0;
		if (name && regmap__value_number(b->n, get(entry, "offset"), &offset))
			add_space(b, name, string_of(b, entry, "description"), offset,
			          get(entry, "name"));
	}
	for (uint64_t i = 0; !list && number > 1 && i < number; i++) {
		char *name = room_for(b, 24, 1, b->m->root);

		if (!name)
			return;
		snprintf(name, 24, "%" PRIu64, i);
		add_space(b, name, "", i << 40, count);
	}
}

/* Guest address of byte 0 of the address space that @key of @entry names. */
static bool space_of(struct build *b, const struct tree *entry, const char *key,
                     const struct space **out)
{
	const struct tree *node = get(entry, key);
	const char *name = NULL;

	*out = NULL;
	if (!node || !regmap__value_string(b->n, node, &name))
		return !node;
	for (size_t i = 0; i < b->space_count; i++)
		if (strcmp(b->spaces[i].name, name) == 0)
			*out = &b->spaces[i];
	if (!*out)
		regmap__note(b->n, -EINVAL, node,
		             "%s: there is no address space \"%.80s\": list it in address_spaces",
		             key, name);
	return *out;
}

static bool address_of(struct build *b, const struct tree *entry, const char *key,
                       const char *space_key, uint64_t *address, const struct space **space)
{
	const struct tree *node = get(entry, key);

	if (!space_of(b, entry, space_key, space) || !regmap__value_number(b->n, node, address))
		return false;
	if (*space && __builtin_add_overflow(*address, (*space)->offset, address)) {
		regmap__note(
			b->n, -EINVAL, node,
			"%s: behind the last address, as its address space starts at 0x%" PRIx64,
			key, (*space)->offset);
		return false;
	}
	return true;
}

/* A range of addresses, each wrong one at its place. */
static bool range_of(struct build *b, const struct tree *entry, const char *what,
                     const char *address_key, const char *space_key, uint64_t *address,
                     uint64_t *length, const struct space **space)
{
	const struct tree *start = needed(b, entry, what, address_key, "0x...");
	const struct tree *size = needed(b, entry, what, "size", "\"4KB\"");

	if (!start || !size || !address_of(b, entry, address_key, space_key, address, space) ||
	    !regmap__value_size(b->n, size, length))
		return false;
	if (!*length) {
		regmap__note(b->n, -EINVAL, size, "size: %s \"%s\" has no bytes: make it 1 or more",
		             what, regmap__entry_name(entry));
		return false;
	}
	if (*address + (*length - 1) < *address) {
		regmap__note(b->n, -EINVAL, size,
		             "size: %s \"%s\" ends behind the last address: make it smaller", what,
		             regmap__entry_name(entry));
		return false;
	}
	return true;
}

/* ---- regions ------------------------------------------------------------------------------------------- */

static bool build_sectors(struct build *b, const struct tree *flash, struct regmap_region *r)
{
	const struct tree *list = get(flash, "sectors");
	struct regmap_flash_sector *sectors;

	if (!list)
		return true;
	sectors = room_for(b, list->count, sizeof(*sectors), list);
	if (!sectors)
		return false;
	for (const struct tree *item = list->first; item; item = item->next) {
		struct regmap_flash_sector *s = &sectors[r->sector_count];

		s->count = 1;
		if (!get(item, "size")) {
			regmap__note(b->n, -EINVAL, item,
			             "a sector has no size: write { size = \"1KB\", count = 128 }");
			return false;
		}
		if (!regmap__value_size(b->n, get(item, "size"), &s->length) ||
		    !regmap__value_number(b->n, get(item, "count"), &s->count))
			return false;
		r->sector_count++;
	}
	r->sectors = sectors;
	return true;
}

static bool build_flash(struct build *b, const struct tree *entry, struct regmap_region *r)
{
	const struct tree *flash = get(entry, "flash");
	unsigned policy = REGMAP_FLASH_FAULT;

	r->program_if = string_of(b, flash, "program_if");
	if (*r->program_if)
		policy = REGMAP_FLASH_CONTROLLER;
	if (flash && r->type != REGMAP_REGION_FLASH) {
		regmap__note_key(b->n, -EINVAL, flash,
		                 "flash: region \"%s\" is none: give it type = \"flash\"", r->name);
		return false;
	}
	if (!regmap__value_word(b->n, get(flash, "policy"), regmap__flash_policies, &policy) ||
	    !regmap__value_width(b->n, get(flash, "program_width"), &r->program_width))
		return false;
	r->flash_policy = r->type == REGMAP_REGION_FLASH ? policy : 0;
	return build_sectors(b, flash, r);
}

static bool is_alias(const struct regmap_region *r)
{
	return r->type == REGMAP_REGION_ALIAS || r->type == REGMAP_REGION_BITBAND ||
	       r->type == REGMAP_REGION_REVERSED;
}

static bool build_target(struct build *b, const struct tree *entry, struct regmap_region *r)
{
	const struct tree *target = get(entry, "target");
	const struct space *space;

	if (target && !is_alias(r)) {
		regmap__note_key(b->n, -EINVAL, target,
		                 "target: region \"%s\" is no alias: give it type = \"alias\"",
		                 r->name);
		return false;
	}
	if (!target && is_alias(r))
		return needed(b, entry, "region", "target", "0x...");
	return !target || address_of(b, entry, "target",
	                             get(entry, "target_space") ? "target_space" : "address_space",
	                             &r->target, &space);
}

static bool build_permissions(struct build *b, const struct tree *entry, struct regmap_region *r)
{
	const struct tree *node = get(entry, "permissions");

	r->permissions = r->type == REGMAP_REGION_ROM ? REGMAP_PERMIT_READ :
	                 r->type == REGMAP_REGION_FLASH ?
	                                                REGMAP_PERMIT_READ | REGMAP_PERMIT_EXECUTE :
	                                                REGMAP_PERMIT_READ | REGMAP_PERMIT_WRITE;
	return regmap__value_permissions(b->n, node, &r->permissions);
}

static bool build_kind(struct build *b, const struct tree *entry, struct regmap_region *r)
{
	const struct tree *type = needed(b, entry, "region", "type",
	                                 "\"ram\", \"flash\", \"mmio\" ...");
	unsigned kind = 0, policy = 0;
	uint64_t erased;
	bool attached = true;

	if (!type || !regmap__value_word(b->n, type, regmap__region_types, &kind))
		return false;
	r->type = kind;
	erased = kind == REGMAP_REGION_FLASH || kind == REGMAP_REGION_STORAGE ? 0xFF : 0;
	if (!build_permissions(b, entry, r) ||
	    !regmap__value_widths(b->n, get(entry, "widths"), &r->widths) ||
	    !regmap__value_word(b->n, get(entry, "width_policy"), regmap__width_policies,
	                        &policy) ||
	    !regmap__value_boolean(b->n, get(entry, "attached"), &attached) ||
	    !regmap__value_boolean(b->n, get(entry, "program_once"), &r->program_once) ||
	    !regmap__value_number(b->n, get(entry, "erased"), &erased))
		return false;
	r->width_policy = policy;
	r->detached = !attached;
	r->erased = erased;
	return build_flash(b, entry, r) && build_target(b, entry, r);
}

static void build_region(struct build *b, const struct tree *entry)
{
	const struct space *space = NULL;
	struct regmap_region r = {0};
	struct regmap_error error;
	int err;

	r.name = name_of(b, entry, "region");
	if (!r.name ||
	    !range_of(b, entry, "region", "guest_address", "address_space", &r.address, &r.length,
	              &space) ||
	    !build_kind(b, entry, &r))
		return;
	if (!space && b->space_count)
		space = b->spaces;
	r.space = b->space_count > 1 ? space->name : "";
	r.description = string_of(b, entry, "description");
	r.device = string_of(b, entry, "device");
	r.content = string_of(b, entry, "content");
	r.source = source_of(entry);
	err = regmap_layout_add_region(&b->layout->pub, &r, &error);
	if (err)
		note_error(b, err, &error);
}

/* ---- fields ---------------------------------------------------------------------------------------------- */

static bool build_value(struct build *b, const struct tree *item, struct regmap_enum_value *v)
{
	const struct tree *number = get(item, "value");

	v->usage = REGMAP_READ | REGMAP_WRITE;
	v->description = "";
	if (item->key) {
		v->name = item->key;
		return regmap__value_number(b->n, item, &v->value);
	}
	v->name = name_of(b, item, "value");
	v->description = string_of(b, item, "description");
	if (!v->name || !regmap__value_boolean(b->n, get(item, "default"), &v->is_default) ||
	    !regmap__value_number(b->n, number, &v->value) ||
	    !regmap__value_word(b->n, get(item, "usage"), regmap__usages, &v->usage))
		return false;
	if (!number && !v->is_default)
		return needed(b, item, "value", "value", "0");
	return true;
}

static bool build_values(struct build *b, const struct tree *list, struct regmap_field *f)
{
	const struct regmap_enum_value **values;
	struct regmap_enum_value *v;

	if (!list)
		return true;
	values = room_for(b, list->count, sizeof(*values), list);
	v = room_for(b, list->count, sizeof(*v), list);
	if (!values || !v)
		return false;
	for (const struct tree *item = list->first; item; item = item->next, v++) {
		if (!build_value(b, item, v))
			return false;
		values[f->value_count++] = v;
	}
	f->values = values;
	return true;
}

static bool build_bits(struct build *b, const struct tree *entry, struct regmap_field *f)
{
	const struct tree *bits = get(entry, "bits"), *bit = get(entry, "bit");
	const struct tree *lsb = get(entry, "lsb"), *width = get(entry, "width");
	uint64_t low = 0, count = 1;

	if (!!bits + !!bit + !!lsb > 1 || (width && !lsb)) {
		regmap__note(b->n, -EINVAL, get(entry, "name"),
		             "field \"%s\": say either bit = 5, bits = \"7:4\", or lsb and width",
		             f->name);
		return false;
	}
	if (!bits && !bit && !lsb)
		return needed(b, entry, "field", "bits", "\"7:4\" (or bit = 5)");
	if (!lsb)
		return regmap__value_bits(b->n, bits ? bits : bit, &f->lsb, &f->width);
	if (!regmap__value_number(b->n, lsb, &low) || !regmap__value_number(b->n, width, &count))
		return false;
	f->lsb = low;
	f->width = count;
	return true;
}

static bool build_field(struct build *b, const struct tree *entry, const struct regmap_register *r,
                        struct regmap_field *f)
{
	unsigned access = r->access, read = r->read_action, write = r->write_action;

	f->name = name_of(b, entry, "field");
	f->description = string_of(b, entry, "description");
	if (!f->name || !build_bits(b, entry, f) ||
	    !regmap__value_word(b->n, get(entry, "access"), regmap__accesses, &access) ||
	    !regmap__value_word(b->n, get(entry, "read"), regmap__read_actions, &read) ||
	    !regmap__value_word(b->n, get(entry, "write"), regmap__write_actions, &write) ||
	    !build_values(b, get(entry, "values"), f))
		return false;
	f->access = access;
	f->read_action = read;
	f->write_action = write;
	f->source = source_of(entry);
	return true;
}

/* ---- registers ------------------------------------------------------------------------------------------- */

/* What a field doesn't say is as its register has it. */
static bool build_fields(struct build *b, const struct tree *list, struct regmap_register *r)
{
	const struct regmap_field **fields;
	struct regmap_field *f;

	if (!list)
		return true;
	fields = room_for(b, list->count, sizeof(*fields), list);
	f = room_for(b, list->count, sizeof(*f), list);
	if (!fields || !f)
		return false;
	for (const struct tree *entry = list->first; entry; entry = entry->next, f++) {
		if (!build_field(b, entry, r, f))
			continue;
		fields[r->field_count++] = f;
		if (entry->mark == MARK_LOCK && f->lsb < 64)
			r->reset_value |=
				(f->width >= 64 ? UINT64_MAX : ((uint64_t)1 << f->width) - 1)
				<< f->lsb;
	}
	r->fields = fields;
	return true;
}

static bool build_reset(struct build *b, const struct tree *entry, const struct defaults *d,
                        struct regmap_register *r)
{
	const struct tree *reset = get(entry, "reset");

	r->reset_value = d->reset & ones(r->width);
	r->reset_mask = d->mask;
	if (!regmap__value_number(b->n, reset, &r->reset_value) ||
	    !regmap__value_number(b->n, get(entry, "reset_mask"), &r->reset_mask))
		return false;
	r->reset_mask &= ones(r->width);
	if (r->reset_value > ones(r->width)) {
		regmap__note(b->n, -EINVAL, reset,
		             "reset: 0x%" PRIx64 " doesn't fit into the %u bits of \"%s\"",
		             r->reset_value, 8 * r->width, r->name);
		return false;
	}
	return true;
}

static bool build_register(struct build *b, const struct tree *entry, const struct defaults *d,
                           struct regmap_register *r)
{
	unsigned access = d->access, read = 0, write = 0, policy = 0;
	const struct tree *offset;

	r->name = name_of(b, entry, "register");
	if (!r->name)
		return false;
	offset = needed(b, entry, "register", "offset", "0x0");
	r->width = d->width;
	r->description = string_of(b, entry, "description");
	r->alternate = string_of(b, entry, "alternate");
	if (!offset || !regmap__value_number(b->n, offset, &r->offset) ||
	    !regmap__value_width(b->n, get(entry, "width"), &r->width) ||
	    !regmap__value_word(b->n, get(entry, "access"), regmap__accesses, &access) ||
	    !regmap__value_word(b->n, get(entry, "read"), regmap__read_actions, &read) ||
	    !regmap__value_word(b->n, get(entry, "write"), regmap__write_actions, &write) ||
	    !regmap__value_widths(b->n, get(entry, "widths"), &r->widths) ||
	    !regmap__value_word(b->n, get(entry, "width_policy"), regmap__width_policies,
	                        &policy) ||
	    !build_reset(b, entry, d, r))
		return false;
	r->access = access;
	r->read_action = read;
	r->write_action = write;
	r->width_policy = policy;
	r->source = source_of(entry);
	return build_fields(b, get(entry, "fields"), r);
}

/* ---- peripherals ----------------------------------------------------------------------------------------- */

static bool build_interrupts(struct build *b, const struct tree *list, struct regmap_peripheral *p)
{
	const struct regmap_interrupt **interrupts;
	struct regmap_interrupt *i;

	if (!list)
		return true;
	interrupts = room_for(b, list->count, sizeof(*interrupts), list);
	i = room_for(b, list->count, sizeof(*i), list);
	if (!interrupts || !i)
		return false;
	for (const struct tree *item = list->first; item; item = item->next, i++) {
		i->name = name_of(b, item, "interrupt");
		i->description = string_of(b, item, "description");
		if (!i->name || !needed(b, item, "interrupt", "number", "0") ||
		    !regmap__value_signed(b->n, get(item, "number"), &i->number))
			return false;
		interrupts[p->interrupt_count++] = i;
	}
	p->interrupts = interrupts;
	return true;
}

static bool read_defaults(struct build *b, const struct tree *entry, struct defaults *d)
{
	*d = (struct defaults){.width = 4, .access = REGMAP_READ_WRITE, .mask = UINT64_MAX};
	return regmap__value_width(b->n, get(entry, "register_width"), &d->width) &&
	       regmap__value_word(b->n, get(entry, "register_access"), regmap__accesses,
	                          &d->access) &&
	       regmap__value_number(b->n, get(entry, "register_reset"), &d->reset) &&
	       regmap__value_number(b->n, get(entry, "register_reset_mask"), &d->mask);
}

static bool build_registers(struct build *b, const struct tree *entry, struct regmap_peripheral *p)
{
	const struct tree *list = get(entry, "registers");
	const struct regmap_register **registers;
	struct regmap_register *r;
	struct defaults d;

	if (!read_defaults(b, entry, &d))
		return false;
	if (!list)
		return true;
	registers = room_for(b, list->count, sizeof(*registers), list);
	r = room_for(b, list->count, sizeof(*r), list);
	if (!registers || !r)
		return false;
	for (const struct tree *item = list->first; item && !regmap__notes_stop(b->n);
	     item = item->next, r++)
		if (build_register(b, item, &d, r))
			registers[p->register_count++] = r;
	p->registers = registers;
	return true;
}

static bool build_peripheral(struct build *b, const struct tree *entry, struct regmap_peripheral *p)
{
	const struct space *space;
	unsigned policy = 0;

	p->name = name_of(b, entry, "peripheral");
	if (!p->name || !range_of(b, entry, "peripheral", "address", "address_space", &p->address,
	                          &p->length, &space))
		return false;
	p->description = string_of(b, entry, "description");
	p->group = string_of(b, entry, "group");
	p->source = source_of(entry);
	if (!regmap__value_widths(b->n, get(entry, "widths"), &p->widths) ||
	    !regmap__value_word(b->n, get(entry, "width_policy"), regmap__width_policies,
	                        &policy) ||
	    !build_interrupts(b, get(entry, "interrupts"), p))
		return false;
	p->width_policy = policy;
	return build_registers(b, entry, p);
}

/* ---- rules ----------------------------------------------------------------------------------------------- */

static void add_rule(struct build *b, const char *scope, const char *text, const struct tree *at)
{
	struct regmap_source source = regmap__tree_source(at);
	struct regmap_error error;
	int err;

	if (regmap__notes_stop(b->n))
		return;
	if (!*text) {
		regmap__note(b->n, -EINVAL, at, "a rule is empty: leave it out");
		return;
	}
	err = regmap__layout_add_rule(b->layout, scope, text, &source, &error);
	if (err)
		note_error(b, err, &error);
}

static void build_rule(struct build *b, const char *scope, const struct tree *item)
{
	const char *text = NULL;

	if (item->kind != TREE_TABLE) {
		if (regmap__value_string(b->n, item, &text))
			add_rule(b, scope, text, item);
		return;
	}
	if (!get(item, "rule") || (*scope && get(item, "scope"))) {
		regmap__note(
			b->n, -EINVAL, item,
			"a rule is a string, or at the top { scope = \"...\", rule = \"...\" }");
		return;
	}
	add_rule(b, get(item, "scope") ? string_of(b, item, "scope") : scope,
	         string_of(b, item, "rule"), get(item, "rule"));
}

static void build_rules(struct build *b, const char *scope, const struct tree *entry)
{
	const struct tree *list = get(entry, "rules");

	if (list && list->kind != TREE_LIST)
		build_rule(b, scope, list);
	for (const struct tree *item = list ? list->first : NULL; item; item = item->next)
		build_rule(b, scope, item);
}

static const char *scope_of(struct build *b, const char *outer, const struct tree *entry)
{
	const char *name = regmap__entry_name(entry);
	size_t length = strlen(outer) + strlen(name) + 2;
	char *scope = room_for(b, length, 1, entry);

	if (!scope)
		return "";
	snprintf(scope, length, "%s%s%s", outer, *outer ? "." : "", name);
	return scope;
}

/* Outer ones first; what is beside each other goes by address, as the layout has it. */
static void build_rules_of(struct build *b, const struct regmap_peripheral *p,
                           const struct tree *entry, const struct locks *locks)
{
	struct name_index *index = regmap__name_index(b->m, get(entry, "registers"));
	const struct tree *fields;

	if (!index) {
		regmap__note_memory(b->n, b->m->memory, entry);
		return;
	}
	build_rules(b, p->name, entry);
	for (size_t i = 0; i < locks->count; i++)
		add_rule(b, p->name, locks->rules[i].text, locks->rules[i].lock);
	for (size_t i = 0; i < p->register_count && !regmap__notes_stop(b->n); i++) {
		const struct tree *reg = regmap__name_find(index, p->registers[i]->name);
		const char *scope = scope_of(b, p->name, reg);

		build_rules(b, scope, reg);
		fields = get(reg, "fields");
		for (const struct tree *f = fields ? fields->first : NULL; f; f = f->next)
			if (get(f, "rules"))
				build_rules(b, scope_of(b, scope, f), f);
	}
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

struct made_peripheral {
	const struct regmap_peripheral *pub; /* in the layout */
	const struct tree *entry;
	size_t order; /* in the text */
	struct locks locks;
};

static int by_place(const void *a, const void *b)
{
	const struct made_peripheral *one = a, *other = b;

	if (one->pub->address != other->pub->address)
		return one->pub->address < other->pub->address ? -1 : 1;
	if (one->pub->length != other->pub->length)
		return one->pub->length > other->pub->length ? -1 : 1;
	return one->order < other->order ? -1 : 1;
}

static const struct regmap_peripheral *in_layout(struct build *b, const char *name)
{
	return regmap__names_find(&b->layout->names, NAME_PERIPHERAL, NULL, name, strlen(name),
	                          true);
}

static bool add_peripheral(struct build *b, struct tree *entry, struct made_peripheral *made)
{
	struct regmap_peripheral p = {0};
	struct regmap_error error;
	int err;

	regmap__locks_translate(b->m, entry, &made->locks);
	if (!build_peripheral(b, entry, &p))
		return false;
	err = regmap_layout_add_peripheral(&b->layout->pub, &p, &error);
	if (err) {
		note_error(b, err, &error);
		return false;
	}
	made->entry = entry;
	made->pub = in_layout(b, p.name);
	return made->pub;
}

static void build_peripherals(struct build *b)
{
	const struct tree *list = get(b->m->root, "peripherals");
	struct made_peripheral *made;
	size_t count = 0;

	if (!list)
		return;
	made = room_for(b, list->count, sizeof(*made), list);
	for (struct tree *entry = made ? list->first : NULL; entry && !regmap__notes_stop(b->n);
	     entry = entry->next) {
		made[count].order = count;
		count += add_peripheral(b, entry, &made[count]);
	}
	if (count)
		qsort(made, count, sizeof(*made), by_place);
	for (size_t i = 0; i < count && !regmap__notes_stop(b->n); i++)
		build_rules_of(b, made[i].pub, made[i].entry, &made[i].locks);
}

static void build_regions(struct build *b)
{
	const struct tree *list = get(b->m->root, "regions");

	for (const struct tree *entry = list ? list->first : NULL;
	     entry && !regmap__notes_stop(b->n); entry = entry->next)
		build_region(b, entry);
}

/* Those rules at the top name what is below: they come last. */
static void build_all(struct build *b)
{
	build_device(b);
	build_memory(b);
	build_spaces(b);
	build_regions(b);
	build_peripherals(b);
	build_rules(b, "", b->m->root);
}

struct regmap_layout *regmap__build(struct merge *m)
{
	struct build b = {.m = m, .n = m->notes};
	struct regmap_layout *layout = NULL;

	if (regmap_layout_new("", &layout)) {
		regmap__note(m->notes, -ENOMEM, m->root, "out of memory");
		return NULL;
	}
	b.layout = layout_of(layout);
	build_all(&b);
	if (!m->notes->err)
		return layout;
	regmap_layout_free(layout);
	return NULL;
}
