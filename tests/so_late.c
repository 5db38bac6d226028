/* SPDX-License-Identifier: MIT */
/* LDLIBS_FIRST: -lc */
/*
 * A program that is not linked with libregmap: the library is preloaded, loaded late by dlopen(), or
 * comes with a plugin. What is kept in each case, and that what is lost is no more than
 * docs/limits.md says.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"

#define WINDOW 0xffff900000000000ULL
#define WILD 0x7ffffffff000ULL

extern void __asan_init(void) __attribute__((weak));

typedef int (*map_fn)(uint64_t, void *, size_t);

static uint32_t memory[3][1024];
static sigjmp_buf out;
static volatile int caught;

/* Beside this program */
static void *load_plugin(int flags)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);

	if (length < 0)
		_exit(91);
	path[length] = 0;
	strcpy(strrchr(path, '/') + 1, "plugin_window.so");
	return dlopen(path, flags);
}

/* Plugins may be loaded with the library before them, for its path is theirs. */
static map_fn load(int flags)
{
	void *plugin = load_plugin(flags);
	map_fn map = plugin ? (map_fn)dlsym(plugin, "plugin_map") : NULL;

	if (!map)
		_exit(92);
	return map;
}

static bool window_works(unsigned n)
{
	volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)(WINDOW + n * 0x1000);

	at[1] = 77 + n;
	return memory[n][1] == 77 + n && at[1] == 77 + n;
}

static bool lay(map_fn map, unsigned n)
{
	return !map(WINDOW + n * 0x1000, memory[n], sizeof(memory[n])) && window_works(n);
}

static void jump(int signo)
{
	caught = signo;
	siglongjmp(out, 1);
}

static bool own_fault_is_caught(void)
{
	caught = 0;
	if (!sigsetjmp(out, 1))
		*(volatile int *)(uintptr_t)WILD = 1;
	return caught == SIGSEGV;
}

static void on_usr1(int signo, siginfo_t *info, void *uc)
{
	(void)info, (void)uc;
	caught = signo;
}

/* The program's sigaction() is libc's: nothing must stand in the place of what it set. */
static bool others_are_left_alone(void)
{
	struct sigaction act;

	sigaction(SIGUSR1, NULL, &act);
	raise(SIGUSR1);
	return caught == SIGUSR1 && act.sa_sigaction == on_usr1;
}

/* Whoever was there gets its faults; who comes later displaces us, but only until the next window. */
static int come_late(void *arg)
{
	struct sigaction act = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};
	int flags = *(int *)arg;
	map_fn map;

	sigaction(SIGUSR1, &act, NULL);
	signal(SIGSEGV, jump);
	map = load(flags);
	if (!lay(map, 0) || !own_fault_is_caught() || !window_works(0))
		return 1;
	if (!others_are_left_alone())
		return 6;
	signal(SIGSEGV, jump);
	if (!own_fault_is_caught())
		return 2;
	if (!sigsetjmp(out, 1)) {
		window_works(0);
		return 3; /* then limits.md says too much */
	}
	if (!lay(map, 1) || !window_works(0) || !own_fault_is_caught() || !window_works(1))
		return 4;
	signal(SIGSEGV, SIG_DFL);
	return lay(map, 2) && window_works(0) ? 0 : 5;
}

static int die_late(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	if (!lay(load(*(int *)arg), 0))
		return 1;
	*(volatile int *)(uintptr_t)WILD = 1;
	return 2;
}

static void test_late_the_library_chains_and_comes_back(void **state)
{
	int flags[] = {RTLD_NOW | RTLD_LOCAL, RTLD_NOW | RTLD_GLOBAL, RTLD_LAZY};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(t_child_fate(come_late, &flags[i]), 0);
		assert_int_equal(t_child_fate(die_late, &flags[i]), SIGSEGV);
	}
}

/* The thread that maps is helped, whatever it has blocked for real. */
static int map_blocked(void *arg)
{
	sigset_t all, now;
	map_fn map = load(RTLD_NOW);

	(void)arg;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (!lay(map, 0))
		return 1;
	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, SIGSEGV) ? 2 : 0;
}

static void test_late_mapping_unblocks(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(map_blocked, NULL), 0);
}

static int unload(void *arg)
{
	void *plugin = load_plugin(RTLD_NOW);

	(void)arg;
	if (!lay((map_fn)dlsym(plugin, "plugin_map"), 0) || dlclose(plugin))
		return 1;
	signal(SIGUSR1, jump);
	return window_works(0) ? 0 : 2;
}

static void test_late_the_library_stays(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(unload, NULL), 0);
}

/* Run again with LD_PRELOAD: all is kept. */
static int be_preloaded(bool first)
{
	map_fn map = load(RTLD_NOW);
	struct sigaction act;
	sigset_t all, now;

	signal(SIGSEGV, jump);
	if (!lay(map, 0))
		return 1;
	signal(SIGSEGV, SIG_DFL);
	signal(SIGSEGV, jump);
	if (!own_fault_is_caught())
		return 2;
	if (!first) /* a dependency comes behind libc, and so too late */
		return lay(map, 1) && own_fault_is_caught() && window_works(0) ? 0 : 3;
	sigaction(SIGSEGV, NULL, &act);
	if (act.sa_handler != jump || !window_works(0))
		return 4;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigprocmask(SIG_BLOCK, NULL, &now);
	return window_works(0) && sigismember(&now, SIGSEGV) ? 0 : 5;
}

static int preload(void *arg)
{
	Dl_info info;

	if (!dladdr(dlsym(load_plugin(RTLD_NOW), arg ? "regmap_map" : "plugin_map"), &info))
		return 90;
	setenv("LD_PRELOAD", info.dli_fname, 1);
	execl("/proc/self/exe", arg ? "first" : "plugin", NULL);
	return 91;
}

static void test_late_is_not_when_preloaded(void **state)
{
	(void)state;
	if (__asan_init)
		skip(); /* insists on being first itself */
	assert_int_equal(t_child_fate(preload, "first"), 0);
	assert_int_equal(t_child_fate(preload, NULL), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late_the_library_chains_and_comes_back),
		cmocka_unit_test(test_late_mapping_unblocks),
		cmocka_unit_test(test_late_the_library_stays),
		cmocka_unit_test(test_late_is_not_when_preloaded),
	};

	if (argc == 1 && (!strcmp(argv[0], "first") || !strcmp(argv[0], "plugin")))
		return be_preloaded(!strcmp(argv[0], "first"));
	if (dlsym(RTLD_DEFAULT, "regmap_map"))
		return 99; /* linked with it after all: the tests would show nothing */
	return cmocka_run_group_tests_name("late", tests, NULL, NULL);
}
