/* SPDX-License-Identifier: MIT */
/* The options of all subcommands, and what to say to those that don't exist. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "../describe/near.h"
#include "cli.h"

struct option_text {
	char letter; /* what a command's list of options calls it */
	char brief;  /* its short form; 0: it has none */
	const char *name, *argument, *help;
};

static const struct option_text options[] = {
	{'h', 'h', "help", NULL, "show this"},
	{'V', 0, "version", NULL, "show the version"},
	{'j', 'j', "json", NULL, "print JSON (documented in regmap(1))"},
	{'c', 0, "color", "WHEN", "auto, always or never; auto honours NO_COLOR"},
	{'O', 'O', "overlay", "FILE", "lay a description over it; may be repeated"},
	{'f', 'f', "offset", "N", "guest addresses are N higher, as in regmap_device_map()"},
	{'a', 'a', "allocate", NULL, "take all of its memory now, and say how much that is"},
	{'p', 'p', "print", NULL, "print the map"},
	{'t', 't', "text", NULL, "print the description itself, as TOML"},
	{'n', 'n', "names", NULL, "print the names alone, one in a line"},
	{'s', 's', "strict", NULL, "warnings count as errors"},
	{'r', 'r', "registers", NULL, "show registers, too"},
	{'S', 0, "svg", "FILE", "draw it as SVG into FILE; - is stdout"},
	{'C', 0, "width", "COLUMNS", "width of the picture; the terminal's, or 80"},
	{'i', 'i', "image", "[AT=]FILE",
         "load an image first (HEX, SREC, ELF, or raw at AT); repeatable"},
	{'w', 'w', "width", "BITS", "width of each access: 8, 16, 32, 64"},
	{'F', 'F', "format", "FORMAT", "how to print bytes: dump, values or raw"},
	{'W', 0, "save", "[PLACE=]FILE", "write memory to an image afterwards; repeatable"},
	{'T', 't', "to", "FORMAT", "toml, yaml, json; hex, srec, raw"},
	{'A', 0, "at", "ADDRESS", "where a raw image goes"},
	{'o', 'o', "output", "FILE", "write there instead of to stdout"},
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

static bool has_option(const struct cli_command *command, const struct option_text *o)
{
	return o->letter == 'h' || strchr(command->options, o->letter);
}

/* ---- numbers --------------------------------------------------------------------------------------- */

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10u : 99;
}

/* Up to what is no digit; NULL: there is none, or they are too many. */
static const char *digits(const char *s, unsigned base, uint64_t *value)
{
	bool any = false;

	for (*value = 0; digit_of(*s) < base || (any && *s == '_'); s++) {
		if (*s == '_')
			continue;
		if (__builtin_mul_overflow(*value, base, value) ||
		    __builtin_add_overflow(*value, digit_of(*s), value))
			return NULL;
		any = true;
	}
	return any ? s : NULL;
}

/* "", B, K, KB, KiB, M, ... */
static bool unit(const char *s, unsigned *shift)
{
	static const char letters[] = "KMGTPE";
	const char *letter;

	*shift = 0;
	if (!*s || !strcasecmp(s, "B"))
		return true;
	letter = strchr(letters, *s & ~0x20);
	if (!letter)
		return false;
	*shift = 10 * (letter - letters + 1);
	return !s[1] || !strcasecmp(s + 1, "B") || !strcasecmp(s + 1, "iB");
}

bool cli_number(const char *text, uint64_t *value)
{
	unsigned base = 10, shift;

	if (text[0] == '0' && (text[1] | 0x20) == 'x')
		base = 16;
	else if (text[0] == '0' && (text[1] | 0x20) == 'b')
		base = 2;
	text = digits(text + (base == 10 ? 0 : 2), base, value);
	if (text && base != 16 && *text == ' ')
		text++;
	if (!text || !unit(text, &shift) || (shift && *value >> (64 - shift)))
		return false;
	*value <<= shift;
	return true;
}

uint64_t cli_want_number(const struct cli *cli, const char *what, const char *text)
{
	uint64_t value;

	if (!cli_number(text, &value))
		cli_usage(cli, "%s '%s' is no number of 64 bits: write 0x40021000, 1024 or 4KB",
		          what, text);
	return value;
}

/* ---- suggestions ------------------------------------------------------------------------------------ */

/* At most a third of it may be other than what was said; or it is the start of just one. */
const char *cli_suggest(const char *said, const char *const *names)
{
	size_t length = strlen(said), starts = 0;
	unsigned best = 2 * (length < 3 ? 1 : (length + 2) / 3) + 1;
	const char *found = NULL, *start = NULL;

	for (; *names; names++) {
		unsigned d = regmap__edits(said, length, *names, strlen(*names), 1);

		if (d < best) {
			best = d;
			found = *names;
		}
		if (length > 1 && !strncasecmp(said, *names, length)) {
			start = *names;
			starts++;
		}
	}
	return starts == 1 && best > 1 ? start : found;
}

/* ---- options -------------------------------------------------------------------------------------- */

static _Noreturn void unknown_option(const struct cli *cli, const char *said)
{
	const char *names[OPTIONS + 1], *name = said + 2, *perhaps = NULL;
	char wanted[64];
	size_t n = 0;

	for (size_t i = 0; i < OPTIONS; i++) {
		if (has_option(cli->command, &options[i]))
			names[n++] = options[i].name;
	}
	names[n] = NULL;
	if (!strncmp(said, "--", 2)) {
		snprintf(wanted, sizeof(wanted), "%.*s", (int)strcspn(name, "="), name);
		perhaps = cli_suggest(wanted, names);
		if (perhaps)
			cli_usage(cli, "there is no option --%s: did you mean --%s?", wanted,
			          perhaps);
		cli_usage(cli, "there is no option --%s", wanted);
	}
	cli_usage(cli, "there is no option %s", said);
}

static void want_room(const struct cli *cli, size_t count, const char *name)
{
	if (count == CLI_REPEATS)
		cli_usage(cli, "--%s more than %d times", name, CLI_REPEATS);
}

static void add_overlay(struct cli *cli, const char *path)
{
	want_room(cli, cli->overlay_count, "overlay");
	cli->overlays[cli->overlay_count++] = path;
}

/* "PLACE=FILE"; a file whose name has a '=' can be given as "./a=b". */
static char *split(char *text, char **place)
{
	char *sign = strchr(text, '=');

	*place = NULL;
	if (!sign || memchr(text, '/', sign - text))
		return text;
	*sign = 0;
	*place = text;
	return sign + 1;
}

static void add_image(struct cli *cli, char *text)
{
	char *at, *path = split(text, &at);

	want_room(cli, cli->image_count, "image");
	cli->images[cli->image_count++] = (struct cli_image){at, path};
}

static void add_save(struct cli *cli, char *text)
{
	char *place, *path = split(text, &place);

	want_room(cli, cli->save_count, "save");
	cli->saves[cli->save_count++] = (struct cli_save){place, path};
}

static unsigned want_width(const struct cli *cli, const char *text)
{
	uint64_t bits = cli_want_number(cli, "the width", text);

	if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
		cli_usage(cli, "a width of %s bits: choose 8, 16, 32 or 64", text);
	return bits / 8;
}

static void want_one_of(const struct cli *cli, const char *option, const char *said,
                        const char *const *names)
{
	char all[128] = "";
	const char *perhaps = cli_suggest(said, names);

	for (size_t i = 0; names[i]; i++) {
		size_t n = strlen(all);

		if (!strcmp(said, names[i]))
			return;
		snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "", names[i]);
	}
	if (perhaps)
		cli_usage(cli, "--%s=%s: did you mean %s? There are %s", option, said, perhaps,
		          all);
	cli_usage(cli, "--%s=%s: choose one of %s", option, said, all);
}

static const char *const whens[] = {"auto", "always", "never", NULL};
static const char *const formats[] = {"dump", "values", "raw", NULL};
static const char *const targets[] = {"toml", "yaml", "json", "hex", "srec", "raw", NULL};

static void take(struct cli *cli, char letter, char *argument)
{
	switch (letter) {
	case 'h': cli_put_help(stdout, cli->command); exit(cli_end(CLI_FINE));
	case 'j': cli->json = true; break;
	case 'c':
		want_one_of(cli, "color", argument, whens);
		cli->color = cli_wants_color(argument);
		break;
	case 'O': add_overlay(cli, argument); break;
	case 'f': cli->offset = cli_want_number(cli, "the offset", argument); break;
	case 'a': cli->allocate = true; break;
	case 'p': cli->print = true; break;
	case 't': cli->text = true; break;
	case 'n': cli->names = true; break;
	case 's': cli->strict = true; break;
	case 'r': cli->registers = true; break;
	case 'S': cli->svg = argument; break;
	case 'C': cli->columns = cli_want_number(cli, "the width", argument); break;
	case 'i': add_image(cli, argument); break;
	case 'w': cli->width = want_width(cli, argument); break;
	case 'F':
		want_one_of(cli, "format", argument, formats);
		cli->format = argument;
		break;
	case 'W': add_save(cli, argument); break;
	case 'T':
		want_one_of(cli, "to", argument, targets);
		cli->to = argument;
		break;
	case 'A':
		cli->at = cli_want_number(cli, "the address", argument);
		cli->has_at = true;
		break;
	case 'o': cli->output = argument; break;
	}
}

/* For getopt: its tables, of the options that the command has. */
struct tables {
	struct option longs[OPTIONS + 1];
	char shorts[2 * OPTIONS + 3];
};

static void make_tables(const struct cli_command *command, struct tables *t)
{
	size_t n = 0, k = 0;

	memset(t, 0, sizeof(*t));
	t->shorts[k++] = ':';
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option_text *o = &options[i];

		if (!has_option(command, o))
			continue;
		t->longs[n++] = (struct option){o->name,
		                                o->argument ? required_argument : no_argument, NULL,
		                                256 + o->letter};
		if (o->brief) {
			t->shorts[k++] = o->brief;
			if (o->argument)
				t->shorts[k++] = ':';
		}
	}
}

static char letter_of(const struct cli_command *command, int got)
{
	if (got >= 256)
		return got - 256;
	for (size_t i = 0; i < OPTIONS; i++) {
		if (options[i].brief == got && has_option(command, &options[i]))
			return options[i].letter;
	}
	return 0;
}

/* A long option's own text; of a cluster of short ones the one at fault. */
static _Noreturn void wrong_option(const struct cli *cli, char **argv, int got)
{
	char brief[3] = {'-', optopt, 0};
	const char *said = argv[optind - 1];
	bool is_long = !strncmp(said, "--", 2);

	if (got == ':')
		cli_usage(cli, "option %s needs a value", is_long ? said : brief);
	if (is_long && optopt >= 256)
		cli_usage(cli, "option %.*s takes no value", (int)strcspn(said, "="), said);
	unknown_option(cli, optopt && optopt < 256 ? brief : said);
}

void cli_options(struct cli *cli, int argc, char **argv)
{
	const struct cli_command *command = cli_command_named(argv[0]);
	struct tables t;
	int got;

	*cli = (struct cli){.command = command, .color = cli_wants_color("auto")};
	/* So that a mistake before it is told as JSON, too. */
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		cli->json |= strchr(command->options, 'j') && !strcmp(argv[i], "--json");
	make_tables(command, &t);
	opterr = 0;
	optind = 0;
	while ((got = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		if (got == '?' || got == ':')
			wrong_option(cli, argv, got);
		take(cli, letter_of(command, got), optarg);
	}
	cli->arguments = argv + optind;
	cli->argument_count = argc - optind;
}

void cli_want(const struct cli *cli, int least, int most)
{
	if (cli->argument_count < least)
		cli_usage(cli, "something is missing: regmap %s %s", cli->command->name,
		          cli->command->arguments);
	if (most >= 0 && cli->argument_count > most)
		cli_usage(cli, "'%s' is one argument too many: regmap %s %s", cli->arguments[most],
		          cli->command->name, cli->command->arguments);
}

/* ---- help ------------------------------------------------------------------------------------------ */

static void put_options(FILE *to, const struct cli_command *command)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option_text *o = &options[i];
		char names[48];

		if (!has_option(command, o))
			continue;
		snprintf(names, sizeof(names), "%c%c%c --%s%s%s", o->brief ? '-' : ' ',
		         o->brief ? o->brief : ' ', o->brief ? ',' : ' ', o->name,
		         o->argument ? "=" : "", o->argument ? o->argument : "");
		fprintf(to, "  %-24s %s%s\n", names,
		        strlen(names) > 24 ? "\n                           " : "", o->help);
	}
}

void cli_put_help(FILE *to, const struct cli_command *command)
{
	fprintf(to, "Usage: regmap %s %s%s\n\n%s\n\nOptions:\n", command->name, "[OPTION]... ",
	        command->arguments, command->help);
	put_options(to, command);
}
