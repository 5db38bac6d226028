/* SPDX-License-Identifier: MIT */
/*
 * A layout under construction. What is public of it, struct regmap_layout, comes first, so that the
 * two are one pointer; all that it points to lives in the layout's arena and is freed with it.
 *
 * Whatever is added takes its place in the order at once, and its name is known: a layout can be
 * searched at any time. regmap__layout_finish() checks what only the whole shows.
 */
#ifndef DESCRIBE_LAYOUT_H
#define DESCRIBE_LAYOUT_H

#include <regmap/device.h>

struct layout_arena; /* chunks of memory; freed together */

/* Pointers in an order; in the arena. */
struct layout_list {
	const void **at;
	size_t count, capacity;
};

enum name_kind {
	NAME_SPACE,
	NAME_REGION,
	NAME_PERIPHERAL,
	NAME_REGISTER,
	NAME_FIELD,
};

/* One named thing. Whatever has a name has it as its first member. */
struct name_entry {
	const void *parent; /* the peripheral of a register, the register of a field; else NULL */
	const void *thing;
	uint32_t hash;
	enum name_kind kind;
};

/* A hash table of them. Entries stand in the order in which they came, so that the last can go again. */
struct names {
	struct name_entry *entries;
	uint32_t *slots; /* 1 + an index of entries; 0: free */
	size_t count, capacity, slot_count;
};

/* Where one region or peripheral is the innermost, or none; up to where the next begins. */
struct layout_span {
	uint64_t start;
	const void *thing; /* NULL: none */
};

/* By start; malloc()ed. */
struct layout_spans {
	struct layout_span *at;
	size_t count;
};

struct layout_region {
	struct regmap_region pub;
	const struct layout_region *parent; /* the smallest that it lies in */
	bool is_made;                       /* for a peripheral that lay in none */
	unsigned depth;                     /* 1: in none. Known when finished */
	unsigned char mark;                 /* of the search for circles */
};

struct layout_peripheral {
	struct regmap_peripheral pub;
	struct layout_list registers;
	size_t order; /* how many came before */
};

struct layout {
	struct regmap_layout pub;
	struct layout_arena *arena;
	struct layout_list spaces, regions, peripherals, rules;
	struct names names;
	const char *file; /* the last that a thing was described in */
	size_t made;      /* regions made by finish: the last names are theirs */
	struct layout_spans region_spans, peripheral_spans; /* as of when it was finished */
	bool has_spans;   /* of regions: these don't change any more */
	bool is_finished; /* since then nothing was added */
	bool is_overlay;  /* said `overlay = true` */
	bool insists;     /* said `allocate_at_once = true` */
};

static inline struct layout *layout_of(const struct regmap_layout *l)
{
	return (struct layout *)l;
}

static inline const struct layout_region *region_of(const struct regmap_region *r)
{
	return (const struct layout_region *)r;
}

static inline uint64_t region_last(const struct regmap_region *r)
{
	return r->address + (r->length - 1);
}

static inline uint64_t peripheral_last(const struct regmap_peripheral *p)
{
	return p->address + (p->length - 1);
}

/* All bits of a register or field of so many. */
static inline uint64_t layout_ones(unsigned bits)
{
	return bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
}

static inline bool same_range(const struct regmap_peripheral *a, const struct regmap_peripheral *b)
{
	return a->address == b->address && a->length == b->length;
}

/* NULL: no memory. Zeroed. */
void *regmap__layout_alloc(struct layout *l, size_t size);
/* A copy in the arena; NULL becomes "". */
const char *regmap__layout_string(struct layout *l, const char *s);
const char *regmap__layout_string_n(struct layout *l, const char *s, size_t length);

/* Room for @more; -ENOMEM. Then inserting can't fail. */
int regmap__list_reserve(struct layout *l, struct layout_list *list, size_t more);
void regmap__list_insert(struct layout_list *list, size_t index, const void *thing);

/*
 * What every loader ends with: make regions for peripherals that lie in none, check everything that
 * one alone doesn't show (alias targets, circles, max_memory). -EINVAL, -ENOMEM. May be called again after more
 * was added; regions that it made are made anew then.
 */
int regmap__layout_finish(struct layout *l, struct regmap_error *error);

/* An equal one; finished if @from is. -ENOMEM. */
int regmap__layout_copy(const struct regmap_layout *from, struct layout **out);
/* Each becomes the other: how a change of a layout takes effect all at once. */
void regmap__layout_swap(struct layout *a, struct layout *b);

/* regmap_layout_add_rule() with the place where it stands. Its scope may also name a field. */
int regmap__layout_add_rule(struct layout *l, const char *scope, const char *text,
                            const struct regmap_source *source, struct regmap_error *error);
/* regmap_layout_add_peripheral() of one whose registers, with all that they lead to, are in the arena: they are kept. */
int regmap__layout_adopt_peripheral(struct layout *l, const struct regmap_peripheral *peripheral,
                                    struct regmap_error *error);
/* Before anything is added: regions that finish has made go. */
void regmap__layout_unfinish(struct layout *l);
/* Laying a region that has been checked: -EEXIST it crosses another, -ENOMEM. */
int regmap__layout_place_region(struct layout *l, struct layout_region *r,
                                struct regmap_error *error);

/* "file:line:column: " and the text, into @error (may be NULL). Returns @err. */
int regmap__layout_wrong(struct regmap_error *error, int err, const struct regmap_source *where,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- words for people ---- */

/* As in a description. */
const char *regmap__region_type_name(enum regmap_region_type type);
static inline bool regmap__region_has_target(const struct regmap_region *r)
{
	return r->type == REGMAP_REGION_ALIAS || r->type == REGMAP_REGION_BITBAND ||
	       r->type == REGMAP_REGION_REVERSED;
}

/* regmap_layout_print_map() with more at the end of each region's line. */
typedef void (*regmap_print_fn)(void *ctx, const struct regmap_region *region, FILE *to);
int regmap__layout_print(const struct regmap_layout *layout, FILE *to, regmap_print_fn more,
                         void *ctx);

/* ---- names ---- */

int regmap__names_reserve(struct names *names, size_t more);
/* Room must be there. -EEXIST: a thing of that kind and parent is spelt just so; it isn't added. */
int regmap__names_add(struct names *names, enum name_kind kind, const void *parent,
                      const void *thing);
/* Back to when there were @count. */
void regmap__names_cut(struct names *names, size_t count);
/*
 * The first such thing, or NULL. If not @exactly, case doesn't count, nor do square brackets, and a dot
 * is an underscore: "CH[0].CR" finds "ch0_cr".
 */
const void *regmap__names_find(const struct names *names, enum name_kind kind, const void *parent,
                               const char *name, size_t length, bool exactly);

/* ---- addresses ---- */

/* The innermost region, or NULL; @last: where that ends being so. */
const struct regmap_region *regmap__layout_region_at(const struct regmap_layout *layout,
                                                     uint64_t address, uint64_t *last);
/* The first region that begins at or behind @address, by its index. */
size_t regmap__layout_region_from(const struct regmap_layout *layout, uint64_t address);

#endif
