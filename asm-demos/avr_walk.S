/* SPDX-License-Identifier: MIT */
/* ld r, X+: a pointer walks over the registers, as on an AVR */
	.intel_syntax noprefix
	.globl main
main:
	push	r12
	push	r13
	push	r14
	push	r15
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	mov	edi, 0x40                  // R8 ...
	mov	eax, 1
fill:	stosq                              // st X+, rax
	inc	eax
	cmp	edi, 0x80                  // ... to R15
	jne	fill                       // R8 = 1, R9 = 2, ... R15 = 8

	xor	ebx, ebx
	mov	esi, 0x40
sum:	lodsq                              // ld rax, X+
	add	rbx, rax
	cmp	esi, 0x80
	jne	sum

	mov	edi, offset text
	mov	rsi, rbx
	mov	rdx, r15
	xor	eax, eax
	call	printf

	// The AVR's start-up code clears its registers like this. R15 goes first, the pointer too.
	mov	edi, 0x78
	xor	eax, eax
clear:	mov	[rdi], rax                 // st X, r1
	sub	edi, 8
	cmp	edi, 0x40
	jae	clear

	// AVR leaves "ld XL, X+" undefined. Here the load is an ordinary one, of the old pointer.
	mov	esi, 0x30                  // RSI points at itself
	lodsq                              // RAX = 0x30, RSI = 0x38
	mov	rdx, rax
	lea	rcx, [r8 + r9]
	add	rcx, r15                   // 0, if the registers are clear
	mov	edi, offset self
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbx
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	ret

	.section .rodata
text:	.asciz	"R8 + ... + R15 = %lu, and R15 = %lu\n"
self:	.asciz	"lodsq at RSI = 0x30: RSI = %#lx, RAX = %#lx; the cleared registers: %lu\n"
