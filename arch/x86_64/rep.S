/* SPDX-License-Identifier: MIT */
/*
 * int regmap__rep_run(struct rep *rdi, enum rep_op esi, unsigned edx) and
 * int regmap__rep_forwards(struct rep *rdi, unsigned esi). Between begin and end R9 holds the struct; a fault there is resumed at
 * regmap__rep_fault with the registers as it left them.
 */
	.text
	.p2align 4
	.globl	regmap__rep_forwards
	.hidden	regmap__rep_forwards
	.type	regmap__rep_forwards, @function
regmap__rep_forwards:
	.cfi_startproc
	endbr64
	shl	$4, %esi
	jmp	.Lrun
	.cfi_endproc
	.size	regmap__rep_forwards, . - regmap__rep_forwards

	.p2align 4
	.globl	regmap__rep_run, regmap__rep_begin, regmap__rep_end, regmap__rep_fault
	.hidden	regmap__rep_run, regmap__rep_begin, regmap__rep_end, regmap__rep_fault
	.type	regmap__rep_run, @function
regmap__rep_run:
	.cfi_startproc
	endbr64
	lea	(%rdx,%rsi,4), %esi
	shl	$4, %esi
	pushq	32(%rdi)
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
.Lrun:	/* changes no flag */
	mov	%rdi, %r9
	lea	regmap__rep_begin(%rip), %r10
	lea	(%r10,%rsi), %r10
	mov	0(%r9), %rsi
	mov	8(%r9), %rdi
	mov	16(%r9), %rcx
	mov	24(%r9), %rax
	jmp	*%r10

	.macro	BODIES rep, op
	.irp	w, b, w, l, q
	.p2align 4 /* so that a body is found by its number */
	endbr64
	\rep \op\w
	jmp	.Ldone
	.endr
	.endm

	.p2align 4
regmap__rep_begin:
	BODIES	rep, movs
	BODIES	rep, stos
	BODIES	rep, lods
	BODIES	repe, cmps
	BODIES	repne, cmps
	BODIES	repe, scas
	BODIES	repne, scas
regmap__rep_end:

.Ldone:	mov	%rax, 24(%r9)
	mov	$0, %eax
.Lstore:
	mov	%rsi, 0(%r9)
	mov	%rdi, 8(%r9)
	mov	%rcx, 16(%r9)
	pushfq
	.cfi_adjust_cfa_offset 8
	popq	32(%r9)
	.cfi_adjust_cfa_offset -8
	cld
	ret
regmap__rep_fault:
	endbr64
	mov	%rax, 24(%r9)
	mov	$-1, %eax
	jmp	.Lstore
	.cfi_endproc
	.size	regmap__rep_run, . - regmap__rep_run

	.section .note.GNU-stack, "", @progbits
