/* SPDX-License-Identifier: MIT */
/*
 * As slotcall.S, for a site that meets the device that it has met before, whose callback uses general registers
 * only: see slot.h. What a callback preserves stays in its registers, so that the frame has not all of them.
 * Whatever is unusual goes on in regmap__slot_call(), as if that had been called.
 */
#include "slotcall.h"
#include "slotmove.h"
#include "slotcall.def"
#include "slotmove.def"

/* As in slotmove.def, and as if regmap__slot_device() had called what pins, calls and releases. */
#define SIZE 128
#define RETURN 88

	.text

	.macro	caller_saved
	.cfi_offset rax, SLOT_RAX - 296
	.cfi_offset rcx, SLOT_RCX - 296
	.cfi_offset rdx, SLOT_RDX - 296
	.cfi_offset rbx, SLOT_RBX - 296
	.cfi_offset rsi, SLOT_RSI - 296
	.cfi_offset rdi, SLOT_RDI - 296
	.cfi_offset r8, SLOT_R8 - 296
	.cfi_offset r9, SLOT_R8 + 8 - 296
	.cfi_offset r10, SLOT_R8 + 16 - 296
	.cfi_offset r11, SLOT_R8 + 24 - 296
	.endm

	.macro	keep_rest
	mov	%rbp, SLOT_RBP(%rbx)
	mov	%r12, SLOT_R8+32(%rbx)
	mov	%r13, SLOT_R8+40(%rbx)
	mov	%r14, SLOT_R8+48(%rbx)
	mov	%r15, SLOT_R8+56(%rbx)
	.endm

/*
 * Unwinders find the site as the caller, exactly; but libunwind wants no landing pads where it is so. So these
 * pieces take turns: around the callback it is a function of its own.
 */
	.macro	own_frame
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rbx, 296
	in_registers
	caller_saved
	.cfi_offset rip, SLOT_RIP - 296
	.endm

	.macro	callback_frame
	.cfi_startproc
	.cfi_def_cfa rsp, RETURN + 8
	.endm

	.p2align 6
	.globl	regmap__slot_device
	.hidden	regmap__slot_device
	.type	regmap__slot_device, @function
regmap__slot_device:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 136
	in_registers
	.cfi_offset rsi, SLOT_TARGET - 296
	rip_in_cell 0
	lea	-24(%rsp), %rsp
	.cfi_def_cfa_offset 160
	rip_in_cell 24
	label	handed_24
	pushfq
	.cfi_def_cfa_offset 168
	rip_in_cell 32
	label	handed_32
	lea	-128(%rsp), %rsp
	.cfi_def_cfa_offset 296
	rip_in_cell 160
	label	handed_160
	mov	%rax, SLOT_RAX(%rsp)
	mov	%rcx, SLOT_RCX(%rsp)
	mov	%rdx, SLOT_RDX(%rsp)
	mov	%rbx, SLOT_RBX(%rsp)
	mov	%rdi, SLOT_RDI(%rsp)
	mov	%r8, SLOT_R8(%rsp)
	mov	%r9, SLOT_R8+8(%rsp)
	mov	%r10, SLOT_R8+16(%rsp)
	mov	%r11, SLOT_R8+24(%rsp)
	mov	%rsp, %rbx

	/* From here on RBX points to the frame; of RSI and what it hasn't, see slotroll.c. */
	label	handed
	.cfi_def_cfa rbx, 296
	mov	SLOT_FLAGS(%rbx), %ecx
	and	$~0x8d5, %ecx
	cmp	regmap__slot_state+SLOT_STATE_OTHERS(%rip), %ecx
	jne	.Lslow	/* AC and DF, say; there may be no SAHF */
	mov	SLOT_FRAME_SIZE(%rbx), %rcx
	mov	SLOT_TARGET(%rbx), %rax
	movslq	-4(%rcx), %r8
	mov	%rax, SLOT_RSI(%rbx)
	add	%rcx, %r8
	mov	SLOT_CELL_SITE(%r8), %rcx
	mov	SLOT_CELL_MOVE(%r8), %rdx
	mov	%r8, SLOT_CELL(%rbx)
	mov	%rcx, SLOT_RIP(%rbx)
	caller_saved
	.cfi_offset rip, SLOT_RIP - 296
	lea	296(%rbx), %rdi
	mov	%rdi, SLOT_RSP(%rbx)
#ifdef REGMAP_SLOT_SAVES_ALL
	jmp	.Lslow	/* sanitizers' code may use any register */
#endif
	lea	-SIZE(%rsp), %rsp
	lea	regmap__slot_handing(%rip), %r9
	and	$-64, %rsp
	testb	$0, -SLOT_PROBE(%rsp)
	mov	%r9, RETURN(%rsp)
	move_look .Lslow
	move_lane .Lslow
	.cfi_endproc

	/* As C's from here on: not for slotroll.c. */
	label	handing
	callback_frame
	.cfi_personality 0x9b, DW.ref.__gcc_personality_v0
	.cfi_lsda 0x1b, .Llsda
	move_pin .Lrelease
	testb	$MOVE_GENERAL, MOVE_WINDOW_FLAGS(%r10)
	jz	.Lrelease
	move_call .Lrelease, .Lwrite
.Lcall:
	call	*%r11
.Lcalled:
	move_release .Lrefused
	test	$MOVE_SPECIAL, %sil
	jnz	.Lspecial
	mov	%ecx, %ecx
	mov	%rcx, (%rbx,%rdi,8)
	.cfi_endproc

	/* It is over: what the frame has, holds. */
	label	handled
	own_frame
.Ldone:
	leave_by_tail
	mov	SLOT_FLAGS(%rbx), %eax
	mov	%rbx, %rsp
	rol	$8, %ax
	and	$8, %al
	add	$0x78, %al	/* overflows if AL is 8 */
	sahf
	mov	SLOT_RAX(%rsp), %rax
	mov	SLOT_RCX(%rsp), %rcx
	mov	SLOT_RDX(%rsp), %rdx
	mov	SLOT_RSI(%rsp), %rsi
	mov	SLOT_RDI(%rsp), %rdi
	mov	SLOT_R8(%rsp), %r8
	mov	SLOT_R8+8(%rsp), %r9
	mov	SLOT_R8+16(%rsp), %r10
	mov	SLOT_R8+24(%rsp), %r11
	mov	SLOT_RBX(%rsp), %rbx
	label	handed_back
	.cfi_def_cfa rsp, 296
	lea	SLOT_FRAME_SIZE(%rsp), %rsp
	label	handed_back_ret
	.cfi_def_cfa_offset 136
	in_registers
	rip_in_cell 0
	ret
	.cfi_endproc

	label	handling
	callback_frame
.Lspecial:
	test	$MOVE_WRITES, %sil
	jnz	.Ldone
	test	$MOVE_AWAY, %sil
	jnz	.Laway
	move_merge
	mov	%rcx, (%rbx,%rdi,8)
	jmp	.Ldone
.Laway:
	keep_rest
	move_merge
	mov	%rcx, (%rbx,%rdi,8)
	mov	SLOT_RBP(%rbx), %rbp
	mov	SLOT_R8+32(%rbx), %r12
	mov	SLOT_R8+40(%rbx), %r13
	mov	SLOT_R8+48(%rbx), %r14
	mov	SLOT_R8+56(%rbx), %r15
	jmp	.Ldone
.Lwrite:
	testb	$MOVE_AWAY, MOVE_HOW(%rdx)
	jz	3f
	keep_rest
3:	move_stored .Lrelease
	jmp	.Lcall
	/* C is to see a frame that has all. */
.Lrefused:
	keep_rest
	movq	$0, SLOT_TARGET(%rbx)
	jmp	.Lfailed
	move_elsewhere regmap__slot_over

.Lrelease:
	movq	$0, MOVE_SLOT_WINDOW(%r9)
	movq	$0, MOVE_SLOT_NONCE(%r9)
	.cfi_endproc
	label	not_handled
	own_frame
	.cfi_offset rsi, SLOT_TARGET - 296
.Lslow:
	mov	%rbx, %rsp
	rip_in_cell 160
	mov	SLOT_TARGET(%rbx), %rcx
	mov	%rcx, SLOT_RSI(%rbx)
	keep_rest
	jmp	regmap__slot_framed
	.cfi_endproc

	/* RSI is the program's again: as if that had been called. */
	.globl	regmap__slot_handed_call
	.hidden	regmap__slot_handed_call
regmap__slot_handed_call:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 136
	in_registers
	.cfi_offset rsi, SLOT_TARGET - 296
	rip_in_cell 0
	mov	SLOT_TARGET - SLOT_FRAME_SIZE(%rsp), %rsi
	label	not_handed
	.cfi_same_value rsi
	jmp	regmap__slot_call
	.cfi_endproc
	.globl	regmap__slot_device_end
	.hidden	regmap__slot_device_end
regmap__slot_device_end:
	.size	regmap__slot_device, . - regmap__slot_device

	move_exceptions regmap__slot_handing

	.section .note.GNU-stack, "", @progbits
