/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "fork.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "../arch/x86_64/syscall.h"
#include "access.h"
#include "chain.h"
#include "lane.h"
#include "maplock.h"
#include "patch.h"
#include "report.h"
#include "stacks.h"
#include "view.h"

#include "sigsafe.h"

enum { PAGE = 4096 };

/* Until there is a page that is wiped, and on a kernel before 4.14: nothing is noticed. */
static _Atomic unsigned always_settled = FORK_SETTLED;
_Atomic unsigned *regmap__fork_word = &always_settled;

static void forget_the_others(void)
{
	regmap__pin_forget_others();
	regmap__chain_forget_others();
	regmap__report_forget_others();
	regmap__maplock_forget_others();
	regmap__patch_forget_others();
	regmap__lanes_forget_others();
	regmap__views_forget_others();
	regmap__ram_settle();
}

/*
 * Threads of the child that come second wait; no signal handler comes in between to wait for its
 * own thread.
 */
void regmap__fork_settle(void)
{
	const uint64_t all = ~0ULL;
	unsigned seen = FORK_WIPED;
	uint64_t mask;

	sys_sigmask(SIG_SETMASK, &all, &mask);
	if (atomic_compare_exchange_strong(regmap__fork_word, &seen, FORK_SETTLING)) {
		forget_the_others();
		atomic_store_explicit(regmap__fork_word, FORK_SETTLED, memory_order_release);
	}
	while (atomic_load_explicit(regmap__fork_word, memory_order_acquire) != FORK_SETTLED)
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
	sys_sigmask(SIG_SETMASK, &mask, NULL);
}

static void before_fork(void)
{
	regmap__maplock_take();
	regmap__maplock_keep_over_fork(true);
	regmap__stacks_before_fork();
	regmap__ram_freeze();
	regmap__patch_before_fork();
}

static void after_fork(void)
{
	regmap__patch_after_fork();
	regmap__maplock_keep_over_fork(false);
	regmap__maplock_release();
}

/* On a kernel that doesn't wipe pages, nothing has settled yet. */
static void after_fork_in_child(void)
{
	if (regmap__fork_word == &always_settled)
		forget_the_others();
	regmap__fork_notice();
	regmap__stacks_after_fork();
	after_fork();
}

int regmap__fork_init(void)
{
	static bool handlers;
	void *page;

	if (!handlers && pthread_atfork(before_fork, after_fork, after_fork_in_child))
		return -ENOMEM;
	handlers = true;
	if (regmap__fork_word != &always_settled)
		return 0;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -ENOMEM;
	if (madvise(page, PAGE, MADV_WIPEONFORK)) {
		munmap(page, PAGE);
		return 0;
	}
	atomic_init((_Atomic unsigned *)page, FORK_SETTLED);
	regmap__fork_word = page;
	return 0;
}
