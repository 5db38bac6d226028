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

static const char *next_column(const char *at)
{
	while (*at && *at != ' ')
		at++;
	while (*at == ' ')
		at++;
	return at;
}

/* start-end rights offset device inode name */
static bool parse(const char *line, struct mapping *m)
{
	m->start = take_hex(&line);
	m->end = take_hex(&line);
	if (strlen(line) < 5)
		return false;
	m->rights = (line[0] == 'r' ? PROT_READ : 0) | (line[1] == 'w' ? PROT_WRITE : 0) |
	            (line[2] == 'x' ? PROT_EXEC : 0);
	m->shared = line[3] == 's';
	line += 5;
	m->offset = take_hex(&line);
	m->name = next_column(next_column(line));
	return m->end > m->start;
}

bool regmap__maps_open(struct maps *maps, char *text)
{
	maps->fd = sys_open_read("/proc/self/maps");
	maps->text = text;
	maps->used = maps->at = 0;
	return maps->fd >= 0;
}

void regmap__maps_close(const struct maps *maps)
{
	sys_call(SYS_close, maps->fd, 0, 0, 0);
}

static bool read_more(struct maps *maps)
{
	long got;

	maps->used -= maps->at;
	memmove(maps->text, maps->text + maps->at, maps->used);
	maps->at = 0;
	got = sys_call(SYS_read, maps->fd, (long)(maps->text + maps->used),
	               (long)(MAPS_TEXT - maps->used), 0);
	if (got <= 0)
		return false;
	maps->used += (size_t)got;
	return true;
}

bool regmap__maps_next(struct maps *maps, struct mapping *m)
{
	do {
		char *line = maps->text + maps->at, *end;

		while ((end = memchr(line, '\n', maps->used - maps->at))) {
			const char *this = line;

			*end = 0;
			line = end + 1;
			maps->at = (size_t)(line - maps->text);
			if (parse(this, m))
				return true;
		}
	} while (read_more(maps));
	return false;
}

static bool find(uint64_t address, char *text, struct mapping *m)
{
	struct maps maps;
	bool found = false;

	if (!regmap__maps_open(&maps, text))
		return false;
	while (!found && regmap__maps_next(&maps, m))
		found = address >= m->start && address < m->end;
	regmap__maps_close(&maps);
	return found;
}

bool regmap__maps_find(uint64_t address, char *text, struct mapping *m)
{
	return find(address, text, m) && m->name[0] == '/';
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
	m->name = "";
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
		.name = "",
		.rights = (q.rights & QUERY_READ ? PROT_READ : 0) |
	                  (q.rights & QUERY_WRITE ? PROT_WRITE : 0) |
	                  (q.rights & QUERY_EXEC ? PROT_EXEC : 0),
		.shared = q.rights & QUERY_SHARED,
	};
	return true;
}
