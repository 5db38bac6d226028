/* SPDX-License-Identifier: MIT */
/*
 * The code of fragments: the order that it has, and branches. See fragment.h; slot_emit.h has the
 * assembler.
 */
#include <string.h>

#include "fragment_making.h"

#include "sigsafe.h"

static struct fragment_making making;

bool regmap__fragment_works(void)
{
	return regmap__xstate.lahf;
}

/* One instruction has one at most. */
static struct fragment_joint *new_joint(struct fragment_making *m, int32_t to)
{
	struct fragment_joint *j = &m->joint[m->joints++];

	*j = (struct fragment_joint){.to = to, .flags = m->flags};
	return j;
}

/* As it is, but for an operand relative to RIP. */
static void emit_plain(struct fragment_making *m, const struct found_insn *insn,
                       const struct em_decoded *d)
{
	uint8_t bytes[EM_MAX_LENGTH];
	int64_t disp;

	regmap__fragment_before(m, insn, d);
	memcpy(bytes, d->bytes, insn->length);
	if (d->insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE) {
		disp = d->insn.raw.disp.value +
		       (int64_t)(m->f->first + insn->at - (m->request->code + m->e.at));
		if (disp != (int32_t)disp)
			m->e.full = true;
		memcpy(bytes + d->insn.raw.disp.offset, &disp, 4);
	}
	regmap__emit_bytes(&m->e, bytes, insn->length);
	regmap__fragment_behind(m, insn, d);
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
	regmap__fragment_take_flags(m);
	m->flags.has_setter = insn->agreed && insn->taken == insn->ways;
	m->flags.setter = insn->setter;
	m->held.valid = m->flags.has_kept = false;
}

static void emit_condition(struct fragment_making *m, const struct found_insn *insn,
                           const struct em_decoded *d)
{
	struct found_insn *to = regmap__found_at(m->f, insn->target);
	struct fragment_joint *j;

	regmap__fragment_take_flags(m);
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
	regmap__fragment_guest(m, insn->at + insn->length);
}

static void emit_exit(struct fragment_making *m, const struct em_decoded *d)
{
	regmap__fragment_take_flags(m);
	regmap__fragment_leave(m);
	regmap__emit_bytes(&m->e, d->bytes, d->insn.length);
	regmap__fragment_state(m, 0, FRAGMENT_IDLE);
}

/* Another one has the way; false: it may be gone straight on. */
static bool emit_jump(struct fragment_making *m, const struct found_insn *insn)
{
	struct found_insn *to = regmap__found_at(m->f, insn->target);
	struct fragment_joint *j;

	regmap__fragment_guest(m, insn->target);
	if (!to || !must_poll(insn, to))
		return false;
	regmap__fragment_take_flags(m);
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
	regmap__fragment_guest(m, at);
	while (insn && !insn->emitted && !m->e.full) {
		const struct em_decoded *d = regmap__found_decoded(m->f, insn);

		if (insn->label && comes)
			take_way(m, insn);
		comes = true;
		if (insn->label)
			begin_label(m, insn);
		insn->code = (uint16_t)m->e.at;
		insn->emitted = true;
		regmap__fragment_guest(m, insn->at);
		at = insn->at + insn->length;
		switch ((enum fragment_kind)insn->kind) {
		case FRAGMENT_ACCESS: regmap__fragment_emit_access(m, insn, d); break;
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
	regmap__fragment_take_flags(m);
	if (insn && insn->emitted)
		regmap__emit_jump_back(&m->e, insn->code);
	else
		regmap__fragment_leave_to(m, at);
}

/* A loop that polls here: back to its label, or out. */
static void emit_loop(struct fragment_making *m, const struct found_insn *to)
{
	struct slot_jump late = {.count = 0};
	uint16_t away;

	regmap__fragment_put_flags_away(m);
	away = m->state;
	regmap__fragment_poll(m, &late);
	regmap__fragment_take_flags(m);
	regmap__emit_jump_back(&m->e, to->code);
	m->state = away;
	regmap__fragment_mark(m);
	regmap__emit_land(&m->e, &late);
	regmap__fragment_take_flags(m);
	regmap__fragment_leave_to(m, to->at);
}

/* Into the fragment, or out of it. */
static void emit_joint(struct fragment_making *m, const struct fragment_joint *j)
{
	const struct found_insn *to = regmap__found_at(m->f, j->to);

	m->state = 0;
	m->flags = j->flags;
	regmap__fragment_guest(m, j->to);
	regmap__emit_land(&m->e, &j->from);
	if (!to)
		regmap__fragment_leave_to(m, j->to);
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
		regmap__fragment_emit_aside(m, &m->aside[i]);
	if (map->way_in != FRAGMENT_NO_ENTRY)
		regmap__fragment_emit_stay_out(m);
	map->length = m->e.at;
	return m->e.full ? NULL : m->code;
}
