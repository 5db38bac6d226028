/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "shadow.h"

#include <sys/mman.h>

#include "../arch/x86_64/syscall.h"
#include "maps.h"
#include "reserve.h"

#define HIGH_LAST 0x7fffffffffffULL
enum { PAGE = RESERVE_PAGE };

extern void __asan_get_shadow_mapping(uintptr_t *scale, uintptr_t *offset) __attribute__((weak));

struct shadow {
	uintptr_t scale, offset;
	uint64_t gap_first, gap_last;
};

static uint64_t shadow_of(const struct shadow *s, uint64_t address)
{
	return (address >> s->scale) + s->offset;
}

/* compiler-rt, asan_mapping.h: the shadows end where that of the addresses below the first begins. */
static bool find_shadow(struct shadow *s)
{
	if (!__asan_get_shadow_mapping)
		return false;
	__asan_get_shadow_mapping(&s->scale, &s->offset);
	if (!s->offset)
		return false;
	s->gap_first = (shadow_of(s, s->offset - 1) | (PAGE - 1)) + 1;
	s->gap_last = (shadow_of(s, shadow_of(s, HIGH_LAST) + 1) & -(uint64_t)PAGE) - 1;
	return s->gap_first < s->gap_last;
}

/* Nothing is mapped there but what the sanitizer made inaccessible, and as much of it as is ours to read. */
static bool is_free(const struct shadow *s, uint64_t first, uint64_t last, unsigned rights)
{
	static char text[MAPS_TEXT];
	uint64_t own_first = first, own_last = last;
	struct mapping m;
	struct maps maps;
	bool free = true;

	if (first < s->gap_first || last > s->gap_last ||
	    regmap__reserve_clip(&own_first, &own_last) || !regmap__maps_open(&maps, text))
		return false;
	while (free && regmap__maps_next(&maps, &m))
		free = m.start > last || m.end <= first ||
		       (!m.name[0] && !(m.rights & ~rights) && !m.shared);
	regmap__maps_close(&maps);
	return free;
}

/* By the system call: the sanitizer's mmap() would not have it. */
static bool show_zeroes(uint64_t first, uint64_t last)
{
	const long how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	return sys_call6(SYS_mmap, (long)first, (long)(last - first + 1), PROT_READ, how, -1, 0) ==
	       (long)first;
}

/* Shadows of low and high addresses are there already. */
static bool give_shadow(const struct shadow *s, uint64_t first, uint64_t last)
{
	uint64_t from = shadow_of(s, first) & -(uint64_t)PAGE;
	uint64_t to = shadow_of(s, last) | (PAGE - 1);

	if (from < s->gap_first)
		from = s->gap_first;
	return to < from || (is_free(s, from, to, PROT_READ) && show_zeroes(from, to));
}

bool regmap__shadow_yield(uint64_t first, uint64_t last)
{
	struct shadow s;

	return find_shadow(&s) && is_free(&s, first, last, PROT_NONE) &&
	       (shadow_of(&s, last) < first || shadow_of(&s, first) > last) &&
	       give_shadow(&s, first, last) &&
	       !sys_call(SYS_munmap, (long)first, (long)(last - first + 1), 0, 0);
}

/* There is a page in front of it that it takes, too. */
static uint64_t shadow_first(const struct shadow *s)
{
	return (s->offset & -(uint64_t)PAGE) - PAGE;
}

bool regmap__shadow_is_at(uint64_t address)
{
	struct shadow s;

	return find_shadow(&s) && address >= shadow_first(&s) &&
	       address <= shadow_of(&s, HIGH_LAST) &&
	       (address < s.gap_first || address > s.gap_last);
}

bool regmap__shadow_begins(uint64_t first, uint64_t last, uint64_t *at)
{
	struct shadow s;

	if (!find_shadow(&s))
		return false;
	*at = shadow_first(&s);
	return first < *at && *at <= last;
}

bool regmap__shadow_exists(void)
{
	struct shadow s;

	return find_shadow(&s);
}
