/* SPDX-License-Identifier: MIT */
/* What the threads do: ops.def as a table. */
#ifndef SOAK_OPS_H
#define SOAK_OPS_H

#include "shot.h"

enum kind {
	INTEGER,
	LOCKED,
	STACK,
	STRING,
	X87,
	SSE,
	AVX_,
	AVX512_,
	GATHER,
	REGISTERS,
	COUNTER,
	CONTESTED,
	CALLBACK,
	LIBRARY,
	KINDS
};

extern const char *const soak__kind_name[KINDS];

enum shape {
	PLAIN,
	ALIGNED,
	TWO, /* RSI, too, SOURCE bytes on */
	REP, /* RCX times */
	REP_TWO,
	REP_BOTH, /* both are read */
	XLAT,
	SIGNS_READ, /* lanes by the signs of YMM15 */
	SIGNS_WRITE,
	OPMASK_READ, /* lanes by K1 */
	OPMASK_WRITE,
	GATHER_SIGNS, /* lane's places by ZMM14 */
	GATHER_OPMASK,
	SCATTER_OPMASK,
};

enum { LANES = 16, SOURCE = 1024, MOST_TIMES = 16, MOST_TOUCHES = 2 * MOST_TIMES };
enum { REACH = SOURCE + 256 }; /* no operation touches bytes from here on */

struct touch {
	bool write;
	uint8_t width;
	uint16_t at;
};

struct op {
	const char *name;
	const void *code;
	enum kind kind;
	unsigned needs;
	enum shape shape;
	unsigned base; /* the register with the address */
	struct touch touch[2];
};

void soak__ops_init(void);
/* Any that this CPU has. */
const struct op *soak__op_random(struct random *random);
/* The registers that say where and how much: addresses, counts, indexes. */
void soak__op_aim(const struct op *op, struct random *random, uint64_t address, struct state *state,
                  uint8_t *image);
/* The same registers for another address. */
void soak__op_aim_again(const struct op *op, uint64_t address, struct state *state);
/* Does register @i hold an address afterwards that has moved along with the given one? */
bool soak__op_moves(const struct op *op, const struct state *in, const struct state *out,
                    unsigned i);
/* What it touched, in no special order; their number. */
unsigned soak__op_touches(const struct op *op, const struct shot *shot, struct touch *touches);

#endif
