/* SPDX-License-Identifier: MIT */
/* Every system call that the library makes in the handler. */

	.text
	.p2align 4

	/* long regmap__syscall(long number, long a, long b, long c, long d, long e, long f) */
	.globl	regmap__syscall
	.hidden	regmap__syscall
	.type	regmap__syscall, @function
regmap__syscall:
	.cfi_startproc
	endbr64
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	ret
	.cfi_endproc
	.size	regmap__syscall, . - regmap__syscall

/*
 * Unwinders know a signal frame by these two instructions (libgcc, libunwind, gdb compare the
 * bytes) or by the CFI below. RSP points at the ucontext here: its uc_mcontext.gregs begin at 40.
 */
#define GREG(column, index) GREG_AT(column, (40 + 8 * (index)))
/* DW_CFA_expression column, DW_OP_breg7 offset (signed LEB128 in two bytes) */
#define GREG_AT(column, at) \
	.cfi_escape 0x10, column, 3, 0x77, ((at) & 0x7f) | 0x80, (at) >> 7

	.macro	signal_frame
	.cfi_startproc
	.cfi_signal_frame
	/* DW_CFA_def_cfa_expression: DW_OP_breg7 160 (gregs[REG_RSP]), DW_OP_deref */
	.cfi_escape 0x0f, 4, 0x77, 0xa0, 1, 0x06
	GREG(8, 0)
	GREG(9, 1)
	GREG(10, 2)
	GREG(11, 3)
	GREG(12, 4)
	GREG(13, 5)
	GREG(14, 6)
	GREG(15, 7)
	GREG(5, 8)
	GREG(4, 9)
	GREG(6, 10)
	GREG(3, 11)
	GREG(1, 12)
	GREG(0, 13)
	GREG(2, 14)
	GREG(7, 15)
	GREG(16, 16)
	nop	/* unwinders look up the byte before a return address */
	.endm

	.p2align 4
	signal_frame
	.globl	regmap__restore_rt
	.hidden	regmap__restore_rt
	.type	regmap__restore_rt, @function
regmap__restore_rt:
	mov	$15, %rax	/* rt_sigreturn */
	syscall
	.cfi_endproc
	.size	regmap__restore_rt, . - regmap__restore_rt

	/* The same for a frame that sigframe.c has moved: something is left to do first. */
	.p2align 4
	signal_frame
	.globl	regmap__sigframe_return
	.hidden	regmap__sigframe_return
	.type	regmap__sigframe_return, @function
regmap__sigframe_return:
	mov	%rsp, %rdi
	call	regmap__sigframe_returned
	mov	$15, %rax
	syscall
	.cfi_endproc
	.size	regmap__sigframe_return, . - regmap__sigframe_return

	.section .note.GNU-stack, "", @progbits
