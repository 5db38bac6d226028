/* SPDX-License-Identifier: MIT */
/*
 * The code of slots. See slot.h for the parts, slot_emit.h for what is saved where.
 *
 * An inline part computes the address first, by instructions that leave the flags alone; keeps the
 * flags; finds the lane and the view; makes a host address of the guest's; gives the flags back, if
 * they matter; and runs the program's own instruction on it, with the program's own registers but
 * for the one that holds the address. All the while a signal may come, and any instruction that touches the
 * stack, thread-local storage or the operand may fault: what stands where at each instruction's
 * boundary goes into the map, for slot_roll.c.
 *
 * The call part sees all flags as they were, even those that the instruction overwrites: the
 * register page, to which the address may lead, shows them, and so does a fault.
 *
 * What there is of it in a processor's caches counts as much as what it executes: programs have
 * thousands of sites. So what is seldom is behind all the rest, and encodings are the short ones.
 */
#include "slot.h"

#include <string.h>

#include "slot_making.h"
#include "slot_pass.h"
#include "slot_tail.h"
#include "slotmove.h"

#include "sigsafe.h"

enum { CALL_TO_JMP = 6 << 3, CALL_TO_PUSH = 4 << 3 }; /* the opcode in ModRM: 2 becomes 4, or 6 */

/* --- the way in --- */

static bool has_way_in(const struct slot_making *m)
{
	return m->request->way_in.to && m->moves && !m->pushes_flags && !m->request->count;
}

/*
 * The frame is closed again before the jump: a fragment leaves RSP to the program. Whoever disarms threads
 * waits for busy lanes then: so it counts whether this one is armed once it is busy.
 */
static void go_in(struct slot_making *m, struct slot_jump *late)
{
	const struct slot_way_in *in = &m->request->way_in;

	regmap__emit_lend(&m->e, in, m->request->tls);
	regmap__emit_state(&m->e, SLOT_IN_TLS | SLOT_BUSY, SLOT_IN_AX);
	regmap__emit_come_in(&m->e, in, late);
	regmap__slot_give_back(m, SLOT_AX);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, 0, SLOT_MOVED);
	regmap__emit_jump_near(&m->e, in->to);
}

/* RAX has the lane, and nothing else has changed. */
static void stay_out(struct slot_making *m, const struct slot_jump *late, unsigned open)
{
	regmap__emit_state(&m->e, (open & ~(unsigned)SLOT_IN_AX) | SLOT_IN_TLS | SLOT_BUSY, ~0u);
	regmap__emit_land(&m->e, late);
	regmap__emit_store_imm(&m->e, CPU_RAX, offsetof(struct lane, busy), 0);
	regmap__emit_state(&m->e, 0, SLOT_BUSY);
	regmap__emit_tls_load(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	regmap__emit_state(&m->e, SLOT_IN_AX, SLOT_IN_TLS);
}

static void emit_way_in(struct slot_making *m)
{
	const struct slot_way_in *in = &m->request->way_in;
	struct slot_jump plain = {.count = 0}, other = {.count = 0}, late = {.count = 0};
	struct slot_jump ask = {.count = 0};
	unsigned open;

	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, SLOT_MOVED, 0);
	regmap__emit_push(&m->e, CPU_RAX);
	regmap__emit_state(&m->e, 1u << SLOT_AX, 0);
	regmap__slot_keep_flags(m);
	open = m->e.state;
	regmap__emit_tls_compare(&m->e, in->armed, in->value);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, &other);
	go_in(m, &late);
	stay_out(m, &late, open);
	regmap__emit_land(&m->e, &other);
	regmap__emit_tls_compare(&m->e, in->armed, 0);
	regmap__emit_jump_if(&m->e, SLOT_IF_EQUAL, &ask);
	regmap__slot_compare_magic(m, &plain);
	regmap__emit_tls_decrement(&m->e, tls_at(m, offsetof(struct lane_tls, waits)));
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, &plain);
	regmap__emit_land(&m->e, &ask);
	regmap__slot_give_flags_back(m);
	regmap__emit_jump_on(&m->e, &m->into_call);
	regmap__emit_state(&m->e, open, ~0u);
	regmap__emit_land(&m->e, &plain);
	regmap__slot_give_flags_back(m);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, 0, SLOT_MOVED);
	m->map->plain = (uint16_t)m->e.at;
}

/* --- the call part --- */

/* Where what is called may be regmap__slot_device(). */
static bool hands_address(const struct slot_making *m)
{
	return m->request->chooses && m->plan->kind == EM_COMPILED && m->plan->compiled.straight &&
	       m->plan->mem.segment == EM_SEG_NONE && !m->plan->mem.index8;
}

static void leave_call(struct slot_making *m)
{
	regmap__emit_state(&m->e, SLOT_DONE | SLOT_MOVED, ~0u);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, 0, SLOT_MOVED);
}

static void emit_entry(struct slot_making *m)
{
	regmap__emit_rip(&m->e, false, 0xff, 2,
	                 m->request->cell + offsetof(struct slot_cell, entry));
}

/*
 * For who must not take the tail. They come there by a RET, as if a CALL stood before it: one does, which nobody
 * executes.
 */
static void emit_plain(struct slot_making *m)
{
	emit_entry(m);
	m->plain = m->e.at;
	leave_call(m);
	regmap__slot_jump_to_next(m);
}

/* mov %rsi, SLOT_HANDED_AT(%rsp); then RSI is the operand's address. */
static void hand_address(struct slot_making *m)
{
	const struct em_mem *mem = &m->plan->mem;

	regmap__emit_store(&m->e, CPU_RSI, CPU_RSP, SLOT_HANDED_AT);
	if (mem->base == EM_RIP || (mem->base == EM_NO_REG && mem->index == EM_NO_REG))
		regmap__emit_constant(&m->e, CPU_RSI, regmap__slot_constant_address(m));
	else
		regmap__emit_lea_index(&m->e, CPU_RSI, mem->base, mem->index, mem->shift,
		                       (int32_t)mem->disp, mem->address32);
	regmap__emit_state(&m->e, SLOT_HANDED, 0);
	if (mem->base == CPU_RSP)
		regmap__emit_lea(&m->e, CPU_RSI, CPU_RSI, SLOT_RED_ZONE, mem->address32);
}

static void emit_call(struct slot_making *m)
{
	m->map->call = (uint16_t)m->e.at;
	if (!(m->e.state & SLOT_MOVED))
		regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, SLOT_MOVED, 0);
	regmap__emit_land_far(&m->e, &m->into_call);
	m->calls = m->e.at;
	m->map->hands_address = hands_address(m);
	if (m->map->hands_address)
		hand_address(m);
	emit_entry(m);
	m->map->returned = (uint16_t)m->e.at;
	leave_call(m);
	if (m->request->chooses && regmap__slot_emit_tail(&m->e, m->request))
		emit_plain(m);
	else
		regmap__slot_jump_to_next(m);
}

/* jmp *way(%rip) */
static void emit_choice(struct slot_making *m)
{
	regmap__emit_rip(&m->e, false, 0xff, 4, m->request->cell + offsetof(struct slot_cell, way));
	emit_call(m);
	m->start_inline = m->e.at;
	regmap__emit_state(&m->e, 0, ~0u);
}

/* --- the original --- */

/* It may set TF: the trap comes behind the instruction that follows, which is to be the program's. */
static bool loads_flags(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_POPF || m == ZYDIS_MNEMONIC_POPFQ;
}

/* A return address, or a target relative to it, would be that of the slot. */
static bool is_bound(const struct slot_making *m)
{
	const ZydisDecodedInstruction *insn = &m->d.insn;

	return loads_flags(insn->mnemonic) || m->plan->kind == EM_CALL ||
	       insn->meta.category == ZYDIS_CATEGORY_CALL || insn->raw.imm[0].is_relative ||
	       insn->raw.imm[1].is_relative || insn->meta.category == ZYDIS_CATEGORY_SYSCALL ||
	       insn->meta.category == ZYDIS_CATEGORY_INTERRUPT;
}

/* The instruction's own bytes, but for its opcode in ModRM. RIP-relative operands stay where they are. */
static bool emit_moved(struct slot_making *m, uint8_t opcode)
{
	const struct plan *p = m->plan;
	uint8_t bytes[EM_MAX_LENGTH];
	int64_t disp = p->mem.disp + (int64_t)(m->request->site - (m->request->code + m->e.at));

	memcpy(bytes, p->bytes, p->length);
	bytes[m->d.insn.raw.modrm.offset] ^= opcode;
	if (p->mem.base == EM_RIP) {
		if (!p->mem.address32 && disp != (int32_t)disp)
			return regmap__slot_no(m, "its operand is too far from its slot");
		memcpy(bytes + m->d.insn.raw.disp.offset, &disp, 4);
	}
	regmap__emit_bytes(&m->e, bytes, p->length);
	return true;
}

/*
 * Before the return address is pushed it must be known that the target can be read: a fault behind
 * it would leave it in the red zone. So the target is pushed first, to where the return address goes.
 */
static bool try_target(struct slot_making *m)
{
	if (!emit_moved(m, CALL_TO_PUSH))
		return false;
	regmap__emit_state(&m->e, SLOT_PUSHED, 0);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, 8, false);
	regmap__emit_state(&m->e, 0, SLOT_PUSHED);
	return true;
}

/* CALL becomes PUSH and JMP. */
static bool emit_original(struct slot_making *m)
{
	bool through_memory = regmap__slot_is_indirect(m->plan);
	bool calls = m->d.insn.mnemonic == ZYDIS_MNEMONIC_CALL &&
	             (through_memory || regmap__slot_is_register_jump(&m->d));

	if (is_bound(m) && !calls)
		return regmap__slot_no(m, "it can't be moved");
	regmap__emit_state(&m->e, 0, ~0u);
	m->map->original = (uint16_t)m->e.at;
	if (calls && through_memory && !try_target(m))
		return false;
	if (calls)
		regmap__slot_push_next(m);
	if (!emit_moved(m, calls ? CALL_TO_JMP : 0))
		return false;
	regmap__emit_state(&m->e, SLOT_DONE, SLOT_PUSHED);
	if (m->request->passes)
		regmap__slot_go_on(m);
	else
		regmap__slot_jump_to_next(m);
	return true;
}

/* A branch that is taken doesn't come back. */
static bool emit_branch(struct slot_making *m)
{
	const ZydisDecodedInstruction *insn = &m->d.insn;
	uint64_t target = m->request->site + m->plan->length + (uint64_t)insn->raw.imm[0].value.s;
	int64_t distance;
	int32_t near;
	uint8_t code[6] = {0x0f, (uint8_t)(0x80 | (insn->opcode & 15))};
	unsigned length = 6;

	m->map->original = (uint16_t)m->e.at;
	if (insn->mnemonic == ZYDIS_MNEMONIC_CALL)
		regmap__slot_push_next(m);
	if (insn->meta.category != ZYDIS_CATEGORY_COND_BR) {
		code[0] = 0xe9;
		length = 5;
	}
	distance = (int64_t)(target - (m->request->code + m->e.at + length));
	near = (int32_t)distance;
	if (near != distance)
		return regmap__slot_no(m, "its target is too far from its slot");
	memcpy(code + length - sizeof near, &near, sizeof near);
	regmap__emit_bytes(&m->e, code, length);
	regmap__emit_state(&m->e, SLOT_DONE, SLOT_PUSHED);
	if (m->request->passes)
		regmap__slot_go_on(m);
	else
		regmap__slot_jump_to_next(m);
	return true;
}

const struct view regmap__slot_no_view;

static void fill_cell(const struct slot_making *m, struct slot_cell *cell)
{
	cell->view = (const struct view *_Atomic *)(uintptr_t)m->request->view;
	cell->other = (const struct view *_Atomic *)(uintptr_t)m->request->other;
	if (!m->request->shares_views) {
		atomic_store_explicit(cell->view, &regmap__slot_no_view, memory_order_relaxed);
		atomic_store_explicit(cell->other, &regmap__slot_no_view, memory_order_relaxed);
	}
	cell->start = m->request->code;
	cell->way = m->start_inline ? m->request->code + m->map->call : 0;
	cell->start_inline = m->map->access != SLOT_NO_OFFSET ? m->request->code + m->start_inline :
	                                                        0;
	cell->move = m->map->hands_address ? (uintptr_t)&regmap__slot_no_move : 0;
	cell->plain = m->plain ? m->request->code + m->plain : 0;
	cell->tail = cell->tail_mask = 0;
	if (m->plain)
		regmap__slot_fill_tail(m->request, m->map, cell);
	cell->original = m->request->code + m->map->original;
	cell->site = m->request->site;
	cell->next = m->request->site + m->plan->length;
}

static void begin(struct slot_making *m, const struct slot_request *request, uint8_t *to,
                  struct slot_map *map, bool far)
{
	m->request = request;
	m->plan = request->plan;
	m->map = map;
	m->saved = 0;
	m->why = NULL;
	m->into_call.count = 0;
	m->calls = m->plain = m->start_inline = 0;
	m->e = (struct slot_emit){.to = to,
	                          .map = map,
	                          .code = request->code,
	                          .most = SLOT_CODE_MOST,
	                          .far = far};
	memset(map, 0, sizeof *map);
	map->access = map->original = SLOT_NO_OFFSET;
	map->tls = request->tls;
	regmap__emit_state(&m->e, 0, 0);
}

/* @far: jumps within the slot are long ones. */
static bool generate(struct slot_making *m, const struct slot_request *request, uint8_t *to,
                     struct slot_map *map, bool far)
{
	begin(m, request, to, map, far);
	if (regmap__em_decode(&m->d, request->plan->bytes, request->plan->length))
		return regmap__slot_no(m, "not an instruction");
	if (!request->passes && regmap__slot_prepare(m)) {
		memcpy(map->scratch, m->reg, sizeof map->scratch);
		map->scratches = SLOT_SCRATCHES;
		if (request->chooses)
			emit_choice(m);
		else if (has_way_in(m))
			emit_way_in(m);
		regmap__slot_emit_inline(m);
		if (request->chooses)
			regmap__emit_jump_back(&m->e, m->calls);
	}
	if (!request->passes && !m->calls)
		emit_call(m);
	/* one whose push is the access goes on faulting: moved, its fault looks like one behind it */
	return regmap__slot_is_simple_jump(&m->d) && request->plan->kind != EM_CALL ?
	               emit_branch(m) :
	               emit_original(m);
}

size_t regmap__slot_generate(const struct slot_request *request, uint8_t to[SLOT_CODE_MOST],
                             struct slot_map *map, struct slot_cell *cell, const char **why)
{
	struct slot_making m;
	bool made = generate(&m, request, to, map, false);

	if (made && m.e.full)
		made = generate(&m, request, to, map, true);
	*why = m.why; /* why there is no inline part, where there is a slot */
	if (made && m.e.full)
		*why = "too long, or too far away";
	if (!made || m.e.full)
		return 0;
	map->length = (uint16_t)m.e.at;
	fill_cell(&m, cell);
	return m.e.at;
}
