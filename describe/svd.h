/* SPDX-License-Identifier: MIT */
#ifndef DESCRIBE_SVD_H
#define DESCRIBE_SVD_H

#include "layout.h"

/* A CMSIS-SVD file. @name is for messages. 0; -EINVAL, -E2BIG, -ENOMEM with @error. Not finished yet. */
int regmap__svd_load(const char *text, size_t length, const char *name, struct layout **out,
                     struct regmap_error *error);

#endif
