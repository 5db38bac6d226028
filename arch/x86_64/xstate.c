/* SPDX-License-Identifier: MIT */
/* The XSAVE image: where things lie in it, and single registers by number. */
#include <cpuid.h>
#include <string.h>
#include <sys/auxv.h>

#include "cpu.h"

#include "sigsafe.h"

enum {
	OSXSAVE = 1 << 27,
	ALIGNED = 1 << 1,
	LAHF = 1 << 0,
	HWCAP2_FSGSBASE_BIT = 1 << 1,
	FCW_INIT = 0x37f
};

struct xstate regmap__xstate;

static uint64_t xgetbv0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void enumerate_components(struct xstate *x)
{
	unsigned a, b, c, d;

	__cpuid_count(0xd, 0, a, b, c, d);
	x->size = b;
	for (unsigned i = 2; i < 63; i++) {
		if (!(x->xcr0 >> i & 1))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		x->length[i] = a;
		x->offset[i] = b;
		if (c & ALIGNED)
			x->aligned |= 1ull << i;
	}
}

void regmap__xstate_init(void)
{
	struct xstate *x = &regmap__xstate;
	unsigned a, b, c, d;

	if (x->size)
		return;
	x->fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
	x->lahf = __get_cpuid(0x80000001, &a, &b, &c, &d) && c & LAHF;
	__cpuid(1, a, b, c, d);
	x->size = XSAVE_LEGACY;
	if (!(c & OSXSAVE))
		return;
	x->xcr0 = xgetbv0();
	enumerate_components(x);
}

unsigned regmap__vector_count(void)
{
	return regmap__xstate.xcr0 & XSTATE_HI16_ZMM ? 32 : 16;
}

unsigned regmap__vector_bytes(void)
{
	if (regmap__xstate.xcr0 & XSTATE_ZMM_HI256)
		return 64;
	return regmap__xstate.xcr0 & XSTATE_AVX ? 32 : 16;
}

static void materialize_legacy(uint8_t *image, uint64_t clear)
{
	if (clear & XSTATE_X87) {
		uint16_t fcw = FCW_INIT;

		memset(image, 0, XSAVE_MXCSR);
		memset(image + XSAVE_ST, 0, 8 * 16);
		memcpy(image, &fcw, sizeof fcw);
	}
	if (clear & XSTATE_SSE)
		memset(image + XSAVE_XMM, 0, 16 * 16);
}

void regmap__xsave_materialize(uint8_t *image, uint64_t components)
{
	uint64_t clear = components & regmap__xstate.xcr0 & ~*xsave_bv(image);

	if (!clear)
		return;
	materialize_legacy(image, clear);
	for (unsigned i = 2; i < 63; i++)
		if (clear >> i & 1)
			memset(image + regmap__xstate.offset[i], 0, regmap__xstate.length[i]);
	*xsave_bv(image) |= clear;
}

/* Where bytes of a vector register lie: one stretch of one component. */
struct part {
	unsigned component;
	uint32_t at;     /* in the image */
	unsigned length; /* from the byte asked for to the end of the stretch */
};

static struct part vector_part(unsigned i, unsigned byte)
{
	const struct xstate *x = &regmap__xstate;

	if (i >= 16)
		return (struct part){7, x->offset[7] + (i - 16) * 64 + byte, 64 - byte};
	if (byte < 16)
		return (struct part){1, XSAVE_XMM + i * 16 + byte, 16 - byte};
	if (byte < 32)
		return (struct part){2, x->offset[2] + i * 16 + byte - 16, 32 - byte};
	return (struct part){6, x->offset[6] + i * 32 + byte - 32, 64 - byte};
}

static unsigned min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

void regmap__vector_get(const struct cpu *cpu, unsigned i, unsigned at, void *to, unsigned length)
{
	uint8_t *out = to;

	while (length) {
		struct part p = vector_part(i, at);
		unsigned n = min(length, p.length);

		if (*xsave_bv(cpu->xsave) >> p.component & 1)
			memcpy(out, cpu->xsave + p.at, n);
		else
			memset(out, 0, n);
		out += n;
		at += n;
		length -= n;
	}
}

void regmap__vector_set(struct cpu *cpu, unsigned i, unsigned at, const void *from, unsigned length)
{
	const uint8_t *in = from;

	while (length) {
		struct part p = vector_part(i, at);
		unsigned n = min(length, p.length);

		if (!(regmap__xstate.xcr0 >> p.component & 1))
			return;
		regmap__xsave_materialize(cpu->xsave, 1ull << p.component);
		memcpy(cpu->xsave + p.at, in, n);
		in += n;
		at += n;
		length -= n;
	}
}

uint64_t regmap__opmask_get(const struct cpu *cpu, unsigned i)
{
	uint64_t value;

	if (!(*xsave_bv(cpu->xsave) & XSTATE_OPMASK))
		return 0;
	memcpy(&value, cpu->xsave + regmap__xstate.offset[5] + i * 8, sizeof value);
	return value;
}

void regmap__opmask_set(struct cpu *cpu, unsigned i, uint64_t value)
{
	regmap__xsave_materialize(cpu->xsave, XSTATE_OPMASK);
	memcpy(cpu->xsave + regmap__xstate.offset[5] + i * 8, &value, sizeof value);
}
