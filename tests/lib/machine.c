/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "machine.h"

enum {
	STACK_SIZE = 1 << 19,
	FRAME_IMAGE_MAX = 1 << 14,
	INT3 = 0xcc,
	KERNEL_UCONTEXT = 304, /* without the signal mask's end and glibc's own members */
};

/* The image. */
enum {
	FX_FCW = 0,
	FX_MXCSR = 24,
	FX_MXCSR_MASK = 28,
	FX_ST = 32,
	FX_XMM = 160,
	FX_RESERVED = 416,
	FX_SW_BYTES = 464,
	XSTATE_BV = 512,
	XSAVE_LEGACY = 576,
};

/* struct _fpx_sw_bytes of the kernel. */
struct sw_bytes {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size;
};

enum { YMM = 2, OPMASK = 5, ZMM_HIGH = 6, ZMM16 = 7, USED = 0xe7 };
enum { HWCAP2_FSGSBASE_BIT = 1 << 1 };

void t__machine_enter(void *ucontext, uint64_t rflags);
extern const char t__machine_leave[], t__machine_entry[];
extern uint64_t t__machine_rsp;
__attribute__((used)) void t__machine_signal(int signo, siginfo_t *info, ucontext_t *uc);

struct t_layout t_layout;
uint8_t *t_code;

static ucontext_t frame; /* what sigreturn is given */
static uint8_t frame_image[FRAME_IMAGE_MAX] __attribute__((aligned(64)));
static uint8_t initial_image[FRAME_IMAGE_MAX] __attribute__((aligned(64)));
static uint64_t host_fs_base, host_gs_base;
static bool fsgsbase, learning;
static struct t_outcome *outcome;
static uint8_t *outcome_image;

static const uint8_t greg_of[T_GPRS] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void give_up(const char *what)
{
	perror(what);
	abort();
}

/* Segments: no thread-local storage may be used before FS is right again. */

static long prctl_base(int which, uint64_t *base)
{
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "0"((long)SYS_arch_prctl), "D"((long)which), "S"(base)
	                 : "rcx", "r11", "memory");
	return result;
}

static uint64_t get_base(int which)
{
	uint64_t base = 0;

	if (!fsgsbase)
		prctl_base(which, &base);
	else if (which == ARCH_GET_FS)
		__asm__ volatile("rdfsbase %0" : "=r"(base));
	else
		__asm__ volatile("rdgsbase %0" : "=r"(base));
	return base;
}

static void set_base(int which, uint64_t base)
{
	if (!fsgsbase)
		prctl_base(which, (uint64_t *)base);
	else if (which == ARCH_SET_FS)
		__asm__ volatile("wrfsbase %0" : : "r"(base) : "memory");
	else
		__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
}

static void take_segments(struct t_regs *to)
{
	__asm__("mov %%fs, %0" : "=r"(to->fs));
	__asm__("mov %%gs, %0" : "=r"(to->gs));
	__asm__("mov %%ds, %0" : "=r"(to->ds));
	__asm__("mov %%es, %0" : "=r"(to->es));
	to->fs_base = get_base(ARCH_GET_FS);
	to->gs_base = get_base(ARCH_GET_GS);
}

static void reset_segments(const struct t_regs *now)
{
	const uint16_t none = 0;

	if (now->fs)
		__asm__ volatile("mov %0, %%fs" : : "r"(none));
	if (now->gs)
		__asm__ volatile("mov %0, %%gs" : : "r"(none));
	if (now->ds)
		__asm__ volatile("mov %0, %%ds" : : "r"(none));
	if (now->es)
		__asm__ volatile("mov %0, %%es" : : "r"(none));
	if (now->fs || now->fs_base != host_fs_base)
		set_base(ARCH_SET_FS, host_fs_base);
	if (now->gs || now->gs_base != host_gs_base)
		set_base(ARCH_SET_GS, host_gs_base);
}

/* Images */

static void learn_layout(void)
{
	static const unsigned part[] = {YMM, OPMASK, ZMM_HIGH, ZMM16};
	unsigned *const to[] = {&t_layout.ymm, &t_layout.opmask, &t_layout.zmm_high,
	                        &t_layout.zmm16};
	const struct sw_bytes *sw = (const void *)(initial_image + FX_SW_BYTES);

	t_layout.size = XSAVE_LEGACY;
	for (unsigned i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		unsigned size, offset, c, d;

		__cpuid_count(0xd, part[i], size, offset, c, d);
		if (!(sw->xfeatures >> part[i] & 1))
			continue;
		*to[i] = offset;
		if (offset + size > t_layout.size)
			t_layout.size = offset + size;
	}
	if (t_layout.size > T_IMAGE_MAX)
		give_up("an XSAVE image of unknown layout");
}

void t_image_init(uint8_t *image)
{
	memcpy(image, initial_image, t_layout.size);
}

unsigned t_vector_bytes(void)
{
	return t_layout.zmm_high ? 64 : t_layout.ymm ? 32 : 16;
}

/* Where byte @at of vector register @i is; NULL if there is none. */
static uint8_t *vector_byte(uint8_t *image, unsigned i, unsigned at)
{
	if (i >= 16)
		return t_layout.zmm16 ? image + t_layout.zmm16 + (i - 16) * 64 + at : NULL;
	if (at < 16)
		return image + FX_XMM + i * 16 + at;
	if (at < 32)
		return t_layout.ymm ? image + t_layout.ymm + i * 16 + at - 16 : NULL;
	return t_layout.zmm_high ? image + t_layout.zmm_high + i * 32 + at - 32 : NULL;
}

void t_image_set_vector(uint8_t *image, unsigned i, unsigned at, const void *from, unsigned length)
{
	const uint8_t *bytes = from;

	for (unsigned k = 0; k < length; k++) {
		uint8_t *to = vector_byte(image, i, at + k);

		if (to)
			*to = bytes[k];
	}
}

void t_image_get_vector(const uint8_t *image, unsigned i, unsigned at, void *to, unsigned length)
{
	uint8_t *bytes = to;

	for (unsigned k = 0; k < length; k++) {
		const uint8_t *from = vector_byte((uint8_t *)(uintptr_t)image, i, at + k);

		bytes[k] = from ? *from : 0;
	}
}

static void clear_part(uint8_t *image, uint64_t valid, unsigned bit, unsigned offset, unsigned size)
{
	if (offset && !(valid >> bit & 1))
		memset(image + offset, 0, size);
}

/* x87 and SSE components in their initial state have invalid bytes; MXCSR belongs to neither. */
static void canonical(uint8_t *image)
{
	uint64_t valid;

	memcpy(&valid, image + XSTATE_BV, sizeof(valid));
	if (!(valid & 1)) {
		memset(image, 0, FX_MXCSR);
		memset(image + FX_ST, 0, FX_XMM - FX_ST);
		image[FX_FCW] = 0x7f;
		image[FX_FCW + 1] = 3;
	}
	if (!(valid & 2))
		memset(image + FX_XMM, 0, FX_RESERVED - FX_XMM);
	memset(image + FX_MXCSR_MASK, 0, FX_ST - FX_MXCSR_MASK);
	memset(image + FX_RESERVED, 0, XSAVE_LEGACY - FX_RESERVED);
	for (unsigned i = 0; i < 8; i++)
		memset(image + FX_ST + 16 * i + 10, 0, 6);
	clear_part(image, valid, YMM, t_layout.ymm, 256);
	clear_part(image, valid, OPMASK, t_layout.opmask, 64);
	clear_part(image, valid, ZMM_HIGH, t_layout.zmm_high, 512);
	clear_part(image, valid, ZMM16, t_layout.zmm16, 1024);
}

/* Signals */

static void learn_frame(const ucontext_t *uc)
{
	const struct sw_bytes *sw = (const void *)((uint8_t *)uc->uc_mcontext.fpregs + FX_SW_BYTES);

	if (sw->extended_size > FRAME_IMAGE_MAX)
		give_up("the XSAVE image of a signal frame is too large");
	memcpy(&frame, uc, KERNEL_UCONTEXT);
	memcpy(initial_image, uc->uc_mcontext.fpregs, sw->extended_size);
	frame.uc_mcontext.fpregs = (void *)frame_image;
	learning = false;
}

static enum t_end end_of(int signo, const siginfo_t *info)
{
	if (signo != SIGTRAP)
		return T_END_FAULT;
	return info->si_code == TRAP_TRACE ? T_END_STEP : T_END_DONE;
}

static void take_registers(const greg_t *gregs, struct t_regs *to)
{
	for (unsigned i = 0; i < T_GPRS; i++)
		to->gpr[i] = (uint64_t)gregs[greg_of[i]];
	to->rip = (uint64_t)gregs[REG_RIP];
	to->rflags = (uint64_t)gregs[REG_EFL] & ~(uint64_t)T_RF;
}

static void take_outcome(int signo, const siginfo_t *info, const ucontext_t *uc)
{
	const greg_t *gregs = uc->uc_mcontext.gregs;

	take_registers(gregs, &outcome->regs);
	outcome->end = end_of(signo, info);
	if (outcome->end == T_END_DONE)
		outcome->regs.rip--;
	outcome->signo = signo;
	outcome->code = info->si_code;
	outcome->address = outcome->end == T_END_FAULT ? (uintptr_t)info->si_addr : 0;
	outcome->number = outcome->end == T_END_FAULT ? (uint64_t)gregs[REG_TRAPNO] : 0;
	outcome->error = outcome->end == T_END_FAULT ? (uint64_t)gregs[REG_ERR] : 0;
	memcpy(outcome_image, uc->uc_mcontext.fpregs, t_layout.size);
	canonical(outcome_image);
}

/* Any signal of t_run() ends here. */
void t__machine_signal(int signo, siginfo_t *info, ucontext_t *uc)
{
	greg_t *gregs = uc->uc_mcontext.gregs;
	struct t_regs segments;

	take_segments(&segments);
	reset_segments(&segments);
	if (learning) {
		learn_frame(uc);
		return;
	}
	if (!outcome) {
		signal(signo, SIG_DFL); /* nothing is being run: an ordinary crash */
		return;
	}
	outcome->regs = segments;
	take_outcome(signo, info, uc);
	outcome = NULL;
	gregs[REG_RSP] = (greg_t)t__machine_rsp;
	gregs[REG_RIP] = (greg_t)(uintptr_t)t__machine_leave;
	gregs[REG_EFL] = 0x202;
	gregs[REG_CSGSFS] = frame.uc_mcontext.gregs[REG_CSGSFS];
	uc->uc_mcontext.fpregs = NULL;
}

void t_machine_catch(void)
{
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	act.sa_sigaction = (void (*)(int, siginfo_t *, void *))(uintptr_t)t__machine_entry;
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], &act, NULL))
			give_up("sigaction");
}

/* What the frame was learnt from becomes the initial state, all of it valid. */
static void learn_initial(void)
{
	uint8_t software[XSTATE_BV - FX_SW_BYTES], header[XSAVE_LEGACY - XSTATE_BV] = {0};
	const uint32_t mxcsr = 0x1f80;
	uint64_t xfeatures;

	memcpy(software, initial_image + FX_SW_BYTES, sizeof(software));
	memcpy(&xfeatures, software + offsetof(struct sw_bytes, xfeatures), sizeof(xfeatures));
	memset(initial_image + XSTATE_BV, 0, sizeof(header));
	canonical(initial_image);
	memcpy(initial_image + FX_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(initial_image + FX_SW_BYTES, software, sizeof(software));
	xfeatures &= USED;
	memcpy(header, &xfeatures, sizeof(xfeatures));
	memcpy(initial_image + XSTATE_BV, header, sizeof(header));
}

void t_machine_init(uint64_t code_address, uint64_t gs_base)
{
	stack_t stack = {.ss_sp = malloc(STACK_SIZE), .ss_size = STACK_SIZE};

	fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
	set_base(ARCH_SET_GS, gs_base);
	host_fs_base = get_base(ARCH_GET_FS);
	host_gs_base = gs_base;
	t_code = mmap((void *)code_address, T_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
	              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (t_code == MAP_FAILED || sigaltstack(&stack, NULL))
		give_up("t_machine_init");
	memset(t_code, INT3, T_CODE_SIZE);
	t_machine_catch();
	learning = true;
	raise(SIGTRAP);
	learn_layout();
	learn_initial();
	memcpy(frame_image, initial_image, sizeof(frame_image));
}

void t_run(const struct t_regs *in, const uint8_t *image, struct t_outcome *out, uint8_t *out_image)
{
	greg_t *gregs = frame.uc_mcontext.gregs;

	for (unsigned i = 0; i < T_GPRS; i++)
		gregs[greg_of[i]] = (greg_t)in->gpr[i];
	gregs[REG_RIP] = (greg_t)in->rip;
	gregs[REG_EFL] = (greg_t)in->rflags;
	memcpy(frame_image, image, t_layout.size);
	outcome_image = out_image;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	outcome = out;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	t__machine_enter(&frame, in->rflags);
}
