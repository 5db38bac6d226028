/* SPDX-License-Identifier: MIT */
/*
 * Faults on addresses that are no window's, and who knows more about addresses than the window table: a
 * described device. Nobody asks unless regmap__stray_ask() was called.
 */
#ifndef SRC_STRAY_H
#define SRC_STRAY_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../emulator/emulator.h"

/*
 * Called in the handler: async-signal-safe, allocating nothing, and without thread-local storage. Any
 * may be NULL.
 */
struct stray_expert {
	const char *label; /* of its line in reports */
	/*
	 * Is an access that no window answers worth a report? @handled: the program has a handler, which
	 * may make something of it. NULL: no.
	 */
	bool (*minds)(uint64_t address, bool handled);
	/* What lies at or around an address, terminated; false: it doesn't know. For every report. */
	bool (*describe)(uint64_t address, char *to, size_t size);
	/* One that it minds, before the report; @range.access: EM_READ, EM_WRITE, or 0: a jump. */
	void (*note)(uint64_t rip, const struct em_range *range);
	/* The program is about to die of a signal that the trap has received. */
	void (*last_words)(void);
};

extern const struct stray_expert *_Atomic regmap__stray_expert;

/* One at a time; it stays for good. AS-Safe. */
void regmap__stray_ask(const struct stray_expert *expert);

static inline const struct stray_expert *stray_expert(void)
{
	return atomic_load_explicit(&regmap__stray_expert, memory_order_acquire);
}

/*
 * Is a fault at this address, by the instruction at @rip, to be reported? True once for each
 * instruction. AS-Safe.
 */
bool regmap__stray_is_news(uint64_t rip, uint64_t address, int signo);

/* See struct stray_expert. AS-Safe. */
void regmap__stray_note(uint64_t rip, const struct em_range *range);
void regmap__stray_last_words(void);

#endif
