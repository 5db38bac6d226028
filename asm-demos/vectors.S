/* SPDX-License-Identifier: MIT */
/* SIMD over the integer registers */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	mov	r8d, 10
	mov	r9d, 20
	mov	r10d, 300
	mov	r11d, 400
	movups	xmm0, [0x40]               // XMM0 = R9:R8, gathered by one load
	paddq	xmm0, [0x50]               // ... plus R11:R10, two additions at once
	movups	[0x40], xmm0               // R8 and R9, scattered by one store
	mov	rsi, r8
	mov	rdx, r9
	mov	edi, offset sums
	xor	eax, eax
	call	printf

	// The vector registers are memory, too: XMM3 lies at 0x800 + 3 * 64.
	movsd	xmm0, [half]
	movsd	[0x8c0], xmm0              // XMM3's low half
	addsd	xmm3, [0x8c0]              // 0.5 + 0.5
	movsd	xmm0, xmm3
	mov	edi, offset one
	mov	eax, 1
	call	printf

	// 16 letters into two registers; one compare finds the spaces in both.
	movups	xmm1, [text]
	movups	[0x40], xmm1
	movups	xmm2, [blanks]
	pcmpeqb	xmm2, [0x40]
	pmovmskb esi, xmm2
	mov	edi, offset mask
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbx
	ret

	.section .rodata
half:	.double	0.5
text:	.ascii	"r8 and r9 holdme"
blanks:	.fill	16, 1, ' '
sums:	.asciz	"R8 = %lu, R9 = %lu\n"
one:	.asciz	"XMM3 = %.1f\n"
mask:	.asciz	"spaces in R9:R8: %#x\n"
