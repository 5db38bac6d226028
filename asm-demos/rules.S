/* SPDX-License-Identifier: MIT */
/* The rules of the page: values from before the instruction, and the store to the page wins */
	.intel_syntax noprefix
	.globl main

	.macro	say what, value
	mov	rsi, \value
	mov	edi, offset .Lsay\@
	.pushsection .rodata
.Lsay\@: .asciz "\what: %ld\n"
	.popsection
	xor	eax, eax
	call	printf
	.endm
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	mov	eax, 20
	xadd	[0], rax                   // the sum goes to memory, the old value to RAX: same bytes
	say	"xadd [0], rax with RAX = 20", rax

	mov	eax, 0x30
	mov	esi, 0x30
	lodsq				   // reads RSI as it was; RSI then goes on
	say	"lodsq with RSI = 0x30: RAX", rax

	mov	edi, 0x38
	mov	eax, 7
	stosq				   // RDI = 0x40 by the instruction, 7 by the store
	say	"stosq with RDI = 0x38 and RAX = 7: RDI", rdi

	mov	eax, 3
	mov	edx, 0
	mul	qword ptr [0]			// the operand is read before the product is written
	say	"mul [0] with RAX = 3", rax

	mov	eax, 5
	neg	qword ptr [0]
	say	"neg [0] with RAX = 5", rax

	mov	rbx, -1
	mov	dword ptr [0x18], 0		// mov ebx, 0 would clear all of RBX
	say	"mov dword [0x18], 0 with RBX = -1", rbx

	mov	rbx, rsp
	push	[0x20]				// as push rsp: the old value
	pop	rax
	sub	rbx, rax
	say	"push [0x20] pushed RSP minus", rbx

	mov	rbx, [0x80]			// RIP of the next instruction
here:	sub	rbx, offset here
	say	"mov rbx, [0x80] is off by", rbx
	xor	eax, eax
out:
	pop	rbx
	ret
