/* SPDX-License-Identifier: MIT */
/* LDLIBS: -Wl,--wrap=mmap,--wrap=malloc,--wrap=syscall,--wrap=write */
/*
 * The window table and the reservations against a list: random insertions and removals, nested, in
 * one page, at both ends of the address space and of what the program may map, with mappings of the
 * program's in between, and with memory that runs out at any point.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/reserve.h"
#include "src/table.h"
#include "src/window.h"

enum { PAGE = 4096, MOST = 1500, STEPS = 300, PLACES = 6, SPACE = 64 * PAGE };

/* --- memory that runs out --- */

static unsigned countdown; /* to the call that fails; 0: none does */
static bool failed, quiet;

static bool fails_now(void)
{
	bool now = countdown && --countdown == 0;

	failed |= now;
	if (now)
		errno = ENOMEM;
	return now;
}

void *__real_mmap(void *at, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t length, int prot, int flags, int fd, off_t offset);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
ssize_t __real_write(int fd, const void *from, size_t length);
ssize_t __wrap_write(int fd, const void *from, size_t length);

void *__wrap_mmap(void *at, size_t length, int prot, int flags, int fd, off_t offset)
{
	return fails_now() ? MAP_FAILED : __real_mmap(at, length, prot, flags, fd, offset);
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

/* Takes six arguments, however many there are, as the system call does. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (fails_now())
		return -1;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The line that says what is in use. */
ssize_t __wrap_write(int fd, const void *from, size_t length)
{
	return quiet ? (ssize_t)length : __real_write(fd, from, length);
}

static void die(const char *why)
{
	quiet = false;
	fprintf(stderr, "table: %s\n", why);
	abort();
}

/* --- the model --- */

static struct regmap_window *model[MOST];
static unsigned count;
static uint64_t foreign[PLACES]; /* a page of the program's in each place; 0: none */
static bool sloppy;              /* a call has failed: reservations may be missing or left */

static int model_fits(uint64_t start, uint64_t last)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t s = model[i]->start, l = model[i]->last;
		bool apart = last < s || start > l, in = start >= s && last <= l;
		bool around = start <= s && last >= l;

		if ((start == s && last == l) || !(apart || in || around))
			return -EEXIST;
	}
	return 0;
}

static struct regmap_window *model_find(uint64_t at, uint64_t *last)
{
	struct regmap_window *best = NULL;

	for (unsigned i = 0; i < count; i++)
		if (model[i]->start <= at && model[i]->last >= at &&
		    (!best || model[i]->last - model[i]->start < best->last - best->start))
			best = model[i];
	*last = best ? best->last : UINT64_MAX;
	for (unsigned i = 0; i < count; i++)
		if (model[i]->start > at && model[i]->start - 1 < *last)
			*last = model[i]->start - 1;
	return best;
}

static uint64_t model_gap_first(uint64_t at)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < count; i++)
		if (model[i]->last < at && model[i]->last + 1 > first)
			first = model[i]->last + 1;
	return first;
}

/* Does a window lie in these bytes? They may wrap. */
static bool model_meets(uint64_t at, uint64_t length)
{
	for (unsigned i = 0; length && i < count; i++)
		if (at - model[i]->start <= model[i]->last - model[i]->start ||
		    model[i]->start - at < length)
			return true;
	return false;
}

/* --- the two compared --- */

static void compare_near(uint64_t at, const struct regmap_window *inside, uint64_t last)
{
	uint64_t first = inside ? 0 : model_gap_first(at), end;
	struct window_info info[2];
	unsigned n = regmap__window_near(at, info), expected = 0;

	if (inside)
		expected = 1;
	else
		expected = (first > 0) + (last < UINT64_MAX);
	if (n != expected)
		die("another number of neighbours");
	if (inside && (!info[0].inside || info[0].guest != inside->start))
		die("not the window that the address lies in");
	if (!inside && first && info[0].last != model_find(first - 1, &end)->last)
		die("another neighbour below");
	if (!inside && last < UINT64_MAX && info[n - 1].guest != last + 1)
		die("another neighbour above");
}

static void compare(uint64_t at, bool neighbours)
{
	struct table_hit hit;
	uint64_t last;
	struct regmap_window *expected = model_find(at, &last);

	regmap__table_find(at, &hit);
	if (hit.window != expected)
		die("another owner");
	if (hit.last != last)
		die("another reach");
	if (!expected && regmap__table_gap_first(at) != model_gap_first(at))
		die("another gap");
	if (neighbours)
		compare_near(at, expected, last);
}

static uint64_t lowest(void)
{
	static uint64_t value;
	unsigned long from_kernel = 65536;
	FILE *f;

	if (value)
		return value;
	f = fopen("/proc/sys/vm/mmap_min_addr", "r");
	if (!f || fscanf(f, "%lu", &from_kernel) != 1)
		from_kernel = 65536;
	if (f)
		fclose(f);
	value = from_kernel < PAGE ? PAGE : from_kernel;
	return value;
}

static bool is_reservable(uint64_t page)
{
	return page >= lowest() && page < 0x7ffffffff000;
}

static bool is_mapped(uint64_t page)
{
	unsigned char state;

	return mincore((void *)(uintptr_t)page, PAGE, &state) == 0;
}

/* A page that windows touch is reserved, any other is not. */
static void compare_page(uint64_t page)
{
	uint64_t first = page, last = page + (PAGE - 1);
	bool owned = regmap__reserve_clip(&first, &last), needed = model_meets(page, PAGE);

	if (owned && (first != page || last != page + (PAGE - 1)))
		die("part of a page is owned");
	if (owned && !is_reservable(page))
		die("a page is owned that can't be");
	if (owned && !is_mapped(page))
		die("a page is owned, but not reserved");
	if (sloppy || !is_reservable(page))
		return;
	if (owned && !needed)
		die("a page is owned that no window touches");
	if (!owned && needed)
		die("a page of a window is not owned");
}

/* --- operations --- */

struct input {
	const uint8_t *at;
	size_t left;
};

static unsigned byte(struct input *in)
{
	return in->left ? in->left--, *in->at++ : 0;
}

static unsigned word(struct input *in)
{
	unsigned low = byte(in);

	return low | byte(in) << 8;
}

/* Each is the middle of SPACE bytes. */
static const uint64_t places[PLACES] = {
	0x300000000000,     /* in the middle of nothing */
	SPACE / 2,          /* around vm.mmap_min_addr */
	0x7ffffffff000,     /* where the program's addresses end */
	0x800000000000,     /* where the canonical ones end */
	0xffff800000000000, /* where they begin again */
	0ull - SPACE / 2,   /* up to the last byte */
};

static uint64_t address(struct input *in)
{
	unsigned where = byte(in);
	uint64_t from = places[where % PLACES] - SPACE / 2;

	switch (where / PLACES % 3) {
	case 0: return from + word(in) % (4 * PAGE);
	case 1: return from + word(in) * 4ull % SPACE;
	default: return from + (word(in) % 64) * PAGE;
	}
}

static uint64_t length_of(struct input *in)
{
	unsigned how = byte(in);

	switch (how & 7) {
	case 0:
	case 1:
	case 2: return 1 + byte(in) % 32;
	case 3:
	case 4: return 1 + word(in);
	case 5: return (1 + byte(in) % 16) * (uint64_t)PAGE;
	case 6: return 1ull << (how >> 3);
	default: return 1ull << (32 + (how >> 3));
	}
}

static void check_after(uint64_t start, uint64_t last)
{
	const uint64_t at[] = {start, last, start - 1, last + 1, start + (last - start) / 2};

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		compare(at[i], i == 2);
		compare_page(at[i] & -(uint64_t)PAGE);
	}
	compare_page((start & -(uint64_t)PAGE) - PAGE);
	compare_page((last | (PAGE - 1)) + 1);
}

/* Is there anything in these pages that is not ours? */
static bool is_in_use(uint64_t start, uint64_t last)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, past;
	bool found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f)) {
		uint64_t first, to;

		if (sscanf(line, "%lx-%lx", &from, &past) != 2 || from > (last | (PAGE - 1)) ||
		    past <= (start & -(uint64_t)PAGE))
			continue;
		first = from, to = past - 1;
		found = !regmap__reserve_clip(&first, &to) || first != from || to != past - 1;
	}
	if (f)
		fclose(f);
	return found;
}

static bool meets_foreign(uint64_t start, uint64_t last)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (foreign[i] && (start & -(uint64_t)PAGE) <= foreign[i] + (PAGE - 1) &&
		    (last | (PAGE - 1)) >= foreign[i])
			return true;
	return false;
}

/* Nothing but what a failed call leaves: the window is there with its pages, or nothing is. */
static int take(struct regmap_window *w, uint64_t start, uint64_t last)
{
	int err = regmap__reserve_take(start, last, "fuzz");

	if (err)
		return err;
	err = regmap__table_insert(w);
	if (err)
		regmap__reserve_drop(start, last);
	return err;
}

/* False: it is not there now. */
static bool insert(uint64_t start, uint64_t last, unsigned fail_at)
{
	struct regmap_window *w, *parent;
	int err = regmap__table_fits(start, last, &parent), expected = model_fits(start, last);
	unsigned owned = regmap__reserve_count();

	if (err != expected)
		die("another answer to whether it fits");
	if (err || count == MOST)
		return false;
	failed = false;
	countdown = fail_at;
	w = regmap__window_alloc();
	if (w) {
		w->start = start;
		w->last = last;
		w->ops = &regmap__backing_host;
		err = take(w, start, last);
	}
	countdown = 0;
	sloppy |= failed;
	if (w && err)
		regmap__window_free(w);
	if (w && !err) {
		model[count++] = w;
	} else {
		if (!failed && !is_in_use(start, last))
			die("it can't be laid, for no reason");
		if (!sloppy && regmap__reserve_count() != owned)
			die("a failure changed what is owned");
	}
	if (!failed && w && !err && meets_foreign(start, last))
		die("laid over the program's memory");
	return w && !err;
}

static void drop(unsigned i, unsigned fail_at)
{
	struct regmap_window *w = model[i];
	uint64_t start = w->start, last = w->last;

	model[i] = model[--count];
	failed = false;
	regmap__table_remove(w);
	countdown = fail_at;
	regmap__reserve_drop(start, last);
	countdown = 0;
	sloppy |= failed;
	regmap__window_free(w);
	if (count % 8 == 0 || fail_at)
		check_after(start, last);
}

/* The program maps a page, or takes it away. */
static void trespass(struct input *in)
{
	unsigned i = byte(in) % PLACES;
	uint64_t page = (places[i] - SPACE / 2 + (byte(in) % 64) * (uint64_t)PAGE);
	void *at = (void *)(uintptr_t)page;

	if (foreign[i]) {
		munmap((void *)(uintptr_t)foreign[i], PAGE);
		foreign[i] = 0;
	} else if (is_reservable(page) && page >= PAGE &&
	           mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
	                0) == at) {
		foreign[i] = page;
	}
}

static void insert_many(struct input *in)
{
	uint64_t start = address(in), size = 1 + byte(in) % 16, stride = size + byte(in) % 64;

	for (unsigned n = 1 + byte(in); n > 0; n--, start += stride)
		if (start + (size - 1) >= start && insert(start, start + (size - 1), 0) &&
		    n % 16 == 1)
			check_after(start, start + (size - 1));
}

static void step(struct input *in)
{
	unsigned op = byte(in), fail_at = op >= 0xe8 ? byte(in) % 16 : 0;
	uint64_t start, length;

	switch (op & 7) {
	case 0: trespass(in); break;
	case 1: insert_many(in); break;
	case 2:
		start = address(in);
		length = length_of(in) - (op & 8 ? 1 : 0);
		if (regmap__window_meets(start, length) != model_meets(start, length))
			die("another answer to what it meets");
		break;
	case 3:
	case 4:
		if (count)
			drop(word(in) % count, fail_at);
		break;
	default:
		start = address(in);
		length = length_of(in);
		if (start + (length - 1) >= start)
			insert(start, start + (length - 1), fail_at);
		check_after(start, start + (length - 1));
	}
}

static void clean_up(void)
{
	while (count)
		drop(count - 1, 0);
	for (unsigned i = 0; i < PLACES; i++) {
		if (foreign[i])
			munmap((void *)(uintptr_t)foreign[i], PAGE);
		foreign[i] = 0;
	}
	if (regmap__reserve_count())
		regmap__reserve_drop(0, UINT64_MAX); /* what failed calls left */
	if (regmap__reserve_count())
		die("something is still owned when no window is left");
	sloppy = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	quiet = true;
	for (unsigned i = 0; in.left && i < STEPS; i++)
		step(&in);
	clean_up();
	quiet = false;
	return 0;
}
