/* SPDX-License-Identifier: MIT */
/*
 * What the subcommands of `regmap` share. Results go to stdout, in one piece at the end of the work;
 * what is wrong goes to stderr as one line, and the process ends there: cli_die() and its kin.
 */
#ifndef CLI_H
#define CLI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <regmap/device.h>

/* Documented in regmap(1). */
enum cli_exit {
	CLI_FINE = 0,
	CLI_WRONG = 1,  /* what was asked about is wrong, or isn't there */
	CLI_USAGE = 2,  /* the command line is */
	CLI_OUTPUT = 3, /* the result couldn't be written */
	CLI_SYSTEM = 4, /* no memory, or another thing that has nothing to do with what was asked */
};

/* ---- commands ------------------------------------------------------------------------------------ */

struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
	const char *arguments;             /* "NAME|FILE [PLACE]" */
	const char *summary;
	const char *options; /* letters of what options.c has */
	const char *help;    /* what it does, and examples */
};

const struct cli_command *cli_command_named(const char *name);

int cli_list(int argc, char **argv);
int cli_show(int argc, char **argv);
int cli_template(int argc, char **argv);
int cli_config(int argc, char **argv);
int cli_svd(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_map(int argc, char **argv);
int cli_translate(int argc, char **argv);
int cli_read(int argc, char **argv);
int cli_write(int argc, char **argv);
int cli_convert(int argc, char **argv);
int cli_run(int argc, char **argv); /* reads its options itself, and has its own help */

/* ---- options --------------------------------------------------------------------------------------- */

struct cli_image {
	const char *at; /* a place; NULL: not said */
	const char *path;
};

struct cli_save {
	const char *place; /* NULL: all memory */
	const char *path;
};

enum { CLI_REPEATS = 64 }; /* of an option */

/* What the options said. */
struct cli {
	const struct cli_command *command;
	bool json, color;
	bool allocate, print, names, text, strict, registers;
	uint64_t offset, at;
	bool has_at;
	unsigned width; /* bytes; 0: not said */
	const char *format, *to, *output, *svg;
	unsigned columns; /* 0: as the terminal */
	const char *overlays[CLI_REPEATS];
	size_t overlay_count;
	struct cli_image images[CLI_REPEATS];
	size_t image_count;
	struct cli_save saves[CLI_REPEATS];
	size_t save_count;
	char **arguments; /* what is no option */
	int argument_count;
};

/* Reads the options that the command has; --help ends the process. */
void cli_options(struct cli *cli, int argc, char **argv);
/* Ends the process unless there are from @least to @most arguments; @most < 0: any number. */
void cli_want(const struct cli *cli, int least, int most);
void cli_put_help(FILE *to, const struct cli_command *command);

/* The one of @names (NULL at the end) that was perhaps meant, or NULL. */
const char *cli_suggest(const char *said, const char *const *names);

/* A number: 0x, 0b, decimal, with _ in between, and KB, MB, GB, TB behind it. */
bool cli_number(const char *text, uint64_t *value);
uint64_t cli_want_number(const struct cli *cli, const char *what, const char *text);

/* ---- ends ------------------------------------------------------------------------------------------ */

/* "regmap: " and the text on stderr, as {"error": ...} on stdout with --json; then exit(@code). */
_Noreturn void cli_die(const struct cli *cli, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with a message of the library's; @err says which exit code. */
_Noreturn void cli_fail(const struct cli *cli, int err, const struct regmap_error *error);
/* "regmap read: ...; regmap read --help says more", CLI_USAGE. */
_Noreturn void cli_usage(const struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* "regmap: warning: ..." */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* malloc() that doesn't fail. */
void *cli_alloc(size_t size);
/* Before all output: keeps what the system says of it. */
void cli_start(void);
/* What main() returns: notices a full disk. @code unless writing failed. */
int cli_end(int code);

/* ---- output ------------------------------------------------------------------------------------------ */

enum cli_style {
	CLI_PLAIN,
	CLI_BOLD,
	CLI_DIM,
	CLI_NAME,
	CLI_ADDRESS,
	CLI_GOOD,
	CLI_BAD,
	CLI_CAUTION
};

/* Escape sequences, or "" without colour. */
const char *cli_style(const struct cli *cli, enum cli_style style);
bool cli_wants_color(const char *when); /* "auto", "always", "never" */
bool cli_has_utf8(void);
unsigned cli_columns(const struct cli *cli);

/* A layout as a description, on stdout. */
void cli_print_layout(const struct cli *cli, const struct regmap_layout *layout,
                      enum regmap_format format);

/* Text of a file's on one line: control characters and runs of blanks become a blank. */
void cli_put_text(FILE *to, const char *text);
/* "128 KB", "20 KB", "528 B" */
const char *cli_size(uint64_t size, char to[static 24]);
/* "RWX", "R-X" */
const char *cli_permissions(unsigned permissions, char to[static 4]);
const char *cli_region_type(enum regmap_region_type type);
const char *cli_access(enum regmap_register_access access);
const char *cli_read_action(enum regmap_read_action action);
const char *cli_write_action(enum regmap_write_action action);
/* Digits of the addresses of a layout, for columns. */
unsigned cli_digits(const struct regmap_layout *layout, uint64_t offset);

/* A file that is there whole or not at all; "-" is stdout. */
void cli_put_file(const struct cli *cli, const char *path, const void *bytes, size_t length);
/* All of a file; "-" is stdin. Terminated. */
char *cli_get_file(const struct cli *cli, const char *path, size_t *length);

/* ---- JSON -------------------------------------------------------------------------------------------- */

/* Commas and indents are looked after. @key NULL: in a list, or outermost. */
struct cli_json {
	FILE *to;
	unsigned depth;
	bool has_members[32];
};

struct cli_json cli_json_open(FILE *to);
void cli_json_begin(struct cli_json *j, const char *key, char bracket); /* '{' or '[' */
void cli_json_end(struct cli_json *j, char bracket);                    /* '}' or ']' */
void cli_json_string(struct cli_json *j, const char *key, const char *value);
void cli_json_number(struct cli_json *j, const char *key, uint64_t value);
/* "0x40021000": JavaScript's numbers don't hold 64 bits. */
void cli_json_hex(struct cli_json *j, const char *key, uint64_t value, unsigned digits);
void cli_json_bool(struct cli_json *j, const char *key, bool value);
void cli_json_bytes(struct cli_json *j, const char *key, const uint8_t *bytes, size_t length);

/* ---- devices ----------------------------------------------------------------------------------------- */

/* A template by its name, or a file, with the overlays. Never NULL. */
struct regmap_layout *cli_layout(const struct cli *cli, const char *name_or_file);
/* With the images. */
struct regmap_device *cli_device(const struct cli *cli, const struct regmap_layout *layout);
const char *const *cli_template_names(void); /* NULL at the end */
/* Its name, or "(no name)". */
const char *cli_layout_name(const struct regmap_layout *layout);
/* With the overlays; @format is REGMAP_FORMAT_AUTO unless it must be that. */
struct regmap_layout *cli_layout_of_template(const struct cli *cli, const char *name);
struct regmap_layout *cli_layout_of_file(const struct cli *cli, const char *path,
                                         enum regmap_format format);

/* "RCC.CR", "SRAM+0x10", "0x40021000". */
void cli_place(const struct cli *cli, const struct regmap_layout *layout, const char *text,
               struct regmap_place *place);
/* One line that says why a device's answer is no. @guest: where the access begins. */
_Noreturn void cli_refused(const struct cli *cli, const struct regmap_layout *layout, int err,
                           const char *what, uint64_t guest, uint64_t length);
bool cli_region_has(const struct regmap_region *r, uint64_t address);

/* ---- the map ------------------------------------------------------------------------------------------- */

enum map_kind { MAP_REGION, MAP_PERIPHERAL, MAP_REGISTER, MAP_GAP };

/* The address space as a tree: what lies inside of what, and what lies between. */
struct map_node {
	enum map_kind kind;
	uint64_t address, last; /* of its last byte */
	const struct regmap_region *region;
	const struct regmap_peripheral *peripheral; /* a region that was made for it has both */
	const struct regmap_register *reg;
	struct map_node *children; /* by address, with gaps in between */
	size_t child_count;
};

struct map_node *cli_map_tree(const struct regmap_layout *layout, bool with_registers);
const char *cli_map_name(const struct map_node *node);
/* What an alias shows; false, and "": it is none. */
bool cli_map_target(const struct regmap_layout *layout, const struct map_node *node,
                    char to[static 200]);
uint64_t cli_map_length(const struct map_node *node); /* UINT64_MAX: all of 2^64 */
void cli_map_print(const struct cli *cli, const struct regmap_layout *layout,
                   const struct map_node *root);
void cli_map_svg(FILE *to, const struct cli *cli, const struct regmap_layout *layout,
                 const struct map_node *root);

/* ---- images -------------------------------------------------------------------------------------------- */

/* By the name's ending; REGMAP_IMAGE_AUTO: it says nothing. */
enum regmap_image_format cli_image_format(const char *path);
/* ".svd" and ".svd.bak" have the endings "svd" and "bak"; "" if there is none. */
const char *cli_ending(const char *path);

#endif
