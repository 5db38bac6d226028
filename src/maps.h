/* SPDX-License-Identifier: MIT */
/* One mapping of /proc/self/maps, by system calls alone. */
#ifndef SRC_MAPS_H
#define SRC_MAPS_H

#include <stdbool.h>
#include <stdint.h>

/* A path may be long, so the text is the caller's: regmap__scratch_map(MAPS_TEXT). */
enum { MAPS_TEXT = 8192 };

struct mapping {
	uint64_t start, end;
	uint64_t offset;  /* of start, in the file */
	const char *path; /* in the text; NULL: none */
	unsigned rights;  /* PROT_* */
	bool shared;
};

/* The file mapping around @address. AS-Safe. */
bool regmap__maps_find(uint64_t address, char *text, struct mapping *m);

/* Any mapping around @address, without its path. AS-Safe. */
bool regmap__maps_rights(uint64_t address, struct mapping *m);

#endif
