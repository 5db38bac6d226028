/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include "context.h"
#include "guard.h"
#include "syscall.h"

#include "sigsafe.h"

/* struct _fpx_sw_bytes of the kernel, in the FXSAVE area's last 48 bytes. */
enum { SW_BYTES = 464, SW_MAGIC1 = 0x46505853, FXSAVE_SIZE = 512 };
enum { XSTATE_PKRU = 1 << 9 };

struct sw_bytes {
	uint32_t magic1;
	uint32_t extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size;
};

const uint8_t regmap__context_order[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static uint64_t get_base(int which)
{
	uint64_t base = 0;

	if (!regmap__xstate.fsgsbase)
		sys_call(SYS_arch_prctl, which, (long)&base, 0, 0);
	else if (which == ARCH_GET_FS)
		__asm__ volatile("rdfsbase %0" : "=r"(base));
	else
		__asm__ volatile("rdgsbase %0" : "=r"(base));
	return base;
}

static void set_base(int which, uint64_t base)
{
	if (!regmap__xstate.fsgsbase)
		sys_call(SYS_arch_prctl, which, (long)base, 0, 0);
	else if (which == ARCH_SET_FS)
		__asm__ volatile("wrfsbase %0" : : "r"(base) : "memory");
	else
		__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
}

/* The kernel saves CS and SS only: FS and GS are those that the handler runs with. */
static void load_segments(struct cpu *cpu, uint64_t csgsfs)
{
	cpu->cs = (uint16_t)csgsfs;
	cpu->ss = (uint16_t)(csgsfs >> 48);
	__asm__("movw %%fs, %0" : "=r"(cpu->fs));
	__asm__("movw %%gs, %0" : "=r"(cpu->gs));
	cpu->fs_base = get_base(ARCH_GET_FS);
	cpu->gs_base = get_base(ARCH_GET_GS);
}

void regmap__context_segments(struct cpu *cpu)
{
	uint16_t cs, ss;

	__asm__("movw %%cs, %0" : "=r"(cs));
	__asm__("movw %%ss, %0" : "=r"(ss));
	load_segments(cpu, cs | (uint64_t)ss << 48);
}

static const uint8_t *image_of(const void *ucontext)
{
	return (const uint8_t *)((const ucontext_t *)ucontext)->uc_mcontext.fpregs;
}

bool regmap__context_has_header(const void *ucontext)
{
	const uint8_t *image = image_of(ucontext);
	struct sw_bytes sw;

	if (!image)
		return false;
	memcpy(&sw, image + SW_BYTES, sizeof(sw));
	return sw.magic1 == SW_MAGIC1;
}

size_t regmap__context_image(const void *ucontext)
{
	struct sw_bytes sw;

	if (!image_of(ucontext))
		return 0;
	memcpy(&sw, image_of(ucontext) + SW_BYTES, sizeof(sw));
	return sw.magic1 == SW_MAGIC1 ? sw.extended_size : FXSAVE_SIZE;
}

uint8_t *regmap__context_vector(const void *ucontext, uint64_t *xfeatures)
{
	const uint8_t *image = image_of(ucontext);
	struct sw_bytes sw;

	if (!image)
		return NULL;
	memcpy(&sw, image + SW_BYTES, sizeof(sw));
	*xfeatures = sw.xfeatures & ~(uint64_t)XSTATE_PKRU;
	return sw.magic1 == SW_MAGIC1 ? (uint8_t *)image : NULL;
}

static void load_image(struct cpu *cpu, const uint8_t *image)
{
	struct sw_bytes sw;

	memcpy(&sw, image + SW_BYTES, sizeof(sw));
	cpu->xsave = (uint8_t *)image;
	cpu->xfeatures = sw.xfeatures & ~(uint64_t)XSTATE_PKRU;
}

static void load_legacy(struct cpu *cpu, const uint8_t *image, uint8_t *legacy)
{
	uint64_t valid = image ? XSTATE_X87 | XSTATE_SSE : 0;

	memset(legacy, 0, XSAVE_LEGACY);
	if (image)
		memcpy(legacy, image, SW_BYTES);
	*xsave_bv(legacy) = valid;
	cpu->xsave = legacy;
	cpu->xfeatures = valid;
}

void regmap__context_load(struct cpu *cpu, const void *ucontext, uint8_t *legacy)
{
	const greg_t *regs = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;

	for (unsigned i = 0; i < 16; i++)
		cpu->gpr[i] = (uint64_t)regs[regmap__context_order[i]];
	cpu->rip = (uint64_t)regs[REG_RIP];
	cpu->rflags = (uint64_t)regs[REG_EFL] & ~(uint64_t)CPU_RF;
	cpu->dirty = 0;
	load_segments(cpu, (uint64_t)regs[REG_CSGSFS]);
	if (regmap__context_has_header(ucontext))
		load_image(cpu, image_of(ucontext));
	else
		load_legacy(cpu, image_of(ucontext), legacy);
}

void regmap__context_store(const struct cpu *cpu, void *ucontext, bool done)
{
	mcontext_t *m = &((ucontext_t *)ucontext)->uc_mcontext;
	uint64_t rf = done ? 0 : (uint64_t)m->gregs[REG_EFL] & CPU_RF;

	for (unsigned i = 0; i < 16; i++)
		m->gregs[regmap__context_order[i]] = (greg_t)cpu->gpr[i];
	m->gregs[REG_RIP] = (greg_t)cpu->rip;
	m->gregs[REG_EFL] = (greg_t)(cpu->rflags | rf);
	if (m->fpregs && cpu->xsave != (uint8_t *)m->fpregs)
		memcpy(m->fpregs, cpu->xsave, SW_BYTES);
}

static void set_sticky_flags(uint64_t rflags)
{
	const uint64_t sticky = CPU_STICKY;
	uint64_t now = regmap__flags_get();

	if ((now ^ rflags) & sticky)
		regmap__flags_set((now & ~sticky) | (rflags & sticky));
}

/* Loading a selector replaces the base, so that comes second. */
void regmap__context_store_segments(const struct cpu *cpu)
{
	set_sticky_flags(cpu->rflags);
	if (cpu->dirty & CPU_DIRTY_GS)
		__asm__ volatile("movw %0, %%gs" : : "r"(cpu->gs) : "memory");
	if (cpu->dirty & CPU_DIRTY_GS_BASE)
		set_base(ARCH_SET_GS, cpu->gs_base);
	if (cpu->dirty & CPU_DIRTY_FS)
		__asm__ volatile("movw %0, %%fs" : : "r"(cpu->fs) : "memory");
	if (cpu->dirty & CPU_DIRTY_FS_BASE)
		set_base(ARCH_SET_FS, cpu->fs_base);
}

void regmap__context_set_rip(void *ucontext, uint64_t rip)
{
	((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP] = (greg_t)rip;
}

void regmap__context_set_trap(void *ucontext, const struct cpu_trap *trap)
{
	greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;

	regs[REG_TRAPNO] = (greg_t)trap->number;
	regs[REG_ERR] = (greg_t)trap->error;
	if (trap->number == TRAP_PAGE)
		regs[REG_CR2] = (greg_t)trap->address;
}

size_t regmap__context_stack_left(const void *ucontext, const void *here)
{
	const stack_t *stack = &((const ucontext_t *)ucontext)->uc_stack;
	uintptr_t base = (uintptr_t)stack->ss_sp, at = (uintptr_t)here;

	if (stack->ss_flags & SS_DISABLE || at < base || at - base >= stack->ss_size)
		return SIZE_MAX;
	return at - base;
}

bool regmap__tls_works(void)
{
	uint64_t base = get_base(ARCH_GET_FS), self[3];
	struct cpu_trap trap;

	return !(base % sizeof(self[0])) &&
	       !regmap__guard_load(self, (const void *)(uintptr_t)base, 1, &trap) &&
	       self[0] == base;
}

void regmap__canary_lend(struct kept_fs *kept)
{
	static uint64_t block[8]; /* the canary is at FS:0x28 */

	kept->lent = !regmap__tls_works();
	if (!kept->lent)
		return;
	kept->base = get_base(ARCH_GET_FS);
	set_base(ARCH_SET_FS, (uintptr_t)block);
}

void regmap__canary_take_back(const struct kept_fs *kept)
{
	if (kept->lent)
		set_base(ARCH_SET_FS, kept->base);
}
