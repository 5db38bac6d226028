/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

#include "../arch/x86_64/syscall.h"
#include "process.h"

#include "sigsafe.h"

/*
 * The id of the process that the memory belongs to. The page is wiped in a child that gets memory
 * of its own, however it was made. NULL: a kernel older than Linux 4.14, where a vfork() is not
 * noticed.
 */
static atomic_int *home;

static int process_id(void)
{
	return (int)sys_call(SYS_getpid, 0, 0, 0, 0);
}

/* Sooner than the first look, which may be that of a grandchild made by vfork(). */
static void move_in(void)
{
	if (home)
		atomic_store(home, process_id());
}

__attribute__((constructor)) static void find_home(void)
{
	void *page = mmap(NULL, sizeof(*home), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	                  -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, sizeof(*home), MADV_WIPEONFORK)) {
		munmap(page, sizeof(*home));
		return;
	}
	home = page;
	move_in();
	pthread_atfork(NULL, NULL, move_in);
}

/* Between two lines here a signal handler may fork: then this is another process, and asks again. */
bool regmap__in_vfork_child(void)
{
	while (home) {
		int seen = 0, now = process_id();
		bool moved_in = atomic_compare_exchange_strong(home, &seen, now);

		if (process_id() == now)
			return !moved_in && seen != now;
		if (moved_in)
			atomic_compare_exchange_strong(home, &now, 0);
	}
	return false;
}
