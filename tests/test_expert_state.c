/* SPDX-License-Identifier: MIT */
/* x87, exceptions, state areas, hints: what only the CPU knows. See expert.h. */
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

/* ---- What only the CPU knows: the same at plain memory, and again here ---------------------- */

enum { FCW = 0, FSW = 2, FTW = 4, FDP = 16, MXCSR = 24, ST0 = 32 };

static struct t_try plain;

static uint64_t moved(uint64_t value, uint64_t to)
{
	return value - T_PLAIN < T_PG ? value - T_PLAIN + to : value;
}

/* Some CPUs' FDP holds 57 bits, with their sign; some (AMD's) show it only while an exception is pending. */
static uint64_t held_by_fdp(uint64_t address)
{
	static _Alignas(16) uint8_t own[512], image[512];

	__asm__ volatile("fxsave64 %0" : "=m"(own));
	memcpy(image, own, sizeof image);
	image[FCW] &= (uint8_t)~4;
	image[FSW] |= 0x84;
	memcpy(image + FDP, &address, 8);
	__asm__ volatile("fxrstor64 %1\n\tfxsave64 %0\n\tfxrstor64 %2"
	                 : "=m"(image)
	                 : "m"(image), "m"(own));
	memcpy(&address, image + FDP, 8);
	return address;
}

static void move_fdp(uint8_t *image, uint64_t to)
{
	uint64_t fdp;

	memcpy(&fdp, image + FDP, 8);
	fdp = held_by_fdp(moved(fdp, to));
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

/* FIP is the site, FDP the guest address (where this CPU keeps them: newer ones of Intel's do in exceptions). */
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
	uint32_t fdp;

	twin(at, x87_env, with_double);
	memcpy(&fdp, plain.want_memory[0] + 0x80 + 20, 4);
	fdp = (uint32_t)moved(fdp, at);
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

/* ---- How far areas reach: memory ends somewhere in them, or behind ---------------------------- */

/* What an area's header says when it is restored. */
static struct {
	unsigned room;
	uint64_t present, layout;
} area;

static void at_the_end(uint64_t at)
{
	static const uint8_t nothing[T_PG];
	uint64_t begin = at + T_PG - area.room;

	with_area(at);
	IN(RDI) = begin;
	t_put(at, nothing, T_PG);
	t_put64(begin + MXCSR, 0x1f80);
	t_put64(begin + 512, area.present);
	t_put64(begin + 520, area.layout);
}

static void as_far_as_silicon(const char *code)
{
	for (area.room = 576; area.room <= 2816; area.room += 64) {
		static uint8_t page[T_PG];

		t_start();
		at_the_end(T_PLAIN2);
		t_run_at(code);
		plain = t_try;
		memcpy(page, t_bytes(T_PLAIN2), T_PG);
		t_start();
		t_where = T_HIGH;
		at_the_end(T_HIGH);
		t_run_at(code);
		assert_int_equal(t_try.out.end, plain.out.end);
		if (plain.out.end == T_END_FAULT) /* having written, or not */
			assert_int_equal(t_try.out.signo, plain.out.signo);
		else
			assert_memory_equal(t_bytes(T_HIGH), page, T_PG);
	}
}

static void test_expert_state_areas_reach_as_far_as_on_silicon(void **state)
{
	static const uint32_t features[] = {0xe7, 0x7, 0x3, 0xe4, 0x43};
	static const uint64_t compacted = 1ULL << 63;
	uint64_t in_use = t_layout.opmask ? 0xe7 : 7;

	(void)state;
	if (!has_xsave(1))
		skip();
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		wanted_features = features[i];
		area.present = area.layout = 0;
		as_far_as_silicon(xsave_area);
		as_far_as_silicon(xsaveopt_area);
		as_far_as_silicon(xsavec_area);
		area.present = features[i] & in_use;
		as_far_as_silicon(xrstor_area);
		area.layout = compacted | area.present;
		as_far_as_silicon(xrstor_area);
	}
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
		T(state_areas_reach_as_far_as_on_silicon),
		T(xrstor_looks_at_the_header),
		T(state_areas_are_aligned),
		T(state_area_leaves_its_window),
		T(hints_do_nothing),
		T(cache_control_succeeds),
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("expert_state", tests, t_try_init, NULL);
}
