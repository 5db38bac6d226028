/* SPDX-License-Identifier: MIT */
/* Which keys there are, and what each may hold: docs/devices.md as tables. */
#ifndef DESCRIBE_SCHEMA_H
#define DESCRIBE_SCHEMA_H

#include "notes.h"

/* Limits that docs/devices.md names. */
enum {
	SCHEMA_VERSION = 1,
	INCLUDE_DEPTH_MOST = 16,
	DIM_MOST = 65536,
	SPACES_MOST = 64,
	NAME_MOST = 255, /* bytes */
};

/*
 * Every key of a file's tree: is it known, does its value have the right form. What is wrong by itself
 * is found here, with its place; what comes later only asks how things fit together.
 */
void regmap__schema_check(struct notes *notes, const struct tree *root);

#endif
