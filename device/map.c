/* SPDX-License-Identifier: MIT */
/* Devices in the program's own address space: an alias for each region that lies in no other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../describe/layout.h"
#include "../src/maps.h"
#include "../src/reserve.h"
#include "../src/shadow.h"
#include "../src/window.h"
#include "memory.h"

enum { PAGE = 4096, WHO = 160 };

/* ---- who is in the way ---- */

static bool name_window(uint64_t first, uint64_t last, char who[WHO])
{
	struct window_info near[2];
	unsigned n = regmap__window_near(first, near);

	for (unsigned i = 0; i < n; i++)
		if (near[i].guest <= last && near[i].last >= first) {
			snprintf(who, WHO, "window \"%s\" (0x%llx-0x%llx)", near[i].name,
			         (unsigned long long)near[i].guest,
			         (unsigned long long)near[i].last);
			return true;
		}
	return false;
}

/* @reserved: also what has no rights and no name, as reservations of ours beside it may have. */
static bool name_mapping(uint64_t first, uint64_t last, bool reserved, char who[WHO])
{
	char text[MAPS_TEXT];
	struct mapping m;
	struct maps maps;
	bool found = false;

	if (!regmap__maps_open(&maps, text))
		return false;
	while (!found && regmap__maps_next(&maps, &m)) {
		found = m.start <= (last | (PAGE - 1)) && m.end - 1 >= (first & -(uint64_t)PAGE) &&
		        (reserved || m.rights || *m.name);
		if (found)
			snprintf(who, WHO, "%.100s (0x%llx-0x%llx)",
			         *m.name ? m.name :
			         regmap__shadow_is_at(m.end - 1) ?
			                   "AddressSanitizer's shadow memory" :
			                   "memory of the program's",
			         (unsigned long long)m.start, (unsigned long long)m.end - 1);
	}
	regmap__maps_close(&maps);
	return found;
}

static int say_why(const struct part *part, uint64_t offset, int err, struct regmap_error *error)
{
	const struct regmap_region *r = part->region;
	uint64_t first = r->address + offset, last = first + (r->length - 1);
	char who[WHO] = "";
	const char *what = regmap_strerror(err);

	if (err == -EEXIST && name_window(first, last, who))
		what = "a window is there already";
	else if (err == -EADDRINUSE &&
	         (name_mapping(first, last, false, who) || name_mapping(first, last, true, who)))
		what = "that is in use";
	else if (err == -EINVAL)
		what = "it would go beyond the last address: choose another offset";
	return regmap__layout_wrong(error, err, &r->source,
	                            "region \"%s\" can't be mapped at 0x%llx-0x%llx: %s%s%s%s",
	                            r->name, (unsigned long long)first, (unsigned long long)last,
	                            what, *who ? " by " : "", who,
	                            *who ? ": map the device at another offset" : "");
}

/* ---- mapping ---- */

static int map_length(struct memory *m, const struct part *part, uint64_t offset, uint64_t length)
{
	struct mapped *to = &m->mapped[m->mapped_count];
	struct regmap_config c = {
		.size = sizeof(c),
		.name = part->region->name,
		.guest = part->region->address + offset,
		.length = length,
		.access = REGMAP_READ | REGMAP_WRITE, /* the original says what is allowed */
		.backing = REGMAP_ALIAS,
		.target = m->device->base + part->region->address,
	};
	int err;

	atomic_fetch_add(&regmap__reserve_silence, 1); /* say_why() says it */
	err = regmap_map(&c, &to->window);
	atomic_fetch_sub(&regmap__reserve_silence, 1);
	if (err)
		return err;
	to->part = part;
	to->offset = offset;
	m->mapped_count++;
	return 0;
}

/* What AddressSanitizer left no room for. */
struct lost {
	const struct regmap_region *first;
	unsigned count;
};

static void lose(struct lost *lost, const struct regmap_region *region)
{
	if (!lost->count++)
		lost->first = region;
}

/*
 * The sanitizer's shadow lies from 0x7fff7000 on: large regions end there, and what is on an external bus,
 * where most boards have nothing, is left out.
 */
static int map_part(struct memory *m, const struct part *part, uint64_t offset, struct lost *lost)
{
	const struct regmap_region *r = part->region;
	uint64_t first = r->address + offset, shadow;
	int err = map_length(m, part, offset, r->length);

	if (err != -EADDRINUSE || !regmap__shadow_exists())
		return err;
	if (regmap__shadow_begins(first, first + (r->length - 1), &shadow))
		err = map_length(m, part, offset, shadow - first);
	else if (r->type == REGMAP_REGION_EXTERNAL)
		err = 0;
	if (!err)
		lose(lost, r);
	return err;
}

static void say_what_is_lost(const struct lost *lost)
{
	const char *wish = getenv("REGMAP_REPORT");

	if (!lost->count || (wish && !strcmp(wish, "0")))
		return;
	dprintf(STDERR_FILENO,
	        "regmap: AddressSanitizer's shadow memory is where region \"%s\"%s would be, all or in "
	        "part: an access there is none of the device\n",
	        lost->first->name, lost->count > 1 ? " and others" : "");
}

static void unmap_from(struct memory *m, size_t first)
{
	int err;

	while (m->mapped_count > first) {
		do
			err = regmap_unmap(m->mapped[m->mapped_count - 1].window);
		while (err == -EDEADLK);
		m->mapped_count--;
	}
}

static bool make_room(struct memory *m)
{
	size_t room = m->mapped_count + m->count;
	struct mapped *more;

	if (room <= m->mapped_room)
		return true;
	more = realloc(m->mapped, room * sizeof(*more));
	if (!more)
		return false;
	m->mapped = more;
	m->mapped_room = room;
	return true;
}

/* The regions that are meant; a region inside of such a one comes with it. */
struct choice {
	const struct regmap_region *region; /* alone; or */
	const char *space;                  /* all of this one; or, NULL, all */
};

static bool is_meant(const struct choice *choice, const struct part *part)
{
	if (choice->region)
		return part->region == choice->region;
	return !choice->space || !strcmp(part->region->space, choice->space);
}

static bool is_wanted(const struct choice *choice, const struct part *part)
{
	if (!is_meant(choice, part))
		return false;
	for (part = part->parent; part; part = part->parent)
		if (is_meant(choice, part))
			return false;
	return true;
}

static int map_chosen(struct memory *m, const struct choice *choice, uint64_t offset,
                      struct regmap_error *error)
{
	size_t before = m->mapped_count;
	struct lost lost = {NULL, 0};
	int saved = errno, err = 0;

	if (!make_room(m))
		err = regmap__layout_wrong(error, -ENOMEM, NULL, "out of memory");
	for (size_t i = 0; i < 2 * m->count && !err; i++) {
		const struct part *part = &m->parts[i % m->count];

		/* external ones last: they give way */
		if (!is_wanted(choice, part) ||
		    (part->region->type == REGMAP_REGION_EXTERNAL) != (i >= m->count))
			continue;
		err = map_part(m, part, offset, &lost);
		if (err)
			say_why(part, offset, err, error);
	}
	if (err)
		unmap_from(m, before);
	else
		say_what_is_lost(&lost);
	errno = saved;
	return err;
}

int regmap_device_map(struct regmap_device *device, uint64_t offset, struct regmap_error *error)
{
	static const struct choice all;

	return map_chosen(device->memory, &all, offset, error);
}

static bool is_space(const struct regmap_layout *layout, const char *name, const char **space)
{
	for (size_t i = 0; i < layout->space_count; i++) {
		*space = layout->spaces[i]->name;
		if (!strcmp(*space, name))
			return true;
	}
	return false;
}

int regmap_device_map_one(struct regmap_device *device, const char *name, uint64_t offset,
                          struct regmap_error *error)
{
	struct choice choice = {NULL, NULL};

	if (!name)
		return regmap__layout_wrong(error, -EINVAL, NULL, "no name");
	if (!is_space(device->layout, name, &choice.space)) {
		choice.space = NULL;
		choice.region = regmap_device_region_named(device, name);
		if (!choice.region)
			return regmap__layout_wrong(
				error, -ENOENT, NULL,
				"\"%s\" has no region or address space \"%s\": see "
				"regmap_device_print_map()",
				device->layout->name, name);
	}
	return map_chosen(device->memory, &choice, offset, error);
}

int regmap_device_unmap(struct regmap_device *device)
{
	int saved = errno;

	unmap_from(device->memory, 0);
	errno = saved;
	return 0;
}
