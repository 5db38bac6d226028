/* SPDX-License-Identifier: MIT */
/*
 * A device around a program that knows nothing of it: what REGMAP_DEVICE and its kin in the environment ask
 * of libregmap.so, before main(). Without REGMAP_DEVICE, nothing happens. regmap-run(1) has the list.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <regmap/firmware.h>

#include "../arch/x86_64/syscall.h"
#include "launch.h"
#include "memory.h"
#include "witness.h"

enum { FAILED = 125 }; /* as that of `regmap run` itself */

static _Noreturn void give_up(int err, const struct regmap_error *error)
{
	dprintf(STDERR_FILENO, "regmap: %s\n", error->text[0] ? error->text : regmap_strerror(err));
	_exit(FAILED);
}

static const char *wish(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static _Noreturn void give_up_file(const char *what, const char *path, int err)
{
	struct regmap_error error;

	snprintf(error.text, sizeof(error.text), "%s %s: %s", what, path, strerror(-err));
	give_up(err, &error);
}

/* "-" and "1" are stderr. */
static const char *path_of(const char *value)
{
	return strcmp(value, "-") && strcmp(value, "1") ? value : NULL;
}

static bool wishes_json(const char *name)
{
	const char *format = wish(name);

	return format && !strcmp(format, "json");
}

static void prepare_trace(struct witness *w)
{
	const char *where = wish("REGMAP_DEVICE_TRACE");
	int err;

	w->trace.json = wishes_json("REGMAP_DEVICE_TRACE_FORMAT");
	if (!where)
		return;
	err = regmap__trace_open(&w->trace, path_of(where));
	if (err)
		give_up_file("trace to", where, err);
	w->is_traced = true;
}

static void prepare_stats(struct witness *w)
{
	const char *path = (const char *)getauxval(AT_EXECFN);
	const char *where = wish("REGMAP_DEVICE_STATS"), *main = wish("REGMAP_DEVICE_MAIN");

	if (!where)
		return;
	w->is_told = true;
	w->tell_json = wishes_json("REGMAP_DEVICE_STATS_FORMAT");
	w->tell_fd = 2;
	if (path_of(where))
		w->tell_fd = regmap__trace_open_file(where, &w->tell_file);
	if (w->tell_fd < 0)
		give_up_file("statistics to", where, w->tell_fd);
	w->tell_always = !main || atol(main) == (long)getpid();
	snprintf(w->program, sizeof(w->program), "%s",
	         strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

static void prepare_tally(struct witness *w)
{
	if (!w->is_traced && !w->is_told)
		return;
	w->tally = regmap__tally_new();
	if (!w->tally)
		give_up(-ENOMEM, &(struct regmap_error){.text = ""});
}

static void make_and_map(struct witness *w)
{
	const struct launch launch = {
		.device = wish("REGMAP_DEVICE"),
		.overlays = wish("REGMAP_DEVICE_OVERLAY"),
		.images = wish("REGMAP_DEVICE_IMAGES"),
	};
	const char *offset = wish("REGMAP_DEVICE_OFFSET");
	struct regmap_error error = {.text = ""};
	int err;

	if (offset && !regmap__launch_number(offset, strlen(offset), &w->offset)) {
		snprintf(error.text, sizeof(error.text),
		         "REGMAP_DEVICE_OFFSET=%s is not a number: write 0x100000000", offset);
		give_up(-EINVAL, &error);
	}
	regmap__memory_is_watched = wish("REGMAP_DEVICE_MEMORY");
	err = regmap__launch(&launch, &w->device, &error);
	if (!err && regmap__memory_is_watched)
		err = regmap_signal_stacks(0); /* a stack may lie in it */
	if (!err)
		err = w->offset ? regmap_device_map(w->device, w->offset, &error) :
		                  regmap_device_adopt(w->device, &error);
	if (err)
		give_up(err, &error);
	w->layout = regmap_device_layout(w->device);
}

/* --- statistics at the end, however it ends --- */

static void end_by_signal(int signo)
{
	regmap__witness_end();
	raise(signo); /* SA_RESETHAND: by now that is the default action */
}

/*
 * A firmware's main loop has no end: it gets one from outside. Where the program has its own handler, or ignores the
 * signal, all stays as it is.
 */
static void stay_until_end(void)
{
	static const int signals[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,   SIGABRT, SIGALRM,
	                              SIGPIPE, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};
	const struct sigaction end = {.sa_handler = end_by_signal,
	                              .sa_flags = SA_RESETHAND | SA_NODEFER};
	struct sigaction now;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!sigaction(signals[i], NULL, &now) && now.sa_handler == SIG_DFL)
			sigaction(signals[i], &end, NULL);
}

__attribute__((destructor)) static void leave(void)
{
	regmap__witness_end();
}

REGMAP_API _Noreturn void _exit(int status)
{
	regmap__witness_end();
	for (;;)
		sys_call(SYS_exit_group, status, 0, 0, 0);
}

REGMAP_API _Noreturn void _Exit(int status) __attribute__((alias("_exit")));

/* The last of this library's constructors (see the Makefile): they all have run. */
__attribute__((constructor)) static void go_aboard(void)
{
	struct witness *w = &regmap__witness;
	int saved = errno, err;

	if (!wish("REGMAP_DEVICE"))
		return;
	make_and_map(w);
	prepare_trace(w);
	prepare_stats(w);
	prepare_tally(w);
	err = regmap__witness_begin();
	if (err)
		give_up(err, &(struct regmap_error){.text = ""});
	if (w->is_told) {
		at_quick_exit(regmap__witness_end);
		stay_until_end();
	}
	errno = saved;
}
