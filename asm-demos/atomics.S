/* SPDX-License-Identifier: MIT */
/* Registers as shared variables: XCHG, LOCK XADD, CMPXCHG16B */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	push	r12
	push	rbp
	call	map_registers
	test	eax, eax
	jnz	out

	// Fibonacci: one instruction a step. RAX becomes RAX + RCX, RCX the old RAX.
	mov	ebp, 10
	xor	ecx, ecx
	mov	eax, 1
step:	lock xadd [0], rcx
	dec	ebp
	jnz	step
	mov	rsi, rcx
	mov	rdx, rax
	mov	edi, offset fib
	xor	eax, eax
	call	printf

	// Two registers change hands by way of a third one's address.
	mov	r8d, 8
	mov	r9d, 9
	xchg	[0x40], r9
	mov	rsi, r8
	mov	rdx, r9
	mov	edi, offset swap
	xor	eax, eax
	call	printf

	// If R9:R8 is RDX:RAX, it becomes RCX:RBX: a lock-free update of two registers that nobody shares.
	mov	r8d, 1
	mov	r9d, 2
	mov	eax, 1
	mov	edx, 2
	mov	ebx, 333
	mov	ecx, 444
	lock cmpxchg16b [0x40]
	setz	al
	movzx	ecx, al
	mov	rsi, r8
	mov	rdx, r9
	mov	edi, offset pair
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbp
	pop	r12
	pop	rbx
	ret

	.section .rodata
fib:	.asciz	"the tenth Fibonacci number is %lu, the next %lu\n"
swap:	.asciz	"R8 = %lu, R9 = %lu\n"
pair:	.asciz	"R8 = %lu, R9 = %lu, ZF = %u\n"
