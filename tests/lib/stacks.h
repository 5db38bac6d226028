/* SPDX-License-Identifier: MIT */
/*
 * Stacks: alternate ones that libregmap gives to threads, what the program sees of them (nothing),
 * where its handlers run, and threads whose own stack lies in a window or overflows: test_stacks_*.
 * What can be compared with a process without libregmap at work is: such scenes run in children.
 */
#ifndef TESTS_STACKS_H
#define TESTS_STACKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, STACK = 1 << 20 };

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

#define WINDOW 0xffff900000000000ULL
#define DEVICE 0xffff900000100000ULL
#define STACK_WINDOW 0xffff900000200000ULL
#define DIRECT_STACK 0x200000000000ULL
#define WILD 0x7ffffffff000ULL

/* A sanitizer's run-time library has handlers, stacks and masks of its own. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

#define NOT_UNDER(init) \
	do { \
		if (init) \
			skip(); \
	} while (0)

static uint64_t memory[512];
static uint8_t stack_memory[STACK] __attribute__((aligned(64)));

static int (*in_device)(void); /* what a callback is to do */

static inline int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = in_device ? (uint64_t)in_device() : 0;
	return 0;
}

static const struct regmap_device_ops device = {device_read, NULL};

static inline void lay(void)
{
	if (t_lay_host("memory", WINDOW, memory, sizeof(memory), RW) ||
	    t_lay_device("device", DEVICE, PAGE, &device, NULL) ||
	    t_lay_host("stack", STACK_WINDOW, stack_memory, STACK, RW))
		_exit(90);
}

static inline uint64_t peek(uint64_t at)
{
	return *(volatile uint64_t *)(uintptr_t)at;
}

static inline void poke(uint64_t at, uint64_t value)
{
	*(volatile uint64_t *)(uintptr_t)at = value;
}

static inline bool window_works(void)
{
	static _Atomic uint64_t next = 1;
	uint64_t value = next++, at = WINDOW + 8 * (256 + value % 256),
		 found; /* threads keep apart */

	poke(at, value);
	found = peek(at);
	/* A thread that had to wait in between finds what one of the next rounds has left there. */
	return found >= value && (found - value) % 256 == 0;
}

/* What the kernel knows. */
static inline stack_t real_stack(void)
{
	stack_t now;

	memset(&now, 0, sizeof(now));
	if (syscall(SYS_sigaltstack, NULL, &now))
		_exit(91);
	return now;
}

static inline uint64_t real_mask(void)
{
	uint64_t mask;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, 8);
	return mask;
}

static inline uint64_t word(const sigset_t *set)
{
	uint64_t w;

	memcpy(&w, set, sizeof(w));
	return w;
}

static inline uint64_t believed_mask(void)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return word(&now);
}

static inline bool has_ours(size_t least)
{
	stack_t real = real_stack(), believed;

	return !(real.ss_flags & SS_DISABLE) && real.ss_size >= least &&
	       !sigaltstack(NULL, &believed) && believed.ss_flags == SS_DISABLE;
}

static inline bool can_read(const void *at)
{
	int ends[2];
	bool can;

	if (pipe(ends))
		_exit(92);
	can = write(ends[1], at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return can;
}

/* A child must succeed; it says on stderr what was wrong. */
static inline void must_succeed(int (*body)(void *), void *arg)
{
	struct t_child child;

	t_child_run(&child, body, arg);
	if (child.status)
		print_error("status 0x%x\n%s", child.status, child.text);
	assert_int_equal(child.status, 0);
}

enum world { BARE, WINDOWS, OPTION };

static inline void have_world(enum world world)
{
	if (world != BARE)
		lay();
	if (world == OPTION && regmap_signal_stacks(0))
		_exit(93);
}

static inline void fault_again(uint64_t at)
{
	__asm__ volatile("movl %%eax, (%%rdi)" : : "D"(at) : "memory");
}

#define T(name) cmocka_unit_test(test_stacks_##name)

#endif
