/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lZydis */
/*
 * The same, with each instruction patched. Against the shared library, whose own code is known: linked
 * into the program it isn't told apart, and is patched where its stack runs into a window.
 */
#define PATCHED true
#define SHARED
#include "test_differential.c"
