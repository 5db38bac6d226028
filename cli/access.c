/* SPDX-License-Identifier: MIT */
/* regmap read, write: accesses as the bus would make them, to a device after a reset. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

enum { MOST_AT_ONCE = 1 << 30 };

/* ---- accesses -------------------------------------------------------------------------------------- */

/* In pieces of the width that was asked for, or all at once. */
static int access_bytes(struct regmap_device *device, bool is_write, uint64_t guest, uint8_t *bytes,
                        uint64_t length, unsigned width, uint64_t *at)
{
	uint64_t step = width ? width : length;
	int err = 0;

	for (uint64_t i = 0; i < length && !err; i += step) {
		*at = guest + i;
		err = is_write ? regmap_device_write(device, *at, bytes + i, step) :
		                 regmap_device_read(device, *at, bytes + i, step);
	}
	return err;
}

static uint64_t little(const uint8_t *bytes, unsigned width)
{
	uint64_t value = 0;

	for (unsigned i = width; i--;)
		value = value << 8 | bytes[i];
	return value;
}

static uint8_t *read_bytes(const struct cli *cli, struct regmap_device *device, uint64_t guest,
                           uint64_t length)
{
	const struct regmap_layout *layout = regmap_device_layout(device);
	uint64_t at = guest;
	uint8_t *bytes;
	int err;

	if (length > MOST_AT_ONCE)
		cli_usage(cli, "%" PRIu64 " bytes are too many at once: 1 GB is the most", length);
	if (cli->width && length % cli->width)
		cli_usage(cli, "%" PRIu64 " bytes are not a multiple of %u bits", length,
		          8 * cli->width);
	bytes = cli_alloc(length);
	err = access_bytes(device, false, guest, bytes, length, cli->width, &at);
	if (err)
		cli_refused(cli, layout, err, "read", at, cli->width ? cli->width : length);
	return bytes;
}

/* ---- how bytes are shown --------------------------------------------------------------------------- */

static void put_dump_line(FILE *to, const struct cli *cli, uint64_t address, unsigned digits,
                          const uint8_t *bytes, unsigned n, bool color)
{
	fprintf(to, "%s0x%0*" PRIx64 "%s ", color ? cli_style(cli, CLI_ADDRESS) : "", (int)digits,
	        address, color ? cli_style(cli, CLI_PLAIN) : "");
	for (unsigned i = 0; i < 16; i++) {
		if (i < n)
			fprintf(to, " %02x", bytes[i]);
		else
			fputs("   ", to);
		if (i == 7)
			fputc(' ', to);
	}
	fputs("  |", to);
	for (unsigned i = 0; i < n; i++)
		fputc(bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '.', to);
	fputs("|\n", to);
}

/* Lines that repeat the one before are a '*', as hexdump(1) has it. */
static void put_dump(FILE *to, const struct cli *cli, uint64_t address, unsigned digits,
                     const uint8_t *bytes, uint64_t length, bool color)
{
	bool skipping = false;

	for (uint64_t i = 0; i < length; i += 16) {
		unsigned n = length - i < 16 ? length - i : 16;

		if (i && i + 16 < length && !memcmp(bytes + i, bytes + i - 16, 16)) {
			if (!skipping)
				fputs("*\n", to);
			skipping = true;
			continue;
		}
		skipping = false;
		put_dump_line(to, cli, address + i, digits, bytes + i, n, color);
	}
}

static void put_values(FILE *to, const struct cli *cli, uint64_t address, unsigned digits,
                       const uint8_t *bytes, uint64_t length, bool color)
{
	unsigned width = cli->width ? cli->width : length % 4 || address % 4 ? 1 : 4;

	for (uint64_t i = 0; i < length; i += width)
		fprintf(to, "%s0x%0*" PRIx64 "%s  0x%0*" PRIx64 "\n",
		        color ? cli_style(cli, CLI_ADDRESS) : "", (int)digits, address + i,
		        color ? cli_style(cli, CLI_PLAIN) : "", (int)(2 * width),
		        little(bytes + i, width));
}

static void put_bytes(const struct cli *cli, uint64_t address, unsigned digits,
                      const uint8_t *bytes, uint64_t length)
{
	const char *format = cli->format ? cli->format : "dump";
	bool is_raw = !strcmp(format, "raw"), color = !cli->output;
	char *text = NULL;
	size_t n = 0;
	FILE *to;

	if (is_raw && !cli->output && isatty(STDOUT_FILENO))
		cli_usage(cli, "raw bytes would garble the terminal: add --output=FILE");
	if (is_raw) {
		cli_put_file(cli, cli->output ? cli->output : "-", bytes, length);
		return;
	}
	to = open_memstream(&text, &n);
	if (!to)
		cli_die(cli, CLI_SYSTEM, "no memory for the output");
	if (!strcmp(format, "values"))
		put_values(to, cli, address, digits, bytes, length, color);
	else
		put_dump(to, cli, address, digits, bytes, length, color);
	if (fclose(to))
		cli_die(cli, CLI_SYSTEM, "no memory for the output");
	cli_put_file(cli, cli->output ? cli->output : "-", text, n);
	free(text);
}

/* ---- registers ------------------------------------------------------------------------------------- */

static uint64_t field_of(uint64_t value, const struct regmap_field *f)
{
	value >>= f->lsb;
	return f->width >= 64 ? value : value & ((1ull << f->width) - 1);
}

static const char *value_name(const struct regmap_field *f, uint64_t value)
{
	const char *others = "";

	for (size_t i = 0; i < f->value_count; i++) {
		if (f->values[i]->is_default)
			others = f->values[i]->name;
		else if (f->values[i]->value == value && f->values[i]->usage != REGMAP_WRITE)
			return f->values[i]->name;
	}
	return others;
}

static void put_fields(const struct cli *cli, const struct regmap_register *r, uint64_t value)
{
	for (size_t i = 0; i < r->field_count; i++) {
		const struct regmap_field *f = r->fields[i];
		uint64_t v = field_of(value, f);
		const char *name = value_name(f, v);
		char bits[16];

		if (f->width == 1)
			snprintf(bits, sizeof(bits), "[%u]", f->lsb);
		else
			snprintf(bits, sizeof(bits), "[%u:%u]", f->lsb + f->width - 1, f->lsb);
		printf("  %-8s %-16s %s%" PRIu64 "%s%s%s\n", bits, f->name,
		       v ? cli_style(cli, CLI_GOOD) : "", v, v ? cli_style(cli, CLI_PLAIN) : "",
		       *name ? "  " : "", name);
	}
}

static void fields_json(struct cli_json *j, const struct regmap_register *r, uint64_t value)
{
	cli_json_begin(j, "fields", '{');
	for (size_t i = 0; i < r->field_count; i++)
		cli_json_number(j, r->fields[i]->name, field_of(value, r->fields[i]));
	cli_json_end(j, '}');
}

static void register_name(const struct regmap_place *p, char to[static 320])
{
	snprintf(to, 320, "%s.%s%s%s", p->peripheral->name, p->reg->name, p->field ? "." : "",
	         p->field ? p->field->name : "");
}

static void put_register(const struct cli *cli, const struct regmap_layout *layout,
                         const struct regmap_place *p, uint64_t value)
{
	unsigned digits = cli_digits(layout, cli->offset);
	uint64_t address = p->peripheral->address + p->reg->offset + cli->offset;
	char name[320];

	register_name(p, name);
	if (cli->json) {
		struct cli_json j = cli_json_open(stdout);

		cli_json_begin(&j, NULL, '{');
		cli_json_string(&j, "name", name);
		cli_json_hex(&j, "address", address, digits);
		cli_json_number(&j, "width", p->field ? p->field->width : 8 * p->reg->width);
		cli_json_hex(&j, "value", value, p->field ? 1 : 2 * p->reg->width);
		if (!p->field)
			fields_json(&j, p->reg, value);
		cli_json_end(&j, '}');
	} else if (p->field) {
		const char *word = value_name(p->field, value);

		printf("%s%s%s  %" PRIu64 "%s%s\n", cli_style(cli, CLI_NAME), name,
		       cli_style(cli, CLI_PLAIN), value, *word ? "  " : "", word);
	} else {
		printf("%s%s%s  %s0x%0*" PRIx64 "%s  0x%0*" PRIx64 "\n", cli_style(cli, CLI_NAME),
		       name, cli_style(cli, CLI_PLAIN), cli_style(cli, CLI_ADDRESS), (int)digits,
		       address, cli_style(cli, CLI_PLAIN), (int)(2 * p->reg->width), value);
		put_fields(cli, p->reg, value);
	}
}

static void read_register(const struct cli *cli, struct regmap_device *device,
                          const struct regmap_place *p)
{
	const struct regmap_layout *layout = regmap_device_layout(device);
	uint64_t value = 0;
	char name[320];
	int err;

	register_name(p, name);
	err = regmap_device_get(device, name, &value);
	if (err)
		cli_refused(cli, layout, err, "read", p->address, p->length ? p->length : 1);
	put_register(cli, layout, p, value);
}

/* ---- read ------------------------------------------------------------------------------------------ */

static void read_memory(const struct cli *cli, struct regmap_device *device, uint64_t guest,
                        uint64_t length)
{
	unsigned digits = cli_digits(regmap_device_layout(device), cli->offset);
	uint8_t *bytes = read_bytes(cli, device, guest, length);
	struct cli_json j;

	if (cli->json) {
		j = cli_json_open(stdout);
		cli_json_begin(&j, NULL, '{');
		cli_json_hex(&j, "address", guest + cli->offset, digits);
		cli_json_number(&j, "length", length);
		cli_json_bytes(&j, "bytes", bytes, length);
		if (cli->width) {
			cli_json_begin(&j, "values", '[');
			for (uint64_t i = 0; i < length; i += cli->width)
				cli_json_hex(&j, NULL, little(bytes + i, cli->width),
				             2 * cli->width);
			cli_json_end(&j, ']');
		}
		cli_json_end(&j, '}');
	} else {
		put_bytes(cli, guest + cli->offset, digits, bytes, length);
	}
	free(bytes);
}

/* A register's own address, without a length, is the register; any other address a word. */
static bool is_register(const struct cli *cli, const struct regmap_place *p)
{
	if (!p->reg || cli->argument_count > 2 || cli->format || cli->width)
		return false;
	return p->field || p->address == p->peripheral->address + p->reg->offset;
}

static uint64_t default_length(const struct cli *cli, const struct regmap_place *p)
{
	if (cli->width && !p->length)
		return cli->width;
	if (p->reg)
		return p->reg->width;
	return p->length ? p->length : 4;
}

int cli_read(int argc, char **argv)
{
	struct regmap_layout *layout;
	struct regmap_device *device;
	struct regmap_place place;
	uint64_t length;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 2, 3);
	if (cli.json && (cli.format || cli.output))
		cli_usage(&cli, "--json says how to print already");
	layout = cli_layout(&cli, cli.arguments[0]);
	cli_place(&cli, layout, cli.arguments[1], &place);
	device = cli_device(&cli, layout);
	length = default_length(&cli, &place);
	if (cli.argument_count > 2)
		length = cli_want_number(&cli, "the length", cli.arguments[2]);
	if (!length)
		cli_usage(&cli, "a length of 0 bytes: there is nothing to read");
	if (is_register(&cli, &place))
		read_register(&cli, device, &place);
	else
		read_memory(&cli, device, place.address, length);
	regmap_device_free(device);
	regmap_layout_free(layout);
	return CLI_FINE;
}

/* ---- write ----------------------------------------------------------------------------------------- */

struct value {
	uint8_t *bytes;
	uint64_t length; /* 0: it is a number */
	uint64_t number;
};

static int hex_digit(char c)
{
	return isdigit((unsigned char)c)  ? c - '0' :
	       isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 :
	                                    -1;
}

static void hex_value(const struct cli *cli, const char *text, struct value *v)
{
	v->bytes = cli_alloc(strlen(text) / 2 + 1);
	for (; *text; text += 2) {
		if (hex_digit(text[0]) < 0 || hex_digit(text[1]) < 0)
			cli_usage(cli, "hex:...%s: two hex digits make a byte", text);
		v->bytes[v->length++] = hex_digit(text[0]) << 4 | hex_digit(text[1]);
	}
}

static struct value want_value(const struct cli *cli, const char *text)
{
	struct value v = {0};
	size_t length = 0;

	if (text[0] == '@') {
		v.bytes = (uint8_t *)cli_get_file(cli, text + 1, &length);
		v.length = length;
	} else if (!strncmp(text, "text:", 5)) {
		v.bytes = (uint8_t *)strdup(text + 5);
		v.length = strlen(text + 5);
	} else if (!strncmp(text, "hex:", 4)) {
		hex_value(cli, text + 4, &v);
	} else {
		v.number = cli_want_number(cli, "the value", text);
		return v;
	}
	if (!v.length)
		cli_usage(cli, "'%s' has no bytes", text);
	return v;
}

/* A number at an address: as wide as the register there, or as --width says, or a word. */
static unsigned width_for(const struct cli *cli, const struct regmap_place *p)
{
	if (cli->width)
		return cli->width;
	if (p->reg && p->address == p->peripheral->address + p->reg->offset)
		return p->reg->width;
	return 4;
}

static void write_number(const struct cli *cli, struct regmap_device *device,
                         const struct regmap_place *p, uint64_t number)
{
	unsigned width = width_for(cli, p);
	uint8_t bytes[8];
	int err;

	if (width < 8 && number >> 8 * width)
		cli_usage(cli,
		          "0x%" PRIx64 " has more than %u bits: say --width, or a smaller value",
		          number, 8 * width);
	for (unsigned i = 0; i < 8; i++)
		bytes[i] = number >> 8 * i;
	err = regmap_device_write(device, p->address, bytes, width);
	if (err)
		cli_refused(cli, regmap_device_layout(device), err, "write", p->address, width);
}

static void write_field(const struct cli *cli, struct regmap_device *device,
                        const struct regmap_place *p, uint64_t number)
{
	char name[320];
	int err;

	register_name(p, name);
	err = regmap_device_set(device, name, number);
	if (err == -ERANGE)
		cli_usage(cli, "%" PRIu64 " doesn't fit into %s: it has %u bit%s", number, name,
		          p->field->width, p->field->width == 1 ? "" : "s");
	if (err)
		cli_refused(cli, regmap_device_layout(device), err, "write", p->address, 1);
}

static void write_one(const struct cli *cli, struct regmap_device *device, const char *place_text,
                      const char *value_text)
{
	const struct regmap_layout *layout = regmap_device_layout(device);
	struct value v = want_value(cli, value_text);
	struct regmap_place place;
	uint64_t at;
	int err;

	cli_place(cli, layout, place_text, &place);
	if (v.length) {
		if (cli->width && v.length % cli->width)
			cli_usage(cli, "%" PRIu64 " bytes are not a multiple of %u bits", v.length,
			          8 * cli->width);
		at = place.address;
		err = access_bytes(device, true, place.address, v.bytes, v.length, cli->width, &at);
		if (err)
			cli_refused(cli, layout, err, "write", at,
			            cli->width ? cli->width : v.length);
	} else if (place.field) {
		write_field(cli, device, &place, v.number);
	} else {
		write_number(cli, device, &place, v.number);
	}
	free(v.bytes);
}

static void write_all(const struct cli *cli, struct regmap_device *device)
{
	char *text;

	if (cli->argument_count == 3 && !strchr(cli->arguments[1], '=')) {
		write_one(cli, device, cli->arguments[1], cli->arguments[2]);
		return;
	}
	for (int i = 1; i < cli->argument_count; i++) {
		text = strchr(cli->arguments[i], '=');
		if (!text)
			cli_usage(cli, "'%s' says no value: write PLACE=VALUE", cli->arguments[i]);
		*text = 0;
		write_one(cli, device, cli->arguments[i], text + 1);
	}
}

/* ---- what became of it ------------------------------------------------------------------------------ */

static size_t register_count(const struct regmap_layout *layout)
{
	size_t n = 0;

	for (size_t i = 0; i < layout->peripheral_count; i++)
		n += layout->peripherals[i]->register_count;
	return n;
}

/* From inside, so that looking changes nothing. */
static uint64_t *peek_all(struct regmap_device *device)
{
	const struct regmap_layout *layout = regmap_device_layout(device);
	uint64_t *values = cli_alloc(register_count(layout) * sizeof(*values));
	size_t n = 0;

	for (size_t i = 0; i < layout->peripheral_count; i++) {
		for (size_t k = 0; k < layout->peripherals[i]->register_count; k++, n++) {
			struct regmap_place p = {.peripheral = layout->peripherals[i],
			                         .reg = layout->peripherals[i]->registers[k]};
			char name[320];

			register_name(&p, name);
			if (regmap_device_peek(device, name, &values[n]))
				values[n] = 0;
		}
	}
	return values;
}

static void put_changed_fields(const struct cli *cli, const struct regmap_register *r, uint64_t was,
                               uint64_t is)
{
	for (size_t i = 0; i < r->field_count; i++) {
		const struct regmap_field *f = r->fields[i];

		if (field_of(was, f) != field_of(is, f))
			printf("  %s%-16s%s %" PRIu64 " %s %" PRIu64 "\n", cli_style(cli, CLI_NAME),
			       f->name, cli_style(cli, CLI_PLAIN), field_of(was, f),
			       cli_has_utf8() ? "→" : "->", field_of(is, f));
	}
}

static void put_change(const struct cli *cli, struct cli_json *j, const struct regmap_place *p,
                       uint64_t was, uint64_t is)
{
	int digits = 2 * p->reg->width;
	char name[320];

	register_name(p, name);
	if (j) {
		cli_json_begin(j, NULL, '{');
		cli_json_string(j, "name", name);
		cli_json_hex(j, "before", was, digits);
		cli_json_hex(j, "after", is, digits);
		cli_json_end(j, '}');
		return;
	}
	printf("%s%s%s  0x%0*" PRIx64 " %s 0x%0*" PRIx64 "\n", cli_style(cli, CLI_NAME), name,
	       cli_style(cli, CLI_PLAIN), digits, was, cli_has_utf8() ? "→" : "->", digits, is);
	put_changed_fields(cli, p->reg, was, is);
}

static void put_changes(const struct cli *cli, struct regmap_device *device, const uint64_t *before)
{
	const struct regmap_layout *layout = regmap_device_layout(device);
	struct cli_json json = cli_json_open(stdout), *j = cli->json ? &json : NULL;
	uint64_t *after = peek_all(device);
	size_t n = 0;

	if (j) {
		cli_json_begin(j, NULL, '{');
		cli_json_begin(j, "changed", '[');
	}
	for (size_t i = 0; i < layout->peripheral_count; i++) {
		for (size_t k = 0; k < layout->peripherals[i]->register_count; k++, n++) {
			struct regmap_place p = {.peripheral = layout->peripherals[i],
			                         .reg = layout->peripherals[i]->registers[k]};

			if (before[n] != after[n])
				put_change(cli, j, &p, before[n], after[n]);
		}
	}
	if (j) {
		cli_json_end(j, ']');
		cli_json_end(j, '}');
	}
	free(after);
}

/* A region by its name; or all flash, ROM and storage would be a guess, so a place is needed. */
static void save(const struct cli *cli, struct regmap_device *device, const struct cli_save *save)
{
	struct regmap_error error = {0};
	struct regmap_place place;
	int err;

	if (!save->place)
		cli_usage(cli, "--save=%s: say of what: --save=SRAM=%s", save->path, save->path);
	cli_place(cli, regmap_device_layout(device), save->place, &place);
	if (!place.length)
		cli_usage(cli, "--save=%s: name a region or a peripheral", save->place);
	err = regmap_device_save_file(device, place.address, place.length, save->path,
	                              cli_image_format(save->path) == REGMAP_IMAGE_AUTO ?
	                                      REGMAP_IMAGE_RAW :
	                                      cli_image_format(save->path),
	                              &error);
	if (err)
		cli_fail(cli, err, &error);
}

int cli_write(int argc, char **argv)
{
	struct regmap_layout *layout;
	struct regmap_device *device;
	uint64_t *before;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 2, -1);
	layout = cli_layout(&cli, cli.arguments[0]);
	device = cli_device(&cli, layout);
	before = peek_all(device);
	write_all(&cli, device);
	for (size_t i = 0; i < cli.save_count; i++)
		save(&cli, device, &cli.saves[i]);
	put_changes(&cli, device, before);
	free(before);
	regmap_device_free(device);
	regmap_layout_free(layout);
	return CLI_FINE;
}
