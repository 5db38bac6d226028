/* SPDX-License-Identifier: MIT */
/*
 * Sites that keep faulting become jumps to slots: which ones, where slots lie, how text is changed
 * and put back. See docs/patching.md, and arch/x86_64/slot.h for what a slot is.
 *
 * Everything here is AS-Safe but for regmap__patch_init(), and allocates by system calls alone.
 */
#ifndef SRC_PATCH_H
#define SRC_PATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../arch/x86_64/slot.h"
#include "../emulator/plan.h"

/* Faults of a site before it is patched; 0: nothing is patched. */
extern _Atomic unsigned regmap__patch_threshold;
/* There has been a patch: until then nothing below needs to be asked. */
extern _Atomic bool regmap__patch_ever;

static inline bool patch_ever(void)
{
	return atomic_load_explicit(&regmap__patch_ever, memory_order_relaxed);
}

/* --- what the handler does --- */

/* An access of @rip's was carried out by a fault: count it, and patch the site if it is time. */
void regmap__patch_count(uint64_t rip, const struct plan *plan, uint64_t address);
/* @address: in the operand, as the kernel said; 0: it didn't. */
static inline void regmap__patch_heat(uint64_t rip, const struct plan *plan, uint64_t address)
{
	if (__builtin_expect(atomic_load_explicit(&regmap__patch_threshold, memory_order_relaxed) !=
	                             0,
	                     0))
		regmap__patch_count(rip, plan, address);
}

/* One site with one sequence of bytes. Never freed, and constant but for what is atomic. */
struct patch {
	uint64_t site;
	uint64_t slot;           /* 0: none, it becomes another instruction in place */
	uint64_t entry;          /* where its jump leads: the slot, or a fragment's own way in */
	struct slot_cell *cell;  /* in writable memory within reach of the slot */
	const struct plan *plan; /* NULL: it never was made whole */
	const struct slot_map *map;
	struct slot_dead dead;      /* what the slot relies on */
	_Atomic uint32_t turn;      /* odd while its bytes change */
	_Atomic uint32_t kind;      /* enum patch_kind: what stands in memory */
	_Atomic uint64_t now[2];    /* the bytes, while it is patched */
	uint64_t hop[4];            /* the latest ones; 0: none */
	uint32_t fragment;          /* that the slot's way in leads to; 0: none */
	bool passes;                /* its slot does nothing but the instruction: see patch_pun.c */
	uint32_t number;            /* its own */
	uint32_t older;             /* of the same site, with other bytes; patch lock */
	_Atomic uint32_t next_here; /* on the same page */
	uint32_t next_back;         /* of those that are taken back together; patch lock */
	bool listed;                /* it is one of those */
};

enum patch_kind { PATCH_NONE, PATCH_IN_PLACE, PATCH_JUMP, PATCH_PUNNED };

/*
 * Where in our code an address lies. In a hop, or where one would be if a debugger's breakpoint bent
 * a punned jump, nothing has happened of the instruction yet: offset -1.
 */
struct patch_place {
	const struct patch *patch; /* NULL: it is in a fragment */
	int offset;                /* in the slot, or the fragment */
	const struct fragment_map *fragment;
};
bool regmap__patch_find(uint64_t rip, struct patch_place *place);

/*
 * An instruction that faulted reads now as @code, @have bytes: is that our jump, or the middle of a
 * change? Then it need only be tried again.
 */
bool regmap__patch_shows(uint64_t rip, const uint8_t *code, size_t have);
/*
 * A general protection fault at @rip: was it the HLT that stands there during a change? In a child
 * that couldn't bring one to an end it may stay: then the slot (in place: the plan) has to do.
 */
enum patch_halt { HALT_NOT, HALT_AGAIN, HALT_STAYS };
enum patch_halt regmap__patch_halted(uint64_t rip, const struct patch **patch);
/* In @code, as it was read at @rip: bytes become the program's own where they are ours. */
void regmap__patch_overlay(uint64_t rip, uint8_t *code, size_t length);
/* The same, for many bytes. Patch lock held. */
void regmap__patch_overlay_all(uint64_t start, uint8_t *code, size_t length);

/* --- what changes mappings --- */

/*
 * Code in a range is about to become writable or to go: patches there are taken back, and none is
 * made until the end. Waits for other threads.
 */
struct patch_leave {
	bool held;
	uint64_t mask;
	uint64_t before; /* how much had been patched */
	unsigned ranges;
	struct {
		uint64_t start, last;
	} range[2];
};
void regmap__patch_leave_begin(struct patch_leave *leave, uint64_t start, uint64_t length);
void regmap__patch_leave_also(struct patch_leave *leave, uint64_t start, uint64_t length);
void regmap__patch_leave_end(struct patch_leave *leave);
/* Wherever there is one, and whoever is making one is waited for. */
void regmap__patch_leave_all(void);

/* What slots need to know of the runtime (lane.h). */
void regmap__patch_request(struct slot_request *request);

/* --- start and fork --- */

/* At the first mapping, not in a handler: what the environment says. */
void regmap__patch_init(void);
void regmap__patch_before_fork(void);
void regmap__patch_after_fork(void);
/* In a child, by its one thread: finish what a thread was in the middle of that isn't there. */
void regmap__patch_forget_others(void);

/* --- patch_room.c: code memory near a site. Patch lock held --- */

/* Room for a slot of SLOT_CODE_MOST bytes and its cell; false: nowhere within reach. */
struct patch_room {
	uint64_t code, view, other;
	struct slot_cell *cell;
	uint64_t data; /* of a fragment */
	struct patch_area *area;
};
bool regmap__room_for_slot(uint64_t near, struct patch_room *room);
/* Room for a fragment of @accesses, at most FRAGMENT_CODE_MOST bytes; only @code and @data are set. */
bool regmap__room_for_fragment(uint64_t near, unsigned accesses, struct patch_room *room);
void regmap__room_keep_fragment(struct patch_room *room, size_t length, unsigned accesses,
                                uint32_t owner);
/* The first @length bytes of it are taken, by patch number @owner. */
void regmap__room_keep(struct patch_room *room, size_t length, uint32_t owner);
/* So far from a hop a jump may lead in circumstances: no code of ours, but nobody else's, either. */
struct hop_strays {
	unsigned count;
	uint64_t away[7];
};
/* @size bytes at first, first + stride, ... or last. */
struct hop_wish {
	uint64_t first, last, stride;
	unsigned size;
	struct hop_strays strays;
};
struct patch_text;
/* For good; 0: there are none. */
uint64_t regmap__room_for_hop(const struct patch_text *text, const struct hop_wish *wish,
                              uint32_t owner);
/* Of a hop that is there. False: another's are in the way. */
bool regmap__room_note_strays(uint64_t hop, const struct hop_strays *strays, uint32_t owner);
/* Has memory been taken there for slots, their data or hops? Lock-free. */
bool regmap__room_is_ours(uint64_t at);
#define ROOM_FRAGMENT (1u << 31)
/* Lock-free: whose code is at @rip (with ROOM_FRAGMENT: a fragment's number), and how far into the slot (-1: a hop). 0: not ours. */
uint32_t regmap__room_owner(uint64_t rip, int *offset);

/* --- patch_pool.c: memory that only grows --- */

enum { POOL_BLOCKS = 1024, POOL_ENTRIES = 1024 };

/* Elements are numbered from 1. */
struct pool {
	size_t size; /* of one element */
	_Atomic uint32_t used;
	void *_Atomic block[POOL_BLOCKS];
};
/* 0: there are 2^20 already, or no memory. Zeroed. Lock-free. */
uint32_t regmap__pool_take(struct pool *pool);
void *regmap__pool_at(struct pool *pool, uint32_t number);

/* In front of a list of numbers that others read meanwhile; by one thread at a time. */
static inline void list_push(_Atomic uint32_t *head, _Atomic uint32_t *next, uint32_t number)
{
	atomic_store_explicit(next, atomic_load_explicit(head, memory_order_relaxed),
	                      memory_order_relaxed);
	atomic_store_explicit(head, number, memory_order_release);
}

/* --- patch_text.c: changing code --- */

struct patch_text {
	long fd; /* /proc/self/mem */
};
bool regmap__text_open(struct patch_text *text);
void regmap__text_close(struct patch_text *text);
bool regmap__text_read(const struct patch_text *text, uint64_t at, void *to, size_t length);
/* Memory that nobody runs yet. */
bool regmap__text_write(const struct patch_text *text, uint64_t at, const void *from,
                        size_t length);
/*
 * Code that others may be running: all sites that change are halted, their tails change, then their
 * first bytes, and after each of these steps regmap__text_sync(). Nothing is changed unless memory
 * shows @from; later steps can't fail, as the page is the process's own by then.
 */
bool regmap__text_halt(const struct patch_text *text, uint64_t at, const uint8_t *from,
                       size_t length);
void regmap__text_tail(const struct patch_text *text, uint64_t at, const uint8_t *to,
                       size_t length);
void regmap__text_head(const struct patch_text *text, uint64_t at, const uint8_t *to);
/* No thread of the process runs instructions any more that it fetched before. */
void regmap__text_sync(void);
/* Can this kernel do all that? Not in a handler. */
bool regmap__text_works(void);

#endif
