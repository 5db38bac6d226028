/* SPDX-License-Identifier: MIT */
#include <cpuid.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "cpu.h"
#include "slotcall.h"

#include "sigsafe.h"

#define AGREES(member, offset) \
	_Static_assert(offsetof(struct slot_frame, member) == (offset), "as slotcall.S has it")
AGREES(gpr, SLOT_RAX);
AGREES(flags, SLOT_FLAGS);
AGREES(rip, SLOT_RIP);
AGREES(target, SLOT_TARGET);
AGREES(cell, SLOT_CELL);
_Static_assert(sizeof(struct slot_frame) == SLOT_FRAME_SIZE, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, entry) == 0, "the CALL's operand names the cell");
_Static_assert(offsetof(struct slot_cell, site) == SLOT_CELL_SITE, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, original) == SLOT_CELL_ORIGINAL, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, spare) == SLOT_CELL_NOTE, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, next) == SLOT_CELL_NEXT, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, plain) == SLOT_CELL_PLAIN, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, tail) == SLOT_CELL_TAIL, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_cell, tail_mask) == SLOT_CELL_TAIL_MASK,
               "as slotcall.S has it");
_Static_assert(offsetof(struct slot_state, mask) == SLOT_STATE_LOW, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_state, way) == SLOT_STATE_WAY, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_state, others) == SLOT_STATE_OTHERS, "as slotcall.S has it");
_Static_assert(offsetof(struct slot_state, compact) == SLOT_STATE_COMPACT, "as slotcall.S has it");

enum { XSTATE_PKRU = 1 << 9, XSAVEC = 1 << 1, XGETBV_1 = 1 << 2 };
enum { UP_TO_256 = XSTATE_X87 | XSTATE_SSE | XSTATE_AVX, AVX512BW = 1 << 30 };

struct slot_state regmap__slot_state;

/* Registers one by one: where there are no others, and it can be seen whether x87 is in use. */
static uint32_t best_way(uint64_t mask, unsigned features)
{
	unsigned a = 0, b = 0, c, d;

	if (!(features & XGETBV_1))
		return SLOT_WAY_IMAGE;
	if (mask == UP_TO_256)
		return SLOT_WAY_256;
	__cpuid_count(7, 0, a, b, c, d);
	return mask == (UP_TO_256 | XSTATE_VECTOR) && b & AVX512BW ? SLOT_WAY_512 : SLOT_WAY_IMAGE;
}

void regmap__slot_state_init(void)
{
	const struct xstate *x = &regmap__xstate;
	uint64_t mask = x->xcr0 & ~(uint64_t)XSTATE_PKRU;
	unsigned a = 0, b, c, d;

	__cpuid_count(0xd, 1, a, b, c, d);
	regmap__slot_state = (struct slot_state){
		.size = x->size,
		.mask = {(uint32_t)mask, (uint32_t)(mask >> 32)},
		.compact = a & XSAVEC ? 1 : 0,
		.way = best_way(mask, a),
		.others = x->lahf ? CPU_IF | 2 : 0,
	};
}

extern const uint8_t regmap__slot_entered_24[], regmap__slot_entered_32[],
	regmap__slot_entered_160[], regmap__slot_framed[], regmap__slot_decided[],
	regmap__slot_over[], regmap__slot_leaving[], regmap__slot_leaving_flags[],
	regmap__slot_leaving_rip[], regmap__slot_leaving_ret[], regmap__slot_exit[],
	regmap__slot_exiting[], regmap__slot_exiting_flags[], regmap__slot_exiting_rsp[],
	regmap__slot_exiting_ret[], regmap__slot_undecided[], regmap__slot_saved[],
	regmap__slot_restored[], regmap__slot_special[], regmap__slot_noted[],
	regmap__slot_saved_some[], regmap__slot_restored_some[], regmap__slot_restoring_x87[],
	regmap__slot_undecided_all[], regmap__slot_leaving_status[], regmap__slot_leaving_all[],
	regmap__slot_moved[], regmap__slot_not_moved[], regmap__slot_handed_24[],
	regmap__slot_handed_32[], regmap__slot_handed_160[], regmap__slot_handed[],
	regmap__slot_handing[], regmap__slot_handled[], regmap__slot_handed_back[],
	regmap__slot_handed_back_ret[], regmap__slot_handling[], regmap__slot_not_handled[],
	regmap__slot_not_handed[];

/* How to find the program's state from each label on, up to the next. */
enum how {
	IN_REGISTERS, /* all but RSP, nothing has happened; the return address lies at RSP + @at */
	HANDED,       /* likewise, and RSI is the target */
	IN_FRAME,     /* at RBX, nothing has happened */
	PARTLY,       /* likewise, but RSI is the target, and what C preserves in registers */
	PARTLY_OVER,  /* the same, as it is to be, and RSI in the frame */
	DECIDED,      /* likewise, unless register @at is 0 */
	OVER,         /* at RBX, as it is to be */
	LEAVING,      /* at RSP, as it is to be */
	FLAGS_LEFT,   /* RSP points to those; the return address lies at RSP + @at */
	RET_LEFT,     /* the same, RSP being all that is not yet as it is to be */
	FLAGS_LEFT_2, /* RSP points to flags; at RSP + @at lies where RET 128 finds its address */
	RSP_LEFT,     /* the same without flags */
	RET_LEFT_2,   /* RET 128 */
	KEEP_OUT,     /* as in C */
};

enum { RAX = 0, RBX = 3, RSP = 4, RSI = 6, R13 = 13 };
/* What calls don't preserve, and RBX. */
enum { PART = 0x0fcf };
enum { BELOW = 136 /* where the return address lies below the program's RSP */ };

static const struct stage {
	const uint8_t *from;
	uint8_t how, at;
} stages[] = {
	{(const uint8_t *)regmap__slot_call, IN_REGISTERS, 0},
	{regmap__slot_entered_24, IN_REGISTERS, 24},
	{regmap__slot_entered_32, IN_REGISTERS, 32},
	{regmap__slot_entered_160, IN_REGISTERS, 160},
	{regmap__slot_framed, IN_FRAME, 0},
	{regmap__slot_moved, DECIDED, RAX},
	{regmap__slot_not_moved, IN_FRAME, 0},
	{regmap__slot_decided, DECIDED, RAX},
	{regmap__slot_over, OVER, 0},
	{regmap__slot_leaving, LEAVING, 0},
	{regmap__slot_leaving_status, RET_LEFT, 0},
	{regmap__slot_leaving_all, LEAVING, 0},
	{regmap__slot_leaving_flags, FLAGS_LEFT, 32},
	{regmap__slot_leaving_rip, RET_LEFT, 24},
	{regmap__slot_leaving_ret, RET_LEFT, 0},
	{regmap__slot_exit, OVER, 0},
	{regmap__slot_exiting, LEAVING, 0},
	{regmap__slot_exiting_flags, FLAGS_LEFT_2, SLOT_CELL - SLOT_FLAGS},
	{regmap__slot_exiting_rsp, RSP_LEFT, SLOT_CELL - SLOT_RIP},
	{regmap__slot_exiting_ret, RET_LEFT_2, 0},
	{regmap__slot_noted, IN_FRAME, 0},
	{regmap__slot_undecided, IN_FRAME, 0},
	{regmap__slot_saved_some, KEEP_OUT, 0},
	{regmap__slot_restored_some, DECIDED, R13},
	{regmap__slot_restoring_x87, KEEP_OUT, 0},
	{regmap__slot_undecided_all, IN_FRAME, 0},
	{regmap__slot_saved, KEEP_OUT, 0},
	{regmap__slot_restored, DECIDED, R13},
	{regmap__slot_special, IN_FRAME, 0},
};

static const struct stage device_stages[] = {
	{(const uint8_t *)regmap__slot_device, HANDED, 0},
	{regmap__slot_handed_24, HANDED, 24},
	{regmap__slot_handed_32, HANDED, 32},
	{regmap__slot_handed_160, HANDED, 160},
	{regmap__slot_handed, PARTLY, 0},
	{regmap__slot_handing, KEEP_OUT, 0},
	{regmap__slot_handled, PARTLY_OVER, 0},
	{regmap__slot_handed_back, RET_LEFT, 160},
	{regmap__slot_handed_back_ret, RET_LEFT, 0},
	{regmap__slot_handling, KEEP_OUT, 0},
	{regmap__slot_not_handled, PARTLY, 0},
	{(const uint8_t *)regmap__slot_handed_call, HANDED, 0},
	{regmap__slot_not_handed, IN_REGISTERS, 0},
};

static bool lies_in(uint64_t rip, const void *from, const uint8_t *to)
{
	return rip >= (uintptr_t)from && rip < (uintptr_t)to;
}

static const struct stage *latest(const struct stage *stage, unsigned i, uint64_t rip)
{
	while (rip < (uintptr_t)stage[--i].from)
		;
	return &stage[i];
}

static const struct stage *stage_of(uint64_t rip)
{
	if (lies_in(rip, (const void *)regmap__slot_call, regmap__slot_call_end))
		return latest(stages, sizeof(stages) / sizeof(stages[0]), rip);
	if (lies_in(rip, (const void *)regmap__slot_device, regmap__slot_device_end))
		return latest(device_stages, sizeof(device_stages) / sizeof(device_stages[0]), rip);
	return NULL;
}

bool regmap__slot_is_called(uint64_t rip)
{
	return stage_of(rip) != NULL;
}

static uint64_t word_at(uint64_t address)
{
	uint64_t word;

	memcpy(&word, (const void *)(uintptr_t)address, sizeof(word));
	return word;
}

static void set_rsp(const struct cpu_regs *regs, uint64_t rsp)
{
	regs->value[regs->at[RSP]] = rsp;
}

static void set_flags(const struct cpu_regs *regs, uint64_t flags)
{
	const uint64_t user = CPU_USER_FLAGS;

	*regs->flags = (*regs->flags & ~user) | (flags & user);
}

/* Flags are those of before all along: nothing before the frame is complete changes any. */
static enum slot_rolled out_of_registers(const struct cpu_regs *regs, uint64_t at, uint64_t *rip,
                                         const struct slot_cell **cell)
{
	uint64_t next = word_at(at);
	int32_t displacement;

	memcpy(&displacement, (const void *)(uintptr_t)(next - sizeof(displacement)),
	       sizeof(displacement));
	*cell = (const struct slot_cell *)(uintptr_t)(next + (uint64_t)(int64_t)displacement);
	*rip = (*cell)->site;
	set_rsp(regs, at + BELOW);
	return SLOT_BACK;
}

static void take(const struct cpu_regs *regs, const struct slot_frame *frame, unsigned which)
{
	for (unsigned i = 0; i < 16; i++)
		if (which >> i & 1)
			regs->value[regs->at[i]] = frame->gpr[i];
	set_flags(regs, frame->flags);
}

static void take_all(const struct cpu_regs *regs, const struct slot_frame *frame)
{
	take(regs, frame, 0xffff);
}

/* RSP before anything that this has not to rely on: the frame may not be complete yet. */
static enum slot_rolled back_out_of(const struct cpu_regs *regs, const struct slot_frame *frame,
                                    uint64_t *rip, const struct slot_cell **cell)
{
	uint64_t at = (uintptr_t)(frame + 1);

	take_all(regs, frame);
	return out_of_registers(regs, at, rip, cell);
}

static enum slot_rolled forward_out_of(const struct cpu_regs *regs, const struct slot_frame *frame,
                                       uint64_t *rip)
{
	*rip = frame->target ? frame->target : frame->cell->next;
	take_all(regs, frame);
	return SLOT_FORWARD;
}

/* RSP points to the return address of the call that handed RSI over. */
static void take_handed(const struct cpu_regs *regs, uint64_t at)
{
	regs->value[regs->at[RSI]] = word_at(at + 8 + (uint64_t)(int64_t)SLOT_HANDED_AT);
}

static enum slot_rolled back_out_of_part(const struct cpu_regs *regs,
                                         const struct slot_frame *frame, uint64_t *rip,
                                         const struct slot_cell **cell)
{
	uint64_t at = (uintptr_t)(frame + 1);

	take(regs, frame, PART);
	take_handed(regs, at);
	return out_of_registers(regs, at, rip, cell);
}

static enum slot_rolled forward_out_of_part(const struct cpu_regs *regs,
                                            const struct slot_frame *frame, uint64_t *rip)
{
	*rip = frame->cell->next;
	take(regs, frame, PART);
	set_rsp(regs, (uintptr_t)(frame + 1) + BELOW);
	return SLOT_FORWARD;
}

static enum slot_rolled past_ret(const struct cpu_regs *regs, uint64_t at, uint64_t more,
                                 uint64_t *rip)
{
	*rip = word_at(at);
	set_rsp(regs, at + sizeof(uint64_t) + more);
	return SLOT_FORWARD;
}

enum slot_rolled regmap__slot_roll_call(const struct cpu_regs *regs, uint64_t *rip,
                                        const struct slot_cell **cell)
{
	const struct stage *stage = stage_of(*rip);
	uint64_t rsp = regs->value[regs->at[RSP]], rbx = regs->value[regs->at[RBX]];

	if (!stage)
		return SLOT_UNROLLED;
	switch (stage->how) {
	case HANDED: take_handed(regs, rsp + stage->at); /* fall through */
	case IN_REGISTERS: return out_of_registers(regs, rsp + stage->at, rip, cell);
	case PARTLY: return back_out_of_part(regs, (const struct slot_frame *)rbx, rip, cell);
	case PARTLY_OVER: return forward_out_of_part(regs, (const struct slot_frame *)rbx, rip);
	case DECIDED:
		if (!(uint32_t)regs->value[regs->at[stage->at]])
			return forward_out_of(regs, (const struct slot_frame *)rbx, rip);
		/* fall through */
	case IN_FRAME: return back_out_of(regs, (const struct slot_frame *)rbx, rip, cell);
	case OVER: return forward_out_of(regs, (const struct slot_frame *)rbx, rip);
	case LEAVING: return forward_out_of(regs, (const struct slot_frame *)rsp, rip);
	case FLAGS_LEFT: set_flags(regs, word_at(rsp)); /* fall through */
	case RET_LEFT: return past_ret(regs, rsp + stage->at, 0, rip);
	case FLAGS_LEFT_2: set_flags(regs, word_at(rsp)); /* fall through */
	case RSP_LEFT: return past_ret(regs, word_at(rsp + stage->at), 128, rip);
	case RET_LEFT_2: return past_ret(regs, rsp, 128, rip);
	default: return SLOT_UNROLLED;
	}
}
