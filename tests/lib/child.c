/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

static void be_child(int out, int (*body)(void *), void *arg)
{
	const struct rlimit none = {0, 0};

	dup2(out, 2);
	close(out);
	setrlimit(RLIMIT_CORE, &none);
	alarm(20);
	_exit(body(arg));
}

static void collect(int in, struct t_child *child)
{
	char lost[512];
	size_t used = 0;
	ssize_t got;

	do {
		size_t room = sizeof(child->text) - 1 - used;

		got = room ? read(in, child->text + used, room) : read(in, lost, sizeof(lost));
		used += room && got > 0 ? (size_t)got : 0;
	} while (got > 0);
	child->text[used] = 0;
}

void t_child_run(struct t_child *child, int (*body)(void *), void *arg)
{
	int ends[2];
	pid_t pid;

	memset(child, 0, sizeof(*child));
	if (pipe(ends))
		abort();
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid) {
		close(ends[0]);
		be_child(ends[1], body, arg);
	}
	close(ends[1]);
	collect(ends[0], child);
	close(ends[0]);
	if (waitpid(pid, &child->status, 0) != pid)
		abort();
}

bool t_go_on_in_both(int *status)
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(20);
		return true;
	}
	if (pid < 0 || waitpid(pid, status, 0) != pid)
		*status = -1;
	return false;
}

int t_fate(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) ? -1 - WEXITSTATUS(status) : 0;
}

int t_child_fate(int (*body)(void *), void *arg)
{
	struct t_child child;

	t_child_run(&child, body, arg);
	return t_fate(child.status);
}

void *t_shared(unsigned long size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		abort();
	return at;
}
