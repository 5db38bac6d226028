/* SPDX-License-Identifier: MIT */
/* RSP = 0x60: the stack lies in the registers, and grows down from R12 into R11, R10, R9, R8 */
	.intel_syntax noprefix
	.globl main
main:
	push	rbp
	// Signals, and every access is one, can't use such a stack: they need one of their own.
	mov	edi, offset signal_stack
	xor	esi, esi
	call	sigaltstack
	call	map_registers
	test	eax, eax
	jnz	out

	mov	rbp, rsp
	mov	esp, 0x60
	push	11                         // R11
	push	10                         // R10
	call	nested                     // R9 is the return address, R8 is RBP
back:
	mov	ecx, esp                   // 0x50
	mov	rsp, rbp

	mov	rsi, r11
	mov	rdx, r10
	sub	r9, offset back            // 0: the return address is still there
	sub	r8, rbp                    // 0: so is the frame pointer
	xchg	r8, r9
	mov	edi, offset text
	xor	eax, eax
	call	printf
	xor	eax, eax
out:
	pop	rbp
	ret

nested:
	push	rbp
	mov	rbp, rsp                   // 0x40: a frame from R8 on
	add	qword ptr [rbp + 24], 100  // the caller's argument, 11, lies in R11
	leave
	ret

	.section .rodata
text:	.asciz	"R11 = %lu, R10 = %lu, RSP = %#lx; return address + %lu, frame + %lu\n"
	.data
signal_stack: .quad stack, 0, 65536        // ss_sp, ss_flags, ss_size
	.bss
	.balign	16
stack:	.skip	65536
