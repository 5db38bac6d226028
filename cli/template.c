/* SPDX-License-Identifier: MIT */
/* regmap template, config, svd: load a device and say what it has. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct counts {
	size_t registers, fields;
};

static struct counts count(const struct regmap_layout *layout)
{
	struct counts n = {0};

	for (size_t i = 0; i < layout->peripheral_count; i++) {
		const struct regmap_peripheral *p = layout->peripherals[i];

		n.registers += p->register_count;
		for (size_t k = 0; k < p->register_count; k++)
			n.fields += p->registers[k]->field_count;
	}
	return n;
}

static struct regmap_device_stats allocate(const struct cli *cli, struct regmap_device *device)
{
	struct regmap_device_stats stats = {.size = sizeof(stats)};
	struct regmap_error error = {0};
	int err = 0;

	if (cli->allocate)
		err = regmap_device_allocate(device, &error);
	if (err)
		cli_fail(cli, err, &error);
	regmap_device_stats(device, &stats);
	return stats;
}

static void say_json(const struct cli *cli, const struct regmap_layout *layout,
                     const struct regmap_device_stats *stats)
{
	unsigned digits = cli_digits(layout, cli->offset);
	struct cli_json j = cli_json_open(stdout);
	struct counts n = count(layout);

	cli_json_begin(&j, NULL, '{');
	cli_json_string(&j, "name", layout->name);
	cli_json_string(&j, "description", layout->description);
	cli_json_number(&j, "regions", layout->region_count);
	cli_json_number(&j, "peripherals", layout->peripheral_count);
	cli_json_number(&j, "registers", n.registers);
	cli_json_number(&j, "fields", n.fields);
	cli_json_number(&j, "rules", layout->rule_count);
	cli_json_number(&j, "memory", stats->length);
	cli_json_bool(&j, "is_allocated", stats->is_allocated);
	if (cli->allocate)
		cli_json_number(&j, "allocated", stats->allocated);
	if (cli->print) {
		cli_json_begin(&j, "map", '[');
		for (size_t i = 0; i < layout->region_count; i++) {
			const struct regmap_region *r = layout->regions[i];
			char permissions[4];

			cli_json_begin(&j, NULL, '{');
			cli_json_string(&j, "name", r->name);
			cli_json_hex(&j, "address", r->address + cli->offset, digits);
			cli_json_number(&j, "size", r->length);
			cli_json_string(&j, "type", cli_region_type(r->type));
			cli_json_string(&j, "permissions",
			                cli_permissions(r->permissions, permissions));
			cli_json_end(&j, '}');
		}
		cli_json_end(&j, ']');
	}
	cli_json_end(&j, '}');
}

static void say(const struct cli *cli, const struct regmap_layout *layout,
                const struct regmap_device_stats *stats)
{
	struct counts n = count(layout);
	char size[24];

	printf("%s%s%s: ", cli_style(cli, CLI_NAME), cli_layout_name(layout),
	       cli_style(cli, CLI_PLAIN));
	if (*layout->description) {
		cli_put_text(stdout, layout->description);
		fputs(": ", stdout);
	}
	printf("%zu regions, %zu peripherals, %zu registers, %zu fields, %zu rules, %s of memory\n",
	       layout->region_count, layout->peripheral_count, n.registers, n.fields,
	       layout->rule_count, cli_size(stats->length, size));
	if (cli->allocate)
		printf("%sallocated%s: %s%s\n", cli_style(cli, CLI_GOOD), cli_style(cli, CLI_PLAIN),
		       cli_size(stats->allocated, size),
		       !layout->allocate_at_once        ? " (it says allocate_at_once = false)" :
		       stats->allocated < stats->length ? ", the rest as it is touched" :
		                                          "");
}

/* A device that stays lazy because the description says so is allocated all the same, as far as it may be. */
static void say_device(const struct cli *cli, const struct regmap_layout *layout)
{
	struct regmap_device *device = cli_device(cli, layout);
	struct regmap_device_stats stats = allocate(cli, device);

	if (cli->json) {
		say_json(cli, layout, &stats);
	} else {
		say(cli, layout, &stats);
		if (cli->print) {
			putchar('\n');
			regmap_device_print_map(device, stdout);
		}
	}
	regmap_device_free(device);
}

static int finish(struct cli *cli, struct regmap_layout *layout)
{
	if (cli->text)
		cli_print_layout(cli, layout, REGMAP_FORMAT_TOML);
	else
		say_device(cli, layout);
	regmap_layout_free(layout);
	return CLI_FINE;
}

int cli_template(int argc, char **argv)
{
	struct regmap_layout *layout;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, 1);
	layout = cli_layout_of_template(&cli, cli.arguments[0]);
	if (cli.text && !cli.overlay_count) { /* as it was written, with its comments */
		fputs(regmap_template_text(cli.arguments[0]), stdout);
		regmap_layout_free(layout);
		return CLI_FINE;
	}
	return finish(&cli, layout);
}

int cli_config(int argc, char **argv)
{
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, 1);
	return finish(&cli, cli_layout_of_file(&cli, cli.arguments[0], REGMAP_FORMAT_AUTO));
}

int cli_svd(int argc, char **argv)
{
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, 1);
	return finish(&cli, cli_layout_of_file(&cli, cli.arguments[0], REGMAP_FORMAT_SVD));
}
