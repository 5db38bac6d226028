/* SPDX-License-Identifier: MIT */
/*
 * Every system call that the library makes, in one range of addresses: syscall user dispatch lets
 * those through (calls.h).
 */
#include "calls.h"
#include "frame.def"

	.text
	.p2align 4
	.globl	regmap__calls_begin, regmap__calls_end
	.hidden	regmap__calls_begin, regmap__calls_end
regmap__calls_begin:

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

	/* How an unwinder finds out that a handler is returning: frame.def */
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

	/*
	 * The program's own call, made from here: its registers, but RSP, which points at a struct
	 * call_block. What SYSCALL leaves in RCX is the address to return to, so
	 * that RCX is free for the jump. Nothing here changes flags.
	 */
	.p2align 4
	.globl	regmap__calls_pass, regmap__calls_pass_child, regmap__calls_pass_32
	.hidden	regmap__calls_pass, regmap__calls_pass_child, regmap__calls_pass_32
	.type	regmap__calls_pass, @function
regmap__calls_pass:
	.cfi_startproc
	/* DW_CFA_def_cfa_expression: DW_OP_breg7 56, DW_OP_deref; RIP: DW_OP_breg7 0 */
	.cfi_escape 0x0f, 3, 0x77, 56, 0x06
	.cfi_escape 0x10, 16, 2, 0x77, 0
	syscall
1:	mov	8(%rsp), %rdi
	mov	16(%rsp), %rsi
	mov	24(%rsp), %rdx
	mov	32(%rsp), %r10
	mov	40(%rsp), %r8
	mov	48(%rsp), %r9
	lea	CALL_RETURNED(%r11), %r11
	mov	(%rsp), %rcx
	.cfi_register rip, rcx
	mov	56(%rsp), %rsp
	.cfi_def_cfa rsp, 0
	jmp	*%rcx
	.cfi_endproc

	/* The new thread or process begins without dispatch: it switches that on. */
	.type	regmap__calls_pass_child, @function
regmap__calls_pass_child:
	.cfi_startproc
	/* DW_CFA_def_cfa_expression: DW_OP_breg7 56, DW_OP_deref; RIP: DW_OP_breg7 0 */
	.cfi_escape 0x0f, 3, 0x77, 56, 0x06
	.cfi_escape 0x10, 16, 2, 0x77, 0
	syscall
	mov	%rax, %rcx
	jrcxz	2f
	jmp	1b
2:	mov	$157, %eax	/* prctl */
	mov	$59, %edi	/* PR_SET_SYSCALL_USER_DISPATCH */
	mov	$1, %esi	/* PR_SYS_DISPATCH_ON */
	lea	regmap__calls_begin(%rip), %rdx
	mov	$(regmap__calls_end - regmap__calls_begin), %r10d
	mov	$0, %r8d
	syscall
	mov	$0, %eax
	jmp	1b
	.cfi_endproc

	/* INT 0x80 keeps all registers, so that none is free: RSP points at struct iret. */
	.type	regmap__calls_pass_32, @function
regmap__calls_pass_32:
	.cfi_startproc
	/* DW_CFA_def_cfa_expression: DW_OP_breg7 24, DW_OP_deref; RIP: DW_OP_breg7 0 */
	.cfi_escape 0x0f, 3, 0x77, 24, 0x06
	.cfi_escape 0x10, 16, 2, 0x77, 0
	int	$0x80
	iretq
	.cfi_endproc

regmap__calls_end:

	/*
	 * bool regmap__calls_dispatched(void): sched_yield() returns 0, unless it is dispatched: see
	 * regmap__call_is_probe().
	 */
	.p2align 4
	.globl	regmap__calls_dispatched
	.hidden	regmap__calls_dispatched
	.type	regmap__calls_dispatched, @function
regmap__calls_dispatched:
	.cfi_startproc
	endbr64
	mov	$24, %eax
	syscall
	.globl	regmap__calls_probed
	.hidden	regmap__calls_probed
regmap__calls_probed:
	test	%rax, %rax
	setnz	%al
	ret
	.cfi_endproc
	.size	regmap__calls_dispatched, . - regmap__calls_dispatched

	.section .note.GNU-stack, "", @progbits
