/* SPDX-License-Identifier: MIT */
/* Devices: made, freed, read and written by calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../describe/layout.h"
#include "../src/backing.h"
#include "memory.h"
#include "registers.h"

/* ---- address spaces of their own ---- */

static _Atomic uint64_t slots; /* a bit for each that is taken */

static int take_slot(unsigned *slot)
{
	uint64_t used = atomic_load(&slots);

	do {
		if (!~used)
			return -EMFILE;
		*slot = (unsigned)__builtin_ctzll(~used);
	} while (!atomic_compare_exchange_weak(&slots, &used, used | 1ULL << *slot));
	return 0;
}

static void give_slot(unsigned slot)
{
	atomic_fetch_and(&slots, ~(1ULL << slot));
}

/* ---- made and freed ---- */

static int fill_device(struct regmap_device *d, struct regmap_error *error)
{
	int err = regmap__memory_new(d, &d->memory, error);

	if (!err)
		err = regmap__regs_new(d, &d->regs, error);
	if (!err)
		regmap__memory_link(d->memory);
	if (!err)
		err = regmap__content_load(d, error);
	return err;
}

/* Windows first: from then on nothing comes to the registers. */
void regmap_device_free(struct regmap_device *device)
{
	if (!device)
		return;
	if (device->memory)
		regmap__memory_unmap(device->memory);
	if (device->regs)
		regmap__regs_free(device->regs);
	if (device->memory)
		regmap__memory_free(device->memory);
	give_slot(device->slot);
	regmap_layout_free(device->layout);
	free(device);
}

int regmap__device_make(struct layout *layout, struct regmap_device **out,
                        struct regmap_error *error)
{
	struct regmap_device *d = NULL;
	unsigned slot;
	int err = take_slot(&slot);

	if (err)
		regmap__layout_wrong(error, err, NULL,
		                     "there are %d devices, as many as there can be: free one",
		                     REGMAP_DEVICES);
	else
		d = calloc(1, sizeof(*d));
	if (!d) {
		if (!err) {
			give_slot(slot);
			err = regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
		}
		regmap_layout_free(&layout->pub);
		return err;
	}
	d->layout = &layout->pub;
	d->slot = slot;
	d->base = (slot + 1ULL) << SPACE_BITS;
	err = fill_device(d, error);
	if (err)
		regmap_device_free(d);
	else
		*out = d;
	return err;
}

int regmap_device_from_layout(const struct regmap_layout *layout, struct regmap_device **out,
                              struct regmap_error *error)
{
	int saved = errno, err;
	struct layout *copy;

	if (!layout || !out)
		return regmap__layout_wrong(error, -EINVAL, NULL,
		                            "no layout, or no place for the device");
	err = regmap__layout_copy(layout, &copy);
	if (err) {
		regmap__layout_wrong(error, err, NULL, "out of memory");
	} else {
		err = regmap__layout_finish(copy, error);
		if (err)
			regmap_layout_free(&copy->pub);
		else
			err = regmap__device_make(copy, out, error);
	}
	errno = saved;
	return err;
}

uint64_t regmap_device_base(const struct regmap_device *device)
{
	return device->base;
}

const struct regmap_layout *regmap_device_layout(const struct regmap_device *device)
{
	return device->layout;
}

/* ---- read and written ---- */

/* Memory that regmap_read() copies from, so that nobody else counts it. */
static bool is_counted_here(const struct part *part, bool is_read)
{
	return part_has_memory(part) && !part->face && (is_read || part->kind == PART_RAM);
}

static void count_calls(const struct memory *m, uint64_t guest, size_t length, bool is_read)
{
	uint64_t end = guest + (length - 1), last;

	for (;; guest = last + 1) {
		const struct part *part = regmap__part_at(m, guest, &last);

		if (part && is_counted_here(part, is_read))
			atomic_fetch_add_explicit(is_read ? part->reads : part->writes, 1,
			                          memory_order_relaxed);
		if (last >= end)
			return;
	}
}

static bool fits_space(uint64_t guest, size_t length)
{
	uint64_t end = 1ULL << SPACE_BITS;

	return guest < end && length <= end - guest;
}

int regmap_device_read(struct regmap_device *device, uint64_t guest, void *to, size_t length)
{
	int err;

	if (!fits_space(guest, length))
		return -EFAULT;
	err = regmap_read(device->base + guest, to, length);
	if (!err && length)
		count_calls(device->memory, guest, length, true);
	return err;
}

int regmap_device_write(struct regmap_device *device, uint64_t guest, const void *from,
                        size_t length)
{
	int err;

	if (!fits_space(guest, length))
		return -EFAULT;
	err = regmap_write(device->base + guest, from, length);
	if (!err && length)
		count_calls(device->memory, guest, length, false);
	return err;
}

/* ---- where things are ---- */

/* Its memory goes the other way after a word. */
static bool is_reversed(const struct memory *m, uint64_t guest)
{
	const struct part *part;
	uint64_t last;

	for (unsigned depth = 0; depth < MAX_ALIASES; depth++) {
		part = regmap__part_at(m, guest, &last);
		if (!part || part->kind != PART_ALIAS)
			return part && part->kind == PART_REVERSED;
		guest += part->region->target - part->region->address;
	}
	return false;
}

int regmap_device_translate(struct regmap_device *device, uint64_t guest, void **host)
{
	uint64_t run;
	uint8_t *at;
	int err;

	if (!host || !fits_space(guest, 1))
		return -EFAULT;
	err = is_reversed(device->memory, guest) ?
	              -ENODEV :
	              regmap__memory_host(device->memory, guest, &at, &run, NULL);
	if (!err)
		*host = at;
	return err;
}

static bool lies_in(uint64_t address, uint64_t first, uint64_t length, uint64_t *offset)
{
	*offset = address - first;
	return *offset < length;
}

static bool is_inside(const struct part *part, uint64_t address, uint64_t *guest)
{
	const struct regmap_region *r = part->region;
	uint64_t offset;
	struct block *b;

	if (part->host && lies_in(address, (uintptr_t)part->host, r->length, &offset)) {
		*guest = r->address + offset;
		return true;
	}
	for (b = part->blocks ? atomic_load(&part->touched) : NULL; b; b = b->before)
		if (lies_in(address, (uintptr_t)atomic_load(&b->host), atomic_load(&b->length),
		            &offset)) {
			*guest = atomic_load(&b->first) + offset;
			return true;
		}
	return false;
}

/* What is mapped shows whatever lies there: registers aren't memory. */
static bool is_memory(const struct memory *m, uint64_t guest)
{
	uint64_t run;
	uint8_t *host;

	return fits_space(guest, 1) && !regmap__memory_look(m, guest, &host, &run, NULL);
}

int regmap_device_translate_back(struct regmap_device *device, const void *host, uint64_t *guest)
{
	const struct memory *m = device->memory;
	uint64_t address = (uintptr_t)host, offset, found = address - device->base;

	if (!guest)
		return -EFAULT;
	for (size_t i = 0; i < m->mapped_count; i++) {
		const struct regmap_region *r = m->mapped[i].part->region;

		if (lies_in(address, r->address + m->mapped[i].offset, r->length, &offset))
			found = r->address + offset;
	}
	if (is_memory(m, found)) {
		*guest = found;
		return 0;
	}
	for (size_t i = 0; i < m->count; i++)
		if (is_inside(&m->parts[i], address, guest))
			return 0;
	return -EFAULT;
}

size_t regmap_device_region_count(const struct regmap_device *device)
{
	return device->memory->count;
}

const struct regmap_region *regmap_device_region(const struct regmap_device *device, size_t index)
{
	return index < device->memory->count ? device->memory->parts[index].region : NULL;
}

const struct regmap_region *regmap_device_region_named(const struct regmap_device *device,
                                                       const char *name)
{
	const struct regmap_region *found = NULL;

	for (size_t i = 0; name && i < device->memory->count; i++) {
		const struct regmap_region *r = device->memory->parts[i].region;

		if (!strcmp(r->name, name))
			return r;
		if (!found && !strcasecmp(r->name, name))
			found = r;
	}
	return found;
}

const struct regmap_region *regmap_device_region_at(const struct regmap_device *device,
                                                    uint64_t guest)
{
	uint64_t last;
	const struct part *part = regmap__part_at(device->memory, guest, &last);

	return part ? part->region : NULL;
}
