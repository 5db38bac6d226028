/* SPDX-License-Identifier: MIT */
/* May this site be patched, what becomes of it, and the slot and the jump that it takes. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "maps.h"
#include "patch_change.h"
#include "patch_own.h"

#include "sigsafe.h"

enum {
	AHEAD = 64,   /* bytes behind a site that are looked at for what is dead there */
	VERSIONS = 8, /* of a site's code that are looked at */
	NEAR_HOP = 5, /* jmp rel32 */
	FAR_HOP = 14, /* jmp *0(%rip), and where to */
	PAGE = 4096,
};

/* --- may it be --- */

/* What it changes, and what its jump takes in. */
static unsigned footprint(unsigned length)
{
	return length < PATCH_JUMP_SIZE ? PATCH_JUMP_SIZE : length;
}

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
	return site + footprint(length) <= m.end ? WHY_NONE : WHY_EDGE;
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
	return memchr(is + length, PATCH_INT3, all - length) ? WHY_BREAKPOINT : WHY_NONE;
}

static bool overlaps_another(const struct patch_text *text, uint64_t site, unsigned length)
{
	for (uint64_t at = site - EM_MAX_LENGTH + 1; at < site + length; at++) {
		const struct patch *p = at == site ? NULL : regmap__patch_standing(text, at);

		if (p && at + p->plan.length > site)
			return true;
	}
	return false;
}

static enum patch_why look(const struct patch_text *text, uint64_t site, const struct plan *plan)
{
	enum patch_why why = look_at_mapping(site, plan->length);

	if (why == WHY_NONE)
		why = look_at_bytes(text, site, plan);
	if (why == WHY_NONE && plan->length < 2)
		why = WHY_SHORT;
	if (why == WHY_NONE && overlaps_another(text, site, plan->length))
		why = WHY_INSIDE;
	return why;
}

/* --- the slot --- */

/* As the program wrote it: our jumps are no instructions that tell what is dead. */
static struct slot_dead what_is_dead(const struct patch_text *text, uint64_t next)
{
	uint8_t code[AHEAD];
	size_t room = PAGE - next % PAGE, length = room < AHEAD ? room : AHEAD;

	if (!regmap__text_read(text, next, code, length))
		return (struct slot_dead){0};
	regmap__patch_overlay(next, code, length);
	return regmap__slot_dead(code, length);
}

/* One that was made for these very bytes, and relies on no more than what holds now. */
static struct patch *find_version(struct patch_site *site, const struct plan *plan,
                                  const struct slot_dead *dead)
{
	struct patch *p = patch_number(atomic_load(&site->patch));

	for (unsigned i = 0; p && i < VERSIONS; i++, p = patch_number(p->older))
		if (p->plan.length == plan->length &&
		    !memcmp(p->plan.bytes, plan->bytes, plan->length) &&
		    !(p->dead.flags & ~dead->flags) && !(p->dead.gpr & ~dead->gpr))
			return p;
	return NULL;
}

static enum patch_why generate(const struct patch_text *text, struct patch *p)
{
	uint8_t code[SLOT_CODE_MOST];
	struct slot_request request = {.plan = &p->plan, .site = p->site, .dead = p->dead};
	struct patch_room room;
	const char *why = "its slot can't be made";
	size_t length;

	if (!regmap__room_for_slot(p->site, &room))
		return WHY_ROOM;
	request.code = room.code;
	request.cell = (uintptr_t)room.cell;
	regmap__patch_request(&request);
	length = regmap__slot_generate(&request, code, &p->map, room.cell, &why);
	if (!length)
		return regmap__why_number(why);
	if (!regmap__text_write(text, room.code, code, length))
		return WHY_KERNEL;
	room.cell->entry = (const void *)regmap__slot_call;
	room.cell->plan = &p->plan;
	p->slot = room.code;
	p->cell = room.cell;
	regmap__room_keep(&room, length, p->number);
	return WHY_NONE;
}

static enum patch_why new_version(const struct patch_text *text, struct patch_site *site,
                                  const struct plan *plan, const struct slot_dead *dead,
                                  bool in_place, struct patch **made)
{
	uint32_t number = regmap__pool_take(&regmap__patches);
	struct patch *p = patch_number(number);
	enum patch_why why;

	if (!p)
		return WHY_MEMORY;
	p->number = number;
	p->site = site->rip;
	p->plan = *plan;
	p->dead = *dead;
	why = in_place ? WHY_NONE : generate(text, p);
	if (why != WHY_NONE) {
		p->plan.length = 0;
		return why;
	}
	regmap__patch_publish(site, p);
	*made = p;
	return WHY_NONE;
}

/* --- the jump --- */

static void put_displacement(uint8_t *to, uint64_t from, uint64_t target)
{
	int32_t displacement = (int32_t)(target - from);

	memcpy(to, &displacement, sizeof(displacement));
}

static bool in_reach(uint64_t from, uint64_t target)
{
	return (uint64_t)(int64_t)(int32_t)(target - from) == target - from;
}

/* The first place that a jump with these high bytes can lead to. */
static uint64_t pun_first(uint64_t site, unsigned length, const uint8_t *behind)
{
	uint32_t high = 0;

	memcpy((uint8_t *)&high + length - 1, behind, PATCH_JUMP_SIZE - length);
	return site + PATCH_JUMP_SIZE + (uint64_t)(int64_t)(int32_t)high;
}

/* Where the jump would lead with breakpoints in the bytes behind it, from where it leads without. */
static void find_strays(uint64_t site, unsigned length, const uint8_t *behind,
                        struct hop_strays *strays)
{
	unsigned fixed = PATCH_JUMP_SIZE - length;

	strays->count = 0;
	for (unsigned set = 1; set < 1u << fixed; set++) {
		uint8_t bent[PATCH_JUMP_SIZE];

		memcpy(bent, behind, fixed);
		for (unsigned i = 0; i < fixed; i++)
			if (set >> i & 1)
				bent[i] = PATCH_INT3;
		strays->away[strays->count++] =
			pun_first(site, length, bent) - pun_first(site, length, behind);
	}
}

static bool write_hop(const struct patch_text *text, uint64_t at, unsigned size, uint64_t to)
{
	uint8_t code[FAR_HOP] = {0xff, 0x25};

	if (size == NEAR_HOP) {
		code[0] = 0xe9;
		put_displacement(code + 1, at + NEAR_HOP, to);
	} else {
		memcpy(code + 6, &to, sizeof(to));
	}
	return regmap__text_write(text, at, code, size);
}

static uint64_t old_hop(const struct patch *p, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < sizeof(p->hop) / sizeof(p->hop[0]); i++)
		if (p->hop[i] && p->hop[i] - first <= last - first)
			return p->hop[i];
	return 0;
}

static uint64_t new_hop(const struct patch_text *text, struct patch *p, struct hop_wish *wish)
{
	bool near = in_reach(wish->first + NEAR_HOP, p->slot) &&
	            in_reach(wish->last + NEAR_HOP, p->slot);
	uint64_t hop;

	wish->size = near ? NEAR_HOP : FAR_HOP;
	hop = regmap__room_for_hop(text, wish, p->number);
	if (!hop || !write_hop(text, hop, wish->size, p->slot))
		return 0;
	memmove(p->hop + 1, p->hop, sizeof(p->hop) - sizeof(p->hop[0]));
	p->hop[0] = hop;
	return hop;
}

static enum patch_why pun(const struct patch_text *text, struct patch *p)
{
	unsigned length = p->plan.length;
	uint8_t behind[PATCH_JUMP_SIZE], jump[PATCH_JUMP_SIZE] = {0xe9};
	struct hop_wish wish;
	uint64_t hop;

	if (!regmap__text_read(text, p->site + length, behind, PATCH_JUMP_SIZE - length))
		return WHY_EDGE;
	wish.first = pun_first(p->site, length, behind);
	wish.last = wish.first + (1ULL << 8 * (length - 1)) - 1;
	find_strays(p->site, length, behind, &wish.strays);
	hop = old_hop(p, wish.first, wish.last);
	if (!hop)
		hop = new_hop(text, p, &wish);
	if (!hop || !regmap__room_note_strays(hop, &wish.strays, p->number))
		return WHY_ROOM;
	put_displacement(jump + 1, p->site + PATCH_JUMP_SIZE, hop);
	return regmap__patch_put(text, p, jump, PATCH_PUNNED) ? WHY_NONE : WHY_CHANGED;
}

static enum patch_why jump(const struct patch_text *text, struct patch *p)
{
	uint8_t code[PATCH_JUMP_SIZE] = {0xe9};

	if (p->plan.length < PATCH_JUMP_SIZE)
		return pun(text, p);
	put_displacement(code + 1, p->site + PATCH_JUMP_SIZE, p->slot);
	return regmap__patch_put(text, p, code, PATCH_JUMP) ? WHY_NONE : WHY_CHANGED;
}

/* --- all of it --- */

static enum patch_why apply(const struct patch_text *text, struct patch *p)
{
	uint8_t same_length[EM_MAX_LENGTH];

	if (p->slot)
		return jump(text, p);
	if (!regmap__slot_in_place(&p->plan, same_length))
		return WHY_CHANGED;
	return regmap__patch_put(text, p, same_length, PATCH_IN_PLACE) ? WHY_NONE : WHY_CHANGED;
}

/* In descending order: each takes in the bytes of the one behind it. */
static void fasten(const struct patch_text *text, const struct patch_chain *chain)
{
	for (unsigned i = chain->count; i-- > 0;) {
		struct patch *p = regmap__patch_of(chain->site[i]);

		if (p && look(text, p->site, &p->plan) == WHY_NONE)
			apply(text, p);
	}
}

enum patch_why regmap__patch_make(const struct patch_text *text, struct patch_site *site,
                                  const struct plan *plan)
{
	bool there = regmap__patch_standing(text, site->rip);
	enum patch_why why = there ? WHY_NONE : look(text, site->rip, plan);
	uint8_t same_length[EM_MAX_LENGTH];
	bool in_place = why == WHY_NONE && regmap__slot_in_place(plan, same_length);
	struct slot_dead dead = {0};
	struct patch_chain chain;
	struct patch *p;

	if (there || why != WHY_NONE)
		return why;
	if (!in_place)
		dead = what_is_dead(text, site->rip + plan->length);
	p = find_version(site, plan, &dead);
	if (p)
		regmap__patch_renew(site, p);
	else
		why = new_version(text, site, plan, &dead, in_place, &p);
	if (why != WHY_NONE)
		return why;
	if (!regmap__patch_loosen(text, site->rip, &chain))
		return WHY_CROWD;
	why = apply(text, p);
	fasten(text, &chain);
	return why;
}
