/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#ifndef REGMAP_NO_LIBUNWIND
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif
#include <stdbool.h>
#include <string.h>

#include "../arch/x86_64/syscall.h"
#include "frames.h"
#include "symbols.h"

#include "sigsafe.h"

enum { LINE = 4300 }; /* PATH_MAX and the columns before it */

/* -DREGMAP_NO_LIBUNWIND: reports show the instruction's own place alone. */
#ifdef REGMAP_NO_LIBUNWIND

unsigned regmap__frames_walk(void *ucontext, struct frame *frames, unsigned max)
{
	(void)ucontext, (void)frames, (void)max;
	return 0;
}

void regmap__frames_init(void)
{
}

#else

/* A return address may be that of the next function: CALL is the byte before. */
static void name_function(struct frame *frame, bool returns)
{
	uint64_t back = returns;

	while (!regmap__symbol_find(frame->ip - back, frame->symbol, FRAME_SYMBOL,
	                            &frame->offset)) {
		frame->symbol[0] = 0;
		if (!back)
			return;
		back = 0;
	}
	frame->offset += back;
}

static bool name_frame(unw_cursor_t *cursor, struct frame *frame, bool returns)
{
	unw_word_t ip;

	if (unw_get_reg(cursor, UNW_REG_IP, &ip) || !ip)
		return false;
	memset(frame, 0, sizeof(*frame));
	frame->ip = ip;
	name_function(frame, returns);
	return true;
}

static unsigned walk(unw_cursor_t *cursor, struct frame *frames, unsigned max)
{
	unsigned count = 0;

	while (count < max && name_frame(cursor, &frames[count], count > 0)) {
		count++;
		if (unw_step(cursor) <= 0)
			break;
	}
	return count;
}

unsigned regmap__frames_walk(void *ucontext, struct frame *frames, unsigned max)
{
	unw_cursor_t cursor;

	if (unw_init_local2(&cursor, (unw_context_t *)ucontext, UNW_INIT_SIGNAL_FRAME))
		return 0;
	return walk(&cursor, frames, max);
}

/* What libunwind makes at its first steps; names need nothing beforehand. */
void regmap__frames_init(void)
{
	unw_context_t here;
	unw_cursor_t cursor;

	if (!unw_getcontext(&here) && !unw_init_local(&cursor, &here) && unw_step(&cursor) > 0)
		unw_step(&cursor);
}

#endif

/* One line of /proc/self/maps: start-end perms offset dev inode path */
struct mapping {
	uint64_t start, end;
	const char *name;
};

static uint64_t take_hex(const char **at)
{
	uint64_t value = 0;

	for (;; ++*at) {
		unsigned c = (unsigned char)**at;
		unsigned digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;

		if (digit == 16)
			return value;
		value = value << 4 | digit;
	}
}

static bool parse(const char *line, struct mapping *m)
{
	const char *slash = strrchr(line, '/'), *bracket = strrchr(line, '[');

	m->start = take_hex(&line);
	if (*line++ != '-')
		return false;
	m->end = take_hex(&line);
	m->name = slash ? slash + 1 : bracket;
	return m->name;
}

struct namer {
	struct frame *frames;
	unsigned count;
	char module[FRAME_MODULE]; /* of the lines before */
	uint64_t base;             /* where its first line began */
};

static void name_line(struct namer *n, const char *line)
{
	struct mapping m;

	if (!parse(line, &m))
		return;
	if (strncmp(m.name, n->module, FRAME_MODULE - 1)) {
		strncpy(n->module, m.name, FRAME_MODULE - 1);
		n->base = m.start;
	}
	for (unsigned i = 0; i < n->count; i++) {
		struct frame *frame = &n->frames[i];

		if (frame->ip < m.start || frame->ip >= m.end)
			continue;
		memcpy(frame->module, n->module, FRAME_MODULE);
		frame->base = n->base;
	}
}

static void read_lines(long fd, struct namer *namer)
{
	static char line[LINE];
	size_t used = 0;
	long got;

	while ((got = sys_call(SYS_read, fd, (long)(line + used), (long)(LINE - 1 - used), 0)) >
	       0) {
		char *at = line, *end;

		used += (size_t)got;
		while ((end = memchr(at, '\n', used - (size_t)(at - line)))) {
			*end = 0;
			name_line(namer, at);
			at = end + 1;
		}
		used -= (size_t)(at - line);
		memmove(line, at, used);
	}
}

void regmap__frames_name_modules(struct frame *frames, unsigned count)
{
	struct namer namer = {.frames = frames, .count = count};
	long fd = sys_open_read("/proc/self/maps");

	if (fd < 0)
		return;
	read_lines(fd, &namer);
	sys_call(SYS_close, fd, 0, 0, 0);
}
