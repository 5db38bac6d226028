/* SPDX-License-Identifier: MIT */
/*
 * The whole state of the CPU before and after a few instructions: general registers but RSP, flags,
 * x87, MXCSR, vectors, opmasks.
 */
#ifndef SOAK_SHOT_H
#define SOAK_SHOT_H

#include <stdbool.h>
#include <stdint.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, GPRS = 16 };
enum { IMAGE = 2816 }; /* up to and with ZMM16-31 */

struct state {
	uint64_t gpr[GPRS];
	uint64_t flags;
};

struct shot {
	const void *code; /* ends with RET */
	uint8_t *in_image, *out_image;
	struct state in, out;
};

struct random {
	uint64_t state;
};

/* Components of the XSAVE image that are set and compared; where those beyond SSE lie (0: none). */
extern uint32_t soak__components;
struct layout {
	unsigned ymm, opmask, zmm_high, zmm16;
};
extern struct layout soak__layout;

uint64_t soak__random(struct random *random);
/* 0 to @n - 1 */
static inline unsigned soak__below(struct random *random, unsigned n)
{
	return (unsigned)((soak__random(random) >> 32) * n >> 32);
}

/* Once. */
void soak__shot_init(void);
/* Everything at random; what would raise exceptions is masked. */
void soak__state_random(struct random *random, struct state *state, uint8_t *image);
void soak__shot(struct shot *shot);

uint8_t *soak__xmm(uint8_t *image, unsigned n);
/* The 64 bits of an opmask; all ones where there are none. */
uint64_t soak__opmask(const uint8_t *image, unsigned n);
/* The first difference of two images by name, or NULL; x87's instruction pointers don't count. */
const char *soak__image_differs(const uint8_t *a, const uint8_t *b);

#endif
