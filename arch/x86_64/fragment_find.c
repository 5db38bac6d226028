/* SPDX-License-Identifier: MIT */
/* Which instructions a fragment takes in. */
#include "fragment_code.h"

#include <string.h>

#include "slot_pass.h"

#include "sigsafe.h"

enum {
	QUEUE = FRAGMENT_INSNS,
	RETURN = 0xc3,
};

struct found regmap__found;

/* Of each of its instructions, in the same order. */
static struct {
	uint8_t bytes[EM_MAX_LENGTH];
	struct em_decoded d;
} decoded[FRAGMENT_INSNS];

/* One more than the number of the instruction there. */
static uint8_t number_at[2 * FRAGMENT_REACH];
_Static_assert(FRAGMENT_INSNS <= UINT8_MAX, "numbers of one byte");

static struct {
	int32_t at[QUEUE];
	unsigned first, count;
} queue;

/* --- what an instruction is --- */

/* General registers that appear anywhere in it. */
static unsigned names_of(const struct em_decoded *d)
{
	unsigned names = regmap__em_used_registers(d);
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++) {
		if (d->op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (regmap__em_gpr(d->op[i].mem.base, &r))
			names |= 1u << r.gpr;
		if (regmap__em_gpr(d->op[i].mem.index, &r))
			names |= 1u << r.gpr;
	}
	return names;
}

static unsigned writes_of(const struct em_decoded *d)
{
	unsigned writes = 0;
	struct em_reg r;

	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    d->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    regmap__em_gpr(d->op[i].reg.value, &r))
			writes |= 1u << r.gpr;
	return writes;
}

static bool is_x87(const struct em_decoded *d)
{
	return regmap__em_is_x87(d) || d->insn.meta.isa_ext == ZYDIS_ISA_EXT_MMX;
}

/* Memory besides the one operand that it shows. */
static bool hides_memory(const struct em_decoded *d)
{
	for (int i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && i != d->mem &&
		    d->op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN)
			return true;
	return false;
}

/* Neither by a window's address nor known to be in one: a fault tells if it is. */
static bool is_direct(const struct em_decoded *d)
{
	const ZydisDecodedOperand *op = &d->op[d->mem];

	return op->mem.base == ZYDIS_REGISTER_RSP || op->mem.base == ZYDIS_REGISTER_RIP ||
	       op->mem.segment == ZYDIS_REGISTER_FS;
}

/* It names memory, and doesn't access it. */
static bool is_hint(const struct em_decoded *d)
{
	return d->insn.meta.category == ZYDIS_CATEGORY_NOP ||
	       d->insn.meta.category == ZYDIS_CATEGORY_WIDENOP ||
	       (d->insn.meta.category == ZYDIS_CATEGORY_PREFETCH && d->mem >= 0 &&
	        d->op[d->mem].mem.base != ZYDIS_REGISTER_RIP);
}

static bool is_plain(const struct em_decoded *d)
{
	if (regmap__slot_is_push(d))
		return true;
	if (d->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK || is_x87(d) || hides_memory(d) ||
	    (d->insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE && d->insn.address_width != 64))
		return false;
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_ENDBR64)
		return true;
	return regmap__slot_is_ordinary(d);
}

static bool is_branch(const struct em_decoded *d)
{
	return regmap__slot_is_simple_jump(d) && d->insn.meta.category != ZYDIS_CATEGORY_CALL;
}

static bool is_exit(const struct em_decoded *d)
{
	return (d->insn.opcode == RETURN && d->insn.length == 1) ||
	       (regmap__slot_is_register_jump(d) && d->insn.meta.category != ZYDIS_CATEGORY_CALL);
}

static bool is_accessible(const struct em_decoded *d, const struct plan *p)
{
	if (p->kind != EM_COMPILED && p->kind != EM_NATIVE && p->kind != EM_MASKED)
		return false;
	return p->has_mem && p->mem.segment == EM_SEG_NONE && p->mem.base != EM_RIP &&
	       !p->mem.index8 && p->size && p->size <= VIEW_MOST &&
	       p->access & (EM_READ | EM_WRITE) && !regmap__slot_names_segment(d) && !is_x87(d) &&
	       !(regmap__em_used_registers(d) & 1u << CPU_RSP) &&
	       d->insn.attributes & ZYDIS_ATTRIB_HAS_MODRM && !regmap__slot_checks_alignment(d);
}

/* --- the code that there is --- */

struct found_insn *regmap__found_at(struct found *f, int32_t at)
{
	if (at < 0 || at >= (int32_t)sizeof number_at || !number_at[at])
		return NULL;
	return &f->insn[number_at[at] - 1];
}

const struct em_decoded *regmap__found_decoded(const struct found *f, const struct found_insn *insn)
{
	return &decoded[insn - f->insn].d;
}

static void forget(struct found *f)
{
	for (unsigned i = 0; i < f->count; i++)
		number_at[f->insn[i].at] = 0;
	memset(f, 0, sizeof *f);
}

static unsigned end_of(const struct found *f)
{
	return (unsigned)(f->request->last - f->first + 1);
}

static size_t read_code(struct found *f, unsigned at, uint8_t *to)
{
	size_t room = end_of(f) - at;

	return f->request->read(f->first + at, to, room < EM_MAX_LENGTH ? room : EM_MAX_LENGTH);
}

/* The one that would come next. */
static const struct em_decoded *decode(struct found *f, unsigned at)
{
	size_t length = read_code(f, at, decoded[f->count].bytes);
	struct em_decoded *d = &decoded[f->count].d;

	return length && regmap__em_decode(d, decoded[f->count].bytes, length) == EM_OK ? d : NULL;
}

static bool has_spare(unsigned used)
{
	unsigned spare = FRAGMENT_SPARE & ~used;

	return spare & (spare - 1);
}

static bool plan_access(struct found *f, const struct em_decoded *d, struct found_insn *insn)
{
	struct fragment_access *a = &f->access[f->accesses];
	uint8_t in_place[EM_MAX_LENGTH];
	static struct plan plan;

	if (f->accesses == FRAGMENT_ACCESSES ||
	    regmap__em_plan_decoded(&plan, d, regmap__em_tiers()) != EM_OK ||
	    !is_accessible(d, &plan) || regmap__slot_in_place(&plan, in_place))
		return false;
	*a = (struct fragment_access){.at = insn->at, .entry = FRAGMENT_NO_ENTRY};
	a->plan = f->request->keep(&plan);
	insn->kind = FRAGMENT_ACCESS;
	insn->access = (uint8_t)f->accesses;
	f->accesses += a->plan != NULL;
	return a->plan;
}

static bool classify(struct found *f, const struct em_decoded *d, struct found_insn *insn)
{
	if (is_branch(d)) {
		int64_t target = insn->at + d->insn.length + d->insn.raw.imm[0].value.s;

		insn->kind = FRAGMENT_BRANCH;
		insn->conditional = d->insn.meta.category == ZYDIS_CATEGORY_COND_BR;
		insn->target = (int32_t)target;
		return insn->target == target;
	}
	if (is_exit(d)) {
		insn->kind = FRAGMENT_EXIT;
		return true;
	}
	insn->kind = FRAGMENT_PLAIN;
	if (is_hint(d))
		return true;
	if (d->mem < 0 || is_direct(d))
		return is_plain(d) && !f->request->is_hot(f->first + insn->at);
	return plan_access(f, d, insn);
}

/* NULL: the fragment ends before it. */
static struct found_insn *take(struct found *f, unsigned at)
{
	struct found_insn *insn = &f->insn[f->count];
	const struct em_decoded *d;
	unsigned names;

	if (f->count == FRAGMENT_INSNS || at >= end_of(f) || !(d = decode(f, at)))
		return NULL;
	*insn = (struct found_insn){.at = (uint16_t)at, .length = d->insn.length};
	names = names_of(d);
	if (!has_spare(f->used | names) || !classify(f, d, insn))
		return NULL;
	insn->writes = (uint16_t)writes_of(d);
	f->used |= names;
	number_at[at] = (uint8_t)++f->count;
	return insn;
}

static void put_off(struct found *f, int32_t at)
{
	if (at >= 0 && at < (int32_t)end_of(f) && queue.count < QUEUE && f->count < FRAGMENT_INSNS)
		queue.at[queue.count++] = at;
}

static void walk(struct found *f, int32_t at)
{
	struct found_insn *insn = regmap__found_at(f, at);

	while (!insn) {
		insn = take(f, (unsigned)at);
		if (!insn)
			return;
		if (insn->kind == FRAGMENT_BRANCH)
			put_off(f, insn->target);
		if (!found_goes_on(insn))
			return;
		at += insn->length;
		insn = regmap__found_at(f, at);
	}
	insn->label = true;
}

/* Does whoever goes on from there come by an access before any branch? That one polls. */
static bool can_poll(struct found *f, struct found_insn *insn)
{
	while (insn && insn->kind == FRAGMENT_PLAIN)
		insn = regmap__found_at(f, insn->at + insn->length);
	if (!insn || insn->kind != FRAGMENT_ACCESS)
		return false;
	insn->polls = true;
	return true;
}

/* Each loop has a branch backwards. */
static void join(struct found *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct found_insn *insn = &f->insn[i], *to;

		if (found_goes_on(insn) && (to = regmap__found_at(f, insn->at + insn->length)))
			to->ways++;
		if (insn->kind != FRAGMENT_BRANCH)
			continue;
		to = regmap__found_at(f, insn->target);
		if (!to)
			continue;
		to->label = true;
		to->ways++;
		if (to->at <= insn->at && !to->loops)
			to->loops = can_poll(f, to);
	}
}

/* Does a jump backwards in it go round the instruction? */
static bool is_in_loop(struct found *f, const struct found_insn *insn)
{
	for (unsigned i = 0; i < f->count; i++) {
		const struct found_insn *from = &f->insn[i], *to;

		if (from->kind != FRAGMENT_BRANCH)
			continue;
		to = regmap__found_at(f, from->target);
		if (to && to->at <= insn->at && insn->at <= from->at)
			return true;
	}
	return false;
}

/* The way in and out takes about as long as two accesses by slots do. */
static bool is_worthwhile(struct found *f, const struct found_insn *head)
{
	return f->accesses > 1 || is_in_loop(f, head);
}

bool regmap__fragment_find(const struct fragment_request *request, struct fragment_map *map)
{
	struct found *f = &regmap__found;
	struct found_insn *head;

	forget(f);
	memset(map, 0, sizeof *map);
	memset(&queue, 0, sizeof queue);
	f->request = request;
	f->first = request->first;
	put_off(f, (int32_t)(request->head - f->first));
	while (queue.first < queue.count)
		walk(f, queue.at[queue.first++]);
	head = regmap__found_at(f, (int32_t)(request->head - f->first));
	if (!head || head->kind != FRAGMENT_ACCESS || !is_worthwhile(f, head))
		return false;
	head->label = true;
	head->ways = 1; /* nobody is going to take it */
	join(f);
	map->first = f->first;
	map->accesses = (uint16_t)f->accesses;
	map->access = f->access;
	return true;
}
