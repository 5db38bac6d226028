/* SPDX-License-Identifier: MIT */
/* Fragments: what stands where in their code, and where the program's flags are. */
#include "fragment_making.h"

#include <string.h>

#include "slot_dead.h"

#include "sigsafe.h"

/* --- what stands where --- */

void regmap__fragment_mark(struct fragment_making *m)
{
	struct fragment_step *s = &m->step[m->map->steps];

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

void regmap__fragment_state(struct fragment_making *m, unsigned set, unsigned clear)
{
	m->state = (uint16_t)((m->state & ~clear) | set);
	regmap__fragment_mark(m);
}

void regmap__fragment_guest(struct fragment_making *m, int32_t guest)
{
	m->guest = guest;
	regmap__fragment_mark(m);
}

void regmap__fragment_move(struct fragment_making *m, unsigned to, unsigned from)
{
	const uint8_t mov[] = {(uint8_t)(0x48 | from >> 3 << 2 | to >> 3), 0x89,
	                       (uint8_t)(0xc0 | (from & 7) << 3 | (to & 7))};

	regmap__emit_bytes(&m->e, mov, sizeof mov);
}

/* --- flags --- */

/* mov %rax, view; lahf; seto %al; mov %rax, flags; mov view, %rax */
void regmap__fragment_keep_flags(struct fragment_making *m)
{
	regmap__fragment_move(m, m->view, CPU_RAX);
	regmap__fragment_state(m, FRAGMENT_AX, 0);
	regmap__emit_lahf_seto(&m->e);
	regmap__emit_tls_store(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	regmap__fragment_state(m, FRAGMENT_KEPT, 0);
	m->flags.has_kept = true;
	regmap__fragment_move(m, CPU_RAX, m->view);
	regmap__fragment_state(m, 0, FRAGMENT_AX);
}

static void take_kept_flags(struct fragment_making *m)
{
	regmap__fragment_move(m, m->view, CPU_RAX);
	regmap__fragment_state(m, FRAGMENT_AX, 0);
	regmap__emit_tls_load(&m->e, CPU_RAX, tls_at(m, offsetof(struct lane_tls, flags)));
	regmap__emit_overflow(&m->e);
	regmap__emit_sahf(&m->e);
	regmap__fragment_state(m, 0, FRAGMENT_KEPT);
	regmap__fragment_move(m, CPU_RAX, m->view);
	regmap__fragment_state(m, 0, FRAGMENT_AX);
}

void regmap__fragment_take_flags(struct fragment_making *m)
{
	const struct fragment_setter *s = &m->setters[m->flags.setter];

	if (m->state & FRAGMENT_KEPT)
		take_kept_flags(m);
	if (!(m->state & FRAGMENT_KNOWN))
		return;
	regmap__emit_bytes(&m->e, s->bytes, s->length);
	regmap__fragment_state(m, 0, FRAGMENT_KNOWN);
}

void regmap__fragment_put_flags_away(struct fragment_making *m)
{
	if (flags_are_away(m))
		return;
	if (m->flags.has_setter)
		regmap__fragment_state(m, FRAGMENT_KNOWN, 0);
	else if (m->flags.has_kept)
		regmap__fragment_state(m, FRAGMENT_KEPT, 0);
	else
		regmap__fragment_keep_flags(m);
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

void regmap__fragment_before(struct fragment_making *m, const struct found_insn *insn,
                             const struct em_decoded *d)
{
	enum flags_use use = use_of_flags(d);

	if (use == SOME_FLAGS)
		regmap__fragment_take_flags(m);
	if (use == NO_FLAGS && m->state & FRAGMENT_KNOWN &&
	    m->setters[m->flags.setter].reads & insn->writes)
		regmap__fragment_take_flags(m);
}

void regmap__fragment_behind(struct fragment_making *m, const struct found_insn *insn,
                             const struct em_decoded *d)
{
	enum flags_use use = use_of_flags(d);

	m->guest = insn->at + insn->length;
	if (m->held.valid && address_registers(&m->held.mem) & insn->writes)
		m->held.valid = false;
	if (use == NEW_FLAGS)
		m->state &= (uint16_t) ~(FRAGMENT_KEPT | FRAGMENT_KNOWN);
	regmap__fragment_mark(m);
	m->flags.has_kept &= use == NO_FLAGS || !writes_flags(d);
	if (use != NO_FLAGS && writes_flags(d))
		note_setter(m, d);
	else if (m->flags.has_setter && m->setters[m->flags.setter].reads & insn->writes)
		m->flags.has_setter = false;
}
