/* SPDX-License-Identifier: MIT */
/*
 * RFLAGS. Not inline: the compiler would not tell unwinders that RSP moves, and a profiler's signal may
 * arrive at any instruction.
 */
	.text
	.p2align 4
	.globl	regmap__flags_get
	.hidden	regmap__flags_get
	.type	regmap__flags_get, @function
regmap__flags_get:
	.cfi_startproc
	endbr64
	pushfq
	.cfi_adjust_cfa_offset 8
	pop	%rax
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size	regmap__flags_get, . - regmap__flags_get

	.p2align 4
	.globl	regmap__flags_set
	.hidden	regmap__flags_set
	.type	regmap__flags_set, @function
regmap__flags_set:
	.cfi_startproc
	endbr64
	push	%rdi
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size	regmap__flags_set, . - regmap__flags_set

	.section .note.GNU-stack, "", @progbits
