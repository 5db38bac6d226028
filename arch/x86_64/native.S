/* SPDX-License-Identifier: MIT */
/*
 * regmap__native_run(struct native *rdi): the interrupted context goes in, one instruction runs,
 * the context comes out. RSP stays the host's: code never names it. Offsets are struct native's.
 *
 * AC of the guest's flags is live while the instruction runs; all that this routine itself touches
 * meanwhile is 8-byte aligned.
 */
	.set	FLAGS, 128
	.set	CODE, 136
	.set	XSAVE, 144
	.set	LOAD, 152
	.set	SAVE, 160
	.set	PLAIN, 200
	.set	AC, 0x40000

	.text
	.p2align 4
	.globl	regmap__native_run
	.hidden	regmap__native_run
	.type	regmap__native_run, @function
regmap__native_run:
	.cfi_startproc
	endbr64
	.irp	r, rbx, rbp, r12, r13, r14, r15
	push	%\r
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %\r, 0
	.endr
	sub	$40, %rsp
	.cfi_adjust_cfa_offset 40
	mov	%rdi, (%rsp)
	mov	CODE(%rdi), %rax
	mov	%rax, 8(%rsp)
	stmxcsr	16(%rsp)
	fnstcw	20(%rsp)
	mov	LOAD(%rdi), %eax
	xor	%edx, %edx
	test	%eax, %eax
	jz	1f
	mov	XSAVE(%rdi), %rcx
	xrstor64 (%rcx)
1:	cmpq	$0, PLAIN(%rdi)
	jne	6f
	pushq	FLAGS(%rdi)
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
	mov	0(%rdi), %rax
	mov	8(%rdi), %rcx
	mov	16(%rdi), %rdx
	mov	24(%rdi), %rbx
	mov	40(%rdi), %rbp
	mov	48(%rdi), %rsi
	mov	64(%rdi), %r8
	mov	72(%rdi), %r9
	mov	80(%rdi), %r10
	mov	88(%rdi), %r11
	mov	96(%rdi), %r12
	mov	104(%rdi), %r13
	mov	112(%rdi), %r14
	mov	120(%rdi), %r15
	mov	56(%rdi), %rdi
	call	*8(%rsp)
	mov	%rdi, 24(%rsp)
	mov	(%rsp), %rdi
	mov	%rax, 0(%rdi)
	mov	%rcx, 8(%rdi)
	mov	%rdx, 16(%rdi)
	mov	%rbx, 24(%rdi)
	mov	%rbp, 40(%rdi)
	mov	%rsi, 48(%rdi)
	mov	%r8, 64(%rdi)
	mov	%r9, 72(%rdi)
	mov	%r10, 80(%rdi)
	mov	%r11, 88(%rdi)
	mov	%r12, 96(%rdi)
	mov	%r13, 104(%rdi)
	mov	%r14, 112(%rdi)
	mov	%r15, 120(%rdi)
	mov	24(%rsp), %rax
	mov	%rax, 56(%rdi)
	pushfq
	.cfi_adjust_cfa_offset 8
	popq	FLAGS(%rdi)
	.cfi_adjust_cfa_offset -8
	xor	%r12d, %r12d
	testl	$AC, FLAGS(%rdi)
	jz	2f
	pushq	$0x202
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
2:	mov	SAVE(%rdi), %eax
	xor	%edx, %edx
	test	%eax, %eax
	jz	3f
	mov	XSAVE(%rdi), %rcx
	xsave64	(%rcx)
3:	mov	LOAD(%rdi), %eax
	test	%eax, %eax
	jz	5f
	/* Leave the vector unit as the ABI wants it: our callers hold nothing in it. */
	test	$1, %eax
	jz	4f
	fninit
	fldcw	20(%rsp)
4:	ldmxcsr	16(%rsp)
	test	$4, %eax
	jz	5f
	vzeroupper
5:	mov	%r12d, %eax
	add	$40, %rsp
	.cfi_adjust_cfa_offset -40
	.irp	r, r15, r14, r13, r12, rbp, rbx
	pop	%\r
	.cfi_adjust_cfa_offset -8
	.cfi_restore %\r
	.endr
	ret

	/* Any register may be the one. */
	.cfi_adjust_cfa_offset 88
	.cfi_offset %rbx, -16
	.cfi_offset %rbp, -24
	.cfi_offset %r12, -32
	.cfi_offset %r13, -40
	.cfi_offset %r14, -48
	.cfi_offset %r15, -56
6:	mov	PLAIN(%rdi), %rax
	.irp	r, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	mov	%rax, %\r
	.endr
	call	*8(%rsp)
	mov	(%rsp), %rdi
	xor	%r12d, %r12d
	jmp	2b

	/* guard.c resumes here with RSP as behind the call and AC, DF and TF clear. */
	.globl	regmap__native_fault
	.hidden	regmap__native_fault
regmap__native_fault:
	endbr64
	cld
	mov	(%rsp), %rdi
	mov	$-1, %r12d
	jmp	2b
	.cfi_endproc
	.size	regmap__native_run, . - regmap__native_run

	/*
	 * IRETQ to the next instruction serialises, at any privilege, and traps into no hypervisor.
	 */
	.p2align 4
	.globl	regmap__serialize
	.hidden	regmap__serialize
	.type	regmap__serialize, @function
regmap__serialize:
	.cfi_startproc
	endbr64
	mov	%rsp, %rax
	.cfi_def_cfa_register %rax
	mov	%ss, %ecx
	push	%rcx
	push	%rax
	pushfq
	mov	%cs, %ecx
	push	%rcx
	lea	1f(%rip), %rcx
	push	%rcx
	iretq
1:	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size	regmap__serialize, . - regmap__serialize

	.globl	regmap__native_begin, regmap__native_end
	.hidden	regmap__native_begin, regmap__native_end
	.set	regmap__native_begin, regmap__native_run
	.set	regmap__native_end, regmap__serialize
	.section .note.GNU-stack, "", @progbits
