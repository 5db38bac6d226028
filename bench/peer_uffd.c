/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd: a thread of the program is told of faults and fills the page in or lifts its
 * protection; then the CPU makes the access, unseen, and so it does all later ones, until the page
 * is taken away or protected again. So each access here is followed by that, as it must be by
 * whoever wants to see each one. What is read can't depend on when; loads of a page that is there
 * are never seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "peers.h"

enum { ACCESSES = 2000, PAGE = 4096 };

static int fd = -1;
static uint8_t *missing, *protected;

static void protect(uint64_t at, bool on)
{
	struct uffdio_writeprotect wp = {.range = {at, PAGE},
	                                 .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		bench_fail("UFFDIO_WRITEPROTECT: %s", strerror(errno));
}

static void fill(uint64_t at)
{
	struct uffdio_zeropage zero = {.range = {at, PAGE}};

	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		bench_fail("UFFDIO_ZEROPAGE: %s", strerror(errno));
}

static void *serve(void *unused)
{
	struct uffd_msg m;

	while (read(fd, &m, sizeof(m)) == sizeof(m)) {
		uint64_t page = m.arg.pagefault.address & -(uint64_t)PAGE;

		if (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			protect(page, false);
		else
			fill(page);
	}
	return unused;
}

static void load_and_drop(uint64_t at, unsigned n)
{
	while (n--) {
		bench_load.loop(at, 1);
		madvise((void *)(uintptr_t)at, PAGE, MADV_DONTNEED);
	}
}

static void store_and_protect(uint64_t at, unsigned n)
{
	while (n--) {
		bench_store.loop(at, 1);
		protect(at, true);
	}
}

static bool measure_missing(const struct bench_row *row, struct bench_sample *to)
{
	(void)row;
	to->base = bench_wall_floor(&bench_load, BENCH_TRAPPED);
	to->value = bench_wall_per_access(load_and_drop, (uintptr_t)missing, ACCESSES);
	return true;
}

static bool measure_protected(const struct bench_row *row, struct bench_sample *to)
{
	if (!protected)
		return bench_skip(row, "the kernel's userfaultfd can't write-protect");
	to->base = bench_wall_floor(&bench_store, BENCH_TRAPPED);
	to->value = bench_wall_per_access(store_and_protect, (uintptr_t) protected, ACCESSES);
	return true;
}

static struct bench_row rows[] = {
	PEER("userfaultfd/missing", "userfaultfd: a page filled in, and taken away again",
             measure_missing),
	PEER("userfaultfd/protected", "userfaultfd: a store's page unprotected, and protected",
             measure_protected),
};

static uint8_t *watched(uint64_t mode)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	                     0);
	struct uffdio_register reg = {.range = {(uintptr_t)page, PAGE}, .mode = mode};

	if (page == MAP_FAILED)
		bench_fail("no memory");
	if (mode == UFFDIO_REGISTER_MODE_WP)
		memset(page, 0, PAGE);
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return NULL;
	if (mode == UFFDIO_REGISTER_MODE_WP)
		protect((uintptr_t)page, true);
	return page;
}

static const char *set_up(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	static char why[120];
	pthread_t server;

	bench_peers_set_up();
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
		strcpy(why, "the kernel allows no userfaultfd: ");
		return strncat(why, strerror(errno), sizeof(why) - strlen(why) - 1);
	}
	missing = watched(UFFDIO_REGISTER_MODE_MISSING);
	protected = watched(UFFDIO_REGISTER_MODE_WP);
	if (!missing)
		return "the kernel's userfaultfd watches no memory of this kind";
	if (pthread_create(&server, NULL, serve, NULL))
		bench_fail("no thread for userfaultfd");
	return NULL;
}

struct bench_part bench_peer_uffd = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
