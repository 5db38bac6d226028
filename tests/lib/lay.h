/* SPDX-License-Identifier: MIT */
/* Windows in one line. All of them trap; none is ever unmapped. */
#ifndef TESTS_LAY_H
#define TESTS_LAY_H

#include <regmap/regmap.h>

/* 0 or -errno */
int t_lay_host(const char *name, uint64_t guest, void *host, uint64_t length, unsigned access);
int t_lay_device(const char *name, uint64_t guest, uint64_t length,
                 const struct regmap_device_ops *ops, void *ctx);

/* What the kernel has at an address: "rw-s", "---p", "" for nothing. */
const char *t_mapped_mode(uint64_t at);

#endif
