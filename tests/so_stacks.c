/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lZydis */
/* Signal stacks by the shared library: linked, and preloaded into a program that knows nothing of it. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regmap/regmap.h>

static void *real_size(void *arg)
{
	stack_t now;

	(void)arg;
	return (void *)(syscall(SYS_sigaltstack, NULL, &now) ? 0 : now.ss_size);
}

static void test_stacks_so_gives_new_threads_one(void **state)
{
	pthread_t thread;
	void *size;

	(void)state;
	assert_int_equal(regmap_signal_stacks(200000), 0);
	assert_int_equal(pthread_create(&thread, NULL, real_size, NULL), 0);
	assert_int_equal(pthread_join(thread, &size), 0);
	assert_true((size_t)size >= 200000);
}

static size_t child_says(const char *preload)
{
	char command[1024], line[64] = "";
	FILE *child;

	snprintf(command, sizeof(command),
	         "LD_PRELOAD=%s REGMAP_SIGNAL_STACKS=300000 /proc/%d/exe --thread", preload,
	         (int)getpid());
	child = popen(command, "r");
	assert_non_null(child);
	assert_non_null(fgets(line, sizeof(line), child));
	assert_int_equal(pclose(child), 0);
	return strtoull(line, NULL, 10);
}

static void test_stacks_so_given_by_the_environment(void **state)
{
	(void)state;
	assert_true(child_says("") >= 300000);
}

/* sort(1) starts threads, and has never heard of windows. */
static void test_stacks_so_preloaded(void **state)
{
	char command[1024];
	Dl_info library;

	(void)state;
	if (getenv("TEST_MODE") && strcmp(getenv("TEST_MODE"), "rel"))
		skip(); /* a sanitizer's library would have to come first */
	assert_true(dladdr((void *)(uintptr_t)regmap_map, &library));
	snprintf(command, sizeof(command),
	         "seq 200000 -1 1 | LD_PRELOAD=%s REGMAP_SIGNAL_STACKS=0 sort -n --parallel=4 "
	         "-S 100M | (seq 1 200000 | cmp - /dev/fd/3) 3<&0",
	         library.dli_fname);
	assert_int_equal(system(command), 0);
}

static int say_size(void)
{
	pthread_t thread;
	void *size;

	if (pthread_create(&thread, NULL, real_size, NULL) || pthread_join(thread, &size))
		return 1;
	printf("%zu\n", (size_t)size);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stacks_so_gives_new_threads_one),
		cmocka_unit_test(test_stacks_so_given_by_the_environment),
		cmocka_unit_test(test_stacks_so_preloaded),
	};

	if (argc > 1 && !strcmp(argv[1], "--thread"))
		return say_size();
	return cmocka_run_group_tests_name("stacks_so", tests, NULL, NULL);
}
