/* SPDX-License-Identifier: MIT */
/* The inline parts of slots: the access itself, by way of a view. */
#include "slot_making.h"

#include "slot_pass.h"
#include "slot_tail.h"

#include "sigsafe.h"

enum { X87_MASKS = 0x3f, CONGRUENT = 63 };

static void save(struct slot_making *m, unsigned which)
{
	if (!(m->saved >> which & 1))
		return;
	regmap__emit_push(&m->e, m->reg[which]);
	regmap__emit_state(&m->e, 1u << which, 0);
}

void regmap__slot_give_back(struct slot_making *m, unsigned which)
{
	if (!(m->e.state >> which & 1))
		return;
	regmap__emit_pop(&m->e, m->reg[which]);
	regmap__emit_state(&m->e, 0, 1u << which);
}

static void open_frame(struct slot_making *m)
{
	if (m->moves) {
		regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
		regmap__emit_state(&m->e, SLOT_MOVED, 0);
	}
	for (unsigned i = 0; i < SLOT_SCRATCHES; i++)
		save(m, i);
}

static void give_all_back(struct slot_making *m)
{
	for (unsigned i = SLOT_SCRATCHES; i-- > 0;)
		regmap__slot_give_back(m, i);
}

static void close_frame(struct slot_making *m)
{
	give_all_back(m);
	if (m->e.state & SLOT_MOVED) {
		regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
		regmap__emit_state(&m->e, 0, SLOT_MOVED);
	}
}

/* From RSP in an open frame to the program's. */
static int32_t frame_size(const struct slot_making *m)
{
	int32_t size = m->moves ? SLOT_RED_ZONE : 0;

	for (unsigned i = 0; i < SLOT_SCRATCHES; i++)
		size += m->saved >> i & 1 ? 8 : 0;
	return size;
}

uint64_t regmap__slot_constant_address(const struct slot_making *m)
{
	const struct em_mem *mem = &m->plan->mem;
	uint64_t address = (uint64_t)mem->disp;

	if (mem->base == EM_RIP)
		address += m->request->site + m->plan->length;
	return mem->address32 ? (uint32_t)address : address;
}

static void emit_sum(struct slot_making *m)
{
	const struct em_mem *mem = &m->plan->mem;
	unsigned to = m->reg[SLOT_BASE], index = mem->index;

	if (mem->index8) {
		static const uint8_t movzbl_al[] = {0x0f, 0xb6};
		uint8_t rex_and_modrm[] = {0x44, (uint8_t)(0xc0 | (m->reg[SLOT_TEMP] & 7) << 3)};

		index = m->reg[SLOT_TEMP];
		if (index & 8)
			regmap__emit_bytes(&m->e, rex_and_modrm, 1);
		regmap__emit_bytes(&m->e, movzbl_al, sizeof movzbl_al);
		regmap__emit_bytes(&m->e, rex_and_modrm + 1, 1);
	}
	regmap__emit_lea_index(&m->e, to, mem->base, index, mem->shift, (int32_t)mem->disp,
	                       mem->address32);
	if (mem->base == CPU_RSP && m->moves)
		regmap__emit_lea(&m->e, to, to, frame_size(m), mem->address32);
}

static void emit_address(struct slot_making *m)
{
	const struct em_mem *mem = &m->plan->mem;
	unsigned to = m->reg[SLOT_BASE], temp = m->reg[SLOT_TEMP];

	if (mem->base == EM_RIP || (mem->base == EM_NO_REG && mem->index == EM_NO_REG))
		regmap__emit_constant(&m->e, to, regmap__slot_constant_address(m));
	else
		emit_sum(m);
	if (mem->segment != EM_SEG_NONE) {
		regmap__emit_segment_base(&m->e, temp, mem->segment == EM_SEG_GS);
		regmap__emit_lea_index(&m->e, to, to, temp, 0, 0, false);
	}
	if (m->reg[SLOT_STACK] != EM_NO_REG)
		regmap__emit_lea(&m->e, m->reg[SLOT_STACK], CPU_RSP, frame_size(m), false);
}

void regmap__slot_keep_flags(struct slot_making *m)
{
	static const uint8_t pushfq[] = {0x9c};

	if (m->pushes_flags) {
		regmap__emit_bytes(&m->e, pushfq, sizeof pushfq);
		regmap__emit_state(&m->e, SLOT_PUSHED | SLOT_ON_STACK, 0);
	} else {
		regmap__emit_lahf_seto(&m->e);
		regmap__emit_state(&m->e, SLOT_IN_AX, 0);
	}
}

void regmap__slot_give_flags_back(struct slot_making *m)
{
	static const uint8_t popfq[] = {0x9d};

	if (m->pushes_flags) {
		regmap__emit_bytes(&m->e, popfq, sizeof popfq);
		regmap__emit_state(&m->e, 0, SLOT_PUSHED | SLOT_ON_STACK);
	} else {
		regmap__emit_overflow(&m->e);
		regmap__emit_state(&m->e, SLOT_IN_AH, SLOT_IN_AX);
		regmap__emit_sahf(&m->e);
		regmap__emit_state(&m->e, 0, SLOT_IN_AH);
	}
	regmap__slot_give_back(m, SLOT_AX);
}

/* The instruction is going to overwrite them, and whoever comes next. */
static void forget_flags(struct slot_making *m)
{
	if (m->e.state & SLOT_ON_STACK) {
		regmap__emit_pop(&m->e, m->reg[SLOT_TEMP]);
		regmap__emit_state(&m->e, 0, SLOT_PUSHED | SLOT_ON_STACK);
	}
	regmap__slot_give_back(m, SLOT_AX);
	regmap__emit_state(&m->e, 0, SLOT_IN_AX);
}

/* push, to have room; fnstcw; movzwl; lea; not; test $0x3f: all exceptions masked? */
static void check_x87(struct slot_making *m, struct slot_jump *miss)
{
	static const uint8_t fnstcw[] = {0xd9, 0x3c, 0x24};
	uint8_t reg = m->reg[SLOT_TEMP] & 7, high = m->reg[SLOT_TEMP] >> 3;
	const uint8_t load[] = {(uint8_t)(0x40 | high << 2), 0x0f, 0xb7, (uint8_t)(0x04 | reg << 3),
	                        0x24};
	const uint8_t invert[] = {(uint8_t)(0x40 | high), 0xf7, (uint8_t)(0xd0 | reg)};
	const uint8_t test[] = {(uint8_t)(0x40 | high), 0xf6, (uint8_t)(0xc0 | reg), X87_MASKS};

	regmap__emit_push(&m->e, m->reg[SLOT_TEMP]);
	regmap__emit_state(&m->e, SLOT_WORKED, 0);
	regmap__emit_bytes(&m->e, fnstcw, sizeof fnstcw);
	regmap__emit_bytes(&m->e, load, sizeof load);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, 8, false);
	regmap__emit_state(&m->e, 0, SLOT_WORKED);
	regmap__emit_bytes(&m->e, invert, sizeof invert);
	regmap__emit_bytes(&m->e, test, sizeof test);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, miss);
}

static int32_t lane_at(const struct slot_making *m)
{
	return tls_at(m, offsetof(struct lane_tls, lane));
}

void regmap__slot_compare_magic(struct slot_making *m, struct slot_jump *miss)
{
	regmap__emit_tls_compare(&m->e, tls_at(m, offsetof(struct lane_tls, magic)),
	                         m->request->magic);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, miss);
}

static void enter_lane(struct slot_making *m, struct slot_jump *miss)
{
	unsigned temp = m->reg[SLOT_TEMP];

	regmap__slot_compare_magic(m, miss);
	regmap__emit_tls_load(&m->e, temp, lane_at(m));
	regmap__emit_store_imm(&m->e, temp, offsetof(struct lane, busy), 1);
	regmap__emit_state(&m->e, SLOT_BUSY, 0);
}

static void leave_lane(struct slot_making *m, bool count)
{
	unsigned temp = m->reg[SLOT_TEMP], base = m->reg[SLOT_BASE];

	regmap__emit_tls_load(&m->e, temp, lane_at(m));
	if (count) {
		regmap__emit_load(&m->e, base, temp, offsetof(struct lane, count));
		regmap__emit_lea(&m->e, base, base, 1, false);
		regmap__emit_store(&m->e, base, temp, offsetof(struct lane, count));
	}
	regmap__emit_store_imm(&m->e, temp, offsetof(struct lane, busy), 0);
	regmap__emit_state(&m->e, 0, SLOT_BUSY);
}

/* testb $63, delta(view) */
static void check_congruence(struct slot_making *m, struct slot_jump *miss)
{
	uint8_t reg = m->reg[SLOT_TEMP];
	const uint8_t test[] = {(uint8_t)(0x40 | reg >> 3), 0xf6, (uint8_t)(0x40 | (reg & 7)),
	                        offsetof(struct view, delta), CONGRUENT};
	const uint8_t test_sib[] = {test[0], 0xf6, test[2], 0x24, test[3], CONGRUENT};

	if ((reg & 7) == CPU_RSP)
		regmap__emit_bytes(&m->e, test_sib, sizeof test_sib);
	else
		regmap__emit_bytes(&m->e, test, sizeof test);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, miss);
}

static void try_view(struct slot_making *m, uint64_t place, struct slot_jump *outside)
{
	regmap__emit_try_view(&m->e, m->reg[SLOT_TEMP], m->reg[SLOT_BASE], place,
	                      regmap__emit_limit(m->plan->access, m->plan->size), outside);
}

/* @found: where it goes on once a view is found. */
static void translate(struct slot_making *m, struct slot_jump *miss, struct slot_jump *outside,
                      unsigned *found)
{
	enum { ADD = 0x03 };
	unsigned view = m->reg[SLOT_TEMP], base = m->reg[SLOT_BASE];

	try_view(m, m->request->view, outside);
	*found = m->e.at;
	if (regmap__slot_checks_alignment(&m->d))
		check_congruence(m, miss);
	regmap__emit_arithmetic(&m->e, ADD, base, view, offsetof(struct view, delta));
}

/* Out of the way: what is here more seldom, ordinary memory perhaps. */
static void try_other(struct slot_making *m, struct slot_jump *miss,
                      const struct slot_jump *outside, unsigned found)
{
	regmap__emit_land(&m->e, outside);
	try_view(m, m->request->other, miss);
	regmap__emit_jump_back(&m->e, found);
}

void regmap__slot_jump_to_next(struct slot_making *m)
{
	regmap__emit_jump(&m->e, m->request->site + m->plan->length,
	                  m->request->cell + offsetof(struct slot_cell, next));
}

void regmap__slot_go_on(struct slot_making *m)
{
	if (!regmap__slot_emit_tail(&m->e, m->request))
		regmap__slot_jump_to_next(m);
}

/*
 * Nothing has happened: with the registers as they were, but for RSP, which the call part moves as an open
 * frame does. @busy: from where the lane may be busy; @idle: where it isn't yet.
 */
static void emit_misses(struct slot_making *m, const struct slot_jump *busy,
                        const struct slot_jump *idle)
{
	regmap__emit_land(&m->e, busy);
	leave_lane(m, false);
	regmap__emit_land(&m->e, idle);
	regmap__slot_give_flags_back(m);
	give_all_back(m);
}

void regmap__slot_push_next(struct slot_making *m)
{
	regmap__emit_rip(&m->e, false, 0xff, 6,
	                 m->request->cell + offsetof(struct slot_cell, next));
	regmap__emit_state(&m->e, SLOT_PUSHED, 0);
}

/* The registers are the program's again before it counts: until then nothing has happened. */
static void leave_indirectly(struct slot_making *m)
{
	int32_t target = tls_at(m, offsetof(struct lane_tls, target));

	regmap__emit_tls_store(&m->e, m->reg[SLOT_BASE], target);
	leave_lane(m, m->request->count);
	close_frame(m);
	if (m->plan->kind == EM_CALL)
		regmap__slot_push_next(m);
	regmap__emit_tls_jump(&m->e, target);
}

static void leave_behind(struct slot_making *m)
{
	regmap__emit_state(&m->e, SLOT_DONE, 0);
	leave_lane(m, m->request->count);
	close_frame(m);
	if (m->request->chooses)
		regmap__slot_jump_to_next(m);
	else
		regmap__slot_go_on(m);
}

/* --- from end to end --- */

void regmap__slot_emit_inline(struct slot_making *m)
{
	struct slot_jump busy = {.count = 0}, idle = {.count = 0}, outside = {.count = 0};
	unsigned state, found;

	open_frame(m);
	emit_address(m);
	regmap__slot_keep_flags(m);
	state = m->e.state;
	if (m->is_x87)
		check_x87(m, &idle);
	enter_lane(m, &idle);
	translate(m, &busy, &outside, &found);
	if (m->needs_flags)
		regmap__slot_give_flags_back(m);
	else
		forget_flags(m);
	m->map->access = (uint16_t)m->e.at;
	regmap__emit_bytes(&m->e, m->insn.code, m->insn.code_length);
	if (regmap__slot_is_indirect(m->plan))
		leave_indirectly(m);
	else
		leave_behind(m);
	regmap__emit_state(&m->e, state | SLOT_BUSY, ~0u);
	try_other(m, &busy, &outside, found);
	emit_misses(m, &busy, &idle);
}
