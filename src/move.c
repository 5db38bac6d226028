/* SPDX-License-Identifier: MIT */
#include "move.h"

#include "../emulator/internal.h"
#include "atomics.h"
#include "bus.h"
#include "device.h"
#include "fork.h"
#include "hot.h"
#include "lane.h"
#include "patch.h"
#include "pin.h"
#include "sigsafe.h"

enum { ALWAYS_ZERO = offsetof(struct slot_frame, target) / 8 }; /* until somebody sets it */
enum { AT_RIP = offsetof(struct slot_frame, rip) / 8 };

#define AGREES(type, member, offset) \
	_Static_assert(offsetof(struct type, member) == (offset), "as slotmove.S has it")
AGREES(move, base, MOVE_BASE);
AGREES(move, index, MOVE_INDEX);
AGREES(move, shift, MOVE_SHIFT);
AGREES(move, reg, MOVE_REG);
AGREES(move, disp, MOVE_DISP);
AGREES(move, size, MOVE_SIZE);
AGREES(move, align, MOVE_ALIGN);
AGREES(move, how, MOVE_HOW);
AGREES(move, turn, MOVE_TURN);
AGREES(move, version, MOVE_VERSION);
AGREES(move, first, MOVE_FIRST);
AGREES(move, span, MOVE_SPAN);
AGREES(move, window, MOVE_WINDOW);
AGREES(move, call, MOVE_CALL);
AGREES(move, ctx, MOVE_CTX);
AGREES(slot_cell, move, SLOT_CELL_MOVE);
AGREES(slot_cell, plan, SLOT_CELL_PLAN);
AGREES(plan, imm, SLOT_PLAN_IMM);
AGREES(lane_tls, magic, 0);
AGREES(lane_tls, quick, MOVE_LANE_QUICK);
AGREES(lane_tls, error, MOVE_LANE_ERROR);
AGREES(slot, window, MOVE_SLOT_WINDOW);
AGREES(slot, nonce, MOVE_SLOT_NONCE);
AGREES(slot, copy, MOVE_SLOT_COPY);
AGREES(slot, latest, MOVE_SLOT_LATEST);
AGREES(slot, origin, MOVE_SLOT_ORIGIN);
AGREES(pin, slot, 0);
AGREES(pin, nonce, MOVE_PIN_NONCE);
AGREES(pin, site, MOVE_PIN_SITE);
AGREES(pin, holds, MOVE_PIN_HOLDS);
AGREES(pin, blocked, MOVE_PIN_BLOCKED);
AGREES(regmap_window, start, MOVE_WINDOW_START);
AGREES(regmap_window, lock, MOVE_WINDOW_LOCK);
AGREES(regmap_window, flags, MOVE_WINDOW_FLAGS);
AGREES(table_head, version, MOVE_TABLE_VERSION);
_Static_assert(sizeof(struct move) == 64, "a cache line");
_Static_assert(sizeof(struct pin) <= 48, "slotmove.S has so much room");
_Static_assert(PIN_STORES == MOVE_WRITES, "added to the window");
_Static_assert(PIN_CLAIM == MOVE_CLAIM && LANE_MAGIC == MOVE_LANE_MAGIC, "as slotmove.S has it");
_Static_assert(REGMAP_GENERAL == MOVE_GENERAL, "as slotmove.S has it");
_Static_assert(FORK_SETTLED == MOVE_FORK_SETTLED, "as slotmove.S has it");

static struct pool moves = {.size = sizeof(struct move)};

/* --- sites --- */

/* What becomes of the bytes that are loaded: enum MOVE_*; UNKNOWN: something else. */
enum { UNKNOWN = 0xff };

static unsigned extension(const struct plan *p)
{
	regmap__alu_op op = p->compiled.op;
	unsigned k = (unsigned)__builtin_ctz(p->size);
	enum { TO_32 = 2, TO_64 = 3 };

	if (op == regmap__alu_mov_r[k])
		return p->size < 4 ? MOVE_MERGES : 0;
	for (unsigned to = TO_32; to <= TO_64; to++) {
		if (op == regmap__alu_movzx8[to] || op == regmap__alu_movzx16[to])
			return MOVE_ZEROES;
		if (op == regmap__alu_movsx8[to] || op == regmap__alu_movsx16[to])
			return MOVE_SIGNED | (to == TO_32 ? MOVE_NARROW : 0);
	}
	return op == regmap__alu_movsxd[TO_64] ? MOVE_SIGNED : UNKNOWN;
}

static bool stores_as_it_is(const struct plan *p)
{
	return p->compiled.op == regmap__alu_mov_m[__builtin_ctz(p->size)];
}

static int64_t displacement(const struct plan *p)
{
	return p->mem.disp + (p->mem.base == EM_RIP ? p->length : 0);
}

static bool is_fit(const struct plan *p)
{
	bool writes = p->compiled.straight == EM_WRITE;

	return (writes ? stores_as_it_is(p) : extension(p) != UNKNOWN) && !p->mem.address32 &&
	       displacement(p) == (int32_t)displacement(p) &&
	       (writes || p->compiled.b.gpr != CPU_RSP);
}

/* Neither in struct slot_frame on the short way, nor lost in a callback. */
static bool is_preserved(unsigned gpr)
{
	return gpr == CPU_RBP || (gpr >= CPU_R8 + 4 && gpr <= CPU_R15);
}

static uint8_t how(const struct plan *p)
{
	bool writes = p->compiled.straight == EM_WRITE, constant = writes && p->compiled.b_imm;
	unsigned how = writes ? MOVE_WRITES : extension(p);

	if (constant)
		how |= MOVE_CONSTANT;
	else if (is_preserved(p->compiled.b.gpr))
		how |= MOVE_AWAY;
	return (uint8_t)(p->size == 8 ? how | MOVE_WIDE : how);
}

static void describe(struct move *m, const struct plan *p)
{
	m->base = p->mem.base == EM_RIP    ? AT_RIP :
	          p->mem.base == EM_NO_REG ? ALWAYS_ZERO :
	                                     p->mem.base;
	m->index = p->mem.index == EM_NO_REG ? ALWAYS_ZERO : p->mem.index;
	m->shift = p->mem.shift;
	m->reg = p->compiled.b.gpr;
	m->disp = (int32_t)displacement(p);
	m->size = (uint8_t)p->size;
	m->align = (uint8_t)(p->size - 1);
	m->how = how(p);
}

#define NO_VERSION UINT64_MAX

/* Of sites that can't be described. */
static struct move unfit = {.version = NO_VERSION};

/* NULL: nothing yet. */
static struct move *move_of(const struct slot_cell *cell)
{
	struct move *m = (struct move *)get(&cell->move);

	return m == &regmap__slot_no_move ? NULL : m;
}

static struct move *make(const struct plan *p)
{
	uint32_t number = is_fit(p) ? regmap__pool_take(&moves) : 0;
	struct move *m;

	if (!number)
		return &unfit;
	m = regmap__pool_at(&moves, number);
	describe(m, p);
	return m;
}

/* One that somebody left in the middle of writing it is replaced. NULL: it is being written. */
static struct move *provide(struct slot_cell *cell)
{
	struct move *m = move_of(cell);
	uint32_t turn;

	if (!m || get(&m->turn) & 1)
		m = make(cell->plan);
	if (m == &unfit) {
		set(&cell->move, (uintptr_t)m);
		return NULL;
	}
	turn = get(&m->turn);
	if (turn & 1 || !atomic_compare_exchange_strong(&m->turn, &turn, turn + 1))
		return NULL;
	return m;
}

/* A site that goes from device to device had better not write each time to what all threads read. */
static bool is_time(const struct slot_cell *cell, struct lane *lane, uint64_t version)
{
	const struct move *m = move_of(cell);
	enum { SELDOM = 64 };

	return !m || (m != &unfit && (get(&m->version) != version || ++lane->miss % SELDOM == 0));
}

void regmap__move_note(struct slot_cell *cell, struct lane *lane, struct regmap_window *window,
                       uint64_t first, uint64_t last, uint64_t version)
{
	const struct plan *p = cell->plan;
	bool writes = p->compiled.straight == EM_WRITE;
	const struct regmap_device_ops *ops = window->device.ops;
	struct move *m;

	if (last - first < p->size - 1u || !is_time(cell, lane, version) || !(m = provide(cell)))
		return;
	set(&m->version, NO_VERSION);
	set(&m->first, first);
	set(&m->span, last - first - (p->size - 1u));
	set(&m->window, (uintptr_t)window);
	set(&m->call, writes ? (uintptr_t)&ops->write : (uintptr_t)&ops->read);
	set(&m->ctx, (uintptr_t)window->device.ctx);
	set(&m->turn, get(&m->turn) + 1);
	set(&m->version, version);
	set(&cell->move, (uintptr_t)m);
}

/* --- failures --- */

static uint64_t word(const struct slot_frame *frame, unsigned i)
{
	return ((const uint64_t *)frame)[i];
}

void regmap__move_failed(struct slot_frame *frame, struct pin *pin, const struct move *m,
                         struct regmap_window *window, int err)
{
	struct access at = {.window = window, .length = m->size};
	enum em_status status;
	struct em_fault fault;

	at.address = word(frame, m->base) + (word(frame, m->index) << m->shift) + (uint64_t)m->disp;
	status = regmap__window_bus_error(&fault, &at, at.address,
	                                  m->how & MOVE_WRITES ? EM_WRITE : EM_READ,
	                                  device_error(err));
	regmap__hot_fail(frame, status, &fault);
	regmap__pin_drop(pin);
}
