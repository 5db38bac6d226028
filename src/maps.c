/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/scratch.h"
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
	m->rights = (line[0] == 'r' ? PROT_READ : 0) | (line[1] == 'w' ? PROT_WRITE : 0) |
	            (line[2] == 'x' ? PROT_EXEC : 0);
	m->shared = line[3] == 's';
	line += 5;
	m->offset = take_hex(&line);
	m->path = strchr(line, '/');
	return true;
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

static bool find(uint64_t address, char *text, struct mapping *m)
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

bool regmap__maps_find(uint64_t address, char *text, struct mapping *m)
{
	return find(address, text, m) && m->path;
}

/* Since Linux 6.11 the kernel answers for one address (linux/fs.h has it). */
struct query {
	uint64_t size, flags, address;
	uint64_t start, end, rights, page_size, offset, inode;
	uint32_t major, minor, name_size, build_id_size;
	uint64_t name, build_id;
};

enum { QUERY_READ = 1, QUERY_WRITE = 2, QUERY_EXEC = 4, QUERY_SHARED = 8 };

static long ask(uint64_t address, struct query *q)
{
	const unsigned long command = 3UL << 30 | sizeof(*q) << 16 | 'f' << 8 | 17;
	long fd = sys_open_read("/proc/self/maps"), result;

	if (fd < 0)
		return fd;
	memset(q, 0, sizeof(*q));
	q->size = sizeof(*q);
	q->address = address;
	result = sys_call(SYS_ioctl, fd, (long)command, (long)q, 0);
	sys_call(SYS_close, fd, 0, 0, 0);
	return result;
}

static bool rights_from_text(uint64_t address, struct mapping *m)
{
	char *text = regmap__scratch_map(MAPS_TEXT);
	bool found;

	if (!text)
		return false;
	found = find(address, text, m);
	regmap__scratch_unmap(text, MAPS_TEXT);
	m->path = NULL;
	return found;
}

bool regmap__maps_rights(uint64_t address, struct mapping *m)
{
	struct query q;

	if (ask(address, &q))
		return rights_from_text(address, m);
	*m = (struct mapping){
		.start = q.start,
		.end = q.end,
		.offset = q.offset,
		.rights = (q.rights & QUERY_READ ? PROT_READ : 0) |
	                  (q.rights & QUERY_WRITE ? PROT_WRITE : 0) |
	                  (q.rights & QUERY_EXEC ? PROT_EXEC : 0),
		.shared = q.rights & QUERY_SHARED,
	};
	return true;
}
