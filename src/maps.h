/* SPDX-License-Identifier: MIT */
/* The mappings of the process as /proc/self/maps has them, by system calls alone. AS-Safe. */
#ifndef SRC_MAPS_H
#define SRC_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A path may be long, so the text is the caller's: regmap__scratch_map(MAPS_TEXT). */
enum { MAPS_TEXT = 8192 };

struct mapping {
	uint64_t start, end;
	uint64_t offset;  /* of start, in the file */
	const char *name; /* a path, or "[stack]", or "" */
	unsigned rights;  /* PROT_* */
	bool shared;
};

/* One after the other; what a mapping points to is good until the next one. */
struct maps {
	long fd;
	char *text;
	size_t used, at;
};

/* False: there is no /proc, and nothing to close. */
bool regmap__maps_open(struct maps *maps, char *text);
bool regmap__maps_next(struct maps *maps, struct mapping *m);
void regmap__maps_close(const struct maps *maps);

/* The file mapping around @address. */
bool regmap__maps_find(uint64_t address, char *text, struct mapping *m);

/* Any mapping around @address, without its name. */
bool regmap__maps_rights(uint64_t address, struct mapping *m);

#endif
