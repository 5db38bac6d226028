/* SPDX-License-Identifier: MIT */
/* Alignment, and what the bytes of an instruction make of addresses and registers. See expert.h. */
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
#include <sys/auxv.h>

#include "expert.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	setenv("REGMAP_REPORT", "0", 0);
	return cmocka_run_group_tests_name("expert_address", tests, t_try_init, NULL);
}
