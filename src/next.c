/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

#include "next.h"

/* Absent from a static program, which must not be made to contain them. */
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dladdr) dladdr __attribute__((weak));

/*
 * Behind ours is an interceptor only if it is in the same program: ours has taken its place there.
 * One in a library is found in the order of libraries, or comes before ours and will call that.
 */
static bool is_beside(const void *interceptor)
{
	static const char here;
	Dl_info its, ours;

	if (!interceptor || !dladdr)
		return interceptor;
	return dladdr(interceptor, &its) && dladdr(&here, &ours) && its.dli_fbase == ours.dli_fbase;
}

void *regmap__next(const char *name, void *interceptor, void *inside)
{
	void *next = is_beside(interceptor) ? interceptor : NULL;

	if (!next && dlsym)
		next = dlsym(RTLD_NEXT, name);
	return next ? next : inside;
}
