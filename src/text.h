/* SPDX-License-Identifier: MIT */
/* Text in a fixed buffer, for reports. What doesn't fit is cut off. */
#ifndef SRC_TEXT_H
#define SRC_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
	char *at, *end;
};

static inline void put_char(struct text *t, char c)
{
	if (t->at < t->end)
		*t->at++ = c;
}

static inline void put(struct text *t, const char *s)
{
	while (*s)
		put_char(t, *s++);
}

/* With at least @digits digits. */
static inline void put_number(struct text *t, uint64_t value, unsigned base, unsigned digits)
{
	char reversed[64];
	unsigned n = 0;

	do {
		reversed[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	for (unsigned pad = n; pad < digits; pad++)
		put_char(t, '0');
	while (n)
		put_char(t, reversed[--n]);
}

static inline void put_decimal(struct text *t, uint64_t value)
{
	put_number(t, value, 10, 1);
}

static inline void put_hex(struct text *t, uint64_t value)
{
	put(t, "0x");
	put_number(t, value, 16, 1);
}

/* 8 digits where they do, else 16. */
static inline void put_address(struct text *t, uint64_t address)
{
	put(t, "0x");
	put_number(t, address, 16, address >> 32 ? 16 : 8);
}

/* Spaces up to @column of a line that began at @line. */
static inline void put_column(struct text *t, const char *line, unsigned column)
{
	do
		put_char(t, ' ');
	while (t->at < t->end && t->at - line < (ptrdiff_t)column);
}

#endif
