/* SPDX-License-Identifier: MIT */
/* Into the state of a signal frame, and out of it again. */
	.text

/*
 * void t__machine_enter(void *ucontext, uint64_t rflags): sigreturn wants the former at RSP. It doesn't
 * look at NT and ID, so those are set here.
 */
	.globl	t__machine_enter
	.type	t__machine_enter, @function
t__machine_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, t__machine_rsp(%rip)
	and	$0x204202, %esi
	push	%rsi
	popfq
	mov	%rdi, %rsp
	mov	$15, %eax
	syscall
	.size	t__machine_enter, . - t__machine_enter

/* The handler resumes here, with the RSP of above. */
	.globl	t__machine_leave
	.type	t__machine_leave, @function
t__machine_leave:
	push	$0x202
	popfq
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	t__machine_leave, . - t__machine_leave

/* The handler. The program's AC is still set here, and compiled code is not made for that. */
	.globl	t__machine_entry
	.type	t__machine_entry, @function
t__machine_entry:
	pushfq
	andq	$~0x40000, (%rsp)
	popfq
	jmp	t__machine_signal
	.size	t__machine_entry, . - t__machine_entry

	.bss
	.globl	t__machine_rsp
t__machine_rsp:
	.quad	0

	.section .note.GNU-stack, "", @progbits
