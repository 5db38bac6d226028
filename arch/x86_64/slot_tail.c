/* SPDX-License-Identifier: MIT */
#include "slot_tail.h"

#include <string.h>

#include "slot_pass.h"

#include "sigsafe.h"

enum {
	JUMP_SIZE = 5, /* as it is at the site */
	MOST = 8,      /* bytes, which are compared at once */
	PAGE = 4096,
	BRANCH_MOST = 6,
	RETURN = 0xc3,
};

struct tail {
	uint64_t next;          /* guest address */
	unsigned moved, length; /* bytes, without and with what ends it */
	bool ends;              /* by a branch or RET */
	struct em_decoded d;    /* of the latest */
};

/* What it will be in the slot. */
struct ending {
	uint8_t code[BRANCH_MOST];
	unsigned length;
	bool goes_on; /* there may be something behind it */
};

static bool is_return(const struct em_decoded *d)
{
	return d->insn.opcode == RETURN && d->insn.length == 1;
}

static bool is_ending(const struct em_decoded *d)
{
	return is_return(d) ||
	       (regmap__slot_is_simple_jump(d) && d->insn.meta.category != ZYDIS_CATEGORY_CALL);
}

/* No memory but the stack. */
static bool take(struct tail *t, const struct slot_request *request)
{
	const uint8_t *code = request->behind + t->length;

	if (t->ends || regmap__em_decode(&t->d, code, request->behind_length - t->length))
		return false;
	t->ends = is_ending(&t->d);
	if (!t->ends && !regmap__slot_moves_freely(&t->d) && !regmap__slot_is_push(&t->d))
		return false;
	t->length += t->d.insn.length;
	if (!t->ends)
		t->moved = t->length;
	return true;
}

/* Nobody goes on behind it. */
static bool is_over(const struct tail *t)
{
	return t->ends && t->d.insn.meta.category != ZYDIS_CATEGORY_COND_BR;
}

static bool find(struct tail *t, const struct slot_request *request)
{
	const struct plan *plan = request->plan;

	*t = (struct tail){.next = request->site + plan->length};
	if (plan->length >= JUMP_SIZE || t->next % PAGE > PAGE - MOST)
		return false;
	while (plan->length + t->length < JUMP_SIZE && !is_over(t))
		if (!take(t, request))
			return false;
	return t->length <= MOST;
}

static bool reaches(int64_t distance)
{
	return distance == (int32_t)distance;
}

/* At @at. */
static bool make_ending(const struct tail *t, uint64_t at, struct ending *e)
{
	const ZydisDecodedInstruction *insn = &t->d.insn;
	uint64_t target = t->next + t->length + (uint64_t)insn->raw.imm[0].value.s;
	int64_t distance;

	if (is_return(&t->d)) {
		*e = (struct ending){.code = {RETURN}, .length = 1};
		return true;
	}
	*e = (struct ending){.length = 5, .goes_on = insn->meta.category == ZYDIS_CATEGORY_COND_BR};
	e->code[0] = 0xe9;
	if (e->goes_on) {
		e->length = 6;
		e->code[0] = 0x0f;
		e->code[1] = 0x80 | (insn->opcode & 15);
	}
	distance = (int64_t)(target - (at + e->length));
	memcpy(e->code + e->length - 4, &distance, 4);
	return reaches(distance);
}

bool regmap__slot_emit_tail(struct slot_emit *e, const struct slot_request *request)
{
	struct ending ending = {.length = 0, .goes_on = true};
	struct slot_map *map = e->map;
	uint64_t behind;
	struct tail t;

	if (!request->behind || !find(&t, request))
		return false;
	behind = t.next + t.length;
	if (!reaches((int64_t)(behind - (e->code + e->at))) ||
	    (t.ends && !make_ending(&t, e->code + e->at + t.moved, &ending)))
		return false;
	map->tail = (uint16_t)e->at;
	map->tail_length = (uint8_t)t.length;
	regmap__emit_bytes(e, request->behind, t.moved);
	regmap__emit_bytes(e, ending.code, ending.length);
	map->tail_end = (uint16_t)e->at;
	map->tail_jump = 0;
	if (ending.goes_on) {
		map->tail_jump = map->tail_end;
		regmap__emit_jump_near(e, behind);
	}
	return true;
}

void regmap__slot_fill_tail(const struct slot_request *request, const struct slot_map *map,
                            struct slot_cell *cell)
{
	cell->tail_mask = ~0ull >> 8 * (MOST - map->tail_length);
	memcpy(&cell->tail, request->behind, map->tail_length);
}
