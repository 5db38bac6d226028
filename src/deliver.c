/* SPDX-License-Identifier: MIT */
/*
 * Signals on their way to the program's handlers, as the kernel would deliver them. It runs in the
 * handler, where the FS base may be anything: nothing here uses TLS but what asks first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/sigframe.h"
#include "../arch/x86_64/syscall.h"
#include "chain.h"
#include "hot.h"
#include "others.h"
#include "sigmask.h"
#include "stacks.h"
#include "stray.h"
#include "syscalls.h"

#include "sigsafe.h"

/* What to do when the program's handler has returned. */
struct visit {
	bool hidden;   /* the program sees no alternate stack: it is one of ours, */
	stack_t stack; /* this one */
	bool sent_sys; /* a SIGSYS that may be in a dispatched call's place */
	/* of the interrupted access, which the handler's own don't concern */
	struct hot_failure failure;
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
	regmap__hot_keep_failure(&visit->failure);
	sys_sigmask(SIG_SETMASK, &kernel, NULL);
}

static void end_visit(const struct visit *visit, void *ucontext)
{
	stack_t *stack = regmap__sigframe_stack(ucontext);
	uint64_t *mask = regmap__context_mask(ucontext);

	if (visit->hidden && (stack->ss_flags & SS_DISABLE || !stack->ss_size))
		*stack = visit->stack;
	regmap__hot_restore_failure(&visit->failure);
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

	regmap__stray_last_words();
	sys_sigaction(signo, &none, NULL);
	if (refaults)
		*regmap__context_mask(ucontext) &= ~SYS_SIGBIT(signo);
	else
		raise_at_return(signo, info, ucontext);
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
	act = regmap__chain_take_wish(signo, forwarded);
	if (act.handler == (void *)SIG_DFL)
		die(signo, info, ucontext, false);
	return !sys_is_handler(&act) || call_handler(signo, info, ucontext, &act);
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
		act = regmap__chain_take_wish(signo, how & CHAIN_FORWARDED);
	if (sys_is_handler(&act))
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
