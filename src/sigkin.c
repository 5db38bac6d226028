/* SPDX-License-Identifier: MIT */
/*
 * signal() and the other old functions that come down to sigaction() and sigprocmask(). The C
 * library's own would not come by here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../include/regmap/regmap.h"
#include "front.h"
#include "sigmask.h"

#include "sigsafe.h"

typedef void (*signal_fn)(int);

const char regmap__front_kin;

/* siginterrupt(): glibc's own set is out of reach */
static _Atomic uint64_t interrupting;

static signal_fn set_handler(int signo, signal_fn handler, int flags, uint64_t mask)
{
	struct sigaction set = {.sa_handler = handler, .sa_flags = flags}, old;

	if (handler == SIG_ERR || signo < 1 || signo > SIGNALS) {
		errno = EINVAL;
		return SIG_ERR;
	}
	mask_put(&set.sa_mask, mask);
	return sigaction(signo, &set, &old) ? SIG_ERR : old.sa_handler;
}

REGMAP_API signal_fn signal(int signo, signal_fn handler)
{
	bool valid = signo >= 1 && signo <= SIGNALS;
	uint64_t bit = valid ? SYS_SIGBIT(signo) : 0;

	return set_handler(signo, handler, atomic_load(&interrupting) & bit ? 0 : SA_RESTART, bit);
}

REGMAP_API signal_fn bsd_signal(int signo, signal_fn handler)
{
	return signal(signo, handler);
}

REGMAP_API signal_fn ssignal(int signo, signal_fn handler)
{
	return signal(signo, handler);
}

REGMAP_API signal_fn __sysv_signal(int signo, signal_fn handler)
{
	return set_handler(signo, handler, (int)SA_RESETHAND | SA_NODEFER, 0);
}

REGMAP_API signal_fn sysv_signal(int signo, signal_fn handler)
{
	return __sysv_signal(signo, handler);
}

REGMAP_API int siginterrupt(int signo, int interrupt)
{
	struct sigaction act;

	if (sigaction(signo, NULL, &act))
		return -1;
	if (interrupt) {
		atomic_fetch_or(&interrupting, SYS_SIGBIT(signo));
		act.sa_flags &= ~SA_RESTART;
	} else {
		atomic_fetch_and(&interrupting, ~SYS_SIGBIT(signo));
		act.sa_flags |= SA_RESTART;
	}
	return sigaction(signo, &act, NULL);
}

/* System V's */

static int change_one(int how, int signo, bool *was)
{
	sigset_t set, old;

	sigemptyset(&set);
	if (sigaddset(&set, signo))
		return -1;
	if (sigprocmask(how, &set, &old))
		return -1;
	if (was)
		*was = sigismember(&old, signo);
	return 0;
}

REGMAP_API int sighold(int signo)
{
	return change_one(SIG_BLOCK, signo, NULL);
}

REGMAP_API int sigrelse(int signo)
{
	return change_one(SIG_UNBLOCK, signo, NULL);
}

REGMAP_API int sigignore(int signo)
{
	return set_handler(signo, SIG_IGN, 0, 0) == SIG_ERR ? -1 : 0;
}

REGMAP_API signal_fn sigset(int signo, signal_fn disposition)
{
	struct sigaction act;
	signal_fn old;
	bool was;

	if (disposition == SIG_HOLD) {
		if (change_one(SIG_BLOCK, signo, &was) || sigaction(signo, NULL, &act))
			return SIG_ERR;
		return was ? SIG_HOLD : act.sa_handler;
	}
	old = set_handler(signo, disposition, 0, 0);
	if (old == SIG_ERR || change_one(SIG_UNBLOCK, signo, &was))
		return SIG_ERR;
	return was ? SIG_HOLD : old;
}

/* BSD's: a mask of 32 signals in an int */

static int mask_int(int how, unsigned mask)
{
	sigset_t set, old;

	sigemptyset(&set);
	mask_put(&set, mask);
	return sigprocmask(how, &set, &old) ? -1 : (int)mask_of(&old);
}

REGMAP_API int sigblock(int mask)
{
	return mask_int(SIG_BLOCK, (unsigned)mask);
}

REGMAP_API int sigsetmask(int mask)
{
	return mask_int(SIG_SETMASK, (unsigned)mask);
}

REGMAP_API int siggetmask(void)
{
	return mask_int(SIG_BLOCK, 0);
}
