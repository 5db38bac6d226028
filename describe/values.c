/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "values.h"

const struct word regmap__region_types[] = {
	{"ram", REGMAP_REGION_RAM},           {"flash", REGMAP_REGION_FLASH},
	{"rom", REGMAP_REGION_ROM},           {"mmio", REGMAP_REGION_MMIO},
	{"storage", REGMAP_REGION_STORAGE},   {"alias", REGMAP_REGION_ALIAS},
	{"bit-band", REGMAP_REGION_BITBAND},  {"reversed-alias", REGMAP_REGION_REVERSED},
	{"external", REGMAP_REGION_EXTERNAL}, {NULL, 0},
};
const struct word regmap__accesses[] = {
	{"read-write", REGMAP_READ_WRITE},          {"read-only", REGMAP_READ_ONLY},
	{"write-only", REGMAP_WRITE_ONLY},          {"writeOnce", REGMAP_WRITE_ONCE},
	{"read-writeOnce", REGMAP_READ_WRITE_ONCE}, {NULL, 0},
};
const struct word regmap__read_actions[] = {
	{"plain", REGMAP_READ_PLAIN},
	{"clear", REGMAP_READ_CLEAR},
	{"set", REGMAP_READ_SET},
	{"modify", REGMAP_READ_MODIFY},
	{"modifyExternal", REGMAP_READ_MODIFY_EXTERNAL},
	{NULL, 0},
};
const struct word regmap__write_actions[] = {
	{"modify", REGMAP_WRITE_MODIFY},
	{"oneToClear", REGMAP_WRITE_ONE_TO_CLEAR},
	{"oneToSet", REGMAP_WRITE_ONE_TO_SET},
	{"oneToToggle", REGMAP_WRITE_ONE_TO_TOGGLE},
	{"zeroToClear", REGMAP_WRITE_ZERO_TO_CLEAR},
	{"zeroToSet", REGMAP_WRITE_ZERO_TO_SET},
	{"zeroToToggle", REGMAP_WRITE_ZERO_TO_TOGGLE},
	{"clear", REGMAP_WRITE_CLEAR},
	{"set", REGMAP_WRITE_SET},
	{NULL, 0},
};
const struct word regmap__width_policies[] = {
	{"default", REGMAP_WIDTH_DEFAULT},
	{"warn", REGMAP_WIDTH_WARN},
	{"fault", REGMAP_WIDTH_FAULT},
	{"allow", REGMAP_WIDTH_ALLOW},
	{NULL, 0},
};
const struct word regmap__flash_policies[] = {
	{"controller", REGMAP_FLASH_CONTROLLER}, {"fault", REGMAP_FLASH_FAULT},
	{"ignore", REGMAP_FLASH_IGNORE},         {"program", REGMAP_FLASH_PROGRAM},
	{"write", REGMAP_FLASH_WRITE},           {NULL, 0},
};
const struct word regmap__usages[] = {
	{"read", REGMAP_READ},
	{"write", REGMAP_WRITE},
	{"read-write", REGMAP_READ | REGMAP_WRITE},
	{NULL, 0},
};

const char *regmap__word_of(const struct word *words, unsigned value)
{
	while (words->word && words->value != value)
		words++;
	return words->word ? words->word : "";
}

static const char *next_word(void *ctx)
{
	const struct word **at = ctx;

	return (*at)->word ? (*at)++->word : NULL;
}

/* ---- numbers ----------------------------------------------------------------------------------- */

/* How it stands in the text, for messages. */
static const char *shown(const struct tree *node, char *to, size_t size)
{
	if (node->kind == TREE_STRING)
		snprintf(to, size, "\"%.60s\"", node->string);
	else if (node->string)
		snprintf(to, size, "%.60s", node->string);
	else if (node->kind == TREE_INTEGER)
		snprintf(to, size, "%s%" PRIu64, node->is_negative ? "-" : "", node->number);
	else if (node->kind == TREE_BOOLEAN)
		snprintf(to, size, "%s", node->number ? "true" : "false");
	else
		snprintf(to, size, "%s", regmap__tree_kind_name(node));
	return to;
}

#define SHOWN(node) shown(node, (char[72]){0}, 72)

static const char *key_of(const struct tree *node)
{
	if (!node->key && node->parent && node->parent->key)
		return node->parent->key;
	return node->key ? node->key : "item";
}

static bool is_signed_number(struct notes *n, const struct tree *node, struct tree *number)
{
	*number = *node;
	if (node->kind == TREE_STRING && !regmap__tree_number(number, node->string)) {
		regmap__note(n, -EINVAL, node,
		             "%s: %s is not a number: write 0x1000, 4096 or \"0x1000\"",
		             key_of(node), SHOWN(node));
		return false;
	}
	if (node->kind != TREE_STRING && node->kind != TREE_INTEGER) {
		regmap__note(n, -EINVAL, node, "%s: expected a whole number, not %s", key_of(node),
		             regmap__tree_kind_name(node));
		return false;
	}
	if (number->is_huge)
		regmap__note(n, -EINVAL, node, "%s: %s is more than 64 bits hold", key_of(node),
		             SHOWN(node));
	return !number->is_huge;
}

static bool is_negative(struct notes *n, const struct tree *node, const struct tree *number)
{
	if (number->is_negative)
		regmap__note(n, -EINVAL, node, "%s: %s is negative", key_of(node), SHOWN(node));
	return number->is_negative;
}

bool regmap__value_number(struct notes *n, const struct tree *node, uint64_t *out)
{
	struct tree number;

	if (!node)
		return true;
	if (!is_signed_number(n, node, &number) || is_negative(n, node, &number))
		return false;
	*out = number.number;
	return true;
}

bool regmap__value_most(struct notes *n, const struct tree *node, uint64_t most, uint64_t *out)
{
	uint64_t number;

	if (!node)
		return true;
	if (!regmap__value_number(n, node, &number))
		return false;
	if (number > most) {
		regmap__note(n, -EINVAL, node, "%s: %s is more than %" PRIu64, key_of(node),
		             SHOWN(node), most);
		return false;
	}
	*out = number;
	return true;
}

bool regmap__value_signed(struct notes *n, const struct tree *node, int *out)
{
	struct tree number;

	if (!node)
		return true;
	if (!is_signed_number(n, node, &number))
		return false;
	if (number.number > 0x7FFFFFFF) {
		regmap__note(n, -EINVAL, node, "%s: %s is more than 31 bits hold", key_of(node),
		             SHOWN(node));
		return false;
	}
	*out = number.is_negative ? -(int)number.number : (int)number.number;
	return true;
}

/* Takes a unit off the end of @text: how often a number counts shifts by that. -1: there is none. */
static int take_unit(char *text)
{
	static const char letters[] = "bkmgtpe";
	size_t end = strlen(text);
	const char *letter;
	bool is_byte;

	is_byte = end && tolower((unsigned char)text[end - 1]) == 'b';
	end -= is_byte;
	if (is_byte && end && tolower((unsigned char)text[end - 1]) == 'i')
		end--;
	letter = end ? strchr(letters + 1, tolower((unsigned char)text[end - 1])) : NULL;
	if (letter && *letter)
		end--;
	else if (!is_byte || text[end + 1])
		return -1; /* nothing, or "iB" alone */
	while (end && text[end - 1] == ' ')
		end--;
	text[end] = '\0';
	return letter && *letter ? 10 * (int)(letter - letters) : 0;
}

static bool sized(struct tree *number)
{
	char text[64];
	int shift;

	if (strlen(number->string) >= sizeof(text))
		return false;
	if (regmap__tree_number(number, number->string))
		return true;
	strcpy(text, number->string);
	shift = take_unit(text);
	if (shift < 0 || !regmap__tree_number(number, text))
		return false;
	number->is_huge |= shift && number->number >> (64 - shift);
	number->number <<= shift;
	return true;
}

bool regmap__value_size(struct notes *n, const struct tree *node, uint64_t *out)
{
	struct tree number;

	if (!node || node->kind != TREE_STRING)
		return regmap__value_number(n, node, out);
	number = *node;
	if (!sized(&number)) {
		regmap__note(
			n, -EINVAL, node,
			"%s: %s is not a whole number of bytes: write \"64KB\", \"1 MB\" or 65536",
			key_of(node), SHOWN(node));
		return false;
	}
	if (is_negative(n, node, &number))
		return false;
	if (number.is_huge) {
		regmap__note(n, -EINVAL, node, "%s: %s is more than 64 bits hold", key_of(node),
		             SHOWN(node));
		return false;
	}
	*out = number.number;
	return true;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

bool regmap__value_boolean(struct notes *n, const struct tree *node, bool *out)
{
	if (!node)
		return true;
	if (node->kind != TREE_BOOLEAN) {
		regmap__note(n, -EINVAL, node, "%s: expected true or false, not %s", key_of(node),
		             SHOWN(node));
		return false;
	}
	*out = node->number;
	return true;
}

/* YAML takes a register called ON, or a text that says no, for a boolean. */
bool regmap__value_string(struct notes *n, const struct tree *node, const char **out)
{
	if (!node)
		return true;
	if (node->kind != TREE_STRING &&
	    !(node->kind == TREE_BOOLEAN && node->is_plain && node->string)) {
		regmap__note(n, -EINVAL, node, "%s: expected a string, not %s", key_of(node),
		             regmap__tree_kind_name(node));
		return false;
	}
	*out = node->string;
	return true;
}

bool regmap__value_word(struct notes *n, const struct tree *node, const struct word *words,
                        unsigned *out)
{
	const struct word *at = words;
	const char *text = NULL, *near;
	char all[256] = "";

	if (!node)
		return true;
	if (!regmap__value_string(n, node, &text))
		return false;
	for (const struct word *w = words; w->word; w++)
		if (strcasecmp(w->word, text) == 0) {
			*out = w->value;
			return true;
		}
	near = regmap__nearest(text, next_word, &at);
	for (const struct word *w = words; w->word && !near; w++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
		         w == words ? "" : ", ", w->word);
	regmap__note(n, -EINVAL, node, "%s: %s is unknown: %s%s%s", key_of(node), SHOWN(node),
	             near ? "did you mean \"" : "write one of ", near ? near : all,
	             near ? "\"?" : "");
	return false;
}

bool regmap__value_permissions(struct notes *n, const struct tree *node, unsigned *out)
{
	const char *text = NULL;
	unsigned permissions = 0;

	if (!node)
		return true;
	if (!regmap__value_string(n, node, &text))
		return false;
	for (; *text; text++) {
		switch (*text | 0x20) {
		case 'r': permissions |= REGMAP_PERMIT_READ; break;
		case 'w': permissions |= REGMAP_PERMIT_WRITE; break;
		case 'x': permissions |= REGMAP_PERMIT_EXECUTE; break;
		case '-' | 0x20:
		case ' ': break;
		default:
			regmap__note(n, -EINVAL, node,
			             "%s: %s: permissions are letters of R, W and X", key_of(node),
			             SHOWN(node));
			return false;
		}
	}
	*out = permissions;
	return true;
}

bool regmap__value_width(struct notes *n, const struct tree *node, unsigned *bytes)
{
	uint64_t bits = 0;

	if (!node)
		return true;
	if (!regmap__value_number(n, node, &bits))
		return false;
	if (bits != 8 && bits != 16 && bits != 32 && bits != 64) {
		regmap__note(n, -EINVAL, node, "%s: a width is 8, 16, 32 or 64 bits, not %" PRIu64,
		             key_of(node), bits);
		return false;
	}
	*bytes = bits / 8;
	return true;
}

/* A number alone is a list of one. */
bool regmap__value_widths(struct notes *n, const struct tree *node, unsigned *mask)
{
	unsigned all = 0, one = 0;

	if (!node)
		return true;
	if (node->kind != TREE_LIST) {
		if (!regmap__value_width(n, node, &one))
			return false;
		*mask = one;
		return true;
	}
	for (const struct tree *item = node->first; item; item = item->next) {
		if (!regmap__value_width(n, item, &one))
			return false;
		all |= one;
	}
	*mask = all;
	return true;
}

static bool bit_range(const char *text, unsigned *msb, unsigned *lsb)
{
	bool is_bracketed = *text == '[';
	int used = 0;

	text += is_bracketed;
	if (!isdigit((unsigned char)*text))
		return false;
	if (sscanf(text, "%2u%n", msb, &used) != 1)
		return false;
	text += used;
	*lsb = *msb;
	if (*text == ':' || *text == '-') {
		text++;
		if (!isdigit((unsigned char)*text) || sscanf(text, "%2u%n", lsb, &used) != 1)
			return false;
		text += used;
	}
	if (is_bracketed && *text++ != ']')
		return false;
	return !*text && *msb < 64 && *lsb <= *msb;
}

bool regmap__value_bits(struct notes *n, const struct tree *node, unsigned *lsb, unsigned *width)
{
	unsigned high = 64, low = 64;
	bool is_range;

	if (!node)
		return true;
	if (node->kind == TREE_STRING)
		is_range = bit_range(node->string, &high, &low);
	else
		is_range = node->kind == TREE_INTEGER && !node->is_negative && node->number < 64;
	if (!is_range) {
		regmap__note(
			n, -EINVAL, node,
			"%s: %s is not a range of bits: write \"7:4\", the higher one first, both below 64",
			key_of(node), SHOWN(node));
		return false;
	}
	*lsb = node->kind == TREE_STRING ? low : (unsigned)node->number;
	*width = node->kind == TREE_STRING ? high - low + 1 : 1;
	return true;
}
