/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "patch_why.h"

#include "sigsafe.h"

static const char *_Atomic texts[WHY_MOST] = {
#define REASON(name, text) [WHY_##name] = (text),
	PATCH_REASONS(REASON)
#undef REASON
};
static _Atomic uint64_t counts[WHY_MOST];

/* What there is no number for is counted with the last. */
enum patch_why regmap__why_number(const char *text)
{
	unsigned why = WHY_OWN;

	for (; why < WHY_MOST - 1; why++) {
		const char *there = NULL;

		if (atomic_compare_exchange_strong(&texts[why], &there, text) ||
		    !strcmp(there, text))
			return (enum patch_why)why;
	}
	atomic_store(&texts[why], "another reason");
	return (enum patch_why)why;
}

const char *regmap__why_text(unsigned why)
{
	return why < WHY_MOST ? atomic_load(&texts[why]) : NULL;
}

void regmap__why_count(enum patch_why why, int by)
{
	atomic_fetch_add(&counts[why], (uint64_t)(int64_t)by);
}

uint64_t regmap__why_counted(unsigned why)
{
	return why < WHY_MOST ? atomic_load(&counts[why]) : 0;
}
