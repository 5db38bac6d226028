/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "maplock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../arch/x86_64/syscall.h"
#include "access.h"
#include "direct.h"
#include "fork.h"
#include "reserve.h"
#include "sigmask.h"
#include "table.h"

#define STAYS_OPEN (SYNCHRONOUS | SYS_SIGBIT(SIGSYS))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t owner; /* thread key; 0: nobody, and nothing is half-changed */
static bool over_fork, abandoned;
static unsigned depth;
static uint64_t blocked; /* for the time of holding */

int regmap__maplock_repair(void)
{
	int err = 0;

	if (abandoned) {
		regmap__reserve_repair();
		err = regmap__table_repair();
		regmap__direct_repair();
		abandoned = err;
	}
	return err;
}

void regmap__maplock_take(void)
{
	uint64_t me = regmap__thread_key(), wanted = ~STAYS_OPEN, before = 0;

	regmap__fork_notice();
	if (atomic_load(&owner) == me && over_fork) {
		depth++;
		return;
	}
	sys_sigmask(SIG_BLOCK, &wanted, &before);
	pthread_mutex_lock(&mutex);
	atomic_store(&owner, me);
	blocked = wanted & ~before;
	depth = 1;
}

void regmap__maplock_release(void)
{
	uint64_t unblock = blocked;

	if (--depth)
		return;
	atomic_store(&owner, 0);
	pthread_mutex_unlock(&mutex);
	sys_sigmask(SIG_UNBLOCK, &unblock, NULL);
}

void regmap__maplock_keep_over_fork(bool under_way)
{
	over_fork = under_way;
}

void regmap__maplock_forget_others(void)
{
	uint64_t holder = atomic_load(&owner);

	if (holder && holder == regmap__thread_key())
		return;
	if (holder)
		abandoned = true;
	atomic_store(&owner, 0);
	over_fork = false;
	mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
