/* SPDX-License-Identifier: MIT */
/*
 * What a program needs of the library, without a test framework: for ways of linking and C libraries
 * that the tests can't be built for. Says "alone: all right" at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <regmap/registers.h>
#include <regmap/regmap.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096, THREADS = 3, ROUNDS = 2000, RW = REGMAP_READ | REGMAP_WRITE };

#define HOST 0xffff880000000000ULL
#define DEVICE 0x40020000ULL
#define HOLE 0x1234567800000000ULL
#define RAM 0x20000000ULL
#define CONSTANT 0x48000000ULL

#define CHECK(what) check(what, #what, __LINE__)

static uint8_t memory[PAGE] __attribute__((aligned(64)));
static uint64_t device[8];
static unsigned asked;
static sigjmp_buf escape;
static volatile sig_atomic_t last_signal;
static void *volatile last_address;

static void check(int good, const char *what, int line)
{
	if (good)
		return;
	fprintf(stderr, "alone: line %d: not so: %s\n", line, what);
	exit(1);
}

static int device_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	asked++;
	if (offset == 32)
		siglongjmp(escape, 32);
	if (offset == 40)
		return -EIO;
	*value = 0;
	memcpy(value, (char *)ctx + offset, width);
	return 0;
}

static int device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	asked++;
	memcpy((char *)ctx + offset, &value, width);
	return 0;
}

static const struct regmap_device_ops ops = {device_read, device_write};

static void lay(struct regmap_config c)
{
	c.size = sizeof(c);
	c.access = c.access ? c.access : RW;
	c.length = c.length ? c.length : PAGE;
	CHECK(regmap_map(&c, NULL) == 0);
}

static void lay_all(void)
{
	lay((struct regmap_config){.guest = HOST, .backing = REGMAP_HOST, .host = memory});
	lay((struct regmap_config){.guest = CONSTANT,
	                           .backing = REGMAP_HOST,
	                           .host = memory,
	                           .access = REGMAP_READ});
	lay((struct regmap_config){.guest = DEVICE,
	                           .length = 64,
	                           .backing = REGMAP_DEVICE,
	                           .ops = &ops,
	                           .ctx = device});
	lay((struct regmap_config){.guest = RAM, .backing = REGMAP_RAM});
	lay((struct regmap_config){.guest = HOLE, .backing = REGMAP_ALIAS, .target = RAM});
	CHECK(regmap_map_registers() == 0);
}

#define AT(type, address) (*(volatile type *)(uintptr_t)(address))

static void try_memory(void)
{
	volatile uintptr_t host = HOST; /* compilers think they know what lies there */
	double sum = 0;

	AT(uint32_t, HOST + 4) = 0x12345678;
	CHECK(memory[5] == 0x56);
	for (unsigned i = 0; i < 8; i++)
		AT(double, HOST + 64 + 8 * i) = 0.5 + i;
	for (unsigned i = 0; i < 8; i++)
		sum += AT(double, HOST + 64 + 8 * i);
	CHECK(sum == 32);
	memcpy((void *)(host + 256), (void *)(host + 64), 64);
	CHECK(!memcmp(memory + 256, memory + 64, 64));
	AT(uint16_t, RAM + 8) = 0xbeef;
	CHECK(AT(uint8_t, HOLE + 9) == 0xbe);
}

static void try_device(void)
{
	uint64_t value = 77;

	AT(uint32_t, DEVICE + 4) |= 0x10;
	CHECK(device[0] == 0x1000000000 && asked == 2);
	__asm__ volatile("movhps (%0), %%xmm1; movhps %%xmm1, 8(%0)"
	                 :
	                 : "r"(DEVICE)
	                 : "xmm1", "memory");
	CHECK(device[1] == 0x1000000000 && asked == 4);
	CHECK(regmap_write(DEVICE + 16, &value, 8) == 0 && device[2] == 77);
	if (!sigsetjmp(escape, 1)) {
		(void)AT(uint32_t, DEVICE + 32);
		CHECK(!"a callback that jumps");
	}
}

static void try_registers(void)
{
	uint64_t got;

	__asm__ volatile("mov $42, %%r13; movq 0x68, %0" : "=r"(got) : : "r13");
	CHECK(got == 42);
	__asm__ volatile("movq $43, 0x78; mov %%r15, %0" : "=r"(got) : : "r15");
	CHECK(got == 43);
	CHECK(regmap_get16(REGMAP_FCW) == 0x37f);
}

static void on_signal(int signo, siginfo_t *info, void *ucontext)
{
	(void)ucontext;
	last_signal = signo;
	last_address = info->si_addr;
	siglongjmp(escape, 1);
}

static void catch (int signo)
{
	struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, now;

	CHECK(sigaction(signo, &act, NULL) == 0);
	CHECK(sigaction(signo, NULL, &now) == 0 && now.sa_sigaction == on_signal);
}

static int signal_of(uint64_t address, int write)
{
	last_signal = 0;
	if (!sigsetjmp(escape, 1)) {
		if (write)
			AT(uint8_t, address) = 1;
		else
			(void)AT(uint8_t, address);
	}
	CHECK(!last_signal || last_address == (void *)(uintptr_t)address);
	return last_signal;
}

/* The program's handlers get what isn't ours, and what a window refuses, again and again. */
static void try_signals(void)
{
	catch (SIGSEGV);
	catch (SIGBUS);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(signal_of(0x30000000, 0) == SIGSEGV);
		CHECK(signal_of(CONSTANT, 1) == SIGSEGV);
		CHECK(signal_of(CONSTANT, 0) == 0);
		CHECK(signal_of(DEVICE + 40, 0) == SIGBUS);
	}
}

/* Blocked, and yet windows work. */
static void try_mask(void)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	AT(uint8_t, HOST) = 9;
	CHECK(pthread_sigmask(SIG_UNBLOCK, &set, &old) == 0 && sigismember(&old, SIGSEGV) == 1);
}

static void *count(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		__asm__ volatile("lock incq 1024(%0)" : : "r"(HOST) : "memory", "cc");
		__asm__ volatile("lock incq 24(%0)" : : "r"(DEVICE) : "memory", "cc");
	}
	return arg;
}

static void try_threads(void)
{
	pthread_t threads[THREADS];
	uint64_t host;

	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	memcpy(&host, memory + 1024, 8);
	CHECK(host == THREADS * ROUNDS && device[3] == THREADS * ROUNDS);
}

static int count_c11(void *arg)
{
	count(arg);
	return 7;
}

static void try_c11(void)
{
	uint64_t before = device[3];
	thrd_t thread;
	int result = 0;

	CHECK(thrd_create(&thread, count_c11, NULL) == thrd_success);
	CHECK(thrd_join(thread, &result) == thrd_success);
	CHECK(result == 7 && device[3] == before + ROUNDS);
}

static jmp_buf plain_escape;

static void try_jumps(void)
{
	volatile int round = 0;

	CHECK(setjmp(plain_escape) == round);
	if (round++ == 0)
		longjmp(plain_escape, 0); /* which says 1 */
	CHECK(_setjmp(plain_escape) == (round == 2 ? 0 : 42));
	if (round++ == 2)
		_longjmp(plain_escape, 42);
#ifdef __GLIBC__
	ucontext_t here;

	CHECK(getcontext(&here) == 0);
	if (round++ == 4)
		setcontext(&here);
	CHECK(round == 6);
#endif
}

/* With SIGSEGV blocked, which none of them must find amiss. */
static void try_programs(void)
{
	char *const argv[] = {"sh", "-c", "exit 5", NULL};
	sigset_t set;
	char word[8] = "";
	int status = -1;
	FILE *stream;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	CHECK((status = system("exit 3")) >= 0 && WEXITSTATUS(status) == 3);
	CHECK((stream = popen("echo word", "r")) && fgets(word, sizeof(word), stream));
	CHECK(!strcmp(word, "word\n") && pclose(stream) == 0);
	CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
	CHECK(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
	if (!(pid = fork())) {
		execvp("sh", argv);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
	AT(uint8_t, HOST) = 9;
	CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

static void try_waiting(void)
{
	const struct timespec soon = {0, 1000};
	sigset_t set;

	sigemptyset(&set);
	CHECK(pselect(0, NULL, NULL, NULL, &soon, &set) == 0);
	sigaddset(&set, SIGSEGV);
	CHECK(sigtimedwait(&set, NULL, &soon) == -1 && errno == EAGAIN);
}

static void try_fork(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		count(NULL);
		lay((struct regmap_config){.guest = HOST + PAGE, .backing = REGMAP_RAM});
		AT(double, HOST + PAGE) = 1.5;
		_exit(AT(double, HOST + PAGE) == 1.5 ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(void)
{
	lay_all();
	try_memory();
	try_device();
	try_registers();
	try_signals();
	try_mask();
	try_threads();
	try_c11();
	try_jumps();
	try_programs();
	try_waiting();
	try_fork();
	puts("alone: all right");
	return 0;
}
