/* SPDX-License-Identifier: MIT */
/*
 * A debugger's way: a parent process sees the SIGSEGVs of its child. *advance* knows the one
 * instruction there is: a value into RAX, RIP behind it. *step* can do any instruction that
 * addresses by a register: the register is pointed to where the bytes are, one step is made, and
 * the register is restored.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peers.h"

enum { ACCESSES = 1000 };

static uint64_t *shadow; /* shared: [0] what is loaded, [1] the child's nanoseconds */

static bool stopped_by(pid_t child, int signo)
{
	int status;

	return waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
	       WSTOPSIG(status) == signo;
}

static void advance(pid_t child)
{
	struct user_regs_struct regs;

	ptrace(PTRACE_GETREGS, child, NULL, &regs);
	regs.rax = shadow[0];
	regs.rip += *bench_load.length;
	ptrace(PTRACE_SETREGS, child, NULL, &regs);
}

static void step(pid_t child)
{
	struct user_regs_struct regs;
	uint64_t address;

	ptrace(PTRACE_GETREGS, child, NULL, &regs);
	address = regs.rdi;
	regs.rdi = (uintptr_t)shadow;
	ptrace(PTRACE_SETREGS, child, NULL, &regs);
	ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
	if (!stopped_by(child, SIGTRAP))
		return;
	ptrace(PTRACE_GETREGS, child, NULL, &regs);
	regs.rdi = address;
	ptrace(PTRACE_SETREGS, child, NULL, &regs);
}

typedef void (*carry_out_fn)(pid_t child);

static const carry_out_fn advances = advance, steps = step;

static void be_traced(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	double ns = bench_wall_per_access(bench_load.loop, BENCH_FLOOR_AT, ACCESSES);

	memcpy(&shadow[1], &ns, sizeof(ns));
	_exit(0);
}

/* Returns how many faults were carried out. */
static unsigned trace(carry_out_fn carry_out)
{
	pid_t child = fork();
	unsigned faults = 0;

	if (!child)
		be_traced();
	if (child < 0 || !stopped_by(child, SIGSTOP))
		return 0;
	for (ptrace(PTRACE_CONT, child, NULL, NULL); stopped_by(child, SIGSEGV);
	     ptrace(PTRACE_CONT, child, NULL, NULL)) {
		carry_out(child);
		faults++;
	}
	return faults;
}

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	to->base = bench_wall_floor(&bench_load, BENCH_TRAPPED);
	if (trace(*(const carry_out_fn *)row->arg) != ACCESSES)
		return bench_skip(row, "the child can't be traced here: %s", strerror(errno));
	memcpy(&to->value, &shadow[1], sizeof(to->value));
	return true;
}

static struct bench_row rows[] = {
	PEER("ptrace/advance", "ptrace(): a parent process steps over the one it knows", measure,
             .arg = &advances),
	PEER("ptrace/step", "ptrace(): a parent process single-steps any", measure, .arg = &steps),
};

static const char *set_up(void)
{
	shadow = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shadow == MAP_FAILED)
		bench_fail("no memory");
	bench_peers_set_up();
	return NULL;
}

struct bench_part bench_peer_ptrace = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
