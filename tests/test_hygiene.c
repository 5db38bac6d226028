/* SPDX-License-Identifier: MIT */
/*
 * What an access leaves alone: errno, whatever happens behind the window; and the heap, since it may
 * happen in the middle of a malloc(). make check-sigsafe says the same of the code; this is what runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regmap/registers.h>
#include <regmap/regmap.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lay.h"

enum { HOST = 0x40000000, DEVICE = 0x40010000, BROKEN = 0x40020000, READ_ONLY = 0x40030000 };
enum { SIZE = 0x1000, MARK = 12345 };

static uint8_t memory[SIZE] __attribute__((aligned(64)));

/* --- libc's own heap, counted --- */

static volatile bool watching;
static volatile unsigned touched;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *at, size_t size);
extern void __libc_free(void *at);

void *malloc(size_t size)
{
	touched += watching;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	touched += watching;
	return __libc_calloc(count, size);
}

void *realloc(void *at, size_t size)
{
	touched += watching;
	return __libc_realloc(at, size);
}

void free(void *at)
{
	touched += watching;
	__libc_free(at);
}

/* --- the windows --- */

/* The program's own business, as a call from the site would be. */
static int noisy_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	bool was = watching;

	(void)ctx, (void)width;
	watching = false;
	free(malloc(offset + 1));
	errno = EDOM;
	*value = offset;
	watching = was;
	return 0;
}

static int noisy_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	errno = ERANGE;
	return 0;
}

static int broken_read(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	errno = EDOM;
	return -EIO;
}

static int broken_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	errno = EDOM;
	return -EIO;
}

static const struct regmap_device_ops noisy = {noisy_read, noisy_write};
static const struct regmap_device_ops broken = {broken_read, broken_write};

/* --- accesses --- */

static void host(void)
{
	__asm__ volatile("incl (%0)\n movl (%0), %%eax\n lock addl %%eax, 4(%0)\n"
	                 :
	                 : "r"((uintptr_t)HOST)
	                 : "rax", "memory", "cc");
}

static void device(void)
{
	__asm__ volatile("incl (%0)\n movl 4(%0), %%eax\n movq %%rax, 8(%0)\n lock incw 2(%0)\n"
	                 :
	                 : "r"((uintptr_t)DEVICE)
	                 : "rax", "memory", "cc");
}

/* Each has a stub of its own, the first time. */
static void native(void)
{
	__asm__ volatile("paddd (%0), %%xmm1\n movdqu %%xmm1, 16(%0)\n fldl (%0)\n fstpl (%0)\n"
	                 "paddd (%1), %%xmm1\n movdqu %%xmm1, 16(%1)\n"
	                 :
	                 : "r"((uintptr_t)HOST), "r"((uintptr_t)DEVICE)
	                 : "xmm1", "memory", "cc");
}

static void strings(void)
{
	uintptr_t from = DEVICE, to = HOST;
	unsigned long count = 40;

	__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
	from = HOST;
	count = 5;
	__asm__ volatile("repne scasl" : "+D"(from), "+c"(count) : "a"(0x77777777) : "cc");
}

static void stack(void)
{
	__asm__ volatile("push (%0)\n pop 8(%0)\n" : : "r"((uintptr_t)HOST) : "memory");
}

static void page(void)
{
	regmap_set64(REGMAP_RAX, regmap_get64(REGMAP_RSP));
}

/* From one window into ordinary memory, and misaligned. */
static void pieces(void)
{
	__asm__ volatile("movups %%xmm0, 1(%0)\n movl 3(%1), %%eax\n"
	                 :
	                 : "r"((uintptr_t)HOST), "r"((uintptr_t)DEVICE)
	                 : "rax", "memory");
}

static void read_broken(void)
{
	__asm__ volatile("movl (%0), %%eax" : : "r"((uintptr_t)BROKEN) : "rax");
}

static void write_broken(void)
{
	__asm__ volatile("movl %%eax, (%0)" : : "r"((uintptr_t)BROKEN) : "memory");
}

static void write_read_only(void)
{
	__asm__ volatile("incl (%0)" : : "r"((uintptr_t)READ_ONLY) : "memory", "cc");
}

static const struct {
	const char *name;
	void (*run)(void);
	bool refused;
} accesses[] = {
	{"host", host, false},
	{"device", device, false},
	{"native", native, false},
	{"strings", strings, false},
	{"stack", stack, false},
	{"page", page, false},
	{"pieces", pieces, false},
	{"broken device, read", read_broken, true},
	{"broken device, written", write_broken, true},
	{"read-only", write_read_only, true},
};

enum { ACCESSES = sizeof(accesses) / sizeof(accesses[0]) };

static sigjmp_buf escape;
static volatile int errno_in_handler;

static void on_fault(int signo)
{
	errno_in_handler = errno;
	watching = false;
	siglongjmp(escape, signo);
}

/* Whether it was refused; errno is as it was, in the program's handler, too. */
static bool run(unsigned i)
{
	errno_in_handler = MARK;
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	if (sigsetjmp(escape, 1)) {
		assert_int_equal(errno_in_handler, MARK);
		return true;
	}
	errno = MARK;
	watching = true;
	accesses[i].run();
	watching = false;
	assert_int_equal(errno, MARK);
	return false;
}

/* Twice: the first time finds no plan, no stub. */
static void run_all(void)
{
	for (unsigned i = 0; i < 2 * ACCESSES; i++) {
		unsigned n = i % ACCESSES;

		touched = 0;
		assert_int_equal(run(n), accesses[n].refused);
		if (touched)
			fail_msg("%s: the heap was used %u times", accesses[n].name, touched);
	}
}

static void test_hygiene_leaves_errno_and_the_heap_alone(void **state)
{
	(void)state;
	run_all();
}

/* Code memory is laid anew in a child. */
static void test_hygiene_leaves_them_alone_in_a_child(void **state)
{
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0) {
		run_all();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Its files can't be had: the refusal, too, leaves errno alone. */
static void test_hygiene_leaves_them_alone_without_descriptors(void **state)
{
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0) {
		while (open("/dev/null", O_RDONLY) >= 0)
			;
		for (unsigned i = 0; i < ACCESSES; i++) {
			touched = 0;
			run(i);
			if (touched)
				_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static volatile bool stop;

static void *churn(void *unused)
{
	(void)unused;
	while (!stop)
		__libc_free(__libc_malloc(4000));
	return NULL;
}

/* Signals in the middle of malloc(), whose handler accesses windows. */
static void on_timer(int signo)
{
	(void)signo;
	for (unsigned i = 0; i < ACCESSES - 3; i++)
		accesses[i].run();
}

static void test_hygiene_works_in_the_middle_of_malloc(void **state)
{
	struct sigaction set = {.sa_handler = on_timer};
	pthread_t thread;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &set, NULL), 0);
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, churn, NULL), 0);
	for (unsigned i = 0; i < 2000; i++)
		pthread_kill(thread, SIGUSR1);
	stop = true;
	pthread_join(thread, NULL);
}

static int terminal;

static int set_up(void **state)
{
	int null = open("/dev/null", O_WRONLY);

	(void)state;
	terminal = dup(2);
	if (!getenv("TEST_SHOW"))
		dup2(null, 2); /* many reports */
	close(null);
	return t_lay_host("host", HOST, memory, SIZE, REGMAP_READ | REGMAP_WRITE) ||
	       t_lay_host("read-only", READ_ONLY, memory, SIZE, REGMAP_READ) ||
	       t_lay_device("device", DEVICE, SIZE, &noisy, NULL) ||
	       t_lay_device("broken", BROKEN, SIZE, &broken, NULL) || regmap_map_registers();
}

static int tear_down(void **state)
{
	(void)state;
	return dup2(terminal, 2) != 2;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hygiene_leaves_errno_and_the_heap_alone),
		cmocka_unit_test(test_hygiene_leaves_them_alone_in_a_child),
		cmocka_unit_test(test_hygiene_leaves_them_alone_without_descriptors),
		cmocka_unit_test(test_hygiene_works_in_the_middle_of_malloc),
	};
	const char *mode = getenv("TEST_MODE");

	if (mode && (!strcmp(mode, "asan") || !strcmp(mode, "tsan")))
		return 77; /* their heap is not libc's */
	return cmocka_run_group_tests_name("hygiene", tests, set_up, tear_down);
}
