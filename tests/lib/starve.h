/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out, at any call. A test that includes it is linked with
 *   LDLIBS: -Wl,--wrap=calloc,--wrap=realloc
 */
#ifndef TESTS_STARVE_H
#define TESTS_STARVE_H

#include <stdbool.h>
#include <stddef.h>

static unsigned countdown; /* to the call that fails; 0: none does */
static bool failed;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool fails_now(void)
{
	bool now = countdown && --countdown == 0;

	failed |= now;
	return now;
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails_now() ? NULL : __real_realloc(p, size);
}

#endif
