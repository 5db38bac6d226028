/* SPDX-License-Identifier: MIT */
/* Fragments: the ways in and out. */
#include "fragment_making.h"

#include "sigsafe.h"

/* --- ways out --- */

void regmap__fragment_leave(struct fragment_making *m)
{
	regmap__emit_tls_load(&m->e, m->view, tls_at(m, offsetof(struct lane_tls, lane)));
	regmap__emit_store_imm(&m->e, m->view, offsetof(struct lane, busy), 0);
	regmap__fragment_state(m, FRAGMENT_IDLE, 0);
	for (unsigned i = FRAGMENT_REGISTERS; i-- > 0;)
		regmap__emit_tls_load(&m->e, m->map->lent[i],
		                      tls_at(m, offsetof(struct lane_tls, kept[i])));
}

void regmap__fragment_leave_to(struct fragment_making *m, int32_t guest)
{
	regmap__fragment_guest(m, guest);
	regmap__fragment_leave(m);
	regmap__emit_jump_near(&m->e, m->f->first + (uint64_t)(int64_t)guest);
	regmap__fragment_state(m, 0, FRAGMENT_IDLE);
}

void regmap__fragment_poll(struct fragment_making *m, struct slot_jump *late)
{
	regmap__emit_tls_compare(&m->e, m->request->armed, m->request->value);
	regmap__emit_jump_if(&m->e, SLOT_IF_NOT_EQUAL, late);
}

/* --- the way in that the head has --- */

/* Its code goes on with that of the head, so nobody may come there otherwise: see regmap__fragment_find(). */
bool regmap__fragment_is_way_in(const struct fragment_making *m, const struct found_insn *insn)
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
	regmap__fragment_state(m, 0, FRAGMENT_SAVED);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, SLOT_RED_ZONE, false);
	regmap__fragment_state(m, 0, FRAGMENT_MOVED);
}

/* As a slot's is: slot.c has the reasons. */
void regmap__fragment_emit_way_in(struct fragment_making *m)
{
	struct slot_way_in in = way_in_of(m);

	m->map->way_in = (uint16_t)m->e.at;
	regmap__fragment_state(m, FRAGMENT_AHEAD, 0);
	regmap__emit_lea(&m->e, CPU_RSP, CPU_RSP, -SLOT_RED_ZONE, false);
	regmap__fragment_state(m, FRAGMENT_MOVED, 0);
	regmap__emit_push(&m->e, CPU_RAX);
	regmap__fragment_state(m, FRAGMENT_SAVED, 0);
	regmap__emit_lahf_seto(&m->e);
	regmap__fragment_state(m, FRAGMENT_IN_AX, 0);
	regmap__fragment_poll(m, &m->unarmed);
	regmap__emit_lend(&m->e, &in, m->request->tls);
	regmap__fragment_state(m, FRAGMENT_KEPT, FRAGMENT_IN_AX);
	regmap__emit_come_in(&m->e, &in, &m->late);
	close_frame(m);
	regmap__fragment_state(m, 0, FRAGMENT_AHEAD);
}

/* To its slot, which looks again and has more to say. All is as it was. */
void regmap__fragment_emit_stay_out(struct fragment_making *m)
{
	regmap__fragment_guest(m, (int32_t)(m->request->head - m->f->first));
	m->state = FRAGMENT_AHEAD | FRAGMENT_MOVED | FRAGMENT_SAVED | FRAGMENT_KEPT;
	regmap__fragment_mark(m);
	regmap__emit_land(&m->e, &m->late);
	regmap__emit_store_imm(&m->e, CPU_RAX, offsetof(struct lane, busy), 0);
	regmap__emit_tls_load(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	regmap__fragment_state(m, FRAGMENT_IN_AX, FRAGMENT_KEPT);
	regmap__emit_land(&m->e, &m->unarmed);
	regmap__emit_overflow(&m->e);
	regmap__fragment_state(m, FRAGMENT_IN_AH, FRAGMENT_IN_AX);
	regmap__emit_sahf(&m->e);
	regmap__fragment_state(m, 0, FRAGMENT_IN_AH);
	close_frame(m);
	regmap__emit_rip(&m->e, false, FRAGMENT_JUMPS, 4, (uintptr_t)m->map->stays_out);
}
