/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include "../arch/x86_64/syscall.h"
#include "maps.h"

#include "sigsafe.h"

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
static bool holds(const char *line, uint64_t address, struct mapping *m)
{
	m->start = take_hex(&line);
	m->end = take_hex(&line);
	if (address < m->start || address >= m->end || strlen(line) < 5)
		return false;
	line += 5;
	m->offset = take_hex(&line);
	m->path = strchr(line, '/');
	return m->path;
}

static bool search(char *text, size_t used, uint64_t address, struct mapping *m, size_t *kept)
{
	char *line = text, *end;

	while ((end = memchr(line, '\n', used - (size_t)(line - text)))) {
		*end = 0;
		if (holds(line, address, m))
			return true;
		line = end + 1;
	}
	*kept = used - (size_t)(line - text);
	memmove(text, line, *kept);
	return false;
}

bool regmap__maps_find(uint64_t address, char *text, struct mapping *m)
{
	long fd = sys_open_read("/proc/self/maps"), got;
	bool found = false;
	size_t used = 0;

	if (fd < 0)
		return false;
	while (!found &&
	       (got = sys_call(SYS_read, fd, (long)(text + used), (long)(MAPS_TEXT - used), 0)) > 0)
		found = search(text, used + (size_t)got, address, m, &used);
	sys_call(SYS_close, fd, 0, 0, 0);
	return found;
}
