/* SPDX-License-Identifier: MIT */
/* pthread_sigmask() and its kin: see sigmask.h for what they translate. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>

#include "../include/regmap/regmap.h"
#include "chain.h"
#include "sigmask.h"

#include "sigsafe.h"

static atomic_bool holding;

/*
 * What the program said of the stand-ins when it last set its mask, good for as long as the
 * kernel's mask is the one that was set then.
 */
static __thread struct {
	uint64_t kernel, said;
	bool valid;
} self __attribute__((tls_model("initial-exec")));

void regmap__sigmask_hold(void)
{
	atomic_store_explicit(&holding, true, memory_order_release);
}

bool regmap__sigmask_holding(void)
{
	return atomic_load_explicit(&holding, memory_order_acquire);
}

static uint64_t believed(uint64_t kernel)
{
	uint64_t program = mask_to_program(kernel);

	if (!self.valid || self.kernel != kernel)
		return program;
	return (program & ~STAND_INS) | self.said;
}

uint64_t regmap__sigmask_believed(void)
{
	uint64_t kernel;

	sys_sigmask(SIG_BLOCK, NULL, &kernel);
	return regmap__sigmask_holding() ? believed(kernel) : kernel;
}

static uint64_t apply(int how, uint64_t set, uint64_t mask)
{
	switch (how) {
	case SIG_BLOCK: return mask | set;
	case SIG_UNBLOCK: return mask & ~set;
	default: return set;
	}
}

static void remember(int how, uint64_t wanted, uint64_t before)
{
	uint64_t program = apply(how, wanted, believed(before));

	self.kernel = mask_to_kernel(program);
	self.said = program & STAND_INS;
	self.valid = true;
}

/*
 * The kernel does the arithmetic, in one call, so that no handler runs in between. Really blocked
 * are they only where code that didn't come by here has done that, by a direct system call.
 */
static int change_mask(int how, const sigset_t *set, sigset_t *old)
{
	uint64_t wanted = set ? mask_of(set) & ~LIBC_SIGNALS & ~UNBLOCKABLE : 0, before;
	uint64_t kernel = mask_to_kernel(wanted);
	long error;

	if (how == SIG_UNBLOCK)
		kernel |= wanted & HELD_SIGNALS;
	error = sys_sigmask(how, set ? &kernel : NULL, &before);
	if (error)
		return (int)-error;
	if (old)
		mask_put(old, believed(before));
	if (!set)
		return 0;
	remember(how, wanted, before);
	if (before & HELD_SIGNALS)
		sys_sigmask(SIG_SETMASK, &self.kernel, NULL);
	return 0;
}

static int plain_mask(int how, const sigset_t *set, sigset_t *old)
{
	uint64_t wanted = set ? mask_of(set) & ~LIBC_SIGNALS : 0;

	return (int)-sys_sigmask(how, set ? &wanted : NULL, (uint64_t *)old);
}

/*
 * Threads that block SIGSEGV before the first window is mapped will want to access it, and nobody
 * can unblock it for them. So the first to block it has our handler installed. Likewise for the
 * stand-ins, which would be taken for SIGSEGV later.
 */
static bool must_hold(int how, const sigset_t *set)
{
	return set && how != SIG_UNBLOCK && mask_of(set) & (HELD_SIGNALS | STAND_INS);
}

REGMAP_API int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	if (!regmap__sigmask_holding() && must_hold(how, set))
		regmap__chain_install();
	if (!regmap__sigmask_holding())
		return plain_mask(how, set, old);
	return change_mask(how, set, old);
}

REGMAP_API int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	int error = pthread_sigmask(how, set, old);

	if (!error)
		return 0;
	errno = error;
	return -1;
}

void regmap__sigmask_begin(uint64_t believed)
{
	uint64_t kernel = mask_to_kernel(believed);

	sys_sigmask(SIG_SETMASK, &kernel, NULL);
}

/* Blocked by whoever started this program */
__attribute__((constructor)) static void hold_if_blocked(void)
{
	uint64_t kernel;

	if (!sys_sigmask(SIG_BLOCK, NULL, &kernel) && kernel & (HELD_SIGNALS | STAND_INS))
		regmap__chain_install();
}
