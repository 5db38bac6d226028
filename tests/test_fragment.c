/* SPDX-License-Identifier: MIT */
/*
 * Fragments, run without a runtime: programs made at random, natively on plain memory, then as a
 * fragment on views of other memory. What a signal handler would see at each single step must be what
 * it would have seen between two instructions of the program; and so must be what is there when
 * an access is left to others.
 *
 * T_SEED=n T_CASES=n build/.../test_fragment
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86_64/fragment_code.h"
#include "arena.h"
#include "machine.h"
#include "rolled.h"
#include "src/patch.h"

enum {
	PAGE = 4096,
	CODE_AT = 0x14000000,
	ARENA = 0x10000000, /* the window */
	OWN = 0x11000000,   /* memory of the program's, and its stack behind it */
	OWN_SIZE = 2 * PAGE,
	STACK = OWN + OWN_SIZE - 1024,
	SLOT_AT = 0x1a000000,
	FRAGMENT_AT = 0x1a001000,
	MISS_AT = FRAGMENT_AT + FRAGMENT_CODE_MOST, /* INT3s */
	CALLED_AT = MISS_AT + 1000,
	CODE_SIZE = 0x1000 + FRAGMENT_CODE_MOST + PAGE,
	DATA_AT = 0x1a100000,
	DATA_SIZE = 4 * PAGE,
	STATES = 6000,
	PROGRAM = 600, /* bytes */
	MOST_STEPS = 40000,
	AHEAD = 6,
};

enum { ARMED = 0x600dcafe, MAGIC = 0x5eed1234 };

static __thread struct {
	struct lane_tls tls;
	uint32_t armed;
} own_tls;

static struct lane lane;
static uint8_t *writable; /* the code at SLOT_AT */
static uint8_t host[PAGE] __attribute__((aligned(4096)));
static uint8_t arena_before[PAGE], own_before[OWN_SIZE];
static uint64_t random_state;

static struct {
	struct fragment_map map;
	struct slot_map slot;
	struct slot_cell *cell;
	struct view *window, *gap;
} f;

static uint32_t pick(uint32_t n)
{
	return t_random(&random_state) % n;
}

/* --- programs --- */

static uint8_t *at;
static unsigned data_registers[16], data_count;

static void byte(unsigned value)
{
	*at++ = (uint8_t)value;
}

static void bytes(const void *from, unsigned length)
{
	memcpy(at, from, length);
	at += length;
}

static unsigned any_data(void)
{
	return data_registers[pick(data_count)];
}

struct operand {
	unsigned base, index; /* 16: none; base 17: absolute */
	unsigned shift;
	int32_t disp;
};

enum { NONE = 16, ABSOLUTE = 17 };

/* All up to ModRM. @opcode: one byte, or two (0f xx); @rex: of the operand. */
static void begin(unsigned width, unsigned opcode, unsigned reg, unsigned rex)
{
	rex |= (width == 8 ? 8u : 0) | (reg >> 3 & 1) << 2;
	if (width == 2)
		byte(0x66);
	if (rex || width == 1)
		byte(0x40 | rex);
	if (opcode >> 8)
		byte(opcode >> 8);
	byte(opcode & 0xff);
}

/* Behind prefixes that are there already. */
static void with_memory(unsigned width, unsigned opcode, unsigned reg, const struct operand *o)
{
	begin(width, opcode, reg,
	      (o->index < 16 ? o->index >> 3 << 1 : 0) | (o->base < 16 ? o->base >> 3 : 0));
	if (o->base == ABSOLUTE) {
		byte((reg & 7) << 3 | 4);
		byte(0x25);
		bytes(&o->disp, 4);
		return;
	}
	if (o->index == NONE && (o->base & 7) != T_RSP) {
		byte(0x80 | (reg & 7) << 3 | (o->base & 7));
	} else {
		byte(0x80 | (reg & 7) << 3 | 4);
		byte(o->shift << 6 | (o->index == NONE ? 4 : o->index & 7) << 3 | (o->base & 7));
	}
	bytes(&o->disp, 4);
}

static void with_register(unsigned width, unsigned opcode, unsigned reg, unsigned rm)
{
	begin(width, opcode, reg, rm >> 3 & 1);
	byte(0xc0 | (reg & 7) << 3 | (rm & 7));
}

enum { INDEX = 14, COUNTER = 15, OWN_POINTER = T_RBP };
static const unsigned pointers[] = {T_RBX, T_RSI, T_RDI};

/* In the window as a rule; where pointers lie, nothing is written. */
static struct operand any_operand(bool stack)
{
	struct operand o = {pointers[pick(3)], NONE, 0, (int32_t)pick(pick(2) ? 0x200 : 0x40)};

	switch (pick(8)) {
	case 0:
		o.index = INDEX;
		o.shift = pick(4);
		break;
	case 1:
		o = (struct operand){ABSOLUTE, NONE, 0, (int32_t)(ARENA + 0x900 + pick(0x200))};
		break;
	case 2: o.base = OWN_POINTER; break;
	case 3:
		if (stack)
			o = (struct operand){T_RSP, NONE, 0, (int32_t)(64 + 8 * pick(8))};
		break;
	}
	return o;
}

static unsigned any_width(void)
{
	static const unsigned width[] = {1, 2, 4, 8, 4, 8};

	return width[pick(6)];
}

static void arithmetic(bool memory)
{
	static const unsigned opcodes[] = {0x01, 0x03, 0x29, 0x2b, 0x11, 0x13, 0x19,
	                                   0x1b, 0x21, 0x23, 0x09, 0x0b, 0x31, 0x33,
	                                   0x39, 0x3b, 0x39, 0x3b, 0x85, 0x85};
	unsigned opcode = opcodes[pick(20)], width = any_width();
	struct operand o = any_operand(true);

	if (width == 1)
		opcode--;
	if (memory)
		with_memory(width, opcode, any_data(), &o);
	else
		with_register(width, opcode, any_data(), any_data());
}

static void move(void)
{
	unsigned width = any_width(), store = pick(2) ? 0 : 2;
	struct operand o = any_operand(true);

	with_memory(width, 0x88 + store + (width > 1), any_data(), &o);
}

static void extend(void)
{
	static const unsigned opcodes[] = {0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf};
	struct operand o = any_operand(true);

	with_memory(pick(2) ? 4 : 8, opcodes[pick(4)], any_data(), &o);
}

static void conditional(void)
{
	struct operand o = any_operand(true);
	unsigned condition = pick(16);

	switch (pick(3)) {
	case 0: with_memory(pick(2) ? 4 : 8, 0x0f40 | condition, any_data(), &o); break;
	case 1: with_memory(1, 0x0f90 | condition, 0, &o); break;
	default: with_register(1, 0x0f90 | condition, 0, any_data()); break;
	}
}

static void one_operand(void)
{
	struct operand o = any_operand(true);
	unsigned width = any_width(), low = width > 1;

	switch (pick(6)) {
	case 0: with_memory(width, 0xfe | low, pick(2), &o); break;     /* inc, dec */
	case 1: with_memory(width, 0xf6 | low, 2 + pick(2), &o); break; /* not, neg */
	case 2: with_memory(width, 0xd2 | low, 4 + pick(2), &o); break; /* shifts by CL */
	case 3: with_register(width, 0xfe | low, pick(2), any_data()); break;
	case 4:
		with_memory(width, 0xc0 | low, 4 + pick(2), &o);
		byte(pick(8));
		break;
	default: with_memory(width, width == 1 ? 0x80 : 0x83, pick(8), &o); byte(pick(256));
	}
}

static void constant(void)
{
	static const unsigned sums[] = {0, 5, 7};
	struct operand o = any_operand(true);
	uint32_t value = t_random(&random_state);
	unsigned reg = any_data();

	switch (pick(4)) {
	case 0:
		with_memory(4, 0xc7, 0, &o);
		bytes(&value, 4);
		break;
	case 1: /* add, sub, cmp */
		with_register(pick(2) ? 4 : 8, 0x81, sums[pick(3)], reg);
		bytes(&value, 4);
		break;
	case 2:
		with_register(1, 0xf6, 0, reg);
		byte(value);
		break;
	default: with_register(pick(2) ? 4 : 8, 0x83, sums[pick(3)], reg); byte(value);
	}
}

static void vector(void)
{
	struct operand o = any_operand(false);
	static const unsigned opcodes[] = {0x0f10, 0x0f11, 0x0f57};

	if (o.base == OWN_POINTER || o.base == T_RSP)
		o.disp &= ~15;
	with_memory(4, opcodes[pick(2)], pick(16), &o);
	if (pick(2)) {
		byte(0x66);
		with_register(4, 0x0ffe, pick(8), pick(8)); /* paddd */
	}
}

static void exchange(void)
{
	struct operand o = any_operand(false);

	if (pick(2))
		byte(0xf0);
	with_memory(pick(2) ? 4 : 8, 0x0fc1, any_data(), &o); /* xadd */
}

/* AH, CH, DH: no prefix that would make it another register. */
static void high_byte(void)
{
	static const uint8_t opcodes[] = {0x88, 0x8a, 0x00, 0x02, 0x38, 0x3a};
	struct operand o = any_operand(true);

	o.index = NONE;
	with_memory(4, opcodes[pick(6)], 4 + pick(3), &o);
}

static void load_pointer(void)
{
	const struct operand o = {ABSOLUTE, NONE, 0, (int32_t)(ARENA + 8 * pick(16))};

	with_memory(8, 0x8b, pointers[pick(3)], &o);
}

static void other(void)
{
	struct operand o = any_operand(true);
	unsigned reg = any_data();

	switch (pick(4)) {
	case 0: with_memory(8, 0x8d, reg, &o); break; /* lea */
	case 1: with_register(pick(2) ? 4 : 8, 0x0faf, reg, any_data()); break;
	case 2: /* push, pop */
		byte(0x40 | reg >> 3);
		byte(0x50 | (reg & 7));
		if (pick(2))
			move();
		byte(0x40 | reg >> 3);
		byte(0x58 | (reg & 7));
		break;
	default: { /* something relative to RIP: its own bytes */
		int32_t disp = -7;

		byte(0x48 | reg >> 3 << 2);
		byte(pick(2) ? 0x8b : 0x8d);
		byte((reg & 7) << 3 | 5);
		bytes(&disp, 4);
	}
	}
}

/* To the next one, by way of a register. */
static void jump_on(void)
{
	const uint8_t lea_3_rip_r11_jmp_r11[] = {0x4c, 0x8d, 0x1d, 3, 0, 0, 0, 0x41, 0xff, 0xe3};

	bytes(lea_3_rip_r11_jmp_r11, sizeof(lea_3_rip_r11_jmp_r11));
}

static void instruction(void)
{
	if (!pick(40))
		high_byte();
	if (!pick(60))
		jump_on();
	switch (pick(14)) {
	case 0:
	case 1: arithmetic(true); break;
	case 2: arithmetic(false); break;
	case 3:
	case 4: move(); break;
	case 5: extend(); break;
	case 6: conditional(); break;
	case 7: one_operand(); break;
	case 8:
	case 9: constant(); break;
	case 10: vector(); break;
	case 11: exchange(); break;
	case 12: load_pointer(); break;
	default: other(); break;
	}
}

static void block(unsigned depth);

static void jump_back(const uint8_t *to)
{
	int32_t distance = (int32_t)(to - (at + 4));

	bytes(&distance, 4);
}

/* Nothing goes by way of a view in it. */
static void plain_loop(void)
{
	const uint8_t *from = at;

	for (unsigned n = 1 + pick(3); n-- > 0;)
		arithmetic(false);
	with_register(4, 0x83, 5, COUNTER);
	byte(1);
	if (pick(2)) {
		byte(0x0f);
		byte(0x8f);
	} else { /* jle over the jmp */
		byte(0x7e);
		byte(5);
		byte(0xe9);
	}
	jump_back(from);
}

/* Over some, or round them. */
static void branch(unsigned depth)
{
	uint8_t *hole, *from = at;

	if (!depth && !pick(3)) {
		plain_loop();
		return;
	}
	if (pick(3)) {
		byte(0x70 | pick(16));
		byte(0);
		hole = at;
		block(depth + 1);
		if (at - hole < 128)
			hole[-1] = (uint8_t)(at - hole);
		return;
	}
	if (depth)
		return;
	block(depth + 1);
	with_register(4, 0x83, 5, COUNTER); /* sub $1, counter */
	byte(1);
	byte(0x0f);
	byte(0x8f); /* jg */
	jump_back(pick(3) ? from : t_code);
}

static void block(unsigned depth)
{
	for (unsigned n = 1 + pick(4); n-- > 0 && at < t_code + PROGRAM;)
		instruction();
	if (depth < 3 && at < t_code + PROGRAM && pick(2))
		branch(depth);
}

/* It begins with an access. */
static void write_program(void)
{
	static const unsigned all[] = {T_RAX, T_RCX, T_RDX, 8, 9, 10, 11, 12, 13};
	const struct operand o = {T_RBX, NONE, 0, 0x40};
	unsigned want = 3 + pick(7);

	data_count = 0;
	for (unsigned i = 0; data_count < want && i < 9; i++)
		if (pick(9) < want || 9 - i <= want - data_count)
			data_registers[data_count++] = all[i];
	memset(t_code, 0xcc, 2 * PAGE);
	at = t_code;
	with_memory(8, pick(2) ? 0x8b : 0x03, any_data(), &o);
	do
		block(0);
	while (at < t_code + PROGRAM / 3 && pick(6));
}

static void fill_memories(void)
{
	memcpy((void *)ARENA, arena_before, PAGE);
	memcpy(host, arena_before, PAGE);
	memcpy((void *)OWN, own_before, OWN_SIZE);
}

static void draw_state(struct t_regs *in)
{
	t_random_fill(&random_state, arena_before, PAGE);
	t_random_fill(&random_state, own_before, OWN_SIZE);
	for (unsigned i = 0; i < 16; i++)
		((uint64_t *)arena_before)[i] = ARENA + 0x400 + 16 * pick(16);
	memset(in, 0, sizeof(*in));
	t_random_fill(&random_state, in->gpr, sizeof(in->gpr));
	for (unsigned i = 0; i < 3; i++)
		in->gpr[pointers[i]] = ARENA + 0x400 + 16 * pick(16);
	in->gpr[OWN_POINTER] = OWN + 0x100;
	in->gpr[INDEX] = pick(16);
	in->gpr[COUNTER] = 1 + pick(5);
	in->gpr[T_RSP] = STACK;
	in->rflags = 0x202 | (t_random(&random_state) & T_STATUS);
	in->rip = CODE_AT;
}

/* --- what the program does by itself --- */

struct state {
	uint64_t gpr[T_GPRS], rip, rflags;
	uint64_t memory; /* a digest */
};

static struct state states[STATES];
static unsigned state_count;
static struct t_regs in;
static uint8_t image[T_IMAGE_MAX], scratch_image[2][T_IMAGE_MAX], native_image[T_IMAGE_MAX];

static uint64_t digest(uint64_t sum, const void *from, size_t size)
{
	const uint64_t *word = from;

	for (size_t i = 0; i < size / 8; i++)
		sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15 + (sum >> 29);
	return sum;
}

/* Below the stack pointer it may be anything. */
static uint64_t digest_memories(const void *window, uint64_t rsp)
{
	return digest(digest(1, window, PAGE), (void *)OWN, rsp - OWN - 512) ^
	       digest(2, (void *)(rsp & ~7ULL), OWN + OWN_SIZE - rsp);
}

static void take_state(struct state *to, const struct t_regs *r, const void *window)
{
	memcpy(to->gpr, r->gpr, sizeof(to->gpr));
	to->rip = r->rip;
	to->rflags = r->rflags & T_STATUS;
	to->memory = digest_memories(window, r->gpr[T_RSP]);
}

static uint8_t arena_behind[PAGE], own_behind[OWN_SIZE]; /* natively */

/* One instruction further. False: it has come to its end, or somewhere else. */
static bool step(struct t_regs *r, unsigned i, struct t_outcome *out)
{
	uint8_t *from = scratch_image[i % 2], *to = scratch_image[(i + 1) % 2];

	r->rflags |= T_TF;
	memcpy(from + T_FRAME_WORDS, image + T_FRAME_WORDS, T_FRAME_WORDS_END - T_FRAME_WORDS);
	t_run(r, from, out, to);
	*r = out->regs;
	return out->end == T_END_STEP;
}

/* False: this program is of no use. */
static bool run_native(void)
{
	struct t_regs r = in;
	struct t_outcome out;

	fill_memories();
	memcpy(scratch_image[0], image, T_IMAGE_MAX);
	take_state(&states[0], &r, (void *)ARENA);
	for (state_count = 1; state_count < STATES; state_count++) {
		bool goes_on = step(&r, state_count - 1, &out);

		if (!goes_on) {
			memcpy(native_image, scratch_image[state_count % 2], T_IMAGE_MAX);
			memcpy(arena_behind, (void *)ARENA, PAGE);
			memcpy(own_behind, (void *)OWN, OWN_SIZE);
			return out.end == T_END_DONE;
		}
		take_state(&states[state_count], &r, (void *)ARENA);
	}
	return false;
}

/* --- the fragment --- */

static void show_difference(const char *what, const uint8_t *is, const uint8_t *wanted, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (is[i] != wanted[i])
			fprintf(stderr, "  %s %#zx: %#x, at the end wanted %#x\n", what, i, is[i],
			        wanted[i]);
}

static size_t read_code(uint64_t from, uint8_t *to, size_t most)
{
	memcpy(to, (void *)(uintptr_t)from, most);
	return most;
}

static bool is_hot(uint64_t site)
{
	(void)site;
	return false;
}

static struct plan plans[FRAGMENT_ACCESSES];
static unsigned plan_count;

static const struct plan *keep(const struct plan *plan)
{
	plans[plan_count] = *plan;
	return &plans[plan_count++];
}

static int32_t offset_of(const void *member)
{
	return (int32_t)((uintptr_t)member - t_thread_pointer());
}

static void lay_slot(const struct fragment_access *a, unsigned number)
{
	const struct slot_request request = {
		.plan = a->plan,
		.site = f.map.first + a->at,
		.code = SLOT_AT,
		.cell = (uintptr_t)f.cell,
		.view = (uintptr_t)&f.map.view[number],
		.other = (uintptr_t)&f.map.more[number].other,
		.tls = offset_of(&own_tls.tls),
		.magic = MAGIC,
		.inline_access = true,
		.shares_views = true,
		.way_in = {.to = f.map.code + a->entry,
	                   .lent = {f.map.lent[0], f.map.lent[1]},
	                   .armed = offset_of(&own_tls.armed),
	                   .value = ARMED},
	};
	const char *why;
	size_t length;

	length = regmap__slot_generate(&request, writable, &f.slot, f.cell, &why);
	assert_true(length > 0);
	assert_true(f.slot.plain > 0);
	f.cell->plan = a->plan;
	f.cell->entry = (void *)(uintptr_t)CALLED_AT;
}

/* False: there is none, for want of registers. */
static bool lay(void)
{
	struct fragment_request request = {
		.head = CODE_AT,
		.first = CODE_AT,
		.last = CODE_AT + 2 * PAGE - 1,
		.code = FRAGMENT_AT,
		.data = DATA_AT,
		.tls = offset_of(&own_tls.tls),
		.armed = offset_of(&own_tls.armed),
		.value = ARMED,
		.read = read_code,
		.is_hot = is_hot,
		.keep = keep,
	};
	const uint8_t *code;

	plan_count = 0;
	if (!regmap__fragment_find(&request, &f.map))
		return false;
	code = regmap__fragment_generate(&request, &f.map);
	if (!code)
		return false;
	memset(writable, 0xcc, CODE_SIZE);
	memcpy(writable + (FRAGMENT_AT - SLOT_AT), code, f.map.length);
	for (unsigned i = 0; i < f.map.accesses; i++) {
		f.map.view[i] = f.window;
		f.map.more[i].other = f.gap;
		f.map.more[i].miss = MISS_AT + i;
	}
	lay_slot(&f.map.access[0], 0);
	*f.map.stays_out = SLOT_AT;
	return true;
}

/* The head's slot leads in, and mostly the fragment has a way in of its own. */
static uint64_t way_in(bool own)
{
	return own && f.map.way_in != FRAGMENT_NO_ENTRY ? FRAGMENT_AT + f.map.way_in : SLOT_AT;
}

static void show(struct view *v, uint64_t start, uint64_t last, uint64_t delta)
{
	v->start = start;
	v->delta = delta;
	for (unsigned r = 0; r < VIEW_RIGHTS; r++)
		for (unsigned k = 0; k < VIEW_SIZES; k++)
			v->limit[r][k] = last - (1u << k) + 2;
}

/* --- comparing --- */

static unsigned long cases, own_ways, missed, polled, lending, swapped, rolled_back;

/* True: it was in code of ours, and isn't any more. */
static bool roll(struct t_regs *r)
{
	const struct cpu_regs regs = t_cpu_regs(r);

	if (r->rip - FRAGMENT_AT < f.map.length) {
		regmap__fragment_roll(&f.map, (unsigned)(r->rip - FRAGMENT_AT), &regs, &r->rip);
		return true;
	}
	if (r->rip - SLOT_AT >= f.slot.length)
		return false;
	regmap__slot_roll(&f.slot, f.cell, (unsigned)(r->rip - SLOT_AT), &regs, &r->rip);
	return true;
}

static void complain(const char *what, const struct t_regs *r, unsigned now, uint64_t rip)
{
	struct state is;

	fprintf(stderr, "%s: at %#lx, state %u of %u; guest %#lx, wanted %#lx; flags %#lx %#lx\n",
	        what, (unsigned long)rip, now, state_count, (unsigned long)r->rip,
	        (unsigned long)states[now].rip, (unsigned long)(r->rflags & T_STATUS),
	        (unsigned long)states[now].rflags);
	for (unsigned i = 0; i < 16; i++)
		if (r->gpr[i] != states[now].gpr[i])
			fprintf(stderr, "  register %u: %#lx, wanted %#lx\n", i,
			        (unsigned long)r->gpr[i], (unsigned long)states[now].gpr[i]);
	take_state(&is, r, host);
	show_difference("window", host, arena_behind, PAGE);
	show_difference("own", (uint8_t *)OWN, own_behind, OWN_SIZE);
	fprintf(stderr, "  memory: %s\n  objdump -D -b binary -m i386:x86-64: ",
	        is.memory == states[now].memory ? "right" : "wrong");
	for (const uint8_t *p = t_code; p < at; p++)
		fprintf(stderr, "\\x%02x", *p);
	fprintf(stderr, "\n");
	fail();
}

/* Among @most states from @now on. */
static unsigned find_among(const struct t_regs *r, unsigned now, unsigned most, const char *what,
                           uint64_t rip)
{
	unsigned end = most < state_count - now ? now + most : state_count;
	struct state is;

	take_state(&is, r, host);
	for (unsigned i = now; i < end; i++)
		if (!memcmp(&is, &states[i], sizeof(is)))
			return i;
	for (unsigned i = now; i < end; i++)
		if (states[i].rip == is.rip) {
			now = i;
			break;
		}
	complain(what, r, now, rip);
	return now;
}

/* Some jumps are no instruction of the fragment's. */
static unsigned find_state(const struct t_regs *r, unsigned now, const char *what, uint64_t rip)
{
	return find_among(r, now, AHEAD, what, rip);
}

static void judge_end(const struct t_regs *r, unsigned now)
{
	bool miss = r->rip - MISS_AT < FRAGMENT_ACCESSES;
	struct t_regs as = *r;

	if (r->rip == CALLED_AT) { /* disarmed before it was looked at */
		as.rip = CODE_AT;
		as.gpr[T_RSP] += 128 + 8;
	}
	if (miss)
		as.rip = f.map.first + f.map.access[r->rip - MISS_AT].at;
	now = find_state(&as, now, miss ? "a miss" : "the end", r->rip);
	assert_int_equal(lane.busy, 0);
	missed += miss;
}

static bool is_ours(uint64_t rip)
{
	return rip - FRAGMENT_AT < f.map.length || rip - SLOT_AT < f.slot.length;
}

/* Soon an access that finds what it needs by its second look has the two change places. */
static void arm(void)
{
	own_tls.armed = ARMED;
	own_tls.tls.second_looks = (uint8_t)(1 + pick(4));
}

/* From the program's state number @now on, which memory and registers are in, by a way in at @from. */
static void step_through(struct t_regs r, const uint8_t *vectors, uint64_t from, unsigned now,
                         unsigned disarm)
{
	struct t_outcome out;

	r.rip = from;
	arm();
	memmove(scratch_image[0], vectors, T_IMAGE_MAX);
	for (unsigned i = 0; i < MOST_STEPS; i++) {
		struct t_regs back;
		uint64_t busy;

		if (i == disarm)
			own_tls.armed = 0;
		if (!step(&r, i, &out) || !is_ours(r.rip)) {
			judge_end(&r, now);
			polled += i > disarm && now + AHEAD < state_count;
			return;
		}
		back = r;
		busy = lane.busy;
		assert_true(roll(&back));
		assert_int_equal(lane.busy, 0);
		lane.busy = busy;
		rolled_back++;
		now = find_state(&back, now, "rolled", r.rip);
	}
	fail_msg("it doesn't end");
}

static void run_through(unsigned disarm)
{
	fill_memories();
	step_through(in, image, way_in(pick(2)), 0, disarm);
}

/* The program itself can't be executed: that is seen where a fragment is left. */
static void hold_program(bool hold)
{
	int rights = PROT_READ | PROT_WRITE | (hold ? 0 : PROT_EXEC);

	assert_int_equal(mprotect(t_code, 2 * PAGE, rights), 0);
}

/* Without steps: vectors and all. */
static void run_freely(void)
{
	static uint8_t got[T_IMAGE_MAX];
	struct t_regs r = in;
	struct t_outcome out;

	r.rip = way_in(pick(2));
	arm();
	fill_memories();
	hold_program(true);
	t_run(&r, image, &out, got);
	hold_program(false);
	if (out.regs.rip - MISS_AT < FRAGMENT_ACCESSES)
		out.regs.rip = f.map.first + f.map.access[out.regs.rip - MISS_AT].at;
	else
		assert_int_equal(out.end, T_END_FAULT);
	find_among(&out.regs, 0, state_count, "run", out.regs.rip);
	if (out.regs.rip == states[state_count - 1].rip)
		assert_memory_equal(got + 160, native_image + 160, 256);
}

static unsigned long number_from(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

static void draw_case(unsigned n)
{
	random_state = number_from("T_SEED", 1) * 1000003 + n;
	do {
		write_program();
		draw_state(&in);
	} while (!run_native() || !lay());
	show(f.window, ARENA, ARENA + PAGE - 1, (uintptr_t)host - ARENA);
	show(f.gap, OWN, OWN + OWN_SIZE - 1, 0);
}

static bool lends(void)
{
	for (unsigned i = 0; i < f.map.steps; i++)
		if (f.map.step[i].state & FRAGMENT_LENT)
			return true;
	return false;
}

static bool swaps(void)
{
	for (unsigned i = 0; i < f.map.accesses; i++)
		if (f.map.view[i] == f.gap && f.map.more[i].other == f.window)
			return true;
	return false;
}

static void test_fragment_programs(void **unused)
{
	unsigned all = (unsigned)number_from("T_CASES",
	                                     t_mode_is("asan") || t_mode_is("tsan") ? 300 : 1200);

	(void)unused;
	t_machine_catch();
	for (unsigned n = 0; n < all; n++) {
		draw_case(n);
		run_freely();
		run_through(~0u);
		run_through(pick(pick(4) ? 300 : 16));
		lending += lends();
		swapped += swaps();
		own_ways += f.map.way_in != FRAGMENT_NO_ENTRY;
		cases++;
	}
	printf("%lu programs, %lu with a way in of their own, %lu rolled steps, %lu left at a poll, "
	       "%lu that lend a third register, %lu whose views change places\n",
	       cases, own_ways, rolled_back, polled, lending, swapped);
	assert_true(rolled_back > 100 * all);
	assert_true(own_ways > all / 4 && own_ways < all);
	assert_true(polled > all / 40);
	assert_true(lending > all / 40);
	assert_true(swapped > all / 10);
}

/* One access after the other finds no view: all is as before it. */
static void test_fragment_misses(void **unused)
{
	unsigned all = (unsigned)number_from("T_CASES",
	                                     t_mode_is("asan") || t_mode_is("tsan") ? 100 : 600);
	static struct view nothing;

	(void)unused;
	t_machine_catch();
	missed = 0;
	for (unsigned n = 0; n < all; n++) {
		unsigned which;

		draw_case(100000 + n);
		which = pick(f.map.accesses);
		f.map.view[which] = f.map.more[which].other = &nothing;
		run_freely();
		run_through(~0u);
	}
	printf("%lu misses\n", missed);
	assert_true(missed > all / 2);
}

static unsigned first_state_at(uint64_t rip)
{
	unsigned i = 0;

	while (i < state_count && states[i].rip != rip)
		i++;
	return i;
}

/* The program comes to a site by itself, and goes in there. */
static void enter_at(const struct fragment_access *a, unsigned when)
{
	struct t_regs r = in;
	struct t_outcome out;

	fill_memories();
	memcpy(scratch_image[0], image, T_IMAGE_MAX);
	for (unsigned i = 0; i < when; i++)
		assert_true(step(&r, i, &out));
	r.rflags &= ~(uint64_t)T_TF;
	memcpy(host, (void *)ARENA, PAGE);
	lay_slot(a, (unsigned)(a - f.map.access));
	step_through(r, scratch_image[when % 2], SLOT_AT, when, ~0u);
}

static void test_fragment_entries(void **unused)
{
	unsigned all = (unsigned)number_from("T_CASES",
	                                     t_mode_is("asan") || t_mode_is("tsan") ? 100 : 800);
	unsigned long entered = 0, none = 0;

	(void)unused;
	t_machine_catch();
	for (unsigned n = 0; n < all; n++) {
		draw_case(200000 + n);
		for (unsigned i = 0; i < f.map.accesses; i++) {
			const struct fragment_access *a = &f.map.access[i];
			unsigned when = first_state_at(f.map.first + a->at);

			none += a->entry == FRAGMENT_NO_ENTRY;
			if (a->entry == FRAGMENT_NO_ENTRY || when == state_count)
				continue;
			enter_at(a, when);
			entered++;
		}
	}
	printf("entered %lu times; %lu sites where one can't\n", entered, none);
	assert_true(entered > 3 * all);
	assert_true(none < entered);
}

static void judge_stayed_out(struct t_outcome *out, bool calls)
{
	assert_int_equal(out->end, T_END_DONE);
	if (calls) {
		assert_int_equal(out->regs.rip, CALLED_AT);
		out->regs.rip = CODE_AT;
		out->regs.gpr[T_RSP] += 128 + 8;
		find_state(&out->regs, 0, "the call", 0);
	} else {
		assert_int_equal(out->regs.rip, states[1].rip);
		find_state(&out->regs, 1, "the slot", 0);
	}
	assert_int_equal(lane.busy, 0);
}

/* A thread that isn't armed stays out: by the call part where C is to look, else by the slot itself. */
static void test_fragment_stays_out(void **unused)
{
	static const struct {
		uint32_t armed, magic;
		uint8_t waits, then; /* then: what is left */
		bool calls;
	} of[] = {
		{0, MAGIC, 2, 2, true},
		{ARMED + 1, MAGIC, 2, 1, false},
		{ARMED + 1, MAGIC, 1, 0, true},
		{ARMED + 1, MAGIC, 0, 255, false},
		{ARMED + 1, MAGIC + 1, 1, 1, true}, /* another's storage */
		{0, MAGIC + 1, 1, 1, true},
	};
	struct t_regs r;
	struct t_outcome out;
	static uint8_t got[T_IMAGE_MAX];

	(void)unused;
	t_machine_catch();
	for (unsigned n = 7; f.map.way_in == FRAGMENT_NO_ENTRY || n == 7; n++)
		draw_case(n);
	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		for (unsigned own = 0; own < 2; own++) {
			fill_memories();
			r = in;
			r.rip = way_in(own);
			own_tls.armed = of[i].armed;
			own_tls.tls.magic = of[i].magic;
			own_tls.tls.waits = of[i].waits;
			t_code[f.map.access[0].plan->length] = 0xcc;
			t_run(&r, image, &out, got);
			own_tls.tls.magic = MAGIC;
			assert_int_equal(own_tls.tls.waits, of[i].then);
			judge_stayed_out(&out, of[i].calls);
		}
}

/* One access is worthwhile where it comes again: @code begins with it. */
static bool finds(const char *code, size_t length)
{
	struct fragment_request request = {.head = CODE_AT,
	                                   .first = CODE_AT,
	                                   .last = CODE_AT + PAGE - 1,
	                                   .read = read_code,
	                                   .is_hot = is_hot,
	                                   .keep = keep};

	memset(t_code, 0xcc, PAGE);
	memcpy(t_code, code, length);
	plan_count = 0;
	return regmap__fragment_find(&request, &f.map);
}

#define FINDS(code) finds(code, sizeof(code) - 1)

static void test_fragment_is_worthwhile(void **unused)
{
	(void)unused;
	/* mov (%rdi), %rax; sub $1, %esi; jnz */
	assert_true(FINDS("\x48\x8b\x07\x83\xee\x01\x75\xf8\xc3"));
	assert_int_equal(f.map.accesses, 1);
	/* into the middle, behind it: the loop is another's */
	assert_false(FINDS("\x48\x8b\x07\x83\xee\x01\x75\xfb\xc3"));
	/* forwards */
	assert_false(FINDS("\x48\x8b\x07\x83\xee\x01\x75\x01\xc3\xc3"));
	assert_false(FINDS("\x48\x8b\x07\xc3"));
	/* two of them */
	assert_true(FINDS("\x48\x8b\x07\x48\x8b\x0e\xc3"));
	assert_int_equal(f.map.accesses, 2);
}

static void *map(uint64_t where, size_t size, int rights, int fd)
{
	void *p = mmap((void *)where, size, rights,
	               (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) |
	                       (where ? MAP_FIXED_NOREPLACE : 0),
	               fd, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static int setup(void **unused)
{
	int fd = memfd_create("fragment", 0);

	(void)unused;
	t_machine_init(CODE_AT, 0);
	t_image_init(image);
	if (regmap__em_init(EM_TIER_BOTH))
		return -1;
	map(ARENA, PAGE, PROT_READ | PROT_WRITE, -1);
	map(OWN, OWN_SIZE, PROT_READ | PROT_WRITE, -1);
	if (ftruncate(fd, CODE_SIZE))
		return -1;
	map(SLOT_AT, CODE_SIZE, PROT_READ | PROT_EXEC, fd);
	writable = map(0, CODE_SIZE, PROT_READ | PROT_WRITE, fd);
	map(DATA_AT, DATA_SIZE, PROT_READ | PROT_WRITE, -1);
	f.cell = (struct slot_cell *)(uintptr_t)(DATA_AT + PAGE);
	f.window = (struct view *)(uintptr_t)(DATA_AT + 2 * PAGE);
	f.gap = f.window + 1;
	own_tls.tls = (struct lane_tls){.magic = MAGIC, .lane = &lane};
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fragment_programs),
		cmocka_unit_test(test_fragment_misses),
		cmocka_unit_test(test_fragment_entries),
		cmocka_unit_test(test_fragment_stays_out),
		cmocka_unit_test(test_fragment_is_worthwhile),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
