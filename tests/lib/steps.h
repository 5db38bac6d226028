/* SPDX-License-Identifier: MIT */
/* What comes between two instructions, between any two of them. */
#ifndef TESTS_STEPS_H
#define TESTS_STEPS_H

#include <stdbool.h>

/*
 * Run @body with the trap flag set. Its @n-th instruction is followed by a call of @then, in the handler
 * of SIGTRAP; the rest runs without traps. False: @body had ended before. Not where the steps would be a
 * sanitizer's.
 */
bool t_at_step(int n, void (*then)(void), void (*body)(void *arg), void *arg);

#endif
