/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "handslot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MOST = 64, JUMP = 5, NEAR = 0x40000000, RED_ZONE = 128 };

static struct t_handslot slots[MOST];
static unsigned used;

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static bool find(uint64_t rip, struct hot_place *place)
{
	for (unsigned i = 0; i < used; i++) {
		const struct t_handslot *s = &slots[i];

		if (rip - (uintptr_t)s->code >= s->map.length)
			continue;
		*place = (struct hot_place){&s->map, s->cell, (int)(rip - (uintptr_t)s->code)};
		return true;
	}
	return false;
}

static void move_rsp(const struct cpu_regs *regs)
{
	regs->value[regs->at[CPU_RSP]] += RED_ZONE;
}

static void roll(const struct slot_map *map, const struct slot_cell *cell, unsigned offset,
                 const struct cpu_regs *regs, uint64_t *rip)
{
	const struct plan *plan = cell->plan;

	*rip = cell->site;
	if (offset > map->call && offset < map->returned)
		move_rsp(regs);
	if (offset == map->returned)
		move_rsp(regs);
	if ((offset >= map->returned && offset < map->original) ||
	    offset == map->original + plan->length)
		*rip = cell->next;
}

static const struct hot_slots hand = {find, roll};

static uint8_t *put(uint8_t *at, const void *bytes, size_t length)
{
	memcpy(at, bytes, length);
	return at + length;
}

static uint8_t *put_relative(uint8_t *at, const void *opcode, size_t length, uint64_t to)
{
	int32_t displacement;

	at = put(at, opcode, length);
	displacement = (int32_t)(to - (uintptr_t)(at + sizeof(displacement)));
	return put(at, &displacement, sizeof(displacement));
}

static void write_text(uint64_t at, const void *bytes, size_t length)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	check(fd >= 0 && pwrite(fd, bytes, length, (off_t)at) == (ssize_t)length, "write text");
	close(fd);
}

/* Two pages: code, and the cell. */
static uint8_t *room_near(uint64_t site)
{
	uint64_t at = site & -(uint64_t)PAGE;

	for (unsigned i = 0; i < 10000; i++) {
		uint8_t *p = mmap((void *)(at - NEAR + (uint64_t)i * 2 * PAGE), (size_t)2 * PAGE,
		                  PROT_READ | PROT_WRITE,
		                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (p != MAP_FAILED)
			return p;
	}
	check(false, "room for a slot");
	return NULL;
}

static void make_code(struct t_handslot *s)
{
	static const uint8_t lea_down[] = {0x48, 0x8d, 0x64, 0x24, 0x80}, call[] = {0xff, 0x15},
			     lea_up[] = {0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0}, jump[] = {0xe9};
	uint8_t *at = s->code;

	at = put(at, lea_down, sizeof(lea_down));
	at = put_relative(at, call, sizeof(call), (uintptr_t)&s->cell->entry);
	s->map.returned = (uint16_t)(at - s->code);
	at = put(at, lea_up, sizeof(lea_up));
	at = put_relative(at, jump, sizeof(jump), s->cell->next);
	s->map.original = (uint16_t)(at - s->code);
	s->cell->original = (uintptr_t)at;
	at = put(at, s->plan.bytes, s->plan.length);
	at = put_relative(at, jump, sizeof(jump), s->cell->next);
	s->map.length = (uint16_t)(at - s->code);
	s->map.access = 0xffff;
}

struct t_handslot *t_handslot_make(const void *site)
{
	struct t_handslot *s = &slots[used];
	uint8_t bytes[EM_MAX_LENGTH], jump[EM_MAX_LENGTH];
	static const uint8_t opcode[] = {0xe9};

	check(used < MOST && !regmap__hot_start(&hand), "start");
	memcpy(bytes, site, sizeof(bytes));
	check(regmap__em_plan(&s->plan, bytes, sizeof(bytes), regmap__em_tiers()) == EM_OK &&
	              s->plan.length >= JUMP && s->plan.mem.base != EM_RIP,
	      "a plan");
	s->code = room_near((uintptr_t)site);
	s->cell = (struct slot_cell *)(s->code + PAGE);
	s->cell->entry = regmap__slot_call;
	s->cell->site = (uintptr_t)site;
	s->cell->next = s->cell->site + s->plan.length;
	s->cell->start = (uintptr_t)s->code;
	s->cell->plan = &s->plan;
	make_code(s);
	check(!mprotect(s->code, PAGE, PROT_READ | PROT_EXEC), "mprotect");
	used++;
	memcpy(jump, s->plan.bytes, sizeof(jump));
	(void)put_relative(jump, opcode, sizeof(opcode),
	                   s->cell->start + (uintptr_t)jump - s->cell->site);
	write_text(s->cell->site, jump, JUMP);
	return s;
}

void t_handslot_undo(const struct t_handslot *s)
{
	write_text(s->cell->site, s->plan.bytes, s->plan.length);
}
