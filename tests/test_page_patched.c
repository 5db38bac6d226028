/* SPDX-License-Identifier: MIT */
/* The same, from patched sites. */
#define PATCHED true
#include "test_page.c"
