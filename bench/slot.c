/* SPDX-License-Identifier: MIT */
/*
 * Slots by themselves: what one access from generated code costs, beside the same access natively,
 * in the same loop. The median of the rounds; nothing here is asserted.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/slot.h"
#include "emulator/plan.h"

enum {
	ROUNDS = 41,
	ACCESSES = 100000,
	AREA = 0x4000,
	SITE = 0x100,
	CELL = 0x1000,
	GUEST = 0x20000000
};

#define MAGIC 0x5eed1234u

static __thread struct lane_tls tls = {.magic = MAGIC};
static struct lane lane;
static struct view view;
static uint8_t host[4096] __attribute__((aligned(4096)));
static uint8_t *area; /* loop, slot, cell */

struct row {
	const char *name, *code; /* the operand is at (%rdi) */
	unsigned length;
};

#define R(name, code) \
	{ \
		name, code, sizeof(code) - 1 \
	}

static const struct row rows[] = {
	R("mov (%rdi), %rax", "\x48\x8b\x07"),
	R("mov %rax, (%rdi)", "\x48\x89\x07"),
	R("add %rax, (%rdi)", "\x48\x01\x07"),
	R("add (%rdi), %rax", "\x48\x03\x07"),
	R("cmpb $0, (%rdi)", "\x80\x3f\x00"),
	R("cmovb (%rdi), %eax", "\x0f\x42\x07"),
	R("lock xadd %rax, (%rdi)", "\xf0\x48\x0f\xc1\x07"),
	R("movups (%rdi), %xmm0", "\x0f\x10\x07"),
	R("movups %xmm0, (%rdi)", "\x0f\x11\x07"),
	R("vpaddd (%rdi), %ymm0, %ymm0", "\xc5\xfd\xfe\x07"),
};

struct manner {
	const char *name;
	struct slot_dead dead;
	bool pushed;
};

enum { SCRATCH = 1 << CPU_RCX | 1 << CPU_RDX | 1 << CPU_R8 };

static const struct manner manners[] = {
	{"dead", {CPU_STATUS, SCRATCH}, false},
	{"flags dead", {CPU_STATUS, 0}, false},
	{"live", {0, 0}, false},
	{"live, pushfq", {0, 0}, true},
};

static uintptr_t thread_pointer(void)
{
	uintptr_t value;

	__asm__("mov %%fs:0, %0" : "=r"(value));
	return value;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
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

static double measure(uint64_t at)
{
	void (*run)(uint64_t, unsigned) = (void (*)(uint64_t, unsigned))(uintptr_t)(area + SITE);
	double round[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		double begin = now();

		run(at, ACCESSES);
		round[i] = (now() - begin) / ACCESSES;
	}
	qsort(round, ROUNDS, sizeof(round[0]), compare);
	return round[ROUNDS / 2];
}

static bool lay_slot(const struct row *row, const struct manner *manner)
{
	static struct plan plan;
	static struct slot_map map;
	struct slot_cell *cell = (struct slot_cell *)(area + CELL);
	uint8_t jump[5] = {0xe9}, *slot = area + 2 * CELL;
	const char *why;
	int32_t distance = (int32_t)(slot - (area + SITE + sizeof(jump)));

	if (regmap__em_plan(&plan, (const uint8_t *)row->code, row->length, EM_TIER_BOTH))
		return false;
	const struct slot_request request = {
		.plan = &plan,
		.site = (uintptr_t)area + SITE + sizeof(jump) - row->length,
		.code = (uintptr_t)slot,
		.cell = (uintptr_t)cell,
		.dead = manner->dead,
		.tls = (int32_t)((uintptr_t)&tls - thread_pointer()),
		.magic = MAGIC,
		.inline_access = true,
		.pushed_flags = manner->pushed,
	};

	memcpy(jump + 1, &distance, sizeof(distance));
	lay_loop(jump, sizeof(jump));
	cell->view = &view;
	return regmap__slot_generate(&request, slot, &map, cell, &why) && map.access != 0xffff;
}

static const struct row registers[] = {
	R("add %rax, 0x10", "\x48\x01\x04\x25\x10\x00\x00\x00"),
	R("mov 0x40, %rax", "\x48\x8b\x04\x25\x40\x00\x00\x00"),
	R("movups 0x840, %xmm0", "\x0f\x10\x04\x25\x40\x08\x00\x00"),
};

/* In place, beside the same instruction without the prefixes that make it as long. */
static void show_in_place(void)
{
	printf("\n%-30s %8s %14s\n", "ns per register-page access", "by hand", "in place");
	for (unsigned i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
		const struct row *row = &registers[i];
		struct plan plan;
		uint8_t place[15];
		unsigned pad = 0;
		double by_hand;

		if (regmap__em_plan(&plan, (const uint8_t *)row->code, row->length, EM_TIER_BOTH) ||
		    !regmap__slot_in_place(&plan, place))
			continue;
		while (place[pad] == 0x2e)
			pad++;
		lay_loop(place + pad, row->length - pad);
		by_hand = measure(0);
		lay_loop(place, row->length);
		printf("%-30s %8.2f %14.2f\n", row->name, by_hand, measure(0));
	}
}

int main(void)
{
	area = mmap(NULL, AREA, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	            0);
	if (area == MAP_FAILED || regmap__em_init(EM_TIER_BOTH))
		return 1;
	tls.lane = &lane;
	view.start = GUEST;
	view.delta = (uintptr_t)host - GUEST;
	for (unsigned r = 0; r < VIEW_RIGHTS; r++)
		for (unsigned k = 0; k < VIEW_SIZES; k++)
			view.limit[r][k] = sizeof(host) - (1u << k) + 1;
	printf("%-30s %8s", "ns per access", "native");
	for (unsigned m = 0; m < sizeof(manners) / sizeof(manners[0]); m++)
		printf(" %14s", manners[m].name);
	puts("");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		lay_loop(rows[i].code, rows[i].length);
		printf("%-30s %8.2f", rows[i].name, measure((uintptr_t)host));
		for (unsigned m = 0; m < sizeof(manners) / sizeof(manners[0]); m++)
			printf(" %14.2f", lay_slot(&rows[i], &manners[m]) ? measure(GUEST) : 0);
		puts("");
	}
	show_in_place();
	return 0;
}
