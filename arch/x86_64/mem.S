/* SPDX-License-Identifier: MIT */
/*
 * memcpy(), memmove(), memset() and memcmp() for the library itself: the names that its objects use for
 * these, in C or by the compiler's own will, are redirected here when they are built (see mem.syms).
 *
 * Code of the program's that accesses windows may be patched, libc's memcpy() with it. What patches it, and
 * what stands behind a patched site, must not run through it; nor may it touch vector registers, whose
 * contents are the program's there. General registers and flags only.
 */
	.text

	.macro	function name
	.p2align 4
	.globl	\name
	.hidden	\name
	.type	\name, @function
\name:
	.cfi_startproc
	endbr64
	.endm

	.macro	end name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	/* The string instructions are the processor's best from here on. */
	.set	LONG, 384

	/* void *regmap__memcpy(void *rdi, const void *rsi, size_t rdx); also forward where they overlap */
	function regmap__memcpy
	mov	%rdi, %rax
	cmp	$16, %rdx
	jb	4f
	cmp	$LONG, %rdx
	jae	8f
	/* The last 16 bytes, whatever of them has been copied by then. */
	mov	-16(%rsi,%rdx), %r10
	mov	-8(%rsi,%rdx), %r11
	lea	-16(%rdi,%rdx), %rcx
	jmp	2f
1:	mov	(%rsi), %r8
	mov	8(%rsi), %r9
	mov	%r8, (%rdi)
	mov	%r9, 8(%rdi)
	add	$16, %rsi
	add	$16, %rdi
2:	cmp	%rcx, %rdi
	jb	1b
	mov	%r10, (%rcx)
	mov	%r11, 8(%rcx)
	ret
	/* 0 to 15: all loads come before the stores. */
4:	cmp	$8, %edx
	jb	5f
	mov	(%rsi), %r8
	mov	-8(%rsi,%rdx), %r9
	mov	%r8, (%rdi)
	mov	%r9, -8(%rdi,%rdx)
	ret
5:	cmp	$4, %edx
	jb	6f
	mov	(%rsi), %r8d
	mov	-4(%rsi,%rdx), %r9d
	mov	%r8d, (%rdi)
	mov	%r9d, -4(%rdi,%rdx)
	ret
6:	cmp	$2, %edx
	jb	7f
	movzwl	(%rsi), %r8d
	movzwl	-2(%rsi,%rdx), %r9d
	mov	%r8w, (%rdi)
	mov	%r9w, -2(%rdi,%rdx)
	ret
7:	test	%edx, %edx
	jz	9f
	movzbl	(%rsi), %r8d
	mov	%r8b, (%rdi)
	ret
8:	mov	%rdx, %rcx
	rep movsb
9:	ret
	end	regmap__memcpy

	/* void *regmap__memmove(void *rdi, const void *rsi, size_t rdx) */
	function regmap__memmove
	mov	%rdi, %rax
	sub	%rsi, %rax
	cmp	%rdx, %rax
	jae	regmap__memcpy
	cmp	$16, %rdx
	jb	regmap__memcpy
	/* The target begins inside of the source: from the end. */
	mov	%rdi, %rax
1:	mov	-8(%rsi,%rdx), %rcx
	mov	%rcx, -8(%rdi,%rdx)
	sub	$8, %rdx
	cmp	$8, %rdx
	jae	1b
	jmp	3f
2:	movzbl	-1(%rsi,%rdx), %ecx
	mov	%cl, -1(%rdi,%rdx)
	dec	%rdx
3:	test	%rdx, %rdx
	jnz	2b
	ret
	end	regmap__memmove

	/* void *regmap__memset(void *rdi, int esi, size_t rdx) */
	function regmap__memset
	mov	%rdi, %r9
	movzbl	%sil, %eax
	cmp	$8, %rdx
	jb	2f
	movabs	$0x0101010101010101, %r8
	imul	%r8, %rax
	cmp	$LONG, %rdx
	jae	4f
	mov	%rax, -8(%rdi,%rdx)
	lea	-8(%rdi,%rdx), %rcx
1:	mov	%rax, (%rdi)
	add	$8, %rdi
	cmp	%rcx, %rdi
	jb	1b
	mov	%r9, %rax
	ret
2:	test	%edx, %edx
	jz	5f
3:	mov	%al, -1(%rdi,%rdx)
	dec	%edx
	jnz	3b
	mov	%r9, %rax
	ret
4:	mov	%rdx, %rcx
	rep stosb
5:	mov	%r9, %rax
	ret
	end	regmap__memset

	/* int regmap__memcmp(const void *rdi, const void *rsi, size_t rdx); bcmp() for Clang */
	.globl	regmap__bcmp
	.hidden	regmap__bcmp
	.type	regmap__bcmp, @function
	.p2align 4
regmap__bcmp:
	function regmap__memcmp
	cmp	$8, %rdx
	jb	3f
1:	mov	(%rdi), %rax
	mov	(%rsi), %rcx
	cmp	%rcx, %rax
	jne	4f
	add	$8, %rdi
	add	$8, %rsi
	sub	$8, %rdx
	cmp	$8, %rdx
	jae	1b
	jmp	3f
2:	movzbl	(%rdi), %eax
	movzbl	(%rsi), %ecx
	sub	%ecx, %eax
	jne	5f
	inc	%rdi
	inc	%rsi
	dec	%rdx
3:	test	%rdx, %rdx
	jnz	2b
	xor	%eax, %eax
	ret
	/* The first byte that differs is the highest of both, read backwards. */
4:	bswap	%rax
	bswap	%rcx
	cmp	%rcx, %rax
	sbb	%eax, %eax
	or	$1, %eax
5:	ret
	end	regmap__memcmp
	.size	regmap__bcmp, . - regmap__bcmp

	.section .note.GNU-stack, "", @progbits
