/* SPDX-License-Identifier: MIT */
/*
 * Loads with acquire and stores with release order: plain moves on x86, and what ThreadSanitizer
 * understands, unlike fences.
 */
#ifndef SRC_ATOMICS_H
#define SRC_ATOMICS_H

#include <stdatomic.h>

#define get(p) atomic_load_explicit(p, memory_order_acquire)
#define set(p, v) atomic_store_explicit(p, v, memory_order_release)

#endif
