/* SPDX-License-Identifier: MIT */
/* Every register set, one instruction or two, every register taken. */
#include "offsets.h"
	.text

/*
 * void soak__shot(struct shot *shot): calls shot->code with the state shot->in and leaves what it made
 * of that in shot->out. RSP is the only register that isn't chosen; the code finds a return address
 * there.
 */
	.p2align 4
	.globl	soak__shot
	.type	soak__shot, @function
soak__shot:
	endbr64
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi
	push	SHOT_CODE(%rdi)
	mov	soak__components(%rip), %eax
	xor	%edx, %edx
	mov	SHOT_IN_IMAGE(%rdi), %rcx
	xrstor64 (%rcx)
	push	SHOT_IN_FLAGS(%rdi)
	popfq
	mov	SHOT_IN_GPR + 0x00(%rdi), %rax
	mov	SHOT_IN_GPR + 0x08(%rdi), %rcx
	mov	SHOT_IN_GPR + 0x10(%rdi), %rdx
	mov	SHOT_IN_GPR + 0x18(%rdi), %rbx
	mov	SHOT_IN_GPR + 0x28(%rdi), %rbp
	mov	SHOT_IN_GPR + 0x30(%rdi), %rsi
	mov	SHOT_IN_GPR + 0x40(%rdi), %r8
	mov	SHOT_IN_GPR + 0x48(%rdi), %r9
	mov	SHOT_IN_GPR + 0x50(%rdi), %r10
	mov	SHOT_IN_GPR + 0x58(%rdi), %r11
	mov	SHOT_IN_GPR + 0x60(%rdi), %r12
	mov	SHOT_IN_GPR + 0x68(%rdi), %r13
	mov	SHOT_IN_GPR + 0x70(%rdi), %r14
	mov	SHOT_IN_GPR + 0x78(%rdi), %r15
	mov	SHOT_IN_GPR + 0x38(%rdi), %rdi
	call	*(%rsp)
	pushfq
	push	%rax
	mov	24(%rsp), %rax
	mov	%rcx, SHOT_OUT_GPR + 0x08(%rax)
	mov	%rdx, SHOT_OUT_GPR + 0x10(%rax)
	mov	%rbx, SHOT_OUT_GPR + 0x18(%rax)
	mov	%rbp, SHOT_OUT_GPR + 0x28(%rax)
	mov	%rsi, SHOT_OUT_GPR + 0x30(%rax)
	mov	%rdi, SHOT_OUT_GPR + 0x38(%rax)
	mov	%r8, SHOT_OUT_GPR + 0x40(%rax)
	mov	%r9, SHOT_OUT_GPR + 0x48(%rax)
	mov	%r10, SHOT_OUT_GPR + 0x50(%rax)
	mov	%r11, SHOT_OUT_GPR + 0x58(%rax)
	mov	%r12, SHOT_OUT_GPR + 0x60(%rax)
	mov	%r13, SHOT_OUT_GPR + 0x68(%rax)
	mov	%r14, SHOT_OUT_GPR + 0x70(%rax)
	mov	%r15, SHOT_OUT_GPR + 0x78(%rax)
	mov	%rax, %rdi
	popq	SHOT_OUT_GPR + 0x00(%rdi)
	popq	SHOT_OUT_FLAGS(%rdi)
	cld
	mov	soak__components(%rip), %eax
	xor	%edx, %edx
	mov	SHOT_OUT_IMAGE(%rdi), %rcx
	xsave64	(%rcx)
	/* What C expects. */
	fninit
	ldmxcsr	mxcsr(%rip)
	testl	$4, soak__components(%rip)
	jz	1f
	vzeroupper
1:	add	$16, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	soak__shot, . - soak__shot

	.section .rodata
	.p2align 2
mxcsr:	.long	0x1f80

	.section .note.GNU-stack, "", @progbits
