/* SPDX-License-Identifier: MIT */
/* Where the kernel enters the handler of trap.c. It returns to calls.S. */
#include "frame.def"

	.text

	/*
	 * The kernel leaves the program's AC flag set in the handler; with it, our own misaligned
	 * accesses would fault. TF, RF and DF it has cleared.
	 */
	.p2align 4
	.globl	regmap__signal_entry
	.hidden	regmap__signal_entry
	.type	regmap__signal_entry, @function
regmap__signal_entry:
	.cfi_startproc
	endbr64
	pushfq
	.cfi_adjust_cfa_offset 8
	testl	$0x40000, (%rsp)
	jnz	2f
1:	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	jmp	regmap__trap_signal
	.cfi_adjust_cfa_offset 8
2:	andl	$~0x40000, (%rsp)
	popfq
	pushfq
	jmp	1b
	.cfi_endproc
	.size	regmap__signal_entry, . - regmap__signal_entry

	/* The same for a frame that sigframe.c has moved: something is left to do first. */
	/* A section each, for check-stack: it takes one for one function. */
	.section .text.regmap__sigframe_return, "ax", @progbits
	.section .text.regmap__sigframe_return, "ax", @progbits
	.p2align 4
	signal_frame
	.globl	regmap__sigframe_return
	.hidden	regmap__sigframe_return
	.type	regmap__sigframe_return, @function
regmap__sigframe_return:
	mov	%rsp, %rdi
	call	regmap__sigframe_returned
	jmp	regmap__restore_rt
	.cfi_endproc
	.size	regmap__sigframe_return, . - regmap__sigframe_return

	/*
	 * void regmap__sigframe_run(int signo, siginfo_t *info, void *ucontext, void *handler,
	 * void *frame): the handler begins as the kernel would have it begin, its caller's registers
	 * being those of the interrupted code.
	 */
	.section .text.regmap__sigframe_run, "ax", @progbits
	.p2align 4
	.globl	regmap__sigframe_run
	.hidden	regmap__sigframe_run
	.type	regmap__sigframe_run, @function
regmap__sigframe_run:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	mov	%r8, %rsp
	mov	72(%rdx), %r12
	mov	80(%rdx), %r13
	mov	88(%rdx), %r14
	mov	96(%rdx), %r15
	mov	120(%rdx), %rbp
	mov	128(%rdx), %rbx
	xor	%eax, %eax
	jmp	*%rcx
	.cfi_endproc
	.size	regmap__sigframe_run, . - regmap__sigframe_run

	.section .note.GNU-stack, "", @progbits
