/* SPDX-License-Identifier: MIT */
/*
 * The instructions that rows measure, each in a loop of its own, in assembly: what is measured is
 * one instruction of known length, whatever the compiler. The SUB makes all status flags dead.
 */
#include "bench.h"

/* @behind comes after the instruction that is measured; @before and @after once, round the loop. */
#define AROUND(name, before, text, behind, after) \
	void loop_##name(uint64_t at, unsigned n); \
	extern const uint8_t length_##name, site_##name[]; \
	__asm__(".pushsection .text\n" \
	        ".p2align 4\n" \
	        ".type loop_" #name ", @function\n" \
	        "loop_" #name ":\n" \
	        "	" before "\n" \
	        "site_" #name ":\n" \
	        "1:	" text "\n" \
	        "2:	" behind "\n" \
	        "	sub $1, %esi\n" \
	        "	jnz 1b\n" \
	        "	" after "\n" \
	        "	ret\n" \
	        ".size loop_" #name ", . - loop_" #name "\n" \
	        ".popsection\n" \
	        ".pushsection .rodata\n" \
	        "length_" #name ": .byte 2b - 1b\n" \
	        ".popsection\n"); \
	const struct bench_insn bench_##name = {loop_##name, &length_##name, site_##name}

#define LOOP(name, text, behind) AROUND(name, "", text, behind, "")

/* Twice: what is patched is no floor any more. */
#define INSN(name, text) \
	LOOP(name, text, ""); \
	LOOP(hot_##name, text, "")

INSN(load, "mov (%rdi), %rax");
INSN(store, "mov %rax, (%rdi)");
INSN(add, "add %rax, (%rdi)");
INSN(xadd, "lock xadd %rax, (%rdi)");
INSN(sse_load, "movdqu (%rdi), %xmm0");
INSN(sse_store, "movdqu %xmm0, (%rdi)");
INSN(sse_multiply, "mulps (%rdi), %xmm0");
INSN(avx_load, "vmovdqu (%rdi), %ymm0");
INSN(avx512_load, "vmovdqu64 (%rdi), %zmm0");
/* Of zeros: what is no number, or a tiny one, takes the processor longer than all the rest. */
AROUND(x87_add, "fldz", "fadds 64(%rdi)", "", "fstp %st(0)");
AROUND(hot_x87_add, "fldz", "fadds 64(%rdi)", "", "fstp %st(0)");
/* Whole instructions of 5 bytes and more hold a jump; the others above are shorter. */
INSN(long_load, "{disp32} mov (%rdi), %rax");
/* For windows of other kinds: a patched site should see one window. */
INSN(general_load, "mov (%rdi), %rax");
INSN(general_store, "mov %rax, (%rdi)");
INSN(device_load, "mov (%rdi), %rax");
INSN(device_store, "mov %rax, (%rdi)");
/* For registers of described devices, which are of 32 bits. */
INSN(register_load, "mov (%rdi), %eax");
INSN(rule_load, "mov (%rdi), %eax");
INSN(rule_store, "mov %eax, (%rdi)");
/* The carry flag lives. */
LOOP(live_load, "mov (%rdi), %rax", "adc $0, %r8d");
LOOP(hot_live_load, "mov (%rdi), %rax", "adc $0, %r8d");
