/* SPDX-License-Identifier: MIT */
/* The kernel's dispositions of four signals are ours; the program's wishes live in a table. */
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
#include "next.h"
#include "sigmask.h"
#include "stacks.h"

#include "sigsafe.h"

#define OUR_SIGNALS (HELD_SIGNALS | SYS_SIGBIT(SIGFPE) | SYS_SIGBIT(SIGILL))
/* What the kernel keeps of sa_flags (and so reads back). */
#define KERNEL_FLAGS \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | \
	 SA_RESETHAND | 0x800 /* SA_EXPOSE_TAGBITS */)

typedef void (*signal_fn)(int);
typedef void (*handler_fn)(int, siginfo_t *, void *);
typedef int (*sigaction_fn)(int, const struct sigaction *, struct sigaction *);

extern int __sigaction(int signo, const struct sigaction *set, struct sigaction *old);
static atomic_bool installed;
static atomic_bool locked; /* the table */
static struct sys_sigaction wish[SIGNALS + 1];
/* Taken out of the sa_mask of other signals' handlers: windows work there, too. */
static uint64_t stripped[SIGNALS + 1];
/* siginterrupt(): glibc's own set is out of reach */
static _Atomic uint64_t interrupting;
/* A sanitizer's sigaction() may stand behind ours. */
static sigaction_fn next_sigaction = __sigaction;

__attribute__((constructor)) static void find_next(void)
{
	next_sigaction = NEXT(sigaction, __sigaction);
}

/* The table */

/* All signals are blocked by the owner, so that no handler ever waits for its own thread. */
static void table_lock(uint64_t *mask)
{
	const uint64_t all = ~0ULL;

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

static bool is_ours(int signo)
{
	return signo > 0 && signo <= SIGNALS && OUR_SIGNALS & SYS_SIGBIT(signo) &&
	       atomic_load_explicit(&installed, memory_order_acquire);
}

/*
 * An empty sa_mask and SA_NODEFER: device callbacks run with the program's own mask. SA_RESTART is
 * the program's choice, because system calls that a kill() interrupts show it.
 */
static long set_kernel(int signo, uint64_t program_flags)
{
	struct sys_sigaction act = {
		.handler = (void *)regmap__signal_entry,
		.flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SYS_SA_RESTORER |
	                 (program_flags & SA_RESTART),
		.restorer = (void *)regmap__restore_rt,
	};

	return sys_sigaction(signo, &act, NULL);
}

static uint64_t restart_flag(const struct sys_sigaction *act)
{
	bool handler = act->handler != (void *)SIG_DFL && act->handler != (void *)SIG_IGN;

	return handler ? act->flags & SA_RESTART : SA_RESTART;
}

static int adopt(int signo)
{
	struct sys_sigaction old;
	long error = sys_sigaction(signo, NULL, &old);

	if (error || old.handler == (void *)regmap__signal_entry)
		return (int)error;
	wish[signo] = old;
	return (int)set_kernel(signo, restart_flag(&old));
}

/* Another signal's handler must not run with SIGSEGV blocked. What was taken out of its mask. */
static uint64_t strip(int signo)
{
	struct sys_sigaction act;
	uint64_t taken;

	if (sys_sigaction(signo, NULL, &act))
		return 0;
	taken = act.mask & HELD_SIGNALS;
	act.mask &= ~HELD_SIGNALS;
	if (taken)
		sys_sigaction(signo, &act, NULL);
	return taken;
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
	uint64_t mask;

	if (in_front())
		return 0;
	table_lock(&mask);
	for (int signo = 1; signo <= SIGNALS; signo++) {
		if (OUR_SIGNALS & SYS_SIGBIT(signo))
			error = error ? error : adopt(signo);
		else
			stripped[signo] |= strip(signo);
	}
	regmap__sigmask_adopt(&mask);
	atomic_store_explicit(&installed, !error, memory_order_release);
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

static int change_wish(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct sys_sigaction before, after;
	uint64_t mask;

	if (set)
		from_libc(set, &after);
	table_lock(&mask);
	before = wish[signo];
	if (set) {
		wish[signo] = after;
		set_kernel(signo, restart_flag(&after));
	}
	table_unlock(&mask);
	if (old)
		to_libc(&before, old);
	return 0;
}

static int change_other(int signo, const struct sigaction *set, struct sigaction *old)
{
	uint64_t mask, before, wanted = 0;
	struct sigaction copy;
	int result;

	if (set) {
		copy = *set;
		wanted = mask_of(&set->sa_mask);
		mask_put(&copy.sa_mask, wanted & ~HELD_SIGNALS);
	}
	table_lock(&mask);
	before = stripped[signo];
	result = next_sigaction(signo, set ? &copy : NULL, old);
	if (set && !result) {
		stripped[signo] = wanted & HELD_SIGNALS;
		strip(signo); /* ThreadSanitizer's handler has a mask of its own */
	}
	table_unlock(&mask);
	if (old && !result)
		mask_put(&old->sa_mask, mask_of(&old->sa_mask) | before);
	return result;
}

REGMAP_API int sigaction(int signo, const struct sigaction *restrict set,
                         struct sigaction *restrict old)
{
	if (is_ours(signo))
		return change_wish(signo, set, old);
	if (signo < 1 || signo > SIGNALS || !atomic_load(&installed))
		return next_sigaction(signo, set, old);
	return change_other(signo, set, old);
}

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

/* sigset() and kin: glibc's own would not come by here. */

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

/*
 * Delivery. It runs in the handler, where the FS base may be anything: what uses TLS is in
 * functions of sigmask.c, called only where regmap__tls_works().
 */

/* What to do when the program's handler has returned. */
struct visit {
	unsigned depth;
	bool tls;
	bool hidden;   /* the program sees no alternate stack: it is one of ours, */
	stack_t stack; /* this one */
};

_Static_assert(sizeof(struct visit) <= SIGFRAME_EXTRA, "it lies in a moved frame");

static void begin_visit(struct visit *visit, void *ucontext, uint64_t add, bool tls)
{
	stack_t *stack = regmap__sigframe_stack(ucontext);
	uint64_t *mask = regmap__context_mask(ucontext);
	uint64_t kernel = *mask | (add & ~HELD_SIGNALS);

	visit->tls = tls;
	visit->depth = tls ? regmap__sigmask_depth() : 0;
	visit->hidden = regmap__stacks_is_ours(stack);
	visit->stack = *stack;
	if (visit->hidden)
		*stack = (stack_t){.ss_flags = SS_DISABLE};
	if (tls)
		kernel |= regmap__sigmask_enter(mask, add);
	sys_sigmask(SIG_SETMASK, &kernel, NULL);
}

static void end_visit(const struct visit *visit, void *ucontext)
{
	stack_t *stack = regmap__sigframe_stack(ucontext);
	uint64_t *mask = regmap__context_mask(ucontext);

	if (visit->hidden && (stack->ss_flags & SS_DISABLE || !stack->ss_size))
		*stack = visit->stack;
	if (visit->tls)
		regmap__sigmask_leave(mask, visit->depth);
	else
		*mask &= ~HELD_SIGNALS;
}

void regmap__sigframe_returned(void *ucontext)
{
	end_visit(regmap__sigframe_extra(ucontext), ucontext);
}

/* Ours has SA_ONSTACK. The program's may not, or the program knows nothing of that stack. */
static bool belongs_elsewhere(void *ucontext, const struct sys_sigaction *act)
{
	return regmap__sigframe_switched(ucontext) &&
	       (!(act->flags & SA_ONSTACK) ||
	        regmap__stacks_is_ours(regmap__sigframe_stack(ucontext)));
}

/* False: the interrupted stack has no room for the frame. */
static bool call_handler(int signo, siginfo_t *info, void *ucontext,
                         const struct sys_sigaction *act, bool tls)
{
	uint64_t add = act->mask | (act->flags & SA_NODEFER ? 0 : SYS_SIGBIT(signo));
	struct sigframe frame;
	struct visit visit;

	if (belongs_elsewhere(ucontext, act)) {
		if (!regmap__sigframe_move(&frame, info, ucontext))
			return false;
		begin_visit(regmap__sigframe_extra(frame.ucontext), frame.ucontext, add, tls);
		regmap__sigframe_run(signo, frame.info, frame.ucontext, act->handler, frame.start);
	}
	begin_visit(&visit, ucontext, add, tls);
	/* The kernel, too, passes all three whatever SA_SIGINFO says. */
	((handler_fn)act->handler)(signo, info, ucontext);
	end_visit(&visit, ucontext);
	return true;
}

/* At sigreturn, with the program's registers, even where it blocks the signal. */
static void raise_at_return(int signo, const siginfo_t *info, void *ucontext)
{
	uint64_t bit = SYS_SIGBIT(signo);

	*regmap__context_mask(ucontext) &= ~bit;
	sys_sigmask(SIG_BLOCK, &bit, NULL);
	sys_sigqueue_self(signo, info);
}

/* A fault that repeats itself dies best: the kernel logs it and the core file has all of it. */
static void die(int signo, const siginfo_t *info, void *ucontext, bool refaults)
{
	static const struct sys_sigaction none;

	sys_sigaction(signo, &none, NULL);
	if (refaults)
		*regmap__context_mask(ucontext) &= ~SYS_SIGBIT(signo);
	else
		raise_at_return(signo, info, ucontext);
}

static struct sys_sigaction take_wish(int signo)
{
	struct sys_sigaction act;
	uint64_t mask;

	table_lock(&mask);
	act = wish[signo];
	if (act.flags & SA_RESETHAND)
		wish[signo].handler = (void *)SIG_DFL;
	table_unlock(&mask);
	return act;
}

/* Not repeated: what the kernel raised for other reasons than the instruction at RIP. */
static bool repeats(int signo, const siginfo_t *info)
{
	return info->si_code > 0 && info->si_code != SI_KERNEL &&
	       !(signo == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

/* There is no room for the frame. For the kernel, that is a SIGSEGV, or the end of one. */
static void deliver_instead(int signo, siginfo_t *info, void *ucontext, bool refaults)
{
	if (signo == SIGSEGV) {
		die(signo, info, ucontext, refaults);
		return;
	}
	memset(info, 0, sizeof(*info));
	info->si_signo = SIGSEGV;
	info->si_code = SI_KERNEL;
	regmap__chain_deliver(SIGSEGV, info, ucontext, false);
}

void regmap__chain_deliver(int signo, siginfo_t *info, void *ucontext, bool refaults)
{
	bool tls = regmap__tls_works(), sent = info->si_code <= 0;
	bool held = tls && regmap__sigmask_is_held(signo, *regmap__context_mask(ucontext));
	struct sys_sigaction act;

	if (held && sent) {
		regmap__sigmask_keep_pending(signo, info);
		return;
	}
	if (held) {
		die(signo, info, ucontext, refaults && repeats(signo, info));
		return;
	}
	act = take_wish(signo);
	if (act.handler == (void *)SIG_IGN && sent)
		return;
	if (act.handler == (void *)SIG_DFL || act.handler == (void *)SIG_IGN)
		die(signo, info, ucontext, refaults && repeats(signo, info));
	else if (!call_handler(signo, info, ucontext, &act, tls))
		deliver_instead(signo, info, ucontext, refaults && repeats(signo, info));
}

void regmap__chain_single_step(void *ucontext)
{
	uint64_t bit = SYS_SIGBIT(SIGTRAP);
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGTRAP;
	info.si_code = TRAP_TRACE;
	info.si_addr = (void *)(uintptr_t)regmap__context_rip(ucontext);
	sys_sigmask(SIG_BLOCK, &bit, NULL);
	sys_sigqueue_self(SIGTRAP, &info);
}
