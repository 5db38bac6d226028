/* SPDX-License-Identifier: MIT */
/* The code of fragments. See fragment.h; slot_emit.h has the assembler. */
#include <string.h>

#include "fragment_code.h"
#include "slot_dead.h"
#include "slot_emit.h"

#include "sigsafe.h"

enum {
	LOW = 0xce, /* registers that an operand's address can be in; RAX has other duties */
	ADDS = 0x03,
	JUMPS = 0xff, /* /4 */
	EXCHANGES = 0x87,
	STORES = 0x89,
	JOINS = FRAGMENT_INSNS,
};

/* What made the flags that are in their register, if that is known, and whether they are kept as well. */
struct origin {
	uint16_t setter;
	bool has_setter, has_kept;
};

/* A branch that waits for the code that it leads to: of the fragment, or a way out. */
struct joint {
	struct slot_jump from;
	int32_t to; /* from the first address */
	bool polls;
	struct origin flags;
};

/* What is seldom needed lies behind all the rest. */
struct aside {
	const struct found_insn *insn;
	struct slot_jump outside, miss;
	unsigned looks; /* where it begins */
	unsigned
		found; /* where it goes on with a view, or (of one that is held) with the operand */
	int32_t limit;
	uint16_t state, setter;
	uint8_t lent;
	bool held;
	struct em_mem mem; /* what is held */
};

static struct fragment_making {
	const struct fragment_request *request;
	struct found *f;
	struct fragment_map *map;
	struct slot_emit e;
	uint16_t state; /* as in struct fragment_step */
	uint8_t lent;   /* likewise */
	int32_t guest;
	struct origin flags;
	/* What the second register holds: the host address of that operand, and of all up to @size. */
	struct {
		bool valid;
		struct em_mem mem;
		unsigned size, access;
	} held;
	struct slot_jump unarmed, late; /* on the way in */
	uint8_t view;                   /* the first lent register: views, the lane */
	uint8_t base; /* the second: addresses, or what an instruction lends that can't have them there */
	unsigned joints, asides;
	struct joint joint[JOINS];
	struct aside aside[FRAGMENT_ACCESSES];
	uint8_t code[FRAGMENT_CODE_MOST];
	struct fragment_step step[FRAGMENT_STEPS];
	struct fragment_setter setters[FRAGMENT_SETTERS];
	struct fragment_insn insns[FRAGMENT_INSNS];
} making;

bool regmap__fragment_works(void)
{
	return regmap__xstate.lahf;
}

/* --- what stands where --- */

static void mark(struct fragment_making *m)
{
	struct fragment_step *s = &making.step[m->map->steps];

	if (m->map->steps && s[-1].offset == m->e.at)
		m->map->steps--, s--;
	if (m->map->steps == FRAGMENT_STEPS) {
		m->e.full = true;
		return;
	}
	*s = (struct fragment_step){(uint16_t)m->e.at, m->state, m->flags.setter, m->lent,
	                            m->guest};
	m->map->steps++;
}

static void set_state(struct fragment_making *m, unsigned set, unsigned clear)
{
	m->state = (uint16_t)((m->state & ~clear) | set);
	mark(m);
}

static void set_guest(struct fragment_making *m, int32_t guest)
{
	m->guest = guest;
	mark(m);
}

static bool flags_are_away(const struct fragment_making *m)
{
	return m->state & (FRAGMENT_KEPT | FRAGMENT_KNOWN);
}

static int32_t tls_at(const struct fragment_making *m, size_t member)
{
	return m->request->tls + (int32_t)member;
}

static void emit_move(struct fragment_making *m, unsigned to, unsigned from)
{
	const uint8_t mov[] = {(uint8_t)(0x48 | from >> 3 << 2 | to >> 3), 0x89,
	                       (uint8_t)(0xc0 | (from & 7) << 3 | (to & 7))};

	regmap__emit_bytes(&m->e, mov, sizeof mov);
}

/* --- flags --- */

/* mov %rax, view; lahf; seto %al; mov %rax, flags; mov view, %rax */
static void keep_flags(struct fragment_making *m)
{
	emit_move(m, m->view, CPU_RAX);
	set_state(m, FRAGMENT_AX, 0);
	regmap__emit_lahf_seto(&m->e);
	regmap__emit_tls_store(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	set_state(m, FRAGMENT_KEPT, 0);
	m->flags.has_kept = true;
	emit_move(m, CPU_RAX, m->view);
	set_state(m, 0, FRAGMENT_AX);
}

static void take_kept_flags(struct fragment_making *m)
{
	emit_move(m, m->view, CPU_RAX);
	set_state(m, FRAGMENT_AX, 0);
	regmap__emit_tls_load(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	regmap__emit_overflow(&m->e);
	regmap__emit_sahf(&m->e);
	set_state(m, 0, FRAGMENT_KEPT);
	emit_move(m, CPU_RAX, m->view);
	set_state(m, 0, FRAGMENT_AX);
}

/* From here on they are in the processor's register. */
static void take_flags(struct fragment_making *m)
{
	const struct fragment_setter *s = &m->setters[m->flags.setter];

	if (m->state & FRAGMENT_KEPT)
		take_kept_flags(m);
	if (!(m->state & FRAGMENT_KNOWN))
		return;
	regmap__emit_bytes(&m->e, s->bytes, s->length);
	set_state(m, 0, FRAGMENT_KNOWN);
}

/* They are about to be changed by instructions of ours. */
static void put_flags_away(struct fragment_making *m)
{
	if (flags_are_away(m))
		return;
	if (m->flags.has_setter)
		set_state(m, FRAGMENT_KNOWN, 0);
	else if (m->flags.has_kept)
		set_state(m, FRAGMENT_KEPT, 0);
	else
		keep_flags(m);
}

static bool writes_flags(const struct em_decoded *d)
{
	const ZydisAccessedFlags *f = d->insn.cpu_flags;

	return f && (f->modified | f->set_0 | f->set_1 | f->undefined) & CPU_STATUS;
}

enum flags_use { NO_FLAGS, SOME_FLAGS, NEW_FLAGS };

static enum flags_use use_of_flags(const struct em_decoded *d)
{
	if (regmap__slot_flags_read(d))
		return SOME_FLAGS;
	if (!writes_flags(d))
		return NO_FLAGS;
	return regmap__slot_flags_kept(d) ? SOME_FLAGS : NEW_FLAGS;
}

static bool get_plain_register(const ZydisDecodedOperand *op, uint8_t *reg)
{
	struct em_reg r;

	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !regmap__em_gpr(op->reg.value, &r) || r.high)
		return false;
	*reg = r.gpr;
	return true;
}

/* and, or, xor: what they leave is tested. */
static bool describe_result(const struct em_decoded *d, struct fragment_setter *s)
{
	if ((d->insn.mnemonic != ZYDIS_MNEMONIC_AND && d->insn.mnemonic != ZYDIS_MNEMONIC_OR &&
	     d->insn.mnemonic != ZYDIS_MNEMONIC_XOR) ||
	    !get_plain_register(&d->op[0], &s->a) || d->op[0].size < 32)
		return false;
	s->tests = true;
	s->width = (uint8_t)(d->op[0].size / 8);
	s->b = s->a;
	s->reads = (uint16_t)(1u << s->a);
	s->bytes[0] = (uint8_t)(0x40 | (s->width == 8) << 3 | s->a >> 3 << 2 | s->a >> 3);
	s->bytes[1] = 0x85;
	s->bytes[2] = (uint8_t)(0xc0 | (s->a & 7) << 3 | (s->a & 7));
	s->length = 3;
	return true;
}

/* cmp and test of registers and constants. */
static bool describe_setter(const struct em_decoded *d, struct fragment_setter *s)
{
	bool compares = d->insn.mnemonic == ZYDIS_MNEMONIC_CMP;

	if (describe_result(d, s))
		return true;
	if ((!compares && d->insn.mnemonic != ZYDIS_MNEMONIC_TEST) ||
	    !get_plain_register(&d->op[0], &s->a))
		return false;
	s->tests = !compares;
	s->width = (uint8_t)(d->op[0].size / 8);
	s->length = d->insn.length;
	memcpy(s->bytes, d->bytes, s->length);
	s->reads = (uint16_t)(1u << s->a);
	if (d->op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		s->has_constant = true;
		s->constant = (int32_t)d->op[1].imm.value.s;
		return true;
	}
	if (!get_plain_register(&d->op[1], &s->b))
		return false;
	s->reads |= (uint16_t)(1u << s->b);
	return true;
}

static void note_setter(struct fragment_making *m, const struct em_decoded *d)
{
	struct fragment_setter *s = &m->setters[m->map->setters];

	m->flags.has_setter = false;
	if (m->map->setters == FRAGMENT_SETTERS)
		return;
	memset(s, 0, sizeof *s);
	if (!describe_setter(d, s))
		return;
	m->flags.setter = m->map->setters++;
	m->flags.has_setter = true;
}

static unsigned address_registers(const struct em_mem *mem)
{
	return (mem->base < 16 ? 1u << mem->base : 0) | (mem->index < 16 ? 1u << mem->index : 0);
}

/* Before an instruction that doesn't go by way of a view, or one that does. */
static void before(struct fragment_making *m, const struct found_insn *insn,
                   const struct em_decoded *d)
{
	enum flags_use use = use_of_flags(d);

	if (use == SOME_FLAGS)
		take_flags(m);
	if (use == NO_FLAGS && m->state & FRAGMENT_KNOWN &&
	    m->setters[m->flags.setter].reads & insn->writes)
		take_flags(m);
}

static void behind(struct fragment_making *m, const struct found_insn *insn,
                   const struct em_decoded *d)
{
	enum flags_use use = use_of_flags(d);

	m->guest = insn->at + insn->length;
	if (m->held.valid && address_registers(&m->held.mem) & insn->writes)
		m->held.valid = false;
	if (use == NEW_FLAGS)
		m->state &= (uint16_t) ~(FRAGMENT_KEPT | FRAGMENT_KNOWN);
	mark(m);
	m->flags.has_kept &= use == NO_FLAGS || !writes_flags(d);
	if (use != NO_FLAGS && writes_flags(d))
		note_setter(m, d);
	else if (m->flags.has_setter && m->setters[m->flags.setter].reads & insn->writes)
		m->flags.has_setter = false;
}

/* --- ways out --- */

/* All but the jump. */
static void leave(struct fragment_making *m)
{
	regmap__emit_tls_load(&m->e, m->view, tls_at(m, offsetof(struct lane_tls, lane)));
	regmap__emit_store_imm(&m->e, m->view, offsetof(struct lane, busy), 0);
	set_state(m, FRAGMENT_IDLE, 0);
	for (unsigned i = FRAGMENT_REGISTERS; i-- > 0;)
		regmap__emit_tls_load(&m->e, m->map->lent[i],
		                      tls_at(m, offsetof(struct lane_tls, kept[i])));
}

/* The flags are in their register. */
static void leave_to(struct fragment_making *m, int32_t guest)
{
	set_guest(m, guest);
	leave(m);
	regmap__emit_jump_near(&m->e, m->f->first + (uint64_t)(int64_t)guest);
	set_state(m, 0, FRAGMENT_IDLE);
}

/* One instruction has one at most. */
static struct joint *new_joint(struct fragment_making *m, int32_t to)
{
	struct joint *j = &m->joint[m->joints++];

	*j = (struct joint){.to = to, .flags = m->flags};
	return j;
}

/* --- accesses --- */

static unsigned first_of(unsigned registers)
{
	return registers ? (unsigned)__builtin_ctz(registers) : EM_NO_REG;
}

/* A low one that the instruction doesn't name, but for its operand's address, nor is needed for the flags. */
static unsigned choose_low(const struct fragment_making *m, const struct em_decoded *d)
{
	unsigned reads = m->state & FRAGMENT_KNOWN ? m->setters[m->flags.setter].reads : 0;

	return first_of(LOW & ~regmap__em_used_registers(d) & ~reads & ~(1u << m->base));
}

/* The operand is at [base]. Where the flags need what would be free else, they are kept. */
static unsigned choose_base(struct fragment_making *m, const struct em_decoded *d, uint8_t disp,
                            struct em_native *n)
{
	unsigned low;

	if (regmap__fragment_splice(n, d, m->base, disp))
		return m->base;
	if (disp)
		return EM_NO_REG;
	low = choose_low(m, d);
	if (low == EM_NO_REG && m->state & FRAGMENT_KNOWN) {
		take_flags(m);
		keep_flags(m);
		m->flags.has_setter = false; /* who comes in here may have other flags */
		low = choose_low(m, d);
	}
	return low != EM_NO_REG && regmap__em_splice(n, d, ~(1u << low)) ? low : EM_NO_REG;
}

static void lend(struct fragment_making *m, unsigned base)
{
	if (base == m->base)
		return;
	emit_move(m, m->base, base);
	m->lent = (uint8_t)base;
	set_state(m, FRAGMENT_LENT, 0);
}

static void give_back(struct fragment_making *m)
{
	if (!(m->state & FRAGMENT_LENT))
		return;
	emit_move(m, m->lent, m->base);
	set_state(m, 0, FRAGMENT_LENT);
}

static void emit_address(struct fragment_making *m, const struct em_mem *mem, unsigned base)
{
	if (mem->base == EM_NO_REG && mem->index == EM_NO_REG)
		regmap__emit_constant(&m->e, base,
		                      mem->address32 ? (uint32_t)mem->disp : (uint64_t)mem->disp);
	else
		regmap__emit_lea_index(&m->e, base, mem->base, mem->index, mem->shift,
		                       (int32_t)mem->disp, mem->address32);
}

static uint64_t more_at(const struct fragment_making *m, unsigned access, size_t member)
{
	return (uintptr_t)&m->map->more[access] + member;
}

static void try_view(struct fragment_making *m, int32_t limit, unsigned base, uint64_t place,
                     struct slot_jump *outside)
{
	regmap__emit_try_view(&m->e, m->view, base, place, limit, outside);
}

/* --- several accesses, one look at a view --- */

static bool same_address(const struct em_mem *a, const struct em_mem *b)
{
	return a->base == b->base && a->index == b->index && a->shift == b->shift &&
	       !a->address32 && !b->address32 && address_registers(a);
}

/* All of them within VIEW_SPAN bytes. */
static bool widen(struct fragment_making *m, const struct plan *p)
{
	int64_t first = m->held.mem.disp, last = first + m->held.size;

	if (p->mem.disp < first)
		first = p->mem.disp;
	if (p->mem.disp + p->size > last)
		last = p->mem.disp + p->size;
	if (last - first > VIEW_SPAN)
		return false;
	m->held.mem.disp = first;
	m->held.size = (unsigned)(last - first);
	m->held.access |= p->access;
	return true;
}

/* What follows with the same registers for its address, as long as these don't change, nor the second of ours. */
static void look_ahead(struct fragment_making *m, const struct found_insn *insn)
{
	while (insn && !(address_registers(&m->held.mem) & insn->writes)) {
		const struct plan *p;

		if (!found_goes_on(insn))
			return;
		insn = regmap__found_at(m->f, insn->at + insn->length);
		if (!insn || insn->label || insn->emitted)
			return;
		if (insn->kind != FRAGMENT_ACCESS)
			continue;
		p = m->f->access[insn->access].plan;
		if (!same_address(&p->mem, &m->held.mem) || plan_needs_alignment(p) || !widen(m, p))
			return;
	}
}

static void hold_alone(struct fragment_making *m, const struct plan *p)
{
	m->held.mem = p->mem;
	m->held.size = p->size;
	m->held.access = p->access;
}

static void hold(struct fragment_making *m, const struct found_insn *insn, const struct plan *p)
{
	m->held.valid = false;
	hold_alone(m, p);
	if (!plan_needs_alignment(p) && address_registers(&p->mem) && !p->mem.address32)
		look_ahead(m, insn);
}

static bool is_held(const struct fragment_making *m, const struct plan *p)
{
	unsigned need = p->access & (EM_READ | EM_WRITE);

	return m->held.valid && same_address(&p->mem, &m->held.mem) && !plan_needs_alignment(p) &&
	       p->mem.disp >= m->held.mem.disp &&
	       p->mem.disp + p->size <= m->held.mem.disp + m->held.size &&
	       (m->held.access & need) == need;
}

static uint8_t away(const struct fragment_making *m, const struct plan *p)
{
	return (uint8_t)(p->mem.disp - m->held.mem.disp);
}

static void emit_operation(struct fragment_making *m, const struct found_insn *insn,
                           const struct em_decoded *d, const struct em_native *n)
{
	before(m, insn, d);
	m->f->access[insn->access].access = (uint16_t)m->e.at;
	regmap__emit_bytes(&m->e, n->code, n->code_length);
	behind(m, insn, d);
}

/* Does one before it do for this one? */
static bool emit_held(struct fragment_making *m, const struct found_insn *insn,
                      const struct em_decoded *d)
{
	const struct plan *p = m->f->access[insn->access].plan;
	static struct em_native n;

	if (insn->polls || !is_held(m, p) || !regmap__fragment_splice(&n, d, m->base, away(m, p)))
		return false;
	/* who comes from elsewhere has other flags than those that are known here */
	if (!m->flags.has_setter)
		m->aside[m->asides++] = (struct aside){.insn = insn,
		                                       .found = m->e.at,
		                                       .limit = regmap__emit_limit(m->held.access,
		                                                                   m->held.size),
		                                       .state = m->state,
		                                       .held = true,
		                                       .mem = m->held.mem};
	emit_operation(m, insn, d, &n);
	return true;
}

static void emit_poll(struct fragment_making *m, struct slot_jump *late)
{
	regmap__emit_tls_compare(&m->e, m->request->armed, m->request->value);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, late);
}

/* --- the way in that the head has --- */

/* Its code goes on with that of the head, so nobody may come there otherwise: see regmap__fragment_find(). */
static bool is_way_in(const struct fragment_making *m, const struct found_insn *insn)
{
	return m->f->first + insn->at == m->request->head && insn->ways == 1;
}

static struct slot_way_in way_in_of(const struct fragment_making *m)
{
	return (struct slot_way_in){.lent = {m->map->lent[0], m->map->lent[1]},
	                            .armed = m->request->armed,
	                            .value = m->request->value};
}

static void close_frame(struct fragment_making *m)
{
	regmap__emit_pop(&m->e, CPU_RAX);
	set_state(m, 0, FRAGMENT_SAVED);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	set_state(m, 0, FRAGMENT_MOVED);
}

/* As a slot's is: slot.c has the reasons. */
static void emit_way_in(struct fragment_making *m)
{
	struct slot_way_in in = way_in_of(m);

	m->map->way_in = m->e.at;
	set_state(m, FRAGMENT_AHEAD, 0);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
	set_state(m, FRAGMENT_MOVED, 0);
	regmap__emit_push(&m->e, CPU_RAX);
	set_state(m, FRAGMENT_SAVED, 0);
	regmap__emit_lahf_seto(&m->e);
	set_state(m, FRAGMENT_IN_AX, 0);
	regmap__emit_tls_compare(&m->e, in.armed, in.value);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, &m->unarmed);
	regmap__emit_lend(&m->e, &in, m->request->tls);
	set_state(m, FRAGMENT_KEPT, FRAGMENT_IN_AX);
	regmap__emit_come_in(&m->e, &in, &m->late);
	close_frame(m);
	set_state(m, 0, FRAGMENT_AHEAD);
}

/* To its slot, which looks again and has more to say. All is as it was. */
static void emit_stay_out(struct fragment_making *m)
{
	set_guest(m, (int32_t)(m->request->head - m->f->first));
	m->state = FRAGMENT_AHEAD | FRAGMENT_MOVED | FRAGMENT_SAVED | FRAGMENT_KEPT;
	mark(m);
	regmap__emit_land(&m->e, &m->late);
	regmap__emit_store_imm(&m->e, CPU_RAX, offsetof(struct lane, busy), 0);
	regmap__emit_tls_load(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	set_state(m, FRAGMENT_IN_AX, FRAGMENT_KEPT);
	regmap__emit_land(&m->e, &m->unarmed);
	regmap__emit_overflow(&m->e);
	set_state(m, FRAGMENT_IN_AH, FRAGMENT_IN_AX);
	regmap__emit_sahf(&m->e);
	set_state(m, 0, FRAGMENT_IN_AH);
	close_frame(m);
	regmap__emit_rip(&m->e, false, JUMPS, 4, (uintptr_t)m->map->stays_out);
}

/* --- all of an access --- */

static void emit_access(struct fragment_making *m, const struct found_insn *insn,
                        const struct em_decoded *d)
{
	struct fragment_access *a = &m->f->access[insn->access];
	struct aside *aside = &m->aside[m->asides];
	static struct em_native n;
	unsigned base;

	if (emit_held(m, insn, d))
		return;
	m->asides++;
	if (is_way_in(m, insn))
		emit_way_in(m);
	put_flags_away(m);
	hold(m, insn, a->plan);
	base = choose_base(m, d, away(m, a->plan), &n);
	if (base != m->base)
		hold_alone(m, a->plan);
	if (base == EM_NO_REG)
		base = choose_base(m, d, 0, &n);
	if (base == EM_NO_REG) {
		m->e.full = true;
		return;
	}
	if (m->state & FRAGMENT_KEPT)
		a->entry = (uint16_t)m->e.at;
	lend(m, base);
	*aside = (struct aside){.insn = insn,
	                        .limit = regmap__emit_limit(m->held.access, m->held.size),
	                        .state = m->state,
	                        .lent = m->lent,
	                        .setter = m->flags.setter};
	emit_address(m, &m->held.mem, base);
	if (insn->polls)
		emit_poll(m, &aside->miss);
	aside->looks = m->e.at;
	try_view(m, aside->limit, base, (uintptr_t)&m->map->view[insn->access], &aside->outside);
	aside->found = m->e.at;
	regmap__emit_arithmetic(&m->e, ADDS, base, m->view, offsetof(struct view, delta));
	m->held.valid = base == m->base;
	emit_operation(m, insn, d, &n);
	give_back(m);
}

/* All is as before the access. */
static void emit_miss(struct fragment_making *m, const struct found_insn *insn)
{
	give_back(m);
	take_flags(m);
	leave(m);
	regmap__emit_rip(&m->e, false, JUMPS, 4,
	                 more_at(m, insn->access, offsetof(struct fragment_more, miss)));
	set_state(m, 0, FRAGMENT_IDLE);
}

/* A way in, for one that another one's look at a view does for. */
static void emit_held_entry(struct fragment_making *m, struct aside *aside)
{
	unsigned number = aside->insn->access;

	m->state = FRAGMENT_KEPT;
	set_guest(m, aside->insn->at);
	m->f->access[number].entry = (uint16_t)m->e.at;
	emit_address(m, &aside->mem, m->base);
	try_view(m, aside->limit, m->base, (uintptr_t)&m->map->view[number], &aside->outside);
	regmap__emit_arithmetic(&m->e, ADDS, m->base, m->view, offsetof(struct view, delta));
	if (!(aside->state & FRAGMENT_KEPT))
		take_flags(m);
	regmap__emit_jump_back(&m->e, aside->found);
	m->state = FRAGMENT_KEPT;
	mark(m);
	regmap__emit_land(&m->e, &aside->outside);
	emit_miss(m, aside->insn);
}

/* The two views change places, and it is looked once more: others may do so at the same time. */
static void emit_swap(struct fragment_making *m, unsigned access, unsigned again)
{
	regmap__emit_rip(&m->e, true, EXCHANGES, m->view, (uintptr_t)&m->map->view[access]);
	regmap__emit_rip(&m->e, true, STORES, m->view,
	                 more_at(m, access, offsetof(struct fragment_more, other)));
	regmap__emit_jump_back(&m->e, again);
}

static void emit_aside(struct fragment_making *m, struct aside *aside)
{
	unsigned base = aside->state & FRAGMENT_LENT ? aside->lent : m->base;
	struct slot_jump often = {.count = 0};

	m->lent = aside->lent;
	m->flags.setter = aside->setter;
	m->state = aside->state;
	set_guest(m, aside->insn->at);
	regmap__emit_land(&m->e, &aside->outside);
	try_view(m, aside->limit, base,
	         more_at(m, aside->insn->access, offsetof(struct fragment_more, other)),
	         &aside->miss);
	regmap__emit_tls_decrement(&m->e, tls_at(m, offsetof(struct lane_tls, second_looks)));
	regmap__emit_jump_if(&m->e, SLOT_IF_EQUAL, &often);
	regmap__emit_jump_back(&m->e, aside->found);
	regmap__emit_land(&m->e, &often);
	emit_swap(m, aside->insn->access, aside->looks);
	regmap__emit_land(&m->e, &aside->miss);
	emit_miss(m, aside->insn);
}

/* --- all others --- */

/* As it is, but for an operand relative to RIP. */
static void emit_plain(struct fragment_making *m, const struct found_insn *insn,
                       const struct em_decoded *d)
{
	uint8_t bytes[EM_MAX_LENGTH];
	int64_t disp;

	before(m, insn, d);
	memcpy(bytes, d->bytes, insn->length);
	if (d->insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE) {
		disp = d->insn.raw.disp.value +
		       (int64_t)(m->f->first + insn->at - (m->request->code + m->e.at));
		if (disp != (int32_t)disp)
			m->e.full = true;
		memcpy(bytes + d->insn.raw.disp.offset, &disp, 4);
	}
	regmap__emit_bytes(&m->e, bytes, insn->length);
	behind(m, insn, d);
}

/* It goes back to where no access polls: then it does itself. */
static bool must_poll(const struct found_insn *from, const struct found_insn *to)
{
	return to->at <= from->at && !to->loops;
}

/* Somebody goes to a label, with all flags in their register. */
static void take_way(const struct fragment_making *m, struct found_insn *to)
{
	to->agreed = m->flags.has_setter &&
	             (!to->taken || (to->agreed && to->setter == m->flags.setter));
	to->setter = m->flags.setter;
	to->taken++;
}

/* Once all ways have been seen, it is known what made the flags, if that is the same on all. */
static void begin_label(struct fragment_making *m, const struct found_insn *insn)
{
	take_flags(m);
	m->flags.has_setter = insn->agreed && insn->taken == insn->ways;
	m->flags.setter = insn->setter;
	m->held.valid = m->flags.has_kept = false;
}

static void emit_condition(struct fragment_making *m, const struct found_insn *insn,
                           const struct em_decoded *d)
{
	struct found_insn *to = regmap__found_at(m->f, insn->target);
	struct joint *j;

	take_flags(m);
	j = new_joint(m, insn->target);
	regmap__emit_jump_if(&m->e, (uint8_t)(0x70 | (d->insn.opcode & 15)), &j->from);
	j->polls = to && must_poll(insn, to);
	if (to)
		take_way(m, to);
	if (to && to->emitted && !j->polls) {
		uint32_t distance = to->code - m->e.at;

		memcpy(m->code + m->e.at - sizeof distance, &distance, sizeof distance);
		m->joints--;
	}
	set_guest(m, insn->at + insn->length);
}

static void emit_exit(struct fragment_making *m, const struct em_decoded *d)
{
	take_flags(m);
	leave(m);
	regmap__emit_bytes(&m->e, d->bytes, d->insn.length);
	set_state(m, 0, FRAGMENT_IDLE);
}

/* Another one has the way; false: it may be gone straight on. */
static bool emit_jump(struct fragment_making *m, const struct found_insn *insn)
{
	struct found_insn *to = regmap__found_at(m->f, insn->target);
	struct joint *j;

	set_guest(m, insn->target);
	if (!to || !must_poll(insn, to))
		return false;
	take_flags(m);
	take_way(m, to);
	j = new_joint(m, insn->target);
	j->polls = true;
	regmap__emit_jump_on(&m->e, &j->from);
	return true;
}

/* Straight on from @at, until somebody has been there or it ends. */
static void emit_from(struct fragment_making *m, int32_t at)
{
	struct found_insn *insn = regmap__found_at(m->f, at);
	bool comes = false;

	m->state = 0;
	m->flags.has_setter = m->flags.has_kept = m->held.valid = false;
	set_guest(m, at);
	while (insn && !insn->emitted && !m->e.full) {
		const struct em_decoded *d = regmap__found_decoded(m->f, insn);

		if (insn->label && comes)
			take_way(m, insn);
		comes = true;
		if (insn->label)
			begin_label(m, insn);
		insn->code = (uint16_t)m->e.at;
		insn->emitted = true;
		set_guest(m, insn->at);
		at = insn->at + insn->length;
		switch ((enum fragment_kind)insn->kind) {
		case FRAGMENT_ACCESS: emit_access(m, insn, d); break;
		case FRAGMENT_PLAIN: emit_plain(m, insn, d); break;
		case FRAGMENT_EXIT: emit_exit(m, d); return;
		case FRAGMENT_BRANCH:
			if (insn->conditional) {
				emit_condition(m, insn, d);
				break;
			}
			if (emit_jump(m, insn))
				return;
			at = insn->target;
		}
		insn = regmap__found_at(m->f, at);
	}
	take_flags(m);
	if (insn && insn->emitted)
		regmap__emit_jump_back(&m->e, insn->code);
	else
		leave_to(m, at);
}

/* A loop that polls here: back to its label, or out. */
static void emit_loop(struct fragment_making *m, const struct found_insn *to)
{
	struct slot_jump late = {.count = 0};
	uint16_t away;

	put_flags_away(m);
	away = m->state;
	emit_poll(m, &late);
	take_flags(m);
	regmap__emit_jump_back(&m->e, to->code);
	m->state = away;
	mark(m);
	regmap__emit_land(&m->e, &late);
	take_flags(m);
	leave_to(m, to->at);
}

/* Into the fragment, or out of it. */
static void emit_joint(struct fragment_making *m, const struct joint *j)
{
	const struct found_insn *to = regmap__found_at(m->f, j->to);

	m->state = 0;
	m->flags = j->flags;
	set_guest(m, j->to);
	regmap__emit_land(&m->e, &j->from);
	if (!to)
		leave_to(m, j->to);
	else if (j->polls)
		emit_loop(m, to);
	else
		regmap__emit_jump_back(&m->e, to->code);
}

/* --- all of it --- */

static void choose_registers(struct fragment_making *m)
{
	unsigned spare = FRAGMENT_SPARE & ~m->f->used;

	m->base = (uint8_t)first_of(spare);
	m->view = (uint8_t)first_of(spare & ~(1u << m->base));
	m->map->lent[0] = m->view;
	m->map->lent[1] = m->base;
}

static void list_insns(struct fragment_making *m)
{
	for (unsigned i = 0; i < m->f->count; i++)
		m->insns[i] = (struct fragment_insn){m->f->insn[i].at, m->f->insn[i].length,
		                                     m->f->insn[i].kind == FRAGMENT_ACCESS};
	m->map->insns = (uint16_t)m->f->count;
	m->map->insn = m->insns;
	m->map->step = m->step;
	m->map->setter = m->setters;
}

const uint8_t *regmap__fragment_generate(const struct fragment_request *request,
                                         struct fragment_map *map)
{
	struct fragment_making *m = &making;

	m->request = request;
	m->f = &regmap__found;
	m->f->request = request;
	m->map = map;
	m->joints = m->asides = 0;
	m->unarmed.count = m->late.count = 0;
	m->e = (struct slot_emit){.to = m->code,
	                          .code = request->code,
	                          .most = FRAGMENT_CODE_MOST,
	                          .far = true};
	map->code = request->code;
	map->tls = request->tls;
	map->view = (const struct view *_Atomic *)(uintptr_t)request->data;
	map->more = (struct fragment_more *)(map->view + map->accesses);
	map->stays_out = (_Atomic uint64_t *)(map->more + map->accesses);
	map->way_in = FRAGMENT_NO_ENTRY;
	choose_registers(m);
	list_insns(m);
	emit_from(m, (int32_t)(request->head - m->f->first));
	for (unsigned i = 0; i < m->f->count && !m->e.full; i++)
		if (!m->f->insn[i].emitted)
			emit_from(m, m->f->insn[i].at);
	for (unsigned i = 0; i < m->joints && !m->e.full; i++)
		emit_joint(m, &m->joint[i]);
	for (unsigned i = 0; i < m->asides && !m->e.full; i++)
		if (m->aside[i].held)
			emit_held_entry(m, &m->aside[i]);
		else
			emit_aside(m, &m->aside[i]);
	if (map->way_in != FRAGMENT_NO_ENTRY)
		emit_stay_out(m);
	map->length = m->e.at;
	return m->e.full ? NULL : m->code;
}
