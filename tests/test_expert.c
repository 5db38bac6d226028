/* SPDX-License-Identifier: MIT */
/*
 * The cases that an expert would look for first, one by one, through real faults. Most run at plain
 * memory, too, where the CPU says whether what is expected is right.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"
#include "try.h"

#define IN(reg) t_try.in.gpr[T_##reg]
#define WANT(reg) t_try.want.gpr[T_##reg]
#define OLD(at) t_get64(at)

enum { T_R8 = 8, T_R9 = 9, CF = 1, ZF = 0x40, ID = 1 << 21, NT = 1 << 14, HWCAP2_FSGSBASE_BIT = 2 };
enum { PAGE_FAULT = 14, PROTECTION = 13, STACK_FAULT = 12, ALIGNMENT = 17, DIVIDE = 0, SIMD = 19 };

/* One try at each place. */
#define EACH(name) \
	static void try_##name(uint64_t at); \
	static void test_expert_##name(void **state) \
	{ \
		(void)state; \
		for (unsigned i_ = 0; i_ < T_EVERYWHERE; i_++) { \
			t_where = t_places[i_]; \
			t_start(); \
			try_##name(t_places[i_]); \
		} \
	} \
	static void try_##name(uint64_t at)

static void logged(uint64_t at, const char *text)
{
	t_logged(t_is_device(at) ? text : "");
}

static bool has(const char *what)
{
	if (!strcmp(what, "avx"))
		return __builtin_cpu_supports("avx") && t_layout.ymm;
	if (!strcmp(what, "avx2"))
		return __builtin_cpu_supports("avx2") && t_layout.ymm;
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && t_layout.zmm_high && t_layout.opmask;
}

#define NEEDS(what) \
	do { \
		if (!has(what)) \
			skip(); \
	} while (0)

/* ---- Implicit operands: the stack ---------------------------------------------------------- */

T_CODE(push_rax, "push rax")
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
T_CODE(pop_rax, "pop rax")
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

/* ---- Straddles ----------------------------------------------------------------------------- */

T_CODE(load64, "mov rax, [rdi]")
T_CODE(store64, "mov [rdi], rax")
T_CODE(not64, "not qword ptr [rdi]")
T_CODE(load128, "movups xmm0, [rdi]")
T_CODE(store128, "movups [rdi], xmm0")
T_CODE(load512, "vmovdqu64 zmm0, [rdi]")
T_CODE(store512, "vmovdqu64 [rdi], zmm0")
T_CODE(fld_st, "fld tbyte ptr [rdi]\n fstp tbyte ptr [rdi + 4]")
T_CODE(push_pop, "push rax\n pop rbx")

/* Plain to host, host to host, host to device, device to device, and so on to plain memory. */
static const uint64_t borders[] = {T_HOST, T_HOST2, T_DEV, T_DEV2, T_HOST3, T_PLAIN2};

#define AT_BORDERS(name) \
	static void border_##name(uint64_t border); \
	static void test_expert_straddle_##name(void **state) \
	{ \
		(void)state; \
		for (unsigned i_ = 0; i_ < sizeof(borders) / sizeof(borders[0]); i_++) { \
			t_where = borders[i_]; \
			t_start(); \
			border_##name(borders[i_]); \
		} \
	} \
	static void border_##name(uint64_t border)

AT_BORDERS(load)
{
	IN(RDI) = border - 3;
	t_run_code(load64);
	WANT(RAX) = OLD(border - 3);
	t_done(load64);
	if (border == T_DEV)
		t_logged("A.r4@0 A.r1@4 ");
	if (border == T_DEV2)
		t_logged("A.r1@ffd A.r2@ffe B.r4@0 B.r1@4 ");
	if (border == T_HOST3)
		t_logged("B.r1@ffd B.r2@ffe ");
}

AT_BORDERS(store)
{
	IN(RDI) = border - 3;
	IN(RAX) = 0x8877665544332211;
	t_run_code(store64);
	t_want64(border - 3, IN(RAX));
	t_done(store64);
	if (border == T_DEV2)
		t_logged("A.w1@ffd=11 A.w2@ffe=3322 B.w4@0=77665544 B.w1@4=88 ");
}

AT_BORDERS(modify)
{
	uint64_t old = OLD(border - 4);

	IN(RDI) = border - 4;
	t_run_code(not64);
	t_want64(border - 4, ~old);
	t_done(not64);
	if (border == T_DEV2)
		assert_int_equal(strncmp(t_try.log, "A.r4@ffc B.r4@0 A.w4@ffc=", 25), 0);
}

AT_BORDERS(vector)
{
	uint8_t bytes[16];

	IN(RDI) = border - 9;
	for (unsigned i = 0; i < 16; i++)
		bytes[i] = *t_bytes(border - 9 + i);
	t_run_code(load128);
	t_want_vector(0, 0, bytes, 16);
	t_done(load128);
	if (border == T_DEV)
		t_logged("A.r4@0 A.r2@4 A.r1@6 ");
	t_start();
	IN(RDI) = border - 9;
	t_image_get_vector(t_try.in_image, 0, 0, bytes, 16);
	t_run_code(store128);
	t_want(border - 9, bytes, 16);
	t_done(store128);
}

static void straddle_wide(uint64_t border)
{
	uint8_t bytes[64];

	t_start();
	IN(RDI) = border - 24;
	for (unsigned i = 0; i < 64; i++)
		bytes[i] = *t_bytes(border - 24 + i);
	t_run_code(load512);
	t_want_vector(0, 0, bytes, 64);
	t_done(load512);
	if (border == T_DEV)
		t_logged("A.r8@0 A.r8@8 A.r8@10 A.r8@18 A.r8@20 ");
	t_start();
	IN(RDI) = border - 24;
	t_image_get_vector(t_try.in_image, 0, 0, bytes, 64);
	t_run_code(store512);
	t_want(border - 24, bytes, 64);
	t_done(store512);
}

static void test_expert_straddle_avx512(void **state)
{
	(void)state;
	NEEDS("avx512");
	for (unsigned i = 0; i < sizeof(borders) / sizeof(borders[0]); i++)
		straddle_wide(borders[i]);
}

AT_BORDERS(m80)
{
	uint8_t number[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0, 0x40};

	t_put(border - 5, number, 10);
	IN(RDI) = border - 5;
	t_run_code(fld_st);
	t_want(border - 1, number, 10);
	memcpy(t_try.want_image, t_try.out_image, 160);
	t_done(fld_st);
}

AT_BORDERS(stack)
{
	IN(RSP) = border + 4;
	t_run_code(push_pop);
	t_want64(border - 4, IN(RAX));
	WANT(RBX) = IN(RAX);
	t_done(push_pop);
}

/* From a window into nothing: the whole instruction faults, and no device has heard of it. */
static void leaves(const char *code, uint64_t edge)
{
	bool canonical = edge != T_NOWHERE + T_PG;

	t_start();
	t_where = edge;
	IN(RDI) = edge - 4;
	t_run_at(code);
	t_fault(code, SIGSEGV, canonical ? SEGV_MAPERR : SI_KERNEL,
	        canonical ? PAGE_FAULT : PROTECTION, canonical ? edge : 0);
	t_logged("");
}

static void test_expert_straddle_into_nothing(void **state)
{
	static const uint64_t edges[] = {T_VOID, T_HIGH + T_PG, T_EDGE_DEV + T_PG,
	                                 T_HIGH_DEV + T_PG, T_NOWHERE + T_PG};

	(void)state;
	for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		leaves(load64, edges[i]);
		leaves(store64, edges[i]);
		leaves(not64, edges[i]);
		leaves(load128, edges[i]);
		leaves(store128, edges[i]);
		leaves(fld_st, edges[i]);
		if (has("avx512")) {
			leaves(load512, edges[i]);
			leaves(store512, edges[i]);
		}
	}
}

static void test_expert_straddle_into_read_only_memory(void **state)
{
	void *page = (void *)(uintptr_t)T_PLAIN2;

	(void)state;
	t_start();
	mprotect(page, T_PG, PROT_READ);
	IN(RDI) = T_PLAIN2 - 4;
	t_run_code(store64);
	mprotect(page, T_PG, PROT_READ | PROT_WRITE);
	t_fault(store64, SIGSEGV, SEGV_ACCERR, PAGE_FAULT, T_PLAIN2);
}

/* A window ends at 2^64, the register page begins at 0: one access spans both. */
static void test_expert_straddle_the_wrap(void **state)
{
	(void)state;
	assert_int_equal(regmap_map_registers(), 0);
	t_start();
	IN(RDI) = (uint64_t)-4;
	IN(RAX) = 0x8877665544332211;
	t_run_code(load64);
	WANT(RAX) = 0x4433221100000000 | (uint32_t)OLD(T_HOST + T_PG - 4);
	t_done(load64);
	t_start();
	IN(RDI) = (uint64_t)-4;
	IN(RAX) = 0x8877665544332211;
	t_run_code(store64);
	WANT(RAX) = 0x8877665588776655;
	t_want(T_HOST + T_PG - 4, &IN(RAX), 4);
	t_done(store64);
}

/* ---- Bit offsets --------------------------------------------------------------------------- */

T_CODE(bt64, "bt [rdi], rax")
T_CODE(bts32, "bts [rdi], eax")
T_CODE(btr16, "btr [rdi], ax")
T_CODE(btc64, "lock btc [rdi], rax")
T_CODE(bts_imm, "bts dword ptr [rdi], 35")

static void want_cf(uint64_t guest, unsigned bit)
{
	t_try.flags = CF;
	t_try.want.rflags = OLD(guest) >> bit & 1;
}

EACH(bt_reaches_far)
{
	IN(RDI) = at + 0x40;
	IN(RAX) = 0x80 * 64 + 5;
	t_run_code(bt64);
	want_cf(at + 0x440, 5);
	t_done(bt64);
	logged(at, "A.r8@440 ");
}

EACH(bt_reaches_back)
{
	IN(RDI) = at + 0x440;
	IN(RAX) = (uint64_t)-0x2000 + 3;
	t_run_code(bt64);
	want_cf(at + 0x40, 3);
	t_done(bt64);
	logged(at, "A.r8@40 ");
}

EACH(bts_of_bit_minus_one)
{
	uint32_t old, new;

	IN(RDI) = at + 0x40;
	IN(RAX) = 0xffffffff;
	old = (uint32_t)OLD(at + 0x3c);
	t_run_code(bts32);
	new = old | 1u << 31;
	t_want(at + 0x3c, &new, 4);
	t_try.flags = CF;
	t_try.want.rflags = old >> 31;
	t_done(bts32);
}

EACH(btr_is_scaled_by_words)
{
	uint16_t value = 0xffff;

	IN(RDI) = at + 0x40;
	IN(RAX) = 0x12340000 | 0x8000; /* bit -32768 of a word at the operand */
	IN(RDI) += 0x1000 - 0x40;
	t_put(at, &value, 2);
	t_run_code(btr16);
	value = 0xfffe;
	t_want(at, &value, 2);
	t_try.flags = CF;
	t_try.want.rflags = CF;
	t_done(btr16);
	logged(at, "A.r2@0 A.w2@0=fffe ");
}

EACH(locked_btc)
{
	IN(RDI) = at + 0x40;
	IN(RAX) = 64 + 7;
	t_put64(at + 0x48, 0x80);
	t_run_code(btc64);
	t_want64(at + 0x48, 0);
	t_try.flags = CF;
	t_try.want.rflags = CF;
	t_done(btc64);
	logged(at, "A.r8@48 A.w8@48=0 ");
}

EACH(bts_with_an_immediate_stays)
{
	IN(RDI) = at + 0x40;
	t_put64(at + 0x40, 0);
	t_run_code(bts_imm);
	t_want64(at + 0x40, 8);
	t_try.flags = CF;
	t_try.want.rflags = 0;
	t_done(bts_imm);
	logged(at, "A.r4@40 A.w4@40=8 ");
}

/* ---- Read-modify-write --------------------------------------------------------------------- */

T_CODE(cmpxchg, "lock cmpxchg [rdi], rcx")
T_CODE(cmpxchg8b, "lock cmpxchg8b [rdi]")
T_CODE(cmpxchg16b, "lock cmpxchg16b [rdi]")
T_CODE(xchg, "xchg [rdi], ecx")
T_CODE(xadd, "lock xadd [rdi], ecx")

EACH(cmpxchg_that_fails_writes_the_old_value)
{
	IN(RDI) = at + 0x40;
	t_put64(at + 0x40, 0x77);
	t_run_code(cmpxchg);
	WANT(RAX) = 0x77;
	t_try.flags = ZF;
	t_try.want.rflags = 0;
	t_done(cmpxchg);
	logged(at, "A.r8@40 A.w8@40=77 ");
}

EACH(cmpxchg_that_succeeds)
{
	IN(RDI) = at + 0x40;
	IN(RAX) = 0x77;
	IN(RCX) = 0x99;
	t_put64(at + 0x40, 0x77);
	t_run_code(cmpxchg);
	t_want64(at + 0x40, 0x99);
	t_try.flags = t_try.want.rflags = ZF;
	t_done(cmpxchg);
	logged(at, "A.r8@40 A.w8@40=99 ");
}

EACH(cmpxchg8b_that_fails)
{
	IN(RDI) = at + 0x40;
	t_put64(at + 0x40, 0x1100000022);
	t_run_code(cmpxchg8b);
	WANT(RAX) = 0x22;
	WANT(RDX) = 0x11;
	t_try.want.rflags = 0x202;
	t_done(cmpxchg8b);
	logged(at, "A.r8@40 A.w8@40=1100000022 ");
}

EACH(cmpxchg16b_that_succeeds)
{
	IN(RDI) = at + 0x40;
	IN(RBX) = 5;
	IN(RCX) = 6;
	t_put64(at + 0x40, IN(RAX));
	t_put64(at + 0x48, IN(RDX));
	t_run_code(cmpxchg16b);
	t_want64(at + 0x40, 5);
	t_want64(at + 0x48, 6);
	t_try.want.rflags |= ZF;
	t_done(cmpxchg16b);
	if (at == T_DEV)
		assert_int_equal(strncmp(t_try.log, "A.r8@40 A.r8@48 A.w8@40=5 A.w8@48=6 ", 37), 0);
}

EACH(cmpxchg16b_insists_on_alignment)
{
	IN(RDI) = at + 0x48;
	t_run_code(cmpxchg16b);
	t_fault(cmpxchg16b, SIGSEGV, SI_KERNEL, PROTECTION, 0);
	t_logged("");
}

EACH(xchg_is_one_read_and_one_write)
{
	IN(RDI) = at + 0x40;
	IN(RCX) = 0x99;
	t_put64(at + 0x40, 0x77);
	t_run_code(xchg);
	WANT(RCX) = 0x77;
	t_want64(at + 0x40, 0x99);
	t_done(xchg);
	logged(at, "A.r4@40 A.w4@40=99 ");
}

EACH(xadd)
{
	IN(RDI) = at + 0x40;
	IN(RCX) = 0x11;
	t_put64(at + 0x40, 0x22);
	t_run_code(xadd);
	WANT(RCX) = 0x22;
	t_want64(at + 0x40, 0x33);
	t_try.flags = CF | ZF;
	t_try.want.rflags = 0;
	t_done(xadd);
	logged(at, "A.r4@40 A.w4@40=33 ");
}

/* ---- Masks --------------------------------------------------------------------------------- */

static void set_mask(unsigned k, uint64_t bits)
{
	memcpy(t_try.in_image + t_layout.opmask + 8 * k, &bits, 8);
}

static void want_mask(unsigned k, uint64_t bits)
{
	memcpy(t_try.want_image + t_layout.opmask + 8 * k, &bits, 8);
}

static void want_zero_above(unsigned reg, unsigned from)
{
	static const uint8_t zero[64];

	t_want_vector(reg, from, zero, 64 - from);
}

static void element(unsigned reg, unsigned at, void *to, unsigned length)
{
	t_image_get_vector(t_try.in_image, reg, at, to, length);
}

T_CODE(maskload, "vmaskmovps xmm0, xmm1, [rdi]")
T_CODE(maskstore, "vmaskmovps [rdi], xmm1, xmm0")
T_CODE(load_k1, "vmovdqu32 zmm0{k1}, [rdi]")
T_CODE(load_k1z, "vmovdqu32 zmm0{k1}{z}, [rdi]")
T_CODE(store_k1, "vmovdqu32 [rdi]{k1}, zmm0")
T_CODE(narrow_k1, "vpmovdb [rdi]{k1}, zmm0")
T_CODE(compress_k1, "vpcompressd [rdi]{k1}, zmm0")
T_CODE(expand_k1, "vpexpandd zmm0{k1}, [rdi]")
T_CODE(broadcast_k1, "vpord zmm0{k1}, zmm1, dword ptr [rdi]{1to16}")
T_CODE(vbroadcast_k1, "vbroadcastss zmm0{k1}, [rdi]")

/* Elements 1 and 3 */
static const uint32_t odd_elements[4] = {0x7fffffff, 0x80000000, 0, 0xffffffff};

EACH(vmaskmov_load)
{
	uint32_t wanted[4] = {0};

	NEEDS("avx");
	IN(RDI) = at + 0x44;
	t_image_set_vector(t_try.in_image, 1, 0, odd_elements, 16);
	memcpy(&wanted[1], t_bytes(at + 0x48), 4);
	memcpy(&wanted[3], t_bytes(at + 0x50), 4);
	t_run_code(maskload);
	t_want_vector(0, 0, wanted, 16);
	want_zero_above(0, 16);
	t_done(maskload);
	logged(at, "A.r4@48 A.r4@50 ");
}

EACH(vmaskmov_store)
{
	uint32_t data[4];

	NEEDS("avx");
	IN(RDI) = at + 0x44;
	t_image_set_vector(t_try.in_image, 1, 0, odd_elements, 16);
	element(0, 0, data, 16);
	t_run_code(maskstore);
	t_want(at + 0x48, &data[1], 4);
	t_want(at + 0x50, &data[3], 4);
	t_done(maskstore);
	logged(at, "A.w4@48=241f1a15 A.w4@50=4c47423d ");
}

/* All switched off: nothing is touched, at an address where nothing is. */
static void test_expert_empty_masks_touch_nothing(void **state)
{
	static const char *const codes[] = {load_k1,      store_k1,  narrow_k1,    compress_k1,
	                                    broadcast_k1, expand_k1, vbroadcast_k1};

	(void)state;
	NEEDS("avx512");
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		t_start();
		IN(RDI) = T_DEV;
		set_mask(1, 0);
		t_run_at(codes[i]);
		assert_int_equal(t_try.out.end, T_END_DONE);
		t_logged("");
		IN(RDI) = T_EDGE_DEV + T_PG - 2;
		t_run_at(codes[i]);
		assert_int_equal(t_try.out.end, T_END_DONE);
		t_logged("");
	}
}

EACH(masked_load)
{
	uint32_t wanted[16];

	NEEDS("avx512");
	IN(RDI) = at + 0x44;
	set_mask(1, 0x8005);
	element(0, 0, wanted, 64);
	memcpy(&wanted[0], t_bytes(at + 0x44), 4);
	memcpy(&wanted[2], t_bytes(at + 0x4c), 4);
	memcpy(&wanted[15], t_bytes(at + 0x80), 4);
	t_run_code(load_k1);
	t_want_vector(0, 0, wanted, 64);
	t_done(load_k1);
	logged(at, "A.r4@44 A.r4@4c A.r4@80 ");
}

EACH(masked_load_with_zeroing)
{
	uint32_t wanted[16] = {0};

	NEEDS("avx512");
	IN(RDI) = at + 0x40;
	set_mask(1, 2);
	memcpy(&wanted[1], t_bytes(at + 0x44), 4);
	t_run_code(load_k1z);
	t_want_vector(0, 0, wanted, 64);
	t_done(load_k1z);
	logged(at, "A.r4@44 ");
}

EACH(masked_store_reads_nothing)
{
	uint32_t data[16];

	NEEDS("avx512");
	IN(RDI) = at + 0x40;
	set_mask(1, 0x8005);
	element(0, 0, data, 64);
	t_run_code(store_k1);
	t_want(at + 0x40, &data[0], 4);
	t_want(at + 0x48, &data[2], 4);
	t_want(at + 0x7c, &data[15], 4);
	t_done(store_k1);
	logged(at, "A.w4@40=100b0601 A.w4@48=38332e29 A.w4@7c=3c37322d ");
}

EACH(masked_narrowing_store)
{
	uint8_t data[64];

	NEEDS("avx512");
	IN(RDI) = at + 0x40;
	set_mask(1, 0x8001);
	element(0, 0, data, 64);
	t_run_code(narrow_k1);
	t_want(at + 0x40, data, 1);
	t_want(at + 0x4f, data + 60, 1);
	t_done(narrow_k1);
	logged(at, "A.w1@40=1 A.w1@4f=2d ");
}

EACH(compress_store_is_as_long_as_the_mask)
{
	uint32_t data[16];

	NEEDS("avx512");
	IN(RDI) = at + 0x44;
	set_mask(1, 0x8100);
	element(0, 0, data, 64);
	t_run_code(compress_k1);
	t_want(at + 0x44, &data[8], 4);
	t_want(at + 0x48, &data[15], 4);
	t_done(compress_k1);
	logged(at, "A.w4@44=b0aba6a1 A.w4@48=3c37322d ");
}

EACH(expand_load_is_as_long_as_the_mask)
{
	uint32_t data[16];

	NEEDS("avx512");
	IN(RDI) = at + 0x44;
	set_mask(1, 0x8100);
	element(0, 0, data, 64);
	memcpy(&data[8], t_bytes(at + 0x44), 4);
	memcpy(&data[15], t_bytes(at + 0x48), 4);
	t_run_code(expand_k1);
	t_want_vector(0, 0, data, 64);
	t_done(expand_k1);
	logged(at, "A.r4@44 A.r4@48 ");
}

EACH(broadcast_reads_one_element)
{
	uint32_t data[16], other[16], value;

	NEEDS("avx512");
	IN(RDI) = at + 0x44;
	set_mask(1, 0xf0);
	element(0, 0, data, 64);
	element(1, 0, other, 64);
	memcpy(&value, t_bytes(at + 0x44), 4);
	t_run_code(broadcast_k1);
	for (unsigned i = 4; i < 8; i++)
		data[i] = other[i] | value;
	t_want_vector(0, 0, data, 64);
	t_done(broadcast_k1);
	logged(at, "A.r4@44 ");
}

/* What is on lies in the window, what is off beyond its end. */
static void test_expert_masks_may_reach_out(void **state)
{
	uint32_t data[16], zero = 0;

	(void)state;
	NEEDS("avx512");
	t_start();
	IN(RDI) = T_EDGE_DEV + T_PG - 8;
	set_mask(1, 3);
	element(0, 0, data, 64);
	t_run_code(store_k1);
	t_want(T_DEV + T_PG - 8, data, 8);
	t_done(store_k1);
	t_logged("A.w8@ff8=241f1a15100b0601 ");
	t_start();
	IN(RDI) = T_EDGE_DEV - 8;
	set_mask(1, 4);
	t_put(T_DEV, &zero, 4);
	t_run_code(load_k1);
	t_want_vector(0, 8, &zero, 4);
	t_done(load_k1);
	t_logged("A.r4@0 ");
}

static void test_expert_masks_fault_by_element(void **state)
{
	(void)state;
	NEEDS("avx512");
	t_start();
	IN(RDI) = T_EDGE_DEV + T_PG - 8;
	set_mask(1, 5);
	t_run_code(store_k1);
	t_fault(store_k1, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_EDGE_DEV + T_PG);
	t_logged("");
}

/* ---- Gather and scatter -------------------------------------------------------------------- */

T_CODE(gather_vex, "vpgatherqq ymm0, [rdi + ymm1], ymm2")
T_CODE(gather_evex, "vpgatherdd zmm0{k1}, [rdi + zmm1*4]")
T_CODE(gather_qq, "vpgatherqq ymm0{k1}, [rdi + ymm1]")
T_CODE(scatter_evex, "vpscatterdd [rdi + zmm1*4]{k1}, zmm0")
T_CODE(scatter_qq, "vpscatterqq [rdi + ymm1]{k1}, ymm0")

EACH(gather_goes_up)
{
	int32_t index[16] = {[0] = 3, [2] = -2, [15] = 1};
	uint32_t data[16];

	NEEDS("avx512");
	IN(RDI) = at + 0x80;
	set_mask(1, 0x8005);
	t_image_set_vector(t_try.in_image, 1, 0, index, 64);
	element(0, 0, data, 64);
	memcpy(&data[0], t_bytes(at + 0x8c), 4);
	memcpy(&data[2], t_bytes(at + 0x78), 4);
	memcpy(&data[15], t_bytes(at + 0x84), 4);
	t_run_code(gather_evex);
	t_want_vector(0, 0, data, 64);
	want_mask(1, 0);
	t_done(gather_evex);
	logged(at, "A.r4@8c A.r4@78 A.r4@84 ");
}

EACH(scatter_goes_up)
{
	int32_t index[16] = {[0] = 3, [1] = 3, [15] = -1};
	uint32_t data[16];

	NEEDS("avx512");
	IN(RDI) = at + 0x80;
	set_mask(1, 0x8003);
	t_image_set_vector(t_try.in_image, 1, 0, index, 64);
	element(0, 0, data, 64);
	t_run_code(scatter_evex);
	t_want(at + 0x8c, &data[1], 4); /* the later one wins */
	t_want(at + 0x7c, &data[15], 4);
	want_mask(1, 0);
	t_done(scatter_evex);
	logged(at, "A.w4@8c=100b0601 A.w4@8c=241f1a15 A.w4@7c=3c37322d ");
}

/* Element 2 leads into nothing; 0 and 1 have been done by then, and their mask bits are clear. */
static void set_indices(uint64_t at)
{
	uint64_t index[4] = {at + 8, at + 24, T_VOID + 8, at + 40};

	IN(RDI) = 0;
	t_image_set_vector(t_try.in_image, 1, 0, index, 32);
}

EACH(gather_faults_in_the_middle)
{
	const uint64_t on[4] = {~0ull, ~0ull, ~0ull, 0}, left[4] = {0, 0, ~0ull, 0};
	uint64_t data[2];

	NEEDS("avx2");
	set_indices(at);
	t_image_set_vector(t_try.in_image, 2, 0, on, 32);
	data[0] = OLD(at + 8);
	data[1] = OLD(at + 24);
	t_run_code(gather_vex);
	t_want_vector(0, 0, data, 16);
	t_want_vector(2, 0, left, 32);
	/* of the rest, CPUs differ in what an interrupted one clears */
	memcpy(t_try.want_image + 576, t_try.out_image + 576, t_layout.size - 576);
	t_fault(gather_vex, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_VOID + 8);
	logged(at, "A.r8@8 A.r8@18 ");
}

EACH(masked_gather_faults_in_the_middle)
{
	uint64_t data[2];

	NEEDS("avx512");
	set_indices(at);
	set_mask(1, 7);
	data[0] = OLD(at + 8);
	data[1] = OLD(at + 24);
	t_run_code(gather_qq);
	t_want_vector(0, 0, data, 16);
	memcpy(t_try.want_image + 576, t_try.out_image + 576, t_layout.size - 576);
	want_mask(1, 4);
	t_fault(gather_qq, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_VOID + 8);
}

EACH(scatter_faults_in_the_middle)
{
	uint64_t data[4];

	NEEDS("avx512");
	set_indices(at);
	set_mask(1, 7);
	element(0, 0, data, 32);
	t_run_code(scatter_qq);
	t_want64(at + 8, data[0]);
	t_want64(at + 24, data[1]);
	want_mask(1, 4);
	t_fault(scatter_qq, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_VOID + 8);
}

/* ---- Alignment ----------------------------------------------------------------------------- */

T_CODE(movaps_load, "movaps xmm0, [rdi]")
T_CODE(movaps_store, "movaps [rdi], xmm0")
T_CODE(movdqa_load, "movdqa xmm0, [rdi]")
T_CODE(movntdq_store, "movntdq [rdi], xmm0")
T_CODE(movntdqa_load, "movntdqa xmm0, [rdi]")
T_CODE(paddd_load, "paddd xmm0, [rdi]")
T_CODE(addps_load, "addps xmm0, [rdi]")
T_CODE(vmovaps_load, "vmovaps ymm0, [rdi]")
T_CODE(vmovntps_store, "vmovntps [rdi], ymm0")
T_CODE(vmovdqa64_load, "vmovdqa64 zmm0, [rdi]")
T_CODE(movdqu_load, "movdqu xmm0, [rdi]")
T_CODE(lddqu_load, "lddqu xmm0, [rdi]")
T_CODE(vpaddd_load, "vpaddd xmm0, xmm1, [rdi]")

static void misaligned(uint64_t address, const char *code)
{
	t_start();
	IN(RDI) = address;
	t_run_at(code);
	t_fault(code, SIGSEGV, SI_KERNEL, PROTECTION, 0);
	t_logged("");
}

EACH(aligned_forms_check_the_guest_address)
{
	misaligned(at + 0x48, movaps_load);
	misaligned(at + 0x48, movaps_store);
	misaligned(at + 0x48, movdqa_load);
	misaligned(at + 0x48, movntdq_store);
	misaligned(at + 0x48, movntdqa_load);
	misaligned(at + 0x48, paddd_load);
	misaligned(at + 0x41, addps_load);
	if (has("avx")) {
		misaligned(at + 0x50, vmovaps_load);
		misaligned(at + 0x50, vmovntps_store);
	}
	if (has("avx512"))
		misaligned(at + 0x60, vmovdqa64_load);
}

EACH(unaligned_forms_do_not)
{
	uint8_t bytes[16];

	IN(RDI) = at + 0x43;
	memcpy(bytes, t_bytes(at + 0x43), 16);
	t_run_code(movdqu_load);
	t_want_vector(0, 0, bytes, 16);
	t_done(movdqu_load);
	t_start();
	IN(RDI) = at + 0x43;
	t_run_code(lddqu_load);
	t_want_vector(0, 0, bytes, 16);
	t_done(lddqu_load);
	if (!has("avx"))
		return;
	t_start();
	IN(RDI) = at + 0x43;
	t_run_code(vpaddd_load);
	assert_int_equal(t_try.out.end, T_END_DONE);
}

/* The guest address counts, not that of the host memory behind it. */
static void test_expert_alignment_is_the_guests(void **state)
{
	uint8_t bytes[16];

	(void)state;
	misaligned(T_SHIFTED, movaps_load);
	misaligned(T_SHIFTED, movaps_store);
	misaligned(T_SHIFTED + 16, paddd_load);
	misaligned(T_SHIFTED, cmpxchg16b);
	t_start();
	IN(RDI) = T_SHIFTED + 8;
	memcpy(bytes, t_bytes(T_HOST + 8), 16);
	t_run_code(movaps_load);
	t_want_vector(0, 0, bytes, 16);
	t_done(movaps_load);
	t_start();
	IN(RDI) = T_SHIFTED + 8;
	element(0, 0, bytes, 16);
	t_run_code(movaps_store);
	t_want(T_HOST + 8, bytes, 16);
	t_done(movaps_store);
	t_start();
	IN(RDI) = T_SHIFTED + 8;
	t_run_code(cmpxchg16b);
	assert_int_equal(t_try.out.end, T_END_DONE);
}

T_CODE(fld64, "fld qword ptr [rdi]")
T_CODE(load16, "mov ax, [rdi]")
T_CODE(load_xmm64, "movsd xmm0, [rdi]")
T_CODE(lodsq, "lodsq")

static void checked(const char *code, uint64_t address)
{
	t_start();
	t_try.in.rflags |= T_AC;
	IN(RDI) = IN(RSI) = IN(RSP) = address;
	t_run_at(code);
	t_fault(code, SIGBUS, BUS_ADRALN, ALIGNMENT, 0);
	if (code != fld64 && code != load_xmm64)
		t_logged("");
}

EACH(alignment_check_of_ac)
{
	checked(load64, at + 0x44);
	checked(store64, at + 0x41);
	checked(not64, at + 0x44);
	checked(load16, at + 0x41);
	checked(push_rax, at + 0x44);
	checked(pop_rax, at + 0x44);
	checked(fld64, at + 0x44);
	checked(load_xmm64, at + 0x44);
	checked(lodsq, at + 0x44);
	t_start();
	t_try.in.rflags |= T_AC;
	IN(RDI) = at + 0x48;
	t_run_code(load64);
	WANT(RAX) = OLD(at + 0x48);
	t_done(load64);
}

/* ---- Addresses and registers --------------------------------------------------------------- */

T_CODE(load_ah, "mov ah, [rdi]")
T_CODE(store_bh, "mov [rdi], bh")
T_CODE(load_sil, "mov sil, [rdi]")
T_CODE(store_spl, "mov [rdi], spl")
T_CODE(xchg_dh, "xchg [rdi], dh")

EACH(high_bytes_without_rex)
{
	uint8_t byte;

	IN(RDI) = at + 0x43;
	t_run_code(load_ah);
	WANT(RAX) = (IN(RAX) & ~0xff00ull) | (uint64_t)*t_bytes(at + 0x43) << 8;
	t_done(load_ah);
	t_start();
	IN(RDI) = at + 0x43;
	IN(RBX) = 0x1234;
	t_run_code(store_bh);
	t_want(at + 0x43, "\x12", 1);
	t_done(store_bh);
	t_start();
	IN(RDI) = at + 0x43;
	IN(RDX) = 0x5678;
	byte = *t_bytes(at + 0x43);
	t_run_code(xchg_dh);
	t_want(at + 0x43, "\x56", 1);
	WANT(RDX) = (uint64_t)byte << 8 | 0x78;
	t_done(xchg_dh);
}

EACH(low_bytes_with_rex)
{
	IN(RDI) = at + 0x43;
	t_run_code(load_sil);
	WANT(RSI) = (IN(RSI) & ~0xffull) | *t_bytes(at + 0x43);
	t_done(load_sil);
	t_start();
	IN(RDI) = at + 0x43;
	t_run_code(store_spl);
	t_want(at + 0x43, &IN(RSP), 1);
	t_done(store_spl);
}

T_CODE(load_edi, "mov rax, [edi]")
T_CODE(load_edi_esi, "mov rax, [edi + esi*4 + 8]")
T_CODE(movups_edi, "movups xmm0, [edi + esi]")

EACH(address_size_wraps)
{
	uint8_t bytes[16];

	if (at >> 32)
		return;
	IN(RDI) = 0xdeadbeef00000000 | (at + 0x48);
	t_run_code(load_edi);
	WANT(RAX) = OLD(at + 0x48);
	t_done(load_edi);
	t_start();
	IN(RDI) = at + 0x80;
	IN(RSI) = 0xfffffff8; /* -8, and the sum passes 4 GiB */
	t_run_code(load_edi_esi);
	WANT(RAX) = OLD(at + 0x80 - 32 + 8);
	t_done(load_edi_esi);
	t_start();
	IN(RDI) = at + 0x80;
	IN(RSI) = 0xfffffff8;
	memcpy(bytes, t_bytes(at + 0x78), 16);
	t_run_code(movups_edi);
	t_want_vector(0, 0, bytes, 16);
	t_done(movups_edi);
}

T_CODE(load_gs, "wrgsbase rbx\n mov rax, gs:[rdi + 8]")
T_CODE(load_fs, "wrfsbase rbx\n mov rax, fs:[rdi*8 + 8]")
T_CODE(movups_gs, "wrgsbase rbx\n movups xmm0, gs:[rdi]")
T_CODE(load_gs32, "wrgsbase rbx\n mov rax, gs:[edi + 8]")
T_CODE(xlat_gs, "wrgsbase rbx\n mov rbx, rcx\n .byte 0x65\n xlatb")

EACH(segment_bases)
{
	const uint64_t base = 0x700000000008;
	uint8_t bytes[16];

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
		skip();
	IN(RBX) = base;
	IN(RDI) = at + 0x40 - base;
	t_run_code(load_gs);
	WANT(RAX) = OLD(at + 0x48);
	t_done(load_gs);
	t_start();
	IN(RBX) = base;
	IN(RDI) = (at + 0x40 - base) >> 3;
	if (!t_is_device(at) && !t_has_tsan()) { /* those use thread-local storage */
		t_run_code(load_fs);
		WANT(RAX) = OLD(at + 0x48);
		t_done(load_fs);
	}
	t_start();
	IN(RBX) = base;
	IN(RDI) = at + 0x40 - base;
	memcpy(bytes, t_bytes(at + 0x40), 16);
	t_run_code(movups_gs);
	t_want_vector(0, 0, bytes, 16);
	t_done(movups_gs);
	t_start();
	IN(RBX) = base;
	IN(RCX) = at - base;
	IN(RAX) = 0x44;
	t_run_code(xlat_gs);
	WANT(RBX) = at - base;
	WANT(RAX) = *t_bytes(at + 0x44);
	t_done(xlat_gs);
}

/* The offset is cut to 32 bits, the sum with the base isn't. */
EACH(segment_base_beyond_67h)
{
	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
		skip();
	if (at == T_NOWHERE || at == T_NOWHERE_DEV)
		return; /* no base may be such */
	IN(RBX) = at;
	IN(RDI) = 0xffffffff00000040;
	t_run_code(load_gs32);
	WANT(RAX) = OLD(at + 0x48);
	t_done(load_gs32);
}

T_CODE(load_scaled, "mov rax, [rdi*8 + 0x40]")
T_CODE(load_scaled_back, "mov rax, [rdi*4 - 8]")
T_CODE(store_scaled, "movups [rdi*2 + 0x20], xmm0")

EACH(scaled_index_without_base)
{
	uint8_t bytes[16];

	IN(RDI) = at >> 3;
	t_run_code(load_scaled);
	WANT(RAX) = OLD(at + 0x40);
	t_done(load_scaled);
	t_start();
	IN(RDI) = (at + 0x40) >> 2;
	t_run_code(load_scaled_back);
	WANT(RAX) = OLD(at + 0x38);
	t_done(load_scaled_back);
	t_start();
	IN(RDI) = at >> 1;
	element(0, 0, bytes, 16);
	t_run_code(store_scaled);
	t_want(at + 0x20, bytes, 16);
	t_done(store_scaled);
}

/* Code that lies within 2 GiB of the windows. */
static const char *rip_relative(unsigned slot, const void *bytes, unsigned length,
                                unsigned displacement_at, uint64_t to)
{
	uint8_t *code = t_code + 64 * slot;
	int32_t displacement = (int32_t)(to - (uintptr_t)code - length);

	memset(code, 0xcc, 64);
	memcpy(code, bytes, length);
	memcpy(code + displacement_at, &displacement, 4);
	return (const char *)code;
}

static void done_at(const char *end)
{
	t__done(end, __FILE__, __LINE__);
}

EACH(rip_relative_operands)
{
	static const uint8_t load[6] = {0x8b, 0x05}, add[10] = {0x81, 0x05, 0, 0, 0, 0, 0x11};
	static const uint8_t shuffle[9] = {0x66, 0x0f, 0x70, 0x05, 0, 0, 0, 0, 0xe4};
	uint32_t value = 0x1000;
	uint8_t bytes[16];
	const char *code;

	if (at >> 32)
		return;
	code = rip_relative(0, load, 6, 2, at + 0x48);
	t_run_at(code);
	WANT(RAX) = (uint32_t)OLD(at + 0x48);
	done_at(code + 6);
	t_start();
	code = rip_relative(1, add, 10, 2, at + 0x48);
	t_put(at + 0x48, &value, 4);
	t_run_at(code);
	value += 0x11;
	t_want(at + 0x48, &value, 4);
	t_try.flags = CF;
	done_at(code + 10);
	t_start();
	code = rip_relative(2, shuffle, 9, 4, at + 0x40);
	memcpy(bytes, t_bytes(at + 0x40), 16);
	t_run_at(code);
	t_want_vector(0, 0, bytes, 16);
	done_at(code + 9);
}

/* ---- What only the CPU knows: the same at plain memory, and again here ---------------------- */

enum { FCW = 0, FTW = 4, FDP = 16, MXCSR = 24, ST0 = 32 };

static struct t_try plain;

static uint64_t moved(uint64_t value, uint64_t to)
{
	return value - T_PLAIN < T_PG ? value - T_PLAIN + to : value;
}

/* FDP holds 57 bits, with their sign. */
static void move_fdp(uint8_t *image, uint64_t to)
{
	uint64_t fdp;

	memcpy(&fdp, image + FDP, 8);
	fdp = moved(fdp, to);
	fdp = (uint64_t)((int64_t)(fdp << 7) >> 7);
	memcpy(image + FDP, &fdp, 8);
}

/* What is wanted at @at is what happened at T_PLAIN. */
static void twin(uint64_t at, const char *code, void (*prepare)(uint64_t at))
{
	static uint8_t page[T_PG];

	memcpy(page, t_bytes(T_PLAIN), T_PG);
	prepare(T_PLAIN);
	t_run_at(code);
	plain = t_try;
	memcpy(plain.want_memory[0], t_bytes(T_PLAIN), T_PG);
	t_start();
	t_put(at, page, T_PG);
	prepare(at);
	t_run_at(code);
	t_want(at, plain.want_memory[0], T_PG);
	for (unsigned i = 0; i < T_GPRS; i++)
		t_try.want.gpr[i] = moved(plain.out.regs.gpr[i], at);
	t_try.want.rflags = plain.out.regs.rflags;
	memcpy(t_try.want_image, plain.out_image, t_layout.size);
	move_fdp(t_try.want_image, at);
}

static void set16(unsigned offset, uint16_t value)
{
	memcpy(t_try.in_image + offset, &value, 2);
}

/* ---- x87 ----------------------------------------------------------------------------------- */

T_CODE(x87_pointers, "fld qword ptr [rdi]\n fadd dword ptr [rdi + 8]")
T_CODE(x87_env, "fld qword ptr [rdi]\n fnstenv [rdi + 64]")
T_CODE(x87_env14, "fldpi\n .byte 0x66, 0xd9, 0x77, 0x40") /* fnstenv word ptr [rdi + 64] */
T_CODE(x87_save, "fldpi\n fld1\n fnsave [rdi + 64]")
T_CODE(x87_load_env, "fldenv [rdi + 64]")
T_CODE(x87_restore, "frstor [rdi + 64]")
T_CODE(x87_m80, "fld tbyte ptr [rdi]\n fstp tbyte ptr [rdi + 32]")
T_CODE(x87_bcd, "fbld [rdi]\n fbstp [rdi + 32]")

static void with_double(uint64_t at)
{
	IN(RDI) = at + 0x40;
	t_put64(at + 0x40, 0x400921fb54442d18);
	t_put64(at + 0x48, 0x3fc00000);
	t_put64(at + 0x80, 0);
}

/* FIP is the site, FDP the guest address (where this CPU keeps them). */
EACH(x87_remembers_the_guest_pointers)
{
	uint64_t fdp;

	twin(at, x87_pointers, with_double);
	t_done(x87_pointers);
	memcpy(&fdp, t_try.out_image + FDP, 8);
	if (fdp)
		assert_int_equal(fdp, at + 0x48);
}

/* Some CPUs (AMD's) keep FIP, FDP and FOP in no signal frame, as long as there is no exception. */
static bool frames_hold_pointers(void)
{
	uint64_t fip;

	memcpy(&fip, plain.out_image + 8, 8);
	return fip;
}

static void forget_pointers(uint64_t guest, unsigned length)
{
	if (!frames_hold_pointers())
		t_want(guest, t_bytes(guest), length);
}

EACH(fnstenv)
{
	uint32_t fdp = (uint32_t)at + 0x40;

	twin(at, x87_env, with_double);
	t_want(at + 0x80 + 20, &fdp, 4);
	forget_pointers(at + 0x80 + 12, 16);
	t_done(x87_env);
}

static void with_stack(uint64_t at)
{
	static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0, 0x40};
	static const uint32_t env[7] = {0xffff027f, 0xffff3800, 0xffff3fff, 0x1234, 0, 0x5678, 0};

	IN(RDI) = at + 0x40;
	for (unsigned i = 0; i < 8; i++)
		t_put(at + 0x80 + 28 + 10 * i, pi, 10);
	t_put(at + 0x80, env, 28);
	t_put(at + 0x40, pi, 10);
}

EACH(fnstenv_of_16_bits)
{
	twin(at, x87_env14, with_stack);
	forget_pointers(at + 0x86, 8);
	t_done(x87_env14);
}

EACH(fnsave)
{
	twin(at, x87_save, with_stack);
	forget_pointers(at + 0x8c, 16);
	t_done(x87_save);
}

EACH(fldenv)
{
	twin(at, x87_load_env, with_stack);
	t_done(x87_load_env);
	logged(at, "A.r8@80 A.r8@88 A.r8@90 A.r4@98 ");
}

EACH(frstor)
{
	twin(at, x87_restore, with_stack);
	t_done(x87_restore);
}

EACH(m80)
{
	twin(at, x87_m80, with_stack);
	t_done(x87_m80);
	logged(at, "A.r8@40 A.r2@48 A.w8@60=c90fdaa22168c235 A.w2@68=4000 ");
}

static void with_decimal(uint64_t at)
{
	static const uint8_t decimal[10] = {0x21, 0x43, 0x65, 0x87, 0, 0, 0, 0, 0, 0x80};

	IN(RDI) = at + 0x40;
	t_put(at + 0x40, decimal, 10);
}

EACH(packed_decimal)
{
	twin(at, x87_bcd, with_decimal);
	t_done(x87_bcd);
}

/* ---- Exceptions ---------------------------------------------------------------------------- */

T_CODE(x87_divide, "fld1\n fdiv qword ptr [rdi]\n x87_divide_wait: fwait")
extern const char x87_divide_wait[];
T_CODE(x87_overflow, "fstp dword ptr [rdi]")
T_CODE(divps_load, "divps xmm0, [rdi]")
T_CODE(vdivps_load, "vdivps ymm0, ymm1, [rdi]")
T_CODE(divq, "div qword ptr [rdi]")
T_CODE(idivl, "idiv dword ptr [rdi]")

static void unmask_x87(uint64_t at)
{
	IN(RDI) = at + 0x40;
	t_put64(at + 0x40, 0);
	set16(FCW, 0x37f & ~4);
}

/* The instruction is carried out; the next one that waits raises the signal. */
EACH(unmasked_x87_exception)
{
	twin(at, x87_divide, unmask_x87);
	t_fault(x87_divide_wait, SIGFPE, FPE_FLTDIV, 16, (uintptr_t)x87_divide_wait);
}

static void unmask_overflow(uint64_t at)
{
	static const uint8_t huge[10] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0x70};

	IN(RDI) = at + 0x40;
	set16(FCW, 0x37f & ~8);
	t_try.in_image[FTW] = 1;
	memcpy(t_try.in_image + ST0, huge, 10);
}

EACH(unmasked_x87_overflow_stores_nothing)
{
	twin(at, x87_overflow, unmask_overflow);
	t_done(x87_overflow);
	t_logged("");
}

static void unmask_simd(uint64_t at)
{
	const uint32_t mxcsr = 0x1f80 & ~0x200;

	IN(RDI) = at + 0x40;
	for (unsigned i = 0; i < 4; i++)
		t_put64(at + 0x40 + 8 * i, 0);
	memcpy(t_try.in_image + MXCSR, &mxcsr, 4);
}

EACH(unmasked_simd_exception)
{
	twin(at, divps_load, unmask_simd);
	t_fault(divps_load, SIGFPE, FPE_FLTDIV, SIMD, (uintptr_t)divps_load);
	assert_int_equal(t_try.out_image[MXCSR] & 4, 4);
	if (!has("avx"))
		return;
	t_start();
	twin(at, vdivps_load, unmask_simd);
	t_fault(vdivps_load, SIGFPE, FPE_FLTDIV, SIMD, (uintptr_t)vdivps_load);
}

EACH(divide_error)
{
	IN(RDI) = at + 0x40;
	IN(RDX) = 1;
	t_try.in.rflags |= T_STATUS;
	t_put64(at + 0x40, 1); /* the quotient has 65 bits */
	t_run_code(divq);
	t_fault(divq, SIGFPE, FPE_INTDIV, DIVIDE, (uintptr_t)divq);
	logged(at, "A.r8@40 ");
	t_start();
	IN(RDI) = at + 0x40;
	t_put64(at + 0x40, 0);
	t_run_code(idivl);
	t_fault(idivl, SIGFPE, FPE_INTDIV, DIVIDE, (uintptr_t)idivl);
}

/* ---- State areas --------------------------------------------------------------------------- */

T_CODE(fxsave_area, "fxsave64 [rdi]")
T_CODE(fxsave32_area, "fxsave [rdi]")
T_CODE(fxrstor_area, "fxrstor64 [rdi]")
T_CODE(xsave_area, "xsave64 [rdi]")
T_CODE(xsave32_area, "xsave [rdi]")
T_CODE(xsavec_area, "xsavec64 [rdi]")
T_CODE(xsaveopt_area, "xsaveopt64 [rdi]")
T_CODE(xrstor_area, "xrstor64 [rdi]")
T_CODE(xsave_and_back, "xsavec64 [rdi]\n pxor xmm0, xmm0\n fninit\n xrstor64 [rdi]")

static uint32_t wanted_features = 0xe7;

/* Nothing is in its initial state. */
static void with_area(uint64_t at)
{
	static const uint8_t header[64];
	uint16_t status = 0x3800;

	IN(RDI) = at + 0x40;
	IN(RAX) = wanted_features;
	IN(RDX) = 0;
	set16(FCW, 0x27f);
	memcpy(t_try.in_image + 2, &status, 2);
	t_try.in_image[FTW] = 0x80;
	memcpy(t_try.in_image + ST0, "\1\2\3\4\5\6\7\x88\x11\x40", 10);
	if (t_layout.opmask)
		set_mask(3, 0x123456789abcdef0);
	t_put(at + 0x40 + 512, header, 64);
}

static void with_image(uint64_t at)
{
	uint8_t image[T_IMAGE_MAX];
	uint64_t none = 0;

	with_area(at);
	memcpy(image, t_try.in_image, t_layout.size);
	for (unsigned reg = 0; reg < 32; reg++)
		t_image_set_vector(image, reg, 8, "\xaa\xbb\xcc\xdd\xee\xff\x12\x34\x56", 9);
	image[FCW + 1] = 0x0f;
	memcpy(image + 520, &none, 8);
	t_put(at + 0x40, image, t_layout.size);
}

EACH(fxsave)
{
	twin(at, fxsave_area, with_area);
	t_done(fxsave_area);
	t_start();
	twin(at, fxsave32_area, with_area);
	t_done(fxsave32_area);
}

EACH(fxrstor)
{
	twin(at, fxrstor_area, with_image);
	t_done(fxrstor_area);
}

static bool has_xsave(unsigned bit)
{
	unsigned a = 0, c = 0xd, b, d;

	if (!__builtin_cpu_supports("avx") || !t_layout.ymm)
		return false;
	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	a = 0xd;
	c = 1;
	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return a >> bit & 1;
}

static void state_area(uint64_t at, const char *code, const char *end, uint32_t features,
                       void (*prepare)(uint64_t at))
{
	t_start();
	wanted_features = features;
	twin(at, code, prepare);
	t__done(end, __FILE__, __LINE__);
}

#define AREA(name, features, prepare) state_area(at, name, name##_end, features, prepare)

EACH(xsave)
{
	NEEDS("avx");
	AREA(xsave_area, 0xe7, with_area);
	AREA(xsave_area, 0x4, with_area);
	AREA(xsave_area, 0x1, with_area);
	AREA(xsave_area, 0, with_area);
	AREA(xsave32_area, 0x3, with_area);
}

EACH(xsaveopt)
{
	if (!has_xsave(0))
		skip();
	AREA(xsaveopt_area, 0xe7, with_area);
	AREA(xsaveopt_area, 0x6, with_area);
}

EACH(xsavec)
{
	if (!has_xsave(1))
		skip();
	AREA(xsavec_area, 0xe7, with_area);
	AREA(xsavec_area, 0x44, with_area);
	AREA(xsave_and_back, 0xe7, with_area);
}

EACH(xrstor)
{
	NEEDS("avx");
	AREA(xrstor_area, 0xe7, with_image);
	AREA(xrstor_area, 0x2, with_image);
	AREA(xrstor_area, 0x4, with_image);
	AREA(xrstor_area, 0x5, with_image);
}

/* What the area's header says to be in its initial state becomes so. */
static void with_empty_header(uint64_t at)
{
	with_image(at);
	t_put64(at + 0x40 + 512, 2);
}

static void with_bad_header(uint64_t at)
{
	with_image(at);
	t_put64(at + 0x40 + 520, 1);
}

EACH(xrstor_looks_at_the_header)
{
	NEEDS("avx");
	AREA(xrstor_area, 0xe7, with_empty_header);
	t_start();
	twin(at, xrstor_area, with_bad_header);
	t_fault(xrstor_area, SIGSEGV, SI_KERNEL, PROTECTION, 0);
}

EACH(state_areas_are_aligned)
{
	misaligned(at + 0x48, fxsave_area);
	misaligned(at + 0x48, fxrstor_area);
	NEEDS("avx");
	misaligned(at + 0x50, xsave_area);
	misaligned(at + 0x50, xrstor_area);
}

static void test_expert_state_area_leaves_its_window(void **state)
{
	(void)state;
	t_start();
	IN(RDI) = T_EDGE_DEV + T_PG - 256;
	t_run_code(fxsave_area);
	t_fault(fxsave_area, SIGSEGV, SEGV_MAPERR, PAGE_FAULT, T_EDGE_DEV + T_PG);
	t_logged("");
}

/* ---- Hints --------------------------------------------------------------------------------- */

T_CODE(hints, "prefetcht0 [rdi]\n prefetcht1 [rdi]\n prefetcht2 [rdi]\n prefetchnta [rdi]\n"
              "prefetchw [rdi]\n nop dword ptr [rdi]\n lea rax, [rdi]\n"
              "lea rax, [rdi + rdi*8 + 1]\n mov rax, rdi")
T_CODE(flush, "clflush byte ptr [rdi]")
T_CODE(flush_opt, "clflushopt byte ptr [rdi]")
T_CODE(write_back, "clwb byte ptr [rdi]")

EACH(hints_do_nothing)
{
	IN(RDI) = at + 0x40;
	t_run_code(hints);
	WANT(RAX) = at + 0x40;
	t_done(hints);
	t_logged("");
}

static void one_flush(uint64_t at, const char *code, const char *end)
{
	t_start();
	IN(RDI) = at + T_PG - 1;
	t_run_at(code);
	t__done(end, __FILE__, __LINE__);
	t_logged("");
}

EACH(cache_control_succeeds)
{
	unsigned a = 7, b, c = 0, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	one_flush(at, flush, flush_end);
	if (b >> 23 & 1)
		one_flush(at, flush_opt, flush_opt_end);
	if (b >> 24 & 1)
		one_flush(at, write_back, write_back_end);
}

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

/* ---- Refused instructions ------------------------------------------------------------------ */

/* In a process of its own: without native execution. */
static void test_refused_without_native_execution(void **state)
{
	(void)state;
	t_start();
	IN(RDI) = T_HIGH + 0x40;
	t_run_code(load64);
	WANT(RAX) = OLD(T_HIGH + 0x40);
	t_done(load64);
	t_start();
	IN(RDI) = T_DEV + 0x40;
	t_run_code(load128);
	t_fault(load128, SIGSEGV, SEGV_ACCERR, PAGE_FAULT, T_DEV + 0x40);
	t_logged("");
	t_start();
	IN(RDI) = T_NOWHERE + 0x40;
	t_run_code(store128);
	t_fault(store128, SIGSEGV, SI_KERNEL, PROTECTION, 0);
	misaligned(T_DEV + 0x48, cmpxchg16b);
}

static int run_refused(void *arg)
{
	static char *const args[] = {"test_expert", "refused", NULL};

	(void)arg;
	setenv("REGMAP_NATIVE", "0", 1);
	unsetenv("REGMAP_REPORT");
	if (!freopen("/dev/null", "w", stdout))
		return 99;
	execv("/proc/self/exe", args);
	return 98;
}

static void test_expert_refusals_are_clear(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, run_refused, NULL);
	if (child.status)
		print_error("%s\n", child.text);
	assert_int_equal(child.status, 0);
	assert_non_null(strstr(child.text, "movups xmm0"));
	assert_non_null(strstr(child.text, "REGMAP_NATIVE=0"));
	assert_non_null(strstr(child.text, "registers and memory are as before"));
	assert_non_null(strstr(child.text, "movups xmmword ptr [rdi], xmm0"));
	assert_non_null(strstr(child.text, "the instruction itself objects"));
}

/* ---- Callbacks ----------------------------------------------------------------------------- */

static jmp_buf escape;
static volatile unsigned hooked;
static volatile pid_t born;

/* Windows, vector registers, x87 and flags, in the middle of somebody's instruction. */
static int nest(bool write, uint64_t offset)
{
	volatile double *windowed = (volatile double *)(uintptr_t)(T_HIGH + 0x100);
	double before = *windowed;

	(void)write;
	hooked++;
	*windowed = (double)offset + 0.5;
	*windowed = *windowed * 3 + hooked;
	*(volatile uint64_t *)(uintptr_t)T_DEV2 = (uint64_t)*windowed;
	__asm__ volatile("fld1; faddl (%0); fstpl (%0)" : : "r"(T_HIGH + 0x108) : "memory");
	memset((void *)(uintptr_t)(T_NOWHERE + 0x200), 7, 100);
	*windowed = before;
	return 0;
}

EACH(callbacks_use_windows)
{
	uint8_t bytes[16];

	if (!t_is_device(at))
		return;
	IN(RDI) = at + 0x40;
	memcpy(bytes, t_bytes(at + 0x40), 16);
	t_device_hook = nest;
	hooked = 0;
	t_run_code(load128);
	t_want_vector(0, 0, bytes, 16);
	for (unsigned i = 0; i < T_PLACES; i++)
		memcpy(t_try.want_memory[i], t_bytes(T_PLAIN + i * T_PG), T_PG);
	t_done(load128);
	assert_int_equal(hooked, 2);
	t_logged("B.w8@0=c2 A.r8@40 B.w8@0=db A.r8@48 ");
}

static int leave_at_the_second(bool write, uint64_t offset)
{
	(void)write, (void)offset;
	if (++hooked == 2)
		longjmp(escape, 1);
	return 0;
}

static void test_expert_callbacks_jump_out(void **state)
{
	uint64_t to = T_DEV + 0x40, from = T_HIGH;

	(void)state;
	t_start();
	for (volatile unsigned i = 0; i < 100; i++) {
		hooked = 0;
		t_device_hook = leave_at_the_second;
		if (!setjmp(escape)) {
			__asm__ volatile("movups %%xmm0, (%0)" : : "r"(to) : "memory");
			fail();
		}
		assert_int_equal(hooked, 2);
		hooked = 0;
		if (!setjmp(escape)) {
			uint64_t rdi = to, rsi = from, rcx = 5;

			__asm__ volatile("rep movsb"
			                 : "+D"(rdi), "+S"(rsi), "+c"(rcx)
			                 :
			                 : "memory");
			fail();
		}
	}
	t_device_hook = NULL;
	assert_int_equal(*t_bytes(T_DEV + 0x40), *t_bytes(T_HOST));
	*(volatile uint32_t *)(uintptr_t)to = 0x1234;
	assert_int_equal(*(volatile uint32_t *)(uintptr_t)to, 0x1234);
}

static int fork_once(bool write, uint64_t offset)
{
	(void)write, (void)offset;
	if (!born)
		born = fork();
	return 0;
}

static void test_expert_callbacks_fork(void **state)
{
	int status;

	(void)state;
	t_start();
	born = 0;
	t_device_hook = fork_once;
	*(volatile uint64_t *)(uintptr_t)(T_DEV + 0x40) = 0x77;
	t_device_hook = NULL;
	if (!born) {
		*(volatile double *)(uintptr_t)(T_HIGH + 8) = 1.5;
		_exit(t_get64(T_DEV + 0x40) == 0x77 && t_get64(T_HOST + 8) == 0x3ff8000000000000 ?
		              3 :
		              4);
	}
	assert_int_equal(waitpid(born, &status, 0), born);
	assert_int_equal(status, 3 << 8);
	assert_int_equal(t_get64(T_DEV + 0x40), 0x77);
	assert_int_not_equal(t_get64(T_HOST + 8), 0x3ff8000000000000);
}

static int vfork_once(bool write, uint64_t offset)
{
	(void)write, (void)offset;
	born = vfork();
	if (!born)
		_exit(5);
	return 0;
}

static void test_expert_callbacks_vfork(void **state)
{
	int status;

	(void)state;
	if (t_has_asan())
		skip(); /* its vfork() wants to be on the thread's own stack */
	t_start();
	t_device_hook = vfork_once;
	*(volatile uint64_t *)(uintptr_t)(T_DEV + 0x40) = 0x78;
	t_device_hook = NULL;
	assert_int_equal(waitpid(born, &status, 0), born);
	assert_int_equal(status, 5 << 8);
	assert_int_equal(t_get64(T_DEV + 0x40), 0x78);
}

static int fail_at_48(bool write, uint64_t offset)
{
	(void)write;
	return offset == 0x48 ? -EIO : 0;
}

/* The second piece of a load: nothing has changed. */
static void test_expert_devices_fail_in_the_middle(void **state)
{
	(void)state;
	t_start();
	IN(RDI) = T_DEV + 0x40;
	t_device_hook = fail_at_48;
	t_run_code(load128);
	t_fault(load128, SIGBUS, BUS_ADRERR, PAGE_FAULT, T_DEV + 0x48);
	t_logged("A.r8@40 A.r8@48 ");
}

#define T(name) cmocka_unit_test(test_expert_##name)

int main(int argc, char **argv)
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
		T(straddle_load),
		T(straddle_store),
		T(straddle_modify),
		T(straddle_vector),
		T(straddle_avx512),
		T(straddle_m80),
		T(straddle_stack),
		T(straddle_into_nothing),
		T(straddle_into_read_only_memory),
		T(straddle_the_wrap),
		T(bt_reaches_far),
		T(bt_reaches_back),
		T(bts_of_bit_minus_one),
		T(btr_is_scaled_by_words),
		T(locked_btc),
		T(bts_with_an_immediate_stays),
		T(cmpxchg_that_fails_writes_the_old_value),
		T(cmpxchg_that_succeeds),
		T(cmpxchg8b_that_fails),
		T(cmpxchg16b_that_succeeds),
		T(cmpxchg16b_insists_on_alignment),
		T(xchg_is_one_read_and_one_write),
		T(xadd),
		T(vmaskmov_load),
		T(vmaskmov_store),
		T(empty_masks_touch_nothing),
		T(masked_load),
		T(masked_load_with_zeroing),
		T(masked_store_reads_nothing),
		T(masked_narrowing_store),
		T(compress_store_is_as_long_as_the_mask),
		T(expand_load_is_as_long_as_the_mask),
		T(broadcast_reads_one_element),
		T(masks_may_reach_out),
		T(masks_fault_by_element),
		T(gather_goes_up),
		T(scatter_goes_up),
		T(gather_faults_in_the_middle),
		T(masked_gather_faults_in_the_middle),
		T(scatter_faults_in_the_middle),
		T(aligned_forms_check_the_guest_address),
		T(unaligned_forms_do_not),
		T(alignment_is_the_guests),
		T(alignment_check_of_ac),
		T(high_bytes_without_rex),
		T(low_bytes_with_rex),
		T(address_size_wraps),
		T(segment_bases),
		T(segment_base_beyond_67h),
		T(scaled_index_without_base),
		T(rip_relative_operands),
		T(x87_remembers_the_guest_pointers),
		T(fnstenv),
		T(fnstenv_of_16_bits),
		T(fnsave),
		T(fldenv),
		T(frstor),
		T(m80),
		T(packed_decimal),
		T(unmasked_x87_exception),
		T(unmasked_x87_overflow_stores_nothing),
		T(unmasked_simd_exception),
		T(divide_error),
		T(fxsave),
		T(fxrstor),
		T(xsave),
		T(xsaveopt),
		T(xsavec),
		T(xrstor),
		T(xrstor_looks_at_the_header),
		T(state_areas_are_aligned),
		T(state_area_leaves_its_window),
		T(hints_do_nothing),
		T(cache_control_succeeds),
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
		T(refusals_are_clear),
		T(callbacks_use_windows),
		T(callbacks_jump_out),
		T(callbacks_fork),
		T(callbacks_vfork),
		T(devices_fail_in_the_middle),
	};
	const struct CMUnitTest refused[] = {
		cmocka_unit_test(test_refused_without_native_execution),
	};

	(void)argv;
	if (argc == 1)
		setenv("REGMAP_REPORT", "0", 0);
	if (argc > 1)
		return cmocka_run_group_tests_name("refused", refused, t_try_init, NULL);
	return cmocka_run_group_tests_name("expert", tests, t_try_init, NULL);
}
