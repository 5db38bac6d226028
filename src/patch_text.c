/* SPDX-License-Identifier: MIT */
/*
 * Writing code that other threads may be running, as the kernel does it for its own (text_poke): the
 * first byte becomes one that traps, all cores see that, the tail changes, all cores see that, the
 * first byte changes. The trap is HLT: it raises SIGSEGV, which is ours, where INT3 would be the
 * debugger's.
 *
 * The file is opened for each change, or for many at once: a descriptor that stays would be the parent's
 * memory in a child, and anybody's file once the program has closed all that it doesn't know.
 *
 * By /proc/self/mem the kernel writes where the program can't: the page is copied if it is still
 * the file's, and no mapping is ever writable and executable.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>

#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "patch.h"

#include "sigsafe.h"

enum { HLT = 0xf4, PAGE = 4096, AT_CWD = -100, MOST = 15 };

bool regmap__text_open(struct patch_text *text)
{
	text->fd = sys_call(SYS_openat, AT_CWD, (long)"/proc/self/mem", O_RDWR | O_CLOEXEC, 0);
	return text->fd >= 0;
}

void regmap__text_close(struct patch_text *text)
{
	sys_call(SYS_close, text->fd, 0, 0, 0);
}

/* The kernel reads what may only be executed; for all else it isn't needed. */
bool regmap__text_read(const struct patch_text *text, uint64_t at, void *to, size_t length)
{
	struct cpu_trap trap;

	if (!regmap__guard_copy(to, (const void *)(uintptr_t)at, length, &trap))
		return true;
	return sys_call(SYS_pread64, text->fd, (long)to, (long)length, (long)at) == (long)length;
}

bool regmap__text_write(const struct patch_text *text, uint64_t at, const void *from, size_t length)
{
	return sys_call(SYS_pwrite64, text->fd, (long)from, (long)length, (long)at) == (long)length;
}

static bool register_barrier(void)
{
	return !sys_call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0,
	                 0);
}

void regmap__text_sync(void)
{
	if (sys_call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0) &&
	    register_barrier())
		sys_call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0);
}

bool regmap__text_halt(const struct patch_text *text, uint64_t at, const uint8_t *from,
                       size_t length)
{
	static const uint8_t trap = HLT;
	uint8_t is[MOST];

	return regmap__text_read(text, at, is, length) && !memcmp(is, from, length) &&
	       regmap__text_write(text, at, &trap, 1);
}

void regmap__text_tail(const struct patch_text *text, uint64_t at, const uint8_t *to, size_t length)
{
	if (length > 1)
		regmap__text_write(text, at + 1, to + 1, length - 1);
}

void regmap__text_head(const struct patch_text *text, uint64_t at, const uint8_t *to)
{
	regmap__text_write(text, at, to, 1);
}

static bool writes(uint8_t *page)
{
	static const uint8_t byte = HLT;
	struct patch_text text;
	bool done;

	if (!regmap__text_open(&text))
		return false;
	done = regmap__text_write(&text, (uintptr_t)page, &byte, 1) &&
	       *(volatile uint8_t *)page == HLT;
	regmap__text_close(&text);
	return done;
}

bool regmap__text_works(void)
{
	long page = sys_call6(SYS_mmap, 0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
	                      -1, 0);
	bool works;

	if (page < 0 && page > -PAGE)
		return false;
	works = register_barrier() && writes((uint8_t *)page);
	sys_call(SYS_munmap, page, PAGE, 0, 0);
	return works;
}
