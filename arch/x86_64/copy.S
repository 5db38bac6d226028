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
	/*
	 * Where the target lies 1 to 31 bytes behind the source in the page, REP MOVSB takes up to
	 * 28 times as long on Zen 3 and 4, in any size. Short copies leave vector registers alone.
	 */
	cmp	$64, %rdx
	jb	1f
	lea	-1(%rdi), %eax
	sub	%esi, %eax
	and	$0xfff, %eax
	cmp	$31, %eax
	jb	64f
1:	mov	%rdx, %rcx
	cld
	rep movsb
	xor	%eax, %eax
	ret
64:	movdqu	(%rsi), %xmm0 /* up to where the target is aligned, and some more */
	movdqu	%xmm0, (%rdi)
	mov	%edi, %eax
	neg	%eax
	and	$15, %eax
	add	%rax, %rsi
	add	%rax, %rdi
	sub	%rax, %rdx
	jmp	17f
16:	movdqu	(%rsi), %xmm0
	movdqu	16(%rsi), %xmm1
	movdqu	32(%rsi), %xmm2
	movdqu	48(%rsi), %xmm3
	movdqa	%xmm0, (%rdi)
	movdqa	%xmm1, 16(%rdi)
	movdqa	%xmm2, 32(%rdi)
	movdqa	%xmm3, 48(%rdi)
	add	$64, %rsi
	add	$64, %rdi
	sub	$64, %rdx
17:	cmp	$64, %rdx
	jae	16b
18:	cmp	$16, %rdx
	jb	1b
	movdqu	(%rsi), %xmm0
	movdqu	%xmm0, (%rdi)
	add	$16, %rsi
	add	$16, %rdi
	sub	$16, %rdx
	jmp	18b
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
