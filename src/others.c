/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../arch/x86_64/context.h"
#include "../arch/x86_64/guard.h"
#include "hot.h"
#include "others.h"
#include "pin.h"
#include "sigmask.h"

#include "sigsafe.h"

/* The program set it without SA_SIGINFO; no address has this bit. */
#define PLAIN (1ull << 63)

static _Atomic uint64_t handlers[SIGNALS + 1]; /* and PLAIN */
static bool reached = true, covered = true;
static atomic_bool adopts = true;

/*
 * Its handler calls the program's late and with a context of its own making: there, nothing can be
 * put off. And that handler also runs in threads that aren't ready for instrumented code, as ours
 * is; so it stays in front.
 */
extern void __tsan_init(void) __attribute__((weak));

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
	adopts = !__tsan_init;
	covered = reached && adopts;
}

bool regmap__others_are_covered(void)
{
	return covered;
}

uint64_t regmap__others_handler(int signo)
{
	return atomic_load_explicit(&handlers[signo], memory_order_relaxed);
}

static handler_fn handler_of(uint64_t word)
{
	return (handler_fn)(uintptr_t)(word & ~PLAIN);
}

static uint64_t word_of(void *handler, uint64_t flags)
{
	return (uintptr_t)handler | (flags & SA_SIGINFO ? 0 : PLAIN);
}

bool regmap__others_put_off(int signo, siginfo_t *info, void *ucontext)
{
	uint64_t sp = regmap__context_sp(ucontext);

	if (!regmap__others_are_covered() ||
	    !regmap__pin_puts_off(signo, sp, regmap__context_mask(ucontext)))
		return false;
	return !sys_call(SYS_rt_tgsigqueueinfo, sys_call(SYS_getpid, 0, 0, 0, 0),
	                 sys_call(SYS_gettid, 0, 0, 0, 0), signo, (long)info);
}

static void pass_on(int signo, siginfo_t *info, void *ucontext);

/* SA_RESETHAND: the kernel has done so already. */
static void cover_again(int signo)
{
	struct sys_sigaction act;

	if (sys_sigaction(signo, NULL, &act) || act.handler || !(act.flags & SA_RESETHAND))
		return;
	act.handler = (void *)pass_on;
	sys_sigaction(signo, &act, NULL);
}

static void pass_on(int signo, siginfo_t *info, void *ucontext)
{
	uint64_t *mask = regmap__context_mask(ucontext);
	struct hot_failure failure;
	const struct plan *plan;

	regmap__clear_ac();
	if (regmap__hot_roll(signo, info, ucontext, &plan) == HOT_PAST && signo == SIGTRAP &&
	    info->si_code == TRAP_TRACE)
		return;
	if (hot_is_on())
		regmap__guard_leave_stub(ucontext);
	if (regmap__others_put_off(signo, info, ucontext)) {
		cover_again(signo);
		return;
	}
	*mask = mask_to_program(*mask);
	regmap__hot_keep_failure(&failure);
	handler_of(regmap__others_handler(signo))(signo, info, ucontext);
	regmap__hot_restore_failure(&failure);
	*mask = mask_to_kernel(*mask);
	if (regmap__others_are_covered())
		*mask |= regmap__pin_blocked(regmap__context_sp(ucontext));
}

static bool is_to_be_covered(void *handler)
{
	return reached && handler != (void *)pass_on && (uintptr_t)handler > (uintptr_t)SIG_IGN;
}

/* One that is delivered meanwhile goes to the new handler already. */
void regmap__others_cover(int signo, struct sigaction *act)
{
	if (!is_to_be_covered((void *)act->sa_sigaction))
		return;
	atomic_store(&handlers[signo], word_of((void *)act->sa_sigaction, (unsigned)act->sa_flags));
	act->sa_sigaction = pass_on;
	act->sa_flags |= SA_SIGINFO;
}

void regmap__others_adopt(int signo, struct sys_sigaction *act)
{
	if (!adopts || !is_to_be_covered(act->handler))
		return;
	atomic_store(&handlers[signo], word_of(act->handler, act->flags));
	act->handler = (void *)pass_on;
	act->flags |= SA_SIGINFO;
}

void regmap__others_restore(int signo, uint64_t handler)
{
	atomic_store(&handlers[signo], handler);
}

void regmap__others_show(struct sigaction *act, uint64_t handler)
{
	if (act->sa_sigaction != pass_on)
		return;
	act->sa_sigaction = handler_of(handler);
	if (handler & PLAIN)
		act->sa_flags &= ~SA_SIGINFO;
}

void regmap__others_show_kernels(struct sys_sigaction *act, uint64_t handler)
{
	if (act->handler != (void *)pass_on)
		return;
	act->handler = (void *)handler_of(handler);
	if (handler & PLAIN)
		act->flags &= ~(uint64_t)SA_SIGINFO;
}
