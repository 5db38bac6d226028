/* SPDX-License-Identifier: MIT */
/* Masks, gather and scatter: element by element. See expert.h. */
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

/* ---- Masks --------------------------------------------------------------------------------- */

static void want_mask(unsigned k, uint64_t bits)
{
	memcpy(t_try.want_image + t_layout.opmask + 8 * k, &bits, 8);
}

static void want_zero_above(unsigned reg, unsigned from)
{
	static const uint8_t zero[64];

	t_want_vector(reg, from, zero, 64 - from);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("expert_masks", tests, t_try_init, NULL);
}
