/* SPDX-License-Identifier: MIT */
/* What is added to a layout: checked alone, and against names and regions that are there; then copied. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "layout.h"

#define WRONG(error, where, ...) regmap__layout_wrong(error, -EINVAL, where, __VA_ARGS__)

/* A message about a thing of @where, which was described at another place than the first of the name. */
static const char *place_of(const struct regmap_source *where, char to[static 300])
{
	to[0] = 0;
	if (where->file && where->file[0] && where->line)
		snprintf(to, 300, " of %s:%u", where->file, where->line);
	return to;
}

static int out_of_memory(struct regmap_error *error)
{
	return regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
}

/* A copy of @s in place of it; false: no memory. */
static bool own(struct layout *l, const char **s)
{
	*s = regmap__layout_string(l, *s);
	return *s;
}

/* One file's things come one after the other, and have its name but once. */
static bool own_source(struct layout *l, struct regmap_source *source)
{
	if (!source->file || !l->file || strcmp(source->file, l->file) != 0) {
		const char *file = regmap__layout_string(l, source->file);

		if (!file)
			return false;
		l->file = file;
	}
	source->file = l->file;
	return true;
}

/* ---- checks of one thing ---- */

static bool is_word(const char *name)
{
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		      c == '_'))
			return false;
	}
	return true;
}

static int check_name(const char *kind, const char *name, const struct regmap_source *where,
                      struct regmap_error *error)
{
	if (!name || !name[0])
		return WRONG(error, where, "a %s has no name: give it one", kind);
	if (!is_word(name))
		return WRONG(error, where, "%s \"%s\": a name has letters, digits and _ only", kind,
		             name);
	return 0;
}

static int check_region_name(const struct regmap_region *r, struct regmap_error *error)
{
	if (!r->name || !r->name[0])
		return WRONG(error, &r->source, "a region has no name: give it one");
	for (const char *c = r->name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == '"' || *c == 0x7f)
			return WRONG(error, &r->source,
			             "region \"%s\": a name has letters, digits, _, spaces and "
			             "- / . ( ) only",
			             r->name);
	return 0;
}

static bool are_widths(unsigned widths)
{
	return !(widths & ~15u);
}

static int check_range(const char *kind, const char *name, uint64_t address, uint64_t length,
                       const struct regmap_source *where, struct regmap_error *error)
{
	if (!length)
		return WRONG(error, where, "%s \"%s\" has a size of 0: it needs at least 1 byte",
		             kind, name);
	if (address + (length - 1) < address)
		return WRONG(error, where,
		             "%s \"%s\" at 0x%" PRIx64 " with a size of 0x%" PRIx64
		             " ends behind the last address: make it smaller",
		             kind, name, address, length);
	return 0;
}

static int check_sectors(const struct regmap_region *r, struct regmap_error *error)
{
	uint64_t sum = 0, part;

	if (!r->sector_count)
		return 0;
	if (r->type != REGMAP_REGION_FLASH && r->type != REGMAP_REGION_STORAGE)
		return WRONG(error, &r->source, "region \"%s\" has sectors: only flash has them",
		             r->name);
	for (size_t i = 0; i < r->sector_count; i++)
		if (!r->sectors[i].length || !r->sectors[i].count ||
		    __builtin_mul_overflow(r->sectors[i].length, r->sectors[i].count, &part) ||
		    __builtin_add_overflow(sum, part, &sum))
			return WRONG(
				error, &r->source,
				"region \"%s\": sectors %zu have a size or a count of 0, or are too many",
				r->name, i);
	if (sum != r->length)
		return WRONG(error, &r->source,
		             "region \"%s\" has 0x%" PRIx64 " bytes, its sectors have 0x%" PRIx64
		             " together: make them equal",
		             r->name, r->length, sum);
	return 0;
}

static int check_geometry(const struct regmap_region *r, struct regmap_error *error)
{
	uint64_t originals = r->type == REGMAP_REGION_BITBAND ? r->length / 32 : r->length;

	if (r->type != REGMAP_REGION_ALIAS && r->type != REGMAP_REGION_BITBAND &&
	    r->type != REGMAP_REGION_REVERSED)
		return 0;
	if (r->type == REGMAP_REGION_BITBAND && (r->length % 32 || r->address % 4))
		return WRONG(
			error, &r->source,
			"bit-band \"%s\" has a word for each bit: its address must be a multiple of 4 "
			"and its size one of 32",
			r->name);
	if (r->type == REGMAP_REGION_REVERSED && (r->length % 4 || r->address % 4 || r->target % 4))
		return WRONG(error, &r->source,
		             "reversed alias \"%s\" has words: address, target and size must be "
		             "multiples of 4",
		             r->name);
	if (r->target + (originals - 1) < r->target)
		return WRONG(error, &r->source,
		             "region \"%s\": its target ends behind the last address", r->name);
	return 0;
}

static int check_region(const struct regmap_region *r, struct regmap_error *error)
{
	int err = check_region_name(r, error);

	if (!err)
		err = check_range("region", r->name, r->address, r->length, &r->source, error);
	if (err)
		return err;
	if ((unsigned)r->type > REGMAP_REGION_EXTERNAL || r->permissions > 7 ||
	    !are_widths(r->widths) || (unsigned)r->width_policy > REGMAP_WIDTH_ALLOW ||
	    (unsigned)r->flash_policy > REGMAP_FLASH_WRITE || (r->sector_count && !r->sectors))
		return WRONG(
			error, &r->source,
			"region \"%s\": type, permissions, widths or a policy is none of those there are",
			r->name);
	if (r->program_width & (r->program_width - 1) || r->program_width > 64)
		return WRONG(
			error, &r->source,
			"region \"%s\": a program width of %u bytes: it must be a power of 2 up to 64",
			r->name, r->program_width);
	err = check_sectors(r, error);
	return err ? err : check_geometry(r, error);
}

static bool are_actions(unsigned access, unsigned read, unsigned write)
{
	return access <= REGMAP_READ_WRITE_ONCE && read <= REGMAP_READ_MODIFY_EXTERNAL &&
	       write <= REGMAP_WRITE_SET;
}

static int check_values(const struct regmap_field *f, struct regmap_error *error)
{
	for (size_t i = 0; i < f->value_count; i++) {
		const struct regmap_enum_value *v = f->values[i];

		if (!v->name || !v->name[0])
			return WRONG(error, &f->source, "field \"%s\": a value has no name",
			             f->name);
		if (!v->is_default && v->value > layout_ones(f->width))
			return WRONG(error, &f->source,
			             "field \"%s\" has %u bits: its value \"%s\" is 0x%" PRIx64
			             " and doesn't fit",
			             f->name, f->width, v->name, v->value);
	}
	return 0;
}

static int check_field(const struct regmap_register *r, const struct regmap_field *f,
                       struct regmap_error *error)
{
	int err = check_name("field", f->name, &f->source, error);

	if (err)
		return err;
	if (!f->width || f->width > 64 || f->lsb > 63 || f->lsb + f->width > 8 * r->width)
		return WRONG(error, &f->source,
		             "field \"%s\" has bits %u to %u: register \"%s\" has bits 0 to %u",
		             f->name, f->lsb, f->lsb + f->width - 1, r->name, 8 * r->width - 1);
	if (!are_actions(f->access, f->read_action, f->write_action))
		return WRONG(error, &f->source,
		             "field \"%s\": access, read or write is none of those there are",
		             f->name);
	return check_values(f, error);
}

static int check_register(const struct regmap_peripheral *p, const struct regmap_register *r,
                          struct regmap_error *error)
{
	int err = check_name("register", r->name, &r->source, error);

	if (err)
		return err;
	if (r->width != 1 && r->width != 2 && r->width != 4 && r->width != 8)
		return WRONG(error, &r->source,
		             "register \"%s.%s\" has %u bits: they can be 8, 16, 32 or 64", p->name,
		             r->name, 8 * r->width);
	if (r->offset >= p->length || p->length - r->offset < r->width)
		return WRONG(error, &r->source,
		             "register \"%s.%s\" at 0x%" PRIx64 " ends behind its peripheral, "
		             "which has a size of 0x%" PRIx64,
		             p->name, r->name, r->offset, p->length);
	if (r->reset_value > layout_ones(8 * r->width))
		return WRONG(error, &r->source,
		             "register \"%s.%s\" has %u bits: its reset value 0x%" PRIx64
		             " doesn't fit",
		             p->name, r->name, 8 * r->width, r->reset_value);
	if (!are_actions(r->access, r->read_action, r->write_action) || !are_widths(r->widths) ||
	    (unsigned)r->width_policy > REGMAP_WIDTH_ALLOW)
		return WRONG(
			error, &r->source,
			"register \"%s.%s\": access, read, write or widths are none of those there are",
			p->name, r->name);
	for (size_t i = 0; i < r->field_count && !err; i++)
		err = check_field(r, r->fields[i], error);
	return err;
}

static int check_peripheral(const struct regmap_peripheral *p, struct regmap_error *error)
{
	int err = check_name("peripheral", p->name, &p->source, error);

	if (!err)
		err = check_range("peripheral", p->name, p->address, p->length, &p->source, error);
	if (!err && (!are_widths(p->widths) || (unsigned)p->width_policy > REGMAP_WIDTH_ALLOW))
		err = WRONG(error, &p->source,
		            "peripheral \"%s\": widths or their policy is none of those there are",
		            p->name);
	for (size_t i = 0; i < p->register_count && !err; i++)
		err = check_register(p, p->registers[i], error);
	return err;
}

/* ---- copies ---- */

static const struct regmap_enum_value *copy_value(struct layout *l,
                                                  const struct regmap_enum_value *from)
{
	struct regmap_enum_value *v = regmap__layout_alloc(l, sizeof(*v));

	if (!v)
		return NULL;
	*v = *from;
	if (!v->usage)
		v->usage = REGMAP_READ | REGMAP_WRITE;
	return own(l, &v->name) && own(l, &v->description) ? v : NULL;
}

static const struct regmap_field *copy_field(struct layout *l, const struct regmap_field *from)
{
	struct regmap_field *f = regmap__layout_alloc(l, sizeof(*f));
	const struct regmap_enum_value **values;

	values = regmap__layout_alloc(l, from->value_count * sizeof(*values));
	if (!f || !values)
		return NULL;
	*f = *from;
	f->values = values;
	for (size_t i = 0; i < f->value_count; i++)
		if (!(values[i] = copy_value(l, from->values[i])))
			return NULL;
	return own(l, &f->name) && own(l, &f->description) && own_source(l, &f->source) ? f : NULL;
}

static struct regmap_register *copy_register(struct layout *l, const struct regmap_register *from)
{
	struct regmap_register *r = regmap__layout_alloc(l, sizeof(*r));
	const struct regmap_field **fields;

	fields = regmap__layout_alloc(l, from->field_count * sizeof(*fields));
	if (!r || !fields)
		return NULL;
	*r = *from;
	r->fields = fields;
	if (!r->reset_mask && r->reset_value)
		r->reset_mask = layout_ones(8 * r->width);
	for (size_t i = 0; i < r->field_count; i++)
		if (!(fields[i] = copy_field(l, from->fields[i])))
			return NULL;
	if (!own(l, &r->name) || !own(l, &r->description) || !own(l, &r->alternate) ||
	    !own_source(l, &r->source))
		return NULL;
	return r;
}

static const struct regmap_interrupt *copy_interrupt(struct layout *l,
                                                     const struct regmap_interrupt *from)
{
	struct regmap_interrupt *i = regmap__layout_alloc(l, sizeof(*i));

	if (!i)
		return NULL;
	*i = *from;
	return own(l, &i->name) && own(l, &i->description) ? i : NULL;
}

/* ---- registers ---- */

/*
 * Of registers at one offset, those that are another view of one come last, and the wider one first:
 * the first is whom the address is called after.
 */
static bool comes_before(const struct regmap_register *a, const struct regmap_register *b)
{
	if (a->offset != b->offset)
		return a->offset < b->offset;
	if (!a->alternate[0] != !b->alternate[0])
		return !a->alternate[0];
	return a->width > b->width;
}

static void place_register(struct layout_peripheral *p, const struct regmap_register *r)
{
	size_t low = 0, high = p->registers.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (comes_before(r, p->registers.at[middle]))
			high = middle;
		else
			low = middle + 1;
	}
	regmap__list_insert(&p->registers, low, r);
	p->pub.registers = (const struct regmap_register *const *)p->registers.at;
	p->pub.register_count = p->registers.count;
}

/* Its name and those of its fields. On -EEXIST some may be there: cut them. */
static int name_register(struct layout *l, const struct regmap_peripheral *p,
                         const struct regmap_register *r, struct regmap_error *error)
{
	if (regmap__names_reserve(&l->names, 1 + r->field_count))
		return out_of_memory(error);
	if (regmap__names_add(&l->names, NAME_REGISTER, p, r))
		return regmap__layout_wrong(
			error, -EEXIST, &r->source,
			"register \"%s.%s\" is there already: give it another name", p->name,
			r->name);
	for (size_t i = 0; i < r->field_count; i++)
		if (regmap__names_add(&l->names, NAME_FIELD, r, r->fields[i]))
			return regmap__layout_wrong(
				error, -EEXIST, &r->fields[i]->source,
				"field \"%s.%s.%s\" is there already: give it another name",
				p->name, r->name, r->fields[i]->name);
	return 0;
}

/* @is_ours: it is in the arena already. */
static int put_register(struct layout *l, struct layout_peripheral *p,
                        const struct regmap_register *from, bool is_ours,
                        struct regmap_error *error)
{
	const struct regmap_register *r = is_ours ? from : copy_register(l, from);
	int err;

	if (!r || regmap__list_reserve(l, &p->registers, 1))
		return out_of_memory(error);
	err = name_register(l, &p->pub, r, error);
	if (!err)
		place_register(p, r);
	return err;
}

int regmap_layout_add_register(struct regmap_layout *layout, const char *peripheral,
                               const struct regmap_register *reg, struct regmap_error *error)
{
	struct layout *l = layout_of(layout);
	const void *p;
	size_t names;
	int err;

	if (!l || !peripheral || !reg)
		return WRONG(error, NULL, "a layout, a peripheral and a register are needed");
	p = regmap__names_find(&l->names, NAME_PERIPHERAL, NULL, peripheral, strlen(peripheral),
	                       true);
	if (!p)
		return regmap__layout_wrong(error, -ENOENT, &reg->source,
		                            "there is no peripheral \"%s\"", peripheral);
	err = check_register(p, reg, error);
	if (err)
		return err;
	regmap__layout_unfinish(l);
	names = l->names.count;
	err = put_register(l, (struct layout_peripheral *)p, reg, false, error);
	if (err)
		regmap__names_cut(&l->names, names);
	return err;
}

/* ---- peripherals ---- */

static struct layout_peripheral *copy_peripheral(struct layout *l,
                                                 const struct regmap_peripheral *from)
{
	struct layout_peripheral *p = regmap__layout_alloc(l, sizeof(*p));
	const struct regmap_interrupt **interrupts;

	interrupts = regmap__layout_alloc(l, from->interrupt_count * sizeof(*interrupts));
	if (!p || !interrupts)
		return NULL;
	p->pub = *from;
	p->pub.registers = NULL;
	p->pub.register_count = 0;
	p->pub.interrupts = interrupts;
	for (size_t i = 0; i < from->interrupt_count; i++)
		if (!(interrupts[i] = copy_interrupt(l, from->interrupts[i])))
			return NULL;
	if (!own(l, &p->pub.name) || !own(l, &p->pub.description) || !own(l, &p->pub.group) ||
	    !own_source(l, &p->pub.source))
		return NULL;
	return p;
}

/* By address; of two at one address the longer first. */
static void place_peripheral(struct layout *l, struct layout_peripheral *p)
{
	size_t low = 0, high = l->peripherals.count;

	p->order = l->peripherals.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct regmap_peripheral *other = l->peripherals.at[middle];

		if (p->pub.address < other->address ||
		    (p->pub.address == other->address && p->pub.length > other->length))
			high = middle;
		else
			low = middle + 1;
	}
	regmap__list_insert(&l->peripherals, low, p);
	l->pub.peripherals = (const struct regmap_peripheral *const *)l->peripherals.at;
	l->pub.peripheral_count = l->peripherals.count;
}

static int put_peripheral(struct layout *l, const struct regmap_peripheral *from, bool is_ours,
                          struct regmap_error *error)
{
	struct layout_peripheral *p = copy_peripheral(l, from);
	int err = 0;

	if (!p || regmap__list_reserve(l, &l->peripherals, 1) ||
	    regmap__list_reserve(l, &p->registers, from->register_count) ||
	    regmap__names_reserve(&l->names, 1))
		return out_of_memory(error);
	if (regmap__names_add(&l->names, NAME_PERIPHERAL, NULL, p))
		return regmap__layout_wrong(
			error, -EEXIST, &from->source,
			"peripheral \"%s\" is there already: give it another name", from->name);
	for (size_t i = 0; i < from->register_count && !err; i++)
		err = put_register(l, p, from->registers[i], is_ours, error);
	if (!err)
		place_peripheral(l, p);
	return err;
}

static int add_peripheral(struct layout *l, const struct regmap_peripheral *peripheral,
                          bool is_ours, struct regmap_error *error)
{
	size_t names;
	int err = check_peripheral(peripheral, error);

	if (err)
		return err;
	regmap__layout_unfinish(l);
	names = l->names.count;
	err = put_peripheral(l, peripheral, is_ours, error);
	if (err)
		regmap__names_cut(&l->names, names);
	return err;
}

int regmap__layout_adopt_peripheral(struct layout *l, const struct regmap_peripheral *peripheral,
                                    struct regmap_error *error)
{
	return add_peripheral(l, peripheral, true, error);
}

int regmap_layout_add_peripheral(struct regmap_layout *layout,
                                 const struct regmap_peripheral *peripheral,
                                 struct regmap_error *error)
{
	if (!layout || !peripheral)
		return WRONG(error, NULL, "a layout and a peripheral are needed");
	return add_peripheral(layout_of(layout), peripheral, false, error);
}

/* ---- spaces, regions ---- */

static bool is_space(const struct layout *l, const char *name)
{
	return regmap__names_find(&l->names, NAME_SPACE, NULL, name, strlen(name), true);
}

int regmap_layout_add_space(struct regmap_layout *layout, const struct regmap_space *space,
                            struct regmap_error *error)
{
	struct layout *l = layout_of(layout);
	struct regmap_space *s;

	if (!l || !space)
		return WRONG(error, NULL, "a layout and an address space are needed");
	if (!space->name || !space->name[0])
		return WRONG(error, NULL, "an address space has no name: give it one");
	if (is_space(l, space->name))
		return regmap__layout_wrong(
			error, -EEXIST, NULL,
			"address space \"%s\" is there already: give it another name", space->name);
	regmap__layout_unfinish(l);
	s = regmap__layout_alloc(l, sizeof(*s));
	if (!s || regmap__list_reserve(l, &l->spaces, 1) || regmap__names_reserve(&l->names, 1))
		return out_of_memory(error);
	*s = *space;
	if (!own(l, &s->name) || !own(l, &s->description))
		return out_of_memory(error);
	regmap__names_add(&l->names, NAME_SPACE, NULL, s);
	regmap__list_insert(&l->spaces, l->spaces.count, s);
	l->pub.spaces = (const struct regmap_space *const *)l->spaces.at;
	l->pub.space_count = l->spaces.count;
	return 0;
}

static struct layout_region *copy_region(struct layout *l, const struct regmap_region *from)
{
	struct layout_region *r = regmap__layout_alloc(l, sizeof(*r));
	struct regmap_flash_sector *sectors;

	sectors = regmap__layout_alloc(l, from->sector_count * sizeof(*sectors));
	if (!r || !sectors)
		return NULL;
	r->pub = *from;
	r->pub.sectors = sectors;
	if (from->sector_count)
		memcpy(sectors, from->sectors, from->sector_count * sizeof(*sectors));
	if (!own(l, &r->pub.name) || !own(l, &r->pub.description) || !own(l, &r->pub.space) ||
	    !own(l, &r->pub.device) || !own(l, &r->pub.content) || !own(l, &r->pub.program_if) ||
	    !own_source(l, &r->pub.source))
		return NULL;
	return r;
}

/* The regions that @r would lie in and those that would lie in it are in order, or it crosses one. */
static const struct regmap_region *crossed(const struct regmap_layout *layout,
                                           const struct regmap_region *r)
{
	uint64_t first = r->address, last = region_last(r), end;
	const struct layout_region *at;
	size_t i;

	/* Outwards they only grow. */
	at = region_of(regmap__layout_region_at(layout, first, &end));
	for (; at && region_last(&at->pub) < last; at = at->parent)
		if (at->pub.address < first)
			return &at->pub;
	at = region_of(regmap__layout_region_at(layout, last, &end));
	for (; at && at->pub.address > first; at = at->parent)
		if (region_last(&at->pub) > last)
			return &at->pub;
	i = regmap__layout_region_from(layout, first);
	for (; i < layout->region_count && layout->regions[i]->address == first; i++)
		if (layout->regions[i]->length == r->length)
			return layout->regions[i];
	return NULL;
}

/* Those that have been children of its parent and lie in it are its children now. */
static void adopt(struct layout *l, size_t index)
{
	struct layout_region *r = (struct layout_region *)l->regions.at[index];
	uint64_t last = region_last(&r->pub);

	for (size_t i = index + 1; i < l->regions.count;) {
		struct layout_region *child = (struct layout_region *)l->regions.at[i];

		if (child->pub.address > last)
			return;
		child->parent = r;
		if (region_last(&child->pub) == UINT64_MAX)
			return;
		i = regmap__layout_region_from(&l->pub, region_last(&child->pub) + 1);
	}
}

static int say_crossed(const struct regmap_region *r, const struct regmap_region *other,
                       struct regmap_error *error)
{
	bool same = other->address == r->address && other->length == r->length;
	char at[300];

	return regmap__layout_wrong(error, -EEXIST, &r->source,
	                            "region \"%s\" (0x%" PRIx64 "-0x%" PRIx64
	                            ") %s region \"%s\"%s (0x%" PRIx64 "-0x%" PRIx64
	                            "): keep them apart, or put one wholly inside the other",
	                            r->name, r->address, region_last(r),
	                            same ? "overlaps exactly" : "overlaps", other->name,
	                            place_of(&other->source, at), other->address,
	                            region_last(other));
}

static const struct layout_region *parent_of(const struct regmap_layout *layout,
                                             const struct regmap_region *r)
{
	uint64_t end;
	const struct layout_region *p = region_of(
		regmap__layout_region_at(layout, r->address, &end));

	while (p && region_last(&p->pub) < region_last(r))
		p = p->parent;
	return p;
}

int regmap__layout_place_region(struct layout *l, struct layout_region *r,
                                struct regmap_error *error)
{
	const struct regmap_region *other = crossed(&l->pub, &r->pub);
	size_t i = regmap__layout_region_from(&l->pub, r->pub.address);

	if (other)
		return say_crossed(&r->pub, other, error);
	if (regmap__list_reserve(l, &l->regions, 1))
		return out_of_memory(error);
	while (i < l->regions.count && l->pub.regions[i]->address == r->pub.address &&
	       l->pub.regions[i]->length > r->pub.length)
		i++;
	r->parent = parent_of(&l->pub, &r->pub);
	regmap__list_insert(&l->regions, i, r);
	l->pub.regions = (const struct regmap_region *const *)l->regions.at;
	l->pub.region_count = l->regions.count;
	adopt(l, i);
	return 0;
}

int regmap_layout_add_region(struct regmap_layout *layout, const struct regmap_region *region,
                             struct regmap_error *error)
{
	struct layout *l = layout_of(layout);
	struct layout_region *r;
	size_t names;
	int err;

	if (!l || !region)
		return WRONG(error, NULL, "a layout and a region are needed");
	err = check_region(region, error);
	if (err)
		return err;
	if (region->space && region->space[0] && !is_space(l, region->space))
		return regmap__layout_wrong(error, -ENOENT, &region->source,
		                            "region \"%s\": there is no address space \"%s\"",
		                            region->name, region->space);
	regmap__layout_unfinish(l);
	names = l->names.count;
	r = copy_region(l, region);
	if (!r || regmap__names_reserve(&l->names, 1))
		return out_of_memory(error);
	if (regmap__names_add(&l->names, NAME_REGION, NULL, r))
		return regmap__layout_wrong(error, -EEXIST, &region->source,
		                            "region \"%s\" is there already: give it another name",
		                            region->name);
	err = regmap__layout_place_region(l, r, error);
	if (err)
		regmap__names_cut(&l->names, names);
	return err;
}

/* ---- rules ---- */

/* "", a peripheral, one of its registers, one of its fields. */
static bool is_scope(const struct layout *l, const char *scope)
{
	const char *dot = strchrnul(scope, '.'), *end;
	const void *thing;

	if (!scope[0])
		return true;
	thing = regmap__names_find(&l->names, NAME_PERIPHERAL, NULL, scope, (size_t)(dot - scope),
	                           true);
	if (!thing || !*dot)
		return thing;
	end = strchrnul(dot + 1, '.');
	thing = regmap__names_find(&l->names, NAME_REGISTER, thing, dot + 1,
	                           (size_t)(end - dot - 1), true);
	if (!thing || !*end)
		return thing;
	return regmap__names_find(&l->names, NAME_FIELD, thing, end + 1, strlen(end + 1), true);
}

int regmap__layout_add_rule(struct layout *l, const char *scope, const char *text,
                            const struct regmap_source *source, struct regmap_error *error)
{
	struct regmap_rule *r;

	if (!is_scope(l, scope))
		return regmap__layout_wrong(
			error, -ENOENT, source,
			"a rule of \"%s\": there is no such peripheral or register", scope);
	regmap__layout_unfinish(l);
	r = regmap__layout_alloc(l, sizeof(*r));
	if (!r || regmap__list_reserve(l, &l->rules, 1))
		return out_of_memory(error);
	r->text = text;
	r->scope = scope;
	if (source)
		r->source = *source;
	if (!own(l, &r->text) || !own(l, &r->scope) || !own_source(l, &r->source))
		return out_of_memory(error);
	regmap__list_insert(&l->rules, l->rules.count, r);
	l->pub.rules = (const struct regmap_rule *const *)l->rules.at;
	l->pub.rule_count = l->rules.count;
	return 0;
}

int regmap_layout_add_rule(struct regmap_layout *layout, const char *scope, const char *rule,
                           struct regmap_error *error)
{
	if (!layout || !rule || !rule[0])
		return WRONG(error, NULL, "a layout and a rule are needed");
	return regmap__layout_add_rule(layout_of(layout), scope ? scope : "", rule, NULL, error);
}
