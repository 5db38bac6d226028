/* SPDX-License-Identifier: MIT */
#include "witness.h"

#include <string.h>

#include "../src/stray.h"
#include "out.h"

#include "../src/sigsafe.h"

enum { NEAR = 16 << 20 }; /* bytes */

struct witness regmap__witness;

/* --- what is around --- */

/* Something that has a name and a place. */
struct thing {
	const char *name;
	uint64_t first, last;
};

struct around {
	struct thing below, above; /* name NULL: nothing */
};

static bool is_smaller(const struct thing *a, const struct thing *b)
{
	return a->last - a->first < b->last - b->first;
}

/* Of things at the same distance the innermost counts: it says most. */
static void consider(struct around *around, uint64_t address, const struct thing *thing)
{
	struct thing *below = &around->below, *above = &around->above;

	if (thing->last < address && (!below->name || thing->last > below->last ||
	                              (thing->last == below->last && is_smaller(thing, below))))
		*below = *thing;
	if (thing->first > address && (!above->name || thing->first < above->first ||
	                               (thing->first == above->first && is_smaller(thing, above))))
		*above = *thing;
}

/* In addresses of the process. */
static struct thing place_thing(const char *name, uint64_t first, uint64_t length)
{
	return (struct thing){name, first, first + (length - 1)};
}

static void look_around(const struct regmap_layout *layout, uint64_t offset, uint64_t address,
                        struct around *around)
{
	struct thing thing;

	memset(around, 0, sizeof(*around));
	for (size_t i = 0; i < layout->region_count; i++) {
		const struct regmap_region *r = layout->regions[i];

		thing = place_thing(r->name, r->address + offset, r->length);
		consider(around, address, &thing);
	}
	for (size_t i = 0; i < layout->peripheral_count; i++) {
		const struct regmap_peripheral *p = layout->peripherals[i];

		thing = place_thing(p->name, p->address + offset, p->length);
		consider(around, address, &thing);
	}
}

static void put_size(struct text *t, uint64_t bytes)
{
	static const char *const unit[] = {" bytes", " KB", " MB", " GB", " TB"};
	unsigned i = 0;

	while (i < 4 && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	put_decimal(t, bytes);
	put(t, unit[i]);
}

static void put_nothing(struct text *t, const struct regmap_layout *layout, uint64_t offset,
                        uint64_t address)
{
	struct around around;

	look_around(layout, offset, address, &around);
	put(t, " is nothing");
	if (around.below.name) {
		put(t, ": ");
		put_hex(t, address - around.below.last - 1);
		put(t, " behind ");
		put(t, around.below.name);
		put(t, "'s ");
		put_size(t, around.below.last - around.below.first + 1);
	}
	if (around.above.name) {
		put(t, around.below.name ? "; the next is " : ": the first is ");
		put(t, around.above.name);
		put(t, " at ");
		put_address(t, around.above.first);
	}
}

static bool is_something(const struct regmap_layout *layout, uint64_t guest)
{
	struct regmap_place place;

	return !regmap_layout_find_at(layout, guest, &place);
}

void regmap__witness_describe(const struct regmap_layout *layout, uint64_t offset, uint64_t address,
                              char *to, size_t size)
{
	struct text t = {to, to + size - 1};
	uint64_t guest = address - offset;
	char name[128];

	put(&t, layout->name);
	put(&t, ": ");
	put_address(&t, address);
	if (is_something(layout, guest)) {
		put(&t, " is ");
		put(&t, regmap_layout_describe(layout, guest, name, sizeof(name)));
	} else {
		put_nothing(&t, layout, offset, address);
	}
	*t.at = 0;
}

/* --- what the trap asks --- */

static bool is_near(uint64_t address)
{
	const struct witness *w = &regmap__witness;
	struct around around;

	if (is_something(w->layout, address - w->offset))
		return true;
	look_around(w->layout, w->offset, address, &around);
	return (around.below.name && address - around.below.last <= NEAR) ||
	       (around.above.name && around.above.first - address <= NEAR);
}

/* A program that handles faults far away from the device does that for reasons of its own. */
static bool minds(uint64_t address, bool handled)
{
	return !handled || is_near(address);
}

static bool describe(uint64_t address, char *to, size_t size)
{
	regmap__witness_describe(regmap__witness.layout, regmap__witness.offset, address, to, size);
	return true;
}

/* The trace has it, too. */
static void note(uint64_t rip, const struct em_range *range)
{
	const struct witness *w = &regmap__witness;
	unsigned bytes = range->access ? (unsigned)range->length : 0;
	char words[192];

	if (!w->is_traced)
		return;
	describe(range->address, words, sizeof(words));
	regmap__trace_stray(&w->trace, rip, range->address - w->offset, bytes,
	                    range->access & EM_WRITE, words);
}

static const struct stray_expert expert = {
	.label = "device",
	.minds = minds,
	.describe = describe,
	.note = note,
	.last_words = regmap__witness_end,
};

/* --- what the device tells --- */

static void watch(void *ctx, struct regmap_device *device,
                  const struct regmap_device_access *access)
{
	struct witness *w = ctx;
	struct tally_row *row = regmap__tally_count(w->tally, access);

	(void)device;
	if (w->is_traced)
		regmap__trace_access(&w->trace, access, row);
}

int regmap__witness_begin(void)
{
	struct witness *w = &regmap__witness;

	w->process = sys_call(SYS_getpid, 0, 0, 0, 0);
	regmap__stray_ask(&expert);
	if (!w->tally)
		return 0;
	w->trace.tally = w->tally;
	w->trace.layout = w->layout;
	return regmap_device_watch(w->device, watch, w);
}

static bool was_anything(const struct tally *tally)
{
	for (unsigned i = 0; i < TALLY_ROWS; i++)
		if (atomic_load_explicit(&tally->row[i].key, memory_order_relaxed))
			return true;
	return false;
}

void regmap__witness_end(void)
{
	static atomic_bool told;
	struct witness *w = &regmap__witness;

	if (!w->is_told || sys_call(SYS_getpid, 0, 0, 0, 0) != w->process ||
	    (!w->tell_always && !was_anything(w->tally)) ||
	    !regmap__trace_is_ours(w->tell_fd, w->tell_file) || atomic_exchange(&told, true))
		return;
	regmap__tally_print(w->tally, w->layout, w->program, w->tell_fd, w->tell_json);
}
