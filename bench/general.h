/* SPDX-License-Identifier: MIT */
/* Eight registers that remember what is written. */
#ifndef BENCH_GENERAL_H
#define BENCH_GENERAL_H

#include <regmap/regmap.h>

/* Use general registers only. */
extern const struct regmap_device_ops bench_general_ops;

#endif
