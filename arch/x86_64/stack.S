/* SPDX-License-Identifier: MIT */
	.text

	/*
	 * void *regmap__call_on(void *arg, void *function, void *top): call a function with another
	 * stack. The frame pointer leads unwinders back (pthread_exit() is one).
	 */
	.p2align 4
	.globl	regmap__call_on
	.hidden	regmap__call_on
	.type	regmap__call_on, @function
regmap__call_on:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register rbp
	mov	%rdx, %rsp
	call	*%rsi
	mov	%rbp, %rsp
	pop	%rbp
	.cfi_def_cfa rsp, 8
	ret
	.cfi_endproc
	.size	regmap__call_on, . - regmap__call_on

	.section .note.GNU-stack, "", @progbits
