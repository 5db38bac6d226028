/* SPDX-License-Identifier: MIT */
/*
 * Slots by themselves: what one access from generated code costs, against the same access natively
 * in the same loop. No site is patched, no signal is taken: this is what the generator gives.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/slot.h"
#include "bench.h"
#include "emulator/plan.h"

enum { ACCESSES = 100000, AREA = 0x4000, SITE = 0x100, CELL = 0x1000, GUEST = 0x20000000 };

#define MAGIC 0x5eed1234u

static __thread struct lane_tls tls = {.magic = MAGIC};
static struct lane lane;
static struct view view;
static uint8_t host[4096] __attribute__((aligned(4096)));
static uint8_t *area; /* loop, slot, cell */

struct insn {
	const char *id, *name, *code; /* the operand is at (%rdi) */
	unsigned length;
};

#define R(id, name, code) \
	{ \
		"slot/" id, name, code, sizeof(code) - 1 \
	}

static const struct insn insns[] = {
	R("load", "mov (%rdi), %rax", "\x48\x8b\x07"),
	R("store", "mov %rax, (%rdi)", "\x48\x89\x07"),
	R("add", "add %rax, (%rdi)", "\x48\x01\x07"),
	R("add-from", "add (%rdi), %rax", "\x48\x03\x07"),
	R("compare", "cmpb $0, (%rdi)", "\x80\x3f\x00"),
	R("cmov", "cmovb (%rdi), %eax", "\x0f\x42\x07"),
	R("lock-xadd", "lock xadd %rax, (%rdi)", "\xf0\x48\x0f\xc1\x07"),
	R("sse-load", "movups (%rdi), %xmm0", "\x0f\x10\x07"),
	R("sse-store", "movups %xmm0, (%rdi)", "\x0f\x11\x07"),
	R("avx-add", "vpaddd (%rdi), %ymm0, %ymm0", "\xc5\xfd\xfe\x07"),
};

struct manner {
	const char *id, *name;
	struct slot_dead dead;
	bool pushed;
};

enum { SCRATCH = 1 << CPU_RCX | 1 << CPU_RDX | 1 << CPU_R8 };

static const struct manner manners[] = {
	{"dead", "flags and registers dead", {CPU_STATUS, SCRATCH}, false},
	{"flags-dead", "flags dead", {CPU_STATUS, 0}, false},
	{"live", "all live", {0, 0}, false},
	{"pushfq", "all live, by PUSHFQ", {0, 0}, true},
};

static uintptr_t thread_pointer(void)
{
	uintptr_t value;

	__asm__("mov %%fs:0, %0" : "=r"(value));
	return value;
}

/* The loop at @area + SITE: the bytes, dec %esi, jnz to them, ret. */
static void lay_loop(const void *code, unsigned length)
{
	static const uint8_t end[] = {0xff, 0xce, 0x75, 0, 0xc3};
	uint8_t *at = area + SITE;

	memcpy(at, code, length);
	memcpy(at + length, end, sizeof(end));
	at[length + 3] = (uint8_t) - (int)(length + 4);
}

static double run(uint64_t at)
{
	return bench_per_access((bench_loop_fn)(uintptr_t)(area + SITE), at, ACCESSES);
}

static bool lay_slot(const struct insn *insn, const struct manner *manner)
{
	static struct plan plan;
	static struct slot_map map;
	struct slot_cell *cell = (struct slot_cell *)(area + CELL);
	uint8_t jump[5] = {0xe9}, *slot = area + 2 * CELL;
	const char *why;
	int32_t distance = (int32_t)(slot - (area + SITE + sizeof(jump)));

	if (regmap__em_plan(&plan, (const uint8_t *)insn->code, insn->length, EM_TIER_BOTH))
		return false;
	const struct slot_request request = {
		.plan = &plan,
		.site = (uintptr_t)area + SITE + sizeof(jump) - insn->length,
		.code = (uintptr_t)slot,
		.cell = (uintptr_t)cell,
		.view = (uintptr_t)(cell + 1),
		.other = (uintptr_t)&cell->own_other,
		.dead = manner->dead,
		.tls = (int32_t)((uintptr_t)&tls - thread_pointer()),
		.magic = MAGIC,
		.inline_access = true,
		.pushed_flags = manner->pushed,
	};

	memcpy(jump + 1, &distance, sizeof(distance));
	lay_loop(jump, sizeof(jump));
	if (!regmap__slot_generate(&request, slot, &map, cell, &why) || map.access == 0xffff)
		return false;
	*cell->view = &view;
	return true;
}

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	const struct insn *insn = &insns[row->size];

	lay_loop(insn->code, insn->length);
	to->base = run((uintptr_t)host);
	if (!lay_slot(insn, &manners[row->n]))
		return bench_skip(row, "there is no slot for it");
	to->value = run(GUEST);
	return true;
}

static char *joined(const char *a, const char *between, const char *b)
{
	char *to;

	if (asprintf(&to, "%s%s%s", a, between, b) < 0)
		bench_fail("no memory");
	return to;
}

/* Each instruction in each manner */
static void list(struct bench_part *part)
{
	part->rows = calloc(BENCH_COUNT(insns) * BENCH_COUNT(manners), sizeof(*part->rows));
	if (!part->rows)
		bench_fail("no memory");
	for (unsigned i = 0; i < BENCH_COUNT(insns); i++)
		for (unsigned m = 0; m < BENCH_COUNT(manners); m++)
			part->rows[part->count++] =
				(struct bench_row){.name = joined(insns[i].id, "/", manners[m].id),
			                           .what = joined(insns[i].name, ", ",
			                                          manners[m].name),
			                           .unit = "ns",
			                           .base = "native",
			                           .figure = BENCH_COST,
			                           .measure = measure,
			                           .size = i,
			                           .n = m};
}

static const char *set_up(void)
{
	area = mmap(NULL, AREA, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	            0);
	if (area == MAP_FAILED)
		return "memory may not be writable and executable here";
	if (regmap__em_init(EM_TIER_BOTH))
		bench_fail("the emulator can't start");
	tls.lane = &lane;
	view.start = GUEST;
	view.delta = (uintptr_t)host - GUEST;
	for (unsigned r = 0; r < VIEW_RIGHTS; r++)
		for (unsigned k = 0; k < VIEW_SIZES; k++)
			view.limit[r][k] = GUEST + sizeof(host) - (1u << k) + 1;
	return NULL;
}

struct bench_part bench_slot = {.list = list, .set_up = set_up};
