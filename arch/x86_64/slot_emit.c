/* SPDX-License-Identifier: MIT */
#include "slot_emit.h"

#include <string.h>

#include "../../emulator/plan.h"

#include "sigsafe.h"

enum { RAX = 0, RSP = 4, RBP = 5, RM_SIB = 4, RM_DISP = 5, NONE = 0xff };
enum { REX = 0x40, REX_W = 8, REX_R = 4, REX_X = 2, REX_B = 1 };

static void byte(struct slot_emit *e, unsigned value)
{
	if (e->at == e->most)
		e->full = true;
	else
		e->to[e->at++] = (uint8_t)value;
}

void regmap__emit_bytes(struct slot_emit *e, const void *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		byte(e, ((const uint8_t *)bytes)[i]);
}

static void word(struct slot_emit *e, uint32_t value)
{
	regmap__emit_bytes(e, &value, sizeof value);
}

void regmap__emit_state(struct slot_emit *e, unsigned set, unsigned clear)
{
	struct slot_map *m = e->map;

	e->state = (e->state & ~clear) | set;
	if (m->steps && m->step[m->steps - 1].offset == e->at)
		m->steps--;
	else if (m->steps && m->step[m->steps - 1].state == e->state)
		return;
	if (m->steps == SLOT_STEPS) {
		e->full = true;
		return;
	}
	m->step[m->steps].offset = (uint16_t)e->at;
	m->step[m->steps++].state = (uint16_t)e->state;
}

static void rex(struct slot_emit *e, bool wide, unsigned reg, unsigned index, unsigned base)
{
	unsigned bits = (wide ? REX_W : 0) | (reg & 8 ? REX_R : 0) |
	                (index != NONE && index & 8 ? REX_X : 0) |
	                (base != NONE && base & 8 ? REX_B : 0);

	if (bits)
		byte(e, REX | bits);
}

static bool is_short(int32_t disp)
{
	return disp == (int8_t)disp;
}

static void displacement(struct slot_emit *e, int32_t disp)
{
	if (is_short(disp))
		byte(e, (uint8_t)disp);
	else
		word(e, (uint32_t)disp);
}

/* ModRM, and what belongs to it. */
static void operand(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp)
{
	unsigned mod = !disp && (base & 7) != RBP ? 0 : is_short(disp) ? 1 : 2;

	byte(e, mod << 6 | (reg & 7) << 3 | (base & 7));
	if ((base & 7) == RSP)
		byte(e, RSP << 3 | RSP);
	if (mod)
		displacement(e, disp);
}

static void memory(struct slot_emit *e, uint8_t opcode, unsigned reg, unsigned base, int32_t disp)
{
	rex(e, true, reg, NONE, base);
	byte(e, opcode);
	operand(e, reg, base, disp);
}

void regmap__emit_push(struct slot_emit *e, unsigned reg)
{
	rex(e, false, 0, NONE, reg);
	byte(e, 0x50 | (reg & 7));
}

void regmap__emit_pop(struct slot_emit *e, unsigned reg)
{
	rex(e, false, 0, NONE, reg);
	byte(e, 0x58 | (reg & 7));
}

void regmap__emit_load(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp)
{
	memory(e, 0x8b, reg, base, disp);
}

void regmap__emit_store(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp)
{
	memory(e, 0x89, reg, base, disp);
}

void regmap__emit_store_imm(struct slot_emit *e, unsigned base, int32_t disp, uint8_t value)
{
	rex(e, false, 0, NONE, base);
	byte(e, 0xc6);
	operand(e, 0, base, disp);
	byte(e, value);
}

void regmap__emit_arithmetic(struct slot_emit *e, uint8_t opcode, unsigned reg, unsigned base,
                             int32_t disp)
{
	memory(e, opcode, reg, base, disp);
}

void regmap__emit_lea(struct slot_emit *e, unsigned reg, unsigned base, int32_t disp, bool narrow)
{
	if (narrow)
		byte(e, 0x67);
	memory(e, 0x8d, reg, base, disp);
}

static void sib(struct slot_emit *e, unsigned base, unsigned index, unsigned shift)
{
	byte(e, shift << 6 | (index == NONE ? RSP : index & 7) << 3 |
	                (base == NONE ? RM_DISP : base & 7));
}

void regmap__emit_lea_index(struct slot_emit *e, unsigned reg, unsigned base, unsigned index,
                            unsigned shift, int32_t disp, bool narrow)
{
	if (base != NONE && index == NONE) {
		regmap__emit_lea(e, reg, base, disp, narrow);
		return;
	}
	if (narrow)
		byte(e, 0x67);
	rex(e, true, reg, index, base);
	byte(e, 0x8d);
	byte(e, (base == NONE ? 0u : 2u) << 6 | (reg & 7) << 3 | RM_SIB);
	sib(e, base, index, shift);
	word(e, (uint32_t)disp);
}

void regmap__emit_constant(struct slot_emit *e, unsigned reg, uint64_t value)
{
	bool wide = value >> 32;

	rex(e, wide, 0, NONE, reg);
	byte(e, 0xb8 | (reg & 7));
	regmap__emit_bytes(e, &value, wide ? 8 : 4);
}

static bool reaches(int64_t distance)
{
	return distance == (int32_t)distance;
}

void regmap__emit_rip(struct slot_emit *e, bool wide, uint8_t opcode, unsigned reg, uint64_t target)
{
	int64_t distance;

	rex(e, wide, reg, NONE, NONE);
	byte(e, opcode);
	byte(e, (reg & 7) << 3 | RM_DISP);
	distance = (int64_t)(target - (e->code + e->at + 4));
	if (!reaches(distance))
		e->full = true;
	word(e, (uint32_t)distance);
}

/* %fs:offset */
static void tls(struct slot_emit *e, bool wide, uint8_t opcode, unsigned reg, int32_t offset)
{
	byte(e, 0x64);
	rex(e, wide, reg, NONE, NONE);
	byte(e, opcode);
	byte(e, (reg & 7) << 3 | RM_SIB);
	sib(e, NONE, NONE, 0);
	word(e, (uint32_t)offset);
}

void regmap__emit_tls_load(struct slot_emit *e, unsigned reg, int32_t offset)
{
	tls(e, true, 0x8b, reg, offset);
}

void regmap__emit_tls_store(struct slot_emit *e, unsigned reg, int32_t offset)
{
	tls(e, true, 0x89, reg, offset);
}

void regmap__emit_tls_jump(struct slot_emit *e, int32_t offset)
{
	tls(e, false, 0xff, 4, offset);
}

void regmap__emit_tls_decrement(struct slot_emit *e, int32_t offset)
{
	tls(e, false, 0xfe, 1, offset);
}

void regmap__emit_tls_compare(struct slot_emit *e, int32_t offset, uint32_t value)
{
	tls(e, false, 0x81, 7, offset);
	word(e, value);
}

void regmap__emit_segment_base(struct slot_emit *e, unsigned reg, bool gs)
{
	byte(e, 0xf3);
	rex(e, true, 0, NONE, reg);
	byte(e, 0x0f);
	byte(e, 0xae);
	byte(e, 0xc0 | (gs ? 1u : 0) << 3 | (reg & 7));
}

enum { FAR_CONDITION = 0x10 }; /* from the opcode with 8 bits to the one with 32, behind 0f */

void regmap__emit_jump_if(struct slot_emit *e, uint8_t condition, struct slot_jump *jump)
{
	if (e->far) {
		byte(e, 0x0f);
		byte(e, condition + FAR_CONDITION);
		word(e, 0);
	} else {
		byte(e, condition);
		byte(e, 0);
	}
	jump->at[jump->count++] = e->at;
}

/* @size: bytes of each displacement. */
static void land(struct slot_emit *e, const struct slot_jump *jump, unsigned size)
{
	for (unsigned i = 0; i < jump->count && !e->full; i++) {
		uint32_t distance = e->at - jump->at[i];

		if (size == 1 && distance > INT8_MAX)
			e->full = true;
		memcpy(e->to + jump->at[i] - size, &distance, size);
	}
}

void regmap__emit_land(struct slot_emit *e, const struct slot_jump *jump)
{
	land(e, jump, e->far ? sizeof(uint32_t) : 1);
}

void regmap__emit_jump_on(struct slot_emit *e, struct slot_jump *jump)
{
	byte(e, 0xe9);
	word(e, 0);
	jump->at[jump->count++] = e->at;
}

void regmap__emit_land_far(struct slot_emit *e, const struct slot_jump *jump)
{
	land(e, jump, sizeof(uint32_t));
}

void regmap__emit_jump_back(struct slot_emit *e, unsigned to)
{
	int32_t distance = (int32_t)to - (int32_t)(e->at + 2);

	if (distance == (int8_t)distance) {
		byte(e, 0xeb);
		byte(e, (uint8_t)distance);
	} else {
		byte(e, 0xe9);
		word(e, to - (e->at + 4));
	}
}

void regmap__emit_jump_near(struct slot_emit *e, uint64_t target)
{
	int64_t distance = (int64_t)(target - (e->code + e->at + 5));

	if (!reaches(distance))
		e->full = true;
	byte(e, 0xe9);
	word(e, (uint32_t)distance);
}

void regmap__emit_jump(struct slot_emit *e, uint64_t target, uint64_t pointer)
{
	int64_t distance = (int64_t)(target - (e->code + e->at + 5));

	if (reaches(distance))
		regmap__emit_jump_near(e, target);
	else
		regmap__emit_rip(e, false, 0xff, 4, pointer);
}

void regmap__emit_lahf_seto(struct slot_emit *e)
{
	static const uint8_t lahf_seto_al[] = {0x9f, 0x0f, 0x90, 0xc0};

	regmap__emit_bytes(e, lahf_seto_al, sizeof lahf_seto_al);
}

/* It overflows if AL is 1. */
void regmap__emit_overflow(struct slot_emit *e)
{
	static const uint8_t add_7f_al[] = {0x04, 0x7f};

	regmap__emit_bytes(e, add_7f_al, sizeof add_7f_al);
}

void regmap__emit_sahf(struct slot_emit *e)
{
	byte(e, 0x9e);
}

int32_t regmap__emit_limit(unsigned access, unsigned size)
{
	unsigned rights = view_rights(access & EM_READ, access & EM_WRITE);

	return (int32_t)(offsetof(struct view, limit) +
	                 8 * (rights * VIEW_SIZES + view_class(size)));
}

void regmap__emit_try_view(struct slot_emit *e, unsigned view, unsigned base, uint64_t place,
                           int32_t limit, struct slot_jump *outside)
{
	enum { LOADS = 0x8b, COMPARES = 0x3b };

	regmap__emit_rip(e, true, LOADS, view, place);
	regmap__emit_arithmetic(e, COMPARES, base, view, limit);
	regmap__emit_jump_if(e, SLOT_IF_ABOVE_OR_EQUAL, outside);
	regmap__emit_arithmetic(e, COMPARES, base, view, offsetof(struct view, start));
	regmap__emit_jump_if(e, SLOT_IF_BELOW, outside);
}

void regmap__emit_lend(struct slot_emit *e, const struct slot_way_in *in, int32_t tls)
{
	regmap__emit_tls_store(e, RAX, tls + (int32_t)offsetof(struct lane_tls, flags));
	for (unsigned i = 0; i < FRAGMENT_REGISTERS; i++)
		regmap__emit_tls_store(e, in->lent[i],
		                       tls + (int32_t)offsetof(struct lane_tls, kept[i]));
	regmap__emit_tls_load(e, RAX, tls + (int32_t)offsetof(struct lane_tls, lane));
}

void regmap__emit_come_in(struct slot_emit *e, const struct slot_way_in *in, struct slot_jump *late)
{
	regmap__emit_store_imm(e, RAX, offsetof(struct lane, busy), 1);
	regmap__emit_tls_compare(e, in->armed, in->value);
	regmap__emit_jump_if(e, SLOT_IF_NOT_EQUAL, late);
}
