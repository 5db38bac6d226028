/* SPDX-License-Identifier: MIT */
/*
 * Accesses to ordinary memory that may fault. A fault between begin and end is resumed at
 * regmap__copy_fault by guard.c, which has put the trap into *(struct cpu_trap *)%r8.
 */
	.text
	.p2align 4
	.globl	regmap__copy_begin, regmap__copy_end, regmap__copy_fault
	.hidden	regmap__copy_begin, regmap__copy_end, regmap__copy_fault
regmap__copy_begin:

	/* int regmap__copy_bytes(void *rdi, const void *rsi, size_t rdx, rcx unused, trap r8) */
	.globl	regmap__copy_bytes
	.hidden	regmap__copy_bytes
	.type	regmap__copy_bytes, @function
regmap__copy_bytes:
	.cfi_startproc
	endbr64
	/* Whole power-of-two sizes move as one access each, as the CPU would. */
	cmp	$8, %rdx
	je	8f
	cmp	$4, %rdx
	je	4f
	cmp	$2, %rdx
	je	2f
	mov	%rdx, %rcx
	cld
	rep movsb
	xor	%eax, %eax
	ret
8:	mov	(%rsi), %rax
	mov	%rax, (%rdi)
	xor	%eax, %eax
	ret
4:	mov	(%rsi), %eax
	mov	%eax, (%rdi)
	xor	%eax, %eax
	ret
2:	movzwl	(%rsi), %eax
	mov	%ax, (%rdi)
	xor	%eax, %eax
	ret
	.cfi_endproc
	.size	regmap__copy_bytes, . - regmap__copy_bytes

	/* int regmap__load_words(uint64_t rdi[3], rsi aligned, size_t rdx 1..3, rcx unused, trap r8) */
	.globl	regmap__load_words
	.hidden	regmap__load_words
	.type	regmap__load_words, @function
regmap__load_words:
	.cfi_startproc
	endbr64
	mov	(%rsi), %rax
	mov	%rax, (%rdi)
	cmp	$2, %rdx
	jb	1f
	mov	8(%rsi), %rax
	mov	%rax, 8(%rdi)
	je	1f
	mov	16(%rsi), %rax
	mov	%rax, 16(%rdi)
1:	xor	%eax, %eax
	ret
	.cfi_endproc
	.size	regmap__load_words, . - regmap__load_words

	/*
	 * int regmap__compare_bytes(rdi, rsi, size_t rdx 1..16, rcx unused, trap r8): 0 equal, 1
	 * not
	 */
	.globl	regmap__compare_bytes
	.hidden	regmap__compare_bytes
	.type	regmap__compare_bytes, @function
regmap__compare_bytes:
	.cfi_startproc
	endbr64
	cmp	$8, %rdx
	jb	4f
	mov	(%rdi), %rax
	mov	-8(%rdi,%rdx), %rcx
	xor	(%rsi), %rax
	xor	-8(%rsi,%rdx), %rcx
	or	%rcx, %rax
	jmp	9f
4:	cmp	$4, %rdx
	jb	2f
	mov	(%rdi), %eax
	mov	-4(%rdi,%rdx), %ecx
	xor	(%rsi), %eax
	xor	-4(%rsi,%rdx), %ecx
	or	%ecx, %eax
	jmp	9f
2:	cmp	$2, %rdx
	jb	1f
	movzwl	(%rdi), %eax
	movzwl	-2(%rdi,%rdx), %ecx
	xor	(%rsi), %ax
	xor	-2(%rsi,%rdx), %cx
	or	%ecx, %eax
	jmp	9f
1:	movzbl	(%rdi), %eax
	xor	(%rsi), %al
9:	test	%rax, %rax
	setnz	%al
	movzbl	%al, %eax
	ret
	.cfi_endproc
	.size	regmap__compare_bytes, . - regmap__compare_bytes

	/* int regmap__probe_byte(void *rdi, int write esi, rdx, rcx unused, trap r8) */
	.globl	regmap__probe_byte
	.hidden	regmap__probe_byte
	.type	regmap__probe_byte, @function
regmap__probe_byte:
	.cfi_startproc
	endbr64
	xor	%eax, %eax
	test	%esi, %esi
	jz	1f
	lock orb $0, (%rdi)
	ret
1:	movzbl	(%rdi), %ecx
	ret
	.cfi_endproc
	.size	regmap__probe_byte, . - regmap__probe_byte

regmap__copy_end:
regmap__copy_fault:
	.cfi_startproc
	endbr64
	mov	$-1, %eax
	ret
	.cfi_endproc
	.section .note.GNU-stack, "", @progbits
