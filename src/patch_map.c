/* SPDX-License-Identifier: MIT */
/*
 * The functions that make code writable or take it away: before they do, patches there are taken
 * back, so that whoever writes code finds and keeps the program's own. Libc's own calls don't come by
 * here; dlclose() leaves patches that memory doesn't show any more, which is seen when they are used.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "front.h"
#include "next.h"
#include "patch.h"

#include "sigsafe.h"

/* Anybody may call these before ThreadSanitizer is ready. */
#define NO_TSAN __attribute__((no_sanitize("thread")))

const char regmap__front_map;

static __typeof__(mmap) *next_mmap;
static __typeof__(munmap) *next_munmap;
static __typeof__(mprotect) *next_mprotect;
static __typeof__(mremap) *next_mremap;

__attribute__((constructor)) static void find_next(void)
{
	next_mmap = NEXT(mmap, NULL);
	next_munmap = NEXT(munmap, NULL);
	next_mprotect = NEXT(mprotect, NULL);
	next_mremap = NEXT(mremap, NULL);
}

NO_TSAN static long answer(long result)
{
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}

NO_TSAN static void *plain_mmap(void *at, size_t length, int protection, int flags, int fd,
                                off_t offset)
{
	if (next_mmap)
		return next_mmap(at, length, protection, flags, fd, offset);
	return (void *)answer(
		sys_call6(SYS_mmap, (long)at, (long)length, protection, flags, fd, offset));
}

NO_TSAN REGMAP_API void *mmap(void *at, size_t length, int protection, int flags, int fd,
                              off_t offset)
{
	struct patch_leave leave;
	void *result;

	if (!(flags & MAP_FIXED))
		return plain_mmap(at, length, protection, flags, fd, offset);
	regmap__patch_leave_begin(&leave, (uintptr_t)at, length);
	result = plain_mmap(at, length, protection, flags, fd, offset);
	regmap__patch_leave_end(&leave);
	return result;
}

NO_TSAN REGMAP_API void *mmap64(void *at, size_t length, int protection, int flags, int fd,
                                off_t offset)
{
	return mmap(at, length, protection, flags, fd, offset);
}

NO_TSAN REGMAP_API int munmap(void *at, size_t length)
{
	struct patch_leave leave;
	int result;

	regmap__patch_leave_begin(&leave, (uintptr_t)at, length);
	result = next_munmap ? next_munmap(at, length) :
	                       (int)answer(sys_call(SYS_munmap, (long)at, (long)length, 0, 0));
	regmap__patch_leave_end(&leave);
	return result;
}

NO_TSAN static int plain_mprotect(void *at, size_t length, int protection, int key)
{
	if (key != -1)
		return (int)answer(
			sys_call(SYS_pkey_mprotect, (long)at, (long)length, protection, key));
	return next_mprotect ?
	               next_mprotect(at, length, protection) :
	               (int)answer(sys_call(SYS_mprotect, (long)at, (long)length, protection, 0));
}

NO_TSAN REGMAP_API int pkey_mprotect(void *at, size_t length, int protection, int key)
{
	struct patch_leave leave;
	int result;

	if (!(protection & PROT_WRITE))
		return plain_mprotect(at, length, protection, key);
	regmap__patch_leave_begin(&leave, (uintptr_t)at, length);
	result = plain_mprotect(at, length, protection, key);
	regmap__patch_leave_end(&leave);
	return result;
}

NO_TSAN REGMAP_API int mprotect(void *at, size_t length, int protection)
{
	return pkey_mprotect(at, length, protection, -1);
}

NO_TSAN static void *plain_mremap(void *from, size_t old_length, size_t length, int flags, void *to)
{
	if (next_mremap)
		return next_mremap(from, old_length, length, flags, to);
	return (void *)answer(sys_call6(SYS_mremap, (long)from, (long)old_length, (long)length,
	                                flags, (long)to, 0));
}

/* Code that moves away arrives as the program's own. */
NO_TSAN REGMAP_API void *mremap(void *from, size_t old_length, size_t length, int flags, ...)
{
	struct patch_leave leave;
	void *to = NULL;
	va_list more;

	va_start(more, flags);
	if (flags & MREMAP_FIXED)
		to = va_arg(more, void *);
	va_end(more);
	regmap__patch_leave_begin(&leave, (uintptr_t)from,
	                          old_length > length ? old_length : length);
	if (flags & MREMAP_FIXED)
		regmap__patch_leave_also(&leave, (uintptr_t)to, length);
	to = plain_mremap(from, old_length, length, flags, to);
	regmap__patch_leave_end(&leave);
	return to;
}
