/* SPDX-License-Identifier: MIT */
/*
 * System calls on windows. A thread that asks for it has each of its system calls arrive here, as
 * SIGSYS, before the kernel looks at it: prctl(2), PR_SET_SYSCALL_USER_DISPATCH. Those that meet no
 * window are passed on to be made by the program itself (calls.h); the others transfer.c makes on
 * buffers of ours.
 *
 * A blocked SIGSYS would kill the thread at its next system call, so that the kernel must never
 * learn of a mask that holds it. To that end SIGSYS is one of sigmask.h's held signals, and what
 * goes to the kernel with a mask in it is looked at here. Such a mask may come from the program, or
 * from libc on behalf of a function of ours, which has put the stand-ins there already.
 */
#define _GNU_SOURCE
#define _GNU_SOURCE
#include "syscalls.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "../arch/x86_64/calls.h"
#include "../arch/x86_64/context.h"
#include "../arch/x86_64/guard.h"
#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "chain.h"
#include "others.h"
#include "reach.h"
#include "sigmask.h"
#include "transfer.h"
#include "trap.h"

#include "sigsafe.h"

/* Of headers that not all C libraries have up to date */
enum { USER_DISPATCH = 2, SET_DISPATCH = 59, DISPATCH_OFF = 0, DISPATCH_ON = 1 };
#define CLEAR_SIGHAND 0x100000000ull
/* The members of struct clone_args that the kernel has today; later ones it wants to be zero. */
enum { CLONE_FLAGS, CLONE_STACK = 5, CLONE_STACK_SIZE, CLONE_ARGS_MIN = 64 };

/* The result is known; the program will make the call; it is another's business. */
enum outcome { DONE, PASSED, ELSEWHERE };

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
enum { WATCHED_THREADS = 1 };
#else
enum { WATCHED_THREADS = 0 };
#endif

/* --- threads and processes --- */

/*
 * Not a child that shares our memory for a while, before it turns into another program; nor, where
 * ThreadSanitizer watches this code, threads, which must not run any of it before they have begun.
 */
static bool arms(uint64_t flags)
{
	if (WATCHED_THREADS && flags & CLONE_THREAD)
		return false;
	return (flags & CLONE_THREAD || !(flags & CLONE_VM)) && !(flags & CLEAR_SIGHAND);
}

static long pass(const struct call *call, void *uc, bool with_arms)
{
	return regmap__call_pass(call, uc, with_arms) ? 0 : -EAGAIN;
}

/*
 * A child on its parent's own stack would take the block away from under it. POSIX lets vfork() be
 * fork(), and the parent waits all the same.
 */
static long pass_clone(struct call *call, void *uc)
{
	uint64_t flags = call->arg[0];

	if (call->arg[1])
		call->arg[1] = regmap__call_plant(call, call->arg[1]);
	else if (flags & CLONE_VFORK)
		call->arg[0] = flags &= ~(uint64_t)CLONE_VM;
	if (call->block.arg[1] && !call->arg[1])
		return -EFAULT;
	return pass(call, uc, arms(flags));
}

static long pass_vfork(struct call *call, void *uc)
{
	call->number = SYS_clone;
	call->arg[0] = CLONE_VFORK | SIGCHLD;
	for (unsigned i = 1; i < 6; i++)
		call->arg[i] = 0;
	return pass(call, uc, true);
}

/* Where there is less room, the members that today's kernels have last must be unused. */
static bool shrink(const uint64_t *args, uint64_t *size, unsigned room)
{
	for (; *size > room; *size -= sizeof(*args))
		if (args[(*size - 1) / sizeof(*args)])
			return false;
	return true;
}

/* The block has its own copy of the struct, as the stack in that is another. */
static long pass_clone3(struct call *call, void *uc)
{
	struct call_block block = call->block;
	uint64_t *args = block.scratch, *size = &call->arg[1], top;

	if (*size < CLONE_ARGS_MIN)
		return -EINVAL;
	if (*size > sizeof(block.scratch))
		return -E2BIG;
	if (regmap__reach_read(call->arg[0], args, *size))
		return -EFAULT;
	if (!shrink(args, size, call->room - offsetof(struct call_block, scratch)))
		return -E2BIG;
	top = args[CLONE_STACK] + args[CLONE_STACK_SIZE];
	if (args[CLONE_STACK] && args[CLONE_STACK_SIZE] > CALL_FRAME) {
		if (!regmap__call_plant(call, top))
			return -EFAULT;
		args[CLONE_STACK_SIZE] -= CALL_FRAME;
	} else if (args[CLONE_FLAGS] & CLONE_VFORK) {
		args[CLONE_FLAGS] &= ~(uint64_t)CLONE_VM;
	}
	call->block = block;
	call->arg[0] = call->at + offsetof(struct call_block, scratch);
	return pass(call, uc, arms(args[CLONE_FLAGS]));
}

/* --- signals --- */

static int apply(int how, uint64_t set, uint64_t *mask)
{
	switch (how) {
	case SIG_BLOCK: *mask |= set; return 0;
	case SIG_UNBLOCK: *mask &= ~set; return 0;
	case SIG_SETMASK: *mask = set; return 0;
	default: return -EINVAL;
	}
}

/* On the mask that sigreturn will set. */
static long change_mask(const struct call *call, void *uc)
{
	uint64_t set = 0, *mask = regmap__context_mask(uc), old = mask_to_program(*mask);
	int err = 0;

	if (call->arg[3] != sizeof(set))
		return -EINVAL;
	if (call->arg[1]) {
		if (regmap__reach_read(call->arg[1], &set, sizeof(set)))
			return -EFAULT;
		err = apply((int)call->arg[0], mask_opened(set) & ~UNBLOCKABLE, mask);
	}
	if (!err && call->arg[2] &&
	    regmap__reach_write(call->arg[2], &old, sizeof(old)) < sizeof(old))
		err = -EFAULT;
	return err;
}

static long read_back(uint64_t to, const struct sys_sigaction *old)
{
	return !to || regmap__reach_write(to, old, sizeof(*old)) == sizeof(*old) ? 0 : -EFAULT;
}

/* Our signals' actions are chain.c's; those of others must not block ours. */
static enum outcome change_action(struct call *call, long *result)
{
	struct sys_sigaction set, old;
	int signo = (int)call->arg[0];
	bool sets = call->arg[1];
	uint64_t handler;

	*result = -EFAULT;
	if (call->arg[3] != sizeof(set.mask))
		return ELSEWHERE;
	if (sets && regmap__reach_read(call->arg[1], &set, sizeof(set)))
		return DONE;
	if (regmap__chain_wish(signo, sets ? &set : NULL, &old)) {
		*result = read_back(call->arg[2], &old);
		return DONE;
	}
	if (signo < 1 || signo > SIGNALS)
		return ELSEWHERE;
	if (sets)
		set.mask = mask_opened(set.mask);
	handler = regmap__others_handler(signo);
	*result = sys_sigaction(signo, sets ? &set : NULL, &old);
	if (*result)
		return DONE;
	regmap__others_show_kernels(&old, handler);
	*result = read_back(call->arg[2], &old);
	return DONE;
}

/*
 * The mask of a call that waits with another one: a copy that doesn't block SIGSYS. @scratch lies where the
 * copy will be looked at.
 */
static void replace_mask(struct call *call, unsigned argument, unsigned how, uint64_t scratch)
{
	uint64_t *s = call->block.scratch, pair[2] = {call->block.arg[argument], 8}, mask;

	if (!pair[0] || (how == MASK_IN_PAIR && regmap__reach_read(pair[0], pair, sizeof(pair))))
		return;
	if (!pair[0] || pair[1] != sizeof(mask) || regmap__reach_read(pair[0], &mask, sizeof(mask)))
		return;
	s[0] = scratch + 2 * sizeof(*s);
	s[1] = sizeof(mask);
	s[2] = mask_opened(mask);
	call->arg[argument] = how == MASK_IN_PAIR ? scratch : s[0];
}

/* A mask that the program wrote into its frame. */
static void pass_sigreturn(void *uc)
{
	uint64_t *at = regmap__call_sigreturn(uc), mask;
	struct cpu_trap trap;

	if (regmap__guard_copy(&mask, at, sizeof(mask), &trap) || !(mask & HELD_SIGNALS))
		return;
	mask = mask_opened(mask);
	regmap__guard_copy(at, &mask, sizeof(mask), &trap);
}

/* --- dispatch --- */

static bool is_dispatch_control(const struct call *call)
{
	return call->number == SYS_prctl && (int)call->arg[0] == SET_DISPATCH;
}

/* Those that are about the caller's own context. */
static enum outcome handle_context(struct call *call, void *uc, long *result)
{
	switch (call->number) {
	case SYS_rt_sigreturn: pass_sigreturn(uc); return PASSED;
	case SYS_clone: *result = pass_clone(call, uc); break;
	case SYS_clone3: *result = pass_clone3(call, uc); break;
	case SYS_vfork: *result = pass_vfork(call, uc); break;
	case SYS_fork: *result = pass(call, uc, true); break;
	case SYS_rt_sigprocmask: *result = change_mask(call, uc); return DONE;
	case SYS_rt_sigaction: return change_action(call, result);
	default: return ELSEWHERE;
	}
	return *result ? DONE : PASSED;
}

static enum outcome handle_buffers(struct call *call, long *result)
{
	unsigned argument, mask = regmap__transfer_mask(call->number, &argument);

	if (regmap__call_is_probe(call)) {
		*result = 1;
		return DONE;
	}
	if (is_dispatch_control(call)) {
		*result = -EINVAL; /* as on a kernel without it */
		return DONE;
	}
	if (call->number == SYS_exit)
		regmap__loan_forget();
	if (mask)
		replace_mask(call, argument, mask, (uintptr_t)call->block.scratch);
	if (regmap__transfer(call, result))
		return DONE;
	if (mask)
		replace_mask(call, argument, mask, call->at + offsetof(struct call_block, scratch));
	return ELSEWHERE;
}

/* Without a stack to come back from, the handler makes the call. */
static void pass_on(const struct call *call, void *uc)
{
	const uint64_t *a = call->block.arg;

	if (!regmap__call_pass(call, uc, false) && !call->compat)
		regmap__call_finish(uc, sys_call6((long)call->number, (long)a[0], (long)a[1],
		                                  (long)a[2], (long)a[3], (long)a[4], (long)a[5]));
}

static void route(struct call *call, void *uc)
{
	enum outcome outcome = ELSEWHERE;
	long result;

	if (!call->compat)
		outcome = handle_context(call, uc, &result);
	if (!call->compat && outcome == ELSEWHERE)
		outcome = handle_buffers(call, &result);
	if (outcome == DONE)
		regmap__call_finish(uc, result);
	else if (outcome == ELSEWHERE)
		pass_on(call, uc);
}

/* Callbacks run with the program's mask. */
static void dispatch(struct call *call, void *uc)
{
	sys_sigmask(SIG_SETMASK, regmap__context_mask(uc), NULL);
	route(call, uc);
}

bool regmap__syscalls_signal(const siginfo_t *info, void *ucontext)
{
	struct call call;

	if (info->si_code != USER_DISPATCH)
		return false;
	regmap__call_load(&call, info, ucontext);
	dispatch(&call, ucontext);
	return true;
}

void regmap__syscalls_sent(void *ucontext)
{
	uint64_t mask = *regmap__context_mask(ucontext) | SYS_SIGBIT(STAND_IN_SYS);
	struct call call;

	if (!regmap__call_load_lost(&call, ucontext))
		return;
	sys_sigmask(SIG_SETMASK, &mask, NULL);
	if (regmap__calls_dispatched())
		dispatch(&call, ucontext);
}

/* --- the switch --- */

static int set_dispatch(int on)
{
	long length = regmap__calls_end - regmap__calls_begin, err;

	if (on)
		err = sys_call6(SYS_prctl, SET_DISPATCH, DISPATCH_ON, (long)regmap__calls_begin,
		                length, 0, 0);
	else
		err = sys_call6(SYS_prctl, SET_DISPATCH, DISPATCH_OFF, 0, 0, 0, 0);
	return err == -EINVAL ? -ENOSYS : (int)err;
}

bool regmap__syscalls_suspend(void)
{
	return regmap__calls_dispatched() && !set_dispatch(0);
}

void regmap__syscalls_resume(void)
{
	set_dispatch(1);
}

/* Nothing is changed for a kernel that hasn't got it. */
static int prepare(void)
{
	int err = set_dispatch(0);

	if (!err)
		err = regmap__start();
	return err ? err : regmap__chain_take_back(SIGSYS);
}

int regmap_syscalls(int on)
{
	int saved = errno, err = on ? prepare() : 0;

	if (!err)
		err = set_dispatch(on);
	errno = saved;
	return err;
}
