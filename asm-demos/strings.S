/* SPDX-License-Identifier: MIT */
/* REP: one instruction loads R8 to R15 from a table, and one overwrites its own counter */
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

	mov	esi, offset table
	mov	edi, 0x40                  // R8
	mov	ecx, 8
	rep movsq                          // R8 ... R15 = 1, 1, 2, 3, 5, 8, 13, 21

	mov	edx, r13d
	mov	ecx, r14d
	mov	r8d, r15d
	mov	esi, r12d
	mov	edi, offset text
	xor	eax, eax
	call	printf

	mov	edi, 0x60                  // search the registers R12 to R15 for a 13
	mov	ecx, 4
	mov	eax, 13
	repne scasq
	lea	esi, [rdi - 8]
	mov	edi, offset found
	xor	eax, eax
	call	printf

	// RCX lies at 8. The first byte stored is the lowest one of the counter: that was it.
	mov	edi, 8
	mov	ecx, 5
	xor	eax, eax
	rep stosb
	mov	edx, edi
	mov	rsi, rcx
	mov	edi, offset own
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
table:	.quad	1, 1, 2, 3, 5, 8, 13, 21
text:	.asciz	"R12 = %u, R13 = %u, R14 = %u, R15 = %u\n"
found:	.asciz	"13 is in the register at %#x\n"
own:	.asciz	"RCX = %lu, RDI = %u: one byte was enough\n"
