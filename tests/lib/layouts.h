/* SPDX-License-Identifier: MIT */
/* Layouts from texts, and what is wrong with others. All fail as cmocka does. */
#ifndef TESTS_LAYOUTS_H
#define TESTS_LAYOUTS_H

#include <regmap/device.h>

/* The caller frees it. */
struct regmap_layout *t_describe(enum regmap_format format, const char *text);
struct regmap_layout *t_describe_file(const char *path);
/* It must not load, with that error and exactly that message; files are called "t" in it. */
void t_describe_wrong(enum regmap_format format, const char *text, int err, const char *message);

/* Everything but where it was described. */
void t_layouts_equal(const struct regmap_layout *a, const struct regmap_layout *b);

/* A folder for files, made at first use; its name ends without a slash. */
const char *t_folder(void);
/* Writes a file there. Returns its path, good until the next t_text_file() of as many as 16. */
const char *t_text_file(const char *name, const char *text);
void t_folder_remove(void);

/* By name: fails if it isn't there. */
const struct regmap_region *t_region_of(const struct regmap_layout *l, const char *name);
const struct regmap_peripheral *t_peripheral_of(const struct regmap_layout *l, const char *name);
const struct regmap_register *t_register_of(const struct regmap_layout *l, const char *name);
const struct regmap_field *t_field_of(const struct regmap_layout *l, const char *name);

#endif
