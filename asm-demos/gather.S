/* SPDX-License-Identifier: MIT */
/* AVX2: one store fills R8 to R11, and one gather turns their order round */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out
	mov	eax, 7
	xor	ecx, ecx
	cpuid
	test	ebx, 1 << 5                // AVX2
	jz	skip
	mov	eax, 1
	cpuid
	test	ecx, 1 << 27               // OSXSAVE
	jz	skip
	xor	ecx, ecx
	xgetbv
	test	al, 4                      // the kernel saves YMM
	jz	skip

	vmovdqu	ymm0, [numbers]
	vmovdqu	[0x40], ymm0               // R8 = 8, R9 = 9, R10 = 10, R11 = 11

	// The indices of a gather are the numbers of registers: [xmm1 * 8] is register XMM1.
	vmovdqu	xmm1, [order]
	vpcmpeqd ymm2, ymm2, ymm2
	vpgatherdq ymm3, [xmm1 * 8], ymm2
	vmovdqu	[0x40], ymm3               // R8 = 11, R9 = 10, R10 = 9, R11 = 8
	vzeroupper

	mov	rcx, r10
	mov	rsi, r8
	mov	rdx, r9
	mov	r8, r11
	mov	edi, offset text
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbx
	ret
skip:
	mov	eax, 77                    // what `make joy` takes for "can't be tried here"
	pop	rbx
	ret

	.section .rodata
numbers: .quad	8, 9, 10, 11
order:	.long	11, 10, 9, 8
text:	.asciz	"R8 = %lu, R9 = %lu, R10 = %lu, R11 = %lu\n"
