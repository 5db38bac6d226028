/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdint.h>
#include <ucontext.h>

#include "alu.h"
#include "guard.h"
#include "native.h"
#include "rep.h"

#include "sigsafe.h"

enum { PAGE = 4096 };

/* Labels of alu.S, native.S, copy.S and rep.S. */
extern const char regmap__alu_begin[], regmap__alu_end[], regmap__alu_fault[];
extern const char regmap__native_begin[], regmap__native_end[], regmap__native_fault[];
extern const char regmap__rep_begin[], regmap__rep_end[], regmap__rep_fault[];
extern const char regmap__copy_begin[], regmap__copy_end[], regmap__copy_fault[];

int regmap__copy_bytes(void *to, const void *from, size_t length, long unused,
                       struct cpu_trap *trap);
int regmap__compare_bytes(const void *a, const void *b, size_t length, long unused,
                          struct cpu_trap *trap);
int regmap__load_words(void *to, const void *from, size_t words, long unused,
                       struct cpu_trap *trap);
int regmap__probe_byte(uint64_t at, int write, long unused1, long unused2, struct cpu_trap *trap);

static bool within(uint64_t rip, const char *begin, const char *end)
{
	return rip >= (uintptr_t)begin && rip < (uintptr_t)end;
}

static void fill_trap(struct cpu_trap *trap, int signo, const siginfo_t *info, const greg_t *regs)
{
	trap->signo = signo;
	trap->code = info->si_code;
	trap->address = (uintptr_t)info->si_addr;
	trap->number = (uint64_t)regs[REG_TRAPNO];
	trap->error = (uint64_t)regs[REG_ERR];
}

static void resume(greg_t *regs, const char *label, unsigned pop)
{
	regs[REG_RIP] = (greg_t)(uintptr_t)label;
	regs[REG_RSP] += pop;
	regs[REG_EFL] &= ~(greg_t)(CPU_AC | CPU_DF | CPU_TF | CPU_RF);
}

/* In a stub the return address lies on top of native.S's frame, whose first word is the struct. */
static struct native *native_of(const greg_t *regs)
{
	return *(struct native **)(uintptr_t)(regs[REG_RSP] + 8);
}

bool regmap__guard_fixup(int signo, const siginfo_t *info, void *ucontext)
{
	greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)regs[REG_RIP];

	if (info->si_code <= 0)
		return false;
	if (within(rip, regmap__copy_begin, regmap__copy_end)) {
		fill_trap((struct cpu_trap *)(uintptr_t)regs[REG_R8], signo, info, regs);
		resume(regs, regmap__copy_fault, 0);
		return true;
	}
	if (within(rip, regmap__alu_begin, regmap__alu_end)) {
		fill_trap(&((struct alu *)(uintptr_t)regs[REG_RDI])->trap, signo, info, regs);
		resume(regs, regmap__alu_fault, 8);
		return true;
	}
	if (within(rip, regmap__rep_begin, regmap__rep_end)) {
		greg_t direction = regs[REG_EFL] & CPU_DF;

		fill_trap(&((struct rep *)(uintptr_t)regs[REG_R9])->trap, signo, info, regs);
		resume(regs, regmap__rep_fault, 0);
		regs[REG_EFL] |= direction;
		return true;
	}
	if (regmap__code_contains(rip)) {
		fill_trap(&native_of(regs)->trap, signo, info, regs);
		resume(regs, regmap__native_fault, 8);
		return true;
	}
	return false;
}

void regmap__guard_leave_stub(void *ucontext)
{
	enum { RET = 0xc3, CALL_LENGTH = 4 /* call *8(%rsp) */ };
	greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)regs[REG_RIP], back;

	if (!regmap__code_contains(rip))
		return;
	back = *(const uint64_t *)(uintptr_t)regs[REG_RSP];
	if (!within(back, regmap__native_begin, regmap__native_end))
		return;
	if (*(const uint8_t *)(uintptr_t)rip != RET)
		back -= CALL_LENGTH;
	regs[REG_RIP] = (greg_t)back;
	regs[REG_RSP] += (greg_t)sizeof(back);
}

int regmap__guard_copy(void *to, const void *from, size_t length, struct cpu_trap *trap)
{
	return regmap__copy_bytes(to, from, length, 0, trap);
}

int regmap__guard_load(uint64_t to[3], const void *from, size_t words, struct cpu_trap *trap)
{
	return regmap__load_words(to, from, words, 0, trap);
}

int regmap__guard_compare(const void *a, const void *b, size_t length)
{
	struct cpu_trap trap;

	return regmap__compare_bytes(a, b, length, 0, &trap);
}

static int probe(uint64_t at, size_t length, int write, struct cpu_trap *trap)
{
	uint64_t last = at + length - 1;

	for (;;) {
		if (regmap__probe_byte(at, write, 0, 0, trap))
			return -1;
		if (at / PAGE == last / PAGE)
			return 0;
		at = (at | (PAGE - 1)) + 1;
	}
}

int regmap__guard_probe_write(void *at, size_t length, struct cpu_trap *trap)
{
	return length ? probe((uintptr_t)at, length, 1, trap) : 0;
}

int regmap__guard_probe_read(const void *at, size_t length, struct cpu_trap *trap)
{
	return length ? probe((uintptr_t)at, length, 0, trap) : 0;
}
