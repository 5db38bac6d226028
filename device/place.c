/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <stdatomic.h>
#include <string.h>

#include "../arch/x86_64/scratch.h"
#include "../src/maps.h"
#include "../src/symbols.h"

#include "../src/sigsafe.h"

enum { PLACES = 8192, TRIES = 8 };

/* Filled by whoever finds it free; used by others when that is done, which a jump may prevent for good. */
static struct remembered {
	_Atomic uint64_t ip; /* 0: free */
	atomic_bool done;
	struct code_place place;
} places[PLACES];

static void find_file(uint64_t ip, struct code_place *place)
{
	char *text = regmap__scratch_map(MAPS_TEXT);
	const char *slash;
	struct mapping m;

	if (!text)
		return;
	if (regmap__maps_find(ip, text, &m)) {
		slash = strrchr(m.name, '/');
		strncpy(place->file, slash ? slash + 1 : m.name, PLACE_NAME - 1);
		place->file_offset = m.offset + (ip - m.start);
	}
	regmap__scratch_unmap(text, MAPS_TEXT);
}

static void look_up(uint64_t ip, struct code_place *place)
{
	memset(place, 0, sizeof(*place));
	if (!regmap__symbol_find(ip, place->function, PLACE_NAME, &place->offset))
		place->function[0] = 0;
	find_file(ip, place);
}

void regmap__place_find(uint64_t ip, struct code_place *place)
{
	uint64_t at = ip * 0x9e3779b97f4a7c15 >> 51, seen;

	_Static_assert(PLACES == 1 << 13, "51 = 64 - 13");
	for (unsigned i = 0; i < TRIES; i++) {
		struct remembered *r = &places[(at + i) % PLACES];

		seen = 0;
		if (atomic_compare_exchange_strong(&r->ip, &seen, ip)) {
			look_up(ip, place);
			r->place = *place;
			atomic_store_explicit(&r->done, true, memory_order_release);
			return;
		}
		if (seen == ip && atomic_load_explicit(&r->done, memory_order_acquire)) {
			*place = r->place;
			return;
		}
	}
	look_up(ip, place);
}
