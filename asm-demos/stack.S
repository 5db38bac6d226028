/* SPDX-License-Identifier: MIT */
/* PUSH, POP, CALL and JMP through the addresses of registers */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	push	r12
	push	rbp
	call	map_registers
	test	eax, eax
	jnz	out

	mov	rbx, rsp
	push	qword ptr [0x20]           // push rsp: the old one
	pop	rsi
	sub	rsi, rbx                   // 0

	mov	rbp, rsp
	lea	rax, [rsp - 256]
	push	rax
	pop	qword ptr [0x20]           // pop rsp: what was on top of the stack
	mov	rdx, rbp
	sub	rdx, rsp                   // 256
	mov	[0x20], rbp                // and back
	mov	edi, offset text
	xor	eax, eax
	call	printf

	mov	eax, offset square
	mov	edi, 12
	call	qword ptr ds:[0]           // call rax
	mov	esi, edi
	mov	edi, offset called
	xor	eax, eax
	call	printf

	mov	edx, offset onward
	jmp	qword ptr ds:[0x10]        // jmp rdx
	ud2
square:
	imul	edi, [0x38]                // edi * edi
	ret
onward:
	mov	edi, offset jumped
	call	puts
	xor	eax, eax
out:
	pop	rbp
	pop	r12
	pop	rbx
	ret

	.section .rodata
text:	.asciz	"push [0x20] pushed RSP + %ld; pop [0x20] lowered RSP by %ld\n"
called:	.asciz	"call [0]: 12 * 12 = %u\n"
jumped:	.asciz	"jmp [0x10]: here we are"
