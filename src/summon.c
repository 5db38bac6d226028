/* SPDX-License-Identifier: MIT */
/*
 * Linux lets no thread set another's alternate stack. But sigreturn installs the one that stands in
 * the signal's frame: so each thread is sent a signal, whose handler writes it there.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../arch/x86_64/syscall.h"
#include "stacks.h"

enum { ROUNDS = 1000 };

struct summoned {
	unsigned *tid;
	size_t count, room;
};

static bool knows(const struct summoned *s, unsigned tid)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->tid[i] == tid)
			return true;
	return false;
}

static bool note(struct summoned *s, unsigned tid)
{
	size_t room = s->room ? 2 * s->room : 64;
	unsigned *grown = s->count < s->room ? s->tid : realloc(s->tid, room * sizeof(*grown));

	if (!grown)
		return false;
	s->room = s->count < s->room ? s->room : room;
	s->tid = grown;
	s->tid[s->count++] = tid;
	return true;
}

static bool needs_one(unsigned tid)
{
	return tid != (unsigned)gettid() &&
	       !regmap__stacks_has((uint64_t)(unsigned)getpid() << 32 | tid);
}

static void send(unsigned tid)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGSEGV;
	info.si_code = SI_QUEUE;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = regmap__stacks_cookie();
	sys_call(SYS_rt_tgsigqueueinfo, getpid(), (long)tid, SIGSEGV, (long)&info);
}

/* One look at the list of threads. The number that it was news for, or -errno. */
static int look(struct summoned *s)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int news = 0;

	if (!tasks)
		return errno == ENOMEM ? -ENOMEM : -ENOENT;
	while (news >= 0 && (entry = readdir(tasks))) {
		unsigned tid = (unsigned)strtoul(entry->d_name, NULL, 10);

		if (!tid || knows(s, tid) || !needs_one(tid))
			continue;
		if (!note(s, tid)) {
			news = -ENOMEM;
			break;
		}
		send(tid);
		news++;
	}
	closedir(tasks);
	return news;
}

/* Not so if it is blocked: then the thread gets its stack when it no longer is. */
static bool is_pending(unsigned tid)
{
	unsigned long long pending = 0, blocked = 0;
	char path[64], line[256];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/self/task/%u/status", tid);
	status = fopen(path, "re");
	if (!status)
		return false;
	while (fgets(line, sizeof(line), status)) {
		sscanf(line, "SigPnd: %llx", &pending);
		sscanf(line, "SigBlk: %llx", &blocked);
	}
	fclose(status);
	return pending & ~blocked & SYS_SIGBIT(SIGSEGV);
}

/*
 * What is no longer pending is on its way: the thread's next instruction is the handler's. One that
 * is stopped or waits for a vfork() isn't waited for: its next one will be, too.
 */
static void wait_for(const struct summoned *s)
{
	const struct timespec a_moment = {0, 1000000};

	for (size_t i = 0; i < s->count; i++)
		for (unsigned round = 0; round < ROUNDS && is_pending(s->tid[i]); round++)
			nanosleep(&a_moment, NULL);
}

int regmap__stacks_summon(void)
{
	struct summoned s = {NULL, 0, 0};
	int news;

	do
		news = look(&s);
	while (news > 0);
	wait_for(&s);
	free(s.tid);
	return news;
}
