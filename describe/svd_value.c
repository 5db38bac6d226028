/* SPDX-License-Identifier: MIT */
/* Numbers and words of SVD files. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "svd_value.h"

static int say_wrong(const struct svd_node *node, const char *what, struct regmap_error *error)
{
	return regmap__layout_wrong(error, -EINVAL, &node->source, "<%s> is \"%.64s\": %s",
	                            regmap__svd_tag_name(node->tag), node->text, what);
}

/* ---- numbers ---- */

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Past the prefix; the base of what follows. */
static const char *prefix(const char *s, unsigned *base)
{
	s += *s == '+';
	*base = 10;
	if (s[0] == '#') {
		*base = 2;
		s++;
	} else if (s[0] == '0' && (s[1] | 0x20) == 'x') {
		*base = 16;
		s += 2;
	} else if (s[0] == '0' && (s[1] | 0x20) == 'b') {
		*base = 2;
		s += 2;
	}
	return s;
}

static unsigned scale_of(char c)
{
	switch (c | 0x20) {
	case 'k': return 10;
	case 'm': return 20;
	case 'g': return 30;
	case 't': return 40;
	default: return 0;
	}
}

/* Past digits, which may be in groups: "0x4000_0000". */
static const char *past_digits(const char *s, unsigned base)
{
	const char *first = s;

	while (digit_of(*s) < (int)base || (*s == '_' && s > first))
		s++;
	return s;
}

/* Some write them as in C. */
static bool is_suffix(const char *s)
{
	while ((*s | 0x20) == 'u' || (*s | 0x20) == 'l')
		s++;
	return !*s;
}

/* Digits up to @end; false: too many bits. */
static bool digits(const char *s, const char *end, unsigned base, uint64_t *value)
{
	bool fits = true;

	*value = 0;
	for (; s < end; s++) {
		if (*s == '_')
			continue;
		fits &= !__builtin_mul_overflow(*value, base, value);
		fits &= !__builtin_add_overflow(*value, (uint64_t)digit_of(*s), value);
	}
	return fits;
}

int regmap__svd_number(const struct svd_node *node, bool wraps, uint64_t *value,
                       struct regmap_error *error)
{
	unsigned base, scale;
	const char *s = prefix(node->text, &base), *end = past_digits(s, base);
	bool fits;

	scale = scale_of(*end);
	if (end == s || !is_suffix(end + (scale > 0)))
		return say_wrong(node, "that is no number; they look like 12, 0x1F, #101", error);
	fits = digits(s, end, base, value);
	if (scale) {
		fits &= *value <= UINT64_MAX >> scale;
		*value <<= scale;
	}
	if (!fits && !wraps)
		return say_wrong(node, "numbers have 64 bits", error);
	return 0;
}

int regmap__svd_pattern(const struct svd_node *node, uint64_t *value, uint64_t *any,
                        struct regmap_error *error)
{
	unsigned base;
	const char *s = prefix(node->text, &base), *first = s;

	*value = *any = 0;
	if (base != 2)
		return regmap__svd_number(node, false, value, error);
	for (; *s == '0' || *s == '1' || (*s | 0x20) == 'x'; s++) {
		if (*value >> 63 || *any >> 63)
			return say_wrong(node, "numbers have 64 bits", error);
		*value = *value << 1 | (*s == '1');
		*any = *any << 1 | ((*s | 0x20) == 'x');
	}
	if (*s || s == first)
		return say_wrong(node, "a number to base 2 has 0, 1 and x", error);
	return 0;
}

/* A small number at *s, with blanks around it. */
static bool bit_number(const char **s, unsigned *value)
{
	const char *at = *s;

	*value = 0;
	while (*at == ' ')
		at++;
	if (*at < '0' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9'; at++)
		*value = *value < 100000 ? *value * 10 + (unsigned)(*at - '0') : *value;
	while (*at == ' ')
		at++;
	*s = at;
	return true;
}

int regmap__svd_bits(const struct svd_node *node, unsigned *lsb, unsigned *width,
                     struct regmap_error *error)
{
	const char *s = node->text;
	unsigned high, low;
	bool ok;

	s += *s == '[';
	ok = bit_number(&s, &high);
	low = high;
	if (ok && *s == ':') {
		s++;
		ok = bit_number(&s, &low);
	}
	s += *s == ']';
	if (!ok || *s)
		return say_wrong(node, "bits look like [7:4]", error);
	*lsb = low < high ? low : high;
	*width = (low < high ? high - low : low - high) + 1;
	return 0;
}

/* ---- words ---- */

/* Files differ in how they write them: neither case nor "-" and "_" count. */
static bool is_word(const char *text, const char *word)
{
	for (;; text++, word++) {
		while (*text == '-' || *text == '_')
			text++;
		while (*word == '-')
			word++;
		if ((*text | 0x20) != (*word | 0x20) || !*text || !*word)
			return !*text && !*word;
	}
}

static int word_of(const struct svd_node *node, const char *const *words, unsigned count,
                   const char *what, unsigned *index, struct regmap_error *error)
{
	for (*index = 0; *index < count; ++*index)
		if (is_word(node->text, words[*index]))
			return 0;
	return say_wrong(node, what, error);
}

int regmap__svd_access(const struct svd_node *node, enum regmap_register_access *access,
                       struct regmap_error *error)
{
	static const char *const words[] = {
		[REGMAP_READ_WRITE] = "read-write",          [REGMAP_READ_ONLY] = "read-only",
		[REGMAP_WRITE_ONLY] = "write-only",          [REGMAP_WRITE_ONCE] = "writeOnce",
		[REGMAP_READ_WRITE_ONCE] = "read-writeOnce",
	};
	unsigned i;
	int err = word_of(node, words, sizeof(words) / sizeof(words[0]),
	                  "it can be read-write, read-only, write-only, writeOnce, read-writeOnce",
	                  &i, error);

	if (!err)
		*access = i;
	return err;
}

int regmap__svd_read_action(const struct svd_node *node, enum regmap_read_action *action,
                            struct regmap_error *error)
{
	static const char *const words[] = {
		[REGMAP_READ_PLAIN] = "none",
		[REGMAP_READ_CLEAR] = "clear",
		[REGMAP_READ_SET] = "set",
		[REGMAP_READ_MODIFY] = "modify",
		[REGMAP_READ_MODIFY_EXTERNAL] = "modifyExternal",
	};
	unsigned i;
	int err = word_of(node, words, sizeof(words) / sizeof(words[0]),
	                  "it can be clear, set, modify, modifyExternal", &i, error);

	if (!err)
		*action = i;
	return err;
}

int regmap__svd_write_action(const struct svd_node *node, enum regmap_write_action *action,
                             struct regmap_error *error)
{
	static const char *const words[] = {
		[REGMAP_WRITE_MODIFY] = "modify",
		[REGMAP_WRITE_ONE_TO_CLEAR] = "oneToClear",
		[REGMAP_WRITE_ONE_TO_SET] = "oneToSet",
		[REGMAP_WRITE_ONE_TO_TOGGLE] = "oneToToggle",
		[REGMAP_WRITE_ZERO_TO_CLEAR] = "zeroToClear",
		[REGMAP_WRITE_ZERO_TO_SET] = "zeroToSet",
		[REGMAP_WRITE_ZERO_TO_TOGGLE] = "zeroToToggle",
		[REGMAP_WRITE_CLEAR] = "clear",
		[REGMAP_WRITE_SET] = "set",
	};
	unsigned i;
	int err = word_of(node, words, sizeof(words) / sizeof(words[0]),
	                  "it can be modify, clear, set, oneToClear, oneToSet, oneToToggle, "
	                  "zeroToClear, zeroToSet, zeroToToggle",
	                  &i, error);

	if (!err)
		*action = i;
	return err;
}

int regmap__svd_usage(const struct svd_node *node, unsigned *usage, struct regmap_error *error)
{
	static const char *const words[] = {"read", "write", "read-write"};
	unsigned i;
	int err = word_of(node, words, 3, "it can be read, write, read-write", &i, error);

	if (!err)
		*usage = i + 1;
	return err;
}

bool regmap__svd_is_true(const struct svd_node *node)
{
	return node && (strcasecmp(node->text, "true") == 0 || strcmp(node->text, "1") == 0);
}
