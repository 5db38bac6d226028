/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/guard.h"
#include "hot.h"
#include "others.h"
#include "sigmask.h"

#include "sigsafe.h"

static _Atomic(handler_fn) handlers[SIGNALS + 1];
static bool reached = true;

static bool contains(const struct dl_phdr_info *object, uintptr_t address)
{
	for (unsigned i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_LOAD &&
		    address - object->dlpi_addr - object->dlpi_phdr[i].p_vaddr <
		            object->dlpi_phdr[i].p_memsz)
			return true;
	return false;
}

struct pair {
	uintptr_t ours, libcs;
};

/* The first of the two, in the order in which names are looked up */
static int find_first(struct dl_phdr_info *object, size_t size, void *arg)
{
	const struct pair *pair = arg;

	(void)size;
	if (contains(object, pair->ours))
		return 1;
	return contains(object, pair->libcs) ? 2 : 0;
}

void regmap__others_reach(void *ours, void *libcs)
{
	struct pair pair = {(uintptr_t)ours, (uintptr_t)libcs};

	reached = dl_iterate_phdr(find_first, &pair) != 2;
}

handler_fn regmap__others_handler(int signo)
{
	return atomic_load_explicit(&handlers[signo], memory_order_relaxed);
}

static void pass_on(int signo, siginfo_t *info, void *ucontext)
{
	uint64_t *mask = regmap__context_mask(ucontext);
	const struct plan *plan;

	regmap__clear_ac();
	if (regmap__hot_roll(signo, info, ucontext, &plan) == HOT_PAST && signo == SIGTRAP &&
	    info->si_code == TRAP_TRACE)
		return;
	if (hot_is_on())
		regmap__guard_leave_stub(ucontext);
	*mask = mask_to_program(*mask);
	regmap__others_handler(signo)(signo, info, ucontext);
	*mask = mask_to_kernel(*mask);
}

static bool is_to_be_covered(handler_fn handler, uint64_t flags)
{
	return reached && (flags & SA_SIGINFO || hot_is_on()) && handler != pass_on &&
	       (uintptr_t)handler > (uintptr_t)SIG_IGN;
}

/* One that is delivered meanwhile goes to the new handler already. */
void regmap__others_cover(int signo, struct sigaction *act)
{
	if (!is_to_be_covered(act->sa_sigaction, (unsigned)act->sa_flags))
		return;
	atomic_store(&handlers[signo], act->sa_sigaction);
	act->sa_sigaction = pass_on;
}

void regmap__others_adopt(int signo, struct sys_sigaction *act)
{
	if (!is_to_be_covered((handler_fn)act->handler, act->flags))
		return;
	atomic_store(&handlers[signo], (handler_fn)act->handler);
	act->handler = (void *)pass_on;
}

void regmap__others_restore(int signo, handler_fn handler)
{
	atomic_store(&handlers[signo], handler);
}

void regmap__others_show(struct sigaction *act, handler_fn handler)
{
	if (act->sa_sigaction == pass_on)
		act->sa_sigaction = handler;
}
