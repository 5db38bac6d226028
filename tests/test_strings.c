/* SPDX-License-Identifier: MIT */
/* LDLIBS: -ldl */
/*
 * The C library's string functions on trapped windows, each in all of the variants that this CPU
 * can run: result and memory are those of the same variant on plain memory. glibc has a list of its
 * variants. In processes with GLIBC_TUNABLES the same is tried with what a program would get, and
 * with the loops for large sizes.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "arena.h"
#include "child.h"

enum {
	ROOM = 256 << 10,
	MARGIN = 160,
	LENGTHS = 301,
	LONGEST = 62000,
	VARIANTS = 32,
	PATIENCE = 120
};

/* Calling each kind of function. A pointer into the first operand comes back as an offset. */

typedef void (*any_fn)(void);

struct operands {
	uint8_t *a, *b;
	size_t n, m; /* elements; in the needle or the set */
	int c;
};

typedef uint64_t (*call_fn)(any_fn f, const struct operands *o);

static uint64_t offset(const struct operands *o, const void *p)
{
	return p ? (uint64_t)((uintptr_t)p - (uintptr_t)o->a) : UINT64_MAX;
}

static uint64_t p_ppn(any_fn f, const struct operands *o)
{
	return offset(o, ((void *(*)(void *, const void *, size_t))f)(o->a, o->b, o->n));
}

/* The checked forms get the size of the destination. */
static uint64_t p_ppnn(any_fn f, const struct operands *o)
{
	return offset(o,
	              ((void *(*)(void *, const void *, size_t, size_t))f)(o->a, o->b, o->n, o->n));
}

static uint64_t p_pcn(any_fn f, const struct operands *o)
{
	return offset(o, ((void *(*)(void *, int, size_t))f)(o->a, o->c, o->n));
}

static uint64_t p_pcnn(any_fn f, const struct operands *o)
{
	return offset(o, ((void *(*)(void *, int, size_t, size_t))f)(o->a, o->c, o->n, o->n));
}

static uint64_t p_pnpn(any_fn f, const struct operands *o)
{
	void *(*g)(void *, size_t, const void *,
	           size_t) = (void *(*)(void *, size_t, const void *, size_t))f;

	return offset(o, g(o->a, o->n, o->b, o->m));
}

static uint64_t p_pp(any_fn f, const struct operands *o)
{
	return offset(o, ((void *(*)(void *, const void *))f)(o->a, o->b));
}

static uint64_t p_pc(any_fn f, const struct operands *o)
{
	return offset(o, ((void *(*)(void *, int))f)(o->a, o->c));
}

static uint64_t i_ppn(any_fn f, const struct operands *o)
{
	return (uint64_t)((int (*)(const void *, const void *, size_t))f)(o->a, o->b, o->n);
}

static uint64_t i_pp(any_fn f, const struct operands *o)
{
	return (uint64_t)((int (*)(const void *, const void *))f)(o->a, o->b);
}

static uint64_t n_p(any_fn f, const struct operands *o)
{
	return ((size_t(*)(const void *))f)(o->a);
}

static uint64_t n_pn(any_fn f, const struct operands *o)
{
	return ((size_t(*)(const void *, size_t))f)(o->a, o->n);
}

static uint64_t n_pp(any_fn f, const struct operands *o)
{
	return ((size_t(*)(const void *, const void *))f)(o->a, o->b);
}

/* The functions, and what their operands look like */

enum shape {
	COPY,           /* n elements of b to a */
	OVERLAP,        /* the same, both in one place */
	FILL,           /* n elements of a with c */
	FIND,           /* c in n elements of a */
	FIND_SURE,      /* c in a, where it certainly is */
	DIFFER,         /* n elements of a and b */
	STRING,         /* a is terminated */
	BOUNDED,        /* a is terminated, or n elements long */
	STRING_COPY,    /* the same for b, with room at a */
	BOUNDED_COPY,   /* fills n elements */
	STRING_APPEND,  /* a string at a, too */
	BOUNDED_APPEND, /* the same, of at most n elements */
	STRING_DIFFER,  /* two strings */
	BOUNDED_DIFFER, /* or n elements without an end */
	SET,            /* b is a short string */
	NEEDLE,         /* which may well be in a */
	NEEDLE_COUNTED, /* neither is terminated */
};

struct row {
	const char *name;
	call_fn call;
	enum shape shape;
	unsigned unit;   /* bytes of an element */
	unsigned rounds; /* for each variant */
};

static const struct row rows[] = {
	{"memcpy", p_ppn, COPY, 1, 1024},
	{"mempcpy", p_ppn, COPY, 1, 512},
	{"memmove", p_ppn, OVERLAP, 1, 1024},
	{"__memcpy_chk", p_ppnn, COPY, 1, 128},
	{"__mempcpy_chk", p_ppnn, COPY, 1, 128},
	{"__memmove_chk", p_ppnn, OVERLAP, 1, 128},
	{"memset", p_pcn, FILL, 1, 1024},
	{"__memset_chk", p_pcnn, FILL, 1, 128},
	{"memcmp", i_ppn, DIFFER, 1, 1024},
	{"__memcmpeq", i_ppn, DIFFER, 1, 512},
	{"memchr", p_pcn, FIND, 1, 1024},
	{"memrchr", p_pcn, FIND, 1, 1024},
	{"rawmemchr", p_pc, FIND_SURE, 1, 512},
	{"memmem", p_pnpn, NEEDLE_COUNTED, 1, 256},
	{"strlen", n_p, STRING, 1, 1024},
	{"strnlen", n_pn, BOUNDED, 1, 1024},
	{"strcpy", p_pp, STRING_COPY, 1, 1024},
	{"stpcpy", p_pp, STRING_COPY, 1, 1024},
	{"strncpy", p_ppn, BOUNDED_COPY, 1, 1024},
	{"stpncpy", p_ppn, BOUNDED_COPY, 1, 512},
	{"strcat", p_pp, STRING_APPEND, 1, 1024},
	{"strncat", p_ppn, BOUNDED_APPEND, 1, 1024},
	{"strcmp", i_pp, STRING_DIFFER, 1, 1024},
	{"strncmp", i_ppn, BOUNDED_DIFFER, 1, 1024},
	{"strcasecmp", i_pp, STRING_DIFFER, 1, 512},
	{"strncasecmp", i_ppn, BOUNDED_DIFFER, 1, 512},
	{"strchr", p_pc, STRING, 1, 1024},
	{"strchrnul", p_pc, STRING, 1, 512},
	{"strrchr", p_pc, STRING, 1, 1024},
	{"strstr", p_pp, NEEDLE, 1, 256},
	{"strcasestr", p_pp, NEEDLE, 1, 128},
	{"strspn", n_pp, SET, 1, 256},
	{"strcspn", n_pp, SET, 1, 256},
	{"strpbrk", p_pp, SET, 1, 256},
	{"wcslen", n_p, STRING, 4, 512},
	{"wcsnlen", n_pn, BOUNDED, 4, 256},
	{"wcscpy", p_pp, STRING_COPY, 4, 256},
	{"wcsncpy", p_ppn, BOUNDED_COPY, 4, 128},
	{"wcscat", p_pp, STRING_APPEND, 4, 128},
	{"wcscmp", i_pp, STRING_DIFFER, 4, 512},
	{"wcsncmp", i_ppn, BOUNDED_DIFFER, 4, 256},
	{"wcschr", p_pc, STRING, 4, 512},
	{"wcsrchr", p_pc, STRING, 4, 512},
	{"wcsstr", p_pp, NEEDLE, 4, 64},
	{"wmemcpy", p_ppn, COPY, 4, 128},
	{"wmemset", p_pcn, FILL, 4, 512},
	{"__wmemset_chk", p_pcnn, FILL, 4, 128},
	{"wmemchr", p_pcn, FIND, 4, 512},
	{"wmemcmp", i_ppn, DIFFER, 4, 512},
};

enum { ROWS = sizeof(rows) / sizeof(*rows) };

/* The variants of a function: glibc's own list, which its test suite goes by. */

struct variant {
	const char *name;
	any_fn fn;
	bool usable;
};

typedef size_t (*list_fn)(const char *, struct variant *, size_t);

static any_fn resolved(const char *name)
{
	return (any_fn)(uintptr_t)dlsym(RTLD_DEFAULT, name);
}

static size_t variants_of(const char *name, struct variant *to, bool resolved_only)
{
	void *symbol = dlvsym(RTLD_DEFAULT, "__libc_ifunc_impl_list", "GLIBC_PRIVATE");
	list_fn list = (list_fn)(uintptr_t)symbol;
	size_t n = list ? list(name, to, VARIANTS) : 0, kept = 0;
	any_fn own = resolved(name);

	for (size_t i = 0; i < n; i++)
		if (to[i].usable && (!resolved_only || to[i].fn == own))
			to[kept++] = to[i];
	if (!kept && own)
		to[kept++] = (struct variant){name, own, true};
	return kept;
}

/*
 * Places: the last is plain memory. Second operands reach up to the last byte of the address space,
 * but not first ones: a pointer past them would be NULL.
 */

enum { PLACES = 6, PLAIN = PLACES - 1 };

static struct t_place place_a[PLACES], place_b[PLACES], expect_a, expect_b;

static void lay_row(struct t_place *to, uint64_t skew)
{
	to[0] = t_place_host(0xffff880000000000 + skew, ROOM);
	to[1] = t_place_ram(0x40000000 + skew, ROOM);
	to[2] = t_place_alias(0x4545000000000000 + skew, &to[1]);
	to[3] = t_place_edge(0x50000000 + skew, ROOM);
	to[4] = t_place_ram(-(uint64_t)ROOM - 0x8000000 + skew, ROOM);
	to[PLAIN] = t_place_plain(ROOM);
}

static int lay_all(void **state)
{
	(void)state;
	lay_row(place_a, 0);
	lay_row(place_b, 0x8000000);
	expect_a = t_place_plain(ROOM);
	expect_b = t_place_plain(ROOM);
	return 0;
}

/* One call, planned */

struct job {
	const struct row *row;
	const struct t_place *a, *b;
	size_t a_size, b_size; /* bytes that the operands may touch */
	size_t a_at, b_at;     /* where they are in their places */
	struct operands o;
};

static uint64_t seed;

static size_t below(size_t n)
{
	return n ? t_random(&seed) % n : 0;
}

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Content, in expect_a and expect_b first. An alphabet small enough for finds and matches. */

static uint32_t letter(unsigned unit)
{
	static const uint32_t of[] = {'a', 'A', 'b', 'B', 0xe1, 0x10061, 'c', 'd'};
	uint32_t c = of[below(8)];

	return unit == 1 ? c & 0xff : c;
}

static void put(uint8_t *to, unsigned unit, size_t at, uint32_t value)
{
	memcpy(to + at * unit, &value, unit);
}

static void put_letters(uint8_t *to, unsigned unit, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put(to, unit, i, letter(unit));
}

static void spoil(const struct t_place *p, size_t at, size_t size)
{
	size_t from = at > MARGIN ? at - MARGIN : 0, to = min(at + size + MARGIN, ROOM);

	t_random_fill(&seed, p->host + from, to - from);
}

/* Two operands with a long common start */
static void write_pair(struct job *j, size_t length, size_t n)
{
	uint8_t *a = expect_a.host + j->a_at, *b = expect_b.host + j->b_at;
	unsigned unit = j->row->unit;

	put_letters(a, unit, length);
	memcpy(b, a, n * unit);
	if (n && below(4))
		put(b, unit, min(below(n) + below(n), n - 1), letter(unit));
	if (n && !below(8))
		put(b, unit, below(n), 0);
}

/* Elements in a string of @length that an operation bounded by @n may look at */
static size_t seen(size_t length, size_t n)
{
	return min(length + 1, n);
}

static void terminate(uint8_t *at, const struct job *j, size_t size, size_t length)
{
	if (length * j->row->unit < size)
		put(at, j->row->unit, length, 0);
}

/* How large the operands are. @length: elements. */
static void plan_sizes(struct job *j, size_t length)
{
	size_t n = length, m = below(9), a = length, b = length;

	switch (j->row->shape) {
	case COPY:
	case OVERLAP:
	case DIFFER: break;
	case FILL:
	case FIND: b = 0; break;
	case FIND_SURE:
	case STRING: a++, b = 0; break;
	case BOUNDED: n = below(2 * length + 2), a = seen(length, n), b = 0; break;
	case STRING_COPY:
	case STRING_DIFFER: a++, b++; break;
	case BOUNDED_COPY: n = below(2 * length + 2), a = n, b = seen(length, n); break;
	case STRING_APPEND: m = below(100), a += m + 1, b++; break;
	case BOUNDED_APPEND:
		n = below(2 * length + 2), m = below(100);
		a = m + min(n, length) + 1, b = seen(length, n);
		break;
	case BOUNDED_DIFFER: n = below(2 * length + 2), a = b = seen(length, n); break;
	case SET:
	case NEEDLE: a++, b = m + 1; break;
	case NEEDLE_COUNTED: b = m; break;
	}
	j->o = (struct operands){.n = n, .m = m, .c = (int)letter(j->row->unit)};
	j->a_size = a * j->row->unit;
	j->b_size = b * j->row->unit;
}

/* At the start, at the end, across the middle, or anywhere; any alignment that the unit allows */
static size_t position(unsigned i, size_t size, unsigned unit)
{
	size_t free = ROOM - size, half = ROOM / 2, at;

	switch (i % 4) {
	case 0: return i / 4 * unit % 64;
	case 1: return free - i / 4 % 3 * unit;
	case 2: at = half - min(below(size + 1), half); break;
	default: at = below(free); break;
	}
	return (at & ~(size_t)63) + i / 4 * unit % 64 > free ?
	               0 :
	               (at & ~(size_t)63) + i / 4 * unit % 64;
}

static void plan_places(struct job *j, unsigned i)
{
	unsigned unit = j->row->unit, which = i % (PLACES * PLACES - 1);

	j->a = &place_a[which % PLACES];
	j->b = &place_b[which / PLACES];
	j->a_at = position(i / 3, j->a_size, unit);
	j->b_at = position(i / 5 + 7, j->b_size, unit);
	if (j->row->shape == OVERLAP && i % 4) {
		j->b = j->a;
		j->b_at = j->a_at / 2 + below(j->a_size + 1);
		if (j->b_at + j->b_size > ROOM || i % 2)
			j->b_at = j->a_at - min(j->a_at, below(j->a_size + 1));
	}
}

static bool overlaps(const struct job *j)
{
	return j->b == j->a;
}

static void write_needle(struct job *j, size_t length)
{
	uint8_t *a = expect_a.host + j->a_at, *b = expect_b.host + j->b_at;
	unsigned unit = j->row->unit;
	size_t m = min(j->o.m, length);

	put_letters(a, unit, length);
	put_letters(b, unit, j->o.m);
	if (j->row->shape != SET && m && below(3))
		memcpy(b, a + (length - m - below(min(length - m, 9))) * unit, m * unit);
}

static void write_content(struct job *j, size_t length)
{
	uint8_t *a = expect_a.host + j->a_at, *b = expect_b.host + j->b_at;
	unsigned unit = j->row->unit;

	switch (j->row->shape) {
	case COPY:
	case OVERLAP:
	case FILL: break;
	case FIND:
	case STRING:
	case BOUNDED:
		put_letters(a, unit, j->a_size / unit);
		if (below(2))
			j->o.c = below(9) ? 'z' : 0;
		if (j->a_size && below(2))
			put(a, unit, below(j->a_size / unit), 'z');
		terminate(a, j, j->row->shape == FIND ? 0 : j->a_size, length);
		break;
	case FIND_SURE: put(a, unit, length, (uint32_t)j->o.c); break;
	case STRING_APPEND:
	case BOUNDED_APPEND:
		put_letters(a, unit, j->o.m);
		put(a, unit, j->o.m, 0);
		/* fall through */
	case STRING_COPY:
	case BOUNDED_COPY:
		put_letters(b, unit, j->b_size / unit);
		terminate(b, j, j->b_size, length);
		break;
	case DIFFER: write_pair(j, j->a_size / unit, j->a_size / unit); break;
	case STRING_DIFFER:
	case BOUNDED_DIFFER:
		write_pair(j, j->a_size / unit, j->a_size / unit);
		terminate(a, j, j->a_size, length);
		terminate(b, j, j->b_size, length);
		break;
	case SET:
	case NEEDLE:
		write_needle(j, length);
		terminate(a, j, j->a_size, length);
		terminate(b, j, j->b_size, j->o.m);
		break;
	case NEEDLE_COUNTED: write_needle(j, length); break;
	}
}

/* Doing it twice */

static void same_bytes(const struct t_place *to, const struct t_place *from, size_t at, size_t size)
{
	size_t start = at > MARGIN ? at - MARGIN : 0, end = min(at + size + MARGIN, ROOM);

	memcpy(to->host + start, from->host + start, end - start);
}

static bool differ(const struct t_place *a, const struct t_place *b, size_t at, size_t size)
{
	size_t start = at > MARGIN ? at - MARGIN : 0, end = min(at + size + MARGIN, ROOM);

	return memcmp(a->host + start, b->host + start, end - start);
}

/* Where both operands share a place, expect_a stands for it. */
static void prepare(struct job *j, size_t length)
{
	spoil(&expect_a, j->a_at, j->a_size);
	spoil(overlaps(j) ? &expect_a : &expect_b, j->b_at, j->b_size);
	if (!overlaps(j))
		write_content(j, length);
	same_bytes(j->a, &expect_a, j->a_at, j->a_size);
	same_bytes(j->b, overlaps(j) ? &expect_a : &expect_b, j->b_at, j->b_size);
}

static uint64_t run(struct job *j, any_fn fn, uint8_t *a, uint8_t *b)
{
	j->o.a = a + j->a_at;
	j->o.b = b + j->b_at;
	return j->row->call(fn, &j->o);
}

/* Where it differs: a message, else an empty string */
static char complaint[512];

static void complain(const struct job *j, const char *variant, uint64_t expected, uint64_t got)
{
	snprintf(
		complaint, sizeof(complaint),
		"%s %s: a %p+%zu (%zu bytes) b %p+%zu (%zu) n %zu m %zu c %#x: %#llx became %#llx%s",
		j->row->name, variant, (void *)j->a->guest, j->a_at, j->a_size, (void *)j->b->guest,
		j->b_at, j->b_size, j->o.n, j->o.m, (unsigned)j->o.c, (unsigned long long)expected,
		(unsigned long long)got, expected == got ? ", and other bytes" : "");
}

static void try_one(const struct row *row, const struct variant *v, unsigned i, size_t length)
{
	struct job j = {.row = row};
	const struct t_place *other;
	uint64_t expected, got;

	plan_sizes(&j, length);
	plan_places(&j, i);
	prepare(&j, length);
	other = overlaps(&j) ? &expect_a : &expect_b;
	expected = run(&j, v->fn, expect_a.host, other->host);
	got = run(&j, v->fn, j.a->guest, j.b->guest);
	if (row->call == i_ppn && !strcmp(row->name, "__memcmpeq"))
		expected = !!expected, got = !!got;
	if (expected != got || differ(j.a, &expect_a, j.a_at, j.a_size) ||
	    differ(j.b, other, j.b_at, j.b_size))
		complain(&j, v->name, expected, got);
}

static size_t small_length(unsigned i)
{
	return i % 32 == 31 ? below(4000) : below(LENGTHS);
}

static void try_variant(const struct row *row, const struct variant *v, unsigned rounds)
{
	for (unsigned i = 0; i < rounds && !*complaint; i++) {
		seed = (uint64_t)i << 32 ^ (uintptr_t)(row - rows);
		try_one(row, v, i, small_length(i) / row->unit);
	}
}

/* Lengths of a few pages, where the functions go over to other loops */
static void try_long(const struct row *row, const struct variant *v)
{
	for (unsigned i = 0; i < 12 && !*complaint; i++) {
		seed = (uint64_t)i << 32 ^ (uintptr_t)(row - rows);
		try_one(row, v, i * 5,
		        (i % 3 ? below(3000) : 17000 + below(LONGEST - 17000)) / row->unit);
	}
}

static bool moves_memory(const struct row *row)
{
	return row->shape == COPY || row->shape == OVERLAP || row->shape == FILL;
}

/* The tests */

static unsigned variants_run;

static void test_function(void **state)
{
	const struct row *row = *state;
	struct variant v[VARIANTS];
	size_t n = variants_of(row->name, v, false);

	*complaint = 0;
	assert_true(n > 0);
	for (size_t i = 0; i < n && !*complaint; i++)
		try_variant(row, &v[i], row->rounds);
	if (*complaint)
		fail_msg("%s", complaint);
	variants_run += (unsigned)n;
}

/* Again in a new process, which glibc is told what to think of the CPU */

static int be_resolved(void)
{
	struct variant v[VARIANTS];

	for (unsigned i = 0; i < ROWS && !*complaint; i++) {
		if (!variants_of(rows[i].name, v, true))
			return 2;
		try_variant(&rows[i], v, 40);
		fprintf(stderr, "%s ", v[0].name);
	}
	return 0;
}

static int be_long(void)
{
	struct variant v[VARIANTS];

	for (unsigned i = 0; i < ROWS && !*complaint; i++) {
		size_t n = moves_memory(&rows[i]) ? variants_of(rows[i].name, v, false) : 0;

		for (size_t k = 0; k < n && !*complaint; k++)
			try_long(&rows[i], &v[k]);
	}
	return 0;
}

static int be_again(const char *how)
{
	int status;

	alarm(PATIENCE);
	lay_all(NULL);
	status = strcmp(how, "long") ? be_resolved() : be_long();
	if (*complaint)
		fprintf(stderr, "%s\n", complaint);
	return *complaint ? 1 : status;
}

struct again {
	const char *how, *tunables;
};

static int exec_again(void *arg)
{
	const struct again *again = arg;

	setenv("GLIBC_TUNABLES", again->tunables, 1);
	execl("/proc/self/exe", "test_strings", again->how, (char *)NULL);
	return 127;
}

static void test_again(void **state)
{
	struct t_child child;

	t_child_run(&child, exec_again, *state);
	if (t_fate(child.status))
		fail_msg("fate %d: %.2000s", t_fate(child.status), child.text);
	print_message("%.*s\n", (int)strcspn(child.text, " "), child.text);
}

#define HWCAPS "glibc.cpu.hwcaps="
#define THRESHOLD "glibc.cpu.x86_"

static struct again again[] = {
	{"resolved", HWCAPS "-AVX512F"},
	{"resolved", HWCAPS "-ERMS"},
	{"resolved", HWCAPS "-AVX512VL"},
	{"resolved", HWCAPS "-AVX512F,-AVX512VL"},
	{"resolved", HWCAPS "-AVX512F,-AVX512VL,-ERMS"},
	{"resolved", HWCAPS "-AVX512F,-AVX512VL,-AVX2,-AVX_Fast_Unaligned_Load"},
	{"resolved",
         HWCAPS "-AVX512F,-AVX512VL,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-SSE4_2,-SSE4_1"},
	{"resolved", HWCAPS "-AVX512F,-AVX512VL,-AVX2,-AVX_Fast_Unaligned_Load,"
                            "-Fast_Unaligned_Copy,-Slow_BSF"},
	{"resolved", HWCAPS "Prefer_ERMS,Prefer_FSRM"},
	{"long", THRESHOLD "non_temporal_threshold=0x4041"},
	{"long", THRESHOLD "rep_movsb_threshold=0x201:" THRESHOLD "rep_stosb_threshold=0x40"},
};

enum { AGAIN = sizeof(again) / sizeof(*again) };

static void test_strings_variants(void **state)
{
	(void)state;
	print_message("%u variants of %u functions\n", variants_run, (unsigned)ROWS);
	assert_true(variants_run >= ROWS);
}

static struct CMUnitTest tests[ROWS + AGAIN + 1];

int main(int argc, char **argv)
{
	unsigned n = 0;

	if (argc > 1)
		return be_again(argv[1]);
	if (t_mode_is("asan") || t_mode_is("tsan"))
		return 77;
	for (unsigned i = 0; i < ROWS; i++)
		tests[n++] = (struct CMUnitTest){rows[i].name, test_function, NULL, NULL,
		                                 (void *)&rows[i]};
	for (unsigned i = 0; i < AGAIN; i++)
		tests[n++] = (struct CMUnitTest){again[i].tunables, test_again, NULL, NULL,
		                                 &again[i]};
	tests[n] = (struct CMUnitTest){"variants", test_strings_variants, NULL, NULL, NULL};
	return cmocka_run_group_tests_name("strings", tests, lay_all, NULL);
}
