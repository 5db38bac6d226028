/* SPDX-License-Identifier: MIT */
/* See slotmove.h. */
#include "slotcall.h"
#include "slotmove.h"
#include "slotmove.def"

	.section .rodata
	.p2align 3
	.globl	regmap__slot_masks
	.hidden	regmap__slot_masks
regmap__slot_masks:	/* by size */
	.quad 0, 0xff, 0xffff, 0, 0xffffffff, 0, 0, 0, -1

	.p2align 6
	.globl	regmap__slot_no_move
	.hidden	regmap__slot_no_move
regmap__slot_no_move:
	.zero	MOVE_VERSION
	.quad	-1, -1	/* and what it begins at */
	.zero	64 - MOVE_SPAN

#define SIZE 88

	.text

/*
 * RBX: struct slot_frame of a site whose cell has a struct move. EDI: MOVE_GENERAL, where nothing but general
 * registers may change, else 0. EAX becomes 0: it is done, or has failed, and the frame is as C leaves it;
 * else nothing has happened. RBX, RBP and R12 to R15 are preserved.
 */
	.p2align 6
	.globl	regmap__slot_move
	.hidden	regmap__slot_move
	.type	regmap__slot_move, @function
regmap__slot_move:
	.cfi_startproc
	.cfi_personality 0x9b, DW.ref.__gcc_personality_v0
	.cfi_lsda 0x1b, .Llsda
	mov	SLOT_CELL(%rbx), %rax
	mov	SLOT_CELL_MOVE(%rax), %rdx
	testb	$4, SLOT_FLAGS+2(%rbx)	/* AC */
	jnz	.Lno
	movzbl	MOVE_BASE(%rdx), %eax
	movzbl	MOVE_INDEX(%rdx), %r8d
	movzbl	MOVE_SHIFT(%rdx), %ecx
	movslq	MOVE_DISP(%rdx), %rsi
	mov	(%rbx,%r8,8), %r8
	add	(%rbx,%rax,8), %rsi
	shl	%cl, %r8
	add	%r8, %rsi
	move_look .Lno
	move_lane .Lno
	sub	$SIZE, %rsp
	.cfi_def_cfa_offset SIZE + 8
	mov	%edi, MOVE_VALUE(%rsp)
	mov	SLOT_RSP(%rbx), %rdi
	move_pin .Lrelease
	mov	MOVE_VALUE(%rsp), %edi
	xor	MOVE_WINDOW_FLAGS(%r10), %dil
	test	$MOVE_GENERAL, %dil
	jnz	.Lrelease
	move_call .Lrelease, .Lwrite
.Lcall:
	call	*%r11
.Lcalled:
	move_release .Lfailed
	test	$MOVE_WRITES, %sil
	jnz	.Ldone
	move_merge
	mov	%rcx, (%rbx,%rdi,8)
	xor	%eax, %eax
.Ldone:
	.cfi_remember_state
	add	$SIZE, %rsp
	.cfi_def_cfa_offset 8
	ret
.Lwrite:
	.cfi_restore_state
	move_stored .Lrelease
	jmp	.Lcall
	move_elsewhere .Ldone

.Lrelease:
	movq	$0, MOVE_SLOT_WINDOW(%r9)
	movq	$0, MOVE_SLOT_NONCE(%r9)
	add	$SIZE, %rsp
	.cfi_def_cfa_offset 8
.Lno:
	mov	$1, %eax
	ret
	.cfi_endproc
	.globl	regmap__slot_move_end
	.hidden	regmap__slot_move_end
regmap__slot_move_end:
	.size	regmap__slot_move, . - regmap__slot_move

	move_exceptions regmap__slot_move

	.section .note.GNU-stack, "", @progbits
