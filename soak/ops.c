/* SPDX-License-Identifier: MIT */
#include "ops.h"

#include <string.h>

enum { ANY = 0, AVX = 1, AVX2 = 2, AVX512 = 4 };
enum { R10 = 10, R11, R12, R13, R14, R15 };

#define R(at, width) \
	{ \
		false, width, at \
	}
#define W(at, width) \
	{ \
		true, width, at \
	}

#define OP(name, kind, needs, shape, base, code, ...) \
	extern const char soak__op_##name[]; \
	__asm__(".pushsection .text; .p2align 4; .globl soak__op_" #name "; soak__op_" #name \
	        ": endbr64; " code "; ret; .popsection");
#include "ops.def"
#undef OP

static const struct op ops[] = {
#define OP(name, kind, needs, shape, base, code, ...) \
	{#name, soak__op_##name, kind, needs, shape, base, {__VA_ARGS__}},
#include "ops.def"
#undef OP
};

enum { OPS = sizeof(ops) / sizeof(ops[0]) };

const char *const soak__kind_name[KINDS] = {
	"integer",
	"LOCKed",
	"stack",
	"strings",
	"x87, MMX",
	"SSE",
	"AVX",
	"AVX-512",
	"gather, scatter",
	"register page",
	"shared counters",
	"windows that go",
	"callbacks",
	"regmap_read() and kin",
};

static const struct op *usable[OPS];
static unsigned count;

void soak__ops_init(void)
{
	unsigned has = 0;

	__builtin_cpu_init();
	if (soak__layout.ymm && __builtin_cpu_supports("avx"))
		has |= AVX;
	if (soak__layout.ymm && __builtin_cpu_supports("avx2"))
		has |= AVX2;
	if (soak__layout.zmm16 && __builtin_cpu_supports("avx512f"))
		has |= AVX512;
	for (unsigned i = 0; i < OPS; i++)
		if (!(ops[i].needs & ~has))
			usable[count++] = &ops[i];
}

const struct op *soak__op_random(struct random *random)
{
	return usable[soak__below(random, count)];
}

/* --- registers with a meaning --- */

static uint8_t *lane(uint8_t *image, unsigned reg, unsigned i)
{
	if (i < 4)
		return soak__xmm(image, reg) + 4 * i;
	if (i < 8)
		return image + soak__layout.ymm + 16 * reg + 4 * (i - 4);
	return image + soak__layout.zmm_high + 32 * reg + 4 * (i - 8);
}

static bool repeats(const struct op *op)
{
	return op->shape == REP || op->shape == REP_TWO || op->shape == REP_BOTH;
}

static bool has_source(const struct op *op)
{
	return op->shape == TWO || op->shape == REP_TWO || op->shape == REP_BOTH;
}

static bool has_places(const struct op *op)
{
	return op->shape >= GATHER_SIGNS;
}

static unsigned lanes(const struct op *op)
{
	return op->needs == AVX512 ? LANES : LANES / 2;
}

/* Every lane in a line of its own. */
static void choose_places(const struct op *op, struct random *random, uint8_t *image)
{
	for (unsigned i = 0; i < lanes(op); i++) {
		uint32_t place = 64 * i + soak__below(random, 61);

		memcpy(lane(image, 14, i), &place, 4);
	}
}

void soak__op_aim_again(const struct op *op, uint64_t address, struct state *state)
{
	state->gpr[op->base] = address;
	if (has_source(op))
		state->gpr[RSI] = address + SOURCE;
	if (op->base == R13) /* "%rbx,%r13" */
		state->gpr[RBX] = 0;
}

void soak__op_aim(const struct op *op, struct random *random, uint64_t address, struct state *state,
                  uint8_t *image)
{
	soak__op_aim_again(op, address, state);
	if (repeats(op))
		state->gpr[RCX] = soak__below(random, MOST_TIMES + 1);
	if (has_places(op))
		choose_places(op, random, image);
}

static bool is_near(uint64_t value, uint64_t address)
{
	return value - address + 64 < REACH + 64;
}

bool soak__op_moves(const struct op *op, const struct state *in, const struct state *out,
                    unsigned i)
{
	uint64_t base = in->gpr[op->base];

	return (i == op->base || (i == RSI && has_source(op))) && is_near(out->gpr[i], base);
}

/* --- footprints --- */

static bool is_on(const struct op *op, uint8_t *image, unsigned i)
{
	bool signs = op->shape == SIGNS_READ || op->shape == SIGNS_WRITE ||
	             op->shape == GATHER_SIGNS;

	return signs ? lane(image, 15, i)[3] & 0x80 : soak__opmask(image, 1) >> i & 1;
}

static unsigned touched_lanes(const struct op *op, uint8_t *image, struct touch *touches)
{
	bool write = op->shape == SIGNS_WRITE || op->shape == OPMASK_WRITE ||
	             op->shape == SCATTER_OPMASK;
	unsigned n = 0;

	for (unsigned i = 0; i < lanes(op); i++) {
		uint32_t at = 4 * i;

		if (!is_on(op, image, i))
			continue;
		if (has_places(op))
			memcpy(&at, lane(image, 14, i), 4);
		else if (n && touches[n - 1].at + touches[n - 1].width == at) {
			touches[n - 1].width += 4; /* neighbours are one range */
			continue;
		}
		touches[n++] = (struct touch){write, 4, (uint16_t)at};
	}
	return n;
}

static unsigned touched_times(const struct op *op, const struct shot *shot, struct touch *touches)
{
	uint64_t times = repeats(op) ? shot->in.gpr[RCX] - shot->out.gpr[RCX] : 1;
	unsigned n = 0;

	for (unsigned k = 0; k < 2 && op->touch[k].width; k++) {
		/* MOVS reads at RSI, as the second operand of CMPS is */
		unsigned from = has_source(op) && k == 0 ? SOURCE : 0;

		for (unsigned i = 0; i < times; i++) {
			touches[n] = op->touch[k];
			touches[n++].at += (uint16_t)(from + i * op->touch[k].width);
		}
	}
	return n;
}

unsigned soak__op_touches(const struct op *op, const struct shot *shot, struct touch *touches)
{
	if (op->shape == XLAT) {
		touches[0] = (struct touch){false, 1, (uint8_t)shot->in.gpr[RAX]};
		return 1;
	}
	if (op->shape >= SIGNS_READ)
		return touched_lanes(op, shot->in_image, touches);
	return touched_times(op, shot, touches);
}
