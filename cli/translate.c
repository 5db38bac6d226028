/* SPDX-License-Identifier: MIT */
/* regmap translate: what an address is, and where a name is. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

/* What a byte of the guest's really is. */
struct original {
	uint64_t address;
	int bit; /* of a bit-band's word; -1: none */
};

static bool step(const struct regmap_region *r, struct original *o)
{
	uint64_t offset = o->address - r->address;

	switch (r->type) {
	case REGMAP_REGION_ALIAS: o->address = r->target + offset; return true;
	case REGMAP_REGION_REVERSED:
		o->address = r->target + (r->length - 4 - offset / 4 * 4) + offset % 4;
		return true;
	case REGMAP_REGION_BITBAND:
		o->address = r->target + offset / 32;
		o->bit = offset % 32 / 4;
		return true;
	default: return false;
	}
}

/* Aliases of aliases end somewhere: layouts with circles don't load. */
static struct original follow(const struct regmap_layout *layout, uint64_t address)
{
	struct original o = {address, -1};
	struct regmap_place p;

	for (unsigned i = 0; i < 64; i++) {
		if (regmap_layout_find_at(layout, o.address, &p) || !p.region ||
		    !step(p.region, &o))
			break;
	}
	return o;
}

static void put_json(const struct cli *cli, struct cli_json *j, const struct regmap_layout *layout,
                     const struct regmap_place *p, const char *said)
{
	unsigned digits = cli_digits(layout, cli->offset);
	struct original o = follow(layout, p->address);
	char text[320];

	cli_json_begin(j, NULL, '{');
	cli_json_string(j, "place", said);
	cli_json_hex(j, "address", p->address + cli->offset, digits);
	if (cli->offset)
		cli_json_hex(j, "guest", p->address, digits);
	cli_json_string(j, "name", regmap_layout_describe(layout, p->address, text, sizeof(text)));
	if (p->region) {
		cli_json_string(j, "region", p->region->name);
		cli_json_hex(j, "offset", p->address - p->region->address, 1);
		cli_json_string(j, "type", cli_region_type(p->region->type));
	}
	if (p->peripheral)
		cli_json_string(j, "peripheral", p->peripheral->name);
	if (p->reg)
		cli_json_string(j, "register", p->reg->name);
	if (o.address != p->address) {
		cli_json_begin(j, "original", '{');
		cli_json_hex(j, "address", o.address + cli->offset, digits);
		if (o.bit >= 0)
			cli_json_number(j, "bit", o.bit);
		cli_json_string(j, "name",
		                regmap_layout_describe(layout, o.address, text, sizeof(text)));
		cli_json_end(j, '}');
	}
	cli_json_end(j, '}');
}

static void put_original(const struct cli *cli, const struct regmap_layout *layout,
                         const struct original *o, unsigned digits)
{
	char text[320];

	printf("  %s ", cli_has_utf8() ? "→" : "->");
	if (o->bit >= 0)
		printf("bit %d of ", o->bit);
	printf("%s0x%0*" PRIx64 "%s %s", cli_style(cli, CLI_ADDRESS), (int)digits,
	       o->address + cli->offset, cli_style(cli, CLI_PLAIN),
	       regmap_layout_describe(layout, o->address, text, sizeof(text)));
}

static void put_text(const struct cli *cli, const struct regmap_layout *layout,
                     const struct regmap_place *p, const char *said)
{
	unsigned digits = cli_digits(layout, cli->offset);
	struct original o = follow(layout, p->address);
	char text[320];

	(void)said;
	printf("%s0x%0*" PRIx64 "%s  %s%s%s", cli_style(cli, CLI_ADDRESS), (int)digits,
	       p->address + cli->offset, cli_style(cli, CLI_PLAIN), cli_style(cli, CLI_NAME),
	       regmap_layout_describe(layout, p->address, text, sizeof(text)),
	       cli_style(cli, CLI_PLAIN));
	if (p->field)
		printf(".%s [%u:%u]", p->field->name, p->field->lsb + p->field->width - 1,
		       p->field->lsb);
	if (p->region && !p->peripheral)
		printf("  (%s)", cli_region_type(p->region->type));
	else if (p->region && strcmp(p->region->name, p->peripheral->name))
		printf("  (in %s)", p->region->name);
	if (o.address != p->address)
		put_original(cli, layout, &o, digits);
	putchar('\n');
}

/* A name in an alias is looked up by its address, too: what the region is, counts. */
static void whole_place(const struct regmap_layout *layout, struct regmap_place *p)
{
	struct regmap_place at;

	if (!p->region && !regmap_layout_find_at(layout, p->address, &at))
		p->region = at.region;
}

int cli_translate(int argc, char **argv)
{
	struct cli_json j = cli_json_open(stdout);
	struct regmap_layout *layout;
	int code = CLI_FINE;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 2, -1);
	layout = cli_layout(&cli, cli.arguments[0]);
	/* First all that may fail, so that JSON is whole or not there. */
	for (int i = 1; i < cli.argument_count; i++) {
		struct regmap_place place;

		cli_place(&cli, layout, cli.arguments[i], &place);
	}
	if (cli.json) {
		cli_json_begin(&j, NULL, '{');
		cli_json_begin(&j, "places", '[');
	}
	for (int i = 1; i < cli.argument_count; i++) {
		struct regmap_place place;

		cli_place(&cli, layout, cli.arguments[i], &place);
		whole_place(layout, &place);
		if (!place.region && !place.peripheral)
			code = CLI_WRONG;
		if (cli.json)
			put_json(&cli, &j, layout, &place, cli.arguments[i]);
		else
			put_text(&cli, layout, &place, cli.arguments[i]);
	}
	if (cli.json) {
		cli_json_end(&j, ']');
		cli_json_end(&j, '}');
	}
	regmap_layout_free(layout);
	return code;
}
