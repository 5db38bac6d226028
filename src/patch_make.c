/* SPDX-License-Identifier: MIT */
/* May this site be patched, what becomes of it, and the slot and the jump that it takes. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "fragments.h"
#include "maps.h"
#include "patch_change.h"
#include "patch_pun.h"
#include "patch_own.h"
#include "patch_share.h"
#include "table.h"

#include "sigsafe.h"

enum {
	AHEAD = 64,   /* bytes behind a site that are looked at for what is dead there */
	VERSIONS = 8, /* of a site's code that are looked at */
	PAGE = 4096,
	LOCK = 0xf0,
};

/* --- may it be --- */

/* What it changes, and what its jump takes in. */
static unsigned footprint(unsigned length)
{
	return length < PATCH_JUMP_SIZE ? PATCH_JUMP_SIZE : length;
}

static struct mapping looked_at; /* the latest */

static enum patch_why look_at_mapping(uint64_t site, unsigned length)
{
	struct mapping m;

	if (site >> 47 || regmap__patch_is_foreign(site))
		return WHY_FOREIGN;
	if (!regmap__maps_rights(site, &m) || !(m.rights & PROT_EXEC))
		return WHY_CHANGED;
	if (m.rights & PROT_WRITE)
		return WHY_WRITABLE;
	if (m.shared)
		return WHY_SHARED;
	looked_at = m;
	return site + footprint(length) <= m.end ? WHY_NONE : WHY_EDGE;
}

/* In a jump's displacement, any byte may be one that elsewhere is a breakpoint. */
static bool is_ours(const struct patch_text *text, uint64_t at)
{
	for (unsigned back = 1; back < EM_MAX_LENGTH; back++) {
		const struct patch *p = regmap__patch_standing(text, at - back);

		if (p)
			return back < patch_span(p);
	}
	return false;
}

static enum patch_why look_at_bytes(const struct patch_text *text, uint64_t site,
                                    const struct plan *plan)
{
	uint8_t is[EM_MAX_LENGTH];
	unsigned length = plan->length, all = footprint(length);

	if (!regmap__text_read(text, site, is, all))
		return WHY_EDGE;
	if (memcmp(is, plan->bytes, length))
		return is[0] == PATCH_INT3 ? WHY_BREAKPOINT : WHY_CHANGED;
	for (unsigned i = length; i < all; i++)
		if (is[i] == PATCH_INT3 && !is_ours(text, site + i))
			return WHY_BREAKPOINT;
	return WHY_NONE;
}

static bool overlaps_another(const struct patch_text *text, uint64_t site, unsigned length)
{
	for (uint64_t at = site - EM_MAX_LENGTH + 1; at < site + length; at++) {
		const struct patch *p = at == site ? NULL : regmap__patch_standing(text, at);

		if (p && at + p->plan->length > site)
			return true;
	}
	return false;
}

/*
 * Jcc or JMP past a LOCK prefix, as C libraries had it where there is one thread. There are two
 * instructions then, with it and without.
 */
static bool is_branched_into(const struct patch_text *text, uint64_t site, const struct plan *plan)
{
	uint8_t before[3];
	const uint8_t *branch = plan->bytes[0] == LOCK ? before + 1 : before;

	return regmap__text_read(text, site - 3, before, 3) &&
	       (plan->bytes[0] == LOCK || before[2] == LOCK) &&
	       (branch[0] >> 4 == 7 || branch[0] == 0xeb) && branch[1] == 1;
}

enum patch_why regmap__patch_look(const struct patch_text *text, uint64_t site,
                                  const struct plan *plan)
{
	enum patch_why why = look_at_mapping(site, plan->length);

	if (why == WHY_NONE)
		why = look_at_bytes(text, site, plan);
	if (why == WHY_NONE && plan->length < 2)
		why = WHY_SHORT;
	if (why == WHY_NONE && overlaps_another(text, site, plan->length))
		why = WHY_INSIDE;
	if (why == WHY_NONE && is_branched_into(text, site, plan))
		why = WHY_BRANCH;
	return why;
}

/* --- the slot --- */

/* What is behind a site, on its page: as the program wrote it. */
struct behind {
	uint8_t code[AHEAD];
	unsigned length;
};

static void read_behind(const struct patch_text *text, uint64_t next, struct behind *behind)
{
	size_t room = PAGE - next % PAGE, length = room < AHEAD ? room : AHEAD;

	behind->length = 0;
	if (!regmap__text_read(text, next, behind->code, length))
		return;
	regmap__patch_overlay(next, behind->code, length);
	behind->length = (unsigned)length;
}

/* One that was made for these very bytes, and relies on no more than what holds now. */
static struct patch *find_version(const struct patch_text *text, struct patch_site *site,
                                  const struct patch *as)
{
	struct patch *p = patch_number(atomic_load(&site->patch));
	const struct plan *plan = as->plan;

	for (unsigned i = 0; p && i < VERSIONS; i++, p = patch_number(p->older))
		if (p->plan->length == plan->length &&
		    !memcmp(p->plan->bytes, plan->bytes, plan->length) && p->passes == as->passes &&
		    !(p->dead.flags & ~as->dead.flags) && !(p->dead.gpr & ~as->dead.gpr) &&
		    regmap__fragment_is_current(text, p))
			return p;
	return NULL;
}

/* Its slot does nothing that the fragment doesn't do as well. */
static size_t generate_slot(const struct slot_request *request, const struct patch_room *room,
                            uint8_t *code, struct slot_map *map, const char **why)
{
	struct slot_request alone = *request;
	size_t length = regmap__slot_generate(request, code, map, room->cell, why);

	if (length || !request->way_in.to)
		return length;
	alone.way_in.to = 0;
	return regmap__slot_generate(&alone, code, map, room->cell, why);
}

/* @address: of the access that makes it patched; 0: unknown. */
static enum patch_form slot_form(uint64_t address)
{
	struct table_hit hit;

	if (!address)
		return FORM_MEMORY;
	regmap__table_find(address, &hit);
	if (!hit.window || window_ops(hit.window) != &regmap__backing_device)
		return FORM_MEMORY;
	return __atomic_load_n(&hit.window->flags, __ATOMIC_RELAXED) & REGMAP_GENERAL ?
	               FORM_GENERAL :
	               FORM_DEVICE;
}

/* Saving vector registers around a callback takes all the longer the sooner it begins again: so there without a tail. */
static bool has_tail(enum patch_form form)
{
	return form != FORM_DEVICE;
}

static enum patch_why generate(const struct patch_text *text, struct patch *p, enum patch_form form,
                               const struct behind *behind)
{
	uint8_t code[SLOT_CODE_MOST];
	struct slot_request request = {.plan = p->plan,
	                               .site = p->site,
	                               .dead = p->dead,
	                               .passes = p->passes,
	                               .behind = has_tail(form) ? behind->code : NULL,
	                               .behind_length = behind->length};
	struct patch_room room;
	const char *why = "its slot can't be made";
	struct slot_map map;
	size_t length;

	if (!regmap__room_for_slot(p->site, &room))
		return WHY_ROOM;
	request.code = room.code;
	request.cell = (uintptr_t)room.cell;
	request.view = room.view;
	request.other = room.other;
	regmap__patch_request(&request);
	request.chooses = form == FORM_GENERAL || form == FORM_DEVICE;
	if (form == FORM_MEMORY)
		regmap__fragment_join(text, p->plan, &request, p);
	memset(&map, 0, sizeof(map));
	length = generate_slot(&request, &room, code, &map, &why);
	if (!length)
		return regmap__why_number(why);
	p->map = regmap__share_map(&map);
	if (!p->map)
		return WHY_MEMORY;
	if (!regmap__text_write(text, room.code, code, length))
		return WHY_KERNEL;
	room.cell->entry = map.hands_address ? (const void *)regmap__slot_device :
	                                       (const void *)regmap__slot_call;
	room.cell->plan = p->plan;
	p->slot = p->entry = room.code;
	p->cell = room.cell;
	regmap__room_keep(&room, length, p->number);
	regmap__fragment_joined(p);
	return WHY_NONE;
}

static enum patch_why new_version(const struct patch_text *text, struct patch_site *site,
                                  const struct patch *as, enum patch_form form,
                                  const struct behind *behind, struct patch **made)
{
	uint32_t number = regmap__pool_take(&regmap__patches);
	struct patch *p = patch_number(number);
	enum patch_why why;

	if (!p)
		return WHY_MEMORY;
	p->number = number;
	p->site = site->rip;
	p->plan = regmap__share_plan(as->plan);
	p->dead = as->dead;
	p->passes = as->passes;
	why = !p->plan              ? WHY_MEMORY :
	      form == FORM_IN_PLACE ? WHY_NONE :
	                              generate(text, p, form, behind);
	if (why != WHY_NONE) {
		p->plan = NULL;
		return why;
	}
	regmap__patch_publish(site, p);
	*made = p;
	return WHY_NONE;
}

enum patch_why regmap__patch_version(const struct patch_text *text, struct patch_site *site,
                                     const struct plan *plan, enum patch_form form,
                                     struct patch **made)
{
	struct patch as = {.plan = plan, .passes = form == FORM_PASSES};
	struct behind behind = {.length = 0};

	if (form != FORM_IN_PLACE)
		read_behind(text, site->rip + plan->length, &behind);
	if (form != FORM_IN_PLACE && form != FORM_PASSES)
		as.dead = regmap__slot_dead(behind.code, behind.length);
	*made = find_version(text, site, &as);
	if (!*made)
		return new_version(text, site, &as, form, &behind, made);
	regmap__patch_renew(site, *made);
	return WHY_NONE;
}

/* --- all of it --- */

static enum patch_why apply(const struct patch_text *text, struct patch *p)
{
	uint8_t same_length[EM_MAX_LENGTH];

	if (p->slot)
		return regmap__patch_jump(text, p);
	if (!regmap__slot_in_place(p->plan, same_length))
		return WHY_CHANGED;
	return regmap__patch_put(text, p, same_length, PATCH_IN_PLACE) ? WHY_NONE : WHY_CHANGED;
}

/* In descending order: each takes in the bytes of the one behind it. */
static void fasten(const struct patch_text *text, const struct patch_chain *chain)
{
	for (unsigned i = chain->count; i-- > 0;) {
		struct patch_site *site = regmap__site_at(chain->site[i], false);
		struct patch *p = regmap__patch_of(chain->site[i]);
		enum patch_why why;

		if (!p)
			continue;
		why = regmap__patch_look(text, p->site, p->plan);
		if (why == WHY_NONE)
			why = apply(text, p);
		regmap__patch_judge(site, p->plan, why);
	}
}

/* One that only passes was in another's way. */
static bool is_done(const struct patch_text *text, uint64_t rip)
{
	struct patch *p = regmap__patch_standing(text, rip);

	return p && !p->passes;
}

static enum patch_why make(const struct patch_text *text, struct patch_site *site,
                           const struct plan *plan, uint64_t address)
{
	enum patch_why why = regmap__patch_look(text, site->rip, plan);
	uint8_t same_length[EM_MAX_LENGTH];
	enum patch_form form = regmap__slot_in_place(plan, same_length) ? FORM_IN_PLACE :
	                                                                  slot_form(address);
	struct patch *p;

	if (why == WHY_NONE && form != FORM_IN_PLACE)
		regmap__fragment_make(text, site->rip, address, &looked_at);
	if (why == WHY_NONE)
		why = regmap__patch_version(text, site, plan, form, &p);
	return why == WHY_NONE ? apply(text, p) : why;
}

enum patch_why regmap__patch_make(const struct patch_text *text, struct patch_site *site,
                                  const struct plan *plan, uint64_t address)
{
	struct patch_chain chain;
	struct patch *p;
	enum patch_why why;

	if (is_done(text, site->rip))
		return WHY_NONE;
	regmap__fragments_without(text, site->rip);
	if (!regmap__patch_loosen(text, site->rip, &chain))
		return WHY_CROWD;
	p = regmap__patch_standing(text, site->rip);
	if (p)
		regmap__patch_take_back(text, p->site, p->site);
	why = make(text, site, plan, address);
	fasten(text, &chain);
	return why;
}
