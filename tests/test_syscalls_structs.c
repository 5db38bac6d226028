/* SPDX-License-Identifier: MIT */
/* regmap_syscalls(): sockets, names and structs in windows. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "reach.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(datagrams_stay_whole),
		TEST(streams_connect_and_accept),
		TEST(messages_carry_all_their_parts),
		TEST(messages_in_memory_with_parts_in_windows),
		TEST(stat_family),
		TEST(paths),
		TEST(paths_end_at_their_nul),
		TEST(other_structs),
		TEST(waiting_for_files),
		TEST(the_register_page_stays_out_of_reach),
	};

	return cmocka_run_group_tests_name("syscalls_structs", tests, lay_all, NULL);
}
