/* SPDX-License-Identifier: MIT */
/* Until there is more: slots that hold nothing but the program's instruction, moved. */
#include <string.h>

#include "patch.h"
#include "../arch/x86_64/cpu.h"

#include "sigsafe.h"

#define WEAK __attribute__((weak))

WEAK void regmap__slot_call(void)
{
}

WEAK void regmap__patch_request(struct slot_request *request)
{
	request->inline_access = false;
}

WEAK struct slot_dead regmap__slot_dead(const uint8_t *code, size_t length)
{
	(void)code;
	(void)length;
	return (struct slot_dead){0};
}

WEAK bool regmap__slot_in_place(const struct plan *plan, uint8_t to[15])
{
	(void)plan;
	(void)to;
	return false;
}

WEAK size_t regmap__slot_generate(const struct slot_request *request, uint8_t to[SLOT_CODE_MOST],
                                  struct slot_map *map, struct slot_cell *cell, const char **why)
{
	unsigned length = request->plan->length;
	int32_t displacement;

	if (request->plan->mem.base == EM_RIP) {
		*why = "it is relative to RIP";
		return 0;
	}
	cell->site = request->site;
	cell->next = request->site + length;
	cell->start = cell->original = request->code;
	memcpy(to, request->plan->bytes, length);
	to[length] = 0xe9;
	displacement = (int32_t)(cell->next - (request->code + length + 5));
	memcpy(to + length + 1, &displacement, 4);
	map->length = (uint16_t)(length + 5);
	map->access = 0xffff;
	map->original = 0;
	return map->length;
}

WEAK void regmap__slot_roll(const struct slot_map *map, const struct slot_cell *cell,
                            unsigned offset, const struct cpu_regs *regs, uint64_t *rip)
{
	(void)map;
	(void)regs;
	*rip = offset ? cell->next : cell->site;
}
