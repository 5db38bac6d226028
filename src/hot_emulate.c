/* SPDX-License-Identifier: MIT */
/* Slots whose instruction takes the whole emulator. */
#define _GNU_SOURCE
#include "hot.h"

#include <errno.h>
#include <string.h>

#include "../arch/x86_64/context.h"
#include "backing.h"
#include "bus.h"
#include "chain.h"
#include "../emulator/emulator.h"
#include "../emulator/plan.h"
#include "lane.h"
#include "window.h"
#include "view.h"

#include "sigsafe.h"

enum { STRING_BUDGET = 1 << 20 };

const struct hot_slots *_Atomic regmap__hot_slots;

int regmap__hot_start(const struct hot_slots *slots)
{
	int err;

	if (hot_is_on())
		return 0;
	regmap__slot_state_init();
	if (!regmap__xstate.xcr0 || !regmap__tls_works())
		return -ENOSYS;
	err = regmap__lane_init();
	if (!err)
		err = regmap__view_init();
	if (err)
		return err;
	atomic_store(&regmap__hot_slots, slots);
	regmap__chain_cover_all();
	return 0;
}

static void load(struct cpu *cpu, const struct slot_frame *f, uint8_t *image)
{
	const struct slot_state *s = &regmap__slot_state;

	memcpy(cpu->gpr, f->gpr, sizeof(cpu->gpr));
	cpu->rip = f->rip;
	cpu->rflags = f->flags;
	cpu->dirty = 0;
	cpu->xsave = image;
	cpu->xfeatures = s->mask[0] | (uint64_t)s->mask[1] << 32;
	regmap__context_segments(cpu);
}

static void store(const struct cpu *cpu, struct slot_frame *f)
{
	memcpy(f->gpr, cpu->gpr, sizeof(f->gpr));
	f->flags = cpu->rflags;
}

static enum em_status execute(const struct plan *plan, struct cpu *cpu, struct em_fault *fault)
{
	struct window_bus bus __attribute__((cleanup(regmap__window_bus_end)));

	regmap__window_bus_init(&bus);
	memset(fault, 0, sizeof(*fault));
	return regmap__em_execute(plan, cpu, &bus.bus, STRING_BUDGET, fault);
}

static bool is_access_fault(const struct em_fault *fault)
{
	return fault->trap.signo == SIGSEGV || fault->trap.signo == SIGBUS;
}

/* Of more than one operand, perhaps: no byte of any in a window is the instruction's own business. */
__attribute__((noinline)) static bool meets_window(const struct plan *plan, const struct cpu *cpu)
{
	struct em_footprint footprint;

	regmap__em_footprint(plan, cpu, &footprint);
	for (unsigned i = 0; i < footprint.count; i++)
		if (regmap__window_meets(footprint.range[i].address, footprint.range[i].length))
			return true;
	return false;
}

/*
 * What can't be done is the fault path's business, and what failed it has only to say. Flags that
 * only an interrupt's return can set as they are wanted are, too. On memory that isn't ours, the instruction
 * itself says what is wrong.
 */
void regmap__hot_emulate(struct slot_frame *f, uint8_t *image)
{
	unsigned moves = atomic_load_explicit(&regmap__ram_moves, memory_order_acquire);
	uint64_t rsp = f->gpr[CPU_RSP];
	enum em_status status;
	struct em_fault fault;
	struct cpu cpu;
	bool ours;

	load(&cpu, f, image);
	ours = meets_window(f->cell->plan, &cpu);
	if (!ours && !plan_shows_address(f->cell->plan)) {
		f->target = f->cell->original;
		return;
	}
	status = execute(f->cell->plan, &cpu, &fault);
	store(&cpu, f);
	if (status == EM_OK) {
		if (cpu.rip != f->cell->next || cpu.gpr[CPU_RSP] != rsp)
			f->target = cpu.rip;
		regmap__context_store_segments(&cpu);
		return;
	}
	f->target = f->cell->original;
	if (!ours || (status == EM_FAULT && is_access_fault(&fault) && ram_has_moved(moves)))
		return;
	if (status == EM_DENIED || status == EM_FAULT)
		regmap__hot_fail(f, status, &fault);
}
