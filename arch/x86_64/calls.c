/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "calls.h"

#include <linux/audit.h>
#include <ucontext.h>

#include "context.h"
#include "guard.h"

#include "sigsafe.h"

/* The kernel's frame: struct ucontext, shorter than libc's, then the siginfo, then the image. */
enum { RED_ZONE = 128, KERNEL_UCONTEXT = 304 };

_Static_assert(RED_ZONE + sizeof(struct call_block) == CALL_FRAME, "for a child's stack");
_Static_assert(offsetof(struct call_block, rsp) == 56, "calls.S finds it there");
_Static_assert(offsetof(ucontext_t, uc_sigmask) + 8 == KERNEL_UCONTEXT, "struct ucontext");

/* What regmap__calls_pass_32 finds in a block: IRETQ's operands. */
struct iret {
	uint64_t rip, cs, flags, rsp, ss;
};

extern const char regmap__calls_pass[], regmap__calls_pass_child[], regmap__calls_pass_32[];
extern const char regmap__calls_probed[];

static const uint8_t argument[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};

static greg_t *registers(void *ucontext)
{
	return ((ucontext_t *)ucontext)->uc_mcontext.gregs;
}

/* What the context needs for sigreturn must stay as it is. */
static void find_place(struct call *call, const void *ucontext)
{
	const ucontext_t *uc = ucontext;
	uint64_t info = (uintptr_t)uc + KERNEL_UCONTEXT, image = (uintptr_t)uc->uc_mcontext.fpregs;
	uint64_t end = image ? image + regmap__context_image(uc) : info + sizeof(siginfo_t);
	const uint64_t sure = offsetof(struct call_block, scratch[CALL_SCRATCH_SURE]);

	call->at = call->block.rsp - CALL_FRAME;
	call->room = sizeof(call->block);
	if (call->at >= end || (uintptr_t)uc >= call->block.rsp)
		return;
	call->at = image >= info + sure ? info : 0;
	call->room = sure;
}

static void load(struct call *call, uint64_t number, const void *ucontext)
{
	const greg_t *regs = registers((void *)ucontext);

	call->number = number;
	call->compat = false;
	for (unsigned i = 0; i < 6; i++)
		call->arg[i] = call->block.arg[i] = (uint64_t)regs[argument[i]];
	call->block.rip = (uint64_t)regs[REG_RIP];
	call->block.rsp = (uint64_t)regs[REG_RSP];
	for (unsigned i = 0; i < CALL_SCRATCH; i++)
		call->block.scratch[i] = 0;
	find_place(call, ucontext);
}

void regmap__call_load(struct call *call, const siginfo_t *info, const void *ucontext)
{
	load(call, (uint64_t)info->si_syscall, ucontext);
	call->compat = info->si_arch != AUDIT_ARCH_X86_64;
}

bool regmap__call_load_lost(struct call *call, const void *ucontext)
{
	static const uint8_t instruction[2] = {0x0f, 0x05};
	const greg_t *regs = registers((void *)ucontext);
	uint64_t rip = (uint64_t)regs[REG_RIP];

	if (regs[REG_RCX] != (greg_t)rip || regs[REG_R11] != regs[REG_EFL] ||
	    (rip >= (uintptr_t)regmap__calls_begin && rip < (uintptr_t)regmap__calls_end) ||
	    regmap__guard_compare((const void *)(uintptr_t)(rip - 2), instruction, 2))
		return false;
	load(call, (uint64_t)regs[REG_RAX], ucontext);
	return true;
}

bool regmap__call_is_probe(const struct call *call)
{
	return call->block.rip == (uintptr_t)regmap__calls_probed;
}

void regmap__call_finish(void *ucontext, long result)
{
	greg_t *regs = registers(ucontext);

	regs[REG_RAX] = result;
	regs[REG_R11] |= CALL_RETURNED;
}

static bool put(uint64_t at, const void *what, size_t size)
{
	struct cpu_trap trap;

	return !regmap__guard_copy((void *)(uintptr_t)at, what, size, &trap);
}

static bool put_block(const struct call *call, const greg_t *regs)
{
	struct iret iret = {
		.rip = call->block.rip,
		.cs = (uint16_t)regs[REG_CSGSFS],
		.flags = (uint64_t)regs[REG_EFL],
		.rsp = call->block.rsp,
		.ss = (uint64_t)regs[REG_CSGSFS] >> 48,
	};

	if (call->compat)
		return put(call->at, &iret, sizeof(iret));
	return put(call->at, &call->block, call->room);
}

static const char *routine(const struct call *call, bool arms)
{
	if (call->compat)
		return regmap__calls_pass_32;
	return arms ? regmap__calls_pass_child : regmap__calls_pass;
}

bool regmap__call_pass(const struct call *call, void *ucontext, bool arms)
{
	greg_t *regs = registers(ucontext);

	if (!put_block(call, regs))
		return false;
	regs[REG_RSP] = (greg_t)call->at;
	regs[REG_RIP] = (greg_t)(uintptr_t)routine(call, arms);
	if (call->compat)
		return true;
	regs[REG_RAX] = (greg_t)call->number;
	for (unsigned i = 0; i < 6; i++)
		regs[argument[i]] = (greg_t)call->arg[i];
	return true;
}

uint64_t regmap__call_plant(const struct call *call, uint64_t top)
{
	struct call_block block = call->block;

	block.rsp = top;
	return put(top - CALL_FRAME, &block, sizeof(block)) ? top - CALL_FRAME : 0;
}

uint64_t *regmap__call_sigreturn(void *ucontext)
{
	greg_t *regs = registers(ucontext);

	regs[REG_RIP] = (greg_t)(uintptr_t)regmap__restore_rt;
	return regmap__context_mask((void *)(uintptr_t)regs[REG_RSP]);
}
