/* SPDX-License-Identifier: MIT */
/**
 * The register page for C programs: after regmap_map_registers(), guest addresses 0x000-0xFFF are
 * the registers of the thread that accesses them.
 *
 * Don't write `*(volatile uint64_t *)0`: compilers know that null is never dereferenced and put a
 * trap there (GCC, unless -fno-delete-null-pointer-checks). The accessors below are assembly that
 * they don't look into. What a register holds between two statements is the compiler's affair: use
 * these for RSP, RIP, RFLAGS, MXCSR, the bases and vector state, or in code that you wrote in
 * assembly.
 *
 *     offset       register
 *     0x000-0x07F  RAX RCX RDX RBX RSP RBP RSI RDI R8-R15, 8 bytes each
 *     0x080 0x088  RIP (reads as the next instruction, a write jumps), RFLAGS (POPF's bits)
 *     0x090 0x098  FS base, GS base
 *     0x0A0        MXCSR (4 bytes)
 *     0x0A4-0x0A9  x87 control, status and (full) tag word, 2 bytes each
 *     0x0C0-0x0FF  K0-K7, 8 bytes each (AVX-512)
 *     0x100-0x17F  ST0-ST7, MM0-MM7, 10 bytes in slots of 16; the other 6 read as zero
 *     0x800-0xFFF  ZMM0-ZMM31, 64 bytes each; XMM and YMM are their low parts
 *
 * A register is memory here: every byte, alignment and width up to a vector's works, and a store of
 * 4 bytes changes 4 bytes. Values are those before the instruction; a store takes effect with the
 * instruction's own results and wins where both hit the same byte:
 *
 *     mov  [8], rax         RCX = RAX
 *     mov  dword [8], eax   the low half of RCX, the high half stays
 *     xadd [0], rax         RAX = 2 * RAX (the sum goes to the page, and wins)
 *     pop  [0x20]           RSP = what was on top of the stack
 *     or   qword [0x88], 1  sets CF; the flags of OR itself are overwritten
 *     mov  rax, [0x80]      RAX = address of the following instruction
 *
 * What the CPU lacks is not there: an access is a null-pointer fault, as between the registers.
 */
#ifndef REGMAP_REGISTERS_H
#define REGMAP_REGISTERS_H

#include <stdint.h>

enum regmap_register {
	REGMAP_RAX = 0x000,
	REGMAP_RCX = 0x008,
	REGMAP_RDX = 0x010,
	REGMAP_RBX = 0x018,
	REGMAP_RSP = 0x020,
	REGMAP_RBP = 0x028,
	REGMAP_RSI = 0x030,
	REGMAP_RDI = 0x038,
	REGMAP_R8 = 0x040,
	REGMAP_R9 = 0x048,
	REGMAP_R10 = 0x050,
	REGMAP_R11 = 0x058,
	REGMAP_R12 = 0x060,
	REGMAP_R13 = 0x068,
	REGMAP_R14 = 0x070,
	REGMAP_R15 = 0x078,
	REGMAP_RIP = 0x080,
	REGMAP_RFLAGS = 0x088,
	REGMAP_FS_BASE = 0x090,
	REGMAP_GS_BASE = 0x098,
	REGMAP_MXCSR = 0x0a0,
	REGMAP_FCW = 0x0a4,
	REGMAP_FSW = 0x0a6,
	REGMAP_FTW = 0x0a8,
	REGMAP_K0 = 0x0c0,  /* + 8 * n */
	REGMAP_ST0 = 0x100, /* + 16 * n; MM0 too */
	REGMAP_ZMM0 = 0x800 /* + 64 * n; XMM0 and YMM0 too */
};

#define REGMAP_ACCESSOR(bits, type, constraint) \
	static inline type regmap_get##bits(uintptr_t offset) \
	{ \
		type value; \
		__asm__ volatile("mov (%1), %0" : "=" constraint(value) : "r"(offset) : "memory"); \
		return value; \
	} \
	static inline void regmap_set##bits(uintptr_t offset, type value) \
	{ \
		__asm__ volatile("mov %0, (%1)" \
		                 : \
		                 : constraint(value), "r"(offset) \
		                 : "memory", "cc"); \
	}

/** regmap_get8() ... regmap_set64(): one access of that width at an offset of the page. */
REGMAP_ACCESSOR(8, uint8_t, "q")
REGMAP_ACCESSOR(16, uint16_t, "r")
REGMAP_ACCESSOR(32, uint32_t, "r")
REGMAP_ACCESSOR(64, uint64_t, "r")
#undef REGMAP_ACCESSOR

#endif
