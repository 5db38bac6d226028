/* SPDX-License-Identifier: MIT */
/* Registers by name: values from outside and inside, models, who watches, counts. */
#include <errno.h>
#include <string.h>

#include "memory.h"
#include "registers_access.h"

static uint64_t ones(unsigned bits)
{
	return ~0ull >> (64 - bits);
}

/* A register or field: where its bits are. */
struct spot {
	const struct regmap_register *reg;
	uint64_t address; /* of the register */
	unsigned lsb, width;
};

static int find_spot(const struct regmap_device *device, const char *name, struct spot *to)
{
	struct regmap_place place;
	int err = name ? regmap_layout_find(device->layout, name, &place) : -EINVAL;

	if (err)
		return err;
	if (!place.reg)
		return -ENOENT;
	to->reg = place.reg;
	to->address = place.peripheral->address + place.reg->offset;
	to->lsb = place.field ? place.field->lsb : 0;
	to->width = place.field ? place.field->width : 8 * place.reg->width;
	return 0;
}

/* --- as the bus sees it --- */

int regmap_device_get(struct regmap_device *device, const char *name, uint64_t *value)
{
	uint64_t got = 0;
	struct spot spot;
	int err = find_spot(device, name, &spot);

	if (!err)
		err = regmap_device_read(device, spot.address, &got, spot.reg->width);
	if (!err)
		*value = got >> spot.lsb & ones(spot.width);
	return err;
}

int regmap_device_set(struct regmap_device *device, const char *name, uint64_t value)
{
	uint64_t now = 0;
	struct spot spot;
	int err = find_spot(device, name, &spot);

	if (err)
		return err;
	if (value & ~ones(spot.width))
		return -ERANGE;
	if (spot.width < 8 * spot.reg->width)
		err = regmap_device_read(device, spot.address, &now, spot.reg->width);
	if (err)
		return err;
	now = (now & ~(ones(spot.width) << spot.lsb)) | value << spot.lsb;
	return regmap_device_write(device, spot.address, &now, spot.reg->width);
}

/* --- from inside --- */

/* The bits of a spot in one of the two cells that it may lie in. */
static bool part_of(const struct spot *s, unsigned part, uint64_t *address, uint64_t *mask,
                    int *shift)
{
	const struct regmap_peripheral base = {.address = s->address - s->reg->offset};
	const struct rule_place place = {&base, s->reg, s->lsb, s->width};

	return regmap__rule_part(&place, part, address, mask, shift);
}

/* A register in memory, which some regions of peripherals have inside. */
static int host_of(struct regmap_device *device, const struct spot *s, void **host)
{
	return regmap_device_translate(device, s->address, host);
}

static int peek_memory(struct regmap_device *device, const struct spot *s, uint64_t *value)
{
	uint64_t got = 0;
	void *host;
	int err = host_of(device, s, &host);

	if (err)
		return err;
	memcpy(&got, host, s->reg->width);
	*value = got >> s->lsb & ones(s->width);
	return 0;
}

static int poke_memory(struct regmap_device *device, const struct spot *s, uint64_t value)
{
	uint64_t now = 0;
	void *host;
	int err = host_of(device, s, &host);

	if (err)
		return err;
	memcpy(&now, host, s->reg->width);
	now = (now & ~(ones(s->width) << s->lsb)) | value << s->lsb;
	memcpy(host, &now, s->reg->width);
	return 0;
}

static struct area *area_of(const struct regmap_device *device, const struct spot *s)
{
	struct area *area = regmap__regs_area_at(device->regs, s->address);

	return area && area->bytes ? area : NULL;
}

int regmap_device_peek(struct regmap_device *device, const char *name, uint64_t *value)
{
	uint64_t address, mask, got = 0;
	struct area *area;
	struct spot spot;
	int err = find_spot(device, name, &spot), shift;

	if (err)
		return err;
	area = area_of(device, &spot);
	if (!area)
		return peek_memory(device, &spot, value);
	for (unsigned part = 0; part < 2; part++) {
		if (!part_of(&spot, part, &address, &mask, &shift))
			continue;
		mask &= atomic_load(stored_at(area, address));
		got |= shift >= 0 ? mask >> shift : mask << -shift;
	}
	*value = got;
	return 0;
}

static void poke_cell(struct regs *r, struct cell *c, uint64_t value, uint64_t mask)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;

	if (!c->has_rules) {
		stored_change(c->stored, value, mask);
		return;
	}
	regmap__regs_lock(r, &hold);
	value = stored_change(c->stored, value, mask) ^ atomic_load(c->stored);
	regmap__rules_changed(r, c, value);
}

int regmap_device_poke(struct regmap_device *device, const char *name, uint64_t value)
{
	uint64_t address, mask;
	struct area *area;
	struct spot spot;
	int err = find_spot(device, name, &spot), shift;

	if (err)
		return err;
	if (value & ~ones(spot.width))
		return -ERANGE;
	area = area_of(device, &spot);
	if (!area)
		return poke_memory(device, &spot, value);
	for (unsigned part = 0; part < 2; part++)
		if (part_of(&spot, part, &address, &mask, &shift))
			poke_cell(device->regs, cell_at(device->regs, area, address),
			          shift >= 0 ? value << shift : value >> -shift, mask);
	return 0;
}

/* --- models --- */

static struct reg *find_reg(const struct regs *r, const struct regmap_register *reg,
                            uint64_t address)
{
	const struct area *area = regmap__regs_area_at(r, address);
	struct cell *c = area && area->bytes ? cell_at(r, area, address) : NULL;

	for (unsigned i = 0; c && i < c->reg_count; i++)
		if (c->regs[i].reg == reg && c->regs[i].address == address)
			return &c->regs[i];
	return NULL;
}

static struct attached *find_attached(const struct regmap_device *device,
                                      const struct regmap_place *place)
{
	struct reg *reg;

	if (place->field || !place->peripheral)
		return NULL;
	if (!place->reg)
		return &regmap__regs_unit_of(device->regs, place->peripheral)->model;
	reg = find_reg(device->regs, place->reg, place->peripheral->address + place->reg->offset);
	return reg ? reg->model : NULL;
}

static void attach(struct regs *r, struct attached *to, const struct regmap_model *model, void *ctx)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;
	bool was_on;

	regmap__regs_lock(r, &hold);
	was_on = atomic_load(&to->is_on);
	if (model) {
		memcpy(&to->model, model, sizeof(*model));
		to->ctx = ctx;
	}
	atomic_store(&to->is_on, model != NULL);
	if (model && !was_on)
		atomic_fetch_add(&r->attention, 1);
	else if (!model && was_on)
		atomic_fetch_sub(&r->attention, 1);
}

int regmap_device_attach(struct regmap_device *device, const char *name,
                         const struct regmap_model *model, void *ctx)
{
	struct regmap_place place;
	struct attached *to;
	int err;

	if (!name || (model && model->size < sizeof(*model)))
		return -EINVAL;
	err = regmap_layout_find(device->layout, name, &place);
	if (err)
		return err;
	to = find_attached(device, &place);
	if (!to)
		return -EINVAL;
	err = model ? regmap__memory_leave_general(device->memory) : 0;
	if (err)
		return err;
	attach(device->regs, to, model, ctx);
	if (!model)
		regmap__memory_enter_general(device->memory);
	return 0;
}

static void set_watch(struct regs *r, regmap_watch_fn watch, void *ctx)
{
	struct hold hold __attribute__((cleanup(regmap__regs_unlock))) = NOT_HELD;

	regmap__regs_lock(r, &hold);
	if (watch && !r->watch)
		atomic_fetch_add(&r->attention, 1);
	else if (!watch && r->watch)
		atomic_fetch_sub(&r->attention, 1);
	r->watch = watch;
	r->watch_ctx = ctx;
}

int regmap_device_watch(struct regmap_device *device, regmap_watch_fn watch, void *ctx)
{
	int err = watch ? regmap__memory_leave_general(device->memory) : 0;

	if (err)
		return err;
	set_watch(device->regs, watch, ctx);
	if (!watch)
		regmap__memory_enter_general(device->memory);
	return 0;
}

/* --- counts --- */

struct sum {
	uint64_t reads, writes;
};

static void add(struct sum *to, struct counts *from)
{
	to->reads += atomic_load_explicit(&from->reads, memory_order_relaxed);
	to->writes += atomic_load_explicit(&from->writes, memory_order_relaxed);
}

static void add_peripheral(struct sum *sum, const struct regs *r, struct unit *unit)
{
	add(sum, &unit->rest);
	for (size_t i = 0; i < r->count_count; i++)
		if (r->models[i].unit == unit)
			add(sum, &r->counts[i]);
}

static void add_place(struct sum *sum, const struct regs *r, const struct regmap_place *place)
{
	struct reg *reg;

	if (place->reg) {
		reg = find_reg(r, place->reg, place->peripheral->address + place->reg->offset);
		if (reg)
			add(sum, reg->counts);
	} else if (place->peripheral) {
		add_peripheral(sum, r, regmap__regs_unit_of(r, place->peripheral));
	} else {
		add(sum, &regmap__regs_area(r, place->region)->counts);
	}
}

int regmap_device_stats_of(struct regmap_device *device, const char *name, uint64_t *reads,
                           uint64_t *writes)
{
	struct regmap_place place;
	struct sum sum = {0, 0};
	int err = name ? regmap_layout_find(device->layout, name, &place) : -EINVAL;

	if (err)
		return err;
	add_place(&sum, device->regs, &place);
	if (reads)
		*reads = sum.reads;
	if (writes)
		*writes = sum.writes;
	return 0;
}
