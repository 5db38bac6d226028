/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "armed.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <stddef.h>
#include <string.h>

#include "../arch/x86_64/syscall.h"
#include "lane.h"

#include "sigsafe.h"

enum { AT_CWD = -100, STATUS = 1024 };

/*
 * A process is asked whether it is traced at most so often, by the clock of the processor: less than
 * a millisecond. The look costs some microseconds.
 */
#define SELDOM (1u << 20)

/* libc's, since 2.35. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* No thread is ever between these two bytes, and none aborts to what has libc's signature before it. */
extern const uint8_t regmap__armed_nowhere[];
__asm__(".pushsection .text\n"
        "	.long 0x53053053\n"
        ".globl regmap__armed_nowhere\n"
        ".hidden regmap__armed_nowhere\n"
        ".type regmap__armed_nowhere, @function\n"
        "regmap__armed_nowhere:\n"
        "	ud2\n"
        ".size regmap__armed_nowhere, . - regmap__armed_nowhere\n"
        ".popsection\n");

/* As the kernel has it, with addresses that the linker fills in. */
struct section {
	_Alignas(32) uint32_t version;
	uint32_t flags;
	const void *start;
	uint64_t length;
	const void *abort;
};

/* Armed; and not, until the kernel comes by again, or it may be looked once more. */
static const struct section armed = {0, 0, regmap__armed_nowhere + 1, 1, regmap__armed_nowhere};
static const struct section waiting = {0, 0, regmap__armed_nowhere + 1, 1, regmap__armed_nowhere};

static int32_t offset;
static atomic_bool wanted;
static atomic_uint holds;

static long membarrier(int command)
{
	return sys_call(SYS_membarrier, command, 0, 0, 0);
}

void regmap__armed_start(void)
{
	if (!&__rseq_offset || !&__rseq_size || !__rseq_size ||
	    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ))
		return;
	offset = (int32_t)(__rseq_offset + (ptrdiff_t)offsetof(struct rseq, rseq_cs));
}

void regmap__armed_want(void)
{
	atomic_store(&wanted, true);
}

int32_t regmap__armed_offset(void)
{
	return offset;
}

uint32_t regmap__armed_value(void)
{
	return (uint32_t)(uintptr_t)&armed;
}

static uint64_t now(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static uint64_t get_section(void)
{
	uint64_t value;

	__asm__ volatile("mov %%fs:(%1), %0" : "=r"(value) : "r"((intptr_t)offset));
	return value;
}

static void set_section(const struct section *section)
{
	__asm__ volatile("mov %0, %%fs:(%1)" : : "r"(section), "r"((intptr_t)offset) : "memory");
}

/* By a debugger, or the like. */
static bool is_traced(void)
{
	static const char wanted[] = "TracerPid:\t0\n";
	char status[STATUS];
	long fd = sys_call(SYS_openat, AT_CWD, (long)"/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
	long got = fd < 0 ? 0 : sys_call(SYS_read, fd, (long)status, sizeof(status), 0);

	if (fd >= 0)
		sys_call(SYS_close, fd, 0, 0, 0);
	for (long i = 0; i + (long)sizeof(wanted) - 1 <= got; i++)
		if (!memcmp(status + i, wanted, sizeof(wanted) - 1))
			return false;
	return true;
}

/* Armed first: a tracer or holder who comes behind the look disarms it. */
void regmap__armed_renew(void)
{
	struct lane *lane;
	uint64_t time, section;

	if (!atomic_load_explicit(&wanted, memory_order_relaxed))
		return;
	section = get_section();
	if (section && section != (uintptr_t)&waiting)
		return;
	lane = regmap__lane_take();
	if (!lane)
		return;
	time = now();
	if (atomic_load(&holds) || (lane->looked && time - lane->looked < SELDOM)) {
		set_section(&waiting);
		return;
	}
	lane->looked = time;
	set_section(&armed);
	if (is_traced() || atomic_load(&holds))
		set_section(&waiting);
}

void regmap__armed_hold(void)
{
	atomic_fetch_add(&holds, 1);
	if (!atomic_load(&wanted))
		return;
	/* the kernel forgets who has registered where a process was made in strange ways */
	if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) &&
	    !membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ))
		membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ);
}

/* In a child that a handler made meanwhile, there is none any more. */
void regmap__armed_release(void)
{
	unsigned n = atomic_load(&holds);

	while (n && !atomic_compare_exchange_weak(&holds, &n, n - 1))
		;
}

void regmap__armed_forget_others(void)
{
	atomic_store(&holds, 0);
}
