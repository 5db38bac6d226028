/* SPDX-License-Identifier: MIT */
/* A device at 0x40021018, its model and its driver, all in assembly */
	.intel_syntax noprefix
	.globl main

// The driver. It was written for a microcontroller and sees no reason to doubt it.
driver:
	mov	ecx, 0x40021018            // RCC_APB2ENR
	or	dword ptr [rcx], 1 << 2    // enable port A: a read and a write
	bt	dword ptr [rcx], 2
	setc	al
	mov	byte ptr [rcx + 3], 0x80   // a byte in the middle
	ret

// The model: int read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
read:
	mov	eax, [rdi + rsi]
	mov	[rcx], rax
	mov	ecx, eax
	mov	edi, offset saw_read
	jmp	say
// int write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
store:
	lea	rax, [rdi + rsi]
	mov	[rax], cl
	cmp	edx, 1
	je	1f
	mov	[rax], ecx
1:	mov	edi, offset saw_write
say:
	sub	rsp, 8
	xor	eax, eax
	call	printf                     // a callback may do what any function may
	add	rsp, 8
	xor	eax, eax                   // 0: no bus error
	ret

main:
	push	rbx
	mov	edi, offset config
	xor	esi, esi
	call	regmap_map
	test	eax, eax
	jnz	out
	call	driver
	movzx	esi, al
	mov	edx, [state]
	mov	edi, offset done
	xor	eax, eax
	call	printf
	xor	eax, eax
out:	pop	rbx
	ret

	.data
state:	.quad	0x10
ops:	.quad	read, store
config:	.quad	80, name, 0x40021018, 4    // size, name, guest, length
	.long	3, 2, 0, 0                 // read and write, REGMAP_DEVICE, no flags
	.quad	0, ops, state, 0           // host, ops, ctx, target
name:	.asciz	"RCC_APB2ENR"
saw_read:  .asciz "  model: read at +%lu, %u bytes: %#lx\n"
saw_write: .asciz "  model: write at +%lu, %u bytes: %#lx\n"
done:	.asciz	"driver: port A enabled: %u; the register holds %#x\n"
