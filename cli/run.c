/* SPDX-License-Identifier: MIT */
/*
 * `regmap run`: a program with a device around it, by LD_PRELOAD of libregmap.so and the environment
 * (device/preload.c). All that can be wrong is looked for here first; then the program takes this process over,
 * so that its signals, its terminal and its end are its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "../device/launch.h"
#include "cli.h"
#include "program.h"

#ifndef REGMAP_LIBDIR
#define REGMAP_LIBDIR "/usr/local/lib"
#endif

struct run {
	struct cli cli; /* what messages need */
	const char *device;
	char *overlays, *images; /* lists, an entry in each line */
	const char *offset;
	const char *trace, *trace_format, *stats;
	bool patch, memory;
	char **program; /* argv of it */
};

/* --- the command line --- */

/* "--name VALUE" and "--name=VALUE"; NULL: another option. Ends the process where there is no value. */
static const char *value_of(const struct run *run, const char *name, char ***at)
{
	size_t length = strlen(name);

	if (strncmp(**at, name, length))
		return NULL;
	if ((**at)[length] == '=')
		return **at + length + 1;
	if ((**at)[length])
		return NULL;
	if (!(*at)[1])
		cli_usage(&run->cli, "%s wants a value", name);
	return *++*at;
}

/* "--name" alone is @without. */
static const char *perhaps_value_of(const char *name, const char *arg, const char *without)
{
	size_t length = strlen(name);

	if (strncmp(arg, name, length) || (arg[length] && arg[length] != '='))
		return NULL;
	return arg[length] ? arg + length + 1 : without;
}

static void append(const struct run *run, char **list, const char *entry)
{
	size_t used = *list ? strlen(*list) : 0, more = strlen(entry);
	char *longer;

	if (strchr(entry, '\n'))
		cli_usage(&run->cli, "a file's name with a line break can't be handed on");
	longer = cli_alloc(used + more + 2);
	if (used) {
		memcpy(longer, *list, used);
		longer[used++] = '\n';
	}
	memcpy(longer + used, entry, more + 1);
	free(*list);
	*list = longer;
}

/* As an absolute path: the program's children may start elsewhere. What isn't there is complained of later. */
static char *absolute(const char *path)
{
	char *real = realpath(path, NULL);
	size_t size = strlen(path) + 1;

	if (real)
		return real;
	real = cli_alloc(size);
	memcpy(real, path, size);
	return real;
}

/* The file behind "at=", or all of it. */
static void append_image(struct run *run, const char *entry)
{
	const char *equals = access(entry, F_OK) ? strchr(entry, '=') : NULL;
	char *path = absolute(equals ? equals + 1 : entry), *whole = path;

	if (equals && asprintf(&whole, "%.*s=%s", (int)(equals - entry), entry, path) < 0)
		cli_die(&run->cli, CLI_SYSTEM, "no memory");
	append(run, &run->images, whole);
	if (whole != path)
		free(whole);
	free(path);
}

static void append_overlay(struct run *run, const char *entry)
{
	char *path = absolute(entry);

	append(run, &run->overlays, path);
	free(path);
}

static void set_offset(struct run *run, const char *value)
{
	uint64_t offset;
	char *digits;

	if (!cli_number(value, &offset))
		cli_usage(&run->cli, "--offset %s: not a number: write 0x100000000", value);
	if (asprintf(&digits, "0x%llx", (unsigned long long)offset) < 0)
		cli_die(&run->cli, CLI_SYSTEM, "no memory");
	run->offset = digits;
}

static void set_format(struct run *run, const char *value)
{
	if (strcmp(value, "text") && strcmp(value, "json"))
		cli_usage(&run->cli, "--trace-format %s: it is text or json", value);
	run->trace_format = value;
}

static const char help[] =
	"Usage: regmap run NAME|FILE [OPTION]... -- PROGRAM [ARGUMENT]...\n\n"
	"Runs a dynamically linked program that needs to know nothing of this, with the device's\n"
	"addresses in place, by LD_PRELOAD of libregmap.so. What it accesses where nothing is, is\n"
	"reported, with what is near; and then it gets its SIGSEGV.\n\n"
	"Options:\n"
	"  -i, --image=AT=FILE   load an image first: raw, Intel HEX, S-record or ELF. AT is an\n"
	"                        address or a region's name; without AT=, where the file says\n"
	"  -O, --overlay=FILE    lay a description over the device's\n"
	"  -f, --offset=N        map it N bytes higher up\n"
	"      --trace[=FILE]    a line for each access to registers, on stderr or to FILE\n"
	"      --memory          accesses to memory, too, are traced and counted; they are slow then\n"
	"      --trace-format=F  text (the default) or json\n"
	"      --stats[=FILE]    at the end: how often what was read and written\n"
	"  -j, --json            trace, statistics and errors as JSON\n"
	"      --patch           sites that access registers often become jumps: faster\n"
	"  -h, --help            this\n\n"
	"Examples:\n"
	"  regmap run STM32F103 -- ./driver-test\n"
	"  regmap run STM32F103 --trace --stats -- ./driver-test -v\n"
	"  regmap run board.toml --image 0x08000000=firmware.bin -- ./bootloader-test\n"
	"  regmap run chip.svd --overlay effects.toml --json --trace=trace.jsonl -- ./test\n\n"
	"Exit codes: the program's own (a shell says 128 + N where signal N killed it). Before it runs,\n"
	"1 to 4 as everywhere; 125 the device can't be mapped into it; 126 it can't be run so; 127 it\n"
	"isn't there. regmap-run(1) has the environment variables that do the same without this command.\n";

static const char *const options[] = {"--overlay",      "--offset", "--image", "--trace",
                                      "--trace-format", "--stats",  "--json",  "--patch",
                                      "--help",         NULL};

/* "-i" is "--image". */
static char *in_full(char *arg)
{
	static char full[][12] = {"--image", "--overlay", "--offset", "--json"};
	static const char letter[] = "iOfj";
	const char *at = arg[1] && !arg[2] ? strchr(letter, arg[1]) : NULL;

	return at ? full[at - letter] : arg;
}

static bool take_value(struct run *run, char ***at)
{
	const char *value;

	if ((value = value_of(run, "--overlay", at)))
		append_overlay(run, value);
	else if ((value = value_of(run, "--offset", at)))
		set_offset(run, value);
	else if ((value = value_of(run, "--image", at)))
		append_image(run, value);
	else if ((value = value_of(run, "--trace-format", at)))
		set_format(run, value);
	return value;
}

static void take_option(struct run *run, char ***at)
{
	const char *arg, *value, *meant;

	**at = in_full(**at);
	arg = **at;
	if (take_value(run, at))
		return;
	if (!strcmp(arg, "--json")) {
		run->cli.json = true;
	} else if (!strcmp(arg, "--patch")) {
		run->patch = true;
	} else if (!strcmp(arg, "--memory")) {
		run->memory = true;
	} else if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
		fputs(help, stdout);
		exit(cli_end(CLI_FINE));
	} else if ((value = perhaps_value_of("--trace", arg, "-"))) {
		run->trace = value;
	} else if ((value = perhaps_value_of("--stats", arg, "-"))) {
		run->stats = value;
	} else {
		meant = cli_suggest(arg, options);
		cli_usage(&run->cli, "unknown option %s%s%s%s", arg, meant ? ": did you mean " : "",
		          meant ? meant : "", meant ? "?" : "");
	}
}

/* The program begins behind "--", or with the second word that is no option. */
static void parse(struct run *run, char **argv)
{
	char **at = argv + 1;

	for (; *at; at++) {
		if (!strcmp(*at, "--")) {
			at++;
			break;
		}
		if ((*at)[0] == '-' && (*at)[1])
			take_option(run, &at);
		else if (!run->device)
			run->device = *at;
		else
			break;
	}
	if (!run->device)
		cli_usage(&run->cli, "which device? A template's name or a file");
	if (!*at || !**at)
		cli_usage(&run->cli, "which program? regmap run %s -- PROGRAM ARGUMENTS",
		          run->device);
	run->program = at;
}

/* --- what can be wrong --- */

static void check_device(const struct run *run)
{
	const struct launch launch = {run->device, run->overlays, run->images};
	struct regmap_error error = {.text = ""};
	struct regmap_device *device;
	int err = regmap__launch(&launch, &device, &error);

	if (err)
		cli_fail(&run->cli, err, &error);
	regmap_device_free(device);
}

/* Begun anew here; the program and its children append to it. */
static const char *prepare_file(const struct run *run, const char *what, const char *path)
{
	int fd;

	if (!path || !strcmp(path, "-"))
		return path;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		cli_die(&run->cli, CLI_OUTPUT, "%s=%s: %s", what, path, strerror(errno));
	close(fd);
	return absolute(path);
}

/* --- the library --- */

/* Where the command is, in the build tree and wherever it was installed to; NULL: it is nowhere there. */
static char *near_command(void)
{
	static const char *const from_there[] = {"", "../lib/", "../lib64/",
	                                         "../lib/x86_64-linux-gnu/"};
	char exe[PATH_MAX], *slash, *path;
	ssize_t length = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[length > 0 ? length : 0] = 0;
	slash = strrchr(exe, '/');
	for (unsigned i = 0; slash && i < sizeof(from_there) / sizeof(from_there[0]); i++) {
		if (asprintf(&path, "%.*s/%slibregmap.so", (int)(slash - exe), exe, from_there[i]) <
		    0)
			return NULL;
		if (!access(path, R_OK))
			return path;
		free(path);
	}
	return NULL;
}

/* LD_PRELOAD is a list with blanks and colons between its entries. */
static char *find_library(const struct run *run)
{
	const char *wish = getenv("REGMAP_LIBRARY");
	char *path = wish && *wish ? absolute(wish) : near_command();

	path = path ? path : absolute(REGMAP_LIBDIR "/libregmap.so");
	if (access(path, R_OK))
		cli_die(&run->cli, CLI_SYSTEM,
		        "%s: %s: install libregmap, or say where it is in REGMAP_LIBRARY", path,
		        strerror(errno));
	if (strpbrk(path, " :"))
		cli_die(&run->cli, CLI_SYSTEM,
		        "%s can't be preloaded: no blanks and colons, please: link to it from elsewhere, "
		        "and name that in REGMAP_LIBRARY",
		        path);
	return path;
}

static void put(const struct run *run, const char *name, const char *value)
{
	if (value ? setenv(name, value, 1) : unsetenv(name))
		cli_die(&run->cli, CLI_SYSTEM, "no memory");
}

/* A sanitizer's run-time library wants to be the first of all, then comes ours, then what the user has. */
static void set_preload(const struct run *run, const struct program *program)
{
	const char *before = getenv("LD_PRELOAD");
	char *library = find_library(run), *all;

	if (asprintf(&all, "%s%s%s%s%s", program->sanitizer, *program->sanitizer ? ":" : "",
	             library, before && *before ? ":" : "", before ? before : "") < 0)
		cli_die(&run->cli, CLI_SYSTEM, "no memory");
	put(run, "LD_PRELOAD", all);
	free(all);
	free(library);
}

static void set_environment(const struct run *run)
{
	const char *format = run->trace_format ? run->trace_format : run->cli.json ? "json" : NULL;
	char process[24];

	snprintf(process, sizeof(process), "%ld", (long)getpid());
	put(run, "REGMAP_DEVICE",
	    regmap_template_text(run->device) ? run->device : absolute(run->device));
	put(run, "REGMAP_DEVICE_OVERLAY", run->overlays);
	put(run, "REGMAP_DEVICE_OFFSET", run->offset);
	put(run, "REGMAP_DEVICE_IMAGES", run->images);
	put(run, "REGMAP_DEVICE_TRACE", prepare_file(run, "--trace", run->trace));
	put(run, "REGMAP_DEVICE_TRACE_FORMAT", format);
	put(run, "REGMAP_DEVICE_STATS", prepare_file(run, "--stats", run->stats));
	put(run, "REGMAP_DEVICE_STATS_FORMAT", run->cli.json ? "json" : NULL);
	put(run, "REGMAP_DEVICE_MEMORY", run->memory ? "1" : NULL);
	put(run, "REGMAP_DEVICE_MAIN", process);
	if (run->patch)
		put(run, "REGMAP_PATCH", "1");
}

/* Else the heap would be found in windows now and then. Where that isn't allowed, it is left to luck. */
static void keep_addresses(void)
{
	int now = personality(0xffffffff);

	if (now != -1)
		personality((unsigned long)now | ADDR_NO_RANDOMIZE);
}

int cli_run(int argc, char **argv)
{
	struct run run = {.cli.command = cli_command_named("run")};
	struct program program;
	const char *wrong;
	int code;

	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		run.cli.json |= !strcmp(argv[i], "--json") || !strcmp(argv[i], "-j");
	parse(&run, argv);
	check_device(&run);
	code = program_find(run.program[0], &program, &wrong);
	if (code)
		cli_die(&run.cli, code, "%s: %s", run.program[0], wrong);
	set_environment(&run);
	set_preload(&run, &program);
	keep_addresses();
	execv(program.path, run.program);
	cli_die(&run.cli, PROGRAM_CANNOT_RUN, "%s: %s", program.path, strerror(errno));
}
