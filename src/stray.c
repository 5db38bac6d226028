/* SPDX-License-Identifier: MIT */
#include "stray.h"

#include "../arch/x86_64/syscall.h"
#include "chain.h"

#include "sigsafe.h"

enum { SITES = 1024 }; /* a power of two; those beyond are not reported */

const struct stray_expert *_Atomic regmap__stray_expert;
static _Atomic uint64_t reported[SITES];

void regmap__stray_ask(const struct stray_expert *expert)
{
	atomic_store_explicit(&regmap__stray_expert, expert, memory_order_release);
}

/* Of several threads, one gets true. */
static bool is_first(uint64_t rip)
{
	unsigned at = (unsigned)(rip * 0x9e3779b97f4a7c15 >> 54);
	uint64_t seen;

	_Static_assert(SITES == 1 << 10, "54 = 64 - 10");
	for (unsigned i = 0; i < SITES; i++) {
		seen = 0;
		if (atomic_compare_exchange_strong(&reported[(at + i) % SITES], &seen, rip))
			return true;
		if (seen == rip)
			return false;
	}
	return false;
}

static bool is_handled(int signo)
{
	struct sys_sigaction act;

	return regmap__chain_wish(signo, NULL, &act) && sys_is_handler(&act);
}

bool regmap__stray_is_news(uint64_t rip, uint64_t address, int signo)
{
	const struct stray_expert *expert = stray_expert();

	return expert && expert->minds && expert->minds(address, is_handled(signo)) &&
	       is_first(rip);
}

void regmap__stray_note(uint64_t rip, const struct em_range *range)
{
	const struct stray_expert *expert = stray_expert();

	if (expert && expert->note)
		expert->note(rip, range);
}

void regmap__stray_last_words(void)
{
	const struct stray_expert *expert = stray_expert();

	if (expert && expert->last_words)
		expert->last_words();
}
