/* SPDX-License-Identifier: MIT */
/* XLAT with RBX = 0: AL is the register-file byte number AL */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	push	r12
	push	r13
	call	map_registers
	test	eax, eax
	jnz	out

	// R12 and R13 hold a permutation of 0x60 ... 0x6F, the numbers of their own bytes.
	// Following it from any byte visits all the others before it comes home.
	movups	xmm0, [links]
	movups	[0x60], xmm0
	xor	ebx, ebx
	mov	edi, offset buffer
	mov	eax, 0x60
	cld
walk:	xlatb                              // AL = the byte at AL
	mov	dl, al
	sub	al, 0x60
	movzx	ecx, al
	mov	al, [letters + rcx]
	stosb
	mov	al, dl
	cmp	al, 0x60
	jne	walk

	// AL itself lies at 0: XLAT with AL = 0 reads the 0 that it is about to replace.
	xor	eax, eax
	xlatb
	movzx	esi, al
	mov	edx, offset buffer
	mov	edi, offset text
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	r13
	pop	r12
	pop	rbx
	ret

	.section .rodata
links:	.byte	0x67, 0x6c, 0x63, 0x6a, 0x6f, 0x68, 0x61, 0x6d
	.byte	0x62, 0x60, 0x69, 0x66, 0x64, 0x6b, 0x65, 0x6e
letters: .ascii	"!dytt nrbseu oeh"
text:	.asciz	"AL = %u; %s\n"
	.bss
buffer:	.skip	17
