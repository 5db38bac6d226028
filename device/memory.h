/* SPDX-License-Identifier: MIT */
/*
 * What regions hold, and the windows over them. Each device has an address space of its own at
 * non-canonical addresses, where every region is a window from the start; what regmap_device_map() lays
 * elsewhere are aliases of these.
 */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

#include <stdatomic.h>

#include "inside.h"

/* Guest addresses have this many bits in an address space of a device's own. */
enum { SPACE_BITS = 56 };

int regmap__memory_new(struct regmap_device *device, struct memory **out,
                       struct regmap_error *error);
/* Takes all windows away, and waits for accesses under way: nothing is called any more. */
void regmap__memory_unmap(struct memory *memory);
void regmap__memory_free(struct memory *memory);

/* Rule steps. @length 0: the sector that holds @address. -EFAULT: no flash or storage there. */
int regmap__memory_erase(struct memory *memory, uint64_t address, uint64_t length);

/* Once there are registers: what calls access, which no window counts, is counted there. */
void regmap__memory_link(struct memory *memory);

/*
 * Registers without models and watches use no vector registers, so patched sites need not keep them. Before
 * the first of those: no access that relies on that is under way any more when this returns. 0;
 * -EDEADLK: in the middle of accesses that wait for each other. And when none is left any more.
 */
int regmap__memory_leave_general(struct memory *memory);
void regmap__memory_enter_general(struct memory *memory);

/* ---- for the files of memory ---------------------------------------------------------------------- */

enum part_kind {
	PART_RAM,     /* memory to those who read and those who write */
	PART_FLASH,   /* memory to those who read; writes are taken by flash.c */
	PART_MMIO,    /* registers.h */
	PART_ALIAS,   /* what is at its target */
	PART_BITBAND, /* bitband.c */
	PART_REVERSED,
	PART_CLOSED, /* nobody is there, or nobody may */
};

/*
 * Large memory that isn't zero at first comes in blocks: each gets its memory, and the window over that,
 * when it is first touched.
 */
struct block {
	struct part *_Atomic part;
	_Atomic uint64_t first, length; /* guest address, bytes */
	struct regmap_window *window;
	uint8_t *_Atomic host; /* NULL: untouched */
	struct block *before;  /* the one that was touched before */
};

/* A region. */
struct part {
	const struct regmap_region *region;
	struct regmap_device *device;
	const struct part *parent; /* the smallest around it */
	enum part_kind kind;
	uint64_t
		at; /* where its memory, or what it leads to, is accessed without a look at widths */
	struct regmap_window *window;
	struct regmap_window *face; /* looks at widths and directions before @window is asked */
	uint8_t *host;              /* PART_RAM, PART_FLASH: all of it; NULL: it is in blocks */
	struct block *blocks;
	uint64_t blocks_bytes;
	struct block *_Atomic touched;    /* the last one */
	_Atomic uint64_t *reads, *writes; /* of registers.h */
};

/* An alias in the program's address space. */
struct mapped {
	struct regmap_window *window;
	const struct part *part;
	uint64_t offset;
};

struct memory {
	struct regmap_device *device;
	struct part *parts; /* as the layout's regions */
	size_t count;
	struct mapped *mapped;
	size_t mapped_count, mapped_room;
	bool allocated;
	bool populated; /* all that there was to take, is taken, and again after a reset */
};

static inline uint64_t part_last(const struct part *part)
{
	return part->region->address + (part->region->length - 1);
}

static inline bool part_has_memory(const struct part *part)
{
	return part->kind == PART_RAM || part->kind == PART_FLASH;
}

/*
 * Set before a device is made: its memory isn't mapped directly, and every access to it is counted and
 * seen by regmap_device_watch(), as those to registers are.
 */
extern bool regmap__memory_is_watched;

/* The innermost region at an address, NULL: none; @last: where that answer ends. AS-Safe. */
struct part *regmap__part_at(const struct memory *memory, uint64_t address, uint64_t *last);

/* The same along aliases; the address becomes the original's. */
struct part *regmap__part_resolve(const struct memory *memory, uint64_t *address);

/* Where a byte of it is accessed without a look at widths. */
static inline uint64_t regmap__part_place(const struct part *part, uint64_t address)
{
	return part->at + (address - part->region->address);
}

/* Where a byte of a reversed alias is: bytes keep their order within a word. Guest address. */
static inline uint64_t regmap__reverse(const struct part *part, uint64_t offset)
{
	const struct regmap_region *r = part->region;

	return r->target + (r->length - 4 - (offset & -4ULL)) + offset % 4;
}

/*
 * The memory behind an address, along aliases, whatever may be done with it: it is there when this
 * returns. @run: bytes from there on; @part: may be NULL. 0; -EFAULT nothing there; -ENODEV no memory;
 * -ENOMEM. AS-Safe.
 */
int regmap__memory_host(const struct memory *memory, uint64_t address, uint8_t **host,
                        uint64_t *run, struct part **part);
/* The same for who only looks: untouched blocks stay so, and *@host is NULL then. */
int regmap__memory_look(const struct memory *memory, uint64_t address, uint8_t **host,
                        uint64_t *run, struct part **part);

/* What rules do with memory, whatever its rules: memory_rules.c. Where none is, 0, and nothing. AS-Safe. */
uint8_t regmap__memory_get_byte(const struct memory *memory, uint64_t address);
void regmap__memory_set_byte(const struct memory *memory, uint64_t address, uint8_t value);
/* Upwards, byte by byte, at most REGMAP__COPY_MOST. */
enum { REGMAP__COPY_MOST = 1 << 20 };
void regmap__memory_copy(const struct memory *memory, uint64_t to, uint64_t from, uint64_t length);

/* The files that regions have for their first content: images.c. */
int regmap__content_load(struct regmap_device *device, struct regmap_error *error);

/* What its memory consists of at first. */
uint8_t regmap__part_fill(const struct part *part);
/* All of it as at first, but for images. */
void regmap__part_clear(struct part *part, bool keep);

/* blocks.c */
bool regmap__blocks_needed(const struct part *part);
/* The window over all of it that fills blocks. 0 or -errno, nothing left behind. */
int regmap__blocks_map(struct part *part);
void regmap__blocks_unmap(struct part *part);
/*
 * The memory at an address and how many bytes of the block follow. If it isn't touched yet, it is laid
 * or, unless @lay, NULL. 0 or -errno. AS-Safe.
 */
int regmap__block_at(struct part *part, uint64_t address, bool lay, uint8_t **host, uint64_t *run);

/* flash.c: a write as the flash's rules take it. @host: where @address is. 0 or -errno: a bus error. */
int regmap__flash_take(struct part *part, uint64_t address, uint8_t *host, unsigned width,
                       uint64_t value);
extern const struct regmap_device_ops regmap__flash_ops; /* ctx: the part */

/* mmio.c, narrow.c, bitband.c: ctx: the part */
extern const struct regmap_device_ops regmap__mmio_ops;
extern const struct regmap_device_ops regmap__narrow_ops;
extern const struct regmap_device_ops regmap__bitband_ops;
extern const struct regmap_device_ops regmap__reversed_ops;

#endif
