/* SPDX-License-Identifier: MIT */
/* The same, with each instruction patched. */
#define PATCHED true
#include "test_differential.c"
