/* SPDX-License-Identifier: MIT */
#include "shot.h"

#include <cpuid.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "offsets.h"

#define SAME(member, offset) \
	_Static_assert(offsetof(struct shot, member) == (offset), "shot.S believes otherwise")
SAME(code, SHOT_CODE);
SAME(in_image, SHOT_IN_IMAGE);
SAME(out_image, SHOT_OUT_IMAGE);
SAME(in.gpr, SHOT_IN_GPR);
SAME(in.flags, SHOT_IN_FLAGS);
SAME(out.gpr, SHOT_OUT_GPR);
SAME(out.flags, SHOT_OUT_FLAGS);

/* The image, SDM vol. 1, 13.4. */
enum { FCW = 0, FSW = 2, FTW = 4, MXCSR = 24, ST = 32, XMM = 160, XMM_END = 416, HEADER = 512 };
enum { HEADER_SIZE = 64 };
enum { X87 = 1, SSE = 2, AVX = 4, OPMASK = 0x20, ZMM_HIGH = 0x40, ZMM16 = 0x80 };
enum { KNOWN = X87 | SSE | AVX | OPMASK | ZMM_HIGH | ZMM16 };

uint32_t soak__components;
struct layout soak__layout;

/* splitmix64 */
uint64_t soak__random(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned place(uint32_t component)
{
	unsigned size, offset, c, d;

	if (!(soak__components & component))
		return 0;
	__cpuid_count(0xd, (unsigned)__builtin_ctz(component), size, offset, c, d);
	if (offset + size > IMAGE) {
		fprintf(stderr, "soak: an XSAVE image of unknown layout\n");
		exit(1);
	}
	return offset;
}

void soak__shot_init(void)
{
	uint32_t low, high;
	unsigned a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c & 1u << 27)) { /* OSXSAVE */
		fprintf(stderr, "soak: no XSAVE here\n");
		exit(77);
	}
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	soak__components = low & KNOWN;
	soak__layout.ymm = place(AVX);
	soak__layout.opmask = place(OPMASK);
	soak__layout.zmm_high = place(ZMM_HIGH);
	soak__layout.zmm16 = place(ZMM16);
}

static void fill(struct random *random, uint8_t *to, unsigned length)
{
	for (unsigned i = 0; i < length; i += 8) {
		uint64_t value = soak__random(random);

		memcpy(to + i, &value, 8);
	}
}

static void fill_part(struct random *random, uint8_t *image, unsigned offset, unsigned length)
{
	if (offset)
		fill(random, image + offset, length);
}

static void put(uint8_t *at, uint64_t value, unsigned length)
{
	memcpy(at, &value, length);
}

void soak__state_random(struct random *random, struct state *state, uint8_t *image)
{
	uint64_t dice = soak__random(random);

	fill(random, (uint8_t *)state->gpr, sizeof(state->gpr));
	state->flags = 0x202 | (dice & 0x8d5); /* OF SF ZF AF PF CF */
	memset(image, 0, XMM);
	put(image + FCW, 0x7f | (dice >> 12 & 0xf) << 8, 2); /* any precision and rounding */
	put(image + FSW, dice >> 16 & 0x7f7f, 2);
	put(image + FTW, dice >> 32, 1);
	put(image + MXCSR, 0x1f80 | (dice >> 40 & 0xe07f), 4);
	for (unsigned i = 0; i < 8; i++)
		fill(random, image + ST + 16 * i, 8), put(image + ST + 16 * i + 8, dice >> i, 2);
	fill(random, image + XMM, XMM_END - XMM);
	memset(image + HEADER, 0, HEADER_SIZE);
	put(image + HEADER, soak__components, 8);
	fill_part(random, image, soak__layout.ymm, 256);
	fill_part(random, image, soak__layout.opmask, 64);
	fill_part(random, image, soak__layout.zmm_high, 512);
	fill_part(random, image, soak__layout.zmm16, 1024);
}

uint8_t *soak__xmm(uint8_t *image, unsigned n)
{
	return image + XMM + 16 * n;
}

uint64_t soak__opmask(const uint8_t *image, unsigned n)
{
	uint64_t mask = ~0ULL;

	if (soak__layout.opmask)
		memcpy(&mask, image + soak__layout.opmask + 8 * n, 8);
	return mask;
}

static bool part_differs(const uint8_t *a, const uint8_t *b, unsigned offset, unsigned length)
{
	return offset && memcmp(a + offset, b + offset, length);
}

const char *soak__image_differs(const uint8_t *a, const uint8_t *b)
{
	if (memcmp(a, b, FTW + 1))
		return "x87 control, status or tag word";
	if (memcmp(a + MXCSR, b + MXCSR, 4))
		return "MXCSR";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(a + ST + 16 * i, b + ST + 16 * i, 10))
			return "x87 register";
	if (memcmp(a + XMM, b + XMM, XMM_END - XMM))
		return "XMM register";
	if (part_differs(a, b, soak__layout.ymm, 256))
		return "YMM register";
	if (part_differs(a, b, soak__layout.opmask, 64))
		return "opmask register";
	if (part_differs(a, b, soak__layout.zmm_high, 512))
		return "ZMM register";
	return part_differs(a, b, soak__layout.zmm16, 1024) ? "one of ZMM16-31" : NULL;
}
