/* SPDX-License-Identifier: MIT */
/*
 * What slots call, in the middle of the program: as few instructions as can be, and until the vector
 * state is saved none that has to do with vector registers (`make check-objects` looks).
 */
#include "hot.h"

#include "armed.h"
#include "fork.h"
#include "lane.h"
#include "quick.h"
#include "table.h"
#include "view.h"

#include "../emulator/internal.h"

#include "sigsafe.h"

enum { SELDOM = 127 };

static uint64_t mix(uint64_t a, uint64_t b)
{
	return (a ^ b) * 0x9e3779b97f4a7c15;
}

/* No segment: such a site has no business with windows, and never gets a view. */
static bool operand_of(const struct plan *p, const struct cpu_regs *regs, uint64_t rip,
                       uint64_t *address)
{
	if (!p->has_mem || p->mem.segment || !em_has_one_operand(p))
		return false;
	*address = regmap__em_offset_by(p, regs, rip);
	return true;
}

/*
 * Devices have no view. The cell remembers where that was so, for one stretch of 64 bytes, and whether
 * the callback there may use vector registers: then regmap__slot_call() need not ask first.
 */
enum { NOTE_VIEWLESS = 1, NOTE_KINDS = SLOT_NOTE_VECTOR | NOTE_VIEWLESS };

static uint64_t where(uint64_t address)
{
	uint64_t version = atomic_load_explicit(&regmap__table.version, memory_order_acquire);

	return mix(mix(version, address >> 6), 1) & ~(uint64_t)NOTE_KINDS;
}

static bool is_noted(struct slot_cell *cell, uint64_t address, uint64_t kind)
{
	uint64_t note = __atomic_load_n(&cell->spare, __ATOMIC_RELAXED);

	return note & kind && (note & ~(uint64_t)NOTE_KINDS) == where(address);
}

static void set_note(struct slot_cell *cell, uint64_t note)
{
	const void *quick = (const void *)regmap__slot_device,
		   *slow = (const void *)regmap__slot_handed_call;
	bool is_quick = !(note & SLOT_NOTE_VECTOR);

	__atomic_store_n(&cell->spare, note, __ATOMIC_RELAXED);
	if (__atomic_load_n(&cell->entry, __ATOMIC_RELAXED) == (is_quick ? slow : quick))
		__atomic_store_n(&cell->entry, is_quick ? quick : slow, __ATOMIC_RELAXED);
}

static void note(struct slot_cell *cell, uint64_t address, uint64_t kind)
{
	uint64_t place = where(address), old = __atomic_load_n(&cell->spare, __ATOMIC_RELAXED);

	if ((old & ~(uint64_t)NOTE_KINDS) != place)
		old = place;
	set_note(cell, old | kind);
}

static bool is_dead(const struct view *v)
{
	return !atomic_load_explicit(&v->limit[VIEW_READ][0], memory_order_relaxed) &&
	       !atomic_load_explicit(&v->limit[VIEW_WRITE][0], memory_order_relaxed);
}

/* One of the two views of a cell. */
static const struct view *look_at(const struct view *_Atomic *place)
{
	return atomic_load_explicit(place, memory_order_acquire);
}

static bool fits(const struct view *v, const struct plan *p, uint64_t address)
{
	return regmap__view_fits(v, address, p->size, p->access);
}

/*
 * Where a site goes from window to window: one of its two views becomes another one, and the other in
 * turn.
 */
static void give_view(struct slot_cell *cell, const struct view *v, struct lane *lane)
{
	const struct view *_Atomic *place = lane->miss / SELDOM & 1 ? cell->view : cell->other;

	if (is_dead(look_at(cell->view)))
		place = cell->view;
	else if (is_dead(look_at(cell->other)))
		place = cell->other;
	atomic_store_explicit(place, v, memory_order_release);
}

/*
 * Can the inline part do it, now that this thread has a lane or with another view? If it has failed with
 * what it needs, there is no point in trying again.
 */
static bool can_go_inline(struct slot_frame *f, const struct cpu_regs *regs)
{
	const struct plan *p = f->cell->plan;
	struct slot_cell *cell = f->cell;
	const struct view *v;
	struct lane *lane;
	uint64_t address;

	if (!cell->start_inline || !operand_of(p, regs, f->rip, &address) ||
	    is_noted(cell, address, NOTE_VIEWLESS))
		return false;
	lane = regmap__lane_take();
	if (!lane || fits(look_at(cell->view), p, address) ||
	    fits(look_at(cell->other), p, address))
		return false;
	v = regmap__view_for(address, plan_needs_alignment(p));
	if (!v) {
		note(cell, address, NOTE_VIEWLESS);
		return false;
	}
	if (!fits(v, p, address))
		return false;
	give_view(cell, v, lane);
	if (cell->way)
		atomic_store_explicit(&cell->way, cell->start_inline, memory_order_release);
	f->target = cell->start;
	return true;
}

/* The slot is left by way of the target where RSP is another one. */
static void finish(struct slot_frame *f, uint64_t rsp)
{
	if (f->gpr[CPU_RSP] != rsp)
		f->target = f->cell->next;
}

/* Not a byte of it in a window: the instruction itself does it best, unless it shows where it is. */
static bool is_ordinary(const struct plan *p, const struct cpu_regs *regs, uint64_t rip)
{
	struct table_hit hit;
	uint64_t address;

	if (plan_shows_address(p) || !operand_of(p, regs, rip, &address))
		return false;
	regmap__table_find(address, &hit);
	return !hit.window && p->size && hit.last - address >= p->size - 1u;
}

static int take_original(struct slot_frame *f)
{
	f->target = f->cell->original;
	return SLOT_DONE;
}

static int ask_for_vector(struct slot_frame *f, const struct cpu_regs *regs)
{
	uint64_t address;

	if (operand_of(f->cell->plan, regs, f->rip, &address))
		note(f->cell, address, SLOT_NOTE_VECTOR);
	return SLOT_VECTOR;
}

/* What was noted was about another place: the next access is to ask again. */
static void check_note(struct slot_frame *f, const struct cpu_regs *regs)
{
	uint64_t address;

	if (!operand_of(f->cell->plan, regs, f->rip, &address) ||
	    !is_noted(f->cell, address, SLOT_NOTE_VECTOR))
		set_note(f->cell, 0);
}

static int quickly(struct slot_frame *f, const struct cpu_regs *regs, bool general_only)
{
	struct quick_failure failure;
	uint64_t rsp = f->gpr[CPU_RSP];

	switch (regmap__quick(f->cell->plan, regs, f->rip, general_only, &failure)) {
	case QUICK_DONE: finish(f, rsp); return SLOT_DONE;
	case QUICK_VECTOR: return ask_for_vector(f, regs);
	case QUICK_FAILED: regmap__hot_fail(f, failure.status, &failure.fault); return SLOT_DONE;
	default: return is_ordinary(f->cell->plan, regs, f->rip) ? take_original(f) : SLOT_EMULATE;
	}
}

/*
 * A site that goes from window to window had better not change its cell, which all threads read, at
 * each access.
 */
static inline bool is_scattered(struct slot_cell *cell, struct lane *lane)
{
	return !is_dead(look_at(cell->view)) && !is_dead(look_at(cell->other)) &&
	       ++lane->miss % SELDOM;
}

/*
 * The straight way: where there was no view for this site before, or it has one that didn't fit. Its
 * inline part has looked for the lane then.
 */
__attribute__((always_inline)) static inline enum quick go_straight(struct slot_frame *f,
                                                                    bool general_only)
{
	bool viewless = __atomic_load_n(&f->cell->spare, __ATOMIC_RELAXED) & NOTE_VIEWLESS;
	uint64_t rsp = f->gpr[CPU_RSP];
	struct quick_failure failure;
	enum quick result;
	struct lane *lane = lane_own();

	if (!lane || lane->failed)
		return QUICK_NO;
	if (!viewless &&
	    (look_at(f->cell->view) == &regmap__slot_no_view || !is_scattered(f->cell, lane)))
		return QUICK_NO;
	result = regmap__quick_slot(f, lane, general_only, &failure);
	if (result == QUICK_DONE)
		finish(f, rsp);
	if (result != QUICK_FAILED)
		return result;
	regmap__hot_fail(f, failure.status, &failure.fault);
	return QUICK_DONE;
}

__attribute__((noinline)) static int enter(struct slot_frame *f)
{
	const struct cpu_regs regs = regmap__em_regs(f->gpr, &f->flags);

	if (!fork_is_settled()) /* what there is to do then, uses what it likes */
		return SLOT_VECTOR;
	regmap__armed_renew();
	regmap__lane_take(); /* the straight way is for those who have one */
	if (regmap__hot_has_failed(f->rip, &regs))
		return take_original(f);
	if (can_go_inline(f, &regs))
		return SLOT_DONE;
	return quickly(f, &regs, true);
}

int regmap__slot_enter(struct slot_frame *f)
{
	return go_straight(f, true) == QUICK_DONE ? SLOT_DONE : enter(f);
}

int regmap__slot_enter_saved(struct slot_frame *f, uint8_t *image, int answer)
{
	const struct cpu_regs regs = regmap__em_regs(f->gpr, &f->flags);

	if (answer == SLOT_VECTOR && go_straight(f, false) == QUICK_DONE)
		return SLOT_DONE;
	regmap__fork_notice();
	if (regmap__hot_has_failed(f->rip, &regs))
		return take_original(f);
	check_note(f, &regs);
	if (answer == SLOT_VECTOR)
		return can_go_inline(f, &regs) ? SLOT_DONE : quickly(f, &regs, false);
	regmap__hot_emulate(f, image);
	return SLOT_DONE;
}
