/* SPDX-License-Identifier: MIT */
/* A window of each kind, for system calls to reach into: test_syscalls_*. */
#ifndef TESTS_REACH_H
#define TESTS_REACH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <regmap/regmap.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lay.h"

enum { PAGE = 4096, RW = REGMAP_READ | REGMAP_WRITE, SKIP = 77 };

#define BASE 0x551000000000ULL
#define HOST BASE                     /* two pages */
#define DEVICE (BASE + 0x10000)       /* two pages */
#define TRAPPED (BASE + 0x20000)      /* RAM, two pages */
#define ALIAS (BASE + 0x30000)        /* of HOST */
#define DIRECT (BASE + 0x40000)       /* RAM, two pages */
#define READ_ONLY (BASE + 0x50000)    /* a page */
#define WRITE_ONLY (BASE + 0x60000)   /* a page */
#define EDGE (BASE + 0x70000)         /* the last 64 bytes of a page; then memory, a page */
#define LARGE (BASE + 0x1000000)      /* 8 MB */
#define HIGH 0xffff900000000000ULL    /* two pages */
#define NOWHERE 0x1234567800000000ULL /* two pages */

static uint8_t host[2 * PAGE], device[2 * PAGE], high[2 * PAGE], nowhere[2 * PAGE];
static uint8_t read_only[PAGE], write_only[PAGE], edge[64];
static char noted[4096];
static uint64_t fail_at = UINT64_MAX;
static int (*volatile hook)(void);
static int to_pipe, from_pipe;

/* Each way a window can be, all of two pages. */
static const uint64_t places[] = {HOST, DEVICE, TRAPPED, ALIAS, DIRECT, HIGH, NOWHERE};
enum { PLACES = sizeof(places) / sizeof(places[0]) };

/* --- helpers --- */

static inline void *at(uint64_t guest)
{
	return (void *)(uintptr_t)guest;
}

/* No libc wrapper: sanitizers look up what they are given. */
#define sys(name, ...) syscall(SYS_##name, __VA_ARGS__)

static inline void put(uint64_t guest, const void *from, size_t length)
{
	assert_int_equal(regmap_write(guest, from, length), 0);
}

static inline void put_text(uint64_t guest, const char *text)
{
	put(guest, text, strlen(text) + 1);
}

static inline void get(uint64_t guest, void *to, size_t length)
{
	assert_int_equal(regmap_read(guest, to, length), 0);
}

static inline void holds(uint64_t guest, const void *bytes, size_t length)
{
	uint8_t seen[2 * PAGE];

	get(guest, seen, length);
	assert_memory_equal(seen, bytes, length);
}

static inline void note(char what, uint64_t offset, unsigned width)
{
	size_t used = strlen(noted);

	if (used < sizeof(noted) - 40)
		snprintf(noted + used, 40, "%c%u@%llu ", what, width, (unsigned long long)offset);
}

static inline int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	int err = hook ? hook() : 0;

	note('r', offset, width);
	memcpy(value, (uint8_t *)ctx + offset, width);
	return offset <= fail_at && fail_at < offset + width ? -EIO : err;
}

static inline int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	int err = hook ? hook() : 0;

	note('w', offset, width);
	if (offset <= fail_at && fail_at < offset + width)
		return -EIO;
	memcpy((uint8_t *)ctx + offset, &value, width);
	return err;
}

static const struct regmap_device_ops device_ops = {device_read, device_write};

static inline int lay_ram(uint64_t guest, uint64_t length, unsigned flags)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = guest,
	                          .length = length,
	                          .access = RW};

	c.backing = REGMAP_RAM, c.flags = flags;
	return regmap_map(&c, NULL);
}

static inline int lay_alias(uint64_t guest, uint64_t target, uint64_t length)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = guest,
	                          .length = length,
	                          .access = RW};

	c.backing = REGMAP_ALIAS, c.target = target;
	return regmap_map(&c, NULL);
}

static inline int lay_all(void **state)
{
	void *behind = mmap(at(EDGE + PAGE), PAGE, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	(void)state;
	if (regmap_syscalls(1) == -ENOSYS) {
		fprintf(stderr, "no syscall user dispatch here\n");
		exit(SKIP);
	}
	return behind != at(EDGE + PAGE) || t_lay_host("host", HOST, host, sizeof(host), RW) ||
	       t_lay_device("device", DEVICE, sizeof(device), &device_ops, device) ||
	       lay_ram(TRAPPED, 2 * PAGE, REGMAP_TRAP) || lay_alias(ALIAS, HOST, 2 * PAGE) ||
	       lay_ram(DIRECT, 2 * PAGE, 0) || lay_ram(LARGE, 8 << 20, REGMAP_TRAP) ||
	       t_lay_host("read-only", READ_ONLY, read_only, PAGE, REGMAP_READ) ||
	       t_lay_host("write-only", WRITE_ONLY, write_only, PAGE, REGMAP_WRITE) ||
	       t_lay_host("edge", EDGE + PAGE - 64, edge, 64, RW) ||
	       t_lay_host("high", HIGH, high, sizeof(high), RW) ||
	       t_lay_host("nowhere", NOWHERE, nowhere, sizeof(nowhere), RW);
}

static inline int fresh(void **state)
{
	int ends[2];

	(void)state;
	noted[0] = 0;
	fail_at = UINT64_MAX;
	hook = NULL;
	if (pipe(ends))
		return -1;
	from_pipe = ends[0], to_pipe = ends[1];
	return regmap_syscalls(1);
}

static inline int close_pipe(void **state)
{
	(void)state;
	close(from_pipe);
	close(to_pipe);
	return regmap_syscalls(0);
}

static inline void pattern(uint8_t *to, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		to[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

static inline void fill_pipe(const void *bytes, size_t length)
{
	assert_int_equal(sys(write, to_pipe, bytes, length), length);
}

static inline void assert_failed(long result, int error)
{
	int seen = errno;

	assert_int_equal(result, -1);
	assert_int_equal(seen, error);
}

/*
 * ThreadSanitizer puts signals off for as long as it likes, and threads that it has not seen begin,
 * or has seen end, must not have their calls dispatched.
 */
static inline void not_with_tsan(void)
{
	const char *mode = getenv("TEST_MODE");

	if (mode && !strcmp(mode, "tsan"))
		skip();
}

static inline struct iovec piece(uint64_t guest, size_t length)
{
	return (struct iovec){at(guest), length};
}

static volatile int caught;

static inline void on_signal(int signo)
{
	char byte;

	(void)signo;
	caught++;
	/* each of these is a signal within a signal */
	if (sys(getppid, 0) != getppid() || sys(read, -1, &byte, 1) != -1)
		abort();
	put(DEVICE + 128, "handler", 8);
	if (sys(write, -1, DEVICE + 128, 8) != -1 || errno != EBADF)
		abort();
}

static inline void catch_quietly(int signo, void (*handler)(int), int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};

	sigfillset(&act.sa_mask);
	assert_int_equal(sigaction(signo, &act, NULL), 0);
}

static inline void catch_signal(int signo, void (*handler)(int), int flags)
{
	caught = 0;
	catch_quietly(signo, handler, flags);
}

/* In the kernel, by what /proc says. */
static inline bool sleeps(pid_t thread)
{
	char name[64], line[256] = "", *state;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/task/%d/stat", getpid(), thread);
	fd = open(name, O_RDONLY);
	if (read(fd, line, sizeof(line) - 1) < 0)
		line[0] = 0;
	close(fd);
	state = strrchr(line, ')');
	return state && state[2] == 'S';
}

/* Lines of /proc/self/maps */
static inline unsigned mappings(void)
{
	char line[512];
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), f))
		n++;
	fclose(f);
	return n;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_syscalls_##name, fresh, close_pipe)

#endif
