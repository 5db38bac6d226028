/* SPDX-License-Identifier: MIT */
/* regmap check: all that is wrong with descriptions. Findings are the result: they go to stdout. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct checker {
	const struct cli *cli;
	struct cli_json *j;        /* NULL: text */
	unsigned errors, warnings; /* of the present file */
};

/* The library's text starts with the place: what kind it is goes in between, as compilers have it. */
static const char *behind_place(const struct regmap_error *found, char place[static 320])
{
	int n = found->line ? snprintf(place, 320, "%s:%u:%u: ", found->file, found->line,
	                               found->column) :
	                      snprintf(place, 320, "%s: ", found->file);

	if (found->file[0] && !strncmp(found->text, place, n))
		return found->text + n;
	place[0] = 0;
	return found->text;
}

static void finding(void *ctx, bool is_error, const struct regmap_error *found)
{
	struct checker *c = ctx;
	char place[320];
	const char *text = behind_place(found, place);

	if (is_error)
		c->errors++;
	else
		c->warnings++;
	if (!c->j) {
		printf("%s%s%s%s: ", place, cli_style(c->cli, is_error ? CLI_BAD : CLI_CAUTION),
		       is_error ? "error" : "warning", cli_style(c->cli, CLI_PLAIN));
		cli_put_text(stdout, text);
		putchar('\n');
		return;
	}
	cli_json_begin(c->j, NULL, '{');
	cli_json_string(c->j, "severity", is_error ? "error" : "warning");
	cli_json_string(c->j, "message", text);
	cli_json_string(c->j, "file", found->file);
	if (found->line) {
		cli_json_number(c->j, "line", found->line);
		cli_json_number(c->j, "column", found->column);
	}
	cli_json_end(c->j, '}');
}

static void say_count(const struct checker *c, const char *path)
{
	if (!c->errors && !c->warnings)
		printf("%s: %sfine%s\n", path, cli_style(c->cli, CLI_GOOD),
		       cli_style(c->cli, CLI_PLAIN));
	else
		printf("%s: %u error%s, %u warning%s\n", path, c->errors, c->errors == 1 ? "" : "s",
		       c->warnings, c->warnings == 1 ? "" : "s");
}

/* What can't be read is an error of that file, and the others are looked at all the same. */
static void check_file(struct checker *c, const char *path)
{
	int n;

	c->errors = c->warnings = 0;
	n = regmap_layout_check_file(path, REGMAP_FORMAT_AUTO, finding, c);
	if (n < 0 && !c->errors) {
		struct regmap_error error = {0};

		snprintf(error.file, sizeof(error.file), "%s", path);
		snprintf(error.text, sizeof(error.text), "%s: it can't be read: %s", path,
		         regmap_strerror(n));
		finding(c, true, &error);
	}
}

int cli_check(int argc, char **argv)
{
	struct cli_json j = cli_json_open(stdout);
	struct checker c = {0};
	bool wrong = false;
	struct cli cli;

	cli_options(&cli, argc, argv);
	cli_want(&cli, 1, -1);
	c.cli = &cli;
	c.j = cli.json ? &j : NULL;
	if (c.j) {
		cli_json_begin(&j, NULL, '{');
		cli_json_begin(&j, "files", '[');
	}
	for (int i = 0; i < cli.argument_count; i++) {
		if (c.j) {
			cli_json_begin(&j, NULL, '{');
			cli_json_string(&j, "file", cli.arguments[i]);
			cli_json_begin(&j, "findings", '[');
		}
		check_file(&c, cli.arguments[i]);
		wrong |= c.errors || (cli.strict && c.warnings);
		if (c.j) {
			cli_json_end(&j, ']');
			cli_json_number(&j, "errors", c.errors);
			cli_json_number(&j, "warnings", c.warnings);
			cli_json_end(&j, '}');
		} else {
			say_count(&c, cli.arguments[i]);
		}
	}
	if (c.j) {
		cli_json_end(&j, ']');
		cli_json_end(&j, '}');
	}
	return wrong ? CLI_WRONG : CLI_FINE;
}
