/* SPDX-License-Identifier: MIT */
/* hello, world: every argument of a system call is a store to memory */
	.intel_syntax noprefix
	.globl main

	.section .rodata
text:
	.ascii	"hello from address 0x30\n"
	.set	length, . - text

	.text
main:
	push	rbx                            // so that the stack is aligned for calls
	call	map_registers                  // from here on, page 0 is the register file
	test	eax, eax
	jnz	out

	mov	qword ptr [0x38], 1            // RDI lies at 0x38: standard output
	mov	qword ptr [0x30], offset text  // RSI lies at 0x30
	mov	qword ptr [0x10], offset length // RDX lies at 0x10
	mov	qword ptr [0x00], 1            // RAX lies at 0x00: write
	syscall                                // the kernel has no idea

	mov	qword ptr [0x00], 0            // return 0
out:
	pop	rbx
	ret
