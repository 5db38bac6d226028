/* SPDX-License-Identifier: MIT */
/*
 * The same body in two worlds: with libc's own functions and the bare kernel, and with libregmap in
 * front and a window mapped. What it observes must be equal.
 */
#ifndef TESTS_TWICE_H
#define TESTS_TWICE_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* signal.h calls half of what is tested deprecated. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define T_CALLS(X) \
	X(sigaction) \
	X(signal) \
	X(sigprocmask) \
	X(pthread_sigmask) \
	X(sigsuspend) \
	X(pselect) \
	X(ppoll) \
	X(epoll_pwait) \
	X(epoll_pwait2) \
	X(sigpending) \
	X(sigwait) \
	X(sigwaitinfo) \
	X(sigtimedwait) \
	X(signalfd) \
	X(sigblock) \
	X(sigsetmask) \
	X(siggetmask) \
	X(siginterrupt) \
	X(sigset) \
	X(sighold) \
	X(sigrelse) \
	X(sigignore) \
	X(execve) \
	X(execv) \
	X(execvp) \
	X(execvpe) \
	X(execl) \
	X(execlp) X(execle) X(fexecve) X(execveat) X(posix_spawn) X(posix_spawnp) X(system) X(popen)

struct t_calls {
#define T_MEMBER(name) __typeof__(name) *name;
	T_CALLS(T_MEMBER)
#undef T_MEMBER
	int (*bsd_sigpause)(int);
	int (*xpg_sigpause)(int);
};

/* Those of the world that the body runs in */
extern struct t_calls t_c;
extern bool t_mapped;

/* Where the window is, in the world that has one: host memory that begins with zeros. */
#define T_WINDOW ((volatile void *)0xffff900000000000ULL)

/* Map the window now, unless the world is bare. */
void t_map_now(void);
/* An access to the window, in the world that has one; a failure is noted. */
void t_use_window(void);
/* Writes where nothing is; does not return unless a handler moves on. */
void t_touch_wild(void);

/* The given signal for @to, once that process sleeps in a system call: for a child of its own. */
void t_send_when_asleep(pid_t to, int signo);

/* Observations, AS-Safe. */
void t_note(int64_t value);
uint64_t t_word(const sigset_t *set);
uint64_t t_mask(void);
sigset_t t_set(int signo, ...); /* up to a 0 */

enum t_when { T_MAPPED_BEFORE, T_MAPPED_BY_BODY };

/* Fails the cmocka test where fate or notes differ. At least one note must be there. */
void t_twice(enum t_when when, int (*body)(void *), void *arg);

#endif
