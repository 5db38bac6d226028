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

static bool is_handler(const struct sys_sigaction *act)
{
	return act->handler != (void *)SIG_DFL && act->handler != (void *)SIG_IGN;
}

static uint64_t restart_flag(const struct sys_sigaction *act)
{
	return is_handler(act) ? act->flags & SA_RESTART : SA_RESTART;
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
	                  is_handler(like) ? mask_to_kernel(like->mask) | itself : 0);
}

/* A program may use a stand-in for its own purposes. */
static int set_stand_in(int stand_in)
{
	const struct sys_sigaction *own = &wish[stand_in];

	return set_as_wished(stand_in, is_handler(own) ? own : &wish[stands_for(stand_in)]);
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
	handler_fn handler = regmap__others_handler(signo);
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
	handler_fn handler;
	uint64_t mask, stand_ins;
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

/*
 * Delivery. It runs in the handler, where the FS base may be anything: nothing here uses TLS.
 */

/* What to do when the program's handler has returned. */
struct visit {
	bool hidden;   /* the program sees no alternate stack: it is one of ours, */
	stack_t stack; /* this one */
	bool sent_sys; /* a SIGSYS that may be in a dispatched call's place */
};

_Static_assert(sizeof(struct visit) <= SIGFRAME_EXTRA, "it lies in a moved frame");

/*
 * Ours adds nothing to the mask under which the signal came. That is not the one in the context,
 * which a sigsuspend() will go back to. Only to SIGSYS it adds: there the context has to do.
 */
static uint64_t without_ours(uint64_t kernel, int signo, void *ucontext)
{
	return signo == SIGSYS ? *regmap__context_mask(ucontext) : kernel;
}

static uint64_t mask_under(int signo, void *ucontext)
{
	uint64_t kernel;

	sys_sigmask(SIG_BLOCK, NULL, &kernel);
	return without_ours(kernel, signo, ucontext);
}

static void begin_visit(struct visit *visit, const siginfo_t *info, void *ucontext, uint64_t add)
{
	stack_t *stack = regmap__sigframe_stack(ucontext);
	uint64_t *mask = regmap__context_mask(ucontext);
	uint64_t kernel = mask_under(info->si_signo, ucontext) | mask_to_kernel(add);

	visit->hidden = regmap__stacks_is_ours(stack);
	visit->stack = *stack;
	visit->sent_sys = info->si_signo == SIGSYS && info->si_code <= 0;
	if (visit->hidden)
		*stack = (stack_t){.ss_flags = SS_DISABLE};
	*mask = mask_to_program(*mask);
	sys_sigmask(SIG_SETMASK, &kernel, NULL);
}

static void end_visit(const struct visit *visit, void *ucontext)
{
	stack_t *stack = regmap__sigframe_stack(ucontext);
	uint64_t *mask = regmap__context_mask(ucontext);

	if (visit->hidden && (stack->ss_flags & SS_DISABLE || !stack->ss_size))
		*stack = visit->stack;
	*mask = mask_to_kernel(*mask);
}

void regmap__sigframe_returned(void *ucontext)
{
	const struct visit *visit = regmap__sigframe_extra(ucontext);

	end_visit(visit, ucontext);
	if (visit->sent_sys)
		regmap__syscalls_sent(ucontext);
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
                         const struct sys_sigaction *act)
{
	uint64_t add = act->mask | (act->flags & SA_NODEFER ? 0 : SYS_SIGBIT(signo));
	struct sigframe frame;
	struct visit visit;

	if (belongs_elsewhere(ucontext, act)) {
		if (!regmap__sigframe_move(&frame, info, ucontext))
			return false;
		begin_visit(regmap__sigframe_extra(frame.ucontext), info, frame.ucontext, add);
		regmap__sigframe_run(signo, frame.info, frame.ucontext, act->handler, frame.start);
	}
	begin_visit(&visit, info, ucontext, add);
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

static struct sys_sigaction take_wish(int signo, bool forwarded)
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

/* Not repeated: what the kernel raised for other reasons than the instruction at RIP. */
static bool repeats(int signo, const siginfo_t *info)
{
	return info->si_code > 0 && info->si_code != SI_KERNEL &&
	       !(signo == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

/*
 * A signal that was sent to a thread which believes it blocked, on its way as the stand-in: what the
 * receiver is to see of it, in the bytes that the kernel keeps of a siginfo (48) and that no siginfo
 * of a sent signal uses (from 32 on).
 */
struct on_its_way {
	uint8_t info[32];
	uint64_t magic;
	int32_t code;
	int32_t unused;
};

#define MAGIC 0x70616d6765726d69ULL

/*
 * Sent to the process or to this thread? Where that is not in the siginfo: to the process, the
 * kernel prefers to give those to the main thread, which never really blocks them.
 */
static bool is_process_directed(const siginfo_t *info)
{
	if (info->si_code == SI_TKILL)
		return false;
	if (info->si_code != SI_QUEUE && info->si_code != SI_TIMER)
		return true;
	return sys_call(SYS_gettid, 0, 0, 0, 0) == sys_call(SYS_getpid, 0, 0, 0, 0);
}

/* One at a time: standard signals don't queue, but the stand-ins would. */
static bool is_pending(int signo)
{
	uint64_t pending = 0;

	sys_call(SYS_rt_sigpending, (long)&pending, sizeof(pending), 0, 0);
	return pending & SYS_SIGBIT(signo);
}

static void send_on(int signo, const siginfo_t *info)
{
	int stand_in = stand_in_of(signo);
	long pid = sys_call(SYS_getpid, 0, 0, 0, 0);
	struct on_its_way parcel = {.magic = MAGIC, .code = info->si_code};
	siginfo_t wrapped;

	if (is_pending(stand_in))
		return;
	memcpy(parcel.info, info, sizeof(parcel.info));
	memset(&wrapped, 0, sizeof(wrapped));
	memcpy(&wrapped, &parcel, sizeof(parcel));
	wrapped.si_signo = stand_in;
	wrapped.si_code = SI_QUEUE;
	if (is_process_directed(info))
		sys_call(SYS_rt_sigqueueinfo, pid, stand_in, (long)&wrapped, 0);
	else
		sys_sigqueue_self(stand_in, &wrapped);
}

int regmap__chain_unwrap(siginfo_t *info)
{
	struct on_its_way parcel;
	int signo = stands_for(info->si_signo);

	memcpy(&parcel, info, sizeof(parcel));
	if (!signo || info->si_code != SI_QUEUE || parcel.magic != MAGIC)
		return info->si_signo;
	memset((char *)info + sizeof(parcel.info), 0, sizeof(*info) - sizeof(parcel.info));
	info->si_signo = signo;
	info->si_code = parcel.code;
	return signo;
}

/*
 * What raised it waits at the instruction; a sent one, of which @signo is a stand-in, does not. One
 * that is sent on leaves all signals blocked until sigreturn, or a hail of them would pile up on the
 * stack. Each is false where the interrupted stack has no room for the handler's frame.
 */
static bool deliver_sent(int signo, siginfo_t *info, void *ucontext, bool forwarded)
{
	const uint64_t all = ~0ULL;
	struct sys_sigaction act;
	int came = signo;
	uint64_t kernel;

	sys_sigmask(SIG_SETMASK, &all, &kernel);
	signo = regmap__chain_unwrap(info);
	if (signo == came && mask_holds(without_ours(kernel, signo, ucontext), signo)) {
		send_on(signo, info);
		return true;
	}
	if (came != SIGSYS)
		sys_sigmask(SIG_SETMASK, &kernel, NULL);
	act = take_wish(signo, forwarded);
	if (act.handler == (void *)SIG_DFL)
		die(signo, info, ucontext, false);
	return !is_handler(&act) || call_handler(signo, info, ucontext, &act);
}

/* What we raise ourselves the program may have blocked really; the kernel delivers no such signal. */
static bool is_blocked(int signo, void *ucontext, unsigned how)
{
	uint64_t kernel = mask_under(signo, ucontext);

	return mask_holds(kernel, signo) || (!(how & CHAIN_REFAULTS) && kernel & SYS_SIGBIT(signo));
}

static bool deliver_raised(int signo, siginfo_t *info, void *ucontext, unsigned how)
{
	struct sys_sigaction act = {.handler = (void *)SIG_DFL};

	if (!is_blocked(signo, ucontext, how))
		act = take_wish(signo, how & CHAIN_FORWARDED);
	if (is_handler(&act))
		return call_handler(signo, info, ucontext, &act);
	die(signo, info, ucontext, how & CHAIN_REFAULTS && repeats(signo, info));
	return true;
}

/* Where there is no room: for the kernel, that is a SIGSEGV, or the end of one. */
void regmap__chain_deliver(int signo, siginfo_t *info, void *ucontext, unsigned how)
{
	bool sent = info->si_code <= 0 || stands_for(signo);

	if (sent ? deliver_sent(signo, info, ucontext, how & CHAIN_FORWARDED) :
	           deliver_raised(signo, info, ucontext, how))
		return;
	if (info->si_signo != SIGSEGV) {
		memset(info, 0, sizeof(*info));
		info->si_signo = SIGSEGV;
		info->si_code = SI_KERNEL;
		how &= ~CHAIN_REFAULTS;
		if (deliver_raised(SIGSEGV, info, ucontext, how))
			return;
	}
	die(SIGSEGV, info, ucontext, !sent && how & CHAIN_REFAULTS && repeats(SIGSEGV, info));
}

/* The kernel's frame begins with where the handler returns to. */
static bool is_our_frame(void *ucontext)
{
	const void *returns_to = ((void **)ucontext)[-1];

	return returns_to == (void *)regmap__restore_rt || returns_to == regmap__sigframe_return;
}

void regmap__chain_forwarded_begin(void *ucontext, uint64_t *kept)
{
	uint64_t *mask = regmap__context_mask(ucontext), open;

	if (is_our_frame(ucontext))
		*mask = mask_to_kernel(*mask);
	open = *mask & ~HELD_SIGNALS;
	sys_sigmask(SIG_SETMASK, &open, kept);
}

void regmap__chain_forwarded_end(void *ucontext, const uint64_t *kept)
{
	uint64_t *mask = regmap__context_mask(ucontext);

	if (is_our_frame(ucontext))
		*mask = mask_to_program(*mask);
	sys_sigmask(SIG_SETMASK, kept, NULL);
}

/* For new programs */

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
