/* SPDX-License-Identifier: MIT */
/* Words of the rule language. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rule_inside.h"

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

void regmap__rule_fail(struct rule_compiler *c, const char *format, ...)
{
	char what[320];
	va_list ap;

	if (c->err)
		return;
	c->err = -EINVAL;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	regmap__layout_wrong(c->error, -EINVAL, &c->source, "rule \"%.80s%s\": %s", c->text,
	                     strlen(c->text) > 80 ? "..." : "", what);
	c->token = TOKEN_END;
	c->length = 0;
}

static unsigned digit_of(char c)
{
	if (is_digit(c))
		return (unsigned)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;
}

static unsigned base_of(struct rule_compiler *c)
{
	char kind = c->at[0] == '0' ? c->at[1] | 0x20 : 0;

	if (kind != 'x' && kind != 'b')
		return 10;
	c->at += 2;
	return kind == 'x' ? 16 : 2;
}

static void take_number(struct rule_compiler *c)
{
	unsigned base = base_of(c), digits = 0;
	uint64_t value = 0;

	for (;; c->at++) {
		if (*c->at == '_' && digits)
			continue;
		if (digit_of(*c->at) >= base)
			break;
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit_of(*c->at), &value)) {
			regmap__rule_fail(c, "%.24s... is more than 64 bits hold", c->begin);
			return;
		}
		digits++;
	}
	c->length = (size_t)(c->at - c->begin);
	if (!digits || is_letter(*c->at) || is_digit(*c->at))
		regmap__rule_fail(c, "\"%.*s\" is no number: write 12, 0x1F or 0b101",
		                  (int)c->length + 1, c->begin);
	else if (base == 10 && c->begin[0] == '0' && digits > 1)
		regmap__rule_fail(c,
		                  "\"%.*s\" begins with 0, which would be octal in C: leave it out",
		                  (int)c->length, c->begin);
	c->token = c->err ? TOKEN_END : TOKEN_NUMBER;
	c->number = value;
}

static void take_word(struct rule_compiler *c, enum rule_token token)
{
	c->begin = c->at;
	while (is_letter(*c->at) || is_digit(*c->at))
		c->at++;
	c->length = (size_t)(c->at - c->begin);
	c->token = token;
}

static void take_variable(struct rule_compiler *c)
{
	c->at++;
	if (is_letter(*c->at))
		take_word(c, TOKEN_VARIABLE);
	else
		regmap__rule_fail(c, "a name must follow \"$\"");
}

static void take_string(struct rule_compiler *c)
{
	const char *end = strchr(c->at + 1, '"');

	if (!end) {
		regmap__rule_fail(c, "the string %.40s has no end: add a \"", c->at);
		return;
	}
	c->begin = c->at + 1;
	c->length = (size_t)(end - c->begin);
	c->at = end + 1;
	c->token = TOKEN_STRING;
}

static void take_sign(struct rule_compiler *c)
{
	static const char pairs[][3] = {"||", "&&", "==", "!=", "<=", ">=", "<<", ">>"};

	if (!strchr(";:.,()=?|&^<>+-*/%!~", *c->at)) {
		if (*c->at > ' ' && *c->at < 0x7f)
			regmap__rule_fail(c, "\"%c\" has no meaning here", *c->at);
		else
			regmap__rule_fail(c, "the byte 0x%02x has no meaning here",
			                  (unsigned char)*c->at);
		return;
	}
	c->token = TOKEN_SIGN;
	c->length = 1;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (!strncmp(c->at, pairs[i], 2))
			c->length = 2;
	c->at += c->length;
}

void regmap__rule_next(struct rule_compiler *c)
{
	if (c->err)
		return;
	while (*c->at && strchr(" \t\r\n", *c->at))
		c->at++;
	c->begin = c->at;
	c->length = 0;
	if (!*c->at)
		c->token = TOKEN_END;
	else if (is_letter(*c->at))
		take_word(c, TOKEN_NAME);
	else if (is_digit(*c->at))
		take_number(c);
	else if (*c->at == '$')
		take_variable(c);
	else if (*c->at == '"')
		take_string(c);
	else
		take_sign(c);
}

bool regmap__rule_is(const struct rule_compiler *c, const char *spelling)
{
	return (c->token == TOKEN_NAME || c->token == TOKEN_SIGN) &&
	       strlen(spelling) == c->length && !memcmp(spelling, c->begin, c->length);
}
