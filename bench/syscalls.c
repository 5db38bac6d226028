/* SPDX-License-Identifier: MIT */
/*
 * System calls on windows: what regmap_syscalls() costs, against the same call
 * without; and what other ways to the same end would see (docs/kernel-reach.md).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "bench.h"

enum { CALLS = 2000, BUFFER = 64 };

#define HOST_AT 0x30000000ull

typedef void (*call_fn)(uint64_t at);

static int null;
static char memory[4096];

static void ask(uint64_t unused)
{
	(void)unused;
	syscall(SYS_getppid);
}

static void put_out(uint64_t at)
{
	if (syscall(SYS_write, null, at, BUFFER) != BUFFER)
		abort();
}

/* What a program does without. */
static void copy_and_put_out(uint64_t at)
{
	char copy[BUFFER];

	if (regmap_read(at, copy, sizeof(copy)))
		abort();
	put_out((uintptr_t)copy);
}

static double per_call(call_fn call, uint64_t at)
{
	double begin = bench_now();

	for (unsigned i = 0; i < CALLS; i++)
		call(at);
	return (bench_now() - begin) / CALLS;
}

static void switch_on(int on)
{
	int err = regmap_syscalls(on);

	if (err)
		bench_fail("regmap_syscalls(%d): %s", on, regmap_strerror(err));
}

struct pair {
	call_fn with, without;
};

static const struct pair asks = {ask, ask}, writes = {put_out, put_out},
			 copies = {put_out, copy_and_put_out};

static bool measure(const struct bench_row *row, struct bench_sample *to)
{
	const struct pair *pair = row->arg;

	to->base = per_call(pair->without, row->base_at ? row->base_at : (uintptr_t)memory);
	switch_on(1);
	to->value = per_call(pair->with, row->at ? row->at : (uintptr_t)memory);
	switch_on(0);
	return true;
}

/* --- what other ways would see --- */

static volatile int seen;

/* Interposition: this is the program's write(), as far as the dynamic linker has a say. */
ssize_t write(int fd, const void *from, size_t length)
{
	seen++;
	return syscall(SYS_write, fd, from, length);
}

static void on_trap(int signo, siginfo_t *info, void *uc)
{
	(void)signo, (void)info;
	greg_t *regs = ((ucontext_t *)uc)->uc_mcontext.gregs;

	regs[REG_RAX] = regs[REG_RDX]; /* all written */
	seen++;
}

static bool trap_writes(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
	struct sigaction act = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	return !sigaction(SIGSYS, &act, NULL) && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* The program that it becomes writes a line. */
static const char *fate_of_program(void)
{
	pid_t child = fork();
	int status;

	if (!child) {
		dup2(null, 1);
		execl("/bin/echo", "echo", "hello", (char *)NULL);
		_exit(1);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? "dies" : "runs";
}

static const char *sight(int seen_there)
{
	return seen_there ? "seen" : "not seen";
}

static void tell(const char *way, int direct, int stdio, int raw, const char *program)
{
	bench_note("%-34s %-14s %-14s %-14s %s", way, sight(direct), sight(stdio), sight(raw),
	           program);
}

static int count(void (*body)(FILE *), FILE *f)
{
	seen = 0;
	body(f);
	return seen;
}

static void by_name(FILE *f)
{
	if (write(fileno(f), "", 0))
		abort();
}

static void by_stdio(FILE *f)
{
	fputs("x", f);
	fflush(f);
	clearerr(f);
}

static void by_number(FILE *f)
{
	syscall(SYS_write, fileno(f), "", 0);
}

/* In a child: a filter is for good. */
static void try_seccomp(FILE *f)
{
	pid_t child = fork();

	if (!child) {
		if (!trap_writes())
			_exit(1);
		int direct = count(by_name, f) > 1, raw = count(by_number, f),
		    stdio = count(by_stdio, f);
		char fate[64];

		snprintf(fate, sizeof(fate), "%s, and for good", fate_of_program());
		tell("seccomp's SECCOMP_RET_TRAP", direct, stdio, raw, fate);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* Returns how many of the three ways to make a call are seen. */
static int try_ways(FILE *f)
{
	bench_note("%-34s %-14s %-14s %-14s %s", "way to see system calls", "write()", "fputs()",
	           "syscall()", "a program executed");
	tell("a write() before libc's", count(by_name, f), count(by_stdio, f), count(by_number, f),
	     fate_of_program());
	try_seccomp(f);
	switch_on(1);
	/* Its own handler sees them all: a buffer that only it can read gets through. */
	bool direct = write(null, (void *)HOST_AT, 1) == 1;
	bool raw = syscall(SYS_write, null, HOST_AT, 1) == 1;

	setvbuf(f, (char *)HOST_AT, _IOFBF, BUFFER);
	bool stdio = fputs("x", f) >= 0 && !fflush(f);

	const char *fate = fate_of_program();

	switch_on(0);
	tell("regmap_syscalls()", direct, stdio, raw, fate);
	return direct + stdio + raw;
}

static bool ways(const struct bench_row *row, struct bench_sample *to)
{
	static int seen_all = -1;
	FILE *f;

	(void)row;
	if (seen_all < 0) {
		f = fdopen(dup(null), "w");
		if (!f)
			bench_fail("no memory");
		seen_all = try_ways(f);
		fclose(f);
	}
	to->value = seen_all;
	return true;
}

#define ROW(id, text, calls, with_at, without_at, than) \
	{ \
		.name = "syscalls/" id, .what = text, .unit = "ns", .base = than, \
		.figure = BENCH_COST, .measure = measure, .arg = &calls, .at = with_at, \
		.base_at = without_at \
	}

static struct bench_row rows[] = {
	ROW("getppid", "getppid()", asks, 0, 0, "without"),
	ROW("write-memory", "write() of 64 bytes of memory", writes, 0, 0, "without"),
	ROW("write-window", "write() of 64 bytes of a window", writes, HOST_AT, 0, "of memory"),
	ROW("write-copied", "write() of 64 bytes of a window", copies, HOST_AT, HOST_AT,
            "read+write()"),
	{.name = "syscalls/seen",
         .what = "ways for a call to be made that regmap_syscalls() sees, of three",
         .unit = "",
         .figure = BENCH_SHARE,
         .wanted = 3,
         .measure = ways},
};

static const char *set_up(void)
{
	int err;

	null = open("/dev/null", O_WRONLY);
	if (null < 0)
		bench_fail("/dev/null can't be opened");
	bench_map((struct regmap_config){.guest = HOST_AT,
	                                 .length = sizeof(memory),
	                                 .backing = REGMAP_HOST,
	                                 .host = memory});
	err = regmap_syscalls(1);
	if (err)
		return regmap_strerror(err);
	switch_on(0);
	return NULL;
}

struct bench_part bench_syscalls = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
