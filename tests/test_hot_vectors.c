/* SPDX-License-Identifier: MIT */
/*
 * A patched site keeps all vector, mask, x87 and MMX registers and MXCSR as the program had them, whichever
 * of them were in use, and whatever the device's callback does to them.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <regmap/regmap.h>

#define DEVICE 0x40000000u

enum { X87 = 1, SSE = 2, AVX = 4, OPMASK = 0x20, ZMM_HI = 0x40, HI16 = 0x80 };
enum { KNOWN = X87 | SSE | AVX | OPMASK | ZMM_HI | HI16 };
enum { IMAGE = 8192, BV = 512, MXCSR = 24, ST = 32, XMM = 160, LEGACY_END = 416, HEADER_END = 576 };

/* Restore, access, save: nothing in between but the site and moves of general registers. */
long vectors_probe(const void *before, void *after, uint64_t at, uint64_t mask);
extern const char vectors_site[];
__asm__(".text\n.p2align 4\n.type vectors_probe, @function\nvectors_probe:\n.cfi_startproc\n"
        "mov %rdx, %r8\n\tmov %rcx, %rax\n\tmov %rcx, %r9\n\txor %edx, %edx\n\t"
        "xrstor64 (%rdi)\n"
        "vectors_site:\n\tmovl 0x100(%r8), %r10d\n\t"
        "mov %r9, %rax\n\txor %edx, %edx\n\txsave64 (%rsi)\n\t"
        "mov %r10, %rax\n\tret\n\t"
        ".cfi_endproc\n.size vectors_probe, . - vectors_probe\n");

static uint64_t mask; /* of components that there are, and that this test knows */
static uint32_t offset[8], length[8];

/* --- callbacks that spoil things --- */

enum {
	SPOIL_XMM = 1,
	SPOIL_X87 = 2,
	SPOIL_MMX = 4,
	SPOIL_CONTROL = 8,
	SPOIL_WIDE = 16,
	SPOILS = 32
};
static unsigned spoils, calls;
static int saw_full_stack;

static void spoil_xmm(void)
{
	__asm__ volatile(
		"pcmpeqd %%xmm0, %%xmm0\n\tmovaps %%xmm0, %%xmm1\n\tmovaps %%xmm0, %%xmm7\n\t"
		"movaps %%xmm0, %%xmm8\n\tmovaps %%xmm0, %%xmm15"
		:
		:
		: "xmm0", "xmm1", "xmm7", "xmm8", "xmm15");
}

/* All eight registers of the stack: they must be free. */
static void spoil_x87(void)
{
	uint16_t status;

	__asm__ volatile(
		"fnclex\n\tfldpi\n\tfld1\n\tfldl2e\n\tfldln2\n\tfldpi\n\tfld1\n\tfldl2e\n\tfldln2\n\t"
		"fnstsw %0\n\t"
		"fstp %%st(0)\n\tfstp %%st(0)\n\tfstp %%st(0)\n\tfstp %%st(0)\n\t"
		"fstp %%st(0)\n\tfstp %%st(0)\n\tfstp %%st(0)\n\tfstp %%st(0)"
		: "=a"(status));
	if (status & 0x41)
		saw_full_stack = 1;
}

static void spoil_wide(void)
{
	if (mask & AVX)
		__asm__ volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
		                 "vcmpps $15, %%ymm\\n, %%ymm\\n, %%ymm\\n\n\t.endr" ::
		                         : "memory");
	if (!(mask & HI16))
		return;
	__asm__ volatile(
		".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,"
		"26,27,28,29,30,31\n\t"
		"vpternlogd $255, %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n\t"
		".irp n, 0,1,2,3,4,5,6,7\n\tkxnorq %%k\\n, %%k\\n, %%k\\n\n\t.endr" ::
			: "memory");
}

static void spoil_control(void)
{
	uint32_t mxcsr = 0xff80;
	uint16_t control = 0xc7f;

	__asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(control));
}

static int read_device(void *ctx, uint64_t at, unsigned width, uint64_t *value)
{
	(void)ctx, (void)at, (void)width;
	calls++;
	if (spoils & SPOIL_X87)
		spoil_x87();
	if (spoils & SPOIL_MMX)
		__asm__ volatile("pcmpeqd %%mm0, %%mm0\n\tpcmpeqd %%mm7, %%mm7" ::: "mm0", "mm7");
	if (spoils & SPOIL_XMM)
		spoil_xmm();
	if (spoils & SPOIL_WIDE)
		spoil_wide();
	if (spoils & SPOIL_CONTROL)
		spoil_control();
	*value = 0x12345678;
	return 0;
}

static const struct regmap_device_ops ops = {.read = read_device};

/* --- states --- */

struct image {
	_Alignas(64) uint8_t byte[IMAGE];
};

static uint64_t bv_of(const struct image *i)
{
	uint64_t bv;

	memcpy(&bv, i->byte + BV, sizeof(bv));
	return bv;
}

static void clear_legacy(struct image *i, uint64_t missing)
{
	const uint16_t control = 0x37f;

	if (missing & X87) {
		memset(i->byte, 0, MXCSR);
		memset(i->byte + ST, 0, XMM - ST);
		memcpy(i->byte, &control, sizeof(control));
	}
	if (missing & SSE)
		memset(i->byte + XMM, 0, LEGACY_END - XMM);
}

/* What isn't in the image is as it begins; what isn't defined, goes. */
static void complete(struct image *i)
{
	uint64_t missing = mask & ~bv_of(i);

	clear_legacy(i, missing);
	for (unsigned c = 2; c < 8; c++)
		if (missing >> c & 1)
			memset(i->byte + offset[c], 0, length[c]);
	memset(i->byte + MXCSR + 4, 0, 4);
	memset(i->byte + LEGACY_END, 0, HEADER_END - LEGACY_END);
	for (unsigned r = 0; r < 8; r++)
		memset(i->byte + ST + 16 * r + 10, 0, 6);
}

static uint32_t next_number(void)
{
	static uint32_t state = 1;

	return state = state * 1664525 + 1013904223;
}

static void fill(uint8_t *at, size_t bytes)
{
	for (size_t n = 0; n < bytes; n++)
		at[n] = (uint8_t)(next_number() >> 24);
}

enum { STACKS = 7 };

/*
 * @stack: 0 an empty one, 1 a full one, 2 MMX registers, 3 empty with other rules, 4 with flags set, 5 as it
 * began, 6 the same but for one bit.
 */
static void make_state(struct image *i, uint64_t components, unsigned stack, uint32_t mxcsr)
{
	static const struct {
		uint16_t control, status;
		uint8_t tags;
	} x87[] = {{0x37f, 0, 0},      {0x37f, 0x3800, 0xff}, {0x37f, 0, 0xff}, {0xf7f, 0x4500, 0},
	           {0x37f, 0x3941, 0}, {0x37f, 0, 0},         {0x37f, 0, 0}};

	memset(i, 0, sizeof(*i));
	memcpy(i->byte + BV, &components, sizeof(components));
	memcpy(i->byte + MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy(i->byte, &x87[stack].control, 2);
	memcpy(i->byte + 2, &x87[stack].status, 2);
	i->byte[4] = x87[stack].tags;
	for (unsigned r = 0; r < 8 && stack < 5; r++)
		fill(i->byte + ST + 16 * r, 10);
	if (stack == 6)
		i->byte[ST + 16 * (next_number() >> 20 & 7) + (next_number() >> 20) % 10] |=
			(uint8_t)(1u << (next_number() >> 20 & 7));
	fill(i->byte + XMM, LEGACY_END - XMM);
	for (unsigned c = 2; c < 8; c++)
		if (mask & components & 1u << c)
			fill(i->byte + offset[c], length[c]);
}

static void assert_same(const struct image *before, const struct image *after)
{
	static struct image a, b;

	a = *before;
	b = *after;
	complete(&a);
	complete(&b);
	assert_memory_equal(a.byte, b.byte, LEGACY_END);
	for (unsigned c = 2; c < 8; c++)
		if (mask >> c & 1)
			assert_memory_equal(a.byte + offset[c], b.byte + offset[c], length[c]);
}

static void try(uint64_t components, unsigned stack, uint32_t mxcsr, unsigned what)
{
	static struct image before, after, now;
	unsigned was = calls;
	long value;

	make_state(&before, components, stack, mxcsr);
	memset(&now, 0, sizeof(now));
	memset(&after, 0, sizeof(after));
	__asm__ volatile("xsave64 %0" : "=m"(now) : "a"((uint32_t)mask), "d"(0) : "memory");
	spoils = what;
	saw_full_stack = 0;
	value = vectors_probe(&before, &after, DEVICE, mask);
	__asm__ volatile("xrstor64 %0" : : "m"(now), "a"((uint32_t)mask), "d"(0) : "memory");
	assert_int_equal(value, 0x12345678);
	assert_int_equal(calls, was + 1);
	assert_false(saw_full_stack);
	assert_same(&before, &after);
}

static const uint32_t rules[] = {0x1f80, 0x9fc0};

/* Every combination of components, for all kinds of spoiling. */
static void test_hot_vectors_kept_whatever_is_in_use(void **unused)
{
	(void)unused;
	for (unsigned c = 0; c <= KNOWN; c++)
		for (unsigned what = 0; !(c & ~mask) && what < SPOILS; what++)
			for (unsigned stack = 0; stack < (c & X87 ? STACKS : 1u); stack++)
				try(c | SSE, stack, rules[(c ^ what) & 1], what);
}

/* One that has spoilt nothing leaves nothing behind, either. */
static void test_hot_vectors_repeat(void **unused)
{
	(void)unused;
	for (unsigned n = 0; n < 20000; n++)
		try((next_number() >> 8 & KNOWN & mask) | SSE, (next_number() >> 8) % STACKS,
		    rules[n & 1], next_number() >> 27);
}

static bool find_components(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1 << 27))
		return false;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	mask = a & KNOWN;
	for (unsigned i = 2; i < 8; i++)
		if (mask >> i & 1)
			__cpuid_count(0xd, i, length[i], offset[i], c, d);
	return true;
}

static int set_up(void **unused)
{
	static struct image state, after;
	struct regmap_config config = {.size = sizeof(config),
	                               .guest = DEVICE,
	                               .length = 4096,
	                               .backing = REGMAP_DEVICE,
	                               .access = REGMAP_READ,
	                               .ops = &ops};

	(void)unused;
	assert_int_equal(regmap_map(&config, NULL), 0);
	assert_int_equal(regmap_patch(1), 0);
	make_state(&state, SSE, 0, 0x1f80);
	for (unsigned i = 0; i < 4; i++)
		vectors_probe(&state, &after, DEVICE, mask);
	assert_int_equal(regmap_patch_site(vectors_site), 1);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hot_vectors_kept_whatever_is_in_use),
		cmocka_unit_test(test_hot_vectors_repeat),
	};

	if (!find_components() || regmap_patch(1))
		return 77;
	return cmocka_run_group_tests(tests, set_up, NULL);
}
