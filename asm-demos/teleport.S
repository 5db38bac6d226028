/* SPDX-License-Identifier: MIT */
/* AVX-512: setcontext() in one instruction, a scatter to RSP, RBP, RBX, RDI, RSI and RIP */
	.intel_syntax noprefix
	.globl main
main:
	push	rbx
	push	rbp
	push	r12
	call	map_registers
	test	eax, eax
	jnz	out
	mov	eax, 1
	cpuid
	test	ecx, 1 << 27               // OSXSAVE
	jz	skip
	xor	ecx, ecx
	xgetbv
	and	eax, 0xe6                  // the kernel saves K, ZMM and all below
	cmp	eax, 0xe6
	jne	skip
	mov	eax, 7
	xor	ecx, ecx
	cpuid
	test	ebx, 1 << 16               // AVX512F
	jz	skip

	mov	r12, rsp
	vmovdqu64 zmm1, [places]
	vmovdqu64 zmm0, [context]
	kxnorw	k1, k1, k1
	vpscatterqq [zmm1]{k1}, zmm0       // and now for somewhere completely different
	ud2

	.balign	16
elsewhere:
	vzeroupper
	mov	rax, rsp
	sub	rax, offset stack_top      // 0: a stack of its own
	add	rax, rbp                   // 1
	add	rax, rbx                   // 3
	mov	rdx, rax
	xor	eax, eax
	call	printf                     // RDI and RSI have been set
	mov	rsp, r12
	xor	eax, eax
	jmp	out
skip:
	mov	eax, 77
out:
	pop	r12
	pop	rbp
	pop	rbx
	ret

	.data
places:	.quad	0x20, 0x28, 0x18, 0x38, 0x30, 0x10, 0x08, 0x80
context: .quad	stack_top, 1, 2, text, 'a', 0, 0, elsewhere
text:	.asciz	"arrived at RIP with RSI = '%c', and RSP + RBP + RBX add up to %lu\n"
	.bss
	.balign	16
	.skip	65536
stack_top:
