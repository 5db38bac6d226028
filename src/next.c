/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/syscall.h"
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

#ifndef __GLIBC__

int regmap__plain_sigaction(int signo, const struct sigaction *set, struct sigaction *old);

int regmap__plain_sigaction(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct sys_sigaction to = {0}, from;
	long error;

	if (set) {
		to.handler = (void *)set->sa_sigaction;
		to.flags = (unsigned)set->sa_flags | SYS_SA_RESTORER;
		to.restorer = (void *)regmap__restore_rt;
		memcpy(&to.mask, &set->sa_mask, sizeof(to.mask));
	}
	error = sys_sigaction(signo, set ? &to : NULL, &from);
	if (error) {
		errno = (int)-error;
		return -1;
	}
	if (!old)
		return 0;
	memset(old, 0, sizeof(*old));
	old->sa_sigaction = (void (*)(int, siginfo_t *, void *))from.handler;
	old->sa_flags = (int)from.flags;
	memcpy(&old->sa_mask, &from.mask, sizeof(from.mask));
	return 0;
}

#endif
