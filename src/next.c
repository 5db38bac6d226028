/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

#include "next.h"

/* Absent from a static program, which must not be made to contain them. */
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dladdr) dladdr __attribute__((weak));

/* In the program itself, as we are then. */
static bool is_beside_us(void *address)
{
	Dl_info there, here;

	if (!dladdr)
		return true;
	return dladdr(address, &there) && dladdr((void *)regmap__next, &here) &&
	       there.dli_fbase == here.dli_fbase;
}

/*
 * An interceptor in another object stands in front of us, or is what dlsym() finds: to call it in the
 * first case would go round in circles.
 */
void *regmap__next(const char *name, void *interceptor, void *inside)
{
	void *next = interceptor && is_beside_us(interceptor) ? interceptor : NULL;

	if (!next && dlsym)
		next = dlsym(RTLD_NEXT, name);
	return next ? next : inside;
}
