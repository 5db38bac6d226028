/* SPDX-License-Identifier: MIT */
/*
 * Where slots call C: slot.h. The stack on the way, from the slot's CALL on:
 *
 *   guest RSP          that of the program; 128 bytes below it are its red zone
 *   guest RSP - 136    where the CALL returns to; later, perhaps, another place to go on
 *   guest RSP - 296    struct slot_frame
 *
 * Unwinders find the site as the caller of all this. A signal handler finds what the labels say:
 * slotroll.c gives the program's registers back, as they were or as they will be.
 */
#include "slotcall.h"
#include "slotmove.h"
#include "slotcall.def"

	.text

/* The program's registers are in the frame, which begins 296 bytes below the CFA. */
	.macro	in_frame
	.cfi_offset rax, SLOT_RAX - 296
	.cfi_offset rcx, SLOT_RCX - 296
	.cfi_offset rdx, SLOT_RDX - 296
	.cfi_offset rbx, SLOT_RBX - 296
	.cfi_offset rbp, SLOT_RBP - 296
	.cfi_offset rsi, SLOT_RSI - 296
	.cfi_offset rdi, SLOT_RDI - 296
	.cfi_offset r8, SLOT_R8 - 296
	.cfi_offset r9, SLOT_R8 + 8 - 296
	.cfi_offset r10, SLOT_R8 + 16 - 296
	.cfi_offset r11, SLOT_R8 + 24 - 296
	.cfi_offset r12, SLOT_R8 + 32 - 296
	.cfi_offset r13, SLOT_R8 + 40 - 296
	.cfi_offset r14, SLOT_R8 + 48 - 296
	.cfi_offset r15, SLOT_R8 + 56 - 296
	.cfi_offset rip, SLOT_RIP - 296
	.endm

	.macro	take_back
	mov	SLOT_RAX(%rsp), %rax
	mov	SLOT_RCX(%rsp), %rcx
	mov	SLOT_RDX(%rsp), %rdx
	mov	SLOT_RBX(%rsp), %rbx
	mov	SLOT_RBP(%rsp), %rbp
	mov	SLOT_RSI(%rsp), %rsi
	mov	SLOT_RDI(%rsp), %rdi
	mov	SLOT_R8(%rsp), %r8
	mov	SLOT_R8+8(%rsp), %r9
	mov	SLOT_R8+16(%rsp), %r10
	mov	SLOT_R8+24(%rsp), %r11
	mov	SLOT_R8+32(%rsp), %r12
	mov	SLOT_R8+40(%rsp), %r13
	mov	SLOT_R8+48(%rsp), %r14
	mov	SLOT_R8+56(%rsp), %r15
	.endm

/* An XSAVE header that says so. RAX is lost. */
	.macro	no_components image
	xor	%eax, %eax
	.irp	at, 512, 520, 528, 536, 544, 552, 560, 568
	mov	%rax, \at(\image)
	.endr
	.endm

/* Vector registers to or from R12. */
	.macro	each move, register, size, direction
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	.ifc	\direction, out
	\move	%\register\n, \size * \n(%r12)
	.else
	\move	\size * \n(%r12), %\register\n
	.endif
	.endr
	.endm

	.macro	each_more direction
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	.ifc	\direction, out
	vmovdqa64 %zmm\n, 64 * \n(%r12)
	.else
	vmovdqa64 64 * \n(%r12), %zmm\n
	.endif
	.endr
	.endm

	.macro	each_mask direction
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	.ifc	\direction, out
	kmovq	%k\n, 2048 + 8 * \n(%r12)
	.else
	kmovq	2048 + 8 * \n(%r12), %k\n
	.endif
	.endr
	.endm

	.macro	clear_more
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vpxord	%zmm\n, %zmm\n, %zmm\n
	.endr
	.endm

	.macro	clear_mask
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	kxorq	%k\n, %k\n, %k\n
	.endr
	.endm

	.p2align 6
	.globl	regmap__slot_call
	.hidden	regmap__slot_call
	.type	regmap__slot_call, @function
regmap__slot_call:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 136
	in_registers
	rip_in_cell 0

	/* No register but RSP changes before all of them are in the frame. */
	lea	-24(%rsp), %rsp
	.cfi_def_cfa_offset 160
	rip_in_cell 24
	label	entered_24
	pushfq
	.cfi_def_cfa_offset 168
	rip_in_cell 32
	label	entered_32
	lea	-128(%rsp), %rsp
	.cfi_def_cfa_offset 296
	rip_in_cell 160
	label	entered_160
	mov	%rax, SLOT_RAX(%rsp)
	mov	%rcx, SLOT_RCX(%rsp)
	mov	%rdx, SLOT_RDX(%rsp)
	mov	%rbx, SLOT_RBX(%rsp)
	mov	%rbp, SLOT_RBP(%rsp)
	mov	%rsi, SLOT_RSI(%rsp)
	mov	%rdi, SLOT_RDI(%rsp)
	mov	%r8, SLOT_R8(%rsp)
	mov	%r9, SLOT_R8+8(%rsp)
	mov	%r10, SLOT_R8+16(%rsp)
	mov	%r11, SLOT_R8+24(%rsp)
	mov	%r12, SLOT_R8+32(%rsp)
	mov	%r13, SLOT_R8+40(%rsp)
	mov	%r14, SLOT_R8+48(%rsp)
	mov	%r15, SLOT_R8+56(%rsp)
	mov	%rsp, %rbx

	/* From here on RBX points to the frame. */
	label	framed
	.cfi_def_cfa rbx, 296
	in_frame
	testl	$0x40400, SLOT_FLAGS(%rbx)	/* AC: the next load may fault; DF */
	jnz	6f
	label	without_ac
	mov	SLOT_FRAME_SIZE(%rbx), %rax
	movslq	-4(%rax), %rcx
	add	%rcx, %rax
	mov	%rax, SLOT_CELL(%rbx)
	mov	SLOT_CELL_SITE(%rax), %rcx
	mov	%rcx, SLOT_RIP(%rbx)
	movq	$0, SLOT_TARGET(%rbx)
	lea	296(%rbx), %rcx
	mov	%rcx, SLOT_RSP(%rbx)
	testl	$0x100, SLOT_FLAGS(%rbx)	/* TF */
	jnz	5f
	testb	$SLOT_NOTE_VECTOR, SLOT_CELL_NOTE(%rax)
	jnz	8f
	and	$-64, %rsp
	testb	$0, -SLOT_PROBE(%rsp)
#ifdef REGMAP_SLOT_SAVES_ALL
	jmp	8f	/* sanitizers' code may use any register */
#endif
	cmpq	$0, SLOT_CELL_MOVE(%rax)
	je	1f
	mov	$MOVE_GENERAL, %edi
	call	regmap__slot_move
	label	moved
	test	%eax, %eax
	jz	2f
	label	not_moved
1:	mov	%rbx, %rdi
	call	regmap__slot_enter
	label	decided
	test	%eax, %eax
	jnz	4f

	/* It is over: what the frame says, holds. */
	label	over
2:	cmpq	$0, SLOT_TARGET(%rbx)
	jne	3f
	leave_by_tail
	mov	%rbx, %rsp
	label	leaving
	.cfi_def_cfa rsp, 296
	/* POPFQ takes longer than a callback: where there are but status flags to give back, these do. */
	mov	SLOT_FLAGS(%rsp), %eax
	mov	%eax, %ecx
	and	$~0x8d5, %ecx
	cmp	regmap__slot_state+SLOT_STATE_OTHERS(%rip), %ecx
	jne	9f
	bt	$11, %eax
	setc	%cl
	mov	%al, %ah
	mov	%cl, %al
	add	$0x7f, %al	/* overflows if AL is 1 */
	sahf
	take_back
	lea	SLOT_FRAME_SIZE(%rsp), %rsp
	label	leaving_status
	.cfi_remember_state
	.cfi_def_cfa_offset 136
	in_registers
	rip_in_cell 0
	ret

9:
	label	leaving_all
	.cfi_restore_state
	take_back
	lea	SLOT_FLAGS(%rsp), %rsp
	label	leaving_flags
	.cfi_def_cfa_offset 168
	in_registers
	popfq
	label	leaving_rip
	.cfi_def_cfa_offset 160
	lea	24(%rsp), %rsp
	label	leaving_ret
	.cfi_def_cfa_offset 136
	rip_in_cell 0
	ret

	/* To another place, perhaps on another stack: RET pops it from where it does no harm. */
3:
	label	exit
	.cfi_def_cfa rbx, 296
	in_frame
	mov	SLOT_RSP(%rbx), %rax
	lea	-136(%rax), %rax
	/* After a push, that is in the frame: then the frame moves out of the way. */
	lea	8(%rax), %rcx
	sub	%rbx, %rcx
	cmp	$SLOT_FRAME_SIZE + 8, %rcx
	jae	9f
	lea	-SLOT_ASIDE(%rbx), %rsp
	mov	%rbx, %rsi
	mov	%rsp, %rdi
	mov	$SLOT_FRAME_SIZE / 8, %ecx
	rep movsq
	mov	%rsp, %rbx
9:	mov	SLOT_TARGET(%rbx), %rcx
	mov	%rcx, (%rax)
	mov	%rax, SLOT_CELL(%rbx)
	mov	%rbx, %rsp
	label	exiting
	.cfi_def_cfa rsp, 296
	take_back
	lea	SLOT_FLAGS(%rsp), %rsp
	label	exiting_flags
	.cfi_def_cfa_offset 168
	in_registers
	popfq
	label	exiting_rsp
	.cfi_def_cfa_offset 160
	mov	SLOT_CELL - SLOT_RIP(%rsp), %rsp
	label	exiting_ret
	.cfi_def_cfa_offset 136
	.cfi_offset rip, -136
	ret	$128

	/*
	 * With the vector state saved: 1 a callback may use it, 2 the emulator needs an image of it.
	 * XRSTOR takes longer than all the rest, so a callback has those vector registers saved one by
	 * one that are in use, where that is all there is. What isn't, is zeros.
	 */
8:
	label	noted
	.cfi_def_cfa rbx, 296
	in_frame
	mov	$1, %eax
4:
	label	undecided
	.cfi_def_cfa rbx, 296
	in_frame
	mov	%eax, %r13d
	mov	%rbx, %rsp
	mov	regmap__slot_state+SLOT_STATE_WAY(%rip), %r14d
	cmp	$1, %r13d
	jne	4f
	test	%r14d, %r14d
	jz	4f
	mov	$1, %ecx
	xgetbv
	mov	%eax, %r15d
	lea	-SLOT_VECTORS(%rsp), %rsp
	and	$-64, %rsp
	testb	$0, -SLOT_PROBE_FULL(%rsp)
	mov	%rsp, %r12
	stmxcsr	SLOT_VECTORS_MXCSR(%r12)
	test	$(XSTATE_AVX | XSTATE_ZMM_HI256), %al
	jnz	1f
	each	movaps, xmm, 16, out
	jmp	2f
1:	test	$XSTATE_ZMM_HI256, %al
	jnz	1f
	each	vmovdqa, ymm, 32, out
	jmp	2f
1:	each	vmovdqa64, zmm, 64, out
2:	test	$XSTATE_HI16_ZMM, %al
	jz	1f
	each_more out
1:	test	$XSTATE_OPMASK, %al
	jz	1f
	each_mask out
1:	test	$XSTATE_X87, %al
	jz	1f
	fxsave64 SLOT_VECTORS_X87(%r12)
#ifndef REGMAP_SLOT_SAVES_ALL	/* there XSAVE comes by here, too, and shows it */
	/*
	 * Intel's processors have them in use after each signal, the kernel's frames being what they are. If they
	 * are as they began, to the last bit, they may as well be in no use.
	 */
	cmpq	$0x37f, SLOT_VECTORS_X87(%r12)
	jne	1f
	mov	SLOT_VECTORS_X87+8(%r12), %rcx
	.irp	at, 16, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152
	or	SLOT_VECTORS_X87+\at(%r12), %rcx
	.endr
	test	%rcx, %rcx
	jnz	1f
	mov	$XSTATE_X87, %eax
	xor	%edx, %edx
	xrstor64 regmap__slot_nothing(%rip)
	and	$~XSTATE_X87, %r15d
#endif
1:
	label	saved_some
	vzeroupper
	cmpl	$0x1f80, SLOT_VECTORS_MXCSR(%r12)
	je	1f
	movl	$0x1f80, SLOT_VECTORS_MXCSR+4(%r12)
	ldmxcsr	SLOT_VECTORS_MXCSR+4(%r12)
1:	test	$XSTATE_X87, %r15b
	jz	1f
	/* An empty stack that works as it does by default need not be emptied, whatever the status says. */
	mov	SLOT_VECTORS_X87(%r12), %rax
	movabs	$0xff0000ffff, %rcx
	and	%rcx, %rax
	cmp	$0x37f, %rax
	je	1f
	fninit
1:
#ifndef REGMAP_SLOT_SAVES_ALL
	mov	SLOT_CELL(%rbx), %rax
	cmpq	$0, SLOT_CELL_MOVE(%rax)
	je	1f
	xor	%edi, %edi
	call	regmap__slot_move
	test	%eax, %eax
	jz	.Lcalled
1:
#endif
	mov	%rbx, %rdi
	xor	%esi, %esi
	mov	%r13d, %edx
	call	regmap__slot_enter_saved
.Lcalled:
	mov	%eax, %r13d
	test	$XSTATE_X87, %r15b
	jnz	7f
	mov	$1, %ecx
	xgetbv
	test	$XSTATE_X87, %al
	jnz	8f
	/* What was in no use is as it began. */
.Lx87_is_back:
	not	%r15d
	and	%r15d, %eax
	not	%r15d
	test	$XSTATE_HI16_ZMM, %al
	jz	1f
	clear_more
1:	test	$XSTATE_OPMASK, %al
	jz	1f
	clear_mask
1:	test	$(XSTATE_AVX | XSTATE_ZMM_HI256), %r15b
	jnz	1f
	vzeroupper
	each	movaps, xmm, 16, in
	jmp	2f
1:	test	$XSTATE_ZMM_HI256, %r15b
	jnz	1f
	vzeroupper
	each	vmovdqa, ymm, 32, in
	jmp	2f
1:	each	vmovdqa64, zmm, 64, in
2:	test	$XSTATE_HI16_ZMM, %r15b
	jz	1f
	each_more in
1:	test	$XSTATE_OPMASK, %r15b
	jz	1f
	each_mask in
1:	stmxcsr	SLOT_VECTORS_MXCSR+4(%r12)
	mov	SLOT_VECTORS_MXCSR+4(%r12), %eax
	cmp	SLOT_VECTORS_MXCSR(%r12), %eax
	je	1f
	ldmxcsr	SLOT_VECTORS_MXCSR(%r12)
1:
	label	restored_some
	mov	%r13d, %eax
	jmp	regmap__slot_decided

	/*
	 * x87 and MMX registers were in use. Restoring them takes twice as long as looking; and clearing
	 * the others less than asking whether they were used.
	 */
7:
	label	restoring_x87
	fxsave64 SLOT_VECTORS_X87_AFTER(%r12)
	xor	%esi, %esi
	.irp	at, 0, 8, 16, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152
	mov	SLOT_VECTORS_X87+\at(%r12), %rcx
	xor	SLOT_VECTORS_X87_AFTER+\at(%r12), %rcx
	or	%rcx, %rsi
	.endr
	mov	regmap__slot_state+SLOT_STATE_LOW(%rip), %eax
	test	%rsi, %rsi
	jz	.Lx87_is_back
	fxrstor64 SLOT_VECTORS_X87(%r12)
	jmp	.Lx87_is_back
	/* The callback has used them. */
8:	mov	%eax, %r14d
	lea	-SLOT_LEGACY(%r12), %rsp
	no_components %rsp
	mov	$XSTATE_X87, %eax
	xor	%edx, %edx
	xrstor64 (%rsp)
	mov	%r14d, %eax
	jmp	.Lx87_is_back

4:
	label	undecided_all
	mov	regmap__slot_state+SLOT_STATE_SIZE(%rip), %rcx
	sub	%rcx, %rsp
	and	$-64, %rsp
	testb	$0, -SLOT_PROBE_FULL(%rsp)
	mov	%rsp, %r12
	no_components %r12
	mov	regmap__slot_state+SLOT_STATE_LOW(%rip), %eax
	mov	regmap__slot_state+SLOT_STATE_HIGH(%rip), %edx
	cmp	$1, %r13d
	jne	7f
	cmpl	$0, regmap__slot_state+SLOT_STATE_COMPACT(%rip)
	je	7f
	xsavec64 (%r12)
	jmp	8f
7:	xsave64	(%r12)

	/* As at the start of a signal handler. Not for slotroll.c, up to the end. */
8:
	label	saved
	testb	$1, 512(%r12)
	jz	9f
	fninit
9:	push	$0x1f80
	stmxcsr	4(%rsp)
	cmpl	$0x1f80, 4(%rsp)
	je	9f
	ldmxcsr	(%rsp)
9:	add	$8, %rsp
	mov	%rbx, %rdi
	mov	%r12, %rsi
	mov	%r13d, %edx
	call	regmap__slot_enter_saved
	mov	%eax, %r13d
	mov	regmap__slot_state+SLOT_STATE_LOW(%rip), %eax
	mov	regmap__slot_state+SLOT_STATE_HIGH(%rip), %edx
	xrstor64 (%r12)
	label	restored
	mov	%r13d, %eax
	jmp	regmap__slot_decided

	/* TF: the fault path knows how to step. AC: C accesses what it likes. */
6:
	label	special
	pushfq
	andl	$~0x40000, (%rsp)
	popfq
	cld
	jmp	regmap__slot_without_ac
5:	mov	SLOT_CELL_ORIGINAL(%rax), %rcx
	mov	%rcx, SLOT_TARGET(%rbx)
	jmp	3b
	.globl	regmap__slot_call_end
	.hidden	regmap__slot_call_end
regmap__slot_call_end:
	.cfi_endproc
	.size	regmap__slot_call, . - regmap__slot_call

	/* An XSAVE image of no component. */
	.section .rodata
	.p2align 6
regmap__slot_nothing:
	.zero	576

	.section .note.GNU-stack, "", @progbits
