/* SPDX-License-Identifier: MIT */
/* RFLAGS is the word at 0x88: set it, complement it, test it (AT&T syntax) */
	.globl main
main:
	push	%rbx
	call	map_registers
	test	%eax, %eax
	jnz	out

	clc
	orq	$1, 0x88               # STC. OR clears CF itself, but the store to the page wins.
	setc	%bl
	xorb	$1, 0x88               # CMC
	setc	%bh

	xor	%ecx, %ecx             # sets ZF
	testb	$0x40, 0x88            # reads ZF as it was before TEST; TEST then sets its own
	setnz	%cl                    # bit 6 was 1: not zero
	mov	$0x8000000000000000, %rax
	dec	%rax                   # overflows
	testw	$0x800, 0x88           # OF
	setnz	%r8b

	movzbl	%bl, %esi
	movzbl	%bh, %edx
	movzbl	%r8b, %r8d
	movzbl	%cl, %ecx
	mov	$text, %edi
	xor	%eax, %eax
	call	printf

	orq	$0x400, 0x88           # STD: strings go down
	mov	$last, %esi
	lodsb
	mov	%al, %bl
	lodsb
	andq	$~0x400, 0x88          # CLD
	movzbl	%bl, %esi
	movzbl	%al, %edx
	mov	$down, %edi
	xor	%eax, %eax
	call	printf
	xor	%eax, %eax
out:
	pop	%rbx
	ret

	.section .rodata
text:	.asciz	"CF = %u, then %u; ZF was %u, OF was %u\n"
down:	.asciz	"backwards: %c%c\n"
	.ascii	"ko"
	.set	last, . - 1
