/* SPDX-License-Identifier: MIT */
/* JSON, written as it is known. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

struct cli_json cli_json_open(FILE *to)
{
	return (struct cli_json){.to = to};
}

static void put_string(FILE *to, const char *s);

/* What comes before a value: a comma, a line, its key. */
static void lead_in(struct cli_json *j, const char *key)
{
	if (j->depth) {
		fputs(j->has_members[j->depth] ? ",\n" : "\n", j->to);
		fprintf(j->to, "%*s", 2 * j->depth, "");
		j->has_members[j->depth] = true;
	}
	if (key) {
		put_string(j->to, key);
		fputs(": ", j->to);
	}
}

void cli_json_begin(struct cli_json *j, const char *key, char bracket)
{
	lead_in(j, key);
	fputc(bracket, j->to);
	j->has_members[++j->depth] = false;
}

void cli_json_end(struct cli_json *j, char bracket)
{
	bool has_members = j->has_members[j->depth--];

	if (has_members)
		fprintf(j->to, "\n%*s", 2 * j->depth, "");
	fputc(bracket, j->to);
	if (!j->depth)
		fputc('\n', j->to);
}

/* Length of a well-formed UTF-8 sequence; 0: it is none. */
static unsigned sequence(const unsigned char *s)
{
	unsigned n = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static unsigned put_character(FILE *to, const unsigned char *s)
{
	unsigned n;

	if (*s == '"' || *s == '\\') {
		fprintf(to, "\\%c", *s);
	} else if (*s < ' ' || *s == 0x7f) {
		fprintf(to, "\\u%04x", *s);
	} else if (*s < 0x80) {
		fputc(*s, to);
	} else {
		n = sequence(s);
		if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) /* terminals obey these */
			fprintf(to, "\\u%04x", s[1]);
		else if (n)
			fwrite(s, 1, n, to);
		else
			fputs("\\ufffd", to);
		return n ? n : 1;
	}
	return 1;
}

static void put_string(FILE *to, const char *s)
{
	fputc('"', to);
	while (*s)
		s += put_character(to, (const unsigned char *)s);
	fputc('"', to);
}

void cli_json_string(struct cli_json *j, const char *key, const char *value)
{
	lead_in(j, key);
	put_string(j->to, value);
}

void cli_json_number(struct cli_json *j, const char *key, uint64_t value)
{
	lead_in(j, key);
	fprintf(j->to, "%" PRIu64, value);
}

void cli_json_hex(struct cli_json *j, const char *key, uint64_t value, unsigned digits)
{
	lead_in(j, key);
	fprintf(j->to, "\"0x%0*" PRIx64 "\"", (int)digits, value);
}

void cli_json_bool(struct cli_json *j, const char *key, bool value)
{
	lead_in(j, key);
	fputs(value ? "true" : "false", j->to);
}

void cli_json_bytes(struct cli_json *j, const char *key, const uint8_t *bytes, size_t length)
{
	lead_in(j, key);
	fputc('"', j->to);
	for (size_t i = 0; i < length; i++)
		fprintf(j->to, "%02x", bytes[i]);
	fputc('"', j->to);
}
