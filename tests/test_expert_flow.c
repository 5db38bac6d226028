/* SPDX-License-Identifier: MIT */
/* Flags and single steps, code that ends or changes, far branches. See expert.h. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "expert.h"

/* ---- Flags and single steps ---------------------------------------------------------------- */

T_CODE(step_load, "mov rax, [rdi]\n nop")
T_CODE(step_vector, "movups xmm0, [rdi]\n nop")
T_CODE(step_push, "push rax\n nop")
T_CODE(step_popf, "popfq\n step_popf_1: nop\n step_popf_2: nop")
T_CODE(step_call, "call [rdi]\n nop\n step_call_target: nop")
T_CODE(step_rep, "rep stosb\n step_rep_after: nop")
T_CODE(load_add, "add rax, [rdi]")
extern const char step_popf_1[], step_popf_2[], step_call_target[], step_rep_after[];

static void stepping(uint64_t at)
{
	t_start();
	t_try.in.rflags |= T_TF;
	IN(RDI) = at + 0x40;
}

EACH(single_steps_stop_after_the_instruction)
{
	uint8_t bytes[16];

	stepping(at);
	t_run_code(step_load);
	WANT(RAX) = OLD(at + 0x40);
	t_step(step_load_end - 1);
	stepping(at);
	memcpy(bytes, t_bytes(at + 0x40), 16);
	t_run_code(step_vector);
	t_want_vector(0, 0, bytes, 16);
	t_step(step_vector_end - 1);
	stepping(at);
	IN(RSP) = at + 0x80;
	t_run_code(step_push);
	WANT(RSP) -= 8;
	t_want64(at + 0x78, IN(RAX));
	t_step(step_push_end - 1);
	stepping(at);
	t_put64(at + 0x40, (uintptr_t)step_call_target);
	IN(RSP) = at + 0x80;
	t_run_code(step_call);
	WANT(RSP) -= 8;
	t_want64(at + 0x78, (uintptr_t)step_call + 2);
	t_step(step_call_target);
}

/* POPF that sets TF stops after the instruction behind it. */
EACH(popf_starts_single_steps_one_later)
{
	IN(RSP) = at + 0x40;
	t_put64(at + 0x40, 0x302);
	t_run_code(step_popf);
	WANT(RSP) += 8;
	t_try.want.rflags |= T_TF;
	t_step(step_popf_2);
}

/* One that clears it is still stepped over. */
EACH(popf_ends_single_steps)
{
	stepping(at);
	IN(RSP) = at + 0x40;
	t_put64(at + 0x40, 0x202);
	t_run_code(step_popf);
	WANT(RSP) += 8;
	t_try.want.rflags = 0x202;
	t_step(step_popf_1);
}

EACH(single_steps_stop_in_strings)
{
	stepping(at);
	IN(RCX) = 2;
	t_run_code(step_rep);
	WANT(RDI)++;
	WANT(RCX) = 1;
	t_want(at + 0x40, &IN(RAX), 1);
	t_step(step_rep);
	t_try.in = t_try.out.regs;
	t_run_code(step_rep);
	WANT(RDI)++;
	WANT(RCX) = 0;
	t_want(at + 0x41, &IN(RAX), 1);
	/*
	 * Some CPUs stop once more at the instruction, with nothing left to do, others behind it.
	 */
	t_step(t_try.out.regs.rip == (uintptr_t)step_rep ? step_rep : step_rep_after);
}

EACH(flags_that_an_instruction_leaves)
{
	IN(RDI) = at + 0x40;
	t_try.in.rflags |= T_DF | ID | NT | T_AC | T_STATUS;
	t_run_code(load64);
	WANT(RAX) = OLD(at + 0x40);
	t_done(load64);
	t_start();
	IN(RDI) = at + 0x40;
	IN(RAX) = 1;
	t_put64(at + 0x40, 1);
	t_try.in.rflags |= T_DF | ID | NT | T_AC | T_STATUS;
	t_run_code(load_add);
	WANT(RAX) = 2;
	t_try.want.rflags &= ~(uint64_t)T_STATUS;
	t_done(load_add);
}

static uint64_t step_flags;

static void on_step(int signo, siginfo_t *info, void *uc)
{
	greg_t *flags = &((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL];

	(void)signo, (void)info;
	step_flags = (uint64_t)*flags;
	*flags &= ~(greg_t)T_TF;
}

/* RF, which the fault has set, would hide a breakpoint at the following instruction. */
static void test_expert_resume_flag_is_clear(void **state)
{
	struct sigaction act = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};

	(void)state;
	t_start();
	sigaction(SIGTRAP, &act, NULL);
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq\n\t"
	                 "movl %%eax, (%0)\n\t"
	                 "lea 128(%%rsp), %%rsp"
	                 :
	                 : "r"(T_HOST)
	                 : "cc", "memory");
	assert_int_equal(step_flags & (T_TF | T_RF), T_TF);
}

/* ---- Code ---------------------------------------------------------------------------------- */

static uint8_t *code_pages(void)
{
	uint8_t *at = mmap(NULL, 2 * T_PG, PROT_READ | PROT_WRITE | PROT_EXEC,
	                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

/* movups xmm0, [rdi], or what else has no more than three bytes */
static void run_last_in_page(const void *bytes, unsigned length, int protection, uint64_t rdi)
{
	uint8_t *code = code_pages(), *at = code + T_PG - length;

	t_start();
	memcpy(at, bytes, length);
	mprotect(code, T_PG, protection);
	mprotect(code + T_PG, T_PG, PROT_NONE);
	IN(RDI) = rdi;
	t_run_at((const char *)at);
	munmap(code, 2 * T_PG);
	assert_int_equal(t_try.out.end, T_END_FAULT);
	assert_int_equal(t_try.out.regs.rip, (uintptr_t)code + T_PG);
	assert_int_equal(t_try.out.address, (uintptr_t)code + T_PG);
	assert_int_equal(t_try.out.signo, SIGSEGV);
}

EACH(code_ends_with_its_page)
{
	static const uint8_t load[] = {0x0f, 0x10, 0x07}, store[] = {0x0f, 0x11, 0x07};
	uint8_t bytes[16], data[16];

	memcpy(bytes, t_bytes(at + 0x40), 16);
	run_last_in_page(load, 3, PROT_READ | PROT_EXEC, at + 0x40);
	t_image_get_vector(t_try.out_image, 0, 0, data, 16);
	assert_memory_equal(data, bytes, 16);
	run_last_in_page(store, 3, PROT_EXEC, at + 0x40);
	element(0, 0, data, 16);
	assert_memory_equal(data, t_bytes(at + 0x40), 16);
}

/* Another instruction of the same length, at the same place, with the same operand. */
EACH(code_is_rewritten_under_a_plan)
{
	static const uint8_t add[] = {0x66, 0x0f, 0xfe, 0x07}, sub[] = {0x66, 0x0f, 0xfa, 0x07};
	static const uint8_t *const code[] = {add, sub};

	for (unsigned i = 0; i < 6; i++) {
		uint32_t a, b, got;

		t_start();
		IN(RDI) = at + 0x40;
		memcpy(t_code, code[i & 1], 4);
		t_code[4] = 0xcc;
		t_run_at((const char *)t_code);
		assert_int_equal(t_try.out.end, T_END_DONE);
		element(0, 0, &a, 4);
		memcpy(&b, t_bytes(at + 0x40), 4);
		t_image_get_vector(t_try.out_image, 0, 0, &got, 4);
		assert_int_equal(got, i & 1 ? a - b : a + b);
	}
}

/* ---- Far branches -------------------------------------------------------------------------- */

T_CODE(far_return, "retfq\n int3")
T_CODE(far_return_imm, "retfq 16\n int3")
T_CODE(interrupt_return, "iretq\n int3")
T_CODE(far_jump, ".byte 0xff, 0x2f\n int3") /* jmp far m16:32 [rdi] */
T_CODE(far_call, ".byte 0xff, 0x1f\n int3")

enum { USER_CS = 0x33, USER_SS = 0x2b };

EACH(far_return)
{
	IN(RSP) = at + 0x40;
	t_put64(at + 0x40, (uintptr_t)far_return_end);
	t_put64(at + 0x48, USER_CS);
	t_run_code(far_return);
	WANT(RSP) += 16;
	t_done(far_return);
	t_start();
	IN(RSP) = at + 0x40;
	t_put64(at + 0x40, (uintptr_t)far_return_imm_end);
	t_put64(at + 0x48, USER_CS);
	t_run_code(far_return_imm);
	WANT(RSP) += 16 + 16;
	t_done(far_return_imm);
}

EACH(iretq)
{
	IN(RSP) = at + 0x40;
	t_put64(at + 0x40, (uintptr_t)interrupt_return_end);
	t_put64(at + 0x48, USER_CS);
	t_put64(at + 0x50, 0x202 | T_DF | CF | ID);
	t_put64(at + 0x58, at + 0x100);
	t_put64(at + 0x60, USER_SS);
	t_run_code(interrupt_return);
	WANT(RSP) = at + 0x100;
	t_try.want.rflags = 0x202 | T_DF | CF | ID;
	t_done(interrupt_return);
}

/* A pointer of 4 + 2 bytes: its target lies below 4 GiB. */
static void far_pointer(uint64_t at, uint16_t selector)
{
	uint32_t target = (uint32_t)(uintptr_t)t_code + 256;

	memset(t_code + 256, 0xcc, 16);
	IN(RDI) = at + 0x44;
	t_put(at + 0x44, &target, 4);
	t_put(at + 0x48, &selector, 2);
}

EACH(far_jump)
{
	far_pointer(at, USER_CS);
	t_run_code(far_jump);
	done_at((const char *)t_code + 256);
	logged(at, "A.r4@44 A.r2@48 ");
}

EACH(far_call_with_its_stack_in_a_window)
{
	const uint32_t frame[2] = {(uint32_t)(uintptr_t)far_call + 2, USER_CS};

	far_pointer(at, USER_CS);
	IN(RSP) = at + 0x80;
	t_run_code(far_call);
	WANT(RSP) -= 8;
	t_want(at + 0x78, frame, 8);
	done_at((const char *)t_code + 256);
}

EACH(far_branches_check_their_selector)
{
	far_pointer(at, 0xfff8);
	t_run_code(far_jump);
	t_fault(far_jump, SIGSEGV, SI_KERNEL, PROTECTION, 0);
	assert_int_equal(t_try.out.error, 0xfff8);
	t_start();
	far_pointer(at, 0);
	t_run_code(far_jump);
	t_fault(far_jump, SIGSEGV, SI_KERNEL, PROTECTION, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(single_steps_stop_after_the_instruction),
		T(popf_starts_single_steps_one_later),
		T(popf_ends_single_steps),
		T(single_steps_stop_in_strings),
		T(flags_that_an_instruction_leaves),
		T(resume_flag_is_clear),
		T(code_ends_with_its_page),
		T(code_is_rewritten_under_a_plan),
		T(far_return),
		T(iretq),
		T(far_jump),
		T(far_call_with_its_stack_in_a_window),
		T(far_branches_check_their_selector),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("expert_flow", tests, t_try_init, NULL);
}
