/* SPDX-License-Identifier: MIT */
/* CFLAGS: -fnon-call-exceptions */
/* LDLIBS: -lZydis */
/* The same with the shared library, between the frames of which the unwinder has to find its way. */
#include "test_reentry_cxx.cc"
