/* SPDX-License-Identifier: MIT */
/* System calls on windows: regmap_syscalls(). */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/stat.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "child.h"
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
static atomic_bool stop; /* what other threads do */

/* Each way a window can be, all of two pages. */
static const uint64_t places[] = {HOST, DEVICE, TRAPPED, ALIAS, DIRECT, HIGH, NOWHERE};
enum { PLACES = sizeof(places) / sizeof(places[0]) };

/* --- helpers --- */

static void *at(uint64_t guest)
{
	return (void *)(uintptr_t)guest;
}

/* No libc wrapper: sanitizers look up what they are given. */
#define sys(name, ...) syscall(SYS_##name, __VA_ARGS__)

static void put(uint64_t guest, const void *from, size_t length)
{
	assert_int_equal(regmap_write(guest, from, length), 0);
}

static void put_text(uint64_t guest, const char *text)
{
	put(guest, text, strlen(text) + 1);
}

static void get(uint64_t guest, void *to, size_t length)
{
	assert_int_equal(regmap_read(guest, to, length), 0);
}

static void holds(uint64_t guest, const void *bytes, size_t length)
{
	uint8_t seen[2 * PAGE];

	get(guest, seen, length);
	assert_memory_equal(seen, bytes, length);
}

static void note(char what, uint64_t offset, unsigned width)
{
	size_t used = strlen(noted);

	if (used < sizeof(noted) - 40)
		snprintf(noted + used, 40, "%c%u@%llu ", what, width, (unsigned long long)offset);
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	int err = hook ? hook() : 0;

	note('r', offset, width);
	memcpy(value, (uint8_t *)ctx + offset, width);
	return offset <= fail_at && fail_at < offset + width ? -EIO : err;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	int err = hook ? hook() : 0;

	note('w', offset, width);
	if (offset <= fail_at && fail_at < offset + width)
		return -EIO;
	memcpy((uint8_t *)ctx + offset, &value, width);
	return err;
}

static const struct regmap_device_ops device_ops = {device_read, device_write};

static int lay_ram(uint64_t guest, uint64_t length, unsigned flags)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = guest,
	                          .length = length,
	                          .access = RW};

	c.backing = REGMAP_RAM, c.flags = flags;
	return regmap_map(&c, NULL);
}

static int lay_alias(uint64_t guest, uint64_t target, uint64_t length)
{
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = guest,
	                          .length = length,
	                          .access = RW};

	c.backing = REGMAP_ALIAS, c.target = target;
	return regmap_map(&c, NULL);
}

static int lay_all(void **state)
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

static int fresh(void **state)
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

static int close_pipe(void **state)
{
	(void)state;
	close(from_pipe);
	close(to_pipe);
	return regmap_syscalls(0);
}

static void pattern(uint8_t *to, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		to[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

static void fill_pipe(const void *bytes, size_t length)
{
	assert_int_equal(sys(write, to_pipe, bytes, length), length);
}

static void assert_failed(long result, int error)
{
	int seen = errno;

	assert_int_equal(result, -1);
	assert_int_equal(seen, error);
}

/*
 * ThreadSanitizer puts signals off for as long as it likes, and threads that it has not seen begin
 * must not have their calls dispatched.
 */
static void not_with_tsan(void)
{
	const char *mode = getenv("TEST_MODE");

	if (mode && !strcmp(mode, "tsan"))
		skip();
}

/* --- bytes --- */

static void test_syscalls_off_is_efault(void **state)
{
	(void)state;
	assert_int_equal(regmap_syscalls(0), 0);
	assert_failed(sys(write, to_pipe, HOST, 4), EFAULT);
	assert_int_equal(regmap_syscalls(1), 0);
	assert_int_equal(sys(write, to_pipe, HOST, 4), 4);
}

static void test_syscalls_read_and_write_any_window(void **state)
{
	static const size_t lengths[] = {1, 2, 7, 8, 9, 64, 511, PAGE, 2 * PAGE - 3};

	(void)state;
	for (unsigned p = 0; p < PLACES; p++) {
		for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			uint8_t bytes[2 * PAGE], seen[2 * PAGE];
			size_t n = lengths[i];

			pattern(bytes, n, p + i);
			put(places[p] + 3, bytes, n);
			assert_int_equal(sys(write, to_pipe, places[p] + 3, n), n);
			assert_int_equal(sys(read, from_pipe, seen, n), n);
			assert_memory_equal(seen, bytes, n);
			pattern(bytes, n, p + i + 100);
			fill_pipe(bytes, n);
			assert_int_equal(sys(read, from_pipe, places[p] + 3, n), n);
			holds(places[p] + 3, bytes, n);
		}
	}
}

static void test_syscalls_devices_see_what_is_written_and_no_more(void **state)
{
	(void)state;
	fill_pipe("abcde", 5);
	assert_int_equal(sys(read, from_pipe, DEVICE + 3, 64), 5);
	assert_string_equal(noted, "w1@3 w4@4 ");
	noted[0] = 0;
	assert_int_equal(sys(write, to_pipe, DEVICE + 3, 5), 5);
	assert_string_equal(noted, "r1@3 r4@4 ");
	noted[0] = 0;
	assert_failed(sys(read, -1, DEVICE, 8), EBADF);
	assert_string_equal(noted, "");
}

static void test_syscalls_nothing_there_touches_nothing(void **state)
{
	(void)state;
	assert_int_equal(fcntl(from_pipe, F_SETFL, O_NONBLOCK), 0);
	assert_failed(sys(read, from_pipe, DEVICE, 64), EAGAIN);
	assert_string_equal(noted, "");
	assert_int_equal(sys(read, from_pipe, DEVICE, 0), 0);
	close(to_pipe);
	assert_int_equal(sys(read, from_pipe, DEVICE, 64), 0);
	assert_string_equal(noted, "");
	to_pipe = dup(from_pipe);
}

static void test_syscalls_rights_are_kept(void **state)
{
	char left[8];

	(void)state;
	fill_pipe("data", 4);
	assert_failed(sys(read, from_pipe, READ_ONLY, 4), EFAULT);
	assert_failed(sys(write, to_pipe, WRITE_ONLY, 4), EFAULT);
	assert_int_equal(sys(read, from_pipe, left, 8), 4);
	assert_memory_equal(left, "data", 4);
	assert_int_equal(sys(write, to_pipe, READ_ONLY, 4), 4);
	assert_int_equal(sys(read, from_pipe, WRITE_ONLY, 8), 4);
}

static void test_syscalls_buffers_must_not_leave_windows(void **state)
{
	char left[8];

	(void)state;
	assert_failed(sys(write, to_pipe, HOST + 2 * PAGE - 4, 8), EFAULT);
	assert_failed(sys(write, to_pipe, HOST - 4, 8), EFAULT);
	fill_pipe("datadata", 8);
	assert_failed(sys(read, from_pipe, HOST + 2 * PAGE - 4, 8), EFAULT);
	assert_failed(sys(write, to_pipe, ~0ULL, 8), EFAULT);
	assert_failed(sys(write, to_pipe, 0, 8), EFAULT);
	assert_int_equal(sys(read, from_pipe, left, 0), 0);
}

static void test_syscalls_buffers_may_span_windows_and_memory(void **state)
{
	uint8_t bytes[128], seen[128];

	(void)state;
	pattern(bytes, 128, 1);
	fill_pipe(bytes, 128);
	assert_int_equal(sys(read, from_pipe, EDGE + PAGE - 64, 128), 128);
	assert_memory_equal(edge, bytes, 64);
	assert_memory_equal(at(EDGE + PAGE), bytes + 64, 64);
	assert_int_equal(sys(write, to_pipe, EDGE + PAGE - 32, 96), 96);
	assert_int_equal(sys(read, from_pipe, seen, 128), 96);
	assert_memory_equal(seen, bytes + 32, 96);
}

static void test_syscalls_device_errors_are_efault(void **state)
{
	char left[8];

	(void)state;
	fail_at = 8;
	assert_failed(sys(write, to_pipe, DEVICE, 16), EFAULT);
	assert_int_equal(fcntl(from_pipe, F_SETFL, O_NONBLOCK), 0);
	assert_failed(sys(read, from_pipe, left, 8), EAGAIN);
	fill_pipe("0123456789abcdef", 16);
	assert_int_equal(sys(read, from_pipe, DEVICE, 16), 8);
	fill_pipe("0123456789abcdef", 16);
	fail_at = 0;
	assert_failed(sys(read, from_pipe, DEVICE, 16), EFAULT);
}

static void test_syscalls_large_buffers_go_in_one(void **state)
{
	int fd = (int)sys(memfd_create, "large", 0);
	size_t length = 8 << 20;
	uint8_t *bytes = malloc(length);
	void *ram;

	(void)state;
	pattern(bytes, length, 3);
	assert_int_equal(pwrite(fd, bytes, length, 0), length);
	assert_int_equal(sys(read, fd, LARGE, length), length);
	assert_int_equal(regmap_translate(LARGE, &ram), 0);
	assert_int_equal(memcmp(ram, bytes, length), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(sys(pwrite64, fd, LARGE, length, 0L), length);
	memset(bytes, 0, length);
	assert_int_equal(pread(fd, bytes, length, 0), length);
	assert_int_equal(memcmp(ram, bytes, length), 0);
	close(fd);
	free(bytes);
}

static void test_syscalls_pread_and_pwrite_take_offsets(void **state)
{
	int fd = (int)sys(memfd_create, "offsets", 0);
	char seen[8];

	(void)state;
	for (unsigned p = 0; p < PLACES; p++) {
		put(places[p] + 5, "window", 6);
		assert_int_equal(sys(pwrite64, fd, places[p] + 5, 6, 100L + p), 6);
		assert_int_equal(pread(fd, seen, 6, 100 + p), 6);
		assert_memory_equal(seen, "window", 6);
		assert_int_equal(sys(pread64, fd, places[p] + 64, 4000, 102L + p), 4);
		holds(places[p] + 64, "ndow", 4);
	}
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	close(fd);
}

/* --- lists --- */

static struct iovec piece(uint64_t guest, size_t length)
{
	return (struct iovec){at(guest), length};
}

static void test_syscalls_lists_go_in_order(void **state)
{
	uint8_t bytes[100], seen[100], mine[20];
	struct iovec list[] = {piece(HOST, 30),
	                       {mine, 20},
	                       piece(DEVICE + 1, 7),
	                       piece(0, 0),
	                       piece(NOWHERE, 43)};

	(void)state;
	pattern(bytes, 100, 9);
	fill_pipe(bytes, 100);
	assert_int_equal(sys(readv, from_pipe, list, 5), 100);
	holds(HOST, bytes, 30);
	assert_memory_equal(mine, bytes + 30, 20);
	holds(DEVICE + 1, bytes + 50, 7);
	holds(NOWHERE, bytes + 57, 43);
	assert_int_equal(sys(writev, to_pipe, list, 5), 100);
	assert_int_equal(sys(read, from_pipe, seen, 100), 100);
	assert_memory_equal(seen, bytes, 100);
}

static void test_syscalls_lists_may_lie_in_windows(void **state)
{
	struct iovec list[] = {piece(HOST + 100, 3), piece(DEVICE, 3)};
	char seen[8];

	(void)state;
	put(DEVICE + 64, list, sizeof(list));
	put(HOST + 100, "abc", 3);
	put(DEVICE, "def", 3);
	assert_int_equal(sys(writev, to_pipe, DEVICE + 64, 2), 6);
	assert_int_equal(sys(read, from_pipe, seen, 8), 6);
	assert_memory_equal(seen, "abcdef", 6);
}

static void test_syscalls_short_lists_are_filled_as_far_as_it_goes(void **state)
{
	struct iovec list[] = {piece(DEVICE + 8, 4), piece(DEVICE + 16, 8), piece(DEVICE + 32, 8)};

	(void)state;
	fill_pipe("abcdefg", 7);
	assert_int_equal(sys(readv, from_pipe, list, 3), 7);
	assert_string_equal(noted, "w4@8 w2@16 w1@18 ");
	fail_at = 17;
	fill_pipe("abcdefg", 7);
	assert_int_equal(sys(readv, from_pipe, list, 3), 4);
	fail_at = 8;
	fill_pipe("abcdefg", 7);
	assert_failed(sys(readv, from_pipe, list, 3), EFAULT);
}

static void test_syscalls_lists_with_offsets(void **state)
{
	int fd = (int)sys(memfd_create, "offsets", 0);
	struct iovec list[] = {piece(HOST, 4), piece(TRAPPED, 4)};
	struct iovec back[] = {piece(TRAPPED + 100, 2), piece(HOST + 100, 10)};

	(void)state;
	put(HOST, "0123", 4);
	put(TRAPPED, "4567", 4);
	assert_int_equal(sys(pwritev, fd, list, 2, 10L, 0L), 8);
	assert_int_equal(sys(preadv, fd, back, 2, 11L, 0L), 7);
	holds(TRAPPED + 100, "12", 2);
	holds(HOST + 100, "34567", 5);
	assert_int_equal(sys(pwritev2, fd, list, 2, 20L, 0L, 0), 8);
	assert_int_equal(sys(preadv2, fd, back, 2, 26L, 0L, 0), 2);
	holds(TRAPPED + 100, "67", 2);
	close(fd);
}

static void test_syscalls_wrong_lists_are_the_kernels_business(void **state)
{
	struct iovec list[] = {piece(HOST, 4), piece(HOST, SIZE_MAX)};

	(void)state;
	assert_failed(sys(writev, to_pipe, list, 2), EINVAL);
	assert_failed(sys(writev, to_pipe, list, -1L), EINVAL);
	assert_failed(sys(writev, to_pipe, HOST + 2 * PAGE - 8, 1), EFAULT);
	list[1].iov_len = 4;
	list[1].iov_base = at(WRITE_ONLY);
	assert_true(sys(writev, to_pipe, list, 2) < 0);
}

/* --- sockets --- */

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "regmap-%d-%s", (int)getpid(), name);
	return a;
}

static int bound_socket(int type, uint64_t scratch, const char *name)
{
	struct sockaddr_un a = address_of(name);
	int fd = socket(AF_UNIX, type, 0);

	put(scratch, &a, sizeof(a));
	assert_int_equal(sys(bind, fd, scratch, sizeof(a)), 0);
	return fd;
}

static void test_syscalls_datagrams_stay_whole(void **state)
{
	struct sockaddr_un us = address_of("a"), seen;
	uint32_t room = sizeof(us);
	static uint8_t bytes[60000];
	void *ram;
	int a, b;

	(void)state;
	for (unsigned p = 0; p < PLACES; p++) {
		a = bound_socket(SOCK_DGRAM, places[p], "a");
		b = bound_socket(SOCK_DGRAM, places[p], "b");
		put(places[p] + 256, &us, sizeof(us));
		put_text(places[p], "datagram");
		assert_int_equal(sys(sendto, b, places[p], 9, 0, places[p] + 256, sizeof(us)), 9);
		put(places[p] + 512, &room, 4);
		assert_int_equal(sys(recvfrom, a, places[p] + 1024, 1000, 0, places[p] + 600,
		                     places[p] + 512),
		                 9);
		holds(places[p] + 1024, "datagram", 9);
		get(places[p] + 600, &seen, sizeof(seen));
		assert_string_equal(seen.sun_path + 1, address_of("b").sun_path + 1);
		close(a);
		close(b);
	}
	a = bound_socket(SOCK_DGRAM, HOST, "a");
	b = bound_socket(SOCK_DGRAM, HOST, "b");
	pattern(bytes, sizeof(bytes), 5);
	assert_int_equal(regmap_translate(LARGE, &ram), 0);
	memcpy(ram, bytes, sizeof(bytes));
	assert_int_equal(sys(sendto, b, LARGE, sizeof(bytes), 0, &us, sizeof(us)), sizeof(bytes));
	memset(ram, 0, sizeof(bytes));
	assert_int_equal(sys(recvfrom, a, LARGE, 8 << 20, 0, NULL, NULL), sizeof(bytes));
	assert_memory_equal(ram, bytes, sizeof(bytes));
	assert_int_equal(sys(sendto, b, "longer than there is room", 25, 0, &us, sizeof(us)), 25);
	noted[0] = 0;
	assert_int_equal(sys(recvfrom, a, DEVICE, 8, MSG_TRUNC, NULL, NULL), 25);
	assert_string_equal(noted, "w8@0 ");
	close(a);
	close(b);
}

static void test_syscalls_streams_connect_and_accept(void **state)
{
	struct sockaddr_un us = address_of("s");
	int server = bound_socket(SOCK_STREAM, HOST, "s"), client = socket(AF_UNIX, SOCK_STREAM, 0);
	uint32_t room = sizeof(us);
	struct ucred peer;
	int peer_fd, on = 1;

	(void)state;
	assert_int_equal(listen(server, 1), 0);
	put(DEVICE, &us, sizeof(us));
	assert_int_equal(sys(connect, client, DEVICE, sizeof(us)), 0);
	put(HOST + 500, &room, 4);
	peer_fd = (int)sys(accept4, server, HOST, HOST + 500, 0);
	assert_true(peer_fd >= 0);
	get(HOST + 500, &room, 4);
	assert_int_equal(room, 2); /* the client has no name */
	room = sizeof(us);
	put(HOST + 500, &room, 4);
	assert_int_equal(sys(getsockname, server, HOST, HOST + 500), 0);
	holds(HOST, &us, 10);
	room = sizeof(peer);
	put(HOST + 500, &room, 4);
	assert_int_equal(sys(getsockopt, client, SOL_SOCKET, SO_PEERCRED, HOST + 400, HOST + 500),
	                 0);
	get(HOST + 400, &peer, sizeof(peer));
	assert_int_equal(peer.pid, getpid());
	put(DEVICE + 8, &on, 4);
	assert_int_equal(sys(setsockopt, client, SOL_SOCKET, SO_PASSCRED, DEVICE + 8, 4), 0);
	close(server);
	close(client);
	close(peer_fd);
}

static void test_syscalls_messages_carry_all_their_parts(void **state)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec list[] = {piece(HOST, 4), piece(DEVICE, 4)};
	struct msghdr m;
	int pair[2], passed;
	char seen[16];

	(void)state;
	for (unsigned p = 0; p < PLACES; p++) {
		uint64_t w = places[p];

		assert_int_equal(sys(socketpair, AF_UNIX, SOCK_DGRAM, 0, w), 0);
		get(w, pair, sizeof(pair));
		memcpy(CMSG_DATA(&control.header), &to_pipe, sizeof(int));
		put(HOST, "head", 4);
		put(DEVICE, "tail", 4);
		put(w + 1000, &control, sizeof(control));
		put(w + 2000, list, sizeof(list));
		m = (struct msghdr){.msg_iov = at(w + 2000),
		                    .msg_iovlen = 2,
		                    .msg_control = at(w + 1000),
		                    .msg_controllen = sizeof(control)};
		put(w + 3000, &m, sizeof(m));
		assert_int_equal(sys(sendmsg, pair[0], w + 3000, 0), 8);
		list[0] = piece(w + 100, 6);
		list[1] = piece(w + 200, 6);
		put(w + 2000, list, sizeof(list));
		memset(&control, 0, sizeof(control));
		put(w + 1000, &control, sizeof(control));
		m.msg_flags = 77;
		put(w + 3000, &m, sizeof(m));
		assert_int_equal(sys(recvmsg, pair[1], w + 3000, 0), 8);
		holds(w + 100, "headta", 6);
		holds(w + 200, "il", 2);
		get(w + 3000, &m, sizeof(m));
		assert_int_equal(m.msg_flags, 0);
		assert_ptr_equal(m.msg_iov, at(w + 2000));
		assert_ptr_equal(m.msg_control, at(w + 1000));
		assert_int_equal(m.msg_controllen, sizeof(control));
		get(w + 1000, &control, sizeof(control));
		memcpy(&passed, CMSG_DATA(&control.header), sizeof(int));
		assert_int_equal(write(passed, "through", 7), 7);
		assert_int_equal(read(from_pipe, seen, 16), 7);
		close(passed);
		close(pair[0]);
		close(pair[1]);
		list[0] = piece(HOST, 4);
		list[1] = piece(DEVICE, 4);
	}
}

static void test_syscalls_messages_in_memory_with_parts_in_windows(void **state)
{
	struct sockaddr_un us = address_of("m"), from;
	int a = bound_socket(SOCK_DGRAM, HOST, "m"), b = bound_socket(SOCK_DGRAM, HOST, "n");
	struct iovec out = piece(HOST + 200, 5), in = piece(HOST + 300, 50);
	struct msghdr m = {.msg_name = at(HOST), .msg_namelen = sizeof(us), .msg_iov = &out};

	(void)state;
	m.msg_iovlen = 1;
	put(HOST, &us, sizeof(us));
	put(HOST + 200, "hello", 5);
	assert_int_equal(sys(sendmsg, b, &m, 0), 5);
	assert_ptr_equal(m.msg_iov, &out);
	assert_ptr_equal(out.iov_base, at(HOST + 200));
	m.msg_iov = &in;
	m.msg_name = at(HOST + 400);
	assert_int_equal(sys(recvmsg, a, &m, 0), 5);
	holds(HOST + 300, "hello", 5);
	assert_int_equal(m.msg_namelen, offsetof(struct sockaddr_un, sun_path) + 108);
	assert_ptr_equal(m.msg_name, at(HOST + 400));
	get(HOST + 400, &from, sizeof(from));
	assert_string_equal(from.sun_path + 1, address_of("n").sun_path + 1);
	close(a);
	close(b);
}

/* --- names and structs --- */

static void test_syscalls_stat_family(void **state)
{
	int fd = open("/dev/null", O_RDWR);
	struct stat want, seen;
	struct statx x;

	(void)state;
	assert_int_equal(fstat(fd, &want), 0);
	for (unsigned p = 0; p < PLACES; p++) {
		uint64_t w = places[p];

		put_text(w + 9, "/dev/null");
		assert_int_equal(sys(fstat, fd, w + 256), 0);
		holds(w + 256, &want, offsetof(struct stat, st_atim));
		assert_int_equal(sys(stat, w + 9, w + 512), 0);
		holds(w + 512, &want, offsetof(struct stat, st_atim));
		assert_int_equal(sys(lstat, w + 9, &seen), 0);
		assert_int_equal(seen.st_rdev, want.st_rdev);
		assert_int_equal(sys(newfstatat, AT_FDCWD, "/dev/null", w + 768, 0), 0);
		holds(w + 768, &want, offsetof(struct stat, st_atim));
		assert_int_equal(sys(statx, AT_FDCWD, w + 9, 0, STATX_BASIC_STATS, w + 1024), 0);
		get(w + 1024, &x, sizeof(x));
		assert_int_equal(x.stx_ino, want.st_ino);
		assert_int_equal(sys(access, w + 9, R_OK), 0);
		assert_int_equal(sys(faccessat, AT_FDCWD, w + 9, R_OK), 0);
	}
	put_text(DEVICE, "/nowhere/at all");
	noted[0] = 0;
	assert_failed(sys(stat, DEVICE, DEVICE + 512), ENOENT);
	assert_null(strchr(noted, 'w'));
	close(fd);
}

static void test_syscalls_paths(void **state)
{
	char name[] = "/tmp/regmap-syscalls-XXXXXX", other[64], seen[64];
	int fd = mkstemp(name);

	(void)state;
	snprintf(other, sizeof(other), "%s-link", name);
	for (unsigned p = 0; p < PLACES; p++) {
		uint64_t w = places[p];
		int got;

		put_text(w + 1, name);
		put_text(w + 100, other);
		got = (int)sys(open, w + 1, O_RDONLY);
		assert_true(got >= 0);
		close(got);
		got = (int)sys(openat, AT_FDCWD, w + 1, O_RDONLY);
		assert_true(got >= 0);
		close(got);
		assert_int_equal(sys(symlink, w + 1, w + 100), 0);
		memset(seen, 0, sizeof(seen));
		put(w + 200, seen, sizeof(seen));
		assert_int_equal(sys(readlink, w + 100, w + 200, 60), strlen(name));
		holds(w + 200, name, sizeof(name));
		assert_int_equal(sys(readlinkat, AT_FDCWD, w + 100, w + 300, 4), 4);
		holds(w + 300, "/tmp", 4);
		assert_int_equal(sys(unlink, w + 100), 0);
	}
	assert_int_equal(unlink(name), 0);
	close(fd);
}

static void test_syscalls_paths_end_at_their_nul(void **state)
{
	static char long_name[2 * PAGE];

	(void)state;
	put(DEVICE, "/\0xx", 4);
	noted[0] = 0;
	assert_int_equal(sys(access, DEVICE, F_OK), 0);
	assert_string_equal(noted, "r1@0 r1@1 ");
	put(HOST + 2 * PAGE - 5, "/tmp", 5);
	assert_int_equal(sys(access, HOST + 2 * PAGE - 5, F_OK), 0);
	memset(long_name, 'a', sizeof(long_name));
	put(HOST, long_name, sizeof(long_name));
	assert_failed(sys(access, HOST, F_OK), ENAMETOOLONG);
	assert_failed(sys(access, HOST + 2 * PAGE - 10, F_OK), EFAULT);
	assert_failed(sys(access, WRITE_ONLY, F_OK), EFAULT);
	memcpy(edge + 62, "/t", 2);
	memcpy(at(EDGE + PAGE), "mp", 3);
	assert_int_equal(sys(access, EDGE + PAGE - 2, F_OK), 0);
	memcpy(at(EDGE + PAGE), "mq", 3);
	assert_failed(sys(access, EDGE + PAGE - 2, F_OK), ENOENT);
}

static void test_syscalls_other_structs(void **state)
{
	char seen[PATH_MAX];
	struct utsname uts;
	struct timespec t, before, after;
	struct rlimit limit;
	uint8_t zero[64] = {0};

	(void)state;
	assert_non_null(getcwd(seen, sizeof(seen)));
	uname(&uts);
	for (unsigned p = 0; p < PLACES; p++) {
		uint64_t w = places[p];

		assert_int_equal(sys(getcwd, w, PAGE), strlen(seen) + 1);
		holds(w, seen, strlen(seen) + 1);
		assert_failed(sys(getcwd, w, 1), ERANGE);
		put(w, zero, sizeof(zero));
		assert_int_equal(sys(getrandom, w, 32, 0), 32);
		get(w, zero, 32);
		assert_false(!memcmp(zero, zero + 32, 16) || !memcmp(zero + 16, zero + 32, 16));
		memset(zero, 0, sizeof(zero));
		holds(w + 32, zero, 32);
		assert_int_equal(sys(uname, w), 0);
		holds(w, &uts, sizeof(uts));
		clock_gettime(CLOCK_MONOTONIC, &before);
		assert_int_equal(sys(clock_gettime, CLOCK_MONOTONIC, w), 0);
		clock_gettime(CLOCK_MONOTONIC, &after);
		get(w, &t, sizeof(t));
		assert_true(t.tv_sec > before.tv_sec ||
		            (t.tv_sec == before.tv_sec && t.tv_nsec >= before.tv_nsec));
		assert_true(t.tv_sec < after.tv_sec ||
		            (t.tv_sec == after.tv_sec && t.tv_nsec <= after.tv_nsec));
		getrlimit(RLIMIT_NOFILE, &limit);
		put(w, &limit, sizeof(limit));
		assert_int_equal(sys(prlimit64, 0, RLIMIT_NOFILE, w, w + 64), 0);
		holds(w + 64, &limit, sizeof(limit));
		assert_int_equal(sys(pipe2, w, O_CLOEXEC), 0);
		get(w, zero, 8);
		close(((int *)zero)[0]);
		close(((int *)zero)[1]);
		memset(zero, 0, sizeof(zero));
	}
}

static void test_syscalls_waiting_for_files(void **state)
{
	struct timespec soon = {0, 1};
	int ep = epoll_create1(0);

	(void)state;
	fill_pipe("x", 1);
	for (unsigned p = 0; p < PLACES; p++) {
		struct pollfd fds[2] = {{from_pipe, POLLIN, 0}, {to_pipe, POLLIN, 0}};
		struct epoll_event e = {EPOLLIN, {.u64 = 0x1122334455667788}};
		uint64_t w = places[p], set = 1ULL << from_pipe;

		put(w, fds, sizeof(fds));
		assert_int_equal(sys(poll, w, 2, -1), 1);
		get(w, fds, sizeof(fds));
		assert_int_equal(fds[0].revents, POLLIN);
		assert_int_equal(fds[1].revents, 0);
		put(w + 100, &soon, sizeof(soon));
		assert_int_equal(sys(ppoll, w, 2, w + 100, NULL, 8), 1);
		put(w, &set, sizeof(set));
		assert_int_equal(sys(select, from_pipe + 1, w, NULL, NULL, NULL), 1);
		set = 1ULL << from_pipe | 1;
		assert_int_equal(sys(pselect6, 1, NULL, NULL, NULL, w + 100, NULL), 0);
		put(w, &e, sizeof(e));
		assert_int_equal(sys(epoll_ctl, ep, EPOLL_CTL_ADD, from_pipe, w), 0);
		assert_int_equal(sys(epoll_wait, ep, w + 200, 4, -1), 1);
		holds(w + 200, &e, sizeof(e));
		assert_int_equal(sys(epoll_ctl, ep, EPOLL_CTL_DEL, from_pipe, NULL), 0);
	}
	close(ep);
}

static void test_syscalls_the_register_page_stays_out_of_reach(void **state)
{
	(void)state;
	assert_int_equal(regmap_map_registers(), 0);
	assert_failed(sys(write, to_pipe, 0x18L, 8), EFAULT);
	assert_failed(sys(write, to_pipe, 0L, 8), EFAULT);
	assert_int_equal(sys(select, 0, NULL, NULL, NULL, &(struct timeval){0, 1}), 0);
}

/* --- signals --- */

static volatile int caught;
static sigjmp_buf escape;

static void on_signal(int signo)
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

static void on_signal_jump(int signo)
{
	on_signal(signo);
	siglongjmp(escape, 1);
}

static void catch_quietly(int signo, void (*handler)(int), int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};

	sigfillset(&act.sa_mask);
	assert_int_equal(sigaction(signo, &act, NULL), 0);
}

static void catch_signal(int signo, void (*handler)(int), int flags)
{
	caught = 0;
	catch_quietly(signo, handler, flags);
}

static bool sleeps(pid_t thread)
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

/* Another thread, which sends signals to the first one whenever that sleeps. */
static struct poker {
	pthread_t id;
	pid_t target;
	int signo, times;
	const char *text; /* written to the pipe at last, unless NULL */
	atomic_int seen;
} poker;

static void *poke(void *arg)
{
	struct poker *p = arg;

	for (int i = 0; i < p->times; i++) {
		int before = caught;

		while (!sleeps(p->target))
			sched_yield();
		sys(tgkill, getpid(), p->target, p->signo);
		while (caught == before)
			sched_yield();
	}
	while (p->text && !sleeps(p->target))
		sched_yield();
	if (p->text && write(to_pipe, p->text, strlen(p->text)) < 0)
		abort();
	return NULL;
}

static void start_poker(int signo, int times, const char *text)
{
	poker.target = (pid_t)sys(gettid, 0);
	poker.signo = signo;
	poker.times = times;
	poker.text = text;
	assert_int_equal(pthread_create(&poker.id, NULL, poke, &poker), 0);
}

static void end_poker(void)
{
	assert_int_equal(pthread_join(poker.id, NULL), 0);
}

static void test_syscalls_interrupted_reads_say_so(void **state)
{
	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, 0);
	for (unsigned p = 0; p < PLACES; p++) {
		char mine[8];

		start_poker(SIGUSR1, 1, NULL);
		assert_failed(sys(read, from_pipe, places[p], 8), EINTR);
		end_poker();
		start_poker(SIGUSR1, 1, NULL);
		assert_failed(sys(read, from_pipe, mine, 8), EINTR);
		end_poker();
	}
	assert_int_equal(caught, 2 * PLACES);
}

static void test_syscalls_interrupted_reads_restart(void **state)
{
	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_RESTART);
	for (unsigned p = 0; p < PLACES; p++) {
		char mine[8] = "";

		start_poker(SIGUSR1, 5, "data");
		assert_int_equal(sys(read, from_pipe, places[p], 8), 4);
		holds(places[p], "data", 4);
		end_poker();
		start_poker(SIGUSR1, 5, "more");
		assert_int_equal(sys(read, from_pipe, mine, 8), 4);
		assert_string_equal(mine, "more");
		end_poker();
	}
	assert_int_equal(caught, 10 * PLACES);
}

static void test_syscalls_interrupted_sleep_tells_the_rest(void **state)
{
	struct timespec hour = {3600, 0}, rest = {0, 0};

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_RESTART);
	put(HOST, &hour, sizeof(hour));
	put(HOST + 64, &rest, sizeof(rest));
	start_poker(SIGUSR1, 1, NULL);
	assert_failed(sys(nanosleep, HOST, HOST + 64), EINTR);
	end_poker();
	get(HOST + 64, &rest, sizeof(rest));
	assert_in_range(rest.tv_sec, 3000, 3600);
	start_poker(SIGUSR1, 1, NULL);
	assert_failed(sys(clock_nanosleep, CLOCK_MONOTONIC, 0, &hour, &rest), EINTR);
	end_poker();
}

static unsigned mappings(void)
{
	char line[512];
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), f))
		n++;
	fclose(f);
	return n;
}

static void test_syscalls_jumps_out_of_reads_leave_nothing(void **state)
{
	unsigned before = mappings();

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal_jump, 0);
	for (volatile int i = 0; i < 200; i++) {
		start_poker(SIGUSR1, 1, NULL);
		if (!sigsetjmp(escape, 1)) {
			sys(read, from_pipe, i % 2 ? LARGE : HOST, 1 << (i % 12));
			fail();
		}
		end_poker();
	}
	assert_int_equal(caught, 200);
	assert_in_range(mappings(), 0, before + 20);
}

static void test_syscalls_handlers_return_from_anywhere(void **state)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)}, seen;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_NODEFER);
	catch_signal(SIGUSR2, on_signal, SA_ONSTACK | SA_RESETHAND);
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
	assert_int_equal(sigaltstack(NULL, &seen), 0);
	assert_ptr_equal(seen.ss_sp, stack);
	for (int i = 0; i < 100; i++)
		assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(raise(SIGUSR2), 0);
	assert_int_equal(sigaltstack(NULL, &seen), 0);
	assert_ptr_equal(seen.ss_sp, stack);
	assert_int_equal(caught, 101);
	put(DEVICE, "alt", 3);
	assert_int_equal(sys(write, to_pipe, DEVICE, 3), 3);
	alternate.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
}

static void test_syscalls_masks_are_what_the_program_set(void **state)
{
	uint64_t all = ~0ULL, none = 0, seen,
		 want = ~(1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1));
	sigset_t set, old;

	(void)state;
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, &all, NULL, 8), 0);
	assert_int_equal(sys(rt_sigprocmask, SIG_BLOCK, NULL, &seen, 8), 0);
	assert_true(seen == want);
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3); /* SIGSYS and SIGSEGV, for all that */
	put(DEVICE, "mask", 4);
	assert_int_equal(*(volatile uint8_t *)at(HOST), host[0]);
	sigfillset(&set);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &set, &old), 0);
	assert_true(sigismember(&old, SIGSYS) && sigismember(&old, SIGSEGV));
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, &none, &seen, 8), 0);
	assert_true(seen == (want & ~(3ULL << 31)) || seen == want);
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, NULL, &seen, 8), 0);
	assert_true(seen == 0);
	assert_failed(sys(rt_sigprocmask, 99, &all, NULL, 8), EINVAL);
	assert_failed(sys(rt_sigprocmask, SIG_SETMASK, &all, NULL, 9), EINVAL);
	assert_failed(sys(rt_sigprocmask, SIG_SETMASK, 8L, NULL, 8), EFAULT);
	assert_int_equal(sys(rt_sigprocmask, SIG_SETMASK, NULL, HOST, 8), 0);
	holds(HOST, &none, 8);
}

static void test_syscalls_waits_with_another_mask(void **state)
{
	uint64_t others = ~(1ULL << (SIGUSR1 - 1));
	struct {
		const uint64_t *mask;
		size_t size;
	} pair = {&others, 8};
	sigset_t usr1;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, 0);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	assert_int_equal(sigprocmask(SIG_BLOCK, &usr1, NULL), 0);
	for (int i = 0; i < 10; i++) {
		raise(SIGUSR1);
		assert_failed(sys(rt_sigsuspend, &others, 8), EINTR);
		raise(SIGUSR1);
		assert_failed(sys(ppoll, NULL, 0, NULL, &others, 8), EINTR);
		raise(SIGUSR1);
		assert_failed(sys(pselect6, 0, NULL, NULL, NULL, NULL, &pair), EINTR);
		put(HOST, &others, 8);
		raise(SIGUSR1);
		assert_failed(sys(rt_sigsuspend, HOST, 8), EINTR);
	}
	assert_int_equal(caught, 40);
	assert_int_equal(sigprocmask(SIG_UNBLOCK, &usr1, NULL), 0);
}

static volatile int sys_code;

static void on_sigsys(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)uc;
	sys_code = info->si_code;
	caught++;
}

static void test_syscalls_the_program_has_its_own_sigsys(void **state)
{
	struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO}, seen;
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} raw = {on_sigsys, SA_SIGINFO, NULL, 0}, old;
	sigset_t set, was;

	(void)state;
	not_with_tsan();
	caught = 0;
	assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
	assert_int_equal(sigaction(SIGSYS, NULL, &seen), 0);
	assert_ptr_equal(seen.sa_sigaction, on_sigsys);
	assert_int_equal(raise(SIGSYS), 0);
	assert_int_equal(caught, 1);
	assert_int_equal(sys_code, SI_TKILL);
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, &was), 0);
	assert_int_equal(raise(SIGSYS), 0);
	assert_int_equal(caught, 1);
	assert_int_equal(sigprocmask(SIG_SETMASK, &was, NULL), 0);
	assert_int_equal(caught, 2);
	assert_int_equal(sys(rt_sigaction, SIGSYS, NULL, &old, 8), 0);
	assert_ptr_equal(old.handler, on_sigsys);
	raw.handler = SIG_IGN;
	assert_int_equal(sys(rt_sigaction, SIGSYS, &raw, NULL, 8), 0);
	assert_int_equal(raise(SIGSYS), 0);
	assert_int_equal(caught, 2);
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
	assert_ptr_equal(signal(SIGSYS, SIG_DFL), SIG_IGN);
}

/* Whoever sets an action must not wait for itself when a SIGSYS comes in between. */
static void *send_sigsys(void *arg)
{
	while (!atomic_load(&stop))
		pthread_kill(*(pthread_t *)arg, SIGSYS);
	return NULL;
}

static void test_syscalls_sent_sigsys_while_actions_change(void **state)
{
	struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
	pthread_t me = pthread_self(), sender;

	(void)state;
	not_with_tsan();
	caught = 0;
	assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&sender, NULL, send_sigsys, &me), 0);
	for (unsigned i = 0; i < 3000 || caught < 10; i++) {
		catch_quietly(SIGUSR1, on_signal, 0);
		assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
		assert_int_equal(sys(write, -1, HOST, 1), -1);
	}
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(sender, NULL), 0);
	assert_ptr_equal(signal(SIGSYS, SIG_DFL), on_sigsys);
}

/* The program's own filter: it sees the call, and answers it. */
static void on_filtered(int signo, siginfo_t *info, void *uc)
{
	(void)signo;
	sys_code = info->si_code;
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RAX] = 4242;
}

static int answer_by_filter(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
	struct sigaction act = {.sa_sigaction = on_filtered, .sa_flags = SA_SIGINFO};

	(void)arg;
	if (sigaction(SIGSYS, &act, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		return 1;
	return sys(getpgid, 0) == 4242 && sys_code == 1 /* SYS_SECCOMP */ &&
	                       sys(write, to_pipe, HOST, 3) == 3 ?
	               0 :
	               2;
}

static void test_syscalls_the_program_has_its_own_filter(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(answer_by_filter, NULL), 0);
}

/* An action that a direct call sets must not block SIGSYS for real. */
static void test_syscalls_direct_actions_leave_sigsys_open(void **state)
{
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} raw, old;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, 0);
	assert_int_equal(sys(rt_sigaction, SIGUSR1, NULL, &raw, 8), 0);
	raw.mask = ~0ULL;
	assert_int_equal(sys(rt_sigaction, SIGUSR1, &raw, &old, 8), 0);
	assert_ptr_equal(old.handler, on_signal);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(caught, 1);
}

/* All was blocked before the thread had its calls dispatched. */
static void *block_and_turn_on(void *arg)
{
	sigset_t all, seen;

	(void)arg;
	sigfillset(&all);
	if (regmap_syscalls(0) || pthread_sigmask(SIG_SETMASK, &all, NULL) || regmap_syscalls(1) ||
	    sys(write, to_pipe, HOST, 3) != 3 || pthread_sigmask(SIG_BLOCK, NULL, &seen) ||
	    !sigismember(&seen, SIGSYS) || sys(write, to_pipe, HOST, 3) != 3)
		return "lost";
	return NULL;
}

static void test_syscalls_masks_from_before(void **state)
{
	pthread_t id;
	void *wrong;

	(void)state;
	assert_int_equal(pthread_create(&id, NULL, block_and_turn_on, NULL), 0);
	assert_int_equal(pthread_join(id, &wrong), 0);
	assert_null(wrong);
}

/* libc restores what it saved, in whichever form. */
static void test_syscalls_jumps_restore_masks(void **state)
{
	sigset_t all, none, seen;
	volatile int turn = 0;

	(void)state;
	sigfillset(&all);
	sigemptyset(&none);
	assert_int_equal(regmap_syscalls(0), 0);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
	if (!sigsetjmp(escape, 1)) {
		assert_int_equal(regmap_syscalls(1), 0);
		assert_int_equal(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
		siglongjmp(escape, 1);
	}
	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &seen), 0);
	assert_true(sigismember(&seen, SIGSYS) && sigismember(&seen, SIGSEGV));
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
	if (!sigsetjmp(escape, 1)) {
		assert_int_equal(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
		turn++;
		siglongjmp(escape, 1);
	}
	assert_int_equal(turn, 1);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &none, &seen), 0);
	assert_true(sigismember(&seen, SIGSYS) && sigismember(&seen, SIGSEGV));
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
}

/* The new program's mask, as its kernel tells it, and what it exits with. */
static int execute_blocked(void *arg)
{
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, NULL) || sys(write, to_pipe, HOST, 3) != 3)
		return 1;
	execl("/bin/nothing such", "nothing", (char *)NULL);
	execlp("nothing such", "nothing", (char *)NULL);
	if (sys(write, to_pipe, HOST, 3) != 3)
		return 2;
	execlp("sh", "sh", "-c",
	       "mask=$(sed -n 's/^SigBlk:[[:space:]]*//p' /proc/self/status)\n"
	       "test $(( 0x$mask >> 30 & 1 )) = 1 && test $(( 0x$mask >> 10 & 1 )) = 1 && exit 42",
	       (char *)NULL);
	return 3;
}

static void test_syscalls_programs_inherit_a_blocked_sigsys(void **state)
{
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (!child)
		_exit(execute_blocked(NULL));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 42 << 8);
}

/* A handler that runs beside the alternate stack, while each call may lose its dispatch. */
static void test_syscalls_sent_sigsys_off_the_alternate_stack(void **state)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
	pthread_t me = pthread_self(), sender;

	(void)state;
	not_with_tsan();
	caught = 0;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
	assert_int_equal(sigaction(SIGSYS, &act, NULL), 0);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&sender, NULL, send_sigsys, &me), 0);
	for (unsigned i = 0; i < 20000 || caught < 100; i++) {
		assert_int_equal(sys(getppid, 0), getppid());
		assert_failed(sys(write, -1, HOST, 1), EBADF);
	}
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(sender, NULL), 0);
	assert_ptr_equal(signal(SIGSYS, SIG_DFL), on_sigsys);
	alternate.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
}

static int die_by_sigsys(void *arg)
{
	(void)arg;
	signal(SIGSYS, SIG_DFL); /* cmocka has one */
	raise(SIGSYS);
	return 0;
}

static void test_syscalls_sent_sigsys_kills_by_default(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(die_by_sigsys, NULL), SIGSYS);
}

static void test_syscalls_dispatch_is_not_the_programs(void **state)
{
	(void)state;
	assert_failed(sys(prctl, 59L, 0L, 0L, 0L, 0L), EINVAL);
	assert_int_equal(sys(write, to_pipe, HOST, 3), 3);
}

/* --- callbacks --- */

static int call_from_callback(void)
{
	char seen[4];

	hook = NULL;
	put(HOST, "deep", 4);
	assert_int_equal(sys(write, to_pipe, HOST, 4), 4);
	assert_int_equal(sys(read, from_pipe, DEVICE + 64, 4), 4);
	get(DEVICE + 64, seen, 4);
	assert_memory_equal(seen, "deep", 4);
	return 0;
}

static void test_syscalls_callbacks_may_make_them(void **state)
{
	char seen[8];

	(void)state;
	put(DEVICE, "outer", 5);
	hook = call_from_callback;
	assert_int_equal(sys(write, to_pipe, DEVICE, 5), 5);
	assert_int_equal(sys(read, from_pipe, seen, 8), 5);
	assert_memory_equal(seen, "outer", 5);
	hook = call_from_callback;
	assert_int_equal(*(volatile uint8_t *)at(DEVICE), 'o');
}

static int jump_from_callback(void)
{
	hook = NULL;
	siglongjmp(escape, 1);
}

static void test_syscalls_callbacks_may_jump_out(void **state)
{
	unsigned before = mappings();

	(void)state;
	for (volatile int i = 0; i < 100; i++) {
		hook = jump_from_callback;
		if (!sigsetjmp(escape, 1)) {
			sys(write, to_pipe, DEVICE, 4000);
			fail();
		}
	}
	assert_in_range(mappings(), 0, before + 20);
}

/* --- threads and processes --- */

static void *in_thread(void *arg)
{
	put((uintptr_t)arg, "thread", 6);
	return (void *)sys(write, to_pipe, arg, 6);
}

static void test_syscalls_threads_inherit(void **state)
{
	pthread_t id[8];
	char seen[64];
	void *result;

	(void)state;
	not_with_tsan();
	for (int round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&id[i], NULL, in_thread, at(HOST + i * 64)),
			                 0);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(pthread_join(id[i], &result), 0);
			assert_int_equal((long)result, 6);
		}
		assert_int_equal(sys(read, from_pipe, seen, sizeof(seen)), 48);
	}
	assert_int_equal(regmap_syscalls(0), 0);
	assert_int_equal(pthread_create(&id[0], NULL, in_thread, at(HOST)), 0);
	assert_int_equal(pthread_join(id[0], &result), 0);
	assert_int_equal((long)result, -1);
}

static int clone_body(void *arg)
{
	return sys(write, to_pipe, arg, 5) == 5 ? 0 : 1;
}

static void test_syscalls_children_inherit(void **state)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status;
	pid_t child;

	(void)state;
	put(HOST, "child", 5);
	child = fork();
	if (!child)
		_exit(clone_body(at(HOST)));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	child = (pid_t)sys(clone, SIGCHLD, 0L, 0L, 0L, 0L);
	if (!child)
		_exit(clone_body(at(HOST)));
	assert_int_equal(sys(wait4, child, HOST + 100, 0, 0L), child);
	get(HOST + 100, &status, sizeof(status));
	assert_int_equal(status, 0);
	child = clone(clone_body, stack + sizeof(stack), SIGCHLD, at(HOST));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_syscalls_children_that_execute(void **state)
{
	char *const argv[] = {"true", NULL};
	char seen[8] = "";
	int status;
	pid_t child;
	FILE *f;

	(void)state;
	child = vfork();
	if (!child) {
		execv("/bin/true", argv);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(posix_spawn(&child, "/bin/true", NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(posix_spawn(&child, "/bin/nothing such", NULL, NULL, argv, NULL), ENOENT);
	assert_int_equal(system("exit 7"), 7 << 8);
	f = popen("echo out", "r");
	assert_non_null(fgets(seen, sizeof(seen), f));
	assert_string_equal(seen, "out\n");
	assert_int_equal(pclose(f), 0);
	put_text(HOST, "/bin/true");
	child = fork();
	if (!child)
		_exit((int)sys(execve, HOST, argv, NULL));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(sys(write, to_pipe, HOST, 5), 5);
}

static void *blocked(void *arg)
{
	atomic_store(&poker.seen, (int)sys(gettid, 0));
	for (;;)
		if (read(from_pipe, arg, 8) < 0)
			abort();
	return NULL;
}

static void test_syscalls_blocked_threads_can_be_cancelled(void **state)
{
	static char mine[8];
	void *const where[] = {mine, at(HOST), at(DEVICE), at(LARGE)};

	(void)state;
	not_with_tsan();
	for (unsigned i = 0; i < 40; i++) {
		pthread_t id;
		void *result;

		atomic_store(&poker.seen, 0);
		assert_int_equal(pthread_create(&id, NULL, blocked, where[i % 4]), 0);
		while (!atomic_load(&poker.seen) || !sleeps(atomic_load(&poker.seen)))
			sched_yield();
		assert_int_equal(pthread_cancel(id), 0);
		assert_int_equal(pthread_join(id, &result), 0);
		assert_ptr_equal(result, PTHREAD_CANCELED);
	}
}

/* Signals to threads that make all kinds of calls all the time. */
static void *busy(void *arg)
{
	uint64_t mine = DEVICE + 64 * (uintptr_t)arg;
	unsigned n = 0;
	int ends[2];
	char seen[32];

	if (pipe(ends))
		abort();
	for (; !atomic_load(&stop) || n < 100; n++) {
		long sent, got;

		while ((sent = sys(write, ends[1], mine, 32)) < 0 && errno == EINTR)
			;
		while ((got = sys(read, ends[0], n % 2 ? mine : (uintptr_t)seen, 32)) < 0 &&
		       errno == EINTR)
			;
		if (sent != 32 || got != 32 || sys(getpid, 0) != getpid())
			abort();
	}
	close(ends[0]);
	close(ends[1]);
	return (void *)(uintptr_t)n;
}

static void test_syscalls_in_a_hail_of_signals(void **state)
{
	pthread_t id[4];
	void *n;

	(void)state;
	not_with_tsan();
	catch_signal(SIGUSR1, on_signal, SA_RESTART | SA_NODEFER);
	catch_signal(SIGUSR2, on_signal, 0);
	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&id[i], NULL, busy, (void *)i), 0);
	for (unsigned i = 0; i < 4000; i++)
		pthread_kill(id[i % 4], i % 3 ? SIGUSR1 : SIGUSR2);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(id[i], &n), 0);
		assert_true((uintptr_t)n >= 100);
	}
	assert_true(caught > 0);
}

/* --- as the instruction does it --- */

/*
 * All registers hold a pattern, the red zone, too; a SYSCALL; what do they hold now? Given by and
 * put into one array: RAX RBX RCX RDX RSI RDI RBP R8..R15, flags, address behind the SYSCALL,
 * XMM0, XMM15, red zone.
 */
struct image {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t flags, behind;
	uint64_t xmm0[2], xmm15[2];
	uint64_t zone[2];
};

void around_syscall(struct image *in_out);
void around_int80(struct image *in_out);

#define AROUND(name, instruction) \
	".globl " name "\n" name ":\n" \
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n" \
	"sub $136, %rsp\nmov %rdi, 128(%rsp)\nadd $128, %rsp\n" /* all of it is red zone now */ \
	"mov 168(%rdi), %rax\nmov %rax, -8(%rsp)\nmov 176(%rdi), %rax\nmov %rax, -128(%rsp)\n" \
	"movdqu 136(%rdi), %xmm0\nmovdqu 152(%rdi), %xmm15\n" \
	"mov 0(%rdi), %rax\nmov 8(%rdi), %rbx\nmov 16(%rdi), %rcx\nmov 24(%rdi), %rdx\n" \
	"mov 32(%rdi), %rsi\nmov 48(%rdi), %rbp\nmov 56(%rdi), %r8\nmov 64(%rdi), %r9\n" \
	"mov 72(%rdi), %r10\nmov 80(%rdi), %r11\nmov 88(%rdi), %r12\nmov 96(%rdi), %r13\n" \
	"mov 104(%rdi), %r14\nmov 112(%rdi), %r15\n" \
	"lea -256(%rsp), %rsp\npushq 120(%rdi)\npopfq\nlea 256(%rsp), %rsp\n" \
	"mov 40(%rdi), %rdi\n" instruction "\n" \
	"xchg %rdi, (%rsp)\n" \
	"mov %rax, 0(%rdi)\nmov %rbx, 8(%rdi)\nmov %rcx, 16(%rdi)\nmov %rdx, 24(%rdi)\n" \
	"mov %rsi, 32(%rdi)\nmov %rbp, 48(%rdi)\nmov %r8, 56(%rdi)\nmov %r9, 64(%rdi)\n" \
	"mov %r10, 72(%rdi)\nmov %r11, 80(%rdi)\nmov %r12, 88(%rdi)\nmov %r13, 96(%rdi)\n" \
	"mov %r14, 104(%rdi)\nmov %r15, 112(%rdi)\n" \
	"lea -256(%rsp), %rsp\npushfq\npopq 120(%rdi)\nlea 256(%rsp), %rsp\ncld\n" \
	"lea 9b(%rip), %rax\nmov %rax, 128(%rdi)\n" \
	"movdqu %xmm0, 136(%rdi)\nmovdqu %xmm15, 152(%rdi)\n" \
	"mov -8(%rsp), %rax\nmov %rax, 168(%rdi)\nmov -128(%rsp), %rax\nmov %rax, 176(%rdi)\n" \
	"mov (%rsp), %rax\nmov %rax, 40(%rdi)\n" \
	"add $8, %rsp\n" \
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"

__asm__(".pushsection .text\n" AROUND("around_syscall", "syscall\n9:")
                AROUND("around_int80", "int $0x80\n9:") ".popsection\n");

static struct image image_with(uint64_t rax, uint64_t flags)
{
	struct image image;
	uint64_t *word = (uint64_t *)&image;

	for (unsigned i = 0; i < sizeof(image) / 8; i++)
		word[i] = 0x1111111111111111 * (i % 15 + 1) + i;
	image.rax = rax;
	image.flags = flags;
	return image;
}

enum {
	CARRY = 1,
	ALWAYS = 2,
	PARITY = 4,
	ZERO = 0x40,
	SIGN = 0x80,
	INTERRUPTS = 0x200,
	DIRECTION = 0x400,
	OVERFLOW = 0x800,
	RESUME = 0x10000,
};

static const uint64_t flag_sets[] = {
	ALWAYS | INTERRUPTS,
	ALWAYS | INTERRUPTS | CARRY | PARITY | ZERO | SIGN | OVERFLOW,
	ALWAYS | INTERRUPTS | DIRECTION | ZERO,
};

static void test_syscalls_registers_are_what_syscall_leaves(void **state)
{
	struct timespec soon = {0, 1};
	uint64_t all = ~0ULL;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct image want = image_with(SYS_getpid, flag_sets[i]), seen = want;

		around_syscall(&seen);
		want.rax = (uint64_t)getpid();
		want.behind = want.rcx = seen.behind;
		want.r11 = flag_sets[i] | RESUME; /* see regmap_syscalls(3) */
		assert_memory_equal(&seen, &want, sizeof(want));
		want = image_with(SYS_write, flag_sets[i]);
		want.rdi = (uint64_t)to_pipe;
		want.rsi = DEVICE;
		want.rdx = 8;
		seen = want;
		around_syscall(&seen);
		want.rax = 8;
		want.behind = want.rcx = seen.behind;
		want.r11 = flag_sets[i] | RESUME; /* see regmap_syscalls(3) */
		assert_memory_equal(&seen, &want, sizeof(want));
		/* one with an argument replaced */
		want = image_with(SYS_ppoll, flag_sets[i]);
		want.rdi = want.rsi = 0;
		want.rdx = (uintptr_t)&soon;
		want.r10 = (uintptr_t)&all;
		want.r8 = 8;
		seen = want;
		around_syscall(&seen);
		want.rax = 0;
		want.behind = want.rcx = seen.behind;
		want.r11 = flag_sets[i] | RESUME; /* see regmap_syscalls(3) */
		assert_memory_equal(&seen, &want, sizeof(want));
	}
}

/* What the kernel keeps of a context below the red zone ends with the newest of its parts. */
static void test_syscalls_vector_registers_are_kept(void **state)
{
	static const uint64_t wide[4] = {1, 2, 3, 0x123456789abcdef0};
	uint64_t seen[4] = {0};
	long result;

	(void)state;
	if (!__builtin_cpu_supports("avx"))
		skip();
	for (unsigned i = 0; i < 10; i++) {
		result = SYS_getppid;
		__asm__ volatile("vmovdqu %2, %%ymm7\n\tsyscall\n\tvmovdqu %%ymm7, %1\n\tvzeroupper"
		                 : "+a"(result), "=m"(seen)
		                 : "m"(wide)
		                 : "rcx", "r11", "xmm7", "memory");
		assert_int_equal(result, getppid());
		assert_memory_equal(seen, wide, sizeof(wide));
	}
}

static void test_syscalls_of_32_bits_pass(void **state)
{
	enum { getpid_32 = 20 };
	struct image want = image_with(getpid_32, flag_sets[1]), seen = want;
	struct image native = want;

	(void)state;
	assert_int_equal(regmap_syscalls(0), 0);
	around_int80(&native);
	assert_int_equal(regmap_syscalls(1), 0);
	around_int80(&seen);
	if ((int64_t)native.rax == -ENOSYS)
		skip();
	assert_memory_equal(&seen, &native, sizeof(native));
	assert_int_equal(seen.rax, getpid());
}

/* Nothing can be put below a stack pointer like these: the handler makes the call. */
long syscall_on_stack(uint64_t stack, long number, uint64_t a, uint64_t b, uint64_t c);

__asm__(".pushsection .text\n.globl syscall_on_stack\nsyscall_on_stack:\n"
        "push %rbx\nmov %rsp, %rbx\nmov %rdi, %rsp\n"
        "mov %rsi, %rax\nmov %rdx, %rdi\nmov %rcx, %rsi\nmov %r8, %rdx\nsyscall\n"
        "mov %rbx, %rsp\npop %rbx\nret\n.popsection\n");

static void test_syscalls_without_a_stack(void **state)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	const uint64_t stacks[] = {HOST + PAGE, DEVICE + PAGE, NOWHERE + 64, 8, ~0ULL};
	char seen[8];

	(void)state;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
	put(HOST, "here", 4);
	for (unsigned i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
		noted[0] = 0;
		assert_int_equal(syscall_on_stack(stacks[i], SYS_getpid, 0, 0, 0), getpid());
		assert_int_equal(syscall_on_stack(stacks[i], SYS_write, (uint64_t)to_pipe, HOST, 4),
		                 4);
		assert_int_equal(sys(read, from_pipe, seen, 8), 4);
		assert_int_equal(syscall_on_stack(stacks[i], SYS_clone, CLONE_VM, HOST, 0),
		                 -EFAULT);
		assert_string_equal(noted, "");
	}
	alternate.ss_flags = SS_DISABLE;
	assert_int_equal(sigaltstack(&alternate, NULL), 0);
}

/* While others are at work, threads turn it on and off. */
static void *turn_on_and_off(void *arg)
{
	uint64_t mine = TRAPPED + 64 * (uintptr_t)arg;

	for (unsigned i = 0; i < 300; i++) {
		if (regmap_syscalls(1) || sys(write, -1, mine, 8) != -1 || errno != EBADF)
			return "on";
		if (regmap_syscalls(0) || sys(write, to_pipe, mine, 8) != -1 || errno != EFAULT)
			return "off";
	}
	return NULL;
}

static void test_syscalls_threads_turn_it_on_and_off(void **state)
{
	pthread_t id[4];
	void *wrong;

	(void)state;
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&id[i], NULL, turn_on_and_off, (void *)i), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(id[i], &wrong), 0);
		assert_null(wrong);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_syscalls_##name, fresh, close_pipe)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(off_is_efault),
		TEST(read_and_write_any_window),
		TEST(devices_see_what_is_written_and_no_more),
		TEST(nothing_there_touches_nothing),
		TEST(rights_are_kept),
		TEST(buffers_must_not_leave_windows),
		TEST(buffers_may_span_windows_and_memory),
		TEST(device_errors_are_efault),
		TEST(large_buffers_go_in_one),
		TEST(pread_and_pwrite_take_offsets),
		TEST(lists_go_in_order),
		TEST(lists_may_lie_in_windows),
		TEST(short_lists_are_filled_as_far_as_it_goes),
		TEST(lists_with_offsets),
		TEST(wrong_lists_are_the_kernels_business),
		TEST(datagrams_stay_whole),
		TEST(streams_connect_and_accept),
		TEST(messages_carry_all_their_parts),
		TEST(messages_in_memory_with_parts_in_windows),
		TEST(stat_family),
		TEST(paths),
		TEST(paths_end_at_their_nul),
		TEST(other_structs),
		TEST(waiting_for_files),
		TEST(interrupted_reads_say_so),
		TEST(interrupted_reads_restart),
		TEST(interrupted_sleep_tells_the_rest),
		TEST(jumps_out_of_reads_leave_nothing),
		TEST(handlers_return_from_anywhere),
		TEST(masks_are_what_the_program_set),
		TEST(waits_with_another_mask),
		TEST(the_program_has_its_own_sigsys),
		TEST(sent_sigsys_while_actions_change),
		TEST(the_program_has_its_own_filter),
		TEST(direct_actions_leave_sigsys_open),
		TEST(masks_from_before),
		TEST(jumps_restore_masks),
		TEST(programs_inherit_a_blocked_sigsys),
		TEST(sent_sigsys_off_the_alternate_stack),
		TEST(sent_sigsys_kills_by_default),
		TEST(dispatch_is_not_the_programs),
		TEST(callbacks_may_make_them),
		TEST(callbacks_may_jump_out),
		TEST(threads_inherit),
		TEST(children_inherit),
		TEST(children_that_execute),
		TEST(blocked_threads_can_be_cancelled),
		TEST(in_a_hail_of_signals),
		TEST(registers_are_what_syscall_leaves),
		TEST(vector_registers_are_kept),
		TEST(of_32_bits_pass),
		TEST(without_a_stack),
		TEST(threads_turn_it_on_and_off),
		TEST(the_register_page_stays_out_of_reach),
	};

	return cmocka_run_group_tests_name("syscalls", tests, lay_all, NULL);
}
