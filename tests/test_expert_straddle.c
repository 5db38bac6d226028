/* SPDX-License-Identifier: MIT */
/* Accesses across borders, bit offsets that reach far, read-modify-write. See expert.h. */
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

#include <regmap/regmap.h>

#include "expert.h"

/* ---- Straddles ----------------------------------------------------------------------------- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("expert_straddle", tests, t_try_init, NULL);
}
