/* SPDX-License-Identifier: MIT */
/* See slotmove.h. */
#include "slotcall.h"
#include "slotmove.h"

	.section .rodata
	.p2align 3
masks:	/* by size */
	.quad 0, 0xff, 0xffff, 0, 0xffffffff, 0, 0, 0, -1

	.text

/* On the stack: struct pin, and what is needed behind the callback. */
#define VALUE 48
#define MOVE 56
#define ERROR_AT 64
#define ERROR 72
#define WINDOW 80
#define SIZE 88

/*
 * RBX: struct slot_frame of a site whose cell has a struct move. EDI: MOVE_GENERAL, where nothing but general
 * registers may change, else 0. EAX becomes 0: it is done, or has failed, and the frame is as C leaves it;
 * else nothing has happened. RBX, RBP and R12 to R15 are preserved.
 *
 * The steps are those of src/quick.c, which has the reasons: look at what is remembered; claim the lane's
 * own slot (pin_take_lane()) and pin the window, without a fence (lane.h); see that all is as it was;
 * call; release, unless a jump of another frame's has done so; and hand over what was loaded.
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

	/* what is remembered, as it was at one moment */
	mov	MOVE_TURN(%rdx), %r9d
	mov	%rsi, %rax
	mov	MOVE_CALL(%rdx), %r11
	sub	MOVE_FIRST(%rdx), %rax
	mov	MOVE_CTX(%rdx), %r8
	cmp	MOVE_SPAN(%rdx), %rax
	ja	.Lno
	mov	MOVE_WINDOW(%rdx), %r10
	mov	MOVE_VERSION(%rdx), %rcx
	test	%sil, MOVE_ALIGN(%rdx)
	jnz	.Lno
	test	$1, %r9d
	jnz	.Lno
	cmp	MOVE_TURN(%rdx), %r9d
	jne	.Lno

	/* the thread's slot */
	mov	regmap__lane_tls@gottpoff(%rip), %rax
	cmpl	$MOVE_LANE_MAGIC, %fs:(%rax)
	jne	.Lno
	mov	%fs:MOVE_LANE(%rax), %rax
	cmpq	$0, MOVE_LANE_FAILED(%rax)
	jne	.Lno
	mov	MOVE_LANE_PIN(%rax), %r9
	test	%r9, %r9
	jz	.Lno
	cmpq	$0, MOVE_SLOT_NONCE(%r9)
	jne	.Lno
	sub	$SIZE, %rsp
	.cfi_def_cfa_offset SIZE + 8
	mov	MOVE_LANE_ERROR(%rax), %rax
	mov	%r9, (%rsp)
	mov	%rax, ERROR_AT(%rsp)
	mov	(%rax), %eax
	mov	%rdx, MOVE(%rsp)
	mov	%eax, ERROR(%rsp)
	mov	%r10, WINDOW(%rsp)
	mov	SLOT_RIP(%rbx), %rax
	movb	$0, MOVE_PIN_HOLDS(%rsp)
	mov	%rax, MOVE_PIN_SITE(%rsp)
	movq	$0, MOVE_PIN_BLOCKED(%rsp)
	mov	MOVE_SLOT_LATEST(%r9), %rax
	add	$MOVE_CLAIM, %rax
	mov	%rax, MOVE_SLOT_LATEST(%r9)
	mov	%rax, MOVE_PIN_NONCE(%rsp)
	mov	SLOT_RSP(%rbx), %rax
	mov	%rax, MOVE_SLOT_ORIGIN(%r9)
	lea	MOVE_PIN_NONCE(%rsp), %rax
	mov	%rax, MOVE_SLOT_COPY(%r9)
	mov	MOVE_PIN_NONCE(%rsp), %rax
	mov	%rax, MOVE_SLOT_NONCE(%r9)
	cmp	MOVE_SLOT_LATEST(%r9), %rax
	jne	.Lrelease	/* a handler came in between */

	/* the window */
	movzbl	MOVE_HOW(%rdx), %eax
	and	$MOVE_WRITES, %eax
	or	%r10, %rax
	mov	%rax, MOVE_SLOT_WINDOW(%r9)
	cmp	regmap__table+MOVE_TABLE_VERSION(%rip), %rcx
	jne	.Lrelease
	mov	regmap__fork_word(%rip), %rcx
	cmpl	$MOVE_FORK_SETTLED, (%rcx)
	jne	.Lrelease
	xor	MOVE_WINDOW_FLAGS(%r10), %dil
	test	$MOVE_GENERAL, %dil
	jnz	.Lrelease
	mov	(%r11), %r11
	test	%r11, %r11
	jz	.Lrelease

	mov	%r8, %rdi
	sub	MOVE_WINDOW_START(%r10), %rsi
	test	$MOVE_WRITES, %al
	movzbl	MOVE_REG(%rdx), %eax
	jnz	.Lwrite
	movzbl	MOVE_SIZE(%rdx), %edx
	lea	VALUE(%rsp), %rcx
	movq	$0, VALUE(%rsp)
.Lcall:
	call	*%r11
.Lcalled:
	mov	ERROR_AT(%rsp), %r8
	mov	ERROR(%rsp), %ecx
	cmp	%ecx, (%r8)
	jne	.Lput_back
.Lerror_is_back:
	test	%eax, %eax
	jnz	.Lfailed
	mov	(%rsp), %r9
	mov	MOVE_PIN_NONCE(%rsp), %rcx
	cmp	MOVE_SLOT_NONCE(%r9), %rcx
	jne	.Llost
	movq	$0, MOVE_SLOT_WINDOW(%r9)
	movq	$0, MOVE_SLOT_NONCE(%r9)
.Lreleased:
	mov	MOVE(%rsp), %rdx
	mov	VALUE(%rsp), %rcx
	movzbl	MOVE_HOW(%rdx), %esi
	movzbl	MOVE_SIZE(%rdx), %r8d
	movzbl	MOVE_REG(%rdx), %edi
	lea	masks(%rip), %r9
	test	$MOVE_MERGES | MOVE_WRITES, %sil
	jnz	.Lspecial
	and	(%r9,%r8,8), %rcx
.Lput:
	mov	%rcx, (%rbx,%rdi,8)
.Ldone:
	.cfi_remember_state
	add	$SIZE, %rsp
	.cfi_def_cfa_offset 8
	ret

	/* EAX: the register */
.Lwrite:
	.cfi_restore_state
	cmpq	$0, MOVE_WINDOW_LOCK(%r10)
	jne	.Lrelease
	mov	(%rbx,%rax,8), %rcx
	testb	$MOVE_CONSTANT, MOVE_HOW(%rdx)
	jz	1f
	mov	SLOT_CELL(%rbx), %rcx
	mov	SLOT_CELL_PLAN(%rcx), %rcx
	mov	SLOT_PLAN_IMM(%rcx), %rcx
1:	movzbl	MOVE_SIZE(%rdx), %edx
	lea	masks(%rip), %rax
	and	(%rax,%rdx,8), %rcx
	jmp	.Lcall

	/* a store, or the low bytes of a register */
.Lspecial:
	test	$MOVE_WRITES, %sil
	jnz	.Ldone
	mov	(%r9,%r8,8), %rdx
	and	%rdx, %rcx
	not	%rdx
	and	(%rbx,%rdi,8), %rdx
	or	%rdx, %rcx
	jmp	.Lput

.Lput_back:
	mov	%ecx, (%r8)
	jmp	.Lerror_is_back

.Llost:
	mov	%rsp, %rdi
	call	regmap__pin_drop
	xor	%eax, %eax
	jmp	.Lreleased

.Lfailed:
	mov	%rbx, %rdi
	mov	%rsp, %rsi
	mov	MOVE(%rsp), %rdx
	mov	WINDOW(%rsp), %rcx
	mov	%eax, %r8d
	call	regmap__move_failed
	xor	%eax, %eax
	jmp	.Ldone

.Lrelease:
	movq	$0, MOVE_SLOT_WINDOW(%r9)
	movq	$0, MOVE_SLOT_NONCE(%r9)
	add	$SIZE, %rsp
	.cfi_def_cfa_offset 8
.Lno:
	mov	$1, %eax
	ret

	/* An exception leaves the callback, or the thread ends. */
.Lunwound:
	.cfi_def_cfa_offset SIZE + 8
	mov	%rax, VALUE(%rsp)
	mov	%rsp, %rdi
	call	regmap__pin_drop
	mov	VALUE(%rsp), %rdi
	call	_Unwind_Resume@PLT
	ud2
	.cfi_endproc
	.globl	regmap__slot_move_end
	.hidden	regmap__slot_move_end
regmap__slot_move_end:
	.size	regmap__slot_move, . - regmap__slot_move

	.section .gcc_except_table, "a", @progbits
.Llsda:
	.byte	0xff, 0xff, 0x01
	.uleb128 .Lsites_end - .Lsites
.Lsites:
	.uleb128 .Lcall - regmap__slot_move
	.uleb128 .Lcalled - .Lcall
	.uleb128 .Lunwound - regmap__slot_move
	.uleb128 0
.Lsites_end:

	.hidden	DW.ref.__gcc_personality_v0
	.weak	DW.ref.__gcc_personality_v0
	.section .data.rel.local.DW.ref.__gcc_personality_v0, "awG", @progbits, DW.ref.__gcc_personality_v0, comdat
	.p2align 3
	.type	DW.ref.__gcc_personality_v0, @object
	.size	DW.ref.__gcc_personality_v0, 8
DW.ref.__gcc_personality_v0:
	.quad	__gcc_personality_v0

	.section .note.GNU-stack, "", @progbits
