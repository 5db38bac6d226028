/* SPDX-License-Identifier: MIT */
/**
 * Arm Cortex-M sources on a PC: a prelude for the compiler, `-include regmap/arm_host.h`.
 *
 * Firmware for a Cortex-M, drivers and vendors' headers alike, then compiles as it is for x86-64, by GCC
 * and Clang, as C11 to C23 and C++: the inline assembly in it meets assembler macros of the same
 * names, and the compiler pretends to be one for the core at hand. docs/firmware.md leads through it.
 *
 *   -DREGMAP_ARM_ARCH=7M       6M, 7M, 7EM, 8M_BASE or 8M_MAIN; 7M if nothing is said
 *   -DREGMAP_ARM_CORE=0x...    where the core window lies; a plain number, below 2^32
 *   -DREGMAP_ARM_BARRIERS=1    barriers are writes to the core window, too
 *
 * Barriers are real ones. Reversals, saturation and CLZ are computed. Special registers and hints are
 * 32-bit accesses to the *core window*, 4 KB at 0x5FFFF000, which is part of the Cortex-M templates (a
 * peripheral named CORE): so `cpsid i`, `wfi` and `msr basepri, ...` arrive at a device like any register, and
 * what they mean is said there. Offsets in it are listed below as REGMAP_ARM_*.
 *
 * LDREX and STREX keep to their meaning: each thread has a monitor, LDREX opens it, and STREX stores if it
 * is open and the location still has the value that was loaded; it does that by one locked
 * CMPXCHG, so it competes with all threads. What was changed and changed back goes unnoticed. CLREX closes the
 * monitor; so does each STREX. A host has no exceptions that would: whoever plays one says CLREX.
 * That holds for CMSIS's __LDREXW() and its kin, and for assembly that names the address,
 * `ldrex %0, [%1]`. Elsewhere, the operand "Q" (*p) is a register on x86, which the compiler loads before
 * and stores after; there the monitor alone decides, and a STREX that fails stores what the thread's
 * last LDREX has loaded.
 *
 * It includes nothing, so that sources can still say _GNU_SOURCE and the like.
 *
 * What can't be done: assembly that names Arm's registers; immediates after a `#` in the
 * template itself, which begins a comment for x86 assemblers (an operand "I" (n) has none); -masm=intel; -flto.
 */
#ifndef REGMAP_ARM_HOST_H
#define REGMAP_ARM_HOST_H

/* -include comes before assembly, too, and there is nothing for it here. */
#ifndef __ASSEMBLER__

#pragma GCC system_header

#ifndef __x86_64__
#error "regmap/arm_host.h makes Arm sources compile for x86-64; this is another target"
#endif

/* ---- the core that the sources see --------------------------------------------------------------- */

#ifndef REGMAP_ARM_ARCH
#define REGMAP_ARM_ARCH 7M
#endif
#define REGMAP__ARM_IS_6M 1
#define REGMAP__ARM_IS_7M 2
#define REGMAP__ARM_IS_7EM 3
#define REGMAP__ARM_IS_8M_BASE 4
#define REGMAP__ARM_IS_8M_MAIN 5
#define REGMAP__ARM_IS_(arch) REGMAP__ARM_IS_##arch
#define REGMAP__ARM_IS(arch) REGMAP__ARM_IS_(arch)

#if REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 1
#define REGMAP__ARM_VERSION 6
#ifndef __ARM_ARCH_6M__
#define __ARM_ARCH_6M__ 1
#endif
#elif REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 2
#define REGMAP__ARM_VERSION 7
#ifndef __ARM_ARCH_7M__
#define __ARM_ARCH_7M__ 1
#endif
#elif REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 3
#define REGMAP__ARM_VERSION 7
#ifndef __ARM_ARCH_7EM__
#define __ARM_ARCH_7EM__ 1
#endif
#elif REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 4
#define REGMAP__ARM_VERSION 8
#ifndef __ARM_ARCH_8M_BASE__
#define __ARM_ARCH_8M_BASE__ 1
#endif
#elif REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 5
#define REGMAP__ARM_VERSION 8
#ifndef __ARM_ARCH_8M_MAIN__
#define __ARM_ARCH_8M_MAIN__ 1
#endif
#else
#error "REGMAP_ARM_ARCH: choose one of 6M 7M 7EM 8M_BASE 8M_MAIN"
#endif

#ifndef __ARM_ARCH
#define __ARM_ARCH REGMAP__ARM_VERSION
#endif
#ifndef __ARM_ARCH_PROFILE
#define __ARM_ARCH_PROFILE 'M'
#endif
#ifndef __ARM_ACLE
#define __ARM_ACLE 200
#endif
#ifndef __ARM_SIZEOF_WCHAR_T
#define __ARM_SIZEOF_WCHAR_T 4
#endif
#ifndef __ARM_ARCH_ISA_THUMB
#if REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 1 || REGMAP__ARM_IS(REGMAP_ARM_ARCH) == 4
#define __ARM_ARCH_ISA_THUMB 1
#else
#define __ARM_ARCH_ISA_THUMB 2
#endif
#endif
#if REGMAP__ARM_IS(REGMAP_ARM_ARCH) != 1 && !defined(__ARM_FEATURE_LDREX)
#define __ARM_FEATURE_LDREX 7
#endif
#if __ARM_ARCH_ISA_THUMB >= 2
#ifndef __ARM_FEATURE_CLZ
#define __ARM_FEATURE_CLZ 1
#endif
#ifndef __ARM_FEATURE_SAT
#define __ARM_FEATURE_SAT 1
#endif
#ifndef __ARM_FEATURE_QBIT
#define __ARM_FEATURE_QBIT 1
#endif
#endif

/* ---- the core window ------------------------------------------------------------------------------ */

#ifndef REGMAP_ARM_CORE
#define REGMAP_ARM_CORE 0x5FFFF000
#endif
#ifndef REGMAP_ARM_BARRIERS
#define REGMAP_ARM_BARRIERS 0
#endif

/* What MRS and MSR name; 32 bits each. */
#define REGMAP_ARM_PRIMASK 0x00 /* cpsid i, cpsie i */
#define REGMAP_ARM_BASEPRI 0x04
#define REGMAP_ARM_BASEPRI_MAX 0x08 /* written: raises BASEPRI only; read: BASEPRI */
#define REGMAP_ARM_FAULTMASK 0x0C   /* cpsid f, cpsie f */
#define REGMAP_ARM_CONTROL 0x10
#define REGMAP_ARM_MSP 0x14
#define REGMAP_ARM_PSP 0x18
#define REGMAP_ARM_MSPLIM 0x1C
#define REGMAP_ARM_PSPLIM 0x20
#define REGMAP_ARM_IPSR 0x24 /* read-only: the exception that a test or model plays */
#define REGMAP_ARM_APSR 0x28
#define REGMAP_ARM_EPSR 0x2C /* reads as 0, as on the chip */
#define REGMAP_ARM_IAPSR 0x30
#define REGMAP_ARM_EAPSR 0x34
#define REGMAP_ARM_IEPSR 0x38
#define REGMAP_ARM_XPSR 0x3C /* also PSR */
#define REGMAP_ARM_FPSCR 0x40
/* What is written when an instruction is carried out: 1, or the number that it has. */
#define REGMAP_ARM_WFI 0x80
#define REGMAP_ARM_WFE 0x84
#define REGMAP_ARM_SEV 0x88
#define REGMAP_ARM_SVC 0x8C
#define REGMAP_ARM_YIELD 0x90
#define REGMAP_ARM_DMB 0x94 /* these three with REGMAP_ARM_BARRIERS=1; the option, 0xF by default */
#define REGMAP_ARM_DSB 0x98
#define REGMAP_ARM_ISB 0x9C
/* 1 after SEV, 0 after WFE. */
#define REGMAP_ARM_EVENT 0xA0

#define REGMAP__ARM_TEXT_(x) #x
#define REGMAP__ARM_TEXT(x) REGMAP__ARM_TEXT_(x)

/* ---- exclusive accesses ----------------------------------------------------------------------------- */

#ifdef __cplusplus
extern "C" {
#endif

/* One for each thread. The assembly below knows the offsets. Not for programs. */
struct regmap_arm_monitor {
	__UINT64_TYPE__ address; /* 0: not known */
	__UINT32_TYPE__ value;   /* what the last LDREX has loaded */
	__UINT32_TYPE__ width;   /* bytes; 0: closed */
};
__attribute__((weak, used, tls_model("initial-exec"))) __thread struct regmap_arm_monitor
	regmap_arm_monitor = {0, 0, 0};

/*
 * The linker flags of regmap-firmware.mk put this one far away, where the program then ends. The heap begins
 * behind it, rather than in the middle of the peripherals.
 */
__attribute__((weak, used, section(".regmap_far"))) char regmap_arm_far = 1;

#define REGMAP__ARM_EXCLUSIVE(bits, bytes) \
	static inline __attribute__((unused)) \
	__UINT##bits##_TYPE__ regmap_arm_ldrex##bits(const volatile void *at) \
	{ \
		__UINT##bits##_TYPE__ value = *(const volatile __UINT##bits##_TYPE__ *)at; \
		regmap_arm_monitor.address = (__UINTPTR_TYPE__)at; \
		regmap_arm_monitor.value = value; \
		regmap_arm_monitor.width = bytes; \
		__atomic_thread_fence(__ATOMIC_ACQUIRE); \
		return value; \
	} \
	static inline __attribute__((unused)) \
	__UINT32_TYPE__ regmap_arm_strex##bits(__UINT##bits##_TYPE__ value, volatile void *at) \
	{ \
		__UINT##bits##_TYPE__ loaded = (__UINT##bits##_TYPE__)regmap_arm_monitor.value; \
		int mine = regmap_arm_monitor.width == bytes && \
		           (regmap_arm_monitor.address == (__UINTPTR_TYPE__)at || \
		            regmap_arm_monitor.address == 0); \
		regmap_arm_monitor.width = 0; \
		return !mine || \
		       !__atomic_compare_exchange_n((volatile __UINT##bits##_TYPE__ *)at, &loaded, \
		                                    value, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED); \
	}
REGMAP__ARM_EXCLUSIVE(8, 1)
REGMAP__ARM_EXCLUSIVE(16, 2)
REGMAP__ARM_EXCLUSIVE(32, 4)
#undef REGMAP__ARM_EXCLUSIVE

#ifdef __cplusplus
}
#endif

/*
 * Vendors' headers define functions of these names, around assembly whose operand is a register here. Each
 * name leads elsewhere the first time that it occurs, which is that definition, and to the functions above from
 * then on.
 */
#ifndef REGMAP_ARM_VENDOR_EXCLUSIVES
#define REGMAP__ARM_LDREXB regmap_arm_ldrex8
#pragma push_macro("REGMAP__ARM_LDREXB")
#undef REGMAP__ARM_LDREXB
#define REGMAP__ARM_LDREXB \
	_Pragma("pop_macro(\"REGMAP__ARM_LDREXB\")") __attribute__((unused)) regmap__vendor_ldrexb
#define __LDREXB REGMAP__ARM_LDREXB
#define REGMAP__ARM_LDREXH regmap_arm_ldrex16
#pragma push_macro("REGMAP__ARM_LDREXH")
#undef REGMAP__ARM_LDREXH
#define REGMAP__ARM_LDREXH \
	_Pragma("pop_macro(\"REGMAP__ARM_LDREXH\")") __attribute__((unused)) regmap__vendor_ldrexh
#define __LDREXH REGMAP__ARM_LDREXH
#define REGMAP__ARM_LDREXW regmap_arm_ldrex32
#pragma push_macro("REGMAP__ARM_LDREXW")
#undef REGMAP__ARM_LDREXW
#define REGMAP__ARM_LDREXW \
	_Pragma("pop_macro(\"REGMAP__ARM_LDREXW\")") __attribute__((unused)) regmap__vendor_ldrexw
#define __LDREXW REGMAP__ARM_LDREXW
#define REGMAP__ARM_STREXB regmap_arm_strex8
#pragma push_macro("REGMAP__ARM_STREXB")
#undef REGMAP__ARM_STREXB
#define REGMAP__ARM_STREXB \
	_Pragma("pop_macro(\"REGMAP__ARM_STREXB\")") __attribute__((unused)) regmap__vendor_strexb
#define __STREXB REGMAP__ARM_STREXB
#define REGMAP__ARM_STREXH regmap_arm_strex16
#pragma push_macro("REGMAP__ARM_STREXH")
#undef REGMAP__ARM_STREXH
#define REGMAP__ARM_STREXH \
	_Pragma("pop_macro(\"REGMAP__ARM_STREXH\")") __attribute__((unused)) regmap__vendor_strexh
#define __STREXH REGMAP__ARM_STREXH
#define REGMAP__ARM_STREXW regmap_arm_strex32
#pragma push_macro("REGMAP__ARM_STREXW")
#undef REGMAP__ARM_STREXW
#define REGMAP__ARM_STREXW \
	_Pragma("pop_macro(\"REGMAP__ARM_STREXW\")") __attribute__((unused)) regmap__vendor_strexw
#define __STREXW REGMAP__ARM_STREXW
#define REGMAP__ARM_LDAEXB regmap_arm_ldrex8
#pragma push_macro("REGMAP__ARM_LDAEXB")
#undef REGMAP__ARM_LDAEXB
#define REGMAP__ARM_LDAEXB \
	_Pragma("pop_macro(\"REGMAP__ARM_LDAEXB\")") __attribute__((unused)) regmap__vendor_ldaexb
#define __LDAEXB REGMAP__ARM_LDAEXB
#define REGMAP__ARM_LDAEXH regmap_arm_ldrex16
#pragma push_macro("REGMAP__ARM_LDAEXH")
#undef REGMAP__ARM_LDAEXH
#define REGMAP__ARM_LDAEXH \
	_Pragma("pop_macro(\"REGMAP__ARM_LDAEXH\")") __attribute__((unused)) regmap__vendor_ldaexh
#define __LDAEXH REGMAP__ARM_LDAEXH
#define REGMAP__ARM_LDAEX regmap_arm_ldrex32
#pragma push_macro("REGMAP__ARM_LDAEX")
#undef REGMAP__ARM_LDAEX
#define REGMAP__ARM_LDAEX \
	_Pragma("pop_macro(\"REGMAP__ARM_LDAEX\")") __attribute__((unused)) regmap__vendor_ldaex
#define __LDAEX REGMAP__ARM_LDAEX
#define REGMAP__ARM_STLEXB regmap_arm_strex8
#pragma push_macro("REGMAP__ARM_STLEXB")
#undef REGMAP__ARM_STLEXB
#define REGMAP__ARM_STLEXB \
	_Pragma("pop_macro(\"REGMAP__ARM_STLEXB\")") __attribute__((unused)) regmap__vendor_stlexb
#define __STLEXB REGMAP__ARM_STLEXB
#define REGMAP__ARM_STLEXH regmap_arm_strex16
#pragma push_macro("REGMAP__ARM_STLEXH")
#undef REGMAP__ARM_STLEXH
#define REGMAP__ARM_STLEXH \
	_Pragma("pop_macro(\"REGMAP__ARM_STLEXH\")") __attribute__((unused)) regmap__vendor_stlexh
#define __STLEXH REGMAP__ARM_STLEXH
#define REGMAP__ARM_STLEX regmap_arm_strex32
#pragma push_macro("REGMAP__ARM_STLEX")
#undef REGMAP__ARM_STLEX
#define REGMAP__ARM_STLEX \
	_Pragma("pop_macro(\"REGMAP__ARM_STLEX\")") __attribute__((unused)) regmap__vendor_stlex
#define __STLEX REGMAP__ARM_STLEX
#endif

/* ---- instructions ------------------------------------------------------------------------------------ */

/*
 * Registers come in any width (a uint8_t operand is %al), so they are found by number, and instructions on them are
 * made of bytes. The red zone below RSP is the compiler's: what is saved goes below it. Flags are
 * lost, which on x86 all inline assembly may do. Numeric labels are of the vendor's assembly, too.
 */
#define REGMAP__ARM_REGISTERS \
	"al,cl,dl,bl,spl,bpl,sil,dil,r8b,r9b,r10b,r11b,r12b,r13b,r14b,r15b," \
	"ax,cx,dx,bx,sp,bp,si,di,r8w,r9w,r10w,r11w,r12w,r13w,r14w,r15w," \
	"eax,ecx,edx,ebx,esp,ebp,esi,edi,r8d,r9d,r10d,r11d,r12d,r13d,r14d,r15d," \
	"rax,rcx,rdx,rbx,rsp,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15"

/* A special register's name in both spellings. */
#define REGMAP__ARM_SPECIAL(lower, upper, offset) \
	".set .Lregmap_core_" lower ", .Lregmap_core + " REGMAP__ARM_TEXT( \
		offset) "\n" \
			".set .Lregmap_core_" upper \
			", .Lregmap_core + " REGMAP__ARM_TEXT(offset) "\n"

/* clang-format off */
__asm__(
".ifndef .Lregmap_core\n"
".set .Lregmap_core, " REGMAP__ARM_TEXT(REGMAP_ARM_CORE) "\n"
REGMAP__ARM_SPECIAL("primask", "PRIMASK", REGMAP_ARM_PRIMASK)
REGMAP__ARM_SPECIAL("basepri", "BASEPRI", REGMAP_ARM_BASEPRI)
REGMAP__ARM_SPECIAL("basepri_max", "BASEPRI_MAX", REGMAP_ARM_BASEPRI_MAX)
REGMAP__ARM_SPECIAL("faultmask", "FAULTMASK", REGMAP_ARM_FAULTMASK)
REGMAP__ARM_SPECIAL("control", "CONTROL", REGMAP_ARM_CONTROL)
REGMAP__ARM_SPECIAL("msp", "MSP", REGMAP_ARM_MSP)
REGMAP__ARM_SPECIAL("psp", "PSP", REGMAP_ARM_PSP)
REGMAP__ARM_SPECIAL("msplim", "MSPLIM", REGMAP_ARM_MSPLIM)
REGMAP__ARM_SPECIAL("psplim", "PSPLIM", REGMAP_ARM_PSPLIM)
REGMAP__ARM_SPECIAL("ipsr", "IPSR", REGMAP_ARM_IPSR)
REGMAP__ARM_SPECIAL("apsr", "APSR", REGMAP_ARM_APSR)
REGMAP__ARM_SPECIAL("apsr_nzcvq", "APSR_nzcvq", REGMAP_ARM_APSR)
REGMAP__ARM_SPECIAL("epsr", "EPSR", REGMAP_ARM_EPSR)
REGMAP__ARM_SPECIAL("iapsr", "IAPSR", REGMAP_ARM_IAPSR)
REGMAP__ARM_SPECIAL("eapsr", "EAPSR", REGMAP_ARM_EAPSR)
REGMAP__ARM_SPECIAL("iepsr", "IEPSR", REGMAP_ARM_IEPSR)
REGMAP__ARM_SPECIAL("xpsr", "XPSR", REGMAP_ARM_XPSR)
REGMAP__ARM_SPECIAL("psr", "PSR", REGMAP_ARM_XPSR)
REGMAP__ARM_SPECIAL("fpscr", "FPSCR", REGMAP_ARM_FPSCR)

/* The number of an operand's register becomes .Lregmap_NAME, -1: none; _m: it stands in brackets, _e: with 32 bits. */
".macro regmap__operand name, operand\n"
".set .Lregmap_\\name, -1\n"
".set .Lregmap_\\name\\()_m, 0\n"
".set .Lregmap_\\name\\()_e, 0\n"
".set .Lregmap_i, 0\n"
".irp r, " REGMAP__ARM_REGISTERS "\n"
".ifc \\operand, %\\r\n"
".set .Lregmap_\\name, .Lregmap_i & 15\n"
".endif\n"
".ifc \\operand, [%\\r]\n"
".set .Lregmap_\\name, .Lregmap_i & 15\n"
".set .Lregmap_\\name\\()_m, 1\n"
".set .Lregmap_\\name\\()_e, (.Lregmap_i >> 4) == 2\n"
".endif\n"
".ifc \\operand, (%\\r)\n"
".set .Lregmap_\\name, .Lregmap_i & 15\n"
".set .Lregmap_\\name\\()_m, 1\n"
".set .Lregmap_\\name\\()_e, (.Lregmap_i >> 4) == 2\n"
".endif\n"
".set .Lregmap_i, .Lregmap_i + 1\n"
".endr\n"
".endm\n"

/* One that must be a register. */
".macro regmap__register name, operand\n"
"regmap__operand \\name, \\operand\n"
".if .Lregmap_\\name < 0\n"
".error \"regmap/arm_host.h: an operand is missing or no register (a # in the template hides what follows it)\"\n"
".set .Lregmap_\\name, 0\n"
".endif\n"
".endm\n"

/*
 * One that is an address: in brackets, or memory of any other form, whose address goes to the register \scratch; or a
 * register that the compiler has loaded, or will store. RSP must still be the compiler's.
 */
".macro regmap__place name, operand, scratch\n"
"regmap__operand \\name, \\operand\n"
".if .Lregmap_\\name < 0\n"
".ifc \\operand,\n"
"regmap__register \\name, \\operand\n"
".else\n"
"regmap__register \\name, \\scratch\n"
".set .Lregmap_\\name\\()_m, 1\n"
".set .Lregmap_\\name\\()_e, 0\n"
".set .Lregmap_i, 0\n"
".irp r, rax,rcx,rdx,rbx,rsp,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15\n"
".if .Lregmap_i == .Lregmap_\\name\n"
"leaq \\operand, %\\r\n"
".endif\n"
".set .Lregmap_i, .Lregmap_i + 1\n"
".endr\n"
".endif\n"
".endif\n"
".endm\n"

/* A number, with the $ of an operand "I" (n), 0 to 259, or as the template has it; nothing is \otherwise. */
".macro regmap__number operand, otherwise\n"
".set .Lregmap_n, -1\n"
".ifc \\operand,\n"
".set .Lregmap_n, \\otherwise\n"
".else\n"
".irp l, 0,1,2,3,4,5,6,7,8,9\n"
".ifc \\operand, $\\l\n"
".set .Lregmap_n, \\l\n"
".endif\n"
".endr\n"
".irp h, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25\n"
".irp l, 0,1,2,3,4,5,6,7,8,9\n"
".ifc \\operand, $\\h\\l\n"
".set .Lregmap_n, \\h\\l\n"
".endif\n"
".endr\n"
".endr\n"
".if .Lregmap_n < 0\n"
".set .Lregmap_n, \\operand\n"
".endif\n"
".endif\n"
".endm\n"

/* Instructions on registers by number, made of bytes: 32 bits wide, or push and pop. */
".macro regmap__rr opcode, to, from\n"
".byte 0x40 | ((.Lregmap_\\from >> 3) << 2) | (.Lregmap_\\to >> 3), \\opcode, 0xc0 | ((.Lregmap_\\from & 7) << 3) | (.Lregmap_\\to & 7)\n"
".endm\n"
".macro regmap__push from\n"
".byte 0x40 | (.Lregmap_\\from >> 3), 0x50 | (.Lregmap_\\from & 7)\n"
".endm\n"
".macro regmap__load_slot to, offset\n" /* from the stack */
".byte 0x40 | ((.Lregmap_\\to >> 3) << 2), 0x8b, 0x44 | ((.Lregmap_\\to & 7) << 3), 0x24, \\offset\n"
".endm\n"
".macro regmap__at opcode, register, special\n" /* the core window */
".if .Lregmap_core_\\special > 0x7fffffff\n"
".byte 0x67\n"
".endif\n"
".byte 0x40 | ((.Lregmap_\\register >> 3) << 2), \\opcode, 0x04 | ((.Lregmap_\\register & 7) << 3), 0x25\n"
".long .Lregmap_core_\\special\n"
".endm\n"
".macro regmap__event offset, number\n"
".if .Lregmap_core + \\offset > 0x7fffffff\n"
".byte 0x67\n"
".endif\n"
".byte 0xc7, 0x04, 0x25\n"
".long .Lregmap_core + \\offset, \\number\n"
".endm\n"

/* The frame of what computes: EAX is the operand, then the result; ECX is free. */
".macro regmap__in from\n"
"regmap__register a, \\from\n"
"leaq -136(%rsp), %rsp\n"
"pushq %rax\n"
"pushq %rcx\n"
"regmap__push a\n"
"popq %rax\n"
".endm\n"
".macro regmap__out to\n"
"regmap__register a, \\to\n"
"movl %eax, 16(%rsp)\n"
"popq %rcx\n"
"popq %rax\n"
"regmap__load_slot a, 0\n"
"leaq 136(%rsp), %rsp\n"
".endm\n"

/* Special registers. */
".macro regmap__special register\n"
".ifndef .Lregmap_core_\\register\n"
".error \"regmap/arm_host.h: \\register is no special register that the core window has\"\n"
".endif\n"
".endm\n"
".macro mrs to, special\n"
"regmap__special \\special\n"
"regmap__register a, \\to\n"
"regmap__at 0x8b, a, \\special\n"
".endm\n"
".macro msr special, from\n"
"regmap__special \\special\n"
"regmap__register a, \\from\n"
"regmap__at 0x89, a, \\special\n"
".endm\n"
".macro vmrs to, special\n"
"mrs \\to, \\special\n"
".endm\n"
".macro vmsr special, from\n"
"msr \\special, \\from\n"
".endm\n"
".macro regmap__cps flags, value\n"
".set .Lregmap_n, 0\n"
".irp f, i,I,if,IF\n"
".ifc \\flags, \\f\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_PRIMASK) ", \\value\n"
".set .Lregmap_n, 1\n"
".endif\n"
".endr\n"
".irp f, f,F,if,IF\n"
".ifc \\flags, \\f\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_FAULTMASK) ", \\value\n"
".set .Lregmap_n, 1\n"
".endif\n"
".endr\n"
".if .Lregmap_n == 0\n"
".error \"regmap/arm_host.h: cpsid and cpsie take i, f or if\"\n"
".endif\n"
".endm\n"
".macro cpsid flags\n"
"regmap__cps \\flags, 1\n"
".endm\n"
".macro cpsie flags\n"
"regmap__cps \\flags, 0\n"
".endm\n"

/* Hints and calls. */
".macro wfi\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_WFI) ", 1\n"
".endm\n"
".macro wfe\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_WFE) ", 1\n"
".endm\n"
".macro sev\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_SEV) ", 1\n"
".endm\n"
".macro yield\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_YIELD) ", 1\n"
".endm\n"
".macro svc number\n"
"regmap__number \\number, 0\n"
"regmap__event " REGMAP__ARM_TEXT(REGMAP_ARM_SVC) ", .Lregmap_n\n"
".endm\n"
".macro bkpt number\n"
"int3\n"
".endm\n"

/* Barriers: fences of the host, which order more than those of the Arm. */
".macro regmap__barrier offset, option\n"
"mfence\n"
".if " REGMAP__ARM_TEXT(REGMAP_ARM_BARRIERS) "\n"
".set .Lregmap_sy, 0\n"
".irp o, sy,SY\n"
".ifc \\option, \\o\n"
".set .Lregmap_sy, 1\n"
".endif\n"
".endr\n"
".if .Lregmap_sy\n"
".set .Lregmap_n, 15\n"
".else\n"
"regmap__number \\option, 15\n"
".endif\n"
"regmap__event \\offset, .Lregmap_n\n"
".endif\n"
".endm\n"
".macro dmb option\n"
"regmap__barrier " REGMAP__ARM_TEXT(REGMAP_ARM_DMB) ", \\option\n"
".endm\n"
".macro dsb option\n"
"regmap__barrier " REGMAP__ARM_TEXT(REGMAP_ARM_DSB) ", \\option\n"
".endm\n"
".macro isb option\n"
"regmap__barrier " REGMAP__ARM_TEXT(REGMAP_ARM_ISB) ", \\option\n"
".endm\n"

/* Arithmetic. */
".macro rev to, from\n"
"regmap__in \\from\n"
"bswapl %eax\n"
"regmap__out \\to\n"
".endm\n"
".macro rev16 to, from\n"
"regmap__in \\from\n"
"bswapl %eax\n"
"roll $16, %eax\n"
"regmap__out \\to\n"
".endm\n"
".macro revsh to, from\n"
"regmap__in \\from\n"
"rolw $8, %ax\n"
"cwtl\n"
"regmap__out \\to\n"
".endm\n"
".macro regmap__swap_bits mask, by\n"
"movl %eax, %ecx\n"
"andl $\\mask, %eax\n"
"andl $~\\mask, %ecx\n"
"shll $\\by, %eax\n"
"shrl $\\by, %ecx\n"
"orl %ecx, %eax\n"
".endm\n"
".macro rbit to, from\n"
"regmap__in \\from\n"
"bswapl %eax\n"
"regmap__swap_bits 0x0f0f0f0f, 4\n"
"regmap__swap_bits 0x33333333, 2\n"
"regmap__swap_bits 0x55555555, 1\n"
"regmap__out \\to\n"
".endm\n"
".macro clz to, from\n"
"regmap__in \\from\n"
"movl $63, %ecx\n"
"bsrl %eax, %eax\n"
"cmovzl %ecx, %eax\n"
"xorl $31, %eax\n"
"regmap__out \\to\n"
".endm\n"
".macro rrx to, from\n" /* carry is that of APSR */
"regmap__in \\from\n"
"regmap__register a, %ecx\n"
"regmap__at 0x8b, a, apsr\n"
"btl $29, %ecx\n"
"rcrl $1, %eax\n"
"regmap__out \\to\n"
".endm\n"
".macro regmap__saturate to, low, high, from, shift\n"
".ifnc \\shift,\n"
".error \"regmap/arm_host.h: SSAT and USAT with a shift are not known\"\n"
".endif\n"
"regmap__in \\from\n"
"movl $\\high, %ecx\n"
"cmpl %ecx, %eax\n"
"cmovgl %ecx, %eax\n"
"movl $\\low, %ecx\n"
"cmpl %ecx, %eax\n"
"cmovll %ecx, %eax\n"
"regmap__out \\to\n"
".endm\n"
".macro ssat to, bits, from, shift\n"
"regmap__number \\bits, 0\n"
".if .Lregmap_n < 1 || .Lregmap_n > 32\n"
".error \"regmap/arm_host.h: SSAT saturates to 1 to 32 bits (a # in the template hides what follows it)\"\n"
".set .Lregmap_n, 1\n"
".endif\n"
"regmap__saturate \\to, (-(1 << (.Lregmap_n - 1))), ((1 << (.Lregmap_n - 1)) - 1), \\from, \\shift\n"
".endm\n"
".macro usat to, bits, from, shift\n"
"regmap__number \\bits, -1\n"
".if .Lregmap_n < 0 || .Lregmap_n > 31\n"
".error \"regmap/arm_host.h: USAT saturates to 0 to 31 bits (a # in the template hides what follows it)\"\n"
".set .Lregmap_n, 1\n"
".endif\n"
"regmap__saturate \\to, 0, ((1 << .Lregmap_n) - 1), \\from, \\shift\n"
".endm\n"

/* LDREX and kin: EAX what was loaded, RCX from where, RSI the monitor. */
".macro regmap__ldrex width, extend, to, from\n"
"regmap__place b, \\from, \\to\n"
"leaq -136(%rsp), %rsp\n"
"pushq %rax\n"
"pushq %rcx\n"
"pushq %rsi\n"
"regmap__push b\n"
"popq %rcx\n"
".if .Lregmap_b_e\n"
"movl %ecx, %ecx\n"
".endif\n"
".if .Lregmap_b_m\n"
".byte \\extend, 0x01\n" /* movz (%rcx), %eax */
".else\n"
".byte \\extend, 0xc1\n" /* movz %cl, %eax */
"xorl %ecx, %ecx\n"
".endif\n"
"movq regmap_arm_monitor@gottpoff(%rip), %rsi\n"
"movq %rcx, %fs:(%rsi)\n"
"movl %eax, %fs:8(%rsi)\n"
"movl $\\width, %fs:12(%rsi)\n"
"movl %eax, 24(%rsp)\n"
"popq %rsi\n"
"popq %rcx\n"
"popq %rax\n"
"regmap__register b, \\to\n"
"regmap__load_slot b, 0\n"
"leaq 136(%rsp), %rsp\n"
".endm\n"
".macro ldrexb to, from\n"
"regmap__ldrex 1, \"0x0f, 0xb6\", \\to, \\from\n"
".endm\n"
".macro ldrexh to, from\n"
"regmap__ldrex 2, \"0x0f, 0xb7\", \\to, \\from\n"
".endm\n"
".macro ldrex to, from\n"
"regmap__ldrex 4, 0x8b, \\to, \\from\n"
".endm\n"

/* STREX and kin: EAX the result, ECX what to store, RDX where, RSI the monitor. */
".macro regmap__strex width, exchange, to, from, at\n"
"regmap__register a, \\from\n"
"regmap__place b, \\at, \\to\n"
"leaq -144(%rsp), %rsp\n"
"pushq %rax\n"
"pushq %rcx\n"
"pushq %rdx\n"
"pushq %rsi\n"
"regmap__push a\n"
"regmap__push b\n"
"popq %rdx\n"
"popq %rcx\n"
".if .Lregmap_b_e\n"
"movl %edx, %edx\n"
".endif\n"
"movq regmap_arm_monitor@gottpoff(%rip), %rsi\n"
"movl %fs:8(%rsi), %eax\n"
"cmpl $\\width, %fs:12(%rsi)\n"
"jne 97011f\n"
".if .Lregmap_b_m\n"
"cmpq $0, %fs:(%rsi)\n"
"je 97010f\n"
"cmpq %rdx, %fs:(%rsi)\n"
"jne 97011f\n"
"97010:\n"
"\\exchange\n"
"jne 97011f\n"
".endif\n"
"xorl %eax, %eax\n"
"jmp 97012f\n"
"97011:\n"
"movl %fs:8(%rsi), %ecx\n"
"movl $1, %eax\n"
"97012:\n"
"movl $0, %fs:12(%rsi)\n"
"movl %eax, 32(%rsp)\n"
"movl %ecx, 40(%rsp)\n"
"popq %rsi\n"
"popq %rdx\n"
"popq %rcx\n"
"popq %rax\n"
".if .Lregmap_b_m == 0\n"
"regmap__load_slot b, 8\n"
".endif\n"
"regmap__register a, \\to\n"
"regmap__load_slot a, 0\n"
"leaq 144(%rsp), %rsp\n"
".endm\n"
".macro strexb to, from, at\n"
"regmap__strex 1, \"lock cmpxchgb %cl, (%rdx)\", \\to, \\from, \\at\n"
".endm\n"
".macro strexh to, from, at\n"
"regmap__strex 2, \"lock cmpxchgw %cx, (%rdx)\", \\to, \\from, \\at\n"
".endm\n"
".macro strex to, from, at\n"
"regmap__strex 4, \"lock cmpxchgl %ecx, (%rdx)\", \\to, \\from, \\at\n"
".endm\n"
".macro clrex\n"
"leaq -128(%rsp), %rsp\n"
"pushq %rax\n"
"movq regmap_arm_monitor@gottpoff(%rip), %rax\n"
"movl $0, %fs:12(%rax)\n"
"popq %rax\n"
"leaq 128(%rsp), %rsp\n"
".endm\n"

/* Loads and stores that differ by privilege or order: x86 orders all alike. */
".macro regmap__load extend, to, from\n"
"regmap__place b, \\from, \\to\n"
"leaq -136(%rsp), %rsp\n"
"pushq %rax\n"
"regmap__push b\n"
"popq %rax\n"
".if .Lregmap_b_e\n"
"movl %eax, %eax\n"
".endif\n"
".if .Lregmap_b_m\n"
".byte \\extend, 0x00\n" /* movz (%rax), %eax */
".else\n"
".byte \\extend, 0xc0\n" /* movz %al, %eax */
".endif\n"
"movl %eax, 8(%rsp)\n"
"popq %rax\n"
"regmap__register b, \\to\n"
"regmap__load_slot b, 0\n"
"leaq 136(%rsp), %rsp\n"
".endm\n"
".macro regmap__store store, from, to\n"
"regmap__register a, \\from\n"
"regmap__register b, \\to\n"
".if .Lregmap_b_m\n"
"leaq -128(%rsp), %rsp\n"
"pushq %rax\n"
"pushq %rcx\n"
"regmap__push a\n"
"regmap__push b\n"
"popq %rcx\n"
".if .Lregmap_b_e\n"
"movl %ecx, %ecx\n"
".endif\n"
"popq %rax\n"
"\\store\n"
"popq %rcx\n"
"popq %rax\n"
"leaq 128(%rsp), %rsp\n"
".else\n"
"regmap__rr 0x89, b, a\n"
".endif\n"
".endm\n"
".macro ldrbt to, from\n"
"regmap__load \"0x0f, 0xb6\", \\to, \\from\n"
".endm\n"
".macro ldrht to, from\n"
"regmap__load \"0x0f, 0xb7\", \\to, \\from\n"
".endm\n"
".macro ldrt to, from\n"
"regmap__load 0x8b, \\to, \\from\n"
".endm\n"
".macro ldab to, from\n"
"regmap__load \"0x0f, 0xb6\", \\to, \\from\n"
".endm\n"
".macro ldah to, from\n"
"regmap__load \"0x0f, 0xb7\", \\to, \\from\n"
".endm\n"
".macro lda to, from\n"
"regmap__load 0x8b, \\to, \\from\n"
".endm\n"
".macro strbt from, to\n"
"regmap__store \"movb %al, (%rcx)\", \\from, \\to\n"
".endm\n"
".macro strht from, to\n"
"regmap__store \"movw %ax, (%rcx)\", \\from, \\to\n"
".endm\n"
".macro strt from, to\n"
"regmap__store \"movl %eax, (%rcx)\", \\from, \\to\n"
".endm\n"
".macro stlb from, to\n"
"regmap__store \"movb %al, (%rcx)\", \\from, \\to\n"
"mfence\n"
".endm\n"
".macro stlh from, to\n"
"regmap__store \"movw %ax, (%rcx)\", \\from, \\to\n"
"mfence\n"
".endm\n"
".macro stl from, to\n"
"regmap__store \"movl %eax, (%rcx)\", \\from, \\to\n"
"mfence\n"
".endm\n"
".macro ldaexb to, from\n"
"ldrexb \\to, \\from\n"
".endm\n"
".macro ldaexh to, from\n"
"ldrexh \\to, \\from\n"
".endm\n"
".macro ldaex to, from\n"
"ldrex \\to, \\from\n"
".endm\n"
".macro stlexb to, from, at\n"
"strexb \\to, \\from, \\at\n"
".endm\n"
".macro stlexh to, from, at\n"
"strexh \\to, \\from, \\at\n"
".endm\n"
".macro stlex to, from, at\n"
"strex \\to, \\from, \\at\n"
".endm\n"

/* GNU as doesn't care for the case of a macro's name. LLVM does. */
#if defined(__clang__) && !defined(REGMAP_ARM_GNU_AS)
#define REGMAP__ARM_UPPER(upper, lower) ".macro " upper " operands:vararg\n" lower " \\operands\n.endm\n"
REGMAP__ARM_UPPER("BKPT", "bkpt")
REGMAP__ARM_UPPER("CLREX", "clrex")
REGMAP__ARM_UPPER("CLZ", "clz")
REGMAP__ARM_UPPER("CPSID", "cpsid")
REGMAP__ARM_UPPER("CPSIE", "cpsie")
REGMAP__ARM_UPPER("DMB", "dmb")
REGMAP__ARM_UPPER("DSB", "dsb")
REGMAP__ARM_UPPER("ISB", "isb")
REGMAP__ARM_UPPER("LDA", "lda")
REGMAP__ARM_UPPER("LDAB", "ldab")
REGMAP__ARM_UPPER("LDAEX", "ldaex")
REGMAP__ARM_UPPER("LDAEXB", "ldaexb")
REGMAP__ARM_UPPER("LDAEXH", "ldaexh")
REGMAP__ARM_UPPER("LDAH", "ldah")
REGMAP__ARM_UPPER("LDRBT", "ldrbt")
REGMAP__ARM_UPPER("LDREX", "ldrex")
REGMAP__ARM_UPPER("LDREXB", "ldrexb")
REGMAP__ARM_UPPER("LDREXH", "ldrexh")
REGMAP__ARM_UPPER("LDRHT", "ldrht")
REGMAP__ARM_UPPER("LDRT", "ldrt")
REGMAP__ARM_UPPER("MRS", "mrs")
REGMAP__ARM_UPPER("MSR", "msr")
REGMAP__ARM_UPPER("RBIT", "rbit")
REGMAP__ARM_UPPER("REV", "rev")
REGMAP__ARM_UPPER("REV16", "rev16")
REGMAP__ARM_UPPER("REVSH", "revsh")
REGMAP__ARM_UPPER("RRX", "rrx")
REGMAP__ARM_UPPER("SEV", "sev")
REGMAP__ARM_UPPER("SSAT", "ssat")
REGMAP__ARM_UPPER("STL", "stl")
REGMAP__ARM_UPPER("STLB", "stlb")
REGMAP__ARM_UPPER("STLEX", "stlex")
REGMAP__ARM_UPPER("STLEXB", "stlexb")
REGMAP__ARM_UPPER("STLEXH", "stlexh")
REGMAP__ARM_UPPER("STLH", "stlh")
REGMAP__ARM_UPPER("STRBT", "strbt")
REGMAP__ARM_UPPER("STREX", "strex")
REGMAP__ARM_UPPER("STREXB", "strexb")
REGMAP__ARM_UPPER("STREXH", "strexh")
REGMAP__ARM_UPPER("STRHT", "strht")
REGMAP__ARM_UPPER("STRT", "strt")
REGMAP__ARM_UPPER("SVC", "svc")
REGMAP__ARM_UPPER("USAT", "usat")
REGMAP__ARM_UPPER("VMRS", "vmrs")
REGMAP__ARM_UPPER("VMSR", "vmsr")
REGMAP__ARM_UPPER("WFE", "wfe")
REGMAP__ARM_UPPER("WFI", "wfi")
REGMAP__ARM_UPPER("YIELD", "yield")
#undef REGMAP__ARM_UPPER
#endif
".endif\n");
/* clang-format on */

#endif
#endif
