/* SPDX-License-Identifier: MIT */
/* BTS: one instruction reaches every bit of every register, flags included */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	xor	r8d, r8d
	xor	r9d, r9d
	mov	eax, 8 * 64 + 5            // bit 5 of register 8
	bts	[0], rax
	mov	eax, 9 * 64 + 63           // bit 63 of register 9
	bts	[0], rax
	mov	rsi, r8
	mov	rdx, r9
	mov	edi, offset set
	xor	eax, eax
	call	printf

	// The bit number may lie in the register that it changes.
	mov	eax, 0 * 64 + 4
	bts	[0], rax                   // RAX = 4 | 16
	mov	rsi, rax
	mov	edi, offset own
	xor	eax, eax
	call	printf

	// RFLAGS is "register 17": bit 0 is CF. BTC copies the old bit to CF, but the store wins.
	clc
	mov	eax, 17 * 64 + 0
	btc	[0], rax                   // CMC
	setc	sil
	btc	[0], rax                   // CMC
	setc	dl
	movzx	esi, sil
	movzx	edx, dl
	mov	edi, offset carry
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbx
	ret

	.section .rodata
set:	.asciz	"R8 = %#lx, R9 = %#lx\n"
own:	.asciz	"RAX = %lu after BTS with RAX = 4 on RAX\n"
carry:	.asciz	"CF = %u, then %u\n"
