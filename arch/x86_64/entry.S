/* SPDX-License-Identifier: MIT */
/* Where the kernel enters the handler of trap.c, and where that returns to. */
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
	mov	$15, %rax
	syscall
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
