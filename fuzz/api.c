/* SPDX-License-Identifier: MIT */
/*
 * LDLIBS: -Wl,--wrap=mmap,--wrap=malloc,--wrap=calloc,--wrap=syscall,--wrap=mremap,--wrap=write
 */
/* LDLIBS: -Wl,--wrap=mprotect,--wrap=memfd_create,--wrap=ftruncate,--wrap=madvise */
/*
 * Random sequences of public calls and of the CPU's own accesses, against a model of guest memory:
 * what may be accessed holds the bytes that the model holds, what may not changes nothing, and when
 * all windows have gone nothing of theirs is left.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "src/reserve.h"

enum {
	PAGE = 4096,
	WINDOWS = 24,
	LENGTH_MOST = 3 * PAGE,
	PLACES = 6,
	PLACE_PAGES = 6,
	HOST_BYTES = 4 * PAGE,
	FENCE = 256,
	MAX_ALIASES = 8,
	STEPS = 120,
	LONGEST = 700, /* of one regmap_read() or string */
	USER_PAGES = 2 * PLACE_PAGES,
	RW = REGMAP_READ | REGMAP_WRITE,
};

#define USER_PLACE 0x310000000000ull /* where pages can be mapped, and nobody else does */

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

#define WRAP(result, on_failure, name, parameters, arguments) \
	result __real_##name parameters; \
	result __wrap_##name parameters; \
	result __wrap_##name parameters \
	{ \
		return fails_now() ? on_failure : __real_##name arguments; \
	}

WRAP(void *, MAP_FAILED, mmap, (void *at, size_t length, int prot, int flags, int fd, off_t offset),
     (at, length, prot, flags, fd, offset))
WRAP(void *, NULL, malloc, (size_t size), (size))
WRAP(void *, NULL, calloc, (size_t n, size_t size), (n, size))
WRAP(int, -1, mprotect, (void *at, size_t length, int prot), (at, length, prot))
WRAP(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, -1, ftruncate, (int fd, off_t length), (fd, length))
WRAP(int, -1, madvise, (void *at, size_t length, int advice), (at, length, advice))

void *__real_mremap(void *old, size_t size, size_t bytes, int flags, ...);
void *__wrap_mremap(void *old, size_t size, size_t bytes, int flags, ...);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
ssize_t __real_write(int fd, const void *from, size_t length);
ssize_t __wrap_write(int fd, const void *from, size_t length);

/* Our callers never fix the new address in this one. */
void *__wrap_mremap(void *old, size_t size, size_t bytes, int flags, ...)
{
	return fails_now() ? MAP_FAILED : __real_mremap(old, size, bytes, flags);
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
	fprintf(stderr, "api: %s\n", why);
	abort();
}

/* --- the model --- */

struct model {
	struct regmap_window *window; /* NULL: this slot is free */
	struct regmap_config config;
	uint8_t *bytes;              /* what the window should hold */
	uint8_t own[LENGTH_MOST];    /* of RAM and devices */
	uint8_t device[LENGTH_MOST]; /* what the device really has */
};

static struct model model[WINDOWS];
static bool sloppy; /* a call has failed for lack of memory: reservations may be missing or left */

/* Memory behind host windows, fenced; and what it should hold. */
static uint8_t host_room[FENCE + HOST_BYTES + FENCE], host_shadow[sizeof(host_room)];

static uint64_t last_of(const struct model *m)
{
	return m->config.guest + (m->config.length - 1);
}

static struct model *owner_of(uint64_t at)
{
	struct model *best = NULL;

	for (struct model *m = model; m < model + WINDOWS; m++)
		if (m->window && at - m->config.guest < m->config.length &&
		    (!best || m->config.length < best->config.length))
			best = m;
	return best;
}

/* A device that is read as memory. */
static bool is_readable(const struct model *m)
{
	return m->config.flags & REGMAP_READ_DIRECT;
}

static int refusal_of(const struct model *m, unsigned access)
{
	const struct regmap_device_ops *ops = m->config.ops;

	if (access & ~m->config.access)
		return -EACCES;
	if (m->config.backing == REGMAP_DEVICE &&
	    ((access & REGMAP_READ && !is_readable(m) && !ops->read) ||
	     (access & REGMAP_WRITE && !ops->write)))
		return -EACCES;
	return 0;
}

/* Where a guest byte ends up: in m at *offset. 0 or -errno. */
static int resolve(uint64_t at, unsigned access, struct model **m, uint64_t *offset)
{
	for (unsigned depth = 0;; depth++) {
		int err;

		*m = owner_of(at);
		if (!*m)
			return -EFAULT;
		err = refusal_of(*m, access);
		if (err)
			return err;
		*offset = at - (*m)->config.guest;
		if ((*m)->config.backing != REGMAP_ALIAS)
			return 0;
		if (depth == MAX_ALIASES)
			return -ELOOP;
		at = (*m)->config.target + *offset;
	}
}

/* The error of the first byte that has one. */
static int resolve_all(uint64_t at, uint64_t length, unsigned access)
{
	struct model *m;
	uint64_t offset;
	int err = 0;

	for (uint64_t i = 0; !err && i < length; i++)
		err = resolve(at + i, access, &m, &offset);
	return err;
}

static void model_get(uint64_t at, uint8_t *to, uint64_t length)
{
	struct model *m;
	uint64_t offset;

	for (uint64_t i = 0; i < length; i++)
		if (!resolve(at + i, REGMAP_READ, &m, &offset))
			to[i] = m->bytes[offset];
}

static void model_put(uint64_t at, const uint8_t *from, uint64_t length)
{
	struct model *m;
	uint64_t offset;

	for (uint64_t i = 0; i < length; i++)
		if (!resolve(at + i, REGMAP_WRITE, &m, &offset))
			m->bytes[offset] = from[i];
}

/* Host memory and devices hold what they should, and the fences stand. */
static void compare_memory(void)
{
	if (memcmp(host_room, host_shadow, sizeof(host_room)))
		die("host memory is not what it should be");
	for (struct model *m = model; m < model + WINDOWS; m++)
		if (m->window && m->config.backing == REGMAP_DEVICE &&
		    memcmp(m->own, m->device, m->config.length))
			die("a device has not seen what it should");
}

/* The kernel has a mapping for each page that a window touches, and for no other. */
static void compare_pages(void)
{
	for (uint64_t page = USER_PLACE; page < USER_PLACE + USER_PAGES * PAGE; page += PAGE) {
		unsigned char state;
		bool mapped = mincore((void *)(uintptr_t)page, PAGE, &state) == 0, needed = false;

		for (const struct model *m = model; m < model + WINDOWS; m++)
			needed |= m->window && m->config.guest <= page + (PAGE - 1) &&
			          last_of(m) >= page;
		if (mapped != needed && !sloppy)
			die(mapped ? "a page is mapped that no window touches" :
			             "a page of a window is not mapped");
	}
}

/* --- devices --- */

static void check_access(const struct model *m, uint64_t offset, unsigned width)
{
	if (width != 1 && width != 2 && width != 4 && width != 8)
		die("a device access of a strange width");
	if (offset > m->config.length || width > m->config.length - offset)
		die("a device access outside of its window");
	if ((m->config.guest + offset) % width)
		die("a misaligned device access");
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct model *m = ctx;

	check_access(m, offset, width);
	if (is_readable(m))
		die("a device is asked that is read as memory");
	*value = 0xa5a5a5a5a5a5a5a5; /* what lies above the width is cut off */
	memcpy(value, m->device + offset, width);
	return 0;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct model *m = ctx;
	void *memory = NULL;

	check_access(m, offset, width);
	if (width < 8 && value >> (8 * width))
		die("a device sees more than the width");
	memcpy(m->device + offset, &value, width);
	if (is_readable(m) && regmap_translate(m->config.guest + offset, &memory))
		die("a device has no memory");
	if (memory)
		memcpy(memory, &value, width);
	return 0;
}

static const struct regmap_device_ops devices[] = {
	{device_read, device_write},
	{device_read, NULL},
	{NULL, device_write},
	{NULL, NULL},
};

/* --- input --- */

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

static uint64_t quad(struct input *in)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | byte(in);
	return value;
}

static uint64_t address(struct input *in)
{
	static const uint64_t places[PLACES] = {
		0x310000000000,     0x310000000000 + PLACE_PAGES * PAGE, 0, 0x900000000000,
		0xffffa00000000000, 0ull - PLACE_PAGES * PAGE,
	};
	unsigned where = byte(in), at = word(in);

	if (where & 0x80) /* close to a border of a window */
		return model[where % WINDOWS].config.guest +
		       (at & 1 ? model[where % WINDOWS].config.length : 0) + at / 2 % 16 - 8;
	return places[where % PLACES] + at % (PLACE_PAGES * PAGE);
}

/* --- map and unmap --- */

static struct regmap_config random_config(struct input *in, struct model *m)
{
	unsigned how = byte(in), rights = byte(in);
	struct regmap_config c = {
		.size = sizeof(c),
		.name = how & 0x40 ? "a name that is longer than what is kept of it in a window" :
	                             NULL,
		.guest = address(in),
		.length = how & 0x80 ? 1 + word(in) % LENGTH_MOST : 1 + byte(in) % 64,
		.access = rights % 4 ? RW : 1 + rights / 4 % 3,
		.backing = how % 4,
		.flags = how & 0x20 ? REGMAP_TRAP : 0,
	};

	if (how & 0x10) { /* whole pages */
		c.guest &= -(uint64_t)PAGE;
		c.length = (c.length + PAGE - 1) & -(uint64_t)PAGE;
	}
	if (c.backing == REGMAP_DEVICE && rights & 0x80)
		c.flags |= REGMAP_READ_DIRECT;
	c.host = host_room + FENCE + word(in) % (HOST_BYTES - c.length);
	c.ops = &devices[rights >> 4 & 1 ? rights >> 5 & 3 : 0];
	c.ctx = m;
	/* Its pages are pages of its target, or not. */
	c.target = how & 8 ? (address(in) & -(uint64_t)PAGE) + c.guest % PAGE : address(in);
	return c;
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

static bool crosses(const struct regmap_config *c)
{
	uint64_t start = c->guest, last = c->guest + (c->length - 1);

	for (struct model *m = model; m < model + WINDOWS; m++) {
		uint64_t s = m->config.guest, l = last_of(m);
		bool apart = last < s || start > l, in = start >= s && last <= l;
		bool around = start <= s && last >= l;

		if (m->window && ((start == s && last == l) || !(apart || in || around)))
			return true;
	}
	return false;
}

static bool has_callbacks(const struct regmap_config *c)
{
	if (c->flags & REGMAP_READ_DIRECT)
		return !(c->access & REGMAP_WRITE) || (c->ops && c->ops->write);
	return c->ops && (c->ops->read || c->ops->write);
}

static bool is_wrong(const struct regmap_config *c)
{
	uint64_t n = c->length - 1, host = (uintptr_t)c->host;
	unsigned flags = REGMAP_TRAP;

	if (c->backing == REGMAP_RAM)
		flags |= REGMAP_PRIVATE;
	if (c->backing == REGMAP_DEVICE && c->access & REGMAP_READ)
		flags |= REGMAP_READ_DIRECT;

	/* one of 0.1 ended before that member */
	if (c->size < offsetof(struct regmap_config, fill) || c->size > 4096)
		return true;
	if (!c->length || c->guest + n < c->guest)
		return true;
	if (!c->access || c->access & ~RW || c->flags & ~flags || (unsigned)c->backing > 3)
		return true;
	switch (c->backing) {
	case REGMAP_HOST: return !host || host + n < host;
	case REGMAP_DEVICE: return !has_callbacks(c);
	case REGMAP_ALIAS: return c->target + n < c->target;
	default: return false;
	}
}

/*
 * The one error that it must be; 1: it depends on what aliases lead to, or on how much memory there
 * is. A wrong member of a backing is found out after an overlap.
 */
static int expected_error(const struct regmap_config *c)
{
	if (is_wrong(c))
		return -EINVAL;
	if (crosses(c))
		return -EEXIST;
	if (is_in_use(c->guest, c->guest + (c->length - 1)))
		return -EADDRINUSE;
	return c->backing == REGMAP_ALIAS || c->length > 1ull << 30 ? 1 : 0;
}

#define SHADOW_GAP 0x8fff7000ull
#define SHADOW_GAP_END 0x2008fff7000ull

static void check_error(const struct regmap_config *c, int expected, int err)
{
	if (err == expected || failed)
		return;
	if (expected == 1 && (err == 0 || err == -ELOOP || err == -ENOMEM))
		return;
	if (is_wrong(c) && crosses(c) && err == -EEXIST)
		return;
	if (expected == -EADDRINUSE && (err == -ELOOP || err == -ENOMEM))
		return;
	/* between the sanitizer's shadows, which is in use, but gives way: src/shadow.h */
	if (expected == -EADDRINUSE && c->guest >= SHADOW_GAP && c->guest < SHADOW_GAP_END)
		return;
	fprintf(stderr,
	        "regmap_map() of 0x%" PRIx64 ", 0x%" PRIx64
	        " bytes, backing %d, access 0x%x, flags 0x%x, host %p, target 0x%" PRIx64
	        ", fill 0x%" PRIx64 ": %d, not %d\n",
	        c->guest, c->length, c->backing, c->access, c->flags, c->host, c->target, c->fill,
	        err, expected);
	die("another error than promised");
}

static int map(const struct regmap_config *c, struct regmap_window **w, unsigned fail_at)
{
	static struct regmap_window *const untouched = (void *)0x5a5a5a5a;
	int expected = expected_error(c), err;

	*w = untouched;
	failed = false;
	errno = 12345;
	countdown = fail_at;
	err = regmap_map(c, w);
	countdown = 0;
	sloppy |= failed;
	if (errno != 12345)
		die("errno has changed");
	check_error(c, expected, err);
	if (err && *w != untouched)
		die("a failure has stored a window");
	return err;
}

/* Every byte of a new window, under its real neighbours: a new RAM is zero. */
static void begin_bytes(struct model *m)
{
	memset(m->own, 0, sizeof(m->own));
	if (m->config.backing == REGMAP_DEVICE && !is_readable(m))
		memset(m->own, 0x11 * (unsigned)(1 + (m - model) % 14), sizeof(m->own));
	memcpy(m->device, m->own, sizeof(m->own));
	m->bytes = m->own;
	if (m->config.backing == REGMAP_HOST)
		m->bytes = host_shadow + ((uint8_t *)m->config.host - host_room);
}

static void map_one(struct input *in, unsigned fail_at)
{
	struct model *m = &model[byte(in) % WINDOWS];
	struct regmap_config c = random_config(in, m);
	struct regmap_window *w;

	if (m->window || map(&c, &w, fail_at))
		return;
	m->window = w;
	m->config = c;
	begin_bytes(m);
}

static void unmap_one(struct model *m, unsigned fail_at)
{
	struct regmap_window *w = m->window;

	if (!w)
		return;
	failed = false;
	countdown = fail_at;
	if (regmap_unmap(w))
		die("a window can't be unmapped");
	countdown = 0;
	sloppy |= failed;
	m->window = NULL;
	if (regmap_unmap(w) != -EINVAL)
		die("a window can be unmapped twice");
}

/* Nothing that regmap_map() should accept, or hardly. What it accepts goes again at once. */
static void map_hostile(struct input *in, unsigned fail_at)
{
	struct regmap_config c = random_config(in, &model[0]);
	struct regmap_window *w;
	unsigned what = word(in);

	if (what & 1)
		c.size = what & 2 ? byte(in) : quad(in);
	if (what & 4)
		c.length = what & 8 ? quad(in) : 1ull << (byte(in) % 64);
	if (what & 16)
		c.guest = quad(in);
	if (what & 32)
		c.access = (unsigned)quad(in);
	if (what & 64)
		c.flags = (unsigned)quad(in);
	if (what & 128)
		c.backing = (enum regmap_backing)(byte(in) - 3);
	if (what & 256)
		c.host = (void *)(uintptr_t)(what & 512 ? quad(in) : 0);
	if (what & 1024)
		c.ops = NULL;
	if (what & 2048)
		c.target = quad(in);
	if (c.size > sizeof(c) && c.size <= PAGE)
		c.size = sizeof(c); /* more than there is here: see grown_config() */
	if (map(&c, &w, fail_at))
		return;
	if (regmap_unmap(w))
		die("a window can't be unmapped");
}

/* A later version's config: fine as long as what this one doesn't know is zero. */
static void grown_config(struct input *in)
{
	size_t size = sizeof(struct regmap_config) + 1 + byte(in);
	uint8_t *grown = calloc(1, size);
	struct regmap_config c = random_config(in, &model[0]);
	struct regmap_window *w;

	if (!grown)
		return;
	memcpy(grown, &c, sizeof(c));
	memcpy(grown, &size, sizeof(size));
	grown[sizeof(c) + word(in) % (size - sizeof(c))] = 1;
	if (regmap_map((void *)grown, &w) != -EINVAL || regmap_map(NULL, &w) != -EINVAL)
		die("a member is accepted that this version doesn't know");
	free(grown);
}

static void unmap_hostile(struct input *in)
{
	const struct model *m = &model[byte(in) % WINDOWS];
	uintptr_t at = quad(in);

	if (byte(in) & 1 && m->window)
		at = (uintptr_t)m->window + 1 + at % 200;
	for (const struct model *live = model; live < model + WINDOWS; live++)
		if (at == (uintptr_t)live->window)
			return;
	if (at && regmap_unmap((struct regmap_window *)at) != -EINVAL)
		die("what is not a window was unmapped");
}

/* They would stay for good: only where a window in page 0 keeps them out. */
static void refuse_registers(void)
{
	for (const struct model *m = model; m < model + WINDOWS; m++)
		if (m->window && m->config.guest < PAGE) {
			if (regmap_map_registers() != -EEXIST)
				die("the register page is laid over a window");
			return;
		}
}

/* --- accesses by call --- */

static void read_by_call(struct input *in)
{
	uint64_t at = address(in), length = word(in) % LONGEST;
	uint8_t *got = malloc(length + 1), *expected = calloc(1, length + 1);
	int err = resolve_all(at, length, REGMAP_READ);

	if (!got || !expected)
		abort();
	memset(got, 0x77, length + 1);
	memset(expected, 0x77, length + 1);
	if (!err)
		model_get(at, expected, length);
	if (regmap_read(at, got, length) != err)
		die("another result of regmap_read()");
	if (memcmp(got, expected, length + 1))
		die("regmap_read() reads something else");
	free(got);
	free(expected);
}

static void write_by_call(struct input *in)
{
	uint64_t at = address(in), length = word(in) % LONGEST;
	uint8_t *from = malloc(length + 1), fill = (uint8_t)byte(in);
	int err = resolve_all(at, length, REGMAP_WRITE);

	if (!from)
		abort();
	for (uint64_t i = 0; i < length; i++)
		from[i] = (uint8_t)(fill + i * 7);
	if (!err)
		model_put(at, from, length);
	if (regmap_write(at, from, length) != err)
		die("another result of regmap_write()");
	free(from);
}

static void translate(struct input *in)
{
	uint64_t at = address(in), offset;
	void *host = NULL;
	struct model *m;
	int err = resolve(at, 0, &m, &offset);

	if (!err && m->config.backing == REGMAP_DEVICE && !is_readable(m))
		err = -ENODEV;
	if (regmap_translate(at, &host) != err)
		die("another result of regmap_translate()");
	if (err ? host != NULL : *(uint8_t *)host != m->bytes[offset])
		die("regmap_translate() leads elsewhere");
}

/* --- accesses by the CPU --- */

static sigjmp_buf escape;

static void on_fault(int signo)
{
	siglongjmp(escape, signo);
}

static void cpu_load(uint64_t at, void *to, unsigned how)
{
	switch (how) {
	case 0:
		__asm__ volatile("movb (%1), %%al; movb %%al, (%0)" ::"r"(to), "r"(at)
		                 : "rax", "memory");
		break;
	case 1:
		__asm__ volatile("movw (%1), %%ax; movw %%ax, (%0)" ::"r"(to), "r"(at)
		                 : "rax", "memory");
		break;
	case 2:
		__asm__ volatile("movl (%1), %%eax; movl %%eax, (%0)" ::"r"(to), "r"(at)
		                 : "rax", "memory");
		break;
	case 3:
		__asm__ volatile("movq (%1), %%rax; movq %%rax, (%0)" ::"r"(to), "r"(at)
		                 : "rax", "memory");
		break;
	default:
		__asm__ volatile("movdqu (%1), %%xmm3; movdqu %%xmm3, (%0)" ::"r"(to), "r"(at)
		                 : "xmm3", "memory");
		break;
	}
}

static void cpu_store(uint64_t at, const void *from, unsigned how)
{
	switch (how) {
	case 0:
		__asm__ volatile("movb (%0), %%al; movb %%al, (%1)" ::"r"(from), "r"(at)
		                 : "rax", "memory");
		break;
	case 1:
		__asm__ volatile("movw (%0), %%ax; movw %%ax, (%1)" ::"r"(from), "r"(at)
		                 : "rax", "memory");
		break;
	case 2:
		__asm__ volatile("movl (%0), %%eax; movl %%eax, (%1)" ::"r"(from), "r"(at)
		                 : "rax", "memory");
		break;
	case 3:
		__asm__ volatile("movq (%0), %%rax; movq %%rax, (%1)" ::"r"(from), "r"(at)
		                 : "rax", "memory");
		break;
	default:
		__asm__ volatile("movdqu (%0), %%xmm3; movdqu %%xmm3, (%1)" ::"r"(from), "r"(at)
		                 : "xmm3", "memory");
		break;
	}
}

static void cpu_exchange(uint64_t at, uint64_t *value, unsigned how)
{
	uint64_t v = *value;

	switch (how) {
	case 0: __asm__ volatile("xchgb %b0, (%1)" : "+q"(v) : "r"(at) : "memory"); break;
	case 1: __asm__ volatile("xchgw %w0, (%1)" : "+r"(v) : "r"(at) : "memory"); break;
	case 2: __asm__ volatile("lock xaddl %k0, (%1)" : "+r"(v) : "r"(at) : "memory"); break;
	default: __asm__ volatile("lock xaddq %0, (%1)" : "+r"(v) : "r"(at) : "memory"); break;
	}
	*value = v;
}

static unsigned width_of(unsigned how)
{
	return how > 3 ? 16 : 1u << how;
}

static void load(struct input *in)
{
	unsigned how = byte(in) % 5, width = width_of(how);
	uint8_t got[16], expected[16];
	uint64_t at = address(in);
	int err = resolve_all(at, width, REGMAP_READ);

	memset(got, 0x66, sizeof(got));
	memset(expected, 0x66, sizeof(expected));
	if (!err)
		model_get(at, expected, width);
	if (!sigsetjmp(escape, 1)) {
		cpu_load(at, got, how);
		if (err)
			die("a load goes through that must not");
	} else if (!err) {
		die("a load faults that must not");
	}
	if (memcmp(got, expected, sizeof(got)))
		die("a load loads something else");
}

static void store(struct input *in)
{
	unsigned how = byte(in) % 5, width = width_of(how);
	uint64_t at = address(in), value[2] = {quad(in), 0};
	int err = resolve_all(at, width, REGMAP_WRITE);

	value[1] = ~value[0];
	if (!err)
		model_put(at, (uint8_t *)value, width);
	if (!sigsetjmp(escape, 1)) {
		cpu_store(at, value, how);
		if (err)
			die("a store goes through that must not");
	} else if (!err) {
		die("a store faults that must not");
	}
}

/* Read, modify, write, all in one instruction; nothing of it where it faults. */
static void exchange(struct input *in)
{
	unsigned how = byte(in) % 4, width = width_of(how);
	uint64_t at = address(in), value = quad(in), before = value, old = 0, sum;
	int err = resolve_all(at, width, RW);

	if (!err) {
		model_get(at, (uint8_t *)&old, width);
		sum = how < 2 ? value : value + old;
		model_put(at, (uint8_t *)&sum, width);
	}
	if (!sigsetjmp(escape, 1)) {
		cpu_exchange(at, &value, how);
		if (err)
			die("an exchange goes through that must not");
		if (memcmp(&value, &old, width))
			die("an exchange gets something else");
	} else if (!err || value != before) {
		die("an exchange faults that must not, or not as if it had not been");
	}
}

/* As far as both ends go, and not a byte further. */
static void move_string(struct input *in)
{
	uint64_t from = address(in), to = address(in), count = word(in) % LONGEST, done = 0;

	for (uint8_t value; done < count; done++) {
		if (resolve_all(from + done, 1, REGMAP_READ) ||
		    resolve_all(to + done, 1, REGMAP_WRITE))
			break;
		model_get(from + done, &value, 1);
		model_put(to + done, &value, 1);
	}
	if (!sigsetjmp(escape, 1)) {
		__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)::"memory");
		if (count || done != count)
			if (count)
				die("a string ends early");
	} else if (done == count) {
		die("a string faults that must not");
	}
}

/* --- the fuzzer's interface --- */

static void step(struct input *in)
{
	unsigned op = byte(in), fail_at = op >= 0xf0 ? 1 + byte(in) % 24 : 0;

	switch (op % 16) {
	case 0: unmap_one(&model[byte(in) % WINDOWS], fail_at); break;
	case 1: map_hostile(in, fail_at); break;
	case 2: unmap_hostile(in); break;
	case 3: grown_config(in); break;
	case 4: translate(in); break;
	case 5: read_by_call(in); break;
	case 6: write_by_call(in); break;
	case 7: load(in); break;
	case 8: store(in); break;
	case 9: exchange(in); break;
	case 10: move_string(in); break;
	case 11:
		if (!regmap_strerror((int)quad(in))[0])
			die("no words for an error");
		refuse_registers();
		break;
	default: map_one(in, fail_at);
	}
	compare_memory();
	if (op % 16 == 0 || op % 16 > 11)
		compare_pages();
}

static bool ram_is_left(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	bool found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, "/memfd:regmap (deleted)") != NULL;
	if (f)
		fclose(f);
	return found;
}

static void clean_up(void)
{
	for (struct model *m = model; m < model + WINDOWS; m++)
		unmap_one(m, 0);
	compare_pages();
	if (!sloppy && regmap__reserve_count())
		die("something is reserved when no window is left");
	if (regmap__reserve_count())
		regmap__reserve_drop(0, UINT64_MAX);
	if (ram_is_left())
		die("memory is left when no window is");
	sloppy = false;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	setenv("REGMAP_REPORT", "0", 1);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sigaction sa = {.sa_handler = on_fault}, segv, bus;
	struct input in = {data, size};

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	for (size_t i = 0; i < sizeof(host_room); i++)
		host_room[i] = host_shadow[i] = (uint8_t)(i * 13 >> 2);
	quiet = true;
	for (unsigned i = 0; in.left && i < STEPS; i++)
		step(&in);
	clean_up();
	quiet = false;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return 0;
}
