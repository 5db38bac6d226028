/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <sys/mman.h>

#include "syscall.h"

#include "sigsafe.h"

void *regmap__scratch_map(size_t length)
{
	long at = sys_call6(SYS_mmap, 0, (long)length, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

void regmap__scratch_unmap(void *at, size_t length)
{
	sys_call(SYS_munmap, (long)at, (long)length, 0, 0);
}
