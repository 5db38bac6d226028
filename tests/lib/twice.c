/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <string.h>

#include "child.h"
#include "lay.h"
#include "twice.h"

#define WILD 0x7ffffffff000ULL

enum { NOTES = 256 };

struct notes {
	unsigned count;
	int64_t at[NOTES];
};

/*
 * ThreadSanitizer stands between libc and the kernel: it puts handlers off, and then runs them with
 * everything really blocked. Neither world is bare, and windows don't work in such handlers.
 */
void __tsan_init(void) __attribute__((weak));

int bsd_sigpause(int) __asm__("sigpause");
int xpg_sigpause(int) __asm__("__xpg_sigpause");

struct t_calls t_c;
bool t_mapped;
static struct notes *notes;
static uint32_t memory[1024];

static void choose_ours(void)
{
#define OURS(name) t_c.name = name;
	T_CALLS(OURS)
#undef OURS
	t_c.bsd_sigpause = bsd_sigpause;
	t_c.xpg_sigpause = xpg_sigpause;
}

/* Not what is next: that may be libregmap.so's, or a sanitizer's. */
static void *genuine(const char *name)
{
	static void *libc;
	void *at;

	if (!libc)
		libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	at = dlsym(libc, name);

	if (!at)
		abort();
	return at;
}

static void choose_libcs(void)
{
#define LIBCS(name) t_c.name = (__typeof__(t_c.name))genuine(#name);
	T_CALLS(LIBCS)
#undef LIBCS
	t_c.bsd_sigpause = (int (*)(int))genuine("sigpause");
	t_c.xpg_sigpause = (int (*)(int))genuine("__xpg_sigpause");
}

static bool bare;

void t_map_now(void)
{
	if (bare || t_mapped)
		return;
	if (t_lay_host("memory", (uintptr_t)T_WINDOW, memory, sizeof(memory),
	               REGMAP_READ | REGMAP_WRITE))
		_exit(90);
	t_mapped = true;
}

void t_use_window(void)
{
	volatile uint32_t *at = T_WINDOW;

	if (!t_mapped)
		return;
	at[1]++;
	if (at[1] != memory[1])
		t_note(-90);
}

void t_touch_wild(void)
{
	*(volatile uint32_t *)(uintptr_t)WILD = 1;
}

void t_send_when_asleep(pid_t to, int signo)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", to);
	while (state != 'S') {
		if (getppid() != to)
			_exit(1);
		file = fopen(path, "r");
		if (!file || fscanf(file, "%*d %*s %c", &state) != 1)
			_exit(1);
		fclose(file);
	}
	kill(to, signo);
}

void t_note(int64_t value)
{
	unsigned at = __atomic_fetch_add(&notes->count, 1, __ATOMIC_SEQ_CST);

	if (at < NOTES)
		notes->at[at] = value;
}

uint64_t t_word(const sigset_t *set)
{
	uint64_t word;

	memcpy(&word, set, sizeof(word));
	return word;
}

uint64_t t_mask(void)
{
	sigset_t now;

	t_c.sigprocmask(SIG_BLOCK, NULL, &now);
	return t_word(&now);
}

sigset_t t_set(int signo, ...)
{
	va_list rest;
	sigset_t set;

	sigemptyset(&set);
	va_start(rest, signo);
	for (; signo; signo = va_arg(rest, int))
		sigaddset(&set, signo);
	va_end(rest);
	return set;
}

struct play {
	bool bare;
	enum t_when when;
	int (*body)(void *);
	void *arg;
};

static int play(void *arg)
{
	const struct play *play = arg;

	bare = play->bare;
	if (bare)
		choose_libcs();
	else
		choose_ours();
	if (play->when == T_MAPPED_BEFORE)
		t_map_now();
	return play->body(play->arg);
}

static void run(struct play *what, struct notes *seen, int *fate)
{
	if (!notes)
		notes = t_shared(sizeof(*notes));
	memset(notes, 0, sizeof(*notes));
	*fate = t_child_fate(play, what);
	*seen = *notes;
}

void t_twice(enum t_when when, int (*body)(void *), void *arg)
{
	struct play what = {true, when, body, arg};
	struct notes expected, seen;
	int expected_fate, fate;

	if (__tsan_init)
		skip();
	run(&what, &expected, &expected_fate);
	what.bare = false;
	run(&what, &seen, &fate);
	for (unsigned i = 0; i < expected.count && i < seen.count && i < NOTES; i++)
		if (expected.at[i] != seen.at[i])
			fail_msg("note %u is %#lx, bare %#lx", i, (long)seen.at[i],
			         (long)expected.at[i]);
	assert_int_equal(seen.count, expected.count);
	assert_int_equal(fate, expected_fate);
	assert_in_range(expected.count, 1, NOTES);
}
