/* SPDX-License-Identifier: MIT */
/* ADDWF PCL, F: the program counter is memory, so adding to it is a jump, as on a PIC */
	.intel_syntax noprefix
	.globl main
main:
	push	rbp
	call	map_registers
	test	eax, eax
	jnz	out

	xor	ebp, ebp
next:
	mov	eax, ebp
	call	table                      // W = table[W]
	test	al, al
	jz	done
	movzx	edi, al
	call	putchar
	inc	ebp
	jmp	next
done:
	// A plain store is a goto. It may even be a short one: this changes the lowest byte of RIP.
	mov	qword ptr [0x80], offset there
	ud2                                // never
	.balign	256
there:
	mov	byte ptr [0x80], 0x40  // 0x40 bytes into these 256
	ud2
	.balign	64
	mov	edi, offset text
	call	puts

	// Reading it gives the address of the next instruction, as CALL would push it.
	mov	rax, [0x80]
here:	sub	rax, offset here
out:
	pop	rbp
	ret                                // 0, if that was right

	.macro	retlw k                    // the PIC's "return with literal in W", 3 bytes
	mov	al, \k
	ret
	.endm
table:
	lea	eax, [rax + rax * 2]
	add	qword ptr [0x80], rax      // addwf PCL, f
	retlw	'P'
	retlw	'I'
	retlw	'C'
	retlw	10
	retlw	0

	.section .rodata
text:	.asciz	"got here by a store to 0x80"
