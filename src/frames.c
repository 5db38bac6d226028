/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#ifndef REGMAP_NO_LIBUNWIND
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif
#include <stdbool.h>
#include <string.h>

#include "frames.h"
#include "maps.h"
#include "symbols.h"

#include "sigsafe.h"

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

struct namer {
	struct frame *frames;
	unsigned count;
	char module[FRAME_MODULE]; /* of the lines before */
	uint64_t base;             /* where its first line began */
};

/* The file's own name, or what is in brackets. */
static const char *module_of(const struct mapping *m)
{
	const char *slash = strrchr(m->name, '/');

	return slash ? slash + 1 : strrchr(m->name, '[');
}

static void name_mapping(struct namer *n, const struct mapping *m)
{
	const char *module = module_of(m);

	if (!module)
		return;
	if (strncmp(module, n->module, FRAME_MODULE - 1)) {
		strncpy(n->module, module, FRAME_MODULE - 1);
		n->base = m->start;
	}
	for (unsigned i = 0; i < n->count; i++) {
		struct frame *frame = &n->frames[i];

		if (frame->ip < m->start || frame->ip >= m->end)
			continue;
		memcpy(frame->module, n->module, FRAME_MODULE);
		frame->base = n->base;
	}
}

void regmap__frames_name_modules(struct frame *frames, unsigned count)
{
	static char text[MAPS_TEXT];
	struct namer namer = {.frames = frames, .count = count};
	struct mapping m;
	struct maps maps;

	if (!regmap__maps_open(&maps, text))
		return;
	while (regmap__maps_next(&maps, &m))
		name_mapping(&namer, &m);
	regmap__maps_close(&maps);
}
