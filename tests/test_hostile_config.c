/* SPDX-License-Identifier: MIT */
/* CFLAGS: -Wno-override-init */
/* LDLIBS: -Wl,--wrap=mmap,--wrap=malloc,--wrap=calloc,--wrap=syscall,--wrap=mremap */
/* LDLIBS: -Wl,--wrap=mprotect,--wrap=memfd_create,--wrap=ftruncate,--wrap=pthread_atfork */
/*
 * Hostile configs, and memory that runs out at any point: each gives the documented error, and
 * leaves no window, no mapping, no descriptor and no memory behind.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../src/reserve.h"
#include "child.h"
#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, MOST_CALLS = 200, CONFIG_MOST = 4096 };

#define AT 0x551600000000ull
#define BAD ((void *)8)

static uint8_t host[4 * PAGE];

/* --- memory that runs out --- */

static unsigned countdown; /* to the call that fails; 0: none does */
static bool failed;

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

typedef void (*hook)(void);

WRAP(void *, MAP_FAILED, mmap, (void *at, size_t length, int prot, int flags, int fd, off_t offset),
     (at, length, prot, flags, fd, offset))
WRAP(void *, NULL, malloc, (size_t size), (size))
WRAP(void *, NULL, calloc, (size_t n, size_t size), (n, size))
WRAP(int, -1, mprotect, (void *at, size_t length, int prot), (at, length, prot))
WRAP(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, -1, ftruncate, (int fd, off_t length), (fd, length))
WRAP(int, ENOMEM, pthread_atfork, (hook before, hook parent, hook child), (before, parent, child))

void *__real_mremap(void *old, size_t size, size_t bytes, int flags, ...);
void *__wrap_mremap(void *old, size_t size, size_t bytes, int flags, ...);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

void *__wrap_mremap(void *old, size_t size, size_t bytes, int flags, ...)
{
	return fails_now() ? MAP_FAILED : __real_mremap(old, size, bytes, flags);
}

/* Takes six arguments, however many there are, as the system call does. */
long __wrap_syscall(long number, ...)
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

/* --- what is left behind --- */

struct trace {
	unsigned reserved, descriptors, views;
	size_t length;
	char maps[1 << 18];
};

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static size_t read_maps(char *to, size_t size)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	ssize_t got;
	size_t n = 0;

	while (fd >= 0 && n < size - 1 && (got = read(fd, to + n, size - 1 - n)) > 0)
		n += (size_t)got;
	if (fd >= 0)
		close(fd);
	to[n] = 0;
	return n;
}

static void take_trace(struct trace *t)
{
	const char *at;

	t->reserved = regmap__reserve_count();
	t->descriptors = count_descriptors();
	t->length = read_maps(t->maps, sizeof(t->maps));
	for (t->views = 0, at = t->maps; (at = strstr(at, "memfd:regmap")); at++)
		t->views++;
}

/* Sanitizers map memory of their own all the time. */
static bool compares_maps(void)
{
	const char *mode = getenv("TEST_MODE");

	return !mode || !strcmp(mode, "rel");
}

static void assert_same_trace(const struct trace *a, const struct trace *b)
{
	assert_int_equal(a->reserved, b->reserved);
	assert_int_equal(a->descriptors, b->descriptors);
	assert_int_equal(a->views, b->views);
	if (compares_maps())
		assert_string_equal(a->maps, b->maps);
}

/* --- configs --- */

static int nothing_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width;
	*value = 0;
	return 0;
}

static const struct regmap_device_ops ops = {.read = nothing_read}, no_ops;

static struct regmap_config good(enum regmap_backing backing)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = AT,
		.length = 2 * PAGE,
		.access = RW,
		.backing = backing,
		.host = host,
		.ops = &ops,
		.target = AT + 0x100000,
	};

	return c;
}

#define GOOD .size = sizeof(struct regmap_config), .guest = AT, .length = 64, .access = RW
#define HOST GOOD, .backing = REGMAP_HOST, .host = host

static const struct hostile {
	const char *what;
	int error;
	struct regmap_config config;
} hostile[] = {
	{"all zero", -EINVAL, {0}},
	{"no size", -EINVAL, {HOST, .size = 0}},
	{"one byte less", -EINVAL, {HOST, .size = offsetof(struct regmap_config, fill) - 1}},
	{"a huge size", -EINVAL, {HOST, .size = SIZE_MAX}},
	{"larger than any", -EINVAL, {HOST, .size = CONFIG_MOST + 1}},
	{"empty", -EINVAL, {HOST, .length = 0}},
	{"wraps by one", -EINVAL, {HOST, .guest = UINT64_MAX - 62}},
	{"wraps", -EINVAL, {HOST, .length = UINT64_MAX}},
	{"no access", -EINVAL, {HOST, .access = 0}},
	{"unknown access", -EINVAL, {HOST, .access = 7}},
	{"all access", -EINVAL, {HOST, .access = ~0u}},
	{"unknown backing", -EINVAL, {GOOD, .backing = (enum regmap_backing)4}},
	{"negative backing", -EINVAL, {GOOD, .backing = (enum regmap_backing) - 1}},
	{"unknown flag", -EINVAL, {HOST, .flags = 2}},
	{"all flags", -EINVAL, {HOST, .flags = ~0u}},
	{"no host", -EINVAL, {HOST, .host = NULL}},
	{"host wraps", -EINVAL, {HOST, .host = (void *)-63l}},
	{"no operations", -EINVAL, {GOOD, .backing = REGMAP_DEVICE}},
	{"empty operations", -EINVAL, {GOOD, .backing = REGMAP_DEVICE, .ops = &no_ops}},
	{"target wraps", -EINVAL, {GOOD, .backing = REGMAP_ALIAS, .target = UINT64_MAX - 62}},
	{"alias of itself", -ELOOP, {GOOD, .backing = REGMAP_ALIAS, .target = AT}},
	{"alias of a part of itself", -ELOOP, {GOOD, .backing = REGMAP_ALIAS, .target = AT + 63}},
	{"RAM beyond any",
         -ENOMEM,
         {GOOD, .backing = REGMAP_RAM, .guest = 1ull << 63, .length = 1ull << 60}},
	{"RAM of half the address space",
         -ENOMEM,
         {GOOD, .backing = REGMAP_RAM, .guest = 1ull << 63, .length = 1ull << 63}},
	{"over everything", -EADDRINUSE, {HOST, .host = BAD, .guest = 0, .length = 1ull << 47}},
	{"over the code", -EADDRINUSE, {HOST, .guest = (uint64_t)0}}, /* set below */
	{"vsyscall", -EADDRINUSE, {HOST, .guest = 0xffffffffff600000}},
};

enum { HOSTILE = sizeof(hostile) / sizeof(hostile[0]) };

static bool vsyscall_is_there(void)
{
	static char maps[1 << 18];

	read_maps(maps, sizeof(maps));
	return strstr(maps, "[vsyscall]") != NULL;
}

static int try_one(const struct hostile *h)
{
	struct regmap_window *w = BAD;
	struct regmap_config c = h->config;
	int err;

	if (!strcmp(h->what, "over the code"))
		c.guest = (uintptr_t)&try_one;
	if (!strcmp(h->what, "vsyscall") && !vsyscall_is_there())
		return h->error;
	errno = 4711;
	err = regmap_map(&c, &w);
	assert_ptr_equal(w, BAD);
	assert_int_equal(errno, 4711);
	assert_true(strlen(regmap_strerror(err)) > 10);
	return err;
}

static void test_hostile_config_gives_its_error_and_leaves_nothing(void **state)
{
	static struct trace before, after;
	struct regmap_config c = good(REGMAP_RAM);
	struct regmap_window *w;

	(void)state;
	/* Once for all that is made at the first mapping, and by stdio. */
	assert_int_equal(regmap_map(&c, &w), 0);
	assert_int_equal(regmap_unmap(w), 0);
	for (unsigned i = 0; i < HOSTILE; i++)
		try_one(&hostile[i]);
	take_trace(&before);
	take_trace(&before);
	for (unsigned i = 0; i < HOSTILE; i++) {
		int err = try_one(&hostile[i]);

		if (err != hostile[i].error)
			print_error("%s:\n", hostile[i].what);
		assert_int_equal(err, hostile[i].error);
	}
	take_trace(&after);
	assert_same_trace(&before, &after);
	assert_int_equal(regmap_map(NULL, &w), -EINVAL);
}

/* One clear line, and only where it is promised: where something is in use. */
static int complain_once(void *arg)
{
	const struct hostile *h = arg;

	return try_one(h) == h->error ? 0 : 1;
}

static void test_hostile_config_says_what_is_in_use(void **state)
{
	static struct t_child child;

	(void)state;
	for (unsigned i = 0; i < HOSTILE; i++) {
		bool says = hostile[i].error == -EADDRINUSE;
		char *line;

		if (!strcmp(hostile[i].what, "vsyscall") && !vsyscall_is_there())
			continue;
		t_child_run(&child, complain_once, (void *)(uintptr_t)&hostile[i]);
		assert_int_equal(t_fate(child.status), 0);
		line = strstr(child.text, "regmap: can't map");
		assert_int_equal(line != NULL, says);
		if (says)
			assert_ptr_equal(strchr(line, '\n'), strrchr(child.text, '\n'));
	}
}

/* Names may be of any length and any bytes; what is not a string is the caller's own fault. */
static int long_names(void *arg)
{
	struct regmap_config c = good(REGMAP_HOST);
	char *name = malloc(1 << 20);
	struct regmap_window *w;

	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	memset(name, 0xff, (1 << 20) - 1);
	name[(1 << 20) - 1] = 0;
	c.name = name;
	if (regmap_map(&c, &w))
		return 1;
	memset(name, 'x', 1 << 20); /* it was copied */
	fprintf(stderr, "mapped\n");
	c.access = REGMAP_READ;
	return *(volatile int *)(AT + 2 * PAGE - 2); /* straddles its end: a report */
}

static void test_hostile_config_names_are_copied_and_cut(void **state)
{
	static struct t_child child;

	(void)state;
	t_child_run(&child, long_names, NULL);
	assert_int_equal(t_fate(child.status), SIGSEGV);
	assert_non_null(strstr(child.text, "mapped"));
	assert_null(strstr(child.text, "xxxx"));
}

static sigjmp_buf escape;

static void on_fault(int signo)
{
	siglongjmp(escape, signo);
}

static int survive_a_bad_pointer(void *arg)
{
	struct regmap_config c = good(REGMAP_DEVICE);
	volatile unsigned which;

	(void)arg;
	signal(SIGSEGV, on_fault);
	for (which = 0; which < 3; which++) {
		c = good(REGMAP_DEVICE);
		if (which == 1)
			c.name = BAD;
		if (which == 2)
			c.ops = BAD;
		if (!sigsetjmp(escape, 1))
			return regmap_map(which ? &c : BAD, NULL) ? 1 : 2;
	}
	c = good(REGMAP_HOST);
	return regmap_map(&c, NULL);
}

/* A fault, like that of strlen(); and a program that survives it can go on. */
static void test_hostile_config_bad_pointers_lock_nothing(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(survive_a_bad_pointer, NULL), 0);
}

/* A config that lies in a device, which maps a window at each access. */
static struct regmap_config shown;
static char shown_name[PAGE] = "a name"; /* whole vectors are read of it */

static void map_another(void)
{
	static uint64_t at = AT + 0x200000;
	struct regmap_config c = good(REGMAP_HOST);

	c.guest = at;
	c.length = 16;
	at += 16;
	if (regmap_map(&c, NULL))
		_exit(3);
}

static int show_config(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	map_another();
	*value = 0;
	memcpy(value, (const char *)ctx + offset, width);
	return 0;
}

static int map_what_a_device_shows(void *arg)
{
	static const struct regmap_device_ops showing = {.read = show_config};
	uint64_t at = 0x551700100000;

	(void)arg;
	shown = good(REGMAP_DEVICE);
	shown.name = (const char *)(at + PAGE);
	shown.ops = (const struct regmap_device_ops *)(at + 2 * PAGE);
	if (t_lay_device("config", at, sizeof(shown), &showing, &shown) ||
	    t_lay_device("name", at + PAGE, sizeof(shown_name), &showing, shown_name) ||
	    t_lay_device("operations", at + 2 * PAGE, sizeof(ops), &showing,
	                 (void *)(uintptr_t)&ops))
		return 1;
	return regmap_map((const struct regmap_config *)at, NULL);
}

/* It would wait for itself, if any of this were read under the map lock. */
static void test_hostile_config_may_lie_in_a_device(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(map_what_a_device_shows, NULL), 0);
}

static void test_hostile_config_null_results(void **state)
{
	struct regmap_config c = good(REGMAP_HOST);
	struct regmap_window *w;

	(void)state;
	assert_int_equal(regmap_map(&c, &w), 0);
	assert_int_equal(regmap_translate(AT, NULL), -EFAULT);
	assert_int_equal(regmap_read(AT, NULL, 1), -EFAULT);
	assert_int_equal(regmap_write(AT, NULL, 1), -EFAULT);
	assert_int_equal(regmap_read(AT, NULL, 0), 0);
	assert_int_equal(regmap_read(AT, host, SIZE_MAX), -EFAULT);
	assert_int_equal(regmap_write(AT, host, SIZE_MAX), -EFAULT);
	assert_int_equal(regmap_unmap(w), 0);
}

/* A host that is not there is found out by the access, which is then the program's own fault. */
static int use_bad_host(void *arg)
{
	struct regmap_config c = good(REGMAP_HOST);
	uint32_t value;

	(void)arg;
	signal(SIGSEGV, on_fault);
	c.host = (void *)0x551700000000;
	if (regmap_map(&c, NULL) || regmap_read(AT, &value, 4) != -EFAULT)
		return 1;
	if (!sigsetjmp(escape, 1))
		return (int)*(volatile uint32_t *)AT | 1;
	/* Its own guest addresses: each access would be one to itself. */
	c.guest = AT + 0x100000;
	c.host = (void *)c.guest;
	if (regmap_map(&c, NULL) || regmap_read(c.guest, &value, 4) != -EFAULT)
		return 2;
	if (!sigsetjmp(escape, 1))
		return (int)*(volatile uint32_t *)c.guest | 1;
	return 0;
}

static void test_hostile_config_bad_host_is_a_fault(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(use_bad_host, NULL), 0);
}

/* --- handles --- */

static void test_hostile_handles_are_refused(void **state)
{
	struct regmap_config c = good(REGMAP_HOST);
	struct regmap_window *w, *other;
	char on_stack[256];

	(void)state;
	assert_int_equal(regmap_map(&c, &w), 0);
	for (unsigned i = 1; i < 512; i++)
		assert_int_equal(regmap_unmap((void *)((uintptr_t)w + i)), -EINVAL);
	assert_int_equal(regmap_unmap((void *)on_stack), -EINVAL);
	assert_int_equal(regmap_unmap(BAD), -EINVAL);
	assert_int_equal(regmap_unmap((void *)-8l), -EINVAL);
	assert_int_equal(regmap_unmap((void *)0x8000000000000000), -EINVAL);
	assert_int_equal(regmap_unmap((void *)(uintptr_t)AT), -EINVAL);
	assert_int_equal(regmap_unmap(NULL), 0);
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(regmap_unmap(w), -EINVAL);
	/* The next window is not taken for the one that has gone. */
	assert_int_equal(regmap_map(&c, &other), 0);
	assert_int_equal(regmap_unmap(w), -EINVAL);
	assert_int_equal(regmap_unmap(other), 0);
}

/* --- no memory --- */

static bool is_there(uint64_t at)
{
	uint8_t byte;

	return regmap_read(at, &byte, 1) != -EFAULT;
}

/* What it says is so: the window is there, whole and working, or nothing is. */
static void check_map(const struct regmap_config *c, int err, struct regmap_window *w)
{
	if (err) {
		assert_int_equal(err, -ENOMEM);
		assert_true(failed);
	}
	assert_int_equal(is_there(c->guest), !err && c->backing != REGMAP_ALIAS);
	if (!err && c->backing == REGMAP_RAM) {
		*(volatile uint32_t *)(uintptr_t)(c->guest + PAGE - 2) = 0x12345678;
		assert_int_equal(*(volatile uint32_t *)(uintptr_t)(c->guest + PAGE - 2),
		                 0x12345678);
	}
	if (!err)
		assert_int_equal(regmap_unmap(w), 0);
	assert_false(is_there(c->guest));
}

static void fail_each_call(const struct regmap_config *c)
{
	unsigned n, reserved = regmap__reserve_count();

	for (n = 1, failed = true; failed && n < MOST_CALLS; n++) {
		struct regmap_window *w = NULL;
		int err;

		failed = false;
		countdown = n;
		err = regmap_map(c, &w);
		countdown = 0;
		check_map(c, err, w);
		assert_int_equal(regmap__reserve_count(), reserved);
	}
	assert_true(n < MOST_CALLS && n > 2);
}

static void test_hostile_memory_runs_out_in_map(void **state)
{
	static const enum regmap_backing backings[] = {REGMAP_RAM, REGMAP_HOST, REGMAP_DEVICE,
	                                               REGMAP_ALIAS};

	(void)state;
	for (unsigned i = 0; i < sizeof(backings) / sizeof(backings[0]); i++) {
		struct regmap_config c = good(backings[i]);

		fail_each_call(&c);
		c.access = REGMAP_READ;
		if (backings[i] == REGMAP_HOST)
			fail_each_call(&c);
	}
}

/* The window around gives way in part, or does not, and stays whole. */
static void test_hostile_memory_runs_out_inside_of_ram(void **state)
{
	struct regmap_config outer = good(REGMAP_RAM), inner = good(REGMAP_HOST);
	volatile uint32_t *at = (void *)(uintptr_t)(AT + PAGE + 64);
	struct regmap_window *w, *in;
	unsigned reserved, n;

	(void)state;
	outer.length = 4 * PAGE;
	inner.guest = AT + PAGE;
	inner.length = 16;
	assert_int_equal(regmap_map(&outer, &w), 0);
	reserved = regmap__reserve_count();
	*at = 99;
	for (n = 1, failed = true; failed && n < MOST_CALLS; n++) {
		int err;

		failed = false;
		countdown = n;
		err = regmap_map(&inner, &in);
		countdown = 0;
		assert_true(err == 0 || (err == -ENOMEM && failed));
		assert_int_equal(*at, 99);
		*at = 99;
		if (!err) {
			host[0] = 0x55;
			assert_int_equal(*(volatile uint8_t *)(AT + PAGE), 0x55);
			assert_int_equal(regmap_unmap(in), 0);
		}
		assert_int_equal(*(volatile uint8_t *)(AT + PAGE), 0);
		assert_int_equal(*at, 99);
		assert_int_equal(regmap__reserve_count(), reserved);
	}
	assert_true(n < MOST_CALLS && n > 2);
	assert_int_equal(regmap_unmap(w), 0);
}

/* Unmapping never fails for lack of memory; what can't be given back is given back later. */
static void test_hostile_memory_runs_out_in_unmap(void **state)
{
	struct regmap_config outer = good(REGMAP_RAM), inner = good(REGMAP_DEVICE);
	struct regmap_window *w, *in;
	unsigned n;

	(void)state;
	inner.guest = AT + 100;
	inner.length = PAGE;
	for (n = 1, failed = true; failed && n < MOST_CALLS; n++) {
		failed = false;
		assert_int_equal(regmap_map(&outer, &w), 0);
		*(volatile uint8_t *)(AT + 99) = 7;
		assert_int_equal(regmap_map(&inner, &in), 0);
		countdown = n;
		assert_int_equal(regmap_unmap(in), 0);
		assert_int_equal(*(volatile uint8_t *)(AT + 99), 7);
		assert_int_equal(*(volatile uint8_t *)(AT + 101), 0);
		assert_int_equal(regmap_unmap(w), 0);
		countdown = 0;
		assert_false(is_there(AT));
	}
	assert_true(n < MOST_CALLS && n > 2);
	assert_int_equal(regmap_map(&outer, &w), 0);
	assert_int_equal(regmap_unmap(w), 0);
	assert_int_equal(regmap__reserve_count(), 0);
}

/* Does the kernel find memory there? Not where accesses trap. */
static bool is_mapped(uint64_t at)
{
	int ends[2];
	bool mapped;

	assert_int_equal(pipe(ends), 0);
	mapped = write(ends[1], (void *)(uintptr_t)at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return mapped;
}

/* What an alias shows is right, too, whichever call fails; and nothing shows what has gone. */
static void test_hostile_memory_runs_out_beside_an_alias(void **state)
{
	enum { MIRROR = 0x1000000 };
	struct regmap_config outer = good(REGMAP_RAM), inner = good(REGMAP_RAM),
			     a = good(REGMAP_ALIAS);
	volatile uint8_t *alias = (void *)(uintptr_t)(AT + MIRROR);
	struct regmap_window *w, *in, *mirror;
	unsigned n;

	(void)state;
	outer.length = a.length = 4 * PAGE;
	inner.guest = AT + PAGE;
	inner.length = PAGE;
	a.guest = AT + MIRROR;
	a.target = AT;
	assert_int_equal(regmap_map(&a, &mirror), 0);
	for (n = 1, failed = true; failed && n < MOST_CALLS; n++) {
		int err;

		assert_int_equal(regmap_map(&outer, &w), 0);
		alias[PAGE] = 7;
		for (unsigned i = 0; i < 3; i++) {
			failed = false;
			countdown = i == 0 ? n : 0;
			err = regmap_map(&inner, &in);
			countdown = 0;
			assert_true(err == 0 || (err == -ENOMEM && failed));
			assert_int_equal(alias[PAGE], err ? 7 : 0);
			if (err)
				continue;
			alias[PAGE] = 9;
			countdown = i == 1 ? n : 0;
			assert_int_equal(regmap_unmap(in), 0);
			countdown = 0;
			assert_int_equal(alias[PAGE], 7);
		}
		failed = false;
		countdown = n;
		assert_int_equal(regmap_unmap(w), 0);
		countdown = 0;
		assert_int_equal(regmap_read(AT + MIRROR, &(uint8_t){0}, 1), -EFAULT);
		for (unsigned i = 0; i < 4; i++)
			assert_false(is_mapped(AT + MIRROR + i * PAGE));
	}
	assert_true(n < MOST_CALLS && n > 2);
	assert_int_equal(regmap_unmap(mirror), 0);
	assert_int_equal(regmap__reserve_count(), 0);
}

/* Every second page has other rights, until the kernel has no more mappings to give. */
static void use_up_mappings(void)
{
	enum { PLENTY = 300000 };
	uint8_t *room = mmap(NULL, (size_t)PLENTY * PAGE, PROT_NONE,
	                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t i;

	for (i = 0; i < PLENTY && !mprotect(room + i * PAGE, PAGE, PROT_READ);)
		i += 2;
	if (room == MAP_FAILED || i >= PLENTY)
		_exit(77);
	/* What was left was less than two: take one that ends where another begins. */
	mprotect(room + i * PAGE - PAGE, PAGE, PROT_READ | PROT_WRITE);
}

/* The kernel has made one mapping of three windows, here and at the alias, and can't cut it. */
static int unmap_the_middle(void *arg)
{
	enum { MIRROR = 0x1000000 };
	struct regmap_config c = good(REGMAP_RAM), a = good(REGMAP_ALIAS);
	volatile uint8_t *alias = (void *)(uintptr_t)(AT + MIRROR);
	struct regmap_window *w[3], *mirror;

	(void)arg;
	a.length = 3 * PAGE;
	a.guest = AT + MIRROR;
	a.target = AT;
	c.length = PAGE;
	for (unsigned i = 0; i < 3; i++, c.guest += PAGE)
		if (regmap_map(&c, &w[i]))
			return 1;
	if (regmap_map(&a, &mirror) || !is_mapped(AT) || !is_mapped(AT + MIRROR))
		return 2;
	for (unsigned i = 0; i < 3; i++)
		alias[i * PAGE] = (uint8_t)(i + 1);
	use_up_mappings();
	if (regmap_unmap(w[1]))
		return 3;
	if (is_mapped(AT + PAGE) || is_mapped(AT + MIRROR + PAGE))
		return 4;
	if (alias[0] != 1 || alias[2 * PAGE] != 3 || *(volatile uint8_t *)AT != 1)
		return 5;
	return regmap_unmap(w[0]) || regmap_unmap(w[2]) || regmap_unmap(mirror) ? 6 : 0;
}

static void test_hostile_mappings_run_out_in_unmap(void **state)
{
	int fate;

	(void)state;
	if (!compares_maps())
		skip(); /* sanitizers need mappings, too */
	fate = t_child_fate(unmap_the_middle, NULL);
	if (fate == -1 - 77)
		skip(); /* vm.max_map_count is out of reach */
	assert_int_equal(fate, 0);
}

struct first {
	unsigned n;
	bool *more;
};

static int map_first(void *arg)
{
	struct regmap_config c = good(REGMAP_RAM);
	const struct first *first = arg;
	struct regmap_window *w;
	int err;

	countdown = first->n;
	err = regmap_map(&c, &w);
	countdown = 0;
	*first->more = failed;
	if (err && (err != -ENOMEM || !failed || is_there(AT)))
		return 1;
	if (err && regmap_map(&c, &w))
		return 2; /* the next time it must work */
	*(volatile uint32_t *)AT = 5;
	*(volatile uint32_t *)(AT + PAGE - 2) = 6;
	if (*(volatile uint32_t *)AT != 5 || regmap_unmap(w) || is_there(AT))
		return 3;
	/* What comes to pass later does so in full: vectors need code memory. */
	c = good(REGMAP_HOST);
	if (regmap_map(&c, &w))
		return 4;
	__asm__ volatile("pcmpeqd %%xmm1, %%xmm1; movdqu %%xmm1, (%0)" : : "r"(AT) : "xmm1");
	return host[15] != 0xff;
}

/* The first mapping of a process sets up code memory, handlers and all else. Comes first in main(). */
static void test_hostile_memory_runs_out_at_the_first_mapping(void **state)
{
	struct first first = {1, t_shared(sizeof(bool))};

	(void)state;
	do
		assert_int_equal(t_child_fate(map_first, &first), 0);
	while (*first.more && ++first.n < MOST_CALLS);
	assert_true(first.n > 5 && first.n < MOST_CALLS);
}

static int map_with_little_address_space(void *arg)
{
	struct regmap_config c = good(REGMAP_RAM), h = good(REGMAP_HOST);
	struct rlimit limit = {0};
	struct regmap_window *w;

	(void)arg;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = 128 << 20;
	setrlimit(RLIMIT_AS, &limit);
	c.length = 1ull << 30;
	if (regmap_map(&c, &w) != -ENOMEM || is_there(AT))
		return 1;
	return regmap_map(&h, &w) || regmap_unmap(w);
}

static void test_hostile_memory_limit(void **state)
{
	(void)state;
	if (!compares_maps())
		skip(); /* sanitizers need terabytes */
	assert_int_equal(t_child_fate(map_with_little_address_space, NULL), 0);
}

static int map_without_descriptors(void *arg)
{
	struct regmap_config c = good(REGMAP_RAM);
	struct rlimit none = {0, 0};
	struct regmap_window *w;

	(void)arg;
	setrlimit(RLIMIT_NOFILE, &none);
	if (regmap_map(&c, &w))
		return 1;
	*(volatile uint32_t *)AT = 5;
	*(volatile uint32_t *)AT += 1;
	return *(volatile uint32_t *)AT != 6 || regmap_unmap(w);
}

static void test_hostile_memory_without_descriptors(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(map_without_descriptors, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_memory_runs_out_at_the_first_mapping),
		cmocka_unit_test(test_hostile_memory_without_descriptors),
		cmocka_unit_test(test_hostile_memory_limit),
		cmocka_unit_test(test_hostile_config_gives_its_error_and_leaves_nothing),
		cmocka_unit_test(test_hostile_config_says_what_is_in_use),
		cmocka_unit_test(test_hostile_config_names_are_copied_and_cut),
		cmocka_unit_test(test_hostile_config_bad_pointers_lock_nothing),
		cmocka_unit_test(test_hostile_config_may_lie_in_a_device),
		cmocka_unit_test(test_hostile_config_null_results),
		cmocka_unit_test(test_hostile_config_bad_host_is_a_fault),
		cmocka_unit_test(test_hostile_handles_are_refused),
		cmocka_unit_test(test_hostile_memory_runs_out_in_map),
		cmocka_unit_test(test_hostile_memory_runs_out_inside_of_ram),
		cmocka_unit_test(test_hostile_memory_runs_out_in_unmap),
		cmocka_unit_test(test_hostile_memory_runs_out_beside_an_alias),
		cmocka_unit_test(test_hostile_mappings_run_out_in_unmap),
	};

	return cmocka_run_group_tests_name("hostile_config", tests, NULL, NULL);
}
