/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/scratch.h"
#include "../arch/x86_64/syscall.h"
#include "hidden.h"

#include "sigsafe.h"

/* LINE holds the longest line of /proc/self/maps. AROUND: bytes looked at before and behind. */
enum { LINE = 8192, AROUND = 64, ENOUGH = 8 };

const char regmap__hidden_refusal[] = "a breakpoint hides the instruction";

struct mapping {
	uint64_t start, end, offset;
	const char *path;
};

/* A number, and the character behind it. */
static uint64_t take_hex(const char **at)
{
	uint64_t value = 0;

	for (;; ++*at) {
		unsigned c = (unsigned char)**at;
		unsigned digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;

		if (digit == 16)
			break;
		value = value << 4 | digit;
	}
	*at += **at != 0;
	return value;
}

/* start-end perms offset dev inode path */
static bool holds(const char *line, uint64_t rip, struct mapping *m)
{
	m->start = take_hex(&line);
	m->end = take_hex(&line);
	if (rip < m->start || rip >= m->end || strlen(line) < 5)
		return false;
	line += 5;
	m->offset = take_hex(&line);
	m->path = strchr(line, '/');
	return m->path;
}

static bool search(char *text, size_t used, uint64_t rip, struct mapping *m, size_t *kept)
{
	char *line = text, *end;

	while ((end = memchr(line, '\n', used - (size_t)(line - text)))) {
		*end = 0;
		if (holds(line, rip, m))
			return true;
		line = end + 1;
	}
	*kept = used - (size_t)(line - text);
	memmove(text, line, *kept);
	return false;
}

/* m->path points into @text. */
static bool find_mapping(uint64_t rip, char *text, struct mapping *m)
{
	long fd = sys_open_read("/proc/self/maps"), got;
	bool found = false;
	size_t used = 0;

	if (fd < 0)
		return false;
	while (!found &&
	       (got = sys_call(SYS_read, fd, (long)(text + used), (long)(LINE - used), 0)) > 0)
		found = search(text, used + (size_t)got, rip, m, &used);
	sys_call(SYS_close, fd, 0, 0, 0);
	return found;
}

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
	long fd = sys_open_read(m->path), got;

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
	    regmap__guard_copy(memory, (const void *)(uintptr_t)from, length, &trap) ||
	    !alike(memory, file, length))
		return false;
	*first = file[rip - from];
	return *first != HIDDEN_INT3;
}

bool regmap__hidden_find(uint64_t rip, uint8_t *first)
{
	char *text = regmap__scratch_map(LINE);
	struct mapping m;
	bool found;

	if (!text)
		return false;
	found = find_mapping(rip, text, &m) && look_into_file(rip, &m, first);
	regmap__scratch_unmap(text, LINE);
	return found;
}
