/* SPDX-License-Identifier: MIT */
/* regmap_syscalls(): bytes and lists of buffers in windows. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "reach.h"

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
	};

	return cmocka_run_group_tests_name("syscalls_buffers", tests, lay_all, NULL);
}
