/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include "context.h"
#include "guard.h"
#include "sigframe.h"
#include "syscall.h"

#include "sigsafe.h"

/* The kernel's struct ucontext is shorter than libc's; its frame is a return address, that, the
 * siginfo. */
enum { KERNEL_UCONTEXT = 304, RED_ZONE = 128, IMAGE_ALIGN = 64, FRAME_ALIGN = 16, PAGE = 4096 };

struct moved {
	const void *returns;
	uint8_t ucontext[KERNEL_UCONTEXT];
	siginfo_t info;
	uint8_t extra[SIGFRAME_EXTRA];
};

_Static_assert(offsetof(ucontext_t, uc_sigmask) + 8 == KERNEL_UCONTEXT, "struct ucontext");
_Static_assert(sizeof(siginfo_t) == 128, "siginfo");

bool regmap__stack_holds(const stack_t *stack, uint64_t sp)
{
	uint64_t base = (uintptr_t)stack->ss_sp;

	return !(stack->ss_flags & SS_AUTODISARM) && stack->ss_size && sp > base &&
	       sp - base <= stack->ss_size;
}

stack_t *regmap__sigframe_stack(void *ucontext)
{
	return &((ucontext_t *)ucontext)->uc_stack;
}

static uint64_t interrupted_sp(const void *ucontext)
{
	return (uint64_t)((const ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RSP];
}

bool regmap__sigframe_switched(const void *ucontext)
{
	const stack_t *stack = &((const ucontext_t *)ucontext)->uc_stack;
	bool there = !(stack->ss_flags & SS_DISABLE) && stack->ss_size;

	/* The kernel looks at the address below the red zone. */
	return there && !regmap__stack_holds(stack, interrupted_sp(ucontext) - RED_ZONE);
}

/* From above, as a stack grows, so that a guard page is met before what lies under it. */
static bool has_room(uint64_t from, uint64_t to)
{
	struct cpu_trap trap;

	for (uint64_t at = from - 1; at > to; at = (at & ~(uint64_t)(PAGE - 1)) - 1)
		if (regmap__guard_probe_write((void *)(uintptr_t)at, 1, &trap))
			return false;
	return !regmap__guard_probe_write((void *)(uintptr_t)to, 1, &trap);
}

bool regmap__sigframe_move(struct sigframe *to, const siginfo_t *info, const void *ucontext)
{
	const void *old = ((const ucontext_t *)ucontext)->uc_mcontext.fpregs;
	uint64_t sp = interrupted_sp(ucontext) - RED_ZONE, size = regmap__context_image(ucontext);
	uint64_t image = (sp - size) & ~(uint64_t)(IMAGE_ALIGN - 1);
	uint64_t start = ((image - sizeof(struct moved)) & ~(uint64_t)(FRAME_ALIGN - 1)) - 8;
	struct moved *m = (struct moved *)(uintptr_t)start;
	struct cpu_trap trap;

	if (start > sp || !has_room(sp, start))
		return false;
	if (regmap__guard_copy((void *)(uintptr_t)image, old, size, &trap))
		return false;
	memset(m->extra, 0, sizeof(m->extra));
	m->info = *info;
	memcpy(m->ucontext, ucontext, sizeof(m->ucontext));
	if (old)
		memcpy(m->ucontext + offsetof(ucontext_t, uc_mcontext.fpregs), &image,
		       sizeof(image));
	m->returns = regmap__sigframe_return;
	*to = (struct sigframe){m, &m->info, m->ucontext};
	return true;
}

void *regmap__sigframe_extra(void *ucontext)
{
	return (uint8_t *)ucontext + offsetof(struct moved, extra) -
	       offsetof(struct moved, ucontext);
}
