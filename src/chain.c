/* SPDX-License-Identifier: MIT */
/* The kernel's dispositions of some signals are ours; the program's wishes live in a table. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/sigframe.h"
#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "chain.h"
#include "fork.h"
#include "front.h"
#include "next.h"
#include "others.h"
#include "process.h"
#include "sigmask.h"
#include "stacks.h"
#include "syscalls.h"

#include "sigsafe.h"

#define OUR_SIGNALS (HELD_SIGNALS | STAND_INS | SYS_SIGBIT(SIGFPE) | SYS_SIGBIT(SIGILL))
/* What the kernel keeps of sa_flags (and so reads back). */
#define KERNEL_FLAGS \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | \
	 SA_RESETHAND | 0x800 /* SA_EXPOSE_TAGBITS */)

/* ThreadSanitizer calls sigaction() before it is ready for functions that it watches. */
#define NO_TSAN __attribute__((no_sanitize("thread")))

typedef int (*sigaction_fn)(int, const struct sigaction *, struct sigaction *);

static __typeof__(sigaction) own_sigaction __attribute__((alias("sigaction"), nothrow));
extern int __sigaction(int signo, const struct sigaction *set, struct sigaction *old);
static atomic_bool installed;
static atomic_bool locked; /* the table */
static struct sys_sigaction wish[SIGNALS + 1];
/*
 * Whom a handler displaced that was set behind our back, by a direct system call. Such a handler
 * may hand on to the one that it found, ours: that must not lead back to itself.
 */
static struct sys_sigaction below[SIGNALS + 1];
static uint64_t displaced; /* for which signals there is one */
static uint64_t foreign;   /* where the wish is that handler */
/* The stand-ins that the program asked for in the sa_mask of other signals' handlers */
static uint64_t said[SIGNALS + 1];
/* A sanitizer's sigaction() may stand behind ours. */
static sigaction_fn next_sigaction = __sigaction;

/* An archive's member comes along only if something names it. */
__attribute__((used)) static const char *const front[] = {
	&regmap__front_kin,  &regmap__front_wait, &regmap__front_exec,
	&regmap__front_jump, &regmap__front_map,
};

__attribute__((constructor)) static void find_next(void)
{
	next_sigaction = NEXT(sigaction, __sigaction);
	regmap__others_reach((void *)own_sigaction, (void *)__sigaction);
}

/* The table */

/* Signals are blocked by the owner, so that no handler ever waits for its own thread. */
static void table_lock(uint64_t *mask)
{
	const uint64_t all = ALL_BUT_DISPATCH;

	regmap__fork_notice();
	sys_sigmask(SIG_SETMASK, &all, mask);
	while (atomic_exchange(&locked, true))
		sys_call(SYS_sched_yield, 0, 0, 0, 0);
}

static void table_unlock(const uint64_t *mask)
{
	atomic_store(&locked, false);
	sys_sigmask(SIG_SETMASK, mask, NULL);
}

/* The thread that forked held nothing: it would have had to be in here. */
void regmap__chain_forget_others(void)
{
	atomic_store(&locked, false);
}

NO_TSAN static bool is_ours(int signo)
{
	return signo > 0 && signo <= SIGNALS && OUR_SIGNALS & SYS_SIGBIT(signo) &&
	       atomic_load_explicit(&installed, memory_order_acquire);
}

static uint64_t restart_flag(const struct sys_sigaction *act)
{
	return sys_is_handler(act) ? act->flags & SA_RESTART : SA_RESTART;
}

static int set_kernel(int signo, uint64_t flags, uint64_t mask)
{
	struct sys_sigaction act = {
		.handler = (void *)regmap__signal_entry,
		.flags = SA_SIGINFO | SA_ONSTACK | SYS_SA_RESTORER | flags,
		.restorer = (void *)regmap__restore_rt,
		.mask = mask,
	};

	return (int)sys_sigaction(signo, &act, NULL);
}

/*
 * An empty sa_mask and SA_NODEFER: device callbacks run with the program's own mask. SA_RESTART is
 * the program's choice, because system calls that a kill() interrupts show it. A SIGSYS that is
 * sent has to wait until the one before has got to the program, or they would pile up; and so have
 * other signals, whose handlers make system calls.
 */
static int set_openly(int signo)
{
	return set_kernel(signo, (signo == SIGSYS ? 0 : SA_NODEFER) | restart_flag(&wish[signo]),
	                  signo == SIGSYS ? ~SYNCHRONOUS : 0);
}

/* No access to a window comes as @signo: the kernel can do all that the program wishes. */
static int set_as_wished(int signo, const struct sys_sigaction *like)
{
	uint64_t itself = like->flags & SA_NODEFER ? 0 : SYS_SIGBIT(signo);

	return set_kernel(signo, SA_NODEFER | restart_flag(like),
	                  sys_is_handler(like) ? mask_to_kernel(like->mask) | itself : 0);
}

/* A program may use a stand-in for its own purposes. */
static int set_stand_in(int stand_in)
{
	const struct sys_sigaction *own = &wish[stand_in];

	return set_as_wished(stand_in, sys_is_handler(own) ? own : &wish[stands_for(stand_in)]);
}

static int show_wish(int signo)
{
	if (stands_for(signo))
		return set_stand_in(signo);
	if (!stand_in_of(signo))
		return set_as_wished(signo, &wish[signo]);
	set_stand_in(stand_in_of(signo));
	return set_openly(signo);
}

static int adopt(int signo)
{
	struct sys_sigaction old;
	uint64_t bit = SYS_SIGBIT(signo);
	long error = sys_sigaction(signo, NULL, &old);

	if (error || old.handler == (void *)regmap__signal_entry)
		return (int)error;
	if (is_ours(signo)) {
		if (!(foreign & bit))
			below[signo] = wish[signo];
		displaced |= bit;
		foreign |= bit;
	}
	wish[signo] = old;
	return show_wish(signo);
}

/* Another signal's handler must not run with SIGSEGV blocked: windows work there, too. */
static void translate(int signo)
{
	struct sys_sigaction act;

	if (sys_sigaction(signo, NULL, &act) || !(act.mask & HELD_SIGNALS))
		return;
	act.mask = mask_to_kernel(act.mask);
	sys_sigaction(signo, &act, NULL);
}

/* One that was there when our handler came in front */
static void adopt_other(int signo)
{
	struct sys_sigaction before, act;

	if (sys_sigaction(signo, NULL, &act))
		return;
	before = act;
	said[signo] = act.mask & STAND_INS;
	act.mask = mask_to_kernel(act.mask);
	regmap__others_adopt(signo, &act);
	if (memcmp(&before, &act, sizeof(act)))
		sys_sigaction(signo, &act, NULL);
}

void regmap__chain_cover_all(void)
{
	struct sys_sigaction before, act;
	uint64_t mask;

	table_lock(&mask);
	for (int signo = 1; signo <= SIGNALS; signo++) {
		if (OUR_SIGNALS & SYS_SIGBIT(signo) || sys_sigaction(signo, NULL, &act))
			continue;
		before = act;
		regmap__others_adopt(signo, &act);
		if (memcmp(&before, &act, sizeof(act)))
			sys_sigaction(signo, &act, NULL);
	}
	table_unlock(&mask);
}

/* One look tells, as a rule: who takes these signals away takes SIGSEGV. */
static bool in_front(void)
{
	struct sys_sigaction now;

	return atomic_load_explicit(&installed, memory_order_acquire) &&
	       !sys_sigaction(SIGSEGV, NULL, &now) && now.handler == (void *)regmap__signal_entry;
}

int regmap__chain_install(void)
{
	int error = 0;
	bool first = !atomic_load(&installed);
	uint64_t mask;

	if (in_front() || regmap__in_vfork_child())
		return 0;
	table_lock(&mask);
	for (int signo = SIGNALS; signo >= 1; signo--) {
		if (OUR_SIGNALS & SYS_SIGBIT(signo))
			error = error ? error : adopt(signo);
		else if (first)
			adopt_other(signo);
		else
			translate(signo);
	}
	if (!error) {
		if (first || mask & HELD_SIGNALS)
			mask = mask_to_kernel(mask);
		atomic_store_explicit(&installed, true, memory_order_release);
		regmap__sigmask_hold();
	}
	table_unlock(&mask);
	return error;
}

int regmap__chain_take_back(int signo)
{
	uint64_t mask;
	int error;

	table_lock(&mask);
	error = adopt(signo);
	table_unlock(&mask);
	return error;
}

/* The program's wishes: sigaction() and kin */

static void to_libc(const struct sys_sigaction *from, struct sigaction *to)
{
	memset(to, 0, sizeof(*to));
	to->sa_sigaction = (handler_fn)from->handler;
	to->sa_flags = (int)from->flags;
	to->sa_restorer = (void (*)(void))from->restorer;
	memcpy(&to->sa_mask, &from->mask, sizeof(from->mask));
}

/* As glibc and the kernel would store it, SA_RESTORER included. */
static void from_libc(const struct sigaction *from, struct sys_sigaction *to)
{
	to->handler = (void *)from->sa_sigaction;
	to->flags = ((uint64_t)(unsigned)from->sa_flags & KERNEL_FLAGS) | SYS_SA_RESTORER;
	to->restorer = (void *)regmap__restore_rt;
	memcpy(&to->mask, &from->sa_mask, sizeof(to->mask));
	to->mask &= ~UNBLOCKABLE;
}

static void swap_wish(int signo, const struct sys_sigaction *set, struct sys_sigaction *old)
{
	uint64_t mask;

	table_lock(&mask);
	*old = wish[signo];
	if (set) {
		wish[signo] = *set;
		foreign &= ~SYS_SIGBIT(signo);
		show_wish(signo);
	}
	table_unlock(&mask);
}

static int change_wish(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct sys_sigaction before, after;

	if (set)
		from_libc(set, &after);
	swap_wish(signo, set ? &after : NULL, &before);
	if (old)
		to_libc(&before, old);
	return 0;
}

bool regmap__chain_wish(int signo, const struct sys_sigaction *set, struct sys_sigaction *old)
{
	struct sys_sigaction after;

	if (!is_ours(signo) || regmap__in_vfork_child())
		return false;
	if (set) {
		after = *set;
		after.mask &= ~UNBLOCKABLE;
	}
	swap_wish(signo, set ? &after : NULL, old);
	return true;
}

/* Straight to the kernel. What the child has not changed is as the parent wishes it. */
static int change_childs(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct sys_sigaction before, after;

	sys_sigaction(signo, NULL, &before);
	if (before.handler == (void *)regmap__signal_entry)
		before = wish[signo];
	if (set) {
		from_libc(set, &after);
		sys_sigaction(signo, &after, NULL);
	}
	if (old)
		to_libc(&before, old);
	return 0;
}

static int set_other(int signo, const struct sigaction *set, struct sigaction *old)
{
	uint64_t handler = regmap__others_handler(signo);
	struct sigaction act = *set;
	bool guest = regmap__in_vfork_child();
	int result;

	mask_put(&act.sa_mask, mask_to_kernel(mask_of(&set->sa_mask)));
	if (!guest)
		regmap__others_cover(signo, &act);
	result = next_sigaction(signo, &act, old);
	if (result) {
		regmap__others_restore(signo, handler);
		return result;
	}
	if (!guest)
		said[signo] = mask_of(&set->sa_mask) & STAND_INS;
	translate(signo); /* ThreadSanitizer's handler has a mask of its own */
	return 0;
}

static int change_other(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct sigaction before;
	uint64_t handler, mask, stand_ins;
	int result;

	table_lock(&mask);
	handler = regmap__others_handler(signo);
	stand_ins = said[signo];
	result = set ? set_other(signo, set, &before) : next_sigaction(signo, NULL, &before);
	table_unlock(&mask);
	if (!old || result)
		return result;
	regmap__others_show(&before, handler);
	mask_put(&before.sa_mask,
	         (mask_to_program(mask_of(&before.sa_mask)) & ~STAND_INS) | stand_ins);
	*old = before;
	return 0;
}

NO_TSAN REGMAP_API int sigaction(int signo, const struct sigaction *restrict set,
                                 struct sigaction *restrict old)
{
	if (is_ours(signo))
		return regmap__in_vfork_child() ? change_childs(signo, set, old) :
		                                  change_wish(signo, set, old);
	if (signo < 1 || signo > SIGNALS || !atomic_load(&installed))
		return next_sigaction(signo, set, old);
	return change_other(signo, set, old);
}

/* For delivery and for new programs */

struct sys_sigaction regmap__chain_take_wish(int signo, bool forwarded)
{
	struct sys_sigaction act, *from = &wish[signo];
	bool guest = regmap__in_vfork_child();
	uint64_t mask;

	table_lock(&mask);
	if (forwarded && displaced & SYS_SIGBIT(signo))
		from = &below[signo];
	act = *from;
	if (act.flags & SA_RESETHAND && !guest)
		from->handler = (void *)SIG_DFL;
	table_unlock(&mask);
	return act;
}

static bool wishes_ignored(int signo)
{
	struct sys_sigaction now;

	return OUR_SIGNALS & SYS_SIGBIT(signo) && wish[signo].handler == (void *)SIG_IGN &&
	       !sys_sigaction(signo, NULL, &now) && now.handler == (void *)regmap__signal_entry;
}

uint64_t regmap__chain_ignored(void)
{
	uint64_t ignored = 0;

	for (int signo = 1; signo <= SIGNALS; signo++)
		if (is_ours(signo) && wishes_ignored(signo))
			ignored |= SYS_SIGBIT(signo);
	return ignored;
}

void regmap__chain_step_aside(uint64_t signals)
{
	static const struct sys_sigaction ignore = {.handler = (void *)SIG_IGN};

	for (int signo = 1; signo <= SIGNALS; signo++)
		if (signals & SYS_SIGBIT(signo))
			sys_sigaction(signo, &ignore, NULL);
}

/* The wish may have changed in between: then our handler is back already. */
void regmap__chain_step_back(uint64_t signals)
{
	for (int signo = 1; signo <= SIGNALS; signo++)
		if (signals & SYS_SIGBIT(signo))
			show_wish(signo);
}
