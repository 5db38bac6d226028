/* SPDX-License-Identifier: MIT */
/* Something that may die, in a child process. */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <stdbool.h>
#include <stdio.h>

/* For a body that runs in a child: 1, with a line on stderr, unless the condition holds. */
#define T_CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1; \
		} \
	} while (0)

struct t_child {
	int status;       /* of waitpid() */
	char text[16384]; /* what it wrote on stderr, terminated */
};

/*
 * Run @body in a forked child that leaves no core file and exits with its result. A child that
 * takes longer than 20 seconds dies of SIGALRM.
 */
void t_child_run(struct t_child *child, int (*body)(void *), void *arg);

/* The signal that @body died of, 0 if it exited with 0, or -1 - the exit status. */
int t_child_fate(int (*body)(void *), void *arg);
int t_fate(int status);

/*
 * Both go on from here: the child, where it returns true, for 20 seconds at most; the parent when that has
 * ended. @status: of waitpid(); -1: there was no child.
 */
bool t_go_on_in_both(int *status);

/* Zeroed memory that parent and child share; lives as long as the process. */
void *t_shared(unsigned long size);

#endif
