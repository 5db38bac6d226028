/* SPDX-License-Identifier: MIT */
/* Colour, words for numbers, files, and how the process ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* ---- ends ------------------------------------------------------------------------------------------ */

static int output_errno; /* what the first write that failed said; stdio forgets it */

static ssize_t write_stdout(void *cookie, const char *bytes, size_t length)
{
	ssize_t n;

	(void)cookie;
	do
		n = write(STDOUT_FILENO, bytes, length);
	while (n < 0 && errno == EINTR);
	if (n < 0 && !output_errno)
		output_errno = errno;
	return n < 0 ? 0 : n;
}

void cli_start(void)
{
	FILE *to = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_stdout});

	if (!to)
		return;
	setvbuf(to, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, 1 << 14);
	stdout = to;
}

/* Nobody is told that a pipe was closed at the other end: that is how `| head` ends things. */
static int output_failed(int err)
{
	if (err != EPIPE)
		fprintf(stderr, "regmap: the output can't be written: %s\n", strerror(err));
	return CLI_OUTPUT;
}

int cli_end(int code)
{
	bool failed = fflush(stdout) || ferror(stdout);

	if (failed)
		return output_failed(output_errno ? output_errno : EIO);
	if (close(STDOUT_FILENO))
		return output_failed(errno);
	return code;
}

static void say_as_json(const struct regmap_error *error)
{
	struct cli_json j = cli_json_open(stdout);

	cli_json_begin(&j, NULL, '{');
	cli_json_begin(&j, "error", '{');
	cli_json_string(&j, "message", error->text);
	if (error->file[0])
		cli_json_string(&j, "file", error->file);
	if (error->line) {
		cli_json_number(&j, "line", error->line);
		cli_json_number(&j, "column", error->column);
	}
	cli_json_end(&j, '}');
	cli_json_end(&j, '}');
}

/* What a terminal would obey is shown as '?'; a message may quote a file. */
static void put_message(const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, stderr);
	fputc('\n', stderr);
}

static _Noreturn void die(const struct cli *cli, int code, const char *head,
                          const struct regmap_error *error)
{
	fflush(stdout);
	fputs(head, stderr);
	put_message(error->text);
	if (cli && cli->json)
		say_as_json(error);
	exit(cli_end(code));
}

void cli_die(const struct cli *cli, int code, const char *format, ...)
{
	struct regmap_error error = {0};
	va_list ap;

	va_start(ap, format);
	vsnprintf(error.text, sizeof(error.text), format, ap);
	va_end(ap);
	die(cli, code, "regmap: ", &error);
}

void cli_fail(const struct cli *cli, int err, const struct regmap_error *error)
{
	struct regmap_error plain = {0};

	if (!error->text[0]) {
		snprintf(plain.text, sizeof(plain.text), "%s", regmap_strerror(err));
		error = &plain;
	}
	/* A place comes first, where editors look for it. */
	die(cli, err == -ENOMEM || err == -EMFILE ? CLI_SYSTEM : CLI_WRONG,
	    error->line ? "" : "regmap: ", error);
}

void cli_usage(const struct cli *cli, const char *format, ...)
{
	const char *name = cli && cli->command ? cli->command->name : NULL;
	struct regmap_error error = {0};
	int n = snprintf(error.text, sizeof(error.text), "regmap%s%s: ", name ? " " : "",
	                 name ? name : "");
	va_list ap;

	va_start(ap, format);
	n += vsnprintf(error.text + n, sizeof(error.text) - n, format, ap);
	va_end(ap);
	if (n < (int)sizeof(error.text))
		snprintf(error.text + n, sizeof(error.text) - n, " (regmap%s%s --help says more)",
		         name ? " " : "", name ? name : "");
	die(cli, CLI_USAGE, "", &error);
}

void cli_warn(const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fputs("regmap: warning: ", stderr);
	put_message(text);
}

void *cli_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		cli_die(NULL, CLI_SYSTEM, "no memory for %zu bytes", size);
	return p;
}

/* ---- the terminal ---------------------------------------------------------------------------------- */

bool cli_wants_color(const char *when)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (!strcmp(when, "auto"))
		return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb");
	return !strcmp(when, "always");
}

const char *cli_style(const struct cli *cli, enum cli_style style)
{
	static const char *const codes[] = {
		[CLI_PLAIN] = "\033[0m",   [CLI_BOLD] = "\033[1m",       [CLI_DIM] = "\033[2m",
		[CLI_NAME] = "\033[1;36m", [CLI_ADDRESS] = "\033[33m",   [CLI_GOOD] = "\033[32m",
		[CLI_BAD] = "\033[1;31m",  [CLI_CAUTION] = "\033[1;35m",
	};

	return cli->color ? codes[style] : "";
}

bool cli_has_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

unsigned cli_columns(const struct cli *cli)
{
	const char *said = getenv("COLUMNS");
	struct winsize size;
	uint64_t n = 80;

	if (cli->columns)
		return cli->columns;
	if (said && cli_number(said, &n) && n)
		;
	else if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		n = size.ws_col;
	else
		n = 80;
	return n < 60 ? 60 : n > 110 ? 110 : n;
}

/* ---- words ----------------------------------------------------------------------------------------- */

void cli_put_text(FILE *to, const char *text)
{
	bool blank = false;

	while (*text && (unsigned char)*text <= ' ')
		text++;
	for (; *text; text++) {
		unsigned char c = *text;

		if (c <= ' ' || c == 0x7f || (c == 0xc2 && (text[1] & 0xe0) == 0x80)) {
			text += c == 0xc2; /* terminals obey U+0080 to U+009f, too */
			blank = true;
			continue;
		}
		if (blank)
			fputc(' ', to);
		blank = false;
		fputc(c, to);
	}
}

const char *cli_size(uint64_t size, char to[static 24])
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
	unsigned i = 0;
	uint64_t whole = size, rest = 0;

	if (size == UINT64_MAX)
		return strcpy(to, "16 EB");
	while (whole >= 1024 && i < 6) {
		rest |= whole % 1024;
		whole /= 1024;
		i++;
	}
	if (!rest)
		snprintf(to, 24, "%" PRIu64 " %s", whole, units[i]);
	else
		snprintf(to, 24, "%.*f %s",
		         whole < 10  ? 2 :
		         whole < 100 ? 1 :
		                       0,
		         (double)size / (double)(1ull << 10 * i), units[i]);
	return to;
}

const char *cli_permissions(unsigned permissions, char to[static 4])
{
	to[0] = permissions & REGMAP_PERMIT_READ ? 'R' : '-';
	to[1] = permissions & REGMAP_PERMIT_WRITE ? 'W' : '-';
	to[2] = permissions & REGMAP_PERMIT_EXECUTE ? 'X' : '-';
	to[3] = 0;
	return to;
}

#define WORD(words, i) ((size_t)(i) < sizeof(words) / sizeof((words)[0]) ? (words)[i] : "?")

const char *cli_region_type(enum regmap_region_type type)
{
	static const char *const words[] = {
		"ram",      "flash",          "rom",      "mmio", "storage", "alias",
		"bit-band", "reversed-alias", "external",
	};

	return WORD(words, type);
}

const char *cli_access(enum regmap_register_access access)
{
	static const char *const words[] = {
		"read-write", "read-only", "write-only", "writeOnce", "read-writeOnce",
	};

	return WORD(words, access);
}

const char *cli_read_action(enum regmap_read_action action)
{
	static const char *const words[] = {"", "clear", "set", "modify", "modifyExternal"};

	return WORD(words, action);
}

const char *cli_write_action(enum regmap_write_action action)
{
	static const char *const words[] = {
		"",          "oneToClear",   "oneToSet", "oneToToggle", "zeroToClear",
		"zeroToSet", "zeroToToggle", "clear",    "set",
	};

	return WORD(words, action);
}

unsigned cli_digits(const struct regmap_layout *layout, uint64_t offset)
{
	uint64_t most = 0;

	for (size_t i = 0; i < layout->region_count; i++) {
		const struct regmap_region *r = layout->regions[i];
		uint64_t last = r->address + (r->length - 1) + offset;

		most = last > most ? last : most;
	}
	return most <= UINT32_MAX ? 8 : most >> 48 ? 16 : 12;
}

/* ---- files ----------------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		length -= n;
	}
	return true;
}

static _Noreturn void cannot_write(const struct cli *cli, const char *path, int err)
{
	cli_die(cli, CLI_OUTPUT, "%s: can't be written: %s", path, strerror(err));
}

/* A device, a pipe: there is nothing to keep whole. */
static void put_through(const struct cli *cli, const char *path, const void *bytes, size_t length)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);

	if (fd < 0 || !write_all(fd, bytes, length) || close(fd))
		cannot_write(cli, path, errno);
}

static void put_beside(const struct cli *cli, const char *path, const void *bytes, size_t length,
                       mode_t mode)
{
	char *beside = NULL;
	int fd, err;

	if (asprintf(&beside, "%s.XXXXXX", path) < 0)
		cli_die(cli, CLI_SYSTEM, "no memory");
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		cannot_write(cli, path, errno);
	if (fchmod(fd, mode) || !write_all(fd, bytes, length) || close(fd) ||
	    rename(beside, path)) {
		err = errno;
		unlink(beside);
		cannot_write(cli, path, err);
	}
	free(beside);
}

void cli_put_file(const struct cli *cli, const char *path, const void *bytes, size_t length)
{
	mode_t mask = umask(0);
	struct stat is;

	umask(mask);
	if (!strcmp(path, "-"))
		fwrite(bytes, 1, length, stdout);
	else if (lstat(path, &is))
		put_beside(cli, path, bytes, length, 0666 & ~mask);
	else if (S_ISREG(is.st_mode))
		put_beside(cli, path, bytes, length, is.st_mode & 0777);
	else
		put_through(cli, path, bytes, length);
}

static _Noreturn void cannot_read(const struct cli *cli, const char *path, int err)
{
	cli_die(cli, err == ENOMEM ? CLI_SYSTEM : CLI_WRONG, "%s: can't be read: %s", path,
	        strerror(err));
}

char *cli_get_file(const struct cli *cli, const char *path, size_t *length)
{
	int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	size_t room = 1 << 16, have = 0;
	char *bytes = malloc(room);
	ssize_t n = fd < 0 ? -1 : 0;

	while (fd >= 0 && bytes) {
		n = read(fd, bytes + have, room - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += n;
		if (have == room - 1)
			bytes = realloc(bytes, room *= 2);
	}
	if (n < 0 || !bytes) {
		int err = bytes ? errno : ENOMEM;

		free(bytes);
		cannot_read(cli, path, err);
	}
	if (fd != STDIN_FILENO)
		close(fd);
	bytes[have] = 0;
	*length = have;
	return bytes;
}

void cli_print_layout(const struct cli *cli, const struct regmap_layout *layout,
                      enum regmap_format format)
{
	struct regmap_error error = {0};
	char *text;
	size_t length;
	int err = regmap_layout_save(layout, format, &text, &length, &error);

	if (err)
		cli_fail(cli, err, &error);
	fwrite(text, 1, length, stdout);
	if (!length || text[length - 1] != '\n')
		putchar('\n');
	free(text);
}
