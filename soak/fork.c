/* SPDX-License-Identifier: MIT */
/* Children of every kind, each of which does some of everything and checks it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <regmap/regmap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"

enum { BATCH = 60, HELPER_BATCH = 400, PATIENCE = 15, FINE = 7 };

extern char **environ;
/* It doesn't learn that a child of the bare system call has no other threads. */
extern void __tsan_init(void) __attribute__((weak));

static struct member *the_child(void)
{
	for (unsigned i = 0; i < CREW; i++)
		if (soak__crew[i].role == CHILD)
			return &soak__crew[i];
	abort();
}

/* Its counts are its own from here on, if its memory is. */
static uint64_t counter(enum store_name store)
{
	uint64_t value;

	memcpy(&value, soak__store[store].memory + (size_t)COUNTERS * REGION + 128, 8);
	return value;
}

static bool count_alone(void)
{
	static const unsigned paths[] = {0, 2};
	bool good = true;

	for (unsigned i = 0; i < 2; i++) {
		const struct path *path = &soak__path[paths[i]];
		uint64_t before = counter(path->store);

		for (unsigned n = 0; n < 10; n++)
			__asm__ volatile("lock incq 128(%0)"
			                 :
			                 : "r"(path->guest + (uint64_t)COUNTERS * REGION)
			                 : "memory", "cc");
		if (counter(path->store) != before + 10)
			good = soak__failed("increments", "lock inc in a child", path->name,
			                    counter(path->store), before + 10);
	}
	return good;
}

_Static_assert(SOAK_CHILD_SPACE >= SOAK_MAPPER_LOW + 2 * SOAK_MAPPER_SPACE, "the mapper's aliases");

/* A window of the child's own. */
static bool map_something(void)
{
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = SOAK_CHILD_SPACE,
		.length = REGION,
		.access = REGMAP_READ | REGMAP_WRITE,
		.backing = REGMAP_RAM,
	};
	struct regmap_window *window;
	int err = regmap_map(&c, &window);

	if (err)
		return soak__failed("regmap_map", regmap_strerror(err), "a child's own",
		                    (uint64_t)-err, 0);
	*(volatile uint32_t *)(uintptr_t)c.guest = 1;
	if (regmap_unmap(window))
		return soak__failed("regmap_unmap", "", "a child's own", 1, 0);
	return true;
}

static bool fire_some(struct member *child, unsigned batch)
{
	bool good = true;

	soak__become(child);
	soak__store_adopt(child->gun->region);
	for (unsigned i = 0; i < batch && good; i++)
		good = soak__fire_private(child->gun);
	return good;
}

__attribute__((noreturn)) static void end(bool good)
{
	if (!good)
		soak__print_failures(2);
	_exit(good ? FINE : 1);
}

__attribute__((noreturn)) static void be_child(void)
{
	bool good;

	soak__forget_failures();
	alarm(PATIENCE);
	good = fire_some(the_child(), BATCH) && count_alone();
	end(good && map_something());
}

static void expect_fine(pid_t pid, const char *what)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != FINE << 8)
		soak__failed("a child's status", what, "a child", (uint64_t)(unsigned)status,
		             FINE << 8);
}

static void do_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		be_child();
	expect_fine(pid, "fork()");
	atomic_fetch_add(&soak__tally.forks, 1);
}

/* The parent waits, but its memory is the child's, too. */
static void do_vfork(void)
{
	struct member *child = the_child();
	pid_t pid = vfork();

	if (!pid)
		_exit(fire_some(child, BATCH) ? FINE : 1);
	expect_fine(pid, "vfork()");
	atomic_fetch_add(&soak__tally.vforks, 1);
}

static void do_clone(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		be_child();
	expect_fine(pid, "clone()");
	atomic_fetch_add(&soak__tally.clones, 1);
}

/* Where refusals are reported, to nowhere. */
static void do_exec(struct random *random)
{
	char seed[32];
	char *const args[] = {"/proc/self/exe", "--helper", seed, NULL};
	pid_t pid;

	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)soak__random(random));
	pid = soak__below(random, 2) ? vfork() : fork();
	if (!pid) {
		execve(args[0], args, environ);
		_exit(1);
	}
	expect_fine(pid, "exec");
	atomic_fetch_add(&soak__tally.execs, 1);
}

void *soak__fork_all_day(void *arg)
{
	struct member *self = arg;

	soak__become(self);
	while (!soak__over) {
		switch (soak__below(&self->gun->random, 8)) {
		case 0: do_exec(&self->gun->random); break;
		case 1:
		case 2: do_vfork(); break;
		case 3:
		case 4:
			if (!__tsan_init)
				do_clone();
			break;
		default: do_fork();
		}
		soak__fire(self->gun);
		atomic_fetch_add(&self->progress, 1);
	}
	return NULL;
}

/* --- the program that exec started --- */

static volatile sig_atomic_t refused;
static sigjmp_buf escape;

static void on_refusal(int signo)
{
	(void)signo;
	refused++;
	siglongjmp(escape, 1);
}

/* A read-only window, a report of it, and the program's own handler. */
static bool be_refused(void)
{
	static uint8_t memory[64];
	struct regmap_config c = {
		.size = sizeof(c),
		.guest = 0xffffe11100000000,
		.length = sizeof(memory),
		.access = REGMAP_READ,
		.backing = REGMAP_HOST,
		.host = memory,
	};

	if (regmap_map(&c, NULL))
		return false;
	signal(SIGSEGV, on_refusal);
	for (volatile int i = 0; i < 3; i++)
		if (!sigsetjmp(escape, 1))
			*(volatile uint8_t *)(uintptr_t)c.guest = 1;
	return refused == 3 && !memory[0];
}

int soak__helper(uint64_t seed)
{
	struct member *child = &soak__crew[0];
	int null = open("/dev/null", O_WRONLY), errors = dup(2);

	child->role = CHILD;
	child->gun = &soak__gun[0];
	soak__gun_init(child->gun, seed, 1);
	alarm(PATIENCE);
	if (!fire_some(child, HELPER_BATCH) || null < 0 || dup2(null, 2) != 2)
		end(false);
	if (be_refused() && dup2(errors, 2) == 2)
		end(true);
	dup2(errors, 2);
	soak__failed("a refusal", "a store", "a read-only window", refused, 3);
	end(false);
}
