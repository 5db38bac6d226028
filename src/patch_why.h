/* SPDX-License-Identifier: MIT */
/* Why a site isn't patched. Those of slots' generator come behind these, as they turn up. */
#ifndef SRC_PATCH_WHY_H
#define SRC_PATCH_WHY_H

#include <stdint.h>

#define PATCH_REASONS(X) \
	X(MANY, "more than a million sites have faulted") \
	X(MEMORY, "there is no memory for its record") \
	X(BUSY, "another site is being patched") \
	X(CHANGED, "the code is changing") \
	X(BREAKPOINT, \
	  "there is a breakpoint in its bytes, or in those that its jump would take in") \
	X(WRITABLE, "the code is writable") \
	X(SHARED, "the code is in shared memory") \
	X(FOREIGN, "the code is the kernel's or libregmap's own") \
	X(EDGE, "the code ends too soon behind it") \
	X(SHORT, "the instruction is a single byte") \
	X(INSIDE, "it overlaps a patched instruction") \
	X(BRANCH, "a branch before it leads past its LOCK prefix") \
	X(CROWD, "too many patched neighbours depend on its bytes") \
	X(ROOM, "no memory is free where its slot or its jump would have to be") \
	X(KERNEL, "the kernel did not let it be written")

enum patch_why {
#define REASON(name, text) WHY_##name,
	PATCH_REASONS(REASON)
#undef REASON
		WHY_OWN, /* the first of the generator's */
	WHY_MOST = 32,
	WHY_NONE = -1 /* patched */
};

/* The number of a reason of the generator's: a static string. Lock-free. */
enum patch_why regmap__why_number(const char *text);
const char *regmap__why_text(unsigned why);
/* One more site with it; one less. */
void regmap__why_count(enum patch_why why, int by);
uint64_t regmap__why_counted(unsigned why);

#endif
