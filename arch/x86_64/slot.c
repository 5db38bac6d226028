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

#include "slot_dead.h"
#include "slot_emit.h"
#include "slot_pass.h"
#include "slot_tail.h"
#include "slotmove.h"

#include "sigsafe.h"

enum { CALL_TO_JMP = 6 << 3, CALL_TO_PUSH = 4 << 3 }; /* the opcode in ModRM: 2 becomes 4, or 6 */
enum { NO_OFFSET = 0xffff, X87_MASKS = 0x3f, CONGRUENT = 63 };

/* One generation. */
struct making {
	const struct slot_request *request;
	const struct plan *plan;
	struct em_decoded d;
	struct em_native insn; /* the instruction on [base] */
	struct slot_emit e;
	struct slot_map *map;
	uint8_t reg[SLOT_SCRATCHES]; /* EM_NO_REG: not needed */
	unsigned saved;              /* bit per one that must be */
	bool pushes_flags, needs_flags, moves, is_x87;
	struct slot_jump into_call;          /* from the way in */
	unsigned calls, plain, start_inline; /* offsets; 0: there is none */
	const char *why;
};

/* --- what the instruction is like --- */

static bool no(struct making *m, const char *why)
{
	m->why = why;
	return false;
}

static bool is_plain(const struct plan *p)
{
	return p->kind == EM_COMPILED || p->kind == EM_NATIVE || p->kind == EM_MASKED;
}

/* CALL or JMP, near, to where 8 bytes of memory say. */
static bool is_indirect(const struct plan *p)
{
	return (p->kind == EM_CALL || p->kind == EM_JUMP) && p->has_mem && p->width == 8 &&
	       p->mem.base != CPU_RSP && p->mem.segment == EM_SEG_NONE;
}

/* RSP as an operand that is read has a stand-in; one that is written moves the frame. */
static bool writes_rsp(const struct em_decoded *d)
{
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    regmap__em_gpr(d->op[i].reg.value, &r) && r.gpr == CPU_RSP && !r.high &&
		    d->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			return true;
	return false;
}

static bool has_inline(struct making *m)
{
	const struct plan *p = m->plan;

	if (!m->request->inline_access)
		return no(m, "no inline part is wanted");
	if ((!is_plain(p) && !is_indirect(p)) || !p->has_mem || m->d.mem < 0)
		return no(m, "no ordinary operand");
	if (!p->size || p->size > VIEW_MOST || !(p->access & (EM_READ | EM_WRITE)))
		return no(m, "an operand of unusual size");
	if (regmap__slot_names_segment(&m->d))
		return no(m, "it has to do with a segment register");
	if (!is_indirect(p) && writes_rsp(&m->d))
		return no(m, "it writes RSP");
	if (regmap__em_is_x87(&m->d) && !regmap__em_is_amd())
		return no(m, "the x87 remembers the address of its last instruction");
	if (p->mem.segment != EM_SEG_NONE && !regmap__xstate.fsgsbase)
		return no(m, "the segment's base can't be read");
	return true;
}

/* --- registers --- */

static bool take(struct making *m, unsigned which, unsigned from, unsigned *avoid)
{
	unsigned dead = from & m->request->dead.gpr & ~*avoid, any = from & ~*avoid;
	unsigned choice = dead ? dead : any;

	if (!choice)
		return no(m, "no register is free");
	m->reg[which] = (uint8_t)__builtin_ctz(choice);
	*avoid |= 1u << m->reg[which];
	if (!(m->request->dead.gpr >> m->reg[which] & 1))
		m->saved |= 1u << which;
	return true;
}

/* XLAT's index goes through the second register while the base is still needed. */
static unsigned address_registers(const struct making *m)
{
	return m->plan->mem.index8 ? 1u << m->plan->mem.base | 1u << CPU_RAX : 0;
}

/* CALL uses RSP only when all the rest is over. */
static unsigned used_registers(const struct making *m)
{
	unsigned used = regmap__em_used_registers(&m->d);

	return is_indirect(m->plan) ? used & ~(1u << CPU_RSP) : used;
}

/*
 * The instruction's registers must hold the program's values while it runs, so the two of ours are
 * others. RAX, where it keeps flags, is given back before.
 */
static bool choose_registers(struct making *m)
{
	const unsigned all = 0xffff & ~(1u << CPU_RSP), low = 0xcf; /* but RSP, RBP */
	unsigned used = used_registers(m);
	unsigned avoid = used | address_registers(m);
	bool in_ax = !m->pushes_flags;

	memset(m->reg, EM_NO_REG, sizeof m->reg);
	if (in_ax) {
		m->reg[SLOT_AX] = CPU_RAX;
		avoid |= 1u << CPU_RAX;
		if (used & 1u << CPU_RAX || !(m->request->dead.gpr & 1u << CPU_RAX))
			m->saved |= 1u << SLOT_AX;
	}
	if (!take(m, SLOT_BASE, low, &avoid))
		return false;
	if (used & 1u << CPU_RSP && !take(m, SLOT_STACK, low, &avoid))
		return false;
	return take(m, SLOT_TEMP, low, &avoid) || take(m, SLOT_TEMP, all, &avoid);
}

/* MOV with an absolute address of 64 bits, and XLAT, have no ModRM: they become MOVs that do. */
static bool rewrite_accumulator(struct making *m)
{
	struct em_native *n = &m->insn;
	bool store = m->plan->access & EM_WRITE;
	unsigned width = m->plan->size;

	if (m->d.insn.mnemonic != ZYDIS_MNEMONIC_MOV && m->d.insn.mnemonic != ZYDIS_MNEMONIC_XLAT)
		return no(m, "no ModRM");
	n->code_length = 0;
	if (width == 2)
		n->code[n->code_length++] = 0x66;
	if (width == 8)
		n->code[n->code_length++] = 0x48;
	n->code[n->code_length++] = (uint8_t)(0x88 | (store ? 0 : 2) | (width > 1));
	n->code[n->code_length++] = m->reg[SLOT_BASE];
	return true;
}

/* mov (base), base: where to go, for the end. It is one of the first eight, with a plain ModRM. */
static bool rewrite_indirect(struct making *m)
{
	const uint8_t load[] = {0x48, 0x8b, (uint8_t)(m->reg[SLOT_BASE] << 3 | m->reg[SLOT_BASE])};

	memcpy(m->insn.code, load, sizeof load);
	m->insn.code_length = sizeof load;
	m->insn.base = m->reg[SLOT_BASE];
	m->insn.rsp = EM_NO_REG;
	return true;
}

/* splice.c chooses between base and stand-in by itself, if both are needed. */
static bool rewrite(struct making *m)
{
	unsigned allowed = 1u << m->reg[SLOT_BASE];

	if (is_indirect(m->plan))
		return rewrite_indirect(m);
	if (!(m->d.insn.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return rewrite_accumulator(m);
	if (m->reg[SLOT_STACK] != EM_NO_REG)
		allowed |= 1u << m->reg[SLOT_STACK];
	if (!regmap__em_splice(&m->insn, &m->d, ~allowed))
		return no(m, "its operand can't be rewritten");
	if (m->reg[SLOT_STACK] == EM_NO_REG)
		return m->insn.rsp == EM_NO_REG || no(m, "it names RSP twice");
	if (m->insn.rsp == EM_NO_REG)
		return no(m, "it uses RSP without naming it");
	m->reg[SLOT_BASE] = m->insn.base;
	m->reg[SLOT_STACK] = m->insn.rsp;
	return true;
}

static void swap_saved(struct making *m, uint8_t base_before)
{
	unsigned base = m->saved >> SLOT_BASE & 1, stack = m->saved >> SLOT_STACK & 1;

	if (m->reg[SLOT_BASE] == base_before)
		return;
	m->saved &= ~(1u << SLOT_BASE | 1u << SLOT_STACK);
	m->saved |= base << SLOT_STACK | stack << SLOT_BASE;
}

/* Everything that can be known before the first byte is laid. */
static bool prepare(struct making *m)
{
	uint64_t kept = regmap__slot_flags_kept(&m->d) & ~m->request->dead.flags;
	uint8_t base;

	if (!has_inline(m))
		return false;
	m->needs_flags = kept || regmap__slot_flags_read(&m->d);
	m->pushes_flags = m->request->pushed_flags || !regmap__xstate.lahf;
	m->is_x87 = regmap__em_is_x87(&m->d);
	if (!choose_registers(m))
		return false;
	base = m->reg[SLOT_BASE];
	if (!rewrite(m))
		return false;
	swap_saved(m, base);
	m->moves = m->saved || m->pushes_flags || m->is_x87;
	return true;
}

/* --- the inline part --- */

static void save(struct making *m, unsigned which)
{
	if (!(m->saved >> which & 1))
		return;
	regmap__emit_push(&m->e, m->reg[which]);
	regmap__emit_state(&m->e, 1u << which, 0);
}

static void give_back(struct making *m, unsigned which)
{
	if (!(m->e.state >> which & 1))
		return;
	regmap__emit_pop(&m->e, m->reg[which]);
	regmap__emit_state(&m->e, 0, 1u << which);
}

static void open_frame(struct making *m)
{
	if (m->moves) {
		regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
		regmap__emit_state(&m->e, SLOT_MOVED, 0);
	}
	for (unsigned i = 0; i < SLOT_SCRATCHES; i++)
		save(m, i);
}

static void give_all_back(struct making *m)
{
	for (unsigned i = SLOT_SCRATCHES; i-- > 0;)
		give_back(m, i);
}

static void close_frame(struct making *m)
{
	give_all_back(m);
	if (m->e.state & SLOT_MOVED) {
		regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
		regmap__emit_state(&m->e, 0, SLOT_MOVED);
	}
}

/* From RSP in an open frame to the program's. */
static int32_t frame_size(const struct making *m)
{
	int32_t size = m->moves ? SLOT_RED_ZONE : 0;

	for (unsigned i = 0; i < SLOT_SCRATCHES; i++)
		size += m->saved >> i & 1 ? 8 : 0;
	return size;
}

static uint64_t constant_address(const struct making *m)
{
	const struct em_mem *mem = &m->plan->mem;
	uint64_t address = (uint64_t)mem->disp;

	if (mem->base == EM_RIP)
		address += m->request->site + m->plan->length;
	return mem->address32 ? (uint32_t)address : address;
}

static void emit_sum(struct making *m)
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

static void emit_address(struct making *m)
{
	const struct em_mem *mem = &m->plan->mem;
	unsigned to = m->reg[SLOT_BASE], temp = m->reg[SLOT_TEMP];

	if (mem->base == EM_RIP || (mem->base == EM_NO_REG && mem->index == EM_NO_REG))
		regmap__emit_constant(&m->e, to, constant_address(m));
	else
		emit_sum(m);
	if (mem->segment != EM_SEG_NONE) {
		regmap__emit_segment_base(&m->e, temp, mem->segment == EM_SEG_GS);
		regmap__emit_lea_index(&m->e, to, to, temp, 0, 0, false);
	}
	if (m->reg[SLOT_STACK] != EM_NO_REG)
		regmap__emit_lea(&m->e, m->reg[SLOT_STACK], CPU_RSP, frame_size(m), false);
}

static void keep_flags(struct making *m)
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

static void give_flags_back(struct making *m)
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
	give_back(m, SLOT_AX);
}

/* The instruction is going to overwrite them, and whoever comes next. */
static void forget_flags(struct making *m)
{
	if (m->e.state & SLOT_ON_STACK) {
		regmap__emit_pop(&m->e, m->reg[SLOT_TEMP]);
		regmap__emit_state(&m->e, 0, SLOT_PUSHED | SLOT_ON_STACK);
	}
	give_back(m, SLOT_AX);
	regmap__emit_state(&m->e, 0, SLOT_IN_AX);
}

/* push, to have room; fnstcw; movzwl; lea; not; test $0x3f: all exceptions masked? */
static void check_x87(struct making *m, struct slot_jump *miss)
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

static int32_t tls_at(const struct making *m, size_t member)
{
	return m->request->tls + (int32_t)member;
}

static int32_t lane_at(const struct making *m)
{
	return tls_at(m, offsetof(struct lane_tls, lane));
}

/* Is what lies there this library's? */
static void compare_magic(struct making *m, struct slot_jump *miss)
{
	regmap__emit_tls_compare(&m->e, tls_at(m, offsetof(struct lane_tls, magic)),
	                         m->request->magic);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, miss);
}

static void enter_lane(struct making *m, struct slot_jump *miss)
{
	unsigned temp = m->reg[SLOT_TEMP];

	compare_magic(m, miss);
	regmap__emit_tls_load(&m->e, temp, lane_at(m));
	regmap__emit_store_imm(&m->e, temp, offsetof(struct lane, busy), 1);
	regmap__emit_state(&m->e, SLOT_BUSY, 0);
}

static void leave_lane(struct making *m, bool count)
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
static void check_congruence(struct making *m, struct slot_jump *miss)
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

static void try_view(struct making *m, uint64_t place, struct slot_jump *outside)
{
	regmap__emit_try_view(&m->e, m->reg[SLOT_TEMP], m->reg[SLOT_BASE], place,
	                      regmap__emit_limit(m->plan->access, m->plan->size), outside);
}

/* @found: where it goes on once a view is found. */
static void translate(struct making *m, struct slot_jump *miss, struct slot_jump *outside,
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
static void try_other(struct making *m, struct slot_jump *miss, const struct slot_jump *outside,
                      unsigned found)
{
	regmap__emit_land(&m->e, outside);
	try_view(m, m->request->other, miss);
	regmap__emit_jump_back(&m->e, found);
}

static void jump_to_next(struct making *m)
{
	regmap__emit_jump(&m->e, m->request->site + m->plan->length,
	                  m->request->cell + offsetof(struct slot_cell, next));
}

/* Each slot has at most one, where it is left most often. */
static void go_on(struct making *m)
{
	if (!regmap__slot_emit_tail(&m->e, m->request))
		jump_to_next(m);
}

/*
 * Nothing has happened: with the registers as they were, but for RSP, which the call part moves as an open
 * frame does. @busy: from where the lane may be busy; @idle: where it isn't yet.
 */
static void emit_misses(struct making *m, const struct slot_jump *busy,
                        const struct slot_jump *idle)
{
	regmap__emit_land(&m->e, busy);
	leave_lane(m, false);
	regmap__emit_land(&m->e, idle);
	give_flags_back(m);
	give_all_back(m);
}

/* PUSH of where the program goes on. */
static void push_next(struct making *m)
{
	regmap__emit_rip(&m->e, false, 0xff, 6,
	                 m->request->cell + offsetof(struct slot_cell, next));
	regmap__emit_state(&m->e, SLOT_PUSHED, 0);
}

/* The registers are the program's again before it counts: until then nothing has happened. */
static void leave_indirectly(struct making *m)
{
	int32_t target = tls_at(m, offsetof(struct lane_tls, target));

	regmap__emit_tls_store(&m->e, m->reg[SLOT_BASE], target);
	leave_lane(m, m->request->count);
	close_frame(m);
	if (m->plan->kind == EM_CALL)
		push_next(m);
	regmap__emit_tls_jump(&m->e, target);
}

static void leave_behind(struct making *m)
{
	regmap__emit_state(&m->e, SLOT_DONE, 0);
	leave_lane(m, m->request->count);
	close_frame(m);
	if (m->request->chooses)
		jump_to_next(m);
	else
		go_on(m);
}

static bool has_way_in(const struct making *m)
{
	return m->request->way_in.to && m->moves && !m->pushes_flags && !m->request->count;
}

/*
 * The frame is closed again before the jump: a fragment leaves RSP to the program. Whoever disarms threads
 * waits for busy lanes then: so it counts whether this one is armed once it is busy.
 */
static void go_in(struct making *m, struct slot_jump *late)
{
	const struct slot_way_in *in = &m->request->way_in;

	regmap__emit_lend(&m->e, in, m->request->tls);
	regmap__emit_state(&m->e, SLOT_IN_TLS | SLOT_BUSY, SLOT_IN_AX);
	regmap__emit_come_in(&m->e, in, late);
	give_back(m, SLOT_AX);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, 0, SLOT_MOVED);
	regmap__emit_jump_near(&m->e, in->to);
}

/* RAX has the lane, and nothing else has changed. */
static void stay_out(struct making *m, const struct slot_jump *late, unsigned open)
{
	regmap__emit_state(&m->e, (open & ~(unsigned)SLOT_IN_AX) | SLOT_IN_TLS | SLOT_BUSY, ~0u);
	regmap__emit_land(&m->e, late);
	regmap__emit_store_imm(&m->e, CPU_RAX, offsetof(struct lane, busy), 0);
	regmap__emit_state(&m->e, 0, SLOT_BUSY);
	regmap__emit_tls_load(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	regmap__emit_state(&m->e, SLOT_IN_AX, SLOT_IN_TLS);
}

static void emit_way_in(struct making *m)
{
	const struct slot_way_in *in = &m->request->way_in;
	struct slot_jump plain = {.count = 0}, other = {.count = 0}, late = {.count = 0};
	struct slot_jump ask = {.count = 0};
	unsigned open;

	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, SLOT_MOVED, 0);
	regmap__emit_push(&m->e, CPU_RAX);
	regmap__emit_state(&m->e, 1u << SLOT_AX, 0);
	keep_flags(m);
	open = m->e.state;
	regmap__emit_tls_compare(&m->e, in->armed, in->value);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, &other);
	go_in(m, &late);
	stay_out(m, &late, open);
	regmap__emit_land(&m->e, &other);
	regmap__emit_tls_compare(&m->e, in->armed, 0);
	regmap__emit_jump_if(&m->e, SLOT_IF_EQUAL, &ask);
	compare_magic(m, &plain);
	regmap__emit_tls_decrement(&m->e, tls_at(m, offsetof(struct lane_tls, waits)));
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, &plain);
	regmap__emit_land(&m->e, &ask);
	give_flags_back(m);
	regmap__emit_jump_on(&m->e, &m->into_call);
	regmap__emit_state(&m->e, open, ~0u);
	regmap__emit_land(&m->e, &plain);
	give_flags_back(m);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, 0, SLOT_MOVED);
	m->map->plain = (uint16_t)m->e.at;
}

/* --- the call part --- */

/* Where what is called may be regmap__slot_device(). */
static bool hands_address(const struct making *m)
{
	return m->request->chooses && m->plan->kind == EM_COMPILED && m->plan->compiled.straight &&
	       m->plan->mem.segment == EM_SEG_NONE && !m->plan->mem.index8;
}

static void leave_call(struct making *m)
{
	regmap__emit_state(&m->e, SLOT_DONE | SLOT_MOVED, ~0u);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__emit_state(&m->e, 0, SLOT_MOVED);
}

static void emit_entry(struct making *m)
{
	regmap__emit_rip(&m->e, false, 0xff, 2,
	                 m->request->cell + offsetof(struct slot_cell, entry));
}

/*
 * For who must not take the tail. They come there by a RET, as if a CALL stood before it: one does, which nobody
 * executes.
 */
static void emit_plain(struct making *m)
{
	emit_entry(m);
	m->plain = m->e.at;
	leave_call(m);
	jump_to_next(m);
}

/* mov %rsi, SLOT_HANDED_AT(%rsp); then RSI is the operand's address. */
static void hand_address(struct making *m)
{
	const struct em_mem *mem = &m->plan->mem;

	regmap__emit_store(&m->e, CPU_RSI, CPU_RSP, SLOT_HANDED_AT);
	if (mem->base == EM_RIP || (mem->base == EM_NO_REG && mem->index == EM_NO_REG))
		regmap__emit_constant(&m->e, CPU_RSI, constant_address(m));
	else
		regmap__emit_lea_index(&m->e, CPU_RSI, mem->base, mem->index, mem->shift,
		                       (int32_t)mem->disp, mem->address32);
	regmap__emit_state(&m->e, SLOT_HANDED, 0);
	if (mem->base == CPU_RSP)
		regmap__emit_lea(&m->e, CPU_RSI, CPU_RSI, SLOT_RED_ZONE, mem->address32);
}

static void emit_call(struct making *m)
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
		jump_to_next(m);
}

/* jmp *way(%rip) */
static void emit_choice(struct making *m)
{
	regmap__emit_rip(&m->e, false, 0xff, 4, m->request->cell + offsetof(struct slot_cell, way));
	emit_call(m);
	m->start_inline = m->e.at;
	regmap__emit_state(&m->e, 0, ~0u);
}

/* --- the inline part, from end to end --- */

static void emit_inline(struct making *m)
{
	struct slot_jump busy = {.count = 0}, idle = {.count = 0}, outside = {.count = 0};
	unsigned state, found;

	open_frame(m);
	emit_address(m);
	keep_flags(m);
	state = m->e.state;
	if (m->is_x87)
		check_x87(m, &idle);
	enter_lane(m, &idle);
	translate(m, &busy, &outside, &found);
	if (m->needs_flags)
		give_flags_back(m);
	else
		forget_flags(m);
	m->map->access = (uint16_t)m->e.at;
	regmap__emit_bytes(&m->e, m->insn.code, m->insn.code_length);
	if (is_indirect(m->plan))
		leave_indirectly(m);
	else
		leave_behind(m);
	regmap__emit_state(&m->e, state | SLOT_BUSY, ~0u);
	try_other(m, &busy, &outside, found);
	emit_misses(m, &busy, &idle);
}

/* --- the original --- */

/* It may set TF: the trap comes behind the instruction that follows, which is to be the program's. */
static bool loads_flags(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_POPF || m == ZYDIS_MNEMONIC_POPFQ;
}

/* A return address, or a target relative to it, would be that of the slot. */
static bool is_bound(const struct making *m)
{
	const ZydisDecodedInstruction *insn = &m->d.insn;

	return loads_flags(insn->mnemonic) || m->plan->kind == EM_CALL ||
	       insn->meta.category == ZYDIS_CATEGORY_CALL || insn->raw.imm[0].is_relative ||
	       insn->raw.imm[1].is_relative || insn->meta.category == ZYDIS_CATEGORY_SYSCALL ||
	       insn->meta.category == ZYDIS_CATEGORY_INTERRUPT;
}

/* The instruction's own bytes, but for its opcode in ModRM. RIP-relative operands stay where they are. */
static bool emit_moved(struct making *m, uint8_t opcode)
{
	const struct plan *p = m->plan;
	uint8_t bytes[EM_MAX_LENGTH];
	int64_t disp = p->mem.disp + (int64_t)(m->request->site - (m->request->code + m->e.at));

	memcpy(bytes, p->bytes, p->length);
	bytes[m->d.insn.raw.modrm.offset] ^= opcode;
	if (p->mem.base == EM_RIP) {
		if (!p->mem.address32 && disp != (int32_t)disp)
			return no(m, "its operand is too far from its slot");
		memcpy(bytes + m->d.insn.raw.disp.offset, &disp, 4);
	}
	regmap__emit_bytes(&m->e, bytes, p->length);
	return true;
}

/*
 * Before the return address is pushed it must be known that the target can be read: a fault behind
 * it would leave it in the red zone. So the target is pushed first, to where the return address goes.
 */
static bool try_target(struct making *m)
{
	if (!emit_moved(m, CALL_TO_PUSH))
		return false;
	regmap__emit_state(&m->e, SLOT_PUSHED, 0);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, 8, false);
	regmap__emit_state(&m->e, 0, SLOT_PUSHED);
	return true;
}

/* CALL becomes PUSH and JMP. */
static bool emit_original(struct making *m)
{
	bool through_memory = is_indirect(m->plan);
	bool calls = m->d.insn.mnemonic == ZYDIS_MNEMONIC_CALL &&
	             (through_memory || regmap__slot_is_register_jump(&m->d));

	if (is_bound(m) && !calls)
		return no(m, "it can't be moved");
	regmap__emit_state(&m->e, 0, ~0u);
	m->map->original = (uint16_t)m->e.at;
	if (calls && through_memory && !try_target(m))
		return false;
	if (calls)
		push_next(m);
	if (!emit_moved(m, calls ? CALL_TO_JMP : 0))
		return false;
	regmap__emit_state(&m->e, SLOT_DONE, SLOT_PUSHED);
	if (m->request->passes)
		go_on(m);
	else
		jump_to_next(m);
	return true;
}

/* A branch that is taken doesn't come back. */
static bool emit_branch(struct making *m)
{
	const ZydisDecodedInstruction *insn = &m->d.insn;
	uint64_t target = m->request->site + m->plan->length + (uint64_t)insn->raw.imm[0].value.s;
	int64_t distance;
	int32_t near;
	uint8_t code[6] = {0x0f, (uint8_t)(0x80 | (insn->opcode & 15))};
	unsigned length = 6;

	m->map->original = (uint16_t)m->e.at;
	if (insn->mnemonic == ZYDIS_MNEMONIC_CALL)
		push_next(m);
	if (insn->meta.category != ZYDIS_CATEGORY_COND_BR) {
		code[0] = 0xe9;
		length = 5;
	}
	distance = (int64_t)(target - (m->request->code + m->e.at + length));
	near = (int32_t)distance;
	if (near != distance)
		return no(m, "its target is too far from its slot");
	memcpy(code + length - sizeof near, &near, sizeof near);
	regmap__emit_bytes(&m->e, code, length);
	regmap__emit_state(&m->e, SLOT_DONE, SLOT_PUSHED);
	if (m->request->passes)
		go_on(m);
	else
		jump_to_next(m);
	return true;
}

const struct view regmap__slot_no_view;

static void fill_cell(const struct making *m, struct slot_cell *cell)
{
	cell->view = (const struct view *_Atomic *)(uintptr_t)m->request->view;
	cell->other = (const struct view *_Atomic *)(uintptr_t)m->request->other;
	if (!m->request->shares_views) {
		atomic_store_explicit(cell->view, &regmap__slot_no_view, memory_order_relaxed);
		atomic_store_explicit(cell->other, &regmap__slot_no_view, memory_order_relaxed);
	}
	cell->start = m->request->code;
	cell->way = m->start_inline ? m->request->code + m->map->call : 0;
	cell->start_inline = m->map->access != NO_OFFSET ? m->request->code + m->start_inline : 0;
	cell->move = m->map->hands_address ? (uintptr_t)&regmap__slot_no_move : 0;
	cell->plain = m->plain ? m->request->code + m->plain : 0;
	cell->tail = cell->tail_mask = 0;
	if (m->plain)
		regmap__slot_fill_tail(m->request, m->map, cell);
	cell->original = m->request->code + m->map->original;
	cell->site = m->request->site;
	cell->next = m->request->site + m->plan->length;
}

static void begin(struct making *m, const struct slot_request *request, uint8_t *to,
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
	map->access = map->original = NO_OFFSET;
	map->tls = request->tls;
	regmap__emit_state(&m->e, 0, 0);
}

/* @far: jumps within the slot are long ones. */
static bool generate(struct making *m, const struct slot_request *request, uint8_t *to,
                     struct slot_map *map, bool far)
{
	begin(m, request, to, map, far);
	if (regmap__em_decode(&m->d, request->plan->bytes, request->plan->length))
		return no(m, "not an instruction");
	if (!request->passes && prepare(m)) {
		memcpy(map->scratch, m->reg, sizeof map->scratch);
		map->scratches = SLOT_SCRATCHES;
		if (request->chooses)
			emit_choice(m);
		else if (has_way_in(m))
			emit_way_in(m);
		emit_inline(m);
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
	struct making m;
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
