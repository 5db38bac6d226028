/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "steps.h"

#include <signal.h>
#include <ucontext.h>

enum { TRAP_FLAG = 1 << 8 };

static volatile int left;
static void (*act)(void);

static void count(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (--left)
		return;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	act();
}

bool t_at_step(int n, void (*then)(void), void (*body)(void *arg), void *arg)
{
	struct sigaction trap = {.sa_sigaction = count, .sa_flags = SA_SIGINFO}, old;

	left = n;
	act = then;
	sigaction(SIGTRAP, &trap, &old);
	__asm__ volatile("pushf\n\torl %0, (%%rsp)\n\tpopf" : : "i"(TRAP_FLAG) : "cc", "memory");
	body(arg);
	__asm__ volatile("pushf\n\tandl %0, (%%rsp)\n\tpopf" : : "i"(~TRAP_FLAG) : "cc", "memory");
	sigaction(SIGTRAP, &old, NULL);
	return left <= 0;
}
