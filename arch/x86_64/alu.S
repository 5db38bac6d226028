/* SPDX-License-Identifier: MIT */
/*
 * The operations of tier 1. Each body is one instruction on (%rsi) with its register operand in RBX
 * (a second one, or a shift count, in RCX) and implicit operands where the ISA has them, then a
 * return. regmap__alu_run() loads the slots of struct alu, calls the body and stores the slots
 * back. A fault between the two begin/end labels is resumed at regmap__alu_fault by guard.c.
 */
	.text
	.p2align 4
	.globl	regmap__alu_run
	.hidden	regmap__alu_run
	.type	regmap__alu_run, @function
regmap__alu_run:
	.cfi_startproc
	endbr64
	push	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	mov	%rsi, %r8
	pushq	32(%rdi)
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
	mov	0(%rdi), %rax
	mov	8(%rdi), %rcx
	mov	16(%rdi), %rdx
	mov	24(%rdi), %rbx
	mov	40(%rdi), %rsi
	call	*%r8
	mov	%rax, 0(%rdi)
	mov	%rcx, 8(%rdi)
	mov	%rdx, 16(%rdi)
	mov	%rbx, 24(%rdi)
	pushfq
	.cfi_adjust_cfa_offset 8
	popq	32(%rdi)
	.cfi_adjust_cfa_offset -8
	xor	%eax, %eax
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	.globl	regmap__alu_fault
	.hidden	regmap__alu_fault
regmap__alu_fault:
	endbr64
	mov	$-1, %eax
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_endproc
	.size	regmap__alu_run, . - regmap__alu_run

	/* The same for bodies that neither read nor write flags. */
	.p2align 4
	.globl	regmap__alu_move
	.hidden	regmap__alu_move
	.type	regmap__alu_move, @function
regmap__alu_move:
	.cfi_startproc
	endbr64
	push	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	mov	24(%rdi), %rbx
	mov	%rsi, %r8
	mov	40(%rdi), %rsi
	call	*%r8
	mov	%rbx, 24(%rdi)
	xor	%eax, %eax
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_endproc
	.size	regmap__alu_move, . - regmap__alu_move

	.globl	regmap__alu_begin, regmap__alu_end
	.hidden	regmap__alu_begin, regmap__alu_end
regmap__alu_begin:

	/* One body. */
	.macro	BODY label, insn:vararg
	.p2align 3
\label:	.cfi_startproc
	endbr64
	\insn
	ret
	.cfi_endproc
	.endm

	/* The table of one operation: four labels or 0. */
	.macro	TABLE name, b, w, l, q
	.pushsection .data.rel.ro, "aw"
	.p2align 3
	.globl	regmap__alu_\name
	.hidden	regmap__alu_\name
	.type	regmap__alu_\name, @object
regmap__alu_\name:
	.quad	\b, \w, \l, \q
	.size	regmap__alu_\name, 32
	.popsection
	.endm

	/* op %rbx, (%rsi) in four widths, and with LOCK. */
	.macro	MEM_REG name, op, lock=0
	BODY	.L\name\()_b, \op\()b %bl, (%rsi)
	BODY	.L\name\()_w, \op\()w %bx, (%rsi)
	BODY	.L\name\()_l, \op\()l %ebx, (%rsi)
	BODY	.L\name\()_q, \op\()q %rbx, (%rsi)
	TABLE	\name, .L\name\()_b, .L\name\()_w, .L\name\()_l, .L\name\()_q
	.endm

	/* op (%rsi), %rbx in four widths. */
	.macro	REG_MEM name, op
	BODY	.L\name\()_b, \op\()b (%rsi), %bl
	BODY	.L\name\()_w, \op\()w (%rsi), %bx
	BODY	.L\name\()_l, \op\()l (%rsi), %ebx
	BODY	.L\name\()_q, \op\()q (%rsi), %rbx
	TABLE	\name, .L\name\()_b, .L\name\()_w, .L\name\()_l, .L\name\()_q
	.endm

	/* The same without an 8-bit form. */
	.macro	REG_MEM_WLQ name, op
	BODY	.L\name\()_w, \op\()w (%rsi), %bx
	BODY	.L\name\()_l, \op\()l (%rsi), %ebx
	BODY	.L\name\()_q, \op\()q (%rsi), %rbx
	TABLE	\name, 0, .L\name\()_w, .L\name\()_l, .L\name\()_q
	.endm

	.macro	REG_MEM_LQ name, op
	BODY	.L\name\()_l, \op (%rsi), %ebx
	BODY	.L\name\()_q, \op (%rsi), %rbx
	TABLE	\name, 0, 0, .L\name\()_l, .L\name\()_q
	.endm

	.macro	MEM_REG_WLQ name, op
	BODY	.L\name\()_w, \op\()w %bx, (%rsi)
	BODY	.L\name\()_l, \op\()l %ebx, (%rsi)
	BODY	.L\name\()_q, \op\()q %rbx, (%rsi)
	TABLE	\name, 0, .L\name\()_w, .L\name\()_l, .L\name\()_q
	.endm

	/* op (%rsi), \op %cl, (%rsi): one memory operand in four widths. */
	.macro	MEM name, op, source:vararg
	BODY	.L\name\()_b, \op\()b \source (%rsi)
	BODY	.L\name\()_w, \op\()w \source (%rsi)
	BODY	.L\name\()_l, \op\()l \source (%rsi)
	BODY	.L\name\()_q, \op\()q \source (%rsi)
	TABLE	\name, .L\name\()_b, .L\name\()_w, .L\name\()_l, .L\name\()_q
	.endm

	MEM_REG	mov_m, mov
	REG_MEM	mov_r, mov

	BODY	.Lmovnti_l, movnti %ebx, (%rsi)
	BODY	.Lmovnti_q, movnti %rbx, (%rsi)
	TABLE	movnti, 0, 0, .Lmovnti_l, .Lmovnti_q

	/* By the width of the destination. */
	BODY	.Lmovzx8_w, movzbw (%rsi), %bx
	BODY	.Lmovzx8_l, movzbl (%rsi), %ebx
	BODY	.Lmovzx8_q, movzbq (%rsi), %rbx
	TABLE	movzx8, 0, .Lmovzx8_w, .Lmovzx8_l, .Lmovzx8_q
	BODY	.Lmovzx16_l, movzwl (%rsi), %ebx
	BODY	.Lmovzx16_q, movzwq (%rsi), %rbx
	TABLE	movzx16, 0, .Lmov_r_w, .Lmovzx16_l, .Lmovzx16_q
	BODY	.Lmovsx8_w, movsbw (%rsi), %bx
	BODY	.Lmovsx8_l, movsbl (%rsi), %ebx
	BODY	.Lmovsx8_q, movsbq (%rsi), %rbx
	TABLE	movsx8, 0, .Lmovsx8_w, .Lmovsx8_l, .Lmovsx8_q
	BODY	.Lmovsx16_l, movswl (%rsi), %ebx
	BODY	.Lmovsx16_q, movswq (%rsi), %rbx
	TABLE	movsx16, 0, .Lmov_r_w, .Lmovsx16_l, .Lmovsx16_q
	BODY	.Lmovsxd_q, movslq (%rsi), %rbx
	TABLE	movsxd, 0, 0, .Lmov_r_l, .Lmovsxd_q

	.irp	op, add, or, adc, sbb, and, sub, xor
	MEM_REG	\op\()_m, \op
	REG_MEM	\op\()_r, \op
	MEM_REG	lock_\op, "lock \op"
	.endr
	MEM_REG	cmp_m, cmp
	REG_MEM	cmp_r, cmp
	MEM_REG	test_m, test

	.irp	op, not, neg, inc, dec
	MEM	\op, \op
	MEM	lock_\op, "lock \op"
	.endr
	.irp	op, mul, imul, div, idiv
	MEM	\op, \op
	.endr
	REG_MEM_WLQ imul_r, imul

	.irp	op, rol, ror, rcl, rcr, shl, shr, sar
	MEM	\op, \op, %cl,
	MEM	\op\()1, \op, $1,
	.endr

	.irp	op, shld, shrd
	BODY	.L\op\()_w, \op\()w %cl, %bx, (%rsi)
	BODY	.L\op\()_l, \op\()l %cl, %ebx, (%rsi)
	BODY	.L\op\()_q, \op\()q %cl, %rbx, (%rsi)
	TABLE	\op, 0, .L\op\()_w, .L\op\()_l, .L\op\()_q
	.endr

	MEM_REG_WLQ bt, bt
	.irp	op, bts, btr, btc
	MEM_REG_WLQ \op, \op
	MEM_REG_WLQ lock_\op, "lock \op"
	.endr

	MEM_REG	xchg, xchg
	MEM_REG	xadd, xadd
	MEM_REG	lock_xadd, "lock xadd"
	MEM_REG	cmpxchg, cmpxchg
	MEM_REG	lock_cmpxchg, "lock cmpxchg"
	BODY	.Lcmpxchg8b, cmpxchg8b (%rsi)
	TABLE	cmpxchg8b, 0, 0, 0, .Lcmpxchg8b
	BODY	.Llock_cmpxchg8b, lock cmpxchg8b (%rsi)
	TABLE	lock_cmpxchg8b, 0, 0, 0, .Llock_cmpxchg8b
	BODY	.Lcmpxchg16b, cmpxchg16b (%rsi)
	TABLE	cmpxchg16b, 0, 0, 0, .Lcmpxchg16b
	BODY	.Llock_cmpxchg16b, lock cmpxchg16b (%rsi)
	TABLE	lock_cmpxchg16b, 0, 0, 0, .Llock_cmpxchg16b

	.irp	cc, o, no, b, nb, z, nz, be, nbe, s, ns, p, np, l, nl, le, nle
	BODY	.Lset\cc, set\cc (%rsi)
	TABLE	set\cc, .Lset\cc, 0, 0, 0
	REG_MEM_WLQ cmov\cc, cmov\cc
	.endr

	.irp	op, bsf, bsr, tzcnt, lzcnt, popcnt
	REG_MEM_WLQ \op, \op
	.endr
	REG_MEM_WLQ movbe_r, movbe
	MEM_REG_WLQ movbe_m, movbe

	/* By the width of the memory operand. */
	BODY	.Lcrc32_b, crc32b (%rsi), %ebx
	BODY	.Lcrc32_w, crc32w (%rsi), %ebx
	BODY	.Lcrc32_l, crc32l (%rsi), %ebx
	BODY	.Lcrc32_q, crc32q (%rsi), %rbx
	TABLE	crc32, .Lcrc32_b, .Lcrc32_w, .Lcrc32_l, .Lcrc32_q

	REG_MEM_LQ adcx, adcx
	REG_MEM_LQ adox, adox

	/* BMI: destination RBX, second source RCX; which of the two sources is memory differs. */
	.irp	op, andn, pdep, pext
	BODY	.L\op\()_l, \op (%rsi), %ecx, %ebx
	BODY	.L\op\()_q, \op (%rsi), %rcx, %rbx
	TABLE	\op, 0, 0, .L\op\()_l, .L\op\()_q
	.endr
	.irp	op, bextr, bzhi, sarx, shlx, shrx
	BODY	.L\op\()_l, \op %ecx, (%rsi), %ebx
	BODY	.L\op\()_q, \op %rcx, (%rsi), %rbx
	TABLE	\op, 0, 0, .L\op\()_l, .L\op\()_q
	.endr
	.irp	op, blsi, blsr, blsmsk
	REG_MEM_LQ \op, \op
	.endr
	/*
	 * RORX has its count in the instruction; here it stands in CL, and flags aren't taken over.
	 */
	.macro	RORX label, b
	.p2align 3
\label:	.cfi_startproc
	endbr64
	mov	(%rsi), \b
	ror	%cl, \b
	ret
	.cfi_endproc
	.endm
	RORX	.Lrorx_l, %ebx
	RORX	.Lrorx_q, %rbx
	TABLE	rorx, 0, 0, .Lrorx_l, .Lrorx_q
	/* High half to RBX, low half to RCX, the other factor is RDX. */
	BODY	.Lmulx_l, mulx (%rsi), %ecx, %ebx
	BODY	.Lmulx_q, mulx (%rsi), %rcx, %rbx
	TABLE	mulx, 0, 0, .Lmulx_l, .Lmulx_q

regmap__alu_end:
	.section .note.GNU-stack, "", @progbits
