/* SPDX-License-Identifier: MIT */
/* A program that was built without libregmap, with a SIGSEGV handler of its own. */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

static sigjmp_buf escape;

static void on_fault(int signo)
{
	(void)signo;
	siglongjmp(escape, 1);
}

static void try(uintptr_t address)
{
	if (sigsetjmp(escape, 1))
		printf("%#lx: nothing there\n", (unsigned long)address);
	else
		printf("%#lx: %u\n", (unsigned long)address, *(volatile uint32_t *)address);
}

int main(void)
{
	signal(SIGSEGV, on_fault);
	try(0x40002818);
	try(0x40002818);
	try(0x40002000);
	return 0;
}
