/* SPDX-License-Identifier: MIT */
/*
 * Fragments: a piece of the program's code, moved, in which accesses to windows go by way of views. One
 * slot for each access (slot.h) costs two jumps and a frame for each; a fragment has neither. It is
 * what can be reached from a hot site, within some KB, by ordinary instructions and jumps.
 *
 * In a fragment all registers are the program's, but for two that no instruction in it names (a third,
 * while an access is under way), and the flags. RSP is: so what goes by way of RSP or RIP stays as it is.
 *
 * The flags are the program's again only where they are needed. Until then they are *kept* in struct
 * lane_tls; or *known*, as that of a comparison whose operands have not changed since.
 *
 * Where nobody comes to its head from within, there is a way in right before that, and the site's jump leads
 * there rather than to its slot: each jump that a program takes in thousands of places is one too many.
 *
 * It is left where code begins that doesn't belong to it; at an access that no view of its two fits:
 * then by the pointer in its fragment_more, with all as it was before the access; and before each
 * access that a loop comes by, if the thread has been switched out or asked meanwhile (slot_way_in).
 */
#ifndef ARCH_X86_64_FRAGMENT_H
#define ARCH_X86_64_FRAGMENT_H

#include "cpu.h"
#include "slot.h"

enum {
	FRAGMENT_INSNS = 192,
	FRAGMENT_ACCESSES = 64,
	FRAGMENT_CODE_MOST = 16384,
	FRAGMENT_STEPS = 2048,
	FRAGMENT_SETTERS = 64,
	FRAGMENT_REACH = 1 << 15, /* either way, in bytes of the program's */
	FRAGMENT_NO_ENTRY = 0xffff,
};

/*
 * What the code of each access looks at, in writable memory within 2 GB of it: first all the views that
 * are looked at first, side by side for the processor's cache; then this. Each 256th time that a thread finds what
 * it needs by a second look, those two change places: who does that most is the likeliest to be hit.
 */
struct fragment_more {
	const struct view *_Atomic other;
	_Atomic uint64_t miss; /* code: the plain part of the site's slot, or the site */
};
enum { FRAGMENT_DATA = sizeof(struct view *) + sizeof(struct fragment_more) }; /* of each */
enum { FRAGMENT_DATA_ONCE = sizeof(uint64_t) };

struct fragment_insn {
	uint16_t at; /* from the map's first address */
	uint8_t length;
	bool accesses; /* by a view */
};

struct fragment_access {
	uint16_t at;     /* likewise */
	uint16_t access; /* offset in the fragment's code: of the instruction that makes it */
	uint16_t entry;  /* where a slot's way in may lead */
	const struct plan *plan;
};

/* What made the flags: can be done once more, as nothing that it reads has changed. */
struct fragment_setter {
	uint8_t length, bytes[15];
	bool tests;        /* else compares */
	bool has_constant; /* in place of b */
	uint8_t width, a, b;
	uint16_t reads; /* bit per register */
	int32_t constant;
};

/* From this offset on, up to the next step's: for regmap__fragment_roll() alone. */
struct fragment_step {
	uint16_t offset, state, setter;
	uint8_t lent;
	int32_t guest; /* likewise: the instruction that is about to be executed */
};

struct fragment_map {
	uint64_t first; /* guest address */
	uint64_t code;
	const struct view *_Atomic *view; /* of each access */
	struct fragment_more *more;
	uint32_t length; /* of the code */
	uint16_t way_in; /* offset in it; FRAGMENT_NO_ENTRY: the head's is as all others' */
	/* Behind all of more: the head's slot, for who must not come in by that. */
	_Atomic uint64_t *stays_out;
	uint16_t insns, accesses, steps, setters;
	int32_t tls;
	uint8_t lent[FRAGMENT_REGISTERS];
	struct fragment_insn *insn;
	struct fragment_access *access;
	struct fragment_step *step;
	struct fragment_setter *setter;
};

struct fragment_request {
	uint64_t head;        /* the site that it is for */
	uint64_t first, last; /* code that it may take in: 2 * FRAGMENT_REACH bytes at most */
	uint64_t code, data;  /* where it will be: within 2 GB */
	int32_t tls;
	int32_t armed; /* as in slot_way_in */
	uint32_t value;
	/* Of the program's own bytes from @at on, at most @most, that many. */
	size_t (*read)(uint64_t at, uint8_t *to, size_t most);
	/* Is the instruction there one that is known to fault? */
	bool (*is_hot)(uint64_t at);
	const struct plan *(*keep)(const struct plan *plan);
};

/* Can there be any, on this processor? */
bool regmap__fragment_works(void);
/*
 * Which instructions it takes in. False: it isn't worthwhile. The plans that map->access leads
 * to may change until it is generated. What map leads to stays until the next one is looked for: for one
 * thread at a time.
 */
bool regmap__fragment_find(const struct fragment_request *request, struct fragment_map *map);
/* Of the one found: the code, at most FRAGMENT_CODE_MOST bytes; NULL: no. request->code and ->data count now. */
const uint8_t *regmap__fragment_generate(const struct fragment_request *request,
                                         struct fragment_map *map);
/*
 * A thread was interrupted at code + @offset: its registers, flags and RIP become what they are
 * between two of the program's instructions, and its lane idle. AS-Safe.
 */
void regmap__fragment_roll(const struct fragment_map *map, unsigned offset,
                           const struct cpu_regs *regs, uint64_t *rip);
/* Who is at code + @offset, is he still on the way in? */
bool regmap__fragment_is_ahead(const struct fragment_map *map, unsigned offset);
/* The access that the instruction at @offset makes; NULL: it is none. */
const struct fragment_access *regmap__fragment_access_at(const struct fragment_map *map,
                                                         unsigned offset);

#endif
