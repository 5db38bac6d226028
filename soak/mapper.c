/* SPDX-License-Identifier: MIT */
/* One thread maps and unmaps all day: others' windows, its own, and some inside of larger ones. */
#include <regmap/regmap.h>
#include <string.h>

#include "crew.h"

enum { RW = REGMAP_READ | REGMAP_WRITE };

static bool wrong(const char *what, uint64_t got, uint64_t want)
{
	return soak__failed(what, "the mapper's", "a window of its own", got, want);
}

static volatile uint64_t *word(uint64_t at)
{
	return (volatile uint64_t *)(uintptr_t)at;
}

/* Through the CPU, through the library, and straight: the same bytes. */
static void try_memory(uint64_t at, struct random *random)
{
	uint64_t value = soak__random(random), got = 0;
	void *host;

	*word(at) = value;
	if (regmap_read(at, &got, 8) || got != value)
		wrong("regmap_read", got, value);
	value = ~value;
	if (regmap_write(at, &value, 8) || *word(at) != value)
		wrong("regmap_write", *word(at), value);
	if (regmap_translate(at, &host) || memcmp(host, &value, 8))
		wrong("regmap_translate", 0, value);
}

static struct regmap_window *map(struct regmap_config c, struct member *self)
{
	struct regmap_window *window = NULL;
	int err;

	c.size = sizeof(c);
	c.access = RW;
	err = regmap_map(&c, &window);
	if (err)
		wrong(regmap_strerror(err), c.guest, 0);
	atomic_fetch_add(&soak__tally.maps, 1);
	self->gun->done[LIBRARY] += 3;
	return window;
}

static void unmap(struct regmap_window *window)
{
	int err = regmap_unmap(window);

	if (err)
		wrong(regmap_strerror(err), 0, 0);
	atomic_fetch_add(&soak__tally.unmaps, 1);
}

static void use_own(struct member *self)
{
	static const uint64_t spaces[] = {SOAK_MAPPER_LOW, SOAK_MAPPER_HIGH, SOAK_MAPPER_HOLE};
	static uint8_t memory[4 * REGION];
	struct random *random = &self->gun->random;
	bool host = soak__below(random, 2);
	uint64_t at = spaces[soak__below(random, 3)] + 8 * soak__below(random, 0x10000);
	uint64_t length = 8 + 8 * soak__below(random, REGION / 2 - 1);
	struct regmap_window *window, *alias;

	window = map((struct regmap_config){.name = "own",
	                                    .guest = at,
	                                    .length = length,
	                                    .backing = host ? REGMAP_HOST : REGMAP_RAM,
	                                    .flags = soak__below(random, 2) ? REGMAP_TRAP : 0,
	                                    .host = host ? memory : NULL},
	             self);
	if (!window)
		return;
	alias = map((struct regmap_config){.name = "own alias",
	                                   .guest = at + SOAK_MAPPER_SPACE,
	                                   .length = length,
	                                   .backing = REGMAP_ALIAS,
	                                   .target = at},
	            self);
	try_memory(at, random);
	try_memory(at + length - 8, random);
	try_memory(at + SOAK_MAPPER_SPACE, random);
	unmap(alias);
	unmap(window);
}

/* A window laid inside a larger one wins there, and what lay under it shows again. */
static void nest(struct member *self)
{
	static uint8_t memory[REGION];
	struct random *random = &self->gun->random;
	const struct path *path = &soak__path[2 * soak__below(random, 3)]; /* host, device, RAM */
	uint64_t at = path->guest + (uint64_t)NESTING * REGION + 64 * soak__below(random, 32);
	uint64_t before = *word(at);
	struct regmap_window *window = map((struct regmap_config){.name = "nested",
	                                                          .guest = at,
	                                                          .length = 64,
	                                                          .backing = REGMAP_HOST,
	                                                          .host = memory},
	                                   self);

	if (!window)
		return;
	try_memory(at, random);
	unmap(window);
	if (*word(at) != before)
		wrong("what lay under it", *word(at), before);
	*word(at) = before + 1;
	if (*word(at) != before + 1)
		wrong("what lay under it", *word(at), before + 1);
}

/* A device's registers through the library: the books hold for these, too. */
static void copy_through_device(struct member *self)
{
	struct store *store = &soak__store[LOW_DEVICE];
	struct random *random = &self->gun->random;
	size_t at = (size_t)self->gun->region * REGION + soak__below(random, REGION - 256);
	unsigned length = soak__below(random, 256);
	uint8_t bytes[256];
	const char *differs;

	if (regmap_read(soak__path[LOW_DEVICE + 1].guest + at, bytes, length) ||
	    memcmp(bytes, store->twin + at, length))
		wrong("bytes of a device", 0, 0);
	soak__books_expect(store, at, false, bytes, length);
	for (unsigned i = 0; i < length; i++)
		store->twin[at + i] = bytes[i] ^= (uint8_t)(i + 1);
	if (regmap_write(soak__path[LOW_DEVICE + 1].guest + at, bytes, length))
		wrong("regmap_write", 1, 0);
	soak__books_expect(store, at, true, bytes, length);
	self->gun->done[LIBRARY] += 2;
	differs = soak__books_differ(store, self->gun->region);
	if (differs)
		wrong(differs, at, length);
}

void *soak__map_all_day(void *arg)
{
	struct member *self = arg;

	soak__become(self);
	while (!soak__over) {
		struct random *random = &self->gun->random;

		switch (soak__below(random, 6)) {
		case 0: use_own(self); break;
		case 1: nest(self); break;
		case 2: copy_through_device(self); break;
		case 3: soak__fire(self->gun); break;
		default: soak__wild_renew(random);
		}
		atomic_fetch_add(&self->progress, 1);
	}
	return NULL;
}
