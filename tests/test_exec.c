/* SPDX-License-Identifier: MIT */
/*
 * What a new program inherits: the mask, the ignored and the pending signals that the old one
 * believes in. It is cat, which shows its own /proc/self/status and has no handlers.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "twice.h"

#define CAT "/bin/cat"
#define STATUS "/proc/self/status"
#define LINE "cat " STATUS

static char *const args[] = {"cat", STATUS, NULL};
static char *const environment[] = {"PATH=/bin:/usr/bin", "LC_ALL=C", NULL};

typedef void (*start_fn)(void);

static void by_execve(void)
{
	t_c.execve(CAT, args, environment);
}

static void by_execv(void)
{
	t_c.execv(CAT, args);
}

static void by_execvp(void)
{
	t_c.execvp("cat", args);
}

static void by_execvpe(void)
{
	t_c.execvpe("cat", args, environment);
}

static void by_execl(void)
{
	t_c.execl(CAT, "cat", STATUS, NULL);
}

static void by_execlp(void)
{
	t_c.execlp("cat", "cat", STATUS, NULL);
}

static void by_execle(void)
{
	t_c.execle(CAT, "cat", STATUS, NULL, environment);
}

static void by_fexecve(void)
{
	t_c.fexecve(open(CAT, O_RDONLY | O_CLOEXEC), args, environment);
}

static void by_execveat(void)
{
	t_c.execveat(AT_FDCWD, CAT, args, environment, 0);
}

/* After a few that fail */
static void by_the_last_resort(void)
{
	t_c.execve("/nonexistent", args, environment);
	t_note(errno);
	t_c.execve("/etc/passwd", args, environment);
	t_note(errno);
	t_c.execvp("regmap-nonexistent", args);
	t_note(errno);
	t_c.execveat(AT_FDCWD, "/", args, environment, 0);
	t_note(errno);
	t_use_window();
	t_note((int64_t)t_mask());
	by_execve();
}

static void await(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		;
	t_note(status);
	t_use_window();
	_exit(0);
}

static void by_vfork(void)
{
	pid_t pid = vfork();

	if (!pid) {
		t_c.execv(CAT, args);
		_exit(1);
	}
	await(pid);
}

/* A child of vfork() that cleans up first, as many do; the parent must not notice. */
static void by_vfork_with_defaults(void)
{
	struct sigaction before, after;
	sigset_t none;
	uint64_t mask = t_mask();
	pid_t pid;

	sigemptyset(&none);
	t_c.sigaction(SIGSEGV, NULL, &before);
	pid = vfork();
	if (!pid) {
		for (int signo = 1; signo < 32; signo++)
			t_c.signal(signo, SIG_DFL);
		t_c.sigprocmask(SIG_SETMASK, &none, NULL);
		t_c.execv(CAT, args);
		_exit(1);
	}
	t_c.sigaction(SIGSEGV, NULL, &after);
	t_note(before.sa_handler == after.sa_handler);
	t_note(mask == t_mask());
	await(pid);
}

static void by_spawn(void)
{
	pid_t pid;

	t_note(t_c.posix_spawn(&pid, CAT, NULL, NULL, args, environment));
	await(pid);
}

static void by_spawnp(void)
{
	pid_t pid;

	t_note(t_c.posix_spawnp(&pid, "regmap-nonexistent", NULL, NULL, args, environment));
	t_note(t_c.posix_spawnp(&pid, "cat", NULL, NULL, args, environment));
	await(pid);
}

static void by_spawn_with_attributes(void)
{
	sigset_t mask = t_set(SIGBUS, SIGUSR2, 0), defaults = t_set(SIGSEGV, SIGFPE, SIGHUP, 0);
	posix_spawnattr_t attr;
	pid_t pid;

	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &mask);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	t_note(t_c.posix_spawn(&pid, CAT, NULL, &attr, args, environment));
	await(pid);
}

static void by_spawn_with_defaults(void)
{
	sigset_t defaults = t_set(SIGBUS, SIGILL, 0);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addclose(&actions, 0);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	t_note(t_c.posix_spawn(&pid, CAT, &actions, &attr, args, environment));
	await(pid);
}

static void by_system(void)
{
	t_note(t_c.system(LINE));
	t_note(t_c.system("exit 3"));
	t_note(t_c.system("kill -9 $$"));
	t_note(t_c.system(NULL) != 0);
	t_use_window();
	t_note((int64_t)t_mask());
	_exit(0);
}

static void by_popen(void)
{
	FILE *stream = t_c.popen(LINE, "r");
	char line[256];

	while (stream && fgets(line, sizeof(line), stream))
		fputs(line, stdout);
	fflush(stdout);
	t_note(pclose(stream));
	t_use_window();
	t_note((int64_t)t_mask());
	_exit(0);
}

/* The new program's SigPnd, ShdPnd, SigBlk, SigIgn, but not glibc's own two signals */
static void note_output(int fd)
{
	FILE *stream = fdopen(fd, "r");
	unsigned long mask, lines = 0;
	char line[256], name[7];

	while (fgets(line, sizeof(line), stream)) {
		if (sscanf(line, "%6[a-zA-Z]: %lx", name, &mask) != 2 ||
		    !strstr("SigPnd ShdPnd SigBlk SigIgn", name))
			continue;
		t_note(name[1] << 16 | name[3] << 8 | name[4]);
		t_note((int64_t)(mask & ~(3UL << 31)));
		lines++;
	}
	t_note((int64_t)lines);
	fclose(stream);
}

static void on_signal(int signo)
{
	(void)signo;
}

struct scene {
	start_fn start;
	bool held, ignored, pending;
};

static void set_scene(const struct scene *scene)
{
	sigset_t set = t_set(SIGSEGV, SIGUSR1, 0);

	t_c.signal(SIGBUS, on_signal);
	t_c.signal(SIGHUP, SIG_IGN);
	if (scene->ignored) {
		t_c.signal(SIGSEGV, SIG_IGN);
		t_c.signal(SIGFPE, SIG_IGN);
		t_c.sigset(SIGILL, SIG_IGN);
	}
	if (scene->held)
		t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	if (scene->pending)
		t_c.sighold(SIGBUS);
}

static int start(void *arg)
{
	const struct scene *scene = arg;
	int ends[2], status;
	pid_t pid;

	if (pipe(ends))
		return 1;
	set_scene(scene);
	pid = fork();
	if (!pid) {
		if (scene->pending)
			kill(getpid(), SIGBUS);
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		scene->start();
		_exit(99);
	}
	close(ends[1]);
	while (waitpid(pid, &status, 0) < 0)
		;
	t_note(status);
	note_output(ends[0]);
	t_use_window();
	return 0;
}

static void compare(start_fn how)
{
	for (unsigned i = 0; i < 8; i++) {
		struct scene scene = {how, i & 1, i & 2, i & 4};

		t_twice(T_MAPPED_BEFORE, start, &scene);
	}
}

static void test_exec_passes_on_what_the_program_believes(void **state)
{
	static const start_fn ways[] = {
		by_execve, by_execv,  by_execvp,  by_execvpe,  by_execl,
		by_execlp, by_execle, by_fexecve, by_execveat,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		compare(ways[i]);
}

static void test_exec_that_fails_changes_nothing(void **state)
{
	(void)state;
	compare(by_the_last_resort);
}

static void test_exec_from_a_vfork_child_leaves_the_parent_alone(void **state)
{
	(void)state;
	compare(by_vfork);
	compare(by_vfork_with_defaults);
}

static void test_exec_spawn_keeps_attributes(void **state)
{
	(void)state;
	compare(by_spawn);
	compare(by_spawnp);
	compare(by_spawn_with_attributes);
	compare(by_spawn_with_defaults);
}

static void test_exec_of_a_shell(void **state)
{
	(void)state;
	compare(by_system);
	compare(by_popen);
}

/* A program that another one started with SIGSEGV blocked: this one, under a new name */
static int be_started(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	t_mapped = false;
	t_c.sigprocmask = sigprocmask;
	t_map_now();
	t_use_window();
	return sigismember(&now, SIGSEGV) && !sigismember(&now, SIGBUS) && t_mapped ? 0 : 1;
}

static int start_myself(void *arg)
{
	sigset_t set = t_set(SIGSEGV, 0);

	(void)arg;
	t_note(1);
	t_c.sigprocmask(SIG_BLOCK, &set, NULL);
	t_c.execl("/proc/self/exe", "started", NULL);
	return 99;
}

static void test_exec_starts_with_sigsegv_blocked(void **state)
{
	(void)state;
	t_twice(T_MAPPED_BEFORE, start_myself, NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exec_passes_on_what_the_program_believes),
		cmocka_unit_test(test_exec_that_fails_changes_nothing),
		cmocka_unit_test(test_exec_from_a_vfork_child_leaves_the_parent_alone),
		cmocka_unit_test(test_exec_spawn_keeps_attributes),
		cmocka_unit_test(test_exec_of_a_shell),
		cmocka_unit_test(test_exec_starts_with_sigsegv_blocked),
	};

	if (argc == 1 && !strcmp(argv[0], "started"))
		return be_started();
	return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
