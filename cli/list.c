/* SPDX-License-Identifier: MIT */
/* regmap list, show */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* ---- list ------------------------------------------------------------------------------------------ */

static void list_json(const struct cli *cli)
{
	struct cli_json j = cli_json_open(stdout);

	cli_json_begin(&j, NULL, '{');
	cli_json_begin(&j, "templates", '[');
	for (const char *const *name = cli_template_names(); *name; name++) {
		struct regmap_layout *layout = cli_layout_of_template(cli, *name);

		cli_json_begin(&j, NULL, '{');
		cli_json_string(&j, "name", *name);
		cli_json_string(&j, "description", layout->description);
		cli_json_string(&j, "vendor", layout->vendor);
		cli_json_string(&j, "cpu", layout->cpu);
		cli_json_number(&j, "regions", layout->region_count);
		cli_json_number(&j, "peripherals", layout->peripheral_count);
		cli_json_end(&j, '}');
		regmap_layout_free(layout);
	}
	cli_json_end(&j, ']');
	cli_json_end(&j, '}');
}

static void list_text(const struct cli *cli)
{
	for (const char *const *name = cli_template_names(); *name; name++) {
		struct regmap_layout *layout = cli_layout_of_template(cli, *name);

		printf("%s%-12s%s ", cli_style(cli, CLI_NAME), *name, cli_style(cli, CLI_PLAIN));
		cli_put_text(stdout, layout->description);
		putchar('\n');
		regmap_layout_free(layout);
	}
}

int cli_list(int argc, char **argv)
{
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 0, 0);
	if (cli.names) {
		for (const char *const *name = cli_template_names(); *name; name++)
			puts(*name);
	} else if (cli.json) {
		list_json(&cli);
	} else {
		list_text(&cli);
	}
	return CLI_FINE;
}

/* ---- show: all of it ----------------------------------------------------------------------------- */

static void show_names(const struct regmap_layout *layout)
{
	for (size_t i = 0; i < layout->region_count; i++)
		puts(layout->regions[i]->name);
	for (size_t i = 0; i < layout->peripheral_count; i++) {
		const struct regmap_peripheral *p = layout->peripherals[i];

		puts(p->name);
		for (size_t k = 0; k < p->register_count; k++) {
			const struct regmap_register *r = p->registers[k];

			printf("%s.%s\n", p->name, r->name);
			for (size_t f = 0; f < r->field_count; f++)
				printf("%s.%s.%s\n", p->name, r->name, r->fields[f]->name);
		}
	}
}

static void show_line(const struct cli *cli, const char *key, const char *value)
{
	if (!*value)
		return;
	printf("%s%-12s%s ", cli_style(cli, CLI_BOLD), key, cli_style(cli, CLI_PLAIN));
	cli_put_text(stdout, value);
	putchar('\n');
}

static void show_count(const struct cli *cli, const struct regmap_layout *layout)
{
	size_t registers = 0, fields = 0;

	for (size_t i = 0; i < layout->peripheral_count; i++) {
		const struct regmap_peripheral *p = layout->peripherals[i];

		registers += p->register_count;
		for (size_t k = 0; k < p->register_count; k++)
			fields += p->registers[k]->field_count;
	}
	printf("%s%-12s%s %zu regions, %zu peripherals, %zu registers, %zu fields, %zu rules\n",
	       cli_style(cli, CLI_BOLD), "has", cli_style(cli, CLI_PLAIN), layout->region_count,
	       layout->peripheral_count, registers, fields, layout->rule_count);
}

static void show_space(const struct cli *cli, const struct regmap_space *space)
{
	char text[64];

	snprintf(text, sizeof(text), "at 0x%08" PRIx64, space->offset);
	printf("%s%-12s%s %s %s ", cli_style(cli, CLI_BOLD), "space", cli_style(cli, CLI_PLAIN),
	       space->name, text);
	cli_put_text(stdout, space->description);
	putchar('\n');
}

static void show_device(const struct cli *cli, const struct regmap_layout *layout)
{
	char size[24];

	show_line(cli, "name", layout->name);
	show_line(cli, "description", layout->description);
	show_line(cli, "vendor", layout->vendor);
	show_line(cli, "cpu", layout->cpu);
	show_line(cli, "license", layout->license);
	if (layout->max_memory)
		show_line(cli, "max. memory", cli_size(layout->max_memory, size));
	if (layout->space_count > 1) {
		for (size_t i = 0; i < layout->space_count; i++)
			show_space(cli, layout->spaces[i]);
	}
	show_count(cli, layout);
	putchar('\n');
	fflush(stdout);
	regmap_layout_print_map(layout, stdout);
}

/* ---- show: a place --------------------------------------------------------------------------------- */

static void bits_text(const struct regmap_field *f, char to[static 16])
{
	if (f->width == 1)
		snprintf(to, 16, "[%u]", f->lsb);
	else
		snprintf(to, 16, "[%u:%u]", f->lsb + f->width - 1, f->lsb);
}

static void show_effects(enum regmap_read_action read, enum regmap_write_action write)
{
	if (read)
		printf(", read: %s", cli_read_action(read));
	if (write)
		printf(", write: %s", cli_write_action(write));
}

static void show_field(const struct cli *cli, const struct regmap_field *f, bool with_values)
{
	char bits[16];

	bits_text(f, bits);
	printf("  %-8s %s%-14s%s %s", bits, cli_style(cli, CLI_NAME), f->name,
	       cli_style(cli, CLI_PLAIN), cli_access(f->access));
	show_effects(f->read_action, f->write_action);
	if (*f->description)
		fputs("  ", stdout);
	cli_put_text(stdout, f->description);
	putchar('\n');
	for (size_t i = 0; with_values && i < f->value_count; i++) {
		const struct regmap_enum_value *v = f->values[i];

		if (v->is_default)
			printf("             others = %s", v->name);
		else
			printf("             %" PRIu64 " = %s", v->value, v->name);
		if (*v->description)
			fputs("  ", stdout);
		cli_put_text(stdout, v->description);
		putchar('\n');
	}
}

static void show_register(const struct cli *cli, const struct regmap_place *p, unsigned digits)
{
	const struct regmap_register *r = p->reg;
	uint64_t address = p->peripheral->address + r->offset + cli->offset;

	printf("%s%s.%s%s  %s0x%0*" PRIx64 "%s  %u bits, %s", cli_style(cli, CLI_NAME),
	       p->peripheral->name, r->name, cli_style(cli, CLI_PLAIN), cli_style(cli, CLI_ADDRESS),
	       (int)digits, address, cli_style(cli, CLI_PLAIN), 8 * r->width,
	       cli_access(r->access));
	show_effects(r->read_action, r->write_action);
	printf(", reset 0x%0*" PRIx64 "\n", (int)(2 * r->width), r->reset_value);
	if (*r->description) {
		cli_put_text(stdout, r->description);
		putchar('\n');
	}
	for (size_t i = 0; i < r->field_count; i++)
		show_field(cli, r->fields[i], p->field == r->fields[i] || r->field_count == 1);
}

static void show_peripheral(const struct cli *cli, const struct regmap_peripheral *p,
                            unsigned digits)
{
	char size[24];

	printf("%s%s%s  %s0x%0*" PRIx64 "%s  %s\n", cli_style(cli, CLI_NAME), p->name,
	       cli_style(cli, CLI_PLAIN), cli_style(cli, CLI_ADDRESS), (int)digits,
	       p->address + cli->offset, cli_style(cli, CLI_PLAIN), cli_size(p->length, size));
	if (*p->description) {
		cli_put_text(stdout, p->description);
		putchar('\n');
	}
	for (size_t i = 0; i < p->interrupt_count; i++)
		printf("  interrupt %d %s\n", p->interrupts[i]->number, p->interrupts[i]->name);
	for (size_t i = 0; i < p->register_count; i++) {
		const struct regmap_register *r = p->registers[i];

		printf("  0x%03" PRIx64 "  %s%-14s%s %2u bits, %-10s reset 0x%0*" PRIx64 "%s",
		       r->offset, cli_style(cli, CLI_NAME), r->name, cli_style(cli, CLI_PLAIN),
		       8 * r->width, cli_access(r->access), (int)(2 * r->width), r->reset_value,
		       *r->description ? "  " : "");
		cli_put_text(stdout, r->description);
		putchar('\n');
	}
}

static void show_region(const struct cli *cli, const struct regmap_region *r, unsigned digits)
{
	char size[24], permissions[4];

	printf("%s%s%s  %s0x%0*" PRIx64 "%s  %s, %s, %s\n", cli_style(cli, CLI_NAME), r->name,
	       cli_style(cli, CLI_PLAIN), cli_style(cli, CLI_ADDRESS), (int)digits,
	       r->address + cli->offset, cli_style(cli, CLI_PLAIN), cli_size(r->length, size),
	       cli_region_type(r->type), cli_permissions(r->permissions, permissions));
	if (*r->description) {
		cli_put_text(stdout, r->description);
		putchar('\n');
	}
	if (r->type == REGMAP_REGION_ALIAS || r->type == REGMAP_REGION_BITBAND ||
	    r->type == REGMAP_REGION_REVERSED)
		printf("  of what is at 0x%0*" PRIx64 "\n", (int)digits, r->target + cli->offset);
}

static void show_place(const struct cli *cli, const struct regmap_layout *layout,
                       const struct regmap_place *p, const char *said)
{
	unsigned digits = cli_digits(layout, cli->offset);

	if (p->reg)
		show_register(cli, p, digits);
	else if (p->peripheral)
		show_peripheral(cli, p->peripheral, digits);
	else if (p->region)
		show_region(cli, p->region, digits);
	else
		cli_die(cli, CLI_WRONG, "nothing is at %s: `regmap map` shows what is where", said);
}

/* ---- the same as JSON ------------------------------------------------------------------------------ */

static void field_json(struct cli_json *j, const char *key, const struct regmap_field *f)
{
	cli_json_begin(j, key, '{');
	cli_json_string(j, "name", f->name);
	cli_json_string(j, "description", f->description);
	cli_json_number(j, "lsb", f->lsb);
	cli_json_number(j, "width", f->width);
	cli_json_string(j, "access", cli_access(f->access));
	if (f->read_action)
		cli_json_string(j, "read", cli_read_action(f->read_action));
	if (f->write_action)
		cli_json_string(j, "write", cli_write_action(f->write_action));
	cli_json_begin(j, "values", '[');
	for (size_t i = 0; i < f->value_count; i++) {
		cli_json_begin(j, NULL, '{');
		cli_json_string(j, "name", f->values[i]->name);
		cli_json_string(j, "description", f->values[i]->description);
		if (f->values[i]->is_default)
			cli_json_bool(j, "default", true);
		else
			cli_json_number(j, "value", f->values[i]->value);
		cli_json_end(j, '}');
	}
	cli_json_end(j, ']');
	cli_json_end(j, '}');
}

static void register_json(struct cli_json *j, const char *key, const struct regmap_register *r)
{
	cli_json_begin(j, key, '{');
	cli_json_string(j, "name", r->name);
	cli_json_string(j, "description", r->description);
	cli_json_hex(j, "offset", r->offset, 3);
	cli_json_number(j, "width", 8 * r->width);
	cli_json_string(j, "access", cli_access(r->access));
	if (r->read_action)
		cli_json_string(j, "read", cli_read_action(r->read_action));
	if (r->write_action)
		cli_json_string(j, "write", cli_write_action(r->write_action));
	cli_json_hex(j, "reset", r->reset_value, 2 * r->width);
	cli_json_begin(j, "fields", '[');
	for (size_t i = 0; i < r->field_count; i++)
		field_json(j, NULL, r->fields[i]);
	cli_json_end(j, ']');
	cli_json_end(j, '}');
}

static void peripheral_json(struct cli_json *j, const struct cli *cli,
                            const struct regmap_peripheral *p, unsigned digits, bool with_registers)
{
	cli_json_begin(j, "peripheral", '{');
	cli_json_string(j, "name", p->name);
	cli_json_string(j, "description", p->description);
	cli_json_hex(j, "address", p->address + cli->offset, digits);
	cli_json_number(j, "size", p->length);
	if (with_registers) {
		cli_json_begin(j, "registers", '[');
		for (size_t i = 0; i < p->register_count; i++)
			register_json(j, NULL, p->registers[i]);
		cli_json_end(j, ']');
	}
	cli_json_end(j, '}');
}

static void region_json(struct cli_json *j, const struct cli *cli, const struct regmap_region *r,
                        unsigned digits)
{
	char permissions[4];

	cli_json_begin(j, "region", '{');
	cli_json_string(j, "name", r->name);
	cli_json_string(j, "description", r->description);
	cli_json_hex(j, "address", r->address + cli->offset, digits);
	cli_json_number(j, "size", r->length);
	cli_json_string(j, "type", cli_region_type(r->type));
	cli_json_string(j, "permissions", cli_permissions(r->permissions, permissions));
	cli_json_end(j, '}');
}

static void place_json(const struct cli *cli, const struct regmap_layout *layout,
                       const struct regmap_place *p)
{
	unsigned digits = cli_digits(layout, cli->offset);
	struct cli_json j = cli_json_open(stdout);

	cli_json_begin(&j, NULL, '{');
	cli_json_hex(&j, "address", p->address + cli->offset, digits);
	if (p->region)
		region_json(&j, cli, p->region, digits);
	if (p->peripheral)
		peripheral_json(&j, cli, p->peripheral, digits, !p->reg);
	if (p->reg)
		register_json(&j, "register", p->reg);
	if (p->field)
		field_json(&j, "field", p->field);
	cli_json_end(&j, '}');
}

int cli_show(int argc, char **argv)
{
	struct regmap_layout *layout;
	struct regmap_place place;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, 2);
	layout = cli_layout(&cli, cli.arguments[0]);
	if (cli.argument_count == 2) {
		cli_place(&cli, layout, cli.arguments[1], &place);
		if (!place.region && !place.peripheral)
			show_place(&cli, layout, &place, cli.arguments[1]);
		if (cli.json)
			place_json(&cli, layout, &place);
		else
			show_place(&cli, layout, &place, cli.arguments[1]);
	} else if (cli.names) {
		show_names(layout);
	} else if (cli.json) {
		cli_print_layout(&cli, layout, REGMAP_FORMAT_JSON);
	} else {
		show_device(&cli, layout);
	}
	regmap_layout_free(layout);
	return CLI_FINE;
}
