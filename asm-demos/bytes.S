/* SPDX-License-Identifier: MIT */
/* The bytes that x86 has no name for */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	mov	rax, 0x1122334455667788
	mov	byte ptr [1], 0xAA         // that one has a name: AH
	mov	byte ptr [3], 0xBB         // RAX bits 31:24 have none
	mov	byte ptr [7], 0xCC         // nor have bits 63:56
	mov	rsi, rax

	mov	r8, rax
	xor	edx, edx
	mov	dl, [0x40 + 3]             // DL = R8 bits 31:24
	mov	ecx, [4]                   // ECX = the upper half of RAX

	// A store of 4 bytes changes 4 bytes. MOV R9D would have cleared the rest.
	mov	r9, -1
	mov	dword ptr [0x48], 0
	mov	r8, [0x40 + 4]             // upper half of R8, lower half of R9: unaligned is fine

	mov	edi, offset text
	xor	eax, eax
	call	printf

	// AH cannot be used in an instruction that names R8. Address 1 can.
	mov	eax, 0x4200
	movzx	r8d, byte ptr [1]
	mov	esi, r8d
	mov	edi, offset high
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbx
	ret

	.section .rodata
text:	.ascii	"RAX = %lx\nR8 bits 31:24 = %lx\nupper half of RAX = %lx\n"
	.asciz	"R9:R8 shifted by 32 = %lx\nR9 after a 32-bit store = %lx\n"
high:	.asciz	"R8D = AH = %x\n"
