/* SPDX-License-Identifier: MIT */
/* A fragment's code in the making: see fragment.c. */
#ifndef ARCH_X86_64_FRAGMENT_MAKING_H
#define ARCH_X86_64_FRAGMENT_MAKING_H

#include "fragment_code.h"
#include "slot_emit.h"

enum {
	FRAGMENT_JUMPS = 0xff, /* /4 */
	FRAGMENT_JOINTS = FRAGMENT_INSNS,
};

/* What made the flags that are in their register, if that is known, and whether they are kept as well. */
struct fragment_origin {
	uint16_t setter;
	bool has_setter, has_kept;
};

/* A branch that waits for the code that it leads to: of the fragment, or a way out. */
struct fragment_joint {
	struct slot_jump from;
	int32_t to; /* from the first address */
	bool polls;
	struct fragment_origin flags;
};

/* What is seldom needed lies behind all the rest. */
struct fragment_aside {
	const struct found_insn *insn;
	struct slot_jump outside, miss;
	unsigned looks; /* where it begins */
	unsigned
		found; /* where it goes on with a view, or (of one that is held) with the operand */
	int32_t limit;
	uint16_t state, setter;
	uint8_t lent;
	bool held;
	struct em_mem mem; /* what is held */
};

struct fragment_making {
	const struct fragment_request *request;
	struct found *f;
	struct fragment_map *map;
	struct slot_emit e;
	uint16_t state; /* as in struct fragment_step */
	uint8_t lent;   /* likewise */
	int32_t guest;
	struct fragment_origin flags;
	/* What the second register holds: the host address of that operand, and of all up to @size. */
	struct {
		bool valid;
		struct em_mem mem;
		unsigned size, access;
	} held;
	struct slot_jump unarmed, late; /* on the way in */
	uint8_t view;                   /* the first lent register: views, the lane */
	uint8_t base; /* the second: addresses, or what an instruction lends that can't have them there */
	unsigned joints, asides;
	struct fragment_joint joint[FRAGMENT_JOINTS];
	struct fragment_aside aside[FRAGMENT_ACCESSES];
	uint8_t code[FRAGMENT_CODE_MOST];
	struct fragment_step step[FRAGMENT_STEPS];
	struct fragment_setter setters[FRAGMENT_SETTERS];
	struct fragment_insn insns[FRAGMENT_INSNS];
};

static inline int32_t tls_at(const struct fragment_making *m, size_t member)
{
	return m->request->tls + (int32_t)member;
}

static inline unsigned first_of(unsigned registers)
{
	return registers ? (unsigned)__builtin_ctz(registers) : EM_NO_REG;
}

static inline unsigned address_registers(const struct em_mem *mem)
{
	return (mem->base < 16 ? 1u << mem->base : 0) | (mem->index < 16 ? 1u << mem->index : 0);
}

static inline bool flags_are_away(const struct fragment_making *m)
{
	return m->state & (FRAGMENT_KEPT | FRAGMENT_KNOWN);
}

/* --- fragment_flags.c: what stands where, and the flags --- */

/* From here on the state is that. */
void regmap__fragment_mark(struct fragment_making *m);
void regmap__fragment_state(struct fragment_making *m, unsigned set, unsigned clear);
void regmap__fragment_guest(struct fragment_making *m, int32_t guest);
/* Between registers. */
void regmap__fragment_move(struct fragment_making *m, unsigned to, unsigned from);
void regmap__fragment_keep_flags(struct fragment_making *m);
/* From here on they are in the processor's register. */
void regmap__fragment_take_flags(struct fragment_making *m);
/* They are about to be changed by instructions of ours. */
void regmap__fragment_put_flags_away(struct fragment_making *m);
/* Before an instruction that doesn't go by way of a view, or one that does; and behind it. */
void regmap__fragment_before(struct fragment_making *m, const struct found_insn *insn,
                             const struct em_decoded *d);
void regmap__fragment_behind(struct fragment_making *m, const struct found_insn *insn,
                             const struct em_decoded *d);

/* --- fragment_way.c: in and out --- */

/* All but the jump. */
void regmap__fragment_leave(struct fragment_making *m);
/* The flags are in their register. */
void regmap__fragment_leave_to(struct fragment_making *m, int32_t guest);
/* Who has been switched out or asked meanwhile, jumps. */
void regmap__fragment_poll(struct fragment_making *m, struct slot_jump *late);
/* Is it the head's, and has that a way in of its own? */
bool regmap__fragment_is_way_in(const struct fragment_making *m, const struct found_insn *insn);
void regmap__fragment_emit_way_in(struct fragment_making *m);
void regmap__fragment_emit_stay_out(struct fragment_making *m);

/* --- fragment_access.c --- */

void regmap__fragment_emit_access(struct fragment_making *m, const struct found_insn *insn,
                                  const struct em_decoded *d);
/* What of it lies behind all the rest. */
void regmap__fragment_emit_aside(struct fragment_making *m, struct fragment_aside *aside);

#endif
