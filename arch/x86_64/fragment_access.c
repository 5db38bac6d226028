/* SPDX-License-Identifier: MIT */
/* Fragments: accesses by way of views. */
#include "fragment_making.h"

#include "sigsafe.h"

enum {
	LOW = 0xce, /* registers that an operand's address can be in; RAX has other duties */
	ADDS = 0x03,
	EXCHANGES = 0x87,
	STORES = 0x89,
};

/* --- accesses --- */

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
		regmap__fragment_take_flags(m);
		regmap__fragment_keep_flags(m);
		m->flags.has_setter = false; /* who comes in here may have other flags */
		low = choose_low(m, d);
	}
	return low != EM_NO_REG && regmap__em_splice(n, d, ~(1u << low)) ? low : EM_NO_REG;
}

static void lend(struct fragment_making *m, unsigned base)
{
	if (base == m->base)
		return;
	regmap__fragment_move(m, m->base, base);
	m->lent = (uint8_t)base;
	regmap__fragment_state(m, FRAGMENT_LENT, 0);
}

static void give_back(struct fragment_making *m)
{
	if (!(m->state & FRAGMENT_LENT))
		return;
	regmap__fragment_move(m, m->lent, m->base);
	regmap__fragment_state(m, 0, FRAGMENT_LENT);
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
	regmap__fragment_before(m, insn, d);
	m->f->access[insn->access].access = (uint16_t)m->e.at;
	regmap__emit_bytes(&m->e, n->code, n->code_length);
	regmap__fragment_behind(m, insn, d);
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
		m->aside[m->asides++] =
			(struct fragment_aside){.insn = insn,
		                                .found = m->e.at,
		                                .limit = regmap__emit_limit(m->held.access,
		                                                            m->held.size),
		                                .state = m->state,
		                                .held = true,
		                                .mem = m->held.mem};
	emit_operation(m, insn, d, &n);
	return true;
}

/* --- all of an access --- */

void regmap__fragment_emit_access(struct fragment_making *m, const struct found_insn *insn,
                                  const struct em_decoded *d)
{
	struct fragment_access *a = &m->f->access[insn->access];
	struct fragment_aside *aside = &m->aside[m->asides];
	static struct em_native n;
	unsigned base;

	if (emit_held(m, insn, d))
		return;
	m->asides++;
	if (regmap__fragment_is_way_in(m, insn))
		regmap__fragment_emit_way_in(m);
	regmap__fragment_put_flags_away(m);
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
	*aside = (struct fragment_aside){.insn = insn,
	                                 .limit = regmap__emit_limit(m->held.access, m->held.size),
	                                 .state = m->state,
	                                 .lent = m->lent,
	                                 .setter = m->flags.setter};
	emit_address(m, &m->held.mem, base);
	if (insn->polls)
		regmap__fragment_poll(m, &aside->miss);
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
	regmap__fragment_take_flags(m);
	regmap__fragment_leave(m);
	regmap__emit_rip(&m->e, false, FRAGMENT_JUMPS, 4,
	                 more_at(m, insn->access, offsetof(struct fragment_more, miss)));
	regmap__fragment_state(m, 0, FRAGMENT_IDLE);
}

/* A way in, for one that another one's look at a view does for. */
static void emit_held_entry(struct fragment_making *m, struct fragment_aside *aside)
{
	unsigned number = aside->insn->access;

	m->state = FRAGMENT_KEPT;
	regmap__fragment_guest(m, aside->insn->at);
	m->f->access[number].entry = (uint16_t)m->e.at;
	emit_address(m, &aside->mem, m->base);
	try_view(m, aside->limit, m->base, (uintptr_t)&m->map->view[number], &aside->outside);
	regmap__emit_arithmetic(&m->e, ADDS, m->base, m->view, offsetof(struct view, delta));
	if (!(aside->state & FRAGMENT_KEPT))
		regmap__fragment_take_flags(m);
	regmap__emit_jump_back(&m->e, aside->found);
	m->state = FRAGMENT_KEPT;
	regmap__fragment_mark(m);
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

static void emit_aside(struct fragment_making *m, struct fragment_aside *aside)
{
	unsigned base = aside->state & FRAGMENT_LENT ? aside->lent : m->base;
	struct slot_jump often = {.count = 0};

	m->lent = aside->lent;
	m->flags.setter = aside->setter;
	m->state = aside->state;
	regmap__fragment_guest(m, aside->insn->at);
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

void regmap__fragment_emit_aside(struct fragment_making *m, struct fragment_aside *aside)
{
	if (aside->held)
		emit_held_entry(m, aside);
	else
		emit_aside(m, aside);
}
