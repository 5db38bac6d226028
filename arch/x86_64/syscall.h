/* SPDX-License-Identifier: MIT */
/*
 * System calls without libc: no errno, no thread-local storage, no cancellation, so that they work
 * in the handler whatever the FS base is. They return the result or -errno.
 */
#ifndef ARCH_X86_64_SYSCALL_H
#define ARCH_X86_64_SYSCALL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

/* One instruction for all, in calls.S: a thread may have its other system calls dispatched. */
long regmap__syscall(long number, long a, long b, long c, long d, long e, long f);

static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	return regmap__syscall(number, a, b, c, d, e, f);
}

static inline long sys_call(long number, long a, long b, long c, long d)
{
	return sys_call6(number, a, b, c, d, 0, 0);
}

/* The kernel's signal set: bit n - 1 is signal n. */
#define SYS_SIGBIT(signo) (1ULL << ((signo)-1))

/* The kernel's struct sigaction. */
struct sys_sigaction {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

static inline bool sys_is_handler(const struct sys_sigaction *act)
{
	return act->handler != (void *)SIG_DFL && act->handler != (void *)SIG_IGN;
}

/* Exceptions: blocked, they would kill. */
#define SYNCHRONOUS \
	(SYS_SIGBIT(SIGSEGV) | SYS_SIGBIT(SIGBUS) | SYS_SIGBIT(SIGFPE) | SYS_SIGBIT(SIGILL) | \
	 SYS_SIGBIT(SIGTRAP))

#define SYS_SA_RESTORER 0x04000000ULL

#ifndef SS_AUTODISARM /* Linux 4.7; not every libc says it */
#define SS_AUTODISARM (1U << 31)
#endif

static inline long sys_sigaction(int signo, const struct sys_sigaction *set,
                                 struct sys_sigaction *old)
{
	return sys_call(SYS_rt_sigaction, signo, (long)set, (long)old, 8);
}

/* @how: SIG_BLOCK, SIG_UNBLOCK or SIG_SETMASK. */
static inline long sys_sigmask(int how, const uint64_t *set, uint64_t *old)
{
	return sys_call(SYS_rt_sigprocmask, how, (long)set, (long)old, 8);
}

/* Send to the calling thread; the kernel allows any si_code there. */
static inline long sys_sigqueue_self(int signo, const siginfo_t *info)
{
	long process = sys_call(SYS_getpid, 0, 0, 0, 0);
	long thread = sys_call(SYS_gettid, 0, 0, 0, 0);

	return sys_call(SYS_rt_tgsigqueueinfo, process, thread, signo, (long)info);
}

static inline long sys_open_read(const char *path)
{
	enum { RDONLY_CLOEXEC = 02000000, AT_CWD = -100 };

	return sys_call(SYS_openat, AT_CWD, (long)path, RDONLY_CLOEXEC, 0);
}

#endif
