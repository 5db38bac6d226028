/* SPDX-License-Identifier: MIT */
/* What a new program finds of us: nothing. It is this one again, with an argument. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "lay.h"

#define BASE 0x31000000ULL
#define RW (REGMAP_READ | REGMAP_WRITE)

enum { PAGE = 4096, NOTHING_LEFT = 0 };

/* --- what a program is born with --- */

/* Open descriptors and the lines of /proc/self/status that exec hands on, as text. */
static void birth(char *to, size_t size)
{
	static const char *const lines[] = {"SigBlk:", "Seccomp", "NoNewPrivs:"};
	DIR *folder = opendir("/proc/self/fd");
	stack_t stack = {.ss_flags = 0};
	FILE *status;
	struct dirent *e;
	char line[256];
	size_t n;

	sigaltstack(NULL, &stack);
	n = (size_t)snprintf(to, size, "alternate stack %d, descriptors ", stack.ss_flags);
	while (folder && (e = readdir(folder)))
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(folder))
			n += (size_t)snprintf(to + n, size - n, "%s ", e->d_name);
	if (folder)
		closedir(folder);
	status = fopen("/proc/self/status", "re");
	while (status && fgets(line, sizeof(line), status))
		for (unsigned i = 0; i < 3; i++)
			if (!strncmp(line, lines[i], strlen(lines[i])))
				n += (size_t)snprintf(to + n, size - n, "%s", line);
	if (status)
		fclose(status);
}

static bool has_mapping_of_ours(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	while (maps && fgets(line, sizeof(line), maps))
		found = found || strstr(line, "memfd") || strtoull(line, NULL, 16) == BASE;
	if (maps)
		fclose(maps);
	return found;
}

/* The new program: @expected is what the first one was born with. */
static int be_born(const char *expected)
{
	char now[4096] = "";

	birth(now, sizeof(now));
	if (strcmp(now, expected)) {
		fprintf(stderr, "born with\n%s\nwhile it should be\n%s\n", now, expected);
		return 2;
	}
	return has_mapping_of_ours() ? 3 : NOTHING_LEFT;
}

static char born[4096], path[4096];

/* AS-Safe. */
static int replace(void)
{
	char *const argv[] = {path, (char *)"--born", born, NULL};

	execv(path, argv);
	return 99;
}

static int fate_in_child(int (*body)(void *), void *arg)
{
	struct t_child child;

	t_child_run(&child, body, arg);
	if (child.status)
		print_error("%s", child.text);
	return t_fate(child.status);
}

/* --- where it happens --- */

static struct regmap_window *lay(struct regmap_config c)
{
	struct regmap_window *w = NULL;

	c.size = sizeof(c);
	c.access = RW;
	assert_int_equal(regmap_map(&c, &w), 0);
	return w;
}

static int at_once(void *arg)
{
	(void)arg;
	return replace();
}

static int exec_in_callback(void *ctx, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)ctx, (void)offset, (void)width, (void)value;
	return replace();
}

static int in_a_callback(void *arg)
{
	return *(volatile uint8_t *)arg;
}

static void exec_in_handler(int signo)
{
	(void)signo;
	_exit(replace());
}

/* In the program's own handler for a fault that isn't ours. Its mask is the program's affair. */
static int in_a_fault_handler(void *arg)
{
	struct sigaction act = {.sa_handler = exec_in_handler, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &act, NULL);
	return *(volatile uint8_t *)arg;
}

static void test_exec_clean_leaves_nothing(void **state)
{
	static const struct regmap_device_ops ops = {.read = exec_in_callback};
	struct regmap_window *w[4] = {
		lay((struct regmap_config){.guest = BASE, .length = 64 * PAGE}),
		lay((struct regmap_config){.guest = BASE + (1 << 20),
	                                   .length = 64 * PAGE,
	                                   .flags = REGMAP_PRIVATE}),
		lay((struct regmap_config){.guest = BASE + (2 << 20),
	                                   .length = 100,
	                                   .backing = REGMAP_DEVICE,
	                                   .ops = &ops}),
		lay((struct regmap_config){.guest = BASE + (3 << 20),
	                                   .length = 100,
	                                   .flags = REGMAP_TRAP}),
	};

	(void)state;
	__asm__ volatile("paddb (%0), %%xmm7" : : "r"(BASE + (3 << 20)) : "xmm7", "memory");
	assert_int_equal(fate_in_child(at_once, NULL), NOTHING_LEFT);
	assert_int_equal(fate_in_child(in_a_callback, (void *)(BASE + (2 << 20))), NOTHING_LEFT);
	assert_int_equal(fate_in_child(in_a_fault_handler, (void *)(uintptr_t)8), NOTHING_LEFT);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(regmap_unmap(w[i]), 0);
}

/* --- while descriptors come and go --- */

static atomic_bool stop;
static atomic_uint rounds;

static void *map_all_the_time(void *arg)
{
	uint64_t guest = (uintptr_t)arg;

	while (!atomic_load(&stop)) {
		struct regmap_window *w[2] = {
			lay((struct regmap_config){.guest = guest, .length = 300 * PAGE}),
			lay((struct regmap_config){.guest = guest + (16 << 20), .length = 8}),
		};

		assert_int_equal(regmap_unmap(w[1]), 0);
		assert_int_equal(regmap_unmap(w[0]), 0);
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

static int exec_beside_a_mapper(void *arg)
{
	pthread_t thread;

	atomic_store(&rounds, 0);
	pthread_create(&thread, NULL, map_all_the_time, arg);
	while (atomic_load(&rounds) < 5)
		sched_yield();
	return replace();
}

static int fate_of_bare_child(void)
{
	int status;
	pid_t pid = vfork();

	if (pid == 0)
		_exit(replace());
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1000;
	return t_fate(status);
}

static void test_exec_clean_races_with_mapping(void **state)
{
	pthread_t thread;

	(void)state;
	atomic_store(&stop, false);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(fate_in_child(exec_beside_a_mapper, (void *)(uintptr_t)0x40000000),
		                 NOTHING_LEFT);
	pthread_create(&thread, NULL, map_all_the_time, (void *)(uintptr_t)0x40000000);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(i & 1 ? fate_of_bare_child() : fate_in_child(at_once, NULL),
		                 NOTHING_LEFT);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exec_clean_leaves_nothing),
		cmocka_unit_test(test_exec_clean_races_with_mapping),
	};

	if (argc == 3 && !strcmp(argv[1], "--born"))
		return be_born(argv[2]);
	birth(born, sizeof(born));
	if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
		return 1;
	return cmocka_run_group_tests_name("exec_clean", tests, NULL, NULL);
}
