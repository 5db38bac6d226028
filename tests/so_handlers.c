/* SPDX-License-Identifier: MIT */
/* The same, against the shared library. */
#include "test_handlers.c"
