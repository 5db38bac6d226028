/* SPDX-License-Identifier: MIT */
/* What signals find in slots, and what they are to find. */
#define _GNU_SOURCE
#include <string.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/fragment.h"
#include "hot.h"
#include "lane.h"
#include "pin.h"
#include "window.h"

#include "../emulator/internal.h"

#include "sigsafe.h"

/* --- failures --- */

/* In the thread's own storage: it outlives the call, and nobody else sees it. */
static __thread struct hot_failure verdict __attribute__((tls_model("initial-exec")));

static uint64_t key_of(uint64_t rip, const struct cpu_regs *regs)
{
	uint64_t key = rip;

	for (unsigned i = 0; i < 16; i++)
		key = (key ^ regs->value[regs->at[i]]) * 0x9e3779b97f4a7c15;
	return key | 1;
}

__attribute__((noinline)) static struct hot_failure *verdict_of_thread(void)
{
	return &verdict;
}

void regmap__hot_fail(struct slot_frame *frame, enum em_status status, const struct em_fault *fault)
{
	const struct cpu_regs regs = regmap__em_regs(frame->gpr, &frame->flags);
	struct hot_failure *v;

	frame->target = frame->cell->original;
	if (!regmap__tls_works())
		return;
	v = verdict_of_thread();
	v->status = status;
	v->fault = *fault;
	v->key = key_of(frame->rip, &regs);
	regmap__lane_fail(true);
}

bool regmap__hot_has_failed(uint64_t rip, const struct cpu_regs *regs)
{
	uint64_t key = regmap__tls_works() ? verdict_of_thread()->key : 0;

	return key && key == key_of(rip, regs);
}

enum em_status regmap__hot_failure(uint64_t rip, const struct cpu_regs *regs,
                                   struct em_fault *fault)
{
	struct hot_failure *v = hot_is_on() && regmap__tls_works() ? verdict_of_thread() : NULL;
	uint64_t key = v ? v->key : 0;

	if (!key)
		return EM_OK;
	v->key = 0;
	regmap__lane_fail(false);
	if (key != key_of(rip, regs))
		return EM_OK;
	*fault = v->fault;
	return v->status;
}

/* A handler's own accesses may fail, too; and one that leaves by a jump never comes back to this. */
void regmap__hot_keep_failure(struct hot_failure *kept)
{
	kept->key = 0;
	if (!hot_is_on() || !regmap__tls_works())
		return;
	*kept = *verdict_of_thread();
	verdict_of_thread()->key = 0;
	regmap__lane_fail(false);
}

void regmap__hot_restore_failure(const struct hot_failure *kept)
{
	if (!kept->key || !regmap__tls_works())
		return;
	*verdict_of_thread() = *kept;
	regmap__lane_fail(true);
}

/* --- rolling --- */

struct roll {
	int signo;
	siginfo_t *info;
	void *uc;
	struct cpu_regs regs;
	uint64_t rip; /* on the way */
	struct hot_place place;
	enum hot result;
	const struct fragment_access *of_fragment; /* likewise */
	bool access; /* the access of the inline part, or the original, raised the signal */
	bool raised; /* something in our code did */
};

static const struct hot_slots *slots(void)
{
	return atomic_load_explicit(&regmap__hot_slots, memory_order_acquire);
}

static bool is_raised(int signo, const siginfo_t *info)
{
	if (info->si_code <= 0)
		return false;
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL;
}

/* In the inline part the original instruction has other bytes, but stands in one place. */
static bool is_access(const struct hot_place *place)
{
	return place->offset == place->map->access ||
	       (place->map->original != 0xffff && place->offset >= place->map->original);
}

static void roll_slot(struct roll *r)
{
	if (r->place.offset >= 0 && is_access(&r->place))
		r->access = r->raised;
	if (r->place.offset < 0)
		r->rip = r->place.cell->site;
	else
		slots()->roll(r->place.map, r->place.cell, (unsigned)r->place.offset, &r->regs,
		              &r->rip);
	r->result = r->rip == r->place.cell->site ? HOT_SITE : HOT_PAST;
}

/* The way out of C may end in the slot, at its end or at its original. */
static bool roll_call(struct roll *r)
{
	const struct slot_cell *cell;

	switch (regmap__slot_roll_call(&r->regs, &r->rip, &cell)) {
	case SLOT_BACK:
		r->place.cell = cell;
		r->result = HOT_SITE;
		return true;
	case SLOT_FORWARD:
		r->result = HOT_PAST;
		if (slots()->find(r->rip, &r->place)) {
			roll_slot(r);
			r->access = false;
		}
		return true;
	default: return false;
	}
}

/* Between two instructions, whichever they are; one of the program's own may have raised the signal. */
static void roll_fragment(struct roll *r)
{
	if (r->raised)
		r->of_fragment = regmap__fragment_access_at(r->place.fragment,
		                                            (unsigned)r->place.offset);
	regmap__fragment_roll(r->place.fragment, (unsigned)r->place.offset, &r->regs, &r->rip);
	r->result = HOT_SITE;
}

static bool in_window(const struct plan *plan, uint64_t address)
{
	return plan->size && regmap__window_meets(address, plan->size);
}

/* The access in the slot was to host memory: what is wrong is wrong at the guest address. */
static void show_guest_address(struct roll *r, const struct plan *plan)
{
	struct cpu_trap trap;
	uint64_t address;

	if (!em_has_one_operand(plan))
		return;
	regmap__context_get_trap(r->uc, &trap);
	address = regmap__em_offset_by(plan, &r->regs, r->rip);
	if (plan->mem.segment || !in_window(plan, address) ||
	    (trap.number != TRAP_PAGE && trap.number != TRAP_ALIGNMENT))
		return;
	trap.number = TRAP_PAGE;
	trap.address = address;
	regmap__context_set_trap(r->uc, &trap);
	r->info->si_signo = SIGSEGV;
	r->info->si_code = SEGV_MAPERR;
	r->info->si_addr = (void *)(uintptr_t)address;
}

/* @plan: of the access that it was; NULL: none. */
static void show_address(struct roll *r, const struct plan *plan)
{
	if (r->signo == SIGFPE || r->signo == SIGILL)
		r->info->si_addr = (void *)(uintptr_t)r->rip;
	else if (plan)
		show_guest_address(r, plan);
}

/*
 * The instruction itself raised it: it is as if it had done so at the site. Something else did, on
 * our way: the stack ends here, say. Then the original is what the program would have run.
 */
static const struct plan *explain(struct roll *r, int offset)
{
	const struct slot_cell *cell = r->place.cell;
	const struct plan *plan = cell->plan;

	if (!r->access) {
		if (r->result == HOT_SITE)
			r->rip = cell->original;
		r->result = HOT_PAST;
		return NULL;
	}
	show_address(r, offset == r->place.map->access ? plan : NULL);
	return plan;
}

/* On the way into a fragment: @slot is that of the site which the way in is for. */
static bool is_ahead(const struct roll *r, struct hot_place *slot)
{
	const struct fragment_map *map = r->place.fragment;

	return regmap__fragment_is_ahead(map, (unsigned)r->place.offset) &&
	       slots()->find(atomic_load(map->stays_out), slot);
}

static const struct plan *explain_fragment(struct roll *r)
{
	const struct plan *plan = r->of_fragment ? r->of_fragment->plan : NULL;
	struct hot_place slot;

	if (is_ahead(r, &slot)) {
		r->rip = slot.cell->original;
		r->result = HOT_PAST;
		return NULL;
	}
	show_address(r, plan);
	return plan;
}

/*
 * The program steps: from a way into a fragment on by the slot alone, which is one step. Out of a
 * fragment, that it was in when it began to step, natively.
 */
static void step_on(struct roll *r)
{
	struct hot_place slot;

	if (r->place.fragment) {
		roll_fragment(r);
		if (is_ahead(r, &slot))
			r->rip = slot.cell->start + slot.map->plain;
	} else if (r->place.offset >= 0 && r->place.offset < r->place.map->plain) {
		roll_slot(r);
		r->rip = r->place.cell->start + r->place.map->plain;
	} else {
		return;
	}
	regmap__lane_leave();
	regmap__context_set_rip(r->uc, r->rip);
}

/* Steps within our code are none of the program's. */
static bool is_step(const struct roll *r)
{
	return r->signo == SIGTRAP && r->info->si_code == TRAP_TRACE;
}

enum hot regmap__hot_roll(int signo, siginfo_t *info, void *ucontext, const struct plan **plan)
{
	struct roll r = {.signo = signo, .info = info, .uc = ucontext};
	int offset = -1;

	*plan = NULL;
	if (!hot_is_on())
		return HOT_NOT;
	r.rip = regmap__context_rip(ucontext);
	r.raised = is_raised(signo, info);
	r.regs = regmap__context_regs(ucontext);
	if (slots()->find(r.rip, &r.place)) {
		if (is_step(&r)) {
			step_on(&r);
			return HOT_PAST;
		}
		offset = r.place.offset;
		if (r.place.fragment)
			roll_fragment(&r);
		else
			roll_slot(&r);
	} else if (regmap__slot_is_called(r.rip)) {
		if (is_step(&r))
			return HOT_PAST;
		if (!roll_call(&r))
			return HOT_NOT;
	} else {
		return HOT_NOT;
	}
	regmap__lane_leave();
	if (r.raised && r.place.fragment)
		*plan = explain_fragment(&r);
	/* None: all has been done but for a last touch of a stack that the program left for none. */
	if (r.raised && r.place.cell)
		*plan = explain(&r, offset);
	regmap__context_set_rip(ucontext, r.rip);
	return r.result;
}
