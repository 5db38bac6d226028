/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "next.h"

/* Absent from a static program, which must not be made to contain it. */
extern __typeof__(dlsym) dlsym __attribute__((weak));

void *regmap__next(const char *name, void *interceptor, void *inside)
{
	void *next = interceptor;

	if (!next && dlsym)
		next = dlsym(RTLD_NEXT, name);
	return next ? next : inside;
}
