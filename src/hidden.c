/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "hidden.h"
#include "maps.h"
#include "patch.h"

#include "sigsafe.h"

/* Bytes looked at before and behind; how many of them must be the same. */
enum { AROUND = 64, ENOUGH = 8 };

const char regmap__hidden_refusal[] = "a breakpoint hides the instruction";

/* There may be more breakpoints than one. */
static bool alike(const uint8_t *memory, const uint8_t *file, size_t length)
{
	unsigned same = 0;

	for (size_t i = 0; i < length; i++) {
		if (memory[i] != file[i] && memory[i] != HIDDEN_INT3)
			return false;
		same += memory[i] == file[i];
	}
	return same >= ENOUGH;
}

/* The last page of a mapping may reach beyond the end of the file. */
static size_t read_file(const struct mapping *m, uint64_t from, uint8_t *to, size_t length)
{
	long fd = sys_open_read(m->name), got;

	if (fd < 0)
		return 0;
	got = sys_call(SYS_pread64, fd, (long)to, (long)length,
	               (long)(m->offset + (from - m->start)));
	sys_call(SYS_close, fd, 0, 0, 0);
	return got > 0 ? (size_t)got : 0;
}

static bool look_into_file(uint64_t rip, const struct mapping *m, uint8_t *first)
{
	uint64_t from = rip - m->start > AROUND ? rip - AROUND : m->start;
	uint64_t to = m->end - rip > AROUND ? rip + AROUND : m->end;
	uint8_t memory[2 * AROUND], file[2 * AROUND];
	struct cpu_trap trap;
	size_t length = read_file(m, from, file, to - from);

	if (length <= rip - from ||
	    regmap__guard_copy(memory, (const void *)(uintptr_t)from, length, &trap))
		return false;
	regmap__patch_overlay(from, memory, length);
	if (!alike(memory, file, length))
		return false;
	*first = file[rip - from];
	return *first != HIDDEN_INT3;
}

bool regmap__hidden_find(uint64_t rip, uint8_t *first)
{
	char *text = regmap__scratch_map(MAPS_TEXT);
	struct mapping m;
	bool found;

	if (!text)
		return false;
	found = regmap__maps_find(rip, text, &m) && look_into_file(rip, &m, first);
	regmap__scratch_unmap(text, MAPS_TEXT);
	return found;
}
