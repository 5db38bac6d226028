/* SPDX-License-Identifier: MIT */
/* A program that is to run with a library preloaded. */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <limits.h>

/* Exit codes of env(1), nice(1) and their kin. */
enum program_exit {
	PROGRAM_DEVICE_FAILED =
		125, /* the device couldn't be put around it: said by the library, in its process */
	PROGRAM_CANNOT_RUN = 126,
	PROGRAM_NOT_FOUND = 127,
};

struct program {
	char path[PATH_MAX];
	char sanitizer[NAME_MAX + 1]; /* the library that must come before all others; "" */
};

/*
 * Look it up in PATH, and whether libraries can be preloaded into it, or into the interpreter of a script.
 * 0, or an exit code with a sentence in @wrong.
 */
int program_find(const char *name, struct program *program, const char **wrong);

#endif
