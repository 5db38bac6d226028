/* SPDX-License-Identifier: MIT */
/*
 * The jump of a short instruction takes in the bytes behind it, as they are, and where it leads to
 * then may be taken. But if the next instruction becomes a jump, too, its first byte is another
 * one, and the next ones, the low bytes of its own displacement, can be chosen: so that one may be
 * moved to a slot only to make room. It has been executed, so that it is known where it begins.
 */
#define _GNU_SOURCE
#include <string.h>

#include "../arch/x86_64/context.h"
#include "../emulator/emulator.h"
#include "patch_pun.h"

#include "sigsafe.h"

enum {
	NEAR_HOP = 5, /* jmp rel32 */
	FAR_HOP = 14, /* jmp *0(%rip), and where to */
	JUMP = 0xe9,
	PAGE = 4096,
	CHOICES = 48, /* of the bytes that the next instruction's jump has */
	FAILURES = 3,
	DEEPEST = 2, /* instructions that may be moved for one */
};

/* Of a displacement, as another jump needs them. */
struct low {
	unsigned count;
	uint32_t value;
};

static void put_displacement(uint8_t *to, uint64_t from, uint64_t target)
{
	int32_t displacement = (int32_t)(target - from);

	memcpy(to, &displacement, sizeof(displacement));
}

static bool in_reach(uint64_t from, uint64_t target)
{
	return (uint64_t)(int64_t)(int32_t)(target - from) == target - from;
}

/* --- where it can lead to --- */

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
		strays->away[strays->count++] = pun_first(site, length, bent) -
		                                pun_first(site, length, behind);
	}
}

/* Of a jump with these bytes behind it. */
static void wish_pun(const struct patch *p, const uint8_t *behind, const struct low *low,
                     struct hop_wish *wish)
{
	unsigned length = p->plan->length;

	wish->first = pun_first(p->site, length, behind);
	wish->last = wish->first + (1ULL << 8 * (length - 1)) - 1;
	wish->first += low->value;
	wish->stride = 1ULL << 8 * low->count;
	find_strays(p->site, length, behind, &wish->strays);
}

/* Of one that is as long as a jump: somewhere above the code, where there is room as a rule. */
static void wish_low(const struct patch *p, const struct low *low, struct hop_wish *wish)
{
	enum { FROM = 0x08000000, TO = 0x60000000 };

	wish->first = p->site + PATCH_JUMP_SIZE + FROM + low->value;
	wish->last = p->site + PATCH_JUMP_SIZE + TO;
	wish->stride = 1ULL << 8 * low->count;
	wish->strays.count = 0;
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

static uint64_t old_hop(const struct patch *p, const struct hop_wish *wish)
{
	for (unsigned i = 0; i < sizeof(p->hop) / sizeof(p->hop[0]); i++)
		if (p->hop[i] && p->hop[i] - wish->first <= wish->last - wish->first &&
		    !((p->hop[i] - wish->first) % wish->stride))
			return p->hop[i];
	return 0;
}

static uint64_t new_hop(const struct patch_text *text, struct patch *p, struct hop_wish *wish)
{
	bool near = in_reach(wish->first + NEAR_HOP, p->entry) &&
	            in_reach(wish->last + NEAR_HOP, p->entry);
	uint64_t hop;

	wish->size = near ? NEAR_HOP : FAR_HOP;
	hop = regmap__room_for_hop(text, wish, p->number);
	if (!hop || !write_hop(text, hop, wish->size, p->entry))
		return 0;
	memmove(p->hop + 1, p->hop, sizeof(p->hop) - sizeof(p->hop[0]));
	p->hop[0] = hop;
	return hop;
}

static uint64_t find_hop(const struct patch_text *text, struct patch *p, struct hop_wish *wish)
{
	uint64_t hop = old_hop(p, wish);

	if (!hop)
		hop = new_hop(text, p, wish);
	return hop && regmap__room_note_strays(hop, &wish->strays, p->number) ? hop : 0;
}

/* --- jumps --- */

static enum patch_why put_jump(const struct patch_text *text, struct patch *p, uint64_t to)
{
	uint8_t code[PATCH_JUMP_SIZE] = {JUMP};

	put_displacement(code + 1, p->site + PATCH_JUMP_SIZE, to);
	return regmap__patch_put(text, p, code,
	                         p->plan->length < PATCH_JUMP_SIZE ? PATCH_PUNNED : PATCH_JUMP) ?
	               WHY_NONE :
	               WHY_CHANGED;
}

static bool get_behind(const struct patch_text *text, const struct patch *p, uint8_t *behind)
{
	unsigned length = p->plan->length;

	return length >= PATCH_JUMP_SIZE ||
	       regmap__text_read(text, p->site + length, behind, PATCH_JUMP_SIZE - length);
}

static enum patch_why jump_by_hop(const struct patch_text *text, struct patch *p,
                                  const struct low *low)
{
	uint8_t behind[PATCH_JUMP_SIZE];
	struct hop_wish wish;
	uint64_t hop;

	if (!get_behind(text, p, behind))
		return WHY_EDGE;
	if (p->plan->length < PATCH_JUMP_SIZE)
		wish_pun(p, behind, low, &wish);
	else
		wish_low(p, low, &wish);
	hop = find_hop(text, p, &wish);
	return hop ? put_jump(text, p, hop) : WHY_ROOM;
}

static enum patch_why jump_plainly(const struct patch_text *text, struct patch *p)
{
	static const struct low any;

	if (p->plan->length >= PATCH_JUMP_SIZE)
		return put_jump(text, p, p->entry);
	return jump_by_hop(text, p, &any);
}

/* --- the next instruction --- */

static enum em_status make_plan(struct plan *plan, const uint8_t *code, size_t length)
{
	struct kept_fs kept;
	enum em_status status;

	memset(plan, 0, sizeof(*plan));
	regmap__canary_lend(&kept);
	status = regmap__em_plan(plan, code, length, regmap__em_tiers());
	regmap__canary_take_back(&kept);
	return status;
}

/* No memory but the stack. */
static bool is_of_stack(const struct plan *p)
{
	return (p->kind == EM_CALL || p->kind == EM_PUSH || p->kind == EM_POP) && !p->has_mem;
}

/* What accesses memory gets a slot that can do that in windows, the others pass. */
static struct patch *patch_next(const struct patch_text *text, uint64_t at)
{
	size_t room = PAGE - at % PAGE, length = room < EM_MAX_LENGTH ? room : EM_MAX_LENGTH;
	struct patch_site *site;
	uint8_t code[EM_MAX_LENGTH];
	struct patch *p;
	struct plan plan;
	bool passes;

	if (!regmap__text_read(text, at, code, length))
		return NULL;
	regmap__patch_overlay(at, code, length);
	passes = make_plan(&plan, code, length) != EM_OK || is_of_stack(&plan);
	if (passes && !regmap__slot_can_pass(&plan, code, length))
		return NULL;
	if (!passes && !em_has_one_operand(&plan))
		return NULL;
	site = regmap__patch_look(text, at, &plan) == WHY_NONE ? regmap__site_at(at, true) : NULL;
	if (!site || regmap__patch_version(text, site, &plan, passes ? FORM_PASSES : FORM_MEMORY,
	                                   &p) != WHY_NONE)
		return NULL;
	return passes || p->map->access != SLOT_NO_ACCESS ? p : NULL;
}

/* One that stands is taken back: its jump will be another one. */
static struct patch *take_next(const struct patch_text *text, uint64_t at, bool *stood)
{
	struct patch *p = regmap__patch_standing(text, at);

	*stood = p;
	if (!p)
		return patch_next(text, at);
	if (!p->slot)
		return NULL;
	regmap__patch_take_back(text, p->site, p->site);
	return p;
}

/* The bytes behind @p, were the next one such a jump. */
static bool foresee(const struct patch_text *text, const struct patch *p, const struct patch *next,
                    const struct low *low, uint8_t *behind)
{
	unsigned fixed = PATCH_JUMP_SIZE - p->plan->length;

	if (!get_behind(text, p, behind))
		return false;
	behind[0] = JUMP;
	for (unsigned i = 0; i < low->count; i++)
		behind[1 + i] = (uint8_t)(low->value >> 8 * i);
	return next->plan->length >= fixed || low->count + 1 == next->plan->length;
}

/* The highest byte decides where it goes: far enough, and the same places for all sites. */
static uint32_t choice(unsigned i, unsigned count)
{
	uint32_t high = (i & 1 ? 0xe0u - 5 * i : 0x10u + 5 * i) & 0xff;

	return count == 2 ? high << 8 | (0x35 + 7 * i) % 0xfe : high;
}

static enum patch_why make_room(const struct patch_text *text, struct patch *p,
                                const struct low *low, unsigned depth);

static enum patch_why jump_with(const struct patch_text *text, struct patch *p,
                                const struct low *low, unsigned depth)
{
	enum patch_why why = low->count || p->plan->length < PATCH_JUMP_SIZE ?
	                             jump_by_hop(text, p, low) :
	                             put_jump(text, p, p->entry);

	if (why != WHY_ROOM || p->plan->length >= PATCH_JUMP_SIZE || depth == DEEPEST)
		return why;
	return make_room(text, p, low, depth + 1);
}

/* For @p, whose own displacement is to begin like that. */
static enum patch_why make_room(const struct patch_text *text, struct patch *p,
                                const struct low *low, unsigned depth)
{
	unsigned failures = 0, wants = PATCH_JUMP_SIZE - 1 - p->plan->length;
	uint8_t behind[PATCH_JUMP_SIZE];
	struct patch *next;
	struct low of_next;
	bool stood;

	next = take_next(text, p->site + p->plan->length, &stood);
	if (!next)
		return WHY_ROOM;
	of_next.count = wants < next->plan->length - 1u ? wants : next->plan->length - 1u;
	for (unsigned i = 0; i < (of_next.count ? CHOICES : 1) && failures < FAILURES; i++) {
		struct hop_wish wish;

		of_next.value = of_next.count ? choice(i, of_next.count) : 0;
		if (!foresee(text, p, next, &of_next, behind))
			break;
		wish_pun(p, behind, low, &wish);
		if (!find_hop(text, p, &wish))
			continue;
		if (jump_with(text, next, &of_next, depth) == WHY_NONE)
			return jump_by_hop(text, p, low);
		failures++;
	}
	if (stood)
		jump_plainly(text, next);
	return WHY_ROOM;
}

enum patch_why regmap__patch_jump(const struct patch_text *text, struct patch *p)
{
	static const struct low any;

	return jump_with(text, p, &any, 0);
}
