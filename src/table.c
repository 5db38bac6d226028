/* SPDX-License-Identifier: MIT */
/*
 * Ordering, everywhere below: readers load with acquire and writers store with release, which costs
 * nothing on x86 and makes fences unnecessary. Memory freed by one change is written to by the next
 * one at the earliest, after the version was bumped: whoever reads a recycled word therefore
 * sees a newer version, too.
 */
#include "table.h"

#include <errno.h>
#include <sys/mman.h>

#include "atomics.h"

enum { CHUNK = 256, ROOT = 252, SLAB = 1 << 20 };

/* What a search reads: the first cache line, four of the starts, and one of the entries. */
struct chunk {
	_Alignas(64) _Atomic uint64_t count;
	_Atomic uint64_t pivot[7]; /* the first start of each eighth but the first */
	_Atomic uint64_t start[CHUNK];
	struct entry {
		_Atomic uint64_t last;
		struct regmap_window *_Atomic window;
	} entry[CHUNK];
	struct chunk *next_free;
};

struct root {
	size_t capacity;              /* of this memory, for good */
	struct chunk *_Atomic *chunk; /* likewise: behind the keys */
	struct root *next_free;
	_Atomic size_t count;
	_Atomic uint64_t key[]; /* each chunk's first start */
};

struct position {
	size_t chunk;
	uint32_t entry;
};

struct table_head regmap__table;

static struct chunk *free_chunks;
static struct chunk *new_chunks; /* never used yet: what nobody needs is never touched */
static size_t new_chunk_count;
static struct root *free_roots; /* all of the present capacity */
static size_t root_capacity = ROOT;
/* The one that has been free for longest comes first: a stale pointer stays stale for a while. */
static struct regmap_window *free_windows, **free_end = &free_windows;
static struct slab {
	struct regmap_window *base;
	size_t count;
} slabs[40]; /* of windows; each twice as large as the one before */
static unsigned slab_count;
static size_t new_windows; /* how many at the end of the last slab were never used */

/* On the way of each access: worth the copies. */
#define INLINE static inline __attribute__((always_inline))

#define BELOW(i) (get(&key[i]) <= address)

/*
 * Which of eight parts: how many of seven keys, @step apart, are <= address. The loads don't wait for
 * each other, and there is no branch.
 */
INLINE size_t part_of_8(const _Atomic uint64_t *key, size_t step, uint64_t address)
{
	size_t low = (size_t)BELOW(0) + BELOW(step) + BELOW(2 * step);
	size_t high = (size_t)BELOW(4 * step) + BELOW(5 * step) + BELOW(6 * step);

	return low + BELOW(3 * step) + high;
}

INLINE size_t count_below(const _Atomic uint64_t *key, size_t n, uint64_t address)
{
	size_t below = 0;

	for (size_t i = 0; i < n; i++)
		below += BELOW(i);
	return below;
}

/* How many of the sorted keys are <= address. */
INLINE size_t upper_bound(const _Atomic uint64_t *key, size_t n, uint64_t address)
{
	size_t below = 0;

	while (n >= 8) {
		size_t step = n / 8, part = part_of_8(key + step, step, address);

		n = part == 7 ? n - 7 * step : step;
		key += part * step;
		below += part * step;
	}
	return below + count_below(key, n, address);
}

/* The same in a chunk, whose unused starts are the highest number: in steps known beforehand. */
INLINE size_t upper_bound_in(const struct chunk *chunk, size_t n, uint64_t address)
{
	enum { STEP = CHUNK / 64 };
	const _Atomic uint64_t *key = chunk->start;
	size_t below;

	_Static_assert(STEP == 4, "three steps");
	if (n < 8)
		return count_below(key, n, address);
	below = part_of_8(chunk->pivot, 1, address) * 8 * STEP;
	below += part_of_8(key + below + STEP, STEP, address) * STEP;
	key += below;
	below += (size_t)BELOW(0) + BELOW(1) + BELOW(2) + BELOW(3);
	return below < n ? below : n;
}

/* Where an address belongs: behind the first @c of @n chunks' starts and @i of @m of the last one's. */
struct spot {
	const struct chunk *chunk; /* NULL: before all windows */
	size_t c, n, i, m;
};

/* One attempt; false when what it read was being recycled. */
INLINE bool find_spot(const struct root *root, uint64_t address, struct spot *s)
{
	s->chunk = NULL;
	s->n = root ? get(&root->count) : 0;
	s->c = s->n ? upper_bound(root->key, s->n, address) : 0;
	if (s->c == 0)
		return true;
	s->chunk = get(&root->chunk[s->c - 1]);
	s->m = get(&s->chunk->count);
	s->i = upper_bound_in(s->chunk, s->m, address);
	return s->i > 0;
}

/* The window at the spot that reaches to the address, and where it ends. */
INLINE struct regmap_window *owner_at(const struct spot *s, uint64_t address, uint64_t *last)
{
	struct regmap_window *w = get(&s->chunk->entry[s->i - 1].window);

	*last = get(&s->chunk->entry[s->i - 1].last);
	while (*last < address && (w = get(&w->parent)))
		*last = window_last(w);
	return w;
}

/* Where the next window starts; 0: there is none. */
static inline uint64_t next_start(const struct root *root, const struct spot *s)
{
	if (s->chunk && s->i < s->m)
		return get(&s->chunk->start[s->i]);
	return s->c < s->n ? get(&root->key[s->c]) : 0;
}

INLINE bool find_in(const struct root *root, uint64_t address, struct table_hit *hit)
{
	uint64_t last = UINT64_MAX, next;
	struct spot s;

	if (!find_spot(root, address, &s))
		return false;
	next = next_start(root, &s);
	hit->window = s.chunk ? owner_at(&s, address, &last) : NULL;
	if (!hit->window)
		last = UINT64_MAX;
	hit->last = next && next - 1 < last ? next - 1 : last;
	return true;
}

/*
 * Page 0 may be the register file, which has holes. Elsewhere the window's own line isn't touched.
 */
static void heed_claims(uint64_t address, struct table_hit *hit)
{
	const struct backing_ops *ops = hit->window ? get(&hit->window->ops) : NULL;
	uint64_t offset = address - (hit->window ? window_start(hit->window) : 0), length;

	if (!ops || !ops->claims)
		return;
	if (!ops->claims(offset, &length))
		hit->window = NULL;
	if (hit->last - address >= length)
		hit->last = address + length - 1;
}

void regmap__table_find(uint64_t address, struct table_hit *hit)
{
	bool ok;

	do {
		hit->version = get(&regmap__table.version);
		ok = find_in(get(&regmap__table.root), address, hit);
		if (ok && __builtin_expect(address < 0x1000, 0))
			heed_claims(address, hit);
	} while (!ok || get(&regmap__table.version) != hit->version);
}

/* --- translation --- */

enum { LEADS_ON = 1 };

/* A window without memory, or none: -errno. See heed_claims(). */
__attribute__((noinline)) static int lead_nowhere(const struct regmap_window *w, uint64_t address,
                                                  unsigned depth)
{
	const struct backing_ops *ops = w ? get(&w->ops) : NULL;
	uint64_t length;

	if (!ops || (ops->claims && !ops->claims(address - window_start(w), &length)))
		return -EFAULT;
	return depth > 0 && ops->claims ? -EOPNOTSUPP : -ENODEV;
}

/* One window of a chain, or none: where it leads to, LEADS_ON, or -errno. */
INLINE int lead(const struct regmap_window *w, uint64_t *address, unsigned depth)
{
	const struct backing_ops *ops = w ? get(&w->ops) : NULL;

	if (!ops || (!ops->host && !ops->forward))
		return lead_nowhere(w, *address, depth);
	if (ops->forward && depth == MAX_ALIASES)
		return -ELOOP;
	*address = window_place(w, *address);
	return ops->forward ? LEADS_ON : 0;
}

/* One attempt, as ever. */
static inline bool translate_in(const struct root *root, uint64_t *address, int *err)
{
	struct spot s;
	uint64_t last;

	for (unsigned depth = 0; find_spot(root, *address, &s); depth++) {
		*err = lead(s.chunk ? owner_at(&s, *address, &last) : NULL, address, depth);
		if (*err != LEADS_ON)
			return true;
	}
	return false;
}

/*
 * What is read of a window is atomic, and may be that of the next window in its memory; but then the
 * version has changed.
 */
int regmap__table_translate(uint64_t address, void **host)
{
	uint64_t version, at;
	bool ok;
	int err;

	do {
		at = address;
		version = get(&regmap__table.version);
		ok = translate_in(get(&regmap__table.root), &at, &err);
	} while (!ok || get(&regmap__table.version) != version);
	if (!err)
		*host = (void *)at;
	return err;
}

/* --- the rest of a lookup --- */

/* The window that ends last below an address in a gap: the outermost of those that start last. */
static bool gap_first_in(const struct root *root, uint64_t address, uint64_t *first)
{
	size_t n = root ? get(&root->count) : 0, c = n ? upper_bound(root->key, n, address) : 0, i;
	const struct regmap_window *w, *up;
	const struct chunk *chunk;

	*first = 0;
	if (c == 0)
		return true;
	chunk = get(&root->chunk[c - 1]);
	i = upper_bound_in(chunk, get(&chunk->count), address);
	if (i == 0)
		return false;
	for (w = get(&chunk->entry[i - 1].window); (up = get(&w->parent)); w = up)
		;
	*first = window_last(w) + 1;
	return true;
}

uint64_t regmap__table_gap_first(uint64_t address)
{
	uint64_t version, first;
	bool ok;

	do {
		version = get(&regmap__table.version);
		ok = gap_first_in(get(&regmap__table.root), address, &first);
	} while (!ok || get(&regmap__table.version) != version);
	return first;
}

/*
 * Where the last window inside of @window ends that begins at or below the address: it is the last
 * to begin there, or the outermost of its parents up to @window.
 */
static bool piece_first_in(const struct root *root, uint64_t address,
                           const struct regmap_window *window, uint64_t *first)
{
	size_t n = root ? get(&root->count) : 0, c = n ? upper_bound(root->key, n, address) : 0, i;
	const struct regmap_window *w, *up;
	const struct chunk *chunk;

	*first = window_start(window);
	if (c == 0)
		return true;
	chunk = get(&root->chunk[c - 1]);
	i = upper_bound_in(chunk, get(&chunk->count), address);
	if (i == 0)
		return false;
	w = get(&chunk->entry[i - 1].window);
	if (w == window)
		return true;
	while ((up = get(&w->parent)) && up != window)
		w = up;
	if (up == window)
		*first = window_last(w) + 1;
	return true;
}

uint64_t regmap__table_piece_first(uint64_t address, const struct regmap_window *window)
{
	uint64_t version, first;
	bool ok;

	do {
		version = get(&regmap__table.version);
		ok = piece_first_in(get(&regmap__table.root), address, window, &first);
	} while (!ok || get(&regmap__table.version) != version);
	return first <= address ? first : address;
}

/* --- memory: from the kernel, never back --- */

static void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool grow_windows(void)
{
	size_t bytes = (size_t)1 << (15 + slab_count);
	struct regmap_window *w;

	if (slab_count == sizeof(slabs) / sizeof(slabs[0]) || !(w = pages(bytes)))
		return false;
	slabs[slab_count].base = w;
	slabs[slab_count++].count = new_windows = bytes / sizeof(*w);
	return true;
}

static struct regmap_window *take_window(void)
{
	const struct slab *slab = &slabs[slab_count - 1];
	struct regmap_window *w = free_windows;

	if (new_windows)
		return &slab->base[slab->count - new_windows--];
	free_windows = w->next_free;
	if (!free_windows)
		free_end = &free_windows;
	return w;
}

struct regmap_window *regmap__window_alloc(void)
{
	struct regmap_window *w;

	if (!new_windows && !free_windows && !grow_windows())
		return NULL;
	w = take_window();
	set(&w->start, 0);
	set(&w->last, 0);
	set(&w->parent, NULL);
	set(&w->ops, NULL);
	set(&w->base, 0);
	set(&w->lock, 0);
	w->known = false;
	w->runs = 0;
	return w;
}

void regmap__window_free(struct regmap_window *window)
{
	window->live = false;
	window->next_free = NULL;
	*free_end = window;
	free_end = &window->next_free;
}

bool regmap__window_is_live(const struct regmap_window *window)
{
	for (unsigned i = 0; i < slab_count; i++) {
		uintptr_t offset = (uintptr_t)window - (uintptr_t)slabs[i].base;

		if (offset < slabs[i].count * sizeof(*window))
			return offset % sizeof(*window) == 0 && window->live;
	}
	return false;
}

/* The rest of the slab before, less than one insertion takes, is lost. */
static bool grow_chunks(void)
{
	struct chunk *slab = pages(SLAB);

	if (!slab)
		return false;
	new_chunks = slab;
	new_chunk_count = SLAB / sizeof(*slab);
	return true;
}

/* Two roots of the present capacity: one for now, one for the change after it. */
static bool grow_roots(void)
{
	size_t bytes = sizeof(struct root) + root_capacity * 2 * sizeof(uint64_t);
	char *p = pages(2 * bytes);

	if (!p)
		return false;
	for (int i = 0; i < 2; i++, p += bytes) {
		struct root *root = (struct root *)p;

		root->capacity = root_capacity;
		root->chunk = (struct chunk *_Atomic *)&root->key[root_capacity];
		root->next_free = free_roots;
		free_roots = root;
	}
	return true;
}

static bool roots_suffice(const struct root *now)
{
	return free_roots && (free_roots->next_free || (now && now->capacity == root_capacity));
}

/* Memory for one insertion and for a removal after it. */
static bool provide_roots(void)
{
	const struct root *now = get(&regmap__table.root);
	struct root *kept = free_roots;
	size_t capacity = root_capacity;

	if (now && get(&now->count) + 2 > root_capacity) {
		root_capacity *= 2;
		free_roots = NULL; /* the smaller ones stay mapped, for late readers */
	}
	if (roots_suffice(now) || grow_roots())
		return true;
	root_capacity = capacity;
	free_roots = kept;
	return false;
}

static bool provide_chunks(void)
{
	const struct chunk *c = free_chunks;

	return new_chunk_count >= 3 || (c && c->next_free && c->next_free->next_free) ||
	       grow_chunks();
}

static struct chunk *take_chunk(void)
{
	struct chunk *chunk = free_chunks;

	if (chunk) {
		free_chunks = chunk->next_free;
	} else {
		chunk = new_chunks++;
		new_chunk_count--;
	}
	set(&chunk->count, 0);
	for (unsigned i = 0; i < CHUNK; i++)
		set(&chunk->start[i], UINT64_MAX);
	return chunk;
}

static void drop_chunk(struct chunk *chunk)
{
	chunk->next_free = free_chunks;
	free_chunks = chunk;
}

/* --- changes --- */

static void append(struct chunk *to, uint64_t start, uint64_t last, struct regmap_window *w)
{
	uint64_t n = get(&to->count);

	set(&to->start[n], start);
	set(&to->entry[n].last, last);
	set(&to->entry[n].window, w);
	set(&to->count, n + 1);
}

static void append_window(struct chunk *to, struct regmap_window *w)
{
	append(to, window_start(w), window_last(w), w);
}

static void append_all(struct chunk *to, const struct chunk *from, uint32_t i, uint32_t end)
{
	for (; i < end; i++)
		append(to, get(&from->start[i]), get(&from->entry[i].last),
		       get(&from->entry[i].window));
}

static struct chunk *chunk_at(size_t c)
{
	return get(&get(&regmap__table.root)->chunk[c]);
}

static size_t chunk_count(void)
{
	const struct root *root = get(&regmap__table.root);

	return root ? get(&root->count) : 0;
}

static struct regmap_window *window_at(struct position p)
{
	return p.chunk < chunk_count() ? get(&chunk_at(p.chunk)->entry[p.entry].window) : NULL;
}

static bool comes_before(const struct chunk *chunk, uint32_t i, uint64_t start, uint64_t last)
{
	uint64_t s = get(&chunk->start[i]);

	return s < start || (s == start && get(&chunk->entry[i].last) > last);
}

/* Where a window belongs: behind the entries that come before it. */
static struct position place_of(uint64_t start, uint64_t last)
{
	size_t low = 0, high = chunk_count();
	struct position p = {0, 0};
	uint32_t end;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (comes_before(chunk_at(middle), 0, start, last))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return p;
	p.chunk = low - 1;
	for (end = get(&chunk_at(p.chunk)->count); p.entry < end;) {
		uint32_t middle = (p.entry + end) / 2;

		if (comes_before(chunk_at(p.chunk), middle, start, last))
			p.entry = middle + 1;
		else
			end = middle;
	}
	return p;
}

/* The place of the next entry: a position may point behind the last one of its chunk. */
static struct position settle(struct position p)
{
	if (p.chunk < chunk_count() && p.entry >= get(&chunk_at(p.chunk)->count))
		p = (struct position){p.chunk + 1, 0};
	return p;
}

static struct position advance(struct position p)
{
	p.entry++;
	return settle(p);
}

/* The smallest window around the range, if what comes before its place doesn't cross it. */
static int find_parent(struct position p, uint64_t start, uint64_t last,
                       struct regmap_window **parent)
{
	struct regmap_window *w = NULL;

	if (p.entry > 0)
		w = get(&chunk_at(p.chunk)->entry[p.entry - 1].window);
	while (w && window_last(w) < start)
		w = get(&w->parent);
	*parent = w;
	return w && window_last(w) < last ? -EEXIST : 0;
}

int regmap__table_fits(uint64_t start, uint64_t last, struct regmap_window **parent)
{
	struct position p = place_of(start, last);
	const struct regmap_window *w;
	int err = find_parent(p, start, last, parent);

	for (p = settle(p); !err && (w = window_at(p)) && window_start(w) <= last; p = advance(p))
		if (window_last(w) > last || (window_start(w) == start && window_last(w) == last))
			err = -EEXIST;
	return err;
}

/* Hand the children of one window to another: those in its range that have this parent. */
static void adopt(const struct regmap_window *range, struct regmap_window *from,
                  struct regmap_window *to)
{
	struct position p = settle(place_of(window_start(range), window_last(range)));
	struct regmap_window *w;

	for (; (w = window_at(p)) && window_start(w) <= window_last(range); p = advance(p))
		if (w != range && get(&w->parent) == from)
			set(&w->parent, to);
}

static void copy_slots(struct root *to, const struct root *from, size_t first, size_t end)
{
	size_t n = get(&to->count);

	for (; first < end; first++, n++) {
		set(&to->key[n], get(&from->key[first]));
		set(&to->chunk[n], get(&from->chunk[first]));
	}
	set(&to->count, n);
}

static void append_chunk(struct root *to, struct chunk *chunk)
{
	size_t n = get(&to->count);

	for (unsigned i = 0; i < 7; i++)
		set(&chunk->pivot[i], get(&chunk->start[(i + 1) * CHUNK / 8]));
	set(&to->key[n], get(&chunk->start[0]));
	set(&to->chunk[n], chunk);
	set(&to->count, n + 1);
}

static void publish(struct root *root)
{
	struct root *old = get(&regmap__table.root);

	set(&regmap__table.root, root);
	atomic_fetch_add(&regmap__table.version, 1);
	if (old && old->capacity == root_capacity) {
		old->next_free = free_roots;
		free_roots = old;
	}
}

/* Put the non-empty chunks of a and b in the place of `gone` chunks from c on, and publish. */
static void replace(size_t c, size_t gone, struct chunk *a, struct chunk *b)
{
	struct root *root = free_roots, *old = get(&regmap__table.root);
	struct chunk *dead[2] = {NULL, NULL};

	for (size_t i = 0; i < gone; i++)
		dead[i] = chunk_at(c + i);
	free_roots = root->next_free;
	set(&root->count, 0);
	if (old)
		copy_slots(root, old, 0, c);
	if (a)
		append_chunk(root, a);
	if (b)
		append_chunk(root, b);
	if (old)
		copy_slots(root, old, c + gone, get(&old->count));
	publish(root);
	for (int i = 0; i < 2; i++)
		if (dead[i])
			drop_chunk(dead[i]);
}

static void insert_split(struct position p, const struct chunk *full, struct regmap_window *w)
{
	enum { HALF = CHUNK / 2 };
	struct chunk *a = take_chunk(), *b = take_chunk();

	append_all(a, full, 0, p.entry < HALF ? p.entry : HALF);
	if (p.entry < HALF) {
		append_window(a, w);
		append_all(a, full, p.entry, HALF);
		append_all(b, full, HALF, CHUNK);
	} else {
		append_all(b, full, HALF, p.entry);
		append_window(b, w);
		append_all(b, full, p.entry, CHUNK);
	}
	replace(p.chunk, 1, a, b);
}

static void insert_grow(struct position p, const struct chunk *old, struct regmap_window *w)
{
	struct chunk *a = take_chunk();

	append_all(a, old, 0, p.entry);
	append_window(a, w);
	append_all(a, old, p.entry, get(&old->count));
	replace(p.chunk, 1, a, NULL);
}

/* A full chunk becomes two, but for one that grows at the end of the table: it stays full. */
static void insert_at(struct position p, struct regmap_window *w)
{
	const struct chunk *old = p.chunk < chunk_count() ? chunk_at(p.chunk) : NULL;
	struct chunk *a;

	if (old && get(&old->count) < CHUNK) {
		insert_grow(p, old, w);
	} else if (old && (p.entry < CHUNK || p.chunk + 1 < chunk_count())) {
		insert_split(p, old, w);
	} else {
		a = take_chunk();
		append_window(a, w);
		replace(old ? p.chunk + 1 : 0, 0, a, NULL);
	}
}

/*
 * Readers may climb to the new window before the root holds it: so it must be whole by then, and
 * nothing may fail any more.
 */
int regmap__table_insert(struct regmap_window *window)
{
	struct position p = place_of(window_start(window), window_last(window));
	struct regmap_window *parent;

	if (!provide_roots() || !provide_chunks())
		return -ENOMEM;
	find_parent(p, window_start(window), window_last(window), &parent);
	set(&window->parent, parent);
	adopt(window, parent, window);
	insert_at(p, window);
	return 0;
}

void regmap__table_remove(struct regmap_window *window)
{
	struct position p = settle(place_of(window_start(window), window_last(window)));
	struct chunk *old = chunk_at(p.chunk), *next, *a = NULL;
	uint32_t n = get(&old->count);
	bool merge;

	adopt(window, window, get(&window->parent));
	next = p.chunk + 1 < chunk_count() ? chunk_at(p.chunk + 1) : NULL;
	merge = next && n - 1 + get(&next->count) <= CHUNK / 2;
	if (n > 1 || merge) {
		a = take_chunk();
		append_all(a, old, 0, p.entry);
		append_all(a, old, p.entry + 1, n);
		if (merge)
			append_all(a, next, 0, get(&next->count));
	}
	replace(p.chunk, merge ? 2 : 1, a, NULL);
}

void regmap__table_each(void (*act)(struct regmap_window *window))
{
	struct regmap_window *w;

	for (struct position p = {0, 0}; (w = window_at(p)); p = advance(p))
		act(w);
}

/* In the order of the table, each window's parent is the one before it or one of that one's. */
static void find_parents(void)
{
	struct regmap_window *before = NULL, *w;

	for (struct position p = {0, 0}; (w = window_at(p)); p = advance(p)) {
		while (before && window_last(before) < window_start(w))
			before = get(&before->parent);
		set(&w->parent, before);
		w->live = true;
		before = w;
	}
}

/* The lists of free memory may be torn: what was on them is lost. */
int regmap__table_repair(void)
{
	free_chunks = NULL;
	new_chunk_count = 0;
	free_roots = NULL;
	free_windows = NULL;
	free_end = &free_windows;
	new_windows = 0;
	find_parents();
	return provide_roots() && provide_chunks() ? 0 : -ENOMEM;
}
