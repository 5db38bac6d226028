/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "near.h"

enum { LONGEST = 64 };

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static unsigned change(char a, char b, unsigned of_case)
{
	return a == b ? 0 : lower(a) == lower(b) ? of_case : 2;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned regmap__edits(const char *a, size_t n, const char *b, size_t m, unsigned of_case)
{
	unsigned rows[3][LONGEST + 1];

	if (n > LONGEST || m > LONGEST)
		return NEAR_FAR;
	for (size_t k = 0; k <= m; k++)
		rows[0][k] = 2 * (unsigned)k;
	for (size_t i = 1; i <= n; i++) {
		unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		now[0] = 2 * (unsigned)i;
		for (size_t k = 1; k <= m; k++) {
			now[k] = least(last[k - 1] + change(a[i - 1], b[k - 1], of_case),
			               least(last[k], now[k - 1]) + 2);
			if (i > 1 && k > 1 && !change(a[i - 1], b[k - 2], of_case) &&
			    !change(a[i - 2], b[k - 1], of_case))
				now[k] = least(now[k], before[k - 2] + 2);
		}
	}
	return rows[n % 3][m];
}

const char *regmap__nearest(const char *name, regmap__next_name_fn next, void *ctx)
{
	size_t length = strlen(name);
	unsigned best = 2 * ((unsigned)length / 3 + 2);
	const char *nearest = NULL;

	for (const char *candidate; (candidate = next(ctx));) {
		size_t other = strlen(candidate);
		unsigned edits = regmap__edits(name, length, candidate, other, 0);

		if (edits < best && edits < 2 * other) {
			best = edits;
			nearest = candidate;
		}
	}
	return nearest;
}
