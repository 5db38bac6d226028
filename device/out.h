/* SPDX-License-Identifier: MIT */
/* Text for a file descriptor, where nothing may be allocated and libc may not be asked. */
#ifndef DEVICE_OUT_H
#define DEVICE_OUT_H

#include <stdbool.h>

#include "../arch/x86_64/syscall.h"
#include "../src/text.h"

/* What can't be written is lost. AS-Safe, and keeps errno. */
static inline void out_write(int fd, const char *from, const char *end)
{
	enum { INTERRUPTED = 4 };

	while (from < end) {
		long n = sys_call(SYS_write, fd, (long)from, end - from, 0);

		if (n <= 0 && n != -INTERRUPTED)
			return;
		from += n > 0 ? n : 0;
	}
}

/* Quoted, for JSON; longer names are cut, so that a line has room for all that it must have. */
static inline void put_json(struct text *t, const char *s)
{
	enum { MOST = 120 };

	put_char(t, '"');
	for (const char *begin = s; *s && s - begin < MOST; s++) {
		if ((unsigned char)*s < ' ') {
			put(t, "\\u");
			put_number(t, (unsigned char)*s, 16, 4);
			continue;
		}
		if (*s == '"' || *s == '\\')
			put_char(t, '\\');
		put_char(t, *s);
	}
	put_char(t, '"');
}

/* "0x0000002a", with two digits for each byte. */
static inline void put_value(struct text *t, uint64_t value, unsigned bytes)
{
	put(t, "0x");
	put_number(t, value, 16, bytes * 2);
}

static inline void put_padded(struct text *t, uint64_t value, unsigned width)
{
	uint64_t rest = value;
	unsigned digits = 1;

	while (rest >= 10) {
		rest /= 10;
		digits++;
	}
	for (; digits < width; digits++)
		put_char(t, ' ');
	put_decimal(t, value);
}

#endif
