/* SPDX-License-Identifier: MIT */
/* Files as text, and which format that is in. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

static int read_all(int fd, char **text, size_t *length)
{
	size_t room = 64 << 10;

	*length = 0;
	for (;;) {
		char *more = realloc(*text, room + 1);
		ssize_t got;

		if (!more)
			return -ENOMEM;
		*text = more;
		got = read(fd, more + *length, room - *length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		*length += got;
		more[*length] = '\0';
		if (!got)
			return 0;
		if (*length > TREE_TEXT_MOST)
			return -E2BIG;
		if (*length == room)
			room *= 2;
	}
}

int regmap__read_file(const char *path, char **text, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	*text = NULL;
	if (fd < 0)
		return -errno;
	err = read_all(fd, text, length);
	close(fd);
	if (err) {
		free(*text);
		*text = NULL;
	}
	return err;
}

/* ---- formats -------------------------------------------------------------------------------------- */

static enum regmap_format by_name(const char *name)
{
	static const struct {
		const char *suffix;
		enum regmap_format format;
	} known[] = {
		{".toml", REGMAP_FORMAT_TOML}, {".yaml", REGMAP_FORMAT_YAML},
		{".yml", REGMAP_FORMAT_YAML},  {".json", REGMAP_FORMAT_JSON},
		{".svd", REGMAP_FORMAT_SVD},   {".xml", REGMAP_FORMAT_SVD},
	};
	const char *suffix = name ? strrchr(name, '.') : NULL;

	for (size_t i = 0; suffix && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasecmp(known[i].suffix, suffix) == 0)
			return known[i].format;
	return REGMAP_FORMAT_AUTO;
}

static bool is_key(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("_-.\"' \t", c));
}

/* "[device]" or "[[regions]]" alone on its line; in YAML and JSON, a list begins with a bracket. */
static bool is_header(const char *at, const char *end)
{
	const char *start;

	at += at < end && *at == '[';
	at += at < end && *at == '[';
	for (start = at; at < end && is_key(*at);)
		at++;
	if (at == start || at == end || *at != ']')
		return false;
	while (at < end && *at == ']')
		at++;
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
		at++;
	return at == end || *at == '\n' || *at == '#';
}

static enum regmap_format by_line(const char *at, const char *end)
{
	if (*at == '<')
		return REGMAP_FORMAT_SVD;
	if (*at == '{')
		return REGMAP_FORMAT_JSON;
	if (*at == '[')
		return is_header(at, end) ? REGMAP_FORMAT_TOML : REGMAP_FORMAT_JSON;
	if (*at == '%' || (end - at >= 3 && memcmp(at, "---", 3) == 0))
		return REGMAP_FORMAT_YAML;
	while (at < end && is_key(*at))
		at++;
	if (at < end && *at == '=')
		return REGMAP_FORMAT_TOML;
	if (at < end && *at == ':' && (at + 1 == end || isspace((unsigned char)at[1])))
		return REGMAP_FORMAT_YAML;
	return REGMAP_FORMAT_AUTO;
}

static enum regmap_format by_content(const char *at, size_t length)
{
	const char *end = at + length;

	if (length >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
		at += 3;
	for (;;) {
		while (at < end && isspace((unsigned char)*at))
			at++;
		if (at == end)
			return REGMAP_FORMAT_AUTO;
		if (*at != '#')
			return by_line(at, end);
		at = memchr(at, '\n', end - at);
		if (!at)
			return REGMAP_FORMAT_AUTO;
	}
}

enum regmap_format regmap__format_of(const char *text, size_t length, const char *name)
{
	enum regmap_format named = by_name(name), found = by_content(text, length);

	/* What JSON writes is YAML, too. */
	if (found == REGMAP_FORMAT_AUTO ||
	    (found == REGMAP_FORMAT_JSON && named == REGMAP_FORMAT_YAML))
		found = named;
	return found == REGMAP_FORMAT_AUTO ? REGMAP_FORMAT_TOML : found;
}
