/* SPDX-License-Identifier: MIT */
/* Accesses of a width that a register, a peripheral or a region doesn't take. */
#include <errno.h>

#include "../arch/x86_64/syscall.h"
#include "../src/symbols.h"
#include "../src/text.h"
#include "registers_access.h"

/* What an access meets that doesn't allow its width. */
struct misfit {
	const struct reg *reg; /* NULL: bytes that no register describes */
	unsigned allowed;
	enum regmap_width_policy policy;
};

static unsigned rest_widths(const struct bus_access *a)
{
	unsigned widths = a->unit ? a->unit->widths : a->area->region->widths;

	return widths ? widths : 1 | 2 | 4 | 8;
}

static unsigned rest_policy(const struct bus_access *a)
{
	enum regmap_width_policy policy = a->area->region->width_policy;

	if (a->unit)
		return a->unit->policy;
	return policy == REGMAP_WIDTH_DEFAULT ? REGMAP_WIDTH_WARN : policy;
}

static bool is_sterner(unsigned policy, unsigned than)
{
	static const uint8_t rank[] =
		{[REGMAP_WIDTH_ALLOW] = 1, [REGMAP_WIDTH_WARN] = 2, [REGMAP_WIDTH_FAULT] = 3};

	return rank[policy] > rank[than];
}

static void meet(struct misfit *m, const struct bus_access *a, const struct reg *reg,
                 unsigned allowed, unsigned policy)
{
	if (allowed & a->width || !is_sterner(policy, m->policy))
		return;
	m->reg = reg;
	m->allowed = allowed;
	m->policy = policy;
}

/* Alternates at one place: it is enough that one of them takes it. */
static bool is_first(const struct cell *c, const struct reg *reg, const struct bus_access *a)
{
	return reg_for(c, reg->mask & a->mask, a->is_write) == reg;
}

static struct misfit find_misfit(const struct bus_access *a)
{
	struct misfit m = {.policy = REGMAP_WIDTH_DEFAULT};
	uint64_t rest = a->mask;

	for (unsigned i = 0; a->cell && i < a->cell->reg_count; i++) {
		const struct reg *reg = &a->cell->regs[i];

		if (!(reg->mask & a->mask))
			continue;
		rest &= ~reg->mask;
		if (is_first(a->cell, reg, a))
			meet(&m, a, reg, reg->widths, reg->policy);
	}
	if (rest == a->mask)
		meet(&m, a, NULL, rest_widths(a), rest_policy(a));
	return m;
}

/* --- the report --- */

static void put_widths(struct text *t, unsigned widths)
{
	const char *before = "";

	for (unsigned w = 1; w <= 8; w *= 2) {
		if (!(widths & w))
			continue;
		put(t, before);
		put_decimal(t, 8 * w);
		before = widths & ~(4 * w - 1) & ~(2 * w - 1) ? ", " : " or ";
	}
	put(t, " bits");
}

/* What makes compilers and programs do that. */
static const char *likely_cause(const struct bus_access *a, unsigned allowed)
{
	bool is_wide = a->width > allowed;

	if (is_wide && !a->is_write)
		return "GCC reads a volatile bit-field with 8 bytes unless it is given -fstrict-volatile-bitfields;"
		       " else memcpy(), a cast to a wider type, or a pointer that isn't volatile, by which the"
		       " compiler may make one access of two";
	if (is_wide)
		return "memcpy() or memset() on registers, a cast to a wider type, or a pointer that isn't"
		       " volatile, by which the compiler may make one access of two";
	if (a->is_write)
		return "GCC writes a volatile bit-field with 1 or 2 bytes unless it is given"
		       " -fstrict-volatile-bitfields; else a cast to a narrower type, or memcpy() or memset() on"
		       " registers";
	return "a cast to a narrower type, memcpy() on registers, or a pointer that isn't volatile, by which the"
	       " compiler may read only what it needs";
}

static void put_name(struct text *t, const struct bus_access *a, const struct misfit *m)
{
	const struct unit *unit = m->reg ? m->reg->unit : a->unit;

	put(t, unit ? unit->peripheral->name : a->area->region->name);
	if (m->reg) {
		put(t, ".");
		put(t, m->reg->reg->name);
	}
	put(t, " (");
	put_address(t, a->address);
	put(t, ")");
}

static void put_site(struct text *t, uint64_t site)
{
	char name[64];
	uint64_t offset;

	put(t, " by the instruction at ");
	put_address(t, site);
	if (!regmap__symbol_find(site, name, sizeof(name), &offset))
		return;
	put(t, " (");
	put(t, name);
	put(t, "+");
	put_hex(t, offset);
	put(t, ")");
}

__attribute__((noinline)) static void report(const struct bus_access *a, const struct misfit *m,
                                             uint64_t site)
{
	char line[768];
	struct text t = {line, line + sizeof(line) - 1};

	put(&t, "regmap: ");
	put_decimal(&t, 8 * a->width);
	put(&t, a->is_write ? "-bit write to " : "-bit read of ");
	put_name(&t, a, m);
	put_site(&t, site);
	put(&t, ": it takes ");
	put_widths(&t, m->allowed);
	put(&t, m->policy == REGMAP_WIDTH_FAULT ? ", so this is a bus error" :
	                                          ", so bytes of what it meets were accessed");
	put(&t, ". Likely cause: ");
	put(&t, likely_cause(a, m->allowed));
	*t.at++ = '\n';
	sys_call(SYS_write, 2, (long)line, t.at - line, 0);
}

/* Sites that were told of. A table that is full tells no more. */
enum { SITES = 1024, PROBES = 64 };
static _Atomic uint64_t sites[SITES];

static bool is_new(uint64_t site)
{
	uint64_t at = site * 0x9e3779b97f4a7c15 >> 32;

	for (unsigned i = 0; i < PROBES; i++) {
		_Atomic uint64_t *place = &sites[(at + i) % SITES];
		uint64_t there = atomic_load(place);

		if (!there && atomic_compare_exchange_strong(place, &there, site))
			return true;
		if (there == site)
			return false;
	}
	return false;
}

/* --- the verdict --- */

/* The widest that is narrower; 0: none. */
static unsigned narrower(unsigned allowed, unsigned width)
{
	while ((width /= 2) && !(allowed & width))
		;
	return width;
}

int regmap__regs_check_width(const struct bus_access *a, unsigned *split)
{
	struct misfit m = find_misfit(a);
	uint64_t site;

	if (m.policy == REGMAP_WIDTH_DEFAULT)
		return 0;
	site = regmap__current_site();
	if (!site)
		*split = narrower(m.allowed, a->width);
	else if (m.policy != REGMAP_WIDTH_ALLOW && !a->regs->is_silent && is_new(site))
		report(a, &m, site);
	return m.policy == REGMAP_WIDTH_FAULT && !*split ? -EIO : 0;
}
