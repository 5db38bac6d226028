/* SPDX-License-Identifier: MIT */
/*
 * What users would pick instead, in the same process and round as libregmap and the floor. All of
 * them load 8 bytes in the same loop, unless the row says otherwise.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "bench.h"

/* Maps libregmap's windows and sets the floor up. Idempotent; each peer calls it. */
void bench_peers_set_up(void);

#define PEER(id, text, how, ...) \
	{ \
		.name = "peers/" id, .what = text, .unit = "ns", .base = "floor", \
		.figure = BENCH_COST, .measure = how, ##__VA_ARGS__ \
	}

#endif
