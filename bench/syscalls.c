/* SPDX-License-Identifier: MIT */
/*
 * System calls on windows: what regmap_syscalls() costs, and what other ways to the same end would
 * see. Ratios are to the same call without; the median of the rounds and their quartiles. Nothing
 * here is asserted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <regmap/regmap.h>

enum { ROUNDS = 21, CALLS = 2000, BUFFER = 64 };

#define HOST_AT 0x30000000ull

static int null;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* --- what it costs --- */

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

static double per_call(void (*call)(uint64_t), uint64_t at)
{
	double begin = now();

	for (unsigned i = 0; i < CALLS; i++)
		call(at);
	return (now() - begin) / CALLS;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void compare(const char *name, void (*with)(uint64_t), uint64_t at,
                    void (*without)(uint64_t), uint64_t other)
{
	double on[ROUNDS], off[ROUNDS], ratio[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		off[i] = per_call(without, other);
		if (regmap_syscalls(1))
			abort();
		on[i] = per_call(with, at);
		if (regmap_syscalls(0))
			abort();
		ratio[i] = on[i] / off[i];
	}
	qsort(on, ROUNDS, sizeof(double), by_value);
	qsort(off, ROUNDS, sizeof(double), by_value);
	qsort(ratio, ROUNDS, sizeof(double), by_value);
	printf("%-50s %9.1f %9.1f   %6.2f  (%.2f .. %.2f)\n", name, on[ROUNDS / 2], off[ROUNDS / 2],
	       ratio[ROUNDS / 2], ratio[ROUNDS / 4], ratio[ROUNDS - ROUNDS / 4 - 1]);
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

static void tell(const char *way, int direct, int stdio, int raw, const char *program)
{
	fprintf(stderr, "%-34s %-14s %-14s %-14s %s\n", way, direct ? "seen" : "not seen",
	        stdio ? "seen" : "not seen", raw ? "seen" : "not seen", program);
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
		const char *fate = fate_of_program();
		char line[128];

		/* stderr is shut, too */
		snprintf(line, sizeof(line), "%-34s %-14s %-14s %-14s %s, and for good\n",
		         "seccomp's SECCOMP_RET_TRAP", direct ? "seen" : "not seen",
		         stdio ? "seen" : "not seen", raw ? "seen" : "not seen", fate);
		syscall(SYS_pwritev2, 2, &(struct iovec){line, strlen(line)}, 1, -1L, -1L, 0);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void try_ways(FILE *f)
{
	fprintf(stderr, "%-34s %-14s %-14s %-14s %s\n", "way", "write()", "fputs()", "syscall()",
	        "a program executed");
	tell("a write() before libc's", count(by_name, f), count(by_stdio, f), count(by_number, f),
	     fate_of_program());
	try_seccomp(f);
	if (regmap_syscalls(1))
		abort();
	/* Its own handler sees them all: a buffer that only it can read gets through. */
	bool direct = write(null, (void *)HOST_AT, 1) == 1;
	bool raw = syscall(SYS_write, null, HOST_AT, 1) == 1;

	setvbuf(f, (char *)HOST_AT, _IOFBF, BUFFER);
	bool stdio = fputs("x", f) >= 0 && !fflush(f);

	tell("regmap_syscalls()", direct, stdio, raw, fate_of_program());
}

int main(void)
{
	static char host[4096];
	struct regmap_config c = {.size = sizeof(c),
	                          .guest = HOST_AT,
	                          .length = sizeof(host),
	                          .access = REGMAP_READ | REGMAP_WRITE,
	                          .backing = REGMAP_HOST,
	                          .host = host};
	int err = regmap_map(&c, NULL);
	FILE *f;

	null = open("/dev/null", O_WRONLY);
	f = fdopen(dup(null), "w");
	if (!err)
		err = regmap_syscalls(1) ? regmap_syscalls(1) : regmap_syscalls(0);
	if (err) {
		fprintf(stderr, "syscalls: %s\n", regmap_strerror(err));
		return err == -ENOSYS ? 0 : 1;
	}
	printf("%-50s %9s %9s   %6s  (quartiles)\n", "call", "ns", "without", "ratio");
	compare("getppid()", ask, 0, ask, 0);
	compare("write() of 64 bytes of memory", put_out, (uintptr_t)host, put_out,
	        (uintptr_t)host);
	compare("write() of 64 bytes of a window / of memory", put_out, HOST_AT, put_out,
	        (uintptr_t)host);
	compare("the same / regmap_read() and write()", put_out, HOST_AT, copy_and_put_out,
	        HOST_AT);
	fflush(stdout);
	try_ways(f);
	return 0;
}
