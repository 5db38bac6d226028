/* SPDX-License-Identifier: MIT */
/*
 * The layout that generated code, assembly and C agree on: see docs/patching.md.
 *
 * A *site* is an instruction of the program's that accesses windows. When it is patched, a jump
 * stands in its place that leads to its *slot*: code of ours that does the same and jumps back.
 *
 *   way in        where the site belongs to a fragment (fragment.h), to the code of that; or a jump to
 *                 where its cell says, the inline or the call part, where the site was met on a device: then
 *                 the call part comes first, and may end in a tail (slot_tail.h)
 *   inline part   the access itself on the window's host memory, by way of a *view*; no C
 *   call part     lea -128(%rsp), %rsp; call *entry(%rip); lea 128(%rsp), %rsp; jmp next
 *                 (behind an inline part that has moved RSP already, without the first of these)
 *   original      the program's own instruction, moved here, and a jump to the next one: it faults
 *                 where the address isn't for us, or where C would rather have it by the fault path
 */
#ifndef ARCH_X86_64_SLOT_H
#define ARCH_X86_64_SLOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A stretch of guest addresses and where it really is: host memory of a window, or (delta 0) a gap
 * between windows. An access of 2^k bytes at an address from @start on, below limit[rights][k], may be
 * made at address + delta; unsigned, and 0: never. Type-stable memory. It dies by its limits becoming 0,
 * then a membarrier, then waiting until no lane is busy; only after that start and delta change.
 *
 * Whoever looks, reads the limit first: one that isn't 0 stands for the start and the delta that are
 * read after it, whichever life of the view they belong to.
 */
enum { VIEW_READ, VIEW_WRITE, VIEW_BOTH, VIEW_RIGHTS };
/* 1 to 64 bytes, of one access; 128, of several that share a look. */
enum { VIEW_SIZES = 8, VIEW_SPAN = 1 << (VIEW_SIZES - 1), VIEW_MOST = 64 };
struct view {
	_Alignas(64) _Atomic uint64_t start;
	_Atomic uint64_t delta;
	_Atomic uint64_t limit[VIEW_RIGHTS][VIEW_SIZES];
	_Atomic uint64_t last; /* inclusive; C only */
};

static inline unsigned view_rights(bool reads, bool writes)
{
	return reads == writes ? VIEW_BOTH : reads ? VIEW_READ : VIEW_WRITE;
}

/* The next larger class, for those of 6, 10 or 28 bytes; VIEW_SIZES: there is none. */
static inline unsigned view_class(size_t size)
{
	unsigned k = 0;

	while (k < VIEW_SIZES && (1u << k) < size)
		k++;
	return k;
}

struct slot;

/* One per thread that runs inline parts. Found by thread-local storage, in memory that is never freed. */
struct lane {
	_Alignas(64) _Atomic uint64_t
		busy;           /* 1 from before a view is looked at until after the access */
	_Atomic uint64_t count; /* accesses from slots, where they are counted */
	_Atomic uint64_t key;   /* regmap__thread_key(); 0: free */
	_Atomic uint64_t tid;
	int *error;       /* the thread's errno */
	uint64_t miss;    /* counts, so that cells change but seldom */
	uint64_t failed;  /* an access has, and the fault path has not said so yet */
	uint64_t looked;  /* when it was last looked whether the process is traced: armed.h */
	struct slot *pin; /* its own, see pin.h; NULL: there are too many lanes */
};

/*
 * The program may have changed its FS base. So generated code compares the magic first, 32 bits of
 * chance: what doesn't match (or faults) has no lane, and takes the call part or the original.
 */
enum { FRAGMENT_REGISTERS = 2 };
struct lane_tls {
	uint32_t magic;
	uint8_t second_looks; /* counts: see fragment.h */
	uint8_t waits;        /* counts how often a way in was not taken: slot_way_in */
	struct lane *lane;
	uint64_t target; /* of a CALL or JMP through memory, on the way out of a slot */
	/* What the program has in the registers that a fragment borrows, and its flags, as AX has them. */
	uint64_t kept[FRAGMENT_REGISTERS], flags;
	/* The lane's, for regmap__slot_device() and regmap__slot_move(). */
	struct slot *quick; /* pin; NULL as well where an access has failed */
	int *error;
};

/* Where there is no view: every access is outside. */
extern const struct view regmap__slot_no_view;

/*
 * The data of one slot: private writable memory within 2 GB of its code. What each execution looks at
 * lies elsewhere, beside that of other slots: a processor's cache has room for eight where it had for one.
 */
struct slot_cell {
	_Alignas(16) const
		void *entry; /* regmap__slot_call(); finds the cell by the CALL's own operand */
	const struct view *_Atomic *view; /* at request->view */
	const struct view *_Atomic
		*other;          /* at request->other: looked at where that one doesn't do */
	uint64_t site, next;     /* guest addresses: of the instruction and behind it */
	uint64_t start;          /* of the slot's code */
	uint64_t original;       /* of that part; 0: there is none */
	const struct plan *plan; /* of the instruction, with its bytes */
	uint64_t spare;
	const struct view *_Atomic own_other; /* where other may be */
	_Atomic uint64_t move;                /* C's: see move.h */
	_Atomic uint64_t way;  /* where a slot that chooses goes first; 0: it doesn't */
	uint64_t start_inline; /* where one that has an inline part leads to that */
	/* The tail is for those who find this at ->next, in the bits of the mask; 0: there is none. */
	uint64_t tail_mask, tail;
	uint64_t plain; /* what is behind the CALL for others */
};

/* What regmap__slot_call() lays on the stack, below the red zone, for C. */
struct slot_frame {
	uint64_t gpr[16]; /* in encoding order; RSP as at the site */
	uint64_t flags;
	uint64_t rip;    /* the site: what unwinders find */
	uint64_t target; /* where to go on; 0: behind the CALL, and RSP is unchanged */
	struct slot_cell *cell;
};

/* --- slot.c: generating --- */

/* What follows the site lets us do without: nobody reads these before they are written. */
struct slot_dead {
	uint64_t flags; /* CPU_* status flags */
	uint16_t gpr;   /* bit per register, all 64 bits of it: not saved if borrowed */
};

/*
 * Into a fragment, with its two registers and the flags kept in struct lane_tls and the lane busy. It is
 * taken only while the 32 bits at @armed, from the FS base, have the @value: a thread with another FS base
 * hasn't. Where they are 0, C is asked, and once in 256 times where they are something else.
 */
struct slot_way_in {
	uint64_t to; /* 0: there is none */
	uint8_t lent[FRAGMENT_REGISTERS];
	int32_t armed;
	uint32_t value;
};

struct slot_request {
	const struct plan *plan;
	uint64_t site;
	/* where the slot's code will run, where its cell and the pointer to its view are: within 2 GB */
	uint64_t code, cell, view, other;
	struct slot_dead dead;
	int32_t tls;        /* FS-relative offset of this process's struct lane_tls */
	uint32_t magic;     /* its value */
	bool count;         /* lane.count */
	bool inline_access; /* false: only a call part */
	bool passes;        /* nothing but the instruction, moved: regmap__slot_can_pass() */
	bool pushed_flags;  /* keep flags as processors without LAHF must: for tests */
	bool shares_views;  /* they are a fragment's, and stay as they are */
	bool chooses;       /* by cell->way: the call part, to begin with */
	/* The program's code behind the site, as the program wrote it; NULL: unknown, and there is no tail. */
	const uint8_t *behind;
	unsigned behind_length;
	struct slot_way_in way_in;
};

enum { SLOT_CODE_MOST = 512, SLOT_STEPS = 72, SLOT_NO_ACCESS = 0xffff };

/* What is what in a slot's code, for regmap__slot_roll(). Written by regmap__slot_generate(). */
struct slot_map {
	uint16_t length;   /* of the code */
	uint16_t access;   /* offset of the access in the inline part; 0xffff: there is none */
	uint16_t plain;    /* of what is behind the way in */
	uint16_t call;     /* of the call part */
	uint16_t returned; /* of what follows the CALL */
	uint16_t original; /* of the original; 0xffff: none */
	uint16_t tail, tail_end; /* from its first instruction to behind the last one */
	uint16_t tail_jump;      /* what then goes on behind it; 0: nothing, it ends there */
	uint8_t tail_length;     /* of what it is at the site; 0: there is none */
	bool hands_address;      /* in RSI, for regmap__slot_device() */
	uint16_t steps;
	/* From this offset on, up to the next step's, what has been saved where: slot.c's own */
	struct {
		uint16_t offset;
		uint16_t state;
	} step[SLOT_STEPS];
	uint8_t scratch[4]; /* registers that the inline part borrows; slot.c's own */
	uint8_t scratches;
	int32_t tls; /* as in the request */
};

/*
 * Make a slot's code into @to. Returns its length, or 0: this instruction can't have a slot, and *why
 * (a static string) says why. Fills in cell->start, ->original, ->site, ->next and ->way, and makes both
 * views none. AS-Safe.
 */
size_t regmap__slot_generate(const struct slot_request *request, uint8_t to[SLOT_CODE_MOST],
                             struct slot_map *map, struct slot_cell *cell, const char **why);

/*
 * Can an instruction that accesses no memory be moved to a slot? @plan gets its bytes and length, and
 * the kind EM_NONE. AS-Safe.
 */
bool regmap__slot_can_pass(struct plan *plan, const uint8_t *code, size_t length);

/*
 * What is dead behind an instruction: decodes from @code on, at most @length bytes. Flags only: see
 * slot_dead.c for why no register is. AS-Safe.
 */
struct slot_dead regmap__slot_dead(const uint8_t *code, size_t length);

/*
 * The same instruction on the register that a register-page site names by an absolute address, of
 * the same length: one instruction. False: there is no such equivalent. AS-Safe.
 */
bool regmap__slot_in_place(const struct plan *plan, uint8_t to[15]);

/*
 * A thread was interrupted in a slot, at code + @offset. Make its registers, flags and RIP what they
 * were at the site, or will be behind it, and its lane idle: *rip becomes cell->site or
 * cell->next. AS-Safe.
 */
struct cpu_regs;
void regmap__slot_roll(const struct slot_map *map, const struct slot_cell *cell, unsigned offset,
                       const struct cpu_regs *regs, uint64_t *rip);

/* --- slotcall.S --- */

/*
 * Called by slots; see struct slot_frame. Never from C. regmap__slot_device() does the same, and is quick where
 * the site meets the device that it has met before: for slots that hand the operand's address over in RSI. The
 * program's lies SLOT_HANDED_AT from RSP before the CALL, where the target will be.
 */
void regmap__slot_call(void);
extern const uint8_t regmap__slot_call_end[];
void regmap__slot_device(void);
extern const uint8_t regmap__slot_device_end[];
/* In place of that, for a while: where the device's callback may use vector registers. */
void regmap__slot_handed_call(void);
enum { SLOT_HANDED_AT = -24 };
/* Is it in one of these? */
bool regmap__slot_is_called(uint64_t rip);

#endif
