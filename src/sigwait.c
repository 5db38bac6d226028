/* SPDX-License-Identifier: MIT */
/*
 * Functions that wait with a mask of their own, or for signals. The kernel swaps the masks and takes
 * the signals as ever; all that is to do is to say the stand-ins (sigmask.h) where the program says
 * SIGSEGV and SIGBUS. Before the first window, sets go through as they are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <time.h>

#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "chain.h"
#include "front.h"
#include "next.h"
#include "sigmask.h"

#include "sigsafe.h"

const char regmap__front_wait;

static int answer(long result)
{
	if (result >= 0)
		return (int)result;
	errno = (int)-result;
	return -1;
}

/* What libc's functions do; for a static program, where they can't be found under ours. */

static int cancellable(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	int type;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	result = sys_call6(number, a, b, c, d, e, f);
	pthread_setcanceltype(type, NULL);
	return answer(result);
}

static int plain_sigsuspend(const sigset_t *set)
{
	return cancellable(SYS_rt_sigsuspend, (long)set, 8, 0, 0, 0, 0);
}

/* The kernel writes the time that is left. */
static struct timespec *copy_time(const struct timespec *from, struct timespec *to)
{
	if (!from)
		return NULL;
	*to = *from;
	return to;
}

static int plain_pselect(int count, fd_set *in, fd_set *out, fd_set *except,
                         const struct timespec *timeout, const sigset_t *set)
{
	const struct {
		const sigset_t *set;
		long size;
	} mask = {set, 8};
	struct timespec left;

	return cancellable(SYS_pselect6, count, (long)in, (long)out, (long)except,
	                   (long)copy_time(timeout, &left), (long)&mask);
}

static int plain_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                       const sigset_t *set)
{
	struct timespec left;

	return cancellable(SYS_ppoll, (long)fds, (long)count, (long)copy_time(timeout, &left),
	                   (long)set, 8, 0);
}

static int plain_epoll_pwait(int fd, struct epoll_event *events, int max, int timeout,
                             const sigset_t *set)
{
	return cancellable(SYS_epoll_pwait, fd, (long)events, max, timeout, (long)set, 8);
}

static int plain_sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                              const struct timespec *restrict timeout)
{
	return cancellable(SYS_rt_sigtimedwait, (long)set, (long)info, (long)timeout, 8, 0, 0);
}

static __typeof__(sigsuspend) *next_sigsuspend = plain_sigsuspend;
static __typeof__(pselect) *next_pselect = plain_pselect;
static __typeof__(ppoll) *next_ppoll = plain_ppoll;
static __typeof__(epoll_pwait) *next_epoll_pwait = plain_epoll_pwait;
static __typeof__(sigtimedwait) *next_sigtimedwait = plain_sigtimedwait;

__attribute__((constructor)) static void find_next(void)
{
	next_sigsuspend = NEXT(sigsuspend, plain_sigsuspend);
	next_pselect = NEXT(pselect, plain_pselect);
	next_ppoll = NEXT(ppoll, plain_ppoll);
	next_epoll_pwait = NEXT(epoll_pwait, plain_epoll_pwait);
	next_sigtimedwait = NEXT(sigtimedwait, plain_sigtimedwait);
}

/* A mask for the time of waiting. Whoever blocks SIGSEGV there wants our handler in front. */
static const sigset_t *mask_for_kernel(const sigset_t *set, sigset_t *copy)
{
	if (set && mask_of(set) & (HELD_SIGNALS | STAND_INS))
		regmap__chain_install();
	if (!set || !regmap__sigmask_holding())
		return set;
	sigemptyset(copy);
	mask_put(copy, mask_to_kernel(mask_of(set)));
	return copy;
}

REGMAP_API int sigsuspend(const sigset_t *set)
{
	sigset_t copy;

	return next_sigsuspend(mask_for_kernel(set, &copy));
}

REGMAP_API int pselect(int count, fd_set *restrict in, fd_set *restrict out,
                       fd_set *restrict except, const struct timespec *restrict timeout,
                       const sigset_t *restrict set)
{
	sigset_t copy;

	return next_pselect(count, in, out, except, timeout, mask_for_kernel(set, &copy));
}

REGMAP_API int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                     const sigset_t *set)
{
	sigset_t copy;

	return next_ppoll(fds, count, timeout, mask_for_kernel(set, &copy));
}

REGMAP_API int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout,
                           const sigset_t *set)
{
	sigset_t copy;

	return next_epoll_pwait(fd, events, max, timeout, mask_for_kernel(set, &copy));
}

#ifdef __GLIBC__ /* musl has none of these */

static int plain_epoll_pwait2(int fd, struct epoll_event *events, int max,
                              const struct timespec *timeout, const sigset_t *set)
{
	return cancellable(SYS_epoll_pwait2, fd, (long)events, max, (long)timeout, (long)set, 8);
}

static __typeof__(epoll_pwait2) *next_epoll_pwait2 = plain_epoll_pwait2;

__attribute__((constructor)) static void find_next_epoll_pwait2(void)
{
	next_epoll_pwait2 = NEXT(epoll_pwait2, plain_epoll_pwait2);
}

REGMAP_API int epoll_pwait2(int fd, struct epoll_event *events, int max,
                            const struct timespec *timeout, const sigset_t *set)
{
	sigset_t copy;

	return next_epoll_pwait2(fd, events, max, timeout, mask_for_kernel(set, &copy));
}

/* -D_FORTIFY_SOURCE */
extern void __chk_fail(void) __attribute__((noreturn));
REGMAP_API int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                           const sigset_t *set, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *set, size_t size)
{
	if (size / sizeof(*fds) < count)
		__chk_fail();
	return ppoll(fds, count, timeout, set);
}

/* sigpause() of two traditions: System V's has the name for itself in musl */

REGMAP_API int bsd_sigpause(int mask) __asm__("sigpause");
int bsd_sigpause(int mask)
{
	sigset_t set;

	sigemptyset(&set);
	mask_put(&set, (unsigned)mask);
	return sigsuspend(&set);
}

#define XPG_SIGPAUSE "__xpg_sigpause"
#else
#define XPG_SIGPAUSE "sigpause"
#endif

REGMAP_API int xpg_sigpause(int signo) __asm__(XPG_SIGPAUSE);
int xpg_sigpause(int signo)
{
	sigset_t set;

	if (sigprocmask(SIG_BLOCK, NULL, &set) || sigdelset(&set, signo))
		return -1;
	return sigsuspend(&set);
}

/*
 * Signals to wait for. They are taken under either number: a SIGSEGV that is sent while this thread
 * waits comes as itself, one that had to be kept before as the stand-in. (The kernel opens the set
 * for the time of waiting, so that neither goes to our handler.)
 */
static sigset_t set_for_kernel(const sigset_t *set)
{
	sigset_t copy = *set;

	if (regmap__sigmask_holding())
		mask_put(&copy, mask_to_kernel(mask_of(set)) | (mask_of(set) & HELD_SIGNALS));
	return copy;
}

REGMAP_API int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                            const struct timespec *restrict timeout)
{
	sigset_t copy = set_for_kernel(set);
	siginfo_t mine;
	int signo = next_sigtimedwait(&copy, &mine, timeout);

	if (signo < 0)
		return signo;
	signo = regmap__chain_unwrap(&mine);
	if (mine.si_code == SI_TKILL)
		mine.si_code = SI_USER; /* as libc has it, so that raise() looks like kill() */
	if (info)
		*info = mine;
	return signo;
}

REGMAP_API int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info)
{
	return sigtimedwait(set, info, NULL);
}

REGMAP_API int sigwait(const sigset_t *restrict set, int *restrict signo)
{
	int kept = errno, error = 0, got;

	do
		got = sigtimedwait(set, NULL, NULL);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		error = errno;
	else
		*signo = got;
	errno = kept;
	return error;
}

REGMAP_API int sigpending(sigset_t *set)
{
	long error = sys_call(SYS_rt_sigpending, (long)set, 8, 0, 0);
	uint64_t kernel;

	if (error || !regmap__sigmask_holding())
		return answer(error);
	kernel = mask_of(set);
	mask_put(set, (mask_to_program(kernel) & ~STAND_INS) | (kernel & HELD_SIGNALS));
	return 0;
}

REGMAP_API int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t copy = set_for_kernel(set);

	return answer(sys_call(SYS_signalfd4, fd, (long)&copy, 8, flags));
}
