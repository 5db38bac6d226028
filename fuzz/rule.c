/* SPDX-License-Identifier: MIT */
/*
 * Rules made of words by chance, compiled against a small layout; and accesses to that. What follows
 * must be right after each, whatever came before.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe/layout.h"
#include "device/registers_access.h"

enum { MOST_RULES = 8, MOST_TEXT = 400, REGISTERS = 6 };
#define BASE 0x40000000ull

static const char *const words[] = {
	" on ",
	" before ",
	" ignore ",
	" refuse ",
	"read ",
	"write ",
	"set ",
	"clear ",
	"change ",
	"reset ",
	"program ",
	"if ",
	": ",
	"; ",
	" = ",
	"A",
	"B",
	"C",
	"D",
	".F",
	".G",
	"P.",
	"Q.",
	"F",
	"G",
	"$x",
	"$y",
	"value",
	"old",
	"address",
	"after ",
	"erase",
	"reset(Q)",
	"device",
	"Flash",
	"\"Flash\"",
	"(",
	")",
	",",
	" ? ",
	" || ",
	" && ",
	" | ",
	" ^ ",
	" & ",
	" == ",
	" != ",
	" < ",
	" <= ",
	" > ",
	" >= ",
	" << ",
	" >> ",
	" + ",
	" - ",
	" * ",
	" / ",
	" % ",
	"!",
	"~",
	"0",
	"1",
	"3",
	"0xffff",
	"on write A: ",
	"P.A = ",
	"on read ",
	"ignore write A if ",
	"A.F = ",
	"Q.A.G = ",
	"after 2: ",
	"63",
};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

struct input {
	const uint8_t *at, *end;
};

static uint8_t take(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

/* Bytes from 0x80 on are words, others are themselves; a zero ends it. */
static void take_text(struct input *in, char *to)
{
	char *at = to;

	for (uint8_t byte; (byte = take(in)) && at - to < MOST_TEXT;) {
		if (byte >= 0x80)
			at += sprintf(at, "%s", words[byte % WORDS]);
		else
			*at++ = (char)byte;
	}
	*at = '\0';
}

static void add_register(struct regmap_layout *layout, const char *peripheral, const char *name,
                         uint64_t offset, unsigned width, uint8_t how)
{
	const struct regmap_field f = {.name = "F", .lsb = 0, .width = 3};
	const struct regmap_field g = {.name = "G", .lsb = 5, .width = 8 * width - 5};
	const struct regmap_field *const fields[] = {&f, &g};
	const struct regmap_register reg = {
		.name = name,
		.offset = offset,
		.width = width,
		.access = how % 5,
		.read_action = how / 5 % 3,
		.write_action = how / 15 % 9,
		.reset_value = how * 0x0101010101010101ull & ~0ull >> (64 - 8 * width),
		.reset_mask = ~0ull >> (64 - 8 * width),
		.fields = fields,
		.field_count = 2,
	};

	if (regmap_layout_add_register(layout, peripheral, &reg, NULL))
		die("the layout is wrong");
}

static struct regmap_layout *lay(struct input *in)
{
	static const struct regmap_region regions[] = {
		{.name = "Flash",
	         .address = 0x8000000,
	         .length = 0x1000,
	         .permissions = 5,
	         .type = REGMAP_REGION_FLASH},
		{.name = "APB",
	         .address = BASE,
	         .length = 0x100,
	         .permissions = 3,
	         .type = REGMAP_REGION_MMIO},
	};
	const struct regmap_peripheral p = {.name = "P", .address = BASE, .length = 0x40};
	const struct regmap_peripheral q = {.name = "Q", .address = BASE + 0x40, .length = 0x40};
	struct regmap_layout *layout;

	if (regmap_layout_new("fuzz", &layout) ||
	    regmap_layout_add_region(layout, &regions[0], NULL) ||
	    regmap_layout_add_region(layout, &regions[1], NULL) ||
	    regmap_layout_add_peripheral(layout, &p, NULL) ||
	    regmap_layout_add_peripheral(layout, &q, NULL))
		die("the layout is wrong");
	add_register(layout, "P", "A", 0, 4, take(in));
	add_register(layout, "P", "B", 4, 4, take(in));
	add_register(layout, "P", "C", 8, 8, take(in));
	add_register(layout, "P", "D", 0x16, 4, take(in));
	add_register(layout, "Q", "A", 0, 2, take(in));
	add_register(layout, "Q", "B", 2, 1, take(in));
	return layout;
}

static void add_rules(struct regmap_layout *layout, struct input *in)
{
	static const char *const scopes[] = {"P", "", "P.A", "Q", "Q.A.F", "P.D"};
	char text[MOST_TEXT + 64];

	for (unsigned i = take(in) % MOST_RULES; i-- > 0;) {
		const char *scope = scopes[take(in) % 6];
		struct regmap_rule rule = {.text = text, .scope = scope};
		struct regmap_error error;
		struct rule *compiled;

		take_text(in, text);
		if (regmap__rule_compile(layout, &rule, &compiled, &error)) {
			if (!error.text[0])
				die("an error without a word");
			continue;
		}
		regmap__rule_free(compiled);
		if (regmap_layout_add_rule(layout, scope, text, NULL))
			die("a rule can't be added");
	}
}

static void keep(const struct regs *r, uint64_t to[REGISTERS + 2])
{
	for (size_t i = 0; i < r->cell_count && i < REGISTERS + 2; i++)
		to[i] = atomic_load(r->cells[i].stored);
}

/* All is computed anew: nothing may change. */
static void check_follows(struct regs *r)
{
	uint64_t before[REGISTERS + 2] = {0}, after[REGISTERS + 2] = {0};

	if (!r->rules)
		return;
	keep(r, before);
	regmap__rules_settle_all(r);
	keep(r, after);
	if (memcmp(before, after, sizeof(before)))
		die("what follows was wrong");
}

static void program(struct regs *r, uint8_t value)
{
	const struct programming write = {0x8000000, value, 0xff, 2};
	const struct regmap_region *flash = r->areas[0].region;

	if (!regmap__regs_ignore_program(r, flash, &write))
		regmap__regs_programmed(r, flash, &write);
}

static void access_one(struct regs *r, const struct regmap_region *apb, struct input *in)
{
	unsigned how = take(in), width = 1u << how % 4;
	uint64_t address = BASE + (take(in) & 0x7f & -width), value = 0;

	switch (how >> 2 & 3) {
	case 0: (void)!regmap__regs_read(r, apb, address, width, &value); break;
	case 1: (void)!regmap__regs_change(r, apb, address, take(in), take(in)); break;
	default:
		for (unsigned i = 0; i < width; i++)
			value = value << 8 | take(in);
		(void)!regmap__regs_write(r, apb, address, width, value);
	}
	if (how == 255)
		regmap__regs_reset(r);
	if (how == 254)
		program(r, take(in));
	check_follows(r);
}

static void live(struct regmap_layout *layout, struct input *in)
{
	struct regmap_device device = {.layout = layout};
	int checked = regmap__rules_check(layout, NULL);
	struct regmap_error error = {.text = ""};
	int err = regmap__regs_new(&device, &device.regs, &error);

	if (err != checked)
		die("the check says other things than who runs it");
	if (err)
		return;
	check_follows(device.regs);
	while (in->at < in->end)
		access_one(device.regs, device.regs->areas[1].region, in);
	regmap__regs_free(device.regs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct regmap_layout *layout = lay(&in);

	add_rules(layout, &in);
	if (regmap__layout_finish((struct layout *)layout, NULL))
		die("the layout can't be finished");
	live(layout, &in);
	regmap_layout_free(layout);
	return 0;
}
