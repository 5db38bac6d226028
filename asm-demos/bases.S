/* SPDX-License-Identifier: MIT */
/* FS and GS bases by plain stores: thread-local storage moved under the program's feet */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	mov	qword ptr [0x98], offset english
	mov	rbx, gs:[0]
	mov	qword ptr [0x98], offset french
	mov	rdx, gs:[0]
	mov	rsi, rbx
	mov	edi, offset greetings
	xor	eax, eax
	call	printf
	mov	qword ptr [0x98], 0

	// One byte of it will do: the two are 16 bytes apart.
	mov	qword ptr [0x98], offset english
	add	byte ptr [0x98], 16
	mov	rsi, gs:[0]
	mov	qword ptr [0x98], 0
	mov	edi, offset more
	xor	eax, eax
	call	printf

	// FS is libc's. For three instructions it is ours; the emulator does without libc's, too.
	mov	rbx, [0x90]
	mov	rax, fs:[0]                // the thread's control block begins with its own address
	cmp	rax, rbx
	setz	cl
	movzx	edx, cl
	mov	qword ptr [0x90], offset french
	mov	rsi, fs:[0]
	mov	[0x90], rbx
	mov	edi, offset tls
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbx
	ret

	.section .rodata
	.balign	32
english: .quad	1f, 0
french:	.quad	2f, 0
1:	.asciz	"hello"
2:	.asciz	"bonjour"
greetings: .asciz "%s, %s\n"
more:	.asciz	"%s, again\n"
tls:	.asciz	"%s from FS; its base was the thread's: %u\n"
