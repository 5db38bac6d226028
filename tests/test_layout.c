/* SPDX-License-Identifier: MIT */
/* LDLIBS: -Wl,--wrap=calloc,--wrap=realloc */
/* Layouts built in code: what is refused, what only the whole shows, and finding things in them. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "describe/layout.h"
#include "bytes.h"
#include "starve.h"

enum { R = REGMAP_PERMIT_READ, RW = R | REGMAP_PERMIT_WRITE, RX = R | REGMAP_PERMIT_EXECUTE };

/* --- making things --- */

static struct regmap_error error;

static struct regmap_layout *new_layout(void)
{
	struct regmap_layout *l;

	memset(&error, 0, sizeof(error));
	assert_int_equal(regmap_layout_new("Chip", &l), 0);
	return l;
}

static struct regmap_region region(const char *name, uint64_t address, uint64_t length)
{
	return (struct regmap_region){.name = name,
	                              .address = address,
	                              .length = length,
	                              .permissions = RW};
}

static int try_region(struct regmap_layout *l, struct regmap_region r)
{
	memset(&error, 0, sizeof(error));
	return regmap_layout_add_region(l, &r, &error);
}

static int try_ram(struct regmap_layout *l, const char *name, uint64_t address, uint64_t length)
{
	return try_region(l, region(name, address, length));
}

static void add_ram(struct regmap_layout *l, const char *name, uint64_t address, uint64_t length)
{
	assert_int_equal(try_ram(l, name, address, length), 0);
}

static void add_kind(struct regmap_layout *l, enum regmap_region_type type, const char *name,
                     uint64_t address, uint64_t length, uint64_t target)
{
	struct regmap_region r = region(name, address, length);

	r.type = type;
	r.target = target;
	assert_int_equal(try_region(l, r), 0);
}

static int try_peripheral(struct regmap_layout *l, const char *name, uint64_t address,
                          uint64_t length)
{
	struct regmap_peripheral p = {.name = name, .address = address, .length = length};

	memset(&error, 0, sizeof(error));
	return regmap_layout_add_peripheral(l, &p, &error);
}

static void add_peripheral(struct regmap_layout *l, const char *name, uint64_t address,
                           uint64_t length)
{
	assert_int_equal(try_peripheral(l, name, address, length), 0);
}

static int try_register(struct regmap_layout *l, const char *peripheral, struct regmap_register r)
{
	memset(&error, 0, sizeof(error));
	return regmap_layout_add_register(l, peripheral, &r, &error);
}

static void add_register(struct regmap_layout *l, const char *peripheral, const char *name,
                         uint64_t offset, unsigned width)
{
	assert_int_equal(try_register(l, peripheral,
	                              (struct regmap_register){.name = name,
	                                                       .offset = offset,
	                                                       .width = width}),
	                 0);
}

static int finish(struct regmap_layout *l)
{
	memset(&error, 0, sizeof(error));
	return regmap__layout_finish(layout_of(l), &error);
}

#define assert_says(part) assert_non_null(strstr(error.text, part))
#define assert_refused(call, err, part) \
	do { \
		assert_int_equal(call, err); \
		assert_says(part); \
	} while (0)

/* --- what a new one is --- */

static void test_layout_new_is_empty(void **state)
{
	struct regmap_layout *l;

	(void)state;
	assert_int_equal(regmap_layout_new(NULL, &l), 0);
	assert_string_equal(l->name, "");
	assert_string_equal(l->description, "");
	assert_string_equal(l->vendor, "");
	assert_string_equal(l->cpu, "");
	assert_string_equal(l->license, "");
	assert_true(l->allocate_at_once);
	assert_int_equal(l->page_size, 4096);
	assert_int_equal(l->max_memory, 0);
	assert_int_equal(l->region_count + l->peripheral_count + l->space_count + l->rule_count, 0);
	assert_int_equal(finish(l), 0);
	regmap_layout_free(l);
	regmap_layout_free(NULL);
	assert_int_equal(regmap_layout_new("x", NULL), -EINVAL);
}

/* Nothing of the caller's is kept. */
static void test_layout_copies_what_is_added(void **state)
{
	struct regmap_layout *l = new_layout();
	char name[] = "CR", value_name[] = "On", field_name[] = "EN", file[] = "x.toml";
	struct regmap_enum_value value = {.name = value_name, .value = 1};
	const struct regmap_enum_value *values[] = {&value};
	struct regmap_field field = {.name = field_name,
	                             .width = 1,
	                             .values = values,
	                             .value_count = 1};
	const struct regmap_field *fields[] = {&field};
	struct regmap_register reg = {.name = name,
	                              .width = 4,
	                              .reset_value = 0x83,
	                              .fields = fields,
	                              .field_count = 1,
	                              .source = {file, 3, 4}};
	const struct regmap_register *regs[] = {&reg};
	struct regmap_interrupt irq = {.name = name, .number = 5};
	const struct regmap_interrupt *irqs[] = {&irq};
	struct regmap_peripheral p = {.name = "RCC",
	                              .address = 0x1000,
	                              .length = 0x400,
	                              .registers = regs,
	                              .register_count = 1,
	                              .interrupts = irqs,
	                              .interrupt_count = 1};
	struct regmap_flash_sector sector = {0x400, 2};
	struct regmap_region r = region("Flash", 0, 0x800);
	const struct regmap_register *got;

	(void)state;
	r.type = REGMAP_REGION_FLASH;
	r.sectors = &sector;
	r.sector_count = 1;
	assert_int_equal(regmap_layout_add_peripheral(l, &p, &error), 0);
	assert_int_equal(regmap_layout_add_region(l, &r, &error), 0);
	memset(name, 'x', 2), memset(value_name, 'x', 2), memset(field_name, 'x', 2);
	memset(file, 'x', 2);
	memset(&sector, 0, sizeof(sector)), memset(&irq, 0, sizeof(irq));
	memset(values, 0, sizeof(values)), memset(fields, 0, sizeof(fields));
	memset(regs, 0, sizeof(regs)), memset(&reg, 0, sizeof(reg));
	got = l->peripherals[0]->registers[0];
	assert_string_equal(got->name, "CR");
	assert_string_equal(got->description, "");
	assert_string_equal(got->alternate, "");
	assert_string_equal(got->source.file, "x.toml");
	assert_int_equal(got->source.line, 3);
	assert_string_equal(got->fields[0]->name, "EN");
	assert_string_equal(got->fields[0]->values[0]->name, "On");
	assert_int_equal(got->fields[0]->values[0]->usage, REGMAP_READ | REGMAP_WRITE);
	assert_string_equal(l->peripherals[0]->interrupts[0]->name, "CR");
	assert_int_equal(l->peripherals[0]->interrupts[0]->number, 5);
	assert_int_equal(l->regions[0]->sectors[0].length, 0x400);
	regmap_layout_free(l);
}

/* A struct with nothing but a reset value means all of its bits. */
static void test_layout_reset_mask_defaults_to_all(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_peripheral(l, "P", 0, 0x100);
	assert_int_equal(try_register(l, "P",
	                              (struct regmap_register){.name = "A",
	                                                       .width = 2,
	                                                       .reset_value = 0x1234}),
	                 0);
	assert_int_equal(l->peripherals[0]->registers[0]->reset_mask, 0xffff);
	assert_int_equal(try_register(l, "P",
	                              (struct regmap_register){.name = "B",
	                                                       .offset = 4,
	                                                       .width = 4,
	                                                       .reset_value = 0x1234,
	                                                       .reset_mask = 0xf}),
	                 0);
	assert_int_equal(l->peripherals[0]->registers[1]->reset_mask, 0xf);
	regmap_layout_free(l);
}

/* --- regions --- */

static void test_layout_refuses_wrong_regions(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("R", 0, 16);

	(void)state;
	assert_refused(try_ram(l, NULL, 0, 1), -EINVAL, "no name");
	assert_refused(try_ram(l, "", 0, 1), -EINVAL, "no name");
	assert_refused(try_ram(l, "a\"b", 0, 1), -EINVAL, "a name has");
	assert_refused(try_ram(l, "a\nb", 0, 1), -EINVAL, "a name has");
	assert_refused(try_ram(l, "R", 5, 0), -EINVAL, "size of 0");
	assert_refused(try_ram(l, "R", UINT64_MAX, 2), -EINVAL, "behind the last address");
	r.permissions = 8;
	assert_refused(try_region(l, r), -EINVAL, "none of those there are");
	r = region("R", 0, 16), r.type = (enum regmap_region_type)99;
	assert_refused(try_region(l, r), -EINVAL, "none of those there are");
	r = region("R", 0, 16), r.widths = 3 | 16;
	assert_refused(try_region(l, r), -EINVAL, "none of those there are");
	r = region("R", 0, 16), r.program_width = 3;
	assert_refused(try_region(l, r), -EINVAL, "power of 2");
	r = region("R", 0, 16), r.space = "data";
	assert_refused(try_region(l, r), -ENOENT, "no address space \"data\"");
	assert_int_equal(regmap_layout_add_region(l, NULL, NULL), -EINVAL);
	assert_int_equal(l->region_count, 0);
	add_ram(l, "Bank 1 (A/B) - x.y", 0, 1);
	regmap_layout_free(l);
}

static void test_layout_sectors_make_up_their_region(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_flash_sector sectors[] = {{0x400, 4}, {0x1000, 1}};
	struct regmap_region r = region("Flash", 0, 0x2000);

	(void)state;
	r.type = REGMAP_REGION_FLASH;
	r.sectors = sectors;
	r.sector_count = 2;
	assert_int_equal(try_region(l, r), 0);
	r.name = "Other", r.address = 0x10000, r.length = 0x2001;
	assert_refused(try_region(l, r), -EINVAL, "0x2001 bytes, its sectors have 0x2000");
	sectors[1].length = UINT64_MAX / 2, sectors[1].count = 3;
	assert_refused(try_region(l, r), -EINVAL, "too many");
	sectors[1].count = 0;
	assert_refused(try_region(l, r), -EINVAL, "count of 0");
	r.type = REGMAP_REGION_RAM;
	assert_refused(try_region(l, r), -EINVAL, "only flash");
	regmap_layout_free(l);
}

static void test_layout_refuses_regions_that_cross(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("B", 0x1800, 0x1000);

	(void)state;
	add_ram(l, "A", 0x1000, 0x1000);
	r.source = (struct regmap_source){"x.toml", 7, 3};
	assert_int_equal(try_region(l, r), -EEXIST);
	assert_string_equal(error.text,
	                    "x.toml:7:3: region \"B\" (0x1800-0x27ff) overlaps region \"A\" "
	                    "(0x1000-0x1fff): keep them apart, or put one wholly inside the other");
	assert_string_equal(error.file, "x.toml");
	assert_int_equal(error.line, 7);
	assert_int_equal(error.column, 3);
	assert_refused(try_ram(l, "B", 0x800, 0x801), -EEXIST, "\"A\"");
	assert_refused(try_ram(l, "B", 0x1000, 0x1000), -EEXIST, "overlaps exactly");
	assert_int_equal(l->region_count, 1);
	add_ram(l, "B", 0x2000, 1); /* the name was not taken by those that failed */
	assert_refused(try_ram(l, "B", 0x3000, 1), -EEXIST, "\"B\" is there already");
	add_ram(l, "C", 0xfff, 1);
	regmap_layout_free(l);
}

/* The message says where the other one is, if that was in a file. */
static void test_layout_crossing_names_both_places(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("A", 0, 0x100);

	(void)state;
	r.source = (struct regmap_source){"chip.toml", 12, 1};
	assert_int_equal(try_region(l, r), 0);
	r = region("B", 0x80, 0x100);
	r.source = (struct regmap_source){"board.toml", 3, 1};
	assert_refused(try_region(l, r), -EEXIST, "board.toml:3:1: ");
	assert_says("\"A\" of chip.toml:12");
	regmap_layout_free(l);
}

static void test_layout_regions_nest_in_any_order(void **state)
{
	static const struct {
		const char *name;
		uint64_t address, length;
	} all[] = {{"bus", 0, 0x1000},   {"outer", 0, 0x800},   {"left", 0, 0x100},
	           {"byte", 0, 1},       {"mid", 0x200, 0x200}, {"bits", 0x3ff, 1},
	           {"right", 0x800, 16}, {"end", 0xfff, 1}};
	enum { COUNT = sizeof(all) / sizeof(all[0]) };
	uint64_t random = 7;

	(void)state;
	for (unsigned run = 0; run < 200; run++) {
		struct regmap_layout *l = new_layout();
		unsigned order[COUNT];

		for (unsigned i = 0; i < COUNT; i++) {
			unsigned k = (unsigned)(t_next(&random) % (i + 1));

			order[i] = order[k];
			order[k] = i;
		}
		for (unsigned i = 0; i < COUNT; i++)
			add_ram(l, all[order[i]].name, all[order[i]].address, all[order[i]].length);
		for (unsigned i = 0; i < COUNT; i++)
			assert_string_equal(l->regions[i]->name, all[i].name);
		assert_string_equal(region_of(l->regions[3])->parent->pub.name, "left");
		assert_string_equal(region_of(l->regions[5])->parent->pub.name, "mid");
		assert_string_equal(region_of(l->regions[7])->parent->pub.name, "bus");
		assert_null(region_of(l->regions[0])->parent);
		regmap_layout_free(l);
	}
}

/* --- against a list --- */

enum { SPACE = 256, TRIES = 300 };

struct list {
	struct {
		uint64_t first, last;
	} at[TRIES];
	unsigned count;
};

static bool list_crosses(const struct list *m, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < m->count; i++) {
		uint64_t f = m->at[i].first, e = m->at[i].last;
		bool apart = e < first || f > last, in = first >= f && last <= e,
		     around = first <= f && last >= e;

		if ((f == first && e == last) || !(apart || in || around))
			return true;
	}
	return false;
}

static int list_find(const struct list *m, uint64_t at, uint64_t *last)
{
	int best = -1;

	*last = UINT64_MAX;
	for (unsigned i = 0; i < m->count; i++)
		if (m->at[i].first <= at && m->at[i].last >= at &&
		    (best < 0 ||
		     m->at[i].last - m->at[i].first < m->at[best].last - m->at[best].first))
			best = (int)i;
	if (best >= 0)
		*last = m->at[best].last;
	for (unsigned i = 0; i < m->count; i++)
		if (m->at[i].first > at && m->at[i].first - 1 < *last)
			*last = m->at[i].first - 1;
	return best;
}

static void compare_to_list(const struct regmap_layout *l, const struct list *m)
{
	uint64_t last, end;

	for (uint64_t at = 0; at < SPACE + 2; at++) {
		const struct regmap_region *r = regmap__layout_region_at(l, at, &last);
		int expected = list_find(m, at, &end);

		assert_int_equal(last, end);
		assert_int_equal(!r, expected < 0);
		if (r) {
			assert_int_equal(r->address, m->at[expected].first);
			assert_int_equal(r->length,
			                 m->at[expected].last - m->at[expected].first + 1);
		}
	}
}

static void test_layout_agrees_with_a_list(void **state)
{
	uint64_t random = 3;

	(void)state;
	for (unsigned run = 0; run < 60; run++) {
		struct regmap_layout *l = new_layout();
		struct list m = {.count = 0};

		for (unsigned i = 0; i < TRIES; i++) {
			uint64_t first = t_next(&random) % SPACE;
			uint64_t last = first + t_next(&random) % (i % 3 ? 16 : SPACE - first);
			char name[16];

			snprintf(name, sizeof(name), "r%u", i);
			if (last >= SPACE)
				last = SPACE - 1;
			if (list_crosses(&m, first, last)) {
				assert_int_equal(try_ram(l, name, first, last - first + 1),
				                 -EEXIST);
				continue;
			}
			add_ram(l, name, first, last - first + 1);
			m.at[m.count].first = first;
			m.at[m.count++].last = last;
		}
		compare_to_list(l, &m);
		assert_int_equal(finish(l), 0);
		compare_to_list(l, &m);
		regmap_layout_free(l);
	}
}

static void test_layout_reaches_the_last_address(void **state)
{
	struct regmap_layout *l = new_layout();
	uint64_t last;

	(void)state;
	add_ram(l, "top", UINT64_MAX, 1);
	add_ram(l, "half", UINT64_MAX / 2 + 1, UINT64_MAX / 2 + 1);
	assert_string_equal(regmap__layout_region_at(l, UINT64_MAX, &last)->name, "top");
	assert_int_equal(last, UINT64_MAX);
	assert_string_equal(regmap__layout_region_at(l, UINT64_MAX - 1, &last)->name, "half");
	assert_int_equal(last, UINT64_MAX - 1);
	assert_refused(finish(l), -EINVAL, "addresses have 56 bits");
	regmap_layout_free(l);
}

/* --- address spaces --- */

static void test_layout_takes_address_spaces(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_space space = {.name = "data", .offset = 0x800000};
	struct regmap_region r = region("SRAM", 0x800100, 0x800);

	(void)state;
	assert_int_equal(regmap_layout_add_space(l, &space, &error), 0);
	assert_refused(regmap_layout_add_space(l, &space, &error), -EEXIST, "\"data\" is there");
	space.name = NULL;
	assert_refused(regmap_layout_add_space(l, &space, &error), -EINVAL, "no name");
	r.space = "data";
	assert_int_equal(try_region(l, r), 0);
	assert_int_equal(l->space_count, 1);
	assert_int_equal(l->spaces[0]->offset, 0x800000);
	assert_string_equal(l->spaces[0]->description, "");
	regmap_layout_free(l);
}

/* --- peripherals --- */

static int try_full(struct regmap_layout *l, const struct regmap_register *r)
{
	const struct regmap_register *all[] = {r};
	struct regmap_peripheral p = {.name = "P",
	                              .address = 0x1000,
	                              .length = 0x10,
	                              .registers = all,
	                              .register_count = 1};

	memset(&error, 0, sizeof(error));
	return regmap_layout_add_peripheral(l, &p, &error);
}

static void test_layout_refuses_wrong_peripherals(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	assert_refused(try_peripheral(l, "", 0, 4), -EINVAL, "no name");
	assert_refused(try_peripheral(l, "A B", 0, 4), -EINVAL, "letters, digits and _");
	assert_refused(try_peripheral(l, "A", 0, 0), -EINVAL, "size of 0");
	assert_refused(try_peripheral(l, "A", UINT64_MAX, 2), -EINVAL, "last address");
	add_peripheral(l, "A", 0, 4);
	assert_refused(try_peripheral(l, "A", 8, 4), -EEXIST, "\"A\" is there already");
	add_peripheral(l, "a", 16, 4); /* case counts */
	assert_int_equal(l->peripheral_count, 2);
	regmap_layout_free(l);
}

static void test_layout_refuses_wrong_registers(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_register r = {.name = "R", .width = 4};

	(void)state;
	r.width = 3;
	assert_refused(try_full(l, &r), -EINVAL, "24 bits");
	r.width = 4, r.offset = 13;
	assert_refused(try_full(l, &r), -EINVAL, "ends behind its peripheral");
	r.offset = UINT64_MAX;
	assert_refused(try_full(l, &r), -EINVAL, "ends behind its peripheral");
	r.offset = 0, r.width = 2, r.reset_value = 0x10000;
	assert_refused(try_full(l, &r), -EINVAL, "0x10000 doesn't fit");
	r.reset_value = 0, r.name = "A-B";
	assert_refused(try_full(l, &r), -EINVAL, "letters, digits and _");
	r.name = "R", r.access = (enum regmap_register_access)9;
	assert_refused(try_full(l, &r), -EINVAL, "none of those there are");
	assert_int_equal(l->peripheral_count, 0);
	r.access = 0, r.offset = 14;
	assert_int_equal(try_full(l, &r), 0);
	assert_refused(try_register(l, "P", r), -EEXIST, "\"P.R\" is there already");
	assert_refused(try_register(l, "Q", r), -ENOENT, "no peripheral \"Q\"");
	assert_refused(try_register(l, "p", r), -ENOENT, "no peripheral \"p\"");
	r.offset = 16;
	assert_refused(try_register(l, "P", r), -EINVAL, "ends behind its peripheral");
	assert_int_equal(l->peripherals[0]->register_count, 1);
	regmap_layout_free(l);
}

static void test_layout_refuses_wrong_fields(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_enum_value value = {.name = "V", .value = 4};
	const struct regmap_enum_value *values[] = {&value};
	struct regmap_field f[] = {{.name = "F", .width = 1}, {.name = "F", .lsb = 1, .width = 1}};
	const struct regmap_field *fields[] = {&f[0], &f[1]};
	struct regmap_register r = {.name = "R", .width = 4, .fields = fields, .field_count = 1};
	struct regmap_place place;

	(void)state;
	f[0].lsb = 30, f[0].width = 3;
	assert_refused(try_full(l, &r), -EINVAL, "bits 30 to 32: register \"R\" has bits 0 to 31");
	f[0].lsb = 0, f[0].width = 0;
	assert_int_equal(try_full(l, &r), -EINVAL);
	f[0].lsb = UINT32_MAX, f[0].width = 2;
	assert_int_equal(try_full(l, &r), -EINVAL);
	f[0].lsb = 0, f[0].width = 2, f[0].values = values, f[0].value_count = 1;
	assert_refused(try_full(l, &r), -EINVAL, "\"V\" is 0x4 and doesn't fit");
	value.name = "";
	assert_refused(try_full(l, &r), -EINVAL, "a value has no name");
	f[0].value_count = 0, r.field_count = 2;
	assert_refused(try_full(l, &r), -EEXIST, "\"P.R.F\" is there already");
	assert_int_equal(l->peripheral_count, 0);
	assert_int_equal(regmap_layout_find(l, "P", &place), -ENOENT);
	assert_int_equal(regmap_layout_find(l, "P.R.F", &place), -ENOENT);
	f[1].name = "G";
	assert_int_equal(try_full(l, &r), 0);
	regmap_layout_free(l);
}

/* By offset; of those at one offset another view comes last, the wider first. */
static void test_layout_registers_are_in_order(void **state)
{
	struct regmap_layout *l = new_layout();
	static const char *const expected[] = {"W", "A", "B", "V", "C"};

	(void)state;
	add_peripheral(l, "P", 0, 0x100);
	add_register(l, "P", "C", 8, 4);
	assert_int_equal(try_register(l, "P",
	                              (struct regmap_register){.name = "V",
	                                                       .width = 8,
	                                                       .alternate = "W"}),
	                 0);
	add_register(l, "P", "A", 0, 2);
	add_register(l, "P", "B", 0, 2);
	add_register(l, "P", "W", 0, 4);
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal(l->peripherals[0]->registers[i]->name, expected[i]);
	assert_int_equal(finish(l), 0);
	regmap_layout_free(l);
}

/* --- rules --- */

static void test_layout_takes_rules_of_what_is_there(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_peripheral(l, "P", 0, 0x100);
	add_register(l, "P", "CR", 0, 4);
	assert_int_equal(regmap_layout_add_rule(l, NULL, "on reset: P.CR = 1", &error), 0);
	assert_int_equal(regmap_layout_add_rule(l, "P", "CR = 1", &error), 0);
	assert_int_equal(regmap_layout_add_rule(l, "P.CR", "on write: CR = 1", &error), 0);
	assert_refused(regmap_layout_add_rule(l, "Q", "x", &error), -ENOENT, "\"Q\"");
	assert_refused(regmap_layout_add_rule(l, "P.XR", "x", &error), -ENOENT, "\"P.XR\"");
	assert_refused(regmap_layout_add_rule(l, "P.CR.F", "x", &error), -ENOENT, "\"P.CR.F\"");
	assert_int_equal(regmap_layout_add_rule(l, "", "", &error), -EINVAL);
	assert_int_equal(l->rule_count, 3);
	assert_string_equal(l->rules[0]->scope, "");
	assert_string_equal(l->rules[1]->text, "CR = 1");
	assert_string_equal(l->rules[2]->scope, "P.CR");
	regmap_layout_free(l);
}

/* --- finishing --- */

static void test_layout_makes_regions_for_peripherals(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_kind(l, REGMAP_REGION_MMIO, "APB", 0x40000000, 0x10000, 0);
	add_ram(l, "SRAM", 0x20000000, 0x1000);
	add_ram(l, "RTC", 0, 0x100);
	add_peripheral(l, "TIM", 0x40000000, 0x400);
	add_peripheral(l, "RTC", 0x50000000, 0x400);
	add_peripheral(l, "A", 0x60000000, 0x400);
	add_peripheral(l, "B", 0x60000200, 0x400);
	add_peripheral(l, "C", 0x60000300, 0x10);
	add_peripheral(l, "IN", 0x20000800, 0x10); /* inside of other memory */
	assert_int_equal(finish(l), 0);
	assert_int_equal(l->region_count, 6);
	assert_string_equal(l->regions[2]->name, "IN");
	assert_int_equal(l->regions[2]->type, REGMAP_REGION_MMIO);
	assert_int_equal(l->regions[2]->permissions, RW);
	assert_string_equal(region_of(l->regions[2])->parent->pub.name, "SRAM");
	assert_string_equal(l->regions[4]->name, "RTC (registers)");
	assert_int_equal(l->regions[4]->length, 0x400);
	assert_string_equal(l->regions[5]->name, "A");
	assert_int_equal(l->regions[5]->address, 0x60000000);
	assert_int_equal(l->regions[5]->length, 0x600);
	regmap_layout_free(l);
}

/* What was made goes when something is added, and comes again if it is still needed. */
static void test_layout_can_be_finished_again(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_place place;

	(void)state;
	add_peripheral(l, "A", 0x40000000, 0x400);
	add_peripheral(l, "B", 0x40000400, 0x400);
	add_ram(l, "SRAM", 0x20000000, 0x1000);
	assert_int_equal(finish(l), 0);
	assert_int_equal(finish(l), 0);
	assert_int_equal(l->region_count, 3);
	add_kind(l, REGMAP_REGION_MMIO, "A", 0x40000000, 0x600, 0);
	assert_int_equal(l->region_count, 2);
	assert_int_equal(finish(l), 0);
	assert_int_equal(l->region_count, 2);
	add_peripheral(l, "C", 0x50000000, 4);
	assert_int_equal(finish(l), 0);
	assert_int_equal(l->region_count, 3);
	assert_int_equal(regmap_layout_find(l, "C", &place), 0);
	assert_string_equal(place.region->name, "C");
	regmap_layout_free(l);
}

/* Children of a region that was made are its parent's again when it goes. */
static void test_layout_made_regions_leave_no_trace(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_ram(l, "bus", 0, 0x10000);
	add_peripheral(l, "P", 0x1000, 0x100);
	add_ram(l, "inner", 0x1040, 0x10);
	assert_int_equal(finish(l), 0);
	assert_string_equal(region_of(l->regions[2])->parent->pub.name, "P");
	add_ram(l, "more", 0x2000, 1);
	assert_int_equal(l->region_count, 3);
	assert_string_equal(region_of(l->regions[1])->parent->pub.name, "bus");
	regmap_layout_free(l);
}

static void test_layout_made_regions_may_not_cross(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_ram(l, "SRAM", 0x1000, 0x1000);
	add_peripheral(l, "P", 0x1f00, 0x200);
	assert_refused(finish(l), -EINVAL, "region \"P\" (0x1f00-0x20ff) overlaps region \"SRAM\"");
	assert_int_equal(l->region_count, 1);
	regmap_layout_free(l);
}

static void test_layout_registers_lie_in_a_region(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_kind(l, REGMAP_REGION_MMIO, "APB", 0x1000, 0x100, 0);
	add_peripheral(l, "P", 0x1000, 0x200);
	add_register(l, "P", "IN", 0xfc, 4);
	assert_int_equal(finish(l), 0);
	add_register(l, "P", "OUT", 0xfe, 4);
	assert_refused(finish(l), -EINVAL, "register \"P.OUT\" at 0x10fe lies in no region");
	add_kind(l, REGMAP_REGION_MMIO, "APB2", 0x1100, 2, 0);
	assert_int_equal(finish(l), 0);
	regmap_layout_free(l);
}

static void test_layout_views_are_of_registers_there(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_register r = {.name = "V", .offset = 4, .width = 4, .alternate = "CR"};

	(void)state;
	add_peripheral(l, "P", 0, 0x100);
	add_register(l, "P", "CR", 0, 4);
	assert_int_equal(try_register(l, "P", r), 0);
	assert_refused(finish(l), -EINVAL, "\"P.V\" is another view of \"CR\"");
	regmap_layout_free(l);
}

static void test_layout_aliases_have_targets(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_ram(l, "A", 0x1000, 0x1000);
	add_ram(l, "B", 0x2000, 0x1000);
	add_kind(l, REGMAP_REGION_ALIAS, "both", 0x10000, 0x2000, 0x1000);
	add_kind(l, REGMAP_REGION_REVERSED, "back", 0x20000, 0x1000, 0x1800);
	assert_int_equal(finish(l), 0);
	add_kind(l, REGMAP_REGION_ALIAS, "beyond", 0x30000, 0x2000, 0x2000);
	assert_refused(finish(l), -EINVAL,
	               "region \"beyond\" is an alias of 0x2000-0x3fff, and 0x3000");
	regmap_layout_free(l);
}

static void test_layout_bit_bands_are_32_times_their_target(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("band", 0x22000000, 0x2000000);

	(void)state;
	r.type = REGMAP_REGION_BITBAND;
	r.target = 0x20000000;
	r.length = 0x2000010;
	assert_refused(try_region(l, r), -EINVAL, "its size one of 32");
	r.length = 0x2000000, r.address = 0x22000002;
	assert_refused(try_region(l, r), -EINVAL, "multiple of 4");
	r.address = 0x22000000;
	assert_int_equal(try_region(l, r), 0);
	assert_refused(finish(l), -EINVAL, "bit-band \"band\" is one of 0x20000000-0x200fffff");
	add_ram(l, "SRAM", 0x200f0000, 0x100); /* a part of what the architecture provides for */
	assert_int_equal(finish(l), 0);
	regmap_layout_free(l);
}

static void test_layout_reversed_aliases_are_of_words(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("back", 0x2000, 0x100);

	(void)state;
	r.type = REGMAP_REGION_REVERSED, r.target = 0x1002;
	assert_refused(try_region(l, r), -EINVAL, "multiples of 4");
	r.target = 0x1000, r.length = 0x102;
	assert_refused(try_region(l, r), -EINVAL, "multiples of 4");
	r.length = 0x100, r.address = 0x2001;
	assert_refused(try_region(l, r), -EINVAL, "multiples of 4");
	r.address = 0x2000, r.target = UINT64_MAX - 3;
	assert_refused(try_region(l, r), -EINVAL, "its target ends behind the last address");
	regmap_layout_free(l);
}

static void test_layout_aliases_form_no_circle(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_kind(l, REGMAP_REGION_ALIAS, "self", 0x1000, 0x100, 0x1080);
	add_ram(l, "SRAM", 0x1100, 0x100);
	assert_refused(finish(l), -EINVAL, "\"self\" is an alias of \"self\"");
	regmap_layout_free(l);

	l = new_layout();
	add_kind(l, REGMAP_REGION_ALIAS, "A", 0x1000, 0x100, 0x2000);
	add_kind(l, REGMAP_REGION_ALIAS, "B", 0x2000, 0x100, 0x3000);
	add_kind(l, REGMAP_REGION_ALIAS, "C", 0x3000, 0x100, 0x1000);
	assert_refused(finish(l), -EINVAL, "leads back to it");
	regmap_layout_free(l);

	l = new_layout();
	add_kind(l, REGMAP_REGION_ALIAS, "A", 0x1000, 0x100, 0x2000);
	add_kind(l, REGMAP_REGION_ALIAS, "B", 0x2000, 0x100, 0x3000);
	add_kind(l, REGMAP_REGION_ALIAS, "C", 0x4000, 0x100, 0x2000);
	add_ram(l, "SRAM", 0x3000, 0x100);
	assert_int_equal(finish(l), 0);
	add_kind(l, REGMAP_REGION_ALIAS, "hole", 0x3010, 0x10,
	         0x4000); /* inside of what B is one of */
	assert_refused(finish(l), -EINVAL, "leads back to it");
	regmap_layout_free(l);
}

static void test_layout_max_memory_is_kept(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("ext", 0x60000000, 0x10000000);

	(void)state;
	l->max_memory = 0x1100;
	add_ram(l, "SRAM", 0x1000, 0x1000);
	add_ram(l, "inner", 0x1100, 0x800);                          /* counts once */
	add_kind(l, REGMAP_REGION_ALIAS, "boot", 0, 0x1000, 0x1000); /* not at all */
	add_kind(l, REGMAP_REGION_BITBAND, "band", 0x100000, 0x20000, 0x1000);
	r.type = REGMAP_REGION_EXTERNAL, r.detached = true;
	assert_int_equal(try_region(l, r), 0);
	add_ram(l, "small", 0x3000, 0x100);
	assert_int_equal(finish(l), 0);
	add_ram(l, "byte", 0x4000, 1);
	assert_refused(finish(l), -EINVAL, "with region \"byte\"");
	assert_says("0x1100 bytes");
	regmap_layout_free(l);
}

/* --- names --- */

static struct regmap_layout *named_layout(void)
{
	struct regmap_layout *l = new_layout();
	struct regmap_field field = {.name = "USART1EN", .lsb = 14, .width = 1};
	const struct regmap_field *fields[] = {&field};

	add_ram(l, "SRAM", 0x20000000, 0x5000);
	add_ram(l, "Option bytes 1.2", 0x1000, 16);
	add_peripheral(l, "RCC", 0x40021000, 0x400);
	add_peripheral(l, "Rcc", 0x40031000, 0x400);
	assert_int_equal(try_register(l, "RCC",
	                              (struct regmap_register){.name = "APB2ENR",
	                                                       .offset = 0x18,
	                                                       .width = 4,
	                                                       .fields = fields,
	                                                       .field_count = 1}),
	                 0);
	add_register(l, "Rcc", "CR", 0, 4);
	add_register(l, "RCC", "CH0_CFG", 0x40, 4);
	assert_int_equal(finish(l), 0);
	return l;
}

static void test_layout_finds_names(void **state)
{
	struct regmap_layout *l = named_layout();
	struct regmap_place p;

	(void)state;
	assert_int_equal(regmap_layout_find(l, "SRAM", &p), 0);
	assert_string_equal(p.region->name, "SRAM");
	assert_null(p.peripheral);
	assert_int_equal(p.address, 0x20000000);
	assert_int_equal(p.length, 0x5000);
	assert_int_equal(regmap_layout_find(l, "Option bytes 1.2", &p), 0);
	assert_int_equal(p.address, 0x1000);
	assert_int_equal(regmap_layout_find(l, "RCC", &p), 0);
	assert_string_equal(p.peripheral->name, "RCC");
	assert_string_equal(p.region->name, "RCC");
	assert_null(p.reg);
	assert_int_equal(p.address, 0x40021000);
	assert_int_equal(p.length, 0x400);
	assert_int_equal(regmap_layout_find(l, "RCC.APB2ENR", &p), 0);
	assert_string_equal(p.reg->name, "APB2ENR");
	assert_null(p.field);
	assert_int_equal(p.address, 0x40021018);
	assert_int_equal(p.length, 4);
	assert_int_equal(regmap_layout_find(l, "RCC.APB2ENR.USART1EN", &p), 0);
	assert_string_equal(p.field->name, "USART1EN");
	assert_int_equal(p.address, 0x40021018);
	regmap_layout_free(l);
}

static void test_layout_case_matters_only_if_it_can(void **state)
{
	struct regmap_layout *l = named_layout();
	struct regmap_place p;

	(void)state;
	assert_int_equal(regmap_layout_find(l, "Rcc", &p), 0);
	assert_int_equal(p.address, 0x40031000);
	assert_int_equal(regmap_layout_find(l, "rcc", &p), 0);
	assert_int_equal(p.address, 0x40021000); /* the first that came */
	assert_int_equal(regmap_layout_find(l, "sram", &p), 0);
	assert_int_equal(regmap_layout_find(l, "OPTION BYTES 1.2", &p), 0);
	assert_int_equal(regmap_layout_find(l, "RCC.apb2enr.usart1en", &p), 0);
	assert_string_equal(p.field->name, "USART1EN");
	regmap_layout_free(l);
}

/* Registers of clusters and arrays are found as they are spelt in C, too. */
static void test_layout_finds_elements_of_clusters(void **state)
{
	struct regmap_layout *l = named_layout();
	struct regmap_place p;

	(void)state;
	assert_int_equal(regmap_layout_find(l, "RCC.CH0_CFG", &p), 0);
	assert_int_equal(regmap_layout_find(l, "RCC.CH0.CFG", &p), 0);
	assert_int_equal(p.address, 0x40021040);
	assert_int_equal(regmap_layout_find(l, "RCC.CH[0].CFG", &p), 0);
	assert_string_equal(p.reg->name, "CH0_CFG");
	regmap_layout_free(l);
}

/* Whether the register's name begins with its peripheral's or not. */
static void test_layout_finds_names_with_prefix(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_place p;

	(void)state;
	add_peripheral(l, "ADC", 0x1000, 0x100);
	add_register(l, "ADC", "ADC_CR", 0, 4);
	add_register(l, "ADC", "SR", 4, 4);
	add_register(l, "ADC", "ADC_SR", 8, 4);
	assert_int_equal(regmap_layout_find(l, "ADC.CR", &p), 0);
	assert_string_equal(p.reg->name, "ADC_CR");
	assert_int_equal(regmap_layout_find(l, "adc.adc_cr", &p), 0);
	assert_string_equal(p.reg->name, "ADC_CR");
	assert_int_equal(regmap_layout_find(l, "ADC.SR", &p), 0);
	assert_int_equal(p.address, 0x1004);
	assert_int_equal(regmap_layout_find(l, "ADC.ADC_SR", &p), 0);
	assert_int_equal(p.address, 0x1008);
	add_register(l, "ADC", "DR", 12, 4);
	assert_int_equal(regmap_layout_find(l, "ADC.ADC_DR", &p), 0);
	assert_int_equal(p.address, 0x100c);
	assert_int_equal(regmap_layout_find(l, "ADC.ADC_", &p), -ENOENT);
	regmap_layout_free(l);
}

static void test_layout_finds_no_other_names(void **state)
{
	static const char *const names[] = {"",
	                                    ".",
	                                    "RCC.",
	                                    "RCC.XX",
	                                    "RCC.APB2ENR.",
	                                    "RCC.APB2ENR.X",
	                                    "X.CR",
	                                    "SRAM.X",
	                                    "RCC.APB2ENR.USART1EN.X",
	                                    "..",
	                                    "RCC..APB2ENR"};
	struct regmap_layout *l = named_layout();
	struct regmap_place p;

	(void)state;
	assert_int_equal(regmap_layout_find(l, NULL, &p), -ENOENT);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memset(&p, 0x55, sizeof(p));
		assert_int_equal(regmap_layout_find(l, names[i], &p), -ENOENT);
		assert_null(p.region);
		assert_null(p.peripheral);
		assert_null(p.reg);
		assert_null(p.field);
	}
	regmap_layout_free(l);
}

/* --- addresses --- */

static void test_layout_finds_addresses(void **state)
{
	struct regmap_layout *l = named_layout();
	struct regmap_place p;

	(void)state;
	add_ram(l, "hole", 0x20000003, 1);
	for (int finished = 0; finished < 2; finished++) {
		assert_int_equal(regmap_layout_find_at(l, 0x20000003, &p), 0);
		assert_string_equal(p.region->name, "hole");
		assert_int_equal(p.length, 1);
		assert_int_equal(regmap_layout_find_at(l, 0x20000004, &p), 0);
		assert_string_equal(p.region->name, "SRAM");
		assert_int_equal(p.address, 0x20000000);
		assert_int_equal(regmap_layout_find_at(l, 0x4002101b, &p), 0);
		assert_string_equal(p.reg->name, "APB2ENR");
		assert_int_equal(p.address, 0x40021018);
		assert_int_equal(p.length, 4);
		assert_int_equal(regmap_layout_find_at(l, 0x4002101c, &p), 0);
		assert_null(p.reg);
		assert_string_equal(p.peripheral->name, "RCC");
		assert_int_equal(p.address, 0x40021000);
		assert_int_equal(regmap_layout_find_at(l, 0x20005000, &p), -ENOENT);
		assert_null(p.region);
		assert_int_equal(finish(l), 0);
	}
	regmap_layout_free(l);
}

static const char *register_at(const struct regmap_layout *l, uint64_t address)
{
	static char name[64];
	struct regmap_place p;

	if (regmap_layout_find_at(l, address, &p))
		return "nothing";
	snprintf(name, sizeof(name), "%s.%s", p.peripheral ? p.peripheral->name : "",
	         p.reg ? p.reg->name : "");
	return name;
}

/* Of registers that share bytes, the one that begins last. */
static void test_layout_finds_registers_in_registers(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_peripheral(l, "P", 0, 0x20);
	add_register(l, "P", "D", 8, 8);
	add_register(l, "P", "B", 9, 1);
	add_register(l, "P", "H", 12, 2);
	assert_int_equal(finish(l), 0);
	assert_string_equal(register_at(l, 7), "P.");
	assert_string_equal(register_at(l, 8), "P.D");
	assert_string_equal(register_at(l, 9), "P.B");
	assert_string_equal(register_at(l, 10), "P.D");
	assert_string_equal(register_at(l, 13), "P.H");
	assert_string_equal(register_at(l, 15), "P.D");
	assert_string_equal(register_at(l, 16), "P.");
	regmap_layout_free(l);
}

/* Of peripherals, too; but one that has a register there comes before one that hasn't. */
static void test_layout_finds_peripherals_in_peripherals(void **state)
{
	struct regmap_layout *l = new_layout();

	(void)state;
	add_peripheral(l, "ALL", 0x1000, 0x1000);
	add_peripheral(l, "A", 0x1100, 0x100);
	add_peripheral(l, "B", 0x1180, 0x100);
	add_peripheral(l, "B2", 0x1180, 0x100);
	add_register(l, "ALL", "AT110", 0x110, 4);
	add_register(l, "A", "AT190", 0x90, 4);
	assert_int_equal(finish(l), 0);
	assert_string_equal(register_at(l, 0x1000), "ALL.");
	assert_string_equal(register_at(l, 0x1100), "A.");
	assert_string_equal(register_at(l, 0x1110), "ALL.AT110");
	assert_string_equal(register_at(l, 0x117f), "A.");
	assert_string_equal(register_at(l, 0x1180), "B.");
	assert_string_equal(register_at(l, 0x1190), "A.AT190");
	assert_string_equal(register_at(l, 0x1200), "B.");
	assert_string_equal(register_at(l, 0x1280), "ALL.");
	assert_string_equal(register_at(l, 0x1fff), "ALL.");
	assert_string_equal(register_at(l, 0x2000), "nothing");
	regmap_layout_free(l);
}

/* Finished or not, the innermost is the same. */
static void test_layout_finding_needs_no_finish(void **state)
{
	uint64_t random = 11;

	(void)state;
	for (unsigned run = 0; run < 50; run++) {
		const struct regmap_peripheral *before[SPACE + 1];
		struct regmap_layout *l = new_layout();
		struct regmap_place p;

		for (unsigned i = 0; i < 20; i++) {
			uint64_t at = t_next(&random) % SPACE;
			char name[16];

			snprintf(name, sizeof(name), "P%u", i);
			add_peripheral(l, name, at, 1 + t_next(&random) % (SPACE - at));
		}
		for (uint64_t at = 0; at <= SPACE; at++)
			before[at] = regmap_layout_find_at(l, at, &p) ? NULL : p.peripheral;
		assert_int_equal(finish(l), 0);
		for (uint64_t at = 0; at <= SPACE; at++) {
			(void)!regmap_layout_find_at(l, at, &p);
			assert_ptr_equal(p.peripheral, before[at]);
		}
		regmap_layout_free(l);
	}
}

static void test_layout_describes_addresses(void **state)
{
	static const struct {
		uint64_t address;
		const char *name;
	} all[] = {
		{0x20000000, "SRAM"},
		{0x20000010, "SRAM+0x10"},
		{0x20000009, "SRAM+9"},
		{0x2000000a, "SRAM+0xa"},
		{0x20005000, "just behind SRAM"},
		{0x20005150, "0x150 behind SRAM"},
		{0x40021018, "RCC.APB2ENR"},
		{0x40021019, "RCC.APB2ENR+1"},
		{0x40021100, "RCC+0x100"},
		{0xfff, "0x1 before Option bytes 1.2"},
		{0x40020fff, "0x1 before RCC"},
		{UINT64_MAX, "0xffffffffbffcebff behind Rcc"},
	};
	struct regmap_layout *l = named_layout();
	char to[64];

	(void)state;
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_string_equal(regmap_layout_describe(l, all[i].address, to, sizeof(to)),
		                    all[i].name);
	assert_string_equal(regmap_layout_describe(l, 0x40021019, to, 8), "RCC.APB");
	assert_string_equal(regmap_layout_describe(l, 0x40021019, to, 1), "");
	to[0] = 'x';
	regmap_layout_describe(l, 0, to, 0);
	assert_int_equal(to[0], 'x');
	regmap_layout_free(l);
	l = new_layout();
	assert_string_equal(regmap_layout_describe(l, 0, to, sizeof(to)), "nothing");
	regmap_layout_free(l);
}

/* --- the map --- */

static void assert_map(const struct regmap_layout *l, const char *expected)
{
	char *text = NULL;
	size_t length;
	FILE *f = open_memstream(&text, &length);

	assert_non_null(f);
	assert_int_equal(regmap_layout_print_map(l, f), 0);
	fclose(f);
	assert_string_equal(text, expected);
	free(text);
}

static void test_layout_prints_its_map(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_region r = region("Flash", 0x08000000, 0x20000);

	(void)state;
	l->description = "two\nlines";
	r.type = REGMAP_REGION_FLASH, r.permissions = RX;
	assert_int_equal(try_region(l, r), 0);
	add_kind(l, REGMAP_REGION_ALIAS, "Boot", 0, 0x20000, 0x08000000);
	add_ram(l, "SRAM", 0x20000000, 0x5000);
	add_kind(l, REGMAP_REGION_MMIO, "APB", 0x40000000, 0x7400, 0);
	add_peripheral(l, "TIM2", 0x40000000, 0x400);
	add_register(l, "TIM2", "CR", 0, 4);
	add_peripheral(l, "TIM3", 0x40000400, 0x400);
	add_peripheral(l, "RCC", 0x40021000, 0x400);
	add_register(l, "RCC", "CR", 0, 4);
	add_register(l, "RCC", "CFGR", 4, 4);
	r = region("Bank", 0x60000000, 0x10000000), r.type = REGMAP_REGION_EXTERNAL;
	r.detached = true;
	assert_int_equal(try_region(l, r), 0);
	assert_int_equal(finish(l), 0);
	assert_map(
		l,
		"Chip: two lines\n"
		"0x00000000-0x0001ffff     128 KB  rw-  alias           Boot    of 0x08000000\n"
		"0x08000000-0x0801ffff     128 KB  r-x  flash           Flash\n"
		"0x20000000-0x20004fff      20 KB  rw-  ram             SRAM\n"
		"0x40000000-0x400073ff      29 KB  rw-  mmio            APB\n"
		"0x40000000-0x400003ff       1 KB                         TIM2  1 register\n"
		"0x40000400-0x400007ff       1 KB                         TIM3\n"
		"0x40021000-0x400213ff       1 KB  rw-  mmio            RCC     2 registers\n"
		"0x60000000-0x6fffffff     256 MB  rw-  external        Bank    not connected\n");
	regmap_layout_free(l);
}

static void test_layout_prints_address_spaces(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_space spaces[] = {{.name = "data", .offset = 0},
	                                {.name = "eeprom", .offset = 0x10000000000}};
	struct regmap_region r = region("SRAM", 0x100, 0x800);

	(void)state;
	assert_int_equal(regmap_layout_add_space(l, &spaces[0], NULL), 0);
	assert_int_equal(regmap_layout_add_space(l, &spaces[1], NULL), 0);
	r.space = "data";
	assert_int_equal(try_region(l, r), 0);
	r = region("EEPROM", 0x10000000000, 1023), r.space = "eeprom";
	r.type = REGMAP_REGION_STORAGE;
	assert_int_equal(try_region(l, r), 0);
	assert_int_equal(finish(l), 0);
	assert_map(l, "Chip\n"
	              "address space data at 0x0\n"
	              "0x000000000100-0x0000000008ff       2 KB  rw-  ram             SRAM\n"
	              "address space eeprom at 0x10000000000\n"
	              "0x010000000000-0x0100000003fe     1023 B  rw-  storage         EEPROM\n");
	regmap_layout_free(l);
}

/* --- copies --- */

static void assert_same_register(const struct regmap_register *a, const struct regmap_register *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->offset, b->offset);
	assert_int_equal(a->width, b->width);
	assert_int_equal(a->reset_value, b->reset_value);
	assert_int_equal(a->reset_mask, b->reset_mask);
	assert_int_equal(a->field_count, b->field_count);
	for (size_t i = 0; i < a->field_count; i++) {
		assert_ptr_not_equal(a->fields[i], b->fields[i]);
		assert_string_equal(a->fields[i]->name, b->fields[i]->name);
		assert_int_equal(a->fields[i]->lsb, b->fields[i]->lsb);
	}
}

static void assert_same_layout(const struct regmap_layout *a, const struct regmap_layout *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->max_memory, b->max_memory);
	assert_int_equal(a->page_size, b->page_size);
	assert_int_equal(a->allocate_at_once, b->allocate_at_once);
	assert_int_equal(a->region_count, b->region_count);
	for (size_t i = 0; i < a->region_count; i++) {
		assert_string_equal(a->regions[i]->name, b->regions[i]->name);
		assert_int_equal(a->regions[i]->address, b->regions[i]->address);
		assert_int_equal(region_of(a->regions[i])->is_made,
		                 region_of(b->regions[i])->is_made);
	}
	assert_int_equal(a->peripheral_count, b->peripheral_count);
	for (size_t i = 0; i < a->peripheral_count; i++) {
		assert_string_equal(a->peripherals[i]->name, b->peripherals[i]->name);
		assert_int_equal(a->peripherals[i]->register_count,
		                 b->peripherals[i]->register_count);
		for (size_t k = 0; k < a->peripherals[i]->register_count; k++)
			assert_same_register(a->peripherals[i]->registers[k],
			                     b->peripherals[i]->registers[k]);
	}
	assert_int_equal(a->rule_count, b->rule_count);
	for (size_t i = 0; i < a->rule_count; i++)
		assert_string_equal(a->rules[i]->text, b->rules[i]->text);
}

static void test_layout_copies_are_equal(void **state)
{
	struct regmap_layout *l = named_layout();
	struct regmap_place p;
	struct layout *copy;

	(void)state;
	l->max_memory = 1 << 30;
	l->page_size = 0;
	l->allocate_at_once = false;
	assert_int_equal(regmap_layout_add_rule(l, "RCC", "x", NULL), 0);
	assert_int_equal(finish(l), 0);
	assert_int_equal(regmap__layout_copy(l, &copy), 0);
	assert_same_layout(l, &copy->pub);
	regmap_layout_free(l);
	assert_int_equal(regmap_layout_find(&copy->pub, "rcc.apb2enr.usart1en", &p), 0);
	assert_true(copy->is_finished);
	regmap_layout_free(&copy->pub);
}

static void test_layout_swaps(void **state)
{
	struct regmap_layout *a = named_layout(), *b = new_layout();
	struct regmap_place p;

	(void)state;
	regmap__layout_swap(layout_of(a), layout_of(b));
	assert_int_equal(regmap_layout_find(a, "RCC", &p), -ENOENT);
	assert_int_equal(regmap_layout_find(b, "RCC", &p), 0);
	regmap_layout_free(a);
	regmap_layout_free(b);
}

/* --- size --- */

/* Were any of this quadratic, the test would not end in time. */
static void test_layout_takes_ten_thousand_regions(void **state)
{
	struct regmap_layout *l = new_layout();
	enum { COUNT = 10007 };
	struct regmap_place p;
	struct layout *copy;
	char name[32];

	(void)state;
	for (uint64_t i = 0; i < COUNT; i++) {
		uint64_t k = i * 7919 % COUNT;

		snprintf(name, sizeof(name), "R%u", (unsigned)k);
		add_ram(l, name, k << 12, 0x800);
	}
	add_kind(l, REGMAP_REGION_RAM, "all", 0, (uint64_t)COUNT << 12, 0);
	assert_int_equal(finish(l), 0);
	for (uint64_t i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "R%u", (unsigned)i);
		assert_int_equal(regmap_layout_find(l, name, &p), 0);
		assert_int_equal(p.address, i << 12);
		assert_int_equal(regmap_layout_find_at(l, (i << 12) + 0x7ff, &p), 0);
		assert_string_equal(p.region->name, name);
		assert_int_equal(regmap_layout_find_at(l, (i << 12) + 0x800, &p), 0);
		assert_string_equal(p.region->name, "all");
	}
	assert_int_equal(regmap__layout_copy(l, &copy), 0);
	assert_int_equal(copy->pub.region_count, COUNT + 1);
	regmap_layout_free(&copy->pub);
	regmap_layout_free(l);
}

static void test_layout_takes_a_hundred_thousand_registers(void **state)
{
	struct regmap_layout *l = new_layout();
	struct regmap_place p;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "P%u", i);
		add_peripheral(l, name, (uint64_t)i << 12, 0x1000);
		for (unsigned k = 0; k < 1000; k++) {
			char reg[32];

			snprintf(reg, sizeof(reg), "REG%u", k);
			add_register(l, name, reg, 4 * (k * 7 % 1000), 4);
		}
	}
	assert_int_equal(finish(l), 0);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "p%u.reg%u", i / 1000, i % 1000);
		assert_int_equal(regmap_layout_find(l, name, &p), 0);
		assert_int_equal(p.address, ((uint64_t)(i / 1000) << 12) + 4 * (i * 7 % 1000));
		assert_int_equal(regmap_layout_find_at(l, p.address + 3, &p), 0);
	}
	regmap_layout_free(l);
}

/* Aliases of aliases, as deep as there are regions. */
static void test_layout_follows_long_chains(void **state)
{
	struct regmap_layout *l = new_layout();
	char name[32];

	(void)state;
	add_ram(l, "end", 0, 0x100);
	for (unsigned i = 1; i <= 5000; i++) {
		snprintf(name, sizeof(name), "A%u", i);
		add_kind(l, REGMAP_REGION_ALIAS, name, (uint64_t)i << 12, 0x100,
		         (uint64_t)(i - 1) << 12);
	}
	assert_int_equal(finish(l), 0);
	regmap_layout_free(l);
}

/* --- messages --- */

static void test_layout_messages_are_one_line(void **state)
{
	struct regmap_source at = {"a.svd", 3, 9};
	char large[1000];

	(void)state;
	assert_int_equal(regmap__layout_wrong(&error, -EINVAL, &at, "x\n%s\t", "y\r"), -EINVAL);
	assert_string_equal(error.text, "a.svd:3:9: x y  ");
	at.line = 0;
	regmap__layout_wrong(&error, -1, &at, "x");
	assert_string_equal(error.text, "a.svd: x");
	assert_int_equal(error.line, 0);
	at.line = 5, at.column = 0;
	regmap__layout_wrong(&error, -1, &at, "x");
	assert_string_equal(error.text, "a.svd:5: x");
	regmap__layout_wrong(&error, -1, NULL, "x");
	assert_string_equal(error.text, "x");
	assert_string_equal(error.file, "");
	memset(large, 'a', sizeof(large) - 1), large[sizeof(large) - 1] = 0;
	at.file = large;
	regmap__layout_wrong(&error, -1, &at, "%s", large);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
	assert_int_equal(strlen(error.file), sizeof(error.file) - 1);
	assert_int_equal(regmap__layout_wrong(NULL, -7, &at, "x"), -7);
}

/* --- memory that runs out --- */

static int build(struct regmap_layout **out)
{
	struct regmap_field field = {.name = "F", .width = 1};
	const struct regmap_field *fields[] = {&field};
	struct regmap_register reg = {.name = "R", .width = 4, .fields = fields, .field_count = 1};
	const struct regmap_register *regs[] = {&reg};
	struct regmap_peripheral p = {.name = "P",
	                              .address = 0x1000,
	                              .length = 0x100,
	                              .registers = regs,
	                              .register_count = 1};
	struct regmap_space space = {.name = "data"};
	struct regmap_region r = region("SRAM", 0, 0x100);
	int err = regmap_layout_new("Chip", out);

	if (!err)
		err = regmap_layout_add_space(*out, &space, NULL);
	if (!err)
		err = regmap_layout_add_region(*out, &r, NULL);
	if (!err)
		err = regmap_layout_add_peripheral(*out, &p, NULL);
	for (unsigned i = 0; i < 100 && !err; i++) {
		char name[200];

		snprintf(name, sizeof(name), "R%u%0150u", i, 0);
		reg.name = name;
		err = regmap_layout_add_register(*out, "P", &reg, NULL);
	}
	if (!err)
		err = regmap_layout_add_rule(*out, "P", "R = 1", NULL);
	if (!err)
		err = regmap__layout_finish(layout_of(*out), NULL);
	return err;
}

static void test_layout_survives_without_memory(void **state)
{
	struct regmap_layout *l;
	struct layout *copy;
	unsigned n = 0;
	int err;

	(void)state;
	do {
		failed = false, l = NULL;
		countdown = ++n;
		err = build(&l);
		countdown = 0;
		assert_int_equal(err, failed ? -ENOMEM : 0);
		if (failed && l) { /* what is there is whole, and takes more */
			add_ram(l, "more", 0x100000, 4);
			assert_int_equal(finish(l), 0);
		}
		if (failed)
			regmap_layout_free(l);
	} while (failed);
	assert_true(n > 5);
	n = 0;
	do {
		failed = false;
		countdown = ++n;
		err = regmap__layout_copy(l, &copy);
		countdown = 0;
		assert_int_equal(err, failed ? -ENOMEM : 0);
		assert_int_equal(!copy, failed);
		if (copy)
			regmap_layout_free(&copy->pub);
	} while (failed);
	regmap_layout_free(l);
}

#define T(name) cmocka_unit_test(test_layout_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(new_is_empty),
		T(copies_what_is_added),
		T(reset_mask_defaults_to_all),
		T(refuses_wrong_regions),
		T(sectors_make_up_their_region),
		T(refuses_regions_that_cross),
		T(crossing_names_both_places),
		T(regions_nest_in_any_order),
		T(agrees_with_a_list),
		T(reaches_the_last_address),
		T(takes_address_spaces),
		T(refuses_wrong_peripherals),
		T(refuses_wrong_registers),
		T(refuses_wrong_fields),
		T(registers_are_in_order),
		T(takes_rules_of_what_is_there),
		T(makes_regions_for_peripherals),
		T(can_be_finished_again),
		T(made_regions_leave_no_trace),
		T(made_regions_may_not_cross),
		T(registers_lie_in_a_region),
		T(views_are_of_registers_there),
		T(aliases_have_targets),
		T(bit_bands_are_32_times_their_target),
		T(reversed_aliases_are_of_words),
		T(aliases_form_no_circle),
		T(max_memory_is_kept),
		T(finds_names),
		T(case_matters_only_if_it_can),
		T(finds_elements_of_clusters),
		T(finds_names_with_prefix),
		T(finds_no_other_names),
		T(finds_addresses),
		T(finds_registers_in_registers),
		T(finds_peripherals_in_peripherals),
		T(finding_needs_no_finish),
		T(describes_addresses),
		T(prints_its_map),
		T(prints_address_spaces),
		T(copies_are_equal),
		T(swaps),
		T(takes_ten_thousand_regions),
		T(takes_a_hundred_thousand_registers),
		T(follows_long_chains),
		T(messages_are_one_line),
		T(survives_without_memory),
	};

	return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
