/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lgio-2.0 -lgobject-2.0 -lglib-2.0 */
/* CFLAGS: -I/usr/include/glib-2.0 -I/usr/lib/x86_64-linux-gnu/glib-2.0/include */
/* GLib in the same process: fatal logs, child processes, signals as events, threads. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <gio/gio.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "lay.h"

enum { RW = REGMAP_READ | REGMAP_WRITE };

#define WINDOW 0xffff900000000000ULL

extern void __tsan_init(void) __attribute__((weak));

static uint32_t memory[1024];

static int lay(void **state)
{
	(void)state;
	return t_lay_host("memory", WINDOW, memory, sizeof(memory), RW);
}

static bool window_works(void)
{
	volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)WINDOW;

	at[1]++;
	return memory[1] == at[1];
}

/* g_error() traps, g_critical() does if it is made fatal, and a trap can be caught. */

static int log_error(void *arg)
{
	(void)arg;
	g_error("fatal by nature");
	return 1;
}

static int log_critical(void *arg)
{
	(void)arg;
	g_critical("not fatal");
	if (!window_works())
		return 1;
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL);
	g_critical("fatal by decree");
	return 2;
}

static sigjmp_buf out;
static void jump(int signo)
{
	siglongjmp(out, signo);
}

static int catch_trap(void *arg)
{
	(void)arg;
	signal(SIGTRAP, jump);
	for (volatile int i = 0; i < 3; i++) {
		if (!sigsetjmp(out, 1))
			G_BREAKPOINT();
		if (!window_works())
			return 1;
	}
	return 0;
}

static void test_glib_fatal_logs_trap(void **state)
{
	(void)state;
	assert_int_equal(t_child_fate(log_error, NULL), SIGTRAP);
	assert_int_equal(t_child_fate(log_critical, NULL), SIGTRAP);
	assert_int_equal(t_child_fate(catch_trap, NULL), 0);
	assert_true(window_works());
}

/* Children */

static void in_child(gpointer data)
{
	(void)data;
	if (!window_works())
		_exit(90);
}

/* "SigBlk" or "SigIgn" of a cat of its own status */
static uint64_t mask_of_cat(GSpawnChildSetupFunc setup, GSpawnFlags flags, const char *which)
{
	char *argv[] = {"/bin/cat", "/proc/self/status", NULL}, *text = NULL, *at;
	uint64_t mask = ~0ULL;
	int status;

	assert_true(g_spawn_sync(NULL, argv, NULL, flags, setup, NULL, &text, NULL, &status, NULL));
	assert_int_equal(status, 0);
	at = strstr(text, which);
	if (at)
		mask = g_ascii_strtoull(at + strlen(which) + 1, NULL, 16);
	g_free(text);
	return mask & ~(3ULL << 31); /* glibc's own two */
}

static void test_glib_spawns(void **state)
{
	const GSpawnFlags flags[] = {G_SPAWN_DEFAULT, G_SPAWN_LEAVE_DESCRIPTORS_OPEN};
	const uint64_t segv = 1ULL << (SIGSEGV - 1), ill = 1ULL << (SIGILL - 1);
	sigset_t set, old;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	for (unsigned i = 0; i < 4; i++) {
		GSpawnChildSetupFunc setup = i & 1 ? in_child : NULL;
		GSpawnFlags flag = flags[i >> 1];

		assert_int_equal(mask_of_cat(setup, flag, "SigBlk:"), 0);
		sigprocmask(SIG_BLOCK, &set, &old);
		signal(SIGILL, SIG_IGN);
		assert_int_equal(mask_of_cat(setup, flag, "SigBlk:"), segv);
		assert_int_equal(mask_of_cat(setup, flag, "SigIgn:") & ill, ill);
		sigprocmask(SIG_SETMASK, &old, NULL);
		signal(SIGILL, SIG_DFL);
		assert_true(window_works());
	}
}

static void test_glib_subprocesses_communicate(void **state)
{
	GError *error = NULL;
	GSubprocess *process;
	char *text = NULL;

	(void)state;
	process = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE,
	                           &error, "/bin/cat", NULL);
	assert_non_null(process);
	assert_true(g_subprocess_communicate_utf8(process, "through a pipe", NULL, &text, NULL,
	                                          &error));
	assert_string_equal(text, "through a pipe");
	assert_true(g_subprocess_get_successful(process));
	g_free(text);
	g_object_unref(process);

	process = g_subprocess_new(G_SUBPROCESS_FLAGS_NONE, &error, "/bin/sh", "-c",
	                           "kill -SEGV $$", NULL);
	assert_non_null(process);
	assert_true(g_subprocess_wait(process, NULL, &error));
	assert_true(g_subprocess_get_if_signaled(process));
	assert_int_equal(g_subprocess_get_term_sig(process), SIGSEGV);
	g_object_unref(process);
	assert_true(window_works());
}

/* Signals as events of a main loop */

struct loop {
	GMainLoop *main;
	int signals, children;
};

static gboolean on_signal(gpointer data)
{
	struct loop *loop = data;

	loop->signals += window_works() ? 1 : 100;
	if (loop->signals == 2 && loop->children)
		g_main_loop_quit(loop->main);
	else if (loop->signals == 1)
		raise(SIGUSR1);
	return G_SOURCE_CONTINUE;
}

static void on_child(GPid pid, gint status, gpointer data)
{
	struct loop *loop = data;

	(void)pid;
	loop->children += window_works() && WEXITSTATUS(status) == 3 ? 1 : 100;
	if (loop->signals == 2)
		g_main_loop_quit(loop->main);
}

static void test_glib_signals_are_events(void **state)
{
	char *argv[] = {"/bin/sh", "-c", "exit 3", NULL};
	struct loop loop = {g_main_loop_new(NULL, FALSE), 0, 0};
	guint source = g_unix_signal_add(SIGUSR1, on_signal, &loop);
	GPid pid;

	(void)state;
	assert_true(
		g_spawn_async(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL));
	g_child_watch_add(pid, on_child, &loop);
	raise(SIGUSR1);
	g_main_loop_run(loop.main);
	assert_int_equal(loop.signals, 2);
	assert_int_equal(loop.children, 1);
	g_source_remove(source);
	g_main_loop_unref(loop.main);
	assert_true(window_works());
}

/* Threads of a pool, which GLib starts with the scheduler's settings and masks of its own */
static void work(gpointer data, gpointer counter)
{
	(void)data;
	if (window_works())
		g_atomic_int_inc((gint *)counter);
}

static void work_apart(gpointer data, gpointer counter)
{
	static GMutex lock;

	g_mutex_lock(&lock);
	work(data, counter);
	g_mutex_unlock(&lock);
}

static void test_glib_threads_access_windows(void **state)
{
	gint done = 0;
	GThreadPool *pool = g_thread_pool_new(work_apart, &done, 4, TRUE, NULL);

	(void)state;
	for (uintptr_t i = 1; i <= 100; i++)
		assert_true(g_thread_pool_push(pool, (gpointer)i, NULL));
	g_thread_pool_free(pool, FALSE, TRUE);
	assert_int_equal(done, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_glib_fatal_logs_trap),
		cmocka_unit_test(test_glib_spawns),
		cmocka_unit_test(test_glib_subprocesses_communicate),
		cmocka_unit_test(test_glib_signals_are_events),
		cmocka_unit_test(test_glib_threads_access_windows),
	};

	if (__tsan_init)
		return 77; /* GLib synchronises in ways that ThreadSanitizer doesn't see */
	return cmocka_run_group_tests_name("glib", tests, lay, NULL);
}
