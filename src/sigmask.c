/* SPDX-License-Identifier: MIT */
/*
 * SIGSEGV and SIGBUS are never really blocked: a window access under a blocked SIGSEGV would kill
 * the process. Whether the program believes them blocked is kept per thread ("held"), and obeyed: a
 * fault of its own kills it then, and a kill() waits.
 *
 * While a handler of the program's runs, its signal is held. A siglongjmp() out of the handler must
 * end that, without our noticing the jump. So each such level really blocks one more signal, its
 * marker, that was not blocked before: glibc's jump restores the mask, and the marker is gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>

#include "../include/regmap/regmap.h"
#include "sigmask.h"

#include "sigsafe.h"

enum { LEVELS = 4 };

static atomic_bool holding; /* from the installation on */

struct level {
	uint64_t marker; /* really blocked while the level lives; 0: no signal was left to be one */
	uint64_t before; /* self.held outside of it */
};

static __thread struct {
	uint64_t held;    /* of HELD_SIGNALS: those that the program believes blocked */
	uint64_t pending; /* sent while held */
	uint64_t shown;   /* markers that the program believes blocked, too */
	unsigned depth;
	struct level level[LEVELS];
	siginfo_t info[2]; /* of pending SIGSEGV, SIGBUS */
} self __attribute__((tls_model("initial-exec")));

/* Other threads that blocked them before the first mapping really have: nothing reaches those. */
void regmap__sigmask_adopt(uint64_t *mask)
{
	self.held |= *mask & HELD_SIGNALS;
	*mask &= ~HELD_SIGNALS;
	atomic_store_explicit(&holding, true, memory_order_release);
}

static uint64_t markers(void)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < self.depth; i++)
		all |= self.level[i].marker;
	return all;
}

/* Drop the levels that a jump has left: their markers aren't blocked any more. */
static void settle(uint64_t kernel)
{
	while (self.depth) {
		const struct level *top = &self.level[self.depth - 1];

		if (!top->marker || kernel & top->marker)
			break;
		self.held = top->before;
		self.depth--;
	}
}

static uint64_t show_mask(uint64_t kernel)
{
	return (kernel & ~(markers() & ~self.shown)) | self.held;
}

/* The kernel's mask for one that the program wants. */
static uint64_t keep_mask(uint64_t wanted)
{
	self.held = wanted & HELD_SIGNALS;
	self.shown = wanted & markers();
	return (wanted & ~HELD_SIGNALS) | markers();
}

static siginfo_t *pending_info(int signo)
{
	return &self.info[signo == SIGBUS];
}

static void release_pending(int signo)
{
	uint64_t bit = SYS_SIGBIT(signo);

	if (!(self.pending & bit & ~self.held))
		return;
	self.pending &= ~bit;
	sys_sigqueue_self(signo, pending_info(signo));
}

static int apply(int how, uint64_t set, uint64_t *mask)
{
	switch (how) {
	case SIG_BLOCK: *mask |= set; return 0;
	case SIG_UNBLOCK: *mask &= ~set; return 0;
	case SIG_SETMASK: *mask = set; return 0;
	}
	return EINVAL;
}

static int change_mask(int how, const sigset_t *set, sigset_t *old)
{
	uint64_t wanted = set ? mask_of(set) & ~LIBC_SIGNALS & ~UNBLOCKABLE : 0;
	uint64_t kernel, mask;

	sys_sigmask(SIG_SETMASK, NULL, &kernel);
	settle(kernel);
	mask = show_mask(kernel);
	if (old)
		mask_put(old, mask);
	if (!set)
		return 0;
	if (apply(how, wanted, &mask))
		return EINVAL;
	kernel = keep_mask(mask);
	atomic_signal_fence(memory_order_seq_cst);
	sys_sigmask(SIG_SETMASK, &kernel, NULL);
	release_pending(SIGSEGV);
	release_pending(SIGBUS);
	return 0;
}

static int plain_mask(int how, const sigset_t *set, sigset_t *old)
{
	uint64_t wanted = set ? mask_of(set) & ~LIBC_SIGNALS : 0;

	return (int)-sys_sigmask(how, set ? &wanted : NULL, (uint64_t *)old);
}

REGMAP_API int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	if (!atomic_load_explicit(&holding, memory_order_acquire))
		return plain_mask(how, set, old);
	return change_mask(how, set, old);
}

REGMAP_API int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	int error = pthread_sigmask(how, set, old);

	if (!error)
		return 0;
	errno = error;
	return -1;
}

/* New threads */

bool regmap__sigmask_holding(void)
{
	return atomic_load_explicit(&holding, memory_order_acquire);
}

uint64_t regmap__sigmask_believed(void)
{
	uint64_t kernel;

	sys_sigmask(SIG_SETMASK, NULL, &kernel);
	settle(kernel);
	return show_mask(kernel);
}

void regmap__sigmask_begin(uint64_t believed)
{
	uint64_t kernel = keep_mask(believed);

	sys_sigmask(SIG_SETMASK, &kernel, NULL);
}

/* The handler's side */

bool regmap__sigmask_is_held(int signo, uint64_t kernel)
{
	settle(kernel);
	return self.held & SYS_SIGBIT(signo);
}

void regmap__sigmask_keep_pending(int signo, const siginfo_t *info)
{
	if (self.pending & SYS_SIGBIT(signo))
		return; /* standard signals don't queue */
	*pending_info(signo) = *info;
	self.pending |= SYS_SIGBIT(signo);
}

static uint64_t choose_marker(uint64_t interrupted)
{
	uint64_t open = ~(interrupted | UNBLOCKABLE | LIBC_SIGNALS | HELD_SIGNALS |
	                  SYS_SIGBIT(SIGFPE) | SYS_SIGBIT(SIGILL));

	return open ? 1ULL << (63 - __builtin_clzll(open)) : 0;
}

/* The program sees the mask as it believes it to be; the result is what to block beside @add. */
uint64_t regmap__sigmask_enter(uint64_t *mask, uint64_t add)
{
	uint64_t marker = choose_marker(*mask), before = self.held;

	*mask = show_mask(*mask);
	self.held |= add & HELD_SIGNALS;
	if (self.held == before || self.depth == LEVELS)
		return 0;
	self.level[self.depth++] = (struct level){marker, before};
	self.shown = (self.shown & ~marker) | (add & marker);
	return marker;
}

void regmap__sigmask_leave(uint64_t *mask, unsigned depth)
{
	self.depth = depth;
	*mask = keep_mask(*mask);
	release_pending(SIGSEGV);
	release_pending(SIGBUS);
}

unsigned regmap__sigmask_depth(void)
{
	return self.depth;
}
