/* SPDX-License-Identifier: MIT */
/* Who runs here? Without thread-local storage, so whatever the FS base is. */
#ifndef ARCH_X86_64_THREAD_H
#define ARCH_X86_64_THREAD_H

#include <asm/prctl.h>
#include <stdint.h>

#include "cpu.h"
#include "syscall.h"

/* A name for the calling thread, never 0: its FS base, which is not followed. AS-Safe. */
static inline uint64_t regmap__thread_key(void)
{
	uint64_t base = 0;

	if (regmap__xstate.fsgsbase)
		__asm__ volatile("rdfsbase %0" : "=r"(base));
	else
		sys_call(SYS_arch_prctl, ARCH_GET_FS, (long)&base, 0, 0);
	return base | 1;
}

#endif
