/* SPDX-License-Identifier: MIT */
/*
 * A new program inherits the signals that this one blocks, ignores and has pending: really, not as
 * they are here, where SIGSEGV is blocked by a stand-in and ignored by a handler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <paths.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../arch/x86_64/syscall.h"
#include "../include/regmap/regmap.h"
#include "chain.h"
#include "front.h"
#include "next.h"
#include "process.h"
#include "sigmask.h"
#include "syscalls.h"

const char regmap__front_exec;

/* Where libc's own can't be found under our names: in a static program. */

static int answer(long result)
{
	if (result >= 0)
		return (int)result;
	errno = (int)-result;
	return -1;
}

static int plain_execve(const char *path, char *const argv[], char *const envp[])
{
	return answer(sys_call(SYS_execve, (long)path, (long)argv, (long)envp, 0));
}

static int plain_execveat(int fd, const char *path, char *const argv[], char *const envp[],
                          int flags)
{
	return answer(sys_call6(SYS_execveat, fd, (long)path, (long)argv, (long)envp, flags, 0));
}

static int plain_fexecve(int fd, char *const argv[], char *const envp[])
{
	return plain_execveat(fd, "", argv, envp, AT_EMPTY_PATH);
}

#ifdef __GLIBC__
/* Bound by a weak name: libc.so doesn't export it. _IO_popen() brings it along. */
extern __typeof__(execvpe) __execvpe __attribute__((weak));
#define plain_execvpe __execvpe
#else

/* posix_spawnp() brings musl's own into a static program, which comes by execve(), too. */
#pragma weak execvp

/* False: @directory and @file are too long together. */
static bool put_path(char path[PATH_MAX], const char *directory, const char *end, const char *file)
{
	int length = snprintf(path, PATH_MAX, "%.*s%s%s", (int)(end - directory), directory,
	                      end == directory ? "" : "/", file);

	return length < PATH_MAX;
}

static int plain_execvpe(const char *file, char *const argv[], char *const envp[])
{
	const char *at = getenv("PATH"), *end;
	char path[PATH_MAX];
	bool denied = false;

	if (!*file || strchr(file, '/'))
		return plain_execve(file, argv, envp);
	for (at = at ? at : "/usr/local/bin:/bin:/usr/bin"; at; at = *end ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		if (!put_path(path, at, end, file))
			continue;
		plain_execve(path, argv, envp);
		if (errno != EACCES && errno != ENOENT && errno != ENOTDIR)
			return -1;
		denied |= errno == EACCES;
	}
	errno = denied ? EACCES : ENOENT;
	return -1;
}

#endif

static __typeof__(execve) *next_execve = plain_execve;
static __typeof__(execvpe) *next_execvpe;
static __typeof__(fexecve) *next_fexecve = plain_fexecve;

__attribute__((constructor)) static void find_next(void)
{
	next_execve = NEXT(execve, plain_execve);
	next_execvpe = NEXT(execvpe, plain_execvpe);
	next_fexecve = NEXT(fexecve, plain_fexecve);
}

/* Stepping aside */

struct aside {
	uint64_t kernel, believed; /* mask */
	uint64_t ignored;
	bool dispatched; /* were this thread's system calls, before SIGSYS was blocked? */
};

static bool is_alone(void)
{
	struct stat tasks;

	return !stat("/proc/self/task", &tasks) && tasks.st_nlink == 3;
}

/* To the process, if it was sent to that. With other threads about, one of them would take it. */
static void send_again(int signo, const siginfo_t *info)
{
	long pid = sys_call(SYS_getpid, 0, 0, 0, 0);

	if (info->si_code == SI_TKILL || !is_alone() ||
	    sys_call(SYS_rt_sigqueueinfo, pid, signo, (long)info, 0))
		sys_sigqueue_self(signo, info);
}

/* Those that have been kept for this thread become pending as themselves. */
static void move_pending(void)
{
	const uint64_t stand_ins = STAND_INS;
	const struct {
		long seconds, nanoseconds;
	} now = {0, 0};
	siginfo_t info;
	int signo;

	while (sys_call(SYS_rt_sigtimedwait, (long)&stand_ins, (long)&info, (long)&now, 8) > 0) {
		signo = regmap__chain_unwrap(&info);
		send_again(signo, &info);
	}
}

static bool differs(const struct aside *aside)
{
	return aside->kernel != aside->believed;
}

static void look(struct aside *aside)
{
	sys_sigmask(SIG_BLOCK, NULL, &aside->kernel);
	aside->believed = regmap__sigmask_holding() ? regmap__sigmask_believed() : aside->kernel;
	aside->ignored = regmap__chain_ignored();
	aside->dispatched = false;
}

static void step_aside(struct aside *aside)
{
	const uint64_t all = ~0ULL;

	if (aside->ignored)
		regmap__chain_step_aside(aside->ignored);
	if (!differs(aside))
		return;
	if (aside->believed & SYS_SIGBIT(SIGSYS))
		aside->dispatched = regmap__syscalls_suspend();
	sys_sigmask(SIG_SETMASK, &all, NULL);
	move_pending();
	sys_sigmask(SIG_SETMASK, &aside->believed, NULL);
}

/* What has become pending meanwhile goes to our handler now, which keeps it. */
static void step_back(const struct aside *aside)
{
	int kept = errno;

	if (aside->ignored)
		regmap__chain_step_back(aside->ignored);
	if (differs(aside))
		sys_sigmask(SIG_SETMASK, &aside->kernel, NULL);
	if (aside->dispatched)
		regmap__syscalls_resume();
	errno = kept;
}

/* exec */

REGMAP_API int execve(const char *path, char *const argv[], char *const envp[])
{
	struct aside aside;

	/* While our handler is away other threads can't access windows: not for a wrong path. */
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
		return next_execve(path, argv, envp);
	look(&aside);
	step_aside(&aside);
	next_execve(path, argv, envp);
	step_back(&aside);
	return -1;
}

REGMAP_API int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

REGMAP_API int execvpe(const char *file, char *const argv[], char *const envp[])
{
	struct aside aside;

	look(&aside);
	step_aside(&aside);
	next_execvpe(file, argv, envp);
	step_back(&aside);
	return -1;
}

REGMAP_API int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

REGMAP_API int fexecve(int fd, char *const argv[], char *const envp[])
{
	struct aside aside;

	look(&aside);
	step_aside(&aside);
	next_fexecve(fd, argv, envp);
	step_back(&aside);
	return -1;
}

typedef int exec_fn(const char *, char *const[], char *const[]);

/* The arguments up to NULL; behind that the environment, if there is one. */
static int exec_list(exec_fn *exec, const char *name, const char *first, va_list rest,
                     bool with_env)
{
	size_t count = 1;
	va_list again;

	va_copy(again, rest);
	for (const char *at = first; at; at = va_arg(again, const char *))
		count++;
	char *const *envp = with_env ? va_arg(again, char *const *) : environ;
	va_end(again);

	char *argv[count], **to = argv;

	for (const char *at = first; at; at = va_arg(rest, const char *))
		*to++ = (char *)(uintptr_t)at;
	*to = NULL;
	return exec(name, argv, envp);
}

REGMAP_API int execl(const char *path, const char *first, ...)
{
	va_list rest;
	int result;

	va_start(rest, first);
	result = exec_list(execve, path, first, rest, false);
	va_end(rest);
	return result;
}

REGMAP_API int execlp(const char *file, const char *first, ...)
{
	va_list rest;
	int result;

	va_start(rest, first);
	result = exec_list(execvpe, file, first, rest, false);
	va_end(rest);
	return result;
}

REGMAP_API int execle(const char *path, const char *first, ...)
{
	va_list rest;
	int result;

	va_start(rest, first);
	result = exec_list(execve, path, first, rest, true);
	va_end(rest);
	return result;
}

/*
 * musl has no execveat(). Its posix_spawn(), popen() and system() stay in place: there is no other way
 * to them in a static program.
 */
#ifdef __GLIBC__

/* Bound by weak names, too. */
extern __typeof__(posix_spawn) __posix_spawn __attribute__((weak));
extern __typeof__(posix_spawnp) __posix_spawnp __attribute__((weak));
extern __typeof__(popen) _IO_popen;

static __typeof__(execveat) *next_execveat = plain_execveat;
static __typeof__(posix_spawn) *next_posix_spawn;
static __typeof__(posix_spawnp) *next_posix_spawnp;
static __typeof__(popen) *next_popen = _IO_popen;
static __typeof__(system) *next_system;

__attribute__((constructor)) static void find_next_of_glibc(void)
{
	next_execveat = NEXT(execveat, plain_execveat);
	next_posix_spawn = NEXT(posix_spawn, __posix_spawn);
	next_posix_spawnp = NEXT(posix_spawnp, __posix_spawnp);
	next_popen = NEXT(popen, _IO_popen);
	next_system = NEXT(system, NULL);
}

REGMAP_API int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	struct aside aside;

	look(&aside);
	step_aside(&aside);
	next_execveat(fd, path, argv, envp, flags);
	step_back(&aside);
	return -1;
}

/* posix_spawn() */

/* A static program has no other way to libc's posix_spawnp() than to do its work. */
static int plain_posix_spawnp(pid_t *pid, const char *file,
                              const posix_spawn_file_actions_t *actions,
                              const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	const char *at = getenv("PATH"), *end;
	char path[PATH_MAX];
	int error = ENOENT;

	if (strchr(file, '/'))
		return next_posix_spawn(pid, file, actions, attr, argv, envp);
	for (at = at ? at : "/bin:/usr/bin"; at; at = *end ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		if (snprintf(path, sizeof(path), "%.*s%s%s", (int)(end - at), at,
		             end == at ? "" : "/", file) >= (int)sizeof(path))
			return ENAMETOOLONG;
		if (!faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
			return next_posix_spawn(pid, path, actions, attr, argv, envp);
		error = errno == EACCES ? EACCES : error;
	}
	return error;
}

/*
 * While another program starts, this one goes on. What a signal that is ignored really would do to
 * other threads' accesses to windows is worse than a default action inherited in its place.
 */
static void look_for_child(struct aside *aside)
{
	look(aside);
	if (aside->ignored & HELD_SIGNALS && !regmap__in_vfork_child() && !is_alone())
		aside->ignored &= ~HELD_SIGNALS;
}

/* The mask goes by way of the attributes, so that nothing is blocked here. */
static const posix_spawnattr_t *add_mask(const posix_spawnattr_t *attr, uint64_t believed,
                                         posix_spawnattr_t *copy)
{
	short flags = 0;
	sigset_t mask;

	if (attr)
		*copy = *attr;
	else
		posix_spawnattr_init(copy);
	posix_spawnattr_getflags(copy, &flags);
	if (flags & POSIX_SPAWN_SETSIGMASK)
		return attr;
	sigemptyset(&mask);
	mask_put(&mask, believed);
	posix_spawnattr_setsigmask(copy, &mask);
	posix_spawnattr_setflags(copy, (short)(flags | POSIX_SPAWN_SETSIGMASK));
	return copy;
}

static int spawn(__typeof__(posix_spawn) *next, pid_t *pid, const char *path,
                 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                 char *const argv[], char *const envp[])
{
	posix_spawnattr_t copy;
	struct aside aside;
	int error;

	look_for_child(&aside);
	if (differs(&aside))
		attr = add_mask(attr, aside.believed, &copy);
	regmap__chain_step_aside(aside.ignored);
	error = next(pid, path, actions, attr, argv, envp);
	regmap__chain_step_back(aside.ignored);
	return error;
}

REGMAP_API int posix_spawn(pid_t *restrict pid, const char *restrict path,
                           const posix_spawn_file_actions_t *restrict actions,
                           const posix_spawnattr_t *restrict attr, char *const argv[restrict],
                           char *const envp[restrict])
{
	return spawn(next_posix_spawn, pid, path, actions, attr, argv, envp);
}

REGMAP_API int posix_spawnp(pid_t *restrict pid, const char *restrict file,
                            const posix_spawn_file_actions_t *restrict actions,
                            const posix_spawnattr_t *restrict attr, char *const argv[restrict],
                            char *const envp[restrict])
{
	return spawn(next_posix_spawnp ? next_posix_spawnp : plain_posix_spawnp, pid, file, actions,
	             attr, argv, envp);
}

/* system() and popen() call libc's own posix_spawn(). */

/* POSIX: SIGINT and SIGQUIT are ignored from the first system() that runs to the last. */
static struct {
	pthread_mutex_t lock;
	unsigned running;
	struct sigaction interrupt, quit;
} shell = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void shell_begins(sigset_t *defaults)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};

	pthread_mutex_lock(&shell.lock);
	if (!shell.running++) {
		sigaction(SIGINT, &ignore, &shell.interrupt);
		sigaction(SIGQUIT, &ignore, &shell.quit);
	}
	sigemptyset(defaults);
	if (shell.interrupt.sa_handler != SIG_IGN)
		sigaddset(defaults, SIGINT);
	if (shell.quit.sa_handler != SIG_IGN)
		sigaddset(defaults, SIGQUIT);
	pthread_mutex_unlock(&shell.lock);
}

static void shell_ended(void)
{
	pthread_mutex_lock(&shell.lock);
	if (!--shell.running) {
		sigaction(SIGINT, &shell.interrupt, NULL);
		sigaction(SIGQUIT, &shell.quit, NULL);
	}
	pthread_mutex_unlock(&shell.lock);
}

static int start_shell(pid_t *pid, const char *line, const sigset_t *defaults, const sigset_t *mask)
{
	char *const argv[] = {"sh", "-c", (char *)(uintptr_t)line, NULL};
	posix_spawnattr_t attr;
	int error;

	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, mask);
	posix_spawnattr_setsigdefault(&attr, defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	error = posix_spawn(pid, _PATH_BSHELL, NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	return error;
}

struct running {
	pid_t pid; /* 0: waited for */
	int status;
	sigset_t mask;
};

static void await(struct running *run)
{
	while (waitpid(run->pid, &run->status, 0) < 0)
		if (errno != EINTR) {
			run->status = -1;
			break;
		}
	run->pid = 0;
}

/* The waiting thread is cancelled. */
static void abandon(struct running *run) __attribute__((nothrow));
static void abandon(struct running *run)
{
	int state;

	if (!run->pid)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	kill(run->pid, SIGKILL);
	await(run);
	shell_ended();
	sigprocmask(SIG_SETMASK, &run->mask, NULL);
	pthread_setcancelstate(state, NULL);
}

static int run_shell(const char *line)
{
	/* as if the shell could not be executed */
	struct running run __attribute__((cleanup(abandon))) = {.status = 127 << 8};
	sigset_t child, defaults;
	int error;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	shell_begins(&defaults);
	sigprocmask(SIG_BLOCK, &child, &run.mask);
	error = start_shell(&run.pid, line, &defaults, &run.mask);
	if (error)
		run.pid = 0;
	else
		await(&run);
	shell_ended();
	sigprocmask(SIG_SETMASK, &run.mask, NULL);
	if (error)
		errno = error;
	return run.status;
}

static bool inherits_wrongly(void)
{
	struct aside aside;

	look_for_child(&aside);
	return aside.ignored || differs(&aside);
}

REGMAP_API int system(const char *line)
{
	if (next_system && !inherits_wrongly())
		return next_system(line);
	return line ? run_shell(line) : run_shell("exit 0") == 0;
}

REGMAP_API FILE *popen(const char *command, const char *modes)
{
	struct aside aside;
	FILE *stream;

	look_for_child(&aside);
	step_aside(&aside);
	stream = next_popen(command, modes);
	step_back(&aside);
	return stream;
}

#endif
