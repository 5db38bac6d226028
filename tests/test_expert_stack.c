/* SPDX-License-Identifier: MIT */
/* Operands that no operand names: the stack, XLAT, MASKMOV. See expert.h. */
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

#include "expert.h"

/* ---- Implicit operands: the stack ---------------------------------------------------------- */

T_CODE(push_imm, "push -2")
T_CODE(push_word, "push cx")
T_CODE(push_rsp, "push rsp")
T_CODE(push_fs, "push fs")

EACH(push)
{
	IN(RSP) = at + 64;
	IN(RAX) = 0x1122;
	t_run_code(push_rax);
	WANT(RSP) -= 8;
	t_want64(at + 56, 0x1122);
	t_done(push_rax);
	logged(at, "A.w8@38=1122 ");
}

EACH(push_immediate_is_sign_extended)
{
	IN(RSP) = at + 64;
	t_run_code(push_imm);
	WANT(RSP) -= 8;
	t_want64(at + 56, (uint64_t)-2);
	t_done(push_imm);
}

EACH(push_of_a_word_writes_a_word)
{
	IN(RSP) = at + 64;
	IN(RCX) = 0xffff1234;
	t_run_code(push_word);
	WANT(RSP) -= 2;
	t_want(at + 62, &IN(RCX), 2);
	t_done(push_word);
	logged(at, "A.w2@3e=1234 ");
}

EACH(push_rsp_pushes_the_old_value)
{
	IN(RSP) = at + 64;
	t_run_code(push_rsp);
	WANT(RSP) -= 8;
	t_want64(at + 56, at + 64);
	t_done(push_rsp);
}

/* Some CPUs write two bytes of the eight, others all. */
EACH(push_segment)
{
	IN(RSP) = at + 64;
	t_put64(at + 56, 0);
	t_run_code(push_fs);
	WANT(RSP) -= 8;
	t_done(push_fs);
}

T_CODE(push_mem, "push qword ptr [rsp + 8]")
T_CODE(pop_rsp, "pop rsp")
T_CODE(pop_mem, "pop qword ptr [rsp + 16]")
T_CODE(pop_word, "pop cx")
T_CODE(pop_rdi, "pop qword ptr [rdi]")

EACH(push_computes_its_address_with_the_old_rsp)
{
	IN(RSP) = at + 64;
	t_put64(at + 72, 0x33);
	t_run_code(push_mem);
	WANT(RSP) -= 8;
	t_want64(at + 56, 0x33);
	t_done(push_mem);
	logged(at, "A.r8@48 A.w8@38=33 ");
}

EACH(pop)
{
	IN(RSP) = at + 64;
	t_run_code(pop_rax);
	WANT(RSP) += 8;
	WANT(RAX) = OLD(at + 64);
	t_done(pop_rax);
	logged(at, "A.r8@40 ");
}

EACH(pop_rsp_takes_the_value)
{
	IN(RSP) = at + 64;
	t_put64(at + 64, 0x123456);
	t_run_code(pop_rsp);
	WANT(RSP) = 0x123456;
	t_done(pop_rsp);
}

EACH(pop_of_a_word_keeps_the_rest)
{
	IN(RSP) = at + 64;
	t_run_code(pop_word);
	WANT(RSP) += 2;
	memcpy(&WANT(RCX), t_bytes(at + 64), 2);
	t_done(pop_word);
}

EACH(pop_computes_its_address_with_the_new_rsp)
{
	IN(RSP) = at + 64;
	t_put64(at + 64, 0x44);
	t_run_code(pop_mem);
	WANT(RSP) += 8;
	t_want64(at + 64 + 8 + 16, 0x44);
	t_done(pop_mem);
	logged(at, "A.r8@40 A.w8@58=44 ");
}

EACH(pop_moves_between_windows)
{
	IN(RSP) = at + 64;
	IN(RDI) = T_DEV2 + 8;
	t_put64(at + 64, 0x55);
	t_run_code(pop_rdi);
	WANT(RSP) += 8;
	t_want64(T_DEV2 + 8, 0x55);
	t_done(pop_rdi);
	t_logged(t_is_device(at) ? "A.r8@40 B.w8@8=55 " : "B.w8@8=55 ");
}

T_CODE(call_near, "call call_near_end\n int3")
T_CODE(call_mem, "call [rdi]\n int3")
T_CODE(jmp_mem, "jmp [rdi]\n int3")
T_CODE(ret_near, "ret\n int3")
T_CODE(ret_imm, "ret 24\n int3")

EACH(call_pushes_on_a_stack_in_a_window)
{
	IN(RSP) = at + 64;
	t_run_code(call_near);
	WANT(RSP) -= 8;
	t_want64(at + 56, (uintptr_t)call_near + 5);
	t_done(call_near);
}

EACH(call_through_a_window_pushes_the_right_address)
{
	uint64_t return_address;

	IN(RDI) = at + 8;
	t_put64(at + 8, (uintptr_t)call_mem_end);
	t_run_code(call_mem);
	WANT(RSP) -= 8;
	t_done(call_mem);
	memcpy(&return_address, (void *)(uintptr_t)t_try.out.regs.gpr[T_RSP], 8);
	assert_int_equal(return_address, (uintptr_t)call_mem + 2);
	logged(at, "A.r8@8 ");
}

EACH(call_with_both_in_a_window)
{
	IN(RDI) = at + 8;
	IN(RSP) = at + 64;
	t_put64(at + 8, (uintptr_t)call_mem_end);
	t_run_code(call_mem);
	WANT(RSP) -= 8;
	t_want64(at + 56, (uintptr_t)call_mem + 2);
	t_done(call_mem);
}

EACH(jump_through_a_window)
{
	IN(RDI) = at + 8;
	t_put64(at + 8, (uintptr_t)jmp_mem_end);
	t_run_code(jmp_mem);
	t_done(jmp_mem);
}

EACH(ret)
{
	IN(RSP) = at + 64;
	t_put64(at + 64, (uintptr_t)ret_near_end);
	t_run_code(ret_near);
	WANT(RSP) += 8;
	t_done(ret_near);
	logged(at, "A.r8@40 ");
}

EACH(ret_drops_its_arguments)
{
	IN(RSP) = at + 64;
	t_put64(at + 64, (uintptr_t)ret_imm_end);
	t_run_code(ret_imm);
	WANT(RSP) += 8 + 24;
	t_done(ret_imm);
}

T_CODE(enter_flat, "enter 32, 0")
T_CODE(enter_nested, "enter 32, 3")
T_CODE(enter_large, "enter 0x60, 0")
T_CODE(leave_frame, "leave")

EACH(enter)
{
	IN(RSP) = at + 0x400;
	t_run_code(enter_flat);
	t_want64(at + 0x3f8, IN(RBP));
	WANT(RBP) = at + 0x3f8;
	WANT(RSP) = at + 0x3f8 - 32;
	t_done(enter_flat);
}

EACH(enter_copies_the_display)
{
	IN(RSP) = at + 0x400;
	IN(RBP) = at + 0x600;
	t_put64(at + 0x5f8, 0x11);
	t_put64(at + 0x5f0, 0x22);
	t_run_code(enter_nested);
	t_want64(at + 0x3f8, at + 0x600);
	t_want64(at + 0x3f0, 0x11);
	t_want64(at + 0x3e8, 0x22);
	t_want64(at + 0x3e0, at + 0x3f8);
	WANT(RBP) = at + 0x3f8;
	WANT(RSP) = at + 0x3e0 - 32;
	t_done(enter_nested);
	if (at == T_DEV)
		t_logged("A.w8@3f8=30003600 A.r8@5f8 A.w8@3f0=11 A.r8@5f0 A.w8@3e8=22 "
		         "A.w8@3e0=300033f8 ");
}

EACH(leave)
{
	IN(RBP) = at + 0x400;
	t_run_code(leave_frame);
	WANT(RSP) = at + 0x408;
	WANT(RBP) = OLD(at + 0x400);
	t_done(leave_frame);
	logged(at, "A.r8@400 ");
}

T_CODE(push_flags, "pushfq")
T_CODE(pop_flags, "popfq")
T_CODE(pop_flags_word, "popfw")

EACH(pushf)
{
	IN(RSP) = at + 64;
	t_try.in.rflags = 0x202 | T_STATUS | T_DF | ID;
	t_run_code(push_flags);
	WANT(RSP) -= 8;
	t_want64(at + 56, t_try.in.rflags);
	t_done(push_flags);
}

EACH(popf_takes_what_a_user_may_change)
{
	IN(RSP) = at + 64;
	t_put64(at + 64, ~(uint64_t)T_TF);
	t_run_code(pop_flags);
	WANT(RSP) += 8;
	t_try.want.rflags = 0x202 | T_STATUS | T_DF | T_AC | NT | ID;
	t_done(pop_flags);
}

EACH(popf_of_a_word_keeps_the_upper_flags)
{
	IN(RSP) = at + 64;
	t_try.in.rflags = 0x202 | ID | T_DF;
	t_put64(at + 64, CF);
	t_run_code(pop_flags_word);
	WANT(RSP) += 2;
	t_try.want.rflags = 0x202 | ID | CF;
	t_done(pop_flags_word);
}

/* A stack that leaves its window: the whole instruction faults. */
static void stack_ends(const char *code, uint64_t rsp, uint64_t rbp, int signo, int si_code,
                       uint64_t number, uint64_t address)
{
	t_start();
	IN(RSP) = rsp;
	IN(RBP) = rbp;
	IN(RDI) = T_DEV + 8;
	t_run_at(code);
	t_fault(code, signo, si_code, number, address);
	t_logged("");
}

static void test_expert_stack_ends(void **state)
{
	(void)state;
	stack_ends(push_rax, T_HIGH, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_HIGH - 8);
	stack_ends(push_rax, T_EDGE_DEV, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_EDGE_DEV - 8);
	stack_ends(push_rax, T_EDGE_DEV + 4, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_EDGE_DEV - 4);
	stack_ends(pop_rax, T_EDGE_DEV + T_PG - 4, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT,
	           T_EDGE_DEV + T_PG);
	/* the operand lies in a device, its other end nowhere: the device hears nothing */
	stack_ends(call_mem, T_HIGH, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_HIGH - 8);
	stack_ends(pop_rdi, T_HIGH + T_PG, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_HIGH + T_PG);
}

/* ENTER faults if what it leaves in RSP could not be written. */
static void test_expert_enter_checks_the_final_rsp(void **state)
{
	(void)state;
	stack_ends(enter_large, T_EDGE_DEV + 0x60, 0, SIGSEGV, SEGV_MAPERR, PAGE_FAULT,
	           T_EDGE_DEV - 8);
	stack_ends(enter_nested, T_EDGE_DEV + 0x400, T_EDGE_DEV + 8, SIGSEGV, SEGV_MAPERR,
	           PAGE_FAULT, T_EDGE_DEV - 8);
}

/* ---- Implicit operands: others ------------------------------------------------------------- */

T_CODE(xlat, "xlatb")
T_CODE(maskmovdqu, "maskmovdqu xmm0, xmm1")
T_CODE(maskmovq, "maskmovq mm0, mm1\n emms")

EACH(xlat)
{
	IN(RBX) = at;
	IN(RAX) = 0xabcdef80;
	t_run_code(xlat);
	WANT(RAX) = 0xabcdef00 | *t_bytes(at + 0x80);
	t_done(xlat);
	logged(at, "A.r1@80 ");
}

EACH(maskmovdqu_writes_bytes_that_are_on)
{
	uint8_t mask[16] = {0x80, 0x7f, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff};
	uint8_t data[16];

	IN(RDI) = at + 0x43;
	t_image_set_vector(t_try.in_image, 1, 0, mask, 16);
	t_image_get_vector(t_try.in_image, 0, 0, data, 16);
	t_run_code(maskmovdqu);
	t_want(at + 0x43, data, 1);
	t_want(at + 0x46, data + 3, 1);
	t_want(at + 0x52, data + 15, 1);
	t_done(maskmovdqu);
	logged(at, "A.w1@43=1 A.w1@46=10 A.w1@52=4c ");
}

static void test_expert_maskmovdqu_may_leave_the_window(void **state)
{
	const uint8_t mask[16] = {0, 0x80};
	uint8_t data[16];

	(void)state;
	t_start();
	IN(RDI) = T_EDGE_DEV + T_PG - 2;
	t_image_set_vector(t_try.in_image, 1, 0, mask, 16);
	t_image_get_vector(t_try.in_image, 0, 0, data, 16);
	t_run_code(maskmovdqu);
	t_want(T_EDGE_DEV + T_PG - 1, data + 1, 1);
	t_done(maskmovdqu);
	t_logged("A.w1@fff=6 ");
}

/* MM0 and MM1 lie in the x87 part of the image, which EMMS leaves in a state of its own. */
EACH(maskmovq)
{
	const uint8_t mask[8] = {0, 0, 0x80, 0, 0, 0, 0, 0x80};
	const uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	IN(RDI) = at + 0x40;
	memcpy(t_try.in_image + 32, data, 8);
	memcpy(t_try.in_image + 48, mask, 8);
	t_run_code(maskmovq);
	t_want(at + 0x42, data + 2, 1);
	t_want(at + 0x47, data + 7, 1);
	memcpy(t_try.want_image, t_try.out_image, 160); /* compared elsewhere */
	t_done(maskmovq);
	logged(at, "A.w1@42=3 A.w1@47=8 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(push),
		T(push_immediate_is_sign_extended),
		T(push_of_a_word_writes_a_word),
		T(push_rsp_pushes_the_old_value),
		T(push_segment),
		T(push_computes_its_address_with_the_old_rsp),
		T(pop),
		T(pop_rsp_takes_the_value),
		T(pop_of_a_word_keeps_the_rest),
		T(pop_computes_its_address_with_the_new_rsp),
		T(pop_moves_between_windows),
		T(call_pushes_on_a_stack_in_a_window),
		T(call_through_a_window_pushes_the_right_address),
		T(call_with_both_in_a_window),
		T(jump_through_a_window),
		T(ret),
		T(ret_drops_its_arguments),
		T(enter),
		T(enter_copies_the_display),
		T(leave),
		T(pushf),
		T(popf_takes_what_a_user_may_change),
		T(popf_of_a_word_keeps_the_upper_flags),
		T(stack_ends),
		T(enter_checks_the_final_rsp),
		T(xlat),
		T(maskmovdqu_writes_bytes_that_are_on),
		T(maskmovdqu_may_leave_the_window),
		T(maskmovq),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("expert_stack", tests, t_try_init, NULL);
}
