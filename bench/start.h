/* SPDX-License-Identifier: MIT */
/* The benchmark executes itself to see a fresh process map its first window. */
#ifndef BENCH_START_H
#define BENCH_START_H

#define BENCH_START_OPTION "--first-window"

/* main() of that process: prints the nanoseconds that its first regmap_map() took. */
int bench_start_first(void);

#endif
