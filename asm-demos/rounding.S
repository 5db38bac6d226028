/* SPDX-License-Identifier: MIT */
/* One store to 0xA0 changes the rounding mode, one to 0xA4 that of the x87 */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	call	map_registers
	test	eax, eax
	jnz	out

	movsd	xmm0, [value]
	cvtsd2si esi, xmm0                 // to nearest even: 2
	or	word ptr [0xA0], 0x4000    // MXCSR.RC = 2
	cvtsd2si edx, xmm0                 // up: 3
	and	word ptr [0xA0], 0x9fff    // MXCSR.RC = 0
	mov	edi, offset sse
	xor	eax, eax
	call	printf

	fld	qword ptr [value]
	fld	st
	frndint                            // ST0 = 2, ST1 = 2.5
	or	byte ptr [0xA5], 0x0c      // the control word's RC = 3: towards zero
	fld	st(1)
	fchs
	frndint                            // ST0 = -2
	and	byte ptr [0xA5], 0xf3
	fstp	qword ptr [rsp - 8]
	movsd	xmm1, [rsp - 8]
	fstp	qword ptr [rsp - 8]
	movsd	xmm0, [rsp - 8]
	fstp	st
	mov	edi, offset x87
	mov	eax, 2
	call	printf

	// The x87's stack is memory, in slots of 16 bytes from 0x100 on.
	fldpi
	fld1
	fadd	qword ptr [value]          // ST0 = 3.5, ST1 = pi
	mov	rax, [0x110]               // ST1's significand
	mov	cx, [0x118]                // its sign and exponent
	fld	tbyte ptr [0x100]          // fld st(0): 3.5 once more
	fsubp
	fstp	qword ptr [rsp - 8]
	fstp	st
	movsd	xmm0, [rsp - 8]            // 0
	mov	rsi, rax
	movzx	edx, cx
	mov	edi, offset pi
	mov	eax, 1
	call	printf
	xor	eax, eax
out:
	pop	rbx
	ret

	.section .rodata
value:	.double	2.5
sse:	.asciz	"2.5 to nearest: %d, up: %d\n"
x87:	.asciz	"2.5 to nearest: %.0f; -2.5 towards zero: %.0f\n"
pi:	.asciz	"pi = %#lx * 2^(%#x - 0x3fff - 63); 3.5 - 3.5 = %.0f\n"
