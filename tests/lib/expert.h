/* SPDX-License-Identifier: MIT */
/*
 * The cases that an expert would look for first, one by one, through real faults: test_expert_*. Most
 * run at plain memory, too, where the CPU says whether what is expected is right.
 */
#ifndef TESTS_EXPERT_H
#define TESTS_EXPERT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>

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

static inline void logged(uint64_t at, const char *text)
{
	t_logged(t_is_device(at) ? text : "");
}

static inline bool has(const char *what)
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

/* A mask register, for what runs next. */
static inline void set_mask(unsigned k, uint64_t bits)
{
	memcpy(t_try.in_image + t_layout.opmask + 8 * k, &bits, 8);
}

/* Of a vector register, what it held before. */
static inline void element(unsigned reg, unsigned at, void *to, unsigned length)
{
	t_image_get_vector(t_try.in_image, reg, at, to, length);
}

#define done_at(end) t__done(end, __FILE__, __LINE__)

/* Code that operands of several kinds are tried with */
T_CODE(load64, "mov rax, [rdi]")
T_CODE(store64, "mov [rdi], rax")
T_CODE(not64, "not qword ptr [rdi]")
T_CODE(load128, "movups xmm0, [rdi]")
T_CODE(store128, "movups [rdi], xmm0")
T_CODE(cmpxchg16b, "lock cmpxchg16b [rdi]")
T_CODE(push_rax, "push rax")
T_CODE(pop_rax, "pop rax")

static inline void misaligned(uint64_t address, const char *code)
{
	t_start();
	IN(RDI) = address;
	t_run_at(code);
	t_fault(code, SIGSEGV, SI_KERNEL, PROTECTION, 0);
	t_logged("");
}

#define T(name) cmocka_unit_test(test_expert_##name)

#endif
